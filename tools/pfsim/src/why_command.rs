//! `pfsim why`.

use pfsim::line::{FORM, Line};
use pfsim::way::{self, Decided};
use pfsim::why;

use crate::args::Why;
use crate::{Exit, complain, load, print};

/// The packet, or what is wrong with it, under the words it is about.
fn packet(text: &str) -> Result<Line, Exit> {
    Line::parse(text).map_err(|error| {
        let before = text.get(..error.at.start).map_or(0, |before| before.chars().count());
        let width = text.get(error.at.clone()).map_or(1, |at| at.chars().count()).max(1);
        complain(&format!("{error}\n\n  {text}\n  {:before$}{}\n\n  the form is: {FORM}", "", "^".repeat(width)));
        Exit::Usage
    })
}

fn show(args: &Why) -> Result<Exit, Exit> {
    let line = packet(&args.packet.join(" "))?;
    let facts = load::facts(args.input.host_facts.as_deref())?;
    let mut rules = load::rules(&args.input, &facts)?;
    if facts.interface(&line.iface).is_none() {
        let known: Vec<_> = facts.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        complain(&format!("note: the facts know no interface {}; they know {}", line.iface, known.join(", ")));
    }
    let way = why::why(&line, &mut rules);
    if args.json {
        return Ok(print(&format!("{:#}\n", way::to_json(&way))));
    }
    if way.by == Decided::Engine && way.packet.is_empty() {
        return Ok(print(&format!("refused before any rule, reason {}\n", way.reason)));
    }
    Ok(print(&way::text(&way, args.verbose)))
}

pub(crate) fn run(args: &Why) -> Exit {
    show(args).unwrap_or_else(|exit| exit)
}
