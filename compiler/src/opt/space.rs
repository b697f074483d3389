//! The space a run of rules is classified in: what a rule asks for, as one interval a dimension.
//!
//! Holds geometry only. A rule that asks for more than intervals can say (a table, a negation, TCP flags) keeps the rest
//! as tests of its own: its item is not [`Item::exact`].

/// A dimension packets are told apart in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// 0 in, 1 out.
    Direction,
    /// 0 IPv4, 1 IPv6.
    Family,
    /// Final protocol.
    Proto,
    /// Source address as a number of its family's width.
    Src,
    /// Destination address.
    Dst,
    /// Source port; absent where there are no ports.
    Sport,
    /// Destination port.
    Dport,
}

/// Number of dimensions.
pub const DIMS: usize = 7;

impl Dim {
    /// All of them, the cheapest to ask first.
    pub const ALL: [Dim; DIMS] = [Dim::Direction, Dim::Family, Dim::Proto, Dim::Src, Dim::Dst, Dim::Sport, Dim::Dport];

    /// Place in [`Dim::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Dim::Direction => 0,
            Dim::Family => 1,
            Dim::Proto => 2,
            Dim::Src => 3,
            Dim::Dst => 4,
            Dim::Sport => 5,
            Dim::Dport => 6,
        }
    }

    /// Largest value. Addresses of both families share one space: a family is chosen before an address is looked at.
    #[must_use]
    pub const fn max(self) -> u128 {
        match self {
            Dim::Direction | Dim::Family => 1,
            Dim::Proto => 0xff,
            Dim::Src | Dim::Dst => u128::MAX,
            Dim::Sport | Dim::Dport => 0xffff,
        }
    }

    /// Whether packets may lack it.
    #[must_use]
    pub const fn may_be_absent(self) -> bool {
        matches!(self, Dim::Sport | Dim::Dport)
    }
}

/// A set of dimensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dims(u8);

impl Dims {
    /// Whether it holds a dimension.
    #[must_use]
    pub const fn has(self, dim: Dim) -> bool {
        self.0 & (1 << dim.index()) != 0
    }

    /// With one more.
    #[must_use]
    pub const fn with(self, dim: Dim) -> Self {
        Self(self.0 | (1 << dim.index()))
    }

    /// Those not in another set.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its members in order.
    pub fn iter(self) -> impl Iterator<Item = Dim> {
        Dim::ALL.into_iter().filter(move |&d| self.has(d))
    }
}

/// An interval, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Low end.
    pub lo: u128,
    /// High end.
    pub hi: u128,
}

impl Span {
    /// All values of a dimension.
    #[must_use]
    pub const fn full(dim: Dim) -> Self {
        Self { lo: 0, hi: dim.max() }
    }

    /// Whether another lies inside.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.lo <= other.lo && other.hi <= self.hi
    }

    /// What both share, if anything.
    #[must_use]
    pub fn meet(self, other: Self) -> Option<Self> {
        let (lo, hi) = (self.lo.max(other.lo), self.hi.min(other.hi));
        (lo <= hi).then_some(Self { lo, hi })
    }
}

/// What one rule of a run asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Dimensions it asks about; packets lacking one do not match.
    pub asked: Dims,
    /// The interval of each, full where not asked.
    pub spans: [Span; DIMS],
    /// Whether the intervals say all: no other tests remain.
    pub exact: bool,
}

impl Item {
    /// An item that asks for nothing.
    #[must_use]
    pub fn any() -> Self {
        Self { asked: Dims::default(), spans: Dim::ALL.map(Span::full), exact: true }
    }

    /// The interval of one dimension.
    #[must_use]
    pub fn span(&self, dim: Dim) -> Span {
        self.spans.get(dim.index()).copied().unwrap_or(Span::full(dim))
    }

    /// Narrows a dimension; `false` when nothing is left of it.
    #[must_use]
    pub fn narrow(&mut self, dim: Dim, to: Span) -> bool {
        self.asked = self.asked.with(dim);
        let met = self.span(dim).meet(to);
        match (self.spans.get_mut(dim.index()), met) {
            (Some(slot), Some(met)) => {
                *slot = met;
                true
            }
            _ => false,
        }
    }
}
