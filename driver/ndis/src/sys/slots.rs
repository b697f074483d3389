//! Buffer lists of our own over memory of our own, as they lie in a free list.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicI32, Ordering};

use alloc::vec::Vec;

use super::layout::{Handle, Mdl, NetBufferList, Ptr};
use super::list::List;
use super::lock::Locked;
use super::modules::Ref;
use crate::os::Supplies;

/// What stands at the head of a frame's memory; its list's context names it.
struct Record {
    mdl: *mut Mdl,
    list: *mut NetBufferList,
    /// The list this frame was made of, or null.
    parent: *mut NetBufferList,
    /// The module it is to leave by, when it is staged.
    module: Ptr,
    /// Bytes behind the record.
    bytes: u32,
    /// Whether it is to leave upwards, when it is staged.
    up: bool,
}

/// Bytes of the record, with the data behind it 16-aligned.
const HEAD: usize = 48;
const _: () = assert!(size_of::<Record>() <= HEAD);

/// A frame that is out of the free list, before it is a list.
#[derive(Debug)]
pub struct Slot(NonNull<Record>);

// SAFETY: a slot is the only way to its memory.
unsafe impl Send for Slot {}

/// Frames of one size.
#[derive(Debug)]
pub struct Slots {
    free: Locked<Vec<Slot>>,
    all: usize,
    bytes: u32,
}

impl Slots {
    /// Takes `count` frames. `None`, with nothing kept, when there is no room.
    pub fn new<O: Supplies>(
        os: &O,
        module: Handle,
        pool: Handle,
        count: usize,
        bytes: u32,
        front: u32,
    ) -> Option<Self> {
        let mut free = Vec::new();
        free.try_reserve_exact(count).ok()?;
        let mut slots = Self { free: Locked::new(free), all: 0, bytes };
        for _ in 0..count {
            match Slot::new(os, module, pool, bytes, front) {
                Some(slot) => {
                    // Cannot grow: room for `count` was reserved.
                    let free = slots.free.get_mut();
                    if free.len() < free.capacity() {
                        free.push(slot);
                    }
                }
                None => {
                    slots.free(os);
                    return None;
                }
            }
            slots.all = slots.all.saturating_add(1);
        }
        Some(slots)
    }

    /// Gives all that are in back to the system.
    pub fn free<O: Supplies>(mut self, os: &O) {
        while let Some(slot) = self.free.get_mut().pop() {
            slot.free(os);
        }
    }

    /// Takes one.
    pub fn take<O: Supplies>(&self, os: &O) -> Option<Slot> {
        self.free.with(os, Vec::pop)
    }

    /// Puts one back.
    pub fn put<O: Supplies>(&self, os: &O, slot: Slot) {
        // Cannot grow: room for all was reserved.
        self.free.with(os, |free| {
            if free.len() < free.capacity() {
                free.push(slot)
            }
        });
    }

    /// How many are in.
    pub fn count<O: Supplies>(&self, os: &O) -> usize {
        self.free.with(os, |free| free.len())
    }
}

impl Slot {
    fn new<O: Supplies>(os: &O, module: Handle, pool: Handle, bytes: u32, front: u32) -> Option<Self> {
        let whole = HEAD.saturating_add(usize::try_from(bytes).ok()?);
        let memory = NonNull::new(os.new_memory(whole))?;
        let data = memory.as_ptr().wrapping_add(HEAD);
        let mdl = os.new_mdl(module, data, bytes);
        let list = if mdl.is_null() { None } else { os.new_list(pool, mdl, front, 0) };
        let context = list.as_ref().map_or(core::ptr::null_mut(), List::context);
        if context.is_null() {
            if let Some(list) = list {
                os.free_list(list);
            }
            if !mdl.is_null() {
                os.free_mdl(mdl);
            }
            os.free_memory(memory.as_ptr(), whole);
            return None;
        }
        let mut list = list?;
        list.set_source(module);
        let record = memory.cast::<Record>();
        let list = list.into_raw();
        let value =
            Record { mdl, list, parent: core::ptr::null_mut(), module: core::ptr::null_mut(), bytes, up: false };
        // SAFETY: the memory is new, 16-aligned and longer than the record.
        unsafe { record.write(value) };
        // SAFETY: the list was made with 16 bytes of context, where this pointer fits.
        unsafe { context.write(record.as_ptr().cast()) };
        Some(Self(record))
    }

    fn free<O: Supplies>(self, os: &O) {
        let record = self.get();
        let (mdl, bytes, list) = (record.mdl, record.bytes, record.list);
        // SAFETY: the record's list is this frame's own and nobody else has it.
        if let Some(list) = unsafe { List::from_raw(list) } {
            os.free_list(list);
        }
        os.free_mdl(mdl);
        let whole = HEAD.saturating_add(usize::try_from(bytes).unwrap_or(0));
        os.free_memory(self.0.as_ptr().cast(), whole);
    }

    const fn get(&self) -> &Record {
        // SAFETY: the record lives as long as the slot, which is the only way to it.
        unsafe { self.0.as_ref() }
    }

    /// Whether it is one of these.
    #[must_use]
    pub const fn is_of(&self, slots: &Slots) -> bool {
        self.get().bytes == slots.bytes
    }

    /// Writes a frame: the parts, `front` bytes into the memory. What does not fit is left out: the caller looked. `false`
    /// when a part is missing.
    #[must_use]
    pub fn fill<'p>(&mut self, front: u32, parts: impl Iterator<Item = Option<&'p [u8]>>) -> bool {
        let (data, bytes) = (self.0.as_ptr().cast::<u8>().wrapping_add(HEAD), self.get().bytes);
        let room = usize::try_from(bytes.saturating_sub(front)).unwrap_or(0);
        let start = data.wrapping_add(usize::try_from(front).unwrap_or(0));
        // SAFETY: `bytes` bytes behind the record are this slot's, and `front` of them are left free.
        let to = unsafe { core::slice::from_raw_parts_mut(start, room) };
        let mut at = 0_usize;
        for part in parts {
            let Some(part) = part else { return false };
            let end = at.saturating_add(part.len());
            if let Some(to) = to.get_mut(at..end).filter(|to| to.len() == part.len()) {
                to.copy_from_slice(part);
                at = end;
            }
        }
        // SAFETY: the list and its frame are this slot's own.
        let list = unsafe { &mut *self.get().list };
        // SAFETY: a list of this pool has a frame.
        let frame = unsafe { &mut *list.first };
        frame.current_mdl = self.get().mdl;
        frame.mdl_chain = self.get().mdl;
        frame.current_mdl_offset = front;
        frame.offset = front;
        frame.length = u32::try_from(at).unwrap_or(0);
        list.status = 0;
        list.children = 0;
        list.nbl_flags = 0;
        // SAFETY: the record is this slot's own.
        unsafe { self.0.as_mut() }.parent = core::ptr::null_mut();
        true
    }

    /// The frame as a list to be sent.
    pub fn into_list(self) -> List {
        let list = self.get().list;
        // SAFETY: the list is this slot's own, which ends here.
        match unsafe { List::from_raw(list) } {
            Some(mut list) => {
                list.clear_info();
                list
            }
            // A slot without a list is never made.
            None => unreachable_list(),
        }
    }

    /// The frame of a list that came back. The list must be one of [`Slot::into_list`]'s.
    #[must_use]
    pub fn of_list(list: List) -> Self {
        let record = record_of(&list);
        let _raw = list.into_raw();
        Self(record)
    }
}

/// The record that a list of ours names.
fn record_of(list: &List) -> NonNull<Record> {
    let context: *mut Ptr = list.context();
    // SAFETY: a list of ours has context, and the record's address in it.
    let record = unsafe { context.read() };
    match NonNull::new(record.cast::<Record>()) {
        Some(record) => record,
        None => unreachable_list(),
    }
}

/// Where no list can be.
fn unreachable_list<T>() -> T {
    // SAFETY: every caller says why it is not reached.
    unsafe { core::hint::unreachable_unchecked() }
}

/// Remembers what a list of ours was made of: the other list waits until this one is back.
pub fn set_parent(list: &List, parent: *mut NetBufferList) {
    // SAFETY: the record is the list's own, which the caller has.
    unsafe { record_of(list).as_mut() }.parent = parent;
}

/// A word of a list.
fn word(list: NonNull<NetBufferList>, at: usize) -> *mut i32 {
    list.as_ptr().cast::<u8>().wrapping_add(at).cast()
}

/// Takes what a list of ours was made of: when it was the last such, the other list is the caller's again. `outcome`
/// becomes its status unless one before had failed.
pub fn take_parent(list: &List, outcome: i32) -> Option<List> {
    // SAFETY: the record is the list's own, which the caller has.
    let parent = core::mem::replace(&mut unsafe { record_of(list).as_mut() }.parent, core::ptr::null_mut());
    let parent = NonNull::new(parent)?;
    // SAFETY: the waiting list stays alive until the last of its frames is back.
    let children = unsafe { AtomicI32::from_ptr(word(parent, core::mem::offset_of!(NetBufferList, children))) };
    if outcome != 0 {
        // SAFETY: as above; a plain word that the waiting list's owners write.
        let status = unsafe { AtomicI32::from_ptr(word(parent, core::mem::offset_of!(NetBufferList, status))) };
        status.store(outcome, Ordering::Release);
    }
    if children.fetch_sub(1, Ordering::AcqRel) != 1 {
        return None;
    }
    // SAFETY: all frames made of it are back: nobody else names it.
    unsafe { List::from_raw(parent.as_ptr()) }
}

/// Says where a staged list of ours leaves.
pub fn set_way<T>(list: &List, module: Ref<T>, up: bool) {
    // SAFETY: the record is the list's own, which the caller has.
    let record = unsafe { record_of(list).as_mut() };
    record.module = module.as_ptr();
    record.up = up;
}

/// Where a staged list of ours leaves: [`set_way`] was told.
#[must_use]
pub fn way<T>(list: &List) -> (Ref<T>, bool) {
    // SAFETY: the record is the list's own, which the caller has.
    let record = unsafe { record_of(list).as_ref() };
    // SAFETY: the module stays until the stay of this frame ends.
    match unsafe { Ref::from_raw(record.module) } {
        Some(module) => (module, record.up),
        // A list is staged with its module alone.
        None => unreachable_list(),
    }
}
