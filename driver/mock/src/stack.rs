//! The orders NDIS gives a driver, from any thread: attach to detach, frames, their completions, requests, events.
//!
//! A [`Stack`] gives only legal orders: a module that is detached is called no more, one order about a module's state at a
//! time, all lists back before a detach. Everything else comes as it likes: data while a module pauses or is paused,
//! completions in any order and in chains of any length, at either level.

use std::sync::{Mutex, RwLock};

use pfndis::frames::Supply;
use pfndis::judge::{Adapter, Judge};
use pfndis::module::{Driver, Module};
use pfndis::sys::code::{AT_DISPATCH, PENDING, RECEIVE_RESOURCES, SUCCESS, Status};
use pfndis::sys::layout::{Handle, NetBufferList, OidRequest};
use pfndis::sys::modules::Ref;

use crate::numbers::Numbers;
use crate::sys;
use crate::world::{DISPATCH, Life, Mock, PASSIVE, Place, Whose, at_level};

pub use crate::sys::Frame;
/// A list: its frames, its out-of-band data by place.
pub type One = (Vec<Frame>, Vec<(usize, usize)>);

type Context<J> = Ref<Module<Mock, J>>;

/// An adapter, and the module on it.
#[derive(Debug)]
struct Slot<J: Judge + 'static> {
    module: RwLock<Option<Context<J>>>,
    /// Held by who gives an order about its state.
    order: Mutex<()>,
}

/// A driver with adapters.
#[derive(Debug)]
pub struct Stack<J: Judge + 'static> {
    /// The driver.
    pub driver: sys::Placed<Driver<Mock, J>>,
    slots: Vec<Slot<J>>,
    /// Requests that were made, and what was answered: `None` while they are under way.
    pub asked: Mutex<Vec<(usize, Option<Status>)>>,
}

/// The handle of an adapter's module.
#[must_use]
pub fn handle(n: usize) -> Handle {
    Handle(std::ptr::without_provenance_mut(0x1000 + n * 0x10))
}

/// The adapter of a module's handle.
fn number(handle: Handle) -> usize {
    (handle.0.addr() - 0x1000) / 0x10
}

/// A level and the flag that says so, or does not.
fn level(random: &mut Numbers) -> (u8, u32) {
    random.pick(&[(PASSIVE, 0), (DISPATCH, 0), (DISPATCH, AT_DISPATCH)])
}

impl<J: Judge> Stack<J> {
    /// A driver with adapters on which there are no modules yet. `None` when memory is short.
    #[must_use]
    pub fn new(judge: J, supply: Supply, adapters: usize) -> Option<Self> {
        Self::over(Mock::default(), judge, supply, adapters)
    }

    /// Likewise over a mock that was prepared.
    #[must_use]
    pub fn over(mock: Mock, judge: J, supply: Supply, adapters: usize) -> Option<Self> {
        let driver = sys::Placed::new(at_level(PASSIVE, || Driver::new(mock, judge, supply))?);
        let slots = (0..adapters).map(|_| Slot { module: RwLock::new(None), order: Mutex::new(()) }).collect();
        Some(Self { driver, slots, asked: Mutex::new(Vec::new()) })
    }

    /// The mock.
    #[must_use]
    pub fn os(&self) -> &Mock {
        &self.driver.os
    }

    /// How many adapters there are.
    #[must_use]
    pub fn adapters(&self) -> usize {
        self.slots.len()
    }

    /// The state of an adapter's module, if there is one.
    #[must_use]
    pub fn life(&self, n: usize) -> Option<Life> {
        self.os().world().modules.get(&handle(n).0.addr()).copied()
    }

    /// Calls a module that is attached; it stays so meanwhile.
    pub fn with<T>(&self, n: usize, f: impl FnOnce(&Module<Mock, J>) -> T) -> Option<T> {
        let module = self.slots[n].module.read().expect("no thread fails holding this");
        module.as_ref().map(|m| f(m.get()))
    }

    /// `FilterAttach`, when nothing is attached: its status.
    pub fn attach(&self, n: usize) -> Option<Status> {
        let slot = &self.slots[n];
        let _order = slot.order.lock().expect("no thread fails holding this");
        let mut module = slot.module.write().expect("no thread fails holding this");
        if module.is_some() {
            return None;
        }
        let if_index = u32::try_from(n + 1).expect("few adapters");
        let adapter = Adapter { if_index, luid: u64::from(if_index), mac: [2, 0, 0, 0, 0, if_index as u8], mtu: 1500 };
        self.os().world().modules.insert(handle(n).0.addr(), Life::Paused);
        match at_level(PASSIVE, || self.driver.attach(handle(n), adapter)) {
            Ok(context) => {
                *module = Some(context);
                Some(SUCCESS)
            }
            Err(status) => {
                assert!(status < 0);
                self.os().world().modules.remove(&handle(n).0.addr());
                Some(status)
            }
        }
    }

    /// `FilterRestart`, of a paused module.
    pub fn restart(&self, n: usize) {
        let _order = self.slots[n].order.lock().expect("no thread fails holding this");
        if self.life(n) == Some(Life::Paused) {
            // Frames may leave as soon as the handler runs.
            self.os().world().lives(handle(n), Life::Paused, Life::Running);
            assert_eq!(self.with(n, |m| at_level(PASSIVE, || m.restart(1500))), Some(SUCCESS));
        }
    }

    /// `FilterPause`, of a running module: what is under way comes back until the module says that it is paused, or has
    /// said so at once.
    pub fn pause(&self, n: usize, random: &mut Numbers) {
        let _order = self.slots[n].order.lock().expect("no thread fails holding this");
        if self.life(n) != Some(Life::Running) {
            return;
        }
        self.os().world().lives(handle(n), Life::Running, Life::Pausing);
        match self.with(n, |m| at_level(PASSIVE, || m.pause())) {
            Some(SUCCESS) => {
                let mut world = self.os().world();
                world.lives(handle(n), Life::Pausing, Life::Paused);
                world.assert_back(handle(n));
            }
            Some(PENDING) => {
                while self.life(n) == Some(Life::Pausing) {
                    self.bring_back(random, 16);
                    std::thread::yield_now();
                }
            }
            other => panic!("a pause says {other:?}"),
        }
    }

    /// `FilterDetach`, of a paused module; all that went through it comes back before.
    pub fn detach(&self, n: usize, random: &mut Numbers) {
        let slot = &self.slots[n];
        let _order = slot.order.lock().expect("no thread fails holding this");
        if self.life(n) != Some(Life::Paused) {
            return;
        }
        loop {
            // With the module's lock held nothing new goes through it, nor comes back.
            let mut module = slot.module.write().expect("no thread fails holding this");
            if self.os().world().holds(handle(n)) {
                drop(module);
                self.bring_back(random, 16);
                self.answer(random);
                std::thread::yield_now();
                continue;
            }
            let context = module.take().expect("a paused module");
            assert_eq!(context.get().gate.under_way(), 0, "a module goes with something under way");
            at_level(PASSIVE, || self.driver.detach(context));
            self.os().world().modules.remove(&handle(n).0.addr());
            return;
        }
    }

    /// Lists of frames sent through an adapter's module: the lists, or nothing when there is no module.
    pub fn send(&self, n: usize, lists: &[One], random: &mut Numbers) -> Option<Vec<*mut NetBufferList>> {
        self.send_with(n, lists, random, |_| {})
    }

    /// Likewise, each list spoiled before.
    pub fn send_with(
        &self,
        n: usize,
        lists: &[One],
        random: &mut Numbers,
        spoil: impl Fn(*mut NetBufferList),
    ) -> Option<Vec<*mut NetBufferList>> {
        self.with(n, |m| {
            let raw = self.make(Whose::Protocol, lists);
            raw.iter().copied().for_each(spoil);
            let chain = sys::chain(&raw);
            let (at, flag) = level(random);
            let loopback = random.pick(&[0, 2]);
            at_level(at, || m.send(chain, 0, flag | loopback));
            raw
        })
    }

    /// Likewise received; `lent` lists are the miniport's again when this returns.
    pub fn receive(
        &self,
        n: usize,
        lists: &[One],
        lent: bool,
        random: &mut Numbers,
    ) -> Option<Vec<*mut NetBufferList>> {
        self.receive_with(n, lists, lent, random, |_| {})
    }

    /// Likewise, each list spoiled before.
    pub fn receive_with(
        &self,
        n: usize,
        lists: &[One],
        lent: bool,
        random: &mut Numbers,
        spoil: impl Fn(*mut NetBufferList),
    ) -> Option<Vec<*mut NetBufferList>> {
        self.with(n, |m| {
            let raw = self.make(Whose::Miniport, lists);
            raw.iter().copied().for_each(spoil);
            let (at, flag) = level(random);
            let resources = if lent { RECEIVE_RESOURCES } else { 0 };
            let (chain, facts) = (sys::chain(&raw), random.pick(&[0, 0x700]));
            at_level(at, || m.receive(chain, 0, flag | resources | facts));
            if lent {
                assert_eq!(sys::linked(raw[0]), raw, "the chain is the miniport's as it was");
                self.os().world().lent_back(&raw);
            }
            raw
        })
    }

    fn make(&self, whose: Whose, lists: &[One]) -> Vec<*mut NetBufferList> {
        let one = |(frames, info): &One| {
            let list = self.os().list(whose, frames);
            for (place, value) in info {
                sys::set_info(list, *place, *value);
            }
            list
        };
        lists.iter().map(one).collect()
    }

    /// Some of what is out comes back: sent lists complete, indicated ones return, in any order. How many.
    pub fn bring_back(&self, random: &mut Numbers, most: usize) -> usize {
        let mut back = 0;
        for place in [Place::Below, Place::Above] {
            for n in 0..self.slots.len() {
                let take = random.below(most + 1);
                let done = self.with(n, |m| {
                    let lists = self.os().claim(handle(n), place, take, random);
                    for one in lists.chunks(1 + random.below(4)) {
                        let (at, flag) = level(random);
                        if place == Place::Below {
                            let fails = if random.once_in(8) { -5 } else { 0 };
                            one.iter().for_each(|l| sys::set_status(*l, fails));
                            let chain = sys::chain(one);
                            at_level(at, || m.send_complete(chain, flag));
                        } else {
                            let chain = sys::chain(one);
                            at_level(at, || m.give_back(chain, flag));
                        }
                    }
                    lists.len()
                });
                back += done.unwrap_or(0);
            }
        }
        back
    }

    /// A request through a module: its kind, its number, whether it is direct. Answered at once or later.
    pub fn ask(&self, n: usize, (kind, oid, direct): (i32, u32, bool)) {
        self.with(n, |m| {
            let request = sys::request(kind, oid);
            let at = request.expose_provenance();
            self.asked.lock().expect("no thread fails holding this").push((at, None));
            let status = at_level(PASSIVE, || m.oid(request, direct));
            if status != PENDING {
                self.answered(at, status);
            }
        });
    }

    /// One of the requests under way is answered, or there is none.
    pub fn answer(&self, random: &mut Numbers) -> bool {
        let picked = {
            let mut world = self.os().world();
            let at = random.below(world.requests.len());
            if world.requests.is_empty() { None } else { Some(world.requests.swap_remove(at)) }
        };
        let Some((clone, direct)) = picked else { return false };
        let Some(module) = self.os().clone_of(clone) else { panic!("a request of nobody") };
        let status = random.pick(&[SUCCESS, -3, SUCCESS]);
        let clone: *mut OidRequest = std::ptr::with_exposed_provenance_mut(clone);
        let done = self.with(number(module), |m| at_level(DISPATCH, || m.oid_complete(clone, status, direct)));
        assert!(done.is_some(), "a module goes with a request under way");
        self.collect();
        true
    }

    /// Answers NDIS was given are those of requests that were asked, once each.
    pub fn collect(&self) {
        let answers = self.os().take_answers();
        for (at, status) in answers {
            self.answered(at, status);
        }
    }

    fn answered(&self, at: usize, status: Status) {
        let mut asked = self.asked.lock().expect("no thread fails holding this");
        let one = asked.iter_mut().find(|(a, s)| *a == at && s.is_none());
        one.expect("an answer to a request under way").1 = Some(status);
        sys::free_request(std::ptr::with_exposed_provenance_mut(at));
    }

    /// Ends everything: all pauses, all comes back, all is detached; then looks for what is left.
    pub fn end(self, random: &mut Numbers) {
        for n in 0..self.slots.len() {
            self.pause(n, random);
        }
        while self.answer(random) || self.bring_back(random, 64) > 0 {}
        for n in 0..self.slots.len() {
            self.detach(n, random);
        }
        self.collect();
        let asked = self.asked.lock().expect("no thread fails holding this");
        assert!(asked.iter().all(|(_, status)| status.is_some()), "a request without an answer");
        for list in self.os().at(Place::Home) {
            self.os().drop_list(list);
        }
        self.os().world().assert_empty();
    }
}
