//! What the driver keeps for those who watch: log records by cursor, and the way of traced packets.

use pfc::compile::{BUDGET, Options, compile};
use pfc::facts::Facts;
use pfc::source::Sources;
use pfdriver::filter::{By as Loader, Unit};
use pfdriver::log::{Log, SNAP};
use pfdriver::trace::Trace;
use pfsim::line::Line;
use pfvm::engine::ifaces::Live;
use pfvm::engine::{Carried, Engine, LogRecord, Outcome, Seen, default_options};
use pfvm::host::{Hop, Host, Random};
use pfvm::image::Image;
use pfvm::packet::{DropReason, Packet, PktMeta};
use pfvm::rule::{Addr, Af, Direction, Limits};
use pfvm::verify::Program;
use pfvm::watch::{Action, By, Expr, MetKind, Op, Side, Test, Text};

/// A host with a clock and a log.
struct Watched {
    ms: u64,
    log: Log,
}

impl Random for Watched {
    fn random_u32(&mut self) -> u32 {
        7
    }
}

impl Host for Watched {
    fn now_ms(&self) -> u64 {
        self.ms
    }
    fn route(&self, _: Af, _: &Addr) -> Option<Hop> {
        None
    }
    fn answers_for(&self, _: Af, _: &Addr) -> Option<Addr> {
        None
    }
    fn own_address(&self, _: Af, _: u16, _: &Addr) -> Option<Addr> {
        None
    }
    fn port_in_use(&self, _: u8, _: u16) -> bool {
        false
    }
    fn send(&mut self, _: &[u8], _: Af, _: bool, _: u16) {}
    fn log(&mut self, record: &LogRecord, packet: &Packet<'_>) {
        self.log.take(record, packet, self.ms);
    }
}

/// What decided a traced packet, whether it passed, and the rules it met.
type Way = (By, bool, Vec<(MetKind, String)>);

struct World {
    engine: Engine,
    host: Watched,
    trace: Trace,
    generation: u64,
}

const RULES: &str = "\
match in log proto tcp to port 80 label \"seen\"
block in log (all) label \"no\"
anchor \"web\" in on em0 {
\tpass in log (to pflog1) proto tcp to port 80 label \"web in\"
}
match out on em0 inet nat-to 203.0.113.9
pass out log proto udp
";

fn program(rules: &str) -> Program {
    let mut sources = Sources::disk();
    let file = sources.add("pf.conf", rules.as_bytes().to_vec());
    let outcome = compile(&mut sources, file, &Facts::default(), &Options::default());
    let image = outcome.compiled.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics)).image;
    Program::verify(&Image::parse(&image).unwrap(), BUDGET).unwrap()
}

impl World {
    fn new(rules: &str, records: u32) -> Self {
        let mut host = Watched { ms: 1_000_000, log: Log::new(records).unwrap() };
        let small = Limits { states: 100, src_nodes: 10, frags: 10, ..default_options().limits };
        let engine = Engine::new(&small, &mut host).unwrap();
        let mut world = Self { engine, host, trace: Trace::default(), generation: 0 };
        world.load(rules);
        world
    }

    fn load(&mut self, rules: &str) {
        let live = [Live { index: 1, name: "em0", groups: &["all"], loopback: false }];
        self.engine.load(vec![program(rules)], None, &live, &|_, _, _| {}, &mut self.host).unwrap();
        self.generation += 1;
    }

    /// A packet as a line, through the same steps as the driver's edge.
    fn packet(&mut self, line: &str) -> Outcome {
        let line = Line::parse(line).unwrap();
        self.bytes(&mut line.bytes(), line.af(), line.dir)
    }

    fn bytes(&mut self, bytes: &mut [u8], af: Af, dir: Direction) -> Outcome {
        let on = |name: &str| name == "em0" || name == "all";
        let mut room = vec![0; 2048];
        let meta = PktMeta::default();
        let seen = Seen { af, dir, forwarded: false, iface: 1 };
        let mut packet = Packet::whole(bytes);
        let before = self.trace.before(&mut self.engine, &packet, &meta, seen, self.host.ms, &on);
        let out = self.engine.process(&mut packet, &meta, seen, Carried::default(), &mut room, &mut self.host);
        self.host.log.seal(&self.engine, self.generation);
        if let Some(before) = before {
            self.trace.after(&before, &mut self.engine, &packet, &out, self.generation, &on);
        }
        out
    }

    /// Log rows from a cursor: number, pflog interface, what tcpdump shows of the rule, action, label and place.
    fn log(&mut self, cursor: u64, most: usize) -> (u64, Vec<String>) {
        let mut rows = Vec::new();
        let next = self.host.log.rows(
            cursor,
            (&self.engine, &[]),
            |i| (i == 1).then_some("em0"),
            |row| {
                if rows.len() == most {
                    return false;
                }
                let sub =
                    if row.subrule == u32::MAX { String::new() } else { format!(".{}.{}", row.anchor, row.subrule) };
                rows.push(format!(
                    "{} pflog{} {}{sub} {:?} {}@{}:{} g{} on {}",
                    row.seq, row.log_if, row.rule, row.action, row.label, row.file, row.line, row.generation, row.iface
                ));
                true
            },
        );
        (next, rows)
    }

    /// Traced packets: what decided, and the rules met.
    fn traced(&mut self, cursor: u64) -> (u64, Vec<Way>) {
        let mut rows = Vec::new();
        let next = self.trace.rows(
            cursor,
            0,
            &self.engine,
            |_| Some("em0"),
            |row, met| {
                let met: Vec<_> = met.map(|m| (m.kind, format!("{}:{} {}", m.file, m.line, m.label))).collect();
                assert_eq!(usize::from(row.met), met.len());
                rows.push((row.by, row.passed, met));
                true
            },
        );
        (next, rows)
    }
}

const WEB: &str = "in on em0 tcp 192.0.2.7:40000 > 10.0.0.1:80 S";
const SSH: &str = "in on em0 tcp 192.0.2.7:40000 > 10.0.0.1:22 S";
const DNS: &str = "out on em0 udp 10.0.0.1:5353 > 192.0.2.7:53";

#[test]
fn records_carry_rule_label_place_and_generation() {
    let mut w = World::new(RULES, 16);
    w.packet(WEB);
    w.packet(SSH);
    let (next, rows) = w.log(0, 99);
    assert_eq!(
        rows,
        [
            "1 pflog0 0 Match seen@pf.conf:1 g1 on em0",
            "2 pflog1 2.web.0 Pass web in@pf.conf:4 g1 on em0",
            "3 pflog0 1 Block no@pf.conf:2 g1 on em0",
        ]
    );
    assert_eq!(next, 4);
    assert_eq!(w.log(next, 99), (4, vec![]));
    // What a state passes is not logged, but by log (all).
    w.packet(WEB);
    assert_eq!(w.log(next, 99).1.len(), 0);
    // Texts are those in force; the rest of a record stays.
    w.packet(SSH);
    w.load("pass\n");
    assert_eq!(w.log(next, 99).1, ["4 pflog0 1 Block @:0 g1 on em0"]);
}

#[test]
fn a_translation_is_in_the_record_and_the_packet_as_it_came() {
    let mut w = World::new(RULES, 16);
    let line = Line::parse(DNS).unwrap();
    w.bytes(&mut line.bytes(), line.af(), line.dir);
    let mut seen = 0;
    let by = Loader { uid: 1001, pid: 77 };
    let units = [Unit { path: Vec::new(), image: Vec::new(), generation: 1, inserted: 0, by }];
    w.host.log.rows(
        0,
        (&w.engine, &units),
        |_| None,
        |row| {
            seen += 1;
            assert_eq!((row.rule_uid, row.rule_pid), (1001, 77), "who loaded the rule");
            assert_eq!(row.bytes, line.bytes(), "not rewritten yet");
            assert_eq!(row.src.0.0[..4], [203, 0, 113, 9]);
            assert_eq!((row.dst.1, row.iface), (53, "?"));
            true
        },
    );
    assert_eq!(seen, 1);
}

#[test]
fn refused_packets_are_logged_by_the_default_rule_and_cut_to_what_is_kept() {
    let mut w = World::new(RULES, 16);
    let mut long = [0_u8; 600];
    long[0] = 0x45;
    long[2..4].copy_from_slice(&9999_u16.to_be_bytes());
    let out = w.bytes(&mut long, Af::Inet, Direction::In);
    assert_eq!(out.reason, DropReason::Short);
    let mut seen = 0;
    w.host.log.rows(
        0,
        (&w.engine, &[]),
        |_| Some("em0"),
        |row| {
            seen += 1;
            assert_eq!(
                (row.rule, row.subrule, usize::from(row.reason)),
                (u32::MAX, u32::MAX, DropReason::Short.index())
            );
            assert_eq!((row.len, row.bytes.len()), (600, SNAP));
            true
        },
    );
    assert_eq!(seen, 1);
}

#[test]
fn readers_have_cursors_of_their_own_and_the_unread_is_counted() {
    let mut w = World::new(RULES, 4);
    for _ in 0..3 {
        w.packet(SSH);
    }
    let (fast, _) = w.log(u64::MAX, 99);
    assert_eq!(fast, 4, "from now on");
    assert_eq!(w.log(0, 2).0, 3);
    for _ in 0..5 {
        w.packet(SSH);
    }
    let (_, rows) = w.log(fast, 99);
    assert!(rows[0].starts_with("5 "), "4 is lost to this reader, as the number shows: {rows:?}");
    assert_eq!((w.host.log.dropped(), w.host.log.count()), (1, 8), "1 to 3 had been read");
}

fn tcp(port: u16) -> Expr {
    let port = Op::Test(Test::Port { side: Side::Dst, lo: port, hi: port });
    Expr::new(&[Op::Test(Test::Proto(6)), port, Op::And], "").unwrap()
}

#[test]
fn a_trace_shows_the_rules_in_order_and_the_one_that_decides() {
    let mut w = World::new(RULES, 16);
    w.trace.arm(tcp(80), 100, 0).unwrap();
    w.packet(SSH);
    w.packet(WEB);
    w.packet(WEB);
    let (next, rows) = w.traced(0);
    let met = |kind, text: &str| (kind, text.to_owned());
    assert_eq!(
        rows,
        [
            (
                By::Rule,
                true,
                vec![
                    met(MetKind::Applies, "pf.conf:1 seen"),
                    met(MetKind::Matches, "pf.conf:2 no"),
                    met(MetKind::Enters, "pf.conf:5 "),
                    met(MetKind::Decides, "pf.conf:4 web in"),
                ]
            ),
            (By::State, true, vec![met(MetKind::Made, "pf.conf:4 web in")]),
        ]
    );
    w.trace.disarm();
    assert_eq!(w.packet(WEB).verdict, pfvm::engine::Verdict::Pass);
    assert_eq!(w.traced(next).1, []);
}

#[test]
fn tests_of_the_outcome_pick_among_the_followed() {
    let mut w = World::new(RULES, 16);
    let label = Op::Test(Test::Label(Text { at: 0, len: 2 }));
    w.trace.arm(Expr::new(&[label, Op::Test(Test::Action(Action::Block)), Op::And], "no").unwrap(), 100, 0).unwrap();
    for line in [SSH, WEB, DNS] {
        w.packet(line);
    }
    let (_, rows) = w.traced(0);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(rows[0].2.contains(&(MetKind::Decides, "pf.conf:2 no".into())), "{rows:?}");
}

#[test]
fn no_more_are_followed_in_a_second_than_asked_for() {
    let mut w = World::new(RULES, 16);
    w.trace.arm(Expr::default(), 3, 0).unwrap();
    for _ in 0..10 {
        w.packet(SSH);
    }
    assert_eq!((w.traced(0).1.len(), w.trace.skipped()), (3, 7));
    w.host.ms += 1000;
    w.packet(SSH);
    assert_eq!(w.traced(0).1.len(), 4);
}

#[test]
fn following_changes_no_decision() {
    let many: String = (0..3000)
        .map(|n| {
            format!("{} in proto tcp to 10.{}.{}.0/24 port {}\n", ["block", "pass"][n % 2], n / 256, n % 256, n + 1)
        })
        .collect();
    for rules in [RULES, many.as_str()] {
        let (mut plain, mut traced) = (World::new(rules, 16), World::new(rules, 16));
        traced.trace.arm(Expr::default(), u32::MAX, 0).unwrap();
        for n in 0..300_u16 {
            let line = format!(
                "in on em0 tcp 192.0.2.{}:{} > 10.{}.{}.9:{} S",
                n % 250,
                1024 + n,
                n * 7 / 256,
                (n * 7) % 256,
                n * 7 + 1
            );
            let (a, b) = (plain.packet(&line), traced.packet(&line));
            assert_eq!((a.verdict, a.rule, a.reason), (b.verdict, b.rule, b.reason), "{line}");
        }
    }
}
