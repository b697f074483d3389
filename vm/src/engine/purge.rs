//! The end of states: removal with all that refers to them, and the search for expired ones.
//!
//! **Invariant:** one call of [`Engine::tick`] looks at a bounded number of states and collects at most
//! [`COLLECT`] of them at a time.

use crate::engine::Engine;
use crate::engine::cx::seconds;
use crate::engine::send::Segment;
use crate::host::Host;
use crate::packet::tcp_flags::{ACK, RST};
use crate::rule::{TIMEOUTS, Timeout};
use crate::state::key::Idx;
use crate::state::live::Live;
use crate::state::record::{NONE, PeerState, SRC_NODE_KINDS, State};
use crate::state::timeout::{Load, expires, value};

/// States removed in one go.
pub const COLLECT: usize = 64;

/// Source nodes looked at in one tick beside the share of the purge interval.
const NODES_A_TICK: u32 = 1024;

/// Whether a state counts as half open.
#[must_use]
#[inline]
pub fn half_open(s: &State) -> bool {
    s.live().half_open(s.proto())
}

impl Engine {
    /// Changes a state and keeps the count of half-open ones.
    pub(super) fn change<T>(&mut self, slot: u32, f: impl FnOnce(&mut Live) -> T) -> Option<T> {
        let s = self.table.get_mut(slot)?;
        let proto = s.proto();
        let (before, out, after) = s.edit(|live| {
            let before = live.half_open(proto);
            let out = f(live);
            (before, out, live.half_open(proto))
        });
        if before && !after {
            self.half_open = self.half_open.saturating_sub(1);
        } else if after && !before {
            self.half_open = self.half_open.saturating_add(1);
        }
        Some(out)
    }

    /// Ends a state (`pf_remove_state`): nothing finds it any more. The next search for expired states frees it; until then its
    /// rules and the table count it.
    pub(super) fn remove_state<H: Host>(&mut self, slot: u32, host: &mut H, now: u32) {
        let Some(state) = self.table.get(slot).filter(|_| !self.table.has_ended(slot)).cloned() else { return };
        if state.src().state == PeerState::PROXY_DST {
            self.reset_client(&state, slot, host);
        }
        self.close(slot);
        let linger = self.base_timeout(state.rule, Timeout::SrcTrack);
        self.release_pools(slot, host);
        if let Some(e) = self.table.exts.get_mut(state.ext) {
            for id in core::mem::replace(&mut e.src_nodes, [NONE; SRC_NODE_KINDS]) {
                self.nodes.release(id, state.counted_connection(), linger, now);
            }
        }
        self.table.end(slot);
    }

    /// Frees a state that has ended (`pf_free_state`).
    fn free_state(&mut self, slot: u32) {
        let Some((state, ext)) = self.table.get(slot).map(|s| (s.clone(), self.table.ext(s).copied())) else { return };
        if let Some(e) = ext {
            let (hits, n) = self.matched_by(&e);
            hits.into_iter().take(n).for_each(|r| self.rules.unpin(r));
            if e.anchor != NONE {
                self.rules.unpin(e.anchor);
            }
        }
        self.table.remove(slot);
        self.rules.unpin(state.rule);
    }

    /// The client of a proxied handshake that comes to nothing is reset.
    #[inline(never)]
    fn reset_client<H: Host>(&mut self, state: &State, slot: u32, host: &mut H) {
        let key = state.wire();
        let tag = self.table.get(slot).and_then(|s| self.table.ext(s)).map_or(0, |e| e.tag);
        let seg = Segment {
            from: key.end(Idx::One),
            to: key.end(Idx::Zero),
            seq: state.src().seqhi,
            ack: state.src().seqlo.wrapping_add(1),
            flags: RST | ACK,
            win: 0,
            mss: 0,
            ttl: 0,
            generated: true,
            tag,
        };
        self.send_tcp(host, key.af, &seg);
    }

    /// A timeout of a rule, or the default.
    pub(super) fn base_timeout(&self, place: u32, t: Timeout) -> u32 {
        let own = self.rules.get(place).map_or(0, |e| value(&e.rule.timeouts, t));
        if own == 0 { value(&self.options.timeouts, t) } else { own }
    }

    /// The second a state ends, 0 for at once.
    #[must_use]
    pub fn expires(&self, state: &State) -> u32 {
        let none = [0; TIMEOUTS];
        let (rule, rule_states) = self.rules.get(state.rule).map_or((&none, 0), |e| (&e.rule.timeouts, e.states));
        let load = Load { defaults: &self.options.timeouts, states: self.table.len(), rule, rule_states };
        expires(state, &load)
    }

    /// To be called once a second: removes what has expired. Of the states a share of the purge interval is looked
    /// at, so that a whole round takes that long; a round
    /// through source nodes begins once an interval, and fragments are looked at then.
    pub fn tick<H: Host>(&mut self, host: &mut H) {
        let now = seconds(host.now_ms());
        self.cookies.tick(self.half_open, now.into(), host);
        let interval = value(&self.options.timeouts, Timeout::Interval).max(1);
        let mut left = self.table.len() / interval;
        loop {
            let limit = left.max(u32::try_from(COLLECT).unwrap_or(64));
            let scanned = self.purge(limit, host, now);
            if scanned >= left {
                break;
            }
            left = left.saturating_sub(scanned.max(1));
        }
        self.walk_flushes(self.table.len() / interval);
        if !(1..=interval).contains(&self.next_slow.saturating_sub(now)) {
            self.next_slow = now.saturating_add(interval);
            self.sweeping = true;
            self.purge_fragments(host);
        }
        if self.sweeping {
            let rules = &mut self.rules;
            let share = (self.nodes.places() / interval).saturating_add(NODES_A_TICK);
            self.sweeping = !self.nodes.purge(share, now, |key| rules.unpin_node(key.rule));
        }
    }

    /// Looks at no more than `limit` states and removes up to [`COLLECT`] expired ones. Gives the number looked at.
    fn purge<H: Host>(&mut self, limit: u32, host: &mut H, now: u32) -> u32 {
        if self.table.is_empty() {
            return limit;
        }
        let mut gone = [NONE; COLLECT];
        let (rules, options, states) = (&self.rules, &self.options, self.table.len());
        let none = [0; TIMEOUTS];
        let (scanned, n) = self.table.scan(limit, &mut gone, |table, slot| {
            table.get(slot).is_some_and(|s| {
                let (rule, rule_states) = rules.get(s.rule).map_or((&none, 0), |e| (&e.rule.timeouts, e.states));
                expires(s, &Load { defaults: &options.timeouts, states, rule, rule_states }) <= now
            })
        });
        for slot in gone.iter().take(n) {
            self.remove_state(*slot, host, now);
            self.free_state(*slot);
        }
        scanned
    }
}
