//! What the mock needs of NT.

pub use pfndis::sys::layout::{Irp, Ptr, UnicodeString};

/// `DRIVER_OBJECT`.
#[repr(C)]
pub struct DriverObject {
    pub kind: i16,
    pub size: i16,
    pub device: Ptr,
    pub flags: u32,
    pub rest: [usize; 9],
    pub start_io: usize,
    pub unload: usize,
    pub major: [Option<Dispatch>; 28],
}

const _: () = assert!(size_of::<DriverObject>() == 336);
const _: () = assert!(core::mem::offset_of!(DriverObject, major) == 112);

pub type Dispatch = unsafe extern "C" fn(Ptr, *mut Irp) -> i32;

#[link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    pub fn ExAllocatePoolWithTag(kind: i32, length: usize, tag: u32) -> *mut u8;
    pub fn ExFreePoolWithTag(at: *mut u8, tag: u32);
    pub fn IoCreateDevice(
        driver: *mut DriverObject,
        extension: u32,
        name: *mut UnicodeString,
        kind: u32,
        characteristics: u32,
        exclusive: u8,
        device: *mut Ptr,
    ) -> i32;
    pub fn IoDeleteDevice(device: Ptr);
    pub fn IoCreateSymbolicLink(link: *mut UnicodeString, device: *mut UnicodeString) -> i32;
    pub fn IoDeleteSymbolicLink(link: *mut UnicodeString) -> i32;
    pub fn IofCompleteRequest(irp: *mut Irp, boost: i8);
    pub fn KeAcquireSpinLockRaiseToDpc(lock: *mut usize) -> u8;
    pub fn KeReleaseSpinLock(lock: *mut usize, level: u8);
}

/// What the compiler calls by itself: ntoskrnl exports it.
mod memory {
    #[link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")]
    unsafe extern "C" {
        fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8;
        fn memset(to: *mut u8, value: i32, n: usize) -> *mut u8;
        fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32;
        fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8;
    }
    /// Kept so that the imports are.
    #[used]
    static KEEP: [unsafe extern "C" fn(*mut u8, *const u8, usize) -> *mut u8; 2] = [memcpy, memmove];
    #[used]
    static KEEP2: (
        unsafe extern "C" fn(*mut u8, i32, usize) -> *mut u8,
        unsafe extern "C" fn(*const u8, *const u8, usize) -> i32,
    ) = (memset, memcmp);
}

/// Zeroed memory.
pub unsafe fn zeroed(length: usize) -> *mut u8 {
    let at = unsafe { ExAllocatePoolWithTag(0, length, 0x6b63_6f4d) };
    if !at.is_null() {
        unsafe { at.write_bytes(0, length) };
    }
    at
}

/// Frees it.
pub unsafe fn free(at: *mut u8) {
    unsafe { ExFreePoolWithTag(at, 0x6b63_6f4d) };
}

/// A string of Windows's characters, in static memory.
pub struct Wide<const N: usize>(pub [u16; N]);

impl<const N: usize> Wide<N> {
    pub const fn of(text: &str) -> Self {
        let mut out = [0; N];
        let mut i = 0;
        while i < N {
            out[i] = text.as_bytes()[i] as u16;
            i += 1;
        }
        Self(out)
    }

    pub fn unicode(&'static self) -> UnicodeString {
        let bytes = (N * 2) as u16;
        UnicodeString { length: bytes, maximum: bytes, buffer: self.0.as_ptr().cast_mut() }
    }
}
