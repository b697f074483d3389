//! Source nodes: what the filter remembers of an address beyond single states (`struct pf_src_node`).
//!
//! A node belongs to a rule and a purpose: limits of that rule, or the address a sticky pool gave. It lives as long
//! as states refer to it and `src.track` seconds longer.
//!
//! **Invariant:** at most `limit src-nodes` exist; a chain of the index is bounded by that.

use alloc::vec::Vec;
use core::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::rule::{Addr, Af};
use crate::state::pool::{OutOfMemory, Pool, filled};
use crate::state::record::NONE;
use crate::state::threshold::Threshold;

/// What a node is for (`PF_SN_*`), the place in a state's list of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SrcKind {
    /// Limits of a rule.
    Limit,
    /// A sticky `nat-to`.
    Nat,
    /// A sticky `rdr-to`.
    Rdr,
    /// A sticky route.
    Route,
}

/// Names a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SrcKey {
    /// The pinned rule.
    pub rule: u32,
    /// Purpose.
    pub kind: SrcKind,
    /// Family.
    pub af: Af,
    /// The source.
    pub addr: Addr,
}

/// A source node.
#[derive(Clone, Copy, Debug)]
pub struct SrcNode {
    /// Its name.
    pub key: SrcKey,
    /// The address a pool gave.
    pub redirect: Addr,
    /// Family of that address.
    pub redirect_af: Af,
    /// States that refer to it.
    pub states: u32,
    /// Complete TCP connections among them.
    pub conn: u32,
    /// Their rate.
    pub rate: Threshold,
    /// Packets in and out.
    pub packets: [u64; 2],
    /// Bytes in and out.
    pub bytes: [u64; 2],
    /// Second it was made.
    pub created: u32,
    /// Second it may go, once no state refers to it.
    pub expire: u32,
    /// Found no more: its address has left the pool, or it was killed.
    pub orphan: bool,
    next: u32,
}

impl SrcNode {
    /// Counts a packet, in or out.
    pub fn count(&mut self, out: bool, len: u32) {
        let ([p0, p1], [b0, b1]) = (&mut self.packets, &mut self.bytes);
        let (p, b) = if out { (p1, b1) } else { (p0, b0) };
        *p = p.wrapping_add(1);
        *b = b.wrapping_add(u64::from(len));
    }
}

/// All source nodes.
#[derive(Debug)]
pub struct SrcNodes {
    nodes: Pool<SrcNode>,
    heads: Vec<u32>,
    limit: u32,
    hash_key: [u64; 2],
    searches: u64,
    inserts: u64,
    removals: u64,
    cursor: u32,
}

impl SrcNodes {
    /// Room for `limit` nodes.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is none.
    pub fn new(limit: u32, hash_key: [u64; 2]) -> Result<Self, OutOfMemory> {
        let buckets = limit.max(16).checked_next_power_of_two().unwrap_or(1 << 31);
        Ok(Self {
            nodes: Pool::with_capacity("source nodes", limit)?,
            heads: filled("source node buckets", buckets, NONE)?,
            limit,
            hash_key,
            searches: 0,
            inserts: 0,
            removals: 0,
            cursor: 0,
        })
    }

    /// Makes room for `limit` nodes. Nothing else changes until [`SrcNodes::set_limit`]; room once taken is kept.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is none.
    pub fn grow(&mut self, limit: u32) -> Result<(), OutOfMemory> {
        let heads = usize::try_from(limit).unwrap_or(usize::MAX);
        if heads <= self.heads.len() {
            return self.nodes.grow(limit.max(self.nodes.limit())).map(|()| self.nodes.set_limit(self.limit));
        }
        let fresh = filled("source node buckets", limit.checked_next_power_of_two().unwrap_or(1 << 31), NONE)?;
        self.nodes.grow(limit)?;
        self.nodes.set_limit(self.limit);
        self.heads = fresh;
        for id in 0..self.nodes.places() {
            let Some(key) = self.nodes.get(id).filter(|n| !n.orphan).map(|n| n.key) else { continue };
            let bucket = self.bucket(&key);
            if let (Some(h), Some(n)) = (self.heads.get_mut(bucket), self.nodes.get_mut(id)) {
                n.next = core::mem::replace(h, id);
            }
        }
        Ok(())
    }

    /// Lowers the limit, or raises it as far as there is room.
    pub fn set_limit(&mut self, limit: u32) {
        self.nodes.set_limit(limit);
        self.limit = self.nodes.limit();
    }

    /// One more than the highest number a node has had.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.nodes.places()
    }

    /// Nodes there is room for.
    #[must_use]
    pub fn room(&self) -> u32 {
        self.nodes.room()
    }

    /// Nodes there may be.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.nodes.limit()
    }

    /// Nodes there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.nodes.used()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.nodes.used() == 0
    }

    /// Searches, insertions and removals so far.
    #[must_use]
    pub const fn counters(&self) -> [u64; 3] {
        [self.searches, self.inserts, self.removals]
    }

    /// Zeroes searches, insertions and removals.
    pub const fn clear_counters(&mut self) {
        (self.searches, self.inserts, self.removals) = (0, 0, 0);
    }

    /// A node.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&SrcNode> {
        self.nodes.get(id)
    }

    /// A node, to change.
    #[must_use]
    pub fn get_mut(&mut self, id: u32) -> Option<&mut SrcNode> {
        self.nodes.get_mut(id)
    }

    /// All nodes.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &SrcNode)> {
        self.nodes.iter()
    }

    /// The node of that name.
    pub fn find(&mut self, key: &SrcKey) -> Option<u32> {
        self.searches = self.searches.wrapping_add(1);
        let mut at = self.heads.get(self.bucket(key)).copied().unwrap_or(NONE);
        for _ in 0..=self.nodes.used() {
            let n = self.nodes.get(at)?;
            if n.key == *key {
                return Some(at);
            }
            at = n.next;
        }
        None
    }

    /// A new node; `None` when all are taken. The caller has looked for one of that name before.
    pub fn insert(&mut self, key: SrcKey, rate: Threshold, redirect: Option<(Af, Addr)>, now: u32) -> Option<u32> {
        let bucket = self.bucket(&key);
        let next = self.heads.get(bucket).copied().unwrap_or(NONE);
        let (redirect_af, redirect) = redirect.unwrap_or((key.af, Addr::default()));
        let id = self.nodes.take(SrcNode {
            key,
            redirect,
            redirect_af,
            states: 0,
            conn: 0,
            rate,
            packets: [0; 2],
            bytes: [0; 2],
            created: now,
            expire: 0,
            orphan: false,
            next,
        })?;
        if let Some(h) = self.heads.get_mut(bucket) {
            *h = id;
        }
        self.inserts = self.inserts.wrapping_add(1);
        Some(id)
    }

    /// A state that refers to the node has gone: when it was the last, the node waits `linger` seconds.
    pub fn release(&mut self, id: u32, counted: bool, linger: u32, now: u32) {
        let Some(n) = self.nodes.get_mut(id) else { return };
        if counted {
            n.conn = n.conn.saturating_sub(1);
        }
        n.states = n.states.saturating_sub(1);
        if n.states == 0 {
            n.expire = now.saturating_add(linger);
        }
    }

    /// Removes a node nobody refers to and that has waited long enough. Gives its name.
    pub fn remove_if_idle(&mut self, id: u32, now: u32) -> Option<SrcKey> {
        let n = *self.nodes.get(id)?;
        if n.states > 0 || n.expire > now {
            return None;
        }
        self.remove(id)
    }

    /// Makes a node be found no more; it goes with the last state that refers to it. Gives its name when it was found
    /// before.
    pub fn orphan(&mut self, id: u32) -> Option<SrcKey> {
        let n = *self.nodes.get(id)?;
        if n.states == 0 {
            return self.remove(id);
        }
        if n.orphan {
            return None;
        }
        self.unlink(id);
        self.removals = self.removals.wrapping_add(1);
        self.nodes.get_mut(id)?.orphan = true;
        Some(n.key)
    }

    /// A state lets go of a node that is found no more. Whether it was one.
    pub fn let_go(&mut self, id: u32) -> bool {
        let Some(n) = self.nodes.get_mut(id).filter(|n| n.orphan) else { return false };
        n.states = n.states.saturating_sub(1);
        if n.states == 0 {
            self.remove(id);
        }
        true
    }

    /// Removes a node nobody refers to. Gives its name, unless it was an orphan.
    fn remove(&mut self, id: u32) -> Option<SrcKey> {
        let n = *self.nodes.get(id)?;
        if !n.orphan {
            self.unlink(id);
            self.removals = self.removals.wrapping_add(1);
        }
        self.nodes.give(id)?;
        (!n.orphan).then_some(n.key)
    }

    /// Takes a node out of the index.
    fn unlink(&mut self, id: u32) {
        let Some(n) = self.nodes.get(id).copied() else { return };
        let bucket = self.bucket(&n.key);
        let mut at = self.heads.get(bucket).copied().unwrap_or(NONE);
        if at == id {
            if let Some(h) = self.heads.get_mut(bucket) {
                *h = n.next;
            }
        } else {
            for _ in 0..=self.nodes.used() {
                let Some(b) = self.nodes.get_mut(at) else { break };
                if b.next == id {
                    b.next = n.next;
                    break;
                }
                at = b.next;
            }
        }
    }

    /// The next nodes to look at for expiry: at most `limit`; calls `f` with the name of each that went. `true` when
    /// the round is complete.
    pub fn purge(&mut self, limit: u32, now: u32, mut f: impl FnMut(SrcKey)) -> bool {
        for _ in 0..limit {
            if self.cursor >= self.nodes.places() {
                self.cursor = 0;
                return true;
            }
            let id = self.cursor;
            self.cursor = self.cursor.saturating_add(1);
            if let Some(key) = self.remove_if_idle(id, now) {
                f(key);
            }
        }
        false
    }

    fn bucket(&self, key: &SrcKey) -> usize {
        let [k0, k1] = self.hash_key;
        let mut h = SipHasher13::new_with_keys(k0, k1);
        h.write_u32(key.rule);
        h.write_u8(key.kind as u8);
        h.write(&key.addr.0);
        let mask = self.heads.len().wrapping_sub(1);
        usize::try_from(h.finish() & u64::from(u32::MAX)).unwrap_or(0) & mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SrcKey {
        let mut a = [0; 16];
        a[0] = n;
        SrcKey { rule: 1, kind: SrcKind::Limit, af: Af::Inet, addr: Addr(a) }
    }

    #[test]
    fn nodes_linger_and_go() {
        let mut t = SrcNodes::new(4, [1, 2]).unwrap();
        let rate = Threshold::default();
        let ids: Vec<_> = (0..4).map(|n| t.insert(key(n), rate, None, 10).unwrap()).collect();
        assert_eq!(t.insert(key(9), rate, None, 10), None);
        assert_eq!(t.find(&key(2)), Some(ids[2]));
        t.get_mut(ids[2]).unwrap().states = 1;
        t.release(ids[2], false, 5, 20);
        let mut gone = 0;
        assert!(t.purge(100, 21, |_| gone += 1));
        assert_eq!((gone, t.len(), t.find(&key(2))), (3, 1, Some(ids[2])));
        assert_eq!(t.remove_if_idle(ids[2], 24), None);
        assert_eq!(t.remove_if_idle(ids[2], 25), Some(key(2)));
        assert!(t.is_empty());
    }
}
