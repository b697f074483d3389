//! What NDIS calls, as NDIS calls it: contexts become modules, chains become owned lists.

use pfimage::sys::entry::{Driver, Image};
use pfndis::judge::Adapter;
use pfndis::module::{Module, readable};
use pfndis::sys::code::{FAILURE, INVALID_PARAMETER, SUCCESS, Status, TYPE_ATTACH_PARAMETERS, TYPE_FILTER_ATTRIBUTES};
use pfndis::sys::layout::{
    AttachParameters, FilterAttributes, Handle, Header, NetBufferList, OidRequest, PauseParameters, Ptr,
    RestartParameters, StatusIndication, size,
};
use pfndis::sys::list::Chain;
use pfndis::sys::modules::Ref;

use crate::sys::entry::Planb;
use crate::sys::ndis::NdisFSetAttributes;

/// A module of this driver.
type One = Module<crate::sys::ndis::Nt, pfndis::gateway::Gateway<pfimage::platform::Windows>>;

/// Longest packet of an adapter that does not say.
const MTU: u32 = 1500;
/// `OID_GEN_MINIPORT_RESTART_ATTRIBUTES`.
const RESTART_ATTRIBUTES: u32 = 0x1_021D;
/// Restart attributes looked through at most.
const MOST_ATTRIBUTES: usize = 64;

/// The module of a context.
fn module(context: Handle) -> Option<Ref<One>> {
    // SAFETY: NDIS gives the context that `attach` set, between it and `detach`.
    unsafe { Ref::from_raw(context.0) }
}

/// The lists of a chain.
fn chain(lists: *mut NetBufferList) -> Chain {
    // SAFETY: NDIS hands the chain over with the call.
    unsafe { Chain::from_raw(lists) }
}

/// What is known of an adapter.
fn adapter(parameters: &AttachParameters) -> Adapter {
    let [a, b, c, d, e, f, ..] = parameters.mac;
    Adapter { if_index: parameters.base_if_index, luid: parameters.base_luid, mac: [a, b, c, d, e, f], mtu: MTU }
}

/// `FilterAttach`.
pub unsafe extern "C" fn attach(handle: Handle, _: Handle, parameters: *mut AttachParameters) -> Status {
    // SAFETY: NDIS's parameters live through the call; the header comes first in every revision.
    let header = unsafe { (*parameters).header };
    if header.kind != TYPE_ATTACH_PARAMETERS || header.size < size::ATTACH_6_20 {
        return INVALID_PARAMETER;
    }
    // SAFETY: as above; the fields read lie within the revision that was asked for.
    let parameters = unsafe { &*parameters };
    if let Err(status) = readable(parameters.medium) {
        return status;
    }
    let Some(driver) = Planb::driver() else { return FAILURE };
    match driver.attach(handle, adapter(parameters)) {
        Ok(module) => announce(driver, handle, module),
        Err(status) => status,
    }
}

/// Tells NDIS the module's context.
fn announce(driver: &Driver<Planb>, handle: Handle, module: Ref<One>) -> Status {
    let header = Header { kind: TYPE_FILTER_ATTRIBUTES, revision: 1, size: size::FILTER_ATTRIBUTES };
    let mut attributes = FilterAttributes { header, flags: 0 };
    // SAFETY: called from the attach handler with its handle.
    let status = unsafe { NdisFSetAttributes(handle, Handle(module.as_ptr()), &raw mut attributes) };
    if status != SUCCESS {
        driver.detach(module);
    }
    status
}

/// `FilterDetach`.
pub unsafe extern "C" fn detach(context: Handle) {
    if let (Some(driver), Some(module)) = (Planb::driver(), module(context)) {
        driver.detach(module);
    }
}

/// A restart attribute, read field by field: what stands behind it is as long as it says.
#[repr(C)]
struct Attribute {
    next: *mut Attribute,
    oid: u32,
    length: u32,
    data: [u32; 2],
}

/// The MTU among restart attributes.
fn mtu(parameters: *mut RestartParameters) -> u32 {
    if parameters.is_null() {
        return MTU;
    }
    // SAFETY: NDIS's parameters live through the call.
    let mut next = unsafe { (*parameters).attributes }.cast::<Attribute>();
    for _ in 0..MOST_ATTRIBUTES {
        // SAFETY: each attribute of the chain lives through the call.
        let Some(one) = (unsafe { next.as_ref() }) else { break };
        if one.oid == RESTART_ATTRIBUTES && one.length >= 8 {
            // The header, then MtuSize.
            let [_, mtu] = one.data;
            return mtu;
        }
        next = one.next;
    }
    MTU
}

/// `FilterRestart`.
pub unsafe extern "C" fn restart(context: Handle, parameters: *mut RestartParameters) -> Status {
    module(context).map_or(FAILURE, |m| m.get().restart(mtu(parameters)))
}

/// `FilterPause`.
pub unsafe extern "C" fn pause(context: Handle, _: *mut PauseParameters) -> Status {
    module(context).map_or(FAILURE, |m| m.get().pause())
}

/// `FilterSendNetBufferLists`.
pub unsafe extern "C" fn send(context: Handle, lists: *mut NetBufferList, port: u32, flags: u32) {
    if let Some(module) = module(context) {
        module.get().send(chain(lists), port, flags);
    }
}

/// `FilterSendNetBufferListsComplete`.
pub unsafe extern "C" fn send_complete(context: Handle, lists: *mut NetBufferList, flags: u32) {
    if let Some(module) = module(context) {
        module.get().send_complete(chain(lists), flags);
    }
}

/// `FilterCancelSendNetBufferLists`.
pub unsafe extern "C" fn cancel_send(context: Handle, id: Ptr) {
    if let Some(module) = module(context) {
        module.get().cancel_send(id);
    }
}

/// `FilterReceiveNetBufferLists`.
pub unsafe extern "C" fn receive(context: Handle, lists: *mut NetBufferList, port: u32, _: u32, flags: u32) {
    if let Some(module) = module(context) {
        module.get().receive(chain(lists), port, flags);
    }
}

/// `FilterReturnNetBufferLists`.
pub unsafe extern "C" fn give_back(context: Handle, lists: *mut NetBufferList, flags: u32) {
    if let Some(module) = module(context) {
        module.get().give_back(chain(lists), flags);
    }
}

/// `FilterOidRequest`.
pub unsafe extern "C" fn oid(context: Handle, request: *mut OidRequest) -> Status {
    module(context).map_or(FAILURE, |m| m.get().oid(request, false))
}

/// `FilterOidRequestComplete`.
pub unsafe extern "C" fn oid_complete(context: Handle, request: *mut OidRequest, status: Status) {
    if let Some(module) = module(context) {
        module.get().oid_complete(request, status, false);
    }
}

/// `FilterCancelOidRequest`.
pub unsafe extern "C" fn cancel_oid(context: Handle, id: Ptr) {
    if let Some(module) = module(context) {
        module.get().cancel_oid(id, false);
    }
}

/// `FilterDirectOidRequest`.
pub unsafe extern "C" fn direct_oid(context: Handle, request: *mut OidRequest) -> Status {
    module(context).map_or(FAILURE, |m| m.get().oid(request, true))
}

/// `FilterDirectOidRequestComplete`.
pub unsafe extern "C" fn direct_oid_complete(context: Handle, request: *mut OidRequest, status: Status) {
    if let Some(module) = module(context) {
        module.get().oid_complete(request, status, true);
    }
}

/// `FilterCancelDirectOidRequest`.
pub unsafe extern "C" fn cancel_direct_oid(context: Handle, id: Ptr) {
    if let Some(module) = module(context) {
        module.get().cancel_oid(id, true);
    }
}

/// `FilterStatus`.
pub unsafe extern "C" fn status(context: Handle, indication: *mut StatusIndication) {
    if let Some(module) = module(context) {
        module.get().status(indication);
    }
}

/// `FilterNetPnPEvent`.
pub unsafe extern "C" fn net_event(context: Handle, event: Ptr) -> Status {
    module(context).map_or(FAILURE, |m| m.get().net_event(event))
}

/// `FilterDevicePnPEventNotify`.
pub unsafe extern "C" fn device_event(context: Handle, event: Ptr) {
    if let Some(module) = module(context) {
        module.get().device_event(event);
    }
}
