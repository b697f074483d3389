//! The SYN proxy: the filter completes the handshake with the client, then with the server, then joins the two.
//!
//! A proxied state keeps the client's first number in `src.seqlo`, the filter's own towards the client in
//! `src.seqhi` and towards the server in `dst.seqhi`. Functions here decide and change the peers; they name the
//! segments to send, they do not build them.
//!
//! Source: `pf.c pf_synproxy`.

use crate::host::Random;
use crate::packet::tcp_flags::{ACK, FIN, RST, SYN};
use crate::state::record::{PeerState, StatePeer};
use crate::state::tcp::Segment;

/// A segment of the filter's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emit {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Window.
    pub win: u16,
    /// Whether it carries the MSS option.
    pub mss: bool,
    /// Whether it goes back to the sender of the segment at hand, or on to the other side.
    pub back: bool,
    /// Whether it is not filtered again.
    pub generated: bool,
    /// Whether it carries the state's tag.
    pub tagged: bool,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// The state is not proxied, or no longer: track as usual.
    Not,
    /// Dropped, reason `synproxy`.
    Drop,
    /// Taken, reason `synproxy`; these are sent.
    Taken([Option<Emit>; 2]),
    /// The client's handshake is complete: source limits are to be asked, then [`server`] continues.
    Complete,
}

const BACK: Emit = Emit { seq: 0, ack: 0, flags: 0, win: 0, mss: false, back: true, generated: true, tagged: false };

/// The answer to the first SYN.
#[must_use]
pub const fn syn_ack(own: u32, theirs: u32) -> Emit {
    Emit { seq: own, ack: theirs.wrapping_add(1), flags: SYN | ACK, mss: true, ..BACK }
}

/// A segment while the client's handshake is open.
#[must_use]
pub fn client(src: &mut StatePeer, seg: &Segment, forward: bool) -> Proxied {
    if src.state.0 != PeerState::PROXY_SRC.0 {
        return Proxied::Not;
    }
    if !forward {
        return Proxied::Taken([None; 2]);
    }
    if seg.has(SYN) {
        if seg.seq != src.seqlo {
            return Proxied::Drop;
        }
        return Proxied::Taken([Some(syn_ack(src.seqhi, seg.seq)), None]);
    }
    if seg.flags & (ACK | RST | FIN) != ACK || !answers(src, seg) {
        return Proxied::Drop;
    }
    Proxied::Complete
}

/// Whether a segment completes the client's handshake.
const fn answers(src: &StatePeer, seg: &Segment) -> bool {
    seg.ack == src.seqhi.wrapping_add(1) && seg.seq == src.seqlo.wrapping_add(1)
}

/// A segment while the server's handshake is open.
pub fn server<R: Random + ?Sized>(
    src: &mut StatePeer,
    dst: &mut StatePeer,
    seg: &Segment,
    forward: bool,
    random: &mut R,
) -> Proxied {
    if src.state.0 != PeerState::PROXY_DST.0 {
        return Proxied::Not;
    }
    if forward {
        if seg.flags & (SYN | ACK) != ACK || !answers(src, seg) {
            return Proxied::Drop;
        }
        src.max_win = seg.win.max(1);
        if dst.seqhi == 1 {
            dst.seqhi = random.random_u32();
        }
        let syn = Emit { seq: dst.seqhi, flags: SYN, mss: true, back: false, generated: false, tagged: true, ..BACK };
        return Proxied::Taken([Some(syn), None]);
    }
    if !seg.has(SYN | ACK) || seg.ack != dst.seqhi.wrapping_add(1) {
        return Proxied::Drop;
    }
    dst.max_win = seg.win.max(1);
    dst.seqlo = seg.seq;
    let to_server = Emit {
        seq: seg.ack,
        ack: seg.seq.wrapping_add(1),
        flags: ACK,
        win: src.max_win,
        generated: false,
        tagged: true,
        ..BACK
    };
    let to_client = Emit {
        seq: src.seqhi.wrapping_add(1),
        ack: src.seqlo.wrapping_add(1),
        flags: ACK,
        win: dst.max_win,
        back: false,
        ..BACK
    };
    join(src, dst);
    Proxied::Taken([Some(to_server), Some(to_client)])
}

/// From here on the two halves are one conversation with modulated numbers, unscaled.
fn join(src: &mut StatePeer, dst: &mut StatePeer) {
    src.seqdiff = dst.seqhi.wrapping_sub(src.seqlo);
    dst.seqdiff = src.seqhi.wrapping_sub(dst.seqlo);
    src.seqhi = src.seqlo.wrapping_add(u32::from(dst.max_win));
    dst.seqhi = dst.seqlo.wrapping_add(u32::from(src.max_win));
    src.wscale = 0;
    dst.wscale = 0;
    src.state = PeerState::ESTABLISHED;
    dst.state = PeerState::ESTABLISHED;
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;
    impl Random for Fixed {
        fn random_u32(&mut self) -> u32 {
            9000
        }
    }

    fn seg(flags: u8, seq: u32, ack: u32) -> Segment {
        Segment { seq, ack, win: 512, flags, len: 0, wscale: 0 }
    }

    #[test]
    fn both_handshakes_are_joined() {
        let mut c = StatePeer { seqlo: 100, seqhi: 500, state: PeerState::PROXY_SRC, ..StatePeer::default() };
        let mut s = StatePeer { seqhi: 1, max_win: 1, ..StatePeer::default() };
        assert!(matches!(client(&mut c, &seg(SYN, 100, 0), true), Proxied::Taken([Some(_), None])));
        assert_eq!(client(&mut c, &seg(SYN, 101, 0), true), Proxied::Drop);
        assert_eq!(client(&mut c, &seg(ACK, 101, 500), true), Proxied::Drop);
        assert_eq!(client(&mut c, &seg(ACK, 101, 501), true), Proxied::Complete);
        c.state = PeerState::PROXY_DST;
        let Proxied::Taken([Some(syn), None]) = server(&mut c, &mut s, &seg(ACK, 101, 501), true, &mut Fixed) else {
            panic!("no SYN")
        };
        assert_eq!((syn.seq, syn.flags, syn.back), (9000, SYN, false));
        assert_eq!(server(&mut c, &mut s, &seg(SYN | ACK, 7000, 9000), false, &mut Fixed), Proxied::Drop);
        let joined = server(&mut c, &mut s, &seg(SYN | ACK, 7000, 9001), false, &mut Fixed);
        assert!(matches!(joined, Proxied::Taken([Some(_), Some(_)])));
        assert_eq!((c.state, c.seqdiff, s.seqdiff), (PeerState::ESTABLISHED, 8900, 500_u32.wrapping_sub(7000)));
        assert_eq!(client(&mut c, &seg(ACK, 1, 1), true), Proxied::Not);
    }
}
