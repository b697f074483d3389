//! Log records: what each rule that logs has to say about a packet.
//!
//! Source: `pf.c pf_match_rule`, `pf_test_rule`, `pf_test`, `pf_log_matches`, `if_pflog.c pflog_packet`.
//!
//! A packet that makes a state is recorded while the rules are evaluated: by every `match log` rule it hits, by the rule
//! that decides, and once more by each of these for every `log (matches)` rule hit before. A packet of a state is recorded
//! at the end, for `log (all)`; so is one that is dropped whatever the rules say (malformed, options).
//!
//! **Invariant:** one packet makes no more than [`MOST`] records; those beyond are counted in `Engine::log_lost`.

use crate::engine::Engine;
use crate::engine::cx::Cx;
use crate::engine::order::Seen;
use crate::engine::rules::RuleBook;
use crate::engine::test_rule::MAX_HITS;
use crate::exec::Site;
use crate::host::Host;
use crate::packet::{DropReason, Packet, PacketDesc};
use crate::rule::{Action, Addr, Af, Direction, LogFlags};
use crate::state::record::{NONE, StateExt};

/// Most records one packet makes.
pub const MOST: u8 = 128;

/// One record (`struct pfloghdr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// The log interface: `pflog0`, `pflog1`, …
    pub to: u8,
    /// The rule that speaks, a place in the book.
    pub rule: u32,
    /// Its number in its ruleset, `u32::MAX` for the rule that applies when none does and for one no longer in force.
    pub nr: u32,
    /// Where it stands; `None` for the rule that applies when none does.
    pub site: Option<Site>,
    /// The anchor rule it was called by, a place in the book.
    pub anchor: Option<u32>,
    /// That one's number.
    pub anchor_nr: Option<u32>,
    /// What the rule does. As in pf, a `pass` rule says so even where the packet is dropped in the end; `reason` tells.
    pub action: Action,
    /// Why.
    pub reason: DropReason,
    /// Direction.
    pub dir: Direction,
    /// Interface the packet is seen on.
    pub iface: u16,
    /// Family the packet came in.
    pub af: Af,
    /// Family it goes on in: that of `src` and `dst`.
    pub naf: Af,
    /// Source, as translated so far.
    pub src: (Addr, u16),
    /// Destination, likewise.
    pub dst: (Addr, u16),
    /// `log (user)`: the owner of the local socket is wanted.
    pub user: bool,
    /// User and group of the packet's socket, as far as known.
    pub owner: Option<(u32, u32)>,
}

/// Whose record: the rule, the anchor rule it was called by, the log(matches) rule that asks for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaks {
    pub rule: u32,
    pub anchor: Option<u32>,
    pub because: Option<u32>,
}

fn number(book: &RuleBook, place: u32) -> u32 {
    book.get(place).filter(|e| e.live && e.site.is_some()).map_or(u32::MAX, |e| e.rule.nr)
}

/// What a record says of the packet.
#[derive(Clone, Copy, Debug)]
struct About {
    dir: Direction,
    iface: u16,
    af: Af,
    naf: Af,
    src: (Addr, u16),
    dst: (Addr, u16),
    owner: Option<(u32, u32)>,
}

impl From<&PacketDesc> for About {
    fn from(pd: &PacketDesc) -> Self {
        let (src, dst) = ((pd.nsaddr, pd.nsport), (pd.ndaddr, pd.ndport));
        Self { dir: pd.dir, iface: pd.iface, af: pd.af, naf: pd.naf, src, dst, owner: pd.uid.zip(pd.gid) }
    }
}

impl From<Seen> for About {
    fn from(seen: Seen) -> Self {
        let none = (Addr::default(), 0);
        Self { dir: seen.dir, iface: seen.iface, af: seen.af, naf: seen.af, src: none, dst: none, owner: None }
    }
}

/// The record of one rule about one packet.
fn record(book: &RuleBook, about: About, who: Speaks, reason: DropReason) -> Option<LogRecord> {
    let rule = book.get(who.rule)?;
    let trigger = who.because.and_then(|t| book.get(t)).unwrap_or(rule).rule;
    Some(LogRecord {
        to: trigger.log_if,
        rule: who.rule,
        nr: number(book, who.rule),
        site: rule.site,
        anchor: who.anchor,
        anchor_nr: who.anchor.map(|a| number(book, a)),
        action: rule.rule.action,
        reason,
        dir: about.dir,
        iface: about.iface,
        af: about.af,
        naf: about.naf,
        src: about.src,
        dst: about.dst,
        user: trigger.log.has(LogFlags::USER),
        owner: about.owner,
    })
}

/// Records of one packet while its rules are evaluated.
pub(super) struct Logger<'a, 'p> {
    /// The packet.
    pub pkt: &'a Packet<'p>,
    /// Its description.
    pub pd: &'a PacketDesc,
    /// Records so far.
    pub count: &'a mut u8,
    /// Records too many, ever.
    pub lost: &'a mut u64,
}

impl Logger<'_, '_> {
    /// Gives one record to the host.
    pub(super) fn log<H: Host>(&mut self, book: &RuleBook, who: Speaks, reason: DropReason, host: &mut H) {
        if *self.count >= MOST {
            *self.lost = self.lost.wrapping_add(1);
            return;
        }
        if let Some(r) = record(book, self.pd.into(), who, reason) {
            *self.count = self.count.saturating_add(1);
            host.log(&r, self.pkt);
        }
    }
}

impl Engine {
    /// Records what one rule says.
    pub(super) fn log<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, who: Speaks, reason: DropReason) {
        let mut logger = Logger { pkt: cx.pkt, pd: cx.pd, count: &mut cx.logs, lost: &mut self.log_lost };
        logger.log(&self.rules, who, reason, cx.host);
    }

    /// The records due when all is done: of a state's `log (all)`, and of what is recorded whatever the rules say.
    #[inline(never)]
    pub(super) fn log_last<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>) {
        if !cx.log_forced && cx.log == LogFlags(0) {
            return;
        }
        let (rule, anchor, reason) = (cx.rule, cx.anchor, cx.reason);
        if cx.log_forced || self.logs_all(rule) {
            self.log(cx, Speaks { rule, anchor, because: None }, reason);
        }
        let Some(ext) = cx.state.and_then(|s| self.table.get(s)).and_then(|s| self.table.ext(s)) else { return };
        let (hits, n) = self.matched_by(ext);
        // The last one hit speaks first, as in pf.
        for rule in hits.into_iter().take(n).rev() {
            if self.logs_all(rule) {
                self.log(cx, Speaks { rule, anchor, because: None }, reason);
            }
        }
    }

    /// The `match` rules of a state in the order they were hit, and how many.
    pub(super) fn matched_by(&self, ext: &StateExt) -> ([u32; MAX_HITS], usize) {
        let (mut hits, mut n, mut at) = ([NONE; MAX_HITS], 0_usize, ext.matches);
        for _ in 0..hits.len() {
            let Some(block) = self.table.matches.get(at) else { break };
            for r in block.rules.into_iter().filter(|r| *r != NONE) {
                if let Some(to) = hits.get_mut(n) {
                    *to = r;
                    n = n.saturating_add(1);
                }
            }
            at = block.next;
        }
        (hits, n)
    }

    /// The record of a packet that is dropped before it is looked at closely.
    pub(super) fn log_refused<H: Host>(&mut self, pkt: &Packet<'_>, seen: Seen, reason: DropReason, host: &mut H) {
        let who = Speaks { rule: self.rules.default_place(), anchor: None, because: None };
        if let Some(r) = record(&self.rules, seen.into(), who, reason) {
            host.log(&r, pkt);
        }
    }

    fn logs_all(&self, place: u32) -> bool {
        self.rules.get(place).is_some_and(|e| e.rule.log.has(LogFlags::ALL_PACKETS))
    }
}
