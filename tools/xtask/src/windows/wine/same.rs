//! The commands built for Windows say what those built for this machine say.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::prefix::{Wine, drive};
use crate::windows::commands::PACKAGES;
use crate::windows::root;
use crate::windows::run::{Failure, read, run, write};

/// What a program writes to standard output and to standard error.
type Said = (String, String);

/// Where the commands for this machine are: in the folder `PF_COMMANDS` names, else as the last build left them.
fn built() -> PathBuf {
    let of = |profile: &str| root().join("target").join(profile);
    let there = |folder: &PathBuf| PACKAGES.iter().all(|name| folder.join(name).exists());
    let named = std::env::var_os("PF_COMMANDS").map(PathBuf::from);
    named.or_else(|| Some(of("release")).filter(there)).unwrap_or_else(|| of("debug"))
}

/// One of the commands, built for this machine.
///
/// # Errors
/// It is not there. How it ends is left to what it says.
pub(super) fn here(name: &str, arguments: &[&str], input: Option<&Path>) -> Result<Said, Failure> {
    let program = built().join(name);
    let input = match input {
        Some(path) => Stdio::from(std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?),
        None => Stdio::null(),
    };
    let mut command = Command::new(&program);
    let said = command.args(arguments).current_dir(root()).stdin(input).output();
    let said = said.map_err(|error| format!("{}: {error}", program.display()))?;
    Ok((String::from_utf8_lossy(&said.stdout).into_owned(), String::from_utf8_lossy(&said.stderr).into_owned()))
}

/// Command lines that must give the same, with what they read from standard input.
struct Line {
    name: &'static str,
    arguments: Vec<String>,
    input: Option<PathBuf>,
}

/// The examples, and the rules of pf's own regression tests where they are.
fn lines() -> Vec<Line> {
    let line = |name, text: &str| Line { name, arguments: text.split(' ').map(str::to_owned).collect(), input: None };
    let mut all = vec![
        line("pfc", "check examples/gateway.conf --host-facts examples/gateway.toml"),
        line(
            "pfsim",
            "run --rules examples/gateway.conf --host-facts examples/gateway.toml --pcap examples/gateway.pcap --states",
        ),
        line("pfload", "-nvf examples/gateway.conf --host-facts examples/gateway.toml"),
    ];
    let mut rules: Vec<_> =
        std::fs::read_dir(root().join("../shared/pf/corpus/pf")).into_iter().flatten().flatten().collect();
    rules.sort_by_key(std::fs::DirEntry::path);
    for path in rules.iter().map(std::fs::DirEntry::path).filter(|path| path.extension().is_some_and(|e| e == "in")) {
        all.push(Line { input: Some(path), ..line("pfload", "-nvf - --host-facts tests/facts/openbsd.toml") });
    }
    all
}

/// Runs all lines in one Wine program and gives what each said.
fn under(wine: &Wine, folder: &Path, lines: &[Line]) -> Result<Vec<Said>, Failure> {
    let place = |n: usize, kind: &str| folder.join(format!("said/{n}.{kind}"));
    std::fs::create_dir_all(folder.join("said")).map_err(|error| error.to_string())?;
    let mut script = format!("@echo off\r\nZ:\r\ncd {}\r\n", drive(&root()).trim_start_matches("Z:"));
    for (n, line) in lines.iter().enumerate() {
        let input = line.input.as_deref().map_or("NUL".to_owned(), drive);
        script += &format!(
            "C:\\{}.exe {} < {input} > {} 2> {}\r\n",
            line.name,
            line.arguments.join(" "),
            drive(&place(n, "out")),
            drive(&place(n, "err"))
        );
    }
    let batch = folder.join("said/all.bat");
    write(&batch, script.as_bytes())?;
    // The command interpreter ends as its last line does.
    let _last = wine.command("cmd").args(["/c", &drive(&batch)]).stdin(Stdio::null()).status();
    let text = |path: &Path| Ok::<_, Failure>(String::from_utf8_lossy(&read(path)?).into_owned());
    (0..lines.len()).map(|n| Ok((text(&place(n, "out"))?, text(&place(n, "err"))?))).collect()
}

/// Compares all of it.
///
/// # Errors
/// The first that differs.
pub(super) fn prove(wine: &Wine, folder: &Path) -> Result<String, Failure> {
    if !PACKAGES.iter().all(|name| built().join(name).exists()) {
        // With the features of every other build of the workspace, so that nothing is built twice.
        run(Command::new("cargo").args(["build", "--quiet", "--workspace", "--bins"]).current_dir(root()))?;
    }
    let lines = lines();
    let there = under(wine, folder, &lines)?;
    for (line, there) in lines.iter().zip(there) {
        let arguments: Vec<&str> = line.arguments.iter().map(String::as_str).collect();
        let here = here(line.name, &arguments, line.input.as_deref())?;
        if here != there {
            let what = line.input.as_deref().map_or(String::new(), |path| format!(" < {}", path.display()));
            let (at, a, b) = first(&here, &there);
            return Err(format!("{} {}{what}: {at}\nhere:    {a}\nWindows: {b}", line.name, line.arguments.join(" ")));
        }
    }
    let (there, here_made) = (wine.prefix.join("drive_c/gateway.pfbin"), folder.join("here.pfbin"));
    for made in [&there, &here_made] {
        let _none = std::fs::remove_file(made);
    }
    let line = "build examples/gateway.conf --host-facts examples/gateway.toml --target windows -o";
    let to = |path: &str| [line.split(' ').map(str::to_owned).collect(), vec![path.to_owned()]].concat();
    wine.done(wine.command("C:\\pfc.exe").args(to("C:\\gateway.pfbin")).current_dir(root()))?;
    let arguments = to(&here_made.display().to_string());
    here("pfc", &arguments.iter().map(String::as_str).collect::<Vec<_>>(), None)?;
    if read(&there)? != read(&here_made)? {
        return Err("pfc.exe compiles examples/gateway.conf to other bytes than pfc".to_owned());
    }
    Ok(format!("{} command lines say the same here and on Windows; the image is the same", lines.len()))
}

/// The first line that differs.
fn first<'s>(a: &'s Said, b: &'s Said) -> (&'static str, &'s str, &'s str) {
    for (name, a, b) in [("standard output", &a.0, &b.0), ("standard error", &a.1, &b.1)] {
        let (mut a, mut b) = (a.lines(), b.lines());
        loop {
            match (a.next(), b.next()) {
                (None, None) => break,
                (x, y) if x != y => return (name, x.unwrap_or("(nothing)"), y.unwrap_or("(nothing)")),
                _ => {}
            }
        }
    }
    ("line ends", "", "")
}
