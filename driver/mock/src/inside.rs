//! Which side of the line a thread is on: in the driver, or in the NDIS it calls.
//!
//! A test's allocator asks, so that it refuses the driver memory and not the mock.

use std::cell::Cell;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs code of the driver's.
#[must_use]
pub fn is_driver() -> bool {
    INSIDE.try_with(Cell::get).unwrap_or(false)
}

/// The side a thread is on until this is dropped.
#[derive(Debug)]
pub struct Side(bool);

impl Side {
    /// In the driver.
    #[must_use]
    pub fn driver() -> Self {
        Self(INSIDE.replace(true))
    }

    /// Outside of it.
    #[must_use]
    pub fn mock() -> Self {
        Self(INSIDE.replace(false))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}
