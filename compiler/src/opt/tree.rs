//! Decision graph over items: few comparisons lead to a short list of candidates.
//!
//! A node either switches on the intervals of one dimension, or lets two graphs decide one after the other (narrow
//! items first, wide ones second, so that the wide ones are not copied into every interval of the narrow ones), or
//! ends in a list of candidates that are tested in order of priority.
//! **Invariant:** for every point of the space, the candidates of the leaves reached are all items that hold there,
//! in order within each leaf, except those behind an item that certainly holds.
//! **Invariant:** copies are bounded by [`Limits::copies`]; where they would grow beyond it lists stay long instead.

use super::space::{Dim, Dims, Item, Span};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Names a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(usize);

/// A candidate of a leaf: an item and the dimensions that are not decided yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// The item: its number is its priority, the lowest wins.
    pub item: usize,
    /// Dimensions still to be tested.
    pub open: Dims,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Candidates in order of priority.
    Leaf(Vec<Candidate>),
    /// The interval that holds the packet's value leads on.
    Switch {
        /// What is looked at.
        dim: Dim,
        /// First value of each interval, ascending; the first is where the node's own bounds begin.
        starts: Vec<u128>,
        /// Where each interval leads.
        kids: Vec<NodeId>,
        /// Where packets without the field go.
        absent: NodeId,
    },
    /// Both decide; the better of the two wins.
    Both(NodeId, NodeId),
}

/// What a list of candidates is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The one with the lowest number.
    First,
    /// All that hold, in order.
    All,
}

/// Bounds of a build.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A list this short is a leaf.
    pub leaf: usize,
    /// Copies of items in all leaves and switches together.
    pub copies: usize,
    /// Graphs in a row on one way.
    pub rows: u8,
    /// Switches on one way.
    pub depth: u8,
    /// Whether what stands behind an item that certainly holds is dropped.
    pub shadow: bool,
}

impl Limits {
    /// What serves runs of any size.
    #[must_use]
    pub const fn for_items(n: usize) -> Self {
        Self { leaf: 6, copies: 4096_usize.saturating_add(n.saturating_mul(24)), rows: 4, depth: 16, shadow: true }
    }
}

/// A decision graph.
#[derive(Clone, Debug)]
pub struct Graph {
    nodes: Vec<Node>,
    /// The best item below each node.
    best: Vec<usize>,
    root: NodeId,
}

impl Graph {
    /// Builds the graph of items, whose order is their priority.
    #[must_use]
    pub fn build(items: &[Item], want: Want, limits: Limits) -> Self {
        let mut b =
            Builder { items, want, limits, nodes: Vec::new(), best: Vec::new(), memo: HashMap::default(), copies: 0 };
        let root = b.node((0..items.len()).collect(), Context::start());
        Self { nodes: b.nodes, best: b.best, root }
    }

    /// Where it begins.
    #[must_use]
    pub const fn root(&self) -> NodeId {
        self.root
    }

    /// A node, an empty leaf for an id of another graph.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        const NOTHING: &Node = &Node::Leaf(Vec::new());
        self.nodes.get(id.0).unwrap_or(NOTHING)
    }

    /// The best item below a node, `usize::MAX` where there is none.
    #[must_use]
    pub fn best(&self, id: NodeId) -> usize {
        self.best.get(id.0).copied().unwrap_or(usize::MAX)
    }

    /// Number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// What is known of the packet at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Context {
    /// Dimensions whose interval is known to hold for every item of the list.
    done: Dims,
    /// Dimensions known to be present, with bounds.
    present: Dims,
    bounds: [Span; super::space::DIMS],
    rows: u8,
    depth: u8,
}

impl Context {
    fn start() -> Self {
        Self { done: Dims::default(), present: Dims::default(), bounds: Dim::ALL.map(Span::full), rows: 1, depth: 0 }
    }

    fn bound(&self, dim: Dim) -> Span {
        self.bounds.get(dim.index()).copied().unwrap_or(Span::full(dim))
    }

    /// Dimensions an item still has to be tested in.
    fn open(&self, item: &Item) -> Dims {
        let mut open = Dims::default();
        for dim in item.asked.without(self.done).iter() {
            if !(self.present.has(dim) && item.span(dim).contains(self.bound(dim))) {
                open = open.with(dim);
            }
        }
        open
    }

    fn switched(mut self, dim: Dim, to: Span, exactly: bool) -> Self {
        if exactly {
            self.done = self.done.with(dim);
        }
        self.present = self.present.with(dim);
        if let Some(b) = self.bounds.get_mut(dim.index()) {
            *b = if exactly { Span::full(dim) } else { to };
        }
        self.depth = self.depth.saturating_add(1);
        self
    }
}

/// How a dimension would divide a list.
struct Cut {
    dim: Dim,
    /// First value of each interval.
    starts: Vec<u128>,
    /// For each item of the list, the intervals it meets: first and one past the last.
    meets: Vec<(u32, u32)>,
    /// Items over all intervals.
    copies: usize,
    /// Length of the list an item finds itself in, on average.
    crowd: f64,
}

/// A hash for keys of our own making: long lists of numbers, hashed a word at a time.
#[derive(Default)]
struct Quick(u64);

impl Quick {
    const fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|w| self.mix(u64::from_le_bytes(*w)));
        rest.iter().for_each(|b| self.mix((*b).into()));
    }
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}

struct Builder<'a> {
    items: &'a [Item],
    want: Want,
    limits: Limits,
    nodes: Vec<Node>,
    best: Vec<usize>,
    memo: HashMap<(Vec<usize>, Context), NodeId, BuildHasherDefault<Quick>>,
    copies: usize,
}

impl Builder<'_> {
    fn item(&self, i: usize) -> Option<&Item> {
        self.items.get(i)
    }

    fn push(&mut self, node: Node) -> NodeId {
        let best = |id: &NodeId| self.best.get(id.0).copied().unwrap_or(usize::MAX);
        let least = match &node {
            Node::Leaf(list) => list.first().map(|c| c.item),
            Node::Switch { kids, absent, .. } => kids.iter().chain([absent]).map(best).min(),
            Node::Both(a, b) => Some(best(a).min(best(b))),
        };
        self.best.push(least.unwrap_or(usize::MAX));
        self.nodes.push(node);
        NodeId(self.nodes.len().saturating_sub(1))
    }

    fn node(&mut self, mut list: Vec<usize>, ctx: Context) -> NodeId {
        self.truncate(&mut list, &ctx);
        let mut key_ctx = ctx;
        key_ctx.depth = 0;
        let key = (list, key_ctx);
        if let Some(&known) = self.memo.get(&key) {
            return known;
        }
        let (list, _) = &key;
        let made = self.divide(list, ctx);
        self.memo.insert(key, made);
        made
    }

    /// Drops what stands behind an item that certainly holds.
    fn truncate(&self, list: &mut Vec<usize>, ctx: &Context) {
        if self.want == Want::All || !self.limits.shadow {
            return;
        }
        let holds = |&i: &usize| self.item(i).is_some_and(|it| it.exact && ctx.open(it).is_empty());
        if let Some(at) = list.iter().position(holds) {
            list.truncate(at.saturating_add(1));
        }
    }

    fn divide(&mut self, list: &[usize], ctx: Context) -> NodeId {
        if list.len() <= self.limits.leaf || ctx.depth >= self.limits.depth {
            return self.leaf(list, &ctx);
        }
        if self.families_mixed(list, &ctx) {
            let bound = ctx.bound(Dim::Family);
            let cut = self.measure(list, Dim::Family, bound, vec![0, 1]);
            return self.switch(list, ctx, &cut, true);
        }
        let cuts: Vec<Cut> = Dim::ALL.into_iter().filter_map(|d| self.cut(list, &ctx, d)).collect();
        if let Some(cut) = self.best_switch(list, &cuts) {
            return self.switch(list, ctx, cut, true);
        }
        if self.want == Want::First
            && ctx.rows < self.limits.rows
            && let Some((narrow, wide)) = best_rows(list, &cuts)
        {
            let ctx = Context { rows: ctx.rows.saturating_add(1), ..ctx };
            let (a, b) = (self.node(narrow, ctx), self.node(wide, ctx));
            return self.push(Node::Both(a, b));
        }
        if let Some(cut) = self.cheap_switch(list, &cuts) {
            return self.switch(list, ctx, cut, true);
        }
        match self.best_coarse(list, &ctx, &cuts) {
            Some(cut) => self.switch(list, ctx, &cut, false),
            None => self.leaf(list, &ctx),
        }
    }

    fn leaf(&mut self, list: &[usize], ctx: &Context) -> NodeId {
        self.copies = self.copies.saturating_add(list.len());
        let candidates =
            list.iter().filter_map(|&item| Some(Candidate { item, open: ctx.open(self.item(item)?) })).collect();
        self.push(Node::Leaf(candidates))
    }

    /// All intervals the items of a list make in a dimension; nothing when there is only one.
    fn cut(&self, list: &[usize], ctx: &Context, dim: Dim) -> Option<Cut> {
        if ctx.done.has(dim) {
            return None;
        }
        let bound = ctx.bound(dim);
        let mut starts = vec![bound.lo];
        for it in list.iter().filter_map(|&i| self.item(i)).filter(|it| it.asked.has(dim)) {
            if let Some(s) = it.span(dim).meet(bound) {
                starts.push(s.lo);
                if s.hi < bound.hi {
                    starts.push(s.hi.saturating_add(1));
                }
            }
        }
        starts.sort_unstable();
        starts.dedup();
        let asked = list.iter().any(|&i| self.item(i).is_some_and(|it| it.asked.has(dim)));
        (starts.len() > 1 || (asked && dim.may_be_absent() && !ctx.present.has(dim)))
            .then(|| self.measure(list, dim, bound, starts))
    }

    /// Whether a family must be chosen first, because an address is asked for.
    fn families_mixed(&self, list: &[usize], ctx: &Context) -> bool {
        !ctx.done.has(Dim::Family)
            && list.iter().filter_map(|&i| self.item(i)).any(|it| it.asked.has(Dim::Src) || it.asked.has(Dim::Dst))
    }

    fn measure(&self, list: &[usize], dim: Dim, bound: Span, starts: Vec<u128>) -> Cut {
        let mut change = vec![0_i64; starts.len().saturating_add(1)];
        let mut meets = Vec::with_capacity(list.len());
        let mut copies = 0_usize;
        for &i in list {
            let span = self.item(i).map_or(bound, |it| it.span(dim)).meet(bound);
            let (from, to) = span.map_or((0, 0), |s| {
                (starts.partition_point(|&p| p <= s.lo).saturating_sub(1), starts.partition_point(|&p| p <= s.hi))
            });
            if let Some(c) = change.get_mut(from) {
                *c = c.saturating_add(1);
            }
            if let Some(c) = change.get_mut(to) {
                *c = c.saturating_sub(1);
            }
            copies = copies.saturating_add(to.saturating_sub(from));
            meets.push((u32::try_from(from).unwrap_or(u32::MAX), u32::try_from(to).unwrap_or(u32::MAX)));
        }
        let mut here = 0_i64;
        let mut squares = 0.0_f64;
        for c in change.iter().take(starts.len()) {
            here = here.saturating_add(*c);
            let n = small(here.unsigned_abs());
            squares += n * n;
        }
        let crowd = if copies == 0 { 0.0 } else { squares / small(copies) };
        Cut { dim, starts, meets, copies, crowd }
    }

    /// The dimension whose intervals leave the shortest lists, if copies stay within bounds and it helps at all.
    fn best_switch<'c>(&self, list: &[usize], cuts: &'c [Cut]) -> Option<&'c Cut> {
        let n = small(list.len());
        let room = self.limits.copies.saturating_sub(self.copies);
        let most = list.len().saturating_mul(4).saturating_add(64).min(room);
        cuts.iter().filter(|c| c.copies <= most && c.crowd < n * 0.75).min_by(|a, b| a.crowd.total_cmp(&b.crowd))
    }

    /// A dimension that parts nothing, and costs next to nothing: once it is decided, rules may turn out to stand
    /// behind one that certainly holds.
    fn cheap_switch<'c>(&self, list: &[usize], cuts: &'c [Cut]) -> Option<&'c Cut> {
        let most = list.len().saturating_add(list.len() / 4);
        let long = self.want == Want::First && list.len() > self.limits.leaf.saturating_mul(4);
        cuts.iter().filter(|c| long && c.copies <= most).min_by(|a, b| a.crowd.total_cmp(&b.crowd))
    }

    /// A few intervals of about equally many ends each, in the dimension where that helps most for its copies.
    fn best_coarse(&self, list: &[usize], ctx: &Context, cuts: &[Cut]) -> Option<Cut> {
        let n = small(list.len());
        let room = self.limits.copies.saturating_sub(self.copies);
        let coarse = |c: &Cut| {
            let every = c.starts.len().div_ceil(16).max(1);
            let starts: Vec<u128> = c.starts.iter().copied().step_by(every).collect();
            (starts.len() > 1).then(|| self.measure(list, c.dim, ctx.bound(c.dim), starts))
        };
        let price = |c: &Cut| small(c.copies) / n * c.crowd;
        cuts.iter()
            .filter_map(coarse)
            .filter(|c| c.copies <= room && price(c) < n)
            .min_by(|a, b| price(a).total_cmp(&price(b)))
    }

    /// Makes a switch; `exactly` when every item of an interval's list holds throughout that interval.
    fn switch(&mut self, list: &[usize], ctx: Context, cut: &Cut, exactly: bool) -> NodeId {
        let dim = cut.dim;
        let bound = ctx.bound(dim);
        let mut lists: Vec<Vec<usize>> = vec![Vec::new(); cut.starts.len()];
        for (&i, &(from, to)) in list.iter().zip(&cut.meets) {
            let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
            for l in lists.get_mut(range).unwrap_or_default() {
                l.push(i);
            }
        }
        let (mut starts, mut kids): (Vec<u128>, Vec<NodeId>) = (Vec::new(), Vec::new());
        for (at, l) in lists.into_iter().enumerate() {
            let lo = cut.starts.get(at).copied().unwrap_or(bound.lo);
            let hi = cut.starts.get(at.saturating_add(1)).map_or(bound.hi, |next| next.saturating_sub(1));
            let kid = self.node(l, ctx.switched(dim, Span { lo, hi }, exactly));
            if kids.last() != Some(&kid) {
                starts.push(lo);
                kids.push(kid);
            }
        }
        let absent = if dim.may_be_absent() && !ctx.present.has(dim) {
            let without: Vec<usize> =
                list.iter().copied().filter(|&i| self.item(i).is_some_and(|it| !it.asked.has(dim))).collect();
            let depth = ctx.depth.saturating_add(1);
            self.node(without, Context { done: ctx.done.with(dim), depth, ..ctx })
        } else {
            self.push(Node::Leaf(Vec::new()))
        };
        self.push(Node::Switch { dim, starts, kids, absent })
    }
}

/// Parts a list into items that are narrow in some dimension and the others, so that the narrow ones make few copies
/// there; the dimension with the most narrow items.
fn best_rows(list: &[usize], cuts: &[Cut]) -> Option<(Vec<usize>, Vec<usize>)> {
    let widest_narrow = |c: &Cut| {
        let mut widths: Vec<u32> = c.meets.iter().map(|(from, to)| to.saturating_sub(*from)).collect();
        widths.sort_unstable();
        let budget = u64::try_from(list.len()).unwrap_or(u64::MAX).saturating_mul(2);
        let mut sum = 0_u64;
        let fits = widths.iter().take_while(|&&w| {
            sum = sum.saturating_add(u64::from(w));
            sum <= budget
        });
        let count = fits.count();
        // Equal widths stay together.
        let limit = widths.get(count).copied().unwrap_or(u32::MAX);
        let narrow = widths.partition_point(|&w| w < limit);
        (narrow, limit)
    };
    let (narrow, limit, cut) = cuts
        .iter()
        .map(|c| {
            let (narrow, limit) = widest_narrow(c);
            (narrow, limit, c)
        })
        .filter(|&(narrow, limit, c)| narrow < list.len() && crowd_below(c, limit) < small(narrow) * 0.75)
        .max_by_key(|(narrow, ..)| *narrow)?;
    if narrow.saturating_mul(8) < list.len() {
        return None;
    }
    let mut parts = (Vec::new(), Vec::new());
    for (&i, (from, to)) in list.iter().zip(&cut.meets) {
        let part = if to.saturating_sub(*from) < limit { &mut parts.0 } else { &mut parts.1 };
        part.push(i);
    }
    Some(parts)
}

/// Length of the list an item narrower than a limit finds itself in, on average.
fn crowd_below(cut: &Cut, limit: u32) -> f64 {
    let narrow = || cut.meets.iter().filter(|(from, to)| to.saturating_sub(*from) < limit);
    let mut counts = vec![0_u32; cut.starts.len()];
    for &(from, to) in narrow() {
        let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
        for c in counts.get_mut(range).unwrap_or_default() {
            *c = c.saturating_add(1);
        }
    }
    let sum: f64 = counts.iter().copied().map(f64::from).sum();
    let squares: f64 = counts.iter().map(|c| f64::from(*c) * f64::from(*c)).sum();
    if sum > 0.0 { squares / sum } else { 0.0 }
}

/// A count as a number to compare with.
fn small<T: TryInto<u32>>(n: T) -> f64 {
    n.try_into().map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items a packet finds, walking the graph the way a program does.
    fn find(g: &Graph, items: &[Item], packet: &[Option<u128>; 7], want: Want) -> Vec<usize> {
        fn walk(g: &Graph, id: NodeId, items: &[Item], packet: &[Option<u128>; 7], out: &mut Vec<usize>) {
            match g.node(id) {
                Node::Leaf(list) => {
                    let holds = |c: &&Candidate| {
                        c.open.iter().all(|d| {
                            let s = items[c.item].span(d);
                            packet[d.index()].is_some_and(|v| s.lo <= v && v <= s.hi)
                        })
                    };
                    out.extend(list.iter().filter(holds).map(|c| c.item));
                }
                Node::Switch { dim, starts, kids, absent } => match packet[dim.index()] {
                    Some(v) => walk(g, kids[starts.partition_point(|&s| s <= v) - 1], items, packet, out),
                    None => walk(g, *absent, items, packet, out),
                },
                Node::Both(a, b) => {
                    walk(g, *a, items, packet, out);
                    walk(g, *b, items, packet, out);
                }
            }
        }
        let mut out = Vec::new();
        walk(g, g.root(), items, packet, &mut out);
        if want == Want::First {
            out.sort_unstable();
            out.truncate(1);
        }
        out
    }

    struct Rng(u64);
    impl Rng {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z ^ (z >> 27)
        }
        fn below(&mut self, n: u128) -> u128 {
            u128::from(self.next()) % n
        }
    }

    fn random_item(r: &mut Rng) -> Item {
        let mut it = Item::any();
        let v6 = r.below(4) == 0;
        if r.below(2) == 0 {
            assert!(it.narrow(Dim::Family, Span { lo: v6.into(), hi: v6.into() }));
            for d in [Dim::Src, Dim::Dst] {
                if r.below(2) == 0 {
                    let lo = r.below(1 << 12);
                    assert!(it.narrow(d, Span { lo, hi: lo + r.below(1 << 8) * r.below(3) }));
                }
            }
        }
        if r.below(2) == 0 {
            let p = [6, 17, 1][usize::try_from(r.below(3)).unwrap()];
            assert!(it.narrow(Dim::Proto, Span { lo: p, hi: p }));
            for d in [Dim::Sport, Dim::Dport] {
                if p != 1 && r.below(2) == 0 {
                    let lo = r.below(1 << 8);
                    assert!(it.narrow(d, Span { lo, hi: lo + r.below(64) * r.below(3) }));
                }
            }
        }
        it
    }

    /// Items wide in both ports: only coarse intervals part them.
    fn stripe(r: &mut Rng) -> Item {
        let mut it = Item::any();
        for d in [Dim::Sport, Dim::Dport] {
            let lo = r.below(60_000);
            assert!(it.narrow(d, Span { lo, hi: lo + r.below(5_000) }));
        }
        it
    }

    #[test]
    fn coarse_intervals_lose_nothing() {
        let mut r = Rng(9);
        let items: Vec<Item> = (0..600).map(|_| stripe(&mut r)).collect();
        for want in [Want::First, Want::All] {
            let g = Graph::build(&items, want, Limits { copies: 6000, ..Limits::for_items(items.len()) });
            for _ in 0..2000 {
                let it = &items[usize::try_from(r.below(600)).unwrap()];
                let at = |d: Dim, r: &mut Rng| Some(it.span(d).lo + r.below(5_100));
                let (s, d) = (at(Dim::Sport, &mut r), at(Dim::Dport, &mut r));
                let packet = [Some(0), Some(0), Some(6), Some(1), Some(2), s, d];
                let holds = |it: &Item| {
                    [Dim::Sport, Dim::Dport]
                        .iter()
                        .all(|&d| packet[d.index()].is_some_and(|v| it.span(d).lo <= v && v <= it.span(d).hi))
                };
                let mut right: Vec<usize> =
                    items.iter().enumerate().filter(|(_, it)| holds(it)).map(|(i, _)| i).collect();
                if want == Want::First {
                    right.truncate(1);
                }
                assert_eq!(find(&g, &items, &packet, want), right);
            }
        }
    }

    #[test]
    fn a_graph_finds_what_a_list_finds() {
        let mut r = Rng(7);
        for n in [0, 1, 5, 40, 300] {
            for want in [Want::First, Want::All] {
                let items: Vec<Item> = (0..n).map(|_| random_item(&mut r)).collect();
                let g = Graph::build(&items, want, Limits { leaf: 2, ..Limits::for_items(n) });
                for _ in 0..2000 {
                    let proto = [6, 17, 1, 50][usize::try_from(r.below(4)).unwrap()];
                    let ports = matches!(proto, 6 | 17) && r.below(8) != 0;
                    let port = |r: &mut Rng| ports.then(|| r.below(1 << 8) + 2);
                    let packet = [
                        Some(r.below(2)),
                        Some(u128::from(r.below(4) == 0)),
                        Some(proto),
                        Some(r.below(1 << 12)),
                        Some(r.below(1 << 12)),
                        port(&mut r),
                        port(&mut r),
                    ];
                    let holds = |it: &Item| {
                        it.asked
                            .iter()
                            .all(|d| packet[d.index()].is_some_and(|v| it.span(d).lo <= v && v <= it.span(d).hi))
                    };
                    let mut right: Vec<usize> =
                        items.iter().enumerate().filter(|(_, it)| holds(it)).map(|(i, _)| i).collect();
                    if want == Want::First {
                        right.truncate(1);
                    }
                    assert_eq!(find(&g, &items, &packet, want), right);
                }
            }
        }
    }
}
