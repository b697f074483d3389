//! The log: what rules asked to be recorded, kept in a ring until readers fetch it.
//!
//! The engine gives each record to its host ([`Log::take`]) while it decides; when it has decided, [`Log::seal`] adds
//! what only the rule book knows. Readers get rows with all names in them ([`Log::rows`]).
//! **Invariant:** taking a record copies at most [`SNAP`] bytes of the packet and neither allocates nor formats.
//! Locks: the filter's own. IRQL: `take` and `seal` at DISPATCH or below.

mod ring;

pub use ring::Ring;

use pfvm::engine::{Engine, LogRecord};
use pfvm::exec::UnitId;
use pfvm::packet::{DropReason, Packet};
use pfvm::rule::{self, Addr, Af, Direction};
use pfvm::state::pool::OutOfMemory;
use pfvm::watch::{Action, LogRow};

use crate::filter::{By, Unit};

/// First bytes of a packet that are kept: headers of every kind, and a little more than pflogd keeps.
pub const SNAP: usize = 128;
/// Records kept when nobody says otherwise.
pub const CAPACITY: u32 = 4096;

/// A record.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    ms: u64,
    generation: u64,
    stable_id: u64,
    about: LogRecord,
    len: u32,
    kept: u8,
    bytes: [u8; SNAP],
}

const BLANK: Record = Record {
    ms: 0,
    generation: 0,
    stable_id: 0,
    about: LogRecord {
        to: 0,
        rule: 0,
        nr: u32::MAX,
        site: None,
        anchor: None,
        anchor_nr: None,
        action: rule::Action::Pass,
        reason: DropReason::Match,
        dir: Direction::In,
        iface: 0,
        af: Af::Inet,
        naf: Af::Inet,
        src: (Addr([0; 16]), 0),
        dst: (Addr([0; 16]), 0),
        user: false,
        owner: None,
    },
    len: 0,
    kept: 0,
    bytes: [0; SNAP],
};

/// The log.
#[derive(Debug)]
pub struct Log {
    ring: Ring<Record>,
    /// Records before this one are complete.
    sealed: u64,
}

/// What a rule says, as rows name it.
pub(crate) const fn action_of(action: rule::Action) -> Action {
    match action {
        rule::Action::Pass => Action::Pass,
        rule::Action::Block => Action::Block,
        rule::Action::Match => Action::Match,
    }
}

/// What texts say of a rule that is still in force.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Named<'e> {
    pub nr: u32,
    pub anchor: &'e str,
    pub text: &'e str,
    pub label: &'e str,
    pub file: &'e str,
    pub line: u32,
    /// The program it is in.
    pub unit: Option<UnitId>,
}

/// The texts of the rule at a place, if it is the one with this stable id and its program is in force.
pub(crate) fn name(engine: &Engine, place: u32, stable_id: u64) -> Option<Named<'_>> {
    let entry = engine.rules.get(place).filter(|e| e.live && e.rule.stable_id == stable_id)?;
    let unit = entry.site?.unit;
    let program = engine.programs().get(usize::from(unit.0))?;
    let rule = &entry.rule;
    Some(Named {
        unit: Some(unit),
        nr: rule.nr,
        anchor: program.ruleset(rule.ruleset).map_or("", |r| program.text(r.path)),
        text: program.text(rule.text),
        label: program.text(rule.label),
        file: program.text(rule.file),
        line: rule.line,
    })
}

impl Log {
    /// A log of so many records.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    pub fn new(capacity: u32) -> Result<Self, OutOfMemory> {
        Ok(Self { ring: Ring::new("log records", capacity, BLANK)?, sealed: 1 })
    }

    /// Takes a record about a packet as it stands.
    pub fn take(&mut self, about: &LogRecord, packet: &Packet<'_>, ms: u64) {
        let Some(slot) = self.ring.push() else { return };
        let kept = packet.len().min(SNAP);
        slot.ms = ms;
        slot.generation = 0;
        slot.stable_id = 0;
        slot.about = *about;
        slot.len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let read = slot.bytes.get_mut(..kept).is_some_and(|room| packet.read(0, room));
        slot.kept = if read { u8::try_from(kept).unwrap_or(0) } else { 0 };
    }

    /// Adds to the records of what was just decided what the rule book knows.
    pub fn seal(&mut self, engine: &Engine, generation: u64) {
        for number in self.ring.from(self.sealed)..self.ring.next() {
            if let Some(r) = self.ring.get_mut(number) {
                r.generation = generation;
                r.stable_id = engine.rules.get(r.about.rule).map_or(0, |e| e.rule.stable_id);
            }
        }
        self.sealed = self.ring.next();
    }

    /// Gives rows from a cursor on until `give` says no; the cursor of the next one. 0 is the oldest there is,
    /// `u64::MAX` what comes from now on. `units` are those of the programs in force, which say who loaded a rule.
    pub fn rows<'e>(
        &mut self,
        cursor: u64,
        (engine, units): (&'e Engine, &[Unit]),
        iface: impl Fn(u16) -> Option<&'e str>,
        mut give: impl FnMut(&LogRow<'_>) -> bool,
    ) -> u64 {
        let mut at = self.ring.from(cursor);
        while let Some(record) = self.ring.get(at) {
            if !give(&row(at, record, (engine, units), &iface)) {
                break;
            }
            at = at.saturating_add(1);
        }
        self.ring.read(at);
        at
    }

    /// Records replaced before anybody read them.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.ring.dropped()
    }

    /// Records there ever were.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.ring.next().saturating_sub(1)
    }
}

fn row<'r, 'e: 'r>(
    seq: u64,
    record: &'r Record,
    (engine, units): (&'e Engine, &[Unit]),
    iface: &impl Fn(u16) -> Option<&'e str>,
) -> LogRow<'r> {
    let r = &record.about;
    let named = name(engine, r.rule, record.stable_id).unwrap_or_default();
    let unit = named.unit.and_then(|unit| units.get(usize::from(unit.0)));
    let by = unit.map_or(By::default(), |unit| unit.by);
    let (rule, subrule) = match r.anchor_nr {
        Some(anchor) => (anchor, r.nr),
        None => (r.nr, u32::MAX),
    };
    LogRow {
        seq,
        ms: record.ms,
        generation: record.generation,
        stable_id: record.stable_id,
        log_if: r.to,
        af: r.af,
        naf: r.naf,
        action: action_of(r.action),
        reason: u8::try_from(r.reason.index()).unwrap_or(u8::MAX),
        dir: r.dir,
        rule,
        subrule,
        uid: r.owner.filter(|_| r.user).map_or(u32::MAX, |(uid, _)| uid),
        pid: u32::MAX,
        rule_uid: by.uid,
        rule_pid: by.pid,
        src: r.src,
        dst: r.dst,
        len: record.len,
        iface: iface(r.iface).unwrap_or("?"),
        anchor: named.anchor,
        label: named.label,
        file: named.file,
        line: named.line,
        bytes: record.bytes.get(..usize::from(record.kept)).unwrap_or_default(),
    }
}
