//! Interfaces and tags by number: what names of programs mean on this host.

use alloc::vec::Vec;

use crate::engine::counters::IfaceCounters;
use crate::exec::UnitId;
use crate::rule::{Af, Direction, IfaceId, TagId};
use crate::state::pool::{OutOfMemory, copied, filled, room};
use crate::verify::Program;

/// An interface of the host.
#[derive(Clone, Copy, Debug)]
pub struct Live<'n> {
    /// Index.
    pub index: u16,
    /// Name.
    pub name: &'n str,
    /// Groups.
    pub groups: &'n [&'n str],
    /// Whether it is a loopback one.
    pub loopback: bool,
}

impl Live<'_> {
    /// Whether a name in the rules means this interface: its own, one of its groups, or `any` that is no loopback.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name == name || self.groups.contains(&name) || (name == "any" && !self.loopback)
    }
}

/// What one interface is to the programs in force.
#[derive(Clone, Debug, Default)]
struct Row {
    index: u16,
    skipped: bool,
    /// One bit for each name of each program.
    members: Vec<Vec<bool>>,
    counters: IfaceCounters,
}

/// All interfaces.
#[derive(Debug, Default)]
pub struct Ifaces {
    rows: Vec<Row>,
}

impl Ifaces {
    /// Binds the names of all programs to the interfaces there are. Counters of interfaces that stay are kept.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    pub fn bind(&mut self, live: &[Live<'_>], programs: &[&Program]) -> Result<(), OutOfMemory> {
        let mut rows = room("interfaces", u32::try_from(live.len()).unwrap_or(u32::MAX))?;
        for l in live {
            let mut members = room("interface names", u32::try_from(programs.len()).unwrap_or(u32::MAX))?;
            for p in programs {
                let mut bits = filled("interface names", u32::try_from(p.ifaces().len()).unwrap_or(0), false)?;
                for (bit, name) in bits.iter_mut().zip(p.ifaces()) {
                    *bit = l.is(p.text(*name));
                }
                if members.len() < members.capacity() {
                    members.push(bits);
                }
            }
            let main = programs.first();
            let skipped =
                main.is_some_and(|p| p.skips().iter().any(|id| p.iface(*id).is_some_and(|name| l.is(p.text(*name)))));
            let counters = self.row(l.index).map(|r| r.counters).unwrap_or_default();
            if rows.len() < rows.capacity() {
                rows.push(Row { index: l.index, skipped, members, counters });
            }
        }
        self.rows = rows;
        Ok(())
    }

    fn row(&self, index: u16) -> Option<&Row> {
        self.rows.iter().find(|r| r.index == index)
    }

    /// Whether an interface is the one a program names, or of the group it names.
    #[must_use]
    pub fn is(&self, unit: UnitId, name: IfaceId, index: u16) -> bool {
        let bits = self.row(index).and_then(|r| r.members.get(usize::from(unit.0)));
        bits.and_then(|b| b.get(usize::from(name.0))).copied().unwrap_or(false)
    }

    /// Whether packets of an interface are not looked at.
    #[must_use]
    pub fn skipped(&self, index: u16) -> bool {
        self.row(index).is_some_and(|r| r.skipped)
    }

    /// Counts a packet.
    pub fn count(&mut self, index: u16, af: Af, dir: Direction, passed: bool, len: u32) {
        if let Some(r) = self.rows.iter_mut().find(|r| r.index == index) {
            r.counters.count(af, dir, passed, len);
        }
    }

    /// The counters of an interface.
    #[must_use]
    pub fn counters(&self, index: u16) -> Option<&IfaceCounters> {
        self.row(index).map(|r| &r.counters)
    }
}

/// Tags by name, kept across programs so that states keep theirs.
#[derive(Debug, Default)]
pub struct Tags {
    names: Vec<Vec<u8>>,
    bound: Vec<Vec<u16>>,
}

impl Tags {
    /// Binds the tags of all programs; tag 0 is none.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    pub fn bind(&mut self, programs: &[&Program]) -> Result<(), OutOfMemory> {
        let mut all = room("tags", u32::try_from(programs.len()).unwrap_or(u32::MAX))?;
        for p in programs {
            let mut bound: Vec<u16> = room("tags", u32::try_from(p.tags().len()).unwrap_or(u32::MAX))?;
            for name in p.tags() {
                let number = self.number(p.text(*name).as_bytes())?;
                if bound.len() < bound.capacity() {
                    bound.push(number);
                }
            }
            if all.len() < all.capacity() {
                all.push(bound);
            }
        }
        self.bound = all;
        Ok(())
    }

    fn number(&mut self, name: &[u8]) -> Result<u16, OutOfMemory> {
        let err = OutOfMemory { what: "tags", count: 1 };
        if let Some(at) = self.names.iter().position(|n| n == name) {
            return u16::try_from(at.saturating_add(1)).map_err(|_| err);
        }
        let copy = copied("tags", name)?;
        self.names.try_reserve(1).map_err(|_| err)?;
        self.names.push(copy);
        u16::try_from(self.names.len()).map_err(|_| err)
    }

    /// The number of a program's tag.
    #[must_use]
    pub fn live(&self, unit: UnitId, tag: TagId) -> u16 {
        let bound = self.bound.get(usize::from(unit.0));
        bound.and_then(|b| b.get(usize::from(tag.0))).copied().unwrap_or(0)
    }

    /// The name of a tag.
    #[must_use]
    pub fn name(&self, number: u16) -> Option<&str> {
        let n = self.names.get(usize::from(number).checked_sub(1)?)?;
        core::str::from_utf8(n).ok()
    }
}
