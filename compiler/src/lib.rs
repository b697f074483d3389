//! The pf.conf compiler: text in, a verified image out.
#![forbid(unsafe_code)]

pub mod optimize;
pub mod ruleset;
