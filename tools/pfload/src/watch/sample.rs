//! Log rows for tests.

use pfvm::packet::addr4;
use pfvm::rule::{Af, Direction};
use pfvm::watch::{Action, LogRow};

use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};

/// A SYN with options.
pub(crate) fn tcp4() -> Vec<u8> {
    let mut out = Vec::new();
    let built = PacketBuilder::ipv4([192, 0, 2, 7], [198, 51, 100, 1], 64).tcp(40_000, 22, 1_000_000, 64_240).syn();
    built.write(&mut out, &[]).unwrap();
    out
}

/// A datagram.
pub(crate) fn udp6() -> Vec<u8> {
    let (mut src, mut dst) = ([0; 16], [0; 16]);
    (src[0], src[1], src[15]) = (0x20, 1, 7);
    (dst[0], dst[1], dst[15]) = (0x20, 1, 1);
    let mut out = Vec::new();
    PacketBuilder::ipv6(src, dst, 64).udp(53, 4000).write(&mut out, &[7; 21]).unwrap();
    out
}

/// A row about a packet, blocked by rule 1 of anchor `outer/a`, called by rule 3.
pub(crate) fn row(bytes: &[u8]) -> LogRow<'_> {
    LogRow {
        seq: 0,
        ms: 0,
        generation: 5,
        stable_id: 77,
        log_if: 0,
        af: Af::Inet,
        naf: Af::Inet,
        action: Action::Block,
        reason: 0,
        dir: Direction::In,
        rule: 3,
        subrule: 1,
        uid: 1000,
        pid: u32::MAX,
        rule_uid: 0,
        rule_pid: 12_345,
        src: (addr4([192, 0, 2, 7]), 40_000),
        dst: (addr4([198, 51, 100, 1]), 22),
        len: u32::try_from(bytes.len()).unwrap(),
        iface: "em0",
        anchor: "outer/a",
        label: "ssh in",
        file: "pf.conf",
        line: 12,
        bytes,
    }
}

/// Whether the checksums of a packet are right, by another reading of it.
pub(crate) fn sums_are_right(bytes: &[u8]) -> bool {
    let packet = PacketHeaders::from_ip_slice(bytes).unwrap();
    let payload = packet.payload.slice();
    match (packet.net.unwrap(), packet.transport.unwrap()) {
        (NetHeaders::Ipv4(ip, _), TransportHeader::Tcp(tcp)) => {
            ip.header_checksum == ip.calc_header_checksum()
                && tcp.checksum == tcp.calc_checksum_ipv4(&ip, payload).unwrap()
        }
        (NetHeaders::Ipv6(ip, _), TransportHeader::Udp(udp)) => {
            udp.checksum == udp.calc_checksum_ipv6(&ip, payload).unwrap()
        }
        _ => false,
    }
}

/// One packet of each kind.
pub(crate) fn all() -> Vec<Vec<u8>> {
    let v4 = || PacketBuilder::ipv4([192, 0, 2, 7], [198, 51, 100, 1], 64);
    let v6 = || {
        let (mut src, mut dst) = ([0; 16], [0; 16]);
        (src[0], src[1], src[15]) = (0x20, 1, 7);
        (dst[0], dst[1], dst[15]) = (0x20, 1, 1);
        PacketBuilder::ipv6(src, dst, 64)
    };
    let mut out = vec![tcp4(), udp6()];
    let mut add = |f: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = Vec::new();
        f(&mut packet);
        out.push(packet);
    };
    add(&|p| v4().tcp(40_000, 22, 1000, 512).ack(77).psh().write(p, b"hello").unwrap());
    add(&|p| v4().tcp(40_000, 22, 1000, 512).ack(77).fin().write(p, &[]).unwrap());
    add(&|p| v4().tcp(40_000, 22, 1000, 0).rst().write(p, &[]).unwrap());
    add(&|p| {
        v4().tcp(40_000, 22, 1000, 512)
            .syn()
            .ack(9)
            .options(&[
                etherparse::TcpOptionElement::MaximumSegmentSize(1460),
                etherparse::TcpOptionElement::Noop,
                etherparse::TcpOptionElement::WindowScale(7),
                etherparse::TcpOptionElement::SelectiveAcknowledgementPermitted,
            ])
            .unwrap()
            .write(p, &[])
            .unwrap()
    });
    add(&|p| v4().udp(40_000, 9999).write(p, &[1; 30]).unwrap());
    add(&|p| v4().icmpv4_echo_request(7, 3).write(p, &[1; 30]).unwrap());
    add(&|p| v4().icmpv4_echo_reply(7, 3).write(p, &[1; 30]).unwrap());
    add(&|p| v6().tcp(1024, 443, 5, 100).syn().write(p, &[]).unwrap());
    add(&|p| v6().icmpv6_echo_request(7, 3).write(p, &[1; 30]).unwrap());
    out
}
