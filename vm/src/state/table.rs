//! The state table: records, the index by key, the order of creation, and what is to be looked at next for expiry.
//!
//! A state stands in the index ([`Index`]) by its wire key and, when translated, by its stack key too. One that has ended is
//! found by no key and listed no more, but counts until the next search for expired ones frees it, as in pf. Memory for all of
//! it is taken when the table is made, or when a larger limit is asked for ([`StateTable::grow`]).
//!
//! **Invariant:** a key that is linked names a state in use; unlinking both keys and giving the record back happen in
//! one call, [`StateTable::remove`].
//! **Invariant:** at most one state of an interface and direction holds a key ([`StateTable::attach`]).

use alloc::vec::Vec;

use crate::rule::Direction;
use crate::state::index::{Index, node, owner};
use crate::state::key::{KeySide, StateKey};
use crate::state::pool::{OutOfMemory, Pool, filled, lengthen};
use crate::state::record::{FLOATING, NONE, PeerScrub, PeerState, State, StateExt};
use crate::state::slab::Slab;
use crate::sync::Long;

/// What belongs to a state beside its record.
#[derive(Clone, Copy, Debug)]
struct Order {
    prev: u32,
    next: u32,
    id: u64,
}

const UNORDERED: Order = Order { prev: NONE, next: NONE, id: 0 };
/// Marks the number of a state that has ended and waits to be freed.
const ENDED: u64 = 1 << 63;

/// How attaching a key went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// The key is the state's.
    Done,
    /// Likewise; the state that held it is closed and the caller removes it.
    Replaces(u32),
    /// Another state holds it.
    Taken,
}

/// Match rules of a state: blocks of a list.
#[derive(Clone, Copy, Debug)]
pub struct MatchBlock {
    /// Rules, [`NONE`] where there is none.
    pub rules: [u32; 7],
    /// The next block.
    pub next: u32,
}

/// All states.
#[derive(Debug)]
pub struct StateTable {
    states: Slab,
    /// Extensions.
    pub exts: Pool<StateExt>,
    /// Match rules.
    pub matches: Pool<MatchBlock>,
    /// Timestamps of both sides.
    pub scrubs: Pool<[PeerScrub; 2]>,
    index: Index,
    order: Vec<Order>,
    first: u32,
    last: u32,
    cursor: u32,
    /// Where [`StateTable::walk`] stands.
    walker: u32,
    /// Its last state of a round went before it was reached.
    round_over: bool,
    next_id: u64,
    searches: Long,
    inserts: u64,
    removals: u64,
    limit: u32,
}

impl StateTable {
    /// A table of at most `limit` states; `hash_key` is random, drawn at start.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    pub fn new(limit: u32, hash_key: [u64; 2]) -> Result<Self, OutOfMemory> {
        Ok(Self {
            states: Slab::new(limit)?,
            exts: Pool::with_capacity("state extensions", limit)?,
            matches: Pool::with_capacity("match rules of states", limit.saturating_mul(2))?,
            scrubs: Pool::with_capacity("timestamps of states", limit)?,
            index: Index::new(limit, hash_key)?,
            order: filled("order of states", limit, UNORDERED)?,
            first: NONE,
            last: NONE,
            cursor: NONE,
            walker: NONE,
            round_over: false,
            next_id: 1,
            searches: Long::default(),
            inserts: 0,
            removals: 0,
            limit,
        })
    }

    /// States there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.states.used()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The length of the longest chain behind a bucket of the index: what one search may cost beside it. Looks at
    /// everything; for tests.
    #[must_use]
    pub fn longest_chain(&self) -> u32 {
        self.index.longest_chain()
    }

    /// States there may be.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Lowers or raises the limit; it never exceeds the room there is.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit.min(self.states.limit());
    }

    /// States there is room for.
    #[must_use]
    pub const fn room(&self) -> u32 {
        self.states.limit()
    }

    /// Zeroes searches, insertions and removals.
    pub fn clear_counters(&mut self) {
        self.searches.set(0);
        (self.inserts, self.removals) = (0, 0);
    }

    /// Makes room for `limit` states. Nothing else changes: states keep their numbers and their order, and the limit is as
    /// it was until [`StateTable::set_limit`]. Room once taken is kept.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is none.
    pub fn grow(&mut self, limit: u32) -> Result<(), OutOfMemory> {
        if limit <= self.states.limit() {
            return Ok(());
        }
        let index = Index::new(limit, self.index.key())?;
        self.exts.grow(limit)?;
        self.matches.grow(limit.saturating_mul(2))?;
        self.scrubs.grow(limit)?;
        let err = OutOfMemory { what: "order of states", count: limit };
        let want = usize::try_from(limit).map_err(|_| err)?;
        self.order.try_reserve_exact(want.saturating_sub(self.order.len())).map_err(|_| err)?;
        self.states.reserve(limit)?;
        lengthen(&mut self.order, want, &UNORDERED);
        self.index = index;
        let mut at = self.first();
        for _ in 0..self.states.used() {
            let Some(translated) = self.get(at).map(State::translated) else { break };
            self.link_in(at, KeySide::Wire);
            if translated {
                self.link_in(at, KeySide::Stack);
            }
            at = self.next(at);
        }
        Ok(())
    }

    fn link_in(&mut self, slot: u32, side: KeySide) {
        if let Some(key) = self.key(slot, side) {
            let hash = self.index.hash(&key);
            self.index.insert(node(slot, side), hash);
        }
    }

    /// The hash of a key, as [`StateTable::find_hashed`] wants it.
    #[must_use]
    #[inline]
    pub fn hash(&self, key: &StateKey) -> u64 {
        self.index.hash(key)
    }

    /// Reads from the buckets of some hashes and from the states they most likely mean, so that both are near when packets
    /// look for them. What it gives means nothing, but the reading is left out where nobody uses it.
    #[must_use]
    pub fn touch(&self, hashes: &[u64]) -> u32 {
        const MOST: usize = 32;
        let mut read = 0;
        for some in hashes.chunks(MOST) {
            for h in some {
                read ^= self.index.touch(*h);
            }
            let mut slots = [NONE; MOST];
            for (to, h) in slots.iter_mut().zip(some) {
                *to = self.index.nodes(*h).next().map_or(NONE, |n| owner(n).0);
            }
            for s in slots.iter().take(some.len()) {
                read ^= self.states.touch(*s);
            }
        }
        read
    }

    /// Searches, insertions and removals so far (`pfctl -si`).
    #[must_use]
    pub fn counters(&self) -> [u64; 3] {
        [self.searches.get(), self.inserts, self.removals]
    }

    /// A state.
    #[must_use]
    #[inline]
    pub fn get(&self, slot: u32) -> Option<&State> {
        self.states.get(slot)
    }

    /// A state, to change.
    #[must_use]
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut State> {
        self.states.get_mut(slot)
    }

    /// A state's extension.
    #[must_use]
    #[inline]
    pub fn ext(&self, state: &State) -> Option<&StateExt> {
        self.exts.get(state.ext)
    }

    /// A key of a state.
    #[must_use]
    pub fn key(&self, slot: u32, side: KeySide) -> Option<StateKey> {
        let s = self.get(slot)?;
        Some(s.key(side, self.ext(s)))
    }

    /// The number a state was given when it was inserted: they rise.
    #[must_use]
    pub fn id(&self, slot: u32) -> u64 {
        self.order_of(slot).map_or(0, |o| o.id & !ENDED)
    }

    /// Whether a state has ended and waits to be freed.
    #[must_use]
    pub fn has_ended(&self, slot: u32) -> bool {
        self.order_of(slot).is_some_and(|o| o.id & ENDED != 0)
    }

    /// The number the next state will be given.
    #[must_use]
    pub const fn next_id(&self) -> u64 {
        self.next_id
    }

    /// The next state of an endless walk round the table, and whether it is the last of a round.
    pub fn walk(&mut self) -> (u32, bool) {
        let here = if self.walker == NONE { self.first } else { self.walker };
        self.walker = self.after(here);
        let over = core::mem::take(&mut self.round_over);
        (here, over || self.walker == NONE)
    }

    /// Slots in order of creation.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.from(self.first)
    }

    fn from(&self, slot: u32) -> impl Iterator<Item = u32> + '_ {
        let mut at = slot;
        core::iter::from_fn(move || {
            let here = at;
            at = self.order_of(here)?.next;
            Some(here)
        })
        .take(usize::try_from(self.states.limit()).unwrap_or(usize::MAX))
        .filter(|slot| !self.has_ended(*slot))
    }

    /// The oldest state.
    #[must_use]
    pub fn first(&self) -> u32 {
        self.from(self.first).next().unwrap_or(NONE)
    }

    /// The state made after this one.
    #[must_use]
    pub fn next(&self, slot: u32) -> u32 {
        self.from(self.after(slot)).next().unwrap_or(NONE)
    }

    /// The same, whether it has ended or not.
    fn after(&self, slot: u32) -> u32 {
        self.order_of(slot).map_or(NONE, |o| o.next)
    }

    /// Stores a record and its extension, not yet to be found by any key. `None` when the table is full.
    #[inline(never)]
    pub fn take(&mut self, mut state: State, ext: Option<StateExt>) -> Option<u32> {
        if self.states.used() >= self.limit {
            return None;
        }
        if let Some(e) = ext {
            state.ext = self.exts.take(e)?;
        }
        let ext = state.ext;
        let slot = self.states.take(state);
        if slot.is_none() {
            self.exts.give(ext);
        }
        slot
    }

    /// Gives back a state that was never inserted.
    pub fn give(&mut self, slot: u32) {
        let Some(s) = self.states.give(slot) else { return };
        self.free_parts(&s);
    }

    /// Links one key of a state that was taken (`pf.c pf_state_key_attach`).
    pub fn attach(&mut self, slot: u32, side: KeySide) -> Attach {
        let Some(state) = self.get(slot).cloned() else { return Attach::Taken };
        let key = state.key(side, self.ext(&state));
        let hash = self.index.hash(&key);
        let (mut replaces, mut taken) = (NONE, false);
        for (other, side) in self.index.nodes(hash).map(owner) {
            if other != slot && self.is_key(other, side, &key) {
                match self.rivals(&state, &key, other) {
                    Rival::No => {}
                    Rival::Yes => {
                        taken = true;
                        break;
                    }
                    Rival::Closed => replaces = other,
                }
            }
        }
        if let Some(s) = self.get_mut(replaces) {
            s.edit(|s| s.set_both(PeerState::CLOSED));
        }
        if taken {
            return Attach::Taken;
        }
        self.index.insert(node(slot, side), hash);
        if replaces == NONE { Attach::Done } else { Attach::Replaces(replaces) }
    }

    /// Whether a key is a state's on this side.
    #[inline]
    fn is_key(&self, slot: u32, side: KeySide, key: &StateKey) -> bool {
        self.states.get(slot).is_some_and(|s| self.is_key_of(s, side, key))
    }

    #[inline]
    fn is_key_of(&self, s: &State, side: KeySide, key: &StateKey) -> bool {
        s.is_key(side, key).unwrap_or_else(|| s.key(side, self.ext(s)) == *key)
    }

    /// Whether `other`, which holds the key already, keeps `state` from holding it.
    fn rivals(&self, state: &State, key: &StateKey, other: u32) -> Rival {
        let Some(o) = self.get(other) else { return Rival::No };
        let stack_af = o.stack(self.ext(o)).af;
        let same_way = o.af() == key.af && o.direction() == state.direction();
        let across = o.af() != stack_af && key.af == stack_af && o.direction() != state.direction();
        if o.kif != state.kif || !(same_way || across) {
            return Rival::No;
        }
        let closed = key.proto == crate::packet::proto::TCP
            && o.src().state >= PeerState::FIN_WAIT_2
            && o.dst().state >= PeerState::FIN_WAIT_2;
        if closed { Rival::Closed } else { Rival::Yes }
    }

    /// Ends the insertion of a state whose keys are attached: it is counted and takes its place in the order.
    #[inline(never)]
    pub fn settle(&mut self, slot: u32) {
        let (last, id) = (self.last, self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        if let Some(o) = self.order_mut(slot) {
            *o = Order { prev: last, next: NONE, id };
        }
        match self.order_mut(last) {
            Some(o) => o.next = slot,
            None => self.first = slot,
        }
        self.last = slot;
        self.inserts = self.inserts.wrapping_add(1);
    }

    /// Takes back the attachment of a key.
    pub fn detach(&mut self, slot: u32, side: KeySide) {
        let Some(key) = self.key(slot, side) else { return };
        let hash = self.index.hash(&key);
        let Self { states, exts, index, .. } = self;
        index.remove(node(slot, side), hash, |index, other| {
            let (slot, side) = owner(other);
            states.get(slot).map_or(0, |s| index.hash(&s.key(side, exts.get(s.ext))))
        });
    }

    /// Ends a settled state: it gives up both keys and is listed no more. What it counts as, it counts as until
    /// [`StateTable::remove`].
    pub fn end(&mut self, slot: u32) {
        let Some(translated) = self.get(slot).filter(|_| !self.has_ended(slot)).map(State::translated) else { return };
        self.detach(slot, KeySide::Wire);
        if translated {
            self.detach(slot, KeySide::Stack);
        }
        if let Some(o) = self.order_mut(slot) {
            o.id |= ENDED;
        }
    }

    /// Frees a settled state, after ending it: its place, its record, its extension. Gives back the record and extension.
    pub fn remove(&mut self, slot: u32) -> Option<(State, Option<StateExt>)> {
        self.end(slot);
        let state = self.get(slot)?.clone();
        let ext = self.ext(&state).copied();
        if self.cursor == slot {
            self.cursor = self.after(slot);
        }
        if self.walker == slot {
            self.walker = self.after(slot);
            self.round_over |= self.walker == NONE;
        }
        let o = *self.order_of(slot)?;
        match self.order_mut(o.prev) {
            Some(p) => p.next = o.next,
            None => self.first = o.next,
        }
        match self.order_mut(o.next) {
            Some(n) => n.prev = o.prev,
            None => self.last = o.prev,
        }
        self.states.give(slot);
        self.free_parts(&state);
        self.removals = self.removals.wrapping_add(1);
        Some((state, ext))
    }

    fn free_parts(&mut self, s: &State) {
        if let Some(e) = self.exts.give(s.ext) {
            self.scrubs.give(e.scrub);
            let mut at = e.matches;
            for _ in 0..self.matches.limit() {
                let Some(b) = self.matches.give(at) else { break };
                at = b.next;
            }
        }
    }

    /// The state a packet belongs to (`pf.c pf_find_state`): one bound to its interface before a floating one, of
    /// bound ones the newest, of floating ones the oldest.
    #[inline]
    pub fn find(&mut self, key: &StateKey, dir: Direction, kif: u16) -> Option<u32> {
        self.find_hashed(key, self.index.hash(key), dir, kif)
    }

    /// The same, of a key whose hash is known.
    #[inline]
    pub fn find_hashed(&mut self, key: &StateKey, hash: u64, dir: Direction, kif: u16) -> Option<u32> {
        self.count_search();
        self.seek(key, hash, dir, kif)
    }

    /// Counts a search.
    #[inline]
    pub fn count_search(&mut self) {
        self.searches.grow(1);
    }

    /// What [`StateTable::find_hashed`] gives, not counted as a search.
    #[inline]
    pub fn seek(&self, key: &StateKey, hash: u64, dir: Direction, kif: u16) -> Option<u32> {
        let mut best = None;
        for (slot, side) in self.index.nodes(hash).map(owner) {
            if let Some(s) = self.states.get(slot)
                && self.is_key_of(s, side, key)
                && self.meets(s, side, dir, kif)
                && best.is_none_or(|best| self.before(s, slot, best))
            {
                best = Some(slot);
            }
        }
        best
    }

    /// Counts searches, for who shares the table.
    pub fn searched(&self, n: u64) {
        self.searches.add(n);
    }

    /// Whether a state that holds a packet's key is one for its direction and interface.
    #[inline]
    fn meets(&self, s: &State, side: KeySide, dir: Direction, kif: u16) -> bool {
        if s.is_purge() || (s.kif != FLOATING && s.kif != kif) {
            return false;
        }
        if s.stack_elsewhere() && s.stack(self.ext(s)).af != s.af() {
            return matches!(dir, Direction::In);
        }
        !s.translated() || side == KeySide::lookup(dir)
    }

    /// Whether a state comes before the best one so far. Rare: two states hold the key.
    #[cold]
    fn before(&self, s: &State, slot: u32, best: u32) -> bool {
        let Some(b) = self.states.get(best) else { return true };
        let (bound, other) = (s.kif != FLOATING, b.kif != FLOATING);
        if bound == other { (self.id(slot) > self.id(best)) == bound } else { bound }
    }

    /// Whether any state has the key on this side, on whatever interface (`pf.c pf_find_state_all`).
    #[must_use]
    pub fn holds(&self, key: &StateKey, side: KeySide) -> bool {
        self.searches.add(1);
        let untranslated = |slot| self.states.get(slot).is_some_and(|s| !s.translated());
        let mut nodes = self.index.nodes(self.index.hash(key)).map(owner);
        nodes.any(|(slot, s)| self.is_key(slot, s, key) && (s == side || untranslated(slot)))
    }

    /// The next states to look at for expiry: moves the cursor by at most `limit` states and calls `f` for each;
    /// `f` says whether the state is to go, and at most `collect` of those are put into `out`. Gives the number of
    /// states passed over and of those collected; the last state of the order ends the round.
    pub fn scan(&mut self, limit: u32, out: &mut [u32], mut f: impl FnMut(&Self, u32) -> bool) -> (u32, usize) {
        if self.cursor == NONE {
            self.cursor = self.first;
        }
        let (mut passed, mut collected) = (0, 0_usize);
        while passed < limit && self.cursor != NONE {
            let here = self.cursor;
            if f(self, here)
                && let Some(o) = out.get_mut(collected)
            {
                *o = here;
                collected = collected.saturating_add(1);
            }
            if here == self.last {
                self.cursor = NONE;
                break;
            }
            self.cursor = self.after(here);
            if collected >= out.len() {
                break;
            }
            passed = passed.saturating_add(1);
        }
        (passed, collected)
    }

    fn order_of(&self, slot: u32) -> Option<&Order> {
        self.order.get(usize::try_from(slot).ok()?)
    }

    fn order_mut(&mut self, slot: u32) -> Option<&mut Order> {
        self.order.get_mut(usize::try_from(slot).ok()?)
    }
}

/// What a state that holds a key means for another that wants it.
enum Rival {
    No,
    Yes,
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::proto::{TCP, UDP};
    use crate::rule::{Addr, Af};

    fn key(n: u8, proto: u8) -> StateKey {
        let mut a = [0; 16];
        a[3] = n;
        StateKey { addr: [Addr(a), Addr::default()], port: [1, 2], af: Af::Inet, proto }
    }

    fn insert(t: &mut StateTable, k: StateKey, dir: Direction, kif: u16) -> Result<u32, Attach> {
        let mut s = State::new(&k, &k, dir);
        s.kif = kif;
        let slot = t.take(s, None).ok_or(Attach::Taken)?;
        match t.attach(slot, KeySide::Wire) {
            Attach::Taken => {
                t.give(slot);
                Err(Attach::Taken)
            }
            Attach::Replaces(old) => {
                t.remove(old);
                t.settle(slot);
                Ok(slot)
            }
            Attach::Done => {
                t.settle(slot);
                Ok(slot)
            }
        }
    }

    #[test]
    fn bound_states_come_before_floating_ones() {
        let mut t = StateTable::new(8, [1, 2]).unwrap();
        let k = key(1, UDP);
        let floating = insert(&mut t, k, Direction::In, FLOATING).unwrap();
        let bound = insert(&mut t, k, Direction::In, 3).unwrap();
        assert_eq!(insert(&mut t, k, Direction::In, 3), Err(Attach::Taken));
        assert_eq!(t.find(&k, Direction::In, 3), Some(bound));
        assert_eq!(t.find(&k, Direction::In, 4), Some(floating));
        assert_eq!(t.find(&key(2, UDP), Direction::In, 4), None);
        t.remove(bound);
        assert_eq!(t.find(&k, Direction::In, 3), Some(floating));
        assert_eq!(t.iter().collect::<Vec<_>>(), vec![floating]);
    }

    #[test]
    fn a_closed_tcp_state_gives_way() {
        let mut t = StateTable::new(8, [1, 2]).unwrap();
        let k = key(1, TCP);
        let old = insert(&mut t, k, Direction::In, FLOATING).unwrap();
        t.get_mut(old).unwrap().edit(|s| s.set_both(PeerState::TIME_WAIT));
        assert!(insert(&mut t, k, Direction::In, FLOATING).is_ok());
        assert_eq!(t.len(), 1);
    }

    #[test]
    fn full_tables_refuse_and_recover() {
        let mut t = StateTable::new(4, [5, 6]).unwrap();
        for n in 0..4 {
            insert(&mut t, key(n, UDP), Direction::In, FLOATING).unwrap();
        }
        assert!(insert(&mut t, key(9, UDP), Direction::In, FLOATING).is_err());
        let mut out = [0; 2];
        assert_eq!(t.scan(64, &mut out, |_, _| true), (1, 2));
        for s in out {
            t.remove(s);
        }
        insert(&mut t, key(9, UDP), Direction::In, FLOATING).unwrap();
        assert_eq!(t.len(), 3);
        assert!(t.holds(&key(9, UDP), KeySide::Wire) && !t.holds(&key(0, UDP), KeySide::Stack));
    }

    /// The table as pf has it: a list of states for each key, bound ones put in front, floating ones behind.
    #[derive(Default)]
    struct Model {
        lists: std::collections::HashMap<StateKey, Vec<u32>>,
        states: std::collections::HashMap<u32, (StateKey, StateKey, Direction, u16)>,
    }

    impl Model {
        fn free(&self, key: &StateKey, dir: Direction, kif: u16) -> bool {
            let rival = |s: &u32| self.states[s].2 == dir && self.states[s].3 == kif;
            !self.lists.get(key).is_some_and(|l| l.iter().any(rival))
        }

        fn insert(&mut self, slot: u32, wire: StateKey, stack: StateKey, dir: Direction, kif: u16) {
            self.states.insert(slot, (wire, stack, dir, kif));
            let keys = if wire == stack { vec![wire] } else { vec![wire, stack] };
            for k in keys {
                let list = self.lists.entry(k).or_default();
                let at = if kif == FLOATING { list.len() } else { 0 };
                list.insert(at, slot);
            }
        }

        fn remove(&mut self, slot: u32) {
            self.states.remove(&slot);
            for l in self.lists.values_mut() {
                l.retain(|s| *s != slot);
            }
        }

        fn find(&self, key: &StateKey, dir: Direction, kif: u16) -> Option<u32> {
            let fits = |s: &&u32| {
                let (wire, stack, _, k) = &self.states[*s];
                (*k == FLOATING || *k == kif) && key == if dir == Direction::In { wire } else { stack }
            };
            self.lists.get(key)?.iter().find(fits).copied()
        }
    }

    #[test]
    fn a_naive_model_agrees_over_random_lives() {
        let mut x = 0x2545_f491_4f6c_dd1d_u64;
        let mut below = |n: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 16) % n
        };
        let (mut t, mut m) = (StateTable::new(24, [7, 8]).unwrap(), Model::default());
        for _ in 0..20_000 {
            let dir = if below(2) == 0 { Direction::In } else { Direction::Out };
            let kif = [FLOATING, 1, 2][usize::try_from(below(3)).unwrap()];
            let wire = key(u8::try_from(below(6)).unwrap(), UDP);
            match below(4) {
                0 | 1 => {
                    let stack = if below(3) == 0 { key(u8::try_from(below(6)).unwrap(), UDP) } else { wire };
                    let mut s = State::new(&wire, &stack, dir);
                    s.kif = kif;
                    let Some(slot) = t.take(s, None) else {
                        assert_eq!(m.states.len(), 24);
                        continue;
                    };
                    let free = m.free(&wire, dir, kif) && (wire == stack || m.free(&stack, dir, kif));
                    let mut attached = t.attach(slot, KeySide::Wire) == Attach::Done;
                    if attached && wire != stack && t.attach(slot, KeySide::Stack) != Attach::Done {
                        t.detach(slot, KeySide::Wire);
                        attached = false;
                    }
                    assert_eq!(attached, free);
                    if attached {
                        t.settle(slot);
                        m.insert(slot, wire, stack, dir, kif);
                    } else {
                        t.give(slot);
                    }
                }
                2 => {
                    let mut slots: Vec<u32> = m.states.keys().copied().collect();
                    slots.sort_unstable();
                    if let Some(&slot) = slots.get(usize::try_from(below(24)).unwrap()) {
                        assert!(t.remove(slot).is_some());
                        m.remove(slot);
                    }
                }
                _ => assert_eq!(t.find(&wire, dir, kif), m.find(&wire, dir, kif)),
            }
            assert_eq!(usize::try_from(t.len()).unwrap(), m.states.len());
        }
        assert_eq!(t.iter().count(), m.states.len());
    }
}
