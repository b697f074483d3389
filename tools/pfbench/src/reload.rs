//! `reload`: rules loaded again and again through control while packets flow through the same filter.
//!
//! One thread decides packets of known states in batches and sees that each is decided and passes; the other uploads an
//! image and commits it, as pfload does. Of the lock the packets wait for, the longest hold is reported in processor time
//! and on the wall; a busy machine shows in the second.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pfc::compile::{Options, compile};
use pfc::facts::Facts;
use pfc::source::Sources;
use pfdriver::control::Control;
use pfdriver::facts::HostFacts;
use pfdriver::filter::{By, Filter};
use pfdriver::lock::Lock;
use pfdriver::platform::Platform;
use pfvm::api::{
    API_VERSION, After, HostKind, MAX_CHUNK, MAX_MESSAGE, Request, Rights, Ticket, decode, encode, read_reply,
};
use pfvm::engine::{Arriving, BATCH, Carried, Seen, Verdict, default_options};
use pfvm::host::Random;
use pfvm::packet::{Packet, PktMeta};
use pfvm::rule::{Af, Direction, Limits};

use crate::clock;

struct Chance(u64);

impl Random for Chance {
    fn random_u32(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 32) as u32
    }
}

impl Platform for Chance {
    fn now_ms(&self) -> u64 {
        1_000_000 + (clock::wall() / 1e6) as u64
    }
    fn wall_seconds(&self) -> u64 {
        0
    }
}

/// The filter, and how long control held it.
struct Shared(Mutex<Filter<Chance>>);

thread_local! {
    static HELD: Cell<(f64, f64)> = const { Cell::new((0.0, 0.0)) };
}

impl Lock<Chance> for Shared {
    fn with<T>(&self, f: impl FnOnce(&mut Filter<Chance>) -> T) -> T {
        let mut filter = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let start = (clock::nanos(), clock::wall());
        let out = f(&mut filter);
        let (cpu, wall) = HELD.get();
        HELD.set((cpu.max(clock::nanos() - start.0), wall.max(clock::wall() - start.1)));
        out
    }
}

fn text(rules: usize, mark: usize) -> String {
    let mut text =
        format!("set limit states 20000\nset ruleset-optimization none\nblock in proto tcp to port {mark}\n");
    for i in 0..rules.saturating_sub(2) {
        let (a, b, port) = (i >> 8, i & 255, 1000 + i % 50_000);
        text += &format!("block in proto tcp from 172.16.{a}.{b} to any port {port}\n");
    }
    text + "pass in proto udp keep state (udp.multiple 86400, udp.single 86400, udp.first 86400)\n"
}

fn image(text: &str) -> Result<Vec<u8>, String> {
    let mut sources = Sources::disk();
    let file = sources.add("bench", text.as_bytes().to_vec());
    let outcome = compile(&mut sources, file, &Facts::default(), &Options::default());
    let why = outcome.diagnostics.first().map_or_else(|| "no program".to_owned(), |d| d.message.clone());
    Ok(outcome.compiled.ok_or(why)?.image)
}

fn datagram(flow: u16) -> Vec<u8> {
    let [a, b] = flow.to_be_bytes();
    vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, a, b, 192, 0, 2, 1, 4, 0, 0, 53, 0, 8, 0, 0]
}

/// Puts an image in force; gives the answer's time.
fn load(control: &mut Control, client: u32, filter: &Shared, image: &[u8]) -> Result<(), String> {
    let mut message = vec![0; MAX_MESSAGE];
    let mut reply = vec![0; MAX_MESSAGE];
    // Every answer here is one number: a ticket, a count, a generation.
    let mut ask = |request: &Request<'_>| -> Result<u64, String> {
        let len = encode(request, &mut message).map_err(|e| e.to_string())?;
        let len = control.handle(client, &message[..len], &mut reply, filter);
        let body = read_reply(&reply[..len]).map_err(|e| e.to_string())?.map_err(|no| no.to_string())?;
        decode::<Ticket>(body).map(|t| t.number).map_err(|e| e.to_string())
    };
    let ticket = ask(&Request::Begin { path: "" })?;
    let mut offset = 0;
    for bytes in image.chunks(MAX_CHUNK) {
        ask(&Request::Upload { ticket, offset, bytes })?;
        offset += u32::try_from(bytes.len()).unwrap_or(0);
    }
    let tickets = ticket.to_le_bytes();
    ask(&Request::Commit { tickets: &tickets, after: After::Keep, confirm: 0, checksum: [0; 16] }).map(drop)
}

/// Packets, decided in batches until told to stop; those that did not pass.
fn traffic(filter: &Shared, flows: u16, stop: &AtomicBool, decided: &AtomicU64) -> u64 {
    let mut windows: Vec<Vec<u8>> = (0..BATCH).map(|_| Vec::new()).collect();
    let (meta, mut room) = (PktMeta::default(), vec![0; 70_000]);
    let (mut flow, mut lost) = (0_u16, 0);
    while !stop.load(Ordering::Relaxed) {
        for w in &mut windows {
            *w = [&[0; Packet::HEADROOM][..], &datagram(flow)].concat();
            flow = (flow + 1) % flows;
        }
        let mut packets: Vec<_> = windows.iter_mut().filter_map(|w| Packet::new(w, Packet::HEADROOM, &[])).collect();
        let seen = Seen { af: Af::Inet, dir: Direction::In, iface: 1, forwarded: false };
        let mut batch: Vec<_> =
            packets.iter_mut().map(|pkt| Arriving { pkt, meta: &meta, seen, carried: Carried::default() }).collect();
        let mut passed = 0;
        filter.with(|f| {
            f.process_batch(&mut batch, &mut room, |_, out, _| passed += u64::from(out.verdict == Verdict::Pass))
        });
        lost += BATCH as u64 - passed;
        decided.fetch_add(BATCH as u64, Ordering::Relaxed);
    }
    lost
}

/// `reload`: so many loads of so many rules, over so many states.
pub(crate) fn run(rules: usize, loads: usize, flows: u16) -> Result<(), String> {
    let images = [image(&text(rules, 1))?, image(&text(rules, 2))?];
    let limits = Limits { states: 20_000, ..default_options().limits };
    let facts = HostFacts::none().map_err(|e| format!("{e:?}"))?;
    let filter = Shared(Mutex::new(Filter::new(&limits, facts, Chance(7)).map_err(|e| e.to_string())?));
    let mut control = Control::new(HostKind::Test, pfc::compile::BUDGET);
    let client = control.open(Rights::Write, By::default()).map_err(|no| no.to_string())?;
    let mut hello = [0; 16];
    let len = encode(&Request::Hello { version: API_VERSION }, &mut hello).map_err(|e| e.to_string())?;
    control.handle(client, &hello[..len], &mut [0; 64], &filter);
    load(&mut control, client, &filter, &images[0])?;
    let (stop, decided) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut times = Vec::new();
    let (lost, during) = std::thread::scope(|scope| {
        let packets = scope.spawn(|| traffic(&filter, flows, &stop, &decided));
        while decided.load(Ordering::Relaxed) < 2 * u64::from(flows) {
            std::thread::yield_now();
        }
        let before = decided.load(Ordering::Relaxed);
        HELD.set((0.0, 0.0));
        let mut done = Ok(());
        for n in 1..=loads {
            let start = (clock::nanos(), clock::wall());
            done = done.and_then(|()| load(&mut control, client, &filter, &images[n % 2]));
            times.push((clock::nanos() - start.0, clock::wall() - start.1));
        }
        let during = decided.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Relaxed);
        let lost = packets.join().unwrap_or(u64::MAX);
        done.map(|()| (lost, during))
    })?;
    let states = filter.with(|f| f.engine.table.len());
    let (cpu, wall) = HELD.get();
    let of = |which: fn(&(f64, f64)) -> f64| clock::middle(times.iter().map(which).collect()) / 1e6;
    println!(
        "reload {rules} rules x {loads}: {during} packets meanwhile, {lost} lost or undecided; {states} of {flows} states \
         kept; a load {:.1} ms of processor ({:.1} on the wall); longest hold {:.2} ms ({:.2} on the wall)",
        of(|t| t.0),
        of(|t| t.1),
        cpu / 1e6,
        wall / 1e6
    );
    if lost == 0 && states == u32::from(flows) { Ok(()) } else { Err("packets or states were lost".to_owned()) }
}
