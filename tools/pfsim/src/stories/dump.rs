//! The state table as the stories show it.

use pfvm::rule::{Direction, RouteKind};
use pfvm::state::key::{KeySide, StateKey};
use pfvm::state::record::{FLOATING, NONE, State, StatePeer, StateTimeout};
use serde_json::{Value, json};

use super::sim::ip_of;
use super::world::World;

fn key(k: &StateKey) -> Value {
    let af = if k.af == pfvm::rule::Af::Inet { 4 } else { 6 };
    let a: Vec<String> = k.addr.iter().map(|a| ip_of(k.af, a).to_string()).collect();
    json!({"af": af, "proto": k.proto, "a": a, "p": k.port})
}

fn peer(p: &StatePeer, mss: u16) -> Value {
    json!({
        "state": p.state.0, "seqlo": p.seqlo, "seqhi": p.seqhi, "seqdiff": p.seqdiff,
        "max_win": p.max_win, "wscale": p.wscale, "mss": mss,
    })
}

impl World {
    fn state(&self, slot: u32, s: &State) -> Value {
        let e = &self.engine;
        let now = u32::try_from(pfvm::host::Host::now_ms(&self.sim) / 1000).unwrap_or(0);
        let ext = e.table.ext(s).copied();
        let (wire, stack) = (s.wire(), e.table.key(slot, KeySide::Stack).unwrap_or_else(|| s.wire()));
        let mut v = json!({
            "dir": if s.direction() == Direction::In { "in" } else { "out" },
            "if": if s.kif == FLOATING { "all" } else { self.sim.name(s.kif) },
            "wire": key(&wire),
            "rule": self.rule_number(s.rule),
            "src": peer(&s.src(), ext.map_or(0, |e| e.mss)),
            "dst": peer(&s.dst(), 0),
            "timeout": match s.timeout() { StateTimeout::Named(t) => t.name(), StateTimeout::Purge => "purge" },
            "age": now.saturating_sub(s.created),
            "expires": e.expires(s).saturating_sub(now),
            "packets": s.packets(),
            "bytes": s.bytes(),
            "flags": s.flags.0,
        });
        if wire != stack {
            v["stack"] = key(&stack);
        }
        let Some(x) = ext else { return v };
        if let Some(a) = self.anchor_name(x.anchor) {
            v["anchor"] = json!(a);
        }
        let mut matches = Vec::new();
        let mut at = x.matches;
        while let Some(b) = e.table.matches.get(at) {
            matches.extend(b.rules.iter().filter(|r| **r != NONE).map(|r| self.rule_number(*r)));
            at = b.next;
        }
        if !matches.is_empty() {
            matches.reverse();
            v["match"] = json!(matches);
        }
        if x.tag != 0 {
            v["tag"] = json!(e.tags.name(x.tag));
        }
        if x.src_nodes.iter().any(|n| *n != NONE) {
            v["src_nodes"] = json!(true);
        }
        if let Some(rt) = x.rt {
            v["rt"] = json!(match rt {
                RouteKind::RouteTo => 1,
                RouteKind::DupTo => 2,
                RouteKind::ReplyTo => 3,
            });
            v["rt_addr"] = json!(ip_of(wire.af, &x.rt_addr).to_string());
        }
        v
    }

    /// All states, as `pfctl -s states` prints them.
    #[must_use]
    pub(super) fn state_table(&self, verbose: u8) -> String {
        let now = u32::try_from(pfvm::host::Host::now_ms(&self.sim) / 1000).unwrap_or(0);
        crate::states::table(&self.engine, now, &|i| self.sim.name(i).to_owned(), verbose)
    }

    /// All states, oldest first.
    #[must_use]
    pub(super) fn states(&self) -> Vec<Value> {
        let t = &self.engine.table;
        t.iter().filter_map(|slot| Some(self.state(slot, t.get(slot)?))).collect()
    }

    /// Identifiers of all states, in the order of [`World::states`].
    #[must_use]
    pub(super) fn ids(&self) -> Vec<String> {
        let t = &self.engine.table;
        t.iter().map(|slot| format!("{:016x}", t.id(slot))).collect()
    }
}
