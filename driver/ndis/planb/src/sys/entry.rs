//! The driver's beginning and end.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use pfdriver::filter::Filter;
use pfdriver::lock::Lock;
use pfimage::platform::Windows;
use pfimage::sys::device::Binding;
use pfimage::sys::ndis::NdisGetVersion;
use pfimage::sys::registry::Settings;
use pfimage::sys::timer::Ticker;
use pfimage::sys::{boot, device, eventlog, memory, readers};
use pfimage::wide;
use pfndis::frames::Supply;
use pfndis::gateway::Gateway;
use pfndis::module::Driver;
use pfndis::sys::code::{BAD_VERSION, RESOURCES, SUCCESS, Status, TYPE_FILTER_DRIVER};
use pfndis::sys::layout::{FilterCharacteristics, Handle, Header, UnicodeString, size};
use wdk_sys::{DRIVER_OBJECT, KDPC, UNICODE_STRING};

use crate::sys::callbacks as on;
use crate::sys::ndis::{NdisFDeregisterFilterDriver, NdisFRegisterFilterDriver, Nt};

/// The driver of this image.
pub type Planb = Driver<Nt, Gateway<Windows>>;

/// A place for one value, filled by the entry and emptied by the unload.
struct Once {
    full: AtomicBool,
    value: UnsafeCell<MaybeUninit<Planb>>,
    handle: UnsafeCell<Handle>,
}

// SAFETY: filled before any handler is registered and emptied after the last is gone.
unsafe impl Sync for Once {}

static DRIVER: Once = Once {
    full: AtomicBool::new(false),
    value: UnsafeCell::new(MaybeUninit::uninit()),
    handle: UnsafeCell::new(Handle::NONE),
};
static TICKER: Ticker = Ticker::new();

/// The driver, while there is one.
pub fn driver() -> Option<&'static Planb> {
    if !DRIVER.full.load(Ordering::Acquire) {
        return None;
    }
    // SAFETY: the place is full, and stays so until the last handler is gone.
    let place = unsafe { &*DRIVER.value.get() };
    // SAFETY: as above.
    Some(unsafe { place.assume_init_ref() })
}

/// The filter behind the driver's lock, as control takes it.
#[derive(Clone, Copy, Debug)]
pub struct Guard(pub &'static Planb);

impl Lock<Windows> for Guard {
    fn with<T>(&self, f: impl FnOnce(&mut Filter<Windows>) -> T) -> T {
        self.0.core.with(&self.0.os, |core| f(&mut core.judge.filter))
    }
}

/// This image, to the device.
struct Image;

impl Binding for Image {
    type Guard = Guard;

    fn guard() -> Option<Guard> {
        driver().map(Guard)
    }
}

/// The oldest NDIS this runs on: 6.30, Windows 8.
const OLDEST: u32 = 6 << 16 | 30;

/// NDIS's string type and NT's are one.
const fn string(s: UNICODE_STRING) -> UnicodeString {
    UnicodeString { length: s.Length, maximum: s.MaximumLength, buffer: s.Buffer }
}

/// What NDIS is told of this filter.
#[inline(never)]
fn characteristics() -> FilterCharacteristics {
    FilterCharacteristics {
        header: Header { kind: TYPE_FILTER_DRIVER, revision: 2, size: size::FILTER_CHARACTERISTICS },
        major: 6,
        minor: 30,
        driver_major: 0,
        driver_minor: 1,
        flags: 0,
        friendly_name: string(wide!("Plan B Packet Filter")),
        unique_name: string(wide!("{6E3A4C2B-6B1D-4B6F-9B57-2C5B1B8F3D10}")),
        service_name: string(wide!("planb")),
        set_options: None,
        set_module_options: None,
        attach: Some(on::attach),
        detach: Some(on::detach),
        restart: Some(on::restart),
        pause: Some(on::pause),
        send: Some(on::send),
        send_complete: Some(on::send_complete),
        cancel_send: Some(on::cancel_send),
        receive: Some(on::receive),
        give_back: Some(on::give_back),
        oid: Some(on::oid),
        oid_complete: Some(on::oid_complete),
        cancel_oid: Some(on::cancel_oid),
        device_event: Some(on::device_event),
        net_event: Some(on::net_event),
        status: Some(on::status),
        direct_oid: Some(on::direct_oid),
        direct_oid_complete: Some(on::direct_oid_complete),
        cancel_direct_oid: Some(on::cancel_direct_oid),
        synchronous_oid: 0,
        synchronous_oid_complete: 0,
    }
}

/// Where the system begins: everything is there, or nothing is.
///
/// # Safety
/// Called by the system with its driver object and the path of the service's key.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "C" fn driver_entry(object: *mut DRIVER_OBJECT, path: *mut UNICODE_STRING) -> Status {
    // SAFETY: NDIS is loaded: it is imported.
    if unsafe { NdisGetVersion() } < OLDEST {
        return BAD_VERSION;
    }
    memory::start();
    let settings = Settings::read(path);
    if !fill(&settings) {
        return RESOURCES;
    }
    eventlog::start(object);
    if let Some(guard) = Image::guard() {
        boot::start(&settings, &guard);
    }
    let status = register(object);
    if status != SUCCESS {
        empty();
        return status;
    }
    // SAFETY: the object is this driver's.
    unsafe { (*object).DriverUnload = Some(unload) };
    TICKER.start(tick, core::ptr::null_mut());
    SUCCESS
}

/// Makes the driver. `false`, with nothing kept, when there is no room.
#[inline(never)]
fn fill(settings: &Settings) -> bool {
    let Some(platform) = Windows::new() else { return false };
    let Ok(gateway) = Gateway::new(platform, settings.boot) else { return false };
    let Some(driver) = Driver::new(Nt, gateway, Supply::default()) else { return false };
    // SAFETY: nothing else runs yet.
    let place = unsafe { &mut *DRIVER.value.get() };
    place.write(driver);
    DRIVER.full.store(true, Ordering::Release);
    true
}

/// Takes the driver away: no handler of it is left.
fn empty() {
    if DRIVER.full.swap(false, Ordering::AcqRel) {
        // SAFETY: nothing of the driver runs any more.
        let place = unsafe { &mut *DRIVER.value.get() };
        // SAFETY: the place was full.
        unsafe { place.assume_init_drop() };
    }
}

/// Registers filter and device, or neither.
#[inline(never)]
fn register(object: *mut DRIVER_OBJECT) -> Status {
    let mut characteristics = characteristics();
    let mut handle = Handle::NONE;
    // SAFETY: the characteristics live through the call; handlers may be called from here on.
    let status =
        unsafe { NdisFRegisterFilterDriver(object, Handle(object.cast()), &raw mut characteristics, &raw mut handle) };
    if status != SUCCESS {
        return status;
    }
    let status = device::open::<Image>(handle);
    if status != SUCCESS {
        // SAFETY: registered above, once.
        unsafe { NdisFDeregisterFilterDriver(handle) };
        return status;
    }
    // SAFETY: read by the unload alone.
    unsafe { *DRIVER.handle.get() = handle };
    SUCCESS
}

/// Where the system ends: the reverse of the entry.
unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {
    TICKER.stop();
    device::close();
    // SAFETY: written by the entry.
    let handle = unsafe { *DRIVER.handle.get() };
    // SAFETY: registered once; every module is detached when this returns.
    unsafe { NdisFDeregisterFilterDriver(handle) };
    empty();
}

/// Four times a second.
unsafe extern "C" fn tick(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    if let Some(driver) = driver() {
        driver.tick();
    }
    readers::serve::<Image>();
}
