//! The packet path as a whole: it never allocates, a batch is what its packets are one by one, and no packet pays for
//! the size of a table.

use pfvm::engine::{Arriving, Carried, Outcome, Scratch, Verdict};
use pfvm::packet::{Packet, PktMeta};
use tests::mixed::{Bench, Given, LONGEST, Numbers, RULES, Traffic};
use tests::sys::{Failing, with_allocations};

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// Packets of one run.
const PACKETS: usize = 100_000;

/// Runs something and counts its allocations.
fn counted<T>(f: impl FnOnce() -> T) -> (T, u32) {
    with_allocations(u32::MAX, f)
}

#[test]
fn the_counter_counts() {
    let (v, n) = counted(|| vec![1_u8; 10]);
    assert_eq!((v.len(), n), (10, 1));
    assert_eq!(counted(|| 1).1, 0);
}

/// Runs traffic through an engine: allocations made, and packets by verdict.
fn drive(b: &mut Bench, traffic: &mut Traffic) -> (u32, [u32; 5]) {
    let mut numbers = Numbers(3);
    let mut verdicts = [0; 5];
    let ((), allocations) = counted(|| {
        for i in 0..PACKETS {
            let mut g = traffic.packet();
            let out = b.one(&mut g, Carried::default());
            traffic.after(&g, &out, &b.host);
            let kind = match out.verdict {
                Verdict::Pass => 0,
                Verdict::Drop => 1,
                Verdict::Consumed => 2,
                Verdict::Reroute => 3,
                Verdict::Divert(_) => 4,
            };
            verdicts[kind] += 1;
            b.host.ms += u64::from(numbers.below(20));
            if i % 5000 == 0 {
                // An operator lets the sources in again that went too far.
                let bad = b.engine.tables.named(b"", b"bad").map(|t| t.slot);
                if let Some(slot) = bad {
                    b.engine.tables.all.clear(slot);
                }
                // Then one opens connections until it is among them, and another begins more than there is room for.
                for port in 1..8 {
                    b.connect([198, 51, 100, 7], [192, 0, 2, 30], (port, 25));
                }
                for port in 1..60 {
                    let [mut syn, ..] = Given::handshake([198, 51, 100, 8], [192, 0, 2, 10], (port, 443));
                    b.one(&mut syn, Carried::default());
                }
            }
            if numbers.below(50) == 0 {
                b.host.ms += 1000;
                b.engine.tick(&mut b.host);
            }
        }
    });
    (allocations, verdicts)
}

#[test]
fn nothing_allocates_on_the_packet_path() {
    // Once with room, once with full tables.
    let small = RULES.replace("states 600, src-nodes 64, frags 64", "states 50, src-nodes 5, frags 8");
    let mut benches = [Bench::new(RULES, 5), Bench::new(&small, 6)];
    for b in &mut benches {
        let (allocations, verdicts) = drive(b, &mut Traffic::new(11));
        assert_eq!(allocations, 0, "{verdicts:?}");
        // The traffic must have gone where allocations could hide.
        let [pass, drop, consumed, reroute, _] = verdicts;
        assert!(pass > 5000 && drop > 5000 && consumed > 50 && reroute > 5, "{verdicts:?}");
        assert!(b.host.sends > 100 && b.host.logs > 100, "{} sent, {} logged", b.host.sends, b.host.logs);
        let [searches, inserts, removals] = b.engine.table.counters();
        assert!(searches > 20_000 && inserts > 3000 && removals > 2000, "{searches} {inserts} {removals}");
        assert!(b.engine.nodes.counters()[1] > 50);
    }
    use pfvm::engine::counters::LimitCounter as L;
    use pfvm::packet::DropReason as R;
    let met = |r| benches.iter().any(|b| b.engine.counters.of_reason(r) > 0);
    for reason in [R::Match, R::Fragment, R::Short, R::Normalize, R::Memory, R::StateMismatch, R::Synproxy, R::SrcLimit]
    {
        assert!(met(reason), "{reason:?} never met");
    }
    for limit in [L::OverloadTable, L::OverloadFlush, L::SyncookiesSent] {
        assert!(benches.iter().any(|b| b.engine.counters.of_limit(limit) > 0), "{limit:?} never met");
    }
}

#[test]
fn a_batch_is_what_its_packets_are_one_by_one() {
    let (mut one, mut many) = (Bench::new(RULES, 7), Bench::new(RULES, 7));
    let (mut traffic, mut numbers) = (Traffic::new(23), Numbers(17));
    let meta = PktMeta::default();
    for _ in 0..2500 {
        let count = 1 + numbers.below(70) as usize;
        let mut batch: Vec<Given> = (0..count).map(|_| traffic.packet()).collect();
        let carried = |i: usize| Carried { tag: u16::from(i % 7 == 3), generated: i % 31 == 30, ..Carried::default() };
        let mut windows: Vec<Vec<u8>> =
            batch.iter().map(|g| [&[0; Packet::HEADROOM][..], &g.bytes[..g.len]].concat()).collect();
        let mut packets: Vec<Packet<'_>> =
            windows.iter_mut().filter_map(|w| Packet::new(w, Packet::HEADROOM, &[])).collect();
        let mut arriving: Vec<Arriving<'_, '_>> = packets
            .iter_mut()
            .zip(&batch)
            .enumerate()
            .map(|(i, (pkt, g))| Arriving { pkt, meta: &meta, seen: g.seen, carried: carried(i) })
            .collect();
        let mut room = vec![0; 70_000];
        let mut outcomes: Vec<(Outcome, Option<Vec<u8>>)> = Vec::new();
        many.engine.process_batch(&mut arriving, &mut room, &mut many.host, |i, o, whole| {
            assert_eq!(i, outcomes.len());
            outcomes.push((*o, whole.map(<[u8]>::to_vec)));
        });
        assert_eq!(outcomes.len(), count);
        for (i, (g, (outcome, whole))) in batch.iter_mut().zip(&outcomes).enumerate() {
            let out = one.one(g, carried(i));
            assert_eq!(out, *outcome);
            let bytes = whole.as_deref().unwrap_or_else(|| packets[i].window());
            assert_eq!(g.bytes[..g.len], bytes[..bytes.len().min(LONGEST)]);
            traffic.after(g, &out, &one.host);
        }
        for b in [&mut one, &mut many] {
            b.host.ms += 300;
            b.engine.tick(&mut b.host);
        }
    }
    assert_eq!(one.looks(), many.looks());
    assert!(one.engine.table.counters()[1] > 3000);
}

#[test]
fn who_shares_the_engine_decides_the_same() {
    // One packet after the other, alone, the long way; the same with the engine shared where that will do, else the short
    // way where that is open; and so in batches.
    let rules = RULES.replace("match in all scrub", "match in on em1 proto udp scrub").replace(" sticky-address", "");
    let [mut alone, mut shared, mut many] = [7; 3].map(|seed| Bench::new(&rules, seed));
    alone.engine.short_way = false;
    let (mut traffic, mut numbers) = (Traffic::new(29), Numbers(5));
    let mut scratch = Scratch::new().unwrap();
    let (meta, mut known, mut batched) = (PktMeta::default(), 0, 0);
    for _ in 0..2500 {
        let count = 1 + numbers.below(70) as usize;
        let given: Vec<Given> = (0..count).map(|_| traffic.packet()).collect();
        let carried = |i: usize| Carried { tag: u16::from(i % 7 == 3), generated: i % 31 == 30, ..Carried::default() };
        let mut windows: Vec<Vec<u8>> =
            given.iter().map(|g| [&[0; Packet::HEADROOM][..], &g.bytes[..g.len]].concat()).collect();
        let mut packets: Vec<Packet<'_>> =
            windows.iter_mut().filter_map(|w| Packet::new(w, Packet::HEADROOM, &[])).collect();
        let mut arriving: Vec<Arriving<'_, '_>> = packets
            .iter_mut()
            .zip(&given)
            .enumerate()
            .map(|(i, (pkt, g))| Arriving { pkt, meta: &meta, seen: g.seen, carried: carried(i) })
            .collect();
        let (mut room, mut outcomes) = (vec![0; 70_000], Vec::new());
        let mut from = 0;
        while from < count {
            // A share of the engine up to a packet that wants it alone; then that packet, and a share again.
            let rest = &mut arriving[from..];
            from += many.engine.pass_known_batch(rest, &mut scratch, many.host.ms, |i, o| {
                assert_eq!(from + i, outcomes.len());
                outcomes.push((*o, None));
                batched += 1;
            });
            let Some(next) = arriving.get_mut(from..).and_then(|rest| rest.get_mut(..1)) else { break };
            many.engine.process_batch(next, &mut room, &mut many.host, |_, o, whole| {
                outcomes.push((*o, whole.map(<[u8]>::to_vec)));
            });
            from += 1;
        }
        assert_eq!(outcomes.len(), count);
        for (i, (g, (outcome, whole))) in given.iter().zip(&outcomes).enumerate() {
            let (mut a, mut b) = (*g, *g);
            let out = alone.one(&mut a, carried(i));
            let other = match shared.known(&mut b, carried(i)) {
                Some(out) => {
                    known += 1;
                    out
                }
                None => shared.one(&mut b, carried(i)),
            };
            assert_eq!((out, out), (other, *outcome));
            assert_eq!(a.bytes[..a.len], b.bytes[..b.len]);
            let bytes = whole.as_deref().unwrap_or_else(|| packets[i].window());
            assert_eq!(a.bytes[..a.len], bytes[..bytes.len().min(LONGEST)]);
            traffic.after(&a, &out, &alone.host);
        }
        for b in [&mut alone, &mut shared, &mut many] {
            b.host.ms += 300;
            b.engine.tick(&mut b.host);
        }
    }
    assert_eq!(alone.looks(), shared.looks());
    assert_eq!(alone.looks(), many.looks());
    assert!(known > 5000 && known == batched, "{known} {batched} of known states");
}

/// A source with many connections, and what one too many of another of its rules does to them.
#[test]
fn a_flush_is_bounded_and_seems_whole() {
    const RULES: &str = "\
set limit states 20000
set timeout { udp.first 600, udp.single 600, udp.multiple 600 }
table <bad> persist
pass in on em1 proto udp keep state
pass in on em1 proto tcp keep state (max-src-conn 1, overload <bad> flush global)
";
    let mut b = Bench::new(RULES, 1);
    let datagram = |source: u8, port: u16| Given::datagram([198, 51, 100, source], [192, 0, 2, 10], (port, 53));
    for port in 1000..6000 {
        for source in [1, 2] {
            b.one(&mut datagram(source, port), Carried::default());
        }
    }
    assert_eq!(b.engine.table.len(), 10_000);
    let closed = |b: &Bench| b.engine.table.iter().filter(|s| b.engine.table.get(*s).unwrap().is_purge()).count();
    for port in [1, 2] {
        for mut g in Given::handshake([198, 51, 100, 1], [192, 0, 2, 10], (port, 25)) {
            b.one(&mut g, Carried::default());
        }
    }
    let limit = b.engine.counters.of_limit(pfvm::engine::counters::LimitCounter::OverloadFlush);
    assert_eq!(limit, 1);
    let first = closed(&b);
    assert!((1..=257).contains(&first), "{first} states closed by one packet");
    // A datagram that meets the end of its state is as good as one that came after the flush: the state is found no more,
    // and in the way of a new one until it is purged. That of another source lives on.
    let mut one = |source: u8| b.one(&mut datagram(source, 5999), Carried::default());
    assert_eq!((one(1).verdict, one(2).verdict, one(1).verdict), (Verdict::Drop, Verdict::Pass, Verdict::Drop));
    assert_eq!(b.engine.counters.of_reason(pfvm::packet::DropReason::StateInsert), 2);
    let mut left = 0;
    for _ in 0..40 {
        b.host.ms += 1000;
        b.engine.tick(&mut b.host);
        let of = |source: u8| {
            let theirs = |s: &u32| b.engine.table.get(*s).is_some_and(|s| s.wire().addr[0].0[3] == source);
            b.engine.table.iter().filter(theirs).count()
        };
        assert_eq!(of(2), 5000);
        left = of(1);
    }
    assert_eq!(left, 0);
}

#[test]
fn one_tick_looks_at_a_share_of_the_states() {
    const RULES: &str = "set limit states 20000\nset timeout { udp.first 1, interval 10 }\npass in on em1 keep state\n";
    let mut b = Bench::new(RULES, 1);
    for port in 0..10_000 {
        b.one(&mut Given::datagram([198, 51, 100, 1], [192, 0, 2, 10], (port, 53)), Carried::default());
    }
    b.host.ms += 5000;
    // All are over: each tick removes those among the tenth it looks at, and little more than that.
    let mut before = b.engine.table.len();
    assert_eq!(before, 10_000);
    for _ in 0..100 {
        b.host.ms += 1000;
        b.engine.tick(&mut b.host);
        let gone = before - b.engine.table.len();
        assert!(gone <= before / 10 + 128, "{gone} of {before}");
        before -= gone;
    }
    assert_eq!(before, 0);
}
