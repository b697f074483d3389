//! The functions of NDIS a filter imports besides [`crate::exports`].

use pfndis::sys::layout::{
    FilterAttributes, FilterCharacteristics, Handle, NetBufferList, OidRequest, Ptr, StatusIndication,
};

use crate::exports::{FAILURE, PENDING, SUCCESS, close_mock, open_mock};
use crate::nt::DriverObject;
use crate::orders;
use crate::state::{MODULES, Place, module, with};
use crate::way::{answered, home, indicated, onward, paused, said};

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFRegisterFilterDriver(
    driver: *mut DriverObject,
    _: Handle,
    filter: *mut FilterCharacteristics,
    out: *mut Handle,
) -> i32 {
    let filter = unsafe { *filter };
    let head = filter.head.header;
    if head.size != 224 || head.revision != 2 || filter.attach.is_none() || filter.pause.is_none() {
        return FAILURE;
    }
    let status = unsafe { open_mock(driver) };
    if status != SUCCESS {
        return status;
    }
    with(|s| (s.filter, s.registered, s.im) = (filter, true, false));
    unsafe { *out = Handle(core::ptr::without_provenance_mut(0x10)) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFDeregisterFilterDriver(_: Handle) {
    for n in 0..MODULES {
        unsafe { orders::detach(n) };
    }
    unsafe { close_mock() };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFSetAttributes(m: Handle, context: Handle, _: *mut FilterAttributes) -> i32 {
    with(|s| s.modules[module(m)].context = context);
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisFPauseComplete(m: Handle) {
    paused(m);
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFSendNetBufferLists(m: Handle, lists: *mut NetBufferList, _: u32, _: u32) {
    unsafe { onward(m, lists, 1, Place::Below) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFIndicateReceiveNetBufferLists(
    m: Handle,
    lists: *mut NetBufferList,
    _: u32,
    _: u32,
    flags: u32,
) {
    unsafe { indicated(m, lists, flags) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFSendNetBufferListsComplete(m: Handle, lists: *mut NetBufferList, _: u32) {
    unsafe { home(m, lists, 3) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFReturnNetBufferLists(m: Handle, lists: *mut NetBufferList, _: u32) {
    unsafe { home(m, lists, 4) };
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisFCancelSendNetBufferLists(_: Handle, _: Ptr) {}

/// Requests come back later: the order that sent one completes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFOidRequest(m: Handle, request: *mut OidRequest) -> i32 {
    unsafe { orders::requested(module(m), request) };
    PENDING
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFOidRequestComplete(m: Handle, request: *mut OidRequest, status: i32) {
    unsafe { answered(m, request, status) };
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisFCancelOidRequest(_: Handle, _: Ptr) {}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFDirectOidRequest(m: Handle, request: *mut OidRequest) -> i32 {
    unsafe { NdisFOidRequest(m, request) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFDirectOidRequestComplete(m: Handle, request: *mut OidRequest, status: i32) {
    unsafe { NdisFOidRequestComplete(m, request, status) };
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisFCancelDirectOidRequest(_: Handle, _: Ptr) {}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFIndicateStatus(m: Handle, status: *mut StatusIndication) {
    unsafe { said(m, status) };
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisFNetPnPEvent(_: Handle, _: Ptr) -> i32 {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisFDevicePnPEventNotify(_: Handle, _: Ptr) {}
