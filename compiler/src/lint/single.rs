//! Lints that look at one rule.

use super::contain::ports;
use super::{Finding, Lint};
use crate::facts::Facts;
use crate::ruleset::{Action, AddrSpec, Af, Config, Direction, Endpoint, Pool, Rule, Timeout};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMP6: u8 = 58;

/// FIN, SYN, RST and ACK among [`crate::ruleset::TcpFlags`].
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// First of the ports Windows hands out to its own sockets; it goes up to 65535.
const DYNAMIC_PORTS: u16 = 49152;

pub(super) fn check(rule: &Rule, config: &Config, facts: &Facts, found: &mut Vec<Finding>) {
    if let Some(why) = impossible(rule, config, facts) {
        found.push(Finding::new(Lint::ImpossibleRule, &rule.place, why));
    }
    if open_to_all(rule, facts) {
        let text = "any host may reach any host and port through an external interface";
        found.push(Finding::new(Lint::AnyToAny, &rule.place, text));
    }
    if let Some(what) = idle_state_options(rule) {
        found.push(Finding::new(Lint::StatelessOptions, &rule.place, what));
    }
    if let Some(pool) = rule.nat.as_ref().filter(|_| rule.naf.is_none()).filter(|p| shares_host_ports(p, facts)) {
        let (lo, hi) = pool.ports.unwrap_or_default();
        let text = format!("ports {lo}:{hi} overlap the host's own dynamic ports {DYNAMIC_PORTS}:65535");
        found.push(Finding::new(Lint::NatPortsOverlap, &rule.place, text));
    }
}

/// Why no packet can match, if so.
fn impossible(rule: &Rule, config: &Config, facts: &Facts) -> Option<String> {
    match (rule.proto, rule.af) {
        (Some(ICMP), Some(Af::Inet6)) => return Some("proto icmp in an inet6 rule: IPv6 has icmp6".into()),
        (Some(ICMP6), Some(Af::Inet)) => return Some("proto icmp6 in an inet rule: IPv4 has icmp".into()),
        _ => {}
    }
    if let Some(f) =
        rule.tcp_flags.filter(|f| rule.proto == Some(TCP) && f.flags & SYN != 0 && f.flags & (FIN | RST) != 0)
    {
        let with = if f.flags & RST != 0 { "RST" } else { "FIN" };
        return Some(format!("no segment has SYN and {with}: pf drops or mends it before rules are looked at"));
    }
    let nothing = |e: &Endpoint| e.not && e.addr == AddrSpec::Any || e.port.is_some_and(|op| ports(op).is_empty());
    if nothing(&rule.src) || nothing(&rule.dst) {
        return Some("no address or port meets this condition".into());
    }
    let iface = rule.iface.as_ref().filter(|i| !i.not)?;
    let skipped = config.options.skip.iter().any(|s| *s == iface.name || facts.is_member(&iface.name, s));
    skipped.then(|| format!("`set skip` leaves {} unfiltered", iface.name))
}

fn open_to_all(rule: &Rule, facts: &Facts) -> bool {
    let any = |e: &Endpoint| e.addr == AddrSpec::Any && e.port.is_none();
    rule.action == Action::Pass
        && rule.anchor.is_none()
        && rule.direction != Some(Direction::Out)
        && rule.proto.is_none()
        && rule.tagged.is_none()
        && rule.uid.or(rule.gid).is_none()
        && !rule.fragment
        && any(&rule.src)
        && any(&rule.dst)
        && rule.iface.as_ref().is_some_and(|i| !i.not && (i.name == "egress" || facts.is_member(&i.name, "egress")))
}

/// Which state options cannot act, if any.
fn idle_state_options(rule: &Rule) -> Option<&'static str> {
    let proto = rule.proto?;
    let timeout = |t: &Timeout| rule.state.timeouts.get(*t as usize).is_some_and(|&n| n != 0);
    if proto != TCP && (rule.state.max_src_conn != 0 || rule.state.max_src_conn_rate.0 != 0) {
        return Some("connections are counted for TCP only");
    }
    let foreign = |t: &&Timeout| {
        let name = t.name();
        let of = |prefix: &str| name.starts_with(prefix);
        of("tcp.") && proto != TCP
            || of("udp.") && proto != 17
            || of("icmp.") && proto != ICMP && proto != ICMP6
            || of("other.") && [TCP, 17, ICMP, ICMP6].contains(&proto)
    };
    Timeout::ALL.iter().filter(foreign).any(timeout).then_some("a timeout of another protocol than the rule's")
}

fn shares_host_ports(pool: &Pool, facts: &Facts) -> bool {
    let own = match &pool.addr {
        AddrSpec::Dynamic { .. } => true,
        AddrSpec::Net { addr, .. } => facts.is_own(*addr),
        _ => false,
    };
    own && !pool.static_port && pool.ports.is_some_and(|(lo, hi)| lo.max(hi) >= DYNAMIC_PORTS)
}
