//! Merging of rules that differ in one address into one rule with an automatic table.
//!
//! Groups form in order: a rule takes in every later one that differs from it in its source only or in its destination
//! only. A group of [`THRESHOLD`] rules or more becomes its first rule with a table; smaller ones stay as they were, yet
//! have used up a number, which shows in the names of later tables.

use super::{TableNumbers, reach, same_addr, same_details, same_effect};
use crate::ruleset::{AddrSpec, Endpoint, Rule, Table, TableEntry};

/// The number of addresses from which a table beats single rules.
const THRESHOLD: usize = 6;

/// Which address of a rule a group varies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// Rules that will share a table.
struct Group {
    name: String,
    side: Side,
    entries: Vec<TableEntry>,
    announced: bool,
}

/// A rule and the group it is in.
struct Member {
    rule: Rule,
    group: Option<usize>,
}

/// Merges what can be merged; tables are announced in the order of the rules that keep them.
pub(super) fn merge(block: Vec<Rule>, numbers: &mut TableNumbers, tables: &mut Vec<Table>) -> Vec<Rule> {
    let reach = reach(block.len());
    let mut members: Vec<Option<Member>> = block.into_iter().map(|rule| Some(Member { rule, group: None })).collect();
    let mut groups: Vec<Group> = Vec::new();
    for i in 0..members.len() {
        let (head, tail) = members.split_at_mut(i + 1);
        let Some(Some(first)) = head.last_mut() else { continue };
        for slot in tail.iter_mut().take(reach) {
            let Some(second) = slot else { continue };
            let Some(side) = varying_side(first, second, &groups) else { continue };
            let g = *first.group.get_or_insert_with(|| {
                groups.push(Group { name: numbers.take(), side, entries: Vec::new(), announced: false });
                groups.len() - 1
            });
            let Some(group) = groups.get_mut(g) else { continue };
            if group.entries.is_empty() {
                group.entries.extend(entry(&end(&first.rule, side).addr));
            }
            group.entries.extend(entry(&end(&second.rule, side).addr));
            second.group = Some(g);
            if group.entries.len() >= THRESHOLD {
                *slot = None;
            }
        }
    }
    members.into_iter().flatten().filter_map(|m| settle(m, &mut groups, tables)).collect()
}

/// Where two rules differ, if it is in one address and they may be merged.
fn varying_side(first: &Member, second: &Member, groups: &[Group]) -> Option<Side> {
    if second.group.is_some() {
        return None;
    }
    let (a, b) = (&first.rule, &second.rule);
    let side = match (same_address(&a.src, &b.src), same_address(&a.dst, &b.dst)) {
        (true, false) => Side::Destination,
        (false, true) => Side::Source,
        _ => return None,
    };
    if first.group.and_then(|g| groups.get(g)).is_some_and(|g| g.side != side) {
        return None;
    }
    (combinable(end(a, side), end(b, side)) && same_but_address(a, b)).then_some(side)
}

fn end(rule: &Rule, side: Side) -> &Endpoint {
    match side {
        Side::Source => &rule.src,
        Side::Destination => &rule.dst,
    }
}

fn same_address(a: &Endpoint, b: &Endpoint) -> bool {
    a.not == b.not && same_addr(&a.addr, &b.addr)
}

/// Plain networks with the same ports, both negated or neither: pfctl merges negated ones too, though `! <table>` of
/// several is not what the single rules said.
fn combinable(a: &Endpoint, b: &Endpoint) -> bool {
    let plain = |e: &Endpoint| matches!(e.addr, AddrSpec::Net { .. } | AddrSpec::Any);
    plain(a) && plain(b) && a.not == b.not && a.port == b.port
}

/// Everything equal but the addresses.
fn same_but_address(a: &Rule, b: &Rule) -> bool {
    a.af == b.af
        && a.direction == b.direction
        && a.proto == b.proto
        && a.iface == b.iface
        && a.tcp_flags == b.tcp_flags
        && a.src.not == b.src.not
        && a.dst.not == b.dst.not
        && a.src.port == b.src.port
        && a.dst.port == b.dst.port
        && same_effect(a, b)
        && same_details(a, b)
}

fn entry(addr: &AddrSpec) -> Option<TableEntry> {
    match addr {
        AddrSpec::Net { addr, prefix } => {
            Some(TableEntry { addr: *addr, prefix: *prefix, not: false, weight: 0, from_file: false })
        }
        _ => None,
    }
}

/// Gives the first rule of a big group its table and drops the others.
fn settle(member: Member, groups: &mut [Group], tables: &mut Vec<Table>) -> Option<Rule> {
    let mut rule = member.rule;
    let Some(group) = member.group.and_then(|g| groups.get_mut(g)).filter(|g| g.entries.len() >= THRESHOLD) else {
        return Some(rule);
    };
    if group.announced {
        return None;
    }
    group.announced = true;
    let name = group.name.clone();
    tables.push(Table {
        name: name.clone(),
        persist: false,
        constant: true,
        counters: false,
        init: true,
        entries: group.entries.clone(),
        files: Vec::new(),
        automatic: true,
        place: rule.place.clone(),
    });
    let addr = match group.side {
        Side::Source => &mut rule.src.addr,
        Side::Destination => &mut rule.dst.addr,
    };
    *addr = AddrSpec::Table(name);
    Some(rule)
}
