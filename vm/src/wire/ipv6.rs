//! IPv6: header, extension headers, representation.

use super::{Truncated, demand};

header! {
    /// An IPv6 header.
    Ipv6[40] {
        /// Version, traffic class and flow label as they stand.
        version_flow, set_version_flow: u32 = 0;
        /// Bytes after this header.
        payload_len, set_payload_len: u16 = 4;
        /// Next header.
        next_header, set_next_header: u8 = 6;
        /// Hop limit.
        hop_limit, set_hop_limit: u8 = 7;
        /// Source address.
        src, set_src: [u8; 16] = 8;
        /// Destination address.
        dst, set_dst: [u8; 16] = 24;
    }
}

impl<T: AsRef<[u8]>> Ipv6<T> {
    /// A view of a buffer that holds the fixed header.
    ///
    /// # Errors
    /// [`Truncated`] below 40 bytes.
    pub fn new_checked(buffer: T) -> Result<Self, Truncated> {
        demand(buffer.as_ref().len(), Self::LEN)?;
        Ok(Self(buffer))
    }

    /// IP version the header claims.
    #[must_use]
    #[inline]
    pub fn version(&self) -> u8 {
        (self.version_flow() >> 28) as u8
    }

    /// Traffic class with the ECN bits.
    #[must_use]
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        ((self.version_flow() >> 20) & 0xff) as u8
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv6<T> {
    /// Sets the traffic class with the ECN bits.
    pub fn set_traffic_class(&mut self, class: u8) {
        let word = (self.version_flow() & 0xf00f_ffff) | (u32::from(class) << 20);
        self.set_version_flow(word);
    }
}

header! {
    /// The first two bytes all extension headers but the fragment header share.
    ExtensionHeader[2] {
        /// Next header.
        next_header, set_next_header: u8 = 0;
        /// Length: in units of 8 bytes less one; of 4 bytes less two in an authentication header.
        length, set_length: u8 = 1;
    }
}

header! {
    /// A fragment header.
    FragmentHeader[8] {
        /// Next header.
        next_header, set_next_header: u8 = 0;
        /// Offset, reserved bits and the more flag as they stand.
        offset_flags, set_offset_flags: u16 = 2;
        /// Identification.
        id, set_id: u32 = 4;
    }
}

impl<T: AsRef<[u8]>> FragmentHeader<T> {
    /// Offset of the data, bytes.
    #[must_use]
    #[inline]
    pub fn offset(&self) -> u16 {
        self.offset_flags() & 0xfff8
    }

    /// Whether more fragments follow.
    #[must_use]
    #[inline]
    pub fn more(&self) -> bool {
        self.offset_flags() & 1 != 0
    }
}

/// Option types of hop-by-hop and destination options.
pub mod option {
    /// One byte of padding.
    pub const PAD1: u8 = 0;
    /// Padding with a length.
    pub const PADN: u8 = 1;
    /// Router alert (RFC 2711).
    pub const ROUTER_ALERT: u8 = 5;
    /// Jumbo payload (RFC 2675).
    pub const JUMBO: u8 = 0xc2;
}

/// An IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Repr {
    /// Source.
    pub src: [u8; 16],
    /// Destination.
    pub dst: [u8; 16],
    /// Next header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class with the ECN bits.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow: u32,
    /// Bytes after the header.
    pub payload_len: u16,
}

impl Ipv6Repr {
    /// Length of the header, bytes.
    pub const LEN: usize = 40;

    /// Reads a header.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(h: &Ipv6<T>) -> Self {
        Self {
            src: h.src(),
            dst: h.dst(),
            next_header: h.next_header(),
            hop_limit: h.hop_limit(),
            traffic_class: h.traffic_class(),
            flow: h.version_flow() & 0x000f_ffff,
            payload_len: h.payload_len(),
        }
    }

    /// Writes the header.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, h: &mut Ipv6<T>) {
        h.set_version_flow(0x6000_0000 | (u32::from(self.traffic_class) << 20) | (self.flow & 0x000f_ffff));
        h.set_payload_len(self.payload_len);
        h.set_next_header(self.next_header);
        h.set_hop_limit(self.hop_limit);
        h.set_src(self.src);
        h.set_dst(self.dst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_emit_are_inverse() {
        let repr = Ipv6Repr {
            src: [1; 16],
            dst: [2; 16],
            next_header: 58,
            hop_limit: 255,
            traffic_class: 0xb8,
            flow: 0xabcde,
            payload_len: 1280,
        };
        let mut h = Ipv6::new_unchecked([0xff; 40]);
        repr.emit(&mut h);
        assert_eq!((h.version(), h.traffic_class()), (6, 0xb8));
        assert_eq!(Ipv6Repr::parse(&Ipv6::new_checked(h.into_inner()).unwrap()), repr);
        h.set_traffic_class(3);
        assert_eq!((h.version_flow(), h.payload_len()), (0x603a_bcde, 1280));
        assert!(Ipv6::new_checked([0; 39]).is_err());
    }

    #[test]
    fn fragment_fields() {
        let mut f = FragmentHeader::new_unchecked([0; 8]);
        f.set_next_header(17);
        f.set_offset_flags(1480 | 1);
        f.set_id(0xdead_beef);
        assert_eq!((f.offset(), f.more(), f.next_header(), f.id()), (1480, true, 17, 0xdead_beef));
    }
}
