//! What a host gives: time and chance.

use pfvm::host::Random;

/// A host.
pub trait Platform: Random {
    /// Milliseconds since some fixed point; never goes back.
    fn now_ms(&self) -> u64;

    /// Seconds of 1970, as the wall clock says.
    fn wall_seconds(&self) -> u64;
}
