//! Plan B: the control command, compatible with pfctl.
//!
//! Letters are pfctl's ([`pf`]): same text, same streams, same exit status. Words are our own ([`verbs`]). Both talk to
//! a running filter over one connection ([`link`]).

mod command;
mod getopt;
mod link;
mod machine;
mod out;
mod pf;
mod transport;
mod verbs;
mod watch;
#[cfg(windows)]
mod windows;

use std::process::ExitCode;

use command::{Stop, USAGE};
use out::Out;

fn main() -> ExitCode {
    let mut args = std::env::args_os().map(|arg| arg_text(&arg));
    let program = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    if verbs::wanted(&program, &args) {
        return verbs::run(&args);
    }
    let mut out = Out::new(false, false);
    match command::parse(&args) {
        Ok((command, said)) => {
            said.iter().for_each(|line| out.say(line));
            pf::run(&command)
        }
        Err(Stop::Say(text)) => {
            out.put(&text);
            out.flush();
            ExitCode::SUCCESS
        }
        Err(Stop::Error(lines)) => {
            lines.iter().for_each(|line| out.say(line));
            ExitCode::FAILURE
        }
        Err(Stop::Usage(lines)) => {
            lines.iter().for_each(|line| out.say(line));
            out.say(USAGE.trim_end());
            ExitCode::FAILURE
        }
    }
}

#[cfg(unix)]
fn arg_text(arg: &std::ffi::OsStr) -> String {
    use std::os::unix::ffi::OsStrExt;
    pfc::source::text::decode(arg.as_bytes()).into_owned()
}

#[cfg(not(unix))]
fn arg_text(arg: &std::ffi::OsStr) -> String {
    arg.to_string_lossy().into_owned()
}
