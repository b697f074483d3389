//! A verified program: what packets are decided by, and what the engine reads of its rules.

extern crate alloc;

use super::code::Verifier;
use super::collect;
use super::reject::{Body, Reject};
use super::sections::{Sections, at};
use crate::image::{self, Anchor, Entry, Image, Print, Queue, Ruleset, Run, Section, Table};
use crate::isa::Op;
use crate::rule::{AnchorId, IfaceId, Options, Pool, PoolId, Rule, RuleId, RulesetId, StrRef, TableId, TagId};
use alloc::vec::Vec;

/// How many steps a ruleset may take at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// By its code.
    pub code: u32,
    /// By its straight code.
    pub straight: u32,
}

/// A verified program.
#[derive(Debug)]
pub struct Program {
    pub(crate) code: Vec<Op>,
    pub(crate) straight: Vec<Op>,
    pub(crate) sections: Sections,
    rulesets: Vec<Ruleset>,
    bounds: Vec<Bounds>,
    rules: Vec<Rule>,
    pools: Vec<Pool>,
    tables: Vec<Table>,
    entries: Vec<Entry>,
    anchors: Vec<Anchor>,
    ifaces: Vec<StrRef>,
    skips: Vec<IfaceId>,
    tags: Vec<StrRef>,
    queues: Vec<Queue>,
    labels: Vec<StrRef>,
    prints: Vec<Print>,
    strings: Vec<u8>,
    options: Option<Options>,
    digest: [u8; 32],
}

/// Declares the readers of one-record and whole-section views.
macro_rules! readers {
    ($($(#[$doc:meta])* $all:ident: $t:ty $(, $(#[$odoc:meta])* $one:ident($id:ty))?;)*) => {
        impl Program { $(
            $(#[$doc])* #[must_use] pub fn $all(&self) -> &[$t] { &self.$all }
            $($(#[$odoc])* #[must_use] pub fn $one(&self, id: $id) -> Option<&$t> { at(&self.$all, id.0.into()) })?
        )* }
    };
}
readers! {
    /// Rulesets: the first is the one that was compiled.
    rulesets: Ruleset, /** A ruleset. */ ruleset(RulesetId);
    /// Bounds, a pair for each ruleset.
    bounds: Bounds, /** Bounds of a ruleset. */ bound(RulesetId);
    /// Rules.
    rules: Rule, /** What a rule does. */ rule(RuleId);
    /// Pools.
    pools: Pool, /** A pool. */ pool(PoolId);
    /// Tables.
    tables: Table, /** A table. */ table(TableId);
    /// Initial contents of tables.
    entries: Entry;
    /// Targets of anchor calls.
    anchors: Anchor, /** The target of an anchor call. */ anchor(AnchorId);
    /// Names of interfaces and groups.
    ifaces: StrRef, /** Name of an interface or group. */ iface(IfaceId);
    /// Interfaces `set skip` names.
    skips: IfaceId;
    /// Names of tags.
    tags: StrRef, /** Name of a tag. */ tag(TagId);
    /// Queues.
    queues: Queue;
    /// Route labels.
    labels: StrRef;
    /// Operating-system fingerprints.
    prints: Print;
}

impl Program {
    /// Verifies an image: no run of one of its rulesets may cost more than `budget` steps.
    ///
    /// # Errors
    /// The first reason to refuse it.
    #[inline(never)]
    pub fn verify(image: &Image<'_>, budget: u32) -> Result<Self, Reject> {
        let rules = collect(image.count(Section::Rules), image.rules())?;
        let rulesets = collect(image.count(Section::Rulesets), image.rulesets())?;
        layout(image, &rulesets)?;
        owners(&rules, &rulesets)?;
        let sections = Sections::load(image)?;
        let code = Verifier::decode(Body::Code, image.count(Section::Code), image.code())?;
        let straight = Verifier::decode(Body::Straight, image.count(Section::Straight), image.straight())?;
        let bounds = bounds(image, &rules, &rulesets, &sections, &code, &straight, budget)?;
        Ok(Self {
            code,
            straight,
            sections,
            bounds,
            rules,
            pools: collect(image.count(Section::Pools), image.pools())?,
            tables: collect(image.count(Section::Tables), image.tables())?,
            entries: collect(image.count(Section::Entries), image.entries())?,
            anchors: collect(image.count(Section::Anchors), image.anchors())?,
            ifaces: collect(image.count(Section::Ifaces), image.ifaces())?,
            skips: collect(image.count(Section::Skips), image.skipped())?,
            tags: collect(image.count(Section::Tags), image.tags())?,
            queues: collect(image.count(Section::Queues), image.queues())?,
            labels: collect(image.count(Section::Labels), image.labels())?,
            prints: collect(image.count(Section::Prints), image.prints())?,
            strings: collect(image.count(Section::Strings), image.strings().bytes())?,
            options: image.options(),
            digest: image.digest(),
            rulesets,
        })
    }

    /// A text of the image; empty for a reference that is not of it.
    #[must_use]
    pub fn text(&self, at: StrRef) -> &str {
        let blob = image::slice(&self.strings, at).unwrap_or_default();
        core::str::from_utf8(blob).unwrap_or("")
    }

    /// Initial contents of a table.
    #[must_use]
    pub fn table_entries(&self, id: TableId) -> &[Entry] {
        let run = self.table(id).map_or(Run::default(), |t| t.entries);
        let span = super::sections::range(image::Span { at: run.at, len: run.len });
        self.entries.get(span).unwrap_or_default()
    }

    /// Options, of a main ruleset.
    #[must_use]
    pub const fn options(&self) -> Option<&Options> {
        self.options.as_ref()
    }

    /// Digest of the image it was made from.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// What an instruction costs in this program, in steps.
    #[must_use]
    pub fn cost(&self, op: Op) -> u32 {
        op.cost(&self.sections)
    }

    /// The code of every ruleset.
    #[must_use]
    pub fn code(&self, body: Body) -> &[Op] {
        match body {
            Body::Code => &self.code,
            Body::Straight => &self.straight,
        }
    }
}

/// Parts of rulesets lie one after the other and use their sections up.
fn layout(image: &Image<'_>, rulesets: &[Ruleset]) -> Result<(), Reject> {
    if rulesets.is_empty() {
        return Err(Reject::NoRuleset {});
    }
    for (record, (a, b)) in (1..=u32::MAX).zip(rulesets.iter().zip(rulesets.iter().skip(1))) {
        if image.text(a.path) >= image.text(b.path) {
            return Err(Reject::Order { section: Section::Rulesets, record });
        }
    }
    for section in [Section::Code, Section::Straight, Section::Rules] {
        let mut wanted = 0;
        let mut id = 0;
        for r in rulesets {
            let run = match section {
                Section::Code => r.code,
                Section::Straight => r.straight,
                _ => r.rules,
            };
            if u64::from(run.at) != wanted {
                return Err(Reject::Layout { section, ruleset: RulesetId(id), at: run.at, wanted });
            }
            wanted = run.end();
            id = id.saturating_add(1);
        }
        let count = image.count(section);
        if wanted != u64::from(count) {
            return Err(Reject::Layout { section, ruleset: RulesetId(id), at: count, wanted });
        }
    }
    Ok(())
}

/// Rules stand in the ruleset they say.
fn owners(rules: &[Rule], rulesets: &[Ruleset]) -> Result<(), Reject> {
    for (id, ruleset) in (0..=u16::MAX).zip(rulesets) {
        let run = ruleset.rules;
        let span = super::sections::range(image::Span { at: run.at, len: run.len });
        for (rule, r) in (run.at..=u32::MAX).zip(rules.get(span).unwrap_or_default()) {
            if r.ruleset != RulesetId(id) {
                return Err(Reject::Owner { rule: RuleId(rule), found: r.ruleset, wanted: RulesetId(id) });
            }
        }
    }
    Ok(())
}

/// Verifies both bodies of every ruleset and computes their bounds.
fn bounds(
    image: &Image<'_>,
    rules: &[Rule],
    rulesets: &[Ruleset],
    sections: &Sections,
    code: &[Op],
    straight: &[Op],
    budget: u32,
) -> Result<Vec<Bounds>, Reject> {
    let mut verifier = Verifier::new(image, sections, rules);
    let scratch = image.count(Section::Code).max(image.count(Section::Straight));
    let mut longest = collect(scratch, core::iter::repeat_n(0, usize::try_from(scratch).unwrap_or(0)))?;
    let mut bounds: Vec<Bounds> = collect(image.count(Section::Rulesets), rulesets.iter().map(|_| Bounds::default()))?;
    for ((id, r), slot) in (0..=u16::MAX).zip(rulesets).zip(bounds.iter_mut()) {
        let ruleset = RulesetId(id);
        if r.code.len == 0 {
            return Err(Reject::NoCode { ruleset });
        }
        slot.code = verifier.ruleset(Body::Code, code, r.code, r.rules, &mut longest)?;
        if slot.code > budget {
            return Err(Reject::Budget { ruleset, bound: slot.code, budget });
        }
    }
    if straight.is_empty() {
        return Ok(bounds);
    }
    for ((id, r), slot) in (0..=u16::MAX).zip(rulesets).zip(bounds.iter_mut()) {
        if r.straight.len == 0 {
            return Err(Reject::NoStraight { ruleset: RulesetId(id) });
        }
        slot.straight = verifier.ruleset(Body::Straight, straight, r.straight, r.rules, &mut longest)?;
    }
    Ok(bounds)
}
