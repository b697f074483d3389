//! Frames that wait: for their time (`set delay`), or for a neighbour's hardware address.
//!
//! **Invariant:** both lists are bounded, and a frame waits no longer than its delay or [`ANSWER`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use pfdriver::edge::offload::VNET;
use pfdriver::edge::{Exit, Hop};

use super::slots::Leaving;

/// Milliseconds a neighbour has to answer.
const ANSWER: u64 = 3000;
/// Frames waiting for neighbours at most.
const UNRESOLVED: usize = 256;
/// Frames waiting for their time at most (`set limit pktdelay_pkts`'s default).
const DELAYED: usize = 10_000;

/// A frame that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) exit: Exit,
    pub(crate) vnet: [u8; VNET],
    pub(crate) bytes: Vec<u8>,
}

/// A delayed frame, ordered by its time, then by its arrival.
#[derive(PartialEq, Eq)]
struct Delayed(Reverse<(u64, u64)>, Held);

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// All that waits.
#[derive(Default)]
pub(crate) struct Later {
    delayed: BinaryHeap<Delayed>,
    unresolved: VecDeque<(u64, Hop, Held)>,
    /// Next hops the kernel is to be asked for.
    wanted: Vec<Hop>,
    arrived: u64,
}

impl Later {
    /// Keeps a frame. `false` when there is no room.
    pub(crate) fn keep(&mut self, leaving: Leaving, bytes: &[u8], now: u64) -> bool {
        let held = Held { exit: leaving.exit, vnet: leaving.vnet, bytes: bytes.to_vec() };
        self.arrived += 1;
        if leaving.delay != 0 {
            if self.delayed.len() >= DELAYED {
                return false;
            }
            self.delayed.push(Delayed(Reverse((now + u64::from(leaving.delay), self.arrived)), held));
            return true;
        }
        self.unresolved(held, now)
    }

    fn unresolved(&mut self, held: Held, now: u64) -> bool {
        let Exit::Resolve(_, hop) = held.exit else { return false };
        if self.unresolved.len() >= UNRESOLVED {
            return false;
        }
        if !self.unresolved.iter().any(|(_, h, _)| *h == hop) {
            self.wanted.push(hop);
        }
        self.unresolved.push_back((now + ANSWER, hop, held));
        true
    }

    /// Next hops to ask for, once each.
    pub(crate) fn take_wanted(&mut self) -> Vec<Hop> {
        std::mem::take(&mut self.wanted)
    }

    /// Takes out what is due, and the number of frames that waited in vain.
    pub(crate) fn due(&mut self, now: u64, known: impl Fn(&Hop) -> Option<[u8; 6]>) -> (Vec<Held>, u64) {
        let mut due = Vec::new();
        while self.delayed.peek().is_some_and(|d| d.0.0.0 <= now) {
            let Some(Delayed(_, held)) = self.delayed.pop() else { break };
            if matches!(held.exit, Exit::Resolve(..)) {
                self.unresolved(held, now);
            } else {
                due.push(held);
            }
        }
        let mut in_vain = 0;
        self.unresolved.retain_mut(|(until, hop, held)| {
            if let Some(mac) = known(hop) {
                let mut held = held.clone();
                if let Some(to) = held.bytes.first_chunk_mut() {
                    *to = mac;
                }
                due.push(held);
                return false;
            }
            in_vain += u64::from(*until <= now);
            *until > now
        });
        (due, in_vain)
    }

    /// Milliseconds until something is due, when anything waits.
    pub(crate) fn next(&self, now: u64) -> Option<u64> {
        let delayed = self.delayed.peek().map(|d| d.0.0.0.saturating_sub(now));
        let unresolved = self.unresolved.front().map(|_| 50);
        [delayed, unresolved].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use pfdriver::edge::port::PortId;
    use pfvm::rule::{Addr, Af};

    use super::super::slots::Place;
    use super::*;

    const HOP: Hop = Hop { iface: 3, af: Af::Inet, addr: Addr([7; 16]) };

    fn leaving(exit: Exit, delay: u16) -> Leaving {
        Leaving { exit, vnet: [0; VNET], place: Place::Extra(0, 0), delay }
    }

    #[test]
    fn delayed_frames_leave_in_their_order() {
        let mut l = Later::default();
        let wire = Exit::Wire(PortId(0));
        for (n, delay) in [(1, 30), (2, 10), (3, 10)] {
            assert!(l.keep(leaving(wire, delay), &[n], 1000));
        }
        assert_eq!(l.next(1000), Some(10));
        let (due, _) = l.due(1010, |_| None);
        assert_eq!(due.iter().map(|h| h.bytes[0]).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(l.due(1029, |_| None).0.len(), 0);
        assert_eq!(l.due(1030, |_| None).0.len(), 1);
        assert_eq!(l.next(1030), None);
    }

    #[test]
    fn frames_leave_to_a_neighbour_that_answers_and_wait_no_longer() {
        let mut l = Later::default();
        let exit = Exit::Resolve(PortId(0), HOP);
        assert!(l.keep(leaving(exit, 0), &[0; 20], 0) && l.keep(leaving(exit, 5), &[0; 20], 0));
        assert_eq!(l.take_wanted(), [HOP]);
        let (due, in_vain) = l.due(10, |_| None);
        assert_eq!((due.len(), in_vain), (0, 0));
        assert!(l.take_wanted().is_empty());
        let (due, _) = l.due(20, |hop| (*hop == HOP).then_some([9; 6]));
        assert_eq!(due.len(), 2);
        assert_eq!(due[0].bytes[..7], [9, 9, 9, 9, 9, 9, 0]);
        assert!(l.keep(leaving(exit, 0), &[0; 20], 0));
        assert_eq!(l.due(2999, |_| None), (vec![], 0));
        assert_eq!(l.due(3000, |_| None), (vec![], 1));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut l = Later::default();
        let exit = Exit::Resolve(PortId(0), HOP);
        assert_eq!((0..300).filter(|_| l.keep(leaving(exit, 0), &[0; 6], 0)).count(), UNRESOLVED);
        let wire = Exit::Wire(PortId(0));
        assert_eq!((0..10_001).filter(|_| l.keep(leaving(wire, 1), &[], 0)).count(), DELAYED);
    }
}
