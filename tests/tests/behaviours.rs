//! The behaviour catalogue as packet scripts, one file a row, named by its number.

use std::collections::{BTreeMap, BTreeSet};

use tests::script::{Script, run};

/// Rows of the catalogue.
const ROWS: usize = 164;

/// Numbers in a file's name: `b013_b014_…`.
fn numbers(name: &str) -> impl Iterator<Item = u32> + '_ {
    name.split('_').map_while(|part| part.strip_prefix('b')?.parse().ok())
}

/// Rows the tests of `live.rs` are named for; that they hold is for `cargo test -p tests live` to say.
fn live() -> BTreeSet<u32> {
    let names = include_str!("live.rs").lines().filter_map(|l| l.trim_start().strip_prefix("fn "));
    names.flat_map(numbers).collect()
}

#[test]
fn behaviours() {
    let folder = tests::project("tests/corpus/behaviours");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let only = std::env::var("BEHAVIOUR").unwrap_or_default();
    let (mut rows, mut failed) = (BTreeSet::new(), BTreeMap::new());
    let mut absent = BTreeMap::new();
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        if name == "not_here" {
            absent = text
                .lines()
                .filter_map(|l| l.split_once(": "))
                .map(|(n, why)| (n.to_owned(), why.to_owned()))
                .collect();
            continue;
        }
        if !name.starts_with(&only) {
            continue;
        }
        let wrong = match Script::parse(&text) {
            Ok(script) => run(&script),
            Err(e) => vec![e],
        };
        if wrong.is_empty() {
            rows.extend(numbers(&name));
        } else {
            failed.insert(name, wrong);
        }
    }
    let live = live();
    let all = rows.union(&live).count();
    println!(
        "{} of {ROWS} behaviours hold as scripts, {} have a live test: {all} together; {} are listed with a reason",
        rows.len(),
        live.len(),
        absent.len()
    );
    if only.is_empty()
        && let Some(catalogue) = tests::shared("pf/behaviours.md")
    {
        let text = std::fs::read_to_string(catalogue).unwrap();
        let wanted = text.lines().filter_map(|l| l.strip_prefix("- **B")?.get(..3)?.parse().ok());
        let wanted: BTreeSet<u32> = wanted.collect();
        let missing: Vec<_> = wanted
            .iter()
            .filter(|n| !rows.contains(n) && !live.contains(n) && !absent.contains_key(&format!("b{n:03}")))
            .collect();
        assert_eq!((wanted.len(), missing), (ROWS, Vec::new()), "rows that nothing speaks of");
    }
    let both: Vec<_> = rows.union(&live).map(|n| format!("b{n:03}")).filter(|n| absent.contains_key(n)).collect();
    assert!(both.is_empty(), "listed as absent, yet there: {both:?}");
    for (name, wrong) in &failed {
        println!("{name}:");
        for line in wrong {
            println!("    {line}");
        }
    }
    assert!(failed.is_empty(), "{} scripts do not hold", failed.len());
}

/// What pf does in corners, one script each, checked against pf.c by reading.
#[test]
fn corners() {
    let mut files: Vec<_> =
        std::fs::read_dir(tests::project("tests/corpus/corners")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut failed = Vec::new();
    for path in &files {
        let wrong = match Script::parse(&std::fs::read_to_string(path).unwrap()) {
            Ok(script) => run(&script),
            Err(e) => vec![e],
        };
        if !wrong.is_empty() {
            failed.push(format!("{}:\n    {}", path.file_stem().unwrap().to_string_lossy(), wrong.join("\n    ")));
        }
    }
    println!("{} of {} corners hold", files.len() - failed.len(), files.len());
    assert!(failed.is_empty() && files.len() >= 20, "\n{}", failed.join("\n"));
}
