//! What translation asks of the engine: randomness, keys in use, tables, source nodes.

use alloc::vec::Vec;

use crate::engine::Engine;
use crate::engine::counters::{Counters, LimitCounter};
use crate::engine::cx::{Cx, node_of};
use crate::engine::rules::RuleBook;
use crate::engine::tables::TableSet;
use crate::exec::{Forest, Site, UnitId};
use crate::host::{Host, Random};
use crate::nat::pool::{PoolState, Pools};
use crate::nat::transaddr::{self, Counted, Translation};
use crate::nat::{self, Entry, KeyFree, SourceNodes, TableFacts};
use crate::rule::{Addr, Af, Direction, Pool, PoolId, RuleId, TableId};
use crate::state::key::{KeySide, StateKey};
use crate::state::record::{NONE, SRC_NODE_KINDS};
use crate::state::srcnode::{SrcKey, SrcKind, SrcNodes};
use crate::state::table::StateTable;
use crate::state::threshold::Threshold;
use crate::table::EntryView;

/// The surroundings of one translation.
pub(super) struct Env<'e, H> {
    host: &'e mut H,
    states: &'e mut StateTable,
    tables: &'e mut TableSet,
    sources: &'e mut SrcNodes,
    rules: &'e mut RuleBook,
    counters: &'e mut Counters,
    held: &'e mut [u32; SRC_NODE_KINDS],
    unit: UnitId,
    now: u32,
}

impl<H: Host> Random for Env<'_, H> {
    fn random_u32(&mut self) -> u32 {
        self.host.random_u32()
    }
}

impl<H: Host> KeyFree for Env<'_, H> {
    fn taken(&self, key: &StateKey, side: KeySide) -> bool {
        self.states.holds(key, side)
    }

    fn reserved(&self, proto: u8, port: u16) -> bool {
        nat::ports::bad_dynamic(proto, port) || self.host.port_in_use(proto, port)
    }
}

const fn entry_of(e: EntryView) -> Entry {
    let weight = if e.weight == 0 { 1 } else { e.weight };
    Entry { addr: e.addr, prefix: e.prefix, negated: e.not, weight, states: e.states as u64 }
}

impl<H: Host> nat::Tables for Env<'_, H> {
    fn facts(&self, table: TableId) -> Option<TableFacts> {
        let slot = self.tables.slot(self.unit, table)?;
        let w = self.tables.all.weights(slot);
        let count = self.tables.all.len(slot);
        Some(TableFacts { count, weighted: w.cost_entries > 0, gcd: w.gcd, max: w.max })
    }

    fn entry(&self, table: TableId, af: Af, index: u32) -> Option<Entry> {
        self.tables.all.nth_positive(self.tables.slot(self.unit, table)?, af, index).map(entry_of)
    }

    fn longest(&self, table: TableId, af: Af, addr: &Addr) -> Option<Entry> {
        self.tables.all.lookup(self.tables.slot(self.unit, table)?, af, addr).map(entry_of)
    }

    fn looked_up(&mut self, table: TableId, found: bool) {
        if let Some(slot) = self.tables.slot(self.unit, table) {
            self.tables.all.note(slot, found);
        }
    }

    fn count_state(&mut self, table: TableId, af: Af, addr: &Addr, add: bool) -> bool {
        self.tables.slot(self.unit, table).is_some_and(|s| self.tables.all.count_state(s, af, addr, add))
    }
}

impl<H: Host> SourceNodes for Env<'_, H> {
    fn held(&self, kind: SrcKind) -> bool {
        let mut held = *self.held;
        *node_of(&mut held, kind) != NONE
    }

    fn find(&mut self, af: Af, kind: SrcKind, rule: RuleId, source: &Addr) -> Option<Addr> {
        let key = SrcKey { rule: self.rules.place(Site { unit: self.unit, rule }), kind, af, addr: *source };
        let id = self.sources.find(&key)?;
        *node_of(self.held, kind) = id;
        self.sources.get(id).map(|n| n.redirect)
    }

    fn stale(&mut self, kind: SrcKind) {
        let id = node_of(self.held, kind);
        if let Some(key) = self.sources.orphan(*id) {
            self.rules.unpin_node(key.rule);
        }
        *id = NONE;
    }

    fn insert(&mut self, af: Af, kind: SrcKind, rule: RuleId, source: &Addr, to: &Addr) -> bool {
        let held = node_of(self.held, kind);
        if *held != NONE {
            if let Some(key) = self.sources.remove_if_idle(*held, self.now) {
                self.rules.unpin_node(key.rule);
            }
            *held = NONE;
        }
        let place = self.rules.place(Site { unit: self.unit, rule });
        let key = SrcKey { rule: place, kind, af, addr: *source };
        let Some(entry) = self.rules.get(place) else { return false };
        let (r, nodes) = (entry.rule, entry.src_nodes);
        if let Some(id) = self.sources.find(&key) {
            let states = self.sources.get(id).map_or(0, |n| n.states);
            if r.max_src_states != 0 && states >= r.max_src_states {
                self.counters.limit(LimitCounter::SrcStates);
                return false;
            }
            *held = id;
            return true;
        }
        if r.max_src_nodes != 0 && nodes >= r.max_src_nodes {
            self.counters.limit(LimitCounter::SrcNodes);
            return false;
        }
        let rate = Threshold::new(r.max_src_conn_rate, r.max_src_conn_seconds, self.now);
        match self.sources.insert(key, rate, Some((af, *to)), self.now) {
            Some(id) => {
                *held = id;
                self.rules.pin_node(place);
                true
            }
            None => false,
        }
    }
}

/// The parts of an engine a translation works with, each borrowed by itself.
struct Parts<'e> {
    states: &'e mut StateTable,
    tables: &'e mut TableSet,
    sources: &'e mut SrcNodes,
    rules: &'e mut RuleBook,
    counters: &'e mut Counters,
    pools: Pools<'e>,
}

impl Engine {
    /// The engine taken apart, with the pools of one program.
    fn parts(&mut self, unit: UnitId) -> Parts<'_> {
        let pools: &[Pool] = self.forest.as_ref().and_then(|f| f.program(unit)).map_or(&[], |p| p.pools());
        let states = self.pool_states.get_mut(usize::from(unit.0)).map_or(&mut [][..], Vec::as_mut_slice);
        Parts {
            states: &mut self.table,
            tables: &mut self.tables,
            sources: &mut self.nodes,
            rules: &mut self.rules,
            counters: &mut self.counters,
            pools: Pools { pools, states },
        }
    }

    /// Applies a rule's translation to the description at hand. `false`: there is none to be had.
    pub(super) fn translate<H: Host>(
        &mut self,
        cx: &mut Cx<'_, '_, H>,
        unit: UnitId,
        tr: &Translation,
        last: &mut Option<Translation>,
    ) -> bool {
        let (host, held, now) = (&mut *cx.host, &mut cx.nodes, cx.now);
        let Parts { states, tables, sources, rules, counters, mut pools } = self.parts(unit);
        let mut env = Env { host, states, tables, sources, rules, counters, held, unit, now };
        transaddr::apply(&mut env, &mut pools, tr, cx.pd, last).is_ok()
    }

    /// Chooses the next hop of a state to be.
    pub(super) fn next_hop<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, place: u32, pool: PoolId) -> Option<Addr> {
        let Site { unit, rule } = self.rules.get(place)?.site?;
        let (af, src, now) = (cx.pd.af, cx.pd.src, cx.now);
        let Parts { states, tables, sources, rules, counters, mut pools } = self.parts(unit);
        let held = &mut cx.nodes;
        let mut env = Env { host: &mut *cx.host, states, tables, sources, rules, counters, held, unit, now };
        transaddr::next_hop(&mut env, &mut pools, rule, pool, af, &src)
    }

    /// Takes back what a state that ends has counted in `least-states` tables: with the rule that translated last, or where
    /// that left an end alone, with the last `match` rule that did not (`pf_postprocess_addr`).
    #[inline(never)]
    pub(super) fn release_pools<H: Host>(&mut self, slot: u32, host: &mut H) {
        let Some(s) = self.table.get(slot).cloned() else { return };
        let Some(e) = self.table.ext(&s).copied() else { return };
        let of = |place: u32| {
            let entry = self.rules.get(place).filter(|e| e.live)?;
            Some((entry.site?.unit, &entry.rule))
        };
        let (mut nat, mut rdr) = (None, None);
        if e.nat_rule != NONE {
            let (hits, n) = self.matched_by(&e);
            let matched = hits.into_iter().take(n).rev();
            for (unit, rule) in core::iter::once(e.nat_rule).chain(matched).filter_map(of) {
                nat = nat.or(rule.nat.map(|pool| (unit, pool)));
                rdr = rdr.or(rule.rdr.map(|pool| (unit, pool)));
            }
        }
        let route = of(s.rule).and_then(|(unit, rule)| Some((unit, rule.route?.pool)));
        let counted = [
            nat.map(|(unit, pool)| (unit, Counted { nat: Some(pool), ..Counted::default() })),
            rdr.map(|(unit, pool)| (unit, Counted { rdr: Some(pool), ..Counted::default() })),
            route.map(|(unit, pool)| (unit, Counted { route: Some((pool, e.rt_addr)), ..Counted::default() })),
        ];
        let dir = s.direction();
        let outer = match dir {
            Direction::In => s.stack(Some(&e)),
            Direction::Out => s.wire(),
        };
        let held = &mut [NONE; SRC_NODE_KINDS];
        for (unit, counted) in counted.into_iter().flatten() {
            let Parts { states, tables, sources, rules, counters, mut pools } = self.parts(unit);
            let mut env = Env { host, states, tables, sources, rules, counters, held, unit, now: 0 };
            transaddr::end(&mut env, &mut pools, dir, &counted, &outer);
        }
    }
}

/// What the pools of a program remember at first.
#[must_use]
pub(super) fn fresh<R: Random + ?Sized>(pool: &Pool, random: &mut R) -> PoolState {
    PoolState::new(pool, core::array::from_fn(|_| random.random_u32()))
}
