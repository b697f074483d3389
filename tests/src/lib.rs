//! Harness: generators, oracles, packet scripts.

mod answers;
mod built;
pub mod daemon;
pub mod decide;
pub mod desk;
pub mod documents;
pub mod fuzz;
pub mod gateway;
pub mod im;
pub mod lab;
pub mod live;
pub mod mixed;
pub mod ndis;
pub mod packets;
pub mod rulesets;
pub mod script;
mod shared;
pub mod spec;
mod stories;
pub mod sys;

pub use answers::{Answer, answers};
pub use built::program;
pub use shared::{project, shared};
pub use stories::stories;
