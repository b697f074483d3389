//! What pfload does on Windows alone: the machine read, followed and told to the driver; the service; its health.

mod follow;
pub(crate) mod health;
pub(crate) mod service;

use std::process::Command;

use pfwin::net::{DYNAMIC, Ports};
use pfwin::sys;

use crate::link::{Outcome, Trouble, reason};
use crate::machine::Machine;

/// The machine as it is now.
///
/// # Errors
/// [`Trouble::Here`]: a table cannot be read.
pub(crate) fn machine() -> Outcome<Machine> {
    let here = |what: &'static str| move |why: std::io::Error| Trouble::Here(format!("{what}: {}", reason(&why)));
    Ok(Machine {
        adapters: sys::adapters().map_err(here("adapters"))?,
        routes: sys::routes().map_err(here("routes"))?,
        sockets: sys::ports_in_use().map_err(here("ports in use"))?,
        dynamic: vec![(6, dynamic("tcp")), (17, dynamic("udp"))],
    })
}

/// The range Windows takes ports from, as `netsh` tells it; what it takes by default where `netsh` does not.
fn dynamic(proto: &str) -> Ports {
    let told = Command::new("netsh").args(["interface", "ipv4", "show", "dynamicport", proto]).output().ok();
    told.and_then(|told| Ports::read(&String::from_utf8_lossy(&told.stdout))).unwrap_or(DYNAMIC)
}
