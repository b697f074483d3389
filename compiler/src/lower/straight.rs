//! Rule by rule: the tests of each, then what it does.
//!
//! **Invariant:** a rule's `eval` runs exactly when pf would count an evaluation: a test that is one of pf's nine
//! skip-step criteria skips to the next rule that differs in it, any other to the next rule.

use super::code::{Code, Label};
use super::tests::{CRITERIA, Criterion, Kind, Step};
use super::{Body, LowerError, Placed};
use crate::ruleset::{Action, AddrSpec, Endpoint, Rule, RuleFlags};
use pfvm::isa::{Op, Quick, Skip};

const NEXT: Skip = Skip(0);

/// The straight code of a ruleset.
pub(super) fn code(ruleset: &Placed<'_>, bodies: &[Body<'_>]) -> Result<Code, LowerError> {
    let mut code = Code::default();
    let starts: Vec<Label> = (0..=bodies.len()).map(|_| code.label()).collect();
    let next = next_differing(&ruleset.rules.rules);
    for (i, body) in bodies.iter().enumerate() {
        let (Some(&here), Some(&after)) = (starts.get(i), starts.get(i.saturating_add(1))) else { break };
        code.place(here);
        if body.rule.flags.has(RuleFlags::ONCE) {
            code.test(Op::Live { rule: body.id, skip: NEXT }, after);
        }
        code.op(Op::Eval { rule: body.id });
        let far = |step: &Step| step.criterion.and_then(|c| next.get(i)?.get(criterion_index(c)).copied());
        steps(&mut code, &body.steps, |step| fail(&starts, i, far(step).unwrap_or(0), after));
        act(&mut code, body, after);
    }
    if let Some(&end) = starts.last() {
        code.place(end);
    }
    code.op(Op::Done {});
    Ok(code)
}

/// Rules whose code certainly fits the distance of a skip.
const NEAR: usize = 1024;

/// Where a failing test of rule `i` goes: to rule `far`, if that is later than the next one. Where it may be out of
/// reach, to a nearer one of the same kind.
fn fail(starts: &[Label], i: usize, far: usize, after: Label) -> Fail {
    let ahead = far.saturating_sub(i);
    match starts.get(far) {
        Some(&label) if ahead > 1 && ahead <= NEAR => Fail::At(label),
        Some(_) if ahead > NEAR => {
            let halves = std::iter::successors(Some(ahead), |d| Some(d / 2)).take_while(|d| *d > 1);
            let labels = halves.filter_map(|d| starts.get(i.saturating_add(d)).copied());
            Fail::Farthest(labels.chain([after]).collect())
        }
        _ => Fail::At(after),
    }
}

/// Where a failing test goes.
pub(super) enum Fail {
    /// There.
    At(Label),
    /// To the farthest in reach.
    Farthest(Vec<Label>),
}

/// Tests; `fail` says where a failing one may go.
pub(super) fn steps<'s>(code: &mut Code, steps: impl IntoIterator<Item = &'s Step>, fail: impl Fn(&Step) -> Fail) {
    let mut guard: Option<Label> = None;
    for step in steps {
        let guarded = guard.take();
        if step.kind == Kind::Guard {
            let past = code.label();
            code.test(step.op, past);
            guard = Some(past);
        } else {
            match fail(step) {
                Fail::At(label) => code.test(step.op, label),
                Fail::Farthest(labels) => code.test_far(step.op, labels),
            }
        }
        if let Some(past) = guarded {
            code.place(past);
        }
    }
}

/// What a rule does once its tests hold.
pub(super) fn act(code: &mut Code, body: &Body<'_>, after: Label) {
    let (rule, id) = (body.rule, body.id);
    let quick = rule.flags.has(RuleFlags::QUICK);
    if let Some(tag) = body.tag {
        code.op(Op::Tag { tag });
    }
    if let Some(anchor) = body.anchor {
        code.op(Op::Call { quick: if quick { Quick::Yes } else { Quick::No }, anchor, rule: id });
        return;
    }
    if rule.flags.has(RuleFlags::ONCE) {
        code.test(Op::Once { rule: id, skip: NEXT }, after);
    }
    match (rule.action, quick) {
        (Action::Match, _) => {
            code.op(Op::Hit { rule: id });
            if quick {
                code.op(Op::Stop {});
            }
        }
        (_, true) => code.op(Op::End { rule: id }),
        (_, false) => code.op(Op::Note { rule: id }),
    }
}

const fn criterion_index(c: Criterion) -> usize {
    match c {
        Criterion::Iface => 0,
        Criterion::Direction => 1,
        Criterion::Rdomain => 2,
        Criterion::Family => 3,
        Criterion::Proto => 4,
        Criterion::Src => 5,
        Criterion::Dst => 6,
        Criterion::Sport => 7,
        Criterion::Dport => 8,
    }
}

/// For every rule and criterion, the next rule that differs in it.
fn next_differing(rules: &[Rule]) -> Vec<[usize; CRITERIA]> {
    let mut next = vec![[rules.len(); CRITERIA]; rules.len()];
    let mut later = [rules.len(); CRITERIA];
    for i in (0..rules.len()).rev() {
        if let (Some(this), Some(that)) = (rules.get(i), rules.get(i.saturating_add(1))) {
            for (slot, differs) in later.iter_mut().zip(differences(this, that)) {
                if differs {
                    *slot = i.saturating_add(1);
                }
            }
        }
        if let Some(n) = next.get_mut(i) {
            *n = later;
        }
    }
    next
}

/// Whether two rules differ, criterion by criterion. pf keeps one negation for interface and routing domain.
fn differences(a: &Rule, b: &Rule) -> [bool; CRITERIA] {
    let iface_not = |r: &Rule| r.iface.as_ref().map_or(r.rdomain.is_some_and(|(not, _)| not), |n| n.not);
    let not_differs = iface_not(a) != iface_not(b);
    let rdomain = |r: &Rule| r.rdomain.map(|(_, n)| n);
    [
        iface(a) != iface(b) || not_differs,
        a.direction != b.direction,
        rdomain(a) != rdomain(b) || not_differs,
        a.af != b.af,
        a.proto != b.proto,
        addr_differs(&a.src, &b.src),
        addr_differs(&a.dst, &b.dst),
        a.src.port != b.src.port,
        a.dst.port != b.dst.port,
    ]
}

/// The interface a rule names.
fn iface(r: &Rule) -> Option<&str> {
    r.iface.as_ref().map(|n| n.name.as_str())
}

/// `pf_addr_wrap_neq`: networks by address and mask, the rest by what they name. Any address is a network of no bits.
fn addr_differs(a: &Endpoint, b: &Endpoint) -> bool {
    let masked = |e: &Endpoint| match &e.addr {
        AddrSpec::Net { addr, prefix } => {
            let (lo, _) = super::tests::net_ends(*addr, *prefix);
            Some((*prefix != 0).then_some((lo, super::tests::family(*addr), *prefix)))
        }
        AddrSpec::Any => Some(None),
        _ => None,
    };
    a.not != b.not
        || match (masked(a), masked(b)) {
            (Some(x), Some(y)) => x != y,
            _ => a.addr != b.addr,
        }
}
