//! The options of a rule: each with its range, each once, folded into what the rule's own action reads.
//!
//! Source: `parse.y`, productions `filter_opt`, `filter_set`, `scrub_opt`, `state_opt_item`, `keep`, `icmp_item`.

use pfvm::rule::{Af, Keep, Timeout};

use super::host::Host;
use super::host_item::{Cmp, IdKind, Iface, PortForm};
use super::number::{atoul, format_g, strtod, strtoul};
use super::pool::{PoolOpts, Redir};
use super::{Act, Resolver, words};
use crate::ast::{
    Arg, FilterOpt, FilterOptKind, FlagsSpec, Flush, IcmpItem, Number, QueueNames, RouteKind, ScrubOpt, ScrubOptKind,
    SetItem, SetItemKind, SourceTrack, StateOpt, StateOptKind, Value,
};
use crate::source::text::byte_len;

/// `IFQ_MAXPRIO`.
const MAX_PRIO: i64 = 7;

/// An ICMP type with its code (`node_icmp`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Icmp {
    pub kind: Option<u8>,
    pub code: Option<u8>,
    /// Protocol it belongs to: 1, 58, or 0 for none.
    pub proto: u8,
}

/// Diversion as written.
#[derive(Clone, Debug, Default)]
pub(crate) enum DivertSpec {
    #[default]
    None,
    To(Vec<Host>, u16),
    Reply,
    Packet(u16),
}

/// A state option (`node_state_opt`).
#[derive(Clone, Debug)]
pub(crate) enum StateOption {
    Max(u32),
    NoSync,
    SourceTrack(SourceTrack),
    MaxSrcStates(u32),
    MaxSrcConn(u32),
    MaxSrcConnRate(u32, u32),
    MaxSrcNodes(u32),
    Overload(String, Flush),
    Lock { if_bound: bool },
    Sloppy,
    Pflow,
    Timeout(Timeout, u32),
}

/// `scrub (…)`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scrub {
    pub no_df: bool,
    pub random_id: bool,
    pub min_ttl: Option<u8>,
    pub max_mss: Option<u16>,
    pub reassemble_tcp: bool,
}

/// The options of a rule so far (`struct filter_opts`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub users: Vec<Cmp<u32>>,
    pub groups: Vec<Cmp<u32>>,
    pub received_on: Option<Iface>,
    pub flags: Option<(u8, u8)>,
    pub icmp: Option<Vec<Icmp>>,
    pub prio: Option<u8>,
    pub tos: Option<u8>,
    pub keep: Option<(Keep, Vec<StateOption>)>,
    pub fragment: bool,
    pub allow_opts: bool,
    pub label: Option<String>,
    pub queue: Option<(String, Option<String>)>,
    pub tag: Option<String>,
    pub tagged: Option<(bool, String)>,
    pub probability: Option<u32>,
    pub rtable: Option<u8>,
    pub divert: DivertSpec,
    pub scrub: Scrub,
    pub nat: Redir,
    pub rdr: Redir,
    pub route: Redir,
    pub route_kind: Option<RouteKind>,
    pub af_to: bool,
    pub once: bool,
    pub pkt_rate: Option<(u32, u32)>,
    pub set_prio: Option<[u8; 2]>,
    pub set_tos: Option<u8>,
    pub set_delay: Option<u16>,
}

fn positive(number: Number) -> Option<u32> {
    u32::try_from(number.value).ok()
}

impl Resolver<'_> {
    pub(crate) fn filter_opts(&mut self, opts: &[FilterOpt]) -> Act<Filter> {
        let mut so_far = Filter::default();
        for opt in opts {
            self.filter_opt(opt, &mut so_far)?;
        }
        Ok(so_far)
    }

    /// One option.
    pub(crate) fn filter_opt(&mut self, opt: &FilterOpt, f: &mut Filter) -> Act {
        match &opt.kind {
            FilterOptKind::User(items) => prepend(&mut f.users, self.ids(items, IdKind::User)?),
            FilterOptKind::Group(items) => prepend(&mut f.groups, self.ids(items, IdKind::Group)?),
            FilterOptKind::Flags(spec) => {
                let flags = self.flags(spec)?;
                self.once(opt, f.flags.is_some(), "flags cannot be redefined")?;
                f.flags = Some(flags);
            }
            FilterOptKind::Icmp { v6, items } => {
                let items = items.iter().map(|item| self.icmp_item(item, *v6)).collect::<Act<Vec<_>>>()?;
                self.once(opt, f.icmp.is_some(), "icmp-type cannot be redefined")?;
                f.icmp = Some(items);
            }
            FilterOptKind::Prio(number) => {
                self.once(opt, f.prio.is_some(), "prio cannot be redefined")?;
                f.prio = Some(self.prio(*number, opt)?);
            }
            FilterOptKind::Tos(arg) => {
                let value = self.tos(arg)?;
                self.once(opt, f.tos.is_some(), "tos cannot be redefined")?;
                f.tos = Some(value);
            }
            FilterOptKind::Keep(spec) => {
                let options = self.state_opts(&spec.opts)?;
                self.once(opt, f.keep.is_some(), "modulate or keep cannot be redefined")?;
                f.keep = Some((spec.kind, options));
            }
            FilterOptKind::Fragment => f.fragment = true,
            FilterOptKind::AllowOpts => f.allow_opts = true,
            FilterOptKind::Label(word) => {
                self.once(opt, f.label.is_some(), "label cannot be redefined")?;
                f.label = Some(word.text.to_string());
            }
            FilterOptKind::Queue(names) => self.queue_names_opt(names, opt, f)?,
            FilterOptKind::Tag(word) => f.tag = Some(word.text.to_string()),
            FilterOptKind::Tagged { not, name } => f.tagged = Some((*not, name.text.to_string())),
            FilterOptKind::Probability(arg) => f.probability = Some(self.probability(arg, opt)?),
            FilterOptKind::Rtable(number) => f.rtable = Some(self.rtable(*number, opt.at)?),
            FilterOptKind::DivertTo { host, port } => {
                let port = self.port_word(port, PortForm::Plain)?.a;
                self.one_divert(opt, f)?;
                let hosts = self.look_up(&host.text);
                if hosts.is_empty() {
                    let text = format!("could not parse divert address: {}", host.text);
                    return self.fail(opt.at, host.span, text);
                }
                f.divert = DivertSpec::To(hosts, self.divert_port(port, opt)?);
            }
            FilterOptKind::DivertReply => {
                self.one_divert(opt, f)?;
                f.divert = DivertSpec::Reply;
            }
            FilterOptKind::DivertPacket(port) => {
                let port = self.port_word(port, PortForm::Plain)?.a;
                self.one_divert(opt, f)?;
                f.scrub.reassemble_tcp |= self.reassemble;
                f.divert = DivertSpec::Packet(self.divert_port(port, opt)?);
            }
            FilterOptKind::Scrub(items) => {
                let mut scrub = Scrub::default();
                for item in items {
                    self.scrub_opt(item, &mut scrub)?;
                }
                scrub.reassemble_tcp |= f.scrub.reassemble_tcp;
                f.scrub = scrub;
            }
            FilterOptKind::NatTo(pool) | FilterOptKind::BinatTo(pool) => {
                let mut redir = self.pool(pool)?;
                self.once(opt, f.nat.hosts.is_some(), "cannot respecify nat-to/binat-to")?;
                redir.binat = matches!(opt.kind, FilterOptKind::BinatTo(_));
                redir.opts.static_port |= redir.binat;
                redir.af = f.nat.af;
                f.nat = redir;
            }
            FilterOptKind::RdrTo(pool) => {
                let mut redir = self.pool(pool)?;
                self.once(opt, f.rdr.hosts.is_some(), "cannot respecify rdr-to")?;
                redir.af = f.rdr.af;
                f.rdr = redir;
            }
            FilterOptKind::AfTo { af, from, to } => {
                let from = self.pool(from)?;
                let to = to.as_ref().map(|pool| self.pool(pool)).transpose()?;
                self.once(opt, f.nat.hosts.is_some(), "cannot respecify af-to")?;
                self.af_to(af.map(|a| a.value), from, to, opt, f)?;
            }
            FilterOptKind::Route { kind, pool, pool_at } => {
                let redir = self.pool(pool)?;
                if f.route_kind.is_some() {
                    return self.fail(*pool_at, pool.span, "cannot respecify route-to/reply-to/dup-to");
                }
                f.route = redir;
                f.route_kind = Some(*kind);
            }
            FilterOptKind::ReceivedOn(item) => {
                let iface = self.iface(item)?;
                self.once(opt, f.received_on.is_some(), "cannot respecify received-on")?;
                f.received_on = Some(iface);
            }
            FilterOptKind::Once => f.once = true,
            FilterOptKind::MaxPktRate(limit, seconds) => {
                let (Some(limit), Some(seconds)) = (positive(*limit), positive(*seconds)) else {
                    return self.fail(opt.at, opt.span, "only positive values permitted");
                };
                let again = f.pkt_rate.is_some_and(|(limit, _)| limit > 0);
                self.once(opt, again, "cannot respecify max-pkt-rate")?;
                f.pkt_rate = Some((limit, seconds));
            }
            FilterOptKind::Set(items) => {
                for item in items {
                    self.set_item(item, f)?;
                }
            }
        }
        Ok(())
    }

    fn once(&mut self, opt: &FilterOpt, again: bool, text: &str) -> Act {
        if again { self.fail(opt.at, opt.span, text) } else { Ok(()) }
    }

    fn ids(&mut self, items: &[crate::ast::Compare], kind: IdKind) -> Act<Vec<Cmp<u32>>> {
        items.iter().map(|item| self.id_item(item, kind)).collect()
    }

    fn one_divert(&mut self, opt: &FilterOpt, f: &Filter) -> Act {
        self.once(opt, !matches!(f.divert, DivertSpec::None), "more than one divert option")
    }

    fn divert_port(&mut self, port: u16, opt: &FilterOpt) -> Act<u16> {
        if port == 0 {
            return self.fail(opt.at, opt.span, format!("invalid divert port: {port}"));
        }
        Ok(port)
    }

    fn af_to(&mut self, af: Option<Af>, from: Redir, to: Option<Redir>, opt: &FilterOpt, f: &mut Filter) -> Act {
        let first = |redir: &Redir| redir.hosts.as_ref().and_then(|hosts| hosts.first()).and_then(|h| h.af);
        let Some(af) = af else {
            let text = if to.is_some() { "no address family specified" } else { "no target address family specified" };
            return self.fail(opt.at, opt.span, text);
        };
        match to {
            None => {
                f.nat = Redir { af: Some(af), ..from };
                f.rdr = Redir { hosts: Some(Vec::new()), af: f.rdr.af, ..Redir::default() };
            }
            Some(to) => {
                if [&from, &to].iter().any(|r| first(r).is_some_and(|family| family != af)) {
                    return self.fail(opt.at, opt.span, "af-to addresses must be in the target address family");
                }
                let opts = to.opts;
                f.nat = Redir { af: Some(af), opts, ..from };
                f.rdr = Redir { af: Some(af), opts: f.rdr.opts, binat: f.rdr.binat, ..to };
            }
        }
        f.af_to = true;
        Ok(())
    }

    /// `prio n`.
    fn prio(&mut self, number: Number, opt: &FilterOpt) -> Act<u8> {
        match u8::try_from(number.value).ok().filter(|p| i64::from(*p) <= MAX_PRIO) {
            Some(prio) => Ok(prio),
            None => self.fail(opt.at, number.span, format!("prio must be 0 - {MAX_PRIO}")),
        }
    }

    /// A routing table that exists.
    pub(crate) fn rtable(&mut self, number: Number, at: crate::ast::At) -> Act<u8> {
        match u8::try_from(number.value) {
            Err(_) => self.fail(at, number.span, "invalid rtable id"),
            Ok(id) if !self.facts.rtables.contains(&id) => {
                self.fail(at, number.span, format!("rtable {id} does not exist"))
            }
            Ok(id) => Ok(id),
        }
    }

    /// A TOS value.
    pub(crate) fn tos(&mut self, arg: &Arg) -> Act<u8> {
        let value = match &arg.value {
            Value::Number(number) => u8::try_from(*number).ok(),
            Value::Word(word) => words::tos(word).or_else(|| {
                word.starts_with("0x").then(|| strtoul(word, 16)).and_then(|parsed| {
                    (parsed.rest.is_empty() && !parsed.overflow).then(|| u8::try_from(parsed.value).ok()).flatten()
                })
            }),
        };
        match value {
            Some(value) => Ok(value),
            None => {
                let word = arg.value.text();
                self.unknown(arg.at, arg.span, format!("illegal tos value {word}"), &word, words::tos_names())
            }
        }
    }

    /// One side of `flags a/b`.
    pub(crate) fn flag_set(&mut self, arg: &Arg) -> Act<u8> {
        let text = arg.value.text();
        match words::tcp_flags(&text) {
            Some(bits) => Ok(bits),
            None => self.fail(arg.at, arg.span, format!("bad flags {text}")),
        }
    }

    fn flags(&mut self, spec: &FlagsSpec) -> Act<(u8, u8)> {
        match spec {
            FlagsSpec::Any => Ok((0, 0)),
            FlagsSpec::Of { set, mask } => {
                let set = set.as_ref().map(|arg| self.flag_set(arg)).transpose()?.unwrap_or(0);
                Ok((set, self.flag_set(mask)?))
            }
        }
    }

    /// An ICMP type.
    pub(crate) fn icmp_kind(&mut self, arg: &Arg, v6: bool) -> Act<u8> {
        let keyword = if v6 { "icmp6-type" } else { "icmp-type" };
        let af = if v6 { Af::Inet6 } else { Af::Inet };
        match &arg.value {
            Value::Word(name) => match words::icmp_type(name, af) {
                Some(kind) => Ok(kind),
                None => {
                    let names = words::icmp_type_names(af);
                    self.unknown(arg.at, arg.span, format!("unknown {keyword} {name}"), name, names)
                }
            },
            Value::Number(number) => match u8::try_from(*number) {
                Ok(kind) => Ok(kind),
                Err(_) => self.fail(arg.at, arg.span, format!("illegal {keyword} {number}")),
            },
        }
    }

    /// An ICMP type with its code.
    pub(crate) fn icmp_item(&mut self, item: &IcmpItem, v6: bool) -> Act<Icmp> {
        let kind = self.icmp_kind(&item.kind, v6)?;
        let af = if v6 { Af::Inet6 } else { Af::Inet };
        let code = match &item.code {
            None => None,
            Some(arg) => match &arg.value {
                Value::Word(name) => match words::icmp_code(kind, name, af) {
                    Some(code) => Some(code),
                    None => {
                        let keyword = if v6 { "icmp6-code" } else { "icmp-code" };
                        let names = words::icmp_code_names(kind, af);
                        let text = format!("unknown {keyword} {name}");
                        return self.unknown(item.at, arg.span, text, name, names);
                    }
                },
                Value::Number(number) => match u8::try_from(*number) {
                    Ok(code) => Some(code),
                    Err(_) => return self.fail(item.at, arg.span, format!("illegal icmp-code {number}")),
                },
            },
        };
        Ok(Icmp { kind: Some(kind), code, proto: if v6 { 58 } else { 1 } })
    }

    /// `probability p` as the fraction of 32 bits that pf draws against.
    fn probability(&mut self, arg: &Arg, opt: &FilterOpt) -> Act<u32> {
        let fraction = self.probability_value(arg)?;
        let scaled = (fraction * f64::from(u32::MAX) + 0.5).floor();
        if scaled < 0.0 || scaled > f64::from(u32::MAX) {
            let text = format!("invalid probability: {}%", format_g(fraction * 100.0));
            return self.fail(opt.at, opt.span, text);
        }
        Ok(truncate_u32(scaled).max(1))
    }

    /// A fraction, or a percentage.
    pub(crate) fn probability_value(&mut self, arg: &Arg) -> Act<f64> {
        match &arg.value {
            Value::Number(number) => Ok(number_as_f64(*number)),
            Value::Word(word) => {
                let (value, rest) = strtod(word);
                let (value, rest) = match rest.strip_prefix('%') {
                    Some(rest) => (value * 0.01, rest),
                    None => (value, rest),
                };
                if rest.is_empty() {
                    return Ok(value);
                }
                self.fail(arg.at, arg.span, format!("invalid probability: {word}"))
            }
        }
    }

    fn queue_names_opt(&mut self, names: &QueueNames, opt: &FilterOpt, f: &mut Filter) -> Act {
        let names = self.queue_names(names)?;
        self.once(opt, f.queue.is_some(), "queue cannot be redefined")?;
        f.queue = Some(names);
        Ok(())
    }

    /// Queues that are defined, other than roots.
    pub(crate) fn queue_names(&mut self, names: &QueueNames) -> Act<(String, Option<String>)> {
        for word in std::iter::once(&names.name).chain(&names.second) {
            if !self.globals.queues.has_child(&word.text) {
                return self.fail(names.at, word.span, format!("queue {} is not defined", word.text));
            }
        }
        Ok((names.name.text.to_string(), names.second.as_ref().map(|w| w.text.to_string())))
    }

    /// An item of `set (…)`.
    pub(crate) fn set_item(&mut self, item: &SetItem, f: &mut Filter) -> Act {
        match &item.kind {
            SetItemKind::Prio(first, second) => {
                let values = [*first, second.unwrap_or(*first)];
                let in_range = |n: Number| u8::try_from(n.value).ok().filter(|p| i64::from(*p) <= MAX_PRIO);
                let (Some(a), Some(b)) = (in_range(values[0]), in_range(values[1])) else {
                    return self.fail(item.at, item.span, format!("prio must be 0 - {MAX_PRIO}"));
                };
                if f.set_prio.is_some() {
                    return self.fail(item.at, item.span, "prio cannot be redefined");
                }
                f.set_prio = Some([a, b]);
            }
            SetItemKind::Queue(names) => {
                let names = self.queue_names(names)?;
                if f.queue.is_some() {
                    return self.fail(item.at, item.span, "queue cannot be redefined");
                }
                f.queue = Some(names);
            }
            SetItemKind::Tos(arg) => {
                let value = self.tos(arg)?;
                if f.set_tos.is_some() {
                    return self.fail(item.at, item.span, "tos cannot be respecified");
                }
                f.set_tos = Some(value);
            }
            SetItemKind::Delay(number) => {
                if f.set_delay.is_some_and(|d| d > 0) {
                    return self.fail(item.at, item.span, "delay cannot be respecified");
                }
                match u16::try_from(number.value) {
                    Ok(delay) => f.set_delay = Some(delay),
                    Err(_) => {
                        let text = format!("illegal delay value {} (0-65535)", number.value);
                        return self.fail(item.at, number.span, text);
                    }
                }
            }
        }
        Ok(())
    }

    /// An item of `scrub (…)`.
    pub(crate) fn scrub_opt(&mut self, item: &ScrubOpt, scrub: &mut Scrub) -> Act {
        let again = |name: &str| format!("{name} cannot be respecified");
        match &item.kind {
            ScrubOptKind::NoDf if scrub.no_df => self.fail(item.at, item.span, again("no-df")),
            ScrubOptKind::NoDf => {
                scrub.no_df = true;
                Ok(())
            }
            ScrubOptKind::RandomId if scrub.random_id => self.fail(item.at, item.span, again("random-id")),
            ScrubOptKind::RandomId => {
                scrub.random_id = true;
                Ok(())
            }
            ScrubOptKind::MinTtl(_) if scrub.min_ttl.is_some() => self.fail(item.at, item.span, again("min-ttl")),
            ScrubOptKind::MinTtl(number) => match u8::try_from(number.value) {
                Ok(ttl) => {
                    scrub.min_ttl = Some(ttl);
                    Ok(())
                }
                Err(_) => self.fail(item.at, number.span, format!("illegal min-ttl value {}", number.value)),
            },
            ScrubOptKind::MaxMss(_) if scrub.max_mss.is_some() => self.fail(item.at, item.span, again("max-mss")),
            ScrubOptKind::MaxMss(number) => match u16::try_from(number.value) {
                Ok(mss) => {
                    scrub.max_mss = Some(mss);
                    Ok(())
                }
                Err(_) => self.fail(item.at, number.span, format!("illegal max-mss value {}", number.value)),
            },
            ScrubOptKind::Reassemble(word) if !word.text.eq_ignore_ascii_case("tcp") => {
                let text = format!("scrub reassemble supports only tcp, not '{}'", word.text);
                self.fail(item.at, word.span, text)
            }
            ScrubOptKind::Reassemble(_) if scrub.reassemble_tcp => {
                self.fail(item.at, item.span, again("reassemble tcp"))
            }
            ScrubOptKind::Reassemble(_) => {
                scrub.reassemble_tcp = true;
                Ok(())
            }
        }
    }

    pub(crate) fn state_opts(&mut self, opts: &[StateOpt]) -> Act<Vec<StateOption>> {
        opts.iter().map(|opt| self.state_opt(opt)).collect()
    }

    /// A state option.
    pub(crate) fn state_opt(&mut self, opt: &StateOpt) -> Act<StateOption> {
        let mut number = |n: &Number| match positive(*n) {
            Some(value) => Ok(value),
            None => self.fail(opt.at, opt.span, "only positive values permitted"),
        };
        Ok(match &opt.kind {
            StateOptKind::Max(n) => StateOption::Max(number(n)?),
            StateOptKind::NoSync => StateOption::NoSync,
            StateOptKind::MaxSrcStates(n) => StateOption::MaxSrcStates(number(n)?),
            StateOptKind::MaxSrcConn(n) => StateOption::MaxSrcConn(number(n)?),
            StateOptKind::MaxSrcConnRate(n, s) => StateOption::MaxSrcConnRate(number(n)?, number(s)?),
            StateOptKind::MaxSrcNodes(n) => StateOption::MaxSrcNodes(number(n)?),
            StateOptKind::Overload(table, flush) => {
                if byte_len(&table.text) >= super::table::NAME_SIZE {
                    return self.fail(opt.at, table.span, format!("table name '{}' too long", table.text));
                }
                StateOption::Overload(table.text.to_string(), *flush)
            }
            StateOptKind::SourceTrack(reach) => StateOption::SourceTrack(*reach),
            StateOptKind::IfBound => StateOption::Lock { if_bound: true },
            StateOptKind::Floating => StateOption::Lock { if_bound: false },
            StateOptKind::Sloppy => StateOption::Sloppy,
            StateOptKind::Pflow => StateOption::Pflow,
            StateOptKind::Timeout(name, n) => {
                let seconds = number(n)?;
                let Some(timeout) = Timeout::ALL.iter().find(|t| t.name() == &*name.text) else {
                    let names = Timeout::ALL.iter().map(|t| t.name());
                    let text = format!("illegal timeout name {}", name.text);
                    return self.unknown(opt.at, name.span, text, &name.text, names);
                };
                if !timeout.name().contains('.') {
                    return self.fail(opt.at, name.span, format!("illegal state timeout {}", name.text));
                }
                StateOption::Timeout(*timeout, seconds)
            }
        })
    }

    /// A code of `return-icmp`.
    pub(crate) fn return_code(&mut self, arg: &Arg, v6: bool) -> Act<u16> {
        let (af, kind) = if v6 { (Af::Inet6, 1u8) } else { (Af::Inet, 3u8) };
        let code = match &arg.value {
            Value::Number(number) => match u8::try_from(*number) {
                Ok(code) => code,
                Err(_) => return self.fail(arg.at, arg.span, format!("invalid icmp code {number}")),
            },
            Value::Word(word) => {
                let number = atoul(word).or_else(|| words::icmp_code(kind, word, af).map(u64::from));
                match number.map(u8::try_from) {
                    Some(Ok(code)) => code,
                    Some(Err(_)) => {
                        let text = format!("invalid icmp code {}", number.unwrap_or(0));
                        return self.fail(arg.at, arg.span, text);
                    }
                    None => {
                        let names = words::icmp_code_names(kind, af);
                        return self.unknown(arg.at, arg.span, format!("unknown icmp code {word}"), word, names);
                    }
                }
            }
        };
        Ok(u16::from_be_bytes([kind, code]))
    }
}

/// A later list stands before an earlier one.
fn prepend<T>(list: &mut Vec<T>, mut first: Vec<T>) {
    first.append(list);
    *list = first;
}

/// C's conversion of a double in range to an unsigned number; what is no number becomes 0.
pub(crate) fn truncate_u32(value: f64) -> u32 {
    if value.is_nan() || value < 0.0 {
        return 0;
    }
    format!("{:.0}", value.trunc()).parse().unwrap_or(u32::MAX)
}

fn number_as_f64(number: i64) -> f64 {
    number.to_string().parse().unwrap_or(0.0)
}

/// What a partial statement needs of a pool.
pub(crate) type PoolState = PoolOpts;
