//! The datagrams that wait for fragments: finding them, making room, letting them go.
//!
//! Source: `pf_norm.c` (`pf_find_fragment`, `pf_create_fragment`, `pf_flush_fragments`, `pf_purge_expired_fragments`).

use super::queue::{BAD, Frent, QUEUE_LIMIT, Queue, Refused};
use super::store::{BLOCK, Store};
use crate::packet::{DropReason, Packet};
use crate::rule::{Addr, Af};
use crate::state::pool::{OutOfMemory, Pool, filled};
use crate::state::record::NONE;
use alloc::vec::Vec;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// Datagrams of one flow that may come and go before an old one is stale, a second of `frag` timeout.
const STALE_PER_SECOND: u32 = 200;
/// Largest datagram.
const MAX_PACKET: u32 = 65535;

/// What fragments of one flow share (`struct pf_frnode`, as `pf_frnode_compare` looks at it: not the direction).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowKey {
    pub(super) src: Addr,
    pub(super) dst: Addr,
    pub(super) af: Af,
    pub(super) proto: u8,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    key: FlowKey,
    next: u32,
    datagrams: u32,
    generation: u32,
}

/// A datagram in the making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    pub(super) queue: Queue,
    /// IPv6: offset of the last extension header in front of the first fragment's fragment header.
    pub(super) extoff: u32,
    flow: u32,
    id: u32,
    next: u32,
    newer: u32,
    older: u32,
    born: u32,
    generation: u32,
}

/// A fragment that arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) key: FlowKey,
    pub(super) id: u32,
    /// Bytes of headers in front of its data.
    pub(super) header: u32,
    pub(super) extoff: u32,
    pub(super) off: u32,
    pub(super) len: u32,
    pub(super) more: bool,
}

/// Counts of what the cache did (`NCNT_FRAG_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragCounters {
    /// Searches for a datagram.
    pub searches: u64,
    /// Fragments queued.
    pub inserts: u64,
    /// Fragments taken out.
    pub removals: u64,
}

/// All waiting fragments. Its capacity is taken when it is made.
#[derive(Debug)]
pub struct FragCache {
    pub(super) frents: Pool<Frent>,
    pub(super) datagrams: Pool<Datagram>,
    flows: Pool<Flow>,
    pub(super) store: Store,
    buckets: Vec<u32>,
    flow_buckets: Vec<u32>,
    keys: (u64, u64),
    newest: u32,
    oldest: u32,
    counters: FragCounters,
}

impl FragCache {
    /// A cache of at most `frags` fragments (`set limit frags`) and `bytes` of their contents, hashed under a key.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(frags: u32, bytes: u32, keys: (u64, u64)) -> Result<Self, OutOfMemory> {
        let buckets = frags.clamp(1, 1 << 24).checked_next_power_of_two().unwrap_or(1);
        let block = u32::try_from(BLOCK).unwrap_or(1);
        Ok(Self {
            frents: Pool::with_capacity("fragments", frags)?,
            datagrams: Pool::with_capacity("fragmented packets", frags)?,
            flows: Pool::with_capacity("flows of fragments", frags)?,
            store: Store::new(bytes.div_ceil(block))?,
            buckets: filled("fragmented packets", buckets, NONE)?,
            flow_buckets: filled("flows of fragments", buckets, NONE)?,
            keys,
            newest: NONE,
            oldest: NONE,
            counters: FragCounters::default(),
        })
    }

    /// Fragments waiting.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.frents.used()
    }

    /// Whether none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room for `frags` fragments and `bytes` of their contents. Nothing else changes until
    /// [`FragCache::set_limit`]; room once taken is kept.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is none.
    pub fn grow(&mut self, frags: u32, bytes: u32) -> Result<(), OutOfMemory> {
        let limit = self.limit();
        if frags <= limit {
            return Ok(());
        }
        let buckets = frags.clamp(1, 1 << 24).checked_next_power_of_two().unwrap_or(1);
        let (fresh, fresh_flows) =
            (filled("fragmented packets", buckets, NONE)?, filled("flows of fragments", buckets, NONE)?);
        self.store.grow(bytes.div_ceil(u32::try_from(BLOCK).unwrap_or(1)))?;
        self.datagrams.grow(frags)?;
        self.flows.grow(frags)?;
        self.frents.grow(frags)?;
        self.frents.set_limit(limit);
        (self.buckets, self.flow_buckets) = (fresh, fresh_flows);
        for id in 0..self.flows.places() {
            let Some(key) = self.flows.get(id).map(|f| f.key) else { continue };
            let at = self.flow_bucket(&key);
            if let (Some(h), Some(f)) = (self.flow_buckets.get_mut(at), self.flows.get_mut(id)) {
                f.next = core::mem::replace(h, id);
            }
        }
        for id in 0..self.datagrams.places() {
            let Some((flow, number)) = self.datagrams.get(id).map(|d| (d.flow, d.id)) else { continue };
            let at = self.bucket(flow, number);
            if let (Some(h), Some(d)) = (self.buckets.get_mut(at), self.datagrams.get_mut(id)) {
                d.next = core::mem::replace(h, id);
            }
        }
        Ok(())
    }

    /// Lowers the limit, or raises it as far as there is room.
    pub fn set_limit(&mut self, frags: u32) {
        self.frents.set_limit(frags);
    }

    /// Fragments there is room for.
    #[must_use]
    pub fn room(&self) -> u32 {
        self.frents.room()
    }

    /// Fragments there may be.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.frents.limit()
    }

    /// Zeroes the counters.
    pub fn clear_counters(&mut self) {
        self.counters = FragCounters::default();
    }

    /// Counters.
    #[must_use]
    pub const fn counters(&self) -> FragCounters {
        self.counters
    }

    fn flow_bucket(&self, key: &FlowKey) -> usize {
        let mut h = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        h.write(&key.src.0);
        h.write(&key.dst.0);
        h.write(&[u8::from(key.af == Af::Inet6), key.proto]);
        self.place(h.finish())
    }

    fn bucket(&self, flow: u32, id: u32) -> usize {
        let mut h = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        h.write(&flow.to_le_bytes());
        h.write(&id.to_le_bytes());
        self.place(h.finish())
    }

    fn place(&self, hash: u64) -> usize {
        let mask = self.buckets.len().saturating_sub(1);
        usize::try_from(hash & u64::from(u32::MAX)).unwrap_or(0) & mask
    }

    fn find_flow(&self, key: &FlowKey) -> Option<u32> {
        let mut at = *self.flow_buckets.get(self.flow_bucket(key))?;
        for _ in 0..self.flows.limit() {
            let flow = self.flows.get(at)?;
            if flow.key == *key {
                return Some(at);
            }
            at = flow.next;
        }
        None
    }

    /// The datagram a fragment belongs to; a stale one is dropped first.
    fn find(&mut self, key: &FlowKey, id: u32, timeout: u32) -> Option<u32> {
        self.counters.searches = self.counters.searches.wrapping_add(1);
        let flow = self.find_flow(key)?;
        let newest = self.flows.get(flow)?.generation;
        let mut at = *self.buckets.get(self.bucket(flow, id))?;
        for _ in 0..self.datagrams.limit() {
            let d = self.datagrams.get(at)?;
            if d.flow == flow && d.id == id {
                break;
            }
            at = d.next;
        }
        let age = newest.wrapping_sub(self.datagrams.get(at)?.generation);
        if age >= timeout.saturating_mul(STALE_PER_SECOND) {
            self.free(at);
            return None;
        }
        self.unlink_age(at);
        self.link_newest(at);
        Some(at)
    }

    fn unlink_age(&mut self, at: u32) {
        let Some(&Datagram { newer, older, .. }) = self.datagrams.get(at) else { return };
        match self.datagrams.get_mut(newer) {
            Some(d) => d.older = older,
            None => self.newest = older,
        }
        match self.datagrams.get_mut(older) {
            Some(d) => d.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let second = self.newest;
        if let Some(d) = self.datagrams.get_mut(at) {
            (d.newer, d.older) = (NONE, second);
        }
        match self.datagrams.get_mut(second) {
            Some(d) => d.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }

    /// Drops a datagram with all its fragments.
    pub(super) fn free(&mut self, at: u32) {
        let Some(d) = self.datagrams.get(at).copied() else { return };
        self.unlink_age(at);
        let bucket = self.bucket(d.flow, d.id);
        unchain(&mut self.buckets, &mut self.datagrams, bucket, at, |d| &mut d.next);
        self.datagrams.give(at);
        let mut frent = d.queue.first;
        for _ in 0..QUEUE_LIMIT {
            let Some(e) = self.frents.give(frent) else { break };
            self.store.give(e.chain);
            self.counters.removals = self.counters.removals.wrapping_add(1);
            frent = e.next;
        }
        if let Some(flow) = self.flows.get_mut(d.flow) {
            flow.datagrams = flow.datagrams.saturating_sub(1);
            if flow.datagrams == 0 {
                let key = flow.key;
                let bucket = self.flow_bucket(&key);
                unchain(&mut self.flow_buckets, &mut self.flows, bucket, d.flow, |f| &mut f.next);
                self.flows.give(d.flow);
            }
        }
    }

    /// Drops the longest silent datagrams until a tenth of the fragments is gone.
    fn flush(&mut self) {
        let goal = self.len().saturating_sub(self.len().div_ceil(10));
        while self.len() > goal && self.oldest != NONE {
            self.free(self.oldest);
        }
    }

    /// Drops datagrams older than `timeout` seconds, from the longest silent on, at most `most`; how many.
    pub fn purge(&mut self, now: u32, timeout: u32, most: u32) -> u32 {
        let mut dropped = 0_u32;
        while dropped < most
            && let Some(d) = self.datagrams.get(self.oldest)
            && now.saturating_sub(d.born) >= timeout
        {
            self.free(self.oldest);
            dropped = dropped.saturating_add(1);
        }
        dropped
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        while self.oldest != NONE {
            self.free(self.oldest);
        }
    }

    /// Queues a fragment; its datagram.
    pub(super) fn queue(
        &mut self,
        a: &Arrival,
        packet: &Packet<'_>,
        now: u32,
        timeout: u32,
    ) -> Result<u32, Option<DropReason>> {
        let stored = if a.off == 0 { a.header } else { 0 };
        let room = usize::try_from(stored.saturating_add(a.len)).unwrap_or(usize::MAX);
        self.make_room(|c| c.frents.used() < c.frents.limit())?;
        let bad = a.len == 0 || (a.more && a.len & 7 != 0) || a.off.saturating_add(a.len) > MAX_PACKET;
        if bad {
            return Err(Some(DropReason::Fragment));
        }
        self.make_room(|c| c.store.fits(room))?;
        let found = self.find(&a.key, a.id, timeout);
        let at = match found {
            Some(at) => at,
            None => self.begin(a, now)?,
        };
        let id = self.admit(a, packet, stored).ok_or(Some(DropReason::Memory));
        let result = id.map_err(Refused::Alone).and_then(|id| self.enter(at, id, a, found.is_some()));
        match result {
            Ok(()) => Ok(at),
            Err(Refused::Alone(reason)) => {
                if found.is_none() {
                    self.free(at);
                }
                Err(reason)
            }
            Err(Refused::Datagram) => {
                self.free(at);
                Err(Some(DropReason::Fragment))
            }
        }
    }

    /// Asks for room, flushes, and asks again.
    fn make_room(&mut self, enough: impl Fn(&Self) -> bool) -> Result<(), Option<DropReason>> {
        if !enough(self) {
            self.flush();
        }
        if enough(self) { Ok(()) } else { Err(Some(DropReason::Memory)) }
    }

    /// Stores a fragment.
    fn admit(&mut self, a: &Arrival, packet: &Packet<'_>, stored: u32) -> Option<u32> {
        let size = |n: u32| usize::try_from(n).ok();
        let chain = self.store.put(packet, size(stored)?, size(a.header)?, size(a.len)?)?;
        let frent = Frent { chain, header: stored, ..Frent::new(a.off, a.len, a.more) };
        let id = self.frents.take(frent);
        if id.is_none() {
            self.store.give(chain);
        }
        id
    }

    /// Puts a stored fragment into its queue, or gives it back.
    fn enter(&mut self, at: u32, id: u32, a: &Arrival, known: bool) -> Result<(), Refused> {
        let d = self.datagrams.get_mut(at).ok_or(BAD)?;
        let held = self.frents.used();
        let result = if known {
            d.queue.add(&mut self.frents, &mut self.store, a.key.af, id)
        } else {
            d.queue.begin(&mut self.frents, id);
            Ok(false)
        };
        let lost = u64::from(held.saturating_sub(self.frents.used()));
        self.counters.removals = self.counters.removals.wrapping_add(lost);
        match result {
            Ok(again) => {
                self.counters.inserts = self.counters.inserts.wrapping_add(1).wrapping_add(again.into());
                self.counters.removals = self.counters.removals.wrapping_add(again.into());
                if a.off == 0 {
                    d.extoff = a.extoff;
                }
            }
            Err(_) => {
                if let Some(e) = self.frents.give(id) {
                    self.store.give(e.chain);
                }
            }
        }
        result.map(|_| ())
    }

    /// Begins a datagram.
    fn begin(&mut self, a: &Arrival, now: u32) -> Result<u32, Option<DropReason>> {
        self.make_room(|c| c.datagrams.used() < c.datagrams.limit() && c.flows.used() < c.flows.limit())?;
        let memory = Some(DropReason::Memory);
        let flow = match self.find_flow(&a.key) {
            Some(flow) => flow,
            None => self.begin_flow(&a.key).ok_or(memory)?,
        };
        let generation = self.flows.get_mut(flow).map_or(0, |f| {
            f.datagrams = f.datagrams.saturating_add(1);
            let g = f.generation;
            f.generation = g.wrapping_add(1);
            g
        });
        let bucket = self.bucket(flow, a.id);
        let next = self.buckets.get(bucket).copied().unwrap_or(NONE);
        let fresh = Datagram {
            queue: Queue::new(),
            extoff: 0,
            flow,
            id: a.id,
            next,
            newer: NONE,
            older: NONE,
            born: now,
            generation,
        };
        let at = self.datagrams.take(fresh).ok_or(memory)?;
        if let Some(head) = self.buckets.get_mut(bucket) {
            *head = at;
        }
        self.link_newest(at);
        Ok(at)
    }

    fn begin_flow(&mut self, key: &FlowKey) -> Option<u32> {
        let bucket = self.flow_bucket(key);
        let next = *self.flow_buckets.get(bucket)?;
        let flow = self.flows.take(Flow { key: *key, next, datagrams: 0, generation: 0 })?;
        if let Some(head) = self.flow_buckets.get_mut(bucket) {
            *head = flow;
        }
        Some(flow)
    }
}

/// Takes an entry out of its bucket's chain.
fn unchain<T: Copy>(heads: &mut [u32], pool: &mut Pool<T>, bucket: usize, id: u32, next: impl Fn(&mut T) -> &mut u32) {
    let Some(after) = pool.get_mut(id).map(|e| *next(e)) else { return };
    let Some(head) = heads.get_mut(bucket) else { return };
    if *head == id {
        *head = after;
        return;
    }
    let mut at = *head;
    for _ in 0..pool.limit() {
        let Some(link) = pool.get_mut(at).map(&next) else { return };
        if *link == id {
            *link = after;
            return;
        }
        at = *link;
    }
}
