//! What is shipped, under Wine: the driver is started, the commands load rules through its device, frames of a capture go
//! through it, what comes out and what the commands show is compared with pfsim, the driver is stopped; and again.
//!
//! Wine gives NT, the mock gives NDIS ([`feed`]). Besides, the commands built for Windows say what those built for this
//! machine say, byte for byte ([`same`]).

mod feed;
mod kept;
mod prefix;
mod reader;
mod same;

use std::time::{Duration, Instant};

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

/// Looks at states that are to go, and the time between two: longer than between two ticks of the driver.
const LOOKS: u64 = 60;
const BETWEEN: Duration = Duration::from_millis(300);
/// Seconds the driver's clock goes on meanwhile at most: shorter than any state is kept that has not ended.
const GOES_ON: u64 = 8;

/// A driver under Wine, and what it is held to.
struct Bench<'b> {
    wine: &'b Wine,
    traffic: &'b Traffic,
    /// The rules as `-s rules` shows them.
    rules: &'b str,
}

impl Bench<'_> {
    /// Starts a driver, attaches it, does something, detaches and stops it: nothing is left behind.
    ///
    /// # Errors
    /// What does not hold.
    fn running<T>(&self, driver: &str, f: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        self.wine.sc(&["start", driver])?;
        let done = self.traffic.attach(self.wine).and_then(|()| f());
        let ended = self.traffic.end(self.wine);
        self.wine.sc(&["stop", driver])?;
        let state = self.wine.sc(&["query", driver])?;
        let done = done.map_err(|failure| format!("{driver}: {failure}"))?;
        ended.map_err(|failure| format!("{driver}: {failure}"))?;
        if state.contains("STOPPED") { Ok(done) } else { Err(format!("{driver}: not stopped: {state}")) }
    }

    /// The driver is told of its host.
    fn told(&self) -> Result<(), Failure> {
        self.wine.ours("pfload", &["facts", &drive(&root().join("examples/gateway.toml"))]).map(drop)
    }

    /// Rules are loaded: as text in odd rounds, as an image in even ones.
    fn load(&self, n: usize) -> Result<(), Failure> {
        let examples = root().join("examples");
        let (conf, facts) = (drive(&examples.join("gateway.conf")), drive(&examples.join("gateway.toml")));
        if n % 2 == 1 {
            self.wine.ours("pfload", &["-f", &conf, "--host-facts", &facts])?;
        } else {
            self.wine.ours("pfload", &["load", r"C:\gateway.pfbin"])?;
        }
        Ok(())
    }

    /// `-s rules` shows just these.
    fn shows(&self, rules: &str) -> Result<(), Failure> {
        let shown = self.wine.ours("pfload", &["-s", "rules"])?;
        if shown == rules { Ok(()) } else { Err(format!("-s rules shows\n{shown}not\n{rules}")) }
    }

    /// A round: told of its host, loaded, fed, looked at.
    fn round(&self, n: usize) -> Result<String, Failure> {
        self.told()?;
        self.load(n)?;
        let said = self.traffic.pass(self.wine)?;
        self.shows(self.rules)?;
        // States that ended go bit by bit with the driver's seconds, of which it may have missed some: its timer ticks by the
        // machine's time, four times a second, while its clock follows the capture, which is through much sooner.
        let mut looks = 0;
        let states = loop {
            match self.traffic.states(&self.wine.ours("pfload", &["-s", "states"])?) {
                Ok(states) => break states,
                Err(failure) if looks == LOOKS => return Err(failure),
                Err(_) => {
                    looks += 1;
                    self.traffic.goes_on(self.wine, looks.min(GOES_ON))?;
                    std::thread::sleep(BETWEEN);
                }
            }
        };
        let info = self.wine.ours("pfload", &["-s", "info"])?;
        let counted = info.lines().find(|line| line.trim_start().starts_with("current entries"));
        let count = counted.and_then(|line| line.split_whitespace().nth(2)?.parse().ok());
        if count != Some(states) || !info.starts_with("Status: Enabled") {
            return Err(format!("-s info does not speak of {states} states:\n{info}"));
        }
        Ok(format!("{said}; {} rules and {states} states shown by pfload.exe", self.rules.lines().count()))
    }

    /// Rounds of one image.
    fn rounds(&self, driver: &str, rounds: usize) -> Result<(), Failure> {
        let begun = Instant::now();
        for n in 1..=rounds {
            let said = self.running(driver, || self.round(n)).map_err(|failure| format!("round {n}: {failure}"))?;
            if n == 1 || n % 25 == 0 || n == rounds {
                println!("{driver}, round {n}: {said}");
            }
        }
        println!(
            "{driver}: started, loaded through the device, fed and stopped {rounds} times in {} s; nothing left behind",
            begun.elapsed().as_secs()
        );
        Ok(())
    }
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
    let bench = Bench { wine: &wine, traffic: &traffic, rules: &rules };
    let named = |driver: &&str| arguments.iter().any(|a| a == driver);
    let all = !IMAGES.iter().any(named);
    for driver in IMAGES.into_iter().filter(|driver| all || named(driver)) {
        if wine.sc(&["query", driver]).is_err() {
            let path = format!(r"C:\windows\system32\drivers\{driver}.sys");
            wine.sc(&["create", driver, "type=", "kernel", "binPath=", &path])?;
        }
        bench.rounds(driver, rounds)?;
        println!("{driver}, BootPolicy 2: {}", kept::prove(&bench, driver)?);
        println!("{driver}, log: {}", reader::prove(&bench, driver)?);
    }
    if !drivers_alone {
        println!("{}", service(&wine)?);
    }
    println!("planbnot.dll: {}", wine.notify()?);
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
