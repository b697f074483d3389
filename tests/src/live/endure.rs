//! Mixed traffic through a filter that is never left alone.
//!
//! Every second the rules are loaded again, a table and an address change, and every few seconds a link flaps: those of
//! client and server, the filter's interfaces, an adapter below one, or an adapter that is pulled and plugged in again.
//! Meanwhile transfers, pages, pings and one long conversation go through, translated. [`endure`] gives what was done and
//! what it came to; [`Endured::complaints`] says what must not be.

use std::fmt;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::bed::{Bed, Plan};
use super::space::Space;

/// Rules, loaded in turn with [`OTHER`].
const RULES: &str = "table <some> persist\nset skip on lo\nmatch out on ext0 inet nat-to (ext0:0)\nblock\n\
    pass in on int0\npass out on ext0\npass in on ext0 proto udp from <some> to (ext0)\npass proto icmp6\n";
/// The same decisions by other rules.
const OTHER: &str = "table <some> persist { 203.0.113.7 }\nset skip on lo\nblock drop in quick from 203.0.113.99\n\
    match out on ext0 inet from int0:network nat-to (ext0:0)\nblock return\npass in on int0 label \"in\"\n\
    pass out on ext0 label \"out\"\npass inet6 proto icmp6\n";
/// Port of the conversation.
const TALK: u16 = 7;

/// What was done, and what it came to.
#[derive(Clone, Debug, Default)]
pub struct Endured {
    /// Loads of rules that were taken, and all.
    pub loads: (u64, u64),
    /// Changes of links.
    pub flaps: u64,
    /// Transfers that ended well, and all.
    pub transfers: (u64, u64),
    /// Pages that were read, and all.
    pub pages: (u64, u64),
    /// Pings answered, and sent.
    pub pings: (u64, u64),
    /// Words of the conversation that came back; whether it lived to the end.
    pub words: (u64, bool),
    /// Resident memory of pfd after a quarter of the time and at the end, KiB.
    pub memory: (u64, u64),
    /// Descriptors pfd held after a quarter of the time and at the end.
    pub files: (usize, usize),
    /// Threads pfd had after a quarter of the time and at the end.
    pub threads: (usize, usize),
    /// States at the end, after all were flushed.
    pub states: usize,
    /// Frames received, passed, dropped, held and generated, as pfd counts them.
    pub frames: [u64; 5],
    /// Whether a page, a ping and a transfer go through when all is quiet again.
    pub works: bool,
    /// What pfd said last, if it has ended.
    pub ended: Option<String>,
}

impl Endured {
    /// What must not be; empty when all is well.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                found.push(what.to_owned());
            }
        };
        must(self.ended.is_none(), "pfd has ended");
        must(self.loads.0 == self.loads.1 && self.loads.1 > 0, "a load of good rules was refused");
        must(self.words.1, "the conversation died");
        must(self.words.0 > 0, "the conversation never began");
        // A flap may cost what is under way, not more.
        must(self.transfers.0 * 2 > self.transfers.1, "most transfers did not end");
        must(self.pages.0 * 2 > self.pages.1, "most pages could not be read");
        must(self.pings.0 * 2 > self.pings.1, "most pings were lost");
        must(self.memory.1 <= self.memory.0 + self.memory.0 / 4 + 4096, "memory grows");
        must(self.files.1 <= self.files.0 + 4, "descriptors are not given back");
        must(self.threads.1 <= self.threads.0, "threads do not end");
        let [received, passed, dropped, held, _] = self.frames;
        must(received > 0 && received == passed + dropped + held, "frames are not accounted for");
        must(self.states == 0, "states outlive their flush");
        must(self.works, "something is stuck when all is quiet again");
        found
    }
}

impl fmt::Display for Endured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "loads       {} of {} taken, {} flaps of links", self.loads.0, self.loads.1, self.flaps)?;
        writeln!(f, "transfers   {} of {} ended well", self.transfers.0, self.transfers.1)?;
        writeln!(f, "pages       {} of {} read", self.pages.0, self.pages.1)?;
        writeln!(f, "pings       {} of {} answered", self.pings.0, self.pings.1)?;
        let lived = if self.words.1 { "lived" } else { "died" };
        writeln!(f, "talk        {} words came back, the connection {lived}", self.words.0)?;
        writeln!(f, "memory      {} KiB, at the end {} KiB", self.memory.0, self.memory.1)?;
        writeln!(f, "descriptors {}, at the end {}", self.files.0, self.files.1)?;
        writeln!(f, "threads     {}, at the end {}", self.threads.0, self.threads.1)?;
        let [received, passed, dropped, held, made] = self.frames;
        writeln!(
            f,
            "frames      received {received} = passed {passed} + dropped {dropped} + held {held}; made {made}"
        )?;
        let works = if self.works { "all goes through" } else { "something is stuck" };
        writeln!(f, "afterwards  {works}, {} states after a flush", self.states)
    }
}

/// Attempts, and those that went well.
#[derive(Default)]
struct Tally(AtomicU64, AtomicU64);

impl Tally {
    fn count(&self, good: u64, all: u64) {
        self.0.fetch_add(good, Ordering::Relaxed);
        self.1.fetch_add(all, Ordering::Relaxed);
    }
    fn both(&self) -> (u64, u64) {
        (self.0.load(Ordering::Relaxed), self.1.load(Ordering::Relaxed))
    }
}

/// Resident memory of a process in KiB, its descriptors, its threads.
pub(super) fn held(pid: u32) -> (u64, usize, usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
    (kib, count("fd"), count("task"))
}

/// Answers every word with itself.
fn answer(on: &Space) {
    let listener = on.within(|| TcpListener::bind(("::", TALK)).expect("the port is free"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut word = [0; 4];
                while stream.read_exact(&mut word).is_ok() && stream.write_all(&word).is_ok() {}
            });
        }
    });
}

/// One exchange of the conversation.
fn talk(stream: &mut TcpStream) -> bool {
    let mut back = [0; 4];
    stream.write_all(b"word").is_ok() && stream.read_exact(&mut back).is_ok() && &back == b"word"
}

/// Everything that changes, once a second.
fn disturb(bed: &Bed, second: u64, result: &mut Endured) {
    let file = bed.write("turn.conf", if second.is_multiple_of(2) { OTHER } else { RULES });
    result.loads.1 += 1;
    result.loads.0 += u64::from(bed.pfctl(&format!("-f {}", file.display())).ok);
    let verb = if second.is_multiple_of(2) { "add" } else { "delete" };
    let _ = bed.pfctl(&format!("-t some -T {verb} 203.0.113.{}", second % 200 / 2 + 10));
    let change = if second.is_multiple_of(2) { "add" } else { "del" };
    let _ = bed.filter.run(&format!("ip address {change} 198.51.100.50/24 dev ext0"));
    if second % 7 == 3 {
        flap(bed, result.flaps);
        result.flaps += 1;
    }
}

/// Takes a link down and up again: each of them in turn. What the kernel forgets over it is given again.
fn flap(bed: &Bed, turn: u64) {
    let down = |space: &Space, link: &str, and: &str| {
        let _ = space.run(&format!("ip link set {link} down; sleep 0.2; ip link set {link} up; {and}"));
    };
    let again = |iface: &str, address: &str| format!("ip address replace {address} dev {iface} nodad");
    match turn % 6 {
        0 => {
            let way = "ip -6 route replace default via 2001:db8:2::1";
            down(&bed.server, "s0", &format!("{} && {way}", again("s0", "2001:db8:2::10/64")));
        }
        1 => down(&bed.filter, "ext0", &again("ext0", "2001:db8:2::1/64")),
        2 => down(&bed.filter, "ext0.pfd", ""),
        3 => {
            let ways = "ip route replace default via 192.0.2.1 && ip -6 route replace default via 2001:db8:1::1";
            down(&bed.client, "c0", &format!("{} && {ways}", again("c0", "2001:db8:1::10/64")));
        }
        4 => down(&bed.filter, "int0", &again("int0", "2001:db8:1::1/64")),
        _ => {
            // Pulled: into a namespace that knows nothing of it.
            let drawer = Space::new("d");
            let _ = bed.filter.run(&format!("ip link set int0.pfd netns {}; sleep 0.2", drawer.name()));
            let _ = drawer.run(&format!("ip link set int0.pfd netns {}", bed.filter.name()));
        }
    }
}

/// Whether a page, a ping and a transfer go through.
fn works(bed: &Bed) -> bool {
    let page = |url: &str| bed.fetch(&bed.client, url).is_some();
    let ping = |host: &str| bed.client.pings(host);
    let transfer = || bed.client.run("timeout 60 iperf3 -c 198.51.100.10 -t 1").ok;
    page("http://198.51.100.10/") && page("http://[2001:db8:2::10]/") && ping("198.51.100.10") && transfer()
}

/// Lets a filter bear so many seconds; nothing where beds cannot be built.
///
/// # Panics
/// When the bed cannot be built.
#[must_use]
pub fn endure(seconds: u64) -> Option<Endured> {
    let bed = Bed::planned(Plan { hidden: true, ..Plan::default() }, RULES)?;
    let pid = bed.pfd.as_ref().expect("the filter runs").pid();
    bed.server.default_routes(&["2001:db8:2::1"]);
    let _page = bed.server.serve("python3 -m http.server --bind :: 80", "tcp", 80);
    let _iperf = bed.server.serve("iperf3 -s", "tcp", 5201);
    answer(&bed.server);
    let mut stream = bed.client.within(|| TcpStream::connect("198.51.100.10:7").expect("the server answers"));
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let (over, transfers, pages, pings) =
        (AtomicBool::new(false), Tally::default(), Tally::default(), Tally::default());
    let words = AtomicU64::new(0);
    let mut result = Endured::default();
    let going = || !over.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let ways = ["-t 2", "-t 2 -R", "-t 1 -u -b 50M", "-t 1 -6"];
            for way in ways.iter().cycle().take_while(|_| going()) {
                let to = if way.contains("-6") { "2001:db8:2::10" } else { "198.51.100.10" };
                let ran = bed.client.run(&format!("timeout 60 iperf3 -c {to} {way}"));
                transfers.count(ran.ok.into(), 1);
            }
        });
        scope.spawn(|| {
            while going() {
                for url in ["http://198.51.100.10/", "http://[2001:db8:2::10]/"] {
                    let read = bed.client.run(&format!("curl -s -m 20 -o /dev/null '{url}'")).ok;
                    pages.count(read.into(), 1);
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        });
        scope.spawn(|| {
            while going() {
                let ran = bed.client.run("ping -n -q -c 20 -i 0.05 -W 1 198.51.100.10");
                let got = ran.out.split(", ").find_map(|w| w.strip_suffix(" received")?.parse().ok()).unwrap_or(0);
                pings.count(got, 20);
            }
        });
        let lives = scope.spawn(|| {
            while going() {
                if !talk(&mut stream) {
                    return false;
                }
                words.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
            talk(&mut stream)
        });
        let begin = Instant::now();
        for second in 0..seconds {
            disturb(&bed, second, &mut result);
            if second == seconds / 4 {
                (result.memory.0, result.files.0, result.threads.0) = held(pid);
            }
            let next = Duration::from_secs(second + 1);
            std::thread::sleep(next.saturating_sub(begin.elapsed()));
        }
        over.store(true, Ordering::Relaxed);
        result.words.1 = lives.join().unwrap_or(false);
    });
    (result.memory.1, result.files.1, result.threads.1) = held(pid);
    (result.transfers, result.pages, result.pings) = (transfers.both(), pages.both(), pings.both());
    result.words.0 = words.load(Ordering::Relaxed);
    let mut bed = bed;
    if !bed.pfd.as_mut().is_some_and(super::Running::runs) {
        result.ended = Some(bed.log());
        return Some(result);
    }
    result.works = works(&bed);
    result.frames = bed.frames();
    // Neighbours that ask at this very moment make states of their own.
    for _ in 0..20 {
        let _ = bed.pfctl("-F states");
        result.states = bed.pfctl("-s states").out.lines().filter(|l| !l.trim().is_empty()).count();
        if result.states == 0 {
            break;
        }
    }
    Some(result)
}
