//! The way of a packet through the rules, as text and as JSON: one form for a packet on paper (`pfsim why`) and for one
//! that came by (`pfload trace`).
//!
//! **Invariant:** both forms tell the same; the JSON form carries [`VERSION`] and only ever gains fields.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::decide::{RuleRow, Verdict};

/// Version of the JSON form.
pub const VERSION: u32 = 1;

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// How a rule was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It matched and decides.
    Decides,
    /// A `match` rule: its options apply.
    Applies,
    /// It matched; a later one decides.
    Matches,
    /// Its anchor was entered.
    Enters,
    /// It made the state that decides.
    Made,
    /// It does not match.
    Missed,
}

impl Mark {
    const fn word(self) -> &'static str {
        match self {
            Self::Decides => "decides",
            Self::Applies => "applies",
            Self::Matches => "matches",
            Self::Enters => "enters",
            Self::Made => "made",
            Self::Missed => "",
        }
    }
}

/// A rule on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// It.
    pub rule: RuleRow,
    /// How it was met.
    pub mark: Mark,
    /// Words executed for it: place, text, text with the names behind its numbers.
    pub words: Vec<(u32, String, String)>,
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The rule marked so.
    Rule,
    /// No rule matched.
    Default,
    /// The interface is skipped, or the filter is off.
    Skip,
    /// The packet never came to the rules.
    Engine,
    /// A state.
    State,
}

/// The way of one packet.
#[derive(Clone, Debug)]
pub struct Way {
    /// The packet as a line.
    pub packet: String,
    /// Where it goes after translation, where that changes it.
    pub translated: Option<String>,
    /// What decided.
    pub by: Decided,
    /// Verdict.
    pub verdict: Verdict,
    /// Name of the reason.
    pub reason: &'static str,
    /// Whether it is logged.
    pub log: bool,
    /// Its state: whether this packet made it, and the progress of both sides.
    pub state: Option<(bool, String)>,
    /// Generation of the rules, where they are loaded.
    pub generation: Option<u64>,
    /// Rules met, in order.
    pub steps: Vec<Step>,
    /// Rules that matched and were not kept.
    pub unseen: u16,
}

impl Way {
    const fn word(&self) -> (&'static str, Style) {
        match self.verdict {
            Verdict::Pass => ("pass", GOOD),
            Verdict::Block => ("block", BAD),
            Verdict::Hold => ("hold", DIM),
        }
    }

    fn marked(&self, mark: Mark) -> Option<&RuleRow> {
        self.steps.iter().rev().find(|step| step.mark == mark).map(|step| &step.rule)
    }
}

/// `file:line`; of a rule no longer in force nothing is known but its number.
fn place(row: &RuleRow) -> String {
    if row.line == 0 { "(no longer loaded)".into() } else { row.place() }
}

fn label(row: &RuleRow) -> String {
    if row.label.is_empty() { String::new() } else { format!(" label \"{}\"", row.label) }
}

/// The way for a person: rules that matched; with `all`, every rule met and the words executed.
#[must_use]
pub fn text(way: &Way, all: bool) -> String {
    let arrow = way.translated.as_ref().map_or_else(String::new, |to| format!("\n{DIM}becomes{DIM:#} {to}"));
    let mut out = format!("{BOLD}{}{BOLD:#}{arrow}\n\n", way.packet);
    let missed = way.steps.iter().filter(|step| step.mark == Mark::Missed).count();
    for step in way.steps.iter().filter(|step| all || step.mark != Mark::Missed) {
        line(&mut out, way, step);
        if all {
            words(&mut out, step);
        }
    }
    if way.unseen > 0 {
        let _ = writeln!(out, "{DIM}{:>8}  {} more matched{DIM:#}", "", way.unseen);
    }
    if !all && missed > 0 {
        let plural = if missed == 1 { "rule does" } else { "rules do" };
        let _ = writeln!(out, "{DIM}{:>8}  {missed} other {plural} not match (-v shows why){DIM:#}", "");
    }
    let (word, style) = way.word();
    let _ = writeln!(out, "\n{style}{word}{style:#}  {}", decided(way));
    out
}

fn line(out: &mut String, way: &Way, step: &Step) {
    let row = &step.rule;
    let style = match step.mark {
        Mark::Decides | Mark::Made => way.word().1,
        Mark::Applies => BOLD,
        Mark::Matches | Mark::Enters => Style::new(),
        Mark::Missed => DIM,
    };
    let anchor = if row.anchor.is_empty() { String::new() } else { format!("anchor \"{}\" ", row.anchor) };
    let _ = writeln!(
        out,
        "{style}{:>8}{style:#}  {DIM}{}{DIM:#}  @{} {anchor}{style}{}{style:#}",
        step.mark.word(),
        place(row),
        row.nr,
        row.text
    );
}

fn words(out: &mut String, step: &Step) {
    for (index, (_, _, word)) in step.words.iter().enumerate() {
        let failed = step.mark == Mark::Missed && index + 1 == step.words.len();
        let end = if failed { format!("  {DIM}← no{DIM:#}") } else { String::new() };
        let _ = writeln!(out, "          {word}{end}");
    }
}

/// What decided, in words.
fn decided(way: &Way) -> String {
    let how = match way.by {
        Decided::Rule => way
            .marked(Mark::Decides)
            .map_or_else(|| "by a rule".into(), |row| format!("by {}{}", place(row), label(row))),
        Decided::Default => "no rule matches, and pf passes then".into(),
        Decided::Skip => "the interface is skipped (set skip on), or filtering is off".into(),
        Decided::Engine => format!("before any rule, reason {}", way.reason),
        Decided::State => way
            .marked(Mark::Made)
            .map_or_else(|| "by a state".into(), |row| format!("by a state that {}{} made", place(row), label(row))),
    };
    let mut out = how;
    match (&way.by, way.reason) {
        (_, "ip-option") => out.push_str(", for its IP options (no allow-opts)"),
        (Decided::Engine, _) | (_, "match") => {}
        (_, reason) => {
            let _ = write!(out, ", reason {reason}");
        }
    }
    match &way.state {
        Some((true, progress)) => {
            let _ = write!(out, ", state made ({progress})");
        }
        Some((false, progress)) if !progress.is_empty() => {
            let _ = write!(out, " ({progress})");
        }
        _ => {}
    }
    if way.log && way.reason != "ip-option" {
        out.push_str(", logged");
    }
    if let Some(generation) = way.generation {
        let _ = write!(out, ", generation {generation}");
    }
    out
}

/// The way for a program.
#[must_use]
pub fn to_json(way: &Way) -> Value {
    let row = |row: &RuleRow| {
        json!({
            "number": row.nr, "anchor": row.anchor, "text": row.text, "label": row.label, "file": row.file,
            "line": row.line,
        })
    };
    let met: Vec<_> = way
        .steps
        .iter()
        .map(|step| {
            let words: Vec<_> = step.words.iter().map(|(pc, text, _)| json!({ "at": pc, "word": text })).collect();
            let matched = step.mark != Mark::Missed;
            json!({ "rule": row(&step.rule), "matched": matched, "mark": step.mark.word(), "words": words })
        })
        .collect();
    let decided = match way.by {
        Decided::Rule => json!({ "kind": "rule", "rule": way.marked(Mark::Decides).map(row) }),
        Decided::Default => json!({ "kind": "default" }),
        Decided::Skip => json!({ "kind": "skip" }),
        Decided::Engine => json!({ "kind": "engine" }),
        Decided::State => json!({ "kind": "state", "rule": way.marked(Mark::Made).map(row) }),
    };
    json!({
        "version": VERSION,
        "packet": way.packet,
        "translated": way.translated,
        "verdict": way.word().0,
        "reason": way.reason,
        "logged": way.log,
        "state": way.state.as_ref().map(|(made, progress)| json!({ "made": made, "progress": progress })),
        "generation": way.generation,
        "decided_by": decided,
        "met": met,
        "more_matched": way.unseen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(nr: u32, text: &str, label: &str) -> RuleRow {
        RuleRow {
            nr,
            text: text.into(),
            label: label.into(),
            file: "pf.conf".into(),
            line: nr + 1,
            ..RuleRow::default()
        }
    }

    fn way(by: Decided, mark: Mark) -> Way {
        let step = |rule, mark| Step { rule, mark, words: Vec::new() };
        Way {
            packet: "in on em0 tcp 192.0.2.7:4000 > 10.0.0.1:80 S".into(),
            translated: None,
            by,
            verdict: Verdict::Pass,
            reason: "match",
            log: false,
            state: None,
            generation: None,
            steps: vec![
                step(row(0, "match in all", ""), Mark::Applies),
                step(row(1, "block drop all", "no"), Mark::Missed),
                step(row(2, "pass in all", "web"), mark),
            ],
            unseen: 0,
        }
    }

    fn plain(way: &Way) -> String {
        anstream::adapter::strip_str(&text(way, false)).to_string()
    }

    #[test]
    fn on_paper() {
        assert_eq!(
            plain(&way(Decided::Rule, Mark::Decides)),
            "in on em0 tcp 192.0.2.7:4000 > 10.0.0.1:80 S\n\n \
             applies  pf.conf:1  @0 match in all\n \
             decides  pf.conf:3  @2 pass in all\n          \
             1 other rule does not match (-v shows why)\n\n\
             pass  by pf.conf:3 label \"web\"\n"
        );
    }

    #[test]
    fn as_it_came_by() {
        let mut live = way(Decided::State, Mark::Made);
        live.translated = Some("203.0.113.9:61000 > 10.0.0.1:80".into());
        live.state = Some((false, "ESTABLISHED:ESTABLISHED".into()));
        (live.generation, live.log, live.unseen) = (Some(5), true, 3);
        live.steps.remove(1);
        assert_eq!(
            plain(&live),
            "in on em0 tcp 192.0.2.7:4000 > 10.0.0.1:80 S\nbecomes 203.0.113.9:61000 > 10.0.0.1:80\n\n \
             applies  pf.conf:1  @0 match in all\n    \
             made  pf.conf:3  @2 pass in all\n          \
             3 more matched\n\n\
             pass  by a state that pf.conf:3 label \"web\" made (ESTABLISHED:ESTABLISHED), logged, generation 5\n"
        );
        let value = to_json(&live);
        assert_eq!(value["decided_by"]["rule"]["label"], "web");
        assert_eq!(value["generation"], 5);
    }

    #[test]
    fn a_drop_says_its_reason() {
        let mut dropped = way(Decided::Rule, Mark::Decides);
        (dropped.verdict, dropped.reason) = (Verdict::Block, "state-limit");
        assert!(plain(&dropped).ends_with("block  by pf.conf:3 label \"web\", reason state-limit\n"));
        dropped.by = Decided::Engine;
        dropped.steps.clear();
        assert!(plain(&dropped).ends_with("block  before any rule, reason state-limit\n"));
    }
}
