//! Live figures and the long form of the endurance test, in network namespaces (root).
//!
//! `cargo run --release -p tests --bin live -- figures [SECONDS [RUNS]]`, `… -- million`, `… -- endurance [SECONDS]` or
//! `… -- reloads [TIMES [RULES]]`.

use std::process::ExitCode;

use tests::live::endure::endure;
use tests::live::figures::{figures, million};
use tests::live::reloads::reloads;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let seconds = words.get(1).and_then(|n| n.parse().ok());
    let runs = words.get(2).and_then(|n| n.parse().ok()).unwrap_or(1);
    match words.first().map(String::as_str) {
        Some("figures") => match figures(seconds.unwrap_or(10), runs) {
            Some(text) => print!("{text}"),
            None => return ExitCode::FAILURE,
        },
        Some("million") => match million() {
            Some(text) => print!("{text}"),
            None => return ExitCode::FAILURE,
        },
        Some("endurance") => match endure(seconds.unwrap_or(600).into()) {
            Some(result) => {
                print!("{result}");
                let complaints = result.complaints();
                complaints.iter().for_each(|c| println!("wrong: {c}"));
                if !complaints.is_empty() {
                    return ExitCode::FAILURE;
                }
            }
            None => return ExitCode::FAILURE,
        },
        Some("reloads") => {
            let number = |at: usize| words.get(at).and_then(|n| n.parse().ok());
            match reloads(number(1).unwrap_or(1000), number(2).unwrap_or(10_000)) {
                Some(result) => {
                    print!("{result}");
                    let complaints = result.complaints();
                    complaints.iter().for_each(|c| println!("wrong: {c}"));
                    if !complaints.is_empty() {
                        return ExitCode::FAILURE;
                    }
                }
                None => return ExitCode::FAILURE,
            }
        }
        _ => {
            eprintln!(
                "live: `figures [SECONDS [RUNS]]`, `million`, `endurance [SECONDS]` or `reloads [TIMES [RULES]]`"
            );
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
