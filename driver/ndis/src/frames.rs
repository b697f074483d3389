//! Frames of the filter's own: copies that are rewritten, and what it makes itself.
//!
//! A module has a fixed number of them, taken when it attaches: each a buffer list with one frame over one buffer. A
//! frame is taken, filled, sent or indicated, and comes back by the completion or the return. None is allocated on a
//! packet's way; when all are out, the packet is dropped (`memory`).
//!
//! **Invariant:** a frame that is out holds a stay of its module's gate, so that no module goes away before its frames
//! are back.

use crate::os::Supplies;
use crate::sys::layout::Handle;
use crate::sys::list::List;
use crate::sys::slots::{Slot, Slots};

/// Ordinary frames of a module.
pub const SMALL: usize = 1024;
/// Bytes of one's buffer.
pub const SMALL_BYTES: u32 = 2048;
/// Frames as long as a frame can be.
pub const LARGE: usize = 16;
/// Bytes of one's buffer.
pub const LARGE_BYTES: u32 = 65_536 + 512;
/// Bytes left free in front of a frame's data, for headers of those below.
pub const FRONT: u32 = 64;

/// How many of each kind a module takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supply {
    /// Ordinary ones.
    pub small: usize,
    /// Long ones.
    pub large: usize,
}

impl Default for Supply {
    fn default() -> Self {
        Self { small: SMALL, large: LARGE }
    }
}

/// A module's frames.
#[derive(Debug)]
pub struct Frames {
    pool: Handle,
    small: Slots,
    large: Slots,
}

impl Frames {
    /// Takes all there will be. `None`, with nothing kept, when there is no room.
    #[must_use]
    pub fn new<O: Supplies>(os: &O, module: Handle, supply: Supply) -> Option<Self> {
        let pool = os.new_pool(module);
        if pool.is_none() {
            return None;
        }
        let small = Slots::new(os, module, pool, supply.small, SMALL_BYTES, FRONT);
        let large = Slots::new(os, module, pool, supply.large, LARGE_BYTES, FRONT);
        match (small, large) {
            (Some(small), Some(large)) => Some(Self { pool, small, large }),
            (small, large) => {
                for slots in [small, large].into_iter().flatten() {
                    slots.free(os);
                }
                os.free_pool(pool);
                None
            }
        }
    }

    /// Gives all back. All must be in.
    pub fn free<O: Supplies>(self, os: &O) {
        self.small.free(os);
        self.large.free(os);
        os.free_pool(self.pool);
    }

    /// A list with the parts as its frame, `length` bytes in all. `None` when they are too long, one is missing, or no frame
    /// is free.
    pub fn take<'p, O: Supplies>(
        &self,
        os: &O,
        length: usize,
        parts: impl Iterator<Item = Option<&'p [u8]>>,
    ) -> Option<List> {
        let fits = |bytes: u32| usize::try_from(bytes.saturating_sub(FRONT)).is_ok_and(|room| length <= room);
        let mut slot: Slot = match (fits(SMALL_BYTES), fits(LARGE_BYTES)) {
            (true, _) => self.small.take(os).or_else(|| self.large.take(os))?,
            (false, true) => self.large.take(os)?,
            (false, false) => return None,
        };
        if slot.fill(FRONT, parts) {
            return Some(slot.into_list());
        }
        self.shelve(os, slot);
        None
    }

    fn shelve<O: Supplies>(&self, os: &O, slot: Slot) {
        if slot.is_of(&self.small) { self.small.put(os, slot) } else { self.large.put(os, slot) }
    }

    /// Takes a list of this module's back.
    pub fn put<O: Supplies>(&self, os: &O, list: List) {
        self.shelve(os, Slot::of_list(list));
    }

    /// Whether a list is of this module's pool.
    #[must_use]
    pub fn own(&self, list: &List) -> bool {
        list.pool() == self.pool
    }

    /// Frames that are in, of both kinds.
    pub fn free_count<O: Supplies>(&self, os: &O) -> (usize, usize) {
        (self.small.count(os), self.large.count(os))
    }
}
