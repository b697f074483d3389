//! What travels with one packet through the engine.

use crate::engine::order::{Ahead, Sought};
use crate::engine::outcome::Nested;
use crate::host::Host;
use crate::osfp::Looks;
use crate::packet::{DropReason, Packet, PacketDesc, PktMeta};
use crate::rule::LogFlags;
use crate::state::record::{NONE, SRC_NODE_KINDS};
use crate::state::srcnode::SrcKind;

/// What is to become of a packet while the engine works on it (`PF_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Goes on.
    Pass,
    /// Ends here.
    Drop,
    /// Was taken by the SYN proxy.
    Synproxy,
    /// Goes on in the other family.
    AfTo,
    /// Goes to a diversion socket.
    Divert,
}

impl Action {
    /// The name stories and traces give it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Synproxy => "synproxy-drop",
            Self::AfTo => "af-rt",
            Self::Divert => "divert",
        }
    }
}

/// One packet on its way.
#[derive(Debug)]
pub struct Cx<'c, 'p, H> {
    /// The packet.
    pub pkt: &'c mut Packet<'p>,
    /// Its offload facts.
    pub meta: &'c PktMeta,
    /// Its description.
    pub pd: &'c mut PacketDesc,
    /// What is known of its state.
    pub(super) sought: &'c mut Sought,
    /// The host.
    pub host: &'c mut H,
    /// The second it is.
    pub now: u32,
    /// The reason its log record shows.
    pub reason: DropReason,
    /// Its state.
    pub state: Option<u32>,
    /// The rule that decides, a place in the book.
    pub rule: u32,
    /// The anchor rule it was called by.
    pub anchor: Option<u32>,
    /// Whether its destination changed.
    pub redirected: bool,
    /// What its state asks to be recorded.
    pub log: LogFlags,
    /// Log records made about it.
    pub logs: u8,
    /// Whether it is logged whatever the rules say.
    pub log_forced: bool,
    /// A decision made on the way.
    pub nested: Option<Nested>,
    /// What the packet looks like, once that was asked.
    pub looks: Option<Looks>,
    /// Source nodes held for the state to be made, by [`SrcKind`].
    pub nodes: [u32; SRC_NODE_KINDS],
}

impl<'c, 'p, H: Host> Cx<'c, 'p, H> {
    /// Begins with a described packet.
    pub(super) fn new(
        pkt: &'c mut Packet<'p>,
        meta: &'c PktMeta,
        ahead: &'c mut Ahead,
        host: &'c mut H,
        rule: u32,
    ) -> Self {
        let now = seconds(host.now_ms());
        let Ahead { pd, sought, .. } = ahead;
        Self {
            pkt,
            meta,
            pd,
            sought,
            host,
            now,
            reason: DropReason::Match,
            state: None,
            rule,
            anchor: None,
            redirected: false,
            log: LogFlags::default(),
            logs: 0,
            log_forced: false,
            nested: None,
            looks: None,
            nodes: [NONE; SRC_NODE_KINDS],
        }
    }
}

/// The place of a kind of source node.
#[must_use]
pub fn node_of(nodes: &mut [u32; SRC_NODE_KINDS], kind: SrcKind) -> &mut u32 {
    let [limit, nat, rdr, route] = nodes;
    match kind {
        SrcKind::Limit => limit,
        SrcKind::Nat => nat,
        SrcKind::Rdr => rdr,
        SrcKind::Route => route,
    }
}

/// Whole seconds, as pf counts time.
#[must_use]
pub fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX)
}
