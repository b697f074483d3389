//! Rulesets: where they are, their images, their live figures.

use pfvm::api::{Code, END, PageWriter, Refusal, RuleRow, RulesetRow, SectionBytes, encode_reply};
use pfvm::exec::Callee;
use pfvm::image::{self, SECTIONS, Section};
use pfvm::rule::RuleFlags;
use pfvm::verify::Program;

use super::{Reply, changed, page, small};
use crate::filter::Filter;
use crate::platform::Platform;

/// Steps a page of rulesets may take under the lock.
const WORK: usize = 200_000;
/// Bytes of an image in one reply.
const PIECE: usize = 60 * 1024;

const NONE: Refusal<'static> = Refusal::new(Code::NotFound, "there is no such ruleset");

/// A path's own parts, from the first: `a`, `a/b`, `a/b/c`.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let inner = pfvm::count::numbered(path.bytes()).filter(|(_, b)| *b == b'/').filter_map(|(at, _)| path.get(..at));
    inner.chain(core::iter::once(path))
}

/// Every path somebody speaks of: rulesets that have rules, what anchor rules call, tables. Some come more than once.
fn paths<P: Platform>(f: &Filter<P>) -> impl Iterator<Item = &str> {
    let programs = f.engine.programs().iter().flat_map(|p| {
        let rulesets = p.rulesets().iter().filter(|r| r.rules.len > 0).map(|r| p.text(r.path));
        rulesets.chain(p.anchors().iter().map(|a| p.text(a.path)))
    });
    let tables = f.engine.tables.names().iter().filter(|t| !t.dynamic);
    programs.chain(tables.filter_map(|t| core::str::from_utf8(&t.path).ok())).flat_map(ancestors)
}

/// Whether a path is another or lies below it.
fn below(path: &str, under: &str) -> bool {
    let rest = path.strip_prefix(under);
    under.is_empty() || rest.is_some_and(|r| r.is_empty() || r.starts_with('/'))
}

/// The path right after another, in order.
fn after<'f, P: Platform>(f: &'f Filter<P>, under: &str, last: Option<&str>) -> Option<&'f str> {
    let main = (last.is_none() && under.is_empty()).then_some("");
    let later = |p: &&str| below(p, under) && last.is_none_or(|l| *p > l);
    main.or_else(|| paths(f).filter(later).min())
}

/// Rows in order of their paths; the cursor counts them.
pub(super) fn rulesets<P: Platform>(f: &Filter<P>, under: &str, cursor: u64, reply: &mut [u8]) -> Reply {
    let mut page = PageWriter::new(reply).map_err(small)?;
    let step = pfvm::count::of(paths(f)).saturating_add(1);
    let (mut last, mut number, mut work) = (None, 0_u64, 0_usize);
    let total = 0;
    while let Some(path) = after(f, under, last) {
        if number >= cursor {
            work = work.saturating_add(step.saturating_mul(3));
            if (work > WORK && page.rows() > 0) || !page.row(&row(f, path)) {
                return Ok(page.end(number, f.generation, total));
            }
        }
        number = number.saturating_add(1);
        last = Some(path);
    }
    if number == 0 && cursor == 0 {
        return Err(NONE);
    }
    Ok(page.end(END, f.generation, total))
}

fn row<'f, P: Platform>(f: &'f Filter<P>, path: &'f str) -> RulesetRow<'f> {
    let place = f.engine.ruleset(path);
    let unit = place.and_then(|c| f.units.get(usize::from(c.unit.0)));
    let set = place.and_then(|c| f.engine.programs().get(usize::from(c.unit.0))?.ruleset(c.ruleset));
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    RulesetRow {
        path,
        rules: set.map_or(0, |s| s.rules.len),
        tables: pfvm::count::number(f.engine.tables.names().iter().filter(|t| t.path == path.as_bytes())),
        children: count(children(f, path)),
        loaded: set.is_some(),
        place: (place.map_or(0, |c| c.ruleset.0), set.map_or(0, |s| s.rules.at)),
        generation: unit.map_or(0, |u| u.generation),
    }
}

/// Anchors right below a path.
fn children<P: Platform>(f: &Filter<P>, path: &str) -> usize {
    let parts =
        |p: &str| if p.is_empty() { 0 } else { pfvm::count::of(p.bytes().filter(|b| *b == b'/')).saturating_add(1) };
    let right = |p: &&str| below(p, path) && parts(p) == parts(path).saturating_add(1);
    let (mut last, mut count) = ("", 0_usize);
    while let Some(next) = paths(f).filter(right).filter(|p| *p > last).min() {
        last = next;
        count = count.saturating_add(1);
        if count >= 64 {
            break;
        }
    }
    count
}

/// The program of a path's ruleset, and which one it is there.
fn find<'f, P: Platform>(f: &'f Filter<P>, path: &str) -> Result<(&'f Program, Callee), Refusal<'static>> {
    let place = f.engine.ruleset(path).ok_or(NONE)?;
    let program = f.engine.programs().get(usize::from(place.unit.0)).ok_or(NONE)?;
    Ok((program, place))
}

/// Rules of a ruleset; `None` when there is none of that path.
pub(super) fn count<P: Platform>(f: &Filter<P>, path: &str) -> Option<u32> {
    let (program, place) = find(f, path).ok()?;
    program.ruleset(place.ruleset).map(|r| r.rules.len)
}

pub(super) fn section<P: Platform>(
    f: &Filter<P>,
    path: &str,
    section: Option<u8>,
    offset: u32,
    reply: &mut [u8],
) -> Reply {
    let (_, place) = find(f, path)?;
    let unit = f.units.get(usize::from(place.unit.0)).ok_or(NONE)?;
    let (records, bytes) = match section {
        None => (0, unit.image.as_slice()),
        Some(number) => {
            let which = Section::ALL.get(usize::from(number)).copied();
            let which = which.ok_or(Refusal::new(Code::Invalid, "sections of an image:").at(SECTIONS as u64))?;
            image::section_of(&unit.image, which).unwrap_or_default()
        }
    };
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = bytes.get(at..).unwrap_or_default();
    let room = reply.len().saturating_sub(64).min(PIECE);
    let piece = rest.get(..room).unwrap_or(rest);
    let total = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    encode_reply(&SectionBytes { total, records, generation: unit.generation, bytes: piece }, reply).map_err(small)
}

pub(super) fn rules<P: Platform>(f: &Filter<P>, path: &str, cursor: u64, reply: &mut [u8]) -> Reply {
    let (program, place) = find(f, path)?;
    let unit = f.units.get(usize::from(place.unit.0)).ok_or(NONE)?;
    let run = program.ruleset(place.ruleset).map(|r| r.rules).unwrap_or_default();
    let start = usize::try_from(run.at).unwrap_or(usize::MAX);
    let len = usize::try_from(run.len).unwrap_or(0);
    let places = f.engine.rules.live(place.unit).get(start..start.saturating_add(len)).unwrap_or_default();
    let rows = (run.at..=u32::MAX).zip(places).filter_map(|(rule, at)| {
        let e = f.engine.rules.get(*at)?;
        Some(RuleRow {
            rule,
            nr: e.rule.nr,
            stable_id: e.rule.stable_id,
            evaluations: e.evaluations,
            packets: e.packets(),
            bytes: e.bytes(),
            states: e.states,
            states_total: e.states_total,
            sources: e.src_nodes,
            inserted: unit.inserted,
            by: (unit.by.uid, unit.by.pid),
            expired: e.spent && e.rule.flags.has(RuleFlags::ONCE),
        })
    });
    page(reply, cursor, (unit.generation, len), usize::MAX, rows)
}

pub(super) fn zero<P: Platform>(f: &mut Filter<P>, path: &str, reply: &mut [u8]) -> Reply {
    let (program, place) = find(f, path)?;
    let run = program.ruleset(place.ruleset).map(|r| r.rules).unwrap_or_default();
    let start = usize::try_from(run.at).unwrap_or(usize::MAX);
    let end = start.saturating_add(usize::try_from(run.len).unwrap_or(0));
    f.engine.rules.zero_of(place.unit, start..end);
    changed(run.len, reply)
}
