//! Names of operating systems in the fingerprint file, as rules use them.
//!
//! Holds classes, versions and subtypes in the order pfctl numbers them and finds a rule's `os "name"` among them. The
//! fingerprints themselves are elsewhere; here are only names and the numbers that a rule is compiled to.
//!
//! Source: `pfctl_osfp.c pfctl_get_fingerprint`, `pfctl_lookup_fingerprint`; `pfvar.h PF_OSFP_PACK`.

use crate::ruleset::Os;

/// `PF_OSFP_UNKNOWN`: matches what no fingerprint matches.
const UNKNOWN: u32 = u32::MAX;
/// `PF_OSFP_NOMATCH`: never matches.
pub(super) const NOMATCH: u32 = u32::MAX - 1;

/// A class with its versions and their subtypes.
pub(super) type Class = (String, Vec<(String, Vec<String>)>);

/// Operating systems, in the order of their numbers (from 1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsNames {
    /// Classes.
    pub(super) classes: Vec<Class>,
    /// How many fingerprints the file holds, as `-vv` reports.
    pub fingerprints: u32,
}

/// Packs class, version and subtype numbers as pf does; 0 is any.
#[must_use]
pub fn pack(class: u32, version: u32, subtype: u32) -> u32 {
    ((class & 0x3ff) << 20) | ((version & 0x3ff) << 10) | (subtype & 0x3ff)
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1)
}

impl OsNames {
    /// Every name as `class:version:subtype`, in an order that gives the same numbers when added again.
    #[must_use]
    pub fn triples(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (class, versions) in &self.classes {
            if versions.is_empty() {
                out.push(class.clone());
            }
            for (version, subtypes) in versions {
                if subtypes.is_empty() {
                    out.push(format!("{class}:{version}"));
                }
                out.extend(subtypes.iter().map(|subtype| format!("{class}:{version}:{subtype}")));
            }
        }
        out
    }

    /// No names yet, of a file with so many fingerprints.
    #[must_use]
    pub fn counting(fingerprints: u32) -> Self {
        OsNames { fingerprints, ..OsNames::default() }
    }

    /// Adds one name triple; empty version or subtype are none. Known ones are not added again.
    pub fn add(&mut self, class: &str, version: &str, subtype: &str) {
        if class.is_empty() {
            return;
        }
        let at = self.classes.iter().position(|(name, _)| name.eq_ignore_ascii_case(class)).unwrap_or_else(|| {
            self.classes.push((class.to_owned(), Vec::new()));
            self.classes.len() - 1
        });
        let Some((_, versions)) = self.classes.get_mut(at) else { return };
        if version.is_empty() {
            return;
        }
        let at = versions.iter().position(|(name, _)| name.eq_ignore_ascii_case(version)).unwrap_or_else(|| {
            versions.push((version.to_owned(), Vec::new()));
            versions.len() - 1
        });
        let Some((_, subtypes)) = versions.get_mut(at) else { return };
        if !subtype.is_empty() && !subtypes.iter().any(|name| name.eq_ignore_ascii_case(subtype)) {
            subtypes.push(subtype.to_owned());
        }
    }

    /// What `os "name"` means: its number and the text it prints as.
    #[must_use]
    pub fn find(&self, name: &str) -> Os {
        if name.eq_ignore_ascii_case("unknown") {
            return Os { fingerprint: UNKNOWN, name: "unknown".into() };
        }
        self.find_known(name).unwrap_or_else(|| Os { fingerprint: NOMATCH, name: "nomatch".into() })
    }

    fn find_known(&self, name: &str) -> Option<Os> {
        if let Some((i, (class, _))) = lookup(&self.classes, name) {
            return Some(Os { fingerprint: pack(number(i), 0, 0), name: class.clone() });
        }
        let (class_part, rest) = name.split_once(' ')?;
        let (c, (class, versions)) = lookup(&self.classes, class_part)?;
        if let Some((v, (version, _))) = lookup(versions, rest) {
            return Some(Os { fingerprint: pack(number(c), number(v), 0), name: format!("{class} {version}") });
        }
        for (v, (version, subtypes)) in versions.iter().enumerate() {
            let Some(tail) = strip_prefix_no_case(rest, version) else { continue };
            let Some(tail) = tail.strip_prefix(['.', ' ', '\t', '-']).filter(|t| !t.is_empty()) else { continue };
            if let Some(s) = subtypes.iter().position(|s| s.eq_ignore_ascii_case(tail)) {
                let subtype = subtypes.get(s)?;
                let joint = if !version.contains(' ')
                    && version.contains('.')
                    && subtype.starts_with(|ch: char| ch.is_ascii_digit())
                {
                    '.'
                } else {
                    ' '
                };
                let name = format!("{class} {version}{joint}{subtype}");
                return Some(Os { fingerprint: pack(number(c), number(v), number(s)), name });
            }
        }
        None
    }
}

fn lookup<'a, T>(list: &'a [(String, T)], name: &str) -> Option<(usize, &'a (String, T))> {
    list.iter().enumerate().find(|(_, (n, _))| n.eq_ignore_ascii_case(name))
}

fn strip_prefix_no_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| text.get(prefix.len()..)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> OsNames {
        let mut names = OsNames::default();
        names.add("Linux", "2.2", "14");
        names.add("Linux", "2.6", "");
        names.add("Windows", "XP", "SP1");
        names
    }

    #[test]
    fn finds_class_version_and_subtype() {
        let names = names();
        assert_eq!(names.find("linux"), Os { fingerprint: pack(1, 0, 0), name: "Linux".into() });
        assert_eq!(names.find("Linux 2.6"), Os { fingerprint: pack(1, 2, 0), name: "Linux 2.6".into() });
        assert_eq!(names.find("Linux 2.2.14").name, "Linux 2.2.14");
        assert_eq!(names.find("Windows XP SP1"), Os { fingerprint: pack(2, 1, 1), name: "Windows XP SP1".into() });
    }

    #[test]
    fn unknown_names_never_match() {
        assert_eq!(names().find("Mac OS").name, "nomatch");
        assert_eq!(names().find("OpenBSD").fingerprint, NOMATCH);
        assert_eq!(names().find("UNKNOWN").name, "unknown");
    }
}
