//! Tokens, a line each: where, what kind, which text.

use std::fmt::Write;

use super::{DIM, NAME, VALUE, WORD};
use crate::ast::FileId;
use crate::lex::{Lexer, Tk};
use crate::source::{Sources, text};

/// The tokens of a file with its macros expanded; `include` is not followed.
#[must_use]
pub fn tokens(sources: &Sources, file: FileId) -> String {
    let Some(source) = sources.file(file) else { return String::new() };
    let mut lexer = Lexer::new(file, source.bytes.clone());
    let mut out = String::new();
    loop {
        let token = lexer.token();
        let (line, column) = sources.position(token.span.file, token.span.lo);
        let word = text::decode(lexer.text()).into_owned();
        let style = match token.kind {
            Tk::Word => NAME,
            Tk::Number => VALUE,
            _ => WORD,
        };
        let shown = match token.kind {
            Tk::Number => token.number.to_string(),
            _ => word.escape_debug().to_string(),
        };
        let _ = writeln!(
            out,
            "{DIM}{line:>5}:{column:<4}{DIM:#} {:<14} {style}{shown}{style:#}",
            format!("{:?}", token.kind)
        );
        if let Some(complaint) = &token.complaint {
            let _ = writeln!(out, "{:>10} {}", "", complaint.kind.text());
        }
        if token.kind == Tk::End {
            return out;
        }
    }
}
