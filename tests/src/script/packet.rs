//! Packets of scripts: built from words, and read field by field.
//!
//! Shares no code with the engine: headers, options and checksums are put together here by hand.

use std::net::IpAddr;

/// Protocol numbers by name.
const PROTOCOLS: &[(&str, u8)] =
    &[("icmp", 1), ("igmp", 2), ("tcp", 6), ("udp", 17), ("gre", 47), ("esp", 50), ("icmp6", 58)];
/// A message's name, and its type and code in each family.
type Message = (&'static str, (u8, u8), (u8, u8));
/// ICMP and ICMPv6 messages by name.
const MESSAGES: &[Message] = &[
    ("echoreq", (8, 0), (128, 0)),
    ("echorep", (0, 0), (129, 0)),
    ("unreach", (3, 1), (1, 0)),
    ("unreach-port", (3, 3), (1, 4)),
    ("toobig", (3, 4), (2, 0)),
    ("timex", (11, 0), (3, 0)),
    ("paramprob", (12, 0), (4, 0)),
    ("groupqry", (17, 0), (130, 0)),
    ("grouprep", (18, 0), (131, 0)),
    ("neighbrsol", (15, 0), (135, 0)),
    ("neighbradv", (16, 0), (136, 0)),
];
/// TCP flags by letter, from bit 0.
const FLAGS: &str = "FSRPAUEW";

/// One's complement sum of bytes, not complemented.
fn sum(mut acc: u32, bytes: &[u8]) -> u32 {
    for pair in bytes.chunks(2) {
        acc += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        acc = (acc & 0xffff) + (acc >> 16);
    }
    acc
}

fn fold(acc: u32) -> u16 {
    let acc = (acc & 0xffff) + (acc >> 16);
    !u16::try_from(acc & 0xffff).unwrap_or(0)
}

fn octets(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn pseudo(src: &[u8], dst: &[u8], proto: u8, len: usize) -> u32 {
    let len = u32::try_from(len).unwrap_or(0).to_be_bytes();
    sum(sum(sum(sum(0, src), dst), &len), &[0, proto])
}

/// Bytes of hex digits.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    text.as_bytes().chunks(2).map(|p| Some(digit(p[0])? << 4 | digit(*p.get(1)?)?)).collect()
}

/// What a packet is made of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Protocol.
    pub proto: u8,
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// TCP flags.
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Window.
    pub win: u16,
    /// TCP options.
    pub options: Vec<u8>,
    /// TCP header length in words, where it is not what the options make it.
    pub doff: Option<u8>,
    /// Reserved bits of the TCP header.
    pub reserved: u8,
    /// Urgent pointer.
    pub urgent: u16,
    /// ICMP type and code.
    pub message: (u8, u8),
    /// Second word of an ICMP header.
    pub rest: u32,
    /// Payload.
    pub data: Vec<u8>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// IPv4 identification.
    pub id: u16,
    /// "Don't fragment".
    pub df: bool,
    /// Fragment offset and whether more follow.
    pub frag: Option<(u16, bool)>,
    /// IPv4 options.
    pub ip_options: Vec<u8>,
    /// Extension headers, next-header field left out: number and bytes from the length field on.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// What the transport checksum is: right, wrong or none.
    pub checksum: Checksum,
}

/// State of a transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Right.
    Right,
    /// Wrong.
    Wrong,
    /// Zero.
    None,
}

/// `addr`, `addr:port`, `[addr]:port`.
fn end(word: &str) -> Result<(IpAddr, u16), String> {
    if let Ok(ip) = word.parse() {
        return Ok((ip, 0));
    }
    let bad = || format!("`{word}` is no address");
    let (ip, port) = word.rsplit_once(':').ok_or_else(bad)?;
    let ip = ip.trim_start_matches('[').trim_end_matches(']');
    Ok((ip.parse().map_err(|_| bad())?, port.parse().map_err(|_| bad())?))
}

/// TCP flags from letters; `none` is none.
#[must_use]
pub fn flags(word: &str) -> Option<u8> {
    if word == "none" {
        return Some(0);
    }
    word.chars().try_fold(0, |f, c| FLAGS.find(c).map(|i| f | 1 << i))
}

fn number<T: std::str::FromStr>(of: &str, word: Option<&str>) -> Result<T, String> {
    word.and_then(|w| w.parse().ok()).ok_or_else(|| format!("`{of}` wants a number, found {word:?}"))
}

impl Spec {
    /// An empty packet between two ends.
    #[must_use]
    pub fn new(proto: u8, src: (IpAddr, u16), dst: (IpAddr, u16)) -> Self {
        Self {
            proto,
            src: src.0,
            dst: dst.0,
            sport: src.1,
            dport: dst.1,
            flags: 2,
            seq: 1000,
            ack: 0,
            win: 8192,
            options: Vec::new(),
            doff: None,
            reserved: 0,
            urgent: 0,
            message: if src.0.is_ipv4() { (8, 0) } else { (128, 0) },
            rest: 0,
            data: Vec::new(),
            ttl: if proto == 58 { 255 } else { 64 },
            tos: 0,
            id: 0x1234,
            df: false,
            frag: None,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            checksum: Checksum::Right,
        }
    }

    /// Reads `PROTO SRC > DST WORDS`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let [proto, src, arrow, dst, rest @ ..] = words else { return Err("a packet is `PROTO SRC > DST …`".into()) };
        if *arrow != ">" {
            return Err(format!("found `{arrow}` where `>` is wanted"));
        }
        let named = PROTOCOLS.iter().find(|(n, _)| n == proto).map(|p| p.1);
        let proto = named.or_else(|| proto.parse().ok()).ok_or_else(|| format!("unknown protocol `{proto}`"))?;
        let mut spec = Self::new(proto, end(src)?, end(dst)?);
        spec.words(rest)?;
        Ok(spec)
    }

    /// Takes the words after the ends.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn words(&mut self, words: &[&str]) -> Result<(), String> {
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let v6 = self.src.is_ipv6();
            if self.proto == 6
                && let Some(f) = flags(word)
            {
                self.flags = f;
                continue;
            }
            if let Some((_, four, six)) = MESSAGES.iter().find(|m| m.0 == word) {
                self.message = if v6 { *six } else { *four };
                continue;
            }
            let mut hex = |w: &str| {
                let text = words.next().unwrap_or_default();
                unhex(text).ok_or_else(|| format!("`{w}` wants hex digits, found `{text}`"))
            };
            match word {
                "opts" => self.options.extend(hex(word)?),
                "ipopts" => self.ip_options.extend(hex(word)?),
                "hbh" => self.extensions.push((0, hex(word)?)),
                "dstopts" => self.extensions.push((60, hex(word)?)),
                "rh" => self.extensions.push((43, hex(word)?)),
                "hex" => self.data = hex(word)?,
                "df" => self.df = true,
                "badsum" => self.checksum = Checksum::Wrong,
                "nosum" => self.checksum = Checksum::None,
                "sackok" => self.options.extend([4, 2, 1, 1]),
                "nop" => self.options.push(1),
                "data" => self.data = words.next().unwrap_or_default().as_bytes().to_vec(),
                _ => self.numbered(word, words.next())?,
            }
        }
        Ok(())
    }

    fn numbered(&mut self, word: &str, value: Option<&str>) -> Result<(), String> {
        match word {
            "seq" => self.seq = number(word, value)?,
            "ack" => self.ack = number(word, value)?,
            "win" => self.win = number(word, value)?,
            "mss" => {
                let mss: u16 = number(word, value)?;
                self.options.extend([2, 4]);
                self.options.extend(mss.to_be_bytes());
            }
            "wscale" => self.options.extend([1, 3, 3, number(word, value)?]),
            "ts" => {
                let ts: u32 = number(word, value)?;
                self.options.extend([1, 1, 8, 10]);
                self.options.extend(ts.to_be_bytes());
                self.options.extend([0; 4]);
            }
            "tsecr" => {
                let at = self.options.len().checked_sub(4).filter(|_| self.options.ends_with(&[0; 4]));
                let at = at.ok_or("`tsecr` stands after `ts`")?;
                self.options.truncate(at);
                self.options.extend(number::<u32>(word, value)?.to_be_bytes());
            }
            "sport" => self.sport = number(word, value)?,
            "dport" => self.dport = number(word, value)?,
            "from" => self.src = value.and_then(|w| w.parse().ok()).ok_or("`from` wants an address")?,
            "to" => self.dst = value.and_then(|w| w.parse().ok()).ok_or("`to` wants an address")?,
            "doff" => self.doff = Some(number(word, value)?),
            "reserved" => self.reserved = number(word, value)?,
            "urg" => self.urgent = number(word, value)?,
            "type" => self.message.0 = number(word, value)?,
            "code" => self.message.1 = number(word, value)?,
            "id" => self.rest = number::<u32>(word, value)? << 16 | (self.rest & 0xffff),
            "iseq" => self.rest = (self.rest & 0xffff_0000) | number::<u32>(word, value)?,
            "mtu" => self.rest = number(word, value)?,
            "ttl" => self.ttl = number(word, value)?,
            "tos" => self.tos = number(word, value)?,
            "ipid" => self.id = number(word, value)?,
            "len" => self.data = (0..number(word, value)?).map(|i: u16| i.to_be_bytes()[1]).collect(),
            "ah" => self.extensions.extend(
                (0..number(word, value)?)
                    .map(|_: u8| (51, vec![4, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            ),
            "frag" => {
                let text = value.unwrap_or_default();
                let (digits, more) = text.strip_suffix('+').map_or((text, false), |d| (d, true));
                self.frag = Some((number(word, Some(digits))?, more));
            }
            _ => return Err(format!("unknown word `{word}`")),
        }
        Ok(())
    }

    /// The transport header and payload.
    fn transport(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let at = match self.proto {
            6 => {
                out.extend(self.sport.to_be_bytes());
                out.extend(self.dport.to_be_bytes());
                out.extend(self.seq.to_be_bytes());
                out.extend(self.ack.to_be_bytes());
                let mut options = self.options.clone();
                while !options.len().is_multiple_of(4) {
                    options.push(0);
                }
                let words = u8::try_from(5 + options.len() / 4).unwrap_or(15);
                out.push(self.doff.unwrap_or(words) << 4 | self.reserved);
                out.push(self.flags);
                out.extend(self.win.to_be_bytes());
                out.extend([0, 0]);
                out.extend(self.urgent.to_be_bytes());
                out.extend(options);
                16
            }
            17 => {
                out.extend(self.sport.to_be_bytes());
                out.extend(self.dport.to_be_bytes());
                out.extend(u16::try_from(8 + self.data.len()).unwrap_or(0).to_be_bytes());
                out.extend([0, 0]);
                6
            }
            1 | 58 => {
                out.extend([self.message.0, self.message.1, 0, 0]);
                out.extend(self.rest.to_be_bytes());
                2
            }
            2 => {
                out.extend([self.message.0, self.message.1, 0, 0]);
                out.extend(self.rest.to_be_bytes());
                2
            }
            _ => usize::MAX,
        };
        out.extend(&self.data);
        if at != usize::MAX {
            let start = match self.proto {
                1 | 2 => 0,
                p => pseudo(&octets(&self.src), &octets(&self.dst), p, out.len()),
            };
            let mut c = fold(sum(start, &out));
            if self.proto == 17 && c == 0 {
                c = 0xffff;
            }
            match self.checksum {
                Checksum::Right => {}
                Checksum::Wrong => c ^= 0x0101,
                Checksum::None => c = 0,
            }
            out[at..at + 2].copy_from_slice(&c.to_be_bytes());
        }
        out
    }

    /// The packet, from its IP header on. With `frag`, `len` and `data` give that part of the datagram.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = match self.frag {
            Some((off, _)) if off > 0 => self.data.clone(),
            _ => self.transport(),
        };
        let mut next = self.proto;
        for (number, bytes) in self.extensions.iter().rev() {
            let mut header = vec![next];
            header.extend(bytes);
            header.extend(body);
            body = header;
            next = *number;
        }
        let len = body.len();
        match self.src {
            IpAddr::V4(_) => {
                let mut options = self.ip_options.clone();
                while !options.len().is_multiple_of(4) {
                    options.push(0);
                }
                let hlen = 20 + options.len();
                let (off, more) = self.frag.unwrap_or((0, false));
                let word = (off / 8) | if more { 0x2000 } else { 0 } | if self.df { 0x4000 } else { 0 };
                let mut h = vec![0x40 | u8::try_from(hlen / 4).unwrap_or(15), self.tos];
                h.extend(u16::try_from(hlen + len).unwrap_or(0).to_be_bytes());
                h.extend(self.id.to_be_bytes());
                h.extend(word.to_be_bytes());
                h.extend([self.ttl, next, 0, 0]);
                h.extend(octets(&self.src));
                h.extend(octets(&self.dst));
                h.extend(options);
                let c = fold(sum(0, &h));
                h[10..12].copy_from_slice(&c.to_be_bytes());
                h.extend(body);
                h
            }
            IpAddr::V6(_) => {
                if let Some((off, more)) = self.frag {
                    let mut header = vec![next, 0];
                    header.extend((off | u16::from(more)).to_be_bytes());
                    header.extend(u32::from(self.id).to_be_bytes());
                    header.extend(body);
                    body = header;
                    next = 44;
                }
                let mut h = (6_u32 << 28 | u32::from(self.tos) << 20).to_be_bytes().to_vec();
                h.extend(u16::try_from(body.len()).unwrap_or(0).to_be_bytes());
                h.extend([next, self.ttl]);
                h.extend(octets(&self.src));
                h.extend(octets(&self.dst));
                h.extend(body);
                h
            }
        }
    }
}

/// A packet taken apart as far as scripts ask.
#[derive(Clone, Debug)]
pub struct Seen {
    bytes: Vec<u8>,
    off: usize,
    proto: u8,
}

fn word(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn double(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

impl Seen {
    /// Takes a packet apart.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let four = bytes.first()? >> 4 == 4;
        let (off, proto) = if four {
            (usize::from(bytes[0] & 15) * 4, *bytes.get(9)?)
        } else {
            let mut next = *bytes.get(6)?;
            let mut off = 40;
            while matches!(next, 0 | 43 | 60 | 44) {
                let len = if next == 44 { 8 } else { 8 + usize::from(*bytes.get(off + 1)?) * 8 };
                next = *bytes.get(off)?;
                off += len;
            }
            (off, next)
        };
        Some(Self { bytes: bytes.to_vec(), off, proto })
    }

    fn four(&self) -> bool {
        self.bytes[0] >> 4 == 4
    }

    fn ip(&self, at: usize) -> Option<IpAddr> {
        Some(if self.four() {
            IpAddr::from(<[u8; 4]>::try_from(self.bytes.get(at..at + 4)?).ok()?)
        } else {
            IpAddr::from(<[u8; 16]>::try_from(self.bytes.get(at..at + 16)?).ok()?)
        })
    }

    /// Source and destination.
    #[must_use]
    pub fn ends(&self) -> Option<(IpAddr, IpAddr)> {
        if self.four() { Some((self.ip(12)?, self.ip(16)?)) } else { Some((self.ip(8)?, self.ip(24)?)) }
    }

    /// The packet's answer, as its receiver would begin it: ends exchanged, what was sent acknowledged.
    #[must_use]
    pub fn answer(&self) -> Option<Spec> {
        let (src, dst) = self.ends()?;
        let l4 = self.bytes.get(self.off..)?;
        let ports = matches!(self.proto, 6 | 17);
        let (sport, dport) = if ports { (word(l4, 0)?, word(l4, 2)?) } else { (0, 0) };
        let mut spec = Spec::new(self.proto, (dst, dport), (src, sport));
        match self.proto {
            6 => {
                let doff = usize::from(*l4.get(12)? >> 4) * 4;
                let flags = *l4.get(13)?;
                let len = u32::try_from(self.total()?.checked_sub(self.off + doff)?).ok()?;
                spec.ack =
                    double(l4, 4)?.wrapping_add(len).wrapping_add((flags & 1) as u32 + ((flags >> 1) & 1) as u32);
                spec.seq = double(l4, 8)?;
                spec.flags = 0x10;
            }
            1 | 58 => {
                spec.message = if self.proto == 1 { (0, 0) } else { (129, 0) };
                spec.rest = double(l4, 4)?;
                spec.data = l4.get(8..)?.to_vec();
            }
            _ => {}
        }
        spec.ttl = 64;
        Some(spec)
    }

    /// An ICMP error about the packet, quoting `quote` bytes of it, from a router.
    #[must_use]
    pub fn error(&self, from: IpAddr, quote: usize) -> Option<Spec> {
        let (src, _) = self.ends()?;
        let mut spec = Spec::new(if self.four() { 1 } else { 58 }, (from, 0), (src, 0));
        spec.data = self.bytes.get(..quote.min(self.bytes.len()))?.to_vec();
        spec.ttl = 64;
        Some(spec)
    }

    fn total(&self) -> Option<usize> {
        Some(if self.four() { usize::from(word(&self.bytes, 2)?) } else { 40 + usize::from(word(&self.bytes, 4)?) })
    }

    /// Whether all checksums are right.
    fn sound(&self) -> Option<bool> {
        let (b, off) = (&self.bytes, self.off);
        if self.four() && fold(sum(0, &b[..off])) != 0 {
            return Some(false);
        }
        let l4 = b.get(off..self.total()?)?;
        let (src, dst) = if self.four() { (&b[12..16], &b[16..20]) } else { (&b[8..24], &b[24..40]) };
        let start = match self.proto {
            1 | 2 => 0,
            6 | 17 | 58 => pseudo(src, dst, self.proto, l4.len()),
            _ => return Some(true),
        };
        if self.proto == 17 && self.four() && word(l4, 6)? == 0 {
            return Some(true);
        }
        Some(matches!(fold(sum(start, l4)), 0 | 0xffff))
    }

    /// A TCP option's value.
    fn option(&self, kind: u8) -> Option<&[u8]> {
        let l4 = self.bytes.get(self.off..)?;
        let mut rest = l4.get(20..usize::from(*l4.get(12)? >> 4) * 4)?;
        while let Some(k) = rest.first() {
            match k {
                0 => return None,
                1 => rest = &rest[1..],
                _ => {
                    let len = usize::from(*rest.get(1)?);
                    if *k == kind {
                        return rest.get(2..len);
                    }
                    rest = rest.get(len.max(2)..)?;
                }
            }
        }
        None
    }

    /// Whether [`Seen::field`] knows a field of this name.
    #[must_use]
    pub fn knows(name: &str) -> bool {
        const FIELDS: &[&str] = &[
            "src", "dst", "proto", "sport", "dport", "seq", "ack", "win", "reserved", "urg", "flags", "mss", "wscale",
            "ts", "tsecr", "type", "code", "id", "iseq", "mtu", "ttl", "tos", "ipid", "df", "more", "frag", "len",
            "udpsum", "sum", "data", "hex",
        ];
        FIELDS.contains(&name.trim_start_matches("quote."))
    }

    /// A field as text: `src`, `sport`, `flags`, `ttl`, `sum`, `mss`, `quote.src` …; `None` when there is none.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        let (b, l4) = (&self.bytes, self.bytes.get(self.off..)?);
        if let Some(inner) = name.strip_prefix("quote.") {
            return Self::new(l4.get(8..)?)?.field(inner);
        }
        let n = |v: u32| Some(v.to_string());
        match name {
            "src" => self.ends().map(|e| e.0.to_string()),
            "dst" => self.ends().map(|e| e.1.to_string()),
            "proto" => n(self.proto.into()),
            "sport" => n(word(l4, 0)?.into()),
            "dport" => n(word(l4, 2)?.into()),
            "seq" => n(double(l4, 4)?),
            "ack" => n(double(l4, 8)?),
            "win" => n(word(l4, 14)?.into()),
            "reserved" => n((*l4.get(12)? & 15).into()),
            "urg" => n(word(l4, 18)?.into()),
            "flags" => {
                let f = *l4.get(13)?;
                let text: String = FLAGS.chars().enumerate().filter(|(i, _)| f >> i & 1 == 1).map(|(_, c)| c).collect();
                Some(if text.is_empty() { "none".into() } else { text })
            }
            "mss" => n(word(self.option(2)?, 0)?.into()),
            "wscale" => n((*self.option(3)?.first()?).into()),
            "ts" => n(double(self.option(8)?, 0)?),
            "tsecr" => n(double(self.option(8)?, 4)?),
            "iseq" => n(word(l4, 6)?.into()),
            "more" if self.four() => n((b[6] >> 5 & 1).into()),
            "frag" if self.four() => n(u32::from(word(b, 6)? & 0x1fff) * 8),
            "hex" => Some(l4.iter().map(|b| format!("{b:02x}")).collect()),
            "type" => n((*l4.first()?).into()),
            "code" => n((*l4.get(1)?).into()),
            "id" => n(word(l4, 4)?.into()),
            "mtu" => n(double(l4, 4)?),
            "ttl" => n(b[if self.four() { 8 } else { 7 }].into()),
            "tos" => n(if self.four() { b[1].into() } else { double(b, 0)? >> 20 & 255 }),
            "ipid" => n(word(b, 4)?.into()),
            "df" => n((b[6] >> 6 & 1).into()),
            "len" => n(u32::try_from(self.total()?).ok()?),
            "udpsum" => n(word(l4, 6)?.into()),
            "sum" => Some(if self.sound()? { "ok" } else { "bad" }.into()),
            "data" => {
                let at = match self.proto {
                    6 => usize::from(*l4.get(12)? >> 4) * 4,
                    _ => 8,
                };
                Some(String::from_utf8_lossy(l4.get(at..)?).into_owned())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_packets_read_back() {
        let words = "tcp 10.0.0.5:1000 > 198.51.100.7:80 SA seq 7 ack 9 mss 1400 ttl 9 tos 4 df data hello";
        let b = Spec::parse(&words.split_whitespace().collect::<Vec<_>>()).unwrap().bytes();
        let s = Seen::new(&b).unwrap();
        for (field, want) in [
            ("src", "10.0.0.5"),
            ("dport", "80"),
            ("flags", "SA"),
            ("seq", "7"),
            ("mss", "1400"),
            ("ttl", "9"),
            ("df", "1"),
            ("data", "hello"),
            ("sum", "ok"),
            ("len", "49"),
        ] {
            assert_eq!(s.field(field).as_deref(), Some(want), "{field}");
        }
        let back = s.answer().unwrap();
        assert_eq!((back.ack, back.seq, back.dport), (7 + 5 + 1, 9, 1000));
        let e = s.error("203.0.113.1".parse().unwrap(), 28).unwrap();
        let e = Seen::new(&e.bytes()).unwrap();
        assert_eq!((e.field("quote.sport").as_deref(), e.field("sum").as_deref()), (Some("1000"), Some("ok")));
    }

    #[test]
    fn six_and_its_headers() {
        let words = "udp [2001:db8::1]:53 > [2001:db8::2]:4000 hbh 0005020000010 0 badsum";
        assert!(Spec::parse(&words.split_whitespace().collect::<Vec<_>>()).is_err());
        let words = "udp [2001:db8::1]:53 > [2001:db8::2]:4000 hbh 00050200000100 badsum";
        let b = Spec::parse(&words.split_whitespace().collect::<Vec<_>>()).unwrap().bytes();
        let s = Seen::new(&b).unwrap();
        assert_eq!((s.field("sport").as_deref(), s.field("sum").as_deref()), (Some("53"), Some("bad")));
    }
}
