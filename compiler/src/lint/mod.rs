//! Lints: rules that are legal and yet not what their author meant.
//!
//! Every lint has a code, a name and a line of reason in one table ([`Lint`]); each can be turned off by
//! name or code, for a run or for one statement by a comment `# pfc: allow(name)` on its line or on the line above.
//! **Invariant:** a lint never changes what is compiled, and none fires on what it cannot see: where the answer depends on
//! run time (tables, tags, other anchors), the rule is taken to be meant.

mod contain;
mod pairs;
mod single;
mod whole;

use crate::facts::Facts;
use crate::ruleset::{Config, Place, Rule, Ruleset};
use std::collections::HashSet;

/// Declares the lints.
macro_rules! lints {
    ($($(#[$doc:meta])* $id:ident $code:literal $name:literal $why:literal;)*) => {
        /// A lint.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Lint { $($(#[$doc])* $id,)* }
        impl Lint {
            /// All of them, by code.
            pub const ALL: &'static [Lint] = &[$(Lint::$id,)*];
            /// Its stable code.
            #[must_use]
            pub const fn code(self) -> &'static str { match self { $(Lint::$id => $code,)* } }
            /// Its name, as `# pfc: allow(…)` takes it.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Lint::$id => $name,)* } }
            /// Why it exists and what to do.
            #[must_use]
            pub const fn explanation(self) -> &'static str { match self { $(Lint::$id => $why,)* } }
        }
    };
}
lints! {
    /// A later rule always overrides it.
    ShadowedRule "PF3001" "shadowed-rule"
        "The last matching rule decides, and a later rule matches everything this one does: this rule never decides. Move it below the other, or make it `quick`.";
    /// An earlier `quick` rule always ends evaluation first.
    UnreachableRule "PF3002" "unreachable-rule"
        "An earlier `quick` rule matches everything this one does, so evaluation never gets here. Move this rule up, or narrow the other.";
    /// The same rule stands twice.
    DuplicateRule "PF3003" "duplicate-rule"
        "The same rule stands twice in this ruleset. One of them is enough.";
    /// No packet can match it.
    ImpossibleRule "PF3004" "impossible-rule"
        "No packet can match this rule: its family, interface, flags or ports contradict each other or what pf normalises away first.";
    /// Passes without any block.
    NoBlock "PF3005" "no-block"
        "Packets that match no rule pass. Without a single `block` rule the whole ruleset lets everything through; start with `block`.";
    /// A redirection that nothing lets in.
    RdrWithoutPass "PF3006" "rdr-without-pass"
        "A `match … rdr-to` only rewrites the destination. No later rule passes packets to the new destination, so they are dropped; add a `pass` to it.";
    /// Translation ports that the host itself uses.
    NatPortsOverlap "PF3007" "nat-ports-overlap"
        "Translated connections would share ports with the host's own dynamic port range on the same address. Choose ports below it.";
    /// A table that can never match.
    EmptyTable "PF3008" "empty-table"
        "The table is `const` and empty: no address is ever in it.";
    /// A table nobody reads.
    UnusedTable "PF3009" "unused-table"
        "No rule uses the table, and without `persist` it vanishes at once.";
    /// A macro nobody uses.
    UnusedMacro "PF3010" "unused-macro"
        "The macro is defined and never used; often its name is misspelt where it should be.";
    /// Everything may come in from outside.
    AnyToAny "PF3011" "any-to-any"
        "The rule lets any host reach any host and port through an external interface.";
    /// State options where no state is made.
    StatelessOptions "PF3012" "stateless-options"
        "State options have no effect here: the rule makes no state of the kind they speak of.";
    /// A fixed address where it may change.
    AntispoofDhcp "PF3013" "antispoof-dhcp"
        "The interface gets its address from DHCP; `antispoof for em0` keeps the one it has now. Write `antispoof for (em0)` to follow changes.";
}

impl Lint {
    /// Finds a lint by name or code.
    #[must_use]
    pub fn find(word: &str) -> Option<Lint> {
        Lint::ALL.iter().copied().find(|l| l.name() == word || l.code().eq_ignore_ascii_case(word))
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

/// Lints allowed by comments: for each line of `text` (from 1), those that `# pfc: allow(a, b)` on it names.
///
/// Words that name no lint come back with their line, to be complained about.
#[must_use]
pub fn allowances(text: &str) -> (HashSet<(u32, Lint)>, Vec<(u32, String)>) {
    let (mut allowed, mut unknown) = (HashSet::new(), Vec::new());
    for (line, content) in (1u32..).zip(text.lines()) {
        let Some(list) = content.split_once('#').and_then(|(_, comment)| comment.trim_start().strip_prefix("pfc:")) else {
            continue;
        };
        let Some(words) = list.trim_start().strip_prefix("allow(").and_then(|w| w.split_once(')')) else { continue };
        for word in words.0.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            match Lint::find(word) {
                Some(lint) => {
                    allowed.insert((line, lint));
                }
                None => unknown.push((line, word.to_owned())),
            }
        }
    }
    (allowed, unknown)
}

/// Drops findings that a comment on their line or the line above allows.
pub fn apply_allowances(found: &mut Vec<Finding>, file: &str, allowed: &HashSet<(u32, Lint)>) {
    found.retain(|f| {
        let line = f.place.line;
        &*f.place.file != file
            || !(allowed.contains(&(line, f.lint)) || line > 1 && allowed.contains(&(line - 1, f.lint)))
    });
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
        let (allowed, unknown) = allowances("pass # pfc: allow(no-block, PF3011)\n#pfc: allow(typo)\n# pfc allow(no-block)\n");
        assert_eq!(allowed, HashSet::from([(1, Lint::NoBlock), (1, Lint::AnyToAny)]));
        assert_eq!(unknown, [(2, "typo".to_owned())]);
        let place = |line| Place { file: "f".into(), line, span: (0, 0) };
        let mut found: Vec<_> = [1, 2, 3].map(|l| Finding::new(Lint::NoBlock, &place(l), "x")).into();
        apply_allowances(&mut found, "f", &allowed);
        assert_eq!(found.iter().map(|f| f.place.line).collect::<Vec<_>>(), [3]);
    }
}
