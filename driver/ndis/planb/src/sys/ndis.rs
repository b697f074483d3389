//! NDIS's functions, as ndis.sys exports them, and [`Nt`], which gives them to the filter.

use core::cell::UnsafeCell;

use pfndis::os::Os;
use pfndis::sys::code::{RECEIVE_RESOURCES, Status, TYPE_DEFAULT};
use pfndis::sys::layout::{
    AttachParameters, DeviceAttributes, FilterAttributes, FilterCharacteristics, Handle, Header, ListPoolParameters,
    Mdl, NetBufferList, OidRequest, Ptr, StatusIndication, size,
};
use pfndis::sys::list::{Chain, List, Maps};
use pfndis::sys::lock::Levels;
use wdk_sys::DRIVER_OBJECT;

use crate::sys::memory;
use crate::sys::nt::TAG;

const _: () = assert!(size_of::<AttachParameters>() == 224);

#[allow(missing_docs, reason = "NDIS's own names and prototypes")]
unsafe extern "C" {
    pub fn NdisGetVersion() -> u32;
    pub fn NdisGetSystemUpTimeEx(up: *mut i64);
    pub fn NdisGetCurrentSystemTime(now: *mut i64);
    pub fn NdisFRegisterFilterDriver(
        driver: *mut DRIVER_OBJECT,
        context: Handle,
        characteristics: *mut FilterCharacteristics,
        handle: *mut Handle,
    ) -> Status;
    pub fn NdisFDeregisterFilterDriver(handle: Handle);
    pub fn NdisFSetAttributes(module: Handle, context: Handle, attributes: *mut FilterAttributes) -> Status;
    pub fn NdisRegisterDeviceEx(
        handle: Handle,
        attributes: *mut DeviceAttributes,
        device: *mut *mut wdk_sys::DEVICE_OBJECT,
        device_handle: *mut Handle,
    ) -> Status;
    pub fn NdisDeregisterDeviceEx(handle: Handle);
    fn NdisFPauseComplete(module: Handle);
    fn NdisFSendNetBufferLists(module: Handle, lists: *mut NetBufferList, port: u32, flags: u32);
    fn NdisFSendNetBufferListsComplete(module: Handle, lists: *mut NetBufferList, flags: u32);
    fn NdisFCancelSendNetBufferLists(module: Handle, id: Ptr);
    fn NdisFIndicateReceiveNetBufferLists(module: Handle, lists: *mut NetBufferList, port: u32, count: u32, flags: u32);
    fn NdisFReturnNetBufferLists(module: Handle, lists: *mut NetBufferList, flags: u32);
    fn NdisFOidRequest(module: Handle, request: *mut OidRequest) -> Status;
    fn NdisFOidRequestComplete(module: Handle, request: *mut OidRequest, status: Status);
    fn NdisFCancelOidRequest(module: Handle, id: Ptr);
    fn NdisFDirectOidRequest(module: Handle, request: *mut OidRequest) -> Status;
    fn NdisFDirectOidRequestComplete(module: Handle, request: *mut OidRequest, status: Status);
    fn NdisFCancelDirectOidRequest(module: Handle, id: Ptr);
    fn NdisAllocateCloneOidRequest(
        source: Handle,
        request: *mut OidRequest,
        tag: u32,
        clone: *mut *mut OidRequest,
    ) -> Status;
    fn NdisFreeCloneOidRequest(source: Handle, request: *mut OidRequest);
    fn NdisFIndicateStatus(module: Handle, status: *mut StatusIndication);
    fn NdisFNetPnPEvent(module: Handle, event: Ptr) -> Status;
    fn NdisFDevicePnPEventNotify(module: Handle, event: Ptr);
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
    fn NdisAllocateMdl(handle: Handle, at: Ptr, length: u32) -> *mut Mdl;
    fn NdisFreeMdl(mdl: *mut Mdl);
    fn NdisCopySendNetBufferListInfo(to: *mut NetBufferList, from: *mut NetBufferList);
    fn NdisCopyReceiveNetBufferListInfo(to: *mut NetBufferList, from: *mut NetBufferList);
}

/// `NdisMedium` and the like are plain numbers; so is the pool's protocol: none.
const NO_PROTOCOL: u8 = 0;
/// `NormalPagePriority | MdlMappingNoExecute`.
const MAPPING: u32 = 0x10 | 0x4000_0000;

/// Windows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nt;

impl Levels for Nt {
    fn acquire(&self, word: &UnsafeCell<usize>) -> u8 {
        // SAFETY: the word is a spin lock's, 0 when it was made; the caller is at DISPATCH_LEVEL or below.
        unsafe { wdk_sys::ntddk::KeAcquireSpinLockRaiseToDpc(word.get().cast()) }
    }

    fn release(&self, word: &UnsafeCell<usize>, level: u8) {
        // SAFETY: the lock is held, and was taken at this level.
        unsafe { wdk_sys::ntddk::KeReleaseSpinLock(word.get().cast(), level) }
    }
}

impl Maps for Nt {
    fn map(&self, mdl: *mut Mdl) -> *mut u8 {
        // SAFETY: the piece is of a list NDIS handed over, locked in memory; for kernel mode any level up to
        // DISPATCH_LEVEL will do.
        unsafe {
            wdk_sys::ntddk::MmMapLockedPagesSpecifyCache(mdl.cast(), 0, 1, core::ptr::null_mut(), 0, MAPPING as _)
                .cast()
        }
    }
}

impl Os for Nt {
    fn send(&self, module: Handle, lists: Chain, port: u32, flags: u32) {
        // SAFETY: the lists are given away here, once.
        unsafe { NdisFSendNetBufferLists(module, lists.into_raw(), port, flags) }
    }

    fn send_complete(&self, module: Handle, lists: Chain, flags: u32) {
        // SAFETY: as above.
        unsafe { NdisFSendNetBufferListsComplete(module, lists.into_raw(), flags) }
    }

    fn indicate(&self, module: Handle, lists: Chain, port: u32, flags: u32) {
        let count = lists.len();
        // SAFETY: as above.
        unsafe {
            NdisFIndicateReceiveNetBufferLists(module, lists.into_raw(), port, count, flags & !RECEIVE_RESOURCES);
        }
    }

    fn indicate_lent(&self, module: Handle, first: &List, count: u32, port: u32, flags: u32) {
        // SAFETY: with this flag set the list is the caller's again when the call returns.
        unsafe {
            NdisFIndicateReceiveNetBufferLists(module, first.as_ptr(), port, count, flags | RECEIVE_RESOURCES);
        }
    }

    fn give_back(&self, module: Handle, lists: Chain, flags: u32) {
        // SAFETY: the lists are given away here, once.
        unsafe { NdisFReturnNetBufferLists(module, lists.into_raw(), flags) }
    }

    fn cancel_send(&self, module: Handle, id: Ptr) {
        // SAFETY: the identifier is passed through.
        unsafe { NdisFCancelSendNetBufferLists(module, id) }
    }

    fn pause_complete(&self, module: Handle) {
        // SAFETY: the pause of this module is pending; the gate says so once.
        unsafe { NdisFPauseComplete(module) }
    }

    fn new_pool(&self, module: Handle) -> Handle {
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

    fn free_pool(&self, pool: Handle) {
        // SAFETY: the pool is empty and freed once.
        unsafe { NdisFreeNetBufferListPool(pool) }
    }

    fn new_list(&self, pool: Handle, mdl: *mut Mdl, offset: u32, length: usize) -> Option<List> {
        // SAFETY: pool and piece are this driver's; the context is what the pool was made for.
        let list = unsafe { NdisAllocateNetBufferAndNetBufferList(pool, 16, 0, mdl, offset, length) };
        // SAFETY: the list is new and nobody else's.
        unsafe { List::from_raw(list) }
    }

    fn free_list(&self, list: List) {
        // SAFETY: the list is this driver's own, at home.
        unsafe { NdisFreeNetBufferList(list.into_raw()) }
    }

    fn new_mdl(&self, module: Handle, at: *mut u8, length: u32) -> *mut Mdl {
        // SAFETY: the memory is non-paged and outlives the piece.
        unsafe { NdisAllocateMdl(module, at.cast(), length) }
    }

    fn free_mdl(&self, mdl: *mut Mdl) {
        // SAFETY: made by `new_mdl`, freed once.
        unsafe { NdisFreeMdl(mdl) }
    }

    fn new_memory(&self, length: usize) -> *mut u8 {
        memory::zeroed(length)
    }

    fn free_memory(&self, at: *mut u8, _: usize) {
        memory::free(at);
    }

    fn copy_send_info(&self, to: &mut List, from: &List) {
        // SAFETY: both lists are alive; only the first is written to.
        unsafe { NdisCopySendNetBufferListInfo(to.as_ptr(), from.as_ptr()) }
    }

    fn copy_receive_info(&self, to: &mut List, from: &List) {
        // SAFETY: as above.
        unsafe { NdisCopyReceiveNetBufferListInfo(to.as_ptr(), from.as_ptr()) }
    }

    fn clone_oid(&self, module: Handle, request: *mut OidRequest) -> *mut OidRequest {
        let mut clone = core::ptr::null_mut();
        // SAFETY: the request is alive until it is completed.
        let status = unsafe { NdisAllocateCloneOidRequest(module, request, TAG, &raw mut clone) };
        if status == 0 { clone } else { core::ptr::null_mut() }
    }

    fn free_oid(&self, module: Handle, request: *mut OidRequest) {
        // SAFETY: a clone of this driver's, freed once.
        unsafe { NdisFreeCloneOidRequest(module, request) }
    }

    fn oid(&self, module: Handle, request: *mut OidRequest, direct: bool) -> Status {
        if direct {
            // SAFETY: the clone is given to NDIS until it completes.
            return unsafe { NdisFDirectOidRequest(module, request) };
        }
        // SAFETY: as above.
        unsafe { NdisFOidRequest(module, request) }
    }

    fn oid_complete(&self, module: Handle, request: *mut OidRequest, status: Status, direct: bool) {
        if direct {
            // SAFETY: the request NDIS gave, completed once.
            return unsafe { NdisFDirectOidRequestComplete(module, request, status) };
        }
        // SAFETY: as above.
        unsafe { NdisFOidRequestComplete(module, request, status) }
    }

    fn cancel_oid(&self, module: Handle, id: Ptr, direct: bool) {
        if direct {
            // SAFETY: the identifier is passed through.
            return unsafe { NdisFCancelDirectOidRequest(module, id) };
        }
        // SAFETY: as above.
        unsafe { NdisFCancelOidRequest(module, id) }
    }

    fn status(&self, module: Handle, status: *mut StatusIndication) {
        // SAFETY: the indication is passed through.
        unsafe { NdisFIndicateStatus(module, status) }
    }

    fn net_event(&self, module: Handle, event: Ptr) -> Status {
        // SAFETY: the event is passed through.
        unsafe { NdisFNetPnPEvent(module, event) }
    }

    fn device_event(&self, module: Handle, event: Ptr) {
        // SAFETY: the event is passed through.
        unsafe { NdisFDevicePnPEventNotify(module, event) }
    }
}
