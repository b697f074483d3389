//! Tables by name: what lives on across programs, and which of them a program's numbers mean.
//!
//! **Invariant:** [`TableSet::bind`] is the only place that gives a program's [`TableId`]s a meaning; a packet never
//! looks a name up.

use alloc::vec::Vec;

use crate::exec::UnitId;
use crate::image::{self, TableFlags, TableKind};
use crate::rule::{Addr, Af, TableId};
use crate::state::pool::{OutOfMemory, copied, room};
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
                self.names.push(Named {
                    path: copy(path)?,
                    name: copy(name)?,
                    slot,
                    flags,
                    referenced: false,
                    active: false,
                    dynamic: false,
                });
                self.names.len().saturating_sub(1)
            }
        };
        self.names.get_mut(at).ok_or(err)
    }

    /// Binds the tables of all programs: those `fresh` defines are made or refilled, others are sought by name.
    /// `follow` gives the addresses of interfaces.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    pub fn bind<'p>(
        &mut self,
        programs: impl Iterator<Item = &'p Program>,
        fresh: Option<UnitId>,
        follow: &Follow<'_>,
    ) -> Result<(), OutOfMemory> {
        for n in &mut self.names {
            n.referenced = false;
        }
        let mut all = Vec::new();
        for (unit, program) in (0..=u16::MAX).map(UnitId).zip(programs) {
            let count = u32::try_from(program.tables().len()).unwrap_or(u32::MAX);
            let mut bound: Vec<Slot> = room("table bindings", count)?;
            for (id, t) in (0..=u16::MAX).map(TableId).zip(program.tables()) {
                let slot = self.bind_one(program, id, t, fresh == Some(unit), follow)?;
                if bound.len() < bound.capacity() {
                    bound.push(slot);
                }
            }
            all.try_reserve(1).map_err(|_| OutOfMemory { what: "table bindings", count })?;
            if all.len() < all.capacity() {
                all.push(bound);
            }
        }
        self.bound = all;
        self.sweep();
        Ok(())
    }

    fn bind_one(
        &mut self,
        program: &Program,
        id: TableId,
        t: &image::Table,
        fresh: bool,
        follow: &Follow<'_>,
    ) -> Result<Slot, OutOfMemory> {
        let own = program.ruleset(t.ruleset).map_or("", |r| program.text(r.path));
        let name = program.text(t.name);
        let defined = t.flags.has(TableFlags::DEFINED);
        let fixed = t.flags.has(TableFlags::AUTOMATIC);
        // A name that the anchor does not define means the main ruleset's table.
        let path = if defined || fixed || self.named(own.as_bytes(), name.as_bytes()).is_some() { own } else { "" };
        if let TableKind::Dynamic { iface, .. } = &t.kind {
            let iface = program.iface(*iface).map_or("", |r| program.text(*r));
            let named = self.make(b"_pf", name.as_bytes(), t.flags)?;
            named.referenced = true;
            named.dynamic = true;
            let slot = named.slot;
            self.all.clear(slot);
            let all = &mut self.all;
            follow(iface, &t.kind, &mut |e| {
                let _ = all.add(slot, &e);
            });
            return Ok(slot);
        }
        let named = self.make(path.as_bytes(), name.as_bytes(), t.flags)?;
        named.referenced = true;
        if defined || fixed {
            named.active = true;
            named.flags = t.flags;
        }
        let slot = named.slot;
        if fresh && (t.flags.has(TableFlags::INIT) || fixed) {
            self.fill(slot, program.table_entries(id));
        }
        Ok(slot)
    }

    /// Makes a table hold the entries of an image.
    fn fill(&mut self, slot: Slot, entries: &[image::Entry]) {
        self.all.clear(slot);
        for e in entries {
            let af = if e.flags & image::Entry::INET6 != 0 { Af::Inet6 } else { Af::Inet };
            let mut entry = Entry::new(af, Addr(e.addr), e.prefix);
            entry.not = e.flags & image::Entry::NOT != 0;
            entry.weight = e.weight;
            let _ = self.all.add(slot, &entry);
        }
    }

    /// Removes tables that nothing keeps: not named by the program, not persistent.
    fn sweep(&mut self) {
        let all = &mut self.all;
        self.names.retain(|n| {
            let keep = n.referenced || (n.active && n.flags.has(TableFlags::PERSIST));
            if !keep {
                all.destroy(n.slot);
            }
            keep
        });
    }

    /// Forgets that an operator or a definition made a table: it stays only as long as rules name it.
    pub fn kill(&mut self, slot: Slot) {
        for n in self.names.iter_mut().filter(|n| n.slot == slot) {
            n.active = false;
        }
        self.sweep();
    }

    /// Puts a source into the table a rule's `overload` names.
    pub fn overload(&mut self, slot: u32, af: Af, addr: &Addr) {
        if let Ok(s) = u16::try_from(slot) {
            let _ = self.all.add(Slot(s), &Entry::host(af, *addr));
        }
    }
}

fn copy(bytes: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    copied("names", bytes)
}
