//! Status and options.

use pfvm::api::{Code, OptionsReply, PrintRow, Refusal, SetOption, Status, encode_reply};
use pfvm::engine::counters::{IfaceCounters, LimitCounter};
use pfvm::engine::default_options;
use pfvm::packet::DropReason;
use pfvm::rule::{Limits, Options, Syncookies, TIMEOUTS, Timeout};
use pfvm::state::pool::copied;

use super::{Reply, changed, memory, page, small};
use crate::facts::HostFacts;
use crate::filter::Filter;
use crate::platform::Platform;

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or("")
}

/// The sum of the counters of what a name means.
pub(super) fn counters_of<P: Platform>(f: &Filter<P>, name: &str) -> IfaceCounters {
    let mut sum = IfaceCounters::default();
    for i in f.facts.ifaces().iter().filter(|i| f.facts.is(i, name)) {
        if let Some(c) = f.engine.ifaces.counters(i.index) {
            sum.add(&c);
        }
    }
    sum
}

pub(super) fn status<P: Platform>(f: &Filter<P>, reply: &mut [u8]) -> Reply {
    let e = &f.engine;
    let loginterface = text(&f.loginterface);
    let logged = if loginterface.is_empty() { IfaceCounters::default() } else { counters_of(f, loginterface) };
    let frags = e.frags.counters();
    let mut reasons = [0; pfvm::packet::REASONS];
    for (to, r) in reasons.iter_mut().zip(DropReason::ALL) {
        *to = e.counters.of_reason(*r);
    }
    let mut limits = [0; pfvm::engine::counters::LIMITS];
    for (to, l) in limits.iter_mut().zip(LimitCounter::ALL) {
        *to = e.counters.of_limit(*l);
    }
    let status = Status {
        running: e.running,
        since: f.platform.now_ms().saturating_sub(f.switched.0) / 1000,
        since_wall: f.switched.1,
        generation: f.generation,
        unconfirmed: f.unconfirmed(),
        shut: e.is_shut(),
        debug: e.options.debug,
        hostid: e.options.hostid,
        checksum: f.checksum,
        states: [e.table.len(), e.half_open],
        state_counters: e.table.counters(),
        sources: e.nodes.len(),
        source_counters: e.nodes.counters(),
        frags: e.frags.len(),
        frag_counters: [frags.searches, frags.inserts, frags.removals],
        reasons,
        limits,
        syncookies: e.options.syncookies,
        cookies_active: e.cookies.active(),
        cookies_in_flight: e.cookies.in_flight(),
        cookie_marks: marks(&e.options),
        loginterface,
        if_packets: logged.packets,
        if_bytes: logged.bytes,
    };
    encode_reply(&status, reply).map_err(small)
}

/// States at which adaptive cookies begin and end.
fn marks(o: &Options) -> [u32; 2] {
    let part = |percent: u8| {
        let states = u64::from(o.limits.states).saturating_mul(percent.into()) / 100;
        u32::try_from(states).unwrap_or(u32::MAX)
    };
    match o.syncookies {
        Syncookies::Adaptive { start, end } => [part(start), part(end)],
        _ => [0, 0],
    }
}

pub(super) fn switch(done: bool, on: bool, reply: &mut [u8]) -> Reply {
    match (done, on) {
        (true, _) => changed(1_u64, reply),
        (false, true) => Err(Refusal::new(Code::Exists, "pf already enabled")),
        (false, false) => Err(Refusal::new(Code::NotFound, "pf not enabled")),
    }
}

/// Limits as a row, in the order of [`Limits`].
const fn row(l: &Limits) -> [u32; 7] {
    [l.states, l.src_nodes, l.frags, l.tables, l.table_entries, l.pktdelay_pkts, l.anchors]
}

fn limit_mut(l: &mut Limits, which: u8) -> Option<&mut u32> {
    Some(match which {
        0 => &mut l.states,
        1 => &mut l.src_nodes,
        2 => &mut l.frags,
        3 => &mut l.tables,
        4 => &mut l.table_entries,
        5 => &mut l.pktdelay_pkts,
        6 => &mut l.anchors,
        _ => return None,
    })
}

pub(super) fn options<P: Platform>(f: &Filter<P>, reply: &mut [u8]) -> Reply {
    let e = &f.engine;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let tables = &e.tables;
    let used = [
        e.table.len(),
        e.nodes.len(),
        e.frags.len(),
        count(tables.names().len()),
        tables.all.used(),
        0,
        count(f.units.len()),
    ];
    let o = &e.options;
    let answer = OptionsReply {
        timeouts: o.timeouts,
        limits: o.limits,
        used,
        room: row(&e.room()),
        reassemble: (o.reassemble, o.reassemble_no_df),
        syncookies: o.syncookies,
        debug: o.debug,
        hostid: o.hostid,
        loginterface: text(&f.loginterface),
    };
    encode_reply(&answer, reply).map_err(small)
}

const INVALID: Refusal<'static> = Refusal::new(Code::Invalid, "there is no such value");

pub(super) fn set<P: Platform>(f: &mut Filter<P>, option: SetOption<'_>, reply: &mut [u8]) -> Reply {
    let mut o = f.engine.options;
    match option {
        SetOption::Timeout(which, seconds) => {
            *o.timeouts.get_mut(usize::from(which)).ok_or(INVALID)? = seconds;
        }
        SetOption::Limit(which, value) => return set_limit(f, which, value, reply),
        SetOption::Debug(level) if level <= 7 => o.debug = level,
        SetOption::HostId(id) if id != 0 => o.hostid = id,
        SetOption::Debug(_) | SetOption::HostId(_) => return Err(INVALID),
        SetOption::LogInterface(name) => {
            f.loginterface = copied("names", name.as_bytes()).map_err(memory)?;
            return changed(1_u64, reply);
        }
        SetOption::Syncookies(Syncookies::Adaptive { start, end }) if start > 100 || end >= start => {
            return Err(INVALID);
        }
        SetOption::Syncookies(mode) => o.syncookies = mode,
        SetOption::Reassemble(on, no_df) => (o.reassemble, o.reassemble_no_df) = (on, no_df && on),
        SetOption::Skip(name, on) => return skip(f, name, on, reply),
    }
    let (engine, mut host) = f.split();
    engine.set_options(&o, &mut host);
    changed(1_u64, reply)
}

fn set_limit<P: Platform>(f: &mut Filter<P>, which: u8, value: u32, reply: &mut [u8]) -> Reply {
    let mut o = f.engine.options;
    *limit_mut(&mut o.limits, which).ok_or(INVALID)? = value;
    f.engine.grow(&o.limits).map_err(memory)?;
    let (engine, mut host) = f.split();
    engine.set_options(&o, &mut host);
    changed(1_u64, reply)
}

/// `set skip` by hand.
fn skip<P: Platform>(f: &mut Filter<P>, name: &str, on: bool, reply: &mut [u8]) -> Reply {
    if on && !name.is_empty() && f.skips.iter().all(|s| s != name.as_bytes()) {
        let copy = copied("names", name.as_bytes()).map_err(memory)?;
        f.skips.try_reserve(1).map_err(|_| super::MEMORY)?;
        if f.skips.len() < f.skips.capacity() {
            f.skips.push(copy);
        }
    }
    if !on {
        f.skips.retain(|s| !name.is_empty() && s != name.as_bytes());
    }
    let Filter { engine, facts, .. } = f;
    let mut count = 0_u64;
    for i in facts.ifaces().iter().filter(|i| name.is_empty() || facts.is(i, name)) {
        engine.ifaces.skip(i.index, on);
        count = count.saturating_add(1);
    }
    changed(count, reply)
}

/// Options as if nothing had been set; limits of what has room taken stay within it.
pub(super) fn reset<P: Platform>(f: &mut Filter<P>, reply: &mut [u8]) -> Reply {
    let fresh = default_options();
    let room = f.engine.room();
    let limits = Limits {
        states: fresh.limits.states.min(room.states),
        src_nodes: fresh.limits.src_nodes.min(room.src_nodes),
        frags: fresh.limits.frags.min(room.frags),
        tables: fresh.limits.tables.min(room.tables),
        table_entries: fresh.limits.table_entries.min(room.table_entries),
        ..fresh.limits
    };
    let o = Options { limits, hostid: f.engine.options.hostid, ..fresh };
    let (engine, mut host) = f.split();
    engine.set_options(&o, &mut host);
    (f.loginterface, f.skips) = Default::default();
    let Filter { engine, facts, .. } = f;
    facts.ifaces().iter().for_each(|i| engine.ifaces.skip(i.index, false));
    let timeouts = u64::try_from(TIMEOUTS.min(Timeout::ALL.len())).unwrap_or(0);
    changed(timeouts, reply)
}

/// `-F info`: of one interface or group, or all but interfaces.
pub(super) fn clear<P: Platform>(f: &mut Filter<P>, iface: &str, reply: &mut [u8]) -> Reply {
    let now = u32::try_from(f.platform.now_ms() / 1000).unwrap_or(u32::MAX);
    let wall = f.platform.wall_seconds();
    let Filter { engine, facts, .. } = f;
    let facts: &HostFacts = facts;
    let mut count = 0_u64;
    if iface.is_empty() {
        engine.counters.clear();
        engine.clear_counters();
        f.switched = (f.platform.now_ms(), wall);
    }
    for i in facts.ifaces().iter().filter(|i| !iface.is_empty() && facts.is(i, iface)) {
        engine.ifaces.clear(i.index, now);
        count = count.saturating_add(1);
    }
    changed(count, reply)
}

pub(super) fn prints<P: Platform>(f: &Filter<P>, cursor: u64, reply: &mut [u8]) -> Reply {
    let prints = f.engine.main().filter(|_| !f.engine.prints_flushed).map_or(&[][..], |m| m.prints());
    let rows = prints.iter().map(|p| PrintRow {
        os: p.os,
        options: p.options,
        sizes: [p.window, p.size, p.mss, p.flags],
        small: [p.options_len, p.wscale, p.ttl],
    });
    page(reply, cursor, (f.generation, prints.len()), usize::MAX, rows)
}

pub(super) fn flush_prints<P: Platform>(f: &mut Filter<P>, reply: &mut [u8]) -> Reply {
    let count = f.engine.main().filter(|_| !f.engine.prints_flushed).map_or(0, |m| m.prints().len());
    f.engine.prints_flushed = true;
    changed(u64::try_from(count).unwrap_or(0), reply)
}
