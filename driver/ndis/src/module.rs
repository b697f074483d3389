//! A filter module: one adapter's place in the stack, from attach to detach.
//!
//! States are NDIS's: Paused after attach, Running after restart, Pausing until the last frame of our own is back. Data
//! handlers run through the gate ([`pfdriver::life`]); a module that is not Running sends nothing and gives everything
//! back. Reloading rules touches none of this.
//!
//! Locks: the driver's, shared or alone, then a module's free list. None is held while NDIS is called. IRQL: data handlers
//! at most `DISPATCH_LEVEL`, attach, detach, pause and restart `PASSIVE_LEVEL`.

use core::sync::atomic::{AtomicU32, Ordering};

use pfdriver::edge::port::{PortId, Side};
use pfdriver::life::{Gate, Pause, Stay};

use crate::frames::{Frames, Supply};
use crate::judge::{Adapter, Judge};
use crate::later::Later;
use crate::os::{Events, Os};
use crate::pass::{BATCH, Batch, Bench, Held, Hold, Staging, Underway};
use crate::sys::code::{
    AT_DISPATCH, FAILURE, PAUSED, PENDING, RECEIVE_CHAIN_FACTS, RECEIVE_RESOURCES, RESOURCES, SUCCESS, Status,
    UNSUPPORTED_MEDIA,
};
use crate::sys::layout::{Handle, OidRequest, Ptr, StatusIndication};
use crate::sys::list::{Chain, List};
use crate::sys::lock::{Locals, Locked, Shared};
use crate::sys::modules::{Owned, Ref};
use crate::sys::slots;

/// Modules a driver has at most.
pub const MODULES: usize = 64;

/// Modules by the place they came to.
pub(crate) type Modules<O, J> = [Option<Ref<Module<O, J>>>; MODULES];

/// What the lock guards.
#[derive(Debug)]
pub struct Core<O: Os + 'static, J: Judge + 'static> {
    /// Who decides.
    pub judge: J,
    bench: Bench,
    modules: Modules<O, J>,
}

/// What a processor has of its own.
#[derive(Debug)]
pub struct Local<J: Judge> {
    judge: J::Local,
    bench: Bench,
}

/// The driver.
#[derive(Debug)]
pub struct Driver<O: Os + 'static, J: Judge + 'static> {
    /// NDIS and NT.
    pub os: O,
    /// Everything else.
    pub core: Shared<Core<O, J>, Local<J>>,
    supply: Supply,
    /// Frames that wait for their time, of all modules.
    waiting: AtomicU32,
    /// Frames that were to go on and could not, not yet told to the judge.
    short: AtomicU32,
    /// When the first of them is due, `u64::MAX` when nobody asked to be woken.
    due: Locked<u64>,
}

/// A module.
#[derive(Debug)]
pub struct Module<O: Os + 'static, J: Judge + 'static> {
    driver: Ref<Driver<O, J>>,
    handle: Handle,
    port: PortId,
    adapter: Adapter,
    /// What keeps it from pausing.
    pub gate: Gate,
    pub(crate) frames: Frames,
    later: Later,
}

impl<O: Os, J: Judge> Driver<O, J> {
    /// A driver without modules. `None` when there is no room.
    #[must_use]
    #[inline(never)]
    pub fn new(os: O, judge: J, supply: Supply) -> Option<Self> {
        let core = Core { judge, bench: Bench::new()?, modules: [const { None }; MODULES] };
        let local = |core: &Core<O, J>| Some(Local { judge: core.judge.local()?, bench: Bench::small()? });
        let core = Shared::new(&os, core, local)?;
        Some(Self {
            os,
            core,
            supply,
            waiting: AtomicU32::new(0),
            short: AtomicU32::new(0),
            due: Locked::new(u64::MAX),
        })
    }

    /// Does something with the judge, alone, all it is to know of other processors gathered.
    pub fn gathered<R>(&self, f: impl FnOnce(&mut J) -> R) -> R {
        self.core.with_all(&self.os, |core, locals| {
            self.gather(&mut core.judge, locals);
            f(&mut core.judge)
        })
    }

    /// Tells the judge what it does not know yet.
    fn gather(&self, judge: &mut J, locals: Locals<'_, Local<J>>) {
        locals.for_each(|local| judge.gather(&mut local.judge));
        judge.short(self.short.swap(0, Ordering::Relaxed));
    }

    /// A frame was to go on and could not.
    pub(crate) fn short(&self) {
        self.short.fetch_add(1, Ordering::Relaxed);
    }

    /// `FilterAttach`: makes a module, Paused. What is returned is its context; it ends with [`Driver::detach`].
    ///
    /// # Errors
    /// The status NDIS is told; nothing is kept.
    #[inline(never)]
    pub fn attach(&self, handle: Handle, adapter: Adapter) -> Result<Ref<Module<O, J>>, Status> {
        let frames = Frames::new(&self.os, handle, self.supply).ok_or(RESOURCES)?;
        let later = Later::new(self.supply.small / 2);
        let port = later.as_ref().and_then(|_| self.core.with(&self.os, |core| core.judge.attach(&adapter)));
        let (Some(port), Some(later)) = (port, later) else {
            frames.free(&self.os);
            return Err(RESOURCES);
        };
        let module = Module { driver: Ref::of(self), handle, port, adapter, gate: Gate::default(), frames, later };
        let owned = match Owned::new(&self.os, module) {
            Ok(owned) => owned,
            Err(module) => {
                self.gone(module);
                return Err(RESOURCES);
            }
        };
        let context = owned.share();
        let entered = self.core.with(&self.os, |core| match core.modules.iter_mut().find(|m| m.is_none()) {
            Some(free) => {
                *free = Some(context);
                true
            }
            None => false,
        });
        if !entered {
            self.gone(owned.take(&self.os));
            return Err(RESOURCES);
        }
        owned.keep();
        Ok(context)
    }

    /// What a module held goes back.
    fn gone(&self, module: Module<O, J>) {
        self.core.with(&self.os, |core| core.judge.detach(module.port));
        module.frames.free(&self.os);
    }

    /// `FilterDetach`: the module is Paused, nothing of it is under way. One that is not stays where it is for good:
    /// something still names it.
    pub fn detach(&self, module: Ref<Module<O, J>>) {
        if !module.get().gate.is_paused() {
            return;
        }
        self.core.with(&self.os, |core| {
            for slot in core.modules.iter_mut().filter(|m| **m == Some(module)) {
                *slot = None;
            }
        });
        let module = Owned::of(module).take(&self.os);
        self.gone(module);
    }

    /// Some time has passed.
    pub fn tick(&self) {
        let mut staged = Chain::new();
        self.core.with_all(&self.os, |core, locals| {
            let Core { judge, modules, .. } = core;
            self.gather(judge, locals);
            judge.tick(&mut Staging { os: &self.os, modules, staged: &mut staged });
        });
        Self::flush(&self.os, staged);
    }

    /// The time of a frame that waits has come ([`crate::os::Supplies::wake`]).
    pub fn wake(&self) {
        let mut staged = Chain::new();
        self.due.with(&self.os, |due| *due = u64::MAX);
        let (now, next) = self.core.with(&self.os, |core| {
            let now = core.judge.now_ms();
            let modules = core.modules.iter().flatten();
            let dues = modules.map(|m| m.get().later.take(&self.os, now, &mut staged));
            (now, dues.fold(u64::MAX, u64::min))
        });
        self.waiting.fetch_sub(staged.len(), Ordering::AcqRel);
        Self::flush(&self.os, staged);
        self.wake_at(now, next);
    }

    /// Asks to be woken, unless that was asked for earlier.
    fn wake_at(&self, now: u64, due: u64) {
        self.due.with(&self.os, |first| {
            if due < *first {
                *first = due;
                self.os.wake(due.saturating_sub(now).max(1));
            }
        });
    }

    /// Whether another frame may wait.
    pub(crate) fn may_wait(&self, judge: &J) -> bool {
        self.waiting.load(Ordering::Acquire) < judge.may_wait()
    }

    /// Lets a frame of our own that names its module wait so many milliseconds. With the lock held.
    ///
    /// # Errors
    /// The frame, when it cannot.
    pub(crate) fn wait(&self, judge: &J, delay: u16, list: List) -> Result<(), List> {
        let now = judge.now_ms();
        let due = now.saturating_add(delay.into());
        let (module, _) = slots::way::<Module<O, J>>(&list);
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let put = module.get().later.put(&self.os, due, list);
        match &put {
            Ok(()) => self.wake_at(now, due),
            Err(_) => {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
            }
        }
        put
    }

    /// Takes frames of our own that name their module home, unsent.
    fn spend(mut spent: Chain) {
        while let Some(list) = spent.pop() {
            let (module, _) = slots::way::<Module<O, J>>(&list);
            module.get().frames.put(module.get().os(), list);
            module.get().back(1);
        }
    }

    /// Sends frames of our own that name their module.
    #[inline(never)]
    fn flush(os: &O, mut staged: Chain) {
        while let Some(list) = staged.pop() {
            let (module, up) = slots::way::<Module<O, J>>(&list);
            let module = module.get();
            let mut one = Chain::new();
            one.push(list);
            if up {
                os.indicate(module.handle, one, 0, 0);
            } else {
                os.send(module.handle, one, 0, 0);
            }
        }
    }
}

impl<O: Os + 'static, J: Judge + 'static> Drop for Driver<O, J> {
    fn drop(&mut self) {
        self.core.free(&self.os);
    }
}

impl<O: Os, J: Judge> Module<O, J> {
    pub(crate) fn driver(&self) -> &Driver<O, J> {
        self.driver.get()
    }

    pub(crate) fn os(&self) -> &O {
        &self.driver().os
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> PortId {
        self.port
    }

    /// Its adapter.
    #[must_use]
    pub const fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    pub(crate) fn address(&self) -> Ref<Self> {
        Ref::of(self)
    }

    /// Frames of our own that are not out.
    pub fn frames_in(&self) -> (usize, usize) {
        self.frames.free_count(self.os())
    }

    /// `FilterRestart`, of a module that is Paused.
    pub fn restart(&self, mtu: u32) -> Status {
        self.driver().core.with(self.os(), |core| core.judge.restarted(self.port, mtu));
        if !self.gate.open() {
            return FAILURE;
        }
        self.later.open(self.os());
        SUCCESS
    }

    /// `FilterPause`, of a module that is Running. Frames that wait for their time are dropped. Either done now, or
    /// `NdisFPauseComplete` comes when the last frame of our own is back.
    pub fn pause(&self) -> Status {
        let spent = self.later.close(self.os());
        self.driver().waiting.fetch_sub(spent.len(), Ordering::AcqRel);
        Driver::<O, J>::spend(spent);
        match self.gate.pause() {
            Pause::Done => SUCCESS,
            Pause::Waiting => PENDING,
            Pause::Refused => FAILURE,
        }
    }

    /// Ends a stay; who ends the last one of a pausing module says so to NDIS.
    fn leave(&self, stay: Stay) {
        self.left(|gate| gate.leave(stay));
    }

    /// Frames of our own are back.
    fn back(&self, frames: u32) {
        self.left(|gate| gate.back(frames));
    }

    fn left(&self, leave: impl FnOnce(&Gate) -> bool) {
        // When the gate is left, the module may be gone.
        let (driver, handle) = (self.driver, self.handle);
        if leave(&self.gate) {
            driver.get().os.pause_complete(handle);
        }
    }

    /// Looks at lists, a batch at a time, and carries out what was decided.
    fn each_batch(&self, mut lists: Chain, side: Side, mut carry_out: impl FnMut(&O, Chain, Chain)) {
        let mut under = None;
        while under.is_some() || !lists.is_empty() {
            let batch = self.batch(side, &mut under, &mut lists);
            carry_out(self.os(), batch.through, batch.back);
            Driver::<O, J>::flush(self.os(), batch.aside.staged);
            Driver::<O, J>::spend(batch.aside.spent);
        }
    }

    /// Decides a batch of frames: with the lock shared up to the first that wants it alone, the rest alone.
    #[inline(never)]
    fn batch(&self, side: Side, under: &mut Option<Underway>, lists: &mut Chain) -> Batch {
        let (driver, mut batch, mut left) = (self.driver(), Batch::default(), BATCH);
        driver.core.shared(&driver.os, |core, local| {
            let Some(Local { judge, bench }) = local else { return };
            let mut held = Held { judge: Hold::Shared(&core.judge, judge), bench, modules: &core.modules };
            self.some(&mut held, side, (under, lists), &mut left, &mut batch);
            if let Hold::Shared(all, own) = held.judge {
                all.tell(own);
            }
        });
        if left > 0 && (under.is_some() || !lists.is_empty()) {
            driver.core.with(&driver.os, |core| {
                let Core { judge, bench, modules } = core;
                let mut held = Held { judge: Hold::Alone(judge), bench, modules };
                self.some(&mut held, side, (under, lists), &mut left, &mut batch);
            });
        }
        batch
    }

    /// `FilterSendNetBufferLists`.
    pub fn send(&self, mut lists: Chain, port: u32, flags: u32) {
        let level = flags & AT_DISPATCH;
        let Some(stay) = self.gate.enter() else {
            lists.set_status(PAUSED);
            return self.os().send_complete(self.handle, lists, level);
        };
        self.each_batch(lists, Side::Stack, |os, through, back| {
            if !through.is_empty() {
                os.send(self.handle, through, port, flags);
            }
            if !back.is_empty() {
                os.send_complete(self.handle, back, level);
            }
        });
        self.leave(stay);
    }

    /// `FilterReceiveNetBufferLists`.
    pub fn receive(&self, lists: Chain, port: u32, flags: u32) {
        let level = flags & AT_DISPATCH;
        if flags & RECEIVE_RESOURCES != 0 {
            return self.receive_lent(lists, port, flags);
        }
        let Some(stay) = self.gate.enter() else {
            return self.os().give_back(self.handle, lists, level);
        };
        self.each_batch(lists, Side::Wire, |os, through, back| {
            if !through.is_empty() {
                // What was true of all frames of a chain need not be true of copies among them.
                os.indicate(self.handle, through, port, flags & !RECEIVE_CHAIN_FACTS);
            }
            if !back.is_empty() {
                os.give_back(self.handle, back, level);
            }
        });
        self.leave(stay);
    }

    /// Lists that are the miniport's again when this returns: those that pass are indicated as lent, copies as our own,
    /// and the chain is linked again as it came.
    fn receive_lent(&self, mut lists: Chain, port: u32, flags: u32) {
        let mut whole = Chain::new();
        let stay = self.gate.enter();
        while let Some(list) = lists.pop() {
            let Some(_stay) = &stay else {
                whole.push(list);
                continue;
            };
            let mut one = Chain::new();
            one.push(list);
            self.each_batch(one, Side::Wire, |os, mut through, back| {
                // One list comes out of one list: itself to pass, itself to go back, or itself to go back and copies.
                let mut copies = Chain::new();
                while let Some(out) = through.pop() {
                    if out.source() == self.handle {
                        copies.push(out);
                    } else {
                        os.indicate_lent(self.handle, &out, 1, port, flags);
                        whole.push(out);
                    }
                }
                whole.append(back);
                if !copies.is_empty() {
                    let own = flags & !(RECEIVE_RESOURCES | RECEIVE_CHAIN_FACTS);
                    os.indicate(self.handle, copies, port, own);
                }
            });
        }
        // The miniport has all of them, in the order they came in.
        let _first = whole.into_raw();
        if let Some(stay) = stay {
            self.leave(stay);
        }
    }

    /// `FilterSendNetBufferListsComplete`.
    pub fn send_complete(&self, lists: Chain, flags: u32) {
        self.home(lists, |os, onward| os.send_complete(self.handle, onward, flags));
    }

    /// `FilterReturnNetBufferLists`.
    pub fn give_back(&self, lists: Chain, flags: u32) {
        self.home(lists, |os, onward| os.give_back(self.handle, onward, flags));
    }

    /// Frames of our own go to where they are kept; lists of others, and those that waited for the last frame made of
    /// them, go on.
    fn home(&self, mut lists: Chain, go_on: impl FnOnce(&O, Chain)) {
        let mut onward = Chain::new();
        let mut own = 0_u32;
        while let Some(list) = lists.pop() {
            if list.source() != self.handle {
                onward.push(list);
                continue;
            }
            if let Some(mut parent) = slots::take_parent(&list, list.status()) {
                crate::offload::completed(&mut parent, &list);
                onward.push(parent);
            }
            self.frames.put(self.os(), list);
            own = own.saturating_add(1);
        }
        if !onward.is_empty() {
            go_on(self.os(), onward);
        }
        self.back(own);
    }

    /// `FilterCancelSendNetBufferLists`: nothing is queued here.
    pub fn cancel_send(&self, id: Ptr) {
        self.os().cancel_send(self.handle, id);
    }

    /// `FilterOidRequest`, `FilterDirectOidRequest`.
    pub fn oid(&self, request: *mut OidRequest, direct: bool) -> Status {
        crate::oid::forward(self.os(), self.handle, request, direct)
    }

    /// `FilterOidRequestComplete`, `FilterDirectOidRequestComplete`.
    pub fn oid_complete(&self, request: *mut OidRequest, status: Status, direct: bool) {
        crate::oid::completed(self.os(), self.handle, request, status, direct);
    }

    /// `FilterCancelOidRequest`, `FilterCancelDirectOidRequest`.
    pub fn cancel_oid(&self, id: Ptr, direct: bool) {
        crate::oid::cancelled(self.os(), self.handle, id, direct);
    }

    /// Whether a list is one of the frames of this module's own.
    #[must_use]
    pub fn owns(&self, list: &List) -> bool {
        self.frames.own(list)
    }
}

impl<O: Events, J: Judge> Module<O, J> {
    /// `FilterStatus`.
    pub fn status(&self, status: *mut StatusIndication) {
        self.os().status(self.handle, status);
    }

    /// `FilterNetPnPEvent`.
    pub fn net_event(&self, event: Ptr) -> Status {
        self.os().net_event(self.handle, event)
    }

    /// `FilterDevicePnPEventNotify`.
    pub fn device_event(&self, event: Ptr) {
        self.os().device_event(self.handle, event);
    }
}

/// Whether the filter reads frames of a medium: Ethernet and what looks like it.
///
/// # Errors
/// The status an attach is refused with.
pub const fn readable(medium: i32) -> Result<(), Status> {
    if medium == crate::sys::code::MEDIUM_802_3 { Ok(()) } else { Err(UNSUPPORTED_MEDIA) }
}
