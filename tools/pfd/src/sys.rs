//! What only the kernel can do: signals.
//!
//! The one module of pfd with unsafe code: each function is one system call with its arguments laid out, and gives
//! owned descriptors and plain errors.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::{FromRawFd, OwnedFd};

/// The result of a call that gives -1 and `errno`.
fn checked(done: c_int) -> io::Result<c_int> {
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

fn owned(fd: c_int) -> io::Result<OwnedFd> {
    let fd = checked(fd)?;
    // SAFETY: the kernel just gave this descriptor to this process and nobody else holds it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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
