//! `-f`: rules from text to the filter, all of them or none.
//!
//! Source: `pfctl.c pfctl_rules`, `pfctl_load_ruleset`, `pfctl_load_options`.

use std::io::IsTerminal;

use pfc::compile;
use pfc::diag;
use pfc::facts::Facts;
use pfc::optimize::Hits;
use pfc::resolve::{Options, Session, Stream};
use pfc::ruleset::Config;
use pfc::source::Sources;
use pfc::target::{self, Target};
use pfvm::api::{After, HostKind, Request, Ticket};
use serde_json::json;

use super::book::Book;
use super::{Pf, addresses, host_file};
use crate::command::Command;
use crate::link::{Link, Outcome, Trouble, reason};
use crate::out::Out;

/// What a file came to: configurations with the anchor each is for, the one of the command line first.
pub(crate) struct Read {
    /// Nothing after an error.
    pub configs: Option<Vec<(String, Config)>>,
    /// The files.
    pub sources: Sources,
}

/// Reads rules and says what pfctl says of them. With `-n` that is all there is to do. `hits` is asked for the packets of
/// the rules in force when the optimizer wants them.
///
/// # Errors
/// Standard input that cannot be read.
pub(crate) fn read(
    out: &mut Out,
    command: &Command,
    facts: &Facts,
    file: &str,
    hits: impl FnOnce() -> Hits,
) -> Outcome<Read> {
    let mut sources = Sources::new(facts.loader());
    let options = Options { tag_tables: !command.options.dry_run, ..command.options.clone() };
    let mut session = Session::new(facts, &options).with_hits(hits);
    let main = if file == "-" {
        let bytes = addresses::contents(file).map_err(|why| Trouble::Here(format!("stdin: {}", reason(&why))))?;
        Some(sources.add("stdin", bytes))
    } else {
        session.open(&mut sources, file)
    };
    let opened = main.is_some();
    let configs = main.and_then(|main| session.run(&mut sources, main));
    let said = session.said();
    if out.json {
        out.put(&format!("{}\n", diag::json(said.diagnostics(), &sources)));
    } else {
        for (stream, words) in said.take() {
            match stream {
                Stream::Out => out.put(&words),
                Stream::Err => out.say(words.trim_end_matches('\n')),
            }
        }
    }
    if configs.is_none() && !out.json && (command.frames || std::io::stderr().is_terminal()) {
        out.say(diag::frames(said.diagnostics(), &sources).trim_end_matches('\n'));
    }
    if !opened && !out.json && !command.options.dry_run {
        out.warn("Syntax error in config file: pf rules not loaded");
    }
    Ok(Read { configs, sources })
}

impl Pf<'_> {
    /// `-f`.
    pub(super) fn load(&mut self, file: &str) -> Outcome {
        let command = self.command;
        let facts = self.facts()?.clone();
        let Read { configs, sources } = {
            let link = &mut self.link;
            // What cannot be asked is not known.
            read(&mut self.out, command, &facts, file, || hits(link).unwrap_or_default())?
        };
        let Some(configs) = configs else { return Err(Trouble::Here(String::new())) };
        // With facts of a file the rules are another machine's.
        let own = command.host_facts.is_none() && host_file(&mut self.link)?.is_none();
        let target = match self.link.welcome.host {
            HostKind::Driver => Target::Windows,
            HostKind::Daemon if own => Target::Linux,
            HostKind::Daemon | HostKind::Test => Target::Any,
        };
        for (_, config) in &configs {
            let found = target::check(config, target, &sources);
            if !found.is_empty() {
                self.out.say(diag::frames(&found, &sources).trim_end_matches('\n'));
            }
            if found.iter().any(|d| d.severity == diag::Severity::Error) {
                return Err(Trouble::Here("pf rules not loaded".into()));
            }
        }
        let options = compile::Options { target, ..compile::Options::default() };
        let mut images = Vec::new();
        for (path, mut config) in configs {
            let path = path.trim_start_matches('/').to_owned();
            config.main.path.clone_from(&path);
            let made = compile::finish(config, &facts, &options).map_err(|why| Trouble::Here(why.message.clone()))?;
            images.push((path, made.image));
        }
        let generation = commit(&mut self.link, command.after, command.confirm, &images)?;
        self.said_confirm(generation);
        Ok(())
    }

    /// What `--confirm` asks of the administrator now.
    pub(super) fn said_confirm(&mut self, generation: u64) {
        let seconds = self.command.confirm;
        if self.out.json {
            self.document(
                "loaded",
                json!({ "generation": generation, "confirm_within": (seconds > 0).then_some(seconds) }),
            );
        } else if seconds > 0 {
            self.out.confirm(&format!("rules loaded for {seconds} s; keep them with: pfload confirm {generation}"));
        }
    }
}

/// Packets of the main ruleset's rules, by their text.
fn hits(link: &mut Link) -> Outcome<Hits> {
    let rules = Book::read(link)?.rules(link, "")?;
    let packets = |[a, b]: [u64; 2]| a.saturating_add(b);
    Ok(rules.into_iter().map(|rule| (rule.words.text, packets(rule.row.packets))).collect())
}

/// Uploads images and puts them in force together; the tickets go back when that fails.
///
/// # Errors
/// [`Trouble`]; nothing has changed then.
pub(crate) fn commit(link: &mut Link, after: After, confirm: u32, images: &[(String, Vec<u8>)]) -> Outcome<u64> {
    let mut tickets = Vec::new();
    let done = upload_and_commit(link, after, confirm, images, &mut tickets);
    if done.is_err() {
        for ticket in tickets {
            // The filter may have used it up; whether it had does not matter any more.
            let _ = link.change(&Request::Rollback { ticket });
        }
    }
    done
}

fn upload_and_commit(
    link: &mut Link,
    after: After,
    confirm: u32,
    images: &[(String, Vec<u8>)],
    tickets: &mut Vec<u64>,
) -> Outcome<u64> {
    let mut sum = [0; 16];
    for (path, image) in images {
        tickets.push(link.upload(path, image)?);
        if path.is_empty() {
            sum = compile::checksum(image);
        }
    }
    let bytes: Vec<u8> = tickets.iter().flat_map(|t| t.to_le_bytes()).collect();
    let request = Request::Commit { tickets: &bytes, after, confirm, checksum: sum };
    Ok(link.ask::<Ticket>(&request)?.number)
}
