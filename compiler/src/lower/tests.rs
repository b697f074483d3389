//! What a rule asks, as tests in pf's order.
//!
//! **Invariant:** a rule matches exactly when all its steps hold in order; a guard that fails skips the one step after
//! it. Steps with an interval are pure, and say the same as their interval.

use super::LowerError;
use super::names::{Names, Pair};
use crate::opt::space::{Dim, Span};
use crate::ruleset::{AddrSpec, Af, Endpoint, Keep, Named, Op as RuleOp, Rule, RuleFlags};
use pfvm::isa::{Field, Half, Imm, Ip4, Op, Prefix4, RouteTest, Side, Skip, Word};
use pfvm::rule::{Direction, RuleId};
use std::net::IpAddr;

/// A criterion of pf's skip steps: when it fails, every rule up to the next one that differs in it fails too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Criterion {
    /// Interface.
    Iface,
    /// Direction.
    Direction,
    /// Routing domain.
    Rdomain,
    /// Family.
    Family,
    /// Protocol.
    Proto,
    /// Source address.
    Src,
    /// Destination address.
    Dst,
    /// Source port.
    Sport,
    /// Destination port.
    Dport,
}

/// Number of criteria.
pub(crate) const CRITERIA: usize = 9;

/// Whether a step may be moved, and whether it has an effect of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads the packet and tables only.
    Pure,
    /// Asks somebody outside, reads what rules write, or counts.
    Impure,
    /// Skips the next step when it fails.
    Guard,
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The test, its skip not filled in.
    pub op: Op,
    /// What it is.
    pub kind: Kind,
    /// The interval it stands for, if that says all.
    pub span: Option<(Dim, Span)>,
    /// The skip-step criterion it is.
    pub criterion: Option<Criterion>,
}

const NEXT: Skip = Skip(0);

/// The never-true test of a field that is always there.
const NEVER: Op = Op::Nin { field: Word(Field::Proto), lo: Half(0), hi: Half(u16::MAX), skip: NEXT };

/// Collects the steps of one rule.
struct Steps<'n> {
    names: &'n mut Names,
    steps: Vec<Step>,
}

/// The steps of a rule of a ruleset.
///
/// # Errors
/// More names than the image can number.
pub(crate) fn steps(rule: &Rule, ruleset: &str, id: RuleId, names: &mut Names) -> Result<Vec<Step>, LowerError> {
    let mut s = Steps { names, steps: Vec::new() };
    s.place(rule)?;
    s.address(&rule.src, Side::Src, ruleset)?;
    s.address(&rule.dst, Side::Dst, ruleset)?;
    s.transport(rule)?;
    s.rest(rule, id)?;
    Ok(s.steps)
}

impl Steps<'_> {
    fn push(&mut self, op: Op, kind: Kind) {
        self.steps.push(Step { op, kind, span: None, criterion: None });
    }

    fn pure(&mut self, op: Op, criterion: Option<Criterion>) {
        self.steps.push(Step { op, kind: Kind::Pure, span: None, criterion });
    }

    /// A question of a skip-step criterion to somebody outside.
    fn asked(&mut self, op: Op, criterion: Criterion) {
        self.steps.push(Step { op, kind: Kind::Impure, span: None, criterion: Some(criterion) });
    }

    fn spanned(&mut self, op: Op, dim: Dim, lo: u128, hi: u128, criterion: Criterion) {
        let span = Some((dim, Span { lo, hi }));
        self.steps.push(Step { op, kind: Kind::Pure, span, criterion: Some(criterion) });
    }

    /// Interface, direction, routing domain, family, protocol.
    fn place(&mut self, rule: &Rule) -> Result<(), LowerError> {
        if let Some(Named { not, name }) = &rule.iface {
            let iface = self.names.iface(name)?;
            let op = if *not { Op::Non { iface, skip: NEXT } } else { Op::On { iface, skip: NEXT } };
            self.pure(op, Some(Criterion::Iface));
        }
        if let Some(d) = rule.direction {
            let (code, place) = match d {
                Direction::In => (1, 0),
                Direction::Out => (2, 1),
            };
            self.spanned(eq(Field::Dir, code), Dim::Direction, place, place, Criterion::Direction);
        }
        if let Some((not, n)) = rule.rdomain {
            let op = if not { ne(Field::Rdomain, n.into()) } else { eq(Field::Rdomain, n.into()) };
            self.pure(op, Some(Criterion::Rdomain));
        }
        if let Some(af) = rule.af {
            let (code, place) = match af {
                Af::Inet => (4, 0),
                Af::Inet6 => (6, 1),
            };
            self.spanned(eq(Field::Af, code), Dim::Family, place, place, Criterion::Family);
        }
        if let Some(p) = rule.proto {
            self.spanned(eq(Field::Proto, p.into()), Dim::Proto, p.into(), p.into(), Criterion::Proto);
        }
        Ok(())
    }

    /// One address.
    fn address(&mut self, end: &Endpoint, side: Side, ruleset: &str) -> Result<(), LowerError> {
        let (dim, criterion) = match side {
            Side::Src => (Dim::Src, Criterion::Src),
            Side::Dst => (Dim::Dst, Criterion::Dst),
        };
        let (not, skip) = (end.not, NEXT);
        let op = match &end.addr {
            AddrSpec::Any | AddrSpec::Net { prefix: 0, .. } if not => NEVER,
            AddrSpec::Any | AddrSpec::Net { prefix: 0, .. } => return Ok(()),
            AddrSpec::Net { addr, prefix } => {
                let (lo, hi) = net_ends(*addr, *prefix);
                let op = self.net(*addr, *prefix, side, not)?;
                if not {
                    op
                } else {
                    self.spanned(op, dim, lo, hi, criterion);
                    return Ok(());
                }
            }
            AddrSpec::Range { lo, hi } => {
                let pair = self.names.pair(Pair { af: family(*lo), a: bits(*lo), b: bits(*hi) })?;
                if not {
                    Op::Nspan { side, pair, skip }
                } else {
                    self.spanned(Op::Span { side, pair, skip }, dim, bits(*lo), bits(*hi), criterion);
                    return Ok(());
                }
            }
            AddrSpec::Table(name) => {
                let table = self.names.table(ruleset, name)?;
                if not { Op::Nlookup { side, table, skip } } else { Op::Lookup { side, table, skip } }
            }
            AddrSpec::Dynamic { name, mods, prefix } => {
                let table = self.names.dynamic(name, *mods, *prefix)?;
                if not { Op::Nlookup { side, table, skip } } else { Op::Lookup { side, table, skip } }
            }
            outside => return self.routed(outside, side, not, criterion),
        };
        self.pure(op, Some(criterion));
        Ok(())
    }

    /// The tests of one network.
    fn net(&mut self, addr: IpAddr, prefix: u8, side: Side, not: bool) -> Result<Op, LowerError> {
        let skip = NEXT;
        if let (IpAddr::V4(v4), Some(p)) = (addr, Prefix4::new(side, prefix)) {
            let net = Ip4(v4.to_bits() & p.mask());
            return Ok(if not { Op::Nsub { prefix: p, net, skip } } else { Op::Sub { prefix: p, net, skip } });
        }
        let (lo, hi) = net_ends(addr, prefix);
        let pair = self.names.pair(Pair { af: family(addr), a: lo, b: !(lo ^ hi) & width(family(addr)) })?;
        Ok(if not { Op::Nnet { side, pair, skip } } else { Op::Net { side, pair, skip } })
    }

    /// Questions to the routing table.
    fn routed(&mut self, spec: &AddrSpec, side: Side, not: bool, criterion: Criterion) -> Result<(), LowerError> {
        let skip = NEXT;
        let test = match (spec, side) {
            (AddrSpec::NoRoute, Side::Src) => RouteTest::NoRouteSrc,
            (AddrSpec::NoRoute, Side::Dst) => RouteTest::NoRouteDst,
            (AddrSpec::UrpfFailed, Side::Src) => RouteTest::UrpfFailed,
            (AddrSpec::RouteLabel(name), _) => {
                let label = self.names.label(name)?;
                let op = if not { Op::Nlabel { side, label, skip } } else { Op::Label { side, label, skip } };
                self.asked(op, criterion);
                return Ok(());
            }
            _ => {
                // A destination is never asked for the interface it would come in by.
                if not {
                    self.pure(NEVER, Some(criterion));
                }
                return Ok(());
            }
        };
        self.asked(if not { Op::Nroute { test, skip } } else { Op::Route { test, skip } }, criterion);
        Ok(())
    }

    /// TCP flags, system, ports, user, group, ICMP.
    fn transport(&mut self, rule: &Rule) -> Result<(), LowerError> {
        if let Some(f) = rule.tcp_flags.filter(|f| f.set != 0) {
            match rule.proto {
                Some(TCP) => {}
                None => self.push(eq(Field::Proto, TCP.into()), Kind::Guard),
                Some(_) => return self.beyond_flags(rule),
            }
            let (mask, value) = (Half(f.set.into()), Half(f.flags.into()));
            self.pure(Op::Mask { field: Word(Field::Flags), mask, value, skip: NEXT }, None);
        }
        self.beyond_flags(rule)
    }

    fn beyond_flags(&mut self, rule: &Rule) -> Result<(), LowerError> {
        if let Some(os) = rule.os.as_ref().filter(|os| os.fingerprint != 0) {
            // Fragments are not asked.
            self.push(eq(Field::Fragment, 0), Kind::Guard);
            let impure = Op::Os { os: Imm(os.fingerprint), skip: NEXT };
            self.push(impure, Kind::Impure);
        }
        self.port(rule.src.port, Field::Sport, Dim::Sport, Criterion::Sport);
        self.port(rule.dst.port, Field::Dport, Dim::Dport, Criterion::Dport);
        self.id(rule.uid, Field::Uid)?;
        self.id(rule.gid, Field::Gid)?;
        if let Some(t) = rule.icmp_type {
            self.pure(eq(Field::IcmpType, t.into()), None);
        }
        if let Some(c) = rule.icmp_code {
            self.pure(eq(Field::IcmpCode, c.into()), None);
        }
        let stateful = rule.keep != Keep::No && !rule.flags.has(RuleFlags::SLOPPY);
        if stateful && matches!(rule.proto, None | Some(ICMP | ICMP6)) {
            self.pure(eq(Field::Answer, 0), None);
        }
        Ok(())
    }

    fn port(&mut self, op: Option<RuleOp<u16>>, field: Field, dim: Dim, criterion: Criterion) {
        let Some(op) = op else { return };
        let max = u16::MAX;
        let f = Word(field);
        let span = match op {
            RuleOp::Eq(a) => Some((a, a)),
            RuleOp::Lt(a) => a.checked_sub(1).map(|a| (0, a)),
            RuleOp::Le(a) => Some((0, a)),
            RuleOp::Gt(a) => a.checked_add(1).map(|a| (a, max)),
            RuleOp::Ge(a) => Some((a, max)),
            RuleOp::Range(a, b) => Some((a, b)),
            RuleOp::Inside(a, b) => a.checked_add(1).zip(b.checked_sub(1)),
            RuleOp::Ne(a) => {
                self.pure(ne(field, a.into()), Some(criterion));
                return;
            }
            RuleOp::Outside(a, b) => {
                // A port that is neither below nor above nothing is anywhere.
                let (lo, hi) = if a <= b { (Half(a), Half(b)) } else { (Half(1), Half(0)) };
                let op = if a <= b { Op::Nin { field: f, lo, hi, skip: NEXT } } else { within(f, 0, max) };
                self.pure(op, Some(criterion));
                return;
            }
        };
        match span.filter(|(lo, hi)| lo <= hi) {
            Some((lo, hi)) => {
                let op = if lo == hi { eq(field, lo.into()) } else { within(f, lo, hi) };
                self.spanned(op, dim, lo.into(), hi.into(), criterion);
            }
            None => self.pure(NEVER, Some(criterion)),
        }
    }

    /// User or group: an unknown one is in no order with others.
    fn id(&mut self, op: Option<RuleOp<u32>>, field: Field) -> Result<(), LowerError> {
        let Some(op) = op else { return Ok(()) };
        const LAST: u32 = u32::MAX - 1;
        let mut among: Vec<(u32, u32)> = match op {
            RuleOp::Eq(a) => {
                self.push(eq(field, a), Kind::Impure);
                return Ok(());
            }
            RuleOp::Ne(a) => {
                self.push(ne(field, a), Kind::Impure);
                return Ok(());
            }
            RuleOp::Lt(a) => a.checked_sub(1).map(|a| (0, a)).into_iter().collect(),
            RuleOp::Le(a) => vec![(0, a)],
            RuleOp::Gt(a) => a.checked_add(1).map(|a| (a, LAST)).into_iter().collect(),
            RuleOp::Ge(a) => vec![(a, LAST)],
            RuleOp::Range(a, b) => vec![(a, b)],
            RuleOp::Inside(a, b) => a.checked_add(1).zip(b.checked_sub(1)).into_iter().collect(),
            RuleOp::Outside(a, b) if a > b => vec![(0, LAST)],
            RuleOp::Outside(a, b) => {
                let below = a.checked_sub(1).map(|a| (0, a));
                below.into_iter().chain(b.checked_add(1).map(|b| (b, LAST))).collect()
            }
        };
        for (_, hi) in &mut among {
            *hi = (*hi).min(LAST);
        }
        among.retain(|(lo, hi)| lo <= hi);
        if among.is_empty() {
            self.push(NEVER, Kind::Impure);
            return Ok(());
        }
        let set = self.names.set(among)?;
        self.push(Op::Among { field: Word(field), set, skip: NEXT }, Kind::Impure);
        Ok(())
    }

    /// Fragment, TOS, probability, tag, receiving interface, priority, rate.
    fn rest(&mut self, rule: &Rule, id: RuleId) -> Result<(), LowerError> {
        let skip = NEXT;
        if rule.fragment {
            self.pure(eq(Field::Fragment, 1), None);
        }
        if rule.tos != 0 {
            self.pure(eq(Field::Tos, rule.tos.into()), None);
        }
        if let Some(share) = rule.probability {
            self.push(Op::Prob { share: Imm(share), skip }, Kind::Impure);
        }
        if let Some(Named { not, name }) = &rule.tagged {
            let tag = self.names.tag(name)?;
            self.push(if *not { Op::Ntagged { tag, skip } } else { Op::Tagged { tag, skip } }, Kind::Impure);
        }
        if let Some(Named { not, name }) = &rule.received_on {
            let iface = self.names.iface(name)?;
            self.pure(if *not { Op::Nrecv { iface, skip } } else { Op::Recv { iface, skip } }, None);
        }
        if let Some(p) = rule.prio {
            self.pure(eq(Field::Prio, p.into()), None);
        }
        if rule.pkt_rate.is_some() {
            self.push(Op::Rate { rule: id, skip }, Kind::Impure);
        }
        Ok(())
    }
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMP6: u8 = 58;

const fn eq(field: Field, value: u32) -> Op {
    Op::Eq { field: Word(field), value: Imm(value), skip: NEXT }
}

const fn ne(field: Field, value: u32) -> Op {
    Op::Ne { field: Word(field), value: Imm(value), skip: NEXT }
}

const fn within(field: Word, lo: u16, hi: u16) -> Op {
    Op::In { field, lo: Half(lo), hi: Half(hi), skip: NEXT }
}

/// The family of an address.
pub(crate) const fn family(addr: IpAddr) -> Af {
    match addr {
        IpAddr::V4(_) => Af::Inet,
        IpAddr::V6(_) => Af::Inet6,
    }
}

/// An address as a number.
pub(crate) fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => a.to_bits().into(),
        IpAddr::V6(a) => a.to_bits(),
    }
}

/// All bits of a family's addresses.
pub(crate) const fn width(af: Af) -> u128 {
    match af {
        Af::Inet => u32::MAX as u128,
        Af::Inet6 => u128::MAX,
    }
}

/// First and last address of a network.
pub(crate) fn net_ends(addr: IpAddr, prefix: u8) -> (u128, u128) {
    let all = width(family(addr));
    let host = all.checked_shr(prefix.into()).unwrap_or(0);
    (bits(addr) & !host & all, bits(addr) | host)
}
