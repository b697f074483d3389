//! Links: what they are, and setting them.

use std::io;

use super::message::{Message, attribute, attributes, text, u16_at, u32_at};
use super::{ACK, CREATE, DUMP, EXCL, REQUEST, Route, number};

pub(crate) const NEWLINK: u16 = 16;
pub(crate) const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWQDISC: u16 = 36;
const DELQDISC: u16 = 37;
const NEWTFILTER: u16 = 44;
const DELTFILTER: u16 = 45;

pub(crate) const UP: u32 = 1;
pub(crate) const NOARP: u32 = 0x80;
const LOWER_UP: u32 = 0x1_0000;
const ETHER: u16 = 1;
const LOOPBACK: u32 = 8;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_TXQLEN: u16 = 13;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_GROUP: u16 = 27;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;

/// `clsact`, its two hooks, and the first priority for all protocols.
const CLSACT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
const FIRST_OF_ALL: u32 = 1 << 16 | 0x0300;

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) flags: u32,
    pub(crate) ether: bool,
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: u32,
    pub(crate) queue: u32,
    pub(crate) alias: Option<String>,
    pub(crate) group: u32,
    /// The bridge, bond or VRF it is part of.
    pub(crate) master: Option<u32>,
    /// The link it stands on, in this network namespace.
    pub(crate) lower: Option<u32>,
    pub(crate) kind: String,
    /// The VLAN, of a VLAN link.
    pub(crate) vlan: Option<u16>,
}

impl Link {
    pub(crate) const fn is_up(&self) -> bool {
        self.flags & UP != 0
    }

    pub(crate) const fn has_carrier(&self) -> bool {
        self.flags & LOWER_UP != 0
    }

    pub(crate) const fn is_loopback(&self) -> bool {
        self.flags & LOOPBACK != 0
    }

    /// Reads what a link message says.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut link = Self {
            ether: u16_at(body, 2)? == ETHER,
            index: u32_at(body, 4)?,
            flags: u32_at(body, 8)?,
            ..Self::default()
        };
        let mut elsewhere = false;
        for (kind, value) in attributes(body.get(16..)?) {
            let word = u32_at(value, 0);
            match kind {
                IFLA_IFNAME => link.name = text(value),
                IFLA_ADDRESS => link.mac = value.try_into().unwrap_or_default(),
                IFLA_MTU => link.mtu = word.unwrap_or(0),
                IFLA_TXQLEN => link.queue = word.unwrap_or(0),
                IFLA_IFALIAS => link.alias = Some(text(value)),
                IFLA_GROUP => link.group = word.unwrap_or(0),
                IFLA_MASTER => link.master = word,
                IFLA_LINK => link.lower = word.filter(|w| *w != 0),
                IFLA_LINK_NETNSID => elsewhere = true,
                IFLA_LINKINFO => {
                    link.kind = attribute(value, IFLA_INFO_KIND).map(text).unwrap_or_default();
                    if link.kind == "vlan" {
                        let data = attribute(value, IFLA_INFO_DATA).unwrap_or_default();
                        link.vlan = attribute(data, IFLA_VLAN_ID).and_then(|v| u16_at(v, 0));
                    }
                }
                _ => {}
            }
        }
        if elsewhere || link.kind == "veth" {
            // A pair is no stack: what it points to is its other end.
            link.lower = None;
        }
        Some(link)
    }
}

/// The link a [`DELLINK`] message takes away; `None` where it only leaves a bridge.
pub(crate) fn gone(body: &[u8]) -> Option<u32> {
    let whole = body.first().is_some_and(|family| *family == 0);
    u32_at(body, 4).filter(|_| whole)
}

/// `struct ifinfomsg`.
fn info(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut b = [0; 16];
    b[4..8].copy_from_slice(&index.to_ne_bytes());
    b[8..12].copy_from_slice(&flags.to_ne_bytes());
    b[12..].copy_from_slice(&change.to_ne_bytes());
    b
}

/// `struct tcmsg`.
fn traffic(index: u32, handle: u32, parent: u32, what: u32) -> [u8; 20] {
    let mut b = [0; 20];
    b[4..8].copy_from_slice(&index.to_ne_bytes());
    b[8..12].copy_from_slice(&handle.to_ne_bytes());
    b[12..16].copy_from_slice(&parent.to_ne_bytes());
    b[16..].copy_from_slice(&what.to_ne_bytes());
    b
}

impl Route {
    /// All links.
    pub(crate) fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut found = Vec::new();
        self.exchange(Message::new(GETLINK, REQUEST | DUMP, &info(0, 0, 0)), |view| {
            if view.kind == NEWLINK {
                found.extend(Link::parse(view.body));
            }
        })?;
        Ok(found)
    }

    /// The link of a name.
    pub(crate) fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        Ok(self.links()?.into_iter().find(|l| l.name == name))
    }

    fn change(&mut self, index: u32, flags: u32, mask: u32, f: impl FnOnce(Message) -> Message) -> io::Result<()> {
        self.ask(f(Message::new(NEWLINK, REQUEST | ACK, &info(index, flags, mask))))
    }

    /// Sets flags of a link: those of `mask` to what `flags` says.
    pub(crate) fn set_flags(&mut self, index: u32, flags: u32, mask: u32) -> io::Result<()> {
        self.change(index, flags, mask, |m| m)
    }

    /// Gives a link another name.
    pub(crate) fn rename(&mut self, index: u32, name: &str) -> io::Result<()> {
        self.change(index, 0, 0, |m| m.text(IFLA_IFNAME, name))
    }

    /// Sets a link's hardware address.
    pub(crate) fn set_mac(&mut self, index: u32, mac: [u8; 6]) -> io::Result<()> {
        self.change(index, 0, 0, |m| m.with(IFLA_ADDRESS, &mac))
    }

    /// Sets a link's MTU.
    pub(crate) fn set_mtu(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        self.change(index, 0, 0, |m| m.with(IFLA_MTU, &mtu.to_ne_bytes()))
    }

    /// Makes a link look like another: MTU, queue, group, alias.
    pub(crate) fn dress(&mut self, index: u32, like: &Link) -> io::Result<()> {
        self.change(index, 0, 0, |m| {
            let m = m.with(IFLA_MTU, &like.mtu.to_ne_bytes()).with(IFLA_GROUP, &like.group.to_ne_bytes());
            let m = m.with(IFLA_TXQLEN, &like.queue.max(1000).to_ne_bytes());
            match &like.alias {
                Some(alias) => m.with(IFLA_IFALIAS, alias.as_bytes()),
                None => m,
            }
        })
    }

    /// Says that a link works, where its driver does not: a TAP's state would be "unknown".
    pub(crate) fn set_operational(&mut self, index: u32) -> io::Result<()> {
        const OPER_UP: u8 = 6;
        self.change(index, 0, 0, |m| m.with(IFLA_OPERSTATE, &[OPER_UP]))
    }

    /// Removes a link.
    pub(crate) fn delete(&mut self, index: u32) -> io::Result<()> {
        self.ask(Message::new(DELLINK, REQUEST | ACK, &info(index, 0, 0)))
    }

    /// Puts the classifier's place on a link; whether it was not there before.
    pub(crate) fn add_clsact(&mut self, index: u32) -> io::Result<bool> {
        let m = Message::new(NEWQDISC, REQUEST | ACK | CREATE | EXCL, &traffic(index, 0xffff_0000, CLSACT, 0));
        match self.ask(m.text(1, "clsact")) {
            Ok(()) => Ok(true),
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Takes the classifier's place away.
    pub(crate) fn delete_clsact(&mut self, index: u32) -> io::Result<()> {
        self.ask(Message::new(DELQDISC, REQUEST | ACK, &traffic(index, 0xffff_0000, CLSACT, 0)).text(1, "clsact"))
    }

    /// Puts a classifier before all others, for what comes in or goes out, in the place of one that is there.
    pub(crate) fn add_classifier(
        &mut self,
        index: u32,
        egress: bool,
        program: &std::os::fd::OwnedFd,
    ) -> io::Result<()> {
        let hook = if egress { EGRESS } else { INGRESS };
        let m = Message::new(NEWTFILTER, REQUEST | ACK | CREATE, &traffic(index, 1, hook, FIRST_OF_ALL));
        self.ask(m.text(1, "bpf").nest(2, |m| {
            // Descriptor, name, and that the program's result is the verdict.
            m.with(6, &number(program).to_ne_bytes()).text(7, "pfd").with(8, &1_u32.to_ne_bytes())
        }))
    }

    /// Takes a classifier away.
    pub(crate) fn delete_classifier(&mut self, index: u32, egress: bool) -> io::Result<()> {
        let hook = if egress { EGRESS } else { INGRESS };
        self.ask(Message::new(DELTFILTER, REQUEST | ACK, &traffic(index, 1, hook, FIRST_OF_ALL)).text(1, "bpf"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::{HEADER, messages};

    #[test]
    fn links_are_read() {
        let m = Message::new(NEWLINK, 0, &{
            let mut b = info(7, UP | LOWER_UP, 0);
            b[2..4].copy_from_slice(&1_u16.to_ne_bytes());
            b
        });
        let m = m.text(IFLA_IFNAME, "v5").with(IFLA_ADDRESS, &[2; 6]).with(IFLA_MTU, &1400_u32.to_ne_bytes());
        let m = m.with(IFLA_LINK, &3_u32.to_ne_bytes());
        let m = m.nest(IFLA_LINKINFO, |m| m.text(1, "vlan").nest(2, |m| m.with(1, &5_u16.to_ne_bytes()))).finish(1);
        let link = messages(&m).next().and_then(|v| Link::parse(v.body)).unwrap();
        assert_eq!((link.index, &*link.name, link.mtu, link.vlan, link.lower), (7, "v5", 1400, Some(5), Some(3)));
        assert!(link.is_up() && link.has_carrier() && link.ether && !link.is_loopback());
        assert_eq!(Link::parse(&m[HEADER..HEADER + 10]), None);
    }

    #[test]
    fn links_that_leave_a_bridge_are_not_gone() {
        let mut body = info(7, 0, 0);
        assert_eq!((gone(&body), gone(&body[..6])), (Some(7), None));
        body[0] = 7;
        assert_eq!(gone(&body), None);
    }

    #[test]
    fn this_machine_has_a_loopback() {
        let links = Route::open().and_then(|mut r| r.links()).unwrap();
        assert!(links.iter().any(|l| l.is_loopback() && l.name == "lo"), "{links:?}");
    }
}
