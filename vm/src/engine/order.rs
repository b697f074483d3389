//! The order of `pf_test` for one packet.
//!
//! Not running or skipped, description, normalisation, SYN cookies, TCP sanity, state, rules, MSS; then what state or
//! rule ask for: options, scrubbing, tag, priority, diversion, log, counters.

use crate::engine::Engine;
use crate::engine::cx::{Action, Cx, seconds};
use crate::engine::outcome::{Carried, Outcome, SendTo, Verdict};
use crate::engine::rules::second;
use crate::host::Host;
use crate::norm::scrub::Scrub;
use crate::packet::tcp_flags::{ACK, RST, SYN};
use crate::packet::{DropReason, Packet, PacketDesc, PktMeta, Refusal, describe_into};
use crate::rule::{self, Addr, Af, Direction, Divert, LogFlags, RouteKind, RuleFlags};
use crate::state::key::{KeySide, StateKey};
use crate::state::record::{NONE, PeerState, State, StateExt, StateFlags};
use crate::table::{Counted, Op};

/// Where a packet is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Family.
    pub af: Af,
    /// Direction.
    pub dir: Direction,
    /// Whether it is on its way out of a host that forwards it.
    pub forwarded: bool,
    /// Interface, a live index.
    pub iface: u16,
}

/// Packets of one batch at most.
pub const BATCH: usize = 32;

/// So many states do not lie in the second-level cache any more.
const FAR: u32 = 4096;

/// A packet of a batch.
#[derive(Debug)]
pub struct Arriving<'b, 'p> {
    /// The packet.
    pub pkt: &'b mut Packet<'p>,
    /// Its offload facts.
    pub meta: &'b PktMeta,
    /// Where it is seen.
    pub seen: Seen,
    /// What it carries.
    pub carried: Carried,
}

/// What is known of a packet's state before it is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Sought {
    /// Nothing.
    #[default]
    Not,
    /// The hash of the key it should have.
    Hashed(u64),
    /// Which it is, if there is one. This is not counted as a search yet.
    Found(Option<u32>),
    /// It has none: it could not be described.
    Refused(Refusal),
}

/// What is known of a packet before it is decided about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    /// Its description.
    pub pd: PacketDesc,
    /// The key its state should have; means nothing where no state is sought.
    pub key: StateKey,
    /// What is known of its state.
    pub sought: Sought,
}

impl Ahead {
    /// Nothing known: all zeros, so that it is cheap to write.
    pub(super) const NOTHING: Self = Self { pd: PacketDesc::NOTHING, key: StateKey::NOTHING, sought: Sought::Not };
}

/// The key of a packet that is no ICMP message. Of IPv4 addresses the four bytes are read that were written: all sixteen
/// cannot be had at once before they have reached the cache.
#[inline]
pub(super) fn key_of(pd: &PacketDesc) -> StateKey {
    let (src, dst) = match pd.af {
        Af::Inet => (Addr::of4(pd.src.v4()), Addr::of4(pd.dst.v4())),
        Af::Inet6 => (pd.src, pd.dst),
    };
    StateKey::of_packet(pd.af, pd.proto, pd.dir, (src, pd.sport), (dst, pd.dport))
}

/// Low-delay bit of the TOS.
const LOWDELAY: u8 = 0x10;
/// Flags of a state that ask for something even where it has no extension.
const ASKS: u16 = StateFlags::NO_DF.0 | StateFlags::RANDOM_ID.0 | StateFlags::SET_TOS.0 | StateFlags::SET_PRIO.0;

/// What a state, or without one the rule, asks for beyond the verdict.
pub(super) struct Wishes {
    flags: StateFlags,
    min_ttl: u8,
    tos: u8,
    prio: [u8; 2],
    delay: u16,
    queue: [u16; 2],
}

impl Wishes {
    /// Those of a state and its extension; `None` when it asks for nothing.
    #[inline]
    pub(super) fn of_state(s: &State, ext: Option<&StateExt>) -> Option<Self> {
        if ext.is_none() && s.flags.0 & ASKS == 0 {
            return None;
        }
        let e = ext.copied().unwrap_or_default();
        let (tos, prio, delay, queue) = (e.set_tos, e.prio, e.delay, e.queue);
        Some(Self { flags: s.flags, min_ttl: e.min_ttl, tos, prio, delay, queue })
    }

    /// What the packet itself is to undergo.
    pub(super) fn scrub(&self) -> Scrub {
        Scrub {
            no_df: self.flags.has(StateFlags::NO_DF),
            random_id: self.flags.has(StateFlags::RANDOM_ID),
            min_ttl: self.min_ttl,
            set_tos: self.flags.has(StateFlags::SET_TOS).then_some(self.tos),
        }
    }

    /// What the edge is told: priority, delay, queue.
    pub(super) fn tell(&self, pd: &PacketDesc, passes: bool, out: &mut Outcome) {
        let urgent = small_ack(pd) || pd.tos & LOWDELAY != 0;
        if self.flags.has(StateFlags::SET_PRIO) {
            let [ordinary, fast] = self.prio;
            out.carried.prio = if urgent { fast } else { ordinary };
        }
        let [ordinary, fast] = self.queue;
        let q = if urgent { fast } else { ordinary };
        out.queue = (passes && q != u16::MAX).then_some(q);
        out.delay = self.delay;
    }
}

/// Whether a packet is a TCP segment that does no more than acknowledge.
fn small_ack(pd: &PacketDesc) -> bool {
    pd.tcp().is_some_and(|t| t.flags & ACK != 0) && pd.p_len == 0
}

impl Engine {
    /// Decides about one packet, which is rewritten in place. `room` is where a reassembled packet is put.
    pub fn process<H: Host>(
        &mut self,
        pkt: &mut Packet<'_>,
        meta: &PktMeta,
        seen: Seen,
        carried: Carried,
        room: &mut [u8],
        host: &mut H,
    ) -> Outcome {
        let mut out = Outcome::untouched(self.rules.default_place(), carried);
        if self.passes_unseen(seen, &carried) {
            out.carried.pass_unseen();
        } else {
            let mut ahead = Ahead::NOTHING;
            self.look(pkt, meta, seen, &mut ahead);
            self.described(pkt, meta, seen, &mut ahead, room, host, &mut out);
        }
        out
    }

    /// Decides about packets strictly in order, as one by one: `done` is told of each before the next is looked at, with
    /// the bytes that replace it when it was reassembled. Where there are many states, of every [`BATCH`] packets all are
    /// described, and what their states are found by is read, before the first is decided about, so that the memory of one
    /// is fetched while another waits for its own; what is decided does not depend on it.
    pub fn process_batch<H: Host>(
        &mut self,
        batch: &mut [Arriving<'_, '_>],
        room: &mut [u8],
        host: &mut H,
        mut done: impl FnMut(usize, &Outcome, Option<&[u8]>),
    ) {
        let mut ahead = core::mem::take(&mut self.ahead);
        let mut base = 0_usize;
        for some in batch.chunks_mut(ahead.len().max(1)) {
            let far = self.look_ahead(some, &mut ahead);
            for (i, a) in some.iter_mut().enumerate() {
                let mut out = Outcome::untouched(self.rules.default_place(), a.carried);
                match ahead.get_mut(if far { i } else { 0 }) {
                    _ if self.passes_unseen(a.seen, &a.carried) => out.carried.pass_unseen(),
                    Some(k) => {
                        if !far {
                            self.look(a.pkt, a.meta, a.seen, k);
                        }
                        self.described(a.pkt, a.meta, a.seen, k, room, host, &mut out);
                    }
                    None => out = self.process(a.pkt, a.meta, a.seen, a.carried, room, host),
                }
                let whole = out.replaced.and_then(|r| room.get(r.at..)?.get(..r.len));
                done(base.saturating_add(i), &out, whole);
            }
            base = base.saturating_add(some.len());
        }
        self.ahead = ahead;
    }

    /// Describes the packets of a batch and reads from the buckets and records their states should be found at: one kind
    /// of thing for all packets after the other, in loops so short that many reads are under way at once. `false`, with
    /// nothing done, where so few states lie near anyway.
    pub(super) fn look_ahead(&self, batch: &[Arriving<'_, '_>], ahead: &mut [Ahead]) -> bool {
        if self.table.len() < FAR {
            return false;
        }
        let (mut hashes, mut count) = ([0; BATCH], 0_usize);
        for (a, k) in batch.iter().zip(ahead.iter_mut()) {
            self.look(a.pkt, a.meta, a.seen, k);
            if let (Some(to), Sought::Hashed(hash)) = (hashes.get_mut(count), k.sought) {
                *to = hash;
                count = count.saturating_add(1);
            }
        }
        let hashes = hashes.get(..count).unwrap_or_default();
        core::hint::black_box(self.table.touch(hashes));
        true
    }

    /// Describes a packet and hashes its key.
    #[inline]
    pub(super) fn look(&self, pkt: &Packet<'_>, meta: &PktMeta, seen: Seen, k: &mut Ahead) {
        k.sought = match describe_into(pkt, meta, (seen.af, seen.dir, seen.iface), &mut k.pd) {
            Ok(()) if !k.pd.fragment && k.pd.icmp().is_none() => {
                k.key = key_of(&k.pd);
                Sought::Hashed(self.table.hash(&k.key))
            }
            Ok(()) => Sought::Not,
            Err(refusal) => Sought::Refused(refusal),
        };
    }

    /// Whether a packet passes without being looked at.
    #[inline]
    pub(super) fn passes_unseen(&self, seen: Seen, carried: &Carried) -> bool {
        !self.running || self.ifaces.skipped(seen.iface) || carried.generated || carried.diverted
    }

    /// A packet with its description, or why it has none: by the short way, if that is open to it, else by the long one.
    #[allow(clippy::too_many_arguments, reason = "a packet, and what is known of it")]
    #[inline]
    fn described<H: Host>(
        &mut self,
        pkt: &mut Packet<'_>,
        meta: &PktMeta,
        seen: Seen,
        ahead: &mut Ahead,
        room: &mut [u8],
        host: &mut H,
        out: &mut Outcome,
    ) {
        if self.short_way && self.known::<true>(pkt, meta, ahead, Self::now(host), out) {
            self.count_known(&ahead.pd, out);
            return;
        }
        let refusal = match ahead.sought {
            _ if self.shut => Refusal::logged(DropReason::Memory),
            Sought::Refused(refusal) => refusal,
            _ => return self.normalized(pkt, meta, seen, ahead, room, host, out),
        };
        self.counters.reason(refusal.reason);
        self.refused(pkt, ahead.pd.tot_len, seen, refusal, host, out);
    }

    /// Sets what only the host knows.
    pub(super) fn complete(pd: &mut PacketDesc, seen: Seen, carried: &Carried) {
        pd.forwarded = seen.forwarded;
        pd.received_on = carried.received_on;
        pd.tag = carried.tag;
        pd.prio = carried.prio;
        if let Some((uid, gid)) = carried.owner.filter(|_| !seen.forwarded) {
            pd.uid = Some(uid);
            pd.gid = Some(gid);
        }
    }

    /// A packet without a description: dropped, counted at the interface only, with as many bytes as were known before it was
    /// refused.
    pub(super) fn refused<H: Host>(
        &mut self,
        pkt: &Packet<'_>,
        bytes: u32,
        seen: Seen,
        why: Refusal,
        host: &mut H,
        out: &mut Outcome,
    ) {
        if why.log {
            self.log_refused(pkt, seen, why.reason, host);
        }
        self.ifaces.count(seen.iface, seen.af, seen.dir, false, bytes);
        (out.verdict, out.action) = (Verdict::Drop, Some(Action::Drop));
        (out.reason, out.logged) = (why.reason, why.log);
    }

    /// A described packet, past normalisation.
    pub(super) fn decide<H: Host>(
        &mut self,
        pkt: &mut Packet<'_>,
        meta: &PktMeta,
        ahead: &mut Ahead,
        host: &mut H,
        out: &mut Outcome,
    ) {
        let mut cx = Cx::new(pkt, meta, ahead, host, self.rules.default_place());
        let action = if cx.pd.fragment {
            let action = self.test_rule(&mut cx);
            if action == Action::Pass { action } else { self.refuse(&mut cx, DropReason::Fragment) }
        } else if cx.pd.icmp().is_some() {
            let action = self.test_state_icmp(&mut cx);
            self.state_or_rules(&mut cx, action)
        } else {
            self.other_than_icmp(&mut cx)
        };
        self.finish(&mut cx, action, out);
    }

    /// What a state decided stands; without one the rules are asked.
    fn state_or_rules<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, action: Action) -> Action {
        match cx.state {
            Some(slot) if matches!(action, Action::Pass | Action::AfTo) => {
                if let Some(s) = self.table.get(slot) {
                    cx.rule = s.rule;
                    cx.anchor = self.table.ext(s).map(|e| e.anchor).filter(|a| *a != NONE);
                    cx.log |= LogFlags(u32::from(s.log));
                }
                action
            }
            Some(_) => action,
            None => self.test_rule(cx),
        }
    }

    /// TCP, UDP and protocols known by their addresses.
    #[inline(never)]
    fn other_than_icmp<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>) -> Action {
        if cx.pd.tcp().is_some() {
            if self.cookie_instead(cx) {
                return Action::Drop;
            }
            if let Err(reason) = self.sane_tcp(cx) {
                // Counted, but the record shows another reason, as in pf.
                self.counters.reason(reason);
                return Action::Drop;
            }
        }
        let key = key_of(cx.pd);
        let mut slot = self.find_state(cx, &key);
        if let Some(done) = self.cookie_back(cx, &key, &mut slot) {
            return done;
        }
        cx.state = slot;
        let action = match slot {
            Some(s) => self.test_state(cx, s),
            None => Action::Drop,
        };
        let action = self.state_or_rules(cx, action);
        if cx.pd.tcp().is_some() {
            let max = match cx.state.and_then(|s| self.table.get(s)) {
                Some(s) => self.table.ext(s).map_or(0, |e| e.max_mss),
                None => self.rules.get(cx.rule).map_or(0, |e| e.rule.max_mss),
            };
            if max != 0 {
                self.limit_mss(cx, max);
            }
        }
        action
    }

    /// An ACK that may bring a cookie back: no state, or one that is over.
    pub(super) fn may_be_cookie<H: Host>(&self, cx: &Cx<'_, '_, H>, slot: Option<u32>) -> bool {
        let closed = match slot.and_then(|s| self.table.get(s)) {
            None => true,
            Some(s) => s.src().state >= PeerState::FIN_WAIT_2 && s.dst().state >= PeerState::FIN_WAIT_2,
        };
        closed && cx.pd.dir == Direction::In && cx.pd.tcp().is_some_and(|t| t.flags & (SYN | ACK | RST) == ACK)
    }

    /// The last part: what state or rule ask for beyond the verdict.
    #[inline(never)]
    fn finish<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, action: Action, out: &mut Outcome) {
        let mut action = action;
        if action != Action::Drop {
            action = self.apply(cx, action, out);
        }
        out.redirect(cx.redirected, cx.pd);
        if action == Action::Pass {
            let divert = self.rules.get(cx.rule).and_then(|e| e.rule.divert);
            match divert {
                Some(Divert::Packet { .. }) => action = Action::Divert,
                Some(d) if cx.pd.dir == Direction::In => out.divert = Some(d),
                _ => {}
            }
        }
        out.nested = cx.nested;
        self.log_last(cx);
        out.logged = cx.logs != 0;
        self.count(cx, action);
        out.action = Some(action);
        out.reason = cx.reason;
        out.rule = cx.rule;
        out.anchor = cx.anchor;
        out.state = cx.state;
        out.verdict = match action {
            Action::Pass => Verdict::Pass,
            Action::Drop => Verdict::Drop,
            Action::Synproxy => Verdict::Consumed,
            Action::Divert => match self.rules.get(cx.rule).and_then(|e| e.rule.divert) {
                Some(Divert::Packet { port }) => Verdict::Divert(port),
                _ => Verdict::Drop,
            },
            Action::AfTo => match self.change_family(cx) {
                true => Verdict::Reroute,
                false => Verdict::Drop,
            },
        };
        out.carried.tag = cx.pd.tag;
        if out.verdict == Verdict::Reroute {
            out.carried.generated = true;
        }
        if out.verdict == Verdict::Pass {
            // Seldom there: what is not is not copied.
            if let Some(to) = self.send_to(cx) {
                out.send_to = Some(to);
            }
        }
    }

    /// Options, scrubbing, tag, priority, delay, queue: of the state, else of the rule.
    #[inline(never)]
    fn apply<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, action: Action, out: &mut Outcome) -> Action {
        let mut action = action;
        let wishes = match cx.state.and_then(|s| self.table.get(s)) {
            Some(s) => {
                let (flags, ext) = (s.flags, self.table.ext(s));
                let (wishes, tag) = (Wishes::of_state(s, ext), ext.map_or(0, |e| e.tag));
                if action == Action::Pass && cx.pd.badopts.any() && !flags.has(StateFlags::ALLOW_OPTS) {
                    action = self.refuse(cx, DropReason::IpOption);
                    cx.log_forced = true;
                }
                if tag != 0 {
                    cx.pd.tag = tag;
                }
                let Some(wishes) = wishes else { return action };
                wishes
            }
            None => {
                let Some(r) = self.rules.get(cx.rule).filter(|e| !e.bare).map(|e| &e.rule) else { return action };
                Wishes {
                    flags: super::create::scrub_flags(r),
                    min_ttl: r.min_ttl,
                    tos: r.tos,
                    prio: r.prio,
                    delay: if r.flags.has(RuleFlags::SET_DELAY) { r.delay } else { 0 },
                    queue: r.queue.map(|q| q.map_or(u16::MAX, |q| q.0)),
                }
            }
        };
        self.scrub_packet(cx, &wishes.scrub());
        wishes.tell(cx.pd, action == Action::Pass, out);
        action
    }

    /// Where the state sends the packet, if anywhere.
    #[inline(never)]
    fn send_to<H: Host>(&self, cx: &Cx<'_, '_, H>) -> Option<SendTo> {
        let s = self.table.get(cx.state?)?;
        let e = self.table.ext(s)?;
        let kind = e.rt?;
        let with = s.direction() == cx.pd.dir;
        let applies = match kind {
            RouteKind::DupTo => true,
            RouteKind::ReplyTo => !with,
            RouteKind::RouteTo => with,
        };
        applies.then_some(SendTo { kind, hop: e.rt_addr })
    }

    /// Counts the packet at its interface, rule, anchor, state, source nodes, match rules and tables
    /// (`pf_counters_inc`).
    #[inline(never)]
    fn count<H: Host>(&mut self, cx: &Cx<'_, '_, H>, action: Action) {
        let (pd, len) = (&*cx.pd, cx.pd.tot_len);
        self.ifaces.count(pd.iface, pd.af, pd.dir, action == Action::Pass, len);
        let passes = matches!(action, Action::Pass | Action::AfTo);
        let out = second(pd.dir);
        let mut tables = false;
        if let Some(e) = self.rules.get_mut(cx.rule) {
            if !passes && e.rule.action != rule::Action::Block {
                return;
            }
            e.count(out, len);
            tables = e.src_table.is_some() || e.dst_table.is_some();
        } else if !passes {
            return;
        }
        if let Some(e) = cx.anchor.and_then(|a| self.rules.get_mut(a)) {
            e.count(out, len);
        }
        let Some(slot) = cx.state else {
            if tables {
                self.count_tables(cx.rule, pd, (pd.src, pd.dst), len);
            }
            return;
        };
        let Some(s) = self.table.get_mut(slot) else { return };
        s.count(pd.dir, len);
        let (dir, ext) = (s.direction(), s.ext);
        if ext != NONE {
            self.count_ext(slot, (dir, ext), pd, len);
        }
        if tables {
            self.count_tables(cx.rule, pd, self.ends_of(slot, dir), len);
        }
    }

    /// The ends of a state's conversation as tables are asked about them.
    fn ends_of(&self, slot: u32, dir: Direction) -> (rule::Addr, rule::Addr) {
        let side = if dir == Direction::In { KeySide::Stack } else { KeySide::Wire };
        let [a0, a1] = self.table.key(slot, side).map(|k| k.addr).unwrap_or_default();
        if dir == Direction::In { (a0, a1) } else { (a1, a0) }
    }

    /// Counts at what hangs on a state: source nodes, match rules and their tables.
    pub(super) fn count_ext(&mut self, slot: u32, (dir, ext): (Direction, u32), pd: &PacketDesc, len: u32) {
        let Some(e) = self.table.exts.get(ext) else { return };
        let (nodes, mut at) = (e.src_nodes, e.matches);
        let out = second(pd.dir);
        for id in nodes {
            if let Some(n) = self.nodes.get_mut(id) {
                n.count(out, len);
            }
        }
        for _ in 0..super::test_rule::MAX_HITS {
            let Some(block) = self.table.matches.get(at).copied() else { break };
            for r in block.rules {
                let Some(entry) = self.rules.get_mut(r) else { continue };
                entry.count(dir != pd.dir, len);
                if entry.src_table.is_some() || entry.dst_table.is_some() {
                    self.count_tables(r, pd, self.ends_of(slot, dir), len);
                }
            }
            at = block.next;
        }
    }

    /// Counts at the tables a rule names.
    fn count_tables(&mut self, place: u32, pd: &PacketDesc, ends: (rule::Addr, rule::Addr), len: u32) {
        let Some(e) = self.rules.get(place) else { return };
        let action = e.rule.action;
        for (named, addr) in [(e.src_table, ends.0), (e.dst_table, ends.1)] {
            if let Some((slot, negated)) = named {
                let packet = Counted { dir: pd.dir, op: Op::of(action), not: negated, bytes: len };
                self.tables.all.count(slot, pd.af, &addr, packet);
            }
        }
    }

    /// The TTL a rule's resets carry.
    pub(super) fn return_ttl(&self, place: u32) -> u8 {
        match self.rules.get(place).map(|e| e.rule.returns) {
            Some(rule::Return::Rst { ttl }) => ttl,
            _ => 0,
        }
    }

    /// The second it is.
    pub(super) fn now<H: Host>(host: &H) -> u32 {
        seconds(host.now_ms())
    }
}
