//! A packet as a line: what a report prints, and what `why` reads back.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pfvm::packet::{PacketDesc, proto};
use pfvm::rule::{Addr, Af, Direction};

use super::{FLAGS, ICMP_TYPES, ICMP6_TYPES, PROTOCOLS};

/// An address of the engine as one of the library.
#[must_use]
pub fn ip(af: Af, addr: &Addr) -> IpAddr {
    match af {
        Af::Inet => IpAddr::V4(Ipv4Addr::from(addr.0.first_chunk::<4>().copied().unwrap_or_default())),
        Af::Inet6 => IpAddr::V6(Ipv6Addr::from(addr.0)),
    }
}

/// Name of a protocol, its number where it has none here.
#[must_use]
pub fn protocol(number: u8) -> String {
    let named = PROTOCOLS.iter().find(|(_, known)| *known == number);
    named.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

fn ended(out: &mut String, addr: IpAddr, port: Option<u16>) {
    let _ = match (addr, port) {
        (IpAddr::V6(v6), Some(port)) => write!(out, "[{v6}]:{port}"),
        (addr, Some(port)) => write!(out, "{addr}:{port}"),
        (addr, None) => write!(out, "{addr}"),
    };
}

/// What a line says of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Direction.
    pub dir: Direction,
    /// On its way out of a host that forwards it.
    pub forwarded: bool,
    /// Interface.
    pub iface: &'a str,
    /// Family.
    pub af: Af,
    /// Protocol number.
    pub proto: u8,
    /// Source and destination.
    pub ends: [(Addr, u16); 2],
    /// Whether it has ports.
    pub ported: bool,
    /// TCP flags.
    pub flags: Option<u8>,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// Fragments: offset, and whether more follow.
    pub fragment: Option<(u16, bool)>,
}

/// The line of a described packet on `iface`, with addresses and ports as on the wire.
#[must_use]
pub fn show(desc: &PacketDesc, iface: &str) -> String {
    show_parts(&Parts {
        dir: desc.dir,
        forwarded: desc.forwarded,
        iface,
        af: desc.af,
        proto: desc.proto,
        ends: [(desc.src, desc.sport), (desc.dst, desc.dport)],
        ported: desc.has_ports(),
        flags: desc.tcp().map(|tcp| tcp.flags),
        icmp: desc.icmp().map(|icmp| (icmp.kind, icmp.code)),
        fragment: desc.fragment.then_some((desc.frag.offset, desc.frag.more)),
    })
}

/// Source and destination of a packet, as in its line.
#[must_use]
pub fn show_ends(af: Af, [src, dst]: [(Addr, u16); 2], ported: bool) -> String {
    let mut out = String::new();
    ended(&mut out, ip(af, &src.0), ported.then_some(src.1));
    out.push_str(" > ");
    ended(&mut out, ip(af, &dst.0), ported.then_some(dst.1));
    out
}

/// The line of a packet.
#[must_use]
pub fn show_parts(p: &Parts<'_>) -> String {
    let direction = match (p.dir, p.forwarded) {
        (Direction::In, _) => "in",
        (Direction::Out, false) => "out",
        (Direction::Out, true) => "fwd",
    };
    let mut out = format!("{direction} on {} {} {}", p.iface, protocol(p.proto), show_ends(p.af, p.ends, p.ported));
    if let Some(flags) = p.flags {
        out.push(' ');
        let letters: String = FLAGS.iter().filter(|(_, bit)| flags & bit != 0).map(|(c, _)| *c).collect();
        out.push_str(if letters.is_empty() { "none" } else { &letters });
    }
    if let Some((kind, code)) = p.icmp {
        let names = if p.proto == proto::ICMP { ICMP_TYPES } else { ICMP6_TYPES };
        let _ = match names.iter().find(|(_, known, _)| *known == kind) {
            Some((name, ..)) => write!(out, " {name}"),
            None => write!(out, " type {kind}"),
        };
        if code != 0 {
            let _ = write!(out, " code {code}");
        }
    }
    if let Some((offset, more)) = p.fragment {
        let _ = write!(out, " frag {offset}{}", if more { "+" } else { "" });
    }
    out
}
