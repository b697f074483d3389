//! Room for frames: those that come, and those the filter sends besides.

use pfdriver::edge::offload::{Offload, VNET};
use pfdriver::edge::port::PortId;
use pfdriver::edge::{Exit, HEADROOM, Sink};
use pfvm::rule::Af;

use crate::sys::BATCH;

/// Bytes before a frame: the edge's headroom and a VLAN tag put back.
pub(crate) const FRONT: usize = HEADROOM + 16;
/// Longest frame taken.
pub(crate) const LONGEST: usize = 65_536 + 64;
/// Bytes of frames the filter sends besides, in one turn.
const EXTRA: usize = 1 << 20;

/// Rooms for one turn of frames.
pub(crate) struct Slots(Vec<Box<[u8]>>);

impl Slots {
    pub(crate) fn new() -> Self {
        Self((0..BATCH).map(|_| vec![0; FRONT + LONGEST].into_boxed_slice()).collect())
    }

    /// Where the frames of a turn are received.
    pub(crate) fn rooms(&mut self) -> Vec<&mut [u8]> {
        self.0.iter_mut().map(|room| &mut room[FRONT..]).collect()
    }

    /// One room, with what lies before the frame.
    pub(crate) fn get(&self, at: usize) -> &[u8] {
        &self.0[at]
    }

    /// One room.
    pub(crate) fn get_mut(&mut self, at: usize) -> &mut [u8] {
        &mut self.0[at]
    }
}

/// Where a frame's bytes are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// In a room: number, first byte, length.
    Room(usize, usize, usize),
    /// Among the others: first byte, length.
    Extra(usize, usize),
}

/// A frame that leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving {
    pub(crate) exit: Exit,
    pub(crate) vnet: [u8; VNET],
    pub(crate) place: Place,
    /// Milliseconds it is to wait.
    pub(crate) delay: u16,
}

/// The frames that leave in one turn, in order.
pub(crate) struct Outgoing {
    pub(crate) list: Vec<Leaving>,
    extra: Vec<u8>,
}

impl Outgoing {
    pub(crate) fn new() -> Self {
        Self { list: Vec::with_capacity(4 * BATCH), extra: Vec::with_capacity(EXTRA) }
    }

    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.extra.clear();
    }

    /// The bytes of a frame.
    pub(crate) fn bytes<'s>(&'s self, slots: &'s Slots, place: Place) -> &'s [u8] {
        match place {
            Place::Room(n, at, len) => slots.get(n).get(at..at + len).unwrap_or_default(),
            Place::Extra(at, len) => self.extra.get(at..at + len).unwrap_or_default(),
        }
    }
}

impl Sink for Outgoing {
    fn frame(&mut self, exit: Exit, parts: &[&[u8]], offload: &Offload, af: Af) -> bool {
        let len = parts.iter().map(|p| p.len()).sum::<usize>();
        if self.extra.len() + len > EXTRA {
            return false;
        }
        let at = self.extra.len();
        parts.iter().for_each(|p| self.extra.extend_from_slice(p));
        self.list.push(Leaving { exit, vnet: offload.emit(af), place: Place::Extra(at, len), delay: 0 });
        true
    }
}

/// The port a frame leaves by.
pub(crate) fn port_of(exit: Exit) -> PortId {
    match exit {
        Exit::Stack(id) | Exit::Wire(id) | Exit::Resolve(id, _) => id,
    }
}

/// Puts a VLAN tag the kernel took out back into a frame that begins at `head`; where it begins then.
pub(crate) fn tag_again(room: &mut [u8], head: usize, kind: u16, control: u16) -> usize {
    room.copy_within(head..head + 12, head - 4);
    room[head + 8..head + 10].copy_from_slice(&kind.to_be_bytes());
    room[head + 10..head + 12].copy_from_slice(&control.to_be_bytes());
    head - 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_back() {
        let mut room: Vec<u8> = (0..24).collect();
        assert_eq!(tag_again(&mut room, 8, 0x8100, 0x6005), 4);
        assert_eq!(room[4..16], (8..20).collect::<Vec<u8>>());
        assert_eq!(room[16..22], [0x81, 0, 0x60, 5, 20, 21]);
    }

    #[test]
    fn frames_besides_are_bounded() {
        let mut out = Outgoing::new();
        let exit = Exit::Wire(PortId(0));
        let big = vec![7; 60_000];
        let taken = (0..20).filter(|_| out.frame(exit, &[&big[..], &[1]], &Offload::default(), Af::Inet)).count();
        assert_eq!(taken, EXTRA / 60_001);
        let slots = Slots::new();
        assert_eq!(out.bytes(&slots, out.list[1].place).len(), 60_001);
    }
}
