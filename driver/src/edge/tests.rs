//! The edge over a real engine: frames of every kind, every exit, and the balance of the counters.

use alloc::vec;
use alloc::vec::Vec;
use std::collections::{HashMap, VecDeque};

use pfvm::engine::outcome::SendTo;
use pfvm::engine::{Carried, Engine, Outcome, Seen, Verdict, default_options, send_error};
use pfvm::host::{Hop as EngineHop, Host, Random};
use pfvm::packet::{Checksum, Packet, PacketDesc, PktMeta, Segments, addr4};
use pfvm::rule::{Addr, Af, Direction, RouteKind};
use pfvm::wire::checksum;

use super::count::Why;
use super::offload::Offload;
use super::policy::Policy;
use super::port::{Behind, Port, PortId, Side};
use super::*;

const LAN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const WAN: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PEER: [u8; 6] = [2, 0, 0, 0, 9, 9];
const GATE: [u8; 6] = [2, 0, 0, 0, 7, 7];
/// 10.0.0.0/24 is on interface 1, everything else behind 192.0.2.1 on interface 2.
const CLIENT: [u8; 4] = [10, 0, 0, 5];
const SELF1: [u8; 4] = [10, 0, 0, 1];
const SELF2: [u8; 4] = [192, 0, 2, 9];
const FAR: [u8; 4] = [198, 51, 100, 7];
const GATEWAY: [u8; 4] = [192, 0, 2, 1];

/// A host around an engine, whose verdicts a test may put in place of the engine's.
struct World {
    engine: Engine,
    inner: Inner,
    scripted: VecDeque<fn(&mut Outcome)>,
    seen: Vec<(Seen, Carried)>,
    macs: HashMap<Addr, [u8; 6]>,
}

#[derive(Default)]
struct Inner {
    made: VecDeque<(Vec<u8>, Af, bool, u16)>,
    words: u32,
}

impl Random for Inner {
    fn random_u32(&mut self) -> u32 {
        self.words = self.words.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.words
    }
}

fn own(addr: &Addr) -> bool {
    [SELF1, SELF2].map(addr4).contains(addr)
}

fn on_lan(addr: &Addr) -> bool {
    addr.0.starts_with(&[10, 0, 0])
}

impl Host for Inner {
    fn now_ms(&self) -> u64 {
        5000
    }
    fn route(&self, _: Af, addr: &Addr) -> Option<EngineHop> {
        Some(EngineHop { iface: if on_lan(addr) { 1 } else { 2 }, mtu: 1500 })
    }
    fn answers_for(&self, _: Af, addr: &Addr) -> Option<Addr> {
        own(addr).then_some(*addr)
    }
    fn own_address(&self, _: Af, iface: u16, _: &Addr) -> Option<Addr> {
        Some(addr4(if iface == 1 { SELF1 } else { SELF2 }))
    }
    fn port_in_use(&self, _: u8, _: u16) -> bool {
        false
    }
    fn send(&mut self, packet: &[u8], af: Af, generated: bool, tag: u16) {
        self.made.push_back((packet.to_vec(), af, generated, tag));
    }
}

impl Random for World {
    fn random_u32(&mut self) -> u32 {
        self.inner.random_u32()
    }
}

impl Sees for World {
    fn now_ms(&self) -> u64 {
        Host::now_ms(&self.inner)
    }
    fn is_own(&self, _: Af, addr: &Addr) -> bool {
        own(addr)
    }
}

impl Around for World {
    fn process(
        &mut self,
        packet: &mut Packet<'_>,
        meta: &PktMeta,
        seen: Seen,
        carried: Carried,
        room: &mut [u8],
    ) -> Outcome {
        self.seen.push((seen, carried));
        let mut out = self.engine.process(packet, meta, seen, carried, room, &mut self.inner);
        if let Some(script) = self.scripted.pop_front() {
            script(&mut out);
        }
        out
    }
    fn complain(&mut self, packet: &Packet<'_>, pd: &PacketDesc, what: (u8, u8, u32)) {
        send_error(packet, pd, what, true, &mut self.inner);
    }
    fn way(&self, af: Af, dst: &Addr) -> Option<Way> {
        match af {
            Af::Inet if dst.0.starts_with(&[203]) => None,
            Af::Inet if on_lan(dst) => Some(Way { iface: 1, hop: *dst, mtu: 1500 }),
            Af::Inet => Some(Way { iface: 2, hop: addr4(GATEWAY), mtu: 1500 }),
            Af::Inet6 => Some(Way { iface: 2, hop: *dst, mtu: 1500 }),
        }
    }
    fn neighbour(&self, hop: &Hop) -> Option<[u8; 6]> {
        self.macs.get(&hop.addr).copied()
    }
    fn take_made(&mut self, room: &mut [u8]) -> Option<Made> {
        let (bytes, af, generated, tag) = self.inner.made.pop_front()?;
        room.get_mut(..bytes.len())?.copy_from_slice(&bytes);
        Some(Made { len: bytes.len(), af, generated, tag })
    }
}

#[derive(Default)]
struct Kept(Vec<(Exit, Vec<u8>, Offload)>);

impl Sink for Kept {
    fn frame(&mut self, exit: Exit, parts: &[&[u8]], offload: &Offload, _: Af) -> bool {
        self.0.push((exit, parts.concat(), *offload));
        true
    }
}

struct Bench {
    edge: Edge,
    world: World,
    kept: Kept,
    room: Vec<u8>,
}

const A: PortId = PortId(0);
const B: PortId = PortId(1);

impl Bench {
    fn new(bridge: bool) -> Self {
        let mut inner = Inner::default();
        let engine = Engine::new(&default_options().limits, &mut inner).unwrap();
        let macs = HashMap::from([(addr4(GATEWAY), GATE), (addr4(CLIENT), PEER)]);
        let world = World { engine, inner, scripted: VecDeque::new(), seen: Vec::new(), macs };
        let mut edge = Edge::new(Policy::default(), &mut Inner::default()).unwrap();
        let behind = |other| if bridge { Behind::Port(other) } else { Behind::Stack };
        assert_eq!(edge.ports.add(Port::new(1, LAN, 1500, behind(B))).unwrap(), A);
        assert_eq!(edge.ports.add(Port::new(2, WAN, 1500, behind(A))).unwrap(), B);
        Self { edge, world, kept: Kept::default(), room: vec![0; ROOM] }
    }

    /// A frame through the edge: its fate, and its bytes where it goes on in place.
    fn give(&mut self, port: PortId, side: Side, frame: &[u8], offload: Offload) -> (Fate, Vec<u8>) {
        let mut window = vec![0xaa; HEADROOM];
        window.extend_from_slice(frame);
        let lent = Lent { window: &mut window, head: HEADROOM, rest: &[] };
        let entry = Entry { port, side };
        let fate = self.edge.frame(&mut self.world, entry, lent, offload, &mut self.room, &mut self.kept);
        assert!(self.edge.counts.balanced(), "{:?}", self.edge.counts);
        let bytes = match fate {
            Fate::Pass(g) => window[g.head..g.head + g.len].to_vec(),
            _ => Vec::new(),
        };
        (fate, bytes)
    }

    fn plain(&mut self, port: PortId, side: Side, frame: &[u8]) -> (Fate, Vec<u8>) {
        self.give(port, side, frame, Offload::default())
    }

    fn script(&mut self, f: fn(&mut Outcome)) -> &mut Self {
        self.world.scripted.push_back(f);
        self
    }
}

fn exit(fate: &Fate) -> Option<Exit> {
    match fate {
        Fate::Pass(g) => Some(g.exit),
        _ => None,
    }
}

fn udp(src: [u8; 4], dst: [u8; 4], len: usize, flags: u16) -> Vec<u8> {
    let total = u16::try_from(28 + len).unwrap();
    let mut p = vec![0; 28 + len];
    p[0] = 0x45;
    p[2..4].copy_from_slice(&total.to_be_bytes());
    p[6..8].copy_from_slice(&flags.to_be_bytes());
    p[8] = 64;
    p[9] = 17;
    p[12..16].copy_from_slice(&src);
    p[16..20].copy_from_slice(&dst);
    p[20..28].copy_from_slice(&[0x30, 0x39, 0, 53, 0, 0, 0, 0]);
    p[24..26].copy_from_slice(&(total - 20).to_be_bytes());
    let sum = checksum::of(&p[..20]);
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    p
}

fn frame(dst: [u8; 6], src: [u8; 6], kind: u16, body: &[u8]) -> Vec<u8> {
    [&dst[..], &src, &kind.to_be_bytes(), body].concat()
}

fn ip(dst: [u8; 6], body: &[u8]) -> Vec<u8> {
    frame(dst, PEER, 0x0800, body)
}

#[test]
fn frames_go_straight_on_unchanged() {
    let mut b = Bench::new(false);
    let up = ip(LAN, &udp(CLIENT, FAR, 10, 0));
    let (fate, bytes) = b.plain(A, Side::Wire, &up);
    assert_eq!((exit(&fate), bytes), (Some(Exit::Stack(A)), up));
    let down = frame(GATE, WAN, 0x0800, &udp(CLIENT, FAR, 10, 0));
    let (fate, bytes) = b.plain(B, Side::Stack, &down);
    assert_eq!((exit(&fate), bytes), (Some(Exit::Wire(B)), down));
    assert_eq!((b.edge.counts.received, b.edge.counts.passed), (2, 2));
}

#[test]
fn what_came_in_is_known_on_the_way_out() {
    let mut b = Bench::new(false);
    b.script(|out| out.carried.tag = 42);
    b.plain(A, Side::Wire, &ip(LAN, &udp(CLIENT, FAR, 10, 0)));
    b.plain(B, Side::Stack, &frame(GATE, WAN, 0x0800, &udp(CLIENT, FAR, 10, 0)));
    let (seen, carried) = b.world.seen[1];
    assert!(seen.forwarded && seen.dir == Direction::Out && seen.iface == 2);
    assert_eq!((carried.tag, carried.received_on), (42, Some(1)));
    // The host's own packets carry nothing, whatever passed before.
    b.plain(B, Side::Stack, &frame(GATE, WAN, 0x0800, &udp(SELF2, FAR, 10, 0)));
    let (seen, carried) = b.world.seen[2];
    assert!(!seen.forwarded);
    assert_eq!((carried.tag, carried.received_on), (0, None));
}

#[test]
fn padding_goes_and_short_frames_end() {
    let mut b = Bench::new(false);
    let body = udp(CLIENT, FAR, 2, 0);
    let mut padded = ip(LAN, &body);
    padded.resize(60, 0);
    let (_, bytes) = b.plain(A, Side::Wire, &padded);
    assert_eq!(bytes.len(), 14 + body.len());
    for len in 0..14 {
        assert_eq!(b.plain(A, Side::Wire, &padded[..len]).0, Fate::Drop(Why::Truncated));
    }
    // A packet cut off inside is the engine's to refuse.
    assert_eq!(b.plain(A, Side::Wire, &padded[..30]).0, Fate::Drop(Why::Filter));
}

#[test]
fn other_kinds_pass_by_name_only() {
    let mut b = Bench::new(false);
    let arp = frame([0xff; 6], PEER, 0x0806, &[0; 28]);
    assert_eq!(exit(&b.plain(A, Side::Wire, &arp).0), Some(Exit::Stack(A)));
    assert_eq!(exit(&b.plain(A, Side::Stack, &arp).0), Some(Exit::Wire(A)));
    b.edge.policy.arp = false;
    assert_eq!(b.plain(A, Side::Wire, &arp).0, Fate::Drop(Why::Kind));
    let lldp = frame([1, 0x80, 0xc2, 0, 0, 0x0e], PEER, 0x88cc, &[0; 50]);
    assert_eq!(b.plain(A, Side::Wire, &lldp).0, Fate::Drop(Why::Kind));
    assert!(b.edge.policy.allow(0x88cc));
    assert_eq!(b.plain(A, Side::Wire, &lldp).1, lldp);
    assert_eq!(b.edge.counts.of(Why::Kind), 2);
    assert_eq!(b.world.seen.len(), 0);
}

#[test]
fn frames_to_others_and_loopback_addresses_end() {
    let mut b = Bench::new(false);
    let elsewhere = ip([2, 0, 0, 0, 5, 5], &udp(CLIENT, FAR, 10, 0));
    assert_eq!(b.plain(A, Side::Wire, &elsewhere).0, Fate::Drop(Why::Elsewhere));
    assert_eq!(exit(&b.plain(A, Side::Stack, &elsewhere).0), Some(Exit::Wire(A)));
    let group = ip([1, 0, 0x5e, 0, 0, 1], &udp(CLIENT, [224, 0, 0, 1], 10, 0));
    assert_eq!(exit(&b.plain(A, Side::Wire, &group).0), Some(Exit::Stack(A)));
    for (src, dst) in [([127, 0, 0, 1], SELF1), (CLIENT, [127, 0, 0, 1])] {
        assert_eq!(b.plain(A, Side::Wire, &ip(LAN, &udp(src, dst, 1, 0))).0, Fate::Drop(Why::Loopback));
    }
}

#[test]
fn vlans_are_interfaces_of_their_own() {
    let mut b = Bench::new(false);
    let tagged = |vlan: u16| {
        let body = [&vlan.to_be_bytes()[..], &[8, 0], &udp(CLIENT, FAR, 1, 0)].concat();
        frame(LAN, PEER, 0x8100, &body)
    };
    assert_eq!(b.plain(A, Side::Wire, &tagged(5)).0, Fate::Drop(Why::Vlan));
    b.edge.ports.get_mut(A).unwrap().set_vlans(&[(5, 11)]).unwrap();
    assert_eq!(b.plain(A, Side::Wire, &tagged(5)).1, tagged(5));
    assert_eq!(b.world.seen[0].0.iface, 11);
    b.script(|_| {}).script(|out| out.carried.prio = 7);
    b.plain(A, Side::Stack, &tagged(5));
    let (_, bytes) = b.plain(A, Side::Stack, &tagged(5));
    assert_eq!(bytes[14..16], [0xe0, 5]);
    let mut bridge = Bench::new(true);
    assert_eq!(bridge.plain(A, Side::Wire, &tagged(99)).1, tagged(99));
    assert_eq!(bridge.world.seen.iter().map(|(s, _)| s.iface).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_vlan_nobody_has_is_the_adapters_where_that_is_the_policy() {
    let mut b = Bench::new(false);
    b.edge.policy.tagged = true;
    let body = [&[0x20, 5][..], &[8, 0], &udp(CLIENT, FAR, 1, 0)].concat();
    let tagged = frame(LAN, PEER, 0x8100, &body);
    assert_eq!(b.plain(A, Side::Wire, &tagged).1, tagged);
    assert_eq!(b.world.seen[0].0.iface, b.edge.ports.get(A).unwrap().iface);
    // One VLAN interface, and the others are nobody's.
    b.edge.ports.get_mut(A).unwrap().set_vlans(&[(6, 11)]).unwrap();
    assert_eq!(b.plain(A, Side::Wire, &tagged).0, Fate::Drop(Why::Vlan));
}

#[test]
fn frames_for_guests_are_the_rules_business() {
    let mut b = Bench::new(false);
    let guest = [0, 0x15, 0x5d, 0, 0, 7];
    let to_guest = ip(guest, &udp(FAR, CLIENT, 10, 0));
    assert_eq!(b.plain(A, Side::Wire, &to_guest).0, Fate::Drop(Why::Elsewhere));
    // Whatever it says from above, it is known from then on, on that port.
    b.plain(A, Side::Stack, &frame([0xff; 6], guest, 0x0806, &[0; 28]));
    assert_eq!(b.plain(A, Side::Wire, &to_guest).1, to_guest);
    assert_eq!(b.world.seen.len(), 1, "the rules were asked");
    b.script(|out| out.verdict = Verdict::Drop);
    assert_eq!(b.plain(A, Side::Wire, &to_guest).0, Fate::Drop(Why::Filter));
    assert_eq!(b.plain(B, Side::Wire, &to_guest).0, Fate::Drop(Why::Elsewhere));
}

/// A frame whose tag travels beside it.
fn beside(tag: u16) -> Offload {
    Offload { tag: Some(tag), ..Offload::default() }
}

fn tag(fate: &Fate) -> Option<u16> {
    match fate {
        Fate::Pass(g) => g.offload.tag,
        _ => None,
    }
}

#[test]
fn a_tag_beside_the_frame_is_seen_as_one_in_it() {
    let mut b = Bench::new(false);
    b.edge.ports.get_mut(A).unwrap().set_vlans(&[(5, 11)]).unwrap();
    let plain = ip(LAN, &udp(CLIENT, FAR, 1, 0));
    // Priority 2 of 802.1p, VLAN 5; then the same out, and of a VLAN that is the adapter's own.
    let (fate, bytes) = b.give(A, Side::Wire, &plain, beside(2 << 13 | 5));
    assert_eq!((tag(&fate), bytes), (Some(2 << 13 | 5), plain.clone()));
    b.script(|out| out.carried.prio = 7);
    let (fate, bytes) = b.give(A, Side::Stack, &plain, beside(5));
    assert_eq!((tag(&fate), bytes), (Some(7 << 13 | 5), plain.clone()), "the priority stands beside the frame");
    b.give(A, Side::Wire, &plain, beside(9));
    assert_eq!(b.world.seen.iter().map(|(s, _)| s.iface).collect::<Vec<_>>(), [11, 11, 1]);
    assert_eq!(
        b.world.seen.iter().map(|(_, c)| c.prio).collect::<Vec<_>>(),
        [2, 2, 1],
        "it is carried across the stack"
    );
    // What leaves by another adapter is of no VLAN there.
    b.script(|out| out.verdict = Verdict::Reroute);
    let (fate, bytes) = b.give(A, Side::Wire, &plain, beside(5));
    assert_eq!((exit(&fate), tag(&fate), bytes[12..14].to_vec()), (Some(Exit::Wire(B)), None, vec![8, 0]));
}

#[test]
fn answers_are_tagged_where_the_frame_was() {
    let mut b = Bench::new(false);
    b.edge.ports.get_mut(A).unwrap().set_vlans(&[(5, 1)]).unwrap();
    // Larger than the link takes and not to be cut: its sender is told, back on the VLAN.
    b.edge.ports.get_mut(B).unwrap().mtu = 600;
    let large = ip(LAN, &udp(CLIENT, FAR, 900, 0x4000));
    b.script(|out| out.verdict = Verdict::Reroute);
    assert_eq!(b.give(A, Side::Wire, &large, beside(5)).0, Fate::Drop(Why::TooBig));
    let [(exit, bytes, offload)] = &b.kept.0[..] else { panic!("{:?}", b.kept.0) };
    assert_eq!((*exit, offload.tag, &bytes[..6], &bytes[12..14]), (Exit::Wire(A), Some(5), &PEER[..], &[8, 0][..]));
}

#[test]
fn verdicts_are_carried_out() {
    let mut b = Bench::new(false);
    let up = ip(LAN, &udp(CLIENT, FAR, 10, 0));
    b.script(|out| out.verdict = Verdict::Drop);
    assert_eq!(b.plain(A, Side::Wire, &up).0, Fate::Drop(Why::Filter));
    b.script(|out| out.verdict = Verdict::Consumed);
    assert_eq!(b.plain(A, Side::Wire, &up).0, Fate::Held);
    b.script(|out| out.verdict = Verdict::Divert(80));
    assert_eq!(b.plain(A, Side::Wire, &up).0, Fate::Drop(Why::Divert));
    b.script(|out| out.delay = 250);
    assert!(matches!(b.plain(A, Side::Wire, &up).0, Fate::Pass(g) if g.delay == 250));
    let c = &b.edge.counts;
    assert_eq!((c.received, c.passed, c.held, c.dropped()), (4, 1, 1, 2));
}

/// The next hop a script sends to.
const VIA: Addr = Addr([192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

#[test]
fn route_to_passes_the_filter_once_more_and_counts_the_hop() {
    let mut b = Bench::new(false);
    b.script(|out| out.send_to = Some(SendTo { kind: RouteKind::RouteTo, hop: VIA }));
    let (fate, bytes) = b.plain(A, Side::Wire, &ip(LAN, &udp(CLIENT, FAR, 10, 0)));
    assert_eq!(exit(&fate), Some(Exit::Wire(B)));
    assert_eq!((&bytes[..6], &bytes[6..12]), (&GATE[..], &WAN[..]));
    assert_eq!((bytes[22], checksum::of(&bytes[14..34])), (63, 0));
    let (second, carried) = b.world.seen[1];
    assert!(second.forwarded && second.dir == Direction::Out && second.iface == 2);
    assert_eq!(carried.received_on, Some(1));
    // On the way out it is not looked at again.
    b.script(|out| out.send_to = Some(SendTo { kind: RouteKind::RouteTo, hop: VIA }));
    let (fate, bytes) = b.plain(A, Side::Stack, &frame(PEER, LAN, 0x0800, &udp(SELF2, FAR, 10, 0)));
    assert_eq!((exit(&fate), bytes[22]), (Some(Exit::Wire(B)), 64));
    assert_eq!(b.world.seen.len(), 3);
}

#[test]
fn hops_nobody_knows_are_asked_for_and_ways_nobody_knows_are_told() {
    let mut b = Bench::new(false);
    b.world.macs.clear();
    b.script(|out| out.send_to = Some(SendTo { kind: RouteKind::RouteTo, hop: VIA }));
    let (fate, bytes) = b.plain(A, Side::Wire, &ip(LAN, &udp(CLIENT, FAR, 10, 0)));
    let hop = Hop { iface: 2, af: Af::Inet, addr: VIA };
    assert_eq!((exit(&fate), &bytes[..6]), (Some(Exit::Resolve(B, hop)), &[0; 6][..]));
    b.script(|out| out.send_to = Some(SendTo { kind: RouteKind::RouteTo, hop: addr4([203, 0, 113, 1]) }));
    let (fate, _) = b.plain(A, Side::Wire, &ip(LAN, &udp(CLIENT, FAR, 10, 0)));
    assert_eq!(fate, Fate::Drop(Why::NoRoute));
    // The sender is told, at the address its frame came from.
    let (exit, told, _) = &b.kept.0[0];
    assert_eq!((*exit, &told[..6], told[23], told[34]), (Exit::Wire(A), &PEER[..], 1, 3));
    assert_eq!(b.edge.counts.generated, 1);
}

#[test]
fn a_packet_at_its_end_is_not_sent_on() {
    let mut b = Bench::new(false);
    let mut body = udp(CLIENT, FAR, 10, 0);
    (body[8], body[10], body[11]) = (1, 0, 0);
    let sum = checksum::of(&body[..20]);
    body[10..12].copy_from_slice(&sum.to_be_bytes());
    b.script(|out| out.send_to = Some(SendTo { kind: RouteKind::RouteTo, hop: VIA }));
    assert_eq!(b.plain(A, Side::Wire, &ip(LAN, &body)).0, Fate::Drop(Why::Expired));
    assert_eq!((b.kept.0[0].1[34], b.kept.0.len()), (11, 1));
}

#[test]
fn copies_leave_the_original_as_it_was() {
    let mut b = Bench::new(false);
    let up = ip(LAN, &udp(CLIENT, FAR, 10, 0));
    b.script(|out| out.send_to = Some(SendTo { kind: RouteKind::DupTo, hop: VIA }));
    let (fate, bytes) = b.plain(A, Side::Wire, &up);
    assert_eq!((exit(&fate), bytes), (Some(Exit::Stack(A)), up.clone()));
    let (exit, copy, _) = &b.kept.0[0];
    assert_eq!((*exit, &copy[..6], copy[22]), (Exit::Wire(B), &GATE[..], 63));
    assert_eq!(copy[26..], up[26..]);
    assert_eq!((b.edge.counts.passed, b.edge.counts.generated), (1, 1));
}

#[test]
fn a_changed_destination_is_routed_anew() {
    let mut b = Bench::new(false);
    b.script(|out| out.reroute = true);
    let (fate, bytes) = b.plain(B, Side::Stack, &frame(GATE, WAN, 0x0800, &udp(SELF2, CLIENT, 10, 0)));
    assert_eq!((exit(&fate), &bytes[..6]), (Some(Exit::Wire(A)), &PEER[..]));
    b.script(|out| out.reroute = true);
    let (fate, bytes) = b.plain(B, Side::Stack, &frame(GATE, WAN, 0x0800, &udp(SELF2, SELF1, 10, 0)));
    assert_eq!((exit(&fate), &bytes[..6]), (Some(Exit::Stack(B)), &WAN[..]));
}

#[test]
fn fragments_are_put_together_and_cut_to_the_link() {
    let mut b = Bench::new(false);
    let whole = udp(CLIENT, FAR, 2000, 0);
    let mut parts = Vec::new();
    let mut room = vec![0; 2000];
    let mut copy = whole.clone();
    cut::fragment4(&Packet::whole(&mut copy), 1500, &mut room, |f| parts.push(f.to_vec())).unwrap();
    assert_eq!(parts.len(), 2);
    // Out: what the host cut is decided as a whole and cut again.
    assert_eq!(b.plain(B, Side::Stack, &frame(GATE, WAN, 0x0800, &parts[0])).0, Fate::Held);
    assert_eq!(b.plain(B, Side::Stack, &frame(GATE, WAN, 0x0800, &parts[1])).0, Fate::Sent);
    assert_eq!(b.kept.0.len(), 2);
    for ((exit, sent, _), part) in b.kept.0.iter().zip(&parts) {
        assert_eq!((*exit, &sent[14..]), (Exit::Wire(B), &part[..]));
    }
    assert_eq!((b.edge.counts.passed, b.edge.counts.held, b.edge.counts.generated), (1, 1, 1));
    // In: the host gets the whole.
    b.kept.0.clear();
    b.plain(A, Side::Wire, &ip(LAN, &parts[1]));
    assert_eq!(b.plain(A, Side::Wire, &ip(LAN, &parts[0])).0, Fate::Sent);
    let (exit, sent, _) = &b.kept.0[0];
    assert_eq!((*exit, sent.len()), (Exit::Stack(A), 14 + whole.len()));
    assert_eq!(sent[34..], whole[20..]);
}

#[test]
fn what_may_not_be_cut_is_told() {
    let mut b = Bench::new(true);
    b.edge.ports.get_mut(B).unwrap().mtu = 1000;
    let big = udp(CLIENT, FAR, 1200, 0x4000);
    assert_eq!(b.plain(A, Side::Wire, &ip(GATE, &big)).0, Fate::Drop(Why::TooBig));
    let (exit, told, _) = &b.kept.0[0];
    assert_eq!((*exit, told[34], told[35], &told[40..42]), (Exit::Wire(A), 3, 4, &1000_u16.to_be_bytes()[..]));
    // In a bridge the answer comes as if from the frame's receiver.
    assert_eq!((&told[..6], &told[6..12]), (&PEER[..], &GATE[..]));
    assert_eq!(b.plain(A, Side::Wire, &ip(GATE, &udp(CLIENT, FAR, 1200, 0))).0, Fate::Sent);
    assert_eq!(b.kept.0.len(), 3);
}

#[test]
fn large_sends_pass_whole() {
    let mut b = Bench::new(false);
    let mut body = vec![0; 20 + 20 + 40_000];
    body[0] = 0x45;
    let total = u16::try_from(body.len()).unwrap();
    body[2..4].copy_from_slice(&total.to_be_bytes());
    body[6] = 0x40;
    (body[8], body[9]) = (64, 6);
    body[12..16].copy_from_slice(&CLIENT);
    body[16..20].copy_from_slice(&FAR);
    body[20..24].copy_from_slice(&[0x30, 0x39, 0, 80]);
    (body[32], body[33]) = (0x50, 0x10);
    let sum = checksum::of(&body[..20]);
    body[10..12].copy_from_slice(&sum.to_be_bytes());
    let meta = PktMeta { l4: Checksum::Partial, segments: Segments::Tcp { mss: 1448 }, ..PktMeta::default() };
    let offload = Offload { meta, start: 34, offset: 16, headers: 54, ecn: false, tag: None };
    let sent = frame(GATE, WAN, 0x0800, &body);
    let (fate, bytes) = b.give(B, Side::Stack, &sent, offload);
    assert!(matches!(fate, Fate::Pass(g) if g.exit == Exit::Wire(B) && g.offload == offload));
    assert_eq!(bytes, sent);
    // Segments longer than the next link takes are not cut; the sender learns.
    let meta = PktMeta { segments: Segments::Tcp { mss: 8900 }, ..meta };
    let (fate, _) = b.give(B, Side::Stack, &sent, Offload { meta, ..offload });
    assert_eq!(fate, Fate::Drop(Why::TooBig));
}

#[test]
fn a_bridge_filters_both_ways() {
    let mut b = Bench::new(true);
    let across = ip(GATE, &udp(CLIENT, FAR, 10, 0));
    b.script(|out| out.carried.tag = 9);
    let (fate, bytes) = b.plain(A, Side::Wire, &across);
    assert_eq!((exit(&fate), bytes), (Some(Exit::Wire(B)), across.clone()));
    let (second, carried) = b.world.seen[1];
    assert_eq!((second.iface, second.dir, second.forwarded), (2, Direction::Out, true));
    assert_eq!((carried.tag, carried.received_on), (9, Some(1)));
    b.script(|_| {}).script(|out| out.verdict = Verdict::Drop);
    assert_eq!(b.plain(B, Side::Wire, &across).0, Fate::Drop(Why::Filter));
}

#[test]
fn what_the_filter_makes_goes_where_it_belongs() {
    let mut b = Bench::new(false);
    let make = |b: &mut Bench, dst: [u8; 4], generated| {
        b.world.inner.made.push_back((udp(SELF1, dst, 4, 0), Af::Inet, generated, 0));
        b.edge.made(&mut b.world, &mut b.kept);
        b.kept.0.pop().map(|(exit, bytes, _)| (exit, <[u8; 6]>::try_from(&bytes[..6]).unwrap()))
    };
    assert_eq!(make(&mut b, CLIENT, true), Some((Exit::Wire(A), PEER)));
    assert_eq!(make(&mut b, FAR, true), Some((Exit::Wire(B), GATE)));
    assert_eq!(b.world.seen.len(), 0);
    assert_eq!(make(&mut b, FAR, false), Some((Exit::Wire(B), GATE)));
    assert_eq!((b.world.seen[0].0.dir, b.world.seen[0].0.iface), (Direction::Out, 2));
    assert_eq!(make(&mut b, SELF1, true), Some((Exit::Stack(A), LAN)));
    assert_eq!(make(&mut b, [203, 0, 113, 5], true), None);
    b.script(|out| out.verdict = Verdict::Drop);
    assert_eq!(make(&mut b, FAR, false), None);
    assert_eq!(b.edge.counts.generated, 4);
}

#[test]
fn discovery_passes_by_policy() {
    let mut b = Bench::new(false);
    let mut nd = vec![0; 40 + 24];
    (nd[0], nd[5], nd[6], nd[7], nd[40]) = (0x60, 24, 58, 255, 135);
    (nd[8], nd[23], nd[24], nd[39]) = (0xfe, 1, 0xfe, 2);
    let sent = frame(LAN, PEER, 0x86dd, &nd);
    b.plain(A, Side::Wire, &sent);
    assert_eq!(b.world.seen.len(), 1);
    b.edge.policy.discovery = true;
    assert_eq!(exit(&b.plain(A, Side::Wire, &sent).0), Some(Exit::Stack(A)));
    assert_eq!(b.world.seen.len(), 1);
    // Not from the link itself: a hop was taken.
    nd[7] = 254;
    b.plain(A, Side::Wire, &frame(LAN, PEER, 0x86dd, &nd));
    assert_eq!(b.world.seen.len(), 2);
}

#[test]
fn frames_of_any_bytes_have_a_fate() {
    let mut random = Inner { words: 7, ..Inner::default() };
    for bridge in [false, true] {
        let mut b = Bench::new(bridge);
        for n in 0..20_000_u32 {
            let len = usize::try_from(random.random_u32() % 90).unwrap();
            let mut bytes: Vec<u8> = (0..len).map(|_| random.random_u32().to_be_bytes()[0]).collect();
            if n % 2 == 0 && len > 14 {
                bytes[..6].copy_from_slice(&LAN);
                let kinds = [[8, 0], [0x86, 0xdd], [0x81, 0], [8, 6]];
                let kind = kinds[usize::try_from(n / 2 % 4).unwrap()];
                bytes[12..14].copy_from_slice(&kind);
                bytes[14] = [0x45, 0x60, 0x4f][usize::try_from(n % 3).unwrap()];
            }
            let side = if n % 3 == 0 && !bridge { Side::Stack } else { Side::Wire };
            b.plain(A, side, &bytes);
        }
        assert_eq!(b.edge.counts.received, 20_000);
    }
}

/// A large send of TCP from the host, as NDIS gives it: lengths and sums left to the card.
fn large_send(dst: [u8; 4], data: usize) -> (Vec<u8>, Offload) {
    let mut body = vec![7; 40 + data];
    body[..20].copy_from_slice(&[0x45, 0, 0, 0, 0, 9, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 9, 0, 0, 0, 0]);
    body[16..20].copy_from_slice(&dst);
    body[20..40].copy_from_slice(&[0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 2, 0, 0, 0, 0, 0]);
    let (l4, segments) = (Checksum::Partial, Segments::Tcp { mss: 1000 });
    let meta = PktMeta { l4, ip: Checksum::Partial, segments, length_outside: true };
    (frame(GATE, WAN, 0x0800, &body), Offload { meta, start: 34, offset: 16, headers: 54, ecn: false, tag: None })
}

/// The lengths of what the sink got for an exit, every one whole and right.
fn whole_segments(b: &Bench, at: Exit) -> Vec<usize> {
    let mut out = Vec::new();
    for (exit, bytes, offload) in b.kept.0.iter().filter(|k| k.0 == at) {
        let mut packet = bytes[14..].to_vec();
        let (src, dst) = (addr4([192, 0, 2, 9]), addr4(packet[16..20].try_into().unwrap()));
        let (len, whole) = (packet.len() - 20, usize::from(u16::from_be_bytes([packet[2], packet[3]])));
        assert_eq!((checksum::of(&packet[..20]), whole, *offload), (0, packet.len(), Offload::default()), "{exit:?}");
        assert!(checksum::verify_l4(&Packet::whole(&mut packet), Af::Inet, &src, &dst, 6, 20, len));
        out.push(packet.len());
    }
    out
}

#[test]
fn what_leaves_by_another_card_is_finished_before() {
    let (sent, offload) = large_send(FAR, 2500);
    let away = |b: &mut Bench, kind| {
        b.world.scripted.push_back(match kind {
            RouteKind::DupTo => |out| out.send_to = Some(SendTo { kind: RouteKind::DupTo, hop: addr4(CLIENT) }),
            _ => |out| out.send_to = Some(SendTo { kind: RouteKind::RouteTo, hop: addr4(CLIENT) }),
        });
    };
    let mut b = Bench::new(false);
    b.edge.finish = segment::Finish::Edge;
    away(&mut b, RouteKind::RouteTo);
    assert_eq!(b.give(B, Side::Stack, &sent, offload).0, Fate::Sent);
    assert_eq!(whole_segments(&b, Exit::Wire(A)), [1040, 1040, 540]);
    assert_eq!((b.edge.counts.passed, b.edge.counts.generated), (1, 2));
    // A copy is finished, the original goes on as it was.
    b.kept.0.clear();
    away(&mut b, RouteKind::DupTo);
    let (fate, bytes) = b.give(B, Side::Stack, &sent, offload);
    assert!(matches!(fate, Fate::Pass(g) if g.exit == Exit::Wire(B) && g.offload == offload));
    assert_eq!((bytes, whole_segments(&b, Exit::Wire(A))), (sent.clone(), vec![1040, 1040, 540]));
    assert_eq!((b.edge.counts.passed, b.edge.counts.generated), (2, 5));
    // A checksum alone is written in place.
    let (mut one, mut facts) = large_send(FAR, 300);
    one[16..18].copy_from_slice(&340_u16.to_be_bytes());
    facts.meta = PktMeta { segments: Segments::One, length_outside: false, ..facts.meta };
    away(&mut b, RouteKind::RouteTo);
    let (fate, bytes) = b.give(B, Side::Stack, &one, facts);
    let Fate::Pass(going) = fate else { panic!("{fate:?}") };
    b.kept.0 = vec![(going.exit, bytes, going.offload)];
    assert_eq!(whole_segments(&b, Exit::Wire(A)), [340]);
    // With a host that sees to it, everything goes whole and as it came.
    b.edge.finish = segment::Finish::Host;
    away(&mut b, RouteKind::RouteTo);
    let (fate, bytes) = b.give(B, Side::Stack, &sent, offload);
    assert!(matches!(fate, Fate::Pass(g) if g.exit == Exit::Wire(A) && g.offload == offload));
    assert_eq!(bytes.len(), sent.len());
}

#[test]
fn what_cannot_be_finished_ends() {
    let (mut sent, offload) = large_send(FAR, 2500);
    // SYN: no stack asks for that.
    sent[47] |= 2;
    let mut b = Bench::new(false);
    b.edge.finish = segment::Finish::Edge;
    b.script(|out| {
        out.verdict = Verdict::Pass;
        out.send_to = Some(SendTo { kind: RouteKind::RouteTo, hop: addr4(CLIENT) });
    });
    assert_eq!(b.give(B, Side::Stack, &sent, offload).0, Fate::Drop(Why::Offload));
    assert_eq!((b.kept.0.len(), b.edge.counts.of(Why::Offload)), (0, 1));
}
