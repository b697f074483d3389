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

mod index;
mod stats;
mod tree;

pub use stats::{Counters, Op};

use crate::rule::{Addr, Af, Direction};
use crate::state::pool::lengthen;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use index::{Index, Lengths, Owner};
use tree::{Arena, Fresh, Link, Node, flag};

/// A table of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub u16);

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

/// Weights of a table, for weighted pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Entries with a weight given.
    pub cost_entries: u32,
    /// Greatest common divisor of the weights, 0 when there are none.
    pub gcd: u16,
    /// Largest weight.
    pub max: u16,
}

impl Weights {
    const NONE: Self = Self { cost_entries: 0, gcd: 0, max: 1 };

    /// Takes a new entry into account (`pfr_ktable_winfo_update`): entries older than the first weighted one are not.
    fn add(&mut self, fresh: &Fresh) {
        if fresh.flags & flag::COST != 0 {
            self.cost_entries = self.cost_entries.saturating_add(1);
        }
        if self.cost_entries > 0 {
            self.gcd = gcd(fresh.weight, if self.gcd == 0 { fresh.weight } else { self.gcd });
            self.max = self.max.max(fresh.weight);
        }
    }
}

/// Greatest common divisor.
const fn gcd(a: u16, b: u16) -> u16 {
    let (mut a, mut b) = (a, b);
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a
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

    /// Adds an entry (`pfr_add_addrs`).
    ///
    /// # Errors
    /// No table, a bad prefix, or no room; nothing has changed.
    pub fn add(&mut self, slot: Slot, entry: &Entry) -> Result<Feedback, TableError> {
        if entry.prefix > width(entry.af) {
            return Err(TableError::Prefix);
        }
        let root = self.table(slot).ok_or(TableError::NoTable)?.root(entry.af);
        let key = key_of(&entry.addr) & tree::mask(entry.prefix);
        if let Some(node) = self.arena.exact(root, key, entry.prefix).and_then(|at| self.arena.get(at)) {
            let same = (node.flags & flag::NOT != 0) == entry.not;
            return Ok(if same { Feedback::None } else { Feedback::Conflict });
        }
        if self.used >= self.limit {
            return Err(TableError::Full);
        }
        let not = if entry.not { flag::NOT } else { 0 };
        let cost = if entry.weight == 0 { 0 } else { flag::COST };
        let fresh = Fresh { flags: not | cost, weight: entry.weight.max(1) };
        let (root, link) = self.arena.insert(root, key, entry.prefix, fresh).ok_or(TableError::Full)?;
        self.index.insert(Owner { slot: slot.0, af: entry.af }, key, entry.prefix, link);
        self.bear(link);
        if let Some(table) = self.table_mut(slot) {
            table.set_root(entry.af, root);
            table.lengths_mut(entry.af).add(entry.prefix);
            table.weights.add(&fresh);
            table.negated = table.negated.saturating_add(u32::from(entry.not));
        }
        self.used = self.used.saturating_add(1);
        Ok(Feedback::Added)
    }

    /// Deletes an entry (`pfr_del_addrs`); one of the other sign stays.
    ///
    /// # Errors
    /// No table.
    pub fn delete(&mut self, slot: Slot, entry: &Entry) -> Result<Feedback, TableError> {
        self.table(slot).ok_or(TableError::NoTable)?;
        let found = self.exact(slot, entry.af, &entry.addr, entry.prefix);
        let Some(node) = found.and_then(|at| self.arena.get(at)).copied() else { return Ok(Feedback::None) };
        if (node.flags & flag::NOT != 0) != entry.not {
            return Ok(Feedback::Conflict);
        }
        self.unroute(slot, entry.af, &node);
        self.reweigh(slot);
        Ok(Feedback::Deleted)
    }

    fn unroute(&mut self, slot: Slot, af: Af, node: &Node) {
        let Some(root) = self.table(slot).map(|t| t.root(af)) else { return };
        if let Some(link) = self.arena.exact(root, node.key(), node.len()) {
            self.index.remove(Owner { slot: slot.0, af }, node.key(), node.len(), link);
        }
        let root = self.arena.remove(root, node.key(), node.len());
        self.free_counter(node.counters);
        self.used = self.used.saturating_sub(1);
        if let Some(table) = self.table_mut(slot) {
            table.set_root(af, root);
            table.lengths_mut(af).remove(node.len());
            table.negated = table.negated.saturating_sub(u32::from(node.flags & flag::NOT != 0));
            if node.flags & flag::COST != 0 {
                table.weights.cost_entries = table.weights.cost_entries.saturating_sub(1);
            }
        }
    }

    /// Computes the weights anew after deletions.
    fn reweigh(&mut self, slot: Slot) {
        let Some(cost) = self.table(slot).map(|t| t.weights.cost_entries) else { return };
        if cost == 0 {
            if let Some(table) = self.table_mut(slot) {
                table.weights = Weights::NONE;
            }
            return;
        }
        let mut weights = Weights::NONE;
        weights.cost_entries = cost;
        for entry in self.entries(slot) {
            weights.add(&Fresh { flags: 0, weight: entry.weight.max(1) });
        }
        if let Some(table) = self.table_mut(slot) {
            table.weights = weights;
        }
    }

    /// Makes a table hold exactly these entries (`pfr_set_addrs`); entries that stay keep their counters.
    ///
    /// # Errors
    /// No table, a bad prefix, or no room; nothing has changed.
    pub fn replace(&mut self, slot: Slot, entries: &[Entry]) -> Result<Changes, TableError> {
        self.table(slot).ok_or(TableError::NoTable)?;
        if entries.iter().any(|e| e.prefix > width(e.af)) {
            return Err(TableError::Prefix);
        }
        let new = crate::count::of(entries.iter().filter(|e| self.exact(slot, e.af, &e.addr, e.prefix).is_none()));
        let room = usize::try_from(self.limit.saturating_sub(self.used)).unwrap_or(0);
        if new > room || new.saturating_mul(2) > self.arena.spare() {
            return Err(TableError::Full);
        }
        let (mut changes, mut reweigh) = (Changes::default(), false);
        for entry in entries {
            let before = self.exact(slot, entry.af, &entry.addr, entry.prefix);
            if before.is_none() {
                self.add(slot, entry)?;
                changes.added = changes.added.saturating_add(1);
            }
            let at = self.exact(slot, entry.af, &entry.addr, entry.prefix);
            let Some(node) = at.and_then(|at| self.arena.get_mut(at)) else { continue };
            let mut flipped = false;
            let differs = (node.flags & flag::NOT != 0) != entry.not;
            // The first of several entries of one network counts.
            if differs && node.flags & flag::MARK == 0 {
                node.flags ^= flag::NOT;
                flipped = true;
                changes.changed = changes.changed.saturating_add(1);
            }
            // What was there keeps its weight, as in pf.
            node.flags |= flag::MARK;
            reweigh |= before.is_some();
            let Some(table) = self.table_mut(slot) else { continue };
            if flipped {
                let n = table.negated;
                table.negated = if entry.not { n.saturating_add(1) } else { n.saturating_sub(1) };
            }
        }
        changes.deleted = self.sweep(slot);
        if reweigh || changes.deleted > 0 {
            self.reweigh(slot);
        }
        Ok(changes)
    }

    /// Deletes what carries no mark, and the marks.
    fn sweep(&mut self, slot: Slot) -> u32 {
        let mut deleted = 0_u32;
        for af in [Af::Inet, Af::Inet6] {
            let mut n = 0_u32;
            while let Some(at) = self.table(slot).and_then(|t| self.arena.nth(t.root(af), n)) {
                let Some(node) = self.arena.get_mut(at) else { break };
                if node.flags & flag::MARK != 0 {
                    node.flags &= !flag::MARK;
                    n = n.saturating_add(1);
                    continue;
                }
                let node = *node;
                self.unroute(slot, af, &node);
                deleted = deleted.saturating_add(1);
            }
        }
        deleted
    }

    /// Deletes all entries of a table; how many there were.
    pub fn clear(&mut self, slot: Slot) -> u32 {
        let all = self.len(slot);
        let Some(table) = self.tables.get_mut(usize::from(slot.0)).filter(|t| t.used) else { return 0 };
        let roots = core::mem::replace(&mut table.roots, [Link::NIL; 2]);
        table.weights = Weights::NONE;
        table.negated = 0;
        table.lengths = [Lengths::NONE; 2];
        for (root, af) in roots.into_iter().zip([Af::Inet, Af::Inet6]) {
            let (free, index) = (&mut self.free_counters, &mut self.index);
            let owner = Owner { slot: slot.0, af };
            self.arena.clear(root, |link, node| {
                index.remove(owner, node.key(), node.len(), link);
                if node.counters != u32::MAX && free.len() < free.capacity() {
                    free.push(node.counters);
                }
            });
        }
        self.used = self.used.saturating_sub(all);
        all
    }

    /// Notes the second of an entry.
    fn bear(&mut self, at: Link) {
        let now = self.now;
        if let Some(b) = self.born.get_mut(at.index()) {
            *b = now;
        }
    }

    fn free_counter(&mut self, at: u32) {
        if at != u32::MAX && self.free_counters.len() < self.free_counters.capacity() {
            self.free_counters.push(at);
        }
    }

    fn take_counter(&mut self) -> Option<u32> {
        if let Some(at) = self.free_counters.pop() {
            if let Some(c) = usize::try_from(at).ok().and_then(|i| self.counters.get_mut(i)) {
                *c = Counters::ZERO;
            }
            return Some(at);
        }
        if self.counters.len() == self.counters.capacity() {
            return None;
        }
        self.counters.push(Counters::ZERO);
        u32::try_from(self.counters.len().saturating_sub(1)).ok()
    }

    /// Counts a packet on a table and, where it keeps counters, on the entry of an address (`pfr_update_stats`).
    pub fn count(&mut self, slot: Slot, af: Af, addr: &Addr, packet: Counted) {
        let Counted { dir, op, not, bytes } = packet;
        let Some(table) = self.table(slot) else { return };
        let counting = table.counting;
        let at = self.longest(slot, table, af, addr);
        let node = at.and_then(|at| self.arena.get(at)).copied();
        let outside = node.is_none_or(|n| n.flags & flag::NOT != 0);
        let op = if outside == not { op } else { Op::XPass };
        if let Some(table) = self.table_mut(slot) {
            table.counters.add(dir, op, bytes);
        }
        let (Some(node), Some(at), true) = (node, at, counting && op != Op::XPass) else { return };
        let place = if node.counters == u32::MAX { self.take_counter() } else { Some(node.counters) };
        let Some(place) = place else { return };
        if let Some(n) = self.arena.get_mut(at) {
            n.counters = place;
        }
        if let Some(c) = usize::try_from(place).ok().and_then(|i| self.counters.get_mut(i)) {
            c.add(dir, op, bytes);
        }
    }

    /// Counters of a table.
    #[must_use]
    pub fn counters(&self, slot: Slot) -> Counters {
        self.table(slot).map_or(Counters::ZERO, |t| t.counters)
    }

    /// Evaluations of a table: those that matched and those that did not.
    #[must_use]
    pub fn evaluations(&self, slot: Slot) -> (u64, u64) {
        self.table(slot).map_or((0, 0), |t| (t.matched.load(Ordering::Relaxed), t.unmatched.load(Ordering::Relaxed)))
    }

    /// Notes an evaluation by a pool (`pfrkt_match`, `pfrkt_nomatch`).
    pub fn note(&self, slot: Slot, hit: bool) {
        if let Some(t) = self.table(slot) {
            (if hit { &t.matched } else { &t.unmatched }).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Zeroes the counters of a table and, with `entries`, of its entries.
    pub fn zero(&mut self, slot: Slot, entries: bool) {
        if let Some(table) = self.table_mut(slot) {
            table.counters = Counters::ZERO;
            table.matched = AtomicU64::new(0);
            table.unmatched = AtomicU64::new(0);
        }
        if !entries {
            return;
        }
        for af in [Af::Inet, Af::Inet6] {
            for n in 0..self.len_of(slot, af) {
                let at = self.table(slot).and_then(|t| self.arena.nth(t.root(af), n));
                self.zero_at(at);
            }
        }
    }

    /// Zeroes the counters of one entry; whether it is there.
    pub fn zero_entry(&mut self, slot: Slot, af: Af, addr: &Addr, prefix: u8) -> bool {
        let at = self.exact(slot, af, addr, prefix);
        self.zero_at(at);
        at.is_some()
    }

    fn zero_at(&mut self, at: Option<Link>) {
        let counters = at.and_then(|at| self.arena.get_mut(at)).map(|node| {
            let old = node.counters;
            node.counters = u32::MAX;
            old
        });
        if let Some(old) = counters {
            self.free_counter(old);
        }
        if let Some(at) = at {
            self.bear(at);
        }
    }

    /// Weights of a table.
    #[must_use]
    pub fn weights(&self, slot: Slot) -> Weights {
        self.table(slot).map_or(Weights::NONE, |t| t.weights)
    }

    /// Counts a state on the entry of exactly this address, or takes one off (`pfr_states_increase`, `_decrease`).
    /// `false` when there is no such entry.
    pub fn count_state(&mut self, slot: Slot, af: Af, addr: &Addr, more: bool) -> bool {
        let at = self.table(slot).and_then(|t| self.longest(slot, t, af, addr));
        let Some(node) = at.and_then(|at| self.arena.get_mut(at)).filter(|n| n.len() == width(af)) else {
            return false;
        };
        node.states = if more { node.states.saturating_add(1) } else { node.states.saturating_sub(1) };
        true
    }
}

#[cfg(test)]
mod tests;
