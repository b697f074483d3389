//! Every packet of pf's recorded stories is described as pf described it: refused for the same reason, or not at all.

use pfvm::packet::{Packet, PktMeta, describe};
use pfvm::rule::{Af, Direction};

/// Reasons a drop without a rule can have that headers alone do not decide.
const LATER: [&str; 9] = [
    "fragment",
    "state-mismatch",
    "bad-timestamp",
    "normalize",
    "memory",
    "src-limit",
    "state-limit",
    "synproxy",
    "translate",
];

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

#[test]
fn packets_of_the_stories_are_refused_as_pf_refused_them() {
    let Some(stories) = tests::stories() else { return };
    let (mut seen, mut refused) = (0, 0);
    for story in &stories {
        for (n, step) in story["steps"].as_array().unwrap().iter().enumerate() {
            let Some(hex) = step["pkt_hex"].as_str() else { continue };
            let mut bytes = unhex(hex);
            let af = if bytes[0] >> 4 == 6 { Af::Inet6 } else { Af::Inet };
            let dir = if step["dir"] == "out" { Direction::Out } else { Direction::In };
            let first = &step["decisions"][0];
            if first.is_null() {
                continue;
            }
            seen += 1;
            let got = describe(&Packet::whole(&mut bytes), &PktMeta::default(), af, dir, 0);
            let place = format!("{} step {n}: {first} {}", story["name"], step["counters"]);
            match got {
                Err(refusal) => {
                    refused += 1;
                    assert_eq!(first["action"], "drop", "{place} {refusal:?}");
                    assert_eq!(first["rule"], -1, "{place} {refusal:?}");
                    let shown = refusal.reason.name();
                    assert_eq!(first["reason"], shown, "{place}");
                    assert!(step["counters"][refusal.reason.name()].as_u64() >= Some(1), "{place} {refusal:?}");
                }
                Ok(desc) => {
                    let dropped = first["action"] == "drop" && first["rule"] == -1;
                    let later = LATER.iter().any(|r| step["counters"][r].is_number());
                    assert!(!dropped || later || first["reason"] == "match", "{place} {desc:?}");
                }
            }
        }
    }
    assert!(seen > 1000 && refused > 100, "{seen} packets, {refused} refused");
}
