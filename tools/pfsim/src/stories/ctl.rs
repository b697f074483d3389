//! What a story does besides packets: `pfctl` and loads, on the engine in process.

use std::net::IpAddr;

use pfvm::engine::load::label_digest;
use pfvm::exec::UnitId;
use pfvm::host::Host;
use pfvm::rule::{Addr, Af};
use pfvm::state::key::{Idx, KeySide};
use pfvm::state::record::FLOATING;
use pfvm::table::Entry;

use super::run::Player;
use super::sim::{addr_of, ip_of, prefixed, within};

/// An address or network as `pfctl` takes it for a table; `!` negates.
#[must_use]
pub(super) fn entry(text: &str) -> Option<Entry> {
    let (not, text) = text.strip_prefix('!').map_or((false, text), |t| (true, t));
    let (ip, prefix) = prefixed(text)?;
    let (af, addr) = addr_of(&ip);
    Some(Entry { not, ..Entry::new(af, addr, prefix) })
}

/// What scripts may say to `pfctl`: the words, `*` for any number of them.
const SPOKEN: &[&str] = &[
    "-t * -T *",
    "-F states",
    "-F Sources",
    "-F rules",
    "-F info",
    "-F Tables",
    "-F all",
    "-i * -F states",
    "-a * -F rules",
    "-k label -k *",
    "-k id -k *",
    "-k *",
    "-K *",
    "-s *",
    "-v -s *",
    "-vv -s *",
    "-a * -s *",
    "-z",
    "-e",
    "-d",
];

/// Whether a command line is one of [`SPOKEN`].
#[must_use]
pub(super) fn known(args: &str) -> bool {
    let words: Vec<&str> = args.split_whitespace().collect();
    SPOKEN.iter().any(|form| {
        let mut rest = words.as_slice();
        for part in form.split_whitespace() {
            match (part, rest) {
                ("*", [_, more @ ..]) => rest = more,
                (p, [w, more @ ..]) if p == *w => rest = more,
                _ => return false,
            }
        }
        rest.is_empty() || form.ends_with('*')
    })
}

fn text(v: &serde_json::Value) -> &str {
    v.as_str().unwrap_or_default()
}

impl Player<'_> {
    /// What `-s` shows.
    fn shown(&self, what: &str, verbose: u8, anchor: &str) -> Option<String> {
        Some(match what {
            "states" => self.world.state_table(verbose),
            "labels" => {
                let rules = self.rules();
                let labelled = rules.iter().filter(|r| r["label"] != "" && r["anchor"] == anchor);
                labelled
                    .map(|r| format!("{} {} {} {}\n", text(&r["label"]), r["evaluations"], r["packets"], r["bytes"]))
                    .collect()
            }
            "rules" => {
                let rules = self.rules();
                rules.iter().filter(|r| r["anchor"] == anchor).map(|r| format!("{}\n", text(&r["text"]))).collect()
            }
            "memory" => {
                let limits = self.figures()["limit"].clone();
                limits.as_object()?.iter().map(|(name, n)| format!("{name} {n}\n")).collect()
            }
            "Tables" => {
                let names =
                    self.world.engine.tables.names().iter().filter(|n| !n.dynamic && n.path == anchor.as_bytes());
                names.map(|n| format!("{}\n", String::from_utf8_lossy(&n.name))).collect()
            }
            _ => return None,
        })
    }

    /// Runs a `pfctl` command line; gives what it prints where the story's comparison asks for it.
    pub(super) fn pfctl(&mut self, args: &str) -> Option<String> {
        let words: Vec<&str> = args.split_whitespace().collect();
        match words.as_slice() {
            ["-t", name, flag, op, rest @ ..] | ["-t", name, op, rest @ .., flag] if flag.ends_with('T') => {
                return if flag.contains('n') { None } else { self.table(name, op, rest) };
            }
            ["-F", what] | ["-a", "", "-F", what] => self.flush(what, None),
            ["-i", iface, "-F", what] => self.flush(what, Some(iface)),
            ["-a", anchor, "-F", "rules"] => self.load_anchor(anchor, ""),
            ["-k", "label", "-k", label] => self.kill_label(label),
            ["-k", "id", "-k", id] => self.kill_id(id),
            ["-s", what] => return self.shown(what, 0, ""),
            ["-v", "-s", what] => return self.shown(what, 1, ""),
            ["-vv", "-s", what] => return self.shown(what, 2, ""),
            ["-a", anchor, "-s", what] => return self.shown(what, 0, anchor),
            ["-k", from] => self.kill(from, None),
            ["-k", from, "-k", to] => self.kill(from, Some(to)),
            ["-K", host] => self.kill_sources(host),
            ["-z"] => self.world.engine.rules.zero(),
            ["-e"] => self.world.engine.running = true,
            ["-d"] => self.world.engine.running = false,
            _ => {}
        }
        None
    }

    /// The second it is, as the engine counts.
    pub(super) fn second(&self) -> u32 {
        u32::try_from(self.world.sim.now_ms() / 1000).unwrap_or(u32::MAX)
    }

    fn table(&mut self, name: &str, op: &str, addrs: &[&str]) -> Option<String> {
        let now = self.second();
        let tables = &mut self.world.engine.tables;
        tables.all.clock(now);
        let persist = pfvm::image::TableFlags::PERSIST;
        let named = tables.named(b"", name.as_bytes());
        if named.is_some_and(|n| n.flags.has(pfvm::image::TableFlags::CONST) && !matches!(op, "show" | "test" | "zero"))
        {
            return None;
        }
        let found = named.map(|n| n.slot);
        let slot = match (found, op) {
            (Some(s), _) => s,
            (None, "add" | "replace") => {
                let made = tables.make(b"", name.as_bytes(), persist).ok()?;
                made.active = true;
                made.slot
            }
            (None, _) => return None,
        };
        let entries: Vec<Entry> = addrs.iter().filter_map(|a| entry(a)).collect();
        match op {
            "add" => entries.iter().for_each(|e| {
                let _ = tables.all.add(slot, e);
            }),
            "delete" => entries.iter().for_each(|e| {
                let _ = tables.all.delete(slot, e);
            }),
            "replace" => {
                let _ = tables.all.replace(slot, &entries);
            }
            "flush" => {
                tables.all.clear(slot);
            }
            "kill" => {
                tables.all.clear(slot);
                tables.kill(slot);
            }
            "zero" if !entries.is_empty() => entries.iter().for_each(|e| {
                tables.all.zero_entry(slot, e.af, &e.addr, e.prefix);
            }),
            "zero" => tables.all.zero(slot, true),
            "expire" => self.expire(slot, addrs),
            "show" => return Some(self.show(slot)),
            _ => {}
        }
        None
    }

    /// Deletes entries that came in, or were cleared, more than so many seconds ago.
    fn expire(&mut self, slot: pfvm::table::Slot, args: &[&str]) {
        let Some(age) = args.first().and_then(|a| a.parse::<u32>().ok()) else { return };
        let now = self.second();
        let tables = &mut self.world.engine.tables.all;
        let old: Vec<Entry> = tables
            .entries(slot)
            .filter(|v| now.saturating_sub(v.born) > age)
            .map(|v| Entry { not: v.not, ..Entry::new(v.af, v.addr, v.prefix) })
            .collect();
        for e in old {
            let _ = tables.delete(slot, &e);
        }
    }

    fn show(&self, slot: pfvm::table::Slot) -> String {
        let mut out = String::new();
        for e in self.world.engine.tables.all.entries(slot) {
            let ip = ip_of(e.af, &e.addr);
            let full = if e.af == Af::Inet { 32 } else { 128 };
            let not = if e.not { "!" } else { " " };
            let net = if e.prefix == full { String::new() } else { format!("/{}", e.prefix) };
            out += &format!("  {not}{ip}{net}\n");
        }
        out
    }

    fn flush(&mut self, what: &str, iface: Option<&str>) {
        match what {
            "states" => {
                let kif = iface.map(|i| self.world.sim.index(i));
                let world = &mut self.world;
                world.engine.kill_states(&mut world.sim, |_, _, s| kif.is_none_or(|k| s.kif == k && s.kif != FLOATING));
            }
            "Sources" => {
                self.world.engine.kill_sources(|_| true);
            }
            "rules" => self.load_nothing(),
            "info" => {
                self.world.engine.counters.clear();
                self.world.engine.clear_counters();
            }
            "Tables" => self.clear_tables(),
            "all" => ["rules", "Tables", "states", "Sources", "info"].iter().for_each(|w| self.flush(w, iface)),
            _ => {}
        }
    }

    /// Deletes the tables of the main ruleset.
    fn clear_tables(&mut self) {
        let tables = &mut self.world.engine.tables;
        let names = tables.names().iter().filter(|n| !n.dynamic && n.path.is_empty());
        let slots: Vec<_> = names.map(|n| n.slot).collect();
        for slot in slots {
            tables.all.clear(slot);
            tables.kill(slot);
        }
    }

    fn kill_id(&mut self, id: &str) {
        let id = u64::from_str_radix(id.split('/').next().unwrap_or_default(), 16).ok();
        let world = &mut self.world;
        world.engine.kill_states(&mut world.sim, |engine, slot, _| Some(engine.table.id(slot)) == id);
    }

    fn kill_label(&mut self, label: &str) {
        let label = label_digest(label);
        let world = &mut self.world;
        world
            .engine
            .kill_states(&mut world.sim, |engine, _, s| engine.rules.get(s.rule).is_some_and(|e| e.label == label));
    }

    /// Kills the states of a host, or from one to another.
    fn kill(&mut self, from: &str, to: Option<&str>) {
        let net = |t: &str| prefixed(t);
        let (Some(src), dst) = (net(from), to.and_then(net)) else { return };
        let world = &mut self.world;
        world.engine.kill_states(&mut world.sim, |engine, slot, s| {
            // The key as the first packet had it: its source and destination.
            let side = match s.direction() {
                pfvm::rule::Direction::Out => KeySide::Stack,
                pfvm::rule::Direction::In => KeySide::Wire,
            };
            let Some(key) = engine.table.key(slot, side) else { return false };
            let idx = Idx::source(s.direction());
            let ip = |a: Addr| ip_of(key.af, &a);
            let holds = |a: IpAddr, n: &(IpAddr, u8)| within(&a, &n.0, n.1);
            let (a, b) = (ip(idx.of(&key.addr)), ip(idx.other().of(&key.addr)));
            holds(a, &src) && dst.as_ref().is_none_or(|d| holds(b, d))
        });
    }

    fn kill_sources(&mut self, host: &str) {
        let Some((net, prefix)) = prefixed(host) else { return };
        self.world.engine.kill_sources(|n| within(&ip_of(n.key.af, &n.key.addr), &net, prefix));
    }

    /// The program of an anchor.
    #[must_use]
    pub(super) fn unit_of(&self, path: &str) -> Option<UnitId> {
        let at = self.paths.iter().position(|p| p == path)?;
        Some(UnitId(u16::try_from(at).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use pfc::osfp::{Fingerprints, SEED};
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn entries_expire_by_their_age() {
        let story = json!({ "name": "x", "rules": "pass\n", "interfaces": [], "routes": [], "steps": [] });
        let story = from_value(story).unwrap();
        let prints = Fingerprints::parse("pf.os", SEED).0;
        let mut player = Player::of(&story, &prints).unwrap();
        for (t, args) in [(0, "add 10.0.0.1"), (10, "add 10.0.0.2"), (12, "expire 5")] {
            let step = from_value(json!({ "t": t, "op": "pfctl", "args": format!("-t x -T {args}") })).unwrap();
            player.act(&step).unwrap();
        }
        assert_eq!(player.pfctl("-t x -T show").as_deref(), Some("   10.0.0.2\n"));
    }
}
