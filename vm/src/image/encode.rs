//! Writes an image: what the compiler fills, as bytes. Only user mode uses it.
//!
//! **Invariant:** the same [`Parts`] give the same bytes. What is written is not trusted for it: the compiler reads it
//! back with [`Image::parse`](super::Image::parse) and verifies it like anyone else.

extern crate alloc;

use super::Bulk;
use super::empty::{clip, lay_out};
use super::record::{
    Anchor, Axis, BitSet, Box4, Dispatch, Entry, Interval, Pair, Print, Queue, Ruleset, Search, Span, Table,
};
use super::section::{SECTIONS, Section};
use crate::isa::Op;
use crate::rule::{Options, Pool, Rule, StrRef};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::Serialize;

/// Texts, each stored once.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    blob: String,
    known: BTreeMap<String, StrRef>,
}

impl Strings {
    /// The reference of a text, stored if it is new. The empty text is at 0.
    ///
    /// # Panics
    /// Never; a blob past 4 GiB is cut off and will not parse.
    pub fn add(&mut self, text: &str) -> StrRef {
        if text.is_empty() {
            return StrRef::default();
        }
        if let Some(&known) = self.known.get(text) {
            return known;
        }
        let at = StrRef { at: clip(self.blob.len()), len: clip(text.len()) };
        self.blob.push_str(text);
        self.known.insert(text.into(), at);
        at
    }

    /// All of them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.blob
    }
}

/// Everything an image holds, section by section.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the sections' table says what they hold")]
pub struct Parts {
    pub options: Option<Options>,
    pub rulesets: Vec<Ruleset>,
    pub code: Vec<Op>,
    pub straight: Vec<Op>,
    pub rules: Vec<Rule>,
    pub pools: Vec<Pool>,
    pub tables: Vec<Table>,
    pub entries: Vec<Entry>,
    pub anchors: Vec<Anchor>,
    pub ifaces: Vec<StrRef>,
    pub skips: Vec<u32>,
    pub tags: Vec<StrRef>,
    pub queues: Vec<Queue>,
    pub labels: Vec<StrRef>,
    pub prints: Vec<Print>,
    pub pairs: Vec<Pair>,
    pub intervals: Vec<Interval>,
    pub sets: Vec<Span>,
    pub cuts16: Vec<u16>,
    pub cuts32: Vec<u32>,
    pub cuts128: Vec<u128>,
    pub searches: Vec<Search>,
    pub targets: Vec<u32>,
    pub dispatches: Vec<Dispatch>,
    pub boxes: Vec<Box4>,
    pub leaves: Vec<Span>,
    pub axes: Vec<Axis>,
    pub rows: Vec<u32>,
    pub bits: Vec<u64>,
    pub lists: Vec<u32>,
    pub bitsets: Vec<BitSet>,
    pub prios: Vec<u32>,
    pub strings: Strings,
}

/// A section on its way out: how many records, and their bytes.
struct Out {
    count: u32,
    bytes: Vec<u8>,
}

fn bulk<T: Bulk>(records: impl IntoIterator<Item = T>) -> Out {
    let mut out = Out { count: 0, bytes: Vec::new() };
    for r in records {
        r.write(&mut out.bytes);
        out.count = out.count.saturating_add(1);
    }
    out
}

fn small<T: Serialize>(records: &[T]) -> Out {
    let mut out = Out { count: 0, bytes: Vec::new() };
    for r in records {
        // Cannot fail: a Vec takes everything, and no record has a sequence of unknown length.
        if let Ok(bytes) = postcard::to_extend(r, core::mem::take(&mut out.bytes)) {
            out = Out { count: out.count.saturating_add(1), bytes };
        }
    }
    out
}

/// Writes the image.
#[must_use]
pub fn encode(p: &Parts) -> Vec<u8> {
    let sections = sections(p);
    let mut image = Vec::new();
    lay_out(sections.iter().map(|s| (s.count, s.bytes.as_slice())), &mut image);
    reseal(&mut image);
    image
}

/// Writes the digest of a changed image anew: for tests and fuzzing, which would otherwise only ever meet the digest.
pub fn reseal(image: &mut [u8]) {
    super::empty::reseal(image);
}

/// Every section, in order.
fn sections(p: &Parts) -> [Out; SECTIONS] {
    Section::ALL
        .iter()
        .map(|s| section(p, *s))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_else(|_: Vec<Out>| core::array::from_fn(|_| Out { count: 0, bytes: Vec::new() }))
}

fn section(p: &Parts, section: Section) -> Out {
    match section {
        Section::Options => small(p.options.as_slice()),
        Section::Rulesets => small(&p.rulesets),
        Section::Code => bulk(p.code.iter().map(|o| o.encode())),
        Section::Straight => bulk(p.straight.iter().map(|o| o.encode())),
        Section::Rules => small(&p.rules),
        Section::Pools => small(&p.pools),
        Section::Tables => small(&p.tables),
        Section::Entries => bulk(p.entries.iter().copied()),
        Section::Anchors => small(&p.anchors),
        Section::Ifaces => small(&p.ifaces),
        Section::Skips => bulk(p.skips.iter().copied()),
        Section::Tags => small(&p.tags),
        Section::Queues => small(&p.queues),
        Section::Labels => small(&p.labels),
        Section::Prints => bulk(p.prints.iter().copied()),
        Section::Pairs => bulk(p.pairs.iter().copied()),
        Section::Intervals => bulk(p.intervals.iter().copied()),
        Section::Sets => bulk(p.sets.iter().copied()),
        Section::Cuts16 => bulk(p.cuts16.iter().copied()),
        Section::Cuts32 => bulk(p.cuts32.iter().copied()),
        Section::Cuts128 => bulk(p.cuts128.iter().copied()),
        Section::Searches => bulk(p.searches.iter().copied()),
        Section::Targets => bulk(p.targets.iter().copied()),
        Section::Dispatches => bulk(p.dispatches.iter().copied()),
        Section::Boxes => bulk(p.boxes.iter().copied()),
        Section::Leaves => bulk(p.leaves.iter().copied()),
        Section::Axes => bulk(p.axes.iter().copied()),
        Section::Rows => bulk(p.rows.iter().copied()),
        Section::Bits => bulk(p.bits.iter().copied()),
        Section::Lists => bulk(p.lists.iter().copied()),
        Section::BitSets => bulk(p.bitsets.iter().copied()),
        Section::Prios => bulk(p.prios.iter().copied()),
        Section::Strings => bulk(p.strings.as_str().bytes()),
    }
}
