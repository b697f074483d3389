//! Whether one rule's conditions contain another's: every packet that meets `sub` meets `sup`.
//!
//! **Invariant:** a doubt is a no. Conditions that other rules can change on the way (tags) or that differ from packet
//! to packet (probability, rate, `once`) contain nothing.

use crate::ruleset::{AddrSpec, Af, Endpoint, Keep, Op, Rule, RuleFlags, TcpFlags};
use std::net::IpAddr;

/// Whether `sup` matches every packet that `sub` matches, at the same point of evaluation or another.
pub(super) fn contains(sup: &Rule, sub: &Rule) -> bool {
    steady(sup)
        && wider(&sup.direction, &sub.direction)
        && wider(&sup.af, &sub.af)
        && wider(&sup.proto, &sub.proto)
        && wider(&sup.iface, &sub.iface)
        && wider(&sup.rdomain, &sub.rdomain)
        && wider(&sup.received_on, &sub.received_on)
        && wider(&sup.os, &sub.os)
        && wider(&sup.uid, &sub.uid)
        && wider(&sup.gid, &sub.gid)
        && wider(&sup.icmp_type, &sub.icmp_type)
        && wider(&sup.icmp_code, &sub.icmp_code)
        && wider(&sup.prio, &sub.prio)
        && (sup.tos == 0 || sup.tos == sub.tos)
        && wider_end(&sup.src, &sub.src)
        && wider_end(&sup.dst, &sub.dst)
        && wider_flags(sup, sub)
        && wider_fragments(sup, sub)
}

/// Whether a rule's match depends on the packet alone.
fn steady(rule: &Rule) -> bool {
    rule.probability.is_none()
        && rule.pkt_rate.is_none()
        && rule.tagged.is_none()
        && !rule.flags.has(RuleFlags::ONCE)
        && rule.anchor.is_none()
}

fn wider<T: PartialEq>(sup: &Option<T>, sub: &Option<T>) -> bool {
    sup.is_none() || sup == sub
}

fn wider_end(sup: &Endpoint, sub: &Endpoint) -> bool {
    let ports = match (sup.port, sub.port) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(a), Some(b)) => ports(b).iter().all(|inner| ports(a).iter().any(|o| o.0 <= inner.0 && inner.1 <= o.1)),
    };
    let same = sup.not == sub.not && sup.addr == sub.addr;
    ports && (same || !sup.not && (is_any(&sup.addr) || !sub.not && covers(&sup.addr, &sub.addr)))
}

fn is_any(addr: &AddrSpec) -> bool {
    *addr == AddrSpec::Any
}

fn covers(sup: &AddrSpec, sub: &AddrSpec) -> bool {
    match (interval(sup), interval(sub)) {
        (Some(a), Some(b)) => a.0 == b.0 && a.1 <= b.1 && b.2 <= a.2,
        _ => false,
    }
}

/// A network or range as family, first and last address.
fn interval(addr: &AddrSpec) -> Option<(Af, u128, u128)> {
    let number = |a: IpAddr| match a {
        IpAddr::V4(a) => (Af::Inet, u128::from(u32::from(a)), 32u32),
        IpAddr::V6(a) => (Af::Inet6, u128::from(a), 128),
    };
    match *addr {
        AddrSpec::Net { addr, prefix } => {
            let (af, bits, width) = number(addr);
            let host = 1u128.checked_shl(width.checked_sub(u32::from(prefix))?).map_or(u128::MAX, |n| n - 1);
            Some((af, bits & !host, bits | host))
        }
        AddrSpec::Range { lo, hi } => Some((number(lo).0, number(lo).1, number(hi).1)),
        _ => None,
    }
}

/// The ports an operator takes, as inclusive intervals in order.
pub(super) fn ports(op: Op<u16>) -> Vec<(u16, u16)> {
    let below = |n: u16| n.checked_sub(1).map(|hi| (0, hi));
    let above = |n: u16| n.checked_add(1).map(|lo| (lo, u16::MAX));
    match op {
        Op::Eq(a) => vec![(a, a)],
        Op::Ne(a) => below(a).into_iter().chain(above(a)).collect(),
        Op::Lt(a) => below(a).into_iter().collect(),
        Op::Le(a) => vec![(0, a)],
        Op::Gt(a) => above(a).into_iter().collect(),
        Op::Ge(a) => vec![(a, u16::MAX)],
        Op::Range(a, b) => vec![(a, b)],
        Op::Inside(a, b) => match (a.checked_add(1), b.checked_sub(1)) {
            (Some(lo), Some(hi)) if lo <= hi => vec![(lo, hi)],
            _ => Vec::new(),
        },
        Op::Outside(a, b) => below(a).into_iter().chain(above(b)).collect(),
    }
}

/// Flags are looked at in TCP segments only. A rule that keeps state and asks for an opening SYN takes whole connections:
/// what a rule below it would see of them is only what belongs to none.
fn wider_flags(sup: &Rule, sub: &Rule) -> bool {
    const TCP: u8 = 6;
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    match (sup.tcp_flags, sub.tcp_flags) {
        (None, _) => true,
        (Some(_), _) if sub.proto.is_some_and(|p| p != TCP) => true,
        (Some(a), Some(b)) => a.set & b.set == a.set && b.flags & a.set == a.flags,
        (Some(a), None) => sup.keep != Keep::No && a == TcpFlags { flags: SYN, set: SYN | ACK },
    }
}

/// Rules that look beyond the IP header do not see unreassembled fragments.
fn wider_fragments(sup: &Rule, sub: &Rule) -> bool {
    let deep =
        |r: &Rule| r.src.port.or(r.dst.port).is_some() || r.icmp_type.is_some() || r.uid.is_some() || r.gid.is_some();
    if sup.fragment { sub.fragment } else { !(sub.fragment && (deep(sup) || sup.tcp_flags.is_some())) }
}
