//! The driver's beginning and end.

use pfimage::sys::device;
use pfimage::sys::entry::{self, Driver, Image, Place};
use pfimage::sys::nt::string;
use pfimage::wide;
use pfndis::sys::code::{SUCCESS, Status, TYPE_FILTER_DRIVER};
use pfndis::sys::layout::{FilterCharacteristics, Handle, Registered, size};
use pfndis::sys::place::Held;
use wdk_sys::{DRIVER_OBJECT, UNICODE_STRING};

use crate::sys::callbacks as on;
use crate::sys::ndis::{NdisFDeregisterFilterDriver, NdisFRegisterFilterDriver, Nt};

/// This image: a filter.
#[derive(Clone, Copy, Debug)]
pub struct Planb;

impl Image for Planb {
    type Os = Nt;

    fn os() -> Nt {
        Nt
    }

    fn place() -> &'static Place<Driver<Self>> {
        static DRIVER: Place<Driver<Planb>> = Place::new();
        &DRIVER
    }
}

/// What the filter was registered as.
static FILTER: Held = Held::new();

/// What NDIS is told of this filter.
#[inline(never)]
fn characteristics() -> FilterCharacteristics {
    FilterCharacteristics {
        head: Registered::new(TYPE_FILTER_DRIVER, size::FILTER_CHARACTERISTICS),
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

/// Where the system begins.
///
/// # Safety
/// Called by the system with its driver object and the path of the service's key.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "C" fn driver_entry(object: *mut DRIVER_OBJECT, path: *mut UNICODE_STRING) -> Status {
    entry::start::<Planb>(object, path, |_| register(object))
}

/// Registers filter and device, or neither.
#[inline(never)]
fn register(object: *mut DRIVER_OBJECT) -> Status {
    let mut characteristics = characteristics();
    // SAFETY: the characteristics live through the call; handlers may be called from here on.
    let status =
        unsafe { NdisFRegisterFilterDriver(object, Handle(object.cast()), &raw mut characteristics, FILTER.place()) };
    if status != SUCCESS {
        return status;
    }
    let status = device::open::<Planb>(FILTER.get());
    if status != SUCCESS {
        // SAFETY: registered above, once.
        unsafe { NdisFDeregisterFilterDriver(FILTER.get()) };
        return status;
    }
    // SAFETY: the object is this driver's.
    unsafe { (*object).DriverUnload = Some(unload) };
    SUCCESS
}

/// Where the system ends: the reverse of the entry.
unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {
    device::close();
    // SAFETY: registered once; every module is detached when this returns.
    unsafe { NdisFDeregisterFilterDriver(FILTER.get()) };
    entry::stop::<Planb>();
}
