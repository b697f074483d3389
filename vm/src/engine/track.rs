//! A packet of a known state: does it fit, what does it change, how is it rewritten.
//!
//! Source: `pf.c pf_test_state`, `pf_synproxy`, `pf_tcp_track_full`, `pf_tcp_track_sloppy`.

use crate::engine::Engine;
use crate::engine::cx::{Action, Cx};
use crate::engine::send::Segment;
use crate::host::{Host, Random};
use crate::nat::rewrite::{self, Target};
use crate::packet::tcp_flags::{ACK, FIN, RST, SYN};
use crate::packet::{DropReason, Packet, PacketDesc, proto};
use crate::rule::{Af, Timeout};
use crate::state::key::{Idx, KeySide, StateKey};
use crate::state::live::Live;
use crate::state::record::{PeerState, State, StateExt, StateFlags, StatePeer, StateTimeout, WSCALE_FLAG};
use crate::state::synproxy::{self, Emit, Proxied};
use crate::state::tcp::{self, Fit, Mode};
use crate::state::{other, tcp::Segment as Seg};
use crate::wire::tcp as wire_tcp;

/// A bounded copy of a segment's options, and how long it is.
#[must_use]
pub fn options_of(pkt: &Packet<'_>, pd: &PacketDesc) -> ([u8; wire_tcp::MAX_OPTIONS], usize) {
    let mut room = [0; wire_tcp::MAX_OPTIONS];
    let len = pd.tcp().map_or(0, |t| usize::from(t.header).saturating_sub(20)).min(room.len());
    let off = usize::try_from(pd.off).unwrap_or(usize::MAX).saturating_add(20);
    let read = room.get_mut(..len).is_some_and(|r| pkt.read(off, r));
    (room, if read { len } else { 0 })
}

/// What tracking needs of a segment.
#[must_use]
#[inline]
pub fn segment_of(pkt: &Packet<'_>, pd: &PacketDesc) -> Seg {
    let Some(t) = pd.tcp() else { return Seg::default() };
    let mut wscale = 0;
    if t.flags & SYN != 0 && t.header > 20 {
        let (opts, n) = options_of(pkt, pd);
        wscale = wire_tcp::window_scale(opts.get(..n).unwrap_or_default()).map_or(0, |s| s.min(14) | WSCALE_FLAG);
    }
    Seg { seq: t.seq, ack: t.ack, win: t.win, flags: t.flags, len: pd.p_len, wscale }
}

/// The key a packet of the state is rewritten to (`nk`), and whether the family changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct OtherKey {
    /// The key.
    pub key: StateKey,
    /// Which of its elements is the source.
    pub source: Idx,
    /// Whether it is of the other family.
    pub changes: bool,
}

impl OtherKey {
    /// The rewritten packet's ends.
    #[inline]
    pub(super) const fn target(&self) -> Target {
        let StateKey { addr: [a0, a1], port: [p0, p1], .. } = self.key;
        match self.source {
            Idx::Zero => Target { src: a0, dst: a1, sport: p0, dport: p1 },
            Idx::One => Target { src: a1, dst: a0, sport: p1, dport: p0 },
        }
    }
}

/// Whether a packet runs through an `af-to` state against the order of its keys (`PF_REVERSED_KEY`).
#[inline]
fn runs_reversed(s: &State, ext: Option<&StateExt>, af: Af) -> bool {
    s.stack_elsewhere() && s.af() != af && s.stack(ext).af != s.af()
}

/// The key packets of this description are rewritten to, `None` when the state does not translate.
#[inline]
pub(super) fn other_key_of(s: &State, ext: Option<&StateExt>, pd: &PacketDesc) -> Option<OtherKey> {
    if !s.translated() {
        return None;
    }
    let idx = if runs_reversed(s, ext, pd.af) { Idx::source(pd.dir) } else { Idx::dest(pd.dir) };
    // Element 0 of a state's pair of keys is the wire key, element 1 the stack key.
    let side = match idx {
        Idx::Zero => KeySide::Wire,
        Idx::One => KeySide::Stack,
    };
    let key = s.key(side, ext);
    let changes = key.af != pd.af;
    let source = if changes { Idx::dest(pd.dir) } else { Idx::source(pd.dir) };
    Some(OtherKey { key, source, changes })
}

/// The ends packets of this description are rewritten to by a translating state of one family.
#[inline(always)]
pub(super) fn target_of(s: &State, pd: &PacketDesc) -> Target {
    OtherKey { key: s.key(KeySide::lookup(pd.dir).other(), None), source: Idx::source(pd.dir), changes: false }.target()
}

/// No chance: where nothing is left to it.
pub(super) struct Certain;

impl Random for Certain {
    fn random_u32(&mut self) -> u32 {
        0
    }
}

/// Whether of a state's segments only windows and numbers as sent matter: it is neither sloppy, scrubbed nor of two
/// families.
#[inline]
pub(super) fn windows_alone(s: &State) -> bool {
    !s.stack_elsewhere() && s.flags.0 & (StateFlags::SLOPPY.0 | StateFlags::SCRUB_TCP.0) == 0
}

/// What almost every segment is: one of an established connection that is neither proxied nor modulated and of which
/// [`windows_alone`] matter, with nothing but ACK and PSH, inside the windows. `None` for all others, with nothing changed;
/// else what its state waits for from now on.
///
/// The result is that of [`Engine::track_full`] and [`Engine::track_sloppy`], in one look at the state.
#[inline(always)]
pub(super) fn track_plain(src: &mut StatePeer, dst: &mut StatePeer, seg: &Seg) -> Option<Timeout> {
    let plain = seg.flags & (SYN | ACK | FIN | RST) == ACK
        && src.state == PeerState::ESTABLISHED
        && dst.state == PeerState::ESTABLISHED
        && (src.seqdiff | dst.seqdiff) == 0
        && src.seqlo != 0
        && dst.seqlo != 0;
    if !plain {
        return None;
    }
    // Nothing is learnt from a segment that is not its side's first, and no number changes without modulation.
    let (seen, _) = tcp::observe(src, dst, seg, &mut Certain);
    if tcp::judge(src, dst, seg, &seen) != Fit::Window {
        return None;
    }
    tcp::slide(src, dst, &seen);
    Some(Timeout::TcpEstablished)
}

impl Engine {
    /// Whether a packet runs through an `af-to` state against the order of its keys.
    pub(super) fn reversed(&self, slot: u32, af: Af) -> bool {
        self.table.get(slot).is_some_and(|s| runs_reversed(s, self.table.ext(s), af))
    }

    /// The key packets of this description are rewritten to, `None` when the state does not translate.
    #[inline]
    pub(super) fn other_key(&self, slot: u32, pd: &PacketDesc) -> Option<OtherKey> {
        let s = self.table.get(slot)?;
        other_key_of(s, self.table.ext(s), pd)
    }

    /// A packet of a state. `Drop` with `cx.state` cleared means: the state is over, ask the rules.
    pub(super) fn test_state<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, slot: u32) -> Action {
        let Some(dir) = self.table.get(slot).map(|s| s.direction()) else { return Action::Drop };
        let forward = cx.pd.dir == dir;
        if cx.pd.proto == proto::TCP {
            if let Some(action) = self.track_tcp(cx, slot, forward) {
                return action;
            }
        } else {
            let (now, p) = (cx.now, cx.pd.proto);
            self.change(slot, |s| {
                let (src, dst) = s.peers_mut(forward);
                let waits = other::track(p, src, dst);
                s.renew(waits, now);
            });
        }
        self.rewrite_known(cx, slot)
    }

    /// Rewrites a packet to the state's other key.
    fn rewrite_known<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, slot: u32) -> Action {
        let Some(nk) = self.other_key(slot, cx.pd) else { return Action::Pass };
        let to = nk.target();
        if nk.changes {
            cx.pd.naf = nk.key.af;
            (cx.pd.nsaddr, cx.pd.ndaddr) = (to.src, to.dst);
        }
        match rewrite::known(cx.pkt, cx.meta, cx.pd, &to) {
            Ok(done) => {
                cx.redirected |= done.destination;
                if nk.changes { Action::AfTo } else { Action::Pass }
            }
            Err(_) => self.refuse(cx, DropReason::Memory),
        }
    }

    /// Drops for a reason that is counted and shown.
    #[inline(never)]
    pub(super) fn refuse<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, reason: DropReason) -> Action {
        self.counters.reason(reason);
        cx.reason = reason;
        Action::Drop
    }

    /// Tracks a segment; `None` lets it pass.
    fn track_tcp<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, slot: u32, forward: bool) -> Option<Action> {
        let seg = segment_of(cx.pkt, cx.pd);
        let now = cx.now;
        let plain = |s: &mut State| {
            windows_alone(s)
                && s.edit(|live| {
                    let (src, dst) = live.peers_mut(forward);
                    track_plain(src, dst, &seg).inspect(|waits| live.renew(*waits, now)).is_some()
                })
        };
        if self.table.get_mut(slot).is_some_and(plain) {
            return None;
        }
        if let Some(action) = self.proxy(cx, slot, &seg, forward) {
            return Some(action);
        }
        let (state, sloppy) =
            self.table.get(slot).map(|s| ((s.src().state, s.dst().state), s.flags.has(StateFlags::SLOPPY)))?;
        if seg.opens() {
            let both = |at: PeerState| state.0 >= at && state.1 >= at;
            if both(PeerState::FIN_WAIT_2) {
                // A new conversation with the ends of one that is over.
                self.change(slot, |s| s.set_timeout(StateTimeout::Purge));
                cx.state = None;
                return Some(Action::Drop);
            }
            if both(PeerState::ESTABLISHED) {
                self.challenge(cx, slot, forward);
                return Some(Action::Drop);
            }
        }
        let fits = if sloppy {
            self.track_sloppy(cx, slot, &seg, forward)
        } else {
            self.track_full(cx, slot, &seg, forward != self.reversed(slot, cx.pd.af))
        };
        match fits {
            Ok(()) => None,
            Err(reason) => Some(match reason {
                Some(r) => self.refuse(cx, r),
                None => Action::Drop,
            }),
        }
    }

    /// A SYN on a conversation in full swing: its sender is asked whether it means it.
    fn challenge<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, slot: u32, forward: bool) {
        let Some((mut live, rule)) = self.table.get(slot).map(|s| (s.live(), s.rule)) else { return };
        let ttl = self.return_ttl(rule);
        let (src, dst) = live.peers_mut(forward);
        let out = self.answer(cx.pd, dst.seqlo, src.seqlo, ACK, ttl);
        self.send_tcp(cx.host, cx.pd.af, &out);
    }

    /// A segment back to the sender of the packet at hand.
    pub(super) const fn answer(&self, pd: &PacketDesc, seq: u32, ack: u32, flags: u8, ttl: u8) -> Segment {
        Segment {
            from: (pd.dst, pd.dport),
            to: (pd.src, pd.sport),
            seq,
            ack,
            flags,
            win: 0,
            mss: 0,
            ttl,
            generated: true,
            tag: 0,
        }
    }

    /// The segments of a handshake the filter proxies.
    fn proxy<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, slot: u32, seg: &Seg, forward: bool) -> Option<Action> {
        let mut outcome = self.change(slot, |s| synproxy::client(&mut s.src, seg, forward))?;
        if outcome == Proxied::Complete {
            if self.has_nodes(slot) && !self.connection_allowed(slot, cx.now) {
                return Some(self.refuse(cx, DropReason::SrcLimit));
            }
            self.change(slot, |s| s.src.state = PeerState::PROXY_DST);
            outcome = Proxied::Not;
        }
        if outcome == Proxied::Not {
            let host = &mut *cx.host;
            outcome = self.change(slot, |s| {
                let Live { src, dst, .. } = s;
                synproxy::server(src, dst, seg, forward, host)
            })?;
        }
        match outcome {
            Proxied::Not | Proxied::Complete => None,
            Proxied::Drop => Some(self.refuse(cx, DropReason::Synproxy)),
            Proxied::Taken(emits) => {
                for emit in emits.iter().flatten() {
                    self.send_emit(cx, slot, emit);
                }
                self.counters.reason(DropReason::Synproxy);
                cx.reason = DropReason::Synproxy;
                Some(Action::Synproxy)
            }
        }
    }

    fn send_emit<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, slot: u32, emit: &Emit) {
        let side = match Idx::dest(cx.pd.dir) {
            Idx::Zero => KeySide::Wire,
            Idx::One => KeySide::Stack,
        };
        let onward = self.table.key(slot, side);
        let (mss, tag) = self.table.get(slot).and_then(|s| self.table.ext(s)).map_or((0, 0), |e| (e.mss, e.tag));
        let out = Segment::of(emit, cx.pd, onward.as_ref(), mss, tag);
        self.send_tcp(cx.host, cx.pd.af, &out);
    }

    /// Whether a state holds source nodes.
    fn has_nodes(&self, slot: u32) -> bool {
        let ext = self.table.get(slot).and_then(|s| self.table.ext(s));
        ext.is_some_and(|e| e.src_nodes.iter().any(|n| self.nodes.get(*n).is_some_and(|n| !n.orphan)))
    }

    fn track_full<H: Host>(
        &mut self,
        cx: &mut Cx<'_, '_, H>,
        slot: u32,
        seg: &Seg,
        forward: bool,
    ) -> Result<(), Option<DropReason>> {
        self.scrub_begin(cx, slot, forward)?;
        let host = &mut *cx.host;
        let (seen, patch, diff) = self
            .change(slot, |s| {
                let (src, dst) = s.peers_mut(forward);
                let (seen, patch) = tcp::observe(src, dst, seg, host);
                (seen, patch, dst.seqdiff)
            })
            .ok_or(None)?;
        if let Some(p) = patch {
            rewrite::sequence(cx.pkt, cx.meta, cx.pd, Some(p.seq), Some(p.ack))
                .map_err(|_| Some(DropReason::Memory))?;
        }
        if diff != 0 {
            rewrite::sack(cx.pkt, cx.meta, cx.pd, diff).map_err(|_| Some(DropReason::Memory))?;
        }
        let fit = self
            .change(slot, |s| {
                let (src, dst) = s.peers_mut(forward);
                tcp::judge(src, dst, seg, &seen)
            })
            .ok_or(None)?;
        if fit == Fit::No {
            self.mismatch(cx, slot, seg, forward);
            return Err(Some(DropReason::StateMismatch));
        }
        self.scrub_track(cx, slot, forward)?;
        let mode = if fit == Fit::Window { Mode::Full } else { Mode::Loose };
        let complete = self
            .change(slot, |s| {
                let (src, dst) = s.peers_mut(forward);
                tcp::slide(src, dst, &seen);
                tcp::advance(src, dst, seg.flags, mode)
            })
            .ok_or(None)?;
        if complete && self.has_nodes(slot) && !self.connection_allowed(slot, cx.now) {
            return Err(Some(DropReason::SrcLimit));
        }
        let now = cx.now;
        self.change(slot, |s| {
            let (src, dst) = s.peers_mut(forward);
            tcp::reset(src, dst, seg.flags);
            let t = tcp::timeout(src.state, dst.state);
            if fit == Fit::Window {
                s.renew(t, now);
            }
        });
        Ok(())
    }

    /// A segment that does not fit while both sides are in their handshake: its sender is reset.
    fn mismatch<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, slot: u32, seg: &Seg, forward: bool) {
        let Some((live, rule)) = self.table.get(slot).map(|s| (s.live(), s.rule)) else { return };
        if live.src.state != PeerState::SYN_SENT || live.dst.state != PeerState::SYN_SENT {
            return;
        }
        if !seg.has(RST) {
            let ack = cx.pd.tcp().map_or(0, |t| t.ack);
            let out = self.answer(cx.pd, ack, 0, RST, self.return_ttl(rule));
            self.send_tcp(cx.host, cx.pd.af, &out);
        }
        self.change(slot, |s| tcp::forget(s.peers_mut(forward).0));
    }

    fn track_sloppy<H: Host>(
        &mut self,
        cx: &mut Cx<'_, '_, H>,
        slot: u32,
        seg: &Seg,
        forward: bool,
    ) -> Result<(), Option<DropReason>> {
        let complete = self
            .change(slot, |s| {
                let (src, dst) = s.peers_mut(forward);
                tcp::advance(src, dst, seg.flags, Mode::Sloppy)
            })
            .ok_or(None)?;
        if complete && self.has_nodes(slot) && !self.connection_allowed(slot, cx.now) {
            return Err(Some(DropReason::SrcLimit));
        }
        let now = cx.now;
        self.change(slot, |s| {
            let (src, dst) = s.peers_mut(forward);
            tcp::reset(src, dst, seg.flags);
            let waits = tcp::timeout(src.state, dst.state);
            s.renew(waits, now);
        });
        Ok(())
    }
}
