//! The vocabulary of rules: what a rule does once it has matched, in the form the engine keeps.
//!
//! Holds plain `Copy` records shared by the image (which carries them), the engine (which acts on them) and the
//! compiler (which writes them). What a rule *tests* is code; only what it *does* is here.
//! **Invariant:** nothing here owns memory or borrows: names and texts are [`StrRef`]s into the image's blob.
//!
//! Source: OpenBSD 7.8 `sys/net/pfvar.h` (`struct pf_rule`, `struct pf_pool`, `pf_rule_actions`).

use serde::{Deserialize, Serialize};

/// Declares an index newtype: a number that names one thing of one kind.
macro_rules! index {
    ($($(#[$doc:meta])* $name:ident($raw:ty);)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $raw);
    )* };
}
index! {
    /// A rule of the image: its place in the rules section.
    RuleId(u32);
    /// A translation or routing pool of the image.
    PoolId(u32);
    /// An address table named by the image (dynamic interfaces are tables too).
    TableId(u16);
    /// An interface or interface-group name of the image.
    IfaceId(u16);
    /// A packet tag of the image.
    TagId(u16);
    /// An anchor-call site's target (path and wildcard) of the image.
    AnchorId(u16);
    /// A ruleset (the main one or an anchor's) of the image.
    RulesetId(u16);
    /// A queue of the image.
    QueueId(u16);
}

/// A text in the image's string blob: byte offset and length. The engine never reads inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StrRef {
    /// Offset of the first byte in the blob.
    pub at: u32,
    /// Length in bytes.
    pub len: u32,
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Af {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

/// Direction of a packet as the filter sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// Received.
    In,
    /// Sent, or forwarded on its way out.
    Out,
}

/// An address of either family in network byte order; IPv4 uses the first four bytes, the rest are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Addr(pub [u8; 16]);

impl Addr {
    /// An IPv4 address, as one number: a move of bytes one by one is slow.
    #[must_use]
    #[inline]
    pub const fn of4(a: [u8; 4]) -> Self {
        Self((u32::from_le_bytes(a) as u128).to_le_bytes())
    }

    /// The four bytes of an IPv4 address.
    #[must_use]
    #[inline]
    pub const fn v4(&self) -> [u8; 4] {
        match self.0.first_chunk() {
            Some(four) => *four,
            None => [0; 4],
        }
    }
}

/// What a rule says of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Let it through.
    Pass,
    /// Drop it, answering as [`Rule::returns`] says.
    Block,
    /// Change nothing of the verdict; apply the options.
    Match,
}

/// What a blocked packet is answered with (`PFRULE_RETURN*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Return {
    /// Nothing.
    Drop,
    /// RST for TCP, ICMP unreachable for the rest.
    Any {
        /// ICMP type and code, type in the high byte.
        icmp: u16,
        /// ICMPv6 type and code, type in the high byte.
        icmp6: u16,
    },
    /// RST, TCP only. A `ttl` of 0 is the host's default.
    Rst {
        /// TTL or hop limit of the RST.
        ttl: u8,
    },
    /// ICMP unreachable with these types and codes.
    Icmp {
        /// ICMP type and code, type in the high byte.
        icmp: u16,
        /// ICMPv6 type and code, type in the high byte.
        icmp6: u16,
    },
}

/// Which state a matching `pass` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Keep {
    /// None.
    No,
    /// An ordinary one.
    Keep,
    /// With the initial sequence numbers modulated.
    Modulate,
    /// With the handshake proxied.
    Synproxy,
}

/// One bit set of `u32` with named bits.
macro_rules! bits {
    ($(#[$doc:meta])* $name:ident { $($(#[$bdoc:meta])* $bit:ident = $v:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub struct $name(pub u32);
        impl $name {
            $($(#[$bdoc])* pub const $bit: Self = Self($v);)*
            /// All bits that have a name; others are refused in an image.
            pub const ALL: Self = Self(0 $(| $v)*);
            /// Whether every bit of `other` is set.
            #[must_use]
            pub const fn has(self, other: Self) -> bool { self.0 & other.0 == other.0 }
            /// Both sets together.
            #[must_use]
            pub const fn with(self, other: Self) -> Self { Self(self.0 | other.0) }
        }
        impl core::ops::BitOrAssign for $name { fn bitor_assign(&mut self, o: Self) { self.0 |= o.0; } }
    };
}
bits! {
    /// Yes-or-no properties of a rule.
    RuleFlags {
        /// `quick`.
        QUICK = 1,
        /// `once`.
        ONCE = 1 << 1,
        /// `allow-opts`.
        ALLOW_OPTS = 1 << 2,
        /// `keep state (sloppy)`.
        SLOPPY = 1 << 3,
        /// `keep state (if-bound)` or the policy in force.
        IF_BOUND = 1 << 4,
        /// `keep state (no-sync)`: kept for printing.
        NO_SYNC = 1 << 5,
        /// `keep state (pflow)`: kept for printing.
        PFLOW = 1 << 6,
        /// Source tracking, global.
        SRC_TRACK = 1 << 7,
        /// Source tracking, per rule.
        RULE_SRC_TRACK = 1 << 8,
        /// `overload … flush`.
        FLUSH = 1 << 9,
        /// `overload … flush global`.
        FLUSH_GLOBAL = 1 << 10,
        /// `scrub (no-df)`.
        NO_DF = 1 << 11,
        /// `scrub (random-id)`.
        RANDOM_ID = 1 << 12,
        /// `scrub (reassemble tcp)`.
        REASSEMBLE_TCP = 1 << 13,
        /// `set tos` was given.
        SET_TOS = 1 << 14,
        /// `set prio` was given.
        SET_PRIO = 1 << 15,
        /// `set delay` was given.
        SET_DELAY = 1 << 16,
        /// `af-to`: [`Rule::naf`] is the new family.
        AF_TO = 1 << 17,
        /// The rule calls an anchor; its own action is none.
        ANCHOR = 1 << 18,
        /// `from ! …`: how a table named there counts.
        SRC_NOT = 1 << 19,
        /// `to ! …`: how a table named there counts.
        DST_NOT = 1 << 20,
    }
}
bits! {
    /// What is logged.
    LogFlags {
        /// `log`: the packet that makes the state, or every one where there is none.
        LOG = 1,
        /// `log (all)`.
        ALL_PACKETS = 2,
        /// `log (matches)`.
        MATCHES = 4,
        /// `log (user)`.
        USER = 8,
    }
}

/// Names a timeout (`PFTM_*`): order, names and defaults are one table.
macro_rules! timeouts {
    ($($(#[$doc:meta])* $id:ident $name:literal $default:literal;)*) => {
        /// A timeout, in the order `pfctl -st` prints.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Timeout { $($(#[$doc])* $id,)* }
        impl Timeout {
            /// All of them, in order.
            pub const ALL: &'static [Timeout] = &[$(Timeout::$id,)*];
            /// pf.conf(5)'s name.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Timeout::$id => $name,)* } }
            /// Default of `set timeout`, in seconds (states for `adaptive.*`).
            #[must_use]
            pub const fn default_value(self) -> u32 { match self { $(Timeout::$id => $default,)* } }
        }
        /// Number of timeouts.
        pub const TIMEOUTS: usize = Timeout::ALL.len();
    };
}
timeouts! {
    /// First TCP packet seen.
    TcpFirst "tcp.first" 120;
    /// Handshake not complete.
    TcpOpening "tcp.opening" 30;
    /// Connection established.
    TcpEstablished "tcp.established" 86400;
    /// One FIN seen.
    TcpClosing "tcp.closing" 900;
    /// Both FINs seen.
    TcpFinWait "tcp.finwait" 45;
    /// Closed or reset.
    TcpClosed "tcp.closed" 90;
    /// Allowed difference of timestamps.
    TcpTsDiff "tcp.tsdiff" 30;
    /// First UDP datagram.
    UdpFirst "udp.first" 60;
    /// Datagrams one way only.
    UdpSingle "udp.single" 30;
    /// Datagrams both ways.
    UdpMultiple "udp.multiple" 60;
    /// First ICMP query.
    IcmpFirst "icmp.first" 20;
    /// After an ICMP error.
    IcmpError "icmp.error" 10;
    /// First packet of another protocol.
    OtherFirst "other.first" 60;
    /// Another protocol, one way only.
    OtherSingle "other.single" 30;
    /// Another protocol, both ways.
    OtherMultiple "other.multiple" 60;
    /// Fragments waiting for the rest.
    Frag "frag" 60;
    /// Purge interval.
    Interval "interval" 10;
    /// States at which scaling begins.
    AdaptiveStart "adaptive.start" 60000;
    /// States at which timeouts reach zero.
    AdaptiveEnd "adaptive.end" 120_000;
    /// Source nodes after their last state.
    SrcTrack "src.track" 0;
}

/// Where `route-to`, `reply-to` or `dup-to` applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RouteKind {
    /// Packets in the rule's direction.
    RouteTo,
    /// Packets against the rule's direction.
    ReplyTo,
    /// A copy.
    DupTo,
}

/// A routing action: kind and the pool of next hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Which of the three.
    pub kind: RouteKind,
    /// Next hops.
    pub pool: PoolId,
}

/// How a pool picks an address (`PF_POOL_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PoolKind {
    /// The one address.
    None,
    /// Host bits of the original address under the pool's network.
    Bitmask,
    /// Random.
    Random,
    /// Keyed hash of the source.
    SourceHash,
    /// In turn.
    RoundRobin,
    /// Fewest states by weight.
    LeastStates,
}

/// What a pool picks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PoolAddr {
    /// A network: address and prefix length.
    Net {
        /// Family.
        af: Af,
        /// Address, masked.
        addr: Addr,
        /// Prefix length, bits.
        prefix: u8,
    },
    /// A table (also the automatic one of a pool list).
    Table(TableId),
    /// The addresses of an interface or group, kept current in a table.
    Dynamic {
        /// The table behind `(if:mod)`.
        table: TableId,
        /// Prefix given after it (`(if)/24`); 255 when none.
        prefix: u8,
    },
    /// No address: routes only, or `nat-to` whose family is set by `af-to`.
    None,
}

/// Port part of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PoolPorts {
    /// Low end, host order; 0 when no ports are given.
    pub lo: u16,
    /// High end, inclusive; equal to `lo` for one port, 0 with `lo` set for `rdr-to … port lo:*`.
    pub hi: u16,
    /// `rdr-to`: first port the rule itself asks of the destination, which the range is counted from; 0 when it
    /// asks for none.
    pub base: u16,
    /// `static-port`.
    pub fixed: bool,
}

/// A pool of translation addresses or next hops (`struct pf_pool`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pool {
    /// How it picks.
    pub kind: PoolKind,
    /// `sticky-address`.
    pub sticky: bool,
    /// What from.
    pub addr: PoolAddr,
    /// Ports.
    pub ports: PoolPorts,
    /// Hash key: the four words its hex digits give, first digits first; `None` draws one at load.
    pub key: Option<[u32; 4]>,
    /// Interface of the next hop, for pools of a route.
    pub iface: Option<IfaceId>,
}

/// Diversion to a local socket (`divert-to`, `divert-reply`, `divert-packet`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Divert {
    /// `divert-to addr port p`.
    To {
        /// Address.
        addr: Addr,
        /// Port, host order.
        port: u16,
    },
    /// `divert-reply`.
    Reply,
    /// `divert-packet port p`.
    Packet {
        /// Port, host order.
        port: u16,
    },
}

/// What a rule does when it has matched; `struct pf_rule` less what it tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Verdict.
    pub action: Action,
    /// Answer to a blocked packet.
    pub returns: Return,
    /// Direction the rule was written for, `None` for both.
    pub direction: Option<Direction>,
    /// Family the rule was written for.
    pub af: Option<Af>,
    /// Yes-or-no properties.
    pub flags: RuleFlags,
    /// Logging.
    pub log: LogFlags,
    /// `log (to pflogN)`.
    pub log_if: u8,
    /// State.
    pub keep: Keep,
    /// New family of `af-to`.
    pub naf: Option<Af>,
    /// `af-to` without a `to`: prefix length of the rule's own destination, behind which the packet's destination
    /// holds the IPv4 address; 0 for `any`.
    pub dst_prefix: u8,
    /// `nat-to` pool.
    pub nat: Option<PoolId>,
    /// `rdr-to` pool.
    pub rdr: Option<PoolId>,
    /// Routing.
    pub route: Option<Route>,
    /// `tag`.
    pub tag: Option<TagId>,
    /// `set prio`: first for ordinary packets, second for lowdelay and empty ACKs.
    pub prio: [u8; 2],
    /// `set tos`.
    pub tos: u8,
    /// `scrub (min-ttl n)`, 0 when none.
    pub min_ttl: u8,
    /// `scrub (max-mss n)`, 0 when none.
    pub max_mss: u16,
    /// `set delay`, milliseconds.
    pub delay: u16,
    /// `rtable n`.
    pub rtable: Option<u8>,
    /// `set queue`: ordinary and priority.
    pub queue: [Option<QueueId>; 2],
    /// Diversion.
    pub divert: Option<Divert>,
    /// Timeouts of states made by this rule; 0 inherits. Indexed by [`Timeout`].
    pub timeouts: [u32; TIMEOUTS],
    /// `max n`, 0 when none.
    pub max_states: u32,
    /// `max-src-nodes n`, 0 when none.
    pub max_src_nodes: u32,
    /// `max-src-states n`, 0 when none.
    pub max_src_states: u32,
    /// `max-src-conn n`, 0 when none.
    pub max_src_conn: u32,
    /// `max-src-conn-rate n/s`: connections, 0 when none.
    pub max_src_conn_rate: u32,
    /// Its seconds.
    pub max_src_conn_seconds: u32,
    /// `max-pkt-rate n/s`: packets, 0 when none.
    pub pkt_rate: u32,
    /// Its seconds.
    pub pkt_seconds: u32,
    /// `overload <table>`.
    pub overload: Option<TableId>,
    /// Tables the rule names after `from` and `to`, dynamic interfaces included: their counters follow its matches.
    pub tables: [Option<TableId>; 2],
    /// `anchor` call target.
    pub anchor: Option<AnchorId>,
    /// `label`.
    pub label: StrRef,
    /// Canonical text, as `pfctl -sr` prints it.
    pub text: StrRef,
    /// What listings with counts add to the text, in the compiler's own form.
    pub more: StrRef,
    /// File it stands in.
    pub file: StrRef,
    /// Line, from 1.
    pub line: u32,
    /// Number within its ruleset, as pfctl numbers it.
    pub nr: u32,
    /// Ruleset it belongs to.
    pub ruleset: RulesetId,
    /// Stable across reloads: a digest of ruleset path, canonical text and occurrence.
    pub stable_id: u64,
}

impl Rule {
    /// `pass no state`, first rule of the first ruleset, and nothing else.
    pub const PLAIN: Self = Self {
        action: Action::Pass,
        returns: Return::Drop,
        direction: None,
        af: None,
        flags: RuleFlags(0),
        log: LogFlags(0),
        log_if: 0,
        keep: Keep::No,
        naf: None,
        dst_prefix: 0,
        nat: None,
        rdr: None,
        route: None,
        tag: None,
        prio: [0, 0],
        tos: 0,
        min_ttl: 0,
        max_mss: 0,
        delay: 0,
        rtable: None,
        queue: [None, None],
        divert: None,
        timeouts: [0; TIMEOUTS],
        max_states: 0,
        max_src_nodes: 0,
        max_src_states: 0,
        max_src_conn: 0,
        max_src_conn_rate: 0,
        max_src_conn_seconds: 0,
        pkt_rate: 0,
        pkt_seconds: 0,
        overload: None,
        tables: [None, None],
        anchor: None,
        label: StrRef { at: 0, len: 0 },
        text: StrRef { at: 0, len: 0 },
        more: StrRef { at: 0, len: 0 },
        file: StrRef { at: 0, len: 0 },
        line: 0,
        nr: 0,
        ruleset: RulesetId(0),
        stable_id: 0,
    };
}

/// A pool limit (`PF_LIMIT_*`) with its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `states`.
    pub states: u32,
    /// `src-nodes`.
    pub src_nodes: u32,
    /// `frags`.
    pub frags: u32,
    /// `tables`.
    pub tables: u32,
    /// `table-entries`.
    pub table_entries: u32,
    /// `pktdelay-pkts`.
    pub pktdelay_pkts: u32,
    /// `anchors`.
    pub anchors: u32,
}

/// `set syncookies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Syncookies {
    /// Off.
    Never,
    /// On.
    Always,
    /// On between two fill levels of the state table, in percent.
    Adaptive {
        /// Turns on.
        start: u8,
        /// Turns off.
        end: u8,
    },
}

/// Options of the main ruleset that the engine acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Default timeouts, indexed by [`Timeout`].
    pub timeouts: [u32; TIMEOUTS],
    /// Whether `adaptive.*` were set, else they follow `limit states`.
    pub adaptive_set: bool,
    /// Pool limits.
    pub limits: Limits,
    /// `set reassemble`.
    pub reassemble: bool,
    /// `set reassemble yes no-df`.
    pub reassemble_no_df: bool,
    /// `set syncookies`.
    pub syncookies: Syncookies,
    /// `set debug`, syslog level 0–7.
    pub debug: u8,
    /// `set hostid`, 0 draws one at load.
    pub hostid: u32,
    /// `set loginterface`.
    pub loginterface: Option<IfaceId>,
}
