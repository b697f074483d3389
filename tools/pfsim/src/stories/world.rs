//! A packet through the recorded host: in, routing, out, and what the filter sends of its own.

use pfvm::engine::{Carried, Engine, LogRecord, Outcome, Seen, SendTo, Verdict, send_error};
use pfvm::host::Host;
use pfvm::packet::{Packet, PacketDesc, PktMeta, describe};
use pfvm::rule::{Addr, Af, Direction, RouteKind};
use serde_json::{Value, json};

use super::fields::hex;
use super::sim::{Sim, ip_of};

/// Largest packet.
const ROOM: usize = 65_535 + 256;
/// `pf_route` sends a packet on at most so often.
const MAX_ROUTED: u32 = 3;

/// The host with its filter, and what a step recorded.
pub(super) struct World {
    /// The filter.
    pub engine: Engine,
    /// The host.
    pub sim: Sim,
    /// Runs of the filter in this step.
    pub decisions: Vec<Value>,
    /// What left in this step.
    pub emitted: Vec<Value>,
    room: Vec<u8>,
}

/// A packet that came out of the filter.
pub(super) struct Through {
    /// What it decided.
    pub outcome: Outcome,
    /// Its bytes now.
    pub bytes: Vec<u8>,
    /// Whether it was sent on by `route-to` and is gone.
    pub routed: bool,
}

/// Family of an L3 packet by its version.
#[must_use]
pub(super) fn family(bytes: &[u8]) -> Af {
    if bytes.first().is_some_and(|b| b >> 4 == 6) { Af::Inet6 } else { Af::Inet }
}

/// Family the recorded host's forwarding takes a packet for: of what is not IPv4 it sees IPv6.
fn forwarded_as(bytes: &[u8]) -> Af {
    if bytes.first().is_some_and(|b| b >> 4 == 4) { Af::Inet } else { Af::Inet6 }
}

/// An address of a packet, its offset by family.
fn address(bytes: &[u8], af: Af, v4: usize, v6: usize) -> Addr {
    let mut a = [0; 16];
    match af {
        Af::Inet => a[..4].copy_from_slice(bytes.get(v4..v4 + 4).unwrap_or(&[0; 4])),
        Af::Inet6 => a.copy_from_slice(bytes.get(v6..v6 + 16).unwrap_or(&[0; 16])),
    }
    Addr(a)
}

fn source(bytes: &[u8], af: Af) -> Addr {
    address(bytes, af, 12, 8)
}

fn destination(bytes: &[u8]) -> Addr {
    address(bytes, forwarded_as(bytes), 16, 24)
}

/// The TTL of a packet.
fn ttl(bytes: &[u8]) -> u8 {
    bytes.get(if forwarded_as(bytes) == Af::Inet { 8 } else { 7 }).copied().unwrap_or(0)
}

/// A packet as pf leaves it between its runs: other addresses, and the header checksum of the old ones.
fn as_pf_leaves(before: &[u8], after: &[u8]) -> Vec<u8> {
    let mut bytes = after.to_vec();
    if family(before) == Af::Inet && forwarded_as(after) == Af::Inet && before.len() >= 20 && after.len() >= 20 {
        let word = |b: &[u8], at: usize| u32::from(u16::from_be_bytes([b[at], b[at + 1]]));
        let words = (12..20).step_by(2);
        // RFC 1624 §3, backwards.
        let sum = words.fold(0xffff & !word(after, 10), |sum, at| sum + word(before, at) + (0xffff & !word(after, at)));
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        bytes[10..12].copy_from_slice(&u16::try_from(0xffff & !sum).unwrap_or(0).to_be_bytes());
    }
    bytes
}

/// One hop less.
fn hop(bytes: &mut [u8]) {
    match forwarded_as(bytes) {
        Af::Inet => {
            bytes[8] -= 1;
            // The output path computes the header checksum anew.
            let hlen = (usize::from(bytes[0] & 15) * 4).min(bytes.len());
            bytes[10..12].fill(0);
            let sum = pfvm::wire::checksum::of(&bytes[..hlen]);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        Af::Inet6 => bytes[7] -= 1,
    }
}

fn dont_fragment(bytes: &[u8]) -> bool {
    bytes.get(6).is_some_and(|b| b & 0x40 != 0)
}

/// Cuts an IPv4 packet to an MTU.
fn fragment4(bytes: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let hlen = usize::from(bytes[0] & 15) * 4;
    let step = (mtu - hlen) & !7;
    let base = u16::from_be_bytes([bytes[6], bytes[7]]);
    let mut out = Vec::new();
    let data = &bytes[hlen..];
    for (i, part) in data.chunks(step).enumerate() {
        let mut f = bytes[..hlen].to_vec();
        let more = (i + 1) * step < data.len() || base & 0x2000 != 0;
        let off = (base & 0x1fff) + u16::try_from(i * step / 8).unwrap_or(0);
        let word = (base & 0xc000) | if more { 0x2000 } else { 0 } | off;
        f[6..8].copy_from_slice(&word.to_be_bytes());
        f[2..4].copy_from_slice(&u16::try_from(hlen + part.len()).unwrap_or(0).to_be_bytes());
        f[10..12].fill(0);
        let sum = pfvm::wire::checksum::of(&f);
        f[10..12].copy_from_slice(&sum.to_be_bytes());
        f.extend_from_slice(part);
        out.push(f);
    }
    out
}

impl World {
    /// A host whose filter has no rules.
    #[must_use]
    pub(super) fn new(engine: Engine, sim: Sim) -> Self {
        Self { engine, sim, decisions: Vec::new(), emitted: Vec::new(), room: vec![0; ROOM] }
    }

    fn note(&mut self, dir: Direction, out: &Outcome) {
        let Some(action) = out.action else { return };
        let mut d = json!({
            "dir": if dir == Direction::In { "in" } else { "out" },
            "action": action.name(),
            "reason": out.reason.name(),
            "rule": self.rule_number(out.rule),
        });
        if let Some(a) = out.anchor.and_then(|a| self.anchor_name(a)) {
            d["anchor"] = json!(a);
        }
        if out.state.is_some() {
            d["state"] = json!(true);
        }
        self.decisions.push(d);
    }

    /// The log records of this step, as `tcpdump -i pflogN -e` would tell them.
    fn logs(&self) -> Vec<Value> {
        let number = |nr: u32| i64::from(nr.cast_signed());
        let one = |r: &LogRecord| {
            let end = |e: &(Addr, u16)| (ip_of(r.naf, &e.0).to_string(), e.1);
            let ((src, sport), (dst, dport)) = (end(&r.src), end(&r.dst));
            let mut v = json!({
                "to": format!("pflog{}", r.to),
                "rule": number(r.anchor_nr.unwrap_or(r.nr)),
                "subrule": r.anchor_nr.map_or(-1, |_| number(r.nr)),
                "action": match r.action {
                    pfvm::rule::Action::Pass => "pass",
                    pfvm::rule::Action::Block => "block",
                    pfvm::rule::Action::Match => "match",
                },
                "reason": r.reason.name(),
                "dir": if r.dir == Direction::In { "in" } else { "out" },
                "if": self.sim.name(r.iface),
                "src": src, "sport": sport, "dst": dst, "dport": dport,
            });
            if let Some(a) = r.anchor.and_then(|a| self.anchor_name(a)) {
                v["anchor"] = json!(a);
            }
            v
        };
        self.sim.logs.iter().map(one).collect()
    }

    /// The number of a rule as a log shows it: −1 when it is no longer in force or none decided.
    #[must_use]
    pub(super) fn rule_number(&self, place: u32) -> i64 {
        match self.engine.rules.get(place) {
            Some(e) if e.live && e.site.is_some() => i64::from(e.rule.nr),
            _ => -1,
        }
    }

    /// The anchor an anchor rule calls.
    #[must_use]
    pub(super) fn anchor_name(&self, place: u32) -> Option<String> {
        let e = self.engine.rules.get(place)?;
        let site = e.site?;
        let p = self.engine.programs().get(usize::from(site.unit.0))?;
        let path = p.text(p.anchor(e.rule.anchor?)?.path);
        Some(path.to_owned())
    }

    /// One run of the filter, and `route-to` after it.
    pub(super) fn test(
        &mut self,
        bytes: &[u8],
        dir: Direction,
        forwarded: bool,
        iface: u16,
        carried: Carried,
        routed: u32,
    ) -> Through {
        let af = family(bytes);
        let mut window = vec![0; Packet::HEADROOM];
        window.extend_from_slice(bytes);
        let mut room = std::mem::take(&mut self.room);
        let seen = Seen { af, dir, forwarded, iface };
        let (outcome, now) = {
            let Some(mut pkt) = Packet::new(&mut window, Packet::HEADROOM, &[]) else {
                return Through { outcome: Outcome::untouched(0, carried), bytes: bytes.to_vec(), routed: false };
            };
            let outcome = self.engine.process(&mut pkt, &PktMeta::default(), seen, carried, &mut room, &mut self.sim);
            let mut now = vec![0; pkt.len()];
            let _ = pkt.read(0, &mut now);
            (outcome, now)
        };
        let now = match outcome.replaced {
            Some(r) => room[r.at..r.at + r.len].to_vec(),
            None => now,
        };
        self.room = room;
        if let Some(n) = outcome.nested {
            let inner = Outcome {
                action: n.action,
                reason: n.reason,
                rule: n.rule,
                anchor: n.anchor,
                state: n.state,
                nested: None,
                ..outcome
            };
            self.note(dir, &inner);
        }
        self.note(dir, &outcome);
        let mut through = Through { outcome, bytes: now, routed: false };
        if let Some(to) = outcome.send_to
            && outcome.verdict == Verdict::Pass
        {
            self.route_to(bytes, &mut through, &to, dir, routed);
        }
        through
    }

    /// Carries out `route-to`, `reply-to` or `dup-to` (`pf_route`, `pf_route6`) for a packet that was `came` before its run.
    fn route_to(&mut self, came: &[u8], t: &mut Through, to: &SendTo, dir: Direction, routed: u32) {
        let dup = to.kind == RouteKind::DupTo;
        if routed > MAX_ROUTED {
            t.routed = true;
            return;
        }
        t.routed = !dup;
        let mut bytes = t.bytes.clone();
        let af = family(&bytes);
        if dir == Direction::In {
            if ttl(&bytes) <= 1 {
                if !dup {
                    self.stack_error(&as_pf_leaves(came, &bytes), Error::TimeExceeded, 0, true);
                }
                return;
            }
            hop(&mut bytes);
        }
        let Some(hop) = self.sim.route(af, &to.hop) else {
            if !dup {
                self.stack_error(&bytes, Error::NoRoute, 0, true);
            }
            return;
        };
        let mut carried = t.outcome.carried;
        if !dup && dir == Direction::In {
            let out = self.test(&bytes, Direction::Out, false, hop.iface, carried, routed + 1);
            if out.outcome.verdict != Verdict::Pass || out.routed {
                return;
            }
            bytes = out.bytes;
            carried = out.outcome.carried;
        }
        let n = if af == Af::Inet { 4 } else { 16 };
        let name = self.sim.name(hop.iface).to_owned();
        let next = hex(&to.hop.0[..n]);
        let mtu = usize::try_from(hop.mtu).unwrap_or(1500);
        if let Some(parts) = self.refragment(&bytes, &carried) {
            for p in parts {
                self.emitted.push(json!({"via": "route-to", "if": name, "nexthop": next, "hex": hex(&p)}));
            }
        } else if bytes.len() <= mtu {
            self.emitted.push(json!({"via": "route-to", "if": name, "nexthop": next, "hex": hex(&bytes)}));
        } else if af == Af::Inet && !dont_fragment(&bytes) {
            for f in fragment4(&bytes, mtu) {
                self.emitted.push(json!({"via": "route-to", "if": name, "nexthop": next, "hex": hex(&f)}));
            }
        } else if !dup {
            self.stack_error(&bytes, Error::TooBig, hop.mtu, true);
        }
    }

    /// A reassembled IPv6 packet is cut again on its way out.
    fn refragment(&mut self, bytes: &[u8], carried: &Carried) -> Option<Vec<Vec<u8>>> {
        let tag = carried.reassembled?;
        let mut window = bytes.to_vec();
        let packet = Packet::whole(&mut window);
        let mut out = Vec::new();
        let mut room = vec![0; ROOM];
        let id = pfvm::host::Random::random_u32(&mut self.sim);
        pfvm::norm::frag::refragment6(&packet, &tag, id, &mut room, |f| out.push(f.to_vec()))?;
        Some(out)
    }

    /// An error the host's stack (or the filter, `generated`) sends about a packet.
    fn stack_error(&mut self, bytes: &[u8], what: Error, mtu: u32, generated: bool) {
        let af = forwarded_as(bytes);
        let (kind, code) = match (af, what) {
            (Af::Inet, Error::TimeExceeded) => (11, 0),
            (Af::Inet, Error::NoRoute) => (3, 1),
            (Af::Inet, Error::TooBig) => (3, 4),
            (Af::Inet6, Error::TimeExceeded) => (3, 0),
            (Af::Inet6, Error::NoRoute) => (1, 0),
            (Af::Inet6, Error::TooBig) => (2, 0),
        };
        let mut window = bytes.to_vec();
        let packet = Packet::whole(&mut window);
        let pd = describe(&packet, &PktMeta::default(), af, Direction::In, 0).unwrap_or_else(|_| {
            let (src, dst) = (source(bytes, af), address(bytes, af, 16, 24));
            PacketDesc { src, dst, ..PacketDesc::seen(af, Direction::In, 0) }
        });
        send_error(&packet, &pd, (kind, code, mtu), generated, &mut self.sim);
    }

    /// Sends what the filter and the host have made; what is not `generated` is filtered on its way.
    pub(super) fn flush(&mut self) {
        for _ in 0..64 {
            if self.sim.outbox.is_empty() {
                return;
            }
            let sent = self.sim.outbox.remove(0);
            let dst = destination(&sent.bytes);
            let Some(hop) = self.sim.route(sent.af, &dst) else { continue };
            let carried = Carried { tag: sent.tag, generated: sent.generated, prio: 3, ..Carried::default() };
            let t = self.test(&sent.bytes, Direction::Out, false, hop.iface, carried, 0);
            match t.outcome.verdict {
                Verdict::Pass if !t.routed => {
                    let name = self.sim.name(hop.iface).to_owned();
                    self.emitted.push(json!({"via": "send", "if": name, "hex": hex(&t.bytes)}));
                }
                Verdict::Reroute => {
                    let dst = destination(&t.bytes);
                    let way = self.sim.route(family(&t.bytes), &dst);
                    let name = way.map_or_else(String::new, |h| self.sim.name(h.iface).to_owned());
                    self.emitted.push(json!({"via": "af-to", "if": name, "hex": hex(&t.bytes)}));
                }
                _ => {}
            }
        }
    }

    /// A packet of a story: its verdict and bytes, as a step records them.
    pub(super) fn packet(&mut self, bytes: &[u8], dir: &str, iface: u16, owner: Option<(u32, u32)>) -> Value {
        self.decisions.clear();
        self.emitted.clear();
        self.sim.logs.clear();
        let direction = if dir == "out" { Direction::Out } else { Direction::In };
        let received_on = (direction == Direction::In).then_some(iface);
        let carried = Carried { prio: 3, received_on, owner, ..Carried::default() };
        let t = self.test(bytes, direction, false, iface, carried, 0);
        let o = t.outcome;
        let consumed = t.routed || matches!(o.verdict, Verdict::Consumed | Verdict::Reroute | Verdict::Divert(_));
        let verdict = match o.verdict {
            Verdict::Drop => "drop",
            _ if consumed => "consumed",
            _ => "pass",
        };
        let mut step = json!({ "verdict": verdict });
        if let Verdict::Divert(_) = o.verdict {
            self.emitted.push(json!({"via": "divert-packet", "hex": hex(&t.bytes)}));
        }
        let passed = (verdict == "pass").then(|| hex(&t.bytes));
        if o.verdict == Verdict::Reroute && dir != "fwd" {
            self.send_other_family(&t, &mut step);
        }
        if dir == "fwd" {
            step["in_hex"] = json!(passed);
            self.forward(bytes, &t, verdict, &mut step);
        } else {
            step["out_hex"] = json!(passed);
        }
        self.attributes(&t, &mut step);
        self.flush();
        if dir == "fwd" {
            self.last_out(&mut step);
        }
        let first = self.decisions.first().cloned().unwrap_or(Value::Null);
        step["reason"] = first["reason"].clone();
        step["rule"] = first["rule"].clone();
        if let Some(a) = first.get("anchor") {
            step["anchor"] = a.clone();
        }
        step["decisions"] = json!(self.decisions);
        step["emitted"] = json!(self.emitted);
        step["logs"] = json!(self.logs());
        step
    }

    /// What a packet carries after its first run.
    fn attributes(&self, t: &Through, step: &mut Value) {
        let o = &t.outcome;
        if o.verdict == Verdict::Pass {
            step["prio"] = json!(o.carried.prio);
            step["queue"] = json!(o.queue);
            step["rtable"] = json!(o.rtable);
        }
        if o.to_loopback {
            step["rdr_localhost"] = json!(true);
        }
        if o.delay != 0 && o.verdict == Verdict::Pass {
            step["delay"] = json!(o.delay);
        }
        if o.verdict == Verdict::Pass && o.carried.tag != 0 && !t.routed {
            step["tag"] = json!(self.engine.tags.name(o.carried.tag));
        }
        if let Some(d) = o.divert {
            let (kind, addr, port) = match d {
                pfvm::rule::Divert::To { addr, port } => (1, addr, port),
                pfvm::rule::Divert::Reply => (2, Addr::default(), 0),
                pfvm::rule::Divert::Packet { port } => (3, Addr::default(), port),
            };
            let n = if family(&t.bytes) == Af::Inet { 4 } else { 16 };
            step["divert"] = json!({"type": kind, "port": port, "addr": hex(&addr.0[..n])});
        }
    }

    /// A packet turned into the other family goes on without being filtered again.
    fn send_other_family(&mut self, t: &Through, step: &mut Value) {
        let dst = destination(&t.bytes);
        let way = self.sim.route(family(&t.bytes), &dst);
        let name = way.map_or_else(String::new, |h| self.sim.name(h.iface).to_owned());
        self.emitted.push(json!({"via": "af-to", "if": name, "hex": hex(&t.bytes)}));
        let _ = step;
    }

    /// The way of a forwarded packet, `came` before its run inwards.
    fn forward(&mut self, came: &[u8], t: &Through, verdict: &str, step: &mut Value) {
        let af_to = t.outcome.verdict == Verdict::Reroute;
        if !af_to && verdict != "pass" {
            step["fwd"] = json!(verdict);
            return;
        }
        let mut bytes = t.bytes.clone();
        let (af, dst) = (forwarded_as(&bytes), destination(&bytes));
        let ip = ip_of(af, &dst);
        if !af_to && (self.sim.own(&ip) || self.sim.broadcast(&ip) || t.outcome.divert.is_some()) {
            step["fwd"] = json!("local");
            step["deliver"] = json!("local");
            return;
        }
        if ttl(&bytes) <= 1 {
            step["fwd"] = json!("ttl-exceeded");
            self.emitted.push(json!({"via": "ttl-exceeded"}));
            self.stack_error(&as_pf_leaves(came, &bytes), Error::TimeExceeded, 0, t.outcome.carried.generated);
            return;
        }
        let Some(way) = self.sim.route(af, &dst) else {
            step["fwd"] = json!("noroute");
            return;
        };
        let before = bytes.clone();
        hop(&mut bytes);
        let out = self.test(&bytes, Direction::Out, true, way.iface, t.outcome.carried, 0);
        let name = self.sim.name(way.iface).to_owned();
        match out.outcome.verdict {
            Verdict::Drop => {
                step["fwd"] = json!("blocked-out");
                self.emitted.push(json!({"via": "blocked-out", "if": name}));
            }
            Verdict::Pass if out.routed => self.sent(step, "forwarded"),
            Verdict::Pass => self.output(&out, &before, way, af_to, step),
            Verdict::Divert(_) => {
                self.emitted.push(json!({"via": "divert-packet", "hex": hex(&out.bytes)}));
                step["fwd"] = json!("pass");
            }
            Verdict::Reroute => {
                self.send_other_family(&out, step);
                self.sent(step, "forwarded");
            }
            Verdict::Consumed => step["fwd"] = json!("pass"),
        }
    }

    fn sent(&mut self, step: &mut Value, how: &str) {
        step["fwd"] = json!(how);
    }

    /// The last packet that left becomes the step's output.
    fn last_out(&self, step: &mut Value) {
        const SENT_ON: [&str; 5] = ["forward", "af-to", "route-to", "refrag6", "fragment"];
        let on = |e: &&Value| e["via"].as_str().is_some_and(|v| SENT_ON.contains(&v)) && e.get("hex").is_some();
        if let Some(e) = self.emitted.iter().rev().find(on) {
            step["out_hex"] = e["hex"].clone();
            step["out_if"] = e["if"].clone();
        }
    }

    /// Puts a packet on the wire of its interface, cut to the MTU.
    fn output(&mut self, out: &Through, before: &[u8], way: pfvm::host::Hop, af_to: bool, step: &mut Value) {
        let way = if out.outcome.reroute {
            self.sim.route(family(&out.bytes), &destination(&out.bytes)).unwrap_or(way)
        } else {
            way
        };
        let name = self.sim.name(way.iface).to_owned();
        let mtu = usize::try_from(way.mtu).unwrap_or(1500);
        let af = family(&out.bytes);
        if af == Af::Inet6
            && let Some(parts) = self.refragment(&out.bytes, &out.outcome.carried)
        {
            step["fwd"] = json!("forwarded");
            for mut p in parts {
                // Each fragment is forwarded once more, as the recording did.
                let before = p.clone();
                hop(&mut p);
                if p.len() > mtu {
                    step["fwd"] = json!("too-big");
                    self.emitted.push(json!({"via": "too-big", "if": name}));
                    self.stack_error(&before, Error::TooBig, way.mtu, false);
                } else {
                    self.emitted.push(json!({"via": "refrag6", "if": name, "hex": hex(&p)}));
                }
            }
            return;
        }
        if out.bytes.len() <= mtu {
            let via = if af_to { "af-to" } else { "forward" };
            self.emitted.push(json!({"via": via, "if": name, "hex": hex(&out.bytes)}));
            step["fwd"] = json!("forwarded");
        } else if af == Af::Inet && !dont_fragment(&out.bytes) {
            for f in fragment4(&out.bytes, mtu) {
                self.emitted.push(json!({"via": "fragment", "if": name, "hex": hex(&f)}));
            }
            step["fwd"] = json!("forwarded");
        } else {
            step["fwd"] = json!("too-big");
            self.emitted.push(json!({"via": "too-big", "if": name}));
            let about = if af == Af::Inet6 { before } else { &out.bytes };
            self.stack_error(about, Error::TooBig, way.mtu, out.outcome.carried.generated);
        }
    }
}

/// Errors the host's stack sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Error {
    TimeExceeded,
    NoRoute,
    TooBig,
}
