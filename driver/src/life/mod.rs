//! The life of a binding between the filter and one adapter: states as types, and the gate packets pass.
//!
//! [`Binding`] knows its state at compile time: what NDIS (or pfd) may ask of it in a state are the methods of that
//! state, and each gives the next. [`Gate`] is what the packet path sees of it: open while running; once closed, those
//! inside are waited for.
//!
//! ```text
//! Detached ─attach─▶ Attaching ─attached─▶ Paused ─restart─▶ Restarting ─restarted─▶ Running
//!     ▲                  │ failed            ▲  ▲                │ failed              │ pause
//!     └──────────────────┘                   │  └────────────────┘                     ▼
//!     ◀──────────────detach── Paused         └───────────────paused──────────────── Pausing
//! ```
//!
//! **Invariant:** packets move in [`Running`] only; those on their way when it is left are finished in [`Pausing`], and
//! `Paused` is reached when the last one is.
//! **Invariant:** no state is skipped: the types leave no other way.
//!
//! Locks: none. The gate is one atomic word. IRQL: any up to `DISPATCH_LEVEL`.
//!
//! Source: "Filter module states and operations" (NDIS 6).

mod gate;

pub use gate::{Gate, Inside};

use core::marker::PhantomData;

/// A state by name, for status and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not bound.
    Detached,
    /// Being bound.
    Attaching,
    /// Bound; no packets.
    Paused,
    /// About to run.
    Restarting,
    /// Packets move.
    Running,
    /// No new packets; those inside are being finished.
    Pausing,
}

impl Phase {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detached => "detached",
            Self::Attaching => "attaching",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Running => "running",
            Self::Pausing => "pausing",
        }
    }

    /// Whether requests about the adapter (object identifiers) are taken.
    #[must_use]
    pub const fn takes_requests(self) -> bool {
        matches!(self, Self::Paused | Self::Restarting | Self::Running | Self::Pausing)
    }

    /// Whether packets may be sent and received: new ones, or the rest of those inside.
    #[must_use]
    pub const fn moves_packets(self) -> bool {
        matches!(self, Self::Running | Self::Pausing)
    }
}

/// A state a binding can be in.
pub trait State {
    /// Its name.
    const PHASE: Phase;
}

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl State for $name {
            const PHASE: Phase = Phase::$name;
        }
    )* };
}

states! {
    /// Not bound.
    Detached;
    /// Being bound.
    Attaching;
    /// Bound; no packets.
    Paused;
    /// About to run.
    Restarting;
    /// Packets move.
    Running;
    /// No new packets; those inside are being finished.
    Pausing;
}

/// A binding in a state; `A` is the host's own record of the adapter.
#[derive(Debug)]
#[must_use = "a binding that is let go of is lost in its state"]
pub struct Binding<A, S> {
    adapter: A,
    state: PhantomData<S>,
}

impl<A, S: State> Binding<A, S> {
    /// The host's record.
    pub const fn adapter(&self) -> &A {
        &self.adapter
    }

    /// The host's record, to change.
    pub const fn adapter_mut(&mut self) -> &mut A {
        &mut self.adapter
    }

    /// The state's name.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        S::PHASE
    }

    fn turn<T>(self) -> Binding<A, T> {
        Binding { adapter: self.adapter, state: PhantomData }
    }
}

impl<A> Binding<A, Detached> {
    /// A binding yet to be made.
    pub const fn new(adapter: A) -> Self {
        Self { adapter, state: PhantomData }
    }

    /// Begins to bind.
    pub fn attach(self) -> Binding<A, Attaching> {
        self.turn()
    }

    /// The host's record, back.
    pub fn into_adapter(self) -> A {
        self.adapter
    }
}

impl<A> Binding<A, Attaching> {
    /// It is bound.
    pub fn attached(self) -> Binding<A, Paused> {
        self.turn()
    }

    /// It could not be bound.
    pub fn failed(self) -> Binding<A, Detached> {
        self.turn()
    }
}

impl<A> Binding<A, Paused> {
    /// Begins to run.
    pub fn restart(self) -> Binding<A, Restarting> {
        self.turn()
    }

    /// Ends.
    pub fn detach(self) -> Binding<A, Detached> {
        self.turn()
    }
}

impl<A> Binding<A, Restarting> {
    /// Runs: the gate opens.
    pub fn restarted(self, gate: &Gate) -> Binding<A, Running> {
        gate.open();
        self.turn()
    }

    /// Could not.
    pub fn failed(self) -> Binding<A, Paused> {
        self.turn()
    }
}

impl<A> Binding<A, Running> {
    /// Begins to pause: the gate closes.
    pub fn pause(self, gate: &Gate) -> Binding<A, Pausing> {
        gate.close();
        self.turn()
    }
}

impl<A> Binding<A, Pausing> {
    /// Pauses, when nobody is inside any more.
    ///
    /// # Errors
    /// Itself, while somebody is: whoever leaves last has it tried again ([`Gate::leave`]).
    pub fn paused(self, gate: &Gate) -> Result<Binding<A, Paused>, Self> {
        if gate.is_empty() { Ok(self.turn()) } else { Err(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_from_end_to_end() {
        let gate = Gate::new();
        let bound = Binding::new("nic").attach().attached();
        assert_eq!((bound.phase(), gate.enter().is_some()), (Phase::Paused, false));
        let running = bound.restart().restarted(&gate);
        let inside = gate.enter().unwrap();
        let pausing = running.pause(&gate);
        assert!(gate.enter().is_none() && pausing.phase().moves_packets());
        let Err(pausing) = pausing.paused(&gate) else { panic!("somebody is inside") };
        assert!(gate.leave(inside));
        let Ok(paused) = pausing.paused(&gate) else { panic!("nobody is inside") };
        let again = paused.restart().failed().restart().restarted(&gate);
        assert!(gate.enter().is_some_and(|i| !gate.leave(i)));
        let Ok(paused) = again.pause(&gate).paused(&gate) else { panic!("nobody is inside") };
        assert_eq!(paused.detach().into_adapter(), "nic");
        assert_eq!(Binding::new(7).attach().failed().into_adapter(), 7);
    }

    #[test]
    fn phases_say_what_they_take() {
        let all = [Phase::Detached, Phase::Attaching, Phase::Paused, Phase::Restarting, Phase::Running, Phase::Pausing];
        let requests: Vec<_> = all.iter().filter(|p| p.takes_requests()).map(|p| p.name()).collect();
        assert_eq!(requests, ["paused", "restarting", "running", "pausing"]);
        assert_eq!(all.iter().filter(|p| p.moves_packets()).count(), 2);
    }
}
