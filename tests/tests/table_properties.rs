//! Address tables against a plain list: any sequence of changes leaves the same contents, order, matches and ranks.

use pfvm::rule::{Addr, Af};
use pfvm::table::{Changes, Entry, Feedback, TableError, Tables};
use proptest::prelude::*;

/// Capacity of the tables, small enough to be reached.
const LIMIT: usize = 24;

#[derive(Clone, Debug)]
enum Step {
    Add(Entry),
    Delete(Entry),
    Replace(Vec<Entry>),
    Clear,
}

fn bits(af: Af) -> u8 {
    if af == Af::Inet { 32 } else { 128 }
}

/// Addresses that share prefixes of every length.
fn addr(af: Af) -> impl Strategy<Value = Addr> {
    let at =
        prop::sample::select(if af == Af::Inet { vec![0, 7, 8, 15, 24, 30, 31] } else { vec![0, 1, 63, 64, 126, 127] });
    prop::collection::vec(at, 0..4).prop_map(|set| {
        let key = set.iter().fold(0_u128, |key, bit| key | 1 << (127 - bit));
        Addr(key.to_be_bytes())
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![Just(Af::Inet), Just(Af::Inet6)].prop_flat_map(|af| {
        let lens = if af == Af::Inet { vec![0, 1, 8, 9, 25, 31, 32] } else { vec![0, 1, 64, 65, 127, 128] };
        (addr(af), prop::sample::select(lens), prop::bool::weighted(0.2), 0_u16..4)
            .prop_map(move |(addr, prefix, not, weight)| Entry { af, addr, prefix, not, weight })
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => entry().prop_map(Step::Add),
        4 => entry().prop_map(Step::Delete),
        1 => prop::collection::vec(entry(), 0..30).prop_map(Step::Replace),
        1 => Just(Step::Clear),
    ]
}

fn mask(prefix: u8) -> u128 {
    if prefix == 0 { 0 } else { u128::MAX << (128 - u32::from(prefix)) }
}

fn key(a: &Addr) -> u128 {
    u128::from_be_bytes(a.0)
}

/// The naive table.
#[derive(Default)]
struct List(Vec<Entry>);

impl List {
    fn find(&self, e: &Entry) -> Option<usize> {
        let net = |x: &Entry| (x.af, x.prefix, key(&x.addr) & mask(x.prefix));
        self.0.iter().position(|x| net(x) == net(e))
    }

    fn longest(&self, af: Af, a: &Addr) -> Option<&Entry> {
        let covers = |e: &&Entry| e.af == af && (key(&e.addr) ^ key(a)) & mask(e.prefix) == 0;
        self.0.iter().filter(covers).max_by_key(|e| e.prefix)
    }

    fn sorted(&self) -> Vec<(Af, u128, u8, bool)> {
        let mut all: Vec<_> = self.0.iter().map(|e| (e.af, key(&e.addr) & mask(e.prefix), e.prefix, e.not)).collect();
        all.sort_by_key(|(af, key, prefix, _)| (*af, *key, 128 - prefix));
        all
    }

    fn add(&mut self, e: &Entry) -> Result<Feedback, TableError> {
        match self.find(e) {
            Some(at) if self.0[at].not == e.not => Ok(Feedback::None),
            Some(_) => Ok(Feedback::Conflict),
            None if self.0.len() == LIMIT => Err(TableError::Full),
            None => {
                self.0.push(*e);
                Ok(Feedback::Added)
            }
        }
    }

    fn delete(&mut self, e: &Entry) -> Feedback {
        match self.find(e) {
            None => Feedback::None,
            Some(at) if self.0[at].not != e.not => Feedback::Conflict,
            Some(at) => {
                self.0.remove(at);
                Feedback::Deleted
            }
        }
    }

    fn replace(&mut self, to: &[Entry]) -> Changes {
        let mut new = Self::default();
        let mut changes = Changes::default();
        for e in to {
            if new.find(e).is_some() {
                continue;
            }
            // An entry that stays keeps its weight.
            let weight = match self.find(e) {
                None => {
                    changes.added += 1;
                    e.weight
                }
                Some(at) => {
                    changes.changed += u32::from(self.0[at].not != e.not);
                    self.0[at].weight
                }
            };
            new.0.push(Entry { weight, ..*e });
        }
        changes.deleted = self.0.iter().filter(|e| new.find(e).is_none()).count() as u32;
        self.0 = new.0;
        changes
    }
}

fn weighted(list: &List) -> u32 {
    list.0.iter().filter(|e| e.weight > 0).count() as u32
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_changes_agrees_with_a_list(
        steps in prop::collection::vec(step(), 1..60),
        probes4 in prop::collection::vec(addr(Af::Inet), 8),
        probes6 in prop::collection::vec(addr(Af::Inet6), 8),
    ) {
        let mut tables = Tables::new(2, LIMIT as u32, 4).unwrap();
        let (slot, other) = (tables.create(false).unwrap(), tables.create(true).unwrap());
        let mut list = List::default();
        for step in &steps {
            match step {
                Step::Add(e) => prop_assert_eq!(tables.add(slot, e), list.add(e)),
                Step::Delete(e) => prop_assert_eq!(tables.delete(slot, e), Ok(list.delete(e))),
                Step::Clear => {
                    prop_assert_eq!(tables.clear(slot) as usize, list.0.len());
                    list.0.clear();
                }
                Step::Replace(to) => match tables.replace(slot, to) {
                    Ok(changes) => prop_assert_eq!(changes, list.replace(to)),
                    Err(e) => {
                        prop_assert_eq!(e, TableError::Full);
                        let new = to.iter().filter(|e| list.find(e).is_none()).count();
                        prop_assert!(new + list.0.len() > LIMIT);
                    }
                },
            }
            let held: Vec<_> = tables.entries(slot).map(|e| (e.af, key(&e.addr), e.prefix, e.not)).collect();
            prop_assert_eq!(held, list.sorted());
            for af in [Af::Inet, Af::Inet6] {
                let positive = list.sorted().into_iter().filter(|e| e.0 == af && !e.3).map(|e| (e.1, e.2));
                let got = (0..).map_while(|n| tables.nth_positive(slot, af, n)).map(|e| (key(&e.addr), e.prefix));
                prop_assert!(got.eq(positive));
            }
            prop_assert_eq!(tables.weights(slot).cost_entries, weighted(&list));
            let probes = probes4.iter().map(|a| (Af::Inet, a)).chain(probes6.iter().map(|a| (Af::Inet6, a)));
            for (af, a) in probes {
                let got = tables.lookup(slot, af, a).map(|e| (e.prefix, e.not));
                prop_assert_eq!(got, list.longest(af, a).map(|e| (e.prefix, e.not)));
                prop_assert_eq!(tables.holds(slot, af, a), got.is_some_and(|(_, not)| !not));
            }
        }
        prop_assert_eq!(tables.used() as usize, list.0.len());
        prop_assert!(tables.is_empty(other));
        // All room comes back: the other table takes the whole capacity.
        tables.destroy(slot);
        for n in 0..LIMIT as u128 {
            let a = Addr((n << 96).to_be_bytes());
            prop_assert_eq!(tables.add(other, &Entry::new(Af::Inet, a, bits(Af::Inet))), Ok(Feedback::Added));
        }
    }
}

/// A table of the default limit takes its entries and finds each, in order.
#[test]
fn a_hundred_thousand_entries() {
    let mut tables = Tables::new(1, 100_000, 0).unwrap();
    let slot = tables.create(false).unwrap();
    let host = |n: u32| {
        let mut a = Addr::default();
        a.0[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b1).to_be_bytes());
        Entry::host(Af::Inet, a)
    };
    for n in 0..100_000 {
        assert_eq!(tables.add(slot, &host(n)), Ok(Feedback::Added));
    }
    assert_eq!(tables.add(slot, &host(100_000)), Err(TableError::Full));
    assert!((0..100_000).all(|n| tables.holds(slot, Af::Inet, &host(n).addr)));
    assert!((100_000..200_000).all(|n| !tables.holds(slot, Af::Inet, &host(n).addr)));
    let keys: Vec<_> = tables.entries(slot).map(|e| key(&e.addr)).collect();
    assert!(keys.len() == 100_000 && keys.is_sorted());
}

/// Large tables are asked by another way when their prefix lengths are few: the answers are those of a list.
#[test]
fn large_tables_of_few_and_of_many_lengths() {
    let mut numbers = tests::fuzz::Numbers(11);
    let mut tables = Tables::new(2, 3000, 0).unwrap();
    tables.rekey((5, 6));
    let slots = [tables.create(false).unwrap(), tables.create(false).unwrap()];
    for (many, af) in [(false, Af::Inet), (true, Af::Inet), (false, Af::Inet6), (true, Af::Inet6)] {
        let lens: &[u8] = match (many, af) {
            (false, Af::Inet) => &[32, 24, 8],
            (true, Af::Inet) => &[32, 31, 24, 20, 16, 9, 1],
            (false, Af::Inet6) => &[128, 64],
            (true, Af::Inet6) => &[128, 127, 64, 63, 48, 33],
        };
        let mut lists = [List::default(), List::default()];
        for round in 0..4000_u32 {
            let which = numbers.below(2);
            let mut addr = Addr::default();
            // A small world, so that entries meet.
            (addr.0[0], addr.0[2], addr.0[3]) = (10, numbers.byte() & 3, numbers.byte() & 0x7f);
            (addr.0[8], addr.0[15]) = if af == Af::Inet { (0, 0) } else { (numbers.byte() & 1, numbers.byte() & 0x7f) };
            let prefix = lens[numbers.below(lens.len() * 2).saturating_sub(lens.len())];
            let e = Entry { not: numbers.below(9) == 0, ..Entry::new(af, addr, prefix) };
            if numbers.below(if round < 2000 { 5 } else { 2 }) == 0 {
                assert_eq!(tables.delete(slots[which], &e), Ok(lists[which].delete(&e)));
            } else if lists[which].find(&e).is_some() || lists[which].0.len() < 1400 {
                let known = lists[which].find(&e);
                let want = match known {
                    Some(at) if lists[which].0[at].not == e.not => Feedback::None,
                    Some(_) => Feedback::Conflict,
                    None => Feedback::Added,
                };
                assert_eq!(tables.add(slots[which], &e), Ok(want));
                if known.is_none() {
                    lists[which].0.push(e);
                }
            }
            for (slot, list) in slots.iter().zip(&lists) {
                let got = tables.lookup(*slot, af, &addr).map(|e| (e.prefix, e.not));
                assert_eq!(got, list.longest(af, &addr).map(|e| (e.prefix, e.not)));
            }
        }
        assert!(lists.iter().all(|l| l.0.len() > 150), "{:?}", lists.iter().map(|l| l.0.len()).collect::<Vec<_>>());
        for (slot, list) in slots.iter().zip(&lists) {
            assert_eq!(tables.clear(*slot) as usize, list.0.len());
        }
    }
    assert_eq!(tables.used(), 0);
}
