//! What must hold of the linked driver, read from the image itself.
//!
//! A native image of 4 KiB sections, none of them both writable and executable; relocatable, without execution of data,
//! integrity enforced; importing only what Windows 10 1809 exports; without a path to a panic. No function on a packet's
//! way takes more than [`PACKET_STACK`] bytes of stack, no other more than [`STACK`], and no way down from a handler more
//! than [`DEEPEST`]: a kernel stack is 24 KiB, and most of it is others'.

use std::collections::BTreeMap;

use super::Arch;
use super::calls::{Calls, Loaded};
use super::imports::ALLOWED;
use super::run::Failure;
use super::unwind;

/// Stack of a function on a packet's way.
const PACKET_STACK: u32 = 1024;
/// Stack of any other.
const STACK: u32 = 4096;
/// Stack of all functions on a way down from a handler.
const DEEPEST: u32 = 12 * 1024;
/// What names and texts of a panic have in them.
const PANICS: &[&str] = &[
    "rust_begin_unwind",
    "panicking",
    "panic_fmt",
    "unwrap_failed",
    "handle_alloc_error",
    "handle_error",
    "grow_one",
    "do_reserve_and_handle",
    "capacity_overflow",
];
/// Texts that stand in an image with a panic only: the places in our files where one begins among them.
const PANIC_TEXTS: &[&[u8]] = &[
    b"panicked at",
    b"index out of bounds",
    b"called `Option",
    b"called `Result",
    b"attempt to ",
    b"capacity overflow",
    b".rs\0",
    b"src/",
    b"src\\",
];
/// `IMAGE_SCN_MEM_EXECUTE`.
const EXECUTE: u32 = 0x2000_0000;

/// `DYNAMIC_BASE`, `NX_COMPAT`, `HIGH_ENTROPY_VA`, `FORCE_INTEGRITY`.
const FLAGS: u32 = 0x40 | 0x100 | 0x20 | 0x80;
/// Of a program: `DYNAMIC_BASE`, `NX_COMPAT`, `HIGH_ENTROPY_VA`.
const PROGRAM_FLAGS: u32 = 0x40 | 0x100 | 0x20;
/// Libraries every Windows has, besides the `api-ms-win-…`.
const SYSTEM: &[&str] = &[
    "advapi32.dll",
    "bcrypt.dll",
    "bcryptprimitives.dll",
    "combase.dll",
    "iphlpapi.dll",
    "kernel32.dll",
    "msvcrt.dll",
    "ntdll.dll",
    "ole32.dll",
    "oleaut32.dll",
    "rpcrt4.dll",
    "setupapi.dll",
    "shell32.dll",
    "user32.dll",
    "userenv.dll",
    "ws2_32.dll",
];
/// `IMAGE_SUBSYSTEM_NATIVE`.
const NATIVE: u32 = 1;
/// `IMAGE_SCN_MEM_WRITE | IMAGE_SCN_MEM_EXECUTE`.
const WRITE_EXECUTE: u32 = 0x8000_0000 | 0x2000_0000;
/// Functions listed by their stack.
const LISTED: usize = 3;

/// An image.
pub(super) struct Image<'b> {
    bytes: &'b [u8],
    /// Sections: where they are loaded, how long, where they lie in the file, flags, name.
    sections: Vec<(u32, u32, u32, u32, String)>,
    /// The optional header.
    optional: usize,
}

/// A little-endian number of so many bytes.
pub(super) fn number(bytes: &[u8], at: usize, size: usize) -> Result<u32, Failure> {
    let field = bytes.get(at..at + size).ok_or_else(|| format!("cut off at {at}"))?;
    Ok(field.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)))
}

/// A number as a place.
pub(super) fn place(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl<'b> Image<'b> {
    pub(super) fn read(bytes: &'b [u8]) -> Result<Self, Failure> {
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
    pub(super) fn at(&self, rva: u32) -> Result<usize, Failure> {
        let found = self.sections.iter().find(|s| rva >= s.0 && rva - s.0 < s.1);
        found.map(|s| place(rva - s.0 + s.2)).ok_or_else(|| format!("nothing at {rva:#x}"))
    }

    /// A data directory: where, how long.
    pub(super) fn directory(&self, n: usize) -> Result<(u32, u32), Failure> {
        let at = self.optional + 112 + 8 * n;
        Ok((number(self.bytes, at, 4)?, number(self.bytes, at + 4, 4)?))
    }

    fn text(&self, at: usize) -> String {
        let bytes = self.bytes.get(at..).unwrap_or_default();
        String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
    }

    /// Modules that are imported from.
    fn modules(&self) -> Result<Vec<String>, Failure> {
        let mut out = Vec::new();
        let mut at = self.at(self.directory(1)?.0)?;
        loop {
            let module = number(self.bytes, at + 12, 4)?;
            if module == 0 {
                return Ok(out);
            }
            out.push(self.text(self.at(module)?));
            at += 20;
        }
    }

    /// Relocatable, its data not executed, no section both writable and executable.
    fn hardened(&self, flags: u32) -> Result<(), Failure> {
        let there = number(self.bytes, self.optional + 70, 2)?;
        if there & flags != flags {
            return Err(format!("flags {there:#x}, wanted {flags:#x}"));
        }
        match self.sections.iter().find(|s| s.3 & WRITE_EXECUTE == WRITE_EXECUTE) {
            Some(section) => Err(format!("{} is writable and executable", section.4)),
            None => Ok(()),
        }
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

    /// Bytes of stack, and where it ends, by where a function begins. Functions without unwind data take none.
    fn frames(&self, x64: bool) -> Result<BTreeMap<u32, (u32, u32)>, Failure> {
        let (rva, length) = self.directory(3)?;
        let first = self.at(rva)?;
        let mut out = BTreeMap::new();
        for entry in (first..first + place(length)).step_by(if x64 { 12 } else { 8 }) {
            let word = |n: usize| number(self.bytes, entry + 4 * n, 4);
            let (begin, second) = (word(0)?, word(1)?);
            let known = if x64 {
                (unwind::x64(self.bytes, self.at(word(2)?)?)?, second)
            } else {
                // The length in instructions: of a packed record 11 bits, else 18 of the record's first word.
                let (from, bits) =
                    if second & 3 == 0 { (number(self.bytes, self.at(second)?, 4)?, 18) } else { (second >> 2, 11) };
                let end = begin + 4 * (from & ((1 << bits) - 1));
                let code = self.bytes.get(self.at(begin)?..self.at(end - 4)? + 4).unwrap_or_default();
                (unwind::arm64(code), end)
            };
            out.insert(begin, known);
        }
        Ok(out)
    }

    /// Sections as they are loaded: executable ones, or the others.
    fn loaded(&self, executable: bool) -> Vec<(u32, &'b [u8])> {
        let wanted = self.sections.iter().filter(|s| (s.3 & EXECUTE != 0) == executable);
        wanted
            .map(|s| (s.0, self.bytes.get(place(s.2)..).map_or(&[][..], |b| b.get(..place(s.1)).unwrap_or(b))))
            .collect()
    }

    fn base(&self) -> Result<u64, Failure> {
        let half = |off| number(self.bytes, self.optional + off, 4).map(u64::from);
        Ok(half(24)? | half(28)? << 32)
    }

    /// Holds the image to its bounds of stack, and says what is taken.
    fn stack(&self, calls: &Calls, x64: bool) -> Result<String, Failure> {
        let packets = calls.packets();
        if x64 && !packets.contains(&true) {
            return Err("no handler of packets is found: the names it is looked for by have changed".to_owned());
        }
        let mut by_frame: Vec<usize> = (0..calls.0.len()).collect();
        by_frame.sort_unstable_by_key(|n| std::cmp::Reverse(calls.0[*n].frame));
        let mut said = String::new();
        for (what, on_way, most) in [("on a packet's way", true, PACKET_STACK), ("elsewhere", false, STACK)] {
            let of_kind: Vec<_> = by_frame.iter().filter(|n| packets[**n] == on_way).map(|n| &calls.0[*n]).collect();
            said += &format!("\n most stack of a function {what} (at most {most}):");
            let shown = of_kind.iter().enumerate().take_while(|(n, f)| *n < LISTED || f.frame > most);
            shown.for_each(|(_, f)| said += &format!("\n  {:6} {}", f.frame, f.name));
        }
        let ways = calls.deepest();
        said += &format!("\n most stack of a way down (at most {DEEPEST}):");
        for (bytes, way) in ways.iter().take_while(|(bytes, _)| *bytes > DEEPEST).chain(ways.first()) {
            let names: Vec<_> = way.iter().map(|n| format!("{} ({})", calls.0[*n].name, calls.0[*n].frame)).collect();
            said += &format!("\n  {bytes:6} {}", names.join(" > "));
        }
        let over = (0..calls.0.len()).any(|n| calls.0[n].frame > if packets[n] { PACKET_STACK } else { STACK });
        if over || ways.iter().any(|(bytes, _)| *bytes > DEEPEST) {
            return Err(format!("too much stack{said}"));
        }
        Ok(said)
    }

    /// Holds the image to have no panic in it.
    fn panics(&self, calls: &Calls, names: &[(u64, &str)]) -> Result<(), Failure> {
        let named: Vec<_> = names.iter().map(|n| n.1).filter(|n| PANICS.iter().any(|p| n.contains(p))).collect();
        if !named.is_empty() {
            return Err(format!(
                "something can panic:\n  {}\n of {}",
                calls.callers(PANICS).join("\n  "),
                named.join(", ")
            ));
        }
        let text = PANIC_TEXTS.iter().find(|t| self.bytes.windows(t.len()).any(|w| w == **t));
        match text {
            Some(text) => Err(format!("`{}` stands in the image: something can panic", text.escape_ascii())),
            None => Ok(()),
        }
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
    image.hardened(FLAGS)?;
    if header(32, 4)? != 4096 {
        return Err(format!("sections aligned to {}", header(32, 4)?));
    }
    let imports = image.imports()?;
    for (module, name) in &imports {
        let allowed = ALLOWED.iter().any(|(m, names)| m == module && names.contains(&name.as_str()));
        if !allowed {
            return Err(format!("{module} {name} is not on the list of imports"));
        }
    }
    let names = names(map);
    let base = image.base()?;
    let at: Vec<(u32, &str)> =
        names.iter().filter_map(|(a, n)| Some((u32::try_from(a.checked_sub(base)?).ok()?, *n))).collect();
    let loaded = Loaded { code: image.loaded(true), data: image.loaded(false), base, x64 };
    let calls = Calls::read(&loaded, &at, &image.frames(x64)?);
    let stack = image.stack(&calls, x64);
    image.panics(&calls, &names).map_err(|why| format!("{why}\n{}", stack.clone().unwrap_or_else(|e| e)))?;
    Ok(format!("{} bytes, {} imports, nothing can panic{}", bytes.len(), imports.len(), stack?))
}

/// Holds a program or library to what any should: for this processor, hardened, of Windows' own libraries alone.
///
/// # Errors
/// What does not hold.
pub(crate) fn program(bytes: &[u8], arch: Arch) -> Result<(), Failure> {
    let image = Image::read(bytes)?;
    let machine = number(bytes, image.optional - 20, 2)?;
    if machine != arch.machine() {
        return Err(format!("for machine {machine:#x}, wanted {:#x}", arch.machine()));
    }
    image.hardened(PROGRAM_FLAGS)?;
    let own = |module: &str| module.starts_with("api-ms-win-") || SYSTEM.contains(&module);
    match image.modules()?.into_iter().find(|module| !own(&module.to_lowercase())) {
        Some(module) => Err(format!("{module} is not on every Windows")),
        None => Ok(()),
    }
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

    /// A program of one section that imports from one module.
    fn made(machine: u16, flags: u16, section: u32, module: &[u8]) -> Vec<u8> {
        let mut image = vec![0_u8; 0x400];
        let mut set = |at: usize, new: &[u8]| image[at..at + new.len()].copy_from_slice(new);
        set(0x3c, &0x40_u32.to_le_bytes());
        set(0x40, b"PE\0\0");
        set(0x44, &machine.to_le_bytes());
        set(0x46, &1_u16.to_le_bytes());
        set(0x54, &240_u16.to_le_bytes());
        set(0x58 + 70, &flags.to_le_bytes());
        // The import directory, then the section: 0x200 bytes from 0x1000, in the file from 0x200.
        set(0x58 + 112 + 8, &0x1000_u32.to_le_bytes());
        set(0x150, &[0x200_u32, 0x1000, 0x200, 0x200].map(u32::to_le_bytes).concat());
        set(0x148 + 36, &section.to_le_bytes());
        set(0x200 + 12, &0x1100_u32.to_le_bytes());
        set(0x300, module);
        image
    }

    #[test]
    fn a_program_is_for_its_processor_hardened_and_needs_windows_alone() {
        let held =
            |machine, flags, section, module: &[u8]| program(&made(machine, flags, section, module), Arch::Arm64);
        assert_eq!(held(0xAA64, 0x160, EXECUTE, b"KERNEL32.dll\0"), Ok(()));
        assert_eq!(held(0xAA64, 0x8160, EXECUTE, b"api-ms-win-crt-heap-l1-1-0.dll\0"), Ok(()));
        for (machine, flags, section, module, word) in [
            (0x8664, 0x160, EXECUTE, &b"KERNEL32.dll\0"[..], "machine"),
            (0xAA64, 0x140, EXECUTE, b"KERNEL32.dll\0", "flags"),
            (0xAA64, 0x160, WRITE_EXECUTE, b"KERNEL32.dll\0", "writable and executable"),
            (0xAA64, 0x160, EXECUTE, b"libunwind.dll\0", "libunwind.dll"),
        ] {
            assert!(held(machine, flags, section, module).unwrap_err().contains(word), "{word}");
        }
    }

    #[test]
    fn a_map_names_functions_in_order() {
        let map = " 0001:00000010  b  0000000140001010  x.o\n 0001:00000000  a  0000000140001000  x.o\n\n nonsense";
        assert_eq!(names(map), [(0x1_4000_1000, "a"), (0x1_4000_1010, "b")]);
    }
}
