//! NDIS around an intermediate driver: adapters below, miniports above, and an account of everything that moves.
//!
//! Whatever must not happen ends the test: a list sent by a paused binding or with another source than the binding's, one
//! indicated by a miniport that is not running, a list that goes back with another source than it came with or with a
//! context more, anything called with a lock held, a second completion.

pub mod sys;

use std::cell::{Cell, UnsafeCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pfndis::im::os::Ndis;
use pfndis::os::Supplies;
use pfndis::sys::code::{FAILURE, PENDING, SUCCESS, Status, info};
use pfndis::sys::layout::{Handle, Header, LockState, Mdl, NetBufferList, OidRequest, Ptr, StatusIndication};
use pfndis::sys::layout_im::BindParameters;
use pfndis::sys::list::{Chain, List, Maps};
use pfndis::sys::lock::{Levels, Shares};

use crate::inside::Side;
use crate::locks::{self, Locks, PROCESSORS};
use crate::sys as memory;

/// Where a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// With whoever made it.
    Home,
    /// With the driver.
    Driver,
    /// Sent.
    Below,
    /// Indicated.
    Above,
}

/// Whose a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Of the stack above, which sends.
    Stack,
    /// Of the adapter below, which receives.
    Card,
    /// Of the driver.
    Own,
}

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A list went down by a binding: its frames.
    Sent(usize, Vec<Vec<u8>>),
    /// A list went up from a miniport.
    Indicated(usize, Vec<Vec<u8>>),
    /// A list was completed to the stack.
    Completed(usize, Status),
    /// A list went back to the adapter.
    Returned(usize),
    /// A miniport is paused.
    Paused,
    /// A request was completed.
    Answered(usize, Status),
    /// A status went up: its code, the connect state when it is of a link.
    Said(i32, Option<i32>),
    /// A bind is complete.
    Bound(Status),
    /// An unbind is complete.
    Unbound(usize),
    /// A miniport was asked for.
    Asked,
    /// A miniport is to go.
    Stopped(usize),
}

/// Something to be done while the driver waits.
type Deed = Box<dyn FnOnce() + Send>;

/// The account.
#[derive(Default)]
pub struct World {
    /// In how many milliseconds the driver asked last to be woken.
    pub woken: Option<u64>,
    /// Lists there are.
    pub lists: BTreeMap<usize, (Whose, Place)>,
    /// Lists with a context of the driver's.
    pub contexts: BTreeSet<usize>,
    /// What happened.
    pub events: Vec<Event>,
    /// Lists that went down or up for good, in order, and by which handle.
    pub left: Vec<(usize, Handle)>,
    pools: BTreeSet<usize>,
    mdls: BTreeSet<usize>,
    memory: BTreeMap<usize, usize>,
    clones: BTreeSet<usize>,
    /// Requests that went down and wait: clone, direct.
    pub requests: Vec<(usize, bool)>,
    /// Attributes that were set.
    pub attributes: Vec<sys::Attributes>,
    /// Bindings that may send.
    pub sends: BTreeSet<usize>,
    /// Miniports that may indicate.
    pub indicates: BTreeSet<usize>,
    /// Bindings that are open.
    pub open: BTreeSet<usize>,
    /// What an open says, and a close, and a start; what a cancelled start says.
    pub says: Says,
    next: usize,
    fail: Option<usize>,
    asked: usize,
    chosen: Option<fn() -> bool>,
    deeds: Vec<Deed>,
    /// Whether making a list's context fails.
    pub no_context: bool,
    /// What a request is answered at once, when it is.
    pub immediate: Option<Status>,
}

/// What NDIS says to what the driver asks.
#[derive(Clone, Copy, Debug)]
pub struct Says {
    /// To an open.
    pub open: Status,
    /// To a close.
    pub close: Status,
    /// To the wish for a miniport.
    pub start: Status,
    /// To the wish to have none after all.
    pub cancel: Status,
    /// To attributes.
    pub attributes: Status,
}

impl Default for Says {
    fn default() -> Self {
        Self { open: SUCCESS, close: SUCCESS, start: SUCCESS, cancel: FAILURE, attributes: SUCCESS }
    }
}

impl World {
    /// Whether the driver holds nothing at all.
    pub fn assert_empty(&self) {
        assert!(self.open.is_empty(), "bindings left: {:?}", self.open);
        assert!(self.pools.is_empty() && self.mdls.is_empty(), "{:?} {:?}", self.pools, self.mdls);
        assert!(self.memory.is_empty(), "memory left: {:?}", self.memory);
        assert!(self.clones.is_empty() && self.contexts.is_empty(), "{:?} {:?}", self.clones, self.contexts);
        let home = self.lists.values().all(|(whose, place)| *whose != Whose::Own && *place == Place::Home);
        assert!(home, "{:?}", self.lists);
    }

    fn moved(&mut self, list: *mut NetBufferList, from: Place, to: Place) -> Whose {
        let entry = self.lists.get_mut(&list.addr()).expect("a list nobody made");
        assert_eq!(entry.1, from, "{list:?} of {:?}", entry.0);
        entry.1 = to;
        entry.0
    }

    fn number(&mut self) -> usize {
        self.next += 0x100;
        self.next
    }
}

/// A handle of a number.
#[must_use]
pub const fn handle(n: usize) -> Handle {
    Handle(std::ptr::without_provenance_mut(n))
}

/// Source of what the stack above sends.
pub const STACK: Handle = handle(0x7770);
/// Source of what the adapter below receives.
pub const CARD: Handle = handle(0x8880);

/// The mock.
#[derive(Default)]
pub struct Nt {
    world: Mutex<World>,
    shared: Locks,
}

impl core::fmt::Debug for Nt {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Nt")
    }
}

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

impl Nt {
    /// The account.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that happened since this was asked last.
    pub fn events(&self) -> Vec<Event> {
        let mut world = self.world();
        world.left.clear();
        core::mem::take(&mut world.events)
    }

    /// The allocation to fail, counted from now; `None` for none.
    pub fn fail(&self, at: Option<usize>) {
        let mut world = self.world();
        (world.fail, world.asked) = (at, 0);
    }

    /// Something to be done when the driver waits next.
    pub fn while_waiting(&self, deed: impl FnOnce() + Send + 'static) {
        self.world().deeds.push(Box::new(deed));
    }

    /// Makes a list of frames of one piece each and hands it to the driver.
    pub fn list(&self, whose: Whose, frames: &[Vec<u8>]) -> *mut NetBufferList {
        let whole: Vec<memory::Frame> = frames.iter().map(|bytes| (bytes.clone(), vec![], 0)).collect();
        self.cut_list(whose, &whole)
    }

    /// Likewise, each frame in pieces.
    pub fn cut_list(&self, whose: Whose, frames: &[memory::Frame]) -> *mut NetBufferList {
        let list = memory::list_of(frames);
        sys::set_source(list, if whose == Whose::Stack { STACK } else { CARD });
        self.world().lists.insert(list.expose_provenance(), (whose, Place::Driver));
        list
    }

    /// Lists somewhere.
    pub fn at(&self, place: Place) -> Vec<*mut NetBufferList> {
        let world = self.world();
        let here = world.lists.iter().filter(|(_, (_, p))| *p == place);
        here.map(|(at, _)| core::ptr::with_exposed_provenance_mut(*at)).collect()
    }

    /// Takes lists from below or above, to hand them back. Those that are gone already are left out.
    pub fn take(&self, lists: &[*mut NetBufferList], from: Place) -> Vec<*mut NetBufferList> {
        let mut world = self.world();
        let mut out = Vec::new();
        for list in lists {
            if world.lists.get(&list.addr()).is_some_and(|l| l.1 == from) {
                world.moved(*list, from, Place::Driver);
                out.push(*list);
            }
        }
        out
    }

    /// Frees the lists that are at home.
    pub fn sweep(&self) {
        for list in self.at(Place::Home) {
            self.world().lists.remove(&list.addr());
            memory::free_list(list, true);
        }
    }

    fn called(&self, what: &str) -> MutexGuard<'_, World> {
        HELD.with(|held| assert_eq!(held.get(), 0, "{what} with a lock held"));
        self.world()
    }

    /// Who says of each allocation whether it is granted.
    pub fn choose(&self, chosen: fn() -> bool) {
        self.world().chosen = Some(chosen);
    }

    fn allocate(&self) -> Option<MutexGuard<'_, World>> {
        let chosen = self.world().chosen;
        let side = Side::driver();
        if chosen.is_some_and(|granted| !granted()) {
            return None;
        }
        drop(side);
        let mut world = self.world();
        world.asked += 1;
        (world.fail != Some(world.asked)).then_some(world)
    }

    fn home(&self, what: &str, lists: Chain, whose: Whose, event: impl Fn(*mut NetBufferList) -> Event) {
        let lists = memory::take(lists);
        assert!(!lists.is_empty(), "an empty chain");
        let mut world = self.called(what);
        for list in lists {
            assert_eq!(world.moved(list, Place::Driver, Place::Home), whose, "{what}");
            assert_eq!(memory::source(list), if whose == Whose::Stack { STACK } else { CARD }, "{what}: its source");
            assert!(!world.contexts.contains(&list.addr()), "{what} with a context of the driver's");
            world.events.push(event(list));
        }
    }

    fn out(&self, by: Handle, lists: Chain, to: Place) {
        let lists = memory::take(lists);
        assert!(!lists.is_empty(), "an empty chain");
        let mut world = self.called("a list handed on");
        let may = if to == Place::Below {
            world.sends.contains(&by.0.addr())
        } else {
            world.indicates.contains(&by.0.addr())
        };
        assert!(may, "{by:?} is paused");
        for list in lists {
            assert_eq!(memory::source(list), by, "a list names who it leaves by");
            world.moved(list, Place::Driver, to);
            world.left.push((list.addr(), by));
            let bytes = memory::bytes(list);
            let at = by.0.addr();
            world.events.push(if to == Place::Below { Event::Sent(at, bytes) } else { Event::Indicated(at, bytes) });
        }
    }
}

impl Levels for Nt {
    fn acquire(&self, word: &UnsafeCell<usize>) -> u8 {
        let word = memory::atomic(word);
        while word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::thread::yield_now();
        }
        HELD.with(|held| held.set(held.get() + 1));
        0
    }

    fn release(&self, word: &UnsafeCell<usize>, _: u8) {
        HELD.with(|held| held.set(held.get() - 1));
        memory::atomic(word).store(0, Ordering::Release);
    }
}

impl Shares for Nt {
    fn new_lock(&self) -> Handle {
        let _side = Side::mock();
        if self.allocate().is_some() { self.shared.make() } else { Handle::NONE }
    }

    fn free_lock(&self, lock: Handle) {
        let _side = Side::mock();
        self.shared.free(lock);
    }

    fn share(&self, lock: Handle, _: &mut LockState) {
        let _side = Side::mock();
        self.acquire_shared(lock, false);
    }

    fn take(&self, lock: Handle, _: &mut LockState) {
        let _side = Side::mock();
        self.acquire_shared(lock, true);
    }

    fn give(&self, lock: Handle, _: &mut LockState) {
        let _side = Side::mock();
        self.shared.release(lock);
        HELD.with(|held| held.set(held.get() - 1));
        locks::leave();
    }

    fn processors(&self) -> u32 {
        u32::try_from(PROCESSORS).expect("few processors")
    }

    fn processor(&self) -> u32 {
        locks::processor()
    }
}

impl Nt {
    fn acquire_shared(&self, lock: Handle, alone: bool) {
        HELD.with(|held| assert_eq!(held.get(), 0, "the driver's lock comes before all others"));
        locks::stay();
        self.shared.acquire(lock, alone);
        HELD.with(|held| held.set(1));
    }
}

impl Maps for Nt {
    fn map(&self, mdl: *mut Mdl) -> *mut u8 {
        let _side = Side::mock();
        match self.allocate() {
            Some(_) => memory::map(mdl),
            None => core::ptr::null_mut(),
        }
    }
}

impl Supplies for Nt {
    fn new_pool(&self, of: Handle) -> Handle {
        let _side = Side::mock();
        assert_ne!(of, Handle::NONE, "a pool of nobody");
        let Some(mut world) = self.allocate() else { return Handle::NONE };
        let pool = world.number();
        world.pools.insert(pool);
        handle(pool)
    }

    fn free_pool(&self, pool: Handle) {
        let _side = Side::mock();
        assert!(self.world().pools.remove(&pool.0.addr()), "no such pool");
    }

    fn new_list(&self, pool: Handle, mdl: *mut Mdl, offset: u32, length: usize) -> Option<List> {
        let _side = Side::mock();
        let mut world = self.allocate()?;
        let list = memory::list_with_frame(pool, mdl, offset, length as u32);
        world.lists.insert(list.expose_provenance(), (Whose::Own, Place::Driver));
        memory::own(list)
    }

    fn free_list(&self, list: List) {
        let _side = Side::mock();
        let list = list.into_raw();
        assert_eq!(self.world().lists.remove(&list.addr()), Some((Whose::Own, Place::Driver)));
        memory::free_list(list, false);
    }

    fn new_mdl(&self, _: Handle, at: *mut u8, length: u32) -> *mut Mdl {
        let _side = Side::mock();
        let Some(mut world) = self.allocate() else { return core::ptr::null_mut() };
        let mdl = memory::mdl(at, length, true);
        world.mdls.insert(mdl.addr());
        mdl
    }

    fn free_mdl(&self, mdl: *mut Mdl) {
        let _side = Side::mock();
        assert!(self.world().mdls.remove(&mdl.addr()), "no such piece");
        memory::free_mdl(mdl);
    }

    fn new_memory(&self, length: usize) -> *mut u8 {
        let _side = Side::mock();
        let Some(mut world) = self.allocate() else { return core::ptr::null_mut() };
        let at = memory::memory(length);
        world.memory.insert(at.addr(), length);
        at
    }

    fn free_memory(&self, at: *mut u8, length: usize) {
        let _side = Side::mock();
        assert_eq!(self.world().memory.remove(&at.addr()), Some(length), "no such memory");
        memory::free_memory(at, length);
    }

    fn wake(&self, ms: u64) {
        let _side = Side::mock();
        self.world().woken = Some(ms);
    }

    fn copy_send_info(&self, to: &mut List, from: &List) {
        let _side = Side::mock();
        memory::copy_info(to, from, &info::COPIED_OF_SENT);
    }

    fn copy_receive_info(&self, to: &mut List, from: &List) {
        let _side = Side::mock();
        memory::copy_info(to, from, &info::COPIED_OF_RECEIVED);
    }

    fn clone_oid(&self, by: Handle, request: *mut OidRequest) -> *mut OidRequest {
        let _side = Side::mock();
        let Some(mut world) = self.allocate() else { return core::ptr::null_mut() };
        assert!(world.open.contains(&by.0.addr()), "a clone for a binding that is not open");
        let clone = memory::clone_request(request);
        world.clones.insert(clone.addr());
        clone
    }

    fn free_oid(&self, _: Handle, request: *mut OidRequest) {
        let _side = Side::mock();
        assert!(self.world().clones.remove(&request.addr()), "no such request");
        memory::free_request(request);
    }
}

impl Ndis for Nt {
    fn open(&self, adapter: Handle, _: *mut BindParameters, _: Handle, binding: *mut Handle) -> Status {
        let _side = Side::mock();
        let mut world = self.called("an open");
        let n = world.number();
        assert_ne!(adapter, Handle::NONE);
        if world.says.open == SUCCESS || world.says.open == PENDING {
            sys::write_handle(binding, handle(n));
            world.open.insert(n);
        }
        world.says.open
    }

    fn close(&self, binding: Handle) -> Status {
        let _side = Side::mock();
        let mut world = self.called("a close");
        assert!(world.open.remove(&binding.0.addr()), "a binding closed twice");
        assert!(world.requests.is_empty(), "closed with requests under way");
        world.says.close
    }

    fn bound(&self, bind: Handle, status: Status) {
        let _side = Side::mock();
        assert_eq!(bind, handle(0xB1D));
        self.called("a bind completed").events.push(Event::Bound(status));
    }

    fn unbound(&self, unbind: Handle) {
        let _side = Side::mock();
        self.called("an unbind completed").events.push(Event::Unbound(unbind.0.addr()));
    }

    fn start(&self, binding: Handle, _: Handle, _: Ptr) -> Status {
        let _side = Side::mock();
        let mut world = self.called("a start");
        assert!(world.open.contains(&binding.0.addr()));
        world.events.push(Event::Asked);
        world.says.start
    }

    fn cancel_start(&self, _: Handle) -> Status {
        let _side = Side::mock();
        self.called("a cancelled start").says.cancel
    }

    fn stop(&self, miniport: Handle) {
        let _side = Side::mock();
        assert_ne!(miniport, Handle::NONE);
        self.called("a stop").events.push(Event::Stopped(miniport.0.addr()));
    }

    fn set_attributes(&self, miniport: Handle, attributes: *const Header) -> Status {
        let _side = Side::mock();
        assert_ne!(miniport, Handle::NONE);
        let mut world = self.called("attributes");
        world.attributes.push(sys::attributes(attributes));
        world.says.attributes
    }

    fn send(&self, binding: Handle, lists: Chain, _: u32, flags: u32) {
        let _side = Side::mock();
        assert_eq!(flags & 2, 0, "NDIS looped back above already");
        self.out(binding, lists, Place::Below);
    }

    fn give_back(&self, _: Handle, lists: Chain, _: u32) {
        let _side = Side::mock();
        self.home("a return", lists, Whose::Card, |list| Event::Returned(list.addr()));
    }

    fn cancel_send(&self, binding: Handle, _: Ptr) {
        let _side = Side::mock();
        assert!(self.called("a cancel").open.contains(&binding.0.addr()));
    }

    fn oid(&self, binding: Handle, request: *mut OidRequest, direct: bool) -> Status {
        let _side = Side::mock();
        let mut world = self.called("a request");
        assert!(world.open.contains(&binding.0.addr()) && world.clones.contains(&request.addr()));
        if let Some(status) = world.immediate {
            memory::set_answer(request, 7, 9);
            return status;
        }
        world.requests.push((request.expose_provenance(), direct));
        PENDING
    }

    fn cancel_oid(&self, binding: Handle, _: Ptr, _: bool) {
        let _side = Side::mock();
        assert!(self.called("a cancel").open.contains(&binding.0.addr()));
    }

    fn send_complete(&self, _: Handle, lists: Chain, _: u32) {
        let _side = Side::mock();
        self.home("a completion", lists, Whose::Stack, |list| Event::Completed(list.addr(), memory::status(list)));
    }

    fn indicate(&self, miniport: Handle, lists: Chain, _: u32, flags: u32) {
        let _side = Side::mock();
        assert_eq!(flags & 2, 0, "lent lists are not indicated for good");
        self.out(miniport, lists, Place::Above);
    }

    fn indicate_lent(&self, miniport: Handle, first: &List, count: u32, _: u32, flags: u32) {
        let _side = Side::mock();
        assert_eq!((flags & 2, count), (2, 1));
        let mut world = self.called("an indication");
        assert!(world.indicates.contains(&miniport.0.addr()), "{miniport:?} is paused");
        assert_eq!(first.source(), miniport);
        let bytes = memory::bytes(first.as_ptr());
        world.events.push(Event::Indicated(miniport.0.addr(), bytes));
    }

    fn oid_complete(&self, _: Handle, request: *mut OidRequest, status: Status, _: bool) {
        let _side = Side::mock();
        self.called("an answer").events.push(Event::Answered(request.addr(), status));
    }

    fn status(&self, miniport: Handle, status: *mut StatusIndication) {
        let _side = Side::mock();
        let (source, code, connect) = sys::said(status);
        assert_eq!(source, miniport);
        self.called("a status").events.push(Event::Said(code, connect));
    }

    fn pause_complete(&self, miniport: Handle) {
        let _side = Side::mock();
        let mut world = self.called("the end of a pause");
        assert!(world.indicates.remove(&miniport.0.addr()), "paused twice");
        world.events.push(Event::Paused);
    }

    fn new_context(&self, list: &mut List) -> bool {
        let _side = Side::mock();
        let Some(mut world) = self.allocate().filter(|w| !w.no_context) else { return false };
        assert!(world.contexts.insert(list.as_ptr().addr()), "a second context");
        sys::push_context(list.as_ptr());
        true
    }

    fn free_context(&self, list: &mut List) {
        let _side = Side::mock();
        assert!(self.world().contexts.remove(&list.as_ptr().addr()), "no context");
        sys::pop_context(list.as_ptr());
    }

    fn sleep(&self) {
        let _side = Side::mock();
        let deeds = core::mem::take(&mut self.called("a wait").deeds);
        if deeds.is_empty() {
            std::thread::yield_now();
        }
        for deed in deeds {
            deed();
        }
    }
}
