//! Resolved rules: what a pf.conf means once macros, lists, names and defaults are gone.
//!
//! Holds the data that `resolve` makes and everything after it reads: `print` (pfctl's canonical text), `eval` (the
//! reference), `opt` and `lower` (code), `image`. One [`Rule`] here is one `struct pf_rule` of pfctl, in the same order.
//! **Invariant:** no unresolved host or service name, one address family a rule, ranges ordered; names of tables,
//! interfaces, anchors, tags and queues stay names: they are bound when a program is loaded.
//! **Invariant:** every semantic error is reported before a value of these types exists.

use std::net::IpAddr;

pub use pfvm::rule::{
    Action, Af, Direction, Keep, LogFlags, Options, Return, RouteKind, RuleFlags, Syncookies, Timeout,
};

/// Where something was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// File name as pfctl prints it (`stdin` for standard input).
    pub file: std::sync::Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Byte range in the file, empty when a macro or list makes it meaningless.
    pub span: (u32, u32),
}

/// A whole configuration: options, queues, the main ruleset and the anchors written inline.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Options of the main ruleset, defaults filled in.
    pub options: Settings,
    /// Queues in order.
    pub queues: Vec<Queue>,
    /// The main ruleset (or that of the anchor given with `-a`); its inline anchors hang below their call rules.
    pub main: Ruleset,
    /// Rulesets of `load anchor` files, read: each takes the place of an inline one of its path.
    pub anchors: Vec<Ruleset>,
    /// `load anchor NAME from FILE`, in order, not yet read.
    pub loads: Vec<AnchorLoad>,
    /// Interfaces that `antispoof` was written for.
    pub antispoofs: Vec<Antispoofed>,
    /// Macros that were defined and never used.
    pub unused_macros: Vec<(String, Place)>,
    /// Fingerprints of the file `set fingerprints` names; `None` where those of the machine are meant.
    pub prints: Option<Vec<pfvm::image::Print>>,
}

/// An interface that `antispoof` was written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Antispoofed {
    /// Its name.
    pub iface: String,
    /// Written in parentheses: it follows changes of address.
    pub dynamic: bool,
    /// Where.
    pub place: Place,
}

/// Options as written: `None` where the file is silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `set timeout` and `set optimization`, indexed by [`Timeout`].
    pub timeouts: [Option<u32>; pfvm::rule::TIMEOUTS],
    /// `set limit`, in the order of [`LIMIT_NAMES`].
    pub limits: [Option<u32>; LIMIT_NAMES.len()],
    /// `set reassemble`: on, no-df.
    pub reassemble: Option<(bool, bool)>,
    /// `set syncookies`.
    pub syncookies: Option<Syncookies>,
    /// `set debug`, syslog level.
    pub debug: Option<u8>,
    /// `set hostid`.
    pub hostid: Option<u32>,
    /// `set loginterface`; `Some(None)` is `none`.
    pub loginterface: Option<Option<String>>,
    /// `set skip on`.
    pub skip: Vec<String>,
    /// `set ruleset-optimization`.
    pub optimization: Option<OptimizerLevel>,
    /// `set fingerprints`.
    pub fingerprints: Option<String>,
}

/// Names of `set limit`, in pf's order.
pub const LIMIT_NAMES: [&str; 7] =
    ["states", "src-nodes", "frags", "tables", "table-entries", "pktdelay-pkts", "anchors"];

/// How much pfctl's optimizer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OptimizerLevel {
    /// Nothing.
    None,
    /// Duplicates, tables, order.
    #[default]
    Basic,
    /// Also by the hit counters of the loaded rules.
    Profile,
}

/// `load anchor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorLoad {
    /// Anchor path.
    pub anchor: String,
    /// File to read.
    pub file: String,
    /// Where.
    pub place: Place,
}

/// One ruleset: the main one or an anchor's.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    /// Path from the main ruleset, without a leading slash; empty for the main one.
    pub path: String,
    /// Rules in order, expanded.
    pub rules: Vec<Rule>,
    /// Tables defined here, in order of definition (automatic ones included).
    pub tables: Vec<Table>,
}

/// A table definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Name without the brackets.
    pub name: String,
    /// `persist`.
    pub persist: bool,
    /// `const`.
    pub constant: bool,
    /// `counters`.
    pub counters: bool,
    /// Whether contents were given at all (`{}` counts): they replace what is loaded.
    pub init: bool,
    /// Contents, inline and from files, in order.
    pub entries: Vec<TableEntry>,
    /// Files named, in order: kept for printing.
    pub files: Vec<String>,
    /// Made by the compiler (`__automatic_N`).
    pub automatic: bool,
    /// Where.
    pub place: Place,
}

/// An address, network or negation in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Network address, masked.
    pub addr: IpAddr,
    /// Prefix length, bits.
    pub prefix: u8,
    /// `!`.
    pub not: bool,
    /// `weight`, 0 when none.
    pub weight: u16,
    /// Came from a file: not printed inline.
    pub from_file: bool,
}

/// A name with a possible `!`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Named {
    /// Negated.
    pub not: bool,
    /// The name.
    pub name: String,
}

/// Modifiers of a dynamic interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DynMods {
    /// `:network`.
    pub network: bool,
    /// `:broadcast`.
    pub broadcast: bool,
    /// `:peer`.
    pub peer: bool,
    /// `:0`.
    pub noalias: bool,
}

/// What an address must be (`struct pf_addr_wrap`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum AddrSpec {
    /// Anything.
    #[default]
    Any,
    /// A network. `addr` is as written (pfctl masks when it prints and compares), `prefix` in bits.
    Net {
        /// Address.
        addr: IpAddr,
        /// Prefix length.
        prefix: u8,
    },
    /// An inclusive range of one family.
    Range {
        /// Low end.
        lo: IpAddr,
        /// High end.
        hi: IpAddr,
    },
    /// `<name>`.
    Table(String),
    /// `(if:mods)/prefix`.
    Dynamic {
        /// Interface or group.
        name: String,
        /// Modifiers.
        mods: DynMods,
        /// Prefix length for IPv4 and IPv6, `None` where not written.
        prefix: Option<u8>,
    },
    /// `no-route`.
    NoRoute,
    /// `urpf-failed`.
    UrpfFailed,
    /// `route "label"`.
    RouteLabel(String),
}

/// An operator with its operands, for ports and ids (`PF_OP_*`). Port values are in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op<T> {
    /// `= a`.
    Eq(T),
    /// `!= a`.
    Ne(T),
    /// `< a`.
    Lt(T),
    /// `<= a`.
    Le(T),
    /// `> a`.
    Gt(T),
    /// `>= a`.
    Ge(T),
    /// `a:b`, both included.
    Range(T, T),
    /// `a >< b`, both excluded.
    Inside(T, T),
    /// `a <> b`: outside, both excluded.
    Outside(T, T),
}

/// One end of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `!`.
    pub not: bool,
    /// Address.
    pub addr: AddrSpec,
    /// Port.
    pub port: Option<Op<u16>>,
}

/// A user or group id as written: `unknown` is [`u32::MAX`].
pub type Id = u32;

/// A TCP flags test: `flags` of `set` must be set, the other ones of `set` clear. Letters FSRPAUEW from bit 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// Must be set.
    pub flags: u8,
    /// Looked at.
    pub set: u8,
}

/// An OS fingerprint of pf.os (`pf_osfp_t`), with its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Os {
    /// Packed class, version and subtype as pf packs them; [`u32::MAX`] is `unknown`, `u32::MAX - 1` is no name of the
    /// file and never matches.
    /// in pf.os).
    pub fingerprint: u32,
    /// As printed.
    pub name: String,
}

/// How a pool picks; the key of `source-hash` in pf's memory order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// Unset.
    #[default]
    None,
    /// `bitmask`.
    Bitmask,
    /// `random`.
    Random,
    /// `source-hash`, with its key where one was written.
    SourceHash(Option<[u32; 4]>),
    /// `round-robin`.
    RoundRobin,
    /// `least-states`.
    LeastStates,
}

/// A pool of `nat-to`, `rdr-to`, `af-to`, `route-to` … (`struct pf_pool`): several hosts have become one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Picks how.
    pub kind: PoolKind,
    /// `sticky-address`.
    pub sticky: bool,
    /// What from.
    pub addr: AddrSpec,
    /// `weight` of a single address, 0 when none.
    pub weight: u16,
    /// `port a[:b]`, `port a:*` is `(a, 0)`.
    pub ports: Option<(u16, u16)>,
    /// `static-port`.
    pub static_port: bool,
}

/// Diversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divert {
    /// `divert-to host port p`.
    To(IpAddr, u16),
    /// `divert-reply`.
    Reply,
    /// `divert-packet port p`.
    Packet(u16),
}

/// An anchor call.
#[derive(Clone, Debug)]
pub struct AnchorCall {
    /// As written (`a/b`, `/abs`, `../x`, `a/*`) or generated (`_1`).
    pub name: String,
    /// Path it stands for, without the wildcard and a leading slash.
    pub path: String,
    /// `/*`.
    pub wildcard: bool,
    /// The ruleset written inline, if it was.
    pub inline: Option<Box<Ruleset>>,
}

/// State options (`keep state (…)`) and the policy in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateOptions {
    /// `max`.
    pub max: u32,
    /// `max-src-nodes`.
    pub max_src_nodes: u32,
    /// `max-src-states`.
    pub max_src_states: u32,
    /// `max-src-conn`.
    pub max_src_conn: u32,
    /// `max-src-conn-rate` count and seconds.
    pub max_src_conn_rate: (u32, u32),
    /// `overload <table>`.
    pub overload: Option<String>,
    /// Timeouts, indexed by [`Timeout`]; 0 inherits.
    pub timeouts: [u32; pfvm::rule::TIMEOUTS],
}

/// One expanded rule; the fields of `struct pf_rule`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Verdict; [`Action::Pass`] for anchor calls.
    pub action: Action,
    /// Answer to a blocked packet.
    pub returns: Return,
    /// `in`, `out` or both.
    pub direction: Option<Direction>,
    /// Yes-or-no properties; `quick`, `once`, `allow-opts`, state and scrub words.
    pub flags: RuleFlags,
    /// Logging.
    pub log: LogFlags,
    /// `log (to pflogN)`.
    pub log_if: u8,
    /// `on [!] name`.
    pub iface: Option<Named>,
    /// `on [!] rdomain n`.
    pub rdomain: Option<(bool, u8)>,
    /// `received-on [!] name`.
    pub received_on: Option<Named>,
    /// `inet`, `inet6`.
    pub af: Option<Af>,
    /// `proto`.
    pub proto: Option<u8>,
    /// `from`.
    pub src: Endpoint,
    /// `to`.
    pub dst: Endpoint,
    /// `os`.
    pub os: Option<Os>,
    /// `user`.
    pub uid: Option<Op<Id>>,
    /// `group`.
    pub gid: Option<Op<Id>>,
    /// `flags`; `None` is `flags any`.
    pub tcp_flags: Option<TcpFlags>,
    /// `icmp-type`, `icmp6-type`.
    pub icmp_type: Option<u8>,
    /// `code`.
    pub icmp_code: Option<u8>,
    /// `fragment`.
    pub fragment: bool,
    /// `tos` (0 is none, as in pf).
    pub tos: u8,
    /// `prio`.
    pub prio: Option<u8>,
    /// `[!] tagged name`.
    pub tagged: Option<Named>,
    /// `probability`, scaled to `u32` as pf does; 0 is none. With `Some(0)` never matching.
    pub probability: Option<u32>,
    /// `max-pkt-rate`: packets, seconds.
    pub pkt_rate: Option<(u32, u32)>,
    /// State.
    pub keep: Keep,
    /// State options.
    pub state: StateOptions,
    /// `tag`.
    pub tag: Option<String>,
    /// `label`, macros expanded (`$nr` after the optimizer).
    pub label: Option<String>,
    /// `set prio`.
    pub set_prio: Option<[u8; 2]>,
    /// `set tos`.
    pub set_tos: Option<u8>,
    /// `set delay`.
    pub set_delay: Option<u16>,
    /// `set queue`.
    pub queue: Option<(String, Option<String>)>,
    /// `scrub (min-ttl n)`, 0 none.
    pub min_ttl: u8,
    /// `scrub (max-mss n)`, 0 none.
    pub max_mss: u16,
    /// `rtable`.
    pub rtable: Option<u8>,
    /// Diversion.
    pub divert: Option<Divert>,
    /// `af-to`: the new family.
    pub naf: Option<Af>,
    /// `nat-to`, or the `from` pool of `af-to`.
    pub nat: Option<Pool>,
    /// `rdr-to`, or the `to` pool of `af-to`.
    pub rdr: Option<Pool>,
    /// `route-to`, `reply-to`, `dup-to`.
    pub route: Option<(RouteKind, Pool)>,
    /// Anchor call.
    pub anchor: Option<AnchorCall>,
    /// Number within its ruleset after the optimizer.
    pub nr: u32,
    /// Where.
    pub place: Place,
}

impl Rule {
    /// A rule that tests nothing and does nothing beyond its verdict.
    #[must_use]
    pub fn new(action: Action) -> Rule {
        Rule {
            action,
            returns: Return::Drop,
            direction: None,
            flags: RuleFlags::default(),
            log: LogFlags::default(),
            log_if: 0,
            iface: None,
            rdomain: None,
            received_on: None,
            af: None,
            proto: None,
            src: Endpoint::default(),
            dst: Endpoint::default(),
            os: None,
            uid: None,
            gid: None,
            tcp_flags: None,
            icmp_type: None,
            icmp_code: None,
            fragment: false,
            tos: 0,
            prio: None,
            tagged: None,
            probability: None,
            pkt_rate: None,
            keep: Keep::No,
            state: StateOptions::default(),
            tag: None,
            label: None,
            set_prio: None,
            set_tos: None,
            set_delay: None,
            queue: None,
            min_ttl: 0,
            max_mss: 0,
            rtable: None,
            divert: None,
            naf: None,
            nat: None,
            rdr: None,
            route: None,
            anchor: None,
            nr: 0,
            place: Place::default(),
        }
    }
}

impl Rule {
    /// A rule that asks nothing and passes without state.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            action: Action::Pass,
            returns: Return::Drop,
            direction: None,
            flags: RuleFlags::default(),
            log: LogFlags::default(),
            log_if: 0,
            iface: None,
            rdomain: None,
            received_on: None,
            af: None,
            proto: None,
            src: Endpoint::default(),
            dst: Endpoint::default(),
            os: None,
            uid: None,
            gid: None,
            tcp_flags: None,
            icmp_type: None,
            icmp_code: None,
            fragment: false,
            tos: 0,
            prio: None,
            tagged: None,
            probability: None,
            pkt_rate: None,
            keep: Keep::No,
            state: StateOptions::default(),
            tag: None,
            label: None,
            set_prio: None,
            set_tos: None,
            set_delay: None,
            queue: None,
            min_ttl: 0,
            max_mss: 0,
            rtable: None,
            divert: None,
            naf: None,
            nat: None,
            rdr: None,
            route: None,
            anchor: None,
            nr: 0,
            place: Place::default(),
        }
    }
}

/// A queue definition (`struct pf_queuespec`); bandwidths in bits a second, times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Name.
    pub name: String,
    /// Interface of a root queue.
    pub iface: Option<String>,
    /// Parent, empty for a root.
    pub parent: String,
    /// `default`.
    pub default: bool,
    /// `qlimit`.
    pub qlimit: u32,
    /// `flows`, `quantum`: FQ-CoDel.
    pub flows: Option<(u32, u32)>,
    /// `bandwidth`: target, link-share.
    pub bandwidth: QueueBandwidth,
    /// `min`: real-time.
    pub min: QueueBandwidth,
    /// `max`: upper limit.
    pub max: QueueBandwidth,
    /// Where.
    pub place: Place,
}

/// A service curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueBandwidth {
    /// Bits a second; or a percentage where `percent`.
    pub absolute: u64,
    /// Percentage of the parent, 0 when absolute.
    pub percent: u8,
    /// `burst`: bits a second.
    pub burst: u64,
    /// `for`: milliseconds.
    pub burst_ms: u32,
}
