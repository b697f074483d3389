//! SYN cookies and OS fingerprints at work: SYNs answered without a state, and SYNs recognised.
//!
//! Source: `pf_syncookies.c` (`pf_syncookie_send`, `pf_syncookie_recreate_syn`), `pf.c` (`pf_test`).

use crate::engine::Engine;
use crate::engine::cx::{Action, Cx};
use crate::engine::order::Seen;
use crate::engine::outcome::{Carried, Nested, Outcome};
use crate::engine::send::{Segment, build_tcp};
use crate::engine::track::{options_of, segment_of};
use crate::host::Host;
use crate::osfp::Looks;
use crate::packet::tcp_flags::{ACK, SYN};
use crate::packet::{Packet, PktMeta};
use crate::rule::Direction;
use crate::state::key::StateKey;
use crate::state::record::PeerState;
use crate::state::syncookie::{Flow, Recreated};
use crate::wire::tcp as wire_tcp;

/// Segment size of a host that names none (`tcp_mssdflt`).
const MSS_DEFAULT: u16 = 512;

impl Engine {
    /// Answers a SYN with a cookie where cookies are on. `true`: the packet is done with.
    pub(super) fn cookie_instead<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>) -> bool {
        let opens = cx.pd.tcp().is_some_and(|t| t.flags & (SYN | ACK) == SYN);
        if self.recreating || cx.pd.dir != Direction::In || !opens {
            return false;
        }
        let seg = segment_of(cx.pkt, cx.pd);
        let (wanted, flood) = self.cookies.wanted(self.half_open, cx.now.into(), cx.host);
        if flood {
            self.counters.limit(super::counters::LimitCounter::SynFloods);
        }
        if !wanted {
            return false;
        }
        let (options, n) = options_of(cx.pkt, cx.pd);
        let options = options.get(..n).unwrap_or_default();
        let offered = if n < 4 { 0 } else { wire_tcp::mss(options).unwrap_or(MSS_DEFAULT) };
        let mss = offered.max(MSS_DEFAULT);
        let iss = self.cookies.send(&flow(cx), seg.seq, mss, seg.wscale);
        let mut answer = self.answer(cx.pd, iss, seg.seq.wrapping_add(1), SYN | ACK, 0);
        answer.mss = mss;
        self.send_tcp(cx.host, cx.pd.af, &answer);
        self.counters.limit(super::counters::LimitCounter::SyncookiesSent);
        true
    }

    /// Takes a cookie back from an ACK: makes up the SYN it stands for, shows it to the rules, and puts the state it
    /// made where a proxied handshake with the client is complete. `Some`: the packet is done with.
    pub(super) fn cookie_back<H: Host>(
        &mut self,
        cx: &mut Cx<'_, '_, H>,
        key: &StateKey,
        slot: &mut Option<u32>,
    ) -> Option<Action> {
        if !self.may_be_cookie(cx, *slot) {
            return None;
        }
        let seg = segment_of(cx.pkt, cx.pd);
        let back = self.cookies.validate(&flow(cx), seg.seq, seg.ack)?;
        self.counters.limit(super::counters::LimitCounter::SyncookiesValid);
        let out = self.recreate(cx, &back);
        let passed = matches!(out.action, Some(Action::Pass | Action::Synproxy | Action::AfTo | Action::Divert));
        cx.nested = Some(Nested {
            action: out.action,
            reason: out.reason,
            rule: out.rule,
            anchor: out.anchor,
            state: out.state,
        });
        if !passed {
            return slot.map(|_| Action::Drop);
        }
        *slot = self.find_state(cx, key);
        let Some(found) = *slot else { return Some(Action::Drop) };
        self.change(found, |s| {
            s.src.seqhi = seg.ack.wrapping_sub(1);
            s.dst.seqhi = s.src.seqhi;
            s.src.seqlo = seg.seq.wrapping_sub(1);
            s.src.state = PeerState::PROXY_DST;
        });
        None
    }

    /// Builds the SYN of a cookie and decides about it as if it had come in.
    fn recreate<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, back: &Recreated) -> Outcome {
        let syn = Segment {
            from: (cx.pd.src, cx.pd.sport),
            to: (cx.pd.dst, cx.pd.dport),
            seq: back.seq,
            ack: 0,
            flags: SYN,
            win: back.win,
            mss: back.mss,
            ttl: cx.pd.ttl,
            generated: false,
            tag: 0,
        };
        let seen = Seen { af: cx.pd.af, dir: cx.pd.dir, forwarded: cx.pd.forwarded, iface: cx.pd.iface };
        let mut room = [0; super::send::LONGEST];
        let len = build_tcp(cx.pd.af, &syn, 0, &mut room);
        let mut pkt = Packet::whole(room.get_mut(..len).unwrap_or_default());
        self.recreating = true;
        let out = self.process(&mut pkt, &PktMeta::default(), seen, Carried::default(), &mut [], cx.host);
        self.recreating = false;
        out
    }

    /// Whether a packet looks like an operating system of a rule.
    pub(super) fn looks_like<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, os: u32) -> bool {
        let Some(main) = self.main().filter(|_| !self.prints_flushed) else { return false };
        let prints = || main.prints().iter().copied();
        let looks = match cx.looks {
            Some(l) => l,
            None => Looks::of(cx.pkt, cx.pd, prints()),
        };
        let yes = looks.like(os, prints());
        cx.looks = Some(looks);
        yes
    }
}

/// The flow of a packet, as cookies cover it.
const fn flow<H>(cx: &Cx<'_, '_, H>) -> Flow {
    Flow { af: cx.pd.af, src: cx.pd.src, dst: cx.pd.dst, sport: cx.pd.sport, dport: cx.pd.dport }
}
