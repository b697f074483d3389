//! A forest made of programs: binds every anchor call to the rulesets loaded under its path.
//!
//! **Invariant:** binding is done once, when a program is loaded or replaced; packets only read it. Where two programs
//! hold a ruleset of the same path, the one loaded later counts.

extern crate alloc;

use super::machine::{Callee, Forest, UnitId};
use crate::image::{Run, Span};
use crate::rule::{AnchorId, RulesetId};
use crate::verify::{Program, Reject, at, range};
use alloc::vec::Vec;
use core::borrow::Borrow;

/// What the anchor calls of some programs are bound to. It names them by their places.
#[derive(Debug, Default)]
pub struct Bindings {
    /// Of each unit, where its anchors' runs begin in `calls`.
    first: Vec<u32>,
    calls: Vec<Run>,
    callees: Vec<Callee>,
    main: Option<Callee>,
}

impl Bindings {
    /// Binds programs in their order. The last one whose ruleset has the empty path is the main one.
    ///
    /// # Errors
    /// [`Reject::NoMemory`], also for more than 65 536 programs.
    pub fn of<P: Borrow<Program>>(units: &[P]) -> Result<Self, Reject> {
        let mut bound = Self { main: find(units, ""), ..Self::default() };
        for (at, unit) in units.iter().enumerate() {
            u16::try_from(at).map_err(|_| Reject::NoMemory {})?;
            let first = u32::try_from(bound.calls.len()).map_err(|_| Reject::NoMemory {})?;
            put(&mut bound.first, first)?;
            let program: &Program = unit.borrow();
            for anchor in program.anchors() {
                let start = u32::try_from(bound.callees.len()).map_err(|_| Reject::NoMemory {})?;
                bound.bind_call(units, program.text(anchor.path), anchor.wildcard)?;
                let end = u32::try_from(bound.callees.len()).map_err(|_| Reject::NoMemory {})?;
                put(&mut bound.calls, Run { at: start, len: end.saturating_sub(start) })?;
            }
        }
        Ok(bound)
    }

    /// The main ruleset.
    #[must_use]
    pub const fn main(&self) -> Option<Callee> {
        self.main
    }

    /// Appends the callees of one anchor call.
    fn bind_call<P: Borrow<Program>>(&mut self, units: &[P], path: &str, wildcard: bool) -> Result<(), Reject> {
        if !wildcard {
            return find(units, path).map_or(Ok(()), |c| put(&mut self.callees, c));
        }
        let mut last = None;
        while let Some((name, callee)) = next_child(units, path, last) {
            put(&mut self.callees, callee)?;
            last = Some(name);
        }
        Ok(())
    }
}

/// Programs in the order they were loaded, and their bindings. `P` is how the host holds a program.
#[derive(Debug)]
pub struct Grove<P> {
    units: Vec<P>,
    bound: Bindings,
}

impl<P: Borrow<Program>> Grove<P> {
    /// Binds programs. The last one whose ruleset has the empty path is the main one.
    ///
    /// # Errors
    /// [`Reject::NoMemory`], also for more than 65 536 programs.
    pub fn bind(units: Vec<P>) -> Result<Self, Reject> {
        let bound = Bindings::of(&units)?;
        Ok(Self { units, bound })
    }

    /// Programs with the bindings made of them, in the same order.
    #[must_use]
    pub const fn bound(units: Vec<P>, bound: Bindings) -> Self {
        Self { units, bound }
    }

    /// The programs, in order.
    #[must_use]
    pub fn units(&self) -> &[P] {
        &self.units
    }

    /// Gives the programs back.
    #[must_use]
    pub fn into_units(self) -> Vec<P> {
        self.units
    }

    /// The ruleset of a path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Callee> {
        find(&self.units, path)
    }
}

impl<P: Borrow<Program>> Forest for Grove<P> {
    fn program(&self, unit: UnitId) -> Option<&Program> {
        self.units.get(usize::from(unit.0)).map(P::borrow)
    }
    fn main(&self) -> Option<Callee> {
        self.bound.main
    }
    fn callees(&self, unit: UnitId, anchor: AnchorId) -> &[Callee] {
        let call = self.bound.first.get(usize::from(unit.0)).map(|f| f.saturating_add(anchor.0.into()));
        let run = call.and_then(|c| at(&self.bound.calls, c)).copied().unwrap_or_default();
        self.bound.callees.get(range(Span { at: run.at, len: run.len })).unwrap_or_default()
    }
}

/// Path of a program's ruleset.
fn path_of(program: &Program, ruleset: usize) -> Option<&str> {
    program.rulesets().get(ruleset).map(|r| program.text(r.path))
}

/// How many rulesets of a program have paths for which `before` holds; they are sorted by path.
fn partition(program: &Program, before: impl Fn(&str) -> bool) -> usize {
    program.rulesets().partition_point(|r| before(program.text(r.path)))
}

fn callee(unit: usize, ruleset: usize) -> Option<Callee> {
    Some(Callee { unit: UnitId(u16::try_from(unit).ok()?), ruleset: RulesetId(u16::try_from(ruleset).ok()?) })
}

/// The ruleset of a path in the program loaded last.
fn find<P: Borrow<Program>>(units: &[P], path: &str) -> Option<Callee> {
    units.iter().enumerate().rev().find_map(|(unit, p)| {
        let program = p.borrow();
        let at = partition(program, |p| p < path);
        (path_of(program, at)? == path).then(|| callee(unit, at)).flatten()
    })
}

/// The name of a child one level below a path, empty if it is none.
fn child_name<'p>(path: &'p str, parent: &str) -> &'p str {
    let below = path.strip_prefix(parent).unwrap_or("");
    let name = if parent.is_empty() { below } else { below.strip_prefix('/').unwrap_or("") };
    if name.contains('/') { "" } else { name }
}

/// Whether a path comes after `parent/last`.
fn after(path: &str, parent: &str, last: &str) -> bool {
    let slash = if parent.is_empty() { "" } else { "/" };
    path.bytes().gt(parent.bytes().chain(slash.bytes()).chain(last.bytes()))
}

/// The child of a path whose name comes next after `last`, over all programs.
fn next_child<'u, P: Borrow<Program>>(units: &'u [P], parent: &str, last: Option<&str>) -> Option<(&'u str, Callee)> {
    let mut best: Option<(&str, Callee)> = None;
    for (unit, p) in units.iter().enumerate() {
        let program = p.borrow();
        let mut ruleset = partition(program, |p| !after(p, parent, last.unwrap_or("")));
        while let Some(path) = path_of(program, ruleset).filter(|p| p.starts_with(parent)) {
            let name = child_name(path, parent);
            if !name.is_empty() {
                if best.is_none_or(|(b, _)| name <= b)
                    && let Some(callee) = callee(unit, ruleset)
                {
                    best = Some((name, callee));
                }
                break;
            }
            ruleset = ruleset.saturating_add(1);
        }
    }
    best
}

/// Appends, taking memory fallibly.
fn put<T>(all: &mut Vec<T>, item: T) -> Result<(), Reject> {
    if all.len() == all.capacity() {
        all.try_reserve(1).map_err(|_| Reject::NoMemory {})?;
    }
    if all.len() == all.capacity() {
        return Err(Reject::NoMemory {});
    }
    all.push(item);
    Ok(())
}
