//! The portable driver core: everything of a filter's host that is the same in a kernel and in a process.
//!
//! Holds [`filter::Filter`] (the engine, what it knows of its host, what it has made: one lock), [`control::Control`]
//! (clients, tickets, the requests of `pfvm::api`: a lock of its own) and what both work with. A host gives a
//! [`platform::Platform`] and a [`lock::Lock`], moves frames and carries messages; nothing here knows a socket, a device
//! or an operating system.
//!
//! **Invariant:** no `unsafe`, and memory only by fallible reservation.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod control;
pub mod edge;
pub mod facts;
pub mod filter;
pub mod good;
pub mod life;
pub mod lock;
pub mod log;
pub mod outbox;
pub mod platform;
pub mod trace;
