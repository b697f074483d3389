//! `\\.\PlanB`: messages of the control protocol, one request each.
//!
//! The system and administrators may open it, nobody else; a name below it is secured like it. A handle is a client of
//! control from its first message until it is cleaned up; with it go its tickets.
//!
//! IRQL: `PASSIVE_LEVEL`. Locks: control's own, a dispatcher object, then for parts of a request the filter's.

use core::cell::UnsafeCell;

use pfdriver::filter::By;
use pfndis::device::{Asked, Device, Message, Word};
use pfndis::message::{DEVICE_NAME, LINK_NAME, SDDL, TELL};
use pfndis::sys::code::{FAILURE, PENDING, SUCCESS, Status, TYPE_DEVICE_ATTRIBUTES};
use pfndis::sys::layout::{DeviceAttributes, Handle, Header, Irp, StackLocation, UnicodeString, size};
use wdk_sys::{DEVICE_OBJECT, IRP, KEVENT, NTSTATUS, PDRIVER_DISPATCH};

use crate::sys::boot;
use crate::sys::entry::Image;
use crate::sys::ndis::{NdisDeregisterDeviceEx, NdisRegisterDeviceEx};
use crate::sys::readers::{Nt, READERS, Request};
use crate::wide;

// The records read here are wdk-sys's, read by place: its names differ from one kit to another.
const _: () = assert!(size_of::<Irp>() == size_of::<IRP>());
const _: () = assert!(core::mem::offset_of!(IRP, IoStatus) == core::mem::offset_of!(Irp, status));
const _: () = assert!(core::mem::offset_of!(IRP, AssociatedIrp) == core::mem::offset_of!(Irp, buffer));
const _: () = assert!(size_of::<StackLocation>() == size_of::<wdk_sys::IO_STACK_LOCATION>());
const _: () = assert!(
    core::mem::offset_of!(wdk_sys::IO_STACK_LOCATION, FileObject) == core::mem::offset_of!(StackLocation, file)
);

/// Steps a ruleset may take for a packet.
pub const BUDGET: u32 = 4096;
/// `FILE_DEVICE_SECURE_OPEN`.
const SECURE_OPEN: u32 = 0x100;
/// Major functions there are.
const FUNCTIONS: usize = 28;
// `IRP_MJ_…`.
const CREATE: usize = 0;
const CLOSE: usize = 2;
const CLEANUP: usize = 0x12;
const CONTROL: usize = 0xE;

/// Control, behind an event that one thread at a time waits for.
struct Desk {
    free: UnsafeCell<KEVENT>,
    control: UnsafeCell<Device>,
    device: UnsafeCell<Handle>,
}

// SAFETY: control is reached through `with`; the handle is written before and read after all requests.
unsafe impl Sync for Desk {}

static DESK: Desk = Desk {
    // SAFETY: a plain record, initialised before use.
    free: UnsafeCell::new(unsafe { core::mem::zeroed() }),
    control: UnsafeCell::new(Device::new(BUDGET)),
    device: UnsafeCell::new(Handle::NONE),
};

impl Desk {
    /// Does something with control, alone.
    fn with<R>(&self, f: impl FnOnce(&mut Device) -> R) -> R {
        let event = self.free.get();
        // SAFETY: the event was initialised; at PASSIVE_LEVEL, waiting as long as it takes.
        let _waited = unsafe { wdk_sys::ntddk::KeWaitForSingleObject(event.cast(), 0, 0, 0, core::ptr::null_mut()) };
        // SAFETY: whoever the event let through is alone.
        let control = unsafe { &mut *self.control.get() };
        let out = f(control);
        // SAFETY: the event was initialised.
        let _before = unsafe { wdk_sys::ntddk::KeSetEvent(event, 0, 0) };
        out
    }
}

/// Opens the device for business; `driver` is what the driver registered as.
pub fn open<I: Image>(driver: Handle) -> Status {
    // SAFETY: nothing waits for it yet. SynchronizationEvent, signalled.
    unsafe { wdk_sys::ntddk::KeInitializeEvent(DESK.free.get(), 1, 1) };
    let mut functions: [PDRIVER_DISPATCH; FUNCTIONS] = [None; FUNCTIONS];
    for at in [CREATE, CLOSE, CLEANUP, CONTROL] {
        functions[at] = Some(dispatch::<I>);
    }
    let (mut name, mut link, sddl) = (wide!(DEVICE_NAME), wide!(LINK_NAME), wide!(SDDL));
    let mut attributes = DeviceAttributes {
        header: Header { kind: TYPE_DEVICE_ATTRIBUTES, revision: 1, size: size::DEVICE_ATTRIBUTES },
        device: (&raw mut name).cast(),
        symbolic: (&raw mut link).cast(),
        major: functions.as_mut_ptr().cast(),
        extension: 0,
        sddl: (&raw const sddl).cast::<UnicodeString>(),
        class: core::ptr::null_mut(),
    };
    let (mut device, mut handle): (*mut DEVICE_OBJECT, Handle) = (core::ptr::null_mut(), Handle::NONE);
    // SAFETY: names and functions live through the call.
    let status = unsafe { NdisRegisterDeviceEx(driver, &raw mut attributes, &raw mut device, &raw mut handle) };
    if status != SUCCESS {
        return status;
    }
    // SAFETY: the device is this driver's and nobody has opened it yet.
    unsafe { (*device).Characteristics |= SECURE_OPEN };
    // SAFETY: read by `close` alone.
    unsafe { *DESK.device.get() = handle };
    SUCCESS
}

/// Closes the device: no request runs when this returns.
pub fn close() {
    // SAFETY: written by `open`.
    let handle = unsafe { *DESK.device.get() };
    // SAFETY: registered once.
    unsafe { NdisDeregisterDeviceEx(handle) };
    DESK.with(|device| *device = Device::new(BUDGET));
}

/// One request.
unsafe extern "C" fn dispatch<I: Image>(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the request is this driver's until it is completed; the layouts were compared above.
    let request = unsafe { &mut *irp.cast::<Irp>() };
    // SAFETY: each request has a current stack location.
    let stack = unsafe { &*request.current };
    let done = match usize::from(stack.major) {
        CREATE | CLOSE => Some((SUCCESS, 0)),
        CLEANUP => {
            leave(stack);
            Some((SUCCESS, 0))
        }
        CONTROL => message::<I>(irp, request.buffer, stack),
        _ => Some((FAILURE, 0)),
    };
    // A request that waits may be completed already: nothing of it is looked at.
    let Some((status, written)) = done else { return PENDING };
    complete(irp, status, written);
    status
}

/// Completes a request of this driver's, once.
pub fn complete(irp: *mut IRP, status: Status, written: usize) {
    // SAFETY: the request is this driver's until it is completed.
    let request = unsafe { &mut *irp.cast::<Irp>() };
    request.status = status;
    request.information = written;
    // SAFETY: as above; it is the system's from here on.
    unsafe { wdk_sys::ntddk::IofCompleteRequest(irp, 0) };
}

/// What a handle keeps for the device.
fn word(stack: &StackLocation) -> Option<&mut Word> {
    // SAFETY: a request through a handle has its file object, whose second context is this driver's. Requests of one
    // handle meet here with control's event held.
    let file = unsafe { stack.file.as_mut() }?;
    // SAFETY: a word of the device is a number.
    Some(unsafe { &mut *(&raw mut file.context2).cast::<Word>() })
}

/// A handle is no more: its client is gone, and its readers are let go.
fn leave(stack: &StackLocation) {
    DESK.with(|device| {
        if let Some(word) = word(stack) {
            device.leave(word, stack.file.addr(), &READERS, &Nt);
        }
    });
}

/// A message and its answer; `None` when the request waits.
fn message<I: Image>(irp: *mut IRP, buffer: *mut u8, stack: &StackLocation) -> Option<(Status, usize)> {
    let sizes = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let (input, output) = (sizes(stack.input), sizes(stack.output));
    let Some(driver) = I::driver() else { return Some((FAILURE, 0)) };
    // SAFETY: a buffered request's buffer holds the longer of input and output.
    let whole = unsafe { core::slice::from_raw_parts_mut(buffer, input.max(output)) };
    let message = match Message::take(stack.code, whole, input, output) {
        Ok(message) => message,
        Err(status) => return Some((status, 0)),
    };
    DESK.with(|device| {
        let (Some(word), Some(reply)) = (word(stack), whole.get_mut(..output)) else { return Some((FAILURE, 0)) };
        let (request, owner) = (Request(irp), stack.file.addr());
        let done = device.request(Asked { request, owner, word, message, reply, who: who() }, &READERS, &Nt, driver);
        if stack.code == TELL {
            boot::after(driver);
        }
        done
    })
}

/// Who asks: the process; its user is known to the system's audit.
fn who() -> By {
    // SAFETY: any level will do.
    let pid = unsafe { wdk_sys::ntddk::PsGetCurrentProcessId() }.addr();
    By { uid: 0, pid: u32::try_from(pid).unwrap_or(0) }
}
