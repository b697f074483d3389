//! Statements that are not rules: `set`, tables, queues, antispoof, `load anchor`.
//!
//! Same promises as [`super`]: written form only, in the order of pfctl's actions.

use super::{Af, Arg, At, IfItem, Log, Number, PoolHost, Span, Spanned, StateOpt, Word};

/// `set …` as a statement. Its own action runs at the statement's `at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetOption {
    /// `reassemble yes|no [no-df]`: the value is the keyword `no` or a word.
    Reassemble {
        /// `no` or a word that must be `yes`.
        value: Arg,
        /// `no-df`.
        no_df: bool,
    },
    /// `optimization name`.
    Optimization(Word),
    /// `ruleset-optimization name`; words joined.
    RulesetOptimization(Arg),
    /// `timeout name n` or a list.
    Timeout(Vec<NamedNumber>),
    /// `limit name n` or a list.
    Limit(Vec<NamedNumber>),
    /// `loginterface name`; `all` is a word here.
    LogInterface(Word),
    /// `hostid n`.
    HostId(Arg),
    /// `block-policy drop|return`.
    BlockPolicy(BlockPolicy),
    /// `fingerprints "file"`.
    Fingerprints(Word),
    /// `state-policy if-bound|floating`: true when bound.
    StatePolicy {
        /// `if-bound`.
        if_bound: bool,
    },
    /// `debug level`; `debug` is a word here.
    Debug(Word),
    /// `skip on …`; empty when nothing follows.
    Skip(Vec<IfItem>),
    /// `state-defaults …`.
    StateDefaults(Vec<StateOpt>),
    /// `syncookies mode [(…)]`.
    Syncookies {
        /// `never`, `always` or `adaptive`.
        mode: Arg,
        /// The watermarks; `None` without parentheses.
        marks: Option<Vec<Watermark>>,
    },
}

/// `set block-policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockPolicy {
    /// `drop`.
    Drop,
    /// `return`.
    Return,
}

/// `name n` of `set timeout` and `set limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedNumber {
    /// Name.
    pub name: Word,
    /// Value.
    pub value: Number,
    /// When its action runs.
    pub at: At,
}

/// `start 25%` of `set syncookies`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// `start` or `end`.
    pub name: Word,
    /// A percentage.
    pub value: Word,
    /// When its action runs.
    pub at: At,
}

/// `load anchor NAME from FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadAnchor {
    /// Name.
    pub name: Option<Arg>,
    /// File; words joined.
    pub file: Word,
}

/// `antispoof [log] [quick] for … [af] [options]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Antispoof {
    /// `log …`.
    pub log: Option<Log>,
    /// `quick`.
    pub quick: Option<Span>,
    /// Interfaces.
    pub ifaces: Vec<AntispoofIf>,
    /// `inet` or `inet6`.
    pub af: Option<Spanned<Af>>,
    /// Options in order.
    pub opts: Vec<AntispoofOpt>,
}

/// An interface of `antispoof`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AntispoofIf {
    /// The interface.
    pub item: IfItem,
    /// In parentheses.
    pub dynamic: bool,
}

/// An option of `antispoof`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AntispoofOpt {
    /// Which.
    pub kind: AntispoofOptKind,
    /// Where.
    pub span: Span,
    /// When its action runs.
    pub at: At,
}

/// Options of `antispoof`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AntispoofOptKind {
    /// `label "text"`.
    Label(Word),
    /// `rtable n`.
    Rtable(Number),
}

/// `table <name> …`.
///
/// pfctl run with `-n` keeps tables of inline anchors under an empty name until their path is known, so the second such
/// table of a run gives up without a message: the caller then owes [`crate::parse::Parser::fail`] just the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDef {
    /// Name without brackets.
    pub name: Word,
    /// Flags and sources in order.
    pub opts: Vec<TableOpt>,
}

/// A flag or source of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableOpt {
    /// Which.
    pub kind: TableOptKind,
    /// Where.
    pub span: Span,
    /// When its action runs.
    pub at: At,
}

/// Flags and sources of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableOptKind {
    /// `persist`, `const`, `counters` or a word that is none of them.
    Flag(Word),
    /// `{ … }`; empty for `{ }`.
    Hosts(Vec<PoolHost>),
    /// `file "path"`.
    File(Word),
}

/// `queue name …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDef {
    /// Name.
    pub name: Word,
    /// `on …`; only the first counts.
    pub on: Vec<IfItem>,
    /// Options in order.
    pub opts: Vec<QueueOpt>,
}

/// An option of `queue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueOpt {
    /// Which.
    pub kind: QueueOptKind,
    /// Where.
    pub span: Span,
    /// When its action runs.
    pub at: At,
}

/// Options of `queue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueOptKind {
    /// `bandwidth … [min …] [max …]`: the curves' own actions run in source order.
    Bandwidth {
        /// What it gets.
        rate: Box<Curve>,
        /// `min`.
        min: Option<Box<Curve>>,
        /// `max`.
        max: Option<Box<Curve>>,
        /// `max` stood before `min`.
        max_first: bool,
    },
    /// `parent name`.
    Parent(Word),
    /// `default`.
    Default,
    /// `qlimit n`.
    Qlimit(Number),
    /// `flows n`.
    Flows(Number),
    /// `quantum n`.
    Quantum(Number),
}

/// A bandwidth with a possible burst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curve {
    /// The bandwidth.
    pub rate: Arg,
    /// `burst B for Tms`.
    pub burst: Option<(Arg, Word)>,
    /// When its action runs.
    pub at: At,
}
