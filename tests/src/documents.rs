//! Documents of `--json`, held against what `docs/json.md` says of their kind: every field is documented, and every
//! documented field is there.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::shared::project;

/// Fields of a document: where lists of objects lead, their entries; where objects lead, a dot.
fn fields(value: &Value, at: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) if list.iter().any(Value::is_object) => list.iter().for_each(|v| fields(v, at, into)),
        Value::Object(map) => {
            for (key, value) in map {
                fields(value, &if at.is_empty() { key.clone() } else { format!("{at}.{key}") }, into);
            }
        }
        _ => {
            into.insert(at.to_owned());
        }
    }
}

/// Fields that `docs/json.md` gives for a kind.
fn documented(kind: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(project("docs/json.md")).expect("the document is there");
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            inside = title.split(", ").any(|t| t == kind);
        } else if inside && line.starts_with("| `") {
            let cell = line.split('|').nth(1).unwrap_or_default();
            found.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// Holds a document against its description; gives its kind.
///
/// # Panics
/// When one has a field that the other has not.
pub fn check(document: &Value) -> &str {
    assert_eq!((&document["schema"], &document["version"]), (&"pfload".into(), &1.into()));
    let kind = document["kind"].as_str().expect("a kind");
    let wanted = documented(kind);
    assert!(!wanted.is_empty(), "{kind} is not in docs/json.md");
    let mut got = BTreeSet::new();
    fields(&document["data"], "", &mut got);
    for field in &got {
        let tail = |w: &String| w.strip_suffix('*').is_some_and(|head| field.starts_with(head));
        let head = |w: &String| w.strip_prefix('*').is_some_and(|tail| field.ends_with(tail));
        let null = |w: &String| w.starts_with(&format!("{field}."));
        let known = wanted.contains(field) || wanted.iter().any(|w| tail(w) || head(w) || null(w));
        assert!(known, "{kind}: {field} is not documented");
    }
    for field in wanted.iter().filter(|w| !w.contains('*')) {
        let above = |g: &String| field.starts_with(&format!("{g}."));
        assert!(got.contains(field) || got.iter().any(above), "{kind}: {field} is documented and absent");
    }
    kind
}
