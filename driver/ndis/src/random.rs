//! Random numbers at any interrupt level: ChaCha20 that forgets its key as it goes.
//!
//! The system gives 32 bytes once, where it may be asked; from there each block gives the next key and 32 bytes of
//! numbers (fast key erasure). What was drawn cannot be computed from what is kept.
//!
//! Source: RFC 8439 §2.3.

use pfvm::host::Random;

/// The generator.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 8],
    words: [u32; 8],
    left: usize,
}

const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// One quarter round on four places.
fn quarter(s: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    let at = |s: &[u32; 16], i: usize| s.get(i).copied().unwrap_or(0);
    let (mut va, mut vb, mut vc, mut vd) = (at(s, a), at(s, b), at(s, c), at(s, d));
    va = va.wrapping_add(vb);
    vd = (vd ^ va).rotate_left(16);
    vc = vc.wrapping_add(vd);
    vb = (vb ^ vc).rotate_left(12);
    va = va.wrapping_add(vb);
    vd = (vd ^ va).rotate_left(8);
    vc = vc.wrapping_add(vd);
    vb = (vb ^ vc).rotate_left(7);
    for (i, v) in [(a, va), (b, vb), (c, vc), (d, vd)] {
        if let Some(to) = s.get_mut(i) {
            *to = v;
        }
    }
}

const ROUNDS: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

/// The block of a key, a counter and a nonce.
fn block(key: &[u32; 8], counter: u32, nonce: [u32; 3]) -> [u32; 16] {
    let [c0, c1, c2, c3] = CONSTANTS;
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let [n0, n1, n2] = nonce;
    let start = [c0, c1, c2, c3, k0, k1, k2, k3, k4, k5, k6, k7, counter, n0, n1, n2];
    let mut s = start;
    for _ in 0..10 {
        for places in ROUNDS {
            quarter(&mut s, places);
        }
    }
    for (to, from) in s.iter_mut().zip(start) {
        *to = to.wrapping_add(from);
    }
    s
}

impl Stream {
    /// From the system's random bytes.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        let mut key = [0; 8];
        for (to, from) in key.iter_mut().zip(seed.as_chunks::<4>().0) {
            *to = u32::from_le_bytes(*from);
        }
        Self { key, words: [0; 8], left: 0 }
    }

    fn refill(&mut self) {
        let [k0, k1, k2, k3, k4, k5, k6, k7, w @ ..] = block(&self.key, 0, [0; 3]);
        self.key = [k0, k1, k2, k3, k4, k5, k6, k7];
        self.words = w;
        self.left = self.words.len();
    }
}

impl Random for Stream {
    fn random_u32(&mut self) -> u32 {
        if self.left == 0 {
            self.refill();
        }
        self.left = self.left.saturating_sub(1);
        self.words.get_mut(self.left).map_or(0, core::mem::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_that_of_rfc_8439() {
        let mut key = [0; 8];
        for (i, k) in (0_u32..).zip(&mut key) {
            let b = u8::try_from(i * 4).unwrap();
            *k = u32::from_le_bytes([b, b + 1, b + 2, b + 3]);
        }
        let out = block(&key, 1, [0x0900_0000, 0x4a00_0000, 0]);
        assert_eq!(out[..4], [0xe4e7_f110, 0x1559_3bd1, 0x1fdd_0f50, 0xc471_20a3]);
        assert_eq!(out[12..], [0xd19c_12b5, 0xb94e_16de, 0xe883_d0cb, 0x4e3c_50a2]);
    }

    #[test]
    fn what_was_drawn_is_not_kept() {
        let mut s = Stream::new([7; 32]);
        let first: Vec<u32> = (0..24).map(|_| s.random_u32()).collect();
        let mut again = Stream::new([7; 32]);
        assert!(first.iter().all(|w| *w == again.random_u32()));
        assert!(!first.iter().any(|w| s.words.contains(w) || s.key.contains(w)));
    }
}
