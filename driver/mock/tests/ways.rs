//! Processors that decide at once: who is inside, for how long, and what the mock does not let pass.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use ndismock::numbers::Numbers;
use ndismock::script::{DROP, ELSEWHERE, PASS, REWRITE, SENT_TWICE, Script};
use ndismock::stack::{One, Stack};
use ndismock::world::{DISPATCH, Event, Mock, PASSIVE, at_level};
use pfdriver::edge::count::Why;
use pfdriver::edge::offload::Offload;
use pfdriver::edge::port::PortId;
use pfdriver::edge::{Entry, Fate, Lent, Sink};
use pfndis::frames::Supply;
use pfndis::judge::{Adapter, Judge};
use pfndis::module::Driver;
use pfndis::os::Os;
use pfndis::sys::code::SUCCESS;
use pfndis::sys::layout::LockState;
use pfndis::sys::lock::Shares;

const SUPPLY: Supply = Supply { small: 256, large: 4 };

/// A stack with two running modules.
fn running<J: Judge>(judge: J) -> Stack<J> {
    let stack = Stack::new(judge, SUPPLY, 2).unwrap();
    for n in 0..2 {
        assert_eq!(stack.attach(n), Some(SUCCESS));
        stack.restart(n);
    }
    stack
}

fn frame(kind: u8) -> (Vec<u8>, Vec<usize>, usize) {
    let mut bytes = vec![3; 60];
    bytes[0] = kind;
    (bytes, vec![], 0)
}

/// Lists of one frame each.
fn lists(kinds: &[u8]) -> Vec<One> {
    kinds.iter().map(|kind| (vec![frame(*kind)], vec![])).collect()
}

/// Decides shared, once another processor is there as well.
#[derive(Debug, Default)]
struct Meeting {
    inside: Mutex<usize>,
    came: Condvar,
}

impl Judge for Meeting {
    type Local = ();

    fn local(&self) -> Option<()> {
        Some(())
    }

    fn shared(&self, (): &mut (), _: Entry, _: Lent<'_>, _: Offload) -> Option<Fate> {
        let mut inside = self.inside.lock().unwrap();
        *inside += 1;
        self.came.notify_all();
        let late = Duration::from_secs(60);
        let (inside, _) = self.came.wait_timeout_while(inside, late, |inside| *inside < 2).unwrap();
        assert_eq!(*inside, 2, "the other processor is kept out");
        Some(Fate::Drop(Why::Filter))
    }

    fn tell(&self, (): &mut ()) {}

    fn gather(&mut self, (): &mut ()) {}

    fn short(&mut self, _: u32) {}

    fn attach(&mut self, adapter: &Adapter) -> Option<PortId> {
        Some(PortId(adapter.if_index as u16))
    }

    fn restarted(&mut self, _: PortId, _: u32) {}

    fn detach(&mut self, _: PortId) {}

    fn frame<S: Sink>(&mut self, _: Entry, _: Lent<'_>, _: Offload, _: &mut S) -> Fate {
        panic!("nothing wants the judge alone");
    }

    fn now_ms(&self) -> u64 {
        0
    }

    fn may_wait(&self) -> u32 {
        0
    }

    fn tick<S: Sink>(&mut self, _: &mut S) {}
}

#[test]
fn two_processors_decide_at_once() {
    let stack = running(Meeting::default());
    std::thread::scope(|scope| {
        for n in 0..2 {
            let stack = &stack;
            scope.spawn(move || assert!(stack.receive(n, &lists(&[PASS]), false, &mut Numbers(n as u64)).is_some()));
        }
    });
    assert_eq!(stack.os().shared.most(), 2);
    stack.end(&mut Numbers(1));
}

/// How often the driver's lock was taken for these, a module's free list left out: none of these is copied.
fn taken(stack: &Stack<Script>, lists: &[One]) -> usize {
    let before = stack.os().locks();
    stack.send(0, lists, &mut Numbers(1)).unwrap();
    stack.os().locks() - before
}

#[test]
fn a_lock_is_held_for_a_batch_of_frames_and_shared_up_to_the_first_that_wants_it_alone() {
    let stack = running(Script::default());
    assert_eq!(taken(&stack, &lists(&[PASS; 100])), 4);
    let long: One = ((0..100).map(|_| frame(PASS)).collect(), vec![]);
    assert_eq!(taken(&stack, &[long]), 4, "a list of many frames is left in the middle");
    // Module 1's wire takes the frame for elsewhere from its own free list: one more.
    let mut kinds = [PASS; 40];
    kinds[5] = ELSEWHERE;
    assert_eq!(taken(&stack, &lists(&kinds)), 3 + 1);
    let went = |events: &[Event]| events.iter().filter(|e| matches!(e, Event::Sent(..))).count();
    assert_eq!(went(&stack.os().events()), 100 + 1 + 40);
    let shared = stack.driver.gathered(|judge| judge.shared);
    assert_eq!(shared, 100 + 100 + 5 + 8);
    stack.end(&mut Numbers(1));
}

#[test]
fn a_list_taken_up_again_goes_on_in_order() {
    let stack = running(Script::default());
    // Decided shared, alone, shared again: plain ones that become copies, before and behind.
    let mut kinds = [PASS; 70];
    (kinds[3], kinds[10], kinds[20], kinds[50]) = (REWRITE, SENT_TWICE, DROP, REWRITE);
    let numbered = |(n, kind): (usize, &u8)| {
        let mut one = frame(*kind);
        one.0[1] = n as u8;
        one
    };
    let list: One = (kinds.iter().enumerate().map(numbered).collect(), vec![]);
    stack.send(0, &[list], &mut Numbers(1)).unwrap();
    let sent = |e: &Event| if let Event::Sent(_, _, f) = e { f.clone() } else { vec![] };
    let sent: Vec<Vec<u8>> = stack.os().events().iter().flat_map(sent).collect();
    let own: Vec<u8> = sent.iter().filter(|f| f[0] != SENT_TWICE).map(|f| f[1]).collect();
    let expected: Vec<u8> = (0..70).filter(|n| ![10, 20].contains(n)).collect();
    assert_eq!((own, sent.len()), (expected, 70));
    stack.end(&mut Numbers(1));
}

/// Whether something ends the thread that does it.
fn ends(f: impl FnOnce(&Stack<Script>) + Send + 'static) -> bool {
    let one = move || {
        let stack = running(Script::default());
        f(&stack);
    };
    std::thread::spawn(one).join().is_err()
}

#[test]
fn the_mock_notices_locks_that_are_taken_wrongly() {
    let state = || LockState { level: 0, state: 0, flags: 0 };
    // Twice shared, from shared to alone, from alone to shared.
    assert!(ends(|s| s.driver.core.shared(s.os(), |_, _| s.driver.core.shared(s.os(), |_, _| ()))));
    assert!(ends(|s| s.driver.core.shared(s.os(), |_, _| s.driver.tick())));
    assert!(ends(|s| s.driver.core.with(s.os(), |_| s.driver.core.shared(s.os(), |_, _| ()))));
    // NDIS called with it shared.
    assert!(ends(|s| s.driver.core.shared(s.os(), |_, _| {
        s.os().cancel_send(ndismock::stack::handle(0), std::ptr::null_mut());
    })));
    // Given back by who does not have it; freed while somebody has it; a level that is not the one it was taken at.
    assert!(ends(move |s| {
        let lock = s.os().new_lock();
        s.os().give(lock, &mut LockState { state: 3, ..state() });
    }));
    assert!(ends(move |s| {
        let lock = s.os().new_lock();
        s.os().shared.acquire(lock, false);
        s.os().free_lock(lock);
    }));
    assert!(ends(move |s| {
        at_level(DISPATCH, || {
            let (lock, mut taken) = (s.os().new_lock(), state());
            s.os().share(lock, &mut taken);
            s.os().give(lock, &mut LockState { level: PASSIVE, ..taken });
        });
    }));
    assert!(!ends(|s| s.driver.core.shared(s.os(), |_, local| assert!(local.is_some()))));
}

#[test]
fn a_driver_without_room_for_its_lock_is_none_and_one_that_goes_leaves_none() {
    let mock = Mock::default();
    mock.fail(Some(1));
    assert!(Driver::new(mock, Script::default(), SUPPLY).is_none());
    // The mock looks when it goes.
    drop(Driver::new(Mock::default(), Script::default(), SUPPLY).unwrap());
}
