//! The seam between a capture and what decides its packets.
//!
//! Holds [`Decider`], what it is shown ([`Sighting`]) and what it answers ([`Ruling`]). The rules alone and the whole
//! engine with its states are two deciders; replay and reports know neither.

use pfvm::packet::{DropReason, PktMeta};
use pfvm::rule::{Af, Direction};

/// A packet at an interface.
#[derive(Debug)]
pub struct Sighting<'a> {
    /// The packet, from its IP header to its end.
    pub packet: &'a mut Vec<u8>,
    /// Offload facts.
    pub meta: PktMeta,
    /// Family.
    pub af: Af,
    /// Direction.
    pub dir: Direction,
    /// On its way out of a host that forwards it.
    pub forwarded: bool,
    /// Interface name.
    pub iface: &'a str,
    /// Nanoseconds since 1970.
    pub time: u64,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It ends here.
    Block,
    /// The engine keeps it (a fragment, until the rest is there) or has answered it (a proxied handshake).
    Hold,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum By {
    /// The rule with this place in [`Decider::rules`].
    Rule(usize),
    /// No rule matched: pf passes.
    Default,
    /// A state, made by the rule with this place, when that is known.
    State(Option<usize>),
    /// The packet never reached the rules: refused by its headers, or held (a fragment waiting for the rest).
    Engine,
    /// The interface is skipped (`set skip on`).
    Skip,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Verdict.
    pub verdict: Verdict,
    /// Reason; `match` for all that rules decide.
    pub reason: DropReason,
    /// What decided.
    pub by: By,
    /// Whether a rule asks for it to be logged.
    pub log: bool,
}

/// A rule as reports name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleRow {
    /// Number within its ruleset.
    pub nr: u32,
    /// Anchor path, empty for the main ruleset.
    pub anchor: String,
    /// Canonical text.
    pub text: String,
    /// Label, empty when none.
    pub label: String,
    /// File.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
}

impl RuleRow {
    /// `file:line`, as reports print it.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// Decides packets one after the other.
pub trait Decider {
    /// Decides one packet and rewrites it where the rules say so.
    fn decide(&mut self, seen: &mut Sighting<'_>) -> Ruling;

    /// Every rule, in the order of [`By::Rule`].
    fn rules(&self) -> &[RuleRow];

    /// The state table as pfctl prints it, where there is one.
    fn states(&self, _verbose: u8) -> Option<String> {
        None
    }

    /// Lines about what this decider did besides, or leaves out.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}
