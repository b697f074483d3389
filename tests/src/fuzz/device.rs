//! The device: requests of several handles with any codes, lengths and bytes, and handles closed in between.
//!
//! An input is a list of steps: `o` a handle is opened (bit 0: may read, bit 1: may write), `m` a request (handle, which
//! code, lengths of input and output of two bytes each, how much shorter than said the buffer is, then the message's
//! length of two bytes and its bytes), `c` a handle is cleaned up, `t` seconds that pass. Whatever else is skipped.

use pfdriver::filter::By;
use pfndis::device::{Device, Message, Word};
use pfndis::message::{ASK, TELL};
use pfndis::sys::code::{ACCESS_DENIED, CANCELLED, INVALID_DEVICE_REQUEST, SUCCESS};
use pfvm::api::{MAX_MESSAGE, Request, decode, read_reply};

use super::api::{byte, samples, sized, standing, whole};
use crate::desk::{Desk, small};

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
struct Asked<'m> {
    code: u32,
    input: usize,
    output: usize,
    short: usize,
    message: &'m [u8],
}

/// Takes requests through the device.
///
/// # Panics
/// When a byte that is no answer comes back, a handle does more than it may, a refusal changes something, or a closed
/// handle leaves something behind.
pub fn device(data: &[u8]) {
    let mut desk = Desk::new(small());
    let mut device = Device::new(4096);
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
                device.cleanup(&mut handles[at].word);
                handles[at].closed = true;
            }
            b'm' if !handles.is_empty() => {
                let at = usize::from(byte(&mut data)) % handles.len();
                let code = match byte(&mut data) {
                    0 => ASK,
                    1 => TELL,
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
                    let asked = Asked { code, input, output, short, message };
                    request(&mut desk, &mut device, &mut handles[at], &asked);
                }
            }
            b't' => desk.pass(u64::from(byte(&mut data) % 32)),
            _ => {}
        }
        let open = handles.iter().filter(|h| !h.closed && h.word != Word::default()).count();
        assert_eq!(device.control.clients(), open, "each handle that has asked is a client, nobody else");
    }
    for handle in &mut handles {
        device.cleanup(&mut handle.word);
    }
    assert_eq!(device.control.clients(), 0);
    whole(&desk);
}

fn request(desk: &mut Desk, device: &mut Device, handle: &mut Handle, asked: &Asked<'_>) {
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
            let known = asked.code == ASK || asked.code == TELL;
            assert!(known || status == INVALID_DEVICE_REQUEST);
            return;
        }
    };
    assert!(asked.input <= MAX_MESSAGE && asked.input.max(asked.output) <= length);
    assert!(buffer.iter().all(|b| *b == 0), "the request's bytes are gone before it is answered");
    let reply = &mut buffer[..asked.output];
    let (status, len) = device.answer(&mut handle.word, &message, reply, By::default(), &desk.filter);
    assert!(len <= asked.output && buffer[len..].iter().all(|b| *b == 0), "nothing stands behind an answer");
    assert!((status == SUCCESS) == (len > 0));
    if handle.closed {
        assert_eq!(status, CANCELLED);
    }
    let changing = decode::<Request<'_>>(&sent[..asked.input]).is_ok_and(|r| r.needs() > pfvm::api::Rights::Read);
    let refused = status != SUCCESS || read_reply(&buffer[..len]).expect("an answer is well formed").is_err();
    let unsent = status == pfndis::sys::code::BUFFER_TOO_SMALL;
    if asked.code == ASK || handle.closed || (refused && !unsent) || status == ACCESS_DENIED || !changing {
        assert!(standing(desk) == before, "what may not change anything has");
    }
    assert!(asked.code == TELL || !changing || refused, "a reading code has changed something");
}

fn step(handle: u8, code: u8, (input, output): (u16, u16), message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a short message").to_le_bytes();
    [&[b'm', handle, code][..], &input.to_le_bytes(), &output.to_le_bytes(), &[0], &len, message].concat()
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
    let other: Vec<u8> = (2..34).flat_map(|code| step(0, code, (0xffff, 64), &samples[1])).collect();
    vec![
        [&b"o\x03"[..], &all(1)].concat(),
        [&b"o\x03"[..], &told, &all(0)].concat(),
        [&b"o\x01"[..], &hello, &status, &lying, b"c\0", &status].concat(),
        [&b"o\x03"[..], &told, &other].concat(),
        [&b"o\x03o\x01"[..], &told, &step(1, 0, (0xffff, 64), &samples[0]), &all(1), b"c\0t\x09", &hello].concat(),
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
