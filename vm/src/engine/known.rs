//! Packets of known states, by several processors at once.
//!
//! Nearly every packet belongs to a state and changes nothing but that state and some counters. Such packets need the
//! engine to stand still, not to be theirs alone: [`Engine::pass_known`] takes `&self`. What it cannot do with that it
//! leaves as it was, for the caller to come back with the engine held alone ([`Engine::process`]). The functions that track
//! and rewrite are the same on both ways, and so is the outcome.
//!
//! Locks, in this order:
//! 1. the engine's, around it: shared by these packets, held alone by all others, by control and by time. So the index, the
//!    rules, the interfaces and all else that is no counter stand still meanwhile, and a packet sees one generation;
//! 2. the lock of one state ([`State::hold`]), tried and never waited for. Nothing is taken under it.
//!
//! Counters are exact as soon as the engine is held alone: what a batch has counted is told before the caller lets go of
//! its share ([`Tally`]).
//!
//! **Invariant:** `None`, and a packet that [`Engine::pass_known_batch`] does not reach, leave packet and engine untouched.

use alloc::vec::Vec;

use crate::engine::Engine;
use crate::engine::cx::{Action, seconds};
use crate::engine::order::{Ahead, Arriving, BATCH, Seen, Sought, Wishes};
use crate::engine::outcome::{Carried, Outcome};
use crate::engine::rules::{RuleEntry, second};
use crate::engine::test_rule::MAX_HITS;
use crate::engine::track::{Certain, segment_of, target_of, track_plain, windows_alone};
use crate::nat::{addr, rewrite};
use crate::norm::{self, scrub::scrub};
use crate::packet::{Packet, PacketDesc, PktMeta, proto};
use crate::rule::{Af, Direction};
use crate::state::pool::{OutOfMemory, filled};
use crate::state::record::{NONE, SRC_NODE_KINDS, StateExt};
use crate::state::{State, other};

/// What a processor needs to look at packets: their descriptions, and what they have counted so far.
#[derive(Debug)]
pub struct Scratch {
    ahead: Vec<Ahead>,
    tally: Tally,
}

impl Scratch {
    /// Room for one batch.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is none.
    pub fn new() -> Result<Self, OutOfMemory> {
        let count = u32::try_from(BATCH).unwrap_or(0);
        Ok(Self { ahead: filled("packets of a batch", count, Ahead::NOTHING)?, tally: Tally::new()? })
    }
}

/// Packets and bytes at a rule or an interface, in and out.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    packets: [u64; 2],
    bytes: [u64; 2],
}

impl Sum {
    fn count(&mut self, second: bool, len: u32) {
        let ([p0, p1], [b0, b1]) = (&mut self.packets, &mut self.bytes);
        let (p, b) = if second { (p1, b1) } else { (p0, b0) };
        *p = p.wrapping_add(1);
        *b = b.wrapping_add(len.into());
    }
}

/// What packets have counted and not told yet, so that processors seldom write to the same memory. It remembers a few
/// rules and interfaces at a time and tells of one that has to give way.
#[derive(Debug)]
struct Tally {
    searches: u64,
    /// By place in the book.
    rules: Vec<(u32, Sum)>,
    /// By index and family.
    ifaces: Vec<((u16, Af), Sum)>,
}

/// Rules, and interfaces, a tally remembers.
const PLACES: u32 = 8;

impl Tally {
    fn new() -> Result<Self, OutOfMemory> {
        let rules = filled("counted rules", PLACES, (NONE, Sum::default()))?;
        Ok(Self { searches: 0, rules, ifaces: filled("counted interfaces", PLACES, ((0, Af::Inet), Sum::default()))? })
    }

    /// Counts a packet that passes.
    #[inline]
    fn packet(&mut self, engine: &Engine, pd: &PacketDesc) {
        self.searches = self.searches.wrapping_add(1);
        let key = (pd.iface, pd.af);
        if let Some((place, sum)) = at(&mut self.ifaces, u32::from(pd.iface) << 1 | u32::from(pd.af == Af::Inet6)) {
            if *place != key {
                engine.tell_iface(*place, core::mem::take(sum));
                *place = key;
            }
            sum.count(second(pd.dir), pd.tot_len);
        }
    }

    /// Counts it at a rule, in the first or the second cell.
    #[inline]
    fn rule(&mut self, engine: &Engine, rule: u32, cell: bool, len: u32) {
        if let Some((place, sum)) = at(&mut self.rules, rule) {
            if *place != rule {
                engine.tell_rule(*place, core::mem::take(sum));
                *place = rule;
            }
            sum.count(cell, len);
        }
    }

    /// Tells all of it.
    fn tell(&mut self, engine: &Engine) {
        engine.table.searched(core::mem::take(&mut self.searches));
        self.rules.iter_mut().for_each(|(place, sum)| engine.tell_rule(*place, core::mem::take(sum)));
        self.ifaces.iter_mut().for_each(|(place, sum)| engine.tell_iface(*place, core::mem::take(sum)));
    }
}

/// The place a number falls to.
fn at<T>(places: &mut [T], number: u32) -> Option<&mut T> {
    places.get_mut(usize::try_from(number % PLACES).ok()?)
}

impl Engine {
    fn tell_rule(&self, place: u32, sum: Sum) {
        if let Some(e) = self.rules.get(place) {
            e.add(sum.packets, sum.bytes);
        }
    }

    fn tell_iface(&self, (index, af): (u16, Af), sum: Sum) {
        for ((packets, bytes), dir) in sum.packets.into_iter().zip(sum.bytes).zip([Direction::In, Direction::Out]) {
            self.ifaces.add(index, af, dir, packets, bytes);
        }
    }

    /// Decides about one packet if that changes no more than its state: [`Engine::process`] for who shares the engine.
    /// `None`: nothing has changed, the engine is wanted alone.
    pub fn pass_known(
        &self,
        pkt: &mut Packet<'_>,
        meta: &PktMeta,
        seen: Seen,
        carried: Carried,
        scratch: &mut Scratch,
        now_ms: u64,
    ) -> Option<Outcome> {
        let out = self.pass_untold(pkt, meta, seen, carried, scratch, now_ms);
        self.tell(scratch);
        out
    }

    /// The same with its counts left in `scratch`: [`Engine::tell`] comes before the caller lets go of its share.
    pub fn pass_untold(
        &self,
        pkt: &mut Packet<'_>,
        meta: &PktMeta,
        seen: Seen,
        carried: Carried,
        scratch: &mut Scratch,
        now_ms: u64,
    ) -> Option<Outcome> {
        let Scratch { ahead, tally } = scratch;
        let known = ahead.first_mut()?;
        let mut out = Outcome::untouched(self.rules.default_place(), carried);
        if self.passes_unseen(seen, &carried) {
            out.carried.pass_unseen();
            return Some(out);
        }
        self.look(pkt, meta, seen, known);
        if !self.known::<false>(pkt, meta, known, seconds(now_ms), &mut out) {
            return None;
        }
        self.tally_known(tally, &known.pd, &out);
        Some(out)
    }

    /// Takes over what was counted in `scratch`.
    pub fn tell(&self, scratch: &mut Scratch) {
        scratch.tally.tell(self);
    }

    /// Decides about the first packets of a batch, in order, up to one that wants the engine alone: that one and those after
    /// it may belong together and are left to [`Engine::process_batch`]. Gives their number; `done` is told of each.
    pub fn pass_known_batch(
        &self,
        batch: &mut [Arriving<'_, '_>],
        scratch: &mut Scratch,
        now_ms: u64,
        mut done: impl FnMut(usize, &Outcome),
    ) -> usize {
        let now = seconds(now_ms);
        let Scratch { ahead, tally } = scratch;
        let mut passed = 0_usize;
        'all: for some in batch.chunks_mut(ahead.len().max(1)) {
            let far = self.look_ahead(some, ahead);
            for (i, a) in some.iter_mut().enumerate() {
                let Some(k) = ahead.get_mut(if far { i } else { 0 }) else { break 'all };
                let mut out = Outcome::untouched(self.rules.default_place(), a.carried);
                if self.passes_unseen(a.seen, &a.carried) {
                    out.carried.pass_unseen();
                } else {
                    if !far {
                        self.look(a.pkt, a.meta, a.seen, k);
                    }
                    if !self.known::<false>(a.pkt, a.meta, k, now, &mut out) {
                        break 'all;
                    }
                    self.tally_known(tally, &k.pd, &out);
                }
                done(passed, &out);
                passed = passed.saturating_add(1);
            }
        }
        tally.tell(self);
        passed
    }

    /// One packet, not yet counted but at its state; `out` says that it passes as it came. `ALONE` tells that the engine is
    /// held alone: nobody else has the state. Where this gives `false`, only [`Ahead`] keeps what was found out.
    #[inline]
    pub(super) fn known<const ALONE: bool>(
        &self,
        pkt: &mut Packet<'_>,
        meta: &PktMeta,
        ahead: &mut Ahead,
        now: u32,
        out: &mut Outcome,
    ) -> bool {
        let Some((slot, s)) = self.state_of_ordinary(pkt, ahead) else { return false };
        let (pd, ext) = (&mut ahead.pd, self.table.ext(s));
        let wishes = Wishes::of_state(s, ext);
        if !self.needs_no_more(s, ext) || wishes.as_ref().is_some_and(|w| w.scrub().random_id) {
            return false;
        }
        // A destination that changes on the way out makes the host route anew: what follows wants more than this state.
        let anew = || pd.dir == Direction::Out && !addr::equal(pd.af, &pd.dst, &target_of(s, pd).dst);
        if !ALONE && s.translated() && anew() {
            return false;
        }
        let Some(mut held) = (if ALONE { Some(s.own()) } else { s.hold() }) else { return false };
        let forward = pd.dir == s.direction();
        let (mut src, mut dst) = held.peers(forward);
        let waits = match pd.proto {
            proto::TCP => track_plain(&mut src, &mut dst, &segment_of(pkt, pd)),
            protocol => Some(other::track(protocol, &mut src, &mut dst)),
        };
        let Some(waits) = waits else { return false };
        held.put(forward, (src, dst), waits, now, pd.tot_len);
        drop(held);
        (out.rule, out.action, out.state) = (s.rule, Some(Action::Pass), Some(slot));
        // What is written lies in the window, so none of this can fail.
        if s.translated() {
            let done = rewrite::known(pkt, meta, pd, &target_of(s, pd));
            out.redirect(done.is_ok_and(|d| d.destination), pd);
        }
        if let Some(e) = ext {
            out.anchor = Some(e.anchor).filter(|a| *a != NONE);
            if e.max_mss != 0 {
                let _ = norm::tcp::clamp_mss(pkt, meta, pd, e.max_mss);
            }
            if e.tag != 0 {
                out.carried.tag = e.tag;
            }
        }
        if let Some(wishes) = wishes {
            let _ = scrub(pkt, meta, pd.af, &wishes.scrub(), &mut Certain);
            wishes.tell(pd, true, out);
        }
        true
    }

    /// The state of an ordinary packet, if it has one.
    #[inline]
    fn state_of_ordinary(&self, pkt: &Packet<'_>, ahead: &mut Ahead) -> Option<(u32, &State)> {
        let Ahead { pd, key, sought, .. } = ahead;
        let Sought::Hashed(hash) = *sought else { return None };
        if self.shut || !self.flushes.is_empty() || !is_ordinary(pkt, pd) {
            return None;
        }
        let found = self.table.seek(key, hash, pd.dir, pd.iface);
        *sought = Sought::Found(found);
        Some((found?, self.table.get(found?)?))
    }

    /// Whether a state and its rules ask for nothing but tracking, translation, scrubbing and counts at rules: no log, no
    /// source node, no other way, no timestamps, no diversion, no rate, no counts at tables.
    #[inline]
    fn needs_no_more(&self, s: &State, ext: Option<&StateExt>) -> bool {
        let Some(rule) = self.rules.get(s.rule) else { return false };
        let plain = s.log == 0 && windows_alone(s) && counts_alone(rule);
        plain && rule.rule.divert.is_none() && !rule.rate.limited() && ext.is_none_or(|e| self.extends_plainly(e))
    }

    fn extends_plainly(&self, e: &StateExt) -> bool {
        e.rt.is_none()
            && e.scrub == NONE
            && e.src_nodes == [NONE; SRC_NODE_KINDS]
            && self.matched(e).all(|r| self.rules.get(r).is_none_or(counts_alone))
    }

    /// The match rules of a state.
    fn matched<'e>(&'e self, e: &StateExt) -> impl Iterator<Item = u32> + 'e {
        let mut at = e.matches;
        let blocks = core::iter::from_fn(move || {
            let block = self.table.matches.get(at)?;
            at = block.next;
            Some(block.rules)
        });
        blocks.take(MAX_HITS).flatten().filter(|r| *r != NONE)
    }

    /// Counts a packet of a known state, as `pf_counters_inc` does.
    pub(super) fn count_known(&mut self, pd: &PacketDesc, out: &Outcome) {
        self.table.count_search();
        self.ifaces.count(pd.iface, pd.af, pd.dir, true, pd.tot_len);
        if let Some(e) = self.rules.get_mut(out.rule) {
            e.count(second(pd.dir), pd.tot_len);
        }
        if let Some(e) = out.anchor.and_then(|a| self.rules.get_mut(a)) {
            e.count(second(pd.dir), pd.tot_len);
        }
        if let Some((slot, s)) = out.state.and_then(|slot| Some((slot, self.table.get(slot)?)))
            && s.ext != NONE
        {
            let made_by = (s.direction(), s.ext);
            self.count_ext(slot, made_by, pd, pd.tot_len);
        }
    }

    /// The same, to be told later.
    fn tally_known(&self, tally: &mut Tally, pd: &PacketDesc, out: &Outcome) {
        tally.packet(self, pd);
        for place in [Some(out.rule), out.anchor].into_iter().flatten() {
            tally.rule(self, place, second(pd.dir), pd.tot_len);
        }
        let Some(s) = out.state.and_then(|slot| self.table.get(slot)) else { return };
        for rule in self.table.ext(s).into_iter().flat_map(|e| self.matched(e)) {
            tally.rule(self, rule, pd.dir != s.direction(), pd.tot_len);
        }
    }
}

/// Whether a packet is an ordinary one: no fragment, no ICMP, no options, nothing to put right, and all that may be rewritten
/// in its window.
#[inline]
fn is_ordinary(pkt: &Packet<'_>, pd: &PacketDesc) -> bool {
    let end = pd.off.saturating_add(pd.tcp().map_or(8, |t| t.header.into()));
    !pd.fragment
        && pd.icmp().is_none()
        && !pd.badopts.any()
        && usize::try_from(end).is_ok_and(|end| pkt.window().len() >= end)
        && norm::frag::is_clean(pkt, pd)
        && norm::tcp::is_clean(pd)
}

/// Whether packets are counted at a rule and not at tables it names.
#[inline]
fn counts_alone(e: &RuleEntry) -> bool {
    e.src_table.is_none() && e.dst_table.is_none()
}
