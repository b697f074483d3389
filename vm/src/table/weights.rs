//! Weights of a table's entries, as weighted pools want them.

use super::tree::{Fresh, flag};

/// Weights of a table, for weighted pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Entries with a weight given.
    pub cost_entries: u32,
    /// Greatest common divisor of the weights, 0 when there are none.
    pub gcd: u16,
    /// Largest weight.
    pub max: u16,
}

impl Weights {
    pub(super) const NONE: Self = Self { cost_entries: 0, gcd: 0, max: 1 };

    /// Takes a new entry into account (`pfr_ktable_winfo_update`): entries older than the first weighted one are not.
    pub(super) fn add(&mut self, fresh: &Fresh) {
        if fresh.flags & flag::COST != 0 {
            self.cost_entries = self.cost_entries.saturating_add(1);
        }
        if self.cost_entries > 0 {
            self.gcd = gcd(fresh.weight, if self.gcd == 0 { fresh.weight } else { self.gcd });
            self.max = self.max.max(fresh.weight);
        }
    }
}

/// Greatest common divisor.
const fn gcd(a: u16, b: u16) -> u16 {
    let (mut a, mut b) = (a, b);
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a
}
