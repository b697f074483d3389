//! Loading: programs become rules in force; states, tags and tables live on.
//!
//! A load has two halves. The first takes all memory there is to take and looks at everything that can be wrong: rules,
//! pools, names, addresses, room in the tables. The second puts it in force and cannot fail. So a load that fails has
//! changed nothing, and no packet is ever decided by a mixture.
//!
//! Programs stand in the order they were loaded: of two that hold a ruleset of the same path the later counts. Those that
//! stay keep their rules, what is counted at them and what their pools remember; a rule that goes lives on as long as a
//! state or a source node refers to it.
//!
//! **Invariant:** [`Engine::exchange`] allocates in its first half only, and changes what packets see in its second only.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::count::{number, numbered};
use crate::engine::Engine;
use crate::engine::cx::seconds;
use crate::engine::env::fresh;
use crate::engine::ifaces::{Ifaces, Live};
use crate::engine::rules::Rulebooks;
use crate::engine::tables::{Follow, TablePlan};
use crate::exec::{Bindings, Callee, Forest, Grove, UnitId};
use crate::host::Host;
use crate::nat::pool::PoolState;
use crate::rule::{Options, RuleFlags, TableId};
use crate::state::pool::{OutOfMemory, room};
use crate::state::record::NONE;
use crate::verify::{Program, Reject};

/// Why programs were not loaded; those before stay in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No memory, or a limit reached.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// They do not go together.
    #[error(transparent)]
    Reject(#[from] Reject),
}

/// A program to be put in force.
#[derive(Debug)]
pub struct Fresh {
    /// Its place in the new order; past the end is last.
    pub at: usize,
    /// It.
    pub program: Program,
}

/// What names of programs mean on this host.
#[derive(Clone, Copy)]
pub struct Surroundings<'s> {
    /// Interfaces.
    pub live: &'s [Live<'s>],
    /// Addresses of interfaces, for tables that follow one.
    pub follow: &'s Follow<'s>,
}

/// A place of the new order: a program that stays, by its old place, or one that is new, by its place among those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Old(usize),
    New(usize),
}

/// All a load needs, taken beforehand.
struct Prepared {
    order: Vec<From>,
    bound: Bindings,
    books: Rulebooks,
    tables: TablePlan,
    tags: Vec<Vec<u16>>,
    rows: Ifaces,
    pools: Vec<Vec<PoolState>>,
    /// Stable numbers of the rules that will be in force, sorted.
    ids: Vec<u64>,
    /// Options of a new main ruleset.
    options: Option<Options>,
}

impl Engine {
    /// The programs in force.
    #[must_use]
    pub fn programs(&self) -> &[Program] {
        self.forest.as_ref().map_or(&[], Grove::units)
    }

    /// A program in force.
    pub(super) fn program(&self, unit: UnitId) -> Option<&Program> {
        self.forest.as_ref()?.program(unit)
    }

    /// What holds the ruleset of a path: program and ruleset.
    #[must_use]
    pub fn ruleset(&self, path: &str) -> Option<Callee> {
        self.forest.as_ref()?.find(path)
    }

    /// The program of the main ruleset.
    #[must_use]
    pub fn main(&self) -> Option<&Program> {
        let forest = self.forest.as_ref()?;
        forest.program(forest.main()?.unit)
    }

    /// Puts programs in force: the main one first. `changed` is the one that is new, `None` for all; the others keep
    /// their rules and what is counted at them. They are those that [`Engine::take_programs`] gave, in their places.
    ///
    /// # Errors
    /// [`LoadError`]: what was in force stays so, unless it was taken out; then the engine stays shut.
    pub fn load<H: Host>(
        &mut self,
        programs: Vec<Program>,
        changed: Option<UnitId>,
        live: &[Live<'_>],
        follow: &Follow<'_>,
        host: &mut H,
    ) -> Result<(), LoadError> {
        let mut order = room("programs", count(programs.len()))?;
        for at in 0..programs.len() {
            let stays = changed.is_some_and(|c| usize::from(c.0) != at) && at < usize::from(self.loaded);
            push(&mut order, if stays { From::Old(at) } else { From::New(at) });
        }
        let prepared = self.prepare(order, &refs(programs.iter())?, Surroundings { live, follow }, host)?;
        self.swap(prepared, programs, host);
        Ok(())
    }

    /// Puts `new` programs in force, in rising order of their places, and takes those that are `gone` out; gives these.
    /// The list of new ones is used up when the load succeeds. With neither, names are bound anew.
    ///
    /// # Errors
    /// [`LoadError`]: nothing has changed.
    pub fn exchange<H: Host>(
        &mut self,
        new: &mut Vec<Fresh>,
        gone: &[UnitId],
        around: Surroundings<'_>,
        host: &mut H,
    ) -> Result<Vec<Program>, LoadError> {
        // Lent to the plan, while that changes what nobody sees yet.
        let forest = self.forest.take();
        let old = forest.as_ref().map_or(&[][..], Grove::units);
        let planned = self.plan(old, new, gone, around, host);
        let (prepared, mut units, mut lost) = match planned {
            Ok(planned) => planned,
            Err(why) => {
                self.forest = forest;
                return Err(why);
            }
        };
        let old = forest.map_or_else(Vec::new, Grove::into_units);
        arrange(&prepared.order, old, core::mem::take(new), gone, (&mut units, &mut lost));
        self.swap(prepared, units, host);
        Ok(lost)
    }

    /// Everything of an exchange that can fail, with room for the programs that will be in force and those that go.
    #[inline(never)]
    fn plan<H: Host>(
        &mut self,
        old: &[Program],
        new: &[Fresh],
        gone: &[UnitId],
        around: Surroundings<'_>,
        host: &mut H,
    ) -> Result<(Prepared, Vec<Program>, Vec<Program>), LoadError> {
        let order = order(old.len(), new, gone)?;
        let all = order.iter().filter_map(|from| match from {
            From::Old(at) => old.get(*at),
            From::New(at) => new.get(*at).map(|f| &f.program),
        });
        let all = refs(all)?;
        let units = room("programs", count(all.len()))?;
        let lost = room("programs", count(gone.len()))?;
        Ok((self.prepare(order, &all, around, host)?, units, lost))
    }

    /// The first half of a load.
    #[inline(never)]
    fn prepare<H: Host>(
        &mut self,
        order: Vec<From>,
        programs: &[&Program],
        around: Surroundings<'_>,
        host: &mut H,
    ) -> Result<Prepared, LoadError> {
        let bound = Bindings::of(programs)?;
        let main = bound.main().and_then(|m| programs.get(usize::from(m.unit.0)));
        let main_is_new =
            bound.main().is_some_and(|m| is_new(&order, m.unit)) && main.is_some_and(|p| p.options().is_some());
        let books = self.rules.plan(&order, programs)?;
        let pools = plan_pools(&order, programs, host)?;
        let ids = ids(programs)?;
        let tags = self.tags.plan(programs)?;
        let now = seconds(host.now_ms());
        let rows = self.ifaces.plan(around.live, programs, main.copied().filter(|_| main_is_new), now)?;
        let options = main.filter(|_| main_is_new).and_then(|p| p.options()).copied();
        let (tables, entries) = self.tables.all.limits();
        if let Some(o) = &options {
            self.grow(&o.limits)?;
            self.tables.all.set_limits(o.limits.tables, o.limits.table_entries);
        }
        // Last, for it takes places among the tables; what fails inside gives them back.
        let planned = self.tables.plan(&order, programs, around.follow, |f| self.rules.pinned_tables(f));
        let tables = planned.inspect_err(|_| self.tables.all.set_limits(tables, entries))?;
        Ok(Prepared { order, bound, books, tables, tags, rows, pools, ids, options })
    }

    /// The second half: what was prepared is put in force.
    #[inline(never)]
    fn swap<H: Host>(&mut self, prepared: Prepared, units: Vec<Program>, host: &mut H) {
        let Prepared { order, bound, books, tables, tags, rows, mut pools, ids, options } = prepared;
        let now = Self::now(host);
        self.tables.apply(tables, now);
        self.tags.apply(tags);
        self.ifaces.apply(rows);
        self.rules.apply(&order, books, &units, now, &ids);
        for (slot, from) in pools.iter_mut().zip(&order) {
            if let From::Old(at) = from
                && let Some(old) = self.pool_states.get_mut(*at)
            {
                *slot = core::mem::take(old);
            }
        }
        self.pool_states = pools;
        for (unit, from) in (0..=u16::MAX).map(UnitId).zip(&order) {
            self.bind_rules(unit, &units, matches!(from, From::New(_)));
        }
        self.loaded = u16::try_from(units.len()).unwrap_or(u16::MAX);
        self.forest = Some(Grove::bound(units, bound));
        self.shut = false;
        if let Some(options) = options {
            self.prints_flushed = false;
            self.set_options(&options, host);
        }
    }

    /// Binds the tables that rules fill and count at; labels of new ones are digested.
    fn bind_rules(&mut self, unit: UnitId, units: &[Program], new: bool) {
        let Some(p) = units.get(usize::from(unit.0)) else { return };
        for (at, rule) in p.rules().iter().enumerate() {
            let slot = |t: Option<TableId>| t.and_then(|t| self.tables.slot(unit, t));
            let (overload, [src, dst]) = (slot(rule.overload), rule.tables.map(slot));
            let place = self.rules.live(unit).get(at).copied().unwrap_or(NONE);
            let Some(e) = self.rules.get_mut(place) else { continue };
            e.overload = overload.map_or(NONE, |s| u32::from(s.0));
            e.src_table = src.map(|s| (s, e.rule.flags.has(RuleFlags::SRC_NOT)));
            e.dst_table = dst.map(|s| (s, e.rule.flags.has(RuleFlags::DST_NOT)));
            if new {
                e.label = label_digest(p.text(rule.label));
            }
        }
    }

    /// Takes over options: those of a main ruleset, or what was set by itself. A host id of 0 leaves the one there is.
    pub fn set_options<H: Host>(&mut self, options: &Options, host: &mut H) {
        let now = Self::now(host);
        let hostid = if options.hostid == 0 { self.options.hostid } else { options.hostid };
        self.options = Options { hostid, ..*options };
        self.cookies.configure(options.syncookies, options.limits.states, now.into(), host);
        self.set_limits(&options.limits);
    }

    /// Takes the programs out of the engine, to load them again with others. Until then everything is dropped.
    pub fn take_programs(&mut self) -> Vec<Program> {
        self.shut = self.forest.is_some();
        self.forest.take().map_or_else(Vec::new, Grove::into_units)
    }
}

/// Puts programs in the order planned; those that are gone are lost.
fn arrange(
    order: &[From],
    old: Vec<Program>,
    new: Vec<Fresh>,
    gone: &[UnitId],
    (units, lost): (&mut Vec<Program>, &mut Vec<Program>),
) {
    let (mut old, mut new) = (old.into_iter(), new.into_iter());
    let mut ids = (0..=u16::MAX).map(UnitId);
    for from in order {
        match from {
            From::New(_) => _ = hand_on(&mut new, units),
            From::Old(_) => {
                while ids.next().is_some_and(|id| gone.contains(&id)) && hand_on(&mut old, lost) {}
                _ = hand_on(&mut old, units);
            }
        }
    }
    while hand_on(&mut old, lost) {}
}

/// Moves the next program, if there is one. A function of its own, for a program is large: it lies on no other's stack.
#[inline(never)]
fn hand_on(from: &mut alloc::vec::IntoIter<impl Into<Program>>, to: &mut Vec<Program>) -> bool {
    match from.next() {
        Some(program) => {
            push(to, program.into());
            true
        }
        None => false,
    }
}

impl core::convert::From<Fresh> for Program {
    fn from(fresh: Fresh) -> Self {
        fresh.program
    }
}

/// Whether the program of a place is a new one.
fn is_new(order: &[From], unit: UnitId) -> bool {
    matches!(order.get(usize::from(unit.0)), Some(From::New(_)))
}

/// The new order: those that stay in theirs, new ones at their places.
fn order(old: usize, new: &[Fresh], gone: &[UnitId]) -> Result<Vec<From>, OutOfMemory> {
    let mut order = room("programs", count(old.saturating_add(new.len())))?;
    let stays = |at: &usize| u16::try_from(*at).is_ok_and(|at| !gone.contains(&UnitId(at)));
    let mut old = (0..old).filter(stays);
    let mut new = numbered(new.iter()).peekable();
    loop {
        let due = new.peek().is_some_and(|(_, f)| f.at <= order.len());
        let next = if due { None } else { old.next().map(From::Old) };
        match next.or_else(|| new.next().map(|(at, _)| From::New(at))) {
            Some(from) => push(&mut order, from),
            None => return Ok(order),
        }
    }
}

/// Memory of the pools of new programs; empty rooms for those that stay.
fn plan_pools<H: Host>(
    order: &[From],
    programs: &[&Program],
    host: &mut H,
) -> Result<Vec<Vec<PoolState>>, OutOfMemory> {
    let mut all = room("pools", count(order.len()))?;
    for (from, p) in order.iter().zip(programs) {
        let mut pools = Vec::new();
        if matches!(from, From::New(_)) {
            pools = room("pools", count(p.pools().len()))?;
            for pool in p.pools() {
                push(&mut pools, fresh(pool, host));
            }
        }
        push(&mut all, pools);
    }
    Ok(all)
}

/// Stable numbers of all rules, sorted.
fn ids(programs: &[&Program]) -> Result<Vec<u64>, OutOfMemory> {
    let total = programs.iter().fold(0_usize, |n, p| n.saturating_add(p.rules().len()));
    let mut ids = room("rules", count(total))?;
    for rule in programs.iter().flat_map(|p| p.rules()) {
        push(&mut ids, rule.stable_id);
    }
    crate::sort::sort_by(&mut ids, |a, b| a < b);
    Ok(ids)
}

/// A label in eight bytes, 0 for none.
#[must_use]
pub fn label_digest(label: &str) -> u64 {
    if label.is_empty() {
        return 0;
    }
    let digest: [u8; 32] = Sha256::digest(label.as_bytes()).into();
    digest.first_chunk::<8>().map_or(1, |b| u64::from_le_bytes(*b).max(1))
}

fn refs<'p>(programs: impl Iterator<Item = &'p Program> + Clone) -> Result<Vec<&'p Program>, OutOfMemory> {
    let mut refs = room("programs", number(programs.clone()))?;
    for p in programs {
        push(&mut refs, p);
    }
    Ok(refs)
}

/// A length as the number that memory is asked for by.
pub(super) fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Appends to a list that room was taken for.
pub(super) fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() < list.capacity() {
        list.push(item);
    }
}
