//! Diagnostics for programs: JSON of our own, and SARIF 2.1.0.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Diagnostic, Label, Severity};
use crate::source::Sources;

fn place(label: &Label, sources: &Sources) -> Value {
    let (line, column) = sources.position(label.span.file, label.span.lo);
    let (end_line, end_column) = sources.position(label.span.file, label.span.hi);
    json!({
        "file": &*sources.name(label.span.file),
        "line": line, "column": column, "end_line": end_line, "end_column": end_column,
        "bytes": [label.span.lo, label.span.hi],
        "text": label.text,
    })
}

fn one(diagnostic: &Diagnostic, sources: &Sources) -> Value {
    json!({
        "code": diagnostic.code.to_string(),
        "severity": diagnostic.severity.name(),
        "message": diagnostic.message,
        "primary": diagnostic.primary.as_ref().map(|label| place(label, sources)),
        "secondary": diagnostic.secondary.iter().map(|label| place(label, sources)).collect::<Vec<_>>(),
        "help": diagnostic.help,
        "suggestion": diagnostic.suggestion.as_ref().map(|change| {
            let label = Label { span: change.span, text: change.text.clone() };
            place(&label, sources)
        }),
        "pfctl": diagnostic.pfctl_line(sources),
    })
}

/// An array with one object a diagnostic.
#[must_use]
pub fn json(diagnostics: &[Diagnostic], sources: &Sources) -> Value {
    Value::Array(diagnostics.iter().map(|diagnostic| one(diagnostic, sources)).collect())
}

/// A SARIF log with one run.
#[must_use]
pub fn sarif(diagnostics: &[Diagnostic], sources: &Sources) -> Value {
    let codes: BTreeSet<_> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    let rules: Vec<Value> = codes
        .iter()
        .filter_map(|code| code.info())
        .map(|info| {
            json!({
                "id": info.code.to_string(),
                "shortDescription": { "text": info.title },
                "fullDescription": { "text": info.explanation },
            })
        })
        .collect();
    let results: Vec<Value> = diagnostics.iter().map(|diagnostic| result(diagnostic, sources)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "pfc", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn location(label: &Label, sources: &Sources) -> Value {
    let (line, column) = sources.position(label.span.file, label.span.lo);
    let (end_line, end_column) = sources.position(label.span.file, label.span.hi);
    let message = if label.text.is_empty() { json!(null) } else { json!({ "text": label.text }) };
    let mut out = json!({ "physicalLocation": {
        "artifactLocation": { "uri": &*sources.name(label.span.file) },
        "region": { "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column },
    }});
    if let (Some(map), false) = (out.as_object_mut(), message.is_null()) {
        map.insert("message".to_owned(), message);
    }
    out
}

fn result(diagnostic: &Diagnostic, sources: &Sources) -> Value {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let mut text = diagnostic.message.clone();
    for help in &diagnostic.help {
        text.push('\n');
        text.push_str(help);
    }
    json!({
        "ruleId": diagnostic.code.to_string(),
        "level": level,
        "message": { "text": text },
        "locations": diagnostic.primary.iter().map(|label| location(label, sources)).collect::<Vec<_>>(),
        "relatedLocations": diagnostic.secondary.iter().map(|label| location(label, sources)).collect::<Vec<_>>(),
    })
}
