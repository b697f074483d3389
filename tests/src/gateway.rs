//! Frames as a forwarding gateway sees them: conversations of clients inside with servers outside and the reverse, each
//! frame the answer to one that left or the continuation of one that went up; between them frames of every other kind.
//! The same seed and the same fates make the same frames.

use ndismock::numbers::Numbers;
use pfdriver::edge::port::{PortId, Side};
use pfdriver::edge::{Entry, Exit};
use pfvm::api::FactRow;
use pfvm::packet::{addr4, proto};
use pfvm::rule::{Addr, Af};
use pfvm::wire::checksum::Sum;

use crate::desk::{iface, rows, v4};

/// Rules that translate both ways, scrub, mark, answer, and send elsewhere.
pub const RULES: &str = "\
set block-policy return
match in on em0 scrub (no-df min-ttl 5 max-mss 1400)
match out on em0 inet from 10.0.0.0/16 nat-to 192.0.2.1
pass in on em1 inet proto { tcp udp icmp } tag INSIDE
pass in on em1 inet proto udp to port 53 set prio 6
pass in on em1 inet proto tcp to port 22 modulate state
pass in on em1 inet proto udp to port 7 tag INSIDE nat-to 10.0.0.3
pass in on em1 inet proto udp to port 9 route-to 192.0.2.77
pass in on vlan5 inet set prio 4
pass in on em0 inet proto tcp to 192.0.2.1 port 80 rdr-to 10.0.0.9 port 8080
pass in on em0 inet proto tcp to 192.0.2.1 port 443 rdr-to 10.0.0.9 synproxy state
pass out on em0 inet tagged INSIDE
pass out on em0 inet received-on vlan5
pass out on em1 inet
pass out on vlan5 inet
block in on em0 inet proto udp to port 99
";

/// Hardware addresses of `em0` and `em1`.
pub const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
/// Of everybody else.
const PEER: [u8; 6] = [2, 0, 0, 0, 9, 9];
/// The VLAN on top of `em1`, and its interface.
pub const VLAN: (u16, u16) = (5, 3);

/// `em0` (1, outside), `em1` (2, inside), `vlan5` (3, on top of `em1`).
#[must_use]
pub fn facts() -> Vec<u8> {
    let mut facts = iface(1, "em0", v4(192, 0, 2, 1));
    facts.push(FactRow::Route { af: Af::Inet, addr: Addr::default(), prefix: 0, hop: None, metric: 0 });
    facts.extend(iface(2, "em1", v4(10, 0, 0, 1)));
    facts.extend(iface(3, "vlan5", v4(10, 0, 5, 1)));
    rows(&facts)
}

/// A frame, and where it comes in.
#[derive(Clone, Debug)]
pub struct Came {
    /// Where.
    pub entry: Entry,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The hosts around a gateway.
#[derive(Debug)]
pub struct Hosts {
    random: Numbers,
    /// Frames that left or went up, to be answered or forwarded.
    left: Vec<(Exit, Vec<u8>)>,
}

/// Frames that are remembered.
const MOST: usize = 48;

impl Hosts {
    /// Hosts that have said nothing yet.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { random: Numbers(seed), left: Vec::new() }
    }

    /// A frame left, or went up.
    pub fn saw(&mut self, exit: Exit, bytes: &[u8]) {
        if self.left.len() >= MOST {
            let at = self.random.below(MOST);
            self.left.swap_remove(at);
        }
        self.left.push((exit, bytes.to_vec()));
    }

    /// The next frame.
    pub fn next_frame(&mut self) -> Came {
        if self.left.is_empty() || self.random.once_in(12) {
            return self.begins();
        }
        if self.random.once_in(9) {
            return self.strange();
        }
        // The newest most often: conversations get on.
        let back = self.random.below(4).min(self.left.len() - 1);
        let at = self.left.len() - 1 - back;
        let (exit, bytes) = self.left[at].clone();
        if self.random.once_in(2) {
            self.left.remove(at);
        }
        let came = match exit {
            Exit::Stack(PortId(0 | 1)) => forwarded(&bytes),
            Exit::Wire(port) | Exit::Resolve(port, _) => answered(port, &bytes, &mut self.random),
            Exit::Stack(_) => None,
        };
        came.unwrap_or_else(|| self.begins())
    }

    /// The first frame of a conversation.
    fn begins(&mut self) -> Came {
        let r = &mut self.random;
        let (client, server) = ([10, 0, 0, 20 + r.below(4) as u8], [198, 51, 100, 7 + r.below(3) as u8]);
        let ports = (4000 + r.below(40) as u16, r.pick(&[53, 80, 22, 7, 9, 99, 443, 4500]));
        let kind = r.pick(&[proto::UDP, proto::UDP, proto::TCP, proto::TCP, proto::TCP, proto::ICMP]);
        match r.below(6) {
            0 => {
                let body = body(kind, (ports.0, r.pick(&[80, 443, 99])), 0);
                wire(0, None, &packet(kind, server, [192, 0, 2, 1], &body))
            }
            1 => wire(1, Some(VLAN.0), &packet(kind, [10, 0, 5, 20], server, &body(kind, ports, 0))),
            _ => wire(1, None, &packet(kind, client, server, &body(kind, ports, r.pick(&[0, 3, 700])))),
        }
    }

    /// A frame of another kind.
    fn strange(&mut self) -> Came {
        let r = &mut self.random;
        let port = r.below(2);
        let (client, server) = ([10, 0, 0, 20], [198, 51, 100, 7]);
        let whole = packet(proto::UDP, client, server, &body(proto::UDP, (4000, 53), 64));
        match r.below(10) {
            0 => Came { entry: entry(port, Side::Wire), bytes: frame([0xff; 6], None, 0x0806, &[0; 46]) },
            1 => Came { entry: entry(port, Side::Stack), bytes: frame(PEER, None, 0x88cc, &[0; 46]) },
            2 => wire(1, Some(77), &whole),
            3 => Came { entry: entry(1, Side::Wire), bytes: frame([2, 0, 0, 0, 5, 5], None, 0x0800, &whole) },
            4 => Came { entry: entry(port, Side::Wire), bytes: whole[..r.below(whole.len())].to_vec() },
            5 => wire(1, None, &piece(&whole, 0, 32, true)),
            6 => wire(1, None, &piece(&whole, 32, whole.len() - 20 - 32, false)),
            7 => wire(0, None, &packet(proto::UDP, [127, 0, 0, 1], [192, 0, 2, 1], &body(proto::UDP, (1, 2), 0))),
            // Too long for the link it leaves by.
            8 => {
                let long = packet(proto::UDP, client, server, &body(proto::UDP, (4001, 53), 1600));
                Came { entry: entry(0, Side::Stack), bytes: frame(PEER, None, 0x0800, &long) }
            }
            _ => {
                let mut bytes = wire(1, None, &whole).bytes;
                let at = r.below(bytes.len());
                bytes[at] ^= 1 << r.below(8);
                Came { entry: entry(1, Side::Wire), bytes }
            }
        }
    }
}

/// An entry.
#[must_use]
pub fn entry(port: usize, side: Side) -> Entry {
    Entry { port: PortId(port as u16), side }
}

fn frame(to: [u8; 6], vlan: Option<u16>, kind: u16, body: &[u8]) -> Vec<u8> {
    let tag = vlan.map(|id| [[0x81, 0], id.to_be_bytes()].concat()).unwrap_or_default();
    [&to[..], &PEER, &tag, &kind.to_be_bytes(), body].concat()
}

/// A packet from a peer.
fn wire(port: usize, vlan: Option<u16>, packet: &[u8]) -> Came {
    Came { entry: entry(port, Side::Wire), bytes: frame(MACS[port], vlan, 0x0800, packet) }
}

/// A transport header with `len` bytes behind it: of TCP a SYN.
fn body(kind: u8, (sport, dport): (u16, u16), len: usize) -> Vec<u8> {
    let mut out = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    match kind {
        proto::TCP => {
            out.extend([0, 0, 0x10, 0, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
            return out;
        }
        proto::ICMP => out = [&[8, 0, 0, 0][..], &sport.to_be_bytes(), &[0, 1]].concat(),
        _ => out.extend([((len + 8) >> 8) as u8, (len + 8) as u8, 0, 0]),
    }
    out.extend((0..len).map(|i| i as u8));
    out
}

/// A packet of IPv4, its sums right.
fn packet(kind: u8, src: [u8; 4], dst: [u8; 4], body: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + body.len()).expect("short");
    let mut p = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, kind, 0, 0];
    p[2..4].copy_from_slice(&total.to_be_bytes());
    p.extend(src);
    p.extend(dst);
    p.extend(body);
    seal(&mut p);
    p
}

/// Writes the sums of a packet anew.
fn seal(p: &mut [u8]) {
    p[10..12].fill(0);
    let sum = Sum::new().bytes(&p[..20]).finish();
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    let (kind, len) = (p[9], p.len() - 20);
    let (src, dst): ([u8; 4], [u8; 4]) = (p[12..16].try_into().expect("four"), p[16..20].try_into().expect("four"));
    let at = match kind {
        proto::TCP => 36,
        proto::UDP => 26,
        proto::ICMP => 22,
        _ => return,
    };
    p[at..at + 2].fill(0);
    let sum = match kind {
        proto::ICMP => Sum::new(),
        _ => Sum::new().pseudo(Af::Inet, &addr4(src), &addr4(dst), kind, len as u32),
    };
    let sum = sum.bytes(&p[20..]).finish();
    p[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// A fragment of a packet.
fn piece(whole: &[u8], from: usize, len: usize, more: bool) -> Vec<u8> {
    let mut p = [&whole[..20], &whole[20 + from..20 + from + len]].concat();
    p[2..4].copy_from_slice(&((20 + len) as u16).to_be_bytes());
    p[6..8].copy_from_slice(&((from as u16 >> 3) | if more { 0x2000 } else { 0 }).to_be_bytes());
    p[10..12].fill(0);
    let sum = Sum::new().bytes(&p[..20]).finish();
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    p
}

/// A frame's tag, and its packet: whole IPv4 without options.
fn opened(bytes: &[u8]) -> Option<(Option<u16>, Vec<u8>)> {
    let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let (vlan, at) = if word(12)? == 0x8100 { (Some(word(14)? & 0xfff), 18) } else { (None, 14) };
    let whole = word(at - 2)? == 0x0800 && *bytes.get(at)? == 0x45 && word(at + 6)? & 0x3fff == 0;
    let p = bytes.get(at..)?;
    let least = 20 + if *p.get(9)? == proto::TCP { 20 } else { 8 };
    let total = usize::from(word(at + 2)?);
    (whole && total >= least).then(|| Some((vlan, p.get(..total)?.to_vec())))?
}

/// What went up comes down again, one hop further.
fn forwarded(bytes: &[u8]) -> Option<Came> {
    let (_, mut p) = opened(bytes)?;
    let dst: [u8; 4] = p[16..20].try_into().ok()?;
    if matches!(dst, [192, 0, 2, 1] | [10, 0, 0 | 5, 1]) {
        return None;
    }
    p[8] -= 1;
    p[10..12].fill(0);
    let sum = Sum::new().bytes(&p[..20]).finish();
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    let (port, vlan) = match dst {
        [10, 0, 5, _] => (1, Some(VLAN.0)),
        [10, ..] => (1, None),
        _ => (0, None),
    };
    Some(Came { entry: entry(port, Side::Stack), bytes: frame(PEER, vlan, 0x0800, &p) })
}

/// What left is answered.
fn answered(PortId(port): PortId, bytes: &[u8], random: &mut Numbers) -> Option<Came> {
    let (vlan, mut p) = opened(bytes)?;
    let (src, dst) = (p[12..16].to_vec(), p[16..20].to_vec());
    p[12..16].copy_from_slice(&dst);
    p[16..20].copy_from_slice(&src);
    p[8] = 64;
    match p[9] {
        proto::ICMP if p[20] == 8 => p[20] = 0,
        proto::ICMP => return None,
        kind => {
            let (sport, dport) = (p[20..22].to_vec(), p[22..24].to_vec());
            p[20..22].copy_from_slice(&dport);
            p[22..24].copy_from_slice(&sport);
            if kind == proto::TCP {
                speak(&mut p, random);
            }
        }
    }
    seal(&mut p);
    Some(wire(usize::from(port), vlan, &p))
}

/// The segment that answers one: a handshake goes on, then data, now and then an end.
fn speak(p: &mut Vec<u8>, random: &mut Numbers) {
    let word = |at: usize| u32::from_be_bytes([p[at], p[at + 1], p[at + 2], p[at + 3]]);
    let (seq, ack, flags) = (word(24), word(28), p[33]);
    let header = usize::from(p[32] >> 4) * 4;
    let took = (p.len() - 20 - header) as u32 + u32::from(flags & 0x03 != 0);
    let mine = if flags & 0x12 == 0x02 { 0x7000 } else { ack };
    p.truncate(40);
    let flags = match flags & 0x17 {
        0x02 => 0x12,
        0x12 => 0x10,
        _ if random.once_in(20) => random.pick(&[0x11, 0x14, 0x02]),
        _ => {
            p.extend((0..random.below(400)).map(|i| i as u8));
            0x18
        }
    };
    let len = p.len() as u16;
    p[2..4].copy_from_slice(&len.to_be_bytes());
    p[24..28].copy_from_slice(&mine.to_be_bytes());
    p[28..32].copy_from_slice(&(seq.wrapping_add(took)).to_be_bytes());
    (p[32], p[33]) = (0x50, flags);
    p[34..36].copy_from_slice(&[0xff, 0xff]);
}
