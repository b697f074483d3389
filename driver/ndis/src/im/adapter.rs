//! One adapter below and the miniport above it, as NDIS calls them.
//!
//! The packet path here is short: count, change the source, hand on to the module or to NDIS. Everything that is decided
//! about a packet is decided by the module, as under a filter.

use core::sync::atomic::{AtomicU32, Ordering};

use pfdriver::life::{Gate, Pause, Stay};

use crate::judge::Judge;
use crate::module::{Driver, Module};
use crate::sys::code::{
    AT_DISPATCH, FAILURE, NOT_SUPPORTED, PAUSED, PENDING, RECEIVE_RESOURCES, RESOURCES, SEND_CHECK_FOR_LOOPBACK,
    STATUS_LINK_STATE, SUCCESS, Status, TYPE_STATUS_INDICATION,
};
use crate::sys::code_im::{ADAPTER_NOT_READY, D0, INVALID_LENGTH, INVALID_STATE};
use crate::sys::layout::{Handle, Header, OidRequest, Ptr, StatusIndication};
use crate::sys::layout_im::size;
use crate::sys::list::{Chain, List};
use crate::sys::lock::Locked;
use crate::sys::modules::Ref;
use crate::sys::place::{self, Held, Kept};

use super::between::Between;
use super::facts::{Facts, registration};
use super::life::{Bind, Life, Turn};
use super::link::{self, Link, Reported};
use super::os::Ndis;
use super::request;

/// The module of an adapter.
pub type Over<N, J> = Module<Between<N, J>, J>;

/// An adapter.
#[derive(Debug)]
pub struct Adapter<N: Ndis + 'static, J: Judge + 'static> {
    driver: Ref<Driver<Between<N, J>, J>>,
    /// What a bind that is not complete is called.
    pub(super) bind: Handle,
    /// What an unbind that is not complete is called.
    pub(super) unbind: Held,
    pub(super) binding: Held,
    pub(super) miniport: Held,
    module: Kept<Over<N, J>>,
    facts: Facts,
    reported: Locked<Reported>,
    life: Locked<Life>,
    /// Calls and requests under way for the miniport; closed in its halt.
    pub alive: Gate,
    /// Lists the miniport indicated or was given to send; closed while it is paused.
    pub up: Gate,
    /// Lists the binding sent; closed while it is paused.
    pub down: Gate,
    /// What a pause of the miniport still waits for.
    parts: AtomicU32,
    /// Power of the adapter below.
    power: AtomicU32,
}

/// A call for a miniport that is there, which stays until the call ends.
struct Here<'a, N: Ndis + 'static, J: Judge + 'static> {
    adapter: &'a Adapter<N, J>,
    module: Ref<Over<N, J>>,
    stay: Option<Stay>,
}

impl<N: Ndis, J: Judge> Here<'_, N, J> {
    fn module(&self) -> &Over<N, J> {
        self.module.get()
    }
}

impl<N: Ndis + 'static, J: Judge + 'static> Drop for Here<'_, N, J> {
    fn drop(&mut self) {
        if let Some(stay) = self.stay.take() {
            // The halt looks by itself.
            let _last = self.adapter.alive.leave(stay);
        }
    }
}

impl<N: Ndis, J: Judge> Adapter<N, J> {
    /// An adapter that is about to be opened.
    pub(super) const fn new(driver: Ref<Driver<Between<N, J>, J>>, bind: Handle, facts: Facts) -> Self {
        let reported = Reported::new(facts.link);
        Self {
            driver,
            bind,
            unbind: Held::new(),
            binding: Held::new(),
            miniport: Held::new(),
            module: Kept::new(),
            facts,
            reported: Locked::new(reported),
            life: Locked::new(Life::NEW),
            alive: Gate::new(),
            up: Gate::new(),
            down: Gate::new(),
            parts: AtomicU32::new(0),
            power: AtomicU32::new(D0),
        }
    }

    pub(super) fn nt(&self) -> &N {
        &self.driver.get().os.ndis
    }

    /// Its address as the context of binding, miniport and module.
    pub(super) fn handle(&self) -> Handle {
        place::handle(Ref::of(self))
    }

    /// Its states.
    pub fn life(&self) -> Life {
        self.life.with(self.nt(), |life| *life)
    }

    pub(super) fn turned(&self, what: Turn) -> bool {
        self.life.with(self.nt(), |life| life.turn(what))
    }

    pub(super) fn bound(&self, what: Bind) -> bool {
        self.life.with(self.nt(), |life| life.bind(what))
    }

    /// The miniport, if there is one.
    fn here(&self) -> Option<Here<'_, N, J>> {
        let stay = self.alive.enter()?;
        match self.module.get() {
            Some(module) => Some(Here { adapter: self, module, stay: Some(stay) }),
            None => {
                let _last = self.alive.leave(stay);
                None
            }
        }
    }

    /// Asks NDIS for the miniport, when there is none and its name is `named` or nothing is. At `PASSIVE_LEVEL`.
    pub(super) fn ask(&self, named: Ptr) {
        if self.turned(Turn::Ask) && self.nt().start(self.binding.get(), self.handle(), named) != SUCCESS {
            // When NDIS tried and failed there is none already.
            let _was_asked = self.turned(Turn::Withdraw);
        }
    }

    /// `MiniportInitializeEx`, for the interface of this index and LUID.
    pub fn initialize(&self, miniport: Handle, if_index: u32, luid: u64) -> Status {
        if !self.turned(Turn::Initialize) {
            return INVALID_STATE;
        }
        self.miniport.set(miniport);
        let introduced = self.introduce(miniport);
        let attached =
            introduced.and_then(|()| self.driver.get().attach(self.handle(), self.facts.adapter(if_index, luid)));
        match attached {
            Ok(module) => {
                self.module.set(Some(module));
                let _was_paused = self.alive.open();
                let _turned = self.turned(Turn::Initialized);
                SUCCESS
            }
            Err(status) => {
                self.miniport.set(Handle::NONE);
                let _turned = self.turned(Turn::Failed);
                status
            }
        }
    }

    /// `MiniportInitializeEx` failed before it came here.
    pub fn not_initialized(&self) {
        let _failed = self.turned(Turn::Initialize) && self.turned(Turn::Failed);
    }

    /// Tells NDIS what the miniport is.
    fn introduce(&self, miniport: Handle) -> Result<(), Status> {
        let link = self.reported.with(self.nt(), Reported::introduced);
        let (registration, general) = (registration(self.handle()), self.facts.general(&link));
        let offload = self.facts.offload();
        let first = [(&raw const registration).cast::<Header>(), (&raw const general).cast()];
        let offload = offload.as_ref().map(|o| core::ptr::from_ref(o).cast::<Header>());
        for attributes in first.into_iter().chain(offload) {
            match self.nt().set_attributes(miniport, attributes) {
                SUCCESS => {}
                status => return Err(status),
            }
        }
        Ok(())
    }

    /// `MiniportRestart`.
    pub fn restart(&self) -> Status {
        let Some(here) = self.here().filter(|_| self.turned(Turn::Restart)) else { return INVALID_STATE };
        let _was_paused = self.up.open();
        here.module().restart(self.facts.mtu)
    }

    /// `MiniportPause`: either done now, or `NdisMPauseComplete` comes when the last list is back.
    pub fn pause(&self) -> Status {
        let Some(here) = self.here().filter(|_| self.turned(Turn::Pause)) else { return INVALID_STATE };
        // The module's frames, the lists of others, this call: whoever is last says so.
        self.parts.store(3, Ordering::Release);
        if here.module().pause() != PENDING {
            let _last = self.part();
        }
        if self.up.pause() != Pause::Waiting {
            let _last = self.part();
        }
        if !self.part() {
            return PENDING;
        }
        let _turned = self.turned(Turn::Paused);
        SUCCESS
    }

    /// A part of a pause is done. `true` when it was the last.
    fn part(&self) -> bool {
        self.parts.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// A part of a pause is done after the call for it returned, or before.
    pub(super) fn part_paused(&self) {
        if self.part() {
            let _turned = self.turned(Turn::Paused);
            self.nt().pause_complete(self.miniport.get());
        }
    }

    /// Lists of the miniport are back.
    fn back_up(&self, n: u32) {
        if self.up.back(n) {
            self.part_paused();
        }
    }

    /// `MiniportHaltEx`: waits for what is under way, and nothing of the miniport is left. At `PASSIVE_LEVEL`.
    pub fn halt(&self) {
        if !self.turned(Turn::Halt) {
            return;
        }
        self.quiet(&self.alive);
        if let Some(module) = self.module.get() {
            self.module.set(None);
            self.driver.get().detach(module);
        }
        self.miniport.set(Handle::NONE);
        let _turned = self.turned(Turn::Halted);
    }

    /// Closes a gate and waits until nobody is inside. At `PASSIVE_LEVEL`.
    pub(super) fn quiet(&self, gate: &Gate) {
        let _begun = gate.pause();
        while !gate.is_paused() {
            self.nt().sleep();
        }
    }

    /// `MiniportSendNetBufferLists`.
    pub fn send(&self, mut lists: Chain, port: u32, flags: u32) {
        match self.here() {
            Some(here) if count(&self.up, &lists) => here.module().send(lists, port, flags),
            _ => {
                lists.set_status(PAUSED);
                self.nt().send_complete(self.miniport.get(), lists, flags & AT_DISPATCH);
            }
        }
    }

    /// The module sends: lists of others and its own, down the binding.
    pub(super) fn send_down(&self, mut lists: Chain, port: u32, flags: u32) {
        let Some(module) = self.module.get() else { return };
        let (mut on, mut refused) = (Chain::new(), Chain::new());
        if count(&self.down, &lists) {
            while let Some(mut list) = lists.pop() {
                if self.lend(module.get(), &mut list, self.binding.get()) {
                    on.push(list);
                } else {
                    list.set_status(RESOURCES);
                    refused.push(list);
                }
            }
            let _pause_looks = self.down.back(refused.len());
        } else {
            lists.set_status(PAUSED);
            refused = lists;
        }
        if !on.is_empty() {
            // NDIS looped back above already: once more and this driver would receive what it sends.
            self.nt().send(self.binding.get(), on, port, flags & !SEND_CHECK_FOR_LOOPBACK);
        }
        if !refused.is_empty() {
            module.get().send_complete(refused, flags & AT_DISPATCH);
        }
    }

    /// `ProtocolSendNetBufferListsComplete`.
    pub fn sent(&self, lists: Chain, flags: u32) {
        let n = lists.len();
        // Whatever is out keeps the miniport from being paused, hence from being halted.
        let Some(here) = self.here() else { return };
        let lists = self.take_back(here.module(), lists);
        here.module().send_complete(lists, flags);
        let _pause_looks = self.down.back(n);
    }

    /// The module completes lists from above.
    pub(super) fn complete_up(&self, lists: Chain, flags: u32) {
        let n = lists.len();
        self.nt().send_complete(self.miniport.get(), lists, flags);
        self.back_up(n);
    }

    /// `ProtocolReceiveNetBufferLists`.
    pub fn receive(&self, lists: Chain, port: u32, flags: u32) {
        match self.here() {
            Some(here) => here.module().receive(lists, port, flags),
            None if flags & RECEIVE_RESOURCES != 0 => {
                // The adapter's again when this returns, linked as they came.
                let _first = lists.into_raw();
            }
            None => self.nt().give_back(self.binding.get(), lists, flags & AT_DISPATCH),
        }
    }

    /// The module indicates: lists of others and its own, up from the miniport.
    pub(super) fn indicate_up(&self, mut lists: Chain, port: u32, flags: u32) {
        let Some(module) = self.module.get() else { return };
        let (mut on, mut refused) = (Chain::new(), Chain::new());
        if count(&self.up, &lists) {
            while let Some(mut list) = lists.pop() {
                if self.lend(module.get(), &mut list, self.miniport.get()) {
                    on.push(list);
                } else {
                    refused.push(list);
                }
            }
            self.back_up(refused.len());
        } else {
            refused = lists;
        }
        if !on.is_empty() {
            self.nt().indicate(self.miniport.get(), on, port, flags);
        }
        if !refused.is_empty() {
            module.get().give_back(refused, flags & AT_DISPATCH);
        }
    }

    /// The module indicates a list that it has only for now.
    pub(super) fn indicate_lent_up(&self, list: &List, port: u32, flags: u32) {
        let Some(stay) = self.up.enter() else { return };
        let before = place::swap_source(list, self.miniport.get());
        self.nt().indicate_lent(self.miniport.get(), list, 1, port, flags);
        let _ours = place::swap_source(list, before);
        stay.keep();
        self.back_up(1);
    }

    /// `MiniportReturnNetBufferLists`.
    pub fn returned(&self, lists: Chain, flags: u32) {
        let n = lists.len();
        // As of `sent`.
        let Some(here) = self.here() else { return };
        let lists = self.take_back(here.module(), lists);
        here.module().give_back(lists, flags);
        self.back_up(n);
    }

    /// Sets a list's source to the handle it goes out by, and notes whose it was. `false`, with nothing changed, when
    /// there is no room for the note.
    fn lend(&self, module: &Over<N, J>, list: &mut List, source: Handle) -> bool {
        if module.owns(list) {
            list.set_source(source);
            return true;
        }
        let noted = self.nt().new_context(list);
        if noted {
            place::lend(list, source);
        }
        noted
    }

    /// Sets the sources of lists that are back to what they were.
    fn take_back(&self, module: &Over<N, J>, mut lists: Chain) -> Chain {
        let mut out = Chain::new();
        while let Some(mut list) = lists.pop() {
            if module.owns(&list) {
                list.set_source(self.handle());
            } else {
                place::restore(&mut list);
                self.nt().free_context(&mut list);
            }
            out.push(list);
        }
        out
    }

    /// `MiniportCancelSend`: nothing is queued here.
    pub fn cancel_send(&self, id: Ptr) {
        if let Some(here) = self.here() {
            here.module().cancel_send(id);
        }
    }

    /// `MiniportOidRequest`, `MiniportDirectOidRequest`.
    pub fn oid(&self, asked: *mut OidRequest, direct: bool) -> Status {
        let Some((kind, about, buffer, length)) = place::asked(asked) else { return FAILURE };
        let Some(here) = self.here() else { return ADAPTER_NOT_READY };
        match request::way(kind, about) {
            request::Way::Refused => NOT_SUPPORTED,
            request::Way::Ready => {
                place::answered(asked, 0, 0);
                SUCCESS
            }
            request::Way::Power => match place::word(buffer, length) {
                Some(power) => {
                    place::answered(asked, 4, 0);
                    let due = self.reported.with(self.nt(), |r| r.powered(power));
                    self.tell(due);
                    SUCCESS
                }
                None => {
                    place::answered(asked, 0, 4);
                    INVALID_LENGTH
                }
            },
            request::Way::Below => self.forward(&here, asked, direct),
        }
    }

    /// Sends a request down. Until it is answered it keeps the miniport from going away.
    fn forward(&self, here: &Here<'_, N, J>, asked: *mut OidRequest, direct: bool) -> Status {
        let awake = self.reported.with(self.nt(), |r| r.is_awake()) && self.power.load(Ordering::Acquire) <= D0;
        let Some(stay) = awake.then(|| self.alive.enter()).flatten() else { return ADAPTER_NOT_READY };
        let status = here.module().oid(asked, direct);
        if status == PENDING {
            stay.keep();
        } else {
            let _last = self.alive.leave(stay);
        }
        status
    }

    /// `ProtocolOidRequestComplete`, `ProtocolDirectOidRequestComplete`.
    pub fn answered(&self, clone: *mut OidRequest, status: Status, direct: bool) {
        if let Some(here) = self.here() {
            here.module().oid_complete(clone, status, direct);
            let _last = self.alive.back(1);
        } else if let Some(module) = self.module.get() {
            // The halt has begun and waits for this one.
            module.get().oid_complete(clone, status, direct);
            let _last = self.alive.back(1);
        }
    }

    /// `MiniportCancelOidRequest`, `MiniportCancelDirectOidRequest`.
    pub fn cancel_oid(&self, id: Ptr, direct: bool) {
        if let Some(here) = self.here() {
            here.module().cancel_oid(id, direct);
        }
    }

    /// `ProtocolStatusEx`.
    pub fn status(&self, indication: *const StatusIndication) {
        let Some((code, buffer, length)) = place::said(indication) else { return };
        match link::way(code) {
            link::Way::Here => {}
            link::Way::Up => self.say(code, buffer, length),
            link::Way::Link => {
                let Some(now) = place::link(buffer, length) else { return };
                let due = self.reported.with(self.nt(), |r| r.changed(now.into()));
                self.tell(due);
            }
        }
    }

    /// Says above what the link is.
    fn tell(&self, link: Option<Link>) {
        if let Some(link) = link {
            let mut state = link.state();
            self.say(STATUS_LINK_STATE, (&raw mut state).cast(), u32::from(size::LINK_STATE));
        }
    }

    /// Says something above, in the miniport's name.
    fn say(&self, code: Status, buffer: Ptr, length: u32) {
        let Some(_here) = self.here().filter(|_| self.reported.with(self.nt(), |r| r.is_awake())) else { return };
        let mut indication = StatusIndication {
            header: Header { kind: TYPE_STATUS_INDICATION, revision: 1, size: size::STATUS_INDICATION },
            source: self.miniport.get(),
            port: 0,
            code,
            flags: 0,
            destination: Handle::NONE,
            request: core::ptr::null_mut(),
            buffer,
            length,
            guid: [0; 16],
            ndis: [core::ptr::null_mut(); 4],
        };
        self.nt().status(self.miniport.get(), &raw mut indication);
    }

    /// The adapter below has this power now.
    pub(super) fn powered(&self, power: u32) {
        self.power.store(power, Ordering::Release);
    }
}

/// Counts lists that go through a gate and come back one by one. `false`, with none counted, when it is closed.
fn count(gate: &Gate, lists: &Chain) -> bool {
    gate.enter_many(lists.len()).map(Stay::keep).is_some()
}
