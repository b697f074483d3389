//! The pcap format: one header, then records of one link type.

use std::io::Read;

use super::{CaptureError, Head, Interface, LinkType, MAX_PACKET, Order, Resolution, length, source::Source};

/// What the file header tells about every record.
pub(super) struct Header {
    order: Order,
    nanos: bool,
    /// Records carry eight more bytes (a patched libpcap of old).
    modified: bool,
}

/// Magic number as it lies in the file, and what it says: order, nanoseconds, longer records.
const MAGICS: [([u8; 4], Order, bool, bool); 6] = [
    ([0xa1, 0xb2, 0xc3, 0xd4], Order::Big, false, false),
    ([0xd4, 0xc3, 0xb2, 0xa1], Order::Little, false, false),
    ([0xa1, 0xb2, 0x3c, 0x4d], Order::Big, true, false),
    ([0x4d, 0x3c, 0xb2, 0xa1], Order::Little, true, false),
    ([0xa1, 0xb2, 0xcd, 0x34], Order::Big, false, true),
    ([0x34, 0xcd, 0xb2, 0xa1], Order::Little, false, true),
];

/// Reads the file header behind its magic number.
pub(super) fn header<R: Read>(
    magic: [u8; 4],
    source: &mut Source<R>,
    buffer: &mut Vec<u8>,
) -> Result<(Header, Interface), CaptureError> {
    let &(_, order, nanos, modified) = MAGICS
        .iter()
        .find(|(known, ..)| *known == magic)
        .ok_or_else(|| CaptureError::Magic { found: magic.to_vec() })?;
    source.read(buffer, 20, "the file header", 0)?;
    let major = order.u16(buffer, 0);
    if major != 2 {
        return Err(CaptureError::Malformed { offset: 4, what: format!("pcap version {major}, where 2 is known") });
    }
    // The upper bits of the field tell about frame check sequences.
    let link = LinkType(order.u32(buffer, 16) & 0x03ff_ffff);
    if !link.is_known() {
        return Err(CaptureError::LinkType { offset: 20, link });
    }
    let resolution = Resolution::Decimal(if nanos { 9 } else { 6 });
    let interface = Interface { name: None, link, snaplen: order.u32(buffer, 12), resolution, offset: 0 };
    Ok((Header { order, nanos, modified }, interface))
}

/// Reads the next record.
pub(super) fn packet<R: Read>(
    header: &Header,
    source: &mut Source<R>,
    buffer: &mut Vec<u8>,
) -> Result<Option<Head>, CaptureError> {
    const WHAT: &str = "a packet record";
    let offset = source.offset();
    let size = if header.modified { 24 } else { 16 };
    let have = source.read_up_to(buffer, size)?;
    if have == 0 {
        return Ok(None);
    }
    if have < size {
        return Err(CaptureError::Truncated { what: WHAT, offset, wanted: size, have, end: source.offset() });
    }
    let order = header.order;
    let (seconds, fraction) = (order.u32(buffer, 0), order.u32(buffer, 4));
    let (captured, wire_len) = (length(order.u32(buffer, 8)), order.u32(buffer, 12));
    if captured > MAX_PACKET {
        let what = format!("a packet of {captured} bytes, where at most {MAX_PACKET} are read");
        return Err(CaptureError::Malformed { offset, what });
    }
    source.read(buffer, captured, WHAT, offset)?;
    let fraction = u64::from(fraction) * if header.nanos { 1 } else { 1000 };
    let time = u64::from(seconds) * 1_000_000_000 + fraction;
    Ok(Some(Head { offset, time, interface: 0, wire_len, direction: None, data: 0..captured }))
}
