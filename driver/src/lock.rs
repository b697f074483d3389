//! The lock around a [`Filter`].
//!
//! Control, time and most packets have the filter alone. A host may let packets of known states share it
//! ([`Filter::pass_untold`], [`crate::edge::known`]): its lock is a reader-writer lock then, whose other half is its own.
//! Control holds it no longer than one page of a list or one swap of rules takes; reading and verifying an image happens
//! outside.
//!
//! Order: this lock, then that of one state or of one packet on its way ([`crate::edge::carry`]): both are tried and never
//! waited for, and nothing is taken under them (see [`pfvm::engine::known`], [`crate::edge::known`]). Whoever holds this lock,
//! either way, takes it no second time. A host guards its edge and its neighbours by this lock too, or by others that it takes
//! either always before this one or always after.
//!
//! IRQL: control runs at `PASSIVE_LEVEL`; a driver's lock may raise it to `DISPATCH_LEVEL` while `f` runs, so nothing in
//! there blocks.

use crate::filter::Filter;
use crate::platform::Platform;

/// A filter behind its lock.
pub trait Lock<P: Platform> {
    /// Runs `f` with the filter held alone.
    fn with<T>(&self, f: impl FnOnce(&mut Filter<P>) -> T) -> T;
}
