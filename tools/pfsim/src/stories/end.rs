//! What stands in the books when a story is over: counters of the filter and of its rules, source nodes, tables; as
//! `pfctl -vvsi`, `-vvsr`, `-vsS` and `-vvsT` printed them for the recording, and as ours.

use pfvm::engine::counters::LimitCounter;
use pfvm::packet::DropReason;
use serde_json::Value;

use super::run::Player;
use super::sim::ip_of;

/// The number after a name, however many words lie between it and the line's beginning.
fn after(line: &str, name: &str) -> Option<u64> {
    line.split_once(name)?.1.split_whitespace().next()?.trim_end_matches(']').parse().ok()
}

impl Player<'_> {
    /// What differs at the end of a story. Each line begins with the command that shows it.
    pub(super) fn end(&self, end: &Value, fuzzy: &[String]) -> Vec<String> {
        let text = |name: &str| end[name].as_str().filter(|_| name == "pfctl_vvsi" || !fuzzy.iter().any(|f| f == name));
        let mut out = Vec::new();
        if let Some(t) = text("pfctl_vvsi") {
            self.end_info(t, &mut out);
        }
        if let Some(t) = text("pfctl_vvsr") {
            self.end_rules(t, &mut out);
        }
        if let Some(t) = text("pfctl_sS") {
            self.end_sources(t, &mut out);
        }
        if let Some(t) = text("pfctl_sT") {
            self.end_tables(t, &mut out);
        }
        out
    }

    /// Every counter of `-vvsi`; rates and times are left out.
    fn end_info(&self, text: &str, out: &mut Vec<String>) {
        let engine = &self.world.engine;
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let frags = engine.frags.counters();
        let table = |current: u64, [searches, inserts, removals]: [u64; 3]| {
            [("current entries", current), ("searches", searches), ("inserts", inserts), ("removals", removals)]
        };
        let states = table(engine.table.len().into(), engine.table.counters());
        let sources = table(count(engine.nodes.iter().filter(|(_, n)| !n.orphan).count()), engine.nodes.counters());
        let frags = table(engine.frags.len().into(), [frags.searches, frags.inserts, frags.removals]);
        let reasons = DropReason::ALL.iter().map(|r| (r.name(), engine.counters.of_reason(*r)));
        let limits = LimitCounter::ALL.iter().map(|l| (l.name(), engine.counters.of_limit(*l)));
        let sections = [
            ("State Table", states.to_vec()),
            ("Source Tracking Table", sources.to_vec()),
            ("Fragments", frags.to_vec()),
            ("Counters", reasons.collect()),
            ("Limit Counters", limits.collect()),
        ];
        let mut section: Option<&(&str, Vec<(&str, u64)>)> = None;
        for line in text.lines() {
            if !line.starts_with(' ') {
                section = sections
                    .iter()
                    .find(|(name, _)| line.strip_prefix(name).is_some_and(|r| !r.starts_with(char::is_alphanumeric)));
                continue;
            }
            let Some((name, rows)) = section else { continue };
            let mut known = rows.clone();
            known.push(("half-open tcp", engine.half_open.into()));
            for (what, ours) in known {
                if line.trim_start().strip_prefix(what).is_some_and(|rest| rest.starts_with("  "))
                    && let Some(want) = after(line, what).filter(|w| *w != ours)
                {
                    out.push(format!("-vvsi {name}, {what}: want {want} got {ours}"));
                }
            }
        }
    }

    /// Packets, bytes and states of every rule of the main ruleset.
    fn end_rules(&self, text: &str, out: &mut Vec<String>) {
        let rules = self.rules();
        let (mut rule, mut depth) = (None, 0_usize);
        for line in text.lines() {
            if depth > 0 && line.starts_with('@') {
                rule = None;
            } else if let Some(rest) = line.strip_prefix('@') {
                let nr: Option<u64> = rest.split_whitespace().next().and_then(|n| n.parse().ok());
                rule = rules.iter().find(|r| r["anchor"] == "" && r["nr"].as_u64() == nr);
                if rule.is_none() {
                    out.push(format!("-vvsr: no rule {rest}"));
                }
            }
            // An anchor without a name shows its rules between braces, numbered by themselves.
            depth += usize::from(line.ends_with('{'));
            depth -= usize::from(line == "}");
            let Some(r) = rule.filter(|_| line.starts_with("  [")) else { continue };
            let shown = [
                ("Evaluations:", "evaluations"),
                ("Packets:", "packets"),
                ("Bytes:", "bytes"),
                ("States:", "states"),
                ("State Creations:", "total"),
            ];
            let counted = shown.into_iter().filter(|(_, field)| self.straight || *field != "evaluations");
            for (what, field) in counted {
                let ours = r[field].as_u64().unwrap_or(0);
                if let Some(want) = after(line, what).filter(|w| *w != ours) {
                    out.push(format!("-vvsr @{} {what} want {want} got {ours}", r["nr"]));
                }
            }
        }
    }

    /// Source nodes, in whatever order.
    fn end_sources(&self, text: &str, out: &mut Vec<String>) {
        let lines: Vec<&str> = text.lines().filter(|l| !l.is_empty()).collect();
        let mut want: Vec<String> = Vec::new();
        for line in lines {
            match want.last_mut().filter(|_| line.starts_with(' ')) {
                Some(last) => *last += line,
                None => want.push(line.to_owned()),
            }
        }
        let now = self.second();
        let mut got: Vec<String> = self
            .world
            .engine
            .nodes
            .iter()
            .filter(|(_, n)| !n.orphan)
            .map(|(_, n)| {
                let to = if n.redirect == pfvm::rule::Addr::default() {
                    String::new()
                } else {
                    let word = ["", "nat-to", "rdr-to", "route-to"][n.key.kind as usize];
                    format!("{word} {} ", ip_of(n.redirect_af, &n.redirect))
                };
                let clock = |s: u32| format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
                let expires =
                    if n.states == 0 { format!(", expires in {}", clock(n.expire.saturating_sub(now))) } else { String::new() };
                format!(
                    "{} {to}( states {}, connections {}, rate {}.{}/{}s )   age {}{expires}, {} pkts, {} bytes, rule {}",
                    ip_of(n.key.af, &n.key.addr),
                    n.states,
                    n.conn,
                    n.rate.shown(now).0 / 1000,
                    n.rate.shown(now).0 % 1000 / 100,
                    n.rate.shown(now).1,
                    clock(now.saturating_sub(n.created)),
                    n.packets[0] + n.packets[1],
                    n.bytes[0] + n.bytes[1],
                    self.world.rule_number(n.key.rule),
                )
            })
            .collect();
        want.sort();
        got.sort();
        if want != got {
            out.push(format!("-sS: want {want:#?} got {got:#?}"));
        }
    }

    /// Packets and evaluations of the tables of the main ruleset.
    fn end_tables(&self, text: &str, out: &mut Vec<String>) {
        let mut table = None;
        for line in text.lines() {
            if let Some((_, name)) = line.split_once('\t').filter(|(flags, _)| !flags.is_empty()) {
                table = self.table_named(name).map(|t| (name, t));
                continue;
            }
            let Some((name, t)) = &table else { continue };
            let line = line.trim();
            let Some((what, rest)) = line.split_once(':') else { continue };
            let mut check = |what: &str, want: Option<u64>, ours: &Value| {
                if want.is_some() && want != ours.as_u64() {
                    out.push(format!("-vvsT {name} {what}: want {want:?} got {ours}"));
                }
            };
            match what {
                "Addresses" => check(what, rest.trim().parse().ok(), &t["count"]),
                "Evaluations" if !self.straight => {}
                "Evaluations" => {
                    check("NoMatch", after(rest, "NoMatch:"), &t["nomatch"]);
                    check("Match", after(rest, " Match:"), &t["match"]);
                }
                _ => {
                    if let Some((dir, op)) = what.split_once('/') {
                        let ours = &t["counted"][dir.to_lowercase()][op.to_lowercase()];
                        check(what, after(rest, "Packets:"), ours);
                    }
                }
            }
        }
    }
}
