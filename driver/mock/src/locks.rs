//! Processors, and NDIS's reader-writer locks: what they promise, and whether they are asked for it rightly.
//!
//! A thread at `DISPATCH_LEVEL` has a processor, which nobody else has until it goes below; there are [`PROCESSORS`] for all
//! threads of a process. A lock lets readers in as long as there are any, however long somebody waits to have it alone: as
//! NDIS's, which is not fair.
//!
//! **Invariant:** who takes a lock it has, in whatever way, who gives one back it has not, and who frees one somebody has,
//! ends the test.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use pfndis::sys::layout::Handle;

/// Processors there are.
pub const PROCESSORS: usize = 4;

static TAKEN: [AtomicBool; PROCESSORS] = [const { AtomicBool::new(false) }; PROCESSORS];

/// A thread's processor, for as long as it has stays on it.
struct Seat {
    processor: Cell<Option<usize>>,
    stays: Cell<usize>,
}

impl Seat {
    fn give_up(&self) {
        if let Some(processor) = self.processor.take() {
            TAKEN[processor].store(false, Ordering::Release);
        }
    }
}

impl Drop for Seat {
    // A thread that panicked at DISPATCH_LEVEL.
    fn drop(&mut self) {
        self.give_up();
    }
}

thread_local! {
    static SEAT: Seat = const { Seat { processor: Cell::new(None), stays: Cell::new(0) } };
}

/// This thread stays on a processor from now on.
pub fn stay() {
    SEAT.with(|seat| {
        seat.stays.set(seat.stays.get() + 1);
        while seat.processor.get().is_none() {
            let free = TAKEN.iter().position(|taken| !taken.swap(true, Ordering::Acquire));
            seat.processor.set(free);
            if free.is_none() {
                std::thread::yield_now();
            }
        }
    });
}

/// It need not any more.
pub fn leave() {
    SEAT.with(|seat| {
        let stays = seat.stays.get().checked_sub(1).expect("a thread that stays");
        seat.stays.set(stays);
        if stays == 0 {
            seat.give_up();
        }
    });
}

/// The processor this thread is on.
#[must_use]
pub fn processor() -> u32 {
    let at = SEAT.with(|seat| seat.processor.get()).expect("below DISPATCH_LEVEL a thread's processor changes");
    u32::try_from(at).expect("few processors")
}

/// Who has a lock.
#[derive(Debug, Default)]
struct Holders {
    sharing: Vec<ThreadId>,
    alone: Option<ThreadId>,
    /// Most that shared it at once.
    most: usize,
}

impl Holders {
    fn has(&self, me: ThreadId) -> bool {
        self.alone == Some(me) || self.sharing.contains(&me)
    }
}

/// All locks.
#[derive(Debug, Default)]
pub struct Locks {
    all: Mutex<(usize, BTreeMap<usize, Holders>)>,
}

impl Locks {
    fn all(&self) -> MutexGuard<'_, (usize, BTreeMap<usize, Holders>)> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on<T>(&self, lock: Handle, f: impl FnOnce(&mut Holders) -> T) -> T {
        f(self.all().1.get_mut(&lock.0.addr()).expect("a lock that is there"))
    }

    /// A lock.
    #[must_use]
    pub fn make(&self) -> Handle {
        let mut all = self.all();
        all.0 += 16;
        let number = 0x7000 + all.0;
        all.1.insert(number, Holders::default());
        Handle(std::ptr::without_provenance_mut(number))
    }

    /// It goes.
    pub fn free(&self, lock: Handle) {
        let gone = self.all().1.remove(&lock.0.addr()).expect("a lock that is there");
        let free = gone.alone.is_none() && gone.sharing.is_empty();
        assert!(free || std::thread::panicking(), "a lock goes that somebody has");
    }

    /// Takes it, shared or alone.
    pub fn acquire(&self, lock: Handle, alone: bool) {
        let me = std::thread::current().id();
        let try_it = |h: &mut Holders| {
            assert!(!h.has(me), "a lock is taken by who has it");
            if h.alone.is_some() || (alone && !h.sharing.is_empty()) {
                return false;
            }
            if alone {
                h.alone = Some(me);
            } else {
                h.sharing.push(me);
                h.most = h.most.max(h.sharing.len());
            }
            true
        };
        while !self.on(lock, try_it) {
            std::thread::yield_now();
        }
    }

    /// Gives it back.
    pub fn release(&self, lock: Handle) {
        let me = std::thread::current().id();
        self.on(lock, |h| {
            assert!(h.has(me), "a lock is given back by who does not have it");
            h.alone = None;
            h.sharing.retain(|t| *t != me);
        });
    }

    /// The most threads that shared a lock at once.
    #[must_use]
    pub fn most(&self) -> usize {
        self.all().1.values().map(|h| h.most).max().unwrap_or(0)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all().1.len()
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        assert!(std::thread::panicking() || self.count() == 0, "a lock is left");
    }
}
