//! Words that several processors change at once.
//!
//! What packets of known states change while they share the engine ([`crate::engine::known`]) is kept in these: the moving
//! part of a state, under that state's own lock ([`crate::state::live`]), and counters, which only grow. A word is read and
//! written whole; order between words comes from the locks alone. With the feature `loom` they are loom's, so that a test can run
//! real packets in every order there is.
//!
//! **Invariant:** nothing here waits.

#[cfg(not(feature = "loom"))]
use core::sync::atomic;
#[cfg(feature = "loom")]
use loom::sync::atomic;

use atomic::Ordering::{Acquire, Relaxed, Release};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident $atomic:ident $word:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        #[repr(transparent)]
        pub struct $name(atomic::$atomic);

        impl $name {
            /// A word.
            #[inline]
            pub fn new(value: $word) -> Self {
                Self(atomic::$atomic::new(value))
            }

            /// Its value.
            #[inline]
            pub fn get(&self) -> $word {
                self.0.load(Relaxed)
            }

            /// Gives it another.
            #[inline]
            pub fn set(&self, value: $word) {
                self.0.store(value, Relaxed);
            }
        }

        impl Clone for $name {
            fn clone(&self) -> Self {
                Self::new(self.get())
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(0)
            }
        }
    )*};
}
words! {
    /// A byte with a lock in its top bit.
    Byte AtomicU8 u8;
    /// Thirty-two bits.
    Word AtomicU32 u32;
    /// Sixty-four bits.
    Long AtomicU64 u64;
}

/// The lock of a [`Byte`].
pub const HELD: u8 = 0x80;

impl Byte {
    /// Takes the lock and gives what else the byte says; `None` when somebody has it.
    #[inline]
    #[must_use]
    pub fn hold(&self) -> Option<u8> {
        let free = self.0.load(Relaxed) & !HELD;
        self.0.compare_exchange(free, free | HELD, Acquire, Relaxed).ok()
    }

    /// Gives the lock back with what the byte says from now on.
    #[inline]
    pub fn let_go(&self, value: u8) {
        self.0.store(value & !HELD, Release);
    }
}

impl Long {
    /// Adds, alone.
    #[inline]
    pub fn grow(&mut self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    /// Adds, among others who do; nothing is lost.
    #[inline]
    pub fn add(&self, n: u64) {
        if n != 0 {
            self.0.fetch_add(n, Relaxed);
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_and_keeps_its_byte() {
        let b = Byte::new(5);
        assert_eq!(b.hold(), Some(5));
        assert_eq!((b.hold(), b.get() & !HELD), (None, 5));
        b.let_go(7);
        assert_eq!((b.get(), b.hold()), (7, Some(7)));
    }

    #[test]
    fn counts_wrap_and_add_up() {
        let mut n = Long::new(u64::MAX);
        n.grow(2);
        n.add(3);
        assert_eq!(n.get(), 4);
    }
}
