//! `docs/language.md` says of every feature what becomes of it; its examples are compiled and must agree.

use pfc::compile::{Options, compile};
use pfc::diag::{Diagnostic, Severity};
use pfc::facts::Facts;
use pfc::source::Sources;
use pfc::target::Target;

/// A row of the document.
struct Row {
    line: String,
    status: String,
    example: String,
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(tests::project("docs/language.md")).unwrap();
    let rows = text.lines().filter(|l| l.starts_with("| F"));
    rows.map(|l| {
        let cells: Vec<&str> = l.trim_matches('|').splitn(4, '|').map(str::trim).collect();
        let [line, _, status, example] = cells[..] else { panic!("not four cells: {l}") };
        let example = example.trim_matches('`').replace('⏎', "\n").replace('¦', "|");
        Row { line: line.to_owned(), status: status.to_owned(), example: format!("{example}\n") }
    })
    .collect()
}

fn diagnostics(row: &Row, facts: &Facts, target: Target) -> Vec<Diagnostic> {
    let mut sources = Sources::disk();
    let file = sources.add(&row.line, row.example.clone().into_bytes());
    let options = Options { target, ..Options::default() };
    compile(&mut sources, file, facts, &options).diagnostics
}

/// What the compiler says of an example, in the words of the document.
fn verdict(row: &Row, facts: &Facts, target: Target) -> String {
    let of = |found: &[Diagnostic], severity| found.iter().find(|d| d.severity == severity).map(|d| d.code.to_string());
    let anywhere = diagnostics(row, facts, Target::Any);
    if let Some(code) = of(&anywhere, Severity::Error) {
        return format!("error {code}");
    }
    let there = diagnostics(row, facts, target);
    match (of(&there, Severity::Error), of(&there, Severity::Warning)) {
        (Some(code), _) => format!("refused {code}"),
        (None, Some(code)) => format!("warns {code}"),
        (None, None) => "works".to_owned(),
    }
}

#[test]
fn every_row_is_true() {
    let facts = std::fs::read_to_string(tests::project("tests/facts/full.toml")).unwrap();
    let facts = Facts::parse(&facts).unwrap();
    let rows = rows();
    let lines: Vec<String> = rows.iter().map(|r| r.line.clone()).collect();
    let wanted: Vec<String> = (1..=169).map(|n| format!("F{n:03}")).collect();
    assert_eq!(lines, wanted, "one row for every line, in order");
    let wrong = |target: Target| -> Vec<String> {
        rows.iter()
            .map(|row| (row, verdict(row, &facts, target)))
            .filter(|(row, found)| row.status != *found && !(found == "works" && row.status.starts_with("mapped: ")))
            .map(|(row, found)| format!("{}: says `{}`, is `{found}`", row.line, row.status))
            .collect()
    };
    assert_eq!(wrong(Target::Windows), [""; 0]);
    // Packets find there what they carried up.
    assert_eq!(wrong(Target::Linux), ["F107: says `warns PF2008`, is `works`"]);
}
