//! Entries: as they come, as they stand, and what is said of their changes.

use super::stats::{Counters, Op};
use super::{key_of, tree, width};
use crate::rule::{Addr, Af, Direction};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCount {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A network in a table, or to be put into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Family.
    pub af: Af,
    /// Address; bits beyond the prefix do not count.
    pub addr: Addr,
    /// Prefix length, bits.
    pub prefix: u8,
    /// Negated.
    pub not: bool,
    /// Weight, 0 when none is given.
    pub weight: u16,
}

impl Entry {
    /// A plain entry.
    #[must_use]
    pub const fn new(af: Af, addr: Addr, prefix: u8) -> Self {
        Self { af, addr, prefix, not: false, weight: 0 }
    }

    /// A single address.
    #[must_use]
    pub const fn host(af: Af, addr: Addr) -> Self {
        Self::new(af, addr, width(af))
    }
}

/// An entry as it stands in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// Family.
    pub af: Af,
    /// Address, masked.
    pub addr: Addr,
    /// Prefix length, bits.
    pub prefix: u8,
    /// Negated.
    pub not: bool,
    /// Weight, 0 when none was given.
    pub weight: u16,
    /// States counted on it.
    pub states: u32,
    /// Second it came in, or its counters were zeroed.
    pub born: u32,
    /// Its counters, when it has been counted.
    pub counters: Option<Counters>,
}

impl EntryView {
    /// Whether it is a single address.
    #[must_use]
    pub const fn is_host(&self) -> bool {
        self.prefix == width(self.af)
    }

    /// Whether an address lies in it.
    #[must_use]
    pub fn covers(&self, addr: &Addr) -> bool {
        (key_of(addr) ^ key_of(&self.addr)) & tree::mask(self.prefix) == 0
    }
}

/// What became of an entry to be added, deleted or tested (`PFR_FB_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// Nothing: it was there (adding), or was not (deleting).
    None,
    /// Added.
    Added,
    /// Deleted.
    Deleted,
    /// There, but with the other sign; left as it is.
    Conflict,
    /// There with the other sign; changed.
    Changed,
}

/// Why a table could not take an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// `set limit table-entries` is reached.
    #[error("the tables are full")]
    Full,
    /// `set limit tables` is reached.
    #[error("there are too many tables")]
    TooMany,
    /// There is no such table.
    #[error("no such table")]
    NoTable,
    /// A prefix longer than an address.
    #[error("the prefix is longer than the address")]
    Prefix,
}

/// A packet to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Direction.
    pub dir: Direction,
    /// What the rule did.
    pub op: Op,
    /// Whether the rule names the table negated.
    pub not: bool,
    /// Length.
    pub bytes: u32,
}

/// What a replacement changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Entries added.
    pub added: u32,
    /// Entries deleted.
    pub deleted: u32,
    /// Entries whose sign changed.
    pub changed: u32,
}
