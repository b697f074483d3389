//! `state`, `nat`, `newconn`, `rules`: what the whole engine takes for a packet, one by one and in batches.
//!
//! Each packet is copied from a trace to one of 64 buffers and given to the engine. The same loop without the engine is
//! measured beside it and taken off.

use crate::clock;
use crate::load::{program, rules_text};
use crate::mix::{Flow, LEN, Proto, SLOT, Slot, SplitMix, source_of, sums_right};
use pfvm::engine::ifaces::Live;
use pfvm::engine::{Arriving, BATCH, Carried, Engine, Seen, Verdict, default_options};
use pfvm::exec::UnitId;
use pfvm::host::Still;
use pfvm::image::TableKind;
use pfvm::packet::{Packet, PktMeta};
use pfvm::rule::{Af, Direction, Limits};
use pfvm::table::Entry;
use std::fmt::Write;
use std::hint::black_box;

/// Which of the workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Packets of known states.
    State,
    /// The same, translated.
    Nat,
    /// First packets, into an empty table.
    Newconn,
    /// First packets that are translated.
    NewconnNat,
    /// Packets without a state that only the last rule passes.
    Rules,
}

impl Mode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Nat => "nat",
            Self::Newconn => "newconn",
            Self::NewconnNat => "newconn-nat",
            Self::Rules => "rules",
        }
    }

    /// Its rules.
    pub(crate) fn text(self, n: u32) -> String {
        let states = format!("set limit states {}\n", n.saturating_add(16));
        match self {
            Self::State | Self::Newconn => states + "pass out quick keep state\nblock all\n",
            Self::Nat | Self::NewconnNat => {
                let mut text = states;
                for k in 0..32_u32 {
                    let (b, c) = (k / 2, (k % 2) * 128);
                    let _ = writeln!(
                        text,
                        "pass out quick inet from 10.{b}.{c}.0/17 nat-to 192.0.2.{} port 1024:65535 keep state",
                        k + 1
                    );
                }
                text + "block all\n"
            }
            Self::Rules => rules_text(usize::try_from(n).unwrap_or(0)),
        }
    }
}

/// Index of the interface all packets pass.
const IFACE: u16 = 1;
/// Buffers the packets are copied to in turn.
pub(crate) const RING: usize = 64;

/// The buffers, on cache lines of their own as a card's would be.
#[repr(align(64))]
pub(crate) struct Ring(pub(crate) [Slot; RING]);

impl Ring {
    pub(crate) const EMPTY: Self = Self([[0; SLOT]; RING]);
}

/// The time it is, milliseconds.
pub(crate) const NOW: u64 = 1_000_000;

/// What stands around the engine.
pub(crate) const fn host() -> Still {
    Still { now_ms: NOW, seed: 7 }
}

/// An engine with a mode's rules.
pub(crate) struct Box {
    pub(crate) engine: Engine,
    host: Still,
    room: Vec<u8>,
}

impl Box {
    pub(crate) fn new(mode: Mode, n: u32) -> Result<Self, String> {
        let text = mode.text(n);
        let (program, ..) = program(&text)?;
        let mut host = host();
        let states = n.saturating_add(16);
        let limits = Limits { states, ..default_options().limits };
        let mut engine = Engine::new(&limits, &mut host).map_err(|e| e.to_string())?;
        let live = [Live { index: IFACE, name: "bench0", groups: &[], loopback: false }];
        let follow = |_: &str, _: &TableKind, _: &mut dyn FnMut(Entry)| {};
        engine.load(vec![program], Some(UnitId(0)), &live, &follow, &mut host).map_err(|e| e.to_string())?;
        Ok(Self { engine, host, room: vec![0; 2048] })
    }

    fn one(&mut self, slot: &mut Slot, len: usize, out: bool) -> Verdict {
        let mut packet = Packet::whole(&mut slot[..len]);
        let meta = PktMeta::default();
        let o =
            self.engine.process(&mut packet, &meta, seen_of(out), Carried::default(), &mut self.room, &mut self.host);
        o.verdict
    }

    /// Sets a flow up, and gives its packet out and its packet back.
    pub(crate) fn establish(&mut self, flow: &Flow) -> Result<[Slot; 2], String> {
        let mut known = *flow;
        for (slot, len, out) in flow.handshake() {
            let mut slot = if out { slot } else { known_reply(&known, flow, &slot, len) };
            let verdict = self.one(&mut slot, len, out);
            if verdict != Verdict::Pass || !sums_right(&mut slot, len) {
                return Err(format!("{flow:?}: {verdict:?}"));
            }
            if out {
                known.src = source_of(&slot);
            }
        }
        Ok([flow.packet(false), known.packet(true)])
    }
}

/// The reply of a handshake, to where the flow now comes from.
pub(crate) fn known_reply(known: &Flow, flow: &Flow, slot: &Slot, len: usize) -> Slot {
    if known.src == flow.src {
        return *slot;
    }
    let all = known.handshake();
    all.iter().find(|(_, l, out)| !out && *l == len).map_or(*slot, |(s, ..)| *s)
}

pub(crate) const fn seen_of(out: bool) -> Seen {
    let dir = if out { Direction::Out } else { Direction::In };
    Seen { af: Af::Inet, dir, forwarded: false, iface: IFACE }
}

/// A packet of the trace: its bytes, with length and direction in the last two.
pub(crate) type Traced = Slot;

pub(crate) fn traced(slot: &Slot, len: usize, out: bool) -> Traced {
    let mut t = *slot;
    t[SLOT - 2] = len as u8;
    t[SLOT - 1] = u8::from(out);
    t
}

fn facts(t: &Traced) -> (usize, bool) {
    (usize::from(t[SLOT - 2]).min(SLOT), t[SLOT - 1] != 0)
}

/// Copies packets and gives each to `f`.
fn one_by_one(trace: &[Traced], ring: &mut Ring, mut f: impl FnMut(&mut Slot, usize, bool)) {
    for (i, t) in trace.iter().enumerate() {
        let buffer = &mut ring.0[i % RING];
        *buffer = *t;
        let (len, out) = facts(buffer);
        f(black_box(buffer), len, out);
    }
}

/// Copies packets and gives them to `f`, 32 at a time. `f` calls what it is lent beside once for each packet: the next
/// batch arrives while it is at this one.
pub(crate) fn by_batch(trace: &[Traced], ring: &mut Ring, mut f: impl FnMut(&mut [Slot], &mut dyn FnMut())) {
    let (mut here, mut coming) = ring.0.split_at_mut(BATCH);
    let mut batches = trace.chunks(BATCH);
    let mut many = batches.next().unwrap_or_default();
    here[..many.len()].copy_from_slice(many);
    while !many.is_empty() {
        let next = batches.next().unwrap_or_default();
        let mut arriving = coming.iter_mut().zip(next);
        let mut arrive = || arriving.next().into_iter().for_each(|(to, from)| *to = *from);
        f(black_box(&mut here[..many.len()]), &mut arrive);
        (here, coming) = (coming, here);
        many = next;
    }
}

/// The same without an engine.
pub(crate) fn by_batch_alone(trace: &[Traced], ring: &mut Ring) {
    by_batch(trace, ring, |buffers, next| {
        for buffer in buffers {
            black_box(buffer);
            next();
        }
    });
}

/// The packets in some buffers, and whether each goes out.
pub(crate) fn packets_of(buffers: &mut [Slot]) -> Vec<(Packet<'_>, bool)> {
    let packets = buffers.iter_mut().map(|slot| {
        let (len, out) = facts(slot);
        (Packet::whole(&mut slot[..len]), out)
    });
    packets.collect()
}

/// The same as the engine wants them.
pub(crate) fn arriving<'b, 'p>(packets: &'b mut [(Packet<'p>, bool)], meta: &'b PktMeta) -> Vec<Arriving<'b, 'p>> {
    let carried = Carried::default();
    packets.iter_mut().map(|(pkt, out)| Arriving { pkt, meta, seen: seen_of(*out), carried }).collect()
}

/// Gives a batch to the engine; gives the number of packets that pass.
fn batch(b: &mut Box, buffers: &mut [Slot], next: &mut dyn FnMut()) -> u32 {
    let (mut packets, meta) = (packets_of(buffers), PktMeta::default());
    let mut passed = 0;
    b.engine.process_batch(&mut arriving(&mut packets, &meta), &mut b.room, &mut b.host, |_, o, _| {
        passed += u32::from(o.verdict == Verdict::Pass);
        next();
    });
    passed
}

/// The trace of a mode: packets in the order they come.
fn trace(mode: Mode, proto: Proto, n: u32, b: &mut Box) -> Result<Vec<Traced>, String> {
    let flow = |i| Flow::new(proto, i);
    let mut order = SplitMix(42);
    match mode {
        Mode::Newconn | Mode::NewconnNat => Ok((0..n)
            .map(|i| {
                let (slot, len) = flow(i).first();
                traced(&slot, len, true)
            })
            .collect()),
        Mode::Rules => {
            let count = if n >= 10_000 {
                1 << 12
            } else if n >= 1000 {
                1 << 14
            } else {
                1 << 20
            };
            Ok((0..count)
                .map(|_| traced(&flow((((order.next() >> 32) * 1024) >> 32) as u32).packet(false), LEN, true))
                .collect())
        }
        Mode::State | Mode::Nat => {
            let packets = (0..n).map(|i| b.establish(&flow(i))).collect::<Result<Vec<_>, _>>()?;
            if b.engine.table.len() != n {
                return Err(format!("{} states of {n}", b.engine.table.len()));
            }
            let pick = |_| {
                let x = order.next();
                let flow = ((x >> 32) * u64::from(n)) >> 32;
                let reply = x & 1 == 1;
                traced(&packets[usize::try_from(flow).unwrap_or(0)][usize::from(reply)], LEN, !reply)
            };
            Ok((0..1 << 20).map(pick).collect())
        }
    }
}

/// Measures one mode and prints a line for packets one by one and one for batches.
pub(crate) fn run(mode: Mode, proto: Proto, n: u32, passes: usize) -> Result<(), String> {
    clock::pin();
    let fresh = matches!(mode, Mode::Newconn | Mode::NewconnNat);
    let mut b = Box::new(mode, n)?;
    let trace = trace(mode, proto, n, &mut b)?;
    // A pass takes some tens of milliseconds: clocks may be coarse.
    let times = if fresh { 1 } else { ((1 << 20) / trace.len()).max(1) };
    let each = |ns: f64| ns / (trace.len() * times) as f64;
    let mut ring = Ring::EMPTY;
    for batched in [false, true] {
        let (mut all, mut loops) = (Vec::new(), Vec::new());
        for _ in 0..passes.max(1) {
            if fresh {
                b = Box::new(mode, n)?;
            }
            let mut passed = 0;
            all.push(each(clock::timed(&mut || {
                for _ in 0..times {
                    if batched {
                        by_batch(&trace, &mut ring, |buffers, next| passed += batch(&mut b, buffers, next));
                    } else {
                        one_by_one(&trace, &mut ring, |slot, len, out| {
                            passed += u32::from(b.one(slot, len, out) == Verdict::Pass);
                        });
                    }
                }
            })));
            if passed as usize != trace.len() * times {
                return Err(format!("{passed} packets of {} passed", trace.len() * times));
            }
            loops.push(each(clock::timed(&mut || {
                for _ in 0..times {
                    if batched {
                        by_batch_alone(&trace, &mut ring);
                    } else {
                        one_by_one(&trace, &mut ring, |slot, len, out| {
                            black_box((slot, len, out));
                        });
                    }
                }
            })));
        }
        let (full, base) = (clock::middle(all), clock::middle(loops));
        println!(
            "{} {} {n}: net {:.1} ns ({}; copy {base:.1} ns)",
            mode.name(),
            proto.name(),
            full - base,
            if batched { "batch of 32" } else { "one by one" },
        );
    }
    if !fresh && mode != Mode::Rules && b.engine.table.len() != n {
        return Err(format!("{} states of {n} at the end", b.engine.table.len()));
    }
    Ok(())
}
