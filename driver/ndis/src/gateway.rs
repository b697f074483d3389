//! The judge of the driver: the edge over the filter, and what holds before the first load.

use alloc::boxed::Box;
use alloc::vec::Vec;

use pfdriver::edge::count::Why;
use pfdriver::edge::ether::Mac;
use pfdriver::edge::filtered::Filtered;
use pfdriver::edge::known::Local;
use pfdriver::edge::neighbour::{Neighbourhood, Patient};
use pfdriver::edge::offload::Offload;
use pfdriver::edge::policy::Policy;
use pfdriver::edge::port::{Behind, Port, PortId, Side};
use pfdriver::edge::segment::Finish;
use pfdriver::edge::{Edge, Entry, Exit, Fate, Hop, Lent, ROOM, Sink};
use pfdriver::facts::HostFacts;
use pfdriver::filter::Filter;
use pfdriver::lock::Lock;
use pfdriver::platform::Platform;
use pfvm::engine::{Engine, default_options};
use pfvm::packet::DropReason;
use pfvm::rule::{Addr, Limits};
use pfvm::state::pool::{OutOfMemory, filled};

use crate::judge::{Adapter, Judge};
use crate::module::Driver;
use crate::os::Os;
use crate::pass::parts;
use crate::sys::boxed::boxed;

/// What becomes of frames before the first rules are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boot {
    /// They pass, as in pf without rules.
    #[default]
    Pass,
    /// Only ARP and EAPOL pass.
    Block,
    /// Likewise, unless the last good rules could be loaded.
    LastGood,
}

/// EtherType of 802.1X.
const EAPOL: u16 = 0x888E;

/// The edge, the filter, and room to put packets together.
#[derive(Debug)]
pub struct Gateway<P> {
    /// The edge.
    pub edge: Edge,
    /// The filter.
    pub filter: Box<Filter<P>>,
    /// What holds before the first load.
    pub boot: Boot,
    /// Next hops the filter asked for.
    pub neighbours: Neighbourhood,
    room: Vec<u8>,
}

impl<P: Platform> Gateway<P> {
    /// Without rules, without interfaces.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(platform: P, boot: Boot) -> Result<Self, OutOfMemory> {
        Self::with_room(platform, boot, &default_options().limits)
    }

    /// Likewise with room for so much.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    #[inline(never)]
    pub fn with_room(mut platform: P, boot: Boot, limits: &Limits) -> Result<Self, OutOfMemory> {
        let none = OutOfMemory { what: "facts", count: 0 };
        let facts = HostFacts::none().map_err(|_| none)?;
        // Nobody tells of VLAN interfaces. Without EAPOL a port of 802.1X does not open: its list has room for one kind.
        let mut policy = Policy::default();
        policy.tagged = true;
        let _has_room = policy.allow(EAPOL);
        let mut edge = Edge::new(policy, &mut platform)?;
        // What another card can do, nobody here knows.
        edge.finish = Finish::Edge;
        let memory = OutOfMemory { what: "the engine", count: 1 };
        let engine = boxed(memory, || Engine::new(limits, &mut platform))?;
        let mut filter = boxed(memory, || Filter::over(engine, facts, platform))?;
        filter.begin(limits)?;
        let room = filled("fragments", u32::try_from(ROOM).unwrap_or(u32::MAX), 0)?;
        Ok(Self { edge, filter, boot, neighbours: Neighbourhood::new()?, room })
    }
}

/// The filter behind the driver's lock, as control takes it.
impl<O: Os, P: Platform + Send + Sync> Lock<P> for Driver<O, Gateway<P>> {
    fn with<T>(&self, f: impl FnOnce(&mut Filter<P>) -> T) -> T {
        self.core.with(&self.os, |core| f(&mut core.judge.filter))
    }
}

/// The filter's number of an interface: the system's, which is small.
fn iface(if_index: u32) -> u16 {
    u16::try_from(if_index).unwrap_or(0)
}

impl<P: Platform + Send + Sync> Judge for Gateway<P> {
    type Local = Local;

    fn local(&self) -> Option<Local> {
        Local::new().ok()
    }

    #[inline(never)]
    fn shared(&self, local: &mut Local, entry: Entry, lent: Lent<'_>, offload: Offload) -> Option<Fate> {
        if self.is_shut_to(&lent) {
            return Some(Fate::Drop(Why::Filter));
        }
        let frame = lent.window.get(lent.head..).unwrap_or_default();
        if entry.side == Side::Wire && self.neighbours.awaits(entry.port, frame, self.filter.platform.now_ms()) {
            return None;
        }
        self.edge.pass_known(&self.filter, entry, lent, offload, local)
    }

    fn tell(&self, local: &mut Local) {
        Edge::tell(&self.filter, local);
    }

    fn gather(&mut self, local: &mut Local) {
        self.edge.gather(local);
    }

    fn short(&mut self, frames: u32) {
        self.filter.engine.counters.reasons(DropReason::Memory, frames);
    }

    fn attach(&mut self, adapter: &Adapter) -> Option<PortId> {
        let port = Port::new(iface(adapter.if_index), adapter.mac, adapter.mtu, Behind::Stack);
        let port = self.edge.ports.add(port).ok()?;
        self.filter.meet(adapter.luid, iface(adapter.if_index));
        Some(port)
    }

    fn restarted(&mut self, port: PortId, mtu: u32) {
        if let Some(port) = self.edge.ports.get_mut(port) {
            port.mtu = mtu;
        }
    }

    fn detach(&mut self, port: PortId) {
        self.edge.ports.remove(port);
    }

    #[inline(never)]
    fn frame<S: Sink>(&mut self, entry: Entry, lent: Lent<'_>, offload: Offload, sink: &mut S) -> Fate {
        if self.is_shut_to(&lent) {
            return Fate::Drop(Why::Filter);
        }
        let now = self.filter.platform.now_ms();
        let Lent { window, head, rest } = lent;
        if entry.side == Side::Wire {
            self.neighbours.hear(entry.port, window.get(head..).unwrap_or_default(), now, sink);
        }
        let (known, waiting) = self.neighbours.split(now);
        let mut patient = Patient { sink: &mut *sink, waiting, now };
        let mut around = Filtered { filter: &mut self.filter, neighbours: &known };
        let lent = Lent { window: &mut *window, head, rest };
        let fate = self.edge.frame(&mut around, entry, lent, offload, &mut self.room, &mut patient);
        let fate = match fate {
            Fate::Pass(going) if matches!(going.exit, Exit::Resolve(..)) => {
                if !patient.frame(going.exit, parts(window, rest, &going).get(), &going.offload, going.af) {
                    self.edge.counts.lost = self.edge.counts.lost.wrapping_add(1);
                }
                Fate::Sent
            }
            fate => fate,
        };
        self.ask(now, sink);
        fate
    }

    fn now_ms(&self) -> u64 {
        self.filter.platform.now_ms()
    }

    fn may_wait(&self) -> u32 {
        self.filter.engine.options.limits.pktdelay_pkts
    }

    fn tick<S: Sink>(&mut self, sink: &mut S) {
        self.filter.tick();
        let now = self.filter.platform.now_ms();
        self.neighbours.tick(now);
        let (known, waiting) = self.neighbours.split(now);
        let mut patient = Patient { sink: &mut *sink, waiting, now };
        let mut around = Filtered { filter: &mut self.filter, neighbours: &known };
        self.edge.made(&mut around, &mut patient);
        self.ask(now, sink);
    }
}

impl<P: Platform> Gateway<P> {
    /// Whether a frame ends before the first load.
    fn is_shut_to(&self, lent: &Lent<'_>) -> bool {
        self.boot != Boot::Pass && self.filter.generation == 0 && !is_of_link(lent)
    }

    /// Asks for next hops that frames wait for, with an address of the interface: one of the hop's network before others.
    fn ask<S: Sink>(&mut self, now: u64, sink: &mut S) {
        let (ports, facts) = (&self.edge.ports, &self.filter.facts);
        let own = |port, hop: &Hop| -> Option<(Mac, Addr)> {
            let mac = ports.get(port)?.mac;
            let all = || facts.iface(hop.iface).into_iter().flat_map(|i| &i.addresses).filter(|a| a.af == hop.af);
            let near = all().find(|a| same_network(&a.addr, &hop.addr, a.prefix));
            near.or_else(|| all().next()).map(|a| (mac, a.addr))
        };
        self.neighbours.ask(now, own, sink);
    }
}

/// Whether two addresses share a prefix.
fn same_network(a: &Addr, b: &Addr, prefix: u8) -> bool {
    let bits = |addr: &Addr| u128::from_be_bytes(addr.0).checked_shr(128_u32.saturating_sub(u32::from(prefix)));
    bits(a) == bits(b)
}

/// ARP, which is needed to reach anything at all, and EAPOL (802.1X), without which a port does not open.
fn is_of_link(lent: &Lent<'_>) -> bool {
    let kind = lent.window.get(lent.head.saturating_add(12)..).and_then(|w| w.get(..2));
    matches!(kind, Some([8, 6] | [0x88, 0x8e]))
}
