//! NDIS's functions that both images use, and [`crate::supplies!`], which makes a type of an image what a module takes its
//! memory, lists and clones from.

use core::cell::UnsafeCell;

use pfndis::sys::code::{Status, TYPE_DEFAULT};
use pfndis::sys::layout::{
    DeviceAttributes, Handle, Header, ListPoolParameters, LockState, Mdl, NetBufferList, OidRequest, Ptr, size,
};
use pfndis::sys::list::List;

use crate::sys::nt::TAG;

#[allow(missing_docs, reason = "NDIS's own names and prototypes")]
unsafe extern "C" {
    pub fn NdisGetVersion() -> u32;
    pub fn NdisGetSystemUpTimeEx(up: *mut i64);
    pub fn NdisGetCurrentSystemTime(now: *mut i64);
    pub fn NdisRegisterDeviceEx(
        handle: Handle,
        attributes: *mut DeviceAttributes,
        device: *mut *mut wdk_sys::DEVICE_OBJECT,
        device_handle: *mut Handle,
    ) -> Status;
    pub fn NdisDeregisterDeviceEx(handle: Handle);
    fn NdisAllocateCloneOidRequest(
        source: Handle,
        request: *mut OidRequest,
        tag: u32,
        clone: *mut *mut OidRequest,
    ) -> Status;
    fn NdisFreeCloneOidRequest(source: Handle, request: *mut OidRequest);
    fn NdisAllocateNetBufferListPool(handle: Handle, parameters: *const ListPoolParameters) -> Handle;
    fn NdisFreeNetBufferListPool(pool: Handle);
    fn NdisAllocateNetBufferAndNetBufferList(
        pool: Handle,
        context: u16,
        back_fill: u16,
        mdl: *mut Mdl,
        offset: u32,
        length: usize,
    ) -> *mut NetBufferList;
    fn NdisFreeNetBufferList(list: *mut NetBufferList);
    fn NdisAllocateRWLock(handle: Handle) -> Handle;
    fn NdisFreeRWLock(lock: Handle);
    fn NdisAcquireRWLockRead(lock: Handle, state: *mut LockState, flags: u8);
    fn NdisAcquireRWLockWrite(lock: Handle, state: *mut LockState, flags: u8);
    fn NdisReleaseRWLock(lock: Handle, state: *mut LockState);
    fn KeQueryMaximumProcessorCountEx(group: u16) -> u32;
    fn KeGetCurrentProcessorNumberEx(number: Ptr) -> u32;
    fn NdisAllocateMdl(handle: Handle, at: Ptr, length: u32) -> *mut Mdl;
    fn NdisFreeMdl(mdl: *mut Mdl);
    fn NdisCopySendNetBufferListInfo(to: *mut NetBufferList, from: *mut NetBufferList);
    fn NdisCopyReceiveNetBufferListInfo(to: *mut NetBufferList, from: *mut NetBufferList);
}

/// `NdisMedium` and the like are plain numbers; so is the pool's protocol: none.
const NO_PROTOCOL: u8 = 0;
/// `NormalPagePriority | MdlMappingNoExecute`.
const MAPPING: u32 = 0x10 | 0x4000_0000;

/// Takes a spin lock and says at which level the caller was.
pub fn acquire(word: &UnsafeCell<usize>) -> u8 {
    // SAFETY: the word is a spin lock's, 0 when it was made; the caller is at DISPATCH_LEVEL or below.
    unsafe { wdk_sys::ntddk::KeAcquireSpinLockRaiseToDpc(word.get().cast()) }
}

/// Gives a spin lock back.
pub fn release(word: &UnsafeCell<usize>, level: u8) {
    // SAFETY: the lock is held, and was taken at this level.
    unsafe { wdk_sys::ntddk::KeReleaseSpinLock(word.get().cast(), level) }
}

/// `ALL_PROCESSOR_GROUPS`.
const ALL_GROUPS: u16 = 0xffff;

/// A reader-writer lock; none when there is no room. At the start of an image, when it has no handle of NDIS's yet.
pub fn new_lock() -> Handle {
    // SAFETY: from NDIS 6.30 on no handle is needed there.
    unsafe { NdisAllocateRWLock(Handle::NONE) }
}

/// Gives it back to the system.
pub fn free_lock(lock: Handle) {
    // SAFETY: made by `new_lock`, held by nobody, freed once.
    unsafe { NdisFreeRWLock(lock) }
}

/// Takes it as one of many.
pub fn share(lock: Handle, state: &mut LockState) {
    // SAFETY: the lock is there and not held by this processor; the state stays in its place until `give`.
    unsafe { NdisAcquireRWLockRead(lock, state, 0) }
}

/// Takes it alone.
pub fn take(lock: Handle, state: &mut LockState) {
    // SAFETY: as of `share`.
    unsafe { NdisAcquireRWLockWrite(lock, state, 0) }
}

/// Gives it back.
pub fn give(lock: Handle, state: &mut LockState) {
    // SAFETY: the lock is held, and the state is that it was taken with.
    unsafe { NdisReleaseRWLock(lock, state) }
}

/// Processors there may ever be, in all groups.
pub fn processors() -> u32 {
    // SAFETY: any level will do.
    unsafe { KeQueryMaximumProcessorCountEx(ALL_GROUPS) }
}

/// The processor this runs on, counted through all groups.
pub fn processor() -> u32 {
    // SAFETY: its number within a group is not asked for.
    unsafe { KeGetCurrentProcessorNumberEx(core::ptr::null_mut()) }
}

/// Maps a piece; null when it cannot be.
pub fn map(mdl: *mut Mdl) -> *mut u8 {
    // SAFETY: the piece is of a list NDIS handed over, locked in memory; for kernel mode any level up to
    // DISPATCH_LEVEL will do.
    unsafe {
        wdk_sys::ntddk::MmMapLockedPagesSpecifyCache(mdl.cast(), 0, 1, core::ptr::null_mut(), 0, MAPPING as _).cast()
    }
}

/// A pool of lists with a frame and 16 bytes of context each.
pub fn new_pool(module: Handle) -> Handle {
    let parameters = ListPoolParameters {
        header: Header { kind: TYPE_DEFAULT, revision: 1, size: size::LIST_POOL },
        protocol: NO_PROTOCOL,
        with_buffer: 1,
        context: 16,
        tag: TAG,
        data: 0,
        flags: 0,
    };
    // SAFETY: the parameters live through the call.
    unsafe { NdisAllocateNetBufferListPool(module, &raw const parameters) }
}

/// Gives it back.
pub fn free_pool(pool: Handle) {
    // SAFETY: the pool is empty and freed once.
    unsafe { NdisFreeNetBufferListPool(pool) }
}

/// A list over a piece.
pub fn new_list(pool: Handle, mdl: *mut Mdl, offset: u32, length: usize) -> Option<List> {
    // SAFETY: pool and piece are this driver's; the context is what the pool was made for.
    let list = unsafe { NdisAllocateNetBufferAndNetBufferList(pool, 16, 0, mdl, offset, length) };
    // SAFETY: the list is new and nobody else's.
    unsafe { List::from_raw(list) }
}

/// Gives it back.
pub fn free_list(list: List) {
    // SAFETY: the list is this driver's own, at home.
    unsafe { NdisFreeNetBufferList(list.into_raw()) }
}

/// A piece over non-paged memory.
pub fn new_mdl(module: Handle, at: *mut u8, length: u32) -> *mut Mdl {
    // SAFETY: the memory is non-paged and outlives the piece.
    unsafe { NdisAllocateMdl(module, at.cast(), length) }
}

/// Gives it back.
pub fn free_mdl(mdl: *mut Mdl) {
    // SAFETY: made by `new_mdl`, freed once.
    unsafe { NdisFreeMdl(mdl) }
}

/// Copies the out-of-band data of a list on its way down.
pub fn copy_send_info(to: &mut List, from: &List) {
    // SAFETY: both lists are alive; only the first is written to.
    unsafe { NdisCopySendNetBufferListInfo(to.as_ptr(), from.as_ptr()) }
}

/// Copies the out-of-band data of a list on its way up.
pub fn copy_receive_info(to: &mut List, from: &List) {
    // SAFETY: as above.
    unsafe { NdisCopyReceiveNetBufferListInfo(to.as_ptr(), from.as_ptr()) }
}

/// A clone of a request; null when there is no room.
pub fn clone_oid(module: Handle, request: *mut OidRequest) -> *mut OidRequest {
    let mut clone = core::ptr::null_mut();
    // SAFETY: the request is alive until it is completed.
    let status = unsafe { NdisAllocateCloneOidRequest(module, request, TAG, &raw mut clone) };
    if status == 0 { clone } else { core::ptr::null_mut() }
}

/// Gives a clone back.
pub fn free_oid(module: Handle, request: *mut OidRequest) {
    // SAFETY: a clone of this driver's, freed once.
    unsafe { NdisFreeCloneOidRequest(module, request) }
}

/// Makes a type of an image what a module takes its memory, lists and clones from.
#[macro_export]
macro_rules! supplies {
    ($nt:ty) => {
        const _: () = {
            use core::cell::UnsafeCell;
            use $crate::supplies::{
                Handle, Levels, List, LockState, Maps, Mdl, OidRequest, Shares, Supplies, memory, ndis,
                timer,
            };

            impl Levels for $nt {
                fn acquire(&self, word: &UnsafeCell<usize>) -> u8 {
                    ndis::acquire(word)
                }
                fn release(&self, word: &UnsafeCell<usize>, level: u8) {
                    ndis::release(word, level);
                }
            }

            impl Shares for $nt {
                fn new_lock(&self) -> Handle {
                    ndis::new_lock()
                }
                fn free_lock(&self, lock: Handle) {
                    ndis::free_lock(lock);
                }
                fn share(&self, lock: Handle, state: &mut LockState) {
                    ndis::share(lock, state);
                }
                fn take(&self, lock: Handle, state: &mut LockState) {
                    ndis::take(lock, state);
                }
                fn give(&self, lock: Handle, state: &mut LockState) {
                    ndis::give(lock, state);
                }
                fn processors(&self) -> u32 {
                    ndis::processors()
                }
                fn processor(&self) -> u32 {
                    ndis::processor()
                }
            }

            impl Maps for $nt {
                fn map(&self, mdl: *mut Mdl) -> *mut u8 {
                    ndis::map(mdl)
                }
            }

            impl Supplies for $nt {
                fn new_pool(&self, module: Handle) -> Handle {
                    ndis::new_pool(module)
                }
                fn free_pool(&self, pool: Handle) {
                    ndis::free_pool(pool);
                }
                fn new_list(&self, pool: Handle, mdl: *mut Mdl, offset: u32, length: usize) -> Option<List> {
                    ndis::new_list(pool, mdl, offset, length)
                }
                fn free_list(&self, list: List) {
                    ndis::free_list(list);
                }
                fn new_mdl(&self, module: Handle, at: *mut u8, length: u32) -> *mut Mdl {
                    ndis::new_mdl(module, at, length)
                }
                fn free_mdl(&self, mdl: *mut Mdl) {
                    ndis::free_mdl(mdl);
                }
                fn new_memory(&self, length: usize) -> *mut u8 {
                    memory::zeroed(length)
                }
                fn free_memory(&self, at: *mut u8, _: usize) {
                    memory::free(at);
                }
                fn wake(&self, ms: u64) {
                    timer::ALARM.once(ms);
                }
                fn copy_send_info(&self, to: &mut List, from: &List) {
                    ndis::copy_send_info(to, from);
                }
                fn copy_receive_info(&self, to: &mut List, from: &List) {
                    ndis::copy_receive_info(to, from);
                }
                fn clone_oid(&self, module: Handle, request: *mut OidRequest) -> *mut OidRequest {
                    ndis::clone_oid(module, request)
                }
                fn free_oid(&self, module: Handle, request: *mut OidRequest) {
                    ndis::free_oid(module, request);
                }
            }
        };
    };
}
