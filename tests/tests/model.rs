//! A naive model of states, translation and source nodes, beside the engine: random packets, time, reloads, kills and
//! changes of a table. A map from ends to figures says what must pass, with which port, what is counted and what is left;
//! at the end everything has gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pfvm::packet::DropReason;
use pfvm::rule::Direction;
use pfvm::state::key::{Idx, KeySide};
use pfvm::table::Entry;
use proptest::prelude::*;
use tests::lab::{EM1, Lab, packet, wire};
use tests::script::packet::Seen;

const RULES: &str = "set timeout { interval 1, udp.first 60, udp.single 30, udp.multiple 45, src.track 0 }\n\
    table <bad> persist\n\
    block in on em1\n\
    block out quick on em1 from <bad>\n\
    match out on em1 inet proto udp from 10.0.0.0/24 nat-to 192.0.2.1 port 40001:40006\n\
    pass out on em1 proto udp keep state (source-track rule, max-src-states 5)\n";

/// Ports of the pool.
const PORTS: usize = 6;
/// `max-src-states`.
const MOST: usize = 5;

/// Ends as the inside sees them: source host, its port, destination host.
type Flow = (u8, u8, u8);

/// What the model knows of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    port: u16,
    /// Progress of both sides.
    sides: [u8; 2],
    packets: [u64; 2],
    /// Second of the last packet, and how long it lasts from there.
    at: u64,
    lasts: u64,
    /// Which load's rule made it.
    load: u32,
}

impl Known {
    fn seen(&mut self, side: usize, now: u64) {
        self.sides[side] = self.sides[side].max(1);
        if self.sides[1 - side] == 1 {
            self.sides[1 - side] = 2;
        }
        self.packets[side] += 1;
        (self.at, self.lasts) = (now, if self.sides == [2, 2] { 45 } else { 30 });
    }
}

#[derive(Clone, Debug)]
enum Op {
    Out(Flow),
    /// An answer to the n-th known flow, or to a port nobody has.
    Answer(usize),
    Stray(u16),
    Wait(u8),
    Load,
    Kill(u8),
    Ban(u8, bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0_u8..4, 0_u8..6, 0_u8..3).prop_map(Op::Out),
        6 => (0_usize..40).prop_map(Op::Answer),
        1 => (40_000_u16..40_010).prop_map(Op::Stray),
        4 => (0_u8..40).prop_map(Op::Wait),
        1 => Just(Op::Load),
        1 => (0_u8..4).prop_map(Op::Kill),
        1 => (0_u8..4, any::<bool>()).prop_map(|(h, on)| Op::Ban(h, on)),
    ]
}

fn field(bytes: &[u8], name: &str) -> String {
    Seen::new(bytes).and_then(|s| s.field(name)).unwrap_or_default()
}

struct Model {
    lab: Lab,
    flows: HashMap<Flow, Known>,
    banned: BTreeSet<u8>,
    load: u32,
    translate: u64,
    limited: u64,
    /// Packets counted at the state-making rule of the load in force.
    passed: u64,
    /// States of that rule that have ended and wait to be freed.
    ended: usize,
}

impl Model {
    fn new() -> Self {
        let lab = Lab::new(RULES);
        Self {
            lab,
            flows: HashMap::new(),
            banned: BTreeSet::new(),
            load: 0,
            translate: 0,
            limited: 0,
            passed: 0,
            ended: 0,
        }
    }

    fn now(&self) -> u64 {
        self.lab.host.ms / 1000
    }

    fn out(&mut self, flow: Flow) -> Result<(), String> {
        let (src, sport, dst) = flow;
        let words = format!("udp 10.0.0.{}:{} > 198.51.100.{}:53 data x", src + 5, u16::from(sport) + 7000, dst + 7);
        let run = self.lab.goes(EM1, &words);
        let (now, load) = (self.now(), self.load);
        if let Some(k) = self.flows.get_mut(&flow) {
            k.seen(0, now);
            self.passed += u64::from(k.load == load);
            if !run.passed() || field(&run.bytes, "sport") != k.port.to_string() {
                return Err(format!("{flow:?} is known by {}, found {:?}", k.port, run.outcome));
            }
            return Ok(());
        }
        let used: BTreeSet<u16> = self.flows.iter().filter(|(f, _)| f.2 == dst).map(|(_, k)| k.port).collect();
        let mine = self.flows.iter().filter(|(f, k)| f.0 == src && k.load == load).count();
        let wanted = if self.banned.contains(&src) {
            false
        } else if used.len() == PORTS {
            self.translate += 1;
            false
        } else if mine == MOST {
            self.limited += 1;
            false
        } else {
            true
        };
        if run.passed() != wanted {
            return Err(format!("{flow:?}: wanted {wanted}, {} ports used, {mine} of its own", used.len()));
        }
        if wanted {
            let port: u16 = field(&run.bytes, "sport").parse().map_err(|_| "no port")?;
            if !(40_001..40_001 + PORTS as u16).contains(&port) || used.contains(&port) {
                return Err(format!("{flow:?} got port {port}, used are {used:?}"));
            }
            self.passed += 1;
            self.flows.insert(flow, Known { port, sides: [1, 0], packets: [1, 0], at: now, lasts: 60, load });
        }
        Ok(())
    }

    fn answer(&mut self, n: usize) -> Result<(), String> {
        let sorted: BTreeMap<_, _> = self.flows.keys().copied().map(|f| (f, ())).collect();
        let Some(flow) = sorted.into_keys().nth(n) else { return Ok(()) };
        let (now, load) = (self.now(), self.load);
        let k = self.flows.get_mut(&flow).ok_or("gone")?;
        let words = format!("udp 198.51.100.{}:53 > 192.0.2.1:{} data y", flow.2 + 7, k.port);
        k.seen(1, now);
        self.passed += u64::from(k.load == load);
        let run = self.lab.see(Direction::In, EM1, &packet(&words));
        let to = (field(&run.bytes, "dst"), field(&run.bytes, "dport"));
        let wanted = (format!("10.0.0.{}", flow.0 + 5), (u16::from(flow.1) + 7000).to_string());
        if run.passed() && to == wanted { Ok(()) } else { Err(format!("answer to {flow:?} went to {to:?}")) }
    }

    fn act(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Out(flow) => self.out(*flow)?,
            Op::Answer(n) => self.answer(*n)?,
            Op::Stray(port) => {
                // From a server nobody has spoken to.
                let run = self.lab.comes(EM1, &format!("udp 198.51.100.99:53 > 192.0.2.1:{port} data z"));
                if run.passed() {
                    return Err(format!("a stray packet to port {port} passes"));
                }
            }
            Op::Wait(seconds) => {
                self.lab.wait(u32::from(*seconds));
                if *seconds > 0 {
                    self.ended = 0;
                }
                let now = self.now();
                self.flows.retain(|_, k| k.at + k.lasts > now || *seconds == 0);
            }
            Op::Load => {
                self.lab.load(RULES);
                self.load += 1;
                (self.passed, self.ended) = (0, 0);
            }
            Op::Kill(host) => {
                let (_, addr) = wire(format!("10.0.0.{}", host + 5).parse().map_err(|_| "address")?);
                let Lab { engine, host: sim, .. } = &mut self.lab;
                let killed = engine.kill_states(sim, |e, slot, s| {
                    let key = e.table.key(slot, KeySide::Stack);
                    key.is_some_and(|k| k.end(Idx::source(s.direction())).0 == addr)
                });
                let before = self.flows.len();
                self.ended += self.flows.iter().filter(|(f, k)| f.0 == *host && k.load == self.load).count();
                self.flows.retain(|f, _| f.0 != *host);
                if before - self.flows.len() != killed as usize {
                    return Err(format!("killed {killed}, wanted {}", before - self.flows.len()));
                }
            }
            Op::Ban(host, on) => {
                let slot = self.lab.engine.tables.named(b"", b"bad").ok_or("no table")?.slot;
                let (af, addr) = wire(format!("10.0.0.{}", host + 5).parse().map_err(|_| "address")?);
                let e = Entry::host(af, addr);
                let _ = if *on {
                    self.lab.engine.tables.all.add(slot, &e)
                } else {
                    self.lab.engine.tables.all.delete(slot, &e)
                };
                if *on {
                    self.banned.insert(*host)
                } else {
                    self.banned.remove(host)
                };
            }
        }
        self.same()
    }

    /// Whether the engine's books say what the model's do.
    fn same(&self) -> Result<(), String> {
        let e = &self.lab.engine;
        let mut theirs: Vec<(u16, [u64; 2], [u8; 2])> = Vec::new();
        for slot in e.table.iter() {
            let (Some(s), Some(wire)) = (e.table.get(slot), e.table.key(slot, KeySide::Wire)) else { continue };
            let port = wire.end(Idx::source(s.direction())).1;
            theirs.push((port, s.packets(), [s.src().state.0, s.dst().state.0]));
        }
        let mut ours: Vec<_> = self.flows.values().map(|k| (k.port, k.packets, k.sides)).collect();
        theirs.sort_unstable();
        ours.sort_unstable();
        if theirs != ours {
            return Err(format!("states: engine {theirs:?}, model {ours:?}"));
        }
        let mut nodes: Vec<u32> = e.nodes.iter().map(|(_, n)| n.states).filter(|n| *n > 0).collect();
        let mut by_source: HashMap<(u8, u32), u32> = HashMap::new();
        for (f, k) in &self.flows {
            *by_source.entry((f.0, k.load)).or_default() += 1;
        }
        let mut wanted: Vec<u32> = by_source.into_values().collect();
        nodes.sort_unstable();
        wanted.sort_unstable();
        if nodes != wanted {
            return Err(format!("source nodes: engine {nodes:?}, model {wanted:?}"));
        }
        let counted = (self.lab.counted(DropReason::Translate), self.lab.counted(DropReason::SrcLimit));
        if counted != (self.translate, self.limited) {
            return Err(format!("counted {counted:?}, wanted {:?}", (self.translate, self.limited)));
        }
        let last = e.rules.live(pfvm::exec::UnitId(0)).last().and_then(|p| e.rules.get(*p)).ok_or("no rules")?;
        let mine = self.flows.values().filter(|k| k.load == self.load).count();
        let rule = (last.states as usize, last.packets().iter().sum::<u64>());
        let wanted = (mine + self.ended, self.passed);
        if rule != wanted {
            return Err(format!("rule: states and packets {rule:?}, wanted {wanted:?}"));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_engine_does_what_a_naive_model_does(ops in prop::collection::vec(op(), 1..160)) {
        let mut model = Model::new();
        for (n, op) in ops.iter().enumerate() {
            if let Err(e) = model.act(op) {
                prop_assert!(false, "step {n} {op:?}: {e}");
            }
        }
        // Nothing leaks: an hour later there is nothing, and all there was can be had again.
        model.lab.wait(200);
        let e = &model.lab.engine;
        prop_assert_eq!((e.table.len(), e.nodes.iter().count(), e.half_open, e.frags.len()), (0, 0, 0, 0));
        for n in 0..PORTS {
            let out = model.lab.goes(EM1, &format!("udp 10.0.0.{}:9 > 198.51.100.7:53 data x", 100 + n));
            prop_assert!(out.passed(), "port {n} of the pool did not come back");
        }
    }
}
