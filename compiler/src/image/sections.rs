//! Code, constants and table contents as the image's sections hold them.

use super::{BuildError, DynFlags, Entry, Ruleset, Run, TableFlags, Writer};
use crate::lower::{self, Words, narrow};
use crate::ruleset::{DynMods, Table, TableEntry};
use pfvm::image::{Dispatch, Interval, Pair, Search, Span};
use pfvm::isa::{Field, Op, Width};
use pfvm::rule::Af;
use std::net::IpAddr;

impl Writer {
    /// The code of all rulesets, and their records.
    pub(super) fn code(&mut self, program: &lower::Program, placed: &[lower::Placed<'_>]) -> Result<(), BuildError> {
        for (lowered, place) in program.rulesets.iter().zip(placed) {
            let code = append(&mut self.parts.code, &lowered.code)?;
            let straight = append(&mut self.parts.straight, &lowered.straight)?;
            for d in &lowered.code.dispatches {
                self.dispatch(d)?;
            }
            let path = self.parts.strings.add(&place.rules.path);
            let rules = Run { at: narrow("rules", place.first)?, len: narrow("rules", place.rules.rules.len())? };
            self.parts.rulesets.push(Ruleset { path, code, straight, rules });
        }
        let quick = |q: bool| if q { 1 << 31 } else { 0 };
        self.parts.prios.extend(program.prios.iter().map(|(rule, q)| rule.0 | quick(*q)));
        Ok(())
    }

    /// A dispatch table: its cuts in the narrowest section that holds them.
    fn dispatch(&mut self, d: &lower::Dispatch) -> Result<(), BuildError> {
        let p = &mut self.parts;
        let cuts = d.starts.get(1..).unwrap_or_default();
        let len = narrow("cuts", cuts.len())?;
        let max = cuts.last().copied().unwrap_or(0);
        let (width, at) = if d.field.width() == Width::Wide {
            let at = p.cuts128.len();
            p.cuts128.extend_from_slice(cuts);
            (128, at)
        } else if max <= u128::from(u16::MAX) && !matches!(d.field, Field::Src4 | Field::Dst4) {
            let at = p.cuts16.len();
            p.cuts16.extend(cuts.iter().filter_map(|c| u16::try_from(*c).ok()));
            (16, at)
        } else {
            let at = p.cuts32.len();
            p.cuts32.extend(cuts.iter().filter_map(|c| u32::try_from(*c).ok()));
            (32, at)
        };
        let search = narrow("searches", p.searches.len())?;
        p.searches.push(Search { width, at: narrow("cuts", at)?, len });
        let targets = narrow("targets", p.targets.len())?;
        p.targets.extend_from_slice(&d.targets);
        p.dispatches.push(Dispatch { search, targets });
        Ok(())
    }

    /// Address pairs and sets of intervals.
    pub(super) fn constants(&mut self) {
        let p = &mut self.parts;
        let number = |af: Af| if af == Af::Inet { 4 } else { 6 };
        p.pairs.extend(self.names.pairs.values().iter().map(|x| Pair { af: number(x.af), a: x.a, b: x.b }));
        for set in self.names.sets.values() {
            let at = u32::try_from(p.intervals.len()).unwrap_or(u32::MAX);
            p.intervals.extend(set.iter().map(|&(lo, hi)| Interval { lo, hi }));
            p.sets.push(Span { at, len: u32::try_from(set.len()).unwrap_or(u32::MAX) });
        }
    }
}

/// Appends words to a section of code.
fn append(section: &mut Vec<Op>, words: &Words) -> Result<Run, BuildError> {
    let at = narrow("words of code", section.len())?;
    section.extend(words.words.iter().filter_map(|w| Op::decode(*w).ok()));
    Ok(Run { at, len: narrow("words of code", words.words.len())? })
}

/// An entry of a table, its host bits cleared.
#[must_use]
pub fn entry(e: &TableEntry) -> Entry {
    let (lo, _) = lower::tests::net_ends(e.addr, e.prefix);
    let mut addr = [0; 16];
    let family = match e.addr {
        IpAddr::V4(_) => {
            let [.., a, b, c, d] = lo.to_be_bytes();
            if let Some(head) = addr.first_chunk_mut() {
                *head = [a, b, c, d];
            }
            0
        }
        IpAddr::V6(_) => {
            addr = lo.to_be_bytes();
            Entry::INET6
        }
    };
    Entry { addr, prefix: e.prefix, flags: family | if e.not { Entry::NOT } else { 0 }, weight: e.weight }
}

/// Flags of a table that is defined here.
pub(super) fn table_flags(t: &Table) -> TableFlags {
    let all = [
        (t.persist, TableFlags::PERSIST),
        (t.constant, TableFlags::CONST),
        (t.counters, TableFlags::COUNTERS),
        (t.init, TableFlags::INIT),
        (t.automatic, TableFlags::AUTOMATIC),
    ];
    all.into_iter().filter(|(on, _)| *on).fold(TableFlags::DEFINED, |set, (_, flag)| set.with(flag))
}

/// Modifiers of a dynamic interface.
pub(super) fn dyn_flags(m: DynMods) -> DynFlags {
    let all = [
        (m.network, DynFlags::NETWORK),
        (m.broadcast, DynFlags::BROADCAST),
        (m.peer, DynFlags::PEER),
        (m.noalias, DynFlags::NOALIAS),
    ];
    all.into_iter().filter(|(on, _)| *on).fold(DynFlags::default(), |set, (_, flag)| set.with(flag))
}
