//! NDIS's functions for filters, as ndis.sys exports them, and [`Nt`], which gives them to the filter.

use pfndis::os::{Events, Os};
use pfndis::sys::code::{RECEIVE_RESOURCES, Status};
use pfndis::sys::layout::{
    AttachParameters, FilterAttributes, FilterCharacteristics, Handle, NetBufferList, OidRequest, Ptr, StatusIndication,
};
use pfndis::sys::list::{Chain, List};
use wdk_sys::DRIVER_OBJECT;

const _: () = assert!(size_of::<AttachParameters>() == 224);

#[allow(missing_docs, reason = "NDIS's own names and prototypes")]
unsafe extern "C" {
    pub fn NdisFRegisterFilterDriver(
        driver: *mut DRIVER_OBJECT,
        context: Handle,
        characteristics: *mut FilterCharacteristics,
        handle: *mut Handle,
    ) -> Status;
    pub fn NdisFDeregisterFilterDriver(handle: Handle);
    pub fn NdisFSetAttributes(module: Handle, context: Handle, attributes: *mut FilterAttributes) -> Status;
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
    fn NdisFIndicateStatus(module: Handle, status: *mut StatusIndication);
    fn NdisFNetPnPEvent(module: Handle, event: Ptr) -> Status;
    fn NdisFDevicePnPEventNotify(module: Handle, event: Ptr);
}

/// Windows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nt;

pfimage::supplies!(Nt);

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
}

impl Events for Nt {
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
