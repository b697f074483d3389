//! pfctl's canonical text of what was read: rules, tables, queues.
//!
//! Holds only functions from resolved data to text; what they print reads back as the same data wherever pfctl's own
//! text does. Source: `pfctl_parser.c print_rule`, `print_tabledef`, `print_queuespec`; `pf_print_state.c print_addr`.
//!
//! **Invariant:** no function looks anything up but names of protocols and services.

pub mod listing;
mod rule;

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

pub use rule::{RuleOptions, rule};
pub(crate) use rule::{TIMEOUT_ORDER, marked, mod_words};

use crate::ruleset::{Queue, QueueBandwidth, Table, TableEntry};

/// An address as `inet_ntop` writes it.
#[must_use]
pub fn address(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => address6(v6),
    }
}

/// IPv6 as `inet_ntop` writes it: a single zero group is not shortened, embedded IPv4 is shown where BIND shows it.
fn address6(addr: Ipv6Addr) -> String {
    let groups = addr.segments();
    let (start, len) = longest_zero_run(&groups);
    let mut out = String::new();
    let mut at = 0usize;
    while let Some(group) = groups.get(at) {
        if len > 1 && at == start {
            out.push_str("::");
            at = at.saturating_add(len);
            continue;
        }
        if at > 0 && !out.ends_with("::") {
            out.push(':');
        }
        let embedded = start == 0 && len > 1 && at == 6;
        let mapped = len == 5 && groups.get(5) == Some(&0xffff);
        if embedded && (len == 6 || mapped) {
            let [.., a, b, c, d] = addr.octets();
            let _ = write!(out, "{a}.{b}.{c}.{d}");
            return out;
        }
        let _ = write!(out, "{group:x}");
        at = at.saturating_add(1);
    }
    out
}

/// Start and length of the longest run of zero groups, the first of equal ones.
fn longest_zero_run(groups: &[u16; 8]) -> (usize, usize) {
    let mut best = (0, 0);
    let mut run = 0usize;
    for (end, group) in (1usize..).zip(groups) {
        run = if *group == 0 { run.saturating_add(1) } else { 0 };
        if run > best.1 {
            best = (end.saturating_sub(run), run);
        }
    }
    best
}

/// A network: the address alone when the mask is full, `any` when both are zero.
#[must_use]
pub fn network(addr: IpAddr, prefix: u8) -> String {
    if prefix == 0 && addr.is_unspecified() {
        return "any".into();
    }
    let full = if addr.is_ipv4() { 32 } else { 128 };
    if prefix < full { format!("{}/{prefix}", address(addr)) } else { address(addr) }
}

/// A source of a table, for its echo.
#[derive(Clone, Debug)]
pub(crate) enum TablePart {
    /// `file "name"`.
    File(String),
    /// `{ … }`.
    Entries(Vec<TableEntry>),
}

/// A table definition with its inline contents.
#[must_use]
pub fn table(table: &Table) -> String {
    let mut parts: Vec<_> = table.files.iter().cloned().map(TablePart::File).collect();
    let inline: Vec<_> = table.entries.iter().filter(|e| !e.from_file).copied().collect();
    if !inline.is_empty() {
        parts.push(TablePart::Entries(inline));
    }
    table_parts(table, &parts)
}

/// A table definition with its sources in order.
pub(crate) fn table_parts(table: &Table, parts: &[TablePart]) -> String {
    let mut out = format!("table <{}>", table.name);
    for (given, word) in [(table.constant, " const"), (table.persist, " persist"), (table.counters, " counters")] {
        if given {
            out.push_str(word);
        }
    }
    for part in parts {
        match part {
            TablePart::File(file) => {
                let _ = write!(out, " file \"{file}\"");
            }
            TablePart::Entries(entries) => {
                out.push_str(" {");
                for entry in entries {
                    out.push_str(if entry.not { " !" } else { " " });
                    out.push_str(&network(entry.addr, entry.prefix));
                }
                out.push_str(" }");
            }
        }
    }
    if parts.is_empty() && table.init {
        out.push_str(" { }");
    }
    out.push('\n');
    out
}

/// A bandwidth in the largest unit that leaves no fraction; `None` when it is zero.
fn rate(absolute: u64, percent: u8) -> Option<String> {
    if percent > 0 {
        return Some(format!("{percent}%"));
    }
    if absolute == 0 {
        return None;
    }
    let mut value = absolute;
    let mut units = [' ', 'K', 'M', 'G', '\0'].into_iter();
    let mut unit = units.next().unwrap_or(' ');
    while value >= 1000 && value.is_multiple_of(1000) {
        let Some(next) = units.next() else { break };
        unit = next;
        value /= 1000;
    }
    Some(format!("{value}{unit}"))
}

fn curve(prefix: &str, curve: &QueueBandwidth) -> String {
    let mut out = String::new();
    if let Some(rate) = rate(curve.absolute, curve.percent) {
        let _ = write!(out, "{prefix}{rate}");
    }
    if curve.burst_ms > 0 {
        let _ = write!(out, " burst {} for {}ms", rate(curve.burst, 0).unwrap_or_default(), curve.burst_ms);
    }
    out
}

/// A queue definition.
#[must_use]
pub fn queue(queue: &Queue) -> String {
    let mut out = format!("queue {}", queue.name);
    if !queue.parent.is_empty() {
        let _ = write!(out, " parent {}", queue.parent);
    } else if let Some(iface) = &queue.iface {
        let _ = write!(out, " on {iface}");
    }
    if let Some((flows, quantum)) = queue.flows {
        let _ = write!(out, " flows {flows}");
        if quantum > 0 {
            let _ = write!(out, " quantum {quantum}");
        }
    }
    if queue.bandwidth.burst > 0 || queue.bandwidth.absolute > 0 {
        out.push_str(&curve(" bandwidth ", &queue.bandwidth));
        out.push_str(&curve(", min ", &queue.min));
        out.push_str(&curve(", max ", &queue.max));
    }
    if queue.default {
        out.push_str(" default");
    }
    if queue.qlimit > 0 {
        let _ = write!(out, " qlimit {}", queue.qlimit);
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_as_inet_ntop() {
        let text = |t: &str| address(t.parse().unwrap());
        for same in ["::", "::1", "1:0:2:3:4:5:6:7", "fe80::1", "::ffff:1.2.3.4", "::1.2.3.4", "1::", "2001:db8:1::1"] {
            assert_eq!(text(same), same);
        }
        assert_eq!(text("0:0:0:0:0:0:0:ffff"), "::ffff");
        assert_eq!(text("1:0:0:2:0:0:0:3"), "1:0:0:2::3");
    }

    #[test]
    fn bandwidths() {
        assert_eq!(rate(100_000_000, 0).unwrap(), "100M");
        assert_eq!(rate(1500, 0).unwrap(), "1500 ");
        assert_eq!(rate(1_000_000_000, 0).unwrap(), "1G");
        assert_eq!(rate(0, 0), None);
    }
}
