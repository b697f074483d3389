//! The whole engine as a decider: states, translation, normalisation, in the capture's own time.
//!
//! Holds [`Whole`] and the machine it runs on ([`Machine`]): interfaces, addresses and routes by the facts, a clock set
//! by the capture, random numbers that are the same in every run, and an outbox for the filter's own packets.
//! Routes are those to the networks of the interfaces; everything else goes out by the first one in `egress`.

use pfc::dump::Listing;
use pfc::facts::Facts;
use pfdriver::edge::carry::{Ends, Memory};
use pfvm::engine::ifaces::Live;
use pfvm::engine::load::LoadError as EngineLoadError;
use pfvm::engine::outcome::{Carried, Outcome, Verdict as Fate};
use pfvm::engine::{Engine, Seen, default_options};
use pfvm::exec::UnitId;
use pfvm::host::{Hop, Host, Random};
use pfvm::image::{Image, TableKind};
use pfvm::packet::{DropReason, Packet};
use pfvm::rule::{Addr, Af, Direction, Limits};
use pfvm::table::Entry;
use pfvm::verify::Program;

use crate::decide::{By, Decider, RuleRow, Ruling, Sighting, Verdict};
use crate::line::{ip, wire_addr};
use crate::rules::{LoadError, addresses, rows};

/// Seconds the machine has been up when a capture begins.
const UPTIME: u64 = 1000;
/// Seconds purged one by one over a pause of the capture; a longer one has nothing left to purge.
const LONGEST_PAUSE: u64 = 2 * 86_400;
/// Packets on their way through the machine that are remembered.
const UNDER_WAY: u32 = 4096;
/// Largest packet there is.
const LARGEST: usize = 65_535 + 40;
/// States kept at most, whatever `set limit` says.
const MOST_STATES: u32 = 2_000_000;

/// A network an interface is on.
#[derive(Clone, Copy, Debug)]
struct Way {
    af: Af,
    addr: Addr,
    prefix: u8,
    iface: u16,
}

/// The simulated machine.
#[derive(Debug)]
struct Machine {
    ways: Vec<Way>,
    egress: Option<u16>,
    ms: u64,
    seed: u64,
    sent: u64,
}

/// Whether an address lies in a network.
fn within(addr: &Addr, net: &Addr, prefix: u8) -> bool {
    let bits = |addr: &Addr| u128::from_be_bytes(addr.0);
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    bits(addr) & mask == bits(net) & mask
}

impl Machine {
    fn new(facts: &Facts) -> Self {
        let mut ways = Vec::new();
        for (interface, index) in facts.interfaces.iter().zip(1..) {
            ways.extend(interface.addresses.iter().map(|address| {
                let (af, addr) = wire_addr(address.addr);
                Way { af, addr, prefix: address.prefix, iface: index }
            }));
        }
        ways.sort_by_key(|way| std::cmp::Reverse(way.prefix));
        let outside = |i: &pfc::facts::Interface| i.groups.iter().any(|group| group == "egress");
        let egress = facts.interfaces.iter().zip(1..).find(|(i, _)| outside(i)).map(|(_, index)| index);
        Self { ways, egress, ms: UPTIME * 1000, seed: 0x9e37_79b9_7f4a_7c15, sent: 0 }
    }
}

impl Random for Machine {
    fn random_u32(&mut self) -> u32 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        u32::try_from(self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32).unwrap_or(0)
    }
}

impl Host for Machine {
    fn now_ms(&self) -> u64 {
        self.ms
    }

    fn route(&self, af: Af, addr: &Addr) -> Option<Hop> {
        let way = self.ways.iter().find(|way| way.af == af && within(addr, &way.addr, way.prefix));
        let iface = way.map(|way| way.iface).or(self.egress)?;
        Some(Hop { iface, mtu: 1500 })
    }

    fn answers_for(&self, af: Af, addr: &Addr) -> Option<Addr> {
        self.ways.iter().any(|way| way.af == af && way.addr == *addr).then_some(*addr)
    }

    fn own_address(&self, af: Af, iface: u16, toward: &Addr) -> Option<Addr> {
        let mine = || self.ways.iter().filter(|way| way.af == af && way.iface == iface);
        let near = mine().find(|way| within(toward, &way.addr, way.prefix));
        near.or_else(|| mine().next()).map(|way| way.addr)
    }

    fn port_in_use(&self, _: u8, _: u16) -> bool {
        false
    }

    fn send(&mut self, _: &[u8], _: Af, _: bool, _: u16) {
        self.sent += 1;
    }
}

/// The engine with one program loaded.
pub struct Whole {
    engine: Engine,
    machine: Machine,
    rows: Vec<RuleRow>,
    /// Names of live interfaces; the index is one less than the number.
    names: Vec<String>,
    window: Vec<u8>,
    room: Vec<u8>,
    /// What packets carry from in to out.
    under_way: Memory,
    /// Time of the first packet, nanoseconds.
    begun: Option<u64>,
    made: u64,
    /// Entries of each table as loaded.
    sizes: Vec<u32>,
}

/// Limits that fit into this process.
fn limits(asked: &Limits) -> Limits {
    Limits { states: asked.states.min(MOST_STATES), ..*asked }
}

impl Whole {
    /// Verifies an image and loads it.
    ///
    /// # Errors
    /// Why it cannot be run.
    pub fn load(bytes: &[u8], facts: &Facts) -> Result<Self, LoadError> {
        let image = Image::parse(bytes)?;
        let program = Program::verify(&image, pfc::compile::BUDGET)?;
        let rows = rows(&Listing::of(&image));
        let mut machine = Machine::new(facts);
        let asked = program.options().map_or_else(|| default_options().limits, |options| options.limits);
        let mut engine = Engine::new(&limits(&asked), &mut machine).map_err(|_| LoadError::Memory)?;
        engine.most.states = MOST_STATES;
        // What the image calls an interface by, besides its name: groups and wildcards.
        let called: Vec<&str> = image.ifaces().map(|name| image.text(name)).collect();
        let grouped: Vec<Vec<&str>> = facts
            .interfaces
            .iter()
            .map(|i| called.iter().copied().filter(|name| facts.is_member(&i.name, name)).chain(["all"]).collect())
            .collect();
        let live = facts.interfaces.iter().zip(&grouped).zip(1..).map(|((interface, groups), index)| Live {
            index,
            name: &interface.name,
            groups,
            loopback: interface.flags.loopback,
        });
        let live: Vec<Live<'_>> = live.collect();
        let follow = |name: &str, kind: &TableKind, give: &mut dyn FnMut(Entry)| {
            if let TableKind::Dynamic { mods, prefix, .. } = kind {
                addresses(facts, name, *mods, *prefix).into_iter().for_each(give);
            }
        };
        let loaded = engine.load(vec![program], Some(UnitId(0)), &live, &follow, &mut machine);
        loaded.map_err(|error| match error {
            EngineLoadError::Reject(reject) => LoadError::Reject(reject),
            EngineLoadError::Memory(_) => LoadError::Memory,
        })?;
        let key = (u64::from(machine.random_u32()), u64::from(machine.random_u32()));
        let under_way = Memory::new(UNDER_WAY, key).map_err(|_| LoadError::Memory)?;
        let sizes = engine.tables.names().iter().map(|named| engine.tables.all.len(named.slot)).collect();
        Ok(Self {
            engine,
            sizes,
            machine,
            rows,
            names: facts.interfaces.iter().map(|interface| interface.name.clone()).collect(),
            window: Vec::new(),
            under_way,
            room: vec![0; LARGEST + Packet::HEADROOM],
            begun: None,
            made: 0,
        })
    }

    /// Number of an interface; one no rule names for those the facts do not know.
    fn iface(&self, name: &str) -> u16 {
        let found = self.names.iter().position(|known| known == name);
        found.and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(u16::MAX)
    }

    /// Moves the clock to a packet's time, purging on the way.
    fn advance(&mut self, time: u64) {
        let begun = *self.begun.get_or_insert(time);
        let now = UPTIME * 1000 + time.saturating_sub(begun) / 1_000_000;
        let pause = (now / 1000).saturating_sub(self.machine.ms / 1000);
        for _ in 0..pause.min(LONGEST_PAUSE) {
            self.machine.ms += 1000;
            self.engine.tick(&mut self.machine);
        }
        self.machine.ms = self.machine.ms.max(now);
    }

    fn ruling(&self, outcome: &Outcome, made: bool) -> Ruling {
        let verdict = match outcome.verdict {
            Fate::Pass | Fate::Reroute | Fate::Divert(_) => Verdict::Pass,
            Fate::Drop => Verdict::Block,
            Fate::Consumed => Verdict::Hold,
        };
        let site = self.engine.rules.get(outcome.rule).and_then(|entry| entry.site);
        let rule = site.and_then(|site| usize::try_from(site.rule.0).ok());
        let untouched = outcome.action.is_none();
        let by = match (outcome.state, rule) {
            _ if verdict == Verdict::Hold => By::Engine,
            _ if untouched => By::Skip,
            (Some(_), rule) if !made => By::State(rule),
            (_, Some(rule)) => By::Rule(rule),
            _ if verdict == Verdict::Pass => By::Default,
            _ => By::Engine,
        };
        let by = if verdict == Verdict::Block && outcome.reason != DropReason::Match && rule.is_none() {
            By::Engine
        } else {
            by
        };
        Ruling { verdict, reason: outcome.reason, by, log: outcome.logged }
    }
}

impl Decider for Whole {
    fn decide(&mut self, seen: &mut Sighting<'_>) -> Ruling {
        self.advance(seen.time);
        self.window.clear();
        self.window.resize(Packet::HEADROOM, 0);
        self.window.extend_from_slice(seen.packet);
        let iface = self.iface(seen.iface);
        let mut carried = Carried { prio: 3, ..Carried::default() };
        let mut forwarded = seen.forwarded;
        // What was seen coming in carries on what the filter gave it there.
        match seen.dir {
            Direction::In => carried.received_on = Some(iface),
            Direction::Out => {
                if let Some(ends) = Ends::of(&Packet::whole(seen.packet), seen.af) {
                    let _alone = self.under_way.recall(&ends, &mut carried, self.machine.ms);
                    forwarded |= carried.received_on.is_some();
                }
            }
        }
        let place = Seen { af: seen.af, dir: seen.dir, forwarded, iface };
        let before = self.engine.table.len();
        let Some(mut packet) = Packet::new(&mut self.window, Packet::HEADROOM, &[]) else {
            return Ruling { verdict: Verdict::Block, reason: DropReason::Memory, by: By::Engine, log: false };
        };
        let outcome = self.engine.process(&mut packet, &seen.meta, place, carried, &mut self.room, &mut self.machine);
        let made = self.engine.table.len() > before;
        self.made += u64::from(made);
        let now = match outcome.replaced {
            Some(part) => self.room.get(part.at..part.at.saturating_add(part.len)).unwrap_or_default(),
            None => packet.window(),
        };
        seen.packet.clear();
        seen.packet.extend_from_slice(now);
        if seen.dir == Direction::In
            && outcome.verdict == Fate::Pass
            && let Some(ends) = Ends::of(&Packet::whole(seen.packet), seen.af)
        {
            self.under_way.keep(ends, &outcome.carried, self.machine.ms);
        }
        self.ruling(&outcome, made)
    }

    fn rules(&self) -> &[RuleRow] {
        &self.rows
    }

    fn states(&self, verbose: u8) -> Option<String> {
        let now = u32::try_from(self.machine.ms / 1000).unwrap_or(u32::MAX);
        let name = |index: u16| {
            let at = usize::from(index).checked_sub(1);
            at.and_then(|at| self.names.get(at)).cloned().unwrap_or_else(|| "?".to_owned())
        };
        Some(crate::states::table(&self.engine, now, &name, verbose))
    }

    fn remarks(&self) -> Vec<String> {
        let mut out = vec![format!("states: {} made, {} at the end", self.made, self.engine.table.len())];
        if self.machine.sent > 0 {
            out.push(format!("the filter itself sent {} packets (resets, ICMP errors, answers)", self.machine.sent));
        }
        let tables = &self.engine.tables;
        for (named, before) in tables.names().iter().zip(&self.sizes).filter(|(named, _)| !named.dynamic) {
            let (now, name) = (tables.all.len(named.slot), String::from_utf8_lossy(&named.name));
            if now > *before {
                let list: Vec<_> =
                    tables.all.entries(named.slot).take(8).map(|entry| ip(entry.af, &entry.addr).to_string()).collect();
                out.push(format!("table <{name}> gained {}: {}", now - before, list.join(", ")));
            }
        }
        out
    }
}
