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
