//! Runs a script against the engine and says what does not hold.
//!
//! What a step may want is in docs/scripts.md; [`KEYS`] is the list.

use std::net::IpAddr;

use pfc::osfp::{Fingerprints, SEED};
use pfsim::stories::fields::{hex, unhex};
use pfsim::stories::{Player, Story};
use serde_json::{Value, json};

use super::packet::{Seen, Spec};
use super::{Act, Script, Step};

/// The host of the stories, changed as the script says.
fn story(script: &Script) -> Result<Story, String> {
    let iface = |name: &str, index: u16, flags: u32, groups: &[&str], addrs: &[&str]| {
        json!({"name": name, "index": index, "flags": flags, "mtu": if index == 1 { 32768 } else { 1500 },
               "groups": groups, "addrs": addrs})
    };
    let mut story = json!({
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
    for (line, words) in &script.host {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        change(&mut story, &words).map_err(|e| format!("line {line}: {e}"))?;
    }
    serde_json::from_value(story).map_err(|e| e.to_string())
}

/// Carries out one `@` line.
fn change(story: &mut Value, words: &[&str]) -> Result<(), String> {
    let list = |v: &mut Value, key: &str| v[key].as_array_mut().map(std::mem::take).unwrap_or_default();
    match words {
        ["iface", name, rest @ ..] => {
            let mut all = list(story, "interfaces");
            let index = all.iter().find(|i| i["name"] == *name).and_then(|i| i["index"].as_u64());
            all.retain(|i| i["name"] != *name);
            let (mut mtu, mut groups, mut addrs) = (1500_u32, vec!["all".to_owned()], Vec::new());
            let mut rest = rest.iter();
            while let Some(word) = rest.next() {
                match *word {
                    "mtu" => mtu = rest.next().and_then(|w| w.parse().ok()).ok_or("`mtu` wants a number")?,
                    "group" => groups.push((*rest.next().ok_or("`group` wants a name")?).to_owned()),
                    addr => {
                        let (ip, prefix) = addr
                            .split_once('/')
                            .ok_or_else(|| format!("`{addr}` is no address with its prefix length"))?;
                        let _: IpAddr = ip.parse().map_err(|_| format!("`{ip}` is no address"))?;
                        let _: u8 = prefix.parse().map_err(|_| format!("`{prefix}` is no prefix length"))?;
                        addrs.push(addr.to_owned());
                    }
                }
            }
            let index = index.unwrap_or(all.len() as u64 + 1);
            all.push(
                json!({"name": name, "index": index, "flags": 34883, "mtu": mtu, "groups": groups, "addrs": addrs}),
            );
            all.sort_by_key(|i| i["index"].as_u64());
            story["interfaces"] = json!(all);
        }
        ["mtu", name, mtu] => {
            let mtu: u32 = mtu.parse().map_err(|_| format!("`{mtu}` is no MTU"))?;
            let mut all = list(story, "interfaces");
            let one = all.iter_mut().find(|i| i["name"] == *name).ok_or_else(|| format!("no interface {name}"))?;
            one["mtu"] = json!(mtu);
            story["interfaces"] = json!(all);
        }
        ["route", net, "via", hop, "on", name] => {
            let mut all = list(story, "routes");
            all.push(json!({"dst": net, "gw": hop, "if": name}));
            story["routes"] = json!(all);
        }
        ["unroute", net] => {
            let mut all = list(story, "routes");
            let before = all.len();
            all.retain(|r| r["dst"] != *net);
            if all.len() == before {
                return Err(format!("there is no route {net}"));
            }
            story["routes"] = json!(all);
        }
        other => {
            return Err(format!("found `@{}` where @iface, @mtu, @route or @unroute is wanted", other.join(" ")));
        }
    }
    Ok(())
}

/// What a script remembers between its packets.
#[derive(Default)]
struct Memory {
    given: Option<Spec>,
    came: Option<Vec<u8>>,
    got: Value,
}

/// An address that is `n` further on.
fn further(ip: IpAddr, n: u32) -> IpAddr {
    match ip {
        IpAddr::V4(a) => IpAddr::V4(u32::from(a).wrapping_add(n).into()),
        IpAddr::V6(a) => IpAddr::V6(u128::from(a).wrapping_add(n.into()).into()),
    }
}

impl Memory {
    /// The packet a step's words make, for the `n`th time.
    fn make(&mut self, words: &[String], n: u32, grows: &str) -> Result<Spec, String> {
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
        if n == 0 {
            self.given = Some(spec.clone());
        }
        let more = u16::try_from(n).unwrap_or(0);
        match grows {
            "src" => spec.src = further(spec.src, n),
            "dst" => spec.dst = further(spec.dst, n),
            "dport" => spec.dport = spec.dport.wrapping_add(more),
            _ if matches!(spec.proto, 1 | 58) => spec.rest = spec.rest.wrapping_add(n << 16),
            _ => spec.sport = spec.sport.wrapping_add(more),
        }
        Ok(spec)
    }
}

/// Runs a script. Gives a line for everything that does not hold.
#[must_use]
pub fn run(script: &Script) -> Vec<String> {
    let prints = Fingerprints::parse("pf.os", SEED).0;
    let story = match story(script) {
        Ok(s) => s,
        Err(e) => return vec![e],
    };
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
                    if let Err(e) = check(want, &got, &player) {
                        wrong.push(format!("line {}: {e}", step.line));
                    }
                }
                memory.got = got;
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
        Act::Pfctl(args) => {
            let args = filled(args, &memory.got, player)?;
            run(player, json!({"t": t, "op": "pfctl", "args": args}))
        }
        Act::Load(anchor, rules) => {
            let got = run(player, json!({"t": t, "op": "load", "anchor": anchor, "rules": rules}))?;
            let asked = step.wants.iter().any(|w| matches!(w.as_str(), "loaded" | "refused"));
            match got["loaded"].as_bool() {
                Some(false) if !asked => {
                    Err(format!("the rules do not load: {}", got["said"].as_str().unwrap_or_default()))
                }
                _ => Ok(got),
            }
        }
        Act::Packet { dir, iface, words, times, grows } => {
            let words: Vec<String> = words.iter().map(|w| filled(w, &memory.got, player)).collect::<Result<_, _>>()?;
            let (words, owner) = owner(words)?;
            if !player.has_iface(iface) {
                return Err(format!("there is no interface {iface}"));
            }
            let mut got = Value::Null;
            let (mut counts, mut verdicts) = (serde_json::Map::new(), [0_u32; 3]);
            for n in 0..*times {
                let bytes = memory.make(&words, n, grows)?.bytes();
                let mut step = json!({"t": t, "dir": dir, "if": iface, "pkt_hex": hex(&bytes)});
                if let Some((uid, gid)) = owner {
                    (step["uid"], step["gid"]) = (json!(uid), json!(gid));
                }
                got = run(player, step)?;
                for (name, more) in got["counters"].as_object().into_iter().flatten() {
                    let sum = counts.get(name).and_then(Value::as_u64).unwrap_or(0) + more.as_u64().unwrap_or(0);
                    counts.insert(name.clone(), json!(sum));
                }
                match got["verdict"].as_str() {
                    Some("pass") => verdicts[0] += 1,
                    Some("drop") => verdicts[1] += 1,
                    _ => verdicts[2] += 1,
                }
                let last = || sent(&got).last().and_then(|e| e["hex"].as_str());
                let out = got["out_hex"].as_str().or_else(last);
                if let Some(h) = out {
                    memory.came = Some(unhex(h));
                }
            }
            got["counters"] = Value::Object(counts);
            (got["passed"], got["dropped"], got["taken"]) =
                (json!(verdicts[0]), json!(verdicts[1]), json!(verdicts[2]));
            Ok(got)
        }
    }
}

/// User and group of a socket.
type Owner = (u32, u32);

/// Takes `user N` and `group N` out of a packet's words: the socket it comes from.
fn owner(words: Vec<String>) -> Result<(Vec<String>, Option<Owner>), String> {
    let (mut rest, mut uid, mut gid) = (Vec::new(), None, None);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let id = match word.as_str() {
            "user" => &mut uid,
            "group" => &mut gid,
            _ => {
                rest.push(word);
                continue;
            }
        };
        let number: u32 =
            words.next().and_then(|w| w.parse().ok()).ok_or_else(|| format!("`{word}` wants a number"))?;
        *id = Some(number);
    }
    let owner = uid.or(gid).map(|any| (uid.unwrap_or(any), gid.unwrap_or(any)));
    Ok((rest, owner))
}

/// A word with each `{KEY}` in it replaced by that value of the step before.
fn filled(word: &str, got: &Value, player: &Player<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('{') {
        let (key, more) = after.split_once('}').ok_or_else(|| format!("`{word}`: a brace is not closed"))?;
        out += before;
        out += &value(key, got, player)?.ok_or_else(|| format!("`{{{key}}}`: the step before has no such value"))?;
        rest = more;
    }
    Ok(out + rest)
}

/// What left besides the packet itself.
fn sent(got: &Value) -> Vec<&Value> {
    let all = got["emitted"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter(|e| e["hex"].is_string() && e["via"] != "forward").collect()
}

/// What a key may be; `N` is a number, `*` anything.
pub(super) const KEYS: &[&str] = &[
    "verdict",
    "reason",
    "rule",
    "anchor",
    "tag",
    "if",
    "fwd",
    "prio",
    "queue",
    "rtable",
    "delay",
    "rdr_localhost",
    "deliver",
    "divert.*",
    "passed",
    "dropped",
    "taken",
    "decisions",
    "decisionN.*",
    "out.*",
    "in.*",
    "sent",
    "sentN.*",
    "states",
    "stateN.*",
    "logs",
    "logN.*",
    "count.*",
    "said",
    "loaded",
    "rules",
    "ruleN.*",
    "label.*",
    "table.*",
    "limit.*",
    "nodes",
    "frags",
    "half-open",
];

/// Whether a key is one of [`KEYS`].
fn is_key(key: &str) -> bool {
    KEYS.iter().any(|k| {
        if let Some((head, _)) = k.split_once("N.") {
            key.strip_prefix(head).and_then(|r| r.split_once(['.', '@'])).is_some_and(|(n, _)| n.parse::<u32>().is_ok())
        } else if let Some(head) = k.strip_suffix('*') {
            key.starts_with(head)
        } else {
            *k == key
        }
    })
}

fn plain(v: &Value) -> Option<String> {
    match v {
        Value::Null => None,
        Value::String(s) => Some(s.clone()),
        v => Some(v.to_string()),
    }
}

/// Follows dots into a value.
fn at<'v>(v: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.')
        .try_fold(v, |v, part| part.parse::<usize>().map_or_else(|_| v.get(part), |i| v.get(i).or_else(|| v.get(part))))
}

/// `NAMEn.PATH`: the number and the path.
fn numbered<'k>(key: &'k str, name: &str) -> Option<(usize, &'k str)> {
    let (n, path) = key.strip_prefix(name)?.split_once('.')?;
    Some((n.parse().ok()?, path))
}

/// The value a key stands for.
fn value(key: &str, got: &Value, player: &Player<'_>) -> Result<Option<String>, String> {
    if !is_key(key) {
        return Err(format!("`{key}` is nothing to ask for; there are {}", KEYS.join(" ")));
    }
    let field = |hex: &Value, name: &str| {
        let Some(seen) = hex.as_str().and_then(|h| Seen::new(&unhex(h))) else { return Ok(None) };
        if Seen::knows(name) { Ok(seen.field(name)) } else { Err(format!("a packet has no field `{name}`")) }
    };
    if let Some(name) = key.strip_prefix("out.") {
        return field(&got["out_hex"], name);
    }
    if let Some(name) = key.strip_prefix("in.") {
        return field(&got["in_hex"], name);
    }
    if let Some(name) = key.strip_prefix("count.") {
        let name = name.replace('_', " ");
        if !player.counts(&name) {
            return Err(format!("there is no counter `{name}`"));
        }
        let counters = &got["counters"];
        let own = counters.get(&name).or_else(|| counters.get(format!("limit:{name}")));
        return Ok(Some(own.map_or_else(|| "0".into(), Value::to_string)));
    }
    if let Some((n, name)) = numbered(key, "sent") {
        let Some(e) = sent(got).get(n).copied() else { return Ok(None) };
        return match name {
            "via" | "if" | "nexthop" => Ok(plain(&e[name])),
            _ => field(&e["hex"], name),
        };
    }
    if let Some((n, path)) = numbered(key, "log") {
        return Ok(at(&got["logs"], &format!("{n}.{path}")).and_then(plain));
    }
    if let Some((n, path)) = numbered(key, "state") {
        return Ok(at(&got["states"], &format!("{n}.{path}")).and_then(plain));
    }
    if let Some((n, path)) = numbered(key, "decision") {
        return Ok(at(&got["decisions"], &format!("{n}.{path}")).and_then(plain));
    }
    if let Some(path) = key.strip_prefix("divert.") {
        return Ok(at(&got["divert"], path).and_then(plain));
    }
    Ok(match book(key, player) {
        Some(found) => found,
        None => match key {
            "states" => got["states"].as_array().map(|a| a.len().to_string()),
            "logs" => got["logs"].as_array().map(|a| a.len().to_string()),
            "sent" => Some(sent(got).len().to_string()),
            "if" => plain(&got["out_if"]),
            "said" => plain(&got["said"]).map(|s| s.split_whitespace().collect::<Vec<_>>().join("_")),
            "decisions" => got["decisions"].as_array().map(|a| a.len().to_string()),
            _ => plain(&got[key]),
        },
    })
}

/// What stands in the filter's books: `ruleN.FIELD`, `ruleN@ANCHOR.FIELD`, `label.NAME.FIELD`, `table.NAME.PATH`, `limit.NAME`.
fn book(key: &str, player: &Player<'_>) -> Option<Option<String>> {
    if let Some(rest) = key.strip_prefix("rule")
        && rest.starts_with(|c: char| c.is_ascii_digit())
    {
        let (which, name) = rest.rsplit_once('.')?;
        let (nr, anchor) = which.split_once('@').unwrap_or((which, ""));
        let nr: u64 = nr.parse().ok()?;
        let rules = player.rules();
        let one = rules.iter().find(|r| r["nr"] == nr && r["anchor"] == anchor);
        return Some(one.and_then(|r| plain(&r[name])));
    }
    if let Some(rest) = key.strip_prefix("label.") {
        let (label, name) = rest.rsplit_once('.')?;
        let rules = player.rules();
        let mut all = rules.iter().filter(|r| r["label"] == label).peekable();
        all.peek()?;
        return Some(Some(all.filter_map(|r| r[name].as_u64()).sum::<u64>().to_string()));
    }
    if let Some(rest) = key.strip_prefix("table.") {
        let (name, path) = rest.split_once('.')?;
        let Some(table) = player.table_named(name) else { return Some(None) };
        // Addresses have dots of their own: `entries.10.0.0.5.counted.in.pass`.
        if let Some(rest) = path.strip_prefix("entries.") {
            let entries = table["entries"].as_object()?;
            let found = entries.iter().find_map(|(a, v)| rest.strip_prefix(a.as_str()).map(|p| (p, v)))?;
            let (p, v) = found;
            return Some(if p.is_empty() {
                Some("yes".into())
            } else {
                at(v, p.trim_start_matches('.')).and_then(plain)
            });
        }
        return Some(at(&table, path).and_then(plain));
    }
    if key == "rules" {
        return Some(Some(player.rules().len().to_string()));
    }
    if key.starts_with("limit.") || ["nodes", "frags", "half-open"].contains(&key) {
        return Some(at(&player.figures(), key).and_then(plain));
    }
    None
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
fn check(want: &str, got: &Value, player: &Player<'_>) -> Result<(), String> {
    const FORWARDED: [&str; 9] =
        ["forwarded", "blocked-out", "local", "ttl-exceeded", "noroute", "too-big", "drop", "consumed", "pass"];
    match want {
        "pass" | "drop" | "consumed" => {
            let found = got["verdict"].as_str().unwrap_or("nothing");
            return if found == want { Ok(()) } else { Err(format!("wanted {want}, found {found} ({})", brief(got))) };
        }
        "loaded" | "refused" => {
            return match got["loaded"].as_bool() {
                Some(loaded) if loaded == (want == "loaded") => Ok(()),
                Some(_) => {
                    Err(format!("wanted {want}, found otherwise: {}", got["said"].as_str().unwrap_or("no complaint")))
                }
                None => Err(format!("`{want}` is of a `load`")),
            };
        }
        _ => {}
    }
    let Some((key, wanted)) = want.split_once('=') else {
        if !FORWARDED.contains(&want) {
            return Err(format!("`{want}` is nothing to want: a verdict, what forwarding did, or KEY=VALUE"));
        }
        let found = got["fwd"].as_str().unwrap_or("nothing");
        return if found == want { Ok(()) } else { Err(format!("wanted {want}, found {found} ({})", brief(got))) };
    };
    let (key, not) = key.strip_suffix('!').map_or((key, false), |k| (k, true));
    let (key, part) = key.strip_suffix('~').map_or((key, false), |k| (k, true));
    let wanted = filled(wanted, got, player)?;
    let found = value(key, got, player)?;
    let holds = match &found {
        Some(f) if part => f.contains(&wanted) != not,
        Some(f) => fits(&wanted, f) != not,
        None => wanted == "none" || not,
    };
    if holds { Ok(()) } else { Err(format!("wanted {want}, found {}", found.unwrap_or_else(|| "nothing".into()))) }
}

/// What happened, in a few words.
fn brief(got: &Value) -> String {
    format!("reason {}, rule {}, counted {}", got["reason"], got["rule"], got["counters"])
}
