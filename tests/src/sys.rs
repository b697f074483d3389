//! An allocator that fails when told to: the one place of the tests with unsafe code.
//!
//! Counts what one thread allocates while it is armed, and refuses from the n-th on. Other threads are served as ever.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Allocations still granted; `None` while nobody counts.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    static ASKED: Cell<u32> = const { Cell::new(0) };
}

/// The system's allocator, with a limit that can be set.
#[derive(Debug)]
pub struct Failing;

/// Whether this allocation is granted.
fn granted() -> bool {
    LEFT.try_with(|left| match left.get() {
        None => true,
        Some(n) => {
            let _ = ASKED.try_with(|a| a.set(a.get() + 1));
            left.set(Some(n.saturating_sub(1)));
            n > 0
        }
    })
    .unwrap_or(true)
}

/// Runs `f` with no more than `limit` allocations; gives what it gives, and how many it asked for.
pub fn with_allocations<T>(limit: u32, f: impl FnOnce() -> T) -> (T, u32) {
    ASKED.with(|a| a.set(0));
    LEFT.with(|left| left.set(Some(limit)));
    let out = f();
    LEFT.with(|left| left.set(None));
    (out, ASKED.with(Cell::get))
}

// SAFETY: everything is the system allocator's own, or a null pointer, which the contract allows for any request.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !granted() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from the system's allocator with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !granted() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(at, layout, size) }
    }
}
