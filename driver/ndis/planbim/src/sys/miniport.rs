//! What NDIS calls of the miniports, as NDIS calls it.
//!
//! The device stands while there is a miniport: one that stood on the driver's own would keep it from being unloaded.

use pfndis::sys::code::{FAILURE, INVALID_PARAMETER, SUCCESS, Status};
use pfndis::sys::code_im::TYPE_INIT;
use pfndis::sys::layout::{Handle, NetBufferList, OidRequest, Ptr};
use pfndis::sys::layout_im::{InitParameters, size};

use crate::sys::entry::{leave, visit};
use crate::sys::protocol::{adapter, chain};

/// `MiniportInitializeEx`.
pub unsafe extern "C" fn initialize(miniport: Handle, _: Handle, parameters: *mut InitParameters) -> Status {
    // SAFETY: NDIS's parameters live through the call.
    let Some(parameters) = (unsafe { parameters.as_ref() }) else { return INVALID_PARAMETER };
    if parameters.header.kind != TYPE_INIT || parameters.header.size < size::INIT {
        return INVALID_PARAMETER;
    }
    let Some(adapter) = adapter(parameters.instance) else { return INVALID_PARAMETER };
    let status = visit();
    if status != SUCCESS {
        adapter.get().not_initialized();
        return status;
    }
    let status = adapter.get().initialize(miniport, parameters.if_index, parameters.luid);
    if status != SUCCESS {
        leave();
    }
    status
}

/// `MiniportHaltEx`.
pub unsafe extern "C" fn halt(context: Handle, _: i32) {
    if let Some(adapter) = adapter(context) {
        adapter.get().halt();
        leave();
    }
}

/// `MiniportPause`.
pub unsafe extern "C" fn pause(context: Handle, _: Ptr) -> Status {
    adapter(context).map_or(FAILURE, |a| a.get().pause())
}

/// `MiniportRestart`.
pub unsafe extern "C" fn restart(context: Handle, _: Ptr) -> Status {
    adapter(context).map_or(FAILURE, |a| a.get().restart())
}

/// `MiniportSendNetBufferLists`.
pub unsafe extern "C" fn send(context: Handle, lists: *mut NetBufferList, port: u32, flags: u32) {
    if let Some(adapter) = adapter(context) {
        adapter.get().send(chain(lists), port, flags);
    }
}

/// `MiniportReturnNetBufferLists`.
pub unsafe extern "C" fn give_back(context: Handle, lists: *mut NetBufferList, flags: u32) {
    if let Some(adapter) = adapter(context) {
        adapter.get().returned(chain(lists), flags);
    }
}

/// `MiniportCancelSend`.
pub unsafe extern "C" fn cancel_send(context: Handle, id: Ptr) {
    if let Some(adapter) = adapter(context) {
        adapter.get().cancel_send(id);
    }
}

/// `MiniportOidRequest`.
pub unsafe extern "C" fn oid(context: Handle, request: *mut OidRequest) -> Status {
    adapter(context).map_or(FAILURE, |a| a.get().oid(request, false))
}

/// `MiniportCancelOidRequest`.
pub unsafe extern "C" fn cancel_oid(context: Handle, id: Ptr) {
    if let Some(adapter) = adapter(context) {
        adapter.get().cancel_oid(id, false);
    }
}

/// `MiniportDirectOidRequest`.
pub unsafe extern "C" fn direct_oid(context: Handle, request: *mut OidRequest) -> Status {
    adapter(context).map_or(FAILURE, |a| a.get().oid(request, true))
}

/// `MiniportCancelDirectOidRequest`.
pub unsafe extern "C" fn cancel_direct_oid(context: Handle, id: Ptr) {
    if let Some(adapter) = adapter(context) {
        adapter.get().cancel_oid(id, true);
    }
}

/// `MiniportDevicePnPEventNotify`: there is no device behind the miniport.
pub unsafe extern "C" fn device_event(_: Handle, _: Ptr) {}

/// `MiniportShutdownEx`: there is no hardware to silence.
pub unsafe extern "C" fn shutdown(_: Handle, _: i32) {}
