//! `overload … flush`: the states of a source end, however many states there are, in bounded work a packet.
//!
//! Source: `pf.c pf_src_connlimit`, which walks all states in the packet that was one connection too many.
//!
//! With few states that is done here, too. With many the source is noted; from then on its states are found no more
//! ([`Engine::ended_by_flush`] closes one when a packet meets it), while a walk through all states closes the others: a
//! part of them with each flush, a part with each tick. What a packet sees is as if they had all been closed at once; only
//! a listing may still show one that nobody has asked for.
//!
//! **Invariant:** at most [`MOST`] sources are noted: a walk goes twice round in as many flushes, and a source is
//! forgotten when it has gone round once since the source was noted.

use alloc::vec::Vec;
use core::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::engine::Engine;
use crate::rule::{Addr, Af, Direction};
use crate::state::State;
use crate::state::pool::{OutOfMemory, filled, room};

/// Sources noted at most.
const MOST: usize = 1024;
/// States walked in one packet at least; so many are closed at once.
const LEAST: u32 = 256;
/// Nothing follows.
const END: u16 = u16::MAX;

/// Whose states end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flush {
    /// Family of the source.
    pub af: Af,
    /// The source.
    pub addr: Addr,
    /// Direction its states were made in.
    pub dir: Direction,
    /// Only states of this rule.
    pub rule: Option<u32>,
    /// Only states made before: their numbers are lower.
    pub below: u64,
}

impl Flush {
    /// Whether it ends a state, whatever its number.
    pub(super) fn ends(&self, s: &State) -> bool {
        source(s, self.dir) == (self.af, self.addr) && self.rule.is_none_or(|r| r == s.rule)
    }
}

/// The source of a state for a direction.
fn source(s: &State, dir: Direction) -> (Af, Addr) {
    let wire = s.wire();
    let [zero, one] = wire.addr;
    match dir {
        Direction::In => (wire.af, zero),
        Direction::Out => (wire.af, one),
    }
}

#[derive(Clone, Copy, Debug)]
struct Noted {
    flush: Flush,
    /// The round the walk was in.
    round: u32,
    next: u16,
}

/// Sources whose states end.
#[derive(Debug)]
pub(super) struct Flushes {
    noted: Vec<Noted>,
    /// First of those whose address hashes here.
    heads: Vec<u16>,
    key: (u64, u64),
    round: u32,
}

impl Flushes {
    pub(super) fn new(key: (u64, u64)) -> Result<Self, OutOfMemory> {
        let count = u32::try_from(MOST).unwrap_or(0);
        Ok(Self {
            noted: room("sources to flush", count)?,
            heads: filled("sources to flush", count, END)?,
            key,
            round: 0,
        })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.noted.is_empty()
    }

    fn at(&self, addr: &Addr) -> usize {
        let mut h = SipHasher13::new_with_keys(self.key.0, self.key.1);
        h.write(&addr.0);
        usize::try_from(h.finish() & u64::from(u32::MAX)).unwrap_or(0) & self.heads.len().wrapping_sub(1)
    }

    /// Notes a source. `false`: there is no room.
    fn note(&mut self, flush: Flush) -> bool {
        if self.noted.len() >= MOST || self.noted.len() == self.noted.capacity() {
            return false;
        }
        let (at, id) = (self.at(&flush.addr), u16::try_from(self.noted.len()).unwrap_or(END));
        let Some(head) = self.heads.get_mut(at) else { return false };
        let noted = Noted { flush, round: self.round, next: core::mem::replace(head, id) };
        self.noted.push(noted);
        true
    }

    /// Whether a state of this number is to end.
    fn ends(&self, s: &State, number: u64) -> bool {
        [Direction::In, Direction::Out].into_iter().any(|dir| {
            let (_, addr) = source(s, dir);
            let mut at = self.heads.get(self.at(&addr)).copied().unwrap_or(END);
            for _ in 0..self.noted.len() {
                let Some(n) = self.noted.get(usize::from(at)) else { return false };
                if n.flush.dir == dir && number < n.flush.below && n.flush.ends(s) {
                    return true;
                }
                at = n.next;
            }
            false
        })
    }

    /// A round of the walk is complete: sources that were noted before it began are forgotten.
    fn turn(&mut self) {
        let round = self.round;
        self.round = round.wrapping_add(1);
        self.noted.retain(|n| n.round == round);
        self.heads.fill(END);
        for id in 0..self.noted.len() {
            let Some(addr) = self.noted.get(id).map(|n| n.flush.addr) else { break };
            let (at, id16) = (self.at(&addr), u16::try_from(id).unwrap_or(END));
            if let (Some(head), Some(n)) = (self.heads.get_mut(at), self.noted.get_mut(id)) {
                n.next = core::mem::replace(head, id16);
            }
        }
    }
}

impl Engine {
    /// Ends the states of a source.
    pub(super) fn flush(&mut self, flush: Flush) {
        let all = self.table.len();
        if all <= LEAST {
            self.close_all(&flush);
            return;
        }
        let _there_is_room = self.flushes.note(flush);
        let share = all.saturating_mul(2) / u32::try_from(MOST).unwrap_or(1);
        self.walk_flushes(share.max(LEAST));
    }

    /// Closes the states a flush ends, now: there are few.
    fn close_all(&mut self, flush: &Flush) {
        let mut at = self.table.first();
        for _ in 0..LEAST {
            let Some(s) = self.table.get(at) else { return };
            if flush.ends(s) {
                self.close(at);
            }
            at = self.table.next(at);
        }
    }

    /// Looks at so many states and closes those that noted flushes end.
    pub(super) fn walk_flushes(&mut self, limit: u32) {
        if self.flushes.is_empty() {
            return;
        }
        for _ in 0..limit {
            let (slot, last) = self.table.walk();
            self.ended_by_flush(slot);
            if last {
                self.flushes.turn();
                if self.flushes.is_empty() {
                    return;
                }
            }
        }
    }

    /// Closes a state that a noted flush ends. Says whether it did.
    pub(super) fn ended_by_flush(&mut self, slot: u32) -> bool {
        let Some(s) = self.table.get(slot) else { return false };
        let ends = !s.is_purge() && self.flushes.ends(s, self.table.id(slot));
        if ends {
            self.close(slot);
        }
        ends
    }
}
