//! The Internet checksum: whole sums, and incremental updates as pf makes them.
//!
//! **Invariant:** an incremental update keeps a wrong checksum wrong; nothing here repairs one.
//! **Invariant:** of the two representations of zero the updates yield the one that pf yields on a little-endian
//! machine: they compute on byte-swapped words.
//!
//! Source: RFC 1071, RFC 1624, `pf.c` (`pf_cksum_fixup`, `pf_cksum_fixup_a`, `pf_patch_8`, `pf_patch_32`).

use crate::packet::Packet;
use crate::rule::{Addr, Af};

/// A ones' complement sum in the making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    acc: u64,
    odd: bool,
}

impl Sum {
    /// The empty sum.
    #[must_use]
    pub const fn new() -> Self {
        Self { acc: 0, odd: false }
    }

    /// Adds a word.
    #[must_use]
    pub fn word(self, w: u16) -> Self {
        Self { acc: self.acc.wrapping_add(u64::from(w)), ..self }
    }

    /// Adds bytes; pieces of odd length may follow one another, as in one long buffer.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (mut acc, mut rest) = (self.acc, bytes);
        if self.odd
            && let Some((first, later)) = bytes.split_first()
        {
            acc = acc.wrapping_add(u64::from(*first));
            rest = later;
        }
        let odd = if bytes.is_empty() { self.odd } else { rest.len() & 1 == 1 };
        let (words, tail) = rest.as_chunks::<4>();
        for w in words {
            acc = acc.wrapping_add(u64::from(u32::from_be_bytes(*w)));
        }
        let last = match *tail {
            [a, b, c] => u32::from_be_bytes([a, b, c, 0]),
            [a, b] => u32::from_be_bytes([a, b, 0, 0]),
            [a] => u32::from_be_bytes([a, 0, 0, 0]),
            _ => 0,
        };
        Self { acc: acc.wrapping_add(u64::from(last)), odd }
    }

    /// Adds `len` bytes of a packet from `off`.
    #[must_use]
    pub fn packet(self, packet: &Packet<'_>, off: usize, len: usize) -> Self {
        packet.chunks(off, len).fold(self, Self::bytes)
    }

    /// Adds the pseudo header of TCP, UDP and ICMPv6; `len` counts transport header and payload.
    #[must_use]
    pub fn pseudo(self, af: Af, src: &Addr, dst: &Addr, proto: u8, len: u32) -> Self {
        let n = addr_len(af);
        self.bytes(src.0.get(..n).unwrap_or_default())
            .bytes(dst.0.get(..n).unwrap_or_default())
            .bytes(&len.to_be_bytes())
            .word(u16::from(proto))
    }

    /// The folded sum, not complemented.
    #[must_use]
    pub const fn fold(self) -> u16 {
        let mut x = self.acc;
        x = (x & 0xffff_ffff) + (x >> 32);
        x = (x & 0xffff_ffff) + (x >> 32);
        x = (x & 0xffff) + (x >> 16);
        x = (x & 0xffff) + (x >> 16);
        x = (x & 0xffff) + (x >> 16);
        (x & 0xffff) as u16
    }

    /// The checksum: the complement of the folded sum.
    #[must_use]
    pub const fn finish(self) -> u16 {
        !self.fold()
    }

    /// The checksum of UDP, which never is zero.
    #[must_use]
    pub const fn finish_udp(self) -> u16 {
        let c = self.finish();
        if c == 0 { 0xffff } else { c }
    }
}

/// Bytes of an address.
#[must_use]
pub const fn addr_len(af: Af) -> usize {
    match af {
        Af::Inet => 4,
        Af::Inet6 => 16,
    }
}

/// Checksum of a buffer.
#[must_use]
pub fn of(bytes: &[u8]) -> u16 {
    Sum::new().bytes(bytes).finish()
}

/// Whether the transport checksum of `len` bytes at `off` is right. Zero in UDP over IPv4 counts as right.
#[must_use]
pub fn verify_l4(packet: &Packet<'_>, af: Af, src: &Addr, dst: &Addr, proto: u8, off: usize, len: usize) -> bool {
    let Ok(n) = u32::try_from(len) else { return false };
    if off.checked_add(len).is_none_or(|end| end > packet.len()) {
        return false;
    }
    if proto == crate::packet::proto::UDP && af == Af::Inet && packet.u16(off.saturating_add(6)) == Some(0) {
        return true;
    }
    let start =
        if proto == crate::packet::proto::ICMP { Sum::new() } else { Sum::new().pseudo(af, src, dst, proto, n) };
    start.packet(packet, off, len).fold() == 0xffff
}

/// Which zero rules an update keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IP, TCP, ICMP, ICMPv6.
    Plain,
    /// UDP: zero means none and stays; a result of zero becomes `0xffff`.
    Udp,
}

impl Kind {
    /// The kind of a protocol.
    #[must_use]
    pub const fn of(proto: u8) -> Self {
        if proto == crate::packet::proto::UDP { Self::Udp } else { Self::Plain }
    }

    /// Applies the zero rules to a new value.
    const fn settle(self, old: u16, new: u16) -> u16 {
        match self {
            Self::Udp if old == 0 => 0,
            Self::Udp if new == 0 => 0xffff,
            _ => new,
        }
    }
}

/// The checksum after a word under it changed from `was` to `now` (`pf_cksum_fixup`).
#[must_use]
pub const fn fixup(cksum: u16, was: u16, now: u16, kind: Kind) -> u16 {
    let x = (cksum.swap_bytes() as u32).wrapping_add(was.swap_bytes() as u32).wrapping_sub(now.swap_bytes() as u32);
    let x = x.wrapping_add(x >> 16) & 0xffff;
    kind.settle(cksum, (x as u16).swap_bytes())
}

/// The checksum after a byte changed; `high` when it lies at an even offset of what is summed (`pf_patch_8`).
#[must_use]
pub const fn fixup_byte(cksum: u16, was: u8, now: u8, high: bool, kind: Kind) -> u16 {
    let shift = if high { 8 } else { 0 };
    fixup(cksum, (was as u16) << shift, (now as u16) << shift, kind)
}

/// The checksum after an aligned double word changed (`pf_patch_32`).
#[must_use]
pub const fn fixup_u32(cksum: u16, was: u32, now: u32, kind: Kind) -> u16 {
    let c = fixup(cksum, (was & 0xffff) as u16, (now & 0xffff) as u16, kind);
    fixup(c, (was >> 16) as u16, (now >> 16) as u16, kind)
}

/// The checksum after an address under it changed (`pf_cksum_fixup_a`).
#[must_use]
pub fn fixup_addr(cksum: u16, was: &Addr, now: &Addr, af: Af, kind: Kind) -> u16 {
    let words = |a: &Addr, flip: u16| match af {
        Af::Inet => swapped_words(&a.v4(), flip),
        Af::Inet6 => swapped_words(&a.0, flip),
    };
    let x = u32::from(cksum.swap_bytes()).wrapping_add(words(was, 0)).wrapping_add(words(now, 0xffff));
    let x = (x & 0xffff).wrapping_add(x >> 16);
    let x = (x & 0xffff).wrapping_add(x >> 16);
    kind.settle(cksum, ((x & 0xffff) as u16).swap_bytes())
}

/// The sum of words, byte-swapped and with some bits turned.
fn swapped_words<const N: usize>(bytes: &[u8; N], flip: u16) -> u32 {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().fold(0, |sum, p| sum.wrapping_add(u32::from(u16::from_le_bytes(*p) ^ flip)))
}

/// A partial checksum (the uncomplemented sum of the pseudo header) after an address changed.
#[must_use]
pub fn partial_addr(sum: u16, was: &Addr, now: &Addr, af: Af) -> u16 {
    let n = addr_len(af);
    let (pairs, _) = was.0.get(..n).unwrap_or_default().as_chunks::<2>();
    let out = pairs.iter().fold(Sum::new().word(sum), |s, p| s.word(!u16::from_be_bytes(*p)));
    out.bytes(now.0.get(..n).unwrap_or_default()).fold()
}

#[cfg(test)]
mod tests {
    use super::super::Field;
    use super::*;

    fn rng(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    fn naive(bytes: &[u8]) -> u16 {
        let mut x = 0_u32;
        for p in bytes.chunks(2) {
            x += u32::from(p[0]) << 8 | u32::from(*p.get(1).unwrap_or(&0));
            x = (x & 0xffff) + (x >> 16);
        }
        !(x as u16)
    }

    #[test]
    fn sums_agree_with_the_plain_way_at_any_split() {
        let mut s = 7;
        for n in 0..70 {
            let data: Vec<u8> = (0..n).map(|_| rng(&mut s) as u8).collect();
            for cut in 0..=n {
                let (a, b) = data.split_at(cut);
                for mid in 0..=b.len() {
                    let sum = Sum::new().bytes(a).bytes(&b[..mid]).bytes(&b[mid..]);
                    assert_eq!(sum.finish(), naive(&data));
                }
            }
        }
    }

    #[test]
    fn updates_keep_sums_true_and_wrong_ones_wrong() {
        let mut s = 99;
        for _ in 0..20_000 {
            let mut b = [0_u8; 40];
            b.iter_mut().for_each(|x| *x = rng(&mut s) as u8);
            let right = of(&b[2..]);
            let off = 2 + 2 * (rng(&mut s) as usize % 19);
            let was = u16::get(&b, off);
            let now = rng(&mut s) as u16;
            now.put(&mut b, off);
            let want = of(&b[2..]);
            let got = fixup(right, was, now, Kind::Plain);
            assert!(got == want || (got ^ want == 0xffff && (got == 0 || want == 0)));
            let wrong = fixup(right ^ 0x55, was, now, Kind::Plain);
            assert!(wrong != want && wrong ^ want != 0xffff);
        }
    }

    #[test]
    fn addresses_bytes_and_double_words_agree_with_words() {
        let mut s = 3;
        for _ in 0..5_000 {
            let mut a = Addr::default();
            let mut b = Addr::default();
            a.0.iter_mut().for_each(|x| *x = rng(&mut s) as u8);
            b.0.iter_mut().for_each(|x| *x = rng(&mut s) as u8);
            for af in [Af::Inet, Af::Inet6] {
                let c = rng(&mut s) as u16;
                let by_words = (0..addr_len(af))
                    .step_by(2)
                    .fold(c, |c, i| fixup(c, u16::get(&a.0, i), u16::get(&b.0, i), Kind::Plain));
                let got = fixup_addr(c, &a, &b, af, Kind::Plain);
                assert!(got == by_words || (got ^ by_words == 0xffff && (got == 0 || by_words == 0)));
            }
            let (x, y, c) = (rng(&mut s) as u32, rng(&mut s) as u32, rng(&mut s) as u16);
            let bytes = x.to_be_bytes().into_iter().zip(y.to_be_bytes()).enumerate();
            let byte_wise = bytes.fold(c, |c, (i, (o, n))| fixup_byte(c, o, n, i % 2 == 0, Kind::Plain));
            let got = fixup_u32(c, x, y, Kind::Plain);
            assert!(got == byte_wise || (got ^ byte_wise == 0xffff && (got == 0 || byte_wise == 0)));
        }
    }

    #[test]
    fn udp_zero_rules() {
        assert_eq!(fixup(0, 5, 9, Kind::Udp), 0);
        assert_eq!(fixup(7, 5, 12, Kind::Udp), 0xffff);
        assert_eq!(fixup(7, 5, 12, Kind::Plain), 0);
        let a = Addr::default();
        assert_eq!(fixup_addr(0, &a, &Addr([9; 16]), Af::Inet, Kind::Udp), 0);
    }

    #[test]
    fn partial_sums_follow_the_pseudo_header() {
        let (a, b, c) = (Addr([1; 16]), Addr([2; 16]), Addr([0xfe; 16]));
        let old = Sum::new().pseudo(Af::Inet6, &a, &b, 6, 99).fold();
        let new = Sum::new().pseudo(Af::Inet6, &c, &b, 6, 99).fold();
        assert_eq!(partial_addr(old, &a, &c, Af::Inet6), new);
    }
}
