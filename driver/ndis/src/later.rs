//! Frames of a module's own that wait for their time (`set delay`).
//!
//! They leave in the order of their times, those of one time as they came. When the module pauses, what waits is dropped.
//!
//! **Invariant:** no more wait than the queue was made for, nothing is put in while it is closed, and each holds a stay of
//! its module's gate.
//!
//! Locks: the queue's own; the driver's may be held around it. IRQL: at most `DISPATCH_LEVEL`.

use alloc::vec::Vec;

use crate::os::Supplies;
use crate::sys::list::{Chain, List};
use crate::sys::lock::Locked;

/// Frames that leave at one look.
const ROUND: usize = 64;

/// A frame, its time, and the number it came as.
#[derive(Debug)]
struct Waiting {
    due: u64,
    number: u64,
    list: List,
}

#[derive(Debug)]
struct Queue {
    /// The last to leave first.
    frames: Vec<Waiting>,
    came: u64,
    open: bool,
}

impl Queue {
    fn put(&mut self, due: u64, list: List) -> Result<(), List> {
        if !self.open || self.frames.len() >= self.frames.capacity() {
            return Err(list);
        }
        self.came = self.came.wrapping_add(1);
        self.frames.push(Waiting { due, number: self.came, list });
        // To its place, over those that leave sooner.
        for end in (2..=self.frames.len()).rev() {
            match self.frames.get_mut(..end) {
                Some([.., a, b]) if (a.due, a.number) < (b.due, b.number) => core::mem::swap(a, b),
                _ => break,
            }
        }
        Ok(())
    }

    /// Takes those whose time has come; gives the time of the next, `u64::MAX` when none waits.
    fn take(&mut self, now: u64, out: &mut Chain) -> u64 {
        for _ in 0..ROUND {
            match self.frames.pop_if(|w| w.due <= now) {
                Some(waiting) => out.push(waiting.list),
                None => break,
            }
        }
        self.frames.last().map_or(u64::MAX, |w| w.due)
    }
}

/// The frames of one module.
#[derive(Debug)]
pub struct Later(Locked<Queue>);

impl Later {
    /// A closed queue for so many. `None` when there is no room.
    #[must_use]
    pub fn new(most: usize) -> Option<Self> {
        let mut frames = Vec::new();
        frames.try_reserve_exact(most).ok()?;
        Some(Self(Locked::new(Queue { frames, came: 0, open: false })))
    }

    /// From here on frames may wait.
    pub fn open<O: Supplies>(&self, os: &O) {
        self.0.with(os, |queue| queue.open = true);
    }

    /// From here on none may; gives those that did.
    pub fn close<O: Supplies>(&self, os: &O) -> Chain {
        let mut all = Chain::new();
        self.0.with(os, |queue| {
            queue.open = false;
            while let Some(waiting) = queue.frames.pop() {
                all.push(waiting.list);
            }
        });
        all
    }

    /// Lets a frame wait until `due`.
    ///
    /// # Errors
    /// The frame, when there is no room or none may wait.
    pub fn put<O: Supplies>(&self, os: &O, due: u64, list: List) -> Result<(), List> {
        self.0.with(os, |queue| queue.put(due, list))
    }

    /// Takes a bounded number of those whose time has come; gives the time of the next, `u64::MAX` when none waits.
    pub fn take<O: Supplies>(&self, os: &O, now: u64, out: &mut Chain) -> u64 {
        self.0.with(os, |queue| queue.take(now, out))
    }
}
