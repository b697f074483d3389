//! The plain reference: what a [`Config`] says of one packet, rule by rule, as pf.conf(5) tells it.
//!
//! Holds the walk through the rules and nothing of how a program does it: it shares no code with `opt`, `lower` or the
//! interpreter, and it is written to be read beside the manual, not to be fast.
//! **Invariant:** one call of [`evaluate`] asks its [`World`] in the order pf would (probability before tags, rate last).
//!
//! Source: OpenBSD 7.8 `sys/net/pf.c` (`pf_match_rule`, `pf_test_rule`, `pf_match`, `pf_icmp_mapping`).

mod facts;

use crate::ruleset::{
    Action, AddrSpec, Af, Config, Direction, DynMods, Endpoint, Keep, LogFlags, Named, Op, Os, Rule, RuleFlags, Ruleset,
};
use pfvm::packet::PacketDesc;
use pfvm::rule::Addr;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use facts::{Dynamic, Facts, Labelled, Translate, lookup};

/// Most `match` rules one packet may collect; one more drops it (`memory`).
pub const MAX_MATCHES: usize = 64;
/// Most anchor calls open at once (`PF_ANCHOR_STACK_MAX` less the bottom frame); one more drops the packet.
pub const MAX_DEPTH: usize = 63;

/// What rules can see of a packet; addresses and ports as translated so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Direction.
    pub direction: Direction,
    /// Family.
    pub af: Af,
    /// Protocol above IP, after extension headers.
    pub proto: u8,
    /// A fragment that was not reassembled: nothing above IP is known.
    pub fragment: bool,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port, host order.
    pub sport: u16,
    /// Destination port, host order.
    pub dport: u16,
    /// TOS or traffic class without the two ECN bits.
    pub tos: u8,
    /// TCP flags, letters FSRPAUEW from bit 0.
    pub tcp_flags: u8,
    /// ICMP type and code.
    pub icmp: (u8, u8),
    /// Priority, 0–7.
    pub prio: u8,
    /// Routing domain.
    pub rdomain: u8,
}

impl Seen {
    /// What rules see of a description the packet walk has made.
    #[must_use]
    pub fn of(desc: &PacketDesc) -> Self {
        let addr = |a: Addr| match desc.af {
            Af::Inet => IpAddr::V4(Ipv4Addr::from(a.0.first_chunk::<4>().copied().unwrap_or_default())),
            Af::Inet6 => IpAddr::V6(Ipv6Addr::from(a.0)),
        };
        Self {
            direction: desc.dir,
            af: desc.af,
            proto: desc.proto,
            fragment: desc.fragment,
            src: addr(desc.nsaddr),
            dst: addr(desc.ndaddr),
            sport: desc.nsport,
            dport: desc.ndport,
            tos: desc.tos,
            tcp_flags: desc.tcp().map_or(0, |t| t.flags),
            icmp: desc.icmp().map_or((0, 0), |i| (i.kind, i.code)),
            prio: desc.prio,
            rdomain: desc.rdomain,
        }
    }
}

/// Names one rule: the path of its ruleset (empty is the main one) and its place there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleRef {
    /// Anchor path.
    pub ruleset: String,
    /// Place within the ruleset, from 0.
    pub nr: usize,
}

/// One line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The rule reported.
    pub rule: RuleRef,
    /// The `log (matches)` rule that asked for it, if it was not the rule itself.
    pub because: Option<RuleRef>,
}

/// Why a packet is dropped before any rule could decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// More than [`MAX_MATCHES`] `match` rules: reason `memory`.
    Memory,
    /// More than [`MAX_DEPTH`] anchors deep.
    Depth,
    /// A `match` rule's translation found no address or port: reason `translate`.
    Translate,
}

/// What the rules decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// [`Action::Pass`] or [`Action::Block`].
    pub action: Action,
    /// The deciding rule, `None` for the default (pass).
    pub rule: Option<RuleRef>,
    /// The anchor call the deciding rule was reached by, if any.
    pub anchor: Option<RuleRef>,
    /// `match` rules, in the order they matched.
    pub matches: Vec<RuleRef>,
    /// Tag the rules left; `None` when none wrote one.
    pub tag: Option<String>,
    /// Log lines, in order.
    pub log: Vec<LogLine>,
    /// Why the walk ended early.
    pub failure: Option<Failure>,
}

/// All that a walk asks besides the packet.
pub trait World {
    /// Whether the packet's interface is this one or a member of this group (`any`: every one but loopback).
    fn on(&self, name: &str) -> bool;
    /// The same of the interface the packet was received on; false when it was received on none.
    fn received_on(&self, name: &str) -> bool;
    /// Whether a table holds an address: `ruleset` is the path of the ruleset the name is written in.
    fn in_table(&self, ruleset: &str, name: &str, addr: IpAddr) -> bool;
    /// Whether `(name:mods)/prefix` holds an address.
    fn in_dynamic(&self, name: &str, mods: DynMods, prefix: Option<u8>, addr: IpAddr) -> bool;
    /// Whether there is a route to an address; through the packet's interface, if asked so.
    fn routable(&self, addr: IpAddr, through_iface: bool) -> bool;
    /// Whether the route to an address carries a label.
    fn route_label(&self, addr: IpAddr, label: &str) -> bool;
    /// User and group of the local socket, [`u32::MAX`] where there is none.
    fn socket(&self) -> (u32, u32);
    /// Whether the SYN looks like one of this system.
    fn os(&self, os: &Os) -> bool;
    /// The tag the packet came with.
    fn tag(&self) -> Option<&str>;
    /// A number drawn evenly from `1..=u32::MAX - 1`.
    fn draw(&mut self, rule: &RuleRef) -> u32;
    /// Counts the packet against the rule's `max-pkt-rate`: whether the rule is over it now.
    fn over_rate(&mut self, rule: &RuleRef) -> bool;
    /// Whether a `once` rule was used up by an earlier packet.
    fn expired(&self, rule: &RuleRef) -> bool;
    /// A `once` rule was used; false when another packet was faster.
    fn expire(&mut self, rule: &RuleRef) -> bool;
    /// Applies the translation of a `match` rule to what later rules see; false when there is no address or port left.
    fn translate(&mut self, rule: &Rule, at: &RuleRef, seen: &mut Seen) -> bool;
}

/// Walks the rules for one packet.
pub fn evaluate(config: &Config, seen: &Seen, world: &mut impl World) -> Verdict {
    let mut anchors = BTreeMap::new();
    collect_anchors(&config.main, &mut anchors);
    for loaded in &config.anchors {
        anchors.insert(loaded.path.as_str(), loaded);
        collect_anchors(loaded, &mut anchors);
    }
    let mut walk =
        Walk { anchors, world, seen: seen.clone(), tag: None, best: None, matches: Vec::new(), log: Vec::new() };
    let end = walk.ruleset(&config.main, "", None, 0);
    walk.finish(end)
}

/// Every ruleset written inline, by path; a later one takes the place of an earlier one.
fn collect_anchors<'a>(rules: &'a Ruleset, found: &mut BTreeMap<&'a str, &'a Ruleset>) {
    for call in rules.rules.iter().filter_map(|r| r.anchor.as_ref()) {
        if let Some(inline) = &call.inline {
            found.insert(&call.path, inline);
            collect_anchors(inline, found);
        }
    }
}

/// How the walk of one ruleset came to its end.
enum End {
    /// All rules were looked at.
    Ran,
    /// A `quick` rule matched.
    Quick,
    /// The packet is lost.
    Failed(Failure),
}

/// A deciding rule found so far.
#[derive(Clone)]
struct Best<'a> {
    rule: &'a Rule,
    at: RuleRef,
    anchor: Option<RuleRef>,
}

/// One packet on its way through the rules.
struct Walk<'a, 'w, W> {
    anchors: BTreeMap<&'a str, &'a Ruleset>,
    world: &'w mut W,
    seen: Seen,
    tag: Option<&'a str>,
    best: Option<Best<'a>>,
    matches: Vec<(&'a Rule, RuleRef)>,
    log: Vec<LogLine>,
}

impl<'a, W: World> Walk<'a, '_, W> {
    /// Looks at the rules of one ruleset in order. `call` is the anchor rule that led here.
    fn ruleset(&mut self, rules: &'a Ruleset, path: &str, call: Option<&RuleRef>, depth: usize) -> End {
        for (nr, rule) in rules.rules.iter().enumerate() {
            let at = RuleRef { ruleset: path.to_owned(), nr };
            let gone = rule.flags.has(RuleFlags::ONCE) && self.world.expired(&at);
            if gone || !self.matches_rule(rule, &at) {
                continue;
            }
            if let Some(tag) = &rule.tag {
                self.tag = Some(tag);
            }
            let end = if rule.anchor.is_some() { self.anchor(rule, &at, depth) } else { self.hit(rule, at, call) };
            if !matches!(end, End::Ran) {
                return end;
            }
        }
        End::Ran
    }

    /// An anchor call: its ruleset, or every child of it in the order of their names.
    fn anchor(&mut self, rule: &'a Rule, at: &RuleRef, depth: usize) -> End {
        let Some(call) = &rule.anchor else { return End::Ran };
        let targets: Vec<(String, &'a Ruleset)> = if call.wildcard {
            children(&self.anchors, &call.path)
        } else {
            self.anchors.get(call.path.as_str()).map(|r| (call.path.clone(), *r)).into_iter().collect()
        };
        if depth == MAX_DEPTH {
            // An empty target still takes a frame; a wildcard without children takes none.
            return if call.wildcard && targets.is_empty() { End::Ran } else { End::Failed(Failure::Depth) };
        }
        for (path, rules) in targets {
            let end = self.ruleset(rules, &path, Some(at), depth + 1);
            if !matches!(end, End::Ran) {
                return end;
            }
            // A quick anchor stops where the rule that decides so far stands directly in it.
            let decided_here = self.best.as_ref().is_some_and(|b| b.anchor.as_ref() == Some(at));
            if rule.flags.has(RuleFlags::QUICK) && decided_here {
                return End::Quick;
            }
        }
        End::Ran
    }

    /// A rule that is no anchor call has matched.
    fn hit(&mut self, rule: &'a Rule, at: RuleRef, call: Option<&RuleRef>) -> End {
        if rule.flags.has(RuleFlags::ONCE) && !self.world.expire(&at) {
            return End::Ran;
        }
        if rule.action == Action::Match {
            if self.matches.len() == MAX_MATCHES {
                return End::Failed(Failure::Memory);
            }
            self.matches.push((rule, at.clone()));
            let translates = rule.nat.is_some() || rule.rdr.is_some();
            if translates && !self.world.translate(rule, &at, &mut self.seen) {
                return End::Failed(Failure::Translate);
            }
            if rule.log != LogFlags::default() {
                self.log.push(LogLine { rule: at.clone(), because: None });
            }
        } else {
            self.best = Some(Best { rule, at: at.clone(), anchor: call.cloned() });
        }
        self.log_matches(rule, &at);
        if rule.flags.has(RuleFlags::QUICK) { End::Quick } else { End::Ran }
    }

    /// Reports a matching rule once for every `log (matches)` rule that matched before it, the last one first.
    fn log_matches(&mut self, rule: &Rule, at: &RuleRef) {
        if rule.log.has(LogFlags::MATCHES) {
            return;
        }
        for (earlier, because) in self.matches.iter().rev() {
            if earlier.log.has(LogFlags::MATCHES) {
                self.log.push(LogLine { rule: at.clone(), because: Some(because.clone()) });
            }
        }
    }

    /// Turns the end of the walk into a verdict; the deciding rule is logged last.
    fn finish(mut self, end: End) -> Verdict {
        let failure = match end {
            End::Failed(why) => Some(why),
            End::Ran | End::Quick => None,
        };
        if failure.is_none()
            && let Some(Best { rule, at, .. }) = self.best.clone()
        {
            if rule.log != LogFlags::default() {
                self.log.push(LogLine { rule: at.clone(), because: None });
            }
            self.log_matches(rule, &at);
        }
        let action = match (&failure, &self.best) {
            (Some(_), _) => Action::Block,
            (None, Some(best)) => best.rule.action,
            (None, None) => Action::Pass,
        };
        Verdict {
            action,
            rule: self.best.as_ref().map(|b| b.at.clone()),
            anchor: self.best.and_then(|b| b.anchor),
            matches: self.matches.into_iter().map(|(_, at)| at).collect(),
            tag: self.tag.map(str::to_owned),
            log: self.log,
            failure,
        }
    }

    /// Whether the packet is what a rule asks for, criterion by criterion in pf's order.
    fn matches_rule(&mut self, rule: &Rule, at: &RuleRef) -> bool {
        self.right_place(rule)
            && self.right_ends(rule, at)
            && self.right_transport(rule)
            && (!rule.fragment || self.seen.fragment)
            && (rule.tos == 0 || rule.tos == self.seen.tos)
            && rule.probability.is_none_or(|p| self.world.draw(at) < p)
            && rule.tagged.as_ref().is_none_or(|t| (self.tag.or(self.world.tag()) == Some(&t.name)) != t.not)
            && rule.received_on.as_ref().is_none_or(|n| self.world.received_on(&n.name) != n.not)
            && rule.prio.is_none_or(|p| p == self.seen.prio)
            && (rule.pkt_rate.is_none() || !self.world.over_rate(at))
    }

    /// Interface, direction, routing domain, family, protocol.
    fn right_place(&self, rule: &Rule) -> bool {
        let on = |n: &Named| self.world.on(&n.name) != n.not;
        rule.iface.as_ref().is_none_or(on)
            && rule.direction.is_none_or(|d| d == self.seen.direction)
            && rule.rdomain.is_none_or(|(not, n)| (n == self.seen.rdomain) != not)
            && rule.af.is_none_or(|af| af == self.seen.af)
            && rule.proto.is_none_or(|p| p == self.seen.proto)
    }

    /// Both addresses.
    fn right_ends(&self, rule: &Rule, at: &RuleRef) -> bool {
        self.right_addr(&rule.src, self.seen.src, at, true) && self.right_addr(&rule.dst, self.seen.dst, at, false)
    }

    fn right_addr(&self, end: &Endpoint, addr: IpAddr, at: &RuleRef, source: bool) -> bool {
        let inside = match &end.addr {
            AddrSpec::Any => true,
            AddrSpec::Net { addr: net, prefix } => *prefix == 0 || in_net(addr, *net, *prefix),
            AddrSpec::Range { lo, hi } => *lo <= addr && addr <= *hi,
            AddrSpec::Table(name) => self.world.in_table(&at.ruleset, name, addr),
            AddrSpec::Dynamic { name, mods, prefix } => self.world.in_dynamic(name, *mods, *prefix, addr),
            AddrSpec::NoRoute => !self.world.routable(addr, false),
            AddrSpec::UrpfFailed => !source || !self.world.routable(addr, true),
            AddrSpec::RouteLabel(label) => self.world.route_label(addr, label),
        };
        inside != end.not
    }

    /// Ports, flags, system, user, ICMP: what each protocol has, and what a fragment must not be asked.
    fn right_transport(&self, rule: &Rule) -> bool {
        let seen = &self.seen;
        if seen.fragment {
            return rule.src.port.is_none()
                && rule.dst.port.is_none()
                && !(seen.proto == TCP && rule.tcp_flags.is_some_and(|f| f.set != 0))
                && rule.icmp_type.is_none()
                && rule.icmp_code.is_none()
                && rule.uid.is_none()
                && rule.gid.is_none();
        }
        match (seen.proto, seen.af) {
            (TCP, _) => {
                rule.tcp_flags.is_none_or(|f| seen.tcp_flags & f.set == f.flags)
                    && rule.os.as_ref().is_none_or(|os| os.fingerprint == 0 || self.world.os(os))
                    && self.right_ports(rule)
                    && self.right_socket(rule)
            }
            (UDP, _) => self.right_ports(rule) && self.right_socket(rule),
            (ICMP, Af::Inet) | (ICMP6, Af::Inet6) => self.right_icmp(rule),
            _ => true,
        }
    }

    fn right_ports(&self, rule: &Rule) -> bool {
        rule.src.port.is_none_or(|op| holds(op, self.seen.sport))
            && rule.dst.port.is_none_or(|op| holds(op, self.seen.dport))
    }

    fn right_socket(&self, rule: &Rule) -> bool {
        let known = |op: Op<u32>, id: u32| (id != u32::MAX || matches!(op, Op::Eq(_) | Op::Ne(_))) && holds(op, id);
        rule.uid.is_none_or(|op| known(op, self.world.socket().0))
            && rule.gid.is_none_or(|op| known(op, self.world.socket().1))
    }

    /// Type, code; and a rule that would keep state is no rule for an answer.
    fn right_icmp(&self, rule: &Rule) -> bool {
        let (kind, code) = self.seen.icmp;
        rule.icmp_type.is_none_or(|t| t == kind)
            && rule.icmp_code.is_none_or(|c| c == code)
            && (rule.keep == Keep::No || rule.flags.has(RuleFlags::SLOPPY) || !is_answer(self.seen.af, kind))
    }
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;

/// Types that answer a query: the query has made the state. Neighbour advertisements may come unasked.
fn is_answer(af: Af, kind: u8) -> bool {
    match af {
        Af::Inet => matches!(kind, 0 | 9 | 14 | 16 | 18 | 34 | 36),
        Af::Inet6 => matches!(kind, 129 | 140 | 200),
    }
}

/// The rulesets one level below a path, by name.
fn children<'a>(anchors: &BTreeMap<&'a str, &'a Ruleset>, parent: &str) -> Vec<(String, &'a Ruleset)> {
    let name_of = |path: &str| match path.strip_prefix(parent) {
        Some(rest) if parent.is_empty() => Some(rest.to_owned()),
        Some(rest) => rest.strip_prefix('/').map(str::to_owned),
        None => None,
    };
    let mut found: Vec<(String, &'a Ruleset)> = anchors
        .iter()
        .filter(|(path, _)| name_of(path).is_some_and(|n| !n.is_empty() && !n.contains('/')))
        .map(|(path, rules)| ((*path).to_owned(), *rules))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// `pf_match` of one operator.
fn holds<T: PartialOrd>(op: Op<T>, v: T) -> bool {
    match op {
        Op::Eq(a) => v == a,
        Op::Ne(a) => v != a,
        Op::Lt(a) => v < a,
        Op::Le(a) => v <= a,
        Op::Gt(a) => v > a,
        Op::Ge(a) => v >= a,
        Op::Range(a, b) => v >= a && v <= b,
        Op::Inside(a, b) => v > a && v < b,
        Op::Outside(a, b) => v < a || v > b,
    }
}

/// Whether an address lies in a network of its own family.
fn in_net(addr: IpAddr, net: IpAddr, prefix: u8) -> bool {
    let same = |a: u128, b: u128, bits: u32| {
        let host = bits.saturating_sub(u32::from(prefix));
        a.checked_shr(host).unwrap_or(0) == b.checked_shr(host).unwrap_or(0)
    };
    match (addr, net) {
        (IpAddr::V4(a), IpAddr::V4(n)) => same(a.to_bits().into(), n.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => same(a.to_bits(), n.to_bits(), 128),
        _ => false,
    }
}
