//! `pfc dump`: tokens and statements as text.

use std::fmt::Write as _;

use crate::ast::FileId;
use crate::lex::Tk;
use crate::parse::{Item, Parser};
use crate::source::Sources;

/// The tokens of a file and of what it includes, a statement a paragraph, macros replaced.
#[must_use]
pub fn tokens(sources: &mut Sources, file: FileId) -> String {
    walk(sources, file, |out, parser, _| {
        for token in parser.last_tokens() {
            let name = sources_name(parser, token.span.file);
            let text = match (token.kind, token.number) {
                (_, Some(number)) => number.to_string(),
                (Tk::Newline | Tk::End, _) => String::new(),
                _ => format!("{:?}", token.text),
            };
            let line = format!("{name}:{}\t{:?}\t{text}", token.line, token.kind);
            let _ = writeln!(out, "{}", line.trim_end());
        }
        out.push('\n');
    })
}

/// The syntax tree of a file and of what it includes.
#[must_use]
pub fn ast(sources: &mut Sources, file: FileId) -> String {
    walk(sources, file, |out, parser, item| {
        let _ = match item {
            Item::Stmt(stmt) => {
                let name = sources_name(parser, stmt.at.file);
                writeln!(out, "{name}:{} {:#?}", stmt.at.line, stmt.kind)
            }
            Item::Broken(broken) => {
                for complaint in &broken.complaints {
                    let _ = writeln!(out, "error: {}", complaint.kind.text());
                }
                writeln!(out, "before it: {:#?}", broken.partial)
            }
            Item::Complaint(complaint) => writeln!(out, "error: {}", complaint.kind.text()),
        };
    })
}

fn sources_name(parser: &Parser<'_>, file: FileId) -> std::sync::Arc<str> {
    parser.sources().name(file)
}

fn walk(sources: &mut Sources, file: FileId, mut each: impl FnMut(&mut String, &Parser<'_>, &Item)) -> String {
    let mut parser = Parser::new(sources, file);
    let mut out = String::new();
    while let Some(item) = parser.next() {
        each(&mut out, &parser, &item);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_shown_with_macros_replaced() {
        let mut sources = Sources::new(Box::new(crate::source::Memory::default()));
        let file = sources.add("x", "a = \"10.0.0.1\"\npass to $a/8\n");
        let want = "x:2\tPass\t\"pass\"\nx:2\tTo\t\"to\"\nx:2\tWord\t\"10.0.0.1\"\nx:2\tSlash\t\"/\"\nx:2\tNumber\t8\nx:2\tNewline\n";
        assert!(tokens(&mut sources, file).contains(want));
    }

    #[test]
    fn trees_are_short() {
        let mut sources = Sources::new(Box::new(crate::source::Memory::default()));
        let file = sources.add("x", "set limit states 5\n");
        let text = ast(&mut sources, file);
        assert!(text.contains("\"states\""), "{text}");
        assert!(!text.contains("FileId"), "{text}");
    }
}
