//! Rules in force, and those states still pin: a copy of each with its counters.
//!
//! A state names its rule by place in this book, never by program: when rules are loaded anew, old entries live on as
//! long as a state or a source node refers to them.
//!
//! **Invariant:** an entry that is neither live nor referred to is free; [`RuleBook::load`] takes room for all rules
//! of a program before it changes anything.

use alloc::vec::Vec;

use crate::exec::{Site, UnitId};
use crate::rule::{Action, Direction, Keep, LogFlags, Return, Rule, RuleFlags, RuleId, RulesetId, StrRef, TIMEOUTS};
use crate::state::pool::{OutOfMemory, Pool, room};
use crate::state::record::NONE;
use crate::state::threshold::Threshold;
use crate::table::Slot;

/// A rule with what is counted at it.
#[derive(Clone, Copy, Debug)]
pub struct RuleEntry {
    /// What it does.
    pub rule: Rule,
    /// Its place in the programs that are or were loaded; `None` for the rule that applies when none does.
    pub site: Option<Site>,
    /// Whether the program in force has it.
    pub live: bool,
    /// Whether a `once` rule has matched.
    pub spent: bool,
    /// Times it was looked at.
    pub evaluations: u64,
    /// Packets in and out.
    pub packets: [u64; 2],
    /// Bytes in and out.
    pub bytes: [u64; 2],
    /// States there are.
    pub states: u32,
    /// States there ever were.
    pub states_total: u64,
    /// Source nodes there are.
    pub src_nodes: u32,
    /// `max-pkt-rate`.
    pub rate: Threshold,
    /// Digest of its label, 0 when it has none: labels outlive the texts of their program.
    pub label: u64,
    /// Slot of the table `overload` fills, [`NONE`] when it fills none.
    pub overload: u32,
    /// The table its source names, and whether negated: packets are counted there.
    pub src_table: Option<(Slot, bool)>,
    /// Likewise, of its destination.
    pub dst_table: Option<(Slot, bool)>,
}

impl RuleEntry {
    fn new(rule: Rule, site: Option<Site>, now: u32) -> Self {
        Self {
            rate: Threshold::new(rule.pkt_rate, rule.pkt_seconds, now),
            rule,
            site,
            live: true,
            spent: false,
            evaluations: 0,
            packets: [0; 2],
            bytes: [0; 2],
            states: 0,
            states_total: 0,
            src_nodes: 0,
            label: 0,
            overload: NONE,
            src_table: None,
            dst_table: None,
        }
    }

    /// Counts a packet.
    pub fn count(&mut self, slot: bool, len: u32) {
        let [p0, p1] = &mut self.packets;
        let [b0, b1] = &mut self.bytes;
        let (p, b) = if slot { (p1, b1) } else { (p0, b0) };
        *p = p.wrapping_add(1);
        *b = b.wrapping_add(u64::from(len));
    }
}

/// The rule that applies when none does: pass, no state (`pf_default_rule`).
#[must_use]
pub const fn default_rule() -> Rule {
    Rule {
        action: Action::Pass,
        returns: Return::Drop,
        direction: None,
        af: None,
        flags: RuleFlags(0),
        log: LogFlags(0),
        log_if: 0,
        keep: Keep::No,
        naf: None,
        nat: None,
        dst_prefix: 0,
        tables: [None; 2],
        rdr: None,
        route: None,
        tag: None,
        prio: [0; 2],
        tos: 0,
        min_ttl: 0,
        max_mss: 0,
        delay: 0,
        rtable: None,
        queue: [None; 2],
        divert: None,
        timeouts: [0; TIMEOUTS],
        max_states: 0,
        max_src_nodes: 0,
        max_src_states: 0,
        max_src_conn: 0,
        max_src_conn_rate: 0,
        max_src_conn_seconds: 0,
        pkt_rate: 0,
        pkt_seconds: 0,
        overload: None,
        anchor: None,
        label: StrRef { at: 0, len: 0 },
        text: StrRef { at: 0, len: 0 },
        more: StrRef { at: 0, len: 0 },
        file: StrRef { at: 0, len: 0 },
        line: 0,
        nr: u32::MAX,
        ruleset: RulesetId(0),
        stable_id: 0,
    }
}

/// All rules that are in force or pinned.
#[derive(Debug)]
pub struct RuleBook {
    entries: Pool<RuleEntry>,
    units: Vec<Vec<u32>>,
    default: u32,
}

impl RuleBook {
    /// A book with nothing but the default rule.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    pub fn new() -> Result<Self, OutOfMemory> {
        let mut entries = Pool::with_capacity("rules", 1)?;
        let none = OutOfMemory { what: "rules", count: 1 };
        let default = entries.take(RuleEntry::new(default_rule(), None, 0)).ok_or(none)?;
        Ok(Self { entries, units: Vec::new(), default })
    }

    /// Puts the rules of one program in force in the place of those before.
    ///
    /// # Errors
    /// [`OutOfMemory`]; nothing has changed then.
    pub fn load(&mut self, unit: UnitId, rules: &[Rule], now: u32) -> Result<(), OutOfMemory> {
        let count = u32::try_from(rules.len()).map_err(|_| OutOfMemory { what: "rules", count: u32::MAX })?;
        let mut live = room("rules", count)?;
        self.entries.reserve(count)?;
        let at = usize::from(unit.0);
        while self.units.len() <= at {
            let err = OutOfMemory { what: "programs", count: 1 };
            self.units.try_reserve(1).map_err(|_| err)?;
            if self.units.len() == self.units.capacity() {
                return Err(err);
            }
            self.units.push(Vec::new());
        }
        self.unload(unit);
        for (i, rule) in (0..count).zip(rules) {
            let site = Site { unit, rule: RuleId(i) };
            let Some(place) = self.entries.take(RuleEntry::new(*rule, Some(site), now)) else { break };
            if live.len() < live.capacity() {
                live.push(place);
            }
        }
        if let Some(u) = self.units.get_mut(at) {
            *u = live;
        }
        Ok(())
    }

    /// Takes the rules of one program out of force.
    pub fn unload(&mut self, unit: UnitId) {
        let Some(old) = self.units.get_mut(usize::from(unit.0)).map(core::mem::take) else { return };
        for place in old {
            if let Some(e) = self.entries.get_mut(place) {
                e.live = false;
            }
            self.free_if_unused(place);
        }
    }

    /// The place of a rule in force; that of the default rule when there is no such.
    #[must_use]
    pub fn place(&self, site: Site) -> u32 {
        let unit = self.units.get(usize::from(site.unit.0));
        let place = usize::try_from(site.rule.0).ok().and_then(|i| unit?.get(i)).copied();
        place.unwrap_or(self.default)
    }

    /// The place of the default rule.
    #[must_use]
    pub const fn default_place(&self) -> u32 {
        self.default
    }

    /// An entry.
    #[must_use]
    pub fn get(&self, place: u32) -> Option<&RuleEntry> {
        self.entries.get(place)
    }

    /// An entry, to change.
    #[must_use]
    pub fn get_mut(&mut self, place: u32) -> Option<&mut RuleEntry> {
        self.entries.get_mut(place)
    }

    /// The rules of a program in force, in order: their places.
    #[must_use]
    pub fn live(&self, unit: UnitId) -> &[u32] {
        self.units.get(usize::from(unit.0)).map_or(&[], Vec::as_slice)
    }

    /// A state begins to refer to a rule.
    pub fn pin(&mut self, place: u32) {
        if let Some(e) = self.entries.get_mut(place) {
            e.states = e.states.saturating_add(1);
            e.states_total = e.states_total.wrapping_add(1);
        }
    }

    /// A state ends to refer to a rule.
    pub fn unpin(&mut self, place: u32) {
        if let Some(e) = self.entries.get_mut(place) {
            e.states = e.states.saturating_sub(1);
        }
        self.free_if_unused(place);
    }

    /// A source node begins to refer to a rule.
    pub fn pin_node(&mut self, place: u32) {
        if let Some(e) = self.entries.get_mut(place) {
            e.src_nodes = e.src_nodes.saturating_add(1);
        }
    }

    /// A source node ends to refer to a rule.
    pub fn unpin_node(&mut self, place: u32) {
        if let Some(e) = self.entries.get_mut(place) {
            e.src_nodes = e.src_nodes.saturating_sub(1);
        }
        self.free_if_unused(place);
    }

    /// Sets all counters of rules to zero (`pfctl -z`).
    pub fn zero(&mut self) {
        for place in self.units.iter().flatten() {
            let Some(e) = self.entries.get_mut(*place) else { continue };
            e.evaluations = 0;
            e.packets = [0; 2];
            e.bytes = [0; 2];
        }
    }

    fn free_if_unused(&mut self, place: u32) {
        let unused = self.entries.get(place).is_some_and(|e| !e.live && e.states == 0 && e.src_nodes == 0);
        if unused && place != self.default && place != NONE {
            self.entries.give(place);
        }
    }
}

/// Whether packets of a direction count in the second cell.
#[must_use]
pub const fn second(dir: Direction) -> bool {
    matches!(dir, Direction::Out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_rules_outlive_their_program() {
        let mut b = RuleBook::new().unwrap();
        let rule = |nr| Rule { nr, ..default_rule() };
        let unit = UnitId(0);
        let at = |rule| Site { unit, rule: RuleId(rule) };
        b.load(unit, &[rule(0), rule(1)], 0).unwrap();
        let old = b.place(at(1));
        b.pin(old);
        b.load(unit, &[rule(7)], 0).unwrap();
        assert_eq!(b.get(old).map(|e| (e.rule.nr, e.live)), Some((1, false)));
        assert_eq!(b.get(b.place(at(0))).map(|e| e.rule.nr), Some(7));
        assert_eq!(b.place(at(1)), b.default_place());
        b.unpin(old);
        assert!(b.get(old).is_none());
    }
}
