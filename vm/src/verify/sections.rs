//! The sections the machine searches: decoded, and held to what the interpreter relies on.
//!
//! **Invariant:** runs lie one after the other and fill their section, so no two records share a part and the whole
//! check is one pass.

extern crate alloc;

use super::collect;
use super::reject::Reject;
use crate::image::{AxisKind, BitSet, Box4, BoxAttr, Bulk, Bulks, Image, Interval, Pair, Search, Section, Span};
use crate::isa::{BitSetId, Costs, DispatchId, Field, LeafId, SetId, Width};
use alloc::vec::Vec;

/// A sorted run of cuts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cuts<'p> {
    /// 16 bits wide.
    W16(&'p [u16]),
    /// 32 bits wide.
    W32(&'p [u32]),
    /// 128 bits wide.
    W128(&'p [u128]),
}

impl Cuts<'_> {
    /// The interval a value is in: how many cuts are not above it.
    pub(crate) fn interval(self, value: u128) -> usize {
        match self {
            Self::W16(cuts) => cuts.partition_point(|c| u128::from(*c) <= value),
            Self::W32(cuts) => cuts.partition_point(|c| u128::from(*c) <= value),
            Self::W128(cuts) => cuts.partition_point(|c| *c <= value),
        }
    }

    /// The same of a word.
    pub(crate) fn interval_of_word(self, value: u32) -> usize {
        match self {
            Self::W16(cuts) => cuts.partition_point(|c| u32::from(*c) <= value),
            Self::W32(cuts) => cuts.partition_point(|c| *c <= value),
            Self::W128(_) => 0,
        }
    }
}

/// What an axis looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AxisOf {
    /// A field, by a search.
    Field(Field, u32),
    /// A table, of the destination or the source.
    Table {
        /// The destination.
        dst: bool,
        /// Which.
        table: u16,
    },
    /// The packet's interface.
    On(u16),
    /// The interface it was received on.
    Recv(u16),
}

/// An axis, decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AxisData {
    pub(crate) of: AxisOf,
    pub(crate) rows: u32,
    pub(crate) len: u32,
}

/// A bit-set classifier, decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BitSetData {
    pub(crate) axes: Span,
    pub(crate) list: Span,
    pub(crate) words: u32,
    cost: u32,
    /// Smallest and largest item of the list.
    pub(super) least: u32,
    pub(super) most: u32,
}

/// A dispatch table, decoded: its search is copied into it, for a packet should not have to go and get that too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DispatchData {
    pub(crate) search: Search,
    /// The first target; there is one for each interval.
    targets: u32,
}

impl DispatchData {
    pub(crate) const fn targets(&self) -> Span {
        Span { at: self.targets, len: self.search.len.saturating_add(1) }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    pub(crate) pairs: Vec<Pair>,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) sets: Vec<Span>,
    pub(crate) cuts16: Vec<u16>,
    pub(crate) cuts32: Vec<u32>,
    pub(crate) cuts128: Vec<u128>,
    pub(crate) searches: Vec<Search>,
    pub(crate) targets: Vec<u32>,
    pub(crate) dispatches: Vec<DispatchData>,
    pub(crate) boxes: Vec<Box4>,
    pub(crate) leaves: Vec<Span>,
    pub(crate) axes: Vec<AxisData>,
    pub(crate) rows: Vec<u32>,
    pub(crate) bits: Vec<u64>,
    pub(crate) lists: Vec<u32>,
    pub(crate) bitsets: Vec<BitSetData>,
    pub(crate) prios: Vec<u32>,
}

/// A run as indices, for slicing.
pub(crate) fn range(span: Span) -> core::ops::Range<usize> {
    let at = usize::try_from(span.at).unwrap_or(usize::MAX);
    let len = usize::try_from(span.len).unwrap_or(0);
    at..at.saturating_add(len)
}

/// An index.
pub(crate) fn at<T>(items: &[T], index: u32) -> Option<&T> {
    usize::try_from(index).ok().and_then(|i| items.get(i))
}

/// Steps of a binary search among `len` cuts.
fn log2(len: u32) -> u32 {
    len.checked_ilog2().map_or(1, |l| l.saturating_add(1))
}

/// Follows runs that must lie one after the other.
struct Chain {
    section: Section,
    target: Section,
    next: u64,
    record: u32,
    count: u32,
}

impl Chain {
    const fn new(section: Section, target: Section, count: u32) -> Self {
        Self { section, target, next: 0, record: 0, count }
    }

    /// The next run begins where the one before ended.
    fn link(&mut self, span: Span) -> Result<(), Reject> {
        let end = u64::from(span.at).saturating_add(u64::from(span.len));
        if u64::from(span.at) != self.next || end > u64::from(self.count) {
            return Err(self.broken(span.at));
        }
        self.next = end;
        self.record = self.record.saturating_add(1);
        Ok(())
    }

    /// The runs have used the whole section.
    fn end(&self) -> Result<(), Reject> {
        if self.next == u64::from(self.count) { Ok(()) } else { Err(self.broken(self.count)) }
    }

    const fn broken(&self, at: u32) -> Reject {
        Reject::Run { section: self.section, record: self.record, target: self.target, at, wanted: self.next }
    }
}

impl Sections {
    /// Decodes the sections and holds them to their rules.
    pub(super) fn load(image: &Image<'_>) -> Result<Self, Reject> {
        let mut s = Self::default();
        s.load_pairs(image)?;
        s.load_sets(image)?;
        s.load_searches(image)?;
        s.prios = bulk(image, Section::Prios, image.prios())?;
        s.check_prios(image)?;
        s.load_leaves(image)?;
        s.load_dispatches(image)?;
        s.load_bitsets(image)?;
        Ok(s)
    }

    fn load_pairs(&mut self, image: &Image<'_>) -> Result<(), Reject> {
        self.pairs = bulk(image, Section::Pairs, image.pairs())?;
        for (pair, p) in (0..=u32::MAX).zip(&self.pairs) {
            let narrow = p.a <= u128::from(u32::MAX) && p.b <= u128::from(u32::MAX);
            if !(p.af == 6 || p.af == 4 && narrow) {
                return Err(Reject::Pair { pair });
            }
        }
        Ok(())
    }

    fn load_sets(&mut self, image: &Image<'_>) -> Result<(), Reject> {
        self.intervals = bulk(image, Section::Intervals, image.intervals())?;
        self.sets = bulk(image, Section::Sets, image.sets())?;
        let count = image.count(Section::Intervals);
        let mut chain = Chain::new(Section::Sets, Section::Intervals, count);
        for (record, set) in (0..=u32::MAX).zip(&self.sets) {
            chain.link(*set)?;
            nonempty(Section::Sets, record, set.len)?;
            let mut low = Some(0_u32);
            for (i, interval) in (set.at..=u32::MAX).zip(self.intervals.get(range(*set)).unwrap_or_default()) {
                if low.is_none_or(|l| interval.lo < l) || interval.hi < interval.lo {
                    return Err(Reject::Order { section: Section::Intervals, record: i });
                }
                low = interval.hi.checked_add(1);
            }
        }
        chain.end()
    }

    fn load_searches(&mut self, image: &Image<'_>) -> Result<(), Reject> {
        self.cuts16 = bulk(image, Section::Cuts16, image.cuts16())?;
        self.cuts32 = bulk(image, Section::Cuts32, image.cuts32())?;
        self.cuts128 = bulk(image, Section::Cuts128, image.cuts128())?;
        self.searches = bulk(image, Section::Searches, image.searches())?;
        let chain = |target| Chain::new(Section::Searches, target, image.count(target));
        let mut chains = [chain(Section::Cuts16), chain(Section::Cuts32), chain(Section::Cuts128)];
        for (search, s) in (0..=u32::MAX).zip(&self.searches) {
            let span = Span { at: s.at, len: s.len };
            let [c16, c32, c128] = &mut chains;
            let (chain, sorted) = match s.width {
                16 => (c16, ascending(self.cuts16.get(range(span)))),
                32 => (c32, ascending(self.cuts32.get(range(span)))),
                128 => (c128, ascending(self.cuts128.get(range(span)))),
                width => return Err(Reject::Width { search, width }),
            };
            chain.record = search;
            chain.link(span)?;
            if let Err(i) = sorted {
                return Err(Reject::Order { section: chain.target, record: s.at.saturating_add(i) });
            }
        }
        chains.iter().try_for_each(Chain::end)
    }

    fn check_prios(&self, image: &Image<'_>) -> Result<(), Reject> {
        let count = image.count(Section::Rules);
        for (record, p) in (0..=u32::MAX).zip(&self.prios) {
            link(Section::Prios, record, Section::Rules, p & !QUICK, count)?;
        }
        Ok(())
    }

    fn load_leaves(&mut self, image: &Image<'_>) -> Result<(), Reject> {
        self.boxes = bulk(image, Section::Boxes, image.boxes())?;
        self.leaves = bulk(image, Section::Leaves, image.leaves())?;
        let prios = image.count(Section::Prios);
        let mut chain = Chain::new(Section::Leaves, Section::Boxes, image.count(Section::Boxes));
        for (record, leaf) in (0..=u32::MAX).zip(&self.leaves) {
            chain.link(*leaf)?;
            nonempty(Section::Leaves, record, leaf.len)?;
            let mut low = 0;
            for (index, b) in (leaf.at..=u32::MAX).zip(self.boxes.get(range(*leaf)).unwrap_or_default()) {
                let [_, _, _, attr] = b.prio.to_le_bytes();
                if attr & !BoxAttr::ALL != 0 {
                    return Err(Reject::Attr { index, attr });
                }
                let prio = b.prio & BoxAttr::PRIO;
                link(Section::Boxes, index, Section::Prios, prio, prios)?;
                if prio < low {
                    return Err(Reject::Order { section: Section::Boxes, record: index });
                }
                low = prio;
            }
        }
        chain.end()
    }

    fn load_dispatches(&mut self, image: &Image<'_>) -> Result<(), Reject> {
        self.targets = bulk(image, Section::Targets, image.targets())?;
        let searches = image.count(Section::Searches);
        let mut chain = Chain::new(Section::Dispatches, Section::Targets, image.count(Section::Targets));
        let mut all = collect(image.count(Section::Dispatches), core::iter::empty())?;
        for (record, d) in (0..=u32::MAX).zip(image.dispatches()) {
            link(Section::Dispatches, record, Section::Searches, d.search, searches)?;
            let d = DispatchData { search: self.search(d.search), targets: d.targets };
            chain.link(d.targets())?;
            put(&mut all, d)?;
        }
        self.dispatches = all;
        chain.end()
    }

    fn load_bitsets(&mut self, image: &Image<'_>) -> Result<(), Reject> {
        self.rows = bulk(image, Section::Rows, image.rows())?;
        self.bits = bulk(image, Section::Bits, image.bits())?;
        self.lists = bulk(image, Section::Lists, image.lists())?;
        self.load_axes(image)?;
        let mut axes = Chain::new(Section::BitSets, Section::Axes, image.count(Section::Axes));
        let mut lists = Chain::new(Section::BitSets, Section::Lists, image.count(Section::Lists));
        let mut all = collect(image.count(Section::BitSets), core::iter::empty())?;
        for (record, b) in (0..=u32::MAX).zip(image.bitsets()) {
            axes.link(Span { at: b.axes, len: b.axes_len })?;
            lists.link(Span { at: b.list, len: b.len })?;
            nonempty(Section::BitSets, record, b.len.min(b.axes_len))?;
            if usize::try_from(b.axes_len).is_ok_and(|n| n > super::MAX_AXES) {
                return Err(Reject::Axes { bitset: record, axes: b.axes_len });
            }
            put(&mut all, self.bitset(b)?)?;
        }
        self.bitsets = all;
        axes.end()?;
        lists.end()
    }

    fn load_axes(&mut self, image: &Image<'_>) -> Result<(), Reject> {
        let mut chain = Chain::new(Section::Axes, Section::Rows, image.count(Section::Rows));
        let mut all = collect(image.count(Section::Axes), core::iter::empty())?;
        for (axis, a) in (0..=u32::MAX).zip(image.axes()) {
            let kind = AxisKind::decode(a.kind).ok_or(Reject::Axis { axis })?;
            let target = match kind {
                AxisKind::Field(_) => Section::Searches,
                AxisKind::Table(_) => Section::Tables,
                AxisKind::On | AxisKind::Recv => Section::Ifaces,
            };
            link(Section::Axes, axis, target, a.operand, image.count(target))?;
            let short = u16::try_from(a.operand).unwrap_or(u16::MAX);
            let (of, len) = match kind {
                AxisKind::Field(f) => {
                    let search = self.search(a.operand);
                    if wide(f) != (search.width == 128) {
                        return Err(Reject::Axis { axis });
                    }
                    (AxisOf::Field(f, a.operand), search.len.saturating_add(2))
                }
                AxisKind::Table(dst) => (AxisOf::Table { dst, table: short }, 2),
                AxisKind::On => (AxisOf::On(short), 2),
                AxisKind::Recv => (AxisOf::Recv(short), 2),
            };
            chain.link(Span { at: a.rows, len })?;
            put(&mut all, AxisData { of, rows: a.rows, len })?;
        }
        self.axes = all;
        chain.end()
    }

    /// Holds the rows of a classifier to the bits, adds up its cost.
    fn bitset(&self, b: BitSet) -> Result<BitSetData, Reject> {
        let words = b.len.div_ceil(64);
        let count = u32::try_from(self.bits.len()).unwrap_or(u32::MAX);
        let axes = Span { at: b.axes, len: b.axes_len };
        let mut cost = words.saturating_mul(b.axes_len);
        for (axis, a) in (b.axes..=u32::MAX).zip(self.axes.get(range(axes)).unwrap_or_default()) {
            let rows = Span { at: a.rows, len: a.len };
            for (row, from) in (0..=u32::MAX).zip(self.rows.get(range(rows)).unwrap_or_default()) {
                let to = u64::from(*from).saturating_add(u64::from(words));
                if to > u64::from(count) {
                    return Err(Reject::Row { axis, row, from: *from, to, count });
                }
            }
            cost = cost.saturating_add(match a.of {
                AxisOf::Field(..) => log2(a.len),
                AxisOf::Table { .. } => 16,
                AxisOf::On(_) | AxisOf::Recv(_) => 2,
            });
        }
        let list = Span { at: b.list, len: b.len };
        let items = self.lists.get(range(list)).unwrap_or_default();
        let least = items.iter().copied().min().unwrap_or(0);
        let most = items.iter().copied().max().unwrap_or(0);
        Ok(BitSetData { axes, list, words, cost, least, most })
    }

    /// A search.
    pub(crate) fn search(&self, search: u32) -> Search {
        at(&self.searches, search).copied().unwrap_or_default()
    }

    /// The cuts of a search.
    #[inline]
    pub(crate) fn cuts(&self, s: Search) -> Cuts<'_> {
        let span = range(Span { at: s.at, len: s.len });
        match s.width {
            16 => Cuts::W16(self.cuts16.get(span).unwrap_or_default()),
            128 => Cuts::W128(self.cuts128.get(span).unwrap_or_default()),
            _ => Cuts::W32(self.cuts32.get(span).unwrap_or_default()),
        }
    }
}

impl Costs for Sections {
    fn set(&self, set: SetId) -> u32 {
        at(&self.sets, set.0).map_or(0, |s| log2(s.len))
    }
    fn dispatch(&self, dispatch: DispatchId) -> u32 {
        at(&self.dispatches, dispatch.0).map_or(0, |d| log2(d.targets().len))
    }
    fn leaf(&self, leaf: LeafId) -> u32 {
        at(&self.leaves, leaf.0).map_or(0, |l| l.len)
    }
    fn bitset(&self, bitset: BitSetId) -> u32 {
        at(&self.bitsets, bitset.0).map_or(0, |b| b.cost)
    }
}

/// Bit of a priority: its rule is quick.
pub(crate) const QUICK: u32 = 1 << 31;

/// Whether a field is 128 bits wide.
pub(super) const fn wide(field: Field) -> bool {
    matches!(field.width(), Width::Wide)
}

/// Decodes a whole bulk section.
fn bulk<T: Bulk>(image: &Image<'_>, section: Section, items: Bulks<'_, T>) -> Result<Vec<T>, Reject> {
    collect(image.count(section), items)
}

/// Appends to memory reserved beforehand.
fn put<T>(all: &mut Vec<T>, item: T) -> Result<(), Reject> {
    if all.len() == all.capacity() {
        return Err(Reject::NoMemory {});
    }
    all.push(item);
    Ok(())
}

/// Something named is there.
const fn link(section: Section, record: u32, target: Section, index: u32, count: u32) -> Result<(), Reject> {
    if index < count { Ok(()) } else { Err(Reject::Link { section, record, target, index, count }) }
}

const fn nonempty(section: Section, record: u32, len: u32) -> Result<(), Reject> {
    if len > 0 { Ok(()) } else { Err(Reject::Empty { section, record }) }
}

/// Whether cuts ascend strictly; the place of the first that does not.
fn ascending<T: Ord>(cuts: Option<&[T]>) -> Result<(), u32> {
    let cuts = cuts.unwrap_or_default();
    for (i, (a, b)) in (1..=u32::MAX).zip(cuts.iter().zip(cuts.iter().skip(1))) {
        if a >= b {
            return Err(i);
        }
    }
    Ok(())
}
