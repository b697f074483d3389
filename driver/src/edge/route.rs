//! Packets that go elsewhere than straight on: `route-to`, `reply-to`, `dup-to`, the other family, a destination changed
//! on the way out, and what the filter itself sends.
//!
//! Next hops are the host's: its routing table says where, its neighbour table to whom. A hop nobody knows yet leaves
//! as [`Exit::Resolve`].
//!
//! Source: `pf.c pf_route`, `pf_route6`, `pf_test` (`PF_AFRT`), `ip_input.c ip_forward`.

use pfvm::engine::outcome::SendTo;
use pfvm::engine::{Carried, Seen, Verdict};
use pfvm::packet::Packet;
use pfvm::rule::{Addr, Af, Direction, RouteKind};
use pfvm::wire::icmp::{v4, v6};

use crate::edge::carry::Ends;
use crate::edge::count::Why;
use crate::edge::cut::decrement_ttl;
use crate::edge::ether::{Ether, Mac};
use crate::edge::offload::Offload;
use crate::edge::pass::{DEFAULT_PRIO, Done, Piece, Run, straight};
use crate::edge::port::{Behind, Side};
use crate::edge::{Around, Entry, Exit, HEADROOM, Hop, Made, Sink, Way};

/// Rules that send a packet on, one after the other, at most.
const TURNS: usize = 3;
/// Packets the filter made that are sent after one frame at most.
const MADE: usize = 64;

/// Where the frame at hand came from: what answers to it may rely on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub entry: Entry,
    iface: u16,
    ether: Option<Ether>,
    ends: Option<Ends>,
}

impl Origin {
    pub(super) const fn of(entry: Entry) -> Self {
        Self { entry, iface: 0, ether: None, ends: None }
    }

    /// The frame was looked at.
    pub(super) fn saw(&mut self, ether: &Ether, iface: u16, ends: Option<&Ends>) {
        (self.ether, self.iface, self.ends) = (Some(*ether), iface, ends.copied());
    }

    /// Whether an address is that of the frame's sender.
    fn sent_by(&self, af: Af, addr: &Addr) -> bool {
        self.ends.is_some_and(|e| e.af == af && e.src == *addr)
    }
}

/// The destination of a packet.
fn destination(packet: &Packet<'_>, af: Af) -> Option<Addr> {
    Some(match af {
        Af::Inet => pfvm::packet::addr4(packet.array::<4>(16)?),
        Af::Inet6 => Addr(packet.array::<16>(24)?),
    })
}

impl<H: Around, S: Sink> Run<'_, H, S> {
    /// Where a next hop on an interface is sent to, and the header for it.
    fn toward(&self, hop: &Hop, af: Af) -> Result<(Exit, Ether), Why> {
        let (id, vlan) = self.view.ports.of(hop.iface).ok_or(Why::NoRoute)?;
        let port = self.view.ports.get(id).ok_or(Why::NoRoute)?;
        let many = |a: &Addr| match hop.af {
            Af::Inet => a.0.first().is_some_and(|b| (224..240).contains(b)),
            Af::Inet6 => a.0.starts_with(&[0xff]),
        };
        let (exit, mac) = match self.host.neighbour(hop) {
            _ if many(&hop.addr) => (Exit::Wire(id), group_mac(hop.af, &hop.addr)),
            Some(mac) => (Exit::Wire(id), mac),
            None => (Exit::Resolve(id, *hop), [0; 6]),
        };
        Ok((exit, Ether::new(mac, port.mac, af, vlan)))
    }

    /// Sends a packet the way the host's routing sends it; up when it is the host's own.
    fn routed(&mut self, packet: &mut Packet<'_>, mut piece: Piece, dst: &Addr) -> Result<Done, Why> {
        if self.host.is_own(piece.af, dst) {
            let mac = self.view.ports.get(piece.entry.port).map_or([0; 6], |p| p.mac);
            piece.ether.set_ends(mac, mac);
            return self.leave(packet, piece, Exit::Stack(piece.entry.port));
        }
        let way = self.host.way(piece.af, dst).ok_or(Why::NoRoute)?;
        let (exit, ether) = self.toward(&Hop { iface: way.iface, af: piece.af, addr: way.hop }, piece.af)?;
        piece.ether = ether;
        self.leave(packet, piece, exit)
    }

    /// A packet whose destination changed on the way out.
    pub(super) fn anew(&mut self, packet: &mut Packet<'_>, piece: Piece) -> Result<Done, Why> {
        let dst = destination(packet, piece.af).ok_or(Why::NoRoute)?;
        self.routed(packet, piece, &dst)
    }

    /// A packet that is now of the other family: forwarded by the host's routing, not filtered again.
    pub(super) fn other_family(
        &mut self,
        packet: &mut Packet<'_>,
        mut piece: Piece,
        dir: Direction,
    ) -> Result<Done, Why> {
        let af = match packet.u8(0).map(|b| b >> 4) {
            Some(4) => Af::Inet,
            Some(6) => Af::Inet6,
            _ => return Err(Why::Truncated),
        };
        if af == Af::Inet6 && piece.af == Af::Inet {
            piece.offload.shrink(20);
        }
        (piece.af, piece.changed) = (af, true);
        // What was put together of the other family's fragments is cut by size alone.
        piece.carried.reassembled = None;
        let dst = destination(packet, af).ok_or(Why::NoRoute)?;
        if dir == Direction::In && !self.host.is_own(af, &dst) {
            self.hop_less(packet, &piece)?;
        }
        self.routed(packet, piece, &dst)
    }

    /// Takes one from the time to live, or tells the sender that it is over.
    fn hop_less(&mut self, packet: &mut Packet<'_>, piece: &Piece) -> Result<(), Why> {
        if decrement_ttl(packet, piece.af) {
            return Ok(());
        }
        let what = match piece.af {
            Af::Inet => (v4::TIME_EXCEEDED, 0, 0),
            Af::Inet6 => (v6::TIME_EXCEEDED, 0, 0),
        };
        self.complain(packet, piece, what);
        Err(Why::Expired)
    }

    /// Carries out `route-to`, `reply-to` and `dup-to`. `None` when the packet still goes straight on.
    #[inline(never)]
    pub(super) fn redirected(
        &mut self,
        packet: &mut Packet<'_>,
        piece: Piece,
        to: &SendTo,
        dir: Direction,
    ) -> Result<Option<Done>, Why> {
        if to.kind == RouteKind::DupTo {
            self.duplicate(packet, piece, to, dir);
            return Ok(None);
        }
        if dir == Direction::In {
            self.hop_less(packet, &piece)?;
        }
        let (mut piece, mut to, mut dir) = (piece, *to, dir);
        for _ in 0..TURNS {
            let Some(way) = self.host.way(piece.af, &to.hop) else {
                let what = match piece.af {
                    Af::Inet => (v4::UNREACHABLE, 0, 0),
                    Af::Inet6 => (v6::UNREACHABLE, 0, 0),
                };
                self.complain(packet, &piece, what);
                return Err(Why::NoRoute);
            };
            if dir == Direction::In {
                match self.out_of(packet, &mut piece, &way)? {
                    Turn::Held => return Ok(Some(Done::Held)),
                    Turn::Elsewhere(again) => {
                        (to, dir) = (again, Direction::Out);
                        continue;
                    }
                    Turn::Go => {}
                }
            }
            let (exit, ether) = self.toward(&Hop { iface: way.iface, af: piece.af, addr: way.hop }, piece.af)?;
            piece.ether = ether;
            return self.leave(packet, piece, exit).map(Some);
        }
        Err(Why::NoRoute)
    }

    /// A packet that came in and is sent on passes the filter once more, on its way out.
    #[inline(never)]
    fn out_of(&mut self, packet: &mut Packet<'_>, piece: &mut Piece, way: &Way) -> Result<Turn, Why> {
        let seen = Seen { af: piece.af, dir: Direction::Out, forwarded: true, iface: way.iface };
        piece.carried.received_on = Some(piece.iface);
        let out = self.host.process(packet, &piece.offload.meta, seen, piece.carried, &mut []);
        piece.carried = out.carried;
        match out.verdict {
            Verdict::Pass => Ok(match out.send_to {
                Some(to) if to.kind != RouteKind::DupTo => Turn::Elsewhere(to),
                _ => Turn::Go,
            }),
            Verdict::Consumed => Ok(Turn::Held),
            Verdict::Drop => Err(Why::Filter),
            Verdict::Reroute | Verdict::Divert(_) => Err(Why::Divert),
        }
    }

    /// Sends a copy; what cannot be sent is left out.
    #[inline(never)]
    fn duplicate(&mut self, packet: &mut Packet<'_>, mut piece: Piece, to: &SendTo, dir: Direction) {
        let Some(head) = packet.array::<20>(0) else { return };
        let Some(way) = self.host.way(piece.af, &to.hop) else { return };
        let Ok((exit, ether)) = self.toward(&Hop { iface: way.iface, af: piece.af, addr: way.hop }, piece.af) else {
            return;
        };
        if dir == Direction::In && !decrement_ttl(packet, piece.af) {
            return;
        }
        piece.ether = ether;
        self.copy(packet, &piece, exit);
        // The original goes on as it was. Cannot fail: these bytes were just written.
        let _restored = packet.write(0, &head);
    }

    /// Sends what the filter made: answers to the frame at hand, or to nobody's after a tick.
    pub(super) fn send_made(&mut self, origin: Option<&Origin>, room: &mut [u8]) {
        for _ in 0..MADE {
            let Some(body) = room.get_mut(HEADROOM..) else { return };
            let Some(made) = self.host.take_made(body) else { return };
            let end = HEADROOM.saturating_add(made.len);
            if let Some(window) = room.get_mut(..end)
                && let Some(mut packet) = Packet::new(window, HEADROOM, &[])
            {
                // A packet with no way is dropped, as by a host without a route.
                let _sent = self.one_made(&mut packet, &made, origin);
            }
        }
    }

    #[inline(never)]
    fn one_made(&mut self, packet: &mut Packet<'_>, made: &Made, origin: Option<&Origin>) -> Result<(), Why> {
        let dst = destination(packet, made.af).ok_or(Why::Truncated)?;
        if let Some(o) = origin.filter(|o| o.ends.is_some_and(|e| e.af != made.af) && self.host.is_own(made.af, &dst)) {
            return self.told_back(packet, made, o);
        }
        let (exit, ether, iface, dir) = match origin {
            Some(o) if self.bridged(o) => self.mirrored(o, made.af, &dst).ok_or(Why::NoRoute)?,
            _ => self.addressed(origin, made.af, &dst)?,
        };
        let carried = Carried { tag: made.tag, prio: DEFAULT_PRIO, generated: made.generated, ..Carried::default() };
        if !made.generated {
            let seen = Seen { af: made.af, dir, forwarded: false, iface };
            let out = self.host.process(packet, &Offload::default().meta, seen, carried, &mut []);
            if out.verdict != Verdict::Pass || out.divert.is_some() {
                return Err(Why::Filter);
            }
        }
        self.generate(exit, &[ether.bytes(), packet.window()], &ether.facts(), made.af);
        Ok(())
    }

    /// An error about a packet that had just become one of the other family is addressed to the host itself, which the
    /// packet now came from: it goes through the filter as if it had come in, and back to who sent the packet.
    #[inline(never)]
    fn told_back(&mut self, packet: &mut Packet<'_>, made: &Made, o: &Origin) -> Result<(), Why> {
        let seen = Seen { af: made.af, dir: Direction::In, forwarded: false, iface: o.iface };
        let meta = Offload::default().meta;
        let carried = Carried { prio: DEFAULT_PRIO, ..Carried::default() };
        let out = self.host.process(packet, &meta, seen, carried, &mut []);
        if out.verdict != Verdict::Reroute {
            return Err(Why::NoRoute);
        }
        let ether = o.ether.ok_or(Why::NoRoute)?;
        let base = packet.headroom().saturating_sub(ether.len());
        let (iface, carried) = (o.iface, out.carried);
        let (af, offload) = (made.af, Offload::default());
        let piece = Piece { ether, af, offload, base, entry: o.entry, iface, carried, changed: false };
        if let Done::Here(exit, offload, af) = self.other_family(packet, piece, Direction::Out)? {
            self.generate(exit, &[packet.window()], &offload, af);
        }
        Ok(())
    }

    /// Where the host's routing sends a packet of the filter's own.
    fn addressed(&self, origin: Option<&Origin>, af: Af, dst: &Addr) -> Result<(Exit, Ether, u16, Direction), Why> {
        if self.host.is_own(af, dst) {
            let mac = |id| self.view.ports.get(id).map(|port| port.mac).ok_or(Why::NoRoute);
            let (id, header, iface) = match origin {
                Some(o) => {
                    let mac = mac(o.entry.port)?;
                    let came = o.ether.unwrap_or_else(|| Ether::new(mac, mac, af, None));
                    (o.entry.port, Ether::answering(&came, mac, mac, af), o.iface)
                }
                None => {
                    let iface = self.host.way(af, dst).map(|w| w.iface).ok_or(Why::NoRoute)?;
                    let (id, vlan) = self.view.ports.of(iface).ok_or(Why::NoRoute)?;
                    (id, Ether::new(mac(id)?, mac(id)?, af, vlan), iface)
                }
            };
            return Ok((Exit::Stack(id), header, iface, Direction::In));
        }
        let back = || origin.filter(|o| o.sent_by(af, dst) && o.entry.side == Side::Wire);
        let Some(way) = self.host.way(af, dst) else {
            // No route, yet its sender is on the link the frame came by.
            let o = back().ok_or(Why::NoRoute)?;
            let (port, ether) = (self.view.ports.get(o.entry.port).ok_or(Why::NoRoute)?, o.ether.ok_or(Why::NoRoute)?);
            let header = Ether::answering(&ether, ether.src(), port.mac, af);
            return Ok((Exit::Wire(o.entry.port), header, o.iface, Direction::Out));
        };
        let (mut exit, mut ether) = self.toward(&Hop { iface: way.iface, af, addr: way.hop }, af)?;
        if let Exit::Wire(id) | Exit::Resolve(id, _) = exit
            && let Some(o) = back().filter(|o| o.iface == way.iface)
            && let Some(came) = o.ether
            && let Some(port) = self.view.ports.get(id)
        {
            // The sender's own address is in the frame it sent, and a tag of that frame is of its way.
            let to = if exit == Exit::Wire(id) { ether.dst() } else { came.src() };
            if exit != Exit::Wire(id) || came.vlan.is_some() {
                exit = Exit::Wire(id);
                ether = Ether::answering(&came, to, port.mac, af);
            }
        }
        Ok((exit, ether, way.iface, Direction::Out))
    }

    fn bridged(&self, origin: &Origin) -> bool {
        self.view.ports.get(origin.entry.port).is_some_and(|p| p.behind != Behind::Stack)
    }

    /// In a bridge answers go back to the frame's sender as if from its receiver, and everything else on to its
    /// receiver as if from its sender.
    fn mirrored(&self, o: &Origin, af: Af, dst: &Addr) -> Option<(Exit, Ether, u16, Direction)> {
        let (came, port) = (o.ether?, self.view.ports.get(o.entry.port)?);
        let mut ether = came;
        ether.set_family(af);
        if o.sent_by(af, dst) {
            ether.set_ends(came.src(), came.dst());
            return Some((Exit::Wire(o.entry.port), ether, port.iface, Direction::Out));
        }
        let exit = straight(o.entry, port);
        let iface = match port.behind {
            Behind::Port(other) => self.view.ports.get(other)?.iface,
            Behind::Stack => port.iface,
        };
        Some((exit, ether, iface, Direction::Out))
    }
}

/// What the second look at a packet that is sent on came to.
enum Turn {
    Go,
    Elsewhere(SendTo),
    Held,
}

/// The hardware address of a group (RFC 1112 §6.4, RFC 2464 §7).
fn group_mac(af: Af, addr: &Addr) -> Mac {
    let Addr(a) = addr;
    match af {
        Af::Inet => {
            let [_, b, c, d, ..] = *a;
            [1, 0, 0x5e, b & 0x7f, c, d]
        }
        Af::Inet6 => {
            let [.., w, x, y, z] = *a;
            [0x33, 0x33, w, x, y, z]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_their_hardware_address() {
        let v4 = pfvm::packet::addr4([239, 129, 2, 3]);
        assert_eq!(group_mac(Af::Inet, &v4), [1, 0, 0x5e, 1, 2, 3]);
        let mut v6 = [0; 16];
        (v6[0], v6[13], v6[15]) = (0xff, 1, 2);
        assert_eq!(group_mac(Af::Inet6, &Addr(v6)), [0x33, 0x33, 0, 1, 0, 2]);
    }
}
