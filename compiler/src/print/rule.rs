//! One rule in pfctl's canonical form.
//!
//! Source: `pfctl_parser.c print_rule`, `print_fromto`, `print_pool`; `pf_print_state.c print_addr`.

use std::fmt::{self, Write};

use pfvm::rule::{Af, Direction, Keep, LogFlags, Return, RouteKind, RuleFlags, Timeout};

use super::listing::Mark;
use super::{address, network};
use crate::facts::{Facts, Transport, protocol_name};
use crate::resolve::words;
use crate::ruleset::{Action, AddrSpec, Divert, DynMods, Op, Pool, PoolKind, Rule};

/// Timeouts in the order pf numbers them (`PFTM_*`), which is the order a rule's are printed in.
pub(crate) const TIMEOUT_ORDER: [Timeout; 20] = [
    Timeout::TcpFirst,
    Timeout::TcpOpening,
    Timeout::TcpEstablished,
    Timeout::TcpClosing,
    Timeout::TcpFinWait,
    Timeout::TcpClosed,
    Timeout::UdpFirst,
    Timeout::UdpSingle,
    Timeout::UdpMultiple,
    Timeout::IcmpFirst,
    Timeout::IcmpError,
    Timeout::OtherFirst,
    Timeout::OtherSingle,
    Timeout::OtherMultiple,
    Timeout::Frag,
    Timeout::Interval,
    Timeout::AdaptiveStart,
    Timeout::AdaptiveEnd,
    Timeout::SrcTrack,
    Timeout::TcpTsDiff,
];

/// How rules are printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RuleOptions<'a> {
    /// `@n` before the rule, `:0` after tables and `:*` after dynamic interfaces: nothing is loaded that could count.
    pub numbers: bool,
    /// Service names for ports, where there is one.
    pub port_names: Option<&'a Facts>,
}

impl<'a> RuleOptions<'a> {
    /// As the command line asks for.
    #[must_use]
    pub fn new(options: &crate::resolve::Options, facts: &'a Facts) -> Self {
        RuleOptions { numbers: options.verbose > 1 || options.debug, port_names: options.port_names.then_some(facts) }
    }
}

/// Writes pieces of one line.
struct Line<'o> {
    out: String,
    options: RuleOptions<'o>,
    marks: Vec<(usize, Mark)>,
}

macro_rules! put {
    ($line:expr, $($arg:tt)*) => { { let _ = write!($line.out, $($arg)*); } };
}

/// A rule without a newline at its end.
#[must_use]
pub fn rule(rule: &Rule, options: &RuleOptions<'_>) -> String {
    line(rule, *options).out
}

/// A rule's plain text, and the places in it where a listing has more to say.
pub(crate) fn marked(rule: &Rule) -> (String, Vec<(usize, Mark)>) {
    let line = line(rule, RuleOptions::default());
    (line.out, line.marks)
}

fn line<'o>(rule: &Rule, options: RuleOptions<'o>) -> Line<'o> {
    let mut line = Line { out: String::with_capacity(120), options, marks: Vec::new() };
    if options.numbers {
        put!(line, "@{} ", rule.nr);
    }
    line.head(rule);
    line.matching(rule);
    line.settings(rule);
    line.state(rule);
    line.tail(rule);
    line.translation(rule);
    line
}

impl Line<'_> {
    /// Something may be said here.
    fn mark(&mut self, mark: Mark) {
        self.marks.push((self.out.len(), mark));
    }

    fn word(&mut self, given: bool, text: &str) {
        if given {
            self.out.push_str(text);
        }
    }

    fn head(&mut self, rule: &Rule) {
        match (&rule.anchor, rule.action) {
            (Some(call), _) => {
                let internal = call.name.rsplit('/').next().is_some_and(|last| last.starts_with('_'));
                if internal {
                    self.out.push_str("anchor");
                } else {
                    put!(self, "anchor \"{}\"", call.name);
                }
            }
            (None, Action::Pass) => self.out.push_str("pass"),
            (None, Action::Match) => self.out.push_str("match"),
            (None, Action::Block) => {
                self.out.push_str("block");
                self.answer(rule);
            }
        }
        match rule.direction {
            Some(Direction::In) => self.out.push_str(" in"),
            Some(Direction::Out) => self.out.push_str(" out"),
            None => {}
        }
        self.log(rule);
        self.word(rule.flags.has(RuleFlags::QUICK), " quick");
        if let Some(iface) = &rule.iface {
            put!(self, " on {}{}", if iface.not { "! " } else { "" }, iface.name);
        }
        if let Some((not, id)) = rule.rdomain {
            put!(self, " on {}rdomain {id}", if not { "! " } else { "" });
        }
        match rule.af {
            Some(Af::Inet) => self.out.push_str(" inet"),
            Some(Af::Inet6) => self.out.push_str(" inet6"),
            None => {}
        }
    }

    fn answer(&mut self, rule: &Rule) {
        match rule.returns {
            Return::Drop => self.out.push_str(" drop"),
            Return::Any { .. } => self.out.push_str(" return"),
            Return::Rst { ttl: 0 } => self.out.push_str(" return-rst"),
            Return::Rst { ttl } => put!(self, " return-rst(ttl {ttl})"),
            Return::Icmp { icmp, icmp6 } => {
                let v4 = code_name(icmp, Af::Inet);
                let v6 = code_name(icmp6, Af::Inet6);
                match rule.af {
                    Some(Af::Inet) => put!(self, " return-icmp({v4})"),
                    Some(Af::Inet6) => put!(self, " return-icmp6({v6})"),
                    None => put!(self, " return-icmp({v4}, {v6})"),
                }
            }
        }
    }

    fn log(&mut self, rule: &Rule) {
        if rule.log.0 == 0 && rule.log_if == 0 {
            return;
        }
        self.out.push_str(" log");
        let mut items = Items::new(", ");
        for (flag, name) in [(LogFlags::ALL_PACKETS, "all"), (LogFlags::MATCHES, "matches"), (LogFlags::USER, "user")] {
            items.put(rule.log.has(flag), format_args!("{name}"));
        }
        items.put(rule.log_if != 0, format_args!("to pflog{}", rule.log_if));
        if let Some(items) = items.text() {
            put!(self, " ({items})");
        }
    }

    fn matching(&mut self, rule: &Rule) {
        if let Some(proto) = rule.proto {
            match protocol_name(proto) {
                Some(name) => put!(self, " proto {name}"),
                None => put!(self, " proto {proto}"),
            }
        }
        self.ends(rule);
        if let Some(iface) = &rule.received_on {
            put!(self, " {}received-on {}", if iface.not { "!" } else { "" }, iface.name);
        }
        self.id("user", rule.uid);
        self.id("group", rule.gid);
        self.flags(rule);
        self.icmp(rule);
        if rule.tos != 0 {
            put!(self, " tos 0x{:02x}", rule.tos);
        }
        if let Some(prio) = rule.prio {
            put!(self, " prio {prio}");
        }
        if let Some((limit, seconds)) = rule.pkt_rate {
            put!(self, " max-pkt-rate {limit}/{seconds}");
        }
    }

    fn ends(&mut self, rule: &Rule) {
        let any = |end: &crate::ruleset::Endpoint| !end.not && end.port.is_none() && is_any(&end.addr);
        if any(&rule.src) && any(&rule.dst) && rule.os.is_none() {
            self.out.push_str(" all");
            return;
        }
        let transport = if rule.proto == Some(6) { Transport::Tcp } else { Transport::Udp };
        self.out.push_str(" from ");
        self.end(&rule.src, rule.af, transport);
        if let Some(os) = &rule.os {
            put!(self, " os \"{}\"", os.name);
        }
        self.out.push_str(" to ");
        self.end(&rule.dst, rule.af, transport);
    }

    fn end(&mut self, end: &crate::ruleset::Endpoint, af: Option<Af>, transport: Transport) {
        self.word(end.not, "! ");
        self.addr(&end.addr, af);
        let Some(port) = end.port else { return };
        let name =
            |p: u16| self.options.port_names.and_then(|facts| facts.service_name(p, transport)).map(str::to_owned);
        let (sign, p) = match port {
            Op::Eq(p) => ("=", p),
            Op::Ne(p) => ("!=", p),
            other => {
                put!(self, " port {}", operation(other));
                return;
            }
        };
        let text = name(p).unwrap_or_else(|| p.to_string());
        put!(self, " port {sign} ");
        self.mark(Mark::Port(transport));
        self.out.push_str(&text);
    }

    fn addr(&mut self, addr: &AddrSpec, af: Option<Af>) {
        let full = if af == Some(Af::Inet) { 32 } else { 128 };
        match addr {
            AddrSpec::Any => self.out.push_str("any"),
            AddrSpec::Net { addr, prefix } => self.out.push_str(&network(*addr, *prefix)),
            AddrSpec::Range { lo, hi } => put!(self, "{} - {}", address(*lo), address(*hi)),
            AddrSpec::Table(name) => {
                put!(self, "<{name}");
                self.mark(Mark::Table);
                self.out.push_str(if self.options.numbers { ":0>" } else { ">" });
            }
            AddrSpec::Dynamic { name, mods, prefix } => {
                put!(self, "({name}{}", mod_words(*mods));
                self.mark(Mark::Dynamic);
                self.out.push_str(if self.options.numbers { ":*)" } else { ")" });
                if let Some(prefix) = prefix.filter(|p| *p < full) {
                    put!(self, "/{prefix}");
                }
            }
            AddrSpec::NoRoute => self.out.push_str("no-route"),
            AddrSpec::UrpfFailed => self.out.push_str("urpf-failed"),
            AddrSpec::RouteLabel(name) => put!(self, "route \"{name}\""),
        }
    }

    fn id(&mut self, word: &str, op: Option<Op<u32>>) {
        let text = match op {
            None => return,
            Some(Op::Eq(u32::MAX)) => "= unknown".to_owned(),
            Some(Op::Ne(u32::MAX)) => "!= unknown".to_owned(),
            Some(other) => operation(other),
        };
        put!(self, " {word} {text}");
    }

    fn flags(&mut self, rule: &Rule) {
        if let Some(flags) = rule.tcp_flags.filter(|f| f.flags != 0 || f.set != 0) {
            put!(self, " flags {}/{}", flag_letters(flags.flags), flag_letters(flags.set));
            return;
        }
        let stateful = matches!(rule.action, Action::Pass | Action::Match)
            && rule.anchor.is_none()
            && rule.keep != Keep::No
            && matches!(rule.proto, None | Some(6))
            && !rule.fragment;
        self.word(stateful, " flags any");
    }

    fn icmp(&mut self, rule: &Rule) {
        let Some(kind) = rule.icmp_type else { return };
        let af = rule.af.unwrap_or(Af::Inet);
        self.out.push_str(if af == Af::Inet6 { " icmp6-type " } else { " icmp-type " });
        match words::icmp_type_name(kind, af) {
            Some(name) => self.out.push_str(name),
            None => put!(self, "{kind}"),
        }
        match rule.icmp_code.map(|code| (code, words::icmp_code_name(kind, code, af))) {
            Some((_, Some(name))) => put!(self, " code {name}"),
            Some((code, None)) => put!(self, " code {code}"),
            None => {}
        }
    }

    fn settings(&mut self, rule: &Rule) {
        let mut items = Items::new(", ");
        match rule.set_prio {
            Some([a, b]) if a == b => items.put(true, format_args!("prio {a}")),
            Some([a, b]) => items.put(true, format_args!("prio({a}, {b})")),
            None => {}
        }
        match &rule.queue {
            Some((name, Some(second))) => items.put(true, format_args!("queue({name}, {second})")),
            Some((name, None)) => items.put(true, format_args!("queue {name}")),
            None => {}
        }
        if let Some(tos) = rule.set_tos {
            items.put(true, format_args!("tos 0x{tos:02x}"));
        }
        if let Some(delay) = rule.set_delay {
            items.put(true, format_args!("delay {delay}"));
        }
        if let Some(items) = items.text() {
            put!(self, " set ({items})");
        }
    }

    fn state(&mut self, rule: &Rule) {
        let items = state_items(rule);
        match rule.keep {
            Keep::No => self.word(rule.action == Action::Pass && rule.anchor.is_none(), " no state"),
            Keep::Keep => self.word(items.is_some(), " keep state"),
            Keep::Modulate => self.out.push_str(" modulate state"),
            Keep::Synproxy => self.out.push_str(" synproxy state"),
        }
        if let Some(probability) = rule.probability {
            let percent = f64::from(probability) * 100.0 / 4_294_967_296.0;
            let text = format!("{percent:.6}");
            put!(self, " probability {}%", text.trim_end_matches('0').trim_end_matches('.'));
        }
        if let Some(items) = items {
            put!(self, " ({items})");
        }
    }

    fn tail(&mut self, rule: &Rule) {
        self.word(rule.fragment, " fragment");
        self.scrub(rule);
        self.word(rule.flags.has(RuleFlags::ALLOW_OPTS), " allow-opts");
        if let Some(label) = rule.label.as_ref().filter(|l| !l.is_empty()) {
            put!(self, " label \"{label}\"");
        }
        self.word(rule.flags.has(RuleFlags::ONCE), " once");
        if let Some(tag) = rule.tag.as_ref().filter(|t| !t.is_empty()) {
            put!(self, " tag {tag}");
        }
        if let Some(tagged) = rule.tagged.as_ref().filter(|t| !t.name.is_empty()) {
            put!(self, "{} tagged {}", if tagged.not { " !" } else { "" }, tagged.name);
        }
        if let Some(rtable) = rule.rtable {
            put!(self, " rtable {rtable}");
        }
        match rule.divert {
            None => {}
            Some(Divert::To(addr, port)) => put!(self, " divert-to {} port {port}", address(addr)),
            Some(Divert::Reply) => self.out.push_str(" divert-reply"),
            Some(Divert::Packet(port)) => put!(self, " divert-packet port {port}"),
        }
    }

    fn scrub(&mut self, rule: &Rule) {
        let mut items = Items::new(" ");
        items.put(rule.flags.has(RuleFlags::NO_DF), format_args!("no-df"));
        items.put(rule.flags.has(RuleFlags::RANDOM_ID), format_args!("random-id"));
        items.put(rule.min_ttl > 0, format_args!("min-ttl {}", rule.min_ttl));
        items.put(rule.flags.has(RuleFlags::REASSEMBLE_TCP), format_args!("reassemble tcp"));
        items.put(rule.max_mss > 0, format_args!("max-mss {}", rule.max_mss));
        if let Some(items) = items.text() {
            put!(self, " scrub ({items})");
        }
    }

    fn translation(&mut self, rule: &Rule) {
        let inner = rule.naf.or(rule.af);
        let af_to = rule.flags.has(RuleFlags::AF_TO);
        match (&rule.nat, &rule.rdr) {
            _ if rule.anchor.is_some() => {}
            (Some(nat), rdr) if af_to => {
                let target = if rule.naf == Some(Af::Inet) { "inet" } else { "inet6" };
                put!(self, " af-to {target} from ");
                self.pool(nat, inner, true);
                if let Some(rdr) = rdr {
                    self.out.push_str(" to ");
                    self.pool(rdr, inner, false);
                }
            }
            (Some(nat), _) => {
                self.out.push_str(" nat-to ");
                self.pool(nat, inner, true);
            }
            (None, Some(rdr)) => {
                self.out.push_str(" rdr-to ");
                self.pool(rdr, rule.af, false);
            }
            (None, None) => {}
        }
        if let Some((kind, pool)) = &rule.route {
            self.out.push_str(match kind {
                RouteKind::RouteTo => " route-to ",
                RouteKind::ReplyTo => " reply-to ",
                RouteKind::DupTo => " dup-to ",
            });
            self.pool(pool, rule.af, false);
        }
    }

    fn pool(&mut self, pool: &Pool, af: Option<Af>, nat: bool) {
        self.addr(&pool.addr, af);
        match pool.ports {
            Some((lo, hi)) if lo == hi => put!(self, " port {lo}"),
            Some((lo, hi)) => put!(self, " port {lo}:{hi}"),
            None => {}
        }
        match pool.kind {
            PoolKind::None => {}
            PoolKind::Bitmask => self.out.push_str(" bitmask"),
            PoolKind::Random => self.out.push_str(" random"),
            PoolKind::SourceHash(key) => {
                let [a, b, c, d] = key.unwrap_or_default();
                put!(self, " source-hash 0x{a:08x}{b:08x}{c:08x}{d:08x}");
            }
            PoolKind::RoundRobin => self.out.push_str(" round-robin"),
            PoolKind::LeastStates => self.out.push_str(" least-states"),
        }
        self.word(pool.sticky, " sticky-address");
        self.word(nat && pool.static_port, " static-port");
    }
}

fn is_any(addr: &AddrSpec) -> bool {
    match addr {
        AddrSpec::Any => true,
        AddrSpec::Net { addr, prefix } => *prefix == 0 && addr.is_unspecified(),
        _ => false,
    }
}

/// The modifiers of a dynamic interface.
pub(crate) fn mod_words(mods: DynMods) -> String {
    let mut out = String::new();
    for (given, word) in
        [(mods.network, ":network"), (mods.broadcast, ":broadcast"), (mods.peer, ":peer"), (mods.noalias, ":0")]
    {
        if given {
            out.push_str(word);
        }
    }
    out
}

fn code_name(word: u16, af: Af) -> String {
    let [kind, code] = word.to_be_bytes();
    words::icmp_code_name(kind, code, af).map_or_else(|| code.to_string(), str::to_owned)
}

fn flag_letters(bits: u8) -> String {
    words::TCP_FLAGS.chars().enumerate().filter(|(n, _)| bits & (1 << n) != 0).map(|(_, c)| c).collect()
}

fn operation<T: std::fmt::Display>(op: Op<T>) -> String {
    match op {
        Op::Eq(a) => format!("= {a}"),
        Op::Ne(a) => format!("!= {a}"),
        Op::Lt(a) => format!("< {a}"),
        Op::Le(a) => format!("<= {a}"),
        Op::Gt(a) => format!("> {a}"),
        Op::Ge(a) => format!(">= {a}"),
        Op::Range(a, b) => format!("{a}:{b}"),
        Op::Inside(a, b) => format!("{a} >< {b}"),
        Op::Outside(a, b) => format!("{a} <> {b}"),
    }
}

/// Words of one parenthesis.
struct Items {
    out: String,
    between: &'static str,
}

impl Items {
    const fn new(between: &'static str) -> Self {
        Self { out: String::new(), between }
    }

    /// One more, if it is given; only then it is put into words.
    fn put(&mut self, given: bool, text: fmt::Arguments<'_>) {
        if given {
            let between = if self.out.is_empty() { "" } else { self.between };
            let _ = write!(self.out, "{between}{text}");
        }
    }

    /// All of them, if there are any.
    fn text(self) -> Option<String> {
        (!self.out.is_empty()).then_some(self.out)
    }
}

/// What stands in the parentheses of the state words; `None` when there are none.
fn state_items(rule: &Rule) -> Option<String> {
    let state = &rule.state;
    let has = |flag: RuleFlags| rule.flags.has(flag);
    let mut items = Items::new(", ");
    items.put(state.max > 0, format_args!("max {}", state.max));
    items.put(has(RuleFlags::NO_SYNC), format_args!("no-sync"));
    let reach = if has(RuleFlags::RULE_SRC_TRACK) { "rule" } else { "global" };
    items.put(has(RuleFlags::SRC_TRACK), format_args!("source-track {reach}"));
    items.put(state.max_src_states > 0, format_args!("max-src-states {}", state.max_src_states));
    items.put(state.max_src_conn > 0, format_args!("max-src-conn {}", state.max_src_conn));
    let (rate, seconds) = state.max_src_conn_rate;
    items.put(rate > 0, format_args!("max-src-conn-rate {rate}/{seconds}"));
    items.put(state.max_src_nodes > 0, format_args!("max-src-nodes {}", state.max_src_nodes));
    if let Some(table) = &state.overload {
        let flush = if has(RuleFlags::FLUSH) { " flush" } else { "" };
        let global = if has(RuleFlags::FLUSH_GLOBAL) { " global" } else { "" };
        items.put(true, format_args!("overload <{table}>{flush}{global}"));
    }
    items.put(has(RuleFlags::IF_BOUND), format_args!("if-bound"));
    items.put(has(RuleFlags::SLOPPY), format_args!("sloppy"));
    items.put(has(RuleFlags::PFLOW), format_args!("pflow"));
    let timed = state.timeouts.iter().any(|t| *t > 0);
    for timeout in TIMEOUT_ORDER.into_iter().filter(|_| timed) {
        let at = Timeout::ALL.iter().position(|t| *t == timeout);
        let value = at.and_then(|i| state.timeouts.get(i)).copied().unwrap_or(0);
        items.put(value > 0, format_args!("{} {value}", timeout.name()));
    }
    items.text()
}
