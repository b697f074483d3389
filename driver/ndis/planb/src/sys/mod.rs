//! What the driver asks of Windows: all unsafe code of the driver.
//!
//! Types and functions of NT come from wdk-sys, those of NDIS from [`ndis`]. Names newer than Windows 10 1809 are looked
//! up when the driver starts, so that the same image runs where they are missing.

pub mod callbacks;
pub mod device;
pub mod entry;
pub mod memory;
pub mod ndis;
pub mod nt;
pub mod registry;
pub mod timer;
