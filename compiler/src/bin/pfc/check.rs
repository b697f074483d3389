//! `pfc check`, and how messages are shown.

use std::io::Write;

use std::collections::HashSet;

use pfc::compile::{compile, lints};
use pfc::diag::{self, Diagnostic, Severity};
use pfc::lint::Lint;
use pfc::source::Sources;

use crate::args::Check;
use crate::{Exit, complain, input, print};

/// Errors and warnings, counted.
fn counts(diagnostics: &[Diagnostic]) -> (usize, usize) {
    let of = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    (of(Severity::Error), of(Severity::Warning))
}

/// `1 error`, `2 errors`.
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// `1 error and 2 warnings`.
fn sum(errors: usize, warnings: usize) -> String {
    match (errors, warnings) {
        (0, 0) => "no errors, no warnings".into(),
        (0, w) => count(w, "warning"),
        (e, 0) => count(e, "error"),
        (e, w) => format!("{} and {}", count(e, "error"), count(w, "warning")),
    }
}

/// Shows code frames on standard error, and what they come to when there are several.
pub(crate) fn report(diagnostics: &[Diagnostic], sources: &Sources) {
    if diagnostics.is_empty() {
        return;
    }
    let (errors, warnings) = counts(diagnostics);
    let mut text = diag::frames(diagnostics, sources);
    if let Some(first) = diagnostics.iter().find(|d| d.severity == Severity::Error).or(diagnostics.first()) {
        text.push_str(&format!("{}; `pfc explain {}` tells more\n", sum(errors, warnings), first.code));
    }
    // Where standard error is gone, nobody is left to tell.
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Lints by name or code.
fn allowed(words: &[String]) -> Result<HashSet<Lint>, Exit> {
    let find = |word: &String| {
        Lint::find(word).ok_or_else(|| {
            let known: Vec<_> = Lint::ALL.iter().map(|lint| lint.name()).collect();
            complain(&format!("no lint `{word}`; there are {}", known.join(", ")));
            Exit::Usage
        })
    };
    words.iter().map(find).collect()
}

fn check(args: &Check) -> Result<Exit, Exit> {
    let facts = input::facts(args.input.host_facts.as_deref())?;
    let (mut sources, file) = input::rules(&args.input.file)?;
    let options = input::options(&args.input)?;
    let mut outcome = compile(&mut sources, file, &facts, &options).folded();
    let allowed = allowed(&args.allow)?;
    if outcome.compiled.is_some() && !args.no_lints {
        outcome.diagnostics.extend(lints(&mut sources, file, &facts, &options, &allowed));
    }
    let (errors, warnings) = counts(&outcome.diagnostics);
    let shown = if args.json {
        print(&format!("{:#}\n", diag::json(&outcome.diagnostics, &sources)))
    } else if args.sarif {
        print(&format!("{:#}\n", diag::sarif(&outcome.diagnostics, &sources)))
    } else {
        report(&outcome.diagnostics, &sources);
        let rules = outcome.compiled.as_ref().map(|c| c.stats.rules);
        match rules {
            Some(rules) => {
                print(&format!("{}: {}, {}\n", args.input.file, count(rules, "rule"), sum(errors, warnings)))
            }
            None => Exit::Done,
        }
    };
    if shown != Exit::Done {
        return Err(shown);
    }
    Ok(match outcome.compiled {
        None => Exit::Rules,
        Some(_) if args.deny_warnings && warnings > 0 => Exit::Findings,
        Some(_) => Exit::Done,
    })
}

pub(crate) fn run(args: &Check) -> Exit {
    check(args).unwrap_or_else(|exit| exit)
}
