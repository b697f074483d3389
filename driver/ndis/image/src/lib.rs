//! What the driver's images share: memory, time, chance, settings, the timer, the device.
//!
//! `planb.sys` (a filter) and `planbim.sys` (a protocol below, a miniport above) differ in who is above and below them,
//! which each says itself. [`platform`] is the host the engine asks for time and chance; [`sys`] holds all that touches
//! Windows.
//!
//! **Invariant:** nothing here knows which of the two images it is in.
#![no_std]

extern crate alloc;

pub mod platform;
pub mod sys;

/// What [`supplies!`] names.
pub mod supplies {
    pub use pfndis::os::Supplies;
    pub use pfndis::sys::layout::{Handle, LockState, Mdl, OidRequest};
    pub use pfndis::sys::list::{List, Maps};
    pub use pfndis::sys::lock::{Levels, Shares};

    pub use crate::sys::{memory, ndis, timer};
}
