//! `pfload status` and `pfload doctor`: how the filter is, and what to do when it is not well.

use std::fmt::Write as _;

use clap::Args;
use pfvm::api::{Code, HostReply, OptionsReply, Request, Status as Figures};
use pfvm::engine::counters::LimitCounter;
use pfvm::packet::DropReason;
use serde_json::{Map, Value, json};

use super::Common;
use crate::link::{DEVICE, Ifaces, Link, Outcome, Trouble};
use crate::out::{Out, clock};
use crate::watch::text;
use crate::watch::top::fetch;

/// Show whether the filter runs, with which rules, and what it drops and why
#[derive(Args, Debug)]
pub(crate) struct Status {}

/// Look at everything that has to be right, and say what to do where it is not
///
/// Ends with 0 when all is well, 1 when something has to be done.
#[derive(Args, Debug)]
pub(crate) struct Doctor {}

/// What is asked for both.
#[derive(Debug)]
struct Seen {
    host: &'static str,
    version: String,
    now_ms: u64,
    binding: String,
    policy: String,
    trouble: String,
    interfaces: u32,
    log: [u64; 3],
    tracing: bool,
    running: bool,
    shut: bool,
    since: u64,
    since_wall: u64,
    generation: u64,
    unconfirmed: Option<(u64, u32)>,
    digest: String,
    states: u32,
    most_states: u32,
    sources: u32,
    frags: u32,
    reasons: Vec<(&'static str, u64)>,
    limits: Vec<(&'static str, u64)>,
    /// Interfaces that dropped packets: name, in, out.
    dropped: Vec<(String, u64, u64)>,
}

fn look(link: &mut Link) -> Outcome<Seen> {
    let host = fetch::host(link.welcome.host);
    let mut dropped = Vec::new();
    link.each::<Ifaces>(
        |cursor| Request::Ifaces { name: "", cursor },
        |i| {
            let sum = |dir: usize| -> u64 { i.packets.iter().filter_map(|f| f.get(dir)).map(|d| d[1]).sum() };
            if i.present && !i.group && sum(0) + sum(1) > 0 {
                dropped.push((i.name.to_owned(), sum(0), sum(1)));
            }
            Ok(())
        },
    )?;
    let most_states = link.ask::<OptionsReply<'_>>(&Request::Options)?.limits.states;
    let mut seen = {
        let h: HostReply<'_> = link.ask(&Request::Host)?;
        Seen {
            host,
            version: h.version.to_owned(),
            now_ms: h.now_ms,
            binding: h.binding.to_owned(),
            policy: h.policy.to_owned(),
            trouble: h.trouble.to_owned(),
            interfaces: h.interfaces,
            log: h.log,
            tracing: h.tracing,
            running: false,
            shut: false,
            since: 0,
            since_wall: 0,
            generation: 0,
            unconfirmed: None,
            digest: String::new(),
            states: 0,
            most_states,
            sources: 0,
            frags: 0,
            reasons: Vec::new(),
            limits: Vec::new(),
            dropped,
        }
    };
    let s: Figures<'_> = link.ask(&Request::Status)?;
    (seen.running, seen.shut, seen.since, seen.since_wall) = (s.running, s.shut, s.since, s.since_wall);
    (seen.generation, seen.unconfirmed) = (s.generation, s.unconfirmed);
    seen.digest = s.checksum.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    (seen.states, seen.sources, seen.frags) = (s.states[0], s.sources, s.frags);
    seen.reasons = DropReason::ALL.iter().map(|r| r.name()).zip(s.reasons).collect();
    seen.limits = LimitCounter::ALL.iter().map(|l| l.name()).zip(s.limits).collect();
    Ok(seen)
}

fn figures(seen: &Seen) -> String {
    let mut out = String::new();
    let state = match (seen.running, seen.shut) {
        (_, true) => "shut: everything is dropped",
        (true, _) => "filtering",
        (false, _) => "disabled",
    };
    let _ = writeln!(out, "{:<10} {state} for {} ({} {})", "filter", clock(seen.since), seen.host, seen.version);
    let binding = if seen.binding.is_empty() { "no adapter" } else { &seen.binding };
    let _ = writeln!(out, "{:<10} {binding}", "binding");
    if !seen.policy.is_empty() {
        let _ = writeln!(out, "{:<10} {}", "at boot", seen.policy);
    }
    let rules = if seen.generation == 0 {
        "none loaded".into()
    } else {
        format!("generation {}, digest {}", seen.generation, seen.digest)
    };
    let waits = seen.unconfirmed.map_or_else(String::new, |(_, left)| format!(", waits for `pfload confirm` {left} s"));
    let _ = writeln!(out, "{:<10} {rules}{waits}", "rules");
    let _ = writeln!(out, "{:<10} {} of {}", "states", seen.states, seen.most_states);
    let _ = writeln!(out, "{:<10} {} source nodes, {} fragments", "", seen.sources, seen.frags);
    let [records, unread, lost] = seen.log;
    let _ = writeln!(out, "{:<10} {records} records, {unread} replaced unread, {lost} too many", "log");
    if seen.tracing {
        let _ = writeln!(out, "{:<10} armed", "trace");
    }
    for (name, n) in seen.reasons.iter().filter(|(name, n)| *n > 0 && *name != "match") {
        let _ = writeln!(out, "{:<10} {n:>12} {name}", "reason");
    }
    for (name, n) in seen.limits.iter().filter(|(_, n)| *n > 0) {
        let _ = writeln!(out, "{:<10} {n:>12} {name}", "limit");
    }
    for (name, inward, outward) in &seen.dropped {
        let _ = writeln!(out, "{:<10} {:>12} on {name} ({inward} in, {outward} out)", "dropped", inward + outward);
    }
    if !seen.trouble.is_empty() {
        let _ = writeln!(out, "{:<10} {}", "trouble", seen.trouble);
    }
    out
}

fn document(seen: &Seen) -> Value {
    let named = |list: &[(&str, u64)]| list.iter().map(|(n, c)| ((*n).to_owned(), json!(c))).collect::<Map<_, _>>();
    json!({
        "host": seen.host,
        "software": seen.version,
        "running": seen.running,
        "shut": seen.shut,
        "since_seconds": seen.since,
        "since": text::stamp(seen.since_wall.saturating_mul(1_000_000_000)),
        "uptime_ms": seen.now_ms,
        "binding": seen.binding,
        "boot_policy": seen.policy,
        "last_error": seen.trouble,
        "interfaces": seen.interfaces,
        "generation": seen.generation,
        "unconfirmed": seen.unconfirmed.map(|(generation, left)| json!({ "generation": generation, "seconds": left })),
        "ruleset_digest": seen.digest,
        "states": seen.states,
        "states_limit": seen.most_states,
        "source_nodes": seen.sources,
        "fragments": seen.frags,
        "log": { "records": seen.log[0], "replaced_unread": seen.log[1], "too_many": seen.log[2] },
        "tracing": seen.tracing,
        "reasons": named(&seen.reasons),
        "limits": named(&seen.limits),
        "dropped": seen.dropped.iter().map(|(name, i, o)| json!({ "interface": name, "in": i, "out": o })).collect::<Vec<_>>(),
    })
}

impl Status {
    /// Carries it out.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) fn run(&self, common: &Common, out: &mut Out) -> Outcome {
        let seen = look(&mut common.link()?)?;
        if common.json {
            out.kind("filter", &document(&seen));
        } else {
            out.put(&figures(&seen));
        }
        Ok(())
    }
}

/// What to do for a filter no traffic comes to.
#[cfg(not(windows))]
const UNBOUND: &str = "start pfd with --attach NIC or --bridge A B to filter traffic";
/// What to do for a filter no traffic comes to.
#[cfg(windows)]
const UNBOUND: &str =
    "turn the filter on for an adapter: `Enable-NetAdapterBinding -Name ADAPTER -ComponentID planb_filter`";

/// One thing looked at.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    what: &'static str,
    /// Whether it is well; `None` where that is a matter of taste.
    well: Option<bool>,
    found: String,
    /// What to do.
    advice: Option<String>,
}

fn finding(what: &'static str, well: Option<bool>, found: impl Into<String>, advice: Option<&str>) -> Finding {
    Finding { what, well, found: found.into(), advice: advice.map(str::to_owned) }
}

/// Why there is no connection.
fn no_link(why: &Trouble, device: &str) -> Finding {
    let advice = if cfg!(windows) { advice_windows(why) } else { advice_unix(why, device) };
    Finding { what: "connection", well: Some(false), found: why.to_string(), advice: Some(advice) }
}

fn advice_unix(why: &Trouble, device: &str) -> String {
    match why {
        Trouble::Open { why, .. } if why.kind() == std::io::ErrorKind::NotFound => format!(
            "start the filter: `pfd -p {device} --rules /etc/pf.conf --attach NIC` (or `systemctl start pfd`), or name \
             its socket with -p"
        ),
        Trouble::Open { why, .. } if why.kind() == std::io::ErrorKind::ConnectionRefused => {
            "the socket is left over from a filter that has gone: start pfd again; after a kill, `pfd --recover` first"
                .into()
        }
        Trouble::Open { why, .. } if why.kind() == std::io::ErrorKind::PermissionDenied => {
            "run this as root, or as a member of the group pfd was given with --group or --read-group".into()
        }
        Trouble::Refused { code: Code::Version, .. } => {
            "install pfload and pfd of one version, and start pfd again".into()
        }
        _ => "see what pfd printed last; start it again if it has gone".into(),
    }
}

fn advice_windows(why: &Trouble) -> String {
    match why {
        Trouble::Open { why, .. } if why.kind() == std::io::ErrorKind::NotFound => {
            "install the driver with install.ps1, or start it: `sc.exe start planb`"
        }
        Trouble::Open { why, .. } if why.kind() == std::io::ErrorKind::PermissionDenied => {
            "run this as administrator, in a console that was started as such"
        }
        Trouble::Refused { code: Code::Version, .. } => {
            "install pfload.exe and planb.sys of one version (install.ps1), and restart"
        }
        _ => "see the system's event log for planb; start it again: `sc.exe stop planb`, `sc.exe start planb`",
    }
    .to_owned()
}

/// What is to be said of a filter that answers.
fn examine(seen: &Seen, device: &str) -> Vec<Finding> {
    let ours = env!("CARGO_PKG_VERSION");
    let mut all =
        vec![finding("connection", Some(true), format!("{} {} answers at {device}", seen.host, seen.version), None)];
    all.push(match seen.version == ours {
        true => finding("versions", Some(true), format!("both {ours}"), None),
        false => finding(
            "versions",
            None,
            format!("pfload {ours}, {} {}", seen.host, seen.version),
            Some("they understand each other; install one version where that can be"),
        ),
    });
    all.push(match (seen.shut, seen.running) {
        (true, _) => finding(
            "filter",
            Some(false),
            "shut: everything is dropped, because rules could not be taken over",
            Some("load rules again: `pfload -f /etc/pf.conf`; if memory is short, with smaller `set limit`"),
        ),
        (false, true) => finding("filter", Some(true), format!("filtering for {}", clock(seen.since)), None),
        (false, false) => {
            finding("filter", Some(false), "disabled: every packet passes", Some("turn it on: `pfload -e`"))
        }
    });
    all.push(match (seen.generation, seen.unconfirmed) {
        (0, _) => finding(
            "rules",
            Some(false),
            "none are loaded: every packet passes",
            Some("load them: `pfload -f /etc/pf.conf`"),
        ),
        (g, Some((_, left))) => finding(
            "rules",
            None,
            format!("generation {g} is taken back in {left} s"),
            Some("keep it with `pfload confirm`, or go back now with `pfload revert`"),
        ),
        (g, None) => finding("rules", Some(true), format!("generation {g}, digest {}", seen.digest), None),
    });
    all.push(match seen.binding.is_empty() {
        true => finding("binding", None, "no adapter: no traffic comes this way", Some(UNBOUND)),
        false => finding("binding", Some(true), seen.binding.clone(), None),
    });
    if !seen.policy.is_empty() {
        all.push(finding("at boot", None, seen.policy.clone(), None));
    }
    let full = u64::from(seen.states) * 10 >= u64::from(seen.most_states) * 9;
    all.push(finding(
        "states",
        Some(!full),
        format!("{} of {}", seen.states, seen.most_states),
        full.then_some("nearly full: raise `set limit states`, or see who makes them with `pfload top`"),
    ));
    if seen.log[1] > 0 {
        all.push(finding(
            "log",
            None,
            format!("{} records were replaced before anybody read them", seen.log[1]),
            Some("keep a reader: `pfload log --follow -w FILE.pcapng`"),
        ));
    }
    if !seen.trouble.is_empty() {
        all.push(finding("last error", Some(false), seen.trouble.clone(), Some("it may be over: see the lines above")));
    }
    all
}

/// What the host shows beside the filter: adapters that one which was killed has left shut.
#[cfg(unix)]
fn beside() -> Vec<Finding> {
    left_over().into_iter().collect()
}

/// What the host says of the driver and its service.
#[cfg(windows)]
fn beside() -> Vec<Finding> {
    let looks = crate::windows::health::look();
    looks.into_iter().map(|(what, well, found, advice)| finding(what, well, found, advice)).collect()
}

/// Adapters that a filter which was killed has left shut: records nobody holds.
#[cfg(unix)]
fn left_over() -> Option<Finding> {
    let dir = std::env::var_os("PFD_RUN").map_or_else(|| "/run/pfd".into(), std::path::PathBuf::from);
    let records = std::fs::read_dir(&dir).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let held = |lock: &std::path::Path| {
        std::fs::File::open(lock).is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
    };
    let names: Vec<String> = records
        .filter(|path| path.extension().is_some_and(|e| e == "json") && !held(&path.with_extension("lock")))
        .filter_map(|path| path.file_stem().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    let advice = "give them back to the host with `pfd --recover`, or attach them again";
    (!names.is_empty()).then(|| {
        finding(
            "left over",
            Some(false),
            format!("{} shut by a filter that was killed", names.join(", ")),
            Some(advice),
        )
    })
}

impl Doctor {
    /// Carries it out; whether all is well.
    ///
    /// # Errors
    /// [`Trouble::Here`] without words when something has to be done.
    pub(crate) fn run(&self, common: &Common, out: &mut Out) -> Outcome {
        let device = common.device.as_deref().unwrap_or(DEVICE);
        let mut all = match common.link().and_then(|mut link| look(&mut link)) {
            Ok(seen) => examine(&seen, device),
            Err(why) => vec![no_link(&why, device)],
        };
        all.extend(beside());
        let ill = all.iter().any(|f| f.well == Some(false));
        if common.json {
            let list: Vec<_> = all
                .iter()
                .map(|f| json!({ "what": f.what, "well": f.well, "found": f.found, "advice": f.advice }))
                .collect();
            out.kind("doctor", &json!({ "well": !ill, "findings": list }));
        } else {
            for f in &all {
                let mark = match f.well {
                    Some(true) => "ok",
                    Some(false) => "WRONG",
                    None => "note",
                };
                out.put(&format!("{mark:<6} {:<11} {}\n", f.what, f.found));
                if let Some(advice) = &f.advice {
                    out.put(&format!("{:<18} → {advice}\n", ""));
                }
            }
        }
        if ill { Err(Trouble::Here(String::new())) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Seen {
        Seen {
            host: "pfd",
            version: env!("CARGO_PKG_VERSION").into(),
            now_ms: 5_000_000,
            binding: "filtering lan0".into(),
            policy: String::new(),
            trouble: String::new(),
            interfaces: 2,
            log: [10, 0, 0],
            tracing: false,
            running: true,
            shut: false,
            since: 3723,
            since_wall: 1_795_000_000,
            generation: 5,
            unconfirmed: None,
            digest: "ab".repeat(16),
            states: 3,
            most_states: 100_000,
            sources: 0,
            frags: 0,
            reasons: vec![("match", 100), ("bad-offset", 0), ("state-mismatch", 4)],
            limits: vec![("max states per rule", 2)],
            dropped: vec![("lan0".into(), 12, 1)],
        }
    }

    /// What is wrong, by name.
    fn wrong(seen: &Seen) -> Vec<&'static str> {
        examine(seen, "/s").into_iter().filter(|f| f.well == Some(false)).map(|f| f.what).collect()
    }

    #[test]
    fn each_ailment_is_found_and_has_its_advice() {
        assert_eq!(wrong(&well()), [""; 0]);
        assert_eq!(wrong(&Seen { running: false, ..well() }), ["filter"]);
        assert_eq!(wrong(&Seen { shut: true, ..well() }), ["filter"]);
        assert_eq!(wrong(&Seen { generation: 0, ..well() }), ["rules"]);
        assert_eq!(wrong(&Seen { states: 90_000, ..well() }), ["states"]);
        assert_eq!(wrong(&Seen { trouble: "x".into(), ..well() }), ["last error"]);
        let all = [
            Seen { running: false, ..well() },
            Seen { generation: 0, binding: String::new(), version: "0.0.1".into(), log: [9, 9, 9], ..well() },
            Seen { unconfirmed: Some((5, 20)), shut: true, states: 100_000, trouble: "x".into(), ..well() },
        ];
        for f in all.iter().flat_map(|seen| examine(seen, "/s")) {
            assert_eq!(f.advice.is_some(), f.well != Some(true), "{f:?}");
        }
    }

    #[test]
    fn nobody_there_says_what_to_do() {
        let open = |kind| Trouble::Open { device: "/s".into(), why: std::io::Error::from(kind) };
        for (why, word) in [
            (open(std::io::ErrorKind::NotFound), "pfd -p /s"),
            (open(std::io::ErrorKind::ConnectionRefused), "left over"),
            (open(std::io::ErrorKind::PermissionDenied), "as root"),
            (Trouble::Refused { code: Code::Version, what: "v".into() }, "one version"),
        ] {
            let said = advice_unix(&why, "/s");
            assert!(said.contains(word), "{said}");
        }
        for (why, word) in [
            (open(std::io::ErrorKind::NotFound), "install.ps1"),
            (open(std::io::ErrorKind::PermissionDenied), "as administrator"),
            (Trouble::Refused { code: Code::Version, what: "v".into() }, "one version"),
            (Trouble::Nonsense("x"), "event log"),
        ] {
            let said = advice_windows(&why);
            assert!(said.contains(word), "{said}");
        }
    }

    #[test]
    fn status_shows_what_was_dropped_and_why() {
        let said = figures(&well());
        assert!(said.starts_with("filter     filtering for 01:02:03 (pfd "), "{said}");
        assert!(said.contains("generation 5, digest abab"), "{said}");
        assert!(said.contains("4 state-mismatch") && said.contains("2 max states per rule"), "{said}");
        assert!(said.contains("13 on lan0 (12 in, 1 out)"), "{said}");
        assert!(!said.contains("bad-offset") && !said.contains("100 match"), "{said}");
        assert_eq!(document(&well())["reasons"]["state-mismatch"], 4);
    }
}
