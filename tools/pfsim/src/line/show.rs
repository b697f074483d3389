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

/// The line of a described packet on `iface`, with addresses and ports as on the wire.
#[must_use]
pub fn show(desc: &PacketDesc, iface: &str) -> String {
    let direction = match (desc.dir, desc.forwarded) {
        (Direction::In, _) => "in",
        (Direction::Out, false) => "out",
        (Direction::Out, true) => "fwd",
    };
    let mut out = format!("{direction} on {iface} ");
    out.push_str(&protocol(desc.proto));
    out.push(' ');
    let ports = desc.has_ports();
    ended(&mut out, ip(desc.af, &desc.src), ports.then_some(desc.sport));
    out.push_str(" > ");
    ended(&mut out, ip(desc.af, &desc.dst), ports.then_some(desc.dport));
    if let Some(tcp) = desc.tcp() {
        out.push(' ');
        let letters: String = FLAGS.iter().filter(|(_, bit)| tcp.flags & bit != 0).map(|(c, _)| *c).collect();
        out.push_str(if letters.is_empty() { "none" } else { &letters });
    }
    if let Some(icmp) = desc.icmp() {
        let names = if desc.proto == proto::ICMP { ICMP_TYPES } else { ICMP6_TYPES };
        let _ = match names.iter().find(|(_, kind, _)| *kind == icmp.kind) {
            Some((name, ..)) => write!(out, " {name}"),
            None => write!(out, " type {}", icmp.kind),
        };
        if icmp.code != 0 {
            let _ = write!(out, " code {}", icmp.code);
        }
    }
    if desc.fragment {
        let _ = write!(out, " frag {}{}", desc.frag.offset, if desc.frag.more { "+" } else { "" });
    }
    out
}
