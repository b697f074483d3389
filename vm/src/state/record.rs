//! The state record: 128 bytes for what every state needs, an extension from its own pool for what is rare.
//!
//! IPv4 states keep both keys in the record (the room of IPv6 addresses); an IPv6 state that is translated, and every
//! `af-to` state, keeps its stack key in the extension. What rules ask for beyond the ordinary (tag, routing, source
//! nodes, scrubbing, priorities, match rules) is in the extension too.
//!
//! **Invariant:** [`State`] is 128 bytes on two cache lines of its own and [`StateExt`] at most 120; tests hold it.

use serde::{Deserialize, Serialize};

use crate::rule::{Addr, Af, Direction, RouteKind, Timeout};
use crate::state::key::{KeySide, StateKey};
use crate::state::live::Side;
use crate::sync::{Byte, HELD, Long, Word};

/// "None" of the small index types below.
pub const NONE: u32 = u32::MAX;

/// The interface index of a floating state (`pfi_all`).
pub const FLOATING: u16 = u16::MAX;

/// Progress of one side of a TCP conversation, in pf's numbering (`TCPS_*`, `PF_TCPS_PROXY_*`); other protocols use
/// the first three as "nothing seen", "single" and "multiple".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerState(pub u8);

impl PeerState {
    /// `TCPS_CLOSED`; nothing seen.
    pub const CLOSED: Self = Self(0);
    /// `TCPS_LISTEN`; one packet or more, no answer (`PFUDPS_SINGLE`, `PFOTHERS_SINGLE`).
    pub const SINGLE: Self = Self(1);
    /// `TCPS_SYN_SENT`.
    pub const SYN_SENT: Self = Self(2);
    /// Packets that were answered (`PFUDPS_MULTIPLE`, `PFOTHERS_MULTIPLE`).
    pub const MULTIPLE: Self = Self(2);
    /// `TCPS_ESTABLISHED`.
    pub const ESTABLISHED: Self = Self(4);
    /// `TCPS_CLOSING`: sent a FIN.
    pub const CLOSING: Self = Self(7);
    /// `TCPS_FIN_WAIT_2`: its FIN was acknowledged.
    pub const FIN_WAIT_2: Self = Self(9);
    /// `TCPS_TIME_WAIT`: reset.
    pub const TIME_WAIT: Self = Self(10);
    /// `PF_TCPS_PROXY_SRC`: the filter answers for the server.
    pub const PROXY_SRC: Self = Self(11);
    /// `PF_TCPS_PROXY_DST`: the filter connects for the client.
    pub const PROXY_DST: Self = Self(12);

    /// Its name in pf's words for a protocol; empty for a number that is none.
    #[must_use]
    pub fn name(self, proto: u8) -> &'static str {
        let names: &[&str] = if proto == TCP { &TCP_NAMES } else { &OTHER_NAMES };
        names.get(usize::from(self.0)).copied().unwrap_or("")
    }
}

const TCP: u8 = 6;
const TCP_NAMES: [&str; 13] = [
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RCVD",
    "ESTABLISHED",
    "CLOSE_WAIT",
    "FIN_WAIT_1",
    "CLOSING",
    "LAST_ACK",
    "FIN_WAIT_2",
    "TIME_WAIT",
    "PROXY_SRC",
    "PROXY_DST",
];
const OTHER_NAMES: [&str; 3] = ["NO_TRAFFIC", "SINGLE", "MULTIPLE"];

/// One side of a conversation (`struct pf_state_peer`). What it has *sent* is tracked here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C)]
pub struct StatePeer {
    /// Highest sequence number seen, plus one; the initial one while proxied.
    pub seqlo: u32,
    /// Highest sequence number the other side allows; the filter's own initial one while proxied.
    pub seqhi: u32,
    /// Added to its sequence numbers when the packet passes (modulation), 0 for none.
    pub seqdiff: u32,
    /// Largest window it offered, unscaled.
    pub max_win: u16,
    /// Progress.
    pub state: PeerState,
    /// Window scale and [`WSCALE_FLAG`].
    pub wscale: u8,
}

/// `PF_WSCALE_FLAG`: the option was seen.
pub const WSCALE_FLAG: u8 = 0x80;
/// `PF_WSCALE_MASK`: the shift.
pub const WSCALE_MASK: u8 = 0x0f;

impl StatePeer {
    /// The window shift it announced, 0 for none.
    #[must_use]
    pub const fn shift(&self) -> u32 {
        (self.wscale & WSCALE_MASK) as u32
    }
}

/// `PFSTATE_*`, with pf's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateFlags(pub u16);

impl StateFlags {
    /// Packets with options pass.
    pub const ALLOW_OPTS: Self = Self(0x0001);
    /// No sequence checks.
    pub const SLOPPY: Self = Self(0x0002);
    /// Kept for printing.
    pub const PFLOW: Self = Self(0x0004);
    /// Kept for printing.
    pub const NO_SYNC: Self = Self(0x0008);
    /// `scrub (no-df)`.
    pub const NO_DF: Self = Self(0x0020);
    /// `set tos`.
    pub const SET_TOS: Self = Self(0x0040);
    /// `scrub (random-id)`.
    pub const RANDOM_ID: Self = Self(0x0080);
    /// `scrub (reassemble tcp)`.
    pub const SCRUB_TCP: Self = Self(0x0100);
    /// `set prio`.
    pub const SET_PRIO: Self = Self(0x0200);

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a state waits for: one of the rule's timeouts, or the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StateTimeout {
    /// A timeout of the rule or of `set timeout`.
    Named(Timeout),
    /// To be removed: no longer found, its keys still taken (`PFTM_PURGE`).
    Purge,
}

const BIT_INET6: u8 = 1;
const BIT_OUT: u8 = 2;
const BIT_TRANSLATED: u8 = 4;
const BIT_TCP_EST: u8 = 8;
const BIT_STACK_IN_EXT: u8 = 16;

/// A state. Time is in whole seconds of the host's clock, as pf counts it.
///
/// What is compared when a packet looks for its state lies on the first of its two cache lines. What packets change is in
/// words that processors may share; see [`crate::state::live`].
#[derive(Clone, Debug)]
#[repr(C, align(128))]
pub struct State {
    /// IPv6: the wire key's addresses. IPv4: wire and stack key, four bytes each.
    addrs: [[u8; 4]; 8],
    wire_port: [u16; 2],
    stack_port: [u16; 2],
    /// `PFSTATE_*`.
    pub flags: StateFlags,
    /// The interface it is bound to, or [`FLOATING`].
    pub kif: u16,
    proto: u8,
    bits: u8,
    /// What it waits for, as [`State::timeout`] tells, and its lock.
    pub(super) phase: Byte,
    /// `log (all)` and its like, bits of [`crate::rule::LogFlags`].
    pub log: u8,
    pub(super) src: Side,
    pub(super) dst: Side,
    pub(super) packets: [Long; 2],
    pub(super) bytes: [Long; 2],
    /// Second it was made.
    pub created: u32,
    pub(super) expire: Word,
    /// The pinned rule (and anchor) that made it.
    pub rule: u32,
    /// Its extension, [`NONE`] when it has none.
    pub ext: u32,
}

const PHASE_PURGE: u8 = HELD - 1;
/// Of a record that is not in use: `ext` is the next free one.
const PHASE_FREE: u8 = HELD - 2;

impl StateTimeout {
    /// As the record keeps it.
    #[inline]
    pub(super) const fn phase(self) -> u8 {
        match self {
            Self::Named(t) => t as u8,
            Self::Purge => PHASE_PURGE,
        }
    }
}

impl State {
    /// A record that is not in use.
    pub(super) fn free(next: u32) -> Self {
        Self {
            addrs: [[0; 4]; 8],
            wire_port: [0; 2],
            stack_port: [0; 2],
            flags: StateFlags(0),
            kif: 0,
            proto: 0,
            bits: 0,
            phase: Byte::new(PHASE_FREE),
            log: 0,
            src: Side::default(),
            dst: Side::default(),
            packets: Default::default(),
            bytes: Default::default(),
            created: 0,
            expire: Word::default(),
            rule: NONE,
            ext: next,
        }
    }

    /// Whether the record is not in use.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.phase.get() & !HELD == PHASE_FREE
    }

    /// The next free record after this free one.
    pub(super) fn next_free(&self) -> u32 {
        if self.is_free() { self.ext } else { NONE }
    }

    /// Reads from both lines of the record, so that they are near when they are wanted.
    #[inline]
    pub(super) fn touch(&self) -> u32 {
        u32::from(self.phase.get()) ^ self.expire.get()
    }

    /// A new state between two keys, everything else zero. The stack key goes into the record when it fits; when
    /// [`State::needs_ext_for`] says it does not, the caller stores it in an extension.
    #[must_use]
    pub fn new(wire: &StateKey, stack: &StateKey, dir: Direction) -> Self {
        let mut s = Self {
            wire_port: wire.port,
            stack_port: stack.port,
            kif: FLOATING,
            proto: wire.proto,
            phase: Byte::new(0),
            ..Self::free(NONE)
        };
        if matches!(dir, Direction::Out) {
            s.bits |= BIT_OUT;
        }
        if wire != stack {
            s.bits |= BIT_TRANSLATED;
        }
        if Self::needs_ext_for(wire, stack) {
            s.bits |= BIT_STACK_IN_EXT;
        }
        let [w0, w1] = &wire.addr;
        match wire.af {
            Af::Inet => {
                let [s0, s1] = &stack.addr;
                let stack = if matches!(stack.af, Af::Inet) { [s0.v4(), s1.v4()] } else { [[0; 4]; 2] };
                let ([a, b], [c, d]) = ([w0.v4(), w1.v4()], stack);
                s.addrs = [a, b, c, d, [0; 4], [0; 4], [0; 4], [0; 4]];
            }
            Af::Inet6 => {
                s.bits |= BIT_INET6;
                let ([a, b, c, d], [e, f, g, h]) = (split(w0), split(w1));
                s.addrs = [a, b, c, d, e, f, g, h];
            }
        }
        s
    }

    /// Whether the stack key does not fit into the record.
    #[must_use]
    pub fn needs_ext_for(wire: &StateKey, stack: &StateKey) -> bool {
        wire != stack && !(matches!(wire.af, Af::Inet) && matches!(stack.af, Af::Inet))
    }

    /// The wire key.
    #[must_use]
    #[inline]
    pub fn wire(&self) -> StateKey {
        let [a, b, c, d, e, f, g, h] = self.addrs;
        let addr = if self.bits & BIT_INET6 != 0 {
            [join(a, b, c, d), join(e, f, g, h)]
        } else {
            [Addr::of4(a), Addr::of4(b)]
        };
        StateKey { addr, port: self.wire_port, af: self.af(), proto: self.proto }
    }

    /// The stack key; `ext` is the state's extension, where it has one.
    #[must_use]
    #[inline]
    pub fn stack(&self, ext: Option<&StateExt>) -> StateKey {
        if self.bits & BIT_TRANSLATED == 0 {
            return self.wire();
        }
        if self.bits & BIT_STACK_IN_EXT != 0 {
            let (addr, af) = ext.map_or(([Addr::default(); 2], self.af()), |e| (e.stack_addr, e.stack_af));
            let proto = ext.map_or(self.proto, |e| e.stack_proto);
            return StateKey { addr, port: self.stack_port, af, proto };
        }
        let [_, _, c, d, ..] = self.addrs;
        StateKey { addr: [Addr::of4(c), Addr::of4(d)], port: self.stack_port, af: self.af(), proto: self.proto }
    }

    /// Whether a key is the one of this side; `None` when only the extension knows.
    #[inline]
    pub(super) fn is_key(&self, side: KeySide, key: &StateKey) -> Option<bool> {
        let stack = matches!(side, KeySide::Stack) && self.bits & BIT_TRANSLATED != 0;
        if stack && self.bits & BIT_STACK_IN_EXT != 0 {
            return None;
        }
        let port = if stack { self.stack_port } else { self.wire_port };
        if port != key.port || self.proto != key.proto || self.af() != key.af {
            return Some(false);
        }
        let [k0, k1] = &key.addr;
        let [a, b, c, d, e, f, g, h] = self.addrs;
        Some(match key.af {
            Af::Inet if stack => c == k0.v4() && d == k1.v4(),
            Af::Inet => a == k0.v4() && b == k1.v4(),
            Af::Inet6 => [a, b, c, d] == split(k0) && [e, f, g, h] == split(k1),
        })
    }

    /// Whether the stack key is in the extension.
    #[must_use]
    #[inline]
    pub const fn stack_elsewhere(&self) -> bool {
        self.bits & BIT_STACK_IN_EXT != 0
    }

    /// One of its keys.
    #[must_use]
    #[inline]
    pub fn key(&self, side: KeySide, ext: Option<&StateExt>) -> StateKey {
        match side {
            KeySide::Wire => self.wire(),
            KeySide::Stack => self.stack(ext),
        }
    }

    /// Family of the wire key.
    #[must_use]
    #[inline]
    pub const fn af(&self) -> Af {
        if self.bits & BIT_INET6 != 0 { Af::Inet6 } else { Af::Inet }
    }

    /// Protocol of the wire key.
    #[must_use]
    #[inline]
    pub const fn proto(&self) -> u8 {
        self.proto
    }

    /// Direction of its first packet.
    #[must_use]
    #[inline]
    pub const fn direction(&self) -> Direction {
        if self.bits & BIT_OUT != 0 { Direction::Out } else { Direction::In }
    }

    /// Whether its keys differ.
    #[must_use]
    #[inline]
    pub const fn translated(&self) -> bool {
        self.bits & BIT_TRANSLATED != 0
    }

    /// Whether it counts as a connection at its source node (`tcp_est`).
    #[must_use]
    pub const fn counted_connection(&self) -> bool {
        self.bits & BIT_TCP_EST != 0
    }

    /// Marks it as counted at its source node.
    pub const fn count_connection(&mut self) {
        self.bits |= BIT_TCP_EST;
    }

    /// Whether it is over and waits to be removed.
    #[must_use]
    #[inline]
    pub fn is_purge(&self) -> bool {
        self.phase.get() & !HELD == PHASE_PURGE
    }

    /// What it waits for.
    #[must_use]
    #[inline]
    pub fn timeout(&self) -> StateTimeout {
        match Timeout::ALL.get(usize::from(self.phase.get() & !HELD)) {
            Some(t) => StateTimeout::Named(*t),
            None => StateTimeout::Purge,
        }
    }

    /// The side that sent the first packet.
    #[must_use]
    #[inline]
    pub fn src(&self) -> StatePeer {
        self.src.get()
    }

    /// The other side.
    #[must_use]
    #[inline]
    pub fn dst(&self) -> StatePeer {
        self.dst.get()
    }

    /// Second of the last packet that counts for expiry.
    #[must_use]
    #[inline]
    pub fn expire(&self) -> u32 {
        self.expire.get()
    }

    /// Packets: with the state's direction, against it.
    #[must_use]
    pub fn packets(&self) -> [u64; 2] {
        self.packets.each_ref().map(Long::get)
    }

    /// Bytes, likewise.
    #[must_use]
    pub fn bytes(&self) -> [u64; 2] {
        self.bytes.each_ref().map(Long::get)
    }

    /// Sets packets and bytes.
    pub fn set_counters(&mut self, packets: [u64; 2], bytes: [u64; 2]) {
        (self.packets, self.bytes) = (packets.map(Long::new), bytes.map(Long::new));
    }
}

/// An address in words.
#[inline]
const fn split(a: &Addr) -> [[u8; 4]; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = a.0;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]]
}

/// The words of an address together.
#[inline]
const fn join(a: [u8; 4], b: [u8; 4], c: [u8; 4], d: [u8; 4]) -> Addr {
    let ([a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]) = (a, b, c, d);
    Addr([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

/// Number of kinds of source nodes a state may hold (`PF_SN_MAX`).
pub const SRC_NODE_KINDS: usize = 4;

/// What is rare in a state: translated IPv6 and `af-to` keys, routing, source nodes, scrubbing, what rules set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct StateExt {
    /// Addresses of the stack key, where the record has no room for them.
    pub stack_addr: [Addr; 2],
    /// Next hop of `route-to` and its like.
    pub rt_addr: Addr,
    /// Source nodes by kind, [`NONE`] where there is none.
    pub src_nodes: [u32; SRC_NODE_KINDS],
    /// First block of its match rules in their pool, [`NONE`] when none matched.
    pub matches: u32,
    /// The pinned anchor rule its rule was called by, [`NONE`] when in the main ruleset.
    pub anchor: u32,
    /// The pinned rule that translated last, [`NONE`] when none did.
    pub nat_rule: u32,
    /// Timestamps of both sides in their pool (`scrub (reassemble tcp)`), [`NONE`] when not kept.
    pub scrub: u32,
    /// Queues: ordinary, priority; `u16::MAX` for none.
    pub queue: [u16; 2],
    /// Tag, 0 for none.
    pub tag: u16,
    /// `scrub (max-mss n)`, 0 for none.
    pub max_mss: u16,
    /// `set delay`, milliseconds.
    pub delay: u16,
    /// MSS the SYN proxy negotiates.
    pub mss: u16,
    /// `scrub (min-ttl n)`, 0 for none.
    pub min_ttl: u8,
    /// `set tos`.
    pub set_tos: u8,
    /// `set prio`.
    pub prio: [u8; 2],
    /// Family of the stack key.
    pub stack_af: Af,
    /// Protocol of the stack key.
    pub stack_proto: u8,
    /// Routing action.
    pub rt: Option<RouteKind>,
}

impl Default for StateExt {
    fn default() -> Self {
        Self {
            stack_addr: [Addr::default(); 2],
            rt_addr: Addr::default(),
            src_nodes: [NONE; SRC_NODE_KINDS],
            matches: NONE,
            anchor: NONE,
            nat_rule: NONE,
            scrub: NONE,
            queue: [u16::MAX; 2],
            tag: 0,
            max_mss: 0,
            delay: 0,
            mss: 0,
            min_ttl: 0,
            set_tos: 0,
            prio: [0; 2],
            stack_af: Af::Inet,
            stack_proto: 0,
            rt: None,
        }
    }
}

/// What `scrub (reassemble tcp)` remembers of one side (`struct pf_state_scrub`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerScrub {
    /// Millisecond of the last timestamp.
    pub last_ms: u64,
    /// Its last echo reply.
    pub tsecr: u32,
    /// Its last timestamp.
    pub tsval: u32,
    /// Its first timestamp.
    pub tsval0: u32,
    /// Added to its timestamps.
    pub ts_mod: u32,
    /// `PFSS_*`.
    pub flags: u16,
    /// Highest TTL seen.
    pub ttl: u8,
    /// Whether the side has one at all.
    pub present: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(bytes: &[u8]) -> Addr {
        let mut b = [0; 16];
        b[..bytes.len()].copy_from_slice(bytes);
        Addr(b)
    }

    #[test]
    #[cfg(not(feature = "loom"))]
    fn sizes_are_what_the_design_says() {
        assert_eq!((size_of::<State>(), align_of::<State>()), (128, 128));
        assert_eq!(core::mem::offset_of!(State, dst), 64);
        assert!(size_of::<StateExt>() <= 120, "{}", size_of::<StateExt>());
        assert_eq!(size_of::<StatePeer>(), 16);
    }

    #[test]
    fn ipv4_keeps_both_keys() {
        let wire = StateKey {
            addr: [addr(&[192, 0, 2, 1]), addr(&[198, 51, 100, 7])],
            port: [50001, 80],
            af: Af::Inet,
            proto: 6,
        };
        let stack = StateKey { addr: [addr(&[10, 0, 0, 5]), addr(&[198, 51, 100, 7])], port: [1025, 80], ..wire };
        let s = State::new(&wire, &stack, Direction::Out);
        assert_eq!(s.wire(), wire);
        assert_eq!(s.stack(None), stack);
        assert!(s.translated() && !State::needs_ext_for(&wire, &stack));
        assert_eq!(s.direction(), Direction::Out);
    }

    #[test]
    fn ipv6_keeps_the_stack_key_outside() {
        let wire = StateKey { addr: [addr(&[0x20, 1]), addr(&[0x20, 2])], port: [1, 2], af: Af::Inet6, proto: 17 };
        let same = State::new(&wire, &wire, Direction::In);
        assert_eq!(same.stack(None), wire);
        let stack = StateKey { addr: [addr(&[0x20, 1]), addr(&[0x20, 3])], ..wire };
        let s = State::new(&wire, &stack, Direction::In);
        let ext = StateExt { stack_addr: stack.addr, stack_af: Af::Inet6, stack_proto: 17, ..StateExt::default() };
        assert_eq!(s.stack(Some(&ext)), stack);
    }

    #[test]
    fn timeouts_survive_the_record() {
        let k = StateKey { addr: [Addr::default(); 2], port: [0; 2], af: Af::Inet, proto: 1 };
        let mut s = State::new(&k, &k, Direction::In);
        for t in Timeout::ALL {
            s.edit(|l| l.set_timeout(StateTimeout::Named(*t)));
            assert_eq!(s.timeout(), StateTimeout::Named(*t));
        }
        s.edit(|l| l.set_timeout(StateTimeout::Purge));
        assert_eq!(s.timeout(), StateTimeout::Purge);
    }
}
