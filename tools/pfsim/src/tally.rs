//! What a replay counts: verdicts, rules, reasons, sources of blocked packets.
//!
//! **Invariant:** memory is bounded: at most [`MAX_SOURCES`] sources and [`MAX_PORTS`] ports of each are kept apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use pfvm::packet::{DropReason, proto};

use crate::capture::link::NotIp;
use crate::decide::{By, Ruling, Verdict};

/// Sources of blocked packets told apart.
pub const MAX_SOURCES: usize = 65_536;
/// Ports of one source told apart.
pub const MAX_PORTS: usize = 1024;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of IP packets.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

/// Who was blocked, and where to.
#[derive(Clone, Debug, Default)]
pub struct Talker {
    /// Packets blocked.
    pub blocked: Count,
    /// Protocols and destination ports asked for, at most [`MAX_PORTS`].
    pub ports: BTreeSet<(u8, u16)>,
    /// Destinations, at most [`MAX_PORTS`].
    pub targets: BTreeSet<IpAddr>,
}

/// Ends of a packet, for the list of talkers.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Protocol.
    pub proto: u8,
    /// Destination port; of ICMP the type.
    pub port: u16,
}

/// Everything a replay counts.
#[derive(Debug, Default)]
pub struct Tally {
    /// Frames read.
    pub frames: u64,
    /// IP packets passed.
    pub passed: Count,
    /// IP packets blocked.
    pub blocked: Count,
    /// IP packets the engine kept or answered.
    pub held: Count,
    /// Packets a rule asks to log.
    pub logged: u64,
    /// Frames pf does not see, by what they are.
    pub others: BTreeMap<NotIp, u64>,
    /// By what decided: passed, blocked, held.
    pub by: BTreeMap<By, [Count; 3]>,
    /// Drops by reason, in pf's order.
    pub reasons: BTreeMap<DropReason, u64>,
    /// Packets by interface name: in, out.
    pub interfaces: BTreeMap<String, [u64; 2]>,
    /// Sources of blocked packets.
    pub talkers: HashMap<IpAddr, Talker>,
    /// Blocked packets of sources not told apart.
    pub unlisted: u64,
    /// Packets whose direction had to be guessed.
    pub guessed: u64,
    /// Packets whose interface is not known.
    pub nameless: u64,
    /// Packets captured in part; the rest was taken as zeros.
    pub cut: u64,
    /// Time of the first and the last frame.
    pub span: Option<(u64, u64)>,
}

impl Tally {
    /// Counts a frame at a time.
    pub fn frame(&mut self, time: u64) {
        self.frames += 1;
        let (first, last) = self.span.unwrap_or((time, time));
        self.span = Some((first.min(time), last.max(time)));
    }

    /// Counts a decision about a packet of `bytes`.
    pub fn ruling(&mut self, ruling: &Ruling, bytes: u64, ends: Option<Ends>) {
        let slot = self.by.entry(ruling.by).or_default();
        match ruling.verdict {
            Verdict::Pass => {
                self.passed.add(bytes);
                slot[0].add(bytes);
            }
            Verdict::Hold => {
                self.held.add(bytes);
                slot[2].add(bytes);
            }
            Verdict::Block => {
                self.blocked.add(bytes);
                slot[1].add(bytes);
                *self.reasons.entry(ruling.reason).or_default() += 1;
                if let Some(ends) = ends {
                    self.talker(&ends, bytes);
                }
            }
        }
        self.logged += u64::from(ruling.log);
    }

    fn talker(&mut self, ends: &Ends, bytes: u64) {
        if self.talkers.len() >= MAX_SOURCES && !self.talkers.contains_key(&ends.src) {
            self.unlisted += 1;
            return;
        }
        let talker = self.talkers.entry(ends.src).or_default();
        talker.blocked.add(bytes);
        if talker.ports.len() < MAX_PORTS {
            talker.ports.insert((ends.proto, ends.port));
        }
        if talker.targets.len() < MAX_PORTS {
            talker.targets.insert(ends.dst);
        }
    }

    /// The `most` sources blocked most, first the worst; equal ones by address.
    #[must_use]
    pub fn worst(&self, most: usize) -> Vec<(IpAddr, &Talker)> {
        let mut all: Vec<_> = self.talkers.iter().map(|(addr, talker)| (*addr, talker)).collect();
        all.sort_by_key(|(addr, talker)| (std::cmp::Reverse(talker.blocked.packets), *addr));
        all.truncate(most);
        all
    }
}

impl Talker {
    /// What it asked for, in a few words: `tcp 22`, `tcp 20-90 (71 ports)`, `tcp 22, udp 53`.
    #[must_use]
    pub fn asked(&self) -> String {
        let mut by_proto: BTreeMap<u8, Vec<u16>> = BTreeMap::new();
        for (proto, port) in &self.ports {
            by_proto.entry(*proto).or_default().push(*port);
        }
        let words = by_proto.iter().map(|(number, ports)| {
            let name = crate::line::protocol(*number);
            match (*number, ports.as_slice()) {
                (proto::TCP | proto::UDP, [one]) => format!("{name} {one}"),
                (proto::TCP | proto::UDP, [one, two]) => format!("{name} {one}, {two}"),
                (proto::TCP | proto::UDP, [first, .., last]) => {
                    let many =
                        if ports.len() + 1 >= MAX_PORTS { "more than 1000".into() } else { ports.len().to_string() };
                    format!("{name} {first}-{last} ({many} ports)")
                }
                _ => name,
            }
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(src: &str, proto: u8, port: u16, tally: &mut Tally) {
        let ruling = Ruling { verdict: Verdict::Block, reason: DropReason::Match, by: By::Rule(0), log: true };
        let ends = Ends { src: src.parse().unwrap(), dst: "192.0.2.1".parse().unwrap(), proto, port };
        tally.ruling(&ruling, 40, Some(ends));
    }

    #[test]
    fn everything_that_moves_is_counted() {
        let mut tally = Tally::default();
        for port in 20..30 {
            blocked("198.51.100.1", proto::TCP, port, &mut tally);
        }
        blocked("198.51.100.2", proto::UDP, 53, &mut tally);
        blocked("198.51.100.2", proto::ICMP, 8, &mut tally);
        let pass = Ruling { verdict: Verdict::Pass, reason: DropReason::Match, by: By::Default, log: false };
        tally.ruling(&pass, 100, None);
        assert_eq!(tally.blocked, Count { packets: 12, bytes: 480 });
        assert_eq!(tally.passed, Count { packets: 1, bytes: 100 });
        assert_eq!(tally.by[&By::Rule(0)][1].packets, 12);
        assert_eq!(tally.by[&By::Default][0].packets, 1);
        assert_eq!(tally.reasons[&DropReason::Match], 12);
        assert_eq!(tally.logged, 12);
        let worst = tally.worst(5);
        assert_eq!(worst[0].1.asked(), "tcp 20-29 (10 ports)");
        assert_eq!(worst[1].1.asked(), "icmp, udp 53");
    }

    #[test]
    fn sources_beyond_the_bound_are_only_counted() {
        let mut tally = Tally::default();
        for n in 0..MAX_SOURCES + 10 {
            let src = IpAddr::from((n as u128).to_be_bytes());
            let ruling = Ruling { verdict: Verdict::Block, reason: DropReason::Match, by: By::Default, log: false };
            tally.ruling(&ruling, 1, Some(Ends { src, dst: src, proto: 17, port: 1 }));
        }
        assert_eq!((tally.talkers.len(), tally.unlisted), (MAX_SOURCES, 10));
    }
}
