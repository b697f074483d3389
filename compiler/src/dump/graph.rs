//! The control flow of an image's code as a graph in the DOT language (`dot -Tsvg`).

use std::collections::BTreeSet;
use std::fmt::Write;

use pfvm::isa::{Flow, Op};

use super::code::Listing;

/// A text inside a DOT string.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Where control goes after the word at `pc`, with what makes it go there.
fn ways(listing: &Listing, pc: usize, op: Op) -> Vec<(usize, &'static str)> {
    let next = pc.saturating_add(1);
    let far = op.distance().and_then(|d| usize::try_from(d).ok()).map(|d| next.saturating_add(d));
    match op.flow() {
        Flow::Next => vec![(next, "")],
        Flow::End => Vec::new(),
        Flow::Jump => far.map(|to| (to, "")).into_iter().collect(),
        Flow::Test => [Some((next, "yes")), far.map(|to| (to, "no"))].into_iter().flatten().collect(),
        Flow::Fan => {
            let targets = op.fan().and_then(|id| usize::try_from(id.0).ok()).and_then(|id| listing.targets.get(id));
            let found: BTreeSet<u32> = targets.into_iter().flatten().copied().collect();
            let mut out: Vec<_> = vec![(next, "absent")];
            out.extend(found.iter().filter_map(|d| usize::try_from(*d).ok()).map(|d| (next.saturating_add(d), "")));
            out
        }
    }
}

impl Listing {
    /// The graph of the code: one box a run of words that is always entered at its top.
    #[must_use]
    pub fn graph(&self) -> String {
        let ops: Vec<Option<Op>> = self.code.iter().map(|word| Op::decode(*word).ok()).collect();
        let mut heads = BTreeSet::from([0]);
        for (pc, op) in ops.iter().enumerate() {
            let Some(op) = op else { continue };
            if op.flow() != Flow::Next {
                heads.insert(pc.saturating_add(1));
                heads.extend(ways(self, pc, *op).into_iter().map(|(to, _)| to));
            }
        }
        let mut out = String::from("digraph code {\n  node [shape=box, fontname=monospace];\n");
        let heads: Vec<usize> = heads.into_iter().filter(|head| *head < ops.len()).collect();
        for (index, head) in heads.iter().enumerate() {
            let end = heads.get(index + 1).copied().unwrap_or(ops.len());
            let mut label = String::new();
            for (pc, op) in ops.iter().enumerate().take(end).skip(*head) {
                let text = op.map_or_else(|| "?".to_owned(), |op| op.to_string());
                let note = self.note(&text);
                let note = if note.is_empty() { note } else { format!("  ; {note}") };
                let _ = write!(label, "{pc}  {}\\l", quoted(&format!("{text}{note}")));
            }
            let _ = writeln!(out, "  n{head} [label=\"{label}\"];");
            let last = end.saturating_sub(1);
            if let Some(Some(op)) = ops.get(last) {
                for (to, why) in ways(self, last, *op) {
                    let _ = writeln!(out, "  n{head} -> n{to} [label=\"{why}\"];");
                }
            }
        }
        out.push_str("}\n");
        out
    }
}
