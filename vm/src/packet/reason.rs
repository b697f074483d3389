//! Why a packet was dropped, and what a refused packet carries back.

/// Names a reason (`PFRES_*`): order, numbers and names are one table.
macro_rules! reasons {
    ($($(#[$doc:meta])* $id:ident $name:literal;)*) => {
        /// A reason for a verdict (`PFRES_*`), in pf's order: the number is the discriminant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $id,)* }
        impl DropReason {
            /// All of them, in order; the place in this list is pf's number.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$id,)*];
            /// The name `pfctl -si` and `tcpdump` print.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(DropReason::$id => $name,)* } }
        }
    };
}
reasons! {
    /// A rule matched explicitly; also the reason of every pass.
    Match "match";
    /// A fragment offset that cannot be.
    BadOffset "bad-offset";
    /// A fragment that is refused.
    Fragment "fragment";
    /// Too short for the headers it announces.
    Short "short";
    /// Refused by normalisation.
    Normalize "normalize";
    /// Out of memory.
    Memory "memory";
    /// A TCP timestamp out of range.
    BadTimestamp "bad-timestamp";
    /// The host is congested.
    Congestion "congestion";
    /// IP options or extension headers.
    IpOption "ip-option";
    /// A wrong protocol checksum.
    ProtoCksum "proto-cksum";
    /// Does not fit the state.
    StateMismatch "state-mismatch";
    /// A state could not be inserted.
    StateInsert "state-insert";
    /// A limit of states was reached.
    StateLimit "state-limit";
    /// A limit of source nodes or of states of a source was reached.
    SrcLimit "src-limit";
    /// Taken by the SYN proxy.
    Synproxy "synproxy";
    /// No translation could be found.
    Translate "translate";
    /// No route to the next hop.
    NoRoute "no-route";
}

/// Number of reasons (`PFRES_MAX`).
pub const REASONS: usize = DropReason::ALL.len();

impl DropReason {
    /// Place in [`DropReason::ALL`]: pf's number, the index of a counter row of [`REASONS`] cells.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A packet that is dropped before any rule sees it. The action is always a drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// Reason counted and shown.
    pub reason: DropReason,
    /// Whether the drop is logged without any rule asking for it (`PF_LOG_FORCE`).
    pub log: bool,
}

impl Refusal {
    /// A drop that is logged by force: malformed headers.
    #[must_use]
    pub const fn logged(reason: DropReason) -> Self {
        Self { reason, log: true }
    }

    /// A drop that is only counted.
    #[must_use]
    pub const fn silent(reason: DropReason) -> Self {
        Self { reason, log: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_pf() {
        assert_eq!(REASONS, 17);
        for (i, r) in DropReason::ALL.iter().enumerate() {
            assert_eq!(r.index(), i);
        }
        assert_eq!(DropReason::IpOption.index(), 8);
        assert_eq!(DropReason::NoRoute.name(), "no-route");
    }
}
