//! A value behind an NT spin lock.
//!
//! Whoever holds the lock runs at `DISPATCH_LEVEL` and does nothing that waits. Locks of this driver are taken one at a
//! time; none is held while NDIS is called.

use core::cell::UnsafeCell;

/// What a spin lock needs of its system.
pub trait Levels {
    /// Takes the lock and says at which level the caller was.
    fn acquire(&self, word: &UnsafeCell<usize>) -> u8;
    /// Gives it back.
    fn release(&self, word: &UnsafeCell<usize>, level: u8);
}

/// A value that one processor at a time looks at.
#[derive(Debug)]
pub struct Locked<T> {
    word: UnsafeCell<usize>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through `with` alone, which one processor at a time runs.
unsafe impl<T: Send> Sync for Locked<T> {}

impl<T> Locked<T> {
    /// A free lock.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self { word: UnsafeCell::new(0), value: UnsafeCell::new(value) }
    }

    /// Does something with the value.
    pub fn with<O: Levels + ?Sized, R>(&self, os: &O, f: impl FnOnce(&mut T) -> R) -> R {
        let level = os.acquire(&self.word);
        // SAFETY: the lock is held, and the reference ends before it is given back.
        let value = unsafe { &mut *self.value.get() };
        let out = f(value);
        os.release(&self.word, level);
        out
    }

    /// The value when nobody else can reach the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}
