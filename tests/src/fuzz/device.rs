//! The device: requests of several handles with any codes, lengths and bytes; readers that wait, taken back or closed at any
//! moment.
//!
//! An input is a list of steps: `o` a handle is opened (bit 0: may read, bit 1: may write), `m` a request (handle, which
//! code, lengths of input and output of two bytes each, how much shorter than said the buffer is, then the message's
//! length of two bytes and its bytes), `c` a handle is cleaned up, `t` seconds that pass. Of requests that wait: `p` a
//! packet is logged, `s` the timer looks, `x` one is taken back (which), `y` likewise, but its cancel routine comes only
//! with the next `z`, `b` the next request is taken back before it comes. Whatever else is skipped.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::sync::OnceLock;

use pfdriver::filter::By;
use pfdriver::lock::Lock;
use pfndis::device::{Asked, Device, Message, Word};
use pfndis::message::{ASK, TELL, WAIT};
use pfndis::pending::Claim;
use pfndis::readers::{Readers, Requests};
use pfndis::sys::code::{ACCESS_DENIED, CANCELLED, INVALID_DEVICE_REQUEST, SUCCESS, Status};
use pfndis::sys::lock::Levels;
use pfvm::api::{After, MAX_MESSAGE, Request, decode, encode, read_reply};

use super::api::{byte, samples, sized, standing, whole};
use crate::desk::{Desk, image, small, udp, v4};

/// Most steps of an input.
const STEPS: usize = 64;
/// Most handles.
const HANDLES: usize = 300;
/// What stood in the system's buffer before.
const STALE: u8 = 0xA5;

/// An open file object.
struct Handle {
    word: Word,
    access: u8,
    closed: bool,
}

/// A request as the I/O manager hands it over.
struct Given<'m> {
    code: u32,
    input: usize,
    output: usize,
    short: usize,
    message: &'m [u8],
}

/// A request the system knows of.
#[derive(Default)]
struct Irp {
    buffer: Vec<u8>,
    owner: usize,
    /// The record it asks for.
    cursor: u64,
    /// Its cancel routine is set.
    armed: bool,
    /// It was asked for back.
    cancelled: bool,
    /// Its cancel routine is on its way.
    comes: bool,
    ended: Option<(Status, usize)>,
}

/// The system: its requests by number, and its one processor.
#[derive(Default)]
struct System {
    irps: RefCell<Vec<Irp>>,
    held: Cell<bool>,
    /// The next request is taken back before it comes.
    before: Cell<bool>,
}

impl Levels for System {
    fn acquire(&self, _: &UnsafeCell<usize>) -> u8 {
        assert!(!self.held.replace(true), "a lock is taken twice");
        0
    }

    fn release(&self, _: &UnsafeCell<usize>, _: u8) {
        assert!(self.held.replace(false));
    }
}

impl Claim<usize> for System {
    fn arm(&self, request: usize) {
        self.irps.borrow_mut()[request].armed = true;
    }

    fn is_cancelled(&self, request: usize) -> bool {
        self.irps.borrow()[request].cancelled
    }

    fn claim(&self, request: usize) -> bool {
        std::mem::take(&mut self.irps.borrow_mut()[request].armed)
    }
}

impl Requests<usize> for System {
    fn complete(&self, request: usize, status: Status, written: usize) {
        assert!(!self.held.get(), "a request is completed with the lock held");
        let irp = &mut self.irps.borrow_mut()[request];
        assert!(!irp.armed, "whoever ends a request has claimed it");
        assert_eq!(irp.ended.replace((status, written)), None, "a request is ended once");
    }

    fn fill(&self, request: usize, answer: impl FnOnce(&mut [u8]) -> usize) -> usize {
        assert!(!self.held.get() && !self.irps.borrow()[request].armed);
        answer(&mut self.irps.borrow_mut()[request].buffer)
    }
}

impl System {
    /// Requests that wait, or whose cancel routine comes.
    fn open(&self) -> Vec<usize> {
        let irps = self.irps.borrow();
        (0..irps.len()).filter(|n| irps[*n].ended.is_none()).collect()
    }

    /// `IoCancelIrp`, but for the call of the routine: whether there is one to be called.
    fn cancel(&self, request: usize) -> bool {
        self.irps.borrow_mut()[request].cancelled = true;
        self.claim(request)
    }
}

/// Readers at most, so few that there is no room for more soon.
const READERS: usize = 4;

/// Takes requests through the device.
///
/// # Panics
/// When a byte that is no answer comes back, a handle does more than it may, a refusal changes something, or a closed
/// handle leaves something behind.
pub fn device(data: &[u8]) {
    static LOGGED: OnceLock<Vec<u8>> = OnceLock::new();
    let mut desk = Desk::new(small());
    let rules = LOGGED.get_or_init(|| image("", "pass log\n"));
    desk.commit("", rules, After::Keep, 0).expect("the rules load");
    let (mut device, system, readers) = (Device::new(4096), System::default(), Readers::<usize, READERS>::new());
    let mut packets = 0_u16;
    let mut handles: Vec<Handle> = Vec::new();
    let mut data = data;
    for _ in 0..STEPS {
        if data.is_empty() {
            break;
        }
        match byte(&mut data) {
            b'o' if handles.len() < HANDLES => {
                handles.push(Handle { word: Word::default(), access: byte(&mut data) & 3, closed: false });
            }
            b'c' if !handles.is_empty() => {
                let at = usize::from(byte(&mut data)) % handles.len();
                device.leave(&mut handles[at].word, at, &readers, &system);
                handles[at].closed = true;
                let irps = system.irps.borrow();
                assert!(irps.iter().all(|i| i.owner != at || i.ended.is_some() || i.comes), "its readers are let go");
            }
            b'p' => {
                packets = packets.wrapping_add(1);
                desk.comes(1, &udp(v4(192, 0, 2, 5), packets, v4(192, 0, 2, 1), 53));
            }
            b's' => {
                readers.serve(&system, &desk.filter);
                let next = desk.filter.with(|f| f.log.count() + 1);
                assert!(system.open().iter().all(|n| system.irps.borrow()[*n].comes || cursor(&system, *n) >= next));
            }
            kind @ (b'x' | b'y') => {
                let (open, which) = (system.open(), usize::from(byte(&mut data)));
                let waits: Vec<usize> = open.into_iter().filter(|n| !system.irps.borrow()[*n].comes).collect();
                if !waits.is_empty() {
                    let one = waits[which % waits.len()];
                    assert!(system.cancel(one), "what waits may be taken back");
                    system.irps.borrow_mut()[one].comes = true;
                    if kind == b'x' {
                        readers.cancelled(&system, one);
                    }
                }
            }
            b'z' => routines(&system, &readers),
            b'b' => system.before.set(true),
            b'm' if !handles.is_empty() => {
                let at = usize::from(byte(&mut data)) % handles.len();
                let code = match byte(&mut data) {
                    0 => ASK,
                    1 => TELL,
                    2 => WAIT,
                    n => TELL ^ (1 << (n % 32)),
                };
                let mut length = || usize::from(u16::from_le_bytes([byte(&mut data), byte(&mut data)]));
                let (input, output) = (length(), length());
                let short = usize::from(byte(&mut data));
                let message = sized(&mut data);
                // The I/O manager keeps out who has not the access the code names.
                let needs = (code >> 14) as u8 & 3;
                if handles[at].access & needs == needs {
                    let input = if input == 0xffff { message.len() } else { input };
                    let given = Given { code, input, output, short, message };
                    request(&mut desk, &mut device, (&system, &readers), (&mut handles[at], at), &given);
                }
            }
            b't' => desk.pass(u64::from(byte(&mut data) % 32)),
            _ => {}
        }
        let open = handles.iter().filter(|h| !h.closed && h.word != Word::default()).count();
        assert_eq!(device.control.clients(), open, "each handle that has asked is a client, nobody else");
    }
    for (at, handle) in handles.iter_mut().enumerate() {
        device.leave(&mut handle.word, at, &readers, &system);
    }
    routines(&system, &readers);
    assert_eq!((device.control.clients(), system.open()), (0, vec![]), "nobody is a client, and nothing waits");
    whole(&desk);
}

/// Cancel routines that were on their way come.
fn routines(system: &System, readers: &Readers<usize, READERS>) {
    for one in system.open() {
        if system.irps.borrow()[one].comes {
            readers.cancelled(system, one);
        }
    }
}

/// The record a request waits for.
fn cursor(system: &System, request: usize) -> u64 {
    system.irps.borrow()[request].cursor
}

fn request(
    desk: &mut Desk,
    device: &mut Device,
    (system, readers): (&System, &Readers<usize, READERS>),
    (handle, owner): (&mut Handle, usize),
    asked: &Given<'_>,
) {
    let length = asked.input.max(asked.output).saturating_sub(asked.short);
    let mut buffer = vec![STALE; length];
    for (to, from) in buffer.iter_mut().zip(asked.message.iter().take(asked.input)) {
        *to = *from;
    }
    let before = standing(desk);
    let sent = buffer.clone();
    let message = match Message::take(asked.code, &mut buffer, asked.input, asked.output) {
        Ok(message) => message,
        Err(status) => {
            assert!(status < 0 && buffer == sent, "a request that is not admitted is left alone");
            let known = [ASK, TELL, WAIT].contains(&asked.code);
            assert!(known || status == INVALID_DEVICE_REQUEST);
            return;
        }
    };
    assert!(asked.input <= MAX_MESSAGE && asked.input.max(asked.output) <= length);
    assert!(buffer.iter().all(|b| *b == 0), "the request's bytes are gone before it is answered");
    let cursor = match decode::<Request<'_>>(&sent[..asked.input]) {
        Ok(Request::Log { cursor }) => cursor,
        _ => u64::MAX,
    };
    let (cancelled, irp) = (system.before.take(), system.irps.borrow().len());
    let irps = || system.irps.borrow_mut();
    irps().push(Irp { buffer: vec![0; asked.output], owner, cursor, cancelled, ..Irp::default() });
    let reply = &mut buffer[..asked.output];
    let (word, who) = (&mut handle.word, By::default());
    let whole = Asked { request: irp, owner, word, message, reply, who };
    let Some((status, len)) = device.request(whole, readers, system, &desk.filter) else {
        // Whoever is told that it waits has nothing of it any more.
        assert!(asked.code == WAIT && !handle.closed && standing(desk) == before);
        return;
    };
    irps()[irp].ended = Some((status, len));
    assert!(!irps()[irp].armed, "what is the caller's still nobody can take back");
    if asked.code == WAIT && len == 0 {
        assert!(status < 0 && standing(desk) == before);
        return;
    }
    assert!(len <= asked.output && buffer[len..].iter().all(|b| *b == 0), "nothing stands behind an answer");
    assert!((status == SUCCESS) == (len > 0));
    if handle.closed {
        assert_eq!(status, CANCELLED);
    }
    let changing = decode::<Request<'_>>(&sent[..asked.input]).is_ok_and(|r| r.needs() > pfvm::api::Rights::Read);
    let refused = status != SUCCESS || read_reply(&buffer[..len]).expect("an answer is well formed").is_err();
    let unsent = status == pfndis::sys::code::BUFFER_TOO_SMALL;
    if asked.code != TELL || handle.closed || (refused && !unsent) || status == ACCESS_DENIED || !changing {
        assert!(standing(desk) == before, "what may not change anything has");
    }
    assert!(asked.code == TELL || !changing || refused, "a reading code has changed something");
}

fn step(handle: u8, code: u8, (input, output): (u16, u16), message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a short message").to_le_bytes();
    [&[b'm', handle, code][..], &input.to_le_bytes(), &output.to_le_bytes(), &[0], &len, message].concat()
}

/// A request for log records.
fn log(cursor: u64) -> Vec<u8> {
    let mut room = [0; 32];
    let len = encode(&Request::Log { cursor }, &mut room).expect("a short request");
    room[..len].to_vec()
}

/// The inputs to begin with: every request by each code, short and lying buffers, handles that close.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let samples = samples();
    let all = |code| -> Vec<u8> { samples.iter().flat_map(|m| step(0, code, (0xffff, 4096), m)).collect() };
    let hello = step(0, 0, (0xffff, 64), &samples[0]);
    let told = step(0, 1, (0xffff, 64), &samples[0]);
    let status = step(0, 0, (0xffff, 4096), &samples[1]);
    let lying: Vec<u8> = [(1, 4096), (4096, 16), (0, 16), (0xffff, 0), (0xffff, 3), (0xfffe, 0xfffe)]
        .iter()
        .flat_map(|sizes| step(0, 0, *sizes, &samples[1]))
        .collect();
    let wait = |handle, cursor| step(handle, 2, (0xffff, 512), &log(cursor));
    let waits = |handle| -> Vec<u8> { (1..4).flat_map(|cursor| wait(handle, cursor)).collect() };
    let other: Vec<u8> = (3..35).flat_map(|code| step(0, code, (0xffff, 64), &samples[1])).collect();
    vec![
        [&b"o\x03"[..], &all(1)].concat(),
        [&b"o\x03"[..], &told, &all(0)].concat(),
        [&b"o\x01"[..], &hello, &status, &lying, b"c\0", &status].concat(),
        [&b"o\x03"[..], &told, &other].concat(),
        [&b"o\x03o\x01"[..], &told, &step(1, 0, (0xffff, 64), &samples[0]), &all(1), b"c\0t\x09", &hello].concat(),
        // Readers: answered as records come, taken back, closed; more than there is room for; one taken back before it came.
        [&b"o\x01"[..], &hello, &waits(0), b"pspssx\0", &wait(0, 9), b"y\0psz", &waits(0), &waits(0), b"c\0"].concat(),
        [
            &b"o\x01o\x01"[..],
            &hello,
            &step(1, 0, (0xffff, 64), &samples[0]),
            b"b",
            &wait(0, 5),
            &waits(1),
            b"y\x01c\x01zps",
        ]
        .concat(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The corpus is what this file makes.
    #[test]
    fn the_corpus_is_current() {
        crate::fuzz::assert_corpus("device", &seeds());
    }

    #[test]
    fn every_seed_ends_well() {
        seeds().iter().for_each(|seed| device(seed));
    }
}
