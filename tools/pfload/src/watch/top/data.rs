//! What `top` shows, as plain data: one [`Snapshot`] a fetch.
//!
//! Rates come from two snapshots: what rose between them, by the second.

use std::collections::HashMap;

use pfvm::rule::{Addr, Af, Direction};
use pfvm::watch::End;

/// A state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateLine {
    /// Its number.
    pub id: u64,
    /// Protocol.
    pub proto: u8,
    /// Direction of its first packet.
    pub dir: Direction,
    /// Interface it is bound to, `all` when floating.
    pub iface: String,
    /// Family the host sees.
    pub af: Af,
    /// Where the first packet came from and went, as the host sees it.
    pub ends: (End, End),
    /// The same as the wire sees it, where that differs.
    pub other: Option<(Af, End, End)>,
    /// Progress of its source and destination.
    pub progress: [&'static str; 2],
    /// Seconds since it began.
    pub age: u64,
    /// Seconds it has left.
    pub expires: u64,
    /// Packets in all.
    pub packets: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes a second.
    pub rate: u64,
    /// Rule number, none for the default rule.
    pub rule: Option<u32>,
    /// Path of the rule's anchor.
    pub anchor: String,
    /// The rule's stable number.
    pub rule_id: u64,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleLine {
    /// Its stable number.
    pub id: u64,
    /// Number in its ruleset.
    pub nr: u32,
    /// Anchor path.
    pub anchor: String,
    /// Canonical text.
    pub text: String,
    /// Label.
    pub label: String,
    /// `file:line`.
    pub place: String,
    /// Times it was looked at.
    pub evaluations: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// States there are.
    pub states: u64,
    /// Packets a second.
    pub rate: u64,
}

/// A queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueLine {
    /// Name.
    pub name: String,
    /// Definition.
    pub text: String,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableLine {
    /// Name.
    pub name: String,
    /// Anchor path.
    pub anchor: String,
    /// Addresses.
    pub addresses: u64,
    /// Look-ups that found one, and those that did not.
    pub evaluations: [u64; 2],
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A source node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceLine {
    /// Family and address.
    pub source: (Af, Addr),
    /// Purpose.
    pub kind: &'static str,
    /// The address a pool gave.
    pub given: Option<(Af, Addr)>,
    /// States.
    pub states: u64,
    /// Connections.
    pub connections: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Seconds since it began.
    pub age: u64,
    /// Seconds it has left.
    pub expires: u64,
    /// Rule.
    pub rule: Option<u32>,
    /// Anchor path.
    pub anchor: String,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IfaceLine {
    /// Name.
    pub name: String,
    /// Whether it is a group.
    pub group: bool,
    /// Whether its packets are not looked at.
    pub skip: bool,
    /// Packets: in passed, in blocked, out passed, out blocked.
    pub packets: [u64; 4],
    /// Bytes, likewise.
    pub bytes: [u64; 4],
    /// Packets a second, likewise.
    pub rate: [u64; 4],
}

/// All that is shown, as it was at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Milliseconds of this side's clock.
    pub at: u64,
    /// Who answers.
    pub host: String,
    /// Whether packets are filtered.
    pub running: bool,
    /// Seconds since that was changed.
    pub since: u64,
    /// Generation of the rules.
    pub generation: u64,
    /// Most states there may be.
    pub most_states: u64,
    /// States there are; more than `states` when only some were fetched.
    pub state_count: u64,
    /// States.
    pub states: Vec<StateLine>,
    /// Rules.
    pub rules: Vec<RuleLine>,
    /// Queues.
    pub queues: Vec<QueueLine>,
    /// Tables.
    pub tables: Vec<TableLine>,
    /// Source nodes.
    pub sources: Vec<SourceLine>,
    /// Interfaces.
    pub ifaces: Vec<IfaceLine>,
    /// Reasons and limits: name and how often.
    pub counters: Vec<(String, u64)>,
    /// The same a second.
    pub counter_rates: Vec<u64>,
}

/// What rose in a time of milliseconds, by the second.
fn per_second(new: u64, old: u64, millis: u64) -> u64 {
    new.saturating_sub(old).saturating_mul(1000).checked_div(millis).unwrap_or(0)
}

impl Snapshot {
    /// Works out the rates since an earlier snapshot.
    pub(crate) fn since(&mut self, before: &Self) {
        let millis = self.at.saturating_sub(before.at);
        let states: HashMap<_, _> = before.states.iter().map(|s| (s.id, s.bytes)).collect();
        for s in &mut self.states {
            s.rate = states.get(&s.id).map_or_else(|| s.bytes / s.age.max(1), |old| per_second(s.bytes, *old, millis));
        }
        let rules: HashMap<_, _> = before.rules.iter().map(|r| ((r.id, &r.anchor), r.packets)).collect();
        for r in &mut self.rules {
            r.rate = rules.get(&(r.id, &r.anchor)).map_or(0, |old| per_second(r.packets, *old, millis));
        }
        let ifaces: HashMap<_, _> = before.ifaces.iter().map(|i| (&i.name, i.packets)).collect();
        for i in &mut self.ifaces {
            let Some(old) = ifaces.get(&i.name) else { continue };
            for ((rate, new), old) in i.rate.iter_mut().zip(i.packets).zip(old) {
                *rate = per_second(new, *old, millis);
            }
        }
        let pairs = self.counters.iter().zip(&before.counters);
        self.counter_rates = pairs.map(|(new, old)| per_second(new.1, old.1, millis)).collect();
    }
}
