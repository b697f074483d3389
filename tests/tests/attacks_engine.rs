//! Attacks on state, translation and limits, each named by its number (A1–A9, A22 and A23 stand in `attacks_packets`,
//! `fragment_*` and `packet_properties`; A14 in `streams`). What is asked each time: does anything pass that must not, does
//! anybody's connection end that must not, is anything used up that does not come back, do the counters say why.

use std::collections::BTreeSet;

use pfvm::engine::counters::LimitCounter;
use pfvm::engine::{Engine, Verdict, default_options};
use pfvm::packet::DropReason;
use pfvm::rule::Limits;
use pfvm::state::key::KeySide;
use pfvm::state::record::{PeerState, StateTimeout};
use pfvm::table::Entry;
use tests::lab::{EM0, EM1, EM2, Lab, packet, program, wire};
use tests::script::packet::Seen;

/// A field of a packet by name.
fn field(bytes: &[u8], name: &str) -> String {
    Seen::new(bytes).and_then(|s| s.field(name)).unwrap_or_default()
}

/// Everything that passes from inside gets the gateway's address; nothing comes in unasked.
const GATEWAY: &str =
    "match out on em1 inet from 10.0.0.0/24 nat-to 192.0.2.1\nblock in on em1\npass in on em0\npass out\n";

/// A TCP connection through the gateway: inside 10.0.0.5:`port`, server 198.51.100.7:80, both windows 8192. Gives the port
/// it has outside.
fn connect(lab: &mut Lab, port: u16) -> String {
    let syn = packet(&format!("tcp 10.0.0.5:{port} > 198.51.100.7:80 S seq 1000"));
    let (_, out) = lab.forward(EM0, &syn).expect("the SYN goes out");
    let outside = field(&out, "sport");
    let back = |flags: &str| format!("tcp 198.51.100.7:80 > 192.0.2.1:{outside} {flags}");
    lab.forward(EM1, &packet(&back("SA seq 5000 ack 1001"))).expect("the SYN-ACK comes back");
    let ack = packet(&format!("tcp 10.0.0.5:{port} > 198.51.100.7:80 A seq 1001 ack 5001"));
    lab.forward(EM0, &ack).expect("the ACK goes out");
    outside
}

/// Whether the connection still carries data both ways.
fn alive(lab: &mut Lab, port: u16, outside: &str) -> bool {
    let there = packet(&format!("tcp 10.0.0.5:{port} > 198.51.100.7:80 PA seq 1001 ack 5001 data hello"));
    let back = packet(&format!("tcp 198.51.100.7:80 > 192.0.2.1:{outside} PA seq 5001 ack 1006 data world"));
    let there = lab.forward(EM0, &there).is_some_and(|(_, b)| field(&b, "sport") == *outside);
    let back = lab.forward(EM1, &back).is_some_and(|(_, b)| field(&b, "dport") == port.to_string());
    there && back
}

/// Progress, timeouts and expiry of all states: what an attack may not change.
fn standing(engine: &Engine) -> Vec<(PeerState, PeerState, StateTimeout, u32)> {
    let t = &engine.table;
    t.iter().filter_map(|s| t.get(s)).map(|s| (s.src().state, s.dst().state, s.timeout(), engine.expires(s))).collect()
}

#[test]
fn a10_errors_are_trusted_only_for_what_they_quote() {
    let mut lab = Lab::new(GATEWAY);
    let outside = connect(&mut lab, 1500);
    let quoted = |src: &str, sport: &str, dst: &str, seq: u32| {
        packet(&format!("tcp {src}:{sport} > {dst}:80 A seq {seq} ack 5001"))
    };
    let error = |to: &str, quote: &[u8]| {
        let hex: String = quote.iter().map(|b| format!("{b:02x}")).collect();
        packet(&format!("icmp 203.0.113.1 > {to} timex hex {hex}"))
    };
    let good = quoted("192.0.2.1", &outside, "198.51.100.7", 1001);
    let (iface, inside) = lab.forward(EM1, &error("192.0.2.1", &good)).expect("an honest error comes through");
    assert_eq!((iface, field(&inside, "dst").as_str()), (EM0, "10.0.0.5"));
    assert_eq!(field(&inside, "quote.src"), "10.0.0.5");
    assert_eq!((field(&inside, "quote.sport").as_str(), field(&inside, "sum").as_str()), ("1500", "ok"));
    let before = standing(&lab.engine);
    let lies = [
        ("another port", error("192.0.2.1", &quoted("192.0.2.1", "50000", "198.51.100.7", 1001))),
        ("another server", error("192.0.2.1", &quoted("192.0.2.1", &outside, "198.51.100.8", 1001))),
        ("a segment never sent", error("192.0.2.1", &quoted("192.0.2.1", &outside, "198.51.100.7", 900_000))),
        ("the inside address itself", error("192.0.2.1", &quoted("10.0.0.5", "1500", "198.51.100.7", 1001))),
        ("sent to another host", error("10.0.0.77", &good)),
        ("the answer turned round", error("192.0.2.1", &packet("tcp 198.51.100.7:80 > 10.0.0.5:1500 A seq 5001"))),
    ];
    for (what, lie) in &lies {
        assert!(lab.forward(EM1, lie).is_none(), "{what} comes through");
    }
    for len in 0..28 {
        assert!(lab.forward(EM1, &error("192.0.2.1", &good[..len])).is_none(), "{len} bytes of a quote come through");
    }
    // Any byte of the quote turned: what comes through is for the same host and quotes the same connection.
    for at in 0..28 {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            if let Some((iface, b)) = lab.forward(EM1, &error("192.0.2.1", &bad)) {
                assert_eq!((iface, field(&b, "dst").as_str()), (EM0, "10.0.0.5"), "byte {at} bit {bit}");
                assert_eq!(b[40..44], [10, 0, 0, 5], "byte {at} bit {bit}: whom it quotes");
            }
        }
    }
    assert_eq!(standing(&lab.engine), before, "an error changes nothing of a connection");
    assert!(alive(&mut lab, 1500, &outside));
}

#[test]
fn a11_blind_segments_do_not_end_a_connection() {
    let mut lab = Lab::new(GATEWAY);
    let outside = connect(&mut lab, 1500);
    let number = |right: u32, off: i32| right.wrapping_add_signed(off);
    let from_server = |flags: &str, seq: i32, ack: i32| {
        let (seq, ack) = (number(5001, seq), number(1001, ack));
        // A segment without data that ends nothing is not held to its number: pf lets it be.
        let data = if flags == "PA" { "data hello" } else { "" };
        packet(&format!("tcp 198.51.100.7:80 > 192.0.2.1:{outside} {flags} seq {seq} ack {ack} {data}"))
    };
    let before = standing(&lab.engine);
    // Segments of a sender who sees nothing: (flags, distance from the right number, from the right answer).
    let blind = [
        ("R", 2, 0),
        ("R", 100, 0),
        ("R", 8000, 0),
        ("R", -100, 0),
        ("R", 70_000, 0),
        ("RA", 100, 5),
        ("RA", -8000, 700),
        ("RA", 4000, -3),
        ("S", 0, 0),
        ("S", 100, 0),
        ("S", 1_000_000, 0),
        ("SR", 0, 0),
        ("SF", 50_000, 0),
        ("PA", -80_000, 0),
        ("PA", 70_000, 0),
        ("FA", 1_000_000, 0),
        ("FA", 0, 70_000),
    ];
    for (flags, seq, ack) in blind {
        let passed = lab.forward(EM1, &from_server(flags, seq, ack)).is_some();
        assert!(!passed, "{flags} {seq:+} {ack:+} comes through");
        let now = standing(&lab.engine);
        let progress = |s: &[(PeerState, PeerState, StateTimeout, u32)]| {
            s.iter().map(|(a, b, t, _)| (*a, *b, *t)).collect::<Vec<_>>()
        };
        assert_eq!(progress(&now), progress(&before), "{flags} {seq:+} {ack:+}");
        assert!(now.iter().zip(&before).all(|(n, b)| n.3 >= b.3), "{flags} {seq:+}: ends earlier");
    }
    // The same from inside, by a neighbour who forges the address.
    for (flags, seq) in [("R", 5), ("R", 5000), ("S", 0), ("RA", -4000)] {
        let seq = number(1001, seq);
        let forged = packet(&format!("tcp 10.0.0.5:1500 > 198.51.100.7:80 {flags} seq {seq} ack 1"));
        assert!(lab.forward(EM0, &forged).is_none(), "{flags} {seq}");
    }
    assert!(alive(&mut lab, 1500, &outside));
    assert!(lab.counted(DropReason::StateMismatch) >= 15, "{}", lab.counted(DropReason::StateMismatch));
    // Who knows the number exactly is believed.
    assert!(lab.forward(EM1, &from_server("R", 5, 5)).is_some());
}

#[test]
fn a12_a_reset_outside_the_window_keeps_the_mapping() {
    let mut lab = Lab::new(GATEWAY);
    let outside = connect(&mut lab, 1500);
    lab.wait(60);
    let before = standing(&lab.engine);
    let ports: BTreeSet<_> =
        lab.engine.table.iter().filter_map(|s| lab.engine.table.key(s, KeySide::Wire)).map(|k| k.port).collect();
    // A sweep over the sequence space, as ReDAN does: none of it lands on the exact number.
    for step in 0..4096_u32 {
        let seq = step.wrapping_mul(1_048_576).wrapping_add(12_345);
        let rst = packet(&format!("tcp 198.51.100.7:80 > 192.0.2.1:{outside} R seq {seq}"));
        assert!(lab.forward(EM1, &rst).is_none(), "RST {seq}");
    }
    let now: BTreeSet<_> =
        lab.engine.table.iter().filter_map(|s| lab.engine.table.key(s, KeySide::Wire)).map(|k| k.port).collect();
    assert_eq!((standing(&lab.engine), now), (before, ports), "states, timeouts and mapping are as before");
    lab.wait(3600);
    assert!(alive(&mut lab, 1500, &outside), "an hour later the mapping is there");
}

#[test]
fn a13_a_challenge_does_not_move_a_closing_connection_on() {
    let mut lab = Lab::new(GATEWAY);
    let outside = connect(&mut lab, 1500);
    let server = |words: &str| packet(&format!("tcp 198.51.100.7:80 > 192.0.2.1:{outside} {words}"));
    let client = |words: &str| packet(&format!("tcp 10.0.0.5:1500 > 198.51.100.7:80 {words}"));
    let fate = |lab: &Lab| {
        lab.engine
            .table
            .iter()
            .filter_map(|s| lab.engine.table.get(s))
            .map(|s| (s.src().state, s.dst().state, s.timeout()))
            .collect::<Vec<_>>()
    };
    let before = fate(&lab);
    // A SYN from outside on the established connection: challenged by the filter, seen by nobody.
    lab.host.sent.clear();
    assert!(lab.forward(EM1, &server("S seq 777")).is_none());
    assert_eq!(lab.host.sent.len(), 1, "one challenge");
    assert_eq!(
        (field(&lab.host.sent[0], "flags"), field(&lab.host.sent[0], "dst")),
        ("A".into(), "198.51.100.7".into())
    );
    assert_eq!(fate(&lab), before);
    // An honest server answers the challenge with a reset, whose number is not of this connection.
    assert!(lab.forward(EM1, &server("R seq 9")).is_none());
    assert_eq!(fate(&lab), before);
    // Half closed: the client has sent its FIN, the server has not.
    assert!(lab.forward(EM0, &client("FA seq 1001 ack 5001")).is_some());
    assert!(lab.forward(EM1, &server("A seq 5001 ack 1002")).is_some());
    let half = fate(&lab);
    for words in ["A seq 5001 ack 1001", "A seq 5001 ack 1002", "A seq 5000 ack 1002"] {
        lab.forward(EM1, &server(words));
        assert_eq!(fate(&lab), half, "{words}");
    }
    // The server may go on sending, and close.
    assert!(lab.forward(EM1, &server("PA seq 5001 ack 1002 data late")).is_some());
    assert!(lab.forward(EM1, &server("FA seq 5005 ack 1002")).is_some());
    assert!(lab.forward(EM0, &client("A seq 1002 ack 5006")).is_some());
    assert!(fate(&lab).iter().all(|(a, b, _)| *a >= PeerState::FIN_WAIT_2 && *b >= PeerState::FIN_WAIT_2));
    lab.wait(120);
    assert_eq!(lab.states(), 0);
}

#[test]
fn a15_a_flood_of_syns_leaves_established_flows_alone() {
    let rules = "set limit states 1000\nset timeout { adaptive.start 600, adaptive.end 1200 }\n".to_owned() + GATEWAY;
    let mut lab = Lab::new(&rules);
    let outside = connect(&mut lab, 1500);
    let mut refused = 0_u32;
    for n in 0..5000_u32 {
        let [_, _, c, d] = n.to_be_bytes();
        let syn = packet(&format!(
            "tcp 10.0.0.{}:{} > 203.0.113.{}:{} S",
            10 + d % 200,
            1024 + n % 50_000,
            c,
            1 + n % 60_000
        ));
        refused += u32::from(lab.forward(EM0, &syn).is_none());
        assert!(lab.states() <= 1000);
        if n % 100 == 0 {
            assert!(alive(&mut lab, 1500, &outside), "after {n} SYNs");
        }
    }
    assert!(refused > 3000, "{refused}");
    assert!(lab.counted(DropReason::Memory) > 3000, "the table was full: {}", lab.counted(DropReason::Memory));
    assert!(alive(&mut lab, 1500, &outside));
    // Adaptive timeouts: the fuller the table, the sooner what is half open goes: 120 s are (1200 - n) / 600 of it.
    lab.wait(80);
    assert!((700..=860).contains(&lab.states()), "{} states", lab.states());
    assert!(alive(&mut lab, 1500, &outside));
    lab.wait(200);
    assert_eq!(lab.states(), 2, "the flow alone is left");
    assert!(alive(&mut lab, 1500, &outside));
}

#[test]
fn a15_syn_proxy_and_cookies_keep_no_state_for_a_flood() {
    let cookies = "set syncookies always\nset limit states 1000\nblock in on em1\npass in on em0\npass out\n";
    let mut lab = Lab::new(cookies);
    for n in 0..3000_u32 {
        let syn = format!("tcp 10.0.0.{}:{} > 203.0.113.9:80 S seq {n}", 1 + n % 250, 1024 + n);
        assert_ne!(lab.comes(EM0, &syn).outcome.verdict, Verdict::Pass);
    }
    assert_eq!(lab.states(), 0, "cookies keep no state");
    assert_eq!(lab.engine.counters.of_limit(LimitCounter::SyncookiesSent), 3000);
    assert_eq!(lab.host.sent.len(), 3000);
    // A cookie that was never given is not taken.
    for n in 0..2000_u32 {
        let ack = format!("tcp 10.0.0.8:4000 > 203.0.113.9:80 A seq {n} ack {}", n.wrapping_mul(2_147_483));
        lab.comes(EM0, &ack);
    }
    assert_eq!(lab.engine.counters.of_limit(LimitCounter::SyncookiesValid), 0);
}

#[test]
fn a16_chosen_tuples_do_not_grow_chains() {
    let limits = Limits { states: 20_000, ..default_options().limits };
    let rules = "set limit states 20000\npass\n";
    let fill = |lab: &mut Lab, n: u32| {
        let [_, b, c, d] = n.to_be_bytes();
        lab.comes(EM0, &format!("udp 10.{b}.{c}.{d}:{} > 198.51.100.7:53 data x", 1024 + n % 64));
    };
    let mut lab = Lab::with(program(rules), &limits);
    for n in 0..20_000 {
        fill(&mut lab, n);
    }
    assert_eq!(lab.states(), 20_000);
    let regular = lab.engine.table.longest_chain();
    assert!(regular <= 12, "neighbouring tuples: a chain of {regular}");
    // An attacker who has found tuples that collide under one key: the ones with the low bits of a plain hash alike.
    let plain = |n: u32| n.wrapping_mul(2_654_435_761) >> 20;
    let chosen: Vec<u32> = (0..8_000_000).filter(|n| plain(*n) == 77).take(1500).collect();
    let mut second = Lab::with(program(rules), &limits);
    second.host.seed ^= 0xdead_beef;
    let mut third = Lab::with(program(rules), &limits);
    for n in chosen {
        fill(&mut second, n);
        fill(&mut third, n);
    }
    assert!(second.states() > 1000);
    assert!(second.engine.table.longest_chain() <= 10 && third.engine.table.longest_chain() <= 10);
}

#[test]
fn a17_ports_run_out_cleanly() {
    let rules = "match out on em1 inet proto udp from 10.0.0.0/24 nat-to 192.0.2.1 port 40001:40200\npass\n";
    let mut lab = Lab::new(rules);
    let mut ports = BTreeSet::new();
    for n in 0..200 {
        let out = lab.goes(EM1, &format!("udp 10.0.0.{}:{} > 198.51.100.7:53 data x", 1 + n % 100, 2000 + n));
        assert_eq!(out.outcome.verdict, Verdict::Pass, "flow {n}: at {} % of the ports", n / 2);
        let port: u16 = field(&out.bytes, "sport").parse().unwrap();
        assert!((40_001..=40_200).contains(&port));
        assert!(ports.insert(port), "port {port} given twice");
    }
    for n in 0..50 {
        let before = lab.host.seed;
        let out = lab.goes(EM1, &format!("udp 10.0.0.99:{} > 198.51.100.7:53 data x", 3000 + n));
        assert_eq!(out.outcome.verdict, Verdict::Drop);
        assert_ne!(before, lab.host.seed);
    }
    assert_eq!(lab.counted(DropReason::Translate), 50);
    assert_eq!(lab.states(), 200, "a refused flow leaves nothing");
    // To another server every port is free again.
    let out = lab.goes(EM1, "udp 10.0.0.99:3000 > 198.51.100.8:53 data x");
    assert_eq!(out.outcome.verdict, Verdict::Pass);
    // And when the flows end, the ports come back.
    lab.wait(400);
    assert_eq!(lab.states(), 0);
    for n in 0..200 {
        let out = lab.goes(EM1, &format!("udp 10.0.0.7:{} > 198.51.100.7:53 data x", 5000 + n));
        assert_eq!(out.outcome.verdict, Verdict::Pass, "flow {n} after all have ended");
    }
}

#[test]
fn a17_one_source_cannot_take_all_ports() {
    let rules = "match out on em1 inet from 10.0.0.0/24 nat-to 192.0.2.1 port 40001:40100\n\
                 pass out on em1 proto udp keep state (max-src-states 20)\n";
    let mut lab = Lab::new(rules);
    for n in 0..500 {
        lab.goes(EM1, &format!("udp 10.0.0.66:{} > 198.51.100.7:53 data x", 2000 + n));
    }
    assert_eq!(lab.states(), 20);
    assert_eq!(lab.counted(DropReason::SrcLimit), 480);
    assert_eq!(lab.engine.counters.of_limit(LimitCounter::SrcStates), 480);
    assert_eq!(lab.goes(EM1, "udp 10.0.0.5:9 > 198.51.100.7:53 data x").outcome.verdict, Verdict::Pass);
}

/// How far values are from being spread evenly: chi-square over sixteen parts of the range.
fn spread(values: &[u32], lo: u32, hi: u32) -> f64 {
    let mut parts = [0_f64; 16];
    for v in values {
        parts[((v - lo) as usize * 16 / (hi - lo + 1) as usize).min(15)] += 1.0;
    }
    let even = values.len() as f64 / 16.0;
    parts.iter().map(|p| (p - even).powi(2) / even).sum()
}

#[test]
fn a18_ports_and_identifiers_cannot_be_foretold() {
    let mut lab = Lab::new("match out on em1 inet from 10.0.0.0/24 nat-to 192.0.2.1\npass\n");
    let (mut ports, mut ids) = (Vec::new(), Vec::new());
    for n in 0..2000_u32 {
        let [_, _, c, d] = n.to_be_bytes();
        let out = lab.goes(EM1, &format!("udp 10.0.0.5:5353 > 198.{}.{c}.{d}:53 data x", 18 + n % 2));
        ports.push(field(&out.bytes, "sport").parse::<u32>().unwrap());
        let out = lab.goes(EM1, &format!("icmp 10.0.0.5 > 198.{}.{c}.{d} echoreq id 7", 18 + n % 2));
        ids.push(field(&out.bytes, "id").parse::<u32>().unwrap());
    }
    for (what, values, lo, hi) in [("ports", &ports, 50_001, 65_535), ("identifiers", &ids, 0, 65_535)] {
        assert!(values.iter().all(|v| (lo..=hi).contains(v)), "{what}");
        // Fifteen degrees of freedom: above 45 once in ten thousand even sets.
        assert!(spread(values, lo, hi) < 45.0, "{what} are uneven: {}", spread(values, lo, hi));
        let steps: BTreeSet<i64> = values.windows(2).map(|w| i64::from(w[1]) - i64::from(w[0])).collect();
        assert!(steps.len() > 1800, "{what}: {} different steps", steps.len());
        let distinct: BTreeSet<_> = values.iter().collect();
        assert!(distinct.len() > 1800, "{what}: {} different values", distinct.len());
    }
}

#[test]
fn a19_no_mapping_shadows_a_port_of_the_host() {
    let mut lab = Lab::new("match out on em1 inet from 10.0.0.0/24 nat-to 192.0.2.1 port 40001:40064\npass\n");
    // The host listens on all but four of the ports.
    for port in 40_001..=40_060 {
        lab.host.used.insert((17, port));
        lab.host.used.insert((6, port));
    }
    for (proto, flag) in [("udp", "data x"), ("tcp", "S")] {
        let mut given = BTreeSet::new();
        for n in 0..8 {
            let out = lab.goes(EM1, &format!("{proto} 10.0.0.5:{} > 198.51.100.7:53 {flag}", 2000 + n));
            if out.outcome.verdict == Verdict::Pass {
                given.insert(field(&out.bytes, "sport").parse::<u16>().unwrap());
            }
        }
        assert_eq!(given, (40_061..=40_064).collect(), "{proto}: what the host does not use, and no more");
    }
    assert_eq!(lab.counted(DropReason::Translate), 8);
}

#[test]
fn a20_a_mapping_is_of_one_client_and_one_server() {
    let mut lab = Lab::new(&GATEWAY.replace("nat-to 192.0.2.1", "nat-to 192.0.2.1 port 40001:40002"));
    let out = |lab: &mut Lab, client: &str| {
        let (_, b) = lab.forward(EM0, &packet(&format!("udp {client}:7000 > 198.51.100.7:3478 data x"))).unwrap();
        field(&b, "sport")
    };
    let (a, b) = (out(&mut lab, "10.0.0.5"), out(&mut lab, "10.0.0.6"));
    assert_ne!(a, b);
    for (port, client) in [(&a, "10.0.0.5"), (&b, "10.0.0.6")] {
        let answer = packet(&format!("udp 198.51.100.7:3478 > 192.0.2.1:{port} data y"));
        assert_eq!(lab.forward(EM1, &answer).map(|(_, b)| field(&b, "dst")).as_deref(), Some(client));
        for stranger in ["198.51.100.7:3479", "198.51.100.8:3478", "203.0.113.66:53"] {
            let answer = packet(&format!("udp {stranger} > 192.0.2.1:{port} data y"));
            assert!(lab.forward(EM1, &answer).is_none(), "{stranger} reaches {client}");
        }
    }
    // Another client with the same source port cannot displace the mapping.
    let third = packet("udp 10.0.0.7:7000 > 198.51.100.7:3478 data x");
    assert!(lab.forward(EM0, &third).is_none(), "no port is left, and none is taken away");
    let answer = packet(&format!("udp 198.51.100.7:3478 > 192.0.2.1:{a} data y"));
    assert_eq!(lab.forward(EM1, &answer).map(|(_, b)| field(&b, "dst")).as_deref(), Some("10.0.0.5"));
}

#[test]
fn a21_no_text_in_a_stream_opens_a_port() {
    let mut lab = Lab::new(GATEWAY);
    let outside = connect(&mut lab, 1500);
    let before = lab.states();
    let mut seq = 1001;
    for text in [
        "PORT_10,0,0,5,0,22",
        "EPRT_|1|10.0.0.5|22|",
        "REGISTER_sip:x_Contact:<sip:10.0.0.5:22>",
        "PRIVMSG_x_:DCC_SEND_x_167772165_22",
        "227_Entering_Passive_Mode_(10,0,0,5,0,22)",
    ] {
        let sent = packet(&format!("tcp 10.0.0.5:1500 > 198.51.100.7:80 PA seq {seq} ack 5001 data {text}"));
        let (_, out) = lab.forward(EM0, &sent).expect("data passes");
        assert_eq!(field(&out, "data"), text, "nothing in the text is rewritten");
        seq += u32::try_from(text.len()).unwrap();
    }
    assert_eq!(lab.states(), before, "and no state is made for it");
    for port in [22, 1500, 5060] {
        let probe = packet(&format!("tcp 198.51.100.7:20 > 192.0.2.1:{port} S"));
        assert!(lab.forward(EM1, &probe).is_none(), "port {port} is open");
    }
    assert!(lab.forward(EM1, &packet(&format!("tcp 198.51.100.7:20 > 192.0.2.1:{outside} S"))).is_none());
}

#[test]
fn a24_forged_sources_by_interface() {
    let rules = "antispoof quick for { em0 em2 }\nblock in quick from urpf-failed\nblock in quick on em1 from { 10/8 172.16/12 127/8 }\npass\n";
    let cases = [
        (EM0, "10.0.0.5", true),
        (EM0, "172.16.0.5", false),
        (EM0, "198.51.100.7", false),
        (EM0, "127.0.0.1", false),
        (EM0, "10.0.0.1", false),
        (EM1, "10.0.0.5", false),
        (EM1, "172.16.0.5", false),
        (EM1, "127.0.0.1", false),
        (EM1, "192.0.2.77", true),
        (EM1, "198.51.100.7", true),
        (EM2, "172.16.0.5", true),
        (EM2, "10.0.0.5", false),
        (EM2, "198.51.100.7", false),
        (EM2, "172.16.0.1", false),
        (EM0, "2001:db8:a::5", true),
        (EM0, "2001:db8:c::5", false),
        (EM1, "2001:db8:a::5", false),
        (EM1, "2001:db8:ffff::7", true),
        (EM2, "2001:db8:c::5", true),
    ];
    for (iface, from, wanted) in cases {
        let mut lab = Lab::new(rules);
        let to = if from.contains(':') { "[2001:db8:f::9]:53" } else { "203.0.113.9:53" };
        let from_port = if from.contains(':') { format!("[{from}]:9") } else { format!("{from}:9") };
        let passed = lab.comes(iface, &format!("udp {from_port} > {to} data x")).passed();
        assert_eq!(passed, wanted, "from {from} on interface {iface}");
        assert_eq!(lab.states(), usize::from(wanted));
    }
}

#[test]
fn a25_framing_does_not_hide_a_packet() {
    use pfvm::wire::ethernet::{Framing, MAX_TAGS, framing};
    let ip = packet("udp 10.0.0.5:9 > 10.0.0.1:53 data x");
    let frame = |tags: &[u16], kind: &[u8]| {
        let mut f = vec![2; 12];
        for t in tags {
            f.extend(t.to_be_bytes());
            f.extend([0, 7]);
        }
        f.extend(kind);
        f.extend(&ip);
        f
    };
    let ipv4 = [8, 0];
    for n in 0..=MAX_TAGS {
        for tpid in [0x8100, 0x88a8, 0x9100] {
            let f = frame(&vec![tpid; n], &ipv4);
            let found = framing(&f);
            let Framing::Ip { offset, .. } = found else { panic!("{n} tags {tpid:04x}: {found:?}") };
            assert_eq!(&f[offset..], &ip[..], "{n} tags {tpid:04x}");
        }
    }
    // More tags than are looked through, unknown types, PPPoE: not IP, and told so; the edge decides by its policy.
    assert!(matches!(framing(&frame(&[0x8100; MAX_TAGS + 1], &ipv4)), Framing::Other(0x8100)));
    assert!(matches!(framing(&frame(&[], &[0x88, 0x64])), Framing::Other(0x8864)));
    assert!(matches!(framing(&frame(&[], &[0x12, 0x34])), Framing::Other(0x1234)));
    // LLC with SNAP is looked through; LLC without is not IP.
    let len = u16::try_from(ip.len() + 8).unwrap().to_be_bytes();
    let snap = [&len[..], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]].concat();
    assert!(matches!(framing(&frame(&[], &snap)), Framing::Ip { .. }));
    assert!(matches!(framing(&frame(&[], &[&len[..], &[0x42, 0x42, 3]].concat())), Framing::Other(_)));
    // Whatever is cut off or turned, nothing breaks, and an offset lies within the frame.
    let whole = frame(&[0x88a8, 0x8100], &ipv4);
    for n in 0..whole.len() {
        for bit in 0..=8_u32 {
            let mut f = whole[..n].to_vec();
            if let (Some(b), Some(mask)) = (f.get_mut(14), 1_u8.checked_shl(bit)) {
                *b ^= mask;
            }
            if let Framing::Ip { offset, .. } = framing(&f) {
                assert!(offset <= f.len());
            }
        }
    }
}

#[test]
fn a26_tunnels_are_judged_by_what_carries_them() {
    let inner = packet("tcp 10.0.0.5:9 > 10.0.0.1:22 S");
    let inner6 = packet("tcp [2001:db8:a::5]:9 > [2001:db8:a::1]:22 S");
    let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let teredo = format!("udp 198.51.100.7:3544 > 192.0.2.1:3544 hex {}", hex(&inner6));
    let tunnels = [
        ("ipencap", format!("4 198.51.100.7 > 192.0.2.1 hex {}", hex(&inner))),
        ("ipv6", format!("41 198.51.100.7 > 192.0.2.1 hex {}", hex(&inner6))),
        ("gre", format!("gre 198.51.100.7 > 192.0.2.1 hex 00000800{}", hex(&inner))),
        ("udp", teredo),
    ];
    for (proto, words) in &tunnels {
        // A rule about what is inside does not see it; a rule about the carrier does.
        let mut open = Lab::new("block in proto tcp\npass in proto { 4 41 47 17 }\n");
        assert!(open.comes(EM1, words).passed(), "{proto}: allowed by its own protocol");
        let mut shut = Lab::new(&format!("pass\nblock in proto {proto}\n"));
        assert!(!shut.comes(EM1, words).passed(), "{proto}: refused by its own protocol");
        let mut named = Lab::new("block\npass in proto tcp from 10.0.0.0/24\npass in from 10.0.0.0/24\n");
        assert!(!named.comes(EM1, words).passed(), "{proto}: what is inside opens nothing");
        // The state is of the carrier's ends.
        let mut lab = Lab::new("pass\n");
        assert!(lab.comes(EM1, words).passed());
        let t = &lab.engine.table;
        let key = t.iter().next().and_then(|s| t.key(s, KeySide::Wire)).unwrap();
        let ends = [wire("198.51.100.7".parse().unwrap()).1, wire("192.0.2.1".parse().unwrap()).1];
        assert_eq!(key.addr, ends, "{proto}");
    }
}

#[test]
fn a27_bound_and_floating_states_by_interface() {
    // A VPN that goes away: em2 carries the tunnel, em1 the plain line. Interfaces × policy × direction.
    let out = "udp 172.16.0.9:500 > 203.0.113.9:53 data x";
    let back = "udp 203.0.113.9:53 > 172.16.0.9:500 data y";
    for (policy, elsewhere) in [("if-bound", false), ("floating", true)] {
        let rules = format!("set state-policy {policy}\nblock\npass out on em2\n");
        for (leaves, expected) in [(EM2, true), (EM1, elsewhere), (EM0, elsewhere)] {
            let mut lab = Lab::new(&rules);
            assert!(lab.goes(EM2, out).passed(), "{policy}: by the tunnel");
            assert_eq!(lab.goes(leaves, out).passed(), expected, "{policy}: leaves by {leaves}");
            assert_eq!(lab.comes(leaves, back).passed(), expected, "{policy}: answer by {leaves}");
        }
    }
    // One rule can say so for itself, either way.
    for (policy, own, elsewhere) in [("floating", "if-bound", false), ("if-bound", "floating", true)] {
        let mut lab = Lab::new(&format!("set state-policy {policy}\nblock\npass out on em2 keep state ({own})\n"));
        assert!(lab.goes(EM2, out).passed());
        assert_eq!(lab.goes(EM1, out).passed(), elsewhere, "{own} within {policy}");
        assert_eq!(lab.comes(EM1, back).passed(), elsewhere, "{own} within {policy}, answer");
    }
}

#[test]
fn floods_at_full_tables_leave_flows_alone() {
    let rules = "set limit { states 500, frags 200, src-nodes 50 }\n\
                 match out on em1 inet from 10.0.0.0/24 nat-to 192.0.2.1\nblock in on em1\npass in on em0\n\
                 pass in on em0 proto udp to port 9999 keep state (source-track rule)\npass out\n";
    let mut lab = Lab::new(rules);
    let outside = connect(&mut lab, 1500);
    // First fragments that are never completed.
    for n in 0..2000_u32 {
        let id = n % 65_536;
        lab.comes(EM0, &format!("udp 10.0.0.9:1 > 203.0.113.9:2 len 64 ipid {id} frag 0+"));
        assert!(lab.engine.frags.len() <= 200);
    }
    assert!(alive(&mut lab, 1500, &outside), "under a flood of fragments");
    // Sources, one node each.
    for n in 0..2000_u32 {
        let [_, _, c, d] = n.to_be_bytes();
        lab.comes(EM0, &format!("udp 10.1.{c}.{d}:5 > 203.0.113.9:9999 data x"));
        assert!(lab.engine.nodes.iter().count() <= 50);
    }
    assert!(lab.counted(DropReason::SrcLimit) > 1500, "{}", lab.counted(DropReason::SrcLimit));
    assert!(alive(&mut lab, 1500, &outside), "under a flood of sources");
    // Errors about nothing.
    let quote: String =
        packet("tcp 192.0.2.1:50123 > 198.51.100.7:80 A seq 1").iter().map(|b| format!("{b:02x}")).collect();
    let states = lab.states();
    for n in 0..2000_u32 {
        let [_, _, c, d] = n.to_be_bytes();
        assert!(!lab.comes(EM1, &format!("icmp 203.0.{c}.{d} > 192.0.2.1 unreach hex {quote}")).passed());
    }
    assert_eq!(lab.states(), states);
    // SYNs until the table is full, and beyond.
    for n in 0..2000_u32 {
        lab.comes(EM0, &format!("tcp 10.0.0.66:{} > 203.0.113.9:80 S", 1024 + n));
        assert!(lab.states() <= 500);
    }
    assert_eq!(lab.states(), 500);
    assert!(lab.counted(DropReason::Memory) > 1000);
    assert!(alive(&mut lab, 1500, &outside), "at a full table");
    lab.wait(400);
    assert_eq!(lab.states(), 2);
    assert_eq!((lab.engine.frags.len(), lab.engine.nodes.iter().count()), (0, 0), "fragments and sources are gone");
    assert!(alive(&mut lab, 1500, &outside));
}

#[test]
fn floods_of_overload_fill_no_more_than_the_table_holds() {
    let rules = "set limit table-entries 100\ntable <bad> persist\nblock in quick from <bad>\n\
                 pass in on em1 proto tcp to port 22 keep state (max-src-conn-rate 2/10, overload <bad> flush global)\n";
    let mut lab = Lab::new(rules);
    let slot = lab.engine.tables.named(b"", b"bad").unwrap().slot;
    for n in 0..400_u32 {
        let [_, _, c, d] = n.to_be_bytes();
        for port in 0..3 {
            let ends = format!("198.18.{c}.{d}:{}", 4000 + port);
            lab.comes(EM1, &format!("tcp {ends} > 192.0.2.1:22 S seq 9"));
            lab.goes(EM1, &format!("tcp 192.0.2.1:22 > {ends} SA seq 5 ack 10"));
            lab.comes(EM1, &format!("tcp {ends} > 192.0.2.1:22 A seq 10 ack 6"));
        }
    }
    let entries = lab.engine.tables.all.len(slot);
    assert!((50..=100).contains(&entries), "{entries} entries");
    assert!(lab.engine.counters.of_limit(LimitCounter::OverloadTable) >= 400);
    assert!(!lab.comes(EM1, "tcp 198.18.0.1:9 > 192.0.2.1:22 S").passed(), "who is in the table stays out");
    // A table that was full takes entries again when some are gone.
    let first: Vec<Entry> = lab.engine.tables.all.entries(slot).map(|v| Entry::new(v.af, v.addr, v.prefix)).collect();
    for e in &first {
        let _ = lab.engine.tables.all.delete(slot, e);
    }
    assert_eq!(lab.engine.tables.all.len(slot), 0);
    let (af, addr) = wire("198.18.9.9".parse().unwrap());
    lab.engine.tables.overload(slot.0.into(), af, &addr, 0);
    assert_eq!(lab.engine.tables.all.len(slot), 1);
}
