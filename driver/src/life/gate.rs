//! The gate packets pass: open or closed, and how many are inside.
//!
//! **Invariant:** after [`Gate::close`] nobody enters; one who entered before is counted until he leaves. The last to
//! leave a closed gate learns that he was.

use core::sync::atomic::{AtomicU64, Ordering};

/// The bit of an open gate; the rest counts those inside.
const OPEN: u64 = 1 << 63;

/// A gate.
#[derive(Debug)]
pub struct Gate(AtomicU64);

/// Somebody inside: to be given back.
#[derive(Debug)]
#[must_use = "whoever enters leaves"]
pub struct Inside(());

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Opens it.
    pub fn open(&self) {
        self.0.fetch_or(OPEN, Ordering::AcqRel);
    }

    /// Closes it to newcomers.
    pub fn close(&self) {
        self.0.fetch_and(!OPEN, Ordering::AcqRel);
    }

    /// Enters; `None` when it is closed.
    #[must_use]
    pub fn enter(&self) -> Option<Inside> {
        // A newcomer to a closed gate is never counted, not for a moment: the last to leave must see that he is the last.
        let more = |inside: u64| (inside & OPEN != 0).then(|| inside.saturating_add(1));
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Inside(()))
    }

    /// Leaves; whether it was the last of a closed gate.
    pub fn leave(&self, _: Inside) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether nobody is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire) & !OPEN == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn nobody_is_inside_a_closed_gate_that_was_left() {
        let (gate, open) = (Gate::new(), AtomicBool::new(true));
        gate.open();
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    while let Some(inside) = gate.enter() {
                        // Whoever is inside has entered before it was seen empty.
                        assert!(open.load(Ordering::Acquire));
                        gate.leave(inside);
                        std::thread::yield_now();
                    }
                });
            }
            for _ in 0..20 {
                std::thread::yield_now();
            }
            gate.close();
            while !gate.is_empty() {
                std::thread::yield_now();
            }
            open.store(false, Ordering::Release);
        });
        assert!(gate.enter().is_none() && gate.is_empty());
    }
}
