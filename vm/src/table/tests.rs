//! Tables against what pf does with them.

use super::*;
use crate::rule::Direction;

fn v4(a: u8, b: u8, c: u8, d: u8) -> Addr {
    let mut x = Addr::default();
    x.0[..4].copy_from_slice(&[a, b, c, d]);
    x
}

fn net(a: Addr, prefix: u8) -> Entry {
    Entry::new(Af::Inet, a, prefix)
}

fn tables() -> (Tables, Slot) {
    let mut t = Tables::new(4, 100, 10).unwrap();
    let slot = t.create(true).unwrap();
    (t, slot)
}

#[test]
fn the_longest_match_decides_and_its_sign() {
    let (mut t, s) = tables();
    t.add(s, &net(v4(10, 0, 0, 0), 8)).unwrap();
    t.add(s, &Entry { not: true, ..net(v4(10, 1, 0, 0), 16) }).unwrap();
    t.add(s, &net(v4(10, 1, 2, 3), 32)).unwrap();
    let holds = |a| t.holds(s, Af::Inet, &a);
    assert!(holds(v4(10, 9, 9, 9)) && !holds(v4(10, 1, 9, 9)) && holds(v4(10, 1, 2, 3)));
    assert!(!holds(v4(11, 0, 0, 0)) && !t.holds(s, Af::Inet6, &v4(10, 9, 9, 9)));
    assert_eq!(t.evaluations(s), (2, 3));
}

#[test]
fn order_is_by_address_and_longer_first() {
    let (mut t, s) = tables();
    for (a, p) in [((10, 0, 0, 0), 8), ((10, 1, 0, 0), 16), ((10, 0, 0, 0), 16), ((9, 0, 0, 0), 8), ((10, 0, 0, 0), 32)]
    {
        t.add(s, &net(v4(a.0, a.1, a.2, a.3), p)).unwrap();
    }
    t.add(s, &Entry::host(Af::Inet6, Addr([1; 16]))).unwrap();
    let order: Vec<_> = t.entries(s).map(|e| (e.addr.0[0], e.addr.0[1], e.prefix)).collect();
    assert_eq!(order, [(9, 0, 8), (10, 0, 32), (10, 0, 16), (10, 0, 8), (10, 1, 16), (1, 1, 128)]);
}

#[test]
fn adding_deleting_replacing_say_what_they_did() {
    let (mut t, s) = tables();
    let a = net(v4(10, 0, 0, 1), 24);
    assert_eq!(t.add(s, &a), Ok(Feedback::Added));
    assert_eq!(t.add(s, &net(v4(10, 0, 0, 9), 24)), Ok(Feedback::None));
    assert_eq!(t.add(s, &Entry { not: true, ..a }), Ok(Feedback::Conflict));
    assert_eq!(t.delete(s, &Entry { not: true, ..a }), Ok(Feedback::Conflict));
    assert_eq!(t.delete(s, &net(v4(10, 0, 0, 0), 25)), Ok(Feedback::None));
    let b = net(v4(10, 2, 0, 0), 16);
    let changes = t.replace(s, &[Entry { not: true, ..a }, b, b]).unwrap();
    assert_eq!(changes, Changes { added: 1, deleted: 0, changed: 1 });
    assert_eq!(t.replace(s, &[b]).unwrap(), Changes { added: 0, deleted: 1, changed: 0 });
    assert_eq!((t.delete(s, &b), t.len(s), t.used()), (Ok(Feedback::Deleted), 0, 0));
    assert_eq!(t.add(s, &net(v4(1, 1, 1, 1), 33)), Err(TableError::Prefix));
    assert_eq!(t.add(Slot(3), &b), Err(TableError::NoTable));
}

#[test]
fn a_full_set_refuses_and_stays() {
    let mut t = Tables::new(1, 3, 0).unwrap();
    let s = t.create(false).unwrap();
    assert_eq!(t.create(false), Err(TableError::TooMany));
    for n in 0..3 {
        assert_eq!(t.add(s, &Entry::host(Af::Inet, v4(1, 1, 1, n))), Ok(Feedback::Added));
    }
    let four: Vec<_> = (0..4).map(|n| Entry::host(Af::Inet, v4(2, 1, 1, n))).collect();
    assert_eq!(t.add(s, &four[0]), Err(TableError::Full));
    assert_eq!(t.replace(s, &four), Err(TableError::Full));
    assert_eq!(t.len(s), 3);
    assert_eq!((t.clear(s), t.used()), (3, 0));
    assert_eq!(t.replace(s, &four[..3]).unwrap().added, 3);
    t.destroy(s);
    assert_eq!((t.used(), t.create(true)), (0, Ok(s)));
}

#[test]
fn counters_follow_the_sign_of_the_rule() {
    let (mut t, s) = tables();
    t.add(s, &net(v4(10, 0, 0, 0), 8)).unwrap();
    let (inside, outside) = (v4(10, 1, 1, 1), v4(11, 1, 1, 1));
    t.count(s, Af::Inet, &inside, Counted { dir: Direction::In, op: Op::Pass, not: false, bytes: 100 });
    t.count(s, Af::Inet, &outside, Counted { dir: Direction::In, op: Op::Block, not: true, bytes: 7 });
    t.count(s, Af::Inet, &outside, Counted { dir: Direction::Out, op: Op::Pass, not: false, bytes: 9 });
    let cell = |packets, bytes| PacketCount { packets, bytes };
    assert_eq!(t.counters(s).get(Direction::In, Op::Pass), cell(1, 100));
    assert_eq!(t.counters(s).get(Direction::In, Op::Block), cell(1, 7));
    assert_eq!(t.counters(s).get(Direction::Out, Op::XPass), cell(1, 9));
    let entry = t.lookup(s, Af::Inet, &inside).unwrap();
    assert_eq!(entry.counters.unwrap().get(Direction::In, Op::Pass), cell(1, 100));
    t.zero(s, true);
    assert_eq!(t.counters(s), Counters::ZERO);
    assert_eq!(t.lookup(s, Af::Inet, &inside).unwrap().counters, None);
}

#[test]
fn states_are_counted_on_hosts_only() {
    let (mut t, s) = tables();
    t.add(s, &net(v4(10, 0, 0, 0), 8)).unwrap();
    t.add(s, &net(v4(10, 0, 0, 1), 32)).unwrap();
    assert!(t.count_state(s, Af::Inet, &v4(10, 0, 0, 1), true));
    assert!(!t.count_state(s, Af::Inet, &v4(10, 0, 0, 2), true));
    assert_eq!(t.lookup(s, Af::Inet, &v4(10, 0, 0, 1)).unwrap().states, 1);
}

#[test]
fn pools_see_no_negated_entries() {
    let (mut t, s) = tables();
    t.add(s, &net(v4(10, 0, 0, 1), 32)).unwrap();
    assert_eq!(t.nth_positive(s, Af::Inet, 0).unwrap().addr, v4(10, 0, 0, 1));
    t.add(s, &Entry { not: true, ..net(v4(9, 0, 0, 0), 8) }).unwrap();
    t.add(s, &net(v4(10, 0, 0, 2), 32)).unwrap();
    let got = |t: &Tables, n| t.nth_positive(s, Af::Inet, n).map(|e| e.addr.0[3]);
    assert_eq!((got(&t, 0), got(&t, 1), got(&t, 2)), (Some(1), Some(2), None));
    t.replace(s, &[net(v4(9, 0, 0, 0), 8)]).unwrap();
    assert_eq!((got(&t, 0), got(&t, 1)), (Some(0), None));
}

#[test]
fn weights_follow_the_order_of_entry() {
    let (mut t, s) = tables();
    let host = |n, weight| Entry { weight, ..net(v4(10, 0, 0, n), 32) };
    t.add(s, &host(1, 0)).unwrap();
    t.add(s, &host(2, 10)).unwrap();
    assert_eq!(t.weights(s), Weights { cost_entries: 1, gcd: 10, max: 10 });
    t.add(s, &host(3, 4)).unwrap();
    assert_eq!(t.weights(s), Weights { cost_entries: 2, gcd: 2, max: 10 });
    t.delete(s, &host(2, 10)).unwrap();
    assert_eq!(t.weights(s), Weights { cost_entries: 1, gcd: 1, max: 4 });
}
