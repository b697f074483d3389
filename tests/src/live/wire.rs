//! Frames on an interface: sent by hand, and seen passing.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pcap_file::pcap::PcapReader;
use tempfile::TempDir;

use super::space::{Running, Space, until};
use crate::script::packet::{Seen, Spec};

/// Sends each line of standard input, in hexadecimal, as a frame of an interface.
const SEND: &str = "import socket,sys\ns=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)\ns.bind((sys.argv[1],0))\n\
for l in sys.stdin: s.send(bytes.fromhex(l.strip()))\n";

/// One end of a link.
#[derive(Clone, Copy, Debug)]
pub struct Wire<'s> {
    space: &'s Space,
    iface: &'s str,
}

impl<'s> Wire<'s> {
    /// The interface of a namespace.
    #[must_use]
    pub const fn new(space: &'s Space, iface: &'s str) -> Self {
        Self { space, iface }
    }

    fn mac(&self) -> String {
        let text = self.space.ok(&format!("cat /sys/class/net/{}/address", self.iface));
        text.trim().replace(':', "")
    }

    /// Sends packets, as scripts write them, to a neighbour; they leave as they are, checksums and all.
    ///
    /// # Panics
    /// When one is not understood or cannot be sent.
    pub fn send(&self, to: &Wire<'_>, packets: &[&str]) {
        let bytes = packets.iter().map(|text| {
            let words: Vec<&str> = text.split_whitespace().collect();
            Spec::parse(&words).unwrap_or_else(|e| panic!("{text}: {e}")).bytes()
        });
        self.send_bytes(to, &bytes.collect::<Vec<_>>());
    }

    /// Sends whole IP packets.
    ///
    /// # Panics
    /// When one cannot be sent.
    pub fn send_bytes(&self, to: &Wire<'_>, packets: &[Vec<u8>]) {
        use std::fmt::Write as _;
        use std::io::Write as _;
        let head = to.mac() + &self.mac();
        let mut lines = String::new();
        for packet in packets {
            let ether = if packet.first().is_some_and(|b| b >> 4 == 6) { "86dd" } else { "0800" };
            lines.push_str(&head);
            lines.push_str(ether);
            packet.iter().for_each(|byte| write!(lines, "{byte:02x}").expect("text grows"));
            lines.push('\n');
        }
        let mut child = Command::new("ip")
            .args(["netns", "exec", self.space.name(), "python3", "-c", SEND, self.iface])
            .stdin(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("frames are taken");
        assert!(child.wait().is_ok_and(|s| s.success()), "frames leave by {}", self.iface);
    }

    /// Watches for what a filter of tcpdump lets through.
    ///
    /// # Panics
    /// When it cannot be watched.
    #[must_use]
    pub fn capture(&self, filter: &str) -> Capture {
        let folder = TempDir::new().expect("a folder");
        let (file, told) = (folder.path().join("seen.pcap"), folder.path().join("told"));
        let line = format!(
            "tcpdump -Z root -n -i {} -U --immediate-mode -w {} '{filter}' 2>{}",
            self.iface,
            file.display(),
            told.display()
        );
        let running = self.space.spawn(&line);
        until("tcpdump listens", || std::fs::read_to_string(&told).is_ok_and(|t| t.contains("listening on")));
        Capture { _running: running, file, _folder: folder }
    }
}

/// What passes an interface.
#[derive(Debug)]
pub struct Capture {
    _running: Running,
    file: PathBuf,
    _folder: TempDir,
}

impl Capture {
    /// The frames so far.
    #[must_use]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let Ok(file) = std::fs::File::open(&self.file) else { return Vec::new() };
        let Ok(mut reader) = PcapReader::new(file) else { return Vec::new() };
        let mut frames = Vec::new();
        while let Some(Ok(packet)) = reader.next_packet() {
            frames.push(packet.data.into_owned());
        }
        frames
    }

    /// The IP packets so far, taken apart.
    #[must_use]
    pub fn packets(&self) -> Vec<Seen> {
        self.frames().iter().filter_map(|frame| Seen::new(frame.get(14..)?)).collect()
    }

    /// Waits for so many frames; all that came within two seconds.
    #[must_use]
    pub fn wait(&self, count: usize) -> Vec<Seen> {
        let end = Instant::now() + Duration::from_secs(2);
        while self.frames().len() < count && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.packets()
    }

    /// What came when nothing more is expected: after a short while.
    #[must_use]
    pub fn settle(&self) -> Vec<Seen> {
        std::thread::sleep(Duration::from_millis(300));
        self.packets()
    }
}
