//! The content root that the WDK's crates read, made of mingw-w64's DDK headers.
//!
//! Holds what is needed to build with wdk-sys where there is no Windows: header folders in the WDK's shape, import
//! libraries of the names in [`super::imports`], and wdk-build with the changes that let it run on Linux. All of it lies
//! under `target/windows`; nothing of it is committed. On a Windows host with the WDK the stock crates need none of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Arch;
use super::imports::ALLOWED;
use super::run::{Failure, output, read_text, run, write};

/// Where Debian puts mingw-w64's headers.
const MINGW: &str = "/usr/share/mingw-w64/include";
/// A version folder as the WDK has them.
const VERSION: &str = "10.0.99999.0";
/// The release of wdk-build the changes below were made for.
const WDK_BUILD: &str = "0.6.0";

/// What mingw's last header lacks.
const NTSTRSAFE: &str = "#include \"/usr/share/mingw-w64/include/ddk/ntstrsafe.h\"
typedef ULONG64 POOL_FLAGS;
NTKERNELAPI PVOID NTAPI ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag);
";

/// Changes to mingw's headers, which do not know ARM64: file, what stands there, what is read instead.
const HEADER_CHANGES: &[(&str, &str, &str)] = &[
    ("wdm.h", "#error Unknown Architecture\n", "\n"),
    ("ntddk.h", "#error Unknown Architecture\n", "\n"),
    (
        "wdm.h",
        "#if !defined(_AMD64_) && !defined(_IA64_)\n#include <pshpack4.h>",
        "#if !defined(_WIN64)\n#include <pshpack4.h>",
    ),
    (
        "wdm.h",
        "#if !defined(_AMD64_) && !defined(_IA64_)\n#include <poppack.h>",
        "#if !defined(_WIN64)\n#include <poppack.h>",
    ),
    ("wdm.h", "#elif defined(_IA64_)\n  ULONG Dummy;", "#elif !defined(_X86_)\n  ULONG Dummy;"),
];

/// Changes to wdk-build, which was written for Windows hosts; inert there.
const WDK_BUILD_CHANGES: &[(&str, &str, &str)] = &[
    ("Cargo.toml", "[dependencies.windows]", "[target.\"cfg(windows)\".dependencies.windows]"),
    ("src/lib.rs", "pub mod cargo_make;", "#[cfg(windows)]\npub mod cargo_make;"),
    ("src/utils.rs", "\nuse windows::{", "\n#[cfg(windows)]\nuse windows::{"),
    (
        "src/utils.rs",
        "    if let Some(path) = read_registry_key_string_value(",
        "    #[cfg(windows)]\n    if let Some(path) = read_registry_key_string_value(",
    ),
    ("src/utils.rs", "\nfn read_registry_key_string_value(", "\n#[cfg(windows)]\nfn read_registry_key_string_value("),
    ("src/utils.rs", "compile_error!(", "panic!("),
    ("src/lib.rs", "\nmod utils;", "\n#[cfg_attr(not(windows), allow(dead_code, unused_imports))]\nmod utils;"),
    // It asks cargo for manifests: of ours alone, and with itself in the place it has; else the lock file would be changed.
    ("src/lib.rs", "            .current_dir(cwd)", "            .no_deps()\n            .current_dir(cwd)"),
    (
        "src/bindgen.rs",
        ".current_dir(cwd).exec()?",
        ".current_dir(cwd).other_options([\"--locked\", \"--config\", concat!(\"patch.crates-io.wdk-build.path='\", env!(\"CARGO_MANIFEST_DIR\"), \"'\")].map(str::to_owned)).exec()?",
    ),
    // For libraries, which the images are not: cargo warns of each.
    ("src/lib.rs", "\"cargo::rustc-cdylib-link-arg=", "\"of a library: "),
];

/// The made things.
pub(crate) struct Kit {
    /// `WDKContentRoot`.
    pub(crate) content: PathBuf,
    /// The changed wdk-build.
    pub(crate) wdk_build: PathBuf,
}

/// Makes all of it under a folder.
///
/// # Errors
/// A header, a tool or the crate is missing, or reads otherwise than the changes expect.
pub(crate) fn make(folder: &Path) -> Result<Kit, Failure> {
    let content = folder.join("kit");
    headers(&content)?;
    for arch in Arch::ALL {
        libraries(&content, arch)?;
    }
    Ok(Kit { content, wdk_build: wdk_build(folder)? })
}

/// The header folders: links to mingw's, but for the changed ones.
fn headers(content: &Path) -> Result<(), Failure> {
    let include = content.join("Include").join(VERSION);
    let km = include.join("km");
    let ddk = Path::new(MINGW).join("ddk");
    let entries =
        std::fs::read_dir(&ddk).map_err(|error| format!("{}: {error} (mingw-w64-x86-64-dev)", ddk.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let changed = name == "ntstrsafe.h" || HEADER_CHANGES.iter().any(|(file, ..)| name == *file);
        if !changed {
            link(&entry.path(), &km.join(name))?;
        }
    }
    link(Path::new(MINGW), &km.join("crt"))?;
    link(Path::new(MINGW), &include.join("shared"))?;
    write(&km.join("ntstrsafe.h"), NTSTRSAFE.as_bytes())?;
    for file in ["wdm.h", "ntddk.h"] {
        write(&km.join(file), changed(&ddk, file, HEADER_CHANGES)?.as_bytes())?;
    }
    Ok(())
}

/// A file with its changes made. A change that finds nothing is left out for headers of another release.
fn changed(folder: &Path, file: &str, changes: &[(&str, &str, &str)]) -> Result<String, Failure> {
    let text = read_text(&folder.join(file))?.replace("\r\n", "\n");
    let of_file = changes.iter().filter(|(name, ..)| *name == file);
    Ok(of_file.fold(text, |text, (_, old, new)| text.replace(old, new)))
}

/// A symbolic link, made once.
fn link(to: &Path, at: &Path) -> Result<(), Failure> {
    if at.symlink_metadata().is_ok() {
        return Ok(());
    }
    if let Some(folder) = at.parent() {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(to, at).map_err(|error| format!("{}: {error}", at.display()))?;
    #[cfg(not(unix))]
    return Err(format!("{}: on Windows the WDK itself is the content root, not {}", at.display(), to.display()));
    #[cfg(unix)]
    Ok(())
}

/// Import libraries of the allowed names, and empty ones where wdk-sys names a library the driver does not use.
fn libraries(content: &Path, arch: Arch) -> Result<(), Failure> {
    let folder = content.join("Lib").join(VERSION).join("km").join(arch.wdk());
    for (module, names) in ALLOWED {
        let stem = module.split('.').next().unwrap_or(module);
        library(&folder, stem, module, names, arch)?;
    }
    for empty in ["hal", "wmilib", "BufferOverflowFastFailK", "arm64rt"] {
        library(&folder, empty, "ntoskrnl.exe", &["memset"], arch)?;
    }
    Ok(())
}

/// One import library.
fn library(folder: &Path, stem: &str, module: &str, names: &[&str], arch: Arch) -> Result<(), Failure> {
    let definition = folder.join(format!("{stem}.def"));
    let text = format!("LIBRARY {module}\nEXPORTS\n{}\n", names.join("\n"));
    let made = folder.join(format!("{stem}.lib"));
    if made.exists() && read_text(&definition).is_ok_and(|there| there == text) {
        // Written anew it would be the same, and everything would be built again.
        return Ok(());
    }
    write(&definition, text.as_bytes())?;
    let mut tool = Command::new("llvm-dlltool");
    tool.args(["-m", arch.dlltool(), "-d"]).arg(&definition).arg("-l").arg(made);
    run(&mut tool)
}

/// The registry's wdk-build with the changes made.
fn wdk_build(folder: &Path) -> Result<PathBuf, Failure> {
    let to = folder.join("wdk-build");
    let from = fetched(folder)?;
    let files: BTreeSet<&str> = WDK_BUILD_CHANGES.iter().map(|(file, ..)| *file).collect();
    copy(&from, &to, &files.iter().map(|file| from.join(file)).collect::<Vec<_>>())?;
    for file in files {
        let text = changed(&from, file, WDK_BUILD_CHANGES)?;
        let missed = WDK_BUILD_CHANGES.iter().find(|(name, _, new)| *name == file && !text.contains(new));
        if let Some((_, old, _)) = missed {
            return Err(format!("wdk-build {WDK_BUILD}: {file} has no `{}`", old.trim()));
        }
        write(&to.join(file), text.as_bytes())?;
    }
    Ok(to)
}

/// Where cargo keeps the release: a package that needs nothing else is fetched for it.
fn fetched(folder: &Path) -> Result<PathBuf, Failure> {
    let package = folder.join("fetch");
    let manifest = package.join("Cargo.toml");
    let text = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nwdk-build = \"={WDK_BUILD}\"\n"
    );
    write(&manifest, text.as_bytes())?;
    write(&package.join("src/lib.rs"), b"")?;
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version", "1", "--quiet", "--manifest-path"]).arg(&manifest);
    let metadata = output(&mut cargo)?;
    let end = format!("wdk-build-{WDK_BUILD}/Cargo.toml\"");
    let until = metadata.find(&end).ok_or("cargo metadata names no wdk-build")?;
    let path = metadata.get(..until).and_then(|text| text.rsplit('"').next()).unwrap_or_default();
    Ok(PathBuf::from(format!("{path}wdk-build-{WDK_BUILD}")))
}

/// Copies a folder but for some files; those that are the same stay, so that nothing is built anew.
fn copy(from: &Path, to: &Path, but: &[PathBuf]) -> Result<(), Failure> {
    let entries = std::fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))?;
    for entry in entries.flatten() {
        let (at, name) = (entry.path(), entry.file_name());
        if at.is_dir() {
            copy(&at, &to.join(name), but)?;
        } else if !but.contains(&at) {
            write(&to.join(name), &super::run::read(&at)?)?;
        }
    }
    Ok(())
}
