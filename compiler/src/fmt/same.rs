//! Whether two texts say the same: the tokens the parser reads in them, macros expanded.

use std::collections::VecDeque;

use crate::ast::FileId;
use crate::lex::Tk;
use crate::parse::{Complaint, Item, Lexed, Parser};
use crate::source::{Memory, Sources};

/// What a text says, piece by piece, without places: newlines that follow one another are one, those at either end of
/// the text none.
struct Reading<'s> {
    parser: Parser<'s>,
    ready: VecDeque<(Tk, String, Option<i64>)>,
    newline: bool,
    begun: bool,
}

impl<'s> Reading<'s> {
    fn new(sources: &'s mut Sources, file: FileId) -> Self {
        Reading { parser: Parser::new(sources, file), ready: VecDeque::new(), newline: false, begun: false }
    }

    fn token(&mut self, token: Lexed) {
        match token.kind {
            Tk::End => {}
            Tk::Newline => self.newline = self.begun,
            _ => self.piece((token.kind, token.text, token.number)),
        }
    }

    fn complaint(&mut self, complaint: &Complaint) {
        self.piece((Tk::Error, complaint.kind.text(), None));
    }

    fn piece(&mut self, piece: (Tk, String, Option<i64>)) {
        if std::mem::take(&mut self.newline) {
            self.ready.push_back((Tk::Newline, String::new(), None));
        }
        self.begun = true;
        self.ready.push_back(piece);
    }
}

impl Iterator for Reading<'_> {
    type Item = (Tk, String, Option<i64>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            match self.parser.next()? {
                Item::Complaint(complaint) => {
                    self.complaint(&complaint);
                    continue;
                }
                Item::Broken(broken) => {
                    self.parser.last_tokens().into_iter().for_each(|token| self.token(token));
                    broken.complaints.iter().for_each(|complaint| self.complaint(complaint));
                }
                Item::Stmt(_) => self.parser.last_tokens().into_iter().for_each(|token| self.token(token)),
            }
        }
    }
}

/// Whether two texts have the same tokens and complaints. Files they include do not exist here.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let sources = |text: &[u8]| {
        let mut sources = Sources::new(Box::new(Memory::default()));
        let file = sources.add("", text);
        (sources, file)
    };
    let ((mut left, one), (mut right, other)) = (sources(a), sources(b));
    Reading::new(&mut left, one).eq(Reading::new(&mut right, other))
}
