//! How fast packets go through, beside the same path through the kernel alone; what a million states take.
//!
//! Each figure is the middle one of so many runs, with the machine's load beside it: it may be busy with something else.

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::time::Duration;

use super::bed::{Bed, Plan};
use super::endure::held;
use crate::daemon::until;

/// Rules before the one that passes.
const RULES: u32 = 1000;

/// What one transfer came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Speed {
    /// Bits a second, as received.
    pub bits: f64,
    /// Packets a second, as received (UDP).
    pub packets: f64,
    /// Processor time of the filter, in parts of one processor.
    pub load: f64,
}

/// A thousand rules that do not match, translation, and what passes.
fn pf_rules() -> String {
    let mut text = String::from("match out on ext0 inet nat-to (ext0)\nblock\n");
    for n in 0..RULES {
        let _ =
            writeln!(text, "block in quick inet proto tcp from 10.{}.{}.0/24 to port {}", n / 250, n % 250, 1 + n * 7);
    }
    text + "pass in on int0\npass out on ext0\n"
}

/// The same for the kernel's own filter.
fn nft_rules() -> String {
    let mut text = String::from(
        "table ip pf {\nchain nat { type nat hook postrouting priority 100; oifname ext0 masquerade; }\n\
         chain forward { type filter hook forward priority 0; policy drop; ct state established,related accept\n",
    );
    for n in 0..RULES {
        let _ = writeln!(text, "ip saddr 10.{}.{}.0/24 tcp dport {} drop", n / 250, n % 250, 1 + n * 7);
    }
    text + "iifname int0 accept\n}\n}\n"
}

/// Clock ticks of the processor a process has used.
fn ticks(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let part = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    part(11) + part(12)
}

fn transfer(bed: &Bed, words: &str, seconds: u32) -> Speed {
    let pid = bed.pfd.as_ref().map(super::Running::pid);
    let before = pid.map_or(0.0, ticks);
    let out = bed.client.ok(&format!("iperf3 -c 198.51.100.10 -J -t {seconds} {words}"));
    let used = pid.map_or(0.0, ticks) - before;
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_default();
    let sum = |name: &str, field: &str| report["end"][name][field].as_f64();
    let udp = sum("sum", "packets").unwrap_or(0.0) * (1.0 - sum("sum", "lost_percent").unwrap_or(0.0) / 100.0);
    let bits = sum("sum_received", "bits_per_second").or(sum("sum", "bits_per_second")).unwrap_or(0.0);
    // A tick is a hundredth of a second.
    Speed { bits, packets: udp / f64::from(seconds), load: used / 100.0 / f64::from(seconds) }
}

/// The middle of what so many runs came to, by what `of` takes from them.
fn middle(mut runs: Vec<Speed>, of: impl Fn(&Speed) -> f64) -> Speed {
    runs.sort_by(|a, b| of(a).total_cmp(&of(b)));
    runs.get(runs.len() / 2).copied().unwrap_or_default()
}

/// The machine's load of the last minute.
fn load() -> String {
    let all = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    all.split(' ').next().unwrap_or_default().to_owned()
}

/// Measures, and tells as a table; nothing where beds cannot be built.
#[must_use]
pub fn figures(seconds: u32, runs: u32) -> Option<String> {
    let mut text = String::from(
        "| path | TCP, one stream | TCP, four streams | UDP of 18 bytes, packets/s | processors of pfd | load |\n\
         |---|---|---|---|---|---|\n",
    );
    let hidden = Plan { hidden: true, ..Plan::default() };
    for (name, plan, nft) in [
        ("kernel forwarding", Plan { unfiltered: true, ..Plan::default() }, false),
        ("kernel forwarding, nftables, 1 000 rules and NAT", Plan { unfiltered: true, ..hidden }, true),
        ("pfd, 1 000 rules and NAT", hidden, false),
    ] {
        let bed = Bed::planned(plan, &pf_rules())?;
        if nft {
            let file = bed.write("nft.conf", &nft_rules());
            bed.filter.ok(&format!("nft -f {}", file.display()));
        }
        let _server = bed.server.serve("iperf3 -s", "tcp", 5201);
        let measure = |words: &str| (0..runs).map(|_| transfer(&bed, words, seconds)).collect::<Vec<_>>();
        let tcp = middle(measure(""), |s| s.bits);
        let four = middle(measure("-P 4"), |s| s.bits);
        let udp = middle(measure("-u -b 0 -l 18"), |s| s.packets);
        let _ = writeln!(
            text,
            "| {name} | {:.2} Gbit/s | {:.2} Gbit/s | {:.0} | {:.2}, {:.2}, {:.2} | {} |",
            tcp.bits / 1e9,
            four.bits / 1e9,
            udp.packets,
            tcp.load,
            four.load,
            udp.load,
            load()
        );
        if let Some(pfd) = &bed.pfd {
            let before = ticks(pfd.pid());
            std::thread::sleep(Duration::from_secs(5));
            let _ = writeln!(text, "\npfd idle: {:.3} processors", (ticks(pfd.pid()) - before) / 500.0);
        }
    }
    Some(text)
}

/// States that are made.
const STATES: u32 = 1_000_000;

/// What a million states take of memory; nothing where beds cannot be built.
///
/// # Panics
/// When so many do not come about.
#[must_use]
pub fn million() -> Option<String> {
    let rules = "set limit states 1000000\nset timeout { udp.first 3600, adaptive.start 0, adaptive.end 0 }\n\
        pass no state\npass in on int0 inet proto udp\n";
    let bed = Bed::new(rules)?;
    let pid = bed.pfd.as_ref()?.pid();
    let count = || {
        let info = bed.control("-s info");
        let line = info.lines().find(|l| l.trim_start().starts_with("current entries"));
        line.and_then(|l| l.split_whitespace().nth(2)?.parse::<u32>().ok()).unwrap_or(0)
    };
    // Nobody answers: what is asked ends behind the filter.
    bed.filter.ok("ip route add blackhole 203.0.113.0/24");
    let empty = held(pid).0;
    let () = bed.client.within(|| {
        let socket = UdpSocket::bind("192.0.2.10:0").expect("a port");
        for n in 0..STATES {
            let to = (std::net::Ipv4Addr::new(203, 0, 113, u8::try_from(n / 60_000).unwrap_or(0)), 1024);
            let to = (to.0, to.1 + u16::try_from(n % 60_000).unwrap_or(0));
            let _full = socket.send_to(b"", to);
            // No faster than they are fetched.
            if n % 2000 == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    until("the states are made", || count() > STATES / 100 * 95);
    let (states, full) = (count(), held(pid).0);
    let memory = f64::from(u32::try_from(full).unwrap_or(0)) / 1024.0;
    Some(format!(
        "{states} states: {memory:.0} MiB resident; without them, with room for {STATES}: {:.0} MiB\n",
        f64::from(u32::try_from(empty).unwrap_or(0)) / 1024.0
    ))
}
