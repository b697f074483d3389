//! The filter as NDIS would drive it, in random order, beside a model of what must come of it.
//!
//! One thread: every step's frames are predicted. Several: what cannot be predicted is still accounted for, by the mock.
//! A run that fails says its seed: `PF_SEED=n PF_STEPS=n cargo test -p ndismock --test model` is the same again (of one
//! thread), more steps are a longer run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ndismock::numbers::{Numbers, Said, seeds};
use ndismock::script::{KINDS, Script, becomes};
use ndismock::stack::{One, Stack, handle};
use ndismock::sys;
use ndismock::world::{Event, Life, Place};
use pfndis::frames::Supply;
use pfndis::sys::code::{PAUSED, SEND_ABORTED, SUCCESS};
use pfndis::sys::layout::{Handle, NetBufferList};

const ADAPTERS: usize = 4;
const SUPPLY: Supply = Supply { small: 24, large: 3 };

/// A frame of some kind and length, cut anywhere.
fn frame(random: &mut Numbers) -> (Vec<u8>, Vec<usize>, usize) {
    let length = match random.below(8) {
        0 => 6 + random.below(8),
        1 => 1 + random.below(2000),
        2 => 250 + random.below(100),
        3 => 9000,
        _ => 60 + random.below(1455),
    };
    let kind = if random.once_in(3) { 0 } else { random.below(usize::from(KINDS)) };
    let mut bytes: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
    bytes[0] = kind as u8;
    let cuts = if random.once_in(20) { 40 } else { 6 };
    let cuts = (0..random.below(cuts)).map(|_| random.below(10_000)).collect();
    (bytes, cuts, random.below(64))
}

/// Lists, with out-of-band data that mean one packet each.
fn lists(random: &mut Numbers, frames: usize) -> Vec<One> {
    let most = if random.once_in(30) { 70 } else { 6 };
    (0..=random.below(most))
        .map(|_| {
            let frames = (0..=random.below(frames)).map(|_| frame(random)).collect();
            let mut info = vec![(5, random.below(9)), (8, random.below(99)), (9, random.below(99))];
            if random.once_in(3) {
                info.push((4, 0x10 * random.below(4095)));
            }
            (frames, info)
        })
        .collect()
}

fn sorted(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.sort();
    frames
}

/// What went one way through a module.
fn went(events: &[Event], down: bool, by: Handle) -> Vec<Vec<u8>> {
    let pick = |e: &Event| match e {
        Event::Sent(h, _, f) if down && *h == by => Some(f.clone()),
        Event::Indicated(h, _, f) if !down && *h == by => Some(f.clone()),
        _ => None,
    };
    events.iter().filter_map(pick).flatten().collect()
}

/// A stack, and what a single thread knows of it.
struct Model {
    stack: Stack<Script>,
    random: Numbers,
    /// Frames predicted and met.
    met: usize,
}

impl Model {
    fn new(seed: u64) -> Self {
        let stack = Stack::new(Script::default(), SUPPLY, ADAPTERS).unwrap();
        Self { stack, random: Numbers(seed), met: 0 }
    }

    fn step(&mut self) {
        let n = self.random.below(ADAPTERS);
        match self.random.below(22) {
            0..=5 => self.frames(n, true, false),
            6..=9 => self.frames(n, false, false),
            10 | 11 => self.frames(n, false, true),
            12 | 13 => drop(self.stack.bring_back(&mut self.random, 12)),
            14 => self.attach(n),
            15 | 16 => self.stack.restart(n),
            17 => self.stack.pause(n, &mut self.random),
            18 if self.random.once_in(3) => self.goes(n),
            19 => self.request(n),
            20 => self.tick(),
            _ => self.events(n),
        }
        // Handed over or handed back, never kept: the filter holds lists of others for its own copies alone.
        self.stack.os().world().events.clear();
        self.drop_home();
    }

    fn drop_home(&self) {
        for list in self.stack.os().at(Place::Home) {
            self.stack.os().drop_list(list);
        }
    }

    /// Sends or receives, and looks whether exactly what must leave left.
    fn frames(&mut self, n: usize, down: bool, lent: bool) {
        let lists = lists(&mut self.random, if down { 4 } else { 1 });
        let life = self.stack.life(n);
        let free = self.stack.with(n, |m| m.frames_in());
        let raw = if down {
            self.stack.send(n, &lists, &mut self.random)
        } else {
            self.stack.receive(n, &lists, lent, &mut self.random)
        };
        let Some(raw) = raw else { return };
        let events = self.stack.os().events();
        let all = lists.iter().flat_map(|(frames, _)| frames).flat_map(|f| becomes(&f.0));
        let (own, other): (Vec<_>, Vec<_>) = all.partition(|(_, own)| *own);
        let bytes = |frames: Vec<(Vec<u8>, bool)>| frames.into_iter().map(|f| f.0).collect::<Vec<_>>();
        let (mut own, mut other) = (bytes(own), bytes(other));
        if life != Some(Life::Running) {
            self.refused(down, lent, &raw, &events);
            return;
        }
        if self.stack.life(1) != Some(Life::Running) {
            other.clear();
        }
        let mut by_one = went(&events, true, handle(1));
        if n == 1 && down {
            own.append(&mut other);
            by_one.clear();
        }
        let straight = went(&events, down, handle(n));
        if free.is_some_and(|(small, large)| enough(&lists, small, large)) && self.enough_elsewhere(&lists, n) {
            self.met += own.len() + other.len();
            assert_eq!((sorted(straight), sorted(by_one)), (sorted(own), sorted(other)));
        } else {
            // Some copies found no frame: nothing leaves that should not.
            assert!(all_of(&straight, &own) && all_of(&by_one, &other), "{straight:?} of {own:?}");
        }
    }

    /// A module that does not run: everything is back at once, and nothing left.
    fn refused(&self, down: bool, lent: bool, raw: &[*mut NetBufferList], events: &[Event]) {
        let expected: Vec<Event> = match (down, lent) {
            (_, true) => Vec::new(),
            (true, _) => raw.iter().map(|l| Event::Completed(l.addr(), PAUSED)).collect(),
            (false, _) => raw.iter().map(|l| Event::Returned(l.addr())).collect(),
        };
        assert_eq!(events, expected);
    }

    /// Whether module 1 surely has a frame for each that leaves by it.
    fn enough_elsewhere(&self, lists: &[One], n: usize) -> bool {
        n == 1 || self.stack.with(1, |m| m.frames_in()).is_none_or(|(small, large)| enough(lists, small, large))
    }

    fn attach(&mut self, n: usize) {
        let fails = self.random.once_in(3);
        if fails {
            let at = self.random.below(3 * 27 + 2) + 1;
            self.stack.os().fail(Some(at));
        }
        let full = self.random.once_in(10);
        self.stack.driver.core.with(self.stack.os(), |core| core.judge.full = full);
        let status = self.stack.attach(n);
        self.stack.os().fail(None);
        if fails || full {
            assert!(status.is_none_or(|s| s < 0), "an attach that lacked something");
        }
    }

    /// Paused and detached in order, or surprised: told first.
    fn goes(&mut self, n: usize) {
        if self.random.once_in(2) {
            self.events(n);
        }
        self.stack.pause(n, &mut self.random);
        self.stack.detach(n, &mut self.random);
    }

    fn request(&mut self, n: usize) {
        match self.random.below(6) {
            0..=2 => {
                let immediate = if self.random.once_in(3) { Some(SUCCESS) } else { None };
                self.stack.os().world().immediate = immediate;
                self.stack.os().fail(if self.random.once_in(5) { Some(1) } else { None });
                let kind = self.random.pick(&[0, 1, 12]);
                self.stack.ask(n, (kind, 0x1_010E, self.random.once_in(2)));
                self.stack.os().fail(None);
                self.stack.os().world().immediate = None;
            }
            3 => drop(self.stack.with(n, |m| m.cancel_oid(std::ptr::null_mut(), false))),
            4 => drop(self.stack.with(n, |m| m.cancel_send(std::ptr::null_mut()))),
            _ => drop(self.stack.answer(&mut self.random)),
        }
    }

    fn tick(&mut self) {
        let made: Vec<Vec<u8>> = (0..self.random.below(3)).map(|i| vec![i as u8; 60 + i]).collect();
        let running = self.stack.life(0) == Some(Life::Running);
        let free = self.stack.with(0, |m| m.frames_in()).map_or(0, |(small, large)| small + large);
        self.stack.driver.core.with(self.stack.os(), |core| core.judge.made = made.clone());
        self.stack.driver.tick();
        let sent = went(&self.stack.os().events(), true, handle(0));
        let most = if running { made.len().min(free) } else { 0 };
        assert_eq!(sent, made[..most]);
    }

    fn events(&mut self, n: usize) {
        let which = self.random.below(3);
        self.stack.with(n, |m| match which {
            0 => m.device_event(std::ptr::null_mut()),
            1 => assert_eq!(m.net_event(std::ptr::null_mut()), SUCCESS),
            _ => m.status(std::ptr::null_mut()),
        });
    }
}

/// Whether there is surely a frame for each copy that may be wanted.
fn enough(lists: &[One], small: usize, large: usize) -> bool {
    let all = || lists.iter().flat_map(|(frames, _)| frames);
    let long = all().filter(|f| f.0.len() > 1900).count() * 2;
    all().count() * 2 <= small && long <= large
}

/// Whether each of these is one of those, counted.
fn all_of(these: &[Vec<u8>], those: &[Vec<u8>]) -> bool {
    let mut left = those.to_vec();
    these.iter().all(|f| left.iter().position(|o| o == f).map(|at| left.swap_remove(at)).is_some())
}

#[test]
fn any_order_of_calls_is_as_the_model_says() {
    let (seeds, steps) = seeds(12, 1500);
    let mut met = 0;
    for seed in seeds {
        let _said = Said(format!("PF_SEED={seed} PF_STEPS={steps}"));
        let mut model = Model::new(seed);
        for _ in 0..steps {
            model.step();
        }
        met += model.met;
        let Model { stack, mut random, .. } = model;
        stack.end(&mut random);
    }
    assert!(met > steps / 20, "frames were predicted and met: {met}");
}

#[test]
fn a_list_waits_for_its_copies_and_has_one_status() {
    let (seeds, steps) = seeds(4, 300);
    for seed in seeds {
        let _said = Said(format!("PF_SEED={seed} PF_STEPS={steps}"));
        let mut random = Numbers(seed);
        let stack = Stack::new(Script::default(), Supply { small: 600, large: 200 }, ADAPTERS).unwrap();
        for n in 0..2 {
            assert_eq!(stack.attach(n), Some(SUCCESS));
            stack.restart(n);
        }
        for _ in 0..steps {
            let lists = lists(&mut random, 4);
            let raw = stack.send(0, &lists, &mut random).unwrap();
            let mut events = stack.os().events();
            while stack.bring_back(&mut random, 40) > 0 || !stack.os().at(Place::Below).is_empty() {
                events.extend(stack.os().events());
            }
            events.extend(stack.os().events());
            for (list, (frames, _)) in raw.iter().zip(&lists) {
                let done = |e: &&Event| matches!(e, Event::Completed(l, _) if *l == list.addr());
                let done: Vec<_> = events.iter().filter(done).collect();
                let on = frames.iter().any(|f| f.0[0] != 6 && becomes(&f.0).iter().any(|(_, own)| *own));
                // -5 is what the wire says now and then, of the list or of a copy.
                let fine = match done[..] {
                    [Event::Completed(_, status)] if on => [SUCCESS, -5].contains(status),
                    [Event::Completed(_, status)] => *status == SEND_ABORTED,
                    _ => false,
                };
                assert!(fine, "{done:?} for {} frames", frames.len());
            }
            for list in stack.os().at(Place::Home) {
                stack.os().drop_list(list);
            }
        }
        stack.end(&mut random);
    }
}

/// What one thread of several does.
fn worker(stack: &Stack<Script>, random: &mut Numbers, rounds: usize) {
    for _ in 0..rounds {
        let n = random.below(ADAPTERS);
        let lent = random.once_in(3);
        match random.below(12) {
            0..=3 => drop(stack.send(n, &lists(random, 3), random)),
            4..=6 => drop(stack.receive(n, &lists(random, 1), lent, random)),
            7 | 8 => drop(stack.bring_back(random, 24)),
            9 => stack.ask(n, (random.pick(&[0, 1, 12]), 7, lent)),
            10 => drop(stack.answer(random)),
            _ => stack.driver.tick(),
        }
    }
}

#[test]
fn several_threads_with_modules_that_come_and_go() {
    let (seeds, steps) = seeds(3, 1200);
    for seed in seeds {
        let _said = Said(format!("PF_SEED={seed} PF_STEPS={steps}"));
        let stack = Stack::new(Script::default(), SUPPLY, ADAPTERS).unwrap();
        let (working, turns) = (AtomicUsize::new(3), AtomicUsize::new(0));
        let failed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for n in 0..3_u64 {
                let (stack, working, failed) = (&stack, &working, &failed);
                scope.spawn(move || {
                    let _over = Over { working, failed };
                    worker(stack, &mut Numbers(seed * 100 + n), steps / 3);
                });
            }
            // States change, and what is out comes back, as long as anybody works.
            let mut random = Numbers(seed * 100 + 50);
            while working.load(Ordering::SeqCst) > 0 {
                let n = random.below(ADAPTERS);
                match random.below(8) {
                    0 | 1 => drop(stack.attach(n)),
                    2 | 3 => stack.restart(n),
                    4 => stack.pause(n, &mut random),
                    5 => stack.detach(n, &mut random),
                    _ => drop(stack.bring_back(&mut random, 64)),
                }
                stack.collect();
                stack.os().world().events.clear();
                turns.fetch_add(1, Ordering::SeqCst);
                assert!(!failed.load(Ordering::SeqCst), "a thread failed");
                std::thread::yield_now();
            }
        });
        assert!(turns.load(Ordering::SeqCst) > 0);
        stack.end(&mut Numbers(seed));
    }
}

/// Counts a thread out, and says whether it failed.
struct Over<'o> {
    working: &'o AtomicUsize,
    failed: &'o AtomicBool,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.failed.fetch_or(std::thread::panicking(), Ordering::SeqCst);
        self.working.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn the_mock_notices_what_it_is_there_for() {
    // Each in a thread of its own: a panic leaves its level behind.
    let caught = |f: fn(&Stack<Script>)| {
        let one = move || {
            let stack = Stack::new(Script::default(), SUPPLY, 2).unwrap();
            stack.attach(0);
            stack.restart(0);
            f(&stack);
        };
        std::thread::spawn(one).join().is_err()
    };
    let list = |stack: &Stack<Script>| stack.os().list(ndismock::world::Whose::Protocol, &[(vec![0; 60], vec![], 0)]);
    // A completion twice, a frame out of a paused module, a call with a lock held, a level that is not.
    assert!(caught(|stack| {
        use pfndis::os::Os;
        let one = stack.os().list(ndismock::world::Whose::Protocol, &[(vec![0; 60], vec![], 0)]);
        stack.os().send_complete(handle(0), sys::chain(&[one]), 0);
        stack.os().send_complete(handle(0), sys::chain(&[one]), 0);
    }));
    assert!(caught(|stack| {
        use pfndis::os::Os;
        stack.pause(0, &mut Numbers(1));
        let one = stack.os().list(ndismock::world::Whose::Protocol, &[(vec![0; 60], vec![], 0)]);
        stack.os().send(handle(0), sys::chain(&[one]), 0, 0);
    }));
    assert!(caught(|stack| {
        use pfndis::os::Os;
        stack.driver.core.with(stack.os(), |_| stack.os().cancel_send(handle(0), std::ptr::null_mut()));
    }));
    assert!(caught(|stack| {
        use pfndis::os::Os;
        let one = stack.os().list(ndismock::world::Whose::Protocol, &[(vec![0; 60], vec![], 0)]);
        stack.os().send_complete(handle(0), sys::chain(&[one]), 1);
    }));
    let stack = Stack::new(Script::default(), SUPPLY, 2).unwrap();
    let kept = list(&stack);
    let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stack.os().world().assert_empty())).is_err();
    assert!(left, "a list the filter keeps is noticed");
    stack.os().world().lent_back(&[]);
    stack.os().world().lists.remove(&kept.addr());
    sys::free_list(kept, true);
}
