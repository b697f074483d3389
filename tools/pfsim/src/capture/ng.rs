//! The pcapng format: sections of typed blocks, each interface with its own link type and clock.

use std::io::Read;

use pfvm::rule::Direction;

use super::{
    CaptureError, Head, Interface, LinkType, MAX_BLOCK, MAX_INTERFACES, MAX_PACKET, Order, Resolution, length,
    source::Source,
};

/// First bytes of a section, the same in both byte orders.
pub(super) const SECTION_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const PACKET: u32 = 6;
const WHAT: &str = "a block";

/// The section in force.
pub(super) struct Section {
    order: Order,
}

/// Reads a section header behind its type; the block began at `offset`.
pub(super) fn section<R: Read>(
    source: &mut Source<R>,
    buffer: &mut Vec<u8>,
    offset: u64,
) -> Result<Section, CaptureError> {
    source.read(buffer, 8, "a section header", offset)?;
    let order = match buffer.get(4..8) {
        Some([0x1a, 0x2b, 0x3c, 0x4d]) => Order::Big,
        Some([0x4d, 0x3c, 0x2b, 0x1a]) => Order::Little,
        _ => {
            let what = "a section header without its byte-order mark".into();
            return Err(CaptureError::Malformed { offset, what });
        }
    };
    let total = checked_total(order.u32(buffer, 0), 28, offset)?;
    source.read(buffer, 4, "a section header", offset)?;
    let major = order.u16(buffer, 0);
    if major != 1 {
        return Err(CaptureError::Malformed { offset, what: format!("pcapng version {major}, where 1 is known") });
    }
    source.skip(total - 20, "a section header", offset)?;
    trailer(source, buffer, order, total, offset)?;
    Ok(Section { order })
}

/// Checks a block's total length: a multiple of four, at least `least`.
fn checked_total(total: u32, least: usize, offset: u64) -> Result<usize, CaptureError> {
    let total = length(total);
    if total < least || !total.is_multiple_of(4) {
        let what = format!("a block length of {total}, where a multiple of 4 from {least} is wanted");
        return Err(CaptureError::Malformed { offset, what });
    }
    Ok(total)
}

/// Reads the length that ends a block and compares it with the one that began it.
fn trailer<R: Read>(
    source: &mut Source<R>,
    buffer: &mut Vec<u8>,
    order: Order,
    total: usize,
    offset: u64,
) -> Result<(), CaptureError> {
    source.read(buffer, 4, WHAT, offset)?;
    let found = length(order.u32(buffer, 0));
    if found == total {
        return Ok(());
    }
    Err(CaptureError::Malformed { offset, what: format!("a block of {total} bytes that ends as one of {found}") })
}

/// Reads blocks up to the next packet.
pub(super) fn packet<R: Read>(
    state: &mut Section,
    source: &mut Source<R>,
    buffer: &mut Vec<u8>,
    interfaces: &mut Vec<Interface>,
) -> Result<Option<Head>, CaptureError> {
    loop {
        let offset = source.offset();
        let have = source.read_up_to(buffer, 4)?;
        if have == 0 {
            return Ok(None);
        }
        if have < 4 {
            return Err(CaptureError::Truncated { what: WHAT, offset, wanted: 12, have, end: source.offset() });
        }
        if buffer.as_slice() == SECTION_MAGIC {
            *state = section(source, buffer, offset)?;
            interfaces.clear();
            continue;
        }
        let order = state.order;
        let kind = order.u32(buffer, 0);
        source.read(buffer, 4, WHAT, offset)?;
        let total = checked_total(order.u32(buffer, 0), 12, offset)?;
        if !matches!(kind, INTERFACE | OLD_PACKET | SIMPLE_PACKET | PACKET) {
            source.skip(total - 12, WHAT, offset)?;
            trailer(source, buffer, order, total, offset)?;
            continue;
        }
        if total > MAX_BLOCK {
            let what = format!("a block of {total} bytes, where at most {MAX_BLOCK} are read");
            return Err(CaptureError::Malformed { offset, what });
        }
        // The closing length comes along: it is compared where the body ends.
        source.read(buffer, total - 8, WHAT, offset)?;
        let body = total - 12;
        let end = length(order.u32(buffer, body));
        if end != total {
            let what = format!("a block of {total} bytes that ends as one of {end}");
            return Err(CaptureError::Malformed { offset, what });
        }
        buffer.truncate(body);
        if kind == INTERFACE {
            add_interface(order, buffer, interfaces, offset)?;
            continue;
        }
        let head = match kind {
            PACKET => enhanced(order, buffer, interfaces, offset),
            SIMPLE_PACKET => simple(order, buffer, interfaces, offset),
            _ => old(order, buffer, interfaces, offset),
        }?;
        return Ok(Some(head));
    }
}

/// The options of a block from `at` on: code and value, until the end or the closing option.
fn options(order: Order, body: &[u8], at: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(at..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (code, size) = (order.u16(rest, 0), usize::from(order.u16(rest, 2)));
        if rest.len() < 4 || code == 0 {
            return None;
        }
        let value = rest.get(4..4 + size)?;
        rest = rest.get(4 + size.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

fn add_interface(order: Order, body: &[u8], interfaces: &mut Vec<Interface>, offset: u64) -> Result<(), CaptureError> {
    if body.len() < 8 {
        let what = format!("an interface block of {} bytes, where 8 are the least", body.len());
        return Err(CaptureError::Malformed { offset, what });
    }
    if interfaces.len() >= MAX_INTERFACES {
        let what = format!("more than {MAX_INTERFACES} interfaces in one section");
        return Err(CaptureError::Malformed { offset, what });
    }
    let link = LinkType(u32::from(order.u16(body, 0)));
    let mut interface =
        Interface { name: None, link, snaplen: order.u32(body, 4), resolution: Resolution::Decimal(6), offset: 0 };
    for (code, value) in options(order, body, 8) {
        match (code, value) {
            (2, name) => interface.name = Some(printable(name)),
            (9, &[exponent]) if exponent & 0x80 == 0 => {
                interface.resolution = Resolution::Decimal(u32::from(exponent));
            }
            (9, &[exponent]) => interface.resolution = Resolution::Binary(u32::from(exponent & 0x7f)),
            (14, value) if value.len() == 8 => interface.offset = order.u64(value, 0).cast_signed(),
            _ => {}
        }
    }
    interfaces.push(interface);
    Ok(())
}

/// A name of the file, without what could move a terminal's cursor.
fn printable(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.trim_end_matches('\0').chars().map(|c| if c.is_control() { '?' } else { c }).take(256).collect()
}

/// Takes the fields that packet blocks share: where the frame begins, its length and its clock.
struct Fields {
    interface: usize,
    ticks: Option<u64>,
    captured: usize,
    wire_len: u32,
    at: usize,
}

fn head(fields: &Fields, body: &[u8], interfaces: &[Interface], offset: u64) -> Result<Head, CaptureError> {
    let malformed = |what: String| Err(CaptureError::Malformed { offset, what });
    let Some(interface) = interfaces.get(fields.interface) else {
        return malformed(format!(
            "a packet of interface {}, where {} are described",
            fields.interface,
            interfaces.len()
        ));
    };
    if fields.captured > MAX_PACKET {
        return malformed(format!("a packet of {} bytes, where at most {MAX_PACKET} are read", fields.captured));
    }
    let end = fields.at.saturating_add(fields.captured);
    if end > body.len() {
        let room = body.len().saturating_sub(fields.at);
        return malformed(format!("a packet of {} bytes in a block with room for {room}", fields.captured));
    }
    let time = interface.resolution.nanos(fields.ticks.unwrap_or(0));
    let shift = interface.offset.unsigned_abs().saturating_mul(1_000_000_000);
    let time = if interface.offset < 0 { time.saturating_sub(shift) } else { time.saturating_add(shift) };
    Ok(Head {
        offset,
        time,
        interface: fields.interface,
        wire_len: fields.wire_len,
        direction: None,
        data: fields.at..end,
    })
}

fn enhanced(order: Order, body: &[u8], interfaces: &[Interface], offset: u64) -> Result<Head, CaptureError> {
    if body.len() < 20 {
        let what = format!("a packet block of {} bytes, where 20 are the least", body.len());
        return Err(CaptureError::Malformed { offset, what });
    }
    let ticks = u64::from(order.u32(body, 4)) << 32 | u64::from(order.u32(body, 8));
    let captured = length(order.u32(body, 12));
    let interface = length(order.u32(body, 0));
    let fields = Fields { interface, ticks: Some(ticks), captured, wire_len: order.u32(body, 16), at: 20 };
    let mut head = head(&fields, body, interfaces, offset)?;
    let flags =
        options(order, body, 20 + captured.next_multiple_of(4)).find(|(code, value)| *code == 2 && value.len() == 4);
    head.direction = flags.and_then(|(_, value)| direction(order.u32(value, 0)));
    Ok(head)
}

/// Direction in the flags word of a packet.
fn direction(flags: u32) -> Option<Direction> {
    match flags & 3 {
        1 => Some(Direction::In),
        2 => Some(Direction::Out),
        _ => None,
    }
}

fn simple(order: Order, body: &[u8], interfaces: &[Interface], offset: u64) -> Result<Head, CaptureError> {
    if body.len() < 4 {
        let what = format!("a simple packet block of {} bytes, where 4 are the least", body.len());
        return Err(CaptureError::Malformed { offset, what });
    }
    let wire_len = order.u32(body, 0);
    let limit = interfaces.first().map_or(0, |interface| length(interface.snaplen));
    let limit = if limit == 0 { usize::MAX } else { limit };
    let captured = length(wire_len).min(limit);
    head(&Fields { interface: 0, ticks: None, captured, wire_len, at: 4 }, body, interfaces, offset)
}

fn old(order: Order, body: &[u8], interfaces: &[Interface], offset: u64) -> Result<Head, CaptureError> {
    if body.len() < 20 {
        let what = format!("a packet block of {} bytes, where 20 are the least", body.len());
        return Err(CaptureError::Malformed { offset, what });
    }
    let ticks = u64::from(order.u32(body, 4)) << 32 | u64::from(order.u32(body, 8));
    let interface = usize::from(order.u16(body, 0));
    let captured = length(order.u32(body, 12));
    let fields = Fields { interface, ticks: Some(ticks), captured, wire_len: order.u32(body, 16), at: 20 };
    head(&fields, body, interfaces, offset)
}
