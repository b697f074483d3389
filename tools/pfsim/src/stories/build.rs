//! A story's rules as programs in force.

use pfc::facts::{Address, Facts, IfaceFlags};
use pfc::image::Extras;
use pfc::lower::Passes;
use pfc::osfp::Fingerprints;
use pfc::resolve::{Options, Session};
use pfc::source::Sources;
use pfvm::image::Image;
use pfvm::verify::Program;

use super::model::Story;
use super::sim::prefixed;

/// Steps a program may take.
const BUDGET: u32 = 1 << 24;

/// The facts of a story's host.
#[must_use]
pub(super) fn facts(story: &Story, prints: &Fingerprints) -> Facts {
    let mut facts = Facts::default();
    for (class, version, subtype) in prints.names() {
        facts.os.add(class, version, subtype);
    }
    for i in &story.interfaces {
        let flags = IfaceFlags {
            broadcast: i.flags & 2 != 0,
            loopback: i.flags & 8 != 0,
            point_to_point: i.flags & 16 != 0,
            ..IfaceFlags::default()
        };
        let addresses = i
            .addrs
            .iter()
            .filter_map(|a| {
                let (addr, prefix) = prefixed(a)?;
                let broadcast = match addr {
                    std::net::IpAddr::V4(v) if flags.broadcast && prefix < 32 => {
                        Some(std::net::Ipv4Addr::from(u32::from(v) | (u32::MAX >> prefix)))
                    }
                    _ => None,
                };
                Some(Address { addr, prefix, broadcast, peer: None, scope: 0 })
            })
            .collect();
        facts.interfaces.push(pfc::facts::Interface {
            name: i.name.clone(),
            index: u32::from(i.index),
            flags,
            groups: i.groups.iter().filter(|g| *g != "all").cloned().collect(),
            addresses,
            ids: Vec::new(),
        });
    }
    facts
}

/// Compiles one text into programs by anchor path.
///
/// # Errors
/// What the compiler said.
pub(super) fn compile(
    text: &str,
    anchor: &str,
    facts: &Facts,
    prints: &Fingerprints,
) -> Result<Vec<(String, Program)>, String> {
    let options = Options { anchor: anchor.to_owned(), ..Options::default() };
    let mut sources = Sources::disk();
    let file = sources.add("story", text.as_bytes().to_vec());
    let mut session = Session::new(facts, &options);
    let Some(configs) = session.run(&mut sources, file) else {
        let said = session.said();
        return Err(format!("{}{}", said.text(pfc::resolve::Stream::Out), said.text(pfc::resolve::Stream::Err)));
    };
    let mut out = Vec::new();
    for (path, config) in configs {
        let extras = Extras { prints: &prints.prints, ..Extras::NONE };
        let (bytes, _) = pfc::image::build(&config, Passes::default(), &extras).map_err(|e| e.to_string())?;
        let image = Image::parse(&bytes).map_err(|e| e.to_string())?;
        let program = Program::verify(&image, BUDGET).map_err(|e| e.to_string())?;
        out.push((path, program));
    }
    Ok(out)
}

/// The program of no rules, and of no options either.
///
/// # Errors
/// What is wrong with it.
pub(super) fn nothing() -> Result<Program, String> {
    let bytes = pfvm::image::empty("").map_err(|e| e.to_string())?;
    let image = Image::parse(&bytes).map_err(|e| e.to_string())?;
    Program::verify(&image, BUDGET).map_err(|e| e.to_string())
}
