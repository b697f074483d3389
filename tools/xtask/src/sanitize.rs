//! `cargo xtask sanitize`: the driver's half with unsafe code under AddressSanitizer, and under Miri where it is installed.
//!
//! AddressSanitizer runs all tests of the portable driver over the mock (buffer lists in real memory: a list that is
//! touched after it was given away, or beyond its pieces, ends the run). Miri runs what is quick enough: the driver's unit
//! tests, and of those over the mock three.

use std::process::Command;

/// Where the instrumented build goes: it shares nothing with the ordinary one.
const TARGET: &str = "target/sanitize";
/// The only target whose standard library comes with the sanitizer's hooks here.
const HOST: &str = "x86_64-unknown-linux-gnu";
/// What Miri runs: a package, and which of its tests.
const SLOW: &[(&str, &[&str])] = &[
    ("pfndis", &["--lib"]),
    ("ndismock", &["--test", "filter", "--", "a_failed_copy", "a_pause_waits", "order_is_kept"]),
];

/// Runs both; `--address` or `--miri` for one alone.
///
/// # Errors
/// A run that failed, or a nightly toolchain that is not there.
pub(crate) fn sanitize(arguments: &[String]) -> Result<(), String> {
    let alone = arguments.first().map(String::as_str);
    if alone != Some("--miri") {
        address()?;
    }
    if alone != Some("--address") {
        miri()?;
    }
    Ok(())
}

fn run(command: &mut Command, what: &str) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{what}: {status}")),
        Err(error) => Err(format!("{what}: {error}")),
    }
}

fn address() -> Result<(), String> {
    let mut command = Command::new("cargo");
    command.args(["+nightly", "test", "--target", HOST, "--target-dir", TARGET, "-p", "ndismock", "-p", "pfndis"]);
    // Tests that end in a panic on purpose leave memory behind; leaks of the driver are the mock's to find.
    command
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=1");
    // Doctests would be linked without the sanitizer.
    command.args(["--lib", "--tests"]);
    run(&mut command, "AddressSanitizer")
}

fn miri() -> Result<(), String> {
    let there = Command::new("cargo").args(["+nightly", "miri", "--version"]).output();
    if !there.is_ok_and(|out| out.status.success()) {
        println!("Miri did not run: `rustup component add miri rust-src --toolchain nightly` installs it");
        return Ok(());
    }
    for (package, tests) in SLOW {
        let mut command = Command::new("cargo");
        command.args(["+nightly", "miri", "test", "--target-dir", TARGET, "-p", package]).args(*tests);
        // The mock gives handlers numbers for pointers, as NDIS does.
        command.env("MIRIFLAGS", "-Zmiri-permissive-provenance -Zmiri-disable-isolation").env("PROPTEST_CASES", "4");
        run(&mut command, package)?;
    }
    Ok(())
}
