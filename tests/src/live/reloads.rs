//! Rules loaded again and again under a running pfd, with traffic through it: no packet lost, no state lost.
//!
//! A stream of datagrams, each with its number and the time it was sent, goes from the client to the server; one in
//! [`FRESH`] comes from a port of its own, so that rules decide it and not a state. Beside it, conversations that began
//! before the first load talk on. [`reloads`] gives what it came to, [`Reloaded::complaints`] what must not be.
//!
//! The longest pause is the longest time between a datagram's sending and its arrival, measured by one clock. The same
//! is measured before the first load, so that what the machine itself costs shows.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::bed::{Bed, Plan};
use super::space::Space;
use crate::daemon::until;
use crate::program;

/// Port of the stream.
const STREAM: u16 = 4000;
/// Port of the conversations.
const TALK: u16 = 4001;
/// Conversations over TCP, and of datagrams.
const TALKS: (usize, usize) = (32, 200);
/// Sockets the stream comes from.
const FLOWS: usize = 16;
/// One datagram in so many has a port of its own.
const FRESH: u64 = 50;
/// Datagrams sent in one go, a millisecond apart.
const BURST: u64 = 4;
/// Of so many loads one compiles its rules first, as `pfload -f` does; the others bring an image.
const COMPILED: usize = 10;

/// What it came to.
#[derive(Clone, Debug, Default)]
pub struct Reloaded {
    /// Rules of a load.
    pub rules: usize,
    /// Loads that were taken, and all.
    pub loads: (usize, usize),
    /// What a refused one said.
    pub refused: String,
    /// Milliseconds of the loads of an image.
    pub images: Vec<f64>,
    /// Milliseconds of the loads that compile.
    pub texts: Vec<f64>,
    /// Datagrams sent, and arrived.
    pub stream: (u64, u64),
    /// Of those, with a port of their own.
    pub fresh: u64,
    /// Datagrams the server's own socket dropped.
    pub own: u64,
    /// Longest way of a datagram before the first load and meanwhile, milliseconds.
    pub pause: (f64, f64),
    /// States of conversations before, and those of them there still are.
    pub states: (usize, usize),
    /// Conversations that answered at the end, and all.
    pub talks: (usize, usize),
    /// What pfd said of frames at the end.
    pub frames: String,
}

impl Reloaded {
    /// What must not be; empty when all is well.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                found.push(what.to_owned());
            }
        };
        must(self.loads.0 == self.loads.1 && self.loads.1 > 0, "a load of good rules was refused");
        must(self.stream.0 > 0 && self.stream.1 + self.own == self.stream.0, "datagrams were lost");
        must(self.fresh > 0, "no datagram was decided by rules");
        must(self.states.0 > 0 && self.states.1 == self.states.0, "states were lost");
        must(self.talks.0 == self.talks.1, "conversations died");
        must(self.frames.contains("frames: received ") && !self.frames.contains("lost:"), "pfd lost frames");
        found
    }
}

/// Mean and longest.
fn times(list: &[f64]) -> String {
    let count = list.len().max(1) as f64;
    let mean = list.iter().sum::<f64>() / count;
    let mut sorted = list.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(list.len() / 2).copied().unwrap_or(0.0);
    format!("mean {mean:.1} ms, median {median:.1} ms, longest {:.1} ms", sorted.last().copied().unwrap_or(0.0))
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "loads      {} of {} taken, {} rules each", self.loads.0, self.loads.1, self.rules)?;
        if !self.refused.is_empty() {
            writeln!(f, "refused    {}", self.refused)?;
        }
        writeln!(f, "images     {}: {}", self.images.len(), times(&self.images))?;
        writeln!(f, "texts      {}: {}", self.texts.len(), times(&self.texts))?;
        let (sent, came) = self.stream;
        let lost = sent.saturating_sub(came + self.own);
        writeln!(
            f,
            "datagrams  {sent} sent, {came} came, {lost} lost on the way, {} by the server's socket",
            self.own
        )?;
        writeln!(f, "           {} of them from a port of their own", self.fresh)?;
        let (calm, busy) = self.pause;
        writeln!(f, "pause      {busy:.1} ms at most; {calm:.1} ms while nothing was loaded")?;
        writeln!(f, "states     {} of {} kept", self.states.1, self.states.0)?;
        writeln!(f, "talks      {} of {} answer", self.talks.0, self.talks.1)?;
        writeln!(f, "{}", self.frames)
    }
}

/// So many rules; `mark` makes them other rules that decide the same.
fn text(rules: usize, mark: usize) -> String {
    let mut text = format!(
        "set limit states 200000\nset timeout {{ udp.first 3600, udp.single 3600, udp.multiple 3600 }}\n\
         set ruleset-optimization none\nblock\nblock in proto tcp to port {mark}\n"
    );
    for i in 0..rules.saturating_sub(5) {
        let (a, b, port) = (i >> 8, i & 255, 5000 + (i + mark) % 50_000);
        let _ = writeln!(text, "block in proto tcp from 172.16.{a}.{b} to any port {port}");
    }
    text + "pass in on int0\npass out on ext0\npass proto icmp6\n"
}

/// Conversations under way.
struct Talks(Vec<TcpStream>, Vec<UdpSocket>);

impl Talks {
    fn begin(from: &Space, to: &str) -> Self {
        let patience = Some(Duration::from_secs(20));
        from.within(|| {
            let tcp = (0..TALKS.0).map(|_| {
                let stream = TcpStream::connect((to, TALK)).expect("the server answers");
                stream.set_read_timeout(patience).expect("a timeout");
                stream
            });
            let udp = (0..TALKS.1).map(|_| {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
                socket.connect((to, TALK)).expect("an address");
                socket.set_read_timeout(patience).expect("a timeout");
                socket
            });
            Self(tcp.collect(), udp.collect())
        })
    }

    /// One word each; how many came back.
    fn once(&mut self) -> usize {
        let mut back = [0; 4];
        let tcp = self.0.iter_mut().map(|s| s.write_all(b"word").is_ok() && s.read_exact(&mut back).is_ok());
        let tcp = tcp.filter(|good| *good).count();
        let udp = self.1.iter().map(|s| s.send(b"word").is_ok() && s.recv(&mut back).is_ok());
        tcp + udp.filter(|good| *good).count()
    }
}

/// Numbers of the states of conversations.
fn states(bed: &Bed) -> BTreeSet<String> {
    let text = bed.control("-s states -vv");
    let mut found = BTreeSet::new();
    let mut talk = false;
    for line in text.lines() {
        if !line.starts_with(' ') {
            talk = line.contains(&format!(":{TALK} "));
        } else if let (true, Some(rest)) = (talk, line.trim().strip_prefix("id: ")) {
            found.extend(rest.split_whitespace().next().map(str::to_owned));
        }
    }
    found
}

/// Counters of the stream.
#[derive(Default)]
struct Counts {
    over: AtomicBool,
    sent: AtomicU64,
    fresh: AtomicU64,
    came: AtomicU64,
    /// Longest way since it was last taken, nanoseconds.
    longest: AtomicU64,
}

impl Counts {
    fn longest(&self) -> f64 {
        self.longest.swap(0, Ordering::Relaxed) as f64 / 1e6
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Sends until told to stop; how many it has tried.
fn send(from: &Space, to: &str, start: Instant, counts: &Counts) -> u64 {
    from.within(|| {
        let socket = || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
            socket.connect((to, STREAM)).expect("an address");
            socket
        };
        let flows: Vec<UdpSocket> = (0..FLOWS).map(|_| socket()).collect();
        let mut number = 0_u64;
        while !counts.over.load(Ordering::Relaxed) {
            for _ in 0..BURST {
                let own = number.is_multiple_of(FRESH).then(socket);
                let flow = &flows[usize::try_from(number).unwrap_or(0) % FLOWS];
                if own.as_ref().unwrap_or(flow).send(&nanos(start).to_le_bytes()).is_ok() {
                    counts.sent.fetch_add(1, Ordering::Relaxed);
                    counts.fresh.fetch_add(own.is_some().into(), Ordering::Relaxed);
                }
                number += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        number
    })
}

/// Counts what comes.
fn receive(socket: &UdpSocket, start: Instant, counts: &Counts) {
    let mut bytes = [0; 8];
    loop {
        match socket.recv(&mut bytes) {
            Ok(8) => {
                let way = nanos(start).saturating_sub(u64::from_le_bytes(bytes));
                counts.longest.fetch_max(way, Ordering::Relaxed);
                counts.came.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            // Silence for as long as the socket waits: everything that was under way has come.
            Err(_) if counts.over.load(Ordering::Relaxed) => return,
            Err(_) => {}
        }
    }
}

/// Datagrams the sockets of a namespace had no room for.
fn dropped(by: &Space) -> u64 {
    let text = by.run("cat /proc/net/udp").out;
    text.lines().skip(1).filter_map(|l| l.split_whitespace().last()?.parse::<u64>().ok()).sum()
}

/// What pfd says of frames when it is asked by a signal.
fn frames(bed: &Bed) -> String {
    let said = || bed.log().lines().filter(|l| l.contains("frames: received ")).map(str::to_owned).collect::<Vec<_>>();
    let before = said().len();
    if let Some(pfd) = &bed.pfd {
        pfd.signal("USR1");
    }
    until("pfd tells of its frames", || said().len() > before);
    said().pop().unwrap_or_default()
}

/// One load: the time it took, or what was said.
fn load(bed: &Bed, words: &[&str]) -> Result<f64, String> {
    let begin = Instant::now();
    let out = Command::new(program("pfload")).args(words).arg("-p").arg(bed.socket()).output();
    let out = out.map_err(|e| e.to_string())?;
    let took = begin.elapsed().as_secs_f64() * 1e3;
    if out.status.success() { Ok(took) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
}

/// Loads so many rules so often; nothing where beds cannot be built.
///
/// # Panics
/// When the bed cannot be built or the rules do not compile.
#[must_use]
pub fn reloads(times: usize, rules: usize) -> Option<Reloaded> {
    let bed = Bed::planned(Plan::default(), &text(rules, 1))?;
    let to = "198.51.100.10";
    let mut result = Reloaded { rules, ..Reloaded::default() };
    let mut files = Vec::new();
    for mark in [1, 2] {
        let source = bed.write(&format!("{mark}.conf"), &text(rules, mark)).display().to_string();
        let image = bed.folder().join(format!("{mark}.pfbin")).display().to_string();
        let pfc = program("pfc").display().to_string();
        bed.filter.ok(&format!("{pfc} build -o {image} {source}"));
        files.push((source, image));
    }
    bed.server.echo(TALK, TALK);
    let mut talks = Talks::begin(&bed.client, to);
    result.talks.1 = TALKS.0 + TALKS.1;
    assert_eq!(talks.once(), result.talks.1, "conversations begin");
    let before = states(&bed);
    let sink = bed.server.within(|| UdpSocket::bind(("0.0.0.0", STREAM)).expect("the port is free"));
    sink.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    // What is lost shall be pfd's, not the test's.
    let _smaller = set_socket_recv_buffer_size_force(&sink, 64 << 20);
    let (counts, start) = (Counts::default(), Instant::now());
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(&bed.client, to, start, &counts));
        scope.spawn(|| receive(&sink, start, &counts));
        std::thread::sleep(Duration::from_secs(2));
        result.pause.0 = counts.longest();
        for n in 0..times {
            let (source, image) = &files[n % 2];
            let compiled = n % COMPILED == COMPILED - 1;
            let done = if compiled { load(&bed, &["-f", source]) } else { load(&bed, &["load", image]) };
            result.loads.1 += 1;
            match done {
                Ok(took) if compiled => result.texts.push(took),
                Ok(took) => result.images.push(took),
                Err(why) => result.refused = why,
            }
        }
        counts.over.store(true, Ordering::Relaxed);
        assert!(sending.join().is_ok_and(|tried| tried > 0), "the stream was sent");
    });
    result.loads.0 = result.images.len() + result.texts.len();
    result.pause.1 = counts.longest();
    result.stream = (counts.sent.load(Ordering::Relaxed), counts.came.load(Ordering::Relaxed));
    result.fresh = counts.fresh.load(Ordering::Relaxed);
    result.own = dropped(&bed.server);
    result.talks.0 = talks.once();
    let after = states(&bed);
    result.states = (before.len(), before.intersection(&after).count());
    result.frames = frames(&bed);
    Some(result)
}
