//! The verifier: [`Image`](crate::image::Image) → [`Program`], and nothing else makes a program.
//!
//! What it proves, of the code and of the straight code alike:
//! * every word is an instruction, and everything its operands name is there;
//! * every way on from a word leads to a later word of the same ruleset, so every run of a ruleset ends;
//! * no run of a ruleset costs more steps than its *bound*: the largest sum of weights on any path, computed backward
//!   over the words; the bound of the code is at most the budget;
//! * every search, set, leaf, row and list that an instruction reads lies inside its section and is in order.
//!
//! Its own work is linear in the size of the image: one pass over each section, two over the words, four bytes of
//! scratch a word. It takes memory only by fallible reservation, at most eight times the image.
//!
//! **Invariant:** a [`Program`] never changes; what names are bound to at run time is kept elsewhere.

mod code;
mod program;
mod reject;
mod sections;

pub use program::{Bounds, Program};
pub use reject::{At, Body, Reject};
pub(crate) use sections::{AxisData, AxisOf, BitSetData, QUICK, at, range};

/// Budget of a driver: weighted steps one ruleset may take for one packet.
pub const DRIVER_BUDGET: u32 = 4096;

/// Most axes of a bit-set classifier.
pub const MAX_AXES: usize = 16;

extern crate alloc;
use alloc::vec::Vec;

/// Collects at most `count` items into memory reserved beforehand.
pub(crate) fn collect<T>(count: u32, items: impl Iterator<Item = T>) -> Result<Vec<T>, Reject> {
    let count = usize::try_from(count).map_err(|_| Reject::NoMemory {})?;
    let mut all = Vec::new();
    all.try_reserve_exact(count).map_err(|_| Reject::NoMemory {})?;
    for item in items.take(count) {
        if all.len() == all.capacity() {
            return Err(Reject::NoMemory {});
        }
        all.push(item);
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
