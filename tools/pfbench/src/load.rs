//! `load`: text to verified program; `rules`: a packet that meets the last of many rules.

use crate::classbench::Tuple;
use crate::classify::desc;
use crate::clock;
use pfc::compile::{Options, compile};
use pfc::facts::Facts;
use pfc::source::Sources;
use pfvm::exec::{DEFAULT_FUEL, Grove, Machine, run as execute};
use pfvm::image::Image;
use pfvm::verify::{Body, Program};
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;

/// The text of `n` rules, of which only the last lets packets pass.
pub(crate) fn rules_text(n: usize) -> String {
    let mut text = String::from("set ruleset-optimization none\n");
    for i in 0..n.saturating_sub(1) {
        let (a, b, port) = (i >> 8, i & 255, 1000 + i % 50_000);
        let _ = writeln!(text, "block out quick on bench0 proto tcp from 172.16.{a}.{b} to any port {port}");
    }
    text.push_str("pass out quick no state\n");
    text
}

/// The program of a text, and how long it took to come to it: compile with verify, and the verifier alone.
pub(crate) fn program(text: &str) -> Result<(Program, f64, f64), String> {
    let facts = Facts::default();
    let start = clock::wall();
    let mut sources = Sources::disk();
    let file = sources.add("bench", text.as_bytes().to_vec());
    let outcome = compile(&mut sources, file, &facts, &Options::default());
    let compiled = outcome
        .compiled
        .ok_or_else(|| outcome.diagnostics.first().map_or_else(|| "no program".to_owned(), |d| d.message.clone()))?;
    let built = clock::wall() - start;
    let start = clock::wall();
    let image = Image::parse(&compiled.image).map_err(|e| e.to_string())?;
    let program = Program::verify(&image, u32::MAX).map_err(|e| e.to_string())?;
    Ok((program, built, clock::wall() - start))
}

/// Most memory this process has held, in MB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:"));
    line.and_then(|l| l.split_whitespace().nth(1)).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// `load`: a file, or `n` rules made up.
pub(crate) fn load(file: Option<&Path>, n: usize, passes: usize) -> Result<(), String> {
    let text = match file {
        Some(path) => String::from_utf8(crate::classbench::read(path)?).map_err(|e| e.to_string())?,
        None => rules_text(n),
    };
    let mut times = Vec::new();
    let mut verify = Vec::new();
    for _ in 0..passes.max(1) {
        let (program, built, verified) = program(&text)?;
        black_box(&program);
        times.push(built);
        verify.push(verified);
    }
    times.sort_by(f64::total_cmp);
    verify.sort_by(f64::total_cmp);
    let (mid, least) = (times.len() / 2, 0);
    println!(
        "load {}: {:.1} ms (least {:.1}), of which verify {:.1} ms; {:.0} MB at most",
        file.map_or_else(|| n.to_string(), |f| f.display().to_string()),
        times[mid] / 1e6,
        times[least] / 1e6,
        verify[mid] / 1e6,
        peak(),
    );
    Ok(())
}

/// `rules`: the evaluation alone of a packet that only the last of `n` rules passes.
pub(crate) fn rules(n: usize, passes: usize) -> Result<(), String> {
    let (program, ..) = program(&rules_text(n))?;
    let bound = program.bounds().first().map_or(0, |b| b.code);
    let grove = Grove::bind(vec![program]).map_err(|e| format!("{e:?}"))?;
    let mut machine = Machine::new().map_err(|e| e.to_string())?;
    let flow = |i: u32| Tuple {
        src: 0x0a00_0000 + i,
        dst: 0xc612_0000 + (i.wrapping_mul(2_654_435_761) >> 16),
        sport: u16::try_from(1024 + u64::from(i) * 40_503 % (1 << 32) % 64_512).unwrap_or(0),
        dport: 443,
        proto: 6,
    };
    let packets: Vec<_> = (0..1024)
        .map(|i| desc(&flow(i)))
        .map(|d| pfvm::packet::PacketDesc { dir: pfvm::rule::Direction::Out, ..d })
        .collect();
    let times = 512;
    let each = clock::median(passes, || {
        for _ in 0..times {
            for p in &packets {
                machine.reset(Body::Code, DEFAULT_FUEL.saturating_mul(1024));
                black_box(execute(&grove, black_box(p), &mut machine, &mut ()));
            }
        }
    });
    let last = machine.noted().map(|h| h.site.rule.0);
    if last != u32::try_from(n - 1).ok() {
        return Err(format!("rule {last:?} decided, not the last of {n}"));
    }
    println!(
        "rules TCP {n}: net {:.0} ns (evaluation alone, bound {bound} steps)",
        each / f64::from(times) / packets.len() as f64
    );
    Ok(())
}
