//! The rules one packet met: what a trace shows of it.
//!
//! A packet that is followed is decided by the straight code of its rules, where every rule is met in its order, and each
//! rule that matches is noted here. The decision is the same; only `Evaluations` are counted as straight code counts them.
//! **Invariant:** nothing here allocates; of rules beyond [`MOST`] only the number is kept, but the last one always.

use alloc::vec::Vec;

use crate::engine::Engine;
use crate::exec::{Site, UnitId};
use crate::isa::Op;
use crate::state::pool::{OutOfMemory, filled};
use crate::state::record::NONE;
use crate::verify::{Body, Program};

/// Most rules kept of one packet.
pub const MOST: usize = 32;

/// How a rule was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It matched and decides unless another one does.
    Matched,
    /// A `match` rule.
    Applied,
    /// Its anchor was entered.
    Entered,
}

/// A rule that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// Place in the rule book.
    pub place: u32,
    /// How.
    pub how: How,
}

/// The rules a packet met.
#[derive(Debug)]
pub struct Trail {
    pub(super) on: bool,
    /// [`MOST`] places.
    met: Vec<Met>,
    count: usize,
    unseen: u16,
}

impl Trail {
    /// Nothing followed.
    pub(super) fn new() -> Result<Self, OutOfMemory> {
        let places = u32::try_from(MOST).unwrap_or(u32::MAX);
        let met = filled("rules of a trace", places, Met { place: NONE, how: How::Matched })?;
        Ok(Self { on: false, met, count: 0, unseen: 0 })
    }

    /// The rules, in order.
    #[must_use]
    pub fn met(&self) -> &[Met] {
        self.met.get(..self.count).unwrap_or_default()
    }

    /// Rules that found no room, between the last but one and the last.
    #[must_use]
    pub const fn unseen(&self) -> u16 {
        self.unseen
    }

    pub(super) fn note(&mut self, place: u32, how: How) {
        let new = Met { place, how };
        // A translating rule is met again when its translation is done.
        if self.met().last() == Some(&new) {
            return;
        }
        if let Some(slot) = self.met.get_mut(self.count) {
            *slot = new;
            self.count = self.count.saturating_add(1);
        } else if let Some(last) = self.met.last_mut() {
            *last = new;
            self.unseen = self.unseen.saturating_add(1);
        }
    }
}

/// What a word about to run does with a rule, if it means that the rule matched.
pub(super) fn met_by(program: Option<&Program>, unit: UnitId, body: Body, pc: u32) -> Option<(Site, How)> {
    let op = program?.code(body).get(usize::try_from(pc).ok()?)?;
    let (rule, how) = match *op {
        Op::Note { rule } | Op::End { rule } => (rule, How::Matched),
        Op::Hit { rule } => (rule, How::Applied),
        Op::Call { rule, .. } => (rule, How::Entered),
        _ => return None,
    };
    Some((Site { unit, rule }, how))
}

impl Engine {
    /// Follows the next packet, or ends to. What was kept of another one is forgotten.
    pub fn follow(&mut self, on: bool) {
        (self.trail.on, self.trail.count, self.trail.unseen) = (on, 0, 0);
    }

    /// The rules met by the packet that was followed.
    #[must_use]
    pub const fn trail(&self) -> &Trail {
        &self.trail
    }
}
