//! Files: what was read, under which name, and how to read another one.
//!
//! Holds every file of a compilation for as long as diagnostics may point into it. Never parses anything.
//!
//! **Invariant:** a [`FileId`] stays valid for the life of its [`Sources`]; files are never dropped or changed.

pub mod text;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::ast::{FileId, Span};

/// Where file contents come from: the disk, or a map in tests and sandboxes.
pub trait Loader {
    /// The bytes of a file. The error is strerror's text (`No such file or directory`).
    ///
    /// # Errors
    /// Whatever kept the file from being read.
    fn read(&mut self, name: &str) -> Result<Vec<u8>, String>;
}

/// Reads from the disk, relative names from the current directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Loader for Disk {
    fn read(&mut self, name: &str) -> Result<Vec<u8>, String> {
        let path = Path::new(name);
        if path.is_dir() {
            return Err("Is a directory".to_owned());
        }
        std::fs::read(path).map_err(|error| strerror(&error))
    }
}

/// strerror's words for what the platform reported.
#[must_use]
pub fn strerror(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "No such file or directory".to_owned(),
        ErrorKind::PermissionDenied => "Permission denied".to_owned(),
        ErrorKind::IsADirectory => "Is a directory".to_owned(),
        ErrorKind::NotADirectory => "Not a directory".to_owned(),
        ErrorKind::InvalidFilename => "File name too long".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        }
    }
}

/// Files by name, nothing else exists.
#[derive(Clone, Debug, Default)]
pub struct Memory(pub BTreeMap<String, Vec<u8>>);

impl Loader for Memory {
    fn read(&mut self, name: &str) -> Result<Vec<u8>, String> {
        match self.0.get(name) {
            Some(bytes) => Ok(bytes.clone()),
            None if matches!(name, "." | "/") => Err("Is a directory".to_owned()),
            None if name == "/dev/null" => Ok(Vec::new()),
            None => Err("No such file or directory".to_owned()),
        }
    }
}

/// One file.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Name as messages print it; `stdin` for standard input.
    pub name: Arc<str>,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

/// All files of a compilation.
pub struct Sources {
    files: Vec<SourceFile>,
    loader: Box<dyn Loader>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl Sources {
    /// No files yet.
    #[must_use]
    pub fn new(loader: Box<dyn Loader>) -> Self {
        Sources { files: Vec::new(), loader }
    }

    /// Files from the disk.
    #[must_use]
    pub fn disk() -> Self {
        Self::new(Box::new(Disk))
    }

    /// Takes bytes already read.
    pub fn add(&mut self, name: &str, bytes: impl Into<Vec<u8>>) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(SourceFile { name: name.into(), bytes: bytes.into().into() });
        id
    }

    /// Reads a file and keeps it.
    ///
    /// # Errors
    /// strerror's text.
    pub fn open(&mut self, name: &str) -> Result<FileId, String> {
        let bytes = self.loader.read(name)?;
        if u32::try_from(bytes.len()).is_err() {
            return Err("File too large".to_owned());
        }
        Ok(self.add(name, bytes))
    }

    /// Reads a file without keeping it (contents of tables).
    ///
    /// # Errors
    /// strerror's text.
    pub fn read(&mut self, name: &str) -> Result<Vec<u8>, String> {
        self.loader.read(name)
    }

    /// A file.
    #[must_use]
    pub fn file(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(usize::try_from(id.0).ok()?)
    }

    /// A file's name, empty when there is none.
    #[must_use]
    pub fn name(&self, id: FileId) -> Arc<str> {
        self.file(id).map_or_else(|| Arc::from(""), |file| Arc::clone(&file.name))
    }

    /// The bytes under a span.
    #[must_use]
    pub fn slice(&self, span: Span) -> &[u8] {
        let range = usize::try_from(span.lo).ok().zip(usize::try_from(span.hi).ok());
        match (self.file(span.file), range) {
            (Some(file), Some((lo, hi))) => file.bytes.get(lo..hi).unwrap_or_default(),
            _ => &[],
        }
    }

    /// Line and column (in characters) of a byte, both from 1.
    #[must_use]
    pub fn position(&self, file: FileId, byte: u32) -> (usize, usize) {
        let Some(file) = self.file(file) else { return (1, 1) };
        let end = usize::try_from(byte).unwrap_or(usize::MAX).min(file.bytes.len());
        let before = file.bytes.get(..end).unwrap_or_default();
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
        let line = before.get(..start).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
        let column = text::decode(before.get(start..).unwrap_or_default()).chars().count();
        (line.saturating_add(1), column.saturating_add(1))
    }

    /// How many files there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}
