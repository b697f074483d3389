//! A packet without a state: the rules decide, translate, answer, and make a state.
//!
//! Source: `pf.c pf_test_rule`.

use crate::engine::Engine;
use crate::engine::counters::LimitCounter;
use crate::engine::create::{Actions, Making, held};
use crate::engine::cx::{Action, Cx};
use crate::engine::icmp::map_of;
use crate::engine::ifaces::{Ifaces, Tags};
use crate::engine::log::{Logger, Speaks};
use crate::engine::rules::RuleBook;
use crate::engine::tables::TableSet;
use crate::engine::track::segment_of;
use crate::engine::trail::{self, Trail};
use crate::exec::{self, Context, Forest, Grove, Question, Site, Step, Stop, UnitId};
use crate::host::Host;
use crate::isa::RouteTest;
use crate::nat::rewrite::{self, IcmpKey, Target};
use crate::nat::transaddr::Translation;
use crate::packet::tcp_flags::{ACK, FIN, RST, SYN};
use crate::packet::{DropReason, proto};
use crate::rule::{self, Af, Direction, Keep, LogFlags, Return, Rule, RuleFlags};
use crate::state::key::{Idx, KeySide};
use crate::state::other::IcmpMap;
use crate::state::record::NONE;
use crate::state::srcnode::SrcKind;
use crate::verify::{Body, Program};
use crate::wire::checksum;

/// Most match rules one packet may hit.
pub const MAX_HITS: usize = 64;

/// What evaluating the rules found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matched {
    /// The last rule that matched.
    pub rule: Option<Site>,
    /// The anchor rule it was called by.
    pub anchor: Option<Site>,
    /// Tag set by rules.
    pub tag: Option<u16>,
    /// The rule that translated last, and its program.
    pub translated: Option<(UnitId, Translation)>,
}

impl Matched {
    /// Nothing matched.
    pub(super) const NOTHING: Self = Self { rule: None, anchor: None, tag: None, translated: None };
}

impl Engine {
    /// Asks the rules.
    pub(super) fn test_rule<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>) -> Action {
        let map = if cx.pd.fragment { None } else { map_of(cx.pkt, cx.pd) };
        if let Some(m) = &map {
            let (s, d) = m.ports();
            (cx.pd.sport, cx.pd.nsport, cx.pd.dport, cx.pd.ndport) = (s, s, d, d);
        }
        let mut m = Matched::NOTHING;
        let evaluated = self.match_rules(cx, &mut m);
        self.count_logged(evaluated);
        cx.rule = m.rule.map_or_else(|| self.rules.default_place(), |r| self.rules.place(r));
        cx.anchor = m.anchor.map(|a| self.rules.place(a));
        if let Err(reason) = evaluated {
            if let Some(reason) = reason {
                self.counters.reason(reason);
            }
            return Action::Drop;
        }
        let Some(entry) = self.rules.get(cx.rule) else { return Action::Drop };
        if entry.bare && self.machine.hits().is_empty() && m.tag.is_none() && !cx.pd.badopts.any() {
            let verdict = if entry.rule.action == rule::Action::Block { Action::Drop } else { Action::Pass };
            self.counters.reason(DropReason::Match);
            return verdict;
        }
        let rule = entry.rule;
        // Places of match rules in the book, in order. Seldom there: what is not is not written.
        let mut room;
        let hits = match self.machine.hits() {
            [] => &[],
            some => {
                room = [NONE; MAX_HITS];
                room.iter_mut().zip(some).for_each(|(to, hit)| *to = self.rules.place(hit.site));
                room.get(..some.len()).unwrap_or_default()
            }
        };
        let mut actions = Actions { rtable: Some(cx.pd.rdomain), ..Actions::default() };
        for place in hits {
            if let Some(e) = self.rules.get(*place) {
                actions.add(&e.rule);
            }
        }
        actions.add(&rule);
        if let Some(site) = m.rule
            && !self.translate_by(cx, site, &rule, &mut m.translated)
        {
            self.counters.reason(DropReason::Translate);
            return Action::Drop;
        }
        self.counters.reason(DropReason::Match);
        self.log_rules(cx, &rule);
        if rule.action == rule::Action::Block {
            self.return_block(cx, &rule);
            return Action::Drop;
        }
        self.pass(cx, &rule, &actions, (&m, hits), map.as_ref())
    }

    /// Each `match` rule that logs counts the reason it logs (`pf_match_rule`); not one whose translation failed.
    fn count_logged(&mut self, evaluated: Result<(), Option<DropReason>>) {
        let Self { machine, rules, counters, .. } = self;
        let hits = match (evaluated, machine.hits()) {
            (Err(Some(DropReason::Translate)), [spoke @ .., _]) => spoke,
            (_, all) => all,
        };
        for hit in hits {
            if rules.get(rules.place(hit.site)).is_some_and(|e| e.rule.log != LogFlags(0)) {
                counters.reason(DropReason::Match);
            }
        }
    }

    /// A rule lets the packet pass: tag, options, limits, state, translation.
    #[inline(never)]
    fn pass<H: Host>(
        &mut self,
        cx: &mut Cx<'_, '_, H>,
        rule: &Rule,
        actions: &Actions,
        (m, hits): (&Matched, &[u32]),
        map: Option<&IcmpMap>,
    ) -> Action {
        if let Some(t) = m.tag {
            cx.pd.tag = t;
        }
        if cx.pd.badopts.any() && !rule.flags.has(RuleFlags::ALLOW_OPTS) {
            self.counters.reason(DropReason::IpOption);
            cx.log_forced = true;
            return Action::Drop;
        }
        if cx.pd.fragment || map.is_some_and(|m| m.foreign) || rule.keep == Keep::No {
            return Action::Pass;
        }
        let tracked = rule.flags.has(RuleFlags::SRC_TRACK) || rule.flags.has(RuleFlags::RULE_SRC_TRACK);
        if tracked {
            let (place, source, now) = (cx.rule, (cx.pd.af, cx.pd.src), cx.now);
            let mut id = *held(cx, SrcKind::Limit);
            let allowed = self.hold_node(&mut id, place, SrcKind::Limit, source, None, now);
            *held(cx, SrcKind::Limit) = id;
            if !allowed {
                self.counters.reason(DropReason::SrcLimit);
                return Action::Drop;
            }
        }
        if rule.max_states != 0 && self.rules.get(cx.rule).is_some_and(|e| e.states >= rule.max_states) {
            self.counters.limit(LimitCounter::States);
            self.counters.reason(DropReason::StateLimit);
            return Action::Drop;
        }
        let last = m.translated.map(|(unit, t)| Site { unit, rule: t.rule });
        let nat_rule = last.filter(|_| self.any_counts_states(cx.rule, hits)).map(|s| self.rules.place(s));
        let making = Making { rule: cx.rule, anchor: cx.anchor, nat_rule, actions, hits, tag: m.tag.unwrap_or(0) };
        match self.create_state(cx, &making) {
            Action::Pass => self.rewrite_first(cx, map),
            other => other,
        }
    }

    /// Whether a pool of any rule that matched counts states.
    fn any_counts_states(&self, rule: u32, hits: &[u32]) -> bool {
        let sites = hits.iter().chain([&rule]).filter_map(|place| self.rules.get(*place)?.site);
        sites.into_iter().any(|site| self.counts_states(site))
    }

    /// Whether a rule's pools count states.
    fn counts_states(&self, site: Site) -> bool {
        let Some(p) = self.program(site.unit) else { return false };
        let least = |id: Option<rule::PoolId>| {
            id.and_then(|id| p.pool(id)).is_some_and(|p| p.kind == rule::PoolKind::LeastStates)
        };
        p.rule(site.rule).is_some_and(|r| least(r.nat) || least(r.rdr))
    }

    /// Applies what a rule translates, if anything. `false`: no translation can be had.
    #[inline(never)]
    fn translate_by<H: Host>(
        &mut self,
        cx: &mut Cx<'_, '_, H>,
        site: Site,
        rule: &Rule,
        last: &mut Option<(UnitId, Translation)>,
    ) -> bool {
        if rule.flags.has(RuleFlags::AF_TO) {
            cx.pd.naf = rule.naf.unwrap_or(cx.pd.naf);
        }
        let tr = Translation::of(site.rule, rule);
        if tr.is_none() && cx.pd.af == cx.pd.naf {
            return true;
        }
        // What another program's pools have counted is not taken back.
        let mut before = last.filter(|(unit, _)| *unit == site.unit).map(|(_, t)| t);
        let done = self.translate(cx, site.unit, &tr, &mut before);
        if let Some(t) = before {
            *last = Some((site.unit, t));
        }
        done
    }

    /// Evaluates the rules, translating where a match rule asks for it. Not every packet they drop has a reason.
    fn match_rules<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, m: &mut Matched) -> Result<(), Option<DropReason>> {
        let result = if self.trail.on {
            // Straight code is longer: it must not run dry only because somebody watches.
            self.machine.reset(Body::Straight, u32::MAX);
            self.evaluate::<H, true>(cx, m)
        } else {
            self.machine.reset(self.body, self.fuel);
            self.evaluate::<H, false>(cx, m)
        };
        (m.rule, m.anchor) = self.machine.decided();
        m.tag = self.machine.tag().filter(|t| *t != 0);
        result
    }

    fn evaluate<H: Host, const FOLLOWED: bool>(
        &mut self,
        cx: &mut Cx<'_, '_, H>,
        m: &mut Matched,
    ) -> Result<(), Option<DropReason>> {
        // Each round answers a question of the program, of which there are no more than steps.
        for _ in 0..self.fuel {
            let Some(forest) = &self.forest else { return Ok(()) };
            let mut ctx = Ask::<H, FOLLOWED> {
                forest,
                trail: &mut self.trail,
                tables: &self.tables,
                rules: &mut self.rules,
                ifaces: &self.ifaces,
                tags: &self.tags,
                host: &mut *cx.host,
                now: cx.now,
                logger: Logger { pkt: cx.pkt, pd: cx.pd, count: &mut cx.logs, lost: &mut self.log_lost },
            };
            let step = exec::run(forest, cx.pd, &mut self.machine, &mut ctx);
            match step {
                Step::Done => return Ok(()),
                // pf counts no reason for anchors that lie too deep.
                Step::Drop(Stop::Depth) => return Err(None),
                Step::Drop(Stop::Hits | Stop::Fuel | Stop::Fault) => return Err(Some(DropReason::Memory)),
                Step::Suspend(question) => self.answer_question(cx, m, question)?,
            }
        }
        Err(Some(DropReason::Memory))
    }

    fn answer_question<H: Host>(
        &mut self,
        cx: &mut Cx<'_, '_, H>,
        m: &mut Matched,
        question: Question,
    ) -> Result<(), Option<DropReason>> {
        match question {
            Question::Translate(hit) => {
                let rule = self.rules.get(self.rules.place(hit.site)).map(|e| e.rule);
                let done = rule.is_some_and(|r| self.translate_by(cx, hit.site, &r, &mut m.translated));
                return if done { Ok(()) } else { Err(Some(DropReason::Translate)) };
            }
            Question::Route(test) => {
                let addr = if test == RouteTest::NoRouteDst { cx.pd.ndaddr } else { cx.pd.nsaddr };
                // An address of one link is of the link it is seen on: nobody's routes are asked (`pf_routable`).
                let unrouted = !on_link(cx.pd.af, &addr) && {
                    let hop = cx.host.route(cx.pd.af, &addr);
                    hop.is_none_or(|h| test == RouteTest::UrpfFailed && h.iface != cx.pd.iface)
                };
                self.machine.answer(unrouted);
            }
            Question::Label { .. } => self.machine.answer(false),
            Question::Os(os) => {
                let yes = self.looks_like(cx, os);
                self.machine.answer(yes);
            }
            Question::Socket => {
                // Forwarded packets have no socket; others were given what the host knows.
                cx.pd.uid = cx.pd.uid.or(Some(u32::MAX));
                cx.pd.gid = cx.pd.gid.or(Some(u32::MAX));
            }
        }
        Ok(())
    }

    /// Rewrites the packet that made a state.
    #[inline(never)]
    fn rewrite_first<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, map: Option<&IcmpMap>) -> Action {
        let Some(slot) = cx.state else { return Action::Drop };
        let Some(state) = self.table.get(slot).filter(|s| s.translated()) else { return Action::Pass };
        let modulated = cx.pd.proto == proto::TCP && state.src().seqdiff != 0;
        let side = match cx.pd.dir {
            Direction::In => KeySide::Stack,
            Direction::Out => KeySide::Wire,
        };
        let Some(key) = self.table.key(slot, side) else { return Action::Drop };
        let changes = cx.pd.af != cx.pd.naf;
        let source = if changes { Idx::dest(cx.pd.dir) } else { Idx::source(cx.pd.dir) };
        let ((src, sport), (dst, dport)) = (key.end(source), key.end(source.other()));
        let to = Target { src, dst, sport, dport };
        let icmp = map.map(|m| IcmpKey { kind: m.kind, query: m.dir == Direction::In });
        match rewrite::first(cx.pkt, cx.meta, cx.pd, &to, icmp) {
            Ok(done) => {
                cx.redirected |= done.destination;
                // Where nothing at all was rewritten pf sends the packet on as it is.
                if changes && (done.rewritten || modulated) { Action::AfTo } else { Action::Pass }
            }
            Err(_) => self.refuse(cx, DropReason::Memory),
        }
    }

    /// The log records due when a rule decides: for itself, and for each log(matches) rule before it.
    #[inline(never)]
    fn log_rules<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, rule: &Rule) {
        let (place, anchor) = (cx.rule, cx.anchor);
        if rule.log != LogFlags(0) {
            self.log(cx, Speaks { rule: place, anchor, because: None }, DropReason::Match);
        }
        if self.machine.logging() && !rule.log.has(LogFlags::MATCHES) {
            let hits = self.machine.hits();
            let mut logger = Logger { pkt: cx.pkt, pd: cx.pd, count: &mut cx.logs, lost: &mut self.log_lost };
            for hit in hits.iter().rev().filter(|h| h.matches) {
                let who = Speaks { rule: place, anchor, because: Some(self.rules.place(hit.site)) };
                logger.log(&self.rules, who, DropReason::Match, cx.host);
            }
        }
    }

    /// `block return`: a reset or an ICMP error.
    #[inline(never)]
    fn return_block<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, rule: &Rule) {
        if cx.pd.fragment || rule.returns == Return::Drop {
            return;
        }
        let resets = matches!(rule.returns, Return::Rst { .. } | Return::Any { .. });
        if let Some(tcp) = cx.pd.tcp().copied()
            && resets
            && tcp.flags & RST == 0
        {
            if !self.tcp_sum_right(cx) {
                self.counters.reason(DropReason::ProtoCksum);
                return;
            }
            let seg = segment_of(cx.pkt, cx.pd);
            let mut ack = seg.seq.wrapping_add(seg.len);
            for flag in [SYN, FIN] {
                if seg.has(flag) {
                    ack = ack.wrapping_add(1);
                }
            }
            let ttl = if let Return::Rst { ttl } = rule.returns { ttl } else { 0 };
            let out = self.answer(cx.pd, seg.ack, ack, RST | ACK, ttl);
            self.send_tcp(cx.host, cx.pd.af, &out);
            return;
        }
        let (Return::Any { icmp, icmp6 } | Return::Icmp { icmp, icmp6 }) = rule.returns else { return };
        let kind = cx.pd.icmp().map(|i| i.kind);
        let (error, asked) = match cx.pd.af {
            Af::Inet => (icmp, cx.pd.proto != proto::ICMP || kind.is_some_and(is_info4)),
            Af::Inet6 => (icmp6, cx.pd.proto != proto::ICMPV6 || kind.is_some_and(|k| k >= 128 && k != 137)),
        };
        if asked && error != 0 {
            let [kind, code] = error.to_be_bytes();
            self.send_icmp(cx, kind, code, 0);
        }
    }

    /// Whether a segment's checksum is right, as far as the host has not said so already.
    fn tcp_sum_right<H: Host>(&self, cx: &Cx<'_, '_, H>) -> bool {
        use crate::packet::Checksum;
        match cx.meta.l4 {
            Checksum::Validated | Checksum::Partial | Checksum::Absent => true,
            Checksum::Bad => false,
            Checksum::Complete => {
                let pd = &cx.pd;
                let off = usize::try_from(pd.off).unwrap_or(usize::MAX);
                let len = usize::try_from(pd.tot_len.saturating_sub(pd.off)).unwrap_or(usize::MAX);
                checksum::verify_l4(cx.pkt, pd.af, &pd.src, &pd.dst, proto::TCP, off, len)
            }
        }
    }
}

/// What the interpreter asks, answered from the engine.
struct Ask<'a, 'p, H, const FOLLOWED: bool> {
    forest: &'a Grove<Program>,
    trail: &'a mut Trail,
    tables: &'a TableSet,
    rules: &'a mut RuleBook,
    ifaces: &'a Ifaces,
    tags: &'a Tags,
    host: &'a mut H,
    now: u32,
    logger: Logger<'a, 'p>,
}

impl<H: Host, const FOLLOWED: bool> Context for Ask<'_, '_, H, FOLLOWED> {
    const TRACE: bool = FOLLOWED;

    fn trace(&mut self, unit: UnitId, body: Body, pc: u32) {
        if let Some((site, how)) = trail::met_by(self.forest.program(unit), unit, body, pc) {
            self.trail.note(self.rules.place(site), how);
        }
    }

    fn in_table(&mut self, unit: UnitId, table: rule::TableId, af: Af, addr: &rule::Addr) -> bool {
        self.tables.slot(unit, table).is_some_and(|s| self.tables.all.holds(s, af, addr))
    }

    fn is_iface(&mut self, unit: UnitId, name: rule::IfaceId, live: u16) -> bool {
        self.ifaces.is(unit, name, live)
    }

    fn tag(&mut self, unit: UnitId, tag: rule::TagId) -> u16 {
        self.tags.live(unit, tag)
    }

    fn random(&mut self) -> u32 {
        self.host.random_u32()
    }

    fn under_rate(&mut self, rule: Site) -> bool {
        let place = self.rules.place(rule);
        let Some(e) = self.rules.get_mut(place) else { return true };
        e.rate.add(self.now);
        !e.rate.exceeded()
    }

    fn is_live(&mut self, rule: Site) -> bool {
        self.rules.get(self.rules.place(rule)).is_some_and(|e| !e.spent)
    }

    fn use_up(&mut self, rule: Site) -> bool {
        let place = self.rules.place(rule);
        self.rules.get_mut(place).is_some_and(|e| !core::mem::replace(&mut e.spent, true))
    }

    fn evaluated(&mut self, rule: Site) {
        let place = self.rules.place(rule);
        if let Some(e) = self.rules.get_mut(place) {
            e.evaluations = e.evaluations.wrapping_add(1);
        }
    }

    fn log(&mut self, hit: exec::Hit, because: Option<Site>) {
        let place = |s: Site| self.rules.place(s);
        let who = Speaks { rule: place(hit.site), anchor: hit.call.map(place), because: because.map(place) };
        self.logger.log(self.rules, who, DropReason::Match, self.host);
    }
}

/// Whether an address is of one link or one interface only (`IN6_IS_SCOPE_EMBED`).
const fn on_link(af: Af, addr: &rule::Addr) -> bool {
    let [a, b, ..] = addr.0;
    matches!(af, Af::Inet6) && (a == 0xfe && b & 0xc0 == 0x80 || a == 0xff && matches!(b & 0x0f, 1 | 2))
}

/// ICMP queries and answers (`ICMP_INFOTYPE`).
const fn is_info4(kind: u8) -> bool {
    matches!(kind, 0 | 8 | 9 | 10 | 13..=18)
}
