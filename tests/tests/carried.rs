//! What a packet carries from in to out holds in a replayed capture too: tag and the interface it came in by.

use pfc::compile::{Options, compile};
use pfc::source::Sources;
use pfsim::decide::{Decider, Sighting, Verdict};
use pfsim::engine::Whole;
use pfvm::packet::PktMeta;
use pfvm::rule::{Af, Direction};
use tests::lab::{facts, packet};

fn whole(rules: &str) -> Whole {
    let mut sources = Sources::disk();
    let file = sources.add("test", rules.as_bytes().to_vec());
    let facts = facts();
    let outcome = compile(&mut sources, file, &facts, &Options::default());
    let image = outcome.compiled.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics)).image;
    Whole::load(&image, &facts).unwrap()
}

fn see(whole: &mut Whole, ms: u64, dir: Direction, iface: &str, words: &str) -> Verdict {
    let mut bytes = packet(words);
    let (meta, time) = (PktMeta::default(), ms * 1_000_000);
    let mut seen = Sighting { packet: &mut bytes, meta, af: Af::Inet, dir, forwarded: false, iface, time };
    whole.decide(&mut seen).verdict
}

#[test]
fn tags_and_interfaces_go_from_in_to_out() {
    let words = "udp 10.0.0.5:1000 > 198.51.100.7:53 data x";
    for rules in [
        "pass in on em0 tag INSIDE\nblock out on em1\npass out on em1 tagged INSIDE\n",
        "pass in on em0\nblock out on em1\npass out on em1 received-on em0\n",
    ] {
        let mut w = whole(rules);
        assert_eq!(see(&mut w, 0, Direction::Out, "em1", words), Verdict::Block, "nothing came in yet");
        assert_eq!(see(&mut w, 10, Direction::In, "em0", words), Verdict::Pass);
        assert_eq!(see(&mut w, 11, Direction::Out, "em1", words), Verdict::Pass, "{rules}");
        let other = "udp 10.0.0.5:1001 > 198.51.100.7:53 data x";
        assert_eq!(see(&mut w, 12, Direction::Out, "em1", other), Verdict::Block, "another flow");
        let mut late = whole(rules);
        assert_eq!(see(&mut late, 0, Direction::In, "em0", words), Verdict::Pass);
        assert_eq!(
            see(&mut late, 5000, Direction::Out, "em1", words),
            Verdict::Block,
            "too late to be the same packet"
        );
    }
}
