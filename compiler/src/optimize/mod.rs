//! The ruleset optimizer of pfctl (`-o basic`, `-o profile`): same rules out, in the same order, under the same table names.
//!
//! A ruleset is cut into *superblocks*, runs of rules that give the same effect whichever of them matches, and inside
//! each of them rules that another one covers are removed ([`cover`]), rules that differ in one address become one rule
//! with a table ([`combine`]), and the rest is put in the order that makes pf's skip steps longest ([`reorder`]).
//! The result means the same and is what `pfctl -sr` shows, so it is kept to the letter; our own code generator does
//! not need it.
//! **Invariant:** the work is bounded: in a superblock of more than 16 384 rules only neighbours are compared, and its
//! order stays.
//! **Invariant:** nothing moves across a rule that reads or writes what other rules see (labels, limits, probability,
//! anchors, tags, logging, state and translation options).
//!
//! Source: OpenBSD 7.8 `pfctl_optimize.c`, whose field table decides what may differ where.

mod combine;
mod cover;
mod profile;
mod reorder;

pub use profile::Hits;

use crate::ruleset::{AddrSpec, Af, Return, Rule, RuleFlags, Table};

/// Hands out the names of automatic tables; pools and the optimizer draw from the same row.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableNumbers {
    next: u32,
    tag: u32,
}

impl TableNumbers {
    /// Names that carry a number of their own, as those of pfctl do when it loads: tables of one load are not those of
    /// the load before.
    #[must_use]
    pub const fn tagged(tag: u32) -> Self {
        TableNumbers { next: 0, tag }
    }

    /// The next unused name.
    pub fn take(&mut self) -> String {
        let n = self.next;
        self.next = self.next.saturating_add(1);
        match self.tag {
            0 => format!("__automatic_{n}"),
            tag => format!("__automatic_{tag:x}_{n}"),
        }
    }
}

/// What came of one ruleset.
#[derive(Debug, Default)]
pub struct Optimized {
    /// The rules, numbered anew.
    pub rules: Vec<Rule>,
    /// Automatic tables made, in the order pfctl announces them.
    pub tables: Vec<Table>,
}

/// Optimizes the rules of one ruleset (not those of its inline anchors).
///
/// `numbers` goes on across rulesets; `hits` put quick rules in their order, where there are any. Rules come back
/// renumbered from 0.
#[must_use]
pub fn ruleset(rules: Vec<Rule>, numbers: &mut TableNumbers, hits: &Hits) -> Optimized {
    let mut done = Optimized::default();
    for block in superblocks(rules) {
        if block.len() < 2 {
            done.rules.extend(block);
            continue;
        }
        let kept = cover::remove(block);
        let merged = combine::merge(kept, numbers, &mut done.tables);
        match profile::sort(merged, hits) {
            Ok(sorted) => done.rules.extend(sorted),
            Err(block) => reorder::sort(block, &mut done.rules),
        }
    }
    for (nr, rule) in (0..).zip(&mut done.rules) {
        rule.nr = nr;
    }
    done
}

/// Superblocks larger than this are not pfctl's business any more: it would compare for hours.
const LARGE: usize = 16_384;

/// How many later rules one is compared with, in a superblock of this size.
fn reach(size: usize) -> usize {
    const NEIGHBOURS: usize = 256;
    if size > LARGE { NEIGHBOURS } else { size }
}

/// Cuts a ruleset into its superblocks, in order; none is empty.
fn superblocks(rules: Vec<Rule>) -> Vec<Vec<Rule>> {
    let mut blocks: Vec<Vec<Rule>> = Vec::new();
    for rule in rules {
        match blocks.last_mut() {
            Some(block) if block.first().is_some_and(|first| joins(first, &rule)) => block.push(rule),
            _ => blocks.push(vec![rule]),
        }
    }
    blocks
}

/// Whether `rule` may stand in the superblock that `first` opened.
fn joins(first: &Rule, rule: &Rule) -> bool {
    !is_barrier(first) && !is_barrier(rule) && groups_agree(first, rule) && same_effect(first, rule)
}

/// Rules that are left where they are.
fn is_barrier(r: &Rule) -> bool {
    r.label.is_some()
        || r.probability.is_some()
        || r.anchor.is_some()
        || r.flags.has(RuleFlags::RULE_SRC_TRACK)
        || [r.state.max, r.state.max_src_nodes, r.state.max_src_states, r.state.max_src_conn].iter().any(|&n| n != 0)
        || r.state.max_src_conn_rate != (0, 0)
}

/// A group's members are not known before run time, so rules on a group mix with rules on the same name only.
fn groups_agree(first: &Rule, rule: &Rule) -> bool {
    let name = |r: &Rule| r.iface.as_ref().map_or(String::new(), |i| i.name.clone());
    let is_group = |n: &str| n.bytes().last().is_some_and(|c| !c.is_ascii_digit());
    let (a, b) = (name(first), name(rule));
    !(is_group(&a) || is_group(&b)) || a.eq_ignore_ascii_case(&b)
}

/// Whether everything a match of either would do is the same: pf's fields that may not differ in a superblock.
fn same_effect(a: &Rule, b: &Rule) -> bool {
    a.action == b.action
        && return_kind(a.returns) == return_kind(b.returns)
        && a.flags == b.flags
        && a.log == b.log
        && a.log_if == b.log_if
        && a.keep == b.keep
        && a.fragment == b.fragment
        && a.tag == b.tag
        && a.queue == b.queue
        && a.state.overload == b.state.overload
        && a.rtable == b.rtable
        && a.nat == b.nat
        && a.rdr == b.rdr
        && a.route == b.route
        && a.divert == b.divert
        && a.set_prio == b.set_prio
        && a.set_delay == b.set_delay
        && a.prio == b.prio
        && a.pkt_rate == b.pkt_rate
        && a.received_on == b.received_on
}

/// Kind of answer and its TTL, without the ICMP codes.
fn return_kind(r: Return) -> (u8, u8) {
    match r {
        Return::Drop => (0, 0),
        Return::Any { .. } => (1, 0),
        Return::Rst { ttl } => (2, ttl),
        Return::Icmp { .. } => (3, 0),
    }
}

/// Fields that neither [`cover`] nor [`combine`] may vary, beyond those of [`same_effect`].
fn same_details(a: &Rule, b: &Rule) -> bool {
    a.returns == b.returns
        && a.iface.as_ref().is_some_and(|i| i.not) == b.iface.as_ref().is_some_and(|i| i.not)
        && a.rdomain == b.rdomain
        && a.tagged == b.tagged
        && a.os == b.os
        && a.state.timeouts == b.state.timeouts
        && a.uid == b.uid
        && a.gid == b.gid
        && a.icmp_type == b.icmp_type
        && a.icmp_code == b.icmp_code
        && a.tos == b.tos
        && a.naf == b.naf
}

/// An address as pf keeps it: `any` is a network of no bits.
fn is_any(a: &AddrSpec) -> bool {
    match a {
        AddrSpec::Any => true,
        AddrSpec::Net { addr, prefix: 0 } => addr.is_unspecified(),
        _ => false,
    }
}

/// Whether two addresses are the same to the last bit.
fn same_addr(a: &AddrSpec, b: &AddrSpec) -> bool {
    a == b || is_any(a) && is_any(b)
}

/// The mask pf keeps for a dynamic interface: one that was not written is as wide as the rule's family, which makes
/// `(em0)` of an `inet` rule another address than `(em0)` of a rule for both.
fn dynamic_bits(prefix: Option<u8>, af: Option<Af>) -> u8 {
    prefix.unwrap_or(if af == Some(Af::Inet) { 32 } else { 128 })
}

/// The same address in two rules, with the masks their families give it.
fn same_addr_in(a: &AddrSpec, a_rule: &Rule, b: &AddrSpec, b_rule: &Rule) -> bool {
    let bits = |addr: &AddrSpec, rule: &Rule| match addr {
        AddrSpec::Dynamic { prefix, .. } => dynamic_bits(*prefix, rule.af),
        _ => 0,
    };
    same_addr(a, b) && bits(a, a_rule) == bits(b, b_rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_blocks_look_at_neighbours_only() {
        assert_eq!([1, LARGE, LARGE + 1].map(reach), [1, LARGE, 256]);
    }
}
