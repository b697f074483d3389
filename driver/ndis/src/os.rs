//! All that a module asks of NDIS and NT: the driver gives the functions themselves, the mock gives its own.
//!
//! [`Supplies`] is the same in every binding. [`Os`] is what differs: for a filter NDIS's `NdisF…` functions, for an
//! intermediate driver the protocol's functions below and the miniport's above (`im`).
//!
//! Lists go in as owned values: what is sent, indicated, completed or given back cannot be touched any more.
//! None of these is called with a lock of this driver held, [`Levels`], [`Shares`] and [`Maps`] excepted.

use crate::sys::code::Status;
use crate::sys::layout::{Handle, Mdl, OidRequest, Ptr, StatusIndication};
use crate::sys::list::{Chain, List, Maps};
use crate::sys::lock::{Levels, Shares};

/// What is taken from NDIS and NT whoever is above and below: memory, lists, clones of requests.
pub trait Supplies: Levels + Maps + Shares + Sync {
    /// `NdisAllocateNetBufferListPool`: lists with a frame and 16 bytes of context each.
    fn new_pool(&self, module: Handle) -> Handle;
    /// `NdisFreeNetBufferListPool`.
    fn free_pool(&self, pool: Handle);
    /// `NdisAllocateNetBufferAndNetBufferList`.
    fn new_list(&self, pool: Handle, mdl: *mut Mdl, offset: u32, length: usize) -> Option<List>;
    /// `NdisFreeNetBufferList`.
    fn free_list(&self, list: List);
    /// `NdisAllocateMdl`: of non-paged memory.
    fn new_mdl(&self, module: Handle, at: *mut u8, length: u32) -> *mut Mdl;
    /// `NdisFreeMdl`.
    fn free_mdl(&self, mdl: *mut Mdl);
    /// Non-paged memory that cannot be executed, 16-aligned, zeroed; null when there is none.
    fn new_memory(&self, length: usize) -> *mut u8;
    /// Gives it back.
    fn free_memory(&self, at: *mut u8, length: usize);
    /// Has [`crate::module::Driver::wake`] called in so many milliseconds, instead of when it was asked for before. May be
    /// called with locks held.
    fn wake(&self, ms: u64);
    /// `NdisCopySendNetBufferListInfo`.
    fn copy_send_info(&self, to: &mut List, from: &List);
    /// `NdisCopyReceiveNetBufferListInfo`.
    fn copy_receive_info(&self, to: &mut List, from: &List);

    /// `NdisAllocateCloneOidRequest`.
    fn clone_oid(&self, module: Handle, request: *mut OidRequest) -> *mut OidRequest;
    /// `NdisFreeCloneOidRequest`.
    fn free_oid(&self, module: Handle, request: *mut OidRequest);
}

/// NDIS around a module: who is above it and who is below.
pub trait Os: Supplies {
    /// `NdisFSendNetBufferLists`.
    fn send(&self, module: Handle, lists: Chain, port: u32, flags: u32);
    /// `NdisFSendNetBufferListsComplete`.
    fn send_complete(&self, module: Handle, lists: Chain, flags: u32);
    /// `NdisFIndicateReceiveNetBufferLists`.
    fn indicate(&self, module: Handle, lists: Chain, port: u32, flags: u32);
    /// `NdisFIndicateReceiveNetBufferLists` with lists that stay the caller's, `NDIS_RECEIVE_FLAGS_RESOURCES` set. They
    /// are linked already.
    fn indicate_lent(&self, module: Handle, first: &List, count: u32, port: u32, flags: u32);
    /// `NdisFReturnNetBufferLists`.
    fn give_back(&self, module: Handle, lists: Chain, flags: u32);
    /// `NdisFCancelSendNetBufferLists`.
    fn cancel_send(&self, module: Handle, id: Ptr);
    /// `NdisFPauseComplete`.
    fn pause_complete(&self, module: Handle);

    /// `NdisFOidRequest`, or `NdisFDirectOidRequest`.
    fn oid(&self, module: Handle, request: *mut OidRequest, direct: bool) -> Status;
    /// `NdisFOidRequestComplete`, or `NdisFDirectOidRequestComplete`.
    fn oid_complete(&self, module: Handle, request: *mut OidRequest, status: Status, direct: bool);
    /// `NdisFCancelOidRequest`, or `NdisFCancelDirectOidRequest`.
    fn cancel_oid(&self, module: Handle, id: Ptr, direct: bool);
}

/// What a filter passes on besides; an intermediate driver has both ends of these itself.
pub trait Events: Os {
    /// `NdisFIndicateStatus`.
    fn status(&self, module: Handle, status: *mut StatusIndication);
    /// `NdisFNetPnPEvent`.
    fn net_event(&self, module: Handle, event: Ptr) -> Status;
    /// `NdisFDevicePnPEventNotify`.
    fn device_event(&self, module: Handle, event: Ptr);
}
