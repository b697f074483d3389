//! The service's settings: `Parameters` below its key.

use pfndis::gateway::Boot;
use wdk_sys::{HANDLE, OBJECT_ATTRIBUTES, UNICODE_STRING};

use crate::sys::file::{PATH, Path};
use crate::wide;

/// `KEY_READ`.
const KEY_READ: u32 = 0x2_0019;
/// `OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE`.
const KERNEL_HANDLE: u32 = 0x40 | 0x200;
/// `KeyValuePartialInformation`.
const PARTIAL: i32 = 2;
/// `REG_SZ`.
const SZ: u32 = 1;
/// `REG_DWORD`.
const DWORD: u32 = 4;

/// What the registry says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// What holds before the first load (`BootPolicy`: 0 pass, 1 block, 2 last good). What is none of these blocks.
    pub boot: Boot,
    /// Where the last good rules lie (`LastGood`, a path as the kernel names files).
    pub last_good: Path,
}

/// `KEY_VALUE_PARTIAL_INFORMATION` of a number or a text.
#[repr(C)]
struct Value<T> {
    index: u32,
    kind: u32,
    length: u32,
    data: T,
}

/// An open key.
struct Key(HANDLE);

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: opened by `Key::open`, closed once.
        let _status = unsafe { wdk_sys::ntddk::ZwClose(self.0) };
    }
}

impl Key {
    fn open(name: &mut UNICODE_STRING, below: HANDLE) -> Option<Self> {
        let mut attributes = OBJECT_ATTRIBUTES {
            Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).unwrap_or(0),
            RootDirectory: below,
            ObjectName: name,
            Attributes: KERNEL_HANDLE,
            ..OBJECT_ATTRIBUTES::default()
        };
        let mut key = core::ptr::null_mut();
        // SAFETY: name and attributes live through the call, at PASSIVE_LEVEL.
        let status = unsafe { wdk_sys::ntddk::ZwOpenKey(&raw mut key, KEY_READ, &raw mut attributes) };
        (status == 0).then_some(Self(key))
    }

    /// A value of a kind that fits into `empty`: its data and the bytes of them. `T` is made of numbers alone.
    fn value<T>(&self, mut name: UNICODE_STRING, kind: u32, empty: T) -> Option<(T, u32)> {
        let mut value = Value { index: 0, kind: 0, length: 0, data: empty };
        let size = u32::try_from(size_of::<Value<T>>()).unwrap_or(0);
        let mut length = 0;
        // SAFETY: name and record live through the call, at PASSIVE_LEVEL; any bytes are numbers.
        let status = unsafe {
            wdk_sys::ntddk::ZwQueryValueKey(
                self.0,
                &raw mut name,
                PARTIAL,
                (&raw mut value).cast(),
                size,
                &raw mut length,
            )
        };
        (status == 0 && value.kind == kind).then_some((value.data, value.length))
    }

    fn number(&self, name: UNICODE_STRING) -> Option<u32> {
        let (number, length) = self.value(name, DWORD, 0)?;
        (length == 4).then_some(number)
    }

    /// A text as a path.
    #[inline(never)]
    fn path(&self, name: UNICODE_STRING) -> Option<Path> {
        let (units, bytes) = self.value(name, SZ, [0_u16; PATH])?;
        Some(Path::of(units.into_iter().take(usize::try_from(bytes / 2).unwrap_or(0))))
    }
}

impl Settings {
    /// Reads them. What is not there has its default.
    #[must_use]
    #[inline(never)]
    pub fn read(path: *mut UNICODE_STRING) -> Self {
        // SAFETY: the system gives the path of the service's key, or nothing.
        let Some(path) = (unsafe { path.as_mut() }) else { return Self::default() };
        let Some(service) = Key::open(path, core::ptr::null_mut()) else { return Self::default() };
        let Some(parameters) = Key::open(&mut wide!("Parameters"), service.0) else { return Self::default() };
        let boot = match parameters.number(wide!("BootPolicy")) {
            None | Some(0) => Boot::Pass,
            Some(2) => Boot::LastGood,
            Some(_) => Boot::Block,
        };
        Self { boot, last_good: parameters.path(wide!("LastGood")).unwrap_or_default() }
    }
}
