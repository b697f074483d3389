//! Requests that wait: readers of the log whose records are yet to come.
//!
//! A request that waits can be ended by three: by what it waits for, by its handle being closed, and by whoever takes it
//! back (a cancel routine, which the system calls at any time). Whoever wants to end one must [`Claim`] it first; of all
//! that try one succeeds. A cancel routine that was called has claimed its request already.
//!
//! **Invariant:** a request that was put in is ended once, by whom it was claimed; when [`Pending::put`] gives it back it
//! was not put in.
//!
//! Locks: the caller's, held over each call. IRQL: at most `DISPATCH_LEVEL`.

/// What the system knows of a request that waits.
pub trait Claim<T> {
    /// From here on it may be taken back.
    fn arm(&self, request: T);
    /// Whether somebody has asked for it back.
    fn is_cancelled(&self, request: T) -> bool;
    /// Claims it: nobody can take it back any more. `false` when somebody just does, who ends it then.
    fn claim(&self, request: T) -> bool;
}

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting<T> {
    /// It.
    pub request: T,
    /// The handle it came by.
    pub owner: usize,
    /// The record it wants: that number or a later one.
    pub cursor: u64,
}

/// What became of a request that was to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Put {
    /// It waits.
    Waits,
    /// There is no room: it is the caller's still.
    Full,
    /// It was taken back while it was put in, and the caller ends it so.
    Cancelled,
}

/// All requests that wait, at most `N`.
#[derive(Debug)]
pub struct Pending<T, const N: usize> {
    places: [Option<Waiting<T>>; N],
}

impl<T: Copy + PartialEq, const N: usize> Default for Pending<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy + PartialEq, const N: usize> Pending<T, N> {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { places: [const { None }; N] }
    }

    /// Lets a request wait.
    pub fn put<C: Claim<T>>(&mut self, system: &C, waiting: Waiting<T>) -> Put {
        let Some(place) = self.places.iter_mut().find(|p| p.is_none()) else { return Put::Full };
        *place = Some(waiting);
        system.arm(waiting.request);
        if system.is_cancelled(waiting.request) && system.claim(waiting.request) {
            self.forget(waiting.request);
            return Put::Cancelled;
        }
        // Cancelled and not to be claimed: the cancel routine is on its way, and waits for the lock.
        Put::Waits
    }

    /// A request whose record has come, claimed; `next` is the number the next record will get.
    pub fn ready<C: Claim<T>>(&mut self, system: &C, next: u64) -> Option<Waiting<T>> {
        self.claim(system, |w| w.cursor < next)
    }

    /// A request of a handle that is closed, claimed.
    pub fn of<C: Claim<T>>(&mut self, system: &C, owner: usize) -> Option<Waiting<T>> {
        self.claim(system, |w| w.owner == owner)
    }

    fn claim<C: Claim<T>>(&mut self, system: &C, which: impl Fn(&Waiting<T>) -> bool) -> Option<Waiting<T>> {
        for place in &mut self.places {
            if let Some(waiting) = place.take_if(|w| which(w))
                && system.claim(waiting.request)
            {
                return Some(waiting);
            }
        }
        None
    }

    /// Forgets a request its cancel routine is about to end.
    pub fn forget(&mut self, request: T) {
        for place in &mut self.places {
            let _gone = place.take_if(|w| w.request == request);
        }
    }

    /// The lowest record anybody waits for; `u64::MAX` when nobody waits.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        self.places.iter().flatten().fold(u64::MAX, |least, w| least.min(w.cursor))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    const REQUESTS: usize = 400;

    /// Requests by number: whether a cancel routine is set, whether it was cancelled, how often it was ended.
    struct System {
        armed: Vec<AtomicBool>,
        cancelled: Vec<AtomicBool>,
        ended: Vec<AtomicU32>,
        waiting: Mutex<Pending<usize, 8>>,
    }

    impl Claim<usize> for System {
        fn arm(&self, request: usize) {
            self.armed[request].store(true, Ordering::SeqCst);
        }
        fn is_cancelled(&self, request: usize) -> bool {
            self.cancelled[request].load(Ordering::SeqCst)
        }
        fn claim(&self, request: usize) -> bool {
            self.armed[request].swap(false, Ordering::SeqCst)
        }
    }

    impl System {
        fn new() -> Self {
            let flags = || (0..REQUESTS).map(|_| AtomicBool::new(false)).collect();
            let ended = (0..REQUESTS).map(|_| AtomicU32::new(0)).collect();
            Self { armed: flags(), cancelled: flags(), ended, waiting: Mutex::new(Pending::new()) }
        }

        fn end(&self, request: usize) {
            self.ended[request].fetch_add(1, Ordering::SeqCst);
        }

        /// What `IoCancelIrp` does, and the cancel routine it calls.
        fn cancel(&self, request: usize) {
            self.cancelled[request].store(true, Ordering::SeqCst);
            if self.claim(request) {
                self.waiting.lock().unwrap().forget(request);
                self.end(request);
            }
        }
    }

    #[test]
    fn a_request_waits_for_its_record() {
        let system = System::new();
        let mut pending = Pending::<usize, 2>::new();
        let wait = |request, owner, cursor| Waiting { request, owner, cursor };
        assert_eq!(pending.put(&system, wait(0, 1, 5)), Put::Waits);
        assert_eq!(pending.put(&system, wait(1, 2, 3)), Put::Waits);
        assert_eq!(pending.put(&system, wait(2, 2, 3)), Put::Full);
        assert_eq!((pending.wanted(), pending.ready(&system, 3)), (3, None));
        assert_eq!(pending.ready(&system, 4).map(|w| w.request), Some(1));
        assert_eq!((pending.of(&system, 2), pending.of(&system, 1).map(|w| w.request)), (None, Some(0)));
        assert_eq!(pending.wanted(), u64::MAX);
        system.cancelled[3].store(true, Ordering::SeqCst);
        assert_eq!(pending.put(&system, wait(3, 1, 1)), Put::Cancelled);
        assert_eq!(pending.wanted(), u64::MAX);
    }

    #[test]
    fn each_request_is_ended_once_whoever_comes_first() {
        for _ in 0..20 {
            let system = System::new();
            let (next, done) = (AtomicU32::new(1), AtomicBool::new(false));
            let serve = |record: u64| {
                while let Some(w) = {
                    let mut p = system.waiting.lock().unwrap();
                    p.ready(&system, record)
                } {
                    system.end(w.request);
                }
            };
            std::thread::scope(|s| {
                s.spawn(|| {
                    for request in 0..REQUESTS {
                        let cursor = u64::from(next.load(Ordering::SeqCst));
                        let wait = Waiting { request, owner: request % 3, cursor };
                        let put = system.waiting.lock().unwrap().put(&system, wait);
                        if put != Put::Waits {
                            system.end(request);
                        }
                        std::thread::yield_now();
                    }
                    done.store(true, Ordering::SeqCst);
                });
                s.spawn(|| (0..REQUESTS).rev().step_by(2).for_each(|request| system.cancel(request)));
                s.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        serve(u64::from(next.fetch_add(1, Ordering::SeqCst)));
                        std::thread::yield_now();
                    }
                });
            });
            for owner in 0..3 {
                while let Some(w) = {
                    let mut p = system.waiting.lock().unwrap();
                    p.of(&system, owner)
                } {
                    system.end(w.request);
                }
            }
            assert!(system.ended.iter().all(|n| n.load(Ordering::SeqCst) == 1));
        }
    }
}
