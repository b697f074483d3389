//! Values made in memory of their own.
//!
//! A kernel stack is small, and `Box::new` ends in a panic where there is no memory. Here that is an error, and the value
//! lies on the stack of the one function that moves it.

use alloc::alloc::{Layout, alloc, dealloc};
use alloc::boxed::Box;

/// Makes a value in memory of its own; `none` is the error when there is no memory.
///
/// # Errors
/// `none`, or what `make` says; nothing is kept.
#[inline(never)]
pub fn boxed<T, E>(none: E, make: impl FnOnce() -> Result<T, E>) -> Result<Box<T>, E> {
    const { assert!(size_of::<T>() != 0, "a value of no bytes needs no memory") };
    let layout = Layout::new::<T>();
    // SAFETY: the layout is not empty.
    let at = unsafe { alloc(layout) }.cast::<T>();
    if at.is_null() {
        return Err(none);
    }
    match make() {
        Ok(value) => {
            // SAFETY: the memory is new, long enough and aligned.
            unsafe { at.write(value) };
            // SAFETY: the value is there, in memory of the global allocator with its layout.
            Ok(unsafe { Box::from_raw(at) })
        }
        Err(why) => {
            // SAFETY: allocated above with this layout; nothing was put there.
            unsafe { dealloc(at.cast(), layout) };
            Err(why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_or_nothing_is_kept() {
        assert_eq!(*boxed("none", || Ok::<_, &str>([7_u64; 600])).unwrap(), [7; 600]);
        assert_eq!(boxed("none", || Err::<[u64; 600], _>("not today")).unwrap_err(), "not today");
    }
}
