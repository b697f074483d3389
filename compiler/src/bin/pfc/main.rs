//! The pf.conf compiler, as a command.

mod args;
mod build;
mod check;
mod dump;
mod fmt;
mod input;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use pfc::diag::{CODES, Code};

use args::{Command, Explain, Facts, Verb};

/// How a run of the command ends, as [`args::EXIT`] tells the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// There is something to change or to fail on.
    Findings,
    /// The command line is wrong.
    Usage,
    /// The rules have errors.
    Rules,
    /// A file cannot be read or written.
    File,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Findings => 1,
            Exit::Usage => 2,
            Exit::Rules => 3,
            Exit::File => 4,
        })
    }
}

/// Says what is wrong, on standard error.
pub(crate) fn complain(what: &str) {
    let error = anstyle::AnsiColor::Red.on_default().bold();
    // Where standard error is gone, nobody is left to tell.
    let _ = writeln!(anstream::stderr(), "{error}pfc:{error:#} {what}");
}

/// Prints to standard output; a reader that went away ends the run in peace.
pub(crate) fn print(text: &str) -> Exit {
    let mut out = anstream::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            complain(&format!("cannot write: {error}"));
            Exit::File
        }
    }
}

fn explain(args: &Explain) -> Exit {
    let Some(text) = &args.code else {
        let rows: String = CODES.iter().map(|info| format!("{}  {}\n", info.code, info.title)).collect();
        return print(&rows);
    };
    let Some(info) = Code::parse(text).and_then(Code::info) else {
        complain(&format!("no code `{text}`; `pfc explain` lists them all"));
        return Exit::Usage;
    };
    let head = anstyle::Style::new().bold();
    print(&format!("{head}{}: {}{head:#}\n\n{}\n", info.code, info.title, info.explanation.trim()))
}

fn facts(args: &Facts) -> Exit {
    match input::facts(args.host_facts.as_deref()) {
        Ok(facts) => print(&facts.to_toml()),
        Err(exit) => exit,
    }
}

fn manual() -> Exit {
    let mut page = Vec::new();
    match clap_mangen::Man::new(Command::command()).render(&mut page) {
        Ok(()) => print(&String::from_utf8_lossy(&page)),
        Err(error) => {
            complain(&format!("cannot write the manual: {error}"));
            Exit::File
        }
    }
}

fn main() -> ExitCode {
    let exit = match Command::parse().verb {
        Verb::Build(args) => build::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Dump(args) => dump::run(&args),
        Verb::Explain(args) => explain(&args),
        Verb::Fmt(args) => fmt::run(&args),
        Verb::Facts(args) => facts(&args),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Command::command(), "pfc", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Verb::Man => manual(),
    };
    exit.into()
}
