//! Pools, and the ports of a translation.

use super::*;

/// The words of a key written as hex digits.
fn key(hex: u128) -> [u32; 4] {
    let b = hex.to_be_bytes();
    core::array::from_fn(|i| u32::from_be_bytes(b[i * 4..][..4].try_into().unwrap()))
}

fn ask(env: &mut Fake, p: &Pool, st: &mut PoolState, source: &str) -> Option<Addr> {
    let (af, source) = parse(source);
    env.held.clear();
    pool::map(env, p, st, &Request { af, rule: RuleId(1), kind: SrcKind::Nat, source }, Some(&mut addr::ZERO.clone()))
}

fn walk(env: &mut Fake, p: &Pool, n: usize) -> Vec<u8> {
    let mut st = PoolState::new(p, [0; 4]);
    (0..n).map(|_| ask(env, p, &mut st, "10.0.0.5").unwrap().0[3]).collect()
}

/// Recorded from pf: key 0x0123456789abcdef0123456789abcdef over 203.0.113.16/28, and one over 172.16.0.8/29.
#[test]
fn a_fixed_key_gives_the_addresses_pf_gives() {
    let mut env = Fake::default();
    let mut p = pool(PoolKind::SourceHash, net("203.0.113.16", 28));
    p.key = Some(key(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef));
    let mut st = PoolState::new(&p, [9; 4]);
    for (from, last) in [(20, 16), (7, 26), (6, 29), (5, 27), (66, 18)] {
        let got = ask(&mut env, &p, &mut st, &format!("10.0.0.{from}"));
        assert_eq!(got, Some(a(&format!("203.0.113.{last}"))), "10.0.0.{from}");
    }
    let mut p = pool(PoolKind::SourceHash, net("172.16.0.8", 29));
    p.key = Some(key(0x1111_2222_3333_4444_5555_6666_7777_8888));
    let mut st = PoolState::new(&p, [9; 4]);
    assert_eq!(ask(&mut env, &p, &mut st, "198.51.100.7"), Some(a("172.16.0.11")));
    assert_eq!(ask(&mut env, &p, &mut st, "203.0.113.9"), Some(a("172.16.0.9")));
}

#[test]
fn plain_kinds() {
    let mut env = Fake::default();
    assert_eq!(walk(&mut env, &pool(PoolKind::None, net("192.0.2.1", 32)), 3), [1, 1, 1]);
    assert_eq!(walk(&mut env, &pool(PoolKind::Bitmask, net("203.0.113.16", 28)), 1), [21]);
    assert_eq!(
        walk(&mut env, &pool(PoolKind::RoundRobin, net("203.0.113.16", 29)), 9),
        [16, 17, 18, 19, 20, 21, 22, 23, 16]
    );
    assert_eq!(walk(&mut env, &pool(PoolKind::RoundRobin, net("192.0.2.9", 32)), 2), [9, 9]);
    let random = pool(PoolKind::Random, net("203.0.113.16", 30));
    let got = walk(&mut env, &random, 200);
    assert!(got.iter().all(|b| (16..20).contains(b)));
    assert!((16..20).all(|b| got.contains(&b)));
    let mut st = PoolState::new(&pool(PoolKind::Random, net("2001:db8::", 120)), [0; 4]);
    let got = ask(&mut env, &pool(PoolKind::Random, net("2001:db8::", 120)), &mut st, "2001:db8:a::5").unwrap();
    assert!(addr::same_net(&got, addr::mask(Af::Inet6, 120), &a("2001:db8::")));
    let t = env.table(1, &[("192.0.2.1", 32, 1)]);
    assert_eq!(ask(&mut env, &pool(PoolKind::None, PoolAddr::Table(t)), &mut st, "10.0.0.1"), None);
    assert_eq!(ask(&mut env, &pool(PoolKind::None, PoolAddr::None), &mut st, "10.0.0.1"), None);
    let dynamic = PoolAddr::Dynamic { table: t, prefix: 255 };
    assert_eq!(ask(&mut env, &pool(PoolKind::None, dynamic), &mut st, "10.0.0.1"), Some(a("192.0.2.1")));
    assert_eq!(ask(&mut env, &pool(PoolKind::RoundRobin, dynamic), &mut st, "2001:db8::1"), None);
}

#[test]
fn tables_are_walked_in_turn() {
    let mut env = Fake::default();
    let t = env.table(1, &[("192.0.2.2", 32, 1), ("192.0.2.1", 32, 1), ("2001:db8::1", 128, 1), ("!192.0.2.7", 32, 1)]);
    let rr = pool(PoolKind::RoundRobin, PoolAddr::Table(t));
    assert_eq!(walk(&mut env, &rr, 5), [1, 2, 1, 2, 1]);
    let mut st = PoolState::new(&rr, [0; 4]);
    assert_eq!(ask(&mut env, &rr, &mut st, "2001:db8:a::1"), Some(a("2001:db8::1")));
    // A network with a smaller one and an exclusion inside: their addresses are the inner entry's or nobody's.
    let t = env.table(2, &[("192.0.2.0", 29, 1), ("192.0.2.2", 31, 1), ("!192.0.2.5", 32, 1)]);
    let rr = pool(PoolKind::RoundRobin, PoolAddr::Table(t));
    assert_eq!(walk(&mut env, &rr, 10), [0, 1, 4, 6, 7, 2, 3, 0, 1, 4]);
    // An entry that goes while the pool stands on it.
    let t = env.table(3, &[("192.0.2.1", 32, 1), ("192.0.2.9", 32, 1)]);
    let rr = pool(PoolKind::RoundRobin, PoolAddr::Table(t));
    let mut st = PoolState::new(&rr, [0; 4]);
    assert_eq!(ask(&mut env, &rr, &mut st, "10.0.0.1"), Some(a("192.0.2.1")));
    env.table(3, &[("192.0.2.4", 32, 1)]);
    assert_eq!(ask(&mut env, &rr, &mut st, "10.0.0.1"), Some(a("192.0.2.4")));
    env.tables.clear();
    assert_eq!(ask(&mut env, &rr, &mut st, "10.0.0.1"), None);
    // Link-local addresses of an interface are passed over.
    let t = env.table(4, &[("fe80::1", 128, 1), ("2001:db8::7", 128, 1), ("2001:db8::9", 128, 1)]);
    let rr = pool(PoolKind::RoundRobin, PoolAddr::Dynamic { table: t, prefix: 255 });
    let mut st = PoolState::new(&rr, [0; 4]);
    let got: Vec<_> = (0..4).map(|_| ask(&mut env, &rr, &mut st, "2001:db8:a::1").unwrap().0[15]).collect();
    assert_eq!(got, [7, 9, 7, 9]);
}

#[test]
fn weights_and_states_steer() {
    let mut env = Fake::default();
    let t = env.table(1, &[("192.0.2.1", 32, 3), ("192.0.2.2", 32, 1)]);
    let rr = pool(PoolKind::RoundRobin, PoolAddr::Table(t));
    // pf looks at the table twice a choice, and lowers the round's weight each time it passes the first entry.
    assert_eq!(walk(&mut env, &rr, 9), [1, 2, 1, 1, 2, 1, 1, 2, 1]);
    let ls = pool(PoolKind::LeastStates, PoolAddr::Table(t));
    let got = walk(&mut env, &ls, 400);
    assert_eq!(got.iter().filter(|b| **b == 1).count(), 300, "{got:?}");
    for _ in 0..300 {
        assert!(pool::release(&mut env, &ls, Af::Inet, &a("192.0.2.1")));
    }
    assert_eq!(env.longest(t, Af::Inet, &a("192.0.2.1")).unwrap().states, 0);
    let mut st = PoolState::new(&ls, [0; 4]);
    assert_eq!(ask(&mut env, &ls, &mut st, "10.0.0.1"), Some(a("192.0.2.1")));
    // States are counted for host entries only, so a network has no least.
    let t = env.table(2, &[("192.0.2.0", 29, 1)]);
    let ls = pool(PoolKind::LeastStates, PoolAddr::Table(t));
    assert_eq!(ask(&mut env, &ls, &mut st, "10.0.0.1"), None);
}

/// Recorded from pf: three hosts, no state ends.
#[test]
fn least_states_takes_turns_among_equals() {
    let mut env = Fake::default();
    let t = env.table(1, &[("203.0.113.16", 32, 1), ("203.0.113.17", 32, 1), ("203.0.113.18", 32, 1)]);
    let ls = pool(PoolKind::LeastStates, PoolAddr::Table(t));
    assert_eq!(walk(&mut env, &ls, 5), [16, 17, 18, 16, 17]);
}

#[test]
fn sticky_sources_keep_their_address() {
    let mut env = Fake::default();
    let t = env.table(1, &[("192.0.2.1", 32, 1), ("192.0.2.2", 32, 1)]);
    let mut rr = pool(PoolKind::RoundRobin, PoolAddr::Table(t));
    rr.sticky = true;
    let mut st = PoolState::new(&rr, [0; 4]);
    let mut got = Vec::new();
    for from in [5, 20, 66, 20, 6, 5, 7] {
        got.push(ask(&mut env, &rr, &mut st, &format!("10.0.0.{from}")).unwrap().0[3]);
    }
    assert_eq!(got, [1, 2, 1, 2, 2, 1, 1]);
    env.table(1, &[("192.0.2.2", 32, 1)]);
    assert_eq!(ask(&mut env, &rr, &mut st, "10.0.0.5"), Some(a("192.0.2.2")), "its address has left the pool");
    env.no_nodes = true;
    assert_eq!(ask(&mut env, &rr, &mut st, "10.0.0.99"), None);
}

#[test]
fn ports_are_unpredictable_and_owned_once() {
    let mut env = Fake { seed: 7, ..Fake::default() };
    let mut p = pool(PoolKind::None, net("192.0.2.1", 32));
    let pd = seen(&packet("10.0.0.5", "198.51.100.7", proto::TCP, &tcp(1000, 80, &[], &[])), Direction::Out);
    let mut st = PoolState::default();
    let mut take = |env: &mut Fake, p: &Pool, pd: &PacketDesc| {
        let (to, port) = ports::source(env, RuleId(1), p, &mut st, pd)?;
        let key = StateKey::of_packet(pd.af, pd.proto, pd.dir, (to, port), (pd.ndaddr, pd.ndport));
        assert!(env.taken.insert((key, KeySide::Wire)), "port {port} given twice");
        Some(port)
    };
    let first: Vec<u16> = (0..50).map(|_| take(&mut env, &p, &pd).unwrap()).collect();
    assert!(first.iter().all(|p| *p >= 50001));
    let steps: std::collections::HashSet<i32> = first.windows(2).map(|w| i32::from(w[1]) - i32::from(w[0])).collect();
    assert!(steps.len() > 45, "the next port follows from the last one");
    // All of a small range is used, then none is left; another destination reuses it.
    p.ports = PoolPorts { lo: 6003, hi: 5996, base: 0, fixed: false };
    env.reserved.insert((proto::TCP, 5999));
    let mut got: Vec<u16> = (0..3).map(|_| take(&mut env, &p, &pd).unwrap()).collect();
    got.sort_unstable();
    assert_eq!(got, [5996, 5997, 5998], "not those of the host, not those of X11");
    assert_eq!(take(&mut env, &p, &pd), None);
    let other = PacketDesc { ndport: 81, ..pd };
    assert!(take(&mut env, &p, &other).is_some());
    p.ports = PoolPorts { lo: 4444, hi: 4444, base: 0, fixed: false };
    assert_eq!((take(&mut env, &p, &pd), take(&mut env, &p, &pd)), (Some(4444), None));
    p.ports = PoolPorts { lo: 0, hi: 0, base: 0, fixed: true };
    assert_eq!((take(&mut env, &p, &pd), take(&mut env, &p, &pd)), (Some(1000), None));
}

#[test]
fn a_range_nearly_full_costs_little() {
    let mut env = Fake { seed: 3, ..Fake::default() };
    let p = pool(PoolKind::None, net("192.0.2.1", 32));
    let pd = seen(&packet("10.0.0.5", "198.51.100.7", proto::UDP, &udp(1000, 53, &[])), Direction::Out);
    let mut st = PoolState::default();
    let size = u32::from(u16::MAX - 50_000);
    let (mut worst, mut sum) = (0, 0);
    for n in 0..size * 99 / 100 {
        env.probes.set(0);
        let (to, port) = ports::source(&mut env, RuleId(1), &p, &mut st, &pd).unwrap();
        env.taken.insert((StateKey::of_packet(pd.af, pd.proto, pd.dir, (to, port), (pd.ndaddr, 53)), KeySide::Wire));
        if n > size * 98 / 100 {
            worst = worst.max(env.probes.get());
            sum += env.probes.get();
        }
    }
    assert!(worst < 2000 && sum / (size / 100) < 150, "{worst} {sum}");
    for port in 50_001..=u16::MAX {
        let key = StateKey::of_packet(pd.af, pd.proto, pd.dir, (a("192.0.2.1"), port), (pd.ndaddr, 53));
        env.taken.insert((key, KeySide::Wire));
    }
    env.probes.set(0);
    assert_eq!(ports::source(&mut env, RuleId(1), &p, &mut st, &pd), None);
    assert!(env.probes.get() <= ports::PROBES);
    // A pool that goes on to other addresses is bounded too, and finds the free one.
    let rr = pool(PoolKind::RoundRobin, net("192.0.2.0", 30));
    let mut st = PoolState { counter: a("0.0.0.1"), ..PoolState::default() };
    env.probes.set(0);
    assert_eq!(ports::source(&mut env, RuleId(1), &rr, &mut st, &pd), None, "the search ended with the first address");
    assert!(env.probes.get() <= ports::PROBES);
    let narrow = Pool { ports: PoolPorts { lo: 60_000, hi: 60_099, base: 0, fixed: false }, ..rr };
    let mut st = PoolState { counter: a("0.0.0.1"), ..PoolState::default() };
    assert_eq!(ports::source(&mut env, RuleId(1), &narrow, &mut st, &pd).unwrap().0, a("192.0.2.2"));
}

#[test]
fn icmp_and_the_rest() {
    let mut env = Fake::default();
    let p = pool(PoolKind::None, net("192.0.2.1", 32));
    let mut st = PoolState::default();
    let mut echo =
        seen(&packet("10.0.0.5", "198.51.100.7", proto::ICMP, &icmp(8, 0, [0, 9, 0, 1], &[])), Direction::Out);
    (echo.nsport, echo.ndport) = (9, 8);
    assert!(ports::source(&mut env, RuleId(1), &p, &mut st, &echo).unwrap().1 > 0);
    let stamp = PacketDesc { ndport: 13, ..echo };
    assert_eq!(ports::source(&mut env, RuleId(1), &p, &mut st, &stamp), Some((a("192.0.2.1"), 0)));
    let gre = seen(&packet("10.0.0.5", "198.51.100.7", proto::GRE, &[0; 8]), Direction::Out);
    assert_eq!(ports::source(&mut env, RuleId(1), &p, &mut st, &gre), Some((a("192.0.2.1"), 0)));
    let key = StateKey::of_packet(Af::Inet, proto::GRE, Direction::Out, (a("192.0.2.1"), 0), (gre.dst, 0));
    env.taken.insert((key, KeySide::Wire));
    assert_eq!(ports::source(&mut env, RuleId(1), &p, &mut st, &gre), None, "one inside host a peer");
}

/// Recorded from pf: 8000 to 8010 onto 9000:9003 wraps at the range's size.
#[test]
fn redirected_ports() {
    let r = |lo, hi, base, d| ports::redirected(&PoolPorts { lo, hi, base, fixed: false }, d);
    assert_eq!(
        (8000..8006).map(|d| r(9000, 9003, 8000, d).unwrap()).collect::<Vec<_>>(),
        [9000, 9001, 9002, 9003, 9000, 9001]
    );
    assert_eq!((r(9000, 0, 8000, 8010), r(9000, 9000, 8000, 8010), r(0, 0, 80, 80)), (Some(9010), Some(9000), None));
    assert_eq!(r(65_530, 0, 8000, 8010), Some(5));
}

#[test]
fn a_rule_changes_the_translated_half() {
    let mut env = Fake::default();
    let list = [pool(PoolKind::None, net("192.0.2.1", 32)), pool(PoolKind::Bitmask, net("172.16.0.0", 24))];
    let mut states = Vec::new();
    let mut pools = pools(&list, &mut states);
    let mut last = None;
    let mut pd = seen(&packet("10.0.0.5", "198.51.100.7", proto::TCP, &tcp(1000, 80, &[], &[])), Direction::Out);
    transaddr::apply(&mut env, &mut pools, &rule(Some(0), None, 0), &mut pd, &mut last).unwrap();
    assert_eq!((pd.nsaddr, pd.src, pd.ndaddr), (a("192.0.2.1"), a("10.0.0.5"), pd.dst));
    assert!(pd.nsport >= 50_001 && pd.sport == 1000 && last.is_some());
    transaddr::apply(&mut env, &mut pools, &rule(None, Some(1), 0), &mut pd, &mut last).unwrap();
    assert_eq!((pd.ndaddr, pd.ndport), (a("172.16.0.7"), 80));
    let missing = transaddr::apply(&mut env, &mut pools, &rule(Some(9), None, 0), &mut pd, &mut last);
    assert_eq!(missing, Err(NoTranslation));
}

#[test]
fn least_states_counts_one_rule_at_a_time() {
    let mut env = Fake::default();
    let t = env.table(1, &[("192.0.2.1", 32, 1), ("192.0.2.2", 32, 1)]);
    let list = [pool(PoolKind::LeastStates, PoolAddr::Table(t)), pool(PoolKind::None, net("192.0.2.9", 32))];
    let mut states = Vec::new();
    let mut pools = pools(&list, &mut states);
    let mut last = None;
    let mut pd = seen(&packet("10.0.0.5", "198.51.100.7", proto::TCP, &tcp(1000, 80, &[], &[])), Direction::Out);
    let count = |env: &Fake| env.tables[&t].iter().map(|(_, e)| e.states).sum::<u64>();
    transaddr::apply(&mut env, &mut pools, &rule(Some(0), None, 0), &mut pd, &mut last).unwrap();
    assert_eq!(count(&env), 1);
    transaddr::apply(&mut env, &mut pools, &rule(Some(1), None, 0), &mut pd, &mut last).unwrap();
    assert_eq!(count(&env), 0, "the second rule's address replaces the first one's");
    transaddr::apply(&mut env, &mut pools, &rule(Some(0), None, 0), &mut pd, &mut last).unwrap();
    let wire = StateKey::of_packet(Af::Inet, 6, Direction::Out, (pd.nsaddr, pd.nsport), (pd.ndaddr, 80));
    let counted = transaddr::Counted { nat: Some(PoolId(0)), ..transaddr::Counted::default() };
    transaddr::end(&mut env, &mut pools, Direction::Out, &counted, &wire);
    assert_eq!(count(&env), 0);
}
