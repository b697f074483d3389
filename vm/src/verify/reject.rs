//! Why the verifier refuses an image: every reason has a name and a place.

use crate::image::Section;
use crate::isa::{BadOperand, BadWord};
use crate::rule::{AnchorId, RuleId, RulesetId};

/// Which of the two bodies of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Body {
    /// What packets run.
    Code,
    /// What tracing runs.
    Straight,
}

/// A word of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct At {
    /// Which code.
    pub body: Body,
    /// Place of the word.
    pub pc: u32,
}

impl core::fmt::Display for At {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self.body {
            Body::Code => "code ",
            Body::Straight => "straight code ",
        })?;
        write!(f, "{}", self.pc)
    }
}

/// Declares the reasons with their names, so that a test can go through all of them.
macro_rules! reasons {
    ($($(#[$meta:meta])* $id:ident { $($(#[$fmeta:meta])* $f:ident: $t:ty,)* },)*) => {
        /// Why an image is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum Reject { $($(#[$meta])* $id { $($(#[$fmeta])* $f: $t,)* },)* }

        impl Reject {
            /// Names of all reasons.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($id),)*];

            /// The name of this reason.
            #[must_use]
            pub const fn name(&self) -> &'static str { match self { $(Self::$id { .. } => stringify!($id),)* } }
        }
    };
}

reasons! {
    /// There is not enough memory for the program.
    #[error("not enough memory for the program")]
    NoMemory {},
    /// An image without a ruleset.
    #[error("no ruleset")]
    NoRuleset {},
    /// A ruleset whose code or rules do not begin where those of the ruleset before end, or do not end with the section.
    #[error("section {}: the part of ruleset {} begins at {at}, wanted {wanted}", section.name(), ruleset.0)]
    Layout {
        /// Which section.
        section: Section,
        /// The ruleset; one past the last when the section is not used up.
        ruleset: RulesetId,
        /// Where the part begins; where the section ends, when it is not used up.
        at: u32,
        /// Where it should.
        wanted: u64,
    },
    /// A ruleset without code.
    #[error("ruleset {} has no code", ruleset.0)]
    NoCode {
        /// The ruleset.
        ruleset: RulesetId,
    },
    /// A ruleset of an image with straight code that has none.
    #[error("ruleset {} has no straight code, others have", ruleset.0)]
    NoStraight {
        /// The ruleset.
        ruleset: RulesetId,
    },
    /// A rule that names another ruleset than the one whose part it stands in.
    #[error("rule {} stands in ruleset {}, and says {}", rule.0, wanted.0, found.0)]
    Owner {
        /// The rule.
        rule: RuleId,
        /// The ruleset it names.
        found: RulesetId,
        /// The ruleset it stands in.
        wanted: RulesetId,
    },
    /// A word that is no instruction.
    #[error("{at}: {why}")]
    Word {
        /// Where.
        at: At,
        /// What is wrong.
        why: BadWord,
    },
    /// An operand that breaks its rule.
    #[error("{at}: {why}")]
    Operand {
        /// Where.
        at: At,
        /// What is wrong.
        why: BadOperand,
    },
    /// The last word of a ruleset that may go on to the next one.
    #[error("{at}: goes on past the end of its ruleset")]
    FallsOff {
        /// Where.
        at: At,
    },
    /// A rule, noted or collected, that belongs to another ruleset.
    #[error("{at}: rule {} is not of this ruleset", rule.0)]
    Foreign {
        /// Where.
        at: At,
        /// The rule.
        rule: RuleId,
    },
    /// A call whose rule names another anchor, or none.
    #[error("{at}: rule {} does not call anchor {}", rule.0, anchor.0)]
    Call {
        /// Where.
        at: At,
        /// The rule.
        rule: RuleId,
        /// The anchor of the call.
        anchor: AnchorId,
    },
    /// A dispatch table used out of turn: they are used once each, in order.
    #[error("{at}: uses dispatch table {found}, the next is {wanted}")]
    DispatchTurn {
        /// Where.
        at: At,
        /// The table used.
        found: u32,
        /// The table whose turn it is.
        wanted: u32,
    },
    /// A dispatch on a field whose width is not that of the cuts.
    #[error("{at}: the field and the cuts differ in width")]
    DispatchWidth {
        /// Where.
        at: At,
    },
    /// A dispatch target past the end of the ruleset.
    #[error("{at}: interval {interval} goes to {to}, past the end of the ruleset at {end}")]
    DispatchTarget {
        /// Where.
        at: At,
        /// Which interval.
        interval: u32,
        /// Where it goes.
        to: u64,
        /// One past the last word of the ruleset.
        end: u32,
    },
    /// Code that may take more steps than the budget allows.
    #[error("ruleset {} may take {bound} steps, the budget is {budget}", ruleset.0)]
    Budget {
        /// The ruleset.
        ruleset: RulesetId,
        /// Its bound.
        bound: u32,
        /// The budget.
        budget: u32,
    },
    /// A record whose run does not begin where that of the record before ends, or does not end with the section.
    #[error("section {}, record {record}: its run in section {} begins at {at}, wanted {wanted}", section.name(), target.name())]
    Run {
        /// Section of the record.
        section: Section,
        /// The record; one past the last when the target is not used up.
        record: u32,
        /// Section the run lies in.
        target: Section,
        /// Where it begins; where the target ends, when it is not used up.
        at: u32,
        /// Where it should.
        wanted: u64,
    },
    /// A record that names something that is not there.
    #[error("section {}, record {record}: names {index} of {count} in section {}", section.name(), target.name())]
    Link {
        /// Section of the record.
        section: Section,
        /// The record.
        record: u32,
        /// Section it names something in.
        target: Section,
        /// What it names.
        index: u32,
        /// How many there are.
        count: u32,
    },
    /// A record out of order: rulesets by path, intervals apart and ascending, cuts strictly ascending, boxes by
    /// priority.
    #[error("section {}, record {record}: out of order", section.name())]
    Order {
        /// Section of the record.
        section: Section,
        /// The record.
        record: u32,
    },
    /// A pair of no known family, or of IPv4 with more than 32 bits.
    #[error("pair {pair} is no pair of addresses")]
    Pair {
        /// The pair.
        pair: u32,
    },
    /// A search of a width that there is not.
    #[error("search {search} has cuts of {width} bits")]
    Width {
        /// The search.
        search: u32,
        /// Its width.
        width: u32,
    },
    /// A set, leaf or classifier with nothing in it.
    #[error("section {}, record {record}: empty", section.name())]
    Empty {
        /// Section of the record.
        section: Section,
        /// The record.
        record: u32,
    },
    /// A box with an attribute that there is not.
    #[error("box {index} has attributes {attr:#x}")]
    Attr {
        /// The box.
        index: u32,
        /// Its attributes.
        attr: u8,
    },
    /// An axis of no kind, or of a field whose width is not that of its cuts.
    #[error("axis {axis} is of no kind")]
    Axis {
        /// The axis.
        axis: u32,
    },
    /// A classifier with more axes than [`MAX_AXES`](super::MAX_AXES).
    #[error("classifier {bitset} has {axes} axes, the most is {}", super::MAX_AXES)]
    Axes {
        /// The classifier.
        bitset: u32,
        /// How many it has.
        axes: u32,
    },
    /// A row that reaches past the bits.
    #[error("axis {axis}, row {row}: words {from} to {to} of {count}")]
    Row {
        /// The axis.
        axis: u32,
        /// The row.
        row: u32,
        /// First word.
        from: u32,
        /// One past the last word.
        to: u64,
        /// Words there are.
        count: u32,
    },
    /// A classifier that a priority or a rule is asked of, with something else in its list.
    #[error("{at}: the list of classifier {bitset} goes up to {most}, there are {count}")]
    List {
        /// Where.
        at: At,
        /// The classifier.
        bitset: u32,
        /// Largest item of its list.
        most: u32,
        /// How many such things there are.
        count: u32,
    },
}
