//! Reordering of a superblock so that pf's skip steps get long.
//!
//! For each of the nine skip criteria the rules are sorted into lists of equal values, longest list first. The longest
//! of all is taken out as a block of its own, and so on while lists of two or more are left; blocks of three or more
//! are reordered in turn by the remaining criteria, so recursion is at most nine deep.
//! **Invariant:** ties and list order follow pfctl's tail queues, since they decide the printed order.

use super::{LARGE, dynamic_bits, is_any};
use crate::ruleset::{AddrSpec, Af, Direction, DynMods, Op, Rule};
use std::collections::HashMap;
use std::net::IpAddr;

/// What a rule has to offer for one criterion; rules without a value share a list with nobody.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Value {
    Interface(String, bool),
    Direction(Direction),
    Rdomain(u8, bool),
    Family(Af),
    Protocol(u8),
    Net(bool, IpAddr, u8),
    Dynamic(bool, String, DynMods, u8),
    Special(bool, u8),
    Table(bool, String),
    Port(Op<u16>),
}

type Criterion = fn(&Rule) -> Option<Value>;

/// The skip steps in the kernel's order.
const CRITERIA: [Criterion; 9] = [
    |r| r.iface.as_ref().filter(|i| !i.name.is_empty()).map(|i| Value::Interface(i.name.clone(), i.not)),
    |r| r.direction.map(Value::Direction),
    |r| r.rdomain.map(|(not, n)| Value::Rdomain(n, not)),
    |r| r.af.map(Value::Family),
    |r| r.proto.map(Value::Protocol),
    |r| address(r.src.not, &r.src.addr, r.af),
    |r| address(r.dst.not, &r.dst.addr, r.af),
    |r| r.src.port.map(Value::Port),
    |r| r.dst.port.map(Value::Port),
];

fn address(not: bool, addr: &AddrSpec, af: Option<Af>) -> Option<Value> {
    match addr {
        a if is_any(a) => None,
        AddrSpec::Net { addr, .. } if addr.is_unspecified() => None,
        AddrSpec::Net { addr, prefix } => Some(Value::Net(not, *addr, *prefix)),
        AddrSpec::Dynamic { name, prefix, mods } => {
            Some(Value::Dynamic(not, name.clone(), *mods, dynamic_bits(*prefix, af)))
        }
        AddrSpec::NoRoute => Some(Value::Special(not, 0)),
        AddrSpec::UrpfFailed => Some(Value::Special(not, 1)),
        AddrSpec::Table(name) => Some(Value::Table(not, name.clone())),
        AddrSpec::Any | AddrSpec::Range { .. } | AddrSpec::RouteLabel(_) => None,
    }
}

/// Appends the rules to `out` in their new order.
pub(super) fn sort(block: Vec<Rule>, out: &mut Vec<Rule>) {
    if block.len() > LARGE {
        out.extend(block);
        return;
    }
    let mut rules: Vec<Option<Rule>> = block.into_iter().map(Some).collect();
    let mut order = Vec::with_capacity(rules.len());
    let all: Vec<usize> = (0..rules.len()).collect();
    order_block(&rules.iter().flatten().collect::<Vec<_>>(), &all, &mut order);
    out.extend(order.into_iter().filter_map(|i| rules.get_mut(i).and_then(Option::take)));
}

/// The lists of one criterion, longest first. List and rule are told by index.
struct Lists {
    /// Members of each list, in rule order; emptied as rules leave.
    members: Vec<Vec<usize>>,
    /// Its weight: the number of members, or 0 for one that promises nothing.
    weight: Vec<usize>,
    /// Lists in order of weight.
    order: Vec<usize>,
    /// Which list a rule (by place in the block) is in.
    of: HashMap<usize, usize>,
}

impl Lists {
    fn new(criterion: Criterion, rules: &[&Rule], block: &[usize]) -> Self {
        let mut lists = Lists { members: Vec::new(), weight: Vec::new(), order: Vec::new(), of: HashMap::new() };
        let mut by_value: HashMap<Value, usize> = HashMap::new();
        for &r in block {
            let value = rules.get(r).and_then(|rule| criterion(rule));
            let known = value.as_ref().and_then(|v| by_value.get(v).copied());
            let list = known.unwrap_or_else(|| {
                lists.members.push(Vec::new());
                lists.weight.push(0);
                lists.order.push(lists.members.len() - 1);
                lists.members.len() - 1
            });
            if let Some(v) = value {
                by_value.entry(v).or_insert(list);
            }
            lists.append(list, r);
        }
        lists
    }

    fn append(&mut self, list: usize, rule: usize) {
        if let (Some(m), Some(w)) = (self.members.get_mut(list), self.weight.get_mut(list)) {
            m.push(rule);
            *w += 1;
        }
        self.of.insert(rule, list);
        let Some(mut at) = self.order.iter().position(|&l| l == list) else { return };
        while at > 0 && self.weight_at(at - 1) < self.weight_at(at) {
            self.order.swap(at - 1, at);
            at -= 1;
        }
    }

    fn weight_at(&self, at: usize) -> usize {
        self.order.get(at).and_then(|&l| self.weight.get(l)).copied().unwrap_or(0)
    }

    /// Lists that hold every rule or just one say nothing: only the first list is asked, as in pfctl.
    fn discount(&mut self, total: usize) -> usize {
        let w = self.weight_at(0);
        if w != total && w != 1 {
            return w;
        }
        if let Some(first) = self.order.first().and_then(|&l| self.weight.get_mut(l)) {
            *first = 0;
        }
        0
    }

    /// Takes the first list out whole.
    fn take_first(&mut self) -> Vec<usize> {
        if self.order.is_empty() {
            return Vec::new();
        }
        let list = self.order.remove(0);
        self.members.get_mut(list).map(std::mem::take).unwrap_or_default()
    }

    /// A rule has left the block by another criterion.
    fn forget(&mut self, rule: usize) {
        if self.weight_at(0) <= 1 {
            return;
        }
        let Some(&list) = self.of.get(&rule) else { return };
        let Some(mut at) = self.order.iter().position(|&l| l == list) else { return };
        if let (Some(m), Some(w)) = (self.members.get_mut(list), self.weight.get_mut(list)) {
            m.retain(|&r| r != rule);
            *w = w.saturating_sub(1);
        }
        while at + 1 < self.order.len() && self.weight_at(at + 1) > self.weight_at(at) {
            self.order.swap(at, at + 1);
            at += 1;
        }
    }
}

/// Appends the block's rules (indices into `rules`) to `out`: split-off blocks first, what is left after them.
fn order_block(rules: &[&Rule], block: &[usize], out: &mut Vec<usize>) {
    let mut lists: Vec<Lists> = CRITERIA.iter().map(|c| Lists::new(*c, rules, block)).collect();
    let mut largest = 0;
    for l in &mut lists {
        largest = largest.max(l.discount(block.len()));
    }
    if largest == 0 {
        out.extend(block);
        return;
    }
    let mut left: Vec<usize> = block.to_vec();
    let mut kept: Vec<usize> = Vec::new();
    while !left.is_empty() {
        let (mut best, mut weight) = (None, 1);
        for (i, l) in lists.iter().enumerate() {
            if l.weight_at(0) > weight {
                weight = l.weight_at(0);
                best = Some(i);
            }
        }
        let Some(best) = best else {
            kept.append(&mut left);
            break;
        };
        let taken = lists.get_mut(best).map(Lists::take_first).unwrap_or_default();
        left.retain(|r| !taken.contains(r));
        for &rule in &taken {
            for l in &mut lists {
                l.forget(rule);
            }
        }
        if taken.len() > 2 {
            order_block(rules, &taken, out);
        } else {
            kept.extend(taken);
        }
    }
    out.append(&mut kept);
}
