//! TCP: flag sanity, MSS clamp, and `reassemble tcp` (TTL floor, timestamp modulation, PAWS).
//!
//! Source: `pf_norm.c` (`pf_normalize_tcp`, `pf_normalize_mss`, `pf_normalize_tcp_init`, `pf_normalize_tcp_stateful`).

use super::patch::Patch;
use crate::host::Random;
use crate::packet::tcp_flags::{ACK, FIN, PSH, RST, SYN, URG};
use crate::packet::{DropReason, L4, Packet, PacketDesc, PktMeta, TcpInfo};
use crate::rule::Af;
use crate::state::record::PeerScrub;
use crate::wire::Field;
use crate::wire::tcp::{MAX_OPTIONS, option, options_of};

/// Bits of [`PeerScrub::flags`] (`PFSS_*`).
pub mod scrub_flag {
    /// Modulates its timestamps.
    pub const TIMESTAMP: u16 = 0x01;
    /// Stands for PAWS checks.
    pub const PAWS: u16 = 0x02;
    /// Was idle too long for PAWS.
    pub const PAWS_IDLED: u16 = 0x04;
    /// Its data carry timestamps.
    pub const DATA_TS: u16 = 0x08;
    /// Its data carry none.
    pub const DATA_NOTS: u16 = 0x10;
}
use scrub_flag::{DATA_NOTS, DATA_TS, PAWS, PAWS_IDLED, TIMESTAMP};

/// Connections at least this established stand for PAWS (`TCPS_ESTABLISHED`).
const ESTABLISHED: u8 = 4;
/// Seconds of silence after which PAWS says nothing.
const MAX_IDLE: u64 = 24 * 24 * 60 * 60;
/// Seconds of a connection after which PAWS says nothing.
const MAX_CONNECTION: u64 = 12 * 24 * 60 * 60;
/// Ticks of the fastest timestamp clock a second, with a tenth of allowance.
const MAX_TICKS: u64 = 1100;
/// Microseconds one such tick is taken to be.
const TICK_MICROS: u64 = 1_000_000 / MAX_TICKS;

/// Drops segments whose flags cannot be, and clears what must be clear: FIN of a SYN, reserved bits, an urgent pointer
/// without URG (`pf_normalize_tcp`, F206). A drop has reason `normalize`, counted but not shown.
///
/// # Errors
/// The segment is dropped.
#[inline]
pub fn sanity(packet: &mut Packet<'_>, meta: &PktMeta, desc: &mut PacketDesc) -> Result<(), DropReason> {
    let L4::Tcp(mut t) = desc.l4 else { return Ok(()) };
    let flags = if t.flags & SYN != 0 { t.flags & !FIN } else { t.flags };
    let impossible = if t.flags & SYN != 0 { t.flags & RST != 0 } else { t.flags & (ACK | RST) == 0 };
    if impossible || (flags & ACK == 0 && flags & (FIN | PSH | URG) != 0) {
        return Err(DropReason::Normalize);
    }
    let stray_urgent = flags & URG == 0 && t.urgent != 0;
    if flags == t.flags && t.reserved == 0 && !stray_urgent {
        return Ok(());
    }
    let off = offset(desc);
    let mut patch = Patch::transport(packet, meta, desc);
    if flags != t.flags || t.reserved != 0 {
        patch.u8(off.saturating_add(12), (t.header >> 2) << 4, true)?;
        patch.u8(off.saturating_add(13), flags, false)?;
        (t.flags, t.reserved) = (flags, 0);
    }
    if stray_urgent {
        patch.u16(off.saturating_add(18), 0, true)?;
        t.urgent = 0;
    }
    desc.l4 = L4::Tcp(t);
    Ok(())
}

/// Whether a packet is no TCP segment, or one in the middle of a conversation that [`sanity`] leaves as it is.
#[must_use]
#[inline]
pub fn is_clean(desc: &PacketDesc) -> bool {
    let L4::Tcp(t) = desc.l4 else { return true };
    t.flags & (SYN | ACK) == ACK && t.reserved == 0 && (t.flags & URG != 0 || t.urgent == 0)
}

/// Where the transport header begins.
fn offset(desc: &PacketDesc) -> usize {
    usize::try_from(desc.off).unwrap_or(usize::MAX)
}

/// The option bytes of a segment and where they begin, when there are at least `min`.
fn options<'b>(
    packet: &Packet<'_>,
    desc: &PacketDesc,
    t: &TcpInfo,
    min: usize,
    room: &'b mut [u8; MAX_OPTIONS],
) -> Option<(&'b [u8], usize)> {
    let len = usize::from(t.header.saturating_sub(20));
    let at = offset(desc).saturating_add(20);
    let bytes = room.get_mut(..len).filter(|_| len >= min)?;
    packet.read(at, bytes).then_some((bytes, at))
}

/// Lowers every MSS option above `max` (`pf_normalize_mss`).
///
/// # Errors
/// `memory` when the options lie outside of the window.
pub fn clamp_mss(packet: &mut Packet<'_>, meta: &PktMeta, desc: &PacketDesc, max: u16) -> Result<(), DropReason> {
    let Some(t) = desc.tcp() else { return Ok(()) };
    let mut room = [0; MAX_OPTIONS];
    let Some((opts, base)) = options(packet, desc, t, 4, &mut room) else { return Ok(()) };
    let mut patch = Patch::transport(packet, meta, desc);
    for (at, _) in options_of(opts, option::MSS, 4) {
        let value = at.saturating_add(2);
        if u16::get(opts, value) > max {
            patch.u16(base.saturating_add(value), max, value % 2 == 0)?;
        }
    }
    Ok(())
}

/// Begins to remember a side at its first packet (`pf_normalize_tcp_init`).
#[must_use]
pub fn begin(packet: &Packet<'_>, desc: &PacketDesc, now_ms: u64, random: &mut impl Random) -> PeerScrub {
    let mut side =
        PeerScrub { ttl: packet.u8(ttl_at(desc.af)).unwrap_or(desc.ttl), present: true, ..PeerScrub::default() };
    let Some(t) = desc.tcp().filter(|t| t.flags & SYN != 0) else { return side };
    let mut room = [0; MAX_OPTIONS];
    let Some((opts, _)) = options(packet, desc, t, 10, &mut room) else { return side };
    for (at, _) in options_of(opts, option::TIMESTAMP, 10) {
        side.flags |= TIMESTAMP;
        side.ts_mod = random.random_u32();
        side.tsval = u32::get(opts, at.saturating_add(2));
        side.tsval0 = side.tsval;
        side.tsecr = u32::get(opts, at.saturating_add(6));
        side.last_ms = now_ms;
    }
    side
}

/// Offset of the TTL or hop limit.
const fn ttl_at(af: Af) -> usize {
    match af {
        Af::Inet => 8,
        Af::Inet6 => 7,
    }
}

/// What a connection is to [`follow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// State number of the sender (`TCPS_*`).
    pub src: u8,
    /// State number of the receiver.
    pub dst: u8,
    /// Milliseconds since the state was made.
    pub age_ms: u64,
    /// Now.
    pub now_ms: u64,
    /// `tcp.tsdiff`, seconds.
    pub ts_diff: u32,
}

/// Timestamps of the segment at hand.
#[derive(Clone, Copy)]
struct Stamp {
    value: u32,
    echo: u32,
}

/// Follows a segment of a scrubbed connection: raises and enforces the sender's TTL, modulates timestamps, holds them
/// to PAWS, remembers them (`pf_normalize_tcp_stateful`). `src` is the sender's record, `dst` the receiver's; one of
/// them may be absent.
///
/// # Errors
/// `bad-timestamp` drops the segment; `memory` when a header lies outside of the window.
pub fn follow(
    packet: &mut Packet<'_>,
    meta: &PktMeta,
    desc: &PacketDesc,
    src: &mut PeerScrub,
    dst: &mut PeerScrub,
    conn: &Connection,
) -> Result<(), DropReason> {
    let Some(t) = desc.tcp().copied() else { return Ok(()) };
    hold_ttl(packet, meta, desc, src)?;
    let stamp = modulate(packet, meta, desc, &t, src, dst)?;
    forget_idle(src, dst, conn);
    let both = src.present && dst.present && src.flags & PAWS != 0 && dst.flags & PAWS != 0;
    match stamp {
        Some(s) if both => paws(s, src, dst, conn)?,
        None if both => missing(desc, &t, src, conn)?,
        _ => {}
    }
    if src.present && desc.p_len > 0 && src.flags & (TIMESTAMP | DATA_TS | DATA_NOTS) == TIMESTAMP {
        src.flags |= if stamp.is_some() { DATA_TS } else { DATA_NOTS };
    }
    if let Some(s) = stamp {
        remember(s, src, conn.now_ms);
    }
    Ok(())
}

/// The sender's TTL never falls below the highest seen. The description keeps the one that came, as pf's does: it is what a
/// packet has that goes on in the other family.
fn hold_ttl(packet: &mut Packet<'_>, meta: &PktMeta, desc: &PacketDesc, src: &mut PeerScrub) -> Result<(), DropReason> {
    if !src.present {
        return Ok(());
    }
    let at = ttl_at(desc.af);
    let now = packet.u8(at).ok_or(DropReason::Memory)?;
    src.ttl = src.ttl.max(now);
    if now != src.ttl {
        Patch::network(packet, meta, desc.af).u8(at, src.ttl, true)?;
    }
    Ok(())
}

/// Modulates the timestamp of the sender and the echo of the receiver's; gives them as the ends know them.
fn modulate(
    packet: &mut Packet<'_>,
    meta: &PktMeta,
    desc: &PacketDesc,
    t: &TcpInfo,
    src: &PeerScrub,
    dst: &PeerScrub,
) -> Result<Option<Stamp>, DropReason> {
    let stamps = |side: &PeerScrub| side.present && side.flags & TIMESTAMP != 0;
    if !stamps(src) && !stamps(dst) {
        return Ok(None);
    }
    let mut room = [0; MAX_OPTIONS];
    let Some((opts, base)) = options(packet, desc, t, 10, &mut room) else { return Ok(None) };
    let mut patch = Patch::transport(packet, meta, desc);
    let mut found = None;
    for (at, _) in options_of(opts, option::TIMESTAMP, 10) {
        if found.is_some() {
            return Err(DropReason::BadTimestamp);
        }
        let (value_at, echo_at) = (at.saturating_add(2), at.saturating_add(6));
        let mut stamp = Stamp { value: u32::get(opts, value_at), echo: u32::get(opts, echo_at) };
        if stamp.value != 0 && stamps(src) {
            let value = stamp.value.wrapping_add(src.ts_mod);
            patch.u32(base.saturating_add(value_at), value, value_at % 2 == 0)?;
        }
        if stamp.echo != 0 && stamps(dst) {
            stamp.echo = stamp.echo.wrapping_sub(dst.ts_mod);
            patch.u32(base.saturating_add(echo_at), stamp.echo, echo_at % 2 == 0)?;
        } else {
            // pf brings an echo into its own byte order only to modulate it; another is remembered as it was sent.
            stamp.echo = stamp.echo.swap_bytes();
        }
        found = Some(stamp);
    }
    Ok(found)
}

/// Sides that were silent too long, or a connection too old, stand for PAWS no more.
fn forget_idle(src: &mut PeerScrub, dst: &mut PeerScrub, conn: &Connection) {
    let idle = |side: &PeerScrub| (conn.now_ms / 1000).saturating_sub(side.last_ms / 1000) > MAX_IDLE;
    let old = conn.age_ms / 1000 > MAX_CONNECTION;
    let (src_out, dst_out) = (idle(src) || old, idle(dst));
    for (side, out) in [(src, src_out), (dst, dst_out)] {
        if side.present && side.flags & PAWS != 0 && out {
            side.flags = (side.flags & !PAWS) | PAWS_IDLED;
        }
    }
}

/// Whether `a` comes before `b` in sequence space.
const fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) >> 31 == 1
}

/// Whether `a` comes after `b` in sequence space (`SEQ_GT`): exactly half a circle away is neither way, but before.
const fn later(a: u32, b: u32) -> bool {
    a != b && !before(a, b)
}

/// Holds a timestamp to what both sides have said before.
fn paws(s: Stamp, src: &PeerScrub, dst: &PeerScrub, conn: &Connection) -> Result<(), DropReason> {
    if conn.src < ESTABLISHED || conn.dst < ESTABLISHED {
        return Ok(());
    }
    let passed = conn.now_ms.saturating_sub(src.last_ms);
    let seconds = (passed / 1000).saturating_add(u64::from(conn.ts_diff));
    let ticks = seconds.saturating_mul(MAX_TICKS).saturating_add((passed % 1000).saturating_mul(1000) / TICK_MICROS);
    let ticks = u32::try_from(ticks & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let stale = before(s.value, dst.tsecr);
    let ahead = later(s.value, src.tsval.wrapping_add(ticks));
    let echo = s.echo != 0 && (later(s.echo, dst.tsval) || before(s.echo, dst.tsval0));
    if stale || ahead || echo { Err(DropReason::BadTimestamp) } else { Ok(()) }
}

/// Data without a timestamp from a side whose data carried them.
fn missing(desc: &PacketDesc, t: &TcpInfo, src: &PeerScrub, conn: &Connection) -> Result<(), DropReason> {
    let established = conn.src == ESTABLISHED && conn.dst == ESTABLISHED;
    let counts = t.flags & RST == 0 && (established || desc.p_len > 0 || t.flags & SYN != 0);
    if counts && desc.p_len > 0 && src.flags & DATA_TS != 0 { Err(DropReason::BadTimestamp) } else { Ok(()) }
}

/// Remembers a timestamp; once one was echoed the side stands for PAWS.
fn remember(s: Stamp, src: &mut PeerScrub, now_ms: u64) {
    if !src.present || src.flags & (PAWS_IDLED | TIMESTAMP) != TIMESTAMP {
        return;
    }
    let fresh = src.flags & PAWS == 0;
    src.last_ms = now_ms;
    if fresh || !before(s.value, src.tsval) {
        src.tsval = s.value;
    }
    if s.echo == 0 {
        return;
    }
    if fresh || !before(s.echo, src.tsecr) {
        src.tsecr = s.echo;
    }
    if fresh && (before(s.value, src.tsval0) || src.tsval0 == 0) {
        src.tsval0 = s.value;
    }
    src.flags |= PAWS;
}
