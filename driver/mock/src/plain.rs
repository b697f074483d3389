//! The same functions without an account, for benchmarks: what they cost is little, and nothing is looked after.
//!
//! Lists the driver hands on stay with the thread they were handed on by, until it asks for them ([`went`], [`home`]). The
//! reader-writer lock counts readers of each processor in a line of its own, as NDIS's does.

use std::cell::{Cell, UnsafeCell};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pfndis::os::{Os, Supplies};
use pfndis::sys::code::{FAILURE, Status};
use pfndis::sys::layout::{Handle, LockState, Mdl, OidRequest, Ptr};
use pfndis::sys::list::{Chain, List, Maps};
use pfndis::sys::lock::{Levels, Shares};

use crate::sys;

/// Processors there are.
pub const PROCESSORS: u32 = 64;
/// `DISPATCH_LEVEL`: where all of it runs.
const DISPATCH: u8 = 2;
/// What a handle is that names nothing: any number.
const SOME: Handle = Handle(std::ptr::without_provenance_mut(0x10));

thread_local! {
    static PROCESSOR: Cell<u32> = const { Cell::new(0) };
    static WENT: Cell<Chain> = const { Cell::new(Chain::new()) };
    static HOME: Cell<Chain> = const { Cell::new(Chain::new()) };
}

/// This thread runs on a processor, nobody else does.
pub fn run_on(processor: u32) {
    PROCESSOR.set(processor);
}

/// Lists that were sent or indicated by this thread, since this was asked last.
pub fn went() -> Chain {
    WENT.take()
}

/// Lists that came back to who made them.
pub fn home() -> Chain {
    HOME.take()
}

fn put(place: &Cell<Chain>, lists: Chain) {
    let mut all = place.take();
    all.append(lists);
    place.set(all);
}

/// Readers of one processor.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Readers(AtomicU32);

/// The functions. There is one reader-writer lock.
#[derive(Debug)]
pub struct Plain {
    readers: Vec<Readers>,
    alone: AtomicBool,
    /// How often the lock was had alone.
    pub taken: AtomicU32,
}

impl Default for Plain {
    fn default() -> Self {
        let readers = (0..PROCESSORS).map(|_| Readers::default()).collect();
        Self { readers, alone: AtomicBool::new(false), taken: AtomicU32::new(0) }
    }
}

impl Plain {
    fn mine(&self) -> &AtomicU32 {
        &self.readers[PROCESSOR.get() as usize].0
    }
}

/// A turn of waiting. Threads are more than processors on a busy machine.
fn wait(turn: &mut u32) {
    *turn += 1;
    if turn.is_multiple_of(256) { std::thread::yield_now() } else { spin_loop() }
}

impl Levels for Plain {
    fn acquire(&self, word: &UnsafeCell<usize>) -> u8 {
        let (word, mut turn) = (sys::atomic(word), 0);
        while word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            wait(&mut turn);
        }
        DISPATCH
    }

    fn release(&self, word: &UnsafeCell<usize>, _: u8) {
        sys::atomic(word).store(0, Ordering::Release);
    }
}

impl Shares for Plain {
    fn new_lock(&self) -> Handle {
        SOME
    }

    fn free_lock(&self, _: Handle) {}

    fn share(&self, _: Handle, state: &mut LockState) {
        let (mine, mut turn) = (self.mine(), 0);
        loop {
            mine.fetch_add(1, Ordering::SeqCst);
            if !self.alone.load(Ordering::SeqCst) {
                break;
            }
            mine.fetch_sub(1, Ordering::SeqCst);
            wait(&mut turn);
        }
        state.state = 3;
    }

    fn take(&self, _: Handle, state: &mut LockState) {
        let mut turn = 0;
        while self.alone.swap(true, Ordering::SeqCst) {
            wait(&mut turn);
        }
        for readers in &self.readers {
            while readers.0.load(Ordering::SeqCst) != 0 {
                wait(&mut turn);
            }
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        state.state = 4;
    }

    fn give(&self, _: Handle, state: &mut LockState) {
        if state.state == 4 {
            self.alone.store(false, Ordering::SeqCst);
        } else {
            self.mine().fetch_sub(1, Ordering::Release);
        }
    }

    fn processors(&self) -> u32 {
        PROCESSORS
    }

    fn processor(&self) -> u32 {
        PROCESSOR.get()
    }
}

impl Maps for Plain {
    fn map(&self, mdl: *mut Mdl) -> *mut u8 {
        sys::map(mdl)
    }
}

impl Supplies for Plain {
    fn new_pool(&self, _: Handle) -> Handle {
        SOME
    }

    fn free_pool(&self, _: Handle) {}

    fn new_list(&self, pool: Handle, mdl: *mut Mdl, offset: u32, length: usize) -> Option<List> {
        sys::own(sys::list_with_frame(pool, mdl, offset, u32::try_from(length).ok()?))
    }

    fn free_list(&self, list: List) {
        sys::free_list(list.into_raw(), false);
    }

    fn new_mdl(&self, _: Handle, at: *mut u8, length: u32) -> *mut Mdl {
        sys::mdl(at, length, true)
    }

    fn free_mdl(&self, mdl: *mut Mdl) {
        sys::free_mdl(mdl);
    }

    fn new_memory(&self, length: usize) -> *mut u8 {
        sys::memory(length)
    }

    fn free_memory(&self, at: *mut u8, length: usize) {
        sys::free_memory(at, length);
    }

    fn wake(&self, _: u64) {}

    fn copy_send_info(&self, to: &mut List, from: &List) {
        for place in 0..24 {
            to.set_info(place, from.info(place));
        }
    }

    fn copy_receive_info(&self, to: &mut List, from: &List) {
        self.copy_send_info(to, from);
    }

    fn clone_oid(&self, _: Handle, _: *mut OidRequest) -> *mut OidRequest {
        core::ptr::null_mut()
    }

    fn free_oid(&self, _: Handle, _: *mut OidRequest) {}
}

impl Os for Plain {
    fn send(&self, _: Handle, lists: Chain, _: u32, _: u32) {
        WENT.with(|went| put(went, lists));
    }

    fn send_complete(&self, _: Handle, lists: Chain, _: u32) {
        HOME.with(|home| put(home, lists));
    }

    fn indicate(&self, _: Handle, lists: Chain, _: u32, _: u32) {
        WENT.with(|went| put(went, lists));
    }

    fn indicate_lent(&self, _: Handle, _: &List, _: u32, _: u32, _: u32) {}

    fn give_back(&self, _: Handle, lists: Chain, _: u32) {
        HOME.with(|home| put(home, lists));
    }

    fn cancel_send(&self, _: Handle, _: Ptr) {}

    fn pause_complete(&self, _: Handle) {}

    fn oid(&self, _: Handle, _: *mut OidRequest, _: bool) -> Status {
        FAILURE
    }

    fn oid_complete(&self, _: Handle, _: *mut OidRequest, _: Status, _: bool) {}

    fn cancel_oid(&self, _: Handle, _: Ptr, _: bool) {}
}
