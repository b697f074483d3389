//! Harness: generators, oracles, packet scripts.

pub mod fuzz;
mod shared;

pub use shared::{project, shared};
