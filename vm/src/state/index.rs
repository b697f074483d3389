//! The index of the state table: which states hold a key.
//!
//! Keys are hashed with SipHash-1-3 under a key drawn at start. A bucket is one cache line: ten places of sixteen bits
//! of the hash and a *node* (a state and one of its two keys); what does not fit hangs in a chain behind it. The index
//! is made for two keys a state at seven keys a bucket, so that chains are rare even in a full table of translated
//! states.
//!
//! **Invariant:** a node is in the index at most once. Taking one out fills its place from the chain, so that a chain
//! exists only behind a full bucket.
//! **Invariant:** nothing here allocates after [`Index::new`], and every loop ends within a bucket or a chain.

use alloc::vec::Vec;

use crate::rule::{Addr, Af};
use crate::state::key::{KeySide, StateKey};
use crate::state::pool::{OutOfMemory, filled};
use crate::state::record::NONE;

/// Places in a bucket.
const PLACES: usize = 10;
/// Keys a bucket is made for.
const FILL: u32 = 7;

/// One cache line of the index.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// Bits of the hash of each node, 0 for a free place.
    tags: [u16; PLACES],
    nodes: [u32; PLACES],
    /// First node of the chain, [`NONE`] when there is none.
    more: u32,
}

const EMPTY: Bucket = Bucket { tags: [0; PLACES], nodes: [NONE; PLACES], more: NONE };

impl Bucket {
    /// The places with a tag, a bit for each.
    #[inline]
    fn places_of(&self, tag: u16) -> u16 {
        let mut found = 0;
        for (i, t) in (0..u16::BITS).zip(self.tags) {
            found |= u16::from(t == tag).wrapping_shl(i);
        }
        found
    }
}

/// A state's key as a number.
#[must_use]
pub const fn node(slot: u32, side: KeySide) -> u32 {
    let base = slot.wrapping_mul(2);
    match side {
        KeySide::Wire => base,
        KeySide::Stack => base.wrapping_add(1),
    }
}

/// Whose key a number means.
#[must_use]
pub const fn owner(node: u32) -> (u32, KeySide) {
    (node >> 1, if node & 1 == 0 { KeySide::Wire } else { KeySide::Stack })
}

/// The bits of a hash a bucket keeps; never 0.
fn tag(hash: u64) -> u16 {
    u16::try_from(hash >> 48).unwrap_or(0) | 1
}

/// Buckets and chains.
#[derive(Debug)]
pub struct Index {
    buckets: Vec<Bucket>,
    /// Of each node the next in its chain.
    next: Vec<u32>,
    key: [u64; 2],
}

impl Index {
    /// An index for `limit` states; `key` is random, drawn at start.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no room.
    pub fn new(limit: u32, key: [u64; 2]) -> Result<Self, OutOfMemory> {
        let nodes = limit.saturating_mul(2);
        Ok(Self {
            buckets: filled("index buckets", (nodes / FILL).saturating_add(1), EMPTY)?,
            next: filled("index chains", nodes, NONE)?,
            key,
        })
    }

    /// The key it hashes with.
    #[must_use]
    pub const fn key(&self) -> [u64; 2] {
        self.key
    }

    /// The hash of a state key.
    #[must_use]
    #[inline(always)]
    pub fn hash(&self, key: &StateKey) -> u64 {
        match key.af {
            Af::Inet => {
                let [a, b] = &key.addr;
                sip13(self.key, &[u64::from(v4(a)) | u64::from(v4(b)) << 32, tail(key, 13)])
            }
            Af::Inet6 => self.hash6(key),
        }
    }

    #[inline(never)]
    fn hash6(&self, key: &StateKey) -> u64 {
        let [a, b] = &key.addr;
        let ([a0, a1], [b0, b1]) = (v6(a), v6(b));
        sip13(self.key, &[a0, a1, b0, b1, tail(key, 37)])
    }

    #[inline]
    fn at(&self, hash: u64) -> usize {
        let low = hash & u64::from(u32::MAX);
        let count = u64::try_from(self.buckets.len()).unwrap_or(0);
        usize::try_from(low.wrapping_mul(count) >> 32).unwrap_or(0)
    }

    /// Nodes that may hold a key of this hash: those of its bucket, then those of the chain behind it.
    #[inline]
    pub fn nodes(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let bucket = self.buckets.get(self.at(hash)).unwrap_or(&EMPTY);
        // A bit a place.
        let (mut found, mut chained, mut left) = (bucket.places_of(tag(hash)), bucket.more, self.next.len());
        core::iter::from_fn(move || {
            if found != 0 {
                let place = usize::try_from(found.trailing_zeros()).unwrap_or(PLACES);
                found &= found.wrapping_sub(1);
                return bucket.nodes.get(place).copied();
            }
            if chained == NONE {
                return None;
            }
            left = left.checked_sub(1)?;
            let here = chained;
            chained = self.after(here);
            Some(here)
        })
    }

    /// Reads a word of the bucket of a hash, so that it is near when it is wanted.
    #[inline]
    #[must_use]
    pub fn touch(&self, hash: u64) -> u32 {
        self.buckets.get(self.at(hash)).map_or(0, |b| b.more)
    }

    /// The length of the longest chain. Looks at everything; for tests.
    #[must_use]
    pub fn longest_chain(&self) -> u32 {
        let length = |first: u32| {
            let mut at = first;
            (0..u32::MAX).zip(&self.next).find_map(|(n, _)| {
                let end = (at == NONE).then_some(n);
                at = self.after(at);
                end
            })
        };
        self.buckets.iter().map(|b| length(b.more).unwrap_or(u32::MAX)).max().unwrap_or(0)
    }

    fn after(&self, node: u32) -> u32 {
        usize::try_from(node).ok().and_then(|n| self.next.get(n)).copied().unwrap_or(NONE)
    }

    fn set_after(&mut self, node: u32, to: u32) {
        if let Some(n) = usize::try_from(node).ok().and_then(|n| self.next.get_mut(n)) {
            *n = to;
        }
    }

    /// Puts a node in.
    pub fn insert(&mut self, node: u32, hash: u64) {
        let at = self.at(hash);
        let Some(b) = self.buckets.get_mut(at) else { return };
        if let Some(place) = b.tags.iter().position(|t| *t == 0) {
            put(b, place, tag(hash), node);
            return;
        }
        let head = core::mem::replace(&mut b.more, node);
        self.set_after(node, head);
    }

    /// Takes a node out. `hash_of` gives the hash of a node of the chain that comes forward in its place.
    pub fn remove(&mut self, node: u32, hash: u64, hash_of: impl FnOnce(&Self, u32) -> u64) {
        let at = self.at(hash);
        let Some(b) = self.buckets.get(at) else { return };
        let head = b.more;
        match b.tags.iter().zip(b.nodes).position(|(t, n)| *t != 0 && n == node) {
            Some(place) => {
                let (tag, came) = if head == NONE { (0, NONE) } else { (tag(hash_of(self, head)), head) };
                let rest = self.after(head);
                self.set_after(head, NONE);
                if let Some(b) = self.buckets.get_mut(at) {
                    put(b, place, tag, came);
                    b.more = rest;
                }
            }
            None => self.unchain(at, node),
        }
    }

    /// Takes a node out of a chain.
    fn unchain(&mut self, bucket: usize, node: u32) {
        let rest = self.after(node);
        let Some(b) = self.buckets.get_mut(bucket) else { return };
        let mut at = b.more;
        if at == node {
            b.more = rest;
        }
        for _ in 0..self.next.len() {
            let after = self.after(at);
            if at == NONE || at == node {
                break;
            }
            if after == node {
                self.set_after(at, rest);
                break;
            }
            at = after;
        }
        self.set_after(node, NONE);
    }
}

fn put(b: &mut Bucket, place: usize, tag: u16, node: u32) {
    if let (Some(t), Some(n)) = (b.tags.get_mut(place), b.nodes.get_mut(place)) {
        (*t, *n) = (tag, node);
    }
}

/// Ports, protocol and the length of the message, as the last word of its hash.
#[inline]
fn tail(key: &StateKey, len: u64) -> u64 {
    let [p0, p1] = key.port;
    u64::from(p0) << 16 | u64::from(p1) | u64::from(key.proto) << 32 | len << 56
}

#[inline]
const fn v4(a: &Addr) -> u32 {
    u32::from_le_bytes(a.v4())
}

#[inline]
const fn v6(a: &Addr) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = a.0;
    [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p])]
}

/// SipHash-1-3 of a message given as its words: the last holds what is left of it and its length in the top byte.
#[inline]
fn sip13<const N: usize>([k0, k1]: [u64; 2], words: &[u64; N]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    for w in words {
        v[3] ^= w;
        v = round(v);
        v[0] ^= w;
    }
    v[2] ^= 0xff;
    v = round(round(round(v)));
    let [a, b, c, d] = v;
    a ^ b ^ c ^ d
}

#[inline]
const fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    c = c.wrapping_add(d);
    b = b.rotate_left(13) ^ a;
    d = d.rotate_left(16) ^ c;
    a = a.rotate_left(32);
    c = c.wrapping_add(b);
    a = a.wrapping_add(d);
    b = b.rotate_left(17) ^ c;
    d = d.rotate_left(21) ^ a;
    c = c.rotate_left(32);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::Hasher;
    use siphasher::sip::SipHasher13;

    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
    }

    #[test]
    fn the_hash_is_siphash() {
        let index = Index::new(4, [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]).unwrap();
        let addr = |n: u8| Addr(core::array::from_fn(|i| n.wrapping_mul(7).wrapping_add(u8::try_from(i).unwrap())));
        for af in [Af::Inet, Af::Inet6] {
            let len = if af == Af::Inet { 4 } else { 16 };
            let key = StateKey { addr: [addr(1), addr(2)], port: [0x1234, 0xabcd], af, proto: 17 };
            let mut message = Vec::new();
            for a in &key.addr {
                message.extend_from_slice(&a.0[..len]);
            }
            message.extend_from_slice(&0x1234_abcd_u32.to_le_bytes());
            message.push(17);
            let mut h = SipHasher13::new_with_keys(index.key[0], index.key[1]);
            h.write(&message);
            assert_eq!(index.hash(&key), h.finish(), "{af:?}");
        }
    }

    #[test]
    fn a_bucket_that_runs_over_loses_nothing() {
        // One bucket for all: limit 3 makes one.
        let mut index = Index::new(3, [1, 2]).unwrap();
        index.next = vec![NONE; 64];
        let hash = |n: u32| u64::from(n % 3) << 48;
        let mut there: Vec<u32> = Vec::new();
        let mut x = 12345_u32;
        for _ in 0..20_000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = (x >> 16) % 64;
            match there.iter().position(|t| *t == n) {
                Some(at) => {
                    there.swap_remove(at);
                    index.remove(n, hash(n), |_, n| hash(n));
                }
                None => {
                    there.push(n);
                    index.insert(n, hash(n));
                }
            }
            for n in 0..64 {
                let found = index.nodes(hash(n)).filter(|m| *m == n).count();
                assert_eq!(found, usize::from(there.contains(&n)));
            }
            let inside = index.buckets[0].tags.iter().filter(|t| **t != 0).count();
            assert_eq!(inside, there.len().min(PLACES));
        }
    }
}
