//! ClassBench files: sets of five-field rules, traces, and the right answers.

use pfc::ruleset::{Action, AddrSpec, Af, Config, Endpoint, Op, Rule, RuleFlags};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Which rules are quick, and in which order they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Order {
    /// All of them, the first match decides.
    Quick,
    /// None of them, in reverse: the same answers.
    Last,
    /// Every third.
    Mixed,
}

/// A packet of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tuple {
    pub(crate) src: u32,
    pub(crate) dst: u32,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    pub(crate) proto: u8,
}

/// Reads a file, unpacked when its name ends in `.xz`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    if path.extension().is_none_or(|e| e != "xz") {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    lzma_rs::xz_decompress(&mut bytes.as_slice(), &mut out).map_err(|e| format!("{}: {e:?}", path.display()))?;
    Ok(out)
}

/// The rules of a set, as a configuration; labels say the number of each.
pub(crate) fn config(text: &str, order: Order) -> Result<Config, String> {
    let mut config = Config::default();
    for (n, line) in text.lines().enumerate() {
        let mut rule = rule(line, n).ok_or_else(|| format!("line {}: not a ClassBench rule", n + 1))?;
        if order == Order::Quick || order == Order::Mixed && n.is_multiple_of(3) {
            rule.flags = rule.flags.with(RuleFlags::QUICK);
        }
        config.main.rules.push(rule);
    }
    if order == Order::Last {
        config.main.rules.reverse();
    }
    for (nr, rule) in (0..).zip(&mut config.main.rules) {
        rule.nr = nr;
    }
    Ok(config)
}

fn rule(line: &str, n: usize) -> Option<Rule> {
    let words: Vec<&str> = line.strip_prefix('@')?.split_whitespace().collect();
    let net = |w: &str| {
        let (addr, prefix) = w.split_once('/')?;
        let (addr, prefix): (Ipv4Addr, u8) = (addr.parse().ok()?, prefix.parse().ok()?);
        Some(if prefix == 0 { AddrSpec::Any } else { AddrSpec::Net { addr: IpAddr::V4(addr), prefix } })
    };
    let ports = |lo: &str, hi: &str| {
        let (lo, hi): (u16, u16) = (lo.parse().ok()?, hi.parse().ok()?);
        Some((lo != 0 || hi != u16::MAX).then_some(if lo == hi { Op::Eq(lo) } else { Op::Range(lo, hi) }))
    };
    let [src, dst, slo, _, shi, dlo, _, dhi, proto, ..] = *words.as_slice() else { return None };
    let (value, mask) = proto.split_once('/')?;
    let proto = u8::from_str_radix(value.strip_prefix("0x")?, 16).ok().filter(|_| mask != "0x00");
    Some(Rule {
        action: if n.is_multiple_of(2) { Action::Pass } else { Action::Block },
        af: Some(Af::Inet),
        proto,
        src: Endpoint { not: false, addr: net(src)?, port: ports(slo, shi)? },
        dst: Endpoint { not: false, addr: net(dst)?, port: ports(dlo, dhi)? },
        label: Some(format!("r{n}")),
        ..Rule::plain()
    })
}

/// The packets of a trace.
pub(crate) fn trace(bytes: &[u8]) -> Vec<Tuple> {
    let tuple = |r: &[u8; 16]| {
        let [a, b, c, d, e, f, g, h, i, j, k, l, proto, ..] = *r;
        Tuple {
            src: u32::from_le_bytes([a, b, c, d]),
            dst: u32::from_le_bytes([e, f, g, h]),
            sport: u16::from_le_bytes([i, j]),
            dport: u16::from_le_bytes([k, l]),
            proto,
        }
    };
    bytes.as_chunks::<16>().0.iter().map(tuple).collect()
}

/// The number of the first matching rule for each packet, `u32::MAX` for none.
pub(crate) fn answers(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}
