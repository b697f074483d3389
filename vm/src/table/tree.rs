//! Path-compressed binary tries in one arena: longest-prefix match, order, and rank.
//!
//! One arena serves all tables, so that `set limit table-entries` is one number. IPv4 addresses are the upper 32 bits
//! of a key. A trie of `n` entries has at most `2n` nodes; a node is 40 bytes.
//!
//! **Invariant:** a node without entry has two children; a child's key continues its parent's prefix.
//! **Invariant:** `count` of a node is the number of entries in its subtree, itself included.
//! **Invariant:** no walk takes more than 129 steps.

use alloc::vec::Vec;

/// Most steps a walk down takes: one a prefix length.
const MAX_DEPTH: usize = 130;

/// A place in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link(u32);

impl Link {
    /// No node.
    pub(super) const NIL: Self = Self(u32::MAX);

    const fn is_nil(self) -> bool {
        self.0 == u32::MAX
    }

    /// Its number.
    pub(super) fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Bits of [`Node::flags`].
pub(super) mod flag {
    /// The node holds an entry.
    pub(in super::super) const ENTRY: u8 = 1;
    /// The entry is negated.
    pub(in super::super) const NOT: u8 = 2;
    /// The entry was given a weight.
    pub(in super::super) const COST: u8 = 4;
    /// Seen by the replacement under way.
    pub(in super::super) const MARK: u8 = 8;
}

/// A node: a prefix, perhaps an entry, up to two longer prefixes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    high: u64,
    low: u64,
    child: [Link; 2],
    count: u32,
    /// States counted on the entry (least-states pools).
    pub(super) states: u32,
    /// Place of the entry's counters, `u32::MAX` when it has none.
    pub(super) counters: u32,
    /// Weight, at least 1.
    pub(super) weight: u16,
    len: u8,
    /// See [`flag`].
    pub(super) flags: u8,
}

/// What a new entry brings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    pub(super) flags: u8,
    pub(super) weight: u16,
}

impl Node {
    fn new(key: u128, len: u8) -> Self {
        let mut node = Self {
            high: 0,
            low: 0,
            child: [Link::NIL; 2],
            count: 0,
            states: 0,
            counters: u32::MAX,
            weight: 1,
            len,
            flags: 0,
        };
        node.set_key(key & mask(len));
        node
    }

    #[allow(clippy::cast_possible_truncation, reason = "the halves of a 128-bit key")]
    const fn set_key(&mut self, key: u128) {
        (self.high, self.low) = ((key >> 64) as u64, key as u64);
    }

    /// The prefix.
    pub(super) fn key(&self) -> u128 {
        (u128::from(self.high) << 64) | u128::from(self.low)
    }

    /// Its length.
    pub(super) const fn len(&self) -> u8 {
        self.len
    }

    /// Whether it holds an entry.
    pub(super) const fn is_entry(&self) -> bool {
        self.flags & flag::ENTRY != 0
    }

    fn covers(&self, key: u128) -> bool {
        (self.key() ^ key) & mask(self.len) == 0
    }

    fn child(&self, right: bool) -> Link {
        let [a, b] = self.child;
        if right { b } else { a }
    }

    const fn set_child(&mut self, right: bool, to: Link) {
        let [a, b] = self.child;
        self.child = if right { [a, to] } else { [to, b] };
    }
}

/// The upper `len` bits.
pub(super) const fn mask(len: u8) -> u128 {
    match len {
        0 => 0,
        1..=127 => u128::MAX << (128 - len as u32),
        _ => u128::MAX,
    }
}

/// The bit after the first `len`; beyond the last one it is clear.
const fn bit(key: u128, len: u8) -> bool {
    len < 128 && (key >> (127 - len as u32)) & 1 == 1
}

/// The arena.
#[derive(Debug)]
pub(super) struct Arena {
    nodes: Vec<Node>,
    free: Link,
    spare: usize,
    /// Nodes there may be.
    room: usize,
}

impl Arena {
    /// Room for `entries` entries; `None` when memory is short.
    pub(super) fn new(entries: usize) -> Option<Self> {
        let count = entries.checked_mul(2)?;
        u32::try_from(count).ok().filter(|n| *n < u32::MAX)?;
        let mut nodes = Vec::new();
        nodes.try_reserve_exact(count).ok()?;
        Some(Self { nodes, free: Link::NIL, spare: count, room: count })
    }

    /// Makes room for `entries` entries in all; `None` when memory is short.
    pub(super) fn grow(&mut self, entries: usize) -> Option<()> {
        let count = entries.checked_mul(2)?;
        u32::try_from(count).ok().filter(|n| *n < u32::MAX)?;
        let taken = self.room().saturating_sub(self.spare);
        self.nodes.try_reserve_exact(count.saturating_sub(self.nodes.len())).ok()?;
        if count > self.room {
            self.room = count;
            self.spare = count.saturating_sub(taken);
        }
        Some(())
    }

    const fn room(&self) -> usize {
        self.room
    }

    /// Nodes that can still be taken.
    pub(super) const fn spare(&self) -> usize {
        self.spare
    }

    /// The node at a place.
    pub(super) fn get(&self, at: Link) -> Option<&Node> {
        self.nodes.get(at.index())
    }

    /// The node at a place, to change its entry.
    pub(super) fn get_mut(&mut self, at: Link) -> Option<&mut Node> {
        self.nodes.get_mut(at.index())
    }

    /// Entries at and below a place.
    pub(super) fn count(&self, at: Link) -> u32 {
        self.get(at).map_or(0, |n| n.count)
    }

    fn take(&mut self, node: Node) -> Option<Link> {
        let at = self.free;
        if let Some(slot) = self.nodes.get_mut(at.index()) {
            self.free = slot.child(false);
            *slot = node;
            self.spare = self.spare.saturating_sub(1);
            return Some(at);
        }
        let at = u32::try_from(self.nodes.len()).ok()?;
        if self.nodes.len() == self.nodes.capacity() || self.spare == 0 {
            return None;
        }
        self.nodes.push(node);
        self.spare = self.spare.saturating_sub(1);
        Some(Link(at))
    }

    fn give(&mut self, at: Link) {
        let free = self.free;
        if let Some(node) = self.nodes.get_mut(at.index()) {
            *node = Node::new(0, 0);
            node.set_child(false, free);
            self.free = at;
            self.spare = self.spare.saturating_add(1);
        }
    }

    /// The entry of exactly this prefix.
    pub(super) fn exact(&self, root: Link, key: u128, len: u8) -> Option<Link> {
        let mut at = root;
        for _ in 0..MAX_DEPTH {
            let node = self.get(at)?;
            if node.len > len || !node.covers(key) {
                return None;
            }
            if node.len == len {
                return node.is_entry().then_some(at);
            }
            at = node.child(bit(key, node.len));
        }
        None
    }

    /// The entry of the longest prefix that covers a key of `width` bits.
    pub(super) fn longest(&self, root: Link, key: u128, width: u8) -> Option<Link> {
        let (mut at, mut best) = (root, None);
        for _ in 0..MAX_DEPTH {
            let Some(node) = self.get(at).filter(|n| n.covers(key)) else { break };
            if node.is_entry() {
                best = Some(at);
            }
            if node.len >= width {
                break;
            }
            at = node.child(bit(key, node.len));
        }
        best
    }

    /// The `n`th entry in order of address, longer prefixes of one address first.
    pub(super) fn nth(&self, root: Link, n: u32) -> Option<Link> {
        let (mut at, mut n) = (root, n);
        for _ in 0..MAX_DEPTH {
            let node = self.get(at)?;
            if n >= node.count {
                return None;
            }
            if node.is_entry() {
                let before = self.same_address_below(node);
                if n == before {
                    return Some(at);
                }
                n = if n > before { n.saturating_sub(1) } else { n };
            }
            let left = self.count(node.child(false));
            let right = n >= left;
            if right {
                n = n.saturating_sub(left);
            }
            at = node.child(right);
        }
        None
    }

    /// Entries below a node that have its address and a longer prefix.
    fn same_address_below(&self, node: &Node) -> u32 {
        let (mut at, mut found) = (node.child(false), 0_u32);
        for _ in 0..MAX_DEPTH {
            let Some(below) = self.get(at).filter(|b| b.key() == node.key()) else { break };
            found = found.saturating_add(u32::from(below.is_entry()));
            at = below.child(false);
        }
        found
    }

    /// Adds an entry that is not there yet; the new root and the entry, or `None` when the arena is full.
    pub(super) fn insert(&mut self, root: Link, key: u128, len: u8, fresh: Fresh) -> Option<(Link, Link)> {
        if self.spare < 2 {
            return None;
        }
        let (mut at, mut parent) = (root, Link::NIL);
        for _ in 0..MAX_DEPTH {
            let Some(node) = self.nodes.get_mut(at.index()) else { break };
            if node.len >= len || !node.covers(key) {
                break;
            }
            node.count = node.count.saturating_add(1);
            parent = at;
            at = node.child(bit(key, node.len));
        }
        let (top, entry) = self.place(at, key, len)?;
        let node = self.nodes.get_mut(entry.index())?;
        node.flags = fresh.flags | flag::ENTRY;
        node.weight = fresh.weight;
        node.states = 0;
        node.counters = u32::MAX;
        Some((self.hang(root, parent, key, top), entry))
    }

    /// Makes the subtree at `at` hold the prefix: its new top and the node of the prefix.
    fn place(&mut self, at: Link, key: u128, len: u8) -> Option<(Link, Link)> {
        let Some(old) = self.get(at).copied() else {
            let mut node = Node::new(key, len);
            node.count = 1;
            let leaf = self.take(node)?;
            return Some((leaf, leaf));
        };
        if old.len == len && old.covers(key) {
            let node = self.nodes.get_mut(at.index())?;
            node.count = node.count.saturating_add(1);
            return Some((at, at));
        }
        let mut node = Node::new(key, len);
        node.count = 1;
        if len < old.len && (old.key() ^ key) & mask(len) == 0 {
            node.count = old.count.saturating_add(1);
            node.set_child(bit(old.key(), len), at);
            let above = self.take(node)?;
            return Some((above, above));
        }
        let common = u8::try_from((old.key() ^ key).leading_zeros()).unwrap_or(127).min(len).min(old.len);
        let leaf = self.take(node)?;
        let mut fork = Node::new(key, common);
        fork.count = old.count.saturating_add(1);
        fork.set_child(bit(key, common), leaf);
        fork.set_child(bit(old.key(), common), at);
        Some((self.take(fork)?, leaf))
    }

    /// Hangs a subtree under its parent; the new root.
    fn hang(&mut self, root: Link, parent: Link, key: u128, top: Link) -> Link {
        match self.nodes.get_mut(parent.index()) {
            Some(node) => {
                node.set_child(bit(key, node.len), top);
                root
            }
            None => top,
        }
    }

    /// Removes the entry of exactly this prefix, which is there; the new root.
    pub(super) fn remove(&mut self, root: Link, key: u128, len: u8) -> Link {
        let (mut at, mut parent, mut grand) = (root, Link::NIL, Link::NIL);
        for _ in 0..MAX_DEPTH {
            let Some(node) = self.nodes.get_mut(at.index()) else { return root };
            node.count = node.count.saturating_sub(1);
            if node.len >= len {
                node.flags = 0;
                break;
            }
            (grand, parent) = (parent, at);
            at = node.child(bit(key, node.len));
        }
        let root = self.splice(root, parent, at, key);
        // A fork that lost a child is one node too many.
        match self.get(parent) {
            Some(p) if !p.is_entry() => self.splice(root, grand, parent, key),
            _ => root,
        }
    }

    /// Takes a node without entry out when it has one child or none; the new root.
    fn splice(&mut self, root: Link, parent: Link, at: Link, key: u128) -> Link {
        let Some(node) = self.get(at).copied() else { return root };
        let [a, b] = node.child;
        if node.is_entry() || (!a.is_nil() && !b.is_nil()) {
            return root;
        }
        let only = if a.is_nil() { b } else { a };
        self.give(at);
        self.hang(root, parent, key, only)
    }

    /// Removes all entries of a trie: calls `each` on every entry, in no order.
    pub(super) fn clear(&mut self, root: Link, mut each: impl FnMut(Link, &Node)) {
        // Rotates left children away, so that no stack is needed: each node is visited a bounded number of times.
        let mut at = root;
        for _ in 0..self.nodes.len().saturating_mul(2).saturating_add(2) {
            let Some(node) = self.get(at).copied() else { break };
            let [left, right] = node.child;
            if let Some(l) = self.nodes.get_mut(left.index()) {
                let moved = l.child(true);
                l.set_child(true, at);
                if let Some(n) = self.nodes.get_mut(at.index()) {
                    n.set_child(false, moved);
                }
                at = left;
            } else {
                if node.is_entry() {
                    each(at, &node);
                }
                self.give(at);
                at = right;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_forty_bytes() {
        assert_eq!(size_of::<Node>(), 40);
    }

    #[test]
    fn masks_and_bits() {
        assert_eq!((mask(0), mask(1), mask(128)), (0, 1 << 127, u128::MAX));
        assert!(bit(1, 127) && !bit(1, 126) && !bit(u128::MAX, 128));
    }

    #[test]
    fn nodes_come_back() {
        let mut arena = Arena::new(3).unwrap();
        let fresh = Fresh { flags: 0, weight: 1 };
        let key = |n: u128| n << 96;
        let mut root = Link::NIL;
        for n in [1, 2, 3] {
            root = arena.insert(root, key(n), 32, fresh).unwrap().0;
        }
        assert!(arena.insert(root, key(9), 32, fresh).is_none());
        assert_eq!((arena.count(root), arena.spare()), (3, 1));
        for n in [2, 1] {
            root = arena.remove(root, key(n), 32);
        }
        assert_eq!((arena.count(root), arena.spare()), (1, 5));
        let mut seen = 0;
        arena.clear(root, |_, _| seen += 1);
        assert_eq!((seen, arena.spare()), (1, 6));
    }
}
