//! Descriptions of generated and damaged packets, split at random, against smoltcp and etherparse.

use proptest::prelude::*;
use tests::{fuzz, packets};

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn descriptions_do_not_depend_on_splits_and_agree_with_others(
        seed in prop::collection::vec(any::<u8>(), 0..160),
        cuts in prop::collection::vec(0_u8..60, 1..6),
    ) {
        let made = packets::packet(&mut arbitrary::Unstructured::new(&seed)).unwrap();
        fuzz::check_packet(&made, &cuts);
    }
}

/// The generator reaches what the properties are about: accepted and refused packets of many kinds.
#[test]
fn the_generator_is_not_blind() {
    use pfvm::packet::{DropReason, L4, Packet, PktMeta, describe};
    let mut numbers = fuzz::Numbers(4);
    let mut found = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..20_000 {
        let seed: Vec<u8> = (0..160).map(|_| numbers.byte()).collect();
        let mut made = packets::packet(&mut arbitrary::Unstructured::new(&seed)).unwrap();
        let packet = Packet::whole(&mut made.bytes);
        let kind = match describe(&packet, &PktMeta::default(), made.af, pfvm::rule::Direction::In, 0) {
            Err(refusal) => refusal.reason.name().to_owned(),
            Ok(d) if d.fragment => "a fragment".to_owned(),
            Ok(d) if d.badopts.any() => "options".to_owned(),
            Ok(d) => match d.l4 {
                L4::Tcp(_) => "tcp".to_owned(),
                L4::Udp => "udp".to_owned(),
                L4::Icmp(_) => "icmp".to_owned(),
                L4::Other => "other".to_owned(),
            },
        };
        *found.entry(kind).or_default() += 1;
    }
    let refusals = [DropReason::Short, DropReason::Normalize, DropReason::IpOption, DropReason::Fragment];
    let kinds = ["a fragment", "options", "tcp", "udp", "icmp", "other"];
    for kind in refusals.iter().map(|r| r.name()).chain(kinds) {
        assert!(found.get(kind) > Some(&20), "{kind}: {found:?}");
    }
}
