//! A new state: what the rules decided becomes a record, its keys are taken, and a proxied handshake begins.
//!
//! Source: `pf.c pf_create_state`, `pf_state_key_setup`, `pf_state_insert`.

use core::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::engine::Engine;
use crate::engine::cx::{Action, Cx, node_of};
use crate::engine::send;
use crate::engine::track::segment_of;
use crate::host::Host;
use crate::nat::rewrite;
use crate::packet::{DropReason, PacketDesc, proto};
use crate::rule::{Addr, Af, Direction, Keep, LogFlags, QueueId, Rule, RuleFlags, Timeout};
use crate::state::key::{Idx, KeySide, StateKey};
use crate::state::record::{FLOATING, NONE, PeerState, State, StateExt, StateFlags, StateTimeout};
use crate::state::srcnode::SrcKind;
use crate::state::table::{Attach, MatchBlock};
use crate::state::{other, synproxy, tcp};
use crate::wire::tcp as wire_tcp;

/// What the rules that matched ask for together (`struct pf_rule_actions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Queues.
    pub queue: [Option<QueueId>; 2],
    /// Routing table.
    pub rtable: Option<u8>,
    /// Logging.
    pub log: LogFlags,
    /// TOS.
    pub tos: u8,
    /// Least TTL.
    pub min_ttl: u8,
    /// Largest MSS.
    pub max_mss: u16,
    /// Scrubbing, TOS and priority flags.
    pub flags: StateFlags,
    /// Priorities.
    pub prio: [u8; 2],
    /// Delay.
    pub delay: u16,
}

impl Actions {
    /// Adds what a rule asks for (`pf_rule_to_actions`).
    pub fn add(&mut self, r: &Rule) {
        let [q0, q1] = &mut self.queue;
        let [r0, r1] = r.queue;
        *q0 = r0.or(*q0);
        *q1 = r1.or(*q1);
        self.rtable = r.rtable.or(self.rtable);
        self.log |= r.log;
        if r.flags.has(RuleFlags::SET_TOS) {
            self.tos = r.tos;
        }
        if r.min_ttl != 0 {
            self.min_ttl = r.min_ttl;
        }
        if r.max_mss != 0 {
            self.max_mss = r.max_mss;
        }
        self.flags = self.flags.with(scrub_flags(r));
        if r.flags.has(RuleFlags::SET_PRIO) {
            self.prio = r.prio;
        }
        if r.flags.has(RuleFlags::SET_DELAY) {
            self.delay = r.delay;
        }
    }
}

/// What of a rule becomes flags of its states by way of [`Actions`].
#[must_use]
pub fn scrub_flags(r: &Rule) -> StateFlags {
    const TABLE: [(RuleFlags, StateFlags); 5] = [
        (RuleFlags::NO_DF, StateFlags::NO_DF),
        (RuleFlags::RANDOM_ID, StateFlags::RANDOM_ID),
        (RuleFlags::SET_TOS, StateFlags::SET_TOS),
        (RuleFlags::REASSEMBLE_TCP, StateFlags::SCRUB_TCP),
        (RuleFlags::SET_PRIO, StateFlags::SET_PRIO),
    ];
    pick(r, &TABLE)
}

fn pick(r: &Rule, table: &[(RuleFlags, StateFlags)]) -> StateFlags {
    table.iter().fold(StateFlags::default(), |f, (have, set)| if r.flags.has(*have) { f.with(*set) } else { f })
}

/// What of the deciding rule becomes flags of its states.
fn own_flags(r: &Rule) -> StateFlags {
    const TABLE: [(RuleFlags, StateFlags); 4] = [
        (RuleFlags::ALLOW_OPTS, StateFlags::ALLOW_OPTS),
        (RuleFlags::SLOPPY, StateFlags::SLOPPY),
        (RuleFlags::PFLOW, StateFlags::PFLOW),
        (RuleFlags::NO_SYNC, StateFlags::NO_SYNC),
    ];
    pick(r, &TABLE)
}

/// All that makes a state.
#[derive(Clone, Copy, Debug)]
pub struct Making<'m> {
    /// The deciding rule, a place in the book.
    pub rule: u32,
    /// The anchor rule it was called by.
    pub anchor: Option<u32>,
    /// The rule that translated last.
    pub nat_rule: Option<u32>,
    /// What all rules ask for.
    pub actions: &'m Actions,
    /// The match rules, in order.
    pub hits: &'m [u32],
    /// Tag, 0 for none.
    pub tag: u16,
}

/// Wire and stack key of a packet's state to be.
#[must_use]
#[inline(never)]
pub fn keys(pd: &PacketDesc, target: &[u8; 16]) -> (StateKey, StateKey) {
    let (src, dst) = neighbour(pd, target);
    let seen = StateKey::of_packet(pd.af, pd.proto, pd.dir, (src, pd.sport), (dst, pd.dport));
    let changes = pd.af != pd.naf;
    let plain =
        !changes && pd.nsaddr == pd.src && pd.ndaddr == pd.dst && pd.nsport == pd.sport && pd.ndport == pd.dport;
    if plain {
        return (seen, seen);
    }
    // Across families the far end of one side is the near end of the other.
    let dir = if changes { reverse(pd.dir) } else { pd.dir };
    let p = if changes { other_proto(pd.proto) } else { pd.proto };
    let new = StateKey::of_packet(pd.naf, p, dir, (pd.nsaddr, pd.nsport), (pd.ndaddr, pd.ndport));
    match pd.dir {
        Direction::In => (seen, new),
        Direction::Out => (new, seen),
    }
}

const fn reverse(dir: Direction) -> Direction {
    match dir {
        Direction::In => Direction::Out,
        Direction::Out => Direction::In,
    }
}

const fn other_proto(p: u8) -> u8 {
    match p {
        proto::ICMP => proto::ICMPV6,
        proto::ICMPV6 => proto::ICMP,
        p => p,
    }
}

/// The addresses of a key: neighbour discovery is known by the target it asks for.
#[must_use]
pub fn neighbour(pd: &PacketDesc, target: &[u8; 16]) -> (Addr, Addr) {
    if pd.af == Af::Inet6 && pd.proto == proto::ICMPV6 {
        match pd.icmp().map(|i| i.kind) {
            Some(135) => return (pd.src, Addr(*target)),
            Some(136) => {
                let multicast = matches!(pd.dst.0, [0xff, ..]);
                return (Addr(*target), if multicast { Addr::default() } else { pd.dst });
            }
            _ => {}
        }
    }
    (pd.src, pd.dst)
}

impl Engine {
    /// Makes the state of a packet. `Pass`, `Synproxy`, or `Drop` with the reason counted.
    #[inline(never)]
    pub(super) fn create_state<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, m: &Making<'_>) -> Action {
        match self.try_create(cx, m) {
            Ok(action) => action,
            Err(reason) => {
                if let Some(r) = reason {
                    self.counters.reason(r);
                }
                let mut nodes = cx.nodes;
                for id in &mut nodes {
                    self.drop_node(id, cx.now);
                }
                cx.nodes = nodes;
                Action::Drop
            }
        }
    }

    #[inline(never)]
    fn try_create<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, m: &Making<'_>) -> Result<Action, Option<DropReason>> {
        let rule = self.rules.get(m.rule).ok_or(Some(DropReason::Memory))?.rule;
        if self.table.len() >= self.table.limit() {
            return Err(Some(DropReason::Memory));
        }
        let target = super::icmp::target_of(cx.pkt, cx.pd);
        let (wire, stack) = keys(cx.pd, &target);
        let mut state = State::new(&wire, &stack, cx.pd.dir);
        state.flags = own_flags(&rule).with(m.actions.flags);
        state.log = u8::try_from(m.actions.log.0 & LogFlags::ALL_PACKETS.0).unwrap_or(0);
        state.rule = m.rule;
        state.created = cx.now;
        state.kif = if rule.flags.has(RuleFlags::IF_BOUND) { cx.pd.iface } else { FLOATING };
        self.open_peers(cx, &rule, &mut state)?;
        // Counted from here on; as in pf, not uncounted when nothing comes of the state.
        if super::purge::half_open(&state) {
            self.half_open = self.half_open.saturating_add(1);
        }
        let mut ext = self.ext_of(cx, m, &rule, &stack)?;
        let scrubbed = cx.pd.proto == proto::TCP && state.flags.has(StateFlags::SCRUB_TCP);
        let needed = scrubbed || ext.is_needed(&wire, &stack, &rule);
        let translated = state.translated();
        let slot = self.table.take(state, needed.then_some(ext.0));
        let slot = match slot {
            Some(s) => s,
            None => {
                ext.give(self);
                return Err(Some(DropReason::Memory));
            }
        };
        if let Err(reason) = self.scrub_first(cx, slot) {
            self.abandon(slot, cx.now);
            return Err(reason);
        }
        if !self.attach_keys(slot, translated, cx) {
            self.abandon(slot, cx.now);
            return Err(Some(DropReason::StateInsert));
        }
        self.table.settle(slot);
        self.pin_all(slot, m);
        cx.state = Some(slot);
        Ok(self.begin_proxy(cx, &rule, slot))
    }

    /// Progress, windows and timeout of the first packet, and modulation of its number.
    #[inline(never)]
    fn open_peers<H: Host>(
        &mut self,
        cx: &mut Cx<'_, '_, H>,
        rule: &Rule,
        state: &mut State,
    ) -> Result<(), Option<DropReason>> {
        if cx.pd.proto != proto::TCP {
            let (progress, timeout) = other::open(cx.pd.proto);
            state.edit(|s| {
                s.src.state = progress;
                s.expire = cx.now;
                s.set_timeout(StateTimeout::Named(timeout));
            });
            return Ok(());
        }
        let seg = segment_of(cx.pkt, cx.pd);
        let (mut src, dst) = tcp::open(&seg);
        if seg.opens() && rule.keep == Keep::Modulate {
            let diff = self.first_number(cx.pd).wrapping_sub(seg.seq);
            src.seqdiff = if diff == 0 { 1 } else { diff };
            let seq = seg.seq.wrapping_add(src.seqdiff);
            rewrite::sequence(cx.pkt, cx.meta, cx.pd, Some(seq), None).map_err(|_| Some(DropReason::Memory))?;
        }
        state.edit(|s| {
            (s.src, s.dst, s.expire) = (src, dst, cx.now);
            s.set_timeout(StateTimeout::Named(Timeout::TcpFirst));
        });
        Ok(())
    }

    /// The initial sequence number a connection gets instead of its own (`pf_tcp_iss`): a keyed hash of its ends, so
    /// that numbers of one pair of ends rise.
    fn first_number(&mut self, pd: &PacketDesc) -> u32 {
        let [k0, k1] = self.iss_key;
        let mut h = SipHasher24::new_with_keys(k0, k1);
        h.write_u16(pd.sport);
        h.write_u16(pd.dport);
        h.write(&pd.src.0);
        h.write(&pd.dst.0);
        self.iss_offset = self.iss_offset.wrapping_add(4096);
        u32::try_from(h.finish() & u64::from(u32::MAX)).unwrap_or(0).wrapping_add(self.iss_offset)
    }

    /// What goes into the extension.
    #[inline(never)]
    fn ext_of<H: Host>(
        &mut self,
        cx: &mut Cx<'_, '_, H>,
        m: &Making<'_>,
        rule: &Rule,
        stack: &StateKey,
    ) -> Result<Ext, Option<DropReason>> {
        let mut e = StateExt {
            stack_addr: stack.addr,
            stack_af: stack.af,
            stack_proto: stack.proto,
            anchor: m.anchor.unwrap_or(NONE),
            nat_rule: m.nat_rule.unwrap_or(NONE),
            queue: m.actions.queue.map(|q| q.map_or(u16::MAX, |q| q.0)),
            tag: m.tag,
            max_mss: m.actions.max_mss,
            delay: m.actions.delay,
            min_ttl: m.actions.min_ttl,
            set_tos: m.actions.tos,
            prio: m.actions.prio,
            ..StateExt::default()
        };
        if let Some(route) = rule.route {
            e.rt_addr = self.next_hop(cx, m.rule, route.pool).ok_or(Some(DropReason::NoRoute))?;
            e.rt = Some(route.kind);
        }
        for chunk in m.hits.rchunks(7) {
            let mut block = MatchBlock { rules: [NONE; 7], next: e.matches };
            for (to, from) in block.rules.iter_mut().zip(chunk) {
                *to = *from;
            }
            match self.table.matches.take(block) {
                Some(id) => e.matches = id,
                None => {
                    Ext(e).give(self);
                    return Err(Some(DropReason::Memory));
                }
            }
        }
        for (to, from) in e.src_nodes.iter_mut().zip(cx.nodes) {
            *to = from;
            if let Some(n) = self.nodes.get_mut(from) {
                n.states = n.states.saturating_add(1);
            }
        }
        Ok(Ext(e))
    }

    /// Takes both keys. What held them and is closed goes.
    #[inline(never)]
    fn attach_keys<H: Host>(&mut self, slot: u32, translated: bool, cx: &mut Cx<'_, '_, H>) -> bool {
        let sides: &[KeySide] = if translated { &[KeySide::Wire, KeySide::Stack] } else { &[KeySide::Wire] };
        for side in sides {
            match self.table.attach(slot, *side) {
                Attach::Done => {}
                Attach::Replaces(old) => {
                    self.change(old, |s| s.set_both(PeerState::CLOSED));
                    self.remove_state(old, cx.host, cx.now);
                }
                Attach::Taken => {
                    if *side == KeySide::Stack {
                        self.table.detach(slot, KeySide::Wire);
                    }
                    return false;
                }
            }
        }
        true
    }

    /// Gives up a state that was not inserted.
    fn abandon(&mut self, slot: u32, now: u32) {
        let Some(s) = self.table.get(slot).cloned() else { return };
        let linger = self.base_timeout(s.rule, Timeout::SrcTrack);
        if let Some(e) = self.table.ext(&s) {
            for id in e.src_nodes {
                self.nodes.release(id, false, linger, now);
            }
        }
        self.table.give(slot);
    }

    #[inline(never)]
    fn pin_all(&mut self, slot: u32, m: &Making<'_>) {
        self.rules.pin(m.rule);
        if let Some(a) = m.anchor {
            self.rules.pin(a);
        }
        let mut at = self.table.get(slot).and_then(|s| self.table.ext(s)).map_or(NONE, |e| e.matches);
        for _ in 0..m.hits.len() {
            let Some(b) = self.table.matches.get(at) else { break };
            for r in b.rules {
                if r != NONE {
                    self.rules.pin_match(r);
                }
            }
            at = b.next;
        }
    }

    /// `synproxy state`: the client gets its answer from the filter.
    #[inline(never)]
    fn begin_proxy<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, rule: &Rule, slot: u32) -> Action {
        let seg = segment_of(cx.pkt, cx.pd);
        let proxied =
            cx.pd.proto == proto::TCP && seg.opens() && rule.keep == Keep::Synproxy && cx.pd.dir == Direction::In;
        if !proxied {
            return Action::Pass;
        }
        let own = cx.host.random_u32();
        self.change(slot, |s| {
            s.src.state = PeerState::PROXY_SRC;
            s.src.seqhi = own;
        });
        let mss = self.proxy_mss(cx);
        if let Some(e) = self.table.get(slot).map(|s| s.ext).and_then(|e| self.table.exts.get_mut(e)) {
            e.mss = mss;
        }
        let emit = synproxy::syn_ack(own, seg.seq);
        let out = send::Segment::of(&emit, cx.pd, None, mss, 0);
        self.send_tcp(cx.host, cx.pd.af, &out);
        self.counters.reason(DropReason::Synproxy);
        Action::Synproxy
    }

    /// The MSS the proxy offers: what the client offers, no more than the ways to both ends carry, at least 64.
    fn proxy_mss<H: Host>(&self, cx: &Cx<'_, '_, H>) -> u16 {
        const DEFAULT: u32 = 512;
        let (opts, n) = super::track::options_of(cx.pkt, cx.pd);
        let opts = opts.get(..n).unwrap_or_default();
        // Too few options for one with an MSS: pf takes 0 for an offer.
        let mut mss = if n < 4 { 0 } else { wire_tcp::mss(opts).map_or(DEFAULT, u32::from) };
        let headers = match cx.pd.af {
            Af::Inet => 40,
            Af::Inet6 => 60,
        };
        for end in [&cx.pd.src, &cx.pd.dst] {
            let way = cx.host.route(cx.pd.af, end).map_or(DEFAULT, |h| h.mtu.saturating_sub(headers).max(DEFAULT));
            mss = way.min(mss).max(64);
        }
        u16::try_from(mss).unwrap_or(u16::MAX)
    }
}

/// An extension in the making.
struct Ext(StateExt);

impl Ext {
    /// Whether a state cannot do without it.
    fn is_needed(&self, wire: &StateKey, stack: &StateKey, rule: &Rule) -> bool {
        let e = &self.0;
        let plain = StateExt {
            stack_addr: e.stack_addr,
            stack_af: e.stack_af,
            stack_proto: e.stack_proto,
            ..StateExt::default()
        };
        State::needs_ext_for(wire, stack) || *e != plain || rule.keep == Keep::Synproxy
    }

    /// Gives back what it holds.
    fn give(&mut self, engine: &mut Engine) {
        let mut at = self.0.matches;
        for _ in 0..64 {
            let Some(b) = engine.table.matches.give(at) else { break };
            at = b.next;
        }
    }
}

/// The node of one kind, for those who fill it.
pub(super) fn held<'n, H>(cx: &'n mut Cx<'_, '_, H>, kind: SrcKind) -> &'n mut u32 {
    node_of(&mut cx.nodes, kind)
}

/// The source of a packet within its key.
#[must_use]
pub const fn source_idx(pd: &PacketDesc) -> Idx {
    Idx::source(pd.dir)
}
