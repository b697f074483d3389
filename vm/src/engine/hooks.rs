//! Where normalisation and answers meet the engine.

use crate::engine::Engine;
use crate::engine::cx::Cx;
use crate::engine::order::{Ahead, Seen, Sought};
use crate::engine::outcome::{Outcome, Replaced, Verdict};
use crate::host::Host;
use crate::norm::frag::{Normalized, Reassembly, normalize};
use crate::norm::scrub::{Scrub, scrub};
use crate::norm::tcp;
use crate::packet::{DropReason, Packet, PacketDesc, PktMeta, Refusal, describe_into, proto};
use crate::reply;
use crate::rule::Timeout;
use crate::state::record::{PeerScrub, StateFlags};
use crate::state::timeout::value;

type Scrubbed = Result<(), Option<DropReason>>;

/// Fragments that expire in one tick.
const FRAGS_A_TICK: u32 = 4096;

impl Engine {
    /// Fragments are put together, the rest goes on.
    #[allow(clippy::too_many_arguments, reason = "a packet, what is known of it, and what is lent for it")]
    pub(super) fn normalized<H: Host>(
        &mut self,
        pkt: &mut Packet<'_>,
        meta: &PktMeta,
        seen: Seen,
        ahead: &mut Ahead,
        room: &mut [u8],
        host: &mut H,
        out: &mut Outcome,
    ) {
        let set = Reassembly {
            on: self.options.reassemble,
            no_df: self.options.reassemble_no_df,
            timeout: value(&self.options.timeouts, Timeout::Frag),
        };
        let now = Self::now(host);
        match normalize(&mut self.frags, pkt, meta, &ahead.pd, &set, now, room) {
            Normalized::Pass => {
                Self::complete(&mut ahead.pd, seen, &out.carried);
                self.decide(pkt, meta, ahead, host, out);
            }
            Normalized::Held => out.verdict = Verdict::Consumed,
            Normalized::Drop(reason) => {
                if let Some(r) = reason {
                    self.counters.reason(r);
                }
                self.refused(
                    pkt,
                    ahead.pd.tot_len,
                    seen,
                    Refusal::logged(reason.unwrap_or(DropReason::Match)),
                    host,
                    out,
                );
            }
            Normalized::Whole { len, tag } => {
                out.carried.reassembled = tag;
                let end = Packet::HEADROOM.saturating_add(len);
                let whole = room.get_mut(..end).and_then(|w| Packet::new(w, Packet::HEADROOM, &[]));
                let Some(mut whole) = whole else {
                    self.counters.reason(DropReason::Memory);
                    return self.refused(pkt, ahead.pd.tot_len, seen, Refusal::logged(DropReason::Memory), host, out);
                };
                ahead.sought = Sought::Not;
                match describe_into(&whole, meta, (seen.af, seen.dir, seen.iface), &mut ahead.pd) {
                    Ok(()) => {
                        Self::complete(&mut ahead.pd, seen, &out.carried);
                        self.decide(&mut whole, meta, ahead, host, out);
                    }
                    Err(refusal) => {
                        self.counters.reason(refusal.reason);
                        self.refused(&whole, ahead.pd.tot_len, seen, refusal, host, out);
                    }
                }
                out.replaced = Some(Replaced { at: whole.headroom(), len: whole.len() });
            }
        }
    }

    pub(super) fn purge_fragments<H: Host>(&mut self, host: &mut H) {
        let timeout = value(&self.options.timeouts, Timeout::Frag);
        self.frags.purge(Self::now(host), timeout, FRAGS_A_TICK);
    }

    /// `reassemble tcp`: the first segment.
    #[inline(never)]
    pub(super) fn scrub_first<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, slot: u32) -> Scrubbed {
        let wanted = self.table.get(slot).is_some_and(|s| s.flags.has(StateFlags::SCRUB_TCP));
        if cx.pd.proto != proto::TCP || !wanted {
            return Ok(());
        }
        self.scrub_side(cx, slot, true)?;
        self.scrub_track(cx, slot, true)
    }

    /// Begins to remember the side a segment comes from.
    fn scrub_side<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, slot: u32, forward: bool) -> Scrubbed {
        let memory = Err(Some(DropReason::Memory));
        let Some(ext) = self.table.get(slot).map(|s| s.ext) else { return memory };
        let mut id = self.table.exts.get(ext).map_or(crate::state::record::NONE, |e| e.scrub);
        if self.table.scrubs.get(id).is_none() {
            match self.table.scrubs.take([PeerScrub::default(); 2]) {
                Some(new) => id = new,
                None => return memory,
            }
            match self.table.exts.get_mut(ext) {
                Some(e) => e.scrub = id,
                None => {
                    self.table.scrubs.give(id);
                    return memory;
                }
            }
        }
        let now = cx.host.now_ms();
        let side = tcp::begin(cx.pkt, cx.pd, now, cx.host);
        if let Some([src, dst]) = self.table.scrubs.get_mut(id) {
            *(if forward { src } else { dst }) = side;
        }
        Ok(())
    }

    /// The first segment of a side of a scrubbed connection.
    pub(super) fn scrub_begin<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, slot: u32, forward: bool) -> Scrubbed {
        let Some((mut live, flags)) = self.table.get(slot).map(|s| (s.live(), s.flags)) else { return Ok(()) };
        if live.peers_mut(forward).0.seqlo != 0 {
            return Ok(());
        }
        let [a, b] = self.scrubs_of(slot).unwrap_or_default();
        let (src, dst) = if forward { (a, b) } else { (b, a) };
        if (flags.has(StateFlags::SCRUB_TCP) || dst.present) && !src.present {
            self.scrub_side(cx, slot, forward)?;
        }
        Ok(())
    }

    fn scrubs_of(&self, slot: u32) -> Option<[PeerScrub; 2]> {
        let s = self.table.get(slot)?;
        self.table.scrubs.get(self.table.ext(s)?.scrub).copied()
    }

    /// A segment of a scrubbed connection.
    pub(super) fn scrub_track<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, slot: u32, forward: bool) -> Scrubbed {
        let Some([mut a, mut b]) = self.scrubs_of(slot) else { return Ok(()) };
        let Some(s) = self.table.get(slot) else { return Ok(()) };
        if !a.present && !b.present {
            return Ok(());
        }
        let now_ms = cx.host.now_ms();
        let created = u64::from(s.created).saturating_mul(1000);
        let ts_diff = self.base_timeout(s.rule, Timeout::TcpTsDiff);
        let mut live = s.live();
        let (p, q) = live.peers_mut(forward);
        let age_ms = now_ms.saturating_sub(created);
        let conn = tcp::Connection { src: p.state.0, dst: q.state.0, age_ms, now_ms, ts_diff };
        let (src, dst) = if forward { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let done = tcp::follow(cx.pkt, cx.meta, cx.pd, src, dst, &conn);
        let id = self.table.get(slot).and_then(|s| self.table.ext(s)).map(|e| e.scrub);
        if let Some(pair) = id.and_then(|id| self.table.scrubs.get_mut(id)) {
            *pair = [a, b];
        }
        done.map_err(Some)
    }

    /// What `scrub` and `set tos` do to a packet that goes on.
    #[inline(never)]
    pub(super) fn scrub_packet<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, what: &Scrub) {
        if let Err(reason) = scrub(cx.pkt, cx.meta, cx.pd.af, what, cx.host) {
            self.counters.reason(reason);
        }
    }

    /// `max-mss`.
    pub(super) fn limit_mss<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, max: u16) {
        if let Err(reason) = tcp::clamp_mss(cx.pkt, cx.meta, cx.pd, max) {
            self.counters.reason(reason);
        }
    }

    /// Flags that make no sense.
    pub(super) fn sane_tcp<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>) -> Result<(), DropReason> {
        tcp::sanity(cx.pkt, cx.meta, cx.pd)
    }

    /// Puts a header of the other family in front.
    #[inline(never)]
    pub(super) fn change_family<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>) -> bool {
        let id = u16::try_from(cx.host.random_u32() & 0xffff).unwrap_or(1).max(1);
        crate::nat::af::translate(cx.pkt, cx.meta, cx.pd, id).is_ok()
    }

    /// Sends an ICMP error about the packet at hand.
    pub(super) fn send_icmp<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, kind: u8, code: u8, param: u32) {
        send_error(cx.pkt, cx.pd, (kind, code, param), true, cx.host);
    }
}

/// Builds an ICMP error about a packet and gives it to the host to send: type, code and parameter. The sender is the
/// packet's destination where that is the host's own, else the address of the interface that leads back.
pub fn send_error<H: Host>(pkt: &Packet<'_>, pd: &PacketDesc, what: (u8, u8, u32), generated: bool, host: &mut H) {
    let (kind, code, param) = what;
    let way = host.route(pd.af, &pd.src).map_or(pd.iface, |h| h.iface);
    let from = host.answers_for(pd.af, &pd.dst).or_else(|| host.own_address(pd.af, way, &pd.src));
    let Some(from) = from else { return };
    let id = u16::try_from(host.random_u32() & 0xffff).unwrap_or(1).max(1);
    let error = reply::Error { kind, code, param, from, id };
    host.make(pd.af, generated, 0, &mut |room| {
        room.fill(0);
        reply::error(pkt, pd, &error, room)
    });
}
