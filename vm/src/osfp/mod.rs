//! Passive OS fingerprints: which operating system a TCP SYN looks like (`os` in rules).
//!
//! A SYN gives its window, TTL, packet size, "don't fragment" and the order of its options; the fingerprints of the
//! image are compared with that in their order, and the first that fits names the operating systems.
//! **Invariant:** the list is read front to back once a packet; equal fingerprints stand next to each other in it.
//!
//! Source: OpenBSD 7.8 `sys/net/pf_osfp.c` (`pf_osfp_fingerprint`, `pf_osfp_find`, `pf_osfp_match`), `pfvar.h`.

use crate::image::Print;
use crate::packet::{Packet, PacketDesc, tcp_flags};
use crate::rule::Af;

/// `os "unknown"`: what no fingerprint fits (`PF_OSFP_UNKNOWN`).
pub const UNKNOWN: u32 = u32::MAX;
/// An operating system that is not in the file: never matches (`PF_OSFP_NOMATCH`).
pub const NOMATCH: u32 = u32::MAX.wrapping_sub(1);
/// Any operating system (`PF_OSFP_ANY`).
pub const ANY: u32 = 0;

/// Bits of one option in [`Print::options`].
pub const OPTION_BITS: u32 = 3;
/// Options that are counted at most.
pub const MAX_OPTIONS: u8 = 21;
/// How much smaller a packet's TTL may be than the fingerprint's.
const TTL_SLACK: u8 = 40;

/// Declares `u16` flags.
macro_rules! flags {
    ($($(#[$doc:meta])* $id:ident = $v:expr,)*) => {
        /// Flags of a fingerprint (`PF_OSFP_*`).
        pub mod flag {
            $($(#[$doc])* pub const $id: u16 = $v;)*
        }
    };
}
flags! {
    /// The window is a multiple.
    WINDOW_MOD = 0x0001,
    /// The window does not matter.
    WINDOW_ANY = 0x0002,
    /// The window counts segments.
    WINDOW_MSS = 0x0004,
    /// The window counts packets.
    WINDOW_MTU = 0x0008,
    /// The packet size is a multiple.
    SIZE_MOD = 0x0010,
    /// The packet size does not matter.
    SIZE_ANY = 0x0020,
    /// The window scale is a multiple.
    WSCALE_MOD = 0x0040,
    /// The window scale does not matter.
    WSCALE_ANY = 0x0080,
    /// The segment size is a multiple.
    MSS_MOD = 0x0100,
    /// The segment size does not matter.
    MSS_ANY = 0x0200,
    /// "Don't fragment" is set.
    DF = 0x0400,
    /// The timestamp is zero.
    TS0 = 0x0800,
    /// Made for IPv6 from a line for IPv4.
    INET6 = 0x1000,
}

/// TCP options as fingerprints number them (`PF_OSFP_TCPOPT_*`).
pub mod option {
    /// No operation.
    pub const NOP: u64 = 0;
    /// Window scale.
    pub const WSCALE: u64 = 1;
    /// Maximum segment size.
    pub const MSS: u64 = 2;
    /// Selective acknowledgements.
    pub const SACK: u64 = 3;
    /// Timestamp.
    pub const TIMESTAMP: u64 = 4;
}

/// Packs class, version and subtype (10 bits each, 0 is any) as pf does (`PF_OSFP_PACK`).
#[must_use]
pub const fn pack(class: u32, version: u32, subtype: u32) -> u32 {
    (class & 0x3ff).wrapping_shl(20) | (version & 0x3ff).wrapping_shl(10) | (subtype & 0x3ff)
}

/// Class, version and subtype of a packed number.
#[must_use]
pub const fn unpack(os: u32) -> [u32; 3] {
    [os.wrapping_shr(20) & 0x3ff, os.wrapping_shr(10) & 0x3ff, os & 0x3ff]
}

/// What a SYN shows of its sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syn {
    options: u64,
    options_len: u8,
    window: u16,
    size: u16,
    mss: u16,
    wscale: u8,
    ttl: u8,
    flags: u16,
}

impl Syn {
    /// Reads a SYN. `None` for every other packet, and for options no fingerprint has.
    #[must_use]
    pub fn read(pkt: &Packet<'_>, pd: &PacketDesc) -> Option<Self> {
        let tcp = pd.tcp().filter(|t| t.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN)?;
        let off = usize::try_from(pd.off).ok()?;
        let end = off.checked_add(usize::from(tcp.header))?;
        if pd.fragment || end > pkt.len() || end > usize::try_from(pd.tot_len).ok()? {
            return None;
        }
        let mut syn = Self {
            window: tcp.win,
            size: u16::try_from(pd.tot_len & 0xffff).unwrap_or(0),
            ttl: pd.ttl,
            flags: match pd.af {
                Af::Inet => u16::from(pd.frag.dont).wrapping_mul(flag::DF),
                Af::Inet6 => flag::DF | flag::INET6,
            },
            ..Self::default()
        };
        syn.read_options(pkt, off.checked_add(20)?, end)?;
        Some(syn)
    }

    /// Reads the options between two offsets.
    fn read_options(&mut self, pkt: &Packet<'_>, mut at: usize, end: usize) -> Option<()> {
        while at < end {
            let kind = pkt.u8(at)?;
            if kind == 0 {
                break;
            }
            self.options_len = self.options_len.saturating_add(1);
            let (number, len) = if kind == 1 { (option::NOP, 1) } else { self.read_option(pkt, kind, at, end)? };
            self.options = self.options.wrapping_shl(OPTION_BITS) | number;
            at = at.checked_add(len)?;
        }
        Some(())
    }

    /// Reads one option that has a length. Gives its number and length.
    fn read_option(&mut self, pkt: &Packet<'_>, kind: u8, at: usize, end: usize) -> Option<(u64, usize)> {
        let left = end.checked_sub(at).filter(|l| *l >= 2)?;
        let len = usize::from(pkt.u8(at.checked_add(1)?)?);
        if !(2..=left).contains(&len) {
            return None;
        }
        let value = at.checked_add(2)?;
        let number = match kind {
            2 => {
                self.mss = if len >= 4 { pkt.u16(value)? } else { self.mss.swap_bytes() };
                option::MSS
            }
            3 => {
                if len >= 3 {
                    self.wscale = pkt.u8(value)?;
                }
                option::WSCALE
            }
            4 => option::SACK,
            8 => {
                if len >= 10 && pkt.u32(value)? == 0 {
                    self.flags |= flag::TS0;
                }
                option::TIMESTAMP
            }
            _ => return None,
        };
        Some((number, len))
    }

    /// Whether a fingerprint fits (`pf_osfp_find`).
    #[must_use]
    pub fn fits(&self, f: &Print) -> bool {
        let same = flag::DF | flag::TS0;
        f.options == self.options
            && f.options_len == self.options_len
            && f.ttl.checked_sub(self.ttl).is_some_and(|d| d <= TTL_SLACK)
            && f.flags & same == self.flags & same
            && number(f.flags, flag::SIZE_ANY, flag::SIZE_MOD, f.size, self.size)
            && number(f.flags, flag::MSS_ANY, flag::MSS_MOD, f.mss, self.mss)
            && number(f.flags, flag::WSCALE_ANY, flag::WSCALE_MOD, f.wscale.into(), self.wscale.into())
            && self.window_fits(f)
    }

    fn window_fits(&self, f: &Print) -> bool {
        if f.flags & flag::WINDOW_ANY != 0 {
            true
        } else if f.flags & flag::WINDOW_MSS != 0 {
            self.window_counts(f.window, 0)
        } else if f.flags & flag::WINDOW_MTU != 0 {
            self.window_counts(f.window, HEADERS)
        } else {
            number(f.flags, 0, flag::WINDOW_MOD, f.window, self.window)
        }
    }

    /// Whether the window is `n` units of the segment size and `more`, or of an Ethernet's: boxes on the way make
    /// the segment smaller.
    fn window_counts(&self, n: u16, more: u32) -> bool {
        let counts = |mss: u32| {
            let unit = mss.wrapping_add(more);
            let window = u32::from(self.window);
            window.checked_rem(unit) == Some(0) && window.checked_div(unit) == Some(n.into())
        };
        self.mss != 0 && (counts(self.mss.into()) || counts(ETHERNET_MSS))
    }
}

/// IPv4 and TCP header.
const HEADERS: u32 = 40;
/// Segment size of an Ethernet.
const ETHERNET_MSS: u32 = 1460;

/// Compares one number: not at all, as a multiple, or exactly.
fn number(flags: u16, any: u16, multiple: u16, f: u16, found: u16) -> bool {
    if flags & any != 0 {
        true
    } else if flags & multiple != 0 {
        found.checked_rem(f) == Some(0)
    } else {
        f == found
    }
}

/// Whether two fingerprints ask for the same: their operating systems are one list.
#[must_use]
pub const fn same_print(a: &Print, b: &Print) -> bool {
    a.options == b.options
        && a.window == b.window
        && a.size == b.size
        && a.mss == b.mss
        && a.flags == b.flags
        && a.options_len == b.options_len
        && a.wscale == b.wscale
        && a.ttl == b.ttl
}

/// What a packet looks like, once looked up: good for all rules the packet is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// Place of the first fingerprint that fits.
    first: Option<usize>,
}

impl Looks {
    /// Looks a packet up in the list.
    #[must_use]
    pub fn of(pkt: &Packet<'_>, pd: &PacketDesc, mut prints: impl Iterator<Item = Print>) -> Self {
        Self { first: Syn::read(pkt, pd).and_then(|syn| prints.position(|p| syn.fits(&p))) }
    }

    /// Whether it looks like an operating system of a rule (`pf_osfp_match`). `prints` is the same list.
    #[must_use]
    pub fn like(self, os: u32, prints: impl Iterator<Item = Print>) -> bool {
        if os == ANY {
            return true;
        }
        let Some(first) = self.first else { return os == UNKNOWN };
        let mut list = prints.skip(first);
        let Some(head) = list.next() else { return false };
        let mut all = core::iter::once(head).chain(list.take_while(|p| same_print(&head, p)));
        all.any(|p| names(os, p.os))
    }
}

/// Whether an operating system is among those a rule names: 0 stands for any class, version or subtype.
fn names(rule: u32, os: u32) -> bool {
    unpack(rule).into_iter().zip(unpack(os)).all(|(r, o)| r == 0 || r == o)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{PktMeta, describe};
    use crate::rule::Direction;

    /// `M*,N,N,S,N,W6,N,N,T` of a 64-byte packet.
    fn openbsd() -> Print {
        let order = [option::MSS, 0, 0, option::SACK, 0, option::WSCALE, 0, 0, option::TIMESTAMP];
        Print {
            os: pack(1, 1, 0),
            options: order.into_iter().fold(0, |p, o| (p << OPTION_BITS) | o),
            window: 16384,
            size: 64,
            mss: 0,
            flags: flag::DF | flag::MSS_ANY,
            options_len: 9,
            wscale: 6,
            ttl: 64,
            zero: 0,
        }
    }

    fn syn(ttl: u8, flags: u8, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut b = vec![0x45, 0, 0, 64, 0, 1, 0x40, 0, ttl, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        b.extend([0x10, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0xb0, flags, 0x40, 0, 0, 0, 0, 0]);
        b.extend([2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 6, 1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0]);
        change(&mut b);
        b
    }

    fn looks(b: &[u8], list: &[Print]) -> Looks {
        let mut b = b.to_vec();
        let p = Packet::whole(&mut b);
        let pd = describe(&p, &PktMeta::default(), Af::Inet, Direction::In, 1).unwrap();
        Looks::of(&p, &pd, list.iter().copied())
    }

    fn like(b: &[u8], list: &[Print], os: u32) -> bool {
        looks(b, list).like(os, list.iter().copied())
    }

    #[test]
    fn a_syn_is_recognised() {
        let list = [openbsd()];
        let b = syn(57, 2, |_| ());
        for os in [ANY, pack(1, 0, 0), pack(1, 1, 0)] {
            assert!(like(&b, &list, os));
        }
        for os in [UNKNOWN, NOMATCH, pack(2, 0, 0), pack(1, 2, 0), pack(1, 1, 3)] {
            assert!(!like(&b, &list, os));
        }
        let strange: &[Vec<u8>] = &[
            syn(65, 2, |_| ()),
            syn(23, 2, |_| ()),
            syn(64, 0x12, |_| ()),
            syn(64, 2, |b| b[6] = 0),
            syn(64, 2, |b| b[35] = 1),
            syn(64, 2, |b| b[51] = 7),
            syn(64, 2, |b| b[59] = 0),
            syn(64, 2, |b| b[40] = 99),
            syn(64, 2, |b| b[41] = 1),
            syn(64, 2, |b| b[55] = 40),
        ];
        for b in strange {
            assert!(like(b, &list, UNKNOWN) && like(b, &list, ANY) && !like(b, &list, pack(1, 0, 0)), "{b:02x?}");
        }
    }

    #[test]
    fn multiples_and_windows_in_segments() {
        let try_window = |flags: u16, window: u16, wire: u16, mss: u16| {
            let f = Print { flags: flags | flag::DF | flag::MSS_ANY, window, ..openbsd() };
            let b = syn(64, 2, |b| {
                b[34..36].copy_from_slice(&wire.to_be_bytes());
                b[42..44].copy_from_slice(&mss.to_be_bytes());
            });
            like(&b, &[f], pack(1, 0, 0))
        };
        assert!(try_window(flag::WINDOW_ANY, 1, 999, 1460));
        assert!(try_window(flag::WINDOW_MOD, 8192, 24576, 1460) && !try_window(flag::WINDOW_MOD, 8192, 24577, 1460));
        assert!(!try_window(flag::WINDOW_MOD, 0, 24576, 1460));
        assert!(try_window(flag::WINDOW_MSS, 4, 4 * 1400, 1400) && !try_window(flag::WINDOW_MSS, 4, 5 * 1400, 1400));
        assert!(try_window(flag::WINDOW_MSS, 4, 4 * 1460, 1400), "as if nobody had made the segment smaller");
        assert!(try_window(flag::WINDOW_MTU, 4, 4 * 1440, 1400) && try_window(flag::WINDOW_MTU, 4, 6000, 1400));
        assert!(!try_window(flag::WINDOW_MSS, 0, 0, 0));
    }

    #[test]
    fn equal_fingerprints_name_several_systems() {
        let other = Print { os: pack(7, 3, 2), ..openbsd() };
        let later =
            Print { window: 0, flags: flag::DF | flag::MSS_ANY | flag::WINDOW_ANY, os: pack(9, 0, 0), ..openbsd() };
        let list = [openbsd(), other, later];
        let b = syn(64, 2, |_| ());
        assert!(like(&b, &list, pack(1, 1, 0)) && like(&b, &list, pack(7, 3, 2)));
        assert!(!like(&b, &list, pack(9, 0, 0)), "only the first fingerprint that fits counts");
        assert!(like(&syn(64, 2, |b| b[35] = 1), &list, pack(9, 0, 0)));
        assert!(like(&b, &[], UNKNOWN));
    }
}
