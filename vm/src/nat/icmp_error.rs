//! ICMP errors: the packet they quote, and its translation along with the message's.
//!
//! The quoted packet went the other way, so the addresses that are translated back are those of the message too: the
//! quoted source is the message's destination. As in pf the quoted IP header checksum is left stale and the quoted
//! UDP checksum becomes zero, which is known to be no checksum; the message's own checksum is right.
//!
//! Source: OpenBSD 7.8 `sys/net/pf.c` (`pf_test_state_icmp`, `pf_translate_icmp`, `pf_change_icmp_af`).

use super::af::{Header, header_len};
use super::rewrite::{Done, Edit, OutOfWindow, Target, address_offsets, at};
use super::{addr, icmp_af};
use crate::packet::{Bounds, DropReason, Packet, PacketDesc, PktMeta, addr4, proto, walk4, walk6};
use crate::rule::{Addr, Af, Direction};
use crate::state::key::StateKey;
use crate::wire::checksum::Sum;
use crate::wire::{Icmp, Ipv4, Ipv6};

/// Length of the ICMP header in front of the quoted packet.
const ICMP_HEADER: usize = 8;

/// The transport header of a quoted packet, as far as errors quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedL4 {
    /// TCP: the first eight bytes.
    Tcp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// Sequence number.
        seq: u32,
    },
    /// UDP.
    Udp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
    },
    /// ICMP in IPv4, ICMPv6 in IPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Identifier.
        id: u16,
    },
    /// Anything else.
    Other,
}

/// A packet quoted by an ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Offset of its IP header.
    pub base: usize,
    /// Offset of its transport header.
    pub off: usize,
    /// Its length by its own header.
    pub tot_len: usize,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Protocol.
    pub proto: u8,
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Transport.
    pub l4: QuotedL4,
}

impl Quote {
    /// Reads the packet quoted by the ICMP error `pd` describes.
    ///
    /// # Errors
    /// Why the message fits no state: `short`, `fragment`, `state-mismatch` when the quoted packet does not come from
    /// where the message goes … The rules still decide on the message.
    pub fn read(pkt: &Packet<'_>, meta: &PktMeta, pd: &PacketDesc) -> Result<Self, DropReason> {
        let bounds = Bounds::of(pkt, pd.af, meta.length_outside);
        let base = at(pd.off).saturating_add(ICMP_HEADER);
        let mut q = match pd.af {
            Af::Inet => Self::v4(pkt, bounds, base)?,
            Af::Inet6 => Self::v6(pkt, bounds, base)?,
        };
        if !addr::equal(pd.af, &pd.dst, &q.src) {
            return Err(DropReason::StateMismatch);
        }
        q.l4 = transport(pkt, bounds, pd.af, &q)?;
        Ok(q)
    }

    fn v4(pkt: &Packet<'_>, bounds: Bounds, base: usize) -> Result<Self, DropReason> {
        let h = Ipv4::new_unchecked(bounds.pull::<20>(pkt, base).map_err(|r| r.reason)?);
        if h.fragment_offset() != 0 {
            return Err(DropReason::Fragment);
        }
        let walk = walk4(pkt, bounds, base, &h).map_err(|r| r.reason)?;
        Ok(Self {
            base,
            off: walk.off,
            tot_len: usize::from(h.total_len()),
            ttl: h.ttl(),
            proto: walk.proto,
            src: addr4(h.src()),
            dst: addr4(h.dst()),
            l4: QuotedL4::Other,
        })
    }

    fn v6(pkt: &Packet<'_>, bounds: Bounds, base: usize) -> Result<Self, DropReason> {
        let h = Ipv6::new_unchecked(bounds.pull::<40>(pkt, base).map_err(|r| r.reason)?);
        let walk = walk6(pkt, bounds, base, &h).map_err(|r| r.reason)?;
        Ok(Self {
            base,
            off: walk.off,
            tot_len: usize::from(h.payload_len()).saturating_add(40),
            ttl: h.hop_limit(),
            proto: walk.proto,
            src: Addr(h.src()),
            dst: Addr(h.dst()),
            l4: QuotedL4::Other,
        })
    }

    /// Source and destination port; zeros where there are none.
    #[must_use]
    pub const fn ports(&self) -> (u16, u16) {
        match self.l4 {
            QuotedL4::Tcp { sport, dport, .. } | QuotedL4::Udp { sport, dport } => (sport, dport),
            QuotedL4::Icmp { .. } | QuotedL4::Other => (0, 0),
        }
    }

    /// The key of the quoted packet's state, as looked up in the direction the message goes. ICMP queries put type
    /// and identifier in `ports` themselves.
    #[must_use]
    pub const fn key(&self, af: Af, dir: Direction, ports: (u16, u16)) -> StateKey {
        let came = match dir {
            Direction::In => Direction::Out,
            Direction::Out => Direction::In,
        };
        StateKey::of_packet(af, self.proto, came, (self.src, ports.0), (self.dst, ports.1))
    }

    /// Writes another sequence number into a quoted TCP header.
    ///
    /// # Errors
    /// [`OutOfWindow`].
    pub fn sequence(
        &mut self,
        pkt: &mut Packet<'_>,
        meta: &PktMeta,
        pd: &PacketDesc,
        to: u32,
    ) -> Result<(), OutOfWindow> {
        let mut e = Edit::new(pkt, meta, pd);
        if let QuotedL4::Tcp { seq, .. } = &mut self.l4 {
            e.patch32(self.off.saturating_add(4), to);
            *seq = to;
        }
        e.done()
    }
}

fn transport(pkt: &Packet<'_>, bounds: Bounds, af: Af, q: &Quote) -> Result<QuotedL4, DropReason> {
    if !matches!(q.proto, proto::TCP | proto::UDP | proto::ICMP | proto::ICMPV6) {
        return Ok(QuotedL4::Other);
    }
    if matches!((q.proto, af), (proto::ICMP, Af::Inet6) | (proto::ICMPV6, Af::Inet)) {
        return Err(DropReason::Normalize);
    }
    let head = bounds.pull::<8>(pkt, q.off).map_err(|r| r.reason)?;
    let [s0, s1, d0, d1, q0, q1, q2, q3] = head;
    let (sport, dport) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    Ok(match q.proto {
        proto::TCP => QuotedL4::Tcp { sport, dport, seq: u32::from_be_bytes([q0, q1, q2, q3]) },
        proto::UDP => QuotedL4::Udp { sport, dport },
        _ => {
            let icmp = Icmp::new_unchecked(head);
            QuotedL4::Icmp { kind: icmp.kind(), id: icmp.id() }
        }
    })
}

/// What the quoted packet is to carry: the other key of its state, seen from the quoted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewQuote {
    /// Addresses and ports.
    pub to: Target,
    /// Identifier of a quoted echo; `None` for every other ICMP message.
    pub echo: Option<u16>,
}

/// Rewrites the quoted packet, and the message's addresses with it, in the same family.
///
/// # Errors
/// [`OutOfWindow`].
pub fn rewrite(
    pkt: &mut Packet<'_>,
    meta: &PktMeta,
    pd: &mut PacketDesc,
    q: &Quote,
    new: &NewQuote,
) -> Result<Done, OutOfWindow> {
    let af = pd.af;
    let (src_off, dst_off) = address_offsets(af);
    let (src_moves, dst_moves) = (!addr::equal(af, &q.src, &new.to.src), !addr::equal(af, &q.dst, &new.to.dst));
    let mut e = Edit::new(pkt, meta, pd);
    let (src_patch, dst_patch) = match q.l4 {
        QuotedL4::Tcp { sport, dport, .. } | QuotedL4::Udp { sport, dport } => (
            Patch::port(q.off, sport, new.to.sport, src_moves),
            Patch::port(q.off.saturating_add(2), dport, new.to.dport, dst_moves),
        ),
        QuotedL4::Icmp { id, .. } => {
            let old = match af {
                Af::Inet => new.echo,
                Af::Inet6 => new.echo.map(|_| new.to.sport),
            };
            let wanted = src_moves || old.is_some_and(|o| o != id);
            let field = new.echo.map(|v| (q.off.saturating_add(4), v));
            (Patch { wanted, field }, Patch { wanted: dst_moves, field: None })
        }
        QuotedL4::Other => (Patch { wanted: src_moves, field: None }, Patch { wanted: dst_moves, field: None }),
    };
    if src_patch.wanted {
        src_patch.apply(&mut e);
        e.quoted_addr(q.base.saturating_add(src_off), af, &q.src, &new.to.src);
        e.destination(pd, &new.to.src);
    }
    if dst_patch.wanted {
        dst_patch.apply(&mut e);
        e.quoted_addr(q.base.saturating_add(dst_off), af, &q.dst, &new.to.dst);
        e.source(pd, &new.to.dst);
    }
    if matches!(q.l4, QuotedL4::Udp { .. }) {
        e.patch16(q.off.saturating_add(6), 0);
    }
    e.done().map(|()| Done { rewritten: true, destination: dst_moves })
}

/// A change of one end of the quoted packet.
struct Patch {
    /// Address or port differ.
    wanted: bool,
    /// Where a port or identifier goes.
    field: Option<(usize, u16)>,
}

impl Patch {
    const fn port(off: usize, old: u16, new: u16, moves: bool) -> Self {
        Self { wanted: moves || old != new, field: Some((off, new)) }
    }

    fn apply(&self, e: &mut Edit<'_, '_>) {
        if let Some((off, v)) = self.field {
            e.patch16(off, v);
        }
    }
}

/// Turns the message and the packet it quotes into the other family (`pd.naf`), but for the message's IP header,
/// which [`super::af::translate`] replaces afterwards. `id` is a random number, for IPv4. `Ok(None)`: there is no such
/// message in the other family, the packet is dropped.
///
/// # Errors
/// [`OutOfWindow`].
pub fn change_family(
    pkt: &mut Packet<'_>,
    meta: &PktMeta,
    pd: &mut PacketDesc,
    q: &mut Quote,
    new: &NewQuote,
    id: u16,
) -> Result<Option<Done>, OutOfWindow> {
    if q.l4 == QuotedL4::Other {
        return Ok(None);
    }
    let mut e = Edit::new(pkt, meta, pd);
    if !icmp_af::translate(&mut e, at(pd.off), pd.naf) {
        return e.done().map(|()| None);
    }
    e.done()?;
    replace_header(pkt, meta, pd, q, &new.to, id)?;
    let router = pd.src;
    pd.nsaddr = new.to.dst;
    pd.ndaddr = new.to.src;
    if pd.naf == Af::Inet6 {
        // The router that sent the message stays visible in the low bits (traceroute).
        let low = addr::bits(&router).wrapping_shr(96);
        pd.nsaddr = addr::of(Af::Inet6, (addr::bits(&pd.nsaddr) & !0xffff_ffff) | low);
    }
    pd.proto = icmp_af::other(pd.proto);
    let mut e = Edit::new(pkt, meta, pd);
    if matches!(q.l4, QuotedL4::Icmp { .. }) {
        if !icmp_af::translate(&mut e, q.off, pd.naf) {
            return e.done().map(|()| None);
        }
        if let Some(v) = new.echo {
            e.patch16(q.off.saturating_add(4), v);
        }
    } else {
        e.patch16(q.off, new.to.sport);
        e.patch16(q.off.saturating_add(2), new.to.dport);
    }
    e.done().map(|()| Some(Done { rewritten: true, destination: true }))
}

/// Puts a header of the new family in the place of the quoted one (`pf_change_icmp_af`).
fn replace_header(
    pkt: &mut Packet<'_>,
    meta: &PktMeta,
    pd: &mut PacketDesc,
    q: &mut Quote,
    to: &Target,
    id: u16,
) -> Result<(), OutOfWindow> {
    let (old, new) = (q.off.saturating_sub(q.base), header_len(pd.naf));
    let payload = q.tot_len.saturating_sub(old);
    let header = Header { tos: 0, ttl: q.ttl, proto: icmp_af::other(q.proto), payload, id, src: to.src, dst: to.dst };
    let was = Sum::new().packet(pkt, q.base, old).finish();
    let (v4, v6) = (header.v4(true), header.v6());
    let bytes: &[u8] = match pd.naf {
        Af::Inet => &v4,
        Af::Inet6 => &v6,
    };
    let outer = pd.tot_len.saturating_sub(pd.off);
    let grown = i64::try_from(new).unwrap_or(0).saturating_sub(i64::try_from(old).unwrap_or(0));
    let outer_now = i64::from(outer).saturating_add(grown);
    let mut e = Edit::new(pkt, meta, pd);
    e.uncover(was);
    if pd.naf == Af::Inet6 {
        e.cover(Sum::new().bytes(bytes).finish());
    }
    if pd.proto == proto::ICMPV6 {
        let low = |n: i64| u16::try_from(n & 0xffff).unwrap_or(0);
        e.pseudo_word(low(i64::from(outer)), low(outer_now));
    }
    e.done()?;
    if !(move_head(pkt, q.base, old, new) && pkt.write(q.base, bytes)) {
        return Err(OutOfWindow);
    }
    pd.tot_len = u32::try_from(i64::from(pd.tot_len).saturating_add(grown)).unwrap_or(0);
    q.off = q.base.saturating_add(new);
    q.tot_len = payload.saturating_add(new);
    Ok(())
}

/// Makes room for `new` bytes where `old` were, by moving the `head` bytes in front of them.
fn move_head(pkt: &mut Packet<'_>, head: usize, old: usize, new: usize) -> bool {
    if let Some(more) = new.checked_sub(old) {
        return pkt.grow_front(more) && (0..head).all(|i| move_byte(pkt, i.saturating_add(more), i));
    }
    let less = old.saturating_sub(new);
    (0..head).rev().all(|i| move_byte(pkt, i, i.saturating_add(less))) && pkt.shrink_front(less)
}

fn move_byte(pkt: &mut Packet<'_>, from: usize, to: usize) -> bool {
    pkt.u8(from).is_some_and(|b| pkt.write(to, &[b]))
}
