//! Where the filter stands: ports, and which interface a frame of a port is seen on.
//!
//! A port is one adapter. Attached, its other side is the host's stack; in a bridge it is another port. A VLAN interface
//! the host has on top of an attached port is an interface of its own to the rules.
//!
//! Behind a port's stack there may be others than the host: guests of a virtual switch. Who sent from there is known
//! ([`Port::takes`]), so that what comes for it is told from what a card that listens to everything brings besides.

use alloc::vec::Vec;

use pfvm::state::pool::{OutOfMemory, filled};
use pfvm::sync::Long;

use crate::edge::ether::{Mac, is_group};

/// Guests of a port that are known, and places one may stand in: where all are taken, the first is given up.
const GUESTS: u32 = 256;
const PLACES: usize = 4;

/// A port by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

/// The side of a port a frame comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The adapter.
    Wire,
    /// The host's stack.
    Stack,
}

/// What lies behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// The host's stack.
    Stack,
    /// Another port.
    Port(PortId),
}

/// One adapter.
#[derive(Debug)]
pub struct Port {
    /// Its interface, a live index.
    pub iface: u16,
    /// Its hardware address.
    pub mac: Mac,
    /// Longest packet its link takes.
    pub mtu: u32,
    /// What lies behind it.
    pub behind: Behind,
    vlans: Vec<(u16, u16)>,
    /// Hardware addresses of guests, 0 for none.
    guests: Vec<Long>,
}

/// A hardware address as a number, never 0.
fn number(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 1, a, b, c, d, e, f])
}

impl Port {
    /// A port without VLANs.
    #[must_use]
    pub const fn new(iface: u16, mac: Mac, mtu: u32, behind: Behind) -> Self {
        Self { iface, mac, mtu, behind, vlans: Vec::new(), guests: Vec::new() }
    }

    /// Whether it has VLAN interfaces.
    #[must_use]
    pub const fn has_vlans(&self) -> bool {
        !self.vlans.is_empty()
    }

    /// Places in which a guest may stand.
    fn places(&self, guest: u64) -> impl Iterator<Item = &Long> {
        let at = guest.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_shr(56);
        self.guests.iter().cycle().skip(usize::try_from(at).unwrap_or(0)).take(PLACES.min(self.guests.len()))
    }

    /// Remembers who sent a frame from the stack's side, if not the host. Others may do the same at once.
    pub fn learn(&self, frame: &[u8]) {
        let Some(mac) = frame.get(6..).and_then(|rest| rest.first_chunk::<6>()) else { return };
        if *mac == self.mac || is_group(*mac) {
            return;
        }
        let guest = number(*mac);
        if self.places(guest).all(|place| place.get() != guest) {
            let free = self.places(guest).find(|place| place.get() == 0);
            if let Some(place) = free.or_else(|| self.places(guest).next()) {
                place.set(guest);
            }
        }
    }

    /// Whether a frame for an address is for the host or a guest of it.
    #[must_use]
    pub fn takes(&self, mac: Mac) -> bool {
        let guest = number(mac);
        mac == self.mac || self.places(guest).any(|place| place.get() == guest)
    }

    /// Replaces the VLAN interfaces on top: VLAN and live index.
    ///
    /// # Errors
    /// [`OutOfMemory`], with those before in place.
    pub fn set_vlans(&mut self, vlans: &[(u16, u16)]) -> Result<(), OutOfMemory> {
        self.vlans = pfvm::state::pool::copied("VLANs", vlans)?;
        Ok(())
    }

    /// The interface a frame is seen on. In a bridge tags are looked through; attached, a VLAN nobody has is nobody's.
    #[must_use]
    pub fn seen_on(&self, vlan: Option<u16>) -> Option<u16> {
        match (vlan, self.behind) {
            // VLAN 0 is a priority and no VLAN (802.1Q §9.6).
            (None | Some(0), _) | (Some(_), Behind::Port(_)) => Some(self.iface),
            (Some(id), Behind::Stack) => self.vlans.iter().find(|(v, _)| *v == id).map(|(_, iface)| *iface),
        }
    }

    /// The VLAN of one of its interfaces: `None` when the interface is not of this port.
    #[must_use]
    pub fn vlan_of(&self, iface: u16) -> Option<Option<u16>> {
        if iface == self.iface {
            return Some(None);
        }
        self.vlans.iter().find(|(_, i)| *i == iface).map(|(v, _)| Some(*v))
    }
}

/// All ports.
#[derive(Debug, Default)]
pub struct Ports {
    list: Vec<Option<Port>>,
}

impl Ports {
    /// Takes in a port.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    pub fn add(&mut self, mut port: Port) -> Result<PortId, OutOfMemory> {
        let err = OutOfMemory { what: "ports", count: 1 };
        port.guests = filled("guests", GUESTS, Long::default())?;
        let free = self.list.iter().position(Option::is_none).unwrap_or(self.list.len());
        let id = PortId(u16::try_from(free).map_err(|_| err)?);
        match self.list.get_mut(free) {
            Some(slot) => *slot = Some(port),
            None => {
                self.list.try_reserve(1).map_err(|_| err)?;
                if self.list.len() == self.list.capacity() {
                    return Err(err);
                }
                self.list.push(Some(port));
            }
        }
        Ok(id)
    }

    /// Gives a port up.
    pub fn remove(&mut self, id: PortId) {
        if let Some(slot) = self.list.get_mut(usize::from(id.0)) {
            *slot = None;
        }
    }

    /// A port.
    #[must_use]
    pub fn get(&self, id: PortId) -> Option<&Port> {
        self.list.get(usize::from(id.0))?.as_ref()
    }

    /// A port, to change.
    pub fn get_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.list.get_mut(usize::from(id.0))?.as_mut()
    }

    /// The port an interface is of, and its VLAN there.
    #[must_use]
    pub fn of(&self, iface: u16) -> Option<(PortId, Option<u16>)> {
        let ids = (0..=u16::MAX).map(PortId);
        ids.zip(&self.list).find_map(|(id, p)| p.as_ref()?.vlan_of(iface).map(|vlan| (id, vlan)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_a_port_and_a_vlan() {
        let mut ports = Ports::default();
        let a = ports.add(Port::new(3, [1; 6], 1500, Behind::Stack)).unwrap();
        let b = ports.add(Port::new(4, [2; 6], 1500, Behind::Port(a))).unwrap();
        ports.get_mut(a).unwrap().set_vlans(&[(5, 9)]).unwrap();
        assert_eq!((ports.of(3), ports.of(9), ports.of(7)), (Some((a, None)), Some((a, Some(5))), None));
        let port = ports.get(a).unwrap();
        assert_eq!([None, Some(0), Some(5), Some(6)].map(|v| port.seen_on(v)), [Some(3), Some(3), Some(9), None]);
        assert_eq!(ports.get(b).unwrap().seen_on(Some(6)), Some(4));
        ports.remove(a);
        assert_eq!((ports.of(3), ports.of(4)), (None, Some((b, None))));
        assert_eq!(ports.add(Port::new(8, [1; 6], 1500, Behind::Stack)).unwrap(), a);
    }

    #[test]
    fn guests_are_known_by_what_they_sent() {
        let mut ports = Ports::default();
        let a = ports.add(Port::new(3, [2; 6], 1500, Behind::Stack)).unwrap();
        let port = ports.get(a).unwrap();
        let guest = |n: u16| [0, 0x15, 0x5d, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]];
        let sends = |mac: Mac| port.learn(&[&[9; 6][..], &mac, &[8, 6]].concat());
        assert!(port.takes([2; 6]) && !port.takes(guest(1)));
        sends([2; 6]);
        sends([3; 6]);
        port.learn(&[0; 11]);
        assert!(!port.takes([3; 6]) && !port.takes([0; 6]), "a group sends nothing");
        (0..64).for_each(|n| sends(guest(n)));
        (0..64).for_each(|n| sends(guest(n)));
        assert!((0..64).filter(|n| port.takes(guest(*n))).count() > 60 && !port.takes(guest(64)));
        // However many there are, the last is known.
        (0..5000).for_each(|n| {
            sends(guest(n));
            assert!(port.takes(guest(n)));
        });
    }
}
