//! `cargo xtask sanitize`: the driver's half with unsafe code under AddressSanitizer, under ThreadSanitizer, then under Miri.
//!
//! AddressSanitizer runs all tests of the portable driver over the mock (buffer lists in real memory: a list that is
//! touched after it was given away, or beyond its pieces, ends the run), and those of the whole driver, edge and engine in it.
//! ThreadSanitizer runs those in which several processors are at it, with a standard library that is built for it. Miri runs
//! what is quick enough: the unit tests of the driver's core and of its NDIS half, and of those over the mock three.

use std::process::{Command, Stdio};
use std::time::Instant;

/// Where the instrumented builds go: they share nothing with the ordinary one.
const TARGET: &str = "target/sanitize";
/// The only target whose standard library comes with the sanitizer's hooks here.
const HOST: &str = "x86_64-unknown-linux-gnu";
/// What has to be there.
const WANTED: &str = "rustup toolchain install nightly --profile minimal --component miri --component rust-src";
/// Tests of the whole driver that AddressSanitizer runs.
const WHOLE: &[&str] = &["shared_frames", "offloads", "driver_ways", "low_memory"];
/// Tests over the mock that ThreadSanitizer runs.
const THREADS: &[&str] = &["ways", "model", "filter", "im"];
/// What Miri runs: a package, and which of its tests.
const SLOW: &[(&str, &[&str])] = &[
    ("pfdriver", &["--lib"]),
    ("pfndis", &["--lib"]),
    ("ndismock", &["--test", "filter", "--", "a_failed_copy", "a_pause_waits", "order_is_kept"]),
];

/// Runs all; `--address`, `--thread` or `--miri` for one alone.
///
/// # Errors
/// A run that failed, or tools that are not there, with what installs them.
pub(crate) fn sanitize(arguments: &[String]) -> Result<(), String> {
    let alone = arguments.first().map(String::as_str);
    let wanted: &[&str] = if alone.is_none_or(|one| one == "--miri") { &["miri", "--version"] } else { &["--version"] };
    let there = Command::new("cargo").arg("+nightly").args(wanted).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        return Err(format!("wanted is what this installs: {WANTED}"));
    }
    type Run = fn() -> Result<(), String>;
    let all: [(&str, Run); 3] = [("--address", address), ("--thread", threads), ("--miri", miri)];
    if let Some(alone) = alone.filter(|alone| all.iter().all(|(name, _)| name != alone)) {
        return Err(format!("{alone}: --address, --thread or --miri"));
    }
    all.iter().filter(|(name, _)| alone.is_none_or(|alone| alone == *name)).try_for_each(|(_, run)| run())
}

fn run(command: &mut Command, what: &str) -> Result<(), String> {
    let begun = Instant::now();
    match command.status() {
        Ok(status) if status.success() => {
            println!("{what}: nothing found, in {} s", begun.elapsed().as_secs());
            Ok(())
        }
        Ok(status) => Err(format!("{what}: {status}")),
        Err(error) => Err(format!("{what}: {error}")),
    }
}

/// Tests built with a sanitizer.
fn built(sanitizer: &str, folder: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(["+nightly", "test", "--quiet", "--target", HOST, "--target-dir", folder]);
    command.env("RUSTFLAGS", format!("-Zsanitizer={sanitizer}"));
    command
}

fn address() -> Result<(), String> {
    // Tests that end in a panic on purpose leave memory behind; leaks of the driver are the mock's to find.
    let options = ("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=1");
    let mut command = built("address", TARGET);
    // Doctests would be linked without the sanitizer.
    command.args(["-p", "ndismock", "-p", "pfndis", "--lib", "--tests"]).env(options.0, options.1);
    run(&mut command, "AddressSanitizer")?;
    let mut command = built("address", TARGET);
    command.args(["-p", "tests"]).args(WHOLE.iter().flat_map(|test| ["--test", test])).env(options.0, options.1);
    run(&mut command, "AddressSanitizer, the whole driver")
}

fn threads() -> Result<(), String> {
    let mut command = built("thread", &format!("{TARGET}/thread"));
    command.args(["-Zbuild-std", "-p", "ndismock"]).args(THREADS.iter().flat_map(|test| ["--test", test]));
    run(&mut command, "ThreadSanitizer")
}

fn miri() -> Result<(), String> {
    for (package, tests) in SLOW {
        let mut command = Command::new("cargo");
        command.args(["+nightly", "miri", "test", "--quiet", "--target-dir", TARGET, "-p", package]).args(*tests);
        // The mock gives handlers numbers for pointers, as NDIS does.
        command.env("MIRIFLAGS", "-Zmiri-permissive-provenance -Zmiri-disable-isolation").env("PROPTEST_CASES", "4");
        run(&mut command, &format!("Miri, {package}"))?;
    }
    Ok(())
}
