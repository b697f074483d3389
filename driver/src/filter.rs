//! A filter: the engine with what it knows of its host and what it has made. One lock guards all of it ([`crate::lock`]).
//!
//! Packets go through [`Filter::process`], those of known states also through [`Filter::pass_untold`], which several
//! processors may do at once; once a second [`Filter::tick`] lets time pass. Control loads rules
//! ([`Filter::load`]) that were parsed and verified outside the lock; the swap itself is the engine's.
//!
//! A load may be bound to a confirmation: until it comes, the programs it replaced are kept, and when it does not come in
//! time the filter itself puts them back ([`Filter::tick`]). Tables whose contents the old rules write down get those
//! again; other tables and all states stay as they are.
//!
//! **Invariant:** `units` has an entry for each program in force, in the engine's order.

use alloc::boxed::Box;
use alloc::vec::Vec;

use pfvm::api::After;
use pfvm::engine::load::{Fresh, LoadError, Surroundings};
use pfvm::engine::log::LogRecord;
use pfvm::engine::{Arriving, BATCH, Carried, Engine, Outcome, Scratch, Seen, default_options};
use pfvm::exec::UnitId;
use pfvm::host::{Hop, Host, Random};
use pfvm::image::TableKind;
use pfvm::packet::{Packet, PktMeta};
use pfvm::rule::{Addr, Af, Limits, Options};
use pfvm::state::pool::{OutOfMemory, copied, room};
use pfvm::table::Entry;
use pfvm::verify::Program;

use crate::facts::HostFacts;
use crate::log::{CAPACITY, Log};
use crate::outbox::Outbox;
use crate::platform::Platform;
use crate::trace::Trace;

/// What there is room for at most, whatever `set limit` says: a typing error must not take the host's memory. States take 170
/// bytes each.
const MOST: Limits = Limits {
    states: 4_000_000,
    src_nodes: 1_000_000,
    frags: 200_000,
    tables: 65_535,
    table_entries: 4_000_000,
    pktdelay_pkts: u32::MAX,
    anchors: u32::MAX,
};

/// Packets of its own a filter holds until the edge sends them.
const OUTBOX: u32 = 256;

/// Who loaded a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct By {
    /// User.
    pub uid: u32,
    /// Process.
    pub pid: u32,
}

/// What is kept of a program beside what the engine runs.
#[derive(Debug)]
pub struct Unit {
    /// Path it was loaded for.
    pub path: Vec<u8>,
    /// Its image.
    pub image: Vec<u8>,
    /// Generation it came with.
    pub generation: u64,
    /// Second of 1970 it came.
    pub inserted: u64,
    /// Who brought it.
    pub by: By,
}

/// A program to be loaded.
#[derive(Debug)]
pub struct Loading {
    /// It.
    pub program: Program,
    /// What is kept of it.
    pub unit: Unit,
}

/// How programs are loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// What becomes of states.
    pub after: After,
    /// Seconds until the load is taken back; 0 for never.
    pub confirm: u32,
    /// What `Checksum:` shows, when a main ruleset is among them.
    pub checksum: Option<[u8; 16]>,
}

/// What a load that waits for confirmation would be taken back to.
#[derive(Debug)]
struct Waiting {
    generation: u64,
    until_ms: u64,
    /// Programs it replaced, and the places they stood in.
    old: Vec<(usize, Loading)>,
    options: Options,
    checksum: [u8; 16],
}

/// Why rules were not loaded; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The engine says so.
    Load(LoadError),
    /// Another load waits for its confirmation.
    Waiting,
    /// More rulesets than `set limit anchors`.
    Anchors,
    /// No load of that generation waits.
    Generation,
}

impl From<OutOfMemory> for Refused {
    fn from(why: OutOfMemory) -> Self {
        Self::Load(why.into())
    }
}

impl From<LoadError> for Refused {
    fn from(why: LoadError) -> Self {
        Self::Load(why)
    }
}

/// The filter.
#[derive(Debug)]
pub struct Filter<P> {
    /// States, rules, tables.
    pub engine: Box<Engine>,
    /// The host's facts.
    pub facts: HostFacts,
    /// Rises when other interfaces are told than before.
    pub told: u64,
    /// Time and chance.
    pub platform: P,
    /// Packets of the filter's own.
    pub outbox: Outbox,
    /// What is kept of the programs in force.
    pub units: Vec<Unit>,
    /// Rises with every load.
    pub generation: u64,
    /// What the loader of the main ruleset gave.
    pub checksum: [u8; 16],
    /// Name of the interface `set loginterface` means.
    pub loginterface: Vec<u8>,
    /// Names `set skip` was given beside those of the rules, for interfaces that are to come.
    pub skips: Vec<Vec<u8>>,
    /// When filtering was turned on or off: milliseconds of the host, seconds of 1970.
    pub switched: (u64, u64),
    /// Generation, deadline and what was before.
    waiting: Option<Waiting>,
    next_second: u64,
    /// Log records.
    pub log: Log,
    /// Packets that are followed.
    pub trace: Trace,
    /// What the host says of itself.
    pub about: About,
}

/// What a host says of itself, in words.
#[derive(Debug, Default)]
pub struct About {
    /// What it is bound to.
    pub binding: Vec<u8>,
    /// What becomes of packets while no rules are loaded.
    pub policy: Vec<u8>,
    /// What went wrong last.
    pub trouble: Vec<u8>,
    /// The facts file it was started with, as text; empty when it asks the system.
    pub file: Vec<u8>,
}

/// What the engine asks of its host, lent for one call.
#[derive(Debug)]
pub struct Surface<'f, P> {
    facts: &'f HostFacts,
    platform: &'f mut P,
    outbox: &'f mut Outbox,
    log: &'f mut Log,
}

impl<P: Platform> Random for Surface<'_, P> {
    fn random_u32(&mut self) -> u32 {
        self.platform.random_u32()
    }
}

impl<P: Platform> Host for Surface<'_, P> {
    fn now_ms(&self) -> u64 {
        self.platform.now_ms()
    }
    fn route(&self, af: Af, addr: &Addr) -> Option<Hop> {
        self.facts.route(af, addr)
    }
    fn answers_for(&self, af: Af, addr: &Addr) -> Option<Addr> {
        self.facts.answers_for(af, addr)
    }
    fn own_address(&self, af: Af, iface: u16, toward: &Addr) -> Option<Addr> {
        self.facts.own_address(af, iface, toward)
    }
    fn port_in_use(&self, proto: u8, port: u16) -> bool {
        self.facts.port_in_use(proto, port)
    }
    fn send(&mut self, packet: &[u8], af: Af, generated: bool, tag: u16) {
        self.outbox.put(packet, af, generated, tag);
    }
    fn make(&mut self, af: Af, generated: bool, tag: u16, write: &mut dyn FnMut(&mut [u8]) -> Option<usize>) {
        self.outbox.make(af, generated, tag, write);
    }
    fn log(&mut self, record: &LogRecord, packet: &Packet<'_>) {
        let now = self.platform.now_ms();
        self.log.take(record, packet, now);
    }
}

impl<P: Platform> Filter<P> {
    /// A filter without rules, with room for `limits`, for hosts whose allocator ends the process when memory is short; a
    /// driver finds a place for the engine itself and takes [`Filter::over`].
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(limits: &Limits, facts: HostFacts, mut platform: P) -> Result<Self, OutOfMemory> {
        let engine = Box::new(Engine::new(limits, &mut platform)?);
        let mut filter = Self::over(engine, facts, platform)?;
        filter.begin(limits)?;
        Ok(filter)
    }

    /// The same over an engine that was made, but for what [`Filter::begin`] does. Both are large: a host with a small stack,
    /// or whose memory may run out, makes them where they are to stay.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    #[inline(never)]
    pub fn over(engine: Box<Engine>, facts: HostFacts, platform: P) -> Result<Self, OutOfMemory> {
        let now = platform.now_ms();
        let switched = (now, platform.wall_seconds());
        let (outbox, log) = (Outbox::new(OUTBOX)?, Log::new(CAPACITY)?);
        Ok(Self {
            engine,
            facts,
            told: 0,
            platform,
            outbox,
            units: Vec::new(),
            generation: 0,
            checksum: [0; 16],
            loginterface: Vec::new(),
            skips: Vec::new(),
            switched,
            waiting: None,
            next_second: now,
            log,
            trace: Trace::default(),
            about: About::default(),
        })
    }

    /// Sets the options there are without rules, with the limits its engine was made for, and binds names: to be called
    /// once, before anything else.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn begin(&mut self, limits: &Limits) -> Result<(), OutOfMemory> {
        self.engine.most = MOST;
        self.engine.options = Options { limits: *limits, ..default_options() };
        self.engine.options.hostid = self.platform.random_u32();
        self.bind().map_err(|why| match why {
            LoadError::Memory(why) => why,
            LoadError::Reject(_) => OutOfMemory { what: "rules", count: 0 },
        })
    }

    /// The engine, and its host.
    pub fn split(&mut self) -> (&mut Engine, Surface<'_, P>) {
        let Self { engine, facts, platform, outbox, log, .. } = self;
        (engine, Surface { facts, platform, outbox, log })
    }

    /// Decides about a packet of a known state, for who shares the filter, with its counts left in `scratch`; see
    /// [`Engine::pass_untold`]. `None`: nothing has changed, [`Filter::process`] is wanted.
    pub fn pass_untold(
        &self,
        pkt: &mut Packet<'_>,
        meta: &PktMeta,
        seen: Seen,
        carried: Carried,
        scratch: &mut Scratch,
    ) -> Option<Outcome> {
        if self.trace.is_armed() {
            return None;
        }
        self.engine.pass_untold(pkt, meta, seen, carried, scratch, self.platform.now_ms())
    }

    /// Decides about a packet; see [`Engine::process`].
    pub fn process(
        &mut self,
        pkt: &mut Packet<'_>,
        meta: &PktMeta,
        seen: Seen,
        carried: Carried,
        room: &mut [u8],
    ) -> Outcome {
        let Self { engine, facts, platform, outbox, log, trace, generation, .. } = self;
        let on = |name: &str| facts.iface(seen.iface).is_some_and(|i| facts.is(i, name));
        let now = if trace.is_armed() { platform.now_ms() } else { 0 };
        let before = trace.before(engine, pkt, meta, seen, now, &on);
        let mut host = Surface { facts, platform, outbox, log };
        let out = engine.process(pkt, meta, seen, carried, room, &mut host);
        if out.logged {
            log.seal(engine, *generation);
        }
        if let Some(before) = before {
            trace.after(&before, engine, pkt, &out, *generation, &on);
        }
        out
    }

    /// Decides about packets in order; see [`Engine::process_batch`].
    pub fn process_batch(
        &mut self,
        batch: &mut [Arriving<'_, '_>],
        room: &mut [u8],
        mut done: impl FnMut(usize, &Outcome, Option<&[u8]>),
    ) {
        if !self.trace.is_armed() {
            let (engine, mut host) = self.split();
            engine.process_batch(batch, room, &mut host, done);
            self.log.seal(&self.engine, self.generation);
            return;
        }
        for (i, a) in batch.iter_mut().take(BATCH).enumerate() {
            let out = self.process(a.pkt, a.meta, a.seen, a.carried, room);
            let whole = out.replaced.and_then(|r| room.get(r.at..)?.get(..r.len));
            done(i, &out, whole);
        }
    }

    /// To be called often, at least once a second: what is due is done, once a second.
    pub fn tick(&mut self) {
        let now = self.platform.now_ms();
        // A clock that was set back is not waited for.
        if (1..=1000).contains(&self.next_second.saturating_sub(now)) {
            return;
        }
        self.next_second = now.saturating_add(1000);
        self.trace.tick(now);
        let (engine, mut host) = self.split();
        engine.tick(&mut host);
        if self.waiting.as_ref().is_some_and(|w| w.until_ms <= now) {
            // Should memory be short, it is tried again in a second.
            let _ = self.take_back();
        }
    }

    /// The second it is, as the engine counts.
    #[must_use]
    pub fn seconds(&self) -> u32 {
        u32::try_from(self.platform.now_ms() / 1000).unwrap_or(u32::MAX)
    }

    /// A second of the engine's as one of 1970.
    #[must_use]
    pub fn wall_of(&self, second: u32) -> u64 {
        let ago = self.seconds().saturating_sub(second);
        self.platform.wall_seconds().saturating_sub(ago.into())
    }

    /// Turns filtering on or off; `false` when it is so already.
    pub fn switch(&mut self, on: bool) -> bool {
        if self.engine.running == on {
            return false;
        }
        self.engine.running = on;
        self.switched = (self.platform.now_ms(), self.platform.wall_seconds());
        true
    }

    /// The load that waits for confirmation: its generation, and the seconds it has left.
    #[must_use]
    pub fn unconfirmed(&self) -> Option<(u64, u32)> {
        let w = self.waiting.as_ref()?;
        let left = w.until_ms.saturating_sub(self.platform.now_ms()).div_ceil(1000);
        Some((w.generation, u32::try_from(left).unwrap_or(u32::MAX)))
    }

    /// Puts programs in force, all of them or none: each takes the place of what was loaded for its path, and of programs
    /// none of whose rulesets counts any more. Gives the generation, and what went, for the caller to drop when it has
    /// given the lock back.
    ///
    /// # Errors
    /// [`Refused`]: nothing has changed.
    pub fn load(&mut self, programs: Vec<Loading>, how: How) -> Result<(u64, Vec<Loading>), Refused> {
        if self.waiting.is_some() {
            return Err(Refused::Waiting);
        }
        let gone = self.replaced_by(&programs)?;
        let left = self.units.len().saturating_sub(gone.len()).saturating_add(programs.len());
        if left > anchors(&self.engine.options, &programs) {
            return Err(Refused::Anchors);
        }
        let main = programs.iter().find(|l| l.unit.path.is_empty());
        let checksum = main.and(how.checksum).unwrap_or(self.checksum);
        let log = main.map(|m| log_interface(&m.program)).transpose()?.flatten();
        let at = self.units.len();
        let mut placed = room("programs", number(programs.len()))?;
        place(programs, at, &mut placed);
        let before = (self.engine.options, self.checksum);
        let old = self.exchange(&mut placed, &gone, How { checksum: Some(checksum), ..how }, log)?;
        let generation = self.generation;
        if how.confirm == 0 {
            return Ok((generation, self.drop_places(old)));
        }
        let wait = u64::from(how.confirm).saturating_mul(1000);
        let until_ms = self.platform.now_ms().saturating_add(wait);
        let (options, checksum) = before;
        self.waiting = Some(Waiting { generation, until_ms, old, options, checksum });
        Ok((generation, Vec::new()))
    }

    #[inline(never)]
    fn drop_places(&self, old: Vec<(usize, Loading)>) -> Vec<Loading> {
        // What cannot be handed out for want of memory is dropped here.
        let mut lost = Vec::new();
        if lost.try_reserve_exact(old.len()).is_ok() {
            old.into_iter().for_each(|(_, l)| push(&mut lost, l));
        }
        lost
    }

    /// Exchanges programs; gives those that went with the places they stood in. `placed` is used up when it succeeds.
    #[inline(never)]
    fn exchange(
        &mut self,
        placed: &mut Vec<(usize, Loading)>,
        gone: &[UnitId],
        how: How,
        log: Option<Vec<u8>>,
    ) -> Result<Vec<(usize, Loading)>, Refused> {
        let total = self.units.len().saturating_sub(gone.len()).saturating_add(placed.len());
        let mut units: Vec<Unit> = room("programs", number(total))?;
        let mut went: Vec<(usize, Loading)> = room("programs", number(gone.len()))?;
        let mut fresh = room("programs", number(placed.len()))?;
        let mut coming = room("programs", number(placed.len()))?;
        apart(placed, &mut coming, &mut fresh);
        let programs = match self.exchange_programs(&mut fresh, gone) {
            Ok(programs) => programs,
            Err(why) => {
                together(fresh, coming, placed);
                return Err(why.into());
            }
        };
        let (engine, mut host) = self.split();
        match how.after {
            After::Keep => 0,
            After::KillChanged => engine.kill_changed(&mut host),
            After::Reevaluate => engine.reevaluate(&mut host),
        };
        self.generation = self.generation.saturating_add(1);
        let (generation, inserted) = (self.generation, self.platform.wall_seconds());
        let mut programs = programs.into_iter();
        let mut coming = coming.into_iter().peekable();
        for (at, unit) in pfvm::count::numbered(core::mem::take(&mut self.units).into_iter()) {
            if u16::try_from(at).is_ok_and(|at| gone.contains(&UnitId(at))) {
                leaves(&mut programs, (at, unit), &mut went);
                continue;
            }
            while let Some((_, new)) = coming.next_if(|(at, _)| *at <= units.len()) {
                push(&mut units, Unit { generation, inserted, ..new });
            }
            push(&mut units, unit);
        }
        coming.for_each(|(_, new)| push(&mut units, Unit { generation, inserted, ..new }));
        self.units = units;
        self.checksum = how.checksum.unwrap_or(self.checksum);
        if let Some(log) = log {
            self.loginterface = log;
            self.skips = Vec::new();
        }
        Ok(went)
    }

    /// The engine's part of an exchange.
    #[inline(never)]
    fn exchange_programs(&mut self, fresh: &mut Vec<Fresh>, gone: &[UnitId]) -> Result<Vec<Program>, LoadError> {
        let Self { engine, facts, platform, outbox, log, .. } = self;
        let facts = &*facts;
        let groups = facts.groups()?;
        let live = facts.live(&groups)?;
        let follow = |name: &str, kind: &TableKind, add: &mut dyn FnMut(Entry)| facts.follow(name, kind, add);
        let around = Surroundings { live: &live, follow: &follow };
        engine.exchange(fresh, gone, around, &mut Surface { facts, platform, outbox, log })
    }

    /// Programs that others take the place of: loaded for the same path, or without a ruleset that still counts.
    #[inline(never)]
    fn replaced_by(&self, programs: &[Loading]) -> Result<Vec<UnitId>, OutOfMemory> {
        let mut gone = room("programs", number(self.units.len()))?;
        let loaded = self.engine.programs();
        let has = |p: &Program, path: &str| p.rulesets().binary_search_by(|r| p.text(r.path).cmp(path)).is_ok();
        for (at, (unit, program)) in pfvm::count::numbered(self.units.iter().zip(loaded)) {
            let same = programs.iter().any(|l| l.unit.path == unit.path);
            let covered = |path: &str| {
                let later = loaded.get(at.saturating_add(1)..).unwrap_or_default();
                programs.iter().any(|l| has(&l.program, path)) || later.iter().any(|p| has(p, path))
            };
            let dead = || program.rulesets().iter().all(|r| covered(program.text(r.path)));
            if let (true, Ok(at)) = (same || dead(), u16::try_from(at)) {
                push(&mut gone, UnitId(at));
            }
        }
        Ok(gone)
    }

    /// What waits for confirmation stays. Gives what it replaced, to be dropped.
    ///
    /// # Errors
    /// [`Refused::Generation`].
    pub fn confirm(&mut self, generation: u64) -> Result<Vec<Loading>, Refused> {
        match self.waiting.take_if(|w| w.generation == generation) {
            Some(w) => Ok(self.drop_places(w.old)),
            None => Err(Refused::Generation),
        }
    }

    /// What waits for confirmation goes at once. Gives the new generation.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub fn revert(&mut self, generation: u64) -> Result<u64, Refused> {
        if self.waiting.as_ref().is_none_or(|w| w.generation != generation) {
            return Err(Refused::Generation);
        }
        self.take_back()?;
        Ok(self.generation)
    }

    /// Puts back what the load that waits replaced.
    fn take_back(&mut self) -> Result<(), Refused> {
        let Some(mut w) = self.waiting.take() else { return Ok(()) };
        let done = self.put_back(&mut w);
        if done.is_err() {
            self.waiting = Some(w);
        }
        done
    }

    #[inline(never)]
    fn put_back(&mut self, w: &mut Waiting) -> Result<(), Refused> {
        let mut gone = room("programs", number(self.units.len()))?;
        for (at, unit) in (0..=u16::MAX).zip(&self.units) {
            if unit.generation == w.generation {
                push(&mut gone, UnitId(at));
            }
        }
        let how = How { checksum: Some(w.checksum), ..How::default() };
        let main = w.old.iter().find(|(_, l)| l.unit.path.is_empty()).map(|(_, l)| log_interface(&l.program));
        let log = main.transpose()?.flatten();
        self.exchange(&mut w.old, &gone, how, log)?;
        let (engine, mut host) = self.split();
        engine.set_options(&w.options, &mut host);
        Ok(())
    }

    /// Takes in the host's facts: what names of rules mean is bound anew, states and tables stay. Gives the old ones.
    ///
    /// # Errors
    /// [`LoadError`]: nothing has changed.
    pub fn set_facts(&mut self, facts: HostFacts) -> Result<HostFacts, LoadError> {
        let old = core::mem::replace(&mut self.facts, facts);
        if let Err(why) = self.bind() {
            self.facts = old;
            return Err(why);
        }
        for at in 0..self.facts.ifaces().len() {
            if let Some(index) = self.facts.ifaces().get(at).map(|i| i.index).filter(|i| old.iface(*i).is_none()) {
                self.skip_new(index);
            }
        }
        if !old.lasting().eq(self.facts.lasting()) {
            self.told = self.told.saturating_add(1);
        }
        Ok(old)
    }

    /// One that has just come is skipped when a name that is skipped means it.
    fn skip_new(&mut self, index: u16) {
        if self.facts.iface(index).is_some_and(|i| self.skips_name(i)) {
            self.engine.ifaces.skip(index, true);
        }
    }

    /// An adapter of this LUID is there, under this index. When it is known from before ([`HostFacts::meet`]), rules that
    /// name it mean it from here on; should memory be short, they do not until facts are told.
    pub fn meet(&mut self, luid: u64, index: u16) {
        if self.facts.meet(luid, index) == Ok(true) {
            let _short = self.bind();
            self.skip_new(index);
        }
    }

    fn skips_name(&self, iface: &crate::facts::Iface) -> bool {
        let by_hand = self.skips.iter().any(|s| core::str::from_utf8(s).is_ok_and(|s| self.facts.is(iface, s)));
        let Some(main) = self.engine.main() else { return by_hand };
        let mut names = main.skips().iter().filter_map(|id| main.iface(*id)).map(|name| main.text(*name));
        by_hand || names.any(|name| self.facts.is(iface, name))
    }

    /// Binds names anew: of interfaces, and of tables where one was made or killed.
    ///
    /// # Errors
    /// [`LoadError`]: nothing has changed.
    pub fn bind(&mut self) -> Result<(), LoadError> {
        self.exchange_programs(&mut Vec::new(), &[]).map(drop)
    }
}

// A program is large, and these move programs: each is a function of its own, so that what it moves lies on no other's
// stack.

/// Programs with the place they come to.
#[inline(never)]
fn place(programs: Vec<Loading>, at: usize, placed: &mut Vec<(usize, Loading)>) {
    programs.into_iter().for_each(|l| push(placed, (at, l)));
}

/// Programs for the engine, and what is kept of them.
#[inline(never)]
fn apart(placed: &mut Vec<(usize, Loading)>, units: &mut Vec<(usize, Unit)>, programs: &mut Vec<Fresh>) {
    for (at, Loading { program, unit }) in placed.drain(..) {
        push(units, (at, unit));
        push(programs, Fresh { at, program });
    }
}

/// The reverse.
#[inline(never)]
fn together(programs: Vec<Fresh>, units: Vec<(usize, Unit)>, placed: &mut Vec<(usize, Loading)>) {
    for (Fresh { program, .. }, (at, unit)) in programs.into_iter().zip(units) {
        push(placed, (at, Loading { program, unit }));
    }
}

/// The next program that went, with what was kept of it.
#[inline(never)]
fn leaves(programs: &mut alloc::vec::IntoIter<Program>, (at, unit): (usize, Unit), went: &mut Vec<(usize, Loading)>) {
    if let Some(program) = programs.next() {
        push(went, (at, Loading { program, unit }));
    }
}

/// Rulesets there may be: the main one and `set limit anchors`.
fn anchors(now: &Options, programs: &[Loading]) -> usize {
    let limit = programs.iter().find_map(|l| l.program.options()).unwrap_or(now).limits.anchors;
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1)
}

/// The interface a main ruleset counts packets of; `None` when it is none.
fn log_interface(main: &Program) -> Result<Option<Vec<u8>>, OutOfMemory> {
    let Some(options) = main.options() else { return Ok(None) };
    let name = options.loginterface.and_then(|id| main.iface(id)).map_or("", |name| main.text(*name));
    copied("names", name.as_bytes()).map(Some)
}

fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Appends to a list that room was taken for.
fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() < list.capacity() {
        list.push(item);
    }
}
