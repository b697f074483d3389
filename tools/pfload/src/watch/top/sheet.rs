//! Views: each turns a snapshot into a sheet of rows, filtered and sorted.
//!
//! **Invariant:** a sheet's rows have as many cells as it has columns; sorting is stable, so equal rows keep their order.

use pfvm::rule::{Addr, Af, Direction};
use pfvm::watch::{Action, End, Expr, Facts, Number};

use super::super::text::{direction, ip};
use super::data::Snapshot;

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// States.
    States,
    /// Rules.
    Rules,
    /// Queues.
    Queues,
    /// Tables.
    Tables,
    /// Source nodes.
    Sources,
    /// Addresses that translations use.
    Nat,
    /// Interfaces.
    Ifaces,
    /// Reasons and limits.
    Counters,
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its head.
    pub head: &'static str,
    /// Its width; 0 takes what is left.
    pub width: u16,
    /// Whether it stands at the right: numbers.
    pub right: bool,
    /// Whether it goes where the others have too little room: the higher, the sooner; 0 stays.
    pub spare: u8,
}

const fn text(head: &'static str, width: u16) -> Column {
    Column { head, width, right: false, spare: 0 }
}

const fn number(head: &'static str, width: u16) -> Column {
    Column { head, width, right: true, spare: 0 }
}

const fn spare(column: Column, spare: u8) -> Column {
    Column { spare, ..column }
}

impl View {
    /// All, in the order of their keys.
    pub(crate) const ALL: [Self; 8] =
        [Self::States, Self::Rules, Self::Queues, Self::Tables, Self::Sources, Self::Nat, Self::Ifaces, Self::Counters];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::States => "states",
            Self::Rules => "rules",
            Self::Queues => "queues",
            Self::Tables => "tables",
            Self::Sources => "sources",
            Self::Nat => "nat",
            Self::Ifaces => "interfaces",
            Self::Counters => "counters",
        }
    }

    /// Its place among all.
    pub(crate) fn place(self) -> usize {
        Self::ALL.iter().position(|v| *v == self).unwrap_or(0)
    }

    /// What it can be sorted by; the first is how it begins.
    pub(crate) const fn sorts(self) -> &'static [&'static str] {
        match self {
            Self::States => &["rate", "bytes", "packets", "age", "expires", "source", "rule"],
            Self::Rules => &["hits", "packets", "bytes", "evaluations", "states", "number"],
            Self::Queues => &["name"],
            Self::Tables => &["addresses", "matches", "packets", "bytes", "name"],
            Self::Sources => &["states", "connections", "bytes", "packets", "age", "source"],
            Self::Nat => &["states", "bytes", "packets", "address"],
            Self::Ifaces => &["name", "packets", "bytes", "blocked"],
            Self::Counters => &["count", "rate", "name"],
        }
    }

    /// Its columns.
    pub(crate) const fn columns(self) -> &'static [Column] {
        match self {
            Self::States => {
                const {
                    &[
                        text("PR", 5),
                        text("D", 3),
                        text("SOURCE", 0),
                        text("DESTINATION", 0),
                        text("STATE", 11),
                        number("AGE", 5),
                        spare(number("EXP", 5), 3),
                        spare(number("PKTS", 5), 2),
                        number("BYTES", 5),
                        number("RATE", 5),
                        spare(number("RULE", 4), 1),
                    ]
                }
            }
            Self::Rules => {
                const {
                    &[
                        text("RULE", 8),
                        text("TEXT", 0),
                        text("LABEL", 10),
                        spare(number("EVAL", 5), 2),
                        number("PKTS", 5),
                        spare(number("BYTES", 5), 1),
                        number("ST", 5),
                        number("HITS/s", 6),
                    ]
                }
            }
            Self::Queues => const { &[text("QUEUE", 20), text("DEFINITION", 0)] },
            Self::Tables => {
                const {
                    &[
                        text("TABLE", 0),
                        text("ANCHOR", 12),
                        number("ADDRS", 7),
                        number("MATCH", 7),
                        number("NOMATCH", 7),
                        number("PKTS", 7),
                        number("BYTES", 7),
                    ]
                }
            }
            Self::Sources => {
                const {
                    &[
                        text("SOURCE", 0),
                        text("FOR", 5),
                        text("GIVEN", 0),
                        number("ST", 5),
                        number("CONN", 5),
                        number("PKTS", 5),
                        number("BYTES", 5),
                        spare(number("AGE", 5), 1),
                        spare(number("EXP", 5), 2),
                        number("RULE", 4),
                    ]
                }
            }
            Self::Nat => {
                const {
                    &[
                        text("ADDRESS", 0),
                        text("PR", 5),
                        text("USED AS", 12),
                        number("STATES", 7),
                        number("PORTS", 7),
                        number("PKTS", 7),
                        number("BYTES", 7),
                    ]
                }
            }
            Self::Ifaces => {
                const {
                    &[
                        text("INTERFACE", 0),
                        number("IN PASS", 7),
                        number("/s", 6),
                        number("IN BLOCK", 8),
                        number("OUT PASS", 8),
                        number("/s", 6),
                        number("OUT BLOCK", 9),
                        number("BYTES", 7),
                    ]
                }
            }
            Self::Counters => const { &[text("COUNTER", 0), number("COUNT", 12), number("/s", 8)] },
        }
    }
}

/// What a row is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// The more, the earlier.
    Number(std::cmp::Reverse<u64>),
    /// In order.
    Name(String),
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its cells.
    pub cells: Vec<String>,
    /// Whether it deserves notice: what blocks.
    pub bad: bool,
}

/// A number as people read it, in at most five characters.
pub(crate) fn short(number: u64) -> String {
    let units = ["", "k", "M", "G", "T", "P", "E"];
    let (mut value, mut unit) = (number, 0);
    let mut tenths = 0;
    while value >= 10_000 || (unit > 0 && value >= 1000) {
        tenths = value % 1000 / 100;
        value /= 1000;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or("E");
    if unit > 0 && value < 100 { format!("{value}.{tenths}{name}") } else { format!("{value}{name}") }
}

/// Seconds as people read them, in at most five characters.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..600 => format!("{seconds}s"),
        600..36_000 => format!("{}m", seconds / 60),
        36_000..864_000 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Name of a protocol.
pub(crate) fn protocol(number: u8) -> String {
    let known: &[(u8, &str)] =
        &[(1, "icmp"), (6, "tcp"), (17, "udp"), (47, "gre"), (50, "esp"), (58, "icmp6"), (132, "sctp")];
    known.iter().find(|(n, _)| *n == number).map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// An end as text.
fn end(af: Af, proto: u8, (addr, port): End) -> String {
    let ported = matches!(proto, 6 | 17);
    match (af, ported) {
        (Af::Inet6, true) => format!("[{}]:{port}", ip(af, &addr)),
        (Af::Inet, true) => format!("{}:{port}", ip(af, &addr)),
        _ => ip(af, &addr).to_string(),
    }
}

fn rule_of(rule: Option<u32>) -> String {
    rule.map_or_else(|| "-".to_owned(), |nr| nr.to_string())
}

/// A row on its way into a sheet.
struct Draft {
    key: Key,
    row: Row,
}

/// Collects rows that an expression holds of.
struct Drafts<'x> {
    filter: &'x Expr,
    rows: Vec<Draft>,
}

impl Drafts<'_> {
    fn add(&mut self, facts: &Facts<'_>, key: Key, cells: Vec<String>, bad: bool) {
        let facts = Facts { complete: true, ..*facts };
        if self.filter.holds(&facts) == Some(true) {
            self.rows.push(Draft { key, row: Row { cells, bad } });
        }
    }
}

fn count(number: u64) -> Key {
    Key::Number(std::cmp::Reverse(number))
}

/// The rows of a view, filtered, sorted by a name of [`View::sorts`], turned round if asked.
pub(crate) fn rows(view: View, all: &Snapshot, filter: &Expr, sort: &str, reverse: bool) -> Vec<Row> {
    let mut drafts = Drafts { filter, rows: Vec::new() };
    match view {
        View::States => states(all, sort, &mut drafts),
        View::Rules => rules(all, sort, &mut drafts),
        View::Queues => {
            for q in &all.queues {
                drafts.add(&Facts::default(), Key::Name(q.name.clone()), vec![q.name.clone(), q.text.clone()], false);
            }
        }
        View::Tables => tables(all, sort, &mut drafts),
        View::Sources => sources(all, sort, &mut drafts),
        View::Nat => nat(all, sort, &mut drafts),
        View::Ifaces => ifaces(all, sort, &mut drafts),
        View::Counters => counters(all, sort, &mut drafts),
    }
    let mut found = drafts.rows;
    found.sort_by(|a, b| if reverse { b.key.cmp(&a.key) } else { a.key.cmp(&b.key) });
    found.into_iter().map(|d| d.row).collect()
}

fn states(all: &Snapshot, sort: &str, drafts: &mut Drafts<'_>) {
    let labels: std::collections::HashMap<u64, &str> = all.rules.iter().map(|r| (r.id, r.label.as_str())).collect();
    for s in &all.states {
        let (src, dst) = s.ends;
        let number = |what: Number| match what {
            Number::Bytes => Some(s.bytes),
            Number::Packets => Some(s.packets),
            Number::Rate => Some(s.rate),
            Number::Age => Some(s.age),
            Number::Expires => Some(s.expires),
            _ => None,
        };
        let on = |name: &str| s.iface == name;
        let facts = Facts {
            af: Some(s.af),
            ends: Some(s.ends),
            other: s.other,
            proto: Some(s.proto),
            dir: Some(s.dir),
            on: Some(&on),
            rule: s.rule.map(|nr| (nr, None)),
            anchor: Some(&s.anchor),
            label: labels.get(&s.rule_id).copied().or(Some("")),
            action: Some(Action::Pass),
            state: Some(s.progress),
            number: Some(&number),
            ..Facts::default()
        };
        let key = match sort {
            "bytes" => count(s.bytes),
            "packets" => count(s.packets),
            "age" => count(s.age),
            "expires" => count(s.expires),
            "rule" => count(u64::MAX - s.rule.map_or(u64::MAX, u64::from)),
            "source" => Key::Name(order(s.af, &src.0)),
            _ => count(s.rate),
        };
        let progress = if s.progress[0] == s.progress[1] {
            short_state(s.progress[0])
        } else {
            format!("{}:{}", short_state(s.progress[0]), short_state(s.progress[1]))
        };
        let cells = vec![
            protocol(s.proto),
            direction(s.dir).to_owned(),
            end(s.af, s.proto, src),
            end(s.af, s.proto, dst),
            progress,
            span(s.age),
            span(s.expires),
            short(s.packets),
            short(s.bytes),
            short(s.rate),
            rule_of(s.rule),
        ];
        drafts.add(&facts, key, cells, false);
    }
}

/// A state's progress, shortened as far as it stays clear.
fn short_state(name: &str) -> String {
    let known = [
        ("ESTABLISHED", "ESTAB"),
        ("SYN_SENT", "SYN"),
        ("SYN_RCVD", "SYNR"),
        ("FIN_WAIT_1", "FIN1"),
        ("FIN_WAIT_2", "FIN2"),
        ("CLOSE_WAIT", "CLOSW"),
        ("TIME_WAIT", "TIMEW"),
        ("LAST_ACK", "LACK"),
        ("CLOSING", "CLSNG"),
        ("MULTIPLE", "MULTI"),
        ("SINGLE", "SINGL"),
        ("NO_TRAFFIC", "NONE"),
        ("PROXY_SRC", "PRXS"),
        ("PROXY_DST", "PRXD"),
    ];
    known.iter().find(|(long, _)| *long == name).map_or(name, |(_, short)| short).to_owned()
}

/// An address as a text that sorts as the address does.
fn order(af: Af, addr: &Addr) -> String {
    let family = if af == Af::Inet { '4' } else { '6' };
    addr.0.iter().fold(String::from(family), |mut out, byte| {
        out.push_str(&format!("{byte:02x}"));
        out
    })
}

fn rules(all: &Snapshot, sort: &str, drafts: &mut Drafts<'_>) {
    for r in &all.rules {
        let number = |what: Number| match what {
            Number::Bytes => Some(r.bytes),
            Number::Packets => Some(r.packets),
            Number::Rate => Some(r.rate),
            Number::States => Some(r.states),
            _ => None,
        };
        let action = match r.text.split_whitespace().next() {
            Some("pass") => Some(Action::Pass),
            Some("block") => Some(Action::Block),
            Some("match") => Some(Action::Match),
            _ => None,
        };
        let facts = Facts {
            rule: Some((r.nr, None)),
            anchor: Some(&r.anchor),
            label: Some(&r.label),
            action,
            number: Some(&number),
            ..Facts::default()
        };
        let key = match sort {
            "packets" => count(r.packets),
            "bytes" => count(r.bytes),
            "evaluations" => count(r.evaluations),
            "states" => count(r.states),
            "number" => Key::Name(format!("{}\u{1}{:010}", r.anchor, r.nr)),
            _ => count(r.rate),
        };
        let name = if r.anchor.is_empty() { format!("@{}", r.nr) } else { format!("{}@{}", r.anchor, r.nr) };
        let cells = vec![
            name,
            r.text.clone(),
            r.label.clone(),
            short(r.evaluations),
            short(r.packets),
            short(r.bytes),
            short(r.states),
            short(r.rate),
        ];
        drafts.add(&facts, key, cells, action == Some(Action::Block) && r.rate > 0);
    }
}

fn tables(all: &Snapshot, sort: &str, drafts: &mut Drafts<'_>) {
    for t in &all.tables {
        let number = |what: Number| match what {
            Number::Bytes => Some(t.bytes),
            Number::Packets => Some(t.packets),
            _ => None,
        };
        let facts = Facts { anchor: Some(&t.anchor), number: Some(&number), ..Facts::default() };
        let key = match sort {
            "matches" => count(t.evaluations[0]),
            "packets" => count(t.packets),
            "bytes" => count(t.bytes),
            "name" => Key::Name(format!("{}\u{1}{}", t.anchor, t.name)),
            _ => count(t.addresses),
        };
        let cells = vec![
            format!("<{}>", t.name),
            t.anchor.clone(),
            short(t.addresses),
            short(t.evaluations[0]),
            short(t.evaluations[1]),
            short(t.packets),
            short(t.bytes),
        ];
        drafts.add(&facts, key, cells, false);
    }
}

fn sources(all: &Snapshot, sort: &str, drafts: &mut Drafts<'_>) {
    for s in &all.sources {
        let number = |what: Number| match what {
            Number::Bytes => Some(s.bytes),
            Number::Packets => Some(s.packets),
            Number::Age => Some(s.age),
            Number::Expires => Some(s.expires),
            Number::States => Some(s.states),
            _ => None,
        };
        let given = s.given.map_or((Addr::default(), 0), |(_, addr)| (addr, 0));
        let facts = Facts {
            af: Some(s.source.0),
            ends: Some(((s.source.1, 0), given)),
            rule: s.rule.map(|nr| (nr, None)),
            anchor: Some(&s.anchor),
            number: Some(&number),
            ..Facts::default()
        };
        let key = match sort {
            "connections" => count(s.connections),
            "bytes" => count(s.bytes),
            "packets" => count(s.packets),
            "age" => count(s.age),
            "source" => Key::Name(order(s.source.0, &s.source.1)),
            _ => count(s.states),
        };
        let cells = vec![
            ip(s.source.0, &s.source.1).to_string(),
            s.kind.to_owned(),
            s.given.map_or_else(String::new, |(af, addr)| ip(af, &addr).to_string()),
            short(s.states),
            short(s.connections),
            short(s.packets),
            short(s.bytes),
            span(s.age),
            span(s.expires),
            rule_of(s.rule),
        ];
        drafts.add(&facts, key, cells, false);
    }
}

/// What translations use of one address for one protocol.
#[derive(Default)]
struct Used {
    states: u64,
    ports: std::collections::BTreeSet<u16>,
    packets: u64,
    bytes: u64,
}

fn nat(all: &Snapshot, sort: &str, drafts: &mut Drafts<'_>) {
    let mut used: std::collections::BTreeMap<(Af, Addr, u8, &str), Used> = std::collections::BTreeMap::new();
    for s in &all.states {
        let Some(wire) = s.other else { continue };
        let stack = (s.af, s.ends.0, s.ends.1);
        // What the rules gave is on the wire's side of what goes out, on the host's side of what comes in.
        let (given, asked) = if s.dir == Direction::Out { (wire, stack) } else { (stack, wire) };
        let mut add = |end: End, what| {
            let entry = used.entry((given.0, end.0, s.proto, what)).or_default();
            entry.states += 1;
            entry.ports.insert(end.1);
            entry.packets += s.packets;
            entry.bytes += s.bytes;
        };
        if given.1 != asked.1 {
            add(given.1, "source");
        }
        if given.2 != asked.2 {
            add(given.2, "target");
        }
    }
    for ((af, addr, proto, what), u) in used {
        let number = |n: Number| match n {
            Number::Bytes => Some(u.bytes),
            Number::Packets => Some(u.packets),
            Number::States => Some(u.states),
            _ => None,
        };
        let facts = Facts {
            af: Some(af),
            ends: Some(((addr, 0), (addr, 0))),
            proto: Some(proto),
            number: Some(&number),
            ..Facts::default()
        };
        let key = match sort {
            "bytes" => count(u.bytes),
            "packets" => count(u.packets),
            "address" => Key::Name(order(af, &addr)),
            _ => count(u.states),
        };
        let cells = vec![
            ip(af, &addr).to_string(),
            protocol(proto),
            what.to_owned(),
            short(u.states),
            short(u64::try_from(u.ports.len()).unwrap_or(0)),
            short(u.packets),
            short(u.bytes),
        ];
        drafts.add(&facts, key, cells, false);
    }
}

fn ifaces(all: &Snapshot, sort: &str, drafts: &mut Drafts<'_>) {
    for i in &all.ifaces {
        let [in_pass, in_block, out_pass, out_block] = i.packets;
        let bytes = i.bytes.iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
        let number = |what: Number| match what {
            Number::Bytes => Some(bytes),
            Number::Packets => Some(in_pass + in_block + out_pass + out_block),
            _ => None,
        };
        let on = |name: &str| i.name == name;
        let facts = Facts { on: Some(&on), number: Some(&number), ..Facts::default() };
        let key = match sort {
            "packets" => count(in_pass + out_pass),
            "bytes" => count(bytes),
            "blocked" => count(in_block + out_block),
            _ => Key::Name(format!("{}{}", u8::from(i.group), i.name)),
        };
        let name = match (i.group, i.skip) {
            (true, _) => format!("{} (group)", i.name),
            (false, true) => format!("{} (skip)", i.name),
            _ => i.name.clone(),
        };
        let cells = vec![
            name,
            short(in_pass),
            short(i.rate[0]),
            short(in_block),
            short(out_pass),
            short(i.rate[2]),
            short(out_block),
            short(bytes),
        ];
        drafts.add(&facts, key, cells, i.rate[1] + i.rate[3] > 0);
    }
}

fn counters(all: &Snapshot, sort: &str, drafts: &mut Drafts<'_>) {
    let rates = all.counter_rates.iter().copied().chain(std::iter::repeat(0));
    for ((name, n), rate) in all.counters.iter().zip(rates) {
        let key = match sort {
            "rate" => count(rate),
            "name" => Key::Name(name.clone()),
            _ => count(*n),
        };
        drafts.add(&Facts::default(), key, vec![name.clone(), n.to_string(), short(rate)], rate > 0 && name != "match");
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::snapshot;
    use super::*;
    use crate::watch::filter::{Scope, parse};

    fn first(view: View, filter: &str, sort: &str) -> Vec<String> {
        let filter = parse(filter, Scope::Top).unwrap();
        rows(view, &snapshot(), &filter, sort, false).into_iter().map(|r| r.cells[..3].join(" ")).collect()
    }

    #[test]
    fn states_sort_and_filter() {
        assert_eq!(
            first(View::States, "", "rate"),
            ["udp out 10.0.0.5:5353", "tcp in 192.0.2.7:40000", "tcp out 10.0.0.9:50000"]
        );
        assert_eq!(first(View::States, "", "age")[0], "tcp out 10.0.0.9:50000");
        assert_eq!(first(View::States, "tcp and state established", "rate"), ["tcp in 192.0.2.7:40000"]);
        assert_eq!(first(View::States, "host 203.0.113.9", "rate"), ["udp out 10.0.0.5:5353"], "the translated side");
        assert_eq!(first(View::States, "label \"ssh\"", "rate"), ["tcp in 192.0.2.7:40000", "tcp out 10.0.0.9:50000"]);
        assert_eq!(first(View::States, "rate > 1k and bytes < 1M", "rate"), ["udp out 10.0.0.5:5353"]);
    }

    #[test]
    fn every_view_has_its_columns_and_sorts() {
        let none = Expr::default();
        for view in View::ALL {
            for sort in view.sorts() {
                let forward = rows(view, &snapshot(), &none, sort, false);
                assert!(!forward.is_empty(), "{view:?}");
                assert!(forward.iter().all(|r| r.cells.len() == view.columns().len()), "{view:?}");
                let mut back = rows(view, &snapshot(), &none, sort, true);
                assert_eq!(back.len(), forward.len());
                back.sort_by(|a, b| a.cells.cmp(&b.cells));
                let mut all = forward.clone();
                all.sort_by(|a, b| a.cells.cmp(&b.cells));
                assert_eq!(all, back, "{view:?} {sort}");
            }
        }
    }

    #[test]
    fn pool_use_is_counted_by_address() {
        let nat = rows(View::Nat, &snapshot(), &Expr::default(), "states", false);
        assert_eq!(nat[0].cells, ["203.0.113.9", "udp", "source", "1", "1", "10", "900"]);
    }

    #[test]
    fn numbers_and_times_are_short() {
        for (n, text) in [
            (0, "0"),
            (9999, "9999"),
            (10_000, "10.0k"),
            (99_999, "99.9k"),
            (123_456, "123k"),
            (999_999, "999k"),
            (1_000_000, "1.0M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(short(n), text);
            assert!(short(n).len() <= 5);
        }
        assert_eq!([span(599), span(600), span(36_000), span(864_000)], ["599s", "10m", "10h", "10d"]);
    }
}
