//! Holds every record of an image to its rules: it decodes, its indices lie inside, its numbers are possible.
//!
//! What concerns the machine (code, cuts, bit sets, leaves) is left to the verifier, which reads those records anyway.

use super::record::{Anchor, Entry, Print, Queue, Ruleset, Run, Table, TableKind};
use super::section::{Records, Section};
use super::{Bulk, Image, ImageError, MAX_NAME, MAX_PATH, Place, text};
use crate::rule::{Af, Divert, LogFlags, Options, Pool, PoolAddr, Rule, RuleFlags, StrRef, Syncookies};
use serde::de::DeserializeOwned;

/// Checks the whole image.
pub(super) fn check(image: &Image<'_>) -> Result<(), ImageError> {
    sizes(image)?;
    let c = Checker { image };
    c.each(Section::Options, Checker::options)?;
    c.each(Section::Rulesets, Checker::ruleset)?;
    c.each(Section::Rules, Checker::rule)?;
    c.each(Section::Pools, Checker::pool)?;
    c.each(Section::Tables, Checker::table)?;
    c.each(Section::Anchors, Checker::anchor)?;
    c.each(Section::Queues, Checker::queue)?;
    for section in [Section::Ifaces, Section::Tags, Section::Labels] {
        c.each(section, Checker::name)?;
    }
    c.bulk(Section::Entries, Checker::entry)?;
    c.bulk(Section::Skips, |c, place, i: u32| c.index(place, "interface", i, Section::Ifaces))?;
    c.bulk(Section::Prints, Checker::print)
}

/// Bulk sections are filled exactly by their records.
fn sizes(image: &Image<'_>) -> Result<(), ImageError> {
    use super::record::{Axis, BitSet, Box4, Dispatch, Interval, Pair, Search, Span};
    let sizes = [
        (Section::Code, u64::SIZE),
        (Section::Straight, u64::SIZE),
        (Section::Entries, Entry::SIZE),
        (Section::Skips, u32::SIZE),
        (Section::Prints, Print::SIZE),
        (Section::Pairs, Pair::SIZE),
        (Section::Intervals, Interval::SIZE),
        (Section::Sets, Span::SIZE),
        (Section::Cuts16, u16::SIZE),
        (Section::Cuts32, u32::SIZE),
        (Section::Cuts128, u128::SIZE),
        (Section::Searches, Search::SIZE),
        (Section::Targets, u32::SIZE),
        (Section::Dispatches, Dispatch::SIZE),
        (Section::Boxes, Box4::SIZE),
        (Section::Leaves, Span::SIZE),
        (Section::Axes, Axis::SIZE),
        (Section::Rows, u32::SIZE),
        (Section::Bits, u64::SIZE),
        (Section::Lists, u32::SIZE),
        (Section::BitSets, BitSet::SIZE),
        (Section::Prios, u32::SIZE),
        (Section::Strings, u8::SIZE),
    ];
    for (section, size) in sizes {
        let raw = image.raw(section);
        let filled = usize::try_from(raw.count).ok().and_then(|n| n.checked_mul(size)) == Some(raw.bytes.len());
        if !filled {
            let bytes = u32::try_from(raw.bytes.len()).unwrap_or(u32::MAX);
            return Err(ImageError::Size { section, count: raw.count, bytes });
        }
    }
    Ok(())
}

/// Checks records against the image they stand in.
struct Checker<'i, 'a> {
    image: &'i Image<'a>,
}

type Outcome = Result<(), ImageError>;

impl<'a> Checker<'_, 'a> {
    /// Decodes and checks every postcard record of a section; they fill it exactly.
    fn each<T: DeserializeOwned>(&self, section: Section, check: fn(&Self, Place, T) -> Outcome) -> Outcome {
        let raw = self.image.raw(section);
        let mut records = Records::<'a, T>::new(raw.bytes, raw.count);
        for record in 0..raw.count {
            let place = Place { section, record };
            let value = records.next().ok_or(ImageError::Record { place })?;
            check(self, place, value)?;
        }
        if records.rest.is_empty() {
            Ok(())
        } else {
            let bytes = u32::try_from(raw.bytes.len()).unwrap_or(u32::MAX);
            Err(ImageError::Size { section, count: raw.count, bytes })
        }
    }

    /// Decodes and checks every bulk record of a section.
    fn bulk<T: Bulk>(&self, section: Section, check: fn(&Self, Place, T) -> Outcome) -> Outcome {
        let raw = self.image.raw(section);
        let mut records = super::Bulks::<'a, T>::new(raw.bytes);
        for record in 0..raw.count {
            let place = Place { section, record };
            check(self, place, records.next().ok_or(ImageError::Record { place })?)?;
        }
        Ok(())
    }

    /// An index lies inside a section.
    fn index(&self, place: Place, what: &'static str, index: u32, section: Section) -> Outcome {
        let count = self.image.count(section);
        if index < count {
            Ok(())
        } else {
            Err(ImageError::Index { place, what, index: index.into(), count: count.into() })
        }
    }

    /// An index lies inside a section, if there is one.
    fn maybe(&self, place: Place, what: &'static str, index: Option<impl Into<u32>>, section: Section) -> Outcome {
        index.map_or(Ok(()), |i| self.index(place, what, i.into(), section))
    }

    /// A run lies inside a section.
    fn run(&self, place: Place, what: &'static str, run: Run, section: Section) -> Outcome {
        let count = u64::from(self.image.count(section));
        if run.end() <= count { Ok(()) } else { Err(ImageError::Index { place, what, index: run.end(), count }) }
    }

    /// A text lies inside the blob and is at most so long.
    fn text(&self, place: Place, what: &'static str, at: StrRef, most: u32) -> Outcome {
        match text(self.image.strings, at) {
            Some(_) if at.len <= most => Ok(()),
            _ => Err(ImageError::Text { place, what }),
        }
    }

    /// A name: a text that is not empty.
    fn name(&self, place: Place, at: StrRef) -> Outcome {
        if at.len == 0 {
            return Err(ImageError::Text { place, what: "name" });
        }
        self.text(place, "name", at, MAX_NAME)
    }

    fn options(&self, place: Place, o: Options) -> Outcome {
        within(place, "debug level", o.debug, 7)?;
        if let Syncookies::Adaptive { start, end } = o.syncookies {
            within(place, "syncookies start", start, 100)?;
            within(place, "syncookies end", end, start)?;
        }
        self.maybe(place, "interface", o.loginterface.map(|i| i.0), Section::Ifaces)
    }

    fn ruleset(&self, place: Place, r: Ruleset) -> Outcome {
        self.text(place, "path", r.path, MAX_PATH)?;
        self.run(place, "code", r.code, Section::Code)?;
        self.run(place, "straight code", r.straight, Section::Straight)?;
        self.run(place, "rules", r.rules, Section::Rules)
    }

    fn anchor(&self, place: Place, a: Anchor) -> Outcome {
        self.text(place, "path", a.path, MAX_PATH)
    }

    fn queue(&self, place: Place, q: Queue) -> Outcome {
        self.name(place, q.name)?;
        self.text(place, "definition", q.text, u32::MAX)?;
        self.maybe(place, "interface", q.iface.map(|i| i.0), Section::Ifaces)?;
        self.maybe(place, "queue", q.parent.map(|i| i.0), Section::Queues)
    }

    fn table(&self, place: Place, t: Table) -> Outcome {
        self.name(place, t.name)?;
        self.index(place, "ruleset", t.ruleset.0.into(), Section::Rulesets)?;
        within(place, "table flags", t.flags.0, super::TableFlags::ALL.0)?;
        if let TableKind::Dynamic { iface, mods, prefix } = t.kind {
            self.index(place, "interface", iface.0.into(), Section::Ifaces)?;
            within(place, "modifiers", mods.0, super::DynFlags::ALL.0)?;
            if prefix > 128 && prefix != u8::MAX {
                return Err(ImageError::Value { place, what: "prefix", value: prefix.into() });
            }
        }
        self.run(place, "entries", t.entries, Section::Entries)
    }

    fn entry(&self, place: Place, e: Entry) -> Outcome {
        within(place, "entry flags", e.flags, Entry::INET6 | Entry::NOT)?;
        within(place, "prefix", e.prefix, if e.flags & Entry::INET6 == 0 { 32 } else { 128 })
    }

    fn print(&self, place: Place, p: Print) -> Outcome {
        within(place, "padding", p.zero, 0)
    }

    fn pool(&self, place: Place, p: Pool) -> Outcome {
        match p.addr {
            PoolAddr::Net { af, prefix, .. } => within(place, "prefix", prefix, if af == Af::Inet { 32 } else { 128 })?,
            PoolAddr::Table(t) => self.index(place, "table", t.0.into(), Section::Tables)?,
            PoolAddr::Dynamic { table, prefix } => {
                self.index(place, "table", table.0.into(), Section::Tables)?;
                if prefix > 128 && prefix != u8::MAX {
                    return Err(ImageError::Value { place, what: "prefix", value: prefix.into() });
                }
            }
            PoolAddr::None => {}
        }
        self.maybe(place, "interface", p.iface.map(|i| i.0), Section::Ifaces)
    }

    fn rule(&self, place: Place, r: Rule) -> Outcome {
        self.rule_numbers(place, &r)?;
        self.rule_links(place, &r)?;
        for (what, at) in [("label", r.label), ("rule text", r.text), ("listing", r.more), ("file name", r.file)] {
            self.text(place, what, at, u32::MAX)?;
        }
        Ok(())
    }

    fn rule_numbers(&self, place: Place, r: &Rule) -> Outcome {
        if r.flags.0 & !RuleFlags::ALL.0 != 0 {
            return Err(ImageError::Value { place, what: "rule flags", value: r.flags.0.into() });
        }
        if r.log.0 & !LogFlags::ALL.0 != 0 {
            return Err(ImageError::Value { place, what: "log flags", value: r.log.0.into() });
        }
        if let Some(Divert::To { port: 0, .. } | Divert::Packet { port: 0 }) = r.divert {
            return Err(ImageError::Value { place, what: "divert port", value: 0 });
        }
        within(place, "prio", r.prio[0], 7)?;
        within(place, "prio", r.prio[1], 7)
    }

    fn rule_links(&self, place: Place, r: &Rule) -> Outcome {
        self.index(place, "ruleset", r.ruleset.0.into(), Section::Rulesets)?;
        self.maybe(place, "pool", r.nat.map(|p| p.0), Section::Pools)?;
        self.maybe(place, "pool", r.rdr.map(|p| p.0), Section::Pools)?;
        self.maybe(place, "pool", r.route.map(|p| p.pool.0), Section::Pools)?;
        self.maybe(place, "tag", r.tag.map(|t| t.0), Section::Tags)?;
        self.maybe(place, "table", r.overload.map(|t| t.0), Section::Tables)?;
        self.maybe(place, "anchor", r.anchor.map(|a| a.0), Section::Anchors)?;
        for table in r.tables {
            self.maybe(place, "table", table.map(|t| t.0), Section::Tables)?;
        }
        for queue in r.queue {
            self.maybe(place, "queue", queue.map(|q| q.0), Section::Queues)?;
        }
        Ok(())
    }
}

/// A number is at most so large.
fn within(place: Place, what: &'static str, value: u8, most: u8) -> Outcome {
    if value <= most { Ok(()) } else { Err(ImageError::Value { place, what, value: value.into() }) }
}
