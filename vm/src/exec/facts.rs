//! The fields of one packet, laid out for the interpreter: one array, a value that no word has for what is absent.
//!
//! **Invariant:** what [`Field`] says of presence holds here; nothing else decides it.

use crate::isa::{Field, Prefix4, Side, WORD_FIELDS};
use crate::packet::{PacketDesc, proto};
use crate::rule::{Addr, Af, Direction};

/// A field the packet does not have. Above every word.
pub(super) const ABSENT: u64 = u64::MAX;
/// A field nobody has looked up yet.
pub(super) const PENDING: u64 = u64::MAX - 1;
/// Protocol of fragments that are not reassembled (`PF_VPROTO_FRAGMENT`).
const FRAGMENT: u64 = 256;
/// Fields of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    words: [u64; WORD_FIELDS],
    /// Addresses as numbers; of IPv4 the low 32 bits.
    src: u128,
    dst: u128,
    pub(super) af: Af,
    pub(super) iface: u16,
    pub(super) received_on: Option<u16>,
    pub(super) tag: u16,
}

impl Facts {
    /// Nothing known.
    pub(super) const NONE: Self =
        Self { words: [ABSENT; WORD_FIELDS], src: 0, dst: 0, af: Af::Inet, iface: 0, received_on: None, tag: 0 };

    /// Reads a description. `asked`: the socket was asked for, so what is not known now never will be.
    pub(super) fn load(&mut self, d: &PacketDesc, asked: bool) {
        self.words = [ABSENT; WORD_FIELDS];
        (self.af, self.iface, self.received_on, self.tag) = (d.af, d.iface, d.received_on, d.tag);
        self.set(Field::Dir, if d.dir == Direction::In { 1 } else { 2 });
        self.set(Field::Proto, d.proto.into());
        self.set(Field::Vproto, if d.fragment { FRAGMENT } else { d.proto.into() });
        self.set(Field::Tos, d.tos.into());
        self.set(Field::Prio, d.prio.into());
        self.set(Field::Fragment, d.fragment.into());
        self.set(Field::BadOpts, d.badopts.any().into());
        self.set(Field::Answer, 0);
        self.set(Field::Rdomain, d.rdomain.into());
        self.load_addresses(d);
        if !d.fragment {
            self.load_transport(d, asked);
        }
    }

    fn load_addresses(&mut self, d: &PacketDesc) {
        match d.af {
            Af::Inet => {
                let (src, dst) = (v4(&d.nsaddr), v4(&d.ndaddr));
                self.set(Field::Af, 4);
                self.set(Field::Src4, src.into());
                self.set(Field::Dst4, dst.into());
                (self.src, self.dst) = (src.into(), dst.into());
            }
            Af::Inet6 => {
                self.set(Field::Af, 6);
                (self.src, self.dst) = (u128::from_be_bytes(d.nsaddr.0), u128::from_be_bytes(d.ndaddr.0));
            }
        }
    }

    fn load_transport(&mut self, d: &PacketDesc, asked: bool) {
        if d.has_ports() {
            let unknown = if asked { u32::MAX.into() } else { PENDING };
            self.set(Field::Sport, d.nsport.into());
            self.set(Field::Dport, d.ndport.into());
            self.set(Field::Uid, d.uid.map_or(unknown, u64::from));
            self.set(Field::Gid, d.gid.map_or(unknown, u64::from));
        }
        if let Some(tcp) = d.tcp() {
            self.set(Field::Flags, tcp.flags.into());
        }
        if let Some(icmp) = d.icmp() {
            self.set(Field::IcmpType, icmp.kind.into());
            self.set(Field::IcmpCode, icmp.code.into());
            self.set(Field::Answer, is_answer(d.proto, icmp.kind).into());
        }
    }

    #[inline]
    fn set(&mut self, field: Field, value: u64) {
        if let Some(slot) = self.words.get_mut(usize::from(field as u8)) {
            *slot = value;
        }
    }

    /// A word field, [`ABSENT`] or [`PENDING`].
    #[inline]
    pub(super) fn word(&self, field: Field) -> u64 {
        self.words.get(usize::from(field as u8)).copied().unwrap_or(ABSENT)
    }

    /// A wide field.
    pub(super) fn wide(&self, field: Field) -> Option<u128> {
        match (self.af, field) {
            (Af::Inet6, Field::Src6) => Some(self.src),
            (Af::Inet6, Field::Dst6) => Some(self.dst),
            _ => None,
        }
    }

    /// An address as a number; of IPv4 the low 32 bits.
    #[inline]
    pub(super) const fn number(&self, side: Side) -> u128 {
        match side {
            Side::Src => self.src,
            Side::Dst => self.dst,
        }
    }

    /// An address as it is on the wire.
    pub(super) fn addr(&self, side: Side) -> Addr {
        let number = self.number(side);
        match self.af {
            Af::Inet => Addr((number << 96).to_be_bytes()),
            Af::Inet6 => Addr(number.to_be_bytes()),
        }
    }

    /// Whether an IPv4 address has these first bits; `None` when the packet is not IPv4.
    #[inline]
    pub(super) fn prefix(&self, prefix: Prefix4, net: u32) -> Option<bool> {
        let addr = u32::try_from(self.word(if prefix.side() == Side::Src { Field::Src4 } else { Field::Dst4 })).ok()?;
        Some((addr ^ net) & prefix.mask() == 0)
    }
}

/// The first four bytes of an address as a number.
const fn v4(addr: &Addr) -> u32 {
    let [a, b, c, d, ..] = addr.0;
    u32::from_be_bytes([a, b, c, d])
}

/// ICMP types that answer a query, so that no state begins with them (`pf_icmp_mapping`). A neighbour advertisement
/// may come unasked.
const fn is_answer(protocol: u8, kind: u8) -> bool {
    match protocol {
        proto::ICMP => matches!(kind, 0 | 9 | 14 | 16 | 18 | 34 | 36),
        proto::ICMPV6 => matches!(kind, 129 | 140 | 200),
        _ => false,
    }
}
