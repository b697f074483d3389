//! Each fuzz body runs for a second over its corpus and mutations of it.

use tests::fuzz::{TARGETS, smoke};

#[test]
fn every_body_survives_its_corpus_and_more() {
    std::thread::scope(|scope| {
        for (name, body) in TARGETS {
            scope.spawn(move || assert!(smoke(name, *body) > 0, "{name} ran"));
        }
    });
}

/// A body without a target is never fuzzed, a target without a body does not build.
#[test]
fn every_body_has_its_target() {
    let manifest = std::fs::read_to_string(tests::project("fuzz/Cargo.toml")).unwrap();
    let named: Vec<&str> = manifest.split("[[bin]]").skip(1).filter_map(|bin| bin.split('"').nth(1)).collect();
    let bodies: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, bodies);
    for name in bodies {
        let text =
            std::fs::read_to_string(tests::project("fuzz/fuzz_targets").join(name).with_extension("rs")).unwrap();
        assert!(text.contains(&format!("tests::fuzz::{name}(data)")), "{name} calls its body");
    }
}
