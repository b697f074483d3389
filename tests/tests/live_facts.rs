//! The host changes while the filter runs: the same packets before and after, without a reload.

use pfdriver::facts::{FactsError, HostFacts};
use pfdriver::lock::Lock;
use pfvm::api::{Changed, Code, FactRow, Request, SetOption};
use pfvm::engine::Verdict;
use pfvm::host::Hop;
use pfvm::image::{DynFlags, TableKind};
use pfvm::rule::{Addr, Af, Direction, IfaceId};
use tests::desk::{Desk, iface, rows, two, udp, v4};

/// Tells a filter of the host, as an administrator or a service does.
fn tell(desk: &mut Desk, facts: &[FactRow<'_>]) -> Result<u64, (Code, String)> {
    let client = desk.client;
    let ticket = desk.upload(client, "", &rows(facts))?;
    desk.ask::<Changed>(&Request::SetFacts { ticket }).map(|c| c.count)
}

/// A capture: from where by which interface to where, and what becomes of it.
fn capture(desk: &mut Desk) -> Vec<bool> {
    let packets = [
        (1, v4(198, 51, 100, 7), v4(192, 0, 2, 1)),
        (1, v4(198, 51, 100, 7), v4(192, 0, 2, 77)),
        (1, v4(192, 0, 2, 30), v4(10, 0, 0, 1)),
        (2, v4(10, 0, 0, 9), v4(198, 51, 100, 7)),
        (3, v4(172, 16, 0, 2), v4(198, 51, 100, 7)),
    ];
    packets.iter().map(|(i, src, dst)| desk.comes(*i, &udp(*src, 9, *dst, 53)).verdict == Verdict::Pass).collect()
}

#[test]
fn addresses_groups_and_interfaces_come_and_go() {
    let mut desk = Desk::default();
    let rules = "block in\npass in on em0 to (em0) no state\npass in from (em0:network) no state\n\
                 pass in on lan no state\npass in on tap9 to (self) no state\n";
    desk.load("", rules).unwrap();
    assert_eq!(capture(&mut desk), [true, false, true, false, false]);
    let generation = desk.filter.with(|f| f.generation);
    // The outer interface gets another address.
    let mut facts = iface(1, "em0", v4(198, 51, 100, 77));
    facts.push(FactRow::Address { af: Af::Inet, addr: v4(192, 0, 2, 77), prefix: 32, broadcast: None, peer: None });
    let mut all = [facts.clone(), iface(2, "em1", v4(10, 0, 0, 1))].concat();
    assert_eq!(tell(&mut desk, &all), Ok(2));
    assert_eq!(capture(&mut desk), [true, true, false, false, false], "198.51.100.0/24 is its network now");
    // The inner one joins a group.
    all.push(FactRow::Group("lan"));
    tell(&mut desk, &all).unwrap();
    assert_eq!(capture(&mut desk), [true, true, false, true, false]);
    // An interface arrives that a rule has waited for: its counters count from now.
    desk.pass(100);
    all.extend(iface(3, "tap9", v4(198, 51, 100, 7)));
    assert_eq!(tell(&mut desk, &all), Ok(3));
    let since = |desk: &Desk, index| desk.filter.with(|f| f.seconds() - f.engine.ifaces.cleared(index));
    assert_eq!([since(&desk, 1), since(&desk, 3)], [100, 0]);
    assert_eq!(capture(&mut desk), [true, true, false, true, true]);
    // Everything goes back.
    tell(&mut desk, &two()).unwrap();
    assert_eq!(capture(&mut desk), [true, false, true, false, false]);
    assert_eq!(desk.filter.with(|f| f.generation), generation, "nothing was loaded");
}

#[test]
fn translation_follows_the_address() {
    let mut desk = Desk::default();
    desk.load("", "pass out on em0 from 10.0.0.0/8 nat-to (em0)\n").unwrap();
    let source = |desk: &mut Desk, port| {
        let out = desk.packet(1, Direction::Out, &udp(v4(10, 0, 0, 9), port, v4(203, 0, 113, 1), 53));
        desk.filter.with(|f| f.engine.table.get(out.state.unwrap()).unwrap().wire().addr[1])
    };
    assert_eq!(source(&mut desk, 1), v4(192, 0, 2, 1));
    tell(&mut desk, &[iface(1, "em0", v4(198, 51, 100, 77)), iface(2, "em1", v4(10, 0, 0, 1))].concat()).unwrap();
    assert_eq!(source(&mut desk, 2), v4(198, 51, 100, 77));
    assert_eq!(source(&mut desk, 1), v4(192, 0, 2, 1), "a state keeps what it was given");
    assert_eq!(desk.filter.with(|f| f.engine.table.len()), 2);
}

#[test]
fn counters_stay_and_skip_finds_who_comes() {
    let mut desk = Desk::default();
    desk.load("", "set skip on tap9\nblock\n").unwrap();
    desk.change(&Request::Set { option: SetOption::Skip("lan", true) }).unwrap();
    desk.comes(1, &udp(v4(198, 51, 100, 7), 1, v4(192, 0, 2, 1), 2));
    let mut all = two();
    all.extend(iface(3, "tap9", v4(172, 16, 0, 1)));
    all.extend(iface(4, "em4", v4(172, 17, 0, 1)));
    all.push(FactRow::Group("lan"));
    tell(&mut desk, &all).unwrap();
    let dropped = desk.filter.with(|f| f.engine.ifaces.counters(1).map(|c| c.packets[0][0]));
    assert_eq!(dropped, Some([0, 1]));
    let skipped = desk.filter.with(|f| (1..5).map(|i| f.engine.ifaces.skipped(i)).collect::<Vec<_>>());
    assert_eq!(skipped, [false, false, true, true]);
}

#[test]
fn facts_that_make_no_sense_are_refused_whole() {
    let mut desk = Desk::default();
    desk.load("", "block in\npass in from (em0:network) no state\n").unwrap();
    let before = capture(&mut desk);
    let address = FactRow::Address { af: Af::Inet, addr: v4(10, 0, 0, 1), prefix: 33, broadcast: None, peer: None };
    let cases: [(Vec<FactRow<'_>>, u32); 6] = [
        (vec![FactRow::Group("lan")], 0),
        ([iface(1, "em0", v4(10, 9, 0, 1)), iface(1, "em1", v4(10, 0, 0, 1))].concat(), 2),
        ([iface(1, "em0", v4(10, 9, 0, 1)), iface(2, "em0", v4(10, 0, 0, 1))].concat(), 2),
        ([iface(1, "em0", v4(10, 9, 0, 1)), vec![address]].concat(), 2),
        (iface(0, "em0", v4(10, 9, 0, 1)), 0),
        (iface(5, "", v4(10, 9, 0, 1)), 0),
    ];
    for (facts, row) in cases {
        assert!(matches!(HostFacts::read(&rows(&facts)), Err(FactsError::Row { row: r, .. }) if r == row), "{facts:?}");
        assert_eq!(tell(&mut desk, &facts).unwrap_err().0, Code::Invalid);
    }
    assert!(HostFacts::read(&[200]).is_err());
    assert_eq!(capture(&mut desk), before);
}

#[test]
fn ways_addresses_and_ports_answer() {
    let mut all = two();
    all.push(FactRow::Route {
        af: Af::Inet,
        addr: v4(172, 16, 0, 0),
        prefix: 12,
        hop: Some(v4(10, 0, 0, 254)),
        metric: 5,
    });
    all.push(FactRow::Route { af: Af::Inet, addr: v4(192, 0, 2, 128), prefix: 25, hop: None, metric: 5 });
    all.push(FactRow::Address {
        af: Af::Inet,
        addr: v4(10, 8, 0, 1),
        prefix: 24,
        broadcast: Some(v4(10, 8, 0, 255)),
        peer: None,
    });
    all.push(FactRow::Port { proto: 17, port: 53 });
    all.push(FactRow::Port { proto: 6, port: 22 });
    let facts = HostFacts::read(&rows(&all)).unwrap();
    let iface_of = |a| facts.route(Af::Inet, &a).map(|h: Hop| h.iface);
    assert_eq!(iface_of(v4(8, 8, 8, 8)), Some(1), "the default");
    assert_eq!(iface_of(v4(192, 0, 2, 9)), Some(1));
    assert_eq!(iface_of(v4(192, 0, 2, 200)), Some(2), "the longer prefix");
    assert_eq!(facts.next_hop(Af::Inet, &v4(172, 20, 1, 1)), Some((2, v4(10, 0, 0, 254))));
    assert_eq!(facts.next_hop(Af::Inet, &v4(10, 0, 0, 9)), Some((2, v4(10, 0, 0, 9))));
    assert_eq!(facts.route(Af::Inet6, &Addr::default()), None);
    assert_eq!(facts.answers_for(Af::Inet, &v4(10, 8, 0, 255)), Some(v4(10, 8, 0, 1)));
    assert_eq!(facts.answers_for(Af::Inet, &v4(10, 8, 0, 2)), None);
    assert_eq!(facts.own_address(Af::Inet, 2, &v4(10, 8, 0, 9)), Some(v4(10, 8, 0, 1)));
    assert_eq!(facts.own_address(Af::Inet, 2, &v4(9, 9, 9, 9)), Some(v4(10, 0, 0, 1)));
    let ports = [(17, 53), (6, 22), (6, 53), (17, 22)].map(|(proto, port)| facts.port_in_use(proto, port));
    assert_eq!(ports, [true, true, false, false]);
    // They read back as they were given.
    let again = HostFacts::read(&rows(&facts.rows().collect::<Vec<_>>())).unwrap();
    assert_eq!(facts.rows().collect::<Vec<_>>(), again.rows().collect::<Vec<_>>());
    let mut held = Vec::new();
    let network = TableKind::Dynamic { iface: IfaceId(0), mods: DynFlags::NETWORK, prefix: 255 };
    facts.follow("self", &network, &mut |e| held.push((e.addr, e.prefix)));
    assert_eq!(held, [(v4(192, 0, 2, 1), 24), (v4(10, 0, 0, 1), 24), (v4(10, 8, 0, 1), 24)]);
    held.clear();
    let first = TableKind::Dynamic { iface: IfaceId(0), mods: DynFlags::NOALIAS, prefix: 24 };
    facts.follow("em1", &first, &mut |e| held.push((e.addr, e.prefix)));
    assert_eq!(held, [(v4(10, 0, 0, 1), 24)]);
}

#[test]
fn patterns_where_names_are_long() {
    let mut desk = Desk::default();
    desk.load("", "block in\npass in on \"Ether*\" no state\n").unwrap();
    let windows = |wild: bool| {
        let mut all: Vec<FactRow<'_>> = wild.then_some(FactRow::Wildcards).into_iter().collect();
        all.extend(iface(1, "Ethernet 2", v4(192, 0, 2, 1)));
        all
    };
    tell(&mut desk, &windows(false)).unwrap();
    assert!(!capture(&mut desk)[0], "to pf a star is a character");
    tell(&mut desk, &windows(true)).unwrap();
    assert!(capture(&mut desk)[0]);
}
