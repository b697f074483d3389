//! Rows of lists. Times are seconds; counters are pairs of in and out unless said otherwise.

use serde::{Deserialize, Serialize};

use super::request::Key;
use crate::rule::{Addr, Af, Direction, RouteKind};
use crate::state::record::StatePeer;

/// A ruleset there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesetRow<'a> {
    /// Its path; empty for the main one.
    pub path: &'a str,
    /// Rules it has.
    pub rules: u32,
    /// Tables that belong to it.
    pub tables: u32,
    /// Anchors right below it.
    pub children: u32,
    /// Whether it has rules of its own or only lies on the way to others.
    pub loaded: bool,
    /// Its number in the image that holds it, and the number of its first rule there.
    pub place: (u16, u32),
    /// Generation the image was loaded with.
    pub generation: u64,
}

/// Live figures of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRow {
    /// Its number in the image's section of rules.
    pub rule: u32,
    /// Its number in its ruleset.
    pub nr: u32,
    /// Stable across reloads.
    pub stable_id: u64,
    /// Times it was looked at.
    pub evaluations: u64,
    /// Packets.
    pub packets: [u64; 2],
    /// Bytes.
    pub bytes: [u64; 2],
    /// States there are.
    pub states: u32,
    /// States there ever were.
    pub states_total: u64,
    /// Source nodes there are.
    pub sources: u32,
    /// Second of 1970 it was loaded.
    pub inserted: u64,
    /// Who loaded it: user and process.
    pub by: (u32, u32),
    /// Whether it is a `once` rule that has matched.
    pub expired: bool,
}

/// Packets or bytes of a table or address: `[in, out][block, match, pass, xpass]`.
pub type Cells = [[u64; 4]; 2];

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRow<'a> {
    /// Path of its anchor.
    pub path: &'a str,
    /// Its name.
    pub name: &'a str,
    /// `image::TableFlags` of its definition.
    pub flags: u8,
    /// Whether it exists by a definition or by hand, not only by being named.
    pub active: bool,
    /// Whether rules name it.
    pub referenced: bool,
    /// Whether it follows an interface.
    pub dynamic: bool,
    /// Whether a table of the main ruleset stands behind it while it is not active, or an anchor's before it.
    pub shared: bool,
    /// Addresses.
    pub addresses: u32,
    /// References by rules, and by anchors to this table of the main ruleset.
    pub references: [u32; 2],
    /// Second of 1970 its counters were zeroed.
    pub cleared: u64,
    /// Evaluations that found the address, and those that did not.
    pub evaluations: [u64; 2],
    /// Packets.
    pub packets: Cells,
    /// Bytes.
    pub bytes: Cells,
}

/// What became of an address, one letter each (`PFR_FB_*`).
pub mod feedback {
    /// Nothing changed.
    pub const NONE: u8 = 0;
    /// There already with the other sign; left as it is.
    pub const CONFLICT: u8 = b'Y';
    /// Added.
    pub const ADDED: u8 = b'A';
    /// Deleted.
    pub const DELETED: u8 = b'D';
    /// Sign changed.
    pub const CHANGED: u8 = b'C';
    /// Its counters were zeroed.
    pub const CLEARED: u8 = b'Z';
    /// Held by the table (`test`).
    pub const MATCH: u8 = b'M';
    /// The same address twice in one request.
    pub const DUPLICATE: u8 = b'X';
    /// Held by a negated entry (`test`).
    pub const NOT_MATCH: u8 = b'N';
}

/// What became of an address of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackRow {
    /// See [`feedback`].
    pub code: u8,
    /// The entry that decided, of a test; the entry that went, of a replacement's deletions.
    pub entry: Option<(Af, Addr, u8, bool)>,
}

/// An address of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRow {
    /// Family.
    pub af: Af,
    /// Address, masked.
    pub addr: Addr,
    /// Prefix length.
    pub prefix: u8,
    /// Negated.
    pub not: bool,
    /// Weight, 0 when none was given.
    pub weight: u16,
    /// States counted on it.
    pub states: u32,
    /// Second of 1970 it came in, or its counters were zeroed.
    pub cleared: u64,
    /// Packets and bytes, where the table counts and something was counted.
    pub counters: Option<(Cells, Cells)>,
}

/// A state. Also what `-L` brings back: of an import, the fields marked † are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateRow<'a> {
    /// Its number †.
    pub id: u64,
    /// Host that made it †.
    pub creator: u32,
    /// The interface it is bound to, `all` when floating.
    pub iface: &'a str,
    /// Direction of its first packet.
    pub dir: Direction,
    /// As the interface sees it.
    pub wire: Key,
    /// As the host sees it.
    pub stack: Key,
    /// The side that sent the first packet.
    pub src: StatePeer,
    /// The other side.
    pub dst: StatePeer,
    /// Seconds since it was made.
    pub age: u32,
    /// Seconds it has left without another packet.
    pub expires: u32,
    /// What it waits for: place in [`Timeout::ALL`](crate::rule::Timeout::ALL); 255 for its removal.
    pub timeout: u8,
    /// Packets: with its direction, against it.
    pub packets: [u64; 2],
    /// Bytes, likewise.
    pub bytes: [u64; 2],
    /// Number of its rule in its ruleset, `u32::MAX` when it has none.
    pub rule: u32,
    /// The rule's stable number, 0 when it has none.
    pub stable_id: u64,
    /// Path of the rule's ruleset †, empty for the main one or when the program is gone.
    pub anchor: &'a str,
    /// Number of the anchor rule that called it †, `u32::MAX` when none did.
    pub anchor_rule: u32,
    /// Number of the rule that translated last †, `u32::MAX` when none did.
    pub nat_rule: u32,
    /// Whether its rule is in force †.
    pub live: bool,
    /// `PFSTATE_*`.
    pub flags: u16,
    /// What is logged, bits of `rule::LogFlags`.
    pub log: u8,
    /// Routing, and the next hop.
    pub route: Option<(RouteKind, Addr)>,
    /// Tag, empty for none.
    pub tag: &'a str,
    /// Source nodes it holds †: one bit a kind (limit, nat, rdr, route).
    pub sources: u8,
    /// Queues: ordinary, priority; `u16::MAX` for none.
    pub queue: [u16; 2],
    /// `scrub (max-mss)`.
    pub max_mss: u16,
    /// `set delay`.
    pub delay: u16,
    /// MSS the SYN proxy negotiates.
    pub mss: u16,
    /// `scrub (min-ttl)`.
    pub min_ttl: u8,
    /// `set tos`.
    pub set_tos: u8,
    /// `set prio`.
    pub prio: [u8; 2],
}

/// A source node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRow<'a> {
    /// Purpose: 0 limit, 1 nat-to, 2 rdr-to, 3 route.
    pub kind: u8,
    /// The source.
    pub source: (Af, Addr),
    /// The address a pool gave; all zero for a limit.
    pub given: (Af, Addr),
    /// States.
    pub states: u32,
    /// Connections.
    pub connections: u32,
    /// Their rate: events in seconds.
    pub rate: (u32, u32),
    /// Age.
    pub age: u32,
    /// Seconds it has left, 0 while it has states.
    pub expires: u32,
    /// Packets.
    pub packets: [u64; 2],
    /// Bytes.
    pub bytes: [u64; 2],
    /// Number of its rule in its ruleset, `u32::MAX` when it has none.
    pub rule: u32,
    /// Path of the rule's ruleset.
    pub anchor: &'a str,
}

/// An interface, or a group of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IfaceRow<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it is a group.
    pub group: bool,
    /// Whether it is there at all; rules may name what is not.
    pub present: bool,
    /// Whether its packets are not looked at.
    pub skip: bool,
    /// Packets: `[family][direction][passed or dropped]`.
    pub packets: [[[u64; 2]; 2]; 2],
    /// Bytes.
    pub bytes: [[[u64; 2]; 2]; 2],
    /// States bound to it, and rules that name it.
    pub references: [u32; 2],
    /// Second of 1970 its counters were zeroed.
    pub cleared: u64,
    /// Index, 0 for a group.
    pub index: u16,
}

/// A fingerprint, as the image carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrintRow {
    /// Packed class, version and subtype.
    pub os: u32,
    /// TCP options in order.
    pub options: u64,
    /// Window, packet size, MSS, flags.
    pub sizes: [u16; 4],
    /// Options counted, window scale, TTL.
    pub small: [u8; 3],
}

/// A fact about the host. Rows behind an interface belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FactRow<'a> {
    /// An interface.
    Iface {
        /// Index, not 0 and not 65 535.
        index: u16,
        /// Name.
        name: &'a str,
        /// `facts::flag` bits of the driver: loopback 1, up 2, broadcast 4, point-to-point 8.
        flags: u8,
        /// MTU.
        mtu: u32,
        /// Hardware address.
        mac: [u8; 6],
    },
    /// A group the interface is in.
    Group(&'a str),
    /// An address of the interface.
    Address {
        /// Family.
        af: Af,
        /// Address.
        addr: Addr,
        /// Prefix length of its network.
        prefix: u8,
        /// Broadcast address.
        broadcast: Option<Addr>,
        /// Other end of the link.
        peer: Option<Addr>,
    },
    /// A way of the routing table that leads out by the interface.
    Route {
        /// Family.
        af: Af,
        /// Network.
        addr: Addr,
        /// Its prefix length.
        prefix: u8,
        /// Next hop, none when the network is on the link.
        hop: Option<Addr>,
        /// The lower counts, among ways of one network.
        metric: u32,
    },
    /// A port the host itself uses.
    Port {
        /// Protocol.
        proto: u8,
        /// Port.
        port: u16,
    },
    /// Names with a star are patterns (Windows).
    Wildcards,
}
