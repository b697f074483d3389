//! Lints that compare the rules of one ruleset with each other.
//!
//! Quadratic, so bounded: beyond [`MOST`] rules only the neighbourhood of each rule is looked at.

use super::contain::contains;
use super::{Finding, Lint};
use crate::ruleset::{Action, Rule, RuleFlags};

/// How many later rules one rule is compared with at most.
const MOST: usize = 4096;

pub(super) fn check(rules: &[Rule], found: &mut Vec<Finding>) {
    let mut reported = vec![false; rules.len()];
    for (i, first) in rules.iter().enumerate() {
        for (j, second) in rules.iter().enumerate().skip(i + 1).take(MOST) {
            let done = |n: usize| reported.get(n).copied().unwrap_or(true);
            let finding = match compare(first, second) {
                Some((Lint::ShadowedRule, finding)) if !done(i) => (i, finding),
                Some((Lint::UnreachableRule | Lint::DuplicateRule, finding)) if !done(j) => (j, finding),
                _ => continue,
            };
            if let Some(r) = reported.get_mut(finding.0) {
                *r = true;
            }
            found.push(finding.1);
        }
    }
}

/// What is wrong with a pair in this order; rules of one statement's expansion are nobody's mistake.
fn compare(first: &Rule, second: &Rule) -> Option<(Lint, Finding)> {
    let decides = |r: &Rule| r.action != Action::Match && r.anchor.is_none();
    if first.place == second.place || !decides(first) || !decides(second) {
        return None;
    }
    let quick = |r: &Rule| r.flags.has(RuleFlags::QUICK);
    if quick(first) == quick(second)
        && first.action == second.action
        && contains(first, second)
        && contains(second, first)
    {
        let finding = Finding::new(Lint::DuplicateRule, &second.place, "this rule stands here a second time");
        return Some((Lint::DuplicateRule, finding.with(&first.place, "the first one")));
    }
    if quick(first) {
        return contains(first, second).then(|| {
            let finding = Finding::new(Lint::UnreachableRule, &second.place, "evaluation never gets to this rule");
            (Lint::UnreachableRule, finding.with(&first.place, "this `quick` rule takes all its packets"))
        });
    }
    (first.tag.is_none() && contains(second, first)).then(|| {
        let finding = Finding::new(Lint::ShadowedRule, &first.place, "this rule never decides");
        (Lint::ShadowedRule, finding.with(&second.place, "this later rule overrides it every time"))
    })
}
