//! One packet, two ways: the reference evaluator and the machine, in the same made-up world.
//!
//! Holds the world (interfaces, tables, routes, sockets, luck) as functions of a packet's [`Around`], asked by both, and
//! the comparison of what came out.
//! **Invariant:** the world answers the same to both; only the two evaluations can differ.

use crate::rulesets::{Around, IFACES, TAGS, address, octets};
use pfc::eval::{self, Facts, Failure, RuleRef, Seen, Verdict, evaluate};
use pfc::image::{Extras, build};
use pfc::lower::Passes;
use pfc::ruleset::{Action, Config, DynMods, Rule};
use pfvm::exec::{Callee, Context, Grove, Hit, Machine, Question, Site, Step, Stop, UnitId, run};
use pfvm::image::{DynFlags, Image, TableKind};
use pfvm::isa::{RouteTest, Side};
use pfvm::packet::PacketDesc;
use pfvm::rule::{Addr, Af, IfaceId, RuleId, TableId, TagId};
use pfvm::verify::{Body, Program};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A configuration's programs, ready to run.
pub struct Ready<'c> {
    /// What they were made from.
    pub config: &'c Config,
    grove: Grove<Program>,
}

/// Compiles, verifies and binds a configuration; the reason as text when it is refused.
///
/// # Errors
/// Why there is no program.
pub fn ready(config: &Config, passes: Passes, budget: u32) -> Result<Ready<'_>, String> {
    let (bytes, _) = build(config, passes, &Extras::NONE).map_err(|e| e.to_string())?;
    let image = Image::parse(&bytes).map_err(|e| e.to_string())?;
    let program = Program::verify(&image, budget).map_err(|e| format!("{e:?}"))?;
    Ok(Ready { config, grove: Grove::bind(vec![program]).map_err(|e| format!("{e:?}"))? })
}

/// What both ways must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Verdict.
    pub action: Action,
    /// The deciding rule.
    pub rule: Option<RuleRef>,
    /// The anchor rule it was reached by.
    pub anchor: Option<RuleRef>,
    /// `match` rules in order.
    pub matches: Vec<RuleRef>,
    /// Tag the packet leaves with: set by rules, else its own.
    pub tag: Option<String>,
    /// Logged rules, and because of which others.
    pub log: Vec<(RuleRef, Option<RuleRef>)>,
    /// Why the packet was lost.
    pub failure: Option<Failure>,
    /// `once` rules used up afterwards.
    pub used: BTreeSet<RuleRef>,
}

/// Live numbers of tags no packet comes with.
const OTHER_TAGS: u16 = 1000;

/// Answers that depend on luck alone.
#[derive(Clone, Copy)]
struct Luck(u32);

impl Luck {
    /// An even number for a thing.
    fn of(self, what: u32) -> u32 {
        let mut x = u64::from(self.0) << 32 | u64::from(what);
        x ^= x >> 33;
        x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
        x ^= x >> 33;
        u32::try_from(x & 0xffff_ffff).unwrap_or(0)
    }
    fn site(self, kind: u32, at: &RuleRef) -> u32 {
        let path = at.ruleset.bytes().fold(kind, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
        self.of(path.wrapping_mul(31).wrapping_add(u32::try_from(at.nr).unwrap_or(0)))
    }
    fn over_rate(self, at: &RuleRef) -> bool {
        self.site(1, at).is_multiple_of(2)
    }
    fn used(self, at: &RuleRef) -> bool {
        self.site(2, at).is_multiple_of(3)
    }
    fn translates(self, at: &RuleRef) -> bool {
        !self.site(3, at).is_multiple_of(8)
    }
    fn os(self, fingerprint: u32) -> bool {
        fingerprint != u32::MAX && self.of(fingerprint).is_multiple_of(2)
    }
    /// The number drawn from 32 random bits.
    fn drawn(random: u32) -> u32 {
        u32::try_from((u64::from(random) * u64::from(u32::MAX - 1)) >> 32).unwrap_or(0) + 1
    }
}

fn routable(around: &Around, addr: IpAddr, through: bool) -> bool {
    let odd = octets(addr).0.iter().fold(0_u8, |h, b| h ^ b) & 1 == 1;
    if through { around.routes.1 ^ odd } else { around.routes.0 || odd }
}

fn labelled(addr: IpAddr) -> bool {
    octets(addr).0.iter().fold(0_u8, |h, b| h.wrapping_add(*b)).is_multiple_of(3)
}

fn dynamic(name: &str, network: bool, addr: IpAddr) -> bool {
    let sum = octets(addr).0.iter().fold(0_u8, |h, b| h.wrapping_mul(3).wrapping_add(*b));
    (usize::from(sum) + name.len() + usize::from(network)).is_multiple_of(2)
}

/// Decides by the reference.
#[must_use]
pub fn reference(config: &Config, desc: &PacketDesc, around: &Around) -> Decision {
    let luck = Luck(around.luck);
    let (iface, groups) = IFACES[around.iface];
    let mut draws = 0_u32;
    let mut facts = Facts::new(config, iface, groups);
    facts.received_on = around.received_on.map(|i| {
        let (name, groups) = IFACES[i];
        (name.to_owned(), groups.iter().map(|&g| g.to_owned()).collect())
    });
    facts.dynamic = Box::new(|name, mods: DynMods, _, addr| dynamic(name, mods.network, addr));
    facts.routable = Box::new(|addr, through| routable(around, addr, through));
    facts.route_label = Box::new(|addr, _| labelled(addr));
    facts.socket = around.socket;
    facts.os = Box::new(move |os| luck.os(os.fingerprint));
    facts.tag = around.tag.map(str::to_owned);
    facts.draw = Box::new(move |_| {
        draws += 1;
        Luck::drawn(luck.of(draws))
    });
    facts.over_rate = Box::new(move |at| luck.over_rate(at));
    facts.used = all_rules(config).into_iter().filter(|at| luck.used(at)).collect();
    facts.translate = Box::new(move |rule: &Rule, at: &RuleRef, seen: &mut Seen| {
        if rule.nat.is_some() {
            seen.src = flip(seen.src);
            seen.sport = if seen.sport == 0 { 0 } else { 80 };
        }
        if rule.rdr.is_some() {
            seen.dst = flip(seen.dst);
            seen.dport = if seen.dport == 0 { 0 } else { 443 };
        }
        luck.translates(at)
    });
    let v: Verdict = evaluate(config, &Seen::of(desc), &mut facts);
    let decided = v.failure.is_none();
    Decision {
        action: v.action,
        rule: v.rule.filter(|_| decided),
        anchor: v.anchor.filter(|_| decided),
        matches: v.matches,
        tag: v.tag.or_else(|| around.tag.map(str::to_owned)),
        log: v.log.into_iter().map(|l| (l.rule, l.because)).collect(),
        failure: v.failure,
        used: facts.used,
    }
}

/// Every rule of a configuration.
fn all_rules(config: &Config) -> Vec<RuleRef> {
    let all = pfc::lower::rulesets(config);
    let refs = |p: &pfc::lower::Placed<'_>| {
        (0..p.rules.rules.len()).map(|nr| RuleRef { ruleset: p.rules.path.clone(), nr }).collect::<Vec<_>>()
    };
    all.iter().flat_map(refs).collect()
}

/// The address next door.
fn flip(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(a) => IpAddr::V4((a.to_bits() ^ 1).into()),
        IpAddr::V6(a) => IpAddr::V6((a.to_bits() ^ 1).into()),
    }
}

/// The machine's surroundings.
struct World<'w> {
    ready: &'w Ready<'w>,
    tables: Facts<'w>,
    luck: Luck,
    draws: u32,
    used: BTreeSet<RuleRef>,
    log: Vec<(RuleRef, Option<RuleRef>)>,
}

impl World<'_> {
    fn program(&self) -> &Program {
        &self.ready.grove.units()[0]
    }

    fn tag_name(&self, live: u16) -> String {
        if let Some(known) = TAGS.get(usize::from(live).wrapping_sub(1)) {
            return (*known).to_owned();
        }
        let program = self.program();
        let other = live.checked_sub(OTHER_TAGS).and_then(|id| program.tag(TagId(id)));
        other.map_or_else(String::new, |t| program.text(*t).to_owned())
    }

    fn name(&self, site: Site) -> RuleRef {
        let program = self.program();
        let rule = program.rule(site.rule).expect("rules that match exist");
        let ruleset = program.ruleset(rule.ruleset).expect("rules stand in rulesets");
        let nr = usize::try_from(site.rule.0 - ruleset.rules.at).unwrap_or(usize::MAX);
        RuleRef { ruleset: program.text(ruleset.path).to_owned(), nr }
    }
}

impl Context for World<'_> {
    fn in_table(&mut self, _: UnitId, table: TableId, af: Af, addr: &Addr) -> bool {
        let program = self.program();
        let t = program.table(table).expect("tables exist");
        let addr = address(*addr, af);
        match t.kind {
            TableKind::Named => {
                let ruleset = program.ruleset(t.ruleset).expect("tables stand in rulesets");
                let (path, name) = (program.text(ruleset.path), program.text(t.name));
                eval::World::in_table(&self.tables, path, name, addr)
            }
            TableKind::Dynamic { mods, .. } => dynamic(program.text(t.name), mods.has(DynFlags::NETWORK), addr),
        }
    }

    fn is_iface(&mut self, _: UnitId, name: IfaceId, live: u16) -> bool {
        let program = self.program();
        let name = program.text(*program.iface(name).expect("interfaces have names"));
        let (iface, groups) = IFACES[usize::from(live)];
        name == iface || groups.contains(&name) || (name == "any" && !groups.contains(&"lo"))
    }

    fn tag(&mut self, _: UnitId, tag: TagId) -> u16 {
        let program = self.program();
        let name = program.text(*program.tag(tag).expect("tags have names"));
        TAGS.iter().position(|t| *t == name).and_then(|i| u16::try_from(i + 1).ok()).unwrap_or(OTHER_TAGS + tag.0)
    }

    fn random(&mut self) -> u32 {
        self.draws += 1;
        self.luck.of(self.draws)
    }

    fn under_rate(&mut self, rule: Site) -> bool {
        !self.luck.over_rate(&self.name(rule))
    }

    fn is_live(&mut self, rule: Site) -> bool {
        !self.used.contains(&self.name(rule))
    }

    fn use_up(&mut self, rule: Site) -> bool {
        let name = self.name(rule);
        self.used.insert(name)
    }

    fn log(&mut self, hit: Hit, because: Option<Site>) {
        let line = (self.name(hit.site), because.map(|b| self.name(b)));
        self.log.push(line);
    }
}

/// Decides by the machine, doing what an engine does when it is asked.
#[must_use]
pub fn machine(ready: &Ready<'_>, desc: &PacketDesc, around: &Around, body: Body, fuel: u32) -> Decision {
    let luck = Luck(around.luck);
    let mut desc = PacketDesc { uid: None, gid: None, ..*desc };
    let used = all_rules(ready.config).into_iter().filter(|at| luck.used(at)).collect();
    let tables = Facts::new(ready.config, "", &[]);
    let mut world = World { ready, tables, luck, draws: 0, used, log: Vec::new() };
    let mut machine = Machine::new().expect("room");
    machine.reset(body, fuel);
    let failure = loop {
        match run(&ready.grove, &desc, &mut machine, &mut world) {
            Step::Done => break None,
            Step::Drop(Stop::Hits) => break Some(Failure::Memory),
            Step::Drop(Stop::Depth) => break Some(Failure::Depth),
            Step::Drop(stop) => panic!("dropped: {stop:?}"),
            Step::Suspend(Question::Translate(hit)) => {
                let at = world.name(hit.site);
                translate(world.program(), hit, &mut desc);
                if !luck.translates(&at) {
                    break Some(Failure::Translate);
                }
            }
            Step::Suspend(Question::Route(test)) => {
                let (src, dst) = (address(desc.nsaddr, desc.af), address(desc.ndaddr, desc.af));
                machine.answer(!match test {
                    RouteTest::NoRouteSrc => routable(around, src, false),
                    RouteTest::NoRouteDst => routable(around, dst, false),
                    RouteTest::UrpfFailed => routable(around, src, true),
                });
            }
            Step::Suspend(Question::Label { side, .. }) => {
                let addr = if side == Side::Src { desc.nsaddr } else { desc.ndaddr };
                machine.answer(labelled(address(addr, desc.af)));
            }
            Step::Suspend(Question::Os(os)) => machine.answer(luck.os(os)),
            Step::Suspend(Question::Socket) => {
                desc.uid = Some(around.socket.0).filter(|u| *u != u32::MAX);
                desc.gid = Some(around.socket.1).filter(|g| *g != u32::MAX);
            }
        }
    };
    let noted = machine.noted().filter(|_| failure.is_none());
    if let Some(hit) = noted {
        let rule = world.program().rule(hit.site.rule).expect("noted rules exist");
        if rule.log != pfvm::rule::LogFlags::default() {
            world.log(hit, None);
        }
        machine.log_noted(&ready.grove, &mut world);
    }
    let action = |site: Site| world.program().rule(site.rule).map_or(Action::Block, |r| r.action);
    Decision {
        action: if failure.is_some() { Action::Block } else { noted.map_or(Action::Pass, |h| action(h.site)) },
        rule: noted.map(|h| world.name(h.site)),
        anchor: noted.and_then(|h| h.call).map(|s| world.name(s)),
        matches: machine.hits().iter().map(|h| world.name(h.site)).collect(),
        // Looking at the packet's own tag makes it the evaluation's.
        tag: machine.tag().filter(|t| *t != 0).map(|t| world.tag_name(t)).or_else(|| around.tag.map(str::to_owned)),
        log: world.log,
        failure,
        used: world.used,
    }
}

/// What the engine would do to the description.
fn translate(program: &Program, hit: Hit, desc: &mut PacketDesc) {
    let rule = program.rule(hit.site.rule).expect("rules that match exist");
    let next = |addr: Addr| octets(flip(address(addr, desc.af)));
    if rule.nat.is_some() {
        desc.nsaddr = next(desc.nsaddr);
        desc.nsport = if desc.nsport == 0 { 0 } else { 80 };
    }
    if rule.rdr.is_some() {
        desc.ndaddr = next(desc.ndaddr);
        desc.ndport = if desc.ndport == 0 { 0 } else { 443 };
    }
}

/// The first ruleset's number, for tests that ask for bounds.
#[must_use]
pub fn main_bound(ready: &Ready<'_>) -> u32 {
    let Some(Callee { ruleset, .. }) = ready.grove.find("") else { return 0 };
    ready.grove.units()[0].bound(ruleset).map_or(0, |b| b.code)
}

/// A rule's number in the program.
#[must_use]
pub fn rule_id(ready: &Ready<'_>, at: &RuleRef) -> Option<RuleId> {
    let placed = pfc::lower::rulesets(ready.config);
    let p = placed.iter().find(|p| p.rules.path == at.ruleset)?;
    u32::try_from(p.first + at.nr).ok().map(RuleId)
}
