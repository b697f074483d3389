//! Plan B: the control command, compatible with pfctl.
//!
//! Reads and checks rules as `pfctl -n` does, to the letter: same text, same streams, same exit status. What needs a
//! running engine is refused until there is one to talk to ([`engine`]).

mod command;
mod engine;
mod getopt;
#[allow(dead_code, reason = "the commands that use it come with the connection to the engine")]
mod watch;

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use command::{Command, Stop, USAGE};
use pfc::diag;
use pfc::facts::Facts;
use pfc::facts::live::{File, Live, Source};
use pfc::resolve::{Session, Stream};
use pfc::source::{Sources, text};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os().skip(1).map(|arg| arg_text(&arg)).collect();
    match command::parse(&args) {
        Ok((command, said)) => {
            complain(&said);
            run(&command)
        }
        Err(Stop::Say(text)) => {
            write(Stream::Out, &text);
            ExitCode::SUCCESS
        }
        Err(Stop::Error(lines)) => {
            complain(&lines);
            ExitCode::FAILURE
        }
        Err(Stop::Usage(lines)) => {
            complain(&lines);
            write(Stream::Err, USAGE);
            ExitCode::FAILURE
        }
    }
}

#[cfg(unix)]
fn arg_text(arg: &std::ffi::OsStr) -> String {
    use std::os::unix::ffi::OsStrExt;
    text::decode(arg.as_bytes()).into_owned()
}

#[cfg(not(unix))]
fn arg_text(arg: &std::ffi::OsStr) -> String {
    arg.to_string_lossy().into_owned()
}

fn complain(lines: &[String]) {
    for line in lines {
        write(Stream::Err, &format!("{line}\n"));
    }
}

/// Writes text as the bytes it stands for. A closed pipe is no error of ours.
fn write(stream: Stream, words: &str) {
    let bytes = text::encode(words);
    let _ = match stream {
        Stream::Out => std::io::stdout().write_all(&bytes),
        Stream::Err => std::io::stderr().write_all(&bytes),
    };
}

fn run(command: &Command) -> ExitCode {
    if !command.options.dry_run {
        complain(&[engine::unreachable(command)]);
        return ExitCode::FAILURE;
    }
    let Some(rules) = &command.rules else { return ExitCode::SUCCESS };
    if command.table.is_some() {
        return ExitCode::SUCCESS;
    }
    match facts(command) {
        Ok(facts) => check(command, rules, &facts),
        Err(line) => {
            complain(&[line]);
            ExitCode::FAILURE
        }
    }
}

fn facts(command: &Command) -> Result<Facts, String> {
    match &command.host_facts {
        Some(file) => File(file.into()).facts().map_err(|e| format!("pfctl: {file}: {e}")),
        None => Live.facts().map_err(|e| format!("pfctl: {e}")),
    }
}

/// `-n -f`: reads the rules and says what pfctl says of them.
fn check(command: &Command, rules: &str, facts: &Facts) -> ExitCode {
    let mut sources = Sources::new(facts.loader());
    let mut session = Session::new(facts, &command.options);
    let main = if rules == "-" {
        let mut bytes = Vec::new();
        if let Err(e) = std::io::stdin().read_to_end(&mut bytes) {
            complain(&[format!("pfctl: stdin: {e}")]);
            return ExitCode::FAILURE;
        }
        Some(sources.add("stdin", bytes))
    } else {
        session.open(&mut sources, rules)
    };
    let good = main.is_some_and(|main| session.run(&mut sources, main).is_some());
    let said = session.said();
    if command.json {
        write(Stream::Out, &format!("{}\n", diag::json(said.diagnostics(), &sources)));
    } else {
        for (stream, words) in said.take() {
            write(stream, &words);
        }
    }
    if !good && !command.json && (command.frames || std::io::stderr().is_terminal()) {
        write(Stream::Err, &diag::frames(said.diagnostics(), &sources));
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
