//! The packet edge: frames of any bytes on any side, whatever the engine decides about them.

use crate::memory;
use pfdriver::edge::ether::Mac;
use pfdriver::edge::offload::{Offload, VNET};
use pfdriver::edge::policy::Policy;
use pfdriver::edge::port::{Behind, Port, PortId, Side};
use pfdriver::edge::{Around, Edge, Entry, Exit, Fate, Hop, Lent, Made, Sees, Sink, Way};
use pfvm::engine::outcome::{Replaced, SendTo};
use pfvm::engine::{Carried, Outcome, Seen, Verdict};
use pfvm::host::Random;
use pfvm::norm::frag::FragTag;
use pfvm::packet::{Packet, PacketDesc, PktMeta};
use pfvm::rule::{Addr, Af, RouteKind};

/// Takes a frame through an edge with two ports.
#[unsafe(no_mangle)]
pub extern "C" fn edge(bytes: *mut u8, len: usize, rest: *const u8, rest_len: usize, head: usize) -> u64 {
    let mut host = Chance;
    let Ok(mut edge) = Edge::new(Policy::default(), &mut host) else { return 1 };
    for other in [1, 0] {
        let behind = if memory::coin() { Behind::Stack } else { Behind::Port(PortId(other)) };
        let mut port = Port::new(word(), [2; 6], memory::number(), behind);
        if port.set_vlans(&[(word(), word())]).is_err() || edge.ports.add(port).is_err() {
            return 2;
        }
    }
    edge.policy.arp = memory::coin();
    edge.policy.discovery = memory::coin();
    let mut header = [0; VNET];
    for byte in &mut header {
        [*byte, ..] = memory::number().to_le_bytes();
    }
    let Ok(offload) = Offload::parse(&header, len) else { return 3 };
    let rest: [&[u8]; 1] = [memory::bytes(rest, rest_len)];
    let lent = Lent { window: memory::bytes_mut(bytes, len), head, rest: &rest };
    let side = if memory::coin() { Side::Wire } else { Side::Stack };
    let entry = Entry { port: PortId(word()), side };
    let mut room = [0; 4096];
    let fate = edge.frame(&mut host, entry, lent, offload, &mut room, &mut Taken);
    edge.made(&mut host, &mut Taken);
    if let Fate::Pass(going) = fate {
        memory::take(&going.offload.emit(going.af));
    }
    edge.counts.dropped().wrapping_add(u64::from(edge.counts.balanced()))
}

fn word() -> u16 {
    let [a, b, ..] = memory::number().to_le_bytes();
    u16::from_le_bytes([a, b])
}

fn size() -> usize {
    usize::from(word())
}

fn family() -> Af {
    if memory::coin() { Af::Inet } else { Af::Inet6 }
}

/// A host of which nothing is known at compile time.
struct Chance;

impl Random for Chance {
    fn random_u32(&mut self) -> u32 {
        memory::number()
    }
}

impl Sees for Chance {
    fn now_ms(&self) -> u64 {
        memory::number().into()
    }
    fn is_own(&self, _: Af, _: &Addr) -> bool {
        memory::coin()
    }
}

impl Around for Chance {
    fn process(
        &mut self,
        packet: &mut Packet<'_>,
        _: &PktMeta,
        _: Seen,
        carried: Carried,
        _: &mut [u8],
    ) -> Outcome {
        let moved = packet.grow_front(size()) || packet.shrink_front(size()) || packet.set_len(size());
        let mut out = Outcome::untouched(u32::from(moved), carried);
        out.verdict = match memory::number() {
            0 => Verdict::Pass,
            1 => Verdict::Drop,
            2 => Verdict::Consumed,
            3 => Verdict::Reroute,
            _ => Verdict::Divert(0),
        };
        let kind = match memory::number() {
            0 => RouteKind::RouteTo,
            1 => RouteKind::ReplyTo,
            _ => RouteKind::DupTo,
        };
        out.send_to = memory::coin().then_some(SendTo { kind, hop: Addr::default() });
        out.replaced = memory::coin().then(|| Replaced { at: size(), len: size() });
        let tag = || FragTag { header: memory::number(), extoff: memory::number(), longest: memory::number() };
        out.carried.reassembled = memory::coin().then(tag);
        out.reroute = memory::coin();
        [out.carried.prio, ..] = memory::number().to_le_bytes();
        out
    }
    fn complain(&mut self, packet: &Packet<'_>, _: &PacketDesc, _: (u8, u8, u32)) {
        memory::take(packet.window());
    }
    fn way(&self, _: Af, dst: &Addr) -> Option<Way> {
        memory::coin().then(|| Way { iface: word(), hop: *dst, mtu: memory::number() })
    }
    fn neighbour(&self, _: &Hop) -> Option<Mac> {
        memory::coin().then_some([2; 6])
    }
    fn take_made(&mut self, room: &mut [u8]) -> Option<Made> {
        memory::take(room);
        memory::coin().then(|| Made { len: size(), af: family(), generated: memory::coin(), tag: word() })
    }
}

/// Takes every frame.
struct Taken;

impl Sink for Taken {
    fn frame(&mut self, _: Exit, parts: &[&[u8]], _: &Offload, _: Af) -> bool {
        for part in parts {
            memory::take(part);
        }
        memory::coin()
    }
}
