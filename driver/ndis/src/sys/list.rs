//! Buffer lists as values that have one owner.
//!
//! [`List`] is one `NET_BUFFER_LIST`, [`Chain`] several, linked as NDIS links them. Neither can be copied: whoever has
//! one sends it, indicates it, completes it or gives it back, once. Both are made from raw pointers by the callbacks
//! alone, which NDIS calls with lists it hands over.
//!
//! **Invariant:** a list is owned by whoever holds its value; no two values name the same list.

use core::ptr::NonNull;

use super::code::{Status, info};
use super::layout::{Handle, ListContext, Mdl, NetBuffer, NetBufferList, Ptr};

/// One buffer list.
#[derive(Debug)]
#[must_use]
pub struct List(NonNull<NetBufferList>);

// SAFETY: NDIS hands lists from thread to thread; the value is the only way to one.
unsafe impl Send for List {}

/// Lists in a row.
#[derive(Debug)]
#[must_use]
pub struct Chain {
    head: *mut NetBufferList,
    tail: *mut NetBufferList,
    count: u32,
}

// SAFETY: as of `List`.
unsafe impl Send for Chain {}

/// A frame of a list one has.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'l> {
    buffer: NonNull<NetBuffer>,
    _list: core::marker::PhantomData<&'l List>,
}

/// What maps a piece of memory that is not mapped yet.
pub trait Maps {
    /// Its address, null when there is none: `MmMapLockedPagesSpecifyCache`.
    fn map(&self, mdl: *mut Mdl) -> *mut u8;
}

/// `MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL`.
const MAPPED: i16 = 1 | 4;

impl List {
    /// Takes ownership of a list.
    ///
    /// # Safety
    /// The pointer is null or names a list that the caller was handed and nobody else uses.
    pub unsafe fn from_raw(list: *mut NetBufferList) -> Option<Self> {
        NonNull::new(list).map(Self)
    }

    /// Gives ownership away.
    #[must_use]
    pub fn into_raw(self) -> *mut NetBufferList {
        self.0.as_ptr()
    }

    /// The pointer, to look at or to pass to a function that does not take the list away.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut NetBufferList {
        self.0.as_ptr()
    }

    const fn get(&self) -> &NetBufferList {
        // SAFETY: the list is alive and this value its owner.
        unsafe { self.0.as_ref() }
    }

    const fn get_mut(&mut self) -> &mut NetBufferList {
        // SAFETY: the list is alive and this value its owner.
        unsafe { self.0.as_mut() }
    }

    /// Who made it.
    #[must_use]
    pub const fn source(&self) -> Handle {
        self.get().source
    }

    /// The pool it is of.
    #[must_use]
    pub const fn pool(&self) -> Handle {
        self.get().pool
    }

    /// Says who made it.
    pub const fn set_source(&mut self, source: Handle) {
        self.get_mut().source = source;
    }

    /// What became of it.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.get().status
    }

    /// Says what became of it.
    pub const fn set_status(&mut self, status: Status) {
        self.get_mut().status = status;
    }

    /// Out-of-band data of a place NDIS 6.30 has.
    #[must_use]
    pub fn info(&self, place: usize) -> usize {
        self.get().info.get(place).map_or(0, |p| p.addr())
    }

    /// Sets it.
    pub fn set_info(&mut self, place: usize, value: usize) {
        if let Some(p) = self.get_mut().info.get_mut(place) {
            *p = core::ptr::without_provenance_mut(value);
        }
    }

    /// Clears all of it.
    pub fn clear_info(&mut self) {
        for place in 0..info::COUNT {
            self.set_info(place, 0);
        }
    }

    /// Its frames, at most as many as a list may sensibly have.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let mut next = self.get().first;
        core::iter::from_fn(move || {
            let buffer = NonNull::new(next)?;
            // SAFETY: the frames of a list are alive as long as it is.
            next = unsafe { (*buffer.as_ptr()).next };
            Some(Frame { buffer, _list: core::marker::PhantomData })
        })
        .take(MOST_FRAMES)
    }

    /// How many frames made of this one are under way: the field of the list meant for that.
    pub fn set_children(&mut self, n: i32) {
        self.get_mut().children = n;
    }

    /// The place in its context where its maker keeps a pointer; null when there is no context.
    #[must_use]
    pub fn context(&self) -> *mut Ptr {
        let context = self.get().context;
        if context.is_null() {
            return core::ptr::null_mut();
        }
        // SAFETY: a list's context is alive as long as the list.
        let offset = unsafe { (*context).offset };
        context.cast::<u8>().wrapping_add(size_of::<ListContext>()).wrapping_add(usize::from(offset)).cast()
    }
}

/// Frames of one list that are looked at; a longer list is refused.
pub const MOST_FRAMES: usize = 4096;
/// Pieces of one frame that are looked at.
const MOST_PIECES: usize = 1024;

impl<'l> Frame<'l> {
    fn get(&self) -> &'l NetBuffer {
        // SAFETY: the list this frame is of is borrowed for as long.
        unsafe { self.buffer.as_ref() }
    }

    /// Bytes of it.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.get().length).unwrap_or(usize::MAX)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.get().length == 0
    }

    /// Its bytes, piece by piece. `None` in place of a piece that cannot be mapped, and when the pieces end before the
    /// frame does.
    pub fn pieces<M: Maps>(&self, maps: &'l M) -> impl Iterator<Item = Option<&'l [u8]>> {
        let nb = self.get();
        let mut mdl = nb.current_mdl;
        let mut skip = usize::try_from(nb.current_mdl_offset).unwrap_or(usize::MAX);
        let mut left = self.len();
        let mut turns = MOST_PIECES;
        core::iter::from_fn(move || {
            while left > 0 {
                let Some(piece) = NonNull::new(mdl).filter(|_| turns > 0) else {
                    left = 0;
                    return Some(None);
                };
                turns = turns.saturating_sub(1);
                // SAFETY: the pieces of a frame are alive as long as it is.
                let m = unsafe { piece.as_ref() };
                mdl = m.next;
                let count = usize::try_from(m.count).unwrap_or(0);
                let usable = count.saturating_sub(skip).min(left);
                let from = skip.min(count);
                skip = skip.saturating_sub(count);
                if usable == 0 {
                    continue;
                }
                let base = if m.flags & MAPPED != 0 { m.mapped } else { maps.map(piece.as_ptr()) };
                if base.is_null() {
                    left = 0;
                    return Some(None);
                }
                left = left.saturating_sub(usable);
                // SAFETY: the piece is mapped for all of its `count` bytes, of which these are some.
                return Some(Some(unsafe { core::slice::from_raw_parts(base.wrapping_add(from), usable) }));
            }
            None
        })
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl Chain {
    /// No lists.
    pub const fn new() -> Self {
        Self { head: core::ptr::null_mut(), tail: core::ptr::null_mut(), count: 0 }
    }

    /// Takes ownership of a chain.
    ///
    /// # Safety
    /// The pointer is null or names the first of lists the caller was handed and nobody else uses.
    pub unsafe fn from_raw(head: *mut NetBufferList) -> Self {
        let mut chain = Self::new();
        let mut next = head;
        while let Some(list) = NonNull::new(next) {
            // SAFETY: the chain is the caller's.
            next = unsafe { (*list.as_ptr()).next };
            chain.tail = list.as_ptr();
            chain.count = chain.count.saturating_add(1);
        }
        chain.head = head;
        chain
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.count
    }

    /// Takes the first one.
    pub fn pop(&mut self) -> Option<List> {
        let list = NonNull::new(self.head)?;
        // SAFETY: the chain's lists are alive and its own.
        let first = unsafe { &mut *list.as_ptr() };
        self.head = core::mem::replace(&mut first.next, core::ptr::null_mut());
        if self.head.is_null() {
            self.tail = core::ptr::null_mut();
        }
        self.count = self.count.saturating_sub(1);
        Some(List(list))
    }

    /// Puts one at the end.
    pub fn push(&mut self, mut list: List) {
        list.get_mut().next = core::ptr::null_mut();
        let list = list.into_raw();
        match NonNull::new(self.tail) {
            // SAFETY: the chain's lists are alive and its own.
            Some(tail) => unsafe { (*tail.as_ptr()).next = list },
            None => self.head = list,
        }
        self.tail = list;
        self.count = self.count.saturating_add(1);
    }

    /// Puts all of another chain at the end.
    pub fn append(&mut self, mut other: Self) {
        while let Some(list) = other.pop() {
            self.push(list);
        }
    }

    /// Sets what became of each.
    pub fn set_status(&mut self, status: Status) {
        let mut next = self.head;
        while let Some(list) = NonNull::new(next) {
            // SAFETY: the chain's lists are alive and its own.
            let list = unsafe { &mut *list.as_ptr() };
            list.status = status;
            next = list.next;
        }
    }

    /// Gives ownership away: the first list, null when there is none.
    #[must_use]
    pub fn into_raw(self) -> *mut NetBufferList {
        self.head
    }
}
