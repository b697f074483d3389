//! What only the kernel can do: packet sockets, TAP, classifier programs, signals, waiting.
//!
//! The one module of pfd with unsafe code: each function is one system call with its arguments laid out, and gives
//! owned descriptors and plain errors.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::from_ref;

use pfdriver::edge::offload::VNET;

/// Frames of one system call at most.
pub(crate) const BATCH: usize = 32;

/// `VIRTIO_NET_HDR` in front of every frame of a packet socket.
const PACKET_VNET_HDR: c_int = 15;
const PACKET_IGNORE_OUTGOING: c_int = 23;
/// The auxiliary data hold a VLAN tag, and its kind.
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
const ETH_P_ALL: u16 = 3;
const ETH_P_8021Q: u16 = 0x8100;

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETPERSIST: libc::c_ulong = 0x4004_54cb;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const TUNSETCARRIER: libc::c_ulong = 0x4004_54e2;
/// Checksum, TSO of both families with ECN, UDP segmentation of both families.
const TUN_OFFLOADS: [libc::c_ulong; 2] = [0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40, 0x01 | 0x02 | 0x04 | 0x08];

/// The result of a call that gives -1 and `errno`.
fn checked(done: c_int) -> io::Result<c_int> {
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

fn owned(fd: c_int) -> io::Result<OwnedFd> {
    let fd = checked(fd)?;
    // SAFETY: the kernel just gave this descriptor to this process and nobody else holds it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The length of a structure as the kernel wants it.
fn length<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

fn set<T>(fd: &OwnedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let at = from_ref(value).cast();
    // SAFETY: `value` is a live plain structure of the length given.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, at, length::<T>()) };
    checked(done).map(drop)
}

/// A packet socket of one interface, with `virtio_net_hdr` both ways. Frames this host sends are not shown, and what it
/// sends carries `mark`.
pub(crate) fn packet_socket(index: u32, promiscuous: bool, mark: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // Protocol 0: a socket with one would take frames of every interface until it is bound.
    // SAFETY: no pointers.
    let fd = owned(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    let one: c_int = 1;
    set(&fd, libc::SOL_PACKET, PACKET_VNET_HDR, &one)?;
    set(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &one)?;
    set(&fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &one)?;
    set(&fd, libc::SOL_SOCKET, libc::SO_MARK, &mark)?;
    let room: c_int = 32 << 20;
    set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &room)?;
    set(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &room)?;
    let kind = if promiscuous { libc::PACKET_MR_PROMISC } else { libc::PACKET_MR_ALLMULTI };
    let membership = libc::packet_mreq {
        mr_ifindex: c_int::try_from(index).unwrap_or(0),
        mr_type: u16::try_from(kind).unwrap_or(0),
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set(&fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)?;
    bind_packet(&fd, index)?;
    Ok(fd)
}

/// Binds a packet socket to an interface, for all protocols; also again, after the interface came back.
pub(crate) fn bind_packet(fd: &OwnedFd, index: u32) -> io::Result<()> {
    // SAFETY: a structure of integers, for which zeros are a value.
    let mut to: libc::sockaddr_ll = unsafe { zeroed() };
    to.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or(0);
    to.sll_protocol = ETH_P_ALL.to_be();
    to.sll_ifindex = c_int::try_from(index).unwrap_or(0);
    // SAFETY: `to` is a live address of the length given.
    let done = unsafe { libc::bind(fd.as_raw_fd(), (&raw const to).cast(), length::<libc::sockaddr_ll>()) };
    checked(done).map(drop)
}

/// Frames the kernel dropped since the last question, because nobody fetched them.
pub(crate) fn packet_drops(fd: &OwnedFd) -> u32 {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = length::<libc::tpacket_stats>();
    let at = (&raw mut stats).cast();
    // SAFETY: `stats` is a live structure of `len` bytes.
    let done = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, at, &raw mut len) };
    if done == 0 { stats.tp_drops } else { 0 }
}

/// A frame received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    /// Its length.
    pub(crate) len: usize,
    /// Its `virtio_net_hdr`.
    pub(crate) vnet: [u8; VNET],
    /// The VLAN tag the kernel took out of it: kind and control.
    pub(crate) tag: Option<(u16, u16)>,
    /// It was longer than the room.
    pub(crate) cut: bool,
}

/// Room for one control message, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Receives frames, each into its room; how many.
pub(crate) fn receive(fd: &OwnedFd, rooms: &mut [&mut [u8]], got: &mut [Received]) -> io::Result<usize> {
    let n = rooms.len().min(got.len()).min(BATCH);
    let mut vnet = [[0_u8; VNET]; BATCH];
    let mut control = [Control([0; 64]); BATCH];
    // SAFETY: structures of integers and pointers, for which zeros are a value.
    let mut parts: [[libc::iovec; 2]; BATCH] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
    for i in 0..n {
        parts[i][0] = libc::iovec { iov_base: vnet[i].as_mut_ptr().cast(), iov_len: VNET };
        parts[i][1] = libc::iovec { iov_base: rooms[i].as_mut_ptr().cast(), iov_len: rooms[i].len() };
        let m = &mut messages[i].msg_hdr;
        m.msg_iov = parts[i].as_mut_ptr();
        m.msg_iovlen = 2;
        m.msg_control = control[i].0.as_mut_ptr().cast();
        m.msg_controllen = 64;
    }
    let count = u32::try_from(n).unwrap_or(0);
    let flags = libc::MSG_DONTWAIT;
    // SAFETY: the first `n` messages point to live buffers of the lengths given, all borrowed until here returns.
    let done = unsafe { libc::recvmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), count, flags, std::ptr::null_mut()) };
    let done = usize::try_from(checked(done)?).unwrap_or(0);
    for i in 0..done {
        let len = usize::try_from(messages[i].msg_len).unwrap_or(0);
        got[i] = Received {
            len: len.saturating_sub(VNET),
            vnet: vnet[i],
            tag: tag_of(&control[i].0, messages[i].msg_hdr.msg_controllen),
            cut: messages[i].msg_hdr.msg_flags & libc::MSG_TRUNC != 0 || len < VNET,
        };
    }
    Ok(done)
}

/// The VLAN tag in auxiliary data (`struct cmsghdr`, `struct tpacket_auxdata`).
fn tag_of(control: &[u8; 64], len: usize) -> Option<(u16, u16)> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let data = control.get(HEADER..len.min(64)).filter(|d| d.len() >= 20)?;
    let kind = control.get(12..16)?.try_into().ok().map(c_int::from_ne_bytes)?;
    let word = |at: usize| data.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes);
    let status = data.get(..4)?.try_into().ok().map(u32::from_ne_bytes)?;
    if kind != libc::PACKET_AUXDATA || status & TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let tpid = if status & TP_STATUS_VLAN_TPID_VALID != 0 { word(18) } else { ETH_P_8021Q };
    Some((tpid, word(16)))
}

/// A frame to be sent: its `virtio_net_hdr` and its bytes.
pub(crate) type Sending<'f> = ([u8; VNET], &'f [u8]);

/// Sends frames in order; how many went.
pub(crate) fn send(fd: &OwnedFd, frames: &[Sending<'_>]) -> io::Result<usize> {
    let n = frames.len().min(BATCH);
    // SAFETY: structures of integers and pointers, for which zeros are a value.
    let mut parts: [[libc::iovec; 2]; BATCH] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
    for (i, (vnet, bytes)) in frames.iter().take(n).enumerate() {
        parts[i][0] = libc::iovec { iov_base: vnet.as_ptr().cast_mut().cast(), iov_len: VNET };
        parts[i][1] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        messages[i].msg_hdr.msg_iov = parts[i].as_mut_ptr();
        messages[i].msg_hdr.msg_iovlen = 2;
    }
    let count = u32::try_from(n).unwrap_or(0);
    // SAFETY: the first `n` messages point to live buffers of the lengths given, which the kernel only reads.
    let done = unsafe { libc::sendmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
    checked(done).map(|n| usize::try_from(n).unwrap_or(0))
}

/// Opens or takes over the TAP of a name, with `virtio_net_hdr` and whole frames.
pub(crate) fn tap(name: &str) -> io::Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: a structure of integers, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap_or(0);
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which is live.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) })?;
    let size = c_int::try_from(VNET).unwrap_or(10);
    // SAFETY: TUNSETVNETHDRSZ reads one `int`, which is live.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETVNETHDRSZ, &raw const size) })?;
    let mut last = Ok(());
    for offloads in TUN_OFFLOADS {
        // SAFETY: TUNSETOFFLOAD takes a number.
        last = checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD, offloads) }).map(drop);
        if last.is_ok() {
            break;
        }
    }
    last?;
    nonblocking(file.as_raw_fd())?;
    Ok(file)
}

/// Whether a TAP stays when nobody holds it.
pub(crate) fn persist(tap: &File, yes: bool) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST takes a number.
    checked(unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETPERSIST, libc::c_ulong::from(yes)) }).map(drop)
}

/// Shows the adapter's carrier at the TAP.
pub(crate) fn set_carrier(tap: &File, on: bool) -> io::Result<()> {
    let on = c_int::from(on);
    // SAFETY: TUNSETCARRIER reads one `int`, which is live.
    checked(unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETCARRIER, &raw const on) }).map(drop)
}

fn nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    let flags = checked(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: no pointers.
    checked(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// Waits until one of the descriptors can be read or the time is over; which can, by position.
pub(crate) fn wait(fds: &[BorrowedFd<'_>], timeout_ms: c_int, ready: &mut Vec<bool>) -> io::Result<()> {
    let mut list: Vec<libc::pollfd> =
        fds.iter().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    let count = libc::nfds_t::try_from(list.len()).unwrap_or(0);
    // SAFETY: `list` is a live array of `count` entries.
    checked(unsafe { libc::poll(list.as_mut_ptr(), count, timeout_ms) })?;
    ready.clear();
    ready.extend(list.iter().map(|p| p.revents != 0));
    Ok(())
}

/// Waits until a descriptor can be written or the time is over.
pub(crate) fn wait_writable(fd: BorrowedFd<'_>, timeout_ms: c_int) -> io::Result<bool> {
    let mut one = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: `one` is a live array of one entry.
    checked(unsafe { libc::poll(&raw mut one, 1, timeout_ms) }).map(|n| n > 0 && one.revents & libc::POLLOUT != 0)
}

/// Blocks the signals in this thread and those it starts, and gives a descriptor that reads them.
pub(crate) fn signals(which: &[c_int]) -> io::Result<File> {
    // SAFETY: a set of bits, for which zeros are a value.
    let mut set: libc::sigset_t = unsafe { zeroed() };
    // SAFETY: `set` is live.
    checked(unsafe { libc::sigemptyset(&raw mut set) })?;
    for signal in which {
        // SAFETY: `set` is live.
        checked(unsafe { libc::sigaddset(&raw mut set, *signal) })?;
    }
    // SAFETY: `set` is live and the old mask is not asked for.
    let done = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if done != 0 {
        return Err(io::Error::from_raw_os_error(done));
    }
    // SAFETY: `set` is live.
    let fd = owned(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) })?;
    Ok(File::from(fd))
}

/// A descriptor that others make readable by writing eight bytes to it.
pub(crate) fn wakener() -> io::Result<File> {
    // SAFETY: no pointers.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(File::from)
}

/// Loads a classifier program.
pub(crate) fn classifier(code: &[u64]) -> io::Result<OwnedFd> {
    const PROG_LOAD: c_int = 5;
    const SCHED_CLS: u64 = 3;
    let licence = c"ISC";
    let mut attr = [0_u64; 16];
    attr[0] = SCHED_CLS | u64::try_from(code.len()).unwrap_or(0) << 32;
    attr[1] = u64::try_from(code.as_ptr().addr()).unwrap_or(0);
    attr[2] = u64::try_from(licence.as_ptr().addr()).unwrap_or(0);
    let size = size_of::<[u64; 16]>();
    // SAFETY: `attr` is live for `size` bytes and the addresses in it are of live buffers, all only read.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, attr.as_ptr(), size) };
    owned(c_int::try_from(fd).unwrap_or(-1))
}

/// Milliseconds since the machine started, by the coarse clock.
pub(crate) fn uptime_ms() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is live.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut t) };
    let (s, ns) = (u64::try_from(t.tv_sec).unwrap_or(0), u64::try_from(t.tv_nsec).unwrap_or(0));
    s.saturating_mul(1000).saturating_add(ns / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(kind: c_int, status: u32, tci: u16, tpid: u16) -> [u8; 64] {
        let mut c = [0; 64];
        c[..8].copy_from_slice(&36_u64.to_ne_bytes());
        c[8..12].copy_from_slice(&libc::SOL_PACKET.to_ne_bytes());
        c[12..16].copy_from_slice(&kind.to_ne_bytes());
        c[16..20].copy_from_slice(&status.to_ne_bytes());
        c[32..34].copy_from_slice(&tci.to_ne_bytes());
        c[34..36].copy_from_slice(&tpid.to_ne_bytes());
        c
    }

    #[test]
    fn tags_are_found_in_auxiliary_data() {
        let c = control(libc::PACKET_AUXDATA, 1 << 4 | 1 << 6, 0x6005, 0x88a8);
        assert_eq!(tag_of(&c, 36), Some((0x88a8, 0x6005)));
        assert_eq!(tag_of(&c, 16), None);
        assert_eq!(tag_of(&control(libc::PACKET_AUXDATA, 1 << 4, 5, 0), 40), Some((0x8100, 5)));
        assert_eq!(tag_of(&control(libc::PACKET_AUXDATA, 1, 5, 0), 40), None);
        assert_eq!(tag_of(&control(99, 1 << 4, 5, 0), 40), None);
    }

    #[test]
    fn a_wakener_wakes() {
        use std::io::Write;
        use std::os::fd::AsFd;
        let mut w = wakener().unwrap();
        let mut ready = Vec::new();
        wait(&[w.as_fd()], 0, &mut ready).unwrap();
        assert_eq!(ready, [false]);
        w.write_all(&1_u64.to_ne_bytes()).unwrap();
        wait(&[w.as_fd()], 0, &mut ready).unwrap();
        assert_eq!(ready, [true]);
        assert!(uptime_ms() > 0);
    }
}
