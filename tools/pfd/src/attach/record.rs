//! What to undo, written down before it is done: one file for each interface under `/run/pfd`.
//!
//! A file is complete or not there: it is written beside and renamed. Who works on an interface holds a lock beside it
//! ([`hold`]), which the kernel gives up for a process that dies: a record nobody holds is one to be recovered.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::AttachError;
use super::settings::Settings;
use crate::netlink::table::Belongings;

/// Where records are, unless `PFD_RUN` says otherwise.
const FOLDER: &str = "/run/pfd";

/// What an interface is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// Beneath a TAP.
    Attached,
    /// One of the two of a bridge.
    Bridged,
}

/// The record of one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) role: Role,
    /// Its name.
    pub(crate) name: String,
    /// Index of the adapter.
    pub(crate) adapter: u32,
    /// Name of the adapter meanwhile.
    pub(crate) hidden: String,
    /// It was up.
    pub(crate) up: bool,
    /// It had ARP off.
    pub(crate) noarp: bool,
    /// Its `clsact` is pfd's.
    pub(crate) own_clsact: bool,
    /// It is to be opened when pfd dies.
    pub(crate) open: bool,
    /// The process that keeps it.
    pub(crate) pid: u32,
    pub(crate) settings: Settings,
    #[serde(with = "hex")]
    pub(crate) belongings: Belongings,
}

fn folder() -> PathBuf {
    std::env::var_os("PFD_RUN").map_or_else(|| PathBuf::from(FOLDER), PathBuf::from)
}

fn file_of(name: &str) -> PathBuf {
    // Names of links hold no slash.
    folder().join(format!("{}.json", name.replace('/', "_")))
}

fn said(path: &Path, error: impl ToString) -> AttachError {
    AttachError::Record { path: path.display().to_string(), error: error.to_string() }
}

fn read(path: &Path) -> Result<Option<Record>, AttachError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| said(path, e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(said(path, e)),
    }
}

/// The record of an interface.
pub(crate) fn find(name: &str) -> Result<Option<Record>, AttachError> {
    read(&file_of(name))
}

/// All records.
pub(crate) fn all() -> Result<Vec<Record>, AttachError> {
    let folder = folder();
    let list = match fs::read_dir(&folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| said(&folder, e))?,
    };
    let mut found = Vec::new();
    for entry in list {
        let path = entry.map_err(|e| said(&folder, e))?.path();
        if path.extension().is_some_and(|e| e == "json") {
            found.extend(read(&path)?);
        }
    }
    found.sort_by(|a: &Record, b| a.name.cmp(&b.name));
    Ok(found)
}

impl Record {
    /// Writes it down for good.
    pub(crate) fn write(&self) -> Result<(), AttachError> {
        let path = file_of(&self.name);
        let beside = path.with_extension("new");
        let write = || -> io::Result<()> {
            fs::create_dir_all(folder())?;
            let mut file = fs::File::create(&beside)?;
            file.write_all(&serde_json::to_vec_pretty(self).map_err(io::Error::other)?)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().map_err(|e| said(&path, e))
    }

    /// Nothing is left to undo.
    pub(crate) fn remove(&self) -> Result<(), AttachError> {
        let path = file_of(&self.name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(said(&path, e)),
            _ => Ok(()),
        }
    }
}

/// The sole right to change an interface, held until it is dropped or its process is gone.
#[derive(Debug)]
pub(crate) struct Hold(#[expect(dead_code, reason = "the lock lies in the open file")] fs::File);

/// Takes hold of an interface; `None` when another process has it.
pub(crate) fn hold(name: &str) -> Result<Option<Hold>, AttachError> {
    let path = file_of(name).with_extension("lock");
    let open = || -> io::Result<fs::File> {
        fs::create_dir_all(folder())?;
        fs::File::options().create(true).truncate(false).write(true).open(&path)
    };
    let file = open().map_err(|e| said(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Hold(file))),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(e)) => Err(said(&path, e)),
    }
}

/// Messages as hexadecimal text.
mod hex {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::netlink::table::Belongings;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Text {
        addresses: Vec<String>,
        routes: Vec<String>,
        neighbours: Vec<String>,
    }

    fn text(list: &[Vec<u8>]) -> Vec<String> {
        list.iter().map(|m| m.iter().map(|b| format!("{b:02x}")).collect()).collect()
    }

    fn bytes<E: Error>(list: &[String]) -> Result<Vec<Vec<u8>>, E> {
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).ok().filter(|p| p.len() == 2);
            pair.and_then(|p| u8::from_str_radix(p, 16).ok()).ok_or_else(|| E::custom("not hexadecimal"))
        };
        list.iter().map(|m| m.as_bytes().chunks(2).map(byte).collect()).collect()
    }

    pub(super) fn serialize<S: Serializer>(b: &Belongings, s: S) -> Result<S::Ok, S::Error> {
        let (addresses, routes, neighbours) = (text(&b.addresses), text(&b.routes), text(&b.neighbours));
        Text { addresses, routes, neighbours }.serialize(s)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(d: D) -> Result<Belongings, D::Error> {
        let t = Text::deserialize(d)?;
        let (addresses, routes, neighbours) = (bytes(&t.addresses)?, bytes(&t.routes)?, bytes(&t.neighbours)?);
        Ok(Belongings { addresses, routes, neighbours })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back() {
        let belongings = Belongings { addresses: vec![vec![1, 0xab]], ..Belongings::default() };
        let record = Record {
            role: Role::Bridged,
            name: "eth0".to_owned(),
            adapter: 3,
            hidden: "eth0.pfd".to_owned(),
            up: true,
            noarp: false,
            own_clsact: true,
            open: false,
            pid: 1,
            settings: Settings::from([("ipv4/rp_filter".to_owned(), "2".to_owned())]),
            belongings,
        };
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains("01ab") && text.contains("bridged"), "{text}");
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        assert!(serde_json::from_str::<Record>(&text.replace("01ab", "01xy")).is_err());
        assert!(serde_json::from_str::<Record>(&text.replace("01ab", "01a")).is_err());
    }
}
