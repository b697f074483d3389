//! What keeps a module where it is while something of it is under way.
//!
//! One word: the number of things under way, and whether the gate is open. Handlers that may not run outside Running
//! enter through the gate; frames of our own keep a [`Stay`] each until they come back. Pausing closes the gate and is
//! over when the number is zero: either at once or in whoever leaves last, never both.

use core::sync::atomic::{AtomicU64, Ordering};

/// The gate of a module: closed at first.
#[derive(Debug)]
pub struct Gate {
    word: AtomicU64,
}

const OPEN: u64 = 1 << 63;
const PAUSING: u64 = 1 << 62;
const COUNT: u64 = PAUSING - 1;

/// How a pause begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pause {
    /// Nothing was under way: the module is paused.
    Done,
    /// The last [`Gate::leave`] says when it is.
    Waiting,
}

/// Something under way. Given back by [`Gate::leave`]; forgetting it keeps the module from ever pausing.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Stay(());

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub const fn new() -> Self {
        Self { word: AtomicU64::new(0) }
    }

    /// Restarting: lets things in.
    pub fn open(&self) {
        self.word.store(OPEN, Ordering::Release);
    }

    /// Goes in, unless the gate is closed.
    pub fn enter(&self) -> Option<Stay> {
        let more = |word: u64| (word & OPEN != 0).then(|| word.wrapping_add(1));
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Stay(()))
    }

    /// Another stay for who has one: works while the gate is closing, too.
    pub fn again(&self, _stay: &Stay) -> Stay {
        self.word.fetch_add(1, Ordering::AcqRel);
        Stay(())
    }

    /// Goes out. `true` when a pause waited for this: the caller then tells NDIS that the module is paused.
    #[must_use]
    pub fn leave(&self, _stay: Stay) -> bool {
        let before = self.word.fetch_sub(1, Ordering::AcqRel);
        if before & PAUSING == 0 || before & COUNT != 1 {
            return false;
        }
        // Of two that saw the last leave, one takes the mark away.
        self.word.compare_exchange(PAUSING, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Several go in at once, or none: who counts them says how many leave.
    #[must_use]
    pub fn enter_many(&self, n: u32) -> bool {
        let more = |word: u64| (word & OPEN != 0).then(|| word.wrapping_add(u64::from(n)));
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Several of [`Gate::enter_many`]'s go out. `true` as of [`Gate::leave`].
    #[must_use]
    pub fn leave_many(&self, n: u32) -> bool {
        let n = u64::from(n);
        let before = self.word.fetch_sub(n, Ordering::AcqRel);
        if n == 0 || before & PAUSING == 0 || before & COUNT != n {
            return false;
        }
        self.word.compare_exchange(PAUSING, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Closes the gate.
    pub fn pause(&self) -> Pause {
        let before = self.word.fetch_and(!OPEN, Ordering::AcqRel);
        if before & COUNT == 0 {
            return Pause::Done;
        }
        let marked = self.word.fetch_or(PAUSING, Ordering::AcqRel);
        if marked & COUNT == 0 && self.word.compare_exchange(PAUSING, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return Pause::Done;
        }
        Pause::Waiting
    }

    /// Things under way.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.word.load(Ordering::Acquire) & COUNT
    }

    /// Whether the gate is closed, nobody is inside, and whoever was last has said so: nobody looks at the gate any more.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.word.load(Ordering::Acquire) == 0
    }

    /// Whether the gate is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.word.load(Ordering::Acquire) & OPEN != 0
    }
}

/// A stay held by memory that outlives a call, such as a frame that was sent.
pub(crate) fn into_memory(stay: Stay) {
    let Stay(()) = stay;
}

/// The stay that memory held.
///
/// **Invariant:** called once for each [`into_memory`].
pub(crate) fn from_memory() -> Stay {
    Stay(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_over_once() {
        let gate = Gate::default();
        assert!(gate.enter().is_none());
        gate.open();
        let a = gate.enter().unwrap();
        let b = gate.again(&a);
        assert_eq!(gate.pause(), Pause::Waiting);
        assert!(gate.enter().is_none());
        assert!(!gate.leave(a));
        assert!(gate.leave(b));
        gate.open();
        assert_eq!(gate.pause(), Pause::Done);
        assert_eq!(gate.under_way(), 0);
    }

    #[test]
    fn several_enter_and_leave_as_one() {
        let gate = Gate::default();
        assert!(!gate.enter_many(2));
        gate.open();
        assert!(gate.enter_many(5) && !gate.leave_many(2));
        assert_eq!(gate.pause(), Pause::Waiting);
        assert!(!gate.enter_many(1) && !gate.leave_many(0) && !gate.leave_many(2) && gate.leave_many(1));
        assert_eq!(gate.under_way(), 0);
    }

    #[test]
    fn threads_that_leave_meet_one_end() {
        use std::sync::Arc;
        use std::sync::atomic::AtomicUsize;
        for _ in 0..40 {
            let (gate, ends) = (Arc::new(Gate::default()), Arc::new(AtomicUsize::new(0)));
            gate.open();
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    let (gate, ends) = (gate.clone(), ends.clone());
                    std::thread::spawn(move || {
                        while let Some(stay) = gate.enter() {
                            ends.fetch_add(usize::from(gate.leave(stay)), Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            std::thread::yield_now();
            ends.fetch_add(usize::from(gate.pause() == Pause::Done), Ordering::SeqCst);
            for worker in workers {
                worker.join().unwrap();
            }
            assert_eq!(ends.load(Ordering::SeqCst), 1);
        }
    }
}
