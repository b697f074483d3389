use super::fake::{Fake, parse};
use super::pool::{PoolState, Pools, Request};
use super::rewrite::{IcmpKey, Target};
use super::transaddr::{NoTranslation, Translation};
use super::*;
use crate::packet::{Checksum, L4, Packet, PacketDesc, PktMeta, describe, proto};
use crate::rule::{Direction, Pool, PoolAddr, PoolId, PoolKind, PoolPorts};
use crate::wire::checksum::{Sum, of, verify_l4};

const NO_PORTS: PoolPorts = PoolPorts { lo: 0, hi: 0, base: 0, fixed: false };

fn a(text: &str) -> Addr {
    parse(text).1
}

fn pool(kind: PoolKind, addr: PoolAddr) -> Pool {
    Pool { kind, sticky: false, addr, ports: NO_PORTS, key: None, iface: None }
}

fn net(text: &str, prefix: u8) -> PoolAddr {
    let (af, addr) = parse(text);
    PoolAddr::Net { af, addr, prefix }
}

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

/// Bytes of an IPv4 or IPv6 packet with right checksums.
fn packet(src: &str, dst: &str, protocol: u8, l4: &[u8]) -> Vec<u8> {
    let (af, s) = parse(src);
    let d = a(dst);
    let mut out = match af {
        Af::Inet => {
            let mut h = vec![0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, protocol, 0, 0];
            h.extend(&s.0[..4]);
            h.extend(&d.0[..4]);
            h[2..4].copy_from_slice(&((20 + l4.len()) as u16).to_be_bytes());
            let c = of(&h);
            h[10..12].copy_from_slice(&c.to_be_bytes());
            h
        }
        Af::Inet6 => {
            let mut h = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
            h[4..6].copy_from_slice(&(l4.len() as u16).to_be_bytes());
            h.extend(&s.0);
            h.extend(&d.0);
            h
        }
    };
    let off = out.len();
    out.extend(l4);
    if let Some(o) = rewrite::sum_offset(protocol) {
        out[off + o..off + o + 2].copy_from_slice(&[0, 0]);
        let start =
            if protocol == proto::ICMP { Sum::new() } else { Sum::new().pseudo(af, &s, &d, protocol, l4.len() as u32) };
        let sum = start.bytes(&out[off..]);
        let c = if protocol == proto::UDP { sum.finish_udp() } else { sum.finish() };
        out[off + o..off + o + 2].copy_from_slice(&c.to_be_bytes());
    }
    out
}

fn tcp(sport: u16, dport: u16, options: &[u8], data: &[u8]) -> Vec<u8> {
    let mut h = vec![0; 20];
    h[..2].copy_from_slice(&sport.to_be_bytes());
    h[2..4].copy_from_slice(&dport.to_be_bytes());
    h[4..12].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    h[12] = ((20 + options.len()) / 4 * 16) as u8;
    h[13] = 0x10;
    h.extend(options);
    h.extend(data);
    h
}

fn udp(sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    let mut h = sport.to_be_bytes().to_vec();
    h.extend(dport.to_be_bytes());
    h.extend(((8 + data.len()) as u16).to_be_bytes());
    h.extend([0, 0]);
    h.extend(data);
    h
}

fn icmp(kind: u8, code: u8, rest: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut h = vec![kind, code, 0, 0];
    h.extend(rest);
    h.extend(data);
    h
}

const META: PktMeta = PktMeta {
    l4: Checksum::Complete,
    ip: Checksum::Complete,
    segments: crate::packet::Segments::One,
    length_outside: false,
};

fn seen(bytes: &[u8], dir: Direction) -> PacketDesc {
    let af = if bytes[0] >> 4 == 4 { Af::Inet } else { Af::Inet6 };
    let mut b = bytes.to_vec();
    describe(&Packet::whole(&mut b), &META, af, dir, 1).unwrap()
}

/// Whether all sums of a packet are right, and its lengths.
fn sound(bytes: &[u8]) {
    let pd = seen(bytes, Direction::In);
    let mut b = bytes.to_vec();
    let p = Packet::whole(&mut b);
    let (off, tot) = (pd.off as usize, pd.tot_len as usize);
    assert_eq!(tot, bytes.len());
    if pd.af == Af::Inet {
        assert!(matches!(of(&bytes[..20]), 0 | 0xffff), "header sum");
    }
    if rewrite::sum_offset(pd.proto).is_some() {
        assert!(verify_l4(&p, pd.af, &pd.src, &pd.dst, pd.proto, off, tot - off), "transport sum of {bytes:02x?}");
    }
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

fn pools<'a>(list: &'a [Pool], states: &'a mut Vec<PoolState>) -> Pools<'a> {
    *states = list.iter().map(|p| PoolState::new(p, [0; 4])).collect();
    Pools { pools: list, states }
}

fn rule(nat: Option<u32>, rdr: Option<u32>, dst_prefix: u8) -> Translation {
    Translation { rule: RuleId(1), nat: nat.map(PoolId), rdr: rdr.map(PoolId), dst_prefix }
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

/// A small generator of numbers.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as u32
    }

    fn addr(&mut self, af: Af) -> Addr {
        let mut b = [0; 16];
        b.iter_mut().for_each(|x| *x = self.next() as u8);
        addr::only(af, &Addr(b))
    }

    fn text(&mut self, af: Af) -> String {
        let a = self.addr(af);
        match af {
            Af::Inet => std::net::Ipv4Addr::new(a.0[0], a.0[1], a.0[2], a.0[3]).to_string(),
            Af::Inet6 => std::net::Ipv6Addr::from(a.0).to_string(),
        }
    }

    fn packet(&mut self) -> Vec<u8> {
        let af = if self.next() & 1 == 0 { Af::Inet } else { Af::Inet6 };
        let data: Vec<u8> = (0..self.next() % 40).map(|_| self.next() as u8).collect();
        let (s, d) = (self.next() as u16, (self.next() as u16).max(1));
        let (protocol, l4) = match (self.next() % 4, af) {
            (0, _) => (proto::TCP, tcp(s, d, &[], &data)),
            (1, _) => (proto::UDP, udp(s, d, &data)),
            (2, Af::Inet) => (proto::ICMP, icmp(8, 0, [1, 2, 3, 4], &data)),
            (2, Af::Inet6) => (proto::ICMPV6, icmp(128, 0, [1, 2, 3, 4], &data)),
            _ => (proto::GRE, data),
        };
        packet(&self.text(af), &self.text(af), protocol, &l4)
    }
}

fn there(b: &mut [u8], meta: &PktMeta, to: &Target) -> PacketDesc {
    let mut pd = seen(b, Direction::Out);
    let mut p = Packet::whole(b);
    let key = IcmpKey { kind: if pd.proto == proto::ICMP { 8 } else { 128 }, query: true };
    rewrite::first(&mut p, meta, &mut pd, to, Some(key)).unwrap();
    pd
}

fn target(pd: &PacketDesc) -> Target {
    let id = pd.icmp().map(|i| i.id);
    Target { src: pd.src, dst: pd.dst, sport: id.unwrap_or(pd.sport), dport: pd.dport }
}

#[test]
fn there_and_back_is_the_same_packet() {
    let mut rng = Rng(5);
    for _ in 0..4000 {
        let old = rng.packet();
        let pd = seen(&old, Direction::Out);
        let to = Target {
            src: rng.addr(pd.af),
            dst: rng.addr(pd.af),
            sport: rng.next() as u16,
            dport: (rng.next() as u16).max(1),
        };
        let mut b = old.clone();
        let now = there(&mut b, &META, &to);
        sound(&b);
        let fresh = seen(&b, Direction::Out);
        assert_eq!((fresh.src, fresh.dst, fresh.sport, fresh.dport), (to.src, to.dst, now.sport, now.dport));
        assert_eq!((fresh.l4, fresh.p_len), (now.l4, now.p_len));
        let back = Target { dport: if pd.icmp().is_some() { to.dport } else { pd.dport }, ..target(&pd) };
        there(&mut b, &META, &back);
        assert_eq!(b, old);
    }
}

#[test]
fn a_wrong_sum_stays_wrong_and_udp_without_one_stays_so() {
    let mut rng = Rng(6);
    for _ in 0..2000 {
        let mut b = rng.packet();
        let pd = seen(&b, Direction::Out);
        let Some(o) = rewrite::sum_offset(pd.proto) else { continue };
        let at = pd.off as usize + o;
        let none = pd.proto == proto::UDP && rng.next() & 1 == 0;
        if none {
            b[at..at + 2].fill(0);
        } else {
            b[at] ^= 0x40;
        }
        let to = Target { src: rng.addr(pd.af), dst: rng.addr(pd.af), sport: 7, dport: 9 };
        there(&mut b, &META, &to);
        let now = seen(&b, Direction::Out);
        if none {
            assert_eq!(b[at..at + 2], [0, 0]);
        } else {
            let n = now.tot_len as usize - now.off as usize;
            let (off, mut c) = (now.off as usize, b.clone());
            assert!(!verify_l4(&Packet::whole(&mut c), now.af, &now.src, &now.dst, now.proto, off, n));
        }
    }
}

#[test]
fn partial_sums_hold_addresses_only() {
    let partial = PktMeta { l4: Checksum::Partial, ip: Checksum::Partial, ..META };
    let mut b = packet("10.0.0.5", "198.51.100.7", proto::TCP, &tcp(1000, 80, &[], b"data"));
    let len = (b.len() - 20) as u32;
    let sum = |s: &str, d: &str| Sum::new().pseudo(Af::Inet, &a(s), &a(d), 6, len).fold().to_be_bytes();
    b[36..38].copy_from_slice(&sum("10.0.0.5", "198.51.100.7"));
    b[10..12].fill(0);
    there(&mut b, &partial, &Target { src: a("192.0.2.1"), dst: a("198.51.100.7"), sport: 60_000, dport: 80 });
    assert_eq!(b[36..38], sum("192.0.2.1", "198.51.100.7"));
    assert_eq!((&b[10..12], &b[20..22]), (&[0, 0][..], &60_000_u16.to_be_bytes()[..]));
    let absent = PktMeta { l4: Checksum::Absent, ..META };
    let mut b = packet("10.0.0.5", "198.51.100.7", proto::TCP, &tcp(1000, 80, &[], b"data"));
    let before = b[36..38].to_vec();
    there(&mut b, &absent, &Target { src: a("192.0.2.1"), dst: a("198.51.100.7"), sport: 60_000, dport: 80 });
    assert_eq!(b[36..38], before);
}

#[test]
fn known_states_rewrite_the_same() {
    let mut rng = Rng(8);
    for _ in 0..500 {
        let old = rng.packet();
        let mut pd = seen(&old, Direction::In);
        if pd.icmp().is_some() {
            continue;
        }
        let to = Target { src: rng.addr(pd.af), dst: rng.addr(pd.af), sport: 1, dport: 2 };
        let (mut x, mut y) = (old.clone(), old.clone());
        rewrite::known(&mut Packet::whole(&mut x), &META, &mut pd, &to).unwrap();
        there(&mut y, &META, &to);
        assert_eq!(x, y);
    }
    let mut b = packet("10.0.0.5", "198.51.100.7", proto::ICMP, &icmp(0, 0, [1, 2, 3, 4], b"x"));
    let mut pd = seen(&b, Direction::In);
    let to = Target { src: a("10.9.9.9"), dst: a("10.0.0.1"), sport: 0, dport: 0 };
    let done = rewrite::icmp_query(&mut Packet::whole(&mut b), &META, &mut pd, &to, 77).unwrap().unwrap();
    sound(&b);
    assert!(done.destination && b[24..26] == [0, 77]);
}

#[test]
fn sequence_numbers_and_sack() {
    // NOP, SACK of two blocks at an odd offset, NOP, a truncated SACK at the end.
    let mut options = vec![1, 5, 18];
    for n in [100_u32, 200, 300, 400] {
        options.extend(n.to_be_bytes());
    }
    options.extend([1, 1, 0, 5, 10]);
    let old = packet("10.0.0.5", "198.51.100.7", proto::TCP, &tcp(1000, 80, &options, b"odd"));
    let mut b = old.clone();
    let mut pd = seen(&b, Direction::Out);
    let mut p = Packet::whole(&mut b);
    assert_eq!(rewrite::sack(&mut p, &META, &pd, 50), Ok(true));
    rewrite::sequence(&mut p, &META, &mut pd, Some(0x1122_3344), Some(7)).unwrap();
    sound(&b);
    assert_eq!(b[24..28], [0x11, 0x22, 0x33, 0x44]);
    assert_eq!(b[28..32], [0, 0, 0, 7]);
    assert_eq!(b[43..47], 50_u32.to_be_bytes());
    assert_eq!(b[55..59], 350_u32.to_be_bytes());
    assert!(matches!(pd.l4, L4::Tcp(t) if t.seq == 0x1122_3344 && t.ack == 7));
    let mut p = Packet::whole(&mut b);
    rewrite::sack(&mut p, &META, &pd, 0_u32.wrapping_sub(50)).unwrap();
    rewrite::sequence(&mut p, &META, &mut pd, Some(0x0102_0304), Some(0x0506_0708)).unwrap();
    assert_eq!(b, old);
}

/// A buffer with headroom for a longer header.
fn roomy(b: &[u8]) -> Vec<u8> {
    [&[0xee; 48][..], b].concat()
}

/// Translates a packet to the other family as `af-to` does.
fn cross(b: &[u8], src: &Addr, dst: &Addr, sport: u16, dport: u16) -> Vec<u8> {
    let mut pd = seen(b, Direction::In);
    pd.naf = if pd.af == Af::Inet { Af::Inet6 } else { Af::Inet };
    (pd.nsaddr, pd.ndaddr) = (*src, *dst);
    let mut buf = roomy(b);
    let mut p = Packet::new(&mut buf, 48, &[]).unwrap();
    let key = IcmpKey { kind: if pd.proto == proto::ICMP { 8 } else { 128 }, query: true };
    let to = Target { src: *src, dst: *dst, sport, dport };
    rewrite::first(&mut p, &META, &mut pd, &to, Some(key)).unwrap();
    af::translate(&mut p, &META, &mut pd, 0x4321).unwrap();
    let out = p.window().to_vec();
    let fresh = seen(&out, Direction::In);
    assert_eq!(
        (pd.af, pd.src, pd.dst, pd.off, pd.tot_len, pd.proto),
        (fresh.af, fresh.src, fresh.dst, fresh.off, fresh.tot_len, fresh.proto)
    );
    assert_eq!((pd.frag.dont, pd.ttl), (fresh.frag.dont, fresh.ttl));
    out
}

#[test]
fn families_change_and_change_back() {
    let mut rng = Rng(9);
    for _ in 0..2000 {
        let old = rng.packet();
        let pd = seen(&old, Direction::In);
        let other = if pd.af == Af::Inet { Af::Inet6 } else { Af::Inet };
        let (src, dst) = (rng.addr(other), rng.addr(other));
        let new = cross(&old, &src, &dst, 11, 12);
        sound(&new);
        let id = pd.icmp().map(|i| i.id);
        let back = cross(&new, &pd.src, &pd.dst, id.unwrap_or(pd.sport), pd.dport);
        sound(&back);
        assert_eq!(back[pd.off as usize..], old[pd.off as usize..]);
    }
}

#[test]
fn udp_without_a_sum_gets_one_in_ipv6() {
    let mut b = packet("10.0.0.5", "198.51.100.7", proto::UDP, &udp(1000, 53, b"question"));
    b[26..28].fill(0);
    let out = cross(&b, &a("2001:db8::1"), &a("2001:db8::2"), 1000, 53);
    sound(&out);
    assert_ne!(out[46..48], [0, 0]);
}

#[test]
fn no_headroom_is_an_error_not_a_mess() {
    let b = packet("10.0.0.5", "198.51.100.7", proto::UDP, &udp(1000, 53, b"question"));
    let mut pd = seen(&b, Direction::In);
    pd.naf = Af::Inet6;
    let mut buf = b.clone();
    let mut p = Packet::whole(&mut buf);
    assert!(af::translate(&mut p, &META, &mut pd, 1).is_err());
}

/// An ICMP error about `inner`, sent by `router` to `inner`'s source.
fn error(router: &str, to: &str, inner: &[u8], kind: u8, code: u8, rest: [u8; 4]) -> Vec<u8> {
    let protocol = if inner[0] >> 4 == 4 { proto::ICMP } else { proto::ICMPV6 };
    packet(router, to, protocol, &icmp(kind, code, rest, inner))
}

#[test]
fn errors_are_translated_with_what_they_quote() {
    for protocol in [proto::TCP, proto::UDP, proto::ICMP, proto::GRE] {
        let l4 = match protocol {
            proto::TCP => tcp(60_000, 80, &[], &[]),
            proto::UDP => udp(60_000, 53, b"hello"),
            proto::ICMP => icmp(8, 0, [0xea, 0x60, 0, 1], b"ping"),
            _ => vec![0; 12],
        };
        let inner = packet("192.0.2.1", "198.51.100.7", protocol, &l4);
        let mut b = error("203.0.113.1", "192.0.2.1", &inner, 3, 1, [0; 4]);
        let mut pd = seen(&b, Direction::In);
        let mut p = Packet::whole(&mut b);
        let q = icmp_error::Quote::read(&p, &META, &pd).unwrap();
        assert_eq!((q.src, q.dst, q.proto, q.base), (a("192.0.2.1"), a("198.51.100.7"), protocol, 28));
        let key = q.key(Af::Inet, Direction::In, q.ports());
        assert_eq!(key.addr, [a("198.51.100.7"), a("192.0.2.1")]);
        let to = Target { src: a("10.0.0.5"), dst: a("198.51.100.7"), sport: 1000, dport: q.ports().1 };
        let new = icmp_error::NewQuote { to, echo: (protocol == proto::ICMP).then_some(1000) };
        let done = icmp_error::rewrite(&mut p, &META, &mut pd, &q, &new).unwrap();
        assert!(done.rewritten && !done.destination);
        sound(&b);
        assert_eq!(b[16..20], [10, 0, 0, 5], "the message goes to the inside host");
        assert_eq!(b[12..16], [203, 0, 113, 1], "and still comes from the router");
        assert_eq!(b[40..44], [10, 0, 0, 5]);
        assert_eq!(b[38..40], inner[10..12], "the quoted header sum stays stale");
        match protocol {
            proto::TCP => assert_eq!(b[48..50], 1000_u16.to_be_bytes()),
            proto::UDP => assert_eq!((&b[48..50], &b[54..56]), (&1000_u16.to_be_bytes()[..], &[0, 0][..])),
            proto::ICMP => assert_eq!(b[52..54], 1000_u16.to_be_bytes()),
            _ => {}
        }
    }
}

#[test]
fn quotes_that_fit_nothing() {
    let inner = packet("192.0.2.1", "198.51.100.7", proto::TCP, &tcp(60_000, 80, &[], &[]));
    let read = |b: &[u8]| {
        let pd = seen(b, Direction::In);
        let mut b = b.to_vec();
        icmp_error::Quote::read(&Packet::whole(&mut b), &META, &pd).map(|q| q.proto)
    };
    use crate::packet::DropReason as R;
    assert_eq!(read(&error("203.0.113.1", "192.0.2.1", &inner, 3, 1, [0; 4])), Ok(6));
    assert_eq!(read(&error("203.0.113.1", "192.0.2.9", &inner, 3, 1, [0; 4])), Err(R::StateMismatch));
    assert_eq!(read(&error("203.0.113.1", "192.0.2.1", &inner[..27], 3, 1, [0; 4])), Err(R::Short));
    assert_eq!(read(&error("203.0.113.1", "192.0.2.1", &inner[..19], 3, 1, [0; 4])), Err(R::Short));
    let mut later = inner.clone();
    later[7] = 3;
    assert_eq!(read(&error("203.0.113.1", "192.0.2.1", &later, 3, 1, [0; 4])), Err(R::Fragment));
    let mut odd = inner;
    odd[9] = proto::ICMPV6;
    assert_eq!(read(&error("203.0.113.1", "192.0.2.1", &odd, 3, 1, [0; 4])), Err(R::Normalize));
}

/// Translates an error to the other family, as the answer to a packet sent through `af-to`.
fn cross_error(b: &[u8], to: Target, echo: Option<u16>) -> Option<Vec<u8>> {
    let mut pd = seen(b, Direction::In);
    pd.naf = if pd.af == Af::Inet { Af::Inet6 } else { Af::Inet };
    let mut buf = roomy(b);
    let mut p = Packet::new(&mut buf, 48, &[]).unwrap();
    let mut q = icmp_error::Quote::read(&p, &META, &pd).unwrap();
    let new = icmp_error::NewQuote { to, echo };
    icmp_error::change_family(&mut p, &META, &mut pd, &mut q, &new, 0x2222).unwrap()?;
    af::translate(&mut p, &META, &mut pd, 0x3333).unwrap();
    Some(p.window().to_vec())
}

#[test]
fn errors_change_family_with_what_they_quote() {
    for protocol in [proto::TCP, proto::UDP, proto::ICMP] {
        let l4 = match protocol {
            proto::TCP => tcp(60_000, 80, &[], b"abc"),
            proto::UDP => udp(60_000, 53, b"hello"),
            _ => icmp(8, 0, [0xea, 0x60, 0, 1], b"ping"),
        };
        let inner = packet("192.0.2.1", "198.51.100.7", protocol, &l4);
        let b = error("203.0.113.1", "192.0.2.1", &inner, 3, 4, [0, 0, 5, 0xdc - 0x14]);
        let (inside, outside) = (a("2001:db8:a::5"), a("64:ff9b::198.51.100.7"));
        let dport = if protocol == proto::TCP { 80 } else { 53 };
        let to = Target { src: inside, dst: outside, sport: 1000, dport };
        let out = cross_error(&b, to, (protocol == proto::ICMP).then_some(1000)).unwrap();
        sound(&out);
        let pd = seen(&out, Direction::In);
        assert_eq!((pd.src, pd.dst), (a("64:ff9b::203.0.113.1"), inside), "the router shows in the low bits");
        assert_eq!(out[40..42], [2, 0]);
        assert_eq!(out[44..48], (1500_u32).to_be_bytes(), "20 more");
        let mut o = out.clone();
        let q = icmp_error::Quote::read(&Packet::whole(&mut o), &META, &pd).unwrap();
        assert_eq!((q.src, q.dst, q.proto), (inside, outside, icmp_af::other(protocol)));
        assert_eq!(q.tot_len, 40 + l4.len());
        // And back: a "too big" from the other side shrinks.
        let to = Target { src: a("192.0.2.1"), dst: a("198.51.100.7"), sport: 60_000, dport };
        let back = cross_error(&out, to, (protocol == proto::ICMP).then_some(60_000)).unwrap();
        sound(&back);
        assert_eq!((back[20], back[21], &back[24..28]), (3, 4, &[0, 0, 5, 0xc8][..]));
        assert_eq!(back[48..56], b[48..56], "ports as they were");
    }
    let inner = packet("192.0.2.1", "198.51.100.7", proto::GRE, &[0; 16]);
    let b = error("203.0.113.1", "192.0.2.1", &inner, 3, 1, [0; 4]);
    let to = Target { src: a("::1"), dst: a("::2"), sport: 0, dport: 0 };
    assert_eq!(cross_error(&b, to, None), None);
}

#[test]
fn the_destination_of_af_to() {
    let mut env = Fake::default();
    let list = [
        pool(PoolKind::None, net("192.0.2.1", 32)),
        pool(PoolKind::None, net("2001:db8:a::1", 128)),
        pool(PoolKind::None, net("2001:db8:a::20", 128)),
        pool(PoolKind::None, net("64:ff9b::", 96)),
    ];
    let mut states = Vec::new();
    let mut pools = pools(&list, &mut states);
    let mut go = |b: &[u8], naf, tr: &Translation| {
        let mut pd = seen(b, Direction::In);
        pd.naf = naf;
        transaddr::apply(&mut env, &mut pools, tr, &mut pd, &mut None).map(|()| (pd.nsaddr, pd.ndaddr))
    };
    let six = packet("2001:db8:a::5", "64:ff9b::198.51.100.7", proto::TCP, &tcp(1000, 80, &[], &[]));
    assert_eq!(go(&six, Af::Inet, &rule(Some(0), None, 96)), Ok((a("192.0.2.1"), a("198.51.100.7"))));
    assert_eq!(go(&six, Af::Inet, &rule(Some(0), None, 0)), Ok((a("192.0.2.1"), a("198.51.100.7"))));
    let four = packet("198.51.100.7", "192.0.2.2", proto::TCP, &tcp(1000, 80, &[], &[]));
    assert_eq!(go(&four, Af::Inet6, &rule(Some(1), Some(2), 0)), Ok((a("2001:db8:a::1"), a("2001:db8:a::20"))));
    assert_eq!(go(&four, Af::Inet6, &rule(Some(3), None, 0)), Ok((a("64:ff9b::"), a("64:ff9b::192.0.2.2"))));
    assert_eq!(go(&four, Af::Inet6, &rule(None, Some(2), 0)), Err(NoTranslation));
}

#[test]
fn hostile_bytes_never_break_a_rewrite() {
    let mut rng = Rng(10);
    for _ in 0..3000 {
        let mut b = rng.packet();
        let inner = rng.packet();
        if rng.next() & 1 == 0 {
            let (r, t) = if inner[0] >> 4 == 4 { ("1.2.3.4", "5.6.7.8") } else { ("::1", "::2") };
            b = error(r, t, &inner, rng.next() as u8 % 16, rng.next() as u8 % 16, [0; 4]);
        }
        for _ in 0..rng.next() % 4 {
            let at = rng.next() as usize % b.len();
            b[at] = rng.next() as u8;
        }
        b.truncate(rng.next() as usize % (b.len() + 20));
        if b.is_empty() {
            continue;
        }
        let af = if b[0] >> 4 == 4 { Af::Inet } else { Af::Inet6 };
        let mut buf = roomy(&b);
        let mut p = Packet::new(&mut buf, 48, &[]).unwrap();
        let Ok(mut pd) = describe(&p, &META, af, Direction::In, 1) else { continue };
        let to = Target { src: rng.addr(af), dst: rng.addr(af), sport: 1, dport: 2 };
        let echo = Some(5);
        if let Ok(mut q) = icmp_error::Quote::read(&p, &META, &pd) {
            let new = icmp_error::NewQuote { to, echo };
            if rng.next() & 1 == 0 {
                pd.naf = if af == Af::Inet { Af::Inet6 } else { Af::Inet };
                if let Ok(Some(_)) = icmp_error::change_family(&mut p, &META, &mut pd, &mut q, &new, 1) {
                    let _ = af::translate(&mut p, &META, &mut pd, 2);
                }
            } else {
                let _ = icmp_error::rewrite(&mut p, &META, &mut pd, &q, &new);
            }
        }
        let _ = rewrite::sack(&mut p, &META, &pd, 5);
        let _ = rewrite::known(&mut p, &META, &mut pd, &to);
    }
}
