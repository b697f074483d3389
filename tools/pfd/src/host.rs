//! The host as the filter sees it: links, addresses, ways and neighbours from the kernel.
//!
//! [`World`] is what the kernel said last. It becomes facts twice: rows for the filter ([`World::rows`]) and, for
//! compiling rules, those of `pfc` ([`World::interfaces`]). An attached adapter appears once, under its own name and as
//! what it is: its TAP is no tunnel, and the adapter below is nobody's business.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::RwLock;

use pfc::facts::{Address, IfaceFlags, Interface};
use pfdriver::edge::Hop;
use pfdriver::edge::ether::Mac;
use pfdriver::edge::filtered::Neighbours;
use pfdriver::facts::flag;
use pfvm::api::{FactRow, encode};
use pfvm::packet::addr4;
use pfvm::rule::{Addr, Af};

use crate::netlink::Route;
use crate::netlink::link::Link;
use crate::netlink::message::{View, attribute, u32_at};
use crate::netlink::table::{NEWADDR, NEWROUTE, Neighbour, Way, address};

/// What the kernel said.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) links: Vec<Link>,
    addresses: Vec<(u32, Address)>,
    ways: Vec<Way>,
}

/// What pfd stands on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ours {
    /// Adapters below.
    pub(crate) hidden: BTreeSet<u32>,
    /// What the host sees of them.
    pub(crate) shown: BTreeSet<u32>,
}

impl Ours {
    /// What a pfd that died left: its adapters are nobody's business, either.
    pub(crate) fn left_behind() -> Self {
        let records = crate::attach::record::all().unwrap_or_default();
        let attached = records.into_iter().filter(|r| r.role == crate::attach::record::Role::Attached);
        Self { hidden: attached.map(|r| r.adapter).collect(), shown: BTreeSet::new() }
    }
}

/// The form the filter keeps addresses in.
pub(crate) fn wire(addr: IpAddr) -> (Af, Addr) {
    match addr {
        IpAddr::V4(a) => (Af::Inet, addr4(a.octets())),
        IpAddr::V6(a) => (Af::Inet6, Addr(a.octets())),
    }
}

/// The form people and the kernel keep addresses in.
pub(crate) fn ip(af: Af, addr: &Addr) -> IpAddr {
    match af {
        Af::Inet => {
            let [a, b, c, d, ..] = addr.0;
            IpAddr::from([a, b, c, d])
        }
        Af::Inet6 => IpAddr::from(addr.0),
    }
}

/// Reads an address message (`struct ifaddrmsg`: family, prefix, flags, scope, index).
fn address_of(body: &[u8]) -> Option<(u32, Address)> {
    let (prefix, index) = (*body.get(1)?, u32_at(body, 4)?);
    let attrs = body.get(8..)?;
    let whole = attribute(attrs, 1).and_then(address);
    let local = attribute(attrs, 2).and_then(address);
    let addr = local.or(whole)?;
    let broadcast = attribute(attrs, 4).and_then(address).and_then(|a| match a {
        IpAddr::V4(a) => Some(a),
        IpAddr::V6(_) => None,
    });
    let peer = whole.filter(|peer| local.is_some() && *peer != addr);
    let scope = match addr {
        IpAddr::V6(a) if a.is_unicast_link_local() => index,
        _ => 0,
    };
    Some((index, Address { addr, prefix, broadcast, peer, scope }))
}

impl World {
    /// Asks the kernel for everything.
    pub(crate) fn read(route: &mut Route) -> io::Result<Self> {
        let mut world = Self { links: route.links()?, ..Self::default() };
        route.each_address(|v| {
            if v.kind == NEWADDR {
                world.addresses.extend(address_of(v.body));
            }
        })?;
        route.each_route(|v| {
            if v.kind == NEWROUTE {
                world.ways.extend(Way::parse(v.body));
            }
        })?;
        Ok(world)
    }

    /// The links there are for the filter, with the index it knows them by.
    fn visible<'w>(&'w self, ours: &'w Ours) -> impl Iterator<Item = (&'w Link, u16)> {
        let shown = self.links.iter().filter(|l| !ours.hidden.contains(&l.index));
        shown.filter_map(|l| Some((l, u16::try_from(l.index).ok().filter(|i| *i != u16::MAX)?)))
    }

    fn groups(&self, link: &Link, ours: &Ours) -> Vec<String> {
        let mut groups = Vec::new();
        let letters = link.name.trim_end_matches(|c: char| c.is_ascii_digit());
        let usable = letters.len() < link.name.len() && letters.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if usable && !letters.is_empty() {
            groups.push(letters.to_owned());
        }
        if self.ways.iter().any(|w| w.prefix == 0 && w.index == link.index) {
            groups.push("egress".to_owned());
        }
        groups.extend(kind(link, ours).filter(|k| *k != link.name).map(str::to_owned));
        groups
    }

    /// Interfaces for compiling rules.
    pub(crate) fn interfaces(&self, ours: &Ours) -> Vec<Interface> {
        let of = |link: &Link| {
            let mine = self.addresses.iter().filter(|(index, _)| *index == link.index);
            mine.map(|(_, a)| *a).collect::<Vec<_>>()
        };
        let each = |(link, _): (&Link, u16)| {
            let mac = link.mac.map(|b| format!("{b:02x}")).join(":");
            Interface {
                name: link.name.clone(),
                index: link.index,
                flags: IfaceFlags {
                    broadcast: link.flags & 2 != 0,
                    loopback: link.is_loopback(),
                    point_to_point: link.flags & 0x10 != 0,
                    dhcp: false,
                },
                groups: self.groups(link, ours),
                addresses: of(link),
                ids: if link.mac == [0; 6] { Vec::new() } else { vec![mac] },
            }
        };
        self.visible(ours).map(each).collect()
    }

    /// Rows for the filter.
    pub(crate) fn rows(&self, ours: &Ours) -> Vec<u8> {
        let mut rows = Vec::new();
        let mut room = [0; 1024];
        let mut put = |row: FactRow<'_>| {
            if let Ok(len) = encode(&row, &mut room) {
                rows.extend_from_slice(&room[..len]);
            }
        };
        for (link, index) in self.visible(ours) {
            let bit = |on, bit| if on { bit } else { 0 };
            let flags = bit(link.is_loopback(), flag::LOOPBACK)
                | bit(link.is_up(), flag::UP)
                | bit(link.flags & 2 != 0, flag::BROADCAST)
                | bit(link.flags & 0x10 != 0, flag::POINT_TO_POINT);
            put(FactRow::Iface { index, name: &link.name, flags, mtu: link.mtu, mac: link.mac });
            self.groups(link, ours).iter().for_each(|g| put(FactRow::Group(g)));
            for (_, a) in self.addresses.iter().filter(|(i, _)| *i == link.index) {
                let (af, addr) = wire(a.addr);
                let broadcast = a.broadcast.map(|b: Ipv4Addr| addr4(b.octets()));
                let peer = a.peer.map(|p| wire(p).1);
                put(FactRow::Address { af, addr, prefix: a.prefix, broadcast, peer });
            }
            for w in self.ways.iter().filter(|w| w.index == link.index) {
                let (af, addr) = wire(w.dst);
                let hop = w.gateway.map(wire).filter(|(a, _)| *a == af).map(|(_, addr)| addr);
                put(FactRow::Route { af, addr, prefix: w.prefix, hop, metric: w.metric });
            }
        }
        rows
    }

    /// A link by its index.
    pub(crate) fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|l| l.index == index)
    }

    /// VLAN interfaces on top of a link: VLAN and index.
    pub(crate) fn vlans(&self, lower: u32) -> Vec<(u16, u16)> {
        let on = self.links.iter().filter(|l| l.lower == Some(lower));
        on.filter_map(|l| Some((l.vlan?, u16::try_from(l.index).ok()?))).collect()
    }
}

/// The kind of a link, as a group.
fn kind(link: &Link, ours: &Ours) -> Option<&'static str> {
    let wireless = || std::path::Path::new("/sys/class/net").join(&link.name).join("phy80211").exists();
    match &*link.kind {
        _ if link.is_loopback() => Some("loopback"),
        _ if ours.shown.contains(&link.index) => Some("ethernet"),
        "tun" | "wireguard" | "ppp" | "gre" | "sit" | "ipip" | "vti" | "xfrm" => Some("vpn"),
        _ if wireless() => Some("wifi"),
        _ if link.ether => Some("ethernet"),
        _ => None,
    }
}

/// The host's neighbours, as the kernel found them.
#[derive(Debug, Default)]
pub(crate) struct Known(RwLock<HashMap<(u16, IpAddr), Mac>>);

impl Known {
    /// Takes in what the kernel says of a neighbour; whether it is reachable now.
    pub(crate) fn learn(&self, view: &View<'_>) -> bool {
        let Some(n) = Neighbour::parse(view) else { return false };
        let (Ok(index), Ok(mut map)) = (u16::try_from(n.index), self.0.write()) else { return false };
        match n.mac {
            Some(mac) => map.insert((index, n.addr), mac),
            None => map.remove(&(index, n.addr)),
        };
        n.mac.is_some() || n.failed
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        if let Ok(mut map) = self.0.write() {
            map.clear();
        }
    }
}

impl Neighbours for Known {
    fn mac(&self, hop: &Hop) -> Option<Mac> {
        self.0.read().ok()?.get(&(hop.iface, ip(hop.af, &hop.addr))).copied()
    }
}

#[cfg(test)]
mod tests {
    use pfdriver::facts::HostFacts;

    use super::*;

    fn world() -> World {
        let link = |index, name: &str, kind: &str| Link {
            index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            ether: true,
            flags: 1 | 2,
            mtu: 1500,
            mac: [2, 0, 0, 0, 0, 1],
            ..Link::default()
        };
        let addr =
            |a: &str, prefix| Address { addr: a.parse().unwrap(), prefix, broadcast: None, peer: None, scope: 0 };
        let way = |dst: &str, prefix, index, gateway: Option<&str>| Way {
            v6: false,
            dst: dst.parse().unwrap(),
            prefix,
            metric: 0,
            index,
            gateway: gateway.map(|g| g.parse().unwrap()),
            mtu: None,
        };
        World {
            links: vec![link(5, "eth0", "tun"), link(3, "eth0.pfd", ""), link(70_000, "veth9", "")],
            addresses: vec![(5, addr("192.0.2.9", 24))],
            ways: vec![way("0.0.0.0", 0, 5, Some("192.0.2.1")), way("192.0.2.0", 24, 5, None)],
        }
    }

    #[test]
    fn the_filter_sees_what_the_host_sees() {
        let ours = Ours { hidden: [3].into(), shown: [5].into() };
        let facts = HostFacts::read(&world().rows(&ours)).unwrap();
        assert_eq!(facts.ifaces().len(), 1);
        let eth0 = facts.named("eth0").unwrap();
        assert_eq!(eth0.groups().collect::<Vec<_>>(), ["eth", "egress", "ethernet"]);
        let far = addr4([8, 8, 8, 8]);
        assert_eq!(facts.next_hop(Af::Inet, &far), Some((5, addr4([192, 0, 2, 1]))));
        let near = addr4([192, 0, 2, 77]);
        assert_eq!(facts.next_hop(Af::Inet, &near), Some((5, near)));
        let interfaces = world().interfaces(&ours);
        assert_eq!((interfaces.len(), &*interfaces[0].name), (1, "eth0"));
    }

    #[test]
    fn addresses_are_read() {
        use crate::netlink::message::{Message, messages};
        let m = Message::new(NEWADDR, 0, &[2, 24, 0, 0, 5, 0, 0, 0]);
        let m = m.with(1, &[10, 0, 0, 2]).with(2, &[10, 0, 0, 1]).with(4, &[10, 0, 0, 255]).finish(1);
        let (index, a) = messages(&m).next().and_then(|v| address_of(v.body)).unwrap();
        assert_eq!((index, a.addr, a.prefix), (5, "10.0.0.1".parse().unwrap(), 24));
        assert_eq!((a.peer, a.broadcast), (Some("10.0.0.2".parse().unwrap()), Some([10, 0, 0, 255].into())));
    }
}
