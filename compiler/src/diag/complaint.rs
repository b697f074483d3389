//! What the lexer and parser complain about, as diagnostics with advice.

use super::{Diagnostic, Label, Severity, codes, nearest};
use crate::ast::Span;
use crate::lex::{Complaint, ComplaintKind, KEYWORDS};
use crate::source::{Sources, text};

/// Words of older versions of pf, and what stands for them today.
const OLD_WORDS: [(&str, &str); 12] = [
    ("nat", "translation is part of a rule: `match out on if from net nat-to (if)`"),
    ("rdr", "redirection is part of a rule: `pass in on if proto tcp to port p rdr-to host`"),
    ("binat", "both ways at once is part of a rule: `match on if from host binat-to address`"),
    ("scrub", "scrubbing is part of a rule: `match in all scrub (no-df random-id)`"),
    ("altq", "queues are defined by `queue name on if bandwidth n` and `queue name parent name bandwidth n`"),
    ("priq", "queues have `bandwidth`, `qlimit`, `flows` and `default`; priorities are `set prio n` on a rule"),
    ("cbq", "queues have `bandwidth`, `qlimit`, `flows` and `default`"),
    ("hfsc", "queues have `bandwidth`, `min`, `max`, `burst … for …ms`"),
    ("priority", "priorities are `set prio n` on a rule"),
    ("nat-anchor", "there is one kind of anchor: `anchor \"name\"`"),
    ("rdr-anchor", "there is one kind of anchor: `anchor \"name\"`"),
    ("binat-anchor", "there is one kind of anchor: `anchor \"name\"`"),
];

/// A complaint with its code, advice and, where a word is nearly right, the word that was meant.
#[must_use]
pub fn from_complaint(complaint: &Complaint, sources: &Sources, macros: &[String]) -> Diagnostic {
    let text = complaint.kind.text();
    let mut out = Diagnostic::pfctl_bare(Severity::Error, text).at(complaint.span, "");
    out.place = complaint.place;
    out.pfctl = out.pfctl.filter(|_| complaint.kind.is_said());
    match &complaint.kind {
        ComplaintKind::Syntax { found, expected, open, .. } => syntax(out, found, expected, *open, complaint, sources),
        ComplaintKind::UndefinedMacro(name) => match nearest(name, macros) {
            Some(meant) => out.suggest(complaint.span, format!("${meant}")),
            None => out,
        },
        ComplaintKind::CannotOpen { .. } => out.severity(Severity::Note),
        ComplaintKind::Limit(_) => {
            out.code = codes::LIMIT;
            out
        }
        _ => out,
    }
}

fn syntax(
    out: Diagnostic,
    found: &str,
    expected: &[&str],
    open: Option<Span>,
    complaint: &Complaint,
    sources: &Sources,
) -> Diagnostic {
    let foreign = foreign(complaint.span, sources);
    let found = foreign.as_ref().map_or(found, |(name, _)| name);
    let mut out = Diagnostic { message: format!("syntax error: unexpected {found}"), ..out };
    if let Some((_, advice)) = foreign {
        return out.help(advice);
    }
    let word = found.trim_matches('`');
    let line = statement_before(complaint, sources);
    if let Some(span) = open.filter(|_| found == "end of file" || expected.contains(&"}") && ACTIONS.contains(&word)) {
        out.secondary.push(Label { span, text: "what opens here is not closed".into() });
        return out;
    }
    let old = line.split_whitespace().next().unwrap_or(word);
    let old =
        OLD_WORDS.iter().find(|(name, _)| *name == word).or_else(|| OLD_WORDS.iter().find(|(name, _)| *name == old));
    if let Some((_, advice)) = old {
        out = out.help(*advice);
    } else if let Some((span, meant)) = misspelt_action(&line, expected, complaint.span) {
        return out.suggest(span, meant);
    } else if let Some(meant) = nearest(word, expected.iter().filter(|name| keyword(name))) {
        out = out.suggest(complaint.span, meant);
    } else if line.trim_end().ends_with(',') && found == "end of line" {
        out = out.help("no newline can follow a comma; drop the comma or end the line with a backslash");
    } else if line.trim_end().ends_with(',') {
        out = out.help("a list cannot end with a comma");
    } else if line.trim_end().ends_with('!') && word == "{" {
        out = out.help("a list cannot be negated; negate its items: `{ !a !b }`");
    } else if keyword(word)
        && ["in", "out", "log", "quick", "on", "inet", "inet6", "proto", "from", "to", "os"].contains(&word)
    {
        out = out.help("the order is: action, in or out, log, quick, on, inet or inet6, proto, from, to, options");
    } else if keyword(word) && expected.contains(&"a word") {
        out = out.help(format!("`{word}` is a reserved word; as a name it needs quotes"));
    }
    if let Some(list) = expected_list(expected) {
        out = out.help(list);
    }
    out
}

/// Whether a syntax error that pfctl keeps to itself tells a reader something new: the statement is one of its own, not
/// the rest of what the error before has torn apart.
#[must_use]
pub fn is_of_its_own(diagnostic: &Diagnostic, complaint: &Complaint, sources: &Sources) -> bool {
    let line = statement_before(complaint, sources);
    let first = line.split_whitespace().next().unwrap_or_default();
    ACTIONS.contains(&first) || diagnostic.suggestion.is_some()
}

/// A character that pf.conf knows only inside quotes, by its name, and what to write instead.
fn foreign(span: Span, sources: &Sources) -> Option<(String, &'static str)> {
    let file = sources.file(span.file)?;
    let bytes = file.bytes.get(usize::try_from(span.lo).ok()?..)?;
    let bytes = bytes.get(..4).unwrap_or(bytes);
    let c = bytes.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next()).filter(|c| !c.is_ascii())?;
    let advice = match c {
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{2018}' | '\u{2019}' => "quotes are `\"` and `'`",
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "the sign between two addresses is `-`",
        c if c.is_whitespace() => "words are separated by blanks and tabs",
        _ => "letters outside ASCII can stand in quotes and comments alone",
    };
    let name = if c.is_whitespace() || c.is_control() { format!("U+{:04X}", u32::from(c)) } else { format!("`{c}`") };
    Some((name, advice))
}

/// Words a statement begins with.
const ACTIONS: [&str; 10] =
    ["anchor", "antispoof", "block", "include", "load", "match", "pass", "queue", "set", "table"];

/// A first word that is nearly one of those: to the grammar it is the name of a macro, so only `=` may follow.
fn misspelt_action(line: &str, expected: &[&str], bad: Span) -> Option<(Span, String)> {
    let word = line.split_whitespace().next().filter(|_| expected == ["="])?;
    let meant = nearest(word, ACTIONS)?;
    let back = u32::try_from(line.trim_start().len()).ok()?;
    let lo = bad.lo.checked_sub(back)?;
    Some((Span { lo, hi: lo.checked_add(u32::try_from(word.len()).ok()?)?, ..bad }, meant))
}

fn keyword(name: &str) -> bool {
    KEYWORDS.binary_search_by_key(&name, |(word, _)| word).is_ok()
}

/// What could stand there, unless that is half the language.
fn expected_list(expected: &[&str]) -> Option<String> {
    if expected.is_empty() || expected.len() > 8 {
        return None;
    }
    let names: Vec<String> =
        expected.iter().map(|name| if name.contains(' ') { (*name).to_owned() } else { format!("`{name}`") }).collect();
    Some(match names.split_last() {
        Some((last, [])) => format!("expected {last}"),
        Some((last, rest)) => format!("expected {} or {last}", rest.join(", ")),
        None => return None,
    })
}

/// The text of the line before the bad token.
fn statement_before(complaint: &Complaint, sources: &Sources) -> String {
    let Some(file) = sources.file(complaint.span.file) else { return String::new() };
    let end = usize::try_from(complaint.span.lo).unwrap_or(0).min(file.bytes.len());
    let before = file.bytes.get(..end).unwrap_or_default();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
    text::decode(before.get(start..).unwrap_or_default()).into_owned()
}
