//! The smallest image: one ruleset without rules, and what every image is laid out by.
//!
//! It takes the place of rules that were flushed, and is read and verified like any other.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use super::record::{Ruleset, Run};
use super::section::{SECTIONS, Section};
use super::{Bulk, ENTRY, FORMAT_VERSION, HEADER, MAGIC};
use crate::isa::{ISA_VERSION, Op};
use crate::rule::StrRef;
use crate::state::pool::{OutOfMemory, room};

/// Most bytes of a ruleset's record.
const RECORD: usize = 64;

/// A vector that takes no more than it has room for.
struct Room(Vec<u8>);

impl Extend<u8> for Room {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        for byte in bytes {
            if self.0.len() < self.0.capacity() {
                self.0.push(byte);
            }
        }
    }
}

/// A length as the format writes it. Longer ones are refused when the image is read back.
pub(super) fn clip(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Writes header, directory and sections, each given as its number of records and their bytes; [`reseal`] ends it.
pub(super) fn lay_out<'s>(sections: impl Iterator<Item = (u32, &'s [u8])> + Clone, out: &mut impl Extend<u8>) {
    out.extend(MAGIC);
    FORMAT_VERSION.write(out);
    ISA_VERSION.write(out);
    clip(SECTIONS).write(out);
    out.extend([0; 32]);
    for (count, bytes) in sections.clone() {
        count.write(out);
        clip(bytes.len()).write(out);
    }
    for (_, bytes) in sections {
        out.extend(bytes.iter().copied());
    }
}

/// Writes the digest of a changed image anew.
pub(super) fn reseal(image: &mut [u8]) {
    if let Some((head, rest)) = image.split_at_mut_checked(HEADER)
        && let Some(slot) = head.last_chunk_mut::<32>()
    {
        *slot = Sha256::digest(&*rest).into();
    }
}

/// The image of a ruleset without rules.
///
/// # Errors
/// [`OutOfMemory`].
pub fn empty(path: &str) -> Result<Vec<u8>, OutOfMemory> {
    let ruleset = Ruleset {
        path: StrRef { at: 0, len: clip(path.len()) },
        code: Run { at: 0, len: 1 },
        straight: Run::default(),
        rules: Run::default(),
    };
    let mut record = [0; RECORD];
    let record: &[u8] = postcard::to_slice(&ruleset, &mut record).map_or(&[], |bytes| bytes);
    let code = Op::Done {}.encode().to_le_bytes();
    let sections = Section::ALL.iter().map(|section| match section {
        Section::Rulesets => (1, record),
        Section::Code => (1, code.as_slice()),
        Section::Strings => (clip(path.len()), path.as_bytes()),
        _ => (0, &[][..]),
    });
    let directory = SECTIONS.saturating_mul(ENTRY).saturating_add(HEADER);
    let bytes = directory.saturating_add(RECORD).saturating_add(code.len()).saturating_add(path.len());
    let mut image = Room(room("an image", clip(bytes))?);
    lay_out(sections, &mut image);
    reseal(&mut image.0);
    Ok(image.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;
    use crate::verify::Program;

    #[test]
    fn it_verifies_as_any_other() {
        for path in ["", "a", "a/b", &"x".repeat(1023)] {
            let bytes = empty(path).unwrap();
            let image = Image::parse(&bytes).unwrap();
            let program = Program::verify(&image, 1).unwrap();
            assert_eq!(program.text(program.rulesets()[0].path), path);
            assert_eq!((program.rulesets().len(), program.rules().len(), program.options()), (1, 0, None));
        }
        assert!(Image::parse(&empty(&"x".repeat(1024)).unwrap()).is_err());
    }
}
