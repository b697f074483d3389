//! planbnot.dll: the notify object of the intermediate driver.
//!
//! Windows loads it with the network configuration and tells it of binding paths. It makes one virtual miniport for each
//! physical adapter the protocol is bound to, writes the miniport's name where the driver looks for it, and refuses paths
//! that would go around the filter: another protocol's straight to such an adapter, the driver's own to its own miniport.
//!
//! [`rules`] says what becomes of a path, [`names`] where things stand in the registry: both run anywhere. `sys` is the
//! COM server: `INetCfgComponentControl`, `…Setup`, `…NotifyBinding`, `…NotifyGlobal`.
//!
//! **Invariant:** nothing is written before Windows says that the changes are applied; cancelled changes leave nothing.

pub mod names;
pub mod rules;
#[cfg(windows)]
#[allow(non_snake_case, reason = "methods of COM interfaces keep their names")]
mod sys;
