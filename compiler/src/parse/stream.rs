//! The token stream of one statement, cut lazily: what a statement does (an include) happens before the next token.
//!
//! **Invariant:** no token after the newline that ends the statement is read.

use std::collections::VecDeque;

use super::context::{Context, Stop};
use crate::ast::Word;
use crate::lex::{Complaint, ComplaintKind, Lexer, Tk, Token};
use crate::source::Sources;

/// Lists inside lists.
const NESTING: u32 = 1000;
/// Tokens of a statement.
const TOKENS: usize = 1 << 20;

/// What the lexer gives, after the tokens that an error has put back.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) lexer: Lexer,
    pub(crate) ahead: VecDeque<(Token, Vec<u8>)>,
}

impl Tokens {
    /// The next token, its text given to a function.
    pub(crate) fn take<T>(&mut self, with: impl FnOnce(Token, &[u8]) -> T) -> T {
        match self.ahead.pop_front() {
            Some((token, text)) => with(token, &text),
            None => {
                let token = self.lexer.token();
                with(token, self.lexer.text())
            }
        }
    }
}

/// The tokens of a statement, for the grammar.
pub(crate) struct Stream<'a> {
    pub(crate) tokens: &'a mut Tokens,
    pub(crate) sources: &'a mut Sources,
    pub(crate) ctx: &'a Context,
    /// Comes first: says which statements are legal here.
    pub(crate) mark: Option<Tk>,
    pub(crate) braces: u32,
    /// What the lexer said of tokens that are good all the same.
    pub(crate) asides: Vec<Complaint>,
    /// What keeps an include from happening, before the complaint itself.
    pub(crate) reason: Option<Complaint>,
}

pub(crate) type Item = Result<(u32, Tk, u32), Stop>;

impl Iterator for Stream<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if let Some(mark) = self.mark.take() {
            return Some(Ok((0, mark, 0)));
        }
        if self.ctx.done.get() {
            return None;
        }
        if let Err(stop) = self.include() {
            return Some(Err(stop));
        }
        let ctx = self.ctx;
        let (kind, aside) = self.tokens.take(|mut token, text| {
            let aside = if token.kind == Tk::Word { token.complaint.take() } else { None };
            let kind = token.kind;
            ctx.line.borrow_mut().push(token, text);
            (kind, aside)
        });
        self.asides.extend(aside.map(|complaint| *complaint));
        let count = self.ctx.line.borrow().len();
        let next = u32::try_from(count).unwrap_or(u32::MAX);
        match kind {
            Tk::End => return None,
            Tk::BraceOpen => self.braces = self.braces.saturating_add(1),
            Tk::BraceClose => self.braces = self.braces.saturating_sub(1),
            _ => {}
        }
        if self.braces > NESTING {
            return Some(Err(self.limit("lists are nested more than 1000 deep")));
        }
        if count > TOKENS {
            return Some(Err(self.limit("statement has more than 1048576 words")));
        }
        Some(Ok((next.saturating_sub(1), kind, next)))
    }
}

impl Stream<'_> {
    fn limit(&self, text: &'static str) -> Stop {
        let line = self.ctx.line.borrow();
        let last = line.get(u32::try_from(line.len()).unwrap_or(u32::MAX).saturating_sub(1));
        let (place, span) =
            last.map_or((None, Default::default()), |slot| (Some((slot.token.file, slot.token.line)), slot.token.span));
        Stop(Box::new(Complaint { place, kind: ComplaintKind::Limit(text), span }))
    }

    /// `include "file"` acts as soon as the name is read.
    fn include(&mut self) -> Result<(), Stop> {
        let line = self.ctx.line.borrow();
        let is = |index, kind| line.get(index).is_some_and(|slot| slot.token.kind == kind);
        if line.len() != 2 || !is(0, Tk::Include) || !is(1, Tk::Word) {
            return Ok(());
        }
        drop(line);
        let Word { text, span } = self.ctx.word(1);
        let pushed = match self.sources.open(&text) {
            Ok(file) => {
                let bytes = self.sources.file(file).map(|file| std::sync::Arc::clone(&file.bytes));
                self.tokens
                    .lexer
                    .include(file, bytes.unwrap_or_default())
                    .map_err(|_| "includes are nested too deep".to_owned())
            }
            Err(reason) => Err(reason),
        };
        let Err(reason) = pushed else { return Ok(()) };
        self.reason =
            Some(Complaint { place: None, kind: ComplaintKind::CannotOpen { name: text.clone(), reason }, span });
        let place = Some(self.tokens.lexer.place());
        Err(Stop(Box::new(Complaint { place, kind: ComplaintKind::IncludeFailed(text), span })))
    }
}
