//! `pfc build`.

use std::path::{Path, PathBuf};

use pfc::compile::{Compiled, compile};
use pfc::diag;
use pfc::output;
use serde_json::json;

use crate::args::Build;
use crate::check::report;
use crate::{Exit, complain, input, print};

/// Where the image goes: where the user says, else beside the rules.
fn target(args: &Build) -> Result<PathBuf, Exit> {
    match &args.output {
        Some(path) => Ok(path.clone()),
        None if args.input.file == "-" => {
            complain("rules from standard input need -o OUT.pfbin");
            Err(Exit::Usage)
        }
        None => Ok(Path::new(&args.input.file).with_extension("pfbin")),
    }
}

/// Figures of an image as a sentence.
fn figures(compiled: &Compiled, path: &Path) -> String {
    let stats = &compiled.stats;
    format!(
        "{}: {} rules, {} words of code, at most {} steps a packet, {} bytes\n",
        path.display(),
        stats.rules,
        stats.code,
        compiled.bound,
        stats.bytes
    )
}

fn build(args: &Build) -> Result<Exit, Exit> {
    let target = target(args)?;
    let facts = input::facts(args.input.host_facts.as_deref())?;
    let (mut sources, file) = input::rules(&args.input.file)?;
    let mut options = input::options(&args.input)?;
    options.straight = args.straight;
    let outcome = compile(&mut sources, file, &facts, &options).folded();
    let Some(compiled) = outcome.compiled else {
        if args.json {
            print(&format!("{}\n", json!({ "ok": false, "diagnostics": diag::json(&outcome.diagnostics, &sources) })));
        } else {
            report(&outcome.diagnostics, &sources);
        }
        return Err(Exit::Rules);
    };
    output::write(&target, &compiled.image).map_err(|error| {
        complain(&format!("{}: {error}", target.display()));
        Exit::File
    })?;
    if args.json {
        let stats = &compiled.stats;
        let figures = json!({
            "ok": true, "output": target, "rules": stats.rules, "code": stats.code, "straight": stats.straight,
            "dispatches": stats.dispatches, "bytes": stats.bytes, "bound": compiled.bound,
            "digest": compiled.digest_hex(),
            "diagnostics": diag::json(&outcome.diagnostics, &sources),
        });
        return Ok(print(&format!("{figures:#}\n")));
    }
    report(&outcome.diagnostics, &sources);
    Ok(print(&figures(&compiled, &target)))
}

pub(crate) fn run(args: &Build) -> Exit {
    build(args).unwrap_or_else(|exit| exit)
}
