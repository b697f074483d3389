//! The functions of NDIS an intermediate driver imports, and what NDIS calls of it.
//!
//! A binding and the miniport above it are one module of the account: the binding's handle is the module's, the miniport's
//! lies beside it. A list that leaves by one of them with another source is a fault, and so is one that comes home with a
//! context more than it went out with, or another source.

use pfndis::sys::layout::{
    Handle, Header, ListContext, NetBufferList, OidRequest, Ptr, StatusIndication, UnicodeString,
};
use pfndis::sys::layout_im::{
    BindParameters, ConfigurationObject, ConfigurationString, GeneralAttributes, InitParameters, Interface,
    MiniportCharacteristics, NetEventNotification, OpenParameters, ProtocolCharacteristics, RegistrationAttributes,
};

use crate::exports::{FAILURE, PENDING, SUCCESS, close_mock, open_mock};
use crate::nt::{self, DriverObject, Wide, zeroed};
use crate::orders;
use crate::state::{MODULES, Place, handle, module, with};
use crate::way::{answered, home, indicated, onward, paused, said};

/// The name every adapter's miniport has.
static UPPER: Wide<48> = Wide::of("\\Device\\{6E3A4C2B-6B1D-4B6F-9B57-2C5B1B8F3D10}\0\0");

/// The handle of a module's miniport.
fn miniport(n: usize) -> Handle {
    Handle(core::ptr::without_provenance_mut((n + 1) * 0x100 + 0x10))
}

/// The module an adapter's context is of.
fn of(context: Handle) -> Option<usize> {
    with(|s| s.modules.iter().position(|m| m.used && m.context == context))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisMRegisterMiniportDriver(
    driver: *mut DriverObject,
    _: *mut UnicodeString,
    _: Handle,
    characteristics: *mut MiniportCharacteristics,
    out: *mut Handle,
) -> i32 {
    let m = unsafe { *characteristics };
    let good = (m.head.header.kind, m.head.header.revision, m.head.header.size, m.flags) == (0x8A, 2, 152, 1);
    if !good || m.initialize.is_none() || m.halt.is_none() || m.pause.is_none() || m.unload.is_none() {
        return FAILURE;
    }
    let status = unsafe { open_mock(driver) };
    if status != SUCCESS {
        return status;
    }
    unsafe { (*driver).unload = unload as *const () as usize };
    with(|s| (s.miniport, s.im) = (m, true));
    unsafe { *out = Handle(core::ptr::without_provenance_mut(0x10)) };
    SUCCESS
}

/// What NT calls: NDIS calls the driver's own.
unsafe extern "C" fn unload(driver: *mut DriverObject) {
    if let Some(unload) = with(|s| s.miniport.unload) {
        unsafe { unload(driver.cast()) };
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisMDeregisterMiniportDriver(_: Handle) {
    unsafe { close_mock() };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisRegisterProtocolDriver(
    _: Handle,
    characteristics: *mut ProtocolCharacteristics,
    out: *mut Handle,
) -> i32 {
    let p = unsafe { *characteristics };
    let good = (p.head.header.kind, p.head.header.revision, p.head.header.size, p.name.length) == (0x95, 2, 128, 14);
    if !good || p.bind.is_none() || p.unbind.is_none() || p.net_event.is_none() || p.receive.is_none() {
        return FAILURE;
    }
    with(|s| (s.protocol, s.registered) = (p, true));
    unsafe { *out = Handle(core::ptr::without_provenance_mut(0x20)) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisDeregisterProtocolDriver(_: Handle) {
    for n in 0..MODULES {
        unsafe { orders::detach(n) };
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisIMAssociateMiniport(_: Handle, _: Handle) {}

#[unsafe(no_mangle)]
pub extern "C" fn NdisMSleep(_: u32) {}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisOpenAdapterEx(
    _: Handle,
    context: Handle,
    parameters: *mut OpenParameters,
    bind: Handle,
    binding: *mut Handle,
) -> i32 {
    let p = unsafe { &*parameters };
    if (p.header.kind, p.header.size, p.media_count) != (0x87, 52, 1) || unsafe { *p.media } != 0 {
        return FAILURE;
    }
    with(|s| s.modules[module(bind)].context = context);
    unsafe { *binding = bind };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisCloseAdapterEx(binding: Handle) -> i32 {
    with(|s| {
        if s.modules[module(binding)].up {
            s.fault();
        }
    });
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisCompleteBindAdapterEx(_: Handle, _: i32) {
    with(|s| s.fault());
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisCompleteUnbindAdapterEx(_: Handle) {
    with(|s| s.fault());
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisOpenConfigurationEx(object: *mut ConfigurationObject, out: *mut Handle) -> i32 {
    unsafe { *out = (*object).handle };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisReadConfiguration(
    status: *mut i32,
    value: *mut *mut ConfigurationString,
    _: Handle,
    _: *mut UnicodeString,
    kind: i32,
) {
    unsafe {
        let string = zeroed(size_of::<ConfigurationString>()).cast::<ConfigurationString>();
        (*string).kind = kind;
        (*string).text = UPPER.unicode();
        with(|s| {
            if kind != 3 {
                s.fault();
            }
            // One at a time: freed with the configuration.
            CONFIGURED.store(string, core::sync::atomic::Ordering::SeqCst);
        });
        *value = string;
        *status = SUCCESS;
    }
}

static CONFIGURED: core::sync::atomic::AtomicPtr<ConfigurationString> =
    core::sync::atomic::AtomicPtr::new(core::ptr::null_mut());

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisCloseConfiguration(_: Handle) {
    let string = CONFIGURED.swap(core::ptr::null_mut(), core::sync::atomic::Ordering::SeqCst);
    if !string.is_null() {
        unsafe { nt::free(string.cast()) };
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisIMInitializeDeviceInstanceEx(_: Handle, name: *mut UnicodeString, context: Handle) -> i32 {
    let Some(n) = of(context) else { return FAILURE };
    let (m, if_index) = with(|s| {
        if unsafe { (*name).length } != 46 * 2 {
            s.fault();
        }
        (s.miniport, s.modules[n].if_index)
    });
    unsafe {
        let p = zeroed(size_of::<InitParameters>()).cast::<InitParameters>();
        (*p).header = Header { kind: 0x81, revision: 1, size: 64 };
        (*p).instance = context;
        (*p).if_index = if_index;
        (*p).luid = u64::from(if_index);
        let status = m.initialize.map_or(FAILURE, |f| f(miniport(n), Handle(core::ptr::null_mut()), p));
        nt::free(p.cast());
        with(|s| s.modules[n].up = status == SUCCESS);
        status
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisIMCancelInitializeDeviceInstance(_: Handle, _: *mut UnicodeString) -> i32 {
    FAILURE
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisIMDeInitializeDeviceInstance(m: Handle) -> i32 {
    let (n, halt) = (module(m), with(|s| s.miniport.halt));
    let context = with(|s| {
        s.modules[n].up = false;
        s.modules[n].context
    });
    if let Some(halt) = halt {
        unsafe { halt(context, 1) };
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisMSetMiniportAttributes(m: Handle, attributes: *const Header) -> i32 {
    let header = unsafe { *attributes };
    let context = with(|s| s.modules[module(m)].context);
    let good = match (header.kind, header.size) {
        (0x9E, 28) => unsafe { (*attributes.cast::<RegistrationAttributes>()).context == context },
        (0x9F, 224) => unsafe { (*attributes.cast::<GeneralAttributes>()).mac_length == 6 },
        _ => false,
    };
    if good { SUCCESS } else { FAILURE }
}

/// A list leaves by a handle: it must say so.
unsafe fn named(by: Handle, lists: *mut NetBufferList) {
    let mut next = lists;
    while !next.is_null() {
        unsafe {
            if (*next).source != by {
                with(|s| s.fault());
            }
            next = (*next).next;
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisSendNetBufferLists(binding: Handle, lists: *mut NetBufferList, _: u32, flags: u32) {
    unsafe {
        named(binding, lists);
        if flags & 2 != 0 {
            with(|s| s.fault());
        }
        onward(binding, lists, 1, Place::Below);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisMIndicateReceiveNetBufferLists(
    m: Handle,
    lists: *mut NetBufferList,
    _: u32,
    _: u32,
    flags: u32,
) {
    unsafe {
        named(m, lists);
        indicated(m, lists, flags);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisMSendNetBufferListsComplete(m: Handle, lists: *mut NetBufferList, _: u32) {
    unsafe { home(m, lists, 3) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisReturnNetBufferLists(binding: Handle, lists: *mut NetBufferList, _: u32) {
    unsafe { home(binding, lists, 4) };
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisCancelSendNetBufferLists(_: Handle, _: Ptr) {}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisAllocateNetBufferListContext(list: *mut NetBufferList, size: u16, _: u16, _: u32) -> i32 {
    unsafe {
        let context = zeroed(16 + usize::from(size)).cast::<ListContext>();
        ((*context).size, (*context).next) = (size, (*list).context);
        (*list).context = context;
    }
    with(|s| s.mdls += 1);
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisFreeNetBufferListContext(list: *mut NetBufferList, size: u16) {
    unsafe {
        let context = (*list).context;
        with(|s| {
            s.mdls -= 1;
            if (*context).size != size {
                s.fault();
            }
        });
        (*list).context = (*context).next;
        nt::free(context.cast());
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisOidRequest(binding: Handle, request: *mut OidRequest) -> i32 {
    unsafe { orders::requested(module(binding), request) };
    PENDING
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisDirectOidRequest(binding: Handle, request: *mut OidRequest) -> i32 {
    unsafe { NdisOidRequest(binding, request) }
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisCancelOidRequest(_: Handle, _: Ptr) {}

#[unsafe(no_mangle)]
pub extern "C" fn NdisCancelDirectOidRequest(_: Handle, _: Ptr) {}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisMOidRequestComplete(m: Handle, request: *mut OidRequest, status: i32) {
    unsafe { answered(m, request, status) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisMDirectOidRequestComplete(m: Handle, request: *mut OidRequest, status: i32) {
    unsafe { NdisMOidRequestComplete(m, request, status) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn NdisMIndicateStatusEx(m: Handle, status: *mut StatusIndication) {
    unsafe { said(m, status) };
}

#[unsafe(no_mangle)]
pub extern "C" fn NdisMPauseComplete(m: Handle) {
    paused(m);
}

/// Tells a binding something.
unsafe fn tell(context: Handle, event: i32) {
    let p = with(|s| s.protocol);
    unsafe {
        let e = zeroed(size_of::<NetEventNotification>()).cast::<NetEventNotification>();
        (*e).header = Header { kind: 0x80, revision: 1, size: 164 };
        (*e).event = event;
        if p.net_event.map(|f| f(context, e)) != Some(SUCCESS) {
            with(|s| s.fault());
        }
        nt::free(e.cast());
    }
}

/// Binds an adapter; the driver asks for its miniport; both run.
pub unsafe fn attach(n: usize, mtu: u32, mac: &[u8]) -> Option<u32> {
    let (p, m) = with(|s| (s.protocol, s.miniport));
    unsafe {
        let b = zeroed(size_of::<BindParameters>()).cast::<BindParameters>();
        (*b).header = Header { kind: 0x86, revision: 4, size: 312 };
        (*b).mtu = mtu;
        (*b).mac_length = 6;
        (&mut (*b).mac)[..6].copy_from_slice(mac);
        (*b).connect = 1;
        (*b).interface = Interface { access: 2, direction: 0, connection: 1, if_type: 6, connector: 1 };
        let status = p.bind.map(|f| f(Handle(core::ptr::null_mut()), handle(n), b));
        nt::free(b.cast());
        let (context, up) = with(|s| (s.modules[n].context, s.modules[n].up));
        if status != Some(SUCCESS) || !up {
            with(|s| s.modules[n].used = false);
            return None;
        }
        tell(context, 9);
        if m.restart.map(|f| f(context, core::ptr::null_mut())) != Some(SUCCESS) {
            return None;
        }
        with(|s| s.modules[n].paused = false);
    }
    Some(n as u32)
}

/// Pauses the miniport, then the binding, and takes both away.
pub unsafe fn detach(n: usize) {
    let (p, m, context) = with(|s| (s.protocol, s.miniport, s.modules[n].context));
    unsafe {
        let status = m.pause.map(|f| f(context, core::ptr::null_mut()));
        orders::settle();
        with(|s| {
            if (status == Some(PENDING)) != s.modules[n].paused {
                s.fault();
            }
            s.modules[n].paused = true;
        });
        tell(context, 8);
        if p.unbind.map(|f| f(handle(n), context)) != Some(SUCCESS) {
            with(|s| s.fault());
        }
    }
    with(|s| s.modules[n].used = false);
}

/// A list from below or above.
pub unsafe fn frame(context: Handle, list: *mut NetBufferList, below: bool, flags: u32) {
    let (p, m) = with(|s| (s.protocol, s.miniport));
    unsafe {
        if below {
            if let Some(receive) = p.receive {
                receive(context, list, 0, 1, flags);
            }
        } else if let Some(send) = m.send {
            // As TCP/IP sends: NDIS may be asked to look for a loop back.
            send(context, list, 0, flags | 2);
        }
    }
}

/// A list that was sent is done, or one that was indicated comes back: to whom its source says.
pub unsafe fn back(list: *mut NetBufferList, down: bool) {
    let (p, m) = with(|s| (s.protocol, s.miniport));
    unsafe {
        let context = with(|s| s.modules[module((*list).source)].context);
        (*list).status = 0;
        if down {
            if let Some(done) = p.send_complete {
                done(context, list, 0);
            }
        } else if let Some(give_back) = m.give_back {
            give_back(context, list, 0);
        }
    }
}
