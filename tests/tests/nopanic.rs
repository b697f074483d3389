//! The machine cannot panic: its entry points link against a panic handler that calls a function nobody defines.

use std::path::Path;
use std::process::{Command, Output};

/// Builds the link test as the driver is built: whole-program optimised, overflow checked.
fn build(features: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = option_env!("CARGO_TARGET_DIR").map_or_else(|| root.join("../target"), Into::into).join("nopanic");
    Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--locked", "--manifest-path"])
        .arg(root.join("nopanic/Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .args(features)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap()
}

#[test]
fn the_machine_links_without_a_panic() {
    let out = build(&[]);
    assert!(out.status.success(), "a panic can be reached:\n{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn the_link_test_can_fail() {
    let out = build(&["--features", "canary"]);
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success());
    assert!(errors.contains("undefined") && errors.contains("the_machine_can_panic"), "{errors}");
}
