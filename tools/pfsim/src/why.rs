//! Why a packet passes or not: the way through the rules, as text.
//!
//! Holds [`why`], which runs the straight code, where every rule is met in its order, and reads off the trace which
//! rules matched, and of the others which test failed first.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use pfvm::packet::{Packet, PktMeta, describe};
use pfvm::rule::Action;
use pfvm::verify::Body;
use serde_json::{Value, json};

use crate::decide::{By, Verdict};
use crate::line::{Line, show};
use crate::rules::{Rules, Trace};

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// A rule on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// Its place among the rules.
    pub rule: usize,
    /// Whether it matched.
    pub matched: bool,
    /// Words executed for it: place, text.
    pub words: Vec<(u32, String)>,
}

/// The way of one packet.
#[derive(Clone, Debug)]
pub struct Way {
    /// The packet as a line.
    pub packet: String,
    /// What decided.
    pub by: By,
    /// Verdict.
    pub verdict: Verdict,
    /// Name of the reason.
    pub reason: &'static str,
    /// Whether it is logged.
    pub log: bool,
    /// Rules met, in order.
    pub met: Vec<Met>,
}

/// Mnemonics of what a rule that matched does.
const MATCHED: [&str; 5] = ["note ", "end ", "hit ", "call ", "tag "];

/// Runs a packet through the rules.
pub fn why(line: &Line, rules: &mut Rules) -> Way {
    let mut bytes = line.bytes();
    let iface = rules.live(&line.iface);
    let described = describe(&Packet::whole(&mut bytes), &PktMeta::default(), line.af(), line.dir, iface);
    let mut desc = match described {
        Ok(desc) => desc,
        Err(refusal) => {
            return Way {
                packet: String::new(),
                by: By::Engine,
                verdict: Verdict::Block,
                reason: refusal.reason.name(),
                log: refusal.log,
                met: Vec::new(),
            };
        }
    };
    desc.forwarded = line.forwarded;
    desc.prio = line.words.prio.unwrap_or(3);
    desc.uid = line.words.user;
    desc.gid = line.words.group;
    desc.tag = line.words.tag.as_deref().map_or(0, |tag| rules.tag(tag));
    desc.received_on = line.words.received_on.as_deref().map(|name| rules.live(name));
    let straight = rules.program().is_some_and(|program| !program.code(Body::Straight).is_empty());
    let explained = rules.explain(&desc, if straight { Body::Straight } else { Body::Code });
    Way {
        packet: show(&desc, &line.iface),
        by: explained.ruling.by,
        verdict: explained.ruling.verdict,
        reason: explained.ruling.reason.name(),
        log: explained.ruling.log,
        met: met(&explained.trace, rules),
    }
}

/// Rules met, from what was executed. A word belongs to the rule whose evaluation began last.
fn met(trace: &[Trace], rules: &Rules) -> Vec<Met> {
    let mut found: Vec<Met> = Vec::new();
    for step in trace {
        match step {
            Trace::Rule(rule) => {
                let rule = usize::try_from(*rule).unwrap_or(usize::MAX);
                if found.last().is_none_or(|last| last.rule != rule) {
                    found.push(Met { rule, matched: false, words: Vec::new() });
                }
            }
            Trace::Word(body, pc) => {
                let at = usize::try_from(*pc).unwrap_or(usize::MAX);
                let Some(op) = rules.program().and_then(|program| program.code(*body).get(at)) else { continue };
                let text = op.to_string();
                if text.starts_with("eval ") {
                    continue;
                }
                if let Some(last) = found.last_mut() {
                    last.matched |= MATCHED.iter().any(|mnemonic| text.starts_with(mnemonic));
                    last.words.push((*pc, text));
                }
            }
        }
    }
    found
}

fn verdict_style(way: &Way) -> (&'static str, Style) {
    match way.verdict {
        Verdict::Pass => ("pass", GOOD),
        Verdict::Block => ("block", BAD),
        Verdict::Hold => ("hold", DIM),
    }
}

/// The way for a person: rules that matched; with `all`, every rule met and the words executed.
#[must_use]
pub fn text(way: &Way, rules: &Rules, all: bool) -> String {
    let mut out = format!("{BOLD}{}{BOLD:#}\n\n", way.packet);
    let decided = if let By::Rule(at) = way.by { Some(at) } else { None };
    let missed = way.met.iter().filter(|met| !met.matched).count();
    for met in way.met.iter().filter(|met| all || met.matched) {
        let Some(row) = rules.listing().rules().get(met.rule) else { continue };
        let is_match = rules.program().and_then(|p| p.rules().get(met.rule)).is_some_and(|r| r.action == Action::Match);
        let (mark, style) = match met.matched {
            true if Some(met.rule) == decided => ("decides", verdict_style(way).1),
            true if is_match => ("applies", BOLD),
            true => ("matches", Style::new()),
            false => ("", DIM),
        };
        let anchor = if row.anchor.is_empty() { String::new() } else { format!("anchor \"{}\" ", row.anchor) };
        let _ = writeln!(
            out,
            "{style}{mark:>8}{style:#}  {DIM}{}:{}{DIM:#}  @{} {anchor}{style}{}{style:#}",
            row.file, row.line, row.nr, row.text
        );
        if all {
            for (index, (pc, word)) in met.words.iter().enumerate() {
                let failed = !met.matched && index + 1 == met.words.len();
                let end = if failed { format!("  {DIM}← no{DIM:#}") } else { String::new() };
                let _ = writeln!(out, "          {}{end}", rules.listing().line(*pc, word));
            }
        }
    }
    if !all && missed > 0 {
        let plural = if missed == 1 { "rule does" } else { "rules do" };
        let _ = writeln!(out, "{DIM}{:>8}  {missed} other {plural} not match (-v shows why){DIM:#}", "");
    }
    let (word, style) = verdict_style(way);
    let how = match way.by {
        By::Rule(at) => {
            rules.listing().rules().get(at).map_or_else(String::new, |row| format!("by {}:{}", row.file, row.line))
        }
        By::Default => "no rule matches, and pf passes then".into(),
        By::Skip => "the interface is skipped (set skip on)".into(),
        By::Engine => format!("before any rule, reason {}", way.reason),
        By::State(_) => "by a state".into(),
    };
    let extra = match (way.reason, way.log) {
        ("ip-option", _) => ", for its IP options (no allow-opts)",
        (_, true) => ", logged",
        _ => "",
    };
    let _ = writeln!(out, "\n{style}{word}{style:#}  {how}{extra}");
    out
}

/// The way for a program.
#[must_use]
pub fn to_json(way: &Way, rules: &Rules) -> Value {
    let row = |at: usize| {
        rules.listing().rules().get(at).map(|row| {
            json!({
                "number": row.nr, "anchor": row.anchor, "text": row.text, "label": row.label, "file": row.file,
                "line": row.line,
            })
        })
    };
    let met: Vec<_> = way
        .met
        .iter()
        .map(|met| {
            let words: Vec<_> = met.words.iter().map(|(pc, text)| json!({ "at": pc, "word": text })).collect();
            json!({ "rule": row(met.rule), "matched": met.matched, "words": words })
        })
        .collect();
    let decided = match way.by {
        By::Rule(at) => json!({ "kind": "rule", "rule": row(at) }),
        By::Default => json!({ "kind": "default" }),
        By::Skip => json!({ "kind": "skip" }),
        By::Engine => json!({ "kind": "engine" }),
        By::State(_) => json!({ "kind": "state" }),
    };
    json!({
        "version": crate::report::VERSION,
        "packet": way.packet,
        "verdict": verdict_style(way).0,
        "reason": way.reason,
        "logged": way.log,
        "decided_by": decided,
        "met": met,
    })
}
