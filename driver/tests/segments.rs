//! Large sends cut in software, read by another stack: every segment parses, its checksums are right by etherparse's own
//! sums, and together they are the stream or the datagrams that were sent.

use etherparse::{
    IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header, NetSlice, SlicedPacket, TcpHeader, TransportSlice,
    UdpHeader,
};
use pfdriver::edge::segment::segment;
use pfvm::packet::{Checksum, Packet, PktMeta, Segments};
use pfvm::rule::Af;
use proptest::prelude::*;

/// A packet as a stack leaves it to a card.
#[derive(Clone, Debug)]
struct Sent {
    v6: bool,
    udp: bool,
    options: usize,
    size: u16,
    data: Vec<u8>,
    flags: u8,
    seq: u32,
    id: u16,
    cuts: Vec<usize>,
}

const SRC4: [u8; 4] = [10, 1, 2, 3];
const DST4: [u8; 4] = [198, 51, 100, 9];
const SRC6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const DST6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

fn sent() -> impl Strategy<Value = Sent> {
    let shape = (any::<bool>(), any::<bool>(), 0..=10_usize, 100..1400_u16);
    let data = (0..20_000_usize, any::<u8>())
        .prop_map(|(len, by)| (0..len).map(|i| (i as u8).wrapping_mul(by | 1) ^ (i >> 8) as u8).collect());
    let cuts = proptest::collection::vec(0..20_000_usize, 0..6);
    (shape, data, any::<u8>(), any::<u32>(), any::<u16>(), cuts).prop_map(|(shape, data, flags, seq, id, cuts)| {
        let (v6, udp, options, size) = shape;
        Sent { v6, udp, options, size, data, flags: flags & 0xd9, seq, id, cuts }
    })
}

impl Sent {
    fn transport(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.udp {
            let h = UdpHeader { source_port: 4000, destination_port: 53, length: 0, checksum: 0x1234 };
            h.write(&mut out).unwrap();
        } else {
            let mut h = TcpHeader::new(4000, 80, self.seq, 512);
            h.set_options_raw(&[1; 40][..self.options * 4]).unwrap();
            h.acknowledgment_number = 99;
            (h.fin, h.psh, h.ack) = (self.flags & 1 != 0, self.flags & 8 != 0, true);
            (h.ece, h.cwr) = (self.flags & 0x40 != 0, self.flags & 0x80 != 0);
            h.checksum = 0x1234;
            h.write(&mut out).unwrap();
        }
        out
    }

    /// The whole packet; its lengths and sums are what a card would overwrite.
    fn packet(&self) -> Vec<u8> {
        let transport = self.transport();
        let next = if self.udp { IpNumber::UDP } else { IpNumber::TCP };
        let mut out = Vec::new();
        if self.v6 {
            let h = Ipv6Header {
                traffic_class: 3,
                flow_label: Ipv6FlowLabel::try_new(7).unwrap(),
                payload_length: 0,
                next_header: next,
                hop_limit: 61,
                source: SRC6,
                destination: DST6,
            };
            h.write(&mut out).unwrap();
        } else {
            let mut h = Ipv4Header::new(0, 61, next, SRC4, DST4).unwrap();
            h.options = Ipv4Options::try_from(&[1; 40][..self.options / 2 * 4]).unwrap();
            (h.identification, h.dont_fragment, h.total_len) = (self.id, true, 0);
            h.write_raw(&mut out).unwrap();
        }
        out.extend(transport);
        out.extend(&self.data);
        out
    }

    fn meta(&self) -> PktMeta {
        let segments = if self.udp { Segments::Udp { size: self.size } } else { Segments::Tcp { mss: self.size } };
        PktMeta { l4: Checksum::Partial, ip: Checksum::Partial, segments, length_outside: true }
    }

    fn segments(&self) -> Option<Vec<Vec<u8>>> {
        let whole = self.packet();
        // As a host lends it: the headers in the window, the rest in pieces of any length.
        let first = whole.len().min(160);
        let mut window = whole[..first].to_vec();
        let mut cuts: Vec<usize> = self.cuts.iter().map(|c| first + c % (whole.len() - first + 1)).collect();
        cuts.extend([first, whole.len()]);
        cuts.sort_unstable();
        let rest: Vec<&[u8]> = cuts.windows(2).map(|w| &whole[w[0]..w[1]]).collect();
        let packet = Packet::new(&mut window, 0, &rest).unwrap();
        let af = if self.v6 { Af::Inet6 } else { Af::Inet };
        let (mut out, mut room) = (Vec::new(), vec![0xee; 66_000]);
        let n = segment(&packet, af, &self.meta(), 1600, &mut room, |s| out.push(s.to_vec()));
        assert!(n.is_some() || out.is_empty(), "nothing of a refused packet is handed on");
        n.map(|n| {
            assert_eq!(n, out.len() as u64);
            out
        })
    }
}

/// What etherparse reads of a segment, its checksums found right.
fn read(bytes: &[u8], n: usize, s: &Sent) -> (Option<TcpHeader>, Vec<u8>) {
    let sliced = SlicedPacket::from_ip(bytes).unwrap();
    match sliced.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let h = ip.header();
            assert_eq!(usize::from(h.total_len()), bytes.len());
            assert_eq!(h.header_checksum(), h.to_header().calc_header_checksum());
            assert_eq!((h.identification(), h.ttl(), h.dont_fragment()), (s.id.wrapping_add(n as u16), 61, true));
        }
        NetSlice::Ipv6(ip) => assert_eq!(usize::from(ip.header().payload_length()) + 40, bytes.len()),
        NetSlice::Arp(_) => unreachable!(),
    }
    match sliced.transport.unwrap() {
        TransportSlice::Tcp(t) => {
            let sum = if s.v6 { t.calc_checksum_ipv6(SRC6, DST6) } else { t.calc_checksum_ipv4(SRC4, DST4) };
            assert_eq!(t.checksum(), sum.unwrap());
            (Some(t.to_header()), t.payload().to_vec())
        }
        TransportSlice::Udp(u) => {
            let h = u.to_header();
            let data = u.payload();
            assert_eq!(usize::from(h.length), 8 + data.len());
            let sum = if s.v6 {
                h.calc_checksum_ipv6_raw(SRC6, DST6, data)
            } else {
                h.calc_checksum_ipv4_raw(SRC4, DST4, data)
            };
            assert_eq!(h.checksum, sum.unwrap());
            (None, data.to_vec())
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn segments_are_what_was_sent(s in sent()) {
        let parts = s.segments();
        prop_assert_eq!(parts.is_some(), s.data.len().div_ceil(usize::from(s.size)) <= 256);
        let Some(parts) = parts else { return Ok(()) };
        let mut data = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            let last = n + 1 == parts.len();
            let (tcp, piece) = read(part, n, &s);
            if let Some(t) = tcp {
                prop_assert_eq!(t.sequence_number, s.seq.wrapping_add(data.len() as u32));
                prop_assert_eq!((t.fin, t.psh), (last && s.flags & 1 != 0, last && s.flags & 8 != 0));
                prop_assert_eq!((t.cwr, t.ece), (n == 0 && s.flags & 0x80 != 0, s.flags & 0x40 != 0));
                prop_assert_eq!(t.options.as_slice(), &[1; 40][..s.options * 4]);
                prop_assert_eq!((t.acknowledgment_number, t.window_size, t.ack), (99, 512, true));
            }
            prop_assert!(last || piece.len() == usize::from(s.size));
            data.extend(piece);
        }
        prop_assert_eq!(data, s.data);
    }
}
