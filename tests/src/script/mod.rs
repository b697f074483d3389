//! Packet scripts: rules, packets in one line each, and what must become of them.
//!
//! ```text
//! # B093: an inside host is seen with the gateway's address
//! match out on em1 inet from 10.0.0.0/24 nat-to (em1)
//! pass
//! ---
//! 0.0 fwd em0 tcp 10.0.0.5:1000 > 198.51.100.7:80 S
//!     -> pass out.src=192.0.2.1 out.sport=50001..65535 out.sum=ok states=2
//! 0.1 fwd em1 reply SA
//!     -> pass out.dst=10.0.0.5 out.dport=1000 out.sum=ok
//! ```
//! Above the line of dashes stand the rules, then steps; docs/scripts.md tells all of it. A step begins with its second:
//!
//! * `in|out|fwd IF PROTO SRC > DST WORDS`: a packet seen going in or out of an interface, or forwarded (in, routed,
//!   out). `WORDS` are those of [`packet::Spec::words`].
//! * `in|out|fwd IF reply WORDS`: the answer to the last packet that came out.
//! * `in|out|fwd IF error ADDR WORDS`: an ICMP error of a router about the last packet that came out (`first N` quotes
//!   N bytes of it).
//! * `in|out|fwd IF again WORDS`: the last packet given once more, with other words.
//! * `tick`: time passes. `pfctl ARGS`: a command. `load [ANCHOR] RULES`: rules, `;` between them.
//! * `×N` (or `*N`) before the direction: the packet N times, source port or ICMP identifier one more each time;
//!   `*N:src`, `*N:dst`, `*N:sport`, `*N:dport`, `*N:id` say what grows.
//! * `{KEY}` anywhere in a step stands for that value of the step before, as `->` would name it.
//!
//! A line `@iface NAME ADDR/LEN… [mtu N] [group G]…`, `@mtu NAME N`, `@route NET via ADDR on NAME` or `@unroute NET` above
//! the line of dashes changes the host.
//!
//! Below it, after `->`, what must hold, see [`run()`]. The host is that of the stories: em0 inside, 10.0.0.1/24; em1
//! outside, 192.0.2.1/24; em2 with 172.16.0.1/24; IPv6 2001:db8:a::1, :b::1, :c::1; the default route leaves by em1.

pub mod packet;
mod run;

pub use run::run;

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A packet: direction, interface, how it is made, how often.
    Packet {
        /// `in`, `out` or `fwd`.
        dir: String,
        /// Interface.
        iface: String,
        /// The words that make it.
        words: Vec<String>,
        /// How often.
        times: u32,
        /// What grows by one each time: `sport` (of ICMP the identifier), `dport`, `src`, `dst` or `id`.
        grows: String,
    },
    /// Nothing but time.
    Tick,
    /// A command.
    Pfctl(String),
    /// Rules into an anchor, or the main ruleset.
    Load(String, String),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Line it begins in.
    pub line: usize,
    /// Second since the start, as written.
    pub t: String,
    /// What happens.
    pub act: Act,
    /// What must hold then: key, operator, value.
    pub wants: Vec<String>,
}

/// A script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// First comment.
    pub title: String,
    /// Rules.
    pub rules: String,
    /// What is said of the host: the line and its words.
    pub host: Vec<(usize, Vec<String>)>,
    /// Steps.
    pub steps: Vec<Step>,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// The first line that means nothing, with its number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate().map(|(i, l)| (i + 1, l));
        let title = text.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']).to_owned();
        let (mut rules, mut host, mut dashes) = (String::new(), Vec::new(), false);
        for (number, line) in lines.by_ref() {
            if line.starts_with("---") {
                dashes = true;
                break;
            }
            if let Some(said) = line.strip_prefix('@') {
                host.push((number, said.split_whitespace().map(str::to_owned).collect()));
                // Lines of the rules keep their numbers.
                rules.push('\n');
                continue;
            }
            rules.push_str(line);
            rules.push('\n');
        }
        if !dashes {
            return Err("there is no line of dashes (`---`) between the rules and the steps".into());
        }
        let mut steps: Vec<Step> = Vec::new();
        for (number, line) in lines {
            let line = line.split(" #").next().unwrap_or_default().trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with('@') {
                return Err(format!("line {number}: what is said of the host stands above the line of dashes"));
            }
            if let Some(wants) = line.strip_prefix("->") {
                let step = steps.last_mut().ok_or_else(|| format!("line {number}: nothing to expect of"))?;
                step.wants.extend(wants.split_whitespace().map(str::to_owned));
                continue;
            }
            steps.push(Self::step(number, line).map_err(|e| format!("line {number}: {e}"))?);
        }
        Ok(Self { title, rules, host, steps })
    }

    fn step(line: usize, text: &str) -> Result<Step, String> {
        let (t, rest) = text.split_once(char::is_whitespace).ok_or("a step is a second and what happens")?;
        t.parse::<f64>().map_err(|_| format!("found `{t}` where a second is wanted"))?;
        let mut words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
        let (mut times, mut grows) = (1, "sport".to_owned());
        if let Some(n) = words.first().and_then(|w| w.strip_prefix(['*', '×'])) {
            let (n, what) = n.split_once(':').unwrap_or((n, "sport"));
            times = n.parse().map_err(|_| format!("`*{n}` is no number of times"))?;
            if !["sport", "dport", "src", "dst", "id"].contains(&what) {
                return Err(format!("`{what}` cannot grow: sport, dport, src, dst, id can"));
            }
            grows = what.to_owned();
            words.remove(0);
        }
        let act = match words.first().map(String::as_str) {
            Some("tick") => Act::Tick,
            Some("pfctl") => Act::Pfctl(words[1..].join(" ")),
            Some("load") => {
                let rest = rest.trim_start_matches("load").trim();
                let (anchor, rules) = match rest.split_once(": ") {
                    Some((a, r)) => (a.to_owned(), r),
                    None => (String::new(), rest),
                };
                Act::Load(anchor, rules.split(';').map(|r| format!("{}\n", r.trim())).collect())
            }
            Some(dir @ ("in" | "out" | "fwd")) if words.len() <= 2 => {
                return Err(format!("`{dir}` wants an interface and a packet"));
            }
            Some("in" | "out" | "fwd") => {
                let (dir, iface) = (words.remove(0), words.remove(0));
                Act::Packet { dir, iface, words, times, grows }
            }
            other => return Err(format!("found {other:?} where in, out, fwd, tick, pfctl or load is wanted")),
        };
        Ok(Step { line, t: t.to_owned(), act, wants: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_read() {
        let s = Script::parse(
            "# t\npass\n---\n0.5 *3 in em0 icmp 10.0.0.5 > 10.0.0.1\n -> pass # why\n1 load a/b: pass ; block\n",
        )
        .unwrap();
        assert_eq!((s.title.as_str(), s.rules.as_str(), s.steps.len()), ("t", "# t\npass\n", 2));
        assert_eq!(s.steps[0].wants, ["pass"]);
        assert_eq!(s.steps[1].act, Act::Load("a/b".into(), "pass\nblock\n".into()));
        assert!(Script::parse("x\n---\n-> pass\n").is_err());
        assert!(Script::parse("x\n---\n1 jump\n").is_err());
    }
}
