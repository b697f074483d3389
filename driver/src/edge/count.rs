//! What moved: every frame in exactly one row.
//!
//! **Invariant:** `received = passed + dropped() + held`, and frames that leave are `passed + generated`, less what the
//! host had no room for ([`Counts::lost`]).

/// Why the edge dropped a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Why {
    /// The rules or the engine: its own counters tell the reason.
    Filter,
    /// Cut off inside the frame's header, or larger than anything the edge takes.
    Truncated,
    /// A kind of frame the policy does not let pass.
    Kind,
    /// Addressed to another machine.
    Elsewhere,
    /// Of a VLAN no interface stands for.
    Vlan,
    /// Offload facts that make no sense.
    Offload,
    /// A loopback address on a wire.
    Loopback,
    /// No way to where it is to go.
    NoRoute,
    /// Its time to live is over.
    Expired,
    /// Larger than the next link takes, and not to be cut.
    TooBig,
    /// It is to go to a socket, which this edge cannot do.
    Divert,
    /// No room in a buffer.
    Room,
}

/// Their number.
pub const WHYS: usize = 12;

/// Their names, in order.
pub const NAMES: [&str; WHYS] = [
    "filter",
    "truncated",
    "ethertype",
    "other-host",
    "vlan",
    "offload",
    "loopback-address",
    "no-route",
    "ttl",
    "too-big",
    "divert",
    "memory",
];

/// Frames counted at an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that came.
    pub received: u64,
    /// Frames that went on.
    pub passed: u64,
    /// Frames the engine kept or answered itself.
    pub held: u64,
    /// Frames the filter made: answers, copies, and more than one fragment of a packet.
    pub generated: u64,
    /// Frames that were to leave and for which the host had no room.
    pub lost: u64,
    dropped: [u64; WHYS],
}

impl Counts {
    /// Counts a drop.
    pub fn drop(&mut self, why: Why) {
        if let Some(n) = self.dropped.get_mut(usize::from(why as u8)) {
            *n = n.wrapping_add(1);
        }
    }

    /// Frames dropped for a reason.
    #[must_use]
    pub fn of(&self, why: Why) -> u64 {
        self.dropped.get(usize::from(why as u8)).copied().unwrap_or(0)
    }

    /// Drops by reason, with names.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.dropped)
    }

    /// All drops.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        let Self { received, passed, held, generated, lost, dropped } = self;
        let scalars = [received, passed, held, generated, lost];
        let others = [other.received, other.passed, other.held, other.generated, other.lost];
        for (n, more) in scalars.into_iter().chain(dropped).zip(others.into_iter().chain(other.dropped)) {
            *n = n.wrapping_add(more);
        }
    }

    /// Whether every frame that came is accounted for.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.received == self.passed.wrapping_add(self.dropped()).wrapping_add(self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_add_up() {
        let mut c = Counts { received: 3, passed: 1, ..Counts::default() };
        c.drop(Why::Filter);
        assert!(!c.balanced());
        c.drop(Why::Room);
        assert!(c.balanced());
        assert_eq!((c.dropped(), c.of(Why::Room), c.of(Why::Vlan)), (2, 1, 0));
        assert_eq!(c.rows().last(), Some(("memory", 1)));
        let mut sum = Counts { held: 4, generated: 5, lost: 6, ..c };
        sum.add(&c);
        sum.add(&Counts { generated: 1, ..Counts::default() });
        assert_eq!((sum.received, sum.passed, sum.held, sum.generated, sum.lost), (6, 2, 4, 6, 6));
        assert_eq!((sum.of(Why::Filter), sum.of(Why::Room), sum.dropped()), (2, 2, 4));
    }
}
