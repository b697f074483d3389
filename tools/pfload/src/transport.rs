//! The way to a filter: one message there, one back.
//!
//! Holds [`Transport`], which is a Unix socket with lengths before messages where pfd listens, and on Windows a handle of
//! the driver's device, whose requests keep messages apart by themselves. What messages mean is
//! [`Link`](crate::link::Link)'s.
//!
//! **Invariant:** no answer takes more than [`MAX_MESSAGE`] bytes.

use std::io;
use std::time::Duration;

use pfvm::api::MAX_MESSAGE;

/// Where the filter is unless it was told otherwise.
#[cfg(not(windows))]
pub(crate) const DEVICE: &str = "/run/pf/control";
/// Where the filter is unless it was told otherwise.
#[cfg(windows)]
pub(crate) const DEVICE: &str = r"\\.\PlanB";

/// What to do when nobody is there, in one line.
#[cfg(not(windows))]
pub(crate) const ABSENT: &str =
    "no filter answers there: start pfd, or name its socket with -p (`pfload doctor` looks further)";
/// What to do when nobody is there, in one line.
#[cfg(windows)]
pub(crate) const ABSENT: &str = "no driver answers there: install it with install.ps1, or start it with `sc.exe start planb` (`pfload doctor` looks further)";

/// A connection to a filter.
#[derive(Debug)]
pub(crate) struct Transport(Way);

#[cfg(unix)]
type Way = std::os::unix::net::UnixStream;
#[cfg(windows)]
type Way = pfwin::sys::Device;

/// The device's code for messages that may change things: `CTL_CODE(FILE_DEVICE_NETWORK, 0x802, METHOD_BUFFERED,
/// FILE_READ_ACCESS | FILE_WRITE_ACCESS)`, as the driver has it.
#[cfg(windows)]
const TELL: u32 = 0x0012_E008;
/// The device's code for a request for log records that waits until there is one (`0x803`, `FILE_READ_ACCESS`).
#[cfg(windows)]
const WAIT: u32 = 0x0012_600C;

/// Between two looks at a log, where the filter answers at once.
const PAUSE: Duration = Duration::from_millis(200);

#[cfg(unix)]
impl Transport {
    /// Opens the way.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open(device: &str) -> io::Result<Self> {
        Way::connect(device).map(Self)
    }

    /// Sends a message and puts what comes back into `reply`.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::InvalidData`] for an answer that is too long.
    pub(crate) fn exchange(&mut self, message: &[u8], reply: &mut Vec<u8>) -> io::Result<()> {
        use std::io::{Read, Write};
        let prefix = u32::try_from(message.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.0.write_all(&prefix)?;
        self.0.write_all(message)?;
        let mut prefix = [0; 4];
        self.0.read_exact(&mut prefix)?;
        let len = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
        if len > MAX_MESSAGE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is too long"));
        }
        reply.resize(len, 0);
        self.0.read_exact(reply)
    }

    /// Sends a request for log records when there were none a moment ago. What comes back may have none again.
    ///
    /// # Errors
    /// As [`Self::exchange`].
    pub(crate) fn follow(&mut self, message: &[u8], reply: &mut Vec<u8>) -> io::Result<()> {
        std::thread::sleep(PAUSE);
        self.exchange(message, reply)
    }
}

#[cfg(windows)]
impl Transport {
    /// Opens the way.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open(device: &str) -> io::Result<Self> {
        Way::open(device).map(Self)
    }

    /// Sends a message and puts what comes back into `reply`.
    ///
    /// # Errors
    /// The system's, or the driver's.
    pub(crate) fn exchange(&mut self, message: &[u8], reply: &mut Vec<u8>) -> io::Result<()> {
        self.request(TELL, message, reply)
    }

    /// Sends a request for log records when there were none a moment ago: it waits in the driver until there is one. A
    /// program that ends meanwhile (Ctrl-C) takes it back: the system does when the handle goes.
    ///
    /// # Errors
    /// As [`Self::exchange`].
    pub(crate) fn follow(&mut self, message: &[u8], reply: &mut Vec<u8>) -> io::Result<()> {
        match self.request(WAIT, message, reply) {
            // As many wait as may: look now and then.
            Err(why) if pfwin::sys::is_out_of_resources(&why) => {
                std::thread::sleep(PAUSE);
                self.exchange(message, reply)
            }
            done => done,
        }
    }

    fn request(&mut self, code: u32, message: &[u8], reply: &mut Vec<u8>) -> io::Result<()> {
        reply.resize(MAX_MESSAGE, 0);
        let length = self.0.request(code, message, reply)?;
        reply.truncate(length);
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn messages_are_framed_and_bounded() {
        let (ours, mut theirs) = Way::pair().unwrap();
        let mut transport = Transport(ours);
        let other = std::thread::spawn(move || {
            let mut asked = [0; 7];
            theirs.read_exact(&mut asked).unwrap();
            assert_eq!(asked, *b"\x03\0\0\0abc");
            theirs.write_all(b"\x02\0\0\0ok").unwrap();
            let mut again = [0; 5];
            theirs.read_exact(&mut again).unwrap();
            let long = u32::try_from(MAX_MESSAGE + 1).unwrap();
            theirs.write_all(&long.to_le_bytes()).unwrap();
        });
        let mut reply = Vec::new();
        transport.exchange(b"abc", &mut reply).unwrap();
        assert_eq!(reply, b"ok");
        assert_eq!(transport.exchange(b"x", &mut reply).unwrap_err().kind(), io::ErrorKind::InvalidData);
        other.join().unwrap();
    }
}
