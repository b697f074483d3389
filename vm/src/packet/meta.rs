//! What a network card or a host's stack says beside the packet's bytes.
//!
//! One form for NDIS out-of-band data and for `virtio_net_hdr`.

/// What the host knows of the L4 checksum field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// Nothing: the field holds a complete sum, right or wrong. Rewriting updates it incrementally.
    #[default]
    Complete,
    /// The card found it right. Rewriting updates it incrementally; the finding stays true.
    Validated,
    /// The card found it wrong. Rewriting updates it incrementally, so it stays wrong.
    Bad,
    /// The field holds the uncomplemented sum of the pseudo header and the card completes it (transmit offload,
    /// `VIRTIO_NET_HDR_F_NEEDS_CSUM`). Only addresses are in it; ports and payload are not.
    Partial,
    /// The field means nothing though the data were validated (receive coalescing). It is computed in full, or
    /// left to the card, when the packet is sent on.
    Absent,
}

/// How a packet larger than the link's MTU is to be cut, or was joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Segments {
    /// One packet as it is.
    #[default]
    One,
    /// TCP segments of `mss` bytes of data each: large send or receive coalescing.
    Tcp {
        /// Bytes of data a segment.
        mss: u16,
    },
    /// UDP datagrams of `size` bytes of data each.
    Udp {
        /// Bytes of data a datagram.
        size: u16,
    },
}

/// The offload facts of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PktMeta {
    /// L4 checksum.
    pub l4: Checksum,
    /// IPv4 header checksum: [`Checksum::Partial`] means the card writes it (the field is not touched).
    pub ip: Checksum,
    /// Segmentation.
    pub segments: Segments,
    /// The partial sum leaves the length out (large send v2), and the length field of the IP header may be zero:
    /// the length is that of the packet.
    pub length_outside: bool,
}
