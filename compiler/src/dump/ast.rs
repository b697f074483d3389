//! Statements as the parser sees them, without the places that only messages need.

use std::fmt::Write;

use super::{DIM, HEAD};
use crate::ast::{FileId, StmtKind};
use crate::parse::{Item, Parser};
use crate::source::{Sources, text};

/// Fields that tell where something stands.
const PLACES: [&str; 4] = ["span: ", "at: ", "name_at: ", "pool_at: "];

/// The statements of a file, with those it includes.
#[must_use]
pub fn ast(sources: &mut Sources, file: FileId, macros: &[(String, String)]) -> String {
    let mut out = String::new();
    let mut parser = Parser::new(sources, file);
    for (name, value) in macros {
        parser.predefine(name, value);
    }
    while let Some(item) = parser.next() {
        match item {
            Item::Stmt(stmt) if matches!(stmt.kind, StmtKind::Blank) => {}
            Item::Stmt(stmt) => {
                let sources = parser.sources();
                let (line, _) = sources.position(stmt.span.file, stmt.span.lo);
                let source = text::decode(sources.slice(stmt.span)).trim_end().to_owned();
                let _ = writeln!(out, "{DIM}{}:{line}{DIM:#}  {HEAD}{source}{HEAD:#}", sources.name(stmt.span.file));
                out.push_str(&without_places(&format!("{:#?}", stmt.kind)));
                out.push('\n');
            }
            Item::Broken(broken) => {
                for complaint in &broken.complaints {
                    let _ = writeln!(out, "{}", complaint.kind.text());
                }
            }
            Item::Complaint(complaint) => {
                let _ = writeln!(out, "{}", complaint.kind.text());
            }
        }
    }
    out
}

/// Drops the fields of places and those that are absent, with the lines that belong to them.
fn without_places(debug: &str) -> String {
    let mut out = String::new();
    let mut dropping: Option<usize> = None;
    for line in debug.lines() {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        if let Some(at) = dropping {
            if indent > at {
                continue;
            }
            dropping = None;
            if bare.starts_with(['}', ')', ']']) {
                continue;
            }
        }
        if PLACES.iter().any(|field| bare.starts_with(field)) {
            if bare.ends_with(['{', '(', '[']) {
                dropping = Some(indent);
            }
            continue;
        }
        if bare.ends_with(": None,") || bare.ends_with(": [],") || bare.ends_with(": false,") {
            continue;
        }
        let _ = writeln!(out, "{line}");
    }
    out
}
