//! Tickets: bytes on their way in.
//!
//! **Invariant:** at most one ticket of a path is good, the last that was opened.

use alloc::vec::Vec;

use pfvm::api::MAX_TICKETS;
use pfvm::image::MAX_IMAGE;
use pfvm::state::pool::copied;

/// Most bytes of all tickets together.
pub const MOST_BYTES: usize = MAX_IMAGE;
/// Most clients at a time.
pub const MOST_CLIENTS: usize = 16_384;
/// Most tickets of all clients together.
const MOST: usize = 1024;

/// Bytes for a path.
#[derive(Debug)]
pub(super) struct Open {
    number: u64,
    client: u32,
    /// Whose ruleset.
    pub(super) path: Vec<u8>,
    /// What has come; once it was used, what its operation answered.
    pub(super) bytes: Vec<u8>,
    /// Whether it was used and its answer waits to be fetched.
    answered: bool,
}

/// Why bytes were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// No such ticket of this client, or one that was overtaken.
    Busy,
    /// No room for another ticket, or for more bytes.
    Full,
    /// They belong elsewhere: so many have come.
    Offset(usize),
}

/// All tickets.
#[derive(Debug)]
pub(super) struct Tickets {
    open: Vec<Open>,
    next: u64,
}

impl Tickets {
    /// None.
    pub(super) const fn new() -> Self {
        Self { open: Vec::new(), next: 1 }
    }

    /// Opens a ticket; those of the same path are good no more.
    pub(super) fn begin(&mut self, client: u32, path: &[u8]) -> Result<u64, Why> {
        let mine = pfvm::count::of(self.open.iter().filter(|o| o.client == client && o.path != path));
        if mine >= MAX_TICKETS || self.open.len() >= MOST {
            return Err(Why::Full);
        }
        let copy = copied("names", path).map_err(|_| Why::Full)?;
        self.open.try_reserve(1).map_err(|_| Why::Full)?;
        self.open.retain(|o| o.path != path);
        let number = self.next;
        self.next = self.next.wrapping_add(1).max(1);
        if self.open.len() < self.open.capacity() {
            self.open.push(Open { number, client, path: copy, bytes: Vec::new(), answered: false });
        }
        Ok(number)
    }

    fn find(&self, client: u32, ticket: u64, answered: bool) -> Option<usize> {
        self.open.iter().position(|o| o.number == ticket && o.client == client && o.answered == answered)
    }

    /// Where a ticket is that was not used yet.
    fn place(&self, client: u32, ticket: u64) -> Option<usize> {
        self.find(client, ticket, false)
    }

    /// What has come for a ticket.
    pub(super) fn bytes(&self, client: u32, ticket: u64) -> Option<&[u8]> {
        self.open.get(self.place(client, ticket)?).map(|o| o.bytes.as_slice())
    }

    /// A ticket was used: what came of it takes the place of what was uploaded.
    pub(super) fn answer(&mut self, client: u32, ticket: u64, bytes: Vec<u8>) {
        if let Some(open) = self.place(client, ticket).and_then(|at| self.open.get_mut(at)) {
            (open.bytes, open.answered) = (bytes, true);
        }
    }

    /// What came of a ticket.
    pub(super) fn answered(&self, client: u32, ticket: u64) -> Option<&[u8]> {
        self.open.get(self.find(client, ticket, true)?).map(|o| o.bytes.as_slice())
    }

    /// Takes a ticket back, used or not; whether there was one.
    pub(super) fn give_back(&mut self, client: u32, ticket: u64) -> bool {
        let before = self.open.len();
        self.open.retain(|o| o.number != ticket || o.client != client);
        self.open.len() < before
    }

    /// Appends bytes; gives how many there are.
    pub(super) fn append(&mut self, client: u32, ticket: u64, offset: usize, bytes: &[u8]) -> Result<usize, Why> {
        let all = self.open.iter().fold(0_usize, |n, o| n.saturating_add(o.bytes.len()));
        let at = self.place(client, ticket).ok_or(Why::Busy)?;
        let open = self.open.get_mut(at).ok_or(Why::Busy)?;
        if open.bytes.len() != offset {
            return Err(Why::Offset(open.bytes.len()));
        }
        if all.saturating_add(bytes.len()) > MOST_BYTES {
            return Err(Why::Full);
        }
        open.bytes.try_reserve(bytes.len()).map_err(|_| Why::Full)?;
        for byte in bytes {
            if open.bytes.len() < open.bytes.capacity() {
                open.bytes.push(*byte);
            }
        }
        Ok(open.bytes.len())
    }

    /// Uses a ticket up.
    pub(super) fn take(&mut self, client: u32, ticket: u64) -> Option<Open> {
        let at = self.place(client, ticket)?;
        (at < self.open.len()).then(|| self.open.swap_remove(at))
    }

    /// Whether a client holds a ticket that is good.
    pub(super) fn holds(&self, client: u32, ticket: u64) -> bool {
        self.place(client, ticket).is_some()
    }

    /// Drops the tickets of a client.
    pub(super) fn close(&mut self, client: u32) {
        self.open.retain(|o| o.client != client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ticket_of_a_path_is_good() {
        let mut t = Tickets::new();
        let (a, b) = (t.begin(1, b"").unwrap(), t.begin(2, b"foo").unwrap());
        assert_eq!(t.append(1, a, 0, b"abc"), Ok(3));
        assert_eq!(t.append(1, a, 2, b"x"), Err(Why::Offset(3)));
        assert_eq!(t.append(2, a, 3, b"x"), Err(Why::Busy), "another's");
        let c = t.begin(2, b"").unwrap();
        assert_eq!(t.append(1, a, 3, b"x"), Err(Why::Busy), "overtaken");
        assert!(t.holds(2, b) && t.holds(2, c));
        assert_eq!(t.take(2, b).map(|o| o.path), Some(b"foo".to_vec()));
        assert!(t.take(2, b).is_none(), "used up");
        t.close(2);
        assert!(!t.holds(2, c));
    }

    #[test]
    fn tickets_are_few() {
        let mut t = Tickets::new();
        for n in 0..MAX_TICKETS {
            t.begin(1, &[u8::try_from(n).unwrap()]).unwrap();
        }
        assert_eq!(t.begin(1, b"one more"), Err(Why::Full));
        assert!(t.begin(1, &[3]).is_ok(), "in the place of an old one");
        assert!(t.begin(2, b"another's").is_ok());
    }
}
