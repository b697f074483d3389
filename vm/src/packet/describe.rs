//! The description of a packet, made in pf's order of checks.
//!
//! Source: `pf.c` (`pf_setup_pdesc`), and of `pf_test` the refusal of ICMP of the other family.

use super::walk::{Bounds, walk4, walk6};
use super::{DropReason, FragInfo, IcmpInfo, L4, Packet, PacketDesc, PktMeta, Refusal, TcpInfo, proto};
use crate::rule::{Addr, Af, Direction};
use crate::wire::icmp::v6;
use crate::wire::{FragmentHeader, Icmp, Ipv4, Ipv6, Tcp, Udp, ipv4};

/// ECN bits of the type of service.
const ECN: u8 = 3;

/// Describes a packet of a family, seen on an interface in a direction.
///
/// What only the host knows (tag, priority, received-on, user, whether it is being forwarded) has its empty value;
/// the caller sets it.
///
/// # Errors
/// The packet is refused before any rule sees it: too short for what it announces, bad options, wrong hop limit …
pub fn describe(
    packet: &Packet<'_>,
    meta: &PktMeta,
    af: Af,
    dir: Direction,
    iface: u16,
) -> Result<PacketDesc, Refusal> {
    let mut desc = PacketDesc::NOTHING;
    describe_into(packet, meta, (af, dir, iface), &mut desc)?;
    Ok(desc)
}

/// [`describe`] in place; family, direction and interface are `seen`.
///
/// # Errors
/// Likewise; the description means nothing then but for what was seen.
pub fn describe_into(
    packet: &Packet<'_>,
    meta: &PktMeta,
    seen: (Af, Direction, u16),
    desc: &mut PacketDesc,
) -> Result<(), Refusal> {
    let (af, dir, iface) = seen;
    if af == Af::Inet && usual(packet, dir, iface, desc).is_some() {
        return Ok(());
    }
    *desc = PacketDesc::seen(af, dir, iface);
    by_steps(packet, meta, desc)
}

/// Describes what nearly all packets are: TCP or UDP, IPv4 without options, whole, its headers in the window and nothing wrong
/// with them. `None` for others, with nothing written: [`by_steps`] describes those, and these no differently.
#[inline]
fn usual(packet: &Packet<'_>, dir: Direction, iface: u16, desc: &mut PacketDesc) -> Option<()> {
    let (ip, rest) = packet.window().split_first_chunk::<20>()?;
    let ip = Ipv4::new_unchecked(ip);
    let said = u32::from(ip.total_len());
    if ip.version_ihl() != 0x45 || ip.flags_offset() & !ipv4::DF != 0 || said > narrow(packet.len()) {
        return None;
    }
    let room = said.checked_sub(20)?;
    let (sport, dport, hdrlen, p_len, l4) = match ip.proto() {
        proto::TCP => {
            let h = Tcp::new_unchecked(rest.first_chunk::<20>()?);
            let header = u8::try_from(h.header_len()).ok().filter(|n| *n >= 20)?;
            let p_len = room.checked_sub(header.into())?;
            (h.src_port(), h.dst_port(), 20, p_len, L4::Tcp(tcp_info(&h, header)))
        }
        proto::UDP => {
            let h = Udp::new_unchecked(rest.first_chunk::<8>()?);
            let length = u32::from(h.length());
            (h.src_port(), h.dst_port(), 8, length.checked_sub(8).filter(|_| length <= room)?, L4::Udp)
        }
        _ => return None,
    };
    if dport == 0 {
        return None;
    }
    let (src, dst) = (addr4(ip.src()), addr4(ip.dst()));
    *desc = PacketDesc {
        dir,
        iface,
        proto: ip.proto(),
        tos: ip.tos() & !ECN,
        ttl: ip.ttl(),
        src,
        dst,
        nsaddr: src,
        ndaddr: dst,
        sport,
        dport,
        nsport: sport,
        ndport: dport,
        tot_len: said,
        off: 20,
        hdrlen,
        p_len,
        ip_hlen: 20,
        frag: FragInfo { id: u32::from(ip.id()), offset: 0, more: false, dont: ip.dont_fragment() },
        l4,
        ..PacketDesc::NOTHING
    };
    Some(())
}

/// Describes any packet, of a description fresh from [`PacketDesc::seen`].
#[inline(never)]
fn by_steps(packet: &Packet<'_>, meta: &PktMeta, desc: &mut PacketDesc) -> Result<(), Refusal> {
    match desc.af {
        Af::Inet => {
            let bounds = describe4(packet, meta, desc)?;
            transport(packet, bounds, desc)
        }
        Af::Inet6 => whole6(packet, meta, desc),
    }
}

/// A whole IPv6 packet.
#[inline(never)]
fn whole6(packet: &Packet<'_>, meta: &PktMeta, desc: &mut PacketDesc) -> Result<(), Refusal> {
    let bounds = describe6(packet, meta, desc)?;
    transport(packet, bounds, desc)
}

/// An IPv4 address.
#[must_use]
#[inline]
pub const fn addr4(a: [u8; 4]) -> Addr {
    Addr::of4(a)
}

/// Addresses, on the wire and so far.
#[inline]
const fn set_addresses(desc: &mut PacketDesc, src: Addr, dst: Addr) {
    (desc.src, desc.nsaddr) = (src, src);
    (desc.dst, desc.ndaddr) = (dst, dst);
}

/// Ports, likewise.
#[inline]
const fn set_ports(desc: &mut PacketDesc, src: u16, dst: u16) {
    (desc.sport, desc.nsport) = (src, src);
    (desc.dport, desc.ndport) = (dst, dst);
}

/// An offset or length, all of which fit: a packet is shorter than 4 GB.
#[inline]
fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The network part of an IPv4 packet.
#[inline]
fn describe4(packet: &Packet<'_>, meta: &PktMeta, desc: &mut PacketDesc) -> Result<Bounds, Refusal> {
    let short = Refusal::logged(DropReason::Short);
    let mut room = [0; 20];
    let h = Ipv4::new_unchecked(packet.lend(0, &mut room).ok_or(short)?);
    let said = usize::from(h.total_len());
    if packet.len() < said {
        return Err(short);
    }
    let bounds = Bounds::of4(packet.len(), &h, meta.length_outside);
    let walk = walk4(packet, bounds, 0, &h)?;
    desc.proto = walk.proto;
    desc.badopts = walk.badopts;
    desc.off = narrow(walk.off);
    set_addresses(desc, addr4(h.src()), addr4(h.dst()));
    desc.tos = h.tos() & !ECN;
    desc.ttl = h.ttl();
    desc.tot_len = narrow(if bounds.length_outside() { packet.len() } else { said });
    desc.ip_hlen = u8::try_from(h.header_len()).unwrap_or(0);
    desc.fragment = h.is_fragment();
    desc.frag = FragInfo {
        id: u32::from(h.id()),
        offset: h.fragment_offset(),
        more: h.more_fragments(),
        dont: h.dont_fragment(),
    };
    Ok(bounds)
}

/// The network part of an IPv6 packet.
fn describe6(packet: &Packet<'_>, meta: &PktMeta, desc: &mut PacketDesc) -> Result<Bounds, Refusal> {
    let short = Refusal::logged(DropReason::Short);
    let h = Ipv6::new_unchecked(packet.array::<40>(0).ok_or(short)?);
    let said = usize::from(h.payload_len()).saturating_add(40);
    if packet.len() < said {
        return Err(short);
    }
    let bounds = Bounds::of6(packet.len(), &h, meta.length_outside);
    let walk = walk6(packet, bounds, 0, &h)?;
    if walk.jumbo != 0 {
        return Err(Refusal::logged(DropReason::Normalize));
    }
    desc.proto = walk.proto;
    desc.badopts = walk.badopts;
    desc.off = narrow(walk.off);
    desc.extoff = narrow(walk.extoff);
    desc.fragoff = narrow(walk.fragoff);
    set_addresses(desc, Addr(h.src()), Addr(h.dst()));
    desc.tos = h.traffic_class() & !ECN;
    desc.ttl = h.hop_limit();
    desc.tot_len = narrow(if bounds.length_outside() { packet.len() } else { said });
    desc.ip_hlen = 40;
    desc.fragment = walk.fragoff != 0;
    if desc.fragment {
        let f = FragmentHeader::new_unchecked(packet.array::<8>(walk.fragoff).ok_or(short)?);
        desc.frag = FragInfo { id: f.id(), offset: f.offset(), more: f.more(), dont: false };
    }
    Ok(bounds)
}

/// The transport part of what is no fragment: reads the header and checks what pf checks of it.
#[inline(always)]
fn transport(packet: &Packet<'_>, bounds: Bounds, desc: &mut PacketDesc) -> Result<(), Refusal> {
    if desc.fragment {
        return Ok(());
    }
    match (desc.proto, desc.af) {
        (proto::TCP, _) => tcp(packet, bounds, desc),
        (proto::UDP, _) => udp(packet, bounds, desc),
        (proto::ICMP, af) => {
            icmp(packet, bounds, desc, 8)?;
            only_in(af, Af::Inet)
        }
        (proto::ICMPV6, af) => {
            icmp6(packet, bounds, desc)?;
            only_in(af, Af::Inet6)
        }
        _ => Ok(()),
    }
}

/// ICMP in a packet of the other family is dropped: counted, not logged by force.
#[inline]
fn only_in(af: Af, right: Af) -> Result<(), Refusal> {
    if af == right { Ok(()) } else { Err(Refusal::silent(DropReason::Normalize)) }
}

/// Where the transport header begins.
#[inline]
fn offset(desc: &PacketDesc) -> usize {
    usize::try_from(desc.off).unwrap_or(usize::MAX)
}

/// TCP: a destination port, a header length that fits.
#[inline(always)]
fn tcp(packet: &Packet<'_>, bounds: Bounds, desc: &mut PacketDesc) -> Result<(), Refusal> {
    let mut room = [0; 20];
    let h = Tcp::new_unchecked(bounds.lend(packet, offset(desc), &mut room)?);
    let header = u8::try_from(h.header_len()).unwrap_or(0);
    let payload = desc.tot_len.checked_sub(desc.off).and_then(|n| n.checked_sub(u32::from(header)));
    let (Some(p_len), 1.., 20..) = (payload, h.dst_port(), header) else {
        return Err(Refusal::logged(DropReason::Short));
    };
    desc.p_len = p_len;
    desc.hdrlen = 20;
    set_ports(desc, h.src_port(), h.dst_port());
    desc.l4 = L4::Tcp(tcp_info(&h, header));
    Ok(())
}

/// Fields of a TCP header of so many bytes.
#[inline]
fn tcp_info(h: &Tcp<&[u8; 20]>, header: u8) -> TcpInfo {
    TcpInfo {
        seq: h.seq(),
        ack: h.ack(),
        win: h.window(),
        flags: h.flags(),
        reserved: h.data_offset() & 0x0f,
        header,
        urgent: h.urgent(),
    }
}

/// UDP: a destination port, a length that fits.
#[inline]
fn udp(packet: &Packet<'_>, bounds: Bounds, desc: &mut PacketDesc) -> Result<(), Refusal> {
    let mut room = [0; 8];
    let h = Udp::new_unchecked(bounds.lend(packet, offset(desc), &mut room)?);
    let room = desc.tot_len.saturating_sub(desc.off);
    let length = if h.length() == 0 && bounds.length_outside() { room } else { u32::from(h.length()) };
    let (Some(p_len), 1.., true) = (length.checked_sub(8), h.dst_port(), length <= room) else {
        return Err(Refusal::logged(DropReason::Short));
    };
    desc.p_len = p_len;
    desc.hdrlen = 8;
    set_ports(desc, h.src_port(), h.dst_port());
    desc.l4 = L4::Udp;
    Ok(())
}

/// ICMP, and ICMPv6 with `hlen` bytes of header.
#[inline(never)]
fn icmp(packet: &Packet<'_>, bounds: Bounds, desc: &mut PacketDesc, hlen: u16) -> Result<(), Refusal> {
    let h = Icmp::new_unchecked(bounds.pull::<8>(packet, offset(desc))?);
    let Some(p_len) = desc.tot_len.checked_sub(desc.off).and_then(|n| n.checked_sub(u32::from(hlen))) else {
        return Err(Refusal::logged(DropReason::Short));
    };
    desc.p_len = p_len;
    desc.hdrlen = hlen;
    desc.l4 = L4::Icmp(IcmpInfo { kind: h.kind(), code: h.code(), id: h.id(), seq: h.seq() });
    Ok(())
}

/// ICMPv6: neighbour discovery comes from the link (hop limit 255), some types have longer headers.
#[inline(never)]
fn icmp6(packet: &Packet<'_>, bounds: Bounds, desc: &mut PacketDesc) -> Result<(), Refusal> {
    let h = Icmp::new_unchecked(bounds.pull::<8>(packet, offset(desc))?);
    let (hlen, on_link) = match h.kind() {
        v6::MLD_QUERY | v6::MLD_REPORT => (24, false),
        v6::NEIGHBOR_SOLICIT | v6::NEIGHBOR_ADVERT => (24, true),
        v6::ROUTER_SOLICIT | v6::ROUTER_ADVERT | v6::REDIRECT => (8, true),
        _ => (8, false),
    };
    if on_link && desc.ttl != 255 {
        return Err(Refusal::logged(DropReason::Normalize));
    }
    if hlen == 24 {
        bounds.pull::<24>(packet, offset(desc))?;
    }
    icmp(packet, bounds, desc, hlen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Checksum, Segments};

    /// Numbers that are always the same.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % n
        }

        fn byte(&mut self) -> u8 {
            u8::try_from(self.below(256)).unwrap()
        }
    }

    #[test]
    fn the_usual_is_described_as_by_steps() {
        let mut dice = Dice(1);
        let mut usuals = 0;
        for _ in 0..20_000 {
            let len = usize::try_from(dice.below(50)).unwrap() + 20;
            let mut b: Vec<u8> = (0..len).map(|_| dice.byte()).collect();
            (b[0], b[6]) = (0x45, 0x40 * u8::from(dice.below(2) == 0));
            (b[2], b[3], b[7]) = (0, u8::try_from(len).unwrap(), 0);
            b[9] = if dice.below(2) == 0 { proto::TCP } else { proto::UDP };
            if len >= 40 {
                (b[24], b[25], b[32]) = if b[9] == proto::UDP { (0, b[3] - 20, b[32]) } else { (b[24], b[25], 0x50) };
            }
            for _ in 0..dice.below(3) {
                b[usize::try_from(dice.below(len.min(34).try_into().unwrap())).unwrap()] = dice.byte();
            }
            let meta = PktMeta {
                length_outside: dice.below(4) == 0,
                l4: Checksum::Complete,
                ip: Checksum::Complete,
                segments: Segments::One,
            };
            let (mut head, rest) = (b[..10].to_vec(), b[10..].to_vec());
            let parts: [&[u8]; 1] = [&rest];
            let split = Packet::new(&mut head, 0, &parts).unwrap();
            let whole = Packet::whole(&mut b);
            let mut desc = PacketDesc::NOTHING;
            usuals += u32::from(usual(&whole, Direction::Out, 7, &mut desc).is_some());
            let describe = |p: &Packet<'_>| describe(p, &meta, Af::Inet, Direction::Out, 7);
            assert_eq!(describe(&whole), describe(&split), "{:?}", whole.window());
        }
        assert!((2000..18_000).contains(&usuals), "{usuals}");
    }
}
