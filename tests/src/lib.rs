//! Harness: generators, oracles, packet scripts.

mod shared;

pub use shared::{project, shared};
