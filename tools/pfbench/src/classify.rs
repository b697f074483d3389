//! `classify`: how long one look-up in a set of rules takes, and whether it is right.

use crate::classbench::{self, Order, Tuple};
use crate::clock;
use pfc::image::{self, Extras, Stats};
use pfc::lower::Passes;
use pfvm::exec::{DEFAULT_FUEL, Grove, Machine, Step, run as execute};
use pfvm::image::Image;
use pfvm::packet::{BadOpts, FragInfo, L4, PacketDesc, TcpInfo};
use pfvm::rule::{Addr, Af, Direction};
use pfvm::verify::{Body, Program};
use std::collections::HashSet;
use std::hint::black_box;
use std::path::PathBuf;

/// What to do.
pub(crate) struct Job {
    pub(crate) set: String,
    pub(crate) data: PathBuf,
    pub(crate) order: Order,
    pub(crate) passes: usize,
    pub(crate) straight: bool,
    pub(crate) packets: usize,
    pub(crate) distinct: bool,
}

/// Builds the set's program, looks the trace up, prints one line each.
pub(crate) fn run(job: &Job) -> Result<(), String> {
    let (file, trace) = files(job);
    let text = String::from_utf8(classbench::read(&file)?).map_err(|e| e.to_string())?;
    let config = classbench::config(&text, job.order)?;
    let passes = if job.straight { Passes::NONE } else { Passes::ALL };
    let start = clock::wall();
    let (bytes, stats) = image::build(&config, passes, &Extras::NONE).map_err(|e| e.to_string())?;
    let built = clock::wall() - start;
    let start = clock::wall();
    let image = Image::parse(&bytes).map_err(|e| e.to_string())?;
    let program = Program::verify(&image, u32::MAX).map_err(|e| format!("{e:?}"))?;
    let verified = clock::wall() - start;
    let bound = program.bounds().first().map_or(0, |b| b.code);
    println!(
        "classify {} {:?}: {} rules, built in {:.1} ms, verified in {:.1} ms, bound {bound} steps, {} words, {} dispatches, {} B a rule",
        job.set,
        job.order,
        stats.rules,
        built / 1e6,
        verified / 1e6,
        stats.code,
        stats.dispatches,
        machine_bytes(&image, stats) / stats.rules.max(1),
    );
    let Some(trace) = trace else { return Ok(()) };
    let grove = Grove::bind(vec![program]).map_err(|e| format!("{e:?}"))?;
    let mut packets = classbench::trace(&classbench::read(&trace)?);
    packets.truncate(job.packets);
    check(job, &grove, &packets)?;
    if job.distinct {
        let mut seen = HashSet::new();
        packets.retain(|p| seen.insert(*p));
        shuffle(&mut packets);
    }
    measure(job, &grove, &packets);
    Ok(())
}

/// The rules' file, and the trace where the set has one.
fn files(job: &Job) -> (PathBuf, Option<PathBuf>) {
    let name = PathBuf::from(&job.set);
    if name.exists() {
        return (name, None);
    }
    let at = |kind: &str| job.data.join(format!("{kind}.xz"));
    (at(&format!("rules/{}.rules", job.set)), Some(at(&format!("trace/{}.trace", job.set))))
}

/// Bytes the machine touches: code and what it searches.
fn machine_bytes(image: &Image<'_>, stats: Stats) -> usize {
    use pfvm::image::Section;
    let count = |s| usize::try_from(image.count(s)).unwrap_or(0);
    stats.code * 8
        + count(Section::Cuts16) * 2
        + count(Section::Cuts32) * 4
        + count(Section::Cuts128) * 16
        + count(Section::Targets) * 4
        + count(Section::Boxes) * 32
        + count(Section::Prios) * 4
}

/// The description of a packet of the trace.
pub(crate) fn desc(t: &Tuple) -> PacketDesc {
    let addr = |v: u32| {
        let mut a = [0; 16];
        a[..4].copy_from_slice(&v.to_be_bytes());
        Addr(a)
    };
    let (src, dst) = (addr(t.src), addr(t.dst));
    PacketDesc {
        dir: Direction::In,
        forwarded: false,
        iface: 0,
        received_on: None,
        af: Af::Inet,
        naf: Af::Inet,
        proto: t.proto,
        fragment: false,
        tos: 0,
        ttl: 64,
        badopts: BadOpts::NONE,
        src,
        dst,
        nsaddr: src,
        ndaddr: dst,
        sport: t.sport,
        dport: t.dport,
        nsport: t.sport,
        ndport: t.dport,
        tot_len: 46,
        off: 20,
        hdrlen: 0,
        p_len: 0,
        ip_hlen: 20,
        extoff: 0,
        fragoff: 0,
        frag: FragInfo::default(),
        l4: match t.proto {
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

/// The rule that decides, as the answers number it.
fn decide(grove: &Grove<Program>, machine: &mut Machine, p: &PacketDesc) -> Result<u32, String> {
    machine.reset(Body::Code, DEFAULT_FUEL.saturating_mul(1024));
    match execute(grove, p, machine, &mut ()) {
        Step::Done => Ok(machine.noted().map_or(u32::MAX, |h| h.site.rule.0)),
        other => Err(format!("{other:?}")),
    }
}

/// Compares every decision with the answers.
fn check(job: &Job, grove: &Grove<Program>, packets: &[Tuple]) -> Result<(), String> {
    let kind = if job.order == Order::Mixed { "mixed.ans" } else { "ans" };
    let answers = classbench::answers(&classbench::read(&job.data.join(format!("trace/{}.{kind}.xz", job.set)))?);
    let mut machine = Machine::new().expect("room");
    let rules = grove.units().first().map_or(0, |p| p.rules().len());
    let mut wrong = 0_usize;
    for (p, right) in packets.iter().zip(&answers) {
        let found = decide(grove, &mut machine, &desc(p))?;
        let last = job.order == Order::Last && found != u32::MAX;
        let found = if last { u32::try_from(rules).unwrap_or(0) - 1 - found } else { found };
        wrong += usize::from(found != *right);
    }
    println!("classify {} {:?}: {} packets, {wrong} wrong", job.set, job.order, packets.len().min(answers.len()));
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} wrong answers")) }
}

fn shuffle(packets: &mut [Tuple]) {
    let mut x = 42_u64;
    for i in (1..packets.len()).rev() {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let j = usize::try_from(x >> 33).unwrap_or(0) % (i + 1);
        packets.swap(i, j);
    }
}

/// Times the look-ups, and the same loop with nothing to look up.
fn measure(job: &Job, grove: &Grove<Program>, packets: &[Tuple]) {
    let mut machine = Machine::new().expect("room");
    let n = packets.len().max(1) as f64;
    let time = |f: &mut dyn FnMut(&PacketDesc)| {
        // The clock may tick in milliseconds only: a pass takes some tens of them.
        let times = (1_000_000 / packets.len().max(1)).max(1);
        let pass = || (0..times).for_each(|_| packets.iter().for_each(|p| f(&desc(black_box(p)))));
        clock::median(job.passes, pass) / n / times as f64
    };
    let base = time(&mut |p| {
        black_box(p);
    });
    let full = time(&mut |p| {
        machine.reset(Body::Code, DEFAULT_FUEL.saturating_mul(1024));
        black_box(execute(grove, p, &mut machine, &mut ()));
        black_box(machine.noted());
    });
    println!(
        "classify {} {:?}{}: net {:.0} ns ({} packets; loop {:.0} ns)",
        job.set,
        job.order,
        if job.distinct { " distinct" } else { "" },
        full - base,
        packets.len(),
        base,
    );
}
