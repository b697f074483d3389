//! Requests on their way through: cloned, sent on, their answers copied back, completed once.
//!
//! NDIS requires that a filter sends its own request on, not the one it was given. The clone keeps the original's address
//! where a sender may keep something; answer and lengths go back when it completes.
//!
//! Source: NDIS's rules for filter drivers; see `FilterOidRequest`.

use crate::os::Os;
use crate::sys::code::{FAILURE, PENDING, RESOURCES, Status};
use crate::sys::layout::{Handle, OidRequest, Ptr};
use crate::sys::requests::{answer, remember};

/// A request from above. What it answers is what NDIS is told; when it is `PENDING`, the completion comes later.
pub fn forward<O: Os>(os: &O, module: Handle, request: *mut OidRequest, direct: bool) -> Status {
    let clone = os.clone_oid(module, request);
    if clone.is_null() {
        return RESOURCES;
    }
    remember(clone, request);
    let status = os.oid(module, clone, direct);
    if status != PENDING {
        let back = answer(clone);
        os.free_oid(module, clone);
        return if back.is_some() { status } else { FAILURE };
    }
    PENDING
}

/// The request sent on is done.
pub fn completed<O: Os>(os: &O, module: Handle, clone: *mut OidRequest, status: Status, direct: bool) {
    let Some(request) = answer(clone) else { return };
    os.free_oid(module, clone);
    os.oid_complete(module, request, status, direct);
}

/// Whoever sent a request wants it back: the clone has the same identifier.
pub fn cancelled<O: Os>(os: &O, module: Handle, id: Ptr, direct: bool) {
    os.cancel_oid(module, id, direct);
}
