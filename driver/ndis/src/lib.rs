//! The NDIS filter, the half of it that knows no Windows: what it does with buffer lists, requests and states of a
//! module, over a trait of NDIS's functions.
//!
//! ```text
//! NdisF… callbacks ─> [module] life, send, receive, requests ─> judge: the edge, the engine
//!        <─ [os]: NdisF… functions      own frames: [frames]       offload facts: [offload]
//! ```
//!
//! **Invariant:** every buffer list that comes in goes out once: sent on, completed, indicated or given back.
//! **Invariant:** a list of somebody else's is never written to but for its links, its status and its count of children;
//! rewritten packets are copies.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod device;
pub mod event;
pub mod frames;
pub mod gateway;
pub mod im;
pub mod judge;
pub mod later;
pub mod message;
pub mod module;
pub mod offload;
pub mod oid;
pub mod os;
pub mod pass;
pub mod pending;
pub mod random;
pub mod readers;
pub mod sys;
