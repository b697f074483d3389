//! The timer: four times a second, at `DISPATCH_LEVEL`, a bounded piece of work.

use core::cell::UnsafeCell;
use core::ffi::c_void;

use wdk_sys::{KDPC, KTIMER, LARGE_INTEGER};

/// Milliseconds between two ticks.
const PERIOD: i32 = 250;

/// A timer and what it calls.
pub struct Ticker {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
}

// SAFETY: both records are touched by the kernel's functions alone.
unsafe impl Sync for Ticker {}

/// What a timer calls.
type Routine = unsafe extern "C" fn(*mut KDPC, *mut c_void, *mut c_void, *mut c_void);

impl Ticker {
    /// Not started.
    #[must_use]
    pub const fn new() -> Self {
        // SAFETY: both are plain records whose empty form is zero; they are initialised before use.
        unsafe { core::mem::zeroed() }
    }

    /// Starts it. The ticker must stay where it is until it is stopped.
    pub fn start(&'static self, routine: Routine, context: *mut c_void) {
        // SAFETY: the record is this ticker's and does not move.
        unsafe { wdk_sys::ntddk::KeInitializeTimer(self.timer.get()) };
        // SAFETY: as above; the routine takes the context.
        unsafe { wdk_sys::ntddk::KeInitializeDpc(self.dpc.get(), Some(routine), context) };
        let due = LARGE_INTEGER { QuadPart: -i64::from(PERIOD) * 10_000 };
        // SAFETY: both were initialised.
        let _was_set = unsafe { wdk_sys::ntddk::KeSetTimerEx(self.timer.get(), due, PERIOD, self.dpc.get()) };
    }

    /// Stops it: when this returns, the routine does not run and will not. At `PASSIVE_LEVEL`.
    pub fn stop(&'static self) {
        // SAFETY: the timer was started.
        let _was_set = unsafe { wdk_sys::ntddk::KeCancelTimer(self.timer.get()) };
        // SAFETY: at PASSIVE_LEVEL.
        unsafe { wdk_sys::ntddk::KeFlushQueuedDpcs() };
    }
}
