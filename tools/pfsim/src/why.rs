//! Why a packet passes or not: the way through the rules, as text.
//!
//! Holds [`why`], which runs the straight code, where every rule is met in its order, and reads off the trace which
//! rules matched, and of the others which test failed first.

use pfvm::packet::{Packet, PktMeta, describe};
use pfvm::rule::Action;
use pfvm::verify::Body;

use crate::decide::{By, Verdict};
use crate::line::{Line, show};
use crate::rules::{Rules, Trace};
use crate::way::{Decided, Mark, Step, Way};

/// A rule on the way.
struct Met {
    rule: usize,
    matched: bool,
    words: Vec<(u32, String)>,
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
                translated: None,
                by: Decided::Engine,
                verdict: Verdict::Block,
                reason: refusal.reason.name(),
                log: refusal.log,
                state: None,
                generation: None,
                steps: Vec::new(),
                unseen: 0,
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
    let by = explained.ruling.by;
    Way {
        packet: show(&desc, &line.iface),
        translated: None,
        by: match by {
            By::Rule(_) => Decided::Rule,
            By::Default => Decided::Default,
            By::Skip => Decided::Skip,
            By::Engine => Decided::Engine,
            By::State(_) => Decided::State,
        },
        verdict: explained.ruling.verdict,
        reason: explained.ruling.reason.name(),
        log: explained.ruling.log,
        state: None,
        generation: None,
        steps: steps(met(&explained.trace, rules), by, rules),
        unseen: 0,
    }
}

/// Rules met, with their texts.
fn steps(met: Vec<Met>, by: By, rules: &Rules) -> Vec<Step> {
    let rows = crate::rules::rows(rules.listing());
    let last = met.iter().rposition(|m| m.matched && by == By::Rule(m.rule));
    let step = |(at, m): (usize, Met)| {
        let action = rules.program().and_then(|p| p.rules().get(m.rule)).map(|r| r.action);
        let mark = match m.matched {
            false => Mark::Missed,
            true if Some(at) == last => Mark::Decides,
            true if action == Some(Action::Match) => Mark::Applies,
            true => Mark::Matches,
        };
        let words = m.words.into_iter().map(|(pc, word)| {
            let shown = rules.listing().line(pc, &word);
            (pc, word, shown)
        });
        Some(Step { rule: rows.get(m.rule)?.clone(), mark, words: words.collect() })
    };
    met.into_iter().enumerate().filter_map(step).collect()
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
