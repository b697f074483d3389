//! The image reader against what the encoder wrote, and against damage.

use super::encode::{Parts, encode, reseal};
use super::*;
use crate::isa::Op;
use crate::rule::*;

/// A rule with nothing in it.
pub(crate) const fn rule() -> Rule {
    Rule::PLAIN
}

/// An image with at least one record in every section a record can link to.
fn parts() -> Parts {
    let mut p = Parts::default();
    let name = p.strings.add("wan");
    p.ifaces.push(name);
    p.tags.push(p.strings.add("GOOD"));
    p.anchors.push(Anchor { path: p.strings.add("ftp"), wildcard: true });
    p.tables.push(Table {
        name,
        ruleset: RulesetId(0),
        flags: TableFlags::CONST.with(TableFlags::INIT),
        kind: TableKind::Named,
        entries: Run { at: 0, len: 1 },
    });
    p.entries.push(Entry { addr: [10; 16], prefix: 8, flags: Entry::NOT, weight: 2 });
    p.pools.push(Pool {
        kind: PoolKind::RoundRobin,
        sticky: false,
        addr: PoolAddr::Table(TableId(0)),
        ports: PoolPorts { lo: 1, hi: 2, base: 0, fixed: false },
        key: Some([1, 2, 3, 4]),
        iface: None,
    });
    p.rules.push(Rule {
        nat: Some(PoolId(0)),
        tag: Some(TagId(0)),
        tables: [Some(TableId(0)), None],
        anchor: Some(AnchorId(0)),
        ..rule()
    });
    p.code = vec![Op::End { rule: RuleId(0) }];
    p.skips.push(0);
    p.rulesets.push(Ruleset {
        path: StrRef::default(),
        code: Run { at: 0, len: 1 },
        straight: Run::default(),
        rules: Run { at: 0, len: 1 },
    });
    p
}

#[test]
fn reads_back_what_was_written() {
    let p = parts();
    let bytes = encode(&p);
    assert_eq!(bytes, encode(&p.clone()));
    let image = Image::parse(&bytes).unwrap();
    assert_eq!(image.rules().collect::<Vec<_>>(), p.rules);
    assert_eq!(image.pools().collect::<Vec<_>>(), p.pools);
    assert_eq!(image.tables().collect::<Vec<_>>(), p.tables);
    assert_eq!(image.entries().collect::<Vec<_>>(), p.entries);
    assert_eq!(image.rulesets().collect::<Vec<_>>(), p.rulesets);
    assert_eq!(image.skipped().collect::<Vec<_>>(), [IfaceId(0)]);
    assert_eq!(image.text(p.ifaces[0]), "wan");
    assert_eq!(image.options(), None);
    assert_eq!(image.count(Section::Code), 1);
}

#[test]
fn header_is_checked_field_by_field() {
    let good = encode(&parts());
    let broken = |at: usize, to: u8| {
        let mut b = good.clone();
        b[at] = to;
        Image::parse(&b).unwrap_err()
    };
    assert_eq!(broken(0, 0), ImageError::Magic);
    assert_eq!(broken(8, 9), ImageError::Format { found: 9 });
    assert_eq!(broken(10, 9), ImageError::Isa { found: 9 });
    assert_eq!(broken(12, 9), ImageError::Sections { found: 9 });
    assert_eq!(broken(20, good[20] ^ 1), ImageError::Digest);
    assert_eq!(broken(good.len() - 1, b'!'), ImageError::Digest);
    assert!(matches!(Image::parse(&[]), Err(ImageError::Truncated { found: 0, .. })));
    assert!(matches!(Image::parse(&good[..60]), Err(ImageError::Truncated { found: 60, .. })));
    assert!(matches!(Image::parse(&vec![0; MAX_IMAGE + 1]), Err(ImageError::TooLarge { .. })));
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    let good = encode(&parts());
    for len in HEADER..good.len() {
        let mut cut = good[..len].to_vec();
        reseal(&mut cut);
        assert!(Image::parse(&cut).is_err(), "cut at {len}");
    }
    let mut more = good.clone();
    more.push(0);
    reseal(&mut more);
    assert_eq!(Image::parse(&more).unwrap_err(), ImageError::Length { sum: good.len() as u64, found: more.len() });
}

#[test]
fn records_are_held_to_their_rules() {
    let at = |section, record| Place { section, record };
    let broken = |change: fn(&mut Parts)| {
        let mut p = parts();
        change(&mut p);
        Image::parse(&encode(&p)).map(|_| ())
    };
    assert_eq!(broken(|_| ()), Ok(()));
    let index = |section, what, index, count| Err(ImageError::Index { place: at(section, 0), what, index, count });
    let value = |section, what, value| Err(ImageError::Value { place: at(section, 0), what, value });
    let text = |section, what| Err(ImageError::Text { place: at(section, 0), what });
    assert_eq!(broken(|p| p.rules[0].nat = Some(PoolId(1))), index(Section::Rules, "pool", 1, 1));
    assert_eq!(broken(|p| p.rules[0].tag = Some(TagId(9))), index(Section::Rules, "tag", 9, 1));
    assert_eq!(broken(|p| p.rules[0].anchor = Some(AnchorId(1))), index(Section::Rules, "anchor", 1, 1));
    assert_eq!(broken(|p| p.rules[0].tables[1] = Some(TableId(1))), index(Section::Rules, "table", 1, 1));
    assert_eq!(broken(|p| p.rules[0].queue[1] = Some(QueueId(0))), index(Section::Rules, "queue", 0, 0));
    assert_eq!(broken(|p| p.rules[0].ruleset = RulesetId(1)), index(Section::Rules, "ruleset", 1, 1));
    assert_eq!(broken(|p| p.rules[0].flags = RuleFlags(1 << 31)), value(Section::Rules, "rule flags", 1 << 31));
    assert_eq!(broken(|p| p.rules[0].log = LogFlags(16)), value(Section::Rules, "log flags", 16));
    assert_eq!(broken(|p| p.rules[0].prio = [0, 8]), value(Section::Rules, "prio", 8));
    assert_eq!(broken(|p| p.rules[0].text = StrRef { at: 0, len: 99 }), text(Section::Rules, "rule text"));
    assert_eq!(broken(|p| p.rulesets[0].code.len = 2), index(Section::Rulesets, "code", 2, 1));
    assert_eq!(broken(|p| p.rulesets[0].rules.at = u32::MAX), index(Section::Rulesets, "rules", 1 << 32, 1));
    assert_eq!(broken(|p| p.tables[0].entries.len = 2), index(Section::Tables, "entries", 2, 1));
    assert_eq!(broken(|p| p.tables[0].flags = TableFlags(64)), value(Section::Tables, "table flags", 64));
    assert_eq!(broken(|p| p.ifaces[0] = StrRef::default()), text(Section::Ifaces, "name"));
    assert_eq!(broken(|p| p.skips[0] = 1), index(Section::Skips, "interface", 1, 1));
    assert_eq!(broken(|p| p.entries[0].prefix = 33), value(Section::Entries, "prefix", 33));
    assert_eq!(broken(|p| p.entries[0].flags = 4), value(Section::Entries, "entry flags", 4));
    assert_eq!(broken(|p| p.prints.push(Print { zero: 1, ..Print::default() })), value(Section::Prints, "padding", 1));
}

#[test]
fn a_name_may_not_end_inside_a_letter() {
    let mut p = parts();
    let mut name = p.strings.add("ä");
    name.len = 1;
    p.tags.push(name);
    let place = Place { section: Section::Tags, record: 1 };
    assert_eq!(Image::parse(&encode(&p)).unwrap_err(), ImageError::Text { place, what: "name" });
}

/// Where the directory entry of a section lies.
fn entry(section: Section) -> usize {
    HEADER + ENTRY * section as usize
}

#[test]
fn counts_and_lengths_must_agree() {
    let good = encode(&parts());
    let broken = |at: usize, to: u8| {
        let mut b = good.clone();
        b[at] = to;
        reseal(&mut b);
        Image::parse(&b).unwrap_err()
    };
    assert_eq!(broken(entry(Section::Code), 2), ImageError::Size { section: Section::Code, count: 2, bytes: 8 });
    assert_eq!(broken(entry(Section::Options), 2), ImageError::TooMany { section: Section::Options, count: 2 });
    let place = Place { section: Section::Rules, record: 1 };
    assert_eq!(broken(entry(Section::Rules), 2), ImageError::Record { place });
    assert!(matches!(broken(entry(Section::Rulesets), 0), ImageError::Size { section: Section::Rulesets, .. }));
    assert!(matches!(broken(entry(Section::Code) + 7, 0x7f), ImageError::Length { .. }));
}

#[test]
fn no_single_changed_byte_panics() {
    let good = encode(&parts());
    for at in HEADER..good.len() {
        for to in [0, 1, 0x7f, 0x80, 0xff] {
            let mut b = good.clone();
            b[at] = to;
            reseal(&mut b);
            let _ = Image::parse(&b);
        }
    }
}

/// A change here is a change of the format: give it a new version and say so in isa-spec.md.
#[test]
fn the_format_is_the_one_of_this_version() {
    let bytes = encode(&parts());
    let hex: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!((bytes.len(), hex.as_str()), (462, "e2662a058ac01d39282761b5565227e092d55e2bb7ddc105f7fef76794dec82f"));
    assert_eq!(bytes[..16], [0x50, 0x46, 0x42, 0x49, 0x4e, 0x0d, 0x0a, 0x1a, 1, 0, 1, 0, 33, 0, 0, 0]);
}
