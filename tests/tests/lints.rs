//! Every lint fires on its bad file and on nothing in its good one.

use std::collections::HashSet;
use std::path::Path;

use pfc::facts::Facts;
use pfc::lint::{self, Finding, Lint};
use pfc::resolve::{self, Options};
use pfc::source::Sources;

fn corpus(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/lint").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn findings(file: &str) -> Vec<Finding> {
    let facts = Facts::parse(&corpus("facts.toml")).unwrap();
    let mut sources = Sources::disk();
    let id = sources.add(file, corpus(file).into_bytes());
    let loaded = resolve::load(&mut sources, id, &facts, &Options::default())
        .unwrap_or_else(|f| panic!("{file}: {:?}", f.diagnostics));
    lint::check(&loaded.config, &facts, &HashSet::new())
}

#[test]
fn each_fires_on_its_bad_file() {
    for lint in Lint::ALL {
        let file = format!("{}.bad.conf", lint.name());
        let found = findings(&file);
        assert!(found.iter().any(|f| f.lint == *lint), "{file}: {found:?}");
        assert!(found.iter().all(|f| f.place.line > 0), "{file}: {found:?}");
    }
}

#[test]
fn each_is_silent_on_its_good_file() {
    for lint in Lint::ALL {
        let file = format!("{}.good.conf", lint.name());
        let found: Vec<_> = findings(&file).into_iter().filter(|f| f.lint == *lint).collect();
        assert!(found.is_empty(), "{file}: {found:?}");
    }
}

#[test]
fn each_place_is_the_rule_at_fault() {
    let lines = |file: &str, lint| -> Vec<u32> {
        findings(file).iter().filter(|f| f.lint == lint).map(|f| f.place.line).collect()
    };
    assert_eq!(lines("shadowed-rule.bad.conf", Lint::ShadowedRule), [2]);
    assert_eq!(lines("unreachable-rule.bad.conf", Lint::UnreachableRule), [3]);
    assert_eq!(lines("duplicate-rule.bad.conf", Lint::DuplicateRule), [4]);
    assert_eq!(lines("impossible-rule.bad.conf", Lint::ImpossibleRule), [3, 4, 5]);
    assert_eq!(lines("idle-table.bad.conf", Lint::IdleTable), [1, 2]);
    assert_eq!(lines("stateless-options.bad.conf", Lint::StatelessOptions), [1, 2]);
    assert_eq!(lines("rdr-without-reflection.bad.conf", Lint::RdrWithoutReflection), [2, 4]);
}
