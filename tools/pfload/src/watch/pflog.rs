//! A log record as OpenBSD's pflog interface gives it: `struct pfloghdr`, then the packet.
//!
//! Source: OpenBSD 7.8 `sys/net/if_pflog.h struct pfloghdr`, `if_pflog.c pflog_packet`, `pflog_bpfcopy`.
//! The record was made before a translation was written into the packet; as on OpenBSD, the bytes here are the
//! translated packet's, the header holds the ends before translation, and `rewritten` says so. Translations to another
//! family stay in the header alone: the bytes are those that came.

use pfvm::rule::{Addr, Af, Direction};
use pfvm::watch::{Action, LogRow};

/// Length of `struct pfloghdr`.
pub(crate) const HEADER: usize = 100;
/// `DLT_PFLOG`.
pub(crate) const DLT_PFLOG: u32 = 117;
/// Bytes of an interface's name, with the zero that ends it (`IFNAMSIZ`).
const NAME: usize = 16;

/// OpenBSD's number of a family.
const fn family(af: Af) -> u8 {
    match af {
        Af::Inet => 2,
        Af::Inet6 => 24,
    }
}

/// OpenBSD's number of an action (`PF_PASS`, `PF_DROP`, `PF_MATCH`).
const fn action(action: Action) -> u8 {
    match action {
        Action::Pass => 0,
        Action::Block => 1,
        Action::Match => 12,
    }
}

/// Where a packet's addresses, ports and checksums stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Family.
    pub af: Af,
    /// Protocol above IP.
    pub proto: u8,
    /// Offset of the transport header; `None` for a fragment that is not the first.
    pub transport: Option<usize>,
    /// Whether it is a fragment.
    pub fragment: bool,
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Layout {
    /// Finds out, as far as the bytes go.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let header = usize::from(bytes.first()? & 15) * 4;
                let frag = be16(bytes, 6)?;
                let (offset, more) = (frag & 0x1fff, frag & 0x2000 != 0);
                let transport = (offset == 0 && header >= 20).then_some(header);
                Some(Self { af: Af::Inet, proto: *bytes.get(9)?, transport, fragment: offset != 0 || more })
            }
            6 => Self::of6(bytes),
            _ => None,
        }
    }

    fn of6(bytes: &[u8]) -> Option<Self> {
        let (mut proto, mut at) = (*bytes.get(6)?, 40_usize);
        let mut fragment = false;
        // As many extension headers as fit into a packet's first bytes.
        for _ in 0..64 {
            match proto {
                0 | 43 | 60 | 135 => {
                    let Some(len) = bytes.get(at + 1) else { break };
                    proto = *bytes.get(at)?;
                    at += (usize::from(*len) + 1) * 8;
                }
                51 => {
                    let Some(len) = bytes.get(at + 1) else { break };
                    proto = *bytes.get(at)?;
                    at += (usize::from(*len) + 2) * 4;
                }
                44 => {
                    let Some(frag) = be16(bytes, at + 2) else { break };
                    proto = *bytes.get(at)?;
                    fragment |= frag & 0xfff9 != 0;
                    if frag & 0xfff8 != 0 {
                        return Some(Self { af: Af::Inet6, proto, transport: None, fragment });
                    }
                    at += 8;
                }
                _ => break,
            }
        }
        Some(Self { af: Af::Inet6, proto, transport: Some(at), fragment })
    }

    /// Whether it has ports.
    pub(crate) fn ported(&self) -> bool {
        matches!(self.proto, 6 | 17) && self.transport.is_some()
    }

    /// Source and destination, with ports where it has them.
    pub(crate) fn ends(&self, bytes: &[u8]) -> Option<((Addr, u16), (Addr, u16))> {
        let (at, len) = match self.af {
            Af::Inet => (12, 4),
            Af::Inet6 => (8, 16),
        };
        let addr = |at: usize| {
            let mut out = [0; 16];
            out.get_mut(..len)?.copy_from_slice(bytes.get(at..at + len)?);
            Some(Addr(out))
        };
        let port = |after: usize| match self.transport {
            Some(t) if self.ported() => be16(bytes, t + after).unwrap_or(0),
            _ => 0,
        };
        Some(((addr(at)?, port(0)), (addr(at + len)?, port(2))))
    }
}

/// Adds a change of 16-bit words to a checksum (RFC 1624 §3).
fn change(sum: u16, old: &[u8], new: &[u8]) -> u16 {
    let word = |pair: &[u8]| {
        u32::from(u16::from_be_bytes([pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)]))
    };
    let mut acc = u32::from(!sum);
    for (o, n) in old.chunks(2).zip(new.chunks(2)) {
        acc += (!word(o) & 0xffff) + word(n);
    }
    while acc > 0xffff {
        acc = (acc & 0xffff) + (acc >> 16);
    }
    !u16::try_from(acc).unwrap_or(u16::MAX)
}

/// Writes bytes and mends the checksums that cover them.
fn put(bytes: &mut [u8], at: usize, new: &[u8], sums: &[Option<usize>]) {
    let Some(old) = bytes.get(at..at + new.len()).map(<[u8]>::to_vec) else { return };
    for sum in sums.iter().flatten() {
        let Some(was) = be16(bytes, *sum) else { continue };
        if let Some(room) = bytes.get_mut(*sum..*sum + 2) {
            room.copy_from_slice(&change(was, &old, new).to_be_bytes());
        }
    }
    if let Some(room) = bytes.get_mut(at..at + new.len()) {
        room.copy_from_slice(new);
    }
}

/// Writes the ends of a translation into a packet's first bytes.
fn rewrite(bytes: &mut [u8], layout: &Layout, src: (Addr, u16), dst: (Addr, u16)) {
    let (at, len) = match layout.af {
        Af::Inet => (12, 4),
        Af::Inet6 => (8, 16),
    };
    // A UDP checksum of zero says there is none.
    let transport = layout.transport.and_then(|t| match layout.proto {
        6 => Some(t + 16),
        17 => Some(t + 6).filter(|at| be16(bytes, *at) != Some(0)),
        58 => Some(t + 2),
        _ => None,
    });
    let ip = matches!(layout.af, Af::Inet).then_some(10);
    for (place, (addr, _)) in [(at, src), (at + len, dst)] {
        put(bytes, place, addr.0.get(..len).unwrap_or_default(), &[ip, transport]);
    }
    if let Some(t) = layout.transport.filter(|_| layout.ported()) {
        put(bytes, t, &src.1.to_be_bytes(), &[transport]);
        put(bytes, t + 2, &dst.1.to_be_bytes(), &[transport]);
    }
}

/// A record as a capture holds it: header and packet.
pub(crate) fn record(row: &LogRow<'_>, short_name: &str) -> Vec<u8> {
    let mut packet = row.bytes.to_vec();
    let layout = Layout::of(&packet).filter(|l| l.af == row.af);
    let ends = layout.as_ref().and_then(|l| l.ends(&packet));
    let (mut src, mut dst) = (row.src, row.dst);
    let mut rewritten = false;
    if let (Some(layout), Some((osrc, odst))) = (layout, ends) {
        if !layout.ported() {
            // Of ICMP the record's ports are identifiers: they are not in the ends.
            (src.1, dst.1) = (0, 0);
        }
        if row.af == row.naf && !layout.fragment && (osrc, odst) != (src, dst) && src.0 != Addr::default() {
            rewrite(&mut packet, &layout, src, dst);
            rewritten = true;
        }
        (src, dst) = (osrc, odst);
    }
    let mut out = Vec::with_capacity(HEADER + packet.len());
    out.extend([HEADER as u8, family(row.af), action(row.action), row.reason]);
    out.extend(fixed::<NAME>(short_name));
    out.extend(fixed::<NAME>(row.anchor.rsplit('/').next().unwrap_or_default()));
    out.extend(row.rule.to_be_bytes());
    out.extend(row.subrule.to_be_bytes());
    // Users and processes are in the byte order of the machine; every machine this runs on is little-endian.
    for number in [row.uid, row.pid, row.rule_uid, row.rule_pid] {
        out.extend(number.to_le_bytes());
    }
    let dir = if matches!(row.dir, Direction::In) { 1 } else { 2 };
    out.extend([dir, u8::from(rewritten), family(if rewritten { row.af } else { row.naf }), 0]);
    out.extend(src.0.0);
    out.extend(dst.0.0);
    out.extend(src.1.to_be_bytes());
    out.extend(dst.1.to_be_bytes());
    out.extend(packet);
    out
}

/// A name in a fixed room, cut between characters, with a zero behind it.
fn fixed<const N: usize>(name: &str) -> [u8; N] {
    let mut out = [0; N];
    let cut = (0..N).rev().find(|n| name.is_char_boundary(*n)).unwrap_or(0);
    for (room, byte) in out.iter_mut().zip(name.bytes().take(cut)) {
        *room = byte;
    }
    out
}

/// Names short enough for a header, a different one for each interface.
#[derive(Debug, Default)]
pub(crate) struct ShortNames {
    known: Vec<(String, String)>,
}

impl ShortNames {
    /// The short name of an interface: its own where it fits, else its beginning with a number.
    pub(crate) fn of(&mut self, name: &str) -> &str {
        let at = self.known.iter().position(|(long, _)| long == name).unwrap_or_else(|| {
            let short = if name.len() < NAME {
                name.to_owned()
            } else {
                (1..).map(|n| Self::cut(name, n)).find(|s| self.known.iter().all(|(_, k)| k != s)).unwrap_or_default()
            };
            self.known.push((name.to_owned(), short));
            self.known.len() - 1
        });
        self.known.get(at).map_or("", |(_, short)| short)
    }

    fn cut(name: &str, n: u32) -> String {
        let end = format!("~{n}");
        let room = NAME - 1 - end.len();
        let cut = (0..=room).rev().find(|n| name.is_char_boundary(*n)).unwrap_or(0);
        format!("{}{end}", name.get(..cut).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_header_is_openbsds_to_the_byte() {
        let packet = sample::tcp4();
        let row = sample::row(&packet);
        let out = record(&row, "em0");
        let mut want = vec![100, 2, 1, 0];
        want.extend(*b"em0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        want.extend(*b"a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        want.extend([0, 0, 0, 3, 0, 0, 0, 1]);
        want.extend([0xe8, 3, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0x39, 0x30, 0, 0]);
        want.extend([1, 0, 2, 0]);
        want.extend([192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        want.extend([198, 51, 100, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        want.extend([0x9c, 0x40, 0, 22]);
        assert_eq!(want.len(), HEADER);
        assert_eq!(out.get(..HEADER), Some(want.as_slice()));
        assert_eq!(out.get(HEADER..), Some(packet.as_slice()));
    }

    #[test]
    fn a_translated_packet_is_shown_rewritten() {
        for packet in [sample::tcp4(), sample::udp6()] {
            let layout = Layout::of(&packet).unwrap();
            let (src, dst) = layout.ends(&packet).unwrap();
            let mut row = sample::row(&packet);
            (row.af, row.naf) = (layout.af, layout.af);
            let mut other = src.0;
            other.0[1] ^= 0x55;
            (row.src, row.dst) = ((other, 61_000), dst);
            let out = record(&row, "em0");
            assert_eq!(out[61], 1, "rewritten");
            assert_eq!(&out[64..80], src.0.0.as_slice(), "the header keeps the source that was");
            let new = Layout::of(&out[HEADER..]).unwrap().ends(&out[HEADER..]).unwrap();
            assert_eq!(new, ((other, 61_000), dst));
            assert!(sample::sums_are_right(&out[HEADER..]), "{:?}", layout.af);
        }
    }

    #[test]
    fn long_names_stay_apart() {
        let mut names = ShortNames::default();
        assert_eq!(names.of("em0"), "em0");
        assert_eq!(names.of("vEthernet (Default Switch)"), "vEthernet (De~1");
        assert_eq!(names.of("vEthernet (Default Switch 2)"), "vEthernet (De~2");
        assert_eq!(names.of("vEthernet (Default Switch)"), "vEthernet (De~1");
        assert_eq!(names.of("Połączenie lokalne"), "Połączenie ~1");
        assert_eq!(fixed::<16>("0123456789abcdefg"), *b"0123456789abcde\0");
    }

    #[test]
    fn any_bytes_make_a_record() {
        let mut packet = sample::udp6();
        for at in 0..packet.len() {
            for value in [0, 43, 44, 51, 60, 0x45, 0x4f, 0x60, 0xff] {
                let was = std::mem::replace(&mut packet[at], value);
                for len in [0, 1, 19, 20, 39, 40, 44, packet.len()] {
                    let mut row = sample::row(&packet[..len]);
                    (row.af, row.naf) = (Af::Inet6, Af::Inet6);
                    assert_eq!(record(&row, "em0").len(), HEADER + len);
                }
                packet[at] = was;
            }
        }
    }
}
