//! Frames through the driver: orders to the mock, and what came of them against pfsim.
//!
//! A small program under Wine hands the orders to the mock's device. Frames of `examples/gateway.pcap` go in one by one at
//! the capture's own time; what comes out of the filter must be what pfsim makes of the same packets, verdict by verdict
//! and byte by byte.

use std::path::{Path, PathBuf};

use pfc::facts::Facts;
use pfsim::capture::Reader;
use pfsim::decide::{Decider, RuleRow, Ruling, Sighting, Verdict};
use pfsim::engine::Whole;
use pfsim::replay::{Placement, replay};
use pfvm::rule::{Af, Direction};

use super::prefix::Wine;
use crate::windows;
use crate::windows::run::{Failure, read, write};

/// The mock's code: any will do.
const ORDER: u32 = 0x0012_E00C;
/// A request adapters answer (`OID_GEN_MAXIMUM_FRAME_SIZE`), the mock with another number.
const OID: u32 = 0x1_0106;
/// Out-of-band data of a received frame whose checksums the card found right.
const GOOD: u32 = 0x38;
/// The adapters' address.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// MTU of the adapters: nothing is cut, as pfsim cuts nothing.
const MTU: u32 = 65_535;
/// Milliseconds the machine has been up when the capture begins.
const UPTIME: u64 = 1_000_000;

/// What pfsim made of a packet.
struct Seen {
    iface: String,
    dir: Direction,
    af: Af,
    time: u64,
    before: Vec<u8>,
    after: Vec<u8>,
    verdict: Verdict,
}

/// Decides as pfsim does and keeps it.
struct Recorder {
    whole: Whole,
    seen: Vec<Seen>,
}

impl Decider for Recorder {
    fn decide(&mut self, seen: &mut Sighting<'_>) -> Ruling {
        let before = seen.packet.clone();
        let ruling = self.whole.decide(seen);
        self.seen.push(Seen {
            iface: seen.iface.to_owned(),
            dir: seen.dir,
            af: seen.af,
            time: seen.time,
            before,
            after: seen.packet.clone(),
            verdict: ruling.verdict,
        });
        ruling
    }

    fn rules(&self) -> &[RuleRow] {
        self.whole.rules()
    }
}

/// The capture through pfsim: what became of each packet, and the states at the end.
fn simulated(image: &[u8], facts: &Facts) -> Result<(Vec<Seen>, Vec<String>), Failure> {
    let whole = Whole::load(image, facts).map_err(|error| error.to_string())?;
    let capture = read(&windows::root().join("examples/gateway.pcap"))?;
    let mut reader = Reader::new(capture.as_slice()).map_err(|error| error.to_string())?;
    let placement = Placement {
        names: facts.interfaces.iter().map(|i| (i.index, i.name.clone())).collect(),
        own: facts.interfaces.iter().flat_map(|i| i.addresses.iter().map(|a| a.addr)).collect(),
        ..Placement::default()
    };
    let mut recorder = Recorder { whole, seen: Vec::new() };
    let (_, done) = replay::<Vec<u8>>(&mut reader, &placement, &mut recorder, None, &mut ());
    done.map_err(|error| error.to_string())?;
    let states = sorted(&recorder.whole.states(0).unwrap_or_default());
    Ok((recorder.seen, states))
}

/// Requests for the devices.
#[derive(Default)]
struct Script(Vec<u8>);

impl Script {
    fn put(&mut self, device: u8, code: u32, bytes: &[u8]) {
        self.0.push(device);
        self.0.extend(code.to_le_bytes());
        self.0.extend(u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn order(&mut self, bytes: &[u8]) {
        self.put(1, ORDER, bytes);
    }

    /// The time it is from now on.
    fn clock(&mut self, ms: u64) {
        self.order(&[&[5][..], &ms.to_le_bytes()].concat());
    }
}

/// When a packet comes, by the driver's clock.
fn time_of(packets: &[Seen], packet: &Seen) -> u64 {
    let begun = packets.first().map_or(0, |p| p.time);
    UPTIME + packet.time.saturating_sub(begun) / 1_000_000
}

/// The adapters, by name: those of the facts but loopback, numbered as they are attached.
fn adapters(facts: &Facts) -> Vec<(&str, u32)> {
    facts.interfaces.iter().filter(|i| !i.flags.loopback).map(|i| (i.name.as_str(), i.index)).collect()
}

/// A frame around a packet.
fn frame(seen: &Seen) -> Vec<u8> {
    let other = [2, 0, 0, 0, 0, 9];
    let (to, from) = if seen.dir == Direction::In { (MAC, other) } else { (other, MAC) };
    let kind: [u8; 2] = if seen.af == Af::Inet { [8, 0] } else { [0x86, 0xdd] };
    [&to[..], &from, &kind, &seen.before].concat()
}

/// Orders that attach the adapters.
fn attaching(facts: &Facts) -> Script {
    let mut script = Script::default();
    for (_, index) in adapters(facts) {
        script.order(&[&[1][..], &index.to_le_bytes(), &MTU.to_le_bytes(), &MAC].concat());
    }
    script
}

/// Orders of one round: every packet goes in at the capture's time.
fn frames(facts: &Facts, packets: &[Seen]) -> Script {
    let mut script = Script::default();
    for (n, packet) in packets.iter().enumerate() {
        script.clock(time_of(packets, packet));
        let module = adapters(facts).iter().position(|(name, _)| *name == packet.iface).unwrap_or(255);
        let below = packet.dir == Direction::In;
        // Cut anew each time, every third received frame only lent.
        let cut = u16::try_from((n * 13) % 90).unwrap_or(0);
        let flags = if below && n % 3 == 0 { 2_u32 } else { 0 };
        let sum = if below { GOOD } else { 0 };
        let head = [&[2, u8::try_from(module).unwrap_or(255), u8::from(below)][..], &cut.to_le_bytes()].concat();
        script.order(&[&head[..], &flags.to_le_bytes(), &sum.to_le_bytes(), &frame(packet)].concat());
    }
    script
}

/// Orders that end a round: a request to each adapter, each is detached, what is left is counted.
fn ending(ports: usize) -> Script {
    let mut script = Script::default();
    for module in 0..ports {
        script.order(&[&[6, u8::try_from(module).unwrap_or(255)][..], &OID.to_le_bytes()].concat());
        script.order(&[3, u8::try_from(module).unwrap_or(255)]);
    }
    script.order(&[4]);
    script
}

/// Something the filter did.
struct Event {
    kind: u8,
    word: u32,
    bytes: Vec<u8>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

/// Events of an answer.
fn events(mut bytes: &[u8]) -> Vec<Event> {
    let mut out = Vec::new();
    while let (Some(kind), Some(rest)) = (bytes.first(), bytes.get(12..)) {
        let length = usize::try_from(word(bytes, 8)).unwrap_or(0).min(rest.len());
        let (own, next) = rest.split_at(length);
        out.push(Event { kind: *kind, word: word(bytes, 4), bytes: own.to_vec() });
        bytes = next;
    }
    out
}

/// Answers of the program, in order.
fn answers(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut out = Vec::new();
    while let Some(rest) = bytes.get(8..) {
        let length = usize::try_from(word(bytes, 4)).unwrap_or(0).min(rest.len());
        let (own, next) = rest.split_at(length);
        out.push((word(bytes, 0), own.to_vec()));
        bytes = next;
    }
    out
}

/// The packet that IPv6 fragments make together (RFC 8200 §4.5), in the order they came: what pfsim leaves whole, the
/// edge sends in pieces, as pf does.
fn together(fragments: &[&[u8]]) -> Option<Vec<u8>> {
    let mut whole = fragments.first()?.get(..40)?.to_vec();
    for (n, fragment) in fragments.iter().enumerate() {
        let head = fragment.get(40..48)?;
        let place = u16::from_be_bytes([*head.get(2)?, *head.get(3)?]);
        let more = place & 1 != 0;
        if *fragment.get(6)? != 44 || usize::from(place & !7) != whole.len() - 40 || more != (n + 1 < fragments.len()) {
            return None;
        }
        *whole.get_mut(6)? = *head.first()?;
        whole.extend_from_slice(fragment.get(48..)?);
    }
    let length = u16::try_from(whole.len() - 40).ok()?.to_be_bytes();
    whole.get_mut(4..6)?.copy_from_slice(&length);
    Some(whole)
}

/// What the driver made of the packets, against pfsim.
fn compare(packets: &[Seen], frames: &[(u32, Vec<u8>)]) -> Result<String, Failure> {
    let (mut passed, mut rewritten, mut cut, mut blocked, mut held) = (0, 0, 0, 0, 0);
    for (n, (packet, (error, answer))) in packets.iter().zip(frames).enumerate() {
        let at = format!("packet {} ({:?} on {})", n + 1, packet.dir, packet.iface);
        if *error != 0 {
            return Err(format!("{at}: error {error}"));
        }
        let on = if packet.dir == Direction::In { 2 } else { 1 };
        let events = events(answer);
        let went: Vec<&[u8]> =
            events.iter().filter(|e| e.kind == on).map(|e| e.bytes.get(14..).unwrap_or(&[])).collect();
        match (packet.verdict, went.as_slice()) {
            (Verdict::Pass, [packet_out]) if *packet_out == packet.after => {
                passed += 1;
                rewritten += u32::from(packet.after != packet.before);
            }
            (Verdict::Pass, pieces) if together(pieces).as_ref() == Some(&packet.after) => {
                passed += 1;
                cut += 1;
            }
            (Verdict::Block, []) => blocked += 1,
            (Verdict::Hold, []) => held += 1,
            (verdict, went) => {
                return Err(format!(
                    "{at}: pfsim {verdict:?} {:02x?}\nthe driver sent {} frames: {went:02x?}",
                    packet.after,
                    went.len()
                ));
            }
        }
        // The list that came in was sent on, completed or returned: it is not lost, which the count at the end says.
    }
    Ok(format!(
        "{passed} passed ({rewritten} rewritten, {cut} in fragments again), {blocked} blocked, {held} held, as by pfsim"
    ))
}

/// The sum the mock makes over the device's security.
fn sddl_sum() -> u32 {
    "D:P(A;;GA;;;SY)(A;;GA;;;BA)".bytes().fold(0_u32, |n, c| n.wrapping_mul(31).wrapping_add(u32::from(c)))
}

/// Hands a script to the devices and gives the answers.
fn fed(wine: &Wine, feed: &Path, folder: &Path, script: &Script) -> Result<Vec<(u32, Vec<u8>)>, Failure> {
    let (requests, replies) = (folder.join("requests.bin"), folder.join("answers.bin"));
    write(&requests, &script.0)?;
    wine.done(wine.command(&feed.display().to_string()).arg(&requests).arg(&replies))?;
    Ok(answers(&read(&replies)?))
}

/// What goes through the filter: packets, and what pfsim makes of them.
pub(super) struct Traffic {
    feed: PathBuf,
    folder: PathBuf,
    facts: Facts,
    packets: Vec<Seen>,
    /// States there are at the end, as `-s states` shows them, sorted.
    states: Vec<String>,
}

impl Traffic {
    /// The capture through pfsim.
    pub(super) fn new(folder: &Path, image: &[u8], facts: Facts) -> Result<Self, Failure> {
        let (packets, states) = simulated(image, &facts)?;
        Ok(Self { feed: windows::feed()?, folder: folder.to_owned(), facts, packets, states })
    }

    /// The adapters are there. An intermediate driver has its device with the first of them.
    ///
    /// # Errors
    /// One that could not be attached.
    pub(super) fn attach(&self, wine: &Wine) -> Result<(), Failure> {
        let answers = fed(wine, &self.feed, &self.folder, &attaching(&self.facts))?;
        match answers.iter().position(|(error, _)| *error != 0) {
            Some(n) => Err(format!("adapter {n} could not be attached")),
            None => Ok(()),
        }
    }

    /// All of it through the driver, which has its rules.
    ///
    /// # Errors
    /// What pfsim sees otherwise.
    pub(super) fn pass(&self, wine: &Wine) -> Result<String, Failure> {
        compare(&self.packets, &self.through(wine)?)
    }

    /// What the driver answered to each of the packets.
    fn through(&self, wine: &Wine) -> Result<Vec<(u32, Vec<u8>)>, Failure> {
        let answers = fed(wine, &self.feed, &self.folder, &frames(&self.facts, &self.packets))?;
        // Each comes behind an order that sets the clock.
        let frames: Vec<_> = answers.into_iter().skip(1).step_by(2).collect();
        if frames.len() != self.packets.len() {
            return Err(format!("{} answers to {} frames", frames.len(), self.packets.len()));
        }
        Ok(frames)
    }

    /// All of it to a driver that must let none of it through.
    ///
    /// # Errors
    /// What it does.
    pub(super) fn refused(&self, wine: &Wine) -> Result<(), Failure> {
        for (n, (error, answer)) in self.through(wine)?.iter().enumerate() {
            if *error != 0 || events(answer).iter().any(|e| matches!(e.kind, 1 | 2)) {
                return Err(format!("packet {} was let through (error {error})", n + 1));
            }
        }
        Ok(())
    }

    /// It is so many seconds after the last packet.
    ///
    /// # Errors
    /// Whatever the mock says.
    pub(super) fn goes_on(&self, wine: &Wine, seconds: u64) -> Result<(), Failure> {
        let end = self.packets.last().map_or(UPTIME, |last| time_of(&self.packets, last));
        let mut script = Script::default();
        script.clock(end + seconds * 1000);
        fed(wine, &self.feed, &self.folder, &script).map(drop)
    }

    /// The states pfload shows against pfsim's.
    ///
    /// # Errors
    /// What differs.
    pub(super) fn states(&self, shown: &str) -> Result<usize, Failure> {
        let shown = sorted(shown);
        match self.states.iter().zip(&shown).find(|(a, b)| a != b) {
            Some((a, b)) => Err(format!("states: pfsim has {a}, the driver {b}")),
            None if shown.len() != self.states.len() => {
                Err(format!("pfsim has {} states, the driver {}", self.states.len(), shown.len()))
            }
            None => Ok(shown.len()),
        }
    }

    /// Adapters are asked, taken away, and nothing is left.
    ///
    /// # Errors
    /// What is left.
    pub(super) fn end(&self, wine: &Wine) -> Result<(), Failure> {
        let ports = adapters(&self.facts).len();
        let answers = fed(wine, &self.feed, &self.folder, &ending(ports))?;
        for (port, (error, answer)) in answers.iter().step_by(2).take(ports).enumerate() {
            if *error != 0 || !events(answer).iter().any(|e| e.kind == 5 && e.word == OID ^ 0x5555) {
                return Err(format!("the request to port {port} was not answered: {answer:02x?}"));
            }
        }
        let counts = answers.last().map_or(&[][..], |(_, bytes)| bytes);
        let left: Vec<u32> = (0..5).map(|n| word(counts, 4 * n)).collect();
        if counts.len() < 24 || left != [0; 5] || word(counts, 20) != sddl_sum() {
            return Err(format!("left behind (faults, pools, pieces, own lists, lists): {left:?}"));
        }
        Ok(())
    }
}

/// Lines in order.
fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.sort();
    lines
}
