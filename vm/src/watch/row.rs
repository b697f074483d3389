//! Rows of logs and traces as they cross the line between driver and reader.
//!
//! **Invariant:** numbers are pf's (`PFRES_*`, rule numbers, `u32::MAX` for none), addresses in network order, ports
//! in host order, times in milliseconds of the host's clock: the page that carries the rows says what it is now.

use serde::{Deserialize, Serialize};

use crate::rule::{Addr, Af, Direction};
use crate::watch::Action;

/// One log record (`struct pfloghdr` and the first bytes of the packet).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRow<'a> {
    /// Its number, counted since the log was made.
    pub seq: u64,
    /// When.
    pub ms: u64,
    /// Generation of the rules that decided.
    pub generation: u64,
    /// The rule's id that is stable across loads; 0 for the default rule.
    pub stable_id: u64,
    /// Which pflog interface.
    pub log_if: u8,
    /// Family the packet came in.
    pub af: Af,
    /// Family it left in.
    pub naf: Af,
    /// What the rule says, or what became of it.
    pub action: Action,
    /// `PFRES_*`.
    pub reason: u8,
    /// Direction.
    pub dir: Direction,
    /// Number of the rule, or of the anchor rule it was called by.
    pub rule: u32,
    /// Number within the anchor, `u32::MAX` for none.
    pub subrule: u32,
    /// User of the socket, `u32::MAX` when not known.
    pub uid: u32,
    /// Its process, `u32::MAX` when not known.
    pub pid: u32,
    /// User who loaded the rule, `u32::MAX` when not known.
    pub rule_uid: u32,
    /// Process that loaded the rule.
    pub rule_pid: u32,
    /// Source as translated when the record was made, in the family it left in.
    pub src: (Addr, u16),
    /// Destination, likewise.
    pub dst: (Addr, u16),
    /// Length of the packet.
    pub len: u32,
    /// Interface.
    pub iface: &'a str,
    /// Path of the anchor the rule stands in, empty for the main ruleset.
    pub anchor: &'a str,
    /// Label, when the rule is still in force.
    pub label: &'a str,
    /// File the rule stands in, likewise.
    pub file: &'a str,
    /// Line, 0 when not known.
    pub line: u32,
    /// The packet's first bytes, from its IP header, as it stood when the record was made: a translation that was chosen
    /// may not be in them yet.
    pub bytes: &'a [u8],
}

/// What decided a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// The last rule that matched.
    Rule,
    /// No rule matched, and pf passes then.
    Default,
    /// A state there was.
    State,
    /// The packet never came to the rules.
    Engine,
    /// The interface is skipped, or the filter is off.
    Skip,
}

/// One traced packet; its [`MetRow`]s follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRow<'a> {
    /// Its number, counted since the trace was made.
    pub seq: u64,
    /// When.
    pub ms: u64,
    /// Generation of the rules that decided.
    pub generation: u64,
    /// Direction.
    pub dir: Direction,
    /// Whether a forwarded packet on its way out.
    pub forwarded: bool,
    /// Family it came in.
    pub af: Af,
    /// Family it leaves in.
    pub naf: Af,
    /// Protocol.
    pub proto: u8,
    /// Source and destination as the packet came.
    pub ends: ((Addr, u16), (Addr, u16)),
    /// Source and destination as it leaves.
    pub to: ((Addr, u16), (Addr, u16)),
    /// TCP flags; of ICMP, type and code.
    pub detail: u16,
    /// Whether a fragment, its offset in bytes, and whether more follow.
    pub fragment: Option<(u16, bool)>,
    /// Length of the packet.
    pub len: u32,
    /// Whether it went on.
    pub passed: bool,
    /// What decided.
    pub by: By,
    /// `PFRES_*`.
    pub reason: u8,
    /// Whether it was logged.
    pub logged: bool,
    /// Whether this packet made its state.
    pub created: bool,
    /// Progress of its state's two sides, where it has one.
    pub state: Option<[u8; 2]>,
    /// Interface.
    pub iface: &'a str,
    /// How many rows of rules follow.
    pub met: u16,
    /// Rules that matched and found no room.
    pub unseen: u16,
}

/// How a rule was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetKind {
    /// It matched, and a later one may decide.
    Matches,
    /// A `match` rule: its options apply.
    Applies,
    /// An anchor rule whose anchor was entered.
    Enters,
    /// It decides.
    Decides,
    /// It made the state that decides.
    Made,
}

/// One rule on a traced packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetRow<'a> {
    /// How.
    pub kind: MetKind,
    /// What it says.
    pub action: Action,
    /// Stable id; 0 for the default rule.
    pub stable_id: u64,
    /// Number within its ruleset.
    pub nr: u32,
    /// Path of its ruleset.
    pub anchor: &'a str,
    /// Canonical text.
    pub text: &'a str,
    /// Label.
    pub label: &'a str,
    /// File.
    pub file: &'a str,
    /// Line, 0 when the rule is no longer in force.
    pub line: u32,
}
