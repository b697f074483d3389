//! The machine's state for one packet, and what it asks of its surroundings.

use alloc::vec::Vec;

use super::facts::Facts;
use crate::isa::{LabelId, RouteTest, Side};
use crate::rule::{Addr, Af, AnchorId, IfaceId, LogFlags, RuleId, RulesetId, TableId, TagId};
use crate::state::pool::{OutOfMemory, filled};
use crate::verify::{Body, Program};

/// Most `match` rules one packet may hit; one more drops it.
pub const MAX_HITS: usize = 64;
/// Most anchor calls open at once (`PF_ANCHOR_STACK_MAX` less the bottom frame); one more drops the packet.
pub const MAX_DEPTH: usize = 63;
/// Steps a packet may spend over all rulesets it enters, unless the host says otherwise.
pub const DEFAULT_FUEL: u32 = 64 * crate::verify::DRIVER_BUDGET;

/// One loaded program among those of a [`Forest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u16);

/// A rule of one of the loaded programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    /// Which program.
    pub unit: UnitId,
    /// Which rule.
    pub rule: RuleId,
}

/// A rule that matched, and the anchor rule it was reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hit {
    /// The rule.
    pub site: Site,
    /// The innermost anchor rule whose call led to it.
    pub call: Option<Site>,
    /// Whether it is a `match` rule that says log(matches); of a deciding rule its record tells.
    pub matches: bool,
}

/// A ruleset of one of the loaded programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Callee {
    /// Which program.
    pub unit: UnitId,
    /// Which ruleset.
    pub ruleset: RulesetId,
}

/// The loaded programs, and what their anchor calls are bound to.
pub trait Forest {
    /// A program.
    fn program(&self, unit: UnitId) -> Option<&Program>;
    /// The main ruleset; `None` when nothing is loaded.
    fn main(&self) -> Option<Callee>;
    /// Rulesets an anchor call runs, in order: one at most, or, of a wildcard, the children by their names.
    fn callees(&self, unit: UnitId, anchor: AnchorId) -> &[Callee];
}

/// What the machine asks while it runs. No answer may depend on how often it is asked, but for those that say so.
pub trait Context {
    /// Whether [`Context::trace`] is called.
    const TRACE: bool = false;

    /// Whether a table holds an address.
    fn in_table(&mut self, unit: UnitId, table: TableId, af: Af, addr: &Addr) -> bool;
    /// Whether a live interface is the named one or in the named group.
    fn is_iface(&mut self, unit: UnitId, name: IfaceId, live: u16) -> bool;
    /// The live number of a tag.
    fn tag(&mut self, unit: UnitId, tag: TagId) -> u16;
    /// 32 random bits, new ones each time.
    fn random(&mut self) -> u32;
    /// Counts the packet against a rule's `max-pkt-rate`; whether the rule is not over it.
    fn under_rate(&mut self, rule: Site) -> bool;
    /// Whether a `once` rule is not used up.
    fn is_live(&mut self, rule: Site) -> bool;
    /// Uses up a `once` rule; false when another packet was faster.
    fn use_up(&mut self, rule: Site) -> bool;
    /// A rule was evaluated.
    fn evaluated(&mut self, _rule: Site) {}
    /// A rule that matched is to be logged: for itself, or because of the log(matches) of an earlier one.
    fn log(&mut self, _hit: Hit, _because: Option<Site>) {}
    /// An instruction is about to run.
    fn trace(&mut self, _unit: UnitId, _body: Body, _pc: u32) {}
}

/// Nothing but rules: no tables, interfaces or tags, and chance is always 0. Rules are live and under their rates.
impl Context for () {
    fn in_table(&mut self, _: UnitId, _: TableId, _: Af, _: &Addr) -> bool {
        false
    }
    fn is_iface(&mut self, _: UnitId, _: IfaceId, _: u16) -> bool {
        false
    }
    fn tag(&mut self, _: UnitId, _: TagId) -> u16 {
        0
    }
    fn random(&mut self) -> u32 {
        0
    }
    fn under_rate(&mut self, _: Site) -> bool {
        true
    }
    fn is_live(&mut self, _: Site) -> bool {
        true
    }
    fn use_up(&mut self, _: Site) -> bool {
        true
    }
}

/// What the engine must do before evaluation can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Translate the packet as this `match` rule says; evaluation goes on with the description as it is then.
    Translate(Hit),
    /// Ask the routing table; answer with [`Machine::answer`].
    Route(RouteTest),
    /// Ask whether the route to an address carries a label; answer with [`Machine::answer`].
    Label {
        /// Which address.
        side: Side,
        /// Whose label.
        unit: UnitId,
        /// Which label.
        label: LabelId,
    },
    /// Ask whether the SYN is one of this system's; answer with [`Machine::answer`].
    Os(u32),
    /// Look up the local socket: fill in user and group of the description.
    Socket,
}

/// Why evaluation drops the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// More than [`MAX_HITS`] `match` rules.
    Hits,
    /// More than [`MAX_DEPTH`] anchors deep.
    Depth,
    /// The fuel is used up.
    Fuel,
    /// The forest names what is not there: a fault of the host's.
    Fault,
}

/// Where evaluation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// At its end: [`Machine::noted`] decides, nothing noted means pass.
    Done,
    /// Waiting: see [`Question`].
    Suspend(Question),
    /// The packet is to be dropped.
    Drop(Stop),
}

/// An anchor call that has not come back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// The anchor rule.
    pub(super) site: Site,
    /// The anchor rule whose call led to it.
    pub(super) call: Option<Site>,
    pub(super) anchor: AnchorId,
    pub(super) quick: bool,
    /// Which callee comes next.
    pub(super) next: u32,
    /// Where to go on afterwards.
    pub(super) pc: u32,
}

const NO_SITE: Site = Site { unit: UnitId(0), rule: RuleId(0) };
const NO_HIT: Hit = Hit { site: NO_SITE, call: None, matches: false };
const NO_FRAME: Frame = Frame { site: NO_SITE, call: None, anchor: AnchorId(0), quick: false, next: 0, pc: 0 };
/// No candidate; no stop.
pub(super) const NONE: u32 = u32::MAX;

/// The machine: state of one evaluation. Make one for each processor and use it again for each packet.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) facts: Facts,
    pub(super) state: State,
}

fn places(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// What instructions change.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) unit: UnitId,
    pub(super) body: Body,
    pub(super) pc: u32,
    pub(super) call: Option<Site>,
    pub(super) noted: Option<Hit>,
    pub(super) tag: Option<u16>,
    /// Best priority so far, or [`NONE`].
    pub(super) cand: u32,
    /// Rules from this one on are not collected, or [`NONE`].
    pub(super) stop: u32,
    pub(super) logging: bool,
    /// The hit at `pc` is in the list, its translation was asked for.
    pub(super) halfway: bool,
    pub(super) answer: Option<bool>,
    /// The socket was asked for.
    pub(super) asked: bool,
    pub(super) running: bool,
    pub(super) fuel: u32,
    pub(super) depth: usize,
    pub(super) hits_len: usize,
    /// [`MAX_HITS`] places.
    pub(super) hits: Vec<Hit>,
    /// [`MAX_DEPTH`] places.
    pub(super) frames: Vec<Frame>,
}

impl Machine {
    /// A machine that has evaluated nothing. Its lists lie in memory of their own: it is moved cheaply.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new() -> Result<Self, OutOfMemory> {
        let state = State {
            unit: UnitId(0),
            body: Body::Code,
            pc: 0,
            call: None,
            noted: None,
            tag: None,
            cand: NONE,
            stop: NONE,
            logging: false,
            halfway: false,
            answer: None,
            asked: false,
            running: false,
            fuel: 0,
            depth: 0,
            hits_len: 0,
            hits: filled("match rules of a packet", places(MAX_HITS), NO_HIT)?,
            frames: filled("anchors of a packet", places(MAX_DEPTH), NO_FRAME)?,
        };
        Ok(Self { facts: Facts::NONE, state })
    }

    /// Makes ready for the next packet, with so many steps to spend.
    pub fn reset(&mut self, body: Body, fuel: u32) {
        let s = &mut self.state;
        (s.body, s.fuel, s.running) = (body, fuel, false);
        (s.call, s.noted, s.tag, s.answer) = (None, None, None, None);
        (s.cand, s.stop) = (NONE, NONE);
        (s.logging, s.halfway, s.asked) = (false, false, false);
        (s.depth, s.hits_len) = (0, 0);
    }

    /// Answers a [`Question`] that wants yes or no.
    pub const fn answer(&mut self, yes: bool) {
        self.state.answer = Some(yes);
    }

    /// The last match, if there was one.
    #[must_use]
    pub const fn noted(&self) -> Option<Hit> {
        self.state.noted
    }

    /// The rule of the last match, and the anchor rule it was reached by.
    #[must_use]
    #[inline]
    pub fn decided(&self) -> (Option<Site>, Option<Site>) {
        let noted = self.state.noted.as_ref();
        (noted.map(|h| h.site), noted.and_then(|h| h.call))
    }

    /// The `match` rules hit, in order.
    #[must_use]
    pub fn hits(&self) -> &[Hit] {
        self.state.hits.get(..self.state.hits_len).unwrap_or_default()
    }

    /// The tag rules have set; `None` when none did.
    #[must_use]
    pub const fn tag(&self) -> Option<u16> {
        self.state.tag
    }

    /// Whether a rule with log(matches) was hit.
    #[must_use]
    pub const fn logging(&self) -> bool {
        self.state.logging
    }

    /// Steps left.
    #[must_use]
    pub const fn fuel(&self) -> u32 {
        self.state.fuel
    }

    /// Reports the deciding rule to every log(matches) rule hit, the last one first (`pf_log_matches`).
    ///
    /// The rule may have been noted before any of them was hit: it is looked at again.
    pub fn log_noted<F: Forest, C: Context>(&self, forest: &F, ctx: &mut C) {
        if let Some(hit) = self.state.noted
            && let Some(program) = forest.program(hit.site.unit)
        {
            self.state.report_decision(program, hit, ctx);
        }
    }
}

impl State {
    /// A rule of the program that runs.
    pub(super) const fn site(&self, rule: RuleId) -> Site {
        Site { unit: self.unit, rule }
    }

    /// Notes the last match.
    pub(super) fn note<C: Context>(&mut self, program: &Program, rule: RuleId, ctx: &mut C) {
        let hit = Hit { site: self.site(rule), call: self.call, matches: false };
        self.noted = Some(hit);
        self.report_decision(program, hit, ctx);
    }

    /// Adds a `match` rule to the hits; false when there is no room.
    pub(super) fn hit(&mut self, hit: Hit) -> bool {
        let Some(slot) = self.hits.get_mut(self.hits_len) else { return false };
        *slot = hit;
        self.hits_len = self.hits_len.wrapping_add(1);
        true
    }

    /// Logs a deciding rule for every log(matches) rule hit; not one that says log(matches) itself.
    fn report_decision<C: Context>(&self, program: &Program, hit: Hit, ctx: &mut C) {
        if self.logging {
            let matches = program.rule(hit.site.rule).is_some_and(|r| r.log.has(LogFlags::MATCHES));
            self.report(Hit { matches, ..hit }, ctx);
        }
    }

    /// Logs a rule for every log(matches) rule hit before it.
    pub(super) fn report<C: Context>(&self, hit: Hit, ctx: &mut C) {
        if hit.matches || !self.logging {
            return;
        }
        for earlier in self.hits.get(..self.hits_len).unwrap_or_default().iter().rev() {
            if earlier.matches {
                ctx.log(hit, Some(earlier.site));
            }
        }
    }
}
