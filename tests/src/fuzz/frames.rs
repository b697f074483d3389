//! Frames: any bytes in any pieces, with offload facts and lengths that may lie, through both edges over a ruleset.
//!
//! The first byte says which edge: a host's that lends a window and pieces (pfd's, finishing itself or not), or that of one of
//! the two drivers over buffer lists of the mock. Then frames: where it comes in, ten bytes of facts, where it is cut, its bytes.

use ndismock::stack::{Frame, One};
use ndismock::sys;
use pfdriver::edge::ether::Mac;
use pfdriver::edge::filtered::{Filtered, Neighbours};
use pfdriver::edge::offload::{Offload, VNET};
use pfdriver::edge::policy::Policy;
use pfdriver::edge::port::{Behind, Port, PortId, Side};
use pfdriver::edge::segment::{Finish, owes};
use pfdriver::edge::{Edge, Entry, Exit, Fate, HEADROOM, Hop, Lent, ROOM, Sink};
use pfdriver::filter::Filter;
use pfndis::frames::Supply;
use pfndis::gateway::Boot;
use pfvm::api::After;
use pfvm::rule::Af;

use super::api::{byte, sized, take};
use crate::desk::{Clock, Desk, image, small};
use crate::ndis::Driven;
use crate::{im, ndis};

/// Rules that rewrite, send elsewhere, copy, put together and answer.
const RULES: &str = "set reassemble yes\nblock return\nmatch out on em0 inet proto { tcp udp } nat-to 192.0.2.1\n\
    pass in on em1 inet proto tcp to port 80\npass in on em1 inet proto udp to port 53 route-to 192.0.2.77\n\
    pass in on em1 inet proto icmp dup-to 192.0.2.78\n\
    pass in on em1 inet6 from any to 64:ff9b::/96 af-to inet from 192.0.2.1\n\
    pass in on em1 proto tcp to port 25 synproxy state\npass out\n";
/// A port no rule lets in.
const CLOSED: u16 = 23;
/// Most frames of an input.
const MOST: usize = 24;
/// The hardware address of port n ends with n + 1, as the mock gives them.
const MAC: Mac = [2, 0, 0, 0, 0, 0];

thread_local! {
    static IMAGE: Vec<u8> = image("", RULES);
}

fn loaded() -> Filter<Clock> {
    let mut desk = Desk::new(small());
    desk.commit("", &IMAGE.with(Clone::clone), After::Keep, 0).expect("the rules load");
    desk.filter.0.into_inner().expect("nobody failed with it")
}

/// A frame as the input has it.
struct Given<'d> {
    port: u16,
    side: Side,
    flags: u8,
    facts: &'d [u8],
    cuts: &'d [u8],
    bytes: Vec<u8>,
}

impl<'d> Given<'d> {
    fn read(data: &mut &'d [u8]) -> Self {
        let (place, flags) = (byte(data), byte(data));
        let facts = take(data, VNET);
        let cuts = usize::from(byte(data) & 15);
        let cuts = take(data, cuts);
        let mut bytes = sized(data).to_vec();
        if place & 4 == 0
            && let Some(to) = bytes.get_mut(..6)
        {
            // To the adapter, as most frames are.
            to.copy_from_slice(&[2, 0, 0, 0, 0, (place & 1) + 1]);
        }
        if flags & 0x80 != 0 {
            // A long one without a long input.
            let more = usize::from(flags & 0x7f) * 257;
            bytes.extend((0..more).map(|i| i as u8));
        }
        let side = if place & 2 == 0 { Side::Wire } else { Side::Stack };
        Self { port: u16::from(place & 1), side, flags, facts, cuts, bytes }
    }

    fn fact(&self, at: usize) -> usize {
        usize::from(self.facts.get(at).copied().unwrap_or(0))
    }
}

/// Takes frames through an edge.
///
/// # Panics
/// When a frame has no fate or two, something unfinished leaves, or a buffer list is lost.
pub fn frames(data: &[u8]) {
    let Some((kind, mut data)) = data.split_first() else { return };
    let given: Vec<Given<'_>> =
        std::iter::from_fn(|| (!data.is_empty()).then(|| Given::read(&mut data))).take(MOST).collect();
    match (kind & 3, kind & 4 != 0) {
        (0, _) => lent(&given, Finish::Host),
        (1, _) => lent(&given, Finish::Edge),
        (2, false) => listed::<ndis::Host>(&given, Boot::Block),
        (2, true) => listed::<im::Host>(&given, Boot::Block),
        (_, false) => listed::<ndis::Host>(&given, Boot::Pass),
        (_, true) => listed::<im::Host>(&given, Boot::Pass),
    }
}

/// Whether a frame is a whole TCP packet to the closed port.
fn closed(frame: &[u8]) -> bool {
    let Ok(sliced) = etherparse::SlicedPacket::from_ethernet(frame) else { return false };
    match sliced.transport {
        Some(etherparse::TransportSlice::Tcp(t)) => t.destination_port() == CLOSED,
        _ => false,
    }
}

struct All;

impl Neighbours for All {
    fn mac(&self, hop: &Hop) -> Option<Mac> {
        (hop.addr.0[3] & 1 == 1).then_some([2, 0, 0, 0, 9, 9])
    }
}

/// Takes what leaves, and looks at it.
struct Looking {
    finish: Finish,
    frames: usize,
}

impl Sink for Looking {
    fn frame(&mut self, _: Exit, parts: &[&[u8]], offload: &Offload, _: Af) -> bool {
        assert!(self.finish == Finish::Host || !owes(&offload.meta), "unfinished: {offload:?}");
        let len = parts.iter().fold(0, |n, p| n + p.len());
        assert!((14..=ROOM).contains(&len));
        self.frames += 1;
        !self.frames.is_multiple_of(7)
    }
}

fn lent(given: &[Given<'_>], finish: Finish) {
    let mut filter = loaded();
    let mut edge = Edge::new(Policy::default(), &mut filter.platform).expect("there is memory");
    edge.finish = finish;
    for n in 1..=2 {
        let mac = [MAC[0], 0, 0, 0, 0, n as u8];
        edge.ports.add(Port::new(n, mac, 1500, Behind::Stack)).expect("there is memory");
    }
    let mut room = vec![0; ROOM];
    let mut sink = Looking { finish, frames: 0 };
    let mut from_host = false;
    for one in given {
        from_host |= one.side == Side::Stack;
        let Some(vnet) = one.facts.first_chunk::<VNET>() else { continue };
        let Ok(offload) = Offload::parse(vnet, one.bytes.len()) else { continue };
        let first = one.bytes.len().min(if one.flags & 1 == 0 { 4096 } else { 400 });
        let mut window = [&[0xAA; HEADROOM][..], &one.bytes[..first]].concat();
        let rest: Vec<&[u8]> =
            one.bytes[first..].chunks(1 + one.cuts.first().map_or(9000, |c| 100 * usize::from(*c))).collect();
        let lent = Lent { window: &mut window, head: HEADROOM, rest: rest.get(..16).unwrap_or(&rest) };
        let entry = Entry { port: PortId(one.port), side: one.side };
        let mut around = Filtered { filter: &mut filter, neighbours: &All };
        let fate = edge.frame(&mut around, entry, lent, offload, &mut room, &mut sink);
        assert!(edge.counts.balanced(), "{:?}", edge.counts);
        if let Fate::Pass(going) = fate {
            assert!(going.head <= window.len() && going.len >= 14, "{going:?}");
            let straight = Exit::Wire(entry.port) == going.exit || Exit::Stack(entry.port) == going.exit;
            assert!(finish == Finish::Host || straight || !owes(&going.offload.meta), "unfinished: {going:?}");
            let all = going.len.min(window.len() - going.head);
            let inward = matches!(going.exit, Exit::Stack(_));
            assert!(!inward || from_host || !closed(&window[going.head..][..all]), "a closed port was reached");
        }
    }
}

/// A list of one frame as the input says, or of two.
fn list(one: &Given<'_>) -> One {
    let cuts: Vec<usize> = one.cuts.iter().map(|c| usize::from(*c) * 7).collect();
    let whole: Frame = (one.bytes.clone(), cuts, usize::from(one.flags & 0x3f));
    let frames =
        if one.flags & 0x40 != 0 && one.side == Side::Stack { vec![whole.clone(), whole] } else { vec![whole] };
    let sum = one.fact(0) | one.fact(1) << 8 | one.fact(2) << 16;
    let mut info = vec![(0, sum), (8, 7), (9, 7)];
    if one.fact(3) & 1 != 0 {
        info.push((2, one.fact(4) | (one.fact(5) & 0x0f) << 8 | 34 << 20));
    }
    if one.fact(3) & 2 != 0 {
        info.push((0x16, one.fact(6) | (one.fact(7) & 0x0f) << 8));
    }
    if one.fact(3) & 4 != 0 {
        info.push((0x11, one.fact(6) & 0x0f | one.fact(7) << 16));
    }
    (frames, info)
}

fn listed<D: Driven>(given: &[Given<'_>], boot: Boot) {
    let mut host = D::running(boot, Supply { small: 48, large: 3 }, &IMAGE.with(Clone::clone));
    let mut from_host = false;
    for one in given {
        from_host |= one.side == Side::Stack;
        let lie = (one.fact(3) & 8 != 0).then(|| (one.fact(8), one.fact(9)));
        let spoil = |list| {
            if let Some((what, by)) = lie {
                sys::lie(list, what, by);
            }
        };
        let lent = one.fact(3) & 16 != 0;
        host.give_spoiled((usize::from(one.port), one.side), &[list(one)], lent, &spoil);
        assert!(from_host || !host.indicated().iter().any(|f| closed(f)), "a closed port was reached");
        host.tick();
        host.settle();
    }
    let counts = host.gathered(|judge| judge.edge.counts);
    assert!(counts.balanced(), "{counts:?}");
    host.end();
}

/// The inputs to begin with: frames of each kind by each edge, with facts of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for kind in [0, 1, 2, 3, 6] {
        for (facts, flags) in
            [([0; VNET], 0), ([1, 0, 0, 0, 0, 0, 34, 0, 16, 0], 0), ([0x14, 0, 0, 1, 0, 2, 2, 1, 0, 0], 0x94)]
        {
            let mut input = vec![kind];
            for (n, frame) in samples().iter().enumerate() {
                let place = [1, 2, 3, 0][n % 4];
                let mut facts = facts;
                if kind < 2 && flags != 0 {
                    facts = [1, 1, 54, 0, 0, 2, 34, 0, 16, 0];
                }
                input.extend([place, flags]);
                input.extend(facts);
                input.extend([2, 5, 9]);
                input.extend(u16::try_from(frame.len()).expect("short").to_le_bytes());
                input.extend(frame);
            }
            all.push(input);
        }
    }
    all
}

/// Frames of each kind.
fn samples() -> Vec<Vec<u8>> {
    use etherparse::PacketBuilder as B;
    let (host, inside, outside) = ([2, 0, 0, 0, 0, 2], [10, 0, 0, 5], [198, 51, 100, 7]);
    let four = || B::ethernet2([2, 0, 0, 0, 9, 9], host).ipv4(inside, outside, 64);
    let six = || {
        let mut to = [0; 16];
        to[..4].copy_from_slice(&[0, 0x64, 0xff, 0x9b]);
        to[12..].copy_from_slice(&outside);
        B::ethernet2([2, 0, 0, 0, 9, 9], host).ipv6([0xfd; 16], to, 64)
    };
    let mut out = Vec::new();
    let mut tcp = |b: etherparse::PacketBuilderStep<etherparse::IpHeaders>, port, payload: &[u8]| {
        let mut bytes = Vec::new();
        b.tcp(4000, port, 1, 1000).syn().write(&mut bytes, payload).expect("a vector takes all");
        out.push(bytes);
    };
    tcp(four(), 80, &[]);
    tcp(four(), CLOSED, &[]);
    tcp(four(), 25, &[]);
    tcp(six(), 80, &[7; 40]);
    let mut bytes = Vec::new();
    four().udp(5353, 53).write(&mut bytes, &[1; 60]).expect("a vector takes all");
    out.push(bytes.clone());
    // A first fragment of it, and its last.
    let mut first = bytes[..14 + 20 + 24].to_vec();
    first[14 + 6] = 0x20;
    out.push(first);
    let mut last = [&bytes[..34], &bytes[34 + 24..]].concat();
    last[14 + 7] = 3;
    out.push(last);
    let mut echo = Vec::new();
    four().icmpv4_echo_request(1, 2).write(&mut echo, &[3; 30]).expect("a vector takes all");
    out.push(echo);
    out.push([&[0xff; 6][..], &[2, 0, 0, 0, 9, 9, 8, 6], &[0, 1, 8, 0, 6, 4, 0, 1], &[0; 20]].concat());
    out.push([&host[..], &[2, 0, 0, 0, 9, 9, 0x81, 0, 0, 5], &bytes[12..]].concat());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The corpus is what this file makes.
    #[test]
    fn the_corpus_is_current() {
        crate::fuzz::assert_corpus("frames", &seeds());
    }

    /// The seeds reach what they are for: frames that leave, answers, and both edges.
    #[test]
    fn every_seed_ends_well() {
        seeds().iter().for_each(|seed| frames(seed));
    }
}
