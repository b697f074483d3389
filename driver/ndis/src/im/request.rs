//! Requests from above: which are answered here, which go down, which are refused.
//!
//! | requests | |
//! |---|---|
//! | `OID_PNP_SET_POWER`, `OID_PNP_QUERY_POWER` | answered: the miniport has no hardware to power |
//! | waking (`OID_PNP_…`, `OID_PM_…`), receive filters, virtual switches | refused: the miniport says it has none of them |
//! | `OID_GEN_SUPPORTED_GUIDS` | refused: the adapter below answers for its own |
//! | everything else | goes down as a clone |
//!
//! A miniport that was told to save power sends nothing down.

use crate::sys::code_im::{SET, oid};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Down, as a clone.
    Below,
    /// The miniport's power changes.
    Power,
    /// The miniport's power may change.
    Ready,
    /// Not supported.
    Refused,
}

/// What becomes of a request of a kind about something.
#[must_use]
pub const fn way(kind: i32, about: u32) -> Way {
    match about {
        oid::PNP_SET_POWER if kind == SET => Way::Power,
        oid::PNP_QUERY_POWER if kind != SET => Way::Ready,
        oid::GEN_SUPPORTED_GUIDS
        | oid::PNP_CAPABILITIES..=oid::PM_LAST
        | oid::RECEIVE_FILTER_FIRST..=oid::NIC_SWITCH_LAST => Way::Refused,
        _ => Way::Below,
    }
}

/// What the miniport says it answers. More goes down when it is asked.
pub const SUPPORTED: [u32; 26] = [
    oid::GEN_SUPPORTED_LIST,
    oid::GEN_HARDWARE_STATUS,
    oid::GEN_TRANSMIT_BUFFER_SPACE,
    oid::GEN_RECEIVE_BUFFER_SPACE,
    oid::GEN_TRANSMIT_BLOCK_SIZE,
    oid::GEN_RECEIVE_BLOCK_SIZE,
    oid::GEN_VENDOR_ID,
    oid::GEN_VENDOR_DESCRIPTION,
    oid::GEN_VENDOR_DRIVER_VERSION,
    oid::GEN_CURRENT_PACKET_FILTER,
    oid::GEN_CURRENT_LOOKAHEAD,
    oid::GEN_MAXIMUM_TOTAL_SIZE,
    oid::GEN_RECEIVE_SCALE_PARAMETERS,
    oid::GEN_RECEIVE_HASH,
    oid::GEN_LINK_PARAMETERS,
    oid::GEN_INTERRUPT_MODERATION,
    oid::GEN_XMIT_OK,
    oid::GEN_RCV_OK,
    oid::GEN_XMIT_ERROR,
    oid::GEN_RCV_ERROR,
    oid::GEN_RCV_NO_BUFFER,
    oid::GEN_STATISTICS,
    oid::E802_3_PERMANENT_ADDRESS,
    oid::E802_3_CURRENT_ADDRESS,
    oid::E802_3_MULTICAST_LIST,
    oid::E802_3_MAXIMUM_LIST_SIZE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_answered_and_what_there_is_not_is_refused() {
        assert_eq!((way(1, oid::PNP_SET_POWER), way(0, oid::PNP_SET_POWER)), (Way::Power, Way::Refused));
        assert_eq!((way(0, oid::PNP_QUERY_POWER), way(2, oid::PNP_QUERY_POWER)), (Way::Ready, Way::Ready));
        let wake_patterns = [0xFD01_0103, 0xFD01_0106, 0xFD01_0109];
        let filters = [0x1_0227, 0x1_022F];
        assert!(wake_patterns.iter().chain(&filters).all(|o| way(1, *o) == Way::Refused));
        assert!(SUPPORTED.iter().all(|o| way(0, *o) == Way::Below && way(1, *o) == Way::Below));
        assert_eq!(way(12, oid::TCP_OFFLOAD_PARAMETERS), Way::Below);
    }
}
