//! Storage by `set limit`: states, source nodes, fragments, tables and their entries.
//!
//! It goes in two steps. [`Engine::grow`] takes the memory and can fail; nobody sees a difference but in the memory used.
//! [`Engine::set_options`] then puts the limits in force and cannot fail. Room once taken is kept until the engine goes, so
//! a lower limit is a matter of the second step alone; what is in use above it stays until it ends by itself.

use crate::engine::Engine;
use crate::rule::Limits;
use crate::state::pool::OutOfMemory;

/// Bytes of fragments kept at most.
const FRAG_BYTES: u32 = 16 << 20;
/// Bytes there is always room for: a few of the longest fragments.
const FEW_BYTES: u32 = 256 << 10;

/// Bytes of their contents that go with so many fragments.
pub(super) const fn frag_bytes(frags: u32) -> u32 {
    match frags.saturating_mul(2048) {
        ..FEW_BYTES => FEW_BYTES,
        bytes @ FEW_BYTES..FRAG_BYTES => bytes,
        _ => FRAG_BYTES,
    }
}

impl Engine {
    /// Makes room for what `limits` allow, but not beyond [`Engine::most`]. States, source nodes, fragments and
    /// table entries keep their places. The index of states is built anew: that takes time in proportion to their number.
    ///
    /// # Errors
    /// [`OutOfMemory`]: all limits are as before, and everything is in its place.
    pub fn grow(&mut self, limits: &Limits) -> Result<(), OutOfMemory> {
        let most = self.most;
        self.table.grow(limits.states.min(most.states))?;
        self.nodes.grow(limits.src_nodes.min(most.src_nodes))?;
        let frags = limits.frags.min(most.frags);
        self.frags.grow(frags, frag_bytes(frags))?;
        self.tables.grow(limits.tables.min(most.tables), limits.table_entries.min(most.table_entries))
    }

    /// Puts limits in force as far as there is room.
    pub(super) fn set_limits(&mut self, limits: &Limits) {
        self.table.set_limit(limits.states);
        self.nodes.set_limit(limits.src_nodes);
        self.frags.set_limit(limits.frags);
        self.tables.all.set_limits(limits.tables, limits.table_entries);
    }
}
