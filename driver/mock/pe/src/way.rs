//! What happens to lists and requests that leave a driver, whichever of its handles they leave by.

use pfndis::sys::layout::{Handle, NetBufferList, OidRequest, StatusIndication};

use crate::exports::SUCCESS;
use crate::state::{MAKER, Place, module, pieces, with};

/// Lists of a chain, unlinked.
unsafe fn each(lists: *mut NetBufferList, mut f: impl FnMut(*mut NetBufferList)) {
    let mut next = lists;
    while !next.is_null() {
        let list = next;
        next = unsafe { core::mem::replace(&mut (*list).next, core::ptr::null_mut()) };
        f(list);
    }
}

/// They go on: nobody has them but who is below or above.
pub unsafe fn onward(m: Handle, lists: *mut NetBufferList, kind: u8, to: Place) {
    unsafe {
        each(lists, |list| {
            with(|s| {
                s.moved(list, Place::Filter, to);
                let sum = (*list).info[0].addr() as u32;
                s.event(kind, module(m) as u8, sum, pieces(list));
            });
        });
    }
}

/// They are indicated: given up, or (`NDIS_RECEIVE_FLAGS_RESOURCES`) looked at and left alone with their links.
pub unsafe fn indicated(m: Handle, lists: *mut NetBufferList, flags: u32) {
    if flags & 2 == 0 {
        return unsafe { onward(m, lists, 2, Place::Above) };
    }
    let mut next = lists;
    while !next.is_null() {
        let list = next;
        with(|s| {
            s.moved(list, Place::Filter, Place::Filter);
            s.event(2, module(m) as u8, unsafe { (*list).info[0].addr() as u32 }, pieces(list));
        });
        next = unsafe { (*list).next };
    }
}

/// They come home to whoever made them.
pub unsafe fn home(m: Handle, lists: *mut NetBufferList, kind: u8) {
    unsafe {
        each(lists, |list| {
            with(|s| {
                if (*list).source != MAKER {
                    s.fault();
                }
                s.moved(list, Place::Filter, Place::Home);
                s.event(kind, module(m) as u8, (*list).status as u32, core::iter::empty());
            });
        });
    }
}

/// A pause that was pending is over.
pub fn paused(m: Handle) {
    with(|s| {
        if s.modules[module(m)].paused {
            s.fault();
        }
        s.modules[module(m)].paused = true;
    });
}

/// A request is answered.
pub unsafe fn answered(m: Handle, request: *mut OidRequest, status: i32) {
    let done = unsafe { (*request).done };
    with(|s| s.event(5, module(m) as u8, if status == SUCCESS { done } else { u32::MAX }, core::iter::empty()));
}

/// A status is indicated.
pub unsafe fn said(m: Handle, status: *mut StatusIndication) {
    let code = unsafe { (*status).code } as u32;
    with(|s| s.event(6, module(m) as u8, code, core::iter::empty()));
}
