//! A frame's own header, kept aside while the engine works on the packet behind it.
//!
//! The engine may put a longer header in front of a packet (`af-to`); the bytes it then takes are those of the frame's
//! header. So the header is copied away first and written in front of the packet when it leaves.

use pfvm::packet::Packet;
use pfvm::rule::Af;
use pfvm::wire::ethernet::{Framing, ethertype, framing};
use pfvm::wire::{Ethernet, Field, VlanTag};

use crate::edge::offload::Offload;
use crate::edge::port::Port;

/// Longest header that is looked through: Ethernet, four tags, SNAP.
pub const LONGEST: usize = 14 + 4 * 4 + 8;

/// A hardware address.
pub type Mac = [u8; 6];

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ether {
    bytes: [u8; LONGEST],
    len: usize,
    /// VLAN of the outermost tag.
    pub vlan: Option<u16>,
    /// The outermost tag, where it travels beside the frame and not in it ([`Offload::tag`]).
    outside: Option<u16>,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// It carries an IP packet behind this header.
    Ip(Ether, Af),
    /// ARP.
    Arp,
    /// Anything else: its innermost EtherType, or the length field of an LLC frame.
    Other(u16),
    /// Cut off inside its header.
    Truncated,
}

impl Ether {
    /// Reads the header of a frame.
    #[must_use]
    pub fn of(frame: &[u8]) -> Framed {
        let (af, offset, vlan) = match framing(frame) {
            Framing::Ip { af, offset, vlan } => (af, offset, vlan),
            Framing::Arp => return Framed::Arp,
            Framing::Other(kind) => return Framed::Other(kind),
            Framing::Truncated => return Framed::Truncated,
        };
        let mut bytes = [0; LONGEST];
        match (bytes.get_mut(..offset), frame.get(..offset)) {
            (Some(to), Some(from)) => copy(to, from),
            _ => return Framed::Truncated,
        }
        Framed::Ip(Self { bytes, len: offset, vlan, outside: None }, af)
    }

    /// A header for a packet that had none, tagged when it goes by a VLAN.
    #[must_use]
    pub fn new(dst: Mac, src: Mac, af: Af, vlan: Option<u16>) -> Self {
        let mut h = Self { bytes: [0; LONGEST], len: 14, vlan, outside: None };
        if let Some(id) = vlan {
            ethertype::VLAN.put(&mut h.bytes, 12);
            VlanTag::new_unchecked(h.bytes.get_mut(14..).unwrap_or_default()).set_control(id & 0x0fff);
            h.len = 18;
        }
        h.set_family(af);
        h.set_ends(dst, src);
        h
    }

    /// A header for a packet that goes back where a frame came from: of the same VLAN, its tag where that frame's was.
    #[must_use]
    pub fn answering(came: &Self, dst: Mac, src: Mac, af: Af) -> Self {
        match came.outside {
            Some(tag) => Self { vlan: came.vlan, outside: Some(tag & 0x0fff), ..Self::new(dst, src, af, None) },
            None => Self::new(dst, src, af, came.vlan),
        }
    }

    /// The same with a tag that came beside the frame: the outermost, whatever the frame holds.
    #[must_use]
    pub fn tagged(self, tag: Option<u16>) -> Self {
        match tag {
            Some(control) => Self { vlan: Some(control & 0x0fff), outside: tag, ..self },
            None => self,
        }
    }

    /// The interface a frame of a port is seen on: that of its VLAN. A tag beside the frame may be the adapter's own, which
    /// was set to one VLAN: where no interface stands for it, the frame is the adapter's. So is one with a tag in it, where
    /// that is the policy (`tagged`) and the adapter has no VLAN interface.
    #[must_use]
    pub fn seen_on(&self, port: &Port, tagged: bool) -> Option<u16> {
        let own = self.outside.is_some() || (tagged && !port.has_vlans());
        port.seen_on(self.vlan).or_else(|| own.then_some(port.iface))
    }

    /// What a frame with this header says of itself when nothing is left to a card.
    #[must_use]
    pub fn facts(&self) -> Offload {
        Offload { tag: self.outside, ..Offload::default() }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Their number.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Never: a header has at least 14 bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Receiver.
    #[must_use]
    pub fn dst(&self) -> Mac {
        Ethernet::new_unchecked(self.bytes).dst()
    }

    /// Sender.
    #[must_use]
    pub fn src(&self) -> Mac {
        Ethernet::new_unchecked(self.bytes).src()
    }

    /// Gives the frame other ends.
    pub fn set_ends(&mut self, dst: Mac, src: Mac) {
        dst.put(&mut self.bytes, 0);
        src.put(&mut self.bytes, 6);
    }

    /// Makes the frame one of a family: its innermost EtherType.
    pub fn set_family(&mut self, af: Af) {
        let kind = match af {
            Af::Inet => ethertype::IPV4,
            Af::Inet6 => ethertype::IPV6,
        };
        kind.put(&mut self.bytes, self.len.saturating_sub(2));
    }

    /// Priority of the outermost tag, 0–7, as pf counts it: 802.1p has 0 and 1 swapped.
    #[must_use]
    pub fn prio(&self) -> Option<u8> {
        self.vlan?;
        let control = self.outside.unwrap_or_else(|| u16::get(&self.bytes, 14));
        Some(swapped(u8::try_from(control >> 13).unwrap_or(0)))
    }

    /// Sets the priority of the outermost tag, if there is one.
    pub fn set_prio(&mut self, prio: u8) {
        let with = |control: u16| control & 0x1fff | u16::from(swapped(prio & 7)) << 13;
        match &mut self.outside {
            Some(control) => *control = with(*control),
            None if self.vlan.is_some() => with(u16::get(&self.bytes, 14)).put(&mut self.bytes, 14),
            None => {}
        }
    }

    /// Tells the frame how long its packet is: 802.3 frames hold a length where others hold an EtherType.
    pub fn set_payload(&mut self, len: usize) {
        let outer = if self.vlan.is_some() && self.outside.is_none() { None } else { Some(12) };
        if let Some(at) = outer
            && u16::get(&self.bytes, at) < 1536
        {
            u16::try_from(len.saturating_add(8)).unwrap_or(u16::MAX).put(&mut self.bytes, at);
        }
    }

    /// Writes the header in front of a packet and includes it. `false`, with nothing written, when the headroom is too
    /// small.
    #[must_use]
    pub fn put_before(&mut self, packet: &mut Packet<'_>, af: Af) -> bool {
        self.set_family(af);
        self.set_payload(packet.len());
        packet.grow_front(self.len) && packet.write(0, self.bytes())
    }
}

/// Copies as many bytes as both have.
pub(super) fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// 802.1p's order of the two lowest priorities (`if_vlan.c vlan_input`, `vlan_output`).
const fn swapped(prio: u8) -> u8 {
    if prio <= 1 { prio ^ 1 } else { prio }
}

/// Whether an address means many: the group bit.
#[must_use]
pub const fn is_group(mac: Mac) -> bool {
    let [first, ..] = mac;
    first & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(frame: &[u8]) -> Ether {
        match Ether::of(frame) {
            Framed::Ip(e, _) => e,
            other => panic!("no packet: {other:?}"),
        }
    }

    #[test]
    fn a_header_comes_back_before_a_longer_packet() {
        let mut h = ip(&[&[1; 6][..], &[2; 6], &[8, 0, 0x45]].concat());
        let mut room = [0xee; 40];
        let mut p = Packet::new(&mut room, 20, &[]).unwrap();
        assert!(h.put_before(&mut p, Af::Inet6));
        assert_eq!(p.window()[..14], [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0x86, 0xdd]);
        assert_eq!((p.headroom(), p.len()), (6, 34));
        let mut short = [0; 20];
        let mut p = Packet::new(&mut short, 13, &[]).unwrap();
        assert!(!h.put_before(&mut p, Af::Inet));
    }

    #[test]
    fn tags_keep_their_vlan_and_take_a_priority() {
        let mut h = ip(&[&[1; 12][..], &[0x81, 0, 0x20, 5, 8, 0]].concat());
        assert_eq!((h.vlan, h.prio(), h.len()), (Some(5), Some(0), 18));
        h.set_prio(7);
        assert_eq!(h.bytes()[14..16], [0xe0, 5]);
        h.set_prio(0);
        assert_eq!((h.bytes()[14], h.prio()), (0x20, Some(0)));
        h.set_family(Af::Inet6);
        assert_eq!(h.bytes()[12..], [0x81, 0, 0x20, 5, 0x86, 0xdd]);
    }

    #[test]
    fn snap_frames_tell_their_length() {
        let frame = [&[1; 12][..], &[0, 50, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]].concat();
        let mut h = ip(&frame);
        h.set_payload(100);
        assert_eq!(h.bytes()[12..14], [0, 108]);
        let mut plain = Ether::new([1; 6], [2; 6], Af::Inet, None);
        plain.set_payload(100);
        assert_eq!(plain.bytes()[12..], [8, 0]);
        let tagged = Ether::new([1; 6], [2; 6], Af::Inet6, Some(9));
        assert_eq!(tagged.bytes()[12..], [0x81, 0, 0, 9, 0x86, 0xdd]);
        assert_eq!((tagged.dst(), tagged.src()), ([1; 6], [2; 6]));
    }
}
