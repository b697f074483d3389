//! What a packet carries from in to out, across a host's stack that carries nothing.
//!
//! In OpenBSD a packet's tag, the interface it came in by and the length of its longest fragment travel with its mbuf.
//! Neither a TAP nor NDIS brings them back when the host forwards the packet. [`Memory`] keeps them for a moment under
//! the addresses and ports the packet went up with, and the edge looks them up when the same comes down.
//!
//! **Invariant:** nothing allocates after [`Memory::new`]; a packet costs one line of memory. An entry may be
//! overwritten by another packet's before it is asked for: the packet then carries nothing, as one of the host's own.

use alloc::vec::Vec;
use core::hash::Hasher;

use pfvm::engine::Carried;
use pfvm::norm::frag::FragTag;
use pfvm::packet::{Packet, addr4, proto};
use pfvm::rule::{Addr, Af};
use pfvm::state::pool::{OutOfMemory, filled};
use siphasher::sip::SipHasher13;

/// Milliseconds an entry is believed: longer than a stack keeps a packet it forwards, short enough for a flow that ended.
const LASTS: u64 = 2000;

/// The ends of a packet: as much as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Family.
    pub af: Af,
    /// Protocol.
    pub proto: u8,
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// The first four bytes of TCP, UDP and SCTP (ports), bytes 4–7 of ICMP echo (identifier); 0 in a fragment.
    pub ports: u32,
    /// Whether it is a fragment.
    pub fragment: bool,
}

impl Ends {
    /// Reads the ends of an IP packet. `None` when its header is cut off or of another version.
    #[must_use]
    pub fn of(packet: &Packet<'_>, af: Af) -> Option<Self> {
        let version = packet.u8(0)? >> 4;
        match (af, version) {
            (Af::Inet, 4) => Self::of4(packet),
            (Af::Inet6, 6) => Self::of6(packet),
            _ => None,
        }
    }

    fn of4(packet: &Packet<'_>) -> Option<Self> {
        let h = packet.array::<20>(0)?;
        let h = pfvm::wire::Ipv4::new_unchecked(h);
        let (fragment, proto) = (h.is_fragment(), h.proto());
        let ports = if fragment { 0 } else { ports(packet, proto, h.header_len()) };
        Some(Self { af: Af::Inet, proto, src: addr4(h.src()), dst: addr4(h.dst()), ports, fragment })
    }

    fn of6(packet: &Packet<'_>) -> Option<Self> {
        let h = pfvm::wire::Ipv6::new_unchecked(packet.array::<40>(0)?);
        let proto = h.next_header();
        let fragment = proto == proto::FRAGMENT;
        let (proto, ports) =
            if fragment { (packet.u8(40).unwrap_or(proto), 0) } else { (proto, ports(packet, proto, 40)) };
        Some(Self { af: Af::Inet6, proto, src: Addr(h.src()), dst: Addr(h.dst()), ports, fragment })
    }

    /// The same without ports, as fragments are known.
    #[must_use]
    pub const fn bare(self) -> Self {
        Self { ports: 0, fragment: true, ..self }
    }
}

fn ports(packet: &Packet<'_>, protocol: u8, at: usize) -> u32 {
    const SCTP: u8 = 132;
    match protocol {
        proto::TCP | proto::UDP | SCTP => packet.u32(at).unwrap_or(0),
        proto::ICMP | proto::ICMPV6 => packet.u16(at.saturating_add(4)).map_or(0, u32::from),
        _ => 0,
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    ends: Ends,
    until: u64,
    tag: u16,
    prio: u8,
    received_on: Option<u16>,
    reassembled: Option<FragTag>,
}

/// The packets that just went up.
#[derive(Debug)]
pub struct Memory {
    entries: Vec<Option<Entry>>,
    key: (u64, u64),
}

impl Memory {
    /// Room for `count` packets, under a key nobody outside knows.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is none.
    pub fn new(count: u32, key: (u64, u64)) -> Result<Self, OutOfMemory> {
        Ok(Self { entries: filled("packets on their way", count.max(1), None)?, key })
    }

    fn place(&self, ends: &Ends) -> usize {
        let (k0, k1) = self.key;
        let mut h = SipHasher13::new_with_keys(k0, k1);
        h.write(&ends.src.0);
        h.write(&ends.dst.0);
        h.write_u64(u64::from(ends.ports) << 16 | u64::from(ends.proto) << 8 | u64::from(ends.fragment));
        let count = u64::try_from(self.entries.len()).unwrap_or(1);
        usize::try_from(h.finish().checked_rem(count).unwrap_or(0)).unwrap_or(0)
    }

    /// Remembers what a packet carries up.
    pub fn keep(&mut self, ends: Ends, carried: &Carried, now_ms: u64) {
        let at = self.place(&ends);
        if let Some(slot) = self.entries.get_mut(at) {
            *slot = Some(Entry {
                ends,
                until: now_ms.saturating_add(LASTS),
                tag: carried.tag,
                prio: carried.prio,
                received_on: carried.received_on,
                reassembled: carried.reassembled,
            });
        }
    }

    /// Gives a packet that comes down what it carried up.
    pub fn recall(&self, ends: &Ends, carried: &mut Carried, now_ms: u64) {
        let entry = self.entries.get(self.place(ends)).and_then(Option::as_ref);
        if let Some(e) = entry.filter(|e| e.ends == *ends && now_ms < e.until) {
            carried.tag = e.tag;
            carried.prio = e.prio;
            carried.received_on = e.received_on;
            carried.reassembled = e.reassembled;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(port: u8, fragment: u8) -> Vec<u8> {
        [
            &[0x45, 0, 0, 28, 0, 1, fragment, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..],
            &[0, port, 0, 53, 0, 8, 0, 0],
        ]
        .concat()
    }

    fn ends(bytes: &mut [u8], af: Af) -> Option<Ends> {
        Ends::of(&Packet::whole(bytes), af)
    }

    #[test]
    fn a_packet_gets_back_what_it_went_up_with() {
        let mut m = Memory::new(64, (1, 2)).unwrap();
        let a = ends(&mut udp(9, 0), Af::Inet).unwrap();
        let up = Carried { tag: 7, prio: 5, received_on: Some(3), ..Carried::default() };
        m.keep(a, &up, 1000);
        let back = |m: &Memory, e: &Ends, now| {
            let mut c = Carried::default();
            m.recall(e, &mut c, now);
            (c.tag, c.prio, c.received_on)
        };
        assert_eq!(back(&m, &a, 2999), (7, 5, Some(3)));
        assert_eq!(back(&m, &a, 3000), (0, 0, None));
        let b = ends(&mut udp(8, 0), Af::Inet).unwrap();
        assert_eq!(back(&m, &b, 1001), (0, 0, None));
        assert_eq!(back(&m, &a.bare(), 1001), (0, 0, None));
    }

    #[test]
    fn fragments_are_known_without_ports() {
        let whole = ends(&mut udp(9, 0), Af::Inet).unwrap();
        let part = ends(&mut udp(9, 0x20), Af::Inet).unwrap();
        assert_ne!(whole, part);
        assert_eq!(whole.bare(), part);
        let mut v6 = [&[0x60, 0, 0, 0, 0, 16, 44, 64][..], &[1; 32], &[17, 0, 0, 1, 0, 0, 0, 1, 0, 9, 0, 53]].concat();
        let part = ends(&mut v6, Af::Inet6).unwrap();
        assert_eq!((part.proto, part.fragment, part.ports), (17, true, 0));
    }

    #[test]
    fn other_versions_and_short_headers_have_none() {
        assert_eq!(ends(&mut udp(9, 0), Af::Inet6), None);
        assert_eq!(ends(&mut udp(9, 0)[..19], Af::Inet), None);
        assert_eq!(ends(&mut [0x60; 39], Af::Inet6), None);
        assert_eq!(ends(&mut [], Af::Inet), None);
    }
}
