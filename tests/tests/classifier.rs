//! Large sets of rules: right answers, and within what a driver allows.

use pfc::compile::{Options, compile};
use pfc::facts::Facts;
use pfc::ruleset::OptimizerLevel;
use pfc::source::Sources;
use pfvm::exec::{DEFAULT_FUEL, Grove, Machine, Step, run};
use pfvm::image::Image;
use pfvm::packet::{BadOpts, FragInfo, L4, PacketDesc, TcpInfo};
use pfvm::rule::{Addr, Af, Direction};
use pfvm::verify::{Body, DRIVER_BUDGET, Program};
use std::path::Path;
use tests::fuzz::Numbers;

fn unpacked(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut out = Vec::new();
    lzma_rs::xz_decompress(&mut bytes.as_slice(), &mut out).expect("packed with xz");
    out
}

fn program(text: &[u8]) -> (Vec<u8>, Program) {
    let mut sources = Sources::disk();
    let file = sources.add("set", text.to_vec());
    let options = Options { optimize: Some(OptimizerLevel::None), ..Options::default() };
    let outcome = compile(&mut sources, file, &Facts::default(), &options);
    let compiled = outcome.compiled.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics.first()));
    let image = Image::parse(&compiled.image).expect("reads back");
    let program = Program::verify(&image, DRIVER_BUDGET).expect("within what a driver allows");
    (compiled.image, program)
}

fn desc(src: u32, dst: u32, sport: u16, dport: u16, proto: u8) -> PacketDesc {
    let addr = |v: u32| {
        let mut a = [0; 16];
        a[..4].copy_from_slice(&v.to_be_bytes());
        Addr(a)
    };
    PacketDesc {
        dir: Direction::In,
        forwarded: false,
        iface: 0,
        received_on: None,
        af: Af::Inet,
        naf: Af::Inet,
        proto,
        fragment: false,
        tos: 0,
        ttl: 64,
        badopts: BadOpts::NONE,
        src: addr(src),
        dst: addr(dst),
        nsaddr: addr(src),
        ndaddr: addr(dst),
        sport,
        dport,
        nsport: sport,
        ndport: dport,
        tot_len: 40,
        off: 20,
        hdrlen: 0,
        p_len: 0,
        ip_hlen: 20,
        extoff: 0,
        fragoff: 0,
        frag: FragInfo::default(),
        l4: match proto {
            6 => L4::Tcp(TcpInfo { flags: 2, header: 20, ..TcpInfo::default() }),
            17 => L4::Udp,
            _ => L4::Other,
        },
        tag: 0,
        prio: 3,
        rdomain: 0,
        uid: None,
        gid: None,
    }
}

/// The label's number of the rule that decides, `u32::MAX` for none.
fn decide(grove: &Grove<Program>, machine: &mut Machine, packet: &PacketDesc) -> u32 {
    machine.reset(Body::Code, DEFAULT_FUEL);
    assert_eq!(run(grove, packet, machine, &mut ()), Step::Done);
    let program = &grove.units()[0];
    let label = |h: pfvm::exec::Hit| program.text(program.rule(h.site.rule).expect("exists").label)[1..].parse();
    machine.noted().map_or(u32::MAX, |h| label(h).expect("rules are labelled rN"))
}

#[test]
fn classbench_sets_answer_right() {
    let Some(data) = tests::shared("perf/classbench") else { return };
    for set in ["acl1_1k", "fw1_1k", "ipc1_1k"] {
        let trace = unpacked(&data.join(format!("trace/{set}.trace.xz")));
        for (order, answers) in [("quick", "ans"), ("last", "ans"), ("mixed", "mixed.ans")] {
            let (_, program) = program(&unpacked(&data.join(format!("pf/{set}.{order}.pf.conf.xz"))));
            let grove = Grove::bind(vec![program]).expect("binds");
            let answers = unpacked(&data.join(format!("trace/{set}.{answers}.xz")));
            let mut machine = Machine::new().unwrap();
            for (p, right) in trace.as_chunks::<16>().0.iter().zip(answers.as_chunks::<4>().0).take(4000) {
                let word = |at: usize| u32::from_le_bytes([p[at], p[at + 1], p[at + 2], p[at + 3]]);
                let half = |at: usize| u16::from_le_bytes([p[at], p[at + 1]]);
                let packet = desc(word(0), word(4), half(8), half(10), p[12]);
                assert_eq!(decide(&grove, &mut machine, &packet), u32::from_le_bytes(*right), "{set} {order}");
            }
        }
    }
}

/// A made rule: source, destination, source ports, destination ports.
type Made = ((u32, u8), (u32, u8), (u16, u16), (u16, u16));

/// Sets that hurt decision trees.
fn hostile(kind: &str, n: usize, numbers: &mut Numbers) -> Vec<Made> {
    let mut below = |n: usize| u32::try_from(numbers.below(n)).unwrap_or(0);
    // A third of the hosts are always the same few: rules repeat.
    let all = (0, u16::MAX);
    let port = |p: u32| u16::try_from(p.min(65535)).unwrap_or(u16::MAX);
    (0..n)
        .map(|i| {
            let i32 = u32::try_from(i).unwrap_or(0);
            let mut host = || {
                let some = if i % 3 == 0 { below(4) } else { below(1 << 31) };
                some.wrapping_mul(0x9e37_79b9) | 1 << 24
            };
            match kind {
                "cross" if i % 2 == 1 => ((host(), 32), (0, 0), all, all),
                "cross" => ((0, 0), (host(), 32), all, all),
                "nest" => {
                    let (a, c) = (i32 * 3 % 32768, below(60_000));
                    ((0, 0), (0, 0), (port(a), port(65535 - a / 2)), (port(c), port(c)))
                }
                "stripes" => {
                    let (a, c) = (below(65_000), below(65_000));
                    let (b, d) = (a + 1 + below(20_000), c + 1 + below(20_000));
                    ((0, 0), (0, 0), (port(a), port(b)), (port(c), port(d)))
                }
                _ => {
                    let (s, d) = (host(), host());
                    let mut bits = || [0, 8, 12, 16, 24, 32][usize::try_from(below(6)).unwrap_or(0)];
                    ((s, bits()), (d, bits()), all, (port(below(1000)), port(1000 + below(5000))))
                }
            }
        })
        .collect()
}

#[test]
fn hostile_sets_stay_within_the_budget() {
    for kind in ["cross", "nest", "stripes", "mix"] {
        let mut numbers = Numbers(5);
        let set = hostile(kind, 3000, &mut numbers);
        let mut text = String::new();
        for (i, ((s, sl), (d, dl), (a, b), (c, e))) in set.iter().enumerate() {
            let net = |v: u32, l: u8| std::net::Ipv4Addr::from_bits(v).to_string() + &format!("/{l}");
            text.push_str(&format!(
                "block quick inet proto tcp from {} port {a}:{b} to {} port {c}:{e} label \"r{i}\"\n",
                net(*s, *sl),
                net(*d, *dl)
            ));
        }
        let (image, program) = program(text.as_bytes());
        assert!(image.len() < 16 << 20, "{kind}: {} bytes", image.len());
        let grove = Grove::bind(vec![program]).expect("binds");
        let mut machine = Machine::new().unwrap();
        for _ in 0..300 {
            let near = &set[numbers.below(set.len())];
            let src = near.0.0 ^ u32::from(numbers.byte() & 1);
            let dst = near.1.0 ^ u32::from(numbers.byte() & 1);
            let at =
                |(lo, hi): (u16, u16), n: &mut Numbers| [lo, hi, lo.wrapping_sub(1), hi.wrapping_add(1)][n.below(4)];
            let (sport, dport) = (at(near.2, &mut numbers), at(near.3, &mut numbers));
            let inside = |v: u32, (net, bits): (u32, u8)| {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                (v ^ net) & mask == 0
            };
            let holds = |r: &Made| {
                inside(src, r.0)
                    && inside(dst, r.1)
                    && (r.2.0..=r.2.1).contains(&sport)
                    && (r.3.0..=r.3.1).contains(&dport)
            };
            let right = set.iter().position(holds).and_then(|i| u32::try_from(i).ok()).unwrap_or(u32::MAX);
            assert_eq!(decide(&grove, &mut machine, &desc(src, dst, sport, dport, 6)), right, "{kind}");
        }
    }
}
