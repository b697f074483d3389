//! Adding, deleting and replacing entries.

use super::index::{Lengths, Owner};
use super::tree::{self, Fresh, Link, Node, flag};
use super::{Changes, Entry, Feedback, Slot, TableError, Tables, Weights, key_of, width};
use crate::rule::Af;

impl Tables {
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
            if flipped {
                // Its counters begin anew, as in pf.
                self.zero_at(at);
                let Some(table) = self.table_mut(slot) else { continue };
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
}
