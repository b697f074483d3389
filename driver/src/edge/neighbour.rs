//! Neighbours of the filter's own: next hops asked for by ARP and neighbour solicitation, and frames that wait for them.
//!
//! A filter between adapters and a host's stack cannot ask that stack who a next hop is. Frames for a hop nobody knows are
//! held ([`Waiting`]), the question goes out, and the answer ([`Neighbourhood::hear`]) lets them go. What was found is
//! believed for a minute ([`Known`]); then it is asked for again.
//!
//! **Invariant:** only an answer to a question asked in the last [`ANSWER`] milliseconds is believed: what is not asked for
//! changes nothing.
//! **Invariant:** hops, frames held and questions are bounded; nothing allocates after [`Neighbourhood::new`].
//!
//! Locks: the edge's, alone but for [`Neighbourhood::awaits`]. Source: RFC 826, RFC 4861 §4.3, §4.4, §7.2.

use alloc::vec::Vec;

use pfvm::packet::proto;
use pfvm::rule::{Addr, Af};
use pfvm::state::pool::{OutOfMemory, filled};
use pfvm::wire::checksum::Sum;
use pfvm::wire::ethernet::{Framing, ethertype, framing};
use pfvm::wire::{Field, Ipv6};

use crate::edge::ether::{LONGEST, Mac, copy, is_group};
use crate::edge::filtered::Neighbours;
use crate::edge::port::PortId;
use crate::edge::{Exit, Hop, Sink};

/// Milliseconds an answer may take, and a frame waits.
pub const ANSWER: u64 = 3000;
/// Milliseconds between two questions for one hop.
const AGAIN: u64 = 1000;
/// Milliseconds an answer is believed.
const BELIEVED: u64 = 60_000;
/// Next hops there is room for.
const HOPS: u32 = 256;
/// Frames that wait at most.
const HELD: u32 = 64;
/// Bytes of the longest frame that waits.
const LONG: usize = 2048;
/// Bytes of the longest question.
const QUESTION: usize = LONGEST + 40 + 32;

/// What is known, or asked, of a hop.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hop: Hop,
    port: PortId,
    mac: Option<Mac>,
    /// When it was heard of, or last asked for.
    at: u64,
}

/// What was found, at a time.
#[derive(Debug)]
pub struct Known<'n> {
    entries: &'n [Option<Entry>],
    now: u64,
}

impl Neighbours for Known<'_> {
    fn mac(&self, hop: &Hop) -> Option<Mac> {
        let entry = self.entries.iter().flatten().find(|e| e.hop == *hop)?;
        entry.mac.filter(|_| self.now < entry.at.saturating_add(BELIEVED))
    }
}

/// A frame that waits.
#[derive(Clone, Copy, Debug)]
struct Held {
    hop: Hop,
    port: PortId,
    len: usize,
    until: u64,
}

/// A hop that is to be asked for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    hop: Hop,
    port: PortId,
    /// The header of the frame that waits.
    header: [u8; LONGEST],
    len: usize,
}

/// Frames that wait.
#[derive(Debug)]
pub struct Waiting {
    held: Vec<Option<Held>>,
    bytes: Vec<u8>,
    /// Hops that are to be asked for.
    wanted: Vec<Option<Wanted>>,
    /// Frames that waited in vain or found no room.
    pub lost: u64,
}

/// The neighbours of a filter.
#[derive(Debug)]
pub struct Neighbourhood {
    entries: Vec<Option<Entry>>,
    waiting: Waiting,
}

impl Neighbourhood {
    /// Nobody is known.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new() -> Result<Self, OutOfMemory> {
        let bytes = HELD.saturating_mul(u32::try_from(LONG).unwrap_or(0));
        let waiting = Waiting {
            held: filled("frames that wait", HELD, None)?,
            bytes: filled("frames that wait", bytes, 0)?,
            wanted: filled("next hops", 8, None)?,
            lost: 0,
        };
        Ok(Self { entries: filled("next hops", HOPS, None)?, waiting })
    }

    /// What is known now, and where frames wait for what is not.
    pub fn split(&mut self, now: u64) -> (Known<'_>, &mut Waiting) {
        (Known { entries: &self.entries, now }, &mut self.waiting)
    }

    /// Frames that waited in vain or found no room.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.waiting.lost
    }

    /// Asks for the hops frames wait for since. `own` gives the adapter's hardware address and an address of its
    /// interface, with which it asks.
    pub fn ask<S: Sink>(&mut self, now: u64, own: impl Fn(PortId, &Hop) -> Option<(Mac, Addr)>, sink: &mut S) {
        for at in 0..self.waiting.wanted.len() {
            let Some(wanted) = self.waiting.wanted.get_mut(at).and_then(Option::take) else { continue };
            let Wanted { hop, port, header, len } = wanted;
            let Some((mac, addr)) = own(port, &hop) else { continue };
            if !self.note(port, &hop, now) {
                continue;
            }
            let mut room = [0; QUESTION];
            let header = header.get(..len).unwrap_or_default();
            let Some(question) = question(&mut room, header, &hop, mac, &addr) else { continue };
            let af = hop.af;
            let _sent = sink.frame(Exit::Wire(port), &[question], &super::offload::Offload::default(), af);
        }
    }

    /// Writes down that a hop is asked for. `false` when it was just now.
    fn note(&mut self, port: PortId, hop: &Hop, now: u64) -> bool {
        let place = self.entries.iter().position(|e| e.is_some_and(|e| e.hop == *hop));
        let place = place.or_else(|| self.entries.iter().position(Option::is_none)).or_else(|| {
            // The one not heard of for longest goes.
            let oldest = self.entries.iter().enumerate().min_by_key(|(_, e)| e.map_or(0, |e| e.at));
            oldest.map(|(at, _)| at)
        });
        let Some(slot) = place.and_then(|at| self.entries.get_mut(at)) else { return false };
        let same = slot.filter(|e| e.hop == *hop);
        if same.is_some_and(|e| e.mac.is_none() && now < e.at.saturating_add(AGAIN)) {
            return false;
        }
        *slot = Some(Entry { hop: *hop, port, mac: None, at: now });
        true
    }

    /// The question a frame that came by the wire answers, by its place, and the hardware address that is the answer.
    fn answered(&self, port: PortId, frame: &[u8], now: u64) -> Option<(usize, Mac)> {
        let (af, addr, mac) = answer(frame)?;
        let asked = |e: &Entry| {
            let open = e.mac.is_none() && now < e.at.saturating_add(ANSWER);
            open && e.port == port && e.hop.af == af && e.hop.addr == addr
        };
        self.entries.iter().position(|e| e.as_ref().is_some_and(asked)).map(|at| (at, mac))
    }

    /// Whether [`Neighbourhood::hear`] would change anything.
    #[must_use]
    pub fn awaits(&self, port: PortId, frame: &[u8], now: u64) -> bool {
        self.answered(port, frame, now).is_some()
    }

    /// A frame that came by the wire: when it answers a question, what waited for it goes.
    pub fn hear<S: Sink>(&mut self, port: PortId, frame: &[u8], now: u64, sink: &mut S) {
        let Some((at, mac)) = self.answered(port, frame, now) else { return };
        let Some(entry) = self.entries.get_mut(at).and_then(Option::as_mut) else { return };
        (entry.mac, entry.at) = (Some(mac), now);
        let hop = entry.hop;
        self.waiting.release(&hop, mac, sink);
    }

    /// Time has passed: what waited too long goes, and what still waits is asked for again.
    pub fn tick(&mut self, now: u64) {
        let Waiting { held, bytes, wanted, lost } = &mut self.waiting;
        for (at, slot) in held.iter_mut().enumerate() {
            let Some(h) = *slot else { continue };
            if h.until <= now {
                *slot = None;
                *lost = lost.wrapping_add(1);
                continue;
            }
            let frame = bytes.get(at.saturating_mul(LONG)..).and_then(|b| b.get(..h.len)).unwrap_or_default();
            want(wanted, h.port, &h.hop, frame);
        }
    }
}

/// Writes down that a hop is to be asked for, as the frame that waits for it is framed.
fn want(wanted: &mut [Option<Wanted>], port: PortId, hop: &Hop, frame: &[u8]) {
    let Framing::Ip { offset, .. } = framing(frame) else { return };
    let mut header = [0; LONGEST];
    copy(&mut header, frame.get(..offset).unwrap_or_default());
    let known = wanted.iter().flatten().any(|w| w.hop == *hop);
    if let Some(free) = wanted.iter_mut().find(|w| w.is_none()).filter(|_| !known) {
        *free = Some(Wanted { hop: *hop, port, header, len: offset.min(LONGEST) });
    }
}

impl Waiting {
    /// Keeps a frame until its next hop is known. `false` when it is too long or there is no room.
    pub fn hold(&mut self, port: PortId, hop: &Hop, parts: &[&[u8]], now: u64) -> bool {
        let len = parts.iter().fold(0_usize, |n, part| n.saturating_add(part.len()));
        let place = self.held.iter().position(Option::is_none).filter(|_| len <= LONG);
        let room = place.and_then(|at| self.bytes.get_mut(at.checked_mul(LONG)?..)?.get_mut(..len));
        let (Some(at), Some(room)) = (place, room) else {
            self.lost = self.lost.wrapping_add(1);
            return false;
        };
        let mut from = 0_usize;
        for part in parts {
            copy(room.get_mut(from..).unwrap_or_default(), part);
            from = from.saturating_add(part.len());
        }
        want(&mut self.wanted, port, hop, room);
        if let Some(slot) = self.held.get_mut(at) {
            *slot = Some(Held { hop: *hop, port, len, until: now.saturating_add(ANSWER) });
        }
        true
    }

    /// Sends what waited for a hop.
    fn release<S: Sink>(&mut self, hop: &Hop, mac: Mac, sink: &mut S) {
        for (slot, room) in self.held.iter_mut().zip(self.bytes.chunks_mut(LONG)) {
            let Some(held) = slot.take_if(|h| h.hop == *hop) else { continue };
            let Some(frame) = room.get_mut(..held.len) else { continue };
            mac.put(frame, 0);
            let whole = super::offload::Offload::default();
            if !sink.frame(Exit::Wire(held.port), &[frame], &whole, hop.af) {
                self.lost = self.lost.wrapping_add(1);
            }
        }
    }
}

/// A sink in which frames for hops nobody knows wait; everything else goes on.
#[derive(Debug)]
pub struct Patient<'s, S> {
    /// Where frames leave.
    pub sink: &'s mut S,
    /// Where they wait.
    pub waiting: &'s mut Waiting,
    /// Milliseconds.
    pub now: u64,
}

impl<S: Sink> Sink for Patient<'_, S> {
    fn frame(&mut self, exit: Exit, parts: &[&[u8]], offload: &super::offload::Offload, af: Af) -> bool {
        match exit {
            // A frame that waits is finished: nobody would finish it later.
            Exit::Resolve(port, hop) => {
                !super::segment::owes(&offload.meta) && self.waiting.hold(port, &hop, parts, self.now)
            }
            Exit::Stack(_) | Exit::Wire(_) => self.sink.frame(exit, parts, offload, af),
        }
    }
}

/// Builds the question for a hop: ARP or a neighbour solicitation, behind the header its frames have.
fn question<'r>(room: &'r mut [u8; QUESTION], header: &[u8], hop: &Hop, mac: Mac, own: &Addr) -> Option<&'r [u8]> {
    let at = header.len();
    copy(room.get_mut(..at)?, header);
    mac.put(room, 6);
    let end = match hop.af {
        Af::Inet => {
            [0xff; 6].put(room, 0);
            ethertype::ARP.put(room, at.checked_sub(2)?);
            let body = room.get_mut(at..at.checked_add(28)?)?;
            // Ethernet, IPv4, their lengths, a request.
            [0, 1, 8, 0, 6, 4].put(body, 0);
            1_u16.put(body, 6);
            mac.put(body, 8);
            copy(body.get_mut(14..18)?, &own.0);
            copy(body.get_mut(24..28)?, &hop.addr.0);
            at.checked_add(28)?
        }
        Af::Inet6 => {
            let [.., x, y, z] = hop.addr.0;
            let mut group = [0; 16];
            [0xff_u8, 2, 0, 0, 0, 0].put(&mut group, 0);
            [0, 1, 0xff, x, y, z].put(&mut group, 10);
            let [.., w, x, y, z] = group;
            [0x33, 0x33, w, x, y, z].put(room, 0);
            ethertype::IPV6.put(room, at.checked_sub(2)?);
            let body = room.get_mut(at..at.checked_add(72)?)?;
            let mut ip = Ipv6::new_unchecked(&mut *body);
            ip.set_version_flow(0x6000_0000);
            ip.set_payload_len(32);
            ip.set_next_header(proto::ICMPV6);
            ip.set_hop_limit(255);
            ip.set_src(own.0);
            ip.set_dst(group);
            let message = body.get_mut(40..)?;
            message.fill(0);
            135_u8.put(message, 0);
            hop.addr.0.put(message, 8);
            // Source link-layer address, one unit of eight bytes.
            [1_u8, 1].into_iter().enumerate().for_each(|(i, b)| b.put(message, i.saturating_add(24)));
            mac.put(message, 26);
            let sum = Sum::new().pseudo(Af::Inet6, own, &Addr(group), proto::ICMPV6, 32).bytes(message).finish();
            sum.put(message, 2);
            at.checked_add(72)?
        }
    };
    room.get(..end)
}

/// What a frame says of a neighbour, if it is an answer at all: an ARP reply, or a sound neighbour advertisement.
fn answer(frame: &[u8]) -> Option<(Af, Addr, Mac)> {
    match framing(frame) {
        Framing::Arp => {
            let body = frame.get(arp_at(frame)?..)?.get(..28)?;
            if body.get(..8)? != [0, 1, 8, 0, 6, 4, 0, 2] {
                return None;
            }
            let addr = pfvm::packet::addr4(<[u8; 4]>::get(body, 14));
            sound(Af::Inet, addr, Mac::get(body, 8))
        }
        Framing::Ip { af: Af::Inet6, offset, .. } => {
            let body = frame.get(offset..)?;
            let ip = Ipv6::new_checked(body).ok()?;
            let len = usize::from(ip.payload_len());
            let message = body.get(40..)?.get(..len)?;
            // Type 136, code 0, from the link itself (RFC 4861 §7.1.2).
            let plain = ip.next_header() == proto::ICMPV6 && ip.hop_limit() == 255 && message.get(..2)? == [136, 0];
            let sum = Sum::new().pseudo(
                Af::Inet6,
                &Addr(ip.src()),
                &Addr(ip.dst()),
                proto::ICMPV6,
                u32::from(ip.payload_len()),
            );
            if !plain || len < 24 || sum.bytes(message).fold() != 0xffff {
                return None;
            }
            let addr = Addr(<[u8; 16]>::get(message, 8));
            let mac = option(message.get(24..)?)?;
            sound(Af::Inet6, addr, mac)
        }
        Framing::Ip { .. } | Framing::Other(_) | Framing::Truncated => None,
    }
}

/// Where the body of an ARP frame begins, tags looked through.
fn arp_at(frame: &[u8]) -> Option<usize> {
    let mut at = 12_usize;
    for _ in 0..=4 {
        match u16::get(frame, at) {
            ethertype::ARP => return at.checked_add(2),
            ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_OLD => at = at.checked_add(4)?,
            _ => return None,
        }
    }
    None
}

/// The target's link-layer address among the options of an advertisement.
fn option(mut options: &[u8]) -> Option<Mac> {
    for _ in 0..16 {
        let [kind, units, ..] = *options else { return None };
        let (one, later) = options.split_at_checked(usize::from(units).checked_mul(8).filter(|n| *n > 0)?)?;
        if kind == 2 && units == 1 {
            return Some(Mac::get(one, 2));
        }
        options = later;
    }
    None
}

fn sound(af: Af, addr: Addr, mac: Mac) -> Option<(Af, Addr, Mac)> {
    (!is_group(mac) && mac != [0; 6]).then_some((af, addr, mac))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::offload::Offload;

    const PORT: PortId = PortId(3);
    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const PEER: Mac = [2, 0, 0, 0, 0, 7];

    #[derive(Default)]
    struct Kept(Vec<(Exit, Vec<u8>)>);

    impl Sink for Kept {
        fn frame(&mut self, exit: Exit, parts: &[&[u8]], _: &Offload, _: Af) -> bool {
            self.0.push((exit, parts.concat()));
            true
        }
    }

    fn hop(af: Af) -> Hop {
        let addr = match af {
            Af::Inet => pfvm::packet::addr4([192, 0, 2, 9]),
            Af::Inet6 => Addr([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]),
        };
        Hop { iface: 4, af, addr }
    }

    fn own(af: Af) -> Addr {
        if af == Af::Inet { pfvm::packet::addr4([192, 0, 2, 1]) } else { Addr([0xfe; 16]) }
    }

    /// A frame for the hop; its receiver is not known.
    fn frame(af: Af) -> Vec<u8> {
        let kind: [u8; 2] = if af == Af::Inet { [8, 0] } else { [0x86, 0xdd] };
        [&[0; 6][..], &OWN, &kind, &[0x45; 40]].concat()
    }

    fn hold(n: &mut Neighbourhood, af: Af, now: u64) -> bool {
        n.split(now).1.hold(PORT, &hop(af), &[&frame(af)[..20], &frame(af)[20..]], now)
    }

    fn asked(n: &mut Neighbourhood, af: Af, now: u64) -> Vec<Vec<u8>> {
        let mut kept = Kept::default();
        n.ask(now, |_, hop| Some((OWN, own(hop.af))).filter(|_| hop.af == af), &mut kept);
        kept.0.into_iter().map(|(exit, bytes)| (exit == Exit::Wire(PORT)).then_some(bytes).unwrap()).collect()
    }

    fn reply(af: Af) -> Vec<u8> {
        match af {
            Af::Inet => {
                [&OWN[..], &PEER, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &PEER, &[192, 0, 2, 9], &OWN, &[192, 0, 2, 1]]
                    .concat()
            }
            Af::Inet6 => {
                let mut message = vec![0; 32];
                message[0] = 136;
                message[8..24].copy_from_slice(&hop(af).addr.0);
                message[24..26].copy_from_slice(&[2, 1]);
                message[26..].copy_from_slice(&PEER);
                let (src, dst) = (hop(af).addr, own(af));
                let sum = Sum::new().pseudo(af, &src, &dst, 58, 32).bytes(&message).finish();
                message[2..4].copy_from_slice(&sum.to_be_bytes());
                let ip = [&[0x60, 0, 0, 0, 0, 32, 58, 255][..], &src.0, &dst.0].concat();
                [&OWN[..], &PEER, &[0x86, 0xdd], &ip, &message].concat()
            }
        }
    }

    fn heard(n: &mut Neighbourhood, frame: &[u8], now: u64) -> Vec<(Exit, Vec<u8>)> {
        let mut kept = Kept::default();
        n.hear(PORT, frame, now, &mut kept);
        kept.0
    }

    #[test]
    fn a_frame_waits_for_the_answer_to_its_question() {
        for af in [Af::Inet, Af::Inet6] {
            let mut n = Neighbourhood::new().unwrap();
            assert!(hold(&mut n, af, 1000) && hold(&mut n, af, 1000));
            let questions = asked(&mut n, af, 1000);
            assert_eq!(questions.len(), 1, "two frames ask once");
            assert!(asked(&mut n, af, 1001).is_empty());
            let mut expected = frame(af);
            expected[..6].copy_from_slice(&PEER);
            assert_eq!(heard(&mut n, &reply(af), 1500), vec![(Exit::Wire(PORT), expected); 2]);
            assert_eq!(n.split(1500).0.mac(&hop(af)), Some(PEER));
            assert_eq!(n.split(1500 + BELIEVED).0.mac(&hop(af)), None);
            assert_eq!(n.lost(), 0);
        }
    }

    #[test]
    fn questions_are_what_the_neighbour_understands() {
        let mut n = Neighbourhood::new().unwrap();
        assert!(hold(&mut n, Af::Inet, 1) && hold(&mut n, Af::Inet6, 1));
        let arp = asked(&mut n, Af::Inet, 1).remove(0);
        let body = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &OWN, &[192, 0, 2, 1], &[0; 6], &[192, 0, 2, 9]].concat();
        assert_eq!(arp, [&[0xff; 6][..], &OWN, &[8, 6], &body].concat());
        assert!(hold(&mut n, Af::Inet6, 2));
        let nd = asked(&mut n, Af::Inet6, 2).remove(0);
        assert_eq!((&nd[..6], &nd[12..14]), (&[0x33, 0x33, 0xff, 1, 2, 3][..], &[0x86, 0xdd][..]));
        let group = Addr([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 1, 2, 3]);
        assert_eq!((&nd[14 + 24..14 + 40], nd[14 + 7], nd[54]), (&group.0[..], 255, 135));
        assert_eq!(Sum::new().pseudo(Af::Inet6, &own(Af::Inet6), &group, 58, 32).bytes(&nd[54..]).fold(), 0xffff);
        assert_eq!((&nd[62..78], &nd[78..80], &nd[80..]), (&hop(Af::Inet6).addr.0[..], &[1, 1][..], &OWN[..]));
    }

    #[test]
    fn what_was_not_asked_for_is_not_believed() {
        for af in [Af::Inet, Af::Inet6] {
            let mut n = Neighbourhood::new().unwrap();
            assert!(heard(&mut n, &reply(af), 5).is_empty());
            assert!(hold(&mut n, af, 10));
            assert_eq!(asked(&mut n, af, 10).len(), 1);
            let mut kept = Kept::default();
            n.hear(PortId(9), &reply(af), 20, &mut kept);
            assert!(kept.0.is_empty(), "an answer by another adapter");
            for at in 12..reply(af).len() {
                // Cut anywhere, or with a bit of it wrong, it is no answer; whom an ARP reply goes to says nothing.
                assert!(heard(&mut n, &reply(af)[..at], 20).is_empty());
            }
            let mut wrong = reply(af);
            wrong[if af == Af::Inet { 22 } else { 80 }] |= 1;
            assert!(heard(&mut n, &wrong, 20).is_empty(), "a group is nobody's address, a wrong sum is no answer");
            assert!(heard(&mut n, &reply(af), 10 + ANSWER).is_empty(), "too late");
            assert_eq!(n.split(20).0.mac(&hop(af)), None);
        }
    }

    #[test]
    fn waiting_is_bounded_in_number_and_time() {
        let mut n = Neighbourhood::new().unwrap();
        let held = (0..HELD + 3).filter(|_| hold(&mut n, Af::Inet, 0)).count();
        assert_eq!((held, n.lost()), (HELD as usize, 3));
        assert!(!n.split(0).1.hold(PORT, &hop(Af::Inet), &[&[0; LONG + 1]], 0));
        assert_eq!(asked(&mut n, Af::Inet, 0).len(), 1);
        n.tick(AGAIN);
        assert_eq!(asked(&mut n, Af::Inet, AGAIN).len(), 1, "asked for again while frames wait");
        n.tick(ANSWER);
        assert_eq!(n.lost(), 4 + u64::from(HELD));
        assert!(asked(&mut n, Af::Inet, ANSWER).is_empty() && hold(&mut n, Af::Inet, ANSWER));
    }

    #[test]
    fn more_hops_than_there_is_room_for_push_the_oldest_out() {
        let mut n = Neighbourhood::new().unwrap();
        for i in 0..u16::try_from(HOPS).unwrap() + 9 {
            let [a, b] = i.to_be_bytes();
            let one = Hop { addr: pfvm::packet::addr4([10, 0, a, b]), ..hop(Af::Inet) };
            assert!(n.note(PORT, &one, u64::from(i)));
        }
        assert_eq!(n.entries.iter().flatten().map(|e| e.at).min(), Some(9));
    }
}
