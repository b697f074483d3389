//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Compiles pf.conf into verified programs, and explains both.
///
/// Reads the language of OpenBSD 7.8's pf. `-` as FILE is standard input.
#[derive(Debug, Parser)]
#[command(name = "pfc", version, max_term_width = 100, after_help = EXIT)]
pub(crate) struct Command {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What the command's exit status means.
pub(crate) const EXIT: &str = "\
Exit status:
  0  done
  1  `check` has warnings to fail on (--deny-warnings), `fmt --check` has files to change
  2  the command line is wrong
  3  the rules have errors
  4  a file cannot be read or written";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Compile FILE into an image, verified as it is written
    Build(Build),
    /// Report every error and warning of FILE
    Check(Check),
    /// Print what FILE becomes on its way to an image
    Dump(Dump),
    /// Write FILES the way they should be written: blanks, indentation, line ends
    Fmt(Fmt),
    /// Tell what a code of a message means
    Explain(Explain),
    /// Print the facts of this machine, as --host-facts reads them
    Facts(Facts),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// What every command that reads rules takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Input {
    /// The rules; `-` is standard input
    pub(crate) file: String,
    /// Define a macro; it stands against definitions in the file
    #[arg(short = 'D', value_name = "MACRO=VALUE", value_parser = define)]
    pub(crate) define: Vec<(String, String)>,
    /// Facts of the machine the rules are for; this machine's where not given
    #[arg(long, value_name = "FILE")]
    pub(crate) host_facts: Option<PathBuf>,
    /// What the program will run on; what it cannot do there is refused
    #[arg(long, value_name = "TARGET", default_value = "any")]
    pub(crate) target: Place,
    /// Compile for this anchor instead of the main ruleset
    #[arg(short = 'a', long, value_name = "PATH", default_value = "")]
    pub(crate) anchor: String,
    /// How much pfctl's optimizer does; stands against the file's `set ruleset-optimization`
    #[arg(short = 'O', long, value_name = "LEVEL")]
    pub(crate) optimize: Option<Level>,
}

fn define(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("wanted is MACRO=VALUE")?;
    if name.is_empty() {
        return Err("the macro has no name".into());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Place {
    /// Anywhere: what pf means holds
    Any,
    /// Linux, with pfd between its adapters and its network stack
    Linux,
    /// Windows, below its network stack
    Windows,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Level {
    /// Rules stay as written
    None,
    /// Duplicates go, neighbours become tables
    Basic,
    /// As basic
    Profile,
}

#[derive(Args, Debug)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) input: Input,
    /// The image; FILE with the ending .pfbin where not given
    #[arg(short = 'o', long = "output", value_name = "OUT.pfbin")]
    pub(crate) output: Option<PathBuf>,
    /// Rules in order, one after the other, without classification
    #[arg(long)]
    pub(crate) straight: bool,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Report as JSON
    #[arg(long, conflicts_with = "sarif")]
    pub(crate) json: bool,
    /// Report as SARIF 2.1.0
    #[arg(long)]
    pub(crate) sarif: bool,
    /// Silence a lint, by its name or code
    #[arg(short = 'A', long, value_name = "LINT")]
    pub(crate) allow: Vec<String>,
    /// Errors and remarks alone, no lints
    #[arg(long)]
    pub(crate) no_lints: bool,
    /// Exit with 1 when there are warnings
    #[arg(long)]
    pub(crate) deny_warnings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Words as the lexer cuts them
    Tokens,
    /// Statements as the parser sees them
    Ast,
    /// Rules as pfctl prints them, numbered
    Rules,
    /// The decision graphs of classified runs
    Graph,
    /// Instructions, between the lines they come from
    Code,
}

#[derive(Args, Debug)]
pub(crate) struct Dump {
    /// What to print
    #[arg(long = "as", value_name = "FORM", default_value = "rules")]
    pub(crate) form: Form,
    #[command(flatten)]
    pub(crate) input: Input,
    /// With `code`: rules in order, one after the other
    #[arg(long)]
    pub(crate) straight: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Fmt {
    /// The files, changed where they are; `-` goes from standard input to standard output
    #[arg(required = true, value_name = "FILES")]
    pub(crate) files: Vec<String>,
    /// Change nothing, name the files that would change, and exit with 1 when there are any
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// A code, as PF0001; all of them, one a line, without any
    pub(crate) code: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Facts {
    /// Read this file instead of the machine, to check it
    #[arg(long, value_name = "FILE")]
    pub(crate) host_facts: Option<PathBuf>,
}
