//! What the adapter below reports: the state of its link, kept; what of it goes up.
//!
//! While the miniport saves power nothing goes up; once it does not, it says what its link is now, if that is not what it
//! said last.

use crate::sys::code::{STATUS_LINK_STATE, STATUS_TASK_OFFLOAD_CURRENT_CONFIG, Status, TYPE_DEFAULT};
use crate::sys::code_im::{D0, indication};
use crate::sys::layout::Header;
use crate::sys::layout_im::{LinkState, size};

/// What becomes of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It says what the link is.
    Link,
    /// It goes up.
    Up,
    /// It is between the adapter below and this driver.
    Here,
}

/// What becomes of a status.
#[must_use]
pub const fn way(code: Status) -> Way {
    match code {
        STATUS_LINK_STATE => Way::Link,
        indication::MEDIA_SPECIFIC
        | indication::NETWORK_CHANGE
        | indication::OFFLOAD_HARDWARE
        | indication::OFFLOAD_ENCAPSULATION
        | STATUS_TASK_OFFLOAD_CURRENT_CONFIG => Way::Up,
        _ => Way::Here,
    }
}

/// A link, without its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// `NET_IF_MEDIA_CONNECT_STATE`.
    pub connect: i32,
    /// `NET_IF_MEDIA_DUPLEX_STATE`.
    pub duplex: i32,
    /// Bits a second.
    pub xmit_speed: u64,
    /// Bits a second.
    pub rcv_speed: u64,
    /// `NDIS_SUPPORTED_PAUSE_FUNCTIONS`.
    pub pause_functions: i32,
    /// `NDIS_LINK_STATE_…`.
    pub auto_negotiation: u32,
}

impl From<LinkState> for Link {
    fn from(state: LinkState) -> Self {
        let LinkState { connect, duplex, xmit_speed, rcv_speed, pause_functions, auto_negotiation, .. } = state;
        Self { connect, duplex, xmit_speed, rcv_speed, pause_functions, auto_negotiation }
    }
}

impl Link {
    /// As it is indicated.
    #[must_use]
    pub const fn state(&self) -> LinkState {
        LinkState {
            header: Header { kind: TYPE_DEFAULT, revision: 1, size: size::LINK_STATE },
            connect: self.connect,
            duplex: self.duplex,
            xmit_speed: self.xmit_speed,
            rcv_speed: self.rcv_speed,
            pause_functions: self.pause_functions,
            auto_negotiation: self.auto_negotiation,
        }
    }
}

/// The link, what was said of it, and the miniport's power.
#[derive(Clone, Copy, Debug)]
pub struct Reported {
    now: Link,
    told: Link,
    power: u32,
}

impl Reported {
    /// The link when the adapter was bound; the miniport has full power.
    #[must_use]
    pub const fn new(link: Link) -> Self {
        Self { now: link, told: link, power: D0 }
    }

    /// The miniport is being introduced: what its link is now.
    #[must_use]
    pub const fn introduced(&mut self) -> Link {
        self.power = D0;
        self.told = self.now;
        self.now
    }

    /// The link changed. What is to be said above, if anything.
    #[must_use]
    pub fn changed(&mut self, link: Link) -> Option<Link> {
        self.now = link;
        self.due()
    }

    /// The miniport's power changed. What is to be said above, if anything.
    #[must_use]
    pub fn powered(&mut self, power: u32) -> Option<Link> {
        self.power = power;
        self.due()
    }

    fn due(&mut self) -> Option<Link> {
        if !self.is_awake() || self.now == self.told {
            return None;
        }
        self.told = self.now;
        Some(self.now)
    }

    /// Whether the miniport has full power.
    #[must_use]
    pub const fn is_awake(&self) -> bool {
        self.power <= D0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Link =
        Link { connect: 1, duplex: 2, xmit_speed: 10, rcv_speed: 10, pause_functions: 0, auto_negotiation: 0 };
    const DOWN: Link = Link { connect: 2, ..UP };

    #[test]
    fn a_link_is_said_once_and_not_while_asleep() {
        let mut r = Reported::new(UP);
        assert_eq!((r.changed(UP), r.changed(DOWN), r.changed(DOWN)), (None, Some(DOWN), None));
        assert_eq!((r.powered(4), r.changed(UP), r.powered(1)), (None, None, Some(UP)));
        assert_eq!((r.powered(3), r.changed(DOWN), r.changed(UP), r.powered(1)), (None, None, None, None));
        assert_eq!(Link::from(DOWN.state()), DOWN);
        assert_eq!((r.powered(4), r.changed(DOWN), r.introduced(), r.is_awake()), (None, None, DOWN, true));
    }

    #[test]
    fn only_what_is_true_of_the_miniport_goes_up() {
        assert_eq!((way(0x4001_0017), way(0x4002_0006), way(0x4001_0018)), (Way::Link, Way::Up, Way::Up));
        // Reset, operational status, wake reason: the adapter's below alone.
        assert!([0x4001_0004, 0x4001_0023, 0x4003_0055].iter().all(|c| way(*c) == Way::Here));
    }
}
