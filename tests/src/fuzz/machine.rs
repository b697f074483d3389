//! Images, programs and assembly text from bytes: whatever the verifier accepts runs within its bound.

use super::Numbers;
use pfvm::exec::{Context, DEFAULT_FUEL, Grove, Hit, Machine, Question, Site, Step, Stop, UnitId, run};
use pfvm::image::encode::{Parts, encode, reseal};
use pfvm::image::{
    Anchor, Axis, AxisKind, BitSet, Box4, Dispatch, Entry, Image, Interval, Pair, Ruleset, Run, Search, Section, Span,
    Table, TableFlags, TableKind,
};
use pfvm::isa::{Field, OP_ROWS, Op};
use pfvm::packet::{Packet, PacketDesc, PktMeta, describe};
use pfvm::rule::{
    Addr, Af, AnchorId, Direction, IfaceId, LogFlags, Pool, PoolAddr, PoolId, PoolKind, PoolPorts, Rule, RulesetId,
    TableId, TagId,
};
use pfvm::verify::{Body, Program};

/// Budget programs are verified against.
const BUDGET: u32 = 4096;

/// Reads bytes as an image, as they are and with a good digest.
pub fn image(data: &[u8]) {
    let _ = Image::parse(data).map(|i| look(&i));
    let mut sealed = data.to_vec();
    reseal(&mut sealed);
    match Image::parse(&sealed) {
        Ok(image) => look(&image),
        Err(why) => assert!(!why.to_string().is_empty()),
    }
}

/// What an image holds is what it says it holds.
fn look(image: &Image<'_>) {
    let count = |s| usize::try_from(image.count(s)).unwrap();
    assert_eq!(image.rules().count(), count(Section::Rules));
    assert_eq!(image.rulesets().count(), count(Section::Rulesets));
    assert_eq!(image.tables().count(), count(Section::Tables));
    assert_eq!(image.pools().count(), count(Section::Pools));
    assert_eq!(image.code().count(), count(Section::Code));
    assert_eq!(image.entries().count(), count(Section::Entries));
    assert_eq!(image.ifaces().filter(|n| !image.text(*n).is_empty()).count(), count(Section::Ifaces));
    for rule in image.rules() {
        assert_eq!(image.text(rule.text).len(), usize::try_from(rule.text.len).unwrap());
    }
}

/// Makes an image of bytes, verifies it, and runs what is accepted on a few packets.
///
/// The first byte chooses: 0 writes code into the full image, 1 changes bytes of it; anything else is an image itself.
pub fn verify_run(data: &[u8]) {
    let bytes = match data.split_first() {
        Some((0, rest)) => encode(&coded(rest)),
        Some((1, rest)) => edited(rest),
        _ => {
            let mut bytes = data.to_vec();
            reseal(&mut bytes);
            bytes
        }
    };
    let Ok(image) = Image::parse(&bytes) else { return };
    let Ok(program) = Program::verify(&image, BUDGET) else { return };
    assert!(program.bounds().iter().all(|b| (1..=BUDGET).contains(&b.code)));
    let grove = Grove::bind(vec![program]).unwrap();
    let mut numbers = Numbers(data.iter().fold(1, |n, b| n * 31 % 0xffff_ffff + u64::from(*b)));
    for desc in packets() {
        for body in [Body::Code, Body::Straight] {
            total(&grove, desc, body, &mut numbers);
        }
    }
}

/// One run ends, pays for every word it runs, and leaves nothing impossible behind.
fn total(grove: &Grove<Program>, mut desc: PacketDesc, body: Body, numbers: &mut Numbers) {
    let program = &grove.units()[0];
    let mut machine = Machine::new().expect("room");
    machine.reset(body, DEFAULT_FUEL);
    let mut world = World { program, numbers, steps: 0, again: false };
    let end = loop {
        match run(grove, &desc, &mut machine, &mut world) {
            Step::Suspend(question) => {
                world.again = true;
                match question {
                    Question::Socket => desc.uid = world.coin().then_some(1000),
                    Question::Translate(_) => desc.ndport = 8080,
                    Question::Route(_) | Question::Label { .. } | Question::Os(_) => machine.answer(world.coin()),
                }
            }
            end => break end,
        }
    };
    let spent = u64::from(DEFAULT_FUEL - machine.fuel());
    assert!(world.steps <= spent, "{} steps, {spent} paid", world.steps);
    assert_ne!(end, Step::Drop(Stop::Fault));
    let rules = program.rules().len();
    for hit in machine.hits().iter().copied().chain(machine.noted()) {
        assert!(usize::try_from(hit.site.rule.0).is_ok_and(|r| r < rules));
    }
}

/// Chance, and an account of steps.
struct World<'p, 'n> {
    program: &'p Program,
    numbers: &'n mut Numbers,
    steps: u64,
    /// The next word was counted before it suspended.
    again: bool,
}

impl World<'_, '_> {
    fn coin(&mut self) -> bool {
        self.numbers.next() & 1 == 0
    }
}

impl Context for World<'_, '_> {
    const TRACE: bool = true;

    fn in_table(&mut self, _: UnitId, _: TableId, _: Af, _: &Addr) -> bool {
        self.coin()
    }
    fn is_iface(&mut self, _: UnitId, _: IfaceId, _: u16) -> bool {
        self.coin()
    }
    fn tag(&mut self, _: UnitId, tag: TagId) -> u16 {
        tag.0 + 1
    }
    fn random(&mut self) -> u32 {
        u32::from(self.numbers.byte()) << 24
    }
    fn under_rate(&mut self, _: Site) -> bool {
        self.coin()
    }
    fn is_live(&mut self, _: Site) -> bool {
        self.coin()
    }
    fn use_up(&mut self, _: Site) -> bool {
        self.coin()
    }
    fn log(&mut self, hit: Hit, _: Option<Site>) {
        assert_eq!(hit.site.unit, UnitId(0));
    }
    fn trace(&mut self, _: UnitId, body: Body, pc: u32) {
        let op = self.program.code(body)[usize::try_from(pc).unwrap()];
        if !std::mem::take(&mut self.again) {
            self.steps += u64::from(self.program.cost(op));
        }
    }
}

/// Lines of text and words of code: each that is an instruction is the same one however it is written.
pub fn asm(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines() {
        if let Ok(op) = Op::assemble(line) {
            same(op);
        }
    }
    for word in data.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*word);
        if let Ok(op) = Op::decode(word) {
            assert_eq!(op.encode(), word);
            same(op);
        }
    }
}

fn same(op: Op) {
    assert_eq!(Op::decode(op.encode()), Ok(op));
    assert_eq!(Op::assemble(&op.to_string()), Ok(op));
}

/// The full image, its bytes changed: three bytes of place and one of value at a time.
fn edited(edits: &[u8]) -> Vec<u8> {
    let mut bytes = encode(&full());
    for [a, b, c, value] in edits.as_chunks::<4>().0 {
        let at = u32::from_le_bytes([*a, *b, *c, 0]);
        let at = 48 + usize::try_from(at).unwrap() % (bytes.len() - 48);
        bytes[at] = *value;
    }
    reseal(&mut bytes);
    bytes
}

/// The full image with other code: an instruction for every four bytes, shared out among its rulesets.
fn coded(data: &[u8]) -> Parts {
    let mut p = full();
    let words: Vec<&[u8; 4]> = data.as_chunks::<4>().0.iter().take(256).collect();
    let each = words.len().div_ceil(p.rulesets.len());
    let (mut code, mut dispatches) = (Vec::new(), 0);
    let mut chunks = words.chunks(each.max(1));
    for (id, ruleset) in p.rulesets.iter_mut().enumerate() {
        let at = u32::try_from(code.len()).unwrap();
        for word in chunks.next().unwrap_or_default() {
            code.extend(instruction(**word, id, &mut dispatches));
        }
        code.extend([Op::Done {}; 3]);
        ruleset.code = Run { at, len: u32::try_from(code.len()).unwrap() - at };
        ruleset.straight = Run::default();
    }
    (p.code, p.straight) = (code, Vec::new());
    p
}

/// An instruction with small operands, most of them good ones.
fn instruction([op, a, b, c]: [u8; 4], ruleset: usize, dispatches: &mut u8) -> Option<Op> {
    let row = &OP_ROWS[usize::from(op) % OP_ROWS.len()];
    let mut word = u64::from(row.code);
    for operand in row.operands {
        let value = match operand.kind {
            "skip" | "jump" => u64::from(a % 3),
            "word field" | "field" => u64::from(b % 21),
            "rule" => 2 * u64::try_from(ruleset).unwrap() + u64::from(c % 2),
            "anchor" => u64::try_from(ruleset).unwrap(),
            "dispatch" => {
                *dispatches += 1;
                u64::from(*dispatches - 1)
            }
            "side" | "quick" | "tag" | "interface" | "table" | "label" | "set" | "pair" | "leaf" => u64::from(c % 2),
            "bitset" => u64::from(row.name != "bitand"),
            "route test" => u64::from(c % 3),
            "priority" => u64::from(c % 4),
            _ => u64::from(b),
        };
        word |= value << operand.at;
    }
    Op::decode(word).ok()
}

/// An image with something of everything.
fn full() -> Parts {
    let mut p = Parts::default();
    let name = p.strings.add("x");
    (p.ifaces, p.tags, p.labels) = (vec![name; 2], vec![name; 2], vec![name; 2]);
    for (id, path) in (0..).zip(["", "a", "a/b", "c"]) {
        let path = p.strings.add(path);
        let run = |at, len| Run { at, len };
        p.rulesets.push(Ruleset { path, code: run(6 * id, 6), straight: run(3 * id, 3), rules: run(2 * id, 2) });
        let call = p.strings.add(["a", "a", "c", ""][usize::try_from(id).unwrap()]);
        p.anchors.push(Anchor { path: call, wildcard: id != 0 });
        let ruleset = RulesetId(u16::try_from(id).unwrap());
        let calls = Rule { ruleset, anchor: Some(AnchorId(u16::try_from(id).unwrap())), ..Rule::PLAIN };
        p.rules.push(calls);
        p.rules.push(Rule { ruleset, tag: Some(TagId(0)), log: LogFlags::MATCHES, ..Rule::PLAIN });
        let (first, second) = (2 * id, 2 * id + 1);
        let code = [
            "eq proto, 6, +1".to_owned(),
            format!("call quick, anchor:{id}, #{first}"),
            "among dport, set:0, +1".into(),
            format!("hit #{second}"),
            format!("note #{first}"),
            "done".into(),
        ];
        p.code.extend(code.iter().map(|line| Op::assemble(line).unwrap()));
        let straight = [format!("eval #{first}"), format!("note #{first}"), "done".into()];
        p.straight.extend(straight.iter().map(|line| Op::assemble(line).unwrap()));
    }
    p.rules[3].nat = Some(PoolId(0));
    searched(&mut p);
    p
}

/// Pools, tables, and everything that is searched.
fn searched(p: &mut Parts) {
    let name = p.ifaces[0];
    let ports = PoolPorts { lo: 0, hi: 0, base: 0, fixed: false };
    let from = PoolAddr::Table(TableId(0));
    p.pools = vec![Pool { kind: PoolKind::Random, sticky: false, addr: from, ports, key: None, iface: None }];
    let table =
        |kind| Table { name, ruleset: RulesetId(0), flags: TableFlags::CONST, kind, entries: Run { at: 0, len: 1 } };
    p.tables = vec![table(TableKind::Named); 2];
    p.entries = vec![Entry { addr: [10; 16], prefix: 8, flags: 0, weight: 0 }];
    p.pairs = vec![Pair { af: 4, a: 0x0a00_0000, b: 0xff00_0000 }, Pair { af: 6, a: 0, b: u128::MAX }];
    p.intervals = [(22, 25), (443, 443), (0, u32::MAX)].map(|(lo, hi)| Interval { lo, hi }).to_vec();
    p.sets = vec![Span { at: 0, len: 2 }, Span { at: 2, len: 1 }];
    (p.cuts16, p.cuts32, p.cuts128) = (vec![22, 23], vec![0x0a00_0000], vec![1 << 127]);
    let search = |width, len| Search { width, at: 0, len };
    p.searches = vec![search(16, 2), search(32, 1), search(128, 1)];
    p.targets = vec![0, 1, 0, 0, 1, 1, 0];
    p.dispatches = [(0, 0), (1, 3), (2, 5)].map(|(search, targets)| Dispatch { search, targets }).to_vec();
    p.prios = vec![0, 1 | 1 << 31, 2, 3];
    let any = Box4 { src_hi: u32::MAX, dst_hi: u32::MAX, sport_hi: u16::MAX, dport_hi: u16::MAX, ..Box4::default() };
    let tcp = Box4 { proto_lo: 6, proto_hi: 6, flags_mask: 2, flags_value: 2, ..any };
    p.boxes = vec![Box4 { prio: 1, ..tcp }, Box4 { prio: 3, proto_hi: 255, ..any }, tcp];
    p.leaves = vec![Span { at: 0, len: 2 }, Span { at: 2, len: 1 }];
    let axis = |kind: AxisKind, operand, rows| Axis { kind: kind.encode(), operand, rows };
    p.axes = vec![
        axis(AxisKind::Field(Field::Dport), 0, 0),
        axis(AxisKind::Table(true), 1, 4),
        axis(AxisKind::On, 0, 6),
        axis(AxisKind::Field(Field::Uid), 1, 8),
    ];
    p.rows = vec![0, 1, 2, 0, 1, 2, 2, 1, 0, 1, 2];
    p.bits = vec![0b01, 0b10, 0b11];
    p.lists = vec![0, 3, 0, 1];
    let bitset = |axes, list| BitSet { axes, axes_len: 2, list, len: 2 };
    p.bitsets = vec![bitset(0, 0), bitset(2, 2)];
}

/// A TCP SYN, a UDP packet of IPv6, an ICMP message and a fragment.
fn packets() -> Vec<PacketDesc> {
    let v4 = |proto: u8, frag: u8, rest: &[u8]| {
        let len = u8::try_from(20 + rest.len()).unwrap();
        let mut p = vec![0x45, 0, 0, len, 0, 1, frag, 0, 64, proto, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1];
        p.extend(rest);
        (Af::Inet, p)
    };
    let tcp = [0x9c, 0x40, 0, 22, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];
    let mut v6 = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
    v6.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    v6.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    v6.extend([0x9c, 0x40, 0, 53, 0, 8, 0, 0]);
    let all = [v4(6, 0, &tcp), (Af::Inet6, v6), v4(1, 0, &[8, 0, 0, 0, 0, 1, 0, 1]), v4(17, 0x20, &[0; 8])];
    let describe = |(af, mut bytes): (Af, Vec<u8>)| {
        let packet = Packet::whole(&mut bytes);
        describe(&packet, &PktMeta::default(), af, Direction::In, 1).expect("a good packet")
    };
    all.into_iter().map(describe).collect()
}

/// Inputs the corpora begin with: target, name, bytes.
#[cfg(test)]
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let full = encode(&full());
    assert_eq!(full.first_chunk(), Some(&pfvm::image::MAGIC));
    let every: Vec<u8> = (0..=u8::try_from(OP_ROWS.len()).unwrap()).flat_map(|op| [op, 1, 5, op]).collect();
    let code = |bytes: &[u8]| [&[0], bytes].concat();
    let text: Vec<String> = [
        "jmp +7",
        "call quick, anchor:1, #3",
        "eq proto, 6, +3",
        "in sport, 1, 1024, +0",
        "mask flags, 18, 2, +1",
        "among dport, set:2, +1",
        "sub dst/24, 192.0.2.0, +9",
        "lookup src, table:1, +2",
        "route urpf-failed, +1",
        "dispatch src6, dispatch:0",
        "better prio:3, +1",
        "commit",
    ]
    .map(str::to_owned)
    .to_vec();
    let words: Vec<u8> = text.iter().flat_map(|t| Op::assemble(t).unwrap().encode().to_le_bytes()).collect();
    vec![
        ("image", "full", full.clone()),
        ("image", "empty", encode(&Parts::default())),
        ("verify_run", "full", full),
        ("verify_run", "every", code(&every)),
        ("verify_run", "fields", code(&(0..84).flat_map(|i| [20 + i % 7, 2, i, 1]).collect::<Vec<u8>>())),
        ("verify_run", "classify", code(&(0..60).flat_map(|i| [40 + i % 10, 1, 5, i]).collect::<Vec<u8>>())),
        ("verify_run", "edit", vec![1, 40, 1, 0, 2, 200, 2, 0, 1]),
        ("asm", "text", text.join("\n").into_bytes()),
        ("asm", "words", words),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_image_is_accepted() {
        let bytes = encode(&full());
        Program::verify(&Image::parse(&bytes).unwrap(), BUDGET).unwrap();
        assert_eq!(packets().len(), 4);
    }

    /// Otherwise the body would hardly ever run anything.
    #[test]
    fn most_made_programs_are_accepted() {
        let mut numbers = Numbers(7);
        let accepted = (0..200)
            .filter(|_| {
                let data: Vec<u8> = (0..64).map(|_| numbers.byte()).collect();
                let bytes = encode(&coded(&data));
                Program::verify(&Image::parse(&bytes).unwrap(), BUDGET).is_ok()
            })
            .count();
        assert!(accepted > 50, "{accepted} of 200");
    }

    #[test]
    fn the_corpora_begin_with_the_seeds() {
        for (target, name, bytes) in seeds() {
            let path = crate::project("fuzz/corpus").join(target).join(name);
            if std::env::var_os("PF_BLESS").is_some() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, &bytes).unwrap();
            }
            assert!(std::fs::read(&path).ok() == Some(bytes), "{}: run with PF_BLESS=1", path.display());
        }
    }
}
