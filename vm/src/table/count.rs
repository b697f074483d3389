//! Counting packets, evaluations and states on tables and their entries.

use core::sync::atomic::{AtomicU64, Ordering};

use super::tree::{Link, flag};
use super::{Counted, Counters, Op, Slot, Tables, width};
use crate::rule::{Addr, Af};

impl Tables {
    /// Notes the second of an entry.
    pub(super) fn bear(&mut self, at: Link) {
        let now = self.now;
        if let Some(b) = self.born.get_mut(at.index()) {
            *b = now;
        }
    }

    pub(super) fn free_counter(&mut self, at: u32) {
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

    pub(super) fn zero_at(&mut self, at: Option<Link>) {
        let counters = at.and_then(|at| self.arena.get_mut(at)).map(|node| {
            // The states of a pool are counted among them (`pfr_clstats_kentries`).
            node.states = 0;
            core::mem::replace(&mut node.counters, u32::MAX)
        });
        if let Some(old) = counters {
            self.free_counter(old);
        }
        if let Some(at) = at {
            self.bear(at);
        }
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
