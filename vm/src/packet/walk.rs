//! The walk along the headers, from the IP header to the transport header.
//!
//! Works at any offset, so that the packets ICMP errors quote are walked by the same rules.
//!
//! Source: `pf.c` (`pf_walk_header`, `pf_walk_option`, `pf_walk_header6`, `pf_walk_option6`, `pf_pull_hdr`).

use super::{BadOpts, DropReason, Packet, Refusal, proto};
use crate::rule::Af;
use crate::wire::icmp::v6;
use crate::wire::ipv6::{ExtensionHeader, option};
use crate::wire::{FragmentHeader, Icmp, Ipv4, Ipv6, ipv4};

/// Headers that are walked at most (`pf_hdr_limit`).
const HEADER_LIMIT: usize = 20;
/// Smallest length a jumbo payload option may name.
const JUMBO_MIN: u32 = 65535;
/// Routing header type 0.
const ROUTING_TYPE_0: u8 = 0;
/// 224.0.0.1.
const ALL_HOSTS: [u8; 4] = [224, 0, 0, 1];

/// How far headers may be read: what the packet holds, and what its own IP header admits.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    len: usize,
    fragment: bool,
    outside: bool,
}

impl Bounds {
    /// The bounds of a packet by its outermost header. `len_outside` says that a zero length in it means the length
    /// of the packet.
    #[must_use]
    pub fn of(packet: &Packet<'_>, af: Af, len_outside: bool) -> Self {
        let len = packet.len();
        match af {
            Af::Inet => Self::of4(len, &Ipv4::new_unchecked(packet.array(0).unwrap_or([0; 20])), len_outside),
            Af::Inet6 => Self::of6(len, &Ipv6::new_unchecked(packet.array(0).unwrap_or([0; 40])), len_outside),
        }
    }

    /// The same for an IPv4 header at hand.
    #[inline]
    pub(super) fn of4(len: usize, h: &Ipv4<impl AsRef<[u8]>>, len_outside: bool) -> Self {
        let said = usize::from(h.total_len());
        Self::new(len, said, len_outside && said == 0, h.fragment_offset() != 0)
    }

    /// The same for an IPv6 header at hand.
    pub(super) fn of6(len: usize, h: &Ipv6<impl AsRef<[u8]>>, len_outside: bool) -> Self {
        let said = usize::from(h.payload_len());
        Self::new(len, said.saturating_add(40), len_outside && said == 0, false)
    }

    #[inline]
    fn new(len: usize, said: usize, outside: bool, fragment: bool) -> Self {
        Self { len: if outside { len } else { said.min(len) }, fragment, outside }
    }

    /// Whether the length is that of the packet because its header leaves it out.
    #[must_use]
    pub const fn length_outside(&self) -> bool {
        self.outside
    }

    /// Reads `N` bytes at `off` (`pf_pull_hdr`).
    ///
    /// # Errors
    /// `fragment` in a later fragment, `short` beyond the bounds.
    #[inline]
    pub fn pull<const N: usize>(&self, packet: &Packet<'_>, off: usize) -> Result<[u8; N], Refusal> {
        self.lend(packet, off, &mut [0; N]).copied()
    }

    /// The same, lent as by [`Packet::lend`].
    ///
    /// # Errors
    /// Likewise.
    #[inline]
    pub fn lend<'r, const N: usize>(
        &self,
        packet: &'r Packet<'_>,
        off: usize,
        room: &'r mut [u8; N],
    ) -> Result<&'r [u8; N], Refusal> {
        if self.fragment {
            return Err(Refusal::logged(DropReason::Fragment));
        }
        let short = Refusal::logged(DropReason::Short);
        if off.checked_add(N).is_none_or(|end| end > self.len) {
            return Err(short);
        }
        packet.lend(off, room).ok_or(short)
    }
}

/// Where a walk ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Final protocol.
    pub proto: u8,
    /// Offset of its header.
    pub off: usize,
    /// Options seen.
    pub badopts: BadOpts,
    /// IPv6: offset of the last extension header in front of a fragment header, or 0.
    pub extoff: usize,
    /// IPv6: offset of the fragment header of a fragment, or 0.
    pub fragoff: usize,
    /// IPv6: length a jumbo payload option named, or 0.
    pub jumbo: u32,
}

/// A refusal that is logged.
fn refuse<T>(reason: DropReason) -> Result<T, Refusal> {
    Err(Refusal::logged(reason))
}

/// Walks an IPv4 header that stands at `base`.
///
/// # Errors
/// The packet is refused.
#[inline]
pub fn walk4(packet: &Packet<'_>, bounds: Bounds, base: usize, h: &Ipv4<impl AsRef<[u8]>>) -> Result<Walk, Refusal> {
    let hlen = h.header_len();
    let total = if bounds.outside && base == 0 { bounds.len } else { usize::from(h.total_len()) };
    if hlen < 20 || hlen > total {
        return refuse(DropReason::Short);
    }
    let mut walk = Walk { proto: h.proto(), off: base.saturating_add(hlen), ..Walk::default() };
    if hlen != 20 {
        walk.badopts = options4(packet, base.saturating_add(20), walk.off)?;
    }
    if walk.proto == proto::IGMP {
        if h.ttl() != 1 && h.dst() == ALL_HOSTS {
            return refuse(DropReason::IpOption);
        }
        walk.badopts = walk.badopts.without(BadOpts::ROUTER_ALERT);
    }
    if h.fragment_offset() != 0 {
        return Ok(walk);
    }
    let end = base.saturating_add(total);
    for _ in 0..HEADER_LIMIT {
        if walk.proto != proto::AH {
            return Ok(walk);
        }
        if h.is_fragment() && end < walk.off.saturating_add(2) {
            return Ok(walk);
        }
        let ah = ExtensionHeader::new_unchecked(bounds.pull::<2>(packet, walk.off)?);
        walk.off = walk.off.saturating_add(ah_len(&ah));
        walk.proto = ah.next_header();
    }
    refuse(DropReason::IpOption)
}

/// Walks IPv4 options from `off` to `end`.
fn options4(packet: &Packet<'_>, off: usize, end: usize) -> Result<BadOpts, Refusal> {
    let mut buf = [0_u8; 40];
    let Some(bytes) = buf.get_mut(..end.saturating_sub(off)) else { return refuse(DropReason::Short) };
    if !packet.read(off, bytes) {
        return refuse(DropReason::Short);
    }
    let mut bad = BadOpts::NONE;
    for option in ipv4::Options::new(bytes) {
        bad = match option {
            Ok(o) if o.kind == ipv4::OPT_ROUTER_ALERT => bad.with(BadOpts::ROUTER_ALERT),
            Ok(_) => bad.with(BadOpts::OTHER),
            Err(_) => return refuse(DropReason::IpOption),
        };
    }
    Ok(fishy(bad))
}

/// Options that are padding alone are fishy.
const fn fishy(bad: BadOpts) -> BadOpts {
    if bad.any() { bad } else { BadOpts::OTHER }
}

/// Length of an authentication header, bytes.
fn ah_len(ah: &ExtensionHeader<[u8; 2]>) -> usize {
    usize::from(ah.length()).saturating_add(2).saturating_mul(4)
}

/// Length of any other extension header, bytes.
fn ext_len(ext: &ExtensionHeader<[u8; 2]>) -> usize {
    usize::from(ext.length()).saturating_add(1).saturating_mul(8)
}

/// Walks an IPv6 header that stands at `base`.
///
/// # Errors
/// The packet is refused.
pub fn walk6(packet: &Packet<'_>, bounds: Bounds, base: usize, h: &Ipv6<[u8; 40]>) -> Result<Walk, Refusal> {
    let start = base.saturating_add(40);
    let said = start.saturating_add(usize::from(h.payload_len()));
    let end = if bounds.outside && base == 0 { bounds.len } else { said };
    let walk = Walk { proto: h.next_header(), off: start, ..Walk::default() };
    let mut w = Walk6 { packet, bounds, h, end, walk, fragments: 0, routings: 0 };
    for count in 0..HEADER_LIMIT {
        if w.step(count)? {
            return Ok(w.walk);
        }
    }
    refuse(DropReason::IpOption)
}

/// An IPv6 walk under way.
struct Walk6<'a, 'p> {
    packet: &'a Packet<'p>,
    bounds: Bounds,
    h: &'a Ipv6<[u8; 40]>,
    end: usize,
    walk: Walk,
    fragments: u32,
    routings: u32,
}

impl Walk6<'_, '_> {
    /// Passes one header; `true` at the end of the walk.
    fn step(&mut self, count: usize) -> Result<bool, Refusal> {
        self.note_options()?;
        match self.walk.proto {
            proto::FRAGMENT => self.fragment(),
            proto::ROUTING => {
                self.routings = self.routings.saturating_add(1);
                if self.routings > 1 {
                    return refuse(DropReason::IpOption);
                }
                if self.cut_off(4) {
                    return Ok(true);
                }
                let [_, _, kind, _] = self.pull::<4>()?;
                if kind == ROUTING_TYPE_0 {
                    return refuse(DropReason::IpOption);
                }
                self.extension()
            }
            proto::HOPOPTS if count > 0 => refuse(DropReason::IpOption),
            proto::HOPOPTS | proto::AH | proto::DSTOPTS => self.extension(),
            proto::ICMPV6 => self.icmp6(),
            proto::TCP => Ok(self.transport(20)),
            proto::UDP => Ok(self.transport(8)),
            _ => Ok(true),
        }
    }

    /// Reads at the current header.
    fn pull<const N: usize>(&self) -> Result<[u8; N], Refusal> {
        self.bounds.pull(self.packet, self.walk.off)
    }

    /// Notes what options the current header holds.
    fn note_options(&mut self) -> Result<(), Refusal> {
        match self.walk.proto {
            proto::ROUTING | proto::DSTOPTS => self.walk.badopts = self.walk.badopts.with(BadOpts::OTHER),
            proto::HOPOPTS => {
                let ext = ExtensionHeader::new_unchecked(self.pull::<2>()?);
                self.hop_options(self.walk.off.saturating_add(ext_len(&ext)))?;
                self.walk.badopts = fishy(self.walk.badopts);
            }
            _ => {}
        }
        Ok(())
    }

    /// Walks hop-by-hop options up to `end`.
    fn hop_options(&mut self, end: usize) -> Result<(), Refusal> {
        let mut off = self.walk.off.saturating_add(2);
        while off < end {
            let [kind] = self.bounds.pull::<1>(self.packet, off)?;
            if kind == option::PAD1 {
                off = off.saturating_add(1);
                continue;
            }
            let [_, len] = self.bounds.pull::<2>(self.packet, off)?;
            let next = off.saturating_add(2).saturating_add(usize::from(len));
            if next > end {
                return refuse(DropReason::IpOption);
            }
            match kind {
                option::PADN => {}
                option::JUMBO => self.jumbo(off)?,
                option::ROUTER_ALERT => self.walk.badopts = self.walk.badopts.with(BadOpts::ROUTER_ALERT),
                _ => self.walk.badopts = self.walk.badopts.with(BadOpts::OTHER),
            }
            off = next;
        }
        Ok(())
    }

    /// A jumbo payload option at `off`.
    fn jumbo(&mut self, off: usize) -> Result<(), Refusal> {
        self.walk.badopts = self.walk.badopts.with(BadOpts::JUMBO);
        if self.walk.jumbo != 0 || self.h.payload_len() != 0 {
            return refuse(DropReason::IpOption);
        }
        let [_, _, a, b, c, d] = self.bounds.pull::<6>(self.packet, off)?;
        self.walk.jumbo = u32::from_be_bytes([a, b, c, d]);
        if self.walk.jumbo < JUMBO_MIN { refuse(DropReason::IpOption) } else { Ok(()) }
    }

    /// A fragment header: later fragments end the walk; atomic ones are passed and forgotten (RFC 6946).
    fn fragment(&mut self) -> Result<bool, Refusal> {
        self.fragments = self.fragments.saturating_add(1);
        if self.fragments > 1 || self.walk.jumbo != 0 {
            return refuse(DropReason::Fragment);
        }
        let frag = FragmentHeader::new_unchecked(self.pull::<8>()?);
        if frag.offset() != 0 || frag.more() {
            self.walk.fragoff = self.walk.off;
        }
        if frag.offset() != 0 {
            return Ok(true);
        }
        self.walk.off = self.walk.off.saturating_add(8);
        self.walk.proto = frag.next_header();
        Ok(false)
    }

    /// Any other extension header.
    fn extension(&mut self) -> Result<bool, Refusal> {
        if self.cut_off(2) {
            return Ok(true);
        }
        let ext = ExtensionHeader::new_unchecked(self.pull::<2>()?);
        let hop = self.walk.proto == proto::HOPOPTS;
        if self.walk.fragoff == 0 {
            self.walk.extoff = self.walk.off;
            if hop && self.h.payload_len() == 0 && self.walk.jumbo != 0 {
                return refuse(DropReason::IpOption);
            }
        }
        let len = if self.walk.proto == proto::AH { ah_len(&ext) } else { ext_len(&ext) };
        self.walk.off = self.walk.off.saturating_add(len);
        self.walk.proto = ext.next_header();
        Ok(false)
    }

    /// ICMPv6: listener messages are judged here, for they may carry a router alert.
    fn icmp6(&mut self) -> Result<bool, Refusal> {
        if self.cut_off(8) {
            return Ok(true);
        }
        let icmp = Icmp::new_unchecked(self.pull::<8>()?);
        if matches!(icmp.kind(), v6::MLD_QUERY | v6::MLD_REPORT | v6::MLD_DONE | v6::MLD2_REPORT) {
            let [a, b, ..] = self.h.src();
            let link_local = a == 0xfe && b & 0xc0 == 0x80;
            if self.h.hop_limit() != 1 || !link_local {
                return refuse(DropReason::IpOption);
            }
            self.walk.badopts = self.walk.badopts.without(BadOpts::ROUTER_ALERT);
        }
        Ok(true)
    }

    /// A transport header of `len` bytes: ends the walk.
    fn transport(&mut self, len: usize) -> bool {
        self.cut_off(len);
        true
    }

    /// A first fragment that ends before the next `len` bytes: the walk ends at its fragment header.
    fn cut_off(&mut self, len: usize) -> bool {
        let cut = self.walk.fragoff != 0 && self.end < self.walk.off.saturating_add(len);
        if cut {
            self.walk.off = self.walk.fragoff;
            self.walk.proto = proto::FRAGMENT;
        }
        cut
    }
}
