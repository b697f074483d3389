//! The thread of packets: frames from wires and stacks through the edge, and out again.
//!
//! One turn takes up to [`sys::BATCH`] frames of one side of one port, decides about all with the filter locked once, then
//! sends with the lock free. Between turns the thread waits for frames, for changes of the host and for the next second.
//!
//! **Invariant:** a frame is sent because the edge gave it an exit. What cannot be sent is counted as lost.

pub(crate) mod later;
pub(crate) mod slots;

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use pfdriver::edge::offload::{Offload, VNET, is_ufo};
use pfdriver::edge::port::{PortId, Side};
use pfdriver::edge::{Entry, Exit, Fate, Lent, ROOM};

use crate::sys::{self, BATCH, Received, Sending};
use later::Later;
use slots::{FRONT, LONGEST, Leaving, Outgoing, Place, Slots, port_of, tag_again};

/// Milliseconds a full ring is waited for before frames are lost.
const PATIENCE: i32 = 20;

/// The two sides of a port.
pub(crate) struct Sides {
    pub(crate) id: PortId,
    pub(crate) wire: Option<OwnedFd>,
    pub(crate) stack: Option<File>,
}

/// What is lost outside the edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Frames there was no room for on their way out.
    pub(crate) full: u64,
    /// Frames the kernel dropped because they were not fetched in time.
    pub(crate) unfetched: u64,
    /// Frames that waited in vain for a neighbour.
    pub(crate) unresolved: u64,
}

/// Frames and the room for them.
pub(crate) struct Turn {
    slots: Slots,
    got: [Received; BATCH],
    room: Vec<u8>,
    out: Outgoing,
    pub(crate) later: Later,
    pub(crate) lost: Lost,
}

impl Turn {
    pub(crate) fn new() -> Self {
        Self {
            slots: Slots::new(),
            got: [Received::default(); BATCH],
            room: vec![0; ROOM],
            out: Outgoing::new(),
            later: Later::default(),
            lost: Lost::default(),
        }
    }

    /// Receives frames of one side; how many.
    fn receive(&mut self, port: &mut Sides, side: Side) -> io::Result<usize> {
        match side {
            Side::Wire => match &port.wire {
                Some(wire) => sys::receive(wire, &mut self.slots.rooms(), &mut self.got),
                None => Ok(0),
            },
            Side::Stack => match &mut port.stack {
                Some(stack) => self.read_stack(stack),
                None => Ok(0),
            },
        }
    }

    fn read_stack(&mut self, stack: &mut File) -> io::Result<usize> {
        for at in 0..BATCH {
            let mut vnet = [0; VNET];
            let room = &mut self.slots.get_mut(at)[FRONT..];
            let read = stack.read_vectored(&mut [IoSliceMut::new(&mut vnet), IoSliceMut::new(room)]);
            let len = match read {
                Ok(len) => len,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(at),
                Err(_) if at > 0 => return Ok(at),
                Err(e) => return Err(e),
            };
            let cut = len < VNET || len - VNET > LONGEST;
            self.got[at] = Received { len: len.saturating_sub(VNET).min(LONGEST), vnet, tag: None, cut };
        }
        Ok(BATCH)
    }

    /// Takes one turn of frames of one side of a port through the filter; whether there may be more.
    pub(crate) fn take<F: Filtering>(&mut self, ports: &mut [Sides], at: usize, side: Side, filter: &F) -> bool {
        let Some(port) = ports.get_mut(at) else { return false };
        let id = port.id;
        let count = match self.receive(port, side) {
            Ok(count) => count,
            Err(e) => {
                if for_good(&e) {
                    // Nobody's frames pass: the other side of the port is left alone, too.
                    eprintln!("pfd: {side:?} of port {}: {e}; nothing passes there until pfd is started again", id.0);
                    match side {
                        Side::Wire => port.wire = None,
                        Side::Stack => port.stack = None,
                    }
                }
                return false;
            }
        };
        if count == 0 {
            return false;
        }
        self.out.clear();
        filter.decide(|deciding| {
            for n in 0..count {
                self.one(deciding, Entry { port: id, side }, n);
            }
        });
        self.flush(ports);
        count == BATCH
    }

    fn one(&mut self, deciding: &mut dyn Deciding, entry: Entry, n: usize) {
        let got = self.got[n];
        let room = self.slots.get_mut(n);
        let (mut head, mut len) = (FRONT, got.len);
        if got.cut || is_ufo(&got.vnet) {
            deciding.refuse();
            return;
        }
        let Ok(mut offload) = Offload::parse(&got.vnet, len) else {
            deciding.refuse();
            return;
        };
        if let Some((kind, control)) = got.tag
            && len >= 12
        {
            head = tag_again(room, head, kind, control);
            len += 4;
            offload.moved(-4);
        }
        let lent = Lent { window: &mut room[..head + len], head, rest: &[] };
        let fate = deciding.frame(entry, lent, offload, &mut self.room, &mut self.out);
        if let Fate::Pass(going) = fate {
            let place = Place::Room(n, going.head, going.len);
            let vnet = going.offload.emit(going.af);
            self.out.list.push(Leaving { exit: going.exit, vnet, place, delay: going.delay });
        }
    }

    /// Sends what the filter made outside any frame's way.
    pub(crate) fn made<F: Filtering>(&mut self, ports: &mut [Sides], filter: &F) {
        self.out.clear();
        filter.decide(|deciding| deciding.made(&mut self.out));
        self.flush(ports);
    }

    /// Sends all that leaves, in order: frames for one wire together.
    fn flush(&mut self, ports: &mut [Sides]) {
        let mut from = 0;
        while let Some(first) = self.out.list.get(from).copied() {
            if first.delay != 0 || matches!(first.exit, Exit::Resolve(..)) {
                let bytes = self.out.bytes(&self.slots, first.place);
                if !self.later.keep(first, bytes, sys::uptime_ms()) {
                    self.lost.full += 1;
                }
                from += 1;
                continue;
            }
            let same = |l: &&Leaving| l.exit == first.exit && l.delay == 0;
            let run = self.out.list[from..].iter().take_while(same).take(BATCH).count();
            let mut frames: [Sending<'_>; BATCH] = [([0; VNET], &[]); BATCH];
            for (to, l) in frames.iter_mut().zip(&self.out.list[from..from + run]) {
                *to = (l.vnet, self.out.bytes(&self.slots, l.place));
            }
            let port = ports.iter_mut().find(|p| p.id == port_of(first.exit));
            let sent = port.map_or(0, |port| send(port, first.exit, &frames[..run]));
            self.lost.full += u64::try_from(run - sent).unwrap_or(0);
            from += run;
        }
    }

    /// Sends what has waited long enough, and what waited for a neighbour that is known now.
    pub(crate) fn waited<F: Filtering>(&mut self, ports: &mut [Sides], filter: &F) {
        let now = sys::uptime_ms();
        let (due, in_vain) = self.later.due(now, |hop| filter.neighbour(hop));
        self.lost.unresolved += in_vain;
        for held in due {
            let sent = match ports.iter_mut().find(|p| p.id == port_of(held.exit)) {
                Some(port) => send(port, held.exit, &[(held.vnet, &held.bytes)]),
                None => 0,
            };
            self.lost.full += u64::from(sent == 0);
        }
    }

    /// Asks the kernel what it dropped.
    pub(crate) fn count_unfetched(&mut self, ports: &[Sides]) {
        for wire in ports.iter().filter_map(|p| p.wire.as_ref()) {
            self.lost.unfetched += u64::from(sys::packet_drops(wire));
        }
    }
}

/// Whether an error will not go by itself. An adapter that is down or gone says so once (`ENETDOWN`), and is followed over
/// netlink; a TAP that was removed says so for ever (`EBADFD`).
fn for_good(error: &io::Error) -> bool {
    const PASSING: [i32; 6] = [libc::EAGAIN, libc::EINTR, libc::ENETDOWN, libc::ENOBUFS, libc::ENOMEM, libc::ENXIO];
    !error.raw_os_error().is_some_and(|code| PASSING.contains(&code))
}

/// Sends frames by one exit; how many went.
fn send(port: &Sides, exit: Exit, frames: &[Sending<'_>]) -> usize {
    match exit {
        Exit::Stack(_) => port.stack.as_ref().map_or(0, |stack| {
            let wrote = |(vnet, bytes): &&Sending<'_>| {
                write(|mut tap: &File| tap.write_vectored(&[IoSlice::new(vnet), IoSlice::new(bytes)]), stack, patient)
            };
            frames.iter().filter(wrote).count()
        }),
        Exit::Wire(_) | Exit::Resolve(..) => {
            port.wire.as_ref().map_or(0, |wire| transmit(frames, |rest| sys::send(wire, rest), || patient(wire)))
        }
    }
}

/// Writes one frame; whether it went.
fn write<T>(mut offer: impl FnMut(&T) -> io::Result<usize>, to: &T, mut patient: impl FnMut(&T) -> bool) -> bool {
    loop {
        match offer(to) {
            Ok(_) => return true,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && patient(to) => {}
            // EINVAL, EIO, ENOMEM: this frame is not for this TAP now.
            Err(_) => return false,
        }
    }
}

/// Offers frames until each went or was refused; how many went.
fn transmit(
    frames: &[Sending<'_>],
    mut offer: impl FnMut(&[Sending<'_>]) -> io::Result<usize>,
    mut patient: impl FnMut() -> bool,
) -> usize {
    let (mut at, mut sent, mut waits) = (0, 0, 0);
    while let Some(rest) = frames.get(at..).filter(|r| !r.is_empty()) {
        match offer(rest) {
            Ok(n) => (at, sent) = (at + n.max(1), sent + n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if full(&e) && waits < 3 && patient() => waits += 1,
            // The first of the rest is refused (EMSGSIZE, ENETDOWN, EINVAL): it is lost, the others are tried.
            Err(_) => at += 1,
        }
    }
    sent
}

fn full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Waits a moment for room.
fn patient(fd: &impl AsFd) -> bool {
    sys::wait_writable(fd.as_fd(), PATIENCE).unwrap_or(false)
}

/// The filter, as this thread uses it.
pub(crate) trait Filtering {
    /// Runs `f` with the filter locked.
    fn decide(&self, f: impl FnOnce(&mut dyn Deciding));
    /// The hardware address of a next hop.
    fn neighbour(&self, hop: &pfdriver::edge::Hop) -> Option<[u8; 6]>;
}

/// The filter while it is locked.
pub(crate) trait Deciding {
    /// Takes a frame through the edge.
    fn frame(&mut self, entry: Entry, lent: Lent<'_>, offload: Offload, room: &mut [u8], out: &mut Outgoing) -> Fate;
    /// Counts a frame whose offload facts make no sense.
    fn refuse(&mut self);
    /// Sends what the filter made since.
    fn made(&mut self, out: &mut Outgoing);
}

/// Reads and forgets: a wakener, a signal.
pub(crate) fn drain(mut file: &File) -> Option<u64> {
    let mut eight = [0; 8];
    file.read_exact(&mut eight).ok().map(|()| u64::from_ne_bytes(eight))
}

/// Wakes who waits for a wakener.
pub(crate) fn wake(mut file: &File) {
    // Full means awake already.
    let _full = file.write_all(&1_u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says, one offer after the other, and that it was asked no more often.
    fn says(answers: &[Result<usize, i32>]) -> impl FnMut() -> io::Result<usize> {
        let mut answers = answers.iter().copied();
        move || answers.next().expect("nobody asks again").map_err(io::Error::from_raw_os_error)
    }

    /// What became of four frames: how many went, how often there was a wait, and how many were offered each time.
    fn four(answers: &[Result<usize, i32>], room: bool) -> (usize, u32, Vec<usize>) {
        let frames: [Sending<'_>; 4] = [([0; VNET], &[1]), ([0; VNET], &[2]), ([0; VNET], &[3]), ([0; VNET], &[4])];
        let (mut answer, mut waits, mut offered) = (says(answers), 0, Vec::new());
        let offer = |rest: &[Sending<'_>]| {
            offered.push(rest.len());
            answer()
        };
        let waiting = || {
            waits += 1;
            room
        };
        let sent = transmit(&frames, offer, waiting);
        (sent, waits, offered)
    }

    #[test]
    fn a_signal_or_a_full_ring_loses_no_frame() {
        let (stop, full, again) = (Err(libc::EINTR), Err(libc::ENOBUFS), Err(libc::EAGAIN));
        assert_eq!(four(&[stop, Ok(1), stop, stop, Ok(3)], true), (4, 0, vec![4, 4, 3, 3, 3]));
        assert_eq!(four(&[full, again, Ok(2), full, Ok(2)], true), (4, 3, vec![4, 4, 4, 2, 2]));
    }

    #[test]
    fn what_is_refused_holds_up_nothing() {
        let (full, long, down) = (Err(libc::ENOBUFS), Err(libc::EMSGSIZE), Err(libc::ENETDOWN));
        assert_eq!(four(&[Ok(1), long, Ok(2)], true), (3, 0, vec![4, 3, 2]));
        assert_eq!(four(&[down; 4], true), (0, 0, vec![4, 3, 2, 1]));
        // A ring that stays full is waited for so often; then its frames are lost.
        assert_eq!(four(&[full; 7], true), (0, 3, vec![4, 4, 4, 4, 3, 2, 1]));
        assert_eq!(four(&[full; 4], false), (0, 4, vec![4, 3, 2, 1]));
    }

    #[test]
    fn a_tap_takes_a_frame_after_signals_and_waits() {
        let wrote = |answers: &[Result<usize, i32>], room: bool| {
            let mut answer = says(answers);
            write(|()| answer(), &(), |()| room)
        };
        let (stop, full) = (Err(libc::EINTR), Err(libc::EAGAIN));
        assert!(wrote(&[stop, full, stop, Ok(60)], true));
        assert!(!wrote(&[stop, full], false) && !wrote(&[Err(libc::EIO)], true));
    }

    #[test]
    fn what_passes_by_itself_ends_no_port() {
        let error = io::Error::from_raw_os_error;
        assert!([libc::EINTR, libc::ENOBUFS, libc::ENETDOWN].into_iter().all(|code| !for_good(&error(code))));
        assert!(for_good(&error(libc::EBADFD)) && for_good(&io::ErrorKind::UnexpectedEof.into()));
    }
}
