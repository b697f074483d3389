//! Out-of-band data of a buffer list and the engine's facts: one table, both ways.
//!
//! | of a list | what the filter is told |
//! |---|---|
//! | send, checksum asked for | the field holds the pseudo header's sum |
//! | send, large send | that, without the length; segments; the length is the frame's |
//! | send, UDP segmentation | likewise |
//! | receive, checksum succeeded | validated |
//! | receive, checksum failed | bad: it stays bad |
//! | receive, value invalid (coalesced) | absent: computed when the packet is sent on |
//! | receive, coalesced | segments; lengths are in the headers |
//!
//! Positions count from the frame's first byte, as everywhere at the edge.

use pfdriver::edge::offload::Offload;
use pfvm::packet::{Checksum, PktMeta, Segments};

use crate::sys::code::info;
use crate::sys::list::List;

/// Bits of `NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO`.
mod bit {
    pub(super) const TX_TCP: usize = 1 << 2;
    pub(super) const TX_UDP: usize = 1 << 3;
    pub(super) const TX_IP: usize = 1 << 4;
    pub(super) const TX_IPV4: usize = 1;
    pub(super) const TX_IPV6: usize = 1 << 1;
    pub(super) const RX_TCP_FAILED: usize = 1;
    pub(super) const RX_UDP_FAILED: usize = 1 << 1;
    pub(super) const RX_IP_FAILED: usize = 1 << 2;
    pub(super) const RX_TCP_GOOD: usize = 1 << 3;
    pub(super) const RX_UDP_GOOD: usize = 1 << 4;
    pub(super) const RX_IP_GOOD: usize = 1 << 5;
    pub(super) const RX_TCP_INVALID: usize = 1 << 7;
    pub(super) const RX_IP_INVALID: usize = 1 << 8;
    /// `LsoV2Transmit.IPVersion`, `Transmit.IPVersion`.
    pub(super) const IP_VERSION: usize = 1 << 31;
}

/// `MSS`, bits 0–19.
const MSS: usize = 0x000F_FFFF;
/// `TcpHeaderOffset`, bits 20–29 of a large send.
const LSO_OFFSET: usize = 0x3FF0_0000;
/// `TcpHeaderOffset`, bits 16–25 of a checksum.
const SUM_OFFSET: usize = 0x03FF_0000;

/// The low half of a place, where all of these lie.
const fn low(value: usize) -> usize {
    value & 0xFFFF_FFFF
}

fn narrow(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// What a list on its way down says.
#[must_use]
pub fn of_send(list: &List) -> Offload {
    let sum = low(list.info(info::CHECKSUM));
    let large = low(list.info(info::LARGE_SEND));
    let uso = low(list.info(info::COALESCE_OR_USO));
    let mut meta = PktMeta::default();
    if sum & (bit::TX_TCP | bit::TX_UDP) != 0 {
        meta.l4 = Checksum::Partial;
    }
    if sum & bit::TX_IP != 0 {
        meta.ip = Checksum::Partial;
    }
    let segments = match (large & MSS, uso & MSS) {
        (0, 0) => Segments::One,
        (mss, 0) => Segments::Tcp { mss: narrow(mss) },
        (_, size) => Segments::Udp { size: narrow(size) },
    };
    if segments != Segments::One {
        meta = PktMeta { l4: Checksum::Partial, ip: Checksum::Partial, segments, length_outside: true };
    }
    Offload { meta, ..Offload::default() }
}

/// What a list on its way up says.
#[must_use]
pub fn of_receive(list: &List) -> Offload {
    let sum = low(list.info(info::CHECKSUM));
    let has = |bits: usize| sum & bits != 0;
    let l4 = if has(bit::RX_TCP_INVALID) {
        Checksum::Absent
    } else if has(bit::RX_TCP_FAILED | bit::RX_UDP_FAILED) {
        Checksum::Bad
    } else if has(bit::RX_TCP_GOOD | bit::RX_UDP_GOOD) {
        Checksum::Validated
    } else {
        Checksum::Complete
    };
    let ip = if has(bit::RX_IP_INVALID) {
        Checksum::Absent
    } else if has(bit::RX_IP_FAILED) {
        Checksum::Bad
    } else if has(bit::RX_IP_GOOD) {
        Checksum::Validated
    } else {
        Checksum::Complete
    };
    Offload { meta: PktMeta { l4, ip, ..PktMeta::default() }, ..Offload::default() }
}

/// Segments a received frame was joined of, when it was; with the length of its data the size of one is known.
#[must_use]
pub fn joined(list: &List) -> usize {
    match low(list.info(info::COALESCE_OR_USO)) & 0xFFFF {
        0 => low(list.info(info::UDP_COALESCE)) & 0xFFFF,
        n => n,
    }
}

/// Sets the out-of-band data of our own copy of a frame that still goes down: its headers moved by `by` bytes.
pub fn moved(list: &mut List, by: isize) {
    let shift = |value: usize, mask: usize, at: u32| {
        let old = value.wrapping_shr(at) & 0x3FF;
        let new = old.saturating_add_signed(by) & 0x3FF;
        (value & !mask) | new.wrapping_shl(at)
    };
    let sum = list.info(info::CHECKSUM);
    if sum & SUM_OFFSET != 0 {
        list.set_info(info::CHECKSUM, shift(sum, SUM_OFFSET, 16));
    }
    let large = list.info(info::LARGE_SEND);
    if large & LSO_OFFSET != 0 {
        list.set_info(info::LARGE_SEND, shift(large, LSO_OFFSET, 20));
    }
}

/// Changes the family in the out-of-band data of a copy on its way down.
pub fn set_family(list: &mut List, v6: bool) {
    let sum = list.info(info::CHECKSUM);
    if sum & (bit::TX_IPV4 | bit::TX_IPV6) != 0 {
        let family = if v6 { bit::TX_IPV6 } else { bit::TX_IPV4 };
        let header = if v6 { 0 } else { sum & bit::TX_IP };
        list.set_info(info::CHECKSUM, (sum & !(bit::TX_IPV4 | bit::TX_IPV6 | bit::TX_IP)) | family | header);
    }
    for place in [info::LARGE_SEND, info::COALESCE_OR_USO] {
        let value = list.info(place);
        if value & MSS != 0 {
            list.set_info(place, if v6 { value | bit::IP_VERSION } else { value & !bit::IP_VERSION });
        }
    }
}

/// A received frame was rewritten: its hash is that of another flow.
pub fn forget_hash(list: &mut List) {
    list.set_info(info::HASH_VALUE, 0);
    list.set_info(info::HASH_INFO, 0);
}
