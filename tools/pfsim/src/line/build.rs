//! The bytes of a line: a whole packet with right checksums.

use std::net::IpAddr;

use pfvm::packet::proto;
use pfvm::rule::{Addr, Af};
use pfvm::wire::{Icmp, Ipv4, Ipv4Repr, Ipv6, Ipv6Repr, TcpRepr, UdpRepr, checksum};

use super::Line;

/// An address in the engine's form.
pub(crate) fn wire_addr(ip: IpAddr) -> (Af, Addr) {
    let mut out = Addr::default();
    match ip {
        IpAddr::V4(v4) => {
            for (to, from) in out.0.iter_mut().zip(v4.octets()) {
                *to = from;
            }
            (Af::Inet, out)
        }
        IpAddr::V6(v6) => (Af::Inet6, Addr(v6.octets())),
    }
}

impl Line {
    /// Family of the packet.
    #[must_use]
    pub fn af(&self) -> Af {
        wire_addr(self.src).0
    }

    /// The packet, from its IP header on.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let payload = self.transport();
        let words = &self.words;
        let len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        let (offset, more) = words.frag.unwrap_or((0, false));
        let fragment = words.frag.is_some();
        let (ttl, tos) = (words.ttl.unwrap_or(if self.needs_full_ttl() { 255 } else { 64 }), words.tos.unwrap_or(0));
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let flags_offset = (offset >> 3) | u16::from(more) << 13;
                let repr = Ipv4Repr {
                    src: src.octets(),
                    dst: dst.octets(),
                    proto: self.proto,
                    ttl,
                    tos,
                    id: u16::from(fragment),
                    flags_offset,
                    payload_len: len,
                };
                let mut header = [0; Ipv4Repr::LEN];
                repr.emit(&mut Ipv4::new_unchecked(&mut header));
                [header.as_slice(), &payload].concat()
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let [high, low] = (offset | u16::from(more)).to_be_bytes();
                let extension = [self.proto, 0, high, low, 0, 0, 0, 1];
                let extension: &[u8] = if fragment { &extension } else { &[] };
                let repr = Ipv6Repr {
                    src: src.octets(),
                    dst: dst.octets(),
                    next_header: if fragment { proto::FRAGMENT } else { self.proto },
                    hop_limit: ttl,
                    traffic_class: tos,
                    flow: 0,
                    payload_len: len.saturating_add(if fragment { 8 } else { 0 }),
                };
                let mut header = [0; Ipv6Repr::LEN];
                repr.emit(&mut Ipv6::new_unchecked(&mut header));
                [header.as_slice(), extension, &payload].concat()
            }
            // Cannot be: the parser refuses mixed families.
            _ => Vec::new(),
        }
    }

    /// Neighbour discovery is heard from the link alone.
    fn needs_full_ttl(&self) -> bool {
        self.proto == proto::ICMPV6 && (133..=137).contains(&self.icmp.0)
    }

    /// Transport header and payload; the payload alone in later fragments.
    fn transport(&self) -> Vec<u8> {
        let ((af, src), (_, dst)) = (wire_addr(self.src), wire_addr(self.dst));
        let size = usize::from(self.words.len.unwrap_or(0));
        if self.words.frag.is_some_and(|(offset, _)| offset > 0) {
            return vec![0; size.max(8)];
        }
        match self.proto {
            proto::TCP => {
                let tcp = TcpRepr {
                    src_port: self.sport,
                    dst_port: self.dport,
                    seq: self.words.seq.unwrap_or(1),
                    ack: self.words.ack.unwrap_or(0),
                    flags: self.flags,
                    window: self.words.win.unwrap_or(65535),
                    ..TcpRepr::default()
                };
                let mut segment = vec![0; tcp.len() + size];
                tcp.emit(&mut segment);
                TcpRepr::fill_checksum(&mut segment, af, &src, &dst);
                segment
            }
            proto::UDP => {
                let mut datagram = vec![0; UdpRepr::LEN + size];
                UdpRepr { src_port: self.sport, dst_port: self.dport }.emit(&mut datagram, af, &src, &dst);
                datagram
            }
            proto::ICMP | proto::ICMPV6 => self.icmp_message(af, &src, &dst, size),
            _ => vec![0; size],
        }
    }

    fn icmp_message(&self, af: Af, src: &Addr, dst: &Addr, size: usize) -> Vec<u8> {
        // Neighbour discovery carries a target, an error quotes a packet: room for the least of either.
        let least = if self.needs_full_ttl() { 16 } else { 0 };
        let mut message = vec![0; 8 + size.max(least)];
        let total = u32::try_from(message.len()).unwrap_or(0);
        let mut icmp = Icmp::new_unchecked(&mut message);
        icmp.set_kind(self.icmp.0);
        icmp.set_code(self.icmp.1);
        icmp.set_id(self.words.id.unwrap_or(0));
        let sum = checksum::Sum::new();
        let sum = if af == Af::Inet6 { sum.pseudo(af, src, dst, proto::ICMPV6, total) } else { sum };
        let sum = sum.bytes(&message).finish();
        Icmp::new_unchecked(&mut message).set_checksum(sum);
        message
    }
}
