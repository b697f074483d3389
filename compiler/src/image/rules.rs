//! Records of rules: what each does once it has matched.

use super::{BuildError, Extras, Writer};
use crate::lower::{Placed, narrow};
use crate::print;
use crate::print::listing::{self, Listing};
use crate::ruleset::{AddrSpec, Divert, Endpoint, Op, Pool, PoolKind, Rule, RuleFlags};
use md5::{Digest, Md5};
use pfvm::rule::{self, Addr, PoolAddr, PoolId, PoolPorts, Route, RulesetId, StrRef, TableId, Timeout};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl Writer {
    /// The records of one ruleset's rules.
    pub(super) fn rules(&mut self, at: usize, placed: &Placed<'_>, extras: &Extras<'_>) -> Result<(), BuildError> {
        let ruleset = RulesetId(narrow("rulesets", at)?);
        let skips = listing::skips(&placed.rules.rules);
        for (r, skips) in placed.rules.rules.iter().zip(skips) {
            let (text, marks) = if extras.texts { print::marked(r) } else { Default::default() };
            let stable_id = self.stable_id(at, &placed.rules.path, &text);
            let mut record = self.rule(r, ruleset, &placed.rules.path, &text, stable_id)?;
            if !text.is_empty() {
                let more = Listing { skips, marks, queues: queues(r, &record) }.encode();
                record.more = self.parts.strings.add(&more);
            }
            self.parts.rules.push(record);
        }
        Ok(())
    }

    fn stable_id(&mut self, at: usize, path: &str, text: &str) -> u64 {
        let count = self.seen.entry((at, text.to_owned())).or_insert(0);
        let mut digest = Md5::new();
        digest.update(path);
        digest.update([0]);
        digest.update(text);
        digest.update(count.to_le_bytes());
        *count = count.saturating_add(1);
        digest.finalize().first_chunk().map_or(0, |b| u64::from_le_bytes(*b))
    }

    fn rule(
        &mut self,
        r: &Rule,
        ruleset: RulesetId,
        path: &str,
        text: &str,
        stable_id: u64,
    ) -> Result<rule::Rule, BuildError> {
        let st = &r.state;
        let (conn_rate, conn_seconds) = st.max_src_conn_rate;
        let (pkt_rate, pkt_seconds) = r.pkt_rate.unwrap_or_default();
        let nat = r.nat.as_ref().map(|p| self.pool(r, p, path)).transpose()?;
        let rdr = r.rdr.as_ref().map(|p| self.pool(r, p, path)).transpose()?;
        let route =
            r.route.as_ref().map(|(kind, p)| Ok::<_, BuildError>(Route { kind: *kind, pool: self.pool(r, p, path)? }));
        let queue = |w: &mut Self, name: Option<&String>| name.map(|n| w.names.queue(n)).transpose();
        Ok(rule::Rule {
            action: r.action,
            returns: r.returns,
            direction: r.direction,
            af: r.af,
            flags: flags(r),
            log: r.log,
            log_if: r.log_if,
            keep: r.keep,
            naf: r.naf,
            dst_prefix: match r.dst.addr {
                AddrSpec::Net { prefix, .. } => prefix,
                _ => 0,
            },
            nat,
            rdr,
            route: route.transpose()?,
            tag: r.tag.as_ref().map(|t| self.names.tag(t)).transpose()?,
            prio: r.set_prio.unwrap_or_default(),
            tos: r.set_tos.unwrap_or(0),
            min_ttl: r.min_ttl,
            max_mss: r.max_mss,
            delay: r.set_delay.unwrap_or(0),
            rtable: r.rtable,
            queue: [
                queue(self, r.queue.as_ref().map(|(q, _)| q))?,
                queue(self, r.queue.as_ref().and_then(|(_, q)| q.as_ref()))?,
            ],
            divert: r.divert.map(divert),
            timeouts: timeouts(r),
            max_states: st.max,
            max_src_nodes: st.max_src_nodes,
            max_src_states: st.max_src_states,
            max_src_conn: st.max_src_conn,
            max_src_conn_rate: conn_rate,
            max_src_conn_seconds: conn_seconds,
            pkt_rate,
            pkt_seconds,
            // States overload into the main ruleset's table, whatever anchor the rule stands in.
            overload: st.overload.as_ref().map(|t| self.names.table(path, t)).transpose()?,
            tables: [self.end_table(&r.src, path)?, self.end_table(&r.dst, path)?],
            anchor: r.anchor.as_ref().map(|a| self.names.anchor(&a.path, a.wildcard)).transpose()?,
            label: self.parts.strings.add(r.label.as_deref().unwrap_or_default()),
            text: self.parts.strings.add(text),
            more: StrRef::default(),
            file: self.parts.strings.add(&r.place.file),
            line: r.place.line,
            nr: r.nr,
            ruleset,
            stable_id,
        })
    }

    /// The table one end of a rule names.
    fn end_table(&mut self, end: &Endpoint, path: &str) -> Result<Option<TableId>, BuildError> {
        Ok(match &end.addr {
            AddrSpec::Table(name) => Some(self.names.table(path, name)?),
            AddrSpec::Dynamic { name, mods, prefix } => Some(self.names.dynamic(name, *mods, *prefix)?),
            _ => None,
        })
    }

    fn pool(&mut self, r: &Rule, p: &Pool, path: &str) -> Result<PoolId, BuildError> {
        let addr = match &p.addr {
            AddrSpec::Any => PoolAddr::None,
            AddrSpec::Net { addr, prefix } => {
                let af = crate::lower::tests::family(*addr);
                PoolAddr::Net { af, addr: octets(masked(*addr, *prefix)), prefix: *prefix }
            }
            AddrSpec::Table(name) => PoolAddr::Table(self.names.table(path, name)?),
            AddrSpec::Dynamic { name, mods, prefix } => PoolAddr::Dynamic {
                table: self.names.dynamic(name, *mods, *prefix)?,
                prefix: prefix.unwrap_or(u8::MAX),
            },
            _ => return Err(BuildError::Pool { line: r.place.line }),
        };
        let (lo, hi) = p.ports.unwrap_or_default();
        let (kind, key) = match p.kind {
            PoolKind::None => (rule::PoolKind::None, None),
            PoolKind::Bitmask => (rule::PoolKind::Bitmask, None),
            PoolKind::Random => (rule::PoolKind::Random, None),
            PoolKind::SourceHash(key) => (rule::PoolKind::SourceHash, key),
            PoolKind::RoundRobin => (rule::PoolKind::RoundRobin, None),
            PoolKind::LeastStates => (rule::PoolKind::LeastStates, None),
        };
        let ports = PoolPorts { lo, hi, base: r.dst.port.map_or(0, first), fixed: p.static_port };
        let id = PoolId(narrow("pools", self.parts.pools.len())?);
        self.parts.pools.push(rule::Pool { kind, sticky: p.sticky, addr, ports, key, iface: None });
        Ok(id)
    }
}

/// The queues a rule names, numbered from 1 as the kernel does.
fn queues(r: &Rule, record: &rule::Rule) -> [Option<listing::Queue>; 2] {
    let names = [r.queue.as_ref().map(|(q, _)| q), r.queue.as_ref().and_then(|(_, q)| q.as_ref())];
    let mut both = record.queue.iter().zip(names);
    let mut next = || {
        let (id, name) = both.next()?;
        Some((u32::from((*id)?.0).saturating_add(1), name?.clone()))
    };
    [next(), next()]
}

/// The first operand of a port test, which `rdr-to` counts its range from.
const fn first(op: Op<u16>) -> u16 {
    match op {
        Op::Eq(a) | Op::Ne(a) | Op::Lt(a) | Op::Le(a) | Op::Gt(a) | Op::Ge(a) => a,
        Op::Range(a, _) | Op::Inside(a, _) | Op::Outside(a, _) => a,
    }
}

/// What a rule's fields say once more as flags.
fn flags(r: &Rule) -> RuleFlags {
    let all = [
        (r.set_tos.is_some(), RuleFlags::SET_TOS),
        (r.set_prio.is_some(), RuleFlags::SET_PRIO),
        (r.set_delay.is_some(), RuleFlags::SET_DELAY),
        (r.naf.is_some(), RuleFlags::AF_TO),
        (r.anchor.is_some(), RuleFlags::ANCHOR),
        (r.src.not, RuleFlags::SRC_NOT),
        (r.dst.not, RuleFlags::DST_NOT),
    ];
    all.into_iter().filter(|(on, _)| *on).fold(r.flags, |set, (_, flag)| set.with(flag))
}

/// Timeouts of a rule: a limit of states brings adaptive ones along, a rate keeps its source long enough.
fn timeouts(r: &Rule) -> [u32; rule::TIMEOUTS] {
    let st = &r.state;
    let mut all = st.timeouts;
    let get = |t: Timeout| Timeout::ALL.iter().position(|x| *x == t).and_then(|i| st.timeouts.get(i)).copied();
    let unset = |t: Timeout| get(t) == Some(0);
    let adaptive = st.max != 0 && unset(Timeout::AdaptiveStart) && unset(Timeout::AdaptiveEnd);
    for (slot, t) in all.iter_mut().zip(Timeout::ALL) {
        match t {
            Timeout::AdaptiveStart if adaptive => *slot = (st.max / 10).saturating_mul(6),
            Timeout::AdaptiveEnd if adaptive => *slot = (st.max / 10).saturating_mul(12),
            Timeout::SrcTrack => *slot = (*slot).max(st.max_src_conn_rate.1),
            _ => {}
        }
    }
    all
}

fn divert(d: Divert) -> rule::Divert {
    match d {
        Divert::To(addr, port) => rule::Divert::To { addr: octets(addr), port },
        Divert::Reply => rule::Divert::Reply,
        Divert::Packet(port) => rule::Divert::Packet { port },
    }
}

/// The network an address lies in.
fn masked(addr: IpAddr, prefix: u8) -> IpAddr {
    let (lo, _) = crate::lower::tests::net_ends(addr, prefix);
    match addr {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(lo).unwrap_or(0))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(lo)),
    }
}

/// An address in network order.
fn octets(addr: IpAddr) -> Addr {
    match addr {
        IpAddr::V4(a) => {
            let mut all = [0; 16];
            if let Some(head) = all.first_chunk_mut() {
                *head = a.octets();
            }
            Addr(all)
        }
        IpAddr::V6(a) => Addr(a.octets()),
    }
}
