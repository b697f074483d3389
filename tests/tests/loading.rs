//! What a refused or failed load leaves behind: never a mixture, never an open door.

use pfc::compile::{BUDGET, Options, compile};
use pfc::facts::Facts;
use pfc::source::Sources;
use pfvm::engine::ifaces::Live;
use pfvm::engine::load::LoadError;
use pfvm::engine::{Carried, Engine, Seen, Verdict, default_options};
use pfvm::host::Still;
use pfvm::image::Image;
use pfvm::packet::{DropReason, Packet, PktMeta};
use pfvm::rule::{Af, Direction, Limits};
use pfvm::verify::Program;

fn image(rules: &str) -> Vec<u8> {
    let mut sources = Sources::disk();
    let file = sources.add("test", rules.as_bytes().to_vec());
    let outcome = compile(&mut sources, file, &Facts::default(), &Options::default());
    outcome.compiled.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics)).image
}

fn program(bytes: &[u8]) -> Program {
    Program::verify(&Image::parse(bytes).unwrap(), BUDGET).unwrap()
}

fn load(engine: &mut Engine, program: Program, host: &mut Still) -> Result<(), LoadError> {
    let live = [Live { index: 1, name: "em0", groups: &["all"], loopback: false }];
    engine.load(vec![program], None, &live, &|_, _, _| {}, host)
}

/// What becomes of a UDP datagram that comes in.
fn decide(engine: &mut Engine, host: &mut Still) -> (Verdict, DropReason) {
    let mut bytes = [
        0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 7, 10, 0, 0, 1, // IPv4
        0x9c, 0x40, 0, 53, 0, 8, 0, 0, // UDP
    ];
    let mut room = vec![0; 2048];
    let seen = Seen { af: Af::Inet, dir: Direction::In, forwarded: false, iface: 1 };
    let mut packet = Packet::whole(&mut bytes);
    let out = engine.process(&mut packet, &PktMeta::default(), seen, Carried::default(), &mut room, host);
    (out.verdict, out.reason)
}

fn engine(tables: u32, host: &mut Still) -> Engine {
    let small = Limits { states: 100, src_nodes: 10, frags: 10, tables, ..default_options().limits };
    Engine::new(&small, host).unwrap()
}

#[test]
fn a_damaged_image_leaves_the_old_rules() {
    let mut host = Still { now_ms: 1_000_000, seed: 1 };
    let mut engine = engine(4, &mut host);
    load(&mut engine, program(&image("block all\n")), &mut host).unwrap();
    assert_eq!(decide(&mut engine, &mut host), (Verdict::Drop, DropReason::Match));
    let good = image("pass all\n");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        let refused = match Image::parse(&bad) {
            Ok(image) => Program::verify(&image, BUDGET).is_err(),
            Err(_) => true,
        };
        assert!(refused, "byte {at}: the digest covers every byte");
    }
    assert_eq!(decide(&mut engine, &mut host), (Verdict::Drop, DropReason::Match));
}

#[test]
fn a_load_that_finds_no_room_leaves_the_old_rules() {
    let mut host = Still { now_ms: 1_000_000, seed: 1 };
    let mut engine = engine(1, &mut host);
    load(&mut engine, program(&image("pass no state\n")), &mut host).unwrap();
    assert_eq!(decide(&mut engine, &mut host).0, Verdict::Pass);
    let tables: String =
        (0..8).map(|n| format!("table <t{n}> persist {{ 10.0.0.{n} }}\nblock from <t{n}>\n")).collect();
    let failed = load(&mut engine, program(&image(&format!("set limit tables 4\nblock all\n{tables}"))), &mut host);
    assert!(matches!(failed, Err(LoadError::Memory(_))), "{failed:?}");
    assert_eq!(decide(&mut engine, &mut host), (Verdict::Pass, DropReason::Match));
    assert!(engine.tables.names().is_empty(), "no table was left behind");
    load(&mut engine, program(&image("block all\n")), &mut host).unwrap();
    assert_eq!(decide(&mut engine, &mut host).0, Verdict::Drop);
}

#[test]
fn programs_taken_out_leave_the_door_shut() {
    let mut host = Still { now_ms: 1_000_000, seed: 1 };
    let mut engine = engine(4, &mut host);
    assert_eq!(decide(&mut engine, &mut host).0, Verdict::Pass, "no rules at all is pass");
    load(&mut engine, program(&image("block all\n")), &mut host).unwrap();
    drop(engine.take_programs());
    assert_eq!(decide(&mut engine, &mut host), (Verdict::Drop, DropReason::Memory));
}

#[test]
fn no_limit_makes_more_room_than_there_may_be() {
    let mut host = Still { now_ms: 1_000_000, seed: 1 };
    let mut engine = engine(4, &mut host);
    engine.most = Limits { states: 300, src_nodes: 40, frags: 50, tables: 60, table_entries: 300_000, ..engine.most };
    let most = engine.most;
    let high = "set limit { states 4000000000, src-nodes 4000000000, frags 4000000000, tables 60000 }
set limit table-entries 4000000000\npass no state\n";
    load(&mut engine, program(&image(high)), &mut host).unwrap();
    let room = engine.room();
    assert_eq!((room.states, room.frags, room.table_entries), (most.states, most.frags, most.table_entries));
    assert!(room.src_nodes >= 40 && room.src_nodes < 1000, "{room:?}");
    assert!(room.tables >= 60 && room.tables < 1000, "{room:?}");
    assert_eq!(engine.options.limits.states, 4_000_000_000, "what was asked for is shown");
}
