//! The records of states, side by side, each on cache lines of its own.
//!
//! **Invariant:** memory is taken once, fallibly, in [`Slab::new`] or [`Slab::reserve`]; taking and giving back a record
//! never allocates. A record in use keeps its number for life.

use alloc::vec::Vec;

use crate::state::pool::{OutOfMemory, room};
use crate::state::record::{NONE, State};

/// Records of at most `limit` states.
#[derive(Debug)]
pub(super) struct Slab {
    places: Vec<State>,
    free: u32,
    used: u32,
    limit: u32,
}

impl Slab {
    pub(super) fn new(limit: u32) -> Result<Self, OutOfMemory> {
        Ok(Self { places: room("states", limit)?, free: NONE, used: 0, limit })
    }

    /// Makes room for `limit` records in all; what is there stays.
    pub(super) fn reserve(&mut self, limit: u32) -> Result<(), OutOfMemory> {
        let err = OutOfMemory { what: "states", count: limit };
        let want = usize::try_from(limit).map_err(|_| err)?;
        self.places.try_reserve_exact(want.saturating_sub(self.places.len())).map_err(|_| err)?;
        self.limit = self.limit.max(limit);
        Ok(())
    }

    pub(super) fn take(&mut self, state: State) -> Option<u32> {
        if self.used >= self.limit {
            return None;
        }
        let id = self.free;
        if let Some(place) = self.at_mut(id) {
            let next = place.next_free();
            *place = state;
            self.free = next;
            self.used = self.used.saturating_add(1);
            return Some(id);
        }
        if self.places.len() == self.places.capacity() {
            return None;
        }
        let id = u32::try_from(self.places.len()).ok()?;
        self.places.push(state);
        self.used = self.used.saturating_add(1);
        Some(id)
    }

    pub(super) fn give(&mut self, id: u32) -> Option<State> {
        let free = self.free;
        let place = self.at_mut(id).filter(|s| !s.is_free())?;
        let state = core::mem::replace(place, State::free(free));
        self.free = id;
        self.used = self.used.saturating_sub(1);
        Some(state)
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&State> {
        self.places.get(usize::try_from(id).ok()?).filter(|s| !s.is_free())
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut State> {
        self.at_mut(id).filter(|s| !s.is_free())
    }

    /// Reads from both lines of a record, in use or not.
    #[inline]
    pub(super) fn touch(&self, id: u32) -> u32 {
        usize::try_from(id).ok().and_then(|id| self.places.get(id)).map_or(0, State::touch)
    }

    pub(super) const fn used(&self) -> u32 {
        self.used
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    #[inline]
    fn at_mut(&mut self, id: u32) -> Option<&mut State> {
        self.places.get_mut(usize::try_from(id).ok()?)
    }
}
