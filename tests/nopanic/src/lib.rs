//! The link test: the machine's entry points, whole-program optimised, with a panic handler that calls a function
//! nobody defines. If any panic is left that can be reached, this does not link.
//!
//! **Invariant:** every entry point the driver calls on bytes or packets from outside is called here.
#![no_std]

extern crate alloc;

#[cfg(not(feature = "canary"))]
mod control;
#[cfg(not(feature = "canary"))]
mod edge;
#[cfg(not(feature = "canary"))]
mod engine;
#[cfg(not(feature = "canary"))]
mod machine;
mod memory;

use core::panic::PanicInfo;

unsafe extern "C" {
    /// Defined nowhere.
    fn the_machine_can_panic() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: never linked; that is the test.
    unsafe { the_machine_can_panic() }
}

/// Shows that the test can fail: with this feature, and nothing else, a panic can be reached.
#[cfg(feature = "canary")]
#[unsafe(no_mangle)]
pub extern "C" fn canary(bytes: *const u8, len: usize) -> u8 {
    memory::bytes(bytes, len)[3]
}
