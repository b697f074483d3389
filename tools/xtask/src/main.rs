//! Build tasks: `cargo xtask NAME`.

mod sanitize;
mod windows;

use std::process::{Command, ExitCode};

/// What a task runs: it gets the arguments behind its name.
type Run = fn(&[String]) -> Result<(), String>;

/// Tasks: name, what it does, what it runs.
const TASKS: &[(&str, &str, Run)] = &[
    (
        "driver",
        "builds planb.sys and what goes with it, for Windows (--x64: not for ARM64; --twice: and again, the same bytes)",
        windows::build,
    ),
    (
        "wine",
        "runs the built drivers under Wine and compares them with pfsim (a number: so many rounds; a driver's name: that one; --drivers: nothing else)",
        windows::wine::prove,
    ),
    (
        "package",
        "makes the zip people install from (--x64: not for ARM64; --built: of the drivers that are built already; --dev: with commands built quickly)",
        windows::package::package,
    ),
    (
        "locks",
        "writes the lock files of the workspaces beside this one (--check: says whether they fit, and writes none)",
        windows::locks::locks,
    ),
    (
        "sanitize",
        "the driver over the mock under AddressSanitizer, ThreadSanitizer and Miri (--address, --thread, --miri: one alone)",
        sanitize::sanitize,
    ),
    (
        "nightly",
        "a million random rulesets and packets, on which evaluator, straight code and classified code agree; then sanitize (a number: so many)",
        |arguments| {
            let tests = ["test", "--release", "-p", "tests", "--test", "decisions", "--test", "text_roundtrip"];
            cargo(&tests, ("PF_CASES", arguments.first().map_or("1000000", String::as_str)))?;
            sanitize::sanitize(&[])
        },
    ),
    ("bless", "writes the tables of isa-spec.md anew", |_| {
        cargo(&["test", "-p", "tests", "--test", "isa_spec"], ("PF_BLESS", "1"))
    }),
];

/// A run of cargo with something in its environment.
fn cargo(arguments: &[&str], variable: (&str, &str)) -> Result<(), String> {
    match Command::new("cargo").args(arguments).env(variable.0, variable.1).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo {}: {status}", arguments.join(" "))),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("", String::as_str);
    let Some((_, _, task)) = TASKS.iter().find(|(own, ..)| *own == name) else {
        eprintln!("usage: cargo xtask TASK");
        for (name, about, _) in TASKS {
            eprintln!("  {name:10} {about}");
        }
        return ExitCode::from(2);
    };
    match task(arguments.get(1..).unwrap_or_default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
