//! Addresses of table commands: from arguments and files, as records the filter takes; and back as text.
//!
//! Source: `pfctl_table.c load_addr`, `print_addrx`; `pfctl_radix.c append_addr`, `pfr_buf_load`.

use std::io::Read;
use std::net::IpAddr;

use pfc::facts::Facts;
use pfc::print;
use pfc::resolve::{AddressList, AddressProblem};
use pfvm::image::{Bulk, Entry};
use pfvm::rule::{Addr, Af};

use crate::link::{Outcome, Trouble, reason};
use crate::out::Out;

/// Reads the addresses of arguments, then those of a file. Nothing is done before all of them are read.
///
/// # Errors
/// The first word that is none, with the file's line.
pub(crate) fn read(
    out: &mut Out,
    facts: &Facts,
    words: &[String],
    file: Option<&str>,
    (numeric, single): (bool, bool),
) -> Outcome<Vec<Entry>> {
    let mut list = AddressList::new(facts, numeric, single);
    for word in words {
        let taken = list.word(word);
        list.said.drain(..).for_each(|line| out.say(&line));
        taken.map_err(|problem| match problem {
            // pfctl has said all there is to say.
            AddressProblem::Unknown => Trouble::Here(String::new()),
            AddressProblem::Weight(why) => Trouble::Here(format!("cannot decode {word}: {why}")),
            _ => Trouble::Here(format!("cannot decode {word}: Invalid argument")),
        })?;
    }
    if list.end().is_err() {
        let last = words.last().map_or("", String::as_str);
        return Err(Trouble::Here(format!("failed to decode {last}")));
    }
    if let Some(file) = file {
        let bytes = contents(file).map_err(|why| Trouble::Here(format!("cannot load {file}: {}", reason(&why))))?;
        let taken = list.file(&bytes);
        list.said.drain(..).for_each(|line| out.say(&line));
        taken.map_err(|(line, word, problem)| {
            let name = if file == "-" { "stdin" } else { file };
            let what = match problem {
                AddressProblem::Unknown => format!("\"{word}\" is no address; nothing was changed"),
                AddressProblem::Weight(why) => format!("\"{word}\": {why}; nothing was changed"),
                AddressProblem::Invalid => format!("\"{word}\": Invalid argument; nothing was changed"),
                AddressProblem::Unfinished => "a number is missing after \"weight\"; nothing was changed".to_owned(),
            };
            Trouble::Here(format!("{name}:{line}: {what}"))
        })?;
    }
    Ok(list.entries.iter().map(pfc::image::entry).collect())
}

/// The bytes of a file; `-` is standard input.
pub(crate) fn contents(file: &str) -> std::io::Result<Vec<u8>> {
    if file != "-" {
        return std::fs::read(file);
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Records as they travel.
pub(crate) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len().saturating_mul(Entry::SIZE));
    for entry in entries {
        entry.write(&mut bytes);
    }
    bytes
}

/// Records that have travelled; nothing when they are none.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Entry>> {
    let whole = bytes.len().is_multiple_of(Entry::SIZE);
    bytes.chunks(Entry::SIZE).map(Entry::read).collect::<Option<Vec<_>>>().filter(|_| whole)
}

/// An address as the standard library has it.
pub(crate) fn ip(af: Af, addr: &Addr) -> IpAddr {
    let [a, b, c, d, ..] = addr.0;
    match af {
        Af::Inet => IpAddr::from([a, b, c, d]),
        Af::Inet6 => IpAddr::from(addr.0),
    }
}

/// Family, address, prefix length and sign of a record.
pub(crate) fn parts(entry: &Entry) -> (Af, Addr, u8, bool) {
    let af = if entry.flags & Entry::INET6 != 0 { Af::Inet6 } else { Af::Inet };
    (af, Addr(entry.addr), entry.prefix, entry.flags & Entry::NOT != 0)
}

/// An entry as lists show it: sign or blank, address, prefix length where it is a network.
pub(crate) fn shown(&(af, addr, prefix, not): &(Af, Addr, u8, bool)) -> String {
    let full = if af == Af::Inet { 32 } else { 128 };
    let sign = if not { '!' } else { ' ' };
    let text = print::address(ip(af, &addr));
    if prefix < full { format!("{sign}{text}/{prefix}") } else { format!("{sign}{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_is_shown() {
        let facts = Facts::default();
        let mut out = Out::new(true, false);
        let words = ["10.11.12.13/8", "!fe80::1", "::/0", "1.2.3.4"].map(str::to_owned);
        let list = read(&mut out, &facts, &words, None, (true, false)).unwrap();
        let text: Vec<_> = list.iter().map(|e| shown(&parts(e))).collect();
        assert_eq!(text, [" 10.0.0.0/8", "!fe80::1", " ::/0", " 1.2.3.4"]);
        assert_eq!(encode(&list).len(), 80);
    }

    #[test]
    fn a_bad_line_is_named() {
        let folder = std::env::temp_dir().join(format!("pfload-addresses-{}", std::process::id()));
        std::fs::write(&folder, "1.2.3.4\n5.6.7.8/99\n").unwrap();
        let file = folder.to_string_lossy().into_owned();
        let err = read(&mut Out::new(true, false), &Facts::default(), &[], Some(&file), (true, false)).unwrap_err();
        std::fs::remove_file(&folder).unwrap();
        assert_eq!(err.to_string(), format!("{file}:2: \"5.6.7.8/99\": Invalid argument; nothing was changed"));
    }
}
