//! One message for what lists say many times.
//!
//! pfctl repeats an error for every combination a list expands to; a person wants it once.

use std::collections::HashMap;

use super::{Code, Diagnostic, Severity, codes};
use crate::ast::Span;

/// What makes two messages one.
type Key = (Code, Severity, String, Option<Span>);

fn place(diagnostic: &Diagnostic) -> Option<Span> {
    diagnostic.primary.as_ref().map(|label| label.span)
}

/// The grammar trips over what the lexer has already refused: pfctl says both, for a reader one is enough.
pub(super) fn is_echo(diagnostic: &Diagnostic, before: Option<&Diagnostic>) -> bool {
    diagnostic.code == codes::SYNTAX
        && before.is_some_and(|last| last.code != codes::SYNTAX && last.primary == diagnostic.primary)
}

/// Folds equal messages at one place into the first, which says how many there were; what only repeats that a rule
/// with an error is left out goes, and what only follows from the message before.
#[must_use]
pub fn folded(all: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut first: HashMap<Key, usize> = HashMap::new();
    let mut out: Vec<(Diagnostic, usize)> = Vec::new();
    for diagnostic in all {
        if is_echo(&diagnostic, out.last().map(|(last, _)| last)) {
            continue;
        }
        let key = (diagnostic.code, diagnostic.severity, diagnostic.message.clone(), place(&diagnostic));
        let at = *first.entry(key).or_insert(out.len());
        match out.get_mut(at) {
            Some((_, times)) if diagnostic.primary.is_some() => *times = times.saturating_add(1),
            _ => out.push((diagnostic, 1)),
        }
    }
    let errors: Vec<Span> =
        out.iter().filter(|(d, _)| d.severity == Severity::Error).filter_map(|(d, _)| place(d)).collect();
    let echo = |d: &Diagnostic| {
        d.severity == Severity::Note
            && (d.code == codes::SKIPPED || d.code == codes::NO_COMBINATION)
            && place(d).is_some_and(|span| errors.contains(&span))
    };
    out.retain(|(d, _)| !echo(d));
    let told = |(d, times): (Diagnostic, usize)| match times {
        1 => d,
        _ => d.help(format!("the same {times} times: lists stand for more than one rule")),
    };
    out.into_iter().map(told).collect()
}
