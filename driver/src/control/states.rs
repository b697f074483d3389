//! States and source nodes.

use pfvm::api::{Code, END, Key, PageWriter, Refusal, SourceFilter, SourceRow, StateFilter, StateRow, decode_row};
use pfvm::engine::Engine;
use pfvm::engine::control::Import;
use pfvm::engine::load::label_digest;
use pfvm::rule::{Addr, Af, TIMEOUTS};
use pfvm::state::key::{Idx, KeySide, StateKey};
use pfvm::state::record::{
    FLOATING, NONE, PeerState, State, StateExt, StateFlags, StatePeer, StateTimeout, WSCALE_MASK,
};
use pfvm::state::srcnode::SrcNode;

use super::{Reply, changed, small};
use crate::filter::Filter;
use crate::lock::Lock;
use crate::platform::Platform;

/// The interface of a floating state.
const ALL: &str = "all";

/// A [`StateFilter`] whose names were looked up once.
struct Wanted {
    filter: Numbers,
    label: u64,
    /// An interface's index; `Some(0)` is one nobody has.
    kif: Option<u16>,
}

/// What is left of the filter without its names.
struct Numbers {
    src: Option<pfvm::api::Net>,
    dst: Option<pfvm::api::Net>,
    key: Option<Key>,
    id: Option<u64>,
    creator: Option<u32>,
    rdomain: u16,
    rule: Option<u32>,
}

impl Wanted {
    fn new<P: Platform>(f: &Filter<P>, w: &StateFilter<'_>) -> Self {
        let kif = match w.iface {
            "" => None,
            ALL => Some(FLOATING),
            name => Some(f.facts.named(name).map_or(0, |i| i.index)),
        };
        let StateFilter { src, dst, key, id, creator, rdomain, rule, .. } = *w;
        Self { filter: Numbers { src, dst, key, id, creator, rdomain, rule }, label: label_digest(w.label), kif }
    }

    /// Whether a state is meant.
    fn means(&self, engine: &Engine, slot: u32, s: &State) -> bool {
        let w = &self.filter;
        let rule = || engine.rules.get(s.rule);
        w.rdomain == 0
            && self.kif.is_none_or(|k| k == s.kif)
            && (self.label == 0 || rule().is_some_and(|e| e.label == self.label))
            && w.rule.is_none_or(|nr| rule().is_some_and(|e| e.rule.nr == nr))
            && w.id.is_none_or(|id| engine.table.id(slot) == id)
            && w.creator.is_none_or(|c| c == engine.options.hostid)
            && self.ends(engine, slot, s)
            && w.key.as_ref().is_none_or(|k| has_key(engine, slot, k))
    }

    /// The key as the first packet had it lies in the networks asked for.
    fn ends(&self, engine: &Engine, slot: u32, s: &State) -> bool {
        let (src, dst) = (&self.filter.src, &self.filter.dst);
        if src.is_none() && dst.is_none() {
            return true;
        }
        let Some(key) = engine.table.key(slot, KeySide::lookup(s.direction())) else { return false };
        let idx = Idx::source(s.direction());
        let holds = |net: &Option<pfvm::api::Net>, addr: Addr| net.is_none_or(|n| n.holds(key.af, &addr));
        holds(src, idx.of(&key.addr)) && holds(dst, idx.other().of(&key.addr))
    }
}

/// Whether one of the state's keys is the one asked for, whichever end comes first.
fn has_key(engine: &Engine, slot: u32, k: &Key) -> bool {
    let asked = StateKey { addr: k.addr, port: k.port, af: k.af, proto: k.proto };
    [KeySide::Wire, KeySide::Stack].into_iter().any(|side| {
        let key = engine.table.key(slot, side);
        key == Some(asked) || key == Some(asked.reversed())
    })
}

/// Where a list goes on: the slot of the next state, and enough of its number to know it again.
fn cursor(engine: &Engine, slot: u32) -> u64 {
    u64::from(slot) << 32 | (engine.table.id(slot) & u64::from(u32::MAX))
}

/// The state a cursor means; where that is gone, the first that was made after it.
fn resume(engine: &Engine, cursor: u64) -> u32 {
    if cursor == 0 {
        return engine.table.first();
    }
    let slot = u32::try_from(cursor >> 32).unwrap_or(NONE);
    let id = cursor & u64::from(u32::MAX);
    let low = |slot| engine.table.id(slot) & u64::from(u32::MAX);
    if engine.table.get(slot).is_some() && low(slot) == id {
        return slot;
    }
    engine.table.iter().find(|s| low(*s) > id).unwrap_or(NONE)
}

/// Most states looked at for one page.
const LOOKED_AT: usize = 16_384;

pub(super) fn list<P: Platform>(f: &Filter<P>, which: &StateFilter<'_>, from: u64, reply: &mut [u8]) -> Reply {
    let wanted = Wanted::new(f, which);
    let mut page = PageWriter::new(reply).map_err(small)?;
    let engine = &f.engine;
    let mut at = resume(engine, from);
    for _ in 0..LOOKED_AT {
        let Some(s) = engine.table.get(at) else { return Ok(page.end(END, f.generation, engine.table.len())) };
        if wanted.means(engine, at, s) && !page.row(&row(f, at, s)) {
            break;
        }
        at = engine.table.next(at);
    }
    let next = if engine.table.get(at).is_some() { cursor(engine, at) } else { END };
    Ok(page.end(next, f.generation, engine.table.len()))
}

fn key(k: &StateKey) -> Key {
    Key { af: k.af, proto: k.proto, addr: k.addr, port: k.port }
}

/// Number, path and standing of a rule by its place in the book.
fn rule_of<P: Platform>(f: &Filter<P>, place: u32) -> (u32, u64, &str, bool) {
    let Some(e) = f.engine.rules.get(place) else { return (NONE, 0, "", false) };
    let Some(site) = e.site.filter(|_| e.live) else { return (e.rule.nr, e.rule.stable_id, "", e.live) };
    let program = f.engine.programs().get(usize::from(site.unit.0));
    let path = program.and_then(|p| p.ruleset(e.rule.ruleset).map(|r| p.text(r.path))).unwrap_or("");
    (e.rule.nr, e.rule.stable_id, path, e.live)
}

fn row<'f, P: Platform>(f: &'f Filter<P>, slot: u32, s: &State) -> StateRow<'f> {
    let e = &f.engine;
    let ext = e.table.ext(s).copied().unwrap_or_default();
    let stack = e.table.key(slot, KeySide::Stack).unwrap_or_else(|| s.wire());
    let now = f.seconds();
    let (rule, stable_id, anchor, live) = rule_of(f, s.rule);
    let mut sources = 0_u8;
    for (bit, node) in ext.src_nodes.iter().enumerate() {
        let tracked = e.nodes.get(*node).is_some_and(|n| !n.orphan);
        sources |= u8::from(tracked).checked_shl(u32::try_from(bit).unwrap_or(7)).unwrap_or(0);
    }
    StateRow {
        id: e.table.id(slot),
        creator: e.options.hostid,
        iface: if s.kif == FLOATING { ALL } else { f.facts.iface(s.kif).map_or("", |i| i.name()) },
        dir: s.direction(),
        wire: key(&s.wire()),
        stack: key(&stack),
        src: s.src(),
        dst: s.dst(),
        age: now.saturating_sub(s.created),
        expires: e.expires(s).saturating_sub(now),
        timeout: match s.timeout() {
            StateTimeout::Named(t) => t as u8,
            StateTimeout::Purge => u8::MAX,
        },
        packets: s.packets(),
        bytes: s.bytes(),
        rule,
        stable_id,
        anchor,
        anchor_rule: rule_of(f, ext.anchor).0,
        nat_rule: rule_of(f, ext.nat_rule).0,
        live,
        flags: s.flags.0,
        log: s.log,
        route: ext.rt.map(|rt| (rt, ext.rt_addr)),
        tag: e.tags.name(ext.tag).unwrap_or(""),
        sources,
        queue: ext.queue,
        max_mss: ext.max_mss,
        delay: ext.delay,
        mss: ext.mss,
        min_ttl: ext.min_ttl,
        set_tos: ext.set_tos,
        prio: ext.prio,
    }
}

pub(super) fn kill<P: Platform>(f: &mut Filter<P>, which: &StateFilter<'_>, reply: &mut [u8]) -> Reply {
    let wanted = Wanted::new(f, which);
    let (engine, mut host) = f.split();
    changed(engine.kill_states(&mut host, |e, slot, s| wanted.means(e, slot, s)), reply)
}

/// States looked at, or taken in, with the filter locked once.
const AT_ONCE: usize = 1024;

/// Verifies rows from the one of a number on, at most [`AT_ONCE`]; gives those left and the number of the first of them.
fn check<'r, P: Platform>(f: &mut Filter<P>, rows: &'r [u8], number: u64) -> Result<(&'r [u8], u64), Refusal<'static>> {
    let (mut rest, mut number) = (rows, number);
    for _ in 0..AT_ONCE {
        if rest.is_empty() {
            break;
        }
        let bad = |what| Refusal::new(Code::Invalid, what).at(number);
        let (row, after) = decode_row::<StateRow<'_>>(rest).map_err(|_| bad("a state does not decode, number"))?;
        verify(f, &row).map_err(bad)?;
        f.engine.tags.of(row.tag).map_err(super::memory)?;
        number = number.saturating_add(1);
        rest = after;
    }
    Ok((rest, number))
}

/// Takes rows in that were verified, at most [`AT_ONCE`]; gives those left and how many were taken.
fn take<'r, P: Platform>(f: &mut Filter<P>, rows: &'r [u8]) -> (&'r [u8], u64) {
    let (mut rest, mut taken) = (rows, 0_u64);
    for _ in 0..AT_ONCE {
        let Ok((row, after)) = decode_row::<StateRow<'_>>(rest) else { return (&[], taken) };
        rest = after;
        // What it needs may have gone since.
        taken = taken.saturating_add(u64::from(verify(f, &row).is_ok() && insert(f, &row)));
    }
    (rest, taken)
}

/// All rows are verified before one is taken in.
pub(super) fn import<P: Platform>(f: &mut Filter<P>, rows: &[u8], reply: &mut [u8]) -> Reply {
    let (mut rest, mut number) = (rows, 0_u64);
    while !rest.is_empty() {
        (rest, number) = check(f, rest, number)?;
    }
    let (mut rest, mut all) = (rows, 0_u64);
    while !rest.is_empty() {
        let (left, taken) = take(f, rest);
        (rest, all) = (left, all.saturating_add(taken));
    }
    changed(all, reply)
}

/// The same with the filter unlocked between a piece and the next.
pub(super) fn import_all<P: Platform, L: Lock<P>>(rows: &[u8], reply: &mut [u8], filter: &L) -> Reply {
    let (mut rest, mut number) = (rows, 0_u64);
    while !rest.is_empty() {
        (rest, number) = filter.with(|f| check(f, rest, number))?;
    }
    let (mut rest, mut all) = (rows, 0_u64);
    while !rest.is_empty() {
        let (left, taken) = filter.with(|f| take(f, rest));
        (rest, all) = (left, all.saturating_add(taken));
    }
    changed(all, reply)
}

fn key_of(k: &Key) -> StateKey {
    StateKey { addr: k.addr, port: k.port, af: k.af, proto: k.proto }
}

/// Whether a row can be a state here.
fn verify<P: Platform>(f: &Filter<P>, r: &StateRow<'_>) -> Result<(), &'static str> {
    let short = |k: &Key| k.af == Af::Inet6 || k.addr.iter().all(|a| a.0.iter().skip(4).all(|b| *b == 0));
    let peer = |p: &StatePeer| p.state <= PeerState::PROXY_DST && p.wscale & WSCALE_MASK <= 14;
    let checks: [(bool, &'static str); 7] = [
        (r.iface == ALL || f.facts.named(r.iface).is_some(), "there is no such interface, state number"),
        (short(&r.wire) && short(&r.stack), "an IPv4 address is too long, state number"),
        (r.wire.af != r.stack.af || r.wire.proto == r.stack.proto, "the keys differ in protocol, state number"),
        (peer(&r.src) && peer(&r.dst), "a peer cannot be so, state number"),
        (usize::from(r.timeout) < TIMEOUTS, "there is no such timeout, state number"),
        (r.prio.iter().all(|p| *p <= 7), "there is no such priority, state number"),
        (r.log & !15 == 0 && r.flags & !0x0fff == 0, "there are no such flags, state number"),
    ];
    checks.into_iter().find(|(good, _)| !good).map_or(Ok(()), |(_, what)| Err(what))
}

/// Takes a verified state in; `false` when there is no room, or another holds its key.
fn insert<P: Platform>(f: &mut Filter<P>, r: &StateRow<'_>) -> bool {
    let now = f.seconds();
    let (wire, stack) = (key_of(&r.wire), key_of(&r.stack));
    let mut s = State::new(&wire, &stack, r.dir);
    s.set_counters(r.packets, r.bytes);
    (s.flags, s.log) = (StateFlags(r.flags), r.log);
    s.created = now.saturating_sub(r.age);
    s.kif = if r.iface == ALL { FLOATING } else { f.facts.named(r.iface).map_or(FLOATING, |i| i.index) };
    let timeout = pfvm::rule::Timeout::ALL.get(usize::from(r.timeout)).copied();
    s.edit(|s| {
        (s.src, s.dst) = (r.src, r.dst);
        s.set_timeout(timeout.map_or(StateTimeout::Purge, StateTimeout::Named));
    });
    let ext = StateExt {
        stack_addr: stack.addr,
        stack_af: stack.af,
        stack_proto: stack.proto,
        rt: r.route.map(|(kind, _)| kind),
        rt_addr: r.route.map_or(Addr::default(), |(_, addr)| addr),
        tag: f.engine.tags.of(r.tag).unwrap_or(0),
        queue: r.queue,
        max_mss: r.max_mss,
        delay: r.delay,
        mss: r.mss,
        min_ttl: r.min_ttl,
        set_tos: r.set_tos,
        prio: r.prio,
        ..StateExt::default()
    };
    let plain =
        StateExt { stack_addr: stack.addr, stack_af: stack.af, stack_proto: stack.proto, ..StateExt::default() };
    let ext = (State::needs_ext_for(&wire, &stack) || ext != plain).then_some(ext);
    let import = Import { state: s, ext, expires: r.expires, stable_id: r.stable_id };
    let (engine, mut host) = f.split();
    engine.import(&import, &mut host)
}

pub(super) fn sources<P: Platform>(f: &Filter<P>, cursor: u64, reply: &mut [u8]) -> Reply {
    let mut page = PageWriter::new(reply).map_err(small)?;
    let nodes = &f.engine.nodes;
    let first = u32::try_from(cursor).unwrap_or(u32::MAX);
    for id in first..nodes.places() {
        if let Some(n) = nodes.get(id).filter(|n| !n.orphan)
            && !page.row(&source(f, n))
        {
            return Ok(page.end(id.into(), f.generation, nodes.len()));
        }
    }
    Ok(page.end(END, f.generation, nodes.len()))
}

fn source<'f, P: Platform>(f: &'f Filter<P>, n: &SrcNode) -> SourceRow<'f> {
    let now = f.seconds();
    let (rule, _, anchor, _) = rule_of(f, n.key.rule);
    SourceRow {
        kind: n.key.kind as u8,
        source: (n.key.af, n.key.addr),
        given: (n.redirect_af, n.redirect),
        states: n.states,
        connections: n.conn,
        rate: n.rate.shown(now),
        age: now.saturating_sub(n.created),
        expires: if n.states > 0 { 0 } else { n.expire.saturating_sub(now) },
        packets: n.packets,
        bytes: n.bytes,
        rule,
        anchor,
    }
}

pub(super) fn kill_sources<P: Platform>(f: &mut Filter<P>, which: &SourceFilter, reply: &mut [u8]) -> Reply {
    let holds = |net: &Option<pfvm::api::Net>, af, addr: &Addr| net.is_none_or(|n| n.holds(af, addr));
    let killed = f
        .engine
        .kill_sources(|n| holds(&which.src, n.key.af, &n.key.addr) && holds(&which.dst, n.redirect_af, &n.redirect));
    changed(killed, reply)
}
