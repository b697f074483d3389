//! What is shipped, under Wine: the driver is started, the commands load rules through its device, frames of a capture go
//! through it, what comes out and what the commands show is compared with pfsim, the driver is stopped; and again.
//!
//! Wine gives NT, the mock gives NDIS ([`feed`]). Besides, the commands built for Windows say what those built for this
//! machine say, byte for byte ([`same`]).

mod feed;
mod prefix;
mod same;

use std::time::Duration;

use pfc::compile::{Options, compile};
use pfc::facts::Facts;
use pfc::facts::live::{File, Source};
use pfc::source::Sources;

use super::run::{Failure, read, write};
use super::{IMAGES, out, root};
use feed::Traffic;
use prefix::{Wine, drive};

/// The example, compiled: image and facts.
pub(super) fn example() -> Result<(Vec<u8>, Facts), Failure> {
    let folder = root().join("examples");
    let facts = File(folder.join("gateway.toml")).facts().map_err(|error| error.to_string())?;
    let mut sources = Sources::disk();
    let file = sources.add("gateway.conf", read(&folder.join("gateway.conf"))?);
    let outcome = compile(&mut sources, file, &facts, &Options::default());
    let image = outcome.compiled.ok_or("examples/gateway.conf does not compile")?.image;
    Ok((image, facts))
}

/// Seconds the driver has for what is due.
const SECONDS: u32 = 20;

/// A round: attached, told of its host, loaded, fed, looked at, detached.
fn round(wine: &Wine, traffic: &Traffic, n: usize, rules: &str) -> Result<String, Failure> {
    traffic.attach(wine)?;
    let examples = root().join("examples");
    let (conf, facts) = (drive(&examples.join("gateway.conf")), drive(&examples.join("gateway.toml")));
    wine.ours("pfload", &["facts", &facts])?;
    // Text and image take turns.
    if n % 2 == 1 {
        wine.ours("pfload", &["-f", &conf, "--host-facts", &facts])?;
    } else {
        wine.ours("pfload", &["load", "C:\\gateway.pfbin"])?;
    }
    let said = traffic.pass(wine)?;
    let shown = wine.ours("pfload", &["-s", "rules"])?;
    if shown != rules {
        return Err(format!("-s rules shows\n{shown}not\n{rules}"));
    }
    // States that the rules ended go with the driver's next second, which a busy machine may keep waiting.
    let mut turns = 0;
    let states = loop {
        match traffic.states(&wine.ours("pfload", &["-s", "states"])?) {
            Ok(states) => break states,
            Err(failure) if turns == SECONDS => return Err(failure),
            Err(_) => std::thread::sleep(Duration::from_secs(1)),
        }
        turns += 1;
    };
    let info = wine.ours("pfload", &["-s", "info"])?;
    let counted = info.lines().find(|line| line.trim_start().starts_with("current entries"));
    let count = counted.and_then(|line| line.split_whitespace().nth(2)?.parse().ok());
    if count != Some(states) || !info.starts_with("Status: Enabled") {
        return Err(format!("-s info does not speak of {states} states:\n{info}"));
    }
    traffic.end(wine)?;
    Ok(format!("{said}; {} rules and {states} states shown by pfload.exe", rules.lines().count()))
}

/// Rules as `-s rules` shows them, of what is compiled here.
fn listed() -> Result<String, Failure> {
    let printed =
        same::here("pfload", &["-nvf", "examples/gateway.conf", "--host-facts", "examples/gateway.toml"], None)?;
    let kinds = ["pass", "block", "match", "anchor", "antispoof"];
    let rule = |line: &&str| kinds.iter().any(|kind| line.split(' ').next() == Some(kind));
    Ok(printed.0.lines().filter(rule).map(|line| format!("{line}\n")).collect())
}

/// `cargo xtask wine`: the proof.
///
/// # Errors
/// What does not hold.
pub(crate) fn prove(arguments: &[String]) -> Result<(), Failure> {
    let rounds = arguments.iter().find_map(|n| n.parse().ok()).unwrap_or(3_usize);
    let folder = out().join("wine");
    let (image, facts) = example()?;
    let wine = Wine::new(&folder)?;
    // `--drivers`: the commands' words are not compared.
    let drivers_alone = arguments.iter().any(|a| a == "--drivers");
    if !drivers_alone {
        println!("{}", same::prove(&wine, &folder)?);
    }
    write(&wine.prefix.join("drive_c/gateway.pfbin"), &image)?;
    let rules = listed()?;
    let traffic = Traffic::new(&folder, &image, facts)?;
    for driver in IMAGES {
        rounds_of(&wine, &traffic, driver, rounds, &rules)?;
    }
    if !drivers_alone {
        println!("{}", service(&wine)?);
    }
    println!("planbnot.dll: {}", wine.notify()?);
    Ok(())
}

/// Rounds of one image: started, put through a round, stopped.
fn rounds_of(wine: &Wine, traffic: &Traffic, driver: &str, rounds: usize, rules: &str) -> Result<(), Failure> {
    if wine.sc(&["query", driver]).is_err() {
        let path = format!(r"C:\windows\system32\drivers\{driver}.sys");
        wine.sc(&["create", driver, "type=", "kernel", "binPath=", &path])?;
    }
    for n in 1..=rounds {
        wine.sc(&["start", driver])?;
        let said = round(wine, traffic, n, rules);
        wine.sc(&["stop", driver])?;
        let state = wine.sc(&["query", driver])?;
        if !state.contains("STOPPED") {
            return Err(format!("{driver}: not stopped: {state}"));
        }
        let said = said.map_err(|failure| format!("{driver}: {failure}"))?;
        if n == 1 || n == rounds {
            println!("{driver}, round {n}: {said}");
        }
    }
    println!("{driver}: started, loaded through the device, fed and stopped {rounds} times; nothing left behind");
    Ok(())
}

/// The service, run as one: it tells the driver of this machine.
fn service(wine: &Wine) -> Result<String, Failure> {
    if wine.sc(&["query", "planbsvc"]).is_err() {
        wine.sc(&["create", "planbsvc", "binPath=", r"C:\pfload.exe service"])?;
    }
    wine.sc(&["start", "planb"])?;
    wine.sc(&["start", "planbsvc"])?;
    let mut shown = String::new();
    for _ in 0..100 {
        shown = wine.ours("pfload", &["-s", "Interfaces"])?;
        if shown.lines().any(|name| name == "loopback") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let log = read(&wine.prefix.join("drive_c/planbsvc.log"));
    wine.sc(&["stop", "planbsvc"])?;
    wine.sc(&["stop", "planb"])?;
    let log = String::from_utf8_lossy(&log?).into_owned();
    // Of this machine, by IP Helper: the loopback interface and its group.
    if !shown.lines().any(|name| name == "loopback") || !log.contains("told the driver of") {
        return Err(format!("the service did not tell the driver of interfaces: {shown}{log}"));
    }
    Ok(format!("planbsvc told the driver of {} interfaces and groups of this machine", shown.lines().count()))
}
