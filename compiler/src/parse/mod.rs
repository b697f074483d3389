//! One statement at a time, in the order pfctl acts upon them.
//!
//! Macros and includes take effect while the text is read, and pfctl complains about meaning and grammar in turn, so
//! the caller drives: it takes an [`Item`], acts upon it, and says [`Parser::fail`] when pfctl's action would have
//! given up (`YYERROR`), after which the rest of that line is skipped as yacc would skip it.
//!
//! **Invariant:** items come in the order of pfctl's actions; messages come with the line pfctl prints.
//! **Invariant:** work is bounded by the size of the input: macros and includes have limits of their own.

use crate::ast::{At, FileId, Node, Span, Stmt};
use crate::source::Sources;

/// What comes next.
#[derive(Debug)]
pub enum Item {
    /// A whole statement.
    Stmt(Stmt),
    /// A statement that breaks the grammar.
    Broken(Broken),
    /// A complaint of the lexer while the rest of a bad line is skipped.
    Complaint(Complaint),
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

/// A message of the lexer or the parser.
#[derive(Clone, Debug)]
pub struct Complaint {
    /// File and line as pfctl prints them; `None` for the lines that start with the program's name.
    pub place: Option<(FileId, u32)>,
    /// What.
    pub kind: ComplaintKind,
    /// Where, for a code frame.
    pub span: Span,
}

/// Messages of the lexer and the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComplaintKind {
    /// A token that cannot stand there, and what could.
    Syntax {
        /// What was found, as a reader would name it.
        found: String,
        /// What could stand there instead.
        expected: Vec<&'static str>,
    },
    /// `$name` of a macro that is not defined.
    UndefinedMacro(Box<str>),
    /// A token of more than pfctl's 8095 bytes.
    StringTooLong,
    /// A number that does not fit; strtonum's reason.
    BadNumber {
        /// As written.
        text: Box<str>,
        /// `too large` or `too small`.
        reason: &'static str,
    },
    /// A quoted string that never ends.
    UnterminatedQuote,
    /// The reason why a file cannot be included; a line of its own before [`ComplaintKind::IncludeFailed`].
    CannotOpen {
        /// File.
        name: Box<str>,
        /// strerror's text.
        reason: String,
    },
    /// `include` failed.
    IncludeFailed(Box<str>),
    /// A limit of ours against hostile input; the text says which.
    Limit(String),
}

impl ComplaintKind {
    /// pfctl's text.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            ComplaintKind::Syntax { .. } => "syntax error".to_owned(),
            ComplaintKind::UndefinedMacro(name) => format!("macro '{name}' not defined"),
            ComplaintKind::StringTooLong => "string too long".to_owned(),
            ComplaintKind::BadNumber { text, reason } => format!("\"{text}\" invalid number: {reason}"),
            ComplaintKind::UnterminatedQuote => "reached end of file while parsing quoted string".to_owned(),
            ComplaintKind::CannotOpen { name, reason } => format!("pfctl: pushfile: {name}: {reason}"),
            ComplaintKind::IncludeFailed(name) => format!("failed to include file {name}"),
            ComplaintKind::Limit(text) => text.clone(),
        }
    }

    /// Whether pfctl counts it as an error (the reason of a failed include is only said).
    #[must_use]
    pub fn is_error(&self) -> bool {
        !matches!(self, ComplaintKind::CannotOpen { .. })
    }
}

/// Reads statements.
#[derive(Debug)]
pub struct Parser<'s> {
    sources: &'s mut Sources,
}

impl<'s> Parser<'s> {
    /// Starts at the beginning of a file.
    #[must_use]
    pub fn new(sources: &'s mut Sources, _file: FileId) -> Self {
        Parser { sources }
    }

    /// `-D name=value`: stands against definitions in the file.
    pub fn predefine(&mut self, _name: &str, _value: &str) {}

    /// The next item; `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "the caller must be able to fail between two items")]
    pub fn next(&mut self) -> Option<Item> {
        None
    }

    /// The action at `at` of the last item gave up: the rest is skipped up to the next newline token, and syntax
    /// errors stay unsaid until three more tokens have been read. Inline anchors still open are closed for the
    /// grammar, as in pfctl, though no [`crate::ast::StmtKind::AnchorClose`] comes.
    pub fn fail(&mut self, _at: At) {}

    /// Macros defined and never used, in order of definition.
    pub fn unused_macros(&self) -> impl Iterator<Item = (&str, Span)> {
        std::iter::empty()
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
