//! `-s info`, `timeouts`, `memory`, `Interfaces`, `queue`, `osfp`.
//!
//! Source: `pfctl_parser.c print_status`; `pfctl.c pfctl_show_timeouts`, `pfctl_show_limits`; `pfctl_table.c
//! pfctl_show_ifaces`; `pfctl_osfp.c pfctl_show_fingerprints`.

use std::fmt::Write as _;

use pfc::resolve::words::log_level_name;
use pfc::ruleset::LIMIT_NAMES;
use pfvm::api::{IfaceRow, OptionsReply, Request, Status};
use pfvm::engine::counters::LimitCounter;
use pfvm::image::Image;
use pfvm::packet::DropReason;
use pfvm::rule::{Limits, Timeout};
use serde_json::{Map, Value, json};

use super::Pf;
use crate::link::{Ifaces, Outcome, Trouble};
use crate::out::{clock, ctime};

/// Rows of counts of packets or bytes: `[family][direction][passed or dropped]`.
type IfCells = [[[u64; 2]; 2]; 2];

const IFACE_CELLS: [[[&str; 2]; 2]; 2] = [
    [["In4/Pass:", "In4/Block:"], ["Out4/Pass:", "Out4/Block:"]],
    [["In6/Pass:", "In6/Block:"], ["Out6/Pass:", "Out6/Block:"]],
];

/// The limits in the order of their names.
pub(crate) const fn limits(l: &Limits) -> [u32; 7] {
    [l.states, l.src_nodes, l.frags, l.tables, l.table_entries, l.pktdelay_pkts, l.anchors]
}

/// A block of rows with a total and a rate.
struct Rows<'o> {
    out: &'o mut String,
    seconds: u64,
}

impl Rows<'_> {
    fn now(&mut self, name: &str, n: u64) {
        let _ = writeln!(self.out, "  {name:<25} {n:>14} {:>14}", "");
    }

    #[allow(clippy::cast_precision_loss, reason = "a rate with one decimal")]
    fn total(&mut self, name: &str, n: u64) {
        let _ = match self.seconds {
            0 => writeln!(self.out, "  {name:<25} {n:>14} {:>14}", ""),
            s => writeln!(self.out, "  {name:<25} {n:>14} {:>14.1}/s", n as f64 / s as f64),
        };
    }

    fn three(&mut self, counters: [u64; 3]) {
        for (name, n) in ["searches", "inserts", "removals"].iter().zip(counters) {
            self.total(name, n);
        }
    }
}

/// The block of `-s info`.
pub(crate) fn status_text(s: &Status<'_>, verbose: bool) -> String {
    let running = if s.running { "Enabled" } else { "Disabled" };
    let first = match s.since {
        0 => format!("Status: {running}"),
        n => format!("Status: {running} for {} days {}", n / 86400, clock(n % 86400)),
    };
    let level = log_level_name(s.debug);
    let mut out = format!("{first:<44}{:>15}\n\n", format!("Debug: {level}"));
    if verbose {
        let sum = s.checksum.iter().fold(String::new(), |mut out, b| {
            let _ = write!(out, "{b:02x}");
            out
        });
        let _ = writeln!(out, "Hostid:   0x{:08x}\nChecksum: 0x{sum}\n", s.hostid);
    }
    if !s.loginterface.is_empty() {
        interface(&mut out, s);
    }
    let _ = writeln!(out, "{:<27} {:>14} {:>16}", "State Table", "Total", "Rate");
    let mut rows = Rows { out: &mut out, seconds: s.since };
    let [states, half_open] = s.states;
    rows.now("current entries", states.into());
    rows.now("half-open tcp", half_open.into());
    rows.three(s.state_counters);
    if verbose {
        rows.out.push_str("Source Tracking Table\n");
        rows.now("current entries", s.sources.into());
        rows.three(s.source_counters);
        rows.out.push_str("Fragments\n");
        rows.now("current entries", s.frags.into());
        rows.three(s.frag_counters);
    }
    rows.out.push_str("Counters\n");
    for (reason, n) in DropReason::ALL.iter().zip(s.reasons) {
        rows.total(reason.name(), n);
    }
    if verbose {
        rows.out.push_str("Limit Counters\n");
        for (limit, n) in LimitCounter::ALL.iter().zip(s.limits) {
            rows.total(limit.name(), n);
        }
        rows.out.push_str("Adaptive Syncookies Watermarks\n");
        for (name, n) in ["start", "end"].iter().zip(s.cookie_marks) {
            let _ = writeln!(rows.out, "  {name:<25} {n:>14} states");
        }
    }
    out
}

/// `set loginterface`: what it carried.
fn interface(out: &mut String, s: &Status<'_>) {
    let _ = writeln!(out, "Interface Stats for {:<16} {:>5} {:>16}", s.loginterface, "IPv4", "IPv6");
    let [v4, v6] = s.if_bytes;
    let sum = |[a, b]: [u64; 2]| a.wrapping_add(b);
    for (name, a, b) in [("Bytes In", v4[0], v6[0]), ("Bytes Out", v4[1], v6[1])] {
        let _ = writeln!(out, "  {name:<25} {:>14} {:>16}", sum(a), sum(b));
    }
    let [v4, v6] = s.if_packets;
    for (name, a, b) in [("Packets In", v4[0], v6[0]), ("Packets Out", v4[1], v6[1])] {
        let _ = writeln!(out, "  {name}");
        for (what, at) in [("Passed", 0), ("Blocked", 1)] {
            let cell = |c: [u64; 2]| c.get(at).copied().unwrap_or(0);
            let _ = writeln!(out, "    {what:<23} {:>14} {:>16}", cell(a), cell(b));
        }
    }
    out.push('\n');
}

/// An interface's lines.
fn iface_text(row: &IfaceRow<'_>, verbose: u8) -> String {
    let mut out = row.name.to_owned();
    if verbose > 0 && row.skip {
        out.push_str(" (skip)");
    }
    out.push('\n');
    if verbose > 1 {
        let [states, rules] = row.references;
        let _ = writeln!(out, "\tCleared:     {}", ctime(row.cleared));
        let _ = writeln!(out, "\tReferences:  [ States:  {states:<18} Rules: {rules:<18} ]");
        for ((names, packets), bytes) in IFACE_CELLS.iter().zip(&row.packets).zip(&row.bytes) {
            for ((names, packets), bytes) in names.iter().zip(packets).zip(bytes) {
                for ((name, p), b) in names.iter().zip(packets).zip(bytes) {
                    let _ = writeln!(out, "\t{name:<12} [ Packets: {p:<18} Bytes: {b:<18} ]");
                }
            }
        }
    }
    out
}

fn if_json(packets: &IfCells, bytes: &IfCells) -> Value {
    let mut all = Map::new();
    for ((family, packets), bytes) in ["inet", "inet6"].iter().zip(packets).zip(bytes) {
        let mut one = Map::new();
        for ((dir, p), b) in ["in", "out"].iter().zip(packets).zip(bytes) {
            let cell =
                json!({ "passed": {"packets": p[0], "bytes": b[0]}, "blocked": {"packets": p[1], "bytes": b[1]} });
            one.insert((*dir).to_owned(), cell);
        }
        all.insert((*family).to_owned(), Value::Object(one));
    }
    Value::Object(all)
}

/// `-s info` as a document.
pub(crate) fn status_json(s: &Status<'_>) -> Value {
    let three = |[a, b, c]: [u64; 3]| json!({ "searches": a, "inserts": b, "removals": c });
    let reasons: Map<String, Value> =
        DropReason::ALL.iter().zip(s.reasons).map(|(r, n)| (r.name().to_owned(), n.into())).collect();
    let limits: Map<String, Value> =
        LimitCounter::ALL.iter().zip(s.limits).map(|(l, n)| (l.name().to_owned(), n.into())).collect();
    json!({
        "running": s.running,
        "since": s.since_wall,
        "seconds": s.since,
        "generation": s.generation,
        "unconfirmed": s.unconfirmed.map(|(generation, left)| json!({ "generation": generation, "seconds_left": left })),
        "shut": s.shut,
        "debug": log_level_name(s.debug),
        "hostid": format!("{:08x}", s.hostid),
        "checksum": s.checksum.iter().map(|b| format!("{b:02x}")).collect::<String>(),
        "states": { "current": s.states[0], "half_open": s.states[1], "counters": three(s.state_counters) },
        "sources": { "current": s.sources, "counters": three(s.source_counters) },
        "fragments": { "current": s.frags, "counters": three(s.frag_counters) },
        "counters": reasons,
        "limit_counters": limits,
        "syncookies": {
            "active": s.cookies_active, "in_flight": s.cookies_in_flight,
            "start": s.cookie_marks[0], "end": s.cookie_marks[1],
        },
        "loginterface": (!s.loginterface.is_empty())
            .then(|| json!({ "name": s.loginterface, "counts": if_json(&s.if_packets, &s.if_bytes) })),
    })
}

impl Pf<'_> {
    /// `-s info`.
    pub(super) fn show_info(&mut self) -> Outcome {
        let verbose = self.command.options.verbose > 0;
        let json = self.out.json;
        let status: Status<'_> = self.link.ask(&Request::Status)?;
        if json {
            let document = status_json(&status);
            self.document("info", document);
        } else {
            let text = status_text(&status, verbose);
            self.section("INFO:", &text);
        }
        Ok(())
    }

    /// `-s timeouts`.
    pub(super) fn show_timeouts(&mut self) -> Outcome {
        let options: OptionsReply<'_> = self.link.ask(&Request::Options)?;
        let values = options.timeouts;
        if self.out.json {
            let all: Map<String, Value> =
                Timeout::ALL.iter().zip(values).map(|(t, n)| (t.name().to_owned(), n.into())).collect();
            self.document("timeouts", Value::Object(all));
            return Ok(());
        }
        let mut out = String::new();
        for (timeout, n) in Timeout::ALL.iter().zip(values) {
            let unit = if matches!(timeout, Timeout::AdaptiveStart | Timeout::AdaptiveEnd) { " states" } else { "s" };
            let _ = writeln!(out, "{:<20} {n:>10}{unit}", timeout.name());
        }
        self.section("TIMEOUTS:", &out);
        Ok(())
    }

    /// `-s memory`.
    pub(super) fn show_memory(&mut self) -> Outcome {
        let options: OptionsReply<'_> = self.link.ask(&Request::Options)?;
        let (values, used, room) = (limits(&options.limits), options.used, options.room);
        if self.out.json {
            let rows = LIMIT_NAMES.iter().zip(values).zip(used).zip(room);
            let all: Map<String, Value> = rows
                .map(|(((name, limit), used), room)| {
                    let limit = if limit == u32::MAX { Value::Null } else { limit.into() };
                    ((*name).to_owned(), json!({ "limit": limit, "used": used, "room": room }))
                })
                .collect();
            self.document("memory", Value::Object(all));
            return Ok(());
        }
        let mut out = String::new();
        for (name, limit) in LIMIT_NAMES.iter().zip(values) {
            let _ = match limit {
                u32::MAX => writeln!(out, "{name:<13} unlimited"),
                n => writeln!(out, "{name:<13} hard limit {n:>8}"),
            };
        }
        self.section("LIMITS:", &out);
        Ok(())
    }

    /// `-s Interfaces`.
    pub(super) fn show_interfaces(&mut self) -> Outcome {
        let (verbose, json) = (self.command.options.verbose, self.out.json);
        let name = self.command.interface.as_deref().unwrap_or_default();
        let (mut out, mut documents) = (String::new(), Vec::new());
        self.link.each::<Ifaces>(
            |cursor| Request::Ifaces { name, cursor },
            |row| {
                if json {
                    documents.push(json!({
                        "name": row.name, "group": row.group, "present": row.present, "skip": row.skip,
                        "index": (row.index != 0).then_some(row.index),
                        "states": row.references[0], "rules": row.references[1], "cleared": row.cleared,
                        "counts": if_json(&row.packets, &row.bytes),
                    }));
                } else {
                    out.push_str(&iface_text(&row, verbose));
                }
                Ok(())
            },
        )?;
        if json {
            self.document("interfaces", Value::Array(documents));
        } else {
            self.out.put(&out);
        }
        Ok(())
    }

    /// `-s queue`. No host of this filter schedules: packets leave at once, and the counters of queues stay at zero.
    pub(super) fn show_queues(&mut self) -> Outcome {
        let (verbose, debug) = (self.command.options.verbose, self.command.options.debug);
        let queues = self.queues()?;
        if self.out.json {
            let row = |q: &Queue| json!({ "name": q.name, "text": q.text, "default": q.default });
            self.document("queues", queues.iter().map(row).collect());
            return Ok(());
        }
        let show =
            |queues: &[Queue], again| queues.iter().map(|q| q.lines(verbose > 0, debug, again)).collect::<String>();
        self.section("QUEUES:", &show(&queues, false));
        let mut left = queues;
        // pfctl goes on until it is interrupted.
        while verbose > 1 && !left.is_empty() && self.command.show != Some("all") {
            self.out.put("\n");
            self.out.flush();
            std::thread::sleep(QUEUES_AGAIN);
            left = self.queues()?;
            self.out.put(&show(&left, true));
        }
        Ok(())
    }

    fn queues(&mut self) -> Outcome<Vec<Queue>> {
        let book = super::book::Book::read(&mut self.link)?;
        if !book.is_loaded("") {
            return Ok(Vec::new());
        }
        let bytes = self.link.bytes(|offset| Request::Section { path: "", section: None, offset })?;
        let image = Image::parse(&bytes).map_err(|_| Trouble::Nonsense("an image that does not read back"))?;
        let wanted = self.command.interface.as_deref();
        let ifaces: Vec<&str> = image.ifaces().map(|at| image.text(at)).collect();
        let mut queues = Vec::new();
        for (queue, nr) in image.queues().zip(1_u32..) {
            let iface = queue.iface.and_then(|i| ifaces.get(usize::from(i.0)).copied());
            let text = image.text(queue.text);
            if text.is_empty() || wanted.is_some_and(|w| iface != Some(w)) {
                continue;
            }
            queues.push(Queue {
                ids: [nr, queue.parent.map_or(0, |p| u32::from(p.0).saturating_add(1))],
                name: image.text(queue.name).to_owned(),
                text: text.to_owned(),
                iface: iface.unwrap_or_default().to_owned(),
                default: queue.default,
            });
        }
        Ok(queues)
    }

    /// `-s osfp`: the names of the fingerprint file.
    pub(super) fn show_fingerprints(&mut self) -> Outcome {
        let all = self.command.show == Some("all");
        let os = self.facts()?.os.clone();
        let names = os.triples();
        if self.out.json {
            self.document("osfp", json!({ "fingerprints": os.fingerprints, "names": names }));
            return Ok(());
        }
        if names.is_empty() {
            return Ok(());
        }
        if all {
            self.section("OS FINGERPRINTS:", &format!("{} fingerprints loaded\n", os.fingerprints));
        } else {
            let text = fingerprints(&names);
            self.out.put(&text);
        }
        Ok(())
    }
}

/// How long `-s queue -vv` waits between two looks.
const QUEUES_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);
/// Packets a queue holds unless it says otherwise (`DEFAULT_QLIMIT`).
const QLIMIT: &str = "50";

/// A queue's definition.
struct Queue {
    /// Its number and its parent's, from 1; 0 where there is none.
    ids: [u32; 2],
    name: String,
    text: String,
    iface: String,
    default: bool,
}

impl Queue {
    /// Its lines; `again` when it is not the first look.
    fn lines(&self, verbose: bool, debug: bool, again: bool) -> String {
        let mut out = format!("{}\n", self.text);
        if verbose {
            let words = || self.text.split_whitespace().skip(2);
            let limit = words().skip_while(|w| *w != "qlimit").nth(1).unwrap_or(QLIMIT);
            let has = |word| words().any(|w| w == word);
            // Of a queue of flows that nothing shapes, pfctl also shows how long packets wait.
            let flows = self.ids[1] == 0 && has("flows") && !has("bandwidth");
            let delay = if flows { "  avg delay: 0.000ms std-dev: 0.000ms  flows:   0" } else { "" };
            let _ = writeln!(out, "  [ pkts: {0:>10}  bytes: {0:>10}  dropped pkts: {0:>6} bytes: {0:>6} ]", 0);
            let _ = writeln!(out, "  [ qlength: {:>3}/{limit:>3}{delay} ]", 0);
            if again {
                let _ = writeln!(out, "  [ measured: {:>7.1} packets/s, 0 b/s ]", 0.0);
            }
        }
        if debug {
            let [nr, parent] = self.ids;
            let _ = writeln!(out, "  [ qid={nr} parent_qid={parent} ifname={}]", self.iface);
        }
        out
    }
}

/// Classes, versions and subtypes as a table that repeats what stands to the left.
fn fingerprints(names: &[String]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        let parts: Vec<&str> = name.splitn(3, ':').collect();
        for n in 1..=parts.len() {
            let line = parts.get(..n).unwrap_or_default().join("\t");
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines.sort_by_key(|line| line.to_lowercase());
    let head = "Class\tVersion\tSubtype(subversion)\n-----\t-------\t-------------------\n";
    lines.into_iter().fold(head.to_owned(), |out, line| out + &line + "\n")
}
