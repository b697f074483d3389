//! Out-of-band data of a buffer list and the engine's facts: one table, both ways.
//!
//! | of a list | what the filter is told |
//! |---|---|
//! | send, checksum asked for | the field holds the pseudo header's sum |
//! | send, large send | that, without the length; segments; the length is the frame's |
//! | send, UDP segmentation | likewise |
//! | receive, checksum succeeded | validated |
//! | receive, checksum failed | bad: it stays bad, whatever else is said of it |
//! | receive, value invalid (coalesced) | absent: computed when the packet is sent on |
//! | receive, coalesced | segments; lengths are in the headers |
//!
//! What leaves by another way than its card's, or in the other family, the edge finishes: then nothing is asked for.
//!
//! An 802.1Q tag that travels beside the frame is [`Offload::tag`], both ways.
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
    pub(super) const RX_TCP_FAILED: usize = 1;
    pub(super) const RX_UDP_FAILED: usize = 1 << 1;
    pub(super) const RX_IP_FAILED: usize = 1 << 2;
    pub(super) const RX_TCP_GOOD: usize = 1 << 3;
    pub(super) const RX_UDP_GOOD: usize = 1 << 4;
    pub(super) const RX_IP_GOOD: usize = 1 << 5;
    pub(super) const RX_TCP_INVALID: usize = 1 << 7;
    pub(super) const RX_IP_INVALID: usize = 1 << 8;
}

/// `MSS`, bits 0–19.
const MSS: usize = 0x000F_FFFF;
/// The low half of a place, where all of these lie.
const fn low(value: usize) -> usize {
    value & 0xFFFF_FFFF
}

fn narrow(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// `NDIS_NET_BUFFER_LIST_8021Q_INFO`: the tag beside a list's frames, as 802.1Q lays out its control information. `None`
/// for VLAN 0 without a priority, which is no tag.
fn tag(list: &List) -> Option<u16> {
    let beside = list.info(info::VLAN);
    let (prio, eligible, vlan) = (beside & 7, beside >> 3 & 1, beside >> 4 & 0x0FFF);
    let control = u16::try_from(prio << 13 | eligible << 12 | vlan).unwrap_or(0);
    (control != 0).then_some(control)
}

/// Puts a tag beside a copy's frame, or takes it away; what else stands there stays.
pub fn set_tag(list: &mut List, tag: Option<u16>) {
    let control = usize::from(tag.unwrap_or(0));
    let beside = control >> 13 & 7 | (control >> 12 & 1) << 3 | (control & 0x0FFF) << 4;
    list.set_info(info::VLAN, list.info(info::VLAN) & !0xFFFF | beside);
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
    Offload { meta, tag: tag(list), ..Offload::default() }
}

/// What a list on its way up says.
#[must_use]
pub fn of_receive(list: &List) -> Offload {
    let sum = low(list.info(info::CHECKSUM));
    let has = |bits: usize| sum & bits != 0;
    let l4 = if has(bit::RX_TCP_FAILED | bit::RX_UDP_FAILED) {
        Checksum::Bad
    } else if has(bit::RX_TCP_INVALID) {
        Checksum::Absent
    } else if has(bit::RX_TCP_GOOD | bit::RX_UDP_GOOD) {
        Checksum::Validated
    } else {
        Checksum::Complete
    };
    let ip = if has(bit::RX_IP_FAILED) {
        Checksum::Bad
    } else if has(bit::RX_IP_INVALID) {
        Checksum::Absent
    } else if has(bit::RX_IP_GOOD) {
        Checksum::Validated
    } else {
        Checksum::Complete
    };
    Offload { meta: PktMeta { l4, ip, ..PktMeta::default() }, tag: tag(list), ..Offload::default() }
}

/// What a received frame was joined of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Nothing: it is one packet.
    One,
    /// TCP segments.
    Tcp {
        /// Their number, at least two.
        count: usize,
    },
    /// UDP datagrams.
    Udp {
        /// Their number, at least two.
        count: usize,
        /// Bytes of data in each but the last; 0 when that is not said.
        size: usize,
    },
}

/// Segments a received frame was joined of.
#[must_use]
pub fn joined(list: &List) -> Joined {
    let tcp = low(list.info(info::COALESCE_OR_USO)) & 0xFFFF;
    let udp = low(list.info(info::UDP_COALESCE));
    match (tcp, udp & 0xFFFF) {
        (0 | 1, 0 | 1) => Joined::One,
        (0 | 1, count) => Joined::Udp { count, size: udp.wrapping_shr(16) & 0xFFFF },
        (count, _) => Joined::Tcp { count },
    }
}

/// A copy gets of a list that goes down what NDIS's own function is not documented to copy.
pub fn dress_sent(copy: &mut List, list: &List) {
    for place in [info::COALESCE_OR_USO, info::DELTA_OR_SUPPLEMENT] {
        copy.set_info(place, list.info(place));
    }
}

/// A copy goes on after its list went back: what the list's owner keeps for it stays with it.
pub fn outlives(copy: &mut List) {
    copy.set_info(info::MEDIA, 0);
}

/// A copy gets the like of a list that goes up, which its card has back before the copy.
pub fn dress_received(copy: &mut List, list: &List) {
    for place in [info::COALESCE_OR_USO, info::UDP_COALESCE, info::DELTA_OR_SUPPLEMENT] {
        copy.set_info(place, list.info(place));
    }
    outlives(copy);
}

/// A copy is back for which a list waited: what the card says of a large send is said of the list.
pub fn completed(list: &mut List, copy: &List) {
    if list.info(info::LARGE_SEND) != 0 {
        list.set_info(info::LARGE_SEND, copy.info(info::LARGE_SEND));
    }
}

/// A copy of a frame that owes its card nothing any more: nothing is asked for, nothing was joined.
pub fn settled(list: &mut List) {
    for place in
        [info::CHECKSUM, info::LARGE_SEND, info::COALESCE_OR_USO, info::UDP_COALESCE, info::DELTA_OR_SUPPLEMENT]
    {
        list.set_info(place, 0);
    }
}

/// A received copy became a frame of the other family: its EtherType, where one was given (network byte order).
pub fn set_frame_type(list: &mut List, v6: bool) {
    if list.info(info::FRAME_TYPE) != 0 {
        let kind: u16 = if v6 { 0x86DD } else { 0x0800 };
        list.set_info(info::FRAME_TYPE, usize::from(kind.to_be()));
    }
}

/// A received frame was rewritten: its hash is that of another flow.
pub fn forget_hash(list: &mut List) {
    list.set_info(info::HASH_VALUE, 0);
    list.set_info(info::HASH_INFO, 0);
}
