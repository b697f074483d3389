//! What an intermediate driver keeps where NDIS keeps its contexts: adapters behind handles, sources behind lists, copies
//! of what NDIS only shows.

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::layout::{Handle, Header, OidRequest, Ptr, StatusIndication};
use super::layout_im::{BindParameters, LinkState, NetEventNotification};
use super::list::List;
use super::modules::Ref;

/// A handle that others read while it is set.
#[derive(Debug)]
pub struct Held(AtomicPtr<c_void>);

impl Default for Held {
    fn default() -> Self {
        Self::new()
    }
}

impl Held {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// The handle, none at first.
    #[must_use]
    pub fn get(&self) -> Handle {
        Handle(self.0.load(Ordering::Acquire))
    }

    /// Sets it.
    pub fn set(&self, handle: Handle) {
        self.0.store(handle.0, Ordering::Release);
    }

    /// Where NDIS is to write it.
    #[must_use]
    pub const fn place(&self) -> *mut Handle {
        self.0.as_ptr().cast()
    }
}

/// The address of a value that comes and goes. **Invariant:** it is read by those alone whom the value waits for.
#[derive(Debug)]
pub struct Kept<T>(AtomicPtr<T>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Kept<T> {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> Option<Ref<T>> {
        at(Handle(self.0.load(Ordering::Acquire).cast()))
    }

    /// Sets it.
    pub fn set(&self, value: Option<Ref<T>>) {
        self.0.store(value.map_or(core::ptr::null_mut(), Ref::as_ptr).cast(), Ordering::Release);
    }
}

/// The value behind a handle of this driver's making: [`handle`]'s.
#[must_use]
pub fn at<T>(handle: Handle) -> Option<Ref<T>> {
    // SAFETY: handles of this driver's making are addresses of values that stay as long as the handle is used.
    unsafe { Ref::from_raw(handle.0) }
}

/// A value's address as a handle.
#[must_use]
pub const fn handle<T>(value: Ref<T>) -> Handle {
    Handle(value.as_ptr())
}

/// Notes in the context made for that who a list's source is, and sets another.
pub(crate) fn lend(list: &mut List, source: Handle) {
    let before = list.source();
    // SAFETY: a context of 16 bytes was just made for this list.
    unsafe { list.context().write(before.0) };
    list.set_source(source);
}

/// Sets the source that was noted.
pub(crate) fn restore(list: &mut List) {
    // SAFETY: the context `lend` wrote to is the list's first again: those made since are gone.
    let before = unsafe { list.context().read() };
    list.set_source(Handle(before));
}

/// Sets the source of a list that is only lent, and gives the one before.
pub(crate) fn swap_source(list: &List, source: Handle) -> Handle {
    // SAFETY: the list is alive, and its source is for whoever has it.
    unsafe { core::mem::replace(&mut (*list.as_ptr()).source, source) }
}

/// An object that NDIS shows, copied: `N` words at most.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Object<const N: usize> {
    words: [u32; N],
    length: usize,
}

impl<const N: usize> Object<N> {
    /// Copies an object of a kind. `None` when there is none, it is another, or longer.
    #[must_use]
    pub(crate) fn of(object: *const Header, kind: u8) -> Option<Self> {
        // SAFETY: NDIS shows an object that begins with a header, or nothing.
        let header = unsafe { object.as_ref() }?;
        let length = usize::from(header.size);
        if header.kind != kind || length < size_of::<Header>() || length > N.checked_mul(4)? {
            return None;
        }
        let mut copy = Self { words: [0; N], length };
        // SAFETY: the object is as long as its header says, and the copy has room for that.
        unsafe { core::ptr::copy_nonoverlapping(object.cast::<u8>(), copy.words.as_mut_ptr().cast(), length) };
        Some(copy)
    }

    /// The copy.
    #[must_use]
    pub const fn as_ptr(&self) -> *const Header {
        self.words.as_ptr().cast()
    }

    /// Bytes of it.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }
}

/// The parameters of a bind, when they are what they should be.
#[must_use]
pub(crate) fn bind<'p>(parameters: *mut BindParameters) -> Option<&'p BindParameters> {
    // SAFETY: NDIS's parameters live through the call, and have a header.
    let header = unsafe { parameters.cast::<Header>().as_ref() }?;
    if header.kind != super::code_im::TYPE_BIND || header.size < super::layout_im::size::BIND_6_0 {
        return None;
    }
    // SAFETY: the memory is the kernel's pool or stack; of what lies behind the first revision nothing is read.
    unsafe { parameters.as_ref() }
}

/// What a status says: its code, what goes with it and how long that is.
pub(crate) fn said(indication: *const StatusIndication) -> Option<(super::code::Status, Ptr, u32)> {
    // SAFETY: NDIS's indication lives through the call; every revision has these fields.
    unsafe { indication.as_ref() }.map(|i| (i.code, i.buffer, i.length))
}

/// The state of a link that goes with a status.
pub(crate) fn link(buffer: Ptr, length: u32) -> Option<LinkState> {
    let enough = usize::try_from(length).is_ok_and(|n| n >= size_of::<LinkState>());
    // SAFETY: the buffer is that long; it need not be aligned.
    (enough && !buffer.is_null()).then(|| unsafe { buffer.cast::<LinkState>().read_unaligned() })
}

/// The number that goes with a power event or request.
pub(crate) fn word(buffer: Ptr, length: u32) -> Option<u32> {
    // SAFETY: the buffer is that long; it need not be aligned.
    (length >= 4 && !buffer.is_null()).then(|| unsafe { buffer.cast::<u32>().read_unaligned() })
}

/// What an event is: its code, what goes with it and how long that is.
pub(crate) fn event(event: *const NetEventNotification) -> Option<(i32, Ptr, u32)> {
    // SAFETY: NDIS's event lives through the call; every revision has these fields.
    unsafe { event.as_ref() }.map(|e| (e.event, e.buffer, e.length))
}

/// What a request asks: its kind, what it is about, its buffer.
pub(crate) fn asked(request: *const OidRequest) -> Option<(i32, u32, Ptr, u32)> {
    // SAFETY: NDIS's request lives until it is completed; every revision has these fields.
    unsafe { request.as_ref() }.map(|r| (r.kind, r.oid, r.buffer, r.length))
}

/// Says how much of a request's buffer was read or written, and how much is needed.
pub(crate) fn answered(request: *mut OidRequest, done: u32, needed: u32) {
    // SAFETY: NDIS's request lives until it is completed; every revision has these fields.
    if let Some(request) = unsafe { request.as_mut() } {
        (request.done, request.needed) = (done, needed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_copied_by_its_own_length() {
        let object = [u32::from_le_bytes([0xA7, 3, 12, 0]), 7, 9, 0xEEEE];
        let copy = Object::<4>::of(object.as_ptr().cast(), 0xA7).unwrap();
        assert_eq!((copy.words, copy.length()), ([object[0], 7, 9, 0], 12));
        assert!(Object::<4>::of(object.as_ptr().cast(), 0xA6).is_none(), "another kind");
        assert!(Object::<2>::of(object.as_ptr().cast(), 0xA7).is_none(), "longer than there is room");
        assert!(Object::<4>::of(core::ptr::null(), 0xA7).is_none());
    }

    #[test]
    fn what_is_too_short_is_not_read() {
        let word_of = |n: &mut u32, length| word((&raw mut *n).cast(), length);
        assert_eq!((word_of(&mut 4, 4), word_of(&mut 4, 3), word(core::ptr::null_mut(), 4)), (Some(4), None, None));
        let mut short = [0_u8; 39];
        assert!(link((&raw mut short).cast(), 39).is_none());
    }
}
