//! Rules, anchors and what they are made of.
//!
//! Same promises as [`super`]: written form only, in the order of pfctl's actions.

use super::{Af, Arg, At, Direction, Number, Span, Spanned, Word};

/// `pass`, `block` or `match` with all that follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Verdict.
    pub action: Action,
    /// `in` or `out`.
    pub dir: Option<Spanned<Direction>>,
    /// `log …`.
    pub log: Option<Log>,
    /// `quick`.
    pub quick: Option<Span>,
    /// `on …`; empty when absent.
    pub on: Vec<IfItem>,
    /// `inet` or `inet6`.
    pub af: Option<Spanned<Af>>,
    /// `proto …`; empty when absent.
    pub proto: Vec<Arg>,
    /// `all`, or `from … os … to …`.
    pub hosts: FromTo,
    /// The options in order.
    pub opts: Vec<FilterOpt>,
}

/// `anchor [name] [dir] [quick] [on …] [af] [proto …] [from … to …] [options]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorRule {
    /// Name or path as written; the action checks it is not empty, too long or reserved.
    pub name: Option<Arg>,
    /// `in` or `out`.
    pub dir: Option<Spanned<Direction>>,
    /// `quick`.
    pub quick: Option<Span>,
    /// `on …`.
    pub on: Vec<IfItem>,
    /// `inet` or `inet6`.
    pub af: Option<Spanned<Af>>,
    /// `proto …`.
    pub proto: Vec<Arg>,
    /// Addresses.
    pub hosts: FromTo,
    /// The options in order.
    pub opts: Vec<FilterOpt>,
}

/// The verdict with what a block answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Which.
    pub kind: ActionKind,
    /// Where.
    pub span: Span,
    /// When its action runs.
    pub at: At,
}

/// Verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// `pass`.
    Pass,
    /// `match`.
    Match,
    /// `block …`.
    Block(BlockSpec),
}

/// What stands after `block`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockSpec {
    /// Nothing: the block policy decides.
    Policy,
    /// `drop`.
    Drop,
    /// `return`.
    Return,
    /// `return-rst`, or with `(ttl n)`.
    ReturnRst(Option<Number>),
    /// `return-icmp`, with up to two codes.
    ReturnIcmp(Option<Arg>, Option<Arg>),
    /// `return-icmp6`, with up to one code.
    ReturnIcmp6(Option<Arg>),
}

/// `log` or `log (…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The items in parentheses.
    pub opts: Vec<LogOpt>,
    /// Where.
    pub span: Span,
}

/// An item of `log (…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOpt {
    /// Which.
    pub kind: LogOptKind,
    /// Where.
    pub span: Span,
    /// When its action runs.
    pub at: At,
}

/// Items of `log (…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOptKind {
    /// `all`.
    All,
    /// `matches`.
    Matches,
    /// `user`.
    User,
    /// `to pflogN`.
    To(Word),
}

/// An interface, possibly negated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfItem {
    /// `!`.
    pub not: bool,
    /// Which.
    pub name: IfName,
    /// Where, with the `!`.
    pub span: Span,
    /// When its action runs.
    pub at: At,
}

/// What can stand for an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfName {
    /// An interface or group.
    Name(Word),
    /// `any`.
    Any,
    /// `rdomain n`.
    Rdomain(Number),
}

/// Source, operating system and destination of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FromTo {
    /// `all` was written.
    pub all: Option<Span>,
    /// `from …`.
    pub from: Option<Peer>,
    /// `os …`.
    pub os: Vec<Word>,
    /// `to …`, with when its check against `urpf-failed` runs.
    pub to: Option<(Peer, At)>,
}

/// Hosts and ports of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Hosts; `None` when only a port was written.
    pub hosts: Option<Vec<HostItem>>,
    /// `port …`; empty when absent.
    pub ports: Vec<Compare>,
    /// Where.
    pub span: Span,
}

/// One of a list of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostItem {
    /// `any`: the whole list is any.
    Any(Span),
    /// A host, possibly negated.
    Host(XHost),
}

/// A host with a possible `!`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XHost {
    /// `!`.
    pub not: bool,
    /// The host.
    pub host: Host,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Which.
    pub kind: HostKind,
    /// Where.
    pub span: Span,
    /// When its action runs.
    pub at: At,
}

/// What can stand for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// An address, interface, group or host name, with its `:modifiers` or `%scope` unparsed.
    Name(Word),
    /// `a - b`.
    Range(Word, Word),
    /// `name/bits`.
    Net(Word, Number),
    /// `10/8`.
    ShortNet(Number, Number),
    /// `(if:mod)`, `(if:mod)/bits`.
    Dynamic {
        /// What stands in the parentheses.
        name: Word,
        /// When the action of the parentheses runs.
        name_at: At,
        /// The mask; its range is checked in the host's own action.
        bits: Option<Number>,
    },
    /// `<table>`.
    Table(Word),
    /// `route "label"`.
    RouteLabel(Word),
    /// `no-route`.
    NoRoute,
    /// `urpf-failed`.
    UrpfFailed,
}

/// A host of a table or pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolHost {
    /// `!` (tables only).
    pub not: bool,
    /// The host.
    pub host: Host,
    /// `weight n`.
    pub weight: Option<Arg>,
    /// When the action of the list item runs (only addresses may start a pool list).
    pub at: At,
}

/// A comparison of a port, user or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which.
    pub kind: CompareKind,
    /// Where.
    pub span: Span,
    /// When its action runs, after those of its arguments.
    pub at: At,
}

/// Forms of a comparison. A range `a:b` is one word inside an [`Arg`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareKind {
    /// The value alone.
    Is(Arg),
    /// An operator before it.
    Unary(UnaryOp, Arg),
    /// `a <> b` or `a >< b`.
    Binary(Arg, BinaryOp, Arg),
}

/// Operators before a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `=`.
    Eq,
    /// `!=`.
    Ne,
    /// `<=`.
    Le,
    /// `<`.
    Lt,
    /// `>=`.
    Ge,
    /// `>`.
    Gt,
}

/// Operators between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `<>`: outside (`PF_OP_XRG`).
    Outside,
    /// `><`: inside, ends excluded (`PF_OP_IRG`).
    Inside,
}

/// One option of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterOpt {
    /// Which.
    pub kind: FilterOptKind,
    /// Where.
    pub span: Span,
    /// When its action runs, after those of its parts.
    pub at: At,
}

/// Options of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterOptKind {
    /// `user …`.
    User(Vec<Compare>),
    /// `group …`.
    Group(Vec<Compare>),
    /// `flags …`.
    Flags(FlagsSpec),
    /// `icmp-type …` or `icmp6-type …`.
    Icmp {
        /// `icmp6-type`.
        v6: bool,
        /// The types.
        items: Vec<IcmpItem>,
    },
    /// `prio n`.
    Prio(Number),
    /// `tos v`.
    Tos(Arg),
    /// `no state`, `keep state …` and so on.
    Keep(KeepSpec),
    /// `fragment`.
    Fragment,
    /// `allow-opts`.
    AllowOpts,
    /// `label "text"`.
    Label(Word),
    /// `queue …`.
    Queue(QueueNames),
    /// `tag name`.
    Tag(Word),
    /// `[!] tagged name`.
    Tagged {
        /// `!`.
        not: bool,
        /// The tag.
        name: Word,
    },
    /// `probability p`.
    Probability(Arg),
    /// `rtable n`.
    Rtable(Number),
    /// `divert-to host port p`.
    DivertTo {
        /// The host.
        host: Word,
        /// The port.
        port: Arg,
    },
    /// `divert-reply`.
    DivertReply,
    /// `divert-packet port p`.
    DivertPacket(Arg),
    /// `scrub (…)`.
    Scrub(Vec<ScrubOpt>),
    /// `nat-to …`.
    NatTo(Pool),
    /// `rdr-to …`.
    RdrTo(Pool),
    /// `binat-to …`.
    BinatTo(Pool),
    /// `af-to [af] from … [to …]`.
    AfTo {
        /// Target family.
        af: Option<Spanned<Af>>,
        /// New source.
        from: Box<Pool>,
        /// New destination.
        to: Option<Box<Pool>>,
    },
    /// `route-to`, `reply-to` or `dup-to`.
    Route {
        /// Which.
        kind: RouteKind,
        /// Next hops.
        pool: Pool,
        /// When the action of the pool runs (refuses a second one).
        pool_at: At,
    },
    /// `[!] received-on …`; the item's own `not` is set too.
    ReceivedOn(IfItem),
    /// `once`.
    Once,
    /// `max-pkt-rate n/s`.
    MaxPktRate(Number, Number),
    /// `set (…)` or `set x`.
    Set(Vec<SetItem>),
}

pub use pfvm::rule::RouteKind;

/// `flags …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagsSpec {
    /// `any`.
    Any,
    /// `a/b` or `/b`.
    Of {
        /// Flags that must be set.
        set: Option<Arg>,
        /// Flags looked at.
        mask: Arg,
    },
}

/// An ICMP type with its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpItem {
    /// The type.
    pub kind: Arg,
    /// `code c`; it has no action of its own, [`IcmpItem::at`] is when it is checked.
    pub code: Option<Arg>,
    /// When the item's action runs.
    pub at: At,
}

/// `no state`, `keep state (…)` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepSpec {
    /// Which.
    pub kind: pfvm::rule::Keep,
    /// What stands in parentheses.
    pub opts: Vec<StateOpt>,
}

/// A state option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateOpt {
    /// Which.
    pub kind: StateOptKind,
    /// Where.
    pub span: Span,
    /// When its action runs.
    pub at: At,
}

/// State options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateOptKind {
    /// `max n`.
    Max(Number),
    /// `no-sync`.
    NoSync,
    /// `max-src-states n`.
    MaxSrcStates(Number),
    /// `max-src-conn n`.
    MaxSrcConn(Number),
    /// `max-src-conn-rate n/s`.
    MaxSrcConnRate(Number, Number),
    /// `max-src-nodes n`.
    MaxSrcNodes(Number),
    /// `overload <t> [flush [global]]`.
    Overload(Word, Flush),
    /// `source-track [rule|global]`.
    SourceTrack(SourceTrack),
    /// `if-bound`.
    IfBound,
    /// `floating`.
    Floating,
    /// `sloppy`.
    Sloppy,
    /// `pflow`.
    Pflow,
    /// `tcp.first 60` and so on.
    Timeout(Word, Number),
}

/// What `overload` kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flush {
    /// Nothing said.
    No,
    /// `flush`.
    Rule,
    /// `flush global`.
    Global,
}

/// Reach of `source-track`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceTrack {
    /// Not said.
    Bare,
    /// `global`.
    Global,
    /// `rule`.
    Rule,
}

/// `queue a`, `queue (a)`, `queue (a, b)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueNames {
    /// The queue.
    pub name: Word,
    /// The one for low delay and empty ACKs.
    pub second: Option<Word>,
    /// When its action runs.
    pub at: At,
}

/// An item of `scrub (…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubOpt {
    /// Which.
    pub kind: ScrubOptKind,
    /// Where.
    pub span: Span,
    /// When its action runs.
    pub at: At,
}

/// Items of `scrub (…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScrubOptKind {
    /// `no-df`.
    NoDf,
    /// `min-ttl n`.
    MinTtl(Number),
    /// `max-mss n`.
    MaxMss(Number),
    /// `reassemble tcp`.
    Reassemble(Word),
    /// `random-id`.
    RandomId,
}

/// An item of `set (…)` on a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetItem {
    /// Which.
    pub kind: SetItemKind,
    /// Where.
    pub span: Span,
    /// When its action runs.
    pub at: At,
}

/// Items of `set (…)` on a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetItemKind {
    /// `prio n` or `prio (a, b)`.
    Prio(Number, Option<Number>),
    /// `queue …`.
    Queue(QueueNames),
    /// `tos v`.
    Tos(Arg),
    /// `delay ms`.
    Delay(Number),
}

/// Where traffic is sent or rewritten to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The addresses.
    pub hosts: Vec<PoolHost>,
    /// Whether they stood in braces.
    pub list: bool,
    /// `port …`.
    pub port: Option<Arg>,
    /// Pool options in order.
    pub opts: Vec<PoolOpt>,
    /// Where.
    pub span: Span,
}

/// A pool option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOpt {
    /// Which.
    pub kind: PoolOptKind,
    /// Where.
    pub span: Span,
    /// When its action runs.
    pub at: At,
}

/// Pool options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolOptKind {
    /// `bitmask`.
    Bitmask,
    /// `random`.
    Random,
    /// `source-hash [key]`; the key's own check runs at the same place.
    SourceHash(Option<Word>),
    /// `round-robin`.
    RoundRobin,
    /// `least-states`.
    LeastStates,
    /// `static-port`.
    StaticPort,
    /// `sticky-address`.
    StickyAddress,
}
