//! What comes with a frame besides its bytes, and its form in front of TAP and packet-socket frames.
//!
//! Holds [`Offload`]: the engine's [`PktMeta`] with what only the edge needs (where the card writes a checksum), and
//! its two translations to and from `struct virtio_net_hdr`. Positions count from the frame's first byte.
//!
//! **Invariant:** a header whose positions lie outside the frame is refused, never repaired.
//!
//! Source: virtio 1.2 §5.1.6.2, Linux `include/linux/virtio_net.h`.

use pfvm::packet::{Checksum, PktMeta, Segments};
use pfvm::rule::Af;

/// Bytes of `struct virtio_net_hdr`.
pub const VNET: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_TCPV4: u8 = 1;
const GSO_UDP: u8 = 3;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Facts of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// What the engine is told.
    pub meta: PktMeta,
    /// Where the card begins to sum, for [`Checksum::Partial`].
    pub start: u16,
    /// Where it writes the sum, from there.
    pub offset: u16,
    /// Length of all headers, a hint.
    pub headers: u16,
    /// Large send with ECN.
    pub ecn: bool,
    /// Control information of an 802.1Q tag that travels beside the frame: priority, drop eligible, VLAN.
    pub tag: Option<u16>,
}

/// A header that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadOffload;

impl Offload {
    /// Reads a header in the machine's byte order for a frame of `len` bytes.
    ///
    /// # Errors
    /// [`BadOffload`] when it points outside the frame or asks for a segmentation nobody knows.
    pub fn parse(h: &[u8; VNET], len: usize) -> Result<Self, BadOffload> {
        let [flags, gso, a0, a1, b0, b1, c0, c1, d0, d1] = *h;
        let word = |a, b| u16::from_ne_bytes([a, b]);
        let (headers, size) = (word(a0, a1), word(b0, b1));
        let mut out = Self { ecn: gso & GSO_ECN != 0, headers, ..Self::default() };
        if flags & NEEDS_CSUM != 0 {
            (out.start, out.offset) = (word(c0, c1), word(d0, d1));
            let end = usize::from(out.start).saturating_add(usize::from(out.offset)).saturating_add(2);
            if end > len {
                return Err(BadOffload);
            }
            out.meta.l4 = Checksum::Partial;
        } else if flags & DATA_VALID != 0 {
            out.meta.l4 = Checksum::Validated;
        }
        out.meta.segments = match gso & !GSO_ECN {
            0 => Segments::One,
            _ if size == 0 => return Err(BadOffload),
            GSO_TCPV4 | GSO_TCPV6 => Segments::Tcp { mss: size },
            GSO_UDP_L4 => Segments::Udp { size },
            _ => return Err(BadOffload),
        };
        Ok(out)
    }

    /// Writes the header for a frame of a family.
    #[must_use]
    pub fn emit(&self, af: Af) -> [u8; VNET] {
        let (mut flags, mut start, mut offset) = (0, 0, 0);
        match self.meta.l4 {
            Checksum::Partial => (flags, start, offset) = (NEEDS_CSUM, self.start, self.offset),
            Checksum::Validated => flags = DATA_VALID,
            Checksum::Complete | Checksum::Bad | Checksum::Absent => {}
        }
        let (mut gso, size) = match (self.meta.segments, af) {
            (Segments::One, _) => (0, 0),
            (Segments::Tcp { mss }, Af::Inet) => (GSO_TCPV4, mss),
            (Segments::Tcp { mss }, Af::Inet6) => (GSO_TCPV6, mss),
            (Segments::Udp { size }, _) => (GSO_UDP_L4, size),
        };
        if gso != 0 && self.ecn {
            gso |= GSO_ECN;
        }
        let headers = if gso == 0 { 0 } else { self.headers };
        let ([h0, h1], [s0, s1]) = (headers.to_ne_bytes(), size.to_ne_bytes());
        let ([c0, c1], [o0, o1]) = (u16::to_ne_bytes(start), u16::to_ne_bytes(offset));
        [flags, gso, h0, h1, s0, s1, c0, c1, o0, o1]
    }

    /// Accounts for a frame that now begins `by` bytes later (earlier when negative).
    pub fn moved(&mut self, by: isize) {
        let shift = |at: u16| {
            let at = isize::try_from(at).unwrap_or(0).saturating_sub(by);
            u16::try_from(at.max(0)).unwrap_or(u16::MAX)
        };
        if self.meta.l4 == Checksum::Partial {
            self.start = shift(self.start);
        }
        if self.headers != 0 {
            self.headers = shift(self.headers);
        }
    }

    /// Makes segments smaller by what their headers grew.
    pub fn shrink(&mut self, by: u16) {
        match &mut self.meta.segments {
            Segments::One => {}
            Segments::Tcp { mss: size } | Segments::Udp { size } => *size = size.saturating_sub(by).max(1),
        }
    }

    /// The facts of the same frame when nothing is left to a card.
    #[must_use]
    pub fn settled(&self) -> Self {
        let done = |sum| match sum {
            Checksum::Partial | Checksum::Absent => Checksum::Complete,
            known => known,
        };
        let meta = PktMeta { l4: done(self.meta.l4), ip: done(self.meta.ip), ..PktMeta::default() };
        Self { meta, ..Self::default() }
    }

    /// Whether the frame is one packet as it is.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.meta.segments == Segments::One
    }
}

/// Whether the kernel speaks of fragmentation offload the edge does not take (`VIRTIO_NET_HDR_GSO_UDP`).
#[must_use]
pub const fn is_ufo(h: &[u8; VNET]) -> bool {
    let [_, gso, ..] = *h;
    gso & !GSO_ECN == GSO_UDP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u8, gso: u8, words: [u16; 4]) -> [u8; VNET] {
        let mut h = [0; VNET];
        h[..2].copy_from_slice(&[flags, gso]);
        for (to, w) in h[2..].chunks_exact_mut(2).zip(words) {
            to.copy_from_slice(&w.to_ne_bytes());
        }
        h
    }

    #[test]
    fn headers_read_back() {
        let rows = [
            (header(0, 0, [0; 4]), Af::Inet),
            (header(1, 0, [0, 0, 34, 16]), Af::Inet),
            (header(2, 0, [0; 4]), Af::Inet6),
            (header(1, 1, [66, 1448, 34, 16]), Af::Inet),
            (header(1, 4 | 0x80, [86, 1428, 54, 16]), Af::Inet6),
            (header(1, 5, [42, 1472, 34, 6]), Af::Inet),
            (header(0, 1, [66, 1448, 0, 0]), Af::Inet),
        ];
        for (h, af) in rows {
            assert_eq!(Offload::parse(&h, 2000).map(|o| o.emit(af)), Ok(h));
        }
    }

    #[test]
    fn what_points_outside_is_refused() {
        assert!(Offload::parse(&header(1, 0, [0, 0, 34, 16]), 51).is_err());
        assert!(Offload::parse(&header(1, 0, [0, 0, 34, 16]), 52).is_ok());
        assert!(Offload::parse(&header(1, 0, [0, 0, u16::MAX, u16::MAX]), 70_000).is_err());
        assert!(Offload::parse(&header(0, 1, [0; 4]), 2000).is_err());
        assert!(Offload::parse(&header(0, 3, [0, 1480, 0, 0]), 2000).is_err());
        assert!(Offload::parse(&header(0, 9, [0, 1480, 0, 0]), 2000).is_err());
        assert!(is_ufo(&header(0, 3, [0; 4])) && !is_ufo(&header(0, 5, [0; 4])));
    }

    #[test]
    fn a_longer_header_moves_what_is_counted_from_the_front() {
        let mut o = Offload::parse(&header(1, 1, [66, 1448, 34, 16]), 2000).unwrap();
        o.moved(-20);
        o.shrink(20);
        assert_eq!((o.start, o.headers, o.offset), (54, 86, 16));
        assert_eq!(o.emit(Af::Inet6), header(1, 4, [86, 1428, 54, 16]));
        o.moved(20);
        assert_eq!((o.start, o.headers), (34, 66));
    }
}
