//! `pfc fmt`.

use std::io::{Read, Write};
use std::path::Path;

use pfc::output::Output;
use pfc::source::strerror;

use crate::args::Fmt;
use crate::{Exit, complain, print};

fn read(name: &str) -> std::io::Result<Vec<u8>> {
    if name != "-" {
        return std::fs::read(name);
    }
    let mut text = Vec::new();
    std::io::stdin().lock().read_to_end(&mut text)?;
    Ok(text)
}

fn write(name: &str, text: &[u8]) -> std::io::Result<()> {
    if name == "-" {
        let mut out = std::io::stdout().lock();
        out.write_all(text)?;
        return out.flush();
    }
    let mut out = Output::create(Path::new(name))?;
    out.write_all(text)?;
    out.commit()
}

/// One file: whether it was as it should be.
fn one(name: &str, check: bool) -> std::io::Result<bool> {
    let text = read(name)?;
    let neat = pfc::fmt::format(&text);
    let same = neat == text;
    if !check && (name == "-" || !same) {
        write(name, &neat)?;
    }
    Ok(same)
}

pub(crate) fn run(args: &Fmt) -> Exit {
    let mut exit = Exit::Done;
    for name in &args.files {
        match one(name, args.check) {
            Ok(false) if args.check => {
                let said = print(&format!("{name}\n"));
                exit = if said == Exit::Done { Exit::Findings } else { return said };
            }
            Ok(_) => {}
            Err(error) => {
                complain(&format!("{name}: {}", strerror(&error)));
                return Exit::File;
            }
        }
    }
    exit
}
