//! The engine that commands other than `-n` act upon.
//!
//! There is none to talk to yet: every such command ends with pfctl's line for a device that cannot be opened.

use crate::command::Command;

/// pfctl's default device.
const DEVICE: &str = "/dev/pf";

/// The line for an engine that is not there.
pub(crate) fn unreachable(command: &Command) -> String {
    let device = command.device.as_deref().unwrap_or(DEVICE);
    format!("pfctl: {device}: No such file or directory")
}
