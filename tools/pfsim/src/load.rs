//! Rules from a pf.conf or an image, told apart by the magic number.

use std::io::Write;
use std::path::Path;

use pfc::compile::{Options, compile};
use pfc::diag::{self, Severity};
use pfc::facts::Facts;
use pfc::facts::live::{File, Live, Source};
use pfc::source::{Sources, strerror};
use pfsim::engine::Whole;
use pfsim::rules::{LoadError, Rules};

use crate::args::Input;
use crate::{Exit, complain};

/// The facts: a file's, else this machine's.
pub(crate) fn facts(file: Option<&Path>) -> Result<Facts, Exit> {
    let (name, read) = match file {
        Some(path) => (path.display().to_string(), File(path.to_owned()).facts()),
        None => ("this machine".to_owned(), Live.facts()),
    };
    read.map_err(|error| {
        complain(&format!("{name}: {}", error.to_string().trim_end()));
        Exit::File
    })
}

/// The image of the rules: the file itself where it is one, else compiled from it.
fn image(input: &Input, facts: &Facts) -> Result<Vec<u8>, Exit> {
    let name = input.rules.display().to_string();
    let unreadable = |reason: &str| {
        complain(&format!("{name}: {reason}"));
        Exit::File
    };
    if input.rules.is_dir() {
        return Err(unreadable("Is a directory"));
    }
    let bytes = std::fs::read(&input.rules).map_err(|error| unreadable(&strerror(&error)))?;
    if bytes.starts_with(&pfvm::image::MAGIC) || input.rules.extension().is_some_and(|ending| ending == "pfbin") {
        return Ok(bytes);
    }
    if u32::try_from(bytes.len()).is_err() {
        return Err(unreadable("File too large"));
    }
    let mut sources = Sources::disk();
    let file = sources.add(&name, bytes);
    let options = Options { macros: input.define.clone(), ..Options::default() };
    let outcome = compile(&mut sources, file, facts, &options);
    let shown: Vec<_> =
        outcome.diagnostics.iter().filter(|d| outcome.compiled.is_none() || d.severity == Severity::Error).collect();
    // Where standard error is gone, nobody is left to tell.
    let _ = anstream::stderr().write_all(diag::frames(shown, &sources).as_bytes());
    outcome.compiled.map(|compiled| compiled.image).ok_or(Exit::Rules)
}

/// The whole engine, loaded.
pub(crate) fn engine(input: &Input, facts: &Facts) -> Result<Whole, Exit> {
    let image = image(input, facts)?;
    Whole::load(&image, facts).map_err(|error| refused(input, &error))
}

fn refused(input: &Input, error: &LoadError) -> Exit {
    complain(&format!("{}: {error}", input.rules.display()));
    Exit::Rules
}

/// Rules ready to decide.
pub(crate) fn rules(input: &Input, facts: &Facts) -> Result<Rules, Exit> {
    let image = image(input, facts)?;
    Rules::load(&image, facts).map_err(|error| refused(input, &error))
}
