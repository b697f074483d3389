//! Programs for Windows: pfload.exe, pfc.exe, pfsim.exe, and the notify object of the intermediate driver.
//!
//! Linked with mingw's libraries for x64 (`x86_64-pc-windows-gnu`), by zig for ARM64 ([`super::zig`]), in the workspace's
//! own target directory, so that what runs while building (the grammar's compiler, macros) is shared with every other
//! build. Each is held to [`image::program`].

use std::path::{Path, PathBuf};
use std::process::Command;

use super::run::{Failure, read, run, write};
use super::{Arch, identity, image, out, remapped, root, targets, zig};

/// Packages, each with its program.
pub(crate) const PACKAGES: [&str; 3] = ["pfload", "pfc", "pfsim"];
/// The notify object of the intermediate driver, and the program that asks it under Wine.
pub(crate) const NOTIFY: [&str; 2] = ["planbnot.dll", "planbnot-load.exe"];

/// How they are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quickly, for tests.
    Dev,
    /// To be given away.
    Release,
}

/// Cargo building for programs of a processor.
fn cargo(arch: Arch, folder: &Path) -> Result<Command, Failure> {
    targets(&[arch.programs()])?;
    // The linker writes no time into the image: the same sources give the same bytes.
    let mut flags = [remapped(), vec!["-Clink-arg=-Wl,--no-insert-timestamp".to_owned()]].concat();
    if arch == Arch::Arm64 {
        // What the linker is called tells rustc to talk to it as to ld.
        flags.push("-Clinker-flavor=gcc".to_owned());
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--locked", "--target", arch.programs()]).current_dir(folder);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")).env_remove("RUSTFLAGS");
    if arch == Arch::Arm64 {
        cargo.env("CARGO_TARGET_AARCH64_PC_WINDOWS_GNULLVM_LINKER", zig::linker()?);
    }
    Ok(cargo)
}

/// Puts a built program where it is taken from, named by what it holds.
fn put(from: &Path, to: &Path, arch: Arch) -> Result<(), Failure> {
    let mut bytes = read(from)?;
    identity::name(&mut bytes, None)?;
    image::program(&bytes, arch).map_err(|what| format!("{}: {what}", from.display()))?;
    write(to, &bytes)
}

/// Builds the commands and gives their paths under `target/windows`.
///
/// # Errors
/// Whatever cargo says; a program that does not hold.
pub(crate) fn build(profile: Profile, arch: Arch) -> Result<Vec<PathBuf>, Failure> {
    let mut cargo = cargo(arch, &root())?;
    for package in PACKAGES {
        cargo.args(["-p", package]);
    }
    let (folder, ours) = match profile {
        Profile::Dev => ("debug", arch.wdk().to_owned()),
        Profile::Release => {
            cargo.args(["--release", "--config", "profile.release.strip=true"]);
            ("release", format!("{}-release", arch.wdk()))
        }
    };
    run(&mut cargo)?;
    let built = root().join("target").join(arch.programs()).join(folder);
    let mut made = Vec::new();
    for package in PACKAGES {
        let program = format!("{package}.exe");
        let to = out().join(&ours).join(&program);
        put(&built.join(&program), &to, arch)?;
        made.push(to);
    }
    Ok(made)
}

/// Builds the notify object, for x64 with the program that asks it, and gives its path.
///
/// # Errors
/// As [`build`].
pub(crate) fn notify(arch: Arch) -> Result<PathBuf, Failure> {
    let [library, program] = NOTIFY;
    let package = root().join("driver/ndis/notify");
    let mut cargo = cargo(arch, &package)?;
    cargo.args(["--release", "--lib"]);
    if arch == Arch::X64 {
        cargo.args(["--example", "load"]);
    }
    run(&mut cargo)?;
    let built = package.join("target").join(arch.programs()).join("release");
    let to = out().join(arch.wdk());
    if arch == Arch::X64 {
        put(&built.join("examples/load.exe"), &to.join(program), arch)?;
    }
    put(&built.join(library), &to.join(library), arch)?;
    Ok(to.join(library))
}
