//! A pfd of a test's own on a socket of its own, and bare connections to it: bytes as they cross the line.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pfvm::api::{API_VERSION, Code, MAX_CHUNK, MAX_MESSAGE, Request, Ticket, Welcome, decode, encode, read_reply};
use serde::Deserialize;
use tempfile::TempDir;

use crate::shared::project;

/// How long anything may take that must come, on a machine that has much else to do. Nobody waits longer than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A running pfd that takes its facts from a file; it needs no rights. It ends with this.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    folder: TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds.
///
/// # Panics
/// When it does not in two minutes.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Daemon {
    /// Starts `program` with more options.
    ///
    /// # Panics
    /// When it does not start to listen.
    #[must_use]
    pub fn start(program: &Path, options: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut pfd = Command::new(program);
        pfd.arg("-p").arg(folder.path().join("pf")).arg("--host-facts").arg(project("tests/facts/openbsd.toml"));
        let child = pfd.args(options).stdout(Stdio::null()).spawn().expect("pfd starts");
        let mut daemon = Self { child, folder };
        until("pfd listens", || {
            assert!(daemon.runs(), "pfd has ended");
            UnixStream::connect(daemon.socket()).is_ok()
        });
        daemon
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("pf")
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal by name and waits for its end; its exit status.
    ///
    /// # Panics
    /// When it goes on.
    pub fn ends_by(&mut self, signal: &str) -> Option<i32> {
        let _ = Command::new("kill").args([format!("-{signal}"), self.pid().to_string()]).status();
        until("pfd ends", || !self.runs());
        self.child.wait().ok().and_then(|s| s.code())
    }

    /// A connection that has said nothing.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn connect(&self) -> Wire {
        let stream = UnixStream::connect(self.socket()).expect("pfd takes connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Wire(stream)
    }

    /// A connection after its greeting.
    ///
    /// # Panics
    /// When that is refused.
    #[must_use]
    pub fn greet(&self) -> Wire {
        let mut wire = self.connect();
        wire.ask::<Welcome>(&Request::Hello { version: API_VERSION }).expect("a welcome");
        wire
    }
}

/// A connection.
#[derive(Debug)]
pub struct Wire(pub UnixStream);

/// A request as it crosses the line, its length in front.
///
/// # Panics
/// When it is too long for a message.
#[must_use]
pub fn framed(request: &Request<'_>) -> Vec<u8> {
    let mut room = vec![0; MAX_MESSAGE];
    let len = encode(request, &mut room).expect("a request fits");
    [&u32::try_from(len).unwrap_or(0).to_le_bytes()[..], &room[..len]].concat()
}

impl Wire {
    /// Sends bytes, whatever they are; whether they went.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// The next answer's bytes; nothing when the other side has closed.
    ///
    /// # Panics
    /// When it is longer than a message, or does not come.
    pub fn answer(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer in time"),
            Err(_) => return None,
        }
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        assert!(length <= MAX_MESSAGE, "an answer of {length} bytes");
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).ok().map(|()| bytes)
    }

    /// The refusal that is answered to bytes.
    ///
    /// # Panics
    /// When the answer is none.
    pub fn refused(&mut self, bytes: &[u8]) -> (Code, String) {
        assert!(self.send(bytes), "the bytes go");
        let answer = self.answer().expect("an answer");
        let no = read_reply(&answer).expect("well formed").expect_err("a refusal");
        (no.code, no.to_string())
    }

    /// Asks for one record.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// When the answer is malformed or another.
    pub fn ask<T: for<'a> Deserialize<'a>>(&mut self, request: &Request<'_>) -> Result<T, (Code, String)> {
        assert!(self.send(&framed(request)), "the request goes");
        let answer = self.answer().expect("an answer");
        let body = read_reply(&answer).expect("well formed").map_err(|no| (no.code, no.to_string()))?;
        Ok(decode(body).expect("a record of the right form"))
    }

    /// Uploads bytes for a path; the ticket.
    ///
    /// # Panics
    /// When a piece is refused.
    pub fn upload(&mut self, path: &str, bytes: &[u8]) -> u64 {
        let ticket = self.ask::<Ticket>(&Request::Begin { path }).expect("a ticket").number;
        let mut offset = 0;
        for piece in bytes.chunks(MAX_CHUNK) {
            self.ask::<pfvm::api::Changed>(&Request::Upload { ticket, offset, bytes: piece }).expect("a place");
            offset += u32::try_from(piece.len()).unwrap_or(0);
        }
        ticket
    }
}
