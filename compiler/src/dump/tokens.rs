//! Tokens, a line each: where, what kind, which text.

use std::fmt::Write;

use super::{DIM, NAME, VALUE, WORD};
use crate::ast::FileId;
use crate::lex::Tk;
use crate::parse::{Item, Lexed, Parser};
use crate::source::Sources;

/// The tokens of a file and of those it includes, macros expanded; what the parser says of them in between.
#[must_use]
pub fn tokens(sources: &mut Sources, file: FileId, macros: &[(String, String)]) -> String {
    let mut out = String::new();
    let mut parser = Parser::new(sources, file);
    for (name, value) in macros {
        parser.predefine(name, value);
    }
    while let Some(item) = parser.next() {
        let complaints = match item {
            Item::Complaint(complaint) => {
                let _ = writeln!(out, "{:>10} {}", "", complaint.kind.text());
                continue;
            }
            Item::Broken(broken) => broken.complaints,
            Item::Stmt(_) => Vec::new(),
        };
        for token in parser.last_tokens() {
            line(&mut out, parser.sources(), &token);
        }
        for complaint in complaints {
            let _ = writeln!(out, "{:>10} {}", "", complaint.kind.text());
        }
    }
    out
}

fn line(out: &mut String, sources: &Sources, token: &Lexed) {
    let (line, column) = sources.position(token.span.file, token.span.lo);
    let style = match token.kind {
        Tk::Word => NAME,
        Tk::Number => VALUE,
        _ => WORD,
    };
    let shown = match token.number {
        Some(number) => number.to_string(),
        None => token.text.escape_debug().to_string(),
    };
    let _ =
        writeln!(out, "{DIM}{line:>5}:{column:<4}{DIM:#} {:<14} {style}{shown}{style:#}", format!("{:?}", token.kind));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_are_expanded_where_they_are_used() {
        let mut sources = Sources::new(Box::new(crate::source::Memory::default()));
        let file = sources.add("x", "a = \"10.0.0.1\"\npass to $a/8\n");
        let text = anstream::adapter::strip_str(&tokens(&mut sources, file, &[])).to_string();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(lines.contains(&vec!["2:9", "Word", "10.0.0.1"]), "{text}");
        assert!(lines.contains(&vec!["2:12", "Number", "8"]), "{text}");
    }
}
