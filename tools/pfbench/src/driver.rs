//! `driver`: frames of known states through the driver's receive handler, by threads that share its lock as processors do.
//!
//! NDIS is the mock's without an account ([`ndismock::plain`]); all else is the driver: handler, lists, copies, edge, engine.
//! A thread copies 32 frames of its trace into the buffers of 32 lists and gives them to the handler as one chain, as a
//! miniport does; what is indicated is returned. Time is the thread's own on a processor; what the same loop takes without
//! the driver is taken off.

use std::hint::black_box;
use std::sync::Barrier;

use ndismock::plain::{self, Plain};
use ndismock::sys;
use pfdriver::filter::{By, How, Loading, Unit};
use pfdriver::platform::Platform;
use pfndis::frames::Supply;
use pfndis::gateway::{Boot, Gateway};
use pfndis::judge::Adapter;
use pfndis::module::{Driver, Module};
use pfndis::sys::code::AT_DISPATCH;
use pfndis::sys::layout::Handle;
use pfndis::sys::list::Chain;
use pfvm::engine::{BATCH, default_options};
use pfvm::host::{Host, Random, Still};
use pfvm::rule::Limits;

use crate::clock;
use crate::forward::{Mode, host, known_reply};
use crate::load::program;
use crate::mix::{Flow, LEN, Proto, SLOT, Slot, SplitMix, source_of, sums_right};

/// Frames of a thread's trace.
const TRACE: usize = 1 << 17;
/// Bytes in front of a packet.
const HEAD: usize = 14;
/// Bytes of a frame of a flow in full swing.
const BYTES: usize = HEAD + LEN;
/// The adapter's address, and its peer's.
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 9, 9]];

type Frame = [u8; BYTES];
type Gate = Gateway<Standing>;

/// Time that stands, and chance.
struct Standing(Still);

impl Random for Standing {
    fn random_u32(&mut self) -> u32 {
        self.0.random_u32()
    }
}

impl Platform for Standing {
    fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }
    fn wall_seconds(&self) -> u64 {
        0
    }
}

/// Measures one thread, then all of them, on flows of their own and on the same flows; prints a line for each.
pub(crate) fn run(mode: Mode, proto: Proto, n: u32, passes: usize, threads: u32) -> Result<(), String> {
    let limits = Limits { states: n.saturating_add(16), ..default_options().limits };
    let mut gateway = Gateway::with_room(Standing(host()), Boot::Pass, &limits).map_err(|e| e.to_string())?;
    let unit = Unit { path: vec![], image: vec![], generation: 0, inserted: 0, by: By::default() };
    let loading = Loading { program: program(&mode.text(n))?.0, unit };
    gateway.filter.load(vec![loading], How::default()).map_err(|why| format!("the rules: {why:?}"))?;
    let driver = Driver::new(Plain::default(), gateway, Supply::default()).ok_or("no room for the driver")?;
    let driver = sys::Placed::new(driver);
    let adapter = Adapter { if_index: 1, luid: 1, mac: MACS[0], mtu: 1500 };
    let handle = Handle(std::ptr::without_provenance_mut(0x1000));
    let module = driver.attach(handle, adapter).map_err(|status| format!("attach: {status:x}"))?;
    module.get().restart(1500);

    let done = measure(mode, proto, n, passes, threads, &driver, module.get());
    module.get().pause();
    driver.detach(module);
    done
}

fn measure(
    mode: Mode,
    proto: Proto,
    n: u32,
    passes: usize,
    threads: u32,
    driver: &Driver<Plain, Gate>,
    module: &Module<Plain, Gate>,
) -> Result<(), String> {
    let replies = (0..n).map(|i| establish(module, &Flow::new(proto, i))).collect::<Result<Vec<_>, _>>()?;
    let mut kinds = vec![(1, false, "alone")];
    if threads > 1 {
        kinds.extend([(threads, false, "flows of their own"), (threads, true, "the same flows")]);
    }
    for (count, same, what) in kinds {
        let traces: Vec<_> = (0..count).map(|t| trace(&replies, t, if same { 1 } else { count })).collect();
        let before = driver.os.taken.load(std::sync::atomic::Ordering::Relaxed);
        let rates = (0..passes.max(1)).map(|_| pass(module, &traces)).collect::<Result<Vec<_>, _>>()?;
        let alone = driver.os.taken.load(std::sync::atomic::Ordering::Relaxed) - before;
        if alone as usize * BATCH * 100 > TRACE * passes {
            return Err(format!("the lock was had alone {alone} times"));
        }
        let rate = clock::middle(rates);
        println!(
            "driver {} {} {n}: {count} threads, {what}: {:.1} ns a frame and thread, {rate:.2} million frames a second",
            mode.name(),
            proto.name(),
            f64::from(count) * 1000.0 / rate,
        );
    }
    let states = driver.gathered(|gateway| gateway.filter.engine.table.len());
    if states == n { Ok(()) } else { Err(format!("{states} states of {n} at the end")) }
}

/// A packet as it comes (`up`) or goes.
fn framed(packet: &[u8], up: bool) -> Vec<u8> {
    let [own, peer] = MACS;
    let (to, from) = if up { (own, peer) } else { (peer, own) };
    [&to[..], &from, &[8, 0], packet].concat()
}

/// Sets a flow up, and gives its frame back.
fn establish(module: &Module<Plain, Gate>, flow: &Flow) -> Result<Frame, String> {
    let mut known = *flow;
    for (slot, len, out) in flow.handshake() {
        let slot = if out { slot } else { known_reply(&known, flow, &slot, len) };
        let (mut went, length) = one(module, &slot[..len], !out).ok_or_else(|| format!("{flow:?} does not pass"))?;
        if length != len || !sums_right(&mut went, len) {
            return Err(format!("{flow:?}: a frame of {length} bytes, or wrong sums"));
        }
        if out {
            known.src = source_of(&went);
        }
    }
    let mut frame = [0; BYTES];
    frame.copy_from_slice(&framed(&known.packet(true)[..LEN], true));
    Ok(frame)
}

/// One packet through the driver: what came out, and its length.
fn one(module: &Module<Plain, Gate>, packet: &[u8], up: bool) -> Option<(Slot, usize)> {
    let bytes = framed(packet, up);
    let (lists, at) = chain(&[bytes.len()]);
    sys::copy(&bytes, at[0]);
    if up {
        module.receive(lists, 0, AT_DISPATCH)
    } else {
        module.send(lists, 0, AT_DISPATCH)
    }
    let went = sys::take(plain::went());
    let frame = went.first().and_then(|list| sys::bytes(*list).pop());
    back(module, sys::chain(&went), up);
    free(plain::home());
    let packet = frame?.split_off(HEAD);
    let mut slot = [0; SLOT];
    slot[..packet.len()].copy_from_slice(&packet);
    Some((slot, packet.len()))
}

/// What went on comes back.
fn back(module: &Module<Plain, Gate>, lists: Chain, up: bool) {
    if up { module.give_back(lists, AT_DISPATCH) } else { module.send_complete(lists, AT_DISPATCH) }
}

/// Lists of a frame each, of these lengths, and where their bytes lie.
fn chain(lengths: &[usize]) -> (Chain, Vec<*mut u8>) {
    let made = lengths.iter().map(|length| {
        let (at, list) = (sys::memory(*length), sys::empty_list(Handle::NONE));
        let length = u32::try_from(*length).unwrap_or(0);
        sys::add_frame(list, sys::mdl(at, length, true), 0, length);
        (list, at)
    });
    let (lists, at): (Vec<_>, Vec<_>) = made.unzip();
    (sys::chain(&lists), at)
}

fn free(lists: Chain) {
    for list in sys::take(lists) {
        sys::free_list(list, true);
    }
}

/// Frames back of every `step`th flow, from the one numbered `first` where flows are not the same for all.
fn trace(replies: &[Frame], first: u32, step: u32) -> Vec<Frame> {
    let mut order = SplitMix(42 + u64::from(first));
    let mine: Vec<_> = replies.iter().skip(if step == 1 { 0 } else { first as usize }).step_by(step as usize).collect();
    (0..TRACE).map(|_| *mine[(((order.next() >> 32) * mine.len() as u64) >> 32) as usize]).collect()
}

/// One pass of all threads; gives millions of frames a second, of all together.
fn pass(module: &Module<Plain, Gate>, traces: &[Vec<Frame>]) -> Result<f64, String> {
    let start = Barrier::new(traces.len());
    let rates = std::thread::scope(|scope| {
        let work = |processor: usize, trace: &[Frame]| {
            plain::run_on(processor as u32);
            let (mut lists, at) = chain(&[BYTES; BATCH]);
            let arrive = |frames: &[Frame]| frames.iter().zip(&at).for_each(|(frame, at)| sys::copy(frame, *at));
            let loops = clock::timed(&mut || {
                for frames in trace.chunks(BATCH) {
                    arrive(frames);
                    black_box(&at);
                }
            });
            start.wait();
            let mut passed = 0;
            let all = clock::timed(&mut || {
                for frames in trace.chunks(BATCH) {
                    arrive(frames);
                    module.receive(std::mem::take(&mut lists), 0, AT_DISPATCH);
                    let went = plain::went();
                    passed += went.len() as usize;
                    back(module, went, true);
                    lists = plain::home();
                }
            });
            free(lists);
            if passed != trace.len() {
                return Err(format!("{passed} frames of {} passed", trace.len()));
            }
            Ok(trace.len() as f64 * 1000.0 / (all - loops))
        };
        let all: Vec<_> =
            traces.iter().enumerate().map(|(processor, t)| scope.spawn(move || work(processor, t))).collect();
        all.into_iter().map(|t| t.join().map_err(|_| "a thread panicked".to_owned())?).collect::<Result<Vec<f64>, _>>()
    });
    rates.map(|r| r.iter().sum())
}
