//! Plan B: the user-mode packet-filter host.
//!
//! One process holds one filter. It answers `pfload` on a Unix socket ([`serve`]); its facts come from a file or from the
//! system ([`start`]).

mod peer;
mod serve;
mod start;
mod sys;
mod unix;

use std::process::ExitCode;

use clap::Parser;

/// The user-mode packet-filter host.
#[derive(Debug, Parser)]
#[command(name = "pfd", version, about)]
struct Args {
    /// Socket to listen on for pfload.
    #[arg(short = 'p', long = "socket", value_name = "SOCKET", default_value = "/run/pf/control")]
    socket: std::path::PathBuf,
    /// Facts of the host from a file instead of the system.
    #[arg(long, value_name = "FILE")]
    host_facts: Option<std::path::PathBuf>,
    /// Rules to begin with: a pf.conf, or an image.
    #[arg(long, value_name = "FILE")]
    rules: Option<std::path::PathBuf>,
    /// Members of this group may do everything, as root.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Members of this group may look.
    #[arg(long, value_name = "NAME")]
    read_group: Option<String>,
    /// Steps a ruleset may take for a packet.
    #[arg(long, value_name = "STEPS", default_value_t = pfc::compile::BUDGET)]
    budget: u32,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("pfd: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    let stop = sys::signals(&[libc::SIGTERM, libc::SIGINT]).map_err(|e| format!("signals: {e}"))?;
    let peers = peer::Peers::new(args.group.as_deref(), args.read_group.as_deref())?;
    let facts = start::facts(args.host_facts.as_deref())?;
    let filter = start::filter(&facts, args.rules.as_deref(), args.budget)?;
    let control = pfdriver::control::Control::new(pfvm::api::HostKind::Daemon, args.budget);
    let mut server = serve::Server::new(&args.socket, control, peers)?;
    println!("pfd: ready on {}", args.socket.display());
    server.run(&filter, &stop)
}
