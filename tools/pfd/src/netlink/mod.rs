//! The host's links, addresses, routes and neighbours over rtnetlink.
//!
//! [`Route`] asks and sets, one request at a time; [`watch`] tells what changes. Only what pfd needs is taken apart;
//! what it merely puts back elsewhere stays the bytes the kernel gave ([`message`]).

pub(crate) mod link;
pub(crate) mod message;
pub(crate) mod table;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use message::{Message, View, messages, u32_at};

pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Bytes of one answer at most: the kernel fills no more than 32 KiB.
const ROOM: usize = 1 << 16;

/// A connection to rtnetlink.
pub(crate) struct Route {
    socket: Socket,
    sequence: u32,
}

impl Route {
    /// Connects.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_netlink_get_strict_chk(true).ok();
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends a request and waits until the kernel has done it.
    pub(crate) fn ask(&mut self, request: Message) -> io::Result<()> {
        self.exchange(request, |_| {})
    }

    /// Sends a request and hands on what comes back.
    pub(crate) fn exchange(&mut self, request: Message, mut each: impl FnMut(View<'_>)) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.finish(self.sequence);
        self.transfer(&bytes, &mut each)
    }

    /// Sends a message as it stands, under a new sequence number.
    pub(crate) fn replay(&mut self, message: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = message.to_vec();
        message::put_u32(&mut bytes, 8, self.sequence);
        message::put_u32(&mut bytes, 12, 0);
        self.transfer(&bytes, &mut |_| {})
    }

    fn transfer(&mut self, bytes: &[u8], each: &mut dyn FnMut(View<'_>)) -> io::Result<()> {
        self.socket.send(bytes, 0)?;
        let mut room: Vec<u8> = Vec::with_capacity(ROOM);
        loop {
            room.clear();
            match self.socket.recv(&mut room, 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            for view in messages(&room).filter(|v| v.sequence == self.sequence) {
                match view.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        return match u32_at(view.body, 0).map(u32::cast_signed) {
                            Some(0) => Ok(()),
                            Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                            None => Err(io::ErrorKind::InvalidData.into()),
                        };
                    }
                    _ => each(view),
                }
            }
        }
    }
}

/// A connection that is told of changes.
pub(crate) struct Watch {
    socket: Socket,
}

/// `RTNLGRP_*` of links, neighbours, addresses and routes of both families.
const GROUPS: [u32; 6] = [1, 3, 5, 7, 9, 11];

/// Follows links, neighbours, addresses and routes.
pub(crate) fn watch() -> io::Result<Watch> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    for group in GROUPS {
        socket.add_membership(group)?;
    }
    socket.set_rx_buf_sz(4 << 20).ok();
    socket.set_non_blocking(true)?;
    Ok(Watch { socket })
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Watch {
    /// Hands on what changed. `false` when the kernel had no room to tell everything: all is to be asked anew.
    pub(crate) fn read(&self, mut each: impl FnMut(View<'_>)) -> io::Result<bool> {
        let mut room: Vec<u8> = Vec::with_capacity(ROOM);
        loop {
            room.clear();
            match self.socket.recv(&mut room, 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => return Ok(false),
                other => other?,
            };
            messages(&room).for_each(&mut each);
        }
    }
}

/// The descriptor's number, for messages about it.
pub(crate) fn number(fd: &impl AsRawFd) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(0)
}
