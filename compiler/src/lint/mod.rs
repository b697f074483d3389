//! Lints: rules that are legal and yet not what their author meant.
//!
//! Every lint has a code, a name and a line of reason in one table ([`Lint`]); each can be turned off by
//! name or code, for a run or for one statement by a comment `# pfc: allow(name)` on its line or on the line above.
//! **Invariant:** a lint never changes what is compiled, and none fires on what it cannot see: where the answer depends on
//! run time (tables, tags, other anchors), the rule is taken to be meant.

mod contain;
mod pairs;
mod reflection;
mod single;
mod whole;

use crate::ast::{FileId, Span};
use crate::diag::{Code, Diagnostic, Severity, codes, nearest};
use crate::facts::Facts;
use crate::ruleset::{Config, Place, Rule, Ruleset};
use crate::source::Sources;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Declares the lints.
macro_rules! lints {
    ($($(#[$doc:meta])* $id:ident $code:ident $name:literal;)*) => {
        /// A lint.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Lint { $($(#[$doc])* $id,)* }
        impl Lint {
            /// All of them, by code.
            pub const ALL: &'static [Lint] = &[$(Lint::$id,)*];
            /// Its stable code, whose explanation says why it exists.
            #[must_use]
            pub const fn code(self) -> Code { match self { $(Lint::$id => codes::$code,)* } }
            /// Its name, as `# pfc: allow(…)` takes it.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Lint::$id => $name,)* } }
        }
    };
}
lints! {
    /// A later rule always overrides it.
    ShadowedRule LINT_SHADOWED "shadowed-rule";
    /// An earlier `quick` rule always ends evaluation first.
    UnreachableRule LINT_UNREACHABLE "unreachable-rule";
    /// The same rule stands twice.
    DuplicateRule LINT_DUPLICATE "duplicate-rule";
    /// No packet can match it.
    ImpossibleRule LINT_NO_MATCH "impossible-rule";
    /// Passes without any block.
    NoBlock LINT_NO_BLOCK "no-block";
    /// A redirection that nothing lets in.
    RdrWithoutPass LINT_RDR_NO_PASS "rdr-without-pass";
    /// Translation ports that the host itself uses.
    NatPortsOverlap LINT_NAT_PORTS "nat-ports-overlap";
    /// A table that can never match, or that nobody reads.
    IdleTable LINT_TABLE "idle-table";
    /// A macro nobody uses.
    UnusedMacro LINT_MACRO "unused-macro";
    /// Everything may come in from outside.
    AnyToAny LINT_ANY "any-to-any";
    /// State options where no state is made.
    StatelessOptions LINT_STATE_OPTIONS "stateless-options";
    /// A fixed address where it may change.
    AntispoofDhcp LINT_ANTISPOOF "antispoof-dhcp";
    /// A published server that its own network cannot reach by the published address.
    RdrWithoutReflection LINT_REFLECTION "rdr-without-reflection";
}

impl Lint {
    /// Finds a lint by name or code.
    #[must_use]
    pub fn find(word: &str) -> Option<Lint> {
        Lint::ALL.iter().copied().find(|l| l.name() == word || l.code().to_string().eq_ignore_ascii_case(word))
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which lint.
    pub lint: Lint,
    /// Where.
    pub place: Place,
    /// What, in a line.
    pub message: String,
    /// Another place that explains it, with a few words.
    pub related: Option<(Place, &'static str)>,
}

impl Finding {
    fn new(lint: Lint, place: &Place, message: impl Into<String>) -> Self {
        Finding { lint, place: place.clone(), message: message.into(), related: None }
    }

    fn with(mut self, place: &Place, words: &'static str) -> Self {
        self.related = Some((place.clone(), words));
        self
    }
}

/// Looks at a configuration with every lint that is not in `off`; findings in order of place.
#[must_use]
pub fn check(config: &Config, facts: &Facts, off: &HashSet<Lint>) -> Vec<Finding> {
    let mut found = Vec::new();
    whole::check(config, facts, &mut found);
    each_ruleset(&config.main, &mut |ruleset| {
        pairs::check(&ruleset.rules, &mut found);
        for rule in &ruleset.rules {
            single::check(rule, config, facts, &mut found);
        }
    });
    found.retain(|f| !off.contains(&f.lint));
    found.sort_by(|a, b| (&a.place.file, a.place.line, a.lint).cmp(&(&b.place.file, b.place.line, b.lint)));
    found.dedup_by(|a, b| a.lint == b.lint && a.place == b.place);
    found
}

/// Calls `f` for a ruleset and those written inline in it.
fn each_ruleset<'c>(ruleset: &'c Ruleset, f: &mut dyn FnMut(&'c Ruleset)) {
    let mut todo = vec![ruleset];
    while let Some(r) = todo.pop() {
        f(r);
        todo.extend(r.rules.iter().rev().filter_map(inline));
    }
}

fn inline(rule: &Rule) -> Option<&Ruleset> {
    rule.anchor.as_ref()?.inline.as_deref()
}

/// What the comments of one file allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    /// Lines, from 1, with the lints allowed on them and on the next line.
    pub lints: HashSet<(u32, Lint)>,
    /// Words that name no lint, with their lines.
    pub unknown: Vec<(u32, String)>,
}

impl Allowances {
    /// Reads the comments `# pfc: allow(a, b)` of a file.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut found = Self::default();
        for (line, content) in (1u32..).zip(text.lines()) {
            for word in allowed_words(content) {
                match Lint::find(word) {
                    Some(lint) => drop(found.lints.insert((line, lint))),
                    None => found.unknown.push((line, word.to_owned())),
                }
            }
        }
        found
    }

    /// Whether a lint may not fire on a line.
    #[must_use]
    pub fn covers(&self, line: u32, lint: Lint) -> bool {
        self.lints.contains(&(line, lint)) || line > 1 && self.lints.contains(&(line - 1, lint))
    }
}

/// The words inside the parentheses of an allowing comment.
fn allowed_words(line: &str) -> impl Iterator<Item = &str> {
    let comment = line.split_once('#').and_then(|(_, c)| c.trim_start().strip_prefix("pfc:"));
    let list = comment.and_then(|c| c.trim_start().strip_prefix("allow(")).and_then(|c| c.split_once(')'));
    list.map_or("", |l| l.0).split(',').map(str::trim).filter(|w| !w.is_empty())
}

/// Lints a configuration and shows what the comments of its files do not allow.
#[must_use]
pub fn diagnose(config: &Config, facts: &Facts, sources: &Sources, off: &HashSet<Lint>) -> Vec<Diagnostic> {
    let mut files: HashMap<Arc<str>, (FileId, Allowances)> = HashMap::new();
    let mut out = Vec::new();
    for id in (0..u32::try_from(sources.len()).unwrap_or(u32::MAX)).map(FileId) {
        let text = sources.file(id).map(|f| String::from_utf8_lossy(&f.bytes).into_owned()).unwrap_or_default();
        let allowances = Allowances::read(&text);
        out.extend(allowances.unknown.iter().map(|(line, word)| unknown_name(id, *line, word)));
        files.entry(sources.name(id)).or_insert((id, allowances));
    }
    let span = |p: &Place| {
        let file = files.get(&p.file).map_or(FileId(u32::MAX), |f| f.0);
        Span { file, lo: p.span.0, hi: p.span.1 }
    };
    for found in check(config, facts, off) {
        let file = files.get(&found.place.file);
        if file.is_some_and(|(_, a)| a.covers(found.place.line, found.lint)) {
            continue;
        }
        let mut shown = Diagnostic::new(Severity::Warning, found.lint.code(), found.message.clone());
        shown = shown.at(span(&found.place), "").help(format!("`# pfc: allow({})` silences this", found.lint.name()));
        shown.place = file.map(|(id, _)| (*id, found.place.line));
        if let Some((place, words)) = &found.related {
            shown = shown.also(span(place), *words);
        }
        out.push(shown);
    }
    out
}

fn unknown_name(file: FileId, line: u32, word: &str) -> Diagnostic {
    let mut note = Diagnostic::new(Severity::Warning, codes::OTHER, format!("`{word}` names no lint"));
    note.place = Some((file, line));
    match nearest(word, Lint::ALL.iter().map(|l| l.name())) {
        Some(name) => note.help(format!("did you mean `{name}`?")),
        None => note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_distinct() {
        let codes: HashSet<_> = Lint::ALL.iter().map(|l| l.code()).collect();
        let names: HashSet<_> = Lint::ALL.iter().map(|l| l.name()).collect();
        assert_eq!((codes.len(), names.len()), (Lint::ALL.len(), Lint::ALL.len()));
        assert_eq!(Lint::find("pf3005"), Some(Lint::NoBlock));
        assert_eq!(Lint::find("no-such"), None);
    }

    #[test]
    fn comments_allow() {
        let read = Allowances::read("pass # pfc: allow(no-block, PF3010)\n#pfc: allow(typo)\n# pfc allow(no-block)\n");
        assert_eq!(read.lints, HashSet::from([(1, Lint::NoBlock), (1, Lint::AnyToAny)]));
        assert_eq!(read.unknown, [(2, "typo".to_owned())]);
        assert_eq!([1, 2, 3].map(|l| read.covers(l, Lint::NoBlock)), [true, true, false]);
    }
}
