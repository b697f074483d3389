//! The link test: the machine's entry points, whole-program optimised, with a panic handler that calls a function
//! nobody defines. If any panic is left that can be reached, this does not link.
//!
//! **Invariant:** every entry point the driver calls on bytes or packets from outside is called here.
#![no_std]

mod memory;

use core::panic::PanicInfo;
use pfvm::image::Image;

unsafe extern "C" {
    /// Defined nowhere.
    fn the_machine_can_panic() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: never linked; that is the test.
    unsafe { the_machine_can_panic() }
}

/// Reads an image from bytes.
#[unsafe(no_mangle)]
pub extern "C" fn image(bytes: *const u8, len: usize) -> u32 {
    match Image::parse(memory::bytes(bytes, len)) {
        Ok(image) => image.rules().count() as u32,
        Err(_) => u32::MAX,
    }
}
