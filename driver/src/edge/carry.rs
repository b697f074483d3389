//! What a packet carries from in to out, across a host's stack that carries nothing.
//!
//! In OpenBSD a packet's tag, the interface it came in by and the length of its longest fragment travel with its mbuf.
//! Neither a TAP nor NDIS brings them back when the host forwards the packet. [`Memory`] keeps them for a moment under
//! the addresses and ports the packet went up with, and the edge looks them up when the same comes down.
//!
//! Several processors use it at once: each entry has a lock, tried and never waited for; nothing is taken under it.
//!
//! **Invariant:** nothing allocates after [`Memory::new`]; a packet costs a line or two of memory. An entry may be
//! overwritten by another packet's before it is asked for: the packet then carries nothing, as one of the host's own.

use alloc::vec::Vec;
use core::hash::Hasher;

use pfvm::engine::Carried;
use pfvm::norm::frag::FragTag;
use pfvm::packet::{Packet, addr4, proto};
use pfvm::rule::{Addr, Af};
use pfvm::state::pool::{OutOfMemory, filled};
use pfvm::sync::{Byte, Long};
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

/// Times an entry's lock is tried: longer than its words take to be copied.
const TRIES: usize = 64;

/// A packet's ends as words, the last never 0.
type Key = [u64; 5];

/// What a packet carries, as words: tag, priority and interface with [`RECEIVED`] and [`CUT`]; the two halves of its
/// [`FragTag`].
type Load = [u64; 3];

/// It came in by an interface.
const RECEIVED: u64 = 1 << 40;
/// It was put together of fragments.
const CUT: u64 = 1 << 41;

/// A packet that went up: its ends, what it carries, until when it is believed.
#[derive(Clone, Debug, Default)]
struct Entry {
    lock: Byte,
    key: [Long; 5],
    load: [Long; 3],
    until: Long,
}

impl Entry {
    /// Does something with it, alone. `None` when another processor is at it.
    #[inline]
    fn held<T>(&self, f: impl FnOnce(&Self) -> T) -> Option<T> {
        for _ in 0..TRIES {
            if let Some(byte) = self.lock.hold() {
                let out = f(self);
                self.lock.let_go(byte);
                return Some(out);
            }
            core::hint::spin_loop();
        }
        None
    }
}

fn key_of(ends: &Ends) -> Key {
    let halves = |addr: &Addr| {
        let whole = u128::from_ne_bytes(addr.0);
        [whole >> 64, whole & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0))
    };
    let ([a, b], [c, d]) = (halves(&ends.src), halves(&ends.dst));
    let family = if ends.af == Af::Inet { 1 } else { 2 };
    [a, b, c, d, u64::from(ends.ports) << 16 | u64::from(ends.proto) << 8 | u64::from(ends.fragment) << 2 | family]
}

fn load_of(carried: &Carried) -> Load {
    let received = carried.received_on.map_or(0, |iface| RECEIVED | u64::from(iface) << 24);
    let facts = u64::from(carried.tag) | u64::from(carried.prio) << 16 | received;
    match carried.reassembled {
        None => [facts, 0, 0],
        Some(FragTag { header, extoff, longest }) => {
            [facts | CUT, u64::from(header) << 32 | u64::from(extoff), longest.into()]
        }
    }
}

/// Gives a packet its load.
fn unload([facts, front, longest]: Load, carried: &mut Carried) {
    let [.., iface_high, iface_low, prio, tag_high, tag_low] = facts.to_be_bytes();
    carried.tag = u16::from_be_bytes([tag_high, tag_low]);
    carried.prio = prio;
    carried.received_on = (facts & RECEIVED != 0).then_some(u16::from_be_bytes([iface_high, iface_low]));
    let [h0, h1, h2, h3, e0, e1, e2, e3] = front.to_be_bytes();
    carried.reassembled = (facts & CUT != 0).then_some(FragTag {
        header: u32::from_be_bytes([h0, h1, h2, h3]),
        extoff: u32::from_be_bytes([e0, e1, e2, e3]),
        longest: u32::try_from(longest).unwrap_or(u32::MAX),
    });
}

/// The packets that just went up.
#[derive(Debug)]
pub struct Memory {
    entries: Vec<Entry>,
    key: (u64, u64),
}

impl Memory {
    /// Room for `count` packets, under a key nobody outside knows.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is none.
    pub fn new(count: u32, key: (u64, u64)) -> Result<Self, OutOfMemory> {
        Ok(Self { entries: filled("packets on their way", count.max(1), Entry::default())?, key })
    }

    /// The place of a packet.
    fn entry(&self, key: &Key) -> Option<&Entry> {
        let (k0, k1) = self.key;
        let mut h = SipHasher13::new_with_keys(k0, k1);
        key.iter().for_each(|word| h.write_u64(*word));
        let count = u64::try_from(self.entries.len()).unwrap_or(1);
        self.entries.get(usize::try_from(h.finish().checked_rem(count)?).ok()?)
    }

    /// Remembers what a packet carries up, unless another processor is at its place just now.
    pub fn keep(&self, ends: Ends, carried: &Carried, now_ms: u64) {
        let (key, load) = (key_of(&ends), load_of(carried));
        let kept = |e: &Entry| {
            e.key.iter().zip(key).for_each(|(to, word)| to.set(word));
            e.load.iter().zip(load).for_each(|(to, word)| to.set(word));
            e.until.set(now_ms.saturating_add(LASTS));
        };
        let _another = self.entry(&key).map(|entry| entry.held(kept));
    }

    /// Gives a packet that comes down what it carried up, if it did. `false`, with nothing given, when another processor is
    /// at its place just now.
    #[must_use]
    pub fn recall(&self, ends: &Ends, carried: &mut Carried, now_ms: u64) -> bool {
        let key = key_of(ends);
        let found = |e: &Entry| {
            let same = e.key.iter().zip(key).all(|(word, wanted)| word.get() == wanted);
            (same && now_ms < e.until.get()).then(|| e.load.each_ref().map(Long::get))
        };
        let Some(looked) = self.entry(&key).and_then(|entry| entry.held(found)) else { return false };
        if let Some(load) = looked {
            unload(load, carried);
        }
        true
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
        let m = Memory::new(64, (1, 2)).unwrap();
        let a = ends(&mut udp(9, 0), Af::Inet).unwrap();
        let up = Carried { tag: 7, prio: 5, received_on: Some(3), ..Carried::default() };
        m.keep(a, &up, 1000);
        let back = |m: &Memory, e: &Ends, now| {
            let mut c = Carried::default();
            assert!(m.recall(e, &mut c, now));
            (c.tag, c.prio, c.received_on)
        };
        assert_eq!(back(&m, &a, 2999), (7, 5, Some(3)));
        assert_eq!(back(&m, &a, 3000), (0, 0, None));
        let b = ends(&mut udp(8, 0), Af::Inet).unwrap();
        assert_eq!(back(&m, &b, 1001), (0, 0, None));
        assert_eq!(back(&m, &a.bare(), 1001), (0, 0, None));
    }

    #[test]
    fn all_of_it_comes_back() {
        let m = Memory::new(1, (1, 2)).unwrap();
        let a = ends(&mut udp(9, 0), Af::Inet).unwrap();
        let cut = FragTag { header: 40, extoff: u32::MAX - 1, longest: 1232 };
        for received_on in [None, Some(0), Some(u16::MAX)] {
            for reassembled in [None, Some(cut)] {
                let up = Carried { tag: u16::MAX - 1, prio: 7, received_on, reassembled, ..Carried::default() };
                m.keep(a, &up, 0);
                let mut down = Carried::default();
                assert!(m.recall(&a, &mut down, 1));
                assert_eq!(down, up);
            }
        }
    }

    #[test]
    fn one_processor_at_a_time_is_at_an_entry() {
        let m = Memory::new(1, (1, 2)).unwrap();
        let a = ends(&mut udp(9, 0), Af::Inet).unwrap();
        let carries = |tag| Carried { tag, ..Carried::default() };
        m.keep(a, &carries(1), 0);
        let mut down = Carried::default();
        m.entries[0].held(|_| {
            m.keep(a, &carries(2), 0);
            assert!(!m.recall(&a, &mut down, 0));
        });
        assert_eq!(down, Carried::default());
        assert!(m.recall(&a, &mut down, 0));
        assert_eq!(down.tag, 1);
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
