//! Memory that runs out: each allocation of a driver's life fails once, by every way it is reached, and nothing is lost. Each
//! driver has that life: the filter, and the intermediate driver.
//!
//! A life: start, attach, greeting, facts, rules, packets both ways, requests, a reload, tables, pause, detach, unload. A
//! first run writes down the call stack of each allocation, the heap's and NDIS's alike; then, for every stack that is new,
//! a life in which that one allocation fails. Whatever fails: every buffer list comes back, nothing is leaked, and no frame
//! goes up that the rules in force do not let up, nor any before there are rules.

use std::collections::HashSet;

use pfdriver::edge::port::Side;
use pfndis::frames::Supply;
use pfndis::gateway::Boot;
use pfvm::api::{Request, StateFilter, TableOp};
use pfvm::image::{Bulk, Entry};
use tests::desk::{image, udp, v4};
use tests::ndis::{Driven, ether, facts};
use tests::sys::{Failing, failing_at, failing_from, live, stacks};
use tests::{im, ndis};

#[global_allocator]
static MEMORY: Failing = Failing;

/// What a life is given, made while memory is plenty.
struct Given {
    facts: Vec<u8>,
    first: Vec<u8>,
    second: Vec<u8>,
}

impl Given {
    fn new() -> Self {
        let first = "table <t> persist { 10.0.0.0/8 }\nset reassemble yes\nblock in\n\
                     pass in proto udp from <t> to any port 53\n\
                     match out on em0 inet from 10.0.0.0/8 nat-to 192.0.2.1\npass out\n";
        let second = "block in\nanchor \"a\" {\npass in proto udp to any port 123\n}\n";
        Self { facts: facts(), first: image("", first), second: image("", second) }
    }
}

/// Frames up and down; nothing goes up but by the rules in force: none, the first, the second.
fn packets<D: Driven>(host: &mut D, rules: usize, source: &mut u16) {
    let inside = v4(10, 0, 0, 5);
    host.indicated();
    for (n, port) in [53_u16, 123, 9].into_iter().enumerate() {
        *source += 1;
        let up = ether([2, 0, 0, 0, 0, 2], &udp(inside, *source, v4(198, 51, 100, 7), port));
        host.give((1, Side::Wire), &[(vec![(up, vec![20, 50], 3)], vec![])], n == 1);
        let allowed = matches!((rules, port), (1, 53) | (2, 123));
        let went = !host.indicated().is_empty();
        assert!(allowed || !went, "port {port} was let in under rules {rules}");
    }
    let down = ether([2, 0, 0, 0, 8, 8], &udp(inside, 7000, v4(198, 51, 100, 7), 53));
    host.give((0, Side::Stack), &[(vec![(down, vec![60], 3)], vec![])], false);
    host.tick();
    host.settle();
}

/// Lists, tables, states, options; requests of NDIS.
fn requests<D: Driven>(host: &mut D) {
    let mut records = Vec::new();
    Entry { addr: v4(10, 9, 0, 0).0, prefix: 16, flags: 0, weight: 0 }.write(&mut records);
    for request in [
        Request::Status,
        Request::Rules { path: "", cursor: 0 },
        Request::Addresses { path: "", name: "t", op: TableOp::Add, dry: false, entries: &records },
        Request::States { filter: StateFilter::default(), cursor: 0 },
        Request::SetTrace { filter: &[0, 0, 0, 1] },
        Request::KillStates { filter: StateFilter::default() },
        Request::FlushRules { path: "a" },
    ] {
        host.ask(&request);
    }
    for (kind, direct) in [(0, false), (1, true), (12, false)] {
        host.request(0, kind, 0x1_010E, direct);
    }
}

/// A whole life.
fn life<D: Driven>(given: &Given) {
    let Some(mut host) = D::begin(Boot::Block, Supply { small: 6, large: 1 }) else { return };
    host.go();
    let (mut rules, mut source) = (0, 4000);
    packets(&mut host, rules, &mut source);
    host.greet();
    host.set_facts(&given.facts);
    for (n, image) in [(1, &given.first), (2, &given.second)] {
        if host.load(image).is_some() {
            rules = n;
        }
        packets(&mut host, rules, &mut source);
        requests(&mut host);
        packets(&mut host, rules, &mut source);
    }
    host.end();
}

fn each<D: Driven>() {
    let given = Given::new();
    // What is made once for a thread or the process is made now.
    life::<D>(&given);
    let found = stacks(|| life::<D>(&given));
    assert!(found.len() > 60, "a life has more allocations than {}", found.len());
    let mut seen = HashSet::new();
    for (n, stack) in found.iter().enumerate() {
        if !seen.insert(*stack) {
            continue;
        }
        let before = live();
        let failed = failing_at(n, || life::<D>(&given));
        assert!(failed, "allocation {n} of {} is met again", found.len());
        assert_eq!(live(), before, "allocation {n} failed and something was left");
    }
    println!("{} allocations by {} ways", found.len(), seen.len());
    assert!(seen.len() > 40, "there are more ways to memory than {}", seen.len());
}

fn less_and_less<D: Driven>() {
    let given = Given::new();
    life::<D>(&given);
    let all = stacks(|| life::<D>(&given)).len();
    let mut left = 0;
    while left < all {
        let before = live();
        // From here on there is none at all.
        assert!(failing_from(left, || life::<D>(&given)));
        assert_eq!(live(), before, "memory for {left} and something was left");
        left += 1 + left / 16;
    }
}

#[test]
fn each_allocation_of_the_filter_fails_once_and_nothing_is_lost() {
    each::<ndis::Host>();
}

#[test]
fn each_allocation_of_the_intermediate_driver_fails_once_and_nothing_is_lost() {
    each::<im::Host>();
}

#[test]
fn starts_of_the_filter_with_less_and_less_memory_end_cleanly() {
    less_and_less::<ndis::Host>();
}

#[test]
fn starts_of_the_intermediate_driver_with_less_and_less_memory_end_cleanly() {
    less_and_less::<im::Host>();
}
