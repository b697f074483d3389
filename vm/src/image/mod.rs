//! The image (`.pfbin`): bytes → [`Image`].
//!
//! ```text
//! 0    8   magic 50 46 42 49 4e 0d 0a 1a
//! 8    2   format version                      all numbers little-endian
//! 10   2   instruction-set version
//! 12   4   number of sections
//! 16  32   SHA-256 of everything from byte 48 on
//! 48  8·n  directory: records u32, bytes u32, for each section in order
//! ..       the sections, in order, without gaps; then the end
//! ```
//!
//! What it promises: the input is read without trust. Every length, index and enumeration in a record is checked, no
//! byte is left over, nothing is allocated. An [`Image`] is well formed; whether its code may run is for
//! [`verify`](crate::verify) to say.
//!
//! Limits: an image is at most [`MAX_IMAGE`] bytes; a section has at most as many records as its row in
//! [`Section`] says; a name (of a table, interface, tag, queue, label) has at most [`MAX_NAME`] bytes, an anchor path
//! [`MAX_PATH`].
//!
//! **Invariant:** nothing else makes an [`Image`], and an [`Image`] never changes.

mod bytes;
mod check;
mod empty;
#[cfg(any(test, feature = "encode"))]
pub mod encode;
mod record;
mod section;

use crate::isa::ISA_VERSION;
use crate::rule::{IfaceId, Options, Pool, Rule, StrRef};
use sha2::{Digest, Sha256};

pub use bytes::Bulk;
pub use empty::empty;
pub use record::{
    Anchor, Axis, AxisKind, BitSet, Box4, BoxAttr, Dispatch, DynFlags, Entry, Interval, Pair, Print, Queue, Ruleset,
    Run, Search, Span, Table, TableFlags, TableKind,
};
pub use section::{Bulks, Records, SECTION_ROWS, SECTIONS, Section};

/// First bytes of every image.
pub const MAGIC: [u8; 8] = *b"PFBIN\r\n\x1a";
/// Version of the format.
pub const FORMAT_VERSION: u16 = 1;
/// Largest image, bytes.
pub const MAX_IMAGE: usize = 1 << 28;
/// Longest name, bytes.
pub const MAX_NAME: u32 = 255;
/// Longest anchor path, bytes.
pub const MAX_PATH: u32 = 1023;
/// Bytes before the directory.
const HEADER: usize = 48;
/// Bytes of a directory entry.
const ENTRY: usize = 8;

/// Where in an image something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The section.
    pub section: Section,
    /// The record, from 0.
    pub record: u32,
}

impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "section {}, record {}", self.section.name(), self.record)
    }
}

/// Why bytes are no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ImageError {
    /// Shorter than a header and a directory.
    #[error("an image has at least {wanted} bytes, this has {found}")]
    Truncated {
        /// Bytes there are.
        found: usize,
        /// Bytes needed.
        wanted: usize,
    },
    /// Longer than [`MAX_IMAGE`].
    #[error("an image has at most {MAX_IMAGE} bytes, this has {found}")]
    TooLarge {
        /// Bytes there are.
        found: usize,
    },
    /// Does not begin with [`MAGIC`].
    #[error("not a .pfbin image: wrong magic")]
    Magic,
    /// Another format.
    #[error("image format {found}, this reads {FORMAT_VERSION}")]
    Format {
        /// Version found.
        found: u16,
    },
    /// Another instruction set.
    #[error("instruction set {found}, this runs {ISA_VERSION}")]
    Isa {
        /// Version found.
        found: u16,
    },
    /// Not as many sections as the format has.
    #[error("{found} sections, the format has {SECTIONS}")]
    Sections {
        /// Number found.
        found: u32,
    },
    /// The digest is not that of the rest.
    #[error("the digest does not match: the image is damaged")]
    Digest,
    /// The sections do not end where the image ends.
    #[error("the sections end at byte {sum}, the image at {found}")]
    Length {
        /// Sum of header, directory and sections.
        sum: u64,
        /// Bytes there are.
        found: usize,
    },
    /// More records than the section may have.
    #[error("section {} has {count} records, the most is {}", section.name(), section.limit())]
    TooMany {
        /// The section.
        section: Section,
        /// Records it claims.
        count: u32,
    },
    /// The records do not fill the section exactly.
    #[error("section {}: {count} records do not fill {bytes} bytes", section.name())]
    Size {
        /// The section.
        section: Section,
        /// Records it claims.
        count: u32,
        /// Bytes it has.
        bytes: u32,
    },
    /// A record that does not decode.
    #[error("{place}: does not decode")]
    Record {
        /// Where.
        place: Place,
    },
    /// An index past the end of what it points into.
    #[error("{place}: names {what} {index} of {count}")]
    Index {
        /// Where.
        place: Place,
        /// Kind of thing named.
        what: &'static str,
        /// Number used; of a run, one past its end.
        index: u64,
        /// How many there are.
        count: u64,
    },
    /// A number that its field cannot have.
    #[error("{place}: {what} cannot be {value}")]
    Value {
        /// Where.
        place: Place,
        /// The field.
        what: &'static str,
        /// What it is.
        value: u64,
    },
    /// A text that is no text: past the end, not UTF-8, too long, or empty where it must not be.
    #[error("{place}: {what} is no valid text")]
    Text {
        /// Where.
        place: Place,
        /// The field.
        what: &'static str,
    },
}

/// One section as it lies in the bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Raw<'a> {
    count: u32,
    bytes: &'a [u8],
}

/// A well-formed image, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    sections: [Raw<'a>; SECTIONS],
    digest: [u8; 32],
    strings: &'a str,
}

/// Declares the typed view of each section.
macro_rules! views {
    (bulk { $($(#[$doc:meta])* $f:ident $section:ident $t:ty;)* } postcard { $($(#[$pdoc:meta])* $p:ident $psection:ident $pt:ty;)* }) => {
        impl<'a> Image<'a> {
            $($(#[$doc])* #[must_use] pub fn $f(&self) -> Bulks<'a, $t> { Bulks::new(self.raw(Section::$section).bytes) })*
            $($(#[$pdoc])* #[must_use] pub fn $p(&self) -> Records<'a, $pt> {
                let raw = self.raw(Section::$psection);
                Records::new(raw.bytes, raw.count)
            })*
        }
    };
}
views! {
    bulk {
    /// Words of the code.
    code Code u64;
    /// Words of the straight code.
    straight Straight u64;
    /// Initial contents of tables.
    entries Entries Entry;
    /// Interfaces of `set skip`, by number.
    skips Skips u32;
    /// Fingerprints.
    prints Prints Print;
    /// Address pairs.
    pairs Pairs Pair;
    /// Intervals of sets.
    intervals Intervals Interval;
    /// Sets of intervals.
    sets Sets Span;
    /// Cuts of 16 bits.
    cuts16 Cuts16 u16;
    /// Cuts of 32 bits.
    cuts32 Cuts32 u32;
    /// Cuts of 128 bits.
    cuts128 Cuts128 u128;
    /// Searches.
    searches Searches Search;
    /// Dispatch targets.
    targets Targets u32;
    /// Dispatch tables.
    dispatches Dispatches Dispatch;
    /// Boxes.
    boxes Boxes Box4;
    /// Leaves.
    leaves Leaves Span;
    /// Axes.
    axes Axes Axis;
    /// Rows of axes.
    rows Rows u32;
    /// Words of bit sets.
    bits Bits u64;
    /// What bits stand for.
    lists Lists u32;
    /// Bit-set classifiers.
    bitsets BitSets BitSet;
    /// Priorities.
    prios Prios u32;
    }
    postcard {
    /// Rulesets.
    rulesets Rulesets Ruleset;
    /// Rules.
    rules Rules Rule;
    /// Pools.
    pools Pools Pool;
    /// Tables.
    tables Tables Table;
    /// Targets of anchor calls.
    anchors Anchors Anchor;
    /// Names of interfaces and groups.
    ifaces Ifaces StrRef;
    /// Names of tags.
    tags Tags StrRef;
    /// Queues.
    queues Queues Queue;
    /// Route labels.
    labels Labels StrRef;
    }
}

impl<'a> Image<'a> {
    /// Reads an image.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    #[inline(never)]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let image = Self::split(bytes)?;
        check::check(&image)?;
        Ok(image)
    }

    /// Reads header and directory, cuts the sections apart.
    fn split(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let wanted = HEADER + ENTRY * SECTIONS;
        let found = bytes.len();
        let short = ImageError::Truncated { found, wanted };
        if found > MAX_IMAGE {
            return Err(ImageError::TooLarge { found });
        }
        let mut at = bytes;
        if bytes::field::<[u8; 8]>(&mut at).ok_or(short)? != MAGIC {
            return Err(ImageError::Magic);
        }
        let format = bytes::field(&mut at).ok_or(short)?;
        if format != FORMAT_VERSION {
            return Err(ImageError::Format { found: format });
        }
        let isa = bytes::field(&mut at).ok_or(short)?;
        if isa != ISA_VERSION {
            return Err(ImageError::Isa { found: isa });
        }
        let count: u32 = bytes::field(&mut at).ok_or(short)?;
        if usize::try_from(count) != Ok(SECTIONS) {
            return Err(ImageError::Sections { found: count });
        }
        let digest: [u8; 32] = bytes::field(&mut at).ok_or(short)?;
        let (mut directory, mut body) = at.split_at_checked(ENTRY * SECTIONS).ok_or(short)?;
        if <[u8; 32]>::from(Sha256::digest(at)) != digest {
            return Err(ImageError::Digest);
        }
        let mut sections = [Raw::default(); SECTIONS];
        let mut sum = u64::try_from(wanted).unwrap_or(u64::MAX);
        for (raw, section) in sections.iter_mut().zip(Section::ALL) {
            raw.count = bytes::field(&mut directory).ok_or(short)?;
            let len: u32 = bytes::field(&mut directory).ok_or(short)?;
            sum = sum.saturating_add(u64::from(len));
            let (mine, rest) = usize::try_from(len)
                .ok()
                .and_then(|n| body.split_at_checked(n))
                .ok_or(ImageError::Length { sum, found })?;
            (raw.bytes, body) = (mine, rest);
            if raw.count > section.limit() {
                return Err(ImageError::TooMany { section: *section, count: raw.count });
            }
        }
        if !body.is_empty() {
            return Err(ImageError::Length { sum, found });
        }
        let mut image = Self { sections, digest, strings: "" };
        let place = Place { section: Section::Strings, record: 0 };
        image.strings = core::str::from_utf8(image.raw(Section::Strings).bytes)
            .map_err(|_| ImageError::Text { place, what: "the blob" })?;
        Ok(image)
    }

    /// A section's bytes.
    fn raw(&self, section: Section) -> Raw<'a> {
        self.sections.get(usize::from(section as u8)).copied().unwrap_or_default()
    }

    /// How many records a section has.
    #[must_use]
    pub fn count(&self, section: Section) -> u32 {
        self.raw(section).count
    }

    /// Options of the main ruleset; `None` in the image of an anchor.
    #[must_use]
    pub fn options(&self) -> Option<Options> {
        let raw = self.raw(Section::Options);
        Records::new(raw.bytes, raw.count).next()
    }

    /// SHA-256 of everything after it.
    #[must_use]
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// A text; empty if the reference is not of this image.
    #[must_use]
    pub fn text(&self, at: StrRef) -> &'a str {
        text(self.strings, at).unwrap_or("")
    }

    /// All texts.
    #[must_use]
    pub const fn strings(&self) -> &'a str {
        self.strings
    }

    /// Names of the interfaces `set skip` names.
    pub fn skipped(&self) -> impl Iterator<Item = IfaceId> + 'a {
        self.skips().filter_map(|i| u16::try_from(i).ok().map(IfaceId))
    }
}

/// The records and bytes of a section of an image that was parsed before; `None` when it is no image.
#[must_use]
pub fn section_of(image: &[u8], section: Section) -> Option<(u32, &[u8])> {
    let (directory, mut body) = image.get(HEADER..)?.split_at_checked(ENTRY * SECTIONS)?;
    for (entry, s) in directory.chunks_exact(ENTRY).zip(Section::ALL) {
        let mut entry = entry;
        let count: u32 = bytes::field(&mut entry)?;
        let len: u32 = bytes::field(&mut entry)?;
        let (mine, rest) = body.split_at_checked(usize::try_from(len).ok()?)?;
        if *s == section {
            return Some((count, mine));
        }
        body = rest;
    }
    None
}

/// The text a reference stands for.
fn text(blob: &str, at: StrRef) -> Option<&str> {
    blob.get(range(at)?)
}

/// The bytes a reference stands for.
pub(crate) fn slice(blob: &[u8], at: StrRef) -> Option<&[u8]> {
    blob.get(range(at)?)
}

fn range(at: StrRef) -> Option<core::ops::Range<usize>> {
    let start = usize::try_from(at.at).ok()?;
    let len = usize::try_from(at.len).ok()?;
    Some(start..start.checked_add(len)?)
}

#[cfg(test)]
pub(crate) mod tests;
