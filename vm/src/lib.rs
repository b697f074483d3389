//! The packet-filter machine: instruction set, image, verifier, interpreter, packets, state and translation.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod api;
pub mod count;
pub mod engine;
pub mod exec;
pub mod host;
pub mod image;
pub mod isa;
pub mod nat;
pub mod norm;
pub mod osfp;
pub mod packet;
pub mod reply;
pub mod rule;
pub mod sort;
pub mod state;
pub mod sync;
pub mod table;
pub mod verify;
pub mod watch;
pub mod wire;
