//! Capture files: pcap and pcapng, read as a stream and written whole or not at all.
//!
//! Holds the reader of both formats ([`Reader`]), what lies under the IP packet ([`link`]) and the writer ([`Writer`]).
//! It reads on its own and not through a crate, for three reasons: an error must name the byte it was found at, times
//! must follow the interface's resolution, and memory must stay bounded whatever a file claims.
//! **Invariant:** memory is bounded by [`MAX_PACKET`], [`MAX_BLOCK`] and [`MAX_INTERFACES`], never by a file's size.
//! **Invariant:** no input makes the reader panic or loop; each step consumes input or ends.
//!
//! Sources: draft-ietf-opsawg-pcap-05, draft-ietf-opsawg-pcapng-03, the tcpdump.org list of link types.

mod classic;
pub mod link;
mod merge;
mod ng;
mod source;
mod write;

pub use link::LinkType;
pub use merge::{Frames, Merged};
pub use write::{Format, Writer};

use std::io::Read;

use pfvm::rule::Direction;
use source::Source;

/// Longest captured packet that is read, bytes (libpcap's own limit).
pub const MAX_PACKET: usize = 256 * 1024;
/// Longest pcapng block that is read, bytes; longer ones of a kind that carries no packet are skipped.
pub const MAX_BLOCK: usize = MAX_PACKET + 64 * 1024;
/// Most interfaces one section may describe.
pub const MAX_INTERFACES: usize = 4096;

/// Why a capture cannot be read on. Offsets count from the start of the file.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The system refused to read.
    #[error("reading failed at byte {offset}: {source}")]
    Io {
        /// Where.
        offset: u64,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither format.
    #[error("not a capture: it begins with {}, where a pcap or pcapng file has its magic number", hex(.found))]
    Magic {
        /// The first bytes.
        found: Vec<u8>,
    },
    /// No bytes at all.
    #[error("the file is empty: a capture begins with a header of at least 24 bytes")]
    Empty,
    /// The file ends inside a record.
    #[error("cut short at byte {end}: {what} begins at byte {offset} and needs {wanted} bytes, {have} are there")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where it begins.
        offset: u64,
        /// Bytes it needs.
        wanted: usize,
        /// Bytes the file has.
        have: usize,
        /// Where the file ends.
        end: u64,
    },
    /// A length or field that cannot be.
    #[error("malformed at byte {offset}: {what}")]
    Malformed {
        /// Where the record begins.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A link type whose frames are not understood.
    #[error("link type {link} at byte {offset} is not read; read are {}", link::known())]
    LinkType {
        /// Where it is named.
        offset: u64,
        /// The type.
        link: LinkType,
    },
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

/// An interface of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, where the file tells.
    pub name: Option<String>,
    /// What its frames are.
    pub link: LinkType,
    /// Captured at most this many bytes a packet; 0 is no limit.
    pub snaplen: u32,
    /// Length of one tick of a time stamp.
    resolution: Resolution,
    /// Seconds added to each time stamp.
    offset: i64,
}

impl Interface {
    /// An interface whose times count nanoseconds.
    #[must_use]
    pub fn new(name: Option<String>, link: LinkType) -> Self {
        Self { name, link, snaplen: 0, resolution: Resolution::Decimal(9), offset: 0 }
    }
}

/// Ticks of a time stamp: a second is `10^n` or `2^n` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    Decimal(u32),
    Binary(u32),
}

impl Resolution {
    /// `ticks` in nanoseconds, saturating.
    fn nanos(self, ticks: u64) -> u64 {
        let wide = match self {
            Self::Decimal(n) if n <= 9 => u128::from(ticks).saturating_mul(10u128.pow(9 - n)),
            Self::Decimal(n) => 10u128.checked_pow(n - 9).map_or(0, |by| u128::from(ticks) / by),
            Self::Binary(n) if n < 64 => u128::from(ticks) * 1_000_000_000 / (1u128 << n),
            Self::Binary(_) => 0,
        };
        u64::try_from(wide).unwrap_or(u64::MAX)
    }
}

/// One captured packet, as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Number in the file, from 1, as Wireshark counts.
    pub number: u64,
    /// Where its record begins.
    pub offset: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Index into [`Reader::interfaces`].
    pub interface: usize,
    /// Length on the wire; more than `data` holds when the capture was limited.
    pub wire_len: u32,
    /// Direction, where the record itself tells (pcapng flags).
    pub direction: Option<Direction>,
    /// The frame.
    pub data: &'a [u8],
}

/// A record without its bytes, which stay in the reader's buffer.
struct Head {
    offset: u64,
    time: u64,
    interface: usize,
    wire_len: u32,
    direction: Option<Direction>,
    /// Where the frame lies in the buffer.
    data: std::ops::Range<usize>,
}

enum Kind {
    Classic(classic::Header),
    Ng(ng::Section),
}

/// Reads a capture packet by packet, in constant memory.
pub struct Reader<R> {
    source: Source<R>,
    kind: Kind,
    interfaces: Vec<Interface>,
    buffer: Vec<u8>,
    count: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the file header.
    ///
    /// # Errors
    /// [`CaptureError::Magic`], [`CaptureError::Empty`], and what the header itself has wrong.
    pub fn new(input: R) -> Result<Self, CaptureError> {
        let mut source = Source::new(input);
        let mut buffer = Vec::new();
        let have = source.read_up_to(&mut buffer, 4)?;
        if have == 0 {
            return Err(CaptureError::Empty);
        }
        let magic: [u8; 4] = buffer.as_slice().try_into().map_err(|_| CaptureError::Magic { found: buffer.clone() })?;
        let mut interfaces = Vec::new();
        let kind = if magic == ng::SECTION_MAGIC {
            Kind::Ng(ng::section(&mut source, &mut buffer, 0)?)
        } else {
            let (header, interface) = classic::header(magic, &mut source, &mut buffer)?;
            interfaces.push(interface);
            Kind::Classic(header)
        };
        Ok(Self { source, kind, interfaces, buffer, count: 0 })
    }

    /// The interfaces described so far; those of a pcapng file arrive with its blocks.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Format of the file.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.kind {
            Kind::Classic(_) => Format::Pcap,
            Kind::Ng(_) => Format::PcapNg,
        }
    }

    /// Bytes consumed so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.source.offset()
    }

    /// The next packet, `None` at the end of the file.
    ///
    /// # Errors
    /// Whatever makes the rest of the file unreadable; reading on after an error yields nothing good.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        let head = match &mut self.kind {
            Kind::Classic(header) => classic::packet(header, &mut self.source, &mut self.buffer)?,
            Kind::Ng(section) => ng::packet(section, &mut self.source, &mut self.buffer, &mut self.interfaces)?,
        };
        let Some(head) = head else { return Ok(None) };
        self.count += 1;
        Ok(Some(Record {
            number: self.count,
            offset: head.offset,
            time: head.time,
            interface: head.interface,
            wire_len: head.wire_len,
            direction: head.direction,
            data: self.buffer.get(head.data).unwrap_or_default(),
        }))
    }
}

/// Integers of one byte order at given places of a slice; absent bytes read as zero, so lengths are checked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, from: &[u8], at: usize) -> u16 {
        let bytes = from.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        if self == Self::Big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(self, from: &[u8], at: usize) -> u32 {
        let bytes = from.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        if self == Self::Big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn u64(self, from: &[u8], at: usize) -> u64 {
        let bytes = from.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        if self == Self::Big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
    }
}

/// A length of the file as an index; what does not fit is too long for any buffer here.
fn length(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
