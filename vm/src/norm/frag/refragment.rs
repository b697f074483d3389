//! Forwarded IPv6 packets that were reassembled go on as fragments no longer than the longest that came.
//!
//! Source: `pf_norm.c` (`pf_refragment6`), `ip6_output.c` (`ip6_fragment`).

use super::FragTag;
use crate::packet::{Packet, proto};
use crate::wire::ipv6::FragmentHeader;
use crate::wire::{Field, Ipv6};

/// Cuts a packet into fragments under `id` and hands each to `each`, built in `room`; how many. `None`, with nothing
/// handed on, when the tag's longest fragment is below eight bytes, the tag does not fit the packet, or the room is
/// too small: the packet is dropped then. A packet that was one fragment becomes one again.
///
/// Fragments hold a multiple of eight bytes, but for the last.
pub fn refragment6(
    packet: &Packet<'_>,
    tag: &FragTag,
    id: u32,
    room: &mut [u8],
    mut each: impl FnMut(&[u8]),
) -> Option<u32> {
    let header = usize::try_from(tag.header).ok()?;
    let step = usize::try_from(tag.longest).ok()? & !7;
    let data = header.checked_add(8)?;
    let longest = data.checked_add(step)?;
    if step < 8 || header < 40 || header > packet.len() || longest > room.len() {
        return None;
    }
    let link = match usize::try_from(tag.extoff).ok()? {
        0 => 6,
        ext => ext,
    };
    let next = packet.u8(link).filter(|_| link < header)?;
    let mut count = 0_u32;
    for from in (header..packet.len()).step_by(step) {
        let len = packet.len().checked_sub(from)?.min(step);
        let end = data.checked_add(len)?;
        let out = room.get_mut(..end)?;
        if !packet.read(0, out.get_mut(..header)?) || !packet.read(from, out.get_mut(data..)?) {
            return None;
        }
        proto::FRAGMENT.put(out, link);
        let mut h = Ipv6::new_unchecked(&mut *out);
        h.set_payload_len(u16::try_from(end.checked_sub(40)?).ok()?);
        let more = from.checked_add(len)? < packet.len();
        let offset = u16::try_from(from.checked_sub(header)?).ok()?;
        let mut f = FragmentHeader::new_unchecked(out.get_mut(header..)?);
        f.set_next_header(next);
        0_u8.put(f.into_inner(), 1);
        let mut f = FragmentHeader::new_unchecked(out.get_mut(header..)?);
        f.set_offset_flags(offset | u16::from(more));
        f.set_id(id);
        each(out);
        count = count.saturating_add(1);
    }
    Some(count)
}
