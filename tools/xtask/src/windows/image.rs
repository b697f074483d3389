//! What must hold of the linked driver, read from the image itself.
//!
//! A native image of 4 KiB sections, none of them both writable and executable; relocatable, without execution of data,
//! integrity enforced; importing only what Windows 10 1809 exports. Besides it says how large the image is, which
//! functions take the most stack, and whether anything can still end in a panic.

use super::imports::ALLOWED;
use super::run::Failure;

/// `DYNAMIC_BASE`, `NX_COMPAT`, `HIGH_ENTROPY_VA`, `FORCE_INTEGRITY`.
const FLAGS: u32 = 0x40 | 0x100 | 0x20 | 0x80;
/// `IMAGE_SUBSYSTEM_NATIVE`.
const NATIVE: u32 = 1;
/// `IMAGE_SCN_MEM_WRITE | IMAGE_SCN_MEM_EXECUTE`.
const WRITE_EXECUTE: u32 = 0x8000_0000 | 0x2000_0000;
/// Functions listed by their stack.
const LISTED: usize = 5;

/// An image.
struct Image<'b> {
    bytes: &'b [u8],
    /// Sections: where they are loaded, how long, where they lie in the file, flags, name.
    sections: Vec<(u32, u32, u32, u32, String)>,
    /// The optional header.
    optional: usize,
}

/// A little-endian number of so many bytes.
fn number(bytes: &[u8], at: usize, size: usize) -> Result<u32, Failure> {
    let field = bytes.get(at..at + size).ok_or_else(|| format!("cut off at {at}"))?;
    Ok(field.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)))
}

/// A number as a place.
fn place(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl<'b> Image<'b> {
    fn read(bytes: &'b [u8]) -> Result<Self, Failure> {
        let at = place(number(bytes, 0x3c, 4)?);
        if bytes.get(at..at + 4) != Some(b"PE\0\0") {
            return Err("no image".to_owned());
        }
        let (count, optional) = (number(bytes, at + 6, 2)?, number(bytes, at + 20, 2)?);
        let first = at + 24 + place(optional);
        let mut sections = Vec::new();
        for n in 0..place(count) {
            let s = first + 40 * n;
            let name = bytes.get(s..s + 8).unwrap_or_default();
            let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
            let field = |off| number(bytes, s + off, 4);
            sections.push((field(12)?, field(8)?.max(field(16)?), field(20)?, field(36)?, name));
        }
        Ok(Self { bytes, sections, optional: at + 24 })
    }

    /// Where something loaded lies in the file.
    fn at(&self, rva: u32) -> Result<usize, Failure> {
        let found = self.sections.iter().find(|s| rva >= s.0 && rva - s.0 < s.1);
        found.map(|s| place(rva - s.0 + s.2)).ok_or_else(|| format!("nothing at {rva:#x}"))
    }

    /// A data directory: where, how long.
    fn directory(&self, n: usize) -> Result<(u32, u32), Failure> {
        let at = self.optional + 112 + 8 * n;
        Ok((number(self.bytes, at, 4)?, number(self.bytes, at + 4, 4)?))
    }

    fn text(&self, at: usize) -> String {
        let bytes = self.bytes.get(at..).unwrap_or_default();
        String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
    }

    fn imports(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut out = Vec::new();
        let mut at = self.at(self.directory(1)?.0)?;
        loop {
            let (names, module) = (number(self.bytes, at, 4)?, number(self.bytes, at + 12, 4)?);
            if module == 0 {
                return Ok(out);
            }
            let module = self.text(self.at(module)?);
            let mut name = self.at(names)?;
            while number(self.bytes, name, 4)? != 0 {
                if number(self.bytes, name + 4, 4)? != 0 {
                    return Err(format!("{module}: an import by number"));
                }
                out.push((module.clone(), self.text(self.at(number(self.bytes, name, 4)?)? + 2)));
                name += 8;
            }
            at += 20;
        }
    }

    /// Functions with unwind data (x64) and the bytes of stack each takes.
    fn stacks(&self) -> Result<Vec<(u32, u32)>, Failure> {
        let (rva, length) = self.directory(3)?;
        let first = self.at(rva)?;
        let mut out = Vec::new();
        for entry in (first..first + place(length)).step_by(12) {
            let begin = number(self.bytes, entry, 4)?;
            let unwind = self.at(number(self.bytes, entry + 8, 4)?)?;
            out.push((begin, self.frame(unwind)?));
        }
        Ok(out)
    }

    /// Bytes of stack by an unwind record: registers saved, room made.
    fn frame(&self, unwind: usize) -> Result<u32, Failure> {
        let codes = place(number(self.bytes, unwind + 2, 1)?);
        let (mut n, mut bytes) = (0, 8);
        while n < codes {
            let code = number(self.bytes, unwind + 4 + 2 * n + 1, 1)?;
            let (operation, info) = (code & 15, code >> 4);
            let extra = |slots| number(self.bytes, unwind + 4 + 2 * (n + 1), slots);
            n += match operation {
                0 => {
                    bytes += 8;
                    1
                }
                1 if info == 0 => {
                    bytes += extra(2)? * 8;
                    2
                }
                1 => {
                    bytes += extra(4)?;
                    3
                }
                2 => {
                    bytes += info * 8 + 8;
                    1
                }
                4 | 8 => 2,
                5 | 9 => 3,
                _ => 1,
            };
        }
        Ok(bytes)
    }
}

/// Names of functions by address, of the linker's map.
fn names(map: &str) -> Vec<(u64, &str)> {
    let mut out: Vec<(u64, &str)> = map
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let place = words.next()?;
            let name = words.next()?;
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            place.contains(':').then_some((address, name))
        })
        .collect();
    out.sort_unstable();
    out
}

/// Holds an image to all of it; `map` is the linker's. What it says is for people.
///
/// # Errors
/// What does not hold.
pub(crate) fn check(bytes: &[u8], map: &str, x64: bool) -> Result<String, Failure> {
    let image = Image::read(bytes)?;
    let header = |off, size| number(bytes, image.optional + off, size);
    if header(68, 2)? != NATIVE {
        return Err("not a native image".to_owned());
    }
    if header(70, 2)? & FLAGS != FLAGS {
        return Err(format!("flags {:#x}, wanted {FLAGS:#x}", header(70, 2)?));
    }
    if header(32, 4)? != 4096 {
        return Err(format!("sections aligned to {}", header(32, 4)?));
    }
    if let Some(section) = image.sections.iter().find(|s| s.3 & WRITE_EXECUTE == WRITE_EXECUTE) {
        return Err(format!("{} is writable and executable", section.4));
    }
    let imports = image.imports()?;
    for (module, name) in &imports {
        let allowed = ALLOWED.iter().any(|(m, names)| m == module && names.contains(&name.as_str()));
        if !allowed {
            return Err(format!("{module} {name} is not on the list of imports"));
        }
    }
    let names = names(map);
    let mut said = format!("{} bytes, {} imports", bytes.len(), imports.len());
    let panics = names.iter().filter(|(_, n)| n.contains("rust_begin_unwind")).count();
    said += if panics == 0 { "; nothing can panic" } else { "; the panic handler is linked: something can panic" };
    if x64 {
        let base = u64::from(header(24, 4)?) | u64::from(header(28, 4)?) << 32;
        let mut stacks = image.stacks()?;
        stacks.sort_unstable_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        said += "; most stack:";
        for (begin, bytes) in stacks.iter().take(LISTED) {
            let at = names.partition_point(|(address, _)| *address <= base + u64::from(*begin));
            let name = at.checked_sub(1).and_then(|at| names.get(at)).map_or("?", |n| n.1);
            said += &format!("\n  {bytes:6} {name}");
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(check(&[], "", true).is_err());
        assert!(check(&[0; 4096], "", true).is_err());
        let mut bytes = vec![0; 4096];
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        assert_eq!(check(&bytes, "", true), Err("not a native image".to_owned()));
    }

    #[test]
    fn a_map_names_functions_in_order() {
        let map = " 0001:00000010  b  0000000140001010  x.o\n 0001:00000000  a  0000000140001000  x.o\n\n nonsense";
        assert_eq!(names(map), [(0x1_4000_1000, "a"), (0x1_4000_1010, "b")]);
    }
}
