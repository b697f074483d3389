//! The loop: one instruction after the other within a ruleset, and the calls between rulesets.

use super::classify::Pass;
use super::facts::{ABSENT, Facts, PENDING};
use super::machine::{Callee, Context, Forest, Frame, Hit, Machine, NONE, Question, State, Step, Stop};
use crate::isa::{DispatchId, Field, Half, Ip4, Op, PairId, Prefix4, Quick, SetId, Side, Width};
use crate::packet::PacketDesc;
use crate::rule::{Af, AnchorId, LogFlags, RuleFlags, RuleId};
use crate::verify::{Body, Program, at, range};

/// Evaluates the rules for a packet, from the start or from where it was suspended, until something must be done.
///
/// Call [`Machine::reset`] before the first call for a packet. After a [`Step::Suspend`], act as the [`Question`] says
/// and call again with the description as it is then. Ends within the fuel, whatever the forest holds.
pub fn run<F: Forest, C: Context>(forest: &F, packet: &PacketDesc, machine: &mut Machine, ctx: &mut C) -> Step {
    let Machine { facts, state } = machine;
    facts.load(packet, state.asked);
    if !state.running {
        state.running = true;
        let Some(main) = forest.main() else { return Step::Done };
        if let Err(stop) = state.enter(forest, main) {
            return Step::Drop(stop);
        }
    }
    loop {
        let Some(program) = forest.program(state.unit) else { return Step::Drop(Stop::Fault) };
        let after = match state.ruleset(program, facts, ctx) {
            Turn::Call { quick, anchor, rule } => state.call(forest, program, quick, anchor, rule),
            Turn::Leave => state.leave(forest),
            Turn::End => return Step::Done,
            Turn::Ask(question) => return Step::Suspend(question),
            Turn::Stop(stop) => return Step::Drop(stop),
        };
        match after {
            Ok(After::On) => {}
            Ok(After::Done) => return Step::Done,
            Err(stop) => return Step::Drop(stop),
        }
    }
}

/// Why the loop left a ruleset's code.
enum Turn {
    Call { quick: Quick, anchor: AnchorId, rule: RuleId },
    Leave,
    End,
    Ask(Question),
    Stop(Stop),
}

/// What a call or return leads to.
enum After {
    On,
    Done,
}

impl State {
    /// Enters a ruleset at its first word and pays for it.
    fn enter<F: Forest>(&mut self, forest: &F, to: Callee) -> Result<(), Stop> {
        let program = forest.program(to.unit).ok_or(Stop::Fault)?;
        let ruleset = program.ruleset(to.ruleset).ok_or(Stop::Fault)?;
        let bounds = program.bound(to.ruleset).ok_or(Stop::Fault)?;
        let (start, bound) = match self.body_of(program) {
            Body::Code => (ruleset.code.at, bounds.code),
            Body::Straight => (ruleset.straight.at, bounds.straight),
        };
        self.fuel = self.fuel.checked_sub(bound.max(1)).ok_or(Stop::Fuel)?;
        (self.unit, self.pc) = (to.unit, start);
        (self.cand, self.stop) = (NONE, NONE);
        Ok(())
    }

    /// The body of a program that runs: its code where it has no straight code.
    fn body_of(&self, program: &Program) -> Body {
        if program.straight.is_empty() { Body::Code } else { self.body }
    }

    fn call<F: Forest>(
        &mut self,
        forest: &F,
        program: &Program,
        quick: Quick,
        anchor: AnchorId,
        rule: RuleId,
    ) -> Result<After, Stop> {
        let callees = forest.callees(self.unit, anchor);
        let wildcard = program.anchor(anchor).is_some_and(|a| a.wildcard);
        let Some(first) = callees.first() else {
            // An anchor that is not loaded still takes a frame; a wildcard without children takes none.
            return if wildcard || self.depth < self.frames.len() { Ok(After::On) } else { Err(Stop::Depth) };
        };
        let site = self.site(rule);
        let frame = Frame { site, call: self.call, anchor, quick: quick == Quick::Yes, next: 1, pc: self.pc };
        let slot = self.frames.get_mut(self.depth).ok_or(Stop::Depth)?;
        *slot = frame;
        self.depth = self.depth.wrapping_add(1);
        self.call = Some(site);
        self.enter(forest, *first)?;
        Ok(After::On)
    }

    /// Comes to the end of a ruleset: the next child of a wildcard, or back to the caller.
    fn leave<F: Forest>(&mut self, forest: &F) -> Result<After, Stop> {
        let Some(top) = self.depth.checked_sub(1) else { return Ok(After::Done) };
        let frame = self.frames.get_mut(top).ok_or(Stop::Fault)?;
        // A quick anchor stops where the rule that decides so far stands directly in it.
        if frame.quick && self.noted.is_some_and(|n| n.call == Some(frame.site)) {
            return Ok(After::Done);
        }
        if let Some(next) = at(forest.callees(frame.site.unit, frame.anchor), frame.next) {
            frame.next = frame.next.saturating_add(1);
            return self.enter(forest, *next).map(|()| After::On);
        }
        (self.unit, self.pc, self.call) = (frame.site.unit, frame.pc, frame.call);
        self.depth = top;
        (self.cand, self.stop) = (NONE, NONE);
        Ok(After::On)
    }

    /// Runs words until control leaves the ruleset.
    fn ruleset<C: Context>(&mut self, program: &Program, facts: &Facts, ctx: &mut C) -> Turn {
        let body = self.body_of(program);
        let ops = program.code(body);
        let mut pc = usize::try_from(self.pc).unwrap_or(usize::MAX);
        // Where the word at `pc` is, for a turn that comes back to it or goes on after it.
        macro_rules! turn {
            (at $turn:expr) => {{
                self.pc = u32::try_from(pc.wrapping_sub(1)).unwrap_or(u32::MAX);
                return $turn;
            }};
            (after $turn:expr) => {{
                self.pc = u32::try_from(pc).unwrap_or(u32::MAX);
                return $turn;
            }};
        }
        macro_rules! skip {
            ($skip:expr) => {
                pc = pc.wrapping_add(usize::from($skip.0))
            };
        }
        macro_rules! test {
            ($holds:expr, $skip:expr) => {
                if !$holds {
                    skip!($skip);
                }
            };
        }
        // A test of a field: when it fails because nobody has looked the field up, the engine must.
        macro_rules! field {
            ($field:expr, $skip:expr, |$v:ident| $holds:expr) => {{
                let $v = facts.word($field.0);
                if !$holds {
                    if $v == PENDING {
                        self.asked = true;
                        turn!(at Turn::Ask(Question::Socket));
                    }
                    skip!($skip);
                }
            }};
        }
        macro_rules! ask {
            ($question:expr, $want:expr, $skip:expr) => {
                match self.answer.take() {
                    None => turn!(at Turn::Ask($question)),
                    Some(yes) => test!(yes == $want, $skip),
                }
            };
        }
        macro_rules! pass {
            ($pass:expr) => {
                match $pass {
                    Pass::On => {}
                    Pass::Full => turn!(after Turn::Stop(Stop::Hits)),
                    Pass::Pending => {
                        self.asked = true;
                        turn!(at Turn::Ask(Question::Socket));
                    }
                }
            };
        }
        loop {
            let Some(op) = ops.get(pc) else { return Turn::Stop(Stop::Fault) };
            if C::TRACE {
                ctx.trace(self.unit, body, u32::try_from(pc).unwrap_or(u32::MAX));
            }
            pc = pc.wrapping_add(1);
            match *op {
                Op::Jmp { to } => pc = pc.wrapping_add(usize::try_from(to.0).unwrap_or(usize::MAX)),
                Op::Done {} => return Turn::Leave,
                Op::Stop {} => return Turn::End,
                Op::Call { quick, anchor, rule } => turn!(after Turn::Call { quick, anchor, rule }),
                Op::Eval { rule } => ctx.evaluated(self.site(rule)),
                Op::Note { rule } => self.note(program, rule, ctx),
                Op::End { rule } => {
                    self.note(program, rule, ctx);
                    return Turn::End;
                }
                Op::Hit { rule } => match self.hit_rule(program, rule, ctx) {
                    None => {}
                    Some(turn) => turn!(at turn),
                },
                Op::Tag { tag } => self.tag = Some(ctx.tag(self.unit, tag)),

                Op::Eq { field, value, skip } => field!(field, skip, |v| v == u64::from(value.0)),
                Op::Ne { field, value, skip } => field!(field, skip, |v| v != u64::from(value.0) && v < PENDING),
                Op::In { field, lo, hi, skip } => field!(field, skip, |v| between(v, lo, hi)),
                Op::Nin { field, lo, hi, skip } => field!(field, skip, |v| !between(v, lo, hi) && v < PENDING),
                Op::Mask { field, mask, value, skip } => {
                    field!(field, skip, |v| v & u64::from(mask.0) == u64::from(value.0) && v < PENDING);
                }
                Op::Among { field, set, skip } => field!(field, skip, |v| among(program, set, v)),
                Op::Namong { field, set, skip } => field!(field, skip, |v| !among(program, set, v) && v < PENDING),

                Op::Sub { prefix, net, skip } => test!(sub(facts, prefix, net) == Some(true), skip),
                Op::Nsub { prefix, net, skip } => test!(sub(facts, prefix, net) == Some(false), skip),
                Op::Net { side, pair, skip } => test!(net(program, facts, side, pair) == Some(true), skip),
                Op::Nnet { side, pair, skip } => test!(net(program, facts, side, pair) == Some(false), skip),
                Op::Span { side, pair, skip } => test!(span(program, facts, side, pair) == Some(true), skip),
                Op::Nspan { side, pair, skip } => test!(span(program, facts, side, pair) == Some(false), skip),
                Op::Lookup { side, table, skip } => {
                    test!(ctx.in_table(self.unit, table, facts.af, &facts.addr(side)), skip);
                }
                Op::Nlookup { side, table, skip } => {
                    test!(!ctx.in_table(self.unit, table, facts.af, &facts.addr(side)), skip);
                }
                Op::Route { test, skip } => ask!(Question::Route(test), true, skip),
                Op::Nroute { test, skip } => ask!(Question::Route(test), false, skip),
                Op::Label { side, label, skip } => {
                    ask!(Question::Label { side, unit: self.unit, label }, true, skip);
                }
                Op::Nlabel { side, label, skip } => {
                    ask!(Question::Label { side, unit: self.unit, label }, false, skip);
                }

                Op::On { iface, skip } => test!(ctx.is_iface(self.unit, iface, facts.iface), skip),
                Op::Non { iface, skip } => test!(!ctx.is_iface(self.unit, iface, facts.iface), skip),
                Op::Recv { iface, skip } => {
                    test!(facts.received_on.is_some_and(|live| ctx.is_iface(self.unit, iface, live)), skip);
                }
                Op::Nrecv { iface, skip } => {
                    test!(!facts.received_on.is_some_and(|live| ctx.is_iface(self.unit, iface, live)), skip);
                }
                // Looking at the packet's tag makes it the evaluation's own: a state made now carries it on.
                Op::Tagged { tag, skip } => {
                    test!(*self.tag.get_or_insert(facts.tag) == ctx.tag(self.unit, tag), skip);
                }
                Op::Ntagged { tag, skip } => {
                    test!(*self.tag.get_or_insert(facts.tag) != ctx.tag(self.unit, tag), skip);
                }
                Op::Os { os, skip } => {
                    if facts.word(Field::Flags) == ABSENT {
                        skip!(skip);
                    } else {
                        ask!(Question::Os(os.0), true, skip);
                    }
                }
                Op::Logging { skip } => test!(self.logging, skip),

                Op::Prob { share, skip } => test!(draw(ctx.random()) < share.0, skip),
                Op::Rate { rule, skip } => test!(ctx.under_rate(self.site(rule)), skip),
                Op::Live { rule, skip } => test!(ctx.is_live(self.site(rule)), skip),
                Op::Once { rule, skip } => test!(ctx.use_up(self.site(rule)), skip),

                Op::Dispatch { field, dispatch } => match target(program, facts, field, dispatch) {
                    Target::Absent => {}
                    Target::Pending => {
                        self.asked = true;
                        turn!(at Turn::Ask(Question::Socket));
                    }
                    Target::Skip(words) => pc = pc.wrapping_add(usize::try_from(words).unwrap_or(usize::MAX)),
                },
                Op::Leaf { leaf } => self.leaf(program, facts, leaf),
                Op::BitAnd { bits } => pass!(self.bitand(program, facts, bits, ctx)),
                Op::Min { prio } => self.min(prio.0),
                Op::Better { prio, skip } => test!(prio.0 < self.cand, skip),
                Op::StopAt {} => self.stop_at(program),
                Op::Collect { bits } => pass!(self.collect(program, facts, bits, ctx)),
                Op::MinTag { bits } => pass!(self.min_tag(program, facts, bits, ctx)),
                Op::Commit {} => {
                    if self.commit(program, ctx) {
                        return Turn::End;
                    }
                }
            }
        }
    }

    /// A `match` rule: into the list, translated, logged. Something is returned when it cannot go on.
    fn hit_rule<C: Context>(&mut self, program: &Program, rule: RuleId, ctx: &mut C) -> Option<Turn> {
        let Some(record) = program.rule(rule) else { return Some(Turn::Stop(Stop::Fault)) };
        let hit = Hit { site: self.site(rule), call: self.call, matches: record.log.has(LogFlags::MATCHES) };
        if !self.halfway {
            if !self.hit(hit) {
                return Some(Turn::Stop(Stop::Hits));
            }
            if record.nat.is_some() || record.rdr.is_some() || record.flags.has(RuleFlags::AF_TO) {
                self.halfway = true;
                return Some(Turn::Ask(Question::Translate(hit)));
            }
        }
        self.halfway = false;
        self.log_hit(hit, record.log, ctx);
        None
    }
}

#[inline]
fn between(v: u64, lo: Half, hi: Half) -> bool {
    v >= u64::from(lo.0) && v <= u64::from(hi.0)
}

fn among(program: &Program, set: SetId, v: u64) -> bool {
    let Some(span) = at(&program.sections.sets, set.0) else { return false };
    let intervals = program.sections.intervals.get(range(*span)).unwrap_or_default();
    let after = intervals.partition_point(|i| u64::from(i.lo) <= v);
    after.checked_sub(1).and_then(|i| intervals.get(i)).is_some_and(|i| v <= u64::from(i.hi))
}

#[inline]
fn sub(facts: &Facts, prefix: Prefix4, net: Ip4) -> Option<bool> {
    facts.prefix(prefix, net.0)
}

/// The pair and the address it is compared with, if they are of one family.
#[inline]
fn pair<'p>(program: &'p Program, facts: &Facts, side: Side, pair: PairId) -> Option<(u128, &'p crate::image::Pair)> {
    let pair = at(&program.sections.pairs, pair.0)?;
    let af = if facts.af == Af::Inet { 4 } else { 6 };
    (pair.af == af).then(|| (facts.number(side), pair))
}

fn net(program: &Program, facts: &Facts, side: Side, id: PairId) -> Option<bool> {
    pair(program, facts, side, id).map(|(addr, p)| addr & p.b == p.a & p.b)
}

fn span(program: &Program, facts: &Facts, side: Side, id: PairId) -> Option<bool> {
    pair(program, facts, side, id).map(|(addr, p)| p.a <= addr && addr <= p.b)
}

/// A number from 1 to 4294967294, evenly but for one part in four thousand million.
fn draw(random: u32) -> u32 {
    let wide = u64::from(random).wrapping_mul(u64::from(u32::MAX.wrapping_sub(1)));
    u32::try_from(wide >> 32).unwrap_or(0).wrapping_add(1)
}

/// Where a dispatch goes.
enum Target {
    Absent,
    Pending,
    Skip(u32),
}

fn target(program: &Program, facts: &Facts, field: Field, id: DispatchId) -> Target {
    let Some(d) = at(&program.sections.dispatches, id.0) else { return Target::Absent };
    let cuts = program.sections.cuts(d.search);
    let interval = match field.width() {
        Width::Wide => match facts.wide(field) {
            None => return Target::Absent,
            Some(v) => cuts.interval(v),
        },
        Width::Word => match facts.word(field) {
            ABSENT => return Target::Absent,
            PENDING => return Target::Pending,
            v => cuts.interval_of_word(u32::try_from(v).unwrap_or(u32::MAX)),
        },
    };
    let targets = program.sections.targets.get(range(d.targets())).unwrap_or_default();
    targets.get(interval).map_or(Target::Absent, |words| Target::Skip(*words))
}
