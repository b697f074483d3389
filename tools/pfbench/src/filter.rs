//! `filter`: what one instruction costs, on a filter of eleven that every packet runs through.

use crate::classbench::Tuple;
use crate::classify::desc;
use pfvm::exec::{DEFAULT_FUEL, Grove, Machine, Step, run as execute};
use pfvm::image::encode::{Parts, encode};
use pfvm::image::{Image, Pair, Ruleset, Run};
use pfvm::isa::Op;
use pfvm::packet::PacketDesc;
use pfvm::rule::{Rule, StrRef};
use pfvm::verify::{Body, DRIVER_BUDGET, Program};
use std::hint::black_box;
use std::time::Instant;

/// Ten tests that hold and a verdict, as a filter on a web server's SYNs would be.
const FILTER: [&str; 11] = [
    "eq dir, 1, +9",
    "eq af, 4, +8",
    "eq proto, 6, +7",
    "sub src/8, 10.0.0.0, +6",
    "net dst, pair:0, +5",
    "in sport, 1024, 65535, +4",
    "ne dport, 80, +3",
    "eq dport, 443, +2",
    "mask flags, 18, 2, +1",
    "note #0",
    "done",
];

/// The same, but for nothing to test: what every packet pays.
const EMPTY: [&str; 1] = ["done"];

/// Packets of one pass: about as long as nobody interrupts it.
const PACKETS: usize = 20_000;

/// Prints nanoseconds a packet and an instruction, medians over passes and the best pass.
pub(crate) fn run(passes: usize) -> Result<(), String> {
    let packets: Vec<PacketDesc> = (0..1024)
        .map(|i| {
            desc(&Tuple {
                src: 0x0a00_0000 + i,
                dst: 0xc612_0000 + i,
                sport: 1024 + (i & 0xfff) as u16,
                dport: 443,
                proto: 6,
            })
        })
        .collect();
    let base = times(&EMPTY, false, &packets, passes)?;
    let full = times(&FILTER, true, &packets, passes)?;
    for (what, i) in [("median", passes / 2), ("best", 0)] {
        let each = (full[i] - base[i]) / (FILTER.len() - EMPTY.len()) as f64;
        println!(
            "filter {what} of {passes}: {} instructions {:.1} ns, entry and one instruction {:.1} ns; {each:.2} ns an instruction, {:.2} with entry",
            FILTER.len(),
            full[i],
            base[i],
            full[i] / FILTER.len() as f64,
        );
    }
    Ok(())
}

/// Nanoseconds a packet of one program, sorted.
fn times(code: &[&str], passes_it: bool, packets: &[PacketDesc], passes: usize) -> Result<Vec<f64>, String> {
    let grove = Grove::bind(vec![program(code)?]).map_err(|e| e.to_string())?;
    let mut machine = Machine::new().map_err(|e| e.to_string())?;
    let mut times = Vec::new();
    for _ in 0..passes.max(1) {
        let start = Instant::now();
        for i in 0..PACKETS {
            machine.reset(Body::Code, DEFAULT_FUEL);
            let step = execute(&grove, black_box(&packets[i % packets.len()]), &mut machine, &mut ());
            if step != Step::Done || machine.noted().is_some() != passes_it {
                return Err(format!("{step:?}"));
            }
        }
        times.push(start.elapsed().as_secs_f64() * 1e9 / PACKETS as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn program(code: &[&str]) -> Result<Program, String> {
    let code = code.iter().map(|line| Op::assemble(line)).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    let ruleset = Ruleset {
        path: StrRef::default(),
        code: Run { at: 0, len: code.len() as u32 },
        straight: Run::default(),
        rules: Run { at: 0, len: 1 },
    };
    let pairs = vec![Pair { af: 4, a: 0xc612_0000, b: 0xfffe_0000 }];
    let parts = Parts { code, pairs, rulesets: vec![ruleset], rules: vec![Rule::PLAIN], ..Parts::default() };
    let bytes = encode(&parts);
    let image = Image::parse(&bytes).map_err(|e| e.to_string())?;
    Program::verify(&image, DRIVER_BUDGET).map_err(|e| e.to_string())
}
