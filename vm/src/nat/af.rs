//! The change of family: a new IP header in the place of the old one (`pf_translate_af`).
//!
//! **Invariant:** the transport checksum stays what it was, right or wrong: the old pseudo header goes out of it, the
//! new one comes in. The one exception is UDP without a checksum, which IPv6 does not have: it is given one.
//!
//! Source: OpenBSD 7.8 `sys/net/pf.c` (`pf_translate_af`), RFC 6145.

use super::addr::{self, ZERO};
use super::icmp_af;
use super::rewrite::{Edit, OutOfWindow, at, has_pseudo, sum_offset};
use crate::packet::{Checksum, FragInfo, L4, Packet, PacketDesc, PktMeta, proto};
use crate::rule::{Addr, Af};
use crate::wire::checksum::{self, Sum};

/// Hop limit when the old one is none or larger (`IPV6_DEFHLIM`).
const HOP_LIMIT: u8 = 64;

/// Length of a header without options or extension headers.
#[must_use]
pub const fn header_len(af: Af) -> usize {
    match af {
        Af::Inet => 20,
        Af::Inet6 => 40,
    }
}

/// A header as it is made for a translated packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) tos: u8,
    pub(super) ttl: u8,
    pub(super) proto: u8,
    /// Length of what follows the header.
    pub(super) payload: usize,
    /// IPv4 identification.
    pub(super) id: u16,
    pub(super) src: Addr,
    pub(super) dst: Addr,
}

/// A length in the header's field; longer ones (segmented by the card) leave it zero.
fn length(n: usize) -> [u8; 2] {
    u16::try_from(n).unwrap_or(0).to_be_bytes()
}

impl Header {
    /// An IPv4 header; with its checksum, unless the card writes it.
    pub(super) fn v4(&self, sum: bool) -> [u8; 20] {
        let [l0, l1] = length(self.payload.saturating_add(20));
        let [i0, i1] = self.id.to_be_bytes();
        let [s0, s1, s2, s3, ..] = self.src.0;
        let [d0, d1, d2, d3, ..] = self.dst.0;
        let head = |c0, c1| {
            [0x45, self.tos, l0, l1, i0, i1, 0x40, 0, self.ttl, self.proto, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3]
        };
        let plain = head(0, 0);
        if !sum {
            return plain;
        }
        let [c0, c1] = checksum::of(&plain).to_be_bytes();
        head(c0, c1)
    }

    /// An IPv6 header.
    pub(super) fn v6(&self) -> [u8; 40] {
        let mut h = [0; 40];
        let [l0, l1] = length(self.payload);
        let hops = if self.ttl == 0 || self.ttl > HOP_LIMIT { HOP_LIMIT } else { self.ttl };
        let word = (6_u32 << 28) | u32::from(self.tos).wrapping_shl(20);
        let [w0, w1, w2, w3] = word.to_be_bytes();
        let front = [w0, w1, w2, w3, l0, l1, self.proto, hops];
        let all = front.iter().chain(&self.src.0).chain(&self.dst.0);
        for (to, from) in h.iter_mut().zip(all) {
            *to = *from;
        }
        h
    }
}

/// Gives the packet the IP header of its new family, from `nsaddr` to `ndaddr`. Ports, ICMP header and `proto` are
/// those of the new family already. `id` is a random number, for IPv4.
///
/// # Errors
/// [`OutOfWindow`] when the headroom is too small; the packet is lost then.
pub fn translate(pkt: &mut Packet<'_>, meta: &PktMeta, pd: &mut PacketDesc, id: u16) -> Result<(), OutOfWindow> {
    let payload = pd.tot_len.saturating_sub(pd.off);
    let new = at(pd.off);
    let no_udp_sum = pd.proto == proto::UDP
        && !matches!(meta.l4, Checksum::Partial | Checksum::Absent)
        && pkt.u16(new.saturating_add(6)) == Some(0);
    exchange_pseudo(pkt, meta, pd, payload)?;
    let header =
        Header { tos: pd.tos, ttl: pd.ttl, proto: pd.proto, payload: at(payload), id, src: pd.nsaddr, dst: pd.ndaddr };
    let len = header_len(pd.naf);
    let moved = pkt.shrink_front(new) && pkt.grow_front(len);
    let written = match pd.naf {
        Af::Inet => pkt.write(0, &header.v4(meta.ip != Checksum::Partial)),
        Af::Inet6 => pkt.write(0, &header.v6()),
    };
    if !(moved && written) {
        return Err(OutOfWindow);
    }
    describe(pd, len, payload, header.ttl);
    if no_udp_sum && pd.af == Af::Inet6 {
        complete_udp(pkt, pd, payload)?;
    }
    Ok(())
}

/// Takes the old pseudo header out of the transport sum and puts the new one in.
fn exchange_pseudo(pkt: &mut Packet<'_>, meta: &PktMeta, pd: &PacketDesc, payload: u32) -> Result<(), OutOfWindow> {
    let old = icmp_af::other(pd.proto);
    let len = u16::try_from(payload & 0xffff).unwrap_or(0);
    let mut e = Edit::new(pkt, meta, pd);
    if old == proto::ICMPV6 {
        e.pseudo_word(u16::from(old), 0);
        e.pseudo_word(len, 0);
    }
    if has_pseudo(old) {
        e.pseudo_addr(pd.af, &pd.src, &ZERO);
        e.pseudo_addr(pd.af, &pd.dst, &ZERO);
    }
    if pd.proto == proto::ICMPV6 {
        e.pseudo_word(0, u16::from(pd.proto));
        e.pseudo_word(0, len);
    }
    if has_pseudo(pd.proto) {
        e.pseudo_addr(pd.naf, &ZERO, &pd.nsaddr);
        e.pseudo_addr(pd.naf, &ZERO, &pd.ndaddr);
    }
    e.done()
}

/// The description of the packet as it is now.
fn describe(pd: &mut PacketDesc, len: usize, payload: u32, ttl: u8) {
    pd.af = pd.naf;
    pd.src = addr::only(pd.naf, &pd.nsaddr);
    pd.dst = addr::only(pd.naf, &pd.ndaddr);
    pd.off = u32::try_from(len).unwrap_or(0);
    pd.ip_hlen = u8::try_from(len).unwrap_or(0);
    pd.tot_len = payload.saturating_add(pd.off);
    (pd.extoff, pd.fragoff) = (0, 0);
    pd.frag = FragInfo { dont: pd.naf == Af::Inet, ..FragInfo::default() };
    if pd.naf == Af::Inet6 && (ttl == 0 || ttl > HOP_LIMIT) {
        pd.ttl = HOP_LIMIT;
    }
    debug_assert!(!matches!(pd.l4, L4::Other) || sum_offset(pd.proto).is_none());
}

/// Computes the sum of a UDP datagram that came without one.
fn complete_udp(pkt: &mut Packet<'_>, pd: &PacketDesc, payload: u32) -> Result<(), OutOfWindow> {
    let off = at(pd.off);
    let sum = Sum::new().pseudo(pd.af, &pd.src, &pd.dst, proto::UDP, payload).packet(pkt, off, at(payload));
    let written = pkt.write(off.saturating_add(6), &sum.finish_udp().to_be_bytes());
    if written { Ok(()) } else { Err(OutOfWindow) }
}
