//! A judge that decides by a frame's first byte, so that a test knows what must become of it.

use pfdriver::edge::count::Why;
use pfdriver::edge::offload::Offload;
use pfdriver::edge::port::{PortId, Side};
use pfdriver::edge::{Entry, Exit, Fate, Going, Lent, Sink};
use pfndis::judge::{Adapter, Judge};
use pfvm::rule::Af;

/// The judge. A module's port is its interface's index less one. What goes straight on or ends is decided with it shared.
#[derive(Debug, Default)]
pub struct Script {
    /// Frames that were.
    pub shared: usize,
    /// Frames to be sent by port 0 with the next tick.
    pub made: Vec<Vec<u8>>,
    /// Whether a module finds no room.
    pub full: bool,
    /// Ports that are attached.
    pub ports: Vec<PortId>,
    /// The time.
    pub now: u64,
    /// Frames that may wait at once, where not any number may.
    pub may_wait: Option<u32>,
    /// Frames that were to go on and could not.
    pub short: u32,
}

/// On as it is.
pub const PASS: u8 = 0;
/// Ends.
pub const DROP: u8 = 1;
/// On with the last byte of its window changed.
pub const REWRITE: u8 = 2;
/// On with twenty bytes in front.
pub const LONGER: u8 = 3;
/// On as its first five bytes.
pub const SHORTER: u8 = 4;
/// On by port 1's wire.
pub const ELSEWHERE: u8 = 5;
/// Straight on twice, through the sink.
pub const SENT_TWICE: u8 = 6;
/// On as it is, as many milliseconds later as the second byte says. Not among the kinds that are counted.
pub const LATER: u8 = 8;
/// How many kinds there are.
pub const KINDS: u8 = 7;

impl Judge for Script {
    fn attach(&mut self, adapter: &Adapter) -> Option<PortId> {
        let port = PortId(u16::try_from(adapter.if_index.checked_sub(1)?).ok()?);
        assert!(!self.ports.contains(&port), "a port has one module");
        if self.full {
            return None;
        }
        self.ports.push(port);
        Some(port)
    }

    fn restarted(&mut self, port: PortId, _: u32) {
        assert!(self.ports.contains(&port));
    }

    fn detach(&mut self, port: PortId) {
        assert!(self.ports.contains(&port));
        self.ports.retain(|p| *p != port);
    }

    fn frame<S: Sink>(&mut self, entry: Entry, lent: Lent<'_>, offload: Offload, sink: &mut S) -> Fate {
        assert!(self.ports.contains(&entry.port), "a frame of a module that is gone");
        let (straight, len) = straight(entry, &lent);
        match lent.window.get(lent.head).copied() {
            Some(ELSEWHERE) => {
                let (exit, offload) = (Exit::Wire(PortId(1)), Offload::default());
                Fate::Pass(Going { exit, head: lent.head, len, offload, af: Af::Inet, delay: 0 })
            }
            Some(SENT_TWICE) => {
                let all: Vec<&[u8]> =
                    std::iter::once(&lent.window[lent.head..]).chain(lent.rest.iter().copied()).collect();
                for _ in 0..2 {
                    sink.frame(straight, &all, &Offload::default(), Af::Inet);
                }
                Fate::Sent
            }
            _ => alone(entry, lent, offload),
        }
    }

    type Local = usize;

    fn local(&self) -> Option<usize> {
        Some(0)
    }

    fn shared(&self, local: &mut usize, entry: Entry, lent: Lent<'_>, offload: Offload) -> Option<Fate> {
        assert!(self.ports.contains(&entry.port), "a frame of a module that is gone");
        if matches!(lent.window.get(lent.head), Some(&(ELSEWHERE | SENT_TWICE))) {
            return None;
        }
        *local += 1;
        Some(alone(entry, lent, offload))
    }

    fn tell(&self, _: &mut usize) {}

    fn gather(&mut self, local: &mut usize) {
        self.shared += std::mem::take(local);
    }

    fn short(&mut self, frames: u32) {
        self.short += frames;
    }

    fn now_ms(&self) -> u64 {
        self.now
    }

    fn may_wait(&self) -> u32 {
        self.may_wait.unwrap_or(u32::MAX)
    }

    fn tick<S: Sink>(&mut self, sink: &mut S) {
        for frame in self.made.drain(..) {
            sink.frame(Exit::Wire(PortId(0)), &[&frame], &Offload::default(), Af::Inet);
        }
    }
}

/// The way straight on, and a frame's length.
fn straight(entry: Entry, lent: &Lent<'_>) -> (Exit, usize) {
    let rest = lent.rest.iter().fold(0, |n, r| n + r.len());
    let exit = match entry.side {
        Side::Stack => Exit::Wire(entry.port),
        Side::Wire => Exit::Stack(entry.port),
    };
    (exit, lent.window.len() - lent.head + rest)
}

/// What becomes of a frame that nothing else leaves for.
fn alone(entry: Entry, lent: Lent<'_>, offload: Offload) -> Fate {
    let (exit, len) = straight(entry, &lent);
    let mut going = Going { exit, head: lent.head, len, offload, af: Af::Inet, delay: 0 };
    let Some(kind) = lent.window.get(lent.head).copied() else { return Fate::Drop(Why::Truncated) };
    match kind {
        PASS => {}
        REWRITE => {
            let last = lent.window.len().min(lent.head + pfndis::pass::WINDOW) - 1;
            lent.window[last] ^= 0xff;
        }
        LONGER => {
            going.head -= 20;
            going.len += 20;
            lent.window[going.head..going.head + 20].fill(9);
        }
        SHORTER => {
            lent.window[lent.head] = 77;
            going.len = going.len.min(5);
        }
        LATER => going.delay = lent.window.get(lent.head + 1).copied().unwrap_or(0).into(),
        _ => return Fate::Drop(Why::Filter),
    }
    Fate::Pass(going)
}

/// What a frame leaves as, and whether by its own way or port 1's wire.
#[must_use]
pub fn becomes(frame: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let window = frame.len().min(pfndis::pass::WINDOW);
    let mut out = frame.to_vec();
    match frame.first() {
        Some(&PASS) => {}
        Some(&REWRITE) => out[window - 1] ^= 0xff,
        Some(&LONGER) => out = [vec![9; 20], out].concat(),
        Some(&SHORTER) => {
            out[0] = 77;
            out.truncate(5);
        }
        Some(&ELSEWHERE) => return vec![(out, false)],
        Some(&SENT_TWICE) => return vec![(out.clone(), true), (out, true)],
        _ => return Vec::new(),
    }
    vec![(out, true)]
}
