//! What lies under the IP packet: Ethernet with VLAN tags, Linux cooked, BSD loopback, or nothing.
//!
//! Holds one row for each link type that is read; [`network`] finds the IP packet in a frame and what the link header
//! says of direction and interface.
//! **Invariant:** no frame makes this panic; a header that is not whole is [`NotIp::Short`].

use std::fmt;
use std::ops::Range;

use pfvm::rule::{Af, Direction};

use super::Order;

/// A link type, by its number in capture files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(pub u32);

impl LinkType {
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// IPv4 or IPv6 without a header.
    pub const RAW: Self = Self(101);
    /// Linux cooked, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// Linux cooked, version 2.
    pub const LINUX_SLL2: Self = Self(276);

    /// Whether frames of this type are read.
    #[must_use]
    pub fn is_known(self) -> bool {
        row(self).is_some()
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match row(*self) {
            Some(row) => write!(f, "{} ({})", self.0, row.name),
            None => match NAMED.iter().find(|(number, _)| *number == self.0) {
                Some((number, name)) => write!(f, "{number} ({name})"),
                None => write!(f, "{}", self.0),
            },
        }
    }
}

/// Common types that carry no packet pf could judge, named so that a refusal says what the file is.
const NAMED: &[(u32, &str)] = &[
    (9, "PPP"),
    (51, "PPP over Ethernet"),
    (105, "IEEE 802.11"),
    (117, "pflog"),
    (127, "IEEE 802.11 with radiotap"),
    (147, "user-defined"),
    (189, "USB"),
    (192, "PPI"),
    (201, "Bluetooth"),
    (220, "USB"),
    (227, "CAN"),
    (249, "USBPcap"),
];

/// What a link header told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Family of the packet, by the link header or the packet's version.
    pub af: Af,
    /// Where the packet lies in the frame.
    pub packet: Range<usize>,
    /// Direction, where the link header tells.
    pub direction: Option<Direction>,
    /// Index of the interface, where the link header tells.
    pub ifindex: Option<u32>,
    /// VLAN ids, outermost first, 0 for those not there.
    pub vlans: [u16; 2],
}

/// Why a frame holds no packet for pf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NotIp {
    /// Another protocol, by its EtherType.
    EtherType(u16),
    /// An IEEE 802.3 frame with a length (spanning tree and the like).
    Llc,
    /// Another address family of BSD loopback.
    Family(u32),
    /// Neither version 4 nor 6.
    Version(u8),
    /// The frame ends inside its link header.
    Short,
    /// Frames of this type are not read.
    Link(LinkType),
}

impl fmt::Display for NotIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EtherType(0x0806) => f.write_str("ARP"),
            Self::EtherType(0x888e) => f.write_str("802.1X"),
            Self::EtherType(0x88cc) => f.write_str("LLDP"),
            Self::EtherType(0x8863) => f.write_str("PPPoE discovery"),
            Self::EtherType(0x8864) => f.write_str("PPPoE session"),
            Self::EtherType(0x8847) => f.write_str("MPLS"),
            Self::EtherType(other) => write!(f, "EtherType 0x{other:04x}"),
            Self::Llc => f.write_str("802.2 LLC"),
            Self::Family(family) => write!(f, "address family {family}"),
            Self::Version(version) => write!(f, "IP version {version}"),
            Self::Short => f.write_str("cut in the link header"),
            Self::Link(link) => write!(f, "link type {link}"),
        }
    }
}

type Decode = fn(&[u8]) -> Result<Network, NotIp>;

struct Row {
    numbers: &'static [u32],
    name: &'static str,
    decode: Decode,
}

/// The link types that are read. Raw IP has several numbers: the official one and those of old platforms.
const ROWS: &[Row] = &[
    Row { numbers: &[1], name: "Ethernet", decode: ethernet },
    Row { numbers: &[101, 12, 14, 228, 229], name: "raw IP", decode: |frame| by_version(frame, 0) },
    Row { numbers: &[113], name: "Linux cooked v1", decode: cooked },
    Row { numbers: &[276], name: "Linux cooked v2", decode: cooked2 },
    Row { numbers: &[0, 108], name: "BSD loopback", decode: loopback },
];

fn row(link: LinkType) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.numbers.contains(&link.0))
}

/// The link types that are read, as a sentence.
pub(super) fn known() -> String {
    ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ")
}

/// Finds the IP packet in `frame`.
///
/// # Errors
/// Why there is none.
pub fn network(link: LinkType, frame: &[u8]) -> Result<Network, NotIp> {
    row(link).map_or(Err(NotIp::Link(link)), |row| (row.decode)(frame))
}

fn found(frame: &[u8], at: usize, af: Af) -> Network {
    Network { af, packet: at..frame.len(), direction: None, ifindex: None, vlans: [0; 2] }
}

/// A packet without a protocol number before it.
fn by_version(frame: &[u8], at: usize) -> Result<Network, NotIp> {
    match frame.get(at).map(|first| first >> 4) {
        Some(4) => Ok(found(frame, at, Af::Inet)),
        Some(6) => Ok(found(frame, at, Af::Inet6)),
        Some(other) => Err(NotIp::Version(other)),
        None => Err(NotIp::Short),
    }
}

/// A packet behind an EtherType at `at`, with up to as many tags as fit the frame.
fn by_ethertype(frame: &[u8], mut at: usize) -> Result<Network, NotIp> {
    let mut vlans = [0; 2];
    let mut depth = 0;
    loop {
        if frame.len() < at + 2 {
            return Err(NotIp::Short);
        }
        let kind = Order::Big.u16(frame, at);
        match kind {
            0x0800 => return Ok(Network { vlans, ..found(frame, at + 2, Af::Inet) }),
            0x86dd => return Ok(Network { vlans, ..found(frame, at + 2, Af::Inet6) }),
            0x8100 | 0x88a8 | 0x9100 => {
                if frame.len() < at + 4 {
                    return Err(NotIp::Short);
                }
                if let Some(slot) = vlans.get_mut(depth) {
                    *slot = Order::Big.u16(frame, at + 2) & 0x0fff;
                }
                depth += 1;
                at += 4;
            }
            0..0x0600 => return Err(NotIp::Llc),
            other => return Err(NotIp::EtherType(other)),
        }
    }
}

fn ethernet(frame: &[u8]) -> Result<Network, NotIp> {
    by_ethertype(frame, 12)
}

/// The packet type both cooked headers carry: 4 is sent by this host.
fn cooked_direction(kind: u16) -> Option<Direction> {
    match kind {
        4 => Some(Direction::Out),
        0..=3 => Some(Direction::In),
        _ => None,
    }
}

fn cooked(frame: &[u8]) -> Result<Network, NotIp> {
    if frame.len() < 16 {
        return Err(NotIp::Short);
    }
    let direction = cooked_direction(Order::Big.u16(frame, 0));
    Ok(Network { direction, ..by_ethertype(frame, 14)? })
}

fn cooked2(frame: &[u8]) -> Result<Network, NotIp> {
    if frame.len() < 20 {
        return Err(NotIp::Short);
    }
    let direction = frame.get(10).and_then(|kind| cooked_direction(u16::from(*kind)));
    let ifindex = Some(Order::Big.u32(frame, 4));
    let network = match Order::Big.u16(frame, 0) {
        0x0800 => found(frame, 20, Af::Inet),
        0x86dd => found(frame, 20, Af::Inet6),
        // Tags stay in the data: the tag's second half and the next type follow the header.
        0x8100 | 0x88a8 | 0x9100 if frame.len() >= 24 => by_ethertype(frame, 22)?,
        0..0x0600 => return Err(NotIp::Llc),
        other => return Err(NotIp::EtherType(other)),
    };
    Ok(Network { direction, ifindex, ..network })
}

/// Four bytes of address family in the capturing host's order; the packet's version settles what it is.
fn loopback(frame: &[u8]) -> Result<Network, NotIp> {
    if frame.len() < 4 {
        return Err(NotIp::Short);
    }
    let families = [Order::Little.u32(frame, 0), Order::Big.u32(frame, 0)];
    let is = |wanted: &[u32]| families.iter().any(|family| wanted.contains(family));
    if is(&[2]) {
        Ok(found(frame, 4, Af::Inet))
    } else if is(&[10, 24, 28, 30]) {
        Ok(found(frame, 4, Af::Inet6))
    } else {
        Err(NotIp::Family(families.into_iter().min().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn ethernet_with_two_tags() {
        let bytes = frame(&[&[0; 12], &[0x88, 0xa8, 0, 7], &[0x81, 0, 0x20, 9], &[0x08, 0], &[0x45, 0, 0, 20]]);
        let network = network(LinkType::ETHERNET, &bytes).unwrap();
        assert_eq!((network.af, network.packet, network.vlans), (Af::Inet, 22..26, [7, 9]));
    }

    #[test]
    fn cooked_headers_tell_direction_and_interface() {
        let v1 = frame(&[&[0, 4, 0, 1, 0, 6], &[0; 8], &[0x86, 0xdd], &[0x60]]);
        let got = network(LinkType::LINUX_SLL, &v1).unwrap();
        assert_eq!((got.af, got.direction, got.packet), (Af::Inet6, Some(Direction::Out), 16..17));
        let v2 = frame(&[&[0x08, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6], &[0; 8], &[0x45]]);
        let got = network(LinkType::LINUX_SLL2, &v2).unwrap();
        assert_eq!((got.ifindex, got.direction, got.packet), (Some(3), Some(Direction::In), 20..21));
    }

    #[test]
    fn raw_and_loopback() {
        assert_eq!(network(LinkType::RAW, &[0x60]).unwrap().af, Af::Inet6);
        assert_eq!(network(LinkType::RAW, &[0x50]), Err(NotIp::Version(5)));
        assert_eq!(network(LinkType(0), &[30, 0, 0, 0, 0x60]).unwrap().packet, 4..5);
        assert_eq!(network(LinkType(108), &[0, 0, 0, 2, 0x45]).unwrap().af, Af::Inet);
    }

    #[test]
    fn frames_without_a_packet_say_what_they_are() {
        let arp = frame(&[&[0; 12], &[0x08, 0x06], &[0; 28]]);
        assert_eq!(network(LinkType::ETHERNET, &arp).unwrap_err().to_string(), "ARP");
        let stp = frame(&[&[0; 12], &[0, 38], &[0x42; 38]]);
        assert_eq!(network(LinkType::ETHERNET, &stp), Err(NotIp::Llc));
        assert_eq!(network(LinkType(105), &[]).unwrap_err().to_string(), "link type 105 (IEEE 802.11)");
    }

    #[test]
    fn every_prefix_of_a_frame_is_answered() {
        let bytes = frame(&[&[0; 12], &[0x81, 0, 0, 1], &[0x08, 0], &[0x45; 20]]);
        for row in ROWS {
            for number in row.numbers {
                for end in 0..bytes.len() {
                    let _ = network(LinkType(*number), &bytes[..end]);
                }
            }
        }
        assert_eq!(network(LinkType::ETHERNET, &bytes[..17]), Err(NotIp::Short));
    }
}
