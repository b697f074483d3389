//! `queue …`: bandwidths, the tree of queues, and its checks.
//!
//! Some of pfctl's complaints go to standard output; they do here too. Source: `parse.y queuespec`, `expand_queue`;
//! `pfctl.c pfctl_add_queue`, `pfctl_find_childqs`, `pfctl_check_qassignments`, `pfctl_load_queues`.

use super::number::{strtod, strtoul};
use super::{Act, Resolver};
use crate::ast::{Arg, At, Curve, QueueDef, QueueOpt, QueueOptKind, Span, Value};
use crate::ruleset::{Queue, QueueBandwidth, Ruleset};
use crate::source::text::byte_len;

/// `PF_QNAME_SIZE`.
const NAME_SIZE: usize = 64;
/// `LLONG_MAX` as pfctl compares it.
const MAX_RATE: f64 = 9_223_372_036_854_775_807.0;
/// How often a queue may be found as a child before it must be a loop.
const LOOP: u32 = 10_000;

/// A queue with its children.
#[derive(Clone, Debug, Default)]
struct Item {
    queue: Queue,
    /// A bandwidth was given to a queue without parent: it can have children.
    root_class: bool,
    matches: u32,
    children: Vec<Item>,
}

/// Queues of the main file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    roots: Vec<Item>,
    others: Vec<Item>,
}

/// Options so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueueSoFar {
    rate: Option<(QueueBandwidth, QueueBandwidth, QueueBandwidth)>,
    parent: Option<String>,
    default: bool,
    qlimit: Option<u32>,
    flows: Option<u32>,
    quantum: Option<u32>,
}

impl Queues {
    /// Whether a queue below a root has this name.
    pub(crate) fn has_child(&self, name: &str) -> bool {
        self.others.iter().any(|item| item.queue.name == name)
    }

    /// Hangs the queues below their roots. The error ends pfctl.
    fn build(&mut self) -> Result<(), String> {
        let Queues { roots, others } = self;
        for root in roots {
            let default = adopt(root, others, 0)?;
            if !root.root_class && !root.children.is_empty() {
                return Err(if root.queue.flows.is_some() {
                    format!("root queue {} doesn't support hierarchy", root.queue.name)
                } else {
                    format!("no bandwidth was specified for root queue {}", root.queue.name)
                });
            }
            if root.root_class && !default {
                return Err("no default queue specified".into());
            }
        }
        Ok(())
    }

    /// Whether packets cannot be assigned to this queue, because it has children.
    fn is_inner(&self, name: &str) -> bool {
        self.roots.iter().chain(&self.others).any(|item| item.queue.name == name && !item.children.is_empty())
    }

    /// What is left to check when the file is done. The error ends pfctl.
    fn check(&self) -> Result<(), String> {
        for item in &self.others {
            let queue = &item.queue;
            if item.matches == 0 {
                return Err(format!("queue {}: parent {} not found", queue.name, queue.parent));
            }
            let percent = [&queue.bandwidth, &queue.min, &queue.max].iter().any(|b| b.percent > 0);
            if percent {
                return Err("only absolute bandwidth specs for now".into());
            }
            if queue.bandwidth.absolute == 0 && queue.bandwidth.burst == 0 {
                return Err(format!("queue {}: no bandwidth was specified", queue.name));
            }
        }
        Ok(())
    }

    /// All queues, roots with what hangs below them, in the order pfctl loads them.
    pub(crate) fn in_order(&self) -> Vec<Queue> {
        fn walk(item: &Item, iface: &Option<String>, out: &mut Vec<Queue>) {
            let mut queue = item.queue.clone();
            queue.iface.clone_from(iface);
            out.push(queue);
            for child in &item.children {
                walk(child, iface, out);
            }
        }
        let mut out = Vec::new();
        for root in &self.roots {
            walk(root, &root.queue.iface, &mut out);
        }
        out
    }
}

/// Collects the children of a queue; tells whether a default queue is among them all.
fn adopt(item: &mut Item, others: &mut [Item], depth: usize) -> Result<bool, String> {
    if depth > 128 {
        return Err("pfctl_find_childqs: excessive matches, loop?".into());
    }
    for other in others.iter_mut() {
        if other.queue.parent != item.queue.name {
            continue;
        }
        if other.queue.iface.is_some() && other.queue.iface != item.queue.iface {
            continue;
        }
        other.matches = other.matches.saturating_add(1);
        if other.matches > LOOP {
            return Err("pfctl_find_childqs: excessive matches, loop?".into());
        }
        match item.children.iter_mut().find(|c| c.queue.name == other.queue.name) {
            None => item.children.push(Item { queue: other.queue.clone(), ..Item::default() }),
            Some(known) => {
                let name = &known.queue.name;
                match (&known.queue.iface, &other.queue.iface) {
                    (Some(iface), Some(_)) => return Err(format!("queue {name} on {iface} respecified")),
                    (None, None) => return Err(format!("queue {name} respecified")),
                    (None, Some(_)) => known.queue = other.queue.clone(),
                    (Some(_), None) => {}
                }
            }
        }
    }
    let mut default = item.queue.default;
    for child in &mut item.children {
        default |= adopt(child, others, depth.saturating_add(1))?;
    }
    if !item.children.is_empty() {
        if item.queue.default {
            return Err(format!("default queue {} is not a leaf queue", item.queue.name));
        }
        if item.queue.flows.is_some() {
            return Err(format!("flow queue {} is not a leaf queue", item.queue.name));
        }
    }
    Ok(default)
}

impl Resolver<'_> {
    /// `queue name …`.
    pub(crate) fn queue(&mut self, def: &QueueDef, at: At, span: Span) -> Act {
        let ifaces = self.ifaces(&def.on)?;
        let mut so_far = QueueSoFar::default();
        for opt in &def.opts {
            self.queue_opt(opt, &mut so_far)?;
        }
        if ifaces.is_empty() && so_far.parent.is_none() {
            return self.fail(at, span, "root queue without interface");
        }
        if ifaces.first().is_some_and(|iface| !self.facts.is_link(&iface.name)) {
            return self.fail(at, span, "not an interface");
        }
        let names = if ifaces.is_empty() {
            vec![None]
        } else {
            ifaces.into_iter().map(|iface| Some(iface.name).filter(|n| !n.is_empty())).collect()
        };
        for iface in names {
            if let Err(text) = self.add_queue(&def.name.text, iface, &so_far, at, span) {
                self.error(at, span, text);
                break;
            }
        }
        Ok(())
    }

    fn add_queue(
        &mut self,
        name: &str,
        iface: Option<String>,
        so_far: &QueueSoFar,
        at: At,
        span: Span,
    ) -> Result<(), &'static str> {
        if so_far.rate.is_none() && so_far.flows.is_none() {
            return Err("no bandwidth or flow specification");
        }
        if byte_len(name) >= NAME_SIZE {
            return Err("queuename too long");
        }
        if so_far.parent.as_ref().is_some_and(|p| byte_len(p) >= NAME_SIZE) {
            return Err("parent too long");
        }
        let (bandwidth, min, max) = so_far.rate.unwrap_or_default();
        let parent = so_far.parent.clone().unwrap_or_default();
        if !self.anchors.in_main() {
            self.globals.said.out("must not have queue definitions in an anchor\n");
            return Err("cannot add queue");
        }
        if parent.is_empty()
            && let Some(root) = self.globals.queues.roots.iter().find(|r| r.queue.iface == iface)
        {
            let iface = root.queue.iface.clone().unwrap_or_default();
            self.globals.said.out(&format!("A root queue is already defined on {iface}\n"));
            return Err("cannot add queue");
        }
        let queue = Queue {
            name: name.to_owned(),
            iface,
            parent: parent.clone(),
            default: so_far.default,
            qlimit: so_far.qlimit.unwrap_or(0),
            flows: so_far.flows.map(|flows| (flows, so_far.quantum.unwrap_or(0))),
            bandwidth,
            min,
            max,
            place: self.place(at, span),
        };
        let root_class = so_far.parent.is_none() && so_far.rate.is_some();
        let item = Item { queue, root_class, ..Item::default() };
        if parent.is_empty() {
            self.globals.queues.roots.push(item);
        } else {
            self.globals.queues.others.push(item);
        }
        Ok(())
    }

    /// An option of `queue`.
    pub(crate) fn queue_opt(&mut self, opt: &QueueOpt, q: &mut QueueSoFar) -> Act {
        let mut number = |given: bool, n: &crate::ast::Number, range: (i64, i64), twice: &str, text: &str| {
            if given {
                return self.fail(opt.at, opt.span, twice);
            }
            if n.value < range.0 || n.value > range.1 {
                return self.fail(opt.at, n.span, text);
            }
            Ok(u32::try_from(n.value).ok())
        };
        match &opt.kind {
            QueueOptKind::Qlimit(n) => {
                let (twice, range) = ("qlimit cannot be respecified", "qlimit out of range: max 65535");
                q.qlimit = number(q.qlimit.is_some(), n, (0, 65535), twice, range)?;
            }
            QueueOptKind::Flows(n) => {
                let twice = "number of flows cannot be respecified";
                let range = "number of flows out of range: max 32767";
                q.flows = number(q.flows.is_some(), n, (1, 32767), twice, range)?;
            }
            QueueOptKind::Quantum(n) => {
                let (twice, range) = ("quantum cannot be respecified", "quantum out of range: max 65535");
                q.quantum = number(q.quantum.is_some(), n, (1, 65535), twice, range)?;
            }
            QueueOptKind::Parent(word) => {
                if q.parent.is_some() {
                    return self.fail(opt.at, opt.span, "parent cannot be respecified");
                }
                q.parent = Some(word.text.to_string());
            }
            QueueOptKind::Default => {
                if q.default {
                    return self.fail(opt.at, opt.span, "default cannot be respecified");
                }
                q.default = true;
            }
            QueueOptKind::Bandwidth { rate, min, max, max_first } => {
                let rate = self.curve(rate)?;
                let mut low = QueueBandwidth::default();
                let mut high = QueueBandwidth::default();
                let order: [(&Option<Box<Curve>>, bool); 2] =
                    if *max_first { [(max, true), (min, false)] } else { [(min, false), (max, true)] };
                for (curve, is_max) in order {
                    if let Some(curve) = curve {
                        let value = self.curve(curve)?;
                        if is_max { high = value } else { low = value }
                    }
                }
                if q.rate.is_some() {
                    return self.fail(opt.at, opt.span, "bandwidth cannot be respecified");
                }
                q.rate = Some((rate, low, high));
            }
        }
        Ok(())
    }

    /// A bandwidth with its burst.
    pub(crate) fn curve(&mut self, curve: &Curve) -> Act<QueueBandwidth> {
        let (absolute, percent) = self.bandwidth(&curve.rate)?;
        let mut out = QueueBandwidth { absolute, percent, ..QueueBandwidth::default() };
        let mut burst_percent = 0;
        if let Some((burst, time)) = &curve.burst {
            (out.burst, burst_percent) = self.bandwidth(burst)?;
            let parsed = strtoul(&time.text, 10);
            if parsed.rest != "ms" {
                return self.fail(curve.at, time.span, "time in scspec must be in ms");
            }
            let [.., a, b, c, d] = parsed.value.to_be_bytes();
            out.burst_ms = u32::from_be_bytes([a, b, c, d]);
        }
        if percent > 0 || burst_percent > 0 {
            return self.fail(curve.at, curve.rate.span, "no bandwidth in % yet");
        }
        Ok(out)
    }

    /// Bits a second and percentage.
    pub(crate) fn bandwidth(&mut self, arg: &Arg) -> Act<(u64, u8)> {
        let word = match &arg.value {
            Value::Number(number) => {
                return match u64::try_from(*number) {
                    Ok(absolute) => Ok((absolute, 0)),
                    Err(_) => self.fail(arg.at, arg.span, "bandwidth number too big"),
                };
            }
            Value::Word(word) => word,
        };
        let (value, unit) = strtod(word);
        let mut unit = unit;
        if unit.len() > 1 {
            let cut = unit.chars().next().map_or(0, char::len_utf8);
            let (first, rest) = unit.split_at_checked(cut).unwrap_or((unit, ""));
            if matches!(rest, "Bit" | "B" | "bit" | "b") {
                unit = first;
            }
        }
        let factor = match unit {
            "b" => 1.0,
            "K" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "%" => {
                if !(0.0..=100.0).contains(&value) {
                    return self.fail(arg.at, arg.span, "bandwidth spec out of range");
                }
                let percent = u8::try_from(super::filter::truncate_u32(value)).unwrap_or(100);
                return Ok((0, percent));
            }
            other => return self.fail(arg.at, arg.span, format!("unknown unit \"{other}\"")),
        };
        let bits = value * factor;
        if !(0.0..=MAX_RATE).contains(&bits) {
            return self.fail(arg.at, arg.span, "bandwidth number too big");
        }
        Ok((format!("{:.0}", bits.trunc()).parse().unwrap_or(0), 0))
    }

    /// Checks the queues and what is assigned to them, once the main file is read. False: not good.
    pub(crate) fn check_queues(&mut self, main: &Ruleset) -> Act<bool> {
        if let Err(text) = self.globals.queues.build() {
            return self.exit(text);
        }
        let mut bad = Vec::new();
        assigned(main, &mut |name| {
            if self.globals.queues.is_inner(name) {
                bad.push(format!("queue {name}: packets must be assigned to leaf queues only\n"));
                return true;
            }
            false
        });
        for text in &bad {
            self.globals.said.out(text);
        }
        if !bad.is_empty() {
            return Ok(false);
        }
        if let Err(text) = self.globals.queues.check() {
            return self.exit(text);
        }
        Ok(true)
    }
}

/// Calls `found` with every queue a rule assigns to, anchors first; the second name only if the first is fine.
fn assigned(set: &Ruleset, found: &mut dyn FnMut(&str) -> bool) {
    for rule in &set.rules {
        if let Some(inner) = rule.anchor.as_ref().and_then(|a| a.inline.as_deref()) {
            assigned(inner, found);
        }
        let Some((first, second)) = &rule.queue else { continue };
        if !found(first)
            && let Some(second) = second
        {
            found(second);
        }
    }
}
