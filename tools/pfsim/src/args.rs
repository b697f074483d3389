//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Shows what rules do to packets, without touching any network.
///
/// Rules are a pf.conf, compiled on the spot, or an image made by `pfc build`.
#[derive(Debug, Parser)]
#[command(name = "pfsim", version, max_term_width = 100, after_help = EXIT)]
pub(crate) struct Command {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What the command's exit status means.
pub(crate) const EXIT: &str = "\
Exit status:
  0  done
  2  the command line, or the packet on it, is wrong
  3  the rules have errors, or the image is refused
  4  a file cannot be read or written
  5  the capture is damaged; what was read before is reported, nothing is written";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a capture through the rules and report what passed, what did not, and why
    Run(Run),
    /// Show one packet's way through the rules
    ///
    /// PACKET is a line such as
    ///   'in on em0 tcp 192.0.2.7:40000 > 198.51.100.1:22 S'
    ///   'out on em1 icmp 10.0.0.1 > 10.0.0.20 echoreq'
    ///   'in on em0 udp [2001:db8::7]:53 > [2001:db8:1::1]:4000 len 120'
    /// and may go on with ttl, tos, len, seq, ack, win, id, type, code, frag, prio, user, group, tag, received-on.
    #[command(verbatim_doc_comment)]
    Why(Why),
    /// Replay packet stories recorded from pf and report, a family a line, what agrees
    Stories(Stories),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// Rules and the machine they are for.
#[derive(Args, Clone, Debug)]
pub(crate) struct Input {
    /// The rules: a pf.conf, or an image
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: PathBuf,
    /// Define a macro of the rules; it stands against definitions in the file
    #[arg(short = 'D', value_name = "MACRO=VALUE", value_parser = define)]
    pub(crate) define: Vec<(String, String)>,
    /// Facts of the machine the rules are for; this machine's where not given
    #[arg(long, value_name = "FILE")]
    pub(crate) host_facts: Option<PathBuf>,
}

fn define(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("wanted is MACRO=VALUE")?;
    if name.is_empty() {
        return Err("the macro has no name".into());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Stories to replay.
#[derive(Args, Debug)]
pub(crate) struct Stories {
    /// Stories, one JSON object a line; may be xz-compressed
    pub(crate) file: PathBuf,
    /// Only those whose name is or begins with one of these
    pub(crate) names: Vec<String>,
    /// Show what differs
    #[arg(short)]
    pub(crate) verbose: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Dir {
    /// Received
    In,
    /// Sent
    Out,
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) input: Input,
    /// The capture, pcap or pcapng; `-` is standard input. Given several times, with the interface each was taken on,
    /// the captures are merged by time
    #[arg(long, value_name = "[NAME=]FILE", required = true)]
    pub(crate) pcap: Vec<String>,
    /// Write what passed, as rewritten, in the capture's format
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// Interface of every packet; or CAPTURED=NAME, to rename one of the capture's
    #[arg(long, value_name = "[CAPTURED=]NAME")]
    pub(crate) on: Vec<String>,
    /// Direction of packets whose capture tells none
    #[arg(long)]
    pub(crate) dir: Option<Dir>,
    /// Show the state table at the end, as `pfctl -s states` does; with -v as `pfctl -vv` does
    #[arg(long, conflicts_with = "stateless")]
    pub(crate) states: bool,
    /// Print every packet with what became of it
    #[arg(short = 'p', long)]
    pub(crate) packets: bool,
    /// Judge every packet by the rules alone, without states and translation
    #[arg(long)]
    pub(crate) stateless: bool,
    /// List also the rules that decided nothing
    #[arg(short = 'v', long)]
    pub(crate) verbose: bool,
    /// Report as JSON; with --packets one object a line before it
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Why {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Show also the rules that do not match, and the instructions executed
    #[arg(short = 'v', long)]
    pub(crate) verbose: bool,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The packet, as one argument or several
    #[arg(required = true, num_args = 1..)]
    pub(crate) packet: Vec<String>,
}
