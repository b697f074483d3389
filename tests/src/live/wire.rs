//! Frames on an interface: sent by hand, and seen passing.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use pcap_file::pcap::PcapReader;
use tempfile::TempDir;

use super::space::{Running, Space};
use crate::daemon::until;
use crate::script::packet::{Seen, Spec};

/// Sends each line of standard input, in hexadecimal, as a frame of an interface.
const SEND: &str = "import socket,sys\ns=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)\ns.bind((sys.argv[1],0))\n\
for l in sys.stdin: s.send(bytes.fromhex(l.strip()))\n";

/// A frame that says where a capture stands: to a group nobody is in, of a kind for experiments.
const MARK: [u8; 60] = {
    let mut frame = [0; 60];
    (frame[0], frame[5], frame[6], frame[11], frame[12], frame[13]) = (3, 0x70, 2, 0x66, 0x88, 0xb5);
    frame
};

fn is_mark(frame: &[u8]) -> bool {
    frame.get(..14) == MARK.get(..14)
}

/// A packet as scripts write it.
///
/// # Panics
/// When it is not understood.
#[must_use]
pub fn packet(text: &str) -> Vec<u8> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Spec::parse(&words).unwrap_or_else(|e| panic!("{text}: {e}")).bytes()
}

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

    /// The hardware address.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn mac(&self) -> Vec<u8> {
        let text = self.space.ok(&format!("cat /sys/class/net/{}/address", self.iface));
        let byte = |pair: &str| u8::from_str_radix(pair, 16).expect("an address");
        text.trim().split(':').map(byte).collect()
    }

    /// Sends packets, as scripts write them, to a neighbour; they leave as they are, checksums and all.
    ///
    /// # Panics
    /// When one is not understood or cannot be sent.
    pub fn send(&self, to: &Wire<'_>, packets: &[&str]) {
        self.send_bytes(to, &packets.iter().map(|text| packet(text)).collect::<Vec<_>>());
    }

    /// Sends whole IP packets.
    ///
    /// # Panics
    /// When one cannot be sent.
    pub fn send_bytes(&self, to: &Wire<'_>, packets: &[Vec<u8>]) {
        let ends = [to.mac(), self.mac()].concat();
        let frame = |packet: &Vec<u8>| {
            let kind = if packet.first().is_some_and(|b| b >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] };
            [&ends[..], &kind, packet].concat()
        };
        self.send_frames(&packets.iter().map(frame).collect::<Vec<_>>());
    }

    /// Sends whole frames.
    ///
    /// # Panics
    /// When one cannot be sent.
    pub fn send_frames(&self, frames: &[Vec<u8>]) {
        use std::fmt::Write as _;
        use std::io::Write as _;
        let mut lines = String::new();
        for frame in frames {
            frame.iter().for_each(|byte| write!(lines, "{byte:02x}").expect("text grows"));
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
    pub fn capture(&self, filter: &str) -> Capture<'s> {
        let folder = TempDir::new().expect("a folder");
        let (file, told) = (folder.path().join("seen.pcap"), folder.path().join("told"));
        let line = format!(
            "tcpdump -Z root -n -i {} -U --immediate-mode -w {} '({filter}) or ether proto 0x88b5' 2>{}",
            self.iface,
            file.display(),
            told.display()
        );
        let running = self.space.spawn(&line);
        until("tcpdump listens", || std::fs::read_to_string(&told).is_ok_and(|t| t.contains("listening on")));
        Capture { space: self.space, iface: self.iface, _running: running, file, _folder: folder }
    }
}

/// What passes an interface.
#[derive(Debug)]
pub struct Capture<'s> {
    space: &'s Space,
    iface: &'s str,
    _running: Running,
    file: PathBuf,
    _folder: TempDir,
}

impl Capture<'_> {
    /// The frames so far.
    #[must_use]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let mut frames = self.all();
        frames.retain(|frame| !is_mark(frame));
        frames
    }

    fn all(&self) -> Vec<Vec<u8>> {
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

    /// Waits for so many packets that must come; all there are then.
    ///
    /// # Panics
    /// When they do not come.
    #[must_use]
    pub fn wait(&self, count: usize) -> Vec<Seen> {
        self.holds(&format!("{count} packets"), |packets| packets.len() >= count)
    }

    /// Waits until what came is as wanted.
    ///
    /// # Panics
    /// When it does not become so.
    #[must_use]
    pub fn holds(&self, what: &str, wanted: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let mut packets = Vec::new();
        until(what, || {
            packets = self.packets();
            wanted(&packets)
        });
        packets
    }

    /// What came when nothing more is expected: after a short while, and all that tcpdump had not yet written then.
    ///
    /// # Panics
    /// When the mark that is sent at the end is not seen.
    #[must_use]
    pub fn settle(&self) -> Vec<Seen> {
        std::thread::sleep(Duration::from_millis(300));
        let marks = || self.all().iter().filter(|frame| is_mark(frame)).count();
        let before = marks();
        let wire = Wire { space: self.space, iface: self.iface };
        wire.send_frames(&[MARK.to_vec()]);
        until("the mark is seen", || marks() > before);
        self.packets()
    }
}
