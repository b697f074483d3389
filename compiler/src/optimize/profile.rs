//! Quick rules by what they have matched so far (`-o profile`).
//!
//! A superblock of quick rules of which some are in force is put in the order of their packets instead of that of skip
//! steps. pfctl compares rules field by field, here they are the same when they read the same.
//! Source: `pfctl_optimize.c block_feedback`.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::print::{self, RuleOptions};
use crate::ruleset::{Rule, RuleFlags};

/// Packets of the rules in force, by their text.
pub type Hits = HashMap<String, u64>;

/// The rules of a superblock, those with most packets first; as they came where nothing is known of them.
pub(super) fn sort(block: Vec<Rule>, hits: &Hits) -> Result<Vec<Rule>, Vec<Rule>> {
    if hits.is_empty() || !block.first().is_some_and(|rule| rule.flags.has(RuleFlags::QUICK)) {
        return Err(block);
    }
    let how = RuleOptions::default();
    let counts: Vec<Option<u64>> = block.iter().map(|rule| hits.get(&print::rule(rule, &how)).copied()).collect();
    if counts.iter().all(Option::is_none) {
        return Err(block);
    }
    let mut counted: Vec<_> = counts.into_iter().map(Option::unwrap_or_default).zip(block).collect();
    counted.sort_by_key(|(count, _)| Reverse(*count));
    Ok(counted.into_iter().map(|(_, rule)| rule).collect())
}
