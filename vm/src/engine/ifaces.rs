//! Interfaces and tags by number: what names of programs mean on this host.

use alloc::vec::Vec;

use crate::engine::counters::{IfaceCells, IfaceCounters};
use crate::engine::load::{count, push};
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
    /// Whether a name in the rules means this interface: its own, one of its groups, or `any` that is no loopback. Where
    /// `*` stands among the groups, names with a star are patterns.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name == name
            || self.groups.contains(&name)
            || (name == "any" && !self.loopback)
            || (name.bytes().any(|b| b == b'*')
                && name != "*"
                && self.groups.contains(&"*")
                && matches(name, self.name))
    }
}

/// Whether a name meets a pattern in which `*` stands for any characters, ASCII letters in whatever case.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.as_bytes(), name.as_bytes());
    // Where to go on after the last star, should the rest not fit.
    let mut again: Option<(&[u8], &[u8])> = None;
    for _ in 0..MOST_STEPS {
        match (pattern.split_first(), name.split_first()) {
            (Some((b'*', rest)), _) => {
                again = Some((rest, name));
                pattern = rest;
            }
            (Some((p, p_rest)), Some((n, n_rest))) if p.eq_ignore_ascii_case(n) => (pattern, name) = (p_rest, n_rest),
            (None, None) => return true,
            _ => {
                let Some((rest, from)) = again else { return false };
                let Some((_, from)) = from.split_first() else { return false };
                again = Some((rest, from));
                (pattern, name) = (rest, from);
            }
        }
    }
    false
}

/// Steps enough for the longest pattern and name.
const MOST_STEPS: u32 = 1 << 17;

/// What one interface is to the programs in force.
#[derive(Clone, Debug, Default)]
struct Row {
    index: u16,
    skipped: bool,
    /// One bit for each name of each program.
    members: Vec<Vec<bool>>,
    counters: IfaceCells,
    /// Second its counters were zeroed.
    cleared: u32,
}

/// All interfaces.
#[derive(Debug, Default)]
pub struct Ifaces {
    rows: Vec<Row>,
    /// Of each index its row, [`NO_ROW`] for none.
    at: Vec<u16>,
}

/// No interface has this index here.
const NO_ROW: u16 = u16::MAX;

impl Ifaces {
    /// Binds the names of all programs to the interfaces there are. Counters of interfaces that stay are kept; which are
    /// skipped says a `main` ruleset that is new, else they stay as they are. Those of a new interface count from `now`.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room; nothing has changed.
    pub(super) fn plan(
        &self,
        live: &[Live<'_>],
        programs: &[&Program],
        main: Option<&Program>,
        now: u32,
    ) -> Result<Self, OutOfMemory> {
        let mut rows = room("interfaces", count(live.len()))?;
        for l in live {
            let mut members = room("interface names", count(programs.len()))?;
            for p in programs {
                let mut bits = filled("interface names", count(p.ifaces().len()), false)?;
                for (bit, name) in bits.iter_mut().zip(p.ifaces()) {
                    *bit = l.is(p.text(*name));
                }
                push(&mut members, bits);
            }
            let old = self.row(l.index);
            let skipped = match main {
                Some(p) => p.skips().iter().any(|id| p.iface(*id).is_some_and(|name| l.is(p.text(*name)))),
                None => old.is_some_and(|r| r.skipped),
            };
            let counters = old.map(|r| r.counters.clone()).unwrap_or_default();
            let cleared = old.map_or(now, |r| r.cleared);
            push(&mut rows, Row { index: l.index, skipped, members, counters, cleared });
        }
        let highest = rows.iter().map(|r| r.index).max();
        let mut at = filled("interface indexes", highest.map_or(0, |i| u32::from(i).saturating_add(1)), NO_ROW)?;
        for (r, n) in rows.iter().zip(0..NO_ROW).rev() {
            if let Some(to) = at.get_mut(usize::from(r.index)) {
                *to = n;
            }
        }
        Ok(Self { rows, at })
    }

    /// Puts bindings in force.
    pub(super) fn apply(&mut self, planned: Self) {
        *self = planned;
    }

    /// Says whether packets of an interface are to be looked at.
    pub fn skip(&mut self, index: u16, skip: bool) {
        if let Some(r) = self.row_mut(index) {
            r.skipped = skip;
        }
    }

    /// Zeroes the counters of an interface.
    pub fn clear(&mut self, index: u16, now: u32) {
        if let Some(r) = self.row_mut(index) {
            r.counters = IfaceCells::default();
            r.cleared = now;
        }
    }

    /// Second from which the counters of an interface count: when it came, or when they were zeroed.
    #[must_use]
    pub fn cleared(&self, index: u16) -> u32 {
        self.row(index).map_or(0, |r| r.cleared)
    }

    #[inline]
    fn row_mut(&mut self, index: u16) -> Option<&mut Row> {
        self.rows.get_mut(usize::from(*self.at.get(usize::from(index))?))
    }

    #[inline]
    fn row(&self, index: u16) -> Option<&Row> {
        self.rows.get(usize::from(*self.at.get(usize::from(index))?))
    }

    /// Whether an interface is the one a program names, or of the group it names.
    #[must_use]
    pub fn is(&self, unit: UnitId, name: IfaceId, index: u16) -> bool {
        let bits = self.row(index).and_then(|r| r.members.get(usize::from(unit.0)));
        bits.and_then(|b| b.get(usize::from(name.0))).copied().unwrap_or(false)
    }

    /// Whether packets of an interface are not looked at.
    #[must_use]
    #[inline]
    pub fn skipped(&self, index: u16) -> bool {
        self.row(index).is_some_and(|r| r.skipped)
    }

    /// Counts a packet.
    #[inline]
    pub fn count(&mut self, index: u16, af: Af, dir: Direction, passed: bool, len: u32) {
        if let Some(r) = self.row_mut(index) {
            r.counters.count(af, dir, passed, len);
        }
    }

    /// Counts packets of an interface that passed and that others have counted together.
    pub(super) fn add(&self, index: u16, af: Af, dir: Direction, packets: u64, bytes: u64) {
        if let Some(r) = self.row(index) {
            r.counters.add(af, dir, packets, bytes);
        }
    }

    /// The counters of an interface.
    #[must_use]
    pub fn counters(&self, index: u16) -> Option<IfaceCounters> {
        self.row(index).map(|r| r.counters.read())
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_anything() {
        for yes in ["Ethernet*", "*net*", "ethernet *2", "*", "**", "Ethernet 2"] {
            assert!(matches(yes, "Ethernet 2"), "{yes}");
        }
        for no in ["Wi-Fi*", "Ethernet*3", "net*", "*2*2", ""] {
            assert!(!matches(no, "Ethernet 2"), "{no}");
        }
    }
}

/// Tags by name, kept across programs so that states keep theirs.
#[derive(Debug, Default)]
pub struct Tags {
    names: Vec<Vec<u8>>,
    bound: Vec<Vec<u16>>,
}

impl Tags {
    /// Binds the tags of all programs; tag 0 is none. Names that are new are remembered at once: nobody carries them.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    pub(super) fn plan(&mut self, programs: &[&Program]) -> Result<Vec<Vec<u16>>, OutOfMemory> {
        let mut all = room("tags", count(programs.len()))?;
        for p in programs {
            let mut bound: Vec<u16> = room("tags", count(p.tags().len()))?;
            for name in p.tags() {
                let number = self.number(p.text(*name).as_bytes())?;
                push(&mut bound, number);
            }
            push(&mut all, bound);
        }
        Ok(all)
    }

    /// Puts bindings in force.
    pub(super) fn apply(&mut self, bound: Vec<Vec<u16>>) {
        self.bound = bound;
    }

    /// The number of a tag's name, made when there is none.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    pub fn of(&mut self, name: &str) -> Result<u16, OutOfMemory> {
        if name.is_empty() { Ok(0) } else { self.number(name.as_bytes()) }
    }

    fn number(&mut self, name: &[u8]) -> Result<u16, OutOfMemory> {
        let err = OutOfMemory { what: "tags", count: 1 };
        if let Some(at) = self.names.iter().position(|n| n == name) {
            return u16::try_from(at.saturating_add(1)).map_err(|_| err);
        }
        let copy = copied("tags", name)?;
        self.names.try_reserve(1).map_err(|_| err)?;
        push(&mut self.names, copy);
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
