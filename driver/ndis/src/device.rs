//! The device's requests: what is asked and with which access, what is answered, what a handle leaves behind.
//!
//! A host copies a request's bytes out of its buffer ([`Message::take`]), then has them answered into the same buffer
//! ([`Device::request`]), one at a time; a reader of the log whose record is yet to come waits ([`crate::readers`]). A
//! file object keeps one word for the device ([`Word`]), zero when it is opened.
//!
//! **Invariant:** no byte of a buffer goes back but those of the answer; behind the answer everything is zero.
//! **Invariant:** a message does no more than the access in its own code allows, whoever opened the handle.
//! **Invariant:** a handle that was cleaned up is answered nothing, and has no client.
//!
//! IRQL: `PASSIVE_LEVEL`. Locks: the host lets one thread at a time in.

use alloc::vec::Vec;

use pfdriver::control::Control;
use pfdriver::filter::By;
use pfdriver::lock::Lock;
use pfdriver::platform::Platform;
use pfvm::api::{Code, HostKind, Refusal, Request, Rights, decode, refuse};
use pfvm::state::pool::copied;

use crate::message::{WAIT, admit};
use crate::pending::{Put, Waiting};
use crate::readers::{Readers, Requests, next};
use crate::sys::code::{ACCESS_DENIED, BUFFER_TOO_SMALL, CANCELLED, INVALID_PARAMETER, RESOURCES, SUCCESS, Status};

/// What a file object keeps: nothing yet, its client, or that it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Word(pub usize);

impl Word {
    /// Cleaned up.
    const OVER: Self = Self(usize::MAX);

    fn of(client: u32, rights: Rights) -> Self {
        let client = usize::try_from(client).unwrap_or(0);
        Self(client.wrapping_shl(1) | usize::from(rights == Rights::Write))
    }

    fn client(self) -> Option<u32> {
        if matches!(self, Self(0) | Self::OVER) { None } else { u32::try_from(self.0.wrapping_shr(1)).ok() }
    }

    const fn may_write(self) -> bool {
        self.0 & 1 == 1
    }
}

/// A request's bytes, the system's buffer cleared of them.
#[derive(Debug)]
pub struct Message {
    rights: Rights,
    waits: bool,
    bytes: Vec<u8>,
}

impl Message {
    /// Takes a message of `input` bytes out of a buffer that has room for `output` bytes of answer, and clears it.
    ///
    /// # Errors
    /// The status the request is completed with, the buffer's input untouched: no such code, no message or one too long,
    /// no room for an answer, a buffer shorter than it is said to be, no memory.
    pub fn take(code: u32, buffer: &mut [u8], input: usize, output: usize) -> Result<Self, Status> {
        let rights = admit(code, input, output)?;
        if output > buffer.len() {
            return Err(INVALID_PARAMETER);
        }
        let given = buffer.get(..input).ok_or(INVALID_PARAMETER)?;
        let bytes = copied("a message", given).map_err(|_| RESOURCES)?;
        buffer.fill(0);
        Ok(Self { rights, waits: code == WAIT, bytes })
    }
}

/// A request, its message taken out of its buffer.
#[derive(Debug)]
pub struct Asked<'a, T> {
    /// The system's name of it.
    pub request: T,
    /// The file object it came through, as a number.
    pub owner: usize,
    /// What that keeps.
    pub word: &'a mut Word,
    /// What is asked.
    pub message: Message,
    /// Where the answer goes, cleared.
    pub reply: &'a mut [u8],
    /// Who asks.
    pub who: By,
}

/// Who answers: control, with the rights of handles and messages before it.
#[derive(Debug)]
pub struct Device {
    /// Clients and tickets.
    pub control: Control,
}

impl Device {
    /// Without clients. `budget` is how many steps a ruleset may take for a packet.
    #[must_use]
    pub const fn new(budget: u32) -> Self {
        Self { control: Control::new(HostKind::Driver, budget) }
    }

    /// Carries a request out: its status and the bytes of its answer. `None` when it waits: then it is not the caller's
    /// any more, and may be over already.
    pub fn request<P: Platform, L: Lock<P>, S: Requests<T>, T: Copy + PartialEq + Send, const N: usize>(
        &mut self,
        asked: Asked<'_, T>,
        readers: &Readers<T, N>,
        system: &S,
        filter: &L,
    ) -> Option<(Status, usize)> {
        let Asked { request, owner, word, message, reply, who } = asked;
        if message.waits
            && let Some(cursor) = self.wants_record(*word, &message)
            && cursor >= next(filter)
        {
            return match readers.put(system, Waiting { request, owner, cursor }) {
                Put::Waits => None,
                Put::Full => Some((RESOURCES, 0)),
                Put::Cancelled => Some((CANCELLED, 0)),
            };
        }
        Some(self.answer(word, &message, reply, who, filter))
    }

    /// Answers a message into a buffer that was cleared: the status, and the bytes of the answer.
    pub fn answer<P: Platform, L: Lock<P>>(
        &mut self,
        word: &mut Word,
        message: &Message,
        reply: &mut [u8],
        who: By,
        filter: &L,
    ) -> (Status, usize) {
        if *word == Word::OVER {
            return (CANCELLED, 0);
        }
        let client = match word.client() {
            Some(client) => client,
            None => {
                let Ok(new) = self.control.open(message.rights, who) else { return (RESOURCES, 0) };
                *word = Word::of(new, message.rights);
                new
            }
        };
        if message.rights == Rights::Write && !word.may_write() {
            return (ACCESS_DENIED, 0);
        }
        // The system let this message through for its own code alone: another's of the same handle does not count.
        let beyond = decode::<Request<'_>>(&message.bytes).is_ok_and(|r| r.needs() > message.rights);
        let len = if beyond {
            refuse(&Refusal::new(Code::Denied, "this needs the right to change the filter"), reply)
        } else {
            self.control.handle(client, &message.bytes, reply, filter)
        };
        let len = len.min(reply.len());
        reply.get_mut(len..).unwrap_or_default().fill(0);
        if len == 0 { (BUFFER_TOO_SMALL, 0) } else { (SUCCESS, len) }
    }

    /// The record of the log a message asks for, where its handle has a client that may ask.
    fn wants_record(&self, word: Word, message: &Message) -> Option<u64> {
        self.control.wants_record(word.client()?, &message.bytes)
    }

    /// `IRP_MJ_CLEANUP`: the last handle of a file object is closed. Its client goes, and its tickets.
    pub fn cleanup(&mut self, word: &mut Word) {
        if let Some(client) = core::mem::replace(word, Word::OVER).client() {
            self.control.close(client);
        }
    }

    /// The same, where requests of the file object may wait: they are ended.
    pub fn leave<S: Requests<T>, T: Copy + PartialEq + Send, const N: usize>(
        &mut self,
        word: &mut Word,
        owner: usize,
        readers: &Readers<T, N>,
        system: &S,
    ) {
        self.cleanup(word);
        readers.close(system, owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ASK, TELL};

    #[test]
    fn a_message_leaves_nothing_in_its_buffer() {
        let mut buffer = [7; 8];
        let m = Message::take(ASK, &mut buffer, 5, 8).unwrap();
        assert_eq!((&m.bytes[..], buffer), (&[7; 5][..], [0; 8]));
        for (code, input, output) in [(ASK, 9, 1), (TELL, 1, 9), (TELL, 0, 1), (1, 1, 1), (ASK, 1, 0)] {
            assert!(Message::take(code, &mut buffer, input, output).is_err());
        }
    }

    #[test]
    fn words_tell_clients_apart() {
        let w = Word::of(7, Rights::Write);
        assert_eq!((w.client(), w.may_write()), (Some(7), true));
        assert!(!Word::of(7, Rights::Read).may_write());
        assert_eq!((Word::default().client(), Word::OVER.client()), (None, None));
    }
}
