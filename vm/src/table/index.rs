//! A keyed hash over all entries: large tables of few prefix lengths are asked here, one probe a length, where the
//! trie would touch a line a level.
//!
//! **Invariant:** it holds exactly the entries of the tries; an answer never depends on whether it is used.
//! **Invariant:** at most half of its cells are taken.

use super::tree::Link;
use crate::rule::Af;
use crate::state::pool::lengthen;
use alloc::vec::Vec;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// Which trie an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) slot: u16,
    pub(super) af: Af,
}

/// One cell of the open-addressed table.
#[derive(Clone, Copy, Debug)]
struct Cell {
    hash: u32,
    link: Link,
    owner: Owner,
}

const EMPTY: Cell = Cell { hash: 0, link: Link::NIL, owner: Owner { slot: 0, af: Af::Inet } };

/// The hash.
#[derive(Debug)]
pub(super) struct Index {
    cells: Vec<Cell>,
    mask: usize,
    keys: (u64, u64),
}

impl Index {
    /// Room for `entries`; `None` when memory is short.
    pub(super) fn new(entries: usize, keys: (u64, u64)) -> Option<Self> {
        let count = entries.checked_mul(2)?.max(8).checked_next_power_of_two()?;
        let mut cells = Vec::new();
        cells.try_reserve_exact(count).ok()?;
        lengthen(&mut cells, count, &EMPTY);
        Some(Self { cells, mask: count.saturating_sub(1), keys })
    }

    /// Makes room for `entries`; `None` when memory is short, with nothing changed.
    pub(super) fn grow(&mut self, entries: usize) -> Option<()> {
        let mut larger = Self::new(entries, self.keys)?;
        if larger.mask <= self.mask {
            return Some(());
        }
        for cell in self.cells.iter().filter(|c| c.link != Link::NIL) {
            larger.place(*cell);
        }
        *self = larger;
        Some(())
    }

    fn place(&mut self, cell: Cell) {
        let mut at = self.home(cell.hash);
        for _ in 0..=self.mask {
            let Some(free) = self.cells.get_mut(at) else { return };
            if free.link == Link::NIL {
                *free = cell;
                return;
            }
            at = at.wrapping_add(1) & self.mask;
        }
    }

    /// Draws other keys, while the index is empty.
    pub(super) fn rekey(&mut self, keys: (u64, u64)) {
        self.keys = keys;
    }

    #[allow(clippy::cast_possible_truncation, reason = "half of a hash")]
    fn hash(&self, owner: Owner, key: u128, len: u8) -> u32 {
        let mut h = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        let [a, b] = owner.slot.to_le_bytes();
        match owner.af {
            Af::Inet => {
                let [x, y, z, w, ..] = key.to_be_bytes();
                h.write(&[x, y, z, w, len, a, b]);
            }
            Af::Inet6 => {
                h.write(&key.to_be_bytes());
                h.write(&[len, a, b]);
            }
        }
        h.finish() as u32
    }

    fn home(&self, hash: u32) -> usize {
        usize::try_from(hash).unwrap_or(0) & self.mask
    }

    /// The entry of a prefix; `is` tells whether a place holds it.
    pub(super) fn find(&self, owner: Owner, key: u128, len: u8, is: impl Fn(Link) -> bool) -> Option<Link> {
        let hash = self.hash(owner, key, len);
        let mut at = self.home(hash);
        for _ in 0..=self.mask {
            let cell = self.cells.get(at)?;
            if cell.link == Link::NIL {
                return None;
            }
            if cell.hash == hash && cell.owner == owner && is(cell.link) {
                return Some(cell.link);
            }
            at = at.wrapping_add(1) & self.mask;
        }
        None
    }

    /// Adds an entry that is not there.
    pub(super) fn insert(&mut self, owner: Owner, key: u128, len: u8, link: Link) {
        let hash = self.hash(owner, key, len);
        self.place(Cell { hash, link, owner });
    }

    /// Removes an entry; those behind it move up.
    pub(super) fn remove(&mut self, owner: Owner, key: u128, len: u8, link: Link) {
        let hash = self.hash(owner, key, len);
        let mut hole = self.home(hash);
        for _ in 0..=self.mask {
            match self.cells.get(hole) {
                Some(c) if c.link == link => break,
                Some(c) if c.link != Link::NIL => hole = hole.wrapping_add(1) & self.mask,
                _ => return,
            }
        }
        let mut at = hole;
        for _ in 0..=self.mask {
            at = at.wrapping_add(1) & self.mask;
            let Some(cell) = self.cells.get(at).copied().filter(|c| c.link != Link::NIL) else { break };
            let distance = at.wrapping_sub(self.home(cell.hash)) & self.mask;
            if distance >= at.wrapping_sub(hole) & self.mask {
                if let Some(h) = self.cells.get_mut(hole) {
                    *h = cell;
                }
                hole = at;
            }
        }
        if let Some(cell) = self.cells.get_mut(hole) {
            *cell = EMPTY;
        }
    }
}

/// Prefix lengths of one trie, longest first, as long as they are few.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lengths {
    known: [(u8, u32); 4],
    others: u32,
}

impl Lengths {
    /// None.
    pub(super) const NONE: Self = Self { known: [(0, 0); 4], others: 0 };

    /// Counts an entry.
    pub(super) fn add(&mut self, len: u8) {
        if let Some((_, n)) = self.known.iter_mut().find(|(l, n)| *l == len && *n > 0) {
            *n = n.saturating_add(1);
        } else if self.others == 0
            && let Some(free) = self.known.iter_mut().find(|(_, n)| *n == 0)
        {
            *free = (len, 1);
            self.sort();
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    /// Puts the longest first and what is free last: a sorting network.
    fn sort(&mut self) {
        let order = |x: &mut (u8, u32), y: &mut (u8, u32)| {
            if (y.1 > 0, y.0) > (x.1 > 0, x.0) {
                core::mem::swap(x, y);
            }
        };
        let [a, b, c, d] = &mut self.known;
        order(a, b);
        order(c, d);
        order(a, c);
        order(b, d);
        order(b, c);
    }

    /// Takes an entry off.
    pub(super) fn remove(&mut self, len: u8) {
        match self.known.iter_mut().find(|(l, n)| *l == len && *n > 0) {
            Some((_, n)) => *n = n.saturating_sub(1),
            None => self.others = self.others.saturating_sub(1),
        }
    }

    /// The lengths, longest first; `None` when there are others beside the few.
    pub(super) fn few(&self) -> Option<impl Iterator<Item = u8> + '_> {
        (self.others == 0).then(|| self.known.iter().filter(|(_, n)| *n > 0).map(|(l, _)| *l))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_few_until_they_are_not() {
        let mut l = Lengths::NONE;
        for len in [8, 32, 16, 24, 32] {
            l.add(len);
        }
        assert_eq!(l.few().unwrap().collect::<Vec<_>>(), [32, 24, 16, 8]);
        l.add(30);
        assert!(l.few().is_none());
        l.remove(8);
        l.add(30);
        l.remove(30);
        assert!(l.few().is_none());
        l.remove(30);
        assert_eq!(l.few().unwrap().collect::<Vec<_>>(), [32, 24, 16]);
        l.add(30);
        assert_eq!(l.few().unwrap().collect::<Vec<_>>(), [32, 30, 24, 16]);
    }
}
