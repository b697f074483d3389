//! ICMP messages in the other family (RFC 6145 §4.2, §5.2, as pf has them).
//!
//! Source: OpenBSD 7.8 `sys/net/pf.c` (`pf_translate_icmp_af`).

use super::rewrite::Edit;
use crate::packet::proto;
use crate::rule::Af;

/// What differs between the two headers: IPv6 has 20 bytes more.
const HEADER_DIFFERENCE: u32 = 20;

/// The protocol number of ICMP in the other family; other protocols have one number.
#[must_use]
pub const fn other(protocol: u8) -> u8 {
    match protocol {
        proto::ICMP => proto::ICMPV6,
        proto::ICMPV6 => proto::ICMP,
        p => p,
    }
}

/// A message of the other family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    kind: u8,
    code: u8,
    /// Change of the MTU field.
    mtu: Mtu,
    /// New pointer to the offending byte.
    pointer: Option<u8>,
}

/// What becomes of the MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mtu {
    Same,
    Smaller,
    Larger,
}

impl Message {
    const fn new(kind: u8, code: u8) -> Option<Self> {
        Some(Self { kind, code, mtu: Mtu::Same, pointer: None })
    }
}

/// ICMPv6 to ICMP. `pointer` is the whole 32-bit field of a parameter problem.
fn to_v4(kind: u8, code: u8, pointer: u32) -> Option<Message> {
    match (kind, code) {
        (128, c) => Message::new(8, c),
        (129, c) => Message::new(0, c),
        (1, 0 | 2 | 3) => Message::new(3, 1),
        (1, 1) => Message::new(3, 10),
        (1, 4) => Message::new(3, 3),
        (2, _) => Some(Message { kind: 3, code: 4, mtu: Mtu::Smaller, pointer: None }),
        (3, c) => Message::new(11, c),
        (4, 0) => {
            let pointer = match pointer {
                0 => 0,
                1 => 1,
                4 | 5 => 2,
                6 => 9,
                7 => 8,
                8..=23 => 12,
                24..=39 => 16,
                _ => return None,
            };
            Some(Message { kind: 12, code: 0, mtu: Mtu::Same, pointer: Some(pointer) })
        }
        (4, 1) => Message::new(3, 2),
        _ => None,
    }
}

/// ICMP to ICMPv6. `pointer` is the first byte of the field.
fn to_v6(kind: u8, code: u8, pointer: u8) -> Option<Message> {
    match (kind, code) {
        (8, c) => Message::new(128, c),
        (0, c) => Message::new(129, c),
        (3, 0 | 1 | 6 | 7 | 8 | 11 | 12) => Message::new(1, 0),
        (3, 3) => Message::new(1, 4),
        (3, 9 | 10 | 13 | 15) => Message::new(1, 1),
        (3, 2) => Some(Message { kind: 4, code: 1, mtu: Mtu::Same, pointer: Some(6) }),
        (3, 4) => Some(Message { kind: 2, code: 0, mtu: Mtu::Larger, pointer: None }),
        (11, c) => Message::new(3, c),
        (12, 0 | 2) => {
            let pointer = match pointer {
                p @ (0 | 1) => p,
                2 | 3 => 4,
                8 => 7,
                9 => 6,
                12..=15 => 8,
                16..=19 => 24,
                _ => return None,
            };
            Some(Message { kind: 4, code: 0, mtu: Mtu::Same, pointer: Some(pointer) })
        }
        _ => None,
    }
}

/// Turns the ICMP header at `off` into one of family `naf`, under the checksum of the packet being edited. `false`,
/// with nothing changed, when the message has no counterpart.
#[must_use]
pub fn translate(e: &mut Edit<'_, '_>, off: usize, naf: Af) -> bool {
    let Some([kind, code, _, _, p0, p1, m0, m1]) = e.packet().array::<8>(off) else { return false };
    let field = u32::from_be_bytes([p0, p1, m0, m1]);
    let rest = off.saturating_add(4);
    let message = match naf {
        Af::Inet => to_v4(kind, code, field),
        Af::Inet6 => to_v6(kind, code, p0),
    };
    let Some(m) = message else { return false };
    e.patch8(off, m.kind, true);
    e.patch8(off.saturating_add(1), m.code, false);
    match naf {
        Af::Inet => {
            let mtu = if m.mtu == Mtu::Smaller { field.wrapping_sub(HEADER_DIFFERENCE) } else { field };
            e.patch32(rest, mtu);
            if let Some(p) = m.pointer {
                e.patch32(rest, u32::from_be_bytes([p, 0, 0, 0]));
            }
        }
        Af::Inet6 => {
            let mtu = u16::from_be_bytes([m0, m1]);
            let mtu = if m.mtu == Mtu::Larger { mtu.wrapping_add(20) } else { mtu };
            e.patch16(rest.saturating_add(2), mtu);
            if let Some(p) = m.pointer {
                e.patch32(rest, u32::from(p));
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_their_counterparts() {
        let plain = |m: Option<Message>| m.map(|m| (m.kind, m.code, m.pointer));
        assert_eq!(plain(to_v4(128, 0, 0)), Some((8, 0, None)));
        assert_eq!(plain(to_v4(129, 0, 0)), Some((0, 0, None)));
        assert_eq!(to_v4(2, 0, 1280).map(|m| (m.kind, m.code, m.mtu)), Some((3, 4, Mtu::Smaller)));
        assert_eq!(to_v6(3, 4, 0).map(|m| (m.kind, m.code, m.mtu)), Some((2, 0, Mtu::Larger)));
        assert_eq!(plain(to_v4(4, 0, 7)), Some((12, 0, Some(8))));
        assert_eq!(plain(to_v4(4, 0, 40)), None);
        assert_eq!(plain(to_v4(4, 0, 2)), None);
        assert_eq!(plain(to_v4(4, 1, 99)), Some((3, 2, None)));
        assert_eq!(plain(to_v6(12, 0, 9)), Some((4, 0, Some(6))));
        assert_eq!(plain(to_v6(12, 2, 20)), None);
        assert_eq!(plain(to_v6(12, 1, 0)), None);
        assert_eq!(plain(to_v6(3, 2, 0)), Some((4, 1, Some(6))));
        assert_eq!(plain(to_v6(3, 5, 0)), None);
        assert_eq!(plain(to_v6(13, 0, 0)), None);
        assert_eq!(plain(to_v4(135, 0, 0)), None);
        assert_eq!((other(1), other(58), other(6)), (58, 1, 6));
    }
}
