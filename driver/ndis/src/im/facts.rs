//! What the adapter below is, kept from its bind, and what the miniport says of itself by it.
//!
//! The miniport has the adapter's address, MTU, speeds, filters, receive side scaling and offloads: what it promises, the
//! adapter below keeps. It has no connector, wakes nobody, and has no switches.

use pfdriver::edge::ether::Mac;

use crate::judge::Adapter;
use crate::sys::code::{MEDIUM_802_3, TYPE_OFFLOAD};
use crate::sys::code_im::{
    MAC_NO_LOOPBACK, MAC_VLAN, NO_HALT_ON_SUSPEND, STATISTICS, TYPE_GENERAL, TYPE_OFFLOAD_ATTRIBUTES,
    TYPE_RECEIVE_SCALE, TYPE_REGISTRATION,
};
use crate::sys::layout::{Handle, Header};
use crate::sys::layout_im::{
    BindParameters, GeneralAttributes, Interface, OffloadAttributes, ReceiveScale, RegistrationAttributes, size,
};
use crate::sys::place::Object;

use super::link::Link;
use super::request::SUPPORTED;

/// Bytes of context this driver takes of each list that passes.
pub const CONTEXT: u32 = 16 + 16;

/// An adapter.
#[derive(Debug)]
pub struct Facts {
    /// Its address.
    pub mac: [u8; 6],
    /// Longest packet.
    pub mtu: u32,
    /// Its link when it was bound.
    pub link: Link,
    physical_medium: i32,
    max_xmit_speed: u64,
    max_rcv_speed: u64,
    lookahead: u32,
    packet_filters: u32,
    max_multicast: u32,
    mac_options: u32,
    interface: Interface,
    data_back_fill: u32,
    context_back_fill: u32,
    scale: Option<Object<16>>,
    offload: Option<Object<128>>,
}

impl Facts {
    /// Of an adapter's bind. `None` when it is not Ethernet.
    #[must_use]
    pub fn of(p: &BindParameters) -> Option<Self> {
        let [a, b, c, d, e, f, ..] = p.mac;
        let mac: Mac = [a, b, c, d, e, f];
        if p.medium != MEDIUM_802_3 || p.mac_length != 6 {
            return None;
        }
        let link = Link {
            connect: p.connect,
            duplex: p.duplex,
            xmit_speed: p.xmit_speed,
            rcv_speed: p.rcv_speed,
            pause_functions: 0,
            auto_negotiation: 0,
        };
        Some(Self {
            mac,
            mtu: p.mtu,
            link,
            physical_medium: p.physical_medium,
            max_xmit_speed: p.max_xmit_speed,
            max_rcv_speed: p.max_rcv_speed,
            lookahead: p.lookahead,
            packet_filters: p.packet_filters,
            max_multicast: p.max_multicast,
            mac_options: p.mac_options,
            interface: Interface { connector: 0, ..p.interface },
            data_back_fill: p.data_back_fill,
            context_back_fill: p.context_back_fill,
            scale: Object::of(p.receive_scale.cast(), TYPE_RECEIVE_SCALE),
            offload: Object::of(p.offload, TYPE_OFFLOAD),
        })
    }

    /// The interface of the miniport above, to the engine.
    #[must_use]
    pub const fn adapter(&self, if_index: u32, luid: u64) -> Adapter {
        Adapter { if_index, luid, mac: self.mac, mtu: self.mtu }
    }

    /// What a miniport says of itself.
    #[must_use]
    pub fn general(&self, link: &Link) -> GeneralAttributes {
        let mut mac = [0; 32];
        for (to, from) in mac.iter_mut().zip(self.mac) {
            *to = from;
        }
        GeneralAttributes {
            header: Header { kind: TYPE_GENERAL, revision: 2, size: size::GENERAL },
            flags: 0,
            medium: MEDIUM_802_3,
            physical_medium: self.physical_medium,
            mtu: self.mtu,
            max_xmit_speed: self.max_xmit_speed,
            xmit_speed: link.xmit_speed,
            max_rcv_speed: self.max_rcv_speed,
            rcv_speed: link.rcv_speed,
            connect: link.connect,
            duplex: link.duplex,
            lookahead: self.lookahead,
            power: core::ptr::null_mut(),
            mac_options: MAC_NO_LOOPBACK | self.mac_options & MAC_VLAN,
            packet_filters: self.packet_filters,
            max_multicast: self.max_multicast,
            mac_length: 6,
            permanent_mac: mac,
            current_mac: mac,
            receive_scale: self.scale.as_ref().map_or(core::ptr::null(), |s| s.as_ptr().cast::<ReceiveScale>()),
            interface: self.interface,
            statistics: STATISTICS,
            pause_functions: 0,
            data_back_fill: self.data_back_fill,
            context_back_fill: self.context_back_fill.saturating_add(CONTEXT),
            oids: SUPPORTED.as_ptr(),
            oids_length: u32::try_from(size_of_val(&SUPPORTED)).unwrap_or(0),
            auto_negotiation: link.auto_negotiation,
            power_ex: core::ptr::null_mut(),
        }
    }

    /// What a miniport's offloads are: the adapter's below. `None` when it has none.
    #[must_use]
    pub fn offload(&self) -> Option<OffloadAttributes> {
        let current = self.offload.as_ref()?.as_ptr();
        Some(OffloadAttributes {
            header: Header { kind: TYPE_OFFLOAD_ATTRIBUTES, revision: 1, size: size::OFFLOAD },
            current,
            hardware: current,
            tcp: core::ptr::null_mut(),
            tcp_hardware: core::ptr::null_mut(),
        })
    }
}

/// What a miniport is registered with: it stays through a suspend, and nobody asks whether it hangs.
#[must_use]
pub const fn registration(context: Handle) -> RegistrationAttributes {
    RegistrationAttributes {
        header: Header { kind: TYPE_REGISTRATION, revision: 1, size: size::REGISTRATION },
        context,
        flags: NO_HALT_ON_SUSPEND,
        check_for_hang: 0,
        interface: 0,
    }
}
