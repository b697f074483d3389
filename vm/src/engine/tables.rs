//! Tables by name: what lives on across programs, and which of them a program's numbers mean.
//!
//! **Invariant:** a load is the only place that gives a program's [`TableId`]s a meaning; a packet never
//! looks a name up.

use alloc::vec::Vec;

use crate::engine::load::{From, count, push};
use crate::exec::UnitId;
use crate::image::{self, DynFlags, TableFlags, TableKind};
use crate::rule::{Addr, Af, PoolAddr, TableId};
use crate::state::pool::{OutOfMemory, copied, filled, room};
use crate::table::{Entry, Slot, Tables};
use crate::verify::Program;

/// A table that has a name.
#[derive(Debug)]
pub struct Named {
    /// Ruleset it belongs to; empty for the main one.
    pub path: Vec<u8>,
    /// Name; of a table that follows an interface, the interface with its modifiers.
    pub name: Vec<u8>,
    /// Where it is.
    pub slot: Slot,
    /// Yes-or-no properties.
    pub flags: TableFlags,
    /// Whether the program in force names it.
    pub referenced: bool,
    /// Whether it exists by a definition or by the hand of an operator, not only by being named.
    pub active: bool,
    /// Whether it follows an interface.
    pub dynamic: bool,
    /// Second its counters were zeroed.
    pub cleared: u32,
}

/// The anchor whose tables follow interfaces.
pub const DYNAMIC: &[u8] = b"_pf";

/// What a table is to hold.
#[derive(Debug)]
struct Fill {
    slot: Slot,
    entries: Vec<Entry>,
    /// Entries it does not hold yet.
    more: u32,
}

/// What a load does to the tables. Places count the names there are, then those that are made.
#[derive(Debug, Default)]
pub(super) struct TablePlan {
    made: Vec<Named>,
    bound: Vec<Vec<Slot>>,
    used: Vec<bool>,
    defined: Vec<(usize, TableFlags)>,
    fills: Vec<Fill>,
    pinned: Vec<bool>,
}

impl TablePlan {
    fn find(&self, names: &[Named], path: &[u8], name: &[u8]) -> Option<usize> {
        crate::count::place(names.iter().chain(&self.made), |n| n.path == path && n.name == name)
    }

    fn named<'n>(&'n self, names: &'n [Named], at: usize) -> Option<&'n Named> {
        names.get(at).or_else(|| self.made.get(at.checked_sub(names.len())?))
    }

    /// Whether a table is there by a definition, by hand, or by the load at hand.
    fn is_there(&self, names: &[Named], path: &[u8], name: &[u8]) -> bool {
        let Some(at) = self.find(names, path, name) else { return false };
        names.get(at).is_some_and(|n| n.active) || self.defined.iter().any(|(d, _)| *d == at)
    }

    fn mark_dynamic(&mut self, names: &[Named], at: usize) {
        if let Some(n) = at.checked_sub(names.len()).and_then(|at| self.made.get_mut(at)) {
            n.dynamic = true;
        }
    }
}

/// All tables.
#[derive(Debug)]
pub struct TableSet {
    /// The contents.
    pub all: Tables,
    names: Vec<Named>,
    bound: Vec<Vec<Slot>>,
}

/// An address of an interface, as a table that follows it wants it.
pub type Follow<'f> = dyn Fn(&str, &TableKind, &mut dyn FnMut(Entry)) + 'f;

impl TableSet {
    /// Room for `tables` tables with `entries` entries.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is none.
    pub fn new(tables: u32, entries: u32) -> Result<Self, OutOfMemory> {
        let err = OutOfMemory { what: "tables", count: entries };
        let count = u16::try_from(tables).unwrap_or(u16::MAX);
        let all = Tables::new(count, entries, entries).ok_or(err)?;
        Ok(Self { all, names: room("table names", tables)?, bound: Vec::new() })
    }

    /// Makes room for `tables` tables with `entries` entries in all. Nothing else changes.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is none.
    pub(super) fn grow(&mut self, tables: u32, entries: u32) -> Result<(), OutOfMemory> {
        let err = OutOfMemory { what: "tables", count: entries };
        self.all.grow(u16::try_from(tables).unwrap_or(u16::MAX), entries).ok_or(err)?;
        let more = usize::try_from(tables).unwrap_or(usize::MAX).saturating_sub(self.names.len());
        self.names.try_reserve_exact(more).map_err(|_| err)
    }

    /// The table a number of the program in force means.
    #[must_use]
    pub fn slot(&self, unit: UnitId, id: TableId) -> Option<Slot> {
        self.bound.get(usize::from(unit.0))?.get(usize::from(id.0)).copied()
    }

    /// All named tables.
    #[must_use]
    pub fn names(&self) -> &[Named] {
        &self.names
    }

    /// Tables there may be.
    #[must_use]
    pub fn room(&self) -> u32 {
        self.all.tables_limit()
    }

    /// A table by name.
    #[must_use]
    pub fn named(&self, path: &[u8], name: &[u8]) -> Option<&Named> {
        self.names.iter().find(|n| n.path == path && n.name == name)
    }

    /// A table by name, made when there is none.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room for another.
    pub fn make(&mut self, path: &[u8], name: &[u8], flags: TableFlags) -> Result<&mut Named, OutOfMemory> {
        let err = OutOfMemory { what: "tables", count: 1 };
        let at = match self.names.iter().position(|n| n.path == path && n.name == name) {
            Some(at) => at,
            None => {
                let slot = self.all.create(flags.has(TableFlags::COUNTERS)).map_err(|_| err)?;
                if self.names.len() == self.names.capacity() {
                    self.names.try_reserve(16).map_err(|_| err)?;
                }
                let (path, name) = (copy(path)?, copy(name)?);
                let (referenced, active, dynamic, cleared) = (false, false, false, 0);
                push(&mut self.names, Named { path, name, slot, flags, referenced, active, dynamic, cleared });
                self.names.len().saturating_sub(1)
            }
        };
        self.names.get_mut(at).ok_or(err)
    }

    /// Plans what a load does to the tables: those that new programs define are made or get their contents, others are
    /// sought by name. `follow` gives the addresses of interfaces, `pinned` the tables of rules that states hold on to.
    ///
    /// # Errors
    /// [`OutOfMemory`], also where `set limit tables` or `table-entries` leaves no room; nothing has changed.
    pub(super) fn plan(
        &mut self,
        order: &[From],
        programs: &[&Program],
        follow: &Follow<'_>,
        pinned: impl FnOnce(&mut dyn FnMut(Slot)),
    ) -> Result<TablePlan, OutOfMemory> {
        let mut plan =
            TablePlan { used: filled("table names", count(self.names.len()), false)?, ..TablePlan::default() };
        match self.plan_into(&mut plan, order, programs, follow, pinned) {
            Ok(()) => Ok(plan),
            Err(why) => {
                for n in &plan.made {
                    self.all.destroy(n.slot);
                }
                Err(why)
            }
        }
    }

    fn plan_into(
        &mut self,
        plan: &mut TablePlan,
        order: &[From],
        programs: &[&Program],
        follow: &Follow<'_>,
        pinned: impl FnOnce(&mut dyn FnMut(Slot)),
    ) -> Result<(), OutOfMemory> {
        for (from, program) in order.iter().zip(programs) {
            let new = matches!(from, From::New(_));
            for (id, t) in (0..=u16::MAX).map(TableId).zip(program.tables()) {
                self.plan_definition(plan, program, (id, t), new, follow)?;
            }
        }
        for program in programs {
            let mut bound: Vec<Slot> = room("table bindings", count(program.tables().len()))?;
            for t in program.tables() {
                let slot = self.plan_reference(plan, program, t)?;
                push(&mut bound, slot);
            }
            grow(&mut plan.bound, bound, "table bindings")?;
            self.plan_uses(plan, program)?;
        }
        plan.pinned = filled("tables", self.all.slots(), false)?;
        pinned(&mut |slot| {
            if let Some(p) = plan.pinned.get_mut(usize::from(slot.0)) {
                *p = true;
            }
        });
        let err = OutOfMemory { what: "table names", count: count(plan.made.len()) };
        self.names.try_reserve(plan.made.len()).map_err(|_| err)?;
        let wanted = plan.fills.iter().fold(0_u32, |n, f| n.saturating_add(f.more));
        if self.all.has_room_for(wanted) { Ok(()) } else { Err(OutOfMemory { what: "table entries", count: wanted }) }
    }

    /// Makes a table that a program defines, or that follows an interface, and gathers what it is to hold.
    fn plan_definition(
        &mut self,
        plan: &mut TablePlan,
        program: &Program,
        (id, t): (TableId, &image::Table),
        new: bool,
        follow: &Follow<'_>,
    ) -> Result<(), OutOfMemory> {
        let name = program.text(t.name).as_bytes();
        let fixed = t.flags.has(TableFlags::AUTOMATIC);
        if let TableKind::Dynamic { iface, mods, prefix } = &t.kind {
            let of = program.iface(*iface).map_or("", |r| program.text(*r)).as_bytes();
            let at = self.plan_make(plan, DYNAMIC, &dynamic_name(of, *mods, *prefix)?, t.flags)?;
            let slot = plan.named(&self.names, at).map(|n| n.slot);
            plan.mark_dynamic(&self.names, at);
            let Some(slot) = slot.filter(|s| plan.fills.iter().all(|f| f.slot != *s)) else { return Ok(()) };
            let iface = program.iface(*iface).map_or("", |r| program.text(*r));
            let (mut entries, mut failed) = (Vec::new(), Ok(()));
            follow(iface, &t.kind, &mut |e| {
                if failed.is_ok() {
                    failed = grow(&mut entries, e, "table entries");
                }
            });
            failed?;
            return self.plan_fill(plan, slot, entries);
        }
        if !(fixed || t.flags.has(TableFlags::DEFINED)) {
            return Ok(());
        }
        let at = self.plan_make(plan, own_path(program, t), name, t.flags)?;
        if !new {
            return Ok(());
        }
        grow(&mut plan.defined, (at, t.flags), "tables")?;
        let slot = plan.named(&self.names, at).map(|n| n.slot);
        if let (Some(slot), true) = (slot, fixed || t.flags.has(TableFlags::INIT)) {
            let records = program.table_entries(id);
            let mut entries = room("table entries", count(records.len()))?;
            records.iter().for_each(|e| push(&mut entries, entry(e)));
            self.plan_fill(plan, slot, entries)?;
        }
        Ok(())
    }

    /// What a table is to hold; its new entries are counted beforehand, so that putting them in cannot fail.
    fn plan_fill(&self, plan: &mut TablePlan, slot: Slot, entries: Vec<Entry>) -> Result<(), OutOfMemory> {
        let again = plan.fills.iter().any(|f| f.slot == slot);
        let is_new = |e: &&Entry| again || self.all.find(slot, e.af, &e.addr, e.prefix).is_none();
        let more = crate::count::number(entries.iter().filter(is_new));
        grow(&mut plan.fills, Fill { slot, entries, more }, "table entries")
    }

    /// The table a program means: its own anchor's where that is there by a definition or by hand, else the main
    /// ruleset's.
    fn plan_reference(
        &mut self,
        plan: &mut TablePlan,
        program: &Program,
        t: &image::Table,
    ) -> Result<Slot, OutOfMemory> {
        let name = program.text(t.name).as_bytes();
        let own = own_path(program, t);
        let defined = t.flags.has(TableFlags::DEFINED) || t.flags.has(TableFlags::AUTOMATIC);
        let path = match &t.kind {
            TableKind::Dynamic { iface, mods, prefix } => {
                let of = program.iface(*iface).map_or("", |r| program.text(*r)).as_bytes();
                let at = self.plan_make(plan, DYNAMIC, &dynamic_name(of, *mods, *prefix)?, t.flags)?;
                return plan.named(&self.names, at).map(|n| n.slot).ok_or(OutOfMemory { what: "tables", count: 1 });
            }
            TableKind::Named if defined || plan.is_there(&self.names, own, name) => own,
            TableKind::Named => b"",
        };
        let at = self.plan_make(plan, path, name, TableFlags::default())?;
        plan.named(&self.names, at).map(|n| n.slot).ok_or(OutOfMemory { what: "tables", count: 1 })
    }

    /// Marks the tables that the rules and pools of a program name.
    fn plan_uses(&self, plan: &mut TablePlan, program: &Program) -> Result<(), OutOfMemory> {
        let tables = program.tables();
        let mut uses = filled("tables", count(tables.len()), false)?;
        let mut mark = |id: Option<TableId>| {
            if let Some(u) = id.and_then(|id| uses.get_mut(usize::from(id.0))) {
                *u = true;
            }
        };
        for r in program.rules() {
            r.tables.into_iter().chain([r.overload]).for_each(&mut mark);
        }
        for p in program.pools() {
            mark(match p.addr {
                PoolAddr::Table(t) | PoolAddr::Dynamic { table: t, .. } => Some(t),
                PoolAddr::Net { .. } | PoolAddr::None => None,
            });
        }
        let bound = plan.bound.last();
        for ((used, t), slot) in uses.into_iter().zip(tables).zip(bound.into_iter().flatten()) {
            // What the compiler makes and what follows an interface is named by code alone, if need be.
            if used || t.flags.has(TableFlags::AUTOMATIC) || !matches!(t.kind, TableKind::Named) {
                for (n, used) in self.names.iter().zip(&mut plan.used) {
                    *used |= n.slot == *slot;
                }
                for n in &mut plan.made {
                    n.referenced |= n.slot == *slot;
                }
            }
        }
        Ok(())
    }

    /// The place of a name, made when there is none: among those there are, then among those planned.
    fn plan_make(
        &mut self,
        plan: &mut TablePlan,
        path: &[u8],
        name: &[u8],
        flags: TableFlags,
    ) -> Result<usize, OutOfMemory> {
        if let Some(at) = plan.find(&self.names, path, name) {
            return Ok(at);
        }
        let (path, name) = (copy(path)?, copy(name)?);
        let err = OutOfMemory { what: "tables", count: 1 };
        plan.made.try_reserve(1).map_err(|_| err)?;
        let slot = self.all.create(flags.has(TableFlags::COUNTERS)).map_err(|_| err)?;
        let (referenced, active, dynamic, cleared) = (false, false, false, 0);
        push(&mut plan.made, Named { path, name, slot, flags, referenced, active, dynamic, cleared });
        Ok(self.names.len().saturating_add(plan.made.len()).saturating_sub(1))
    }

    /// Does what was planned.
    pub(super) fn apply(&mut self, plan: TablePlan, now: u32) {
        self.all.clock(now);
        for (n, used) in self.names.iter_mut().zip(plan.used) {
            n.referenced = used;
        }
        for mut n in plan.made {
            n.cleared = now;
            push(&mut self.names, n);
        }
        for (at, flags) in plan.defined {
            if let Some(n) = self.names.get_mut(at) {
                (n.active, n.flags) = (true, flags);
                self.all.set_counting(n.slot, flags.has(TableFlags::COUNTERS));
            }
        }
        for f in plan.fills {
            // Cannot fail: prefixes are those of an image or a host, and room was counted.
            let _ = self.all.replace(f.slot, &f.entries);
        }
        self.bound = plan.bound;
        self.sweep(&plan.pinned);
    }

    /// Removes tables that nothing keeps: not named by rules in force or pinned, not persistent.
    fn sweep(&mut self, pinned: &[bool]) {
        let all = &mut self.all;
        self.names.retain(|n| {
            let pinned = pinned.get(usize::from(n.slot.0)).copied().unwrap_or(false);
            let keep = n.referenced || pinned || (n.active && n.flags.has(TableFlags::PERSIST));
            if !keep {
                all.destroy(n.slot);
            }
            keep
        });
    }

    /// A table by name, to change.
    pub fn named_mut(&mut self, path: &[u8], name: &[u8]) -> Option<&mut Named> {
        self.names.iter_mut().find(|n| n.path == path && n.name == name)
    }

    /// Removes a table that an operator or a definition made, or empties it where rules name it: what it counted stays then.
    pub fn kill(&mut self, slot: Slot) {
        self.all.clear(slot);
        let all = &mut self.all;
        self.names.retain_mut(|n| {
            if n.slot != slot {
                return true;
            }
            n.active = false;
            n.flags = TableFlags::default();
            if !n.referenced {
                all.destroy(slot);
            }
            n.referenced
        });
    }

    /// Puts a source into the table a rule's `overload` names.
    pub fn overload(&mut self, slot: u32, af: Af, addr: &Addr, now: u32) {
        if let Ok(s) = u16::try_from(slot) {
            self.all.clock(now);
            let _ = self.all.add(Slot(s), &Entry::host(af, *addr));
        }
    }
}

/// The name of a table that follows an interface: with its modifiers and prefix, as pf names it
/// (`pfi_dynaddr_setup`).
fn dynamic_name(name: &[u8], mods: DynFlags, prefix: u8) -> Result<Vec<u8>, OutOfMemory> {
    let words: [(DynFlags, &[u8]); 4] = [
        (DynFlags::NETWORK, b":network"),
        (DynFlags::BROADCAST, b":broadcast"),
        (DynFlags::PEER, b":peer"),
        (DynFlags::NOALIAS, b":0"),
    ];
    let digits =
        [b'/', b'0'.wrapping_add(prefix / 100), b'0'.wrapping_add(prefix / 10 % 10), b'0'.wrapping_add(prefix % 10)];
    let [slash, hundreds, tens, ones] = digits;
    let number: &[u8] = match prefix {
        u8::MAX | 128 => &[],
        0..10 => &[slash, ones],
        10..100 => &[slash, tens, ones],
        _ => &[slash, hundreds, tens, ones],
    };
    let mut out = room("names", count(name.len()).saturating_add(32))?;
    let words = words.iter().filter(|(flag, _)| mods.has(*flag)).flat_map(|(_, word)| word.iter());
    name.iter().chain(words).chain(number).for_each(|b| push(&mut out, *b));
    Ok(out)
}

/// Path of the ruleset a table's name is written in.
fn own_path<'p>(program: &'p Program, t: &image::Table) -> &'p [u8] {
    program.ruleset(t.ruleset).map_or(&[], |r| program.text(r.path).as_bytes())
}

/// A record of an image as a table's entry.
#[must_use]
pub fn entry(e: &image::Entry) -> Entry {
    let af = if e.flags & image::Entry::INET6 != 0 { Af::Inet6 } else { Af::Inet };
    let not = e.flags & image::Entry::NOT != 0;
    Entry { not, weight: e.weight, ..Entry::new(af, Addr(e.addr), e.prefix) }
}

/// Appends, taking memory.
fn grow<T>(list: &mut Vec<T>, item: T, what: &'static str) -> Result<(), OutOfMemory> {
    list.try_reserve(1).map_err(|_| OutOfMemory { what, count: 1 })?;
    push(list, item);
    Ok(())
}

fn copy(bytes: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    copied("names", bytes)
}
