//! The interpreter on small programs, against what pf does with the rules they stand for.

use super::*;
use crate::image::encode::{Parts, encode};
use crate::image::tests::rule;
use crate::image::{
    Anchor, Axis, AxisKind, BitSet, Box4, BoxAttr, Dispatch, Image, Interval, Pair, Ruleset, Run, Search, Span,
};
use crate::isa::{Field, Op};
use crate::packet::{BadOpts, FragInfo, IcmpInfo, L4, PacketDesc, TcpInfo};
use crate::rule::{Addr, Af, AnchorId, Direction, IfaceId, LogFlags, PoolId, Rule, RuleId, RulesetId, TableId, TagId};
use crate::verify::{Body, Program};
use std::collections::BTreeSet;

/// Rulesets by path with their code as text; each gets `rules` rules. Rule and anchor numbers are of the whole image.
fn parts(rulesets: &[(&str, u32, &[&str])]) -> Parts {
    let mut p = Parts::default();
    let name = p.strings.add("x");
    p.ifaces = vec![name; 4];
    p.tags = vec![name; 4];
    p.labels = vec![name; 2];
    for (id, (path, rules, code)) in (0..).zip(rulesets) {
        let at = p.code.len() as u32;
        p.code.extend(code.iter().map(|line| Op::assemble(line).unwrap_or_else(|e| panic!("{line}: {e}"))));
        let code = Run { at, len: p.code.len() as u32 - at };
        let first = p.rules.len() as u32;
        p.rules.resize(p.rules.len() + *rules as usize, Rule { ruleset: RulesetId(id), ..rule() });
        let path = p.strings.add(path);
        p.rulesets.push(Ruleset { path, code, straight: Run::default(), rules: Run { at: first, len: *rules } });
    }
    p
}

fn load(p: &Parts) -> Program {
    let bytes = encode(p);
    Program::verify(&Image::parse(&bytes).unwrap(), 4096).unwrap()
}

fn v4(a: [u8; 4]) -> Addr {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&a);
    Addr(bytes)
}

/// A SYN from 192.0.2.7 port 40000 to 198.51.100.1 port 22, going in.
fn packet() -> PacketDesc {
    let (src, dst) = (v4([192, 0, 2, 7]), v4([198, 51, 100, 1]));
    PacketDesc {
        dir: Direction::In,
        forwarded: false,
        iface: 5,
        received_on: None,
        af: Af::Inet,
        naf: Af::Inet,
        proto: 6,
        fragment: false,
        tos: 0x10,
        ttl: 64,
        badopts: BadOpts::NONE,
        src,
        dst,
        nsaddr: src,
        ndaddr: dst,
        sport: 40000,
        dport: 22,
        nsport: 40000,
        ndport: 22,
        tot_len: 40,
        off: 20,
        hdrlen: 20,
        p_len: 0,
        ip_hlen: 20,
        extoff: 0,
        fragoff: 0,
        frag: FragInfo::default(),
        l4: L4::Tcp(TcpInfo { flags: 2, ..TcpInfo::default() }),
        tag: 0,
        prio: 3,
        rdomain: 0,
        uid: None,
        gid: None,
    }
}

/// The same packet as a fragment that is not reassembled.
fn fragment() -> PacketDesc {
    PacketDesc { fragment: true, l4: L4::Other, sport: 0, dport: 0, nsport: 0, ndport: 0, ..packet() }
}

/// An ICMP message of a type.
fn icmp(kind: u8) -> PacketDesc {
    let l4 = L4::Icmp(IcmpInfo { kind, code: 1, ..IcmpInfo::default() });
    PacketDesc { proto: 1, l4, sport: 0, dport: 0, nsport: 0, ndport: 0, ..packet() }
}

/// A UDP packet of IPv6 from 2001:db8::1.
fn udp6() -> PacketDesc {
    let mut src = [0; 16];
    src[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    src[15] = 1;
    PacketDesc { af: Af::Inet6, naf: Af::Inet6, proto: 17, l4: L4::Udp, nsaddr: Addr(src), src: Addr(src), ..packet() }
}

/// Answers as data.
#[derive(Default)]
struct World {
    tables: BTreeSet<(u16, Addr)>,
    ifaces: BTreeSet<(u16, u16)>,
    random: u32,
    over: bool,
    used: BTreeSet<RuleId>,
    log: Vec<(u32, Option<u32>)>,
    evaluated: Vec<u32>,
}

impl Context for World {
    fn in_table(&mut self, _: UnitId, table: TableId, _: Af, addr: &Addr) -> bool {
        self.tables.contains(&(table.0, *addr))
    }
    fn is_iface(&mut self, _: UnitId, name: IfaceId, live: u16) -> bool {
        self.ifaces.contains(&(name.0, live))
    }
    fn tag(&mut self, unit: UnitId, tag: TagId) -> u16 {
        100 * unit.0 + tag.0 + 1
    }
    fn random(&mut self) -> u32 {
        self.random
    }
    fn under_rate(&mut self, _: Site) -> bool {
        !self.over
    }
    fn is_live(&mut self, rule: Site) -> bool {
        !self.used.contains(&rule.rule)
    }
    fn use_up(&mut self, rule: Site) -> bool {
        self.used.insert(rule.rule)
    }
    fn evaluated(&mut self, rule: Site) {
        self.evaluated.push(rule.rule.0);
    }
    fn log(&mut self, hit: Hit, because: Option<Site>) {
        self.log.push((hit.site.rule.0, because.map(|b| b.rule.0)));
    }
}

/// Runs one program on one packet.
fn run_one(p: &Parts, d: &PacketDesc, world: &mut World) -> (Step, Machine) {
    let grove = Grove::bind(vec![load(p)]).unwrap();
    let mut m = Machine::new().unwrap();
    m.reset(Body::Code, DEFAULT_FUEL);
    (run(&grove, d, &mut m, world), m)
}

/// The rule that decides, if any does.
fn decided(code: &[&str], d: &PacketDesc) -> Option<u32> {
    let (step, m) = run_one(&parts(&[("", 8, code)]), d, &mut World::default());
    assert_eq!(step, Step::Done);
    m.noted().map(|h| h.site.rule.0)
}

/// Whether a test holds.
fn holds(test: &str, d: &PacketDesc) -> bool {
    decided(&[test, "end #1", "done"], d) == Some(1)
}

#[test]
fn last_match_wins_and_quick_ends() {
    assert_eq!(decided(&["done"], &packet()), None);
    assert_eq!(decided(&["note #0", "note #1", "done"], &packet()), Some(1));
    assert_eq!(decided(&["note #0", "end #1", "note #2", "done"], &packet()), Some(1));
    assert_eq!(decided(&["note #0", "stop"], &packet()), Some(0));
    assert_eq!(decided(&["jmp +1", "note #0", "done"], &packet()), None);
}

#[test]
fn word_fields() {
    let d = packet();
    for test in [
        "eq dir, 1, +1",
        "eq af, 4, +1",
        "eq proto, 6, +1",
        "eq vproto, 6, +1",
        "eq sport, 40000, +1",
        "eq dport, 22, +1",
        "eq flags, 2, +1",
        "eq tos, 16, +1",
        "eq prio, 3, +1",
        "eq fragment, 0, +1",
        "eq badopts, 0, +1",
        "eq answer, 0, +1",
        "eq rdomain, 0, +1",
        "eq src4, 3221225991, +1",
        "ne proto, 17, +1",
        "in dport, 22, 25, +1",
        "in dport, 0, 22, +1",
        "nin dport, 23, 65535, +1",
        "mask flags, 18, 2, +1",
    ] {
        assert!(holds(test, &d), "{test}");
    }
    for test in [
        "eq dir, 2, +1",
        "ne dir, 1, +1",
        "in dport, 23, 25, +1",
        "nin dport, 22, 22, +1",
        "mask flags, 18, 16, +1",
        "in dport, 25, 20, +1",
    ] {
        assert!(!holds(test, &d), "{test}");
    }
    assert!(holds("eq dir, 2, +1", &PacketDesc { dir: Direction::Out, ..d }));
    assert!(holds("eq af, 6, +1", &udp6()));
    assert!(holds("eq vproto, 256, +1", &fragment()));
    assert!(holds("eq icmp-type, 8, +1", &icmp(8)));
    assert!(holds("eq icmp-code, 1, +1", &icmp(8)));
    assert!(holds("eq answer, 1, +1", &icmp(0)));
    assert!(holds("eq answer, 0, +1", &icmp(3)));
    assert!(holds("eq badopts, 1, +1", &PacketDesc { badopts: BadOpts::OTHER, ..d }));
}

#[test]
fn an_absent_field_is_false_also_under_not() {
    for (field, d) in [
        ("sport", fragment()),
        ("dport", icmp(8)),
        ("flags", udp6()),
        ("flags", fragment()),
        ("icmp-type", packet()),
        ("icmp-code", fragment()),
        ("uid", icmp(8)),
        ("gid", fragment()),
        ("src4", udp6()),
        ("dst4", udp6()),
    ] {
        for test in ["eq", "ne"] {
            assert!(!holds(&format!("{test} {field}, 0, +1"), &d), "{test} {field}");
        }
        for test in ["in {}, 0, 65535, +1", "nin {}, 7, 7, +1", "mask {}, 0, 0, +1"] {
            assert!(!holds(&test.replace("{}", field), &d), "{test} {field}");
        }
    }
    for test in ["sub src/0, 0.0.0.0, +1", "nsub src/32, 0.0.0.0, +1"] {
        assert!(!holds(test, &udp6()), "{test}");
    }
}

#[test]
fn addresses() {
    let d = packet();
    for (test, want) in [
        ("sub src/24, 192.0.2.0, +1", true),
        ("sub src/24, 192.0.2.9, +1", true),
        ("sub src/32, 192.0.2.9, +1", false),
        ("nsub dst/8, 10.0.0.0, +1", true),
        ("nsub dst/8, 198.0.0.0, +1", false),
        ("sub dst/0, 9.9.9.9, +1", true),
    ] {
        assert_eq!(holds(test, &d), want, "{test}");
    }
    let mut p = parts(&[("", 1, &["net src, pair:0, +1", "end #0", "done"])]);
    let pair = |af, a, b| Pair { af, a, b };
    for (code, pair, d, want) in [
        ("net src", pair(4, 0xc000_0200, 0xffff_ff00), packet(), true),
        ("nnet src", pair(4, 0xc000_0200, 0xffff_ff00), packet(), false),
        ("net src", pair(6, 0, 0), packet(), false),
        ("nnet src", pair(6, 1, u128::MAX), packet(), false),
        ("net src", pair(6, 0x2001_0db8 << 96, 0xffff_ffff << 96), udp6(), true),
        ("nnet src", pair(6, 1, u128::MAX), udp6(), true),
        ("span dst", pair(4, 0xc633_6400, 0xc633_6401), packet(), true),
        ("span dst", pair(4, 0xc633_6402, 0xc633_6403), packet(), false),
        ("nspan dst", pair(4, 0xc633_6402, 0xc633_6403), packet(), true),
        ("nspan dst", pair(4, 0, 0), udp6(), false),
    ] {
        p.pairs = vec![pair];
        p.code[0] = Op::assemble(&format!("{code}, pair:0, +1")).unwrap();
        let (_, m) = run_one(&p, &d, &mut World::default());
        assert_eq!(m.noted().is_some(), want, "{code} {pair:?}");
    }
}

#[test]
fn sets_of_intervals() {
    let mut p = parts(&[("", 2, &["among dport, set:0, +1", "note #0", "namong dport, set:0, +1", "note #1", "done"])]);
    p.intervals = [(0, 0), (22, 22), (80, 90), (65535, u32::MAX)].map(|(lo, hi)| Interval { lo, hi }).to_vec();
    p.sets = vec![Span { at: 0, len: 4 }];
    for (port, want) in [(0, 0), (1, 1), (21, 1), (22, 0), (23, 1), (80, 0), (85, 0), (90, 0), (91, 1), (65535, 0)] {
        let (_, m) = run_one(&p, &PacketDesc { ndport: port, ..packet() }, &mut World::default());
        assert_eq!(m.noted().map(|h| h.site.rule.0), Some(want), "{port}");
    }
    assert_eq!(run_one(&p, &fragment(), &mut World::default()).1.noted(), None);
}

#[test]
fn surroundings() {
    let ask = |test: &str, d: &PacketDesc, mut world: World| {
        let (_, m) = run_one(&parts(&[("", 1, &[test, "end #0", "done"])]), d, &mut world);
        m.noted().is_some()
    };
    let wan = || World { ifaces: [(2, 5)].into(), ..World::default() };
    assert!(ask("on if:2, +1", &packet(), wan()));
    assert!(!ask("on if:1, +1", &packet(), wan()));
    assert!(ask("non if:1, +1", &packet(), wan()));
    let received = PacketDesc { received_on: Some(5), ..packet() };
    assert!(ask("recv if:2, +1", &received, wan()));
    assert!(!ask("nrecv if:2, +1", &received, wan()));
    assert!(!ask("recv if:2, +1", &packet(), wan()), "received on nothing");
    assert!(ask("nrecv if:2, +1", &packet(), wan()), "received on nothing");
    let tagged = PacketDesc { tag: 3, ..packet() };
    assert!(ask("tagged tag:2, +1", &tagged, World::default()));
    assert!(!ask("ntagged tag:2, +1", &tagged, World::default()));
    assert!(ask("ntagged tag:2, +1", &packet(), World::default()));
    assert!(!ask("prob 1, +1", &packet(), World::default()));
    assert!(ask("prob 2, +1", &packet(), World::default()));
    assert!(!ask("prob 4294967294, +1", &packet(), World { random: u32::MAX, ..World::default() }));
    assert!(ask("prob 4294967295, +1", &packet(), World { random: u32::MAX, ..World::default() }));
    assert!(ask("rate #0, +1", &packet(), World::default()));
    assert!(!ask("rate #0, +1", &packet(), World { over: true, ..World::default() }));
}

#[test]
fn tables() {
    let mut p =
        parts(&[("", 2, &["lookup src, table:0, +1", "note #0", "nlookup dst, table:0, +1", "note #1", "done"])]);
    let name = p.strings.add("t");
    p.tables.push(crate::image::Table {
        name,
        ruleset: RulesetId(0),
        flags: Default::default(),
        kind: crate::image::TableKind::Named,
        entries: Run::default(),
    });
    let with = |a| World { tables: [(0, v4(a))].into(), ..World::default() };
    assert_eq!(run_one(&p, &packet(), &mut with([192, 0, 2, 7])).1.noted().unwrap().site.rule.0, 1);
    assert_eq!(run_one(&p, &packet(), &mut with([198, 51, 100, 1])).1.noted(), None);
}

#[test]
fn tags_stick_even_when_the_rule_loses() {
    let code = ["tag tag:1", "note #0", "tagged tag:1, +1", "end #1", "done"];
    let (_, m) = run_one(&parts(&[("", 2, &code)]), &packet(), &mut World::default());
    assert_eq!((m.tag(), m.noted().unwrap().site.rule.0), (Some(2), 1));
}

#[test]
fn a_once_rule_is_used_once() {
    let p = parts(&[("", 1, &["eval #0", "live #0, +3", "tag tag:0", "once #0, +1", "end #0", "done"])]);
    let mut world = World::default();
    assert!(run_one(&p, &packet(), &mut world).1.noted().is_some());
    let (_, m) = run_one(&p, &packet(), &mut world);
    assert_eq!((m.noted(), m.tag()), (None, None));
    assert_eq!(world.evaluated, [0, 0]);
}

#[test]
fn the_sixty_fifth_hit_drops() {
    let mut code = vec!["hit #0"; 64];
    code.push("done");
    let (step, m) = run_one(&parts(&[("", 1, &code)]), &packet(), &mut World::default());
    assert_eq!((step, m.hits().len()), (Step::Done, 64));
    code.insert(0, "hit #0");
    let (step, _) = run_one(&parts(&[("", 1, &code)]), &packet(), &mut World::default());
    assert_eq!(step, Step::Drop(Stop::Hits));
}

#[test]
fn logs_in_the_order_of_pf() {
    let mut p = parts(&[("", 5, &["note #0", "hit #1", "hit #2", "hit #3", "note #4", "done"])]);
    p.rules[1].log = LogFlags::LOG.with(LogFlags::MATCHES);
    p.rules[2].log = LogFlags::LOG;
    p.rules[3].log = LogFlags::LOG.with(LogFlags::MATCHES);
    let mut world = World::default();
    let (_, m) = run_one(&p, &packet(), &mut world);
    m.log_noted(&Grove::bind(vec![load(&p)]).unwrap(), &mut world);
    let last = [(4, Some(3)), (4, Some(1))];
    assert_eq!(world.log, [&[(1, None), (2, None), (2, Some(1)), (3, None)], &last[..], &last[..]].concat());
    assert!(m.logging());
}

#[test]
fn a_deciding_rule_with_log_matches_is_reported_to_no_other() {
    // It matches before the rule that asks, and after it; a deciding rule without the option is reported both times.
    for code in [["note #0", "hit #1", "done"], ["hit #1", "note #0", "done"]] {
        for (own, wanted) in [(LogFlags::LOG.with(LogFlags::MATCHES), 0), (LogFlags::LOG, 1)] {
            let mut p = parts(&[("", 2, &code)]);
            p.rules[0].log = own;
            p.rules[1].log = LogFlags::LOG.with(LogFlags::MATCHES);
            let mut world = World::default();
            let (_, m) = run_one(&p, &packet(), &mut world);
            world.log.clear();
            m.log_noted(&Grove::bind(vec![load(&p)]).unwrap(), &mut world);
            assert_eq!(world.log, vec![(0, Some(1)); wanted], "{code:?} {own:?}");
        }
    }
}

#[test]
fn a_translating_match_is_seen_by_later_rules() {
    let mut p = parts(&[("", 2, &["hit #0", "eq dport, 8080, +1", "end #1", "done"])]);
    p.pools.push(crate::rule::Pool {
        kind: crate::rule::PoolKind::None,
        sticky: false,
        addr: crate::rule::PoolAddr::None,
        ports: crate::rule::PoolPorts { lo: 0, hi: 0, fixed: false, base: 0 },
        key: None,
        iface: None,
    });
    p.rules[0].rdr = Some(PoolId(0));
    p.rules[0].log = LogFlags::LOG;
    let grove = Grove::bind(vec![load(&p)]).unwrap();
    let (mut m, mut world, mut d) = (Machine::new().unwrap(), World::default(), packet());
    m.reset(Body::Code, DEFAULT_FUEL);
    let Step::Suspend(Question::Translate(hit)) = run(&grove, &d, &mut m, &mut world) else { panic!("no question") };
    assert_eq!(hit.site.rule, RuleId(0));
    assert_eq!(world.log, [], "logged after the translation");
    d.ndport = 8080;
    assert_eq!(run(&grove, &d, &mut m, &mut world), Step::Done);
    assert_eq!((m.hits().len(), m.noted().unwrap().site.rule, world.log.len()), (1, RuleId(1), 1));
}

#[test]
fn questions_are_asked_and_answered() {
    for (test, question, yes) in [
        ("route urpf-failed, +1", Question::Route(crate::isa::RouteTest::UrpfFailed), true),
        ("nroute no-route-dst, +1", Question::Route(crate::isa::RouteTest::NoRouteDst), false),
        ("os 7, +1", Question::Os(7), true),
    ] {
        for answer in [false, true] {
            let grove = Grove::bind(vec![load(&parts(&[("", 1, &[test, "end #0", "done"])]))]).unwrap();
            let (mut m, mut world, d) = (Machine::new().unwrap(), World::default(), packet());
            m.reset(Body::Code, DEFAULT_FUEL);
            assert_eq!(run(&grove, &d, &mut m, &mut world), Step::Suspend(question));
            m.answer(answer);
            assert_eq!(run(&grove, &d, &mut m, &mut world), Step::Done);
            assert_eq!(m.noted().is_some(), answer == yes, "{test} {answer}");
        }
    }
    assert!(!holds("os 7, +1", &udp6()));
    assert!(!holds("os 7, +1", &fragment()));
}

#[test]
fn the_socket_is_asked_for_once() {
    let grove =
        Grove::bind(vec![load(&parts(&[("", 1, &["eq uid, 1000, +2", "eq gid, 5, +1", "end #0", "done"])]))]).unwrap();
    for (uid, gid, want) in [(Some(1000), Some(5), true), (Some(1000), Some(6), false), (None, None, false)] {
        let (mut m, mut world, mut d) = (Machine::new().unwrap(), World::default(), packet());
        m.reset(Body::Code, DEFAULT_FUEL);
        assert_eq!(run(&grove, &d, &mut m, &mut world), Step::Suspend(Question::Socket));
        (d.uid, d.gid) = (uid, gid);
        assert_eq!(run(&grove, &d, &mut m, &mut world), Step::Done);
        assert_eq!(m.noted().is_some(), want);
    }
    let known = PacketDesc { uid: Some(7), gid: Some(7), ..packet() };
    assert!(holds("eq uid, 7, +1", &known));
    assert!(!holds("ne uid, 7, +1", &known));
}

/// Anchors of a program by path, `true` for a wildcard; rule `r` calls anchor `a` for each pair.
fn anchored(p: &mut Parts, anchors: &[(&str, bool)], calls: &[(usize, u16)]) {
    p.anchors =
        anchors.iter().map(|(path, wildcard)| Anchor { path: p.strings.add(path), wildcard: *wildcard }).collect();
    for (rule, anchor) in calls {
        p.rules[*rule].anchor = Some(AnchorId(*anchor));
    }
}

#[test]
fn anchors_are_called_and_left() {
    let mut p = parts(&[
        ("", 3, &["note #0", "call last, anchor:0, #1", "call last, anchor:1, #2", "done"]),
        ("a", 1, &["note #3", "done"]),
    ]);
    anchored(&mut p, &[("a", false), ("gone", false)], &[(1, 0), (2, 1)]);
    let (step, m) = run_one(&p, &packet(), &mut World::default());
    let noted = m.noted().unwrap();
    assert_eq!(step, Step::Done);
    assert_eq!((noted.site.rule.0, noted.call.map(|c| c.rule.0)), (3, Some(1)));
}

#[test]
fn quick_inside_an_anchor_ends_everything() {
    let mut p = parts(&[("", 2, &["call last, anchor:0, #0", "note #1", "done"]), ("a", 1, &["end #2"])]);
    anchored(&mut p, &[("a", false)], &[(0, 0)]);
    assert_eq!(run_one(&p, &packet(), &mut World::default()).1.noted().unwrap().site.rule.0, 2);
}

#[test]
fn a_quick_anchor_stops_where_something_matched_in_it() {
    let quick = |inside: &'static [&'static str]| {
        let mut p = parts(&[("", 2, &["call quick, anchor:0, #0", "note #1", "done"]), ("a", 1, inside)]);
        anchored(&mut p, &[("a", false)], &[(0, 0)]);
        run_one(&p, &packet(), &mut World::default()).1.noted().unwrap().site.rule.0
    };
    assert_eq!(quick(&["note #2", "done"]), 2);
    assert_eq!(quick(&["hit #2", "done"]), 1, "match rules set no verdict");
    assert_eq!(quick(&["done"]), 1);
}

#[test]
fn a_quick_anchor_looks_only_at_rules_directly_in_it() {
    let mut p = parts(&[
        ("", 2, &["call quick, anchor:0, #0", "note #1", "done"]),
        ("a", 1, &["call last, anchor:1, #2", "done"]),
        ("a/b", 1, &["note #3", "done"]),
    ]);
    anchored(&mut p, &[("a", false), ("a/b", false)], &[(0, 0), (2, 1)]);
    assert_eq!(run_one(&p, &packet(), &mut World::default()).1.noted().unwrap().site.rule.0, 1);
}

#[test]
fn wildcards_run_children_by_name_over_all_programs() {
    let mut main = parts(&[("", 1, &["call last, anchor:0, #0", "done"]), ("x/b", 1, &["hit #1", "done"])]);
    anchored(&mut main, &[("x", true)], &[(0, 0)]);
    let child = |path| load(&parts(&[(path, 1, &["hit #0", "done"])]));
    let units = vec![load(&main), child("x/c"), child("x/a"), child("x/a/deep"), child("x"), child("x/a!"), child("y")];
    let order = |units| {
        let grove = Grove::bind(units).unwrap();
        let mut m = Machine::new().unwrap();
        m.reset(Body::Code, DEFAULT_FUEL);
        assert_eq!(run(&grove, &packet(), &mut m, &mut World::default()), Step::Done);
        m.hits().iter().map(|h| h.site.unit.0).collect::<Vec<_>>()
    };
    assert_eq!(order(units), [2, 5, 0, 1]);
    let units = vec![load(&main), child("x/b"), child("x/b")];
    assert_eq!(order(units), [2], "the one loaded last counts");
}

#[test]
fn a_wildcard_at_the_root() {
    let mut p = parts(&[
        ("", 1, &["call last, anchor:0, #0", "done"]),
        ("b", 1, &["hit #1", "done"]),
        ("b/c", 1, &["hit #2", "done"]),
    ]);
    anchored(&mut p, &[("", true)], &[(0, 0)]);
    assert_eq!(run_one(&p, &packet(), &mut World::default()).1.hits().len(), 1);
}

#[test]
fn sixty_three_calls_may_be_open() {
    let paths: Vec<String> = (0..66).map(|i| if i == 0 { String::new() } else { format!("a{i:02}") }).collect();
    let nested = |depth: usize| {
        let code: Vec<Vec<String>> = (0..=depth)
            .map(|i| {
                if i == depth {
                    vec!["end #0".replace('0', &i.to_string())]
                } else {
                    vec![format!("call last, anchor:{i}, #{i}"), "done".into()]
                }
            })
            .collect();
        let code: Vec<Vec<&str>> = code.iter().map(|c| c.iter().map(String::as_str).collect()).collect();
        let rulesets: Vec<(&str, u32, &[&str])> =
            code.iter().enumerate().map(|(i, c)| (paths[i].as_str(), 1, c.as_slice())).collect();
        let mut p = parts(&rulesets);
        let anchors: Vec<(&str, bool)> = (0..depth).map(|i| (paths[i + 1].as_str(), false)).collect();
        let calls: Vec<(usize, u16)> = (0..depth).map(|i| (i, i as u16)).collect();
        anchored(&mut p, &anchors, &calls);
        run_one(&p, &packet(), &mut World::default())
    };
    assert_eq!(nested(63).0, Step::Done);
    assert_eq!(nested(63).1.noted().unwrap().site.rule.0, 63);
    assert_eq!(nested(64).0, Step::Drop(Stop::Depth));
}

#[test]
fn anchors_that_call_each_other_drop_the_packet() {
    let mut p = parts(&[("", 1, &["call last, anchor:0, #0", "done"]), ("a", 1, &["call last, anchor:0, #1", "done"])]);
    anchored(&mut p, &[("a", false)], &[(0, 0), (1, 0)]);
    assert_eq!(run_one(&p, &packet(), &mut World::default()).0, Step::Drop(Stop::Depth));
}

#[test]
fn fuel_bounds_what_anchors_multiply() {
    let twice = ["call last, anchor:0, #1", "call last, anchor:0, #2", "done"];
    let mut p = parts(&[("", 1, &["call last, anchor:0, #0", "done"]), ("a", 2, &twice)]);
    anchored(&mut p, &[("a", false)], &[(0, 0), (1, 0), (2, 0)]);
    let grove = Grove::bind(vec![load(&p)]).unwrap();
    let mut m = Machine::new().unwrap();
    m.reset(Body::Code, 100);
    assert_eq!(run(&grove, &packet(), &mut m, &mut World::default()), Step::Drop(Stop::Fuel));
}

#[test]
fn nothing_loaded_passes() {
    let grove = Grove::<Program>::bind(Vec::new()).unwrap();
    let mut m = Machine::new().unwrap();
    m.reset(Body::Code, DEFAULT_FUEL);
    assert_eq!(run(&grove, &packet(), &mut m, &mut World::default()), Step::Done);
    assert_eq!(m.noted(), None);
}

#[test]
fn a_machine_forgets_the_packet_before() {
    let p = parts(&[("", 2, &["eq dport, 22, +3", "hit #0", "tag tag:1", "note #1", "done"])]);
    let grove = Grove::bind(vec![load(&p)]).unwrap();
    let (mut m, mut world) = (Machine::new().unwrap(), World::default());
    m.reset(Body::Code, DEFAULT_FUEL);
    run(&grove, &packet(), &mut m, &mut world);
    assert!(m.noted().is_some());
    m.reset(Body::Code, DEFAULT_FUEL);
    run(&grove, &PacketDesc { ndport: 23, ..packet() }, &mut m, &mut world);
    assert_eq!((m.noted(), m.tag(), m.hits().len(), m.logging()), (None, None, 0, false));
}

#[test]
fn dispatch_goes_to_the_interval() {
    let code = ["dispatch dport, dispatch:0", "note #0", "done", "note #1", "done", "note #2", "done"];
    let mut p = parts(&[("", 3, &code)]);
    p.cuts16 = vec![22, 23];
    p.searches = vec![Search { width: 16, at: 0, len: 2 }];
    p.targets = vec![2, 4, 2];
    p.dispatches = vec![Dispatch { search: 0, targets: 0 }];
    for (port, rule) in [(0, 1), (21, 1), (22, 2), (23, 1), (65535, 1)] {
        let (_, m) = run_one(&p, &PacketDesc { ndport: port, ..packet() }, &mut World::default());
        assert_eq!(m.noted().unwrap().site.rule.0, rule, "{port}");
    }
    assert_eq!(run_one(&p, &fragment(), &mut World::default()).1.noted().unwrap().site.rule.0, 0, "absent");
}

#[test]
fn dispatch_over_wide_fields() {
    let mut p = parts(&[("", 2, &["dispatch src6, dispatch:0", "done", "note #0", "done", "note #1", "done"])]);
    p.cuts128 = vec![0x2001_0db8 << 96, (0x2001_0db8 << 96) + 2];
    p.searches = vec![Search { width: 128, at: 0, len: 2 }];
    p.targets = vec![1, 3, 1];
    p.dispatches = vec![Dispatch { search: 0, targets: 0 }];
    assert_eq!(run_one(&p, &udp6(), &mut World::default()).1.noted().unwrap().site.rule.0, 1);
    assert_eq!(run_one(&p, &packet(), &mut World::default()).1.noted(), None);
}

/// A box for TCP to port 22 with this priority.
fn ssh(prio: u32) -> Box4 {
    Box4 {
        src_hi: u32::MAX,
        dst_hi: u32::MAX,
        sport_hi: u16::MAX,
        dport_lo: 22,
        dport_hi: 22,
        proto_lo: 6,
        proto_hi: 6,
        prio,
        ..Box4::default()
    }
}

#[test]
fn leaves_make_the_best_box_the_candidate() {
    let mut p = parts(&[("", 3, &["leaf leaf:0", "commit", "note #0", "done"])]);
    p.prios = vec![2 | 1 << 31, 1, 0];
    p.leaves = vec![Span { at: 0, len: 2 }];
    let mut one = |first: Box4, d: PacketDesc| {
        p.boxes = vec![first, Box4 { proto_hi: 255, dport_hi: u16::MAX, ..ssh(1) }];
        run_one(&p, &d, &mut World::default()).1.noted().map(|h| h.site.rule.0)
    };
    assert_eq!(one(ssh(0), packet()), Some(2), "quick ends");
    assert_eq!(one(ssh(1), packet()), Some(0), "not quick, a later note wins");
    assert_eq!(one(Box4 { dport_lo: 23, dport_hi: 30, ..ssh(0) }, packet()), Some(0));
    assert_eq!(one(Box4 { flags_mask: 0x12, flags_value: 0x10, ..ssh(0) }, packet()), Some(0));
    assert_eq!(one(Box4 { flags_mask: 0x12, flags_value: 0x02, ..ssh(0) }, packet()), Some(2));
    assert_eq!(one(ssh(BoxAttr::OUT as u32 * (1 << 24)), packet()), Some(0));
    assert_eq!(one(ssh(BoxAttr::IN as u32 * (1 << 24)), packet()), Some(2));
    assert_eq!(one(ssh(0), fragment()), Some(0), "a fragment has no port");
    let any = Box4 { proto_lo: 0, proto_hi: 255, dport_lo: 0, dport_hi: u16::MAX, ..ssh(0) };
    assert_eq!(one(any, fragment()), Some(2));
    assert_eq!(one(Box4 { flags_mask: 2, flags_value: 2, ..any }, icmp(8)), Some(2), "flags are asked of TCP only");
    assert_eq!(one(Box4 { flags_mask: 2, flags_value: 2, ..any }, fragment()), Some(0));
    assert_eq!(one(Box4 { prio: (BoxAttr::NO_ANSWER as u32) << 24, ..any }, icmp(0)), Some(0));
    assert_eq!(one(Box4 { prio: (BoxAttr::NO_ANSWER as u32) << 24, ..any }, icmp(8)), Some(2));
    assert_eq!(one(Box4 { prio: (BoxAttr::FRAGMENT as u32) << 24, ..any }, packet()), Some(0));
    assert_eq!(one(any, udp6()), Some(0), "boxes are of IPv4");
}

/// A classifier of 70 bits over the destination port and an interface: bit `i` is set for port `i` on interface 0.
fn classifier(list: Vec<u32>, code: &[&str]) -> Parts {
    let mut p = parts(&[("", 80, code)]);
    p.cuts32 = (1..70).collect();
    p.searches = vec![Search { width: 32, at: 0, len: 69 }];
    p.axes = vec![
        Axis { kind: AxisKind::Field(Field::Dport).encode(), operand: 0, rows: 0 },
        Axis { kind: AxisKind::On.encode(), operand: 0, rows: 71 },
    ];
    // Port p is in every bit from p to 69; no port: bit 69 alone. On the interface: all; otherwise: odd bits.
    for port in 0..70_u32 {
        let set = (u128::MAX << port) & ((1 << 70) - 1);
        p.rows.push(2 * port);
        p.bits.extend([set as u64, (set >> 64) as u64]);
    }
    p.rows.extend([138, 140, 142]);
    p.bits.extend([0xaaaa_aaaa_aaaa_aaaa, 0x2a, u64::MAX, 0x3f]);
    p.lists = list;
    p.bitsets = vec![BitSet { axes: 0, axes_len: 2, list: 0, len: 70 }];
    p
}

#[test]
fn bit_sets_find_the_first() {
    let mut p = classifier((0..70).collect(), &["bitand bits:0", "commit", "done"]);
    p.prios = (0..70).collect();
    let first = |port, on: bool| {
        let mut world = World::default();
        if on {
            world.ifaces.insert((0, 5));
        }
        let (_, m) = run_one(&p, &PacketDesc { ndport: port, ..packet() }, &mut world);
        m.noted().map(|h| h.site.rule.0)
    };
    for port in 0..70 {
        assert_eq!(first(port, true), Some(u32::from(port)));
        assert_eq!(first(port, false), Some(u32::from(port) | 1), "{port}");
    }
    assert_eq!(run_one(&p, &fragment(), &mut World::default()).1.noted().unwrap().site.rule.0, 69);
}

#[test]
fn collection_stops_at_a_quick_candidate() {
    let code = ["min prio:0", "stopat", "collect bits:0", "mintag bits:0", "commit", "done"];
    let mut p = classifier((0..70).collect(), &code);
    p.prios = vec![10 | 1 << 31];
    p.rules[5].tag = Some(TagId(2));
    p.rules[60].tag = Some(TagId(3));
    let collect = |p: &Parts| {
        let world = &mut World { ifaces: [(0, 5)].into(), ..World::default() };
        run_one(p, &PacketDesc { ndport: 3, ..packet() }, world)
    };
    let (step, m) = collect(&p);
    assert_eq!(step, Step::Done);
    assert_eq!(m.hits().iter().map(|h| h.site.rule.0).collect::<Vec<_>>(), (3..10).collect::<Vec<_>>());
    assert_eq!((m.tag(), m.noted().unwrap().site.rule.0), (Some(3), 10));
    p.prios = vec![10];
    assert_eq!(collect(&p).0, Step::Drop(Stop::Hits), "67 hits");
}

#[test]
fn better_and_min() {
    let code = ["better prio:1, +1", "hit #0", "min prio:0", "better prio:1, +1", "hit #1", "commit", "done"];
    let mut p = parts(&[("", 3, &code)]);
    p.prios = vec![2, 2];
    let (_, m) = run_one(&p, &packet(), &mut World::default());
    assert_eq!(m.hits().iter().map(|h| h.site.rule.0).collect::<Vec<_>>(), [0]);
}
