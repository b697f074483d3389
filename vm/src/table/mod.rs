//! Address tables: longest-prefix match in both families, negated entries, counters, weights, pools.
//!
//! Holds [`Tables`], all tables of an engine in one arena of fixed capacity, taken when it is made. A lookup finds the
//! entry of the longest prefix; a negated one means that the table does not hold the address (F040). Entries have an
//! order (address, longer prefixes of one address first) that listing and pools share; pools themselves walk in
//! `nat`.
//!
//! **Invariant:** after [`Tables::new`] nothing allocates; a full arena refuses entries and changes nothing.
//! **Invariant:** every operation on one entry takes a bounded number of steps, whatever the table's size.
//!
//! Locks: none here. Lookups take `&self`, changes `&mut self`; evaluations are counted in atomics.
//!
//! Source: `pf_table.c`.

mod change;
mod count;
mod entry;
mod index;
mod stats;
mod tree;
mod weights;

pub use entry::{Changes, Counted, Entry, EntryView, Feedback, PacketCount, TableError};
pub use stats::{Counters, Op};
pub use weights::Weights;

use crate::rule::{Addr, Af};
use crate::state::pool::lengthen;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use index::{Index, Lengths, Owner};
use tree::{Arena, Link, Node, flag};

/// A table of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub u16);

/// Entries of a family from which on a table is asked by hash, when its prefix lengths are few.
const HASHED: u32 = 128;

/// Bits of an address.
const fn width(af: Af) -> u8 {
    match af {
        Af::Inet => 32,
        Af::Inet6 => 128,
    }
}

/// An address as a key.
pub(crate) const fn key_of(addr: &Addr) -> u128 {
    u128::from_be_bytes(addr.0)
}

/// A key as an address.
const fn unkey(key: u128) -> Addr {
    Addr(key.to_be_bytes())
}

/// One table.
#[derive(Debug)]
struct Table {
    used: bool,
    counting: bool,
    roots: [Link; 2],
    lengths: [Lengths; 2],
    negated: u32,
    weights: Weights,
    counters: Counters,
    matched: AtomicU64,
    unmatched: AtomicU64,
}

impl Table {
    const fn new() -> Self {
        Self {
            used: false,
            counting: false,
            roots: [Link::NIL; 2],
            lengths: [Lengths::NONE; 2],
            negated: 0,
            weights: Weights::NONE,
            counters: Counters::ZERO,
            matched: AtomicU64::new(0),
            unmatched: AtomicU64::new(0),
        }
    }

    fn root(&self, af: Af) -> Link {
        let [v4, v6] = self.roots;
        if af == Af::Inet { v4 } else { v6 }
    }

    fn lengths(&self, af: Af) -> &Lengths {
        let [v4, v6] = &self.lengths;
        if af == Af::Inet { v4 } else { v6 }
    }

    const fn lengths_mut(&mut self, af: Af) -> &mut Lengths {
        let [v4, v6] = &mut self.lengths;
        match af {
            Af::Inet => v4,
            Af::Inet6 => v6,
        }
    }

    const fn set_root(&mut self, af: Af, root: Link) {
        let [v4, v6] = self.roots;
        self.roots = match af {
            Af::Inet => [root, v6],
            Af::Inet6 => [v4, root],
        };
    }
}

/// All tables of an engine.
#[derive(Debug)]
pub struct Tables {
    tables: Vec<Table>,
    arena: Arena,
    index: Index,
    counters: Vec<Counters>,
    free_counters: Vec<u32>,
    /// Second each node's entry came in, or was zeroed.
    born: Vec<u32>,
    now: u32,
    used: u32,
    limit: u32,
    /// Entries there is room for.
    room: u32,
    /// Tables there may be.
    most: u32,
}

impl Tables {
    /// Room for `tables` tables with `entries` entries in all, `counted` of them with counters. `None` when memory is
    /// short.
    #[must_use]
    pub fn new(tables: u16, entries: u32, counted: u32) -> Option<Self> {
        let mut made = Self {
            tables: Vec::new(),
            arena: Arena::new(usize::try_from(entries).ok()?)?,
            index: Index::new(usize::try_from(entries).ok()?, (0, 0))?,
            counters: Vec::new(),
            free_counters: Vec::new(),
            born: Vec::new(),
            now: 0,
            used: 0,
            limit: entries,
            room: entries,
            most: tables.into(),
        };
        let nodes = usize::try_from(entries).ok()?.checked_mul(2)?;
        made.born.try_reserve_exact(nodes).ok()?;
        lengthen(&mut made.born, nodes, &0);
        made.tables.try_reserve_exact(usize::from(tables)).ok()?;
        let counted = usize::try_from(counted).ok()?;
        made.counters.try_reserve_exact(counted).ok()?;
        made.free_counters.try_reserve_exact(counted).ok()?;
        Some(made)
    }

    /// Makes room for `tables` tables with `entries` entries in all. Nothing else changes until [`Tables::set_limits`]; room
    /// once taken is kept. `None` when memory is short.
    #[must_use]
    pub fn grow(&mut self, tables: u16, entries: u32) -> Option<()> {
        let more = usize::from(tables).saturating_sub(self.tables.len());
        self.tables.try_reserve_exact(more).ok()?;
        let count = usize::try_from(entries).ok()?;
        if entries <= self.room {
            return Some(());
        }
        self.counters.try_reserve_exact(count.saturating_sub(self.counters.len())).ok()?;
        self.free_counters.try_reserve_exact(count.saturating_sub(self.free_counters.len())).ok()?;
        let nodes = count.checked_mul(2)?;
        self.born.try_reserve_exact(nodes.saturating_sub(self.born.len())).ok()?;
        self.index.grow(count)?;
        self.arena.grow(count)?;
        lengthen(&mut self.born, nodes, &0);
        self.room = self.room.max(entries);
        Some(())
    }

    /// Lowers the number of tables and entries there may be, or raises it as far as there is room. Those there are stay.
    pub fn set_limits(&mut self, tables: u32, entries: u32) {
        self.most = tables.min(u32::try_from(self.tables.capacity()).unwrap_or(u32::MAX));
        self.limit = entries.min(self.room);
    }

    /// Tables and entries there may be.
    #[must_use]
    pub const fn limits(&self) -> (u32, u32) {
        (self.most, self.limit)
    }

    /// Hashes under other keys. Nothing happens once there are entries.
    pub fn rekey(&mut self, keys: (u64, u64)) {
        if self.used == 0 {
            self.index.rekey(keys);
        }
    }

    /// Says what second it is, for the age of entries.
    pub const fn clock(&mut self, now: u32) {
        self.now = now;
    }

    /// Tables there are places for so far.
    #[must_use]
    pub fn slots(&self) -> u32 {
        u32::try_from(self.tables.len()).unwrap_or(u32::MAX)
    }

    /// Tables there may be.
    #[must_use]
    pub fn tables_limit(&self) -> u32 {
        u32::try_from(self.tables.capacity()).unwrap_or(u32::MAX)
    }

    /// Entries there is room for.
    #[must_use]
    pub const fn room(&self) -> u32 {
        self.room
    }

    /// Entries there may be.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether so many entries more find room.
    #[must_use]
    pub fn has_room_for(&self, more: u32) -> bool {
        let nodes = usize::try_from(more).ok().and_then(|n| n.checked_mul(2));
        more <= self.limit.saturating_sub(self.used) && nodes.is_some_and(|n| n <= self.arena.spare())
    }

    /// Says whether a table keeps counters for each entry.
    pub fn set_counting(&mut self, slot: Slot, counting: bool) {
        if let Some(t) = self.table_mut(slot) {
            t.counting = counting;
        }
    }

    /// Whether a table keeps counters for each entry.
    #[must_use]
    pub fn counting(&self, slot: Slot) -> bool {
        self.table(slot).is_some_and(|t| t.counting)
    }

    /// A new empty table; `counting` keeps counters for each entry.
    ///
    /// # Errors
    /// [`TableError::TooMany`].
    pub fn create(&mut self, counting: bool) -> Result<Slot, TableError> {
        let used = self.tables.iter().fold(0_u32, |n, t| n.saturating_add(t.used.into()));
        if used >= self.most {
            return Err(TableError::TooMany);
        }
        let at = match self.tables.iter().position(|t| !t.used) {
            Some(at) => at,
            None if self.tables.len() < self.tables.capacity() => {
                self.tables.push(Table::new());
                self.tables.len().saturating_sub(1)
            }
            None => return Err(TableError::TooMany),
        };
        let slot = Slot(u16::try_from(at).map_err(|_| TableError::TooMany)?);
        if let Some(table) = self.tables.get_mut(at) {
            *table = Table { used: true, counting, ..Table::new() };
        }
        Ok(slot)
    }

    /// Removes a table with its entries.
    pub fn destroy(&mut self, slot: Slot) {
        self.clear(slot);
        if let Some(table) = self.tables.get_mut(usize::from(slot.0)) {
            table.used = false;
        }
    }

    fn table(&self, slot: Slot) -> Option<&Table> {
        self.tables.get(usize::from(slot.0)).filter(|t| t.used)
    }

    fn table_mut(&mut self, slot: Slot) -> Option<&mut Table> {
        self.tables.get_mut(usize::from(slot.0)).filter(|t| t.used)
    }

    /// Entries of all tables.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.used
    }

    /// Entries of a table.
    #[must_use]
    pub fn len(&self, slot: Slot) -> u32 {
        self.len_of(slot, Af::Inet).saturating_add(self.len_of(slot, Af::Inet6))
    }

    /// Entries of a table and family.
    #[must_use]
    pub fn len_of(&self, slot: Slot, af: Af) -> u32 {
        self.table(slot).map_or(0, |t| self.arena.count(t.root(af)))
    }

    /// Whether a table holds nothing.
    #[must_use]
    pub fn is_empty(&self, slot: Slot) -> bool {
        self.len(slot) == 0
    }

    /// The entry of the longest prefix that covers an address, negated or not.
    #[must_use]
    pub fn lookup(&self, slot: Slot, af: Af, addr: &Addr) -> Option<EntryView> {
        let at = self.longest(slot, self.table(slot)?, af, addr)?;
        self.arena.get(at).map(|node| self.view(af, at, node))
    }

    /// Where the longest match is: by hash in large tables of few prefix lengths, else by trie.
    fn longest(&self, slot: Slot, table: &Table, af: Af, addr: &Addr) -> Option<Link> {
        let (root, key) = (table.root(af), key_of(addr));
        if self.arena.count(root) >= HASHED
            && let Some(mut few) = table.lengths(af).few()
        {
            let owner = Owner { slot: slot.0, af };
            return few.find_map(|len| {
                let key = key & tree::mask(len);
                let is = |at| self.arena.get(at).is_some_and(|n| n.key() == key && n.len() == len);
                self.index.find(owner, key, len, is)
            });
        }
        self.arena.longest(root, key, width(af))
    }

    /// Whether a table holds an address; the evaluation is counted (`pfr_match_addr`).
    #[must_use]
    pub fn holds(&self, slot: Slot, af: Af, addr: &Addr) -> bool {
        let Some(table) = self.table(slot) else { return false };
        let at = self.longest(slot, table, af, addr);
        let hit = at.and_then(|at| self.arena.get(at)).is_some_and(|n| n.flags & flag::NOT == 0);
        let counter = if hit { &table.matched } else { &table.unmatched };
        counter.fetch_add(1, Ordering::Relaxed);
        hit
    }

    /// The entry of exactly this network.
    #[must_use]
    pub fn find(&self, slot: Slot, af: Af, addr: &Addr, prefix: u8) -> Option<EntryView> {
        let at = self.exact(slot, af, addr, prefix)?;
        self.arena.get(at).map(|node| self.view(af, at, node))
    }

    fn exact(&self, slot: Slot, af: Af, addr: &Addr, prefix: u8) -> Option<Link> {
        let key = key_of(addr) & tree::mask(prefix);
        self.arena.exact(self.table(slot)?.root(af), key, prefix)
    }

    /// The `n`th entry of a family in the table's order.
    #[must_use]
    pub fn nth(&self, slot: Slot, af: Af, n: u32) -> Option<EntryView> {
        let at = self.arena.nth(self.table(slot)?.root(af), n)?;
        self.arena.get(at).map(|node| self.view(af, at, node))
    }

    /// The `n`th entry of a family that is not negated: what pools walk (`pfr_kentry_byidx`).
    #[must_use]
    pub fn nth_positive(&self, slot: Slot, af: Af, n: u32) -> Option<EntryView> {
        if self.table(slot)?.negated == 0 {
            return self.nth(slot, af, n);
        }
        let all = (0..self.len_of(slot, af)).filter_map(|i| self.nth(slot, af, i));
        all.filter(|e| !e.not).nth(usize::try_from(n).ok()?)
    }

    /// All entries in order, IPv4 first.
    pub fn entries(&self, slot: Slot) -> impl Iterator<Item = EntryView> + '_ {
        [Af::Inet, Af::Inet6]
            .into_iter()
            .flat_map(move |af| (0..self.len_of(slot, af)).filter_map(move |n| self.nth(slot, af, n)))
    }

    fn view(&self, af: Af, at: Link, node: &Node) -> EntryView {
        let counters = usize::try_from(node.counters).ok().and_then(|at| self.counters.get(at)).copied();
        EntryView {
            af,
            addr: unkey(node.key()),
            prefix: node.len(),
            not: node.flags & flag::NOT != 0,
            weight: if node.flags & flag::COST == 0 { 0 } else { node.weight },
            states: node.states,
            born: self.born.get(at.index()).copied().unwrap_or(0),
            counters,
        }
    }

    /// Weights of a table.
    #[must_use]
    pub fn weights(&self, slot: Slot) -> Weights {
        self.table(slot).map_or(Weights::NONE, |t| t.weights)
    }
}

#[cfg(test)]
mod tests;
