//! TCP tracking: does a segment fit what the state has seen, and what does it change.
//!
//! The windows are Guido van Rooij's: a segment fits when it lies inside what its receiver offered and acknowledges
//! something its receiver sent. All functions work on the two peers and a [`Segment`]; none touches a packet. The
//! caller strings them together in this order, as `pf.c pf_tcp_track_full` does:
//! [`observe`] → [`judge`] → (timestamps) → [`slide`] → [`advance`] → [`reset`] → [`timeout`].
//!
//! **Invariant:** a segment that [`judge`] refuses changes nothing but what [`observe`] learnt from a first segment.

use crate::host::Random;
use crate::packet::tcp_flags::{ACK, FIN, RST, SYN};
use crate::rule::Timeout;
use crate::state::record::{PeerState, StatePeer, WSCALE_FLAG};

/// How far an acknowledgement may lie outside the window: 0xffff, and one full-sized packet for luck.
const MAX_ACK_WINDOW: i32 = 0xffff + 1500;

/// What tracking needs of a TCP segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number, as on the wire.
    pub seq: u32,
    /// Acknowledgement number, as on the wire.
    pub ack: u32,
    /// Window, as on the wire.
    pub win: u16,
    /// Flags.
    pub flags: u8,
    /// Bytes of payload.
    pub len: u32,
    /// Window scale option and [`WSCALE_FLAG`]; 0 when absent. Read of SYNs only.
    pub wscale: u8,
}

impl Segment {
    /// Whether all of `mask` is set.
    #[must_use]
    #[inline]
    pub const fn has(&self, mask: u8) -> bool {
        self.flags & mask == mask
    }

    /// A SYN that is no answer.
    #[must_use]
    #[inline]
    pub const fn opens(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }
}

/// `a >= b` on the sequence circle.
#[must_use]
#[inline]
pub const fn seq_geq(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() >= 0
}

/// `a > b` on the sequence circle.
#[must_use]
#[inline]
pub const fn seq_gt(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

/// New sequence and acknowledgement numbers for the header (modulation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Sequence number to write.
    pub seq: u32,
    /// Acknowledgement number to write.
    pub ack: u32,
}

/// The numbers a segment is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Sequence number as sent.
    pub orig_seq: u32,
    /// Sequence number the check uses (that of the state for empty segments).
    pub seq: u32,
    /// Acknowledgement in the numbers of the side it acknowledges.
    pub ack: u32,
    /// Sequence after the segment, SYN and FIN counted.
    pub end: u32,
    /// Sequence after its data, FIN not counted.
    pub data_end: u32,
    /// Window, unscaled.
    pub win: u32,
    /// The sender's window shift that applies.
    pub sws: u32,
    /// The receiver's window shift that applies.
    pub dws: u32,
    /// How far behind what the receiver sent the acknowledgement is.
    pub ackskew: i32,
}

/// The first and last window and progress a new state starts with (`pf.c pf_create_state`). `seqdiff` is set by the
/// caller when it modulates.
#[must_use]
pub fn open(seg: &Segment) -> (StatePeer, StatePeer) {
    let mut src = StatePeer { seqlo: seg.seq, max_win: seg.win.max(1), ..StatePeer::default() };
    src.seqhi = seg.seq.wrapping_add(seg.len).wrapping_add(1);
    if seg.has(SYN) {
        src.seqhi = src.seqhi.wrapping_add(1);
        src.wscale = seg.wscale;
    }
    if src.shift() != 0 {
        src.max_win = unscale(u32::from(src.max_win), src.shift());
    }
    if seg.has(FIN) {
        src.seqhi = src.seqhi.wrapping_add(1);
    }
    src.state = PeerState::SYN_SENT;
    (src, StatePeer { seqhi: 1, max_win: 1, ..StatePeer::default() })
}

/// A window of a SYN in units of its own scale, rounded up.
fn unscale(win: u32, shift: u32) -> u16 {
    let round = 1_u32.checked_shl(shift).unwrap_or(0).wrapping_sub(1);
    u16::try_from(win.wrapping_add(round).checked_shr(shift).unwrap_or(0)).unwrap_or(u16::MAX)
}

/// `win << shift`, at least 1.
#[inline]
fn offered(win: u32, shift: u32) -> u32 {
    win.checked_shl(shift).unwrap_or(u32::MAX).max(1)
}

/// First part: learns from the first segment of a side, undoes and applies modulation, and works out the numbers.
#[inline(always)]
pub fn observe<R: Random + ?Sized>(
    src: &mut StatePeer,
    dst: &mut StatePeer,
    seg: &Segment,
    random: &mut R,
) -> (Seen, Option<Patch>) {
    let (mut sws, mut dws) = (0, 0);
    if src.wscale != 0 && dst.wscale != 0 && !seg.has(SYN) {
        (sws, dws) = (src.shift(), dst.shift());
    }
    let mut win = u32::from(seg.win);
    let mut patch = None;
    let mut ack = seg.ack.wrapping_sub(dst.seqdiff);
    let mut end = seg.seq.wrapping_add(seg.len);
    if seg.has(SYN) {
        end = end.wrapping_add(1);
    }
    let first = src.seqlo == 0;
    if first {
        if dst.seqdiff != 0 && src.seqdiff == 0 {
            // The server's numbers are modulated from its first segment on.
            src.seqdiff = random.random_u32().wrapping_sub(seg.seq);
            if src.seqdiff == 0 {
                src.seqdiff = 1;
            }
            patch = Some(Patch { seq: seg.seq.wrapping_add(src.seqdiff), ack });
        } else {
            ack = seg.ack;
        }
        if seg.has(SYN) && dst.wscale & WSCALE_FLAG != 0 {
            src.wscale = seg.wscale;
            if src.wscale & WSCALE_FLAG != 0 {
                sws = src.shift();
                win = u32::from(unscale(win, sws));
                dws = dst.shift();
            } else {
                // The answer does not scale: the other window counts in bytes again.
                let whole = u32::from(dst.max_win).checked_shl(dst.shift()).unwrap_or(u32::MAX);
                dst.max_win = u16::try_from(whole).unwrap_or(u16::MAX);
                dst.wscale = 0;
            }
        }
    } else if src.seqdiff != 0 {
        patch = Some(Patch { seq: seg.seq.wrapping_add(src.seqdiff), ack });
    }
    let mut data_end = end;
    if seg.has(FIN) {
        end = end.wrapping_add(1);
    }
    if first {
        src.seqlo = seg.seq;
        if src.state < PeerState::SYN_SENT {
            src.state = PeerState::SYN_SENT;
        }
        // The window may have been set by a loose match, or the conversation was picked up in the middle.
        let allowed = end.wrapping_add(offered(u32::from(dst.max_win), dws));
        if src.seqhi == 1 || seq_geq(allowed, src.seqhi) {
            src.seqhi = allowed;
        }
        src.max_win = src.max_win.max(u16::try_from(win).unwrap_or(u16::MAX));
    }
    if !seg.has(ACK) || (ack == 0 && seg.has(ACK | RST)) || dst.state < PeerState::SYN_SENT {
        // Nothing acknowledged, a stack that leaves it zero in a reset, or nobody there to be acknowledged.
        ack = dst.seqlo;
    }
    let mut seq = seg.seq;
    if seq == end {
        // An empty segment is as good as one at the right place: keep-alives, window updates.
        seq = src.seqlo;
        end = seq;
        data_end = seq;
    }
    let ackskew = dst.seqlo.wrapping_sub(ack).cast_signed();
    (Seen { orig_seq: seg.seq, seq, ack, end, data_end, win, sws, dws, ackskew }, patch)
}

/// How a segment fits its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Inside the windows.
    Window,
    /// Near enough while nobody answered yet, or after the close. Keeps the state alive no longer.
    Loose,
    /// Not at all. Drop it, reason `state-mismatch`.
    No,
}

/// Second part: judges a segment. Resets must hit the expected number or its neighbours, or acknowledge exactly.
#[must_use]
#[inline(always)]
pub fn judge(src: &StatePeer, dst: &StatePeer, seg: &Segment, s: &Seen) -> Fit {
    let behind = src.seqlo.wrapping_sub(u32::from(dst.max_win).checked_shl(s.dws).unwrap_or(u32::MAX));
    let back = MAX_ACK_WINDOW.checked_shl(s.sws).unwrap_or(i32::MAX);
    if seq_geq(src.seqhi, s.data_end)
        && seq_geq(s.seq, behind)
        && s.ackskew >= MAX_ACK_WINDOW.wrapping_neg()
        && s.ackskew <= back
        && (!seg.has(RST) || reset_fits(src, behind, seg, s))
    {
        return Fit::Window;
    }
    let near = MAX_ACK_WINDOW.cast_unsigned();
    let unsure =
        dst.state < PeerState::SYN_SENT || dst.state >= PeerState::FIN_WAIT_2 || src.state >= PeerState::FIN_WAIT_2;
    if unsure && seq_geq(src.seqhi.wrapping_add(near), s.data_end) && seq_geq(s.seq, src.seqlo.wrapping_sub(near)) {
        return Fit::Loose;
    }
    Fit::No
}

/// The rule for RST segments.
fn reset_fits(src: &StatePeer, behind: u32, seg: &Segment, s: &Seen) -> bool {
    let next = src.seqlo.wrapping_add(1);
    s.orig_seq == src.seqlo
        || s.orig_seq == next
        || s.orig_seq.wrapping_add(1) == src.seqlo
        || (seq_geq(s.orig_seq, behind) && seq_geq(next, s.orig_seq) && s.ackskew == 0 && seg.has(ACK | RST))
}

/// Third part, of segments that fit: moves the windows.
#[inline(always)]
pub fn slide(src: &mut StatePeer, dst: &mut StatePeer, s: &Seen) {
    src.max_win = src.max_win.max(u16::try_from(s.win).unwrap_or(u16::MAX));
    if seq_gt(s.end, src.seqlo) {
        src.seqlo = s.end;
    }
    let win = s.win.checked_shl(s.sws).unwrap_or(u32::MAX);
    if seq_geq(s.ack.wrapping_add(win), dst.seqhi) {
        dst.seqhi = s.ack.wrapping_add(win.max(1));
    }
}

/// What a segment refused during the handshake does to its sender (`pf.c`: a reset is sent for it).
pub fn forget(src: &mut StatePeer) {
    src.seqlo = 0;
    src.seqhi = 1;
    src.max_win = 1;
}

/// How much of the transition table applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A segment inside the windows.
    Full,
    /// A loose match: only closing counts.
    Loose,
    /// `sloppy`: half of the conversation may be all that is seen.
    Sloppy,
}

/// Who moves in a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Sender,
    Receiver,
    Both,
}

/// One transition: a flag, what must hold, who moves where, and why.
struct Transition {
    flag: u8,
    modes: &'static [Mode],
    when: fn(&StatePeer, &StatePeer) -> bool,
    who: Who,
    to: PeerState,
    /// Whether this may complete a connection, which source limits count.
    completes: Completes,
    #[allow(dead_code, reason = "read by people and by the test that wants every row explained")]
    why: &'static str,
}

/// Whether a transition makes a connection complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completes {
    No,
    /// When the sender stands at `ESTABLISHED` too.
    IfSender,
    Yes,
}

/// Transitions by flag. Rows of one flag exclude each other: the first whose condition holds is taken.
const TRANSITIONS: &[Transition] = &[
    Transition {
        flag: SYN,
        modes: &[Mode::Full, Mode::Sloppy],
        when: |s, _| s.state < PeerState::SYN_SENT,
        who: Who::Sender,
        to: PeerState::SYN_SENT,
        completes: Completes::No,
        why: "the side announces its first number",
    },
    Transition {
        flag: FIN,
        modes: &[Mode::Full, Mode::Loose, Mode::Sloppy],
        when: |s, _| s.state < PeerState::CLOSING,
        who: Who::Sender,
        to: PeerState::CLOSING,
        completes: Completes::No,
        why: "the side sends no more",
    },
    Transition {
        flag: ACK,
        modes: &[Mode::Full, Mode::Sloppy],
        when: |_, d| d.state.0 == PeerState::SYN_SENT.0,
        who: Who::Receiver,
        to: PeerState::ESTABLISHED,
        completes: Completes::IfSender,
        why: "its SYN is acknowledged",
    },
    Transition {
        flag: ACK,
        modes: &[Mode::Full, Mode::Sloppy],
        when: |_, d| d.state.0 == PeerState::CLOSING.0,
        who: Who::Receiver,
        to: PeerState::FIN_WAIT_2,
        completes: Completes::No,
        why: "its FIN is acknowledged",
    },
    Transition {
        flag: ACK,
        modes: &[Mode::Sloppy],
        when: |s, d| s.state.0 == PeerState::SYN_SENT.0 && d.state < PeerState::SYN_SENT,
        who: Who::Both,
        to: PeerState::ESTABLISHED,
        completes: Completes::Yes,
        why: "an ACK after the SYN and no packet of the other side: only one half is seen",
    },
    Transition {
        flag: ACK,
        modes: &[Mode::Sloppy],
        when: |s, d| s.state.0 == PeerState::CLOSING.0 && d.state.0 == PeerState::ESTABLISHED.0 && d.seqlo == 0,
        who: Who::Receiver,
        to: PeerState::CLOSING,
        completes: Completes::No,
        why: "the half that is seen goes on after its FIN: the other has closed",
    },
];

/// Fourth part: moves both sides by SYN, FIN and ACK. `true` when the connection became complete with this segment,
/// which is when source limits count it; a caller that then drops stops here.
#[must_use]
pub fn advance(src: &mut StatePeer, dst: &mut StatePeer, flags: u8, mode: Mode) -> bool {
    let mut complete = false;
    for flag in [SYN, FIN, ACK] {
        if flags & flag == 0 {
            continue;
        }
        let row = TRANSITIONS.iter().find(|t| t.flag == flag && t.modes.contains(&mode) && (t.when)(src, dst));
        let Some(t) = row else { continue };
        match t.who {
            Who::Sender => src.state = t.to,
            Who::Receiver => dst.state = t.to,
            Who::Both => {
                src.state = t.to;
                dst.state = t.to;
            }
        }
        complete |= match t.completes {
            Completes::No => false,
            Completes::IfSender => src.state.0 == PeerState::ESTABLISHED.0,
            Completes::Yes => true,
        };
    }
    complete
}

/// Fifth part: a reset ends both sides.
pub const fn reset(src: &mut StatePeer, dst: &mut StatePeer, flags: u8) {
    if flags & RST != 0 {
        src.state = PeerState::TIME_WAIT;
        dst.state = PeerState::TIME_WAIT;
    }
}

/// One row of the timeouts: the first whose condition holds is taken.
struct TimeoutRow {
    when: fn(PeerState, PeerState) -> bool,
    timeout: Timeout,
    #[allow(dead_code, reason = "read by people and by the test that wants every row explained")]
    why: &'static str,
}

const TIMEOUTS: &[TimeoutRow] = &[
    TimeoutRow {
        when: |a, b| a >= PeerState::FIN_WAIT_2 && b >= PeerState::FIN_WAIT_2,
        timeout: Timeout::TcpClosed,
        why: "both FINs acknowledged, or reset: kept for stray segments only",
    },
    TimeoutRow {
        when: |a, b| a >= PeerState::CLOSING && b >= PeerState::CLOSING,
        timeout: Timeout::TcpFinWait,
        why: "both sides sent FIN, an acknowledgement is due",
    },
    TimeoutRow {
        when: |a, b| a < PeerState::ESTABLISHED || b < PeerState::ESTABLISHED,
        timeout: Timeout::TcpOpening,
        why: "the handshake is not complete",
    },
    TimeoutRow {
        when: |a, b| a >= PeerState::CLOSING || b >= PeerState::CLOSING,
        timeout: Timeout::TcpClosing,
        why: "one side sent FIN, the other may go on",
    },
    TimeoutRow { when: |_, _| true, timeout: Timeout::TcpEstablished, why: "both sides speak" },
];

/// Last part: what the state waits for now.
#[must_use]
pub fn timeout(src: PeerState, dst: PeerState) -> Timeout {
    TIMEOUTS.iter().find(|r| (r.when)(src, dst)).map_or(Timeout::TcpEstablished, |r| r.timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u32);
    impl Random for Fixed {
        fn random_u32(&mut self) -> u32 {
            self.0
        }
    }

    fn seg(flags: u8, seq: u32, ack: u32, len: u32, win: u16) -> Segment {
        Segment { seq, ack, win, flags, len, wscale: 0 }
    }

    /// Plays one segment against the two peers and says how it fitted.
    fn play(src: &mut StatePeer, dst: &mut StatePeer, s: &Segment) -> Fit {
        let (seen, _) = observe(src, dst, s, &mut Fixed(7));
        let fit = judge(src, dst, s, &seen);
        if fit != Fit::No {
            slide(src, dst, &seen);
            let mode = if fit == Fit::Window { Mode::Full } else { Mode::Loose };
            let _ = advance(src, dst, s.flags, mode);
            reset(src, dst, s.flags);
        }
        fit
    }

    fn established() -> (StatePeer, StatePeer) {
        let (mut c, mut s) = open(&seg(SYN, 1000, 0, 0, 8192));
        assert_eq!(play(&mut s, &mut c, &seg(SYN | ACK, 5000, 1001, 0, 4096)), Fit::Window);
        assert_eq!(play(&mut c, &mut s, &seg(ACK, 1001, 5001, 0, 8192)), Fit::Window);
        assert_eq!((c.state, s.state), (PeerState::ESTABLISHED, PeerState::ESTABLISHED));
        (c, s)
    }

    #[test]
    fn a_handshake_establishes() {
        let (c, s) = established();
        assert_eq!(timeout(c.state, s.state), Timeout::TcpEstablished);
        // An empty ACK does not move the number: the SYN's own stays until data come.
        assert_eq!((c.seqlo, s.seqlo), (1000, 5001));
        assert_eq!(c.seqhi, 1001 + 4096);
    }

    #[test]
    fn the_close_walks_through_all_timeouts() {
        let (mut c, mut s) = established();
        assert_eq!(play(&mut c, &mut s, &seg(FIN | ACK, 1001, 5001, 0, 8192)), Fit::Window);
        assert_eq!(timeout(c.state, s.state), Timeout::TcpClosing);
        assert_eq!(play(&mut s, &mut c, &seg(FIN | ACK, 5001, 1002, 0, 4096)), Fit::Window);
        assert_eq!(timeout(c.state, s.state), Timeout::TcpFinWait);
        assert_eq!(play(&mut c, &mut s, &seg(ACK, 1002, 5002, 0, 8192)), Fit::Window);
        assert_eq!(timeout(c.state, s.state), Timeout::TcpClosed);
    }

    #[test]
    fn data_beyond_the_offered_window_is_refused() {
        let (mut c, mut s) = established();
        assert_eq!(play(&mut c, &mut s, &seg(ACK, 1001 + 4096, 5001, 1, 8192)), Fit::No);
        assert_eq!(play(&mut c, &mut s, &seg(ACK, 1001, 5001, 4096, 8192)), Fit::Window);
    }

    #[test]
    fn resets_need_the_exact_number() {
        for (seq, flags, fit) in [
            (1000, RST, Fit::Window),
            (1001, RST, Fit::Window),
            (999, RST, Fit::Window),
            (1100, RST, Fit::No),
            (990, RST, Fit::No),
            (990, RST | ACK, Fit::Window),
            (1100, RST | ACK, Fit::No),
        ] {
            let (mut c, mut s) = established();
            assert_eq!(play(&mut c, &mut s, &seg(flags, seq, 5001, 0, 0)), fit, "{seq} {flags}");
        }
    }

    #[test]
    fn modulation_is_undone_on_the_way_back() {
        let (mut c, mut s) = open(&seg(SYN, 1000, 0, 0, 8192));
        c.seqdiff = 100;
        let (_, p) = observe(&mut s, &mut c, &seg(SYN | ACK, 5000, 1101, 0, 4096), &mut Fixed(5007));
        assert_eq!(p, Some(Patch { seq: 5007, ack: 1001 }));
        let (seen, p) = observe(&mut c, &mut s, &seg(ACK, 1001, 5008, 0, 8192), &mut Fixed(0));
        assert_eq!(p, Some(Patch { seq: 1101, ack: 5001 }));
        assert_eq!(seen.ack, 5001);
    }

    #[test]
    fn scaling_needs_both_sides() {
        let syn = Segment { wscale: WSCALE_FLAG | 3, ..seg(SYN, 1000, 0, 0, 8192) };
        let (mut c, mut s) = open(&syn);
        assert_eq!(c.max_win, 1024);
        let _ = play(&mut s, &mut c, &seg(SYN | ACK, 5000, 1001, 0, 4096));
        assert_eq!((c.wscale, c.max_win), (0, 8192));
        let (mut c, mut s) = open(&syn);
        let answer = Segment { wscale: WSCALE_FLAG | 2, ..seg(SYN | ACK, 5000, 1001, 0, 4096) };
        let _ = play(&mut s, &mut c, &answer);
        assert_eq!((c.shift(), s.shift(), s.max_win), (3, 2, 1024));
    }

    #[test]
    fn every_row_says_why() {
        assert!(TRANSITIONS.iter().all(|t| t.why.len() > 10));
        assert!(TIMEOUTS.iter().all(|t| t.why.len() > 10));
    }
}
