//! What both images ask of Windows. All unsafe code of this crate.
//!
//! Types and functions of NT come from wdk-sys, those of NDIS from [`ndis`]. Names newer than Windows 10 1809 are looked
//! up when the driver starts, so that the same image runs where they are missing.

pub mod boot;
pub mod device;
pub mod entry;
pub mod eventlog;
pub mod file;
pub mod memory;
pub mod ndis;
pub mod nt;
pub mod readers;
pub mod registry;
pub mod timer;
