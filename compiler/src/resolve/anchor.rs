//! Anchors while a file is read: where rules and tables go, and what an inline anchor's name turns out to be.
//!
//! The rules of an inline anchor are read before pfctl knows what it is called: it puts them in a holding ruleset
//! `_N` and moves them when the closing brace has been read. Names and collisions follow from that, so it is kept.
//!
//! Source: `parse.y anchorrule`, `pfa_anchor`, `mv_rules`; `pf_ruleset.c pf_anchor_setup`.

use std::collections::{BTreeMap, VecDeque};

use crate::ruleset::{AnchorCall, Rule, Ruleset, Table};
use crate::source::text::byte_len;

/// Names of anchors are shorter.
pub(crate) const NAME_SIZE: usize = 64;
/// Paths of anchors are shorter.
pub(crate) const PATH_SIZE: usize = 1024;
/// Inline anchors nest less deep.
pub(crate) const DEPTH: usize = 64;

/// A ruleset by its place in [`Anchors`].
pub(crate) type NodeId = usize;

/// What an anchor rule calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AnchorRef {
    /// A ruleset written inline.
    Inline(NodeId),
    /// A path as written.
    Path(String),
}

/// A ruleset with the rules it has so far.
#[derive(Debug, Default)]
struct Node {
    name: String,
    path: String,
    /// Rules ever added: pfctl's `match` counter, which numbers them.
    count: u32,
    rules: VecDeque<(Rule, Option<AnchorRef>)>,
    tables: Vec<Table>,
}

/// All rulesets of a file.
#[derive(Debug)]
pub(crate) struct Anchors {
    nodes: Vec<Node>,
    by_path: BTreeMap<String, NodeId>,
    /// Rulesets open at each depth; the entry above `depth` is the one just closed.
    stack: Vec<Option<NodeId>>,
    depth: usize,
    /// Where rules go. Differs from the top of the stack after an error inside an inline anchor.
    current: NodeId,
    last: Option<NodeId>,
    braces: u32,
}

/// Why an inline anchor cannot be placed.
pub(crate) enum Misplaced {
    /// One of this name has rules.
    Exists(String),
    /// Its name or path cannot be.
    Impossible,
}

impl Anchors {
    /// The ruleset of a file loaded into `path`.
    pub(crate) fn new(path: &str) -> Self {
        let name = path.rfind('/').map_or(path, |at| path.get(at..).unwrap_or_default());
        let root = Node { name: name.to_owned(), path: path.to_owned(), ..Node::default() };
        Anchors {
            nodes: vec![root],
            by_path: BTreeMap::new(),
            stack: vec![Some(0), None],
            depth: 0,
            current: 0,
            last: None,
            braces: 0,
        }
    }

    fn node(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id)
    }

    /// Path of the ruleset rules go to.
    pub(crate) fn path(&self) -> &str {
        self.nodes.get(self.current).map_or("", |n| n.path.as_str())
    }

    /// Whether rules go to the main ruleset.
    pub(crate) fn in_main(&self) -> bool {
        self.nodes.get(self.current).is_none_or(|n| n.name.is_empty())
    }

    /// Inside an inline anchor, as pfctl counts: an error leaves it there.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Whether a block was closed (or left by an error) just above.
    pub(crate) fn has_block(&self) -> bool {
        self.stack.get(self.depth.saturating_add(1)).copied().flatten().is_some()
    }

    /// Opens an inline anchor; false when too deep.
    pub(crate) fn open(&mut self) -> bool {
        self.depth = self.depth.saturating_add(1);
        if self.depth >= DEPTH {
            return false;
        }
        self.braces = self.braces.saturating_add(1);
        let holding = self.find_or_create(&format!("_{}", self.braces));
        while self.stack.len() < self.depth.saturating_add(2) {
            self.stack.push(None);
        }
        if let Some(slot) = self.stack.get_mut(self.depth) {
            *slot = holding;
        }
        self.current = holding.unwrap_or(0);
        true
    }

    /// Closes it.
    pub(crate) fn close(&mut self) {
        self.last = Some(self.current);
        self.depth = self.depth.saturating_sub(1);
        self.current = self.stack.get(self.depth).copied().flatten().unwrap_or(0);
    }

    /// The anchor rule is done: what follows is no part of its block.
    pub(crate) fn finish(&mut self) {
        if let Some(slot) = self.stack.get_mut(self.depth.saturating_add(1)) {
            *slot = None;
        }
    }

    /// Moves the block just closed to where its name says.
    pub(crate) fn place(&mut self, name: Option<&str>) -> Result<NodeId, Misplaced> {
        let Some(last) = self.last else { return Err(Misplaced::Impossible) };
        let own = self.nodes.get(last).map(|n| n.name.clone()).unwrap_or_default();
        let name = name.unwrap_or(&own);
        let above = self.stack.get(self.depth).copied().flatten().unwrap_or(0);
        let base = self.nodes.get(above).map(|n| n.path.clone()).unwrap_or_default();
        let path = if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") };
        let path = path.strip_suffix("/*").unwrap_or(&path).to_owned();
        let target = self.find_or_create(&path).ok_or(Misplaced::Impossible)?;
        if target != last {
            let held = self.node(last).map(std::mem::take).unwrap_or_default();
            if let Some(node) = self.nodes.get_mut(last) {
                node.name.clone_from(&held.name);
                node.path.clone_from(&held.path);
            }
            let Some(node) = self.nodes.get_mut(target) else { return Err(Misplaced::Impossible) };
            if node.count > 0 {
                let name = node.name.clone();
                if let Some(node) = self.nodes.get_mut(last) {
                    *node = held;
                }
                return Err(Misplaced::Exists(name));
            }
            node.count = u32::try_from(held.rules.len()).unwrap_or(u32::MAX);
            node.rules.extend(held.rules);
            node.tables.extend(held.tables);
        }
        self.last = Some(target);
        Ok(target)
    }

    fn find_or_create(&mut self, path: &str) -> Option<NodeId> {
        let path = path.trim_start_matches('/');
        if path.is_empty() || byte_len(path) >= PATH_SIZE {
            return None;
        }
        if let Some(id) = self.by_path.get(path) {
            return Some(*id);
        }
        let (parent, name) = path.rsplit_once('/').map_or(("", path), |(p, n)| (p, n));
        if name.is_empty() || byte_len(name) >= NAME_SIZE {
            return None;
        }
        if !parent.is_empty() {
            self.find_or_create(parent)?;
        }
        let id = self.nodes.len();
        self.nodes.push(Node { name: name.to_owned(), path: path.to_owned(), ..Node::default() });
        self.by_path.insert(path.to_owned(), id);
        Some(id)
    }

    /// Adds a rule where rules go now. It is numbered by the ruleset at the top of the stack.
    pub(crate) fn add_rule(&mut self, mut rule: Rule, anchor: Option<AnchorRef>) {
        let top = self.stack.get(self.depth).copied().flatten().unwrap_or(0);
        if let Some(node) = self.nodes.get_mut(top) {
            rule.nr = node.count;
            node.count = node.count.saturating_add(1);
        }
        let current = self.current;
        if let Some(node) = self.node(current) {
            node.rules.push_back((rule, anchor));
        }
    }

    /// Adds a table where rules go now.
    pub(crate) fn add_table(&mut self, table: Table) {
        let current = self.current;
        if let Some(node) = self.node(current) {
            node.tables.push(table);
        }
    }

    /// Adds a table of a pool: those belong to the ruleset the file is loaded into.
    pub(crate) fn add_automatic(&mut self, table: Table) {
        if let Some(root) = self.nodes.first_mut() {
            root.tables.push(table);
        }
    }

    /// The rulesets as a tree, in the order pfctl loads them.
    pub(crate) fn into_tree(mut self) -> Ruleset {
        let path = self.nodes.first().map(|n| n.path.trim_start_matches('/').to_owned()).unwrap_or_default();
        self.take(0, path, 0)
    }

    fn take(&mut self, id: NodeId, path: String, depth: usize) -> Ruleset {
        let mut set = Ruleset { path, ..Ruleset::default() };
        set.tables = self.node(id).map(|n| std::mem::take(&mut n.tables)).unwrap_or_default();
        while let Some((mut rule, anchor)) = self.node(id).and_then(|n| n.rules.pop_front()) {
            rule.anchor = anchor.map(|anchor| self.call(&anchor, &set.path, depth));
            set.rules.push(rule);
        }
        set
    }

    fn call(&mut self, anchor: &AnchorRef, above: &str, depth: usize) -> AnchorCall {
        match anchor {
            AnchorRef::Path(written) => called_by_path(written, above),
            AnchorRef::Inline(id) => {
                let (name, shown) = self.nodes.get(*id).map_or_else(Default::default, |node| {
                    (node.name.clone(), if node.count > 0 { node.name.clone() } else { node.path.clone() })
                });
                let path = if above.is_empty() { name } else { format!("{above}/{name}") };
                let inner = if depth < DEPTH {
                    self.take(*id, path.clone(), depth.saturating_add(1))
                } else {
                    Ruleset::default()
                };
                // Of several rules that call it the first brings its contents; an empty one leaves what is loaded there.
                let inline = (!inner.rules.is_empty() || !inner.tables.is_empty()).then(|| Box::new(inner));
                AnchorCall { name: shown, path, wildcard: false, inline }
            }
        }
    }
}

/// A call by path: absolute, relative to the ruleset it stands in, or upwards with `../`.
fn called_by_path(written: &str, above: &str) -> AnchorCall {
    let (body, wildcard) = match written.strip_suffix("/*") {
        Some(body) => (body, true),
        None => (written, written == "*"),
    };
    let path = match body.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None => {
            let (mut base, mut rest) = (above, body);
            while let Some(after) = rest.strip_prefix("../") {
                base = base.rsplit_once('/').map_or("", |(front, _)| front);
                rest = after;
            }
            let rest = if rest == "*" { "" } else { rest };
            match (base.is_empty(), rest.is_empty()) {
                (true, _) => rest.to_owned(),
                (false, true) => base.to_owned(),
                (false, false) => format!("{base}/{rest}"),
            }
        }
    };
    AnchorCall { name: written.to_owned(), path, wildcard, inline: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_calls() {
        let call = |written: &str, above: &str| {
            let call = called_by_path(written, above);
            (call.path, call.wildcard)
        };
        assert_eq!(call("a/b", ""), ("a/b".into(), false));
        assert_eq!(call("a/*", "x"), ("x/a".into(), true));
        assert_eq!(call("/abs/p", "x/y"), ("abs/p".into(), false));
        assert_eq!(call("../z", "x/y"), ("x/z".into(), false));
        assert_eq!(call("*", "x"), ("x".into(), true));
    }
}
