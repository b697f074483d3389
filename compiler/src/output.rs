//! Files written whole or not at all.
//!
//! Holds [`Output`]: bytes go to a file beside the one wanted, which takes its place in one step when all is well.
//! **Invariant:** a run that fails or is stopped leaves what was there as it was.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file being written. Dropped without [`Output::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Output {
    writer: Option<BufWriter<File>>,
    /// Where the bytes go meanwhile, and where they belong; `None` when they go there at once (devices, pipes).
    aside: Option<(PathBuf, PathBuf)>,
}

impl Output {
    /// Starts a file that will be `path`.
    ///
    /// # Errors
    /// What the system says of creating a file there.
    pub fn create(path: &Path) -> io::Result<Self> {
        // A link stays a link: what it points at is replaced.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if target.exists() && !target.is_file() {
            let file = File::options().write(true).open(&target)?;
            return Ok(Self { writer: Some(BufWriter::new(file)), aside: None });
        }
        let name = target.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
        let mut aside = std::ffi::OsString::from(".");
        aside.push(name);
        aside.push(format!(".{}.part", std::process::id()));
        let aside = target.with_file_name(aside);
        let file = File::create(&aside)?;
        if let Ok(there) = target.metadata() {
            file.set_permissions(there.permissions())?;
        }
        Ok(Self { writer: Some(BufWriter::new(file)), aside: Some((aside, target)) })
    }

    /// Writes what is buffered to the disk and puts the file in its place.
    ///
    /// # Errors
    /// What the system says; the old file is then still there.
    pub fn commit(mut self) -> io::Result<()> {
        if let Some(mut writer) = self.writer.take() {
            writer.flush()?;
            if self.aside.is_some() {
                writer.get_ref().sync_all()?;
            }
        }
        if let Some((aside, target)) = &self.aside {
            std::fs::rename(aside, target)?;
        }
        self.aside = None;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.as_mut().map_or(Ok(0), |writer| writer.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        drop(self.writer.take());
        if let Some((aside, _)) = &self.aside {
            // Nothing better can be done about a file that stays.
            let _ = std::fs::remove_file(aside);
        }
    }
}

/// Writes `bytes` as the file `path`, whole or not at all.
///
/// # Errors
/// What the system says; the old file is then still there.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut output = Output::create(path)?;
    output.write_all(bytes)?;
    output.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("pfc-output-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole() {
        let folder = folder("whole");
        let path = folder.join("x");
        write(&path, b"old").unwrap();
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        output.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(names(&folder), ["x"]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_given_up_leaves_the_old_one() {
        let folder = folder("given-up");
        let path = folder.join("x");
        write(&path, b"old").unwrap();
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(&folder), ["x"]);
        assert!(Output::create(&folder.join("none/x")).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
