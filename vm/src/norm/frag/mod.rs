//! Fragments: reassembly of both families, and fragmenting again.
//!
//! Holds the cache of waiting fragments ([`FragCache`]), the normalisation of a packet as it enters the filter
//! ([`normalize`]) and the way back to fragments for forwarded IPv6 ([`refragment6`]). A reassembled packet is built
//! in a buffer the host lends.
//!
//! **Invariant:** nothing allocates after [`FragCache::new`]; a packet's work is bounded by the limits of one queue.
//! **Invariant:** only the headers of the first fragment are those of the datagram; what later ones say in front of
//! their data is not looked at (attacks A1, A2, A7).
//!
//! Locks: the owner's; all changes take `&mut self`.
//!
//! Source: `pf_norm.c` (`pf_normalize_ip`, `pf_normalize_ip6`, `pf_reassemble`, `pf_reassemble6`, `pf_refragment6`),
//! RFC 815, RFC 5722, RFC 6946.

mod cache;
mod queue;
mod refragment;
mod store;

pub use cache::{FragCache, FragCounters};
pub use refragment::refragment6;

use super::patch::Patch;
use crate::packet::{DropReason, Packet, PacketDesc, PktMeta};
use crate::rule::Af;
use crate::wire::{Field, FragmentHeader, Ipv4, Ipv6, ipv4};
use cache::{Arrival, FlowKey};

/// `set reassemble`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reassembly {
    /// Fragments are reassembled.
    pub on: bool,
    /// `no-df`: a fragment's "don't fragment" is cleared rather than refused; it turns reassembly on, too.
    pub no_df: bool,
    /// Timeout `frag`, seconds.
    pub timeout: u32,
}

/// What a reassembled IPv6 packet needs to be fragmented again (`struct pf_fragment_tag`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragTag {
    /// Bytes of the part that is not fragmented.
    pub header: u32,
    /// Offset of its last extension header, 0 when there is none.
    pub extoff: u32,
    /// Longest fragment, bytes of data.
    pub longest: u32,
}

/// What normalisation made of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalized {
    /// It goes on as it is.
    Pass,
    /// It waits for the rest of its datagram: no verdict, nothing counted.
    Held,
    /// The datagram is whole: it stands in the lent buffer, behind [`Packet::HEADROOM`] bytes, and must be described.
    Whole {
        /// Its length.
        len: usize,
        /// How to fragment it again, IPv6 only.
        tag: Option<FragTag>,
    },
    /// It is dropped and logged by force. Without a reason none is counted, and `match` is shown.
    Drop(Option<DropReason>),
}

/// Normalises a packet as it enters the filter: reassembles fragments, and clears of the IPv4 flags what no whole
/// packet has. `now` is in seconds; `room` takes a reassembled datagram.
#[inline]
pub fn normalize(
    cache: &mut FragCache,
    packet: &mut Packet<'_>,
    meta: &PktMeta,
    desc: &PacketDesc,
    set: &Reassembly,
    now: u32,
    room: &mut [u8],
) -> Normalized {
    if is_clean(packet, desc) {
        return Normalized::Pass;
    }
    normalize_any(cache, packet, meta, desc, set, now, room)
}

/// Whether a packet is whole and its fragmentation fields are as they should be.
#[must_use]
#[inline]
pub fn is_clean(packet: &Packet<'_>, desc: &PacketDesc) -> bool {
    match desc.af {
        Af::Inet => !desc.fragment && packet.u16(6).is_some_and(|flags| flags & !ipv4::DF == 0),
        Af::Inet6 => desc.fragoff == 0,
    }
}

/// What is not clean.
fn normalize_any(
    cache: &mut FragCache,
    packet: &mut Packet<'_>,
    meta: &PktMeta,
    desc: &PacketDesc,
    set: &Reassembly,
    now: u32,
    room: &mut [u8],
) -> Normalized {
    let done = match desc.af {
        Af::Inet => normalize4(cache, packet, meta, desc, set, now, room),
        Af::Inet6 => normalize6(cache, packet, desc, set, now, room),
    };
    done.unwrap_or_else(Normalized::Drop)
}

/// IPv4.
fn normalize4(
    cache: &mut FragCache,
    packet: &mut Packet<'_>,
    meta: &PktMeta,
    desc: &PacketDesc,
    set: &Reassembly,
    now: u32,
    room: &mut [u8],
) -> Result<Normalized, Option<DropReason>> {
    let memory = Some(DropReason::Memory);
    let flags = packet.u16(6).ok_or(memory)?;
    if !desc.fragment {
        if flags & !ipv4::DF != 0 {
            Patch::network(packet, meta, Af::Inet).u16(6, flags & ipv4::DF, true)?;
        }
        return Ok(Normalized::Pass);
    }
    if desc.frag.dont {
        if !set.no_df {
            return Err(Some(DropReason::Fragment));
        }
        Patch::network(packet, meta, Af::Inet).u16(6, flags & !ipv4::DF, true)?;
    }
    if !set.on && !set.no_df {
        return Ok(Normalized::Pass);
    }
    let header = u32::from(desc.ip_hlen);
    let arrival = Arrival {
        key: FlowKey { src: desc.src, dst: desc.dst, af: Af::Inet, proto: packet.u8(9).ok_or(memory)? },
        id: desc.frag.id,
        header,
        extoff: 0,
        off: u32::from(desc.frag.offset),
        len: desc.tot_len.saturating_sub(header),
        more: desc.frag.more,
    };
    let at = cache.queue(&arrival, packet, now, set.timeout)?;
    let Some((len, _, _)) = join(cache, at, 0, room).transpose()? else { return Ok(Normalized::Held) };
    let Some(bytes) = room.get_mut(Packet::HEADROOM..) else { return Err(memory) };
    let mut whole = Packet::whole(bytes);
    let Ok(total) = u16::try_from(len) else { return Err(Some(DropReason::Short)) };
    let h = Ipv4::new_unchecked(whole.array::<20>(0).ok_or(memory)?);
    let kept = h.flags_offset() & ipv4::DF;
    let mut patch = Patch::network(&mut whole, meta, Af::Inet);
    patch.u16(2, total, true)?;
    patch.u16(6, kept, true)?;
    Ok(Normalized::Whole { len, tag: None })
}

/// IPv6.
fn normalize6(
    cache: &mut FragCache,
    packet: &Packet<'_>,
    desc: &PacketDesc,
    set: &Reassembly,
    now: u32,
    room: &mut [u8],
) -> Result<Normalized, Option<DropReason>> {
    if desc.fragoff == 0 {
        return Ok(Normalized::Pass);
    }
    let memory = Some(DropReason::Memory);
    let header = desc.fragoff.saturating_add(8);
    let at = usize::try_from(desc.fragoff).map_err(|_| memory)?;
    let frag = FragmentHeader::new_unchecked(packet.array::<8>(at).ok_or(Some(DropReason::Short))?);
    if !set.on && !set.no_df {
        return Ok(Normalized::Pass);
    }
    let arrival = Arrival {
        // Only the first fragment's protocol counts.
        key: FlowKey { src: desc.src, dst: desc.dst, af: Af::Inet6, proto: 0 },
        id: frag.id(),
        header,
        extoff: desc.extoff,
        off: u32::from(frag.offset()),
        len: desc.tot_len.saturating_sub(header),
        more: frag.more(),
    };
    let at = cache.queue(&arrival, packet, now, set.timeout)?;
    let Some((len, headers, mut tag)) = join(cache, at, 8, room).transpose()? else { return Ok(Normalized::Held) };
    let bytes = room.get_mut(Packet::HEADROOM..).ok_or(memory)?;
    // The fragment header is gone; it named the protocol.
    let proto = tag.proto;
    let Ok(plen) = u16::try_from(len.saturating_sub(40)) else { return Err(Some(DropReason::Short)) };
    let mut h = Ipv6::new_unchecked(&mut *bytes);
    h.set_payload_len(plen);
    match usize::try_from(tag.tag.extoff) {
        Ok(0) | Err(_) => h.set_next_header(proto),
        Ok(ext) => proto.put(bytes, ext),
    }
    tag.tag.header = u32::try_from(headers).unwrap_or(u32::MAX);
    Ok(Normalized::Whole { len, tag: Some(tag.tag) })
}

/// What [`join`] found beside the bytes.
struct Joined {
    tag: FragTag,
    proto: u8,
}

/// Writes a whole datagram to the lent buffer and frees it: its length, the length of its headers without the last
/// `drop` bytes of them (the fragment header), and what else there is to know. `None` when holes are left.
#[allow(clippy::type_complexity, reason = "one caller a family")]
fn join(
    cache: &mut FragCache,
    at: u32,
    drop: usize,
    room: &mut [u8],
) -> Option<Result<(usize, usize, Joined), Option<DropReason>>> {
    let d = cache.datagrams.get(at).copied()?;
    if !d.queue.is_whole() {
        return None;
    }
    let written = write_out(cache, d.queue.first, drop, room);
    let tag = FragTag { header: 0, extoff: d.extoff, longest: d.queue.longest };
    cache.free(at);
    let memory = Some(DropReason::Memory);
    Some(written.ok_or(memory).map(|(len, headers, proto)| (len, headers, Joined { tag, proto })))
}

/// Copies headers and data of a queue: length of all, length of the headers kept, first byte of those dropped.
fn write_out(cache: &FragCache, first: u32, drop: usize, room: &mut [u8]) -> Option<(usize, usize, u8)> {
    let size = |n: u32| usize::try_from(n).ok();
    let out = room.get_mut(Packet::HEADROOM..)?;
    let head = cache.frents.get(first)?;
    let headers = size(head.header)?.checked_sub(drop)?;
    let copied = cache.store.copy(head.chain, 0, out.get_mut(..headers)?);
    let mut next_header = [0];
    let named = drop == 0 || cache.store.copy(head.chain, headers, &mut next_header);
    if !copied || !named {
        return None;
    }
    let (mut at, mut id) = (headers, first);
    for _ in 0..queue::QUEUE_LIMIT {
        let Some(e) = cache.frents.get(id) else { break };
        let end = at.checked_add(size(e.len)?)?;
        let from = size(e.header.checked_add(e.skip)?)?;
        if !cache.store.copy(e.chain, from, out.get_mut(at..end)?) {
            return None;
        }
        (at, id) = (end, e.next);
    }
    let [proto] = next_header;
    Some((at, headers, proto))
}

#[cfg(test)]
mod tests;
