//! A log record as a line of text, as tcpdump prints pflog, and as JSON.
//!
//! ```text
//! 2026-11-18T11:06:40.123Z rule 3.a.1/0(match): block in on em0: 192.0.2.7.40000 > 198.51.100.1.22: Flags [S], …
//! ```
//! Behind the packet stands what tcpdump cannot know: the label and the place of the rule.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pfvm::packet::DropReason;
use pfvm::rule::{Addr, Af, Direction};
use pfvm::watch::{Action, LogRow};
use serde_json::{Value, json};

use super::capture::comment;
use super::pflog::Layout;

/// An address as the library's.
pub(crate) fn ip(af: Af, addr: &Addr) -> IpAddr {
    match af {
        Af::Inet => IpAddr::V4(Ipv4Addr::from(addr.0.first_chunk::<4>().copied().unwrap_or_default())),
        Af::Inet6 => IpAddr::V6(Ipv6Addr::from(addr.0)),
    }
}

/// A time in UTC: nanoseconds since 1970.
pub(crate) fn stamp(nanos: u64) -> String {
    let millis = nanos / 1_000_000;
    let (days, of_day) = (millis / 86_400_000, millis % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", of_day % 1000)
}

/// Year, month and day of a day counted from 1970-01-01: four hundred years of the calendar are 146 097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years begin in March, so that the day that comes and goes is the last.
    let since = days + 719_468;
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, turn) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + turn, month, day)
}

/// Name of a reason.
pub(crate) fn reason(number: u8) -> &'static str {
    DropReason::ALL.get(usize::from(number)).map_or("unknown", |r| r.name())
}

/// Name of an action, as the log prints it.
pub(crate) const fn action(action: Action) -> &'static str {
    match action {
        Action::Pass => "pass",
        Action::Block => "block",
        Action::Match => "match",
    }
}

/// Name of a direction.
pub(crate) const fn direction(dir: Direction) -> &'static str {
    match dir {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

/// `rule 3.a.1`, or `rule 3`; a rule that is none is `-`.
fn rule(row: &LogRow<'_>) -> String {
    let number = |n: u32| if n == u32::MAX { "-".to_owned() } else { n.to_string() };
    let name = row.anchor.rsplit('/').next().unwrap_or_default();
    match row.subrule {
        u32::MAX => number(row.rule),
        sub if name.is_empty() => format!("{}.{sub}", number(row.rule)),
        sub => format!("{}.{name}.{sub}", number(row.rule)),
    }
}

/// A record as a line, without its time.
pub(crate) fn line(row: &LogRow<'_>) -> String {
    let (why, what, dir) = (reason(row.reason), action(row.action), direction(row.dir));
    let mut out = format!("rule {}/{}({why}): {what} {dir} on {}: ", rule(row), row.reason, row.iface);
    out.push_str(&summary(row.bytes, row.len));
    if let Some(translated) = translated(row) {
        let _ = write!(out, " -> {translated}");
    }
    if let Some(comment) = comment(row) {
        let _ = write!(out, " [{comment}]");
    }
    out
}

/// The ends a translation gives, where they are not those of the packet.
fn translated(row: &LogRow<'_>) -> Option<String> {
    let layout = Layout::of(row.bytes)?;
    let (src, dst) = layout.ends(row.bytes)?;
    let ported = layout.ported();
    let bare = |end: (Addr, u16)| if ported { end } else { (end.0, 0) };
    let (to_src, to_dst) = (bare(row.src), bare(row.dst));
    if row.src.0 == Addr::default() || (row.af == row.naf && (src, dst) == (to_src, to_dst)) {
        return None;
    }
    let end = |end| show_end(row.naf, end, ported);
    Some(format!("{} > {}", end(to_src), end(to_dst)))
}

fn show_end(af: Af, (addr, port): (Addr, u16), ported: bool) -> String {
    if ported { format!("{}.{port}", ip(af, &addr)) } else { ip(af, &addr).to_string() }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// What tcpdump says of a packet, from its first bytes and its length.
pub(crate) fn summary(bytes: &[u8], len: u32) -> String {
    let found = Layout::of(bytes).and_then(|layout| Some((layout, layout.ends(bytes)?)));
    let Some((layout, (src, dst))) = found else { return format!("[|ip] length {len}") };
    let end = |end| show_end(layout.af, end, layout.ported());
    let mut out = format!("{} > {}: ", end(src), end(dst));
    let Some(at) = layout.transport else {
        let _ = write!(out, "{}, fragment, length {len}", protocol(layout.proto));
        return out;
    };
    let total = be16(bytes, if layout.af == Af::Inet { 2 } else { 4 }).map_or(0, usize::from);
    let total = if layout.af == Af::Inet { total } else { total + 40 };
    let room = total.saturating_sub(at);
    let told = match layout.proto {
        6 => tcp(bytes.get(at..).unwrap_or_default(), room),
        17 => Some(format!("UDP, length {}", room.saturating_sub(8))),
        1 | 58 => icmp(bytes.get(at..).unwrap_or_default(), layout.af, room),
        _ => None,
    };
    match told {
        Some(told) => out.push_str(&told),
        None => {
            let _ = write!(out, "{}, length {room}", protocol(layout.proto));
        }
    }
    out
}

fn protocol(number: u8) -> String {
    match number {
        1 => "ICMP".into(),
        2 => "igmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        47 => "GREv0".into(),
        50 => "ESP".into(),
        51 => "AH".into(),
        58 => "ICMP6".into(),
        other => format!("ip-proto-{other}"),
    }
}

/// Letters of TCP flags in tcpdump's order.
const FLAGS: &[(u8, char)] = &[(1, 'F'), (2, 'S'), (4, 'R'), (8, 'P'), (16, '.'), (32, 'U'), (64, 'E'), (128, 'W')];

fn tcp(header: &[u8], room: usize) -> Option<String> {
    let (seq, ack) = (be32(header, 4)?, be32(header, 8)?);
    let (flags, window) = (*header.get(13)?, be16(header, 14)?);
    let payload = room.saturating_sub(usize::from(header.get(12)? >> 4) * 4);
    let letters: String = FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| *letter).collect();
    let mut out = format!("Flags [{}]", if letters.is_empty() { "none" } else { &letters });
    if payload > 0 {
        let end = seq.wrapping_add(u32::try_from(payload).unwrap_or(0));
        let _ = write!(out, ", seq {seq}:{end}");
    } else if flags & 7 != 0 {
        let _ = write!(out, ", seq {seq}");
    }
    if flags & 16 != 0 {
        let _ = write!(out, ", ack {ack}");
    }
    let _ = write!(out, ", win {window}, length {payload}");
    Some(out)
}

fn icmp(header: &[u8], af: Af, room: usize) -> Option<String> {
    let (kind, code) = (*header.first()?, *header.get(1)?);
    let query = match (af, kind) {
        (Af::Inet, 8) | (Af::Inet6, 128) => Some("echo request"),
        (Af::Inet, 0) | (Af::Inet6, 129) => Some("echo reply"),
        _ => None,
    };
    let name = if af == Af::Inet { "ICMP " } else { "ICMP6, " };
    Some(match query {
        Some(query) => format!("{name}{query}, id {}, seq {}, length {room}", be16(header, 4)?, be16(header, 6)?),
        None => format!("{name}type {kind} code {code}, length {room}"),
    })
}

/// A record for a program.
pub(crate) fn to_json(row: &LogRow<'_>, nanos: u64) -> Value {
    let layout = Layout::of(row.bytes);
    let ends = layout.and_then(|l| l.ends(row.bytes));
    let number = |n: u32| (n != u32::MAX).then_some(n);
    let end = |af, (addr, port): (Addr, u16)| {
        let ported = layout.is_some_and(|l| l.ported());
        json!({ "addr": ip(af, &addr).to_string(), "port": ported.then_some(port) })
    };
    let known = row.src.0 != Addr::default();
    json!({
        "number": row.seq,
        "time": stamp(nanos),
        "generation": row.generation,
        "log_interface": format!("pflog{}", row.log_if),
        "interface": row.iface,
        "direction": direction(row.dir),
        "action": action(row.action),
        "reason": reason(row.reason),
        "rule": number(row.rule),
        "subrule": number(row.subrule),
        "anchor": row.anchor,
        "rule_id": format!("{:016x}", row.stable_id),
        "label": row.label,
        "file": row.file,
        "line": (row.line != 0).then_some(row.line),
        "family": if row.af == Af::Inet { "inet" } else { "inet6" },
        "protocol": layout.map(|l| l.proto),
        "source": ends.map(|(src, _)| end(row.af, src)),
        "destination": ends.map(|(_, dst)| end(row.af, dst)),
        "translated": (known && translated(row).is_some())
            .then(|| json!({ "source": end(row.naf, row.src), "destination": end(row.naf, row.dst) })),
        "uid": number(row.uid),
        "pid": number(row.pid),
        "length": row.len,
        "packet": row.bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn times_are_calendar_times() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(stamp(1_795_000_000_123_456_789), "2026-11-18T11:06:40.123Z");
        assert_eq!(stamp(951_782_399_999_000_000), "2000-02-28T23:59:59.999Z");
        assert_eq!(stamp(951_782_400_000_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(stamp(4_102_444_800_000_000_000), "2100-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_line_names_rule_packet_translation_and_place() {
        let packet = sample::tcp4();
        let row = sample::row(&packet);
        assert_eq!(
            line(&row),
            "rule 3.a.1/0(match): block in on em0: 192.0.2.7.40000 > 198.51.100.1.22: Flags [S], seq 1000000, win 64240, \
             length 0 [ssh in @ pf.conf:12]"
        );
        let mut nat = row;
        nat.src.1 = 61_000;
        (nat.subrule, nat.rule, nat.label, nat.line) = (u32::MAX, u32::MAX, "", 0);
        nat.reason = 8;
        assert_eq!(
            line(&nat),
            "rule -/8(ip-option): block in on em0: 192.0.2.7.40000 > 198.51.100.1.22: Flags [S], seq 1000000, win 64240, \
             length 0 -> 192.0.2.7.61000 > 198.51.100.1.22"
        );
    }

    #[test]
    fn any_bytes_have_a_summary() {
        for packet in sample::all() {
            for len in 0..packet.len() {
                assert!(!summary(&packet[..len], 99).is_empty());
            }
        }
    }

    #[test]
    fn json_holds_what_the_line_holds() {
        let packet = sample::tcp4();
        let value = to_json(&sample::row(&packet), 0);
        assert_eq!(value["source"], json!({ "addr": "192.0.2.7", "port": 40_000 }));
        assert_eq!(value["destination"]["port"], 22);
        assert_eq!((value["rule"].as_u64(), value["subrule"].as_u64()), (Some(3), Some(1)));
        assert_eq!(value["pid"], Value::Null);
        assert_eq!(value["label"], "ssh in");
        assert_eq!(value["packet"].as_str().map(str::len), Some(packet.len() * 2));
    }
}
