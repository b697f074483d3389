//! One frame's way through the edge.

use pfvm::engine::{Carried, Outcome, Seen, Verdict};
use pfvm::norm::frag::refragment6;
use pfvm::packet::{Checksum, Packet, describe, proto};
use pfvm::rule::{Addr, Af, Direction};
use pfvm::wire::icmp::{v4, v6};

use crate::edge::carry::{Ends, Memory};
use crate::edge::count::{Counts, Why};
use crate::edge::cut::{complete, fragment4, without_padding};
use crate::edge::ether::{Ether, Framed, is_group};
use crate::edge::offload::Offload;
use crate::edge::policy::Policy;
use crate::edge::port::{Behind, Port, PortId, Ports, Side};
use crate::edge::route::Origin;
use crate::edge::segment::{self, Finish, owes};
use crate::edge::{Around, Edge, Entry, Exit, Fate, Going, Lent, Sees, Sink};

/// Priority of a packet nobody gave one (`IFQ_DEFPRIO`).
pub(super) const DEFAULT_PRIO: u8 = 3;
/// Parts a frame is given to the sink in at most.
const PARTS: usize = 20;

/// What of an edge no frame changes, or changes as one of many.
#[derive(Clone, Copy)]
pub(super) struct View<'r> {
    pub ports: &'r Ports,
    pub policy: &'r Policy,
    pub finish: Finish,
    pub memory: &'r Memory,
}

/// All that is at hand while one frame is looked at.
pub(super) struct Run<'r, H, S> {
    pub view: View<'r>,
    pub counts: &'r mut Counts,
    pub scratch: &'r mut [u8],
    pub host: &'r mut H,
    pub sink: &'r mut S,
}

/// A packet on its way through the edge, with what belongs to its frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// The frame's header.
    pub ether: Ether,
    /// Family of the packet as it stands.
    pub af: Af,
    /// Facts, counted from `base`.
    pub offload: Offload,
    /// Where its frame began in its buffer.
    pub base: usize,
    /// Where it came in.
    pub entry: Entry,
    /// The interface it is seen on.
    pub iface: u16,
    /// What it carries.
    pub carried: Carried,
    /// It became one of the other family: the facts of its list no longer fit it.
    pub changed: bool,
}

impl Piece {
    /// The way it goes.
    pub(super) const fn dir(&self) -> Direction {
        match self.entry.side {
            Side::Wire => Direction::In,
            Side::Stack => Direction::Out,
        }
    }

    /// Puts the priority it carries now into its tag, where that `was` another.
    pub(super) fn reprioritize(&mut self, was: u8) {
        if self.carried.prio != was {
            self.ether.set_prio(self.carried.prio);
        }
    }

    /// Whether it, or each of its segments, is longer than a link takes.
    pub(super) fn too_big(&self, packet: &Packet<'_>, mtu: u32) -> bool {
        use pfvm::packet::Segments;
        let mtu = usize::try_from(mtu).unwrap_or(usize::MAX);
        let header = if self.af == Af::Inet { 20 } else { 40 };
        let one = match self.offload.meta.segments {
            Segments::One => packet.len(),
            Segments::Tcp { mss } => usize::from(mss).saturating_add(header).saturating_add(20),
            Segments::Udp { size } => usize::from(size).saturating_add(header).saturating_add(8),
        };
        one > mtu
    }

    /// The facts as they are when the frame begins with `header` bytes before the packet.
    pub(super) fn facts(&self, packet: &Packet<'_>, header: usize) -> Offload {
        let now = isize::try_from(packet.headroom()).unwrap_or(0).saturating_sub_unsigned(header);
        let mut facts = self.offload;
        facts.moved(now.saturating_sub_unsigned(self.base));
        facts
    }
}

/// How a packet left.
#[derive(Clone, Copy, Debug)]
pub(super) enum Done {
    /// In place, its header written in front.
    Here(Exit, Offload, Af),
    /// Through the sink.
    Sent,
    /// The engine has it.
    Held,
}

impl Edge {
    /// Takes a frame through the filter. `room` ([`super::ROOM`] bytes) is where a packet is put together; frames other
    /// than this one go to `sink`.
    #[allow(clippy::too_many_arguments, reason = "each is lent by the host for one frame")]
    pub fn frame<H: Around, S: Sink>(
        &mut self,
        host: &mut H,
        entry: Entry,
        lent: Lent<'_>,
        offload: Offload,
        room: &mut [u8],
        sink: &mut S,
    ) -> Fate {
        self.counts.received = self.counts.received.wrapping_add(1);
        let (mut run, own) = self.run(host, sink);
        let mut origin = Origin::of(entry);
        let fate = run.frame(lent, offload, room, &mut origin);
        run.send_made(Some(&origin), own);
        self.counts.fate(&fate);
        fate
    }

    /// Sends what the filter made since, outside any frame's way: after a tick.
    pub fn made<H: Around, S: Sink>(&mut self, host: &mut H, sink: &mut S) {
        let (mut run, own) = self.run(host, sink);
        run.send_made(None, own);
    }

    /// All for one frame, and room for packets of the filter's own.
    fn run<'r, H, S>(&'r mut self, host: &'r mut H, sink: &'r mut S) -> (Run<'r, H, S>, &'r mut [u8]) {
        let Self { ports, policy, counts, finish, memory, scratch, own } = self;
        let view = View { ports, policy, finish: *finish, memory };
        (Run { view, counts, scratch, host, sink }, own)
    }
}

impl Counts {
    /// Counts a fate.
    pub(super) fn fate(&mut self, fate: &Fate) {
        match fate {
            Fate::Pass(_) | Fate::Sent => self.passed = self.passed.wrapping_add(1),
            Fate::Held => self.held = self.held.wrapping_add(1),
            Fate::Drop(why) => self.drop(*why),
        }
    }
}

/// Where a frame goes that goes straight on.
pub(super) fn straight(entry: Entry, port: &Port) -> Exit {
    match (entry.side, port.behind) {
        (Side::Stack, _) => Exit::Wire(entry.port),
        (Side::Wire, Behind::Stack) => Exit::Stack(entry.port),
        (Side::Wire, Behind::Port(other)) => Exit::Wire(other),
    }
}

/// Whether a packet is neighbour or router discovery from the link itself (RFC 4861 §6.1, §7.1).
fn is_discovery(packet: &Packet<'_>, af: Af) -> bool {
    let head = |p: &Packet<'_>| p.u8(6) == Some(proto::ICMPV6) && p.u8(7) == Some(255);
    af == Af::Inet6 && head(packet) && packet.u8(40).is_some_and(|kind| (133..=137).contains(&kind))
}

/// Whether either end is a loopback address, which no wire may show (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3).
fn shows_loopback(ends: &Ends) -> bool {
    let loopback = |a: &Addr| match ends.af {
        Af::Inet => a.0.starts_with(&[127]),
        Af::Inet6 => *a == Addr([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    };
    loopback(&ends.src) || loopback(&ends.dst)
}

/// What a frame is.
pub(super) enum Looked<'b> {
    /// One the engine is not asked about.
    Settled(Fate),
    /// A packet, and its ends.
    Packet(Packet<'b>, Piece, Option<Ends>),
}

impl View<'_> {
    /// Looks at a frame. What its packet carries is yet to be recalled.
    #[inline(never)]
    pub(super) fn look<'b>(&self, entry: Entry, lent: Lent<'b>, offload: Offload) -> Looked<'b> {
        let Some(port) = self.ports.get(entry.port) else { return Looked::Settled(Fate::Drop(Why::NoRoute)) };
        let bytes = lent.window.get(lent.head..).unwrap_or_default();
        let whole = lent.rest.iter().fold(bytes.len(), |n, part| n.saturating_add(part.len()));
        let drop = |why| Looked::Settled(Fate::Drop(why));
        let on = |af| {
            let going = Going { exit: straight(entry, port), head: lent.head, len: whole, offload, af, delay: 0 };
            Looked::Settled(Fate::Pass(going))
        };
        if entry.side == Side::Stack {
            port.learn(bytes);
        }
        let (ether, af) = match Ether::of(bytes) {
            Framed::Ip(ether, af) => (ether, af),
            Framed::Arp if self.policy.arp => return on(Af::Inet),
            Framed::Other(kind) if self.policy.passes(kind) => return on(Af::Inet),
            Framed::Arp | Framed::Other(_) => return drop(Why::Kind),
            Framed::Truncated => return drop(Why::Truncated),
        };
        let inward = entry.side == Side::Wire;
        if inward && port.behind == Behind::Stack && !is_group(ether.dst()) && !port.takes(ether.dst()) {
            return drop(Why::Elsewhere);
        }
        let ether = ether.tagged(offload.tag);
        let Some(iface) = ether.seen_on(port, self.policy.tagged) else { return drop(Why::Vlan) };
        let start = lent.head.saturating_add(ether.len());
        let Some(mut packet) = Packet::new(lent.window, start, lent.rest) else { return drop(Why::Truncated) };
        if self.policy.discovery && is_discovery(&packet, af) {
            return on(af);
        }
        if offload.is_one()
            && let Some(len) = without_padding(&packet, af)
            && !packet.set_len(len)
        {
            return drop(Why::Truncated);
        }
        let ends = Ends::of(&packet, af);
        if inward && ends.as_ref().is_some_and(shows_loopback) {
            return drop(Why::Loopback);
        }
        let carried = Carried { prio: ether.prio().unwrap_or(DEFAULT_PRIO), ..Carried::default() };
        Looked::Packet(
            packet,
            Piece { ether, af, offload, base: lent.head, entry, iface, carried, changed: false },
            ends,
        )
    }

    /// What a packet is seen as, and what it carries since it came up. `None` when another processor is just at that.
    #[inline(never)]
    pub(super) fn seen<H: Sees>(&self, host: &H, piece: &mut Piece, ends: Option<&Ends>) -> Option<Seen> {
        let dir = piece.dir();
        let forwarded = dir == Direction::Out && ends.is_some_and(|e| !host.is_own(e.af, &e.src));
        let seen = Seen { af: piece.af, dir, forwarded, iface: piece.iface };
        let recalled = match ends {
            Some(ends) if forwarded => self.memory.recall(ends, &mut piece.carried, host.now_ms()),
            _ => true,
        };
        recalled.then_some(seen)
    }

    /// Remembers what a packet carries up to the stack; its ends.
    pub(super) fn remember<H: Sees>(&self, host: &H, packet: &Packet<'_>, piece: &Piece, port: &Port) -> Option<Ends> {
        let (ends, now) = (Ends::of(packet, piece.af)?, host.now_ms());
        self.memory.keep(ends, &piece.carried, now);
        let large = usize::try_from(port.mtu).is_ok_and(|mtu| packet.len() > mtu);
        if piece.carried.reassembled.is_some() || (large && piece.offload.is_one()) {
            // The stack will cut it again: its fragments come down without ports.
            self.memory.keep(ends.bare(), &piece.carried, now);
        }
        Some(ends)
    }
}

impl<H: Around, S: Sink> Run<'_, H, S> {
    fn frame(&mut self, lent: Lent<'_>, offload: Offload, room: &mut [u8], origin: &mut Origin) -> Fate {
        match self.view.look(origin.entry, lent, offload) {
            Looked::Settled(fate) => fate,
            Looked::Packet(mut packet, piece, ends) => {
                origin.saw(&piece.ether, piece.iface, ends.as_ref());
                self.packet(&mut packet, piece, ends.as_ref(), room)
            }
        }
    }

    /// A packet through the engine and on.
    #[inline(never)]
    fn packet(&mut self, packet: &mut Packet<'_>, mut piece: Piece, ends: Option<&Ends>, room: &mut [u8]) -> Fate {
        let dir = piece.dir();
        // Alone, there is no other processor.
        let Some(seen) = self.view.seen(self.host, &mut piece, ends) else { return Fate::Drop(Why::Room) };
        let out = self.host.process(packet, &piece.offload.meta, seen, piece.carried, room);
        let done = match out.replaced {
            None => self.onward(packet, piece, &out, dir),
            Some(r) => {
                let end = r.at.saturating_add(r.len);
                let whole = room.get_mut(..end).and_then(|w| Packet::new(w, r.at, &[]));
                let Some(mut whole) = whole else { return Fate::Drop(Why::Room) };
                let piece = Piece { offload: Offload::default(), base: 0, ..piece };
                let done = self.onward(&mut whole, piece, &out, dir);
                return match done {
                    Ok(Done::Here(exit, offload, af)) => {
                        self.send(exit, &[whole.window()], &offload, af);
                        Fate::Sent
                    }
                    Ok(Done::Sent) => Fate::Sent,
                    Ok(Done::Held) => Fate::Held,
                    Err(why) => Fate::Drop(why),
                };
            }
        };
        match done {
            Ok(Done::Here(exit, offload, af)) => {
                Fate::Pass(Going { exit, head: packet.headroom(), len: packet.len(), offload, af, delay: out.delay })
            }
            Ok(Done::Sent) => Fate::Sent,
            Ok(Done::Held) => Fate::Held,
            Err(why) => Fate::Drop(why),
        }
    }

    /// Carries out what the engine decided about a packet.
    #[inline(never)]
    fn onward(
        &mut self,
        packet: &mut Packet<'_>,
        mut piece: Piece,
        out: &Outcome,
        dir: Direction,
    ) -> Result<Done, Why> {
        match out.verdict {
            Verdict::Pass if out.divert.is_some() => return Err(Why::Divert),
            Verdict::Pass | Verdict::Reroute => {}
            Verdict::Drop => return Err(Why::Filter),
            Verdict::Consumed => return Ok(Done::Held),
            Verdict::Divert(_) => return Err(Why::Divert),
        }
        let was = piece.carried.prio;
        piece.carried = out.carried;
        let Some(port) = self.view.ports.get(piece.entry.port) else { return Err(Why::NoRoute) };
        if out.verdict == Verdict::Reroute {
            return self.other_family(packet, piece, dir);
        }
        if let Some(to) = out.send_to {
            match self.redirected(packet, piece, &to, dir)? {
                None => {}
                Some(done) => return Ok(done),
            }
        }
        if dir == Direction::In {
            piece.carried.received_on = Some(piece.iface);
            return match port.behind {
                Behind::Stack => self.up(packet, piece, port),
                Behind::Port(other) => self.across(packet, piece, other),
            };
        }
        if out.reroute && port.behind == Behind::Stack {
            return self.anew(packet, piece);
        }
        piece.reprioritize(was);
        self.leave(packet, piece, Exit::Wire(piece.entry.port))
    }

    /// Up to the host's stack.
    fn up(&mut self, packet: &mut Packet<'_>, piece: Piece, port: &Port) -> Result<Done, Why> {
        if let Some(ends) = self.view.remember(self.host, packet, &piece, port)
            && let Some(tag) = piece.carried.reassembled
            && !self.host.is_own(ends.af, &ends.dst)
        {
            // A stack does not forward what is longer than the next link takes (RFC 8200 §5): up go fragments.
            return self.refragment(packet, piece, &tag, Exit::Stack(piece.entry.port));
        }
        self.leave(packet, piece, Exit::Stack(piece.entry.port))
    }

    /// Across a bridge: out of the other port.
    fn across(&mut self, packet: &mut Packet<'_>, mut piece: Piece, other: PortId) -> Result<Done, Why> {
        let Some(iface) = self.view.ports.get(other).map(|p| p.iface) else { return Err(Why::NoRoute) };
        let seen = Seen { af: piece.af, dir: Direction::Out, forwarded: true, iface };
        let was = piece.carried.prio;
        let out = self.host.process(packet, &piece.offload.meta, seen, piece.carried, &mut []);
        match out.verdict {
            Verdict::Pass if out.send_to.is_none() => {}
            Verdict::Pass => return Err(Why::NoRoute),
            Verdict::Consumed => return Ok(Done::Held),
            Verdict::Drop => return Err(Why::Filter),
            Verdict::Reroute | Verdict::Divert(_) => return Err(Why::Divert),
        }
        piece.carried = out.carried;
        piece.reprioritize(was);
        self.leave(packet, piece, Exit::Wire(other))
    }

    /// The last step: as large as the link takes, the frame's header in front.
    #[inline(never)]
    pub(super) fn leave(&mut self, packet: &mut Packet<'_>, mut piece: Piece, exit: Exit) -> Result<Done, Why> {
        if let Exit::Wire(id) | Exit::Resolve(id, _) = exit {
            let mtu = self.view.ports.get(id).map_or(u32::MAX, |p| p.mtu);
            if let Some(tag) = piece.carried.reassembled.filter(|_| piece.af == Af::Inet6) {
                return self.refragment(packet, piece, &tag, exit);
            }
            if piece.too_big(packet, mtu) {
                return self.cut(packet, piece, exit, mtu);
            }
        }
        let mut offload = piece.facts(packet, piece.ether.len());
        if self.finishes(&piece, exit) {
            if !piece.offload.is_one() {
                return self.segmented(packet, &piece, exit);
            }
            segment::settle(packet, piece.af, &piece.offload.meta).ok_or(Why::Offload)?;
            offload = piece.offload.settled();
        }
        offload.tag = piece.ether.facts().tag;
        if !piece.ether.put_before(packet, piece.af) {
            return Err(Why::Room);
        }
        Ok(Done::Here(exit, offload, piece.af))
    }

    /// Whether what a card was to do with a packet is done here: it does not leave by the card it was meant for.
    fn finishes(&self, piece: &Piece, exit: Exit) -> bool {
        let on = || self.view.ports.get(piece.entry.port).is_some_and(|port| straight(piece.entry, port) == exit);
        self.view.finish == Finish::Edge && owes(&piece.offload.meta) && (piece.changed || !on())
    }

    /// Bytes the link of an exit takes.
    fn link(&self, exit: Exit) -> usize {
        let (Exit::Wire(id) | Exit::Resolve(id, _) | Exit::Stack(id)) = exit;
        self.view.ports.get(id).map_or(usize::MAX, |p| usize::try_from(p.mtu).unwrap_or(usize::MAX))
    }

    /// Sends the segments of a packet: the first stands for it, the others are counted as made.
    fn segmented(&mut self, packet: &Packet<'_>, piece: &Piece, exit: Exit) -> Result<Done, Why> {
        let (mtu, mut ether, af) = (self.link(exit), piece.ether, piece.af);
        ether.set_family(af);
        let (sink, counts) = (&mut *self.sink, &mut *self.counts);
        let mut first = true;
        let cut = segment::segment(packet, af, &piece.offload.meta, mtu, self.scratch, |part| {
            ether.set_payload(part.len());
            give(sink, counts, exit, &[ether.bytes(), part], &ether.facts(), af, &mut first);
        });
        cut.map_or(Err(Why::Offload), |_| Ok(Done::Sent))
    }

    /// Cuts a packet, or tells its sender that it is too large.
    #[inline(never)]
    fn cut(&mut self, packet: &mut Packet<'_>, piece: Piece, exit: Exit, mtu: u32) -> Result<Done, Why> {
        let size = usize::try_from(mtu).unwrap_or(usize::MAX);
        let dont = piece.af == Af::Inet6 || packet.u16(6).is_some_and(|flags| flags & 0x4000 != 0);
        if dont || !piece.offload.is_one() {
            let what = match piece.af {
                Af::Inet => (v4::UNREACHABLE, 4, mtu),
                Af::Inet6 => (v6::PACKET_TOO_BIG, 0, mtu),
            };
            self.complain(packet, &piece, what);
            return Err(Why::TooBig);
        }
        if piece.offload.meta.l4 == Checksum::Partial {
            let front = packet.headroom().saturating_sub(piece.base);
            let done = match self.view.finish {
                Finish::Host => complete(packet, &piece.offload, front),
                Finish::Edge => segment::settle(packet, piece.af, &piece.offload.meta).is_some(),
            };
            if !done {
                return Err(Why::Offload);
            }
        }
        let mut ether = piece.ether;
        ether.set_family(piece.af);
        let (sink, counts) = (&mut *self.sink, &mut *self.counts);
        let mut first = true;
        let cut = fragment4(packet, size, self.scratch, |part| {
            ether.set_payload(part.len());
            give(sink, counts, exit, &[ether.bytes(), part], &ether.facts(), Af::Inet, &mut first);
        });
        cut.map_or(Err(Why::TooBig), |_| Ok(Done::Sent))
    }

    /// Cuts an IPv6 packet into fragments as they came.
    #[inline(never)]
    fn refragment(
        &mut self,
        packet: &mut Packet<'_>,
        piece: Piece,
        tag: &pfvm::norm::frag::FragTag,
        exit: Exit,
    ) -> Result<Done, Why> {
        let id = self.host.random_u32();
        let mut ether = piece.ether;
        ether.set_family(Af::Inet6);
        let (sink, counts) = (&mut *self.sink, &mut *self.counts);
        let mut first = true;
        let cut = refragment6(packet, tag, id, self.scratch, |part| {
            ether.set_payload(part.len());
            give(sink, counts, exit, &[ether.bytes(), part], &ether.facts(), Af::Inet6, &mut first);
        });
        cut.map_or(Err(Why::TooBig), |_| Ok(Done::Sent))
    }

    /// Tells the sender of a packet what became of it.
    #[inline(never)]
    pub(super) fn complain(&mut self, packet: &Packet<'_>, piece: &Piece, what: (u8, u8, u32)) {
        if let Ok(pd) = describe(packet, &piece.offload.meta, piece.af, Direction::In, piece.iface) {
            self.host.complain(packet, &pd, what);
        }
    }

    /// Sends a frame in place of the one at hand.
    fn send(&mut self, exit: Exit, parts: &[&[u8]], offload: &Offload, af: Af) {
        if !self.sink.frame(exit, parts, offload, af) {
            self.counts.lost = self.counts.lost.wrapping_add(1);
        }
    }

    /// Sends a frame the filter made.
    pub(super) fn generate(&mut self, exit: Exit, parts: &[&[u8]], offload: &Offload, af: Af) {
        self.counts.generated = self.counts.generated.wrapping_add(1);
        self.send(exit, parts, offload, af);
    }

    /// Sends a copy of a packet behind a header.
    #[inline(never)]
    pub(super) fn copy(&mut self, packet: &Packet<'_>, piece: &Piece, exit: Exit) {
        let mut ether = piece.ether;
        ether.set_family(piece.af);
        if self.finishes(piece, exit) {
            let (mtu, af) = (self.link(exit), piece.af);
            let (sink, counts) = (&mut *self.sink, &mut *self.counts);
            // The packet at hand is counted elsewhere: all of these are made. What cannot be finished is left out.
            let _cut = segment::segment(packet, af, &piece.offload.meta, mtu, self.scratch, |part| {
                ether.set_payload(part.len());
                give(sink, counts, exit, &[ether.bytes(), part], &ether.facts(), af, &mut false);
            });
            return;
        }
        let offload = Offload { tag: ether.facts().tag, ..piece.facts(packet, piece.ether.len()) };
        ether.set_payload(packet.len());
        let mut parts: [&[u8]; PARTS] = [&[]; PARTS];
        let pieces = core::iter::once(ether.bytes()).chain(packet.chunks(0, packet.len()));
        let mut n = 0_usize;
        for (to, from) in parts.iter_mut().zip(pieces) {
            *to = from;
            n = n.saturating_add(1);
        }
        let held = parts.iter().fold(0_usize, |sum, p| sum.saturating_add(p.len()));
        if held == packet.len().saturating_add(ether.len()) {
            self.generate(exit, parts.get(..n).unwrap_or_default(), &offload, piece.af);
        }
    }
}

/// Gives a fragment to the sink: the first stands for the packet that came, the others are counted as made.
fn give<S: Sink>(
    sink: &mut S,
    counts: &mut Counts,
    exit: Exit,
    parts: &[&[u8]],
    offload: &Offload,
    af: Af,
    first: &mut bool,
) {
    if !core::mem::take(first) {
        counts.generated = counts.generated.wrapping_add(1);
    }
    if !sink.frame(exit, parts, offload, af) {
        counts.lost = counts.lost.wrapping_add(1);
    }
}
