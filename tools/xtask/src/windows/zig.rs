//! The linker of programs for ARM64: zig's, which brings the C library and import libraries along.
//!
//! Debian has mingw-w64's for x64 alone. Zig comes as a package of PyPI, of a fixed version, and is put under
//! `target/windows`; only `cargo xtask package` needs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::out;
use super::run::{Failure, run, write};

/// The package.
const PACKAGE: &str = "ziglang==0.17.1";

/// What stands between cargo and the linker: without the libraries of mingw's that zig has its own of, with zig's name of one
/// it calls otherwise, and without what it does not know.
const LINKER: &str = r#"#!/usr/bin/env bash
here=$(dirname "${BASH_SOURCE[0]}")
arguments=()
for argument in "$@"; do
  case $argument in
    -nolibc|--unwindlib=none|-lmingw32|-lmingwex|-lmsvcrt|-Wl,-O1|-Wl,--no-insert-timestamp) ;;
    -lsynchronization) arguments+=(-lapi-ms-win-core-synch-l1-2-0) ;;
    -Wl,*.def) arguments+=("${argument#-Wl,}") ;;
    *) arguments+=("$argument") ;;
  esac
done
export ZIG_GLOBAL_CACHE_DIR=$here/cache ZIG_LOCAL_CACHE_DIR=$here/cache
exec "$here/package/ziglang/zig" cc -target aarch64-windows-gnu "${arguments[@]}"
"#;

/// Puts it there and gives the linker's path.
///
/// # Errors
/// Whatever pip says.
pub(super) fn linker() -> Result<PathBuf, Failure> {
    let folder = out().join("zig");
    let package = folder.join("package");
    if !package.join("ziglang/zig").exists() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
        run(pip.arg(&package).arg(PACKAGE)).map_err(|why| format!("{why} (python3-pip)"))?;
    }
    let linker = folder.join("link");
    write(&linker, LINKER.as_bytes())?;
    executable(&linker)?;
    Ok(linker)
}

#[cfg(unix)]
fn executable(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, mode).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(not(unix))]
fn executable(_: &Path) -> Result<(), Failure> {
    Ok(())
}
