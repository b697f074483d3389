//! What NDIS hands an intermediate driver, in real memory.
#![allow(clippy::not_unsafe_ptr_arg_deref, reason = "the account says which pointers are good, for tests")]

use pfndis::sys::layout::{Handle, Header, ListContext, NetBufferList, OidRequest, Ptr, StatusIndication};
use pfndis::sys::layout_im::{
    BindParameters, GeneralAttributes, Interface, LinkState, NetEventNotification, OffloadAttributes, ReceiveScale,
    RegistrationAttributes,
};

use crate::sys;

/// A zeroed record. Every field of these is a number or a pointer.
fn zeroed<T: Copy>() -> T {
    // SAFETY: of the records here zero is a value: numbers and pointers, no references.
    unsafe { core::mem::zeroed() }
}

/// What an adapter is bound with. The offload and scaling records stay the caller's.
#[must_use]
pub fn bind(mac: [u8; 6], medium: i32, offload: *mut Header, scale: *mut ReceiveScale) -> Box<BindParameters> {
    let mut p: BindParameters = zeroed();
    p.header = Header { kind: 0x86, revision: 4, size: 312 };
    p.medium = medium;
    p.mtu = 1500;
    (p.max_xmit_speed, p.max_rcv_speed, p.xmit_speed, p.rcv_speed) = (40, 30, 20, 10);
    (p.connect, p.duplex) = (1, 2);
    p.lookahead = 1400;
    p.packet_filters = 0x2F;
    p.max_multicast = 32;
    p.mac_length = 6;
    p.mac[..6].copy_from_slice(&mac);
    p.physical_medium = 14;
    p.interface = Interface { access: 2, direction: 0, connection: 1, if_type: 6, connector: 1 };
    (p.data_back_fill, p.context_back_fill) = (8, 48);
    p.mac_options = 0x40 | 0x200 | 0x10;
    (p.offload, p.receive_scale) = (offload, scale);
    Box::new(p)
}

/// An event of a binding, with a number that goes with it.
#[must_use]
pub fn event(code: i32, buffer: Ptr, length: u32) -> Box<NetEventNotification> {
    let mut e: NetEventNotification = zeroed();
    e.header = Header { kind: 0x80, revision: 1, size: 164 };
    (e.event, e.buffer, e.length) = (code, buffer, length);
    Box::new(e)
}

/// A status that says what a link is.
#[must_use]
pub fn link_status(state: &mut LinkState) -> Box<StatusIndication> {
    status(0x4001_0017, core::ptr::from_mut(state).cast(), 40)
}

/// A status.
#[must_use]
pub fn status(code: i32, buffer: Ptr, length: u32) -> Box<StatusIndication> {
    let mut s: StatusIndication = zeroed();
    s.header = Header { kind: 0x98, revision: 1, size: 112 };
    (s.code, s.buffer, s.length) = (code, buffer, length);
    Box::new(s)
}

/// What a status says: who says it, its code, the connect state when it is of a link.
#[must_use]
pub fn said(indication: *const StatusIndication) -> (Handle, i32, Option<i32>) {
    // SAFETY: the driver's indication lives through the call.
    let i = unsafe { &*indication };
    assert_eq!((i.header.kind, i.header.size, i.destination), (0x98, 112, Handle::NONE));
    // SAFETY: a link's state goes with a status of it.
    let connect = (i.code == 0x4001_0017).then(|| unsafe { (*i.buffer.cast::<LinkState>()).connect });
    (i.source, i.code, connect)
}

/// Attributes a miniport set.
#[derive(Clone, Debug)]
pub enum Attributes {
    /// How it is registered.
    Registration(RegistrationAttributes),
    /// What it is; its list of requests.
    General(Box<GeneralAttributes>, Vec<u32>),
    /// What it offloads: kind, revision and bytes of the record in force.
    Offload(OffloadAttributes, Header),
}

// SAFETY: its pointers are looked at, never followed.
unsafe impl Send for Attributes {}

/// Reads attributes.
#[must_use]
pub fn attributes(at: *const Header) -> Attributes {
    // SAFETY: the driver's attributes live through the call.
    let header = unsafe { *at };
    match header.kind {
        0x9E => {
            assert_eq!(header.size, 28);
            // SAFETY: the header says what it is.
            Attributes::Registration(unsafe { *at.cast() })
        }
        0x9F => {
            assert_eq!(header.size, 224);
            // SAFETY: the header says what it is.
            let general: GeneralAttributes = unsafe { *at.cast() };
            let count = general.oids_length as usize / 4;
            // SAFETY: the list is that long.
            let oids = unsafe { core::slice::from_raw_parts(general.oids, count) };
            Attributes::General(Box::new(general), oids.to_vec())
        }
        0xA0 => {
            assert_eq!(header.size, 40);
            // SAFETY: the header says what it is.
            let offload: OffloadAttributes = unsafe { *at.cast() };
            // SAFETY: a record in force begins with a header.
            Attributes::Offload(offload, unsafe { *offload.current })
        }
        other => panic!("attributes of kind {other:#x}"),
    }
}

/// Writes a handle where the driver wants it.
pub fn write_handle(to: *mut Handle, handle: Handle) {
    // SAFETY: the driver's place lives until the open completes.
    unsafe { to.write(handle) };
}

/// Puts a context of 16 bytes in front of a list's.
pub fn push_context(list: *mut NetBufferList) {
    let context = sys::memory(32).cast::<ListContext>();
    // SAFETY: the driver has the list.
    let list = unsafe { &mut *list };
    // SAFETY: just made.
    let c = unsafe { &mut *context };
    (c.size, c.next) = (16, list.context);
    list.context = context;
}

/// Takes a list's first context away.
pub fn pop_context(list: *mut NetBufferList) {
    // SAFETY: the driver has the list.
    let list = unsafe { &mut *list };
    let first = list.context;
    // SAFETY: it has a context: the account says so.
    list.context = unsafe { (*first).next };
    sys::free_memory(first.cast(), 32);
}

/// Says who made a list.
pub fn set_source(list: *mut NetBufferList, source: Handle) {
    // SAFETY: the mock has the list.
    unsafe { (*list).source = source };
}

/// A request to set a number.
#[must_use]
pub fn set_request(oid: u32, value: &mut u32, length: u32) -> *mut OidRequest {
    let request = sys::request(1, oid);
    // SAFETY: just made.
    let r = unsafe { &mut *request };
    (r.buffer, r.length) = (core::ptr::from_mut(value).cast(), length);
    request
}
