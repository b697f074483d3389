//! From the command line to a filter that stands between its adapters and the host, and back.
//!
//! Rules are compiled before any adapter is touched; adapters are given back after the last packet. In between the
//! main thread answers the control socket and signals: HUP loads the rules anew, USR1 shows what moved, TERM and INT end.
//!
//! **Invariant:** what was attached is given back on every way out, except by a pfd that dies: then it stays shut, or the
//! guard of `--fail-open` ([`guard`]) opens it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use pfc::facts::Facts;
use pfdriver::control::Control;
use pfdriver::edge::port::{Behind, PortId};
use pfdriver::lock::Lock;
use pfvm::api::HostKind;

use crate::args::Args;
use crate::attach::{self, AttachError, Attached, doing};
use crate::host::{Ours, World};
use crate::netlink::Route;
use crate::packets::{Lost, Sides};
use crate::peer::Peers;
use crate::serve::Server;
use crate::stand::Stand;
use crate::unix::Shared;
use crate::{start, sys};

/// Signals this process answers.
const SIGNALS: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1];

/// Runs until it is told to end.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    if args.man {
        return manual();
    }
    if args.guard {
        return guard();
    }
    if args.recover {
        return recover(args);
    }
    let signals = sys::signals(&SIGNALS).map_err(|e| format!("signals: {e}"))?;
    let peers = Peers::new(args.group.as_deref(), args.read_group.as_deref())?;
    let policy = args.policy()?;
    let facts = facts(args)?;
    let filter = start::filter(&facts, args.rules.as_deref(), args.how())?;
    if args.host_facts.is_some() {
        filter.with(|f| f.about.file = facts.to_toml().into_bytes());
    }
    let control = Control::new(HostKind::Daemon, args.budget);
    let mut server = Server::new(&args.socket, control, peers)?;
    if args.attach.is_empty() && args.bridge.is_empty() {
        println!("pfd: ready on {}", args.socket.display());
        return serve(args, &mut server, &filter, &signals, None);
    }
    let stand = Stand::new(&filter, policy).map_err(|e| e.to_string())?;
    let guarded = args.fail_open.then(spawn_guard).transpose().map_err(|e| format!("the guard: {e}"))?;
    let mut taken = Taken::default();
    let done = match taken.all(args, &stand) {
        Ok(()) => between(args, &mut server, &filter, &signals, &stand, &mut taken),
        Err(why) => Err(why.to_string()),
    };
    let given = taken.give_back();
    if let Some(mut guard) = guarded {
        // Its input ends; nothing is left for it to do.
        drop(guard.stdin.take());
        let _ended = guard.wait();
    }
    done.and(given)
}

/// Prints the manual page.
fn manual() -> Result<(), String> {
    let page = clap_mangen::Man::new(<Args as clap::CommandFactory>::command()).section("8").manual("Plan B");
    page.render(&mut io::stdout()).map_err(|e| format!("standard output: {e}"))
}

/// The host's facts: of a file, else as the kernel tells them now.
fn facts(args: &Args) -> Result<Facts, String> {
    let mut facts = start::facts(args.host_facts.as_deref())?;
    if args.host_facts.is_none() {
        let world = Route::open().and_then(|mut r| World::read(&mut r)).map_err(|e| format!("netlink: {e}"))?;
        facts.interfaces = world.interfaces(&Ours::left_behind());
    }
    Ok(facts)
}

/// Adapters taken, and their descriptors for the thread of packets.
#[derive(Default)]
struct Taken {
    attached: Vec<Attached>,
    ports: Vec<Sides>,
    /// TAPs, to show the adapter's carrier at.
    taps: BTreeMap<PortId, File>,
}

impl Taken {
    /// Takes all adapters the command line names.
    fn all(&mut self, args: &Args, stand: &Stand<'_>) -> Result<(), AttachError> {
        for name in &args.attach {
            let attached = attach::attach(name, args.fail_open)?;
            self.port(stand, attached, Behind::Stack)?;
        }
        for pair in args.bridge.as_chunks::<2>().0 {
            let [a, b] = pair.each_ref().map(|name| attach::join(name, args.fail_open));
            let a = self.port(stand, a?, Behind::Stack)?;
            let b = self.port(stand, b?, Behind::Port(a))?;
            stand.set_behind(a, Behind::Port(b));
        }
        let mut route = doing(|| "netlink".to_owned(), Route::open())?;
        doing(|| "the host's facts".to_owned(), stand.learn(&mut route)).map(drop)
    }

    fn port(&mut self, stand: &Stand<'_>, attached: Attached, behind: Behind) -> Result<PortId, AttachError> {
        let id = stand.take(&attached, behind);
        let copies = || -> io::Result<(OwnedFd, Option<File>, Option<File>)> {
            let stack = attached.stack.as_ref().map(File::try_clone);
            let tap = attached.stack.as_ref().map(File::try_clone);
            Ok((attached.wire.try_clone()?, stack.transpose()?, tap.transpose()?))
        };
        let copies = doing(|| attached.record.name.clone(), copies());
        // Whatever failed, it is given back.
        self.attached.push(attached);
        let (id, (wire, stack, tap)) = (id?, copies?);
        self.ports.push(Sides { id, wire: Some(wire), stack });
        self.taps.extend(tap.map(|tap| (id, tap)));
        Ok(id)
    }

    /// Gives every adapter back.
    fn give_back(self) -> Result<(), String> {
        let Self { attached, ports, taps } = self;
        // A TAP is held by all its descriptors.
        drop((ports, taps));
        let mut failed = Vec::new();
        for one in attached {
            let name = one.record.name.clone();
            if let Err(why) = attach::detach(one) {
                failed.push(format!("{why}; {name} stays shut: `pfd --recover {name}` tries again"));
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("\npfd: ")) }
    }
}

/// A thread that panics takes the process with it: half a filter is worse than none.
struct Whole;

impl Drop for Whole {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Filters until the end.
fn between(
    args: &Args,
    server: &mut Server,
    filter: &Shared,
    signals: &File,
    stand: &Stand<'_>,
    taken: &mut Taken,
) -> Result<(), String> {
    let ports = std::mem::take(&mut taken.ports);
    let taps = std::mem::take(&mut taken.taps);
    std::thread::scope(|scope| {
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let packets = named("packets").spawn_scoped(scope, || {
            let _whole = Whole;
            ended(stand.packets(ports).map(drop))
        });
        let follow = named("host").spawn_scoped(scope, || {
            let _whole = Whole;
            ended(stand.follow(&taps))
        });
        let (packets, follow) = match (packets, follow) {
            (Ok(p), Ok(f)) => (p, f),
            (p, f) => {
                stand.end();
                return Err(p.err().or(f.err()).map_or_else(String::new, |e| format!("threads: {e}")));
            }
        };
        let names: Vec<_> = args.attach.iter().chain(&args.bridge).map(String::as_str).collect();
        let kind = if args.bridge.is_empty() { "between the host and" } else { "bridging" };
        let shut = if args.fail_open { "opened again" } else { "shut until `pfd --recover`" };
        filter.with(|f| {
            f.about.binding = format!("{kind} {}", names.join(", ")).into_bytes();
            f.about.policy = format!("adapters of a filter that is killed are {shut}").into_bytes();
        });
        println!("pfd: ready on {}, filtering {}", args.socket.display(), names.join(", "));
        let served = serve(args, server, filter, signals, Some(stand));
        stand.end();
        let joined = [packets.join(), follow.join()];
        let why = joined.into_iter().find_map(|j| j.ok().and_then(Result::err));
        show(stand);
        served.and(why.map_or(Ok(()), |e| Err(e.to_string())))
    })
}

/// A thread that ends with an error ends the process, in order.
fn ended(done: io::Result<()>) -> io::Result<()> {
    if done.is_err() {
        let _sent = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    }
    done
}

/// Answers requests and signals.
fn serve(
    args: &Args,
    server: &mut Server,
    filter: &Shared,
    mut signals: &File,
    stand: Option<&Stand<'_>>,
) -> Result<(), String> {
    loop {
        server.run(filter, signals)?;
        // `struct signalfd_siginfo` begins with the number.
        let mut info = [0; 128];
        signals.read_exact(&mut info).map_err(|e| format!("signals: {e}"))?;
        let number = info.first_chunk().map_or(0, |b| i32::from_ne_bytes(*b));
        match number {
            libc::SIGHUP => reload(args, filter, stand),
            libc::SIGUSR1 => {
                if let Some(stand) = stand {
                    show(stand);
                }
            }
            _ => return Ok(()),
        }
    }
}

/// Loads the rules anew; those in force stay where that fails.
fn reload(args: &Args, filter: &Shared, stand: Option<&Stand<'_>>) {
    let Some(rules) = &args.rules else {
        eprintln!("pfd: there are no --rules to load anew");
        return;
    };
    let load = || -> Result<u64, String> {
        let mut facts = facts(args)?;
        if let Some(stand) = stand.filter(|_| args.host_facts.is_none()) {
            let world = Route::open().and_then(|mut r| World::read(&mut r)).map_err(|e| format!("netlink: {e}"))?;
            facts.interfaces = world.interfaces(&stand.ours());
        }
        let loading = start::loading(rules, &facts, args.how())?;
        filter.with(|f| start::load(f, loading))
    };
    match load() {
        Ok(generation) => {
            filter.with(|f| f.about.trouble.clear());
            eprintln!("pfd: {}: loaded, generation {generation}", rules.display());
        }
        Err(why) => {
            filter.with(|f| f.about.trouble = format!("loading anew: {why}").into_bytes());
            eprintln!("pfd: {why}; the rules in force stay");
        }
    }
}

/// Shows what moved.
fn show(stand: &Stand<'_>) {
    let (counts, lost) = stand.counts();
    let Lost { full, unfetched, unresolved } = lost;
    let dropped: Vec<_> = counts.rows().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}")).collect();
    let mut out = format!(
        "pfd: frames: received {} = passed {} + dropped {} + held {}; generated {}",
        counts.received,
        counts.passed,
        counts.dropped(),
        counts.held,
        counts.generated
    );
    if !dropped.is_empty() {
        out += &format!("; dropped: {}", dropped.join(", "));
    }
    let full = full + counts.lost;
    if full + unfetched + unresolved > 0 {
        out += &format!("; lost: no room {full}, not fetched {unfetched}, no neighbour {unresolved}");
    }
    // Where standard error is gone, nobody is left to tell.
    let _gone = writeln!(io::stderr(), "{out}");
}

/// Gives back what a pfd that died left.
fn recover(args: &Args) -> Result<(), String> {
    let names: Vec<Option<&str>> = match args.interfaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(|name| Some(name.as_str())).collect(),
    };
    let mut all = Vec::new();
    for only in names {
        let done = attach::recover(only, args.fail_open).map_err(|e| e.to_string())?;
        if let (Some(name), true) = (only, done.is_empty()) {
            eprintln!("pfd: {name}: nothing to give back");
        }
        all.extend(done);
    }
    match all.as_slice() {
        [] => println!("pfd: nothing to give back"),
        some => println!("pfd: given back: {}", some.join(", ")),
    }
    Ok(())
}

/// Starts the process that opens adapters again should this one die.
fn spawn_guard() -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe()?;
    // A group of its own: a signal to pfd's is not for the guard.
    Command::new(program).arg("--guard").stdin(Stdio::piped()).process_group(0).spawn()
}

/// Waits for the end of its input, which comes when the process that holds the other end is gone, and opens what it left.
fn guard() -> Result<(), String> {
    let _blocked = sys::signals(&SIGNALS).map_err(|e| format!("signals: {e}"))?;
    let mut rest = Vec::new();
    let _ended = io::stdin().read_to_end(&mut rest);
    // A process that dies gives up its descriptors one by one.
    for _ in 0..50 {
        match attach::recover(None, true) {
            Err(AttachError::Busy(..)) => std::thread::sleep(std::time::Duration::from_millis(100)),
            done => return done.map(drop).map_err(|e| e.to_string()),
        }
    }
    Err("another pfd holds what is to be opened".to_owned())
}
