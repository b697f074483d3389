//! The recorded host: interfaces, routes, a clock moved by hand, and packets waiting to be sent.

use std::net::IpAddr;

use pfvm::engine::LogRecord;
use pfvm::host::{Hop, Host, Random};
use pfvm::packet::Packet;
use pfvm::rule::{Addr, Af};

use super::model::{Interface, Story};

/// Seconds the recorded host had been up when a story begins.
const UPTIME: u64 = 1000;

/// A packet the filter made.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Bytes.
    pub bytes: Vec<u8>,
    /// Family.
    pub af: Af,
    /// Whether it is not filtered again.
    pub generated: bool,
    /// Tag.
    pub tag: u16,
}

/// A route: network, prefix length, interface, next hop.
#[derive(Clone, Debug)]
struct Way {
    net: IpAddr,
    prefix: u8,
    iface: u16,
}

/// The host.
#[derive(Debug)]
pub(super) struct Sim {
    /// Interfaces.
    pub ifaces: Vec<Interface>,
    ways: Vec<Way>,
    addrs: Vec<(u16, IpAddr, u8)>,
    /// Milliseconds since the story began.
    pub ms: u64,
    seed: u64,
    /// Packets waiting to be sent.
    pub outbox: Vec<Sent>,
    /// Log records of this step.
    pub logs: Vec<LogRecord>,
}

/// An address in the engine's form.
#[must_use]
pub(super) fn addr_of(ip: &IpAddr) -> (Af, Addr) {
    let mut a = [0; 16];
    match ip {
        IpAddr::V4(v) => {
            a[..4].copy_from_slice(&v.octets());
            (Af::Inet, Addr(a))
        }
        IpAddr::V6(v) => (Af::Inet6, Addr(v.octets())),
    }
}

/// An address as text is made from.
#[must_use]
pub(super) fn ip_of(af: Af, a: &Addr) -> IpAddr {
    match af {
        Af::Inet => IpAddr::from([a.0[0], a.0[1], a.0[2], a.0[3]]),
        Af::Inet6 => IpAddr::from(a.0),
    }
}

/// `10.0.0.1/24` as address and prefix length.
#[must_use]
pub(super) fn prefixed(text: &str) -> Option<(IpAddr, u8)> {
    let (a, p) = text.split_once('/').map_or((text, None), |(a, p)| (a, p.parse().ok()));
    let ip: IpAddr = a.split('%').next()?.parse().ok()?;
    Some((ip, p.unwrap_or(if ip.is_ipv4() { 32 } else { 128 })))
}

/// Whether an address lies in a network.
#[must_use]
pub(super) fn within(ip: &IpAddr, net: &IpAddr, prefix: u8) -> bool {
    let bits = |ip: &IpAddr| match ip {
        IpAddr::V4(v) => u128::from(u32::from(*v)) << 96,
        IpAddr::V6(v) => u128::from(*v),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    ip.is_ipv4() == net.is_ipv4() && bits(ip) & mask == bits(net) & mask
}

/// The broadcast address of an IPv4 network.
fn last_of(a: &IpAddr, prefix: u8) -> Option<std::net::Ipv4Addr> {
    match a {
        IpAddr::V4(a) if prefix < 31 => Some((u32::from(*a) | (u32::MAX >> prefix)).into()),
        _ => None,
    }
}

impl Sim {
    /// The host of a story.
    #[must_use]
    pub(super) fn new(story: &Story) -> Self {
        let mut ways = Vec::new();
        let mut addrs = Vec::new();
        for i in &story.interfaces {
            for a in &i.addrs {
                if let Some((net, prefix)) = prefixed(a) {
                    addrs.push((i.index, net, prefix));
                    ways.push(Way { net, prefix, iface: i.index });
                }
            }
        }
        for r in &story.routes {
            let iface = story.interfaces.iter().find(|i| i.name == r.iface).map_or(0, |i| i.index);
            if let Some((net, prefix)) = prefixed(&r.dst) {
                ways.push(Way { net, prefix, iface });
            }
        }
        ways.sort_by_key(|w| std::cmp::Reverse(w.prefix));
        let seed = story
            .name
            .bytes()
            .fold(0x9e37_79b9_7f4a_7c15, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Self { ifaces: story.interfaces.clone(), ways, addrs, ms: 0, seed, outbox: Vec::new(), logs: Vec::new() }
    }

    /// An interface by name.
    #[must_use]
    pub(super) fn index(&self, name: &str) -> u16 {
        self.ifaces.iter().find(|i| i.name == name).map_or(0, |i| i.index)
    }

    /// The name of an interface.
    #[must_use]
    pub(super) fn name(&self, index: u16) -> &str {
        self.ifaces.iter().find(|i| i.index == index).map_or("?", |i| &i.name)
    }

    /// Whether an address is the host's own.
    #[must_use]
    pub(super) fn own(&self, ip: &IpAddr) -> bool {
        self.addrs.iter().any(|(_, a, _)| a == ip)
    }

    /// Whether an address is the broadcast address of one of the host's networks.
    #[must_use]
    pub(super) fn broadcast(&self, ip: &IpAddr) -> bool {
        self.addrs.iter().any(|(_, a, p)| last_of(a, *p).is_some_and(|b| IpAddr::V4(b) == *ip))
    }

    /// Addresses of an interface, with prefix lengths.
    pub(super) fn addrs_of(&self, index: u16) -> impl Iterator<Item = (IpAddr, u8)> + '_ {
        self.addrs.iter().filter(move |(i, ..)| *i == index).map(|(_, a, p)| (*a, *p))
    }
}

impl Random for Sim {
    fn random_u32(&mut self) -> u32 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        u32::try_from(self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32).unwrap_or(0)
    }
}

impl Host for Sim {
    fn now_ms(&self) -> u64 {
        UPTIME * 1000 + self.ms
    }

    fn route(&self, af: Af, addr: &Addr) -> Option<Hop> {
        let ip = ip_of(af, addr);
        let way = self.ways.iter().find(|w| within(&ip, &w.net, w.prefix))?;
        let mtu = self.ifaces.iter().find(|i| i.index == way.iface).map_or(1500, |i| i.mtu);
        Some(Hop { iface: way.iface, mtu })
    }

    fn answers_for(&self, af: Af, addr: &Addr) -> Option<Addr> {
        let ip = ip_of(af, addr);
        let mine = |(_, a, p): &&(u16, IpAddr, u8)| *a == ip || last_of(a, *p).is_some_and(|b| IpAddr::V4(b) == ip);
        self.addrs.iter().find(mine).map(|(_, a, _)| addr_of(a).1)
    }

    fn own_address(&self, af: Af, iface: u16, toward: &Addr) -> Option<Addr> {
        let to = ip_of(af, toward);
        let mut mine = self.addrs.iter().filter(|(i, a, _)| *i == iface && a.is_ipv4() == (af == Af::Inet));
        let near = self.addrs.iter().find(|(i, a, p)| *i == iface && a.is_ipv4() == to.is_ipv4() && within(&to, a, *p));
        near.or_else(|| mine.next()).map(|(_, a, _)| addr_of(a).1)
    }

    fn port_in_use(&self, _proto: u8, _port: u16) -> bool {
        false
    }

    fn send(&mut self, packet: &[u8], af: Af, generated: bool, tag: u16) {
        self.outbox.push(Sent { bytes: packet.to_vec(), af, generated, tag });
    }

    fn log(&mut self, record: &LogRecord, _packet: &Packet<'_>) {
        self.logs.push(*record);
    }
}
