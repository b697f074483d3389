//! The fragments of pf's recorded stories: what waits, what is dropped and why, and the bytes of what is whole.

use pfvm::norm::frag::{FragCache, Normalized, Reassembly, normalize};
use pfvm::packet::{Packet, PktMeta, describe};
use pfvm::rule::{Af, Direction};
use serde_json::Value;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// A number after a phrase of the rules.
fn number(rules: &str, phrase: &str) -> Option<u32> {
    let rest = rules.split_once(phrase)?.1.trim_start();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

struct Player {
    cache: FragCache,
    set: Reassembly,
    room: Vec<u8>,
    /// Pf purges fragments every `interval` seconds only, a tick after the second.
    interval: u32,
    purge_at: u32,
    /// Whether bytes are compared.
    plain: bool,
    compared: [u32; 4],
}

impl Player {
    fn new(rules: &str, plain: bool) -> Self {
        let frags = number(rules, "limit frags").unwrap_or(2000);
        let yes = !rules.contains("set reassemble no");
        let set = Reassembly {
            on: yes,
            no_df: rules.contains("reassemble yes no-df") || rules.contains("reassemble no no-df"),
            timeout: number(rules, "timeout frag").unwrap_or(60),
        };
        let cache = FragCache::new(frags, 4 << 20, (1, 2)).unwrap();
        let interval = number(rules, "timeout interval").unwrap_or(10);
        Self { cache, set, room: vec![0; 70_000], interval, purge_at: 1001 + interval, plain, compared: [0; 4] }
    }

    fn step(&mut self, step: &Value, place: &str) {
        let now = step["t"].as_f64().unwrap() as u32 + 1000;
        while self.purge_at <= now {
            self.cache.purge(self.purge_at, self.set.timeout, u32::MAX);
            self.purge_at += self.interval;
        }
        let Some(hex) = step["pkt_hex"].as_str() else { return };
        let mut bytes = unhex(hex);
        let af = if bytes[0] >> 4 == 6 { Af::Inet6 } else { Af::Inet };
        let dir = if step["dir"] == "out" { Direction::Out } else { Direction::In };
        let mut packet = Packet::whole(&mut bytes);
        let meta = PktMeta::default();
        let Ok(desc) = describe(&packet, &meta, af, dir, 0) else { return };
        let first = &step["decisions"][0];
        if first.is_null() && !desc.fragment {
            return;
        }
        let got = normalize(&mut self.cache, &mut packet, &meta, &desc, &self.set, now, &mut self.room);
        match got {
            Normalized::Held => {
                self.compared[0] += 1;
                assert!(first.is_null(), "{place}: held, pf says {first}");
            }
            Normalized::Drop(reason) => {
                self.compared[1] += 1;
                assert_eq!((&first["action"], &first["rule"]), (&"drop".into(), &(-1).into()), "{place}");
                assert_eq!(first["reason"], reason.map_or("match", |r| r.name()), "{place}");
            }
            Normalized::Pass => {
                assert!(!first.is_null() || !desc.fragment, "{place}: passed, pf kept it");
                if desc.fragment {
                    assert!(first["rule"] != -1 || first["action"] == "pass", "{place}: {first}");
                }
            }
            Normalized::Whole { len, tag } => {
                self.compared[2] += 1;
                assert!(!first.is_null(), "{place}: whole, pf waits");
                assert_eq!(tag.is_some(), af == Af::Inet6);
                let key = if step["dir"] == "fwd" { "in_hex" } else { "out_hex" };
                if self.plain
                    && first["action"] == "pass"
                    && let Some(hex) = step[key].as_str()
                {
                    self.compared[3] += 1;
                    let (mut mine, mut theirs) = (self.room[Packet::HEADROOM..][..len].to_vec(), unhex(hex));
                    if af == Af::Inet {
                        // Pf leaves the header checksum of packets coming in to the host.
                        assert_eq!(pfvm::wire::checksum::of(&mine[..20]), 0, "{place}");
                        mine[10..12].fill(0);
                        theirs[10..12].fill(0);
                    }
                    assert_eq!(mine, theirs, "{place}");
                }
            }
        }
    }
}

#[test]
fn fragments_fare_as_in_pf() {
    let Some(stories) = tests::stories() else { return };
    let mut all = [0; 4];
    for story in &stories {
        let name = story["name"].as_str().unwrap();
        let rules = story["rules"].as_str().unwrap();
        let steps = story["steps"].as_array().unwrap();
        let still = steps.iter().all(|s| s["op"] != "load" && s["op"] != "pfctl");
        // Other rules change the bytes on the way; what waits and what is dropped they do not change.
        let plain =
            ["nat-to", "rdr-to", "af-to", "binat", "scrub", "skip", "set tos"].iter().all(|w| !rules.contains(w));
        if !still || rules.contains("skip") {
            continue;
        }
        let mut player = Player::new(rules, plain);
        for (n, step) in steps.iter().enumerate() {
            player.step(step, &format!("{name} step {n} rules {rules}"));
        }
        for (sum, n) in all.iter_mut().zip(player.compared) {
            *sum += n;
        }
    }
    let [held, dropped, whole, bytes] = all;
    println!("{held} held, {dropped} dropped, {whole} whole, {bytes} compared");
    assert!(held > 100 && dropped > 20 && whole > 20 && bytes > 10, "{all:?}");
}
