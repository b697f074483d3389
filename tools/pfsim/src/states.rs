//! The state table of an engine in this process, as `pfctl -s states` prints one.

use pfshow::states::{Key, Peer, StateLine, Style, line};
use pfvm::engine::Engine;
use pfvm::rule::Direction;
use pfvm::state::key::{KeySide, StateKey};
use pfvm::state::record::{FLOATING, NONE, State, StateFlags, StatePeer};

use crate::line::ip;

fn key(k: &StateKey) -> Key {
    let [a, b] = k.addr;
    Key { addr: [ip(k.af, &a), ip(k.af, &b)], port: k.port }
}

const fn peer(p: &StatePeer) -> Peer {
    Peer { state: p.state.0, seq: [p.seqlo, p.seqhi], seqdiff: p.seqdiff, wscale: p.wscale }
}

/// One state; `now` is the engine's second, `name` gives an interface's name.
fn one(engine: &Engine, slot: u32, s: &State, now: u32, name: &dyn Fn(u16) -> String, style: &Style<'_>) -> String {
    let wire = s.wire();
    let stack = engine.table.key(slot, KeySide::Stack).unwrap_or(wire);
    let ext = engine.table.ext(s).copied();
    let number = |place: u32| engine.rules.get(place).filter(|e| e.live && e.site.is_some()).map(|e| e.rule.nr);
    let iface = if s.kif == FLOATING { "all".to_owned() } else { name(s.kif) };
    let shown = StateLine {
        iface: &iface,
        proto: wire.proto,
        out: s.direction() == Direction::Out,
        wire: key(&wire),
        stack: key(&stack),
        src: peer(&s.src()),
        dst: peer(&s.dst()),
        next_hop: ext.and_then(|e| e.rt.map(|_| ip(wire.af, &e.rt_addr))),
        age: now.saturating_sub(s.created).into(),
        expires: engine.expires(s).saturating_sub(now).into(),
        packets: s.packets(),
        bytes: s.bytes(),
        anchor: ext.and_then(|e| number(e.anchor)),
        rule: number(s.rule),
        sloppy: s.flags.has(StateFlags::SLOPPY),
        pflow: s.flags.has(StateFlags::PFLOW),
        source_track: ext.is_some_and(|e| e.src_nodes.iter().any(|n| *n != NONE)),
        id: engine.table.id(slot),
        creator: engine.options.hostid,
    };
    line(&shown, style)
}

/// All states, oldest first.
#[must_use]
pub fn table(engine: &Engine, now: u32, name: &dyn Fn(u16) -> String, verbose: u8) -> String {
    let style = Style { verbose, ..Style::default() };
    let t = &engine.table;
    t.iter().filter_map(|slot| Some(one(engine, slot, t.get(slot)?, now, name, &style))).collect()
}
