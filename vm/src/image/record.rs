//! The records of an image's sections.
//!
//! Small ones are postcard (serde's order of fields is the format); bulk ones are fixed-size and little-endian.

use super::bytes::bulk;
use crate::isa::Field;
use crate::rule::{IfaceId, QueueId, RulesetId, StrRef};
use serde::{Deserialize, Serialize};

/// A run of records in another section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run {
    /// First record.
    pub at: u32,
    /// How many.
    pub len: u32,
}

impl Run {
    /// One past the last record.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.at as u64 + self.len as u64
    }
}

/// A ruleset: the main one or an anchor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Path from the main ruleset, without a leading slash; empty for the main one.
    pub path: StrRef,
    /// Its code: evaluation enters at the first word.
    pub code: Run,
    /// Its straight code, empty where the code is straight itself.
    pub straight: Run,
    /// Its rules.
    pub rules: Run,
}

/// What an anchor rule calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Path from the main ruleset, without a leading slash.
    pub path: StrRef,
    /// Whether it calls every child of that path instead (`/*`).
    pub wildcard: bool,
}

/// Yes-or-no properties of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableFlags(pub u8);

impl TableFlags {
    /// `persist`.
    pub const PERSIST: Self = Self(1);
    /// `const`.
    pub const CONST: Self = Self(2);
    /// `counters`.
    pub const COUNTERS: Self = Self(4);
    /// Contents were given, if only `{}`: they replace what is loaded.
    pub const INIT: Self = Self(8);
    /// Defined by this image; otherwise only named by it.
    pub const DEFINED: Self = Self(16);
    /// Made by the compiler.
    pub const AUTOMATIC: Self = Self(32);
    /// All bits that have a name.
    pub const ALL: Self = Self(63);

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Modifiers of a dynamic interface, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DynFlags(pub u8);

impl DynFlags {
    /// `:network`.
    pub const NETWORK: Self = Self(1);
    /// `:broadcast`.
    pub const BROADCAST: Self = Self(2);
    /// `:peer`.
    pub const PEER: Self = Self(4);
    /// `:0`.
    pub const NOALIAS: Self = Self(8);
    /// All bits that have a name.
    pub const ALL: Self = Self(15);

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What fills a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableKind {
    /// A named table: its entries, and what is added at run time.
    Named,
    /// The addresses of an interface or group (`(if:mods)/prefix`), kept current by the host.
    Dynamic {
        /// Whose.
        iface: IfaceId,
        /// Modifiers.
        mods: DynFlags,
        /// Prefix length written after it, 255 where none is.
        prefix: u8,
    },
}

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Name without the brackets.
    pub name: StrRef,
    /// Ruleset the name is written in: it is sought there first, then in the main ruleset.
    pub ruleset: RulesetId,
    /// Yes-or-no properties.
    pub flags: TableFlags,
    /// What fills it.
    pub kind: TableKind,
    /// Initial contents, in section `entries`.
    pub entries: Run,
}

/// A queue: its name, and its definition as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Name.
    pub name: StrRef,
    /// Definition as `pfctl -sq` prints it.
    pub text: StrRef,
    /// Interface of a root queue.
    pub iface: Option<IfaceId>,
    /// Parent.
    pub parent: Option<QueueId>,
    /// `default`.
    pub default: bool,
}

bulk! {
    /// An entry of a table.
    Entry {
        /// Address, network order; IPv4 in the first four bytes.
        addr: [u8; 16],
        /// Prefix length.
        prefix: u8,
        /// Bit 0: IPv6. Bit 1: negated.
        flags: u8,
        /// `weight`, 0 when none.
        weight: u16,
    }
    /// Two addresses of one family, as numbers: network and mask, or the two ends of a range.
    Pair {
        /// 4 or 6.
        af: u32,
        /// Network, or low end.
        a: u128,
        /// Mask, or high end.
        b: u128,
    }
    /// An interval of words, both ends included.
    Interval {
        /// Low end.
        lo: u32,
        /// High end.
        hi: u32,
    }
    /// A run of records as a bulk record: a set of intervals, or a leaf of boxes.
    Span {
        /// First record.
        at: u32,
        /// How many.
        len: u32,
    }
    /// A sorted run of cuts: an interval more than cuts.
    Search {
        /// Width of the cuts: 16, 32 or 128.
        width: u32,
        /// First cut in the section of that width.
        at: u32,
        /// How many.
        len: u32,
    }
    /// A dispatch table.
    Dispatch {
        /// Its search.
        search: u32,
        /// First target; there is one for each interval.
        targets: u32,
    }
    /// A box: what a rule asks of an IPv4 packet's numbers, and its priority.
    Box4 {
        /// Source address, low end.
        src_lo: u32,
        /// Source address, high end.
        src_hi: u32,
        /// Destination address, low end.
        dst_lo: u32,
        /// Destination address, high end.
        dst_hi: u32,
        /// Source port, low end.
        sport_lo: u16,
        /// Source port, high end; 0–65535 asks for no port.
        sport_hi: u16,
        /// Destination port, low end.
        dport_lo: u16,
        /// Destination port, high end; 0–65535 asks for no port.
        dport_hi: u16,
        /// Protocol, low end.
        proto_lo: u8,
        /// Protocol, high end.
        proto_hi: u8,
        /// TCP flags looked at; 0 asks nothing.
        flags_mask: u8,
        /// TCP flags of those that must be set.
        flags_value: u8,
        /// Priority, with the [`BoxAttr`] in the top byte.
        prio: u32,
    }
    /// An axis of a bit-set classifier.
    Axis {
        /// Byte 0: [`AxisKind`]. Byte 1: field or side. The other two are zero.
        kind: u32,
        /// Search of a field, or the table or interface.
        operand: u32,
        /// First of its rows.
        rows: u32,
    }
    /// A bit-set classifier.
    BitSet {
        /// First axis.
        axes: u32,
        /// How many.
        axes_len: u32,
        /// First place in `lists`: what bit 0 stands for.
        list: u32,
        /// How many bits.
        len: u32,
    }
    /// An operating-system fingerprint (`struct pf_os_fingerprint`).
    Print {
        /// Packed class, version and subtype.
        os: u32,
        /// TCP options in order, 4 bits each.
        options: u64,
        /// Window size.
        window: u16,
        /// Packet size.
        size: u16,
        /// Maximum segment size.
        mss: u16,
        /// `PF_OSFP_*` flags.
        flags: u16,
        /// Options counted.
        options_len: u8,
        /// Window scale.
        wscale: u8,
        /// TTL.
        ttl: u8,
        /// Zero.
        zero: u8,
    }
}

impl Entry {
    /// Flag: the address is IPv6.
    pub const INET6: u8 = 1;
    /// Flag: negated.
    pub const NOT: u8 = 2;
}

/// Attributes of a box, bits of the top byte of its priority.
pub struct BoxAttr;

impl BoxAttr {
    /// Does not match ICMP messages that answer a query (the rule keeps state).
    pub const NO_ANSWER: u8 = 1;
    /// Matches packets going in only.
    pub const IN: u8 = 2;
    /// Matches packets going out only.
    pub const OUT: u8 = 4;
    /// Matches fragments only.
    pub const FRAGMENT: u8 = 8;
    /// All attributes.
    pub const ALL: u8 = 15;
    /// Where they are in [`Box4::prio`].
    pub const SHIFT: u32 = 24;
    /// The priority's own bits.
    pub const PRIO: u32 = (1 << Self::SHIFT) - 1;
}

/// What an axis tells rows apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AxisKind {
    /// The interval of a search the field lies in; one row more for an absent field, the last.
    Field(Field),
    /// Whether a table holds the source (`false`) or destination (`true`); rows: no, yes.
    Table(bool),
    /// Whether the packet's interface is one or in a group; rows: no, yes.
    On,
    /// Whether the packet was received on an interface or group; rows: no, yes.
    Recv,
}

impl AxisKind {
    /// Number of the kind with its field or side.
    #[must_use]
    pub const fn encode(self) -> u32 {
        match self {
            Self::Field(f) => (f as u32) << 8,
            Self::Table(dst) => 1 | (dst as u32) << 8,
            Self::On => 2,
            Self::Recv => 3,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub fn decode(kind: u32) -> Option<Self> {
        let [which, what, 0, 0] = kind.to_le_bytes() else { return None };
        match (which, what) {
            (0, f) => Field::from_code(f).map(Self::Field),
            (1, 0) => Some(Self::Table(false)),
            (1, 1) => Some(Self::Table(true)),
            (2, 0) => Some(Self::On),
            (3, 0) => Some(Self::Recv),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Bulk;

    #[test]
    fn sizes_are_those_of_the_table() {
        assert_eq!(Entry::SIZE, 20);
        assert_eq!(Pair::SIZE, 36);
        assert_eq!(Box4::SIZE, 32);
        assert_eq!(Print::SIZE, 24);
        assert_eq!((Search::SIZE, Axis::SIZE, BitSet::SIZE), (12, 12, 16));
    }

    #[test]
    fn records_read_what_they_wrote() {
        let b = Box4 { src_lo: 1, src_hi: 2, dport_hi: 9, flags_mask: 3, prio: 7, ..Box4::default() };
        let mut bytes = Vec::new();
        b.write(&mut bytes);
        assert_eq!(Box4::read(&bytes), Some(b));
        assert_eq!(Box4::read(bytes.get(1..).unwrap()), None);
        for kind in [AxisKind::Field(Field::Src6), AxisKind::Table(true), AxisKind::On, AxisKind::Recv] {
            assert_eq!(AxisKind::decode(kind.encode()), Some(kind));
        }
        assert_eq!(AxisKind::decode(0x10000), None);
    }
}
