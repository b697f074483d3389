//! The edge over a [`Filter`]: its engine decides, its facts tell the ways, its outbox holds what it made.

use pfvm::engine::{Carried, Outcome, Seen, send_error};
use pfvm::host::Random;
use pfvm::packet::{Packet, PacketDesc, PktMeta};
use pfvm::rule::{Addr, Af};

use crate::edge::ether::{Mac, copy};
use crate::edge::{Around, Hop, Made, Sees, Way};
use crate::filter::Filter;
use crate::platform::Platform;

/// The host's neighbour table.
pub trait Neighbours {
    /// The hardware address of a next hop, when it is known.
    fn mac(&self, hop: &Hop) -> Option<Mac>;
}

/// A filter, and what it does not know: the neighbours of its host.
#[derive(Debug)]
pub struct Filtered<'f, P, N> {
    /// The filter.
    pub filter: &'f mut Filter<P>,
    /// The neighbours.
    pub neighbours: &'f N,
}

impl<P: Platform, N> Random for Filtered<'_, P, N> {
    fn random_u32(&mut self) -> u32 {
        self.filter.platform.random_u32()
    }
}

impl<P: Platform> Sees for Filter<P> {
    fn now_ms(&self) -> u64 {
        self.platform.now_ms()
    }

    fn is_own(&self, af: Af, addr: &Addr) -> bool {
        self.facts.ifaces().iter().flat_map(|i| &i.addresses).any(|a| a.af == af && a.addr == *addr)
    }
}

impl<P: Platform, N> Sees for Filtered<'_, P, N> {
    fn now_ms(&self) -> u64 {
        self.filter.now_ms()
    }

    fn is_own(&self, af: Af, addr: &Addr) -> bool {
        self.filter.is_own(af, addr)
    }
}

impl<P: Platform, N: Neighbours> Around for Filtered<'_, P, N> {
    fn process(
        &mut self,
        packet: &mut Packet<'_>,
        meta: &PktMeta,
        seen: Seen,
        carried: Carried,
        room: &mut [u8],
    ) -> Outcome {
        self.filter.process(packet, meta, seen, carried, room)
    }

    #[inline(never)]
    fn complain(&mut self, packet: &Packet<'_>, pd: &PacketDesc, what: (u8, u8, u32)) {
        let (_, mut host) = self.filter.split();
        send_error(packet, pd, what, true, &mut host);
    }

    fn way(&self, af: Af, dst: &Addr) -> Option<Way> {
        let (iface, hop) = self.filter.facts.next_hop(af, dst)?;
        let mtu = self.filter.facts.iface(iface).map_or(1500, |i| i.mtu);
        Some(Way { iface, hop, mtu })
    }

    fn neighbour(&self, hop: &Hop) -> Option<Mac> {
        self.neighbours.mac(hop)
    }

    fn take_made(&mut self, room: &mut [u8]) -> Option<Made> {
        let made = self.filter.outbox.take()?;
        let bytes = made.bytes();
        copy(room.get_mut(..bytes.len())?, bytes);
        let (len, af, generated, tag) = (bytes.len(), made.af, made.generated, made.tag);
        Some(Made { len, af, generated, tag })
    }
}
