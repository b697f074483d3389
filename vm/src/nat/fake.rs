//! Surroundings for tests: tables, taken keys and source nodes in plain collections.

use std::collections::{HashMap, HashSet};

use super::*;

#[derive(Default)]
pub(super) struct Fake {
    pub(super) seed: u64,
    pub(super) taken: HashSet<(StateKey, KeySide)>,
    pub(super) reserved: HashSet<(u8, u16)>,
    pub(super) tables: HashMap<TableId, Vec<(Af, Entry)>>,
    pub(super) nodes: HashMap<(Af, u8, RuleId, Addr), Addr>,
    pub(super) held: HashMap<u8, Addr>,
    pub(super) probes: std::cell::Cell<u32>,
    pub(super) no_nodes: bool,
}

impl Fake {
    pub(super) fn table(&mut self, id: u16, entries: &[(&str, u8, u16)]) -> TableId {
        let id = TableId(id);
        let mut list: Vec<(Af, Entry)> = entries
            .iter()
            .map(|(a, prefix, weight)| {
                let (negated, text) = a.strip_prefix('!').map_or((false, *a), |t| (true, t));
                let (af, addr) = parse(text);
                (af, Entry { addr, prefix: *prefix, negated, weight: *weight, states: 0 })
            })
            .collect();
        list.sort_by_key(|(af, e)| (*af, e.addr, std::cmp::Reverse(e.prefix)));
        self.tables.insert(id, list);
        id
    }
}

pub(super) fn parse(text: &str) -> (Af, Addr) {
    match text.parse::<std::net::IpAddr>().unwrap() {
        std::net::IpAddr::V4(a) => (Af::Inet, addr::v4(a.octets())),
        std::net::IpAddr::V6(a) => (Af::Inet6, Addr(a.octets())),
    }
}

impl Random for Fake {
    fn random_u32(&mut self) -> u32 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 32) as u32
    }
}

impl KeyFree for Fake {
    fn taken(&self, key: &StateKey, side: KeySide) -> bool {
        self.probes.set(self.probes.get() + 1);
        self.taken.contains(&(*key, side))
    }

    fn reserved(&self, proto: u8, port: u16) -> bool {
        self.reserved.contains(&(proto, port)) || ports::bad_dynamic(proto, port)
    }
}

impl Tables for Fake {
    fn facts(&self, table: TableId) -> Option<TableFacts> {
        let t = self.tables.get(&table)?;
        let weighted = t.iter().any(|(_, e)| e.weight > 1);
        let gcd = t.iter().fold(0, |g, (_, e)| {
            let (mut a, mut b) = (e.weight, g);
            while b != 0 {
                (a, b) = (b, a % b);
            }
            a
        });
        let max = t.iter().map(|(_, e)| e.weight).max().unwrap_or(0);
        Some(TableFacts { count: t.len() as u32, weighted, gcd, max })
    }

    fn entry(&self, table: TableId, af: Af, index: u32) -> Option<Entry> {
        let t = self.tables.get(&table)?;
        t.iter().filter(|(f, e)| *f == af && !e.negated).nth(index as usize).map(|(_, e)| *e)
    }

    fn longest(&self, table: TableId, af: Af, a: &Addr) -> Option<Entry> {
        let t = self.tables.get(&table)?;
        t.iter()
            .filter(|(f, e)| *f == af && addr::same_net(&e.addr, addr::mask(af, e.prefix), a))
            .max_by_key(|(_, e)| e.prefix)
            .map(|(_, e)| *e)
    }

    fn looked_up(&mut self, _: TableId, _: bool) {}

    fn count_state(&mut self, table: TableId, af: Af, a: &Addr, add: bool) -> bool {
        let Some(t) = self.tables.get_mut(&table) else { return false };
        let host = t.iter_mut().find(|(f, e)| *f == af && e.prefix == addr::width(af) && addr::equal(af, &e.addr, a));
        let Some((_, e)) = host else { return false };
        e.states = if add { e.states + 1 } else { e.states.saturating_sub(1) };
        true
    }
}

impl SourceNodes for Fake {
    fn held(&self, kind: SrcKind) -> bool {
        self.held.contains_key(&(kind as u8))
    }

    fn find(&mut self, af: Af, kind: SrcKind, rule: RuleId, source: &Addr) -> Option<Addr> {
        let found = *self.nodes.get(&(af, kind as u8, rule, *source))?;
        self.held.insert(kind as u8, found);
        Some(found)
    }

    fn stale(&mut self, kind: SrcKind) {
        let gone = self.held.remove(&(kind as u8));
        self.nodes.retain(|k, v| k.1 != kind as u8 || Some(*v) != gone);
    }

    fn insert(&mut self, af: Af, kind: SrcKind, rule: RuleId, source: &Addr, to: &Addr) -> bool {
        if self.no_nodes {
            return false;
        }
        self.nodes.insert((af, kind as u8, rule, *source), *to);
        self.held.insert(kind as u8, *to);
        true
    }
}
