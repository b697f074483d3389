//! The commands of the workspace, built: a test run builds the binaries of its own package only.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::project;

/// A command of the workspace: from the folder `PF_COMMANDS` names, else built once by whoever asks first.
///
/// # Panics
/// When the commands cannot be built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        if let Some(folder) = std::env::var_os("PF_COMMANDS") {
            return PathBuf::from(folder);
        }
        let mut folder = std::env::current_exe().expect("this test has a path");
        folder.pop();
        if folder.ends_with("deps") {
            folder.pop();
        }
        let mut build = Command::new(env!("CARGO"));
        // All of them: then features are those of the test run, and libraries are not built a second time.
        build.args(["build", "--quiet", "--workspace", "--bins"]);
        build.current_dir(project("."));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        if let Some(target) = folder.parent() {
            build.arg("--target-dir").arg(target);
        }
        assert!(build.status().expect("cargo runs").success(), "the commands build");
        folder
    });
    folder.join(name).with_extension(std::env::consts::EXE_EXTENSION)
}
