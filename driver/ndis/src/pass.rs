//! Lists on their way: what becomes of each frame, and where it goes.
//!
//! A list whose frames all pass as they are goes on itself. Otherwise each frame that passes becomes a copy of our own,
//! and the list it came in waits for the copies (a send) or goes back at once (a receive). Frames for elsewhere, and what
//! the filter makes itself, are staged and leave when the lock is free.
//!
//! Frames are decided [`BATCH`] at a time, as many of them as will with the driver's lock shared ([`Hold::Shared`]); from the
//! first on that wants the judge alone, the rest of the batch has it so. A list may be left in the middle ([`Underway`]) and
//! taken up again the other way.

use pfdriver::edge::ether::LONGEST;
use pfdriver::edge::offload::Offload;
use pfdriver::edge::port::Side;
use pfdriver::edge::segment::owes;
use pfdriver::edge::{Entry, Exit, Fate, Going, HEADROOM, Lent, Sink};
use pfvm::packet::{Checksum, Packet, Segments};
use pfvm::rule::Af;
use pfvm::wire::ethernet::{Framing, framing};

use crate::frames::LARGE_BYTES;
use crate::judge::Judge;
use crate::module::{Module, Modules};
use crate::offload::{self, Joined};
use crate::os::Os;
use crate::sys::code::{SEND_ABORTED, SUCCESS, Status};
use crate::sys::list::{Chain, Frame, List};
use crate::sys::slots;

/// Frames decided before the lock is given back.
pub const BATCH: usize = 32;
/// Bytes of a frame the edge may write to: its header and what the engine wants of the packet.
pub const WINDOW: usize = LONGEST + Packet::WINDOW;
/// Pieces of a frame behind the window that are lent as they are; a frame of more is gathered first.
const PIECES: usize = 6;
/// Bytes of the largest frame that is gathered.
const GATHERED: usize = LARGE_BYTES as usize;

/// Where frames are laid while they are looked at.
#[derive(Debug)]
pub struct Bench {
    /// Headroom and the first bytes.
    window: alloc::vec::Vec<u8>,
    /// The same as they came.
    before: alloc::vec::Vec<u8>,
}

impl Bench {
    /// For frames of any length. `None` when there is no room.
    #[must_use]
    pub fn new() -> Option<Self> {
        Self::of(GATHERED)
    }

    /// For frames of a window and few pieces.
    #[must_use]
    pub fn small() -> Option<Self> {
        Self::of(WINDOW)
    }

    fn of(longest: usize) -> Option<Self> {
        let room = |n: usize| {
            let mut v = alloc::vec::Vec::new();
            v.try_reserve_exact(n).ok()?;
            v.resize(n, 0);
            Some(v)
        };
        Some(Self { window: room(HEADROOM.saturating_add(longest))?, before: room(WINDOW)? })
    }
}

/// The judge as it is held just now.
pub(crate) enum Hold<'h, J: Judge> {
    /// Alone.
    Alone(&'h mut J),
    /// Shared, with what is this processor's own.
    Shared(&'h J, &'h mut J::Local),
}

impl<J: Judge> Hold<'_, J> {
    const fn get(&self) -> &J {
        match self {
            Self::Alone(judge) => judge,
            Self::Shared(judge, _) => judge,
        }
    }
}

/// What frames are decided with.
pub(crate) struct Held<'h, O: Os + 'static, J: Judge + 'static> {
    pub(crate) judge: Hold<'h, J>,
    pub(crate) bench: &'h mut Bench,
    pub(crate) modules: &'h Modules<O, J>,
}

/// A list whose frames are being decided.
#[derive(Debug)]
pub(crate) struct Underway {
    list: List,
    /// Frames that are decided.
    done: usize,
    /// How many of them do not go on in the list.
    others: usize,
    /// One of those waits for its time.
    later: bool,
    /// Copies of those that go on.
    made: Chain,
}

impl Underway {
    pub(crate) const fn of(list: List) -> Self {
        Self { list, done: 0, others: 0, later: false, made: Chain::new() }
    }
}

/// What became of the lists of one batch.
#[derive(Debug, Default)]
pub struct Batch {
    /// Straight on, in order.
    pub through: Chain,
    /// Back to where they came from.
    pub back: Chain,
    /// Frames of our own besides.
    pub aside: Aside,
}

/// Frames of our own that do not take the place of a list, each naming its module and direction.
#[derive(Debug, Default)]
pub struct Aside {
    /// To be sent.
    pub staged: Chain,
    /// To go home: they were to wait, and could not.
    pub spent: Chain,
}

/// What becomes of one frame.
enum Verdict {
    /// On as it is.
    Plain,
    /// On as a copy.
    Copy(List),
    /// Not on.
    Gone,
    /// On as a copy, when its time has come.
    Later,
}

/// Takes frames for elsewhere, with the lock held.
pub struct Staging<'s, O: Os + 'static, J: Judge + 'static> {
    pub(crate) os: &'s O,
    pub(crate) modules: &'s Modules<O, J>,
    pub(crate) staged: &'s mut Chain,
}

impl<O: Os, J: Judge> Sink for Staging<'_, O, J> {
    #[inline(never)]
    fn frame(&mut self, exit: Exit, parts: &[&[u8]], offload: &Offload, _: Af) -> bool {
        let (port, up) = match exit {
            Exit::Stack(port) => (port, true),
            Exit::Wire(port) => (port, false),
            // Nobody waits here for a neighbour: the judge does.
            Exit::Resolve(..) => return false,
        };
        let found = self.modules.iter().flatten().find(|m| m.get().port() == port);
        let Some(module) = found.map(|m| m.get()) else { return false };
        // Nothing is left to a card here: the edge finished what it could, and a wrong checksum goes up alone.
        let sound = matches!(offload.meta.l4, Checksum::Complete | Checksum::Validated);
        if owes(&offload.meta) || !(sound || up) {
            return false;
        }
        let Some(mut list) = module.own(self.os, parts) else {
            module.driver().short();
            return false;
        };
        offload::set_tag(&mut list, offload.tag);
        slots::set_way(&list, module.address(), up);
        self.staged.push(list);
        true
    }
}

/// The facts of a frame of a list.
#[inline(never)]
fn facts(side: Side, list: &List, frame: &[u8], length: usize) -> Offload {
    match side {
        Side::Wire => {
            let mut facts = offload::of_receive(list);
            facts.meta.segments = match offload::joined(list) {
                Joined::One => Segments::One,
                // The size of one is not said: that of all but the last, at most.
                Joined::Tcp { count } => Segments::Tcp { mss: narrow(data(frame, length).div_ceil(count.max(1))) },
                Joined::Udp { size: 0, count } => {
                    Segments::Udp { size: narrow(data(frame, length).div_ceil(count.max(1))) }
                }
                Joined::Udp { size, .. } => Segments::Udp { size: narrow(size) },
            };
            facts
        }
        Side::Stack => {
            let mut facts = offload::of_send(list);
            if facts.meta.l4 == Checksum::Partial {
                (facts.start, facts.offset) = transport(frame);
                facts.headers = if facts.meta.segments == Segments::One { 0 } else { facts.start.saturating_add(20) };
            }
            facts
        }
    }
}

fn narrow(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// Bytes behind the transport header of a frame of TCP or UDP.
fn data(frame: &[u8], length: usize) -> usize {
    let (start, offset) = transport(frame);
    let start = usize::from(start);
    let header = match offset {
        6 => 8,
        _ => usize::from(frame.get(start.saturating_add(12)).copied().unwrap_or(0) >> 4).saturating_mul(4),
    };
    length.saturating_sub(start.saturating_add(header))
}

/// Where the transport header of a frame begins, and where its checksum stands in it.
fn transport(frame: &[u8]) -> (u16, u16) {
    let Framing::Ip { af, offset, .. } = framing(frame) else { return (0, 0) };
    let byte = |at: usize| frame.get(offset.saturating_add(at)).copied().unwrap_or(0);
    let (header, proto) = match af {
        Af::Inet => (usize::from(byte(0) & 0x0f).saturating_mul(4), byte(9)),
        Af::Inet6 => (40, byte(6)),
    };
    let start = u16::try_from(offset.saturating_add(header)).unwrap_or(0);
    (start, if proto == pfvm::packet::proto::UDP { 6 } else { 16 })
}

/// A frame laid on the bench: how much of it in the window, and whether that is all.
struct Laid<'p> {
    window: usize,
    rest: [&'p [u8]; PIECES],
    pieces: usize,
}

/// Lays a frame on the bench. `None` when a piece cannot be mapped or the frame is too long to be gathered.
#[inline(never)]
fn lay<'p, O: Os>(os: &'p O, frame: &Frame<'p>, bench: &mut Bench) -> Option<Laid<'p>> {
    let into = bench.window.get_mut(HEADROOM..)?;
    let mut laid = Laid { window: 0, rest: [&[]; PIECES], pieces: 0 };
    let wanted = WINDOW.min(frame.len());
    for piece in frame.pieces(os) {
        let piece = piece?;
        let now = piece.len().min(wanted.saturating_sub(laid.window));
        let (head, tail) = piece.split_at_checked(now)?;
        into.get_mut(laid.window..)?.get_mut(..now)?.copy_from_slice(head);
        laid.window = laid.window.saturating_add(now);
        if !tail.is_empty() {
            *laid.rest.get_mut(laid.pieces)? = tail;
            laid.pieces = laid.pieces.saturating_add(1);
        }
    }
    Some(laid)
}

/// Gathers a frame of too many pieces in the window.
#[inline(never)]
fn gather<'p, O: Os>(os: &'p O, frame: &Frame<'p>, bench: &mut Bench) -> Option<Laid<'p>> {
    let into = bench.window.get_mut(HEADROOM..)?;
    let mut at = 0_usize;
    for piece in frame.pieces(os) {
        let piece = piece?;
        into.get_mut(at..)?.get_mut(..piece.len())?.copy_from_slice(piece);
        at = at.saturating_add(piece.len());
    }
    Some(Laid { window: at, rest: [&[]; PIECES], pieces: 0 })
}

impl<O: Os, J: Judge> Module<O, J> {
    /// A frame of our own, over which a stay is held until it is back.
    #[inline(never)]
    pub(crate) fn own(&self, os: &O, parts: &[&[u8]]) -> Option<List> {
        let length = parts.iter().fold(0_usize, |n, part| n.saturating_add(part.len()));
        self.own_of(os, length, parts.iter().map(|part| Some(*part)))
    }

    fn own_of<'p>(&self, os: &O, length: usize, parts: impl Iterator<Item = Option<&'p [u8]>>) -> Option<List> {
        let stay = self.gate.enter()?;
        match self.frames.take(os, length, parts) {
            Some(list) => {
                stay.keep();
                Some(list)
            }
            None => {
                // The gate was entered with a stay of the caller's outstanding: this is never the last to leave.
                let _last = self.gate.leave(stay);
                None
            }
        }
    }

    /// Decides `left` frames at most, of the list under way and then of others; up to one, with the judge shared, that wants
    /// it alone.
    #[inline(never)]
    pub(crate) fn some(
        &self,
        held: &mut Held<'_, O, J>,
        side: Side,
        (under, lists): (&mut Option<Underway>, &mut Chain),
        left: &mut usize,
        batch: &mut Batch,
    ) {
        while *left > 0 {
            let Some(mut one) = under.take().or_else(|| lists.pop().map(Underway::of)) else { return };
            if !self.one(held, side, &mut one, left, &mut batch.aside) {
                *under = Some(one);
                return;
            }
            let Underway { list, others, later, made, .. } = one;
            if others == 0 {
                batch.through.push(list);
            } else {
                let status = if later { SUCCESS } else { SEND_ABORTED };
                self.replaced(side, list, made, status, batch);
            }
        }
    }

    /// Decides frames of one list. `true` when all of them are.
    fn one(
        &self,
        held: &mut Held<'_, O, J>,
        side: Side,
        one: &mut Underway,
        left: &mut usize,
        aside: &mut Aside,
    ) -> bool {
        let Underway { list, done, others, later, made } = one;
        for frame in list.frames().skip(*done) {
            if *left == 0 {
                return false;
            }
            let verdict = match self.frame(held, side, list, &frame, aside) {
                Some(verdict) => verdict,
                None if matches!(held.judge, Hold::Shared(..)) => return false,
                None => Verdict::Gone,
            };
            *left = left.saturating_sub(1);
            match verdict {
                Verdict::Plain if *others == 0 => {}
                Verdict::Plain => self.as_it_is(side, list, &frame, made),
                verdict => {
                    if *others == 0 {
                        // The first that does not go on in the list: those before it cannot, either.
                        for before in list.frames().take(*done) {
                            self.as_it_is(side, list, &before, made);
                        }
                    }
                    *others = others.saturating_add(1);
                    match verdict {
                        Verdict::Copy(copy) => made.push(copy),
                        Verdict::Later => *later = true,
                        Verdict::Plain | Verdict::Gone => {}
                    }
                }
            }
            *done = done.saturating_add(1);
        }
        true
    }

    /// The list does not go on itself: its copies do. Where none does now, `status` says what became of its frames.
    #[inline(never)]
    fn replaced(&self, side: Side, mut list: List, mut made: Chain, status: Status, batch: &mut Batch) {
        if side == Side::Stack && !made.is_empty() {
            list.set_status(SUCCESS);
            list.set_children(i32::try_from(made.len()).unwrap_or(i32::MAX));
            let parent = list.into_raw();
            while let Some(copy) = made.pop() {
                slots::set_parent(&copy, parent);
                batch.through.push(copy);
            }
            return;
        }
        if side == Side::Stack {
            list.set_status(status);
        }
        batch.back.push(list);
        batch.through.append(made);
    }

    /// A copy of a frame that passes as it is, because its list does not go on.
    #[inline(never)]
    fn as_it_is(&self, side: Side, list: &List, frame: &Frame<'_>, made: &mut Chain) {
        let os = self.os();
        match self.own_of(os, frame.len(), frame.pieces(os)) {
            Some(mut copy) => {
                self.dress(side, &mut copy, list);
                made.push(copy);
            }
            None => self.driver().short(),
        }
    }

    /// Gives a copy the out-of-band data of the list its frame came in.
    fn dress(&self, side: Side, copy: &mut List, list: &List) {
        match side {
            Side::Stack => {
                self.os().copy_send_info(copy, list);
                offload::dress_sent(copy, list);
            }
            Side::Wire => {
                self.os().copy_receive_info(copy, list);
                offload::dress_received(copy, list);
            }
        }
    }

    /// Decides about one frame. `None`: nothing has changed. The judge is wanted alone, or the frame cannot be laid out.
    #[inline(never)]
    fn frame(
        &self,
        held: &mut Held<'_, O, J>,
        side: Side,
        list: &List,
        frame: &Frame<'_>,
        aside: &mut Aside,
    ) -> Option<Verdict> {
        let os = self.os();
        let Held { judge, bench, modules } = held;
        let laid = lay(os, frame, bench).or_else(|| gather(os, frame, bench))?;
        let end = HEADROOM.saturating_add(laid.window);
        let kept = laid.window.min(WINDOW);
        let (window, before) = (bench.window.get_mut(..end)?, bench.before.get_mut(..kept)?);
        before.copy_from_slice(window.get(HEADROOM..)?.get(..kept)?);
        let facts = facts(side, list, before, frame.len());
        let rest = laid.rest.get(..laid.pieces).unwrap_or_default();
        let lent = Lent { window, head: HEADROOM, rest };
        let entry = Entry { port: self.port(), side };
        let fate = match judge {
            Hold::Alone(judge) => {
                judge.frame(entry, lent, facts, &mut Staging { os, modules, staged: &mut aside.staged })
            }
            Hold::Shared(judge, local) => judge.shared(local, entry, lent, facts)?,
        };
        let judge = judge.get();
        let Fate::Pass(going) = fate else { return Some(Verdict::Gone) };
        if going.delay != 0 && !self.driver().may_wait(judge) {
            return Some(self.lost());
        }
        let straight = match side {
            Side::Stack => Exit::Wire(self.port()),
            Side::Wire => Exit::Stack(self.port()),
        };
        if going.exit != straight {
            let parts = parts(window, rest, &going);
            let mut staged = Chain::new();
            let mut sink = Staging { os, modules, staged: &mut staged };
            let _sent = sink.frame(going.exit, parts.get(), &going.offload, going.af);
            if going.delay == 0 {
                aside.staged.append(staged);
                return Some(Verdict::Gone);
            }
            return Some(staged.pop().map_or(Verdict::Gone, |list| self.later(judge, going.delay, list, aside)));
        }
        let same_tag = going.offload.tag == facts.tag;
        if going.delay == 0 && same_tag && untouched(window, before, &going, frame.len()) {
            return Some(Verdict::Plain);
        }
        let parts = parts(window, rest, &going);
        let Some(mut copy) = self.own(os, parts.get()) else { return Some(self.lost()) };
        self.dress(side, &mut copy, list);
        if owes(&facts.meta) && !owes(&going.offload.meta) {
            offload::settled(&mut copy);
        }
        if side == Side::Wire
            && let Framing::Ip { af, .. } = framing(before)
            && af != going.af
        {
            offload::set_frame_type(&mut copy, going.af == Af::Inet6);
        }
        if !same_tag {
            offload::set_tag(&mut copy, going.offload.tag);
        }
        if side == Side::Wire {
            offload::forget_hash(&mut copy);
        }
        if going.delay == 0 {
            return Some(Verdict::Copy(copy));
        }
        offload::outlives(&mut copy);
        slots::set_way(&copy, self.address(), side == Side::Wire);
        Some(self.later(judge, going.delay, copy, aside))
    }

    /// A frame that was to go on ends here: there is no room.
    fn lost(&self) -> Verdict {
        self.driver().short();
        Verdict::Gone
    }

    /// Lets a frame of our own that names its module wait.
    #[inline(never)]
    fn later(&self, judge: &J, delay: u16, list: List, aside: &mut Aside) -> Verdict {
        match self.driver().wait(judge, delay, list) {
            Ok(()) => Verdict::Later,
            Err(list) => {
                aside.spent.push(list);
                self.lost()
            }
        }
    }
}

/// Whether a frame goes on byte for byte as it came; padding behind its packet may stay.
fn untouched(window: &[u8], before: &[u8], going: &Going, came: usize) -> bool {
    let Some(now) = window.get(HEADROOM..) else { return false };
    let n = before.len().min(going.len);
    // A gathered frame may have been written to beyond what was kept: then it is taken as touched.
    going.head == HEADROOM && going.len <= came && now.get(..n) == before.get(..n) && now.len() <= before.len()
}

/// Parts of a frame that leaves.
pub(crate) struct Parts<'p> {
    all: [&'p [u8]; PIECES + 1],
    count: usize,
}

impl<'p> Parts<'p> {
    pub(crate) fn get(&self) -> &[&'p [u8]] {
        self.all.get(..self.count).unwrap_or_default()
    }
}

/// The frame as it goes: the window from its head, then what was lent, cut to its length.
#[inline(never)]
pub(crate) fn parts<'p>(window: &'p [u8], rest: &[&'p [u8]], going: &Going) -> Parts<'p> {
    let mut out = Parts { all: [&[]; PIECES + 1], count: 0 };
    let first = window.get(going.head..).unwrap_or_default();
    let mut left = going.len;
    for part in core::iter::once(first).chain(rest.iter().copied()) {
        let part = part.get(..part.len().min(left)).unwrap_or_default();
        left = left.saturating_sub(part.len());
        if let Some(to) = out.all.get_mut(out.count) {
            *to = part;
            out.count = out.count.saturating_add(1);
        }
    }
    out
}
