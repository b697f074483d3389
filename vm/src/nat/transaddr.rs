//! What a rule's `nat-to`, `rdr-to` or `af-to` does to a packet's description (`pf_get_transaddr`).
//!
//! Only the translated half of the description changes (`nsaddr`, `ndaddr`, `nsport`, `ndport`, `naf`): the packet is
//! rewritten once its state exists. A `match` rule does this in the middle of the rules, and the later ones compare
//! with what it left.
//!
//! Source: OpenBSD 7.8 `sys/net/pf_lb.c` (`pf_get_transaddr`, `pf_get_transaddr_af`, `pf_postprocess_addr`).

use super::pool::{self, Pools, Request};
use super::{Env, Tables, addr, ports, rfc6052};
use crate::packet::{PacketDesc, proto};
use crate::rule::{Addr, Af, Direction, Pool, PoolAddr, PoolId, PoolKind, Rule, RuleId};
use crate::state::key::StateKey;
use crate::state::srcnode::SrcKind;

/// The two pools of the rule that translates, and the prefix it compares the destination with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Rule.
    pub rule: RuleId,
    /// `nat-to`, or where `af-to` takes the source from.
    pub nat: Option<PoolId>,
    /// `rdr-to`, or where `af-to` takes the destination from.
    pub rdr: Option<PoolId>,
    /// Prefix length of the rule's own destination, for `af-to` without a `to`; 0 when it has none.
    pub dst_prefix: u8,
}

impl Translation {
    /// What a rule says.
    #[must_use]
    pub const fn of(id: RuleId, rule: &Rule) -> Self {
        Self { rule: id, nat: rule.nat, rdr: rule.rdr, dst_prefix: rule.dst_prefix }
    }

    /// Whether there is anything to do.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.nat.is_none() && self.rdr.is_none()
    }
}

/// No address or port could be found: the packet is dropped with reason `translate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTranslation;

/// Applies a rule's translation to a description. `last` is the rule that translated before, which this one replaces
/// (`nr`); it stays when this rule does not translate. The caller sets `pd.naf` before, for `af-to`.
///
/// # Errors
/// [`NoTranslation`]; what the description then holds does not matter, the packet is lost.
pub fn apply<E: Env + ?Sized>(
    env: &mut E,
    pools: &mut Pools<'_>,
    tr: &Translation,
    pd: &mut PacketDesc,
    last: &mut Option<Translation>,
) -> Result<(), NoTranslation> {
    if pd.af != pd.naf {
        return change_family(env, pools, tr, pd);
    }
    if let Some(id) = tr.nat {
        let (pool, st) = pools.get(id).ok_or(NoTranslation)?;
        let (to, port) = ports::source(env, tr.rule, pool, st, pd).ok_or(NoTranslation)?;
        forget(env, pools, last.and_then(|l| l.nat), pd.af, &pd.nsaddr);
        *last = Some(*tr);
        (pd.nsaddr, pd.nsport) = (to, port);
    }
    if let Some(id) = tr.rdr {
        let (pool, st) = pools.get(id).ok_or(NoTranslation)?;
        let req = Request { af: pd.af, rule: tr.rule, kind: SrcKind::Rdr, source: pd.nsaddr };
        let mut to = pool::map(env, pool, st, &req, None).ok_or(NoTranslation)?;
        if let (PoolKind::Bitmask, PoolAddr::Net { prefix, .. }) = (pool.kind, pool.addr) {
            to = addr::graft(pd.af, &to, addr::mask(pd.af, prefix), &pd.ndaddr);
        }
        let port = ports::redirected(&pool.ports, pd.ndport);
        forget(env, pools, last.and_then(|l| l.rdr), pd.af, &pd.ndaddr);
        *last = Some(*tr);
        pd.ndaddr = to;
        pd.ndport = port.unwrap_or(pd.ndport);
    }
    Ok(())
}

/// Takes back what the rule that translated before has counted in a `least-states` table.
fn forget<E: Tables + ?Sized>(env: &mut E, pools: &mut Pools<'_>, before: Option<PoolId>, af: Af, a: &Addr) {
    if let Some((pool, _)) = before.and_then(|id| pools.get(id)) {
        pool::release(env, pool, af, a);
    }
}

/// `af-to`: source from one pool, destination out of the packet's own or from the other pool.
fn change_family<E: Env + ?Sized>(
    env: &mut E,
    pools: &mut Pools<'_>,
    tr: &Translation,
    pd: &mut PacketDesc,
) -> Result<(), NoTranslation> {
    let (nat, st) = tr.nat.and_then(|id| pools.get(id)).ok_or(NoTranslation)?;
    let (source, port) = ports::source(env, tr.rule, nat, st, pd).ok_or(NoTranslation)?;
    let nat_prefix = prefix_of(nat);
    pd.nsport = port;
    change_echo(pd);
    let ndaddr = match tr.rdr {
        Some(id) => {
            let (rdr, st) = pools.get(id).ok_or(NoTranslation)?;
            let req = Request { af: pd.naf, rule: tr.rule, kind: SrcKind::Rdr, source };
            let to = pool::map(env, rdr, st, &req, None).ok_or(NoTranslation)?;
            if rdr.ports.lo != 0 {
                pd.ndport = rdr.ports.lo;
            }
            match pd.naf {
                Af::Inet => rfc6052::low_bits(&pd.ndaddr, &to, prefix_of(rdr)),
                Af::Inet6 => Some(rfc6052::embed(&pd.ndaddr, &to, prefix_of(rdr)).unwrap_or(to)),
            }
        }
        None => match pd.naf {
            Af::Inet => {
                let prefix = if tr.dst_prefix < 32 { 96 } else { tr.dst_prefix };
                rfc6052::extract(&pd.ndaddr, &pd.ndaddr, prefix)
            }
            Af::Inet6 => Some(rfc6052::embed(&pd.ndaddr, &source, nat_prefix.min(96)).unwrap_or(source)),
        },
    };
    pd.nsaddr = source;
    pd.ndaddr = ndaddr.ok_or(NoTranslation)?;
    Ok(())
}

/// Prefix length of a pool's network; a table or an interface counts as 0, which is what pf finds in its place.
const fn prefix_of(pool: &Pool) -> u8 {
    match pool.addr {
        PoolAddr::Net { prefix, .. } => prefix,
        _ => 0,
    }
}

/// The type of an echo, which stands for a port in the key, in the other family.
const fn change_echo(pd: &mut PacketDesc) {
    let port = match pd.dir {
        Direction::In => &mut pd.ndport,
        Direction::Out => &mut pd.nsport,
    };
    *port = match (pd.proto, pd.naf, *port) {
        (proto::ICMPV6, Af::Inet, 128) => 8,
        (proto::ICMPV6, Af::Inet, 129) => 0,
        (proto::ICMP, Af::Inet6, 8) => 128,
        (proto::ICMP, Af::Inet6, 0) => 129,
        (_, _, p) => p,
    };
}

/// The pools that count a state, and the next hop it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Pool of the last rule that changed the source.
    pub nat: Option<PoolId>,
    /// Pool of the last rule that changed the destination.
    pub rdr: Option<PoolId>,
    /// Pool of next hops and the one taken.
    pub route: Option<(PoolId, Addr)>,
}

/// Takes back what a state that ends has counted in `least-states` tables (`pf_postprocess_addr`). `outer` is the
/// state's key that carries the translation: the stack key of a state made inwards, the wire key of one made outwards.
pub fn end<E: Tables + ?Sized>(
    env: &mut E,
    pools: &mut Pools<'_>,
    dir: Direction,
    counted: &Counted,
    outer: &StateKey,
) {
    let [first, second] = outer.addr;
    let (source, destination) = match dir {
        Direction::In => (first, second),
        Direction::Out => (second, first),
    };
    forget(env, pools, counted.nat, outer.af, &source);
    forget(env, pools, counted.rdr, outer.af, &destination);
    if let Some((id, hop)) = counted.route {
        forget(env, pools, Some(id), outer.af, &hop);
    }
}

/// Chooses the next hop of a state (`pf_set_rt_ifp`). `None`: no route, reason `no-route`.
pub fn next_hop<E: Env + ?Sized>(
    env: &mut E,
    pools: &mut Pools<'_>,
    rule: RuleId,
    pool: PoolId,
    af: Af,
    source: &Addr,
) -> Option<Addr> {
    let (pool, st) = pools.get(pool)?;
    let req = Request { af, rule, kind: SrcKind::Route, source: *source };
    pool::map(env, pool, st, &req, None)
}
