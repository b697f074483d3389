//! Before the first request: the host's facts, the filter, the rules it begins with.

use std::io::Write;
use std::path::Path;

use pfc::compile::{Options, checksum, compile};
use pfc::facts::live::{File, Live, Source};
use pfc::facts::{Facts, IFNAMSIZ, Interface};
use pfc::source::Sources;
use pfc::{diag, target::Target};
use pfdriver::facts::{HostFacts, flag};
use pfdriver::filter::{self, By, Filter, Loading, Unit};
use pfvm::api::{FactRow, encode};
use pfvm::engine::default_options;
use pfvm::image::{Image, MAGIC};
use pfvm::rule::{Addr, Af, Limits};
use pfvm::verify::Program;

use crate::unix::{Shared, Unix};

/// MTU of interfaces whose facts do not give one.
const MTU: u32 = 1500;
/// Room taken at least, so that `set limit` can be raised by rules that come later.
const ROOM: Limits = Limits {
    states: 200_000,
    src_nodes: 20_000,
    frags: 10_000,
    tables: 2000,
    table_entries: 400_000,
    pktdelay_pkts: 10_000,
    anchors: 512,
};

/// How rules are compiled and verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// Steps a ruleset may take for a packet.
    pub(crate) budget: u32,
    /// Where they run: with facts of a file they are another machine's, which this one stands for.
    pub(crate) target: Target,
}

/// Facts of a file, else of this machine.
pub(crate) fn facts(file: Option<&Path>) -> Result<Facts, String> {
    match file {
        Some(path) => {
            File(path.to_owned()).facts().map_err(|e| format!("{}: {}", path.display(), e.to_string().trim()))
        }
        None => Live.facts().map_err(|e| e.to_string()),
    }
}

fn address(addr: std::net::IpAddr) -> (Af, Addr) {
    match addr {
        std::net::IpAddr::V4(a) => {
            let mut all = [0; 16];
            all[..4].copy_from_slice(&a.octets());
            (Af::Inet, Addr(all))
        }
        std::net::IpAddr::V6(a) => (Af::Inet6, Addr(a.octets())),
    }
}

/// Rows for the filter. Interfaces keep their indices where these fit, else their places count.
pub(crate) fn rows(facts: &Facts) -> Vec<u8> {
    let mut rows = Vec::new();
    let mut room = vec![0; 4096];
    let mut put = |row: FactRow<'_>| {
        if let Ok(len) = encode(&row, &mut room) {
            rows.extend_from_slice(&room[..len]);
        }
    };
    if facts.name_limit() > IFNAMSIZ {
        put(FactRow::Wildcards);
    }
    let given: Vec<Option<u16>> =
        facts.interfaces.iter().map(|i| u16::try_from(i.index).ok().filter(|i| *i != 0 && *i != u16::MAX)).collect();
    let unique = given.iter().all(|i| i.is_some() && given.iter().filter(|o| *o == i).count() == 1);
    for ((i, given), place) in facts.interfaces.iter().zip(&given).zip(1..) {
        let index = given.filter(|_| unique).unwrap_or(place);
        interface(i, index, &mut put);
    }
    rows
}

fn interface(i: &Interface, index: u16, put: &mut impl FnMut(FactRow<'_>)) {
    let bit = |on, bit| if on { bit } else { 0 };
    let flags = flag::UP
        | bit(i.flags.loopback, flag::LOOPBACK)
        | bit(i.flags.broadcast, flag::BROADCAST)
        | bit(i.flags.point_to_point, flag::POINT_TO_POINT);
    put(FactRow::Iface { index, name: &i.name, flags, mtu: MTU, mac: [0; 6] });
    i.groups.iter().for_each(|g| put(FactRow::Group(g)));
    for a in &i.addresses {
        let (af, addr) = address(a.addr);
        let broadcast = a.broadcast.map(|b| address(b.into()).1);
        let peer = a.peer.map(|p| address(p).1);
        put(FactRow::Address { af, addr, prefix: a.prefix, broadcast, peer });
    }
    if i.groups.iter().any(|g| g == "egress") {
        for af in [Af::Inet, Af::Inet6] {
            put(FactRow::Route { af, addr: Addr::default(), prefix: 0, hop: None, metric: 0 });
        }
    }
}

/// An image from a pf.conf, or the file itself where it is one. What the compiler warns of is shown, too.
fn image(path: &Path, facts: &Facts, target: Target) -> Result<Vec<u8>, String> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| format!("{name}: {e}"))?;
    if bytes.starts_with(&MAGIC) {
        return Ok(bytes);
    }
    let mut sources = Sources::new(facts.loader());
    let file = sources.add(&name, bytes);
    let outcome = compile(&mut sources, file, facts, &Options { target, ..Options::default() });
    // Without colours where standard error is no terminal; where it is gone, nobody is left to tell.
    let _ = anstream::stderr().write_all(diag::frames(&outcome.diagnostics, &sources).as_bytes());
    outcome.compiled.map(|c| c.image).ok_or_else(|| format!("{name}: the rules do not compile"))
}

/// Room for what the rules ask, and for what later ones may.
fn limits(asked: Option<Limits>) -> Limits {
    let asked = asked.unwrap_or(default_options().limits);
    Limits {
        states: asked.states.max(ROOM.states),
        src_nodes: asked.src_nodes.max(ROOM.src_nodes),
        frags: asked.frags.max(ROOM.frags),
        tables: asked.tables.max(ROOM.tables),
        table_entries: asked.table_entries.max(ROOM.table_entries),
        ..asked
    }
}

/// The filter with its first rules.
pub(crate) fn filter(facts: &Facts, rules: Option<&Path>, how: How) -> Result<Shared, String> {
    let loading = rules.map(|path| loading(path, facts, how)).transpose()?;
    let asked = loading.as_ref().and_then(|l| l.program.options()).map(|o| o.limits);
    let host = HostFacts::read(&rows(facts)).map_err(|why| format!("facts: {why:?}"))?;
    let mut filter = Filter::new(&limits(asked), host, Unix::new()).map_err(|e| e.to_string())?;
    filter.engine.options.limits = default_options().limits;
    if let Some(loading) = loading {
        load(&mut filter, loading)?;
    }
    Ok(Shared::new(filter))
}

/// Rules of a file, ready to be loaded.
pub(crate) fn loading(path: &Path, facts: &Facts, how: How) -> Result<Loading, String> {
    let image = image(path, facts, how.target)?;
    let program = program(&image, how.budget)?;
    let by = By { uid: rustix::process::getuid().as_raw(), pid: std::process::id() };
    let path = program.rulesets().first().map_or("", |r| program.text(r.path)).as_bytes().to_vec();
    Ok(Loading { program, unit: Unit { path, image, generation: 0, inserted: 0, by } })
}

/// Puts rules in force; the generation.
pub(crate) fn load(filter: &mut Filter<Unix>, loading: Loading) -> Result<u64, String> {
    let checksum = Some(checksum(&loading.unit.image));
    let loaded = filter.load(vec![loading], filter::How { checksum, ..filter::How::default() });
    loaded.map(|(generation, _)| generation).map_err(|why| format!("rules: {why:?}"))
}

fn program(bytes: &[u8], budget: u32) -> Result<Program, String> {
    let image = Image::parse(bytes).map_err(|e| e.to_string())?;
    Program::verify(&image, budget).map_err(|e| e.to_string())
}
