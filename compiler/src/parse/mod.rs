//! One statement at a time, in the order pfctl acts upon them.
//!
//! Macros and includes take effect while the text is read, and pfctl complains about meaning and grammar in turn, so
//! the caller drives: it takes an [`Item`], acts upon it, and says [`Parser::fail`] when pfctl's action would have
//! given up (`YYERROR`), after which the rest of that line is skipped as yacc would skip it.
//!
//! **Invariant:** items come in the order of pfctl's actions; messages come with the line pfctl prints.
//! **Invariant:** work is bounded by the size of the input: macros, includes, nesting and statements have limits.

pub(crate) mod context;
mod stream;

use std::collections::VecDeque;

use lalrpop_util::{ParseError, lalrpop_mod};

use self::context::{Context, Stop};
use self::stream::{Stream, Tokens};
use crate::ast::{At, FileId, Node, Span, Stmt, StmtKind};
pub use crate::lex::{Complaint, ComplaintKind};
use crate::lex::{KEYWORDS, Lexer, Tk, Token};
use crate::source::{Sources, text};

lalrpop_mod!(
    #[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused, reason = "generated")]
    grammar
);

type Failure = ParseError<u32, Tk, Stop>;

/// What comes next.
#[derive(Debug)]
pub enum Item {
    /// A whole statement.
    Stmt(Stmt),
    /// A statement that breaks the grammar.
    Broken(Broken),
    /// A complaint of the lexer that breaks no statement, or while the rest of a bad line is skipped.
    Complaint(Complaint),
}

/// A token with its text, as [`Parser::last_tokens`] gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lexed {
    /// What it is.
    pub kind: Tk,
    /// Its text, without quotes.
    pub text: String,
    /// Its value, of a number.
    pub number: Option<i64>,
    /// Where.
    pub span: Span,
    /// Line pfctl names for it.
    pub line: u32,
}

/// A statement with a syntax error.
#[derive(Debug, Default)]
pub struct Broken {
    /// What pfctl had acted upon before it met the error, in order. Act upon it as if the statement were whole; when
    /// one of them fails, say so to [`Parser::fail`] and forget the complaints: pfctl never got as far.
    pub partial: Vec<Node>,
    /// What pfctl says then: a complaint of the lexer, `syntax error`, both, or nothing (too near the last one).
    pub complaints: Vec<Complaint>,
}

/// Reads statements.
#[derive(Debug)]
pub struct Parser<'s> {
    sources: &'s mut Sources,
    tokens: Tokens,
    ctx: Context,
    ready: VecDeque<Item>,
    /// Tokens that must be read before a syntax error is worth a word again (yacc's `yyerrflag`).
    quiet: usize,
    /// Dropping tokens up to the next newline.
    skipping: bool,
    /// The last statement was broken; its offending token has been put back.
    broke: bool,
    /// Inline anchors open: where each begins.
    anchors: Vec<Span>,
    /// Something could be read: yacc can recover from errors from here on.
    started: bool,
    over: bool,
}

impl<'s> Parser<'s> {
    /// Starts at the beginning of a file.
    #[must_use]
    pub fn new(sources: &'s mut Sources, file: FileId) -> Self {
        let bytes = sources.file(file).map(|file| std::sync::Arc::clone(&file.bytes)).unwrap_or_default();
        Parser {
            sources,
            tokens: Tokens { lexer: Lexer::new(file, bytes), ahead: VecDeque::new() },
            ctx: Context::default(),
            ready: VecDeque::new(),
            quiet: 0,
            skipping: false,
            broke: false,
            anchors: Vec::new(),
            started: false,
            over: false,
        }
    }

    /// `-D name=value`: stands against definitions in the file.
    pub fn predefine(&mut self, name: &str, value: &str) {
        self.define(name, value, Span::default(), true);
    }

    fn define(&mut self, name: &str, value: &str, span: Span, fixed: bool) {
        self.tokens.lexer.macros_mut().define(&text::encode(name), &text::encode(value), span, fixed);
    }

    /// The next item; `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "the caller must be able to fail between two items")]
    pub fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            if self.over {
                return None;
            }
            let item = if self.skipping { self.skip() } else { self.statement() };
            if item.is_some() {
                return item;
            }
        }
    }

    /// Drops tokens up to a newline; `Some` for what the lexer says meanwhile.
    fn skip(&mut self) -> Option<Item> {
        loop {
            let (kind, complaint) = self.tokens.take(|token, _| (token.kind, token.complaint));
            match kind {
                Tk::Newline => {
                    self.skipping = false;
                    self.quiet = 2;
                }
                Tk::End => {
                    self.skipping = false;
                    self.over = true;
                }
                _ => {}
            }
            if let Some(complaint) = complaint {
                return Some(Item::Complaint(*complaint));
            }
            if !self.skipping {
                return None;
            }
        }
    }

    fn mark(&self) -> Tk {
        if self.anchors.is_empty() { Tk::Top } else { Tk::Inner }
    }

    /// Parses a statement.
    fn statement(&mut self) -> Option<Item> {
        self.broke = false;
        self.ctx.line.borrow_mut().clear();
        self.ctx.done.set(false);
        let mut stream = Stream {
            tokens: &mut self.tokens,
            sources: self.sources,
            ctx: &self.ctx,
            mark: Some(if self.anchors.is_empty() { Tk::Top } else { Tk::Inner }),
            braces: 0,
            asides: Vec::new(),
            reason: None,
        };
        let result = grammar::StatementParser::new().parse(&self.ctx, &mut stream);
        let (asides, reason) = (std::mem::take(&mut stream.asides), stream.reason.take());
        let item = match result {
            Ok(stmt) => Some(Item::Stmt(self.accept(stmt))),
            Err(failure) => self.broken(failure, reason),
        };
        if asides.is_empty() {
            return item;
        }
        self.ready.extend(asides.into_iter().map(Item::Complaint));
        self.ready.extend(item);
        self.ready.pop_front()
    }

    fn accept(&mut self, stmt: Stmt) -> Stmt {
        self.started = true;
        self.quiet = self.quiet.saturating_sub(self.ctx.line.borrow().len());
        match &stmt.kind {
            StmtKind::AnchorOpen(_) => self.anchors.push(stmt.span),
            StmtKind::AnchorClose => drop(self.anchors.pop()),
            StmtKind::Macro(def) if def.name_is_legal() => {
                self.define(&def.name.text, &def.value.text, stmt.span, false)
            }
            _ => {}
        }
        stmt
    }

    fn broken(&mut self, failure: Failure, reason: Option<Complaint>) -> Option<Item> {
        self.skipping = true;
        let (bad, expected) = match failure {
            ParseError::User { error: Stop(complaint) } => {
                self.started = true;
                self.quiet = 3;
                self.anchors.clear();
                let complaints = reason.into_iter().chain([*complaint]).collect();
                return Some(Item::Broken(Broken { partial: Vec::new(), complaints }));
            }
            ParseError::UnrecognizedToken { token: (index, ..), expected } => (index, expected),
            ParseError::UnrecognizedEof { expected, .. } => {
                (u32::try_from(self.ctx.line.borrow().len()).unwrap_or(u32::MAX).saturating_sub(1), expected)
            }
            ParseError::ExtraToken { token: (index, ..) } => (index, Vec::new()),
            ParseError::InvalidToken { location } => (location, Vec::new()),
        };
        let Some((token, text)) = self.slot(bad) else {
            self.over = true;
            return None;
        };
        if token.kind == Tk::End && bad == 0 && self.anchors.is_empty() {
            self.over = true;
            return token.complaint.map(|complaint| Item::Complaint(*complaint));
        }
        let partial = self.partial(bad, &expected);
        let mut complaints: Vec<Complaint> = token.complaint.as_deref().cloned().into_iter().collect();
        let mut place = (token.file, token.line);
        if token.kind == Tk::BraceOpen && bad == 0 && !self.started {
            // As far as yacc can see a brace may open a file, yet nothing may follow it: it looks at what follows.
            let next = self.tokens.take(|next, _| next);
            place = (next.file, next.line);
            complaints.extend(next.complaint.map(|complaint| *complaint));
        }
        let shifted = usize::try_from(bad).unwrap_or(usize::MAX);
        let kind = ComplaintKind::Syntax {
            found: found(&token, &text),
            expected: expected.iter().filter_map(|name| terminal(name)).map(|(_, name)| name).collect(),
            open: self.open_brace(bad),
            unsaid: self.quiet.saturating_sub(shifted) > 0,
        };
        complaints.push(Complaint { place: Some(place), kind, span: token.span });
        if bad > 0 {
            self.started = true;
        }
        // Before anything was read yacc has nowhere to go on from.
        self.over = !self.started || token.kind == Tk::End;
        self.quiet = 3;
        self.anchors.clear();
        self.broke = true;
        self.tokens.ahead.push_front((Token { complaint: None, ..token }, text));
        Some(Item::Broken(Broken { partial, complaints }))
    }

    /// The innermost brace still open before a token of the statement, or that of the anchor around it.
    fn open_brace(&self, bad: u32) -> Option<Span> {
        let line = self.ctx.line.borrow();
        let mut open = self.anchors.clone();
        for slot in (0..bad).filter_map(|index| line.get(index)) {
            match slot.token.kind {
                Tk::BraceOpen => open.push(slot.token.span),
                Tk::BraceClose => drop(open.pop()),
                _ => {}
            }
        }
        open.pop()
    }

    fn slot(&self, index: u32) -> Option<(Token, Vec<u8>)> {
        let line = self.ctx.line.borrow();
        line.get(index).map(|slot| (slot.token.clone(), line.bytes(slot).to_vec()))
    }

    /// What pfctl has acted upon before the token `bad`: with that token seen, or without looking at it, whichever
    /// goes further.
    fn partial(&self, bad: u32, expected: &[String]) -> Vec<Node> {
        let seen = self.slot(bad).map_or(Tk::Error, |(token, _)| token.kind);
        let with = self.replay(bad, seen, bad.saturating_add(1));
        let other = expected.iter().find_map(|name| terminal(name));
        let without = other.map(|(kind, _)| self.replay(bad, kind, bad)).unwrap_or_default();
        if without.1 > with.1 { without.0 } else { with.0 }
    }

    /// Parses the tokens before `bad` again, with another one in its place, and gives the parts that needed no more
    /// than `read` tokens, and how many were noted on the way.
    fn replay(&self, bad: u32, instead: Tk, read: u32) -> (Vec<Node>, usize) {
        let kinds: Vec<Tk> = {
            let line = self.ctx.line.borrow();
            (0..bad).filter_map(|index| line.get(index)).map(|slot| slot.token.kind).collect()
        };
        self.ctx.done.set(false);
        self.ctx.note_parts(read);
        let located = kinds.into_iter().chain([instead]).zip(0u32..);
        let stream = std::iter::once(Ok((0, self.mark(), 0)))
            .chain(located.map(|(kind, index)| Ok((index, kind, index.saturating_add(1)))));
        // It fails like the first time; what matters are the notes.
        let _ = grammar::StatementParser::new().parse(&self.ctx, stream);
        self.ctx.take_notes()
    }

    /// The action at `at` of the last item gave up: the rest is skipped up to the next newline token, and syntax
    /// errors stay unsaid until three more tokens have been read. Inline anchors still open are closed for the
    /// grammar, as in pfctl, though no [`StmtKind::AnchorClose`] comes.
    pub fn fail(&mut self, at: At) {
        if std::mem::take(&mut self.broke) {
            self.tokens.ahead.pop_front();
            self.over = false;
        }
        let from = usize::try_from(at.next).unwrap_or(usize::MAX);
        let back = self.ctx.line.borrow_mut().split_off(from);
        for slot in back.into_iter().rev() {
            self.tokens.ahead.push_front(slot);
        }
        self.started = true;
        self.skipping = true;
        self.quiet = 3;
        self.anchors.clear();
    }

    /// Tokens of the last statement, macros replaced.
    pub fn last_tokens(&self) -> Vec<Lexed> {
        let line = self.ctx.line.borrow();
        let slots = (0u32..).map_while(|index| line.get(index));
        slots
            .map(|slot| Lexed {
                kind: slot.token.kind,
                text: text::decode(line.bytes(slot)).into_owned(),
                number: (slot.token.kind == Tk::Number).then_some(slot.token.number),
                span: slot.token.span,
                line: slot.token.line,
            })
            .collect()
    }

    /// Macros defined and never used, in order of definition.
    pub fn unused_macros(&self) -> impl Iterator<Item = (String, Span)> {
        let unused = self.tokens.lexer.macros().unused();
        unused.into_iter().map(|(name, span)| (text::decode(name).into_owned(), span))
    }

    /// Names of the macros defined so far.
    pub fn macro_names(&self) -> impl Iterator<Item = String> {
        self.tokens.lexer.macros().names().map(|name| text::decode(name).into_owned())
    }

    /// The files.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        self.sources
    }

    /// The files, to read others.
    pub fn sources_mut(&mut self) -> &mut Sources {
        self.sources
    }
}

/// A token as a reader would name it.
fn found(token: &Token, text: &[u8]) -> String {
    match token.kind {
        Tk::End => "end of file".to_owned(),
        Tk::Newline => "end of line".to_owned(),
        Tk::Error => "bad text".to_owned(),
        _ => format!("`{}`", text::decode(text)),
    }
}

/// Operators by their name in the grammar.
const OPERATORS: [(&str, Tk); 17] = [
    ("!=", Tk::Ne),
    ("<=", Tk::Le),
    (">=", Tk::Ge),
    ("<>", Tk::Outside),
    ("><", Tk::Inside),
    ("=", Tk::Equal),
    ("<", Tk::Lt),
    (">", Tk::Gt),
    ("!", Tk::Not),
    ("{", Tk::BraceOpen),
    ("}", Tk::BraceClose),
    ("(", Tk::ParenOpen),
    (")", Tk::ParenClose),
    (",", Tk::Comma),
    ("/", Tk::Slash),
    ("-", Tk::Minus),
    ("\\n", Tk::Newline),
];

/// A terminal by its name in the grammar, and how to speak of it.
fn terminal(name: &str) -> Option<(Tk, &'static str)> {
    let bare = name.trim_matches('"');
    match bare {
        "word" => return Some((Tk::Word, "a word")),
        "number" => return Some((Tk::Number, "a number")),
        "\\n" | "\n" => return Some((Tk::Newline, "end of line")),
        _ => {}
    }
    if let Ok(index) = KEYWORDS.binary_search_by_key(&bare, |(word, _)| word) {
        return KEYWORDS.get(index).map(|(word, kind)| (*kind, *word));
    }
    OPERATORS.iter().find(|(word, _)| *word == bare).map(|(word, kind)| (*kind, *word))
}
