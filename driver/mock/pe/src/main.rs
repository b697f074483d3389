//! ndis.sys for Wine: as much of NDIS 6 as the filter calls, and a device that makes it happen.
//!
//! `\\.\PlanBMock` takes orders, one a request: attach an adapter, hand a frame to the filter from above or below, detach,
//! set the clock, count what is left. The answer to a frame is everything the filter did with it. Frames the filter sent
//! on are completed and returned before the next order.
//!
//! One thread gives orders; the filter's timer may call in between. A spin lock guards the account; the filter is never
//! called with it held. What must not happen is counted as a fault, and faults are part of every count.
//!
//! The same orders drive either binding of the filter: a lightweight filter ([`filter`]), or an intermediate driver with a
//! protocol below and a miniport above ([`im`]), whichever registered.
//!
//! Built for Wine alone, and for tests: memory by fixed arrays, unsafe all over.
#![no_std]
#![no_main]
#![allow(non_snake_case, reason = "the names are NDIS's")]
#![allow(clippy::missing_safety_doc, clippy::undocumented_unsafe_blocks, reason = "a test double of C functions")]

mod exports;
mod filter;
mod im;
mod nt;
mod orders;
mod state;
mod way;

use nt::{DriverObject, UnicodeString};

/// Not called by Wine for an image that is imported; called when it is started as the service NDIS.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "C" fn driver_entry(_: *mut DriverObject, _: *mut UnicodeString) -> i32 {
    0
}

/// The portable half of the filter is linked for its layouts; nothing of it allocates here.
struct Nothing;

unsafe impl core::alloc::GlobalAlloc for Nothing {
    unsafe fn alloc(&self, _: core::alloc::Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: core::alloc::Layout) {}
}

#[global_allocator]
static NOTHING: Nothing = Nothing;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
