//! The moving part of a state, and the lock it moves under.
//!
//! Most of a [`State`] changes only where the whole engine is held alone. What every packet changes (both sides, what the
//! state waits for and since when, its counters) is also changed by packets that share the engine: [`State::hold`] takes
//! the state's own lock, a bit of its record, and [`Held`] changes it. Who has the engine alone has a `&mut State` and needs
//! no lock: [`State::edit`].
//!
//! **Invariant:** the lock is tried, never waited for: who does not get it takes the engine alone instead. So nothing is
//! held while waiting, and one processor holds one state at a time.
//! **Invariant:** a lock is given back before the engine is, whose lock lies above ([`Held`] borrows from it).

use core::hint::select_unpredictable;

use crate::packet::proto;
use crate::rule::{Direction, Timeout};
use crate::state::record::{PeerState, State, StatePeer, StateTimeout};
use crate::sync::{HELD, Long};

/// How often a lock is tried: its holder is done within some tens of instructions.
const TRIES: u32 = if cfg!(feature = "loom") { 1 } else { 128 };

/// What packets change of a state, apart from its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// The side that sent the first packet.
    pub src: StatePeer,
    /// The other side.
    pub dst: StatePeer,
    /// Second of the last packet that counts for expiry.
    pub expire: u32,
    /// What it waits for, as the record keeps it.
    phase: u8,
}

impl Live {
    /// Both sides in the order (sender, receiver) for a packet of `forward` direction or not.
    #[must_use]
    #[inline]
    pub const fn peers_mut(&mut self, forward: bool) -> (&mut StatePeer, &mut StatePeer) {
        if forward { (&mut self.src, &mut self.dst) } else { (&mut self.dst, &mut self.src) }
    }

    /// Sets what it waits for.
    #[inline]
    pub const fn set_timeout(&mut self, t: StateTimeout) {
        self.phase = t.phase();
    }

    /// Lets it live on: what it waits for, from `now` on.
    #[inline]
    pub const fn renew(&mut self, waits: Timeout, now: u32) {
        self.set_timeout(StateTimeout::Named(waits));
        self.expire = now;
    }

    /// Sets the progress of both sides.
    pub const fn set_both(&mut self, s: PeerState) {
        self.src.state = s;
        self.dst.state = s;
    }

    /// Whether a state of this protocol counts as half open.
    #[must_use]
    #[inline]
    pub fn half_open(&self, protocol: u8) -> bool {
        protocol == proto::TCP && self.src.state > PeerState::CLOSED && self.src.state < PeerState::ESTABLISHED
    }
}

/// One side, as two words.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(super) struct Side([Long; 2]);

impl Side {
    #[inline]
    pub(super) fn get(&self) -> StatePeer {
        let [low, high] = &self.0;
        let [a, b, c, d, e, f, g, h] = low.get().to_le_bytes();
        let [i, j, k, l, m, n, state, wscale] = high.get().to_le_bytes();
        StatePeer {
            seqlo: u32::from_le_bytes([a, b, c, d]),
            seqhi: u32::from_le_bytes([e, f, g, h]),
            seqdiff: u32::from_le_bytes([i, j, k, l]),
            max_win: u16::from_le_bytes([m, n]),
            state: PeerState(state),
            wscale,
        }
    }

    #[inline]
    pub(super) fn set(&self, p: &StatePeer) {
        let [low, high] = &self.0;
        low.set(u64::from(p.seqlo) | u64::from(p.seqhi) << 32);
        let (state, wscale) = (u64::from(p.state.0) << 48, u64::from(p.wscale) << 56);
        high.set(u64::from(p.seqdiff) | u64::from(p.max_win) << 32 | state | wscale);
    }
}

/// A state whose lock is held.
#[derive(Debug)]
pub struct Held<'s> {
    state: &'s State,
    /// What is written back with the lock.
    phase: u8,
}

impl State {
    /// Takes the state's lock, for who shares the engine; `None` when another keeps it.
    #[must_use]
    #[inline]
    pub fn hold(&self) -> Option<Held<'_>> {
        for _ in 0..TRIES {
            if let Some(phase) = self.phase.hold() {
                return Some(Held { state: self, phase });
            }
            core::hint::spin_loop();
        }
        None
    }

    /// What [`State::hold`] gives, without the lock: for who has the engine alone.
    #[must_use]
    #[inline]
    pub(crate) fn own(&self) -> Held<'_> {
        Held { state: self, phase: self.phase.get() }
    }

    /// Its moving part. Of one moment only where the state or the engine is held.
    #[must_use]
    #[inline]
    pub fn live(&self) -> Live {
        Live { src: self.src(), dst: self.dst(), expire: self.expire(), phase: self.phase.get() & !HELD }
    }

    /// Changes its moving part.
    #[inline]
    pub fn edit<T>(&mut self, f: impl FnOnce(&mut Live) -> T) -> T {
        let mut live = self.live();
        let out = f(&mut live);
        self.put(&live);
        self.phase.set(live.phase);
        out
    }

    #[inline]
    fn put(&self, live: &Live) {
        self.src.set(&live.src);
        self.dst.set(&live.dst);
        self.expire.set(live.expire);
    }

    /// Counts a packet of a direction.
    #[inline]
    pub fn count(&mut self, dir: Direction, len: u32) {
        self.add(self.direction() == dir, len);
    }

    #[inline]
    fn add(&self, forward: bool, len: u32) {
        let ([p0, p1], [b0, b1]) = (&self.packets, &self.bytes);
        let (p, b) = if forward { (p0, b0) } else { (p1, b1) };
        p.set(p.get().wrapping_add(1));
        b.set(b.get().wrapping_add(u64::from(len)));
    }

    /// Sender and receiver of packets of `forward` direction or not. Which it is cannot be foretold: nothing branches.
    #[inline]
    fn sides(&self, forward: bool) -> (&Side, &Side) {
        let (src, dst) = (&self.src, &self.dst);
        (select_unpredictable(forward, src, dst), select_unpredictable(forward, dst, src))
    }
}

impl Held<'_> {
    /// Sender and receiver of a packet of `forward` direction or not.
    #[must_use]
    #[inline]
    pub fn peers(&self, forward: bool) -> (StatePeer, StatePeer) {
        let (src, dst) = self.state.sides(forward);
        (src.get(), dst.get())
    }

    /// Writes them back, as they are `now`, and counts the packet of so many bytes that changed them.
    #[inline]
    pub fn put(&mut self, forward: bool, (src, dst): (StatePeer, StatePeer), waits: Timeout, now: u32, len: u32) {
        let sides = self.state.sides(forward);
        sides.0.set(&src);
        sides.1.set(&dst);
        self.state.expire.set(now);
        self.phase = StateTimeout::Named(waits).phase();
        self.state.add(forward, len);
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.state.phase.let_go(self.phase);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::rule::{Addr, Af};
    use crate::state::key::StateKey;

    fn state() -> State {
        let k = StateKey { addr: [Addr::default(); 2], port: [1, 2], af: Af::Inet, proto: proto::TCP };
        State::new(&k, &k, Direction::Out)
    }

    #[test]
    fn what_is_put_comes_back() {
        let mut s = state();
        let peer = StatePeer {
            seqlo: 0x0102_0304,
            seqhi: 0xf1f2_f3f4,
            seqdiff: 0x8182_8384,
            max_win: 0xabcd,
            state: PeerState::CLOSING,
            wscale: 0x8e,
        };
        let phase = StateTimeout::Named(Timeout::TcpClosing).phase();
        let live = Live { src: peer, dst: StatePeer { seqlo: 9, ..peer }, expire: 77, phase };
        s.edit(|l| *l = live);
        assert_eq!((s.live(), s.clone().live()), (live, live));
    }

    #[test]
    fn a_held_state_is_not_held_again_and_shows_what_it_waits_for() {
        let s = state();
        let mut held = s.hold().unwrap();
        assert!(s.hold().is_none());
        let (mut src, dst) = held.peers(false);
        assert_eq!(((src, dst), s.is_purge(), s.is_free()), ((s.dst(), s.src()), false, false));
        src.seqlo = 7;
        held.put(false, (src, dst), Timeout::UdpMultiple, 9, 40);
        drop(held);
        assert_eq!((s.dst(), s.src(), s.expire()), (src, dst, 9));
        assert_eq!((s.packets(), s.bytes()), ([0, 1], [0, 40]));
        assert_eq!(s.timeout(), StateTimeout::Named(Timeout::UdpMultiple));
        assert!(s.hold().is_some());
    }
}
