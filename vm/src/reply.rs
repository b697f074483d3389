//! ICMP and ICMPv6 errors the filter sends about a packet.
//!
//! Builds whole packets into a buffer the caller lends, byte for byte as OpenBSD does: IPv4 quotes the header and
//! eight bytes (TTL 255, no "don't fragment"), IPv6 as much as fits 1280 bytes (hop limit 64). What must not be
//! answered (errors, later fragments, packets from nobody or to many) is not.
//!
//! **Invariant:** nothing allocates, and nothing but the lent buffer is written.
//!
//! Source: `pf.c` (`pf_send_icmp`), `ip_icmp.c` (`icmp_do_error`, `icmp_reflect`), `icmp6.c` (`icmp6_error`).

use crate::packet::{Packet, PacketDesc, proto};
use crate::rule::{Addr, Af};
use crate::wire::checksum::{self, Sum};
use crate::wire::icmp::{v4, v6};
use crate::wire::{Field, Icmp, Ipv4, Ipv4Repr, Ipv6, Ipv6Repr};

/// Longest error that is built, bytes: the smallest IPv6 MTU.
pub const LONGEST: usize = 1280;
/// TTL of ICMP errors.
const TTL: u8 = 255;
/// Hop limit of ICMPv6 errors.
const HOP_LIMIT: u8 = 64;
/// Bytes of payload an ICMP error quotes.
const QUOTED: usize = 8;

/// An error to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// MTU of "fragmentation needed" and "packet too big", pointer of "parameter problem", else 0.
    pub param: u32,
    /// Sender: an address of the host.
    pub from: Addr,
    /// Identification of the IPv4 packet.
    pub id: u16,
}

/// Builds an error about a packet into `room`; its length. `None` when the packet must not be answered or the room
/// is too small.
#[must_use]
pub fn error(packet: &Packet<'_>, desc: &PacketDesc, e: &Error, room: &mut [u8]) -> Option<usize> {
    match desc.af {
        Af::Inet => error4(packet, desc, e, room),
        Af::Inet6 => error6(packet, desc, e, room),
    }
}

/// Whether an ICMP type is a query or an answer to one, not an error.
#[must_use]
pub const fn is_query4(kind: u8) -> bool {
    matches!(kind, v4::ECHO_REPLY | v4::ECHO | v4::ROUTER_ADVERT..=v4::ROUTER_SOLICIT | v4::TIMESTAMP..=v4::MASK_REPLY)
}

/// Whether an ICMPv6 type may be answered with an error.
#[must_use]
pub const fn is_query6(kind: u8) -> bool {
    kind >= v6::ECHO && kind != v6::REDIRECT
}

/// Whether an IPv4 address is nobody's to answer to: this net, multicast and beyond.
const fn is_nobody4(a: u8) -> bool {
    a == 0 || a >= 224
}

fn error4(packet: &Packet<'_>, desc: &PacketDesc, e: &Error, room: &mut [u8]) -> Option<usize> {
    let h = Ipv4::new_unchecked(packet.array::<20>(0)?);
    let inner = packet.u8(h.header_len()).unwrap_or(0);
    let error = h.proto() == proto::ICMP && desc.icmp().is_some() && !is_query4(inner);
    let [first, ..] = h.src();
    if error || h.fragment_offset() != 0 || is_nobody4(first) {
        return None;
    }
    let quoted = h.header_len().checked_add(QUOTED)?.min(usize::from(h.total_len()));
    let len = quoted.checked_add(28)?;
    let out = room.get_mut(..len)?;
    let repr = Ipv4Repr {
        src: Field::get(&e.from.0, 0),
        dst: h.src(),
        proto: proto::ICMP,
        ttl: TTL,
        tos: 0,
        id: e.id,
        flags_offset: 0,
        payload_len: u16::try_from(len.checked_sub(20)?).ok()?,
    };
    repr.emit(&mut Ipv4::new_unchecked(&mut *out));
    let word = match e.kind {
        v4::PARAMETER_PROBLEM => e.param << 24,
        v4::UNREACHABLE => e.param & 0xffff,
        _ => 0,
    };
    let message = message(packet, e, word, quoted, out.get_mut(20..)?)?;
    let sum = checksum::of(message);
    Icmp::new_unchecked(message).set_checksum(sum);
    Some(len)
}

fn error6(packet: &Packet<'_>, desc: &PacketDesc, e: &Error, room: &mut [u8]) -> Option<usize> {
    let h = Ipv6::new_unchecked(packet.array::<40>(0)?);
    let (src, dst) = (h.src(), h.dst());
    let to_many =
        dst.starts_with(&[0xff]) && e.kind != v6::PACKET_TOO_BIG && (e.kind, e.code) != (v6::PARAMETER_PROBLEM, 2);
    let error = desc.proto == proto::ICMPV6 && desc.icmp().is_some_and(|i| !is_query6(i.kind));
    if to_many || error || src == [0; 16] || src.starts_with(&[0xff]) {
        return None;
    }
    let quoted = packet.len().min(LONGEST.saturating_sub(48));
    let len = quoted.checked_add(48)?;
    let out = room.get_mut(..len)?;
    let payload_len = u16::try_from(len.checked_sub(40)?).ok()?;
    let repr = Ipv6Repr {
        src: e.from.0,
        dst: src,
        next_header: proto::ICMPV6,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
        flow: 0,
        payload_len,
    };
    repr.emit(&mut Ipv6::new_unchecked(&mut *out));
    let message = message(packet, e, e.param, quoted, out.get_mut(40..)?)?;
    let pseudo = Sum::new().pseudo(Af::Inet6, &e.from, &Addr(src), proto::ICMPV6, u32::from(payload_len));
    let sum = pseudo.bytes(message).finish();
    Icmp::new_unchecked(message).set_checksum(sum);
    Some(len)
}

/// Writes header and quotation; the checksum field stays zero.
fn message<'o>(packet: &Packet<'_>, e: &Error, word: u32, quoted: usize, out: &'o mut [u8]) -> Option<&'o mut [u8]> {
    let mut h = Icmp::new_unchecked(&mut *out);
    h.set_kind(e.kind);
    h.set_code(e.code);
    h.set_checksum(0);
    h.set_word(word);
    let quote = out.get_mut(8..)?;
    (quote.len() == quoted && packet.read(0, quote)).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{PktMeta, describe};
    use crate::rule::Direction;

    fn answer(bytes: &mut [u8], e: &Error) -> Option<Vec<u8>> {
        let af = if bytes[0] >> 4 == 4 { Af::Inet } else { Af::Inet6 };
        let packet = Packet::whole(bytes);
        let desc = describe(&packet, &PktMeta::default(), af, Direction::In, 0).unwrap();
        let mut room = [0xee; LONGEST];
        let len = error(&packet, &desc, e, &mut room)?;
        Some(room[..len].to_vec())
    }

    fn unreachable(code: u8) -> Error {
        Error { kind: 3, code, param: 0, from: Addr([10; 16]), id: 7 }
    }

    fn ip4(proto: u8, src: u8, flags: u8, body: &[u8]) -> Vec<u8> {
        let len = 20 + body.len() as u8;
        [&[0x45, 0, 0, len, 0, 1, flags, 0, 64, proto, 0, 0, src, 0, 0, 1, 10, 0, 0, 2][..], body].concat()
    }

    #[test]
    fn ipv4_quotes_eight_bytes() {
        let mut udp = ip4(17, 10, 0, &[0, 53, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
        let out = answer(&mut udp, &unreachable(3)).unwrap();
        assert_eq!(out.len(), 56);
        assert_eq!((checksum::of(&out[..20]), checksum::of(&out[20..])), (0, 0));
        assert_eq!(out[28..], udp[..28]);
        assert_eq!((out[8], out[9], &out[16..20], &out[20..22]), (255, 1, &[10, 0, 0, 1][..], &[3, 3][..]));
        let out = answer(&mut udp, &Error { code: 4, param: 1400, ..unreachable(4) }).unwrap();
        assert_eq!(out[24..28], [0, 0, 5, 120]);
    }

    #[test]
    fn ipv4_answers_neither_errors_nor_nobody() {
        let error = [3, 1, 0, 0, 0, 0, 0, 0];
        let echo = [8, 0, 0, 0, 0, 0, 0, 0];
        assert!(answer(&mut ip4(1, 10, 0, &error), &unreachable(1)).is_none());
        assert!(answer(&mut ip4(1, 10, 0, &echo), &unreachable(1)).is_some());
        assert!(answer(&mut ip4(1, 224, 0, &echo), &unreachable(1)).is_none());
        assert!(answer(&mut ip4(1, 0, 0, &echo), &unreachable(1)).is_none());
        let mut later = ip4(17, 10, 0, &[0; 8]);
        later[7] = 1;
        assert!(answer(&mut later, &unreachable(1)).is_none());
    }

    fn ip6(src: u8, dst: u8, next: u8, body: &[u8]) -> Vec<u8> {
        let mut p = [&[0; 40][..], body].concat();
        let repr = Ipv6Repr {
            src: [src; 16],
            dst: [dst; 16],
            next_header: next,
            hop_limit: 9,
            traffic_class: 1,
            flow: 2,
            payload_len: body.len() as u16,
        };
        repr.emit(&mut Ipv6::new_unchecked(&mut p));
        p
    }

    #[test]
    fn ipv6_quotes_what_fits() {
        let e = Error { kind: 2, code: 0, param: 1300, from: Addr([5; 16]), id: 0 };
        let out = answer(&mut ip6(1, 2, 59, &[7; 2000]), &e).unwrap();
        assert_eq!((out.len(), out[7], &out[44..48]), (1280, 64, &[0, 0, 5, 20][..]));
        let sum = Sum::new().pseudo(Af::Inet6, &Addr([5; 16]), &Addr([1; 16]), 58, 1240).bytes(&out[40..]);
        assert_eq!(sum.fold(), 0xffff);
        let out = answer(&mut ip6(1, 2, 59, &[7; 20]), &e).unwrap();
        assert_eq!(out.len(), 48 + 60);
    }

    #[test]
    fn ipv6_answers_neither_errors_nor_nobody_nor_many() {
        let e = Error { kind: 1, code: 4, param: 0, from: Addr([5; 16]), id: 0 };
        assert!(answer(&mut ip6(1, 2, 58, &[1, 0, 0, 0, 0, 0, 0, 0]), &e).is_none());
        assert!(answer(&mut ip6(1, 2, 58, &[128, 0, 0, 0, 0, 0, 0, 0]), &e).is_some());
        assert!(answer(&mut ip6(0, 2, 59, &[]), &e).is_none());
        assert!(answer(&mut ip6(0xff, 2, 59, &[]), &e).is_none());
        assert!(answer(&mut ip6(1, 0xff, 59, &[]), &e).is_none());
        assert!(answer(&mut ip6(1, 0xff, 59, &[]), &Error { kind: 2, ..e }).is_some());
    }
}
