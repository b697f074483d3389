//! The queue of one datagram: fragments in order of offset, what overlaps what, when it is whole.
//!
//! Overlaps are settled as in pf (F209, F210). IPv4: a fragment that begins before the new one keeps its bytes, one
//! that begins after it loses those the new one has. IPv6: any overlap discards the whole datagram (RFC 5722).
//! A queue is entered at one of sixteen points, each of which holds at most 64 fragments (F212).
//!
//! Source: `pf_norm.c` (`pf_fillup_fragment`, `pf_frent_*`).

use super::store::Store;
use crate::packet::DropReason;
use crate::rule::Af;
use crate::state::pool::Pool;
use crate::state::record::NONE;

/// Entry points of a queue.
const POINTS: usize = 16;
/// Bytes of offset between two entry points.
const POINT_SPAN: u32 = 0x10000 / 16;
/// Fragments at one entry point.
const POINT_LIMIT: u8 = 64;
/// Fragments a queue can hold at most; no walk is longer.
pub(super) const QUEUE_LIMIT: usize = POINTS * 64 + 1;

/// A waiting fragment (`struct pf_frent`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Frent {
    pub(super) prev: u32,
    pub(super) next: u32,
    /// Its bytes in the store: headers (of the first fragment only), then data.
    pub(super) chain: u32,
    /// Bytes of stored headers.
    pub(super) header: u32,
    /// Bytes of stored data that no longer count.
    pub(super) skip: u32,
    /// Offset of its data in the datagram.
    pub(super) off: u32,
    /// Bytes of data that count.
    pub(super) len: u32,
    /// More fragments follow.
    pub(super) more: bool,
}

impl Frent {
    /// A fragment not yet in a queue.
    pub(super) const fn new(off: u32, len: u32, more: bool) -> Self {
        Self { prev: NONE, next: NONE, chain: NONE, header: 0, skip: 0, off, len, more }
    }

    /// Offset after its data.
    pub(super) const fn end(&self) -> u32 {
        self.off.saturating_add(self.len)
    }

    fn point(&self) -> usize {
        usize::try_from(self.off / POINT_SPAN).unwrap_or(POINTS)
    }

    /// Loses its first `n` bytes.
    const fn cut_head(&mut self, n: u32) {
        self.skip = self.skip.saturating_add(n);
        self.off = self.off.saturating_add(n);
        self.len = self.len.saturating_sub(n);
    }
}

/// Why a fragment was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It alone is dropped: with a reason that is counted, or none.
    Alone(Option<DropReason>),
    /// It and its datagram are dropped, reason `fragment`.
    Datagram,
}

/// Refuses a fragment that cannot be.
pub(super) const BAD: Refused = Refused::Alone(Some(DropReason::Fragment));

/// The queue of one datagram (`struct pf_fragment`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    pub(super) first: u32,
    pub(super) last: u32,
    points: [u32; POINTS],
    counts: [u8; POINTS],
    /// Longest fragment seen, bytes of data.
    pub(super) longest: u32,
    holes: u16,
}

impl Queue {
    /// A queue without fragments.
    pub(super) const fn new() -> Self {
        Self { first: NONE, last: NONE, points: [NONE; POINTS], counts: [0; POINTS], longest: 0, holes: 1 }
    }

    /// Whether all data is there.
    pub(super) const fn is_whole(&self) -> bool {
        self.holes == 0
    }

    /// Holes a queued fragment opens: one, less one for each side where it touches.
    fn holes_of(pool: &Pool<Frent>, e: &Frent) -> u16 {
        let before = pool.get(e.prev).map_or(0, Frent::end);
        let at_start = e.off == before;
        let at_end = pool.get(e.next).map_or(!e.more, |n| n.off == e.end());
        1_u16.wrapping_sub(u16::from(at_start)).wrapping_sub(u16::from(at_end))
    }

    /// Links a fragment in after `prev`. `false`, with nothing changed, when its entry point is full.
    fn link(&mut self, pool: &mut Pool<Frent>, id: u32, prev: u32) -> bool {
        let Some(e) = pool.get(id).copied() else { return false };
        let point = e.point();
        let Some(count) = self.counts.get_mut(point).filter(|c| **c < POINT_LIMIT) else { return false };
        *count = count.saturating_add(1);
        let next = pool.get(prev).map_or(self.first, |p| p.next);
        match pool.get_mut(prev) {
            Some(p) => p.next = id,
            None => self.first = id,
        }
        match pool.get_mut(next) {
            Some(n) => n.prev = id,
            None => self.last = id,
        }
        if let Some(e) = pool.get_mut(id) {
            (e.prev, e.next) = (prev, next);
        }
        if let Some(at) = self.points.get_mut(point)
            && pool.get(*at).is_none_or(|first| e.off < first.off)
        {
            *at = id;
        }
        let opened = pool.get(id).map_or(0, |e| Self::holes_of(pool, e));
        self.holes = self.holes.wrapping_add(opened);
        true
    }

    /// Takes a fragment out.
    fn unlink(&mut self, pool: &mut Pool<Frent>, id: u32) {
        let Some(e) = pool.get(id).copied() else { return };
        self.holes = self.holes.wrapping_sub(Self::holes_of(pool, &e));
        let point = e.point();
        if let Some(at) = self.points.get_mut(point).filter(|at| **at == id) {
            *at = pool.get(e.next).filter(|n| n.point() == point).map_or(NONE, |_| e.next);
        }
        if let Some(count) = self.counts.get_mut(point) {
            *count = count.saturating_sub(1);
        }
        match pool.get_mut(e.prev) {
            Some(p) => p.next = e.next,
            None => self.first = e.next,
        }
        match pool.get_mut(e.next) {
            Some(n) => n.prev = e.prev,
            None => self.last = e.prev,
        }
    }

    /// The last fragment that does not begin after `off`.
    fn before(&self, pool: &Pool<Frent>, e: &Frent) -> u32 {
        let begins_after = |id: u32| pool.get(id).is_none_or(|f| f.off > e.off);
        if !begins_after(self.last) {
            return self.last;
        }
        let entry = self.points.get(e.point()..).and_then(|p| p.iter().find(|id| **id != NONE));
        let Some(mut at) = entry.copied() else { return NONE };
        if begins_after(at) {
            return pool.get(at).map_or(NONE, |f| f.prev);
        }
        for _ in 0..POINT_LIMIT {
            let next = pool.get(at).map_or(NONE, |f| f.next);
            if begins_after(next) {
                break;
            }
            at = next;
        }
        at
    }

    /// Puts the first fragment in.
    pub(super) fn begin(&mut self, pool: &mut Pool<Frent>, id: u32) {
        self.longest = pool.get(id).map_or(0, |e| e.len);
        self.link(pool, id, NONE);
    }

    /// Puts a further fragment in, settling what overlaps. Whether one that was cut had to be put in anew.
    pub(super) fn add(&mut self, pool: &mut Pool<Frent>, store: &mut Store, af: Af, id: u32) -> Result<bool, Refused> {
        let (Some(mut e), Some(last)) = (pool.get(id).copied(), pool.get(self.last).copied()) else { return Err(BAD) };
        let misfit = match af {
            Af::Inet => BAD,
            Af::Inet6 => Refused::Datagram,
        };
        self.longest = self.longest.max(e.len);
        if Self::contradicts(&e, &last) {
            return Err(misfit);
        }
        let prev = self.before(pool, &e);
        let covered = pool.get(prev).map_or(0, |p| p.end().saturating_sub(e.off));
        if covered > 0 {
            if af == Af::Inet6 {
                return Err(misfit);
            }
            if covered >= e.len {
                return Err(Refused::Alone(None));
            }
            e.cut_head(covered);
            if let Some(queued) = pool.get_mut(id) {
                *queued = e;
            }
        }
        let cut = self.cut_later(pool, store, af, &e, prev)?;
        if self.link(pool, id, prev) { Ok(cut) } else { Err(Refused::Datagram) }
    }

    /// Whether a fragment denies what the last one says of the datagram's end.
    fn contradicts(e: &Frent, last: &Frent) -> bool {
        let (end, total) = (e.end(), last.end());
        if end < total && !e.more {
            return true;
        }
        if last.more { end == total && !e.more } else { end > total || (end == total && e.more) }
    }

    /// Takes from the fragments after `prev` what the new one has.
    fn cut_later(
        &mut self,
        pool: &mut Pool<Frent>,
        store: &mut Store,
        af: Af,
        new: &Frent,
        prev: u32,
    ) -> Result<bool, Refused> {
        let mut after = pool.get(prev).map_or(self.first, |p| p.next);
        for _ in 0..QUEUE_LIMIT {
            let Some(mut old) = pool.get(after).copied().filter(|o| new.end() > o.off) else { break };
            if af == Af::Inet6 {
                return Err(Refused::Datagram);
            }
            let cut = new.end().saturating_sub(old.off);
            self.unlink(pool, after);
            if cut < old.len {
                old.cut_head(cut);
                if let Some(o) = pool.get_mut(after) {
                    *o = old;
                }
                // It may have come to another entry point, and that may be full.
                if !self.link(pool, after, prev) {
                    store.give(old.chain);
                    pool.give(after);
                    return Err(Refused::Datagram);
                }
                return Ok(true);
            }
            store.give(old.chain);
            pool.give(after);
            after = old.next;
        }
        Ok(false)
    }
}
