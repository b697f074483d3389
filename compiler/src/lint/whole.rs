//! Lints that look at the configuration as a whole.

use super::contain::contains;
use super::{Finding, Lint, each_ruleset};
use crate::facts::Facts;
use crate::ruleset::{Action, AddrSpec, Config, Direction, Pool, Rule, Ruleset};
use std::collections::HashSet;

pub(super) fn check(config: &Config, facts: &Facts, found: &mut Vec<Finding>) {
    let mut rulesets = Vec::new();
    each_ruleset(&config.main, &mut |r| rulesets.push(r));
    no_block(&rulesets, found);
    tables(&rulesets, found);
    for ruleset in &rulesets {
        redirections(ruleset, found);
    }
    super::reflection::check(&rulesets, facts, found);
    for used in &config.antispoofs {
        if !used.dynamic && facts.interface(&used.iface).is_some_and(|i| i.flags.dhcp) {
            let text = format!("{} gets its address from DHCP, but this keeps the one it has now", used.iface);
            found.push(Finding::new(Lint::AntispoofDhcp, &used.place, text));
        }
    }
    for (name, place) in &config.unused_macros {
        found.push(Finding::new(Lint::UnusedMacro, place, format!("macro `{name}` is never used")));
    }
}

/// A ruleset that only passes, and calls nothing that is loaded later.
fn no_block(rulesets: &[&Ruleset], found: &mut Vec<Finding>) {
    let rules = || rulesets.iter().flat_map(|r| &r.rules);
    let foreign = rules().any(|r| r.anchor.as_ref().is_some_and(|a| a.inline.is_none()));
    let passes = |r: &&Rule| r.action == Action::Pass && r.anchor.is_none();
    if let Some(first) = rules().find(passes).filter(|_| !foreign && !rules().any(|r| r.action == Action::Block)) {
        found.push(Finding::new(
            Lint::NoBlock,
            &first.place,
            "nothing is blocked: packets that match no rule pass too",
        ));
    }
}

/// Empty constants and tables nobody reads.
fn tables(rulesets: &[&Ruleset], found: &mut Vec<Finding>) {
    let mut used: HashSet<&str> = HashSet::new();
    for rule in rulesets.iter().flat_map(|r| &r.rules) {
        let pools = [&rule.nat, &rule.rdr].into_iter().flatten().chain(rule.route.as_ref().map(|r| &r.1));
        let addrs = [&rule.src.addr, &rule.dst.addr].into_iter().chain(pools.map(|p| &p.addr));
        used.extend(addrs.filter_map(|a| if let AddrSpec::Table(t) = a { Some(t.as_str()) } else { None }));
        used.extend(rule.state.overload.as_deref());
    }
    for table in rulesets.iter().flat_map(|r| &r.tables).filter(|t| !t.automatic) {
        let name = &table.name;
        if !used.contains(name.as_str()) && !table.persist {
            found.push(Finding::new(Lint::IdleTable, &table.place, format!("no rule uses table <{name}>")));
        }
        if table.constant && table.entries.is_empty() {
            found.push(Finding::new(Lint::IdleTable, &table.place, format!("table <{name}> is const and empty")));
        }
    }
}

/// `match … rdr-to` where packets to the new destination are blocked for certain.
fn redirections(ruleset: &Ruleset, found: &mut Vec<Finding>) {
    for (i, rule) in ruleset.rules.iter().enumerate() {
        let Some(pool) = rule.rdr.as_ref().filter(|_| rule.action == Action::Match && rule.naf.is_none()) else {
            continue;
        };
        let later = || ruleset.rules.iter().skip(i + 1);
        let passed = later().any(|r| r.anchor.is_some() || r.action == Action::Pass && may_take(r, rule, pool));
        let blocked =
            ruleset.rules.iter().find(|r| r.action == Action::Block && contains(&before_hosts(r), &before_hosts(rule)));
        if let Some(block) = blocked.filter(|_| !passed) {
            let text = "packets are redirected here, and no later rule passes them";
            found.push(
                Finding::new(Lint::RdrWithoutPass, &rule.place, text).with(&block.place, "this rule blocks them"),
            );
        }
    }
}

/// A rule without its addresses and ports, which the redirection changes.
fn before_hosts(rule: &Rule) -> Rule {
    let mut r = rule.clone();
    r.dst = Default::default();
    r
}

/// Whether a pass rule could match a packet after redirection.
fn may_take(pass: &Rule, rdr: &Rule, pool: &Pool) -> bool {
    let compatible = |a: &Option<u8>, b: &Option<u8>| a.is_none() || b.is_none() || a == b;
    let target = match (&pass.dst.addr, &pool.addr) {
        (AddrSpec::Net { addr, prefix }, AddrSpec::Net { addr: to, .. }) => pass.dst.not || in_net(*to, *addr, *prefix),
        _ => true,
    };
    pass.direction != Some(Direction::Out) && compatible(&pass.proto, &rdr.proto) && target
}

pub(super) fn in_net(addr: std::net::IpAddr, net: std::net::IpAddr, prefix: u8) -> bool {
    use std::net::IpAddr::{V4, V6};
    match (addr, net) {
        (V4(a), V4(n)) => (u32::from(a) ^ u32::from(n)).checked_shr(32 - u32::from(prefix.min(32))).unwrap_or(0) == 0,
        (V6(a), V6(n)) => {
            (u128::from(a) ^ u128::from(n)).checked_shr(128 - u32::from(prefix.min(128))).unwrap_or(0) == 0
        }
        _ => false,
    }
}
