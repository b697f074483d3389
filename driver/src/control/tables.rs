//! Tables: what there is, and what administrators do to them as a whole.
//!
//! Source: `pf_table.c`: which requests look at what flags, and the feedback they give.

use alloc::vec::Vec;

use pfvm::api::{AddressRow, Cells, Code, END, MAX_NAME, PageWriter, Refusal, TableRow, TableTouch};
use pfvm::engine::tables::Named;
use pfvm::image::TableFlags;
use pfvm::rule::{Af, Direction, PoolAddr};
use pfvm::state::pool::room;
use pfvm::table::{Counters, Entry, EntryView, Op, Slot, TableError};

use super::{Reply, changed, load_error, memory, small};
use crate::filter::Filter;
use crate::platform::Platform;

/// Tables of one page.
const TABLES: usize = 256;

/// The anchor of tables that follow interfaces.
const DYNAMIC: &str = "_pf";

const NO_TABLE: Refusal<'static> = Refusal::new(Code::NoSuch, "Table does not exist");
const CONST: Refusal<'static> = Refusal::new(Code::NotPermitted, "the table is constant");

pub(super) fn failed(why: TableError) -> Refusal<'static> {
    match why {
        TableError::Full => Refusal::new(Code::NoMemory, "the limit of table entries is reached"),
        TableError::TooMany => Refusal::new(Code::NoMemory, "the limit of tables is reached"),
        TableError::NoTable => NO_TABLE,
        TableError::Prefix => Refusal::new(Code::Invalid, "a prefix is longer than its address"),
    }
}

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or("")
}

fn cells(c: &Counters) -> (Cells, Cells) {
    let mut out = (Cells::default(), Cells::default());
    for (d, dir) in [Direction::In, Direction::Out].into_iter().enumerate() {
        for (o, op) in Op::ALL.into_iter().enumerate() {
            let cell = c.get(dir, op);
            if let (Some(p), Some(b)) =
                (out.0.get_mut(d).and_then(|r| r.get_mut(o)), out.1.get_mut(d).and_then(|r| r.get_mut(o)))
            {
                (*p, *b) = (cell.packets, cell.bytes);
            }
        }
    }
    out
}

/// A table that exists: by a definition or by hand, or because it follows an interface.
pub(super) fn find<'f, P: Platform>(f: &'f Filter<P>, path: &str, name: &str) -> Result<&'f Named, Refusal<'static>> {
    let named = f.engine.tables.named(path.as_bytes(), name.as_bytes());
    named.filter(|n| n.active || n.dynamic).ok_or(NO_TABLE)
}

/// One whose contents may be changed.
pub(super) fn changeable<P: Platform>(f: &Filter<P>, path: &str, name: &str) -> Result<Slot, Refusal<'static>> {
    let named = find(f, path, name)?;
    if named.dynamic || named.flags.has(TableFlags::CONST) { Err(CONST) } else { Ok(named.slot) }
}

/// The table after another in order of anchor and name.
fn after<'f, P: Platform>(f: &'f Filter<P>, last: Option<(&[u8], &[u8])>) -> Option<&'f Named> {
    let key = |n: &'f Named| (n.path.as_slice(), n.name.as_slice());
    let later = |n: &&Named| last.is_none_or(|l| (n.path.as_slice(), n.name.as_slice()) > l);
    f.engine.tables.names().iter().filter(later).min_by(|a, b| key(a).cmp(&key(b)))
}

pub(super) fn list<P: Platform>(f: &Filter<P>, path: &str, below: bool, cursor: u64, reply: &mut [u8]) -> Reply {
    let mut page = PageWriter::new(reply).map_err(small)?;
    let (mut last, mut number, mut made) = (None, 0_u64, 0_usize);
    let within = |own: &[u8]| {
        let rest = text(own).strip_prefix(path);
        let under = path.is_empty() || rest.is_some_and(|r| r.starts_with('/'));
        own == path.as_bytes() || (below && under)
    };
    while let Some(n) = after(f, last) {
        last = Some((n.path.as_slice(), n.name.as_slice()));
        if !within(&n.path) {
            continue;
        }
        if number >= cursor {
            if made >= TABLES || !page.row(&row(f, n)) {
                return Ok(page.end(number, f.generation, 0));
            }
            made = made.saturating_add(1);
        }
        number = number.saturating_add(1);
    }
    // Tables that rules of an anchor name and that are not there.
    for (unit, p) in (0..=u16::MAX).map(pfvm::exec::UnitId).zip(f.engine.programs()) {
        for (id, t) in (0..=u16::MAX).map(pfvm::rule::TableId).zip(p.tables()) {
            let Some(row) = missing(f, unit, p, (id, t)).filter(|row| within(row.path.as_bytes())) else { continue };
            if number >= cursor {
                if made >= TABLES || !page.row(&row) {
                    return Ok(page.end(number, f.generation, 0));
                }
                made = made.saturating_add(1);
            }
            number = number.saturating_add(1);
        }
    }
    Ok(page.end(END, f.generation, u32::try_from(number).unwrap_or(u32::MAX)))
}

/// The row of a table that rules name in an anchor that has none of the name: they mean the main ruleset's.
fn missing<'f, P: Platform>(
    f: &'f Filter<P>,
    unit: pfvm::exec::UnitId,
    p: &'f pfvm::verify::Program,
    (id, t): (pfvm::rule::TableId, &pfvm::image::Table),
) -> Option<TableRow<'f>> {
    let path = p.ruleset(t.ruleset).map(|r| p.text(r.path)).filter(|path| !path.is_empty())?;
    let name = p.text(t.name);
    let tables = &f.engine.tables;
    if !matches!(t.kind, pfvm::image::TableKind::Named) || tables.named(path.as_bytes(), name.as_bytes()).is_some() {
        return None;
    }
    tables.slot(unit, id)?;
    let rules = p.rules().iter().filter(|r| r.tables.contains(&Some(id)) || r.overload == Some(id));
    let pools = p.pools().iter().filter(|pool| pool.addr == PoolAddr::Table(id));
    let uses = pfvm::count::of(rules).saturating_add(pfvm::count::of(pools));
    if uses == 0 {
        return None;
    }
    Some(TableRow {
        path,
        name,
        flags: 0,
        active: false,
        referenced: true,
        dynamic: false,
        shared: true,
        addresses: 0,
        references: [u32::try_from(uses).unwrap_or(u32::MAX), 0],
        cleared: 0,
        evaluations: [0; 2],
        packets: Cells::default(),
        bytes: Cells::default(),
    })
}

fn row<'f, P: Platform>(f: &Filter<P>, n: &'f Named) -> TableRow<'f> {
    let tables = &f.engine.tables;
    let (packets, bytes) = cells(&tables.all.counters(n.slot));
    let (hit, miss) = tables.all.evaluations(n.slot);
    let twin = |o: &Named| o.name == n.name && o.path != n.path && !o.dynamic;
    let shadowed = n.path.is_empty() && tables.names().iter().any(|o| twin(o) && o.active);
    let behind = !n.path.is_empty() && !n.active && tables.named(b"", &n.name).is_some();
    TableRow {
        path: text(&n.path),
        name: text(&n.name),
        flags: n.flags.0,
        active: n.active,
        referenced: n.referenced,
        dynamic: n.dynamic,
        shared: shadowed || behind,
        addresses: tables.all.len(n.slot),
        references: references(f, n),
        cleared: f.wall_of(n.cleared),
        evaluations: [hit, miss],
        packets,
        bytes,
    }
}

/// Rules that name a table: in its own anchor, and in others.
fn references<P: Platform>(f: &Filter<P>, n: &Named) -> [u32; 2] {
    let (mut own, mut others) = (0_u32, 0_u32);
    let units = (0..=u16::MAX).map(pfvm::exec::UnitId);
    for (unit, p) in units.zip(f.engine.programs()) {
        let means = |t: pfvm::rule::TableId| f.engine.tables.slot(unit, t) == Some(n.slot);
        for (id, t) in (0..=u16::MAX).map(pfvm::rule::TableId).zip(p.tables()) {
            if !means(id) {
                continue;
            }
            let uses = |r: &&pfvm::rule::Rule| r.tables.contains(&Some(id)) || r.overload == Some(id);
            let count = pfvm::count::number(p.rules().iter().filter(uses));
            let at_home = p.ruleset(t.ruleset).is_some_and(|r| p.text(r.path).as_bytes() == n.path);
            let to = if at_home || n.dynamic { &mut own } else { &mut others };
            *to = to.saturating_add(count);
        }
    }
    [own, others]
}

/// A name pf would take.
fn good_name(path: &str, name: &str) -> Result<(), Refusal<'static>> {
    if name.is_empty() || name.len() > MAX_NAME.min(31) {
        return Err(Refusal::new(Code::Invalid, "a table's name has 1 to 31 characters"));
    }
    if path == DYNAMIC { Err(Refusal::new(Code::Invalid, "the anchor is the filter's own")) } else { Ok(()) }
}

pub(super) fn touch<P: Platform>(
    f: &mut Filter<P>,
    path: &str,
    name: &str,
    touch: TableTouch,
    dry: bool,
    reply: &mut [u8],
) -> Reply {
    let now = f.seconds();
    match touch {
        TableTouch::Create => create(f, path, name, dry, reply),
        TableTouch::Kill => {
            // Also a constant one; one there is not is none to kill.
            let Some(slot) = find(f, path, name).ok().filter(|n| !n.dynamic).map(|n| n.slot) else {
                return changed(0_u64, reply);
            };
            if !dry {
                kill(f, slot)?;
            }
            changed(1_u64, reply)
        }
        TableTouch::Flush => {
            let slot = changeable(f, path, name)?;
            let count = f.engine.tables.all.len(slot);
            if !dry {
                f.engine.tables.all.clear(slot);
            }
            changed(count, reply)
        }
        TableTouch::Zero(entries) => {
            let Ok(slot) = find(f, path, name).map(|n| n.slot) else { return changed(0_u64, reply) };
            if !dry {
                f.engine.tables.all.clock(now);
                f.engine.tables.all.zero(slot, entries);
                if let Some(n) = f.engine.tables.named_mut(path.as_bytes(), name.as_bytes()) {
                    n.cleared = now;
                }
            }
            changed(1_u64, reply)
        }
        TableTouch::Expire(age) => expire(f, path, name, age, dry, reply),
        TableTouch::Flags { set, clear } => flags(f, path, name, (TableFlags(set), TableFlags(clear)), dry, reply),
    }
}

fn create<P: Platform>(f: &mut Filter<P>, path: &str, name: &str, dry: bool, reply: &mut [u8]) -> Reply {
    good_name(path, name)?;
    if find(f, path, name).is_ok() {
        return changed(0_u64, reply);
    }
    let limit = f.engine.options.limits.tables;
    let full = u32::try_from(f.engine.tables.names().len()).is_ok_and(|n| n >= limit);
    if full && f.engine.tables.named(path.as_bytes(), name.as_bytes()).is_none() {
        return Err(failed(TableError::TooMany));
    }
    if dry {
        // One that rules name is there, if not in force: pf says nothing of it.
        return changed(u64::from(f.engine.tables.named(path.as_bytes(), name.as_bytes()).is_none()), reply);
    }
    let now = f.seconds();
    let made = f.engine.tables.make(path.as_bytes(), name.as_bytes(), TableFlags::PERSIST).map_err(memory)?;
    (made.active, made.flags, made.cleared) = (true, TableFlags::PERSIST, now);
    let slot = made.slot;
    // Rules of the anchor meant the main ruleset's table so far.
    if let Err(why) = f.bind() {
        f.engine.tables.kill(slot);
        return Err(load_error(why));
    }
    changed(1_u64, reply)
}

/// Empties and removes a table; rules that name it mean the main ruleset's from now on.
fn kill<P: Platform>(f: &mut Filter<P>, slot: Slot) -> Result<(), Refusal<'static>> {
    f.engine.tables.kill(slot);
    // Without memory the rules go on with the empty table.
    f.bind().map_err(load_error)
}

pub(super) fn flush<P: Platform>(f: &mut Filter<P>, path: &str, dry: bool, reply: &mut [u8]) -> Reply {
    let mut count = 0_u32;
    let mine = |n: &&Named| n.path == path.as_bytes() && n.active && !n.dynamic;
    let all = f.engine.tables.names().iter().filter(mine).map(|n| n.slot);
    let mut slots = room("tables", pfvm::count::number(all.clone())).map_err(memory)?;
    all.for_each(|s| push(&mut slots, s));
    for slot in slots {
        count = count.saturating_add(1);
        if !dry {
            f.engine.tables.kill(slot);
        }
    }
    if !dry && count > 0 {
        f.bind().map_err(load_error)?;
    }
    changed(count, reply)
}

fn flags<P: Platform>(
    f: &mut Filter<P>,
    path: &str,
    name: &str,
    (set, clear): (TableFlags, TableFlags),
    dry: bool,
    reply: &mut [u8],
) -> Reply {
    let user = TableFlags::PERSIST.with(TableFlags::CONST).with(TableFlags::COUNTERS);
    if set.0 & !user.0 != 0 || clear.0 & !user.0 != 0 || set.0 & clear.0 != 0 {
        return Err(Refusal::new(Code::Invalid, "no such flag of a table"));
    }
    let old = find(f, path, name)?;
    let (slot, before) = (old.slot, old.flags);
    let new = TableFlags((before.0 | set.0) & !clear.0);
    if !dry && new != before {
        if let Some(n) = f.engine.tables.named_mut(path.as_bytes(), name.as_bytes()) {
            n.flags = new;
        }
        f.engine.tables.all.set_counting(slot, new.has(TableFlags::COUNTERS));
        f.bind().map_err(load_error)?;
    }
    changed(u64::from(new != before), reply)
}

fn expire<P: Platform>(f: &mut Filter<P>, path: &str, name: &str, age: u64, dry: bool, reply: &mut [u8]) -> Reply {
    let slot = changeable(f, path, name)?;
    let now = f.seconds();
    let old = |e: &EntryView| u64::from(now.saturating_sub(e.born)) >= age;
    let tables = &mut f.engine.tables.all;
    let count = pfvm::count::number(tables.entries(slot).filter(old));
    if dry {
        return changed(count, reply);
    }
    for af in [Af::Inet, Af::Inet6] {
        let mut at = 0_u32;
        for _ in 0..tables.len_of(slot, af) {
            let Some(e) = tables.nth(slot, af, at) else { break };
            if old(&e) {
                let gone = Entry { not: e.not, ..Entry::new(e.af, e.addr, e.prefix) };
                let _ = tables.delete(slot, &gone);
            } else {
                at = at.saturating_add(1);
            }
        }
    }
    changed(count, reply)
}

pub(super) fn entries<P: Platform>(f: &Filter<P>, path: &str, name: &str, cursor: u64, reply: &mut [u8]) -> Reply {
    let slot = find(f, path, name)?.slot;
    let tables = &f.engine.tables.all;
    let total = usize::try_from(tables.len(slot)).unwrap_or(usize::MAX);
    let v4 = tables.len_of(slot, Af::Inet);
    // By place, for a page deep in a large table must not walk there.
    let at = |n: u32| match n.checked_sub(v4) {
        None => tables.nth(slot, Af::Inet, n),
        Some(n) => tables.nth(slot, Af::Inet6, n),
    };
    let first = u32::try_from(cursor).unwrap_or(u32::MAX);
    let rows = (first..tables.len(slot)).filter_map(at).map(|v| address(f, &v));
    let mut page = PageWriter::new(reply).map_err(small)?;
    let mut next = cursor;
    let total = u32::try_from(total).unwrap_or(u32::MAX);
    for row in rows {
        if !page.row(&row) {
            return Ok(page.end(next, f.generation, total));
        }
        next = next.saturating_add(1);
    }
    Ok(page.end(END, f.generation, total))
}

fn address<P: Platform>(f: &Filter<P>, v: &EntryView) -> AddressRow {
    AddressRow {
        af: v.af,
        addr: v.addr,
        prefix: v.prefix,
        not: v.not,
        weight: v.weight,
        states: v.states,
        cleared: f.wall_of(v.born),
        counters: v.counters.as_ref().map(cells),
    }
}

pub(super) fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() < list.capacity() {
        list.push(item);
    }
}
