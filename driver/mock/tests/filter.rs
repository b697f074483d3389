//! The filter's half of NDIS against the mock: every list goes out once, whatever is decided about its frames.

use std::sync::atomic::{AtomicUsize, Ordering};

use ndismock::script::{DROP, ELSEWHERE, KINDS, LATER, LONGER, PASS, REWRITE, SENT_TWICE, SHORTER, Script, becomes};
use ndismock::sys;
use ndismock::world::{Event, Mock, Place, Whose};
use pfndis::frames::Supply;
use pfndis::judge::Adapter;
use pfndis::module::{Driver, Module};
use pfndis::sys::code::{FAILURE, PAUSED, PENDING, SEND_ABORTED, SUCCESS};
use pfndis::sys::layout::{Handle, NetBufferList};
use pfndis::sys::list::Chain;
use pfndis::sys::modules::Ref;
use proptest::prelude::*;

type Filter = Driver<Mock, Script>;
type One = Ref<Module<Mock, Script>>;

const SMALL: Supply = Supply { small: 64, large: 8 };

fn adapter(n: u32) -> Adapter {
    Adapter { if_index: n, luid: u64::from(n), mac: [2, 0, 0, 0, 0, 1], mtu: 1500 }
}

fn handle(n: usize) -> Handle {
    Handle(std::ptr::without_provenance_mut(n))
}

/// A driver with two running modules.
fn running(supply: Supply) -> (sys::Placed<Filter>, One, One) {
    let driver = sys::Placed::new(Driver::new(Mock::default(), Script::default(), supply).unwrap());
    let a = driver.attach(handle(0xa0), adapter(1)).unwrap();
    let b = driver.attach(handle(0xb0), adapter(2)).unwrap();
    assert_eq!((a.get().restart(1500), b.get().restart(1500)), (SUCCESS, SUCCESS));
    (driver, a, b)
}

/// Everything that is out comes back: sends complete, receives return.
fn drain(driver: &Filter, modules: &[One]) {
    for place in [Place::Below, Place::Above] {
        for list in driver.os.at(place) {
            let module = modules.iter().find(|m| sys::source(list) == handle_of(m)).unwrap_or(&modules[0]);
            let chain = driver.os.hand_back(&[list], place);
            match place {
                Place::Below => module.get().send_complete(chain, 0),
                _ => module.get().give_back(chain, 0),
            }
        }
    }
}

fn handle_of(module: &One) -> Handle {
    handle(0xa0 + 0x10 * (module.get().adapter().if_index as usize - 1))
}

/// Stops both modules and looks for what is left.
fn end(driver: sys::Placed<Filter>, modules: &[One]) {
    for module in modules {
        if module.get().pause() == PENDING {
            drain(&driver, modules);
            assert!(driver.os.world().events.contains(&Event::Paused(handle_of(module))));
        }
        assert_eq!(module.get().gate.under_way(), 0);
        drain(&driver, modules);
    }
    for module in modules {
        driver.detach(*module);
    }
    for list in driver.os.at(Place::Home) {
        driver.os.drop_list(list);
    }
    driver.os.world().assert_empty();
}

/// A list's frames: bytes, cuts, room in front.
type Frames = Vec<(Vec<u8>, Vec<usize>, usize)>;

fn frames(most: usize) -> impl Strategy<Value = Frames> {
    let frame = (0..KINDS, prop_oneof![6..80_usize, 280..330_usize, 1400..1514_usize])
        .prop_map(|(kind, len)| (0..len).map(|i| if i == 0 { kind } else { (i * 7) as u8 }).collect::<Vec<u8>>());
    let cuts = proptest::collection::vec(0..2000_usize, 0..24);
    proptest::collection::vec((frame, cuts, 0..40_usize), 1..=most)
}

/// What leaves by the lists' own way, and by port 1's wire, and which lists come back at once.
fn expected(lists: &[Frames]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let all = lists.iter().flatten().flat_map(|(bytes, ..)| becomes(bytes));
    let (own, other): (Vec<_>, Vec<_>) = all.partition(|(_, own)| *own);
    (own.into_iter().map(|f| f.0).collect(), other.into_iter().map(|f| f.0).collect())
}

fn sorted(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.sort();
    frames
}

/// Frames that went one way, in order.
fn went(events: &[Event], down: bool, by: Handle) -> Vec<Vec<u8>> {
    let pick = |e: &Event| match e {
        Event::Sent(h, _, f) if down && *h == by => Some(f.clone()),
        Event::Indicated(h, _, f) if !down && *h == by => Some(f.clone()),
        _ => None,
    };
    events.iter().filter_map(pick).flatten().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn sends_go_down_as_decided(lists in proptest::collection::vec(frames(4), 1..8)) {
        let (driver, a, b) = running(SMALL);
        let raw: Vec<_> = lists.iter().map(|l| driver.os.list(Whose::Protocol, l)).collect();
        a.get().send(sys::chain(&raw), 0, 0);
        let (own, other) = expected(&lists);
        let events = driver.os.events();
        prop_assert_eq!(sorted(went(&events, true, handle(0xa0))), sorted(own));
        prop_assert_eq!(sorted(went(&events, true, handle(0xb0))), sorted(other));
        drain(&driver, &[a, b]);
        drain(&driver, &[a, b]);
        // Every list the stack sent is completed, and with success if anything of it went on.
        let events = [events, driver.os.events()].concat();
        for (list, frames) in raw.iter().zip(&lists) {
            let on = frames.iter().any(|f| becomes(&f.0).iter().any(|(_, own)| *own) && f.0[0] != SENT_TWICE);
            let status = if on { SUCCESS } else { SEND_ABORTED };
            let done: Vec<_> = events.iter().filter(|e| matches!(e, Event::Completed(l, _) if *l == list.addr())).cloned().collect();
            prop_assert_eq!(done, vec![Event::Completed(list.addr(), status)]);
        }
        prop_assert_eq!(a.get().frames_in(), (64, 8));
        end(driver, &[a, b]);
    }

    #[test]
    fn receives_go_up_as_decided(lists in proptest::collection::vec(frames(1), 1..40), lent in any::<bool>()) {
        let (driver, a, b) = running(SMALL);
        let raw: Vec<_> = lists.iter().map(|l| driver.os.list(Whose::Miniport, l)).collect();
        a.get().receive(sys::chain(&raw), 0, if lent { 2 } else { 0 });
        let (own, other) = expected(&lists);
        let events = driver.os.events();
        prop_assert_eq!(sorted(went(&events, false, handle(0xa0))), sorted(own));
        prop_assert_eq!(sorted(went(&events, true, handle(0xb0))), sorted(other));
        if lent {
            prop_assert_eq!(sys::linked(raw[0]), raw.clone(), "the chain is the miniport's as it was");
            let mut world = driver.os.world();
            for list in &raw {
                let entry = world.lists.get_mut(&list.addr()).unwrap();
                prop_assert_eq!(entry.1, Place::Filter);
                entry.1 = Place::Home;
            }
        }
        drain(&driver, &[a, b]);
        prop_assert!(raw.iter().all(|l| driver.os.at(Place::Home).contains(l)));
        end(driver, &[a, b]);
    }

    #[test]
    fn lists_of_others_are_not_written_to(lists in proptest::collection::vec(frames(3), 1..4), up in any::<bool>()) {
        let (driver, a, b) = running(SMALL);
        let whose = if up { Whose::Miniport } else { Whose::Protocol };
        let raw: Vec<_> = lists.iter().map(|l| driver.os.list(whose, l)).collect();
        if up { a.get().receive(sys::chain(&raw), 0, 0) } else { a.get().send(sys::chain(&raw), 0, 0) }
        for (list, frames) in raw.iter().zip(&lists) {
            let now = sys::bytes(*list);
            prop_assert_eq!(now, frames.iter().map(|f| f.0.clone()).collect::<Vec<_>>());
        }
        drain(&driver, &[a, b]);
        end(driver, &[a, b]);
    }
}

#[test]
fn order_is_kept_within_a_chain() {
    let (driver, a, b) = running(SMALL);
    let kinds = [PASS, REWRITE, PASS, DROP, LONGER, PASS, SHORTER];
    let lists: Vec<Frames> = (0..70).map(|n| vec![(vec![kinds[n % 7], n as u8, 3, 4, 5, 6], vec![], 0)]).collect();
    let raw: Vec<_> = lists.iter().map(|l| driver.os.list(Whose::Protocol, l)).collect();
    a.get().send(sys::chain(&raw), 0, 0);
    assert_eq!(went(&driver.os.events(), true, handle(0xa0)), expected(&lists).0);
    drain(&driver, &[a, b]);
    end(driver, &[a, b]);
}

#[test]
fn a_pause_waits_for_frames_of_our_own_alone() {
    let (driver, a, b) = running(SMALL);
    let pass = driver.os.list(Whose::Protocol, &[(vec![PASS; 60], vec![], 0)]);
    a.get().send(sys::chain(&[pass]), 0, 0);
    let rewritten = driver.os.list(Whose::Protocol, &[(vec![REWRITE; 60], vec![], 0)]);
    a.get().send(sys::chain(&[rewritten]), 0, 0);
    assert_eq!(a.get().pause(), PENDING);
    assert!(!driver.os.world().events.contains(&Event::Paused(handle(0xa0))));
    // What comes now is given back at once.
    let late = driver.os.list(Whose::Protocol, &[(vec![PASS; 60], vec![], 0)]);
    a.get().send(sys::chain(&[late]), 0, 0);
    let up = driver.os.list(Whose::Miniport, &[(vec![PASS; 60], vec![], 0)]);
    a.get().receive(sys::chain(&[up]), 0, 0);
    let events = driver.os.events();
    assert!(events.contains(&Event::Completed(late.addr(), PAUSED)) && events.contains(&Event::Returned(up.addr())));
    drain(&driver, &[a, b]);
    assert_eq!(driver.os.events().iter().filter(|e| matches!(e, Event::Paused(_))).count(), 1);
    assert_eq!(a.get().restart(1400), SUCCESS);
    end(driver, &[a, b]);
}

#[test]
fn a_tick_sends_what_was_made_and_a_paused_port_takes_nothing() {
    let (driver, a, b) = running(SMALL);
    driver.core.with(&driver.os, |core| core.judge.made = vec![vec![1, 2, 3], vec![4; 2100]]);
    driver.tick();
    assert_eq!(went(&driver.os.events(), true, handle(0xa0)).len(), 2);
    drain(&driver, &[a, b]);
    assert_eq!(a.get().pause(), SUCCESS);
    driver.core.with(&driver.os, |core| core.judge.made = vec![vec![1, 2, 3]]);
    driver.tick();
    assert_eq!(driver.os.events(), [] as [Event; 0]);
    end(driver, &[a, b]);
}

#[test]
fn when_own_frames_are_out_packets_end_and_lists_do_not() {
    let (driver, a, b) = running(Supply { small: 2, large: 1 });
    let lists: Vec<_> = (0..9).map(|_| driver.os.list(Whose::Protocol, &[(vec![REWRITE; 99], vec![], 0)])).collect();
    a.get().send(sys::chain(&lists), 0, 0);
    let events = driver.os.events();
    assert_eq!(went(&events, true, handle(0xa0)).len(), 3);
    assert_eq!(events.iter().filter(|e| matches!(e, Event::Completed(_, SEND_ABORTED))).count(), 6);
    drain(&driver, &[a, b]);
    assert_eq!(a.get().frames_in(), (2, 1));
    end(driver, &[a, b]);
}

#[test]
fn a_failed_copy_is_the_status_of_its_list() {
    let (driver, a, b) = running(SMALL);
    let list = driver.os.list(Whose::Protocol, &[(vec![REWRITE; 60], vec![], 0), (vec![REWRITE; 60], vec![], 0)]);
    a.get().send(sys::chain(&[list]), 0, 0);
    let out = driver.os.at(Place::Below);
    assert_eq!(out.len(), 2);
    sys::set_status(out[0], -5);
    for one in out {
        a.get().send_complete(driver.os.hand_back(&[one], Place::Below), 0);
    }
    assert!(driver.os.events().contains(&Event::Completed(list.addr(), -5)));
    end(driver, &[a, b]);
}

#[test]
fn out_of_band_data_go_with_a_copy_and_a_hash_does_not() {
    let (driver, a, b) = running(SMALL);
    let down = driver.os.list(Whose::Protocol, &[(vec![REWRITE; 60], vec![], 0)]);
    sys::set_info(down, 0, 0b10101);
    sys::set_info(down, 5, 0x1234);
    a.get().send(sys::chain(&[down]), 0, 0);
    let copy = sys::info(driver.os.at(Place::Below)[0]);
    assert_eq!((copy[0], copy[5]), (0b10101, 0x1234));
    drain(&driver, &[a, b]);
    let up = driver.os.list(Whose::Miniport, &[(vec![REWRITE; 60], vec![], 0)]);
    for place in [0, 4, 8, 9] {
        sys::set_info(up, place, 0x38);
    }
    a.get().receive(sys::chain(&[up]), 0, 0);
    let copy = sys::info(driver.os.at(Place::Above)[0]);
    assert_eq!((copy[0], copy[4], copy[8], copy[9]), (0x38, 0x38, 0, 0));
    drain(&driver, &[a, b]);
    end(driver, &[a, b]);
}

#[test]
fn requests_go_through_as_clones_and_are_answered_once() {
    let (driver, a, b) = running(SMALL);
    for kind in [0, 1, 12] {
        let request = sys::request(kind, 0x1010E);
        driver.os.world().immediate = Some(SUCCESS);
        assert_eq!(a.get().oid(request, false), SUCCESS);
        assert_eq!(sys::get_answer(request), (7, 9));
        driver.os.world().immediate = None;
        assert_eq!(a.get().oid(request, kind == 12), PENDING);
        let (clone, direct) = driver.os.world().requests.pop().unwrap();
        let clone = std::ptr::with_exposed_provenance_mut(clone);
        sys::set_answer(clone, 21, 22);
        a.get().cancel_oid(std::ptr::null_mut(), direct);
        a.get().oid_complete(clone, -3, direct);
        assert_eq!(sys::get_answer(request), (21, 22));
        assert_eq!(driver.os.events(), [Event::Answered(request.addr(), -3)]);
        driver.os.fail(Some(1));
        assert!(a.get().oid(request, false) < 0);
        driver.os.fail(None);
        sys::free_request(request);
    }
    end(driver, &[a, b]);
}

#[test]
fn every_allocation_of_an_attach_may_fail() {
    let driver =
        sys::Placed::new(Driver::new(Mock::default(), Script::default(), Supply { small: 3, large: 2 }).unwrap());
    let mut failures = 0;
    for at in 1.. {
        driver.os.fail(Some(at));
        match driver.attach(handle(0xa0), adapter(1)) {
            Ok(module) => {
                driver.os.fail(None);
                end(driver, &[module]);
                break;
            }
            Err(status) => {
                assert!(status < 0);
                failures += 1;
                driver.os.world().assert_empty();
            }
        }
    }
    // A pool, three allocations for each of five frames, the module itself.
    assert_eq!(failures, 1 + 3 * 5 + 1);
}

#[test]
fn a_piece_that_cannot_be_mapped_is_a_frame_dropped() {
    let (driver, a, b) = running(SMALL);
    let list = driver.os.list(Whose::Protocol, &[(vec![PASS; 600], vec![100, 200], 0)]);
    driver.os.fail(Some(1));
    // Looked at twice: laid out, then gathered; both may want the piece.
    a.get().send(sys::chain(&[list]), 0, 0);
    let events = driver.os.events();
    assert_eq!(events.len(), 1, "it went on or came back: {events:?}");
    driver.os.fail(None);
    drain(&driver, &[a, b]);
    end(driver, &[a, b]);
}

#[test]
fn threads_send_receive_complete_and_pause() {
    let (driver, a, b) = running(SMALL);
    let rounds = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..3_usize {
            let (driver, rounds) = (&driver, &rounds);
            scope.spawn(move || {
                let module = if n == 2 { b } else { a };
                for i in 0..300_usize {
                    let kind = (i * 5 + n) as u8 % KINDS;
                    let whose = if i % 2 == 0 { Whose::Protocol } else { Whose::Miniport };
                    let list = driver.os.list(whose, &[(vec![kind; 70 + i], vec![i % 70], i % 9)]);
                    let chain = sys::chain(&[list]);
                    if i % 2 == 0 {
                        module.get().send(chain, 0, 0)
                    } else {
                        module.get().receive(chain, 0, 0)
                    }
                    rounds.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // One thread hands back what is out, as NDIS would from any processor.
        let (driver, rounds) = (&driver, &rounds);
        scope.spawn(move || {
            while rounds.load(Ordering::SeqCst) < 900 {
                drain(driver, &[a, b]);
                std::thread::yield_now();
            }
        });
    });
    drain(&driver, &[a, b]);
    drain(&driver, &[a, b]);
    assert_eq!((a.get().frames_in(), b.get().frames_in()), ((64, 8), (64, 8)));
    end(driver, &[a, b]);
}

#[test]
fn an_empty_chain_is_nothing() {
    let (driver, a, b) = running(SMALL);
    a.get().send(Chain::new(), 0, 0);
    a.get().receive(Chain::new(), 0, 0);
    assert_eq!(driver.os.events(), [] as [Event; 0]);
    end(driver, &[a, b]);
}

/// A list of one frame that waits so many milliseconds, and says so with its third byte.
fn later(driver: &Filter, whose: Whose, delay: u8, mark: u8) -> *mut NetBufferList {
    driver.os.list(whose, &[(vec![LATER, delay, mark, 0, 0, 0], vec![], 0)])
}

/// The marks of frames that went a way, in order.
fn marks(events: &[Event], down: bool, by: Handle) -> Vec<u8> {
    went(events, down, by).iter().map(|f| f[2]).collect()
}

/// So many milliseconds pass; when the driver asked to be woken by then, it is.
fn pass(driver: &Filter, ms: u64) -> Vec<Event> {
    driver.core.with(&driver.os, |core| core.judge.now += ms);
    let due = driver.os.world().woken.take_if(|asked| *asked <= ms);
    if due.is_some() {
        driver.wake();
    }
    driver.os.events()
}

#[test]
fn frames_wait_for_their_time_and_leave_in_its_order() {
    let (driver, a, b) = running(SMALL);
    let sent = [(30, 1), (10, 2), (10, 3)].map(|(delay, mark)| later(&driver, Whose::Protocol, delay, mark));
    a.get().send(sys::chain(&sent), 0, 0);
    let came = later(&driver, Whose::Miniport, 20, 4);
    b.get().receive(sys::chain(&[came]), 0, 0);
    // Whoever sent or received them has their lists back at once: what waits are copies.
    let events = driver.os.events();
    for list in sent {
        assert!(events.contains(&Event::Completed(list.addr(), SUCCESS)), "{events:?}");
    }
    assert!(events.contains(&Event::Returned(came.addr())));
    assert_eq!((marks(&events, true, handle(0xa0)), driver.os.at(Place::Below).len()), (vec![], 0));
    assert_eq!(driver.os.world().woken, Some(10), "the first of them is due in ten milliseconds");
    assert_eq!(marks(&pass(&driver, 10), true, handle(0xa0)), [2, 3]);
    let events = pass(&driver, 10);
    assert_eq!((marks(&events, false, handle(0xb0)), marks(&events, true, handle(0xa0))), (vec![4], vec![]));
    assert_eq!(marks(&pass(&driver, 10), true, handle(0xa0)), [1]);
    assert_eq!(driver.os.world().woken, None, "nothing is left to be woken for");
    end(driver, &[a, b]);
}

#[test]
fn what_waits_is_gone_with_a_pause() {
    let (driver, a, b) = running(SMALL);
    let sent: Vec<_> = (0..5).map(|mark| later(&driver, Whose::Protocol, 50, mark)).collect();
    a.get().send(sys::chain(&sent), 0, 0);
    assert_eq!((a.get().gate.under_way(), a.get().frames_in()), (5, (59, 8)));
    assert_eq!(a.get().pause(), SUCCESS, "nothing is out: the pause is over at once");
    assert_eq!((a.get().gate.under_way(), a.get().frames_in()), (0, (64, 8)));
    assert_eq!(marks(&pass(&driver, 50), true, handle(0xa0)), []);
    assert_eq!(a.get().restart(1500), SUCCESS);
    a.get().send(sys::chain(&[later(&driver, Whose::Protocol, 5, 9)]), 0, 0);
    assert_eq!(marks(&pass(&driver, 5), true, handle(0xa0)), [9]);
    end(driver, &[a, b]);
}

#[test]
fn no_more_wait_than_may() {
    let (driver, a, b) = running(SMALL);
    let send = |n: u8| {
        let lists: Vec<_> = (0..n).map(|mark| later(&driver, Whose::Protocol, 5, mark)).collect();
        a.get().send(sys::chain(&lists), 0, 0);
        let refused = driver.os.events();
        refused.iter().filter(|e| matches!(e, Event::Completed(_, SEND_ABORTED))).count()
    };
    // Half of a module's frames, so that rewritten packets find some.
    assert_eq!((send(40), a.get().frames_in()), (8, (32, 8)));
    assert_eq!(marks(&pass(&driver, 5), true, handle(0xa0)).len(), 32);
    drain(&driver, &[a, b]);
    driver.os.events();
    // `set limit pktdelay_pkts`.
    driver.core.with(&driver.os, |core| core.judge.may_wait = Some(3));
    assert_eq!((send(4), a.get().frames_in()), (1, (61, 8)));
    assert_eq!(marks(&pass(&driver, 5), true, handle(0xa0)), [0, 1, 2]);
    assert_eq!(send(3), 0, "those that left make room");
    assert_eq!(driver.gathered(|judge| judge.short), 9, "each that could not wait is counted");
    end(driver, &[a, b]);
}

#[test]
fn frames_that_wait_meet_pauses_from_other_threads() {
    let (driver, a, b) = running(SMALL);
    let stop = AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                for _ in 0..300 {
                    let lists = [1, 2].map(|delay| later(&driver, Whose::Protocol, delay, 0));
                    a.get().send(sys::chain(&lists), 0, 0);
                }
            });
        }
        s.spawn(|| {
            while stop.load(Ordering::SeqCst) == 0 {
                driver.core.with(&driver.os, |core| core.judge.now += 1);
                driver.wake();
                drain(&driver, &[a]);
            }
        });
        for _ in 0..50 {
            if a.get().pause() == PENDING {
                while !a.get().gate.is_paused() {
                    std::thread::yield_now();
                }
            }
            assert_eq!((a.get().gate.under_way(), a.get().frames_in()), (0, (64, 8)));
            assert_eq!(a.get().restart(1500), SUCCESS);
            std::thread::yield_now();
        }
        stop.store(1, Ordering::SeqCst);
    });
    end(driver, &[a, b]);
}

#[test]
fn a_module_that_is_not_paused_is_not_begun_and_not_freed() {
    let (driver, a, b) = running(SMALL);
    assert_eq!(a.get().restart(1500), FAILURE, "it runs");
    a.get().send(
        sys::chain(&[driver.os.list(Whose::Protocol, &[(vec![PASS; 60], vec![], 0), (vec![REWRITE; 60], vec![], 0)])]),
        0,
        0,
    );
    assert_eq!(a.get().pause(), PENDING);
    assert_eq!((a.get().pause(), a.get().restart(1500)), (FAILURE, FAILURE), "it pauses still");
    driver.detach(a);
    assert!(a.get().gate.under_way() > 0, "what is out still finds its module");
    drain(&driver, &[a, b]);
    assert!(a.get().gate.is_paused());
    end(driver, &[b, a]);
}

#[test]
fn a_tag_beside_a_frame_goes_with_its_copy() {
    let (driver, a, b) = running(SMALL);
    // VLAN 5 with priority 3, and two bits of another's.
    let tag = 5 << 4 | 3 | 3 << 16;
    for kind in [REWRITE, ELSEWHERE] {
        let list = driver.os.list(Whose::Protocol, &[(vec![kind; 60], vec![], 0)]);
        sys::set_info(list, 4, tag);
        a.get().send(sys::chain(&[list]), 0, 0);
        let copy = sys::info(driver.os.at(Place::Below)[0]);
        // Out of another adapter it is a frame of no VLAN.
        assert_eq!(copy[4], if kind == REWRITE { tag } else { 0 });
        drain(&driver, &[a, b]);
        drain(&driver, &[a, b]);
    }
    end(driver, &[a, b]);
}
