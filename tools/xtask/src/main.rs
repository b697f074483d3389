//! Build tasks: `cargo xtask NAME`.

mod sanitize;
mod windows;

use std::process::{Command, ExitCode};

/// A task that is more than a run of cargo: it gets the arguments behind its name.
type Own = fn(&[String]) -> Result<(), String>;

/// Such tasks: name, what it does, what it runs.
const OWN: &[(&str, &str, Own)] = &[
    (
        "driver",
        "builds planb.sys and what goes with it, for Windows (--x64: not for ARM64; --twice: and again, the same bytes)",
        windows::build,
    ),
    (
        "wine",
        "runs the built drivers under Wine and compares them with pfsim (a number: so many rounds; --drivers: nothing else)",
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
        "the driver over the mock under AddressSanitizer, then under Miri where that is installed (--address, --miri: one alone)",
        sanitize::sanitize,
    ),
];

/// Tasks: name, what it does, what it runs with which environment.
const TASKS: &[Task] = &[
    Task {
        name: "nightly",
        about: "a million random rulesets and packets: evaluator, straight code and classified code agree",
        args: &["test", "--release", "-p", "tests", "--test", "decisions", "--test", "text_roundtrip"],
        env: &[("PF_CASES", "1000000")],
    },
    Task {
        name: "bless",
        about: "writes the tables of isa-spec.md anew",
        args: &["test", "-p", "tests", "--test", "isa_spec"],
        env: &[("PF_BLESS", "1")],
    },
];

/// A run of cargo.
struct Task {
    name: &'static str,
    about: &'static str,
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().cloned().unwrap_or_default();
    if let Some((_, _, task)) = OWN.iter().find(|(own, ..)| *own == name) {
        return match task(arguments.get(1..).unwrap_or_default()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("xtask: {failure}");
                ExitCode::FAILURE
            }
        };
    }
    let Some(task) = TASKS.iter().find(|t| t.name == name) else {
        eprintln!("usage: cargo xtask TASK");
        for (name, about, _) in OWN {
            eprintln!("  {name:10} {about}");
        }
        for task in TASKS {
            eprintln!("  {:10} {}", task.name, task.about);
        }
        return ExitCode::from(2);
    };
    match Command::new("cargo").args(task.args).envs(task.env.iter().copied()).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: cargo: {error}");
            ExitCode::FAILURE
        }
    }
}
