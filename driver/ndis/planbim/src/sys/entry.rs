//! The driver's beginning and end.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pfimage::platform::Windows;
use pfimage::sys::device;
use pfimage::sys::entry::{self, Driver, Image, Place};
use pfimage::sys::nt::string;
use pfimage::wide;
use pfndis::gateway::Gateway;
use pfndis::im::adapter::Adapter;
use pfndis::im::between::Between;
use pfndis::im::driver::Im;
use pfndis::sys::code::{SUCCESS, Status};
use pfndis::sys::code_im::{INTERMEDIATE_DRIVER, TYPE_MINIPORT_DRIVER, TYPE_PROTOCOL_DRIVER};
use pfndis::sys::layout::{Handle, Ptr, Registered};
use pfndis::sys::layout_im::{MiniportCharacteristics, ProtocolCharacteristics, size};
use pfndis::sys::modules::Ref;
use pfndis::sys::place::Held;
use wdk_sys::{DRIVER_OBJECT, UNICODE_STRING};

use crate::sys::ndis::{
    NdisDeregisterProtocolDriver, NdisIMAssociateMiniport, NdisMDeregisterMiniportDriver, NdisMRegisterMiniportDriver,
    NdisMSleep, NdisRegisterProtocolDriver, Nt,
};
use crate::sys::{miniport, protocol};

/// This image: an intermediate driver.
#[derive(Clone, Copy, Debug)]
pub struct Planbim;

/// Who decides.
type Judge = Gateway<Windows>;
/// Its bindings.
pub type Bindings = Im<Nt, Judge>;
/// An adapter of them.
pub type One = Adapter<Nt, Judge>;

impl Image for Planbim {
    type Os = Between<Nt, Judge>;

    fn os() -> Self::Os {
        Between::new(Nt)
    }

    fn place() -> &'static Place<Driver<Self>> {
        static DRIVER: Place<Driver<Planbim>> = Place::new();
        &DRIVER
    }
}

static BINDINGS: Place<Bindings> = Place::new();
/// What the miniports were registered as.
pub static MINIPORTS: Held = Held::new();
/// What the protocol was registered as.
pub static PROTOCOL: Held = Held::new();
/// Miniports there are.
static VISITORS: AtomicU32 = AtomicU32::new(0);
/// Somebody opens or closes the device.
static AT_DOOR: AtomicBool = AtomicBool::new(false);

/// The driver's bindings, while there is a driver.
pub fn bindings() -> Option<&'static Bindings> {
    BINDINGS.get()
}

/// What NDIS is told of the miniports.
fn miniports() -> MiniportCharacteristics {
    MiniportCharacteristics {
        head: Registered::new(TYPE_MINIPORT_DRIVER, size::MINIPORT_CHARACTERISTICS),
        flags: INTERMEDIATE_DRIVER,
        set_options: None,
        initialize: Some(miniport::initialize),
        halt: Some(miniport::halt),
        unload: Some(unload),
        pause: Some(miniport::pause),
        restart: Some(miniport::restart),
        oid: Some(miniport::oid),
        send: Some(miniport::send),
        give_back: Some(miniport::give_back),
        cancel_send: Some(miniport::cancel_send),
        check_for_hang: None,
        reset: None,
        device_event: Some(miniport::device_event),
        shutdown: Some(miniport::shutdown),
        cancel_oid: Some(miniport::cancel_oid),
        direct_oid: Some(miniport::direct_oid),
        cancel_direct_oid: Some(miniport::cancel_direct_oid),
        synchronous_oid: 0,
    }
}

/// What NDIS is told of the protocol. Its name is the service's.
fn protocol() -> ProtocolCharacteristics {
    ProtocolCharacteristics {
        head: Registered::new(TYPE_PROTOCOL_DRIVER, size::PROTOCOL_CHARACTERISTICS),
        flags: 0,
        name: string(wide!("planbim")),
        set_options: None,
        bind: Some(protocol::bind),
        unbind: Some(protocol::unbind),
        open_complete: Some(protocol::open_complete),
        close_complete: Some(protocol::close_complete),
        net_event: Some(protocol::net_event),
        uninstall: None,
        oid_complete: Some(protocol::oid_complete),
        status: Some(protocol::status),
        receive: Some(protocol::receive),
        send_complete: Some(protocol::send_complete),
        direct_oid_complete: Some(protocol::direct_oid_complete),
    }
}

/// Where the system begins.
///
/// # Safety
/// Called by the system with its driver object and the path of the service's key.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "C" fn driver_entry(object: *mut DRIVER_OBJECT, path: *mut UNICODE_STRING) -> Status {
    entry::start::<Planbim>(object, path, |driver| {
        BINDINGS.fill(Im::new(Ref::of(driver)));
        let status = register(object, path);
        if status != SUCCESS {
            BINDINGS.empty();
        }
        status
    })
}

/// Registers miniports and protocol, or neither. NDIS writes the handles before it calls anything that needs them.
fn register(object: *mut DRIVER_OBJECT, path: *mut UNICODE_STRING) -> Status {
    let (mut above, mut below) = (miniports(), protocol());
    // SAFETY: the characteristics live through the call.
    let status = unsafe { NdisMRegisterMiniportDriver(object, path, Handle::NONE, &raw mut above, MINIPORTS.place()) };
    if status != SUCCESS {
        return status;
    }
    // SAFETY: as above; binds may come from here on.
    let status = unsafe { NdisRegisterProtocolDriver(Handle::NONE, &raw mut below, PROTOCOL.place()) };
    if status != SUCCESS {
        // SAFETY: registered above, once.
        unsafe { NdisMDeregisterMiniportDriver(MINIPORTS.get()) };
        return status;
    }
    // SAFETY: both are registered.
    unsafe { NdisIMAssociateMiniport(MINIPORTS.get(), PROTOCOL.get()) };
    SUCCESS
}

/// `MiniportDriverUnload`: the reverse of the entry. NDIS has halted the miniports; the bindings end with the protocol.
unsafe extern "C" fn unload(_: Ptr) {
    // SAFETY: registered once; every binding is closed when this returns.
    unsafe { NdisDeregisterProtocolDriver(PROTOCOL.get()) };
    // SAFETY: registered once.
    unsafe { NdisMDeregisterMiniportDriver(MINIPORTS.get()) };
    BINDINGS.empty();
    entry::stop::<Planbim>();
}

/// Does something at the device's door, alone. At `PASSIVE_LEVEL`.
fn at_door<T>(f: impl FnOnce() -> T) -> T {
    while AT_DOOR.swap(true, Ordering::Acquire) {
        // SAFETY: at PASSIVE_LEVEL.
        unsafe { NdisMSleep(1000) };
    }
    let out = f();
    AT_DOOR.store(false, Ordering::Release);
    out
}

/// A miniport comes: the first opens the device.
pub fn visit() -> Status {
    at_door(|| {
        let before = VISITORS.load(Ordering::Acquire);
        let status = if before == 0 { device::open::<Planbim>(MINIPORTS.get()) } else { SUCCESS };
        if status == SUCCESS {
            VISITORS.store(before.saturating_add(1), Ordering::Release);
        }
        status
    })
}

/// A miniport goes: the last closes the device.
pub fn leave() {
    at_door(|| {
        let before = VISITORS.load(Ordering::Acquire);
        VISITORS.store(before.saturating_sub(1), Ordering::Release);
        if before == 1 {
            device::close();
        }
    });
}
