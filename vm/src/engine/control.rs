//! What an operator does: kill states, flush, read.

use crate::engine::Engine;
use crate::engine::cx::seconds;
use crate::host::Host;
use crate::rule::Limits;
use crate::state::key::KeySide;
use crate::state::record::{NONE, State, StateExt};
use crate::state::srcnode::SrcNode;
use crate::state::table::Attach;

/// A state that was stored and is to live again.
#[derive(Clone, Debug)]
pub struct Import {
    /// It, without rule and extension.
    pub state: State,
    /// Its extension, where it needs one.
    pub ext: Option<StateExt>,
    /// Seconds it has left.
    pub expires: u32,
    /// Stable number of its rule; the rule that applies when none does is taken where there is none such.
    pub stable_id: u64,
}

impl Engine {
    /// Removes every state for which `f` says so; gives their number.
    pub fn kill_states<H: Host>(&mut self, host: &mut H, mut f: impl FnMut(&Self, u32, &State) -> bool) -> u32 {
        let now = seconds(host.now_ms());
        let (mut at, mut killed) = (self.table.first(), 0_u32);
        for _ in 0..self.table.len() {
            let Some(state) = self.table.get(at).cloned() else { break };
            let next = self.table.next(at);
            if f(self, at, &state) {
                self.remove_state(at, host, now);
                killed = killed.saturating_add(1);
            }
            at = next;
        }
        killed
    }

    /// Removes states whose rule is no longer in force, and none of its stable number is; gives their number.
    pub fn kill_changed<H: Host>(&mut self, host: &mut H) -> u32 {
        self.kill_states(host, |e, _, s| e.rules.get(s.rule).is_some_and(|r| !r.live && r.changed && r.site.is_some()))
    }

    /// Removes every source node for which `f` says so, taking it from its states; gives their number.
    pub fn kill_sources(&mut self, mut f: impl FnMut(&SrcNode) -> bool) -> u32 {
        let (mut killed, mut held) = (0_u32, false);
        for id in 0..self.nodes.places() {
            // One whose address has left its pool and that waits for its states is nobody's any more.
            let Some(n) = self.nodes.get(id).filter(|n| !n.orphan && f(n)) else { continue };
            held |= n.states > 0;
            if let Some(key) = self.nodes.orphan(id) {
                self.rules.unpin_node(key.rule);
            }
            killed = killed.saturating_add(1);
        }
        if held {
            self.forget_orphans();
        }
        killed
    }

    /// States forget source nodes that are found no more (`pf_state_rm_src_node`).
    fn forget_orphans(&mut self) {
        let mut at = self.table.first();
        for _ in 0..self.table.len() {
            let Some(ext) = self.table.get(at).map(|s| s.ext) else { break };
            let nodes = self.table.exts.get_mut(ext).into_iter().flat_map(|e| &mut e.src_nodes);
            for id in nodes {
                if self.nodes.let_go(*id) {
                    *id = NONE;
                }
            }
            at = self.table.next(at);
        }
    }

    /// Takes a state in. `false` when there is no room, or another state holds one of its keys.
    pub fn import<H: Host>(&mut self, import: &Import, host: &mut H) -> bool {
        let now = seconds(host.now_ms());
        let mut state = import.state.clone();
        let stable = |e: &crate::engine::rules::RuleEntry| e.live && e.rule.stable_id == import.stable_id;
        let rule = self.rules.iter().find(|(_, e)| stable(e) && import.stable_id != 0).map(|(place, _)| place);
        state.rule = rule.unwrap_or_else(|| self.rules.default_place());
        // What is left of its time, counted back from now.
        state.edit(|s| s.expire = now);
        let whole = self.expires(&state).saturating_sub(now);
        let spent = whole.saturating_sub(import.expires.min(whole));
        state.edit(|s| s.expire = now.saturating_sub(spent));
        let (rule, half_open, translated) = (state.rule, super::purge::half_open(&state), state.translated());
        let Some(slot) = self.table.take(state, import.ext) else { return false };
        let sides: &[KeySide] = if translated { &[KeySide::Wire, KeySide::Stack] } else { &[KeySide::Wire] };
        for side in sides {
            match self.table.attach(slot, *side) {
                Attach::Done => {}
                Attach::Replaces(old) => self.remove_state(old, host, now),
                Attach::Taken => {
                    if *side == KeySide::Stack {
                        self.table.detach(slot, KeySide::Wire);
                    }
                    self.table.give(slot);
                    return false;
                }
            }
        }
        self.table.settle(slot);
        self.rules.pin(rule);
        if half_open {
            self.half_open = self.half_open.saturating_add(1);
        }
        true
    }

    /// Zeroes what is counted of states, source nodes and fragments (`pfctl -F info`).
    pub fn clear_counters(&mut self) {
        self.table.clear_counters();
        self.nodes.clear_counters();
        self.frags.clear_counters();
    }

    /// Whether everything is dropped because programs were taken out.
    #[must_use]
    pub const fn is_shut(&self) -> bool {
        self.shut
    }

    /// What there is room for; [`Engine::grow`] makes more.
    #[must_use]
    pub fn room(&self) -> Limits {
        Limits {
            states: self.table.room(),
            src_nodes: self.nodes.room(),
            frags: self.frags.room(),
            tables: self.tables.room(),
            table_entries: self.tables.all.room(),
            pktdelay_pkts: u32::MAX,
            anchors: u16::MAX.into(),
        }
    }
}
