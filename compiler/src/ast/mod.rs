//! What a pf.conf says, statement by statement, before any name is looked up.
//!
//! Holds the productions of the grammar as plain data: no host is resolved, no number is checked against its range, no
//! duplicate option is refused. `resolve` does that, in the order pfctl's actions would run.
//!
//! **Invariant:** every node whose pfctl action can complain carries an [`At`]: where pfctl's parser stood when it ran
//! that action. Fields stand in the order in which those actions run: source order, children before their parent.
//! **Invariant:** nothing nests without a bound: lists inside lists are flattened while they are parsed (an `any`
//! anywhere makes the whole list any, so nothing is lost), and an inline anchor is an opening, its statements and a
//! closing, not a tree.

use std::fmt;

mod options;
mod rule;

pub use options::*;
pub use rule::*;

pub use pfvm::rule::{Af, Direction};

/// A file that was read: index into the parser's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// Bytes of a file. Text that came out of a macro has the span of the `$name` that brought it in.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Which file.
    pub file: FileId,
    /// First byte.
    pub lo: u32,
    /// One past the last byte.
    pub hi: u32,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}..{}", self.file.0, self.lo, self.hi)
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let looked = if self.looked { " looked" } else { "" };
        write!(f, "line {} token {}{looked}", self.line, self.next)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value)
    }
}

impl Span {
    /// The smallest span over both; the first one when they lie in different files.
    #[must_use]
    pub fn to(self, end: Span) -> Span {
        if self.file == end.file {
            Span { file: self.file, lo: self.lo.min(end.lo), hi: self.hi.max(end.hi) }
        } else {
            self
        }
    }
}

/// Where pfctl's parser stood when it ran an action: what its messages name and where it goes on after an error.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct At {
    /// File the last token read came from.
    pub file: FileId,
    /// Line of the last token read: the number in `stdin:3: …`.
    pub line: u32,
    /// Tokens of the statement already consumed; an error here drops what follows up to the next newline token.
    pub next: u32,
    /// Whether the token at `next` had been read already (the action needed a lookahead).
    pub looked: bool,
}

impl At {
    /// Number of tokens of the statement read so far.
    #[must_use]
    pub fn read(self) -> u32 {
        self.next.saturating_add(u32::from(self.looked))
    }
}

/// A STRING token, or several joined by blanks where the grammar joins them.
///
/// Bytes that are not UTF-8 are kept by [`crate::source::text`]'s reversible escape.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// The text, without quotes.
    pub text: Box<str>,
    /// Where.
    pub span: Span,
}

/// A NUMBER token.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Number {
    /// Its value.
    pub value: i64,
    /// Where.
    pub span: Span,
}

/// A word or a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// STRING.
    Word(Box<str>),
    /// NUMBER.
    Number(i64),
}

impl Value {
    /// As pfctl's `numberstring` does it: a number in decimal, a word as it is.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Value::Word(word) => std::borrow::Cow::Borrowed(word),
            Value::Number(number) => std::borrow::Cow::Owned(number.to_string()),
        }
    }
}

/// A word or number with an action of its own: the smallest thing pfctl can complain about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// What was written.
    pub value: Value,
    /// Where.
    pub span: Span,
    /// When its action runs.
    pub at: At,
}

/// Something small with a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The thing.
    pub value: T,
    /// Where.
    pub span: Span,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stmt {
    /// What it is.
    pub kind: StmtKind,
    /// From its first to its last token.
    pub span: Span,
    /// When its own action runs, after those of its parts.
    pub at: At,
}

/// The statements of pf.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StmtKind {
    /// An empty line.
    Blank,
    /// `include "file"`; the file is already pushed when this is seen.
    Include(Word),
    /// `set …`.
    Set(SetOption),
    /// `name = value`; the parser has defined it already if [`MacroDef::name_is_legal`].
    Macro(MacroDef),
    /// `pass`, `block` or `match`.
    Rule(Box<Rule>),
    /// `anchor "name" …` without a block.
    Anchor(Box<AnchorRule>),
    /// `anchor … {` newline. The statements up to the matching [`StmtKind::AnchorClose`] belong to it. Only the parts
    /// of this head have been acted upon by pfctl here; the anchor's own action runs at the closing.
    AnchorOpen(Box<AnchorRule>),
    /// `}` of an inline anchor: its `at` is that of the anchor's own action.
    AnchorClose,
    /// `load anchor NAME from FILE`.
    Load(LoadAnchor),
    /// `antispoof …`.
    Antispoof(Antispoof),
    /// `table <name> …`.
    Table(TableDef),
    /// `queue name …`.
    Queue(QueueDef),
}

/// `name = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacroDef {
    /// Its name.
    pub name: Word,
    /// Words and numbers joined by single blanks.
    pub value: Word,
}

impl MacroDef {
    /// Whether pfctl takes the name: no white space after its first byte.
    #[must_use]
    pub fn name_is_legal(&self) -> bool {
        let mut bytes = self.name.text.bytes();
        bytes.next();
        !bytes.any(|byte| byte.is_ascii_whitespace() || byte == 0x0b)
    }
}

/// What of a broken statement pfctl had acted upon before its syntax error, outermost parts only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// `pass`, `block …`, `match`.
    Action(Action),
    /// An item of `log (…)`.
    LogOpt(LogOpt),
    /// An interface after `on`, `received-on`, `for` or `set skip`.
    If(IfItem),
    /// A protocol.
    Proto(Arg),
    /// A host, without its negation.
    Host(Host),
    /// A table entry or pool host in a list, with its weight.
    PoolHost(PoolHost),
    /// `to` and what follows: the check that it is not `urpf-failed`.
    To(Peer, At),
    /// A finished item of a port, user or group list.
    Compare(CompareField, Compare),
    /// A word or number inside an unfinished part.
    Leaf(Leaf, Arg),
    /// An ICMP type with its code.
    Icmp {
        /// `icmp6-type`.
        v6: bool,
        /// The item.
        item: IcmpItem,
    },
    /// A dynamic interface `(if:mod)`: always part of a [`Node::Host`] once that is finished.
    Dynamic {
        /// Inside the parentheses.
        name: Word,
        /// When it was read.
        at: At,
    },
    /// A complete filter option.
    FilterOpt(FilterOpt),
    /// An item of `set (…)`.
    SetItem(SetItem),
    /// An item of `scrub (…)`.
    ScrubOpt(ScrubOpt),
    /// A state option.
    StateOpt(StateOpt),
    /// A pool option.
    PoolOpt(PoolOpt),
    /// Queue names after `queue`.
    QueueNames(QueueNames),
    /// The hosts of `route-to`, `reply-to` or `dup-to` with their pool options.
    RouteSpec(Pool, At),
    /// An anchor's name.
    AnchorName(Arg),
    /// An option of `antispoof`.
    AntispoofOpt(AntispoofOpt),
    /// An option of `table`.
    TableOpt(TableOpt),
    /// An option of `queue`.
    QueueOpt(QueueOpt),
    /// A bandwidth with its burst.
    Curve(Curve),
    /// An item of `set timeout`.
    Timeout(NamedNumber),
    /// An item of `set limit`.
    Limit(NamedNumber),
    /// A watermark of `set syncookies`.
    Watermark(Watermark),
    /// A complete statement followed by something that does not belong there.
    Stmt(Box<Stmt>),
}

/// What a [`Node::Compare`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareField {
    /// `port`.
    Port,
    /// `user`.
    User,
    /// `group`.
    Group,
}

/// Which action a [`Node::Leaf`] runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// A port or range in a rule's addresses.
    Port,
    /// A port, range or `p:*` of a pool.
    PoolPort,
    /// A single port of `divert-to` or `divert-packet`.
    DivertPort,
    /// A user.
    User,
    /// A group.
    Group,
    /// TCP flags.
    Flags,
    /// An ICMP type.
    IcmpType,
    /// An ICMPv6 type.
    Icmp6Type,
    /// `tos` value.
    Tos,
    /// `probability` value.
    Probability,
    /// Code of `return-icmp`.
    ReturnIcmp,
    /// Code of `return-icmp6`.
    ReturnIcmp6,
    /// `weight` value.
    Weight,
    /// `yes` or `no`.
    YesNo,
    /// Number of `set hostid`.
    HostId,
    /// Value of `set ruleset-optimization`.
    RulesetOptimization,
    /// Value of `set syncookies`.
    Syncookies,
    /// A bandwidth.
    Bandwidth,
    /// The TTL of `return-rst`, the priorities of `set prio` and others without an action of their own.
    HashKey,
}
