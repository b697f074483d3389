//! What is said while a file is read: pfctl's two streams in order, and the same errors as data.
//!
//! **Invariant:** nothing is printed here; the caller decides what a stream is.

use crate::diag::Diagnostic;

/// Standard output or standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Both streams, in the order they were written, and the problems.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    parts: Vec<(Stream, String)>,
    diagnostics: Vec<Diagnostic>,
}

impl Transcript {
    /// Writes to standard output.
    pub fn out(&mut self, text: &str) {
        self.push(Stream::Out, text);
    }

    /// Writes to standard error.
    pub fn err(&mut self, text: &str) {
        self.push(Stream::Err, text);
    }

    fn push(&mut self, stream: Stream, text: &str) {
        match self.parts.last_mut() {
            Some((last, so_far)) if *last == stream => so_far.push_str(text),
            _ => self.parts.push((stream, text.to_owned())),
        }
    }

    pub(crate) fn diagnostic(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// The last diagnostic, to add to it.
    pub(crate) fn last(&mut self) -> Option<&mut Diagnostic> {
        self.diagnostics.last_mut()
    }

    /// What was written, in order; takes it away.
    pub fn take(&mut self) -> Vec<(Stream, String)> {
        std::mem::take(&mut self.parts)
    }

    /// What is wrong, in order.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// All that went to one stream.
    #[must_use]
    pub fn text(&self, stream: Stream) -> String {
        self.parts.iter().filter(|(s, _)| *s == stream).map(|(_, t)| t.as_str()).collect()
    }
}
