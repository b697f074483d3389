//! A prefix of Wine: the driver, the mock and the commands in it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::windows::commands::{NOTIFY, PACKAGES};
use crate::windows::run::{Failure, read, run, words, write};
use crate::windows::{COMMANDS, IMAGES, out, root};

/// A Wine with the driver in it.
pub(super) struct Wine {
    /// Its folder.
    pub(super) prefix: PathBuf,
}

impl Wine {
    /// Makes a prefix and puts the files into it.
    pub(super) fn new(folder: &Path) -> Result<Self, Failure> {
        let prefix = folder.join("prefix");
        let wine = Self { prefix };
        if !wine.prefix.join("drive_c").exists() {
            std::fs::create_dir_all(&wine.prefix).map_err(|error| error.to_string())?;
            run(wine.command("wineboot").arg("-i").stdout(Stdio::null()).stderr(Stdio::null()))?;
            run(wine.server().arg("-w"))?;
        }
        let drivers = wine.prefix.join("drive_c/windows/system32/drivers");
        for image in IMAGES {
            let file = format!("{image}.sys");
            write(&drivers.join(&file), &read(&out().join("x64").join(&file))?)?;
        }
        for file in NOTIFY {
            write(&wine.prefix.join("drive_c").join(file), &read(&out().join("x64").join(file))?)?;
        }
        write(&drivers.join("ndis.sys"), &read(&out().join("wine/ndis.sys"))?)?;
        write(&drivers.join("../bcryptprimitives.dll"), &read(&random()?)?)?;
        for package in PACKAGES {
            let command = format!("{package}.exe");
            write(&wine.prefix.join("drive_c").join(&command), &read(&out().join("x64").join(&command))?)?;
        }
        // One that was left over knows nothing of the new files.
        let _gone = wine.server().arg("-k").status();
        run(wine.server().arg("-p"))?;
        // The first program brings Wine's own along, which write to its standard error for as long as they live.
        run(wine.command("cmd").args(["/c", "exit"]).stdout(Stdio::null()).stderr(fresh(&wine.own())?))?;
        Ok(wine)
    }

    /// Where what Wine's own programs say is written: services, and the process drivers run in.
    fn own(&self) -> PathBuf {
        self.prefix.join("../wine.txt")
    }

    fn environment<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("WINEPREFIX", &self.prefix)
            .env("WINEDLLOVERRIDES", "ndis.sys=n")
            .env("WINEDEBUG", std::env::var("WINEDEBUG").unwrap_or_else(|_| "fixme-all".to_owned()))
            .env_remove("DISPLAY")
            .env_remove("LD_LIBRARY_PATH")
    }

    /// A program, run.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("/usr/lib/wine/wine64");
        self.environment(&mut command).arg(program);
        command
    }

    fn server(&self) -> Command {
        let name = ["/usr/lib/wine/wineserver64", "/usr/lib/wine/wineserver"].iter().find(|p| Path::new(p).exists());
        let mut command = Command::new(name.unwrap_or(&"wineserver"));
        self.environment(&mut command);
        command
    }

    /// Runs a program and gives what it writes to standard output.
    ///
    /// # Errors
    /// It ends with something else than 0: with all that it wrote, Wine's words among them, and what Wine's own programs
    /// said meanwhile.
    pub(super) fn done(&self, command: &mut Command) -> Result<String, Failure> {
        // A file, since what Wine starts besides keeps it open.
        let path = self.prefix.join("../stderr.txt");
        let before = read(&self.own())?.len();
        let mut once = || {
            let out = command.stderr(fresh(&path)?).output().map_err(|error| format!("{command:?}: {error}"))?;
            Ok::<_, Failure>(Output { stderr: read(&path)?, ..out })
        };
        let mut out = once()?;
        for _ in 0..STARTS {
            if !never_began(&out) {
                break;
            }
            out = once()?;
        }
        words(command, &out).map_err(|why| {
            let own = read(&self.own()).unwrap_or_default();
            match String::from_utf8_lossy(own.get(before..).unwrap_or_default()).trim_end() {
                "" => why,
                said => format!("{why}\nWine meanwhile:\n{said}"),
            }
        })
    }

    /// One of the commands: what it writes to standard output.
    ///
    /// # Errors
    /// As [`Self::done`].
    pub(super) fn ours(&self, name: &str, arguments: &[&str]) -> Result<String, Failure> {
        self.done(self.command(&format!("C:\\{name}.exe")).args(arguments))
    }

    /// The notify object of the intermediate driver, asked by a program that takes Windows's place: what that says.
    ///
    /// # Errors
    /// As [`Self::done`].
    pub(super) fn notify(&self) -> Result<String, Failure> {
        let [_, program] = NOTIFY;
        let said = self.done(self.command(&format!("C:\\{program}")).current_dir(self.prefix.join("drive_c")))?;
        Ok(said.trim_end().to_owned())
    }

    /// `reg`, which changes the registry.
    pub(super) fn reg(&self, arguments: &[&str]) -> Result<(), Failure> {
        self.done(self.command("reg").args(arguments)).map(drop)
    }

    /// `sc`, which says what it did on standard output.
    pub(super) fn sc(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.done(self.command("sc").args(arguments))
    }
}

/// Starts that are tried again.
const STARTS: u32 = 3;

/// Whether Wine found the one address taken that it cannot do without, by chance of how Linux lays out processes: it says so
/// and ends before anything of the program has run.
fn never_began(out: &Output) -> bool {
    let said = b"virtual_alloc_first_teb wine: failed to map the shared user data";
    !out.status.success() && out.stdout.is_empty() && out.stderr.windows(said.len()).any(|at| at == said)
}

/// A path as programs under Wine have it.
pub(super) fn drive(path: &Path) -> String {
    format!("Z:{}", path.display()).replace('/', "\\")
}

/// An empty file, another than the one of this name before: who has that open may write to it.
fn fresh(path: &Path) -> Result<File, Failure> {
    let _none = std::fs::remove_file(path);
    File::create(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Builds the library Wine lacks and gives its path.
fn random() -> Result<PathBuf, Failure> {
    let to = out().join("wine/bcryptprimitives.dll");
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--edition", "2024", "--crate-name", "bcryptprimitives", "--crate-type", "cdylib", "--target", COMMANDS])
        .args(["-Cpanic=abort", "-O", "-Clink-arg=-Wl,--no-insert-timestamp"])
        .arg(root().join("driver/mock/wine/prng.rs"))
        .arg("-o")
        .arg(&to);
    run(&mut rustc)?;
    Ok(to)
}

impl Drop for Wine {
    fn drop(&mut self) {
        // The server of this prefix alone; if it is gone, all the better.
        let _ = self.server().arg("-k").status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::run::read_text;

    #[test]
    fn a_start_is_tried_again_when_wine_had_no_room_and_for_nothing_else() {
        let folder = std::env::temp_dir().join(format!("planb-starts-{}", std::process::id()));
        let wine = Wine { prefix: folder.join("prefix") };
        std::fs::create_dir_all(&wine.prefix).unwrap();
        write(&wine.own(), b"").unwrap();
        let room = "echo virtual_alloc_first_teb wine: failed to map the shared user data: c0000018 >&2; exit 1";
        let count = folder.join("count");
        let after = |script: &str| {
            let _none = std::fs::remove_file(&count);
            let script = format!("echo >>{}; {script}", count.display());
            let done = wine.done(Command::new("sh").args(["-c", &script]));
            (done.is_ok(), read_text(&count).unwrap().len())
        };
        assert_eq!(after("exit 0"), (true, 1));
        assert_eq!(after("echo no >&2; exit 1"), (false, 1));
        assert_eq!(after(&format!("echo begun; {room}")), (false, 1));
        assert_eq!(after(room), (false, 4));
        assert_eq!(after(&format!("test $(wc -l <{}) -ge 2 || {{ {room}; }}", count.display())), (true, 2));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
