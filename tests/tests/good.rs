//! The last good rules: what a host keeps of the rules in force, and what it gets back from it.

use pfdriver::facts::HostFacts;
use pfdriver::filter::By;
use pfdriver::good::{self, Unfit};
use pfdriver::lock::Lock;
use pfvm::api::{After, FactRow, Request};
use pfvm::engine::Verdict;
use pfvm::rule::{Addr, Af};
use sha2::{Digest, Sha256};
use tests::desk::{Desk, iface, image, rows, udp, v4};

const MAIN: &str =
    "table <bad> { 198.51.100.0/24 }\nblock from <bad>\npass in on em0 proto tcp to port 22\nanchor \"web\"\n";
const WEB: &str = "pass in proto tcp to port 80\n";

/// A desk with a main ruleset, and an anchor loaded by itself.
fn loaded() -> Desk {
    let mut desk = Desk::default();
    desk.load("", MAIN).unwrap();
    desk.load("web", WEB).unwrap();
    desk
}

fn kept(desk: &Desk) -> Vec<u8> {
    good::collect(&desk.filter).unwrap().expect("nothing waits for a confirmation").bytes
}

/// Path, image and generation of what is in force.
fn units(desk: &Desk) -> Vec<(Vec<u8>, Vec<u8>)> {
    let f = desk.filter.0.lock().unwrap();
    f.units.iter().map(|u| (u.path.clone(), u.image.clone())).collect()
}

fn load(desk: &Desk, bytes: &[u8]) -> Result<u64, Unfit> {
    good::load(&desk.filter, bytes, 4096)
}

#[test]
fn what_was_kept_is_in_force_again() {
    let before = loaded();
    let bytes = kept(&before);
    let after = Desk::default();
    assert_eq!(load(&after, &bytes), Ok(1));
    assert_eq!(units(&after), units(&before));
    assert_eq!(units(&after)[0], (Vec::new(), image("", MAIN)));
    assert_eq!(kept(&after), bytes, "kept again it is the same");
    let now = good::now(&after.filter);
    assert_eq!((now.generation, now.by, now.waits), (1, By::default(), false));
    assert_eq!(now.digest[..], image("", MAIN)[16..48]);
    assert_eq!(good::now(&before.filter).by, By { uid: 1000, pid: 7 });
}

#[test]
fn what_waits_for_its_confirmation_is_not_kept() {
    let mut desk = loaded();
    let generation = desk.commit("", &image("", "pass all\n"), After::Keep, 60).unwrap();
    assert!(good::collect(&desk.filter).unwrap().is_none());
    desk.change(&Request::Confirm { generation }).unwrap();
    assert!(good::collect(&desk.filter).unwrap().is_some());
}

#[test]
fn whatever_is_damaged_gives_no_rules() {
    let bytes = kept(&loaded());
    let desk = Desk::default();
    for at in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 0x20;
        assert_eq!(load(&desk, &broken), Err(Unfit::Damaged), "byte {at}");
    }
    for length in [0, 7, 39, 59, bytes.len() - 1] {
        assert_eq!(load(&desk, &bytes[..length]), Err(Unfit::Damaged), "{length} bytes");
    }
    assert!(units(&desk).is_empty());
    assert_eq!(desk.filter.0.lock().unwrap().generation, 0);
}

#[test]
fn a_program_that_does_not_verify_is_refused_though_its_digests_are_right() {
    let bytes = kept(&loaded());
    let desk = Desk::default();
    assert_eq!(good::load(&desk.filter, &bytes, 1), Err(Unfit::Program));
    assert!(units(&desk).is_empty());
}

#[test]
fn no_rules_are_kept_as_none() {
    let desk = Desk::default();
    let bytes = kept(&desk);
    assert_eq!(load(&desk, &bytes), Ok(0));
}

/// Facts of two adapters as Windows tells them: `luid:` among the names, a way by the second.
fn told(first: u16, second: u16) -> Vec<u8> {
    let mut facts = iface(first, "em0", v4(192, 0, 2, 1));
    facts.extend([FactRow::Group("luid:0x6008001000000"), FactRow::Group("egress")]);
    facts.extend(iface(second, "em1", v4(10, 0, 0, 1)));
    facts.push(FactRow::Group("luid:0x6008002000000"));
    facts.push(FactRow::Route {
        af: Af::Inet,
        addr: Addr::default(),
        prefix: 0,
        hop: Some(v4(10, 0, 0, 9)),
        metric: 0,
    });
    facts.push(FactRow::Port { proto: 6, port: 50_001 });
    rows(&facts)
}

/// A desk whose host tells facts, with rules of names, groups and addresses of interfaces.
fn named() -> Desk {
    let mut desk = Desk::default();
    desk.filter.with(|f| f.set_facts(HostFacts::read(&told(1, 2)).unwrap()).unwrap());
    desk.load("", "block\npass in on egress inet proto udp to (em0) port 53 no state\n").unwrap();
    desk
}

/// A filter without facts, as a driver begins.
fn fresh() -> Desk {
    let desk = Desk::default();
    desk.filter.with(|f| f.set_facts(HostFacts::none().unwrap()).unwrap());
    desk
}

fn asks(desk: &mut Desk, iface: u16) -> Verdict {
    desk.comes(iface, &udp(v4(192, 0, 2, 77), 4000, v4(192, 0, 2, 1), 53)).verdict
}

#[test]
fn interfaces_are_known_before_anybody_tells_them() {
    let before = named();
    let mut after = fresh();
    assert_eq!(load(&after, &kept(&before)), Ok(1));
    // Their numbers may be others now: as long as an adapter has not been met, its number means nothing.
    assert_eq!([asks(&mut after, 1), asks(&mut after, 7)], [Verdict::Drop; 2]);
    after.filter.with(|f| {
        f.meet(0x6_0080_0100_0000, 7);
        f.meet(0x6_0080_0200_0000, 1);
        f.meet(0x99, 5);
    });
    assert_eq!(
        [asks(&mut after, 7), asks(&mut after, 1), asks(&mut after, 5)],
        [Verdict::Pass, Verdict::Drop, Verdict::Drop]
    );
    after.filter.with(|f| {
        assert_eq!(f.facts.next_hop(Af::Inet, &v4(198, 51, 100, 7)), Some((1, v4(10, 0, 0, 9))));
        assert!(!f.facts.port_in_use(6, 50_001), "ports are those of the time before");
        // What is told counts from then on: the same numbers as before, and an adapter met later changes nothing.
        f.set_facts(HostFacts::read(&told(3, 4)).unwrap()).unwrap();
        f.meet(0x6_0080_0100_0000, 4);
    });
    assert_eq!(
        [asks(&mut after, 3), asks(&mut after, 7), asks(&mut after, 4)],
        [Verdict::Pass, Verdict::Drop, Verdict::Drop]
    );
}

#[test]
fn of_more_facts_than_fit_the_routes_are_left_out() {
    let before = named();
    let route = |n: u16| {
        let [a, b] = n.to_be_bytes();
        FactRow::Route { af: Af::Inet, addr: v4(172, a, b, 0), prefix: 24, hop: Some(v4(10, 0, 0, 9)), metric: 1 }
    };
    let all = [told(1, 2), rows(&(0..20_000).map(route).collect::<Vec<_>>())].concat();
    assert!(all.len() > good::MOST_FACTS);
    before.filter.with(|f| f.set_facts(HostFacts::read(&all).unwrap()).unwrap());
    let mut after = fresh();
    assert_eq!(load(&after, &kept(&before)), Ok(1));
    after.filter.with(|f| f.meet(0x6_0080_0100_0000, 7));
    assert_eq!(asks(&mut after, 7), Verdict::Pass, "names, groups and addresses are there");
    assert_eq!(after.filter.with(|f| f.facts.next_hop(Af::Inet, &v4(198, 51, 100, 7))), None);
}

#[test]
fn a_number_two_interfaces_want_has_the_one_that_was_met() {
    let bytes = kept(&named());
    let mut desk = fresh();
    assert_eq!(load(&desk, &bytes), Ok(1));
    let numbers = |desk: &Desk| desk.filter.with(|f| f.facts.ifaces().iter().map(|i| i.index).collect::<Vec<_>>());
    let parked = numbers(&desk);
    assert!(parked.iter().all(|n| *n >= 0x8000));
    desk.filter.with(|f| f.meet(0x6_0080_0100_0000, parked[1]));
    assert_eq!(numbers(&desk), [parked[1], parked[0]]);
    assert_eq!([asks(&mut desk, parked[1]), asks(&mut desk, parked[0])], [Verdict::Pass, Verdict::Drop]);
    desk.filter.with(|f| {
        f.meet(0x6_0080_0200_0000, 0);
        f.meet(0x6_0080_0200_0000, u16::MAX);
    });
    assert_eq!(numbers(&desk), [parked[1], parked[0]], "no number, or none there can be");
}

/// What is done to bytes.
type Change<'c> = &'c dyn Fn(&mut Vec<u8>);

#[test]
fn facts_that_mean_nothing_give_no_rules_though_digests_are_right() {
    let bytes = kept(&named());
    let facts = u32::from_le_bytes(bytes[60..64].try_into().unwrap()) as usize;
    assert!(facts > 0);
    let sealed = |change: Change<'_>| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        let sum = Sha256::digest(&bytes[40..]);
        bytes[8..40].copy_from_slice(&sum);
        bytes
    };
    let first = bytes.len() - facts;
    let hostile: [Change<'_>; 6] = [
        &|b| b[first] = 0xff,
        &|b| b.truncate(first + facts / 2),
        &|b| b.push(0),
        &|b| b[60..64].fill(0xff),
        &|b| b[60..64].fill(0),
        // The same interface twice.
        &|b| {
            let rows = b[first..].to_vec();
            b.extend(rows);
            b[60..64].copy_from_slice(&u32::try_from(2 * facts).unwrap().to_le_bytes());
        },
    ];
    for (n, change) in hostile.iter().enumerate() {
        let desk = fresh();
        assert_eq!(load(&desk, &sealed(change)), Err(Unfit::Damaged), "{n}");
        assert!(units(&desk).is_empty() && desk.filter.with(|f| f.facts.ifaces().is_empty()));
    }
    // Any byte of the facts changed: rules and interfaces, or neither.
    for at in first..bytes.len() {
        let desk = fresh();
        let fit = load(&desk, &sealed(&|b| b[at] ^= 0x11)).is_ok();
        assert_eq!(fit, !units(&desk).is_empty());
        assert!(fit || desk.filter.with(|f| f.facts.ifaces().is_empty()));
    }
}

#[test]
fn other_interfaces_are_worth_keeping_other_ports_are_not() {
    let desk = named();
    let now = || good::now(&desk.filter).told;
    let before = now();
    let tell = |facts: &[u8]| desk.filter.with(|f| drop(f.set_facts(HostFacts::read(facts).unwrap()).unwrap()));
    tell(&[told(1, 2), rows(&[FactRow::Port { proto: 17, port: 9 }])].concat());
    assert_eq!(now(), before);
    tell(&told(1, 3));
    assert_eq!(now(), before + 1);
}
