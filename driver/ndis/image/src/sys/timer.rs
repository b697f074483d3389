//! Timers: one four times a second, one when it is asked for. What they call runs at `DISPATCH_LEVEL`, a bounded piece of
//! work.

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

    /// Says what it calls. The ticker must stay where it is until it is stopped.
    pub fn prepare(&'static self, routine: Routine) {
        // SAFETY: the record is this ticker's and does not move.
        unsafe { wdk_sys::ntddk::KeInitializeTimer(self.timer.get()) };
        // SAFETY: as above; the routine takes no context.
        unsafe { wdk_sys::ntddk::KeInitializeDpc(self.dpc.get(), Some(routine), core::ptr::null_mut()) };
    }

    /// Starts it, to call from now on four times a second.
    pub fn start(&'static self) {
        self.set(PERIOD.unsigned_abs().into(), PERIOD);
    }

    /// Has it call once, in so many milliseconds; what was asked for before is forgotten.
    pub fn once(&'static self, ms: u64) {
        self.set(ms, 0);
    }

    fn set(&'static self, ms: u64, period: i32) {
        let due = LARGE_INTEGER { QuadPart: i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(-10_000) };
        // SAFETY: both were initialised; any level up to DISPATCH_LEVEL will do.
        let _was_set = unsafe { wdk_sys::ntddk::KeSetTimerEx(self.timer.get(), due, period, self.dpc.get()) };
    }

    /// Stops it, unless its routine asks for another call: when this returns, the routine does not run and will not. At
    /// `PASSIVE_LEVEL`.
    pub fn stop(&'static self) {
        // SAFETY: the timer was prepared.
        let _was_set = unsafe { wdk_sys::ntddk::KeCancelTimer(self.timer.get()) };
        // SAFETY: at PASSIVE_LEVEL.
        unsafe { wdk_sys::ntddk::KeFlushQueuedDpcs() };
    }
}

/// Calls the driver when the first of its frames that wait is due.
pub static ALARM: Ticker = Ticker::new();
