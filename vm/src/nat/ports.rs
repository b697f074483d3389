//! Ports: the choice of a source address and port nobody uses (`pf_get_sport`).
//!
//! **Invariant:** a port has one owner: what is given is no state's key on the side the answer will come back on.
//! **Invariant:** at most [`PROBES`] ports are tried for a packet, over all addresses of the pool.
//!
//! pf starts at a random port and looks up, then down. Ports taken that way lie in runs, so that a search in a range
//! nearly full costs thousands of steps. Here the search starts at a random port too but goes on by a random stride,
//! which reaches every port of the range once: no runs, about a hundred steps at 99 % full, and the next port says
//! nothing of the last one.
//!
//! Source: OpenBSD 7.8 `sys/net/pf_lb.c` (`pf_get_sport`), `sys/netinet/in_pcb.h` (`DEFBADDYNAMICPORTS_*`).

use super::addr::{self, ZERO};
use super::pool::{self, PoolState, Request};
use super::{Env, KeyFree};
use crate::host::Random;
use crate::packet::{PacketDesc, proto};
use crate::rule::{Addr, Af, Direction, Pool, PoolKind, PoolPorts, RuleId};
use crate::state::key::{KeySide, StateKey};
use crate::state::srcnode::SrcKind;

/// Ports tried for one packet, at most.
pub const PROBES: u32 = 4096;

/// The range `nat-to` picks from when none is written (`PF_NAT_PROXY_PORT_LOW`, `_HIGH`).
pub const DEFAULT: (u16, u16) = (50_001, 65_535);

/// ICMP and ICMPv6 type of an echo request.
const ECHO: [(u8, u16); 2] = [(proto::ICMP, 8), (proto::ICMPV6, 128)];

/// Whether a port is one that services want left alone, as OpenBSD has it by default.
#[must_use]
pub const fn bad_dynamic(protocol: u8, port: u16) -> bool {
    match protocol {
        proto::TCP => matches!(port, 587 | 749..=751 | 853 | 871 | 2049 | 6000..=6010),
        proto::UDP => matches!(port, 623 | 664 | 749..=751 | 2049 | 3784 | 3785 | 7784),
        _ => false,
    }
}

/// How a port is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// The packet's own, if free.
    Keep,
    /// This one, if free.
    One(u16),
    /// Any free one from the first to the second.
    Range(u16, u16),
    /// None at all: the message has no identifier to change, and nothing is asked.
    Nothing,
}

/// The plan for a packet's protocol and a pool's ports.
fn plan(pd: &PacketDesc, ports: &PoolPorts) -> Plan {
    for (protocol, echo) in ECHO {
        if pd.proto == protocol {
            return if pd.ndport == echo { Plan::Range(1, u16::MAX) } else { Plan::Nothing };
        }
    }
    if !matches!(pd.proto, proto::TCP | proto::UDP) || ports.fixed {
        return Plan::Keep;
    }
    match (ports.lo, ports.hi) {
        (0, 0) => Plan::Range(DEFAULT.0, DEFAULT.1),
        (p, 0) => Plan::One(p),
        (a, b) if a == b => Plan::One(a),
        (a, b) => Plan::Range(a.min(b), a.max(b)),
    }
}

/// Chooses a source address from the pool and a port with it (`pf_get_sport`). `None`: there is none left, the packet
/// is dropped with reason `translate`.
///
/// The port of an ICMP message that is not an echo request comes out as 0, as pf leaves it.
pub fn source<E: Env + ?Sized>(
    env: &mut E,
    rule: RuleId,
    pool: &Pool,
    st: &mut PoolState,
    pd: &PacketDesc,
) -> Option<(Addr, u16)> {
    let req = Request { af: pd.naf, rule, kind: SrcKind::Nat, source: pd.nsaddr };
    let plan = plan(pd, &pool.ports);
    let mut first = ZERO;
    let mut left = PROBES;
    let mut chosen = pool::map(env, pool, st, &req, Some(&mut first))?;
    loop {
        let ends = Ends::new(pd, chosen);
        let port = match plan {
            Plan::Nothing => return Some((chosen, 0)),
            Plan::Keep => Some(pd.nsport).filter(|&p| ends.free(env, p)),
            Plan::One(p) => Some(p).filter(|&p| ends.free(env, p)),
            Plan::Range(lo, hi) => search(env, &ends, lo, hi, &mut left),
        };
        if let Some(port) = port {
            return Some((chosen, port));
        }
        left = left.saturating_sub(1);
        let more = matches!(pool.kind, PoolKind::Random | PoolKind::RoundRobin | PoolKind::LeastStates);
        if !more || left == 0 {
            return None;
        }
        // What `least-states` has counted for the address given up stays counted, as in pf.
        chosen = pool::map(env, pool, st, &req, Some(&mut first))?;
        if addr::equal(pd.naf, &first, &chosen) {
            return None;
        }
    }
}

/// The key a state of the translated packet will have, but for the port in question.
struct Ends {
    key: StateKey,
    source: usize,
    side: KeySide,
}

impl Ends {
    fn new(pd: &PacketDesc, chosen: Addr) -> Self {
        let other = addr::only(pd.naf, &pd.ndaddr);
        let (proto, far) = match (pd.proto, pd.naf, pd.ndport) {
            (proto::ICMPV6, Af::Inet, 128) => (proto::ICMP, 8),
            (proto::ICMP, Af::Inet6, 8) => (proto::ICMPV6, 128),
            (p, _, far) => (p, far),
        };
        let (addr, port, source, side) = match pd.dir {
            Direction::In => ([chosen, other], [0, far], 0, KeySide::Stack),
            Direction::Out => ([other, chosen], [far, 0], 1, KeySide::Wire),
        };
        Self { key: StateKey { af: pd.naf, proto, addr, port }, source, side }
    }

    fn free<K: KeyFree + ?Sized>(&self, env: &K, port: u16) -> bool {
        let mut key = self.key;
        if let Some(p) = key.port.get_mut(self.source) {
            *p = port;
        }
        !env.taken(&key, self.side)
    }
}

/// A free port of a range that the host has no use for. Takes what it tries from `left`.
fn search<E: Random + KeyFree + ?Sized>(env: &mut E, ends: &Ends, lo: u16, hi: u16, left: &mut u32) -> Option<u16> {
    let count = u32::from(hi.saturating_sub(lo)).saturating_add(1);
    let mut at = env.random_below(count);
    let step = env.random_below(count.saturating_sub(1)).saturating_add(1);
    let mut by = None;
    for _ in 0..count {
        *left = left.checked_sub(1)?;
        let port = u16::try_from(at.saturating_add(u32::from(lo))).ok()?;
        if !env.reserved(ends.key.proto, port) && ends.free(env, port) {
            return Some(port);
        }
        // Nearly always the first port is free: what comes after it is worked out when it is not.
        let by = *by.get_or_insert_with(|| stride(step, count));
        at = at.saturating_add(by).checked_rem(count).unwrap_or(0);
    }
    None
}

/// The first step from `step` on that shares no factor with `count`, so that it comes by every number below it. Such numbers
/// are never more than a few dozen apart below 2^16.
fn stride(mut step: u32, count: u32) -> u32 {
    for _ in 0..64 {
        if gcd(step, count) == 1 {
            return step;
        }
        step = if step.saturating_add(1) >= count { 1 } else { step.saturating_add(1) };
    }
    1
}

/// Greatest common divisor.
fn gcd(mut a: u32, mut b: u32) -> u32 {
    for _ in 0..64 {
        match a.checked_rem(b) {
            Some(r) => (a, b) = (b, r),
            None => break,
        }
    }
    a
}

/// The port `rdr-to` sends a packet to: the target's range counted from the first port the rule asks for, wrapping
/// at the range's size and at the end of all ports as pf does. `None` leaves the port as it is.
#[must_use]
pub fn redirected(ports: &PoolPorts, dport: u16) -> Option<u16> {
    if ports.lo == 0 && ports.hi == 0 {
        return None;
    }
    let (lo, hi, base) = (i32::from(ports.lo), i32::from(ports.hi), i32::from(ports.base));
    let off = i32::from(dport).wrapping_sub(base);
    let port = match ports.hi {
        0 => lo.wrapping_add(off),
        _ => {
            let size = hi.wrapping_sub(lo).wrapping_add(1) & 0xffff;
            off.checked_rem(size.max(1)).unwrap_or(0).wrapping_add(lo)
        }
    };
    let port = if (0..=0xffff).contains(&port) { port } else { port.wrapping_sub(0xffff) };
    u16::try_from(port & 0xffff).ok().filter(|&p| p != 0)
}
