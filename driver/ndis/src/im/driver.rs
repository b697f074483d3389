//! Adapters come and go: bind, unbind, and what NDIS says of bindings.
//!
//! A bind opens the adapter and asks NDIS for the miniport its `UpperBindings` name. When they name none yet, the binding
//! stays open and idle; NDIS says when the configuration changed. An unbind takes the miniport away first, waits until it
//! is halted, then closes.
//!
//! IRQL: `PASSIVE_LEVEL` throughout; NDIS runs these handlers one at a time for a driver.

use crate::judge::Judge;
use crate::module::Driver;
use crate::sys::code::{PENDING, RESOURCES, SUCCESS, Status, UNSUPPORTED_MEDIA};
use crate::sys::code_im::event;
use crate::sys::layout::{Handle, Ptr};
use crate::sys::layout_im::{BindParameters, NetEventNotification};
use crate::sys::lock::Locked;
use crate::sys::modules::{Owned, Ref};
use crate::sys::place;

use super::adapter::Adapter;
use super::between::Between;
use super::facts::Facts;
use super::life::{Above, Bind, Turn};
use super::os::Ndis;

/// Adapters bound at most.
pub const ADAPTERS: usize = 64;

/// An adapter's address.
type One<N, J> = Ref<Adapter<N, J>>;

/// The bindings of a driver.
#[derive(Debug)]
pub struct Im<N: Ndis + 'static, J: Judge + 'static> {
    driver: Ref<Driver<Between<N, J>, J>>,
    adapters: Locked<[Option<One<N, J>>; ADAPTERS]>,
}

impl<N: Ndis, J: Judge> Im<N, J> {
    /// Without adapters, over a driver that stays where it is.
    #[must_use]
    pub const fn new(driver: Ref<Driver<Between<N, J>, J>>) -> Self {
        Self { driver, adapters: Locked::new([const { None }; ADAPTERS]) }
    }

    fn nt(&self) -> &N {
        &self.driver.get().os.ndis
    }

    /// `ProtocolBindAdapterEx`.
    pub fn bind(&self, bind: Handle, parameters: *mut BindParameters) -> Status {
        let Some(facts) = place::bind(parameters).and_then(Facts::of) else { return UNSUPPORTED_MEDIA };
        let Ok(owned) = Owned::new(self.nt(), Adapter::new(self.driver, bind, facts)) else { return RESOURCES };
        let adapter = owned.share();
        let entered = self.adapters.with(self.nt(), |all| match all.iter_mut().find(|a| a.is_none()) {
            Some(free) => {
                *free = Some(adapter);
                true
            }
            None => false,
        });
        if !entered {
            let _gone = owned.take(self.nt());
            return RESOURCES;
        }
        owned.keep();
        let binding = adapter.get().binding.place();
        match self.nt().open(place::handle(adapter), parameters, bind, binding) {
            // From here on the adapter is the completion's.
            PENDING => PENDING,
            status => self.opened(adapter, status),
        }
    }

    /// An adapter was opened, or could not be.
    fn opened(&self, adapter: One<N, J>, status: Status) -> Status {
        if status == SUCCESS {
            let _opened = adapter.get().bound(Bind::Opened);
            adapter.get().ask(core::ptr::null_mut());
        } else {
            self.gone(adapter);
        }
        status
    }

    /// `ProtocolOpenAdapterCompleteEx`.
    pub fn open_complete(&self, adapter: One<N, J>, status: Status) {
        let bind = adapter.get().bind;
        let status = self.opened(adapter, status);
        self.nt().bound(bind, status);
    }

    /// `ProtocolUnbindAdapterEx`: the miniport is halted, the binding closed.
    pub fn unbind(&self, adapter: One<N, J>, unbind: Handle) -> Status {
        let this = adapter.get();
        // A binding is paused before it is let go; should it not be, it is now.
        this.quiet(&this.down);
        if this.bound(Bind::Pause) {
            let _paused = this.bound(Bind::Paused);
        }
        let _closing = this.bound(Bind::Close);
        self.withdraw(adapter);
        this.unbind.set(unbind);
        match self.nt().close(this.binding.get()) {
            // From here on the adapter is the completion's.
            PENDING => PENDING,
            _ => {
                self.gone(adapter);
                SUCCESS
            }
        }
    }

    /// Takes a miniport away and waits until it is.
    fn withdraw(&self, adapter: One<N, J>) {
        let this = adapter.get();
        if this.life().above == Above::Asked && self.nt().cancel_start(this.binding.get()) == SUCCESS {
            let _withdrawn = this.turned(Turn::Withdraw);
        }
        let mut stopped = false;
        loop {
            match this.life().above {
                Above::Absent => return,
                // NDIS is starting it at this moment.
                Above::Asked | Above::Initializing => {}
                Above::Paused | Above::Running | Above::Pausing if !stopped => {
                    stopped = true;
                    self.nt().stop(this.miniport.get());
                    continue;
                }
                Above::Paused | Above::Running | Above::Pausing | Above::Halting => {}
            }
            self.nt().sleep();
        }
    }

    /// `ProtocolCloseAdapterCompleteEx`.
    pub fn close_complete(&self, adapter: One<N, J>) {
        let unbind = adapter.get().unbind.get();
        self.gone(adapter);
        self.nt().unbound(unbind);
    }

    /// Nothing of an adapter is left.
    fn gone(&self, adapter: One<N, J>) {
        self.adapters.with(self.nt(), |all| {
            for slot in all.iter_mut().filter(|a| **a == Some(adapter)) {
                *slot = None;
            }
        });
        let _gone = Owned::of(adapter).take(self.nt());
    }

    /// `ProtocolNetPnPEvent`: of an adapter, or of all.
    pub fn net_event(&self, adapter: Option<One<N, J>>, notification: *const NetEventNotification) -> Status {
        let Some((code, buffer, length)) = place::event(notification) else { return SUCCESS };
        match (code, adapter) {
            (event::PAUSE, Some(adapter)) => {
                let this = adapter.get();
                if this.bound(Bind::Pause) {
                    this.quiet(&this.down);
                    let _paused = this.bound(Bind::Paused);
                }
            }
            (event::RESTART, Some(adapter)) => {
                let this = adapter.get();
                if this.bound(Bind::Restart) {
                    let _was_paused = this.down.open();
                }
            }
            (event::SET_POWER, Some(adapter)) => {
                if let Some(power) = place::word(buffer, length) {
                    adapter.get().powered(power);
                }
            }
            (event::RECONFIGURE, _) => self.ask_all(core::ptr::null_mut()),
            (event::RE_ENABLE, _) => self.ask_all(buffer),
            // Whether the adapter may sleep or go is nothing to this driver.
            _ => {}
        }
        SUCCESS
    }

    /// Asks for the miniports that are not there.
    fn ask_all(&self, named: Ptr) {
        for adapter in self.adapters() {
            adapter.get().ask(named);
        }
    }

    /// Adapters that are bound.
    pub fn adapters(&self) -> impl Iterator<Item = One<N, J>> {
        self.adapters.with(self.nt(), |all| *all).into_iter().flatten()
    }

    /// How many.
    pub fn bound(&self) -> usize {
        self.adapters().count()
    }
}
