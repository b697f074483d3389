//! Tracking of everything but TCP: UDP and other protocols by who has spoken, ICMP queries by identifier.
//!
//! **Invariant:** the mapping of ICMP types is a table; a type without a row gets a state of its own that only packets
//! of the first one's direction match.

use crate::packet::proto;
use crate::rule::{Af, Direction, Timeout};
use crate::state::record::{PeerState, StatePeer};

/// The three timeouts of a protocol that has no handshake.
struct Family {
    first: Timeout,
    single: Timeout,
    multiple: Timeout,
}

const UDP: Family = Family { first: Timeout::UdpFirst, single: Timeout::UdpSingle, multiple: Timeout::UdpMultiple };
const OTHER: Family =
    Family { first: Timeout::OtherFirst, single: Timeout::OtherSingle, multiple: Timeout::OtherMultiple };

const fn family(p: u8) -> &'static Family {
    if p == proto::UDP { &UDP } else { &OTHER }
}

/// Progress and timeout of a new state of any protocol but TCP.
#[must_use]
pub const fn open(p: u8) -> (PeerState, Timeout) {
    match p {
        // Queries have no progress: an answer only shortens the wait.
        proto::ICMP | proto::ICMPV6 => (PeerState::CLOSED, Timeout::IcmpFirst),
        _ => (PeerState::SINGLE, family(p).first),
    }
}

/// A packet of a UDP or other state: who has spoken, and what the state waits for now.
pub fn track(p: u8, src: &mut StatePeer, dst: &mut StatePeer) -> Timeout {
    if src.state < PeerState::SINGLE {
        src.state = PeerState::SINGLE;
    }
    if dst.state.0 == PeerState::SINGLE.0 {
        // Its packet is answered by this one.
        dst.state = PeerState::MULTIPLE;
    }
    let f = family(p);
    if src.state.0 == PeerState::MULTIPLE.0 && dst.state.0 == PeerState::MULTIPLE.0 { f.multiple } else { f.single }
}

/// Where a virtual identifier comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    /// The message's identifier.
    Query,
    /// Nothing sane to match on.
    None,
    /// The sixteen bytes after the header, folded (neighbour discovery, multicast listeners).
    Target,
}

/// One ICMP type: which query it belongs to and which way it runs.
struct Mapping {
    kind: u8,
    query: u8,
    dir: Direction,
    id: Id,
    /// Never makes or matches a state of its own: errors, and answers nobody asked for.
    foreign: bool,
}

const fn ask(kind: u8, id: Id) -> Mapping {
    Mapping { kind, query: kind, dir: Direction::In, id, foreign: false }
}
const fn answer(kind: u8, query: u8, id: Id) -> Mapping {
    Mapping { kind, query, dir: Direction::Out, id, foreign: false }
}
const fn error(kind: u8) -> Mapping {
    Mapping { kind, query: kind, dir: Direction::In, id: Id::None, foreign: true }
}

const V4: &[Mapping] = &[
    ask(8, Id::Query),
    answer(0, 8, Id::Query),
    ask(13, Id::Query),
    answer(14, 13, Id::Query),
    ask(15, Id::Query),
    answer(16, 15, Id::Query),
    ask(17, Id::Query),
    answer(18, 17, Id::Query),
    ask(33, Id::None),
    answer(34, 33, Id::None),
    ask(35, Id::None),
    answer(36, 35, Id::None),
    ask(10, Id::None),
    answer(9, 10, Id::None),
    error(3),
    error(4),
    error(5),
    error(11),
    error(12),
];

const V6: &[Mapping] = &[
    ask(128, Id::Query),
    answer(129, 128, Id::Query),
    // Listeners report unasked, and to other addresses than the query came from.
    ask(130, Id::Target),
    Mapping { kind: 131, query: 130, dir: Direction::In, id: Id::Target, foreign: false },
    ask(139, Id::None),
    answer(140, 139, Id::None),
    ask(201, Id::None),
    answer(200, 201, Id::None),
    ask(135, Id::Target),
    // An unsolicited advertisement expects no answer: no state for it.
    Mapping { kind: 136, query: 135, dir: Direction::Out, id: Id::Target, foreign: true },
    error(1),
    error(2),
    error(3),
    error(4),
];

/// An ICMP message in terms of states (`pf.c pf_icmp_mapping`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpMap {
    /// `In` for queries and for what has no answer, `Out` for answers.
    pub dir: Direction,
    /// Identifier that stands in the querier's port.
    pub id: u16,
    /// Type of the query, which stands in the other port.
    pub kind: u16,
    /// Whether it belongs to another conversation (errors) or to none.
    pub foreign: bool,
}

impl IcmpMap {
    /// The ports a packet with this message has for states and translation: of its source and of its destination.
    #[must_use]
    pub const fn ports(&self) -> (u16, u16) {
        match self.dir {
            Direction::In => (self.id, self.kind),
            Direction::Out => (self.kind, self.id),
        }
    }
}

/// Maps a message. `id` is its identifier field, `target` the sixteen bytes after its eight-byte header where it has
/// them.
#[must_use]
pub fn icmp_map(af: Af, kind: u8, id: u16, target: &[u8; 16]) -> IcmpMap {
    let rows = match af {
        Af::Inet => V4,
        Af::Inet6 => V6,
    };
    let Some(m) = rows.iter().find(|m| m.kind == kind) else {
        return IcmpMap { dir: Direction::In, id: 0, kind: u16::from(kind), foreign: false };
    };
    let id = match m.id {
        Id::Query => id,
        Id::None => 0,
        Id::Target => fold(target),
    };
    IcmpMap { dir: m.dir, id, kind: u16::from(m.query), foreign: m.foreign }
}

/// The exclusive or of eight words.
fn fold(bytes: &[u8; 16]) -> u16 {
    let (words, _) = bytes.as_chunks::<2>();
    words.iter().fold(0, |h, w| h ^ u16::from_be_bytes(*w))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_counts_answers() {
        let (mut a, mut b) = (StatePeer { state: open(proto::UDP).0, ..StatePeer::default() }, StatePeer::default());
        assert_eq!(track(proto::UDP, &mut a, &mut b), Timeout::UdpSingle);
        assert_eq!(track(proto::UDP, &mut b, &mut a), Timeout::UdpSingle);
        assert_eq!((a.state, b.state), (PeerState::MULTIPLE, PeerState::SINGLE));
        assert_eq!(track(proto::UDP, &mut a, &mut b), Timeout::UdpMultiple);
        assert_eq!(track(47, &mut StatePeer::default(), &mut StatePeer::default()), Timeout::OtherSingle);
    }

    #[test]
    fn answers_map_to_their_query() {
        let q = icmp_map(Af::Inet, 8, 77, &[0; 16]);
        let r = icmp_map(Af::Inet, 0, 77, &[0; 16]);
        assert_eq!((q.ports(), r.ports()), ((77, 8), (8, 77)));
        assert!(icmp_map(Af::Inet, 3, 0, &[0; 16]).foreign);
        let odd = icmp_map(Af::Inet, 200, 9, &[0; 16]);
        assert_eq!((odd.ports(), odd.foreign), ((0, 200), false));
    }

    #[test]
    fn neighbour_discovery_folds_the_target() {
        let mut t = [0; 16];
        t[0] = 0x20;
        t[15] = 0x01;
        assert_eq!(icmp_map(Af::Inet6, 135, 0, &t).id, 0x2001);
        assert!(icmp_map(Af::Inet6, 136, 0, &t).foreign);
    }

    #[test]
    fn no_type_has_two_rows() {
        for rows in [V4, V6] {
            for (i, m) in rows.iter().enumerate() {
                assert!(rows.iter().skip(i + 1).all(|o| o.kind != m.kind));
            }
        }
    }
}
