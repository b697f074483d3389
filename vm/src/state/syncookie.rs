//! SYN cookies: handshakes answered without remembering them.
//!
//! While cookies are on, a SYN is answered with a sequence number that carries all a state would need: a keyed hash of
//! the connection, and one byte with the segment size, the window scale and the number of the key. The ACK that brings
//! it back proves the sender gets our packets; only then is a SYN made up and shown to the rules.
//!
//! ```text
//! 31         8 7                0
//! | 24 of MAC | cookie ^ MAC>>24 |     cookie: mss 7-5, wscale 4-2, sack 1, key 0
//! ```
//!
//! **Invariant:** keys come from the host's randomness and live 15 seconds as the newer and 15 as the older one.
//! **Invariant:** nothing here knows time or load but by its arguments.
//!
//! Source: OpenBSD 7.8 `sys/net/pf_syncookies.c`.

use core::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::host::Random;
use crate::nat::addr;
use crate::rule::{Addr, Af, Syncookies};

/// Seconds a key is the newer one (`PF_SYNCOOKIE_SECRET_LIFETIME`).
pub const KEY_LIFETIME: u64 = 15;

/// Segment sizes a cookie can tell apart; others are rounded down.
const MSS: [u16; 8] = [216, 536, 1200, 1360, 1400, 1440, 1452, 1460];
/// Window scales a cookie can tell apart; place 0 stands for none.
const WSCALE: [u8; 8] = [0, 0, 1, 2, 4, 6, 7, 8];

/// One direction of a TCP connection: what a cookie's hash covers besides the sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Family.
    pub af: Af,
    /// Who opens.
    pub src: Addr,
    /// To whom.
    pub dst: Addr,
    /// Port of who opens.
    pub sport: u16,
    /// Port of the other.
    pub dport: u16,
}

/// What a cookie brought back: the SYN to make up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recreated {
    /// Its sequence number.
    pub seq: u32,
    /// Its window. pf puts the scale's value there and sends no scale option.
    pub win: u16,
    /// Its segment size.
    pub mss: u16,
    /// Whether it allows selective acknowledgements.
    pub sack: bool,
}

/// The byte a cookie carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Byte(u8);

impl Byte {
    fn new(mss: u16, wscale: u8, newer: bool) -> Self {
        let size = place(&MSS, mss);
        let scale = place(&WSCALE, wscale);
        Self(size.wrapping_shl(5) | scale.wrapping_shl(2) | u8::from(newer))
    }

    /// Which key it was made with.
    const fn odd(self) -> bool {
        self.0 & 1 != 0
    }

    const fn sack(self) -> bool {
        self.0 & 2 != 0
    }

    fn wscale(self) -> u8 {
        WSCALE.get(usize::from(self.0.wrapping_shr(2) & 7)).copied().unwrap_or(0)
    }

    fn mss(self) -> u16 {
        MSS.get(usize::from(self.0.wrapping_shr(5))).copied().unwrap_or(0)
    }
}

/// The last place whose value is not above `v`; 0 when all but the first are.
fn place<T: Copy + PartialOrd>(table: &[T; 8], v: T) -> u8 {
    let fits = |i: &u8| *i == 0 || table.get(usize::from(*i)).is_some_and(|t| *t <= v);
    (0..8).rev().find(fits).unwrap_or(0)
}

/// Keys, marks and what is under way.
#[derive(Clone, Copy, Debug)]
pub struct SynCookies {
    mode: Syncookies,
    active: bool,
    odd: bool,
    keys: [[u64; 2]; 2],
    in_flight: [u32; 2],
    rotate_at: Option<u64>,
    high: u32,
    low: u32,
}

impl Default for SynCookies {
    fn default() -> Self {
        Self::new()
    }
}

impl SynCookies {
    /// Cookies switched off.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            mode: Syncookies::Never,
            active: false,
            odd: false,
            keys: [[0; 2]; 2],
            in_flight: [0; 2],
            rotate_at: None,
            high: 0,
            low: 0,
        }
    }

    /// Takes over `set syncookies`; the marks are parts of `limit states`. Cookies under way stay good.
    pub fn configure<R: Random + ?Sized>(&mut self, mode: Syncookies, states: u32, now: u64, random: &mut R) {
        if let Syncookies::Adaptive { start, end } = mode {
            self.high = part(states, start);
            self.low = part(states, end);
        }
        let same = core::mem::discriminant(&self.mode) == core::mem::discriminant(&mode);
        self.mode = mode;
        if !same && mode == Syncookies::Always {
            self.new_key(now, random);
            self.active = true;
        }
    }

    /// Whether cookies are being sent at present.
    #[must_use]
    pub const fn active(&self) -> bool {
        self.active
    }

    /// Cookies sent with each key and not come back.
    #[must_use]
    pub const fn in_flight(&self) -> [u32; 2] {
        self.in_flight
    }

    /// Whether a SYN is answered with a cookie (`pf_synflood_check`). `half_open` counts states whose handshake is not
    /// complete. The second answer says that a flood was noticed just now, which is counted.
    pub fn wanted<R: Random + ?Sized>(&mut self, half_open: u32, now: u64, random: &mut R) -> (bool, bool) {
        match self.mode {
            Syncookies::Never => (false, false),
            Syncookies::Always => (true, false),
            Syncookies::Adaptive { .. } => {
                let flood = !self.active && half_open > self.high;
                if flood {
                    self.new_key(now, random);
                    self.active = true;
                }
                (self.active, flood)
            }
        }
    }

    /// The sequence number that answers a SYN with sequence number `seq`, and counts it as under way. `wscale` is the
    /// SYN's scale with its flag, 0 when it has none.
    pub fn send(&mut self, flow: &Flow, seq: u32, mss: u16, wscale: u8) -> u32 {
        let byte = Byte::new(mss, wscale, self.odd);
        let mac = self.mac(flow, seq, byte);
        let n = self.flying(self.odd);
        *n = n.wrapping_add(1);
        (mac & !0xff) | (u32::from(byte.0) ^ mac.wrapping_shr(24))
    }

    /// Whether an ACK brings back a cookie of ours (`pf_syncookie_validate`); it is good once. `seq` and `ack` are
    /// those of the ACK.
    pub fn validate(&mut self, flow: &Flow, seq: u32, ack: u32) -> Option<Recreated> {
        let (seq, iss) = (seq.wrapping_sub(1), ack.wrapping_sub(1));
        let byte = Byte(u8::try_from((iss & 0xff) ^ iss.wrapping_shr(24)).unwrap_or(0));
        if *self.flying(byte.odd()) == 0 || (iss ^ self.mac(flow, seq, byte)) & !0xff != 0 {
            return None;
        }
        let n = self.flying(byte.odd());
        *n = n.wrapping_sub(1);
        Some(Recreated { seq, win: byte.wscale().into(), mss: byte.mss(), sack: byte.sack() })
    }

    /// Changes the key when its time has come, and switches cookies off when the flood is over
    /// (`pf_syncookie_rotate`). Called once a second or more often.
    pub fn tick<R: Random + ?Sized>(&mut self, half_open: u32, now: u64, random: &mut R) {
        if self.rotate_at.is_none_or(|t| now < t) {
            return;
        }
        let [even, odd] = self.in_flight;
        let over = match self.mode {
            Syncookies::Never => true,
            Syncookies::Always => false,
            Syncookies::Adaptive { .. } => half_open.wrapping_add(even).wrapping_add(odd) < self.low,
        };
        self.active = self.active && !over;
        if !self.active && self.in_flight == [0; 2] {
            self.keys = [[0; 2]; 2];
            self.rotate_at = None;
        } else {
            self.new_key(now, random);
        }
    }

    fn new_key<R: Random + ?Sized>(&mut self, now: u64, random: &mut R) {
        self.odd = !self.odd;
        *self.flying(self.odd) = 0;
        let mut word = || u64::from(random.random_u32()) | u64::from(random.random_u32()).wrapping_shl(32);
        let key = [word(), word()];
        let [even, odd] = &mut self.keys;
        *(if self.odd { odd } else { even }) = key;
        self.rotate_at = Some(now.saturating_add(KEY_LIFETIME));
    }

    const fn flying(&mut self, odd: bool) -> &mut u32 {
        let [e, o] = &mut self.in_flight;
        if odd { o } else { e }
    }

    fn mac(&self, flow: &Flow, seq: u32, byte: Byte) -> u32 {
        let [even, odd] = self.keys;
        let [k0, k1] = if byte.odd() { odd } else { even };
        let mut h = SipHasher24::new_with_keys(k0, k1);
        h.write(addr::wire(flow.af, &flow.src));
        h.write(addr::wire(flow.af, &flow.dst));
        h.write(&flow.sport.to_be_bytes());
        h.write(&flow.dport.to_be_bytes());
        h.write(&seq.to_le_bytes());
        h.write(&[byte.0]);
        let [a, b, c, d, e, f, g, i] = h.finish().to_le_bytes();
        u32::from_le_bytes([a, b, c, d]) ^ u32::from_le_bytes([e, f, g, i])
    }
}

/// `percent` of a number of states.
fn part(states: u32, percent: u8) -> u32 {
    let wide = u64::from(states).wrapping_mul(u64::from(percent)).checked_div(100).unwrap_or(0);
    u32::try_from(wide).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rng(u64);

    impl Random for Rng {
        fn random_u32(&mut self) -> u32 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(9);
            (self.0 >> 32) as u32
        }
    }

    fn flow(n: u8) -> Flow {
        Flow { af: Af::Inet, src: addr::v4([10, 0, 0, n]), dst: addr::v4([192, 0, 2, 1]), sport: 1000, dport: 80 }
    }

    #[test]
    fn a_cookie_comes_back_once() {
        let (mut c, mut r) = (SynCookies::new(), Rng(1));
        assert_eq!(c.wanted(9, 0, &mut r), (false, false));
        c.configure(Syncookies::Always, 100, 0, &mut r);
        assert_eq!(c.wanted(0, 0, &mut r), (true, false));
        for (mss, wscale, want) in
            [(1460, 0x80 | 7, (1460, 8)), (1459, 0, (1452, 0)), (100, 0, (216, 0)), (536, 0x80, (536, 8))]
        {
            let iss = c.send(&flow(1), 77, mss, wscale);
            let ack = iss.wrapping_add(1);
            assert_eq!(c.validate(&flow(2), 78, ack), None);
            assert_eq!(c.validate(&flow(1), 79, ack), None);
            assert_eq!(c.validate(&flow(1), 78, ack ^ 0x100), None);
            let back = Recreated { seq: 77, win: want.1, mss: want.0, sack: false };
            assert_eq!(c.validate(&flow(1), 78, ack), Some(back));
            assert_eq!(c.validate(&flow(1), 78, ack), None, "nothing is under way any more");
        }
    }

    #[test]
    fn keys_change_and_the_last_one_still_counts() {
        let (mut c, mut r) = (SynCookies::new(), Rng(2));
        c.configure(Syncookies::Always, 100, 100, &mut r);
        let first = c.send(&flow(1), 5, 1460, 0).wrapping_add(1);
        c.tick(0, 114, &mut r);
        assert_eq!(c.in_flight(), [0, 1]);
        c.tick(0, 115, &mut r);
        let second = c.send(&flow(1), 5, 1460, 0).wrapping_add(1);
        assert_ne!(first, second);
        assert_eq!(c.in_flight(), [1, 1]);
        assert!(c.validate(&flow(1), 6, first).is_some());
        c.tick(0, 130, &mut r);
        c.tick(0, 145, &mut r);
        assert_eq!(c.validate(&flow(1), 6, second), None, "thirty seconds are over");
        c.configure(Syncookies::Never, 100, 146, &mut r);
        c.tick(0, 160, &mut r);
        assert!(!c.active() && c.rotate_at.is_none() && c.keys == [[0; 2]; 2]);
    }

    #[test]
    fn adaptive_has_two_marks() {
        let (mut c, mut r) = (SynCookies::new(), Rng(3));
        c.configure(Syncookies::Adaptive { start: 25, end: 12 }, 100, 0, &mut r);
        assert_eq!(c.wanted(25, 1, &mut r), (false, false));
        assert_eq!(c.wanted(26, 2, &mut r), (true, true));
        assert_eq!(c.wanted(3, 3, &mut r), (true, false));
        for n in 0..10 {
            c.send(&flow(n), 5, 1460, 0);
        }
        c.tick(3, 17, &mut r);
        assert!(c.active(), "what is under way counts");
        c.tick(3, 32, &mut r);
        assert!(c.active(), "10 more under way with the older key");
        c.tick(3, 47, &mut r);
        assert!(!c.active());
        assert_eq!(c.wanted(25, 48, &mut r), (false, false));
    }
}
