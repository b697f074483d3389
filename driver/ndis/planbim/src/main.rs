//! planbim.sys: the intermediate driver of `pfndis`, bound to Windows.
//!
//! A protocol towards the adapters below, a virtual miniport above each. [`sys`] holds what that asks of Windows: the
//! entry, the callbacks NDIS calls on either side, NDIS's functions. The device, memory, the timer, time and chance are
//! `pfimage`'s; packets, states and requests are `pfndis::im`'s.
//!
//! IRQL: entry, unload, bind, unbind, initialize, halt, pause, restart and the device at `PASSIVE_LEVEL`; everything else
//! at `DISPATCH_LEVEL` at most. Nothing of NDIS is called with a lock held.
//!
//! **Invariant:** when the driver is unloaded nothing of it is left: no memory, timer, device or handler.
#![no_std]
#![no_main]

extern crate alloc;

pub mod sys;
