//! One written rule becomes the rules it stands for: every combination of its lists, in pfctl's order.
//!
//! Holds [`Draft`], the rule while its lists are walked (pfctl's one `struct pf_rule` that each combination fills in
//! again), and the walk. What does not depend on a combination is settled before; here are families, interfaces,
//! labels, pools and the checks of the whole rule.
//!
//! **Invariant:** a combination whose families do not fit is left out silently; one that breaks a rule's consistency is
//! said and left out; if none is left, that is said too.
//! **Invariant:** after one error of a written rule none of its later combinations is added.
//!
//! Source: `parse.y expand_rule`.

mod consistent;
mod label;
mod pool;

use pfvm::rule::{Af, Direction, Keep, RuleFlags};

pub(crate) use label::number as number_labels;
pub(crate) use pool::{PoolDraft, entry as pool_entry};

use crate::ast::{At, RouteKind, Span};
use crate::diag::{Diagnostic, Severity};
use crate::resolve::host::{Host, Kind, Wrap};
use crate::resolve::{Act, LIMIT_RULES, Resolver};
use crate::resolve::{Cmp, Icmp, Iface, OpKind, Redir};
use crate::ruleset::{Action, AddrSpec, Endpoint, Named, Op, Os, Rule};

/// IANA numbers the checks ask for.
pub(crate) const ICMP: u8 = 1;
/// TCP.
pub(crate) const TCP: u8 = 6;
/// UDP.
pub(crate) const UDP: u8 = 17;
/// ICMPv6.
pub(crate) const ICMP6: u8 = 58;

/// The lists of a written rule; an empty one is a single item without value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
    pub ifaces: Vec<Iface>,
    pub protos: Vec<u8>,
    pub icmp: Vec<Icmp>,
    pub src: Vec<Host>,
    pub dst: Vec<Host>,
    pub src_ports: Vec<Cmp<u16>>,
    pub dst_ports: Vec<Cmp<u16>>,
    pub os: Vec<Option<String>>,
    pub users: Vec<Cmp<u32>>,
    pub groups: Vec<Cmp<u32>>,
    pub received_on: Option<Iface>,
}

/// Pools of a written rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pools {
    pub nat: Option<Redir>,
    pub rdr: Option<Redir>,
    pub route: Option<Redir>,
}

/// A rule while its lists are walked.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// What no combination changes, and what the last one left.
    pub rule: Rule,
    pub flags: Option<(u8, u8)>,
    pub keep: Keep,
    pub af_to: bool,
    pub route_kind: Option<RouteKind>,
    pub nat: PoolDraft,
    pub rdr: PoolDraft,
    pub route: PoolDraft,
    /// Inline ruleset or path an anchor rule calls.
    pub anchor: Option<crate::resolve::AnchorRef>,
    pub at: At,
    pub span: Span,
}

/// What one combination takes from each list.
struct Pick<'a> {
    iface: &'a Iface,
    proto: u8,
    icmp: Icmp,
    src: &'a Host,
    dst: &'a Host,
    src_port: Cmp<u16>,
    dst_port: Cmp<u16>,
    os: Option<&'a str>,
    user: Cmp<u32>,
    group: Cmp<u32>,
    /// Positions in the lists, for the inbound half of a `binat-to`.
    at: [usize; 10],
}

impl Draft {
    pub(crate) fn new(action: Action, at: At, span: Span) -> Draft {
        Draft {
            rule: Rule::new(action),
            flags: None,
            keep: Keep::No,
            af_to: false,
            route_kind: None,
            nat: PoolDraft::default(),
            rdr: PoolDraft::default(),
            route: PoolDraft::default(),
            anchor: None,
            at,
            span,
        }
    }
}

/// The list, or one empty item.
fn or_one<T: Default>(list: &mut Vec<T>) {
    if list.is_empty() {
        list.push(T::default());
    }
}

fn family(host: &Host) -> Option<Af> {
    host.af
}

impl Resolver<'_> {
    /// Multiplies a rule out.
    pub(crate) fn expand(&mut self, draft: &mut Draft, mut lists: Lists, pools: &Pools) -> Act {
        or_one(&mut lists.ifaces);
        or_one(&mut lists.protos);
        or_one(&mut lists.icmp);
        or_one(&mut lists.src);
        or_one(&mut lists.dst);
        or_one(&mut lists.src_ports);
        or_one(&mut lists.dst_ports);
        or_one(&mut lists.os);
        or_one(&mut lists.users);
        or_one(&mut lists.groups);
        let mut walk = Walk {
            family: draft.rule.af,
            flags: draft.flags,
            keep: draft.keep,
            errors: 0,
            added: 0,
            inconsistent: false,
        };
        let names = label::Templates::of(&draft.rule);
        let mut at = [0usize; 10];
        while let Some(pick) = pick(&lists, &at) {
            self.combination(draft, &pick, &lists, pools, &names, &mut walk)?;
            if !advance(&lists, &mut at) {
                break;
            }
        }
        if walk.added == 0 {
            self.error(draft.at, draft.span, "rule expands to no valid combination");
            if walk.errors > 0 || walk.inconsistent {
                self.follows();
            }
        }
        Ok(())
    }

    fn combination(
        &mut self,
        draft: &mut Draft,
        pick: &Pick<'_>,
        lists: &Lists,
        pools: &Pools,
        names: &label::Templates,
        walk: &mut Walk,
    ) -> Act {
        draft.rule.af = walk.family;
        walk.fail(self.collapse(draft, pools.rdr.as_ref(), pool::Which::Rdr));
        walk.fail(self.collapse(draft, pools.nat.as_ref(), pool::Which::Nat));
        walk.fail(self.collapse(draft, pools.route.as_ref(), pool::Which::Route));
        if !self.fits(draft, pick) {
            return Ok(());
        }
        draft.rule.af = draft.rule.af.or(family(pick.src)).or(family(pick.dst));
        self.name_interface(draft, pick);
        self.expand_labels(draft, pick, names)?;
        let src = narrowed(pick.src, draft.rule.af);
        let dst = narrowed(pick.dst, draft.rule.af);
        walk.fail(self.mask_fits(draft, &src.wrap));
        walk.fail(self.mask_fits(draft, &dst.wrap));
        self.fill(draft, pick, &src, &dst, lists, walk);
        let binat = pools.nat.as_ref().filter(|n| n.hosts.is_some() && n.binat);
        let direction = draft.rule.direction;
        if binat.is_some() {
            let others = if pick.src.wrap.kind == Kind::Dynamic { &[] } else { rest(&lists.src, pick.at[3]) };
            self.check_binat(draft, &src, others, walk);
            draft.rule.direction = Some(Direction::Out);
        }
        walk.fail(self.apply(draft, pools.nat.as_ref(), pool::Which::Nat, pick.dst_port));
        walk.fail(self.apply(draft, pools.rdr.as_ref(), pool::Which::Rdr, pick.dst_port));
        walk.fail(self.apply(draft, pools.route.as_ref(), pool::Which::Route, pick.dst_port));
        let problems = self.inconsistencies(draft);
        if problems || walk.errors > 0 {
            self.error(draft.at, draft.span, "skipping rule due to errors");
            self.follows();
            walk.inconsistent = true;
        } else {
            self.add(draft, &src, &dst)?;
            walk.added = walk.added.saturating_add(1);
        }
        draft.rule.direction = direction;
        match binat {
            Some(nat) if walk.errors == 0 => self.inbound_half(draft, pick, lists, &src, &dst, nat),
            _ => Ok(()),
        }
    }

    /// The last error only says what came of the one before.
    fn follows(&mut self) {
        if let Some(last) = self.globals.said.last() {
            last.severity = Severity::Note;
        }
    }

    /// Whether families and link-local interfaces of a combination go together.
    fn fits(&self, draft: &Draft, pick: &Pick<'_>) -> bool {
        let differ = |a: Option<Af>, b: Option<Af>| a.is_some() && b.is_some() && a != b;
        let (src, dst, af) = (pick.src, pick.dst, draft.rule.af);
        let elsewhere = |host: &Host| {
            host.scope != 0 && !pick.iface.name.is_empty() && host.scope != self.facts.index_of(&pick.iface.name)
        };
        !(differ(af, src.af)
            || differ(af, dst.af)
            || differ(src.af, dst.af)
            || (src.scope != 0 && dst.scope != 0 && src.scope != dst.scope)
            || elsewhere(src)
            || elsewhere(dst))
    }

    fn name_interface(&self, draft: &mut Draft, pick: &Pick<'_>) {
        let known = self.globals.interfaces_known;
        let by_scope = |scope: u32| self.facts.name_of(scope).filter(|_| known).map(str::to_owned);
        let name = if pick.iface.name.is_empty() {
            by_scope(pick.src.scope).or_else(|| by_scope(pick.dst.scope)).unwrap_or_default()
        } else {
            pick.iface.name.clone()
        };
        let not = pick.iface.not;
        draft.rule.iface = (!name.is_empty()).then_some(Named { not, name });
        draft.rule.rdomain = pick.iface.rdomain.map(|id| (not, id));
    }

    /// `netmask N invalid for IPv4 address`; true is an error.
    fn mask_fits(&mut self, draft: &Draft, wrap: &Wrap) -> bool {
        let mask = wrap.mask_bytes();
        let wide = mask.iter().skip(4).any(|byte| *byte != 0);
        if wrap.kind == Kind::Table || draft.rule.af != Some(Af::Inet) || !wide {
            return false;
        }
        let text = format!("netmask {} invalid for IPv4 address", crate::resolve::host::prefix_of(&mask));
        self.line(&text);
        let diagnostic = Diagnostic::pfctl_bare(Severity::Error, text).at(draft.span, "");
        self.globals.said.diagnostic(diagnostic);
        true
    }

    fn fill(&mut self, draft: &mut Draft, pick: &Pick<'_>, src: &Host, dst: &Host, lists: &Lists, walk: &mut Walk) {
        let rule = &mut draft.rule;
        rule.proto = (pick.proto != 0).then_some(pick.proto);
        rule.src = endpoint(src, pick.src_port, rule.af);
        rule.dst = endpoint(dst, pick.dst_port, rule.af);
        rule.uid = op(pick.user);
        rule.gid = op(pick.group);
        if let Some(iface) = &lists.received_on {
            let named = Named { not: iface.not, name: iface.name.clone() };
            rule.received_on = (!named.name.is_empty()).then_some(named);
        }
        rule.icmp_type = pick.icmp.kind;
        rule.icmp_code = pick.icmp.code;
        let other = pick.proto != 0 && pick.proto != TCP;
        draft.keep = match walk.keep {
            Keep::Modulate | Keep::Synproxy if other => Keep::Keep,
            keep => keep,
        };
        draft.flags = if other { None } else { walk.flags };
        if pick.icmp.proto != 0 && pick.proto != pick.icmp.proto {
            self.error(draft.at, draft.span, "icmp-type mismatch");
            walk.fail(true);
        }
        draft.rule.os = pick.os.map(|name| self.operating_system(name, draft.at, draft.span));
    }

    fn operating_system(&mut self, name: &str, at: At, span: Span) -> Os {
        let os = match &self.globals.os {
            Some(known) => known.find(name),
            None => crate::facts::OsNames::default().find(name),
        };
        if os.name == "nomatch" {
            if self.options.verbose > 1 {
                self.line(&format!("warning: unknown '{name}' OS fingerprint"));
            }
            self.warn(at, span, format!("unknown '{name}' OS fingerprint: the rule never matches"));
        }
        os
    }

    /// The source of a `binat-to`; pfctl looks at the sources after it too.
    fn check_binat(&mut self, draft: &mut Draft, src: &Host, others: &[Host], walk: &mut Walk) {
        let mut wrong = Vec::new();
        let nat = &draft.nat.wrap;
        let address = |kind: Kind| matches!(kind, Kind::Mask | Kind::Dynamic);
        let table = std::iter::once(src).chain(others).find(|h| h.wrap.kind == Kind::Table);
        let multi = std::iter::once(src).chain(others).find(|h| h.wrap.is_multi());
        if let Some(host) = table {
            wrong.push(format!("invalid use of table <{}> as the source address of a binat-to rule", host.wrap.name));
        } else if let Some(host) = multi {
            let name = &host.wrap.name;
            wrong.push(format!("invalid use of interface ({name}) as the source address of a binat-to rule"));
        } else if !address(src.wrap.kind) || !address(nat.kind) {
            wrong.push("binat-to requires a specified source and redirect address".into());
        }
        if src.wrap.is_multi() || nat.is_multi() {
            wrong.push("dynamic interfaces must be used with :0 in a binat-to rule".into());
        }
        if zero_mask(&src.wrap, walk.family) || zero_mask(nat, walk.family) {
            wrong.push("source and redir addresess must have a matching network mask in binat-rule".into());
        }
        if nat.kind == Kind::Table {
            wrong.push("tables cannot be used as the redirect address of a binat-to rule".into());
        }
        if draft.rule.direction.is_some() {
            wrong.push("binat-to cannot be specified with a direction".into());
        }
        for text in wrong {
            self.error(draft.at, draft.span, text);
            walk.fail(true);
        }
    }

    /// The rule's inbound half: what `binat-to` redirects back. pfctl hands it the lists from where it stands.
    fn inbound_half(
        &mut self,
        draft: &Draft,
        pick: &Pick<'_>,
        lists: &Lists,
        src: &Host,
        dst: &Host,
        nat: &Redir,
    ) -> Act {
        let [iface, proto, icmp, _, dst_at, src_port, dst_port, os, user, group] = pick.at;
        let mut half = draft.clone();
        half.rule.direction = Some(Direction::In);
        let rest_of_dst =
            if pick.dst.wrap.kind == Kind::Dynamic { vec![dst.clone()] } else { tail(&lists.dst, dst_at) };
        let target = Host { wrap: draft.nat.wrap.clone(), ..Host::default() };
        let mut back = nat.clone();
        back.binat = false;
        back.af = None;
        back.opts.static_port = false;
        back.hosts = Some(vec![src.clone()]);
        let lists = Lists {
            ifaces: tail(&lists.ifaces, iface),
            protos: tail(&lists.protos, proto),
            icmp: tail(&lists.icmp, icmp),
            src: rest_of_dst,
            dst: vec![target],
            src_ports: tail(&lists.dst_ports, dst_port),
            dst_ports: tail(&lists.src_ports, src_port),
            os: tail(&lists.os, os),
            users: tail(&lists.users, user),
            groups: tail(&lists.groups, group),
            received_on: lists.received_on.clone(),
        };
        let pools = Pools { rdr: Some(back), ..Pools::default() };
        self.expand(&mut half, lists, &pools)
    }

    /// Adds the rule to the anchor being read.
    fn add(&mut self, draft: &Draft, src: &Host, dst: &Host) -> Act {
        self.made = self.made.saturating_add(1);
        if self.made > LIMIT_RULES {
            return self.exit_at(draft.span, format!("rules expand to more than {LIMIT_RULES}"));
        }
        let mut rule = draft.rule.clone();
        rule.src.addr = spec(&src.wrap, rule.af);
        rule.dst.addr = spec(&dst.wrap, rule.af);
        rule.keep = draft.keep;
        rule.tcp_flags = draft.flags.map(|(flags, set)| crate::ruleset::TcpFlags { flags, set });
        rule.tcp_flags = rule.tcp_flags.filter(|f| f.flags != 0 || f.set != 0);
        if draft.af_to {
            rule.flags |= RuleFlags::AF_TO;
        }
        let pool_af = rule.naf.or(rule.af);
        rule.nat = draft.nat.resolved(pool_af);
        rule.rdr = draft.rdr.resolved(pool_af);
        rule.route = draft.route_kind.map(|kind| (kind, draft.route.resolved(rule.af).unwrap_or_default()));
        // pf knows a name by its first byte: an empty one is none.
        rule.label = rule.label.filter(|label| !label.is_empty());
        rule.tag = rule.tag.filter(|tag| !tag.is_empty());
        rule.tagged = rule.tagged.filter(|tagged| !tagged.name.is_empty());
        rule.place = self.place(draft.at, draft.span);
        self.anchors.add_rule(rule, draft.anchor.clone());
        Ok(())
    }
}

/// Goes through the combinations of one rule.
struct Walk {
    family: Option<Af>,
    flags: Option<(u8, u8)>,
    keep: Keep,
    errors: usize,
    added: usize,
    /// A combination was said to be skipped.
    inconsistent: bool,
}

impl Walk {
    fn fail(&mut self, failed: bool) {
        self.errors = self.errors.saturating_add(usize::from(failed));
    }
}

/// The items after one.
fn rest<T>(list: &[T], at: usize) -> &[T] {
    list.get(at.saturating_add(1)..).unwrap_or_default()
}

fn tail<T: Clone>(list: &[T], from: usize) -> Vec<T> {
    list.get(from..).unwrap_or_default().to_vec()
}

fn spec(wrap: &Wrap, af: Option<Af>) -> AddrSpec {
    wrap.spec(af)
}

/// `PF_AZERO` of a mask, false without a family.
fn zero_mask(wrap: &Wrap, af: Option<Af>) -> bool {
    let mask = wrap.mask_bytes();
    match af {
        None => false,
        Some(Af::Inet) => mask.iter().take(4).all(|b| *b == 0),
        Some(Af::Inet6) => mask == [0; 16],
    }
}

/// A dynamic interface gets the mask its family can have.
fn narrowed(host: &Host, af: Option<Af>) -> Host {
    let mut host = host.clone();
    if host.wrap.kind == Kind::Dynamic && af == Some(Af::Inet) && host.wrap.prefix() > 32 {
        host.wrap.set_mask(32);
    }
    host
}

fn endpoint(host: &Host, port: Cmp<u16>, af: Option<Af>) -> Endpoint {
    Endpoint { not: host.not, addr: host.wrap.spec(af), port: op(port) }
}

/// A comparison as the resolved rule keeps it.
fn op<T: Copy>(cmp: Cmp<T>) -> Option<Op<T>> {
    Some(match cmp.op {
        OpKind::None => return None,
        OpKind::Eq => Op::Eq(cmp.a),
        OpKind::Ne => Op::Ne(cmp.a),
        OpKind::Lt => Op::Lt(cmp.a),
        OpKind::Le => Op::Le(cmp.a),
        OpKind::Gt => Op::Gt(cmp.a),
        OpKind::Ge => Op::Ge(cmp.a),
        OpKind::Range => Op::Range(cmp.a, cmp.b),
        OpKind::Inside => Op::Inside(cmp.a, cmp.b),
        OpKind::Outside => Op::Outside(cmp.a, cmp.b),
    })
}

/// Outermost first: interface, protocol, ICMP type, source, destination, their ports, OS, user, group.
fn lengths(lists: &Lists) -> [usize; 10] {
    [
        lists.ifaces.len(),
        lists.protos.len(),
        lists.icmp.len(),
        lists.src.len(),
        lists.dst.len(),
        lists.src_ports.len(),
        lists.dst_ports.len(),
        lists.os.len(),
        lists.users.len(),
        lists.groups.len(),
    ]
}

fn pick<'a>(lists: &'a Lists, at: &[usize; 10]) -> Option<Pick<'a>> {
    let [iface, proto, icmp, src, dst, src_port, dst_port, os, user, group] = *at;
    Some(Pick {
        iface: lists.ifaces.get(iface)?,
        proto: *lists.protos.get(proto)?,
        icmp: *lists.icmp.get(icmp)?,
        src: lists.src.get(src)?,
        dst: lists.dst.get(dst)?,
        src_port: *lists.src_ports.get(src_port)?,
        dst_port: *lists.dst_ports.get(dst_port)?,
        os: lists.os.get(os)?.as_deref(),
        user: *lists.users.get(user)?,
        group: *lists.groups.get(group)?,
        at: *at,
    })
}

/// The next combination, innermost list fastest; false after the last.
fn advance(lists: &Lists, at: &mut [usize; 10]) -> bool {
    for (index, len) in at.iter_mut().zip(lengths(lists)).rev() {
        *index = index.saturating_add(1);
        if *index < len {
            return true;
        }
        *index = 0;
    }
    false
}
