//! The judge of the driver: the edge over the filter, and what holds before the first load.

use alloc::vec::Vec;

use pfdriver::edge::count::Why;
use pfdriver::edge::ether::Mac;
use pfdriver::edge::filtered::{Filtered, Neighbours};
use pfdriver::edge::offload::Offload;
use pfdriver::edge::policy::Policy;
use pfdriver::edge::port::{Behind, Port, PortId};
use pfdriver::edge::{Edge, Entry, Fate, Hop, Lent, ROOM, Sink};
use pfdriver::facts::HostFacts;
use pfdriver::filter::Filter;
use pfdriver::platform::Platform;
use pfvm::engine::default_options;
use pfvm::state::pool::{OutOfMemory, filled};

use crate::judge::{Adapter, Judge};

/// What becomes of frames before the first rules are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boot {
    /// They pass, as in pf without rules.
    #[default]
    Pass,
    /// Only ARP passes.
    Block,
}

/// Nobody's hardware address is known: a filter has no neighbour table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Strangers;

impl Neighbours for Strangers {
    fn mac(&self, _: &Hop) -> Option<Mac> {
        None
    }
}

/// The edge, the filter, and room to put packets together.
#[derive(Debug)]
pub struct Gateway<P> {
    /// The edge.
    pub edge: Edge,
    /// The filter.
    pub filter: Filter<P>,
    /// What holds before the first load.
    pub boot: Boot,
    room: Vec<u8>,
}

impl<P: Platform> Gateway<P> {
    /// Without rules, without interfaces.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(mut platform: P, boot: Boot) -> Result<Self, OutOfMemory> {
        let none = OutOfMemory { what: "facts", count: 0 };
        let facts = HostFacts::none().map_err(|_| none)?;
        let edge = Edge::new(Policy::default(), &mut platform)?;
        let filter = Filter::new(&default_options().limits, facts, platform)?;
        let room = filled("fragments", u32::try_from(ROOM).unwrap_or(u32::MAX), 0)?;
        Ok(Self { edge, filter, boot, room })
    }
}

/// The filter's number of an interface: the system's, which is small.
fn iface(if_index: u32) -> u16 {
    u16::try_from(if_index).unwrap_or(0)
}

impl<P: Platform + Send> Judge for Gateway<P> {
    fn attach(&mut self, adapter: &Adapter) -> Option<PortId> {
        let port = Port::new(iface(adapter.if_index), adapter.mac, adapter.mtu, Behind::Stack);
        self.edge.ports.add(port).ok()
    }

    fn restarted(&mut self, port: PortId, mtu: u32) {
        if let Some(port) = self.edge.ports.get_mut(port) {
            port.mtu = mtu;
        }
    }

    fn detach(&mut self, port: PortId) {
        self.edge.ports.remove(port);
    }

    fn frame<S: Sink>(&mut self, entry: Entry, lent: Lent<'_>, offload: Offload, sink: &mut S) -> Fate {
        if self.boot == Boot::Block && self.filter.generation == 0 && !is_arp(&lent) {
            return Fate::Drop(Why::Filter);
        }
        let mut around = Filtered { filter: &mut self.filter, neighbours: &Strangers };
        self.edge.frame(&mut around, entry, lent, offload, &mut self.room, sink)
    }

    fn tick<S: Sink>(&mut self, sink: &mut S) {
        self.filter.tick();
        let mut around = Filtered { filter: &mut self.filter, neighbours: &Strangers };
        self.edge.made(&mut around, sink);
    }
}

/// ARP, which is needed to reach anything at all.
fn is_arp(lent: &Lent<'_>) -> bool {
    lent.window.get(lent.head.saturating_add(12)..).and_then(|w| w.get(..2)) == Some(&[8, 6])
}
