//! IPv4: header, options, representation.

use super::{Truncated, checksum, demand};

header! {
    /// An IPv4 header.
    Ipv4[20] {
        /// Version and header length in 32-bit words.
        version_ihl, set_version_ihl: u8 = 0;
        /// Type of service with the ECN bits.
        tos, set_tos: u8 = 1;
        /// Length of the packet, bytes.
        total_len, set_total_len: u16 = 2;
        /// Identification.
        id, set_id: u16 = 4;
        /// Flags and fragment offset as they stand.
        flags_offset, set_flags_offset: u16 = 6;
        /// Time to live.
        ttl, set_ttl: u8 = 8;
        /// Protocol.
        proto, set_proto: u8 = 9;
        /// Header checksum.
        checksum, set_checksum: u16 = 10;
        /// Source address.
        src, set_src: [u8; 4] = 12;
        /// Destination address.
        dst, set_dst: [u8; 4] = 16;
    }
}

/// Reserved flag.
pub const RF: u16 = 0x8000;
/// Don't fragment.
pub const DF: u16 = 0x4000;
/// More fragments.
pub const MF: u16 = 0x2000;
/// Mask of the fragment offset, in units of eight bytes.
pub const OFFSET_MASK: u16 = 0x1fff;

impl<T: AsRef<[u8]>> Ipv4<T> {
    /// A view of a buffer that holds the header with its options.
    ///
    /// # Errors
    /// [`Truncated`] when it is shorter than the header says, or than 20 bytes.
    pub fn new_checked(buffer: T) -> Result<Self, Truncated> {
        demand(buffer.as_ref().len(), Self::LEN)?;
        let view = Self(buffer);
        demand(view.0.as_ref().len(), view.header_len().max(Self::LEN))?;
        Ok(view)
    }

    /// IP version the header claims.
    #[must_use]
    #[inline]
    pub fn version(&self) -> u8 {
        self.version_ihl() >> 4
    }

    /// Header length, bytes: a multiple of 4 up to 60; below 20 it is wrong.
    #[must_use]
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.version_ihl() & 0x0f) << 2
    }

    /// Fragment offset, bytes.
    #[must_use]
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        (self.flags_offset() & OFFSET_MASK) << 3
    }

    /// Whether more fragments follow.
    #[must_use]
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.flags_offset() & MF != 0
    }

    /// Whether fragmentation is forbidden.
    #[must_use]
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.flags_offset() & DF != 0
    }

    /// Whether this is a fragment: offset or more fragments.
    #[must_use]
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.flags_offset() & (MF | OFFSET_MASK) != 0
    }

    /// The option bytes.
    #[must_use]
    #[inline]
    pub fn options(&self) -> &[u8] {
        self.0.as_ref().get(Self::LEN..self.header_len()).unwrap_or_default()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv4<T> {
    /// Computes the header checksum.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let len = self.header_len();
        let sum = checksum::of(self.0.as_ref().get(..len).unwrap_or_default());
        self.set_checksum(sum);
    }
}

/// An IPv4 header without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Repr {
    /// Source.
    pub src: [u8; 4],
    /// Destination.
    pub dst: [u8; 4],
    /// Protocol.
    pub proto: u8,
    /// Time to live.
    pub ttl: u8,
    /// Type of service with the ECN bits.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset as they stand.
    pub flags_offset: u16,
    /// Bytes after the header.
    pub payload_len: u16,
}

impl Ipv4Repr {
    /// Length of the header, bytes.
    pub const LEN: usize = 20;

    /// Reads a header; options are left out.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(h: &Ipv4<T>) -> Self {
        let header = u16::from(h.version_ihl() & 0x0f) << 2;
        Self {
            src: h.src(),
            dst: h.dst(),
            proto: h.proto(),
            ttl: h.ttl(),
            tos: h.tos(),
            id: h.id(),
            flags_offset: h.flags_offset(),
            payload_len: h.total_len().saturating_sub(header),
        }
    }

    /// Writes the header and its checksum.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, h: &mut Ipv4<T>) {
        h.set_version_ihl(0x45);
        h.set_tos(self.tos);
        h.set_total_len(self.payload_len.saturating_add(20));
        h.set_id(self.id);
        h.set_flags_offset(self.flags_offset);
        h.set_ttl(self.ttl);
        h.set_proto(self.proto);
        h.set_src(self.src);
        h.set_dst(self.dst);
        h.fill_checksum();
    }
}

/// An IPv4 option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Option {
    /// Type.
    pub kind: u8,
    /// Length with type and length bytes.
    pub len: u8,
    /// Where it begins in the option bytes.
    pub at: usize,
}

/// Router alert (RFC 2113).
pub const OPT_ROUTER_ALERT: u8 = 0x94;

/// An option list that cannot be walked: a length is missing, below 2 or beyond the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad IPv4 option at byte {at}")]
pub struct BadOption {
    /// Where it begins in the option bytes.
    pub at: usize,
}

/// Walks option bytes: padding is skipped, an end-of-list ends.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Options<'a> {
    /// A walk from the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// One option of known type at `at`.
    fn option(&self, kind: u8, at: usize) -> Result<Ipv4Option, BadOption> {
        let bad = BadOption { at };
        let len = *self.bytes.get(at.saturating_add(1)).ok_or(bad)?;
        let fits = at.checked_add(usize::from(len)).is_some_and(|end| end <= self.bytes.len());
        if len < 2 || !fits { Err(bad) } else { Ok(Ipv4Option { kind, len, at }) }
    }
}

impl Iterator for Options<'_> {
    type Item = Result<Ipv4Option, BadOption>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.at;
            match *self.bytes.get(at)? {
                0 => {
                    self.at = self.bytes.len();
                    return None;
                }
                1 => self.at = at.saturating_add(1),
                kind => {
                    let option = self.option(kind, at);
                    self.at = match option {
                        Ok(o) => at.saturating_add(usize::from(o.len)),
                        Err(_) => self.bytes.len(),
                    };
                    return Some(option);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Field;
    use super::*;

    const HEADER: [u8; 20] = [0x45, 0x10, 0, 40, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 198, 51, 100, 7];

    #[test]
    fn parse_and_emit_are_inverse() {
        let mut h = Ipv4::new_checked(HEADER).unwrap();
        h.fill_checksum();
        let repr = Ipv4Repr::parse(&h);
        assert_eq!((repr.payload_len, repr.ttl, repr.flags_offset), (20, 64, DF));
        let mut out = Ipv4::new_unchecked([0xff; 20]);
        repr.emit(&mut out);
        assert_eq!(out, h);
        assert_eq!(checksum::of(&out.into_inner()), 0);
    }

    #[test]
    fn lengths_are_demanded() {
        assert_eq!(Ipv4::new_checked(&HEADER[..19]), Err(Truncated { have: 19, want: 20 }));
        let mut long = HEADER;
        long[0] = 0x46;
        assert_eq!(Ipv4::new_checked(&long[..]), Err(Truncated { have: 20, want: 24 }));
        long[0] = 0x41;
        assert_eq!(Ipv4::new_checked(&long[..]).unwrap().header_len(), 4);
    }

    #[test]
    fn options_walk() {
        let walk = |b: &[u8]| Options::new(b).collect::<Vec<_>>();
        assert_eq!(walk(&[1, 1, 0, 7]), []);
        let ra = Ipv4Option { kind: OPT_ROUTER_ALERT, len: 4, at: 1 };
        assert_eq!(walk(&[1, 0x94, 4, 0, 0]), [Ok(ra)]);
        assert_eq!(walk(&[7]), [Err(BadOption { at: 0 })]);
        assert_eq!(walk(&[7, 1, 7, 2]), [Err(BadOption { at: 0 })]);
        assert_eq!(walk(&[7, 5, 0, 0]), [Err(BadOption { at: 0 })]);
    }

    #[test]
    fn short_views_read_zeros_and_write_nothing() {
        let mut h = Ipv4::new_unchecked([0x45_u8; 4]);
        h.set_src([9; 4]);
        h.set_ttl(3);
        assert_eq!((h.src(), h.ttl(), h.options().len()), ([0; 4], 0, 0));
        h.fill_checksum();
        assert_eq!(u8::get(&h.into_inner(), 0), 0x45);
    }
}
