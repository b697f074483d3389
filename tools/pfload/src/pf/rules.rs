//! `-s rules`, `-s labels`, `-s Anchors`: what is loaded, as pfctl lists it.
//!
//! Source: `pfctl.c pfctl_show_rules`, `pfctl_print_rule_counters`, `pfctl_show_anchors`; `pfctl_parser.c print_rule`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pfc::facts::{Facts, Transport};
use pfc::print::listing::{Listing, Mark, SKIPS, Skip};
use pfvm::api::{Code, Request};
use pfvm::image::TableFlags;
use serde_json::{Value, json};

use super::Pf;
use super::book::{Book, Known};
use crate::link::{Entries, Link, Outcome, Tables, Trouble};

/// Whether rules or their labels are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `-s rules`.
    Rules,
    /// `-s labels`.
    Labels,
}

/// How many addresses tables have, by anchor and name: of IPv4 and IPv6. Those that are not active are left out.
pub(crate) type Counts = BTreeMap<(String, String), [u32; 2]>;

/// Reads the counts. Of dynamic tables negated entries do not count, of others all do.
pub(crate) fn counts(link: &mut Link) -> Outcome<Counts> {
    let mut counts = Counts::new();
    let mut dynamic = Vec::new();
    link.each::<Tables>(
        |cursor| Request::Tables { path: "", below: true, cursor },
        |row| {
            if row.dynamic {
                dynamic.push((row.path.to_owned(), row.name.to_owned()));
            } else if row.active || TableFlags(row.flags).has(TableFlags::AUTOMATIC) {
                counts.insert((row.path.to_owned(), row.name.to_owned()), [row.addresses, 0]);
            }
            Ok(())
        },
    )?;
    for (path, name) in dynamic {
        let mut both = [0u32; 2];
        link.each::<Entries>(
            |cursor| Request::Entries { path: &path, name: &name, cursor },
            |row| {
                let slot = usize::from(row.af == pfvm::rule::Af::Inet6);
                if let Some(n) = both.get_mut(slot).filter(|_| !row.not) {
                    *n = n.saturating_add(1);
                }
                Ok(())
            },
        )?;
        counts.insert((DYNAMIC.to_owned(), name), both);
    }
    Ok(counts)
}

/// The anchor of tables that follow interfaces.
pub(crate) const DYNAMIC: &str = "_pf";

/// What a listing knows beside the rule itself.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// `@n`, counts of addresses.
    pub numbers: bool,
    /// Path of the rule's ruleset.
    pub path: &'a str,
    /// Tables.
    pub counts: &'a Counts,
    /// Names of services, with `-P`.
    pub services: Option<&'a Facts>,
}

/// One rule as pfctl prints it.
pub(crate) fn line(rule: &Known, setting: &Setting<'_>) -> String {
    let text = &rule.words.text;
    let mut out = String::with_capacity(text.len().saturating_add(16));
    if setting.numbers {
        let _ = write!(out, "@{} ", rule.row.nr);
    }
    let mut done = 0;
    for (at, mark) in &rule.words.listing.marks {
        let Some(before) = text.get(done..*at) else { continue };
        out.push_str(before);
        done = *at;
        let rest = text.get(*at..).unwrap_or_default();
        match mark {
            Mark::Table if setting.numbers => {
                let name = before.rsplit_once('<').map_or("", |(_, name)| name);
                out.push_str(&table_count(setting, name));
            }
            Mark::Dynamic if setting.numbers => {
                let name = before.rsplit_once('(').map_or("", |(_, name)| name);
                out.push_str(&dynamic_count(setting, name, rest, text));
            }
            Mark::Port(transport) => {
                let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                if let Some(name) = service(setting, rest.get(..digits).unwrap_or_default(), *transport) {
                    out.push_str(name);
                    done = at.saturating_add(digits);
                }
            }
            _ => {}
        }
    }
    out.push_str(text.get(done..).unwrap_or_default());
    if rule.row.expired {
        out.push_str(" # expired");
    }
    out
}

fn service<'f>(setting: &Setting<'f>, port: &str, transport: Transport) -> Option<&'f str> {
    setting.services?.service_name(port.parse().ok()?, transport)
}

/// `:n` behind a table's name, `:*` for one that is only named: that of the anchor, else that of the main ruleset.
fn table_count(setting: &Setting<'_>, name: &str) -> String {
    let find = |path: &str| setting.counts.get(&(path.to_owned(), name.to_owned()));
    match find(setting.path).or_else(|| find("")) {
        Some([n, _]) => format!(":{n}"),
        None => ":*".to_owned(),
    }
}

/// `:n` behind an interface in parentheses: the addresses of the rule's family that the interface has.
fn dynamic_count(setting: &Setting<'_>, name: &str, rest: &str, text: &str) -> String {
    let prefix = rest.strip_prefix(")/").map_or("", |tail| {
        let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        tail.get(..end).unwrap_or_default()
    });
    let table = if prefix.is_empty() { name.to_owned() } else { format!("{name}/{prefix}") };
    let [v4, v6] = setting.counts.get(&(DYNAMIC.to_owned(), table)).copied().unwrap_or_default();
    // The family stands before the addresses, and only there.
    let head = text.split(" from ").next().unwrap_or_default();
    let n = match (head.contains(" inet6"), head.contains(" inet")) {
        (true, _) => v6,
        (_, true) => v4,
        _ => v4.saturating_add(v6),
    };
    if n == 0 { ":*".to_owned() } else { format!(":{n}") }
}

/// What stands below a rule with `-v` and `-g`.
pub(crate) fn figures(rule: &Known, verbose: u8, debug: bool) -> String {
    let mut out = String::new();
    let row = &rule.row;
    if debug {
        out.push_str(&steps(&rule.words.listing, row.nr));
    }
    if verbose > 0 {
        let sum = |[a, b]: [u64; 2]| a.wrapping_add(b);
        let _ = writeln!(
            out,
            "  [ Evaluations: {:<8}  Packets: {:<8}  Bytes: {:<10}  States: {:<6}]",
            row.evaluations,
            sum(row.packets),
            sum(row.bytes),
            row.states
        );
        if !debug {
            let (uid, pid) = row.by;
            let _ = writeln!(out, "  [ Inserted: uid {uid} pid {pid} State Creations: {:<6}]", row.states_total);
        }
    }
    out
}

fn steps(listing: &Listing, nr: u32) -> String {
    let mut out = String::from("  [ Skip steps: ");
    for (name, skip) in SKIPS.iter().zip(listing.skips) {
        match skip {
            Skip::Next => {}
            Skip::To(to) if to == nr.wrapping_add(1) => {}
            Skip::To(to) => {
                let _ = write!(out, "{name}={to} ");
            }
            Skip::End => {
                let _ = write!(out, "{name}=end ");
            }
        }
    }
    let [queue, priority] = &listing.queues;
    let both = |q: &Option<(u32, String)>| q.clone().unwrap_or_default();
    let ((qid, qname), (pqid, pqname)) = (both(queue), both(priority));
    let _ = writeln!(out, "]\n  [ queue: qname={qname} qid={qid} pqname={pqname} pqid={pqid} ]");
    out
}

/// A label's line: packets and bytes in all, in, out; states there ever were.
pub(crate) fn label_line(rule: &Known) -> String {
    let row = &rule.row;
    let ([pi, po], [bi, bo]) = (row.packets, row.bytes);
    let (p, b) = (pi.wrapping_add(po), bi.wrapping_add(bo));
    let (label, evaluations, states) = (&rule.words.label, row.evaluations, row.states_total);
    format!("{label} {evaluations} {p} {b} {pi} {bi} {po} {bo} {states}\n")
}

/// Below which an anchor call is printed open: one written in place, or any with `/*`.
fn is_open(call: &(String, bool), recurse: bool) -> bool {
    let last = call.0.rsplit('/').next().unwrap_or_default();
    recurse || (!call.1 && last.starts_with('_'))
}

/// What a recursive listing carries along.
struct Listed<'a> {
    book: Book,
    counts: Counts,
    format: Format,
    only: Option<u32>,
    services: Option<&'a Facts>,
    /// Rulesets that were walked through, for `-z`.
    walked: Vec<String>,
}

/// pfctl's words for an anchor there is none of.
pub(super) const NO_ANCHOR: &str = "Anchor does not exist";

/// Title of rules in `-s all`; pfctl repeats it where it goes into an anchor.
const RULES: &str = "FILTER RULES:";

/// Calls deeper than this are not followed; pf allows no more.
const DEPTH: usize = 64;

impl Pf<'_> {
    /// `-s rules` and `-s labels`.
    pub(super) fn show_rules(&mut self, format: Format) -> Outcome {
        let command = self.command;
        let book = Book::read(&mut self.link)?;
        let path = command.options.anchor.trim_start_matches('/').to_owned();
        if !book.exists(&path) {
            // pfctl says so and ends well.
            self.out.warn(NO_ANCHOR);
            return Ok(());
        }
        let counts = if self.numbers() { counts(&mut self.link)? } else { Counts::new() };
        let services = if command.options.port_names { Some(self.facts()?.clone()) } else { None };
        let all = command.show == Some("all");
        let only = command.rule_number.filter(|_| !all).and_then(|n| u32::try_from(n).ok());
        let mut listed = Listed { book, counts, format, only, services: services.as_ref(), walked: Vec::new() };
        if self.out.json {
            return self.rules_json(&path, &mut listed);
        }
        let mut text = String::new();
        self.list(&mut listed, &path, 0, command.wildcard && !all, &mut text)?;
        match format {
            Format::Rules => self.section(RULES, &text),
            Format::Labels if self.labels => self.section("LABEL COUNTERS:", &text),
            Format::Labels => self.out.put(&text),
        }
        if command.zero {
            listed.walked.iter().try_for_each(|path| self.zero_ruleset(path))?;
        }
        Ok(())
    }

    /// Whether `@n` and counts are shown.
    fn numbers(&self) -> bool {
        self.command.options.verbose > 1 || self.command.options.debug
    }

    fn list(
        &mut self,
        listed: &mut Listed<'_>,
        path: &str,
        depth: usize,
        mut wildcard: bool,
        out: &mut String,
    ) -> Outcome {
        if depth > DEPTH {
            return Ok(());
        }
        let (verbose, debug) = (self.command.options.verbose, self.command.options.debug);
        let numbers = self.numbers();
        let indent = if verbose > 0 { String::new() } else { "  ".repeat(depth) };
        if depth > 0 && self.command.show == Some("all") {
            let _ = writeln!(out, "\n{RULES}");
        }
        listed.walked.push(path.to_owned());
        for rule in listed.book.rules(&mut self.link, path)? {
            self.labels |= !rule.words.label.is_empty();
            if listed.only.is_some_and(|nr| nr != rule.row.nr) {
                continue;
            }
            if !rule.words.call.as_ref().is_some_and(|(_, all)| *all) {
                wildcard = false;
            }
            if listed.format == Format::Labels {
                if !rule.words.label.is_empty() {
                    let _ = write!(out, "{indent}{}", label_line(&rule));
                }
                continue;
            }
            out.push_str(&indent);
            if rule.row.expired && !numbers {
                // pfctl leaves the line there.
                continue;
            }
            let setting = Setting { numbers, path, counts: &listed.counts, services: listed.services };
            out.push_str(&line(&rule, &setting));
            match &rule.words.call {
                Some(call) if is_open(call, self.command.recurse) => {
                    let _ = write!(out, " {{\n{}", figures(&rule, verbose, debug));
                    let only = listed.only.take();
                    self.list(listed, &call.0, depth.saturating_add(1), call.1, out)?;
                    listed.only = only;
                    let _ = writeln!(out, "{indent}}}");
                }
                _ => {
                    let _ = write!(out, "\n{}", figures(&rule, verbose, debug));
                }
            }
        }
        if wildcard && self.command.recurse {
            for name in listed.book.children(path) {
                let child = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                let _ = writeln!(out, "{indent}anchor \"{name}\" all {{");
                self.list(listed, &child, depth.saturating_add(1), false, out)?;
                let _ = writeln!(out, "{indent}}}");
            }
        }
        Ok(())
    }

    fn rules_json(&mut self, path: &str, listed: &mut Listed<'_>) -> Outcome {
        let mut paths: Vec<String> = vec![path.to_owned()];
        let below = |p: &str| path.is_empty() || p.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        if self.command.recurse {
            paths.extend(listed.book.paths().filter(|p| *p != path && below(p)).map(str::to_owned));
        }
        let mut rows = Vec::new();
        for path in paths {
            for rule in listed.book.rules(&mut self.link, &path)? {
                let labelled = listed.format == Format::Rules || !rule.words.label.is_empty();
                if labelled && listed.only.is_none_or(|nr| nr == rule.row.nr) {
                    rows.push(rule_json(&path, &rule));
                }
            }
        }
        let name = if listed.format == Format::Rules { "rules" } else { "labels" };
        self.document(name, Value::Array(rows));
        Ok(())
    }

    /// `-z`: counters of the anchor's rules to zero, not of those below it.
    pub(super) fn zero_rules(&mut self) -> Outcome {
        self.zero_ruleset(self.command.options.anchor.trim_start_matches('/'))
    }

    fn zero_ruleset(&mut self, path: &str) -> Outcome {
        match self.link.change(&Request::ZeroRules { path }) {
            Err(why) if !why.is(Code::NotFound) => return Err(why),
            Err(_) if !path.is_empty() && !self.has_anchor(path)? => self.out.warn(NO_ANCHOR),
            _ => {}
        }
        Ok(())
    }

    /// Whether somebody speaks of an anchor.
    pub(super) fn has_anchor(&mut self, path: &str) -> Outcome<bool> {
        if path.is_empty() {
            return Ok(true);
        }
        match self.link.send(&Request::Rulesets { under: path, cursor: 0 }) {
            Err(why) if why.is(Code::NotFound) => Ok(false),
            done => done.map(|_| true),
        }
    }

    /// `-s Anchors`.
    pub(super) fn show_anchors(&mut self) -> Outcome {
        let book = Book::read(&mut self.link)?;
        let path = self.command.options.anchor.trim_start_matches('/').to_owned();
        if !book.exists(&path) {
            return Err(Trouble::Here(NO_ANCHOR.into()));
        }
        let mut names = below(&book, &path);
        names.retain(|name| self.command.options.verbose > 0 || !name.starts_with('_'));
        if self.out.json {
            self.document("anchors", json!(names));
        } else {
            for name in names {
                self.out.put(&format!("  {name}\n"));
            }
        }
        Ok(())
    }
}

/// All anchors below a path, each before those below it.
pub(super) fn below(book: &Book, path: &str) -> Vec<String> {
    let children = book.children(path).into_iter().filter(|name| name != DYNAMIC);
    let paths = children.map(|name| if path.is_empty() { name } else { format!("{path}/{name}") });
    paths
        .flat_map(|child| {
            let deeper = below(book, &child);
            std::iter::once(child).chain(deeper)
        })
        .collect()
}

fn rule_json(path: &str, rule: &Known) -> Value {
    let (words, row) = (&rule.words, &rule.row);
    json!({
        "anchor": path,
        "nr": row.nr,
        "text": words.text,
        "label": (!words.label.is_empty()).then_some(&words.label),
        "file": words.place.0,
        "line": words.place.1,
        "calls": words.call.as_ref().map(|(path, all)| if *all { format!("{path}/*") } else { path.clone() }),
        "id": format!("{:016x}", row.stable_id),
        "evaluations": row.evaluations,
        "packets": { "in": row.packets[0], "out": row.packets[1] },
        "bytes": { "in": row.bytes[0], "out": row.bytes[1] },
        "states": row.states,
        "state_creations": row.states_total,
        "source_nodes": row.sources,
        "inserted": { "time": row.inserted, "uid": row.by.0, "pid": row.by.1 },
        "expired": row.expired,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pf::book::Words;
    use pfvm::api::RuleRow;

    fn rule(text: &str, marks: &[(&str, Mark)]) -> Known {
        let marks = marks.iter().map(|(before, mark)| (text.find(before).unwrap() + before.len(), *mark)).collect();
        let words = Words {
            text: text.into(),
            listing: Listing { marks, ..Listing::default() },
            label: "web".into(),
            place: ("pf.conf".into(), 3),
            call: None,
        };
        let row = RuleRow {
            rule: 0,
            nr: 4,
            stable_id: 1,
            evaluations: 10,
            packets: [3, 4],
            bytes: [300, 400],
            states: 2,
            states_total: 9,
            sources: 0,
            inserted: 0,
            by: (0, 77),
            expired: false,
        };
        Known { words, row }
    }

    #[test]
    fn counts_and_names_stand_where_the_compiler_marked_them() {
        let text = "pass in inet proto tcp from <bad> to (em0:network)/24 port = 80";
        let marks = [("<bad", Mark::Table), ("(em0:network", Mark::Dynamic), ("port = ", Mark::Port(Transport::Tcp))];
        let mut counts = Counts::new();
        counts.insert((String::new(), "bad".into()), [7, 0]);
        counts.insert(("_pf".into(), "em0:network/24".into()), [2, 3]);
        let facts = Facts::default();
        let all = Setting { numbers: true, path: "x", counts: &counts, services: Some(&facts) };
        let known = rule(text, &marks);
        assert_eq!(line(&known, &all), "@4 pass in inet proto tcp from <bad:7> to (em0:network:2)/24 port = www");
        let plain = Setting { numbers: false, path: "", counts: &Counts::new(), services: None };
        assert_eq!(line(&known, &plain), text);
        let none = Setting { numbers: true, path: "", counts: &Counts::new(), services: None };
        assert_eq!(line(&known, &none), "@4 pass in inet proto tcp from <bad:*> to (em0:network:*)/24 port = 80");
    }

    #[test]
    fn figures_as_pfctl_lays_them_out() {
        let known = rule("pass all", &[]);
        assert_eq!(
            figures(&known, 1, false),
            "  [ Evaluations: 10        Packets: 7         Bytes: 700         States: 2     ]\n  \
             [ Inserted: uid 0 pid 77 State Creations: 9     ]\n"
        );
        assert_eq!(label_line(&known), "web 10 7 700 3 300 4 400 9\n");
    }
}
