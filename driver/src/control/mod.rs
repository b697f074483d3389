//! Control: clients, tickets, and an answer to every request of `pfvm::api`.
//!
//! A host opens a client for each connection ([`Control::open`]), hands over its messages ([`Control::handle`]) and closes
//! it ([`Control::close`]); with it go its tickets. Images are parsed and verified here, with nothing locked but control
//! itself; the filter's lock is taken for a page of a list, or for a swap.
//!
//! Tickets are pf's: one is good for the path it was opened for until another is opened for that path, or it is used.
//! After that it is answered with [`Code::Busy`], and whoever holds it begins anew.
//!
//! **Invariant:** a request that is refused has changed nothing.
//! **Invariant:** no request takes more memory than a ticket holds, and all tickets together hold at most [`MOST_BYTES`].
//! **Invariant:** replies are written row by row into the caller's buffer; a page costs bounded work under the lock.

mod addresses;
mod ifaces;
mod load;
mod options;
mod rules;
mod states;
mod tables;
mod ticket;
mod watch;

use alloc::vec::Vec;

use pfvm::api::{
    API_VERSION, Changed, Code, DecodeError, EncodeError, HostKind, PageWriter, Refusal, Request, Rights, TableOp,
    Ticket, Welcome, decode, encode_reply, refuse,
};
use pfvm::engine::load::LoadError;
use pfvm::state::pool::OutOfMemory;

use crate::filter::{By, Filter, Refused};
use crate::lock::Lock;
use crate::platform::Platform;

use addresses::Asked;
pub(crate) use load::add;
use ticket::Tickets;
pub use ticket::{MOST_BYTES, MOST_CLIENTS};

/// What a request comes to: the length of the reply, or a refusal.
type Reply = Result<usize, Refusal<'static>>;

/// The buffer for an answer, and who asks.
#[derive(Debug)]
struct Answer<'m> {
    reply: &'m mut [u8],
    client: u32,
}

/// A peer.
#[derive(Clone, Copy, Debug)]
struct Client {
    id: u32,
    rights: Rights,
    by: By,
    greeted: bool,
}

/// Everything about clients.
#[derive(Debug)]
pub struct Control {
    kind: HostKind,
    budget: u32,
    clients: Vec<Client>,
    next: u32,
    tickets: Tickets,
}

/// Refusals by what went wrong beneath.
pub(crate) const MEMORY: Refusal<'static> = Refusal::new(Code::NoMemory, "there is no memory left for this");
const SMALL: Refusal<'static> = Refusal::new(Code::Message, "the buffer for the answer is too small");
const BUSY: Refusal<'static> = Refusal::new(Code::Busy, "the ticket is used up, given back or overtaken");

const fn small(_: EncodeError) -> Refusal<'static> {
    SMALL
}

const fn memory(_: OutOfMemory) -> Refusal<'static> {
    MEMORY
}

/// A refusal of the filter in words.
fn refused(why: Refused) -> Refusal<'static> {
    match why {
        Refused::Waiting => Refusal::new(Code::Busy, "a load waits for its confirmation"),
        Refused::Generation => Refusal::new(Code::Busy, "no load of that generation waits for confirmation"),
        Refused::Anchors => Refusal::new(Code::NoMemory, "more anchors than `set limit anchors` allows"),
        Refused::Load(why) => load_error(why),
    }
}

fn load_error(why: LoadError) -> Refusal<'static> {
    match why {
        LoadError::Memory(why) => Refusal::new(Code::NoMemory, why.what).at(why.count.into()),
        LoadError::Reject(_) => Refusal::new(Code::Image, "the images do not go together"),
    }
}

impl Control {
    /// Without clients. `budget` is how many steps a ruleset may take for a packet.
    #[must_use]
    pub const fn new(kind: HostKind, budget: u32) -> Self {
        Self { kind, budget, clients: Vec::new(), next: 1, tickets: Tickets::new() }
    }

    /// A peer has come. Gives its number.
    ///
    /// # Errors
    /// [`Code::TooMany`] when there are [`MOST_CLIENTS`] already.
    pub fn open(&mut self, rights: Rights, by: By) -> Result<u32, Refusal<'static>> {
        if self.clients.len() >= MOST_CLIENTS || self.clients.try_reserve(1).is_err() {
            return Err(Refusal::new(Code::TooMany, "there are too many clients"));
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1).max(1);
        if self.clients.len() < self.clients.capacity() {
            self.clients.push(Client { id, rights, by, greeted: false });
        }
        Ok(id)
    }

    /// A peer has gone: so do its tickets.
    pub fn close(&mut self, client: u32) {
        self.clients.retain(|c| c.id != client);
        self.tickets.close(client);
    }

    /// Whether a peer may ask anything at all; one that may not is told so once.
    #[must_use]
    pub fn may_ask(&self, client: u32) -> bool {
        self.clients.iter().any(|c| c.id == client && c.rights > Rights::None)
    }

    /// Clients there are.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// The record a message asks the log for, when it does and its client may ask.
    #[must_use]
    pub fn wants_record(&self, client: u32, message: &[u8]) -> Option<u64> {
        let _may = self.clients.iter().find(|c| c.id == client && c.greeted && c.rights > Rights::None)?;
        match decode(message) {
            Ok(Request::Log { cursor }) => Some(cursor),
            _ => None,
        }
    }

    /// Answers a message; gives the length of the reply. It is 0 only when the buffer cannot even hold a refusal.
    pub fn handle<P: Platform, L: Lock<P>>(
        &mut self,
        client: u32,
        message: &[u8],
        reply: &mut [u8],
        filter: &L,
    ) -> usize {
        match self.answer(client, message, reply, filter) {
            Ok(len) => len,
            Err(why) => refuse(&why, reply),
        }
    }

    fn answer<P: Platform, L: Lock<P>>(&mut self, client: u32, message: &[u8], reply: &mut [u8], filter: &L) -> Reply {
        let Some(peer) = self.clients.iter_mut().find(|c| c.id == client) else {
            return Err(Refusal::new(Code::Denied, "no such client"));
        };
        let request: Request<'_> = decode(message).map_err(|why| bad(why, message.len()))?;
        if let Request::Hello { version } = request {
            if version != API_VERSION {
                let what = "this filter speaks another version of the protocol; its own is version";
                return Err(Refusal::new(Code::Version, what).at(API_VERSION.into()));
            }
            if peer.rights == Rights::None {
                return Err(Refusal::new(Code::Denied, "only root and the groups given may ask this filter anything"));
            }
            peer.greeted = true;
            let (rights, host) = (peer.rights, self.kind);
            let generation = filter.with(|f| f.generation);
            return encode_reply(&Welcome { version, rights, host, generation }, reply).map_err(small);
        }
        if !peer.greeted {
            return Err(Refusal::new(Code::Hello, "the first request must be a greeting"));
        }
        if peer.rights < request.needs() {
            return Err(Refusal::new(Code::Denied, "this needs the right to change the filter"));
        }
        let by = peer.by;
        self.dispatch(&request, by, Answer { reply, client }, filter)
    }

    /// One line for each request.
    fn dispatch<P: Platform, L: Lock<P>>(
        &mut self,
        request: &Request<'_>,
        by: By,
        answer: Answer<'_>,
        filter: &L,
    ) -> Reply {
        let Answer { reply, client } = answer;
        match *request {
            Request::Hello { .. } => Err(Refusal::new(Code::Hello, "the greeting is over")),
            Request::Status => filter.with(|f| options::status(f, reply)),
            Request::Enable | Request::Disable => {
                let on = matches!(request, Request::Enable);
                options::switch(filter.with(|f| f.switch(on)), on, reply)
            }
            Request::Begin { path } => self.begin(client, path, reply),
            Request::Upload { ticket, offset, bytes } => self.upload(client, ticket, offset, bytes, reply),
            Request::Commit { tickets, after, confirm, checksum } => {
                let how = crate::filter::How { after, confirm, checksum: Some(checksum) };
                self.commit(client, tickets, how, by, reply, filter)
            }
            Request::Rollback { ticket } => self.rollback(client, ticket, reply),
            Request::Confirm { generation } => load::confirm(generation, reply, filter),
            Request::Revert { generation } => ticketed(filter.with(|f| f.revert(generation)).map_err(refused)?, reply),
            Request::Rulesets { under, cursor } => filter.with(|f| rules::rulesets(f, under, cursor, reply)),
            Request::Section { path, section, offset } => {
                filter.with(|f| rules::section(f, path, section, offset, reply))
            }
            Request::Rules { path, cursor } => filter.with(|f| rules::rules(f, path, cursor, reply)),
            Request::ZeroRules { path } => filter.with(|f| rules::zero(f, path, reply)),
            Request::FlushRules { path } => self.flush(path, by, reply, filter),
            Request::Tables { path, below, cursor } => filter.with(|f| tables::list(f, path, below, cursor, reply)),
            Request::Table { path, name, touch, dry } => {
                filter.with(|f| tables::touch(f, path, name, touch, dry, reply))
            }
            Request::FlushTables { path, dry } => filter.with(|f| tables::flush(f, path, dry, reply)),
            Request::Addresses { path, name, op, dry, entries } => {
                filter.with(|f| addresses::few(f, Asked { path, name, op, dry }, entries, reply))
            }
            Request::ReplaceAddresses { path, name, dry, ticket } => {
                let bytes = self.tickets.take(client, ticket).ok_or(BUSY)?.bytes;
                let asked = Asked { path, name, op: TableOp::Replace, dry };
                filter.with(|f| addresses::replace(f, asked, &bytes, reply))
            }
            Request::ChangeAddresses { path, name, op, dry, ticket } => {
                let asked = Asked { path, name, op, dry };
                let bytes = self.tickets.bytes(client, ticket).ok_or(BUSY)?;
                let answer = filter.with(|f| addresses::many(f, asked, bytes))?;
                let len = u64::try_from(answer.len()).unwrap_or(u64::MAX);
                self.tickets.answer(client, ticket, answer);
                changed(len, reply)
            }
            Request::Feedback { ticket, offset } => self.feedback(client, ticket, offset, reply),
            Request::Entries { path, name, cursor } => filter.with(|f| tables::entries(f, path, name, cursor, reply)),
            Request::States { filter: which, cursor } => filter.with(|f| states::list(f, &which, cursor, reply)),
            Request::KillStates { filter: which } => filter.with(|f| states::kill(f, &which, reply)),
            Request::ImportStates { rows } => filter.with(|f| states::import(f, rows, reply)),
            Request::ImportUploaded { ticket } => {
                let bytes = self.tickets.take(client, ticket).ok_or(BUSY)?.bytes;
                states::import_all(&bytes, reply, filter)
            }
            Request::Sources { cursor } => filter.with(|f| states::sources(f, cursor, reply)),
            Request::KillSources { filter: which } => filter.with(|f| states::kill_sources(f, &which, reply)),
            Request::Ifaces { name, cursor } => filter.with(|f| ifaces::list(f, name, cursor, reply)),
            Request::Options => filter.with(|f| options::options(f, reply)),
            Request::Set { option } => filter.with(|f| options::set(f, option, reply)),
            Request::ResetOptions => filter.with(|f| options::reset(f, reply)),
            Request::ClearStatus { iface } => filter.with(|f| options::clear(f, iface, reply)),
            Request::Prints { cursor } => filter.with(|f| options::prints(f, cursor, reply)),
            Request::FlushPrints => filter.with(|f| options::flush_prints(f, reply)),
            Request::Log { cursor } => filter.with(|f| watch::log(f, cursor, reply)),
            Request::Trace { cursor } => filter.with(|f| watch::trace(f, cursor, reply)),
            Request::SetTrace { filter: bytes } => filter.with(|f| watch::set_trace(f, bytes, reply)),
            Request::Host => filter.with(|f| watch::host(f, reply)),
            Request::HostFile { offset } => filter.with(|f| watch::host_file(f, offset, reply)),
            Request::Facts { cursor } => filter.with(|f| ifaces::facts(f, cursor, reply)),
            Request::SetFacts { ticket } => {
                let bytes = self.tickets.take(client, ticket).ok_or(BUSY)?.bytes;
                ifaces::set_facts(&bytes, reply, filter)
            }
        }
    }
}

/// A page of the log from a record on, as [`Request::Log`] is answered: for hosts whose readers wait for records. Gives
/// the length of the reply.
pub fn log_page<P: Platform>(f: &mut Filter<P>, cursor: u64, reply: &mut [u8]) -> usize {
    match watch::log(f, cursor, reply) {
        Ok(len) => len,
        Err(why) => refuse(&why, reply),
    }
}

/// A message that does not decode.
fn bad(why: DecodeError, len: usize) -> Refusal<'static> {
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    match why {
        DecodeError::TooLong => Refusal::new(Code::TooLong, "the message is too long: bytes").at(len),
        DecodeError::Malformed => Refusal::new(Code::Message, "the message does not decode"),
        DecodeError::Trailing { left } => {
            let left = u64::try_from(left).unwrap_or(u64::MAX);
            Refusal::new(Code::Message, "bytes behind the message:").at(left)
        }
    }
}

/// A reply that is a number.
fn changed(count: impl Into<u64>, reply: &mut [u8]) -> Reply {
    encode_reply(&Changed { count: count.into() }, reply).map_err(small)
}

/// A reply that is a ticket or generation.
fn ticketed(number: u64, reply: &mut [u8]) -> Reply {
    encode_reply(&Ticket { number }, reply).map_err(small)
}

/// A page of at most `most` rows: `items` from the place the cursor says. The cursor counts items.
fn page<T: serde::Serialize>(
    reply: &mut [u8],
    cursor: u64,
    (generation, total): (u64, usize),
    most: usize,
    items: impl Iterator<Item = T>,
) -> Reply {
    let mut page = PageWriter::new(reply).map_err(small)?;
    let mut next = cursor;
    let total = u32::try_from(total).unwrap_or(u32::MAX);
    let skip = usize::try_from(cursor).unwrap_or(usize::MAX);
    for (at, item) in pfvm::count::numbered(items.skip(skip)) {
        if at >= most || !page.row(&item) {
            return if at == 0 { Err(SMALL) } else { Ok(page.end(next, generation, total)) };
        }
        next = next.saturating_add(1);
    }
    Ok(page.end(pfvm::api::END, generation, total))
}
