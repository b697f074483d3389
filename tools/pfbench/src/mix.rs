//! The packets of the engine's benchmarks: flows, their packets, and the order they come in.
//!
//! Flow `i` goes from 10.0.0.0 + `i` to an address and from a port that follow from `i`. Packets are 46 bytes of IPv4:
//! TCP with six bytes of payload, UDP with eighteen; those of a handshake have 40. All sums are right.

use pfvm::rule::{Addr, Af};
use pfvm::wire::checksum;

/// Which protocols the flows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum Proto {
    /// All TCP.
    Tcp,
    /// All UDP.
    Udp,
    /// Even flows TCP, odd ones UDP.
    Mix,
}

impl Proto {
    /// The name a line shows.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Mix => "MIX",
        }
    }

    const fn is_tcp(self, i: u32) -> bool {
        match self {
            Self::Tcp => true,
            Self::Udp => false,
            Self::Mix => i.is_multiple_of(2),
        }
    }
}

/// Room for one packet.
pub(crate) const SLOT: usize = 64;
/// A packet in its room, and its length in the last byte.
pub(crate) type Slot = [u8; SLOT];
/// Bytes of a packet of a flow in full swing.
pub(crate) const LEN: usize = 46;
/// Bytes of a packet of a handshake.
pub(crate) const SHORT: usize = 40;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) addr: u32,
    pub(crate) port: u16,
}

/// A flow: who talks to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) tcp: bool,
    pub(crate) number: u32,
    pub(crate) src: End,
    pub(crate) dst: End,
}

/// A segment's numbers.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    seq: u32,
    ack: u32,
    flags: u8,
}

impl Flow {
    /// Flow `i` of a mix.
    pub(crate) fn new(proto: Proto, i: u32) -> Self {
        let tcp = proto.is_tcp(i);
        let spread = i.wrapping_mul(2_654_435_761) >> 16;
        let port = 1024 + i.wrapping_mul(40_503) % 64_512;
        Self {
            tcp,
            number: i,
            src: End { addr: 0x0a00_0000_u32.wrapping_add(i), port: port as u16 },
            dst: End { addr: 0xc612_0000_u32.wrapping_add(spread), port: if tcp { 443 } else { 53 } },
        }
    }

    /// The packets that set it up: each with its length and whether it goes out.
    pub(crate) fn handshake(&self) -> Vec<(Slot, usize, bool)> {
        if !self.tcp {
            return vec![(self.packet(false), LEN, true), (self.packet(true), LEN, false)];
        }
        let n = |seq, ack, flags| Numbers { seq, ack, flags };
        vec![
            (self.segment(false, n(1000, 0, SYN), SHORT), SHORT, true),
            (self.segment(true, n(5000, 1001, SYN | ACK), SHORT), SHORT, false),
            (self.segment(false, n(1001, 5001, ACK), SHORT), SHORT, true),
        ]
    }

    /// Its first packet, and how long it is.
    pub(crate) fn first(&self) -> (Slot, usize) {
        let (slot, len, _) = self.handshake()[0];
        (slot, len)
    }

    /// A packet of the flow in full swing; `reply` is one that comes back.
    pub(crate) fn packet(&self, reply: bool) -> Slot {
        if self.tcp {
            let (seq, ack) = if reply { (5001, 1001) } else { (1001, 5001) };
            self.segment(reply, Numbers { seq, ack, flags: PSH | ACK }, LEN)
        } else {
            let mut b = self.header(reply, UDP, LEN);
            let (from, to) = self.ends(reply);
            b[20..22].copy_from_slice(&from.port.to_be_bytes());
            b[22..24].copy_from_slice(&to.port.to_be_bytes());
            b[24..26].copy_from_slice(&((LEN - 20) as u16).to_be_bytes());
            b[28..LEN].fill(b'x');
            self.seal(b, reply, UDP, LEN, 26)
        }
    }

    fn ends(&self, reply: bool) -> (End, End) {
        if reply { (self.dst, self.src) } else { (self.src, self.dst) }
    }

    fn header(&self, reply: bool, proto: u8, len: usize) -> Slot {
        let (from, to) = self.ends(reply);
        let mut b = [0; SLOT];
        b[0] = 0x45;
        b[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        b[4..6].copy_from_slice(&(self.number as u16).to_be_bytes());
        b[8] = 64;
        b[9] = proto;
        b[12..16].copy_from_slice(&from.addr.to_be_bytes());
        b[16..20].copy_from_slice(&to.addr.to_be_bytes());
        b
    }

    fn segment(&self, reply: bool, n: Numbers, len: usize) -> Slot {
        let mut b = self.header(reply, TCP, len);
        let (from, to) = self.ends(reply);
        b[20..22].copy_from_slice(&from.port.to_be_bytes());
        b[22..24].copy_from_slice(&to.port.to_be_bytes());
        b[24..28].copy_from_slice(&n.seq.to_be_bytes());
        b[28..32].copy_from_slice(&n.ack.to_be_bytes());
        b[32] = 0x50;
        b[33] = n.flags;
        b[34..36].copy_from_slice(&u16::MAX.to_be_bytes());
        if len == LEN {
            b[40..LEN].copy_from_slice(b"abcdef");
        }
        self.seal(b, reply, TCP, len, 36)
    }

    /// Fills in both sums.
    fn seal(&self, mut b: Slot, reply: bool, proto: u8, len: usize, at: usize) -> Slot {
        let ip = checksum::of(&b[..20]);
        b[10..12].copy_from_slice(&ip.to_be_bytes());
        let (from, to) = self.ends(reply);
        let mut pseudo = Vec::with_capacity(12 + len);
        pseudo.extend(from.addr.to_be_bytes());
        pseudo.extend(to.addr.to_be_bytes());
        pseudo.extend([0, proto]);
        pseudo.extend(((len - 20) as u16).to_be_bytes());
        pseudo.extend(&b[20..len]);
        let sum = checksum::of(&pseudo);
        b[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        b
    }
}

/// Where a packet now says it comes from.
pub(crate) fn source_of(slot: &Slot) -> End {
    let addr = u32::from_be_bytes([slot[12], slot[13], slot[14], slot[15]]);
    End { addr, port: u16::from_be_bytes([slot[20], slot[21]]) }
}

/// Whether both sums of a packet are right, however it was rewritten.
pub(crate) fn sums_right(slot: &mut Slot, len: usize) -> bool {
    let addr = |at: usize| {
        let mut a = [0; 16];
        a[..4].copy_from_slice(&slot[at..at + 4]);
        Addr(a)
    };
    let (src, dst, proto) = (addr(12), addr(16), slot[9]);
    let header = checksum::of(&slot[..20]) == 0;
    let packet = pfvm::packet::Packet::whole(&mut slot[..len]);
    header && checksum::verify_l4(&packet, Af::Inet, &src, &dst, proto, 20, len - 20)
}

/// The order packets come in: splitmix64.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
