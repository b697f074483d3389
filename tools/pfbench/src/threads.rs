//! `state` and `nat` with several threads: packets of known states by threads that share the engine.
//!
//! Each thread copies packets of its trace to buffers of its own and gives them to the engine 32 at a time, with the
//! engine's lock held shared for each batch, as a driver does. Time is the thread's own on a processor; what the same loop
//! takes without the engine is taken off.

use crate::clock;
use crate::forward::{Box, Mode, NOW, Ring, Traced, arriving, by_batch, by_batch_alone, host, packets_of, traced};
use crate::mix::{Flow, LEN, Proto, Slot, SplitMix};
use pfvm::engine::{Engine, Outcome, Scratch, Verdict};
use pfvm::packet::PktMeta;
use std::sync::{Barrier, RwLock};

/// Packets of a thread's trace.
const TRACE: usize = 1 << 18;

/// Measures one thread, then all of them, on flows of their own and on the same flows; prints a line for each.
pub(crate) fn run(mode: Mode, proto: Proto, n: u32, passes: usize, threads: u32) -> Result<(), String> {
    let mut b = Box::new(mode, n)?;
    let flows = (0..n).map(|i| b.establish(&Flow::new(proto, i))).collect::<Result<Vec<_>, _>>()?;
    let engine = RwLock::new(b.engine);
    let kinds = [(1, false, "alone"), (threads, false, "flows of their own"), (threads, true, "the same flows")];
    for (count, same, what) in kinds {
        let traces: Vec<_> = (0..count).map(|t| trace(&flows, t, if same { 1 } else { count })).collect();
        let mut figures = Vec::new();
        for _ in 0..passes.max(1) {
            figures.push(pass(&engine, &traces)?);
        }
        let rate = clock::middle(figures);
        println!(
            "{} {} {n}: {count} threads, {what}: {:.1} ns a packet and thread, {rate:.2} million packets a second",
            mode.name(),
            proto.name(),
            f64::from(count) * 1000.0 / rate,
        );
    }
    let e = engine.into_inner().map_err(|_| "a thread panicked")?;
    if e.table.len() == n { Ok(()) } else { Err(format!("{} states of {n} at the end", e.table.len())) }
}

/// Packets of every `step`th flow, from the one numbered `first` where flows are not the same for all.
fn trace(flows: &[[Slot; 2]], first: u32, step: u32) -> Vec<Traced> {
    let mut order = SplitMix(42 + u64::from(first));
    let mine: Vec<_> = flows.iter().skip(if step == 1 { 0 } else { first as usize }).step_by(step as usize).collect();
    (0..TRACE)
        .map(|_| {
            let x = order.next();
            let reply = x & 1 == 1;
            let flow = ((x >> 32) * mine.len() as u64) >> 32;
            traced(&mine[usize::try_from(flow).unwrap_or(0)][usize::from(reply)], LEN, !reply)
        })
        .collect()
}

/// One pass of all threads; gives millions of packets a second, of all together.
fn pass(engine: &RwLock<Engine>, traces: &[Vec<Traced>]) -> Result<f64, String> {
    let start = Barrier::new(traces.len());
    let rates = std::thread::scope(|scope| {
        let work = |trace: &Vec<Traced>| {
            let mut ring = Ring::EMPTY;
            let mut scratch = Scratch::new().map_err(|e| e.to_string())?;
            let (mut passed, mut shared) = (0, 0);
            let loops = clock::timed(&mut || {
                by_batch_alone(trace, &mut ring);
            });
            start.wait();
            let all = clock::timed(&mut || {
                by_batch(trace, &mut ring, |buffers, next| {
                    shared += batch(engine, &mut scratch, buffers, |out| {
                        passed += usize::from(out.verdict == Verdict::Pass);
                        next();
                    });
                });
            });
            if passed != trace.len() {
                return Err(format!("{passed} packets of {} passed", trace.len()));
            }
            if shared * 10 < passed * 9 {
                return Err(format!("only {shared} packets of {passed} shared the engine"));
            }
            Ok(trace.len() as f64 * 1000.0 / (all - loops))
        };
        let all: Vec<_> = traces.iter().map(|t| scope.spawn(move || work(t))).collect();
        all.into_iter().map(|t| t.join().map_err(|_| "a thread panicked".to_owned())?).collect::<Result<Vec<f64>, _>>()
    });
    rates.map(|r| r.iter().sum())
}

/// Gives a batch to the engine, shared as far as it goes; gives the number of packets it was shared for. `done` is told of
/// each.
fn batch(
    engine: &RwLock<Engine>,
    scratch: &mut Scratch,
    buffers: &mut [Slot],
    mut done: impl FnMut(&Outcome),
) -> usize {
    let (mut packets, meta) = (packets_of(buffers), PktMeta::default());
    let mut all = arriving(&mut packets, &meta);
    let shared = match engine.read() {
        Ok(engine) => engine.pass_known_batch(&mut all, scratch, NOW, |_, out| done(out)),
        Err(_) => 0,
    };
    if shared < all.len()
        && let Ok(mut engine) = engine.write()
    {
        engine.process_batch(&mut all[shared..], &mut [], &mut host(), |_, out, _| done(out));
    }
    shared
}
