//! Rules: any text compiles or is refused with a reason, and what was made of it decides as the reference does.

use crate::decide::{machine, ready, reference};
use crate::rulesets::{config, packet};
use arbitrary::Unstructured;
use pfc::compile::{Options, compile as compile_text};
use pfc::facts::Facts;
use pfc::lower::Passes;
use pfc::ruleset::{OptimizerLevel, Ruleset};
use pfc::source::Sources;
use pfvm::verify::Body;

/// Longest text that is compiled: the work of a run stays bounded.
const LONGEST: usize = 4096;
/// Most anchor calls by name for which both ways are compared.
const MOST_CALLS: usize = 6;

/// Compiles `data` as text when its first byte is even, else makes rules and packets of it and decides both ways.
///
/// # Panics
/// When a text is refused without a reason, when an image does not verify, or when reference and machine disagree.
pub fn compile(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    if kind & 1 == 0 { text(rest) } else { decided(rest) }
}

fn text(bytes: &[u8]) {
    let mut sources = Sources::new(Box::new(Nothing));
    let file = sources.add("fuzz", bytes.get(..LONGEST).unwrap_or(bytes).to_vec());
    let options = Options { optimize: Some(OptimizerLevel::None), ..Options::default() };
    let outcome = compile_text(&mut sources, file, &Facts::default(), &options);
    assert_eq!(outcome.compiled.is_none(), outcome.failed(), "refused with a reason, made without one");
    let Some(compiled) = outcome.compiled else { return };
    // Anchors that call each other twice double the work at every level; the machine has its fuel, the reference not.
    if calls(&compiled.config.main) > MOST_CALLS {
        return;
    }
    let program = ready(&compiled.config, Passes::ALL, u32::MAX).expect("what was compiled once compiles again");
    for seed in bytes.chunks(24).take(4) {
        let (desc, around) = packet(&mut Unstructured::new(seed)).expect("bytes make packets");
        let right = reference(&compiled.config, &desc, &around);
        assert_eq!(machine(&program, &desc, &around, Body::Code, u32::MAX), right);
        assert_eq!(machine(&program, &desc, &around, Body::Straight, u32::MAX), right);
    }
}

fn decided(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let Ok(config) = config(&mut u) else { return };
    let program = ready(&config, Passes { shortest: 2, ..Passes::ALL }, u32::MAX).expect("made rules compile");
    for _ in 0..4 {
        let (desc, around) = packet(&mut u).expect("bytes make packets");
        let right = reference(&config, &desc, &around);
        assert_eq!(machine(&program, &desc, &around, Body::Code, u32::MAX), right);
        assert_eq!(machine(&program, &desc, &around, Body::Straight, u32::MAX), right);
    }
}

/// Anchor calls by name, at any depth.
fn calls(rules: &Ruleset) -> usize {
    let anchors = rules.rules.iter().filter_map(|r| r.anchor.as_ref());
    anchors.map(|a| a.inline.as_deref().map_or(1, calls)).sum()
}

/// There are no files.
struct Nothing;

impl pfc::source::Loader for Nothing {
    fn read(&mut self, _: &str) -> Result<Vec<u8>, String> {
        Err("No such file or directory".to_owned())
    }
}
