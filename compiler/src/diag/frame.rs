//! Code frames: the message, the lines it is about, and carets under the words.

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Patch, Renderer, Snippet};

use super::fold::is_echo;
use super::{Diagnostic, Label, Severity};
use crate::ast::{FileId, Span};
use crate::source::Sources;

/// Bytes of a file shown around a message at most.
const WINDOW: usize = 16 << 10;

/// Lines of a file with the place they come from.
struct Window {
    file: FileId,
    start: usize,
    line: usize,
    text: String,
}

/// A diagnostic as a code frame, with colours as escape sequences: write it through `anstream`, which drops them where
/// they are not wanted (`NO_COLOR`, files, pipes).
#[must_use]
pub fn frame(diagnostic: &Diagnostic, sources: &Sources) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let labels: Vec<(&Label, AnnotationKind)> = diagnostic
        .primary
        .iter()
        .map(|label| (label, AnnotationKind::Primary))
        .chain(diagnostic.secondary.iter().map(|label| (label, AnnotationKind::Context)))
        .collect();
    let windows = windows(&labels, sources);
    let code = diagnostic.code.to_string();
    let title = level.primary_title(diagnostic.message.as_str()).id(code.as_str());
    let mut group = Group::with_title(title);
    let names: Vec<_> = windows.iter().map(|window| sources.name(window.file)).collect();
    for (window, name) in windows.iter().zip(&names) {
        let here = labels.iter().filter(|(label, _)| window.holds(label.span));
        let marks = here.map(|(label, kind)| -> Annotation<'_> {
            let mark = kind.span(window.range(label.span));
            if label.text.is_empty() { mark } else { mark.label(label.text.as_str()) }
        });
        let snippet = Snippet::source(window.text.as_str()).line_start(window.line).path(&**name).annotations(marks);
        group = group.element(snippet);
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let mut report = vec![group];
    let patched = diagnostic.suggestion.as_ref().and_then(|change| {
        let label = Label { span: change.span, text: String::new() };
        let window = self::windows(&[(&label, AnnotationKind::Primary)], sources).pop()?;
        Some((change, window))
    });
    let path = patched.as_ref().map(|(change, _)| sources.name(change.span.file));
    if let (Some((change, window)), Some(path)) = (&patched, &path) {
        let range = window.range(change.span);
        let snippet = Snippet::source(window.text.as_str())
            .line_start(window.line)
            .path(&**path)
            .patch(Patch::new(range, change.text.as_str()));
        report.push(Group::with_title(Level::HELP.secondary_title("did you mean this?")).element(snippet));
    }
    Renderer::styled().render(&report)
}

/// Several of them, an empty line between.
#[must_use]
pub fn frames<'d>(diagnostics: impl IntoIterator<Item = &'d Diagnostic>, sources: &Sources) -> String {
    let mut out = String::new();
    let mut before: Option<&Diagnostic> = None;
    for diagnostic in diagnostics {
        if is_echo(diagnostic, before) {
            continue;
        }
        before = Some(diagnostic);
        out.push_str(&frame(diagnostic, sources));
        out.push_str("\n\n");
    }
    out
}

/// For each file the lines around its labels, in order of the labels.
fn windows(labels: &[(&Label, AnnotationKind)], sources: &Sources) -> Vec<Window> {
    let mut files: Vec<(FileId, u32, u32)> = Vec::new();
    for Label { span, .. } in labels.iter().map(|(label, _)| label) {
        match files.iter_mut().find(|(file, ..)| *file == span.file) {
            Some((_, lo, hi)) => {
                let (from, to) = ((*lo).min(span.lo), (*hi).max(span.hi));
                if usize::try_from(to.saturating_sub(from)).is_ok_and(|size| size <= WINDOW) {
                    (*lo, *hi) = (from, to);
                }
            }
            None => files.push((span.file, span.lo, span.hi)),
        }
    }
    files.into_iter().filter_map(|(file, lo, hi)| Window::new(file, lo, hi, sources)).collect()
}

impl Window {
    fn new(file: FileId, lo: u32, hi: u32, sources: &Sources) -> Option<Window> {
        let bytes = &sources.file(file)?.bytes;
        let lo = usize::try_from(lo).ok()?.min(bytes.len());
        let hi = usize::try_from(hi).ok()?.clamp(lo, bytes.len()).min(lo.saturating_add(WINDOW));
        let before = bytes.get(..lo)?;
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
        let start = line_start.max(lo.saturating_sub(WINDOW));
        let after = bytes.get(hi..)?;
        let rest = after.iter().take(WINDOW).position(|byte| *byte == b'\n').unwrap_or(after.len().min(WINDOW));
        let line = before.get(..line_start)?.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
        let text = printable(bytes.get(start..hi.saturating_add(rest))?);
        Some(Window { file, start, line, text })
    }

    fn holds(&self, span: Span) -> bool {
        span.file == self.file
            && usize::try_from(span.lo)
                .is_ok_and(|lo| lo >= self.start && lo <= self.start.saturating_add(self.text.len()))
    }

    /// The span inside the window's text, on the borders of its characters.
    fn range(&self, span: Span) -> std::ops::Range<usize> {
        let inside = |at: u32| {
            let at = usize::try_from(at).unwrap_or(usize::MAX).saturating_sub(self.start).min(self.text.len());
            (0..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
        };
        let (lo, hi) = (inside(span.lo), inside(span.hi));
        lo..hi.max(lo)
    }
}

/// Text of the same length in bytes, with what is no text replaced.
fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.extend(chunk.valid().chars().map(|c| if c.is_ascii_control() && c != '\n' && c != '\t' { ' ' } else { c }));
        out.extend(chunk.invalid().iter().map(|_| '?'));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::from_complaint;
    use crate::parse::{Item, Parser};

    fn plain(input: &[u8]) -> String {
        let mut sources = Sources::new(Box::new(crate::source::Memory::default()));
        let main = sources.add("pf.conf", input);
        let mut complaints = Vec::new();
        let mut parser = Parser::new(&mut sources, main);
        while let Some(item) = parser.next() {
            match item {
                Item::Broken(broken) => complaints.extend(broken.complaints),
                Item::Complaint(complaint) => complaints.push(complaint),
                Item::Stmt(_) => {}
            }
        }
        let macros: Vec<String> = parser.macro_names().collect();
        let list: Vec<_> = complaints.iter().map(|one| from_complaint(one, &sources, &macros)).collect();
        anstream::adapter::strip_str(&frames(&list, &sources)).to_string()
    }

    #[test]
    fn a_misspelt_word_is_shown_and_mended() {
        let want = "\
error[PF0001]: syntax error: unexpected `qiuck`
 --> pf.conf:2:9
  |
2 | pass in qiuck on em0
  |         ^^^^^
  |
help: did you mean this?
  |
2 - pass in qiuck on em0
2 + pass in quick on em0
  |

";
        assert_eq!(plain(b"block\npass in qiuck on em0\n"), want);
    }

    #[test]
    fn macros_are_shown_where_they_are_used() {
        let want = "\
error[PF0001]: syntax error: unexpected `bogus`
 --> pf.conf:2:12
  |
2 | pass on lo $x
  |            ^^

";
        assert_eq!(plain(b"x = \"proto tcp bogus\"\npass on lo $x\n"), want);
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let text = plain(b"pass in \xff\xfe quick\npass \x1b[31m\n\"\x00");
        assert!(text.contains("pass in ?? quick"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn stale_spans_do_no_harm() {
        let mut sources = Sources::new(Box::new(crate::source::Memory::default()));
        let file = sources.add("x", "short");
        for (lo, hi) in [(0, 0), (4, 900), (900, 2), (u32::MAX, u32::MAX)] {
            let far = Diagnostic::new(Severity::Note, crate::diag::codes::OTHER, "m").at(Span { file, lo, hi }, "here");
            let gone = Diagnostic::new(Severity::Note, crate::diag::codes::OTHER, "m")
                .at(Span { file: FileId(7), lo, hi }, "here")
                .suggest(Span { file, lo, hi }, "x");
            assert!(!frames([&far, &gone], &sources).is_empty());
        }
    }
}
