//! Runs a script against the engine and says what does not hold.
//!
//! What a step may want, `=` equal, `!=` not, `a..b` a range, `a|b` one of:
//!
//! * `pass`, `drop`, `consumed`: the verdict; `forwarded`, `local`, … what forwarding did.
//! * `reason=R`, `rule=N` (`-1`: none), `anchor=A`, `tag=T`, `if=IF`: of the first decision, of the way out.
//! * `out.FIELD`, `in.FIELD`: of the packet that came out, or came through the first run; by name.
//! * `sent=N`: packets the filter or host sent besides; `sent0.FIELD`, `sent0.via`, `sent0.if`, `sent0.nexthop`.
//! * `states=N`, `state0.FIELD` (a path into the state as the stories show it).
//! * `logs=N`: log records; `log0.FIELD`: `to` (pflogN), `rule`, `subrule` (-1: none), `anchor`, `action`, `reason`, `dir`,
//!   `if`, `src`, `sport`, `dst`, `dport`.
//! * `count.NAME=N`: how much a reason or limit counter rose in this step (`_` for blanks).
//! * `said=TEXT` of a command, `_` for blanks and line ends.

use std::net::IpAddr;

use pfc::osfp::{Fingerprints, SEED};
use pfsim::stories::fields::{hex, unhex};
use pfsim::stories::{Player, Story};
use serde_json::{Value, json};

use super::packet::{Seen, Spec};
use super::{Act, Script, Step};

/// The host of the stories.
fn story(script: &Script) -> Story {
    let iface = |name: &str, index: u16, flags: u32, groups: &[&str], addrs: &[&str]| {
        json!({"name": name, "index": index, "flags": flags, "mtu": if index == 1 { 32768 } else { 1500 },
               "groups": groups, "addrs": addrs})
    };
    let story = json!({
        "name": "script-v-0",
        "rules": script.rules,
        "interfaces": [
            iface("lo0", 1, 32841, &["all", "lo"], &["127.0.0.1/8", "::1/128"]),
            iface("em0", 2, 34883, &["all"], &["10.0.0.1/24", "2001:db8:a::1/64"]),
            iface("em1", 3, 34883, &["all", "egress"], &["192.0.2.1/24", "192.0.2.2/24", "2001:db8:b::1/64"]),
            iface("em2", 4, 34883, &["all", "dmz"], &["172.16.0.1/24", "2001:db8:c::1/64"]),
        ],
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "192.0.2.254", "if": "em1"},
            {"dst": "::/0", "gw": "2001:db8:b::fe", "if": "em1"},
            {"dst": "10.9.0.0/16", "gw": "10.0.0.9", "if": "em0"},
        ],
        "steps": [],
    });
    serde_json::from_value(story).expect("the host is well formed")
}

/// What a script remembers between its packets.
#[derive(Default)]
struct Memory {
    given: Option<Spec>,
    came: Option<Vec<u8>>,
}

impl Memory {
    /// The packet a step's words make, for the `n`th time.
    fn make(&mut self, words: &[String], n: u32) -> Result<Spec, String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let last = || Seen::new(self.came.as_deref().unwrap_or_default()).ok_or("no packet came out yet");
        let mut spec = match words.as_slice() {
            ["reply", rest @ ..] => {
                let mut spec = last()?.answer().ok_or("that packet has no answer")?;
                spec.words(rest)?;
                spec
            }
            ["error", from, rest @ ..] => {
                let from: IpAddr = from.parse().map_err(|_| format!("`{from}` is no address"))?;
                let (quote, rest) = match rest {
                    ["first", n, rest @ ..] => (n.parse().map_err(|_| "`first` wants a number")?, rest),
                    _ => (1000, rest),
                };
                let mut spec = last()?.error(from, quote).ok_or("that packet cannot be quoted")?;
                spec.words(rest)?;
                spec
            }
            ["again", rest @ ..] => {
                let mut spec = self.given.clone().ok_or("no packet was given yet")?;
                spec.words(rest)?;
                spec
            }
            all => Spec::parse(all)?,
        };
        if n > 0 {
            spec.sport = spec.sport.wrapping_add(u16::try_from(n).unwrap_or(0));
            if matches!(spec.proto, 1 | 58) {
                spec.rest = spec.rest.wrapping_add(n << 16);
            }
        }
        self.given = Some(spec.clone());
        Ok(spec)
    }
}

/// Runs a script. Gives a line for everything that does not hold.
#[must_use]
pub fn run(script: &Script) -> Vec<String> {
    let (story, prints) = (story(script), Fingerprints::parse("pf.os", SEED).0);
    let mut player = match Player::of(&story, &prints) {
        Ok(p) => p,
        Err(e) => return vec![format!("the rules do not load: {e}")],
    };
    let mut memory = Memory::default();
    let mut wrong = Vec::new();
    for step in &script.steps {
        match act(&mut player, &mut memory, step) {
            Ok(got) => {
                for want in &step.wants {
                    if let Err(e) = check(want, &got) {
                        wrong.push(format!("line {}: {e}", step.line));
                    }
                }
            }
            Err(e) => wrong.push(format!("line {}: {e}", step.line)),
        }
    }
    wrong
}

fn act(player: &mut Player<'_>, memory: &mut Memory, step: &Step) -> Result<Value, String> {
    let t: f64 = step.t.parse().map_err(|_| "no second")?;
    let run = |player: &mut Player<'_>, v: Value| {
        let step: pfsim::stories::Step = serde_json::from_value(v).map_err(|e| e.to_string())?;
        player.act(&step)
    };
    match &step.act {
        Act::Tick => run(player, json!({"t": t, "op": "tick"})),
        Act::Pfctl(args) => run(player, json!({"t": t, "op": "pfctl", "args": args})),
        Act::Load(anchor, rules) => run(player, json!({"t": t, "op": "load", "anchor": anchor, "rules": rules})),
        Act::Packet { dir, iface, words, times } => {
            let mut got = Value::Null;
            for n in 0..*times {
                let bytes = memory.make(words, n)?.bytes();
                got = run(player, json!({"t": t, "dir": dir, "if": iface, "pkt_hex": hex(&bytes)}))?;
                let last = || sent(&got).last().and_then(|e| e["hex"].as_str());
                let out = got["out_hex"].as_str().or_else(last);
                if let Some(h) = out {
                    memory.came = Some(unhex(h));
                }
            }
            Ok(got)
        }
    }
}

/// What left besides the packet itself.
fn sent(got: &Value) -> Vec<&Value> {
    let all = got["emitted"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter(|e| e["hex"].is_string() && e["via"] != "forward").collect()
}

/// The value a key stands for.
fn value(key: &str, got: &Value) -> Option<String> {
    let text = |v: &Value| match v {
        Value::Null => None,
        Value::String(s) => Some(s.clone()),
        v => Some(v.to_string()),
    };
    let field = |hex: &Value, name: &str| Seen::new(&unhex(hex.as_str()?))?.field(name);
    if let Some(name) = key.strip_prefix("out.") {
        return field(&got["out_hex"], name);
    }
    if let Some(name) = key.strip_prefix("in.") {
        return field(&got["in_hex"], name);
    }
    if let Some(name) = key.strip_prefix("count.") {
        let name = name.replace('_', " ");
        let counters = &got["counters"];
        let own = counters.get(&name).or_else(|| counters.get(format!("limit:{name}")));
        return Some(own.map_or_else(|| "0".into(), Value::to_string));
    }
    if let Some(rest) = key.strip_prefix("sent")
        && let Some((n, name)) = rest.split_once('.')
    {
        let e = *sent(got).get(n.parse::<usize>().ok()?)?;
        return match name {
            "via" | "if" | "nexthop" => text(&e[name]),
            _ => field(&e["hex"], name),
        };
    }
    if let Some(rest) = key.strip_prefix("log")
        && let Some((n, name)) = rest.split_once('.')
    {
        return text(&got["logs"].get(n.parse::<usize>().ok()?)?[name]);
    }
    if let Some(rest) = key.strip_prefix("state")
        && let Some((n, path)) = rest.split_once('.')
    {
        let mut v = got["states"].get(n.parse::<usize>().ok()?)?;
        for part in path.split('.') {
            v = part.parse::<usize>().map_or_else(|_| v.get(part), |i| v.get(i))?;
        }
        return text(v);
    }
    match key {
        "states" => got["states"].as_array().map(|a| a.len().to_string()),
        "logs" => got["logs"].as_array().map(|a| a.len().to_string()),
        "sent" => Some(sent(got).len().to_string()),
        "if" => text(&got["out_if"]),
        "said" => text(&got["said"]).map(|s| s.split_whitespace().collect::<Vec<_>>().join("_")),
        "decisions" => got["decisions"].as_array().map(|a| a.len().to_string()),
        _ => text(&got[key]),
    }
}

fn fits(want: &str, found: &str) -> bool {
    want.split('|').any(|w| match w.split_once("..") {
        Some((lo, hi)) => match (lo.parse::<i64>(), hi.parse::<i64>(), found.parse::<i64>()) {
            (Ok(lo), Ok(hi), Ok(v)) => (lo..=hi).contains(&v),
            _ => false,
        },
        None => w == found,
    })
}

/// Whether a want holds.
fn check(want: &str, got: &Value) -> Result<(), String> {
    if matches!(want, "pass" | "drop" | "consumed") {
        let found = got["verdict"].as_str().unwrap_or("nothing");
        return if found == want { Ok(()) } else { Err(format!("wanted {want}, found {found} ({})", brief(got))) };
    }
    let Some((key, wanted)) = want.split_once('=') else {
        let found = got["fwd"].as_str().unwrap_or("nothing");
        return if found == want { Ok(()) } else { Err(format!("wanted {want}, found {found}")) };
    };
    let (key, not) = key.strip_suffix('!').map_or((key, false), |k| (k, true));
    let found = value(key, got);
    let holds = match &found {
        Some(f) => fits(wanted, f) != not,
        None => wanted == "none" || not,
    };
    if holds { Ok(()) } else { Err(format!("wanted {want}, found {}", found.unwrap_or_else(|| "nothing".into()))) }
}

/// What happened, in a few words.
fn brief(got: &Value) -> String {
    format!("reason {}, rule {}, counted {}", got["reason"], got["rule"], got["counters"])
}
