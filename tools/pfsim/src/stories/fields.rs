//! The bytes of a packet by name, so that those which depend on chance can be left out of a comparison.

use std::ops::Range;

/// A named part of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Name as the stories give it, e.g. `tcp.seq` or `inner.ip.id`.
    pub name: String,
    /// Where it is.
    pub range: Range<usize>,
}

struct Parts<'a> {
    pkt: &'a [u8],
    out: Vec<Part>,
}

impl Parts<'_> {
    fn add(&mut self, prefix: &str, name: &str, from: usize, len: usize) {
        let end = (from + len).min(self.pkt.len());
        if from < end {
            self.out.push(Part { name: format!("{prefix}{name}"), range: from..end });
        }
    }

    fn network(&mut self, prefix: &str, at: usize) {
        match self.pkt.get(at).map(|b| b >> 4) {
            Some(6) => self.v6(prefix, at),
            Some(_) => self.v4(prefix, at),
            None => {}
        }
    }

    fn v4(&mut self, prefix: &str, at: usize) {
        for (name, off, len) in [
            ("ip.ver", 0, 1),
            ("ip.tos", 1, 1),
            ("ip.len", 2, 2),
            ("ip.id", 4, 2),
            ("ip.off", 6, 2),
            ("ip.ttl", 8, 1),
            ("ip.proto", 9, 1),
            ("ip.sum", 10, 2),
            ("ip.src", 12, 4),
            ("ip.dst", 16, 4),
        ] {
            self.add(prefix, name, at + off, len);
        }
        let hlen = usize::from(self.pkt.get(at).copied().unwrap_or(0) & 15) * 4;
        self.add(prefix, "ip.options", at + 20, hlen.saturating_sub(20));
        let proto = self.pkt.get(at + 9).copied().unwrap_or(0);
        let later = self.pkt.get(at + 6..at + 8).is_some_and(|b| b[0] & 0x1f != 0 || b[1] != 0);
        let at = at + hlen.max(20);
        if later { self.add(prefix, "payload", at, usize::MAX / 2) } else { self.transport(prefix, proto, at) }
    }

    fn v6(&mut self, prefix: &str, at: usize) {
        for (name, off, len) in [
            ("ip.flow", 0, 4),
            ("ip.len", 4, 2),
            ("ip.proto", 6, 1),
            ("ip.ttl", 7, 1),
            ("ip.src", 8, 16),
            ("ip.dst", 24, 16),
        ] {
            self.add(prefix, name, at + off, len);
        }
        let mut next = self.pkt.get(at + 6).copied().unwrap_or(59);
        let mut at = at + 40;
        for _ in 0..16 {
            match next {
                0 | 43 | 60 => {
                    let len = (usize::from(self.pkt.get(at + 1).copied().unwrap_or(0)) + 1) * 8;
                    self.add(prefix, "ext", at, len);
                    next = self.pkt.get(at).copied().unwrap_or(59);
                    at += len;
                }
                44 => {
                    self.add(prefix, "frag6.next", at, 4);
                    self.add(prefix, "frag6.id", at + 4, 4);
                    let later = self.pkt.get(at + 2..at + 4).is_some_and(|b| b[0] != 0 || b[1] & 0xf8 != 0);
                    next = self.pkt.get(at).copied().unwrap_or(59);
                    at += 8;
                    if later {
                        return self.add(prefix, "payload", at, usize::MAX / 2);
                    }
                }
                _ => break,
            }
        }
        self.transport(prefix, next, at);
    }

    fn transport(&mut self, prefix: &str, proto: u8, at: usize) {
        match proto {
            6 => self.tcp(prefix, at),
            17 => {
                for (name, off, len) in [("udp.sport", 0, 2), ("udp.dport", 2, 2), ("udp.len", 4, 2), ("udp.sum", 6, 2)]
                {
                    self.add(prefix, name, at + off, len);
                }
                self.add(prefix, "payload", at + 8, usize::MAX / 2);
            }
            1 | 58 => self.icmp(prefix, proto, at),
            _ => self.add(prefix, "payload", at, usize::MAX / 2),
        }
    }

    fn tcp(&mut self, prefix: &str, at: usize) {
        for (name, off, len) in [
            ("tcp.sport", 0, 2),
            ("tcp.dport", 2, 2),
            ("tcp.seq", 4, 4),
            ("tcp.ack", 8, 4),
            ("tcp.off", 12, 1),
            ("tcp.flags", 13, 1),
            ("tcp.win", 14, 2),
            ("tcp.sum", 16, 2),
            ("tcp.urp", 18, 2),
        ] {
            self.add(prefix, name, at + off, len);
        }
        let end = (at + usize::from(self.pkt.get(at + 12).copied().unwrap_or(0) >> 4) * 4).min(self.pkt.len());
        let mut o = at + 20;
        while o < end {
            let kind = self.pkt[o];
            if kind < 2 {
                self.add(prefix, "tcp.opt.pad", o, 1);
                o += 1;
                continue;
            }
            let len = usize::from(self.pkt.get(o + 1).copied().unwrap_or(2)).max(2).min(end - o);
            let name = match kind {
                5 => "tcp.opt.sack",
                8 => "tcp.opt.ts",
                2 => "tcp.opt.mss",
                _ => "tcp.opt",
            };
            self.add(prefix, name, o, len);
            o += len;
        }
        self.add(prefix, "payload", end.max(at + 20), usize::MAX / 2);
    }

    fn icmp(&mut self, prefix: &str, proto: u8, at: usize) {
        let base = if proto == 1 { "icmp" } else { "icmp6" };
        for (name, off, len) in [("type", 0, 1), ("code", 1, 1), ("sum", 2, 2), ("rest", 4, 4)] {
            self.add(prefix, &format!("{base}.{name}"), at + off, len);
        }
        let kind = self.pkt.get(at).copied().unwrap_or(255);
        let error = if proto == 1 { matches!(kind, 3 | 4 | 5 | 11 | 12) } else { matches!(kind, 1..=4) };
        if error && prefix.is_empty() {
            self.network("inner.", at + 8);
        } else {
            self.add(prefix, "payload", at + 8, usize::MAX / 2);
        }
    }
}

/// The parts of an L3 packet, covering all its bytes in order.
#[must_use]
pub fn parts(pkt: &[u8]) -> Vec<Part> {
    let mut p = Parts { pkt, out: Vec::new() };
    p.network("", 0);
    p.out
}

/// Where the quoted packet of an ICMP error begins.
#[must_use]
pub fn quoted_at(pkt: &[u8]) -> Option<usize> {
    parts(pkt).iter().find(|p| p.name.starts_with("inner.")).map(|p| p.range.start)
}

/// The first part of that name.
#[must_use]
pub fn find(pkt: &[u8], name: &str) -> Option<Range<usize>> {
    parts(pkt).into_iter().find(|p| p.name == name).map(|p| p.range)
}

/// Names of the parts in which two packets differ, `fuzzy` ones left out; lengths count as a part.
#[must_use]
pub fn differences(want: &[u8], got: &[u8], fuzzy: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    if want.len() != got.len() {
        out.push(format!("length: want {} got {}", want.len(), got.len()));
    }
    for p in parts(want) {
        if fuzzy.contains(&p.name.as_str()) {
            continue;
        }
        let (w, g) = (&want[p.range.clone()], got.get(p.range.clone()));
        if g != Some(w) && (g.is_some() || want.len() == got.len()) {
            out.push(format!("{}: want {} got {}", p.name, hex(w), g.map_or_else(String::new, hex)));
        }
    }
    out
}

/// Bytes as hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Hex digits as bytes; what is no digit ends it.
#[must_use]
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map_while(|c| c.to_digit(16)).filter_map(|d| u8::try_from(d).ok()).collect();
    digits.chunks_exact(2).map(|p| p[0] << 4 | p[1]).collect()
}
