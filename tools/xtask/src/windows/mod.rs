//! What runs on Windows, built where there is none: the driver, its mock for Wine, the commands.

pub(crate) mod calls;
pub(crate) mod commands;
pub(crate) mod identity;
pub(crate) mod image;
pub(crate) mod imports;
pub(crate) mod inf;
pub(crate) mod kit;
pub(crate) mod locks;
pub(crate) mod package;
pub(crate) mod run;
pub(crate) mod script;
pub(crate) mod unwind;
pub(crate) mod wine;
pub(crate) mod zig;

use std::path::{Path, PathBuf};
use std::process::Command;

use run::{Failure, output, run};

/// A processor the driver is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    /// x86-64.
    X64,
    /// ARM64.
    Arm64,
}

impl Arch {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::X64, Self::Arm64];

    /// Rust's name of the target.
    #[must_use]
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::X64 => "x86_64-pc-windows-msvc",
            Self::Arm64 => "aarch64-pc-windows-msvc",
        }
    }

    /// Rust's name of the target of programs: there are libraries for it on Linux.
    #[must_use]
    pub(crate) const fn programs(self) -> &'static str {
        match self {
            Self::X64 => COMMANDS,
            Self::Arm64 => "aarch64-pc-windows-gnullvm",
        }
    }

    /// `IMAGE_FILE_MACHINE_…`.
    #[must_use]
    pub(crate) const fn machine(self) -> u32 {
        match self {
            Self::X64 => 0x8664,
            Self::Arm64 => 0xAA64,
        }
    }

    /// The WDK's name.
    #[must_use]
    pub(crate) const fn wdk(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Arm64 => "ARM64",
        }
    }

    /// llvm-dlltool's name.
    #[must_use]
    pub(crate) const fn dlltool(self) -> &'static str {
        match self {
            Self::X64 => "i386:x86-64",
            Self::Arm64 => "arm64",
        }
    }
}

/// Target of programs for x64: the libraries it is linked with are mingw's.
pub(crate) const COMMANDS: &str = "x86_64-pc-windows-gnu";

/// The repository.
#[must_use]
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().and_then(Path::parent).unwrap_or(here).to_path_buf()
}

/// Where everything made for Windows is put.
#[must_use]
pub(crate) fn out() -> PathBuf {
    root().join("target/windows")
}

/// Rust targets that are missing are installed.
fn targets(names: &[&str]) -> Result<(), Failure> {
    let there = output(Command::new("rustup").args(["target", "list", "--installed"]))?;
    let missing: Vec<&&str> = names.iter().filter(|name| !there.lines().any(|line| line == **name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    run(Command::new("rustup").args(["target", "add"]).args(missing))
}

/// A folder under `/usr/lib` that begins so.
fn installed(prefix: &str, inside: &str) -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir("/usr/lib").map_err(|error| format!("/usr/lib: {error}"))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with(prefix))
        .map(|e| e.path().join(inside))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().ok_or_else(|| format!("/usr/lib/{prefix}*/{inside}: not there (tools/ci-setup installs it)"))
}

/// clang's own headers, which bindgen needs.
fn clang_headers() -> Result<PathBuf, Failure> {
    let clang = installed("llvm-", "lib/clang")?;
    let entries = std::fs::read_dir(&clang).map_err(|error| format!("{}: {error}", clang.display()))?;
    let found = entries.flatten().map(|e| e.path().join("include")).find(|path| path.join("stddef.h").exists());
    found.ok_or_else(|| format!("{}: no headers (libclang-common-*-dev)", clang.display()))
}

/// Flags that keep this machine's folders out of what is built.
fn remapped() -> Vec<String> {
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    vec![
        format!("--remap-path-prefix={}=planb", root().display()),
        format!("--remap-path-prefix={}=cargo", home.unwrap_or_default()),
    ]
}

/// Cargo for a package of ours that is no member of the workspace, linked by lld-link.
fn cargo(package: &str, arch: Arch, target_dir: &Path) -> Command {
    let root = root();
    let mut cargo = Command::new("cargo");
    let linker = format!("CARGO_TARGET_{}_LINKER", arch.target().replace('-', "_").to_uppercase());
    let flags = [vec!["-Ctarget-feature=+crt-static".to_owned()], remapped()].concat();
    cargo
        .args(["build", "--locked", "--release", "--target", arch.target(), "--target-dir"])
        .arg(target_dir)
        .current_dir(root.join(package))
        .env(linker, "lld-link")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTFLAGS");
    cargo
}

/// The images of the driver: the filter, and the intermediate driver.
pub(crate) const IMAGES: [&str; 2] = ["planb", "planbim"];

/// Builds an image of the driver for a processor and gives its path.
///
/// # Errors
/// Whatever cargo says.
pub(crate) fn driver(kit: &kit::Kit, image: &str, arch: Arch, target_dir: &Path) -> Result<PathBuf, Failure> {
    let package = format!("driver/ndis/{image}");
    locks::fits(&package, kit)?;
    let mut cargo = cargo(&package, arch, target_dir);
    cargo.arg("--config").arg(locks::patch(kit));
    cargo
        .env("WDKContentRoot", &kit.content)
        .env("LIBCLANG_PATH", installed("llvm-", "lib/libclang.so.1").map(|p| p.parent().unwrap_or(&p).to_path_buf())?)
        .env("BINDGEN_EXTRA_CLANG_ARGS", format!("-fgnuc-version=4.2.1 -isystem {}", clang_headers()?.display()));
    let map = target_dir.join(format!("{image}-{}.map", arch.wdk()));
    cargo.env("PLANB_MAP", &map);
    run(&mut cargo)?;
    let linked = target_dir.join(arch.target()).join("release");
    let mut built = run::read(&linked.join(format!("{image}.exe")))?;
    let mut symbols = run::read(&linked.join(format!("{image}.pdb")))?;
    identity::name(&mut built, Some(&mut symbols))?;
    println!("{image} {}: {}", arch.wdk(), image::check(&built, &run::read_text(&map)?, arch == Arch::X64)?);
    let to = out().join(arch.wdk()).join(format!("{image}.sys"));
    run::write(&to.with_extension("pdb"), &symbols)?;
    run::write(&to, &built)?;
    Ok(to)
}

/// Builds the mock of NDIS that Wine loads, and gives its path.
///
/// # Errors
/// Whatever cargo says.
pub(crate) fn mock(target_dir: &Path) -> Result<PathBuf, Failure> {
    run(&mut cargo("driver/mock/pe", Arch::X64, target_dir))?;
    let built = target_dir.join(Arch::X64.target()).join("release");
    let to = out().join("wine/ndis.sys");
    run::write(&to, &run::read(&built.join("ndis.exe"))?)?;
    Ok(to)
}

/// Builds the program that hands requests to devices, and gives its path.
///
/// # Errors
/// Whatever cargo says.
pub(crate) fn feed() -> Result<PathBuf, Failure> {
    let package = root().join("driver/mock/feed");
    run(Command::new("cargo")
        .args(["build", "--quiet", "--locked", "--release", "--target", COMMANDS])
        .current_dir(&package))?;
    Ok(package.join("target").join(COMMANDS).join("release/feed.exe"))
}

/// Builds once more, elsewhere, and compares: the same bytes.
fn twice(kit: &kit::Kit, image: &str, arch: Arch, path: &Path) -> Result<(), Failure> {
    let first = run::read(path)?;
    let again = root().join("driver/ndis/planb/target/again");
    let second = run::read(&driver(kit, image, arch, &again)?)?;
    if first == second {
        println!("{image} {}: built twice, the same {} bytes", arch.wdk(), first.len());
        Ok(())
    } else {
        Err(format!("{image} {}: two builds differ", arch.wdk()))
    }
}

/// `cargo xtask driver`: everything that runs on Windows.
///
/// # Errors
/// What failed.
pub(crate) fn build(arguments: &[String]) -> Result<(), Failure> {
    for inf in inf::check()? {
        println!("{}", inf.display());
    }
    let x64_only = arguments.iter().any(|a| a == "--x64");
    let arches: &[Arch] = if x64_only { &[Arch::X64] } else { &Arch::ALL };
    targets(&[Arch::X64.target(), Arch::Arm64.target(), COMMANDS])?;
    let kit = kit::make(&out())?;
    let target_dir = root().join("driver/ndis/planb/target");
    for arch in arches {
        for image in IMAGES {
            let path = driver(&kit, image, *arch, &target_dir)?;
            println!("{}", path.display());
            if arguments.iter().any(|a| a == "--twice") {
                twice(&kit, image, *arch, &path)?;
            }
        }
    }
    println!("{}", mock(&root().join("driver/mock/pe/target"))?.display());
    println!("{}", commands::notify(Arch::X64)?.display());
    for command in commands::build(commands::Profile::Dev, Arch::X64)? {
        println!("{}", command.display());
    }
    Ok(())
}
