//! Non-paged memory that cannot be executed, tagged `PlnB`.
//!
//! `ExAllocatePool2` where the system has it (Windows 10 2004), `ExAllocatePoolWithTag` elsewhere. Both 16-aligned.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::sys::nt::{TAG, routine};

unsafe extern "C" {
    fn ExAllocatePoolWithTag(kind: i32, length: usize, tag: u32) -> *mut u8;
    fn ExFreePoolWithTag(at: *mut u8, tag: u32);
}

/// `NonPagedPoolNx`.
const NON_PAGED_NX: i32 = 0x200;
/// `POOL_FLAG_NON_PAGED`: zeroed memory that cannot be executed.
const POOL_FLAG_NON_PAGED: u64 = 0x40;
/// Alignment of the pool's memory.
const ALIGN: usize = 16;

type Allocate = unsafe extern "C" fn(u64, usize, u32) -> *mut u8;

static ALLOCATE: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Looks the newer function up. At `PASSIVE_LEVEL`, before anything else.
pub fn start() {
    ALLOCATE.store(routine("ExAllocatePool2").cast(), Ordering::Release);
}

/// Zeroed memory, null when there is none.
pub fn zeroed(length: usize) -> *mut u8 {
    let newer = ALLOCATE.load(Ordering::Acquire);
    if !newer.is_null() {
        // SAFETY: the address is that of ExAllocatePool2, whose prototype this is.
        let allocate: Allocate = unsafe { core::mem::transmute(newer) };
        // SAFETY: any length may be asked for.
        return unsafe { allocate(POOL_FLAG_NON_PAGED, length.max(1), TAG) };
    }
    // SAFETY: any length may be asked for.
    let at = unsafe { ExAllocatePoolWithTag(NON_PAGED_NX, length.max(1), TAG) };
    if !at.is_null() {
        // SAFETY: the memory is that long.
        unsafe { at.write_bytes(0, length) };
    }
    at
}

/// Gives memory back.
pub fn free(at: *mut u8) {
    // SAFETY: from `zeroed`, freed once.
    unsafe { ExFreePoolWithTag(at, TAG) }
}

/// The driver's heap. It never panics: what finds no memory gets null, and nothing here allocates infallibly.
struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

/// Where the address the pool gave stands, before memory aligned more than the pool aligns.
const NOTE: usize = size_of::<usize>();

// SAFETY: memory is from the pool, and each piece is freed with the address the pool gave.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGN {
            return zeroed(layout.size());
        }
        let whole = layout.size().saturating_add(layout.align()).saturating_add(NOTE);
        let at = zeroed(whole);
        if at.is_null() {
            return at;
        }
        // An alignment is a power of two; `align_offset` would ask whether it is.
        let mask = layout.align() - 1;
        let aligned = at.map_addr(|at| at.wrapping_add(NOTE + mask) & !mask);
        // SAFETY: the word before the aligned address lies behind the beginning.
        unsafe { aligned.cast::<*mut u8>().sub(1).write_unaligned(at) };
        aligned
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if layout.align() <= ALIGN {
            return free(at);
        }
        // SAFETY: `alloc` wrote it there.
        free(unsafe { at.cast::<*mut u8>().sub(1).read_unaligned() });
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: all memory of this heap is zeroed.
        unsafe { self.alloc(layout) }
    }
}
