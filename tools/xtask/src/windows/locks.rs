//! Lock files of the workspaces beside ours: a build takes what they name, and changes none of them.
//!
//! A lock file that does not fit its manifest is an error with a word of what writes it: `cargo xtask locks`. The images'
//! hold wdk-build without a source, as it is built here, changed ([`super::kit`]).

use std::process::{Command, Stdio};

use super::kit::{self, Kit};
use super::run::{Failure, read_text};
use super::{out, root};

/// Workspaces of their own, each with its lock file.
const WORKSPACES: [&str; 8] = [
    "driver/mock/feed",
    "driver/mock/pe",
    "driver/ndis/notify",
    "driver/ndis/planb",
    "driver/ndis/planbim",
    "fuzz",
    "tests/loom",
    "tests/nopanic",
];

/// What cargo is told so that it takes the changed wdk-build.
pub(super) fn patch(kit: &Kit) -> String {
    format!("patch.crates-io.wdk-build.path={:?}", kit.wdk_build)
}

/// Resolves a workspace's dependencies, which writes its lock file unless that must fit as it is.
fn resolve(package: &str, kit: &Kit, locked: bool) -> Result<(), Failure> {
    let folder = root().join(package);
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--quiet", "--format-version", "1"]).current_dir(&folder);
    if read_text(&folder.join("Cargo.toml"))?.contains("\nwdk-build = ") {
        cargo.arg("--config").arg(patch(kit));
    }
    if locked {
        cargo.arg("--locked");
    }
    let said = cargo.stdout(Stdio::null()).output().map_err(|error| format!("{cargo:?}: {error}"))?;
    if said.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    Err(if locked && why.contains("--locked") {
        format!("{package}/Cargo.lock does not fit {package}/Cargo.toml: `cargo xtask locks` writes it anew")
    } else {
        format!("{package}: {why}")
    })
}

/// Holds a workspace's lock file to its manifest.
///
/// # Errors
/// It does not fit.
pub(super) fn fits(package: &str, kit: &Kit) -> Result<(), Failure> {
    resolve(package, kit, true)
}

/// `cargo xtask locks`: writes all of them; `--check` says whether they fit.
///
/// # Errors
/// Those that do not, or whatever cargo says.
pub(crate) fn locks(arguments: &[String]) -> Result<(), Failure> {
    let check = arguments.iter().any(|a| a == "--check");
    let kit = kit::make(&out())?;
    let failed: Vec<Failure> = WORKSPACES.iter().filter_map(|package| resolve(package, &kit, check).err()).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Every lock file of the repository but the workspace's own is in the table.
    #[test]
    fn every_workspace_is_known() {
        let said = Command::new("git").args(["ls-files", "*Cargo.lock"]).current_dir(root()).output().unwrap();
        let files = String::from_utf8(said.stdout).unwrap();
        let found: Vec<&str> = files.lines().filter_map(|f| Path::new(f).parent()?.to_str()).collect();
        assert_eq!(found, [&[""][..], &WORKSPACES].concat());
    }
}
