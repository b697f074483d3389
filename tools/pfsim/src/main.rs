//! Replay and explain, as a command.

mod args;
mod load;
mod run;
mod why_command;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Command, Verb};

/// How a run of the command ends, as [`args::EXIT`] tells the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// The command line is wrong.
    Usage,
    /// The rules have errors.
    Rules,
    /// A file cannot be read or written.
    File,
    /// The capture is damaged.
    Capture,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Usage => 2,
            Exit::Rules => 3,
            Exit::File => 4,
            Exit::Capture => 5,
        })
    }
}

/// Says what is wrong, on standard error.
pub(crate) fn complain(what: &str) {
    let error = anstyle::AnsiColor::Red.on_default().bold();
    // Where standard error is gone, nobody is left to tell.
    let _ = writeln!(anstream::stderr(), "{error}pfsim:{error:#} {what}");
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
        Verb::Run(args) => run::run(&args),
        Verb::Why(args) => why_command::run(&args),
        Verb::Stories(args) => match pfsim::stories::replay(&args.file, &args.names, args.verbose) {
            Ok(_) => Exit::Done,
            Err(error) => {
                complain(&error.to_string());
                Exit::File
            }
        },
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Command::command(), "pfsim", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Verb::Man => manual(),
    };
    exit.into()
}
