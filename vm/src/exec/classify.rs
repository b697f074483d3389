//! The fat instructions: leaves of boxes, bit-set classifiers, the candidate and the stop.

use super::facts::{ABSENT, Facts, PENDING};
use super::machine::{Context, Hit, NONE, State};
use crate::image::{Box4, BoxAttr};
use crate::isa::{BitSetId, Field, LeafId, Side, Width};
use crate::rule::{IfaceId, LogFlags, RuleId, TableId};
use crate::verify::{AxisData, AxisOf, BitSetData, MAX_AXES, Program, QUICK, at, range};

/// Whether a packet is in a box.
#[inline]
fn inside(b: &Box4, f: &Facts) -> bool {
    let between = |v: u64, lo: u32, hi: u32| v >= u64::from(lo) && v <= u64::from(hi);
    let port = |v: u64, lo: u16, hi: u16| (lo == 0 && hi == u16::MAX) || between(v, lo.into(), hi.into());
    between(f.word(Field::Src4), b.src_lo, b.src_hi)
        && between(f.word(Field::Dst4), b.dst_lo, b.dst_hi)
        && between(f.word(Field::Proto), b.proto_lo.into(), b.proto_hi.into())
        && port(f.word(Field::Sport), b.sport_lo, b.sport_hi)
        && port(f.word(Field::Dport), b.dport_lo, b.dport_hi)
        && flags(b, f)
        && attributes(b, f)
}

/// TCP flags are asked of TCP packets only; a TCP fragment has none to show.
#[inline]
fn flags(b: &Box4, f: &Facts) -> bool {
    b.flags_mask == 0
        || f.word(Field::Proto) != u64::from(crate::packet::proto::TCP)
        || u8::try_from(f.word(Field::Flags)).is_ok_and(|v| v & b.flags_mask == b.flags_value)
}

#[inline]
fn attributes(b: &Box4, f: &Facts) -> bool {
    let [_, _, _, attr] = b.prio.to_le_bytes();
    attr == 0
        || (attr & BoxAttr::NO_ANSWER == 0 || f.word(Field::Answer) == 0)
            && (attr & BoxAttr::IN == 0 || f.word(Field::Dir) == 1)
            && (attr & BoxAttr::OUT == 0 || f.word(Field::Dir) == 2)
            && (attr & BoxAttr::FRAGMENT == 0 || f.word(Field::Fragment) == 1)
}

/// Rows of a classifier's axes for one packet.
struct Rows {
    at: [u32; MAX_AXES],
    len: usize,
}

impl Rows {
    /// A word of the intersection.
    #[inline]
    fn word(&self, bits: &[u64], word: u32) -> u64 {
        let rows = self.at.get(..self.len).unwrap_or_default();
        rows.iter().fold(u64::MAX, |all, row| all & at(bits, row.wrapping_add(word)).copied().unwrap_or(0))
    }
}

/// Places of the bits set in a word, from the lowest.
fn ones(mut word: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros())?;
        word &= word.wrapping_sub(1);
        Some(bit)
    })
}

/// What a step over a classifier came to.
pub(super) enum Pass {
    /// Done.
    On,
    /// A field must be looked up first.
    Pending,
    /// No room for another hit.
    Full,
}

impl State {
    /// Takes a priority if it is better.
    #[inline]
    pub(super) fn min(&mut self, prio: u32) {
        self.cand = self.cand.min(prio);
    }

    pub(super) fn leaf(&mut self, program: &Program, facts: &Facts, leaf: LeafId) {
        let Some(span) = at(&program.sections.leaves, leaf.0) else { return };
        for b in program.sections.boxes.get(range(*span)).unwrap_or_default() {
            let prio = b.prio & BoxAttr::PRIO;
            if prio >= self.cand {
                return;
            }
            if inside(b, facts) {
                self.cand = prio;
                return;
            }
        }
    }

    /// Finds the packet's row on every axis; `None` when a field is pending.
    fn rows<C: Context>(&self, program: &Program, facts: &Facts, set: &BitSetData, ctx: &mut C) -> Option<Rows> {
        let mut rows = Rows { at: [0; MAX_AXES], len: 0 };
        let axes = program.sections.axes.get(range(set.axes)).unwrap_or_default();
        for (slot, axis) in rows.at.iter_mut().zip(axes) {
            let row = self.row(program, facts, axis, ctx)?;
            let place = axis.rows.wrapping_add(u32::try_from(row).unwrap_or(u32::MAX));
            *slot = at(&program.sections.rows, place).copied().unwrap_or(u32::MAX);
            rows.len = rows.len.wrapping_add(1);
        }
        Some(rows)
    }

    fn row<C: Context>(&self, program: &Program, facts: &Facts, axis: &AxisData, ctx: &mut C) -> Option<usize> {
        let absent = usize::try_from(axis.len.wrapping_sub(1)).unwrap_or(usize::MAX);
        match axis.of {
            AxisOf::Field(field, search) => {
                let cuts = program.sections.cuts(program.sections.search(search));
                match field.width() {
                    Width::Wide => Some(facts.wide(field).map_or(absent, |v| cuts.interval(v))),
                    Width::Word => match facts.word(field) {
                        PENDING => None,
                        ABSENT => Some(absent),
                        v => Some(cuts.interval_of_word(u32::try_from(v).unwrap_or(u32::MAX))),
                    },
                }
            }
            AxisOf::Table { dst, table } => {
                let side = if dst { Side::Dst } else { Side::Src };
                Some(ctx.in_table(self.unit, TableId(table), facts.af, &facts.addr(side)).into())
            }
            AxisOf::On(name) => Some(ctx.is_iface(self.unit, IfaceId(name), facts.iface).into()),
            AxisOf::Recv(name) => {
                Some(facts.received_on.is_some_and(|live| ctx.is_iface(self.unit, IfaceId(name), live)).into())
            }
        }
    }

    pub(super) fn bitand<C: Context>(&mut self, program: &Program, facts: &Facts, id: BitSetId, ctx: &mut C) -> Pass {
        let Some(set) = at(&program.sections.bitsets, id.0) else { return Pass::On };
        let Some(rows) = self.rows(program, facts, set, ctx) else { return Pass::Pending };
        let list = program.sections.lists.get(range(set.list)).unwrap_or_default();
        for word in 0..set.words {
            let found = rows.word(&program.sections.bits, word);
            if found != 0 {
                let bit = word.wrapping_mul(64).wrapping_add(found.trailing_zeros());
                if let Some(prio) = at(list, bit) {
                    self.min(*prio);
                }
                break;
            }
        }
        Pass::On
    }

    pub(super) fn stop_at(&mut self, program: &Program) {
        let best = at(&program.sections.prios, self.cand).copied().unwrap_or(0);
        self.stop = if best & QUICK == 0 { NONE } else { best & !QUICK };
    }

    pub(super) fn collect<C: Context>(&mut self, program: &Program, facts: &Facts, id: BitSetId, ctx: &mut C) -> Pass {
        let Some(set) = at(&program.sections.bitsets, id.0) else { return Pass::On };
        let Some(rows) = self.rows(program, facts, set, ctx) else { return Pass::Pending };
        let list = program.sections.lists.get(range(set.list)).unwrap_or_default();
        for word in 0..set.words {
            for bit in ones(rows.word(&program.sections.bits, word)) {
                let Some(rule) = at(list, word.wrapping_mul(64).wrapping_add(bit)) else { continue };
                if *rule < self.stop && !self.take(program, RuleId(*rule), ctx) {
                    return Pass::Full;
                }
            }
        }
        Pass::On
    }

    /// Hits a rule and logs it.
    fn take<C: Context>(&mut self, program: &Program, rule: RuleId, ctx: &mut C) -> bool {
        let log = program.rule(rule).map_or(LogFlags::default(), |r| r.log);
        let hit = Hit { site: self.site(rule), call: self.call, matches: log.has(LogFlags::MATCHES) };
        self.hit(hit) && {
            self.log_hit(hit, log, ctx);
            true
        }
    }

    /// Logs a rule just hit, for itself and for earlier log(matches).
    pub(super) fn log_hit<C: Context>(&mut self, hit: Hit, log: LogFlags, ctx: &mut C) {
        self.logging |= hit.matches;
        if log != LogFlags::default() {
            ctx.log(hit, None);
        }
        self.report(hit, ctx);
    }

    pub(super) fn min_tag<C: Context>(&mut self, program: &Program, facts: &Facts, id: BitSetId, ctx: &mut C) -> Pass {
        let Some(set) = at(&program.sections.bitsets, id.0) else { return Pass::On };
        let Some(rows) = self.rows(program, facts, set, ctx) else { return Pass::Pending };
        let list = program.sections.lists.get(range(set.list)).unwrap_or_default();
        for word in (0..set.words).rev() {
            let mut found = rows.word(&program.sections.bits, word);
            while found != 0 {
                let bit = 63_u32.wrapping_sub(found.leading_zeros());
                found &= !1_u64.wrapping_shl(bit);
                let rule = at(list, word.wrapping_mul(64).wrapping_add(bit)).filter(|r| **r < self.stop);
                if let Some(tag) = rule.and_then(|r| program.rule(RuleId(*r))).and_then(|r| r.tag) {
                    self.tag = Some(ctx.tag(self.unit, tag));
                    return Pass::On;
                }
            }
        }
        Pass::On
    }

    /// Notes the candidate; whether it is quick.
    pub(super) fn commit<C: Context>(&mut self, program: &Program, ctx: &mut C) -> bool {
        let best = at(&program.sections.prios, self.cand).copied();
        (self.cand, self.stop) = (NONE, NONE);
        best.is_some_and(|best| {
            self.note(program, RuleId(best & !QUICK), ctx);
            best & QUICK != 0
        })
    }
}
