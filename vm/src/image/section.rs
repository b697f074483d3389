//! The sections of an image: one table of number, name, encoding and contents, and how a section's bytes are read.
//!
//! **Invariant:** every section is present, in the order of its number; its place is the sum of the lengths before it.

use super::bytes::Bulk;
use serde::de::DeserializeOwned;

/// Declares the sections once.
macro_rules! sections {
    ($($(#[doc = $doc:literal])+ $id:ident $name:literal $form:literal $limit:literal;)*) => {
        /// A section of an image.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Section { $($(#[doc = $doc])+ $id,)* }

        impl Section {
            /// All of them, in order.
            pub const ALL: &'static [Section] = &[$(Section::$id,)*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Section::$id => $name,)* } }

            /// Most records it may have.
            #[must_use]
            pub const fn limit(self) -> u32 { match self { $(Section::$id => $limit,)* } }
        }

        /// Rows of the table of sections: name, encoding, limit of records, contents.
        pub const SECTION_ROWS: &[(&str, &str, u32, &str)] = &[$(($name, $form, $limit, concat!($($doc),+)),)*];
    };
}

sections! {
    /// Options of the main ruleset.
    Options "options" "postcard" 1;
    /// Rulesets: the first is the one that was compiled, the others are its inline anchors.
    Rulesets "rulesets" "postcard" 65_535;
    /// Code of every ruleset, one after the other.
    Code "code" "u64" 16_777_216;
    /// Straight code of every ruleset, rule by rule: what tracing runs. Empty where the code is straight itself.
    Straight "straight" "u64" 16_777_216;
    /// What rules do.
    Rules "rules" "postcard" 1_048_576;
    /// Pools of translation addresses and next hops.
    Pools "pools" "postcard" 1_048_576;
    /// Tables, named and dynamic.
    Tables "tables" "postcard" 65_535;
    /// Initial contents of tables.
    Entries "entries" "20 bytes" 4_194_304;
    /// Targets of anchor calls.
    Anchors "anchors" "postcard" 65_535;
    /// Names of interfaces and groups.
    Ifaces "ifaces" "postcard" 65_535;
    /// Interfaces of `set skip`, by place in `ifaces`.
    Skips "skips" "u32" 65_535;
    /// Names of tags.
    Tags "tags" "postcard" 65_535;
    /// Queues.
    Queues "queues" "postcard" 65_535;
    /// Route labels.
    Labels "labels" "postcard" 65_535;
    /// Operating-system fingerprints.
    Prints "prints" "24 bytes" 65_535;
    /// Pairs of addresses: network and mask, or the ends of a range.
    Pairs "pairs" "36 bytes" 1_048_576;
    /// Intervals of sets, both ends included.
    Intervals "intervals" "2 × u32" 4_194_304;
    /// Sets of intervals.
    Sets "sets" "2 × u32" 1_048_576;
    /// Cuts of 16 bits.
    Cuts16 "cuts16" "u16" 16_777_216;
    /// Cuts of 32 bits.
    Cuts32 "cuts32" "u32" 16_777_216;
    /// Cuts of 128 bits.
    Cuts128 "cuts128" "u128" 4_194_304;
    /// Searches: sorted runs of cuts.
    Searches "searches" "3 × u32" 1_048_576;
    /// Targets of dispatch tables: words past the next one.
    Targets "targets" "u32" 33_554_432;
    /// Dispatch tables.
    Dispatches "dispatches" "2 × u32" 1_048_576;
    /// Boxes of leaves.
    Boxes "boxes" "32 bytes" 8_388_608;
    /// Leaves.
    Leaves "leaves" "2 × u32" 4_194_304;
    /// Axes of bit-set classifiers.
    Axes "axes" "3 × u32" 1_048_576;
    /// Rows of axes: places in `bits`.
    Rows "rows" "u32" 16_777_216;
    /// Words of bit sets.
    Bits "bits" "u64" 16_777_216;
    /// What the bits of a classifier stand for.
    Lists "lists" "u32" 16_777_216;
    /// Bit-set classifiers.
    BitSets "bitsets" "4 × u32" 1_048_576;
    /// Priorities, best first within a run: the rule, with bit 31 set if it is quick.
    Prios "prios" "u32" 8_388_608;
    /// Names and texts, one after the other, UTF-8.
    Strings "strings" "bytes" 134_217_728;
}

/// Number of sections.
pub const SECTIONS: usize = Section::ALL.len();

/// Bulk records of a section, decoded one by one.
#[derive(Clone, Debug)]
pub struct Bulks<'a, T> {
    rest: &'a [u8],
    of: core::marker::PhantomData<T>,
}

impl<'a, T: Bulk> Bulks<'a, T> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, of: core::marker::PhantomData }
    }
}

impl<T: Bulk> Iterator for Bulks<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        let (record, rest) = self.rest.split_at_checked(T::SIZE)?;
        self.rest = rest;
        T::read(record)
    }
}

/// Postcard records of a section, decoded one by one.
///
/// Ends early on a record that does not decode; of an [`Image`](super::Image), none does that.
#[derive(Clone, Debug)]
pub struct Records<'a, T> {
    pub(super) rest: &'a [u8],
    pub(super) left: u32,
    of: core::marker::PhantomData<T>,
}

impl<'a, T> Records<'a, T> {
    pub(super) const fn new(bytes: &'a [u8], count: u32) -> Self {
        Self { rest: bytes, left: count, of: core::marker::PhantomData }
    }
}

impl<T: DeserializeOwned> Iterator for Records<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        let (record, rest) = postcard::take_from_bytes(self.rest).ok()?;
        self.rest = rest;
        Some(record)
    }
}
