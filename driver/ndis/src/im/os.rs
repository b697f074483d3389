//! All that an intermediate driver asks of NDIS and NT besides [`Supplies`].
//!
//! Lists go in as owned values. None of these is called with a lock of this driver held.

use crate::os::Supplies;
use crate::sys::code::Status;
use crate::sys::layout::{Handle, Header, OidRequest, Ptr, StatusIndication};
use crate::sys::layout_im::BindParameters;
use crate::sys::list::{Chain, List};

/// NDIS below and above.
pub trait Ndis: Supplies {
    /// `NdisOpenAdapterEx` for Ethernet; the binding's handle is written to `binding` before the open completes.
    fn open(&self, adapter: Handle, parameters: *mut BindParameters, bind: Handle, binding: *mut Handle) -> Status;
    /// `NdisCloseAdapterEx`.
    fn close(&self, binding: Handle) -> Status;
    /// `NdisCompleteBindAdapterEx`.
    fn bound(&self, bind: Handle, status: Status);
    /// `NdisCompleteUnbindAdapterEx`.
    fn unbound(&self, unbind: Handle);
    /// `NdisIMInitializeDeviceInstanceEx` for the miniport that the binding's `UpperBindings` name first, when it is
    /// `named` or nothing is.
    fn start(&self, binding: Handle, adapter: Handle, named: Ptr) -> Status;
    /// `NdisIMCancelInitializeDeviceInstance` for that miniport.
    fn cancel_start(&self, binding: Handle) -> Status;
    /// `NdisIMDeInitializeDeviceInstance`.
    fn stop(&self, miniport: Handle);
    /// `NdisMSetMiniportAttributes`.
    fn set_attributes(&self, miniport: Handle, attributes: *const Header) -> Status;

    /// `NdisSendNetBufferLists`.
    fn send(&self, binding: Handle, lists: Chain, port: u32, flags: u32);
    /// `NdisReturnNetBufferLists`.
    fn give_back(&self, binding: Handle, lists: Chain, flags: u32);
    /// `NdisCancelSendNetBufferLists`.
    fn cancel_send(&self, binding: Handle, id: Ptr);
    /// `NdisOidRequest`, or `NdisDirectOidRequest`.
    fn oid(&self, binding: Handle, request: *mut OidRequest, direct: bool) -> Status;
    /// `NdisCancelOidRequest`, or `NdisCancelDirectOidRequest`.
    fn cancel_oid(&self, binding: Handle, id: Ptr, direct: bool);

    /// `NdisMSendNetBufferListsComplete`.
    fn send_complete(&self, miniport: Handle, lists: Chain, flags: u32);
    /// `NdisMIndicateReceiveNetBufferLists`.
    fn indicate(&self, miniport: Handle, lists: Chain, port: u32, flags: u32);
    /// `NdisMIndicateReceiveNetBufferLists` with lists that stay the caller's, `NDIS_RECEIVE_FLAGS_RESOURCES` set.
    fn indicate_lent(&self, miniport: Handle, first: &List, count: u32, port: u32, flags: u32);
    /// `NdisMOidRequestComplete`, or `NdisMDirectOidRequestComplete`.
    fn oid_complete(&self, miniport: Handle, request: *mut OidRequest, status: Status, direct: bool);
    /// `NdisMIndicateStatusEx`.
    fn status(&self, miniport: Handle, status: *mut StatusIndication);
    /// `NdisMPauseComplete`.
    fn pause_complete(&self, miniport: Handle);

    /// `NdisAllocateNetBufferListContext`: 16 bytes, the list's first context from now on.
    fn new_context(&self, list: &mut List) -> bool;
    /// `NdisFreeNetBufferListContext`.
    fn free_context(&self, list: &mut List);
    /// `NdisMSleep` for a moment. At `PASSIVE_LEVEL`.
    fn sleep(&self);
}
