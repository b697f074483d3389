//! Packets the engine makes itself, until the edge sends them: a ring of fixed size.
//!
//! **Invariant:** memory is taken once. What finds no room is dropped and counted.

use alloc::vec::Vec;

use pfvm::reply::LONGEST;
use pfvm::rule::Af;
use pfvm::state::pool::{OutOfMemory, filled};

/// A packet to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Family.
    pub af: Af,
    /// Not to be filtered again.
    pub generated: bool,
    /// Tag it carries, 0 for none.
    pub tag: u16,
    len: u16,
    bytes: [u8; LONGEST],
}

impl Made {
    const NONE: Self = Self { af: Af::Inet, generated: false, tag: 0, len: 0, bytes: [0; LONGEST] };

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// The ring.
#[derive(Debug)]
pub struct Outbox {
    ring: Vec<Made>,
    first: usize,
    used: usize,
    lost: u64,
}

impl Outbox {
    /// Room for so many packets.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    #[inline(never)]
    pub fn new(packets: u32) -> Result<Self, OutOfMemory> {
        Ok(Self { ring: filled("packets to be sent", packets, Made::NONE)?, first: 0, used: 0, lost: 0 })
    }

    /// Puts a packet in.
    pub fn put(&mut self, packet: &[u8], af: Af, generated: bool, tag: u16) {
        self.make(af, generated, tag, &mut |room| {
            room.get_mut(..packet.len())?.copy_from_slice(packet);
            Some(packet.len())
        });
    }

    /// Puts a packet in that is made where it waits. One that cannot be made is counted as lost, as one that finds no room.
    pub fn make(&mut self, af: Af, generated: bool, tag: u16, write: &mut dyn FnMut(&mut [u8]) -> Option<usize>) {
        let at = self.first.saturating_add(self.used).checked_rem(self.ring.len()).unwrap_or(0);
        let full = self.used >= self.ring.len();
        let place = self.ring.get_mut(at).filter(|_| !full);
        let made = place.and_then(|made| {
            made.len = write(&mut made.bytes).and_then(|len| u16::try_from(len).ok())?;
            Some(made)
        });
        let Some(made) = made else {
            self.lost = self.lost.saturating_add(1);
            return;
        };
        (made.af, made.generated, made.tag) = (af, generated, tag);
        self.used = self.used.saturating_add(1);
    }

    /// Takes the oldest packet out, where it lies until another is put in.
    pub fn take(&mut self) -> Option<&Made> {
        let made = self.ring.get(self.first).filter(|_| self.used > 0)?;
        self.first = self.first.saturating_add(1).checked_rem(self.ring.len()).unwrap_or(0);
        self.used = self.used.saturating_sub(1);
        Some(made)
    }

    /// Packets waiting.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.used
    }

    /// Whether none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Packets that found no room.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut o = Outbox::new(2).unwrap();
        for n in 0..3 {
            o.put(&[n; 20], Af::Inet, true, 7);
        }
        o.put(&[0; LONGEST + 1], Af::Inet6, false, 0);
        assert_eq!((o.len(), o.lost()), (2, 2));
        let first = *o.take().unwrap();
        assert_eq!((first.bytes(), first.tag, first.generated), (&[0; 20][..], 7, true));
        o.put(&[9], Af::Inet6, false, 0);
        assert_eq!(o.take().unwrap().bytes(), [1; 20]);
        assert_eq!(o.take().unwrap().af, Af::Inet6);
        assert!(o.take().is_none() && o.is_empty());
    }
}
