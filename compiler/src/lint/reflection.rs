//! Published servers and the network they stand in.
//!
//! From there the published address is one of this machine: without a redirection on the inner interface it leads here,
//! and without a translation of the source on the way back out the server answers its neighbour directly.
//! **Invariant:** silent where rules of another ruleset, tables or an address that is not this machine's may decide.

use super::whole::in_net;
use super::{Finding, Lint};
use crate::facts::{Facts, Interface};
use crate::ruleset::{AddrSpec, Direction, Named, Rule, Ruleset};
use std::net::IpAddr;

pub(super) fn check(rulesets: &[&Ruleset], facts: &Facts, found: &mut Vec<Finding>) {
    let rules = || rulesets.iter().flat_map(|r| &r.rules);
    if rules().any(|r| r.anchor.as_ref().is_some_and(|a| a.inline.is_none())) {
        return;
    }
    for rule in rules().filter(|r| incoming(r) && to_this_machine(r, facts)) {
        let Some((server, inner)) = behind(rule, facts) else { continue };
        let covers = |r: &Rule| r.iface.as_ref().is_none_or(|on| holds(on, inner));
        let reflected = rules().find(|r| incoming(r) && covers(r) && same_service(r, rule));
        match reflected {
            None => {
                let text = format!(
                    "from the network of {} the published address of {server} leads to this machine",
                    inner.name
                );
                found.push(Finding::new(Lint::RdrWithoutReflection, &rule.place, text));
            }
            Some(again) => {
                let leaves = |r: &&Rule| r.direction != Some(Direction::In) && covers(r) && takes(&r.dst.addr, server);
                let excluded = again.src.not || !matches!(again.src.addr, AddrSpec::Any) && !from_network(again, inner);
                if !excluded && !rules().filter(leaves).any(|r| r.nat.is_some()) {
                    let text = format!(
                        "{server} answers clients of its own network directly: nothing translates their source on {}",
                        inner.name
                    );
                    found.push(Finding::new(Lint::RdrWithoutReflection, &again.place, text));
                }
            }
        }
    }
}

/// Redirects what comes in.
fn incoming(rule: &Rule) -> bool {
    rule.rdr.is_some() && rule.naf.is_none() && rule.direction != Some(Direction::Out)
}

/// Whether it publishes an address of this machine, whatever that is at the moment.
fn to_this_machine(rule: &Rule, facts: &Facts) -> bool {
    let own = |addr: IpAddr| facts.interfaces.iter().any(|i| i.addresses.iter().any(|a| a.addr == addr));
    !rule.dst.not
        && match &rule.dst.addr {
            AddrSpec::Dynamic { mods, prefix, .. } => !mods.network && prefix.is_none(),
            AddrSpec::Net { addr, .. } => own(*addr),
            _ => false,
        }
}

/// The single server of a redirection and the interface whose network it stands in, when the rule does not ask for it.
fn behind<'f>(rule: &Rule, facts: &'f Facts) -> Option<(IpAddr, &'f Interface)> {
    let AddrSpec::Net { addr, prefix } = rule.rdr.as_ref()?.addr else { return None };
    let on = rule.iface.as_ref()?;
    let single = prefix == if addr.is_ipv4() { 32 } else { 128 };
    let near = |i: &&Interface| i.addresses.iter().any(|a| a.addr != addr && in_net(addr, a.addr, a.prefix));
    let inner = facts.interfaces.iter().filter(|i| !i.flags.loopback).find(near)?;
    (single && !holds(on, inner)).then_some((addr, inner))
}

fn holds(on: &Named, iface: &Interface) -> bool {
    let member = on.name == iface.name || iface.groups.contains(&on.name) || on.name == "any" || on.name == "all";
    member != on.not
}

/// Whether a redirection is for the same packets but for the interface.
fn same_service(a: &Rule, b: &Rule) -> bool {
    let protocols = a.proto.is_none() || a.proto == b.proto;
    let ports = a.dst.port.is_none() || a.dst.port == b.dst.port;
    protocols && ports && a.rdr.as_ref().map(|p| &p.addr) == b.rdr.as_ref().map(|p| &p.addr)
}

fn takes(to: &AddrSpec, server: IpAddr) -> bool {
    match to {
        AddrSpec::Net { addr, prefix } => *prefix == 0 || in_net(server, *addr, *prefix),
        _ => true,
    }
}

/// Whether a rule's source may be a neighbour of the server.
fn from_network(rule: &Rule, inner: &Interface) -> bool {
    match &rule.src.addr {
        AddrSpec::Net { addr, prefix } => {
            inner.addresses.iter().any(|a| in_net(a.addr, *addr, *prefix) || in_net(*addr, a.addr, a.prefix))
        }
        _ => true,
    }
}
