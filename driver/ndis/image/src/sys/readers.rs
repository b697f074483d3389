//! Requests of readers of the log, as NT has them: [`pfndis::readers`] over them.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicPtr, Ordering};

use pfdriver::lock::Lock;
use pfndis::pending::Claim;
use pfndis::readers::{Readers, Requests};
use pfndis::sys::code::Status;
use pfndis::sys::layout::{Irp, StackLocation};
use pfndis::sys::lock::Levels;
use wdk_sys::{DEVICE_OBJECT, IRP};

use crate::platform::Windows;
use crate::sys::device::complete;
use crate::sys::ndis;

unsafe extern "C" {
    fn IoReleaseCancelSpinLock(level: u8);
}

/// Requests that wait at most.
const MOST: usize = 64;
/// `SL_PENDING_RETURNED`.
const PENDING_RETURNED: u8 = 1;

const _: () = assert!(core::mem::offset_of!(IRP, CancelRoutine) == core::mem::offset_of!(Irp, cancel));

/// A request that is this driver's until it is completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request(pub *mut IRP);

// SAFETY: it is an address, used by whoever has claimed the request.
unsafe impl Send for Request {}

impl Request {
    /// Its cancel routine: whoever takes it out has claimed the request.
    fn routine(&self) -> &AtomicPtr<()> {
        // SAFETY: a request that waits is there; the system exchanges this word likewise.
        let place = unsafe { &raw mut (*self.0.cast::<Irp>()).cancel };
        // SAFETY: as above; a word that holds an address, aligned.
        unsafe { AtomicPtr::from_ptr(place.cast()) }
    }

    /// Its current stack location.
    fn stack(&self) -> *mut StackLocation {
        // SAFETY: the request is this driver's.
        unsafe { (*self.0.cast::<Irp>()).current }
    }
}

/// The system.
#[derive(Clone, Copy, Debug)]
pub struct Nt;

impl Levels for Nt {
    fn acquire(&self, word: &UnsafeCell<usize>) -> u8 {
        ndis::acquire(word)
    }

    fn release(&self, word: &UnsafeCell<usize>, level: u8) {
        ndis::release(word, level);
    }
}

impl Claim<Request> for Nt {
    fn arm(&self, request: Request) {
        // SAFETY: each request has a current stack location; nobody else has seen this one yet.
        unsafe { (*request.stack()).control |= PENDING_RETURNED };
        request.routine().store(cancelled as *mut (), Ordering::SeqCst);
    }

    fn is_cancelled(&self, request: Request) -> bool {
        // SAFETY: the request is there: it is not completed without the readers' lock.
        unsafe { (&raw const (*request.0).Cancel).read_volatile() != 0 }
    }

    fn claim(&self, request: Request) -> bool {
        !request.routine().swap(core::ptr::null_mut(), Ordering::SeqCst).is_null()
    }
}

impl Requests<Request> for Nt {
    fn complete(&self, request: Request, status: Status, written: usize) {
        complete(request.0, status, written);
    }

    fn fill(&self, request: Request, answer: impl FnOnce(&mut [u8]) -> usize) -> usize {
        // SAFETY: each request has a current stack location.
        let room = usize::try_from(unsafe { (*request.stack()).output }).unwrap_or(0);
        // SAFETY: the request was claimed: it is this driver's, and nobody else's.
        let buffer = unsafe { (*request.0.cast::<Irp>()).buffer };
        // SAFETY: a buffered request's buffer holds its output; it is not paged.
        answer(unsafe { core::slice::from_raw_parts_mut(buffer, room) })
    }
}

/// Those that wait.
pub static READERS: Readers<Request, MOST> = Readers::new();

/// Answers those whose records have come.
pub fn serve<L: Lock<Windows>>(filter: &L) {
    READERS.serve(&Nt, filter);
}

/// What the system calls to take a request back.
unsafe extern "C" fn cancelled(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the request is there, and says at which level the system's lock was taken.
    let level = unsafe { (*irp).CancelIrql };
    // SAFETY: the system took its lock before it called this.
    unsafe { IoReleaseCancelSpinLock(level) };
    READERS.cancelled(&Nt, Request(irp));
}
