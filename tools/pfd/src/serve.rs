//! The control socket: one thread, many peers.
//!
//! Each message is a length of four bytes, little-endian, and so many bytes of `pfvm::api`. A peer is read from only when
//! its last answer has gone out, so it holds no more than one message and one answer of ours. A peer without rights is
//! told so and let go.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use pfdriver::control::Control;
use pfdriver::lock::Lock;
use pfvm::api::{Code, MAX_MESSAGE, Refusal, refuse};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::peer::Peers;
use crate::unix::Shared;

/// Milliseconds the thread sleeps at most: what is due once a second is looked for so often.
const SLEEP: i64 = 250;
/// Bytes of a length.
const LENGTH: usize = 4;
/// Bytes read at a time.
const PIECE: usize = 16 * 1024;

/// A connection.
struct Peer {
    stream: UnixStream,
    client: u32,
    /// What has come of a message, length first.
    coming: Vec<u8>,
    /// What is left of an answer.
    going: Vec<u8>,
    /// It goes when the answer is out.
    last: bool,
}

/// The socket and those connected to it.
pub(crate) struct Server {
    path: PathBuf,
    listener: UnixListener,
    control: Control,
    peers: Peers,
    connected: BTreeMap<u32, Peer>,
    reply: Vec<u8>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever removed it before has done our work.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Binds the socket, in the place of one nobody listens on any more.
fn bind(path: &Path) -> Result<UnixListener, String> {
    let say = |e: std::io::Error| format!("{}: {e}", path.display());
    if UnixStream::connect(path).is_ok() {
        return Err(format!("{}: another filter listens there", path.display()));
    }
    let stale = std::fs::symlink_metadata(path).is_ok_and(|m| {
        use std::os::unix::fs::FileTypeExt;
        m.file_type().is_socket()
    });
    if stale {
        std::fs::remove_file(path).map_err(say)?;
    }
    let listener = UnixListener::bind(path).map_err(say)?;
    // Everybody may connect: what they may ask their credentials say.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(say)?;
    listener.set_nonblocking(true).map_err(say)?;
    Ok(listener)
}

impl Server {
    /// Listens.
    pub(crate) fn new(path: &Path, control: Control, peers: Peers) -> Result<Self, String> {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // With fewer descriptors there are fewer peers.
        let _ = setrlimit(Resource::Nofile, limit);
        let listener = bind(path)?;
        let connected = BTreeMap::new();
        Ok(Self { path: path.to_owned(), listener, control, peers, connected, reply: vec![0; MAX_MESSAGE] })
    }

    /// Answers until a signal comes.
    pub(crate) fn run(&mut self, filter: &Shared, stop: &File) -> Result<(), String> {
        let sleep = Timespec { tv_sec: 0, tv_nsec: SLEEP * 1_000_000 };
        loop {
            let (stopped, new, ready) = self.wait(stop, &sleep)?;
            if stopped {
                return Ok(());
            }
            for client in ready {
                self.serve(client, filter);
            }
            if new {
                self.accept();
            }
            filter.with(|f| f.tick());
        }
    }

    /// Waits for something to do: the end, a connection, peers that can be read from or written to.
    fn wait(&self, stop: &File, sleep: &Timespec) -> Result<(bool, bool, Vec<u32>), String> {
        let mut fds = vec![
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN),
        ];
        fds.extend(self.connected.values().map(|p| {
            let what = if p.going.is_empty() { PollFlags::IN } else { PollFlags::OUT };
            PollFd::from_borrowed_fd(p.stream.as_fd(), what)
        }));
        match poll(&mut fds, Some(sleep)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(format!("poll: {why}")),
        }
        let mut happened = fds.iter().map(|fd| !fd.revents().is_empty());
        let (stopped, new) = (happened.next() == Some(true), happened.next() == Some(true));
        let ready = self.connected.keys().zip(happened).filter(|(_, yes)| *yes).map(|(client, _)| *client);
        Ok((stopped, new, ready.collect()))
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let (rights, by) = self.peers.of(&stream);
            let mut peer = Peer { stream, client: 0, coming: Vec::new(), going: Vec::new(), last: false };
            match self.control.open(rights, by) {
                Ok(client) => {
                    peer.client = client;
                    self.connected.insert(client, peer);
                }
                Err(why) => {
                    // One write into an empty socket; if it does not fit, the end says it.
                    let len = refuse(&why, &mut self.reply);
                    let _ = peer.stream.write_all(&framed(&self.reply[..len]));
                }
            }
        }
    }

    /// Takes a peer as far as it goes without waiting.
    fn serve(&mut self, client: u32, filter: &Shared) {
        let Some(mut peer) = self.connected.remove(&client) else { return };
        if self.advance(&mut peer, filter).is_ok() {
            self.connected.insert(client, peer);
        } else {
            self.control.close(client);
        }
    }

    fn advance(&mut self, peer: &mut Peer, filter: &Shared) -> std::io::Result<()> {
        flush(peer)?;
        if !peer.going.is_empty() {
            return Ok(());
        }
        if peer.last {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        let mut piece = [0; PIECE];
        match peer.stream.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => peer.coming.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock || e.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e),
        }
        while peer.going.is_empty() && !peer.last && self.answer(peer, filter) {
            flush(peer)?;
        }
        // Who is let go need not say anything more for it.
        if peer.last && peer.going.is_empty() { Err(ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Answers one message, if one is there.
    fn answer(&mut self, peer: &mut Peer, filter: &Shared) -> bool {
        let Some((length, rest)) = peer.coming.split_first_chunk::<LENGTH>() else { return false };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE {
            let long = Refusal::new(Code::TooLong, "the message is too long");
            let len = refuse(&long, &mut self.reply);
            peer.going = framed(&self.reply[..len]);
            peer.last = true;
            return true;
        }
        let Some(message) = rest.get(..length) else { return false };
        let len = self.control.handle(peer.client, message, &mut self.reply, filter);
        peer.going = framed(&self.reply[..len]);
        peer.coming.drain(..LENGTH + length);
        peer.last = !self.control.may_ask(peer.client);
        true
    }
}

/// An answer with its length in front.
fn framed(reply: &[u8]) -> Vec<u8> {
    let length = u32::try_from(reply.len()).unwrap_or(0);
    let mut out = Vec::with_capacity(LENGTH + reply.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(reply);
    out
}

/// Writes what can be written.
fn flush(peer: &mut Peer) -> std::io::Result<()> {
    while !peer.going.is_empty() {
        match peer.stream.write(&peer.going) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => drop(peer.going.drain(..n)),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
