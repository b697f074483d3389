//! Constants an intermediate driver needs besides [`super::code`]'s, by their documented names.

use super::code::Status;

const fn status(code: u32) -> Status {
    i32::from_ne_bytes(code.to_ne_bytes())
}

/// `NDIS_STATUS_ADAPTER_NOT_READY`.
pub const ADAPTER_NOT_READY: Status = status(0xC001_0011);
/// `NDIS_STATUS_INVALID_LENGTH`.
pub const INVALID_LENGTH: Status = status(0xC001_0014);
/// `NDIS_STATUS_INVALID_STATE`.
pub const INVALID_STATE: Status = status(0xC000_0184);
/// `NDIS_STATUS_FILE_NOT_FOUND`: no such key.
pub const NOT_FOUND: Status = status(0xC001_001B);

/// `NDIS_OBJECT_TYPE_PROTOCOL_DRIVER_CHARACTERISTICS`.
pub const TYPE_PROTOCOL_DRIVER: u8 = 0x95;
/// `NDIS_OBJECT_TYPE_MINIPORT_DRIVER_CHARACTERISTICS`.
pub const TYPE_MINIPORT_DRIVER: u8 = 0x8A;
/// `NDIS_OBJECT_TYPE_BIND_PARAMETERS`.
pub const TYPE_BIND: u8 = 0x86;
/// `NDIS_OBJECT_TYPE_OPEN_PARAMETERS`.
pub const TYPE_OPEN: u8 = 0x87;
/// `NDIS_OBJECT_TYPE_MINIPORT_INIT_PARAMETERS`.
pub const TYPE_INIT: u8 = 0x81;
/// `NDIS_OBJECT_TYPE_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES`.
pub const TYPE_REGISTRATION: u8 = 0x9E;
/// `NDIS_OBJECT_TYPE_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES`.
pub const TYPE_GENERAL: u8 = 0x9F;
/// `NDIS_OBJECT_TYPE_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES`.
pub const TYPE_OFFLOAD_ATTRIBUTES: u8 = 0xA0;
/// `NDIS_OBJECT_TYPE_RSS_CAPABILITIES`.
pub const TYPE_RECEIVE_SCALE: u8 = 0x88;
/// `NDIS_OBJECT_TYPE_CONFIGURATION_OBJECT`.
pub const TYPE_CONFIGURATION: u8 = 0xA9;

/// `NDIS_INTERMEDIATE_DRIVER`.
pub const INTERMEDIATE_DRIVER: u32 = 1;
/// `NDIS_MINIPORT_ATTRIBUTES_NO_HALT_ON_SUSPEND`.
pub const NO_HALT_ON_SUSPEND: u32 = 0x20;
/// `NDIS_MAC_OPTION_NO_LOOPBACK`: NDIS loops back by itself.
pub const MAC_NO_LOOPBACK: u32 = 8;
/// `NDIS_MAC_OPTION_8021P_PRIORITY | NDIS_MAC_OPTION_8021Q_VLAN`.
pub const MAC_VLAN: u32 = 0x40 | 0x200;
/// `NdisParameterMultiString`.
pub const MULTI_STRING: i32 = 3;
/// `NDIS_STATISTICS_{XMIT_OK, RCV_OK, XMIT_ERROR, RCV_ERROR, RCV_NO_BUFFER, GEN_STATISTICS}_SUPPORTED`.
pub const STATISTICS: u32 = 1 | 2 | 4 | 8 | 0x10 | 0x0200_0000;

/// `NdisRequestSetInformation`.
pub const SET: i32 = 1;
/// `NdisDeviceStateD0`: full power; what is greater is less of it.
pub const D0: u32 = 1;

/// `NET_PNP_EVENT_CODE`.
pub mod event {
    /// The adapter below changes its power.
    pub const SET_POWER: i32 = 0;
    /// The configuration changed.
    pub const RECONFIGURE: i32 = 4;
    /// The binding is to pause.
    pub const PAUSE: i32 = 8;
    /// The binding goes on.
    pub const RESTART: i32 = 9;
    /// A miniport of ours was enabled again.
    pub const RE_ENABLE: i32 = 12;
}

/// Requests, by their documented names.
#[allow(missing_docs, reason = "NDIS's names")]
pub mod oid {
    pub const GEN_SUPPORTED_LIST: u32 = 0x1_0101;
    pub const GEN_HARDWARE_STATUS: u32 = 0x1_0102;
    pub const GEN_TRANSMIT_BUFFER_SPACE: u32 = 0x1_0108;
    pub const GEN_RECEIVE_BUFFER_SPACE: u32 = 0x1_0109;
    pub const GEN_TRANSMIT_BLOCK_SIZE: u32 = 0x1_010A;
    pub const GEN_RECEIVE_BLOCK_SIZE: u32 = 0x1_010B;
    pub const GEN_VENDOR_ID: u32 = 0x1_010C;
    pub const GEN_VENDOR_DESCRIPTION: u32 = 0x1_010D;
    pub const GEN_CURRENT_PACKET_FILTER: u32 = 0x1_010E;
    pub const GEN_CURRENT_LOOKAHEAD: u32 = 0x1_010F;
    pub const GEN_MAXIMUM_TOTAL_SIZE: u32 = 0x1_0111;
    pub const GEN_VENDOR_DRIVER_VERSION: u32 = 0x1_0116;
    pub const GEN_SUPPORTED_GUIDS: u32 = 0x1_0117;
    pub const GEN_RECEIVE_SCALE_PARAMETERS: u32 = 0x1_0204;
    pub const GEN_LINK_PARAMETERS: u32 = 0x1_0208;
    pub const GEN_INTERRUPT_MODERATION: u32 = 0x1_0209;
    pub const GEN_RECEIVE_HASH: u32 = 0x1_021F;
    pub const GEN_XMIT_OK: u32 = 0x2_0101;
    pub const GEN_RCV_OK: u32 = 0x2_0102;
    pub const GEN_XMIT_ERROR: u32 = 0x2_0103;
    pub const GEN_RCV_ERROR: u32 = 0x2_0104;
    pub const GEN_RCV_NO_BUFFER: u32 = 0x2_0105;
    pub const GEN_STATISTICS: u32 = 0x2_0106;
    pub const E802_3_PERMANENT_ADDRESS: u32 = 0x0101_0101;
    pub const E802_3_CURRENT_ADDRESS: u32 = 0x0101_0102;
    pub const E802_3_MULTICAST_LIST: u32 = 0x0101_0103;
    pub const E802_3_MAXIMUM_LIST_SIZE: u32 = 0x0101_0104;
    pub const OFFLOAD_ENCAPSULATION: u32 = 0x0101_010A;
    pub const TCP_OFFLOAD_PARAMETERS: u32 = 0xFC01_020C;
    pub const PNP_CAPABILITIES: u32 = 0xFD01_0100;
    pub const PNP_SET_POWER: u32 = 0xFD01_0101;
    pub const PNP_QUERY_POWER: u32 = 0xFD01_0102;
    /// The last of those about waking: `OID_PNP_…` and `OID_PM_…` of one range.
    pub const PM_LAST: u32 = 0xFD01_01FF;
    /// `OID_RECEIVE_FILTER_…`, `OID_NIC_SWITCH_…` and what follows them.
    pub const RECEIVE_FILTER_FIRST: u32 = 0x1_0221;
    /// The last of those.
    pub const NIC_SWITCH_LAST: u32 = 0x1_027F;
}

/// `NDIS_STATUS_…` indications an intermediate driver passes on.
pub mod indication {
    use super::Status;

    /// `NDIS_STATUS_MEDIA_SPECIFIC_INDICATION`.
    pub const MEDIA_SPECIFIC: Status = 0x4001_0012;
    /// `NDIS_STATUS_NETWORK_CHANGE`.
    pub const NETWORK_CHANGE: Status = 0x4001_0018;
    /// `NDIS_STATUS_TASK_OFFLOAD_HARDWARE_CAPABILITIES`.
    pub const OFFLOAD_HARDWARE: Status = 0x4002_0007;
    /// `NDIS_STATUS_OFFLOAD_ENCASPULATION_CHANGE`.
    pub const OFFLOAD_ENCAPSULATION: Status = 0x4002_0008;
}
