//! `pfc dump`.

use pfc::compile::compile;
use pfc::dump::{Listing, ast, tokens};
use pfvm::image::Image;

use crate::args::{Dump, Form};
use crate::check::report;
use crate::{Exit, complain, input, print};

fn dump(args: &Dump) -> Result<Exit, Exit> {
    let (mut sources, file) = input::rules(&args.input.file)?;
    match args.form {
        Form::Tokens => return Ok(print(&tokens(&mut sources, file, &args.input.define))),
        Form::Ast => return Ok(print(&ast(&mut sources, file, &args.input.define))),
        Form::Rules | Form::Graph | Form::Code => {}
    }
    let facts = input::facts(args.input.host_facts.as_deref())?;
    let mut options = input::options(&args.input)?;
    options.straight = args.straight;
    let outcome = compile(&mut sources, file, &facts, &options).folded();
    report(&outcome.diagnostics, &sources);
    let compiled = outcome.compiled.ok_or(Exit::Rules)?;
    let image = Image::parse(&compiled.image).map_err(|error| {
        complain(&format!("the image does not read back: {error}"));
        Exit::Rules
    })?;
    let listing = Listing::of(&image);
    Ok(print(&match args.form {
        Form::Graph => listing.graph(),
        Form::Code => listing.code(args.straight),
        _ => listing.numbered(),
    }))
}

pub(crate) fn run(args: &Dump) -> Exit {
    dump(args).unwrap_or_else(|exit| exit)
}
