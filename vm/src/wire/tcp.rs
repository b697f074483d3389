//! TCP: header, options, representation.

use super::{Field, Truncated, checksum, demand};
use crate::rule::{Addr, Af};

header! {
    /// A TCP header.
    Tcp[20] {
        /// Source port.
        src_port, set_src_port: u16 = 0;
        /// Destination port.
        dst_port, set_dst_port: u16 = 2;
        /// Sequence number.
        seq, set_seq: u32 = 4;
        /// Acknowledgement number.
        ack, set_ack: u32 = 8;
        /// Header length in 32-bit words (high nibble) and reserved bits.
        data_offset, set_data_offset: u8 = 12;
        /// Flags.
        flags, set_flags: u8 = 13;
        /// Window.
        window, set_window: u16 = 14;
        /// Checksum.
        checksum, set_checksum: u16 = 16;
        /// Urgent pointer.
        urgent, set_urgent: u16 = 18;
    }
}

impl<T: AsRef<[u8]>> Tcp<T> {
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

    /// Header length with options, bytes: a multiple of 4 up to 60; below 20 it is wrong.
    #[must_use]
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.data_offset() >> 4) << 2
    }

    /// The option bytes.
    #[must_use]
    #[inline]
    pub fn options(&self) -> &[u8] {
        self.0.as_ref().get(Self::LEN..self.header_len()).unwrap_or_default()
    }
}

/// Longest option area, bytes.
pub const MAX_OPTIONS: usize = 40;

/// Option kinds.
pub mod option {
    /// End of list.
    pub const EOL: u8 = 0;
    /// Padding.
    pub const NOP: u8 = 1;
    /// Maximum segment size.
    pub const MSS: u8 = 2;
    /// Window scale.
    pub const WINDOW_SCALE: u8 = 3;
    /// Selective acknowledgement permitted.
    pub const SACK_PERMITTED: u8 = 4;
    /// Selective acknowledgement.
    pub const SACK: u8 = 5;
    /// Timestamps.
    pub const TIMESTAMP: u8 = 8;
}

/// Finds the next option of a kind at or after `from`, at least `min` bytes long by its length byte and by the bytes
/// left (`pf_find_tcpopt`): ends of list count as padding, a length below 2 as 2.
///
/// The length byte may reach beyond the options; readers take no more than `min` bytes of it for granted.
#[must_use]
pub fn find_option(options: &[u8], from: usize, kind: u8, min: u8) -> Option<usize> {
    if min < 2 {
        return None;
    }
    let mut at = from;
    loop {
        let rest = options.get(at..)?;
        if rest.len() < usize::from(min) {
            return None;
        }
        let (k, len) = (*rest.first()?, *rest.get(1)?);
        let step = match k {
            option::EOL | option::NOP => 1,
            _ if k == kind && len >= min => return Some(at),
            _ => usize::from(len.max(2)),
        };
        at = at.checked_add(step)?;
    }
}

/// All options of a kind, as [`find_option`] finds them: their place and their length byte.
pub fn options_of(options: &[u8], kind: u8, min: u8) -> impl Iterator<Item = (usize, u8)> + '_ {
    let mut from = 0_usize;
    core::iter::from_fn(move || {
        let at = find_option(options, from, kind, min)?;
        let len = u8::get(options, at.saturating_add(1));
        from = at.saturating_add(usize::from(len));
        Some((at, len))
    })
}

/// The maximum segment size, of the last such option.
#[must_use]
pub fn mss(options: &[u8]) -> Option<u16> {
    options_of(options, option::MSS, 4).last().map(|(at, _)| u16::get(options, at.saturating_add(2)))
}

/// The window scale, of the last such option; not clamped.
#[must_use]
pub fn window_scale(options: &[u8]) -> Option<u8> {
    options_of(options, option::WINDOW_SCALE, 3).last().map(|(at, _)| u8::get(options, at.saturating_add(2)))
}

/// The first timestamps: value and echo.
#[must_use]
pub fn timestamp(options: &[u8]) -> Option<(u32, u32)> {
    let at = find_option(options, 0, option::TIMESTAMP, 10)?;
    Some((u32::get(options, at.saturating_add(2)), u32::get(options, at.saturating_add(6))))
}

/// Offsets of the edges of all selective acknowledgement blocks, each a `u32`: start, end, start, end …
pub fn sack_edges(options: &[u8]) -> impl Iterator<Item = usize> + '_ {
    options_of(options, option::SACK, 10).flat_map(move |(at, len)| {
        let safe = usize::from(len).min(options.len().saturating_sub(at));
        let blocks = safe.saturating_sub(2) / 8;
        (0..blocks.saturating_mul(2)).map(move |i| at.saturating_add(2).saturating_add(i.saturating_mul(4)))
    })
}

/// A TCP header with the options the filter sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpRepr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Window.
    pub window: u16,
    /// Maximum segment size; 0 leaves the option out.
    pub mss: u16,
    /// Window scale option, with the byte of padding in front.
    pub window_scale: Option<u8>,
    /// Selective acknowledgement permitted, with two bytes of padding behind.
    pub sack_permitted: bool,
}

impl TcpRepr {
    /// Length of header and options, bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        let mss = if self.mss == 0 { 0 } else { 4 };
        let scale = if self.window_scale.is_none() { 0 } else { 4 };
        let sack = if self.sack_permitted { 4 } else { 0 };
        20 + mss + scale + sack
    }

    /// A header is never empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes header and options; the checksum field stays zero.
    pub fn emit(&self, out: &mut [u8]) {
        let len = self.len();
        if let Some(h) = out.get_mut(..len) {
            h.fill(0);
        }
        let mut h = Tcp::new_unchecked(&mut *out);
        h.set_src_port(self.src_port);
        h.set_dst_port(self.dst_port);
        h.set_seq(self.seq);
        h.set_ack(self.ack);
        h.set_data_offset(((len >> 2) << 4) as u8);
        h.set_flags(self.flags);
        h.set_window(self.window);
        let mut at = 20_usize;
        if self.mss != 0 {
            let [a, b] = self.mss.to_be_bytes();
            [option::MSS, 4, a, b].put(out, at);
            at = at.saturating_add(4);
        }
        if let Some(shift) = self.window_scale {
            [option::NOP, option::WINDOW_SCALE, 3, shift].put(out, at);
            at = at.saturating_add(4);
        }
        if self.sack_permitted {
            [option::SACK_PERMITTED, 2, 0, 0].put(out, at);
        }
    }

    /// Computes the checksum of an emitted segment (header, options and payload).
    pub fn fill_checksum(segment: &mut [u8], af: Af, src: &Addr, dst: &Addr) {
        0_u16.put(segment, 16);
        let len = u32::try_from(segment.len()).unwrap_or(0);
        let sum = checksum::Sum::new().pseudo(af, src, dst, crate::packet::proto::TCP, len).bytes(segment);
        sum.finish().put(segment, 16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emitted_header_reads_back() {
        let repr = TcpRepr {
            src_port: 1,
            dst_port: 0xfffe,
            seq: 0x0102_0304,
            ack: 9,
            flags: 0x12,
            window: 77,
            mss: 1460,
            window_scale: Some(7),
            sack_permitted: true,
        };
        let mut out = [0xff; 32];
        repr.emit(&mut out);
        let h = Tcp::new_checked(&out[..]).unwrap();
        assert_eq!((h.src_port(), h.dst_port(), h.seq(), h.ack()), (1, 0xfffe, 0x0102_0304, 9));
        assert_eq!((h.flags(), h.window(), h.header_len(), h.urgent()), (0x12, 77, 32, 0));
        assert_eq!((mss(h.options()), window_scale(h.options())), (Some(1460), Some(7)));
        assert!(find_option(h.options(), 0, option::SACK_PERMITTED, 2).is_some());
        let (a, b) = (Addr([1; 16]), Addr([2; 16]));
        TcpRepr::fill_checksum(&mut out, Af::Inet6, &a, &b);
        let sum = checksum::Sum::new().pseudo(Af::Inet6, &a, &b, 6, 32).bytes(&out);
        assert_eq!(sum.fold(), 0xffff);
    }

    #[test]
    fn option_search_is_that_of_pf() {
        // An end of list is padding, a zero length steps by two, a long length is taken at its word.
        let o = [0, 9, 0, 2, 4, 5, 6, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        assert_eq!(find_option(&o, 0, option::MSS, 4), Some(3));
        assert_eq!(timestamp(&o), Some((1, 2)));
        assert_eq!(find_option(&o, 0, option::MSS, 1), None);
        assert_eq!(find_option(&[2, 200, 1, 1], 0, option::MSS, 4), Some(0));
        assert_eq!(find_option(&[9, 200, 2, 4, 1, 1], 0, option::MSS, 4), None);
        assert_eq!(find_option(&[2, 4, 1], 0, option::MSS, 4), None);
        assert_eq!(find_option(&[2, 4, 1, 1], 99, option::MSS, 4), None);
    }

    #[test]
    fn sack_blocks_stay_inside_the_options() {
        let o = [1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4];
        assert_eq!(sack_edges(&o).collect::<Vec<_>>(), [4, 8, 12, 16]);
        assert_eq!(sack_edges(&o[..19]).collect::<Vec<_>>(), [4, 8]);
        assert_eq!(sack_edges(&o[..11]).count(), 0);
    }
}
