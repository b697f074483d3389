//! Slabs of fixed capacity: what pf's memory pools are here.
//!
//! **Invariant:** memory is taken once, fallibly, in [`Pool::with_capacity`] or [`Pool::reserve`]; taking and giving
//! back an entry never allocates.

use alloc::vec::Vec;

use crate::state::record::NONE;

/// Memory for a table could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory for {what} ({count} entries)")]
pub struct OutOfMemory {
    /// What it was for.
    pub what: &'static str,
    /// How many entries were wanted.
    pub count: u32,
}

/// Takes room for `count` values at once.
///
/// # Errors
/// [`OutOfMemory`] when there is none.
pub fn room<T>(what: &'static str, count: u32) -> Result<Vec<T>, OutOfMemory> {
    let mut v = Vec::new();
    let n = usize::try_from(count).map_err(|_| OutOfMemory { what, count })?;
    v.try_reserve_exact(n).map_err(|_| OutOfMemory { what, count })?;
    Ok(v)
}

/// Takes room for `count` values and fills it.
///
/// # Errors
/// [`OutOfMemory`] when there is none.
pub fn filled<T: Clone>(what: &'static str, count: u32, value: T) -> Result<Vec<T>, OutOfMemory> {
    let mut v = room(what, count)?;
    for _ in 0..count {
        if v.len() == v.capacity() {
            return Err(OutOfMemory { what, count });
        }
        v.push(value.clone());
    }
    Ok(v)
}

/// Lengthens a vector to `len` values, as far as there is room.
pub fn lengthen<T: Clone>(v: &mut Vec<T>, len: usize, value: &T) {
    for _ in v.len()..len {
        if v.len() == v.capacity() {
            return;
        }
        v.push(value.clone());
    }
}

/// Takes room for a copy of some values and copies them.
///
/// # Errors
/// [`OutOfMemory`] when there is none.
pub fn copied<T: Copy>(what: &'static str, values: &[T]) -> Result<Vec<T>, OutOfMemory> {
    let count = u32::try_from(values.len()).map_err(|_| OutOfMemory { what, count: u32::MAX })?;
    let mut v = room(what, count)?;
    for value in values {
        if v.len() == v.capacity() {
            return Err(OutOfMemory { what, count });
        }
        v.push(*value);
    }
    Ok(v)
}

/// One place: taken, or a link of the list of free ones.
#[derive(Debug)]
enum Place<T> {
    Taken(T),
    Free(u32),
}

/// A slab of entries named by small numbers.
#[derive(Debug)]
pub struct Pool<T> {
    places: Vec<Place<T>>,
    free: u32,
    used: u32,
    limit: u32,
    what: &'static str,
}

impl<T> Pool<T> {
    /// A pool of at most `limit` entries.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    pub fn with_capacity(what: &'static str, limit: u32) -> Result<Self, OutOfMemory> {
        Ok(Self { places: room(what, limit)?, free: NONE, used: 0, limit, what })
    }

    /// Makes room for at least `more` entries beyond those in use. Entries keep their numbers.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is none.
    pub fn reserve(&mut self, more: u32) -> Result<(), OutOfMemory> {
        let want = self.used.saturating_add(more);
        if want > self.limit {
            let err = OutOfMemory { what: self.what, count: want };
            let n = usize::try_from(want).map_err(|_| err)?;
            let add = n.saturating_sub(self.places.len());
            self.places.try_reserve_exact(add).map_err(|_| err)?;
            self.limit = want;
        }
        Ok(())
    }

    /// Makes room for `limit` entries in all. Entries keep their numbers; a lower limit than before changes nothing.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is none.
    pub fn grow(&mut self, limit: u32) -> Result<(), OutOfMemory> {
        self.reserve(limit.saturating_sub(self.used))
    }

    /// Takes an entry, `None` when all are taken.
    pub fn take(&mut self, value: T) -> Option<u32> {
        if self.used >= self.limit {
            return None;
        }
        let id = self.free;
        if let Some(place) = self.at_mut(id)
            && let Place::Free(next) = *place
        {
            *place = Place::Taken(value);
            self.free = next;
            self.used = self.used.saturating_add(1);
            return Some(id);
        }
        if self.places.len() == self.places.capacity() {
            return None;
        }
        let id = u32::try_from(self.places.len()).ok()?;
        self.places.push(Place::Taken(value));
        self.used = self.used.saturating_add(1);
        Some(id)
    }

    /// Gives an entry back; nothing happens when it is not taken.
    pub fn give(&mut self, id: u32) -> Option<T> {
        let free = self.free;
        let place = self.at_mut(id).filter(|p| matches!(p, Place::Taken(_)))?;
        let Place::Taken(value) = core::mem::replace(place, Place::Free(free)) else { return None };
        self.free = id;
        self.used = self.used.saturating_sub(1);
        Some(value)
    }

    /// An entry.
    #[must_use]
    #[inline]
    pub fn get(&self, id: u32) -> Option<&T> {
        match self.places.get(usize::try_from(id).ok()?)? {
            Place::Taken(v) => Some(v),
            Place::Free(_) => None,
        }
    }

    /// An entry, to change.
    #[must_use]
    #[inline]
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        match self.at_mut(id)? {
            Place::Taken(v) => Some(v),
            Place::Free(_) => None,
        }
    }

    /// Entries in use.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.used
    }

    /// Entries there may be.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Lowers the number of entries there may be, or raises it as far as there is room. Those in use stay.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit.min(self.room());
    }

    /// Entries there is room for.
    #[must_use]
    pub fn room(&self) -> u32 {
        u32::try_from(self.places.capacity()).unwrap_or(u32::MAX)
    }

    /// One more than the highest number an entry has had.
    #[must_use]
    pub fn places(&self) -> u32 {
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    /// All entries in use, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..=u32::MAX).zip(self.places.iter()).filter_map(|(i, p)| match p {
            Place::Taken(v) => Some((i, v)),
            Place::Free(_) => None,
        })
    }

    /// All entries in use, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|p| match p {
            Place::Taken(v) => Some(v),
            Place::Free(_) => None,
        })
    }

    #[inline]
    fn at_mut(&mut self, id: u32) -> Option<&mut Place<T>> {
        self.places.get_mut(usize::try_from(id).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back() {
        let mut p = Pool::with_capacity("things", 2).unwrap();
        let (a, b) = (p.take('a').unwrap(), p.take('b').unwrap());
        assert_eq!(p.take('c'), None);
        assert_eq!(p.give(a), Some('a'));
        assert_eq!(p.give(a), None);
        assert_eq!(p.take('d'), Some(a));
        assert_eq!((p.get(a), p.get(b), p.used()), (Some(&'d'), Some(&'b'), 2));
        p.reserve(3).unwrap();
        assert!(p.take('e').is_some() && p.limit() == 5);
        assert_eq!(p.iter().count(), 3);
    }
}
