//! The account: modules, lists, what happened, what is wrong.

use core::cell::UnsafeCell;

use pfndis::sys::layout::{FilterCharacteristics, Handle, Mdl, NetBufferList, Ptr};
use pfndis::sys::layout_im::{MiniportCharacteristics, ProtocolCharacteristics};

use crate::nt::{Dispatch, DriverObject, KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock};

/// Adapters at most.
pub const MODULES: usize = 8;
/// Lists at the same time at most.
pub const LISTS: usize = 16_384;
/// Bytes of what happened since the last order.
pub const LOG: usize = 1 << 20;

/// Where a list is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    None,
    Filter,
    Below,
    Above,
    Home,
}

#[derive(Clone, Copy)]
pub struct Entry {
    pub list: *mut NetBufferList,
    pub place: Place,
    pub own: bool,
}

#[derive(Clone, Copy)]
pub struct Module {
    pub used: bool,
    pub context: Handle,
    pub paused: bool,
    /// Of an intermediate driver: the miniport is there.
    pub up: bool,
    /// Of an intermediate driver: index of the miniport's interface.
    pub if_index: u32,
}

pub struct State {
    pub driver: *mut DriverObject,
    pub filter: FilterCharacteristics,
    pub registered: bool,
    /// An intermediate driver registered.
    pub im: bool,
    pub protocol: ProtocolCharacteristics,
    pub miniport: MiniportCharacteristics,
    pub planb: Ptr,
    pub planb_major: [Option<Dispatch>; 28],
    pub mock: Ptr,
    pub modules: [Module; MODULES],
    pub lists: [Entry; LISTS],
    pub used: usize,
    pub log: [u8; LOG],
    pub logged: usize,
    pub pools: u32,
    pub mdls: u32,
    pub faults: u32,
    pub sddl: u32,
    pub clock: i64,
}

struct Account {
    lock: UnsafeCell<usize>,
    state: UnsafeCell<State>,
}

unsafe impl Sync for Account {}

static ACCOUNT: Account = Account { lock: UnsafeCell::new(0), state: UnsafeCell::new(unsafe { core::mem::zeroed() }) };

/// Does something with the account, alone. The filter must not be called in there.
pub fn with<R>(f: impl FnOnce(&mut State) -> R) -> R {
    let level = unsafe { KeAcquireSpinLockRaiseToDpc(ACCOUNT.lock.get()) };
    let out = f(unsafe { &mut *ACCOUNT.state.get() });
    unsafe { KeReleaseSpinLock(ACCOUNT.lock.get(), level) };
    out
}

/// The handle of a module.
pub fn handle(module: usize) -> Handle {
    Handle(core::ptr::without_provenance_mut((module + 1) * 0x100))
}

/// Who makes the lists of the mock: their source when they come home.
pub const MAKER: Handle = Handle(core::ptr::without_provenance_mut(0x7));

/// The module of a handle.
pub fn module(handle: Handle) -> usize {
    handle.0.addr() / 0x100 - 1
}

impl State {
    pub fn fault(&mut self) {
        self.faults += 1;
    }

    /// Notes a list.
    pub fn add(&mut self, list: *mut NetBufferList, place: Place, own: bool) {
        let free = self.lists[..self.used].iter().position(|e| e.place == Place::None);
        let at = free.unwrap_or(self.used);
        if at >= LISTS {
            return self.fault();
        }
        self.used = self.used.max(at + 1);
        self.lists[at] = Entry { list, place, own };
    }

    /// Moves a list; a fault when it was elsewhere.
    pub fn moved(&mut self, list: *mut NetBufferList, from: Place, to: Place) {
        match self.lists[..self.used].iter_mut().find(|e| e.list == list && e.place != Place::None) {
            Some(entry) if entry.place == from => entry.place = to,
            _ => self.fault(),
        }
    }

    /// The first list in a place, and whether it is the filter's own.
    pub fn first(&self, place: Place) -> Option<Entry> {
        self.lists[..self.used].iter().find(|e| e.place == place).copied()
    }

    /// Lists there are.
    pub fn count(&self, own: bool) -> u32 {
        self.lists[..self.used].iter().filter(|e| e.place != Place::None && e.own == own).count() as u32
    }

    /// Notes what happened: kind, module, status or checksum data, bytes.
    pub fn event(&mut self, kind: u8, module: u8, word: u32, parts: impl Iterator<Item = &'static [u8]>) {
        let start = self.logged;
        if start + 12 > LOG {
            return self.fault();
        }
        self.log[start] = kind;
        self.log[start + 1] = module;
        self.log[start + 4..start + 8].copy_from_slice(&word.to_le_bytes());
        let mut at = start + 12;
        for part in parts {
            if at + part.len() > LOG {
                return self.fault();
            }
            self.log[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        let length = (at - start - 12) as u32;
        self.log[start + 8..start + 12].copy_from_slice(&length.to_le_bytes());
        self.logged = at;
    }
}

/// The bytes of a list's only frame, piece by piece.
pub fn pieces(list: *mut NetBufferList) -> impl Iterator<Item = &'static [u8]> {
    let nb = unsafe { &*(*list).first };
    let (mut mdl, mut skip, mut left): (*mut Mdl, usize, usize) =
        (nb.current_mdl, nb.current_mdl_offset as usize, nb.length as usize);
    core::iter::from_fn(move || {
        if left == 0 || mdl.is_null() {
            return None;
        }
        let m = unsafe { &*mdl };
        let n = (m.count as usize - skip).min(left);
        let part = unsafe { core::slice::from_raw_parts(m.start.add(skip), n) };
        (skip, left, mdl) = (0, left - n, m.next);
        Some(part)
    })
}
