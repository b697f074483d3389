//! How an image of the driver is linked, for the build scripts of both: a native image that cannot be changed once it is
//! loaded, the same bytes each time, with the event log's messages in it.

#[allow(dead_code, reason = "the entries are the driver's, their messages are linked here")]
#[path = "../src/event.rs"]
mod event;

#[path = "native.rs"]
mod native;

const ARGUMENTS: &[&str] =
    &["/HIGHENTROPYVA", "/INTEGRITYCHECK", "/OPT:REF,ICF", "/ALIGN:4096", "/MERGE:.CRT=.rdata"];

/// `RT_MESSAGETABLE`.
const MESSAGE_TABLE: u16 = 11;
/// English, United States.
const LANGUAGE: u16 = 0x409;

/// The messages of the event log as a table: blocks of one message each, by rising numbers; then the texts, each with its
/// length and what it is written in (1: UTF-16).
fn table() -> Vec<u8> {
    let mut messages = event::MESSAGES;
    messages.sort_by_key(|(what, _)| *what as u32);
    let mut texts = Vec::new();
    let head = 4 + 12 * messages.len();
    let mut out = (messages.len() as u32).to_le_bytes().to_vec();
    for (what, text) in messages {
        let number = what as u32;
        let at = (head + texts.len()) as u32;
        [number, number, at].iter().for_each(|n| out.extend(n.to_le_bytes()));
        let mut units: Vec<u16> = format!("{text}\r\n\0").encode_utf16().collect();
        if units.len() % 2 == 1 {
            units.push(0);
        }
        [(4 + 2 * units.len()) as u16, 1].iter().for_each(|n| texts.extend(n.to_le_bytes()));
        units.iter().for_each(|n| texts.extend(n.to_le_bytes()));
    }
    out.extend(texts);
    out
}

/// A file of one resource, as rc.exe would write it: an empty one first, then ours with number 1.
fn resource(kind: u16, data: &[u8]) -> Vec<u8> {
    let header = |length: usize, kind: u16, name: u16, language: u16| {
        let mut out = [length as u32, 32].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        [0xffff, kind, 0xffff, name].iter().for_each(|n: &u16| out.extend(n.to_le_bytes()));
        out.extend([0; 4]);
        [0x30, language].iter().for_each(|n: &u16| out.extend(n.to_le_bytes()));
        out.extend([0; 8]);
        out
    };
    let mut out = header(0, 0, 0, 0);
    out.extend(header(data.len(), kind, 1, LANGUAGE));
    out.extend(data);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// Says how the image of this name is linked.
pub fn image(name: &str) -> Result<(), wdk_build::ConfigError> {
    println!("cargo::rerun-if-changed=../image/link.rs");
    println!("cargo::rerun-if-changed=../image/native.rs");
    println!("cargo::rerun-if-changed=../src/event.rs");
    let folder = std::env::var("OUT_DIR").expect("cargo says where");
    let messages = std::path::Path::new(&folder).join("messages.res");
    std::fs::write(&messages, resource(MESSAGE_TABLE, &table())).expect("the folder is cargo's");
    println!("cargo::rustc-link-arg-bins={}", messages.display());
    for argument in native::NATIVE.iter().chain(ARGUMENTS) {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rustc-link-arg-bins=/PDBALTPATH:{name}.pdb");
    // lld-link names its reproducible mode so; link.exe, too.
    println!("cargo::rustc-link-arg-bins=/BREPRO");
    println!("cargo::rerun-if-env-changed=PLANB_MAP");
    if let Ok(map) = std::env::var("PLANB_MAP") {
        println!("cargo::rustc-link-arg-bins=/MAP:{map}");
    }
    println!("cargo::rustc-link-lib=ndis");
    println!("cargo::rustc-link-lib=cng");
    wdk_build::configure_wdk_binary_build()
}
