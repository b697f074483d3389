//! Values behind locks: of NT a spin lock ([`Locked`]), of NDIS a reader-writer lock ([`Shared`]).
//!
//! Whoever holds a lock runs at `DISPATCH_LEVEL` and does nothing that waits. The driver has one [`Shared`], which comes before
//! all others and is taken once; under it a module's free list is, for as long as it takes to pop or push a frame. None is
//! held while NDIS is called.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use alloc::vec::Vec;

use super::layout::{Handle, LockState};

/// What a spin lock needs of its system.
pub trait Levels {
    /// Takes the lock and says at which level the caller was.
    fn acquire(&self, word: &UnsafeCell<usize>) -> u8;
    /// Gives it back.
    fn release(&self, word: &UnsafeCell<usize>, level: u8);
}

/// A value that one processor at a time looks at.
#[derive(Debug)]
pub struct Locked<T> {
    word: UnsafeCell<usize>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through `with` alone, which one processor at a time runs.
unsafe impl<T: Send> Sync for Locked<T> {}

impl<T> Locked<T> {
    /// A free lock.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self { word: UnsafeCell::new(0), value: UnsafeCell::new(value) }
    }

    /// Does something with the value.
    pub fn with<O: Levels + ?Sized, R>(&self, os: &O, f: impl FnOnce(&mut T) -> R) -> R {
        let level = os.acquire(&self.word);
        // SAFETY: the lock is held, and the reference ends before it is given back.
        let value = unsafe { &mut *self.value.get() };
        let out = f(value);
        os.release(&self.word, level);
        out
    }

    /// The value when nobody else can reach the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// What a reader-writer lock needs of its system.
pub trait Shares {
    /// `NdisAllocateRWLock`: none when there is no room.
    fn new_lock(&self) -> Handle;
    /// `NdisFreeRWLock`.
    fn free_lock(&self, lock: Handle);
    /// `NdisAcquireRWLockRead`.
    fn share(&self, lock: Handle, state: &mut LockState);
    /// `NdisAcquireRWLockWrite`.
    fn take(&self, lock: Handle, state: &mut LockState);
    /// `NdisReleaseRWLock`.
    fn give(&self, lock: Handle, state: &mut LockState);
    /// Processors there may ever be: `KeQueryMaximumProcessorCountEx`.
    fn processors(&self) -> u32;
    /// The processor this runs on, which at `DISPATCH_LEVEL` does not change: `KeGetCurrentProcessorNumberEx`.
    fn processor(&self) -> u32;
}

/// Turns a processor that is to share a lock lets one go first that wants it alone: NDIS's lock by itself starves those.
const COURTESY: u32 = 1024;

/// What a processor has of its own, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Local<L> {
    busy: AtomicBool,
    value: UnsafeCell<L>,
}

/// A value that processors share or one has alone, each with something of its own (`L`).
#[derive(Debug)]
pub struct Shared<T, L> {
    lock: Handle,
    /// Processors that want it alone.
    alone: AtomicU32,
    value: UnsafeCell<T>,
    locals: Vec<Local<L>>,
}

// SAFETY: those who share the value have shared references to it and one at a time has a mutable one; who has something of a
// processor's own has marked it busy.
unsafe impl<T: Send + Sync, L: Send> Sync for Shared<T, L> {}

impl<T, L> Shared<T, L> {
    /// A free lock around a value, `local` called for each processor. `None`, with nothing kept, when there is no room. Its
    /// last user calls [`Shared::free`].
    pub fn new<O: Shares + ?Sized>(os: &O, value: T, local: impl Fn(&T) -> Option<L>) -> Option<Self> {
        let count = usize::try_from(os.processors()).ok()?;
        let mut locals = Vec::new();
        locals.try_reserve_exact(count).ok()?;
        for _ in 0..count {
            let value = UnsafeCell::new(local(&value)?);
            if locals.len() < locals.capacity() {
                locals.push(Local { busy: AtomicBool::new(false), value });
            }
        }
        let lock = os.new_lock();
        if lock.is_none() {
            return None;
        }
        Some(Self { lock, alone: AtomicU32::new(0), value: UnsafeCell::new(value), locals })
    }

    /// Gives the lock back to the system. It is taken no more.
    pub fn free<O: Shares + ?Sized>(&mut self, os: &O) {
        let lock = core::mem::replace(&mut self.lock, Handle::NONE);
        if !lock.is_none() {
            os.free_lock(lock);
        }
    }

    /// Does something with the value, alone.
    pub fn with<O: Shares + ?Sized, R>(&self, os: &O, f: impl FnOnce(&mut T) -> R) -> R {
        self.with_all(os, |value, _| f(value))
    }

    /// Does something with the value and what each processor has of its own, alone.
    pub fn with_all<O: Shares + ?Sized, R>(&self, os: &O, f: impl FnOnce(&mut T, Locals<'_, L>) -> R) -> R {
        let mut state = LockState { level: 0, state: 0, flags: 0 };
        self.alone.fetch_add(1, Ordering::Relaxed);
        os.take(self.lock, &mut state);
        self.alone.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the lock is held alone, and the reference ends before it is given back.
        let value = unsafe { &mut *self.value.get() };
        let out = f(value, Locals(self.locals.iter()));
        os.give(self.lock, &mut state);
        out
    }

    /// Does something with the value as one of many, and with what this processor has of its own; `None` in its place when
    /// there is no such thing, for which the caller then takes the lock alone.
    pub fn shared<O: Shares + ?Sized, R>(&self, os: &O, f: impl FnOnce(&T, Option<&mut L>) -> R) -> R {
        for _ in 0..COURTESY {
            if self.alone.load(Ordering::Relaxed) == 0 {
                break;
            }
            core::hint::spin_loop();
        }
        let mut state = LockState { level: 0, state: 0, flags: 0 };
        os.share(self.lock, &mut state);
        // SAFETY: the lock is held, so nobody has a mutable reference; this one ends before it is given back.
        let value = unsafe { &*self.value.get() };
        let at = usize::try_from(os.processor()).unwrap_or(usize::MAX);
        let local = self.locals.get(at).filter(|local| !local.busy.swap(true, Ordering::Acquire));
        // SAFETY: this call has marked it busy, and it alone until it says otherwise.
        let out = f(value, local.map(|local| unsafe { &mut *local.value.get() }));
        if let Some(local) = local {
            local.busy.store(false, Ordering::Release);
        }
        os.give(self.lock, &mut state);
        out
    }
}

/// What each processor has of its own, while nobody shares the lock.
#[derive(Debug)]
pub struct Locals<'l, L>(core::slice::Iter<'l, Local<L>>);

impl<'l, L> Iterator for Locals<'l, L> {
    type Item = &'l mut L;

    fn next(&mut self) -> Option<&'l mut L> {
        // SAFETY: the lock is held alone for as long as this lives, and each is given out once.
        self.0.next().map(|local| unsafe { &mut *local.value.get() })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const THREADS: usize = 3;

    /// A lock that orders no more than one must: who has it alone with all others, those who share it not with each other.
    #[derive(Default)]
    struct System {
        alone: AtomicBool,
        sharing: [AtomicBool; THREADS],
        locks: AtomicUsize,
    }

    std::thread_local! {
        static ME: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
    }

    impl Shares for System {
        fn new_lock(&self) -> Handle {
            self.locks.fetch_add(1, Ordering::Relaxed);
            Handle(core::ptr::without_provenance_mut(16))
        }

        fn free_lock(&self, _: Handle) {
            self.locks.fetch_sub(1, Ordering::Relaxed);
        }

        fn share(&self, _: Handle, _: &mut LockState) {
            let mine = &self.sharing[ME.get().0];
            loop {
                mine.store(true, Ordering::SeqCst);
                if !self.alone.load(Ordering::SeqCst) {
                    return;
                }
                mine.store(false, Ordering::SeqCst);
                std::thread::yield_now();
            }
        }

        fn take(&self, _: Handle, state: &mut LockState) {
            while self.alone.swap(true, Ordering::SeqCst) {
                std::thread::yield_now();
            }
            while self.sharing.iter().any(|one| one.load(Ordering::SeqCst)) {
                std::thread::yield_now();
            }
            state.state = 4;
        }

        fn give(&self, _: Handle, state: &mut LockState) {
            if state.state == 4 {
                self.alone.store(false, Ordering::Release);
            } else {
                self.sharing[ME.get().0].store(false, Ordering::Release);
            }
        }

        fn processors(&self) -> u32 {
            2
        }

        fn processor(&self) -> u32 {
            ME.get().1
        }
    }

    /// Two of three threads are on one processor, so that one of them at times finds nothing of its own. Under Miri every
    /// access that nothing orders ends the test.
    #[test]
    fn some_share_a_value_and_one_has_it_alone() {
        const TURNS: usize = if cfg!(miri) { 25 } else { 5000 };
        let system = System::default();
        let mut shared = Shared::new(&system, (0_usize, 0_usize), |_| Some(0_usize)).unwrap();
        let (met, done) = (AtomicUsize::new(0), AtomicBool::new(false));
        let mut counted = 0;
        let given: usize = std::thread::scope(|scope| {
            let sharing = [0, 1, 2].map(|me| {
                let (system, shared, met, done) = (&system, &shared, &met, &done);
                scope.spawn(move || {
                    ME.set((me, u32::from(me > 0)));
                    let (mut turns, mut without, mut over, mut last) = (0, 0, false, 0);
                    while !over {
                        over = done.load(Ordering::Relaxed);
                        shared.shared(system, |value, local| {
                            // At first all wait for each other, so that they do share it.
                            met.fetch_add(usize::from(turns == 0), Ordering::Relaxed);
                            while met.load(Ordering::Relaxed) < THREADS {
                                std::thread::yield_now();
                            }
                            assert!(value.0 == value.1 && value.0 >= last);
                            last = value.0;
                            match local {
                                Some(local) => *local += 1,
                                None => without += 1,
                            }
                        });
                        turns += 1;
                    }
                    assert_eq!(last, TURNS, "what who was alone wrote is seen");
                    turns - without
                })
            });
            while met.load(Ordering::Relaxed) < THREADS {
                std::thread::yield_now();
            }
            for _ in 0..TURNS {
                shared.with_all(&system, |value, locals| {
                    value.0 += 1;
                    counted += locals.map(core::mem::take).sum::<usize>();
                    value.1 += 1;
                });
            }
            done.store(true, Ordering::Relaxed);
            sharing.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let left: usize = shared.with_all(&system, |_, locals| locals.map(|local| *local).sum());
        assert_eq!(counted + left, given);
        shared.free(&system);
        shared.free(&system);
        assert_eq!(system.locks.into_inner(), 0);
    }

    #[test]
    fn a_processor_beyond_those_there_were_has_nothing_of_its_own() {
        let system = System::default();
        let mut shared = Shared::new(&system, (), |()| Some(7)).unwrap();
        for (processor, own) in [(0, Some(7)), (1, Some(7)), (2, None), (u32::MAX, None)] {
            ME.set((0, processor));
            assert_eq!(shared.shared(&system, |(), local| local.copied()), own);
        }
        shared.free(&system);
        assert!(Shared::new(&system, (), |()| None::<()>).is_none());
        assert_eq!(system.locks.into_inner(), 0);
    }
}
