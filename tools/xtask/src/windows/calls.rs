//! Who calls whom in a linked image, and how much stack that takes.
//!
//! Functions begin where the linker's map names something in an executable section. A function refers to another when
//! a jump, a call or an address in its bytes ends exactly at its beginning, or (x64) at a constant that holds its address
//! among others: a table of methods. That finds every direct call, and calls through tables by those who name the
//! table; the handlers the system calls are entries, and to name one is not to call it.

use std::collections::BTreeMap;

/// What the system calls, besides handlers and `DriverEntry`: the last part of a function's path.
const ENTRIES: &[&str] = &["dispatch", "tick", "unload", "cancelled", "woken"];
/// Modules of handlers: of the filter; of the intermediate driver.
const HANDLERS: &[&str] = &["callbacks", "miniport", "protocol"];
/// Handlers that packets come through.
const PACKETS: &[&str] = &["send", "send_complete", "receive", "give_back"];
/// Words of a table of methods looked through at most.
const TABLE: usize = 64;

/// A function.
#[derive(Debug)]
pub(crate) struct Function {
    /// Where it begins in memory, from the image's beginning.
    pub(crate) begin: u32,
    /// Its name, for people.
    pub(crate) name: String,
    /// Bytes of stack.
    pub(crate) frame: u32,
    /// Functions it refers to.
    pub(crate) calls: Vec<usize>,
}

/// A path as the compiler wrote it, for people: `_ZN5planb3sys5entryE` is `planb::sys::entry`; what it added is left out.
pub(crate) fn readable(symbol: &str) -> String {
    let Some(mut rest) = symbol.strip_prefix("_ZN") else { return symbol.to_owned() };
    let mut parts = Vec::new();
    while let Some(digits) = rest.find(|c: char| !c.is_ascii_digit()).filter(|n| *n > 0) {
        let (length, behind) = rest.split_at(digits);
        let Some(part) = length.parse().ok().and_then(|n: usize| behind.get(..n)) else { break };
        rest = behind.get(part.len()..).unwrap_or_default();
        let hash = part.len() == 17 && part.starts_with('h');
        if !hash {
            parts.push(part.replace("$LT$", "<").replace("$GT$", ">").replace("$u20$", " ").replace("..", "::"));
        }
    }
    parts.join("::")
}

/// Whether the system calls it, so that naming it is no call.
fn is_entry(name: &str) -> bool {
    let mut parts = name.rsplit("::");
    let (last, before) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    name.contains("::sys::") && (ENTRIES.contains(&last) || HANDLERS.contains(&before)) || name == "DriverEntry"
}

/// Whether packets come in here.
fn takes_packets(name: &str) -> bool {
    let mut parts = name.rsplit("::");
    let (last, before) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    HANDLERS.contains(&before) && PACKETS.contains(&last)
}

/// All of an image's functions.
#[derive(Debug)]
pub(crate) struct Calls(pub(crate) Vec<Function>);

/// What is read of an image: its bytes as loaded, and where it is loaded.
pub(crate) struct Loaded<'b> {
    /// Executable bytes: where they are loaded.
    pub(crate) code: Vec<(u32, &'b [u8])>,
    /// Constants: where they are loaded.
    pub(crate) data: Vec<(u32, &'b [u8])>,
    /// Where the image is loaded.
    pub(crate) base: u64,
    /// x64, else ARM64.
    pub(crate) x64: bool,
}

impl Loaded<'_> {
    /// The word of 8 bytes at a place among constants.
    fn word(&self, at: u32) -> Option<u64> {
        let (from, bytes) =
            self.data.iter().find(|(from, bytes)| at >= *from && ((at - from) as usize) < bytes.len())?;
        bytes.get((at - from) as usize..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
    }
}

impl Calls {
    /// Reads them: names by where they begin; stack, and where a function ends, by the same. A function without a name is
    /// one nonetheless.
    pub(crate) fn read(image: &Loaded<'_>, names: &[(u32, &str)], frames: &BTreeMap<u32, (u32, u32)>) -> Self {
        let within =
            |at: u32| image.code.iter().any(|(from, bytes)| at >= *from && ((at - from) as usize) < bytes.len());
        let mut all: BTreeMap<u32, &str> = frames.keys().map(|begin| (*begin, "")).collect();
        all.extend(names.iter().rev().filter(|(at, _)| within(*at)).copied());
        let mut functions: Vec<Function> = Vec::new();
        for (begin, name) in all {
            let frame = frames.get(&begin).map_or(0, |(frame, _)| *frame);
            let before = functions.last().map_or("", |f| f.name.as_str());
            let name = if name.is_empty() {
                format!("? behind {}", before.trim_start_matches("? behind "))
            } else {
                readable(name)
            };
            functions.push(Function { begin, name, frame, calls: Vec::new() });
        }
        let starts: BTreeMap<u32, usize> = functions.iter().enumerate().map(|(n, f)| (f.begin, n)).collect();
        for n in 0..functions.len() {
            let begin = functions[n].begin;
            let next = functions.get(n + 1).map_or(u32::MAX, |f| f.begin);
            let end = frames.get(&begin).map_or(next, |(_, end)| (*end).min(next));
            let mut calls = references(image, begin, end, &starts);
            calls.sort_unstable();
            calls.dedup();
            calls.retain(|to| *to != n && !is_entry(&functions[*to].name));
            functions[n].calls = calls;
        }
        Self(functions)
    }

    /// Functions that can run because of these.
    fn reached(&self, roots: impl Iterator<Item = usize>) -> Vec<bool> {
        let mut seen = vec![false; self.0.len()];
        let mut todo: Vec<usize> = roots.collect();
        while let Some(n) = todo.pop() {
            if !std::mem::replace(&mut seen[n], true) {
                todo.extend(&self.0[n].calls);
            }
        }
        seen
    }

    /// Functions on a packet's way.
    pub(crate) fn packets(&self) -> Vec<bool> {
        self.reached((0..self.0.len()).filter(|n| takes_packets(&self.0[*n].name)))
    }

    /// Entries, and the most stack of all functions on any way down from each: its bytes and the way.
    pub(crate) fn deepest(&self) -> Vec<(u32, Vec<usize>)> {
        let mut known: Vec<Option<(u32, Option<usize>)>> = vec![None; self.0.len()];
        let entries: Vec<usize> = (0..self.0.len()).filter(|n| is_entry(&self.0[*n].name)).collect();
        let mut out = Vec::new();
        for entry in entries {
            let bytes = self.depth(entry, &mut known, &mut vec![false; self.0.len()]);
            let (mut way, mut at) = (vec![entry], entry);
            while let Some((_, Some(next))) = known[at] {
                way.push(next);
                at = next;
            }
            out.push((bytes, way));
        }
        out.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        out
    }

    /// The most stack from a function down; a way that comes back to itself is counted once.
    fn depth(&self, n: usize, known: &mut [Option<(u32, Option<usize>)>], under: &mut [bool]) -> u32 {
        if let Some((bytes, _)) = known[n] {
            return bytes;
        }
        under[n] = true;
        let mut most = (0, None);
        for to in &self.0[n].calls {
            if !under[*to] {
                let bytes = self.depth(*to, known, under);
                if bytes > most.0 {
                    most = (bytes, Some(*to));
                }
            }
        }
        under[n] = false;
        let bytes = most.0 + self.0[n].frame.max(8);
        known[n] = Some((bytes, most.1));
        bytes
    }

    /// Names of the functions that refer to one whose name has this in it, and have it not themselves.
    pub(crate) fn callers(&self, what: &[&str]) -> Vec<String> {
        let is = |f: &Function| what.iter().any(|w| f.name.contains(w));
        let mut out: Vec<String> = Vec::new();
        for f in self.0.iter().filter(|f| !is(f)) {
            for to in f.calls.iter().filter(|to| is(&self.0[**to])) {
                out.push(format!("{} -> {}", f.name, self.0[*to].name));
            }
        }
        out
    }
}

/// Functions that the bytes between two places refer to.
fn references(image: &Loaded<'_>, begin: u32, end: u32, starts: &BTreeMap<u32, usize>) -> Vec<usize> {
    let Some((from, bytes)) = image.code.iter().find(|(from, b)| begin >= *from && ((begin - from) as usize) < b.len())
    else {
        return Vec::new();
    };
    let until = ((end - from) as usize).min(bytes.len());
    let own = bytes.get((begin - from) as usize..until).unwrap_or_default();
    let mut out = Vec::new();
    if !image.x64 {
        for (n, word) in (0_u32..).zip(own.as_chunks::<4>().0) {
            let word = u32::from_le_bytes(*word);
            if word >> 26 & 31 == 5 {
                // 26 bits of words, with their sign.
                let by = (word << 6).cast_signed() >> 4;
                let to = (begin + 4 * n).wrapping_add_signed(by);
                out.extend(starts.get(&to));
            }
        }
        return out;
    }
    for (n, bytes) in (3_u32..).zip(own.windows(7)) {
        let [first, second, third, a, b, c, d] = *bytes else { continue };
        let to = (begin + n + 4).wrapping_add_signed(i32::from_le_bytes([a, b, c, d]));
        // call, jmp; jcc; lea reg, [rip + distance].
        let jumps = matches!(third, 0xe8 | 0xe9) || second == 0x0f && third & 0xf0 == 0x80;
        let names = first & 0xf8 == 0x48 && second == 0x8d && third & 0xc7 == 5;
        if jumps || names {
            out.extend(starts.get(&to));
        }
        if names {
            out.extend(methods(image, to, starts));
        }
    }
    out
}

/// Functions a table of methods names, when there is one at a place.
fn methods(image: &Loaded<'_>, at: u32, starts: &BTreeMap<u32, usize>) -> Vec<usize> {
    let mut out = Vec::new();
    for n in 0..TABLE as u32 {
        let Some(word) = image.word(at.wrapping_add(8 * n)) else { break };
        let function = word.checked_sub(image.base).and_then(|to| starts.get(&u32::try_from(to).ok()?));
        match function {
            Some(function) => out.push(*function),
            // What stands before the methods: how to let go of the value (perhaps nothing), its size, its alignment.
            None if n < 3 && word < 1 << 24 => {}
            None => break,
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a` calls `b` and names a table with `c` in it; `d` stands alone.
    fn image() -> (Vec<u8>, Vec<u8>) {
        let mut code = vec![0xcc; 0x100];
        let distance = |code: &mut Vec<u8>, at: usize, to: i32| {
            let by = to - (0x1000 + i32::try_from(at).unwrap() + 4);
            code[at..at + 4].copy_from_slice(&by.to_le_bytes());
        };
        code[2] = 0xe8;
        distance(&mut code, 3, 0x1040);
        code[7..10].copy_from_slice(&[0x4c, 0x8d, 0x05]);
        distance(&mut code, 10, 0x2000);
        // Neither a jump nor a name: the same distance in another instruction.
        distance(&mut code, 20, 0x10c0);
        let mut data = Vec::new();
        for word in [0_u64, 16, 8, 0x1_4000_1080, 7] {
            data.extend(word.to_le_bytes());
        }
        (code, data)
    }

    #[test]
    fn calls_are_found_directly_and_through_tables() {
        let (code, data) = image();
        let loaded =
            Loaded { code: vec![(0x1000, &code)], data: vec![(0x2000, &data)], base: 0x1_4000_0000, x64: true };
        let names =
            [(0x1000, "_ZN5planb3sys9callbacks4sendE"), (0x1040, "panics"), (0x1080, "method"), (0x10c0, "else")];
        let frames = BTreeMap::from([
            (0x1000, (100, 0x1020)),
            (0x1040, (30, 0x1050)),
            (0x1080, (50, 0x1090)),
            (0x10c0, (9000, 0x10d0)),
        ]);
        let calls = Calls::read(&loaded, &names, &frames);
        assert_eq!(calls.0[0].calls, [1, 2]);
        assert_eq!(calls.packets(), [true, true, true, false]);
        assert_eq!(calls.deepest(), [(150, vec![0, 2])]);
        assert_eq!(calls.callers(&["panics"]), ["planb::sys::callbacks::send -> panics"]);
    }

    #[test]
    fn branches_of_arm64_are_calls() {
        // bl +0x40
        let mut code = vec![0; 0x80];
        code[..4].copy_from_slice(&0x9400_0010_u32.to_le_bytes());
        let loaded = Loaded { code: vec![(0x1000, &code)], data: Vec::new(), base: 0, x64: false };
        let calls = Calls::read(&loaded, &[(0x1000, "x"), (0x1040, "y")], &BTreeMap::new());
        assert_eq!(calls.0[0].calls, [1]);
        assert_eq!(calls.callers(&["y"]), ["x -> y"]);
    }

    #[test]
    fn paths_are_made_readable() {
        assert_eq!(
            readable("_ZN5planb3sys5entry12driver_entry17h0123456789abcdefE"),
            "planb::sys::entry::driver_entry"
        );
        assert_eq!(readable("DriverEntry"), "DriverEntry");
    }
}
