//! The portable driver core: control requests, the packet edge, program swap.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod edge;
pub mod life;
pub mod log;
pub mod trace;
