//! From resolved rules to instructions.
//!
//! Holds the straight translation (rule by rule, each a row of tests and what it does) and the classified one, in which
//! long runs of pure rules are decided by a graph. Both answer the same for every packet.
//! **Invariant:** rules are numbered ruleset by ruleset, in order: [`crate::image`] lists them as the image does.
//!
//! Source: OpenBSD 7.8 `sys/net/pf.c` (`pf_match_rule`, `pf_calc_skip_steps`).

mod classify;
mod code;
mod names;
mod straight;
pub(crate) mod tests;

pub use classify::Passes;
pub use code::{Dispatch, Words};
pub(crate) use names::narrow;
pub use names::{AnchorName, Interner, Names, Pair, TableName};

use crate::ruleset::{Config, Rule, Ruleset};
use pfvm::rule::RuleId;
use std::collections::BTreeMap;

/// Why rules cannot be turned into a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// More of one thing than an image can number.
    #[error("too many {what}: {count}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are at least.
        count: usize,
    },
    /// A rule so large, or code so long, that a distance has no number.
    #[error("code too long for a jump")]
    Distance,
}

/// A ruleset of the program: where it stands in the configuration and which numbers its rules have.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'c> {
    /// The ruleset.
    pub rules: &'c Ruleset,
    /// Number of its first rule.
    pub first: usize,
}

impl<'c> Placed<'c> {
    /// Its rules with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &'c Rule)> {
        let first = self.first;
        self.rules.rules.iter().enumerate().map(move |(i, r)| (first.saturating_add(i), r))
    }
}

/// All rulesets of a configuration in the image's order: by path, so the main one comes first. Of two with one path the
/// later one counts.
#[must_use]
pub fn rulesets(config: &Config) -> Vec<Placed<'_>> {
    let mut found: BTreeMap<&str, &Ruleset> = BTreeMap::new();
    let mut todo: Vec<&Ruleset> = config.anchors.iter().rev().chain([&config.main]).collect();
    while let Some(rules) = todo.pop() {
        found.insert(&rules.path, rules);
        todo.extend(rules.rules.iter().rev().filter_map(|r| r.anchor.as_ref()?.inline.as_deref()));
    }
    let mut first = 0_usize;
    found
        .into_values()
        .map(|rules| {
            let placed = Placed { rules, first };
            first = first.saturating_add(rules.rules.len());
            placed
        })
        .collect()
}

/// Code of one ruleset.
#[derive(Clone, Debug, Default)]
pub struct Lowered {
    /// What is run.
    pub code: Words,
    /// The straight code, empty where the other is straight itself.
    pub straight: Words,
}

/// The code of a whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Each ruleset's, in the order of [`rulesets`].
    pub rulesets: Vec<Lowered>,
    /// Priorities of classified runs: the rule, and whether it is quick.
    pub prios: Vec<(RuleId, bool)>,
    /// Names and constants the code uses.
    pub names: Names,
}

/// Translates all rulesets of a configuration.
///
/// # Errors
/// More names than an image can number, or a jump too far.
pub fn lower(config: &Config, passes: Passes) -> Result<Program, LowerError> {
    let mut out = Program::default();
    let placed = rulesets(config);
    let logging = placed.iter().any(|p| p.rules.rules.iter().any(classify::logs_matches));
    let mut all = Vec::with_capacity(placed.len());
    for ruleset in &placed {
        let rules = bodies(ruleset, &mut out.names)?;
        let classified = classify::code(&rules, passes, logging, &mut out.prios)?;
        all.push((classified, straight::code(ruleset, &rules)?));
    }
    // Straight code is kept beside the other for every ruleset or for none.
    let any = all.iter().any(|(classified, _)| classified.is_some());
    let mut dispatches = 0_usize;
    for (classified, straight) in all {
        let straight = straight.finish(0)?;
        let code = match classified {
            Some(code) => code.finish(dispatches)?,
            None => straight.clone(),
        };
        dispatches = dispatches.saturating_add(code.dispatches.len());
        out.rulesets.push(Lowered { code, straight: if any { straight } else { Words::default() } });
    }
    Ok(out)
}

/// A rule, its number, its tests, and the numbers of what it names.
pub(crate) struct Body<'c> {
    id: RuleId,
    rule: &'c Rule,
    steps: Vec<tests::Step>,
    tag: Option<pfvm::rule::TagId>,
    anchor: Option<pfvm::rule::AnchorId>,
}

fn bodies<'c>(ruleset: &Placed<'c>, names: &mut Names) -> Result<Vec<Body<'c>>, LowerError> {
    let mut bodies = Vec::with_capacity(ruleset.rules.rules.len());
    for (n, rule) in ruleset.numbered() {
        let id = RuleId(narrow("rules", n)?);
        let steps = tests::steps(rule, &ruleset.rules.path, id, names)?;
        let tag = rule.tag.as_ref().map(|t| names.tag(t)).transpose()?;
        let anchor = rule.anchor.as_ref().map(|a| names.anchor(&a.path, a.wildcard)).transpose()?;
        bodies.push(Body { id, rule, steps, tag, anchor });
    }
    Ok(bodies)
}
