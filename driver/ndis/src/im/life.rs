//! States of an adapter's two edges, and which follows which.
//!
//! ```text
//! below  Opening ─opened─▶ Paused ─restart─▶ Running ─pause─▶ Pausing ─paused─▶ Paused …  Paused ─close─▶ Closing
//! above  Absent ─ask─▶ Asked ─initialize─▶ Initializing ─initialized─▶ Paused ─restart─▶ Running
//!          ▲  ◀─withdraw─┘ ◀─────failed─────────┘                       │ ▲ ◀─paused─ Pausing ◀─pause─┘
//!          └────────────────────────────halted─────────────── Halting ◀─halt
//! ```
//!
//! **Invariant:** there is no other way from one to another: a call that comes in a wrong order changes nothing and is
//! refused.
//!
//! Source: "Protocol driver binding states" and "Miniport adapter states and operations" (NDIS 6).

/// The binding below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// Being opened.
    Opening,
    /// Open; no lists.
    Paused,
    /// Lists move.
    Running,
    /// No new sends; those out come back.
    Pausing,
    /// Being closed.
    Closing,
}

/// The miniport above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above {
    /// There is none.
    Absent,
    /// NDIS was asked for it.
    Asked,
    /// NDIS is starting it.
    Initializing,
    /// It is there; no lists.
    Paused,
    /// Lists move.
    Running,
    /// No new lists; those out come back.
    Pausing,
    /// It is going away.
    Halting,
}

/// What happens to the binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// It is open.
    Opened,
    /// `NetEventRestart`.
    Restart,
    /// `NetEventPause`.
    Pause,
    /// Everything is back.
    Paused,
    /// `ProtocolUnbindAdapterEx`.
    Close,
}

/// What happens to the miniport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// NDIS is asked for it.
    Ask,
    /// It is not wanted any more, or NDIS would not.
    Withdraw,
    /// `MiniportInitializeEx`.
    Initialize,
    /// That went well.
    Initialized,
    /// That did not.
    Failed,
    /// `MiniportRestart`.
    Restart,
    /// `MiniportPause`.
    Pause,
    /// Everything is back.
    Paused,
    /// `MiniportHaltEx`.
    Halt,
    /// Nothing of it is left.
    Halted,
}

impl Below {
    /// What follows. `None` when that cannot happen now.
    #[must_use]
    pub const fn after(self, what: Bind) -> Option<Self> {
        Some(match (self, what) {
            (Self::Opening, Bind::Opened) | (Self::Pausing, Bind::Paused) => Self::Paused,
            (Self::Paused, Bind::Restart) => Self::Running,
            (Self::Running, Bind::Pause) => Self::Pausing,
            (Self::Paused | Self::Running, Bind::Close) => Self::Closing,
            _ => return None,
        })
    }
}

impl Above {
    /// What follows. `None` when that cannot happen now.
    #[must_use]
    pub const fn after(self, what: Turn) -> Option<Self> {
        Some(match (self, what) {
            (Self::Absent, Turn::Ask) => Self::Asked,
            (Self::Asked, Turn::Withdraw) | (Self::Initializing, Turn::Failed) | (Self::Halting, Turn::Halted) => {
                Self::Absent
            }
            (Self::Asked, Turn::Initialize) => Self::Initializing,
            (Self::Initializing, Turn::Initialized) | (Self::Pausing, Turn::Paused) => Self::Paused,
            (Self::Paused, Turn::Restart) => Self::Running,
            (Self::Running, Turn::Pause) => Self::Pausing,
            (Self::Paused, Turn::Halt) => Self::Halting,
            _ => return None,
        })
    }
}

/// Both edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The binding.
    pub below: Below,
    /// The miniport.
    pub above: Above,
}

impl Life {
    /// At first.
    pub const NEW: Self = Self { below: Below::Opening, above: Above::Absent };

    /// Something happens to the binding. `false`, with nothing changed, when it cannot.
    #[must_use]
    pub const fn bind(&mut self, what: Bind) -> bool {
        match self.below.after(what) {
            Some(next) => {
                self.below = next;
                true
            }
            None => false,
        }
    }

    /// Something happens to the miniport. `false`, with nothing changed, when it cannot. There is none to ask for while
    /// the binding is not open.
    #[must_use]
    pub const fn turn(&mut self, what: Turn) -> bool {
        let open = !matches!(self.below, Below::Opening | Below::Closing);
        match self.above.after(what) {
            Some(next) if open || !matches!(what, Turn::Ask) => {
                self.above = next;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: [Turn; 10] = [
        Turn::Ask,
        Turn::Withdraw,
        Turn::Initialize,
        Turn::Initialized,
        Turn::Failed,
        Turn::Restart,
        Turn::Pause,
        Turn::Paused,
        Turn::Halt,
        Turn::Halted,
    ];

    #[test]
    fn a_life_from_end_to_end() {
        let mut life = Life::NEW;
        assert!(!life.turn(Turn::Ask), "the binding is not open");
        assert!(life.bind(Bind::Opened) && life.turn(Turn::Ask) && life.bind(Bind::Restart));
        for turn in
            [Turn::Initialize, Turn::Initialized, Turn::Restart, Turn::Pause, Turn::Paused, Turn::Halt, Turn::Halted]
        {
            assert!(life.turn(turn), "{turn:?} in {life:?}");
        }
        assert!(life.bind(Bind::Close) && !life.turn(Turn::Ask) && !life.bind(Bind::Restart));
    }

    #[test]
    fn every_state_of_a_miniport_takes_only_its_own() {
        let takes = |above: Above| TURNS.into_iter().filter(|t| above.after(*t).is_some()).collect::<Vec<_>>();
        assert_eq!(takes(Above::Absent), [Turn::Ask]);
        assert_eq!(takes(Above::Asked), [Turn::Withdraw, Turn::Initialize]);
        assert_eq!(takes(Above::Initializing), [Turn::Initialized, Turn::Failed]);
        assert_eq!(takes(Above::Paused), [Turn::Restart, Turn::Halt]);
        assert_eq!(takes(Above::Running), [Turn::Pause]);
        assert_eq!(takes(Above::Pausing), [Turn::Paused]);
        assert_eq!(takes(Above::Halting), [Turn::Halted]);
    }

    #[test]
    fn a_binding_that_is_closing_stays_so() {
        let all = [Bind::Opened, Bind::Restart, Bind::Pause, Bind::Paused, Bind::Close];
        assert!(all.iter().all(|what| Below::Closing.after(*what).is_none()));
        assert_eq!(Below::Pausing.after(Bind::Close), None, "a pause is finished first");
    }
}
