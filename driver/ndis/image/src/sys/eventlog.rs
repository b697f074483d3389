//! The system's event log, and who asks.
//!
//! Entries are written at `PASSIVE_LEVEL`. That there is no room for one is no error: the log is told what can be told.

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};

use pfndis::event::{Entry, MOST};
use wdk_sys::{DRIVER_OBJECT, HANDLE, UNICODE_STRING};

unsafe extern "C" {
    fn IoAllocateErrorLogEntry(object: *mut c_void, length: u8) -> *mut u8;
    fn IoWriteErrorLogEntry(entry: *mut u8);
    fn ZwOpenProcessTokenEx(process: HANDLE, access: u32, attributes: u32, token: *mut HANDLE) -> i32;
    fn ZwQueryInformationToken(token: HANDLE, class: i32, out: *mut u8, length: u32, needed: *mut u32) -> i32;
    fn RtlConvertSidToUnicodeString(text: *mut UNICODE_STRING, sid: *mut c_void, allocate: u8) -> i32;
}

/// `NtCurrentProcess()`: the process that asks, in whose thread its requests run.
const THIS_PROCESS: usize = usize::MAX;
/// `TOKEN_QUERY`.
const QUERY: u32 = 8;
/// `OBJ_KERNEL_HANDLE`.
const KERNEL_HANDLE: u32 = 0x200;
/// `TokenUser`.
const USER: i32 = 1;
/// Characters of a user's identifier at most: "S-1-", an authority, 15 numbers.
pub const SID: usize = 184;

static OBJECT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Entries are this driver's from here on.
pub fn start(object: *mut DRIVER_OBJECT) {
    OBJECT.store(object.cast(), Ordering::Release);
}

/// Writes an entry.
pub fn write(entry: &Entry) {
    let object = OBJECT.load(Ordering::Acquire);
    let bytes = entry.bytes();
    let length = u8::try_from(bytes.len().min(MOST)).unwrap_or(0);
    if object.is_null() || length == 0 {
        return;
    }
    // SAFETY: the object is this driver's.
    let to = unsafe { IoAllocateErrorLogEntry(object, length) };
    if to.is_null() {
        return;
    }
    // SAFETY: the entry has room for as many bytes as were asked for.
    unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), usize::from(length)) };
    // SAFETY: the entry is the system's from here on.
    unsafe { IoWriteErrorLogEntry(to) };
}

/// The user whose process asks, as `S-1-…`; `?` when the system does not say.
pub struct User {
    units: [u16; SID],
    bytes: u16,
}

impl User {
    /// Of the process whose request this thread carries out. At `PASSIVE_LEVEL`.
    #[must_use]
    pub fn asking() -> Self {
        let mut user = Self { units: [0; SID], bytes: 2 };
        if let Some(unknown) = user.units.first_mut() {
            *unknown = u16::from(b'?');
        }
        let mut token = core::ptr::null_mut();
        let process = core::ptr::without_provenance_mut(THIS_PROCESS);
        // SAFETY: the place lives through the call.
        if unsafe { ZwOpenProcessTokenEx(process, QUERY, KERNEL_HANDLE, &raw mut token) } == 0 {
            user.read(token);
            // SAFETY: opened above, closed once.
            let _status = unsafe { wdk_sys::ntddk::ZwClose(token) };
        }
        user
    }

    fn read(&mut self, token: HANDLE) {
        // TOKEN_USER: the address of the identifier and its attributes, then the identifier (68 bytes at most).
        let mut record = [0_u64; 12];
        let mut needed = 0;
        let size = u32::try_from(size_of_val(&record)).unwrap_or(0);
        // SAFETY: the record is that long.
        let status = unsafe { ZwQueryInformationToken(token, USER, record.as_mut_ptr().cast(), size, &raw mut needed) };
        if status != 0 {
            return;
        }
        let sid = record.as_ptr().cast::<*mut c_void>();
        // SAFETY: the first word of the record is that address.
        let sid = unsafe { sid.read() };
        let room = u16::try_from(SID * 2).unwrap_or(0);
        let mut text = UNICODE_STRING { Length: 0, MaximumLength: room, Buffer: self.units.as_mut_ptr() };
        // SAFETY: the identifier lies in the record, the text has that much room.
        if unsafe { RtlConvertSidToUnicodeString(&raw mut text, sid, 0) } == 0 {
            self.bytes = text.Length.min(room);
        }
    }

    /// Its characters.
    pub fn units(&self) -> impl Iterator<Item = u16> + '_ {
        self.units.iter().copied().take(usize::from(self.bytes / 2))
    }
}
