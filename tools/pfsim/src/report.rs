//! What a replay found, for a person and for a program.
//!
//! **Invariant:** both forms tell the same numbers; the JSON form carries [`VERSION`] and only ever gains fields.

use std::collections::BTreeMap;
use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::decide::{By, RuleRow};
use crate::replay::NAMELESS;
use crate::tally::{Count, Tally};

/// Version of the JSON form.
pub const VERSION: u32 = 1;
/// Sources of blocked packets that are listed.
const WORST: usize = 10;

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const DIM: Style = Style::new().dimmed();

/// What is reported beside the numbers.
#[derive(Debug)]
pub struct About<'a> {
    /// The capture, as the user named it.
    pub capture: &'a str,
    /// The rules, as the user named them.
    pub rules: &'a str,
    /// Every rule.
    pub rows: &'a [RuleRow],
    /// What the reader should know besides.
    pub remarks: &'a [String],
    /// List also the rules that decided nothing.
    pub all_rules: bool,
}

/// A size in bytes as people read it.
fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut scaled = bytes;
    let mut tenths = 0;
    while scaled >= 1000 && unit + 1 < units.len() {
        tenths = scaled % 1000 / 100;
        scaled /= 1000;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or("TB");
    if unit == 0 { format!("{scaled} {name}") } else { format!("{scaled}.{tenths} {name}") }
}

/// A time span as people read it.
fn span(nanos: u64) -> String {
    let millis = nanos / 1_000_000;
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..120_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        120_000..7_200_000 => format!("{} min", millis / 60_000),
        _ => format!("{} h", millis / 3_600_000),
    }
}

fn plural<'w>(n: u64, one: &'w str, more: &'w str) -> &'w str {
    if n == 1 { one } else { more }
}

/// What decided, in words.
fn decided(by: By, rows: &[RuleRow], only_held: bool) -> String {
    let rule = |at: usize| {
        rows.get(at).map_or_else(
            || format!("rule {at}"),
            |row| {
                let anchor = if row.anchor.is_empty() { String::new() } else { format!("anchor \"{}\" ", row.anchor) };
                format!("{DIM}{}{DIM:#}  {anchor}{}", row.place(), row.text)
            },
        )
    };
    match by {
        By::Rule(at) => rule(at),
        By::Default => "no rule matched: passed".into(),
        By::State(Some(at)) => rule(at),
        By::State(None) => "states".into(),
        By::Engine if only_held => "kept before any rule: fragments waiting for the rest".into(),
        By::Engine => "refused before any rule".into(),
        By::Skip => "interface skipped (set skip on)".into(),
    }
}

/// The summary for a person; escape codes style it, which the stream strips where nobody sees them.
#[must_use]
pub fn text(tally: &Tally, about: &About<'_>) -> String {
    let mut out = String::new();
    heading(&mut out, tally, about);
    rules(&mut out, tally, about);
    reasons(&mut out, tally);
    talkers(&mut out, tally);
    notes(&mut out, tally, about);
    out
}

/// The state table under its heading.
#[must_use]
pub fn states(table: &str) -> String {
    if table.is_empty() {
        return format!("\n{BOLD}No states at the end{BOLD:#}\n");
    }
    format!("\n{BOLD}States at the end{BOLD:#}\n{table}")
}

fn heading(out: &mut String, tally: &Tally, about: &About<'_>) {
    let time = tally.span.map_or(0, |(first, last)| last - first);
    let names: Vec<&str> = tally.interfaces.keys().map(String::as_str).filter(|name| *name != NAMELESS).collect();
    let on = if names.is_empty() { String::new() } else { format!(" on {}", names.join(", ")) };
    let frames = plural(tally.frames, "frame", "frames");
    let _ = writeln!(out, "{BOLD}{}{BOLD:#}: {} {frames} in {}{on}\n", about.capture, tally.frames, span(time));
    let row = |out: &mut String, style: Style, name: &str, count: &Count| {
        let what = plural(count.packets, "packet", "packets");
        let _ = writeln!(out, "  {style}{name:<8}{style:#} {:>9} {what:<8} {:>10}", count.packets, size(count.bytes));
    };
    row(out, GOOD, "passed", &tally.passed);
    row(out, BAD, "blocked", &tally.blocked);
    if tally.held.packets > 0 {
        row(out, DIM, "held", &tally.held);
    }
    let others: u64 = tally.others.values().sum();
    if others > 0 {
        let mut kinds: Vec<_> =
            tally.others.iter().map(|(kind, n)| (std::cmp::Reverse(*n), kind.to_string())).collect();
        kinds.sort();
        let kinds: Vec<_> = kinds.iter().map(|(n, kind)| format!("{kind} {}", n.0)).collect();
        let what = plural(others, "frame", "frames");
        let _ = writeln!(out, "  {:<8} {others:>9} {what:<8} {:>10}  {}", "not IP", "", kinds.join(", "));
    }
}

/// What one thing decided: passed and blocked in all, passed by its states, held.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    passed: u64,
    blocked: u64,
    states: u64,
    held: u64,
}

/// Rows in order, states with the rule that made them.
fn decisions(tally: &Tally, about: &About<'_>) -> BTreeMap<By, Row> {
    let mut rows: BTreeMap<By, Row> = BTreeMap::new();
    for (by, [passed, blocked, held]) in &tally.by {
        let (of, by_state) = match by {
            By::State(Some(at)) => (By::Rule(*at), true),
            other => (*other, false),
        };
        let row = rows.entry(of).or_default();
        row.passed += passed.packets;
        row.blocked += blocked.packets;
        row.held += held.packets;
        row.states += if by_state { passed.packets } else { 0 };
    }
    if about.all_rules {
        for at in 0..about.rows.len() {
            rows.entry(By::Rule(at)).or_default();
        }
    }
    rows
}

fn rules(out: &mut String, tally: &Tally, about: &About<'_>) {
    let rows = decisions(tally, about);
    if rows.is_empty() {
        return;
    }
    let with_states = rows.values().any(|row| row.states > 0);
    let title = if with_states { " by state" } else { "" };
    let _ = writeln!(out, "\n{BOLD}{:>8} {:>8}{title}  decided by{BOLD:#}", "passed", "blocked");
    let cell = |n: u64, style: Style| {
        if n == 0 { format!("{DIM}{:>8}{DIM:#}", "-") } else { format!("{style}{n:>8}{style:#}") }
    };
    for (by, row) in &rows {
        let states = if with_states { format!(" {}", cell(row.states, Style::new())) } else { String::new() };
        let held = if row.held > 0 { format!("  {DIM}({} held){DIM:#}", row.held) } else { String::new() };
        let what = decided(*by, about.rows, row.passed == 0 && row.blocked == 0 && row.held > 0);
        let _ = writeln!(out, "{} {}{states}  {what}{held}", cell(row.passed, GOOD), cell(row.blocked, BAD));
    }
    let idle = about.rows.len().saturating_sub(rows.keys().filter(|by| matches!(by, By::Rule(_))).count());
    if idle > 0 {
        let rules = if idle == 1 { "rule" } else { "rules" };
        let gap = if with_states { 26 } else { 17 };
        let _ = writeln!(out, "{DIM}{:>gap$}  {idle} other {rules} decided nothing (-v lists them){DIM:#}", "");
    }
}

fn reasons(out: &mut String, tally: &Tally) {
    let only_match = tally.reasons.keys().all(|reason| *reason == pfvm::packet::DropReason::Match);
    if only_match {
        return;
    }
    let list: Vec<_> = tally.reasons.iter().map(|(reason, n)| format!("{} {n}", reason.name())).collect();
    let _ = writeln!(out, "\n{BOLD}Drops by reason:{BOLD:#} {}", list.join(", "));
}

fn talkers(out: &mut String, tally: &Tally) {
    let worst = tally.worst(WORST);
    if worst.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{BOLD}{:>8}  blocked most{BOLD:#}", "packets");
    let width = worst.iter().map(|(addr, _)| addr.to_string().len()).max().unwrap_or(0);
    for (addr, talker) in &worst {
        let to = match (talker.targets.len(), talker.targets.first()) {
            (1, Some(one)) => one.to_string(),
            (n, _) => format!("{n} addresses"),
        };
        let _ =
            writeln!(out, "{:>8}  {:<width$}  {} to {to}", talker.blocked.packets, addr.to_string(), talker.asked());
    }
    let more = tally.talkers.len() - worst.len();
    if more > 0 {
        let _ = writeln!(out, "{DIM}{:>8}  and {more} other {}{DIM:#}", "", plural(more as u64, "source", "sources"));
    }
}

fn notes(out: &mut String, tally: &Tally, about: &About<'_>) {
    let mut notes = Vec::new();
    if tally.nameless > 0 {
        let n = tally.nameless;
        let what = plural(n, "packet has", "packets have");
        notes.push(format!("{n} {what} no interface name: give --on, or --host-facts with interface indexes"));
    }
    if tally.guessed > 0 {
        notes.push(format!("{} directions were guessed by the machine's addresses: --dir sets them", tally.guessed));
    }
    if tally.cut > 0 {
        notes.push(format!("{} packets were captured in part: the rest was taken as zeros", tally.cut));
    }
    notes.extend(about.remarks.iter().cloned());
    if !notes.is_empty() {
        out.push('\n');
    }
    for note in notes {
        let _ = writeln!(out, "{DIM}note: {note}{DIM:#}");
    }
}

fn count(count: &Count) -> Value {
    json!({ "packets": count.packets, "bytes": count.bytes })
}

fn decided_json(by: By, rows: &[RuleRow]) -> Value {
    let rule = |at: usize| {
        rows.get(at).map_or_else(
            || json!({ "index": at }),
            |row| {
                json!({
                    "number": row.nr, "anchor": row.anchor, "text": row.text, "label": row.label,
                    "file": row.file, "line": row.line,
                })
            },
        )
    };
    match by {
        By::Rule(at) => json!({ "kind": "rule", "rule": rule(at) }),
        By::State(at) => json!({ "kind": "state", "rule": at.map(rule) }),
        By::Default => json!({ "kind": "default" }),
        By::Engine => json!({ "kind": "engine" }),
        By::Skip => json!({ "kind": "skip" }),
    }
}

/// The summary for a program.
#[must_use]
pub fn to_json(tally: &Tally, about: &About<'_>) -> Value {
    let by: Vec<_> = tally
        .by
        .iter()
        .map(|(by, [passed, blocked, held])| {
            let mut row = decided_json(*by, about.rows);
            row["passed"] = count(passed);
            row["blocked"] = count(blocked);
            row["held"] = count(held);
            row
        })
        .collect();
    let reasons: serde_json::Map<_, _> =
        tally.reasons.iter().map(|(reason, n)| (reason.name().to_owned(), json!(n))).collect();
    let others: serde_json::Map<_, _> = tally.others.iter().map(|(kind, n)| (kind.to_string(), json!(n))).collect();
    let talkers: Vec<_> = tally
        .worst(WORST)
        .iter()
        .map(|(addr, talker)| {
            json!({ "source": addr, "blocked": count(&talker.blocked), "asked": talker.asked(), "targets": talker.targets.len() })
        })
        .collect();
    json!({
        "version": VERSION,
        "capture": about.capture,
        "rules": about.rules,
        "frames": tally.frames,
        "nanoseconds": tally.span.map_or(0, |(first, last)| last - first),
        "passed": count(&tally.passed),
        "blocked": count(&tally.blocked),
        "held": count(&tally.held),
        "logged": tally.logged,
        "not_ip": others,
        "decided_by": by,
        "reasons": reasons,
        "interfaces": tally.interfaces.iter().map(|(name, [came, went])| json!({ "name": name, "in": came, "out": went })).collect::<Vec<_>>(),
        "blocked_most": talkers,
        "guessed_directions": tally.guessed,
        "without_interface": tally.nameless,
        "captured_in_part": tally.cut,
        "remarks": about.remarks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_read_well() {
        assert_eq!(
            ["0 B", "999 B", "1.0 kB", "1.9 MB"],
            [size(0), size(999), size(1000), size(1_999_999)].each_ref().map(String::as_str)
        );
        assert_eq!(span(4_210_000_000), "4.2 s");
        assert_eq!(span(7_200_000_000_000), "2 h");
    }
}
