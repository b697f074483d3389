//! Lexemes as they stand in the file: nothing expanded, nothing lost.
//!
//! **Invariant:** the texts and the blanks between them, put together, are the input again.

use crate::lex::{Tk, goes_on_in_word};

/// What a lexeme is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A reserved word.
    Keyword,
    /// Any other word, or digits that are no number for what follows them.
    Word,
    /// A number.
    Number,
    /// Text in quotes, with them.
    Quoted,
    /// `$name`.
    Macro,
    /// Brackets, operators, punctuation.
    Operator,
    /// From `#` to before the newline.
    Comment,
    /// The end of a line.
    Newline,
    /// A backslash and the newline after it.
    Continuation,
    /// A byte that belongs to nothing, or a backslash before anything but a newline.
    Stray,
}

/// A lexeme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lexeme<'t> {
    /// What it is.
    pub kind: Kind,
    /// Blanks and tabs before it.
    pub blank: &'t [u8],
    /// Its text.
    pub text: &'t [u8],
}

/// Cuts a file into lexemes.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'t> {
    rest: &'t [u8],
}

impl<'t> Scan<'t> {
    /// Of a whole file.
    #[must_use]
    pub fn new(text: &'t [u8]) -> Self {
        Scan { rest: text }
    }

    fn cut(&mut self, count: usize) -> &'t [u8] {
        let (head, tail) = self.rest.split_at_checked(count).unwrap_or((self.rest, &[]));
        self.rest = tail;
        head
    }
}

/// Bytes of a run that a predicate holds for.
fn run(text: &[u8], class: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|byte| !class(*byte)).unwrap_or(text.len())
}

/// Length of a newline at the beginning, 0 when there is none.
fn newline(text: &[u8]) -> usize {
    match text {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => 0,
    }
}

/// Length of a comment: continued lines belong to it.
fn comment(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        at += run(rest, |byte| byte != b'\\' && byte != b'\n');
        match text.get(at..) {
            Some([b'\\', tail @ ..]) => at += 1 + newline(tail).max(usize::from(!tail.is_empty())),
            _ => break,
        }
    }
    let end = at.min(text.len());
    if text.get(..end).is_some_and(|all| all.ends_with(b"\r")) && text.get(end) == Some(&b'\n') { end - 1 } else { end }
}

/// Length of quoted text with its quotes; `None` when it does not end.
fn quoted(text: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    loop {
        let byte = *text.get(at)?;
        at += 1;
        if byte == quote {
            return Some(at);
        }
        if byte == b'\\' {
            let next = *text.get(at)?;
            at += usize::from(next == quote || next == b' ' || next == b'\t');
        }
    }
}

/// Length of a word: continuations and escapes inside it are not for us.
fn word(text: &[u8]) -> usize {
    run(text, |byte| goes_on_in_word(byte) && byte != b'\\')
}

/// Whether digits before this are a number.
pub(super) fn ends_number(rest: &[u8]) -> bool {
    rest.first().is_none_or(|byte| matches!(byte, b' ' | b'\t'..=b'\r' | b')' | b',' | b'/' | b'}' | b'='))
}

fn measure(text: &[u8]) -> (Kind, usize) {
    let Some(&first) = text.first() else { return (Kind::Stray, 0) };
    match first {
        b'\n' | b'\r' if newline(text) > 0 => (Kind::Newline, newline(text)),
        b'\\' if text.get(1..).is_some_and(|tail| newline(tail) > 0) => {
            (Kind::Continuation, 1 + text.get(1..).map_or(0, newline))
        }
        b'#' => (Kind::Comment, comment(text)),
        b'$' => {
            (Kind::Macro, 1 + text.get(1..).map_or(0, |tail| run(tail, |b| b.is_ascii_alphanumeric() || b == b'_')))
        }
        b'"' | b'\'' => quoted(text, first).map_or((Kind::Stray, text.len()), |count| (Kind::Quoted, count)),
        b'-' | b'0'..=b'9' => number(text),
        b'!' | b'<' | b'>' => {
            let two = text.get(..2).map_or(Tk::Word, Tk::classify);
            (Kind::Operator, if matches!(two, Tk::Word) { 1 } else { 2 })
        }
        b'=' | b'{' | b'}' | b'(' | b')' | b',' | b'/' => (Kind::Operator, 1),
        b':' | b'_' | b'a'..=b'z' | b'A'..=b'Z' => word_kind(text, word(text)),
        _ => (Kind::Stray, 1),
    }
}

fn word_kind(text: &[u8], count: usize) -> (Kind, usize) {
    let keyword = text.get(..count).is_some_and(|word| Tk::classify(word).is_keyword());
    (if keyword { Kind::Keyword } else { Kind::Word }, count)
}

fn number(text: &[u8]) -> (Kind, usize) {
    let digits = 1 + text.get(1..).map_or(0, |tail| run(tail, |byte| byte.is_ascii_digit()));
    let lone_minus = text.first() == Some(&b'-') && digits == 1;
    if !lone_minus && text.get(digits..).is_none_or(ends_number) {
        return (Kind::Number, digits);
    }
    if text.first() == Some(&b'-') { (Kind::Operator, 1) } else { (Kind::Word, word(text)) }
}

impl<'t> Iterator for Scan<'t> {
    type Item = Lexeme<'t>;

    fn next(&mut self) -> Option<Lexeme<'t>> {
        let blanks = run(self.rest, |byte| byte == b' ' || byte == b'\t');
        let blank = self.cut(blanks);
        if self.rest.is_empty() {
            return (!blank.is_empty()).then_some(Lexeme { kind: Kind::Newline, blank, text: &[] });
        }
        let (kind, count) = measure(self.rest);
        Some(Lexeme { kind, blank, text: self.cut(count.max(1)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(Kind, String)> {
        Scan::new(text.as_bytes()).map(|one| (one.kind, String::from_utf8_lossy(one.text).into_owned())).collect()
    }

    #[test]
    fn nothing_is_lost() {
        for text in ["a = \"b\n c\" # d \\\n e\nx\\\n y 5><6 $z.1 -5 - 10.0.0.1/8 \\q \"open", " \t", "", "a\r\n#b\r\n"]
        {
            let joined: Vec<u8> = Scan::new(text.as_bytes()).flat_map(|one| [one.blank, one.text].concat()).collect();
            assert_eq!(String::from_utf8(joined).unwrap(), text);
        }
    }

    #[test]
    fn cuts_like_the_lexer() {
        use Kind::{Comment, Keyword, Macro, Number, Operator, Word};
        let want = [
            (Keyword, "port"),
            (Word, "5"),
            (Operator, "><"),
            (Number, "6"),
            (Operator, "{"),
            (Word, "10.0.0.1"),
            (Operator, "/"),
            (Number, "8"),
            (Operator, "-"),
            (Macro, "$a"),
            (Macro, "$b"),
            (Comment, "#c"),
        ];
        let want: Vec<_> = want.iter().map(|(kind, text)| (*kind, (*text).to_owned())).collect();
        assert_eq!(kinds("port 5><6 {10.0.0.1/8 - $a$b#c"), want);
    }
}
