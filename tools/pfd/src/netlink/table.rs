//! Addresses, routes and neighbours: as records to decide by, and as bytes to put back.

use std::io;
use std::net::IpAddr;

use super::message::{HEADER, Message, View, attribute, attributes, put_u32, u16_at, u32_at};
use super::{ACK, CREATE, DUMP, REPLACE, REQUEST, Route};

pub(crate) const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
pub(crate) const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
pub(crate) const NEWNEIGH: u16 = 28;
pub(crate) const DELNEIGH: u16 = 29;
const GETNEIGH: u16 = 30;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTAX_MTU: u16 = 2;

const MAIN: u32 = 254;
const LOCAL: u32 = 255;
/// Of `rtm_flags`: the route is a copy the kernel made.
const CLONED: u32 = 0x200;
const UNICAST: u8 = 1;
const LOCAL_TYPE: u8 = 2;

/// Neighbour states that hold an address (`NUD_*`).
const INCOMPLETE: u16 = 0x01;
const FAILED: u16 = 0x20;
const NOARP: u16 = 0x40;
const PERMANENT: u16 = 0x80;
const STALE: u16 = 0x04;
/// `NTF_USE`: the entry is wanted now.
const NTF_USE: u8 = 0x01;

/// Reads an address of either family.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) v6: bool,
    pub(crate) dst: IpAddr,
    pub(crate) prefix: u8,
    pub(crate) metric: u32,
    pub(crate) index: u32,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) mtu: Option<u32>,
}

impl Way {
    /// Reads a route message: a route to somewhere by one interface, or the first of several.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let (family, prefix, kind) = (*body.first()?, *body.get(1)?, *body.get(7)?);
        let attrs = body.get(12..)?;
        let table = attribute(attrs, RTA_TABLE).and_then(|v| u32_at(v, 0)).unwrap_or_else(|| u32::from(body[4]));
        let wanted = table == MAIN && kind == UNICAST && u32_at(body, 8)? & CLONED == 0;
        let v6 = i32::from(family) == libc::AF_INET6;
        if !wanted || !(v6 || i32::from(family) == libc::AF_INET) {
            return None;
        }
        let nowhere = if v6 { IpAddr::from([0; 16]) } else { IpAddr::from([0; 4]) };
        let dst = attribute(attrs, RTA_DST).and_then(address).unwrap_or(nowhere);
        let (mut index, mut gateway) = (attribute(attrs, RTA_OIF).and_then(|v| u32_at(v, 0)), gateway_of(attrs));
        if let Some(first) = attribute(attrs, RTA_MULTIPATH) {
            // `struct rtnexthop`: length, flags, hops, index; then its attributes.
            index = u32_at(first, 4);
            gateway = first.get(8..usize::from(u16_at(first, 0)?)).and_then(gateway_of);
        }
        let metrics = attribute(attrs, RTA_METRICS).unwrap_or_default();
        Some(Self {
            v6,
            dst,
            prefix,
            metric: attribute(attrs, RTA_PRIORITY).and_then(|v| u32_at(v, 0)).unwrap_or(0),
            index: index?,
            gateway,
            mtu: attribute(metrics, RTAX_MTU).and_then(|v| u32_at(v, 0)),
        })
    }
}

fn gateway_of(attrs: &[u8]) -> Option<IpAddr> {
    let via = || attribute(attrs, RTA_VIA).and_then(|v| v.get(2..));
    attribute(attrs, RTA_GATEWAY).or_else(via).and_then(address)
}

/// A neighbour: its hardware address, or that it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) index: u32,
    pub(crate) addr: IpAddr,
    pub(crate) mac: Option<[u8; 6]>,
    /// The kernel asked and nobody answered.
    pub(crate) failed: bool,
}

impl Neighbour {
    /// Reads a neighbour message.
    pub(crate) fn parse(view: &View<'_>) -> Option<Self> {
        let (index, state) = (u32_at(view.body, 4)?, u16_at(view.body, 8)?);
        let attrs = view.body.get(12..)?;
        let addr = attribute(attrs, 1).and_then(address)?;
        let gone = view.kind == DELNEIGH || state & (INCOMPLETE | FAILED | NOARP) != 0;
        let mac = attribute(attrs, 2).and_then(|v| v.try_into().ok()).filter(|_| !gone);
        Some(Self { index, addr, mac, failed: state & FAILED != 0 })
    }
}

/// What an interface has, as messages that make it again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Belongings {
    pub(crate) addresses: Vec<Vec<u8>>,
    pub(crate) routes: Vec<Vec<u8>>,
    pub(crate) neighbours: Vec<Vec<u8>>,
}

/// A message of a dump as a request to make the same. A route must not take another's place: to IPv6 those of one network
/// by several interfaces look alike.
fn again(kind: u16, body: &[u8]) -> Vec<u8> {
    let replace = if kind == NEWROUTE { 0 } else { REPLACE };
    let mut m = Message::new(kind, REQUEST | ACK | CREATE | replace, &[]).finish(0);
    m.extend_from_slice(body);
    let len = u32::try_from(m.len()).unwrap_or(0);
    put_u32(&mut m, 0, len);
    if kind == NEWROUTE {
        settled(&mut m);
    }
    m
}

/// Leaves of a route's flags what can be asked for: not that its link is down just now.
fn settled(message: &mut [u8]) {
    const ONLINK: u32 = 4;
    let at = HEADER + 8;
    let flags = u32_at(message, at).unwrap_or(0);
    put_u32(message, at, flags & ONLINK);
    let mut places = Vec::new();
    each_attribute(message, HEADER + 12, |at, kind, rest| {
        if kind == RTA_MULTIPATH {
            places.extend(hops(rest).map(|(place, _)| at + 4 + place + 2));
        }
    });
    for place in places {
        if let Some(flags) = message.get_mut(place) {
            *flags &= 4;
        }
    }
}

/// Walks the attributes of a message from a place: where each begins, its number, and the bytes from there on.
fn each_attribute(message: &[u8], from: usize, mut f: impl FnMut(usize, u16, &[u8])) {
    let mut at = from;
    while let Some((kind, len)) = u16_at(message, at + 2).zip(u16_at(message, at)) {
        f(at, kind & 0x3fff, message.get(at..).unwrap_or_default());
        if len < 4 {
            break;
        }
        at += (usize::from(len) + 3) & !3;
    }
}

/// Whether a route of this table and type is made by an administrator or a daemon, not by the kernel beside an address.
fn is_kept(body: &[u8]) -> bool {
    let attrs = body.get(12..).unwrap_or_default();
    let short = body.get(4).copied().map_or(0, u32::from);
    let table = attribute(attrs, RTA_TABLE).and_then(|v| u32_at(v, 0)).unwrap_or(short);
    let kind = body.get(7).copied().unwrap_or(0);
    let cloned = u32_at(body, 8).is_some_and(|f| f & CLONED != 0);
    table != LOCAL && kind != LOCAL_TYPE && !cloned
}

/// Whether a route leaves by an interface, alone or among others.
fn leaves_by(body: &[u8], index: u32) -> bool {
    let attrs = body.get(12..).unwrap_or_default();
    let alone = attribute(attrs, RTA_OIF).and_then(|v| u32_at(v, 0)) == Some(index);
    alone || hops(attrs).any(|(_, i)| i == index)
}

/// Places and interfaces of the next hops of a multipath route, places counting from its value.
fn hops(attrs: &[u8]) -> impl Iterator<Item = (usize, u32)> {
    let list = attribute(attrs, RTA_MULTIPATH).unwrap_or_default();
    let mut at = 0;
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(list, at)?);
        let found = (at, u32_at(list, at + 4)?);
        at += ((len + 3) & !3).max(8);
        Some(found)
    })
}

/// Gives a message another interface.
pub(crate) fn readdress(message: &mut [u8], from: u32, to: u32) {
    let kind = u16_at(message, 4).unwrap_or(0);
    if kind != NEWROUTE {
        put_u32(message, HEADER + 4, to);
        return;
    }
    let mut places = Vec::new();
    each_attribute(message, HEADER + 12, |at, kind, rest| match kind {
        RTA_OIF => places.push(at + 4),
        RTA_MULTIPATH => places.extend(hops(rest).filter(|(_, i)| *i == from).map(|(place, _)| at + 4 + place + 4)),
        _ => {}
    });
    for place in places {
        put_u32(message, place, to);
    }
}

impl Route {
    fn dump(&mut self, kind: u16, fixed: &[u8], each: impl FnMut(View<'_>)) -> io::Result<()> {
        self.exchange(Message::new(kind, REQUEST | DUMP, fixed), each)
    }

    /// Hands on all addresses.
    pub(crate) fn each_address(&mut self, each: impl FnMut(View<'_>)) -> io::Result<()> {
        self.dump(GETADDR, &[0; 8], each)
    }

    /// Hands on all routes.
    pub(crate) fn each_route(&mut self, mut each: impl FnMut(View<'_>)) -> io::Result<()> {
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut fixed = [0; 12];
            fixed[0] = u8::try_from(family).unwrap_or(0);
            self.dump(GETROUTE, &fixed, &mut each)?;
        }
        Ok(())
    }

    /// Hands on all neighbours.
    pub(crate) fn each_neighbour(&mut self, each: impl FnMut(View<'_>)) -> io::Result<()> {
        self.dump(GETNEIGH, &[0; 12], each)
    }

    /// All that belongs to an interface.
    pub(crate) fn belongings(&mut self, index: u32) -> io::Result<Belongings> {
        let mut found = Belongings::default();
        self.each_address(|v| {
            if v.kind == NEWADDR && u32_at(v.body, 4) == Some(index) {
                found.addresses.push(again(NEWADDR, v.body));
            }
        })?;
        self.each_route(|v| {
            if v.kind == NEWROUTE && is_kept(v.body) && leaves_by(v.body, index) {
                found.routes.push(again(NEWROUTE, v.body));
            }
        })?;
        self.each_neighbour(|v| {
            let state = u16_at(v.body, 8).unwrap_or(0);
            if v.kind == NEWNEIGH && u32_at(v.body, 4) == Some(index) && state & (INCOMPLETE | FAILED | NOARP) == 0 {
                let mut m = again(NEWNEIGH, v.body);
                let kept = if state & PERMANENT != 0 { PERMANENT } else { STALE };
                m[HEADER + 8..HEADER + 10].copy_from_slice(&kept.to_ne_bytes());
                found.neighbours.push(m);
            }
        })?;
        Ok(found)
    }

    /// Gives an interface what another had. Routes may need each other: they are tried again while any succeeds. What
    /// could not be given, with why.
    pub(crate) fn give(&mut self, what: &Belongings, from: u32, to: u32) -> Vec<(Vec<u8>, io::Error)> {
        let moved = |list: &[Vec<u8>]| -> Vec<Vec<u8>> {
            let each = |m: &Vec<u8>| {
                let mut m = m.clone();
                readdress(&mut m, from, to);
                m
            };
            list.iter().map(each).collect()
        };
        let mut failed = Vec::new();
        for m in moved(&what.addresses) {
            // In use at once, then with the flags it had.
            let at_once = without_detection(&m);
            if let Err(e) = self.replay(&at_once).and_then(|()| if at_once == m { Ok(()) } else { self.replay(&m) }) {
                failed.push((m, e));
            }
        }
        let mut left = moved(&what.routes);
        loop {
            let before = left.len();
            let mut errors = Vec::new();
            left.retain(|m| match self.replay(m) {
                Ok(()) => false,
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => false,
                Err(e) => {
                    errors.push((m.clone(), e));
                    true
                }
            });
            if left.is_empty() || left.len() == before {
                failed.extend(errors);
                break;
            }
        }
        for m in moved(&what.neighbours) {
            if let Err(e) = self.replay(&m) {
                failed.push((m, e));
            }
        }
        failed
    }

    /// Takes an interface's addresses away, and all that hangs on them.
    pub(crate) fn strip(&mut self, what: &Belongings) {
        for message in &what.addresses {
            let mut m = message.clone();
            m[4..6].copy_from_slice(&DELADDR.to_ne_bytes());
            m[6..8].copy_from_slice(&(REQUEST | ACK).to_ne_bytes());
            // IPv6 addresses go by themselves with the interface.
            let _gone = self.replay(&m);
        }
    }

    /// Asks the kernel to find a neighbour's hardware address.
    pub(crate) fn resolve(&mut self, index: u32, addr: IpAddr) -> io::Result<()> {
        let mut fixed = [0; 12];
        let (family, bytes) = match addr {
            IpAddr::V4(a) => (libc::AF_INET, a.octets().to_vec()),
            IpAddr::V6(a) => (libc::AF_INET6, a.octets().to_vec()),
        };
        fixed[0] = u8::try_from(family).unwrap_or(0);
        fixed[4..8].copy_from_slice(&index.to_ne_bytes());
        fixed[10] = NTF_USE;
        self.ask(Message::new(NEWNEIGH, REQUEST | ACK | CREATE, &fixed).with(1, &bytes))
    }
}

/// An IPv6 address that was in use is in use at once: no search for duplicates (`IFA_F_NODAD`).
fn without_detection(message: &[u8]) -> Vec<u8> {
    const IFA_FLAGS: u16 = 8;
    const NODAD: u32 = 0x02;
    let mut changed = message.to_vec();
    if message.get(HEADER).copied().map(i32::from) == Some(libc::AF_INET6) {
        each_attribute(message, HEADER + 8, |at, kind, _| {
            if kind == IFA_FLAGS {
                put_u32(&mut changed, at + 4, u32_at(message, at + 4).unwrap_or(0) | NODAD);
            }
        });
    }
    changed
}

/// What a message is about, for people.
pub(crate) fn about(message: &[u8]) -> String {
    let body = message.get(HEADER..).unwrap_or_default();
    let (what, from, kind) = match u16_at(message, 4) {
        Some(NEWADDR) => ("address", 8, 1),
        Some(NEWROUTE) => ("route to", 12, RTA_DST),
        _ => ("neighbour", 12, 1),
    };
    let found = attributes(body.get(from..).unwrap_or_default()).find(|(k, _)| *k == kind);
    match found.and_then(|(_, v)| address(v)) {
        Some(addr) => format!("{what} {addr}"),
        None => format!("{what} everywhere"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::messages;

    fn route(index: u32, gateway: [u8; 4]) -> Vec<u8> {
        let fixed = [2, 8, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        Message::new(NEWROUTE, 0, &fixed)
            .with(RTA_TABLE, &254_u32.to_ne_bytes())
            .with(RTA_DST, &[10, 0, 0, 0])
            .with(RTA_GATEWAY, &gateway)
            .with(RTA_OIF, &index.to_ne_bytes())
            .finish(1)
    }

    fn body(m: &[u8]) -> &[u8] {
        messages(m).next().unwrap().body
    }

    #[test]
    fn routes_are_read_and_moved() {
        let mut m = route(3, [192, 0, 2, 1]);
        let way = Way::parse(body(&m)).unwrap();
        assert_eq!((way.dst, way.prefix, way.index), ("10.0.0.0".parse().unwrap(), 8, 3));
        assert_eq!(way.gateway, Some("192.0.2.1".parse().unwrap()));
        assert!(is_kept(body(&m)) && leaves_by(body(&m), 3) && !leaves_by(body(&m), 4));
        readdress(&mut m, 3, 9);
        assert_eq!(Way::parse(body(&m)).unwrap().index, 9);
    }

    #[test]
    fn next_hops_of_several_are_moved_alone() {
        let hop = |index: u32, gw: [u8; 4]| {
            let mut b = vec![16, 0, 0, 0];
            b.extend(index.to_ne_bytes());
            b.extend([8, 0, 5, 0]);
            b.extend(gw);
            b
        };
        let two = [hop(3, [1, 1, 1, 1]), hop(4, [2, 2, 2, 2])].concat();
        let fixed = [2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        let mut m = Message::new(NEWROUTE, 0, &fixed).with(RTA_MULTIPATH, &two).finish(1);
        assert!(leaves_by(body(&m), 4));
        readdress(&mut m, 4, 7);
        let attrs = &body(&m)[12..];
        assert_eq!(hops(attrs).map(|(_, i)| i).collect::<Vec<_>>(), [3, 7]);
        let way = Way::parse(body(&m)).unwrap();
        assert_eq!((way.index, way.gateway), (3, Some("1.1.1.1".parse().unwrap())));
    }

    #[test]
    fn a_link_that_is_down_leaves_no_mark() {
        let fixed = [2, 0, 0, 0, 254, 3, 0, 1, 0x14, 0, 0, 0];
        let hop = [16, 0, 0x11, 0, 3, 0, 0, 0, 8, 0, 5, 0, 1, 1, 1, 1];
        let m = Message::new(NEWROUTE, 0, &fixed).with(RTA_MULTIPATH, &hop).finish(1);
        let again = again(NEWROUTE, body(&m));
        assert_eq!((again[HEADER + 8], again[HEADER + 12 + 4 + 2]), (4, 0));
        assert_eq!(again.len(), m.len());
        assert_eq!(u16_at(&again, 6), Some(REQUEST | ACK | CREATE));
    }

    #[test]
    fn addresses_are_not_searched_for_duplicates_again() {
        let fixed = [10, 64, 0, 0, 3, 0, 0, 0];
        let mut m = Message::new(NEWADDR, 0, &fixed).with(1, &[1; 16]).with(8, &0x80_u32.to_ne_bytes()).finish(1);
        let at_once = without_detection(&m);
        assert_eq!(attribute(&body(&at_once)[8..], 8).and_then(|v| u32_at(v, 0)), Some(0x82));
        readdress(&mut m, 3, 5);
        assert_eq!(u32_at(body(&m), 4), Some(5));
        assert_eq!(about(&m), "address 101:101:101:101:101:101:101:101");
    }

    #[test]
    fn neighbours_without_an_answer_have_no_address() {
        let m = |state: u16, kind| {
            let mut fixed = [0; 12];
            fixed[4] = 3;
            fixed[8..10].copy_from_slice(&state.to_ne_bytes());
            Message::new(kind, 0, &fixed).with(1, &[10, 0, 0, 1]).with(2, &[9; 6]).finish(1)
        };
        let read = |m: &[u8]| Neighbour::parse(&messages(m).next().unwrap()).unwrap();
        assert_eq!(read(&m(2, NEWNEIGH)).mac, Some([9; 6]));
        assert_eq!(read(&m(2, DELNEIGH)).mac, None);
        let failed = read(&m(FAILED, NEWNEIGH));
        assert_eq!((failed.mac, failed.failed), (None, true));
    }
}
