//! What the engine asks of the place it runs in.
//!
//! A host gives time and randomness and takes what the engine produces besides the packet itself: log records and
//! packets to send. Everything is asked for by method, so that the driver, pfd, the simulator and the tests differ
//! only here.
//!
//! **Invariant:** no method blocks.

use crate::engine::log::LogRecord;
use crate::packet::Packet;
use crate::rule::Addr;
use crate::rule::Af;

/// A source of random words that cannot be predicted from outside.
pub trait Random {
    /// 32 random bits.
    fn random_u32(&mut self) -> u32;

    /// A number below `bound` (0 when `bound` is 0), without bias worth measuring.
    fn random_below(&mut self, bound: u32) -> u32 {
        let wide = u64::from(self.random_u32()).wrapping_mul(u64::from(bound));
        u32::try_from(wide >> 32).unwrap_or(0)
    }
}

/// Where an address is reached, as the host's routing table sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Interface the packet leaves by (live index).
    pub iface: u16,
    /// MTU of that interface.
    pub mtu: u32,
}

/// All the engine asks for.
pub trait Host: Random {
    /// Milliseconds since some fixed point; a coarse tick will do, but it never goes back.
    fn now_ms(&self) -> u64;

    /// The way to an address, `None` when there is no route.
    fn route(&self, af: Af, addr: &Addr) -> Option<Hop>;

    /// The host's own address that answers for packets to `addr`: itself, or of a broadcast address the one of its
    /// network. `None` when nobody here is meant.
    fn answers_for(&self, af: Af, addr: &Addr) -> Option<Addr>;

    /// The host's own address on an interface, for answers to `toward`; `None` when it has none of that family.
    fn own_address(&self, af: Af, iface: u16, toward: &Addr) -> Option<Addr>;

    /// Whether the host itself uses a port, or wants it left alone.
    fn port_in_use(&self, proto: u8, port: u16) -> bool;

    /// A packet of the filter's own to be sent: an RST, an ICMP error, a handshake segment. It is not filtered again
    /// when `generated`; `tag` is what it carries.
    fn send(&mut self, packet: &[u8], af: Af, generated: bool, tag: u16);

    /// The same of a packet that is as long as one can be: `write` makes it in the place it is sent from, of at least
    /// [`crate::reply::LONGEST`] bytes, and says how long it is. A host that has such a place need not lend its stack.
    fn make(&mut self, af: Af, generated: bool, tag: u16, write: &mut dyn FnMut(&mut [u8]) -> Option<usize>) {
        let mut room = [0; crate::reply::LONGEST];
        if let Some(packet) = write(&mut room).and_then(|len| room.get(..len)) {
            self.send(packet, af, generated, tag);
        }
    }

    /// A log record is due, about a packet as it stands now: translated only where the rules have done so already. Called
    /// in the order of pf, a bounded number of times a packet; see [`crate::engine::log`]. A host that keeps no log leaves
    /// it as it is.
    fn log(&mut self, _record: &LogRecord, _packet: &Packet<'_>) {}
}

/// A host with neither network nor log, for whom time stands still: what tests and measurements put beside an engine.
#[derive(Clone, Copy, Debug)]
pub struct Still {
    /// The time it is, milliseconds.
    pub now_ms: u64,
    /// Seed of its random words, which can be predicted: never a host of real traffic.
    pub seed: u32,
}

impl Random for Still {
    fn random_u32(&mut self) -> u32 {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.seed
    }
}

impl Host for Still {
    fn now_ms(&self) -> u64 {
        self.now_ms
    }
    fn route(&self, _: Af, _: &Addr) -> Option<Hop> {
        None
    }
    fn answers_for(&self, _: Af, _: &Addr) -> Option<Addr> {
        None
    }
    fn own_address(&self, _: Af, _: u16, _: &Addr) -> Option<Addr> {
        None
    }
    fn port_in_use(&self, _: u8, _: u16) -> bool {
        false
    }
    fn send(&mut self, _: &[u8], _: Af, _: bool, _: u16) {}
}
