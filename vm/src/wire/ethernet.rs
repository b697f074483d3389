//! Ethernet frames with 802.1Q and 802.1ad tags and 802.3 LLC/SNAP: where the network packet begins.

use super::{Field, Truncated, demand};
use crate::rule::Af;

header! {
    /// An Ethernet II header.
    Ethernet[14] {
        /// Destination address.
        dst, set_dst: [u8; 6] = 0;
        /// Source address.
        src, set_src: [u8; 6] = 6;
        /// EtherType, or a length below 1536 in 802.3 frames.
        ethertype, set_ethertype: u16 = 12;
    }
}

impl<T: AsRef<[u8]>> Ethernet<T> {
    /// A view of a buffer that holds the header.
    ///
    /// # Errors
    /// [`Truncated`] below 14 bytes.
    pub fn new_checked(buffer: T) -> Result<Self, Truncated> {
        demand(buffer.as_ref().len(), Self::LEN)?;
        Ok(Self(buffer))
    }
}

header! {
    /// An 802.1Q or 802.1ad tag, after the tag protocol identifier.
    VlanTag[4] {
        /// Priority (3 bits), drop eligible (1), VLAN (12).
        control, set_control: u16 = 0;
        /// EtherType of what follows.
        ethertype, set_ethertype: u16 = 2;
    }
}

impl<T: AsRef<[u8]>> VlanTag<T> {
    /// VLAN identifier, 12 bits.
    #[must_use]
    pub fn vlan(&self) -> u16 {
        self.control() & 0x0fff
    }
}

/// EtherTypes.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1ad service tag.
    pub const QINQ: u16 = 0x88a8;
    /// Service tag before 802.1ad.
    pub const QINQ_OLD: u16 = 0x9100;
    /// PPPoE session.
    pub const PPPOE: u16 = 0x8864;
}

/// Tags that are looked through at most; a frame with more is [`Framing::Other`].
pub const MAX_TAGS: usize = 4;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// An IP packet.
    Ip {
        /// Its family by the EtherType.
        af: Af,
        /// Where it begins in the frame.
        offset: usize,
        /// VLAN of the outermost tag.
        vlan: Option<u16>,
    },
    /// ARP.
    Arp,
    /// Anything else; the innermost EtherType, or the length field of an LLC frame.
    Other(u16),
    /// Cut off inside the frame's header.
    Truncated,
}

/// Finds the network packet of a frame, through at most [`MAX_TAGS`] tags and a SNAP header.
#[must_use]
pub fn framing(frame: &[u8]) -> Framing {
    let Ok(eth) = Ethernet::new_checked(frame) else { return Framing::Truncated };
    let (mut kind, mut offset, mut vlan) = (eth.ethertype(), Ethernet::<&[u8]>::LEN, None);
    let mut tags = 0_usize;
    while matches!(kind, ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_OLD) {
        let rest = frame.get(offset..).unwrap_or_default();
        if tags == MAX_TAGS {
            return Framing::Other(kind);
        }
        if rest.len() < VlanTag::<&[u8]>::LEN {
            return Framing::Truncated;
        }
        let tag = VlanTag::new_unchecked(rest);
        vlan = vlan.or(Some(tag.vlan()));
        (kind, offset, tags) = (tag.ethertype(), offset.saturating_add(4), tags.saturating_add(1));
    }
    if kind < 1536 {
        match snap(frame.get(offset..).unwrap_or_default()) {
            Some(inner) => (kind, offset) = (inner, offset.saturating_add(8)),
            None => return Framing::Other(kind),
        }
    }
    match kind {
        ethertype::IPV4 => Framing::Ip { af: Af::Inet, offset, vlan },
        ethertype::IPV6 => Framing::Ip { af: Af::Inet6, offset, vlan },
        ethertype::ARP => Framing::Arp,
        other => Framing::Other(other),
    }
}

/// EtherType of a SNAP header with the zero organisation code.
fn snap(llc: &[u8]) -> Option<u16> {
    (llc.len() >= 8 && <[u8; 6]>::get(llc, 0) == [0xaa, 0xaa, 3, 0, 0, 0]).then(|| u16::get(llc, 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tail: &[u8]) -> Vec<u8> {
        [&[2; 12][..], tail].concat()
    }

    #[test]
    fn tags_and_snap_are_looked_through() {
        let ip = |af, offset, vlan| Framing::Ip { af, offset, vlan };
        assert_eq!(framing(&frame(&[8, 0, 0x45])), ip(Af::Inet, 14, None));
        assert_eq!(framing(&frame(&[0x81, 0, 0x60, 5, 0x86, 0xdd])), ip(Af::Inet6, 18, Some(5)));
        let double = [0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 8, 0];
        assert_eq!(framing(&frame(&double)), ip(Af::Inet, 22, Some(7)));
        let llc = [0, 50, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
        assert_eq!(framing(&frame(&llc)), ip(Af::Inet, 22, None));
        assert_eq!(framing(&frame(&[8, 6])), Framing::Arp);
        assert_eq!(framing(&frame(&[0x88, 0x64, 0])), Framing::Other(0x8864));
    }

    #[test]
    fn nesting_is_bounded_and_cuts_are_seen() {
        let tags = [0x81, 0, 0, 1].repeat(MAX_TAGS + 1);
        assert_eq!(framing(&frame(&[&tags[..], &[8, 0]].concat())), Framing::Other(0x8100));
        assert_eq!(framing(&frame(&[0x81, 0, 0])), Framing::Truncated);
        assert_eq!(framing(&[0; 13]), Framing::Truncated);
    }

    #[test]
    fn fields_read_back() {
        let mut eth = Ethernet::new_unchecked([0_u8; 14]);
        eth.set_dst([1; 6]);
        eth.set_src([2; 6]);
        eth.set_ethertype(0x0800);
        assert_eq!((eth.dst(), eth.src(), eth.ethertype()), ([1; 6], [2; 6], 0x0800));
        assert!(Ethernet::new_checked([0_u8; 13]).is_err());
    }
}
