//! What an operator does: kill states, flush, read.

use crate::engine::Engine;
use crate::engine::cx::seconds;
use crate::host::Host;
use crate::state::record::State;
use crate::state::srcnode::SrcNode;

impl Engine {
    /// Removes every state for which `f` says so; gives their number.
    pub fn kill_states<H: Host>(&mut self, host: &mut H, mut f: impl FnMut(&Self, u32, &State) -> bool) -> u32 {
        let now = seconds(host.now_ms());
        let (mut at, mut killed) = (self.table.first(), 0_u32);
        for _ in 0..self.table.len() {
            let Some(state) = self.table.get(at).copied() else { break };
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
        let mut killed = 0_u32;
        for id in 0..self.nodes.limit() {
            if self.nodes.get(id).is_some_and(&mut f) {
                if let Some(key) = self.nodes.orphan(id) {
                    self.rules.unpin_node(key.rule);
                }
                killed = killed.saturating_add(1);
            }
        }
        killed
    }
}
