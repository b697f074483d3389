//! The beginning and the end of an image: what comes before and after its registration with NDIS, and the driver between.
//!
//! IRQL: `PASSIVE_LEVEL`, but for the timer's tick.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use pfndis::frames::Supply;
use pfndis::gateway::Gateway;
use pfndis::module;
use pfndis::os::Os;
use pfndis::sys::code::{BAD_VERSION, RESOURCES, SUCCESS, Status};
use wdk_sys::{DRIVER_OBJECT, KDPC, UNICODE_STRING};

use crate::platform::Windows;
use crate::sys::ndis::NdisGetVersion;
use crate::sys::registry::Settings;
use crate::sys::timer::{ALARM, Ticker};
use crate::sys::{boot, eventlog, memory, readers};

/// The oldest NDIS the images run on: 6.30, Windows 8.
const OLDEST: u32 = 6 << 16 | 30;

/// A place for one value of the whole image, filled by the entry and emptied by the unload.
///
/// **Invariant:** filled before any handler is registered that looks there, emptied after the last is gone.
pub struct Place<T> {
    full: AtomicBool,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the invariant; in between the value is shared.
unsafe impl<T: Send + Sync> Sync for Place<T> {}

impl<T> Place<T> {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { full: AtomicBool::new(false), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Puts the value there.
    pub fn fill(&'static self, value: T) -> &'static T {
        // SAFETY: nothing looks there yet.
        let place = unsafe { &mut *self.value.get() };
        let value = place.write(value);
        self.full.store(true, Ordering::Release);
        value
    }

    /// The value, while there is one.
    pub fn get(&'static self) -> Option<&'static T> {
        if !self.full.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: the place is full, and stays so until the last handler is gone.
        let place = unsafe { &*self.value.get() };
        // SAFETY: as above.
        Some(unsafe { place.assume_init_ref() })
    }

    /// Takes the value away, if there is one.
    pub fn empty(&'static self) {
        if self.full.swap(false, Ordering::AcqRel) {
            // SAFETY: nothing looks there any more.
            let place = unsafe { &mut *self.value.get() };
            // SAFETY: the place was full.
            unsafe { place.assume_init_drop() };
        }
    }
}

/// The driver of an image.
pub type Driver<I> = module::Driver<<I as Image>::Os, Gateway<Windows>>;

/// An image: who is above and below its modules, and where its driver lies.
pub trait Image: Sized + 'static {
    /// NDIS around its modules.
    type Os: Os + Send + 'static;

    /// That.
    fn os() -> Self::Os;

    /// Where its driver lies.
    fn place() -> &'static Place<Driver<Self>>;

    /// Its driver, while there is one.
    fn driver() -> Option<&'static Driver<Self>> {
        Self::place().get()
    }
}

static TICKER: Ticker = Ticker::new();

/// Begins: everything is there, or nothing is. `register` makes the driver known to NDIS, or keeps nothing; NDIS may call
/// the image's handlers from within.
///
/// # Errors
/// The status the system is told.
#[inline(never)]
pub fn start<I: Image>(
    object: *mut DRIVER_OBJECT,
    path: *mut UNICODE_STRING,
    register: impl FnOnce(&'static Driver<I>) -> Status,
) -> Status {
    // SAFETY: NDIS is loaded: it is imported.
    if unsafe { NdisGetVersion() } < OLDEST {
        return BAD_VERSION;
    }
    memory::start();
    let settings = Settings::read(path);
    let Some(driver) = fill::<I>(&settings) else { return RESOURCES };
    eventlog::start(object);
    boot::start(&settings, driver);
    ALARM.prepare(alarm::<I>);
    TICKER.prepare(tick::<I>);
    TICKER.start();
    let status = register(driver);
    if status != SUCCESS {
        stop::<I>();
    }
    status
}

/// Makes the driver. Nothing is kept when there is no room.
#[inline(never)]
fn fill<I: Image>(settings: &Settings) -> Option<&'static Driver<I>> {
    let gateway = Gateway::new(Windows::new()?, settings.boot).ok()?;
    Some(I::place().fill(module::Driver::new(I::os(), gateway, Supply::default())?))
}

/// Ends, when NDIS knows the driver no more: the reverse of the beginning.
pub fn stop<I: Image>() {
    TICKER.stop();
    ALARM.stop();
    I::place().empty();
}

/// Four times a second.
unsafe extern "C" fn tick<I: Image>(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    if let Some(driver) = I::driver() {
        driver.tick();
        readers::serve(driver);
    }
}

/// A frame that waited is due.
unsafe extern "C" fn alarm<I: Image>(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    if let Some(driver) = I::driver() {
        driver.wake();
    }
}
