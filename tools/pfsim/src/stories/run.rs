//! Replays a story and compares every step.

use std::net::IpAddr;

use pfc::facts::Facts;
use pfc::osfp::Fingerprints;
use pfvm::engine::counters::LimitCounter;
use pfvm::engine::ifaces::Live;
use pfvm::engine::{Engine, default_options};
use pfvm::exec::UnitId;
use pfvm::image::{DynFlags, TableKind};
use pfvm::packet::DropReason;
use pfvm::table::Entry;
use pfvm::verify::Program;
use serde_json::{Value, json};

use super::adapt::Memory;
use super::build::{compile, facts, nothing};
use super::compare::{self, Fuzzy};
use super::fields::unhex;
use super::model::{Step, Story};
use super::sim::{Sim, addr_of};
use super::world::World;

/// Fields of a packet's step that are compared.
const PACKET: &[&str] = &[
    "verdict",
    "reason",
    "rule",
    "anchor",
    "decisions",
    "counters",
    "fwd",
    "in_hex",
    "out_hex",
    "out_if",
    "emitted",
    "tag",
    "delay",
    "divert",
    "rdr_localhost",
    "deliver",
    "states",
    "nstates",
];
/// Fields of a tick.
const TICK: &[&str] = &["emitted", "states", "nstates"];

/// One story being replayed.
pub struct Player<'s> {
    facts: Facts,
    prints: &'s Fingerprints,
    /// Host and filter.
    pub(super) world: World,
    memory: Memory,
    /// Anchor paths of the programs in force.
    pub(super) paths: Vec<String>,
    second: u64,
    /// Rules are asked one after the other, as pf does, and not by way of what was made of them.
    pub(super) straight: bool,
}

/// How a story went.
#[derive(Debug, Default)]
pub struct Report {
    /// Steps.
    pub steps: usize,
    /// Steps that agree.
    pub agreed: usize,
    /// What differs, by step.
    pub differences: Vec<(usize, Vec<String>)>,
    /// Why it could not be played at all.
    pub broken: Option<String>,
    /// The state table at the end, as `pfctl -v -s states` prints it: recorded and ours.
    pub table: Option<(String, String)>,
    /// What else differs at the end: counters, rules, source nodes, tables.
    pub end: Vec<String>,
}

impl Report {
    /// Whether all of it agrees.
    #[must_use]
    pub fn perfect(&self) -> bool {
        self.broken.is_none() && self.agreed == self.steps
    }
}

/// Replays a story.
#[must_use]
pub fn play(story: &Story, prints: &Fingerprints) -> Report {
    replay(story, prints, false)
}

/// Replays a story with rules asked one after the other, so that every evaluation counts as in pf.
#[must_use]
pub fn play_straight(story: &Story, prints: &Fingerprints) -> Report {
    replay(story, prints, true)
}

fn replay(story: &Story, prints: &Fingerprints, straight: bool) -> Report {
    let mut report = Report { steps: story.steps.len(), ..Report::default() };
    match Player::start(story, prints) {
        Err(e) => report.broken = Some(e),
        Ok(mut p) => {
            p.straight = straight;
            for (i, step) in story.steps.iter().enumerate() {
                let d = p.step(step);
                if d.is_empty() {
                    report.agreed += 1;
                } else {
                    report.differences.push((i, d));
                }
            }
            report.end = p.end(&story.end, &story.end_fuzzy);
            report.table = story.end["pfctl_vss"].as_str().map(|want| (want.to_owned(), p.world.state_table(1)));
        }
    }
    report
}

impl<'s> Player<'s> {
    fn start(story: &'s Story, prints: &'s Fingerprints) -> Result<Self, String> {
        let facts = facts(story, prints);
        let mut sim = Sim::new(story);
        let programs = compile(&story.rules, "", &facts, prints)?;
        let options = programs.first().and_then(|(_, p)| p.options().copied()).unwrap_or_else(default_options);
        let mut limits = options.limits;
        limits.states = limits.states.clamp(1000, 20_000);
        limits.frags = limits.frags.min(2000);
        limits.table_entries = limits.table_entries.min(20_000);
        let mut engine = Engine::new(&limits, &mut sim).map_err(|e| e.to_string())?;
        engine.most.states = 20_000;
        let mut player = Self {
            facts,
            prints,
            world: World::new(engine, sim),
            memory: Memory::default(),
            paths: Vec::new(),
            second: 0,
            straight: false,
        };
        player.install(programs)?;
        Ok(player)
    }

    /// Puts programs in force, all of them anew.
    fn install(&mut self, programs: Vec<(String, Program)>) -> Result<(), String> {
        let mut old: Vec<(String, Program)> = self.paths.drain(..).zip(self.world.engine.take_programs()).collect();
        let fresh: Vec<String> = programs.iter().map(|(p, _)| p.clone()).collect();
        for (path, program) in programs {
            match old.iter_mut().find(|(p, _)| *p == path) {
                Some(o) => o.1 = program,
                None => old.push((path, program)),
            }
        }
        let (paths, all): (Vec<_>, Vec<_>) = old.into_iter().unzip();
        self.paths = paths;
        let changed = match fresh.as_slice() {
            [one] => self.unit_of(one),
            _ => None,
        };
        self.load(all, changed)
    }

    fn load(&mut self, programs: Vec<Program>, changed: Option<UnitId>) -> Result<(), String> {
        let World { engine, sim, .. } = &mut self.world;
        let ifaces = sim.ifaces.clone();
        let groups: Vec<Vec<&str>> = ifaces.iter().map(|i| i.groups.iter().map(String::as_str).collect()).collect();
        let live: Vec<Live<'_>> = ifaces
            .iter()
            .zip(&groups)
            .map(|(i, g)| Live { index: i.index, name: &i.name, groups: g, loopback: i.flags & 8 != 0 })
            .collect();
        let addrs: Vec<(u16, Vec<(IpAddr, u8)>)> =
            ifaces.iter().map(|i| (i.index, sim.addrs_of(i.index).collect())).collect();
        let follow = |name: &str, kind: &TableKind, add: &mut dyn FnMut(Entry)| {
            let TableKind::Dynamic { mods, .. } = kind else { return };
            for l in live.iter().filter(|l| l.is(name) || name == "self") {
                let Some((_, list)) = addrs.iter().find(|(i, _)| *i == l.index) else { continue };
                follow_iface(list, *mods, add);
            }
        };
        engine.load(programs, changed, &live, &follow, sim).map_err(|e| e.to_string())
    }

    /// Loads the main ruleset anew; anchors stay.
    pub(super) fn load_main(&mut self, text: &str) {
        if let Ok(p) = compile(text, "", &self.facts, self.prints) {
            let _ = self.install(p);
        }
    }

    /// Puts no rules in the place of the main ruleset; its options stay.
    pub(super) fn load_nothing(&mut self) {
        if let Ok(p) = nothing() {
            let _ = self.install(vec![(String::new(), p)]);
        }
    }

    /// Loads an anchor.
    pub(super) fn load_anchor(&mut self, path: &str, text: &str) {
        if let Ok(p) = compile(text, path, &self.facts, self.prints) {
            let _ = self.install(p);
        }
    }

    /// Lets time pass: the filter looks for what has expired once a second.
    fn until(&mut self, t: f64) {
        let ms = (t * 1000.0).round();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds of a story are few and positive"
        )]
        let ms = ms as u64;
        let target = ms / 1000;
        while self.second < target {
            self.second += 1;
            self.world.sim.ms = self.second * 1000;
            self.world.engine.tick(&mut self.world.sim);
        }
        self.world.sim.ms = ms.max(self.world.sim.ms);
    }

    /// Reason and limit counters by name.
    fn counters(&self) -> Vec<(String, u64)> {
        let c = &self.world.engine.counters;
        let reasons = DropReason::ALL.iter().map(|r| (r.name().to_owned(), c.of_reason(*r)));
        let limits = LimitCounter::ALL.iter().map(|l| (format!("limit:{}", l.name()), c.of_limit(*l)));
        reasons.chain(limits).collect()
    }

    fn step(&mut self, step: &Step) -> Vec<String> {
        self.world.engine.follow(self.straight);
        self.world.decisions.clear();
        self.world.emitted.clear();
        self.until(step.t);
        let before = self.counters();
        let mut got = match step.op.as_deref() {
            None => self.packet(step),
            Some("tick") => {
                self.world.flush();
                json!({"emitted": self.world.emitted})
            }
            Some("pfctl") => {
                let said = self.pfctl(step.args.as_deref().unwrap_or(""));
                self.world.flush();
                let want = step.rest.get("stdout").cloned();
                return match (said, want) {
                    (Some(s), Some(Value::String(w))) if s != w && !w.contains("Cleared:") => {
                        vec![format!("stdout: want {w:?} got {s:?}")]
                    }
                    _ => Vec::new(),
                };
            }
            Some("load") => {
                let text = step.rules.as_deref().unwrap_or("");
                match step.anchor.as_deref() {
                    Some(a) if !a.is_empty() => self.load_anchor(a, text),
                    _ => self.load_main(text),
                }
                return Vec::new();
            }
            Some(_) => return Vec::new(),
        };
        let mut counters = serde_json::Map::new();
        for ((name, b), (_, a)) in before.into_iter().zip(self.counters()) {
            if a != b {
                counters.insert(name, json!(a.wrapping_sub(b)));
            }
        }
        got["counters"] = Value::Object(counters);
        let states = self.world.states();
        if step.rest.contains_key("states") {
            got["states"] = json!(states);
        } else if step.rest.contains_key("nstates") {
            got["nstates"] = json!(states.len());
        }
        let mut want = step.rest.clone();
        if let Some(a) = &step.anchor {
            want.insert("anchor".to_owned(), json!(a));
        }
        self.remember(&want, &got);
        let fields = if step.op.is_none() { PACKET } else { TICK };
        compare::step(&want, &got, Fuzzy(&step.fuzzy), fields)
    }

    fn packet(&mut self, step: &Step) -> Value {
        let recorded = unhex(step.pkt_hex.as_deref().unwrap_or(""));
        let bytes = self.memory.adapt(&recorded, &step.fuzzy);
        let iface = self.world.sim.index(step.iface.as_deref().unwrap_or(""));
        let id = |name: &str| step.rest.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let owner = id("uid").map(|uid| (uid, id("gid").unwrap_or(uid)));
        self.world.packet(&bytes, step.dir.as_deref().unwrap_or("in"), iface, owner)
    }

    /// Remembers what left, as recorded and as ours.
    fn remember(&mut self, want: &serde_json::Map<String, Value>, got: &Value) {
        for field in ["in_hex", "out_hex"] {
            if let (Some(w), Some(g)) = (want.get(field).and_then(Value::as_str), got[field].as_str()) {
                self.memory.remember(&unhex(w), &unhex(g));
            }
        }
        let none = Vec::new();
        let theirs = want.get("emitted").and_then(Value::as_array).unwrap_or(&none);
        let ours = got["emitted"].as_array().unwrap_or(&none);
        for (w, g) in theirs.iter().zip(ours) {
            if let (Some(w), Some(g)) = (w["hex"].as_str(), g["hex"].as_str()) {
                self.memory.remember(&unhex(w), &unhex(g));
            }
        }
    }
}

/// The addresses of one interface that `(name:mods)` means.
fn follow_iface(list: &[(IpAddr, u8)], mods: DynFlags, add: &mut dyn FnMut(Entry)) {
    let mut seen = [false; 2];
    for (ip, prefix) in list {
        let first = !std::mem::replace(&mut seen[usize::from(ip.is_ipv6())], true);
        if mods.has(DynFlags::NOALIAS) && !first {
            continue;
        }
        let (af, addr) = addr_of(ip);
        let mut e = Entry::host(af, addr);
        if mods.has(DynFlags::NETWORK) {
            e.prefix = *prefix;
        }
        if mods.has(DynFlags::BROADCAST) || mods.has(DynFlags::PEER) {
            match ip {
                IpAddr::V4(v) if mods.has(DynFlags::BROADCAST) && *prefix < 32 => {
                    let b = std::net::Ipv4Addr::from(u32::from(*v) | (u32::MAX >> prefix));
                    e = Entry::host(af, addr_of(&IpAddr::V4(b)).1);
                }
                _ => continue,
            }
        }
        add(e);
    }
}

impl<'s> Player<'s> {
    /// A player of a script: a story without recorded outcomes.
    ///
    /// # Errors
    /// What the compiler says of the rules.
    pub fn of(story: &'s Story, prints: &'s Fingerprints) -> Result<Self, String> {
        Self::start(story, prints)
    }

    /// Does what a step says and gives all that can be seen of it: the outcome of a packet, what rose of the
    /// counters, the states, what a command says.
    ///
    /// # Errors
    /// What the compiler says of rules to be loaded.
    pub fn act(&mut self, step: &Step) -> Result<Value, String> {
        self.world.decisions.clear();
        self.world.emitted.clear();
        self.until(step.t);
        let before = self.counters();
        let mut got = match step.op.as_deref() {
            None => self.packet(step),
            Some("pfctl") => {
                let args = step.args.as_deref().unwrap_or("");
                if !super::ctl::known(args) {
                    return Err(format!("`pfctl {args}` is not spoken here; see docs/scripts.md"));
                }
                let said = self.pfctl(args);
                self.world.flush();
                json!({"said": said})
            }
            Some("load") => {
                let (text, anchor) = (step.rules.as_deref().unwrap_or(""), step.anchor.as_deref().unwrap_or(""));
                let done = compile(text, anchor, &self.facts, self.prints).and_then(|p| self.install(p));
                json!({"loaded": done.is_ok(), "said": done.err()})
            }
            Some(_) => {
                self.world.flush();
                json!({"emitted": self.world.emitted})
            }
        };
        let rose = before.into_iter().zip(self.counters()).filter(|((_, b), (_, a))| a != b);
        let rose = rose.map(|((name, b), (_, a))| (name, json!(a.wrapping_sub(b)))).collect();
        got["counters"] = Value::Object(rose);
        let mut states = self.world.states();
        for (state, id) in states.iter_mut().zip(self.world.ids()) {
            state["id"] = json!(id);
        }
        got["states"] = json!(states);
        Ok(got)
    }
}
