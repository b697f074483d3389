//! Operating-system fingerprints: the file pf.os(5), as rules and the engine use it.
//!
//! Each line is one fingerprint with the name of the system that sends it. Lines become records of the image in the
//! order of the file, once as written and once for IPv6; names become numbers in the order they come up.
//! **Invariant:** a bad line is reported and skipped, never fatal, as pfctl does.
//!
//! Source: OpenBSD 7.8 `sbin/pfctl/pfctl_osfp.c`, `pf.os(5)`.

mod line;

use pfvm::image::Print;
use pfvm::osfp::{self, flag};

use crate::facts::OsNames;

pub use line::Line;

/// A small file of our own, used where the host has none: what common systems send today.
pub const SEED: &str = include_str!("seed.os");

/// Longest name of a class, version or subtype, bytes.
const MAX_NAME: usize = 31;
/// Versions or subtypes one line may stand for (`2-4`); more are left out.
const MAX_RANGE: u32 = 1000;
/// Fingerprints that are kept at most.
const MAX_PRINTS: usize = 1 << 16;

/// A name and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As first written.
    pub name: String,
    /// Versions of a class, subtypes of a version: their numbers are their places, from 1.
    pub below: Vec<Name>,
}

/// The fingerprints of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// Classes: their numbers are their places, from 1.
    pub classes: Vec<Name>,
    /// Records of the image: equal fingerprints stand together, otherwise in the order of the file.
    pub prints: Vec<Print>,
    /// Fingerprints counted as pfctl counts them.
    pub count: u32,
}

/// The numbers of a class, version and subtype.
fn number(list: &mut Vec<Name>, name: &str) -> usize {
    let at = list.iter().position(|n| n.name.eq_ignore_ascii_case(name)).unwrap_or_else(|| {
        list.push(Name { name: name.to_owned(), below: Vec::new() });
        list.len() - 1
    });
    at + 1
}

/// The place in a list of a number.
fn below(list: &mut [Name], number: usize) -> Option<&mut Vec<Name>> {
    list.get_mut(number.checked_sub(1)?).map(|n| &mut n.below)
}

fn packed(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Fingerprints {
    /// Reads a file. Gives what it says and the complaints about it, in pfctl's words, one a line of the file.
    #[must_use]
    pub fn parse(file: &str, text: &str) -> (Self, Vec<String>) {
        let (mut all, mut complaints) = (Self::default(), Vec::new());
        for (i, raw) in text.lines().enumerate() {
            match Line::parse(raw) {
                Ok(None) => {}
                Ok(Some(line)) => {
                    let before = all.count;
                    all.add(&line.class, &line.version, &line.subtype, &line.print, &mut complaints);
                    let print = Print {
                        flags: line.print.flags | flag::DF | flag::INET6,
                        size: line.print.size.saturating_add(20),
                        ..line.print
                    };
                    all.add(&line.class, &line.version, &line.subtype, &print, &mut complaints);
                    if all.count == before {
                        break;
                    }
                }
                Err(e) => complaints.push(format!("{file}:{} {e}", i + 1)),
            }
        }
        (all, complaints)
    }

    /// Adds a fingerprint under its name, and under each name a range in the version or the subtype stands for.
    fn add(&mut self, class: &str, version: &str, subtype: &str, print: &Print, complaints: &mut Vec<String>) {
        for v in expand(version) {
            self.add(class, &v, subtype, print, complaints);
        }
        for s in expand(subtype) {
            self.add(class, version, &s, print, complaints);
        }
        if self.prints.len() >= MAX_PRINTS {
            return;
        }
        let c = number(&mut self.classes, class);
        let (mut v, mut s) = (0, 0);
        if !version.is_empty()
            && let Some(versions) = below(&mut self.classes, c)
        {
            v = number(versions, version);
            if !subtype.is_empty()
                && let Some(subtypes) = below(versions, v)
            {
                s = number(subtypes, subtype);
            }
        }
        self.count = self.count.saturating_add(1);
        let os = osfp::pack(packed(c), packed(v), packed(s));
        self.insert(Print { os, ..*print }, || {
            complaints.push(format!("Duplicate signature for {class} {version} {subtype}: File exists"));
        });
    }

    /// Puts a record behind its equals, or at the end.
    fn insert(&mut self, print: Print, duplicate: impl FnOnce()) {
        let Some(first) = self.prints.iter().position(|p| osfp::same_print(p, &print)) else {
            self.prints.push(print);
            return;
        };
        let rest = self.prints.iter().skip(first);
        let group = rest.take_while(|p| osfp::same_print(p, &print)).count();
        if self.prints.iter().skip(first).take(group).any(|p| p.os == print.os) {
            duplicate();
        } else {
            self.prints.insert(first + group, print);
        }
    }

    /// All names, as `class`, `version` and `subtype` with empty strings for none, in the order of their numbers.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.classes.iter().flat_map(|c| {
            let versions = c.below.iter().flat_map(move |v| {
                let subtypes = v.below.iter().map(move |s| (c.name.as_str(), v.name.as_str(), s.name.as_str()));
                core::iter::once((c.name.as_str(), v.name.as_str(), "")).chain(subtypes)
            });
            core::iter::once((c.name.as_str(), "", "")).chain(versions)
        })
    }

    /// The names, as rules look them up.
    #[must_use]
    pub fn os_names(&self) -> OsNames {
        let mut names = OsNames::default();
        names.fingerprints = self.count;
        for (class, version, subtype) in self.names() {
            names.add(class, version, subtype);
        }
        names
    }

    /// The list `pfctl -s osfp` prints.
    #[must_use]
    pub fn show(&self) -> String {
        let mut out = String::from("Class\tVersion\tSubtype(subversion)\n-----\t-------\t-------------------\n");
        show_names(&self.classes, "", &mut out);
        out
    }
}

/// Names in alphabetical order, each line cut to what pfctl has room for.
fn show_names(list: &[Name], prefix: &str, out: &mut String) {
    let mut sorted: Vec<&Name> = list.iter().collect();
    sorted.sort_by_key(|n| n.name.to_ascii_lowercase());
    for n in sorted {
        let line: String = format!("{prefix}{}\t", n.name).chars().take(MAX_NAME).collect();
        out.push_str(&line);
        out.push('\n');
        show_names(&n.below, &line, out);
    }
}

/// The names a range stands for: `2-4` or `3.1-3.4`; none when it is no range. One digit may stand before the dot,
/// two at the start and three at the end of the range.
fn expand(name: &str) -> Vec<String> {
    range(name).map_or_else(Vec::new, |(dot, from, to)| {
        let one = |n: u32| dot.map_or_else(|| n.to_string(), |d| format!("{d}.{n}"));
        (from..=to.min(from.saturating_add(MAX_RANGE))).map(one).collect()
    })
}

fn range(name: &str) -> Option<(Option<char>, u32, u32)> {
    let dotted = |t: &str| {
        let mut c = t.chars();
        c.next().filter(char::is_ascii_digit).filter(|_| c.next() == Some('.'))
    };
    let dot = dotted(name);
    let rest = if dot.is_some() { name.get(2..)? } else { name };
    let (from, mut to) = rest.split_once('-')?;
    if let Some(d) = dot {
        to = (dotted(to)? == d).then(|| to.get(2..)).flatten()?;
    } else if dotted(to).is_some() {
        return None;
    }
    let digits = |t: &str, most| (1..=most).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
    (digits(from, 2) && digits(to, 3)).then_some((dot, from.parse().ok()?, to.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Fingerprints, Vec<String>) {
        Fingerprints::parse("/etc/pf.os", text)
    }

    #[test]
    fn lines_become_two_records() {
        let (all, complaints) =
            parse("# comment\n 16384:64:1:64:M*,N,N,S,N,W6,N,N,T:\tOpenBSD:6.1::OpenBSD 6.1 # x\n\n");
        assert!(complaints.is_empty(), "{complaints:?}");
        assert_eq!((all.count, all.prints.len()), (2, 2));
        let (four, six) = (all.prints[0], all.prints[1]);
        assert_eq!((four.os, four.window, four.size, four.ttl), (osfp::pack(1, 1, 0), 16384, 64, 64));
        assert_eq!((four.options_len, four.wscale, four.flags), (9, 6, flag::DF | flag::MSS_ANY));
        assert_eq!((six.size, six.flags), (84, four.flags | flag::INET6));
        assert_eq!(all.names().collect::<Vec<_>>(), [("OpenBSD", "", ""), ("OpenBSD", "6.1", "")]);
    }

    #[test]
    fn ranges_stand_for_each_of_them_first() {
        let (all, _) = parse("1:2:0:3:.:Linux:2.4-2.6:1-2:Linux\n1:2:0:4:.:linux:2.5::Linux\n");
        let names: Vec<_> = all.names().filter(|n| n.2.is_empty()).map(|n| n.1).collect();
        assert_eq!(names, ["", "2.4", "2.5", "2.6", "2.4-2.6"]);
        let subtypes: Vec<_> = all.classes[0].below[1].below.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(subtypes, ["1", "2", "1-2"]);
        assert_eq!(all.classes.len(), 1);
        for (text, want) in [
            ("2.4-3.6", None),
            ("2-3.4", None),
            ("2-", None),
            ("NT-2", None),
            ("111-222", None),
            ("4-4", Some((None, 4, 4))),
            ("9-1", Some((None, 9, 1))),
            ("3.0-3.5", Some((Some('3'), 0, 5))),
        ] {
            assert_eq!(range(text), want, "{text}");
        }
        assert!(expand("9-1").is_empty());
    }

    #[test]
    fn complaints_are_those_of_pfctl() {
        let (all, complaints) = parse(
            "1:2:3:4:.:a:b:c:desc\n:1:1:1:.:a:::desc\nx:1:1:1:.:a:::desc\n%:1:1:1:.:a:::desc\nS1:T1:1:1:.:a:::desc\n\
             *1:1:1:1:.:a:::desc\n1:1:1:9999:.:a:::desc\n1:1:1:1:Q1:a:::desc\n1:1:1:1:M:a:::desc\n1:1:1:1:.:a:::d\n\
             1:1:1:1:.:a:::desc:more\n1:1:1:1:.:a:::desc\n1:1:1:1:.:A:::desc\n",
        );
        let want = [
            "/etc/pf.os:1 don't fragment frag value 3 > 1",
            "/etc/pf.os:2 empty window size",
            "/etc/pf.os:3 non-digit character in window size",
            "/etc/pf.os:4 modulus window size must have a value",
            "/etc/pf.os:5 does not allow T' ttl",
            "/etc/pf.os:6 long '*' window size",
            "/etc/pf.os:7 overall packet size value 9999 > 8192",
            "/etc/pf.os:8 unknown option to Q TCP opt",
            "/etc/pf.os:9 unknown character '\0' in M TCP opt",
            "/etc/pf.os:10 too short OS description",
            "/etc/pf.os:11 excess field",
            "Duplicate signature for A  : File exists",
            "Duplicate signature for A  : File exists",
        ];
        assert_eq!(complaints, want);
        assert_eq!((all.count, all.prints.len()), (4, 2));
    }

    #[test]
    fn equal_fingerprints_stand_together() {
        let (all, _) = parse("1:1:1:1:.:a:::desc\n2:1:1:1:.:b:::desc\n1:1:1:1:.:c:::desc\n");
        let os: Vec<_> = all.prints.iter().map(|p| p.os >> 20).collect();
        assert_eq!(os, [1, 3, 1, 3, 2, 2]);
    }

    #[test]
    fn rules_find_the_numbers_of_the_records() {
        let (all, _) = parse(SEED);
        let names = all.os_names();
        for text in ["OpenBSD", "Linux 5-6", "Windows 2016 Server", "MacOS 12"] {
            let os = names.find(text).fingerprint;
            let want = osfp::unpack(os);
            let fits = |p: &Print| osfp::unpack(p.os).into_iter().zip(want).all(|(a, b)| b == 0 || a == b);
            assert!(all.prints.iter().any(fits), "{text}: {os:#x}");
        }
    }

    #[test]
    fn the_list_is_sorted_and_cut() {
        let (all, _) = parse("1:1:1:1:.:windows:XP:SP1:desc\n1:1:1:2:.:Linux:2.6-and-a-very-long-name-indeed::desc\n");
        let head = "Class\tVersion\tSubtype(subversion)\n-----\t-------\t-------------------\n";
        let rows = "Linux\t\nLinux\t2.6-and-a-very-long-name-\nwindows\t\nwindows\tXP\t\nwindows\tXP\tSP1\t\n";
        assert_eq!(all.show(), format!("{head}{rows}"));
    }

    #[test]
    fn our_own_file_is_without_complaint() {
        let (all, complaints) = parse(SEED);
        assert!(complaints.is_empty(), "{complaints:?}");
        assert!(all.prints.len() > 20);
    }
}
