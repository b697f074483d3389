//! The facts of the machine this runs on.
//!
//! Holds [`Source`], the one way to facts whatever they come from, and [`Live`], which asks the system: interfaces,
//! addresses and default routes over netlink on Linux and IP Helper on Windows ([`super::windows`]), users and groups
//! from the account files where there are any, fingerprints of operating systems from `/etc/pf.os`, else the shipped
//! ones. Services and protocols are those of the shipped tables.
//!
//! Groups follow pf where it has them: the letters of a name (`em` of `em0`) and `egress` for what has a default route;
//! and add the kind of link: `loopback`, `wifi`, `ethernet`, `vpn`, on Windows `wwan` too.
//! Not known here: the other end of a point-to-point link.

use std::collections::BTreeMap;

use crate::osfp::{Fingerprints, SEED};

use super::{Facts, FactsError, Interface};

/// Where pf keeps the fingerprints of operating systems. There is no such place on Windows, where anybody may make a
/// folder of that name.
const PF_OS: &str = "/etc/pf.os";
/// Longest alias of a Windows interface, exclusive.
const WINDOWS_NAME: usize = 257;

/// Where facts come from.
pub trait Source {
    /// Reads the facts as they are now.
    ///
    /// # Errors
    /// When there are none to be had, or they make no sense.
    fn facts(&self) -> Result<Facts, FactsError>;
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live;

impl Source for Live {
    fn facts(&self) -> Result<Facts, FactsError> {
        let mut facts = Facts {
            interfaces: interfaces()?,
            dns: true,
            users: accounts("/etc/passwd"),
            groups: accounts("/etc/group"),
            rtables: vec![0],
            name_limit: if cfg!(windows) { WINDOWS_NAME } else { 0 },
            ..Facts::default()
        };
        facts.set_fingerprints(&fingerprints());
        Ok(facts)
    }
}

/// The fingerprints of this machine's file, else of the shipped one.
fn fingerprints() -> Fingerprints {
    let read = std::fs::read(PF_OS).ok().filter(|_| !cfg!(windows));
    let text = read.map(|bytes| crate::source::text::decode(&bytes).into_owned());
    Fingerprints::parse(PF_OS, text.as_deref().unwrap_or(SEED)).0
}

/// A facts file.
#[derive(Clone, Debug)]
pub struct File(pub std::path::PathBuf);

impl Source for File {
    fn facts(&self) -> Result<Facts, FactsError> {
        let text = std::fs::read_to_string(&self.0)?;
        let mut facts = Facts::parse(&text)?;
        let beside = self.0.parent().unwrap_or(std::path::Path::new(""));
        for folder in facts.folders.values_mut() {
            *folder = beside.join(&*folder);
        }
        Ok(facts)
    }
}

/// The system's interfaces.
#[cfg(not(windows))]
fn interfaces() -> Result<Vec<Interface>, FactsError> {
    Ok(super::system::interfaces())
}

/// The system's interfaces.
#[cfg(windows)]
fn interfaces() -> Result<Vec<Interface>, FactsError> {
    Ok(super::windows::interfaces(&pfwin::sys::adapters()?, &pfwin::sys::routes()?))
}

/// Names and numbers of an account file: the first and third field of each line.
fn accounts(path: &str) -> BTreeMap<String, u32> {
    let text = if cfg!(windows) { String::new() } else { std::fs::read_to_string(path).unwrap_or_default() };
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        Some((name.to_owned(), id.parse().ok()?))
    };
    // Of two entries with one name the first counts.
    text.lines().rev().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_reads_back() {
        let facts = Live.facts().unwrap();
        assert!(facts.interfaces.iter().all(|i| !i.name.is_empty()));
        if cfg!(target_os = "linux") {
            let loopback = facts.interface("lo").expect("a loopback interface");
            assert!(loopback.flags.loopback);
            assert_eq!(facts.users.get("root"), Some(&0));
        }
        // A file of facts has the names, not the fingerprints.
        let written = Facts { prints: Vec::new(), ..facts };
        assert_eq!(Facts::parse(&written.to_toml()).unwrap(), written);
    }

    #[test]
    fn systems_have_names_and_fingerprints_of_the_same_numbers() {
        let facts = Live.facts().unwrap();
        let linux = facts.os.find("Linux").fingerprint;
        let class = |os| pfvm::osfp::unpack(os)[0];
        assert!(facts.prints.iter().any(|p| class(p.os) == class(linux)), "{linux:#x}");
    }

    #[test]
    fn the_example_reads_back() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/gateway.toml");
        let facts = File(path.into()).facts().unwrap();
        assert_eq!(facts.name_of(3), Some("em1"));
        assert_eq!(Facts::parse(&facts.to_toml()).unwrap(), facts);
    }
}
