//! What the machine a program is compiled for cannot do: said when compiling, never when parsing or printing.
//!
//! Holds the checks for Windows and for Linux, where `pfd` is the filter. A rule that would silently do nothing, or match
//! nothing, is refused; what merely means less there is warned of. Where pf itself is meant, nothing is said.
//! **Invariant:** a configuration is only looked at, never changed.

use crate::ast::{FileId, Span};
use crate::diag::{Code, Diagnostic, Severity, codes};
use crate::ruleset::{
    Action, AddrSpec, Config, Direction, Divert, Keep, LogFlags, Op, Place, Pool, Queue, Rule, RuleFlags, Ruleset,
};
use crate::source::Sources;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Where programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Anywhere pf's own meaning holds.
    #[default]
    Any,
    /// Linux, with `pfd` between its adapters and its network stack.
    Linux,
    /// Windows, below its network stack.
    Windows,
}

/// What a target says where the other says it in other words.
struct Words {
    owner: &'static str,
    log_user: &'static str,
    tables: &'static str,
    domains: &'static str,
    divert_to: &'static str,
    divert_reply: &'static str,
    divert_packet: &'static str,
    labels: &'static str,
    loopback: &'static str,
    loopback_help: &'static str,
    queues: &'static str,
}

const LINUX: Words = Words {
    owner: "user and group of a packet are unknown to pfd",
    log_user: "`log (user)` logs no user: it is unknown to pfd",
    tables: "pfd knows no routing table but the main one, 0",
    domains: "Linux has no routing domain but 0",
    divert_to: "`divert-to` needs divert sockets, which pfd has not: packets of this rule would be dropped",
    divert_reply: "`divert-reply` needs divert sockets, which pfd has not: packets of this rule would be dropped",
    divert_packet: "`divert-packet` needs divert sockets, which pfd has not: packets of this rule would be dropped",
    labels: "routes have no labels on Linux: this never matches",
    loopback: "Linux drops packets for 127.0.0.1 that come in by an adapter, unless its `route_localnet` is 1; for ::1, always",
    loopback_help: "let the service listen on the adapter's address and redirect to `(if:0)`; or, for 127.0.0.1 alone, \
                    `sysctl net.ipv4.conf.IF.route_localnet=1`",
    queues: "queues do not shape traffic in pfd",
};

const WINDOWS: Words = Words {
    owner: "user and group of a packet are unknown below the Windows stack",
    log_user: "`log (user)` logs no user: it is unknown below the Windows stack",
    tables: "Windows has no routing table but 0",
    domains: "Windows has no routing domain but 0",
    divert_to: "`divert-to` needs a socket that takes foreign addresses, which Windows has not",
    divert_reply: "`divert-reply` needs a socket that takes foreign addresses, which Windows has not",
    divert_packet: "`divert-packet` needs divert sockets, which Windows has not",
    labels: "routes have no labels on Windows: this never matches",
    loopback: "loopback lies above the filter: nothing on 127.0.0.1 or ::1 gets this packet",
    loopback_help: "let the service listen on the adapter's address and redirect to `(if:0)`",
    queues: "queues do not shape traffic on Windows",
};

impl Target {
    /// The target with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "any" => Some(Target::Any),
            "linux" => Some(Target::Linux),
            "windows" => Some(Target::Windows),
            _ => None,
        }
    }
}

/// What a target says of a configuration, in the order of the rules.
#[must_use]
pub fn check(config: &Config, target: Target, sources: &Sources) -> Vec<Diagnostic> {
    let words = match target {
        Target::Any => return Vec::new(),
        Target::Linux => &LINUX,
        Target::Windows => &WINDOWS,
    };
    let mut c = Checker { words, files: files(sources), found: Vec::new(), carries: None };
    if target == Target::Windows {
        let stateless = |r: &Rule| r.tag.is_some() && r.keep == Keep::No && r.action != Action::Block;
        c.carries = Some(any_rule(&config.main, &stateless));
    }
    if config.options.hostid.is_some() {
        c.say(
            Severity::Warning,
            codes::WIN_ACCEPTED,
            &Place::default(),
            "`set hostid` has no effect: states are not shared",
        );
    }
    for queue in &config.queues {
        c.queue(queue);
    }
    c.ruleset(&config.main);
    c.found
}

/// Whether a rule of a ruleset, or of one inside it, is such a one.
fn any_rule(ruleset: &Ruleset, is: &impl Fn(&Rule) -> bool) -> bool {
    let inline = |r: &Rule| r.anchor.as_ref().and_then(|a| a.inline.as_deref()).is_some_and(|i| any_rule(i, is));
    ruleset.rules.iter().any(|r| is(r) || inline(r))
}

fn files(sources: &Sources) -> HashMap<Arc<str>, FileId> {
    let ids = (0..u32::try_from(sources.len()).unwrap_or(u32::MAX)).map(FileId);
    ids.map(|id| (sources.name(id), id)).collect()
}

struct Checker {
    words: &'static Words,
    files: HashMap<Arc<str>, FileId>,
    found: Vec<Diagnostic>,
    /// Where only states carry facts from in to out: whether a rule tags packets without keeping state, so that the tag
    /// is gone when the packet comes out.
    carries: Option<bool>,
}

impl Checker {
    fn say(&mut self, severity: Severity, code: Code, place: &Place, text: &str) {
        let mut shown = Diagnostic::new(severity, code, text);
        if let Some(&file) = self.files.get(&place.file) {
            shown = shown.at(Span { file, lo: place.span.0, hi: place.span.1 }, "");
            shown.place = Some((file, place.line));
        }
        // The rules a list expands to say it once.
        if self.found.last() != Some(&shown) {
            self.found.push(shown);
        }
    }

    fn ruleset(&mut self, ruleset: &Ruleset) {
        for rule in &ruleset.rules {
            self.rule(rule);
            if let Some(inline) = rule.anchor.as_ref().and_then(|a| a.inline.as_deref()) {
                self.ruleset(inline);
            }
        }
    }

    fn queue(&mut self, queue: &Queue) {
        self.say(Severity::Warning, codes::WIN_QUEUE, &queue.place, self.words.queues);
    }

    fn rule(&mut self, r: &Rule) {
        let at = &r.place;
        self.owner(r);
        if r.rtable.is_some_and(|n| n != 0) {
            self.say(Severity::Error, codes::WIN_ROUTING_TABLE, at, self.words.tables);
        }
        if r.rdomain.is_some_and(|(_, n)| n != 0) {
            self.say(Severity::Error, codes::WIN_ROUTING_TABLE, at, self.words.domains);
        }
        if let Some(d) = r.divert {
            let what = match d {
                Divert::To(..) => self.words.divert_to,
                Divert::Reply => self.words.divert_reply,
                Divert::Packet(_) => self.words.divert_packet,
            };
            self.say(Severity::Error, codes::WIN_DIVERT, at, what);
        }
        for end in [&r.src, &r.dst] {
            if matches!(end.addr, AddrSpec::RouteLabel(_)) {
                self.say(Severity::Error, codes::WIN_ROUTE_LABEL, at, self.words.labels);
            }
        }
        if r.rdr.as_ref().is_some_and(goes_to_loopback) {
            self.say(Severity::Warning, codes::WIN_LOOPBACK, at, self.words.loopback);
            if let Some(last) = self.found.last_mut().filter(|last| last.help.is_empty()) {
                last.help.push(self.words.loopback_help.to_owned());
            }
        }
        if r.queue.is_some() {
            self.say(Severity::Warning, codes::WIN_QUEUE, at, self.words.queues);
        }
        self.accepted(r);
        self.carried(r);
    }

    /// Users and groups, which are never known.
    fn owner(&mut self, r: &Rule) {
        if r.uid.is_none() && r.gid.is_none() {
            return;
        }
        let never = |op: Option<Op<u32>>| op.is_some_and(|op| !holds_for_unknown(op));
        let text = self.words.owner;
        if r.action == Action::Pass && (never(r.uid) || never(r.gid)) {
            let text = format!("{text}: this rule would never let anything pass");
            self.say(Severity::Error, codes::WIN_USER, &r.place, &text);
        } else {
            self.say(Severity::Warning, codes::WIN_USER, &r.place, text);
        }
    }

    /// Words that are valid and change nothing.
    fn accepted(&mut self, r: &Rule) {
        let words = [
            (r.flags.has(RuleFlags::NO_SYNC), "`no-sync` has no effect: states are not shared"),
            (r.flags.has(RuleFlags::PFLOW), "`pflow` has no effect: flows are not exported"),
            (r.log.has(LogFlags::USER), self.words.log_user),
        ];
        for (_, text) in words.into_iter().filter(|(on, _)| *on) {
            self.say(Severity::Warning, codes::WIN_ACCEPTED, &r.place, text);
        }
    }

    /// What a packet does not carry from in to out on its own: only a state remembers it.
    fn carried(&mut self, r: &Rule) {
        let Some(stateless_tags) = self.carries.filter(|_| r.direction != Some(Direction::In)) else { return };
        if r.received_on.is_some() {
            let text = "`received-on` is known of packets with a state from their way in, not of others";
            self.say(Severity::Warning, codes::WIN_CARRIED, &r.place, text);
        }
        if r.tagged.is_some() && stateless_tags {
            let text = "a tag given without state is gone when the packet leaves";
            self.say(Severity::Warning, codes::WIN_CARRIED, &r.place, text);
        }
    }
}

/// Whether an operator holds for `unknown`.
const fn holds_for_unknown(op: Op<u32>) -> bool {
    matches!(op, Op::Eq(u32::MAX)) || matches!(op, Op::Ne(v) if v != u32::MAX)
}

/// Whether a pool holds nothing but loopback addresses.
fn goes_to_loopback(pool: &Pool) -> bool {
    match pool.addr {
        AddrSpec::Net { addr: IpAddr::V4(a), prefix } => a.is_loopback() && prefix >= 8,
        AddrSpec::Net { addr: IpAddr::V6(a), prefix } => a.is_loopback() && prefix == 128,
        _ => false,
    }
}
