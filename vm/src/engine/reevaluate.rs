//! States under new rules: would the packet that made one still pass?
//!
//! Of each state the first packet is made up anew (a SYN, a datagram, a query) and shown to the rules, with the
//! translation the state has. Nothing else happens: no state, no counter, no rate, no `once`, no log record.
//! A state that floats is taken to be on the interface the host's routes name.

use crate::engine::Engine;
use crate::engine::cx::seconds;
use crate::engine::ifaces::{Ifaces, Tags};
use crate::engine::rules::RuleBook;
use crate::engine::tables::TableSet;
use crate::exec::{self, Context, Hit, Question, Site, Step, UnitId};
use crate::host::Host;
use crate::isa::RouteTest;
use crate::osfp::Looks;
use crate::packet::{Packet, PacketDesc, PktMeta, describe, proto};
use crate::rule::{self, Addr, Af, Direction};
use crate::state::key::{Idx, KeySide, StateKey};
use crate::state::record::{FLOATING, State};

/// Longest packet made up.
const LONGEST: usize = 64;

impl Engine {
    /// Removes states whose first packet the rules in force would block; gives their number.
    pub fn reevaluate<H: Host>(&mut self, host: &mut H) -> u32 {
        let now = seconds(host.now_ms());
        let (mut at, mut killed) = (self.table.first(), 0_u32);
        for _ in 0..self.table.len() {
            let Some(state) = self.table.get(at).cloned() else { break };
            let next = self.table.next(at);
            if self.would_block(at, &state, host) {
                self.remove_state(at, host, now);
                killed = killed.saturating_add(1);
            }
            at = next;
        }
        killed
    }

    fn would_block<H: Host>(&mut self, slot: u32, state: &State, host: &mut H) -> bool {
        let dir = state.direction();
        let side = KeySide::lookup(dir);
        let (Some(key), Some(other)) = (self.table.key(slot, side), self.table.key(slot, side.other())) else {
            return false;
        };
        let mut bytes = [0; LONGEST];
        let Some(window) = first_packet(&key, dir, &mut bytes) else { return false };
        let packet = Packet::whole(window);
        let iface = self.iface_of(state, &key, host);
        let Ok(pd) = describe(&packet, &PktMeta::default(), key.af, dir, iface) else { return false };
        self.evaluate_alone(&packet, pd, &other, host).is_some_and(|action| action == rule::Action::Block)
    }

    fn iface_of<H: Host>(&self, state: &State, key: &StateKey, host: &H) -> u16 {
        if state.kif != FLOATING {
            return state.kif;
        }
        let near = match state.direction() {
            Direction::In => Idx::source(Direction::In),
            Direction::Out => Idx::dest(Direction::Out),
        };
        host.route(key.af, &near.of(&key.addr)).map_or(0, |h| h.iface)
    }

    /// What the rules say, without consequences. `None` when they come to no end.
    fn evaluate_alone<H: Host>(
        &mut self,
        packet: &Packet<'_>,
        mut pd: PacketDesc,
        other: &StateKey,
        host: &mut H,
    ) -> Option<rule::Action> {
        self.machine.reset(self.body, self.fuel);
        for _ in 0..self.fuel {
            let forest = self.forest.as_ref()?;
            let mut ask =
                Ask { tables: &self.tables, rules: &self.rules, ifaces: &self.ifaces, tags: &self.tags, host };
            match exec::run(forest, &pd, &mut self.machine, &mut ask) {
                Step::Done => {
                    let hit = self.machine.noted()?;
                    return self.rules.get(self.rules.place(hit.site)).map(|e| e.rule.action);
                }
                Step::Drop(_) => return None,
                // Rules behind a match rule that translates see what the state has made of the packet.
                Step::Suspend(Question::Translate(_)) => translate(&mut pd, other),
                Step::Suspend(question) => self.answer_alone(packet, &pd, question, host),
            }
        }
        None
    }

    fn answer_alone<H: Host>(&mut self, packet: &Packet<'_>, pd: &PacketDesc, question: Question, host: &H) {
        match question {
            Question::Translate(_) => {}
            Question::Route(test) => {
                let addr = if test == RouteTest::NoRouteDst { pd.ndaddr } else { pd.nsaddr };
                let hop = host.route(pd.af, &addr);
                let yes = match test {
                    RouteTest::UrpfFailed => hop.is_none_or(|h| h.iface != pd.iface),
                    _ => hop.is_none(),
                };
                self.machine.answer(yes);
            }
            Question::Label { .. } => self.machine.answer(false),
            Question::Os(os) => {
                let prints = || self.main().map_or(&[][..], |m| m.prints()).iter().copied();
                let yes = !self.prints_flushed && Looks::of(packet, pd, prints()).like(os, prints());
                self.machine.answer(yes);
            }
            Question::Socket => self.machine.answer(false),
        }
    }
}

/// Sets both ends to what the state has made of them.
fn translate(pd: &mut PacketDesc, other: &StateKey) {
    let (src, dst) = (Idx::source(pd.dir), Idx::dest(pd.dir));
    pd.naf = other.af;
    if pd.icmp().is_none() {
        (pd.nsport, pd.ndport) = (src.of(&other.port), dst.of(&other.port));
    }
    (pd.nsaddr, pd.ndaddr) = (src.of(&other.addr), dst.of(&other.addr));
}

/// The packet that opens a conversation: headers and nothing behind them.
fn first_packet<'b>(key: &StateKey, dir: Direction, room: &'b mut [u8; LONGEST]) -> Option<&'b mut [u8]> {
    let (src, sport) = key.end(Idx::source(dir));
    let (dst, dport) = key.end(Idx::dest(dir));
    let mut next = [0; 20];
    let len = transport(key.proto, (sport, dport), &mut next);
    let at = match key.af {
        Af::Inet => 20_usize,
        Af::Inet6 => 40,
    };
    let total = at.checked_add(len)?;
    let short = u16::try_from(total).ok()?.to_be_bytes();
    let payload = u16::try_from(len).ok()?.to_be_bytes();
    match key.af {
        Af::Inet => {
            put(room, 0, &[0x45, 0]);
            put(room, 2, &short);
            put(room, 8, &[64, key.proto]);
            put(room, 12, src.0.get(..4)?);
            put(room, 16, dst.0.get(..4)?);
        }
        Af::Inet6 => {
            put(room, 0, &[0x60]);
            put(room, 4, &payload);
            put(room, 6, &[key.proto, 64]);
            put(room, 8, &src.0);
            put(room, 24, &dst.0);
        }
    }
    put(room, at, next.get(..len)?);
    room.get_mut(..total)
}

/// The transport header; gives its length.
fn transport(protocol: u8, (sport, dport): (u16, u16), into: &mut [u8; 20]) -> usize {
    match protocol {
        proto::TCP => {
            put(into, 0, &sport.to_be_bytes());
            put(into, 2, &dport.to_be_bytes());
            put(into, 12, &[0x50, crate::packet::tcp_flags::SYN, 0xff, 0xff]);
            20
        }
        proto::UDP => {
            put(into, 0, &sport.to_be_bytes());
            put(into, 2, &dport.to_be_bytes());
            put(into, 4, &[0, 8]);
            8
        }
        // One end of an ICMP key is the identifier, the other the type.
        proto::ICMP | proto::ICMPV6 => {
            let query = if protocol == proto::ICMP { 8 } else { 128 };
            put(into, 0, &[query, 0]);
            put(into, 4, &sport.to_be_bytes());
            8
        }
        _ => 0,
    }
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in into.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

/// What the interpreter asks, answered without leaving a trace.
struct Ask<'a, H> {
    tables: &'a TableSet,
    rules: &'a RuleBook,
    ifaces: &'a Ifaces,
    tags: &'a Tags,
    host: &'a mut H,
}

impl<H: Host> Context for Ask<'_, H> {
    fn in_table(&mut self, unit: UnitId, table: rule::TableId, af: Af, addr: &Addr) -> bool {
        let entry = self.tables.slot(unit, table).and_then(|s| self.tables.all.lookup(s, af, addr));
        entry.is_some_and(|e| !e.not)
    }
    fn is_iface(&mut self, unit: UnitId, name: rule::IfaceId, live: u16) -> bool {
        self.ifaces.is(unit, name, live)
    }
    fn tag(&mut self, unit: UnitId, tag: rule::TagId) -> u16 {
        self.tags.live(unit, tag)
    }
    fn random(&mut self) -> u32 {
        self.host.random_u32()
    }
    fn under_rate(&mut self, _: Site) -> bool {
        true
    }
    fn is_live(&mut self, rule: Site) -> bool {
        self.rules.get(self.rules.place(rule)).is_some_and(|e| !e.spent)
    }
    fn use_up(&mut self, rule: Site) -> bool {
        self.is_live(rule)
    }
    fn evaluated(&mut self, _: Site) {}
    fn log(&mut self, _: Hit, _: Option<Site>) {}
}
