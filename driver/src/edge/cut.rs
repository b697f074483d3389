//! Packets too large for a link: cut into fragments, with the checksum a card would have written.
//!
//! The engine puts fragments together before it decides; what is then larger than the link's MTU is cut here, as
//! OpenBSD's `ip_output` does after pf.
//!
//! **Invariant:** each fragment but the last carries a multiple of eight bytes; options are repeated as RFC 791 §3.1
//! says: those with the copied bit in every fragment, the others in the first.
//!
//! Source: `ip_output.c` (`ip_fragment`, `ip_optcopy`), RFC 791.

use pfvm::packet::{Packet, proto};
use pfvm::rule::Af;
use pfvm::wire::checksum::{self, Sum};
use pfvm::wire::{Field, Ipv4};

use crate::edge::ether::copy;
use crate::edge::offload::Offload;

/// Writes the checksum the card was to write: the sum of all from `start` on, complemented. `front` is where the packet
/// begins in its frame. `false` when the place lies outside what can be written.
#[must_use]
pub fn complete(packet: &mut Packet<'_>, offload: &Offload, front: usize) -> bool {
    let Some(start) = usize::from(offload.start).checked_sub(front) else { return false };
    let at = start.saturating_add(usize::from(offload.offset));
    let Some(len) = packet.len().checked_sub(start) else { return false };
    let sum = Sum::new().packet(packet, start, len);
    let udp = offload.offset == 6;
    let value = if udp { sum.finish_udp() } else { sum.finish() };
    packet.write(at, &value.to_be_bytes())
}

/// Options that every fragment repeats, written over `room`; their length, a multiple of four.
fn copied_options(options: &[u8], room: &mut [u8; 40]) -> usize {
    let (mut at, mut len) = (0_usize, 0_usize);
    while let Some(kind) = options.get(at).copied() {
        let size = match kind {
            0 => break,
            1 => 1,
            _ => options.get(at.saturating_add(1)).copied().map_or(0, usize::from),
        };
        if size == 0 || (kind != 1 && size < 2) {
            break;
        }
        let end = at.saturating_add(size);
        let Some(option) = options.get(at..end) else { break };
        if kind & 0x80 != 0
            && let Some(to) = room.get_mut(len..len.saturating_add(size))
        {
            copy(to, option);
            len = len.saturating_add(size);
        }
        at = end;
    }
    len.saturating_add(3) & !3
}

/// Cuts an IPv4 packet to `mtu` and hands on each fragment, built in `room`; how many. `None`, with nothing handed on,
/// when it may not be cut (`DF`), its header is wrong, or the room is too small.
pub fn fragment4(packet: &Packet<'_>, mtu: usize, room: &mut [u8], mut each: impl FnMut(&[u8])) -> Option<u64> {
    let h = Ipv4::new_unchecked(packet.array::<20>(0)?);
    let (hlen, flags) = (h.header_len(), h.flags_offset());
    let total = usize::from(h.total_len());
    if h.dont_fragment() || hlen < 20 || total > packet.len() || hlen > total || mtu > room.len() {
        return None;
    }
    let mut options = [0; 40];
    let given = options.get_mut(..hlen.checked_sub(20)?)?;
    if !packet.read(20, given) {
        return None;
    }
    let mut repeated = [0; 40];
    let later = copied_options(given, &mut repeated);
    let (mut from, mut count) = (hlen, 0_u64);
    let step = |head: usize| mtu.checked_sub(head).map(|n| n & !7).filter(|n| *n >= 8);
    step(hlen)?;
    while from < total {
        let opts = if count == 0 { options.get(..hlen.checked_sub(20)?)? } else { repeated.get(..later)? };
        let head = opts.len().checked_add(20)?;
        let len = step(head)?.min(total.checked_sub(from)?);
        let end = head.checked_add(len)?;
        let out = room.get_mut(..end)?;
        packet.read(0, out.get_mut(..20)?).then_some(())?;
        copy(out.get_mut(20..head)?, opts);
        packet.read(from, out.get_mut(head..)?).then_some(())?;
        let done = from.checked_add(len)?;
        // A fragment that is cut again keeps its own place and "more fragments".
        let offset = u16::try_from(from.checked_sub(hlen)? >> 3).ok()?.checked_add(flags & 0x1fff)?;
        let more = if done < total { 0x2000 } else { flags & 0x2000 };
        let mut h = Ipv4::new_unchecked(&mut *out);
        h.set_version_ihl(0x40 | u8::try_from(head >> 2).ok()?);
        h.set_total_len(u16::try_from(end).ok()?);
        h.set_flags_offset(offset | more);
        h.fill_checksum();
        each(out);
        (from, count) = (done, count.saturating_add(1));
    }
    Some(count)
}

/// Takes one from the time to live. `false`, with nothing changed, when it is over.
#[must_use]
pub fn decrement_ttl(packet: &mut Packet<'_>, af: Af) -> bool {
    let at = match af {
        Af::Inet => 8,
        Af::Inet6 => 7,
    };
    let Some(word) = packet.u16(at & !1).filter(|_| packet.u8(at).is_some_and(|ttl| ttl > 1)) else { return false };
    let less = match af {
        Af::Inet => word.wrapping_sub(0x100),
        Af::Inet6 => word.wrapping_sub(1),
    };
    if af == Af::Inet
        && let Some(sum) = packet.u16(10)
        && !packet.write(10, &checksum::fixup(sum, word, less, checksum::Kind::of(proto::TCP)).to_be_bytes())
    {
        return false;
    }
    packet.write(at & !1, &less.to_be_bytes())
}

/// Bytes the IP header says the packet has, when fewer than there are: the rest is padding of the frame.
#[must_use]
pub fn without_padding(packet: &Packet<'_>, af: Af) -> Option<usize> {
    let said = match af {
        Af::Inet => usize::from(packet.u16(2)?),
        Af::Inet6 => match packet.u16(4)? {
            0 => return None,
            len => usize::from(len).checked_add(40)?,
        },
    };
    (said >= 20 && said < packet.len()).then_some(said)
}

/// The destination of a packet in the form frames are looked up by.
#[must_use]
pub fn four(a: &pfvm::rule::Addr) -> [u8; 4] {
    <[u8; 4]>::get(&a.0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(options: &[u8], len: usize, flags: u16) -> Vec<u8> {
        let hlen = 20 + options.len();
        let mut p = vec![0; hlen + len];
        p[20..hlen].copy_from_slice(options);
        p[hlen..].iter_mut().enumerate().for_each(|(i, b)| *b = i as u8);
        let mut h = Ipv4::new_unchecked(&mut p);
        h.set_version_ihl(0x40 | (hlen / 4) as u8);
        h.set_total_len((hlen + len) as u16);
        h.set_id(77);
        h.set_ttl(64);
        h.set_proto(17);
        h.set_flags_offset(flags);
        h.fill_checksum();
        p
    }

    /// Fragments put together by their own words.
    fn cut(p: &mut [u8], mtu: usize) -> Option<Vec<Vec<u8>>> {
        let mut out = Vec::new();
        let mut room = vec![0; 2000];
        let n = fragment4(&Packet::whole(p), mtu, &mut room, |f| out.push(f.to_vec()))?;
        assert_eq!(n, out.len() as u64);
        Some(out)
    }

    #[test]
    fn fragments_hold_the_whole() {
        for len in [1, 7, 8, 1480, 1481, 4000] {
            let mut p = packet(&[], len, 0);
            let parts = cut(&mut p, 1500).unwrap();
            let mut data = vec![0xee; len];
            for (i, f) in parts.iter().enumerate() {
                let h = Ipv4::new_checked(&f[..]).unwrap();
                assert!(f.len() <= 1500 && checksum::of(&f[..20]) == 0);
                assert_eq!((h.id(), h.ttl(), usize::from(h.total_len())), (77, 64, f.len()));
                assert_eq!(h.more_fragments(), i + 1 < parts.len());
                let at = usize::from(h.fragment_offset());
                data[at..at + f.len() - 20].copy_from_slice(&f[20..]);
            }
            assert_eq!(data, p[20..]);
        }
    }

    #[test]
    fn only_copied_options_are_repeated() {
        // Record route (7, not copied), then source route (0x83, copied), padded.
        let options = [7, 3, 4, 0x83, 3, 4, 1, 0];
        let parts = cut(&mut packet(&options, 200, 0), 100).unwrap();
        assert_eq!(parts[0][20..28], options);
        assert_eq!((parts[1][0], &parts[1][20..24]), (0x46, &[0x83, 3, 4, 0][..]));
    }

    #[test]
    fn fragments_may_be_cut_again() {
        let parts = cut(&mut packet(&[], 64, 0x2000 | 10), 52).unwrap();
        let offsets: Vec<_> = parts.iter().map(|f| Ipv4::new_checked(&f[..]).unwrap().flags_offset()).collect();
        assert_eq!(offsets, [0x2000 | 10, 0x2000 | 14]);
    }

    #[test]
    fn what_may_not_be_cut_is_not() {
        assert!(cut(&mut packet(&[], 2000, 0x4000), 1500).is_none());
        assert!(cut(&mut packet(&[], 100, 0), 27).is_none());
        assert!(cut(&mut packet(&[], 100, 0)[..60], 50).is_none());
        let mut short = packet(&[], 100, 0);
        short[0] = 0x44;
        assert!(cut(&mut short, 50).is_none());
    }

    #[test]
    fn the_card_s_checksum_is_written() {
        let mut udp = packet(&[], 16, 0);
        udp[20..28].copy_from_slice(&[0, 9, 0, 53, 0, 16, 0, 0]);
        let (src, dst) = (Addr4(&udp, 12).addr(), Addr4(&udp, 16).addr());
        let pseudo = Sum::new().pseudo(Af::Inet, &src, &dst, 17, 16).fold();
        udp[26..28].copy_from_slice(&pseudo.to_be_bytes());
        let offload = Offload { start: 34, offset: 6, ..Offload::default() };
        assert!(complete(&mut Packet::whole(&mut udp), &offload, 14));
        assert!(checksum::verify_l4(&Packet::whole(&mut udp), Af::Inet, &src, &dst, 17, 20, 16));
        let outside = Offload { start: 10, offset: 6, ..Offload::default() };
        assert!(!complete(&mut Packet::whole(&mut udp), &outside, 14));
    }

    struct Addr4<'a>(&'a [u8], usize);
    impl Addr4<'_> {
        fn addr(&self) -> pfvm::rule::Addr {
            pfvm::packet::addr4(self.0[self.1..self.1 + 4].try_into().unwrap())
        }
    }

    #[test]
    fn time_to_live_goes_down_with_its_checksum() {
        let mut p = packet(&[], 8, 0);
        assert!(decrement_ttl(&mut Packet::whole(&mut p), Af::Inet));
        assert_eq!((p[8], checksum::of(&p[..20])), (63, 0));
        p[8] = 1;
        assert!(!decrement_ttl(&mut Packet::whole(&mut p), Af::Inet));
        let mut six = [0x60; 48];
        six[7] = 2;
        assert!(decrement_ttl(&mut Packet::whole(&mut six), Af::Inet6));
        assert_eq!((six[6], six[7]), (0x60, 1));
        assert!(!decrement_ttl(&mut Packet::whole(&mut six), Af::Inet6));
    }

    #[test]
    fn padding_is_what_the_header_does_not_speak_of() {
        let mut p = packet(&[], 8, 0);
        p.resize(46, 0);
        assert_eq!(without_padding(&Packet::whole(&mut p), Af::Inet), Some(28));
        assert_eq!(without_padding(&Packet::whole(&mut p[..28]), Af::Inet), None);
        assert_eq!(without_padding(&Packet::whole(&mut p[..24]), Af::Inet), None);
    }
}
