//! pfctl: what its options ask for, done against a filter in pfctl's order and told in pfctl's words.
//!
//! Source: OpenBSD 7.8 `pfctl.c main`.

mod addresses;
pub(crate) mod book;
mod flush;
mod info;
pub(crate) mod load;
mod names;
pub(crate) mod rules;
mod states;
mod tables;

use std::io::ErrorKind;
use std::process::ExitCode;

use pfc::facts::Facts;
use pfc::facts::live::{File, Live, Source};
use pfc::resolve::words::{log_level, log_level_name};
use pfvm::api::{Code, Request, SetOption};
use serde_json::Value;

use crate::command::{Command, USAGE};
use crate::link::{Link, Outcome, Trouble};
use crate::out::Out;
use rules::Format;

/// An exit status that is no failure of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done(pub u8);

impl Done {
    /// All is well.
    pub(crate) const GOOD: Done = Done(0);
}

/// A command being carried out.
pub(crate) struct Pf<'c> {
    pub command: &'c Command,
    pub link: Link,
    pub out: Out,
    facts: Option<Facts>,
    titled: bool,
    /// Whether a listed rule has a label, so that `-s all` has a title for them.
    labels: bool,
}

/// Carries a command line out.
pub(crate) fn run(command: &Command) -> ExitCode {
    let mut out = Out::new(command.quiet, command.json);
    let done = if command.options.dry_run { dry(&mut out, command) } else { live(&mut out, command) };
    let code = match done {
        Ok(done) => ExitCode::from(done.0),
        Err(why) => {
            fail(&mut out, &why);
            ExitCode::FAILURE
        }
    };
    out.flush();
    code
}

/// Says what went wrong.
pub(crate) fn fail(out: &mut Out, why: &Trouble) {
    let line = why.to_string();
    if !line.is_empty() {
        out.warn(&line);
    }
    if matches!(why, Trouble::Usage(_)) {
        out.say(USAGE.trim_end());
    }
}

/// `-n`: rules are read, tables are asked what would happen.
fn dry(out: &mut Out, command: &Command) -> Outcome<Done> {
    if command.table.is_some() {
        let link = match Link::open(command.device.as_deref()) {
            Ok(link) => link,
            Err(Trouble::Open { .. }) => {
                let facts = facts(command, None)?;
                return tables::syntax_only(out, command, &facts);
            }
            Err(why) => return Err(why),
        };
        return with(out, command, link, |pf| pf.table());
    }
    let Some(file) = &command.rules else { return Ok(Done::GOOD) };
    let facts = facts(command, None)?;
    let read = load::read(out, command, &facts, file, Default::default)?;
    Ok(Done(u8::from(read.configs.is_none())))
}

fn live(out: &mut Out, command: &Command) -> Outcome<Done> {
    let link = Link::open(command.device.as_deref())?;
    with(out, command, link, |pf| pf.all())
}

fn with(out: &mut Out, command: &Command, link: Link, act: impl FnOnce(&mut Pf<'_>) -> Outcome<Done>) -> Outcome<Done> {
    let own = std::mem::replace(out, Out::new(command.quiet, command.json));
    let mut pf = Pf { command, link, out: own, facts: None, titled: false, labels: false };
    let done = act(&mut pf);
    *out = pf.out;
    done
}

/// The facts rules are compiled with: a file, else those of the filter's host, else those of this machine.
pub(crate) fn facts(command: &Command, link: Option<&mut Link>) -> Outcome<Facts> {
    if let Some(file) = &command.host_facts {
        return File(file.into()).facts().map_err(|e| Trouble::Here(format!("{file}: {e}")));
    }
    if let Some(link) = link
        && let Some(facts) = host_file(link)?
    {
        return Ok(facts);
    }
    Live.facts().map_err(|e| Trouble::Here(e.to_string()))
}

/// The facts file the filter's host was started with, if it was.
fn host_file(link: &mut Link) -> Outcome<Option<Facts>> {
    let bytes = link.bytes(|offset| Request::HostFile { offset })?;
    let text = String::from_utf8(bytes).map_err(|_| Trouble::Nonsense("a facts file that is no text"))?;
    if text.is_empty() {
        return Ok(None);
    }
    Facts::parse(&text).map(Some).map_err(|e| Trouble::Here(format!("the facts file of the filter's host: {e}")))
}

/// An interface's name has fewer bytes than that.
const IFNAMSIZ: usize = 16;

impl<'c> Pf<'c> {
    /// The facts, read when they are first wanted.
    pub(crate) fn facts(&mut self) -> Outcome<&Facts> {
        let facts = match self.facts.take() {
            Some(facts) => facts,
            None => facts(self.command, Some(&mut self.link))?,
        };
        Ok(self.facts.insert(facts))
    }

    /// The interface of `-i`, empty for all.
    fn interface(&self) -> Outcome<&'c str> {
        let iface = self.command.interface.as_deref().unwrap_or_default();
        if iface.len() < IFNAMSIZ { Ok(iface) } else { Err(Trouble::Here(format!("invalid interface: {iface}"))) }
    }

    /// A document of `--json`.
    pub(crate) fn document(&mut self, kind: &str, data: Value) {
        self.out.kind(kind, &data);
    }

    /// What was asked for, under a title when everything is shown.
    fn section(&mut self, title: &str, text: &str) {
        if self.command.show == Some("all")
            && (!text.is_empty() || ["FILTER RULES:", "LABEL COUNTERS:"].contains(&title))
        {
            let gap = if std::mem::replace(&mut self.titled, true) { "\n" } else { "" };
            self.out.put(&format!("{gap}{title}\n"));
        }
        self.out.put(text);
    }

    /// Everything a command line asks for, in pfctl's order.
    fn all(&mut self) -> Outcome<Done> {
        let command = self.command;
        let mut done = Done::GOOD;
        if command.disable {
            self.disable()?;
        }
        match command.show {
            Some(what) => self.show(what)?,
            None if command.zero => self.zero_rules()?,
            None => {}
        }
        if let Some(what) = command.flush {
            self.flush(what)?;
        }
        if !command.kill.is_empty() {
            self.kill_states()?;
        }
        if !command.kill_sources.is_empty() {
            self.kill_sources()?;
        }
        if command.table.is_some() {
            done = self.table()?;
        } else if let Some(file) = &command.rules {
            self.load(file)?;
        }
        if command.enable {
            self.enable()?;
        }
        if let Some(level) = command.debug_level {
            self.debug(level)?;
        }
        if let Some(file) = &command.save_states {
            self.save_states(file)?;
        }
        if let Some(file) = &command.load_states {
            self.load_states(file)?;
        }
        Ok(done)
    }

    fn show(&mut self, what: &str) -> Outcome {
        match what {
            "queue" => self.show_queues(),
            "rules" => self.show_rules(Format::Rules),
            "Anchors" => self.show_anchors(),
            "Sources" => self.show_sources(),
            "states" => self.show_states(),
            "info" => self.show_info(),
            "Interfaces" => self.show_interfaces(),
            "labels" => self.show_rules(Format::Labels),
            "timeouts" => self.show_timeouts(),
            "memory" => self.show_memory(),
            "Tables" => self.show_tables(),
            "osfp" => self.show_fingerprints(),
            _ => {
                let parts =
                    ["rules", "queue", "states", "Sources", "info", "labels", "timeouts", "memory", "Tables", "osfp"];
                parts.into_iter().try_for_each(|part| self.show(part))
            }
        }
    }

    fn enable(&mut self) -> Outcome {
        match self.link.change(&Request::Enable) {
            Err(why) if why.is(Code::Exists) => Err(Trouble::Here("pf already enabled".into())),
            Err(why) => Err(why),
            Ok(_) => {
                self.out.confirm("pf enabled");
                Ok(())
            }
        }
    }

    fn disable(&mut self) -> Outcome {
        match self.link.change(&Request::Disable) {
            Err(why) if why.is(Code::NotFound) => Err(Trouble::Here("pf not enabled".into())),
            Err(why) => Err(why),
            Ok(_) => {
                self.out.confirm("pf disabled");
                Ok(())
            }
        }
    }

    /// `-x`.
    fn debug(&mut self, level: &str) -> Outcome {
        let number = log_level(level).unwrap_or(3);
        self.link.change(&Request::Set { option: SetOption::Debug(number) })?;
        self.out.confirm(&format!("debug level set to '{}'", log_level_name(number)));
        Ok(())
    }
}

impl Trouble {
    /// Whether somebody is there who does not talk to us.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Trouble::Open { why, .. } if why.kind() == ErrorKind::PermissionDenied)
    }

    /// Whether nobody is there to talk to.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Trouble::Open { why, .. } if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused))
    }
}
