//! Threads that share an engine: what they leave is what one thread leaves that takes the same packets one by one.
//!
//! Packets are such that their order does not matter: datagrams of known states both ways, segments inside the windows. Rules
//! count in every way that is done with the engine shared: at the rule, its anchor, match rules; some translate and scrub.
//! Meanwhile rules are swapped and time passes, with the engine held alone.

use std::sync::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use pfvm::engine::{Carried, Scratch, Verdict};
use pfvm::packet::{Packet, PktMeta};
use tests::mixed::{Bench, Given, Numbers, program};

const RULES: &str = "\
match in on em1 proto udp scrub (no-df min-ttl 9) set tos 0x08
match in on em1 inet proto tcp to port 443 tag WEB
anchor in on em1 {
    pass proto udp to port 53 set prio 5
}
pass in on em1 inet proto tcp to port 80 rdr-to 10.0.0.5 port 8080
pass in on em1 inet proto udp to port 123 rdr-to 10.0.0.6
pass in on em1 inet proto { tcp udp gre }
";

const THREADS: usize = 4;
const PACKETS: usize = 12_000;
const SWAPS: usize = 6;

/// An engine with some conversations, and two packets of each.
fn conversations(seed: u64) -> (Bench, Vec<[Given; 2]>) {
    let mut b = Bench::new(&format!("set limit states 200\n{RULES}"), seed);
    let mut all = Vec::new();
    for (i, port) in (0..40).zip([53, 80, 123, 443, 4000].into_iter().cycle()) {
        let (src, dst, ports) = ([198, 51, 100, i], [192, 0, 2, 10], (2000 + u16::from(i), port));
        all.push(if matches!(port, 80 | 443) {
            b.connect(src, dst, ports)
        } else {
            let asked = Given::datagram(src, dst, ports);
            [asked, b.answered(asked)]
        });
    }
    assert_eq!(b.engine.table.len(), 40);
    (b, all)
}

/// The packets of a run: which conversation, and which side.
fn order(seed: u64) -> Vec<(usize, usize)> {
    let mut numbers = Numbers(seed | 1);
    // Half of them of one conversation.
    let which = |n: &mut Numbers| if n.below(2) == 0 { 7 } else { n.below(40) as usize };
    (0..PACKETS).map(|_| (which(&mut numbers), numbers.below(2) as usize)).collect()
}

#[test]
fn threads_leave_what_one_thread_leaves() {
    for seed in 1..=6 {
        let (mut alone, packets) = conversations(seed);
        let (b, _) = conversations(seed);
        let (order, ms) = (order(seed), b.host.ms);
        for (which, side) in &order {
            assert_eq!(alone.one(&mut packets[*which][*side].clone(), Carried::default()).verdict, Verdict::Pass);
        }
        let (b, wanted_it_alone) = (RwLock::new(b), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for mine in order.chunks(PACKETS / THREADS) {
                let (b, packets, wanted_it_alone) = (&b, &packets, &wanted_it_alone);
                scope.spawn(move || {
                    let mut scratch = Scratch::new().unwrap();
                    for (which, side) in mine {
                        let mut g = packets[*which][*side];
                        let mut packet = Packet::whole(&mut g.bytes[..g.len]);
                        let (meta, carried) = (PktMeta::default(), Carried::default());
                        let known = {
                            let b = b.read().unwrap();
                            b.engine.pass_known(&mut packet, &meta, g.seen, carried, &mut scratch, ms)
                        };
                        let out = known.unwrap_or_else(|| {
                            wanted_it_alone.fetch_add(1, Ordering::Relaxed);
                            b.write().unwrap().one(&mut g, carried)
                        });
                        assert_eq!(out.verdict, Verdict::Pass);
                    }
                });
            }
            for _ in 0..SWAPS {
                let other = program(RULES);
                let mut b = b.write().unwrap();
                b.load(other);
                let Bench { engine, host, .. } = &mut *b;
                engine.tick(host);
            }
        });
        for _ in 0..SWAPS {
            alone.load(program(RULES));
            let Bench { engine, host, .. } = &mut alone;
            engine.tick(host);
        }
        let b = b.into_inner().unwrap();
        assert_eq!(b.looks(), alone.looks(), "seed {seed}");
        let late = wanted_it_alone.into_inner();
        assert!(late * 20 < PACKETS, "{late} of {PACKETS} packets wanted the engine alone");
    }
}
