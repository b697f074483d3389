//! Loading: programs become rules in force; states, tags and tables live on.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::engine::Engine;
use crate::engine::env::fresh;
use crate::engine::ifaces::Live;
use crate::engine::tables::Follow;
use crate::exec::{Forest, Grove, UnitId};
use crate::host::Host;
use crate::rule::{Options, Rule, TableId};
use crate::state::pool::{OutOfMemory, copied, room};
use crate::state::record::NONE;
use crate::verify::{Program, Reject};

/// Why programs were not loaded; those before stay in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// They do not go together.
    #[error(transparent)]
    Reject(#[from] Reject),
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

    /// Puts programs in force: the main one first. `changed` is the one that is new, `None` for all; the others keep
    /// their rules and what is counted at them.
    ///
    /// **Invariant:** no packet is decided by a mixture. Programs that do not go together are refused before anything is
    /// touched; should memory run out later, everything is dropped until a load succeeds.
    ///
    /// # Errors
    /// [`LoadError`]: after [`LoadError::Reject`] what was in force stays so, after [`LoadError::Memory`] the engine is
    /// shut.
    pub fn load<H: Host>(
        &mut self,
        programs: Vec<Program>,
        changed: Option<UnitId>,
        live: &[Live<'_>],
        follow: &Follow<'_>,
        host: &mut H,
    ) -> Result<(), LoadError> {
        let grove = Grove::bind(programs)?;
        self.shut = true;
        self.put(grove.units(), changed, live, follow, host)?;
        self.forest = Some(grove);
        self.shut = false;
        Ok(())
    }

    /// Binds the names of programs and takes over their rules, pools and options.
    fn put<H: Host>(
        &mut self,
        programs: &[Program],
        changed: Option<UnitId>,
        live: &[Live<'_>],
        follow: &Follow<'_>,
        host: &mut H,
    ) -> Result<(), LoadError> {
        let now = Self::now(host);
        let refs = refs(programs)?;
        self.tables.bind(refs.iter().copied(), changed, follow)?;
        self.tags.bind(&refs)?;
        self.ifaces.bind(live, &refs)?;
        drop(refs);
        let count = u16::try_from(programs.len()).unwrap_or(u16::MAX);
        for unit in (0..count).map(UnitId) {
            if changed.is_none_or(|c| c == unit) {
                self.load_unit(programs, unit, now, host)?;
            }
        }
        for unit in (count..self.loaded).map(UnitId) {
            self.rules.unload(unit);
        }
        self.loaded = count;
        if changed.is_none_or(|c| c == UnitId(0))
            && let Some(options) = programs.first().and_then(Program::options)
        {
            let options = *options;
            self.set_options(&options, now, host);
        }
        Ok(())
    }

    fn load_unit<H: Host>(
        &mut self,
        programs: &[Program],
        unit: UnitId,
        now: u32,
        host: &mut H,
    ) -> Result<(), LoadError> {
        let Some(p) = programs.get(usize::from(unit.0)) else { return Ok(()) };
        self.rules.load(unit, p.rules(), now)?;
        for (rule, place) in p.rules().iter().zip(copied("rules", self.rules.live(unit))?) {
            self.bind_rule(unit, rule, label_digest(p.text(rule.label)), place);
        }
        let mut pools = room("pools", u32::try_from(p.pools().len()).unwrap_or(u32::MAX))?;
        for pool in p.pools() {
            if pools.len() < pools.capacity() {
                pools.push(fresh(pool, host));
            }
        }
        let at = usize::from(unit.0);
        while self.pool_states.len() <= at {
            let err = OutOfMemory { what: "pools", count: 1 };
            self.pool_states.try_reserve(1).map_err(|_| err)?;
            if self.pool_states.len() == self.pool_states.capacity() {
                return Err(err.into());
            }
            self.pool_states.push(Vec::new());
        }
        if let Some(slot) = self.pool_states.get_mut(at) {
            *slot = pools;
        }
        Ok(())
    }

    /// Binds the tables a rule fills.
    fn bind_rule(&mut self, unit: UnitId, rule: &Rule, label: u64, place: u32) {
        let slot = |t: Option<TableId>| t.and_then(|t| self.tables.slot(unit, t));
        let (overload, [src, dst]) = (slot(rule.overload), rule.tables.map(slot));
        if let Some(e) = self.rules.get_mut(place) {
            e.overload = overload.map_or(NONE, |s| u32::from(s.0));
            e.label = label;
            e.src_table = src.map(|s| (s, false));
            e.dst_table = dst.map(|s| (s, false));
        }
    }

    /// Takes over the options of a main ruleset.
    fn set_options<H: Host>(&mut self, options: &Options, now: u32, host: &mut H) {
        self.options = *options;
        self.cookies.configure(options.syncookies, options.limits.states, now.into(), host);
        self.table.set_limit(options.limits.states);
    }

    /// Takes the programs out of the engine, to load them again with others. Until then everything is dropped.
    pub fn take_programs(&mut self) -> Vec<Program> {
        self.shut = self.forest.is_some();
        self.forest.take().map_or_else(Vec::new, Grove::into_units)
    }
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

fn refs(programs: &[Program]) -> Result<Vec<&Program>, OutOfMemory> {
    let mut refs = room("programs", u32::try_from(programs.len()).unwrap_or(u32::MAX))?;
    for p in programs {
        if refs.len() < refs.capacity() {
            refs.push(p);
        }
    }
    Ok(refs)
}
