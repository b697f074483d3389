//! Running programs, and saying what failed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

/// What went wrong, for people.
pub(crate) type Failure = String;

/// Runs a command; its output is shown as it comes.
///
/// # Errors
/// It could not be started or did not succeed.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

/// Runs a command and gives what it wrote to standard output; what it wrote to standard error is shown.
///
/// # Errors
/// As [`run`], with all that it wrote.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let out = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = words(command, &out)?;
    let _closed = std::io::stderr().write_all(&out.stderr);
    Ok(text)
}

/// What a command that has ended wrote to standard output.
///
/// # Errors
/// It did not succeed, or wrote something else than text: with all that it wrote.
pub(crate) fn words(command: &Command, out: &Output) -> Result<String, Failure> {
    let why = match (out.status.success(), String::from_utf8(out.stdout.clone())) {
        (true, Ok(text)) => return Ok(text),
        (true, Err(_)) => "not text".to_owned(),
        (false, _) => out.status.to_string(),
    };
    let part = |name: &str, bytes: &[u8]| match String::from_utf8_lossy(bytes).trim_end() {
        "" => format!("\nnothing on standard {name}"),
        text => format!("\nstandard {name}:\n{text}"),
    };
    Err(format!("{command:?}: {why}{}{}", part("output", &out.stdout), part("error", &out.stderr)))
}

/// Reads a file.
///
/// # Errors
/// With its path.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads a text file.
///
/// # Errors
/// With its path.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes a file and the folders it lies in, unless it holds just that.
///
/// # Errors
/// With its path.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_told_with_all_that_it_wrote() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            output(&mut command)
        };
        assert_eq!(shell("echo out; echo err >&2").as_deref(), Ok("out\n"));
        let why = shell("echo out; echo err >&2; exit 3").unwrap_err();
        assert!(why.ends_with(": exit status: 3\nstandard output:\nout\nstandard error:\nerr"), "{why}");
        let why = shell("exit 1").unwrap_err();
        assert!(why.ends_with(": exit status: 1\nnothing on standard output\nnothing on standard error"), "{why}");
        let why = shell("kill -9 $$").unwrap_err();
        assert!(why.contains("signal: 9"), "{why}");
        assert!(shell(r"printf '\377'").unwrap_err().contains(": not text\n"), "no text");
    }
}
