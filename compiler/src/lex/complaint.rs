//! What the lexer and the parser say of bad text.

use crate::ast::{FileId, Span};

/// A message of the lexer or the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        /// The innermost brace of the statement, or the anchor's, that is still open.
        open: Option<Span>,
        /// Too near the last error: pfctl says nothing of it.
        unsaid: bool,
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
    /// A NUL byte inside quotes.
    QuotedNul,
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
    Limit(&'static str),
}

impl ComplaintKind {
    /// pfctl's text.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            ComplaintKind::Syntax { .. } | ComplaintKind::QuotedNul => "syntax error".to_owned(),
            ComplaintKind::UndefinedMacro(name) => format!("macro '{name}' not defined"),
            ComplaintKind::StringTooLong => "string too long".to_owned(),
            ComplaintKind::BadNumber { text, reason } => format!("\"{text}\" invalid number: {reason}"),
            ComplaintKind::UnterminatedQuote => "reached end of file while parsing quoted string".to_owned(),
            ComplaintKind::CannotOpen { name, reason } => format!("pfctl: pushfile: {name}: {reason}"),
            ComplaintKind::IncludeFailed(name) => format!("failed to include file {name}"),
            ComplaintKind::Limit(text) => (*text).to_owned(),
        }
    }

    /// Whether pfctl says it: of syntax errors near each other it says the first.
    #[must_use]
    pub fn is_said(&self) -> bool {
        !matches!(self, ComplaintKind::Syntax { unsaid: true, .. })
    }

    /// Whether pfctl counts it as an error (the reason of a failed include is only said).
    #[must_use]
    pub fn is_error(&self) -> bool {
        !matches!(self, ComplaintKind::CannotOpen { .. })
    }
}
