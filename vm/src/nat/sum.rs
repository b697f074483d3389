//! Checksum fix-ups: a stored Internet checksum when covered words change (RFC 1624).
//!
//! Words here are what a little-endian machine loads from the packet, because pf works on those: where a sum comes
//! out as zero, which of one's complement's two zeros it is depends on the byte order of the additions.
//! **Invariant:** a sum that was right stays right, a sum that was wrong stays wrong by the same amount.
//!
//! Source: OpenBSD 7.8 `sys/net/pf.c` (`pf_cksum_fixup`, `pf_cksum_fixup_a`), RFC 1624, RFC 768.

use crate::rule::{Addr, Af};

/// A word as it lies in the packet.
pub type Word = u16;

/// The word of a number in host order.
#[must_use]
pub const fn word(host: u16) -> Word {
    u16::from_le_bytes(host.to_be_bytes())
}

/// The two words of a number in host order, as they follow each other in the packet.
#[must_use]
pub const fn words(host: u32) -> [Word; 2] {
    let [a, b, c, d] = host.to_be_bytes();
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}

/// UDP's rules for zero: no sum stays no sum, and a sum never becomes none.
const fn udp_zero(udp: bool, old: Word, new: Word) -> Word {
    match (udp, old, new) {
        (true, 0, _) => 0,
        (true, _, 0) => 0xffff,
        _ => new,
    }
}

/// The sum after a covered word changed.
#[must_use]
pub const fn fixup(sum: Word, was: Word, now: Word, udp: bool) -> Word {
    let x = widen(sum).wrapping_add(widen(was)).wrapping_sub(widen(now));
    udp_zero(udp, sum, low(x.wrapping_add(x.wrapping_shr(16))))
}

/// The sum after a covered address changed.
#[must_use]
pub fn fixup_addr(sum: Word, was: &Addr, now: &Addr, af: Af, udp: bool) -> Word {
    let n = match af {
        Af::Inet => 2,
        Af::Inet6 => 8,
    };
    let old = was.0.as_chunks::<2>().0.iter().take(n);
    let new = now.0.as_chunks::<2>().0.iter().take(n);
    let mut x = widen(sum);
    for (o, n) in old.zip(new) {
        x = x.wrapping_add(widen(u16::from_le_bytes(*o))).wrapping_add(widen(!u16::from_le_bytes(*n)));
    }
    udp_zero(udp, sum, fold(x))
}

/// One's complement sum of bytes, not complemented; an odd last byte counts as the first of its word.
#[must_use]
pub fn add(mut acc: u32, bytes: &[u8]) -> u32 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    for p in pairs {
        acc = acc.wrapping_add(widen(u16::from_le_bytes(*p)));
        acc = (acc & 0xffff).wrapping_add(acc.wrapping_shr(16));
    }
    if let [last] = rest {
        acc = acc.wrapping_add(u32::from(*last));
    }
    acc
}

/// Sixteen bits of a sum with the carries added in.
#[must_use]
pub const fn fold(x: u32) -> Word {
    let x = (x & 0xffff).wrapping_add(x.wrapping_shr(16));
    low((x & 0xffff).wrapping_add(x.wrapping_shr(16)))
}

/// The checksum of some bytes of even length (`in_cksum`).
#[must_use]
pub fn of(bytes: &[u8]) -> Word {
    !fold(add(0, bytes))
}

/// Takes bytes with this checksum out of what a sum covers (`pf_cksum_uncover`).
#[must_use]
pub const fn uncover(sum: Word, covered: Word) -> Word {
    fixup(sum, !covered, 0, false)
}

/// Puts bytes with this checksum under a sum (`pf_cksum_cover`).
#[must_use]
pub const fn cover(sum: Word, uncovered: Word) -> Word {
    fixup(sum, 0, !uncovered, false)
}

const fn widen(w: Word) -> u32 {
    let [a, b] = w.to_le_bytes();
    u32::from_le_bytes([a, b, 0, 0])
}

const fn low(x: u32) -> Word {
    let [a, b, ..] = x.to_le_bytes();
    u16::from_le_bytes([a, b])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::addr;

    /// A slow sum to compare with: big-endian words, as RFC 1071 has it.
    fn full(bytes: &[u8]) -> u16 {
        let mut s: u64 = 0;
        for c in bytes.chunks(2) {
            s += u64::from(c[0]) << 8 | u64::from(*c.get(1).unwrap_or(&0));
        }
        while s >> 16 != 0 {
            s = (s & 0xffff) + (s >> 16);
        }
        !u16::try_from(s).unwrap()
    }

    /// Equal as one's complement numbers: both zeros are one.
    fn same(a: u16, b: u16) -> bool {
        a % 0xffff == b % 0xffff
    }

    #[test]
    fn incremental_is_full() {
        let mut seed = 1_u32;
        let mut rnd = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as u16
        };
        for _ in 0..5000 {
            let mut data: Vec<u8> = (0..20).map(|_| rnd() as u8).collect();
            let before = full(&data);
            let (at, new) = (usize::from(rnd() % 10) * 2, rnd());
            let was = u16::from_le_bytes([data[at], data[at + 1]]);
            data[at..at + 2].copy_from_slice(&new.to_le_bytes());
            let fixed = fixup(word(before), was, new, false);
            assert!(same(word(fixed), full(&data)));
            assert_eq!(of(&data), word(full(&data)));
        }
    }

    #[test]
    fn addresses_of_both_families() {
        let mut old = [0x11; 40];
        let new: [u8; 16] = core::array::from_fn(|i| (i * 37) as u8);
        for (af, n) in [(Af::Inet, 4), (Af::Inet6, 16)] {
            let was = full(&old);
            let mut a = [0; 16];
            a[..n].copy_from_slice(&old[8..8 + n]);
            let fixed = fixup_addr(word(was), &Addr(a), &Addr(new), af, false);
            old[8..8 + n].copy_from_slice(&new[..n]);
            assert!(same(word(fixed), full(&old)));
        }
    }

    #[test]
    fn udp_knows_two_zeros() {
        assert_eq!(fixup(0, 1, 2, true), 0);
        assert_eq!(fixup(0, 1, 2, false), 0xfffe);
        assert_eq!((fixup(5, 2, 7, true), fixup(5, 2, 7, false)), (0xffff, 0));
        assert_eq!(fixup_addr(0, &addr::v4([1; 4]), &addr::v4([2; 4]), Af::Inet, true), 0);
    }

    #[test]
    fn covering_undoes_uncovering() {
        let h = of(&[1, 2, 3, 4]);
        let s = 0x1234;
        assert_eq!(cover(uncover(s, h), h), s);
    }
}
