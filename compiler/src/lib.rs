//! The pf.conf compiler: text in, a verified image out.
#![forbid(unsafe_code)]

pub mod eval;
pub mod optimize;
pub mod ruleset;
