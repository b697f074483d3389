//! What becomes of a packet, for the edge to carry out.

use crate::engine::cx::Action;
use crate::nat::addr::is_loopback;
use crate::norm::frag::FragTag;
use crate::packet::{DropReason, PacketDesc};
use crate::rule::{Addr, Direction, Divert, RouteKind};

/// The verdict the edge acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet goes on, rewritten as it stands.
    Pass,
    /// It ends here.
    Drop,
    /// The engine keeps it (a fragment) or has answered it (a proxied handshake).
    Consumed,
    /// It goes on in the other family, to be routed anew and not filtered again.
    Reroute,
    /// It goes to a diversion socket of this port, and comes back not to be filtered again.
    Divert(u16),
}

/// Facts a packet carries through the host's stack, from in to out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Tag, 0 for none.
    pub tag: u16,
    /// Priority, 0–7.
    pub prio: u8,
    /// Interface it came in by.
    pub received_on: Option<u16>,
    /// The filter made it, or has sent it on: not filtered again.
    pub generated: bool,
    /// It comes back from a diversion socket: not filtered again.
    pub diverted: bool,
    /// How to cut a reassembled IPv6 packet again when it is forwarded.
    pub reassembled: Option<FragTag>,
    /// User and group of its socket, when known.
    pub owner: Option<(u32, u32)>,
}

impl Carried {
    /// What a packet carries on that is not looked at.
    pub(super) const fn pass_unseen(&mut self) {
        self.diverted &= self.generated;
    }
}

/// Where in the lent room a reassembled packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Offset of its first byte.
    pub at: usize,
    /// Its length.
    pub len: usize,
}

/// Where a packet is to be sent instead of where the host's routing would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendTo {
    /// Which of the three.
    pub kind: RouteKind,
    /// Next hop.
    pub hop: Addr,
}

/// A decision made on the way to another one: about the SYN that a cookie stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nested {
    /// What the engine made of it; `None` when it was not looked at.
    pub action: Option<Action>,
    /// The reason its log record shows.
    pub reason: DropReason,
    /// The rule that decided.
    pub rule: u32,
    /// The anchor rule it was called by.
    pub anchor: Option<u32>,
    /// The state it made.
    pub state: Option<u32>,
}

/// What the engine decided about one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What to do.
    pub verdict: Verdict,
    /// What the engine made of it, in pf's terms; `None` when the packet was not looked at.
    pub action: Option<Action>,
    /// The reason its log record shows.
    pub reason: DropReason,
    /// The rule that decided, a place in the rule book.
    pub rule: u32,
    /// The anchor rule it was called by, likewise.
    pub anchor: Option<u32>,
    /// Its state.
    pub state: Option<u32>,
    /// What it carries on.
    pub carried: Carried,
    /// `set delay`, milliseconds.
    pub delay: u16,
    /// Routing table asked for.
    pub rtable: Option<u8>,
    /// Diversion to a local socket.
    pub divert: Option<Divert>,
    /// Its destination changed to a loopback address: sockets bound to loopback alone are not to take it.
    pub to_loopback: bool,
    /// Its destination changed on the way out: route it anew.
    pub reroute: bool,
    /// `route-to` and its like.
    pub send_to: Option<SendTo>,
    /// Queue.
    pub queue: Option<u16>,
    /// Whether the host was given log records about it.
    pub logged: bool,
    /// A decision that came before.
    pub nested: Option<Nested>,
    /// Whether the packet is now the reassembled one, in the room the caller lent.
    pub replaced: Option<Replaced>,
}

impl Outcome {
    /// A packet that is not looked at.
    #[must_use]
    #[inline]
    pub const fn untouched(rule: u32, carried: Carried) -> Self {
        Self {
            verdict: Verdict::Pass,
            action: None,
            reason: DropReason::Match,
            rule,
            anchor: None,
            state: None,
            carried,
            delay: 0,
            rtable: None,
            divert: None,
            to_loopback: false,
            reroute: false,
            send_to: None,
            queue: None,
            logged: false,
            nested: None,
            replaced: None,
        }
    }

    /// What follows when the packet's destination changed.
    #[inline]
    pub(super) fn redirect(&mut self, redirected: bool, pd: &PacketDesc) {
        self.to_loopback = redirected && is_loopback(pd.af, &pd.dst);
        self.reroute = redirected && pd.dir == Direction::Out;
    }
}
