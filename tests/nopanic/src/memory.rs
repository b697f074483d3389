//! Memory and chance for a library without `std`: the C library's.
#![cfg_attr(feature = "canary", allow(dead_code, reason = "the canary needs little"))]

use alloc::alloc::alloc;
use alloc::boxed::Box;
use core::alloc::{GlobalAlloc, Layout};

unsafe extern "C" {
    fn aligned_alloc(align: usize, size: usize) -> *mut u8;
    fn free(at: *mut u8);
}

/// Allocates with the C library.
struct C;

// SAFETY: `aligned_alloc` and `free` keep the contract of an allocator for sizes that are multiples of the alignment.
unsafe impl GlobalAlloc for C {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = layout.size().wrapping_add(layout.align().wrapping_sub(1)) & !layout.align().wrapping_sub(1);
        // SAFETY: the size is a multiple of the alignment, which is a power of two.
        unsafe { aligned_alloc(layout.align(), size) }
    }
    unsafe fn dealloc(&self, at: *mut u8, _: Layout) {
        // SAFETY: `at` came from `aligned_alloc`.
        unsafe { free(at) }
    }
}

#[global_allocator]
static ALLOCATOR: C = C;

/// A value in memory of its own; `None` when there is none.
pub(crate) fn boxed<T>(value: T) -> Option<Box<T>> {
    // SAFETY: what is boxed here is larger than nothing.
    let at = unsafe { alloc(Layout::new::<T>()) }.cast::<T>();
    if at.is_null() {
        return None;
    }
    // SAFETY: just taken, for a value of this layout.
    unsafe { at.write(value) };
    // SAFETY: the value is there, in memory of the global allocator with its layout.
    Some(unsafe { Box::from_raw(at) })
}

/// The bytes a caller hands over.
pub(crate) fn bytes<'a>(at: *const u8, len: usize) -> &'a [u8] {
    // SAFETY: the caller of each entry point hands over memory that lives as long as the call.
    unsafe { core::slice::from_raw_parts(at, len) }
}

/// The same, to be written to.
pub(crate) fn bytes_mut<'a>(at: *mut u8, len: usize) -> &'a mut [u8] {
    // SAFETY: as above, and nobody else holds it.
    unsafe { core::slice::from_raw_parts_mut(at, len) }
}

/// Yes or no: nobody can tell at compile time.
pub(crate) fn coin() -> bool {
    unsafe extern "C" {
        fn rand() -> i32;
    }
    // SAFETY: the C library's, without preconditions.
    unsafe { rand() & 1 == 0 }
}

/// A number nobody can tell at compile time.
pub(crate) fn number() -> u32 {
    unsafe extern "C" {
        fn rand() -> i32;
    }
    // SAFETY: the C library's, without preconditions.
    unsafe { rand() }.cast_unsigned()
}

/// Looks at bytes in a way the optimiser cannot drop.
pub(crate) fn take(bytes: &[u8]) {
    unsafe extern "C" {
        fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32;
    }
    // SAFETY: both are the same readable bytes.
    let same = unsafe { memcmp(bytes.as_ptr(), core::hint::black_box(bytes.as_ptr()), bytes.len()) };
    core::hint::black_box(same);
}
