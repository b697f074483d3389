//! Small things of NT: strings, routines by name, time, chance, the end.

use core::sync::atomic::{AtomicPtr, Ordering};

use pfndis::sys::layout::UnicodeString;
use wdk_sys::UNICODE_STRING;

use crate::sys::ndis::{NdisGetCurrentSystemTime, NdisGetSystemUpTimeEx};

/// `PlnB`, as pool tags are written.
pub const TAG: u32 = u32::from_le_bytes(*b"PlnB");

unsafe extern "C" {
    fn BCryptGenRandom(algorithm: *mut u8, buffer: *mut u8, length: u32, flags: u32) -> i32;
}

/// `BCRYPT_USE_SYSTEM_PREFERRED_RNG`.
const SYSTEM_RNG: u32 = 2;
/// 100 ns between 1601 and 1970.
const EPOCH: i64 = 116_444_736_000_000_000;

/// A name in the characters of Windows.
#[derive(Clone, Copy, Debug)]
pub struct Wide<const N: usize>([u16; N]);

impl<const N: usize> Wide<N> {
    /// Of an ASCII string of exactly this length.
    #[must_use]
    pub const fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        assert!(bytes.len() == N);
        let mut out = [0; N];
        let mut i = 0;
        while i < N {
            out[i] = bytes[i] as u16;
            i += 1;
        }
        Self(out)
    }

    /// As Windows wants it. The string is not written to.
    #[must_use]
    pub const fn unicode(&self) -> UNICODE_STRING {
        let bytes = (N * 2) as u16;
        UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: self.0.as_ptr().cast_mut() }
    }
}

/// A constant string of Windows's characters.
#[macro_export]
macro_rules! wide {
    ($text:expr) => {{
        const TEXT: &str = $text;
        static WIDE: $crate::sys::nt::Wide<{ TEXT.len() }> = $crate::sys::nt::Wide::of(TEXT);
        WIDE.unicode()
    }};
}

/// NDIS's string type and NT's are one.
#[must_use]
pub const fn string(s: UNICODE_STRING) -> UnicodeString {
    UnicodeString { length: s.Length, maximum: s.MaximumLength, buffer: s.Buffer }
}

/// The address of a function of the kernel, null when this system has none of that name.
pub fn routine(name: &str) -> *mut core::ffi::c_void {
    let mut text = [0_u16; 64];
    for (to, from) in text.iter_mut().zip(name.bytes()) {
        *to = u16::from(from);
    }
    let bytes = u16::try_from(name.len().min(64) * 2).unwrap_or(0);
    let mut name = UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: text.as_mut_ptr() };
    // SAFETY: the string lives through the call, which is made at PASSIVE_LEVEL.
    unsafe { wdk_sys::ntddk::MmGetSystemRoutineAddress(&raw mut name) }
}

/// `KeQueryInterruptTimePrecise`: 100 ns since the system started, time asleep included.
type InterruptTime = unsafe extern "C" fn(*mut u64) -> u64;

static CLOCK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Looks the clock up. At `PASSIVE_LEVEL`, before the first time is read.
pub fn find_clock() {
    CLOCK.store(routine("KeQueryInterruptTimePrecise").cast(), Ordering::Release);
}

/// Milliseconds since the system started, time asleep included: the interrupt time; where a system has none that may be
/// asked for (Windows has it since 8.1, Wine not), its tick count, which goes on likewise.
pub fn up_time() -> u64 {
    let clock = CLOCK.load(Ordering::Acquire);
    if clock.is_null() {
        let mut ms = 0_i64;
        // SAFETY: the place lives through the call; any level will do.
        unsafe { NdisGetSystemUpTimeEx(&raw mut ms) };
        return u64::try_from(ms).unwrap_or(0);
    }
    // SAFETY: the address is that of KeQueryInterruptTimePrecise, whose prototype this is.
    let clock: InterruptTime = unsafe { core::mem::transmute(clock) };
    let mut counter = 0;
    // SAFETY: the place lives through the call; any level will do.
    let time = unsafe { clock(&raw mut counter) };
    time / 10_000
}

/// Seconds of 1970.
pub fn wall_seconds() -> u64 {
    let mut time = 0_i64;
    // SAFETY: the place lives through the call; any level will do.
    unsafe { NdisGetCurrentSystemTime(&raw mut time) };
    u64::try_from(time.saturating_sub(EPOCH) / 10_000_000).unwrap_or(0)
}

/// Random bytes of the system. `false`, with nothing usable, when it has none. At `PASSIVE_LEVEL`.
#[must_use]
pub fn random(out: &mut [u8]) -> bool {
    let length = u32::try_from(out.len()).unwrap_or(0);
    // SAFETY: the buffer is that long.
    let status = unsafe { BCryptGenRandom(core::ptr::null_mut(), out.as_mut_ptr(), length, SYSTEM_RNG) };
    status == 0
}

/// Ends the system: the driver met what cannot be. The checker of the image proves that nothing leads here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // MANUALLY_INITIATED_CRASH1 with our tag.
    // SAFETY: stops everything, whatever the state.
    unsafe { wdk_sys::ntddk::KeBugCheckEx(0xDEAD_DEAD, u64::from(TAG), 0, 0, 0) }
}
