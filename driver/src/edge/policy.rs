//! What becomes of frames the engine does not decide about.
//!
//! pf filters IP. ARP is needed for IP to work at all and passes unless refused; every other kind of frame is dropped
//! unless it is named. Neighbour discovery is ICMPv6 and is the rules' business, as in pf, unless it is exempted.

/// EtherTypes that may be named at most.
pub const MOST: usize = 16;

/// The policy for what is not IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// ARP passes.
    pub arp: bool,
    /// Neighbour and router discovery passes without asking the rules.
    pub discovery: bool,
    /// 802.3 frames without an EtherType (spanning tree and its like) pass.
    pub llc: bool,
    /// Everything else passes, too.
    pub all: bool,
    /// Frames of a VLAN are the adapter's own where it has no VLAN interface at all.
    pub tagged: bool,
    types: [u16; MOST],
}

impl Default for Policy {
    fn default() -> Self {
        Self { arp: true, discovery: false, llc: false, all: false, tagged: false, types: [0; MOST] }
    }
}

impl Policy {
    /// Lets an EtherType pass. `false` when as many as fit are named already.
    #[must_use]
    pub fn allow(&mut self, kind: u16) -> bool {
        match self.types.iter_mut().find(|t| **t == 0 || **t == kind) {
            Some(free) => {
                *free = kind;
                true
            }
            None => false,
        }
    }

    /// Whether a frame that is neither IP nor ARP passes, by its EtherType or length field.
    #[must_use]
    pub fn passes(&self, kind: u16) -> bool {
        self.all || if kind < 1536 { self.llc } else { self.types.contains(&kind) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_passes() {
        let mut p = Policy::default();
        assert!(p.arp && !p.discovery && !p.passes(0x88cc) && !p.passes(0) && !p.passes(38));
        assert!(p.allow(0x88cc) && p.allow(0x88cc));
        assert!(p.passes(0x88cc) && !p.passes(0x8863));
        p.llc = true;
        assert!(p.passes(0) && p.passes(1535) && !p.passes(1536));
        p.all = true;
        assert!(p.passes(0x1234));
    }

    #[test]
    fn the_list_is_bounded() {
        let mut p = Policy::default();
        assert!((0x9000..0x9010).all(|kind| p.allow(kind)));
        assert!(!p.allow(0xa000) && p.allow(0x9003));
    }
}
