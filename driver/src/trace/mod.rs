//! Traces: of packets a filter expression picks, the rules they met and what became of them.
//!
//! Armed and disarmed while traffic flows; no rule is edited. Before a packet is decided the expression is asked what it
//! can say of its description; unless that is no, the packet is followed through the straight code of the rules
//! ([`Engine::follow`]) and kept if the expression holds of what became of it, too.
//! **Invariant:** an unarmed trace costs one test a packet; an armed one copies into memory taken when it was armed.
//! No more packets are followed in a second than the rate given; the others are counted.
//! Locks: the filter's own. IRQL: `before` and `after` at DISPATCH or below.

use pfvm::engine::trail::{How, MOST};
use pfvm::engine::{Engine, Outcome, Seen, Verdict};
use pfvm::packet::{DropReason, L4, Packet, PacketDesc, PktMeta, describe};
use pfvm::rule::{Addr, Af, Direction};
use pfvm::state::pool::OutOfMemory;
use pfvm::state::record::PeerState;
use pfvm::watch::{By, Expr, Facts, MetKind, MetRow, TraceRow};

use crate::log::{Ring, action_of, name};

/// Packets kept for readers.
const CAPACITY: u32 = 256;
/// A trace that was not read for so long ends, milliseconds.
pub const FORGOTTEN_MS: u64 = 10_000;

/// A rule that was met.
#[derive(Clone, Copy, Debug)]
struct Met {
    place: u32,
    stable_id: u64,
    kind: MetKind,
}

/// A packet that was followed.
#[derive(Clone, Copy, Debug)]
struct Traced {
    ms: u64,
    generation: u64,
    iface: u16,
    dir: Direction,
    forwarded: bool,
    af: Af,
    naf: Af,
    proto: u8,
    ends: ((Addr, u16), (Addr, u16)),
    to: ((Addr, u16), (Addr, u16)),
    detail: u16,
    fragment: Option<(u16, bool)>,
    len: u32,
    passed: bool,
    by: By,
    reason: u8,
    logged: bool,
    created: bool,
    state: Option<[u8; 2]>,
    unseen: u16,
    count: u8,
    met: [Met; MOST],
}

const NO_END: (Addr, u16) = (Addr([0; 16]), 0);
const BLANK: Traced = Traced {
    ms: 0,
    generation: 0,
    iface: 0,
    dir: Direction::In,
    forwarded: false,
    af: Af::Inet,
    naf: Af::Inet,
    proto: 0,
    ends: (NO_END, NO_END),
    to: (NO_END, NO_END),
    detail: 0,
    fragment: None,
    len: 0,
    passed: false,
    by: By::Skip,
    reason: 0,
    logged: false,
    created: false,
    state: None,
    unseen: 0,
    count: 0,
    met: [Met { place: 0, stable_id: 0, kind: MetKind::Matches }; MOST],
};

/// What an armed trace has.
#[derive(Debug)]
struct Armed {
    ring: Ring<Traced>,
    /// The packet at hand, as it will be written down.
    now: Traced,
    expr: Expr,
    rate: u32,
    /// The second packets are counted in, and how many were followed in it.
    second: u64,
    followed: u32,
    /// Packets the rate left out.
    skipped: u64,
    /// When it was read last.
    read_ms: u64,
}

/// The trace.
#[derive(Debug, Default)]
pub struct Trace {
    armed: Option<Armed>,
}

/// What is known of a packet that is followed, before it is decided.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    seen: Seen,
    desc: Result<PacketDesc, DropReason>,
    len: u32,
    states: u32,
    ms: u64,
}

impl Trace {
    /// Begins to trace what an expression picks, at most `rate` packets a second. A trace there was ends.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room; the trace there was goes on.
    pub fn arm(&mut self, expr: Expr, rate: u32, now_ms: u64) -> Result<(), OutOfMemory> {
        let ring = Ring::new("traced packets", CAPACITY, BLANK)?;
        self.armed = Some(Armed {
            ring,
            now: BLANK,
            expr,
            rate: rate.max(1),
            second: 0,
            followed: 0,
            skipped: 0,
            read_ms: now_ms,
        });
        Ok(())
    }

    /// Ends it.
    pub fn disarm(&mut self) {
        self.armed = None;
    }

    /// Ends it when nobody has read it for [`FORGOTTEN_MS`]: whoever armed it has gone.
    pub fn tick(&mut self, now_ms: u64) {
        if self.armed.as_ref().is_some_and(|a| now_ms.saturating_sub(a.read_ms) > FORGOTTEN_MS) {
            self.armed = None;
        }
    }

    /// Whether it is armed.
    #[must_use]
    pub const fn is_armed(&self) -> bool {
        self.armed.is_some()
    }

    /// Packets the rate left out.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.armed.as_ref().map_or(0, |a| a.skipped)
    }

    /// Before a packet is decided: whether to follow it. `on` says whether its interface has a name.
    #[inline(never)]
    pub fn before(
        &mut self,
        engine: &mut Engine,
        packet: &Packet<'_>,
        meta: &PktMeta,
        seen: Seen,
        ms: u64,
        on: &dyn Fn(&str) -> bool,
    ) -> Option<Before> {
        let armed = self.armed.as_mut()?;
        let desc = describe(packet, meta, seen.af, seen.dir, seen.iface).map_err(|refusal| refusal.reason);
        let facts = Facts { af: Some(seen.af), dir: Some(seen.dir), on: Some(on), ..Facts::default() };
        let facts = match &desc {
            Ok(desc) => Facts { ends: Some(ends(desc)), proto: Some(desc.proto), ..facts },
            Err(_) => facts,
        };
        if armed.expr.holds(&facts) == Some(false) {
            return None;
        }
        let second = ms.checked_div(1000).unwrap_or(0);
        if second != armed.second {
            (armed.second, armed.followed) = (second, 0);
        }
        if armed.followed >= armed.rate {
            armed.skipped = armed.skipped.saturating_add(1);
            return None;
        }
        armed.followed = armed.followed.saturating_add(1);
        engine.follow(true);
        let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        Some(Before { seen, desc, len, states: engine.table.len(), ms })
    }

    /// After it was decided: keeps what became of it, if the expression still holds.
    #[inline(never)]
    pub fn after(
        &mut self,
        before: &Before,
        engine: &mut Engine,
        packet: &Packet<'_>,
        out: &Outcome,
        generation: u64,
        on: &dyn Fn(&str) -> bool,
    ) {
        if let Some(armed) = self.armed.as_mut() {
            traced(&mut armed.now, before, engine, packet, out, generation);
            if holds(&armed.expr, &armed.now, engine, on)
                && let Some(slot) = armed.ring.push()
            {
                *slot = armed.now;
            }
        }
        engine.follow(false);
    }

    /// Gives rows from a cursor on, each packet's followed by those of its rules, until `give` says no; the cursor of
    /// the next packet. A packet whose rules do not all fit is given with those that do.
    pub fn rows<'e>(
        &mut self,
        cursor: u64,
        now_ms: u64,
        engine: &'e Engine,
        iface: impl Fn(u16) -> Option<&'e str>,
        mut give: impl FnMut(&TraceRow<'_>, &mut dyn Iterator<Item = MetRow<'e>>) -> bool,
    ) -> u64 {
        let Some(armed) = self.armed.as_mut() else { return 0 };
        let mut at = armed.ring.from(cursor);
        while let Some(t) = armed.ring.get(at) {
            let mut met = t.met.iter().take(usize::from(t.count)).map(|m| met_row(engine, m));
            if !give(&row(at, t, iface(t.iface).unwrap_or("?")), &mut met) {
                break;
            }
            at = at.saturating_add(1);
        }
        armed.ring.read(at);
        armed.read_ms = now_ms;
        at
    }

    /// Packets replaced before anybody read them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.armed.as_ref().map_or(0, |a| a.ring.dropped())
    }
}

fn ends(desc: &PacketDesc) -> ((Addr, u16), (Addr, u16)) {
    ((desc.src, desc.sport), (desc.dst, desc.dport))
}

/// TCP flags, or type and code of an ICMP message.
const fn detail(desc: &PacketDesc) -> u16 {
    match desc.l4 {
        L4::Tcp(t) => t.flags as u16,
        L4::Icmp(i) => u16::from_be_bytes([i.kind, i.code]),
        _ => 0,
    }
}

/// What is to be told of a packet that was decided.
#[inline(never)]
fn traced(t: &mut Traced, b: &Before, engine: &Engine, packet: &Packet<'_>, out: &Outcome, generation: u64) {
    *t = BLANK;
    (t.ms, t.generation, t.iface) = (b.ms, generation, b.seen.iface);
    (t.dir, t.forwarded, t.af, t.naf, t.len) = (b.seen.dir, b.seen.forwarded, b.seen.af, b.seen.af, b.len);
    if let Ok(desc) = &b.desc {
        (t.proto, t.ends, t.detail) = (desc.proto, ends(desc), detail(desc));
        t.fragment = desc.fragment.then_some((desc.frag.offset, desc.frag.more));
        t.to = t.ends;
    }
    let passed = matches!(out.verdict, Verdict::Pass | Verdict::Reroute | Verdict::Divert(_));
    t.passed = passed;
    if passed && out.replaced.is_none() {
        let naf = if packet.array::<1>(0).is_some_and(|[b]| b >> 4 == 6) { Af::Inet6 } else { Af::Inet };
        if let Ok(desc) = describe(packet, &PktMeta::default(), naf, b.seen.dir, b.seen.iface) {
            (t.naf, t.to) = (naf, ends(&desc));
        }
    }
    let state = out.state.and_then(|s| engine.table.get(s));
    t.created = state.is_some() && engine.table.len() > b.states;
    t.state = state.map(|s| [s.src().state.0, s.dst().state.0]);
    t.reason = u8::try_from(out.reason.index()).unwrap_or(u8::MAX);
    t.logged = out.logged;
    let entry = engine.rules.get(out.rule);
    let ruled = entry.is_some_and(|e| e.site.is_some());
    t.by = match out.action {
        None => By::Skip,
        Some(_) if state.is_some() && !t.created => By::State,
        Some(_) if ruled => By::Rule,
        Some(_) if passed => By::Default,
        Some(_) => By::Engine,
    };
    meet(t, engine, out.rule, ruled);
}

/// Writes down the rules met; where a state decides, the one that made it.
#[inline(never)]
fn meet(t: &mut Traced, engine: &Engine, decides: u32, ruled: bool) {
    let id = |place| engine.rules.get(place).map_or(0, |e| e.rule.stable_id);
    let trail = engine.trail();
    t.unseen = trail.unseen();
    let last = trail.met().iter().rposition(|m| m.place == decides && m.how == How::Matched);
    for (i, m) in trail.met().iter().enumerate() {
        let kind = match m.how {
            How::Matched if Some(i) == last && t.by == By::Rule => MetKind::Decides,
            How::Matched => MetKind::Matches,
            How::Applied => MetKind::Applies,
            How::Entered => MetKind::Enters,
        };
        add(t, Met { place: m.place, stable_id: id(m.place), kind });
    }
    if ruled && last.is_none() {
        let kind = if t.by == By::State { MetKind::Made } else { MetKind::Decides };
        add(t, Met { place: decides, stable_id: id(decides), kind });
    }
}

fn add(t: &mut Traced, met: Met) {
    match t.met.get_mut(usize::from(t.count)) {
        Some(slot) => {
            *slot = met;
            t.count = t.count.saturating_add(1);
        }
        None => t.unseen = t.unseen.saturating_add(1),
    }
}

/// Whether an expression holds of all that is known now. A rule test holds for every rule met.
fn holds(expr: &Expr, t: &Traced, engine: &Engine, on: &dyn Fn(&str) -> bool) -> bool {
    let (src, dst) = t.ends;
    let other = (t.to != t.ends).then_some((t.naf, t.to.0, t.to.1));
    let whole = Facts {
        complete: true,
        af: Some(t.af),
        ends: Some((src, dst)),
        other,
        proto: Some(t.proto),
        dir: Some(t.dir),
        on: Some(on),
        action: Some(if t.passed { pfvm::watch::Action::Pass } else { pfvm::watch::Action::Block }),
        reason: Some(t.reason),
        state: t.state.map(|[src, dst]| [src, dst].map(|s| PeerState(s).name(t.proto))),
        number: Some(&|what| (what == pfvm::watch::Number::Length).then_some(u64::from(t.len))),
        ..Facts::default()
    };
    if t.count == 0 {
        return expr.holds(&whole) == Some(true);
    }
    t.met.iter().take(usize::from(t.count)).any(|m| {
        let named = name(engine, m.place, m.stable_id).unwrap_or_default();
        let facts =
            Facts { rule: Some((named.nr, None)), anchor: Some(named.anchor), label: Some(named.label), ..whole };
        expr.holds(&facts) == Some(true)
    })
}

fn row<'t>(seq: u64, t: &Traced, iface: &'t str) -> TraceRow<'t> {
    TraceRow {
        seq,
        ms: t.ms,
        generation: t.generation,
        dir: t.dir,
        forwarded: t.forwarded,
        af: t.af,
        naf: t.naf,
        proto: t.proto,
        ends: t.ends,
        to: t.to,
        detail: t.detail,
        fragment: t.fragment,
        len: t.len,
        passed: t.passed,
        by: t.by,
        reason: t.reason,
        logged: t.logged,
        created: t.created,
        state: t.state,
        iface,
        met: u16::from(t.count),
        unseen: t.unseen,
    }
}

fn met_row<'e>(engine: &'e Engine, m: &Met) -> MetRow<'e> {
    let named = name(engine, m.place, m.stable_id);
    let rule = engine.rules.get(m.place).filter(|e| e.rule.stable_id == m.stable_id);
    let action = rule.map_or(pfvm::watch::Action::Pass, |e| action_of(e.rule.action));
    let n = named.unwrap_or_default();
    let nr = rule.map_or(u32::MAX, |e| e.rule.nr);
    MetRow {
        kind: m.kind,
        action,
        stable_id: m.stable_id,
        nr,
        anchor: n.anchor,
        text: n.text,
        label: n.label,
        file: n.file,
        line: n.line,
    }
}
