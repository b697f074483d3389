//! What a card was to do with a packet, done here: checksums written, large sends cut into segments.
//!
//! A frame that goes straight on keeps its facts, and the card it was meant for does the rest. A frame that leaves by
//! another way, or became one of the other family, leaves finished: nobody knows what that card can do.
//!
//! [`settle`] writes the checksums of one packet in place; [`segment`] builds each segment in room that is lent.
//!
//! | facts | what is done |
//! |---|---|
//! | checksum partial or absent | computed in full |
//! | checksum complete, validated or bad, one packet | left as it is: a wrong one stays wrong |
//! | segments, checksum bad | refused |
//! | segments, checksum complete | verified before it is cut: a wrong one would become many right ones |
//! | TCP segments | sequence numbers go on; FIN and PSH in the last, CWR in the first alone; identifications count up |
//! | UDP datagrams | lengths of their own; no checksum stays no checksum |
//!
//! **Invariant:** at most [`MOST`] segments of a packet; nothing is handed on of a packet that is refused.
//! **Invariant:** nothing here allocates.
//!
//! Source: RFC 9293 §3.8.2, RFC 3168 §6.1.2 (CWR), RFC 6864 (identification), NDIS `LsoV2Transmit`, `UdpSegmentation`.

use pfvm::packet::{Checksum, Packet, PktMeta, Segments, proto};
use pfvm::rule::{Addr, Af};
use pfvm::wire::checksum::{self, Sum};
use pfvm::wire::{Field, Ipv4, Ipv6, Tcp, Udp};

/// Segments of one packet at most: 64 KiB of the least a link must take, and more.
pub const MOST: usize = 256;
/// Extension headers looked through.
const EXTENSIONS: usize = 8;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const URG: u8 = 0x20;
const CWR: u8 = 0x80;

/// Who finishes what does not go straight on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    /// The host: facts go along with every frame, by whatever way (`virtio_net_hdr`).
    #[default]
    Host,
    /// The edge.
    Edge,
}

/// Whether something is left to be done before a packet with these facts can be on any wire.
#[must_use]
pub fn owes(meta: &PktMeta) -> bool {
    let open = |sum| matches!(sum, Checksum::Partial | Checksum::Absent);
    open(meta.l4) || open(meta.ip) || meta.segments != Segments::One
}

/// Where a packet's transport header lies, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    off: usize,
    proto: u8,
    src: Addr,
    dst: Addr,
}

/// Finds TCP or UDP. `None` for anything else, a fragment, and a packet with hops still to come in a routing header.
fn place(packet: &Packet<'_>, af: Af) -> Option<Place> {
    let (off, proto, src, dst) = match af {
        Af::Inet => {
            let h = Ipv4::new_unchecked(packet.array::<20>(0)?);
            if h.version() != 4 || h.header_len() < 20 || h.is_fragment() {
                return None;
            }
            (h.header_len(), h.proto(), pfvm::packet::addr4(h.src()), pfvm::packet::addr4(h.dst()))
        }
        Af::Inet6 => {
            let h = Ipv6::new_unchecked(packet.array::<40>(0)?);
            if h.version() != 6 {
                return None;
            }
            let (off, proto) = beyond_extensions(packet, h.next_header())?;
            (off, proto, Addr(h.src()), Addr(h.dst()))
        }
    };
    (proto == proto::TCP || proto == proto::UDP).then_some(Place { off, proto, src, dst })
}

fn beyond_extensions(packet: &Packet<'_>, first: u8) -> Option<(usize, u8)> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const DESTINATION: u8 = 60;
    let (mut off, mut next) = (40_usize, first);
    for _ in 0..EXTENSIONS {
        if !matches!(next, HOP_BY_HOP | ROUTING | DESTINATION) {
            return Some((off, next));
        }
        let [following, len, _, left] = packet.array::<4>(off)?;
        if next == ROUTING && left != 0 {
            return None;
        }
        next = following;
        off = off.checked_add(usize::from(len).checked_add(1)?.checked_mul(8)?)?;
    }
    None
}

/// Where the checksum stands in a transport header.
const fn checksum_at(proto: u8) -> usize {
    if proto == proto::UDP { 6 } else { 16 }
}

/// The transport checksum over what a sum has seen of the packet, its field counted as zero.
fn transport_sum(sum: Sum, place: &Place, af: Af, len: usize) -> Option<Sum> {
    Some(sum.pseudo(af, &place.src, &place.dst, place.proto, u32::try_from(len).ok()?))
}

fn finished(sum: Sum, proto: u8) -> u16 {
    if proto == proto::UDP { sum.finish_udp() } else { sum.finish() }
}

/// Writes what a card was to write of one packet, in place. `None` when that cannot be done: then the packet is in no
/// state to be sent.
pub fn settle(packet: &mut Packet<'_>, af: Af, meta: &PktMeta) -> Option<()> {
    if matches!(meta.l4, Checksum::Partial | Checksum::Absent) {
        let place = place(packet, af)?;
        let at = place.off.checked_add(checksum_at(place.proto))?;
        let len = packet.len().checked_sub(place.off)?;
        packet.write(at, &[0, 0]).then_some(())?;
        let sum = transport_sum(Sum::new(), &place, af, len)?.packet(packet, place.off, len);
        packet.write(at, &finished(sum, place.proto).to_be_bytes()).then_some(())?;
    }
    if af == Af::Inet && matches!(meta.ip, Checksum::Partial | Checksum::Absent) {
        let hlen = Ipv4::new_unchecked(packet.array::<20>(0)?).header_len();
        packet.write(10, &[0, 0]).then_some(())?;
        let sum = Sum::new().packet(packet, 0, hlen).finish();
        packet.write(10, &sum.to_be_bytes()).then_some(())?;
    }
    Some(())
}

/// What all segments of a packet share.
#[derive(Clone, Copy, Debug)]
struct Plan {
    place: Place,
    /// Bytes of all headers.
    headers: usize,
    /// Bytes of all data.
    data: usize,
    /// Bytes of data a segment.
    size: usize,
}

/// How a packet is to be cut for a link that takes `mtu` bytes.
fn plan(packet: &Packet<'_>, af: Af, meta: &PktMeta, mtu: usize) -> Option<Plan> {
    let place = place(packet, af)?;
    let transport = match place.proto {
        proto::TCP => Tcp::new_unchecked(packet.array::<20>(place.off)?).header_len(),
        _ => packet.array::<8>(place.off).map(|_| 8)?,
    };
    let least = if place.proto == proto::TCP { 20 } else { 8 };
    let headers = place.off.checked_add(transport).filter(|_| transport >= least)?;
    let data = packet.len().checked_sub(headers)?;
    let size = match (meta.segments, place.proto) {
        (Segments::One, _) => data,
        // A stream may be cut smaller than asked for, datagrams may not.
        (Segments::Tcp { mss }, proto::TCP) => usize::from(mss).min(mtu.checked_sub(headers)?),
        (Segments::Udp { size }, proto::UDP) => usize::from(size),
        _ => return None,
    };
    let fits = data == 0 || (size > 0 && data.div_ceil(size) <= MOST);
    (fits && (meta.segments == Segments::One || headers.checked_add(size)? <= mtu)).then_some(Plan {
        place,
        headers,
        data,
        size,
    })
}

/// Whether a packet's checksum is one that segments may be given theirs for.
fn trusted(packet: &Packet<'_>, af: Af, meta: &PktMeta, place: &Place) -> bool {
    match meta.l4 {
        Checksum::Partial | Checksum::Absent | Checksum::Validated => true,
        Checksum::Bad => false,
        Checksum::Complete => {
            let Some(len) = packet.len().checked_sub(place.off) else { return false };
            checksum::verify_l4(packet, af, &place.src, &place.dst, place.proto, place.off, len)
        }
    }
}

/// Hands on each finished packet that becomes of one, built in `room`; how many. `None`, with nothing handed on, when it
/// cannot be cut: no TCP or UDP, SYN or RST among its flags, a wrong checksum, too many segments, or `room` too small.
pub fn segment(
    packet: &Packet<'_>,
    af: Af,
    meta: &PktMeta,
    mtu: usize,
    room: &mut [u8],
    mut each: impl FnMut(&[u8]),
) -> Option<u64> {
    if meta.segments == Segments::One {
        return alone(packet, af, meta, room, each);
    }
    let plan = plan(packet, af, meta, mtu)?;
    let (place, headers) = (plan.place, plan.headers);
    let bad_header = af == Af::Inet && meta.ip == Checksum::Bad;
    if bad_header || !trusted(packet, af, meta, &place) || plan.size.min(plan.data).checked_add(headers)? > room.len() {
        return None;
    }
    let unsummed = place.proto == proto::UDP
        && af == Af::Inet
        && meta.l4 != Checksum::Partial
        && packet.u16(place.off.checked_add(6)?) == Some(0);
    if place.proto == proto::TCP && packet.u8(place.off.checked_add(13)?)? & (SYN | RST) != 0 {
        return None;
    }
    let (mut from, mut count) = (0_usize, 0_u16);
    loop {
        let len = plan.size.min(plan.data.checked_sub(from)?);
        let end = headers.checked_add(len)?;
        let out = room.get_mut(..end)?;
        packet.read(0, out.get_mut(..headers)?).then_some(())?;
        packet.read(headers.checked_add(from)?, out.get_mut(headers..)?).then_some(())?;
        let done = from.checked_add(len)?;
        let piece = Cut { af, from, count, last: done >= plan.data, unsummed };
        piece.dress(out, &place)?;
        each(out);
        (from, count) = (done, count.checked_add(1)?);
        if piece.last {
            return Some(u64::from(count));
        }
    }
}

/// One packet, finished in `room`.
fn alone(packet: &Packet<'_>, af: Af, meta: &PktMeta, room: &mut [u8], mut each: impl FnMut(&[u8])) -> Option<u64> {
    let out = room.get_mut(..packet.len())?;
    packet.copy_to(out)?;
    settle(&mut Packet::whole(out), af, meta)?;
    each(out);
    Some(1)
}

/// Which segment of a packet one is.
#[derive(Clone, Copy, Debug)]
struct Cut {
    af: Af,
    /// Bytes of data before it.
    from: usize,
    /// Segments before it.
    count: u16,
    last: bool,
    /// It goes without a checksum.
    unsummed: bool,
}

impl Cut {
    /// Writes a segment's headers over those of the whole.
    fn dress(&self, out: &mut [u8], place: &Place) -> Option<()> {
        let whole = out.len();
        match self.af {
            Af::Inet => {
                let mut h = Ipv4::new_unchecked(&mut *out);
                h.set_total_len(u16::try_from(whole).ok()?);
                h.set_id(h.id().wrapping_add(self.count));
            }
            Af::Inet6 => {
                Ipv6::new_unchecked(&mut *out).set_payload_len(u16::try_from(whole.checked_sub(40)?).ok()?);
            }
        }
        let segment = out.get_mut(place.off..)?;
        match place.proto {
            proto::TCP => self.dress_tcp(segment)?,
            _ => {
                let len = u16::try_from(segment.len()).ok()?;
                Udp::new_unchecked(&mut *segment).set_length(len);
            }
        }
        let at = checksum_at(place.proto);
        0_u16.put(segment, at);
        if !self.unsummed {
            let sum = transport_sum(Sum::new(), place, self.af, segment.len())?.bytes(segment);
            finished(sum, place.proto).put(segment, at);
        }
        if self.af == Af::Inet {
            let mut h = Ipv4::new_unchecked(out);
            h.fill_checksum();
        }
        Some(())
    }

    fn dress_tcp(&self, segment: &mut [u8]) -> Option<()> {
        let mut h = Tcp::new_unchecked(segment);
        h.set_seq(h.seq().wrapping_add(u32::try_from(self.from).ok()?));
        let mut flags = h.flags();
        if self.count > 0 {
            flags &= !CWR;
        }
        if !self.last {
            flags &= !(FIN | PSH);
        }
        if flags & URG != 0 {
            // The pointer counts from this segment's first byte.
            let left = usize::from(h.urgent()).checked_sub(self.from).filter(|left| *left > 0);
            flags = if left.is_some() { flags } else { flags & !URG };
            h.set_urgent(left.and_then(|n| u16::try_from(n).ok()).unwrap_or(0));
        }
        h.set_flags(flags);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(data: usize, flags: u8) -> Vec<u8> {
        let mut p = vec![0; 40 + data];
        p[40..].iter_mut().enumerate().for_each(|(i, b)| *b = i as u8);
        let mut h = Ipv4::new_unchecked(&mut p);
        h.set_version_ihl(0x45);
        h.set_id(0xffff);
        h.set_ttl(9);
        h.set_proto(proto::TCP);
        h.set_src([10, 0, 0, 1]);
        h.set_dst([10, 0, 0, 2]);
        let mut t = Tcp::new_unchecked(&mut p[20..]);
        t.set_seq(u32::MAX - 5);
        t.set_data_offset(0x50);
        t.set_flags(flags);
        t.set_urgent(12);
        p
    }

    fn cut(p: &mut [u8], meta: PktMeta, mtu: usize) -> Option<Vec<Vec<u8>>> {
        let (mut out, mut room) = (Vec::new(), vec![0; 4000]);
        let n = segment(&Packet::whole(p), Af::Inet, &meta, mtu, &mut room, |s| out.push(s.to_vec()))?;
        assert_eq!(n, out.len() as u64);
        Some(out)
    }

    fn large(mss: u16) -> PktMeta {
        let (l4, ip) = (Checksum::Partial, Checksum::Partial);
        PktMeta { l4, ip, segments: Segments::Tcp { mss }, length_outside: true }
    }

    #[test]
    fn a_stream_goes_on_from_segment_to_segment() {
        let parts = cut(&mut tcp(25, FIN | PSH | URG | CWR | 0x10), large(10), 1500).unwrap();
        let row = |p: &Vec<u8>| {
            let (i, t) = (Ipv4::new_unchecked(&p[..]), Tcp::new_unchecked(&p[20..]));
            assert_eq!((checksum::of(&p[..20]), usize::from(i.total_len())), (0, p.len()));
            (i.id(), t.seq(), t.flags(), t.urgent(), p.len() - 40)
        };
        let rows: Vec<_> = parts.iter().map(row).collect();
        let expected = [
            (0xffff, u32::MAX - 5, URG | CWR | 0x10, 12, 10),
            (0, 4, URG | 0x10, 2, 10),
            (1, 14, FIN | PSH | 0x10, 0, 5),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        for (flags, meta, mtu) in [
            (SYN, large(10), 1500),
            (RST, large(10), 1500),
            (0, large(0), 1500),
            (0, large(10), 40),
            (0, large(1), 1500),
            (0, PktMeta { l4: Checksum::Bad, ..large(100) }, 1500),
            (0, PktMeta { l4: Checksum::Complete, ..large(100) }, 1500),
            (0, PktMeta { ip: Checksum::Bad, ..large(100) }, 1500),
            (0, PktMeta { segments: Segments::Udp { size: 100 }, ..large(100) }, 1500),
        ] {
            assert_eq!(cut(&mut tcp(300, flags), meta, mtu), None, "{flags} {meta:?} {mtu}");
        }
        let mut fragment = tcp(300, 0);
        fragment[6] = 0x20;
        assert_eq!(cut(&mut fragment, large(100), 1500), None);
        assert_eq!(cut(&mut tcp(300, 0)[..39], large(100), 1500), None);
        let mut long = tcp(300, 0);
        long[32] = 0xf0;
        assert!(cut(&mut long[..79], large(100), 1500).is_none());
    }

    #[test]
    fn a_stream_is_cut_to_the_link_and_no_data_are_one_segment() {
        let sizes = |p: Vec<Vec<u8>>| p.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(cut(&mut tcp(200, 0), large(1000), 140).unwrap()), [140, 140]);
        assert_eq!(sizes(cut(&mut tcp(0, FIN), large(1000), 140).unwrap()), [40]);
    }

    #[test]
    fn one_packet_gets_what_it_lacks_and_keeps_what_is_wrong() {
        let mut p = tcp(5, 0x10);
        Ipv4::new_unchecked(&mut p).set_total_len(45);
        let wrong = PktMeta { l4: Checksum::Bad, ..PktMeta::default() };
        assert_eq!(cut(&mut p.clone(), wrong, 1500).unwrap(), [p.clone()]);
        let partial = PktMeta { l4: Checksum::Partial, ip: Checksum::Absent, ..PktMeta::default() };
        let whole = cut(&mut p, partial, 1500).unwrap().remove(0);
        let (src, dst) = (pfvm::packet::addr4([10, 0, 0, 1]), pfvm::packet::addr4([10, 0, 0, 2]));
        assert!(checksum::verify_l4(&Packet::whole(&mut whole.clone()), Af::Inet, &src, &dst, proto::TCP, 20, 25));
        assert_eq!(checksum::of(&whole[..20]), 0);
        assert!(owes(&partial) && owes(&large(9)) && !owes(&wrong) && !owes(&PktMeta::default()));
    }
}
