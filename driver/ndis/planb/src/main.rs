//! planb.sys: the filter of `pfndis`, bound to Windows.
//!
//! [`sys`] holds all that touches Windows: the entry, the callbacks NDIS calls, the device, memory, the timer.
//! [`platform`] is the host the filter asks for time and chance.
//!
//! IRQL: entry, unload, attach, detach, pause, restart and the device at `PASSIVE_LEVEL`; everything else at
//! `DISPATCH_LEVEL` at most. One spin lock guards engine, facts and edge; nothing of NDIS is called with it held.
//!
//! **Invariant:** when the driver is unloaded nothing of it is left: no memory, timer, device or handler.
#![no_std]
#![no_main]

extern crate alloc;

pub mod platform;
pub mod sys;
