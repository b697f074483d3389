//! The generated part of isa-spec.md: tables of instructions, operand kinds, fields and sections.

use pfvm::image::SECTION_ROWS;
use pfvm::isa::{FIELD_ROWS, Flow, KIND_ROWS, OP_ROWS, Width};
use std::fmt::Write;

/// The tables, by the name their markers carry.
#[must_use]
pub fn tables() -> Vec<(&'static str, String)> {
    vec![("instructions", instructions()), ("operands", operands()), ("fields", fields()), ("sections", sections())]
}

/// A document with its tables made anew. The text between `<!-- begin NAME -->` and `<!-- end NAME -->` is replaced.
///
/// # Errors
/// The name of a table whose markers are missing.
pub fn refresh(document: &str) -> Result<String, &'static str> {
    tables().into_iter().try_fold(document.to_owned(), |text, (name, table)| {
        let begin = format!("<!-- begin {name} -->\n");
        let (head, rest) = text.split_once(&begin).ok_or(name)?;
        let (_, tail) = rest.split_once(&format!("<!-- end {name} -->")).ok_or(name)?;
        Ok(format!("{head}{begin}{table}<!-- end {name} -->{tail}"))
    })
}

fn row(out: &mut String, cells: &[&str]) {
    // Cannot fail: a String takes everything.
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn sentence(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn instructions() -> String {
    let mut out = String::new();
    row(&mut out, &["opcode", "text", "operands: lowest bit, width, kind", "flow", "weight", "meaning"]);
    row(&mut out, &["---"; 6]);
    for op in OP_ROWS {
        let names: Vec<&str> = op.operands.iter().map(|o| o.name).collect();
        let text = format!("`{} {}`", op.name, names.join(", ")).replace(" `", "`");
        let places: Vec<String> =
            op.operands.iter().map(|o| format!("{}: {}, {}, {}", o.name, o.at, o.bits, o.kind)).collect();
        let flow = match op.flow {
            Flow::Next => "next",
            Flow::Test => "test",
            Flow::Jump => "jump",
            Flow::Fan => "fan",
            Flow::End => "end",
        };
        row(
            &mut out,
            &[
                &format!("0x{:02x}", op.code),
                &text,
                &places.join("; "),
                flow,
                &op.weight.to_string(),
                &sentence(op.meaning),
            ],
        );
    }
    out
}

fn operands() -> String {
    let mut out = String::new();
    row(&mut out, &["kind", "bits", "text", "rule"]);
    row(&mut out, &["---"; 4]);
    for (kind, bits, text, rule) in KIND_ROWS {
        row(&mut out, &[kind, &bits.to_string(), text, rule]);
    }
    out
}

fn fields() -> String {
    let mut out = String::new();
    row(&mut out, &["number", "name", "width", "present", "value"]);
    row(&mut out, &["---"; 5]);
    for (number, name, width, present, meaning) in FIELD_ROWS {
        let width = if *width == Width::Word { "word" } else { "wide" };
        row(&mut out, &[&number.to_string(), &format!("`{name}`"), width, present, &sentence(meaning)]);
    }
    out
}

fn sections() -> String {
    let mut out = String::new();
    row(&mut out, &["number", "name", "a record is", "most records", "contents"]);
    row(&mut out, &["---"; 5]);
    for (number, (name, form, limit, meaning)) in SECTION_ROWS.iter().enumerate() {
        row(&mut out, &[&number.to_string(), &format!("`{name}`"), form, &limit.to_string(), &sentence(meaning)]);
    }
    out
}
