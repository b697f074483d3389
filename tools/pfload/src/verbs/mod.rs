//! pfload's own commands, by word: what pfctl has no letter for.
//!
//! Holds the table of words ([`Verb`]), the definition the completions and manual pages are made from ([`definition`]),
//! and the way from a word to what it does. Under the name `pfctl` there are no words.

pub(crate) mod facts;
mod load;
mod log;
mod pages;
mod status;
mod top;
mod trace;

use std::process::ExitCode;

use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::link::{Link, Outcome, Trouble};
use crate::out::Out;

/// What every word takes.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Common {
    /// Socket or device of the filter.
    #[arg(short = 'p', long = "device", value_name = "DEVICE", global = true)]
    pub device: Option<String>,
    /// Answer with JSON documents.
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing that was not asked for.
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl Common {
    /// Where words go.
    pub(crate) fn out(&self) -> Out {
        Out::new(self.quiet, self.json)
    }

    /// The filter.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) fn link(&self) -> Outcome<Link> {
        Link::open(self.device.as_deref())
    }
}

#[derive(Parser, Debug)]
#[command(name = "pfload", disable_help_subcommand = true, about = "Control the packet filter", version)]
struct Words {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// The words.
#[derive(Subcommand, Debug)]
enum Verb {
    /// Put a compiled image (.pfbin) in force.
    Load(load::Load),
    /// Tell the filter of its host's interfaces, addresses, routes and ports.
    Facts(facts::Tell),
    #[cfg(windows)]
    #[allow(missing_docs, reason = "its words are its help")]
    Service(crate::windows::service::Service),
    /// Keep rules that were loaded with --confirm.
    Confirm(load::Which),
    /// Go back to the rules before those that wait for their confirmation.
    Revert(load::Which),
    #[allow(missing_docs, reason = "its words are its help")]
    Status(status::Status),
    #[allow(missing_docs, reason = "its words are its help")]
    Doctor(status::Doctor),
    #[allow(missing_docs, reason = "its words are its help")]
    Log(log::Log),
    #[allow(missing_docs, reason = "its words are its help")]
    Trace(trace::Trace),
    #[allow(missing_docs, reason = "its words are its help")]
    Top(top::Top),
    /// Print completions for a shell.
    Completions(pages::Completions),
    /// Print the manual page, or write all of them into a folder.
    Man(pages::Man),
}

/// Whether a command line is one of ours: a word comes first, or after the options every word takes, and the program is
/// not called pfctl.
pub(crate) fn wanted(program: &str, args: &[String]) -> bool {
    let name = std::path::Path::new(program).file_stem().map(|n| n.to_string_lossy().into_owned());
    if name.as_deref() == Some("pfctl") {
        return false;
    }
    let is_word = |arg: &str| !arg.is_empty() && !arg.starts_with('-');
    let mut rest = args.iter().map(String::as_str);
    let first = rest.clone().next();
    while let Some(arg) = rest.next() {
        match arg {
            "-p" | "--device" => drop(rest.next()),
            "--json" | "-q" | "--quiet" => {}
            glued if glued.starts_with("--device=") || (glued.starts_with("-p") && glued.len() > 2) => {}
            word if !is_word(word) => return false,
            // A stray word that is none of ours is for pfctl's letters to complain about, unless it comes first.
            word => return first == Some(word) || Words::command().get_subcommands().any(|s| s.get_name() == word),
        }
    }
    false
}

/// The words, a line each.
pub(crate) fn summary() -> String {
    let mut out = "       pfload [-p device] [-q] [--json] word ...\n".to_owned();
    for verb in Words::command().get_subcommands() {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        out += &format!("\t{:<12} {about}\n", verb.get_name());
    }
    out + "\t`pfload word --help` tells what each takes\n"
}

/// Carries out a command line that begins with a word.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let words = std::iter::once("pfload".to_owned()).chain(args.iter().cloned());
    let parsed = Words::command().try_get_matches_from(words).and_then(|m| Words::from_arg_matches(&m));
    let words = match parsed {
        Ok(words) => words,
        Err(why) => {
            let _ = why.print();
            return ExitCode::from(u8::from(why.use_stderr()));
        }
    };
    let mut out = words.common.out();
    let done = match &words.verb {
        Verb::Load(load) => load.run(&words.common, &mut out),
        Verb::Facts(facts) => facts.run(&words.common, &mut out),
        #[cfg(windows)]
        Verb::Service(service) => service.run(&words.common),
        Verb::Confirm(which) => which.confirm(&words.common, &mut out),
        Verb::Revert(which) => which.revert(&words.common, &mut out),
        Verb::Status(status) => status.run(&words.common, &mut out),
        Verb::Doctor(doctor) => doctor.run(&words.common, &mut out),
        Verb::Log(log) => log.run(&words.common, &mut out),
        Verb::Trace(trace) => trace.run(&words.common, &mut out),
        Verb::Top(top) => top.run(&words.common, &mut out),
        Verb::Completions(shell) => shell.run(&mut out),
        Verb::Man(man) => man.run(&mut out),
    };
    let code = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            fail(&mut out, &why);
            ExitCode::FAILURE
        }
    };
    out.flush();
    code
}

/// Says what went wrong, and what can be done about a filter that is not there.
fn fail(out: &mut Out, why: &Trouble) {
    let line = why.to_string();
    if !line.is_empty() {
        out.say(&format!("pfload: {line}"));
    }
    if why.is_denied() {
        out.say(
            "pfload: this filter answers root, members of pfd's --group, and to look, of its --read-group: be one of them",
        );
    }
    if why.is_absent() {
        out.say(&format!("pfload: {}", crate::transport::ABSENT));
    }
}

/// pfctl's letters, as completions and manual pages show them: letter, value, completed how, help.
const LETTERS: &[(&str, &str, &[&str], &str)] = &[
    ("a", "ANCHOR", &[], "Apply -f, -F, -s, -T and -z to this anchor; a trailing * means all below it too"),
    ("d", "", &[], "Disable the filter"),
    ("D", "MACRO=VALUE", &[], "Define a macro; it wins over the file"),
    ("e", "", &[], "Enable the filter"),
    ("q", "", &[], "Say only errors"),
    ("f", "FILE", &[], "Load rules from a file, - is standard input; with -T, addresses"),
    ("F", "WHAT", crate::command::FLUSH, "Flush"),
    ("g", "", &[], "Show what helps debugging"),
    ("h", "", &[], "Show the usage"),
    ("i", "INTERFACE", &[], "Only this interface or group"),
    ("k", "HOST", &[], "Kill states: from a host, twice for to a host; or label, key, id and a second -k"),
    ("K", "HOST", &[], "Kill source nodes"),
    ("L", "FILE", &[], "Load states from a file of -S"),
    ("N", "", &[], "No names of hosts in rules"),
    ("n", "", &[], "Change nothing, only check"),
    ("o", "LEVEL", crate::command::OPTIMIZE, "Optimize the rules"),
    ("P", "", &[], "Show names of services"),
    ("p", "DEVICE", &[], "Socket or device of the filter"),
    ("R", "NUMBER", &[], "Show only the rule with this number"),
    ("r", "", &[], "Show names of hosts"),
    ("S", "FILE", &[], "Store the states in a file"),
    ("s", "WHAT", crate::command::SHOW, "Show"),
    ("t", "TABLE", &[], "The table of -T"),
    ("T", "COMMAND", crate::command::TABLE, "Do something to a table, with addresses behind it"),
    ("v", "", &[], "Say more; twice, still more"),
    ("V", "RDOMAIN", &[], "Routing domain of -k"),
    ("x", "LEVEL", crate::command::DEBUG, "How much the filter logs"),
    ("z", "", &[], "Zero the counters of rules"),
];

/// Our long options: name, value, help.
const LONG: &[(&str, &str, &str)] = &[
    ("host-facts", "FILE", "Interfaces, addresses, users of the machine the rules are for"),
    ("confirm", "TIME", "Roll the rules back after this time unless confirmed (30s, 5m)"),
    ("kill-changed", "", "Kill states whose rule is gone or changed"),
    ("reeval", "", "Kill states the new rules would not let come into being"),
    ("frames", "", "Show errors with the lines they are in"),
    ("json", "", "Answer with JSON documents"),
];

/// Everything the program takes, letters and words: what completions and manual pages are made from.
pub(crate) fn definition() -> clap::Command {
    let value = |arg: Arg, value: &'static str| match value {
        "" => arg.action(ArgAction::SetTrue),
        name => arg.value_name(name).action(ArgAction::Append),
    };
    let mut command = clap::Command::new("pfload")
        .about("Control the packet filter")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .subcommand_negates_reqs(true);
    for (letter, name, words, help) in LETTERS {
        let arg = value(Arg::new(*letter).short(letter.chars().next()).help(*help), name);
        let arg = if words.is_empty() { arg } else { arg.value_parser(words.to_vec()) };
        command = command.arg(arg);
    }
    for (long, name, help) in LONG {
        command = command.arg(value(Arg::new(*long).long(*long).help(*help), name));
    }
    command = command.arg(Arg::new("addresses").value_name("ADDRESS").num_args(0..).help("Addresses for -T"));
    let common = Common::augment_args(clap::Command::new("common"));
    let common: Vec<Arg> = common.get_arguments().map(|arg| arg.clone().global(false)).collect();
    for verb in Words::command().get_subcommands() {
        command = command.subcommand(verb.clone().args(common.iter().cloned()));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_ours_letters_are_pfctls() {
        let args = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(wanted("/usr/bin/pfload", &args("status")));
        assert!(!wanted("/usr/sbin/pfctl", &args("status")));
        assert!(!wanted("pfload", &args("-sr")));
        assert!(wanted("pfload", &args("-p sock --json status")) && wanted("pfload", &args("-psock top")));
        assert!(!wanted("pfload", &args("-p sock stray")) && !wanted("pfctl", &args("-p sock status")));
        assert!(!wanted("pfload", &args("-p sock -t tab -T add status")));
        assert!(!wanted("pfload", &[]));
    }

    /// The definition that is only shown has the letters that are read.
    #[test]
    fn the_definition_is_the_command() {
        definition().debug_assert();
        let known = definition();
        let shown: String = known.get_arguments().filter_map(Arg::get_short).collect();
        let takes = |letter: char| {
            known.get_arguments().any(|a| a.get_short() == Some(letter) && a.get_action().takes_values())
        };
        for (letter, rest) in crate::getopt::letters() {
            assert!(shown.contains(letter), "-{letter}");
            assert_eq!(takes(letter), rest, "-{letter}");
        }
        assert_eq!(shown.len(), crate::getopt::letters().count());
        for (name, takes) in crate::getopt::longs().filter(|(name, _)| !matches!(*name, "help" | "version")) {
            let arg = known.get_arguments().find(|a| a.get_long() == Some(name)).unwrap_or_else(|| panic!("--{name}"));
            assert_eq!(arg.get_action().takes_values(), takes, "--{name}");
        }
    }
}
