//! The data that lies beside the project and not in it: recorded answers, stories, corpora, rule sets for benchmarks.
//!
//! Holds the one way tests reach it. A test that finds nothing says so in one line and passes, so that the sources
//! alone still test themselves; with `PF_REQUIRE` in the environment it fails instead.

use std::path::{Path, PathBuf};

/// The file or folder `path` of the `shared` folder beside the project, if there is one.
///
/// # Panics
/// When it is absent and `PF_REQUIRE` is set.
#[must_use]
pub fn shared(path: &str) -> Option<PathBuf> {
    let found =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|up| up.join("shared").join(path)).find(|at| at.exists());
    if found.is_none() {
        assert!(std::env::var_os("PF_REQUIRE").is_none(), "shared/{path} is required and absent");
        eprintln!("not run: shared/{path} is absent");
    }
    found
}

/// The project's own file or folder `path`.
#[must_use]
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("..")).join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_files_are_found() {
        assert!(project("Cargo.toml").is_file());
    }
}
