//! Plan B: benchmarks. Each mode prints one line a cell; nothing is asserted of times.

mod classbench;
mod classify;
mod clock;
mod driver;
mod filter;
mod forward;
mod load;
mod mix;
mod reload;
mod threads;

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Measures the compiler and the machine.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    /// What to measure.
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Looks packets of a ClassBench trace up in a set of rules and checks the answers.
    Classify {
        /// Name of a set (`acl1_1k`) or file of ClassBench rules.
        set: String,
        /// Folder with `rules` and `trace`.
        #[arg(long, default_value = "../shared/perf/classbench")]
        data: PathBuf,
        /// Which rules are quick.
        #[arg(long, value_enum, default_value = "quick")]
        order: classbench::Order,
        /// Passes over the trace; the median counts.
        #[arg(long, default_value_t = 7)]
        passes: usize,
        /// Straight code instead of a classifier.
        #[arg(long)]
        straight: bool,
        /// Most packets of the trace to use.
        #[arg(long, default_value_t = usize::MAX)]
        packets: usize,
        /// Only different packets, in random order.
        #[arg(long)]
        distinct: bool,
    },
    /// Runs a filter of eleven instructions.
    Filter {
        /// Passes; the median counts.
        #[arg(long, default_value_t = 501)]
        passes: usize,
    },
    /// Parses, compiles and verifies a file, or so many rules made up.
    Load {
        /// A pf.conf, `.xz` or plain; without it, rules are made up.
        #[arg(long)]
        file: Option<PathBuf>,
        /// How many rules to make up.
        #[arg(default_value_t = 1000)]
        n: usize,
        /// Runs; the median counts.
        #[arg(long, default_value_t = 7)]
        passes: usize,
    },
    /// The engine on packets of known states.
    State(Cell),
    /// The engine on packets of known states that are translated.
    Nat(Cell),
    /// The driver on received frames of known states: its handlers over a mock of NDIS.
    Driver {
        /// What to measure.
        #[command(flatten)]
        cell: Cell,
        /// With translation: each frame is copied.
        #[arg(long)]
        nat: bool,
    },
    /// The engine on first packets, into an empty table.
    Newconn {
        /// What to measure.
        #[command(flatten)]
        cell: Cell,
        /// With translation.
        #[arg(long)]
        nat: bool,
    },
    /// The engine on packets that only the last of N rules passes.
    Rules {
        /// What to measure.
        #[command(flatten)]
        cell: Cell,
        /// The evaluation alone.
        #[arg(long)]
        alone: bool,
    },
    /// Loads rules again and again while packets flow; fails when a packet or a state is lost.
    Reload {
        /// Rules.
        #[arg(default_value_t = 10_000)]
        rules: usize,
        /// Loads.
        #[arg(default_value_t = 1000)]
        loads: usize,
        /// States.
        #[arg(long, default_value_t = 10_000)]
        flows: u16,
    },
}

/// One cell of a table.
#[derive(clap::Args)]
struct Cell {
    /// Protocol of the packets.
    #[arg(value_enum, ignore_case = true)]
    proto: mix::Proto,
    /// Flows, or rules.
    n: u32,
    /// Passes; the median counts.
    #[arg(default_value_t = 7)]
    passes: usize,
    /// Threads that share the engine or the driver (of `state`, `nat` and `driver`).
    #[arg(long, default_value_t = 1)]
    threads: u32,
}

/// Measures one cell of the engine.
fn engine(mode: forward::Mode, cell: &Cell) -> Result<(), String> {
    match mode {
        forward::Mode::State | forward::Mode::Nat if cell.threads > 1 => {
            threads::run(mode, cell.proto, cell.n.max(cell.threads), cell.passes, cell.threads)
        }
        _ => forward::run(mode, cell.proto, cell.n, cell.passes),
    }
}

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    let done = match args.mode {
        Mode::Classify { set, data, order, passes, straight, packets, distinct } => {
            classify::run(&classify::Job { set, data, order, passes, straight, packets, distinct })
        }
        Mode::Filter { passes } => filter::run(passes),
        Mode::Load { file, n, passes } => load::load(file.as_deref(), n, passes),
        Mode::State(cell) => engine(forward::Mode::State, &cell),
        Mode::Nat(cell) => engine(forward::Mode::Nat, &cell),
        Mode::Driver { cell, nat } => {
            let mode = if nat { forward::Mode::Nat } else { forward::Mode::State };
            driver::run(mode, cell.proto, cell.n.max(cell.threads), cell.passes, cell.threads)
        }
        Mode::Newconn { cell, nat: false } => engine(forward::Mode::Newconn, &cell),
        Mode::Newconn { cell, nat: true } => engine(forward::Mode::NewconnNat, &cell),
        Mode::Rules { cell, alone: false } => engine(forward::Mode::Rules, &cell),
        Mode::Reload { rules, loads, flows } => reload::run(rules, loads, flows),
        Mode::Rules { cell, alone: true } => load::rules(cell.n as usize, cell.passes),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("pfbench: {why}");
            std::process::ExitCode::FAILURE
        }
    }
}
