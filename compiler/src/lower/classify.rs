//! Runs of pure rules, decided by a graph.
//!
//! A run is a row of rules that read nothing other rules write and ask nobody outside. Its deciding rules make one list:
//! the quick ones in order, then the others reversed; the first that matches is the run's answer. Its `match` rules and
//! tags are taken in order, up to the quick rule that decides.
//! **Invariant:** a run answers for every packet what the straight code of its rules answers.

use super::code::{Code, Label};
use super::tests::{Kind, Step};
use super::{Body, LowerError, narrow, straight};
use crate::opt::space::{Dim, Dims, Item};
use crate::opt::tree::{Candidate, Graph, Limits, Node, NodeId, Want};
use crate::ruleset::{Action, LogFlags, Rule, RuleFlags};
use pfvm::isa::{Field, Op, PrioId, Skip};
use pfvm::rule::RuleId;
use std::collections::{HashMap, HashSet};

/// Which passes run; each may be switched off alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// Long runs are decided by graphs; off leaves straight code.
    pub classify: bool,
    /// `match` rules and tags of a run are found by a graph too.
    pub collect: bool,
    /// Rules behind one that certainly matches are dropped from lists.
    pub shadow: bool,
    /// Wide rules are decided apart from narrow ones.
    pub rows: bool,
    /// Shortest run a graph is built for.
    pub shortest: usize,
}

impl Passes {
    /// All of them.
    pub const ALL: Self = Self { classify: true, collect: true, shadow: true, rows: true, shortest: 9 };
    /// None: straight code.
    pub const NONE: Self = Self { classify: false, collect: false, shadow: false, rows: false, shortest: 9 };
}

impl Default for Passes {
    fn default() -> Self {
        Self::ALL
    }
}

const NEXT: Skip = Skip(0);

/// Whether a rule asks for every later match to be logged: after it has matched, every matching rule must be seen in
/// order.
pub(super) fn logs_matches(rule: &Rule) -> bool {
    rule.action == Action::Match && rule.log.has(LogFlags::MATCHES)
}

/// Whether a rule may stand in a run.
fn is_pure(body: &Body<'_>) -> bool {
    let rule = body.rule;
    let quick_match = rule.action == Action::Match && rule.flags.has(RuleFlags::QUICK);
    let translates = rule.action == Action::Match && (rule.nat.is_some() || rule.rdr.is_some());
    body.anchor.is_none()
        && !rule.flags.has(RuleFlags::ONCE)
        && !quick_match
        && !logs_matches(rule)
        && !translates
        && body.steps.iter().all(|s| s.kind != Kind::Impure)
}

/// The classified code of a ruleset; nothing where straight code is as good.
pub(super) fn code(
    bodies: &[Body<'_>],
    passes: Passes,
    logging: bool,
    prios: &mut Vec<(RuleId, bool)>,
) -> Result<Option<Code>, LowerError> {
    if !passes.classify {
        return Ok(None);
    }
    let mut out = Code::default();
    let mut any = false;
    let mut rest = bodies;
    while let Some(first) = rest.first() {
        let pure = is_pure(first);
        let len = rest.iter().take_while(|b| is_pure(b) == pure).count();
        let (now, later) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        if pure && len >= passes.shortest {
            if logging {
                seen_run(&mut out, now, passes, prios)?;
            } else {
                run(&mut out, now, passes, prios)?;
            }
            any = true;
        } else {
            now.iter().for_each(|body| straight_rule(&mut out, body));
        }
        rest = later;
    }
    out.op(Op::Done {});
    Ok(any.then_some(out))
}

/// A rule outside any run.
fn straight_rule(out: &mut Code, body: &Body<'_>) {
    let after = out.label();
    if body.rule.flags.has(RuleFlags::ONCE) {
        out.test(Op::Live { rule: body.id, skip: NEXT }, after);
    }
    out.op(Op::Eval { rule: body.id });
    straight::steps(out, &body.steps, |_| straight::Fail::At(after));
    straight::act(out, body, after);
    out.place(after);
}

/// A run that may be seen from outside, where rules with log(matches) stand: rule by rule once one of them was hit.
fn seen_run(
    out: &mut Code,
    bodies: &[Body<'_>],
    passes: Passes,
    prios: &mut Vec<(RuleId, bool)>,
) -> Result<(), LowerError> {
    let (slow, fast, end) = (out.label(), out.label(), out.label());
    // The code of a run may be longer than a skip reaches.
    let unseen = out.label();
    out.test(Op::Logging { skip: NEXT }, unseen);
    out.jump(slow);
    out.place(unseen);
    out.jump(fast);
    out.place(slow);
    bodies.iter().for_each(|body| straight_rule(out, body));
    out.jump(end);
    out.place(fast);
    run(out, bodies, passes, prios)?;
    out.place(end);
    Ok(())
}

/// One run: find the deciding rule, take the match rules and tags before it, then let it decide.
fn run(out: &mut Code, bodies: &[Body<'_>], passes: Passes, prios: &mut Vec<(RuleId, bool)>) -> Result<(), LowerError> {
    let base = prios.len();
    let quick = |b: &&Body<'_>| b.rule.flags.has(RuleFlags::QUICK);
    let decides = |b: &&Body<'_>| b.rule.action != Action::Match;
    let quicks = bodies.iter().filter(decides).filter(quick);
    let others = bodies.iter().rev().filter(decides).filter(|b| !quick(b));
    let deciding: Vec<&Body<'_>> = quicks.chain(others).collect();
    for b in &deciding {
        prios.push((b.id, quick(b)));
    }
    if !deciding.is_empty() {
        let graph = Emit { out, bodies: &deciding, want: Want::First, base, before: &[] };
        graph.emit(passes)?;
    }
    let effects = |b: &&Body<'_>| b.rule.action == Action::Match || b.tag.is_some();
    let taken: Vec<&Body<'_>> = bodies.iter().filter(effects).collect();
    if !taken.is_empty() {
        // How many quick rules stand before each: once one of those has decided, this one is never reached.
        let mut count = 0_usize;
        let mut before = Vec::with_capacity(taken.len());
        for b in bodies {
            if effects(&b) {
                before.push(count);
            }
            if decides(&b) && quick(&b) {
                count = count.saturating_add(1);
            }
        }
        Emit { out, bodies: &taken, want: Want::All, base, before: &before }.emit(passes)?;
    }
    if !deciding.is_empty() {
        out.op(Op::Commit {});
    }
    Ok(())
}

/// Writes the graph of one list of rules.
struct Emit<'o, 'b, 'c> {
    out: &'o mut Code,
    bodies: &'b [&'b Body<'c>],
    want: Want,
    base: usize,
    before: &'b [usize],
}

impl Emit<'_, '_, '_> {
    fn emit(mut self, passes: Passes) -> Result<(), LowerError> {
        let items: Vec<Item> = self.bodies.iter().map(|b| item(b)).collect();
        let mut limits = Limits::for_items(items.len());
        if !passes.rows {
            limits.rows = 1;
        }
        if self.want == Want::All && !passes.collect {
            limits.leaf = usize::MAX;
        }
        limits.shadow = passes.shadow;
        let graph = Graph::build(&items, self.want, limits);
        let end = self.out.label();
        self.node(&graph, graph.root(), end, false)?;
        self.out.place(end);
        Ok(())
    }

    /// Writes a node whose ways all lead on to `end`, and every node below it. `v6` is the family addresses are of.
    ///
    /// Nodes stand behind all that lead to them, each once for every place its ways lead on to.
    fn node(&mut self, graph: &Graph, root: NodeId, end: Label, v6: bool) -> Result<(), LowerError> {
        let order = order(graph, (root, v6));
        let labels: HashMap<Place, Label> = order.iter().map(|&place| (place, self.out.label())).collect();
        let label = |id: NodeId, v6: bool| match graph.node(id) {
            Node::Leaf(list) if list.is_empty() => end,
            _ => labels.get(&(id, v6)).copied().unwrap_or(end),
        };
        for (n, &(id, v6)) in order.iter().enumerate() {
            self.out.place(label(id, v6));
            match graph.node(id) {
                Node::Leaf(list) => self.leaf(list)?,
                Node::Both(a, b) => {
                    let second = self.out.label();
                    self.node(graph, *a, second, v6)?;
                    self.out.place(second);
                    // The second cannot win where the first has found better than its best. Its code may be long:
                    // jumps reach past it, a test's skip may not.
                    let past = self.out.label();
                    let (go, lost) = (self.out.label(), self.out.label());
                    let prio = PrioId(narrow("priorities", self.base.saturating_add(graph.best(*b)))?);
                    self.out.test(Op::Better { prio, skip: NEXT }, lost);
                    self.out.jump(go);
                    self.out.place(lost);
                    self.out.jump(past);
                    self.out.place(go);
                    self.node(graph, *b, past, v6)?;
                    self.out.place(past);
                }
                Node::Switch { dim, starts, kids, absent } => {
                    let (field, starts, kids) = shape(*dim, starts, kids, v6);
                    let targets = kids.into_iter().map(|(kid, v6)| label(kid, v6)).collect();
                    self.out.dispatch(field, starts, targets);
                    self.out.jump(label(*absent, v6));
                    continue;
                }
            }
            if n.saturating_add(1) < order.len() {
                self.out.jump(end);
            }
        }
        Ok(())
    }

    /// The candidates of a leaf, in order.
    fn leaf(&mut self, list: &[Candidate]) -> Result<(), LowerError> {
        let done = self.out.label();
        for (n, candidate) in list.iter().enumerate() {
            let Some(&body) = self.bodies.get(candidate.item) else { continue };
            let next = self.out.label();
            match self.want {
                Want::First => {
                    let prio = PrioId(narrow("priorities", self.base.saturating_add(candidate.item))?);
                    self.steps(body, candidate.open, next);
                    self.out.op(Op::Min { prio });
                    if n.saturating_add(1) < list.len() {
                        self.out.jump(done);
                    }
                }
                Want::All => {
                    // Quick rules come first in the list of priorities: the one before this rule is number q − 1.
                    if let Some(q) = self.before.get(candidate.item).and_then(|q| q.checked_sub(1)) {
                        let prio = PrioId(narrow("priorities", self.base.saturating_add(q))?);
                        // Where the end is out of reach, the next rule stands behind that quick rule too.
                        self.out.test_far(Op::Better { prio, skip: NEXT }, vec![done, next]);
                    }
                    self.steps(body, candidate.open, next);
                    if let Some(tag) = body.tag {
                        self.out.op(Op::Tag { tag });
                    }
                    if body.rule.action == Action::Match {
                        self.out.op(Op::Hit { rule: body.id });
                    }
                }
            }
            self.out.place(next);
        }
        self.out.place(done);
        Ok(())
    }

    /// The tests of a rule that the way to the leaf has not decided.
    fn steps(&mut self, body: &Body<'_>, open: Dims, fail: Label) {
        let needed = |s: &&Step| s.span.is_none_or(|(dim, _)| open.has(dim));
        straight::steps(self.out, body.steps.iter().filter(needed), |_| straight::Fail::At(fail));
    }
}

/// A switch as the machine has it: which field, and its values there.
fn shape(dim: Dim, starts: &[u128], kids: &[NodeId], v6: bool) -> (Field, Vec<u128>, Vec<(NodeId, bool)>) {
    let find = |value: u128| {
        let at = starts.partition_point(|s| *s <= value).saturating_sub(1);
        kids.get(at).copied()
    };
    // IPv4 addresses end before the space of addresses does.
    let last = if v6 { u128::MAX } else { u32::MAX.into() };
    let same = |field: Field| {
        let (starts, kids) =
            starts.iter().zip(kids).take_while(|(s, _)| **s <= last).map(|(s, k)| (*s, (*k, v6))).unzip();
        (field, starts, kids)
    };
    let pair = |field: Field, second: u128, v6s: [bool; 2]| {
        let kids = [0, 1].into_iter().zip(v6s).filter_map(|(v, v6)| Some((find(v)?, v6))).collect();
        (field, vec![0, second], kids)
    };
    match dim {
        // 1 in, 2 out; 4 and 6.
        Dim::Direction => pair(Field::Dir, 2, [v6, v6]),
        Dim::Family => pair(Field::Af, 6, [false, true]),
        Dim::Proto => same(Field::Proto),
        Dim::Src => same(if v6 { Field::Src6 } else { Field::Src4 }),
        Dim::Dst => same(if v6 { Field::Dst6 } else { Field::Dst4 }),
        Dim::Sport => same(Field::Sport),
        Dim::Dport => same(Field::Dport),
    }
}

/// A node and the family its addresses are of.
type Place = (NodeId, bool);

/// Nodes below a root in an order in which none stands before one that leads to it; those behind a `Both` are left out.
fn order(graph: &Graph, root: Place) -> Vec<Place> {
    let mut seen: HashSet<Place> = HashSet::new();
    let mut done = Vec::new();
    let mut stack = vec![(root, false)];
    while let Some((place, left)) = stack.pop() {
        if left {
            done.push(place);
            continue;
        }
        if !seen.insert(place) {
            continue;
        }
        stack.push((place, true));
        let (id, v6) = place;
        if let Node::Switch { dim, starts, kids, absent } = graph.node(id) {
            let (_, _, below) = shape(*dim, starts, kids, v6);
            for kid in below.into_iter().chain([(*absent, v6)]) {
                let empty = matches!(graph.node(kid.0), Node::Leaf(l) if l.is_empty());
                if !empty && !seen.contains(&kid) {
                    stack.push((kid, false));
                }
            }
        }
    }
    done.reverse();
    done
}

/// A rule as a box of the space; what is no interval remains a test.
fn item(body: &Body<'_>) -> Item {
    let mut item = Item::any();
    for step in &body.steps {
        match step.span {
            Some((dim, span)) => {
                if let Dim::Src | Dim::Dst = dim {
                    let family = u128::from(body.rule.af == Some(crate::ruleset::Af::Inet6));
                    let _ = item.narrow(Dim::Family, crate::opt::space::Span { lo: family, hi: family });
                }
                let _ = item.narrow(dim, span);
            }
            None => item.exact = false,
        }
    }
    item
}
