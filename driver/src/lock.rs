//! The lock around a [`Filter`], as the control side takes it.
//!
//! The packet path takes the same lock. Control holds it no longer than one page of a list or one swap of rules takes;
//! reading and verifying an image happens outside.
//!
//! IRQL: control runs at `PASSIVE_LEVEL`; a driver's lock may raise it to `DISPATCH_LEVEL` while `f` runs, so nothing in
//! there blocks.

use crate::filter::Filter;
use crate::platform::Platform;

/// A filter behind its lock.
pub trait Lock<P: Platform> {
    /// Runs `f` with the lock held.
    fn with<T>(&self, f: impl FnOnce(&mut Filter<P>) -> T) -> T;
}
