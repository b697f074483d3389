//! The fields of a request that go back and forth between it and its clone.

use super::layout::{OidRequest, Ptr};

/// `NdisRequestMethod`.
const METHOD: i32 = 12;

/// Writes down in the clone what it was made of.
pub(crate) fn remember(clone: *mut OidRequest, request: *mut OidRequest) {
    let [first, _] = source(clone);
    // SAFETY: the clone is this driver's until it is freed, and these words are for its sender.
    unsafe { first.write(request.cast()) };
}

/// The two words of a request that are its sender's.
fn source(request: *mut OidRequest) -> [*mut Ptr; 2] {
    let first = request.cast::<u8>().wrapping_add(core::mem::offset_of!(OidRequest, source)).cast::<Ptr>();
    [first, first.wrapping_add(1)]
}

/// What a clone was made of.
pub(crate) fn original(clone: *mut OidRequest) -> *mut OidRequest {
    let [first, _] = source(clone);
    // SAFETY: as of `remember`.
    unsafe { first.read() }.cast()
}

/// Copies the answer back and forgets the original. `None` when the request is not a clone of this driver's.
pub(crate) fn answer(clone: *mut OidRequest) -> Option<*mut OidRequest> {
    let to = original(clone);
    if to.is_null() {
        return None;
    }
    let [first, _] = source(clone);
    // SAFETY: as of `remember`.
    unsafe { first.write(core::ptr::null_mut()) };
    // SAFETY: the clone is alive until it is freed, and every revision has these fields.
    let from = unsafe { &*clone };
    // SAFETY: the original is alive until it is completed, and every revision has these fields.
    let back = unsafe { &mut *to };
    back.supported_revision = from.supported_revision;
    if from.kind == METHOD {
        back.method_written = from.method_written;
        back.method_read = from.method_read;
        back.method_needed = from.method_needed;
    } else {
        back.done = from.done;
        back.needed = from.needed;
    }
    Some(to)
}
