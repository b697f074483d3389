//! Lines against the packets they stand for, described by the engine.

use pfvm::packet::{Packet, PktMeta, describe};

use super::*;

fn described(text: &str) -> pfvm::packet::PacketDesc {
    let line = Line::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut bytes = line.bytes();
    let mut desc = describe(&Packet::whole(&mut bytes), &PktMeta::default(), line.af(), line.dir, 0)
        .unwrap_or_else(|refusal| panic!("{text}: {refusal:?}"));
    desc.forwarded = line.forwarded;
    desc
}

#[test]
fn a_line_is_the_packet_it_says() {
    for text in [
        "in on em0 tcp 192.0.2.7:40000 > 198.51.100.1:22 S",
        "out on em0 tcp 192.0.2.7:40000 > 198.51.100.1:22 FRPAUEW",
        "fwd on em0 tcp 192.0.2.7:40000 > 198.51.100.1:22 none",
        "in on em1 udp [2001:db8::7]:53 > [2001:db8::1]:4000",
        "in on em1 icmp 10.0.0.1 > 10.0.0.2 echoreq",
        "in on em1 icmp6 2001:db8::7 > 2001:db8::1 neighbrsol",
        "in on em1 gre 10.0.0.1 > 10.0.0.2",
        "in on em1 253 10.0.0.1 > 10.0.0.2",
        "in on em1 udp 10.0.0.1 > 10.0.0.2 frag 1480",
    ] {
        let line = Line::parse(text).unwrap();
        assert_eq!(show(&described(text), &line.iface), text);
    }
}

#[test]
fn a_fragment_of_ipv6_has_its_own_protocol() {
    let desc = described("in on em1 udp 2001:db8::7 > 2001:db8::1 frag 1448+");
    assert_eq!((desc.proto, desc.fragment, desc.frag.offset, desc.frag.more), (proto::FRAGMENT, true, 1448, true));
}

#[test]
fn words_reach_the_packet() {
    let desc = described("in on em0 tcp 1.2.3.4:1 > 5.6.7.8:2 SA ttl 9 tos 16 len 100 seq 7 ack 8 win 9");
    let tcp = desc.tcp().unwrap();
    assert_eq!((desc.ttl, desc.tos, desc.p_len, tcp.seq, tcp.ack, tcp.win), (9, 16, 100, 7, 8, 9));
    let icmp = described("in on em0 icmp 1.2.3.4 > 5.6.7.8 type 3 code 4 len 28");
    assert_eq!(icmp.icmp().map(|i| (i.kind, i.code)), Some((3, 4)));
}

#[test]
fn what_is_left_out_is_guessed() {
    let line = Line::parse("in on em0 192.0.2.7:40000 > 198.51.100.1:22").unwrap();
    assert_eq!((line.proto, line.flags), (proto::TCP, tcp_flags::SYN));
    assert_eq!(Line::parse("out on em0 ::1 > ::2").unwrap().proto, proto::ICMPV6);
}

#[test]
fn mistakes_are_placed() {
    for (text, at, what) in [
        ("", 0..0, "the line ends where a direction (`in`, `out` or `fwd`) is wanted"),
        ("inn on em0", 0..3, "found `inn` where `in`, `out` or `fwd` is wanted"),
        ("in em0 tcp", 3..6, "found `em0` where `on` and an interface are wanted"),
        ("in on em0 tpc 1.2.3.4:1 > 1.2.3.5:2", 10..13, "unknown protocol `tpc`"),
        (
            "in on em0 tcp 1.2.3:1 > 1.2.3.5:2",
            14..21,
            "found `1.2.3:1` where an address, with a port behind a colon or not is wanted",
        ),
        ("in on em0 tcp 1.2.3.4:x > 1.2.3.5:2", 14..23, "found `1.2.3.4:x` where a port from 0 to 65535 is wanted"),
        ("in on em0 tcp 1.2.3.4:1 1.2.3.5:2", 24..33, "found `1.2.3.5:2` where `>` is wanted"),
        ("in on em0 tcp 1.2.3.4:1 > [::1]:2", 26..33, "1.2.3.4 and ::1 are of different families"),
        ("in on em0 gre 1.2.3.4:1 > 1.2.3.5:2", 26..35, "ports are given, which only TCP and UDP have"),
        (
            "in on em0 icmp6 1.2.3.4 > 1.2.3.5",
            10..15,
            "ICMP of the other family: `icmp` goes with IPv4, `icmp6` with IPv6",
        ),
        ("in on em0 udp 1.2.3.4:1 > 1.2.3.5:2 tll 5", 36..39, "unknown word `tll`; wanted is `ttl`"),
        (
            "in on em0 udp 1.2.3.4:1 > 1.2.3.5:2 ttl 500",
            40..43,
            "found `500` where a number in range is wanted for `ttl`",
        ),
        ("in on em0 udp 1.2.3.4:1 > 1.2.3.5:2 ttl", 39..39, "the line ends where a number for `ttl` is wanted"),
    ] {
        let error = Line::parse(text).unwrap_err();
        assert_eq!((error.at, error.what.as_str()), (at, what), "{text}");
    }
}
