//! Arithmetic on addresses: an address of either family as one number whose top bits are its first bytes.
//!
//! **Invariant:** of an IPv4 address only the first four bytes count; the functions here keep the rest zero.

use crate::rule::{Addr, Af};

/// The unspecified address of both families.
pub const ZERO: Addr = Addr([0; 16]);

/// The sixteen bytes as a number.
#[must_use]
pub const fn bits(a: &Addr) -> u128 {
    u128::from_be_bytes(a.0)
}

/// The bits that belong to a family.
#[must_use]
pub const fn all(af: Af) -> u128 {
    match af {
        Af::Inet => 0xffff_ffff_u128.wrapping_shl(96),
        Af::Inet6 => u128::MAX,
    }
}

/// Width of a family's addresses, bits.
#[must_use]
pub const fn width(af: Af) -> u8 {
    match af {
        Af::Inet => 32,
        Af::Inet6 => 128,
    }
}

/// The address of a family with these bits.
#[must_use]
pub const fn of(af: Af, bits: u128) -> Addr {
    Addr((bits & all(af)).to_be_bytes())
}

/// The address with all that is not of the family cleared.
#[must_use]
pub const fn only(af: Af, a: &Addr) -> Addr {
    match af {
        Af::Inet => Addr::of4(a.v4()),
        Af::Inet6 => *a,
    }
}

/// The mask of a prefix; a longer prefix than the family has is all of it.
#[must_use]
pub fn mask(af: Af, prefix: u8) -> u128 {
    let host = u32::from(128_u8.saturating_sub(prefix.min(width(af))));
    u128::MAX.checked_shl(host).unwrap_or(0) & all(af)
}

/// Whether two addresses agree under a mask (`pf_match_addr`).
#[must_use]
pub const fn same_net(a: &Addr, mask: u128, b: &Addr) -> bool {
    bits(a) & mask == bits(b) & mask
}

/// The network bits of one address with the host bits of another (`pf_poolmask`).
#[must_use]
pub const fn graft(af: Af, net: &Addr, mask: u128, host: &Addr) -> Addr {
    of(af, (bits(net) & mask) | (bits(host) & !mask))
}

/// The next address, the last one wrapping to the first (`pf_addr_inc`).
#[must_use]
pub const fn next(af: Af, a: &Addr) -> Addr {
    match af {
        Af::Inet => of(af, bits(a).wrapping_add(1_u128.wrapping_shl(96))),
        Af::Inet6 => of(af, bits(a).wrapping_add(1)),
    }
}

/// Whether two addresses of a family are equal.
#[must_use]
pub const fn equal(af: Af, a: &Addr, b: &Addr) -> bool {
    match af {
        Af::Inet => u32::from_be_bytes(a.v4()) == u32::from_be_bytes(b.v4()),
        Af::Inet6 => bits(a) == bits(b),
    }
}

/// Whether an address of a family is all zeros.
#[must_use]
pub const fn is_zero(af: Af, a: &Addr) -> bool {
    bits(a) & all(af) == 0
}

/// Whether an address is an IPv6 link-local one.
#[must_use]
pub const fn is_link_local(af: Af, a: &Addr) -> bool {
    matches!((af, a.0), (Af::Inet6, [0xfe, 0x80..=0xbf, ..]))
}

/// Whether an address is a loopback one: 127/8 or ::1.
#[must_use]
pub const fn is_loopback(af: Af, a: &Addr) -> bool {
    match af {
        Af::Inet => matches!(a.0, [127, ..]),
        Af::Inet6 => bits(a) == 1,
    }
}

/// The bytes of an address that are on the wire.
#[must_use]
pub fn wire(af: Af, a: &Addr) -> &[u8] {
    match af {
        Af::Inet => a.0.first_chunk::<4>().map_or(&[], <[u8; 4]>::as_slice),
        Af::Inet6 => &a.0,
    }
}

/// An IPv4 address.
#[must_use]
pub const fn v4(b: [u8; 4]) -> Addr {
    let [a, b, c, d] = b;
    Addr([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_and_steps() {
        assert_eq!(of(Af::Inet, mask(Af::Inet, 28)), v4([255, 255, 255, 240]));
        assert_eq!((mask(Af::Inet, 0), mask(Af::Inet6, 128), mask(Af::Inet, 255)), (0, u128::MAX, all(Af::Inet)));
        assert_eq!(next(Af::Inet, &v4([10, 0, 0, 255])), v4([10, 0, 1, 0]));
        assert_eq!(next(Af::Inet, &v4([255; 4])), ZERO);
        let mut a = [0xff; 16];
        a[0] = 0x20;
        assert_eq!(bits(&next(Af::Inet6, &Addr(a))), 0x21_u128 << 120);
        let net = v4([203, 0, 113, 16]);
        assert_eq!(graft(Af::Inet, &net, mask(Af::Inet, 28), &v4([10, 0, 0, 0x4a])), v4([203, 0, 113, 26]));
        assert!(same_net(&net, mask(Af::Inet, 28), &v4([203, 0, 113, 31])));
        assert!(!same_net(&net, mask(Af::Inet, 28), &v4([203, 0, 113, 32])));
        assert!(is_link_local(Af::Inet6, &Addr([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])));
        assert!(is_loopback(Af::Inet, &v4([127, 1, 2, 3])) && is_loopback(Af::Inet6, &of(Af::Inet6, 1)));
    }
}
