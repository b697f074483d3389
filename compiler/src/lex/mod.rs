//! Tokens: whole words out of characters, as pfctl cuts them.
//!
//! Holds the rules of cutting: what begins a word and what goes on in it, when digits are a number, what quotes keep,
//! where `$name` is replaced. Which words are reserved is the table in [`words`].
//!
//! **Invariant:** a token names the line and file pfctl would name when it was the last one read.

mod complaint;
mod macros;
mod reader;
mod words;

pub use complaint::{Complaint, ComplaintKind};
pub use words::{KEYWORDS, Tk};

use std::sync::Arc;

use self::macros::Macros;
pub(crate) use self::reader::TooDeep;
use self::reader::{Ch, Reader};
use crate::ast::{FileId, Span};
use crate::source::text;

/// Bytes of pfctl's token buffer.
const BUFFER: usize = 8096;

/// A token; the text of a word stands in [`Lexer::text`] until the next one is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Tk,
    /// Value of a number.
    pub number: i64,
    /// Where.
    pub span: Span,
    /// File it ends in.
    pub file: FileId,
    /// Line pfctl names for it.
    pub line: u32,
    /// What the lexer had to say of it.
    pub complaint: Option<Box<Complaint>>,
}

/// Cuts characters into tokens.
#[derive(Debug)]
pub(crate) struct Lexer {
    reader: Reader,
    macros: Macros,
    text: Vec<u8>,
    digits: Vec<Ch>,
    span: Span,
    complaint: Option<Box<Complaint>>,
}

pub(crate) fn goes_on_in_word(byte: u8) -> bool {
    PLAIN[usize::from(byte)] || byte == b'\\'
}

/// Bytes that go on in a word and mean nothing else.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    loop {
        let special =
            matches!(byte, b'(' | b')' | b'{' | b'}' | b'<' | b'>' | b'!' | b'=' | b'/' | b'#' | b',' | b'\\');
        table[byte as usize] = byte.is_ascii_alphanumeric() || byte.is_ascii_punctuation() && !special;
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    table
};

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b':' || byte == b'_'
}

fn ends_number(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | b')' | b',' | b'/' | b'}' | b'=')
}

impl Lexer {
    pub(crate) fn new(file: FileId, bytes: Arc<[u8]>) -> Self {
        Lexer {
            reader: Reader::new(file, bytes),
            macros: Macros::default(),
            text: Vec::new(),
            digits: Vec::new(),
            span: Span::default(),
            complaint: None,
        }
    }

    /// Text of the last token, without quotes.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn macros(&self) -> &Macros {
        &self.macros
    }

    pub(crate) fn macros_mut(&mut self) -> &mut Macros {
        &mut self.macros
    }

    /// Goes on with another file.
    pub(crate) fn include(&mut self, file: FileId, bytes: Arc<[u8]>) -> Result<(), TooDeep> {
        self.reader.include(file, bytes)
    }

    /// File and line as pfctl would name them now.
    pub(crate) fn place(&self) -> (FileId, u32) {
        (self.reader.file(), self.reader.token_line)
    }

    /// The next token.
    pub(crate) fn token(&mut self) -> Token {
        self.complaint = None;
        let first = loop {
            self.text.clear();
            let ch = self.skip_blanks();
            self.span = Span { file: self.reader.file(), lo: ch.lo, hi: ch.hi };
            if !ch.is(b'$') || self.reader.expanding {
                break ch;
            }
            if let Some(kind) = self.macro_use() {
                return self.finish(kind, 0);
            }
        };
        let Some(byte) = first.byte else { return self.finish(Tk::End, 0) };
        match byte {
            b'"' | b'\'' => self.quoted(byte),
            b'!' => self.operator(byte, b"="),
            b'<' => self.operator(byte, b">="),
            b'>' => self.operator(byte, b"<="),
            b'-' | b'0'..=b'9' => self.number(first),
            _ => self.word_or_other(first),
        }
    }

    fn skip_blanks(&mut self) -> Ch {
        let mut ch = self.reader.get();
        while matches!(ch.byte, Some(b' ' | b'\t')) {
            self.reader.run(usize::MAX, |byte| byte == b' ' || byte == b'\t');
            ch = self.reader.get();
        }
        self.reader.token_line = self.reader.line();
        if ch.is(b'#') {
            while !ch.is(b'\n') && ch.byte.is_some() {
                self.reader.run(usize::MAX, |byte| byte >= b' ' && byte != b'\\');
                ch = self.reader.get();
            }
        }
        ch
    }

    fn finish(&mut self, kind: Tk, number: i64) -> Token {
        Token {
            kind,
            number,
            span: self.span,
            file: self.reader.file(),
            line: self.reader.token_line,
            complaint: self.complaint.take(),
        }
    }

    fn push(&mut self, ch: Ch, byte: u8) {
        self.text.push(byte);
        if ch.hi > self.span.hi && self.reader.file() == self.span.file {
            self.span.hi = ch.hi;
        }
    }

    /// Takes what goes on in a word in one step, as far as it may.
    fn plain_run(&mut self) {
        let same_file = self.reader.file() == self.span.file;
        let room = BUFFER.saturating_sub(self.text.len());
        if let Some((bytes, hi)) = self.reader.run(room, |byte| PLAIN[usize::from(byte)]) {
            self.text.extend_from_slice(bytes);
            if same_file && !bytes.is_empty() {
                self.span.hi = self.span.hi.max(hi);
            }
        }
    }

    fn complain(&mut self, kind: ComplaintKind) {
        self.complaint = Some(Box::new(Complaint { place: Some(self.place()), kind, span: self.span }));
    }

    /// Complains and drops the rest of the line.
    fn bad_line(&mut self, kind: ComplaintKind) -> Token {
        self.complain(kind);
        loop {
            let ch = self.reader.get();
            if ch.is(b'\n') {
                self.reader.count_line();
                break;
            }
            if ch.byte.is_none() {
                break;
            }
        }
        self.finish(Tk::Error, 0)
    }

    /// Replaces `$name`; `Some` when that ends the token.
    fn macro_use(&mut self) -> Option<Tk> {
        loop {
            let ch = self.reader.get();
            let Some(byte) = ch.byte else { return Some(Tk::End) };
            if self.text.len().saturating_add(2) >= BUFFER {
                return Some(self.bad_line_kind(ComplaintKind::StringTooLong));
            }
            if !(byte.is_ascii_alphanumeric() || byte == b'_') {
                self.reader.unget(ch);
                break;
            }
            self.push(ch, byte);
        }
        let Some(value) = self.macros.take(&self.text) else {
            let name = text::decode(&self.text).into_owned().into_boxed_str();
            return Some(self.bad_line_kind(ComplaintKind::UndefinedMacro(name)));
        };
        if self.reader.expand(&value, self.span) {
            return None;
        }
        Some(self.bad_line_kind(ComplaintKind::Limit("macros expand to more than 33554432 characters")))
    }

    fn bad_line_kind(&mut self, kind: ComplaintKind) -> Tk {
        let token = self.bad_line(kind);
        self.complaint = token.complaint;
        token.kind
    }

    fn quoted(&mut self, quote: u8) -> Token {
        loop {
            let Some(ch) = self.quoted_char(quote) else { return self.finish(Tk::End, 0) };
            let mut keep = ch;
            match ch.byte {
                Some(b'\n') => {
                    self.reader.count_line();
                    continue;
                }
                Some(b'\\') => {
                    let Some(next) = self.quoted_char(quote) else { return self.finish(Tk::End, 0) };
                    match next.byte {
                        Some(b'\n') => {
                            self.reader.count_line();
                            continue;
                        }
                        Some(byte) if byte == quote || byte == b' ' || byte == b'\t' => keep = next,
                        _ => self.reader.unget(next),
                    }
                }
                Some(0) => return self.bad_line(ComplaintKind::QuotedNul),
                Some(byte) if byte == quote => {
                    self.span.hi = self.span.hi.max(ch.hi);
                    return self.finish(Tk::Word, 0);
                }
                _ => {}
            }
            if self.text.len().saturating_add(2) >= BUFFER {
                return self.bad_line(ComplaintKind::StringTooLong);
            }
            self.push(keep, keep.byte.unwrap_or_default());
        }
    }

    /// A character inside quotes; `None` when everything ends there.
    fn quoted_char(&mut self, quote: u8) -> Option<Ch> {
        match self.reader.get_quoted(quote) {
            Ok(ch) => Some(ch),
            Err(ch) => {
                self.complain(ComplaintKind::UnterminatedQuote);
                self.reader.leave();
                ch.byte.map(|_| ch)
            }
        }
    }

    fn operator(&mut self, first: u8, seconds: &[u8]) -> Token {
        self.text.push(first);
        let next = self.reader.get();
        match next.byte {
            Some(byte) if seconds.contains(&byte) => self.push(next, byte),
            _ => self.reader.unget(next),
        }
        let kind = Tk::classify(&self.text);
        self.finish(kind, 0)
    }

    fn number(&mut self, first: Ch) -> Token {
        self.digits.clear();
        let mut ch = first;
        loop {
            self.push(ch, ch.byte.unwrap_or_default());
            self.digits.push(ch);
            if self.text.len() >= BUFFER {
                return self.bad_line(ComplaintKind::StringTooLong);
            }
            ch = self.reader.get();
            if !ch.byte.is_some_and(|byte| byte.is_ascii_digit()) {
                break;
            }
        }
        self.reader.unget(ch);
        let lone_minus = self.text == b"-";
        if !lone_minus && ch.byte.is_none_or(ends_number) {
            return self.number_value();
        }
        while self.digits.len() > 1 {
            if let Some(digit) = self.digits.pop() {
                self.reader.unget(digit);
            }
        }
        self.text.clear();
        self.span = Span { file: self.span.file, lo: first.lo, hi: first.hi };
        if first.is(b'-') {
            self.text.push(b'-');
            return self.finish(Tk::Minus, 0);
        }
        self.word_or_other(first)
    }

    fn number_value(&mut self) -> Token {
        let digits = String::from_utf8_lossy(&self.text);
        match digits.parse::<i64>() {
            Ok(number) => self.finish(Tk::classify(&self.text), number),
            Err(_) => {
                let reason = if self.text.starts_with(b"-") { "too small" } else { "too large" };
                let text = digits.into_owned().into_boxed_str();
                self.bad_line(ComplaintKind::BadNumber { text, reason })
            }
        }
    }

    fn word_or_other(&mut self, first: Ch) -> Token {
        let byte = first.byte.unwrap_or_default();
        if !begins_word(byte) {
            self.text.push(byte);
            if byte == b'\n' {
                self.reader.token_line = self.reader.line();
                self.reader.count_line();
            }
            let kind = match Tk::classify(&self.text) {
                Tk::Word => Tk::Stray,
                kind => kind,
            };
            return self.finish(kind, 0);
        }
        let mut ch = first;
        loop {
            self.push(ch, ch.byte.unwrap_or_default());
            self.plain_run();
            if self.text.len() >= BUFFER {
                return self.bad_line(ComplaintKind::StringTooLong);
            }
            ch = self.reader.get();
            if !ch.byte.is_some_and(goes_on_in_word) {
                break;
            }
        }
        self.reader.unget(ch);
        // A word of digits alone is no number here: what follows it forbids that.
        let kind = match Tk::classify(&self.text) {
            Tk::Number => Tk::Word,
            kind => kind,
        };
        self.finish(kind, 0)
    }
}
