//! The driver's beginning and end.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

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
use pfndis::im::adapter::Adapter;
use pfndis::im::between::Between;
use pfndis::im::driver::Im;
use pfndis::module::Driver;
use pfndis::sys::code::{BAD_VERSION, RESOURCES, SUCCESS, Status};
use pfndis::sys::code_im::{INTERMEDIATE_DRIVER, TYPE_MINIPORT_DRIVER, TYPE_PROTOCOL_DRIVER};
use pfndis::sys::layout::{Handle, Header, Ptr, UnicodeString};
use pfndis::sys::layout_im::{MiniportCharacteristics, ProtocolCharacteristics, size};
use pfndis::sys::modules::Ref;
use pfndis::sys::place::Held;
use wdk_sys::{DRIVER_OBJECT, KDPC, UNICODE_STRING};

use crate::sys::ndis::{
    NdisDeregisterProtocolDriver, NdisIMAssociateMiniport, NdisMDeregisterMiniportDriver, NdisMRegisterMiniportDriver,
    NdisMSleep, NdisRegisterProtocolDriver, Nt,
};
use crate::sys::{miniport, protocol};

/// Who decides.
type Judge = Gateway<Windows>;
/// The driver of this image.
pub type Planb = Driver<Between<Nt, Judge>, Judge>;
/// Its bindings.
pub type Bindings = Im<Nt, Judge>;
/// An adapter of them.
pub type One = Adapter<Nt, Judge>;

/// Places for driver and bindings, filled by the entry and emptied by the unload.
struct Once {
    full: AtomicBool,
    driver: UnsafeCell<MaybeUninit<Planb>>,
    bindings: UnsafeCell<MaybeUninit<Bindings>>,
}

// SAFETY: filled before any handler is registered and emptied after the last is gone.
unsafe impl Sync for Once {}

static DRIVER: Once = Once {
    full: AtomicBool::new(false),
    driver: UnsafeCell::new(MaybeUninit::uninit()),
    bindings: UnsafeCell::new(MaybeUninit::uninit()),
};
static TICKER: Ticker = Ticker::new();
/// What the miniports were registered as.
pub static MINIPORTS: Held = Held::new();
/// What the protocol was registered as.
pub static PROTOCOL: Held = Held::new();
/// Miniports there are.
static VISITORS: AtomicU32 = AtomicU32::new(0);
/// Somebody opens or closes the device.
static AT_DOOR: AtomicBool = AtomicBool::new(false);

/// The driver, while there is one.
pub fn driver() -> Option<&'static Planb> {
    if !DRIVER.full.load(Ordering::Acquire) {
        return None;
    }
    // SAFETY: the place is full, and stays so until the last handler is gone.
    let place = unsafe { &*DRIVER.driver.get() };
    // SAFETY: as above.
    Some(unsafe { place.assume_init_ref() })
}

/// Its bindings.
pub fn bindings() -> Option<&'static Bindings> {
    if !DRIVER.full.load(Ordering::Acquire) {
        return None;
    }
    // SAFETY: as of `driver`.
    let place = unsafe { &*DRIVER.bindings.get() };
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

/// What NDIS is told of the miniports.
fn miniports() -> MiniportCharacteristics {
    MiniportCharacteristics {
        header: Header { kind: TYPE_MINIPORT_DRIVER, revision: 2, size: size::MINIPORT_CHARACTERISTICS },
        major: 6,
        minor: 30,
        driver_major: 0,
        driver_minor: 1,
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
        header: Header { kind: TYPE_PROTOCOL_DRIVER, revision: 2, size: size::PROTOCOL_CHARACTERISTICS },
        major: 6,
        minor: 30,
        driver_major: 0,
        driver_minor: 1,
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
    // The timer first: a bind may come before the registration returns.
    TICKER.start(tick, core::ptr::null_mut());
    let status = register(object, path);
    if status != SUCCESS {
        TICKER.stop();
        empty();
    }
    status
}

/// Makes driver and bindings. `false`, with nothing kept, when there is no room.
fn fill(settings: &Settings) -> bool {
    let Some(platform) = Windows::new() else { return false };
    let Ok(gateway) = Gateway::new(platform, settings.boot) else { return false };
    let Some(driver) = Driver::new(Between::new(Nt), gateway, Supply::default()) else { return false };
    // SAFETY: nothing else runs yet.
    let place = unsafe { &mut *DRIVER.driver.get() };
    let driver = Ref::of(place.write(driver));
    // SAFETY: nothing else runs yet.
    let place = unsafe { &mut *DRIVER.bindings.get() };
    place.write(Im::new(driver));
    DRIVER.full.store(true, Ordering::Release);
    true
}

/// Takes the driver away: no handler of it is left.
fn empty() {
    if DRIVER.full.swap(false, Ordering::AcqRel) {
        // SAFETY: nothing of the driver runs any more.
        let place = unsafe { &mut *DRIVER.bindings.get() };
        // SAFETY: the place was full.
        unsafe { place.assume_init_drop() };
        // SAFETY: nothing of the driver runs any more.
        let place = unsafe { &mut *DRIVER.driver.get() };
        // SAFETY: the place was full.
        unsafe { place.assume_init_drop() };
    }
}

/// Registers miniports and protocol, or neither. NDIS writes the handles before it calls anything that needs them.
fn register(object: *mut DRIVER_OBJECT, path: *mut UNICODE_STRING) -> Status {
    let (mut above, mut below) = (miniports(), protocol());
    // SAFETY: the characteristics live through the call.
    let status =
        unsafe { NdisMRegisterMiniportDriver(object, path, Handle::NONE, &raw mut above, MINIPORTS.place()) };
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
    TICKER.stop();
    empty();
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
        let status = if before == 0 { device::open::<Image>(MINIPORTS.get()) } else { SUCCESS };
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

/// Four times a second.
unsafe extern "C" fn tick(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    if let Some(driver) = driver() {
        driver.tick();
    }
    readers::serve::<Image>();
}
