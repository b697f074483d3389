//! Constants of NDIS and NT by their documented names.

/// `NDIS_STATUS`, `NTSTATUS`.
pub type Status = i32;

/// A status from its documented unsigned form.
const fn status(code: u32) -> Status {
    i32::from_ne_bytes(code.to_ne_bytes())
}

/// Done.
pub const SUCCESS: Status = 0;
/// Will be done; the completion comes by itself.
pub const PENDING: Status = 0x103;
/// No room.
pub const RESOURCES: Status = status(0xC000_009A);
/// It failed.
pub const FAILURE: Status = status(0xC000_0001);
/// Nobody knows this.
pub const NOT_SUPPORTED: Status = status(0xC000_00BB);
/// A parameter is wrong.
pub const INVALID_PARAMETER: Status = status(0xC000_000D);
/// The request is not for this device.
pub const INVALID_DEVICE_REQUEST: Status = status(0xC000_0010);
/// The buffer is too small.
pub const BUFFER_TOO_SMALL: Status = status(0xC000_0023);
/// The peer may not.
pub const ACCESS_DENIED: Status = status(0xC000_0022);
/// Taken back.
pub const CANCELLED: Status = status(0xC000_0120);
/// A send that the filter refused.
pub const SEND_ABORTED: Status = status(0xC023_000C);
/// The module is pausing.
pub const PAUSED: Status = status(0xC023_002A);
/// A request that was aborted.
pub const REQUEST_ABORTED: Status = status(0xC001_000C);
/// The link layer is not one this filter reads.
pub const UNSUPPORTED_MEDIA: Status = status(0xC001_0019);
/// NDIS is too old.
pub const BAD_VERSION: Status = status(0xC001_0004);

/// `NDIS_SEND_FLAGS_DISPATCH_LEVEL`, and the same bit of completions, receives and returns.
pub const AT_DISPATCH: u32 = 1;
/// `NDIS_RECEIVE_FLAGS_RESOURCES`: the lists are the miniport's again when the call returns.
pub const RECEIVE_RESOURCES: u32 = 2;
/// `NDIS_SEND_FLAGS_CHECK_FOR_LOOPBACK`.
pub const SEND_CHECK_FOR_LOOPBACK: u32 = 2;
/// `NDIS_RECEIVE_FLAGS_SINGLE_ETHER_TYPE | SINGLE_VLAN | PERFECT_FILTERED`: facts about a whole chain.
pub const RECEIVE_CHAIN_FACTS: u32 = 0x100 | 0x200 | 0x400;

/// `NDIS_OBJECT_TYPE_FILTER_DRIVER_CHARACTERISTICS`.
pub const TYPE_FILTER_DRIVER: u8 = 0x8B;
/// `NDIS_OBJECT_TYPE_FILTER_ATTRIBUTES`.
pub const TYPE_FILTER_ATTRIBUTES: u8 = 0x8D;
/// `NDIS_OBJECT_TYPE_FILTER_ATTACH_PARAMETERS`.
pub const TYPE_ATTACH_PARAMETERS: u8 = 0x99;
/// `NDIS_OBJECT_TYPE_DEVICE_OBJECT_ATTRIBUTES`.
pub const TYPE_DEVICE_ATTRIBUTES: u8 = 0x85;
/// `NDIS_OBJECT_TYPE_OID_REQUEST`.
pub const TYPE_OID_REQUEST: u8 = 0x96;
/// `NDIS_OBJECT_TYPE_STATUS_INDICATION`.
pub const TYPE_STATUS_INDICATION: u8 = 0x98;
/// `NDIS_OBJECT_TYPE_DEFAULT`.
pub const TYPE_DEFAULT: u8 = 0x80;
/// `NDIS_OBJECT_TYPE_OFFLOAD`.
pub const TYPE_OFFLOAD: u8 = 0xA7;

/// `NdisMedium802_3`.
pub const MEDIUM_802_3: i32 = 0;

/// Places of `NetBufferListInfo`.
pub mod info {
    /// `TcpIpChecksumNetBufferListInfo`.
    pub const CHECKSUM: usize = 0;
    /// `TcpLargeSendNetBufferListInfo`.
    pub const LARGE_SEND: usize = 2;
    /// `Ieee8021QNetBufferListInfo`.
    pub const VLAN: usize = 4;
    /// `NetBufferListCancelId`.
    pub const CANCEL_ID: usize = 5;
    /// `MediaSpecificInformation`: an address.
    pub const MEDIA: usize = 6;
    /// `NetBufferListFrameType` of a receive, `NetBufferListProtocolId` of a send.
    pub const FRAME_TYPE: usize = 7;
    /// `NetBufferListHashValue`.
    pub const HASH_VALUE: usize = 8;
    /// `NetBufferListHashInfo`.
    pub const HASH_INFO: usize = 9;
    /// `TcpRecvSegCoalesceInfo` of a receive, `UdpSegmentationOffloadInfo` of a send.
    pub const COALESCE_OR_USO: usize = 0x16;
    /// `UdpRecvSegCoalesceOffloadInfo` of a receive.
    pub const UDP_COALESCE: usize = 0x11;
    /// `RscTcpTimestampDelta` of a receive, `TcpSendOffloadsSupplementalNetBufferListInfo` of a send.
    pub const DELTA_OR_SUPPLEMENT: usize = 0x17;
    /// Places `NdisCopySendNetBufferListInfo` is documented to copy.
    pub const COPIED_OF_SENT: [usize; 10] = [0, 1, 2, 4, 5, 6, 7, 0xB, 0xC, 0xE];
    /// Places `NdisCopyReceiveNetBufferListInfo` is documented to copy.
    pub const COPIED_OF_RECEIVED: [usize; 11] = [0, 1, 2, 4, 6, 7, 8, 9, 0xB, 0xC, 0xE];
    /// Places that NDIS 6.30 has: none behind these are touched.
    pub const COUNT: usize = 24;
}

/// `OID_TCP_OFFLOAD_CURRENT_CONFIG`.
pub const OID_TCP_OFFLOAD_CURRENT_CONFIG: u32 = 0xFC01_020B;
/// `OID_GEN_CURRENT_PACKET_FILTER`.
pub const OID_GEN_CURRENT_PACKET_FILTER: u32 = 0x1_010E;
/// `NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG`.
pub const STATUS_TASK_OFFLOAD_CURRENT_CONFIG: Status = 0x4002_0006;
/// `NDIS_STATUS_LINK_STATE`.
pub const STATUS_LINK_STATE: Status = 0x4001_0017;
