//! How fast packets go through, beside the same path through the kernel alone.

use std::fmt::Write as _;
use std::time::Duration;

use super::bed::{Bed, Plan};

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

/// Measures, and tells as a table; nothing where beds cannot be built.
#[must_use]
pub fn figures(seconds: u32) -> Option<String> {
    let mut text =
        String::from("| path | TCP, Gbit/s | UDP of 18 bytes, packets/s | processors of pfd |\n|---|---|---|---|\n");
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
        let tcp = transfer(&bed, "", seconds);
        let udp = transfer(&bed, "-u -b 0 -l 18", seconds);
        let _ = writeln!(
            text,
            "| {name} | {:.2} | {:.0} | {:.2}, {:.2} |",
            tcp.bits / 1e9,
            udp.packets,
            tcp.load,
            udp.load
        );
        if let Some(pfd) = &bed.pfd {
            let before = ticks(pfd.pid());
            std::thread::sleep(Duration::from_secs(5));
            let _ = writeln!(text, "\npfd idle: {:.3} processors", (ticks(pfd.pid()) - before) / 500.0);
        }
    }
    Some(text)
}
