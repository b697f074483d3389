//! NDIS's functions for protocols and miniports, as ndis.sys exports them, and [`Nt`], which gives them to the driver.

use core::sync::atomic::{AtomicI32, AtomicU32};

use pfimage::sys::nt::TAG;
use pfimage::wide;
use pfndis::im::names;
use pfndis::im::os::Ndis;
use pfndis::sys::code::{FAILURE, MEDIUM_802_3, RECEIVE_RESOURCES, SUCCESS, Status};
use pfndis::sys::code_im::{MULTI_STRING, NOT_FOUND, TYPE_CONFIGURATION, TYPE_OPEN};
use pfndis::sys::layout::{Handle, Header, NetBufferList, OidRequest, Ptr, StatusIndication, UnicodeString};
use pfndis::sys::layout_im::{
    BindParameters, ConfigurationObject, ConfigurationString, MiniportCharacteristics, OpenParameters,
    ProtocolCharacteristics, size,
};
use pfndis::sys::list::{Chain, List};
use wdk_sys::{DRIVER_OBJECT, UNICODE_STRING};

use crate::sys::entry::{MINIPORTS, PROTOCOL};

#[allow(missing_docs, reason = "NDIS's own names and prototypes")]
unsafe extern "C" {
    pub fn NdisMRegisterMiniportDriver(
        driver: *mut DRIVER_OBJECT,
        path: *mut UNICODE_STRING,
        context: Handle,
        characteristics: *mut MiniportCharacteristics,
        handle: *mut Handle,
    ) -> Status;
    pub fn NdisMDeregisterMiniportDriver(handle: Handle);
    pub fn NdisRegisterProtocolDriver(
        context: Handle,
        characteristics: *mut ProtocolCharacteristics,
        handle: *mut Handle,
    ) -> Status;
    pub fn NdisDeregisterProtocolDriver(handle: Handle);
    pub fn NdisIMAssociateMiniport(driver: Handle, protocol: Handle);
    pub fn NdisMSleep(microseconds: u32);
    fn NdisOpenAdapterEx(
        protocol: Handle,
        context: Handle,
        parameters: *mut OpenParameters,
        bind: Handle,
        binding: *mut Handle,
    ) -> Status;
    fn NdisCloseAdapterEx(binding: Handle) -> Status;
    fn NdisCompleteBindAdapterEx(bind: Handle, status: Status);
    fn NdisCompleteUnbindAdapterEx(unbind: Handle);
    fn NdisIMInitializeDeviceInstanceEx(driver: Handle, name: *mut UnicodeString, context: Handle) -> Status;
    fn NdisIMCancelInitializeDeviceInstance(driver: Handle, name: *mut UnicodeString) -> Status;
    fn NdisIMDeInitializeDeviceInstance(miniport: Handle) -> Status;
    fn NdisMSetMiniportAttributes(miniport: Handle, attributes: *const Header) -> Status;
    fn NdisOpenConfigurationEx(object: *mut ConfigurationObject, configuration: *mut Handle) -> Status;
    fn NdisReadConfiguration(
        status: *mut Status,
        value: *mut *mut ConfigurationString,
        configuration: Handle,
        keyword: *mut UNICODE_STRING,
        kind: i32,
    );
    fn NdisCloseConfiguration(configuration: Handle);
    fn NdisSendNetBufferLists(binding: Handle, lists: *mut NetBufferList, port: u32, flags: u32);
    fn NdisReturnNetBufferLists(binding: Handle, lists: *mut NetBufferList, flags: u32);
    fn NdisCancelSendNetBufferLists(binding: Handle, id: Ptr);
    fn NdisOidRequest(binding: Handle, request: *mut OidRequest) -> Status;
    fn NdisDirectOidRequest(binding: Handle, request: *mut OidRequest) -> Status;
    fn NdisCancelOidRequest(binding: Handle, id: Ptr);
    fn NdisCancelDirectOidRequest(binding: Handle, id: Ptr);
    fn NdisMSendNetBufferListsComplete(miniport: Handle, lists: *mut NetBufferList, flags: u32);
    fn NdisMIndicateReceiveNetBufferLists(
        miniport: Handle,
        lists: *mut NetBufferList,
        port: u32,
        count: u32,
        flags: u32,
    );
    fn NdisMOidRequestComplete(miniport: Handle, request: *mut OidRequest, status: Status);
    fn NdisMDirectOidRequestComplete(miniport: Handle, request: *mut OidRequest, status: Status);
    fn NdisMIndicateStatusEx(miniport: Handle, status: *mut StatusIndication);
    fn NdisMPauseComplete(miniport: Handle);
    fn NdisAllocateNetBufferListContext(list: *mut NetBufferList, size: u16, back_fill: u16, tag: u32) -> Status;
    fn NdisFreeNetBufferListContext(list: *mut NetBufferList, size: u16);
}

/// Bytes of a list's context that are this driver's.
const CONTEXT: u16 = 16;
/// Microseconds between two looks at what is waited for.
const MOMENT: u32 = 1000;

/// The media this driver opens, and where NDIS says which it was: an open may complete after its call.
static MEDIA: AtomicI32 = AtomicI32::new(MEDIUM_802_3);
static SELECTED: AtomicU32 = AtomicU32::new(0);

/// Windows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nt;

pfimage::supplies!(Nt);

/// Does something with the name of the miniport that a binding's configuration asks for first.
fn upper(binding: Handle, f: impl FnOnce(&mut UnicodeString) -> Status) -> Status {
    let header = Header { kind: TYPE_CONFIGURATION, revision: 1, size: size::CONFIGURATION };
    let mut object = ConfigurationObject { header, handle: binding, flags: 0 };
    let mut configuration = Handle::NONE;
    // SAFETY: both live through the call, at PASSIVE_LEVEL.
    let status = unsafe { NdisOpenConfigurationEx(&raw mut object, &raw mut configuration) };
    if status != SUCCESS {
        return status;
    }
    let (mut status, mut value) = (FAILURE, core::ptr::null_mut());
    let mut keyword = wide!("UpperBindings");
    // SAFETY: all live through the call, at PASSIVE_LEVEL.
    unsafe {
        NdisReadConfiguration(&raw mut status, &raw mut value, configuration, &raw mut keyword, MULTI_STRING);
    }
    if status == SUCCESS {
        // SAFETY: the value is NDIS's and stays until the configuration is closed.
        let text = unsafe { value.as_ref() }.map(|v| string(&v.text)).unwrap_or_default();
        status = match names::first(text) {
            Some(name) => f(&mut of(name)),
            None => NOT_FOUND,
        };
    }
    // SAFETY: opened above, closed once.
    unsafe { NdisCloseConfiguration(configuration) };
    status
}

/// The characters of a string of Windows.
fn string(s: &UnicodeString) -> &[u16] {
    let length = usize::from(s.length) / 2;
    if s.buffer.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: a string's buffer is as long as it says.
    unsafe { core::slice::from_raw_parts(s.buffer, length) }
}

/// A string of Windows over characters, which are not written to.
fn of(name: &[u16]) -> UnicodeString {
    let bytes = u16::try_from(name.len().saturating_mul(2)).unwrap_or(0);
    UnicodeString { length: bytes, maximum: bytes, buffer: name.as_ptr().cast_mut() }
}

impl Ndis for Nt {
    fn open(&self, adapter: Handle, parameters: *mut BindParameters, bind: Handle, binding: *mut Handle) -> Status {
        let mut open = OpenParameters {
            header: Header { kind: TYPE_OPEN, revision: 1, size: size::OPEN },
            // SAFETY: the parameters live until the bind is complete.
            adapter: unsafe { (*parameters).adapter },
            media: MEDIA.as_ptr(),
            media_count: 1,
            selected: SELECTED.as_ptr(),
            frame_types: core::ptr::null_mut(),
            frame_type_count: 0,
        };
        // SAFETY: the parameters live through the call, the binding's place until the open completes.
        unsafe { NdisOpenAdapterEx(PROTOCOL.get(), adapter, &raw mut open, bind, binding) }
    }

    fn close(&self, binding: Handle) -> Status {
        // SAFETY: opened once, closed once.
        unsafe { NdisCloseAdapterEx(binding) }
    }

    fn bound(&self, bind: Handle, status: Status) {
        // SAFETY: the bind is pending; completed once.
        unsafe { NdisCompleteBindAdapterEx(bind, status) }
    }

    fn unbound(&self, unbind: Handle) {
        // SAFETY: the unbind is pending; completed once.
        unsafe { NdisCompleteUnbindAdapterEx(unbind) }
    }

    fn start(&self, binding: Handle, adapter: Handle, named: Ptr) -> Status {
        // SAFETY: what NDIS names a device with is a string, or there is none.
        let named = unsafe { named.cast::<UnicodeString>().as_ref() };
        upper(binding, |name| {
            if named.is_some_and(|n| !names::same(string(n), string(name))) {
                return NOT_FOUND;
            }
            // SAFETY: the name lives through the call; the adapter until its miniport is gone.
            unsafe { NdisIMInitializeDeviceInstanceEx(MINIPORTS.get(), name, adapter) }
        })
    }

    fn cancel_start(&self, binding: Handle) -> Status {
        upper(binding, |name| {
            // SAFETY: the name lives through the call.
            unsafe { NdisIMCancelInitializeDeviceInstance(MINIPORTS.get(), name) }
        })
    }

    fn stop(&self, miniport: Handle) {
        // SAFETY: the miniport is initialised. Whatever this says, the halt tells when it is gone.
        let _status = unsafe { NdisIMDeInitializeDeviceInstance(miniport) };
    }

    fn set_attributes(&self, miniport: Handle, attributes: *const Header) -> Status {
        // SAFETY: the attributes live through the call, made in the miniport's initialisation.
        unsafe { NdisMSetMiniportAttributes(miniport, attributes) }
    }

    fn send(&self, binding: Handle, lists: Chain, port: u32, flags: u32) {
        // SAFETY: the lists are given away here, once.
        unsafe { NdisSendNetBufferLists(binding, lists.into_raw(), port, flags) }
    }

    fn give_back(&self, binding: Handle, lists: Chain, flags: u32) {
        // SAFETY: as above.
        unsafe { NdisReturnNetBufferLists(binding, lists.into_raw(), flags) }
    }

    fn cancel_send(&self, binding: Handle, id: Ptr) {
        // SAFETY: the identifier is passed through.
        unsafe { NdisCancelSendNetBufferLists(binding, id) }
    }

    fn oid(&self, binding: Handle, request: *mut OidRequest, direct: bool) -> Status {
        if direct {
            // SAFETY: the clone is given to NDIS until it completes.
            return unsafe { NdisDirectOidRequest(binding, request) };
        }
        // SAFETY: as above.
        unsafe { NdisOidRequest(binding, request) }
    }

    fn cancel_oid(&self, binding: Handle, id: Ptr, direct: bool) {
        if direct {
            // SAFETY: the identifier is passed through.
            return unsafe { NdisCancelDirectOidRequest(binding, id) };
        }
        // SAFETY: as above.
        unsafe { NdisCancelOidRequest(binding, id) }
    }

    fn send_complete(&self, miniport: Handle, lists: Chain, flags: u32) {
        // SAFETY: the lists are given away here, once.
        unsafe { NdisMSendNetBufferListsComplete(miniport, lists.into_raw(), flags) }
    }

    fn indicate(&self, miniport: Handle, lists: Chain, port: u32, flags: u32) {
        let count = lists.len();
        // SAFETY: as above.
        unsafe {
            NdisMIndicateReceiveNetBufferLists(miniport, lists.into_raw(), port, count, flags & !RECEIVE_RESOURCES);
        }
    }

    fn indicate_lent(&self, miniport: Handle, first: &List, count: u32, port: u32, flags: u32) {
        // SAFETY: with this flag set the list is the caller's again when the call returns.
        unsafe {
            NdisMIndicateReceiveNetBufferLists(miniport, first.as_ptr(), port, count, flags | RECEIVE_RESOURCES);
        }
    }

    fn oid_complete(&self, miniport: Handle, request: *mut OidRequest, status: Status, direct: bool) {
        if direct {
            // SAFETY: the request NDIS gave, completed once.
            return unsafe { NdisMDirectOidRequestComplete(miniport, request, status) };
        }
        // SAFETY: as above.
        unsafe { NdisMOidRequestComplete(miniport, request, status) }
    }

    fn status(&self, miniport: Handle, status: *mut StatusIndication) {
        // SAFETY: the indication lives through the call.
        unsafe { NdisMIndicateStatusEx(miniport, status) }
    }

    fn pause_complete(&self, miniport: Handle) {
        // SAFETY: the pause of this miniport is pending; said once.
        unsafe { NdisMPauseComplete(miniport) }
    }

    fn new_context(&self, list: &mut List) -> bool {
        // SAFETY: the list is this driver's at the moment.
        unsafe { NdisAllocateNetBufferListContext(list.as_ptr(), CONTEXT, 0, TAG) == SUCCESS }
    }

    fn free_context(&self, list: &mut List) {
        // SAFETY: made by `new_context`, and those made since are gone.
        unsafe { NdisFreeNetBufferListContext(list.as_ptr(), CONTEXT) }
    }

    fn sleep(&self) {
        // SAFETY: at PASSIVE_LEVEL.
        unsafe { NdisMSleep(MOMENT) }
    }
}
