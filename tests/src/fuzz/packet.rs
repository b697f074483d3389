//! Packets: any bytes are described or refused, the same however they are split, and as two other stacks read them.

use crate::packets::{self, Made};
use arbitrary::Unstructured;
use pfvm::packet::{L4, Packet, PacketDesc, PktMeta, Refusal, describe, proto};
use pfvm::rule::{Af, Direction};
use smoltcp::wire as sm;

/// Describes `data` as a packet: the first byte says whether the rest is the packet itself or seeds the generator.
///
/// # Panics
/// When a description depends on the split, points outside of the packet, or differs from what smoltcp or etherparse
/// read.
pub fn packet(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let made = match kind & 3 {
        0 => Made { af: Af::Inet, bytes: rest.to_vec() },
        1 => Made { af: Af::Inet6, bytes: rest.to_vec() },
        _ => packets::packet(&mut Unstructured::new(rest)).expect("the generator lacks nothing"),
    };
    check(&made, rest);
}

/// All that must hold of one packet; `cuts` choose the splits.
///
/// # Panics
/// As [`packet`].
pub fn check(made: &Made, cuts: &[u8]) {
    let whole = described(made, &[]);
    for cuts in [&[0, 0][..], &[1, 1], &[20, 7], cuts] {
        assert_eq!(described(made, cuts), whole, "split {cuts:?} of {made:?}");
    }
    if let Ok(desc) = whole {
        inside(&desc, &made.bytes);
        as_smoltcp(&desc, &made.bytes);
        as_etherparse(&desc, &made.bytes);
    } else {
        plain_is_accepted(made);
    }
}

/// The description with the packet cut into a window and pieces of the lengths `cuts` says.
fn described(made: &Made, cuts: &[u8]) -> Result<PacketDesc, Refusal> {
    let (first, later) = match cuts.split_first() {
        Some((n, later)) => (usize::from(*n).min(made.bytes.len()), later),
        None => (made.bytes.len(), &[][..]),
    };
    let mut window = [&[0xa5; 8][..], &made.bytes[..first]].concat();
    let mut rest = Vec::new();
    let mut at = first;
    for n in later {
        let end = (at + usize::from(*n)).min(made.bytes.len());
        rest.push(&made.bytes[at..end]);
        at = end;
    }
    rest.push(&made.bytes[at..]);
    let packet = Packet::new(&mut window, 8, &rest).expect("the headroom fits");
    describe(&packet, &PktMeta::default(), made.af, Direction::In, 1)
}

/// Offsets and lengths lie in the packet.
fn inside(desc: &PacketDesc, bytes: &[u8]) {
    assert!(desc.tot_len as usize <= bytes.len());
    let header = match desc.l4 {
        L4::Tcp(t) => u32::from(t.header),
        L4::Other => return,
        _ => u32::from(desc.hdrlen),
    };
    assert!(desc.off + header + desc.p_len <= desc.tot_len, "{desc:?}");
    assert!(!desc.fragment && (!desc.has_ports() || desc.dport != 0));
    assert_eq!((desc.nsport, desc.ndport, desc.nsaddr), (desc.sport, desc.dport, desc.src));
}

/// Smoltcp reads the same fields at the same place.
fn as_smoltcp(desc: &PacketDesc, bytes: &[u8]) {
    let bytes = &bytes[..desc.tot_len as usize];
    match desc.af {
        Af::Inet => {
            let ip = sm::Ipv4Packet::new_checked(bytes).expect("smoltcp takes what pf takes");
            assert_eq!((ip.src_addr().octets(), ip.dst_addr().octets()), (head(&desc.src.0), head(&desc.dst.0)));
            assert_eq!((ip.hop_limit(), usize::from(ip.header_len())), (desc.ttl, usize::from(desc.ip_hlen)));
            assert_eq!((ip.frag_offset(), ip.more_frags()), (desc.frag.offset, desc.frag.more));
        }
        Af::Inet6 => {
            let ip = sm::Ipv6Packet::new_checked(bytes).expect("smoltcp takes what pf takes");
            assert_eq!((ip.src_addr().octets(), ip.dst_addr().octets()), (desc.src.0, desc.dst.0));
            assert_eq!((ip.hop_limit(), ip.traffic_class() & !3), (desc.ttl, desc.tos));
        }
    }
    let transport = bytes.get(desc.off as usize..).unwrap_or_default();
    match &desc.l4 {
        L4::Tcp(t) => {
            let h = sm::TcpPacket::new_checked(transport).expect("smoltcp takes what pf takes");
            assert_eq!((h.src_port(), h.dst_port()), (desc.sport, desc.dport));
            assert_eq!((h.seq_number().0 as u32, h.ack_number().0 as u32, h.window_len()), (t.seq, t.ack, t.win));
            assert_eq!((h.header_len(), h.payload().len()), (t.header, desc.p_len as usize));
            assert_eq!((h.syn(), h.rst(), h.urgent_at()), (t.flags & 2 != 0, t.flags & 4 != 0, t.urgent));
        }
        L4::Udp => {
            let h = sm::UdpPacket::new_checked(transport).expect("smoltcp takes what pf takes");
            assert_eq!((h.src_port(), h.dst_port()), (desc.sport, desc.dport));
            assert_eq!(h.payload().len(), desc.p_len as usize);
        }
        L4::Icmp(i) => assert_eq!((transport[0], transport[1]), (i.kind, i.code)),
        L4::Other => {}
    }
}

fn head(a: &[u8; 16]) -> [u8; 4] {
    [a[0], a[1], a[2], a[3]]
}

/// Etherparse walks to the same transport, where it walks to one.
fn as_etherparse(desc: &PacketDesc, bytes: &[u8]) {
    use etherparse::TransportSlice as T;
    // Pf goes by the frame's type, etherparse by the version in the packet.
    if bytes[0] >> 4 != if desc.af == Af::Inet { 4 } else { 6 } {
        return;
    }
    let Ok(sliced) = etherparse::SlicedPacket::from_ip(&bytes[..desc.tot_len as usize]) else { return };
    match (sliced.transport, &desc.l4) {
        (Some(T::Tcp(h)), L4::Tcp(t)) => {
            assert_eq!((h.source_port(), h.destination_port()), (desc.sport, desc.dport));
            assert_eq!((h.sequence_number(), h.urgent_pointer()), (t.seq, t.urgent));
            assert_eq!((h.options().len() + 20, h.payload().len()), (usize::from(t.header), desc.p_len as usize));
        }
        (Some(T::Udp(h)), L4::Udp) => {
            assert_eq!((h.source_port(), h.destination_port()), (desc.sport, desc.dport));
            assert_eq!(h.payload().len(), desc.p_len as usize);
        }
        (Some(T::Icmpv4(h)), L4::Icmp(i)) => assert_eq!((h.type_u8(), h.code_u8()), (i.kind, i.code)),
        (Some(T::Icmpv6(h)), L4::Icmp(i)) => assert_eq!((h.type_u8(), h.code_u8()), (i.kind, i.code)),
        // An atomic fragment is passed by both; a chain of authentication headers only by us.
        (None, _) | (Some(T::Igmp(_)), L4::Other) => {}
        (other, mine) => panic!("etherparse sees {other:?}, we see {mine:?} in {bytes:02x?}"),
    }
}

/// A refused packet is not a plain TCP segment or UDP datagram that etherparse finds whole.
fn plain_is_accepted(made: &Made) {
    use etherparse::{NetSlice, TransportSlice as T};
    let Ok(sliced) = etherparse::SlicedPacket::from_ip(&made.bytes) else { return };
    let (plain, version, first) = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let h = ip.header();
            (h.options().is_empty() && h.protocol().0 != proto::AH, Af::Inet, h.protocol().0)
        }
        Some(NetSlice::Ipv6(ip)) => (ip.header().payload_length() != 0, Af::Inet6, ip.header().next_header().0),
        _ => return,
    };
    if !plain || version != made.af || !matches!(first, proto::TCP | proto::UDP) {
        return;
    }
    let port = match sliced.transport {
        Some(T::Tcp(h)) => h.destination_port(),
        // A zero length means "the rest" to etherparse.
        Some(T::Udp(h)) if h.length() != 0 => h.destination_port(),
        _ => return,
    };
    assert_eq!(port, 0, "a plain packet is refused: {:02x?}", made.bytes);
}
