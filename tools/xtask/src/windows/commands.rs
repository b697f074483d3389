//! The commands for Windows: pfload.exe, pfc.exe, pfsim.exe.
//!
//! Built for `x86_64-pc-windows-gnu`, linked with mingw's libraries, in the workspace's own target directory, so that what
//! runs while building (the grammar's compiler, macros) is shared with every other build. For ARM64 there is no linker of
//! that kind in Debian: Windows on ARM runs these, and the driver is what has to be native.

use std::path::PathBuf;
use std::process::Command;

use super::run::{Failure, read, run, write};
use super::{COMMANDS, out, remapped, root};

/// Packages, each with its program.
pub(crate) const PACKAGES: [&str; 3] = ["pfload", "pfc", "pfsim"];

/// How they are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quickly, for tests.
    Dev,
    /// To be given away.
    Release,
}

/// Builds them and gives their paths under `target/windows`.
///
/// # Errors
/// Whatever cargo says.
pub(crate) fn build(profile: Profile) -> Result<Vec<PathBuf>, Failure> {
    let (folder, ours) = match profile {
        Profile::Dev => ("debug", "x64"),
        Profile::Release => ("release", "x64-release"),
    };
    // The linker writes no time into the image: the same sources give the same bytes.
    let flags = [remapped(), vec!["-Clink-arg=-Wl,--no-insert-timestamp".to_owned()]].concat();
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--locked", "--target", COMMANDS]).current_dir(root());
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")).env_remove("RUSTFLAGS");
    for package in PACKAGES {
        cargo.args(["-p", package]);
    }
    if profile == Profile::Release {
        cargo.args(["--release", "--config", "profile.release.strip=true"]);
    }
    run(&mut cargo)?;
    let built = root().join("target").join(COMMANDS).join(folder);
    let mut made = Vec::new();
    for package in PACKAGES {
        let to = out().join(ours).join(format!("{package}.exe"));
        write(&to, &read(&built.join(format!("{package}.exe")))?)?;
        made.push(to);
    }
    Ok(made)
}
