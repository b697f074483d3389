//! Removal of rules that another rule of the superblock covers.
//!
//! Every pair is compared in order: a later rule covered by an earlier one goes, else an earlier one covered by a later
//! one goes. Quadratic in the superblock, as in pfctl.

use super::{is_any, reach, same_addr_in, same_details, same_effect};
use crate::ruleset::{AddrSpec, Endpoint, Rule};
use std::net::IpAddr;

/// Removes covered rules; the rest keeps its order.
pub(super) fn remove(block: Vec<Rule>) -> Vec<Rule> {
    let reach = reach(block.len());
    let mut rules: Vec<Option<Rule>> = block.into_iter().map(Some).collect();
    for i in 0..rules.len() {
        let (head, tail) = rules.split_at_mut(i + 1);
        let Some(slot) = head.last_mut() else { continue };
        for later in tail.iter_mut().take(reach) {
            let (Some(first), Some(second)) = (slot.as_ref(), later.as_ref()) else { continue };
            if covers(first, second) {
                *later = None;
            } else if covers(second, first) {
                *slot = None;
                break;
            }
        }
    }
    rules.into_iter().flatten().collect()
}

/// Whether whatever `sub` matches, `sup` matches too, with the same effect.
fn covers(sup: &Rule, sub: &Rule) -> bool {
    (sup.af.is_none() || sup.af == sub.af)
        && (sup.direction.is_none() || sup.direction == sub.direction)
        && (sup.proto.is_none() || sup.proto == sub.proto)
        && covers_interface(sup, sub)
        && covers_end(sup, sub, &sup.src, &sub.src)
        && covers_end(sup, sub, &sup.dst, &sub.dst)
        && covers_flags(sup, sub)
        && same_effect(sup, sub)
        && same_details(sup, sub)
}

fn covers_interface(sup: &Rule, sub: &Rule) -> bool {
    sup.iface.is_none() || sup.iface.as_ref().map(|i| &i.name) == sub.iface.as_ref().map(|i| &i.name)
}

/// `flags any` covers any flags of the same protocol or of all.
fn covers_flags(sup: &Rule, sub: &Rule) -> bool {
    sup.tcp_flags == sub.tcp_flags || sup.tcp_flags.is_none() && (sup.proto.is_none() || sup.proto == sub.proto)
}

fn covers_end(sup_rule: &Rule, sub_rule: &Rule, sup: &Endpoint, sub: &Endpoint) -> bool {
    (sup.port.is_none() || sup.port == sub.port)
        && sup.not == sub.not
        && (is_any(&sup.addr) && !sup.not
            || same_addr_in(&sup.addr, sup_rule, &sub.addr, sub_rule)
            || sup_rule.af == sub_rule.af && contains(&sup.addr, &sub.addr))
}

/// Whether the second network is a proper part of the first.
fn contains(sup: &AddrSpec, sub: &AddrSpec) -> bool {
    match (sup, sub) {
        (AddrSpec::Any, AddrSpec::Net { prefix, .. }) => *prefix > 0,
        (AddrSpec::Net { addr: a, prefix: p }, AddrSpec::Net { addr: b, prefix: q }) => {
            p < q && masked(*b, *p).is_some_and(|m| Some(m) == masked(*a, *p))
        }
        _ => false,
    }
}

/// The address with the bits beyond `prefix` cleared, widened to 128 bits; `None` when the prefix is too long.
fn masked(addr: IpAddr, prefix: u8) -> Option<(bool, u128)> {
    let (v6, bits, width) = match addr {
        IpAddr::V4(a) => (false, u128::from(u32::from(a)) << 96, 32),
        IpAddr::V6(a) => (true, u128::from(a), 128),
    };
    let keep = u128::MAX.checked_shl(128u32.checked_sub(u32::from(prefix))?).unwrap_or(0);
    (prefix <= width).then_some((v6, bits & keep))
}
