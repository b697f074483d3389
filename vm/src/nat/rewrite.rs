//! Rewriting of headers: addresses, ports, identifiers and sequence numbers, each with the checksums it is under.
//!
//! **Invariant:** sums are updated by what changed only; what the host says of offloads is respected: a partial sum
//! holds addresses alone, an absent one is left alone, a wrong one stays wrong.
//! **Invariant:** the IPv4 header checksum follows every change of the IPv4 header, unless the card writes it.
//!
//! Source: OpenBSD 7.8 `sys/net/pf.c` (`pf_patch_8` … `pf_patch_32_unaligned`, `pf_translate_a`, `pf_translate`,
//! `pf_modulate_sack`). pf leaves the IPv4 header checksum to the output path; here nobody comes after.

use super::{addr, icmp_af};
use crate::packet::{Checksum, L4, Packet, PacketDesc, PktMeta, proto};
use crate::rule::{Addr, Af};
use crate::wire::checksum::{self, Kind};

/// Bytes to write lie outside the packet's window: the packet is dropped with reason `memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfWindow;

/// How a transport checksum is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// A complete sum: everything covered counts.
    Complete,
    /// The sum of the pseudo header, not complemented: addresses count.
    Pseudo,
    /// Not at all.
    Absent,
}

/// Where a transport checksum is and how it is kept.
#[derive(Clone, Copy, Debug)]
struct Sum {
    at: usize,
    kind: Kind,
    kept: Kept,
}

/// A packet being edited under its transport checksum.
///
/// Errors stick: the first write outside the window makes [`Edit::done`] fail, and nothing after it is written.
#[derive(Debug)]
pub struct Edit<'e, 'p> {
    pkt: &'e mut Packet<'p>,
    sum: Option<Sum>,
    ip_sum: bool,
    failed: bool,
}

/// Offset of the checksum in a transport header.
#[must_use]
pub const fn sum_offset(protocol: u8) -> Option<usize> {
    match protocol {
        proto::TCP => Some(16),
        proto::UDP => Some(6),
        proto::ICMP | proto::ICMPV6 => Some(2),
        _ => None,
    }
}

/// Whether a protocol's checksum covers the addresses.
#[must_use]
pub const fn has_pseudo(protocol: u8) -> bool {
    matches!(protocol, proto::TCP | proto::UDP | proto::ICMPV6)
}

/// An offset as an index.
pub(super) fn at(off: u32) -> usize {
    usize::try_from(off).unwrap_or(usize::MAX)
}

impl<'e, 'p> Edit<'e, 'p> {
    /// Edits under the checksum of the transport header the description tells of.
    #[must_use]
    pub fn new(pkt: &'e mut Packet<'p>, meta: &PktMeta, pd: &PacketDesc) -> Self {
        let kept = match meta.l4 {
            Checksum::Complete | Checksum::Validated | Checksum::Bad => Kept::Complete,
            Checksum::Partial => Kept::Pseudo,
            Checksum::Absent => Kept::Absent,
        };
        let sum = sum_offset(pd.proto).filter(|_| !pd.fragment).map(|o| Sum {
            at: at(pd.off).saturating_add(o),
            kind: Kind::of(pd.proto),
            kept,
        });
        Self { pkt, sum, ip_sum: meta.ip != Checksum::Partial, failed: false }
    }

    /// The packet as it stands.
    #[must_use]
    pub fn packet(&self) -> &Packet<'p> {
        self.pkt
    }

    /// Whether all went well.
    ///
    /// # Errors
    /// [`OutOfWindow`] when anything did not.
    pub const fn done(self) -> Result<(), OutOfWindow> {
        if self.failed { Err(OutOfWindow) } else { Ok(()) }
    }

    #[inline]
    fn store<const N: usize>(&mut self, off: usize, bytes: [u8; N]) {
        self.failed = self.failed || !self.pkt.put(off, bytes);
    }

    fn store_addr(&mut self, off: usize, af: Af, a: &Addr) {
        match af {
            Af::Inet => self.store(off, a.v4()),
            Af::Inet6 => self.store(off, a.0),
        }
    }

    /// Applies a change of the transport sum.
    fn resum(&mut self, change: impl FnOnce(u16, Kind) -> u16) {
        if let Some(s) = self.sum
            && let Some(old) = self.pkt.u16(s.at)
        {
            let new = change(old, s.kind);
            self.store(s.at, new.to_be_bytes());
        }
    }

    /// Applies a change of header or payload to the transport sum.
    fn covered(&mut self, change: impl FnOnce(u16, Kind) -> u16) {
        if self.sum.is_some_and(|s| s.kept == Kept::Complete) {
            self.resum(change);
        }
    }

    /// Overwrites one byte at any offset of what the sum covers; `even` says how it lies in its word.
    pub fn patch8(&mut self, off: usize, v: u8, even: bool) {
        let Some(old) = self.pkt.u8(off) else {
            self.failed = true;
            return;
        };
        if old != v {
            self.covered(|s, k| checksum::fixup_byte(s, old, v, even, k));
            self.store(off, [v]);
        }
    }

    /// Overwrites a number that is aligned to words of the sum.
    pub fn patch16(&mut self, off: usize, v: u16) {
        let Some(old) = self.pkt.u16(off) else {
            self.failed = true;
            return;
        };
        if old != v {
            self.covered(|s, k| checksum::fixup(s, old, v, k));
            self.store(off, v.to_be_bytes());
        }
    }

    /// Overwrites a number at any offset; `even` says whether it is aligned to words of the sum.
    pub fn patch16_at(&mut self, off: usize, v: u16, even: bool) {
        if even {
            self.patch16(off, v);
            return;
        }
        let [a, b] = v.to_be_bytes();
        self.patch8(off, a, false);
        self.patch8(off.saturating_add(1), b, true);
    }

    /// Overwrites a number that is aligned to words of the sum.
    pub fn patch32(&mut self, off: usize, v: u32) {
        let Some(old) = self.pkt.u32(off) else {
            self.failed = true;
            return;
        };
        self.covered(|s, k| checksum::fixup_u32(s, old, v, k));
        self.store(off, v.to_be_bytes());
    }

    /// Overwrites a number at any offset; `even` says whether it is aligned to words of the sum.
    pub fn patch32_at(&mut self, off: usize, v: u32, even: bool) {
        if even {
            self.patch32(off, v);
            return;
        }
        for (i, (b, e)) in v.to_be_bytes().into_iter().zip([false, true, false, true]).enumerate() {
            self.patch8(off.saturating_add(i), b, e);
        }
    }

    /// Accounts for an address inside the payload that changes, and overwrites it.
    pub fn quoted_addr(&mut self, off: usize, af: Af, was: &Addr, now: &Addr) {
        self.covered(|s, k| checksum::fixup_addr(s, was, now, af, k));
        self.store_addr(off, af, now);
    }

    /// Accounts for an address of the pseudo header that changes.
    pub fn pseudo_addr(&mut self, af: Af, was: &Addr, now: &Addr) {
        match self.sum.map(|s| s.kept) {
            Some(Kept::Complete) => self.resum(|s, k| checksum::fixup_addr(s, was, now, af, k)),
            Some(Kept::Pseudo) => self.resum(|s, _| checksum::partial_addr(s, was, now, af)),
            Some(Kept::Absent) | None => {}
        }
    }

    /// Accounts for a word of the pseudo header that changes.
    pub fn pseudo_word(&mut self, was: u16, now: u16) {
        match self.sum.map(|s| s.kept) {
            Some(Kept::Complete) => self.resum(|s, k| checksum::fixup(s, was, now, k)),
            Some(Kept::Pseudo) => self.resum(|s, _| checksum::fixup(s, now, was, Kind::Plain)),
            Some(Kept::Absent) | None => {}
        }
    }

    /// Takes bytes with this checksum out of what the sum covers (`pf_cksum_uncover`).
    pub fn uncover(&mut self, was: u16) {
        self.covered(|s, k| checksum::fixup(s, !was, 0, k));
    }

    /// Puts bytes with this checksum under the sum (`pf_cksum_cover`).
    pub fn cover(&mut self, now: u16) {
        self.covered(|s, k| checksum::fixup(s, 0, !now, k));
    }

    /// Overwrites an address of the IP header: transport and header sums follow (`pf_translate_a`).
    fn header_addr(&mut self, pseudo: bool, af: Af, off: usize, was: &Addr, now: &Addr) {
        if pseudo {
            self.pseudo_addr(af, was, now);
        }
        if af == Af::Inet
            && self.ip_sum
            && let Some(old) = self.pkt.u16(IP_SUM)
        {
            let new = checksum::fixup_addr(old, was, now, af, Kind::Plain);
            self.store(IP_SUM, new.to_be_bytes());
        }
        self.store_addr(off, af, now);
    }

    /// Gives the packet another source, if it is another.
    pub fn source(&mut self, pd: &mut PacketDesc, to: &Addr) {
        if !addr::equal(pd.af, &pd.src, to) {
            self.header_addr(has_pseudo(pd.proto), pd.af, address_offsets(pd.af).0, &pd.src, to);
            pd.src = addr::only(pd.af, to);
        }
    }

    /// Gives the packet another destination, if it is another.
    pub fn destination(&mut self, pd: &mut PacketDesc, to: &Addr) {
        if !addr::equal(pd.af, &pd.dst, to) {
            self.header_addr(has_pseudo(pd.proto), pd.af, address_offsets(pd.af).1, &pd.dst, to);
            pd.dst = addr::only(pd.af, to);
        }
    }

    /// Gives the packet another source port, if it has ports.
    pub fn source_port(&mut self, pd: &mut PacketDesc, port: u16) {
        if pd.has_ports() {
            self.patch16(at(pd.off), port);
            pd.sport = port;
        }
    }

    /// Gives the packet another destination port, if it has ports.
    pub fn destination_port(&mut self, pd: &mut PacketDesc, port: u16) {
        if pd.has_ports() {
            self.patch16(at(pd.off).saturating_add(2), port);
            pd.dport = port;
        }
    }

    /// Gives an ICMP or ICMPv6 message another identifier.
    pub fn icmp_id(&mut self, pd: &mut PacketDesc, id: u16) {
        self.patch16(at(pd.off).saturating_add(4), id);
        if let L4::Icmp(i) = &mut pd.l4 {
            i.id = id;
        }
    }
}

/// Offset of the IPv4 header checksum.
const IP_SUM: usize = 10;

/// Offsets of source and destination in an IP header.
#[must_use]
pub const fn address_offsets(af: Af) -> (usize, usize) {
    match af {
        Af::Inet => (12, 16),
        Af::Inet6 => (8, 24),
    }
}

/// The addresses and ports a packet is to carry, of the family it is translated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port, host order.
    pub sport: u16,
    /// Destination port, host order.
    pub dport: u16,
}

/// What a translation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Anything of the packet changed, or will when the family does.
    pub rewritten: bool,
    /// The destination changed: routing has to be asked anew (`destchg`).
    pub destination: bool,
}

/// How an ICMP message is known to its state: the pseudo-ports of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpKey {
    /// Type of the query the message belongs to.
    pub kind: u16,
    /// Whether it is the query: the identifier is the source's port then, else the destination's.
    pub query: bool,
}

/// Rewrites the packet that makes a state (`pf_translate`). When the family changes, ports, ICMP type and identifier
/// are rewritten here and the IP header is left to [`super::af::translate`].
///
/// # Errors
/// [`OutOfWindow`].
pub fn first(
    pkt: &mut Packet<'_>,
    meta: &PktMeta,
    pd: &mut PacketDesc,
    to: &Target,
    icmp: Option<IcmpKey>,
) -> Result<Done, OutOfWindow> {
    let change = pd.af != pd.naf;
    let before = *pd;
    let mut done = Done { rewritten: false, destination: change || !addr::equal(pd.af, &pd.dst, &to.dst) };
    let mut e = Edit::new(pkt, meta, pd);
    match (pd.proto, pd.af) {
        (proto::TCP | proto::UDP, _) => {
            e.source_port(pd, to.sport);
            e.destination_port(pd, to.dport);
        }
        (proto::ICMP, Af::Inet) | (proto::ICMPV6, Af::Inet6) => {
            if change {
                if !icmp_af::translate(&mut e, at(before.off), pd.naf) {
                    return e.done().map(|()| done);
                }
                pd.proto = icmp_af::other(pd.proto);
                done.rewritten = true;
            }
            if let Some(key) = icmp
                && key.kind == echo_kind(before.proto)
            {
                e.icmp_id(pd, if key.query { to.sport } else { to.dport });
            }
        }
        (proto::ICMP | proto::ICMPV6, _) => return e.done().map(|()| done),
        _ => {}
    }
    if !change {
        e.source(pd, &to.src);
        e.destination(pd, &to.dst);
    }
    done.rewritten |= *pd != before;
    e.done().map(|()| done)
}

/// The type of an echo request.
const fn echo_kind(protocol: u8) -> u16 {
    if protocol == proto::ICMP { 8 } else { 128 }
}

/// Rewrites a packet of a known state (`pf_test_state`). When the family changes, ports are rewritten here and the
/// IP header is left to [`super::af::translate`]; the caller has set `naf`, `nsaddr` and `ndaddr`.
///
/// # Errors
/// [`OutOfWindow`].
pub fn known(pkt: &mut Packet<'_>, meta: &PktMeta, pd: &mut PacketDesc, to: &Target) -> Result<Done, OutOfWindow> {
    let change = pd.af != pd.naf;
    let done = Done { rewritten: true, destination: change || !addr::equal(pd.af, &pd.dst, &to.dst) };
    let mut e = Edit::new(pkt, meta, pd);
    if !change {
        e.source(pd, &to.src);
    }
    e.source_port(pd, to.sport);
    if !change {
        e.destination(pd, &to.dst);
    }
    e.destination_port(pd, to.dport);
    e.done().map(|()| done)
}

/// Rewrites an ICMP or ICMPv6 query or answer of a known state (`pf_test_state_icmp`): `id` is the identifier of the
/// state's other key. `Ok(None)`: the message has no counterpart in the other family, the packet is dropped.
///
/// The destination never counts as changed here: pf asks after it has written it.
///
/// # Errors
/// [`OutOfWindow`].
pub fn icmp_query(
    pkt: &mut Packet<'_>,
    meta: &PktMeta,
    pd: &mut PacketDesc,
    to: &Target,
    id: u16,
) -> Result<Option<Done>, OutOfWindow> {
    let change = pd.af != pd.naf;
    let done = Done { rewritten: true, destination: false };
    let mut e = Edit::new(pkt, meta, pd);
    if change {
        if !icmp_af::translate(&mut e, at(pd.off), pd.naf) {
            return e.done().map(|()| None);
        }
        pd.proto = icmp_af::other(pd.proto);
    } else {
        e.source(pd, &to.src);
        e.destination(pd, &to.dst);
    }
    e.icmp_id(pd, id);
    e.done().map(|()| Some(done))
}

/// Gives a TCP segment other sequence numbers; what is `None` stays.
///
/// # Errors
/// [`OutOfWindow`].
pub fn sequence(
    pkt: &mut Packet<'_>,
    meta: &PktMeta,
    pd: &mut PacketDesc,
    seq: Option<u32>,
    ack: Option<u32>,
) -> Result<(), OutOfWindow> {
    let off = at(pd.off);
    let mut e = Edit::new(pkt, meta, pd);
    if let L4::Tcp(t) = &mut pd.l4 {
        if let Some(v) = seq {
            e.patch32(off.saturating_add(4), v);
            t.seq = v;
        }
        if let Some(v) = ack {
            e.patch32(off.saturating_add(8), v);
            t.ack = v;
        }
    }
    e.done()
}

/// Length of a TCP header without options.
const TCP_HEADER: usize = 20;
/// Option kind of selective acknowledgements.
const SACK: u8 = 5;
/// Bytes of one block, and the least an option with a block has.
const BLOCK: usize = 8;

/// Takes `diff` from all edges in a segment's SACK options (`pf_modulate_sack`). Says whether it had any.
///
/// # Errors
/// [`OutOfWindow`].
pub fn sack(pkt: &mut Packet<'_>, meta: &PktMeta, pd: &PacketDesc, diff: u32) -> Result<bool, OutOfWindow> {
    let Some(tcp) = pd.tcp() else { return Ok(false) };
    let len = usize::from(tcp.header).saturating_sub(TCP_HEADER);
    let base = at(pd.off).saturating_add(TCP_HEADER);
    let inside = at(pd.tot_len) >= base.saturating_add(len) && pkt.len() >= base.saturating_add(len);
    if len < BLOCK.saturating_add(2) || !inside {
        return Ok(false);
    }
    let mut found = false;
    let mut e = Edit::new(pkt, meta, pd);
    let mut o = 0_usize;
    // Every round moves on by a byte at least, within the 40 bytes of options there can be.
    while len.saturating_sub(o) >= BLOCK.saturating_add(2) {
        let (Some(kind), Some(size)) =
            (e.pkt.u8(base.saturating_add(o)), e.pkt.u8(base.saturating_add(o).saturating_add(1)))
        else {
            break;
        };
        let size = usize::from(size);
        if kind < 2 {
            o = o.saturating_add(1);
            continue;
        }
        if kind == SACK && size >= BLOCK.saturating_add(2) {
            found = true;
            let safe = size.min(len.saturating_sub(o));
            let mut i = 2_usize;
            while i.saturating_add(BLOCK) <= safe {
                shift_block(&mut e, base, o.saturating_add(i), diff);
                i = i.saturating_add(BLOCK);
            }
            o = o.saturating_add(size);
        } else {
            o = o.saturating_add(size.max(2));
        }
    }
    e.done().map(|()| found)
}

/// Takes `diff` from both edges of one block.
fn shift_block(e: &mut Edit<'_, '_>, base: usize, o: usize, diff: u32) {
    for edge in [o, o.saturating_add(4)] {
        let off = base.saturating_add(edge);
        if let Some(v) = e.pkt.u32(off) {
            e.patch32_at(off, v.wrapping_sub(diff), edge & 1 == 0);
        }
    }
}
