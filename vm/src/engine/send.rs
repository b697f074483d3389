//! What the filter sends of its own while tracking TCP: resets, handshake segments, challenges.

use crate::engine::Engine;
use crate::host::Host;
use crate::packet::{PacketDesc, proto};
use crate::rule::{Addr, Af};
use crate::state::key::{Idx, StateKey};
use crate::state::synproxy::Emit;
use crate::wire::tcp::TcpRepr;
use crate::wire::{Ipv4, Ipv4Repr, Ipv6, Ipv6Repr};

/// A segment to be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Source address and port.
    pub from: (Addr, u16),
    /// Destination address and port.
    pub to: (Addr, u16),
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Window.
    pub win: u16,
    /// MSS option, 0 for none.
    pub mss: u16,
    /// TTL, 0 for the host's default.
    pub ttl: u8,
    /// Whether it is not filtered again.
    pub generated: bool,
    /// Tag it carries.
    pub tag: u16,
}

/// Longest segment the filter sends: IPv6 header, TCP header, MSS, scale and SACK options.
pub(super) const LONGEST: usize = 40 + 20 + 12;
/// "Don't fragment", which the host sets on what it sends.
const DF: u16 = 0x4000;
/// TOS of what the filter sends.
const LOWDELAY: u8 = 0x10;
/// TTL and hop limit of the host.
const TTL: u8 = 64;

/// Builds a segment into `room` and gives its length.
#[must_use]
pub fn build_tcp(af: Af, seg: &Segment, id: u16, room: &mut [u8; LONGEST]) -> usize {
    let repr = TcpRepr {
        src_port: seg.from.1,
        dst_port: seg.to.1,
        seq: seg.seq,
        ack: seg.ack,
        flags: seg.flags,
        window: seg.win,
        mss: seg.mss,
        window_scale: None,
        sack_permitted: false,
    };
    let len = repr.len();
    let payload_len = u16::try_from(len).unwrap_or(0);
    let (hlen, ttl) = match af {
        Af::Inet => (Ipv4Repr::LEN, if seg.ttl == 0 { TTL } else { seg.ttl }),
        Af::Inet6 => (Ipv6Repr::LEN, TTL),
    };
    let (src, dst) = (seg.from.0, seg.to.0);
    match af {
        Af::Inet => {
            let v4 = |a: &Addr| a.0.first_chunk::<4>().copied().unwrap_or_default();
            Ipv4Repr {
                src: v4(&src),
                dst: v4(&dst),
                proto: proto::TCP,
                ttl,
                tos: LOWDELAY,
                id,
                flags_offset: DF,
                payload_len,
            }
            .emit(&mut Ipv4::new_unchecked(&mut room[..]));
        }
        Af::Inet6 => Ipv6Repr {
            src: src.0,
            dst: dst.0,
            next_header: proto::TCP,
            hop_limit: ttl,
            traffic_class: 0,
            flow: 0,
            payload_len,
        }
        .emit(&mut Ipv6::new_unchecked(&mut room[..])),
    }
    let end = hlen.saturating_add(len);
    let Some(segment) = room.get_mut(hlen..end) else { return 0 };
    repr.emit(segment);
    TcpRepr::fill_checksum(segment, af, &src, &dst);
    end
}

impl Engine {
    /// Builds and sends a segment on behalf of a rule.
    pub(super) fn send_tcp<H: Host>(&mut self, host: &mut H, af: Af, seg: &Segment) {
        let mut room = [0; LONGEST];
        let id = u16::try_from(host.random_u32() & 0xffff).unwrap_or(1).max(1);
        let len = build_tcp(af, seg, id, &mut room);
        if let Some(bytes) = room.get(..len) {
            host.send(bytes, af, seg.generated, seg.tag);
        }
    }
}

impl Segment {
    /// A segment the SYN proxy asks for, in answer to the packet at hand; `onward` is the state's other key, for one
    /// that goes to the other side.
    #[must_use]
    pub fn of(emit: &Emit, pd: &PacketDesc, onward: Option<&StateKey>, mss: u16, tag: u16) -> Self {
        let (from, to) = match onward {
            Some(key) if !emit.back => (key.end(Idx::source(pd.dir)), key.end(Idx::dest(pd.dir))),
            _ => ((pd.dst, pd.dport), (pd.src, pd.sport)),
        };
        Self {
            from,
            to,
            seq: emit.seq,
            ack: emit.ack,
            flags: emit.flags,
            win: emit.win,
            mss: if emit.mss { mss } else { 0 },
            ttl: 0,
            generated: emit.generated,
            tag: if emit.tagged { tag } else { 0 },
        }
    }
}
