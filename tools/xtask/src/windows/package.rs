//! `cargo xtask package`: the zip people install from.
//!
//! ```text
//! planb-VERSION-windows.zip
//!   x64/ ARM64/     both drivers, the notify object and their INFs, signed with a test certificate
//!   bin/x64 …       pfload.exe pfc.exe pfsim.exe
//!   README.txt install.ps1 uninstall.ps1 test-sign.ps1 planb-test.cer
//!   docs/ examples/ LICENSE THIRD-PARTY.txt SHA256SUMS
//! ```
//!
//! The same sources and the same certificate give the same bytes: names in order, no times, no owners, signatures dated by
//! `SOURCE_DATE_EPOCH` or a fixed day. The certificate's key is made once, under `target/windows/signing`; it is worth
//! nothing outside of machines that were told to trust it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::commands::{self, PACKAGES, Profile};
use super::run::{Failure, output, read, read_text, run, write};
use super::{Arch, COMMANDS, inf, out, root};

/// The day signatures are dated when nobody says which: 2026-01-01.
const DAY: &str = "1767225600";
/// Pages that go along.
const PAGES: &[&str] = &["windows", "windows-im", "commands", "language", "host-facts", "watching", "json"];
/// Examples that go along.
const EXAMPLES: &[&str] = &["gateway.conf", "gateway.toml", "gateway.pcap"];
/// Scripts that go along.
pub(super) const SCRIPTS: &[&str] = &["install.ps1", "uninstall.ps1", "test-sign.ps1"];
/// Files by their names in the zip.
type Files = BTreeMap<String, Vec<u8>>;

/// The certificate and its key, made when there are none.
fn certificate() -> Result<(PathBuf, PathBuf), Failure> {
    let folder = out().join("signing");
    let (certificate, key) = (folder.join("planb-test.cer"), folder.join("planb-test.key"));
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut openssl = Command::new("openssl");
    openssl
        .args(["req", "-x509", "-newkey", "rsa:3072", "-sha256", "-days", "3650", "-nodes", "-subj", "/CN=Plan B test"])
        .args(["-addext", "extendedKeyUsage=codeSigning", "-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null());
    run(&mut openssl)?;
    Ok((certificate, key))
}

/// An image with a signature of the test certificate and hashes of its pages, which verifies.
fn signed(image: &Path) -> Result<Vec<u8>, Failure> {
    let (certificate, key) = certificate()?;
    let name = image.file_name().unwrap_or_default();
    let folder = image.parent().and_then(Path::file_name).unwrap_or_default();
    let to = out().join("signing").join(folder).join(name);
    // The tool writes no file that is there.
    let _none = std::fs::remove_file(&to);
    std::fs::create_dir_all(to.parent().unwrap_or(&to)).map_err(|error| format!("{}: {error}", to.display()))?;
    let day = std::env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| DAY.to_owned());
    let mut tool = Command::new("osslsigncode");
    tool.args(["sign", "-h", "sha256", "-ph", "-n", "Plan B", "-time", &day]).arg("-certs").arg(&certificate);
    tool.arg("-key").arg(key).arg("-in").arg(image).arg("-out").arg(&to).stdout(Stdio::null());
    run(&mut tool)?;
    let mut tool = Command::new("osslsigncode");
    tool.args(["verify", "-CAfile"]).arg(&certificate).arg("-in").arg(&to).stdout(Stdio::null());
    run(&mut tool)?;
    read(&to)
}

/// What an INF copies.
fn copied(text: &str) -> Vec<String> {
    let after = text.split("[SourceDisksFiles]").nth(1).unwrap_or_default();
    let lines = after.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| Some(line.split_once('=')?.0.trim().to_owned())).collect()
}

/// Drivers and INFs of a processor; digests of the images before they were signed go to `unsigned`.
fn drivers(files: &mut Files, arch: Arch, unsigned: &mut String) -> Result<(), Failure> {
    let built = out().join(arch.wdk());
    for path in inf::check()? {
        let text = read_text(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for image in copied(&text) {
            let place = format!("{}/{image}", arch.wdk());
            if let Entry::Vacant(free) = files.entry(place.clone()) {
                let from = built.join(&image);
                if !from.exists() {
                    return Err(format!("{name} copies {image}, which is not built: {}", from.display()));
                }
                *unsigned += &format!("{}  {place}\n", sum(&read(&from)?));
                free.insert(signed(&from)?);
            }
        }
        // As Windows writes them, whatever the checkout did.
        let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        files.insert(format!("{}/{name}", arch.wdk()), text.into_bytes());
    }
    Ok(())
}

/// Licences of the crates that are linked into the commands: each with its name, then each text once.
fn licences() -> Result<String, Failure> {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--edges", "normal", "--target", COMMANDS, "--prefix", "none", "--format", "{p}|{l}|{r}"]);
    for package in PACKAGES {
        cargo.args(["-p", package]);
    }
    let tree = output(cargo.current_dir(root()))?;
    let mut crates: Vec<(String, String)> = tree
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('|');
            let name = fields.next()?.split(' ').take(2).collect::<Vec<_>>().join(" ");
            let licence = fields.next()?.to_owned();
            (!name.is_empty() && !line.contains(&format!("({}", root().display()))).then_some((name, licence))
        })
        .collect();
    crates.sort();
    crates.dedup();
    let mut text = "Crates that are linked into pfload.exe, pfc.exe and pfsim.exe, with their licences.\n\n".to_owned();
    for (name, licence) in &crates {
        text += &format!("{name}: {licence}\n");
    }
    let registry = registry()?;
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, _) in &crates {
        for found in texts_of(&registry, name)? {
            texts.entry(found).or_default().push(name);
        }
    }
    for (licence, of) in texts {
        text += &format!("\n{}\n{}\n\n{}\n", "=".repeat(72), of.join(", "), licence.trim());
    }
    Ok(text)
}

/// Folders of the registry's sources.
fn registry() -> Result<Vec<PathBuf>, Failure> {
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    let folder = PathBuf::from(home.unwrap_or_default()).join("registry/src");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// Texts of the licences of a crate (`name vVERSION`).
fn texts_of(registry: &[PathBuf], name: &str) -> Result<Vec<String>, Failure> {
    let folder = name.replacen(" v", "-", 1);
    let mut texts = Vec::new();
    for path in registry.iter().map(|r| r.join(&folder)).filter(|p| p.is_dir()) {
        let entries = std::fs::read_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for file in entries.flatten().map(|entry| entry.path()) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            let named = ["license", "licence", "copying", "unlicense", "notice"].iter().any(|w| name.starts_with(w));
            if named && file.is_file() {
                texts.push(read_text(&file)?.replace("\r\n", "\n"));
            }
        }
    }
    Ok(texts)
}

/// Everything.
fn files(arches: &[Arch], profile: Profile) -> Result<Files, Failure> {
    let (mut files, mut unsigned) = (Files::new(), String::new());
    for arch in arches {
        commands::notify(*arch)?;
        drivers(&mut files, *arch, &mut unsigned)?;
        for path in commands::build(profile, *arch)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.insert(format!("bin/{}/{name}", arch.wdk()), read(&path)?);
        }
    }
    for script in SCRIPTS {
        let text = read_text(&root().join("driver/ndis/package").join(script))?.replace("\r\n", "\n");
        super::script::lint(&text).map_err(|what| format!("{script}: {what}"))?;
        files.insert((*script).to_owned(), text.replace('\n', "\r\n").into_bytes());
    }
    // What two builds of the same sources have in common, whoever signs them.
    files.insert("SHA256SUMS.unsigned".to_owned(), unsigned.into_bytes());
    for (name, path) in [("README.txt", "driver/ndis/package/README.txt"), ("LICENSE", "LICENSE")] {
        let text = read_text(&root().join(path))?.replace("\r\n", "\n").replace('\n', "\r\n");
        files.insert(name.to_owned(), text.into_bytes());
    }
    files.insert("planb-test.cer".to_owned(), read(&certificate()?.0)?);
    for page in PAGES {
        files.insert(format!("docs/{page}.md"), read(&root().join(format!("docs/{page}.md")))?);
    }
    for example in EXAMPLES {
        files.insert(format!("examples/{example}"), read(&root().join("examples").join(example))?);
    }
    files.insert("THIRD-PARTY.txt".to_owned(), licences()?.into_bytes());
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", sum(bytes))).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    Ok(files)
}

/// SHA-256 as text.
fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A zip of files, the same for the same files.
fn zipped(files: &Files) -> Result<Vec<u8>, Failure> {
    let words = |error: zip::result::ZipError| format!("zip: {error}");
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    for (name, bytes) in files {
        zip.start_file(name.as_str(), options).map_err(words)?;
        zip.write_all(bytes).map_err(|error| format!("zip: {error}"))?;
    }
    Ok(zip.finish().map_err(words)?.into_inner())
}

/// `cargo xtask package`.
///
/// # Errors
/// What failed.
pub(crate) fn package(arguments: &[String]) -> Result<(), Failure> {
    let asked = |flag: &str| arguments.iter().any(|a| a == flag);
    if !asked("--built") {
        super::build(arguments)?;
    }
    let arches: &[Arch] = if asked("--x64") { &[Arch::X64] } else { &Arch::ALL };
    let profile = if asked("--dev") { Profile::Dev } else { Profile::Release };
    let files = files(arches, profile)?;
    let bytes = zipped(&files)?;
    let to = out().join(format!("planb-{}-windows.zip", env!("CARGO_PKG_VERSION")));
    write(&to, &bytes)?;
    println!("{} {} ({} files, {} bytes)", sum(&bytes), to.display(), files.len(), bytes.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_same_files_give_the_same_zip_in_order() {
        let one = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
        let files: Files = [one("b/x", &[7; 5000]), one("a", b"first"), one("b/a", b"")].into();
        let bytes = zipped(&files).unwrap();
        assert_eq!(bytes, zipped(&files).unwrap());
        assert!(bytes.len() < 1000, "packed");
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        let mut names = Vec::new();
        for n in 0..zip.len() {
            let mut file = zip.by_index(n).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            let name = file.name().unwrap().into_owned();
            assert_eq!(files.get(&name), Some(&bytes));
            names.push(name);
            assert_eq!(file.last_modified().map(|t| t.year()), Some(1980));
        }
        assert_eq!(names, ["a", "b/a", "b/x"]);
    }

    #[test]
    fn an_inf_says_what_it_copies() {
        let text =
            "[SourceDisksNames]\n1 = %Disk%\n\n[SourceDisksFiles]\na.sys = 1\nb.dll=1 ; two\n\n[Install]\nx = y\n";
        assert_eq!(copied(text), ["a.sys", "b.dll"]);
        assert_eq!(copied(""), [""; 0]);
    }

    /// Scripts and INF agree on names, and the scripts on what they undo.
    #[test]
    fn scripts_name_what_the_package_holds() {
        let package = root().join("driver/ndis/package");
        let install = read_text(&package.join("install.ps1")).unwrap();
        let uninstall = read_text(&package.join("uninstall.ps1")).unwrap();
        let inf = read_text(&package.join("planb.inf")).unwrap();
        let instance = inf.split('"').find(|word| word.starts_with('{')).unwrap();
        assert!(install.contains(instance), "{instance}");
        assert!(inf.contains("planb_filter") && install.contains("planb_filter") && uninstall.contains("planb_filter"));
        for made in ["planbsvc", "DynamicPorts-$family-$proto", "HKLM:\\SOFTWARE\\PlanB", "'Path'"] {
            assert!(install.contains(made) && uninstall.contains(made), "{made}");
        }
        for command in PACKAGES {
            assert!(uninstall.contains(&format!("'{command}.exe'")), "{command}");
        }
        // Of a registry key that is there it would leave nothing.
        assert!(
            !install.lines().any(|line| line.trim_start().starts_with("New-Item -Path") && line.contains("-Force"))
        );
        for switch in ["$Mandatory", "$BootPolicy", "$Yes", "interrupted"] {
            assert!(install.contains(switch), "{switch}");
        }
    }
}
