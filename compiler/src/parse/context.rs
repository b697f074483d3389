//! What the grammar's actions need beside their own symbols: the tokens of the statement being parsed.
//!
//! **Invariant:** positions are indexes of tokens in the statement; the location of a token `i` is `i..i + 1`.

use std::cell::{Cell, RefCell};

use crate::ast::{Arg, At, Node, Number, Span, Stmt, StmtKind, Value, Word};
use crate::lex::{Complaint, Tk, Token};
use crate::source::text;

/// A token of the statement with its text in the statement's buffer.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) token: Token,
    lo: usize,
    hi: usize,
}

/// The tokens of a statement.
#[derive(Debug, Default)]
pub(crate) struct Line {
    slots: Vec<Slot>,
    text: Vec<u8>,
}

impl Line {
    pub(crate) fn push(&mut self, token: Token, text: &[u8]) {
        let lo = self.text.len();
        self.text.extend_from_slice(text);
        self.slots.push(Slot { token, lo, hi: self.text.len() });
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Slot> {
        self.slots.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The bytes of a token.
    pub(crate) fn bytes(&self, slot: &Slot) -> &[u8] {
        self.text.get(slot.lo..slot.hi).unwrap_or_default()
    }

    /// Takes the tokens out from one on.
    pub(crate) fn split_off(&mut self, from: usize) -> Vec<(Token, Vec<u8>)> {
        let from = from.min(self.slots.len());
        let text = &self.text;
        self.slots
            .split_off(from)
            .into_iter()
            .map(|s| (s.token, text.get(s.lo..s.hi).unwrap_or_default().to_vec()))
            .collect()
    }

    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.text.clear();
    }
}

/// The parts that pfctl has acted upon.
#[derive(Debug, Default)]
struct Notes {
    /// Parts that need more tokens than this are not noted.
    read: u32,
    /// Outermost parts with their first token.
    parts: Vec<(u32, Node)>,
    /// Parts noted in all.
    count: usize,
}

/// State shared by the token stream and the grammar's actions.
#[derive(Default)]
pub(crate) struct Context {
    pub(crate) line: RefCell<Line>,
    /// The statement is whole: no token after the next newline is wanted.
    pub(crate) done: Cell<bool>,
    notes: RefCell<Option<Notes>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("line", &self.line).finish_non_exhaustive()
    }
}

impl Context {
    /// Starts to note parts, from none, that need no more than `read` tokens.
    pub(crate) fn note_parts(&self, read: u32) {
        *self.notes.borrow_mut() = Some(Notes { read, ..Notes::default() });
    }

    /// The outermost parts noted, and how many were noted in all.
    pub(crate) fn take_notes(&self) -> (Vec<Node>, usize) {
        let notes = self.notes.take().unwrap_or_default();
        (notes.parts.into_iter().map(|(_, node)| node).collect(), notes.count)
    }

    /// Notes a part that begins at token `start`, in place of the parts inside it.
    pub(crate) fn note(&self, start: u32, at: At, node: impl FnOnce() -> Node) {
        if let Some(notes) = self.notes.borrow_mut().as_mut()
            && at.read() <= notes.read
        {
            while notes.parts.last().is_some_and(|last| last.0 >= start) {
                notes.parts.pop();
            }
            notes.parts.push((start, node()));
            notes.count = notes.count.saturating_add(1);
        }
    }

    fn line_of(&self, index: u32) -> (crate::ast::FileId, u32) {
        let line = self.line.borrow();
        line.get(index).map_or_else(Default::default, |slot| (slot.token.file, slot.token.line))
    }

    /// An action that runs as soon as the tokens before `next` are read.
    pub(crate) fn at(&self, next: u32) -> At {
        let (file, line) = self.line_of(next.saturating_sub(1));
        At { file, line, next, looked: false }
    }

    /// An action that runs once the token at `next` has been looked at.
    pub(crate) fn look(&self, next: u32) -> At {
        let (file, line) = self.line_of(next);
        At { file, line, next, looked: true }
    }

    /// One or the other.
    pub(crate) fn end(&self, next: u32, looked: bool) -> At {
        if looked { self.look(next) } else { self.at(next) }
    }

    /// From one token to before another.
    pub(crate) fn span(&self, start: u32, end: u32) -> Span {
        let line = self.line.borrow();
        let last = line.get(end.saturating_sub(1).max(start));
        match (line.get(start), last) {
            (Some(first), Some(last)) => first.token.span.to(last.token.span),
            _ => Span::default(),
        }
    }

    fn text(&self, index: u32) -> Box<str> {
        let line = self.line.borrow();
        line.get(index).map_or_else(Box::default, |slot| text::decode(line.bytes(slot)).into())
    }

    /// The word at a token.
    pub(crate) fn word(&self, index: u32) -> Word {
        Word { text: self.text(index), span: self.span(index, index.saturating_add(1)) }
    }

    /// A keyword taken as a word.
    pub(crate) fn keyword(&self, index: u32, text: &str) -> Word {
        Word { text: text.into(), span: self.span(index, index.saturating_add(1)) }
    }

    /// The number at a token.
    pub(crate) fn number(&self, index: u32) -> Number {
        let value = self.line.borrow().get(index).map_or(0, |slot| slot.token.number);
        Number { value, span: self.span(index, index.saturating_add(1)) }
    }

    /// Words and numbers from one token to before another, joined by blanks.
    pub(crate) fn joined(&self, start: u32, end: u32) -> Word {
        let line = self.line.borrow();
        let mut bytes = Vec::new();
        for index in start..end {
            let Some(slot) = line.get(index) else { break };
            if index > start {
                bytes.push(b' ');
            }
            match slot.token.kind {
                Tk::Number => bytes.extend_from_slice(slot.token.number.to_string().as_bytes()),
                _ => bytes.extend_from_slice(line.bytes(slot)),
            }
        }
        drop(line);
        Word { text: text::decode(&bytes).into(), span: self.span(start, end) }
    }

    /// The word at the token before `next` as an argument.
    pub(crate) fn arg_word(&self, next: u32, looked: bool) -> Arg {
        let index = next.saturating_sub(1);
        Arg { value: Value::Word(self.text(index)), span: self.span(index, next), at: self.end(next, looked) }
    }

    /// The number at the token before `next` as an argument.
    pub(crate) fn arg_number(&self, next: u32) -> Arg {
        let index = next.saturating_sub(1);
        let Number { value, span } = self.number(index);
        Arg { value: Value::Number(value), span, at: self.at(next) }
    }

    /// A statement.
    pub(crate) fn stmt(&self, start: u32, next: u32, looked: bool, kind: StmtKind) -> Stmt {
        let stmt = Stmt { kind, span: self.span(start, next), at: self.end(next, looked) };
        self.note(start, stmt.at, || Node::Stmt(Box::new(stmt.clone())));
        stmt
    }
}

/// Why the token stream ends before its time.
#[derive(Clone, Debug)]
pub(crate) struct Stop(pub(crate) Box<Complaint>);
