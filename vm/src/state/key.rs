//! State keys: the addresses, ports and protocol one side of a conversation is recognised by.
//!
//! A state has two keys: the *wire* key as the interface sees the packets, and the *stack* key as the host sees them;
//! they differ only under translation. Packets coming in are looked up by wire key, packets going out by stack key
//! (`pf.c pf_find_state`).
//!
//! **Invariant:** element zero of a key is the far end as the interface sees it: the source of a packet coming in,
//! the destination of one going out. So a packet and its reply build the same key without comparing addresses.

use crate::rule::{Addr, Af, Direction};

/// Which element of a key: pf's `sidx` and `didx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Idx {
    /// Element 0.
    Zero,
    /// Element 1.
    One,
}

impl Idx {
    /// Where the source of a packet of this direction stands.
    #[must_use]
    #[inline]
    pub const fn source(dir: Direction) -> Self {
        match dir {
            Direction::In => Self::Zero,
            Direction::Out => Self::One,
        }
    }

    /// Where the destination of a packet of this direction stands.
    #[must_use]
    #[inline]
    pub const fn dest(dir: Direction) -> Self {
        Self::source(dir).other()
    }

    /// The other element.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }

    /// The element of a pair.
    #[must_use]
    pub const fn of<T: Copy>(self, pair: &[T; 2]) -> T {
        let [zero, one] = pair;
        match self {
            Self::Zero => *zero,
            Self::One => *one,
        }
    }

    /// The element of a pair, to change it.
    #[must_use]
    pub const fn of_mut<T>(self, pair: &mut [T; 2]) -> &mut T {
        let [zero, one] = pair;
        match self {
            Self::Zero => zero,
            Self::One => one,
        }
    }
}

/// Which key of a state (`PF_SK_WIRE`, `PF_SK_STACK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeySide {
    /// As the interface sees the packets.
    Wire,
    /// As the host sees the packets.
    Stack,
}

impl KeySide {
    /// The key packets of this direction are looked up by.
    #[must_use]
    #[inline]
    pub const fn lookup(dir: Direction) -> Self {
        match dir {
            Direction::In => Self::Wire,
            Direction::Out => Self::Stack,
        }
    }

    /// The other key.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Wire => Self::Stack,
            Self::Stack => Self::Wire,
        }
    }
}

/// A state key (`struct pf_state_key`, less the routing domain, which is always 0 here).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateKey {
    /// The two addresses, see the module's invariant for their order.
    pub addr: [Addr; 2],
    /// Their ports in host order; ICMP queries carry id and type here, other protocols zeros.
    pub port: [u16; 2],
    /// Family.
    pub af: Af,
    /// Protocol (final, after extension headers).
    pub proto: u8,
}

impl StateKey {
    /// A key of nothing.
    pub const NOTHING: Self = Self { addr: [Addr([0; 16]); 2], port: [0; 2], af: Af::Inet, proto: 0 };

    /// The key of a packet: source and destination put in their places for `dir`.
    #[must_use]
    #[inline]
    pub const fn of_packet(af: Af, proto: u8, dir: Direction, src: (Addr, u16), dst: (Addr, u16)) -> Self {
        let (addr, port) = match Idx::source(dir) {
            Idx::Zero => ([src.0, dst.0], [src.1, dst.1]),
            Idx::One => ([dst.0, src.0], [dst.1, src.1]),
        };
        Self { addr, port, af, proto }
    }

    /// Address and port of one element.
    #[must_use]
    pub const fn end(&self, idx: Idx) -> (Addr, u16) {
        (idx.of(&self.addr), idx.of(&self.port))
    }

    /// The key with its elements exchanged: what the other side of a forwarding host sees.
    #[must_use]
    pub const fn reversed(&self) -> Self {
        let [a0, a1] = self.addr;
        let [p0, p1] = self.port;
        Self { addr: [a1, a0], port: [p1, p0], af: self.af, proto: self.proto }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(last: u8) -> Addr {
        let mut b = [0; 16];
        b[..4].copy_from_slice(&[10, 0, 0, last]);
        Addr(b)
    }

    #[test]
    fn a_reply_builds_the_same_key() {
        let first = StateKey::of_packet(Af::Inet, 6, Direction::In, (a(1), 1000), (a(2), 80));
        let reply = StateKey::of_packet(Af::Inet, 6, Direction::Out, (a(2), 80), (a(1), 1000));
        assert_eq!(first, reply);
        assert_eq!(first.end(Idx::source(Direction::In)), (a(1), 1000));
    }

    #[test]
    fn forwarding_reverses_the_key() {
        let inner = StateKey::of_packet(Af::Inet, 17, Direction::In, (a(1), 5), (a(2), 53));
        let outer = StateKey::of_packet(Af::Inet, 17, Direction::Out, (a(1), 5), (a(2), 53));
        assert_eq!(inner.reversed(), outer);
    }
}
