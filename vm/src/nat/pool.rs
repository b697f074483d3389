//! Pools: the choice of an address (`pf_map_addr`).
//!
//! **Invariant:** a pool with a fixed key gives pf's addresses, so that a host keeps its address when a firewall is
//! replaced; what pf draws at random is drawn at random here, in the same order.
//! **Invariant:** the work of one choice is bounded whatever the table holds.
//!
//! Source: OpenBSD 7.8 `sys/net/pf_lb.c` (`pf_map_addr`, `pf_map_addr_sticky`, `pf_hash`, `pf_rand_addr`).

use core::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::addr::{self, ZERO};
use super::{Env, Tables, walk};
use crate::rule::{Addr, Af, Pool, PoolAddr, PoolId, PoolKind, RuleId, TableId};
use crate::state::srcnode::SrcKind;

/// Addresses compared at most to find the one with the fewest states, or the next one heavy enough.
const ROUNDS: u32 = 4096;

/// What a pool remembers between packets (the mutable half of `struct pf_pool`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolState {
    /// Next address of `round-robin`, `random` and `least-states`; zero at first.
    pub counter: Addr,
    /// Entry of the table it lies in.
    pub index: u32,
    /// Weight of that entry.
    pub weight: u16,
    /// States of that entry.
    pub states: u64,
    /// Weight an entry must have in this round of a weighted `round-robin`.
    pub round_weight: i32,
    /// Key of `source-hash`: the words its hex digits give.
    pub key: [u32; 4],
}

impl PoolState {
    /// The state of a pool just loaded; `drawn` is its key unless the rule gives one.
    #[must_use]
    pub fn new(pool: &Pool, drawn: [u32; 4]) -> Self {
        Self { key: pool.key.unwrap_or(drawn), ..Self::default() }
    }

    /// A weighted round has passed the first entry: lighter entries take part from now on, until it starts again.
    pub(super) fn lower_weight(&mut self, gcd: u16, max: u16) {
        self.round_weight = self.round_weight.saturating_sub(i32::from(gcd));
        if self.round_weight < 1 {
            self.round_weight = i32::from(max);
        }
    }

    /// States by weight, as `least-states` compares them.
    fn load(&self, weighted: bool) -> u64 {
        if weighted {
            let scaled = self.states.saturating_mul(u64::from(u16::MAX));
            scaled.checked_div(u64::from(self.weight)).unwrap_or(u64::MAX)
        } else {
            self.states
        }
    }
}

/// The pools of a program: what the image says and what each remembers, by [`PoolId`].
#[derive(Debug)]
pub struct Pools<'a> {
    /// As written.
    pub pools: &'a [Pool],
    /// As they stand.
    pub states: &'a mut [PoolState],
}

impl Pools<'_> {
    /// A pool and what it remembers.
    #[must_use]
    pub fn get(&mut self, id: PoolId) -> Option<(&Pool, &mut PoolState)> {
        let i = usize::try_from(id.0).ok()?;
        Some((self.pools.get(i)?, self.states.get_mut(i)?))
    }
}

/// Who asks a pool and for what.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Family the address must have.
    pub af: Af,
    /// Rule the pool belongs to.
    pub rule: RuleId,
    /// What a sticky choice is remembered as.
    pub kind: SrcKind,
    /// Address the choice is made for. Of another family than `af` for `af-to`: its first bytes count then.
    pub source: Addr,
}

/// Where a pool's addresses come from.
#[derive(Clone, Copy)]
struct Net {
    addr: Addr,
    mask: u128,
}

/// The table behind a pool.
#[derive(Clone, Copy)]
struct Behind {
    id: TableId,
    dynamic: bool,
}

impl Behind {
    fn of(a: &PoolAddr) -> Option<Self> {
        match *a {
            PoolAddr::Table(id) => Some(Self { id, dynamic: false }),
            PoolAddr::Dynamic { table, .. } => Some(Self { id: table, dynamic: true }),
            PoolAddr::Net { .. } | PoolAddr::None => None,
        }
    }
}

/// Chooses an address (`pf_map_addr`). `None`: there is none, the packet is dropped with reason `translate`.
///
/// `first` is for callers that come back when an address will not do: pass a zero address first, and the same one
/// again; when the answer equals it, the pool has been round once.
pub fn map<E: Env + ?Sized>(
    env: &mut E,
    pool: &Pool,
    st: &mut PoolState,
    req: &Request,
    first: Option<&mut Addr>,
) -> Option<Addr> {
    if !env.held(req.kind)
        && pool.sticky
        && pool.kind != PoolKind::None
        && let Some(found) = sticky(env, pool, req)
    {
        return found;
    }
    let chosen = choose(env, pool, st, req, first)?;
    if pool.sticky && !env.insert(req.af, req.kind, req.rule, &req.source, &chosen) {
        return None;
    }
    Some(chosen)
}

/// The address a source was given before (`pf_map_addr_sticky`). The outer `None`: it has none, choose one.
fn sticky<E: Env + ?Sized>(env: &mut E, pool: &Pool, req: &Request) -> Option<Option<Addr>> {
    let cached = env.find(req.af, req.kind, req.rule, &req.source)?;
    if addr::is_zero(req.af, &cached) {
        return Some(Some(ZERO));
    }
    let valid = match pool.addr {
        PoolAddr::Net { af, addr: net, prefix } => {
            af == req.af && addr::same_net(&net, addr::mask(af, prefix), &cached)
        }
        PoolAddr::Table(t) | PoolAddr::Dynamic { table: t, .. } => env.holds(t, req.af, &cached),
        PoolAddr::None => false,
    };
    if !valid {
        env.stale(req.kind);
        return None;
    }
    if pool.kind == PoolKind::LeastStates && !count(env, pool, req.af, &cached) {
        return None;
    }
    Some(Some(cached))
}

/// Adds a state to the chosen address's entry (`pf_map_addr_states_increase`).
fn count<E: Tables + ?Sized>(env: &mut E, pool: &Pool, af: Af, chosen: &Addr) -> bool {
    Behind::of(&pool.addr).is_none_or(|b| env.count_state(b.id, af, chosen, true))
}

/// Takes back what [`map`] added when a state of a `least-states` pool ends, or another rule translates instead
/// (`pf_pool_states_decrease_addr`). `false` when the address has left the table.
pub fn release<E: Tables + ?Sized>(env: &mut E, pool: &Pool, af: Af, chosen: &Addr) -> bool {
    pool.kind != PoolKind::LeastStates
        || Behind::of(&pool.addr).is_none_or(|b| env.count_state(b.id, af, chosen, false))
}

/// The choice by kind.
fn choose<E: Env + ?Sized>(
    env: &mut E,
    pool: &Pool,
    st: &mut PoolState,
    req: &Request,
    first: Option<&mut Addr>,
) -> Option<Addr> {
    let behind = Behind::of(&pool.addr);
    let net = network(env, pool, req.af)?;
    match pool.kind {
        PoolKind::None => Some(net.addr),
        PoolKind::Bitmask => Some(addr::graft(req.af, &net.addr, net.mask, &req.source)),
        PoolKind::Random => match behind {
            Some(b) => jump(env, st, b, req.af, |env, n| env.random_below(n)),
            None => Some(random(env, st, req.af, net, first)),
        },
        PoolKind::SourceHash => {
            let (index, host) = hash(&req.source, st.key, req.af);
            match behind {
                Some(b) => jump(env, st, b, req.af, |_, n| remainder(index, n)),
                None => Some(addr::graft(req.af, &net.addr, net.mask, &host)),
            }
        }
        PoolKind::RoundRobin => round_robin(env, st, behind, req.af, net, first),
        PoolKind::LeastStates => least_states(env, pool, st, behind, req.af, net, first),
    }
}

/// The network a pool picks from. A table serves only kinds that walk it; the addresses of an interface serve the
/// others with the first one.
fn network<E: Tables + ?Sized>(env: &E, pool: &Pool, af: Af) -> Option<Net> {
    let walks = !matches!(pool.kind, PoolKind::None | PoolKind::Bitmask);
    match pool.addr {
        PoolAddr::Net { addr: a, prefix, .. } => Some(Net { addr: addr::only(af, &a), mask: addr::mask(af, prefix) }),
        PoolAddr::Table(_) if walks => Some(Net { addr: ZERO, mask: 0 }),
        PoolAddr::Table(_) | PoolAddr::None => None,
        PoolAddr::Dynamic { table, .. } => match env.entry(table, af, 0) {
            Some(e) => Some(Net { addr: e.addr, mask: addr::mask(af, e.prefix) }),
            None => walks.then_some(Net { addr: ZERO, mask: 0 }),
        },
    }
}

/// A walk that starts at a chosen entry of the table.
fn jump<E: Env + ?Sized>(
    env: &mut E,
    st: &mut PoolState,
    b: Behind,
    af: Af,
    pick: impl FnOnce(&mut E, u32) -> u32,
) -> Option<Addr> {
    let n = env.facts(b.id)?.count;
    st.index = if n == 0 { 0 } else { pick(env, n) };
    st.counter = ZERO;
    walk::next(env, st, b.id, b.dynamic, af)?;
    Some(st.counter)
}

/// `index` modulo the table's size.
fn remainder(index: u64, n: u32) -> u32 {
    index.checked_rem(u64::from(n)).and_then(|r| u32::try_from(r).ok()).unwrap_or(0)
}

/// A random address of a network at first, then the ones that follow.
fn random<E: Env + ?Sized>(env: &mut E, st: &mut PoolState, af: Af, net: Net, first: Option<&mut Addr>) -> Addr {
    match first {
        Some(f) if addr::is_zero(af, f) => {
            st.counter = draw(env, af, &st.counter, net.mask);
            *f = addr::graft(af, &net.addr, net.mask, &st.counter);
            *f
        }
        _ => {
            st.counter = addr::next(af, &st.counter);
            addr::graft(af, &net.addr, net.mask, &st.counter)
        }
    }
}

/// Random host bits, a word at a time from the last one, as far as the mask leaves room. A word that is host bits
/// as a whole stays zero, as in pf.
fn draw<E: Env + ?Sized>(env: &mut E, af: Af, old: &Addr, mask: u128) -> Addr {
    let mut out = addr::bits(old);
    let shifts: &[u32] = match af {
        Af::Inet => &[96],
        Af::Inet6 => &[0, 32, 64, 96],
    };
    for &shift in shifts {
        let word = mask.wrapping_shr(shift) & 0xffff_ffff;
        if word == 0xffff_ffff && af == Af::Inet6 {
            break;
        }
        let host = u32::try_from(!word & 0xffff_ffff).unwrap_or(0);
        let r = env.random_below(host.wrapping_add(1));
        out = (out & !0xffff_ffff_u128.wrapping_shl(shift)) | u128::from(r).wrapping_shl(shift);
    }
    addr::of(af, out)
}

/// The keyed hash of an address: an index for tables, and host bits (`pf_hash`). The host bits are pf's words in the
/// memory of a little-endian machine.
#[must_use]
pub fn hash(source: &Addr, key: [u32; 4], af: Af) -> (u64, Addr) {
    let [a, b, c, d] = key.map(u64::from);
    let mut h = SipHasher24::new_with_keys(a | b.wrapping_shl(32), c | d.wrapping_shl(32));
    h.write(addr::wire(af, source));
    let index = h.finish();
    let [b0, b1, b2, b3, b4, b5, b6, b7] = index.to_le_bytes();
    let host = match af {
        Af::Inet => addr::v4([b0, b1, b2, b3]),
        Af::Inet6 => Addr([b0, b1, b2, b3, b4, b5, b6, b7, !b4, !b5, !b6, !b7, !b0, !b1, !b2, !b3]),
    };
    (index, host)
}

/// A walk from the counter, and once more from the start when what it stood on has left the table.
fn step<E: Env + ?Sized>(env: &mut E, st: &mut PoolState, b: Behind, af: Af) -> Option<Net> {
    let found = match walk::next(env, st, b.id, b.dynamic, af) {
        Some(e) => e,
        None => {
            st.counter = ZERO;
            walk::next(env, st, b.id, b.dynamic, af)?
        }
    };
    Some(Net { addr: found.addr, mask: addr::mask(af, found.prefix) })
}

/// Remembers where a caller's round begins.
fn begin(af: Af, first: Option<&mut Addr>, at: &Addr) {
    if let Some(f) = first
        && addr::is_zero(af, f)
    {
        *f = *at;
    }
}

fn round_robin<E: Env + ?Sized>(
    env: &mut E,
    st: &mut PoolState,
    behind: Option<Behind>,
    af: Af,
    mut net: Net,
    first: Option<&mut Addr>,
) -> Option<Addr> {
    match behind {
        Some(b) => {
            net = step(env, st, b, af)?;
            if env.facts(b.id)?.weighted {
                for _ in 0..ROUNDS {
                    let e = walk::next(env, st, b.id, b.dynamic, af)?;
                    net = Net { addr: e.addr, mask: addr::mask(af, e.prefix) };
                    if i32::from(st.weight) >= st.round_weight {
                        break;
                    }
                    st.counter = addr::next(af, &st.counter);
                }
            }
        }
        None if addr::is_zero(af, &st.counter) && net.mask == addr::all(af) => {
            begin(af, first, &net.addr);
            return Some(net.addr);
        }
        None if addr::is_zero(af, &st.counter) => {}
        None if addr::same_net(&net.addr, net.mask, &st.counter) => return None,
        None => {}
    }
    let chosen = addr::graft(af, &net.addr, net.mask, &st.counter);
    begin(af, first, &chosen);
    st.counter = addr::next(af, &st.counter);
    Some(chosen)
}

fn least_states<E: Env + ?Sized>(
    env: &mut E,
    pool: &Pool,
    st: &mut PoolState,
    behind: Option<Behind>,
    af: Af,
    mut net: Net,
    mut first: Option<&mut Addr>,
) -> Option<Addr> {
    let weighted = match behind {
        Some(b) => env.facts(b.id)?.weighted,
        None => false,
    };
    match behind {
        Some(b) => net = step(env, st, b, af)?,
        None if addr::same_net(&net.addr, net.mask, &st.counter) => return None,
        None => {}
    }
    let start = st.counter;
    let (mut chosen, mut load, mut states) = (start, st.load(weighted), st.states);
    begin(af, first.as_deref_mut(), &chosen);
    for _ in 0..ROUNDS {
        st.counter = addr::next(af, &st.counter);
        match behind {
            Some(b) => {
                let e = walk::next(env, st, b.id, b.dynamic, af)?;
                net = Net { addr: e.addr, mask: addr::mask(af, e.prefix) };
            }
            None if addr::same_net(&net.addr, net.mask, &st.counter) => return None,
            None => {}
        }
        if st.load(weighted) < load {
            (chosen, load, states) = (st.counter, st.load(weighted), st.states);
            begin(af, first.as_deref_mut(), &chosen);
        }
        if addr::same_net(&start, net.mask, &st.counter) || states == 0 {
            break;
        }
    }
    count(env, pool, af, &chosen).then_some(chosen)
}
