//! What a whole rule must not ask for: combinations of options that mean nothing together.
//!
//! One table, in pfctl's order; each line is a condition and its message.
//! Source: `parse.y rule_consistent`.

use pfvm::rule::{Af, Direction, Keep, RuleFlags};

use super::{Draft, ICMP, ICMP6, TCP, UDP};
use crate::resolve::Resolver;
use crate::resolve::host::Kind;
use crate::ruleset::{Action, Return};

/// A condition that must not hold, with its message.
type Check = (fn(&Draft) -> bool, &'static str);

fn proto(d: &Draft) -> u8 {
    d.rule.proto.unwrap_or(0)
}

fn no_ports(d: &Draft) -> bool {
    !matches!(proto(d), TCP | UDP)
}

fn ports(d: &Draft) -> bool {
    d.rule.src.port.is_some() || d.rule.dst.port.is_some()
}

fn icmp(d: &Draft) -> bool {
    d.rule.icmp_type.is_some() || d.rule.icmp_code.is_some()
}

fn translates(d: &Draft) -> bool {
    d.nat.wrap.kind != Kind::None || d.rdr.wrap.kind != Kind::None
}

fn has(d: &Draft, flags: RuleFlags) -> bool {
    d.rule.flags.has(flags)
}

fn limits_connections(d: &Draft) -> bool {
    d.rule.state.max_src_conn != 0 || d.rule.state.max_src_conn_rate.1 != 0
}

/// Before the warning about `synproxy`.
const FIRST: &[Check] = &[
    (|d| proto(d) != TCP && d.rule.os.is_some(), "os only applies to tcp"),
    (|d| no_ports(d) && ports(d), "port only applies to tcp/udp"),
    (|d| no_ports(d) && d.rule.uid.is_some(), "user only applies to tcp/udp"),
    (|d| no_ports(d) && d.rule.gid.is_some(), "group only applies to tcp/udp"),
    (|d| !matches!(proto(d), ICMP | ICMP6) && icmp(d), "icmp-type/code only applies to icmp"),
    (|d| d.rule.af.is_none() && icmp(d), "must indicate address family with icmp-type/code"),
    (|d| d.af_to && d.rule.af == d.rule.naf, "must indicate different address family with af-to"),
    (
        |d| d.rule.state.overload.is_some() && !limits_connections(d),
        "'overload' requires 'max-src-conn' or 'max-src-conn-rate'",
    ),
    (|d| proto(d) == ICMP && d.rule.af == Some(Af::Inet6), "proto icmp doesn't match address family inet6"),
    (|d| proto(d) == ICMP6 && d.rule.af == Some(Af::Inet), "proto icmp6 doesn't match address family inet"),
    (
        |d| has(d, RuleFlags::ALLOW_OPTS) && d.rule.action != Action::Pass,
        "allow-opts can only be specified for pass rules",
    ),
    (
        |d| d.rule.fragment && (ports(d) || d.flags.is_some_and(|(_, set)| set != 0) || icmp(d)),
        "fragments can be filtered only on IP header fields",
    ),
    (
        |d| matches!(d.rule.returns, Return::Rst { .. }) && proto(d) != TCP,
        "return-rst can only be applied to TCP rules",
    ),
    (
        |d| d.rule.state.max_src_nodes != 0 && !has(d, RuleFlags::RULE_SRC_TRACK),
        "max-src-nodes requires 'source-track rule'",
    ),
    (|d| d.rule.action != Action::Pass && d.keep != Keep::No, "keep state is great, but only for pass rules"),
    (|d| d.route_kind.is_some() && d.keep == Keep::No, "route-to, reply-to and dup-to require keep state"),
    (
        |d| has(d, RuleFlags::SLOPPY) && matches!(d.keep, Keep::Modulate | Keep::Synproxy),
        "sloppy state matching cannot be used with synproxy state or modulate state",
    ),
];

/// After it.
const SECOND: &[Check] = &[
    (|d| translates(d) && d.rule.action != Action::Match && d.keep == Keep::No, "nat-to and rdr-to require keep state"),
    (|d| d.rule.direction.is_none() && translates(d), "nat-to and rdr-to require a direction"),
    (
        |d| d.rule.af == Some(Af::Inet6) && (has(d, RuleFlags::NO_DF) || has(d, RuleFlags::RANDOM_ID)),
        "address family inet6 does not support scrub options no-df, random-id",
    ),
    (|d| d.rule.action == Action::Match && d.rule.divert.is_some(), "divert is not supported on match rules"),
    (
        |d| d.rule.action == Action::Match && d.route_kind.is_some(),
        "route-to, reply-to and dup-to are not supported on match rules",
    ),
    (|d| d.rule.action == Action::Match && d.af_to, "af-to is not supported on match rules"),
    (
        |d| d.rule.action == Action::Block && d.route_kind.is_some(),
        "route-to, reply-to and dup-to are not supported on block rules",
    ),
];

impl Resolver<'_> {
    /// Says what is wrong with a rule; true when something is.
    pub(super) fn inconsistencies(&mut self, draft: &Draft) -> bool {
        let mut wrong = false;
        for (holds, text) in FIRST {
            if holds(draft) {
                self.error(draft.at, draft.span, *text);
                wrong = true;
            }
        }
        if draft.keep == Keep::Synproxy && draft.rule.direction != Some(Direction::In) {
            let name = self.file(draft.at.file);
            let text = "synproxy used for inbound rules only, ignored for outbound";
            self.line(&format!("{name}:{}: warning: {text}", draft.at.line));
            self.warn(draft.at, draft.span, text);
        }
        for (holds, text) in SECOND {
            if holds(draft) {
                self.error(draft.at, draft.span, *text);
                wrong = true;
            }
        }
        wrong
    }
}
