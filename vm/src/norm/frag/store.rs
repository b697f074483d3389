//! Bytes of waiting fragments: chains of small blocks from one store of fixed capacity.

use crate::packet::Packet;
use crate::state::pool::{OutOfMemory, filled, lengthen};
use crate::state::record::NONE;
use alloc::vec::Vec;

/// Bytes of a block.
pub(super) const BLOCK: usize = 256;

/// The store.
///
/// **Invariant:** a block is in one chain or in the list of free ones.
#[derive(Debug)]
pub(super) struct Store {
    blocks: Vec<[u8; BLOCK]>,
    next: Vec<u32>,
    free: u32,
    spare: usize,
}

impl Store {
    /// A store of `count` blocks.
    pub(super) fn new(count: u32) -> Result<Self, OutOfMemory> {
        let mut store = Self {
            blocks: filled("fragments' bytes", count, [0; BLOCK])?,
            next: filled("fragments' blocks", count, NONE)?,
            free: NONE,
            spare: 0,
        };
        for block in (0..count).rev() {
            store.give_one(block);
        }
        Ok(store)
    }

    /// Makes it a store of `count` blocks, if it has fewer.
    pub(super) fn grow(&mut self, count: u32) -> Result<(), OutOfMemory> {
        let err = OutOfMemory { what: "fragments' bytes", count };
        let want = usize::try_from(count).map_err(|_| err)?;
        let more = want.saturating_sub(self.blocks.len());
        self.blocks.try_reserve_exact(more).map_err(|_| err)?;
        self.next.try_reserve_exact(more).map_err(|_| err)?;
        let before = u32::try_from(self.blocks.len()).map_err(|_| err)?;
        lengthen(&mut self.blocks, want, &[0; BLOCK]);
        lengthen(&mut self.next, want, &NONE);
        for block in before..count {
            self.give_one(block);
        }
        Ok(())
    }

    /// Whether `len` bytes would fit.
    pub(super) const fn fits(&self, len: usize) -> bool {
        len.div_ceil(BLOCK) <= self.spare
    }

    fn link(&self, block: u32) -> u32 {
        usize::try_from(block).ok().and_then(|i| self.next.get(i)).copied().unwrap_or(NONE)
    }

    fn give_one(&mut self, block: u32) {
        if let Some(next) = usize::try_from(block).ok().and_then(|i| self.next.get_mut(i)) {
            *next = self.free;
            self.free = block;
            self.spare = self.spare.saturating_add(1);
        }
    }

    /// Gives a chain back.
    pub(super) fn give(&mut self, chain: u32) {
        let mut block = chain;
        for _ in 0..self.next.len() {
            if block == NONE {
                break;
            }
            let next = self.link(block);
            self.give_one(block);
            block = next;
        }
    }

    /// Stores `head` bytes from the packet's start and `len` bytes from `from` on; the chain.
    pub(super) fn put(&mut self, packet: &Packet<'_>, head: usize, from: usize, len: usize) -> Option<u32> {
        let total = head.checked_add(len)?;
        if !self.fits(total) || total == 0 {
            return None;
        }
        let (mut first, mut last, mut done) = (NONE, NONE, 0_usize);
        while done < total {
            let n = total.saturating_sub(done).min(BLOCK);
            let block = self.take_one()?;
            let bytes = self.bytes_mut(block)?;
            fill(bytes.get_mut(..n)?, packet, head, from, done);
            match usize::try_from(last).ok().and_then(|i| self.next.get_mut(i)) {
                Some(link) => *link = block,
                None => first = block,
            }
            last = block;
            done = done.saturating_add(n);
        }
        Some(first)
    }

    fn take_one(&mut self) -> Option<u32> {
        let block = self.free;
        let next = usize::try_from(block).ok().and_then(|i| self.next.get_mut(i))?;
        self.free = core::mem::replace(next, NONE);
        self.spare = self.spare.saturating_sub(1);
        Some(block)
    }

    fn bytes_mut(&mut self, block: u32) -> Option<&mut [u8; BLOCK]> {
        usize::try_from(block).ok().and_then(|i| self.blocks.get_mut(i))
    }

    /// Copies bytes of a chain, from `from` on, to all of `out`. `false` when the chain is shorter.
    pub(super) fn copy(&self, chain: u32, from: usize, out: &mut [u8]) -> bool {
        let (mut block, mut from, mut out) = (chain, from, out);
        while !out.is_empty() {
            let Some(bytes) = usize::try_from(block).ok().and_then(|i| self.blocks.get(i)) else { return false };
            if let Some(part) = bytes.get(from..) {
                let n = part.len().min(out.len());
                let Some((now, later)) = out.split_at_mut_checked(n) else { return false };
                if let Some(src) = part.get(..n).filter(|s| s.len() == now.len()) {
                    now.copy_from_slice(src);
                }
                out = later;
            }
            from = from.saturating_sub(BLOCK);
            block = self.link(block);
        }
        true
    }
}

/// Fills a block: the stored bytes are `head` bytes of the packet's start, then those from `from` on; the block
/// begins `done` bytes into them.
fn fill(block: &mut [u8], packet: &Packet<'_>, head: usize, from: usize, done: usize) {
    let headers = head.saturating_sub(done).min(block.len());
    let Some((first, second)) = block.split_at_mut_checked(headers) else { return };
    let at = from.saturating_add(done.saturating_add(headers).saturating_sub(head));
    // The caller has checked that the packet holds these bytes; one that does not leaves the block as it is.
    let _ = packet.read(done, first) && packet.read(at, second);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_keep_bytes_and_come_back() {
        let mut bytes: Vec<u8> = (0..1000_u32).map(|i| (i % 251) as u8).collect();
        let copy = bytes.clone();
        let packet = Packet::whole(&mut bytes);
        let mut store = Store::new(4).unwrap();
        let chain = store.put(&packet, 40, 100, 700).unwrap();
        assert!(store.fits(BLOCK) && !store.fits(BLOCK + 1));
        let mut out = vec![0; 740];
        assert!(store.copy(chain, 0, &mut out));
        assert_eq!(out, [&copy[..40], &copy[100..800]].concat());
        assert!(store.copy(chain, 300, &mut out[..100]));
        assert_eq!(out[..100], copy[360..460]);
        assert!(!store.copy(chain, 600, &mut vec![0; 500]));
        assert!(store.put(&packet, 0, 0, 300).is_none());
        store.give(chain);
        assert!(store.fits(4 * BLOCK) && store.put(&packet, 0, 0, 1000).is_some());
    }
}
