//! Orders of the program that tests: one byte says which, the rest depends.
//!
//! ```text
//! 1 attach    if_index u32, mtu u32, mac 6            -> module u32
//! 2 frame     module u8, from below u8, cut u16, flags u32, sum u32, bytes   -> what happened
//! 3 detach    module u8                               -> nothing
//! 4 count     -> faults, pools, pieces, lists of the filter, other lists, sum over the SDDL: u32 each
//! 5 clock     milliseconds u64                        -> nothing
//! 6 request   module u8, oid u32                      -> what happened
//! 7 poll                                              -> what happened
//! ```

use pfndis::sys::layout::{
    AttachParameters, Header, Irp, Mdl, NetBufferList, OidRequest, PauseParameters, RestartParameters,
};

use crate::exports::{free_list, new_list, new_mdl};
use crate::im;
use crate::nt::{self, zeroed};
use crate::state::{MAKER, MODULES, Module, Place, handle, with};

const FAILURE: i32 = 0xC000_0001_u32 as i32;
const PENDING: i32 = 0x103;

fn word(b: &[u8], at: usize) -> u32 {
    let mut w = [0; 4];
    for (to, from) in w.iter_mut().zip(b.get(at..).unwrap_or_default()) {
        *to = *from;
    }
    u32::from_le_bytes(w)
}

/// A request to the mock's device.
pub unsafe fn request(irp: *mut Irp) -> i32 {
    let irp_ref = unsafe { &mut *irp };
    let stack = unsafe { &*irp_ref.current };
    let mut written = 0;
    let mut status = 0;
    if stack.major == 0xE {
        let (input, output) = (stack.input as usize, stack.output as usize);
        let buffer = unsafe { core::slice::from_raw_parts_mut(irp_ref.buffer, input.max(output)) };
        match unsafe { order(buffer, input, output) } {
            Some(n) => written = n,
            None => status = FAILURE,
        }
    }
    irp_ref.status = status;
    irp_ref.information = written;
    unsafe { nt::IofCompleteRequest(irp, 0) };
    status
}

unsafe fn order(buffer: &mut [u8], input: usize, output: usize) -> Option<usize> {
    let order = buffer.get(..input)?;
    match *order.first()? {
        1 => {
            let made = unsafe { attach(order) }?;
            buffer.get_mut(..4)?.copy_from_slice(&made.to_le_bytes());
            Some(4)
        }
        2 => {
            unsafe { frame(order) }?;
            happened(buffer, output)
        }
        3 => {
            unsafe { detach(*order.get(1)? as usize) };
            Some(0)
        }
        4 => {
            let counts = with(|s| [s.faults, s.pools, s.mdls, s.count(true), s.count(false), s.sddl]);
            for (to, n) in buffer.get_mut(..24)?.chunks_exact_mut(4).zip(counts) {
                to.copy_from_slice(&n.to_le_bytes());
            }
            Some(24)
        }
        5 => {
            let ms = u64::from(word(order, 1)) | u64::from(word(order, 5)) << 32;
            with(|s| s.clock = ms as i64);
            Some(0)
        }
        6 => {
            unsafe { ask(*order.get(1)? as usize, word(order, 2)) };
            happened(buffer, output)
        }
        7 => happened(buffer, output),
        _ => None,
    }
}

/// What happened since this was asked last; frames that are out come back first.
fn happened(buffer: &mut [u8], output: usize) -> Option<usize> {
    unsafe { settle() };
    with(|s| {
        let n = core::mem::take(&mut s.logged);
        if n > output {
            return None;
        }
        buffer.get_mut(..n)?.copy_from_slice(&s.log[..n]);
        Some(n)
    })
}

unsafe fn attach(order: &[u8]) -> Option<u32> {
    let n = with(|s| s.modules.iter().position(|m| !m.used))?;
    let filter = with(|s| {
        s.modules[n] = Module { used: true, context: handle(n), paused: true, up: false, if_index: word(order, 1) };
        s.filter
    });
    if with(|s| s.im) {
        return unsafe { im::attach(n, word(order, 5), order.get(9..15)?) };
    }
    unsafe {
        let p = zeroed(size_of::<AttachParameters>()).cast::<AttachParameters>();
        (*p).header = Header { kind: 0x99, revision: 4, size: 224 };
        (*p).base_if_index = word(order, 1);
        (*p).base_luid = u64::from(word(order, 1));
        (*p).mac_length = 6;
        (&mut (*p).mac)[..6].copy_from_slice(order.get(9..15)?);
        let status = (filter.attach?)(handle(n), handle(n), p);
        nt::free(p.cast());
        if status != 0 {
            with(|s| s.modules[n].used = false);
            return None;
        }
        let context = with(|s| s.modules[n].context);
        restart(n, context, word(order, 5), &filter)?;
    }
    Some(n as u32)
}

/// Restart attributes: the MTU, as NDIS tells it.
#[repr(C)]
struct General {
    next: *mut General,
    oid: u32,
    length: u32,
    header: Header,
    mtu: u32,
    rest: [u64; 10],
}

unsafe fn restart(
    n: usize,
    context: pfndis::sys::layout::Handle,
    mtu: u32,
    filter: &pfndis::sys::layout::FilterCharacteristics,
) -> Option<()> {
    unsafe {
        let general = zeroed(size_of::<General>()).cast::<General>();
        (*general).oid = 0x1_021D;
        (*general).length = 88;
        (*general).mtu = mtu;
        let p = zeroed(size_of::<RestartParameters>()).cast::<RestartParameters>();
        (*p).header = Header { kind: 0x9B, revision: 1, size: 44 };
        (*p).attributes = general.cast();
        let status = (filter.restart?)(context, p);
        nt::free(p.cast());
        nt::free(general.cast());
        with(|s| s.modules[n].paused = false);
        (status == 0).then_some(())
    }
}

/// Pauses and detaches a module; nothing when there is none.
pub unsafe fn detach(n: usize) {
    if n >= MODULES || !with(|s| s.modules[n].used) {
        return;
    }
    if with(|s| s.im) {
        return unsafe { im::detach(n) };
    }
    let (filter, context) = with(|s| (s.filter, s.modules[n].context));
    unsafe {
        let p = zeroed(size_of::<PauseParameters>()).cast::<PauseParameters>();
        (*p).header = Header { kind: 0x9A, revision: 1, size: 12 };
        if let Some(pause) = filter.pause {
            let status = pause(context, p);
            settle();
            with(|s| {
                if (status == PENDING) != s.modules[n].paused {
                    s.fault();
                }
                s.modules[n].paused = true;
            });
        }
        nt::free(p.cast());
        if let Some(detach) = filter.detach {
            detach(context);
        }
    }
    with(|s| s.modules[n].used = false);
}

/// A frame for the filter: cut in two at `cut`. Both pieces are mapped: Wine cannot map one.
unsafe fn frame(order: &[u8]) -> Option<()> {
    let (n, below) = (*order.get(1)? as usize, *order.get(2)? != 0);
    let cut = usize::from(*order.get(3)?) | usize::from(*order.get(4)?) << 8;
    let (flags, sum) = (word(order, 5), word(order, 9));
    let bytes = order.get(13..)?;
    let cut = cut.min(bytes.len());
    let (filter, context) = with(|s| (s.filter, s.modules[n].context));
    unsafe {
        let (head, tail) = bytes.split_at(cut);
        let first = piece(head);
        (*first).next = piece(tail);
        let list = new_list(first, 0, bytes.len() as u32);
        if cut == 0 {
            (*(*list).first).current_mdl = (*first).next;
        }
        (*list).info[0] = core::ptr::without_provenance_mut(sum as usize);
        (*list).source = MAKER;
        with(|s| s.add(list, Place::Filter, false));
        if with(|s| s.im) {
            im::frame(context, list, below, flags);
        } else if below {
            (filter.receive?)(context, list, 0, 1, flags);
        } else {
            (filter.send?)(context, list, 0, flags);
        }
        if below {
            if flags & 2 != 0 {
                // Lent: it is back.
                with(|s| s.moved(list, Place::Filter, Place::Home));
            }
        }
    }
    Some(())
}

unsafe fn piece(bytes: &[u8]) -> *mut Mdl {
    unsafe {
        let at = zeroed(bytes.len().max(1));
        at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        new_mdl(at, bytes.len() as u32, true)
    }
}

/// Completes what was sent, returns what was indicated, frees what is at home.
pub unsafe fn settle() {
    unsafe {
        for (place, down) in [(Place::Below, true), (Place::Above, false)] {
            while let Some(entry) = with(|s| {
                let entry = s.first(place)?;
                s.moved(entry.list, place, Place::Filter);
                Some(entry)
            }) {
                if with(|s| s.im) {
                    im::back(entry.list, down);
                    continue;
                }
                let filter = with(|s| s.filter);
                // A list of the filter's own names the module; of another's list any module will do: it passes it on.
                let n = if entry.own { crate::state::module((*entry.list).source) } else { any() };
                let context = with(|s| s.modules[n].context);
                (*entry.list).status = 0;
                if down {
                    if let Some(f) = filter.send_complete {
                        f(context, entry.list, 0);
                    }
                } else if let Some(f) = filter.give_back {
                    f(context, entry.list, 0);
                }
            }
        }
        while let Some(entry) = with(|s| {
            let entry = s.first(Place::Home)?;
            s.moved(entry.list, Place::Home, Place::None);
            Some(entry)
        }) {
            free(entry.list);
        }
    }
}

/// A module that is there.
fn any() -> usize {
    with(|s| s.modules.iter().position(|m| m.used).unwrap_or(0))
}

/// Frees a list of the mock's with its pieces.
unsafe fn free(list: *mut NetBufferList) {
    unsafe {
        let mut mdl = (*(*list).first).mdl_chain;
        while !mdl.is_null() {
            let next = (*mdl).next;
            nt::free((*mdl).start);
            nt::free(mdl.cast());
            mdl = next;
        }
        free_list(list);
    }
}

static WAITING: core::sync::atomic::AtomicPtr<OidRequest> = core::sync::atomic::AtomicPtr::new(core::ptr::null_mut());

/// The filter sent its clone down.
pub unsafe fn requested(_: usize, request: *mut OidRequest) {
    WAITING.store(request, core::sync::atomic::Ordering::SeqCst);
}

/// A query from above, answered below.
unsafe fn ask(n: usize, oid: u32) {
    let (filter, context) = with(|s| (s.filter, s.modules[n].context));
    unsafe {
        let request = zeroed(size_of::<OidRequest>()).cast::<OidRequest>();
        (*request).header = Header { kind: 0x96, revision: 1, size: 236 };
        (*request).oid = oid;
        let handlers = if with(|s| s.im) {
            with(|s| (s.miniport.oid, s.protocol.oid_complete))
        } else {
            (filter.oid, filter.oid_complete)
        };
        if let (Some(f), Some(done)) = handlers {
            let status = f(context, request);
            let clone = WAITING.swap(core::ptr::null_mut(), core::sync::atomic::Ordering::SeqCst);
            if status != PENDING || clone.is_null() || clone == request {
                with(|s| s.fault());
            } else {
                (*clone).done = oid ^ 0x5555;
                done(context, clone, 0);
            }
        }
        nt::free(request.cast());
    }
}
