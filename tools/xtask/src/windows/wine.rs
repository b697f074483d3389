//! The shipped driver under Wine: started, loaded through its device, fed with a capture, compared with pfsim, stopped.
//!
//! Wine gives NT, the mock gives NDIS. Requests are prepared here and decoded here; on the other side a small program
//! hands them to the devices. Frames of `examples/gateway.pcap` go in one by one at the capture's own time; what comes out
//! of the filter must be what pfsim makes of the same packets, verdict by verdict and byte by byte.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pfc::compile::{Options, compile};
use pfc::facts::Facts;
use pfc::facts::live::{File, Source};
use pfc::source::Sources;
use pfsim::capture::Reader;
use pfsim::decide::{Decider, RuleRow, Ruling, Sighting, Verdict};
use pfsim::engine::Whole;
use pfsim::replay::{Placement, replay};
use pfvm::api::{API_VERSION, After, FactRow, MAX_CHUNK, Request, Ticket, Welcome, decode, encode, read_reply};
use pfvm::rule::{Addr, Af, Direction};

use super::run::{Failure, output, read, run, write};

/// Codes of the filter's device, as `pfndis::message` has them.
const TELL: u32 = 0x0012_E008;
/// The mock's code: any will do.
const ORDER: u32 = 0x0012_E00C;
/// Out-of-band data of a received frame whose checksums the card found right.
const GOOD: u32 = 0x38;
/// The adapters' address.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// MTU of the adapters: nothing is cut, as pfsim cuts nothing.
const MTU: u32 = 65_535;
/// Milliseconds the machine has been up when the capture begins.
const UPTIME: u64 = 1_000_000;

/// A Wine with the driver in it.
struct Wine {
    prefix: PathBuf,
}

impl Wine {
    /// Makes a prefix and puts the files into it.
    fn new(folder: &Path) -> Result<Self, Failure> {
        let prefix = folder.join("prefix");
        let wine = Self { prefix };
        if !wine.prefix.join("drive_c").exists() {
            std::fs::create_dir_all(&wine.prefix).map_err(|error| error.to_string())?;
            run(wine.command("wineboot").arg("-i").stdout(Stdio::null()).stderr(Stdio::null()))?;
            run(wine.server().arg("-w"))?;
        }
        let drivers = wine.prefix.join("drive_c/windows/system32/drivers");
        write(&drivers.join("planb.sys"), &read(&super::out().join("x64/planb.sys"))?)?;
        write(&drivers.join("ndis.sys"), &read(&super::out().join("wine/ndis.sys"))?)?;
        run(wine.server().arg("-p"))?;
        Ok(wine)
    }

    fn environment<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("WINEPREFIX", &self.prefix)
            .env("WINEDLLOVERRIDES", "ndis.sys=n")
            .env("WINEDEBUG", std::env::var("WINEDEBUG").unwrap_or_else(|_| "-all".to_owned()))
            .env_remove("DISPLAY")
            .env_remove("LD_LIBRARY_PATH")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("/usr/lib/wine/wine64");
        self.environment(&mut command).arg(program);
        command
    }

    fn server(&self) -> Command {
        let name = ["/usr/lib/wine/wineserver64", "/usr/lib/wine/wineserver"].iter().find(|p| Path::new(p).exists());
        let mut command = Command::new(name.unwrap_or(&"wineserver"));
        self.environment(&mut command);
        command
    }

    /// `sc`, which says what it did on standard output.
    fn sc(&self, arguments: &[&str]) -> Result<String, Failure> {
        output(self.command("sc").args(arguments))
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        // The server of this prefix alone; if it is gone, all the better.
        let _ = self.server().arg("-k").status();
    }
}

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

/// The example, compiled: image and facts.
fn example() -> Result<(Vec<u8>, Facts), Failure> {
    let folder = super::root().join("examples");
    let facts = File(folder.join("gateway.toml")).facts().map_err(|error| error.to_string())?;
    let mut sources = Sources::disk();
    let file = sources.add("gateway.conf", read(&folder.join("gateway.conf"))?);
    let outcome = compile(&mut sources, file, &facts, &Options::default());
    let image = outcome.compiled.ok_or("examples/gateway.conf does not compile")?.image;
    Ok((image, facts))
}

/// The capture through pfsim.
fn simulated(image: &[u8], facts: &Facts) -> Result<Vec<Seen>, Failure> {
    let whole = Whole::load(image, facts).map_err(|error| error.to_string())?;
    let capture = read(&super::root().join("examples/gateway.pcap"))?;
    let mut reader = Reader::new(capture.as_slice()).map_err(|error| error.to_string())?;
    let placement = Placement {
        names: facts.interfaces.iter().map(|i| (i.index, i.name.clone())).collect(),
        own: facts.interfaces.iter().flat_map(|i| i.addresses.iter().map(|a| a.addr)).collect(),
        ..Placement::default()
    };
    let mut recorder = Recorder { whole, seen: Vec::new() };
    let (_, done) = replay::<Vec<u8>>(&mut reader, &placement, &mut recorder, None, &mut ());
    done.map_err(|error| error.to_string())?;
    Ok(recorder.seen)
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

    fn tell(&mut self, request: &Request<'_>) -> Result<(), Failure> {
        let mut room = vec![0; 1 << 16];
        let length = encode(request, &mut room).map_err(|error| error.to_string())?;
        self.put(0, TELL, room.get(..length).unwrap_or_default());
        Ok(())
    }

    fn order(&mut self, bytes: &[u8]) {
        self.put(1, ORDER, bytes);
    }

    /// Bytes into a ticket. Tickets are numbered from 1 while a client is the only one.
    fn upload(&mut self, ticket: u64, bytes: &[u8]) -> Result<(), Failure> {
        self.tell(&Request::Begin { path: "" })?;
        let mut offset = 0;
        for bytes in bytes.chunks(MAX_CHUNK) {
            self.tell(&Request::Upload { ticket, offset, bytes })?;
            offset += u32::try_from(bytes.len()).unwrap_or(0);
        }
        Ok(())
    }
}

/// An address as the filter writes it.
fn address(ip: std::net::IpAddr) -> (Af, Addr) {
    let mut out = Addr::default();
    match ip {
        std::net::IpAddr::V4(a) => {
            out.0.iter_mut().zip(a.octets()).for_each(|(to, from)| *to = from);
            (Af::Inet, out)
        }
        std::net::IpAddr::V6(a) => {
            out.0 = a.octets();
            (Af::Inet6, out)
        }
    }
}

/// The facts as rows.
fn rows(facts: &Facts) -> Vec<u8> {
    let mut rows = Vec::new();
    let mut put = |row: FactRow<'_>| {
        let mut room = [0; 1024];
        if let Ok(length) = encode(&row, &mut room) {
            rows.extend_from_slice(room.get(..length).unwrap_or_default());
        }
    };
    for i in &facts.interfaces {
        let flags = 2 | u8::from(i.flags.loopback) | u8::from(i.flags.broadcast) << 2;
        let index = u16::try_from(i.index).unwrap_or(0);
        put(FactRow::Iface { index, name: &i.name, flags, mtu: MTU, mac: MAC });
        i.groups.iter().for_each(|g| put(FactRow::Group(g)));
        for a in &i.addresses {
            let (af, addr) = address(a.addr);
            let broadcast = a.broadcast.map(|b| address(b.into()).1);
            put(FactRow::Address { af, addr, prefix: a.prefix, broadcast, peer: None });
        }
        if i.groups.iter().any(|g| g == "egress") {
            for af in [Af::Inet, Af::Inet6] {
                put(FactRow::Route { af, addr: Addr::default(), prefix: 0, hop: None, metric: 0 });
            }
        }
    }
    rows
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

/// Greeting, facts, rules.
fn load(script: &mut Script, image: &[u8], facts: &Facts, first_ticket: u64) -> Result<(), Failure> {
    script.upload(first_ticket, &rows(facts))?;
    script.tell(&Request::SetFacts { ticket: first_ticket })?;
    script.upload(first_ticket + 1, image)?;
    let tickets = (first_ticket + 1).to_le_bytes();
    script.tell(&Request::Commit { tickets: &tickets, after: After::Keep, confirm: 0, checksum: [7; 16] })
}

/// All requests of one round; those of frames come last but one for each adapter and the count.
fn script(image: &[u8], facts: &Facts, packets: &[Seen]) -> Result<Script, Failure> {
    let mut script = Script::default();
    script.tell(&Request::Hello { version: API_VERSION })?;
    load(&mut script, image, facts, 1)?;
    for (_, index) in adapters(facts) {
        script.order(&[&[1][..], &index.to_le_bytes(), &MTU.to_le_bytes(), &MAC].concat());
    }
    let begun = packets.first().map_or(0, |p| p.time);
    for (n, packet) in packets.iter().enumerate() {
        let now = UPTIME + packet.time.saturating_sub(begun) / 1_000_000;
        script.order(&[&[5][..], &now.to_le_bytes()].concat());
        let module = adapters(facts).iter().position(|(name, _)| *name == packet.iface).unwrap_or(255);
        let below = packet.dir == Direction::In;
        // Cut anew each time, every third received frame only lent.
        let cut = u16::try_from((n * 13) % 90).unwrap_or(0);
        let flags = if below && n % 3 == 0 { 2_u32 } else { 0 };
        let sum = if below { GOOD } else { 0 };
        let head = [&[2, u8::try_from(module).unwrap_or(255), u8::from(below)][..], &cut.to_le_bytes()].concat();
        script.order(&[&head[..], &flags.to_le_bytes(), &sum.to_le_bytes(), &frame(packet)].concat());
    }
    for module in 0..adapters(facts).len() {
        script.order(&[&[6, u8::try_from(module).unwrap_or(255)][..], &0x1_0106_u32.to_le_bytes()].concat());
        script.order(&[3, u8::try_from(module).unwrap_or(255)]);
    }
    script.order(&[4]);
    Ok(script)
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
fn compare(packets: &[Seen], frames: &[&(u32, Vec<u8>)]) -> Result<String, Failure> {
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

/// One round: the driver is running; everything is asked and compared.
fn round(
    wine: &Wine,
    feed: &Path,
    folder: &Path,
    script: &Script,
    packets: &[Seen],
    ports: usize,
) -> Result<String, Failure> {
    let (requests, replies) = (folder.join("requests.bin"), folder.join("answers.bin"));
    write(&requests, &script.0)?;
    run(wine.command(&feed.display().to_string()).arg(&requests).arg(&replies))?;
    let answers = answers(&read(&replies)?);
    let wrong = |n: usize| format!("answer {n} makes no sense: {:02x?}", answers.get(n).map(|a| (a.0, a.1.get(..80))));
    let bytes = |n: usize| answers.get(n).filter(|a| a.0 == 0).map(|a| a.1.as_slice()).ok_or_else(|| wrong(n));
    let hello = read_reply(bytes(0)?).map_err(|_| wrong(0))?.map_err(|refusal| format!("{refusal:?}"))?;
    let welcome: Welcome = decode(hello).map_err(|_| wrong(0))?;
    let tail = 1 + 2 * ports;
    let first_frame = answers.len().saturating_sub(tail + 2 * packets.len());
    let commit = first_frame.saturating_sub(ports + 1);
    let done = read_reply(bytes(commit)?).map_err(|_| wrong(commit))?.map_err(|refusal| format!("{refusal:?}"))?;
    let ticket: Ticket = decode(done).map_err(|_| wrong(commit))?;
    let frames: Vec<&(u32, Vec<u8>)> = answers.iter().skip(first_frame + 1).step_by(2).take(packets.len()).collect();
    let said = compare(packets, &frames)?;
    for port in 0..ports {
        let asked = answers.len() - tail + 2 * port;
        let answered = events(bytes(asked)?).iter().any(|e| e.kind == 5 && e.word == 0x1_0106 ^ 0x5555);
        if !answered {
            return Err(format!("the request to port {port} was not answered: {}", wrong(asked)));
        }
    }
    let counts = bytes(answers.len() - 1)?;
    let left: Vec<u32> = (0..5).map(|n| word(counts, 4 * n)).collect();
    if left != [0; 5] || word(counts, 20) != sddl_sum() {
        return Err(format!("left behind (faults, pools, pieces, own lists, lists): {left:?}"));
    }
    Ok(format!("version {}, generation {} after the load: {said}", welcome.version, ticket.number))
}

/// `cargo xtask wine`: the proof.
///
/// # Errors
/// What does not hold.
pub(crate) fn prove(arguments: &[String]) -> Result<(), Failure> {
    let rounds = arguments.first().and_then(|n| n.parse().ok()).unwrap_or(3_usize);
    let folder = super::out().join("wine");
    let feed = super::feed()?;
    let (image, facts) = example()?;
    let packets = simulated(&image, &facts)?;
    let script = script(&image, &facts, &packets)?;
    let wine = Wine::new(&folder)?;
    let path = r"binPath= C:\windows\system32\drivers\planb.sys";
    let path = path.strip_prefix("binPath= ").unwrap_or(path);
    if wine.sc(&["query", "planb"]).is_err() {
        wine.sc(&["create", "planb", "type=", "kernel", "binPath=", path])?;
    }
    for n in 1..=rounds {
        wine.sc(&["start", "planb"])?;
        let said = round(&wine, &feed, &folder, &script, &packets, adapters(&facts).len());
        wine.sc(&["stop", "planb"])?;
        let state = wine.sc(&["query", "planb"])?;
        if !state.contains("STOPPED") {
            return Err(format!("not stopped: {state}"));
        }
        let said = said?;
        if n == 1 || n == rounds {
            println!("round {n}: {said}");
        }
    }
    println!("started, loaded, fed and stopped {rounds} times; nothing left behind");
    Ok(())
}
