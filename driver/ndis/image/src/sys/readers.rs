//! Readers of the log whose records are yet to come: requests that wait.
//!
//! A reader's request is kept until a record it wants is there, its handle is closed, or it is taken back. The timer looks
//! four times a second whether there are records ([`serve`]); what is there when a request comes is answered at once.
//!
//! Locks: a spin lock of this module, under which only requests are claimed; then, alone, the filter's. IRQL: at most
//! `DISPATCH_LEVEL`.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicPtr, Ordering};

use pfdriver::lock::Lock;
use pfndis::pending::{Claim, Pending, Put, Waiting};
use pfndis::sys::code::{CANCELLED, SUCCESS};
use pfndis::sys::layout::Irp;
use pfndis::sys::lock::{Levels, Locked};
use wdk_sys::{DEVICE_OBJECT, IRP};

use crate::sys::device::{Binding, complete};
use crate::sys::ndis;

unsafe extern "C" {
    fn IoReleaseCancelSpinLock(level: u8);
}

/// Requests that wait at most; more are answered at once, with nothing.
const MOST: usize = 64;
/// `SL_PENDING_RETURNED`.
const PENDING_RETURNED: u8 = 1;

const _: () = assert!(core::mem::offset_of!(IRP, CancelRoutine) == core::mem::offset_of!(Irp, cancel));

/// A request that is this driver's until it is completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request(*mut IRP);

// SAFETY: it is an address, used by whoever has claimed the request.
unsafe impl Send for Request {}

/// The system.
struct Nt;

impl Levels for Nt {
    fn acquire(&self, word: &UnsafeCell<usize>) -> u8 {
        ndis::acquire(word)
    }

    fn release(&self, word: &UnsafeCell<usize>, level: u8) {
        ndis::release(word, level);
    }
}

impl Request {
    /// Its cancel routine: whoever takes it out has claimed the request.
    fn routine(&self) -> &AtomicPtr<()> {
        // SAFETY: a request that waits is there; the system exchanges this word likewise.
        let place = unsafe { &raw mut (*self.0.cast::<Irp>()).cancel };
        // SAFETY: as above; a word that holds an address, aligned.
        unsafe { AtomicPtr::from_ptr(place.cast()) }
    }
}

impl Claim<Request> for Nt {
    fn arm(&self, request: Request) {
        // SAFETY: the request is this driver's, and nobody else has seen it yet.
        let stack = unsafe { (*request.0.cast::<Irp>()).current };
        // SAFETY: each request has a current stack location.
        unsafe { (*stack).control |= PENDING_RETURNED };
        request.routine().store(cancelled as *mut (), Ordering::SeqCst);
    }

    fn is_cancelled(&self, request: Request) -> bool {
        // SAFETY: the request is there: it is not completed without this module's lock.
        unsafe { (&raw const (*request.0).Cancel).read_volatile() != 0 }
    }

    fn claim(&self, request: Request) -> bool {
        !request.routine().swap(core::ptr::null_mut(), Ordering::SeqCst).is_null()
    }
}

static WAITING: Locked<Pending<Request, MOST>> = Locked::new(Pending::new());

/// Lets a request of a handle wait for a record. With [`Put::Waits`] it is not the caller's any more.
pub fn put(irp: *mut IRP, owner: usize, cursor: u64) -> Put {
    WAITING.with(&Nt, |all| all.put(&Nt, Waiting { request: Request(irp), owner, cursor }))
}

/// Ends the requests of a handle that is closed.
pub fn close(owner: usize) {
    while let Some(w) = WAITING.with(&Nt, |all| all.of(&Nt, owner)) {
        complete(w.request.0, CANCELLED, 0);
    }
}

/// Answers those whose records have come.
pub fn serve<B: Binding>() {
    let wanted = WAITING.with(&Nt, |all| all.wanted());
    if wanted == u64::MAX {
        return;
    }
    let Some(guard) = B::guard() else { return };
    let next = guard.with(|f| f.log.count().saturating_add(1));
    for _ in 0..MOST {
        let Some(w) = WAITING.with(&Nt, |all| all.ready(&Nt, next)) else { break };
        answer(&w, &guard);
    }
}

/// Answers one with a page of the log.
fn answer<B: Lock<crate::platform::Windows>>(w: &Waiting<Request>, guard: &B) {
    // SAFETY: the request was claimed: it is this driver's, and nobody else's.
    let request = unsafe { &*w.request.0.cast::<Irp>() };
    // SAFETY: each request has a current stack location.
    let output = unsafe { (*request.current).output };
    // SAFETY: a buffered request's buffer holds its output; it is not paged.
    let reply = unsafe { core::slice::from_raw_parts_mut(request.buffer, usize::try_from(output).unwrap_or(0)) };
    reply.fill(0);
    let length = guard.with(|f| pfdriver::control::log_page(f, w.cursor, reply));
    complete(w.request.0, SUCCESS, length);
}

/// What the system calls to take a request back.
unsafe extern "C" fn cancelled(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the request is there, and says at which level the system's lock was taken.
    let level = unsafe { (*irp).CancelIrql };
    // SAFETY: the system took its lock before it called this.
    unsafe { IoReleaseCancelSpinLock(level) };
    WAITING.with(&Nt, |all| all.forget(Request(irp)));
    complete(irp, CANCELLED, 0);
}
