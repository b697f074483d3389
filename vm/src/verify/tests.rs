//! One refusal for every reason there is, bounds by hand, and bounds against every path there is.

use super::*;
use crate::image::encode::{Parts, encode, reseal};
use crate::image::tests::rule;
use crate::image::{
    Anchor, Axis, AxisKind, BitSet, Box4, BoxAttr, Dispatch, Image, Interval, Pair, Ruleset, Run, Search, Section, Span,
};
use crate::isa::{BadOperand, BadWord, Field, Op};
use crate::rule::{AnchorId, Rule, RuleId, RulesetId};

/// One ruleset of two rules, with something in every section code can name.
fn parts(code: &[&str]) -> Parts {
    let mut p = Parts::default();
    let name = p.strings.add("x");
    p.ifaces = vec![name];
    p.anchors = vec![Anchor { path: name, wildcard: false }];
    p.rules = vec![Rule { anchor: Some(AnchorId(0)), ..rule() }, rule()];
    p.code = assemble(code);
    let path = p.strings.add("");
    p.rulesets = vec![Ruleset {
        path,
        code: Run { at: 0, len: p.code.len() as u32 },
        straight: Run::default(),
        rules: Run { at: 0, len: 2 },
    }];
    p.pairs = vec![Pair { af: 4, a: 1, b: 1 }];
    p.intervals = vec![Interval { lo: 1, hi: 2 }, Interval { lo: 3, hi: 9 }];
    p.sets = vec![Span { at: 0, len: 2 }];
    p.prios = vec![1, 1 << 31];
    p.boxes = vec![Box4::default(), Box4 { prio: 1, ..Box4::default() }];
    p.leaves = vec![Span { at: 0, len: 2 }];
    p
}

/// The same with a dispatch table and a classifier, and the code that uses them.
fn searching() -> Parts {
    let mut p = parts(&["dispatch dport, dispatch:0", "bitand bits:0", "done"]);
    p.cuts16 = vec![1, 2];
    p.cuts128 = vec![5];
    p.searches = vec![Search { width: 16, at: 0, len: 2 }, Search { width: 128, at: 0, len: 1 }];
    p.targets = vec![0, 1, 0];
    p.dispatches = vec![Dispatch { search: 0, targets: 0 }];
    p.axes = vec![Axis { kind: AxisKind::Field(Field::Dport).encode(), operand: 0, rows: 0 }];
    p.rows = vec![0, 1, 2, 1];
    p.bits = vec![0, 1, 3];
    p.lists = vec![0, 1];
    p.bitsets = vec![BitSet { axes: 0, axes_len: 1, list: 0, len: 2 }];
    p
}

fn assemble(code: &[&str]) -> Vec<Op> {
    code.iter().map(|line| Op::assemble(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn verify(p: &Parts, budget: u32) -> Result<Program, Reject> {
    Program::verify(&Image::parse(&encode(p)).unwrap(), budget)
}

/// The reason why a changed image is refused.
fn refused(mut p: Parts, change: impl FnOnce(&mut Parts)) -> Reject {
    assert!(verify(&p, 4096).is_ok(), "good before the change");
    change(&mut p);
    verify(&p, 4096).unwrap_err()
}

/// The reason why code is refused.
fn code(lines: &[&str]) -> Reject {
    verify(&parts(lines), 4096).unwrap_err()
}

const fn at(pc: u32) -> At {
    At { body: Body::Code, pc }
}

/// Two rulesets, so that parts can lie wrongly.
fn two() -> Parts {
    let mut p = parts(&["done", "done"]);
    p.rulesets[0].code.len = 1;
    p.rulesets[0].rules.len = 1;
    p.rules[1].ruleset = RulesetId(1);
    let path = p.strings.add("y");
    let one = Run { at: 1, len: 1 };
    p.rulesets.push(Ruleset { path, code: one, straight: Run::default(), rules: one });
    p
}

/// An image whose second word of code is replaced.
fn word(word: u64) -> Reject {
    let mut bytes = encode(&parts(&["done", "done"]));
    let directory = |s: usize| {
        let at = 48 + 8 * s + 4;
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    };
    let before: usize = (0..Section::Code as usize).map(directory).sum();
    let place = 48 + 8 * crate::image::SECTIONS + before + 8;
    bytes[place..place + 8].copy_from_slice(&word.to_le_bytes());
    reseal(&mut bytes);
    Program::verify(&Image::parse(&bytes).unwrap(), 4096).unwrap_err()
}

/// Every refusal with the reason that must come out.
fn cases() -> Vec<(Reject, Reject)> {
    let run = |section, record, target, at, wanted| Reject::Run { section, record, target, at, wanted };
    let link = |section, record, target, index, count| Reject::Link { section, record, target, index, count };
    let order = |section, record| Reject::Order { section, record };
    let empty = |section, record| Reject::Empty { section, record };
    let operand = |pc, why| Reject::Operand { at: at(pc), why };
    let index = |kind, index, count| BadOperand::Index { kind, index, count };
    let layout = |section, ruleset, at, wanted| Reject::Layout { section, ruleset: RulesetId(ruleset), at, wanted };
    vec![
        (collect::<[u64; 1 << 30]>(u32::MAX, core::iter::empty()).unwrap_err(), Reject::NoMemory {}),
        (verify(&Parts::default(), 4096).unwrap_err(), Reject::NoRuleset {}),
        (refused(two(), |p| p.rulesets[1].code.at = 0), layout(Section::Code, 1, 0, 1)),
        (refused(two(), |p| p.rulesets[1].rules = Run { at: 1, len: 0 }), layout(Section::Rules, 2, 2, 1)),
        (refused(parts(&["done"]), |p| p.straight = assemble(&["done"])), layout(Section::Straight, 1, 1, 0)),
        (refused(two(), |p| p.rulesets[1].path = p.rulesets[0].path), order(Section::Rulesets, 1)),
        (
            refused(two(), |p| {
                p.rulesets[0].code.len = 0;
                p.rulesets[1].code = Run { at: 0, len: 2 };
            }),
            Reject::NoCode { ruleset: RulesetId(0) },
        ),
        (
            refused(two(), |p| {
                p.straight = assemble(&["done"]);
                p.rulesets[0].straight.len = 1;
                p.rulesets[1].straight.at = 1;
            }),
            Reject::NoStraight { ruleset: RulesetId(1) },
        ),
        (
            refused(two(), |p| p.rules[1].ruleset = RulesetId(0)),
            Reject::Owner { rule: RuleId(1), found: RulesetId(0), wanted: RulesetId(1) },
        ),
        (word(0xff), Reject::Word { at: at(1), why: BadWord::Opcode(0xff) }),
        (word(0x102), Reject::Word { at: at(1), why: BadWord::Padding }),
        (word(0x1310), Reject::Word { at: at(1), why: BadWord::Operand { kind: "word field", bits: 0x13 } }),
        (code(&["eq proto, 6, +1", "done"]), operand(0, BadOperand::Jump { to: 2, end: 2 })),
        (code(&["jmp +4294967295", "done"]), operand(0, BadOperand::Jump { to: 1 << 32, end: 2 })),
        (code(&["note #2", "done"]), operand(0, index("rule", 2, 2))),
        (code(&["lookup src, table:0, +0", "done"]), operand(0, index("table", 0, 0))),
        (code(&["on if:1, +0", "done"]), operand(0, index("interface", 1, 1))),
        (code(&["tag tag:0", "done"]), operand(0, index("tag", 0, 0))),
        (code(&["call last, anchor:1, #0", "done"]), operand(0, index("anchor", 1, 1))),
        (code(&["net src, pair:1, +0", "done"]), operand(0, index("pair", 1, 1))),
        (code(&["among proto, set:1, +0", "done"]), operand(0, index("set", 1, 1))),
        (code(&["dispatch proto, dispatch:0", "done"]), operand(0, index("dispatch", 0, 0))),
        (code(&["leaf leaf:1", "done"]), operand(0, index("leaf", 1, 1))),
        (code(&["collect bits:0", "done"]), operand(0, index("bitset", 0, 0))),
        (code(&["better prio:2, +0", "done"]), operand(0, index("priority", 2, 2))),
        (code(&["label src, label:0, +0", "done"]), operand(0, index("label", 0, 0))),
        (code(&["done", "note #0"]), Reject::FallsOff { at: at(1) }),
        (refused(two(), |p| p.code[0] = Op::End { rule: RuleId(1) }), Reject::Foreign { at: at(0), rule: RuleId(1) }),
        (code(&["call last, anchor:0, #1", "done"]), Reject::Call { at: at(0), rule: RuleId(1), anchor: AnchorId(0) }),
        (refused(searching(), |p| p.code[1] = p.code[0]), Reject::DispatchTurn { at: at(1), found: 0, wanted: 1 }),
        (
            refused(searching(), |p| p.code[0] = Op::assemble("dispatch src6, dispatch:0").unwrap()),
            Reject::DispatchWidth { at: at(0) },
        ),
        (refused(searching(), |p| p.targets[1] = 2), Reject::DispatchTarget { at: at(0), interval: 1, to: 3, end: 3 }),
        (
            verify(&parts(&["note #0", "done"]), 2).unwrap_err(),
            Reject::Budget { ruleset: RulesetId(0), bound: 3, budget: 2 },
        ),
        (refused(parts(&["done"]), |p| p.sets[0].len = 1), run(Section::Sets, 1, Section::Intervals, 2, 1)),
        (refused(parts(&["done"]), |p| p.leaves[0].at = 1), run(Section::Leaves, 0, Section::Boxes, 1, 0)),
        (refused(searching(), |p| p.searches[0].len = 1), run(Section::Searches, 1, Section::Cuts16, 2, 1)),
        (refused(searching(), |p| p.dispatches[0].targets = 1), run(Section::Dispatches, 0, Section::Targets, 1, 0)),
        (refused(searching(), |p| p.rows.push(0)), run(Section::Axes, 1, Section::Rows, 5, 4)),
        (refused(searching(), |p| p.lists.push(0)), run(Section::BitSets, 1, Section::Lists, 3, 2)),
        (refused(searching(), |p| p.bitsets[0].axes = 1), run(Section::BitSets, 0, Section::Axes, 1, 0)),
        (refused(parts(&["done"]), |p| p.prios[1] = 2), link(Section::Prios, 1, Section::Rules, 2, 2)),
        (refused(parts(&["done"]), |p| p.boxes[1].prio = 2), link(Section::Boxes, 1, Section::Prios, 2, 2)),
        (refused(searching(), |p| p.dispatches[0].search = 2), link(Section::Dispatches, 0, Section::Searches, 2, 2)),
        (
            refused(searching(), |p| p.axes[0] = Axis { kind: AxisKind::Table(true).encode(), operand: 0, rows: 0 }),
            link(Section::Axes, 0, Section::Tables, 0, 0),
        ),
        (refused(parts(&["done"]), |p| p.intervals[1].lo = 2), order(Section::Intervals, 1)),
        (refused(parts(&["done"]), |p| p.intervals[0].lo = 3), order(Section::Intervals, 0)),
        (refused(parts(&["done"]), |p| p.intervals[0].hi = u32::MAX), order(Section::Intervals, 1)),
        (refused(searching(), |p| p.cuts16[1] = 1), order(Section::Cuts16, 1)),
        (refused(parts(&["done"]), |p| p.boxes.reverse()), order(Section::Boxes, 1)),
        (refused(parts(&["done"]), |p| p.pairs[0].af = 5), Reject::Pair { pair: 0 }),
        (refused(parts(&["done"]), |p| p.pairs[0].a = 1 << 32), Reject::Pair { pair: 0 }),
        (refused(searching(), |p| p.searches[0].width = 8), Reject::Width { search: 0, width: 8 }),
        (refused(parts(&["done"]), |p| p.sets.insert(0, Span::default())), empty(Section::Sets, 0)),
        (refused(parts(&["done"]), |p| p.leaves.push(Span { at: 2, len: 0 })), empty(Section::Leaves, 1)),
        (
            refused(searching(), |p| p.bitsets.push(BitSet { axes: 1, axes_len: 0, list: 2, len: 0 })),
            empty(Section::BitSets, 1),
        ),
        (
            refused(parts(&["done"]), |p| p.boxes[0].prio = u32::from(BoxAttr::ALL + 1) << BoxAttr::SHIFT),
            Reject::Attr { index: 0, attr: BoxAttr::ALL + 1 },
        ),
        (refused(searching(), |p| p.axes[0].kind = 9), Reject::Axis { axis: 0 }),
        (refused(searching(), |p| p.axes[0].operand = 1), Reject::Axis { axis: 0 }),
        (
            refused(searching(), |p| {
                p.axes = (0..17).map(|i| Axis { kind: AxisKind::On.encode(), operand: 0, rows: 2 * i }).collect();
                p.rows = vec![0; 34];
                p.bitsets[0].axes_len = 17;
            }),
            Reject::Axes { bitset: 0, axes: 17 },
        ),
        (refused(searching(), |p| p.rows[3] = 3), Reject::Row { axis: 0, row: 3, from: 3, to: 4, count: 3 }),
        (refused(searching(), |p| p.lists[1] = 2), Reject::List { at: at(1), bitset: 0, most: 2, count: 2 }),
        (
            refused(searching(), |p| {
                p.code[1] = Op::assemble("collect bits:0").unwrap();
                p.lists[0] = 7;
            }),
            Reject::List { at: at(1), bitset: 0, most: 7, count: 2 },
        ),
    ]
}

#[test]
fn every_refusal_has_its_reason_and_place() {
    for (found, wanted) in cases() {
        assert_eq!(found, wanted, "{found}");
    }
}

#[test]
fn every_reason_has_a_refusal() {
    let tested: std::collections::BTreeSet<&str> = cases().iter().map(|(r, _)| r.name()).collect();
    let missing: Vec<&&str> = Reject::NAMES.iter().filter(|n| !tested.contains(**n)).collect();
    assert!(missing.is_empty(), "no negative test for {missing:?}");
}

/// The bound of some code.
fn bound(p: &Parts) -> u32 {
    verify(p, u32::MAX).unwrap().bounds()[0].code
}

#[test]
fn bounds_are_the_longest_path() {
    assert_eq!(bound(&parts(&["done"])), 1);
    assert_eq!(bound(&parts(&["eq proto, 6, +1", "note #0", "done"])), 1 + 2 + 1);
    assert_eq!(bound(&parts(&["eq proto, 6, +1", "jmp +1", "note #0", "done"])), 1 + 2 + 1);
    assert_eq!(bound(&parts(&["jmp +1", "hit #0", "done"])), 2);
    assert_eq!(bound(&parts(&["among proto, set:0, +0", "done"])), 2 + 2 + 1);
    assert_eq!(bound(&parts(&["leaf leaf:0", "done"])), 2 + 2 + 1);
    let mut p = searching();
    assert_eq!(bound(&p), (2 + 2) + (2 + 1 + 3) + 1, "dispatch, bitand, done");
    p.targets = vec![1, 1, 1];
    assert_eq!(bound(&p), 4 + 6 + 1, "the field may be absent");
}

#[test]
fn straight_code_has_its_own_bound_and_no_budget() {
    let mut p = parts(&["done"]);
    p.straight = assemble(&["note #0", "note #1", "done"]);
    p.rulesets[0].straight.len = 3;
    let bounds = verify(&p, 1).unwrap().bounds()[0];
    assert_eq!(bounds, Bounds { code: 1, straight: 5 });
}

/// The largest sum over every path from `pc`, by walking them all.
fn walk(ops: &[Op], costs: &super::sections::Sections, pc: usize) -> u32 {
    use crate::isa::Flow;
    let op = ops[pc];
    let on = |d: u32| walk(ops, costs, pc + 1 + d as usize);
    op.cost(costs)
        + match op.flow() {
            Flow::Next | Flow::Fan => on(0),
            Flow::Test => on(0).max(on(op.distance().unwrap())),
            Flow::Jump => on(op.distance().unwrap()),
            Flow::End => 0,
        }
}

#[test]
fn bounds_agree_with_every_path() {
    let mut x = 7_u64;
    let mut next = |n: u64| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 33) % n
    };
    for _ in 0..300 {
        let len = 1 + next(14);
        let mut lines: Vec<String> = (0..len)
            .map(|pc| match next(5) {
                0 => format!("jmp +{}", next(len - pc)),
                1 => format!("eq proto, 6, +{}", next(len - pc)),
                2 => "hit #0".into(),
                3 => format!("among proto, set:0, +{}", next(len - pc)),
                _ => "done".into(),
            })
            .collect();
        lines.push("done".into());
        let p = parts(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let program = verify(&p, u32::MAX).unwrap();
        assert_eq!(program.bounds()[0].code, walk(&p.code, &program.sections, 0), "{lines:?}");
    }
}

#[test]
fn a_program_knows_what_the_image_said() {
    let p = parts(&["done"]);
    let program = verify(&p, 1).unwrap();
    assert_eq!(program.rules(), p.rules);
    assert_eq!(program.anchor(AnchorId(0)), Some(&p.anchors[0]));
    assert_eq!(program.text(p.ifaces[0]), "x");
    assert_eq!(program.code(Body::Code), p.code);
    assert_eq!(program.rule(RuleId(2)), None);
}
