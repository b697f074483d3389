//! Rates: so many events in so many seconds, decaying linearly (`struct pf_threshold`).

/// Events are counted in thousandths (`PF_THRESHOLD_MULT`).
const MULT: u32 = 1000;

/// A rate and its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Threshold {
    limit: u32,
    seconds: u32,
    count: u32,
    last: u32,
}

impl Threshold {
    /// A rate of `limit` events in `seconds`.
    #[must_use]
    pub const fn new(limit: u32, seconds: u32, now: u32) -> Self {
        Self { limit: limit.saturating_mul(MULT), seconds, count: 0, last: now }
    }

    /// Whether there is a limit at all.
    #[must_use]
    pub const fn limited(&self) -> bool {
        self.limit != 0
    }

    /// Counts one event.
    pub fn add(&mut self, now: u32) {
        self.count = self.decayed(now).wrapping_add(MULT);
        self.last = now;
    }

    /// What is left of the count by now.
    fn decayed(&self, now: u32) -> u32 {
        let diff = now.wrapping_sub(self.last);
        if diff >= self.seconds {
            return 0;
        }
        // As wide as pf's own arithmetic: the product wraps at 32 bits.
        let gone = self.count.wrapping_mul(diff).checked_div(self.seconds).unwrap_or(0);
        self.count.wrapping_sub(gone)
    }

    /// Whether the rate is above its limit.
    #[must_use]
    pub const fn exceeded(&self) -> bool {
        self.count > self.limit
    }

    /// The rate as it stands now: thousandths of events, and in how many seconds (`DIOCGETSRCNODES`).
    #[must_use]
    pub fn shown(&self, now: u32) -> (u32, u32) {
        (self.decayed(now), self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_decay() {
        let mut t = Threshold::new(3, 10, 100);
        for _ in 0..3 {
            t.add(100);
        }
        assert!(!t.exceeded());
        t.add(100);
        assert!(t.exceeded());
        t.add(105);
        assert!(!t.exceeded());
        assert_eq!((t.shown(105), t.shown(107), t.shown(115)), ((3000, 10), (2400, 10), (0, 10)));
        t.add(120);
        assert_eq!(t.shown(120), (1000, 10));
    }
}
