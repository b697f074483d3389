//! Rules and facts, read as the command line says.

use std::io::Read;
use std::path::Path;

use pfc::ast::FileId;
use pfc::compile::Options;
use pfc::facts::Facts;
use pfc::facts::live::{File, Live, Source};
use pfc::ruleset::OptimizerLevel;
use pfc::source::{Sources, strerror};
use pfc::target::Target;

use crate::args::{Input, Level, Place};
use crate::{Exit, complain};

/// Reads the main file; `-` is standard input.
pub(crate) fn rules(name: &str) -> Result<(Sources, FileId), Exit> {
    let mut sources = Sources::disk();
    let read = if name == "-" {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| strerror(&error));
        read.map(|_| sources.add("stdin", bytes))
    } else {
        sources.open(name)
    };
    match read {
        Ok(file) => Ok((sources, file)),
        Err(reason) => {
            complain(&format!("{name}: {reason}"));
            Err(Exit::File)
        }
    }
}

/// Reads the facts: a file's, else this machine's.
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

/// The way of compiling the command line asks for.
pub(crate) fn options(input: &Input) -> Result<Options, Exit> {
    if input.anchor.split('/').any(|part| part.starts_with('_')) {
        complain("names of anchors that begin with `_` are reserved");
        return Err(Exit::Usage);
    }
    Ok(Options {
        macros: input.define.clone(),
        optimize: input.optimize.map(|level| match level {
            Level::None => OptimizerLevel::None,
            Level::Basic => OptimizerLevel::Basic,
            Level::Profile => OptimizerLevel::Profile,
        }),
        target: match input.target {
            Place::Any => Target::Any,
            Place::Linux => Target::Linux,
            Place::Windows => Target::Windows,
        },
        anchor: input.anchor.trim_matches('/').to_owned(),
        ..Options::default()
    })
}
