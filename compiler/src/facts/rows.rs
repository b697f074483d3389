//! Facts as the rows a filter is told.
//!
//! What a facts file does not have (hardware address, MTU, routes, ports in use) comes from [`Link`]s, where the caller
//! knows them.

use std::net::IpAddr;

use pfvm::api::{FactRow, encode};
use pfvm::rule::{Addr, Af};

use super::{Facts, IFNAMSIZ, Interface};

/// MTU of interfaces of which no other is known.
const MTU: u32 = 1500;
/// Bits of [`FactRow::Iface`]: loopback, up, broadcast, point-to-point.
const FLAGS: [u8; 4] = [1, 2, 4, 8];

/// A way of the routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Network.
    pub addr: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// Next hop, none when the network is on the link.
    pub hop: Option<IpAddr>,
    /// The lower counts.
    pub metric: u32,
}

/// What is known of an interface beside its facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it is up.
    pub up: bool,
    /// MTU.
    pub mtu: u32,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Ways that lead out by it.
    pub ways: Vec<Way>,
}

impl Link {
    /// What is taken for an interface of a facts file: up, and where it is `egress` the default routes.
    #[must_use]
    pub fn of(interface: &Interface) -> Self {
        let default = |addr: IpAddr| Way { addr, prefix: 0, hop: None, metric: 0 };
        let egress = interface.groups.iter().any(|g| g == "egress");
        let ways = [default(IpAddr::from([0; 4])), default(IpAddr::from([0; 16]))];
        Self { up: true, mtu: MTU, mac: [0; 6], ways: ways.into_iter().filter(|_| egress).collect() }
    }
}

fn address(addr: IpAddr) -> (Af, Addr) {
    match addr {
        IpAddr::V4(a) => {
            let mut all = Addr::default();
            all.0.iter_mut().zip(a.octets()).for_each(|(to, from)| *to = from);
            (Af::Inet, all)
        }
        IpAddr::V6(a) => (Af::Inet6, Addr(a.octets())),
    }
}

impl Facts {
    /// The rows, one behind the other. Interfaces keep their indices where all of these fit the filter, else their places
    /// count.
    #[must_use]
    pub fn rows(&self, link: impl Fn(&Interface) -> Link, ports: &[(u8, u16)]) -> Vec<u8> {
        let mut rows = Vec::new();
        let mut room = [0; 1024];
        let mut put = |row: FactRow<'_>| {
            if let Ok(len) = encode(&row, &mut room) {
                rows.extend_from_slice(room.get(..len).unwrap_or_default());
            }
        };
        if self.name_limit() > IFNAMSIZ {
            put(FactRow::Wildcards);
        }
        let small = |i: &Interface| u16::try_from(i.index).ok().filter(|i| *i != 0 && *i != u16::MAX);
        let given: Vec<Option<u16>> = self.interfaces.iter().map(small).collect();
        let unique = given.iter().all(|i| i.is_some() && given.iter().filter(|o| *o == i).count() == 1);
        for ((i, given), place) in self.interfaces.iter().zip(&given).zip(1..) {
            interface(i, given.filter(|_| unique).unwrap_or(place), &link(i), &mut put);
        }
        ports.iter().for_each(|(proto, port)| put(FactRow::Port { proto: *proto, port: *port }));
        rows
    }
}

fn interface(i: &Interface, index: u16, link: &Link, put: &mut impl FnMut(FactRow<'_>)) {
    let set = [i.flags.loopback, link.up, i.flags.broadcast, i.flags.point_to_point];
    let flags = FLAGS.iter().zip(set).fold(0, |all, (bit, on)| if on { all | bit } else { all });
    put(FactRow::Iface { index, name: &i.name, flags, mtu: link.mtu, mac: link.mac });
    i.groups.iter().for_each(|g| put(FactRow::Group(g)));
    for a in &i.addresses {
        let (af, addr) = address(a.addr);
        let broadcast = a.broadcast.map(|b| address(b.into()).1);
        let peer = a.peer.map(|p| address(p).1);
        put(FactRow::Address { af, addr, prefix: a.prefix, broadcast, peer });
    }
    for way in &link.ways {
        let (af, addr) = address(way.addr);
        put(FactRow::Route { af, addr, prefix: way.prefix, hop: way.hop.map(|h| address(h).1), metric: way.metric });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfvm::api::decode_row;

    #[test]
    fn rows_say_what_the_facts_do() {
        let text = "[[interface]]\nname = \"em0\"\nindex = 7\nflags = [\"broadcast\"]\ngroups = [\"egress\"]\n\
                    addresses = [\"192.0.2.1/24\"]\n\n[[interface]]\nname = \"lo0\"\nindex = 1\nflags = [\"loopback\"]\n";
        let facts = Facts::parse(text).unwrap();
        let bytes = facts.rows(Link::of, &[(17, 53)]);
        let (mut rest, mut rows) = (bytes.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (row, next) = decode_row::<FactRow<'_>>(rest).unwrap();
            rows.push(format!("{row:?}"));
            rest = next;
        }
        let kinds: Vec<&str> = rows.iter().map(|r| r.split(['(', ' ']).next().unwrap_or("")).collect();
        assert_eq!(kinds, ["Iface", "Group", "Address", "Route", "Route", "Iface", "Port"]);
        assert!(rows[0].contains("index: 7") && rows[0].contains("flags: 6") && rows[0].contains("mtu: 1500"));
        assert!(rows[5].contains("index: 1") && rows[5].contains("flags: 3"));
        // An index that does not fit: all are counted.
        let far = Facts::parse(&text.replace("index = 7", "index = 70000")).unwrap();
        let (first, _) =
            decode_row::<FactRow<'_>>(&far.rows(Link::of, &[])).map(|(r, n)| (format!("{r:?}"), n.len())).unwrap();
        assert!(first.contains("index: 1,"), "{first}");
    }
}
