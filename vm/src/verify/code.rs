//! The words: decoded, held to their rules, and their longest path added up.

extern crate alloc;

use super::collect;
use super::reject::{At, Body, Reject};
use super::sections::{Sections, at, range, wide};
use crate::image::{Image, Run, Section, Span};
use crate::isa::{BitSetId, Env, Flow, Op};
use crate::rule::{Rule, RuleId};
use alloc::vec::Vec;

/// What both bodies of code are verified against.
pub(super) struct Verifier<'v> {
    pub(super) sections: &'v Sections,
    pub(super) rules: &'v [Rule],
    env: Env,
    /// Dispatch tables used so far, of both bodies.
    turn: u32,
}

/// The part of a ruleset being looked at.
#[derive(Clone, Copy)]
struct Part {
    body: Body,
    code: Run,
    rules: Run,
}

impl<'v> Verifier<'v> {
    pub(super) fn new(image: &Image<'_>, sections: &'v Sections, rules: &'v [Rule]) -> Self {
        let env = Env {
            pc: 0,
            end: 0,
            rules: image.count(Section::Rules),
            tables: image.count(Section::Tables),
            ifaces: image.count(Section::Ifaces),
            tags: image.count(Section::Tags),
            anchors: image.count(Section::Anchors),
            pairs: image.count(Section::Pairs),
            sets: image.count(Section::Sets),
            dispatches: image.count(Section::Dispatches),
            leaves: image.count(Section::Leaves),
            bitsets: image.count(Section::BitSets),
            prios: image.count(Section::Prios),
            labels: image.count(Section::Labels),
        };
        Self { sections, rules, env, turn: 0 }
    }

    /// Decodes one body of code.
    pub(super) fn decode(body: Body, count: u32, words: impl Iterator<Item = u64>) -> Result<Vec<Op>, Reject> {
        let mut bad = None;
        let ops = (0..=u32::MAX).zip(words).map_while(|(pc, word)| match Op::decode(word) {
            Ok(op) => Some(op),
            Err(why) => {
                bad = Some(Reject::Word { at: At { body, pc }, why });
                None
            }
        });
        let ops = collect(count, ops)?;
        bad.map_or(Ok(ops), Err)
    }

    /// Verifies the code of one ruleset; its bound. `longest` is scratch, a step count for each word of the body.
    pub(super) fn ruleset(
        &mut self,
        body: Body,
        ops: &[Op],
        code: Run,
        rules: Run,
        longest: &mut [u32],
    ) -> Result<u32, Reject> {
        let span = range(Span { at: code.at, len: code.len });
        let part = Part { body, code, rules };
        let ops = ops.get(span.clone()).unwrap_or_default();
        for (pc, op) in (code.at..=u32::MAX).zip(ops) {
            self.word(part, pc, *op)?;
        }
        Ok(self.bound(ops, longest.get_mut(span).unwrap_or_default()))
    }

    fn word(&mut self, part: Part, pc: u32, op: Op) -> Result<(), Reject> {
        let at = At { body: part.body, pc };
        let end = u32::try_from(part.code.end()).unwrap_or(u32::MAX);
        let env = Env { pc, end, ..self.env };
        op.check(&env).map_err(|why| Reject::Operand { at, why })?;
        let last = u64::from(pc).saturating_add(1) == part.code.end();
        if last && !matches!(op.flow(), Flow::End | Flow::Jump) {
            return Err(Reject::FallsOff { at });
        }
        self.meaning(part, at, op)
    }

    /// The rules that go beyond one operand.
    fn meaning(&mut self, part: Part, at: At, op: Op) -> Result<(), Reject> {
        match op {
            Op::Note { rule }
            | Op::End { rule }
            | Op::Hit { rule }
            | Op::Eval { rule }
            | Op::Rate { rule, .. }
            | Op::Live { rule, .. }
            | Op::Once { rule, .. } => own(part, at, rule),
            Op::Call { anchor, rule, .. } => {
                own(part, at, rule)?;
                let called = super::sections::at(self.rules, rule.0).and_then(|r| r.anchor);
                if called == Some(anchor) { Ok(()) } else { Err(Reject::Call { at, rule, anchor }) }
            }
            Op::Dispatch { field, dispatch } => self.dispatch(part, at, wide(field), dispatch.0),
            Op::BitAnd { bits } => self.list(at, bits, self.env.prios),
            Op::Collect { bits } | Op::MinTag { bits } => {
                self.list(at, bits, self.env.rules)?;
                let set = super::sections::at(&self.sections.bitsets, bits.0);
                set.map_or(Ok(()), |s| own(part, at, RuleId(s.least)).and_then(|()| own(part, at, RuleId(s.most))))
            }
            _ => Ok(()),
        }
    }

    fn dispatch(&mut self, part: Part, at_word: At, wide: bool, dispatch: u32) -> Result<(), Reject> {
        if dispatch != self.turn {
            return Err(Reject::DispatchTurn { at: at_word, found: dispatch, wanted: self.turn });
        }
        self.turn = self.turn.saturating_add(1);
        let Some(d) = at(&self.sections.dispatches, dispatch) else { return Ok(()) };
        if wide != (d.search.width == 128) {
            return Err(Reject::DispatchWidth { at: at_word });
        }
        let next = u64::from(at_word.pc).saturating_add(1);
        for (interval, distance) in
            (0..=u32::MAX).zip(self.sections.targets.get(range(d.targets())).unwrap_or_default())
        {
            let to = next.saturating_add(u64::from(*distance));
            if to >= part.code.end() {
                let end = u32::try_from(part.code.end()).unwrap_or(u32::MAX);
                return Err(Reject::DispatchTarget { at: at_word, interval, to, end });
            }
        }
        Ok(())
    }

    /// Everything in the list of a classifier is below a count.
    fn list(&self, at_word: At, bits: BitSetId, count: u32) -> Result<(), Reject> {
        let most = at(&self.sections.bitsets, bits.0).map_or(0, |b| b.most);
        if most < count { Ok(()) } else { Err(Reject::List { at: at_word, bitset: bits.0, most, count }) }
    }

    /// The largest sum of weights on any path from the first word, by one pass backward.
    fn bound(&self, ops: &[Op], longest: &mut [u32]) -> u32 {
        let len = ops.len().min(longest.len());
        for i in (0..len).rev() {
            let Some(op) = ops.get(i) else { continue };
            let next = i.saturating_add(1);
            let ahead = |distance: u32| {
                let to = usize::try_from(distance).ok().and_then(|d| next.checked_add(d));
                to.and_then(|t| longest.get(t)).copied().unwrap_or(0)
            };
            let on = match op.flow() {
                Flow::Next => ahead(0),
                Flow::Test => ahead(0).max(op.distance().map_or(0, ahead)),
                Flow::Jump => op.distance().map_or(0, ahead),
                Flow::Fan => self.fan(*op).iter().map(|d| ahead(*d)).fold(ahead(0), u32::max),
                Flow::End => 0,
            };
            let total = op.cost(self.sections).saturating_add(on);
            if let Some(slot) = longest.get_mut(i) {
                *slot = total;
            }
        }
        longest.first().copied().unwrap_or(0)
    }

    /// Distances a dispatch may go.
    fn fan(&self, op: Op) -> &[u32] {
        op.fan()
            .and_then(|d| at(&self.sections.dispatches, d.0))
            .and_then(|d| self.sections.targets.get(range(d.targets())))
            .unwrap_or_default()
    }
}

/// A rule is one of the ruleset's own.
const fn own(part: Part, at: At, rule: RuleId) -> Result<(), Reject> {
    if rule.0 >= part.rules.at && (rule.0 as u64) < part.rules.end() {
        Ok(())
    } else {
        Err(Reject::Foreign { at, rule })
    }
}
