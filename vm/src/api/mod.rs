//! What crosses the line between a filter and those who control it: requests, replies, refusals.
//!
//! One message is one request or one reply, at most [`MAX_MESSAGE`] bytes of postcard. The same bytes go over a Unix
//! socket (a `u32` length, little-endian, before each) and through a device (the buffer is the message).
//!
//! ```text
//! request   Request, and nothing behind it
//! reply     0, then one record                                            a single answer
//!           0, next u64, generation u64, total u32, rows u32, the rows    a page of a list
//!           1, then a Refusal                                             no
//! ```
//!
//! The numbers of a page are little-endian and of fixed width: rows are written one by one behind them, as many as fit.
//! `next` is the cursor of the next page, [`END`] when there is none; a list begins at cursor 0. Every request is
//! decoded in borrowed form; nothing here allocates.
//!
//! The first request of a connection is [`Request::Hello`]. It, [`Welcome`] and [`Refusal`] never change their form, so
//! that peers of different versions can tell each other so. New requests go to the end of the enumeration and raise
//! [`API_VERSION`].
//!
//! **Invariant:** what does not decode completely, or leaves bytes over, is refused before anything is done.
//! **Invariant:** the form of these records is held by golden bytes; whoever changes one raises the version.

mod code;
mod page;
mod refusal;
mod request;
mod row;
mod whole;

pub use code::{DecodeError, EncodeError, decode, decode_row, encode, encode_reply, read_reply, refuse};
pub use page::{END, Mark, PAGE_HEADER, Page, PageWriter};
pub use refusal::{Code, Refusal};
pub use request::{After, Key, Net, Request, Rights, SetOption, SourceFilter, StateFilter, TableOp, TableTouch};
pub use row::{
    AddressRow, Cells, FactRow, FeedbackRow, IfaceRow, PrintRow, RuleRow, RulesetRow, SourceRow, StateRow, TableRow,
    feedback,
};
pub use whole::{Changed, Counted, HostKind, HostReply, OptionsReply, SectionBytes, Status, Ticket, Welcome};

/// Version of the protocol.
pub const API_VERSION: u32 = 2;
/// Longest message, bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Most addresses of one table request: the answer to so many fits into a message.
pub const MAX_ADDRESSES: usize = 2048;
/// Most bytes of one [`Request::Upload`].
pub const MAX_CHUNK: usize = 60 * 1024;
/// Most tickets a client may hold, and so most images of one commit.
pub const MAX_TICKETS: usize = 64;
/// Longest name of an interface, table, tag or label, bytes.
pub const MAX_NAME: usize = 255;
/// Longest anchor path, bytes.
pub const MAX_PATH: usize = 1023;

#[cfg(test)]
mod tests;
