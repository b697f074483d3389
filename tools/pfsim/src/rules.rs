//! The rules alone: each packet judged by a verified program as if it were the first, without states or translation.
//!
//! Holds [`Rules`], the decider that `why` uses and `run --stateless` too, and what it answers the machine with
//! ([`World`]): tables as loaded, interfaces and groups by the facts, time by the capture.
//! Not done here: states, translation, reassembly, routes (there always is one), fingerprints (none match).

use std::collections::{BTreeMap, BTreeSet};

use pfc::dump::Listing;
use pfc::facts::{Facts, Wanted};
use pfvm::exec::{Context, DEFAULT_FUEL, Forest, Grove, Hit, Machine, Question, Site, Step, UnitId, run};
use pfvm::image::{DynFlags, Entry, Image, TableFlags, TableKind};
use pfvm::packet::{DropReason, Packet, PacketDesc, describe};
use pfvm::rule::{Action, Addr, Af, IfaceId, LogFlags, RuleFlags, RuleId, TableId, TagId};
use pfvm::table::{Slot, Tables};
use pfvm::verify::{Body, Program};

use crate::decide::{By, Decider, RuleRow, Ruling, Sighting, Verdict};
use crate::line::wire_addr;

/// Why an image gives no decider.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are no image.
    #[error(transparent)]
    Image(#[from] pfvm::image::ImageError),
    /// The program is refused.
    #[error("the verifier refuses it: {0}")]
    Reject(#[from] pfvm::verify::Reject),
    /// Its tables or states do not fit.
    #[error("its tables and states do not fit into memory")]
    Memory,
}

/// One word executed, or one rule met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// An instruction: which body, where.
    Word(Body, u32),
    /// The evaluation of a rule began.
    Rule(u32),
}

/// An interface packets are seen on.
#[derive(Clone, Debug, Default)]
struct Live {
    name: String,
    groups: Vec<String>,
    loopback: bool,
}

/// What the machine asks.
struct World {
    tables: Tables,
    slots: Vec<Option<Slot>>,
    names: Vec<String>,
    live: Vec<Live>,
    used: BTreeSet<RuleId>,
    /// Packets of each rule with `max-pkt-rate`, scaled as pf scales them, and when last counted (seconds).
    rates: BTreeMap<RuleId, (u64, u64)>,
    limits: BTreeMap<RuleId, (u32, u32)>,
    random: u64,
    seconds: u64,
    logged: bool,
    trace: Option<Vec<Trace>>,
}

/// pf's scale of rates (`PF_THRESHOLD_MULT`).
const RATE_SCALE: u64 = 1000;

impl Context for World {
    const TRACE: bool = true;

    fn in_table(&mut self, _: UnitId, table: TableId, af: Af, addr: &Addr) -> bool {
        let slot = self.slots.get(usize::from(table.0)).copied().flatten();
        slot.is_some_and(|slot| self.tables.holds(slot, af, addr))
    }

    fn is_iface(&mut self, _: UnitId, name: IfaceId, live: u16) -> bool {
        let (Some(name), Some(live)) = (self.names.get(usize::from(name.0)), self.live.get(usize::from(live))) else {
            return false;
        };
        *name == live.name || live.groups.iter().any(|group| group == name) || (name == "any" && !live.loopback)
    }

    fn tag(&mut self, _: UnitId, tag: TagId) -> u16 {
        tag.0.saturating_add(1)
    }

    fn random(&mut self) -> u32 {
        // The same draw for the same packet of the same capture, so that a run can be repeated.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.random >> 32).unwrap_or_default()
    }

    fn under_rate(&mut self, rule: Site) -> bool {
        let (limit, seconds) = self.limits.get(&rule.rule).copied().unwrap_or((u32::MAX, 1));
        let (count, last) = self.rates.entry(rule.rule).or_insert((0, self.seconds));
        let passed = self.seconds.saturating_sub(*last);
        let seconds = u64::from(seconds.max(1));
        *count = if passed >= seconds { 0 } else { *count - *count * passed / seconds };
        *count = count.saturating_add(RATE_SCALE);
        *last = self.seconds;
        *count <= u64::from(limit) * RATE_SCALE
    }

    fn is_live(&mut self, rule: Site) -> bool {
        !self.used.contains(&rule.rule)
    }

    fn use_up(&mut self, rule: Site) -> bool {
        self.used.insert(rule.rule)
    }

    fn evaluated(&mut self, rule: Site) {
        if let Some(trace) = &mut self.trace {
            trace.push(Trace::Rule(rule.rule.0));
        }
    }

    fn log(&mut self, _: Hit, _: Option<Site>) {
        self.logged = true;
    }

    fn trace(&mut self, _: UnitId, body: Body, pc: u32) {
        if let Some(trace) = &mut self.trace {
            trace.push(Trace::Word(body, pc));
        }
    }
}

/// A decision with the way to it.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The decision.
    pub ruling: Ruling,
    /// The rule noted last, and `match` rules hit, by their place.
    pub noted: Option<usize>,
    /// `match` rules hit, in order.
    pub hits: Vec<usize>,
    /// What was executed.
    pub trace: Vec<Trace>,
}

/// A verified program and its world.
pub struct Rules {
    grove: Grove<Program>,
    listing: Listing,
    rows: Vec<RuleRow>,
    world: World,
    machine: Box<Machine>,
    facts: Facts,
    skips: Vec<IfaceId>,
    tags: Vec<String>,
}

impl Rules {
    /// Verifies an image and makes its tables.
    ///
    /// # Errors
    /// Why it cannot be run.
    pub fn load(bytes: &[u8], facts: &Facts) -> Result<Self, LoadError> {
        let image = Image::parse(bytes)?;
        let program = Program::verify(&image, pfc::compile::BUDGET)?;
        let listing = Listing::of(&image);
        let rows = rows(&listing);
        let (tables, slots) = fill(&program, facts).ok_or(LoadError::Memory)?;
        let limits = program.rules().iter().zip(0..).filter(|(rule, _)| rule.pkt_rate > 0);
        let world = World {
            tables,
            slots,
            names: program.ifaces().iter().map(|name| program.text(*name).to_owned()).collect(),
            live: Vec::new(),
            used: BTreeSet::new(),
            rates: BTreeMap::new(),
            limits: limits.map(|(rule, id)| (RuleId(id), (rule.pkt_rate, rule.pkt_seconds))).collect(),
            random: 1,
            seconds: 0,
            logged: false,
            trace: None,
        };
        let skips = program.skips().to_vec();
        let tags = program.tags().iter().map(|name| program.text(*name).to_owned()).collect();
        let grove = Grove::bind(vec![program])?;
        let machine = Box::new(Machine::new().map_err(|_| LoadError::Memory)?);
        Ok(Self { grove, listing, rows, world, machine, facts: facts.clone(), skips, tags })
    }

    /// Names behind the code.
    #[must_use]
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> Option<&Program> {
        self.grove.program(UnitId(0))
    }

    /// Live number of an interface, by its name.
    pub fn live(&mut self, name: &str) -> u16 {
        let found = self.world.live.iter().position(|live| live.name == name);
        let at = found.unwrap_or_else(|| {
            self.world.live.push(live(name, &self.facts));
            self.world.live.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// Number of a tag the rules know; none of theirs for others.
    #[must_use]
    pub fn tag(&self, name: &str) -> u16 {
        let found = self.tags.iter().position(|tag| tag == name);
        found.and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(u16::MAX)
    }

    fn skipped(&mut self, iface: u16) -> bool {
        let skips = self.skips.clone();
        skips.iter().any(|name| self.world.is_iface(UnitId(0), *name, iface))
    }

    /// Decides a described packet and tells the way, rule by rule where `body` is the straight code.
    pub fn explain(&mut self, desc: &PacketDesc, body: Body) -> Explained {
        self.world.trace = Some(Vec::new());
        let ruling = self.judge(desc, body);
        let place = |hit: &Hit| usize::try_from(hit.site.rule.0).unwrap_or(usize::MAX);
        Explained {
            ruling,
            noted: self.machine.noted().as_ref().map(place),
            hits: self.machine.hits().iter().map(place).collect(),
            trace: self.world.trace.take().unwrap_or_default(),
        }
    }

    fn judge(&mut self, desc: &PacketDesc, body: Body) -> Ruling {
        let mut desc = *desc;
        if self.skipped(desc.iface) {
            return Ruling { verdict: Verdict::Pass, reason: DropReason::Match, by: By::Skip, log: false };
        }
        self.world.logged = false;
        self.machine.reset(body, DEFAULT_FUEL);
        loop {
            match run(&self.grove, &desc, &mut self.machine, &mut self.world) {
                Step::Done => return self.verdict(&desc),
                Step::Drop(_) => {
                    let by = By::Engine;
                    return Ruling { verdict: Verdict::Block, reason: DropReason::Memory, by, log: false };
                }
                Step::Suspend(Question::Translate(_)) => {}
                Step::Suspend(Question::Socket) => {
                    desc.uid = Some(desc.uid.unwrap_or(u32::MAX));
                    desc.gid = Some(desc.gid.unwrap_or(u32::MAX));
                }
                Step::Suspend(Question::Route(_) | Question::Label { .. } | Question::Os(_)) => {
                    self.machine.answer(false);
                }
            }
        }
    }

    /// What the rule noted last says of the packet.
    fn verdict(&self, desc: &PacketDesc) -> Ruling {
        let noted = self.machine.noted();
        let rule = noted.and_then(|hit| self.grove.program(hit.site.unit)?.rule(hit.site.rule));
        let log = self.world.logged || rule.is_some_and(|rule| rule.log.has(LogFlags::LOG));
        let by = noted.and_then(|hit| usize::try_from(hit.site.rule.0).ok()).map_or(By::Default, By::Rule);
        let blocked = rule.is_some_and(|rule| rule.action == Action::Block);
        let options = desc.badopts.any() && !rule.is_some_and(|rule| rule.flags.has(RuleFlags::ALLOW_OPTS));
        let verdict = if blocked || options { Verdict::Block } else { Verdict::Pass };
        let reason = if options && !blocked { DropReason::IpOption } else { DropReason::Match };
        Ruling { verdict, reason, by, log }
    }
}

impl Decider for Rules {
    fn decide(&mut self, seen: &mut Sighting<'_>) -> Ruling {
        let iface = self.live(seen.iface);
        self.world.seconds = seen.time / 1_000_000_000;
        let mut desc = match describe(&Packet::whole(seen.packet), &seen.meta, seen.af, seen.dir, iface) {
            Ok(desc) => desc,
            Err(refusal) => {
                return Ruling { verdict: Verdict::Block, reason: refusal.reason, by: By::Engine, log: refusal.log };
            }
        };
        desc.forwarded = seen.forwarded;
        self.judge(&desc, Body::Code)
    }

    fn rules(&self) -> &[RuleRow] {
        &self.rows
    }

    fn remarks(&self) -> Vec<String> {
        vec![
            "rules alone: no states, no translation, no reassembly; every packet judged as if it were the first".into(),
        ]
    }
}

/// An interface by its facts; one the facts do not know has the group its name says.
fn live(name: &str, facts: &Facts) -> Live {
    if let Some(known) = facts.interface(name) {
        let mut groups = known.groups.clone();
        groups.push("all".to_owned());
        return Live { name: known.name.clone(), groups, loopback: known.flags.loopback };
    }
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    Live { name: name.to_owned(), groups: vec![letters.to_owned(), "all".to_owned()], loopback: letters == "lo" }
}

/// The tables of a program with their first contents; a table only named in an anchor is the main ruleset's.
fn fill(program: &Program, facts: &Facts) -> Option<(Tables, Vec<Option<Slot>>)> {
    let count = u16::try_from(program.tables().len()).ok()?;
    let rows: Vec<_> = program.tables().iter().zip(0..).map(|(table, id)| (table, TableId(id))).collect();
    let dynamic = |table: &pfvm::image::Table| match table.kind {
        TableKind::Named => Vec::new(),
        TableKind::Dynamic { iface, mods, prefix } => {
            addresses(facts, program.iface(iface).map_or("", |name| program.text(*name)), mods, prefix)
        }
    };
    let contents = rows.iter().map(|(table, id)| {
        let named = program.table_entries(*id).iter().map(entry);
        named.chain(dynamic(table)).collect::<Vec<_>>()
    });
    let contents: Vec<Vec<pfvm::table::Entry>> = contents.collect();
    let total: usize = contents.iter().map(Vec::len).sum();
    let mut tables = Tables::new(count, u32::try_from(total).ok()?, 0)?;
    let mut slots = Vec::new();
    for entries in &contents {
        let slot = tables.create(false).ok()?;
        for entry in entries {
            // The same network twice is one entry.
            let _ = tables.add(slot, entry);
        }
        slots.push(Some(slot));
    }
    let main = |name: &str| {
        rows.iter()
            .position(|(t, _)| t.ruleset.0 == 0 && t.flags.has(TableFlags::DEFINED) && program.text(t.name) == name)
    };
    for (at, (table, _)) in rows.iter().enumerate() {
        if table.kind == TableKind::Named && !table.flags.has(TableFlags::DEFINED) {
            let of = main(program.text(table.name)).and_then(|at| slots.get(at).copied().flatten());
            if let (Some(slot), Some(of)) = (slots.get_mut(at), of) {
                *slot = Some(of);
            }
        }
    }
    Some((tables, slots))
}

fn entry(from: &Entry) -> pfvm::table::Entry {
    let af = if from.flags & Entry::INET6 == 0 { Af::Inet } else { Af::Inet6 };
    pfvm::table::Entry {
        af,
        addr: Addr(from.addr),
        prefix: from.prefix,
        not: from.flags & Entry::NOT != 0,
        weight: from.weight,
    }
}

/// The rules of an image as reports name them.
pub(crate) fn rows(listing: &Listing) -> Vec<RuleRow> {
    let row = |rule: &pfc::dump::RuleText| RuleRow {
        nr: rule.nr,
        anchor: rule.anchor.clone(),
        text: rule.text.clone(),
        label: rule.label.clone(),
        file: rule.file.clone(),
        line: rule.line,
    };
    listing.rules().iter().map(row).collect()
}

/// What `(name:mods)/prefix` holds.
pub(crate) fn addresses(facts: &Facts, name: &str, mods: DynFlags, prefix: u8) -> Vec<pfvm::table::Entry> {
    let wanted = Wanted {
        network: mods.has(DynFlags::NETWORK),
        broadcast: mods.has(DynFlags::BROADCAST),
        peer: mods.has(DynFlags::PEER),
        noalias: mods.has(DynFlags::NOALIAS),
    };
    let found = facts.addresses(name, wanted);
    let entries = found.iter().map(|found| {
        let (af, addr) = wire_addr(found.addr);
        let most = if af == Af::Inet { 32 } else { 128 };
        let prefix = if prefix == 255 { found.prefix } else { prefix.min(most) };
        pfvm::table::Entry::new(af, addr, prefix)
    });
    entries.collect()
}
