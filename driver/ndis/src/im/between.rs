//! NDIS around a module of an intermediate driver: the adapter's binding below, its miniport above.
//!
//! The module's handle is the adapter's own record. Whatever the module asks with it, the adapter does with one of NDIS's
//! handles: so the module is the same as under a filter.

use core::cell::UnsafeCell;
use core::marker::PhantomData;

use crate::judge::Judge;
use crate::os::{Os, Supplies};
use crate::sys::code::{FAILURE, Status};
use crate::sys::layout::{Handle, LockState, Mdl, OidRequest, Ptr};
use crate::sys::list::{Chain, List, Maps};
use crate::sys::lock::{Levels, Shares};
use crate::sys::modules::Ref;
use crate::sys::place;

use super::adapter::Adapter;
use super::os::Ndis;

/// NDIS, between the two.
#[derive(Debug)]
pub struct Between<N, J> {
    /// NDIS itself.
    pub ndis: N,
    judge: PhantomData<fn() -> J>,
}

impl<N, J> Between<N, J> {
    /// Around a module whose judge is `J`.
    #[must_use]
    pub const fn new(ndis: N) -> Self {
        Self { ndis, judge: PhantomData }
    }
}

/// The adapter behind a module's handle.
fn adapter<N: Ndis + 'static, J: Judge + 'static>(module: Handle) -> Option<Ref<Adapter<N, J>>> {
    place::at(module)
}

impl<N: Ndis + 'static, J: Judge + 'static> Between<N, J> {
    fn miniport(module: Handle) -> Handle {
        adapter::<N, J>(module).map_or(Handle::NONE, |a| a.get().miniport.get())
    }

    fn binding(module: Handle) -> Handle {
        adapter::<N, J>(module).map_or(Handle::NONE, |a| a.get().binding.get())
    }
}

impl<N: Levels, J> Levels for Between<N, J> {
    fn acquire(&self, word: &UnsafeCell<usize>) -> u8 {
        self.ndis.acquire(word)
    }

    fn release(&self, word: &UnsafeCell<usize>, level: u8) {
        self.ndis.release(word, level);
    }
}

impl<N: Shares, J> Shares for Between<N, J> {
    fn new_lock(&self) -> Handle {
        self.ndis.new_lock()
    }

    fn free_lock(&self, lock: Handle) {
        self.ndis.free_lock(lock);
    }

    fn share(&self, lock: Handle, state: &mut LockState) {
        self.ndis.share(lock, state);
    }

    fn take(&self, lock: Handle, state: &mut LockState) {
        self.ndis.take(lock, state);
    }

    fn give(&self, lock: Handle, state: &mut LockState) {
        self.ndis.give(lock, state);
    }

    fn processors(&self) -> u32 {
        self.ndis.processors()
    }

    fn processor(&self) -> u32 {
        self.ndis.processor()
    }
}

impl<N: Maps, J> Maps for Between<N, J> {
    fn map(&self, mdl: *mut Mdl) -> *mut u8 {
        self.ndis.map(mdl)
    }
}

impl<N: Ndis + 'static, J: Judge + 'static> Supplies for Between<N, J> {
    fn new_pool(&self, module: Handle) -> Handle {
        self.ndis.new_pool(Self::miniport(module))
    }

    fn free_pool(&self, pool: Handle) {
        self.ndis.free_pool(pool);
    }

    fn new_list(&self, pool: Handle, mdl: *mut Mdl, offset: u32, length: usize) -> Option<List> {
        self.ndis.new_list(pool, mdl, offset, length)
    }

    fn free_list(&self, list: List) {
        self.ndis.free_list(list);
    }

    fn new_mdl(&self, module: Handle, at: *mut u8, length: u32) -> *mut Mdl {
        self.ndis.new_mdl(Self::miniport(module), at, length)
    }

    fn free_mdl(&self, mdl: *mut Mdl) {
        self.ndis.free_mdl(mdl);
    }

    fn new_memory(&self, length: usize) -> *mut u8 {
        self.ndis.new_memory(length)
    }

    fn free_memory(&self, at: *mut u8, length: usize) {
        self.ndis.free_memory(at, length);
    }

    fn wake(&self, ms: u64) {
        self.ndis.wake(ms);
    }

    fn copy_send_info(&self, to: &mut List, from: &List) {
        self.ndis.copy_send_info(to, from);
    }

    fn copy_receive_info(&self, to: &mut List, from: &List) {
        self.ndis.copy_receive_info(to, from);
    }

    fn clone_oid(&self, module: Handle, request: *mut OidRequest) -> *mut OidRequest {
        self.ndis.clone_oid(Self::binding(module), request)
    }

    fn free_oid(&self, module: Handle, request: *mut OidRequest) {
        self.ndis.free_oid(Self::binding(module), request);
    }
}

impl<N: Ndis + 'static, J: Judge + 'static> Os for Between<N, J> {
    fn send(&self, module: Handle, lists: Chain, port: u32, flags: u32) {
        if let Some(adapter) = adapter::<N, J>(module) {
            adapter.get().send_down(lists, port, flags);
        }
    }

    fn send_complete(&self, module: Handle, lists: Chain, flags: u32) {
        if let Some(adapter) = adapter::<N, J>(module) {
            adapter.get().complete_up(lists, flags);
        }
    }

    fn indicate(&self, module: Handle, lists: Chain, port: u32, flags: u32) {
        if let Some(adapter) = adapter::<N, J>(module) {
            adapter.get().indicate_up(lists, port, flags);
        }
    }

    fn indicate_lent(&self, module: Handle, first: &List, _: u32, port: u32, flags: u32) {
        if let Some(adapter) = adapter::<N, J>(module) {
            adapter.get().indicate_lent_up(first, port, flags);
        }
    }

    fn give_back(&self, module: Handle, lists: Chain, flags: u32) {
        self.ndis.give_back(Self::binding(module), lists, flags);
    }

    fn cancel_send(&self, module: Handle, id: Ptr) {
        self.ndis.cancel_send(Self::binding(module), id);
    }

    fn pause_complete(&self, module: Handle) {
        if let Some(adapter) = adapter::<N, J>(module) {
            adapter.get().part_paused();
        }
    }

    fn oid(&self, module: Handle, request: *mut OidRequest, direct: bool) -> Status {
        match Self::binding(module) {
            Handle::NONE => FAILURE,
            binding => self.ndis.oid(binding, request, direct),
        }
    }

    fn oid_complete(&self, module: Handle, request: *mut OidRequest, status: Status, direct: bool) {
        self.ndis.oid_complete(Self::miniport(module), request, status, direct);
    }

    fn cancel_oid(&self, module: Handle, id: Ptr, direct: bool) {
        self.ndis.cancel_oid(Self::binding(module), id, direct);
    }
}
