//! Attacks on parsing: lengths that contradict, headers split anywhere, options.

use pfvm::packet::{DropReason, L4, Packet, PacketDesc, PktMeta, Refusal, describe};
use pfvm::rule::{Af, Direction};

fn look(af: Af, bytes: &[u8]) -> Result<PacketDesc, Refusal> {
    let mut bytes = bytes.to_vec();
    describe(&Packet::whole(&mut bytes), &PktMeta::default(), af, Direction::In, 0)
}

/// TCP, dst port 80, 20 bytes.
const TCP: [u8; 20] = [4, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 2, 32, 0, 0, 0, 0, 0];
/// UDP, dst port 53, 8 bytes.
const UDP: [u8; 8] = [4, 0, 0, 53, 0, 8, 0, 0];

fn ip4(proto: u8, options: &[u8], body: &[u8]) -> Vec<u8> {
    let len = (20 + options.len() + body.len()) as u8;
    let ihl = 0x45 + (options.len() / 4) as u8;
    [&[ihl, 0, 0, len, 0, 1, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..], options, body].concat()
}

fn ip6(next: u8, hops: u8, body: &[u8]) -> Vec<u8> {
    let mut h = [0; 40];
    h[0] = 0x60;
    h[5] = body.len() as u8;
    (h[6], h[7], h[8], h[9], h[24]) = (next, hops, 0xfe, 0x80, 0x20);
    [&h[..], body].concat()
}

fn with(mut bytes: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    bytes[at] = value;
    bytes
}

fn cut(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    bytes.truncate(len);
    bytes
}

/// Attack A8: each header field that contradicts the rest, and the reason it is refused for.
#[test]
fn a08_contradictory_lengths_are_refused() {
    use DropReason::{IpOption, Short};
    let (tcp, udp) = (ip4(6, &[], &TCP), ip4(17, &[], &UDP));
    let (tcp6, udp6) = (ip6(6, 9, &TCP), ip6(17, 9, &UDP));
    let v4 = [
        ("an empty packet", vec![], Short),
        ("half a header", cut(tcp.clone(), 19), Short),
        ("a header of 16 bytes", with(tcp.clone(), 0, 0x44), Short),
        ("a header beyond the packet", with(tcp.clone(), 0, 0x4f), Short),
        ("a length beyond the frame", with(tcp.clone(), 3, 41), Short),
        ("a length below the header", with(tcp.clone(), 3, 19), Short),
        ("no length", with(tcp.clone(), 3, 0), Short),
        ("a TCP header cut off", with(tcp.clone(), 3, 39), Short),
        ("a TCP header of 16 bytes", with(tcp.clone(), 32, 0x40), Short),
        ("TCP options beyond the packet", with(tcp.clone(), 32, 0x60), Short),
        ("TCP to port 0", with(tcp.clone(), 23, 0), Short),
        ("a UDP length of 7", with(udp.clone(), 25, 7), Short),
        ("a UDP length beyond the packet", with(udp.clone(), 25, 9), Short),
        ("UDP to port 0", with(udp.clone(), 23, 0), Short),
        ("an ICMP header cut off", ip4(1, &[], &[8, 0, 0, 0, 0, 0, 0]), Short),
        ("an option without its length", ip4(6, &[1, 1, 1, 7], &TCP), IpOption),
        ("an option of length 1", ip4(6, &[7, 1, 0, 0], &TCP), IpOption),
        ("an option beyond the header", ip4(6, &[7, 5, 0, 0], &TCP), IpOption),
        ("an authentication header cut off", ip4(51, &[], &[6]), Short),
    ];
    for (what, bytes, reason) in v4 {
        assert_eq!(look(Af::Inet, &bytes), Err(Refusal::logged(reason)), "{what}");
    }
    let option = |o: &[u8]| ip6(0, 9, &[&[6, 0][..], o, &TCP].concat());
    let v6 = [
        ("half a header", cut(tcp6.clone(), 39), Short),
        ("a length beyond the frame", with(tcp6.clone(), 5, 21), Short),
        ("a TCP header cut off", with(tcp6.clone(), 5, 19), Short),
        ("a UDP length beyond the packet", with(udp6.clone(), 45, 9), Short),
        ("an extension header beyond the packet", ip6(60, 9, &[&[6, 9, 1, 4, 0, 0, 0, 0][..], &TCP].concat()), Short),
        ("half an extension header", ip6(60, 9, &[6]), Short),
        ("an option beyond its header", option(&[1, 5, 0, 0, 0, 0]), IpOption),
        ("a jumbo length beside a length", option(&[0xc2, 4, 0, 1, 0, 0]), IpOption),
        ("a neighbour advertisement cut off", ip6(58, 255, &[136; 20]), Short),
    ];
    for (what, bytes, reason) in v6 {
        assert_eq!(look(Af::Inet6, &bytes), Err(Refusal::logged(reason)), "{what}");
    }
}

/// Attack A8: header chains end after twenty, and no chain makes a walk longer.
#[test]
fn a08_header_chains_are_bounded() {
    let options = [60, 0, 1, 4, 0, 0, 0, 0];
    for n in [1_usize, 18, 19, 20, 25] {
        let mut chain = options.repeat(n);
        chain[8 * (n - 1)] = 6;
        let bytes = ip6(60, 9, &[&chain[..], &TCP].concat());
        let got = look(Af::Inet6, &bytes);
        if n < 20 {
            assert_eq!(got.unwrap().dport, 80, "{n}");
        } else {
            assert_eq!(got, Err(Refusal::logged(DropReason::IpOption)), "{n}");
        }
    }
    let ah = [51, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut long = ip4(51, &[], &ah.repeat(25));
    let len = long.len() as u16;
    long[2..4].copy_from_slice(&len.to_be_bytes());
    assert_eq!(look(Af::Inet, &long), Err(Refusal::logged(DropReason::IpOption)));
}

/// Attack A9: headers in pieces of one byte are read like whole ones.
#[test]
fn a09_one_byte_pieces() {
    let v6 = [&[44, 0, 5, 2, 0, 0, 1, 0][..], &[6, 0, 0, 0, 0, 0, 0, 9], &TCP].concat();
    for (af, whole) in [(Af::Inet, ip4(6, &[0x94, 4, 0, 0], &TCP)), (Af::Inet6, ip6(0, 9, &v6))] {
        let want = look(af, &whole);
        assert_eq!(want.unwrap().dport, 80);
        for first in 0..whole.len() {
            let mut window = whole[..first].to_vec();
            let pieces: Vec<&[u8]> = whole[first..].chunks(1).collect();
            let packet = Packet::new(&mut window, 0, &pieces).unwrap();
            assert_eq!(describe(&packet, &PktMeta::default(), af, Direction::In, 0), want);
        }
    }
}

/// Attack A23: options and routing headers: which are refused at once and which need `allow-opts`.
#[test]
fn a23_options_and_routing_headers() {
    let needs = |af, bytes: &[u8]| look(af, bytes).map(|d| d.badopts.any());
    let bad = Err(Refusal::logged(DropReason::IpOption));
    let source_route = [0x83, 7, 4, 10, 0, 0, 9, 0];
    assert_eq!(needs(Af::Inet, &ip4(6, &source_route, &TCP)), Ok(true));
    assert_eq!(needs(Af::Inet, &ip4(6, &[1, 1, 1, 0], &TCP)), Ok(true), "padding alone is fishy");
    assert_eq!(needs(Af::Inet, &ip4(6, &[0x94, 4, 0, 0], &TCP)), Ok(true), "only IGMP may ask routers");
    let igmp = with(ip4(2, &[0x94, 4, 0, 0], &[0x16, 0, 0, 0, 224, 1, 1, 1]), 8, 1);
    assert_eq!(needs(Af::Inet, &igmp), Ok(false));
    let mut query = with(igmp, 8, 2);
    query[16..20].copy_from_slice(&[224, 0, 0, 1]);
    assert_eq!(needs(Af::Inet, &query), bad, "a query to all hosts has TTL 1");
    let routing = |kind| ip6(43, 9, &[&[6, 0, kind, 0, 0, 0, 0, 0][..], &TCP].concat());
    assert_eq!(needs(Af::Inet6, &routing(0)), bad);
    assert_eq!(needs(Af::Inet6, &routing(2)), Ok(true));
    let twice = [&[43, 0, 2, 0, 0, 0, 0, 0][..], &[6, 0, 2, 0, 0, 0, 0, 0], &TCP].concat();
    assert_eq!(needs(Af::Inet6, &ip6(43, 9, &twice)), bad, "two routing headers");
    let late = [&[0, 0, 1, 4, 0, 0, 0, 0][..], &[6, 0, 1, 4, 0, 0, 0, 0], &TCP].concat();
    assert_eq!(needs(Af::Inet6, &ip6(60, 9, &late)), bad, "hop-by-hop options stand first");
    assert_eq!(needs(Af::Inet6, &ip6(6, 9, &TCP)), Ok(false));
    let mld = [&[58, 0, 5, 2, 0, 0, 1, 0][..], &[131; 24]].concat();
    assert_eq!(needs(Af::Inet6, &ip6(0, 1, &mld)), Ok(false));
    assert_eq!(needs(Af::Inet6, &ip6(0, 2, &mld)), bad, "listener reports do not travel");
}

/// Neighbour discovery comes from the link; ICMP of the other family goes nowhere.
#[test]
fn icmp_that_cannot_be() {
    let ns = [135; 24];
    let normalize = DropReason::Normalize;
    assert!(matches!(look(Af::Inet6, &ip6(58, 255, &ns)).unwrap().l4, L4::Icmp(i) if i.kind == 135));
    assert_eq!(look(Af::Inet6, &ip6(58, 64, &ns)), Err(Refusal::logged(normalize)));
    assert_eq!(look(Af::Inet6, &ip6(1, 64, &[8; 8])), Err(Refusal::silent(normalize)));
    assert_eq!(look(Af::Inet, &ip4(58, &[], &[128; 8])), Err(Refusal::silent(normalize)));
}

/// A large send leaves its length to the packet.
#[test]
fn lengths_left_out_of_the_header_are_those_of_the_packet() {
    let meta = PktMeta { length_outside: true, ..PktMeta::default() };
    for (af, bytes) in [(Af::Inet, with(ip4(6, &[], &TCP), 3, 0)), (Af::Inet6, with(ip6(6, 9, &TCP), 5, 0))] {
        let mut bytes = [&bytes[..], &[7; 3000]].concat();
        let desc = describe(&Packet::whole(&mut bytes), &meta, af, Direction::Out, 0).unwrap();
        assert_eq!((desc.dport, desc.p_len, desc.tot_len as usize), (80, 3000, bytes.len()));
        assert!(look(af, &bytes).is_err());
    }
}
