//! What stands in the filter's books, for scripts to ask about: rules, labels, tables, limits.

use pfvm::exec::UnitId;
use pfvm::rule::{Action, Direction};
use pfvm::table::{Counters, Op, Slot};
use serde_json::{Map, Value, json};

use super::run::Player;
use super::sim::ip_of;

fn cells(c: &Counters) -> Value {
    let of = |dir| {
        let one = |op| c.get(dir, op).packets;
        json!({"block": one(Op::Block), "match": one(Op::Match), "pass": one(Op::Pass), "xpass": one(Op::XPass)})
    };
    json!({"in": of(Direction::In), "out": of(Direction::Out)})
}

impl Player<'_> {
    /// Every rule in force: its numbers and what is counted at it.
    #[must_use]
    pub fn rules(&self) -> Vec<Value> {
        let engine = &self.world.engine;
        let mut out = Vec::new();
        for (unit, program) in (0_u16..).map(UnitId).zip(engine.programs()) {
            for place in engine.rules.live(unit) {
                let Some(e) = engine.rules.get(*place) else { continue };
                let path = program.ruleset(e.rule.ruleset).map_or("", |r| program.text(r.path));
                out.push(json!({
                    "anchor": path,
                    "nr": e.rule.nr,
                    "label": program.text(e.rule.label),
                    "action": match e.rule.action {
                        Action::Pass => "pass",
                        Action::Block => "block",
                        Action::Match => "match",
                    },
                    "text": program.text(e.rule.text),
                    "evaluations": e.evaluations,
                    "packets": e.packets()[0] + e.packets()[1],
                    "bytes": e.bytes()[0] + e.bytes()[1],
                    "in": e.packets()[0],
                    "out": e.packets()[1],
                    "states": e.states,
                    "total": e.states_total,
                    "nodes": e.src_nodes,
                    "spent": e.spent,
                }));
            }
        }
        out
    }

    /// Whether the host has an interface of this name.
    #[must_use]
    pub fn has_iface(&self, name: &str) -> bool {
        self.world.sim.index(name) != 0
    }

    /// Whether there is a reason or limit counter of this name.
    #[must_use]
    pub fn counts(&self, name: &str) -> bool {
        let reasons = pfvm::packet::DropReason::ALL.iter().any(|r| r.name() == name);
        reasons || pfvm::engine::counters::LimitCounter::ALL.iter().any(|l| l.name() == name)
    }

    /// A table of the main ruleset (`name`) or of an anchor (`path/name`).
    #[must_use]
    pub fn table_named(&self, name: &str) -> Option<Value> {
        let (path, name) = name.rsplit_once('/').unwrap_or(("", name));
        let tables = &self.world.engine.tables;
        let named = tables.named(path.as_bytes(), name.as_bytes())?;
        Some(self.table_of(named.slot))
    }

    fn table_of(&self, slot: Slot) -> Value {
        let all = &self.world.engine.tables.all;
        let (hit, miss) = all.evaluations(slot);
        let entries: Map<String, Value> = all
            .entries(slot)
            .map(|e| {
                let full = if e.af == pfvm::rule::Af::Inet { 32 } else { 128 };
                let net = if e.prefix == full { String::new() } else { format!("/{}", e.prefix) };
                let name = format!("{}{}{net}", if e.not { "!" } else { "" }, ip_of(e.af, &e.addr));
                let counted = e.counters.map_or(Value::Null, |c| cells(&c));
                (name, json!({"states": e.states, "counted": counted}))
            })
            .collect();
        json!({"count": all.len(slot), "match": hit, "nomatch": miss, "counted": cells(&all.counters(slot)), "entries": entries})
    }

    /// Limits in force, source nodes, fragments kept, half-open states.
    #[must_use]
    pub fn figures(&self) -> Value {
        let engine = &self.world.engine;
        let l = &engine.options.limits;
        json!({
            "limit": {
                "states": l.states, "src-nodes": l.src_nodes, "frags": l.frags, "tables": l.tables,
                "table-entries": l.table_entries, "pktdelay-pkts": l.pktdelay_pkts, "anchors": l.anchors,
            },
            "nodes": engine.nodes.iter().count(),
            "frags": engine.frags.len(),
            "half-open": engine.half_open,
        })
    }
}
