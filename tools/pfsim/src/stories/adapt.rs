//! Inputs that answer what was random: a recorded packet is made to answer our numbers instead of the recorded ones.
//!
//! Every packet that left, as recorded and as ours, is remembered as a pair. An input with fields that depend on
//! chance gets our addresses and ports where it names recorded ones, its acknowledgement moved by the difference of
//! the sequence numbers its sender saw last, and our bytes where it quotes a packet.

use super::fields::{find, parts, quoted_at};

/// A packet as recorded and as ours.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// As recorded.
    pub want: Vec<u8>,
    /// As ours.
    pub got: Vec<u8>,
}

/// What left so far.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pairs: Vec<Pair>,
}

fn part<'a>(pkt: &'a [u8], name: &str) -> Option<&'a [u8]> {
    find(pkt, name).and_then(|r| pkt.get(r))
}

/// A source or destination port, whatever the protocol; the identifier of an echo stands for both.
fn port<'a>(pkt: &'a [u8], side: &str) -> Option<&'a [u8]> {
    part(pkt, &format!("tcp.{side}"))
        .or_else(|| part(pkt, &format!("udp.{side}")))
        .or_else(|| part(pkt, "icmp.rest").or_else(|| part(pkt, "icmp6.rest")).and_then(|r| r.get(..2)))
}

fn word(b: &[u8]) -> u32 {
    b.try_into().map_or(0, u32::from_be_bytes)
}

impl Memory {
    /// Remembers a pair.
    pub(super) fn remember(&mut self, want: &[u8], got: &[u8]) {
        self.pairs.push(Pair { want: want.to_vec(), got: got.to_vec() });
    }

    /// Makes a recorded input answer ours. `fuzzy` are the step's names that begin with `pkt:`.
    #[must_use]
    pub(super) fn adapt(&self, recorded: &[u8], fuzzy: &[String]) -> Vec<u8> {
        let mut pkt = recorded.to_vec();
        let names: Vec<&str> = fuzzy.iter().filter_map(|f| f.strip_prefix("pkt:")).collect();
        if names.is_empty() {
            return pkt;
        }
        self.quote(recorded, &mut pkt, &names);
        self.reach(recorded, &mut pkt, &names);
        self.acknowledge(recorded, &mut pkt, &names);
        if names.iter().any(|n| n.ends_with(".sum")) {
            repair(recorded, &mut pkt);
        }
        pkt
    }

    /// Quotes our packet where the input quotes a recorded one.
    fn quote(&self, recorded: &[u8], pkt: &mut [u8], names: &[&str]) {
        if !names.iter().any(|n| n.starts_with("inner.")) {
            return;
        }
        // The packet that left last with these ends and this identifier.
        let found = self.pairs.iter().rev().find(|p| {
            let same = |name: &str| {
                let quoted = part(recorded, &format!("inner.{name}"));
                part(&p.want, name).zip(quoted).is_none_or(|(w, q)| {
                    // Of ICMP the identifier: the number after it may be another's of the same exchange.
                    let n = w.len().min(q.len()).min(if name.ends_with(".rest") { 2 } else { usize::MAX });
                    w[..n] == q[..n]
                })
            };
            let ends = ["ip.src", "ip.dst", "ip.proto"];
            let ids = ["tcp.sport", "tcp.dport", "tcp.seq", "udp.sport", "udp.dport", "icmp.rest", "icmp6.rest"];
            p.want[0] >> 4 == recorded[0] >> 4 && ends.iter().chain(&ids).all(|n| same(n))
        });
        let Some(p) = found else { return };
        for q in parts(&p.want) {
            let (w, g) = (&p.want[q.range.clone()], p.got.get(q.range.clone()));
            let (Some(g), Some(r)) = (g, find(recorded, &format!("inner.{}", q.name))) else { continue };
            if w != g {
                let n = g.len().min(r.len()).min(if q.name.ends_with(".rest") { 2 } else { usize::MAX });
                pkt[r.start..r.start + n].copy_from_slice(&g[..n]);
            }
        }
    }

    /// Sends to our address and port where the input goes to a recorded one.
    fn reach(&self, recorded: &[u8], pkt: &mut [u8], names: &[&str]) {
        let wants = |n: &str| names.contains(&n);
        let (Some(dst), Some(dport)) = (part(recorded, "ip.dst"), port(recorded, "dport")) else { return };
        let ported = wants("tcp.dport") || wants("udp.dport") || wants("icmp.rest") || wants("icmp6.rest");
        if !ported && !wants("ip.dst") {
            return;
        }
        let Some(p) = self.pairs.iter().rev().find(|p| {
            part(&p.want, "ip.src") == Some(dst) && port(&p.want, "sport").is_some_and(|s| Some(s) == Some(dport))
        }) else {
            return;
        };
        for (to, from) in [("ip.dst", "ip.src"), ("tcp.dport", "tcp.sport"), ("udp.dport", "udp.sport")] {
            if let (Some(r), Some(v)) = (find(recorded, to), part(&p.got, from)) {
                pkt[r].copy_from_slice(v);
            }
        }
        for rest in ["icmp.rest", "icmp6.rest"] {
            if let (Some(r), Some(v), true) = (find(recorded, rest), part(&p.got, rest), wants(rest)) {
                pkt[r.start..r.start + 2].copy_from_slice(&v[..2]);
            }
        }
    }

    /// Acknowledges our numbers where the input acknowledges recorded ones: those of the last packet its sender got.
    fn acknowledge(&self, recorded: &[u8], pkt: &mut [u8], names: &[&str]) {
        if !names.contains(&"tcp.ack") && !names.contains(&"tcp.opt.sack") {
            return;
        }
        let (src, sport) = (part(recorded, "ip.src"), part(recorded, "tcp.sport"));
        let Some(ack) = part(recorded, "tcp.ack").map(word) else { return };
        // Of all packets it got whose numbers are near, the last one.
        let got = self.pairs.iter().rev().find(|p| {
            part(&p.want, "ip.dst") == src
                && part(&p.want, "tcp.dport") == sport
                && part(&p.want, "tcp.seq").is_some_and(|s| ack.wrapping_sub(word(s)).wrapping_add(70_000) < 140_000)
        });
        let Some(p) = got else { return };
        let (Some(w), Some(g)) = (part(&p.want, "tcp.seq"), part(&p.got, "tcp.seq")) else { return };
        let delta = word(g).wrapping_sub(word(w));
        if let Some(r) = find(recorded, "tcp.ack") {
            pkt[r].copy_from_slice(&ack.wrapping_add(delta).to_be_bytes());
        }
        if let Some(r) = find(recorded, "tcp.opt.sack") {
            for edge in pkt[r].get_mut(2..).unwrap_or_default().chunks_exact_mut(4) {
                let v = word(edge).wrapping_add(delta);
                edge.copy_from_slice(&v.to_be_bytes());
            }
        }
    }
}

/// Checksums of a changed packet: those that were right are made right again, wrong ones are left.
fn repair(recorded: &[u8], pkt: &mut [u8]) {
    if let Some(at) = quoted_at(recorded) {
        fix(&recorded[at..], &mut pkt[at..]);
    }
    fix(recorded, pkt);
}

fn fix(recorded: &[u8], pkt: &mut [u8]) {
    if let Some(r) = find(recorded, "ip.sum") {
        let len = usize::from(recorded[0] & 15) * 4;
        if recorded.len() >= len && sum(&recorded[..len], 0) == 0xffff {
            pkt[r.clone()].fill(0);
            let s = !sum(&pkt[..len], 0);
            pkt[r].copy_from_slice(&s.to_be_bytes());
        }
    }
    for name in ["tcp.sum", "udp.sum", "icmp.sum", "icmp6.sum"] {
        let Some(r) = find(recorded, name) else { continue };
        let start = r.start
            - if name == "tcp.sum" {
                16
            } else if name == "udp.sum" {
                6
            } else {
                2
            };
        if l4(recorded, start, name) != 0xffff {
            continue;
        }
        pkt[r.clone()].fill(0);
        let mut s = !l4(pkt, start, name);
        if s == 0 && name == "udp.sum" {
            s = 0xffff;
        }
        pkt[r].copy_from_slice(&s.to_be_bytes());
    }
}

/// The sum of a transport header and its payload with its pseudo header.
fn l4(pkt: &[u8], start: usize, name: &str) -> u16 {
    let proto = match name {
        "tcp.sum" => 6,
        "udp.sum" => 17,
        "icmp6.sum" => 58,
        _ => 1,
    };
    let v6 = pkt[0] >> 4 == 6;
    let end = if v6 {
        40 + usize::from(u16::from_be_bytes([pkt[4], pkt[5]]))
    } else {
        usize::from(u16::from_be_bytes([pkt[2], pkt[3]]))
    };
    let body = &pkt[start..end.clamp(start, pkt.len())];
    let mut pseudo = 0;
    if proto != 1 {
        let addrs = if v6 { &pkt[8..40] } else { &pkt[12..20] };
        pseudo = u64::from(sum(addrs, 0)) + proto + body.len() as u64;
    }
    sum(body, pseudo)
}

fn sum(bytes: &[u8], start: u64) -> u16 {
    let mut s = start;
    for c in bytes.chunks(2) {
        s += u64::from(u16::from_be_bytes([c[0], c.get(1).copied().unwrap_or(0)]));
    }
    while s > 0xffff {
        s = (s & 0xffff) + (s >> 16);
    }
    u16::try_from(s).unwrap_or(0)
}
