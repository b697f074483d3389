//! Rules in force, and those states still pin: a copy of each with its counters.
//!
//! A state names its rule by place in this book, never by program: when rules are loaded anew, old entries live on as
//! long as a state or a source node refers to them.
//!
//! **Invariant:** an entry that is neither live nor referred to is free; room for all rules of a load is taken before
//! anything changes.

use alloc::vec::Vec;

use crate::engine::create::scrub_flags;
use crate::engine::load::{From, count, push};
use crate::exec::{Site, UnitId};
use crate::rule::{Action, Direction, Keep, LogFlags, Return, Rule, RuleFlags, RuleId, RulesetId, StrRef, TIMEOUTS};
use crate::state::pool::{OutOfMemory, Pool, room};
use crate::state::record::{NONE, StateFlags};
use crate::state::threshold::Threshold;
use crate::sync::Long;
use crate::table::Slot;
use crate::verify::Program;

/// A rule with what is counted at it.
#[derive(Clone, Debug)]
pub struct RuleEntry {
    /// What it does.
    pub rule: Rule,
    /// Its place in the programs that are or were loaded; `None` for the rule that applies when none does.
    pub site: Option<Site>,
    /// Whether the program in force has it.
    pub live: bool,
    /// Whether a `once` rule has matched.
    pub spent: bool,
    /// Of a rule no longer in force: whether none in force has its stable number.
    pub changed: bool,
    /// Whether it says pass or block and nothing else ([`is_bare`]).
    pub(super) bare: bool,
    /// Times it was looked at.
    pub evaluations: u64,
    packets: [Long; 2],
    bytes: [Long; 2],
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

/// Whether all a rule says of a packet without options is its verdict: it makes no state, logs and answers nothing, and
/// leaves packets as they are.
fn is_bare(r: &Rule) -> bool {
    let verdict = match r.action {
        Action::Pass => r.keep == Keep::No,
        Action::Block => r.returns == Return::Drop,
        Action::Match => false,
    };
    let translates = r.nat.is_some() || r.rdr.is_some() || r.flags.has(RuleFlags::AF_TO);
    let rewrites = scrub_flags(r) != StateFlags(0) || r.min_ttl != 0 || r.max_mss != 0;
    let tells = r.flags.has(RuleFlags::SET_DELAY) || r.queue != [None; 2] || r.divert.is_some();
    verdict && r.log == LogFlags(0) && !translates && !rewrites && !tells
}

impl RuleEntry {
    fn new(rule: Rule, site: Option<Site>, now: u32) -> Self {
        Self {
            rate: Threshold::new(rule.pkt_rate, rule.pkt_seconds, now),
            bare: is_bare(&rule),
            rule,
            site,
            live: true,
            spent: false,
            changed: false,
            evaluations: 0,
            packets: Default::default(),
            bytes: Default::default(),
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
    #[inline]
    pub fn count(&mut self, slot: bool, len: u32) {
        let [p0, p1] = &mut self.packets;
        let [b0, b1] = &mut self.bytes;
        let (p, b) = if slot { (p1, b1) } else { (p0, b0) };
        p.grow(1);
        b.grow(len.into());
    }

    /// Counts packets and bytes in and out that others have counted together.
    pub(super) fn add(&self, packets: [u64; 2], bytes: [u64; 2]) {
        let cells = self.packets.iter().chain(&self.bytes);
        cells.zip(packets.into_iter().chain(bytes)).for_each(|(cell, n)| cell.add(n));
    }

    /// Packets in and out.
    #[must_use]
    pub fn packets(&self) -> [u64; 2] {
        self.packets.each_ref().map(Long::get)
    }

    /// Bytes in and out.
    #[must_use]
    pub fn bytes(&self) -> [u64; 2] {
        self.bytes.each_ref().map(Long::get)
    }

    fn zero(&mut self) {
        (self.evaluations, self.states_total) = (0, 0);
        (self.packets, self.bytes) = Default::default();
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

/// Room for the rules of programs to come, a list for each.
#[derive(Debug)]
pub(super) struct Rulebooks {
    units: Vec<Vec<u32>>,
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

    /// Takes room for the rules of new programs, in the order they will stand in.
    ///
    /// # Errors
    /// [`OutOfMemory`]; nothing has changed then.
    pub(super) fn plan(&mut self, order: &[From], programs: &[&Program]) -> Result<Rulebooks, OutOfMemory> {
        let mut units = room("programs", count(order.len()))?;
        let mut total = 0_u32;
        for (from, p) in order.iter().zip(programs) {
            let more = if matches!(from, From::New(_)) { count(p.rules().len()) } else { 0 };
            total = total.saturating_add(more);
            push(&mut units, room("rules", more)?);
        }
        self.entries.reserve(total)?;
        Ok(Rulebooks { units })
    }

    /// Puts the rules of new programs in force and takes those of programs that are gone out of it. `ids` are the
    /// stable numbers of all rules that are in force then, sorted.
    pub(super) fn apply(&mut self, order: &[From], books: Rulebooks, programs: &[Program], now: u32, ids: &[u64]) {
        let mut units = books.units;
        for (slot, from) in units.iter_mut().zip(order) {
            if let From::Old(at) = from
                && let Some(old) = self.units.get_mut(*at)
            {
                *slot = core::mem::take(old);
            }
        }
        for place in core::mem::take(&mut self.units).into_iter().flatten() {
            if let Some(e) = self.entries.get_mut(place) {
                e.live = false;
            }
            self.free_if_unused(place);
        }
        let places = (0..=u16::MAX).map(UnitId).zip(order).zip(units.iter_mut().zip(programs));
        for ((unit, from), (slot, program)) in places {
            match from {
                From::Old(_) => self.renumber(slot, unit),
                From::New(_) => self.put(slot, unit, program.rules(), now),
            }
        }
        self.units = units;
        for e in self.entries.iter_mut().filter(|e| !e.live) {
            e.changed = ids.binary_search(&e.rule.stable_id).is_err();
        }
    }

    /// Rules of a program that stays, in its new place.
    fn renumber(&mut self, places: &[u32], unit: UnitId) {
        for place in places {
            if let Some(site) = self.entries.get_mut(*place).and_then(|e| e.site.as_mut()) {
                site.unit = unit;
            }
        }
    }

    /// Rules of a new program.
    fn put(&mut self, places: &mut Vec<u32>, unit: UnitId, rules: &[Rule], now: u32) {
        for (id, rule) in (0..=u32::MAX).map(RuleId).zip(rules) {
            // Cannot fail: room was taken for all of them.
            let Some(place) = self.entries.take(RuleEntry::new(*rule, Some(Site { unit, rule: id }), now)) else {
                return;
            };
            push(places, place);
        }
    }

    /// Calls `f` with the tables that rules with states or source nodes fill and count at: they stay with those rules.
    pub(super) fn pinned_tables(&self, f: &mut dyn FnMut(Slot)) {
        for (_, e) in self.entries.iter().filter(|(_, e)| e.states > 0 || e.src_nodes > 0) {
            let overload = u16::try_from(e.overload).ok().map(Slot);
            let ends = [e.src_table, e.dst_table].map(|t| t.map(|(slot, _)| slot));
            ends.into_iter().chain([overload]).flatten().for_each(&mut *f);
        }
    }

    /// All entries, in force or pinned, with their places.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &RuleEntry)> {
        self.entries.iter()
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
    #[inline]
    pub const fn default_place(&self) -> u32 {
        self.default
    }

    /// An entry.
    #[must_use]
    #[inline]
    pub fn get(&self, place: u32) -> Option<&RuleEntry> {
        self.entries.get(place)
    }

    /// An entry, to change.
    #[must_use]
    #[inline]
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

    /// A state begins to refer to a match rule: it is among the rule's states and none of its making (`STATE_INC_COUNTERS`).
    pub fn pin_match(&mut self, place: u32) {
        if let Some(e) = self.entries.get_mut(place) {
            e.states = e.states.saturating_add(1);
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
            e.zero();
        }
    }

    /// Sets the counters of some rules of a program to zero.
    pub fn zero_of(&mut self, unit: UnitId, rules: core::ops::Range<usize>) {
        for place in self.units.get(usize::from(unit.0)).and_then(|u| u.get(rules)).unwrap_or_default() {
            let Some(e) = self.entries.get_mut(*place) else { continue };
            e.zero();
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
    fn a_rule_that_asks_for_anything_is_not_bare() {
        let bare = default_rule();
        let block = Rule { action: Action::Block, ..bare };
        assert!(is_bare(&bare) && is_bare(&block));
        for asks in [
            Rule { keep: Keep::Keep, ..bare },
            Rule { action: Action::Match, ..bare },
            Rule { returns: Return::Rst { ttl: 0 }, ..block },
            Rule { log: LogFlags::ALL_PACKETS, ..bare },
            Rule { flags: RuleFlags::AF_TO, ..bare },
            Rule { flags: RuleFlags::NO_DF, ..bare },
            Rule { flags: RuleFlags::SET_DELAY, ..bare },
            Rule { flags: RuleFlags::SET_PRIO, ..bare },
            Rule { min_ttl: 1, ..bare },
            Rule { max_mss: 1, ..bare },
        ] {
            assert!(!is_bare(&asks), "{asks:?}");
        }
    }

    #[test]
    fn pinned_rules_outlive_their_program() {
        let mut b = RuleBook::new().unwrap();
        let rule = |nr| Rule { nr, ..default_rule() };
        let unit = UnitId(0);
        let at = |rule| Site { unit, rule: RuleId(rule) };
        let load = |b: &mut RuleBook, rules: &[Rule]| {
            for place in core::mem::take(&mut b.units).into_iter().flatten() {
                b.entries.get_mut(place).unwrap().live = false;
                b.free_if_unused(place);
            }
            b.entries.reserve(2).unwrap();
            let mut places = room("rules", 2).unwrap();
            b.put(&mut places, unit, rules, 0);
            b.units = vec![places];
        };
        load(&mut b, &[rule(0), rule(1)]);
        let old = b.place(at(1));
        b.pin(old);
        load(&mut b, &[rule(7)]);
        assert_eq!(b.get(old).map(|e| (e.rule.nr, e.live)), Some((1, false)));
        assert_eq!(b.get(b.place(at(0))).map(|e| e.rule.nr), Some(7));
        assert_eq!(b.place(at(1)), b.default_place());
        b.unpin(old);
        assert!(b.get(old).is_none());
    }
}
