//! The connection to a filter: requests go in, records and rows come out.
//!
//! Holds [`Link`], one connection, opened with a `Hello`, and [`Trouble`], everything that can go wrong with it, in pfctl's
//! words where pfctl has any. How messages travel is [`Transport`]'s.
//!
//! **Invariant:** nothing the other side sends makes this side panic or take more than [`MAX_MESSAGE`] bytes a message.

use std::io;

use pfvm::api::{self, API_VERSION, END, MAX_MESSAGE, Page, Request, Rights, SectionBytes, Welcome};
use serde::Deserialize;

use crate::transport::Transport;

pub(crate) use crate::transport::DEVICE;

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The filter cannot be reached.
    Open {
        /// The device or socket.
        device: String,
        /// Why.
        why: io::Error,
    },
    /// The connection broke.
    Broken(io::Error),
    /// What came back makes no sense.
    Nonsense(&'static str),
    /// The filter said no.
    Refused {
        /// Kind.
        code: api::Code,
        /// In words, with the place.
        what: String,
    },
    /// Something on this side; a whole line without the program's name, empty when all has been said.
    Here(String),
    /// The command line asks for what cannot be: this line, if any, and the usage.
    Usage(String),
}

/// What a command comes to.
pub(crate) type Outcome<T = ()> = Result<T, Trouble>;

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Open { device, why } => write!(f, "{device}: {}", reason(why)),
            Trouble::Broken(why) if why.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the filter closed the connection")
            }
            Trouble::Broken(why) => write!(f, "the connection to the filter broke: {}", reason(why)),
            Trouble::Nonsense(what) => write!(f, "the filter answers what cannot be understood: {what}"),
            Trouble::Refused { code, what } if what.is_empty() => f.write_str(code.text()),
            Trouble::Refused { what, .. } => f.write_str(what),
            Trouble::Here(line) | Trouble::Usage(line) => f.write_str(line),
        }
    }
}

impl Trouble {
    /// Whether the filter refused for this reason.
    pub(crate) fn is(&self, code: api::Code) -> bool {
        matches!(self, Trouble::Refused { code: c, .. } if *c == code)
    }
}

/// The system's words for an error, without the number Rust adds.
pub(crate) fn reason(why: &io::Error) -> String {
    let text = why.to_string();
    match text.find(" (os error") {
        Some(at) => text.get(..at).unwrap_or(&text).to_owned(),
        None => text,
    }
}

/// A row of a list, for [`Link::each`].
pub(crate) trait Row {
    /// The record, borrowed from the message.
    type Of<'a>: Deserialize<'a>;
}

macro_rules! rows {
    ($($name:ident => $row:ty;)*) => { $(
        /// Rows of a list.
        pub(crate) struct $name;
        impl Row for $name { type Of<'a> = $row; }
    )* };
}
rows! {
    Rulesets => api::RulesetRow<'a>;
    Rules => api::RuleRow;
    Tables => api::TableRow<'a>;
    Feedback => api::FeedbackRow;
    Entries => api::AddressRow;
    States => api::StateRow<'a>;
    Sources => api::SourceRow<'a>;
    Ifaces => api::IfaceRow<'a>;
}

/// How a message is exchanged for its answer.
type Exchange = fn(&mut Transport, &[u8], &mut Vec<u8>) -> io::Result<()>;

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    way: Transport,
    out: Vec<u8>,
    reply: Vec<u8>,
    /// What the filter said of itself.
    pub welcome: Welcome,
}

impl Link {
    /// Connects and says hello.
    ///
    /// # Errors
    /// [`Trouble::Open`] when nobody is there, [`Trouble::Refused`] for another version or no rights.
    pub(crate) fn open(device: Option<&str>) -> Outcome<Self> {
        let device = device.unwrap_or(DEVICE);
        let way = Transport::open(device).map_err(|why| Trouble::Open { device: device.to_owned(), why })?;
        let welcome = Welcome { version: API_VERSION, rights: Rights::None, host: api::HostKind::Test, generation: 0 };
        let mut link = Link { way, out: vec![0; MAX_MESSAGE], reply: Vec::new(), welcome };
        link.welcome = match link.ask(&Request::Hello { version: API_VERSION }) {
            // As where the device itself may not be opened.
            Err(why) if why.is(api::Code::Denied) => {
                let why = io::Error::new(io::ErrorKind::PermissionDenied, "Permission denied");
                return Err(Trouble::Open { device: device.to_owned(), why });
            }
            answer => answer?,
        };
        if link.welcome.rights == Rights::None {
            let why = io::Error::new(io::ErrorKind::PermissionDenied, "Permission denied");
            return Err(Trouble::Open { device: device.to_owned(), why });
        }
        Ok(link)
    }

    /// Sends a request and gives what follows the first byte of the reply.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) fn send(&mut self, request: &Request<'_>) -> Outcome<&[u8]> {
        self.through(Transport::exchange, request)
    }

    /// As [`Self::send`], of a request for log records when there were none a moment ago: takes its time.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) fn follow(&mut self, request: &Request<'_>) -> Outcome<&[u8]> {
        self.through(Transport::follow, request)
    }

    fn through(&mut self, way: Exchange, request: &Request<'_>) -> Outcome<&[u8]> {
        let out = self.out.as_mut_slice();
        let len = api::encode(request, out).map_err(|_| Trouble::Here("the request is too long".into()))?;
        let message = out.get(..len).unwrap_or_default();
        match way(&mut self.way, message, &mut self.reply) {
            Err(why) if why.kind() == io::ErrorKind::InvalidData => {
                return Err(Trouble::Nonsense("a message that is too long"));
            }
            done => done.map_err(Trouble::Broken)?,
        }
        match api::read_reply(&self.reply) {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(refusal)) => Err(Trouble::Refused { code: refusal.code, what: refusal.to_string() }),
            Err(_) => Err(Trouble::Nonsense("a reply that does not decode")),
        }
    }

    /// A request that one record answers.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) fn ask<'a, T: Deserialize<'a>>(&'a mut self, request: &Request<'_>) -> Outcome<T> {
        let body = self.send(request)?;
        api::decode(body).map_err(|_| Trouble::Nonsense("a record of another form"))
    }

    /// A request that says how much has changed.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) fn change(&mut self, request: &Request<'_>) -> Outcome<u64> {
        Ok(self.ask::<api::Changed>(request)?.count)
    }

    /// All rows of a list, page by page. Gives the generation of the rules at the last page.
    ///
    /// # Errors
    /// [`Trouble`], and what `each` fails with.
    pub(crate) fn each<'q, R: Row>(
        &mut self,
        request: impl Fn(u64) -> Request<'q>,
        mut each: impl FnMut(R::Of<'_>) -> Outcome,
    ) -> Outcome<u64> {
        let mut cursor = 0;
        loop {
            let body = self.send(&request(cursor))?;
            let bad = |_| Trouble::Nonsense("a page that does not decode");
            let mut page = Page::read(body).map_err(bad)?;
            let rows = page.rows_left();
            while let Some(row) = page.row::<R::Of<'_>>().map_err(bad)? {
                each(row)?;
            }
            match page.next {
                END => return Ok(page.generation),
                next if next <= cursor || rows == 0 => return Err(Trouble::Nonsense("a list that does not go on")),
                next => cursor = next,
            }
        }
    }

    /// Bytes the filter keeps, piece by piece.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) fn bytes<'q>(&mut self, request: impl Fn(u32) -> Request<'q>) -> Outcome<Vec<u8>> {
        let mut all: Vec<u8> = Vec::new();
        let mut generation = None;
        loop {
            let offset = u32::try_from(all.len()).map_err(|_| Trouble::Nonsense("more bytes than can be"))?;
            let piece: SectionBytes<'_> = self.ask(&request(offset))?;
            if *generation.get_or_insert(piece.generation) != piece.generation {
                // Loaded anew in between: what has come is of another image.
                (generation, all) = (None, Vec::new());
                continue;
            }
            let (total, more) = (piece.total, piece.bytes.len());
            all.extend_from_slice(piece.bytes);
            if more == 0 || usize::try_from(total).is_ok_and(|total| all.len() >= total) {
                return Ok(all);
            }
        }
    }

    /// Uploads bytes for a path; gives the ticket.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) fn upload(&mut self, path: &str, bytes: &[u8]) -> Outcome<u64> {
        let ticket = self.ask::<api::Ticket>(&Request::Begin { path })?.number;
        let mut offset = 0u32;
        for chunk in bytes.chunks(api::MAX_CHUNK) {
            self.change(&Request::Upload { ticket, offset, bytes: chunk })?;
            offset = offset.saturating_add(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
        }
        Ok(ticket)
    }
}
