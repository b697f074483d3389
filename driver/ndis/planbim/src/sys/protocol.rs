//! What NDIS calls of the protocol, as NDIS calls it: contexts become adapters, chains become owned lists.

use pfndis::sys::code::{FAILURE, SUCCESS, Status};
use pfndis::sys::layout::{Handle, NetBufferList, OidRequest, StatusIndication};
use pfndis::sys::layout_im::{BindParameters, NetEventNotification};
use pfndis::sys::list::Chain;
use pfndis::sys::modules::Ref;

use crate::sys::entry::{One, bindings};

/// The adapter of a context.
pub(crate) fn adapter(context: Handle) -> Option<Ref<One>> {
    pfndis::sys::place::at(context)
}

/// The lists of a chain.
pub(crate) fn chain(lists: *mut NetBufferList) -> Chain {
    // SAFETY: NDIS hands the chain over with the call.
    unsafe { Chain::from_raw(lists) }
}

/// `ProtocolBindAdapterEx`.
pub unsafe extern "C" fn bind(_: Handle, bind: Handle, parameters: *mut BindParameters) -> Status {
    bindings().map_or(FAILURE, |im| im.bind(bind, parameters))
}

/// `ProtocolUnbindAdapterEx`.
pub unsafe extern "C" fn unbind(unbind: Handle, context: Handle) -> Status {
    match (bindings(), adapter(context)) {
        (Some(im), Some(adapter)) => im.unbind(adapter, unbind),
        _ => SUCCESS,
    }
}

/// `ProtocolOpenAdapterCompleteEx`.
pub unsafe extern "C" fn open_complete(context: Handle, status: Status) {
    if let (Some(im), Some(adapter)) = (bindings(), adapter(context)) {
        im.open_complete(adapter, status);
    }
}

/// `ProtocolCloseAdapterCompleteEx`.
pub unsafe extern "C" fn close_complete(context: Handle) {
    if let (Some(im), Some(adapter)) = (bindings(), adapter(context)) {
        im.close_complete(adapter);
    }
}

/// `ProtocolNetPnPEvent`.
pub unsafe extern "C" fn net_event(context: Handle, event: *mut NetEventNotification) -> Status {
    bindings().map_or(SUCCESS, |im| im.net_event(adapter(context), event))
}

/// `ProtocolOidRequestComplete`.
pub unsafe extern "C" fn oid_complete(context: Handle, request: *mut OidRequest, status: Status) {
    if let Some(adapter) = adapter(context) {
        adapter.get().answered(request, status, false);
    }
}

/// `ProtocolDirectOidRequestComplete`.
pub unsafe extern "C" fn direct_oid_complete(context: Handle, request: *mut OidRequest, status: Status) {
    if let Some(adapter) = adapter(context) {
        adapter.get().answered(request, status, true);
    }
}

/// `ProtocolStatusEx`.
pub unsafe extern "C" fn status(context: Handle, indication: *mut StatusIndication) {
    if let Some(adapter) = adapter(context) {
        adapter.get().status(indication);
    }
}

/// `ProtocolReceiveNetBufferLists`.
pub unsafe extern "C" fn receive(context: Handle, lists: *mut NetBufferList, port: u32, _: u32, flags: u32) {
    if let Some(adapter) = adapter(context) {
        adapter.get().receive(chain(lists), port, flags);
    }
}

/// `ProtocolSendNetBufferListsComplete`.
pub unsafe extern "C" fn send_complete(context: Handle, lists: *mut NetBufferList, flags: u32) {
    if let Some(adapter) = adapter(context) {
        adapter.get().sent(chain(lists), flags);
    }
}
