//! When a state ends: timeouts of its rule or of `set timeout`, and their scaling by how full the table is.
//!
//! Source: `pf.c pf_state_expires`.

use crate::rule::{TIMEOUTS, Timeout};
use crate::state::record::{State, StateTimeout};

/// Reads a table of timeouts.
#[must_use]
pub fn value(table: &[u32; TIMEOUTS], t: Timeout) -> u32 {
    table.get(t as usize).copied().unwrap_or(0)
}

/// What scaling works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load<'a> {
    /// `set timeout`.
    pub defaults: &'a [u32; TIMEOUTS],
    /// States there are.
    pub states: u32,
    /// Timeouts of the state's rule; 0 inherits.
    pub rule: &'a [u32; TIMEOUTS],
    /// States the rule has.
    pub rule_states: u32,
}

impl Load<'_> {
    /// The rule's own value, else the default.
    #[must_use]
    pub fn base(&self, t: Timeout) -> u32 {
        match value(self.rule, t) {
            0 => value(self.defaults, t),
            own => own,
        }
    }

    /// A timeout scaled down, `None` when the table is so full that everything ends at once.
    #[must_use]
    pub fn scaled(&self, t: Timeout) -> Option<u32> {
        let base = self.base(t);
        let own = value(self.rule, Timeout::AdaptiveStart);
        let (start, end, states) = if own != 0 {
            (own, value(self.rule, Timeout::AdaptiveEnd), self.rule_states)
        } else {
            let d = self.defaults;
            (value(d, Timeout::AdaptiveStart), value(d, Timeout::AdaptiveEnd), self.states)
        };
        if end == 0 || states <= start || start >= end {
            return Some(base);
        }
        if states >= end {
            return None;
        }
        let (left, range) = (u64::from(end.saturating_sub(states)), u64::from(end.saturating_sub(start)));
        let scaled = u64::from(base).saturating_mul(left).checked_div(range).unwrap_or(0);
        Some(u32::try_from(scaled).unwrap_or(u32::MAX))
    }
}

/// The second a state ends, 0 for at once.
#[must_use]
pub fn expires(state: &State, load: &Load<'_>) -> u32 {
    match state.timeout() {
        StateTimeout::Purge => 0,
        StateTimeout::Named(t) => load.scaled(t).map_or(0, |s| state.expire().saturating_add(s)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(Timeout, u32)]) -> [u32; TIMEOUTS] {
        let mut t = [0; TIMEOUTS];
        for (k, v) in rows {
            t[*k as usize] = *v;
        }
        t
    }

    #[test]
    fn the_rule_wins_over_the_default() {
        let d = table(&[(Timeout::UdpFirst, 60), (Timeout::UdpSingle, 30)]);
        let r = table(&[(Timeout::UdpFirst, 5)]);
        let l = Load { defaults: &d, states: 0, rule: &r, rule_states: 0 };
        assert_eq!((l.scaled(Timeout::UdpFirst), l.scaled(Timeout::UdpSingle)), (Some(5), Some(30)));
    }

    #[test]
    fn scaling_is_linear_between_start_and_end() {
        let d = table(&[(Timeout::UdpFirst, 60), (Timeout::AdaptiveStart, 10), (Timeout::AdaptiveEnd, 20)]);
        let none = [0; TIMEOUTS];
        for (states, want) in [(10, Some(60)), (15, Some(30)), (19, Some(6)), (20, None), (30, None)] {
            let l = Load { defaults: &d, states, rule: &none, rule_states: 0 };
            assert_eq!(l.scaled(Timeout::UdpFirst), want, "{states}");
        }
        let r = table(&[(Timeout::AdaptiveStart, 2), (Timeout::AdaptiveEnd, 4)]);
        let l = Load { defaults: &d, states: 15, rule: &r, rule_states: 3 };
        assert_eq!(l.scaled(Timeout::UdpFirst), Some(30));
    }
}
