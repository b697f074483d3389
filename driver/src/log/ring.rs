//! A ring of records: the newest replace the oldest, and readers come by cursor.
//!
//! A record has a number, counted from 1 without gaps. A reader keeps the number it wants next; the ring keeps nothing
//! of its readers but how far the fastest has come.
//! **Invariant:** memory is taken once, in [`Ring::new`]; writing neither allocates nor fails.

use alloc::vec::Vec;

use pfvm::state::pool::{OutOfMemory, filled};

/// A ring.
#[derive(Debug)]
pub struct Ring<T> {
    slots: Vec<T>,
    /// Number of the next record.
    next: u64,
    /// Number no reader has come to yet.
    unread: u64,
    dropped: u64,
}

impl<T: Copy> Ring<T> {
    /// A ring of `capacity` records, at least one.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    pub fn new(what: &'static str, capacity: u32, blank: T) -> Result<Self, OutOfMemory> {
        Ok(Self { slots: filled(what, capacity.max(1), blank)?, next: 1, unread: 1, dropped: 0 })
    }

    fn capacity(&self) -> u64 {
        u64::try_from(self.slots.len()).unwrap_or(u64::MAX).max(1)
    }

    fn slot(&self, number: u64) -> usize {
        usize::try_from(number.checked_rem(self.capacity()).unwrap_or(0)).unwrap_or(0)
    }

    /// Number of the oldest record there is, or of the next one.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.next.saturating_sub(self.capacity()).max(1)
    }

    /// Number the next record gets.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Records that were replaced before any reader had come to them.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The place of the next record, which is counted from now on: the caller writes all of it.
    pub fn push(&mut self) -> Option<&mut T> {
        let oldest = self.oldest();
        let full = self.next.saturating_sub(oldest) >= self.capacity();
        if full && oldest >= self.unread {
            self.dropped = self.dropped.saturating_add(1);
        }
        let at = self.slot(self.next);
        self.next = self.next.saturating_add(1);
        self.slots.get_mut(at)
    }

    /// A record that is there.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&T> {
        let there = number >= self.oldest() && number < self.next;
        self.slots.get(self.slot(number)).filter(|_| there)
    }

    /// A record that is there, to change.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let there = number >= self.oldest() && number < self.next;
        let at = self.slot(number);
        self.slots.get_mut(at).filter(|_| there)
    }

    /// A reader has read what comes before a number.
    pub fn read(&mut self, number: u64) {
        self.unread = self.unread.max(number.min(self.next));
    }

    /// The first number a reader gets who asks for this one: the oldest for 0 or what is gone, the next for `u64::MAX`.
    #[must_use]
    pub fn from(&self, cursor: u64) -> u64 {
        // Not `clamp`, which panics where its bounds are the wrong way round.
        cursor.max(self.oldest()).min(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ring: &mut Ring<u64>, value: u64) {
        *ring.push().unwrap() = value;
    }

    fn all(ring: &Ring<u64>, cursor: u64) -> Vec<u64> {
        (ring.from(cursor)..ring.next()).filter_map(|n| ring.get(n).copied()).collect()
    }

    #[test]
    fn readers_come_by_number() {
        let mut ring = Ring::new("log", 4, 0).unwrap();
        assert_eq!(all(&ring, 0), []);
        (1..=3).for_each(|n| push(&mut ring, n));
        assert_eq!((all(&ring, 0), all(&ring, 3), all(&ring, u64::MAX)), (vec![1, 2, 3], vec![3], vec![]));
        assert_eq!(ring.get(4), None);
        (4..=6).for_each(|n| push(&mut ring, n));
        assert_eq!(all(&ring, 0), [3, 4, 5, 6]);
        assert_eq!((ring.oldest(), ring.get(2), ring.get(3)), (3, None, Some(&3)));
        assert_eq!(ring.from(1), 3, "what is gone is gone");
    }

    #[test]
    fn only_what_nobody_has_read_counts_as_dropped() {
        let mut ring = Ring::new("log", 4, 0).unwrap();
        (1..=4).for_each(|n| push(&mut ring, n));
        assert_eq!(ring.dropped(), 0);
        ring.read(3);
        (5..=6).for_each(|n| push(&mut ring, n));
        assert_eq!(ring.dropped(), 0, "1 and 2 were read");
        push(&mut ring, 7);
        assert_eq!(ring.dropped(), 1, "3 was not");
        ring.read(u64::MAX);
        (8..=11).for_each(|n| push(&mut ring, n));
        assert_eq!(ring.dropped(), 1);
        push(&mut ring, 12);
        assert_eq!(ring.dropped(), 2);
    }
}
