//! One way to write a pf.conf: blanks, indentation and line ends, and nothing else.
//!
//! Words, quotes, comments, macros, empty lines and line breaks stay; a line whose meaning hangs on its blanks in a way
//! that is not understood here stays as it is.
//!
//! **Invariant:** formatting twice is formatting once, and a formatted file has the tokens of the original: both are
//! checked before a text is changed.

mod highlight;
mod same;
mod scan;

pub use highlight::highlight;
pub use scan::{Kind, Lexeme, Scan};

/// Empty lines in a row.
const EMPTY_LINES: usize = 2;
/// Width after which trailing comments are no longer aligned.
const ALIGN_WITHIN: usize = 100;

/// A line of output: its code and the comment after it.
#[derive(Default)]
struct Row {
    indent: usize,
    code: Vec<u8>,
    comment: Vec<u8>,
    /// Quotes that never end have taken the last newline already.
    unended: bool,
}

/// Formats a file; one that cannot be formatted without changing what it says stays as it is.
#[must_use]
pub fn format(text: &[u8]) -> Vec<u8> {
    let neat = lay_out(text);
    if neat == text || lay_out(&neat) == neat && same::same(text, &neat) { neat } else { text.to_vec() }
}

fn lay_out(text: &[u8]) -> Vec<u8> {
    let bom = text.starts_with(b"\xef\xbb\xbf");
    let text = if bom { text.get(3..).unwrap_or_default() } else { text };
    let mut layout = Layout::default();
    let lexemes: Vec<Lexeme<'_>> = Scan::new(text).collect();
    let mut rest = lexemes.as_slice();
    while !rest.is_empty() {
        let end = rest.iter().position(|one| one.kind == Kind::Newline).map_or(rest.len(), |at| at.saturating_add(1));
        let (line, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        layout.line(line);
        rest = tail;
    }
    let mut out = if bom { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
    layout.write(&mut out);
    out
}

/// Rows so far, and how deep in braces.
#[derive(Default)]
struct Layout {
    rows: Vec<Row>,
    depth: usize,
}

impl Layout {
    /// Lays out a line up to its newline, its continuations included.
    fn line(&mut self, line: &[Lexeme<'_>]) {
        let body: Vec<&Lexeme<'_>> = line.iter().filter(|one| one.kind != Kind::Newline).collect();
        if !understood(&body) {
            let whole = line.iter().flat_map(|one| [one.blank, if one.kind == Kind::Newline { &[] } else { one.text }]);
            let mut code: Vec<u8> = whole.flatten().copied().collect();
            self.follow_braces(&body);
            let quote = |one: &&Lexeme<'_>| one.kind == Kind::Stray && one.text.ends_with(b"\n");
            let unended = body.last().is_some_and(quote);
            if code.ends_with(b"\r") {
                // A newline would make it the end of a line.
                code.push(b' ');
            }
            self.rows.push(Row { code, unended, ..Row::default() });
            return;
        }
        let start = self.depth;
        let mut row = Row { indent: self.indent(body.first().copied()), ..Row::default() };
        let mut before: Option<&Lexeme<'_>> = None;
        let mut lexemes = body.into_iter().peekable();
        while let Some(one) = lexemes.next() {
            match one.kind {
                Kind::Continuation => {
                    if !row.code.is_empty() {
                        row.code.push(b' ');
                    }
                    row.code.push(b'\\');
                    let closes = lexemes.peek().is_some_and(|next| next.text == b"}");
                    let deeper = usize::from(self.depth == start && !closes);
                    let indent = self.indent(lexemes.peek().copied()).saturating_add(deeper);
                    self.rows.push(std::mem::replace(&mut row, Row { indent, ..Row::default() }));
                    before = None;
                    continue;
                }
                Kind::Comment => {
                    // A backslash that ends a comment would draw the next line into it.
                    let trimmed = one.text.trim_ascii_end();
                    row.comment = if trimmed.ends_with(b"\\") { one.text } else { trimmed }.to_vec();
                    continue;
                }
                _ => {}
            }
            if before.is_some_and(|last| gap(last, one)) {
                row.code.push(b' ');
            }
            row.code.extend_from_slice(one.text);
            self.brace(one);
            before = Some(one);
        }
        self.rows.push(row);
    }

    /// Indentation of a row that begins with a lexeme.
    fn indent(&self, first: Option<&Lexeme<'_>>) -> usize {
        self.depth.saturating_sub(usize::from(first.is_some_and(|one| one.text == b"}")))
    }

    fn brace(&mut self, one: &Lexeme<'_>) {
        if one.kind == Kind::Operator {
            match one.text {
                b"{" => self.depth = self.depth.saturating_add(1),
                b"}" => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn follow_braces(&mut self, body: &[&Lexeme<'_>]) {
        for one in body {
            self.brace(one);
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut empty = 0usize;
        for (index, row) in self.rows.iter().enumerate() {
            if row.code.is_empty() && row.comment.is_empty() {
                empty = empty.saturating_add(1);
                continue;
            }
            out.extend(std::iter::repeat_n(b'\n', empty.min(EMPTY_LINES)));
            empty = 0;
            out.extend(std::iter::repeat_n(b'\t', row.indent));
            out.extend_from_slice(&row.code);
            if !row.comment.is_empty() {
                if !row.code.is_empty() {
                    out.extend(std::iter::repeat_n(b' ', self.column(index).saturating_sub(row.width()).max(1)));
                }
                out.extend_from_slice(&row.comment);
            }
            // A backslash at the end of the file would take a new newline.
            let last = index.saturating_add(1) == self.rows.len();
            if !(row.unended || last && out.ends_with(b"\\")) {
                out.push(b'\n');
            }
        }
    }

    /// Where the comment of a row begins: one blank after the longest code of the rows around it that have one too.
    fn column(&self, index: usize) -> usize {
        let trails = |row: &&Row| !row.code.is_empty() && !row.comment.is_empty();
        let (above, below) = self.rows.split_at_checked(index).unwrap_or_default();
        let around = above.iter().rev().take_while(trails).chain(below.iter().take_while(trails));
        let widest = around.map(Row::width).filter(|width| *width <= ALIGN_WITHIN).max();
        widest.unwrap_or(0).saturating_add(1)
    }
}

impl Row {
    fn width(&self) -> usize {
        let code = crate::source::text::decode(&self.code);
        self.indent.saturating_mul(8).saturating_add(code.chars().count())
    }
}

/// Whether blanks in a line mean nothing we do not know of: no escapes, no words continued on the next line, no digits
/// that a comment makes no number.
fn understood(body: &[&Lexeme<'_>]) -> bool {
    let glued = |pair: &[&Lexeme<'_>]| match pair {
        [a, b] => b.blank.is_empty() && b.kind == Kind::Comment && (a.kind == Kind::Macro || digits(a)),
        _ => false,
    };
    let continued = |three: &[&Lexeme<'_>]| match three {
        [_, b, c] => b.kind == Kind::Continuation && b.blank.is_empty() && c.blank.is_empty(),
        _ => false,
    };
    body.iter().all(|one| one.kind != Kind::Stray) && !body.windows(2).any(glued) && !body.windows(3).any(continued)
}

fn digits(one: &Lexeme<'_>) -> bool {
    matches!(one.kind, Kind::Number | Kind::Word) && one.text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-')
}

/// Whether a blank stands between two lexemes.
fn gap(a: &Lexeme<'_>, b: &Lexeme<'_>) -> bool {
    let stood = !b.blank.is_empty();
    if keeps_its_gap(a, b) {
        return stood;
    }
    let (before, after) = (a.kind == Kind::Operator, b.kind == Kind::Operator);
    match (a.text, b.text) {
        (b"(" | b"!" | b"/", _) if before => false,
        (_, b")" | b"," | b"/") if after => false,
        (_, b"(") if after => stood || !(a.kind == Kind::Keyword && a.text.starts_with(b"return-")),
        _ => true,
    }
}

/// Whether taking or giving a blank between two lexemes would change what they are.
fn keeps_its_gap(a: &Lexeme<'_>, b: &Lexeme<'_>) -> bool {
    let compare = |text: &[u8]| matches!(text, b"!" | b"<" | b">" | b"=");
    let both_compare = a.kind == Kind::Operator && b.kind == Kind::Operator && compare(a.text) && compare(b.text);
    let ends = b.text.first().is_some_and(|byte| matches!(byte, b')' | b',' | b'/' | b'}' | b'='));
    let digits_before_what_forbids_a_number = digits(a) && !ends && b.kind == Kind::Operator;
    let macro_before_what_glues = a.kind == Kind::Macro && !ends;
    let minus = a.text == b"-" || b.text == b"-";
    // `<` opens a table or compares: as it stood.
    let bracket = a.text == b"<" || b.text == b">";
    both_compare || digits_before_what_forbids_a_number || macro_before_what_glues || minus || bracket
}
