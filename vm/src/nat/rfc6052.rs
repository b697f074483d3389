//! IPv4 addresses inside IPv6 ones (RFC 6052), and the way back, as `af-to` uses them.
//!
//! A prefix of 32, 40, 48, 56, 64 or 96 bits carries the IPv4 address behind it, around byte 8, which is zero. As in
//! pf a prefix of 97 to 128 bits is allowed too: what is left of the last four bytes carries the low bits.
//!
//! Source: RFC 6052 §2.2, OpenBSD `sys/net/inet_nat64.c`.

use super::addr;
use crate::rule::{Addr, Af};

/// Takes high bits of `prefix` and the rest of `low`.
const fn splice(low: u32, prefix: u32, bits: u32) -> u32 {
    let mask = match u32::MAX.checked_shl(32_u32.saturating_sub(bits)) {
        Some(m) => m,
        None => 0,
    };
    (low & !mask) | (prefix & mask)
}

/// Word `n` (of four) of an address.
const fn word(a: &Addr, n: u32) -> u32 {
    let b = addr::bits(a).wrapping_shr(96_u32.wrapping_sub(n.wrapping_mul(32))).to_be_bytes();
    let [.., w, x, y, z] = b;
    u32::from_be_bytes([w, x, y, z])
}

/// The places of the four IPv4 bytes behind a prefix; `None` for lengths RFC 6052 does not have.
const fn places(prefix: u8) -> Option<[usize; 4]> {
    Some(match prefix {
        32 => [4, 5, 6, 7],
        40 => [5, 6, 7, 9],
        48 => [6, 7, 9, 10],
        56 => [7, 9, 10, 11],
        64 => [9, 10, 11, 12],
        96 => [12, 13, 14, 15],
        _ => return None,
    })
}

/// The IPv4 address inside an IPv6 one. `pfx` gives the high bits of prefixes beyond 96. `None` when the prefix has
/// a length that means nothing.
#[must_use]
pub fn extract(src: &Addr, pfx: &Addr, prefix: u8) -> Option<Addr> {
    if let Some(places) = places(prefix) {
        let mut out = [0; 4];
        for (o, p) in out.iter_mut().zip(places) {
            *o = *src.0.get(p)?;
        }
        return Some(addr::v4(out));
    }
    let bits = u32::from(prefix).checked_sub(96).filter(|b| (1..=32).contains(b))?;
    Some(addr::v4(splice(word(src, 3), word(pfx, 3), bits).to_be_bytes()))
}

/// The IPv6 address that carries an IPv4 one behind a prefix. `None` when the prefix has a length that means nothing.
#[must_use]
pub fn embed(src: &Addr, pfx: &Addr, prefix: u8) -> Option<Addr> {
    let [a, b, c, d, ..] = src.0;
    let mut out = *pfx;
    if let Some(places) = places(prefix) {
        if let Some(reserved) = out.0.get_mut(8) {
            *reserved = 0;
        }
        for (p, byte) in places.into_iter().zip([a, b, c, d]) {
            *out.0.get_mut(p)? = byte;
        }
        return Some(out);
    }
    let bits = u32::from(prefix).checked_sub(96).filter(|b| (1..=32).contains(b))?;
    let last = splice(word(src, 0), word(pfx, 3), bits);
    Some(addr::of(Af::Inet6, (addr::bits(pfx) & !0xffff_ffff) | u128::from(last)))
}

/// The IPv4 network `pfx` with the low bits of an IPv6 address. `None` when the prefix is longer than 32.
#[must_use]
pub fn low_bits(src: &Addr, pfx: &Addr, prefix: u8) -> Option<Addr> {
    let low = match prefix {
        0 => word(src, 3),
        1..=32 => splice(word(src, 3), word(pfx, 0), u32::from(prefix)),
        _ => return None,
    };
    Some(addr::v4(low.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6052 §2.4: 192.0.2.33 behind each prefix.
    #[test]
    fn examples_of_the_rfc() {
        let v4 = addr::v4([192, 0, 2, 33]);
        let table: &[(u8, &str, &str)] = &[
            (32, "2001:db8::", "2001:db8:c000:221::"),
            (40, "2001:db8:100::", "2001:db8:1c0:2:21::"),
            (48, "2001:db8:122::", "2001:db8:122:c000:2:2100::"),
            (56, "2001:db8:122:300::", "2001:db8:122:3c0:0:221::"),
            (64, "2001:db8:122:344::", "2001:db8:122:344:c0:2:2100::"),
            (96, "2001:db8:122:344::", "2001:db8:122:344::192.0.2.33"),
            (96, "64:ff9b::", "64:ff9b::192.0.2.33"),
        ];
        let parse = |t: &str| Addr(t.parse::<std::net::Ipv6Addr>().unwrap().octets());
        for (prefix, pfx, full) in table {
            assert_eq!(embed(&v4, &parse(pfx), *prefix), Some(parse(full)), "{full}");
            assert_eq!(extract(&parse(full), &parse(pfx), *prefix), Some(v4), "{full}");
        }
    }

    #[test]
    fn longer_prefixes_carry_the_low_bits() {
        let pfx = Addr("2001:db8::a01:200".parse::<std::net::Ipv6Addr>().unwrap().octets());
        let full = embed(&addr::v4([192, 0, 2, 33]), &pfx, 120).unwrap();
        assert_eq!(full.0[12..], [0x0a, 0x01, 0x02, 33]);
        assert_eq!(extract(&full, &pfx, 120), Some(addr::v4([10, 1, 2, 33])));
        assert_eq!(embed(&full, &pfx, 128).map(|a| a.0), Some(pfx.0));
        assert_eq!((embed(&full, &pfx, 33), extract(&full, &pfx, 0)), (None, None));
        let net = addr::v4([10, 9, 8, 0]);
        assert_eq!(low_bits(&full, &net, 24), Some(addr::v4([10, 9, 8, 33])));
        assert_eq!(low_bits(&full, &net, 0), Some(addr::v4([10, 1, 2, 33])));
        assert_eq!(low_bits(&full, &net, 33), None);
    }
}
