//! Frames by several processors at once.
//!
//! A packet of a known state that goes straight on changes that state, some counters and what is remembered of it
//! ([`carry`](super::carry)): edge and filter are shared meanwhile, and so it is with frames the engine is not asked about.
//! All else is left as it was, for the caller to come back with both alone ([`Edge::frame`]). The functions are the same on
//! both ways, and so is what becomes of a frame.
//!
//! **Invariant:** `None` leaves frame, edge and filter untouched; what is not `None` is a pass in place or a drop.

use pfvm::engine::{Scratch, Verdict};
use pfvm::rule::Direction;
use pfvm::state::pool::OutOfMemory;

use crate::edge::count::{Counts, Why};
use crate::edge::offload::Offload;
use crate::edge::pass::{Looked, View, straight};
use crate::edge::port::Behind;
use crate::edge::{Edge, Entry, Exit, Fate, Going, Lent};
use crate::filter::Filter;
use crate::platform::Platform;

/// What a processor has of its own.
#[derive(Debug)]
pub struct Local {
    /// What moved here and is not counted at the edge yet.
    pub counts: Counts,
    scratch: Scratch,
}

impl Local {
    /// An empty one.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new() -> Result<Self, OutOfMemory> {
        Ok(Self { counts: Counts::default(), scratch: Scratch::new()? })
    }
}

impl Edge {
    /// [`Edge::frame`] for who shares edge and filter. `None`: nothing has changed, both are wanted alone. What the filter
    /// counts is told by [`Edge::tell`].
    pub fn pass_known<P: Platform>(
        &self,
        filter: &Filter<P>,
        entry: Entry,
        lent: Lent<'_>,
        offload: Offload,
        local: &mut Local,
    ) -> Option<Fate> {
        let Self { ports, policy, finish, memory, .. } = self;
        let view = View { ports, policy, finish: *finish, memory };
        let fate = view.known(filter, entry, lent, offload, &mut local.scratch)?;
        local.counts.received = local.counts.received.wrapping_add(1);
        local.counts.fate(&fate);
        Some(fate)
    }

    /// The filter takes over what it counted with a local: before the caller lets go of its share.
    pub fn tell<P>(filter: &Filter<P>, local: &mut Local) {
        filter.engine.tell(&mut local.scratch);
    }

    /// Takes over what moved with a local.
    pub fn gather(&mut self, local: &mut Local) {
        self.counts.add(&core::mem::take(&mut local.counts));
    }
}

impl View<'_> {
    fn known<P: Platform>(
        &self,
        filter: &Filter<P>,
        entry: Entry,
        lent: Lent<'_>,
        offload: Offload,
        scratch: &mut Scratch,
    ) -> Option<Fate> {
        let (mut packet, mut piece, ends) = match self.look(entry, lent, offload) {
            Looked::Settled(fate) => return Some(fate),
            Looked::Packet(packet, piece, ends) => (packet, piece, ends),
        };
        let port = self.ports.get(entry.port).filter(|port| port.behind == Behind::Stack)?;
        let exit = straight(entry, port);
        let seen = self.seen(filter, &mut piece, ends.as_ref())?;
        // What is to be cut is not for here.
        let whole = piece.carried.reassembled.is_none();
        if !whole || (matches!(exit, Exit::Wire(_)) && piece.too_big(&packet, port.mtu)) {
            return None;
        }
        let out = filter.pass_untold(&mut packet, &offload.meta, seen, piece.carried, scratch)?;
        if out.verdict != Verdict::Pass || out.reroute || out.divert.is_some() || out.send_to.is_some() {
            // The engine shares no packet of these.
            return Some(Fate::Drop(Why::Filter));
        }
        let was = core::mem::replace(&mut piece.carried, out.carried).prio;
        if seen.dir == Direction::In {
            piece.carried.received_on = Some(piece.iface);
            let _ends = self.remember(filter, &packet, &piece, port);
        } else {
            piece.reprioritize(was);
        }
        let facts = piece.facts(&packet, piece.ether.len());
        if !piece.ether.put_before(&mut packet, piece.af) {
            return Some(Fate::Drop(Why::Room));
        }
        let (head, len) = (packet.headroom(), packet.len());
        Some(Fate::Pass(Going { exit, head, len, offload: facts, af: piece.af, delay: out.delay }))
    }
}
