//! Operand kinds: each owns its width, its text, and the one rule the verifier holds it to.
//!
//! **Invariant:** `get(put(x)) == Some(x)` and `read(text(x)) == Some(x)` for every operand, so words and text say the
//! same thing.

use super::field::{Field, Width};
use crate::rule::{AnchorId, IfaceId, RuleId, TableId, TagId};
use core::fmt;

/// What an instruction's operands are checked against: its place, and how many there are of everything it can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// Place of the instruction.
    pub pc: u32,
    /// One past the last instruction of its ruleset.
    pub end: u32,
    /// Rules.
    pub rules: u32,
    /// Tables.
    pub tables: u32,
    /// Interface names.
    pub ifaces: u32,
    /// Tags.
    pub tags: u32,
    /// Anchor-call targets.
    pub anchors: u32,
    /// Address pairs.
    pub pairs: u32,
    /// Sets of intervals.
    pub sets: u32,
    /// Dispatch tables.
    pub dispatches: u32,
    /// Leaves.
    pub leaves: u32,
    /// Bit-set classifiers.
    pub bitsets: u32,
    /// Priorities.
    pub prios: u32,
    /// Route labels.
    pub labels: u32,
}

/// The rule an operand breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadOperand {
    /// A jump or skip that leaves its ruleset.
    #[error("jumps to {to}, past the end of its ruleset at {end}")]
    Jump {
        /// Where to.
        to: u64,
        /// One past the last instruction of the ruleset.
        end: u32,
    },
    /// No such thing in the image.
    #[error("names {kind} {index} of {count}")]
    Index {
        /// Kind of thing.
        kind: &'static str,
        /// Number used.
        index: u32,
        /// How many there are.
        count: u32,
    },
}

/// What a fat instruction costs beyond its base weight; the image's sections know.
pub trait Costs {
    /// Steps of one search in a set of intervals.
    fn set(&self, set: SetId) -> u32;
    /// Steps of one search of a dispatch table.
    fn dispatch(&self, dispatch: DispatchId) -> u32;
    /// Steps of one walk through a leaf.
    fn leaf(&self, leaf: LeafId) -> u32;
    /// Steps of one pass over a bit-set classifier.
    fn bitset(&self, bitset: BitSetId) -> u32;
}

/// A kind of operand.
pub trait Operand: Sized + Copy {
    /// Width in bits.
    const BITS: u32;
    /// Name of the kind in the specification.
    const KIND: &'static str;
    /// The bits of the operand.
    fn put(self) -> u64;
    /// The operand of these bits, `None` if no operand of the kind has them.
    fn get(bits: u64) -> Option<Self>;
    /// Writes it as text.
    ///
    /// # Errors
    /// Those of the formatter.
    fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// Reads it from text.
    fn read(text: &str) -> Option<Self>;
    /// Holds it to its rule.
    ///
    /// # Errors
    /// The rule it breaks.
    fn check(self, env: &Env) -> Result<(), BadOperand>;
    /// Steps it adds to the instruction's base weight.
    fn cost<C: Costs>(self, _costs: &C) -> u32 {
        0
    }
    /// How many words it skips when taken, for operands that jump.
    fn distance(self) -> Option<u32> {
        None
    }
    /// The dispatch table it is, for the operand that is one.
    fn fan(self) -> Option<DispatchId> {
        None
    }
}

/// Holds an index to a count.
const fn below(kind: &'static str, index: u32, count: u32) -> Result<(), BadOperand> {
    if index < count { Ok(()) } else { Err(BadOperand::Index { kind, index, count }) }
}

/// Holds a jump of `distance` words past the next one to the end of the ruleset.
fn lands(env: &Env, distance: u32) -> Result<(), BadOperand> {
    let to = u64::from(env.pc).saturating_add(1).saturating_add(u64::from(distance));
    if to < u64::from(env.end) { Ok(()) } else { Err(BadOperand::Jump { to, end: env.end }) }
}

/// Declares an operand kind that is a number: type, raw width, text around the number, its rule.
macro_rules! number {
    ($($(#[$doc:meta])* $name:ident($raw:ty) $kind:literal $before:literal, |$v:ident, $env:ident| $check:expr $(, $extra:item)*;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $raw);
        number_impl!($name($raw) $kind $before, |$v, $env| $check $(, $extra)*);
    )* };
}
/// The implementation half of [`number!`], also for newtypes declared elsewhere.
macro_rules! number_impl {
    ($name:ident($raw:ty) $kind:literal $before:literal, |$v:ident, $env:ident| $check:expr $(, $extra:item)*) => {
        impl Operand for $name {
            const BITS: u32 = <$raw>::BITS;
            const KIND: &'static str = $kind;
            fn put(self) -> u64 { u64::from(self.0) }
            fn get(bits: u64) -> Option<Self> { <$raw>::try_from(bits).ok().map(Self) }
            fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!($before, "{}"), self.0) }
            fn read(text: &str) -> Option<Self> { number(text.strip_prefix($before)?).map(Self) }
            #[allow(unused_variables, reason = "literals have no rule")]
            fn check(self, $env: &Env) -> Result<(), BadOperand> { let $v = self.0; $check }
            $($extra)*
        }
    };
}

/// A decimal number as it is printed: digits only, no leading zero.
fn number<T: core::str::FromStr>(text: &str) -> Option<T> {
    let plain = text == "0" || (!text.starts_with('0') && !text.is_empty());
    if plain && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

number! {
    /// How far a failed test skips: words past the next one.
    Skip(u16) "skip" "+", |v, env| lands(env, u32::from(v)),
        fn distance(self) -> Option<u32> { Some(u32::from(self.0)) };
    /// How far a jump goes: words past the next one.
    Jump(u32) "jump" "+", |v, env| lands(env, v),
        fn distance(self) -> Option<u32> { Some(self.0) };
    /// A literal word.
    Imm(u32) "word" "", |v, env| Ok(());
    /// A literal half word.
    Half(u16) "half" "", |v, env| Ok(());
    /// A pair of addresses in the constants: network and mask, or the two ends of a range.
    PairId(u32) "pair" "pair:", |v, env| below("pair", v, env.pairs);
    /// A set of intervals.
    SetId(u32) "set" "set:", |v, env| below("set", v, env.sets),
        fn cost<C: Costs>(self, costs: &C) -> u32 { costs.set(self) };
    /// A dispatch table: sorted cuts and where each interval goes.
    DispatchId(u32) "dispatch" "dispatch:", |v, env| below("dispatch", v, env.dispatches),
        fn cost<C: Costs>(self, costs: &C) -> u32 { costs.dispatch(self) }
        , fn fan(self) -> Option<DispatchId> { Some(self) };
    /// A leaf: boxes in order of priority.
    LeafId(u32) "leaf" "leaf:", |v, env| below("leaf", v, env.leaves),
        fn cost<C: Costs>(self, costs: &C) -> u32 { costs.leaf(self) };
    /// A bit-set classifier.
    BitSetId(u32) "bitset" "bits:", |v, env| below("bitset", v, env.bitsets),
        fn cost<C: Costs>(self, costs: &C) -> u32 { costs.bitset(self) };
    /// A priority: a place in the image's list of them; lower wins.
    PrioId(u32) "priority" "prio:", |v, env| below("priority", v, env.prios);
    /// A route label.
    LabelId(u32) "label" "label:", |v, env| below("label", v, env.labels);
}
number_impl!(RuleId(u32) "rule" "#", |v, env| below("rule", v, env.rules));
number_impl!(TableId(u16) "table" "table:", |v, env| below("table", u32::from(v), env.tables));
number_impl!(IfaceId(u16) "interface" "if:", |v, env| below("interface", u32::from(v), env.ifaces));
number_impl!(TagId(u16) "tag" "tag:", |v, env| below("tag", u32::from(v), env.tags));
number_impl!(AnchorId(u16) "anchor" "anchor:", |v, env| below("anchor", u32::from(v), env.anchors));

/// A field whose values are words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(pub Field);

impl Operand for Word {
    const BITS: u32 = 8;
    const KIND: &'static str = "word field";
    fn put(self) -> u64 {
        Operand::put(self.0)
    }
    fn get(bits: u64) -> Option<Self> {
        <Field as Operand>::get(bits).filter(|f| f.width() == Width::Word).map(Self)
    }
    fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
    fn read(text: &str) -> Option<Self> {
        Field::from_name(text).filter(|f| f.width() == Width::Word).map(Self)
    }
    fn check(self, _: &Env) -> Result<(), BadOperand> {
        Ok(())
    }
}

impl Operand for Field {
    const BITS: u32 = 8;
    const KIND: &'static str = "field";
    fn put(self) -> u64 {
        u64::from(self as u8)
    }
    fn get(bits: u64) -> Option<Self> {
        u8::try_from(bits).ok().and_then(Field::from_code)
    }
    fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
    fn read(text: &str) -> Option<Self> {
        Field::from_name(text)
    }
    fn check(self, _: &Env) -> Result<(), BadOperand> {
        Ok(())
    }
}

/// Declares an operand kind that is one of a few words.
macro_rules! choice {
    ($($(#[$doc:meta])* $name:ident $kind:literal { $($(#[$vdoc:meta])* $id:ident = $code:literal $text:literal,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $id = $code,)* }
        impl Operand for $name {
            const BITS: u32 = 8;
            const KIND: &'static str = $kind;
            fn put(self) -> u64 { u64::from(self as u8) }
            fn get(bits: u64) -> Option<Self> { match bits { $($code => Some(Self::$id),)* _ => None } }
            fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(match self { $(Self::$id => $text,)* }) }
            fn read(text: &str) -> Option<Self> { match text { $($text => Some(Self::$id),)* _ => None } }
            fn check(self, _: &Env) -> Result<(), BadOperand> { Ok(()) }
        }
    )* };
}
choice! {
    /// Which address.
    Side "side" {
        /// The source.
        Src = 0 "src",
        /// The destination.
        Dst = 1 "dst",
    }
    /// What is asked of the routing table.
    RouteTest "route test" {
        /// No route to the source address (`no-route`).
        NoRouteSrc = 0 "no-route-src",
        /// No route to the destination address (`no-route`).
        NoRouteDst = 1 "no-route-dst",
        /// No route to the source through the packet's interface (`urpf-failed`).
        UrpfFailed = 2 "urpf-failed",
    }
    /// Whether an anchor call is `quick`.
    Quick "quick" {
        /// Not.
        No = 0 "last",
        /// It is.
        Yes = 1 "quick",
    }
}

/// An IPv4 prefix test: which address, how many bits. Bit 7 is the side, the low bits are the length, 0 to 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix4(u8);

impl Prefix4 {
    /// A prefix of `bits` of one side; `None` above 32.
    #[must_use]
    pub fn new(side: Side, bits: u8) -> Option<Self> {
        if bits > 32 { None } else { Some(Self(bits | if side == Side::Dst { 0x80 } else { 0 })) }
    }
    /// Which address.
    #[must_use]
    pub const fn side(self) -> Side {
        if self.0 & 0x80 == 0 { Side::Src } else { Side::Dst }
    }
    /// How many bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0 & 0x7f
    }
    /// The mask of that many bits.
    #[must_use]
    pub const fn mask(self) -> u32 {
        match u32::MAX.checked_shl(32_u32.saturating_sub(self.bits() as u32)) {
            Some(m) => m,
            None => 0,
        }
    }
}

impl Operand for Prefix4 {
    const BITS: u32 = 8;
    const KIND: &'static str = "prefix";
    fn put(self) -> u64 {
        u64::from(self.0)
    }
    fn get(bits: u64) -> Option<Self> {
        u8::try_from(bits).ok().map(Self).filter(|p| p.bits() <= 32)
    }
    fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.side().show(f)?;
        write!(f, "/{}", self.bits())
    }
    fn read(text: &str) -> Option<Self> {
        let (side, bits) = text.split_once('/')?;
        Self::new(Side::read(side)?, number(bits)?)
    }
    fn check(self, _: &Env) -> Result<(), BadOperand> {
        Ok(())
    }
}

/// An IPv4 address as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ip4(pub u32);

impl Operand for Ip4 {
    const BITS: u32 = 32;
    const KIND: &'static str = "address";
    fn put(self) -> u64 {
        u64::from(self.0)
    }
    fn get(bits: u64) -> Option<Self> {
        u32::try_from(bits).ok().map(Self)
    }
    fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0.to_be_bytes();
        write!(f, "{a}.{b}.{c}.{d}")
    }
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(number::<u8>);
        let mut next = || parts.next().flatten();
        let bytes = [next()?, next()?, next()?, next()?];
        if parts.next().is_some() { None } else { Some(Self(u32::from_be_bytes(bytes))) }
    }
    fn check(self, _: &Env) -> Result<(), BadOperand> {
        Ok(())
    }
}

/// Rows of the table of operand kinds: kind, width in bits, text, and the rule it is held to.
pub const KIND_ROWS: &[(&str, u32, &str, &str)] = &[
    (Word::KIND, Word::BITS, "`proto`", "a field of width word"),
    (Field::KIND, Field::BITS, "`src6`", "a field"),
    (Skip::KIND, Skip::BITS, "`+3`", "*pc* + 1 + skip is inside the ruleset"),
    (Jump::KIND, Jump::BITS, "`+3`", "*pc* + 1 + jump is inside the ruleset"),
    (Imm::KIND, Imm::BITS, "`443`", "any"),
    (Half::KIND, Half::BITS, "`443`", "any"),
    (Side::KIND, Side::BITS, "`src` (0), `dst` (1)", "one of these"),
    (Prefix4::KIND, Prefix4::BITS, "`dst/24`", "bit 7 is the side, bits 0–6 the length, at most 32"),
    (Ip4::KIND, Ip4::BITS, "`192.0.2.0`", "any"),
    (PairId::KIND, PairId::BITS, "`pair:3`", "below the count of section `pairs`"),
    (SetId::KIND, SetId::BITS, "`set:0`", "below the count of section `sets`"),
    (DispatchId::KIND, DispatchId::BITS, "`dispatch:0`", "the next one not yet used, see the verifier"),
    (LeafId::KIND, LeafId::BITS, "`leaf:2`", "below the count of section `leaves`"),
    (BitSetId::KIND, BitSetId::BITS, "`bits:0`", "below the count of section `bitsets`"),
    (PrioId::KIND, PrioId::BITS, "`prio:7`", "below the count of section `prios`"),
    (LabelId::KIND, LabelId::BITS, "`label:0`", "below the count of section `labels`"),
    (RouteTest::KIND, RouteTest::BITS, "`no-route-src` (0), `no-route-dst` (1), `urpf-failed` (2)", "one of these"),
    (Quick::KIND, Quick::BITS, "`last` (0), `quick` (1)", "one of these"),
    (<RuleId as Operand>::KIND, <RuleId as Operand>::BITS, "`#5`", "below the count of section `rules`"),
    (<TableId as Operand>::KIND, <TableId as Operand>::BITS, "`table:1`", "below the count of section `tables`"),
    (<IfaceId as Operand>::KIND, <IfaceId as Operand>::BITS, "`if:0`", "below the count of section `ifaces`"),
    (<TagId as Operand>::KIND, <TagId as Operand>::BITS, "`tag:0`", "below the count of section `tags`"),
    (<AnchorId as Operand>::KIND, <AnchorId as Operand>::BITS, "`anchor:0`", "below the count of section `anchors`"),
];
