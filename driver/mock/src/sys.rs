//! Buffer lists in real memory: made, read and freed. The only unsafe code of the mock.
#![allow(clippy::not_unsafe_ptr_arg_deref, reason = "the world's account says which pointers are good, for tests")]

use pfndis::sys::layout::{Handle, Header, ListContext, Mdl, NetBuffer, NetBufferList, OidRequest, Ptr};
use pfndis::sys::list::{Chain, List};

/// A zeroed record on the heap.
fn zeroed<T>() -> *mut T {
    let layout = std::alloc::Layout::new::<T>();
    // SAFETY: none of these records is empty.
    let at = unsafe { std::alloc::alloc_zeroed(layout) };
    assert!(!at.is_null(), "no memory");
    at.cast()
}

/// Frees what [`zeroed`] gave.
fn free<T>(at: *mut T) {
    // SAFETY: made by `zeroed` with the same layout, freed once: the callers' accounts say so.
    unsafe { std::alloc::dealloc(at.cast(), std::alloc::Layout::new::<T>()) };
}

/// Memory of a length, 16-aligned, zeroed.
#[must_use]
pub fn memory(length: usize) -> *mut u8 {
    let layout = std::alloc::Layout::from_size_align(length.max(1), 16).expect("a length");
    // SAFETY: the layout is not empty.
    unsafe { std::alloc::alloc_zeroed(layout) }
}

/// Frees it.
pub fn free_memory(at: *mut u8, length: usize) {
    let layout = std::alloc::Layout::from_size_align(length.max(1), 16).expect("a length");
    // SAFETY: made by `memory` with this length, freed once: the world's account says so.
    unsafe { std::alloc::dealloc(at, layout) };
}

/// A piece over memory, mapped when asked for: unmapped ones show that the filter maps them.
#[must_use]
pub fn mdl(at: *mut u8, length: u32, mapped: bool) -> *mut Mdl {
    let mdl: *mut Mdl = zeroed();
    // SAFETY: just made.
    let m = unsafe { &mut *mdl };
    m.count = length;
    m.start = at;
    m.mapped = if mapped { at } else { core::ptr::null_mut() };
    m.flags = if mapped { 4 } else { 2 };
    mdl
}

/// Frees a piece.
pub fn free_mdl(at: *mut Mdl) {
    free(at);
}

/// Maps a piece.
#[must_use]
pub fn map(mdl: *mut Mdl) -> *mut u8 {
    // SAFETY: the filter was handed the piece, which lives as long as its list.
    let m = unsafe { &mut *mdl };
    m.mapped = m.start;
    m.flags |= 1;
    m.mapped
}

/// A list with context and one frame over a piece.
#[must_use]
pub fn list_with_frame(pool: Handle, mdl: *mut Mdl, offset: u32, length: u32) -> *mut NetBufferList {
    let list = empty_list(pool);
    let context = memory(32).cast::<ListContext>();
    // SAFETY: the memory holds the head and 16 bytes behind it.
    unsafe { (*context).size = 16 };
    // SAFETY: just made.
    unsafe { (*list).context = context };
    add_frame(list, mdl, offset, length);
    list
}

/// A list without frames.
#[must_use]
pub fn empty_list(pool: Handle) -> *mut NetBufferList {
    let list: *mut NetBufferList = zeroed();
    // SAFETY: just made.
    unsafe { (*list).pool = pool };
    list
}

/// A frame to be made: its bytes, where it is cut, the room in front of it.
pub type Frame = (Vec<u8>, Vec<usize>, usize);

/// A list of frames, each in the pieces it is cut into.
#[must_use]
pub fn list_of(frames: &[Frame]) -> *mut NetBufferList {
    let list = empty_list(Handle::NONE);
    for (bytes, cuts, front) in frames {
        let padded = [vec![0xEE; *front], bytes.clone()].concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (padded.len() + 1)).collect();
        cuts.extend([0, padded.len()]);
        cuts.sort_unstable();
        let pieces: Vec<*mut Mdl> = cuts
            .windows(2)
            .enumerate()
            .map(|(n, w)| {
                let part = &padded[w[0]..w[1]];
                let at = memory(part.len());
                copy(part, at);
                mdl(at, part.len() as u32, n % 3 != 1)
            })
            .collect();
        add_frame(list, link(&pieces), *front as u32, bytes.len() as u32);
    }
    list
}

/// Copies out-of-band data of some places.
pub fn copy_info(to: &mut List, from: &List, places: &[usize]) {
    for place in places {
        to.set_info(*place, from.info(*place));
    }
}

/// Makes a list's first frame say what is not true: a length, an offset, a place in a piece, or nothing at all.
pub fn lie(list: *mut NetBufferList, what: usize, by: usize) {
    // SAFETY: the mock has the list.
    let first = unsafe { (*list).first };
    // SAFETY: a list's frames live as long as it does.
    let Some(f) = (unsafe { first.as_mut() }) else { return };
    let by32 = u32::try_from(by).unwrap_or(0);
    match what % 6 {
        0 => f.length = f.length.wrapping_add(by32),
        1 => f.length = u32::MAX - by32,
        2 => f.current_mdl_offset = f.current_mdl_offset.wrapping_add(by32),
        3 => f.current_mdl = core::ptr::null_mut(),
        4 => f.length = f.length.saturating_sub(by32),
        _ => f.current_mdl_offset = u32::MAX - by32,
    }
}

/// Puts a frame at the end of a list: `offset` bytes into its pieces.
pub fn add_frame(list: *mut NetBufferList, chain: *mut Mdl, offset: u32, length: u32) {
    let frame: *mut NetBuffer = zeroed();
    // SAFETY: just made.
    let f = unsafe { &mut *frame };
    f.mdl_chain = chain;
    f.offset = offset;
    f.length = length;
    let (mut mdl, mut skip) = (chain, offset);
    // SAFETY: the pieces of a chain are alive while it is built.
    while let Some(m) = unsafe { mdl.as_ref() }.filter(|m| skip >= m.count && !m.next.is_null()) {
        skip -= m.count;
        mdl = m.next;
    }
    f.current_mdl = mdl;
    f.current_mdl_offset = skip;
    // SAFETY: the list is the caller's.
    let mut at = unsafe { &raw mut (*list).first };
    loop {
        // SAFETY: a link of the list.
        let next = unsafe { at.read() };
        // SAFETY: each link is a frame of the list or its end.
        let Some(next) = (unsafe { next.as_mut() }) else { break };
        at = &raw mut next.next;
    }
    // SAFETY: the last link.
    unsafe { at.write(frame) };
}

/// Links pieces.
pub fn link(pieces: &[*mut Mdl]) -> *mut Mdl {
    for pair in pieces.windows(2) {
        // SAFETY: pieces just made.
        unsafe { (*pair[0]).next = pair[1] };
    }
    pieces.first().copied().unwrap_or(core::ptr::null_mut())
}

/// The bytes of each frame of a list.
#[must_use]
pub fn bytes(list: *mut NetBufferList) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    // SAFETY: the mock has the list.
    let mut frame = unsafe { (*list).first };
    // SAFETY: frames of a live list.
    while let Some(f) = unsafe { frame.as_ref() } {
        let mut one = Vec::new();
        let (mut mdl, mut skip) = (f.current_mdl, f.current_mdl_offset as usize);
        // SAFETY: pieces of a live frame.
        while let Some(m) = unsafe { mdl.as_ref() } {
            let n = (m.count as usize - skip).min(f.length as usize - one.len());
            // SAFETY: the piece's memory is `count` bytes long.
            one.extend_from_slice(unsafe { core::slice::from_raw_parts(m.start.wrapping_add(skip), n) });
            skip = 0;
            mdl = m.next;
        }
        assert_eq!(one.len(), f.length as usize, "pieces end before the frame");
        out.push(one);
        frame = f.next;
    }
    out
}

/// Frees a list with its frames and context; `pieces` too when they are the test's own.
pub fn free_list(list: *mut NetBufferList, pieces: bool) {
    // SAFETY: the mock has the list.
    let mut frame = unsafe { (*list).first };
    while !frame.is_null() {
        // SAFETY: frames of the list.
        let f = unsafe { &*frame };
        let (next, mut mdl) = (f.next, f.mdl_chain);
        while pieces && !mdl.is_null() {
            // SAFETY: pieces of the frame.
            let m = unsafe { &*mdl };
            let (next, start, count) = (m.next, m.start, m.count as usize);
            free_memory(start, count);
            free(mdl);
            mdl = next;
        }
        free(frame);
        frame = next;
    }
    // SAFETY: the mock has the list.
    let context = unsafe { (*list).context };
    if !context.is_null() {
        free_memory(context.cast(), 32);
    }
    free(list);
}

/// The lists of a chain, in order, none of them linked any more.
#[must_use]
pub fn take(chain: Chain) -> Vec<*mut NetBufferList> {
    let mut out = Vec::new();
    let mut next = chain.into_raw();
    // SAFETY: the chain was handed over.
    while let Some(list) = unsafe { next.as_mut() } {
        out.push(next);
        next = core::mem::replace(&mut list.next, core::ptr::null_mut());
    }
    out
}

/// Lists as a chain.
pub fn chain(lists: &[*mut NetBufferList]) -> Chain {
    for pair in lists.windows(2) {
        // SAFETY: the mock has the lists.
        unsafe { (*pair[0]).next = pair[1] };
    }
    // SAFETY: the mock has the lists and hands them over.
    unsafe { Chain::from_raw(lists.first().copied().unwrap_or(core::ptr::null_mut())) }
}

/// How lists are linked now.
#[must_use]
pub fn linked(first: *mut NetBufferList) -> Vec<*mut NetBufferList> {
    let mut out = Vec::new();
    let mut next = first;
    // SAFETY: live lists.
    while let Some(list) = unsafe { next.as_ref() } {
        out.push(next);
        next = list.next;
    }
    out
}

/// A field of a list.
#[must_use]
pub fn status(list: *mut NetBufferList) -> i32 {
    // SAFETY: a live list.
    unsafe { (*list).status }
}

/// Says what became of a list.
pub fn set_status(list: *mut NetBufferList, status: i32) {
    // SAFETY: the mock has the list.
    unsafe { (*list).status = status };
}

/// Out-of-band data of a list.
#[must_use]
pub fn info(list: *mut NetBufferList) -> [usize; 24] {
    // SAFETY: a live list.
    unsafe { (*list).info }.map(|p| p.addr())
}

/// Sets it.
pub fn set_info(list: *mut NetBufferList, place: usize, value: usize) {
    // SAFETY: the mock has the list.
    unsafe { (*list).info[place] = core::ptr::without_provenance_mut(value) };
}

/// Its bits: `NblFlags`.
#[must_use]
pub fn nbl_flags(list: *mut NetBufferList) -> u32 {
    // SAFETY: a live list.
    unsafe { (*list).nbl_flags }
}

/// Sets them.
pub fn set_nbl_flags(list: *mut NetBufferList, flags: u32) {
    // SAFETY: the mock has the list.
    unsafe { (*list).nbl_flags = flags };
}

/// Who made a list.
#[must_use]
pub fn source(list: *mut NetBufferList) -> Handle {
    // SAFETY: a live list.
    unsafe { (*list).source }
}

/// A request.
#[must_use]
pub fn request(kind: i32, oid: u32) -> *mut OidRequest {
    let request: *mut OidRequest = zeroed();
    // SAFETY: just made.
    let r = unsafe { &mut *request };
    r.header = Header { kind: 0x96, revision: 1, size: 236 };
    (r.kind, r.oid) = (kind, oid);
    request
}

/// A copy of a request as `NdisAllocateCloneOidRequest` makes one.
#[must_use]
pub fn clone_request(request: *mut OidRequest) -> *mut OidRequest {
    let clone: *mut OidRequest = zeroed();
    // SAFETY: the request is alive.
    let whole = unsafe { request.read() };
    // SAFETY: just made.
    unsafe { clone.write(whole) };
    // SAFETY: just made.
    unsafe { (*clone).source = [core::ptr::null_mut::<core::ffi::c_void>() as Ptr; 2] };
    clone
}

/// Frees a request.
pub fn free_request(request: *mut OidRequest) {
    free(request);
}

/// The answer of a request: bytes done and needed.
pub fn set_answer(request: *mut OidRequest, done: u32, needed: u32) {
    // SAFETY: the mock has the request.
    let r = unsafe { &mut *request };
    if r.kind == 12 {
        (r.method_written, r.method_needed) = (done, needed);
    } else {
        (r.done, r.needed) = (done, needed);
    }
}

/// What a request answers.
#[must_use]
pub fn get_answer(request: *mut OidRequest) -> (u32, u32) {
    // SAFETY: a live request.
    let r = unsafe { &*request };
    if r.kind == 12 { (r.method_written, r.method_needed) } else { (r.done, r.needed) }
}

/// Copies bytes to memory just made for them.
pub fn copy(from: &[u8], to: *mut u8) {
    // SAFETY: the memory is as long as the bytes and nobody else's.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
}

/// A lock's word as an atomic.
#[must_use]
pub fn atomic(word: &core::cell::UnsafeCell<usize>) -> &core::sync::atomic::AtomicUsize {
    // SAFETY: the word of a lock is touched by the lock alone, always so.
    unsafe { core::sync::atomic::AtomicUsize::from_ptr(word.get()) }
}

/// A list just made, as the filter gets it.
#[must_use]
pub fn own(list: *mut NetBufferList) -> Option<List> {
    // SAFETY: the list was just made for the filter.
    unsafe { List::from_raw(list) }
}

/// A value that stays where it is, whoever has this: others hold its address.
#[derive(Debug)]
pub struct Placed<T>(core::ptr::NonNull<T>);

// SAFETY: it owns its value, as a box does.
unsafe impl<T: Send> Send for Placed<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Placed<T> {}

impl<T> Placed<T> {
    /// Puts a value in its place.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(core::ptr::NonNull::from(Box::leak(Box::new(value))))
    }
}

impl<T> core::ops::Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value is there until this is dropped.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for Placed<T> {
    fn drop(&mut self) {
        // SAFETY: made by `new` of a box, given back once.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
