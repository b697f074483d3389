//! NDIS's functions, and an account of what they were called with.

use std::cell::{Cell, UnsafeCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use pfndis::os::{Events, Os, Supplies};
use pfndis::sys::code::{AT_DISPATCH, PENDING, SUCCESS, Status, info};
use pfndis::sys::layout::{Handle, LockState, Mdl, NetBufferList, OidRequest, Ptr, StatusIndication};
use pfndis::sys::list::{Chain, List, Maps};
use pfndis::sys::lock::{Levels, Shares};

use crate::inside::Side;
use crate::locks::{self, Locks, PROCESSORS};
use crate::numbers::Numbers;
use crate::sys;

/// Where a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// With whoever made it.
    Home,
    /// With the filter.
    Filter,
    /// Below: sent.
    Below,
    /// Above: indicated.
    Above,
    /// Above for the time of a call.
    Lent,
}

/// Whose a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Of the stack above, which sends.
    Protocol,
    /// Of the miniport below, which receives.
    Miniport,
    /// Of the filter.
    Own,
}

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A list went down: its frames.
    Sent(Handle, usize, Vec<Vec<u8>>),
    /// A list went up.
    Indicated(Handle, usize, Vec<Vec<u8>>),
    /// A list was completed to the protocol with this status.
    Completed(usize, Status),
    /// A list went back to the miniport.
    Returned(usize),
    /// A module is paused.
    Paused(Handle),
    /// A request was completed.
    Answered(usize, Status),
}

/// What NDIS holds a module to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Nothing leaves it.
    Paused,
    /// Everything goes.
    Running,
    /// What is under way ends.
    Pausing,
}

/// The account.
#[derive(Debug, Default)]
pub struct World {
    /// Lists there are.
    pub lists: BTreeMap<usize, (Whose, Place)>,
    /// The module a list that is below or above went through.
    pub via: BTreeMap<usize, Handle>,
    /// States of the modules that are watched.
    pub modules: BTreeMap<usize, Life>,
    /// What happened.
    pub events: Vec<Event>,
    /// Lists that went down or up for good, in order.
    pub left: Vec<usize>,
    pools: BTreeSet<usize>,
    mdls: BTreeSet<usize>,
    memory: BTreeMap<usize, usize>,
    clones: BTreeMap<usize, Handle>,
    answers: Vec<(usize, Status)>,
    /// Requests that went down and wait.
    pub requests: Vec<(usize, bool)>,
    next: usize,
    fail: Option<usize>,
    /// Allocations asked for.
    pub asked: usize,
    /// In how many milliseconds the driver asked last to be woken.
    pub woken: Option<u64>,
    /// What a request answers at once, when not `PENDING`.
    pub immediate: Option<Status>,
}

impl World {
    /// Whether the filter holds nothing at all.
    pub fn assert_empty(&self) {
        assert!(self.pools.is_empty(), "pools left: {:?}", self.pools);
        assert!(self.mdls.is_empty(), "pieces left: {:?}", self.mdls);
        assert!(self.memory.is_empty(), "memory left: {:?}", self.memory);
        assert!(self.clones.is_empty(), "requests left: {:?}", self.clones);
        assert!(
            self.lists.values().all(|(whose, place)| *whose != Whose::Own && *place == Place::Home),
            "{:?}",
            self.lists
        );
    }

    /// The state of a module changes: it was `from`.
    pub fn lives(&mut self, module: Handle, from: Life, to: Life) {
        let before = self.modules.insert(module.0.addr(), to);
        assert_eq!(before, Some(from), "{module:?} becomes {to:?}");
    }

    /// Whether anything that went through a module is out: a list, or a request.
    #[must_use]
    pub fn holds(&self, module: Handle) -> bool {
        if self.requests.iter().any(|(clone, _)| self.clones.get(clone) == Some(&module)) {
            return true;
        }
        let out = |at: &usize| matches!(self.lists.get(at), Some((_, Place::Below | Place::Above)));
        self.via.iter().any(|(at, by)| *by == module && out(at))
    }

    /// Lists that were lent are the miniport's again.
    pub fn lent_back(&mut self, lists: &[*mut NetBufferList]) {
        for list in lists {
            assert_eq!(self.moved(*list, Place::Filter, Place::Home), Whose::Miniport);
        }
    }

    /// No frame a module made is out.
    pub fn assert_back(&self, module: Handle) {
        for (at, (whose, place)) in &self.lists {
            let out = *whose == Whose::Own && *place != Place::Filter;
            assert!(
                !out || self.via.get(at) != Some(&module),
                "{module:?} is paused with a frame of its own {place:?}"
            );
        }
    }

    fn moved(&mut self, list: *mut NetBufferList, from: Place, to: Place) -> Whose {
        let entry = self.lists.get_mut(&list.addr()).expect("a list nobody made");
        assert_eq!(entry.1, from, "{list:?} of {:?}", entry.0);
        entry.1 = to;
        entry.0
    }
}

/// The mock.
#[derive(Debug, Default)]
pub struct Mock {
    world: Mutex<World>,
    locks: AtomicUsize,
    /// Reader-writer locks.
    pub shared: Locks,
    chosen: Mutex<Option<fn() -> bool>>,
}

thread_local! {
    /// Locks this thread holds.
    static HELD: Cell<usize> = const { Cell::new(0) };
    /// Its interrupt level.
    static LEVEL: Cell<u8> = const { Cell::new(PASSIVE) };
}

/// `PASSIVE_LEVEL`.
pub const PASSIVE: u8 = 0;
/// `DISPATCH_LEVEL`.
pub const DISPATCH: u8 = 2;

/// Runs `f` at a level, as whoever calls a handler there.
pub fn at_level<T>(level: u8, f: impl FnOnce() -> T) -> T {
    let before = set_level(level);
    let side = Side::driver();
    let out = f();
    drop(side);
    assert_eq!(set_level(before), level, "a handler left another level behind");
    out
}

/// Goes to a level, on a processor from `DISPATCH_LEVEL` on; the level before.
fn set_level(level: u8) -> u8 {
    let before = LEVEL.replace(level);
    match (before >= DISPATCH, level >= DISPATCH) {
        (false, true) => locks::stay(),
        (true, false) => locks::leave(),
        _ => {}
    }
    before
}

/// Flags that speak of the level speak the truth.
fn assert_flags(flags: u32) {
    assert!(flags & AT_DISPATCH == 0 || LEVEL.get() == DISPATCH, "DISPATCH_LEVEL was promised");
}

impl Mock {
    /// The account.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The allocation to fail, counted from now; `None` for none.
    pub fn fail(&self, at: Option<usize>) {
        let mut world = self.world();
        world.fail = at;
        world.asked = 0;
    }

    /// Who says of each allocation whether it is granted.
    pub fn choose(&self, chosen: fn() -> bool) {
        *self.chosen.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(chosen);
    }

    /// Locks taken so far.
    pub fn locks(&self) -> usize {
        self.locks.load(Ordering::SeqCst)
    }

    /// Everything that happened since this was asked last.
    pub fn events(&self) -> Vec<Event> {
        let mut world = self.world();
        world.left.clear();
        core::mem::take(&mut world.events)
    }

    /// Makes a list of frames, each cut into pieces at these places, and hands it to the filter.
    pub fn list(&self, whose: Whose, frames: &[sys::Frame]) -> *mut NetBufferList {
        let list = sys::list_of(frames);
        self.world().lists.insert(list.expose_provenance(), (whose, Place::Filter));
        list
    }

    /// A list is at home and goes.
    pub fn drop_list(&self, list: *mut NetBufferList) {
        assert_eq!(self.world().lists.remove(&list.addr()).map(|l| l.1), Some(Place::Home));
        sys::free_list(list, true);
    }

    /// Lists somewhere, in order of their address.
    pub fn at(&self, place: Place) -> Vec<*mut NetBufferList> {
        let world = self.world();
        let here = world.lists.iter().filter(|(_, (_, p))| *p == place);
        here.map(|(at, _)| core::ptr::with_exposed_provenance_mut(*at)).collect()
    }

    /// Hands lists from below or above back to the filter.
    pub fn hand_back(&self, lists: &[*mut NetBufferList], from: Place) -> Chain {
        let mut world = self.world();
        for list in lists {
            world.moved(*list, from, Place::Filter);
        }
        drop(world);
        sys::chain(lists)
    }

    /// Takes some lists that are out through a module back, in any order.
    pub fn claim(&self, module: Handle, place: Place, most: usize, random: &mut Numbers) -> Vec<*mut NetBufferList> {
        let mut world = self.world();
        let here = world.lists.iter().filter(|(at, (_, p))| *p == place && world.via.get(at) == Some(&module));
        let all: Vec<*mut NetBufferList> = here.map(|(at, _)| core::ptr::with_exposed_provenance_mut(*at)).collect();
        let mut lists = random.shuffled(all);
        lists.truncate(most);
        for list in &lists {
            world.moved(*list, place, Place::Filter);
        }
        lists
    }

    /// The module a request that is under way is a clone of.
    pub fn clone_of(&self, clone: usize) -> Option<Handle> {
        self.world().clones.get(&clone).copied()
    }

    /// Requests that were completed since this was asked last.
    pub fn take_answers(&self) -> Vec<(usize, Status)> {
        core::mem::take(&mut self.world().answers)
    }

    fn free_to_call(&self, what: &str) -> MutexGuard<'_, World> {
        assert_eq!(HELD.get(), 0, "{what} with a lock held");
        assert!(LEVEL.get() <= DISPATCH, "{what} above DISPATCH_LEVEL");
        self.world()
    }

    fn allocate(&self) -> Option<MutexGuard<'_, World>> {
        let chosen = *self.chosen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let side = Side::driver();
        if chosen.is_some_and(|granted| !granted()) {
            return None;
        }
        drop(side);
        let mut world = self.world();
        world.asked += 1;
        (world.fail != Some(world.asked)).then_some(world)
    }

    fn out(&self, module: Handle, lists: Chain, flags: u32, down: bool) {
        assert_flags(flags);
        let lists = sys::take(lists);
        assert!(!lists.is_empty(), "an empty chain");
        let mut world = self.free_to_call("a list handed on");
        assert_ne!(world.modules.get(&module.0.addr()), Some(&Life::Paused), "a frame leaves {module:?}");
        for list in lists {
            let bytes = sys::bytes(list);
            let whose = world.moved(list, Place::Filter, if down { Place::Below } else { Place::Above });
            if whose == Whose::Own {
                assert_eq!(sys::source(list), module, "own lists name the module they leave by");
            }
            world.via.insert(list.addr(), module);
            world.left.push(list.addr());
            let event = if down { Event::Sent } else { Event::Indicated };
            world.events.push(event(module, list.addr(), bytes));
        }
    }
}

impl Levels for Mock {
    fn acquire(&self, word: &UnsafeCell<usize>) -> u8 {
        let (word, before) = (sys::atomic(word), set_level(DISPATCH));
        while word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::thread::yield_now();
        }
        self.locks.fetch_add(1, Ordering::SeqCst);
        HELD.set(HELD.get() + 1);
        before
    }

    fn release(&self, word: &UnsafeCell<usize>, level: u8) {
        sys::atomic(word).store(0, Ordering::Release);
        given_back(level);
    }
}

/// A lock is given back, and the level before.
fn given_back(level: u8) {
    let held = HELD.get().checked_sub(1).expect("a lock that is held");
    HELD.set(held);
    assert!(held == 0 || level == DISPATCH, "locks go back in the other order");
    assert_eq!(set_level(level), DISPATCH, "a lock is held at DISPATCH_LEVEL");
}

/// Another level than any, so that a state that was not filled in shows.
const NO_LEVEL: u8 = 0x77;

impl Mock {
    fn acquire_shared(&self, lock: Handle, state: &mut LockState, alone: bool) {
        assert_eq!(HELD.get(), 0, "the driver's lock comes before all others");
        state.level = set_level(DISPATCH);
        state.state = if alone { 4 } else { 3 };
        self.shared.acquire(lock, alone);
        self.locks.fetch_add(1, Ordering::SeqCst);
        HELD.set(1);
    }
}

impl Shares for Mock {
    fn new_lock(&self) -> Handle {
        let _side = Side::mock();
        if self.allocate().is_some() { self.shared.make() } else { Handle::NONE }
    }

    fn free_lock(&self, lock: Handle) {
        let _side = Side::mock();
        assert!(HELD.get() == 0 || std::thread::panicking(), "a lock goes with a lock held");
        self.shared.free(lock);
    }

    fn share(&self, lock: Handle, state: &mut LockState) {
        let _side = Side::mock();
        self.acquire_shared(lock, state, false);
    }

    fn take(&self, lock: Handle, state: &mut LockState) {
        let _side = Side::mock();
        self.acquire_shared(lock, state, true);
    }

    fn give(&self, lock: Handle, state: &mut LockState) {
        let _side = Side::mock();
        assert!(matches!(state.state, 3 | 4), "the state of another lock");
        self.shared.release(lock);
        given_back(core::mem::replace(&mut state.level, NO_LEVEL));
    }

    fn processors(&self) -> u32 {
        u32::try_from(PROCESSORS).expect("few processors")
    }

    fn processor(&self) -> u32 {
        locks::processor()
    }
}

impl Maps for Mock {
    fn map(&self, mdl: *mut Mdl) -> *mut u8 {
        let _side = Side::mock();
        match self.allocate() {
            Some(_) => sys::map(mdl),
            None => core::ptr::null_mut(),
        }
    }
}

impl Supplies for Mock {
    fn new_pool(&self, _: Handle) -> Handle {
        let _side = Side::mock();
        let Some(mut world) = self.allocate() else { return Handle::NONE };
        world.next += 16;
        let pool = world.next;
        world.pools.insert(pool);
        Handle(core::ptr::without_provenance_mut(pool))
    }

    fn free_pool(&self, pool: Handle) {
        let _side = Side::mock();
        assert!(self.world().pools.remove(&pool.0.addr()), "no such pool");
    }

    fn new_list(&self, pool: Handle, mdl: *mut Mdl, offset: u32, length: usize) -> Option<List> {
        let _side = Side::mock();
        let mut world = self.allocate()?;
        assert!(world.pools.contains(&pool.0.addr()) && world.mdls.contains(&mdl.addr()));
        let list = sys::list_with_frame(pool, mdl, offset, length as u32);
        world.lists.insert(list.expose_provenance(), (Whose::Own, Place::Filter));
        sys::own(list)
    }

    fn free_list(&self, list: List) {
        let _side = Side::mock();
        let list = list.into_raw();
        let gone = self.world().lists.remove(&list.addr());
        assert_eq!(gone, Some((Whose::Own, Place::Filter)), "a list that is out, or another's");
        sys::free_list(list, false);
    }

    fn new_mdl(&self, _: Handle, at: *mut u8, length: u32) -> *mut Mdl {
        let _side = Side::mock();
        let Some(mut world) = self.allocate() else { return core::ptr::null_mut() };
        let mdl = sys::mdl(at, length, true);
        world.mdls.insert(mdl.addr());
        mdl
    }

    fn free_mdl(&self, mdl: *mut Mdl) {
        let _side = Side::mock();
        assert!(self.world().mdls.remove(&mdl.addr()), "no such piece");
        sys::free_mdl(mdl);
    }

    fn new_memory(&self, length: usize) -> *mut u8 {
        let _side = Side::mock();
        let Some(mut world) = self.allocate() else { return core::ptr::null_mut() };
        let at = sys::memory(length);
        world.memory.insert(at.addr(), length);
        at
    }

    fn free_memory(&self, at: *mut u8, length: usize) {
        let _side = Side::mock();
        assert_eq!(self.world().memory.remove(&at.addr()), Some(length), "no such memory");
        sys::free_memory(at, length);
    }

    fn wake(&self, ms: u64) {
        self.world().woken = Some(ms);
    }

    fn copy_send_info(&self, to: &mut List, from: &List) {
        let _side = Side::mock();
        sys::copy_info(to, from, &info::COPIED_OF_SENT);
    }

    fn copy_receive_info(&self, to: &mut List, from: &List) {
        let _side = Side::mock();
        sys::copy_info(to, from, &info::COPIED_OF_RECEIVED);
    }

    fn clone_oid(&self, module: Handle, request: *mut OidRequest) -> *mut OidRequest {
        let _side = Side::mock();
        let Some(mut world) = self.allocate() else { return core::ptr::null_mut() };
        let clone = sys::clone_request(request);
        world.clones.insert(clone.expose_provenance(), module);
        clone
    }

    fn free_oid(&self, _: Handle, request: *mut OidRequest) {
        let _side = Side::mock();
        assert!(self.world().clones.remove(&request.addr()).is_some(), "no such request");
        sys::free_request(request);
    }
}

impl Os for Mock {
    fn send(&self, module: Handle, lists: Chain, _: u32, flags: u32) {
        let _side = Side::mock();
        self.out(module, lists, flags, true);
    }

    fn send_complete(&self, _: Handle, lists: Chain, flags: u32) {
        let _side = Side::mock();
        assert_flags(flags);
        let lists = sys::take(lists);
        assert!(!lists.is_empty(), "an empty chain");
        let mut world = self.free_to_call("a completion");
        for list in lists {
            assert_eq!(world.moved(list, Place::Filter, Place::Home), Whose::Protocol);
            world.events.push(Event::Completed(list.addr(), sys::status(list)));
        }
    }

    fn indicate(&self, module: Handle, lists: Chain, _: u32, flags: u32) {
        let _side = Side::mock();
        assert_eq!(flags & 2, 0, "lent lists are not indicated for good");
        self.out(module, lists, flags, false);
    }

    fn indicate_lent(&self, module: Handle, first: &List, count: u32, _: u32, flags: u32) {
        let _side = Side::mock();
        assert_eq!(flags & 2, 2);
        assert_flags(flags);
        let mut world = self.free_to_call("an indication");
        let lists = sys::linked(first.as_ptr());
        assert_eq!(lists.len(), count as usize);
        for list in lists {
            world.moved(list, Place::Filter, Place::Lent);
            world.events.push(Event::Indicated(module, list.addr(), sys::bytes(list)));
            world.moved(list, Place::Lent, Place::Filter);
        }
    }

    fn give_back(&self, _: Handle, lists: Chain, flags: u32) {
        let _side = Side::mock();
        assert_flags(flags);
        let lists = sys::take(lists);
        assert!(!lists.is_empty(), "an empty chain");
        let mut world = self.free_to_call("a return");
        for list in lists {
            assert_eq!(world.moved(list, Place::Filter, Place::Home), Whose::Miniport);
            world.events.push(Event::Returned(list.addr()));
        }
    }

    fn cancel_send(&self, _: Handle, _: Ptr) {
        let _side = Side::mock();
        drop(self.free_to_call("a cancel"));
    }

    fn pause_complete(&self, module: Handle) {
        let _side = Side::mock();
        let mut world = self.free_to_call("the end of a pause");
        if world.modules.contains_key(&module.0.addr()) {
            world.lives(module, Life::Pausing, Life::Paused);
        }
        world.assert_back(module);
        world.events.push(Event::Paused(module));
    }

    fn oid(&self, _: Handle, request: *mut OidRequest, direct: bool) -> Status {
        let _side = Side::mock();
        let mut world = self.free_to_call("a request");
        assert!(world.clones.contains_key(&request.addr()), "only a clone goes down");
        if let Some(status) = world.immediate {
            sys::set_answer(request, 7, 9);
            return status;
        }
        world.requests.push((request.expose_provenance(), direct));
        PENDING
    }

    fn oid_complete(&self, _: Handle, request: *mut OidRequest, status: Status, _: bool) {
        let _side = Side::mock();
        let mut world = self.free_to_call("an answer");
        world.answers.push((request.addr(), status));
        world.events.push(Event::Answered(request.addr(), status));
    }

    fn cancel_oid(&self, _: Handle, _: Ptr, _: bool) {
        let _side = Side::mock();
        drop(self.free_to_call("a cancel"));
    }
}

impl Events for Mock {
    fn status(&self, _: Handle, _: *mut StatusIndication) {
        let _side = Side::mock();
        drop(self.free_to_call("a status"));
    }

    fn net_event(&self, _: Handle, _: Ptr) -> Status {
        let _side = Side::mock();
        drop(self.free_to_call("an event"));
        SUCCESS
    }

    fn device_event(&self, _: Handle, _: Ptr) {
        let _side = Side::mock();
        drop(self.free_to_call("an event"));
    }
}
