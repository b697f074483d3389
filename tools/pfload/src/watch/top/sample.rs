//! A snapshot for tests.

use pfvm::packet::addr4;
use pfvm::rule::{Af, Direction};

use super::data::{IfaceLine, QueueLine, RuleLine, Snapshot, SourceLine, StateLine, TableLine};

fn state(id: u64, proto: u8, dir: Direction, src: ([u8; 4], u16), dst: ([u8; 4], u16)) -> StateLine {
    StateLine {
        id,
        proto,
        dir,
        iface: "em0".into(),
        af: Af::Inet,
        ends: ((addr4(src.0), src.1), (addr4(dst.0), dst.1)),
        other: None,
        progress: ["ESTABLISHED"; 2],
        age: 90,
        expires: 86_300,
        packets: 120,
        bytes: 48_000,
        rate: 500,
        rule: Some(1),
        anchor: String::new(),
        rule_id: 11,
    }
}

/// Three states, two rules and one of everything else.
pub(crate) fn snapshot() -> Snapshot {
    let mut nat = state(2, 17, Direction::Out, ([10, 0, 0, 5], 5353), ([198, 51, 100, 1], 53));
    nat.other = Some((Af::Inet, (addr4([203, 0, 113, 9]), 61_000), (addr4([198, 51, 100, 1]), 53)));
    (nat.packets, nat.bytes, nat.rate, nat.age, nat.expires, nat.rule_id) = (10, 900, 12_000, 3, 57, 0);
    (nat.progress, nat.rule) = (["MULTIPLE", "SINGLE"], None);
    let mut old = state(3, 6, Direction::Out, ([10, 0, 0, 9], 50_000), ([198, 51, 100, 2], 443));
    (old.age, old.rate, old.progress) = (90_000, 0, ["FIN_WAIT_2"; 2]);
    let rule = |id, nr, text: &str, label: &str, packets, rate| RuleLine {
        id,
        nr,
        text: text.into(),
        label: label.into(),
        place: format!("pf.conf:{}", nr + 1),
        evaluations: 1000,
        packets,
        bytes: packets * 60,
        states: 2,
        rate,
        ..RuleLine::default()
    };
    let mut iface = IfaceLine { name: "em0".into(), packets: [900, 12, 800, 0], ..IfaceLine::default() };
    (iface.bytes, iface.rate) = ([90_000, 720, 80_000, 0], [50, 1, 40, 0]);
    Snapshot {
        at: 10_000,
        host: "pfd".into(),
        running: true,
        since: 3723,
        generation: 5,
        most_states: 100_000,
        state_count: 3,
        states: vec![state(1, 6, Direction::In, ([192, 0, 2, 7], 40_000), ([10, 0, 0, 1], 22)), nat, old],
        rules: vec![
            rule(10, 0, "block drop in log all", "deny", 12, 1),
            rule(11, 1, "pass in on em0 inet proto tcp from any to any port = 22 flags S/SA", "ssh", 700, 50),
        ],
        queues: vec![QueueLine { name: "std".into(), text: "queue std parent root bandwidth 10M default".into() }],
        tables: vec![TableLine {
            name: "bad".into(),
            addresses: 12_345,
            evaluations: [7, 900],
            packets: 7,
            bytes: 420,
            ..TableLine::default()
        }],
        sources: vec![SourceLine {
            source: (Af::Inet, addr4([192, 0, 2, 7])),
            kind: "limit",
            given: None,
            states: 1,
            connections: 1,
            packets: 120,
            bytes: 48_000,
            age: 90,
            expires: 0,
            rule: Some(1),
            anchor: String::new(),
        }],
        ifaces: vec![iface],
        counters: vec![("match".into(), 900), ("bad-offset".into(), 0), ("state-mismatch".into(), 4)],
        counter_rates: vec![50, 0, 1],
    }
}
