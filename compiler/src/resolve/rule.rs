//! `pass`, `block`, `match`, `anchor` and `antispoof`: the actions of whole rules.
//!
//! Source: `parse.y`, productions `pfrule`, `anchorrule`, `antispoof`, `action`, `logopt`; `filteropts_to_rule`,
//! `expand_divertspec`.

use pfvm::rule::{Af, Direction, Keep, LogFlags, Return, RouteKind, RuleFlags, Timeout};

use super::anchor::{AnchorRef, Misplaced};
use super::filter::{DivertSpec, Filter, StateOption};
use super::host::{self, Host, Kind};
use super::host_item::Iface;
use super::number::strtonum;
use super::{Act, Resolver, Stop};
use crate::ast::{self, ActionKind, At, BlockSpec, Flush, Log, LogOpt, LogOptKind, SourceTrack, Span, Stmt};
use crate::expand::{Draft, Lists, Pools, TCP};
use crate::ruleset::{Action, Antispoofed, Divert, DynMods, Named};
use crate::source::text::byte_len;

/// Room for a label or tag, with its terminating zero.
const NAME_SIZE: usize = 64;
/// Default codes of `return`: ICMP port unreachable, ICMPv6 port unreachable.
const UNREACHABLE: (u16, u16) = (0x0303, 0x0104);
/// Largest rate pf can count.
const THRESHOLD_MAX: u32 = u32::MAX / 1000;

/// `log` with its options.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogWord {
    pub flags: LogFlags,
    pub iface: u8,
}

/// Hosts (`None` is any) and ports of one side.
type End = (Option<Vec<Host>>, Vec<super::Cmp<u16>>);

/// Addresses of a rule, looked up.
pub(crate) struct Ends {
    src: Option<Vec<Host>>,
    dst: Option<Vec<Host>>,
    src_ports: Vec<super::Cmp<u16>>,
    dst_ports: Vec<super::Cmp<u16>>,
    os: Vec<String>,
}

/// The head of an anchor rule, acted upon before its block is read.
pub(crate) struct AnchorHead {
    name: Option<String>,
    dir: Option<Direction>,
    quick: bool,
    ifaces: Vec<Iface>,
    af: Option<Af>,
    protos: Vec<u8>,
    ends: Ends,
    filter: Filter,
    span: Span,
}

impl Resolver<'_> {
    /// `pass`, `block …`, `match`: verdict and answer.
    pub(crate) fn action(&mut self, action: &ast::Action) -> Act<(Action, Return)> {
        let (icmp, icmp6) = UNREACHABLE;
        let returns = match &action.kind {
            ActionKind::Pass => return Ok((Action::Pass, Return::Drop)),
            ActionKind::Match => return Ok((Action::Match, Return::Drop)),
            ActionKind::Block(spec) => match spec {
                BlockSpec::Policy if !self.block_returns => Return::Drop,
                BlockSpec::Policy | BlockSpec::Return => Return::Any { icmp, icmp6 },
                BlockSpec::Drop => Return::Drop,
                BlockSpec::ReturnRst(None) => Return::Rst { ttl: 0 },
                BlockSpec::ReturnRst(Some(number)) => match u8::try_from(number.value) {
                    Ok(ttl) => Return::Rst { ttl },
                    Err(_) => {
                        let text = format!("illegal ttl value {}", number.value);
                        return self.fail(action.at, number.span, text);
                    }
                },
                BlockSpec::ReturnIcmp(None, _) | BlockSpec::ReturnIcmp6(None) => Return::Icmp { icmp, icmp6 },
                BlockSpec::ReturnIcmp(Some(code), None) => {
                    Return::Icmp { icmp: self.return_code(code, false)?, icmp6: icmp }
                }
                BlockSpec::ReturnIcmp(Some(code), Some(code6)) => {
                    Return::Icmp { icmp: self.return_code(code, false)?, icmp6: self.return_code(code6, true)? }
                }
                BlockSpec::ReturnIcmp6(Some(code6)) => Return::Icmp { icmp, icmp6: self.return_code(code6, true)? },
            },
        };
        Ok((Action::Block, returns))
    }

    /// An item of `log (…)`.
    pub(crate) fn log_opt(&mut self, opt: &LogOpt) -> Act<LogWord> {
        let flags = match &opt.kind {
            LogOptKind::All => LogFlags::ALL_PACKETS,
            LogOptKind::Matches => LogFlags::MATCHES,
            LogOptKind::User => LogFlags::USER,
            LogOptKind::To(word) => {
                let Some(number) = word.text.strip_prefix("pflog") else {
                    let text = format!("{}: should be a pflog interface", word.text);
                    return self.fail(opt.at, word.span, text);
                };
                return match strtonum(number, 0, 255) {
                    Ok(number) => Ok(LogWord { iface: u8::try_from(number).unwrap_or(0), ..LogWord::default() }),
                    Err(what) => self.fail(opt.at, word.span, format!("{}: {what}", word.text)),
                };
            }
        };
        Ok(LogWord { flags, iface: 0 })
    }

    fn log(&mut self, log: Option<&Log>) -> Act<LogWord> {
        let Some(log) = log else { return Ok(LogWord::default()) };
        let mut word = LogWord { flags: LogFlags::LOG, iface: 0 };
        for opt in &log.opts {
            let next = self.log_opt(opt)?;
            word.flags |= next.flags;
            if next.iface != 0 {
                word.iface = next.iface;
            }
        }
        Ok(word)
    }

    fn protos(&mut self, protos: &[ast::Arg]) -> Act<Vec<u8>> {
        protos.iter().map(|arg| self.proto(arg)).collect()
    }

    fn peer(&mut self, peer: &ast::Peer) -> Act<End> {
        let hosts = match &peer.hosts {
            Some(items) => self.hosts(items)?,
            None => None,
        };
        let ports = peer.ports.iter().map(|item| self.port_item(item)).collect::<Act<Vec<_>>>()?;
        Ok((hosts, ports))
    }

    /// `to …`: its hosts and ports, which must not ask for a failed reverse path.
    pub(crate) fn to(&mut self, peer: &ast::Peer, at: At) -> Act<End> {
        let found = self.peer(peer)?;
        if found.0.iter().flatten().any(|h| h.wrap.kind == Kind::UrpfFailed) {
            return self.fail(at, peer.span, "\"urpf-failed\" is not permitted in a destination address");
        }
        Ok(found)
    }

    fn ends(&mut self, hosts: &ast::FromTo) -> Act<Ends> {
        let (src, src_ports) = match &hosts.from {
            Some(peer) => self.peer(peer)?,
            None => (None, Vec::new()),
        };
        let os = hosts.os.iter().map(|word| word.text.to_string()).collect();
        let (dst, dst_ports) = match &hosts.to {
            Some((peer, at)) => self.to(peer, *at)?,
            None => (None, Vec::new()),
        };
        Ok(Ends { src, dst, src_ports, dst_ports, os })
    }

    /// A filter rule.
    pub(crate) fn filter_rule(&mut self, rule: &ast::Rule, at: At, span: Span) -> Act {
        let (action, returns) = self.action(&rule.action)?;
        let log = self.log(rule.log.as_ref())?;
        let ifaces = self.ifaces(&rule.on)?;
        let protos = self.protos(&rule.proto)?;
        let ends = self.ends(&rule.hosts)?;
        let filter = self.filter_opts(&rule.opts)?;

        let mut draft = Draft::new(action, at, span);
        draft.rule.returns = returns;
        draft.rule.direction = rule.dir.map(|d| d.value);
        draft.rule.log = log.flags;
        draft.rule.log_if = log.iface;
        if rule.quick.is_some() {
            draft.rule.flags |= RuleFlags::QUICK;
        }
        draft.rule.af = rule.af.map(|a| a.value);
        self.settle_options(&mut draft, &filter)?;
        self.only_tcp(&draft, &filter, &protos, &ends, "apply")?;
        self.settle_state(&mut draft, &filter)?;
        draft.rule.af = decide_family(draft.rule.af, ends.src.as_deref());
        draft.rule.af = decide_family(draft.rule.af, ends.dst.as_deref());
        if let Some(kind) = filter.route_kind {
            if kind != RouteKind::DupTo && draft.rule.direction.is_none() {
                let text = "direction must be explicit with rules that specify routing";
                return self.fail(at, span, text);
            }
            draft.route_kind = Some(kind);
        }
        self.settle_divert(&mut draft, &filter.divert)?;
        let pools =
            Pools { nat: Some(filter.nat.clone()), rdr: Some(filter.rdr.clone()), route: Some(filter.route.clone()) };
        self.expand(&mut draft, lists(ifaces, protos, ends, filter), &pools)
    }

    /// `flags` and `os` are for TCP.
    fn only_tcp(&mut self, draft: &Draft, filter: &Filter, protos: &[u8], ends: &Ends, verb: &str) -> Act {
        let flags = filter.flags.is_some_and(|f| f != (0, 0));
        if protos.is_empty() || protos.contains(&TCP) || (!flags && ends.os.is_empty()) {
            return Ok(());
        }
        if flags {
            self.error(draft.at, draft.span, "flags only apply to tcp");
        }
        if !ends.os.is_empty() {
            self.error(draft.at, draft.span, format!("OS fingerprinting only {verb} to tcp"));
        }
        Err(Stop::Line(draft.at))
    }

    /// What the options say, apart from state, pools and lists.
    fn settle_options(&mut self, draft: &mut Draft, f: &Filter) -> Act {
        let (at, span) = (draft.at, draft.span);
        if f.once {
            if draft.rule.action == Action::Match || draft.anchor.is_some() {
                return self.fail(at, span, "'once' only applies to pass/block rules");
            }
            draft.rule.flags |= RuleFlags::ONCE;
        }
        let rule = &mut draft.rule;
        rule.pkt_rate = f.pkt_rate.filter(|(limit, _)| *limit > 0);
        rule.probability = f.probability;
        rule.rtable = f.rtable;
        rule.tos = f.tos.unwrap_or(0);
        for (given, flag) in [
            (f.scrub.no_df, RuleFlags::NO_DF),
            (f.scrub.random_id, RuleFlags::RANDOM_ID),
            (f.scrub.reassemble_tcp, RuleFlags::REASSEMBLE_TCP),
            (f.set_delay.is_some(), RuleFlags::SET_DELAY),
            (f.set_tos.is_some(), RuleFlags::SET_TOS),
            (f.set_prio.is_some(), RuleFlags::SET_PRIO),
            (f.allow_opts, RuleFlags::ALLOW_OPTS),
        ] {
            if given {
                rule.flags |= flag;
            }
        }
        rule.min_ttl = f.scrub.min_ttl.unwrap_or(0);
        rule.max_mss = f.scrub.max_mss.unwrap_or(0);
        rule.tag.clone_from(&f.tag);
        rule.tagged = f.tagged.as_ref().map(|(not, name)| Named { not: *not, name: name.clone() });
        let tags = [f.tag.as_ref(), f.tagged.as_ref().map(|(_, name)| name)];
        if tags.into_iter().flatten().any(|tag| byte_len(tag) >= NAME_SIZE) {
            return self.fail(at, span, format!("tag too long, max {} chars", NAME_SIZE - 1));
        }
        self.settle_label(draft, f.label.as_deref())?;
        if f.af_to && draft.rule.direction != Some(Direction::In) {
            return self.fail(at, span, "af-to can only be used with direction in");
        }
        if f.af_to && f.route_kind.is_some() {
            return self.fail(at, span, "af-to cannot be used together with route-to, reply-to, dup-to");
        }
        draft.af_to = f.af_to;
        let rule = &mut draft.rule;
        rule.set_delay = f.set_delay;
        rule.set_tos = f.set_tos;
        rule.set_prio = f.set_prio;
        rule.prio = f.prio;
        rule.queue.clone_from(&f.queue);
        rule.fragment = f.fragment;
        draft.flags = f.flags;
        if f.flags.is_some_and(|(set, mask)| set & mask != set) {
            return self.fail(at, span, "flags always false");
        }
        Ok(())
    }

    fn settle_label(&mut self, draft: &mut Draft, label: Option<&str>) -> Act {
        if label.is_some_and(|label| byte_len(label) >= NAME_SIZE) {
            let text = format!("rule label too long (max {} chars)", NAME_SIZE - 1);
            return self.fail(draft.at, draft.span, text);
        }
        draft.rule.label = label.map(str::to_owned);
        Ok(())
    }

    /// Which state a rule makes, with its options, and the default flags that go with it.
    fn settle_state(&mut self, draft: &mut Draft, f: &Filter) -> Act {
        let (at, span) = (draft.at, draft.span);
        let defaults = self.globals.state_defaults.clone();
        let (keep, options) = match &f.keep {
            Some((keep, options)) => (*keep, options.clone()),
            None if draft.rule.action == Action::Pass => (Keep::Keep, defaults.unwrap_or_default()),
            None => (Keep::No, Vec::new()),
        };
        draft.keep = keep;
        let mut seen = Seen::default();
        for option in &options {
            if let Err(text) = seen.take(draft, option) {
                return self.fail(at, span, text);
            }
        }
        let pass = draft.rule.action == Action::Pass;
        if pass && f.flags.is_none() && !f.fragment && keep != Keep::No {
            draft.flags = Some((0x02, 0x12));
        }
        let state = &mut draft.rule.state;
        if !seen.adaptive && state.max > 0 {
            set_timeout(state, Timeout::AdaptiveStart, (state.max / 10).wrapping_mul(6));
            set_timeout(state, Timeout::AdaptiveEnd, (state.max / 10).wrapping_mul(12));
        }
        if draft.rule.flags.has(RuleFlags::SRC_TRACK) {
            let global = seen.track == Some(SourceTrack::Global);
            for (given, name) in [
                (state.max_src_nodes > 0, "max-src-nodes"),
                (state.max_src_conn > 0, "max-src-conn"),
                (state.max_src_conn_rate.1 > 0, "max-src-conn-rate"),
            ] {
                if global && given {
                    let text = format!("'{name}' is incompatible with 'source-track global'");
                    return self.fail(at, span, text);
                }
            }
            if timeout(state, Timeout::SrcTrack) < state.max_src_conn_rate.1 {
                set_timeout(state, Timeout::SrcTrack, state.max_src_conn_rate.1);
            }
            if seen.track == Some(SourceTrack::Rule) {
                draft.rule.flags |= RuleFlags::RULE_SRC_TRACK;
            }
        }
        if keep != Keep::No && !seen.lock && self.globals.if_bound {
            draft.rule.flags |= RuleFlags::IF_BOUND;
        }
        Ok(())
    }

    fn settle_divert(&mut self, draft: &mut Draft, divert: &DivertSpec) -> Act {
        draft.rule.divert = match divert {
            DivertSpec::None => None,
            DivertSpec::Reply => {
                if draft.rule.direction == Some(Direction::In) {
                    return self.fail(draft.at, draft.span, "divert-reply used with incoming rule");
                }
                Some(Divert::Reply)
            }
            DivertSpec::Packet(port) => Some(Divert::Packet(*port)),
            DivertSpec::To(hosts, port) => {
                if draft.rule.direction == Some(Direction::Out) {
                    return self.fail(draft.at, draft.span, "divert-to used with outgoing rule");
                }
                let wanted = draft.rule.af;
                let Some(host) = hosts.iter().find(|h| wanted.is_none() || h.af == wanted) else {
                    return self.fail(draft.at, draft.span, "divert-to address family mismatch");
                };
                draft.rule.af = host.af;
                Some(Divert::To(host.ip(), *port))
            }
        };
        Ok(())
    }

    /// The checks of an anchor's name as written.
    pub(crate) fn anchor_name(&mut self, arg: &ast::Arg) -> Act<String> {
        let name = arg.value.text().into_owned();
        if name.is_empty() {
            return self.fail(arg.at, arg.span, "anchor name must not be empty");
        }
        let path = byte_len(self.anchors.path());
        if path.saturating_add(1).saturating_add(byte_len(&name)) >= super::anchor::PATH_SIZE {
            let text = format!("anchor name is longer than {}", super::anchor::PATH_SIZE - 1);
            return self.fail(arg.at, arg.span, text);
        }
        if name.starts_with('_') || name.contains("/_") {
            return self.fail(arg.at, arg.span, "anchor names beginning with '_' are reserved for internal use");
        }
        Ok(name)
    }

    /// The parts of an anchor rule, before its block.
    pub(crate) fn anchor_head(&mut self, rule: &ast::AnchorRule, span: Span) -> Act<AnchorHead> {
        let name = rule.name.as_ref().map(|arg| self.anchor_name(arg)).transpose()?;
        let ifaces = self.ifaces(&rule.on)?;
        let protos = self.protos(&rule.proto)?;
        let ends = self.ends(&rule.hosts)?;
        let filter = self.filter_opts(&rule.opts)?;
        Ok(AnchorHead {
            name,
            dir: rule.dir.map(|d| d.value),
            quick: rule.quick.is_some(),
            ifaces,
            af: rule.af.map(|a| a.value),
            protos,
            ends,
            filter,
            span,
        })
    }

    /// The anchor rule's own action, after its block if it has one.
    pub(crate) fn anchor_rule(&mut self, head: AnchorHead, at: At) -> Act {
        let mut draft = Draft::new(Action::Pass, at, head.span);
        draft.rule.flags |= RuleFlags::ANCHOR;
        draft.anchor = Some(self.anchor_target(&head, at)?);
        draft.rule.direction = head.dir;
        if head.quick {
            draft.rule.flags |= RuleFlags::QUICK;
        }
        draft.rule.af = head.af;
        self.only_tcp(&draft, &head.filter, &head.protos, &head.ends, "applies")?;
        self.settle_options(&mut draft, &head.filter)?;
        if head.filter.keep.as_ref().is_some_and(|(keep, _)| *keep != Keep::No) {
            return self.fail(at, head.span, "cannot specify state handling on anchors");
        }
        if head.filter.route_kind.is_some() {
            return self.fail(at, head.span, "cannot specify route handling on anchors");
        }
        draft.rule.af = decide_family(draft.rule.af, head.ends.src.as_deref());
        draft.rule.af = decide_family(draft.rule.af, head.ends.dst.as_deref());
        let lists = lists(head.ifaces, head.protos, head.ends, head.filter);
        self.expand(&mut draft, lists, &Pools::default())?;
        self.anchors.finish();
        Ok(())
    }

    fn anchor_target(&mut self, head: &AnchorHead, at: At) -> Act<AnchorRef> {
        let name = head.name.as_deref();
        if self.anchors.has_block() {
            if name.is_some_and(|n| n.contains('/')) {
                let text = "anchor paths containing '/' cannot be used for inline anchors.";
                return self.fail(at, head.span, text);
            }
            return match self.anchors.place(name) {
                Ok(node) => Ok(AnchorRef::Inline(node)),
                Err(Misplaced::Exists(name)) => {
                    self.fail(at, head.span, format!("inline anchor '{name}' already exists"))
                }
                Err(Misplaced::Impossible) => {
                    self.exit_at(head.span, "anchorrule: unable to create ruleset: Invalid argument")
                }
            };
        }
        let Some(name) = name else {
            return self.fail(at, head.span, "anchors without explicit rules must specify a name");
        };
        let last = match name.rfind('/') {
            Some(slash) => name.get(slash..).unwrap_or_default(),
            None => name,
        };
        if last == "/" {
            return self.fail(at, head.span, format!("anchorrule: bad anchor name {name}"));
        }
        if byte_len(last) >= super::anchor::NAME_SIZE {
            return self.exit_at(head.span, "anchorrule: strlcpy");
        }
        Ok(AnchorRef::Path(name.to_owned()))
    }

    /// `antispoof`.
    pub(crate) fn antispoof(&mut self, stmt: &ast::Antispoof, at: At, span: Span) -> Act {
        let log = self.log(stmt.log.as_ref())?;
        let mut ifaces = Vec::new();
        for item in &stmt.ifaces {
            let mut iface = self.iface(&item.item)?;
            iface.dynamic = item.dynamic;
            ifaces.push(iface);
        }
        let mut label: Option<String> = None;
        let mut rtable = None;
        for opt in &stmt.opts {
            self.antispoof_opt(opt, &mut label, &mut rtable)?;
        }
        for iface in ifaces {
            self.antispoofs.push(Antispoofed {
                iface: iface.name.clone(),
                dynamic: iface.dynamic,
                place: self.place(at, span),
            });
            let mut draft = Draft::new(Action::Block, at, span);
            draft.rule.direction = Some(Direction::In);
            draft.rule.log = log.flags;
            draft.rule.log_if = log.iface;
            if stmt.quick.is_some() {
                draft.rule.flags |= RuleFlags::QUICK;
            }
            draft.rule.af = stmt.af.map(|a| a.value);
            draft.rule.rtable = rtable;
            self.settle_label(&mut draft, label.as_deref())?;
            let network = DynMods { network: true, ..DynMods::default() };
            let nets = self.spoofable(&iface, network);
            if !nets.is_empty() {
                let not = Iface { name: iface.name.clone(), not: true, ..Iface::default() };
                let lists = Lists { ifaces: vec![not], src: nets, ..Lists::default() };
                self.expand(&mut draft.clone(), lists, &Pools::default())?;
            }
            if iface.loopback {
                continue;
            }
            let own = self.spoofable(&iface, DynMods::default());
            if !own.is_empty() {
                let lists = Lists { src: own, ..Lists::default() };
                self.expand(&mut draft, lists, &Pools::default())?;
            }
        }
        Ok(())
    }

    /// An option of `antispoof`.
    pub(crate) fn antispoof_opt(
        &mut self,
        opt: &ast::AntispoofOpt,
        label: &mut Option<String>,
        rtable: &mut Option<u8>,
    ) -> Act {
        match &opt.kind {
            ast::AntispoofOptKind::Label(word) => {
                if label.is_some() {
                    return self.fail(opt.at, opt.span, "label cannot be redefined");
                }
                *label = Some(word.text.to_string());
            }
            ast::AntispoofOptKind::Rtable(number) => *rtable = Some(self.rtable(*number, opt.at)?),
        }
        Ok(())
    }

    fn spoofable(&mut self, iface: &Iface, mods: DynMods) -> Vec<Host> {
        if iface.dynamic {
            return vec![Host::dynamic(&iface.name, mods)];
        }
        self.globals.interfaces_known = true;
        host::of_interface(&iface.name, mods, self.facts)
    }

    /// `load anchor`.
    pub(crate) fn load_anchor(&mut self, stmt: &ast::LoadAnchor, whole: &Stmt) -> Act {
        let name = stmt.name.as_ref().map(|arg| self.anchor_name(arg)).transpose()?;
        let Some(name) = name else { return self.fail(whole.at, whole.span, "anchor name is missing") };
        let anchor = if self.anchors.in_main() { name } else { format!("{}/{name}", self.anchors.path()) };
        let place = self.place(whole.at, whole.span);
        self.loads.push(crate::ruleset::AnchorLoad { anchor, file: stmt.file.text.to_string(), place });
        Ok(())
    }
}

/// State options met so far.
#[derive(Default)]
struct Seen {
    track: Option<SourceTrack>,
    lock: bool,
    adaptive: bool,
}

fn timeout(state: &crate::ruleset::StateOptions, which: Timeout) -> u32 {
    Timeout::ALL.iter().position(|t| *t == which).and_then(|i| state.timeouts.get(i)).copied().unwrap_or(0)
}

/// The name pfctl gives a timeout set twice: it takes pf's number for a place in its own list, which has another order.
fn misnamed(which: Timeout) -> &'static str {
    let number = crate::print::TIMEOUT_ORDER.iter().position(|t| *t == which);
    number.and_then(|n| Timeout::ALL.get(n)).map_or("", |t| t.name())
}

fn set_timeout(state: &mut crate::ruleset::StateOptions, which: Timeout, value: u32) {
    if let Some(slot) = Timeout::ALL.iter().position(|t| *t == which).and_then(|i| state.timeouts.get_mut(i)) {
        *slot = value;
    }
}

impl Seen {
    /// Takes one state option into the rule; the error is pfctl's message.
    fn take(&mut self, draft: &mut Draft, option: &StateOption) -> Result<(), String> {
        let twice = |name: &str| format!("state option '{name}' multiple definitions");
        let zero = |name: &str| format!("'{name}' must be > 0");
        let (flags, state) = (&mut draft.rule.flags, &mut draft.rule.state);
        match option {
            StateOption::Max(n) => {
                once(state.max > 0, || twice("max"))?;
                state.max = *n;
            }
            StateOption::NoSync => {
                once(flags.has(RuleFlags::NO_SYNC), || twice("sync"))?;
                *flags |= RuleFlags::NO_SYNC;
            }
            StateOption::SourceTrack(reach) => {
                once(self.track.is_some(), || twice("source-track"))?;
                self.track = Some(*reach);
                *flags |= RuleFlags::SRC_TRACK;
            }
            StateOption::MaxSrcStates(n) => {
                once(state.max_src_states > 0, || twice("max-src-states"))?;
                once(*n == 0, || zero("max-src-states"))?;
                state.max_src_states = *n;
                *flags |= RuleFlags::SRC_TRACK;
            }
            StateOption::Overload(table, flush) => {
                once(state.overload.is_some(), || "multiple 'overload' table definitions".into())?;
                state.overload = Some(table.clone()).filter(|t| !t.is_empty());
                if *flush != Flush::No {
                    *flags |= RuleFlags::FLUSH;
                }
                if *flush == Flush::Global {
                    *flags |= RuleFlags::FLUSH_GLOBAL;
                }
            }
            StateOption::MaxSrcConn(n) => {
                once(state.max_src_conn > 0, || twice("max-src-conn"))?;
                once(*n == 0, || zero("max-src-conn"))?;
                state.max_src_conn = *n;
                *flags |= RuleFlags::SRC_TRACK.with(RuleFlags::RULE_SRC_TRACK);
            }
            StateOption::MaxSrcConnRate(n, seconds) => {
                once(state.max_src_conn_rate.0 > 0, || twice("max-src-conn-rate"))?;
                once(*n == 0 || *seconds == 0, || "'max-src-conn-rate' values must be > 0".into())?;
                once(*n > THRESHOLD_MAX, || format!("'max-src-conn-rate' maximum rate must be < {THRESHOLD_MAX}"))?;
                state.max_src_conn_rate = (*n, *seconds);
                *flags |= RuleFlags::SRC_TRACK.with(RuleFlags::RULE_SRC_TRACK);
            }
            StateOption::MaxSrcNodes(n) => {
                once(state.max_src_nodes > 0, || twice("max-src-nodes"))?;
                once(*n == 0, || zero("max-src-nodes"))?;
                state.max_src_nodes = *n;
                *flags |= RuleFlags::SRC_TRACK.with(RuleFlags::RULE_SRC_TRACK);
            }
            StateOption::Lock { if_bound } => {
                once(self.lock, || "state locking option: multiple definitions".into())?;
                self.lock = true;
                if *if_bound {
                    *flags |= RuleFlags::IF_BOUND;
                }
            }
            StateOption::Sloppy => {
                once(flags.has(RuleFlags::SLOPPY), || "state sloppy option: multiple definitions".into())?;
                *flags |= RuleFlags::SLOPPY;
            }
            StateOption::Pflow => {
                once(flags.has(RuleFlags::PFLOW), || "state pflow option: multiple definitions".into())?;
                *flags |= RuleFlags::PFLOW;
            }
            StateOption::Timeout(which, seconds) => {
                self.adaptive |= matches!(which, Timeout::AdaptiveStart | Timeout::AdaptiveEnd);
                once(timeout(state, *which) > 0, || {
                    format!("state timeout {} multiple definitions", misnamed(*which))
                })?;
                set_timeout(state, *which, *seconds);
            }
        }
        Ok(())
    }
}

fn once(wrong: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if wrong { Err(text()) } else { Ok(()) }
}

/// A rule without a family takes that of its hosts, if they all have the same.
fn decide_family(af: Option<Af>, hosts: Option<&[Host]>) -> Option<Af> {
    let Some((first, rest)) = hosts.and_then(<[Host]>::split_first) else { return af };
    if af.is_some() {
        return af;
    }
    if rest.iter().all(|h| h.af == first.af) { first.af } else { None }
}

fn lists(ifaces: Vec<Iface>, protos: Vec<u8>, ends: Ends, filter: Filter) -> Lists {
    Lists {
        ifaces,
        protos,
        icmp: filter.icmp.unwrap_or_default(),
        src: ends.src.unwrap_or_default(),
        dst: ends.dst.unwrap_or_default(),
        src_ports: ends.src_ports,
        dst_ports: ends.dst_ports,
        os: ends.os.into_iter().map(Some).collect(),
        users: filter.users,
        groups: filter.groups,
        received_on: filter.received_on,
    }
}
