//! Structures of an intermediate driver, protocol below and miniport above, each field's place asserted.
//!
//! As in [`super::layout`]: written from measured facts, not from headers.

use super::code::Status;
use super::layout::{
    Handle, Header, NetBufferList, OidRequest, Ptr, Registered, StatusIndication, UnicodeString, layout,
};

layout! {
    /// `NDIS_PROTOCOL_DRIVER_CHARACTERISTICS`, revision 2 (NDIS 6.1 and newer).
    ProtocolCharacteristics: 128 / 8 {
        /// 128 bytes.
        head: Registered = 0,
        /// None.
        flags: u32 = 8,
        /// The service's name.
        name: UnicodeString = 16,
        /// See `ProtocolSetOptions`.
        set_options: Option<unsafe extern "C" fn(Handle, Handle) -> Status> = 32,
        /// `ProtocolBindAdapterEx`.
        bind: Option<unsafe extern "C" fn(Handle, Handle, *mut BindParameters) -> Status> = 40,
        /// `ProtocolUnbindAdapterEx`.
        unbind: Option<unsafe extern "C" fn(Handle, Handle) -> Status> = 48,
        /// `ProtocolOpenAdapterCompleteEx`.
        open_complete: Option<unsafe extern "C" fn(Handle, Status)> = 56,
        /// `ProtocolCloseAdapterCompleteEx`.
        close_complete: Option<unsafe extern "C" fn(Handle)> = 64,
        /// `ProtocolNetPnPEvent`.
        net_event: Option<unsafe extern "C" fn(Handle, *mut NetEventNotification) -> Status> = 72,
        /// `ProtocolUninstall`.
        uninstall: Option<unsafe extern "C" fn()> = 80,
        /// `ProtocolOidRequestComplete`.
        oid_complete: Option<unsafe extern "C" fn(Handle, *mut OidRequest, Status)> = 88,
        /// `ProtocolStatusEx`.
        status: Option<unsafe extern "C" fn(Handle, *mut StatusIndication)> = 96,
        /// `ProtocolReceiveNetBufferLists`.
        receive: Option<unsafe extern "C" fn(Handle, *mut NetBufferList, u32, u32, u32)> = 104,
        /// `ProtocolSendNetBufferListsComplete`.
        send_complete: Option<unsafe extern "C" fn(Handle, *mut NetBufferList, u32)> = 112,
        /// `ProtocolDirectOidRequestComplete`.
        direct_oid_complete: Option<unsafe extern "C" fn(Handle, *mut OidRequest, Status)> = 120,
    }

    /// What bind parameters and general attributes say of the interface, one behind the other.
    Interface: 16 / 4 {
        /// `NET_IF_ACCESS_TYPE`.
        access: i32 = 0,
        /// `NET_IF_DIRECTION_TYPE`.
        direction: i32 = 4,
        /// `NET_IF_CONNECTION_TYPE`.
        connection: i32 = 8,
        /// `IF_TYPE_…`.
        if_type: u16 = 12,
        /// Whether there is a connector.
        connector: u8 = 14,
    }

    /// `NDIS_BIND_PARAMETERS`, revision 4 (NDIS 6.30); revision 1 ends at 248.
    BindParameters: 312 / 8 {
        /// Revision 4 is 312 bytes, 1 is 248.
        header: Header = 0,
        /// Registry section of this binding.
        section: *mut UnicodeString = 8,
        /// The adapter, to be opened by this name.
        adapter: *mut UnicodeString = 16,
        /// Its device.
        physical_device: Ptr = 24,
        /// `NDIS_MEDIUM`.
        medium: i32 = 32,
        /// Longest packet.
        mtu: u32 = 36,
        /// Bits a second at most.
        max_xmit_speed: u64 = 40,
        /// Bits a second.
        xmit_speed: u64 = 48,
        /// Bits a second at most.
        max_rcv_speed: u64 = 56,
        /// Bits a second.
        rcv_speed: u64 = 64,
        /// `NET_IF_MEDIA_CONNECT_STATE`.
        connect: i32 = 72,
        /// `NET_IF_MEDIA_DUPLEX_STATE`.
        duplex: i32 = 76,
        /// Bytes a protocol is shown.
        lookahead: u32 = 80,
        /// `NDIS_PNP_CAPABILITIES`.
        power: Ptr = 88,
        /// `NDIS_PACKET_TYPE_…`.
        packet_filters: u32 = 96,
        /// Multicast addresses at most.
        max_multicast: u32 = 100,
        /// Bytes of the address.
        mac_length: u16 = 104,
        /// The address.
        mac: [u8; 32] = 106,
        /// `NDIS_PHYSICAL_MEDIUM`.
        physical_medium: i32 = 140,
        /// What receive side scaling it can.
        receive_scale: *mut ReceiveScale = 144,
        /// LUID of the interface bound to.
        bound_luid: u64 = 152,
        /// Its index.
        bound_if_index: u32 = 160,
        /// LUID of the lowest interface.
        lowest_luid: u64 = 168,
        /// Its index.
        lowest_if_index: u32 = 176,
        /// Which kind of interface it is.
        interface: Interface = 180,
        /// Ports in use.
        ports: Ptr = 200,
        /// Bytes wanted in front of a frame's data.
        data_back_fill: u32 = 208,
        /// Bytes wanted in front of a list's context.
        context_back_fill: u32 = 212,
        /// `NDIS_MAC_OPTION_…`.
        mac_options: u32 = 216,
        /// Compartment.
        compartment: u32 = 220,
        /// `NDIS_OFFLOAD` in force.
        offload: *mut Header = 224,
        /// Offload of connections.
        tcp_offload: Ptr = 232,
        /// Name of the adapter bound to.
        bound_name: *mut UnicodeString = 240,
        /// Header-data split.
        hd_split: Ptr = 248,
        /// Receive filters.
        receive_filter: Ptr = 256,
        /// `NDIS_PM_CAPABILITIES`.
        power_ex: Ptr = 264,
        /// Switch.
        nic_switch: Ptr = 272,
        /// Direct memory access for programs.
        ndk: u8 = 280,
        /// Of that.
        ndk_capabilities: Ptr = 288,
        /// SR-IOV.
        sriov: Ptr = 296,
        /// Switches.
        nic_switches: Ptr = 304,
    }

    /// `NDIS_RECEIVE_SCALE_CAPABILITIES`: as long as its header says.
    ReceiveScale: 20 / 4 {
        /// Revision 1 is 16 bytes, 2 is 18.
        header: Header = 0,
        /// Flags.
        flags: i32 = 4,
        /// Interrupt messages.
        messages: u32 = 8,
        /// Queues.
        queues: u32 = 12,
        /// Entries of the table.
        entries: u16 = 16,
    }

    /// `NDIS_OPEN_PARAMETERS`.
    OpenParameters: 56 / 8 {
        /// Revision 1, 52 bytes.
        header: Header = 0,
        /// The adapter, as binding was told.
        adapter: *mut UnicodeString = 8,
        /// Media that will do.
        media: *mut i32 = 16,
        /// How many.
        media_count: u32 = 24,
        /// Which of them it is.
        selected: *mut u32 = 32,
        /// Frame types; null for all.
        frame_types: *mut u16 = 40,
        /// How many.
        frame_type_count: u32 = 48,
    }

    /// `NDIS_MINIPORT_DRIVER_CHARACTERISTICS`, of which revision 2 (NDIS 6.1) ends at 152.
    MiniportCharacteristics: 160 / 8 {
        /// 152 bytes.
        head: Registered = 0,
        /// `NDIS_INTERMEDIATE_DRIVER`.
        flags: u32 = 8,
        /// See `MiniportSetOptions`.
        set_options: Option<unsafe extern "C" fn(Handle, Handle) -> Status> = 16,
        /// `MiniportInitializeEx`.
        initialize: Option<unsafe extern "C" fn(Handle, Handle, *mut InitParameters) -> Status> = 24,
        /// `MiniportHaltEx`.
        halt: Option<unsafe extern "C" fn(Handle, i32)> = 32,
        /// `MiniportDriverUnload`.
        unload: Option<unsafe extern "C" fn(Ptr)> = 40,
        /// `MiniportPause`.
        pause: Option<unsafe extern "C" fn(Handle, Ptr) -> Status> = 48,
        /// `MiniportRestart`.
        restart: Option<unsafe extern "C" fn(Handle, Ptr) -> Status> = 56,
        /// `MiniportOidRequest`.
        oid: Option<unsafe extern "C" fn(Handle, *mut OidRequest) -> Status> = 64,
        /// `MiniportSendNetBufferLists`.
        send: Option<unsafe extern "C" fn(Handle, *mut NetBufferList, u32, u32)> = 72,
        /// `MiniportReturnNetBufferLists`.
        give_back: Option<unsafe extern "C" fn(Handle, *mut NetBufferList, u32)> = 80,
        /// `MiniportCancelSend`.
        cancel_send: Option<unsafe extern "C" fn(Handle, Ptr)> = 88,
        /// `MiniportCheckForHangEx`: nothing can hang here.
        check_for_hang: Option<unsafe extern "C" fn(Handle) -> u8> = 96,
        /// `MiniportResetEx`: there is nothing to reset.
        reset: Option<unsafe extern "C" fn(Handle, *mut u8) -> Status> = 104,
        /// `MiniportDevicePnPEventNotify`.
        device_event: Option<unsafe extern "C" fn(Handle, Ptr)> = 112,
        /// `MiniportShutdownEx`.
        shutdown: Option<unsafe extern "C" fn(Handle, i32)> = 120,
        /// `MiniportCancelOidRequest`.
        cancel_oid: Option<unsafe extern "C" fn(Handle, Ptr)> = 128,
        /// `MiniportDirectOidRequest`.
        direct_oid: Option<unsafe extern "C" fn(Handle, *mut OidRequest) -> Status> = 136,
        /// `MiniportCancelDirectOidRequest`.
        cancel_direct_oid: Option<unsafe extern "C" fn(Handle, Ptr)> = 144,
        /// NDIS 6.80, not used.
        synchronous_oid: usize = 152,
    }

    /// `NDIS_MINIPORT_INIT_PARAMETERS`.
    InitParameters: 64 / 8 {
        /// Revision 1.
        header: Header = 0,
        /// Flags.
        flags: u32 = 4,
        /// Of hardware.
        resources: Ptr = 8,
        /// What the instance was asked for with.
        instance: Handle = 16,
        /// Not used.
        add_device: Handle = 24,
        /// Index of this interface.
        if_index: u32 = 32,
        /// Its LUID.
        luid: u64 = 40,
        /// Of its port.
        port_states: Ptr = 48,
        /// Of hardware.
        pci: Ptr = 56,
    }

    /// `NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES`.
    RegistrationAttributes: 32 / 8 {
        /// Revision 1, 28 bytes.
        header: Header = 0,
        /// The adapter's context.
        context: Handle = 8,
        /// `NDIS_MINIPORT_ATTRIBUTES_…`.
        flags: u32 = 16,
        /// Seconds between two checks for hang.
        check_for_hang: u32 = 20,
        /// `NDIS_INTERFACE_TYPE`.
        interface: i32 = 24,
    }

    /// `NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES`.
    GeneralAttributes: 224 / 8 {
        /// Revision 2, 224 bytes.
        header: Header = 0,
        /// None.
        flags: u32 = 4,
        /// `NDIS_MEDIUM`.
        medium: i32 = 8,
        /// `NDIS_PHYSICAL_MEDIUM`.
        physical_medium: i32 = 12,
        /// Longest packet.
        mtu: u32 = 16,
        /// Bits a second at most.
        max_xmit_speed: u64 = 24,
        /// Bits a second.
        xmit_speed: u64 = 32,
        /// Bits a second at most.
        max_rcv_speed: u64 = 40,
        /// Bits a second.
        rcv_speed: u64 = 48,
        /// `NET_IF_MEDIA_CONNECT_STATE`.
        connect: i32 = 56,
        /// `NET_IF_MEDIA_DUPLEX_STATE`.
        duplex: i32 = 60,
        /// Bytes a protocol is shown.
        lookahead: u32 = 64,
        /// `NDIS_PNP_CAPABILITIES`; null for none.
        power: Ptr = 72,
        /// `NDIS_MAC_OPTION_…`.
        mac_options: u32 = 80,
        /// `NDIS_PACKET_TYPE_…`.
        packet_filters: u32 = 84,
        /// Multicast addresses at most.
        max_multicast: u32 = 88,
        /// Bytes of the addresses.
        mac_length: u16 = 92,
        /// The address it has for good.
        permanent_mac: [u8; 32] = 94,
        /// The address it has now.
        current_mac: [u8; 32] = 126,
        /// What receive side scaling it can.
        receive_scale: *const ReceiveScale = 160,
        /// Which kind of interface it is.
        interface: Interface = 168,
        /// Which statistics it keeps.
        statistics: u32 = 184,
        /// `NDIS_SUPPORTED_PAUSE_FUNCTIONS`.
        pause_functions: u32 = 188,
        /// Bytes wanted in front of a frame's data.
        data_back_fill: u32 = 192,
        /// Bytes wanted in front of a list's context.
        context_back_fill: u32 = 196,
        /// Requests it answers.
        oids: *const u32 = 200,
        /// Bytes of that list.
        oids_length: u32 = 208,
        /// `NDIS_LINK_STATE_…`.
        auto_negotiation: u32 = 212,
        /// `NDIS_PM_CAPABILITIES`; null for none.
        power_ex: Ptr = 216,
    }

    /// `NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES`.
    OffloadAttributes: 40 / 8 {
        /// Revision 1.
        header: Header = 0,
        /// `NDIS_OFFLOAD` in force.
        current: *const Header = 8,
        /// `NDIS_OFFLOAD` there can be.
        hardware: *const Header = 16,
        /// Of connections; null for none.
        tcp: Ptr = 24,
        /// Of connections; null for none.
        tcp_hardware: Ptr = 32,
    }

    /// `NET_PNP_EVENT_NOTIFICATION`, of which revision 1 ends at 164; the event begins at 8.
    NetEventNotification: 176 / 8 {
        /// Revision 1 or 2.
        header: Header = 0,
        /// Port.
        port: u32 = 4,
        /// `NET_PNP_EVENT_CODE`.
        event: i32 = 8,
        /// What goes with it.
        buffer: Ptr = 16,
        /// Bytes of it.
        length: u32 = 24,
        /// NDIS's, the transport's, TDI's own.
        reserved: [u64; 16] = 32,
        /// Flags.
        flags: u32 = 160,
        /// Switch.
        switch: u32 = 164,
        /// Port of the switch.
        vport: u32 = 168,
    }

    /// `NDIS_LINK_STATE`.
    LinkState: 40 / 8 {
        /// Revision 1.
        header: Header = 0,
        /// `NET_IF_MEDIA_CONNECT_STATE`.
        connect: i32 = 4,
        /// `NET_IF_MEDIA_DUPLEX_STATE`.
        duplex: i32 = 8,
        /// Bits a second.
        xmit_speed: u64 = 16,
        /// Bits a second.
        rcv_speed: u64 = 24,
        /// `NDIS_SUPPORTED_PAUSE_FUNCTIONS`.
        pause_functions: i32 = 32,
        /// `NDIS_LINK_STATE_…`.
        auto_negotiation: u32 = 36,
    }

    /// `NDIS_CONFIGURATION_OBJECT`.
    ConfigurationObject: 24 / 8 {
        /// Revision 1, 20 bytes.
        header: Header = 0,
        /// Whose configuration.
        handle: Handle = 8,
        /// None.
        flags: u32 = 16,
    }

    /// `NDIS_CONFIGURATION_PARAMETER` of a string or several.
    ConfigurationString: 24 / 8 {
        /// `NDIS_PARAMETER_TYPE`.
        kind: i32 = 0,
        /// The string.
        text: UnicodeString = 8,
    }
}

/// `Header.Size` of what an intermediate driver makes or asks for.
pub mod size {
    /// [`super::ProtocolCharacteristics`], revision 2.
    pub const PROTOCOL_CHARACTERISTICS: u16 = 128;
    /// [`super::BindParameters`], revision 1: what is read lies within.
    pub const BIND_6_0: u16 = 248;
    /// [`super::OpenParameters`], revision 1.
    pub const OPEN: u16 = 52;
    /// [`super::MiniportCharacteristics`], revision 2.
    pub const MINIPORT_CHARACTERISTICS: u16 = 152;
    /// [`super::InitParameters`], revision 1.
    pub const INIT: u16 = 64;
    /// [`super::RegistrationAttributes`], revision 1.
    pub const REGISTRATION: u16 = 28;
    /// [`super::GeneralAttributes`], revision 2.
    pub const GENERAL: u16 = 224;
    /// [`super::OffloadAttributes`], revision 1.
    pub const OFFLOAD: u16 = 40;
    /// [`super::LinkState`], revision 1.
    pub const LINK_STATE: u16 = 40;
    /// [`super::ConfigurationObject`], revision 1.
    pub const CONFIGURATION: u16 = 20;
    /// `NDIS_STATUS_INDICATION`, revision 1.
    pub const STATUS_INDICATION: u16 = 112;
}

/// Where a revision's last field ends is its size.
macro_rules! ends {
    ($($name:ident.$field:ident: $bytes:literal = $size:ident;)*) => {$(
        const _: () = assert!(core::mem::offset_of!($name, $field) + $bytes == size::$size as usize);
    )*};
}

ends! {
    ProtocolCharacteristics.direct_oid_complete: 8 = PROTOCOL_CHARACTERISTICS;
    BindParameters.bound_name: 8 = BIND_6_0;
    OpenParameters.frame_type_count: 4 = OPEN;
    MiniportCharacteristics.cancel_direct_oid: 8 = MINIPORT_CHARACTERISTICS;
    InitParameters.pci: 8 = INIT;
    RegistrationAttributes.interface: 4 = REGISTRATION;
    GeneralAttributes.power_ex: 8 = GENERAL;
    OffloadAttributes.tcp_hardware: 8 = OFFLOAD;
    LinkState.auto_negotiation: 4 = LINK_STATE;
    ConfigurationObject.flags: 4 = CONFIGURATION;
    StatusIndication.ndis: 32 = STATUS_INDICATION;
}
