//! `bcryptprimitives.dll` for Wine 8, which has none: Rust's library takes its random keys from there. For tests alone;
//! `cargo xtask wine` puts it beside the commands.
#![no_std]

#[link(name = "advapi32.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    /// `RtlGenRandom`.
    fn SystemFunction036(buffer: *mut u8, length: u32) -> u8;
}

/// Fills a buffer with random bytes; says whether it did.
///
/// # Safety
/// The buffer is `length` bytes long.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ProcessPrng(buffer: *mut u8, length: usize) -> i32 {
    let Ok(short) = u32::try_from(length) else { return 0 };
    // SAFETY: the caller's buffer is as long as is said.
    i32::from(unsafe { SystemFunction036(buffer, short) })
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
