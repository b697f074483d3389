//! Fuzz bodies: one function a target, total over its input, run by cargo-fuzz and for a moment by `cargo test`.
//!
//! Holds the bodies, the table of them ([`TARGETS`]) and [`smoke`], which feeds a body its committed corpus and
//! mutations of it. A target in `fuzz/` is one line that calls a body.
//! **Invariant:** a body asserts what must hold; it never prints, and its work is bounded by its input.

pub mod api;
mod compile;
pub mod device;
pub mod frames;
mod machine;
mod packet;
mod pcap;
mod text;

pub use api::api;
pub use compile::compile;
pub use device::device;
pub use frames::frames;
pub use machine::{asm, image, verify_run};
pub use packet::{check as check_packet, packet};
pub use pcap::pcap;
pub use text::{lex, meaning, parse};

use std::path::Path;
use std::time::{Duration, Instant};

/// Name of a target and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by the name of its folder in `fuzz/corpus`.
pub const TARGETS: &[Target] = &[
    ("compile", compile),
    ("packet", packet),
    ("pcap", pcap),
    ("lex", lex),
    ("parse", parse),
    ("image", image),
    ("verify_run", verify_run),
    ("asm", asm),
    ("api", api),
    ("device", device),
    ("frames", frames),
];

/// A small generator of numbers (SplitMix64): the same runs everywhere.
pub struct Numbers(pub u64);

impl Numbers {
    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "numbers never end: there is no Option to give")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        self.next().checked_rem(end).and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Runs `body` over its corpus and then over mutations of it for about a second; the number of runs.
///
/// # Panics
/// When the corpus is absent or empty, and whenever `body` does.
pub fn smoke(name: &str, body: fn(&[u8])) -> usize {
    let folder = crate::project("fuzz/corpus").join(name);
    let corpus = read_all(&folder);
    assert!(!corpus.is_empty(), "{} holds no corpus", folder.display());
    let mut runs = 0;
    for input in &corpus {
        kept(name, body, input);
        runs += 1;
    }
    let mut numbers = Numbers(1);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        let mut input = corpus[numbers.below(corpus.len())].clone();
        for _ in 0..=numbers.below(8) {
            mutate(&mut input, &corpus, &mut numbers);
        }
        kept(name, body, &input);
        runs += 1;
    }
    runs
}

/// The committed corpus of a target is what its module makes; `PF_BLESS=1` writes it.
#[cfg(test)]
fn assert_corpus(name: &str, seeds: &[Vec<u8>]) {
    let folder = crate::project("fuzz/corpus").join(name);
    for (number, seed) in seeds.iter().enumerate() {
        let path = folder.join(format!("seed-{number:02}"));
        if std::env::var_os("PF_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, seed).unwrap();
        }
        assert!(std::fs::read(&path).ok().as_ref() == Some(seed), "{}: run with PF_BLESS=1", path.display());
    }
}

/// Runs `body`; an input that makes it panic is kept for `cargo fuzz run NAME FILE`.
fn kept(name: &str, body: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(|| body(input)) {
        let file = crate::project("target").join(format!("fuzz-failure-{name}"));
        if std::fs::write(&file, input).is_ok() {
            eprintln!("{name}: the input is kept as {}", file.display());
        }
        std::panic::resume_unwind(panic);
    }
}

fn read_all(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

/// Values at the edges of lengths and counts.
const EDGES: [u8; 8] = [0, 1, 0x0f, 0x7f, 0x80, 0xf0, 0xfe, 0xff];

/// One small change: a byte, a bit, a cut, a repeat or a piece of another input.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], numbers: &mut Numbers) {
    let at = numbers.below(input.len());
    let size = 1 + numbers.below(16);
    let piece = |from: &[u8], numbers: &mut Numbers| {
        let start = numbers.below(from.len());
        from[start..(start + size).min(from.len())].to_vec()
    };
    match numbers.below(7) {
        0 => input.truncate(at),
        1 => {
            input.drain(at..(at + size).min(input.len()));
        }
        2 => {
            let repeat = piece(input, numbers);
            input.splice(at..at, repeat);
        }
        3 => {
            let other = piece(&corpus[numbers.below(corpus.len())], numbers);
            input.splice(at..at, other);
        }
        4 => input.insert(at, numbers.byte()),
        5 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = EDGES[numbers.below(EDGES.len())];
            }
        }
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << numbers.below(8);
            }
        }
    }
}
