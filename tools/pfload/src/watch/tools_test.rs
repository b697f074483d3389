//! The tools people read captures with read ours: tcpdump and tshark.

use std::path::Path;
use std::process::Command;

use pfvm::rule::Af;
use pfvm::watch::LogRow;

use super::capture::{Capture, Format};
use super::pflog::Layout;
use super::{sample, text};

/// Whether a tool is there. With `PF_REQUIRE` naming `tools` (or `all`) it must be.
fn there(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|out| out.status.success());
    let required = std::env::var("PF_REQUIRE").unwrap_or_default();
    assert!(
        found || !required.split(',').any(|word| word == "all" || word == "tools"),
        "{tool} is required and absent"
    );
    if !found {
        eprintln!("not run: {tool} is not installed");
    }
    found
}

fn rows(packets: &[Vec<u8>]) -> Vec<LogRow<'_>> {
    let row = |packet| {
        let mut row = sample::row(packet);
        let layout = Layout::of(packet).unwrap();
        (row.af, row.naf) = (layout.af, layout.af);
        (row.src, row.dst) = layout.ends(packet).unwrap();
        row
    };
    packets.iter().map(|packet| row(packet)).collect()
}

fn write(path: &Path, rows: &[LogRow<'_>], format: Format) {
    let mut capture = Capture::new(std::fs::File::create(path).unwrap(), format).unwrap();
    for row in rows {
        capture.write(row, 1_795_000_000_123_456_789).unwrap();
    }
}

fn output(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn tcpdump_says_the_same_of_every_record() {
    if !there("tcpdump") {
        return;
    }
    let packets = sample::all();
    // tcpdump looks into what goes to port 53, and shows TCP options: those two we leave to it.
    let mut rows = rows(&packets);
    rows.retain(|row| row.src.1 != 53 && Layout::of(row.bytes).unwrap().proto != 6 || row.bytes.len() == 40);
    assert!(rows.len() >= 7);
    let dir = tempfile::tempdir().unwrap();
    for (name, format) in [("a.pcap", Format::Pcap), ("a.pcapng", Format::PcapNg)] {
        let path = dir.path().join(name);
        write(&path, &rows, format);
        let said = output(Command::new("tcpdump").args(["-n", "-e", "-t", "-S", "-r"]).arg(&path));
        let ours: Vec<_> = rows.iter().map(|row| text::line(&LogRow { label: "", line: 0, ..*row })).collect();
        assert_eq!(said.lines().collect::<Vec<_>>(), ours);
    }
}

#[test]
fn tshark_reads_header_names_and_comments() {
    if !there("tshark") {
        return;
    }
    let mut packets = sample::all();
    packets.truncate(2);
    let mut rows = rows(&packets);
    rows[1].iface = "vEthernet (Default Switch)";
    rows[0].src.1 = 61_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pcapng");
    write(&path, &rows, Format::PcapNg);
    let fields = [
        "frame.protocols",
        "frame.interface_name",
        "frame.comment",
        "pflog.length",
        "pflog.action",
        "pflog.reason",
        "pflog.ifname",
        "pflog.ruleset",
        "pflog.rulenr",
        "pflog.subrulenr",
        "pflog.uid",
        "pflog.rule_pid",
        "pflog.dir",
        "pflog.rewritten",
        "pflog.sport",
        "pflog.dport",
        "tcp.srcport",
        "ip.checksum.status",
        "tcp.checksum.status",
    ];
    let mut command = Command::new("tshark");
    command.args([
        "-n",
        "-o",
        "ip.check_checksum:TRUE",
        "-o",
        "tcp.check_checksum:TRUE",
        "-T",
        "fields",
        "-E",
        "separator=|",
    ]);
    for field in fields {
        command.args(["-e", field]);
    }
    let said = output(command.arg("-r").arg(&path));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "pflog:ip:tcp|em0|ssh in @ pf.conf:12|100|1|0|em0|a|3|1|1000|12345|1|1|40000|22|61000|1|1",
            "pflog:ipv6:udp:dns|vEthernet (Default Switch)|ssh in @ pf.conf:12|100|1|0|vEthernet (De~1|a|3|1|1000|12345|1|0|53|4000|||",
        ]
    );
    assert_eq!(rows[1].af, Af::Inet6);
}
