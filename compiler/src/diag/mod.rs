//! What is wrong, where, and what to do: the one shape of every message of the compiler.
//!
//! A [`Diagnostic`] is data. It is shown as pfctl's line ([`Diagnostic::pfctl_line`]), as a code frame ([`frame()`]) or
//! for programs ([`json`], [`sarif`]); the codes and their explanations are [`codes`].
//!
//! **Invariant:** spans may be stale or empty; showing a diagnostic never fails for it.

pub mod codes;
mod complaint;
mod export;
mod fold;
mod frame;
mod suggest;

pub use codes::{CODES, Code, CodeInfo};
pub use complaint::{from_complaint, is_of_its_own};
pub use export::{json, sarif};
pub use fold::folded;
pub use frame::{frame, frames};
pub use suggest::nearest;

use crate::ast::{At, FileId, Span};
use crate::source::Sources;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// It can, and perhaps should not.
    Warning,
    /// Said along with another one.
    Note,
}

impl Severity {
    /// `error`, `warning`, `note`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// A place with a few words on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What of it; may be empty.
    pub text: String,
}

/// A change that would mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// What to replace.
    pub span: Span,
    /// With what.
    pub text: String,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its code.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// Where.
    pub primary: Option<Label>,
    /// Other places that matter.
    pub secondary: Vec<Label>,
    /// What to do.
    pub help: Vec<String>,
    /// A change that would mend it.
    pub suggestion: Option<Suggestion>,
    /// File and line as pfctl names them; `None` for lines that stand without.
    pub place: Option<(FileId, u32)>,
    /// pfctl's text; `None` when pfctl says nothing of it.
    pub pfctl: Option<String>,
}

impl Diagnostic {
    /// A diagnostic of ours, that pfctl does not know.
    #[must_use]
    pub fn new(severity: Severity, code: Code, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            severity,
            message: message.into(),
            primary: None,
            secondary: Vec::new(),
            help: Vec::new(),
            suggestion: None,
            place: None,
            pfctl: None,
        }
    }

    /// An error of pfctl at a place, with the code that stands for it.
    #[must_use]
    pub fn pfctl(at: At, span: Span, text: impl Into<String>) -> Self {
        let text = text.into();
        let mut out = Self::new(Severity::Error, Code::of_message(&text), text.clone()).at(span, "");
        out.place = Some((at.file, at.line));
        out.pfctl = Some(text);
        out
    }

    /// A line that pfctl says without a place.
    #[must_use]
    pub fn pfctl_bare(severity: Severity, text: impl Into<String>) -> Self {
        let text = text.into();
        let mut out = Self::new(severity, Code::of_message(&text), text.clone());
        out.pfctl = Some(text);
        out
    }

    /// Gives it its place.
    #[must_use]
    pub fn at(mut self, span: Span, label: impl Into<String>) -> Self {
        self.primary = Some(Label { span, text: label.into() });
        self
    }

    /// Makes it as bad as this.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Adds a place.
    #[must_use]
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.secondary.push(Label { span, text: label.into() });
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Adds a change that would mend it.
    #[must_use]
    pub fn suggest(mut self, span: Span, text: impl Into<String>) -> Self {
        self.suggestion = Some(Suggestion { span, text: text.into() });
        self
    }

    /// pfctl's line without its newline, `stdin:3: syntax error`; `None` when pfctl says nothing of it.
    #[must_use]
    pub fn pfctl_line(&self, sources: &Sources) -> Option<String> {
        let text = self.pfctl.as_deref()?;
        Some(match self.place {
            Some((file, line)) => format!("{}:{line}: {text}", sources.name(file)),
            None => text.to_owned(),
        })
    }
}
