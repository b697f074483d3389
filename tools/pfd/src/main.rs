//! Plan B: the user-mode packet-filter host.
//!
//! One process holds one filter. It answers `pfload` on a Unix socket ([`serve`]); its facts come from a file or from the
//! system ([`start`], [`host`]). It stands between adapters and this host's stack, or joins two adapters ([`attach`]), and
//! every frame goes through the filter ([`stand`], [`packets`]).

mod args;
mod attach;
mod host;
mod netlink;
mod packets;
mod peer;
mod run;
mod serve;
mod stand;
mod start;
mod sys;
mod unix;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match run::run(&args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("pfd: {why}");
            ExitCode::FAILURE
        }
    }
}
