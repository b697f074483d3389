//! Real TCP/IP stacks around a live filter: network namespaces client – filter – server, joined by veth pairs.
//!
//! Holds the test bed: [`Space`] (a namespace with what runs in it), [`Bed`] (addresses, routes, the filter between),
//! [`Wire`] and [`Capture`] (crafted frames, and what passed by). Needs root and the tools of `tools/ci-setup`; where
//! they are missing, tests say so in one line and pass, unless `PF_REQUIRE` asks for `netns`.
//! **Invariant:** what a bed starts ends with it: processes, namespaces, files.

mod bed;
pub mod endure;
pub mod figures;
pub mod guide;
pub mod reloads;
mod space;
mod wire;

pub use crate::daemon::until;
pub use bed::{Bed, Plan};
pub use space::{Ran, Running, Space};
pub use wire::{Capture, Wire, packet};

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::shared::project;

/// Tools that behaviours use.
const TOOLS: &[&str] =
    &["ip", "python3", "tcpdump", "curl", "iperf3", "ping", "dig", "nc", "traceroute", "dnsmasq", "nft"];

/// What is missing, in a few words; nothing when all is there.
fn missing() -> Option<String> {
    let runs = |program: &str, args: &[&str]| {
        let run = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    };
    if !Path::new("/dev/net/tun").exists() {
        return Some("there is no /dev/net/tun".to_owned());
    }
    if let Some(tool) = TOOLS.iter().find(|tool| !runs("sh", &["-c", &format!("command -v {tool}")])) {
        return Some(format!("{tool} is not installed"));
    }
    sweep();
    let name = format!("pf-try-{}", std::process::id());
    if !runs("ip", &["netns", "add", &name]) {
        return Some("network namespaces need root".to_owned());
    }
    runs("ip", &["netns", "del", &name]);
    None
}

/// Takes away namespaces of test runs that were killed.
fn sweep() {
    let names = Command::new("ip").args(["netns", "list"]).output();
    let names = names.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    for name in names.lines().filter_map(|l| l.split_whitespace().next()) {
        let owner = name.strip_prefix("pf-live-").and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        }
    }
}

/// Whether the `pfload` of these sources speaks to a running filter, which beds need.
fn pfload_speaks() -> bool {
    project("tools/pfload/src/link.rs").exists()
}

/// Whether beds can be built here.
///
/// # Panics
/// When they cannot and `PF_REQUIRE` asks for `netns` or `all`.
#[must_use]
pub fn possible() -> bool {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    if !pfload_speaks() {
        eprintln!("not run: the pfload of these sources does not speak to a running filter");
        return false;
    }
    let Some(why) = MISSING.get_or_init(missing) else { return true };
    let required = std::env::var("PF_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|w| w == "netns" || w == "all"), "netns is required: {why}");
    eprintln!("not run: {why}");
    false
}
