//! What names a linked image: made of what the image holds, so that the same sources give the same bytes anywhere.
//!
//! A linker draws the name of an image and of its symbols (PDB) from both, or from the clock, and symbols hold the names of
//! folders of the moment. Here the name is a digest of the image alone, put into both.

use sha2::{Digest, Sha256};

use super::image::{Image, number, place};
use super::run::Failure;

/// The data directory of what debuggers are told.
const DEBUG: usize = 6;
/// Bytes of an entry of it.
const ENTRY: usize = 28;
/// What a record of symbols begins with, and the length of the name behind it.
const RECORD: &[u8] = b"RSDS";
const NAME: usize = 16;

/// Where an image keeps its name: stamps of four bytes, and the longer one its symbols have too.
fn places(bytes: &[u8]) -> Result<(Vec<usize>, Option<usize>), Failure> {
    let image = Image::read(bytes)?;
    let (mut stamps, mut name) = (vec![place(number(bytes, 0x3c, 4)?) + 8], None);
    let (rva, length) = image.directory(DEBUG)?;
    if length != 0 {
        let first = image.at(rva)?;
        for entry in (first..first + place(length)).step_by(ENTRY) {
            stamps.push(entry + 4);
            let data = place(number(bytes, entry + 24, 4)?);
            if bytes.get(data..data + 4) == Some(RECORD) {
                name = Some(data + 4);
            }
        }
    }
    Ok((stamps, name))
}

/// Puts bytes at a place that is there.
fn put(bytes: &mut [u8], at: usize, new: &[u8]) -> Result<(), Failure> {
    let field = bytes.get_mut(at..at + new.len()).ok_or_else(|| format!("cut off at {at}"))?;
    field.copy_from_slice(new);
    Ok(())
}

/// Names an image, and its symbols where it has any, by what the image holds.
///
/// # Errors
/// What is no image, or symbols that are another image's.
pub(crate) fn name(image: &mut [u8], symbols: Option<&mut [u8]>) -> Result<(), Failure> {
    let (stamps, long) = places(image)?;
    let was = long.and_then(|at| Some((at, image.get(at..at + NAME)?.to_vec())));
    for at in &stamps {
        put(image, *at, &[0; 4])?;
    }
    if let Some((at, _)) = &was {
        put(image, *at, &[0; NAME])?;
    }
    let digest = Sha256::digest(&*image);
    let (long, rest) = digest.split_at(NAME);
    // The highest bit clear: a moment some tools show.
    let short = (u32::from_le_bytes(*rest.first_chunk().unwrap_or(&[0; 4])) >> 1).to_le_bytes();
    for at in &stamps {
        put(image, *at, &short)?;
    }
    let Some((at, was)) = was else { return Ok(()) };
    put(image, at, long)?;
    let Some(symbols) = symbols else { return Ok(()) };
    // A version, a stamp, an age, the name.
    let found: Vec<usize> = symbols.windows(NAME).enumerate().filter(|(_, w)| *w == was).map(|(at, _)| at).collect();
    match found.as_slice() {
        [at] if *at >= 8 => {
            put(symbols, at - 8, &short)?;
            put(symbols, *at, long)
        }
        _ => Err(format!("the image's name stands {} times in its symbols", found.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of one section with a record of symbols, and those.
    fn made(stamp: u32, named: [u8; NAME]) -> (Vec<u8>, Vec<u8>) {
        let mut image = vec![0_u8; 0x300];
        let mut set = |at: usize, new: &[u8]| image[at..at + new.len()].copy_from_slice(new);
        set(0x3c, &0x40_u32.to_le_bytes());
        set(0x40, b"PE\0\0");
        set(0x46, &1_u16.to_le_bytes());
        set(0x48, &stamp.to_le_bytes());
        set(0x54, &240_u16.to_le_bytes());
        // The debug directory of the optional header, then the section.
        set(0x58 + 112 + 8 * DEBUG, &[0x1000_u32.to_le_bytes(), 28_u32.to_le_bytes()].concat());
        set(0x148, b".rdata\0\0");
        set(0x150, &[0x100_u32, 0x1000, 0x100, 0x200].map(u32::to_le_bytes).concat());
        set(0x204, &stamp.to_le_bytes());
        set(0x218, &0x240_u32.to_le_bytes());
        set(0x240, &[RECORD, &named].concat());
        let symbols = [&b"head"[..], &stamp.to_le_bytes(), &1_u32.to_le_bytes(), &named, b"tail"].concat();
        (image, symbols)
    }

    #[test]
    fn the_same_image_has_the_same_name_whatever_the_linker_drew() {
        let (mut one, mut its) = made(7, [1; NAME]);
        let (mut other, mut others) = made(9, [2; NAME]);
        name(&mut one, Some(&mut its)).unwrap();
        name(&mut other, Some(&mut others)).unwrap();
        assert_eq!((&one, &its), (&other, &others));
        assert_eq!(one[0x244..0x254], its[12..28]);
        assert_eq!((&one[0x48..0x4c], &one[0x204..0x208]), (&its[4..8], &its[4..8]));
        let (mut third, _) = made(7, [1; NAME]);
        third[0x280] = 1;
        name(&mut third, None).unwrap();
        assert_ne!(third[0x244..0x254], one[0x244..0x254]);
    }

    #[test]
    fn symbols_of_another_image_are_refused() {
        let (mut one, _) = made(7, [1; NAME]);
        let (_, mut others) = made(7, [2; NAME]);
        assert!(name(&mut one, Some(&mut others)).unwrap_err().contains("0 times"));
        assert!(name(&mut [0; 64], None).is_err());
    }
}
