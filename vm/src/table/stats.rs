//! Counters of tables and of their entries.

use super::PacketCount;
use crate::rule::{Action, Direction};

/// What a rule that names the table did with a packet (`PFR_OP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// Blocked.
    Block,
    /// Matched.
    Match,
    /// Passed.
    Pass,
    /// Passed by a state though the table no longer says so.
    XPass,
}

impl Op {
    /// All of them, in pf's order.
    pub const ALL: [Self; 4] = [Self::Block, Self::Match, Self::Pass, Self::XPass];

    /// The operation of a rule's action.
    #[must_use]
    pub const fn of(action: Action) -> Self {
        match action {
            Action::Block => Self::Block,
            Action::Match => Self::Match,
            Action::Pass => Self::Pass,
        }
    }
}

/// Packets and bytes by direction and operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    cells: [[PacketCount; 4]; 2],
}

impl Counters {
    /// Nothing counted.
    pub const ZERO: Self = Self { cells: [[PacketCount { packets: 0, bytes: 0 }; 4]; 2] };

    /// Adds a packet.
    pub fn add(&mut self, dir: Direction, op: Op, bytes: u32) {
        let row = self.cells.get_mut(usize::from(dir == Direction::Out));
        if let Some(cell) = row.and_then(|r| r.get_mut(op as usize)) {
            cell.packets = cell.packets.wrapping_add(1);
            cell.bytes = cell.bytes.wrapping_add(u64::from(bytes));
        }
    }

    /// One cell.
    #[must_use]
    pub fn get(&self, dir: Direction, op: Op) -> PacketCount {
        let row = self.cells.get(usize::from(dir == Direction::Out));
        row.and_then(|r| r.get(op as usize)).copied().unwrap_or_default()
    }
}
