//! The engine: one packet in pf's order, from description to outcome.
//!
//! Source: `pf.c pf_test` and what it calls.
//!
//! [`Engine`] owns what outlives a packet: states, source nodes, rules in force and pinned, tables, counters. A packet
//! travels in a [`cx::Cx`] through [`order`] (the order of `pf_test`), [`track`] (a known state), [`icmp`] (errors about
//! others), [`test_rule`] (no state: the rules) and [`create`] (a new state). All that takes `&mut self`; packets of known
//! states may share the engine instead ([`known`], which tells the order of locks).
//!
//! **Invariant:** nothing on a packet's way allocates, and no loop of it is longer than a capacity taken at load.

pub mod control;
mod cookies;
pub mod counters;
pub mod create;
pub mod cx;
mod env;
mod flush;
mod hooks;
pub mod icmp;
pub mod ifaces;
pub mod known;
mod limits;
pub mod load;
pub mod log;
pub mod order;
pub mod outcome;
pub mod purge;
mod reevaluate;
pub mod rules;
pub mod send;
mod storage;
pub mod tables;
pub mod test_rule;
pub mod track;
pub mod trail;

use alloc::vec::Vec;

use crate::exec::{DEFAULT_FUEL, Grove, Machine};
use crate::host::Random;
use crate::nat::pool::PoolState;
use crate::norm::frag::FragCache;
use crate::rule::{Limits, Options, Syncookies, TIMEOUTS, Timeout};
use crate::state::pool::{OutOfMemory, filled};
use crate::state::srcnode::SrcNodes;
use crate::state::syncookie::SynCookies;
use crate::state::table::StateTable;
use crate::verify::{Body, Program};

pub use hooks::send_error;
pub use known::Scratch;
pub use log::LogRecord;
pub use order::{Arriving, BATCH, Seen};
pub use outcome::{Carried, Outcome, Replaced, SendTo, Verdict};

/// Everything that outlives a packet.
#[derive(Debug)]
pub struct Engine {
    /// States.
    pub table: StateTable,
    /// Source nodes.
    pub nodes: SrcNodes,
    /// Rules in force and pinned.
    pub rules: rules::RuleBook,
    /// Tables.
    pub tables: tables::TableSet,
    /// Reasons and limits.
    pub counters: counters::Counters,
    /// Interfaces.
    pub ifaces: ifaces::Ifaces,
    /// Tags.
    pub tags: ifaces::Tags,
    /// Options in force.
    pub options: Options,
    /// Whether packets are looked at at all (`pfctl -e`, `-d`).
    pub running: bool,
    /// Whether a load stopped half way or is under way: everything is dropped (`memory`).
    shut: bool,
    /// Fragments waiting for the rest.
    pub frags: FragCache,
    /// Half-open TCP states.
    pub half_open: u32,
    /// Log records that were too many for their packets.
    pub log_lost: u64,
    /// SYN cookies.
    pub cookies: SynCookies,
    trail: trail::Trail,
    /// Whether fingerprints were flushed (`pfctl -F osfp`).
    pub prints_flushed: bool,
    recreating: bool,
    iss_key: [u64; 2],
    iss_offset: u32,
    forest: Option<Grove<Program>>,
    /// Programs at the last load.
    loaded: u16,
    machine: Machine,
    body: Body,
    fuel: u32,
    pool_states: Vec<Vec<PoolState>>,
    next_slow: u32,
    /// A round through source nodes is under way.
    sweeping: bool,
    ahead: Vec<order::Ahead>,
    flushes: flush::Flushes,
    /// What room is made for at most, whatever `set limit` says.
    pub most: Limits,
    /// Whether packets of known states may go the short way ([`known`]). Without it all go the long one, to the same end.
    pub short_way: bool,
}

/// Options before anything is loaded.
#[must_use]
pub fn default_options() -> Options {
    let mut timeouts = [0; TIMEOUTS];
    for (to, t) in timeouts.iter_mut().zip(Timeout::ALL) {
        *to = t.default_value();
    }
    Options {
        timeouts,
        adaptive_set: false,
        limits: Limits {
            states: 100_000,
            src_nodes: 10_000,
            frags: 5000,
            tables: 1000,
            table_entries: 200_000,
            pktdelay_pkts: 10_000,
            anchors: 512,
        },
        reassemble: true,
        reassemble_no_df: false,
        syncookies: Syncookies::Never,
        debug: 3,
        hostid: 0,
        loginterface: None,
    }
}

/// Limits that bound nothing.
const BOUNDLESS: Limits = Limits {
    states: u32::MAX,
    src_nodes: u32::MAX,
    frags: u32::MAX,
    tables: u32::MAX,
    table_entries: u32::MAX,
    pktdelay_pkts: u32::MAX,
    anchors: u32::MAX,
};

impl Engine {
    /// An engine with room for `limits` and no rules.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    #[inline(never)]
    pub fn new<R: Random + ?Sized>(limits: &Limits, random: &mut R) -> Result<Self, OutOfMemory> {
        let mut word = || u64::from(random.random_u32()) << 32 | u64::from(random.random_u32());
        let mut table = StateTable::new(limits.states, [word(), word()])?;
        table.set_limit(limits.states);
        let nodes = SrcNodes::new(limits.src_nodes, [word(), word()])?;
        let rules = rules::RuleBook::new()?;
        let mut tables = tables::TableSet::new(limits.tables, limits.table_entries)?;
        let frags = FragCache::new(limits.frags, storage::frag_bytes(limits.frags), (word(), word()))?;
        let iss_key = [word(), word()];
        let iss_offset = u32::try_from(word() & 0xffff_ffff).unwrap_or(0);
        let (machine, trail) = (Machine::new()?, trail::Trail::new()?);
        let ahead = filled("packets of a batch", u32::try_from(BATCH).unwrap_or(0), order::Ahead::NOTHING)?;
        let flushes = flush::Flushes::new((word(), word()))?;
        // Addresses come from outside: where they fall in a table's index must not be foretold.
        tables.all.rekey((word(), word()));
        // Made where it is returned to: an engine is large.
        Ok(Self {
            table,
            nodes,
            rules,
            tables,
            counters: counters::Counters::default(),
            ifaces: ifaces::Ifaces::default(),
            tags: ifaces::Tags::default(),
            options: default_options(),
            running: true,
            shut: false,
            frags,
            half_open: 0,
            log_lost: 0,
            cookies: SynCookies::new(),
            trail,
            prints_flushed: false,
            recreating: false,
            iss_key,
            iss_offset,
            forest: None,
            loaded: 0,
            machine,
            body: Body::Code,
            fuel: DEFAULT_FUEL,
            pool_states: Vec::new(),
            next_slow: 0,
            sweeping: false,
            ahead,
            flushes,
            most: BOUNDLESS,
            short_way: true,
        })
    }
}
