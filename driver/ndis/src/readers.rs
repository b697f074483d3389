//! Readers of the log whose records are yet to come: their requests wait here and are answered from here.
//!
//! A reader's request is kept until a record it wants is there ([`Readers::serve`], which a timer calls), its handle is
//! closed, or the system takes it back; what is there when a request comes is answered at once ([`crate::device`]).
//!
//! Locks: a spin lock, under which requests are only claimed; then, alone, the filter's. IRQL: at most `DISPATCH_LEVEL`.

use pfdriver::control::log_page;
use pfdriver::lock::Lock;
use pfdriver::platform::Platform;

use crate::pending::{Claim, Pending, Put, Waiting};
use crate::sys::code::{CANCELLED, SUCCESS, Status};
use crate::sys::lock::{Levels, Locked};

/// The system whose requests wait.
pub trait Requests<T>: Levels + Claim<T> {
    /// Ends a request of this driver's: its status, and the bytes of answer in its buffer.
    fn complete(&self, request: T, status: Status, written: usize);
    /// Has the buffer of a claimed request filled; gives the bytes of answer.
    fn fill(&self, request: T, answer: impl FnOnce(&mut [u8]) -> usize) -> usize;
}

/// The number the log's next record will get.
pub(crate) fn next<P: Platform, L: Lock<P>>(filter: &L) -> u64 {
    filter.with(|f| f.log.count().saturating_add(1))
}

/// Requests that wait, at most `N`; more are refused.
#[derive(Debug)]
pub struct Readers<T, const N: usize>(Locked<Pending<T, N>>);

impl<T: Copy + PartialEq + Send, const N: usize> Default for Readers<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy + PartialEq + Send, const N: usize> Readers<T, N> {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(Locked::new(Pending::new()))
    }

    /// Lets a request of a handle wait for a record. With [`Put::Waits`] it is not the caller's any more.
    pub(crate) fn put<S: Requests<T>>(&self, system: &S, waiting: Waiting<T>) -> Put {
        self.0.with(system, |all| all.put(system, waiting))
    }

    /// Ends the requests of a handle that is closed.
    pub(crate) fn close<S: Requests<T>>(&self, system: &S, owner: usize) {
        while let Some(w) = self.0.with(system, |all| all.of(system, owner)) {
            system.complete(w.request, CANCELLED, 0);
        }
    }

    /// Answers those whose records have come, each with a page of the log.
    pub fn serve<P: Platform, L: Lock<P>, S: Requests<T>>(&self, system: &S, filter: &L) {
        if self.0.with(system, |all| all.wanted()) == u64::MAX {
            return;
        }
        let next = next(filter);
        for _ in 0..N {
            let Some(w) = self.0.with(system, |all| all.ready(system, next)) else { break };
            let written = system.fill(w.request, |reply| {
                reply.fill(0);
                filter.with(|f| log_page(f, w.cursor, reply))
            });
            system.complete(w.request, SUCCESS, written);
        }
    }

    /// What a cancel routine does: its request was claimed by the system, and is ended here.
    pub fn cancelled<S: Requests<T>>(&self, system: &S, request: T) {
        self.0.with(system, |all| all.forget(request));
        system.complete(request, CANCELLED, 0);
    }
}
