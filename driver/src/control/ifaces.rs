//! Interfaces and the host's facts.

use pfvm::api::{Code, END, IfaceRow, PageWriter, Refusal};
use pfvm::count;

use super::{Reply, changed, load_error, page, small};
use crate::facts::{FactsError, HostFacts};
use crate::filter::Filter;
use crate::lock::Lock;
use crate::platform::Platform;

/// The name that comes after another: of interfaces, their groups, `all`.
fn after<'f>(facts: &'f HostFacts, last: &str) -> Option<&'f str> {
    let names = facts.ifaces().iter().flat_map(|i| core::iter::once(i.name()).chain(i.groups()));
    names.chain(["all"]).filter(|n| *n > last).min()
}

/// Whether `name` is asked for: itself, a member of it, or the letters before its number (`pfi_skip_if`).
fn wanted(facts: &HostFacts, name: &str, asked: &str) -> bool {
    let family = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    asked.is_empty()
        || name == asked
        || (!asked.ends_with(|c: char| c.is_ascii_digit()) && name.strip_prefix(asked).is_some_and(family))
        || facts.named(name).is_some_and(|i| i.groups().any(|g| g == asked))
}

pub(super) fn list<P: Platform>(f: &Filter<P>, asked: &str, cursor: u64, reply: &mut [u8]) -> Reply {
    let mut page = PageWriter::new(reply).map_err(small)?;
    let (mut last, mut number) = ("", 0_u64);
    while let Some(name) = after(&f.facts, last) {
        last = name;
        if !wanted(&f.facts, name, asked) {
            continue;
        }
        if number >= cursor && !page.row(&row(f, name)) {
            return Ok(page.end(number, f.generation, 0));
        }
        number = number.saturating_add(1);
    }
    Ok(page.end(END, f.generation, u32::try_from(number).unwrap_or(u32::MAX)))
}

fn row<'f, P: Platform>(f: &Filter<P>, name: &'f str) -> IfaceRow<'f> {
    let iface = f.facts.named(name);
    let counters = super::options::counters_of(f, name);
    let index = iface.map_or(0, |i| i.index);
    let kif = if name == "all" { pfvm::state::record::FLOATING } else { index };
    let bound_to = f.engine.table.iter().filter(|s| bound(f, *s) == Some(kif));
    let states = if kif == 0 { 0 } else { count::number(bound_to) };
    let named = |p: &pfvm::verify::Program| count::number(p.ifaces().iter().filter(|n| p.text(**n) == name));
    let rules = f.engine.programs().iter().map(named).fold(0, u32::saturating_add);
    let mut members = f.facts.ifaces().iter().filter(|i| f.facts.is(i, name));
    let cleared = iface.map_or(0, |i| f.engine.ifaces.cleared(i.index));
    IfaceRow {
        name,
        group: iface.is_none(),
        present: true,
        skip: iface.is_some_and(|i| f.engine.ifaces.skipped(i.index)) || f.skips.iter().any(|s| s == name.as_bytes()),
        packets: counters.packets,
        bytes: counters.bytes,
        references: [states, rules],
        cleared: if members.next().is_some() { f.wall_of(cleared) } else { 0 },
        index,
    }
}

fn bound<P: Platform>(f: &Filter<P>, slot: u32) -> Option<u16> {
    f.engine.table.get(slot).map(|s| s.kif)
}

pub(super) fn facts<P: Platform>(f: &Filter<P>, cursor: u64, reply: &mut [u8]) -> Reply {
    page(reply, cursor, (f.generation, 0), usize::MAX, f.facts.rows())
}

/// Reads rows with nothing locked but control, then binds them.
pub(super) fn set_facts<P: Platform, L: Lock<P>>(rows: &[u8], reply: &mut [u8], filter: &L) -> Reply {
    let facts = HostFacts::read(rows).map_err(|why| match why {
        FactsError::Memory(why) => super::memory(why),
        FactsError::Row { row, what } => Refusal::new(Code::Invalid, what).at(row.into()),
    })?;
    let count = facts.ifaces().len();
    let old = filter.with(|f| f.set_facts(facts)).map_err(load_error)?;
    drop(old);
    changed(u64::try_from(count).unwrap_or(0), reply)
}
