//! Limits by source: nodes, states and connections of an address, and what happens when there are too many.
//!
//! Source: `pf.c pf_insert_src_node`, `pf_src_connlimit`.

use crate::engine::Engine;
use crate::engine::counters::LimitCounter;
use crate::engine::flush::Flush;
use crate::rule::{Addr, Af, RuleFlags};
use crate::state::record::{NONE, PeerState, StateTimeout};
use crate::state::srcnode::{SrcKey, SrcKind};
use crate::state::threshold::Threshold;

impl Engine {
    /// Finds or makes the node of a source and puts it into `held`. `false` when a limit forbids.
    pub(super) fn hold_node(
        &mut self,
        held: &mut u32,
        place: u32,
        kind: SrcKind,
        source: (Af, Addr),
        redirect: Option<(Af, Addr)>,
        now: u32,
    ) -> bool {
        let Some(entry) = self.rules.get(place) else { return false };
        let (rule, nodes) = (entry.rule, entry.src_nodes);
        let key = SrcKey { rule: place, kind, af: source.0, addr: source.1 };
        if *held == NONE {
            *held = self.nodes.find(&key).unwrap_or(NONE);
        }
        if let Some(n) = self.nodes.get(*held) {
            if rule.max_src_states != 0 && n.states >= rule.max_src_states {
                self.counters.limit(LimitCounter::SrcStates);
                return false;
            }
            return true;
        }
        if rule.max_src_nodes != 0 && nodes >= rule.max_src_nodes {
            self.counters.limit(LimitCounter::SrcNodes);
            return false;
        }
        let rate = Threshold::new(rule.max_src_conn_rate, rule.max_src_conn_seconds, now);
        match self.nodes.insert(key, rate, redirect, now) {
            Some(id) => {
                *held = id;
                self.rules.pin_node(place);
                true
            }
            None => false,
        }
    }

    /// Gives up a node no state came to refer to.
    pub(super) fn drop_node(&mut self, held: &mut u32, now: u32) {
        if let Some(key) = self.nodes.remove_if_idle(*held, now) {
            self.rules.unpin_node(key.rule);
        }
        *held = NONE;
    }

    /// Counts a complete connection at the source node of its state. `false` when there are too many: the state is
    /// closed, its source put into the rule's table, its other states closed if the rule says so.
    pub(super) fn connection_allowed(&mut self, slot: u32, now: u32) -> bool {
        let Some(state) = self.table.get(slot).cloned() else { return true };
        let id = self.table.ext(&state).map_or(NONE, |e| e.src_nodes.first().copied().unwrap_or(NONE));
        let Some(entry) = self.rules.get(state.rule) else { return true };
        let (rule, overload) = (entry.rule, entry.overload);
        let Some(node) = self.nodes.get_mut(id).filter(|n| !n.orphan) else { return true };
        node.conn = node.conn.saturating_add(1);
        node.rate.add(now);
        let (conn, fast, source) = (node.conn, node.rate.exceeded(), node.key);
        if let Some(s) = self.table.get_mut(slot) {
            s.count_connection();
        }
        let mut bad = false;
        if rule.max_src_conn != 0 && rule.max_src_conn < conn {
            self.counters.limit(LimitCounter::SrcConn);
            bad = true;
        }
        if rule.max_src_conn_rate != 0 && fast {
            self.counters.limit(LimitCounter::SrcConnRate);
            bad = true;
        }
        if !bad {
            return true;
        }
        if overload != NONE {
            self.counters.limit(LimitCounter::OverloadTable);
            self.tables.overload(overload, source.af, &source.addr, now);
            if rule.flags.has(RuleFlags::FLUSH) || rule.flags.has(RuleFlags::FLUSH_GLOBAL) {
                self.counters.limit(LimitCounter::OverloadFlush);
                let only = (!rule.flags.has(RuleFlags::FLUSH_GLOBAL)).then_some(state.rule);
                let (dir, below) = (state.direction(), self.table.next_id());
                self.flush(Flush { af: source.af, addr: source.addr, dir, rule: only, below });
            }
        }
        self.close(slot);
        false
    }

    /// Ends a state: it is found no more and the next purge removes it.
    pub(super) fn close(&mut self, slot: u32) {
        self.change(slot, |s| {
            s.set_timeout(StateTimeout::Purge);
            s.set_both(PeerState::CLOSED);
        });
    }
}
