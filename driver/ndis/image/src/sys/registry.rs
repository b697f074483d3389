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

/// `KEY_VALUE_PARTIAL_INFORMATION` of a number.
#[repr(C)]
#[derive(Default)]
struct Number {
    index: u32,
    kind: u32,
    length: u32,
    value: u32,
}

/// `KEY_VALUE_PARTIAL_INFORMATION` of a text.
#[repr(C)]
struct Text {
    index: u32,
    kind: u32,
    length: u32,
    units: [u16; PATH],
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

    fn number(&self, mut name: UNICODE_STRING) -> Option<u32> {
        let mut number = Number::default();
        let size = u32::try_from(size_of::<Number>()).unwrap_or(0);
        let mut length = 0;
        // SAFETY: name and record live through the call, at PASSIVE_LEVEL.
        let status = unsafe {
            wdk_sys::ntddk::ZwQueryValueKey(
                self.0,
                &raw mut name,
                PARTIAL,
                (&raw mut number).cast(),
                size,
                &raw mut length,
            )
        };
        (status == 0 && number.kind == DWORD && number.length == 4).then_some(number.value)
    }
}

impl Key {
    /// A text as a path.
    #[inline(never)]
    fn path(&self, mut name: UNICODE_STRING) -> Option<Path> {
        let mut text = Text { index: 0, kind: 0, length: 0, units: [0; PATH] };
        let size = u32::try_from(size_of::<Text>()).unwrap_or(0);
        let mut length = 0;
        // SAFETY: name and record live through the call, at PASSIVE_LEVEL.
        let status = unsafe {
            wdk_sys::ntddk::ZwQueryValueKey(
                self.0,
                &raw mut name,
                PARTIAL,
                (&raw mut text).cast(),
                size,
                &raw mut length,
            )
        };
        let units = text.units.iter().copied().take(usize::try_from(text.length / 2).unwrap_or(0));
        (status == 0 && text.kind == SZ).then(|| Path::of(units))
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
