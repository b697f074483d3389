//! Harness: generators, oracles, packet scripts.

pub mod fuzz;
pub mod packets;
mod shared;
mod stories;

pub use shared::{project, shared};
pub use stories::stories;
