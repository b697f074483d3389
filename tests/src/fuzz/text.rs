//! Bodies that read text as pf.conf: the lexer with the formatter, and the parser with failing actions.

use std::collections::BTreeMap;

use pfc::ast::{At, StmtKind};
use pfc::diag::{frames, from_complaint};
use pfc::lex::Tk;
use pfc::parse::{Complaint, Item, Parser};
use pfc::source::{Memory, Sources, text};

use super::Numbers;

/// What a text says: kinds, texts and numbers of its tokens, macros replaced, and the complaints, without places and
/// without the newlines that end the file or follow another one.
#[must_use]
pub fn meaning(files: &BTreeMap<String, Vec<u8>>, input: &[u8]) -> Vec<String> {
    let mut sources = Sources::new(Box::new(Memory(files.clone())));
    let main = sources.add("stdin", input);
    let mut parser = Parser::new(&mut sources, main);
    let mut out = Vec::new();
    while let Some(item) = parser.next() {
        for token in parser.last_tokens() {
            match token.kind {
                Tk::End => {
                    out.pop_if(|last| last == NEWLINE);
                }
                Tk::Newline if out.last().is_none_or(|last| last == NEWLINE) => {}
                Tk::Newline => out.push(NEWLINE.to_owned()),
                kind => out.push(format!("{kind:?} {:?} {:?}", token.text, token.number)),
            }
        }
        match item {
            Item::Broken(broken) => out.extend(broken.complaints.iter().map(|one| one.kind.text())),
            Item::Complaint(one) => out.push(one.kind.text()),
            Item::Stmt(_) => {}
        }
    }
    out.pop_if(|last| last == NEWLINE);
    out
}

const NEWLINE: &str = "Newline";

/// The formatter changes no token and settles at once; colours change no text.
///
/// # Panics
/// When one of these does not hold.
pub fn lex(data: &[u8]) {
    let once = pfc::fmt::format(data);
    assert_eq!(once, pfc::fmt::format(&once), "formatting twice changes {:?}", String::from_utf8_lossy(data));
    let none = BTreeMap::new();
    assert_eq!(meaning(&none, data), meaning(&none, &once), "formatting changes {:?}", String::from_utf8_lossy(data));
    let whole: Vec<u8> = pfc::fmt::Scan::new(data).flat_map(|one| [one.blank, one.text].concat()).collect();
    assert_eq!(whole, data, "a byte is lost");
    assert_eq!(text::encode(&text::decode(data)).as_ref(), data);
    assert!(pfc::fmt::highlight(data).len() >= data.len());
}

/// The parser ends, whichever actions fail; places lie inside the text; complaints can be shown.
///
/// # Panics
/// When one of these does not hold.
pub fn parse(data: &[u8]) {
    let mut sources = Sources::new(Box::new(Memory::default()));
    let main = sources.add("stdin", data);
    let lines = data.iter().filter(|byte| **byte == b'\n').count();
    let mut parser = Parser::new(&mut sources, main);
    let mut numbers =
        Numbers(data.iter().fold(7, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add((*byte).into())));
    let mut complaints: Vec<Complaint> = Vec::new();
    let (mut items, mut depth) = (0usize, 0usize);
    while let Some(item) = parser.next() {
        items += 1;
        assert!(items <= 8 * (lines + 4), "{items} items of {lines} lines");
        for token in parser.last_tokens() {
            let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
            assert!(token.span.lo <= token.span.hi && token.span.hi <= len, "{token:?} of {len} bytes");
            assert!(usize::try_from(token.line).is_ok_and(|line| line <= lines + 2), "{token:?} of {lines} lines");
        }
        let mut fail: Option<At> = None;
        match item {
            Item::Stmt(stmt) => {
                match stmt.kind {
                    StmtKind::AnchorOpen(_) => depth += 1,
                    StmtKind::AnchorClose => depth = depth.checked_sub(1).expect("an anchor is open"),
                    _ => {}
                }
                fail = (numbers.below(4) == 0).then_some(stmt.at);
            }
            Item::Broken(broken) => {
                depth = 0;
                assert!(broken.partial.len() <= data.len());
                complaints.extend(broken.complaints);
                // Any place before the bad token will do.
                let tokens = parser.last_tokens().len();
                let next = u32::try_from(numbers.below(tokens)).unwrap_or(0);
                fail = (numbers.below(3) == 0).then_some(At { next, ..At::default() });
            }
            Item::Complaint(complaint) => complaints.push(complaint),
        }
        if let Some(at) = fail {
            depth = 0;
            parser.fail(at);
        }
    }
    let macros: Vec<String> = parser.macro_names().collect();
    let list: Vec<_> = complaints.iter().take(16).map(|one| from_complaint(one, &sources, &macros)).collect();
    let _ = frames(&list, &sources);
}
