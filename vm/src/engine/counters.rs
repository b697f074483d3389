//! What the engine counts beside rules, states and tables: reasons, limits, interfaces.

use crate::packet::{DropReason, REASONS};
use crate::rule::{Af, Direction};
use crate::sync::Long;

/// Names a limit counter (`LCNT_*`): order and names are one table.
macro_rules! limits {
    ($($(#[$doc:meta])* $id:ident $name:literal;)*) => {
        /// A limit that was reached (`LCNT_*`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum LimitCounter { $($(#[$doc])* $id,)* }
        impl LimitCounter {
            /// All of them, in pf's order.
            pub const ALL: &'static [LimitCounter] = &[$(LimitCounter::$id,)*];
            /// The name `pfctl -vsi` prints.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(LimitCounter::$id => $name,)* } }
        }
        /// Number of limit counters.
        pub const LIMITS: usize = LimitCounter::ALL.len();
    };
}
limits! {
    /// `max` of a rule.
    States "max states per rule";
    /// `max-src-states`.
    SrcStates "max-src-states";
    /// `max-src-nodes`.
    SrcNodes "max-src-nodes";
    /// `max-src-conn`.
    SrcConn "max-src-conn";
    /// `max-src-conn-rate`.
    SrcConnRate "max-src-conn-rate";
    /// `overload <table>`.
    OverloadTable "overload table insertion";
    /// `overload … flush`.
    OverloadFlush "overload flush states";
    /// The table is flooded with handshakes.
    SynFloods "synfloods detected";
    /// Cookies given.
    SyncookiesSent "syncookies sent";
    /// Cookies that came back right.
    SyncookiesValid "syncookies validated";
}

/// Packets and bytes of one interface: `[family][direction][passed or dropped]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IfaceCounters {
    /// Packets.
    pub packets: [[[u64; 2]; 2]; 2],
    /// Bytes.
    pub bytes: [[[u64; 2]; 2]; 2],
}

impl IfaceCounters {
    /// Adds those of another interface.
    pub fn add(&mut self, other: &Self) {
        let cells = |t: &mut [[[u64; 2]; 2]; 2], o: &[[[u64; 2]; 2]; 2]| {
            for (to, from) in t.iter_mut().flatten().flatten().zip(o.iter().flatten().flatten()) {
                *to = to.wrapping_add(*from);
            }
        };
        cells(&mut self.packets, &other.packets);
        cells(&mut self.bytes, &other.bytes);
    }
}

/// The same as they grow: packets and bytes, cell by cell.
#[derive(Clone, Debug, Default)]
pub struct IfaceCells([[Long; 2]; 8]);

/// Where packets of a kind are counted.
#[inline]
fn cell(af: Af, dir: Direction, passed: bool) -> usize {
    usize::from(af == Af::Inet6) << 2 | usize::from(dir == Direction::Out) << 1 | usize::from(!passed)
}

impl IfaceCells {
    /// Counts a packet.
    #[inline]
    pub fn count(&mut self, af: Af, dir: Direction, passed: bool, len: u32) {
        if let Some([packets, bytes]) = self.0.get_mut(cell(af, dir, passed)) {
            packets.grow(1);
            bytes.grow(len.into());
        }
    }

    /// Counts packets and bytes that passed.
    pub fn add(&self, af: Af, dir: Direction, packets: u64, bytes: u64) {
        if let Some([p, b]) = self.0.get(cell(af, dir, true)) {
            p.add(packets);
            b.add(bytes);
        }
    }

    /// What they say.
    #[must_use]
    pub fn read(&self) -> IfaceCounters {
        let mut all = IfaceCounters::default();
        let to = all.packets.iter_mut().flatten().flatten().zip(all.bytes.iter_mut().flatten().flatten());
        for ((p, b), [packets, bytes]) in to.zip(&self.0) {
            (*p, *b) = (packets.get(), bytes.get());
        }
        all
    }
}

/// The counters of `pfctl -si`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    reasons: [u64; REASONS],
    limits: [u64; LIMITS],
}

impl Counters {
    /// Counts a reason.
    #[inline]
    pub fn reason(&mut self, r: DropReason) {
        self.reasons(r, 1);
    }

    /// Counts a reason of so many packets.
    #[inline]
    pub fn reasons(&mut self, r: DropReason, packets: u32) {
        if let Some(c) = self.reasons.get_mut(r.index()) {
            *c = c.wrapping_add(packets.into());
        }
    }

    /// Counts a limit.
    pub fn limit(&mut self, l: LimitCounter) {
        if let Some(c) = self.limits.get_mut(l as usize) {
            *c = c.wrapping_add(1);
        }
    }

    /// How often a reason was given.
    #[must_use]
    pub fn of_reason(&self, r: DropReason) -> u64 {
        self.reasons.get(r.index()).copied().unwrap_or(0)
    }

    /// How often a limit was reached.
    #[must_use]
    pub fn of_limit(&self, l: LimitCounter) -> u64 {
        self.limits.get(l as usize).copied().unwrap_or(0)
    }

    /// Reasons back to zero (`pfctl -F info`); what limits have counted stays, as in pf (`DIOCCLRSTATUS`).
    pub fn clear(&mut self) {
        self.reasons = [0; REASONS];
    }
}
