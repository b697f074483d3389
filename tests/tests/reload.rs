//! Loading while traffic flows: what a load keeps, what it replaces, and that one that fails has changed nothing, at
//! whatever allocation it fails.

use pfdriver::filter::{By, Filter, How, Loading, Unit};
use pfdriver::lock::Lock;
use pfvm::api::{After, Code, Request, Status, TableTouch, Ticket};
use pfvm::engine::Verdict;
use pfvm::image::Image;
use pfvm::packet::tcp_flags::{ACK, SYN};
use pfvm::rule::{Addr, Direction};
use pfvm::verify::Program;
use tests::desk::{Clock, Desk, image, small, tcp, udp, v4};
use tests::sys::{Failing, with_allocations};

#[global_allocator]
static ALLOCATOR: Failing = Failing;

const OUTSIDE: Addr = v4_const(192, 0, 2, 9);

const fn v4_const(a: u8, b: u8, c: u8, d: u8) -> Addr {
    let mut all = [0; 16];
    (all[0], all[1], all[2], all[3]) = (a, b, c, d);
    Addr(all)
}

fn datagram(port: u16) -> Vec<u8> {
    udp(OUTSIDE, port, v4(192, 0, 2, 1), 53)
}

fn loading(path: &str, rules: &str) -> Loading {
    let image = image(path, rules);
    let program = Program::verify(&Image::parse(&image).unwrap(), pfc::compile::BUDGET).unwrap();
    let unit = Unit { path: path.as_bytes().to_vec(), image, generation: 0, inserted: 0, by: By::default() };
    Loading { program, unit }
}

/// What a filter decides about some packets, and all it holds.
fn portrait(f: &mut Filter<Clock>) -> String {
    let e = &f.engine;
    let tables: Vec<String> = e
        .tables
        .names()
        .iter()
        .map(|n| {
            let list: Vec<_> = e.tables.all.entries(n.slot).map(|v| (v.addr.0, v.prefix, v.not)).collect();
            let name = String::from_utf8_lossy(&n.name).into_owned();
            format!("{name} {:?} {} {} {list:?}", n.flags, n.active, n.referenced)
        })
        .collect();
    let rules: Vec<_> = e.rules.iter().map(|(p, r)| (p, r.live, r.packets(), r.states, r.src_table)).collect();
    let states: Vec<_> = e.table.iter().map(|s| e.table.get(s).map(|s| (s.wire(), s.rule))).collect();
    format!("{} {tables:?} {rules:?} {states:?} {:?} {}", f.generation, e.options, e.is_shut())
}

#[test]
fn a_load_that_fails_at_any_allocation_changes_nothing() {
    let before = "set timeout udp.first 7\nset skip on em1\ntable <kept> persist { 10.1.0.0/16 }\n\
                  table <own> { 10.2.0.0/16 }\nblock in\npass in from { <kept> <own> 192.0.2.0/24 } tag A label one\n\
                  anchor \"x\" {\npass out proto tcp\n}\npass out on em0 from any nat-to (em0)\n";
    let after = "set limit states 300\nset loginterface em0\ntable <kept> persist { 10.9.0.0/16 !10.9.9.9 }\n\
                 table <new> { 10.3.0.0/16, 10.4.0.0/16 }\nblock all\npass in from <new> tag B label two\n\
                 pass in from (egress) to <ghost>\nanchor \"y/*\"\npass out route-to { 192.0.2.8 192.0.2.7 }\n";
    let mut desk = Desk::new(small());
    desk.load("", before).unwrap();
    desk.load("y/z", "pass in proto icmp\n").unwrap();
    assert_eq!(desk.comes(1, &datagram(1000)).verdict, Verdict::Pass);
    let at_first = desk.filter.with(portrait);
    for limit in 0.. {
        let programs = vec![loading("", after), loading("w", "table <t> { 1.2.3.4 }\npass in from <t>\n")];
        let how = How { after: After::KillChanged, confirm: 5, checksum: Some([1; 16]) };
        let (done, asked) = desk.filter.with(|f| with_allocations(limit, || f.load(programs, how)));
        if done.is_ok() {
            assert!(asked <= limit && limit > 50, "{limit} ways to fail");
            break;
        }
        assert_eq!(desk.filter.with(portrait), at_first, "after {limit} allocations");
    }
    assert_ne!(desk.filter.with(portrait), at_first);
    assert_eq!(desk.filter.with(|f| f.engine.table.iter().count()), 0, "the rule of the state is gone");
    // Taken back by the host itself; what is short of memory then is tried again.
    desk.filter.with(|f| f.platform.ms += 4000);
    desk.filter.with(|f| f.tick());
    assert_eq!(desk.filter.with(|f| f.generation), 3);
    desk.filter.with(|f| f.platform.ms += 1000);
    let (_, asked) = desk.filter.with(|f| with_allocations(3, || f.tick()));
    assert!(asked > 3);
    assert!(desk.filter.with(|f| (f.generation, f.unconfirmed().is_some()) == (3, true)), "not yet");
    desk.pass(1);
    assert_eq!(desk.filter.with(|f| (f.generation, f.unconfirmed())), (4, None));
    assert_eq!(desk.comes(1, &datagram(1000)).verdict, Verdict::Pass, "the old rules decide");
    assert_eq!(desk.filter.with(|f| (f.engine.options.timeouts[7], f.units.len(), f.checksum)), (7, 2, [7; 16]));
}

#[test]
fn facts_that_find_no_memory_change_nothing() {
    let mut desk = Desk::default();
    desk.load("", "block in\npass in from (em0:network)\n").unwrap();
    let at_first = desk.filter.with(portrait);
    for limit in 0.. {
        let facts =
            pfdriver::facts::HostFacts::read(&tests::desk::rows(&tests::desk::iface(1, "em0", v4(10, 7, 0, 1))));
        let (done, _) = desk.filter.with(|f| with_allocations(limit, || f.set_facts(facts.unwrap()).map(drop)));
        if done.is_ok() {
            assert!(limit > 10);
            break;
        }
        assert_eq!(desk.filter.with(portrait), at_first, "after {limit} allocations");
    }
    assert_ne!(desk.filter.with(portrait), at_first);
}

#[test]
fn states_keep_what_their_rule_said() {
    let mut desk = Desk::default();
    desk.load("", "block in\npass in proto udp keep state (udp.first 500, udp.single 500)\n").unwrap();
    let first = desk.comes(1, &datagram(1));
    assert_eq!(first.verdict, Verdict::Pass);
    desk.load("", "block in\n").unwrap();
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Pass, "the state stays");
    assert_eq!(desk.comes(1, &datagram(2)).verdict, Verdict::Drop);
    desk.pass(300);
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Pass, "with the timeout of its rule");
}

#[test]
fn what_becomes_of_states_is_a_choice() {
    let rules = "block in\npass in proto udp to port 53\npass in proto udp to port 123\npass in proto tcp\n";
    let next = "block in\npass in proto udp to port 123\npass in proto tcp to port 22\npass in proto udp from any to port 53\n";
    for (after, left) in [(After::Keep, 4), (After::KillChanged, 2), (After::Reevaluate, 3)] {
        let mut desk = Desk::default();
        desk.load("", rules).unwrap();
        desk.comes(1, &udp(OUTSIDE, 1, v4(192, 0, 2, 1), 53));
        desk.comes(1, &udp(OUTSIDE, 1, v4(192, 0, 2, 1), 123));
        desk.comes(1, &tcp(OUTSIDE, 1, v4(192, 0, 2, 1), 22, SYN, 5, 0));
        desk.comes(1, &tcp(OUTSIDE, 1, v4(192, 0, 2, 1), 80, SYN, 5, 0));
        assert_eq!(desk.filter.with(|f| f.engine.table.len()), 4);
        desk.commit("", &image("", next), after, 0).unwrap();
        assert_eq!(desk.filter.with(|f| f.engine.table.iter().count()), left, "{after:?}");
    }
}

#[test]
fn translated_states_are_judged_by_what_they_were_made_of() {
    let rules = "block\npass out on em0 from 10.0.0.0/24 nat-to (em0)\n";
    let mut desk = Desk::default();
    desk.load("", rules).unwrap();
    let syn = tcp(v4(10, 0, 0, 5), 7, v4(198, 51, 100, 1), 80, SYN, 5, 0);
    assert_eq!(desk.packet(1, Direction::Out, &syn).verdict, Verdict::Pass);
    desk.commit("", &image("", rules), After::Reevaluate, 0).unwrap();
    assert_eq!(desk.filter.with(|f| f.engine.table.len()), 1);
    let other = "block\npass out on em0 from 10.0.1.0/24 nat-to (em0)\n";
    desk.commit("", &image("", other), After::Reevaluate, 0).unwrap();
    assert_eq!(desk.filter.with(|f| f.engine.table.iter().count()), 0);
}

#[test]
fn anchors_stay_when_main_is_loaded() {
    let mut desk = Desk::default();
    let main = "block\nanchor \"a\"\nanchor \"b\"\n";
    desk.load("", main).unwrap();
    desk.load("a", "pass in proto udp to port 53 no state\n").unwrap();
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Pass);
    desk.load("", main).unwrap();
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Pass, "the anchor stays");
    desk.load("", "block\nanchor \"a\" {\nblock proto tcp\n}\n").unwrap();
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Drop, "unless main brings one of that name");
    assert_eq!(desk.filter.with(|f| f.units.len()), 1);
    desk.load("a", "pass in proto udp no state\n").unwrap();
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Pass, "the one loaded later counts");
    assert_eq!(desk.change(&Request::FlushRules { path: "a" }), Ok(1));
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Drop, "and flushed it does not come back");
}

#[test]
fn tables_live_on() {
    let mut desk = Desk::default();
    let rules = |own: &str| {
        format!(
            "table <p> persist\ntable <own> {{ {own} }}\nblock in\npass in from <p> no state\npass in from <own> no state\n"
        )
    };
    desk.load("", &rules("10.1.0.0/16")).unwrap();
    let mut record = Vec::new();
    pfvm::image::Bulk::write(&pfvm::image::Entry { addr: OUTSIDE.0, prefix: 32, flags: 0, weight: 0 }, &mut record);
    let add = Request::Addresses { path: "", name: "p", op: pfvm::api::TableOp::Add, dry: false, entries: &record };
    let client = desk.client;
    assert_eq!(desk.send(client, &tests::fuzz::api::message(&add))[0], 0);
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Pass);
    desk.load("", &rules("10.2.0.0/16")).unwrap();
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Pass, "what was added stays");
    let held = |desk: &Desk, name: &[u8]| {
        desk.filter.with(|f| {
            let slot = f.engine.tables.named(b"", name)?.slot;
            Some(f.engine.tables.all.entries(slot).map(|v| v.addr.0[1]).collect::<Vec<_>>())
        })
    };
    assert_eq!(held(&desk, b"own"), Some(vec![2]), "what is written down replaces");
    desk.load("", "block in\n").unwrap();
    assert_eq!((held(&desk, b"own"), held(&desk, b"p").map(|p| p.len())), (None, Some(1)), "persistent ones stay");
    // A table of the anchor stands before the main ruleset's once it is there.
    desk.load("", "table <t> persist { 192.0.2.0/24 }\nblock in\nanchor \"a\"\n").unwrap();
    desk.load("a", "pass in from <t> no state\n").unwrap();
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Pass);
    let touch = |touch| Request::Table { path: "a", name: "t", touch, dry: false };
    assert_eq!(desk.change(&touch(TableTouch::Create)), Ok(1));
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Drop, "its own is empty");
    assert_eq!(desk.change(&touch(TableTouch::Kill)), Ok(1));
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Pass);
}

#[test]
fn a_load_without_confirmation_is_taken_back() {
    let mut desk = Desk::default();
    desk.load("", "set timeout udp.first 9\npass no state\n").unwrap();
    let generation = desk.commit("", &image("", "block\n"), After::Keep, 30).unwrap();
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Drop);
    let busy = desk.load("", "pass\n").unwrap_err();
    assert_eq!((busy.0, busy.1.ends_with('2')), (Code::Busy, true), "{}", busy.1);
    desk.pass(29);
    let left = desk.ask::<Status<'_>>(&Request::Status).unwrap().unconfirmed;
    assert_eq!(left, Some((generation, 1)));
    desk.pass(1);
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Pass);
    assert_eq!(desk.change(&Request::Confirm { generation }).unwrap_err().0, Code::Busy, "too late");

    let generation = desk.commit("", &image("", "block\n"), After::Keep, 30).unwrap();
    assert_eq!(desk.change(&Request::Confirm { generation: generation + 1 }).unwrap_err().0, Code::Busy);
    desk.change(&Request::Confirm { generation }).unwrap();
    desk.pass(60);
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Drop, "confirmed");

    let generation = desk.commit("", &image("", "pass no state\n"), After::Keep, 30).unwrap();
    let back: Ticket = desk.ask(&Request::Revert { generation }).unwrap();
    assert!(back.number > generation);
    assert_eq!(desk.comes(1, &datagram(1)).verdict, Verdict::Drop);
}

#[test]
fn once_more_with_an_established_connection() {
    let mut desk = Desk::default();
    desk.load("", "block\npass in proto tcp to port 22\n").unwrap();
    let server = v4(192, 0, 2, 1);
    desk.comes(1, &tcp(OUTSIDE, 7, server, 22, SYN, 100, 0));
    desk.packet(1, Direction::Out, &tcp(server, 22, OUTSIDE, 7, SYN | ACK, 500, 101));
    desk.comes(1, &tcp(OUTSIDE, 7, server, 22, ACK, 101, 501));
    for _ in 0..100 {
        desk.load("", "block\n").unwrap();
        let there = desk.comes(1, &tcp(OUTSIDE, 7, server, 22, ACK, 101, 501));
        let back = desk.packet(1, Direction::Out, &tcp(server, 22, OUTSIDE, 7, ACK, 501, 101));
        assert_eq!((there.verdict, back.verdict), (Verdict::Pass, Verdict::Pass));
    }
    let (rules, states) = desk.filter.with(|f| (f.engine.rules.iter().count(), f.engine.table.len()));
    assert_eq!((rules, states), (3, 1), "the default, the one in force, the one of the state");
}
