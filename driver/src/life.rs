//! The life of a module between the filter and one adapter, in one word: its phase, and how many things are under way.
//!
//! ```text
//! attached ─▶ Paused ─open─▶ Running ─pause─▶ Pausing ─the last one leaves─▶ Paused ─▶ detached
//!                              └──────pause, when nothing is under way──────────▲
//! ```
//!
//! What may not run outside Running enters through the gate; what outlives a call, such as a frame that was sent, keeps
//! its [`Stay`] until it comes back.
//!
//! **Invariant:** things enter while Running alone; who entered is counted until he leaves.
//! **Invariant:** a pause ends once: in [`Gate::pause`] itself, or in the leave of whoever is last, who alone learns it.
//! **Invariant:** no phase is skipped: what does not belong to the phase is refused and changes nothing.
//!
//! Locks: none. IRQL: any up to `DISPATCH_LEVEL`.
//!
//! Source: "Filter module states and operations" (NDIS 6).

use core::sync::atomic::{AtomicU64, Ordering};

/// Where a module stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No packets.
    Paused,
    /// Packets move.
    Running,
    /// No new packets; those under way are being finished.
    Pausing,
}

/// A module's phase and what is under way: Paused at first.
#[derive(Debug, Default)]
pub struct Gate(AtomicU64);

/// Nothing else is Paused: nothing is under way then.
const PAUSED: u64 = 0;
const RUNNING: u64 = 1 << 63;
const PAUSING: u64 = 1 << 62;
const COUNT: u64 = PAUSING - 1;

/// How a pause begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pause {
    /// Nothing was under way: it is Paused.
    Done,
    /// Whoever leaves last says when it is.
    Waiting,
    /// It was not Running: nothing has changed.
    Refused,
}

/// Things under way, as many as entered at once. Given back by [`Gate::leave`] or kept by memory ([`Stay::keep`]);
/// forgetting it keeps the module from ever pausing.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "whoever enters leaves"]
pub struct Stay(u32);

impl Stay {
    /// Held by memory that outlives the call, such as frames that were sent: [`Gate::back`] says how many are back.
    pub fn keep(self) {
        let Self(_kept) = self;
    }
}

impl Gate {
    /// Paused.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(PAUSED))
    }

    /// Paused to Running. `false`, with nothing changed, from any other phase.
    #[must_use]
    pub fn open(&self) -> bool {
        self.0.compare_exchange(PAUSED, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Goes in; `None` when it is not Running.
    pub fn enter(&self) -> Option<Stay> {
        self.enter_many(1)
    }

    /// Several go in, or none.
    pub fn enter_many(&self, n: u32) -> Option<Stay> {
        let more = |word: u64| (word & RUNNING != 0).then(|| word.wrapping_add(u64::from(n)));
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Stay(n))
    }

    /// Goes out. `true` when a pause waited for this: the caller then says that it is Paused.
    #[must_use]
    pub fn leave(&self, Stay(n): Stay) -> bool {
        let last = |word: u64| word == PAUSING | u64::from(n);
        let less = |word: u64| Some(if last(word) { PAUSED } else { word.wrapping_sub(u64::from(n)) });
        n != 0 && self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok_and(last)
    }

    /// So many that memory kept ([`Stay::keep`]) go out. As of [`Gate::leave`].
    ///
    /// **Invariant:** no more than were kept.
    #[must_use]
    pub fn back(&self, n: u32) -> bool {
        self.leave(Stay(n))
    }

    /// Running to Pausing, or to Paused when nothing is under way.
    pub fn pause(&self) -> Pause {
        let next = |word: u64| match word {
            RUNNING => Some(PAUSED),
            word => (word & RUNNING != 0).then_some(word ^ (RUNNING | PAUSING)),
        };
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(RUNNING) => Pause::Done,
            Ok(_) => Pause::Waiting,
            Err(_) => Pause::Refused,
        }
    }

    /// Things under way.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.0.load(Ordering::Acquire) & COUNT
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            PAUSED => Phase::Paused,
            word if word & RUNNING != 0 => Phase::Running,
            _ => Phase::Pausing,
        }
    }

    /// Whether it is Paused: nothing is under way, and nobody looks at the gate any more.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.phase() == Phase::Paused
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;

    #[test]
    fn a_pause_is_over_once() {
        let gate = Gate::new();
        assert!(gate.enter().is_none() && gate.open());
        let (a, b) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert_eq!((gate.pause(), gate.phase()), (Pause::Waiting, Phase::Pausing));
        assert!(gate.enter().is_none());
        assert!(!gate.leave(a) && gate.leave(b));
        assert!(gate.is_paused() && gate.open());
        assert_eq!((gate.pause(), gate.under_way(), gate.phase()), (Pause::Done, 0, Phase::Paused));
    }

    #[test]
    fn no_phase_is_skipped() {
        let gate = Gate::new();
        assert_eq!((gate.pause(), gate.phase()), (Pause::Refused, Phase::Paused));
        assert!(gate.open() && !gate.open());
        let stay = gate.enter().unwrap();
        assert_eq!(gate.pause(), Pause::Waiting);
        assert!(!gate.open(), "what is under way is not forgotten");
        assert_eq!((gate.pause(), gate.under_way()), (Pause::Refused, 1));
        assert!(gate.leave(stay) && gate.is_paused());
    }

    #[test]
    fn several_enter_and_leave_as_one() {
        let gate = Gate::new();
        assert!(gate.enter_many(2).is_none() && gate.open());
        gate.enter_many(5).unwrap().keep();
        assert!(!gate.back(2));
        assert_eq!(gate.pause(), Pause::Waiting);
        assert!(gate.enter_many(1).is_none() && !gate.back(0) && !gate.back(2) && gate.back(1));
        assert_eq!(gate.under_way(), 0);
    }

    #[test]
    fn threads_that_leave_meet_one_end_and_find_nobody_inside() {
        for _ in 0..40 {
            let (gate, ends, open) = (Gate::new(), AtomicUsize::new(0), AtomicBool::new(true));
            assert!(gate.open());
            std::thread::scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        while let Some(stay) = gate.enter() {
                            // Whoever is inside has entered before it was seen Paused.
                            assert!(open.load(Ordering::Acquire));
                            std::thread::yield_now();
                            ends.fetch_add(usize::from(gate.leave(stay)), Ordering::SeqCst);
                        }
                    });
                }
                std::thread::yield_now();
                ends.fetch_add(usize::from(gate.pause() == Pause::Done), Ordering::SeqCst);
                while !gate.is_paused() {
                    std::thread::yield_now();
                }
                open.store(false, Ordering::Release);
            });
            assert_eq!(ends.load(Ordering::SeqCst), 1);
        }
    }
}
