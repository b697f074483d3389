//! The packet edge: from a frame to what becomes of it.
//!
//! frame → [`ether`] (header, VLAN) → [`policy`] (what is not IP) → the engine → [`Fate`]. Attached, a port has the wire
//! on one side and the host's stack on the other; in a bridge another port ([`port`]). What is sent elsewhere than
//! straight on ([`route`]), put together, cut ([`cut`], [`segment`]) or made by the filter itself leaves through [`Sink`].
//!
//! **Invariant:** every frame has exactly one fate, and the counters say which ([`count::Counts`]).
//! **Invariant:** a frame passes because the engine or the policy said so; whatever cannot be done about it, it is dropped.
//! **Invariant:** nothing here allocates, blocks or panics once ports are set up.
//!
//! Locks: none but those of [`carry`]; the host calls with its own lock held, alone ([`Edge::frame`]) or shared
//! ([`Edge::pass_known`], see [`known`]). IRQL: any up to `DISPATCH_LEVEL`.

pub mod carry;
pub mod count;
pub mod cut;
pub mod ether;
pub mod filtered;
pub mod known;
pub mod neighbour;
pub mod offload;
mod pass;
pub mod policy;
pub mod port;
mod route;
pub mod segment;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use pfvm::engine::{Carried, Outcome, Seen};
use pfvm::host::Random;
use pfvm::packet::{Packet, PacketDesc, PktMeta};
use pfvm::rule::{Addr, Af};
use pfvm::state::pool::{OutOfMemory, filled};

use carry::Memory;
use count::{Counts, Why};
use ether::Mac;
use offload::Offload;
use policy::Policy;
use port::{PortId, Ports, Side};
use segment::Finish;

/// Bytes a host must leave free in front of a frame: a longer IP header may come, and a tag.
pub const HEADROOM: usize = 64;
/// Bytes a host lends for a packet that is put together: the largest there is, with headroom.
pub const ROOM: usize = 65_536 + 256;
/// Packets on their way through the stack that are remembered.
const ON_THE_WAY: u32 = 4096;

/// A frame as a host lends it: a writable first part with headroom, and a read-only rest.
#[derive(Debug)]
pub struct Lent<'b> {
    /// Headroom, then the first bytes of the frame: all of it or at least [`pfvm::packet::Packet::WINDOW`] bytes of the
    /// packet behind its header.
    pub window: &'b mut [u8],
    /// Where the frame begins in the window.
    pub head: usize,
    /// What follows.
    pub rest: &'b [&'b [u8]],
}

/// Where a frame leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Up, to the host's stack.
    Stack(PortId),
    /// Out, by the adapter.
    Wire(PortId),
    /// Out, once the next hop's hardware address is known: the host asks for it, writes it into the frame's first six
    /// bytes and sends.
    Resolve(PortId, Hop),
}

/// A next hop on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// Interface, a live index.
    pub iface: u16,
    /// Family of its address.
    pub af: Af,
    /// Address.
    pub addr: Addr,
}

/// A frame that goes on in the room it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Going {
    /// Where.
    pub exit: Exit,
    /// Where it begins in the window now.
    pub head: usize,
    /// Its length, window and rest.
    pub len: usize,
    /// Its facts.
    pub offload: Offload,
    /// Its family, for segmentation.
    pub af: Af,
    /// `set delay`, milliseconds.
    pub delay: u16,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on, rewritten as it stands.
    Pass(Going),
    /// It went on through [`Sink`], as one frame or several.
    Sent,
    /// The engine keeps it or answered it.
    Held,
    /// It ends here.
    Drop(Why),
}

/// What takes frames that are not the one at hand.
pub trait Sink {
    /// Sends a frame, given in parts. `false` when there is no room for it.
    fn frame(&mut self, exit: Exit, parts: &[&[u8]], offload: &Offload, af: Af) -> bool;
}

/// Where the host's routing sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Interface, a live index.
    pub iface: u16,
    /// Next hop: a gateway, or the destination itself.
    pub hop: Addr,
    /// MTU of the link.
    pub mtu: u32,
}

/// A packet of the filter's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its length.
    pub len: usize,
    /// Family.
    pub af: Af,
    /// Not to be filtered again.
    pub generated: bool,
    /// Tag it carries.
    pub tag: u16,
}

/// What the edge asks of the host around it, whoever has the filter.
pub trait Sees {
    /// Milliseconds since some fixed point.
    fn now_ms(&self) -> u64;
    /// Whether an address is the host's own.
    fn is_own(&self, af: Af, addr: &Addr) -> bool;
}

/// What the edge asks of the filter and the host around it.
pub trait Around: Random + Sees {
    /// Decides about a packet ([`pfvm::engine::Engine::process`]).
    fn process(
        &mut self,
        packet: &mut Packet<'_>,
        meta: &PktMeta,
        seen: Seen,
        carried: Carried,
        room: &mut [u8],
    ) -> Outcome;
    /// Makes an ICMP error about a packet: type, code and parameter ([`pfvm::engine::send_error`]).
    fn complain(&mut self, packet: &Packet<'_>, pd: &PacketDesc, what: (u8, u8, u32));
    /// Where the host's routing sends a packet.
    fn way(&self, af: Af, dst: &Addr) -> Option<Way>;
    /// The hardware address of a next hop, when it is known.
    fn neighbour(&self, hop: &Hop) -> Option<Mac>;
    /// Takes the oldest packet the filter made, copied to the front of `room`.
    fn take_made(&mut self, room: &mut [u8]) -> Option<Made>;
}

/// The edge of one host.
#[derive(Debug)]
pub struct Edge {
    /// Its ports.
    pub ports: Ports,
    /// What passes besides IP.
    pub policy: Policy,
    /// What moved.
    pub counts: Counts,
    /// Who finishes what does not go straight on.
    pub finish: Finish,
    memory: Memory,
    scratch: Vec<u8>,
    own: Vec<u8>,
}

impl Edge {
    /// An edge without ports.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    pub fn new<R: Random + ?Sized>(policy: Policy, random: &mut R) -> Result<Self, OutOfMemory> {
        let mut word = || u64::from(random.random_u32()) << 32 | u64::from(random.random_u32());
        let room = u32::try_from(ROOM).unwrap_or(u32::MAX);
        Ok(Self {
            ports: Ports::default(),
            policy,
            counts: Counts::default(),
            finish: Finish::default(),
            memory: Memory::new(ON_THE_WAY, (word(), word()))?,
            scratch: filled("fragments", room, 0)?,
            own: filled("packets of the filter", OWN, 0)?,
        })
    }
}

/// Bytes of the longest packet the filter makes, with headroom.
const OWN: u32 = 1280 + 128;

/// Where a frame came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Port.
    pub port: PortId,
    /// Side of it.
    pub side: Side,
}
