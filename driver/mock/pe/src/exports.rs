//! The functions of NDIS both images import.

use core::sync::atomic::{AtomicUsize, Ordering};

use pfndis::sys::code::info;
use pfndis::sys::layout::{
    DeviceAttributes, Handle, ListContext, ListPoolParameters, LockState, Mdl, NetBuffer, NetBufferList, OidRequest, Ptr,
};

use crate::nt::{self, Dispatch, DriverObject, Irp, Wide, zeroed};
use crate::orders;
use crate::state::{Place, with};

/// What a lock's state says while it is held.
const HELD: u8 = 3;

pub const SUCCESS: i32 = 0;
pub const PENDING: i32 = 0x103;
pub const FAILURE: i32 = 0xC000_0001_u32 as i32;

pub static MOCK_NAME: Wide<17> = Wide::of("\\Device\\PlanBMock");
pub static MOCK_LINK: Wide<21> = Wide::of("\\DosDevices\\PlanBMock");

#[unsafe(no_mangle)]
pub extern "C" fn NdisGetVersion() -> u32 {
    6 << 16 | 83
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisGetSystemUpTimeEx(up: *mut i64) {
    unsafe { *up = with(|s| s.clock) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisGetCurrentSystemTime(now: *mut i64) {
    unsafe { *now = with(|s| 116_444_736_000_000_000 + 1_700_000_000_i64 * 10_000_000 + s.clock * 10_000) };
}

/// Every request of the driver's devices.
unsafe extern "C" fn dispatch(device: Ptr, irp: *mut Irp) -> i32 {
    let stack = unsafe { &*(*irp).current };
    let (mock, to) = with(|s| (s.mock, s.planb_major[stack.major as usize]));
    if device == mock {
        return unsafe { orders::request(irp) };
    }
    match to {
        Some(f) => unsafe { f(device, irp) },
        None => {
            unsafe {
                (*irp).status = FAILURE;
                (*irp).information = 0;
                nt::IofCompleteRequest(irp, 0);
            }
            FAILURE
        }
    }
}

/// Makes the mock's device, one of the driver's.
pub unsafe fn open_mock(driver: *mut DriverObject) -> i32 {
    for slot in unsafe { &mut (*driver).major } {
        *slot = Some(dispatch as Dispatch);
    }
    let mut mock = core::ptr::null_mut();
    let status = unsafe { nt::IoCreateDevice(driver, 0, &mut MOCK_NAME.unicode(), 0x12, 0, 0, &raw mut mock) };
    if status != SUCCESS {
        return status;
    }
    unsafe { nt::IoCreateSymbolicLink(&mut MOCK_LINK.unicode(), &mut MOCK_NAME.unicode()) };
    with(|s| {
        (s.driver, s.mock) = (driver, mock);
        if s.clock == 0 {
            s.clock = 1_000_000;
        }
    });
    SUCCESS
}

/// Takes it away.
pub unsafe fn close_mock() {
    let mock = with(|s| {
        s.registered = false;
        core::mem::replace(&mut s.mock, core::ptr::null_mut())
    });
    unsafe {
        nt::IoDeleteSymbolicLink(&mut MOCK_LINK.unicode());
        nt::IoDeleteDevice(mock);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisRegisterDeviceEx(
    _: Handle,
    attributes: *mut DeviceAttributes,
    device: *mut Ptr,
    out: *mut Handle,
) -> i32 {
    let a = unsafe { &*attributes };
    let driver = with(|s| s.driver);
    let status = unsafe { nt::IoCreateDevice(driver, a.extension, a.device, 0x12, 0x100, 0, device) };
    if status != SUCCESS {
        return status;
    }
    let status = unsafe { nt::IoCreateSymbolicLink(a.symbolic, a.device) };
    let major = unsafe { *a.major.cast::<[Option<Dispatch>; 28]>() };
    let sddl = unsafe { &*a.sddl };
    // A sum over the characters: whoever counts knows which string it must be.
    let text = unsafe { core::slice::from_raw_parts(sddl.buffer, (sddl.length / 2) as usize) };
    let sum = text.iter().fold(0_u32, |n, c| n.wrapping_mul(31).wrapping_add(u32::from(*c)));
    with(|s| (s.planb, s.planb_major, s.sddl) = (unsafe { *device }, major, sum));
    unsafe { *out = Handle((*device).cast()) };
    status
}

static PLANB_LINK: Wide<17> = Wide::of("\\DosDevices\\PlanB");

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisDeregisterDeviceEx(device: Handle) {
    unsafe {
        nt::IoDeleteSymbolicLink(&mut PLANB_LINK.unicode());
        nt::IoDeleteDevice(device.0);
    }
    with(|s| s.planb_major = [None; 28]);
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisAllocateNetBufferListPool(_: Handle, parameters: *const ListPoolParameters) -> Handle {
    let p = unsafe { &*parameters };
    with(|s| {
        if p.header.size != 16 || p.context != 16 || p.with_buffer != 1 {
            s.fault();
        }
        s.pools += 1;
    });
    Handle(core::ptr::without_provenance_mut(0x20))
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisFreeNetBufferListPool(_: Handle) {
    with(|s| s.pools -= 1);
}

/// A list with one frame over pieces, not in the account yet.
pub unsafe fn new_list(mdl: *mut Mdl, offset: u32, length: u32) -> *mut NetBufferList {
    unsafe {
        let list = zeroed(368).cast::<NetBufferList>();
        let frame = zeroed(size_of::<NetBuffer>()).cast::<NetBuffer>();
        let context = zeroed(32).cast::<ListContext>();
        (*context).size = 16;
        (*list).context = context;
        (*list).first = frame;
        (*frame).mdl_chain = mdl;
        (*frame).offset = offset;
        (*frame).length = length;
        (*frame).current_mdl = mdl;
        (*frame).current_mdl_offset = offset;
        list
    }
}

/// Frees a list with its frame and context.
pub unsafe fn free_list(list: *mut NetBufferList) {
    unsafe {
        nt::free((*list).context.cast());
        nt::free((*list).first.cast());
        nt::free(list.cast());
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisAllocateNetBufferAndNetBufferList(
    _: Handle,
    _: u16,
    _: u16,
    mdl: *mut Mdl,
    offset: u32,
    length: usize,
) -> *mut NetBufferList {
    let list = unsafe { new_list(mdl, offset, length as u32) };
    with(|s| s.add(list, Place::Filter, true));
    list
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFreeNetBufferList(list: *mut NetBufferList) {
    with(|s| s.moved(list, Place::Filter, Place::None));
    unsafe { free_list(list) };
}

/// A piece over memory.
pub unsafe fn new_mdl(at: *mut u8, length: u32, mapped: bool) -> *mut Mdl {
    unsafe {
        let mdl = zeroed(size_of::<Mdl>()).cast::<Mdl>();
        (*mdl).start = at;
        (*mdl).count = length;
        (*mdl).mapped = if mapped { at } else { core::ptr::null_mut() };
        (*mdl).flags = if mapped { 4 } else { 2 };
        mdl
    }
}

// Reader-writer locks. Wine keeps no thread on its processor, which is what readers rely on: they are let in one at a time.

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisAllocateRWLock(_: Handle) -> Handle {
    Handle(unsafe { zeroed(size_of::<AtomicUsize>()) }.cast())
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFreeRWLock(lock: Handle) {
    unsafe { nt::free(lock.0.cast()) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisAcquireRWLockRead(lock: Handle, state: *mut LockState, _: u8) {
    let word = unsafe { AtomicUsize::from_ptr(lock.0.cast()) };
    while word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
        core::hint::spin_loop();
    }
    unsafe { (*state).state = HELD };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisAcquireRWLockWrite(lock: Handle, state: *mut LockState, flags: u8) {
    unsafe { NdisAcquireRWLockRead(lock, state, flags) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisReleaseRWLock(lock: Handle, state: *mut LockState) {
    let before = unsafe { AtomicUsize::from_ptr(lock.0.cast()) }.swap(0, Ordering::Release);
    if before != 1 || unsafe { (*state).state } != HELD {
        with(|s| s.fault());
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisAllocateMdl(_: Handle, at: Ptr, length: u32) -> *mut Mdl {
    with(|s| s.mdls += 1);
    unsafe { new_mdl(at.cast(), length, true) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFreeMdl(mdl: *mut Mdl) {
    with(|s| s.mdls -= 1);
    unsafe { nt::free(mdl.cast()) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisCopySendNetBufferListInfo(to: *mut NetBufferList, from: *mut NetBufferList) {
    info::COPIED_OF_SENT.iter().for_each(|place| unsafe { (*to).info[*place] = (*from).info[*place] });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisCopyReceiveNetBufferListInfo(to: *mut NetBufferList, from: *mut NetBufferList) {
    info::COPIED_OF_RECEIVED.iter().for_each(|place| unsafe { (*to).info[*place] = (*from).info[*place] });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisAllocateCloneOidRequest(
    _: Handle,
    request: *mut OidRequest,
    _: u32,
    out: *mut *mut OidRequest,
) -> i32 {
    unsafe {
        let clone = zeroed(size_of::<OidRequest>()).cast::<OidRequest>();
        clone.write(*request);
        (*clone).source = [core::ptr::null_mut(); 2];
        *out = clone;
    }
    with(|s| s.mdls += 1);
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFreeCloneOidRequest(_: Handle, request: *mut OidRequest) {
    with(|s| s.mdls -= 1);
    unsafe { nt::free(request.cast()) };
}
