//! Translation: which address and port a connection gets, and how a packet is rewritten to it.
//!
//! Holds the pools ([`pool`]), the choice of ports ([`ports`]), what a rule does to a description ([`transaddr`]),
//! the rewriting of headers with incremental checksums ([`rewrite`], [`icmp_error`]) and the change of family
//! ([`af`]). It knows state keys but no state
//! table: it asks through the traits below what is taken and what sticks.
//! **Invariant:** nothing here panics or allocates, and every loop has a bound that does not depend on the packet.
//! **Invariant:** checksums are only ever updated by what changed; a wrong one stays wrong.
//!
//! Source: OpenBSD 7.8 `sys/net/pf_lb.c`, `sys/net/pf.c` (`pf_translate*`, `pf_change_icmp_af`), RFC 6052, RFC 6145.

pub mod addr;
pub mod af;
pub mod icmp_af;
pub mod icmp_error;
pub mod pool;
pub mod ports;
pub mod rewrite;
pub mod rfc6052;
pub mod transaddr;
mod walk;

use crate::host::Random;
use crate::rule::{Addr, Af, RuleId, TableId};
use crate::state::key::{KeySide, StateKey};
use crate::state::srcnode::SrcKind;

/// What is taken already.
pub trait KeyFree {
    /// Whether some state has this key on this side (`pf_find_state_all`).
    fn taken(&self, key: &StateKey, side: KeySide) -> bool;

    /// Whether the host itself uses this port of this protocol, or wants it left alone (`in_baddynamic`).
    fn reserved(&self, proto: u8, port: u16) -> bool;
}

/// What a pool needs to know of a table as a whole (`struct pfr_ktable`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableFacts {
    /// Number of entries of both families, negated ones included.
    pub count: u32,
    /// Whether any entry has a weight; the two below count only then.
    pub weighted: bool,
    /// Greatest common divisor of the weights.
    pub gcd: u16,
    /// Largest weight.
    pub max: u16,
}

/// One entry of a table, as a pool uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Address, masked.
    pub addr: Addr,
    /// Prefix length in bits of the family.
    pub prefix: u8,
    /// Whether it excludes (`!`).
    pub negated: bool,
    /// Weight, 1 when it has none.
    pub weight: u16,
    /// States that use it, where `least-states` counts them.
    pub states: u64,
}

/// The tables pools pick from.
pub trait Tables {
    /// The table as a whole; `None` when it is not active.
    fn facts(&self, table: TableId) -> Option<TableFacts>;

    /// Entry number `index` of a family among those not negated, in order of address, longer prefixes first.
    fn entry(&self, table: TableId, af: Af, index: u32) -> Option<Entry>;

    /// The entry with the longest prefix that holds an address, negated or not.
    fn longest(&self, table: TableId, af: Af, addr: &Addr) -> Option<Entry>;

    /// Counts a pool's look-up in the table: found or not.
    fn looked_up(&mut self, table: TableId, found: bool);

    /// Adds one state to, or takes one from, the host entry of an address. `false` when there is no such entry.
    fn count_state(&mut self, table: TableId, af: Af, addr: &Addr, add: bool) -> bool;

    /// Whether a table holds an address (`pfr_kentry_byaddr`, not exact).
    fn holds(&self, table: TableId, af: Af, addr: &Addr) -> bool {
        self.longest(table, af, addr).is_some_and(|e| !e.negated)
    }
}

/// Memory of which source got which address (`sticky-address`).
///
/// The implementation holds at most one node of each kind for the packet at hand (pf's `sns[]`), which the state
/// made from the packet will refer to.
pub trait SourceNodes {
    /// Whether a node of this kind is held for this packet.
    fn held(&self, kind: SrcKind) -> bool;

    /// Searches the node of a source for a rule, counts the search and holds what it finds. Answers the address it
    /// was given, which is all zeros when none was.
    fn find(&mut self, af: Af, kind: SrcKind, rule: RuleId, source: &Addr) -> Option<Addr>;

    /// The held node's address is no longer in the pool: takes the node from its states, removes it, holds none.
    fn stale(&mut self, kind: SrcKind);

    /// Lets go of a held node (which is removed when no state uses it), makes a new one and holds it.
    /// `false` when a limit forbids.
    fn insert(&mut self, af: Af, kind: SrcKind, rule: RuleId, source: &Addr, to: &Addr) -> bool;
}

/// All that translation asks of its surroundings.
pub trait Env: Random + KeyFree + Tables + SourceNodes {}
impl<T: Random + KeyFree + Tables + SourceNodes + ?Sized> Env for T {}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
