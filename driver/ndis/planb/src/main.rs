//! planb.sys: the filter of `pfndis`, bound to Windows.
//!
//! [`sys`] holds what a filter asks of Windows: the entry, the callbacks NDIS calls, NDIS's functions for filters. The
//! device, memory, the timer, time and chance are `pfimage`'s.
//!
//! IRQL: entry, unload, attach, detach, pause, restart and the device at `PASSIVE_LEVEL`; everything else at
//! `DISPATCH_LEVEL` at most. One spin lock guards engine, facts and edge; nothing of NDIS is called with it held.
//!
//! **Invariant:** when the driver is unloaded nothing of it is left: no memory, timer, device or handler.
#![no_std]
#![no_main]

pub mod sys;
