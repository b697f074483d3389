//! Writes the image of a configuration and verifies what it wrote.
//!
//! Holds the way from resolved rules and their code to the sections of a `.pfbin`: records of rules and pools, options
//! with their defaults, tables with their initial contents, names. Nothing random goes in: the same configuration gives
//! the same bytes.
//! **Invariant:** no image leaves the compiler that [`Image::parse`] refuses.

mod rules;
mod sections;

pub use sections::entry;

use crate::lower::{self, LowerError, Names, Passes, TableName};
use crate::print;
use crate::ruleset::{Config, LIMIT_NAMES, Queue, Settings};
use pfvm::image::encode::{Parts, encode};
use pfvm::image::{self, Anchor, DynFlags, Entry, Image, Ruleset, Run, Section, TableFlags, TableKind};
use pfvm::rule::{Limits, Options, RulesetId, Syncookies, TIMEOUTS, Timeout};
use std::collections::HashMap;

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The rules cannot be turned into code.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// A pool of addresses that is no network, table or dynamic interface.
    #[error("line {line}: a pool takes a network, a table or a dynamic interface")]
    Pool {
        /// Line of the rule.
        line: u32,
    },
    /// What was written does not read back; a limit of the format was passed.
    #[error("the image does not read back: {0}")]
    Image(#[from] image::ImageError),
}

/// What is written beside the rules' meaning.
pub struct Extras<'a> {
    /// Rules and queues in pfctl's words.
    pub texts: bool,
    /// Operating-system fingerprints.
    pub prints: &'a [image::Print],
}

impl Extras<'_> {
    /// No texts, no fingerprints.
    pub const NONE: Extras<'static> = Extras { texts: false, prints: &[] };
}

/// Figures of a build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rules.
    pub rules: usize,
    /// Words of code.
    pub code: usize,
    /// Words of straight code kept beside it.
    pub straight: usize,
    /// Dispatch tables.
    pub dispatches: usize,
    /// Bytes of the image.
    pub bytes: usize,
}

/// Writes the image of a configuration and reads it back.
///
/// # Errors
/// Rules that cannot be translated, or more of something than the format holds.
pub fn build(config: &Config, passes: Passes, extras: &Extras<'_>) -> Result<(Vec<u8>, Stats), BuildError> {
    let (bytes, stats) = write(config, passes, extras)?;
    Image::parse(&bytes)?;
    Ok((bytes, stats))
}

/// Writes the image of a configuration; the caller reads it back.
pub(crate) fn write(config: &Config, passes: Passes, extras: &Extras<'_>) -> Result<(Vec<u8>, Stats), BuildError> {
    let placed = lower::rulesets(config);
    let count = placed.iter().map(|p| p.rules.rules.len()).sum();
    if u32::try_from(count).map_or(true, |n| n > Section::Rules.limit()) {
        return Err(LowerError::TooMany { what: "rules", count }.into());
    }
    let mut program = lower::lower(config, passes)?;
    let mut writer =
        Writer { parts: Parts::default(), names: std::mem::take(&mut program.names), seen: HashMap::new() };
    writer.options(&config.options)?;
    for (at, ruleset) in placed.iter().enumerate() {
        writer.rules(at, ruleset, extras)?;
    }
    writer.queues(&config.queues, extras)?;
    writer.code(&program, &placed)?;
    writer.tables(&placed)?;
    writer.names();
    writer.constants();
    writer.parts.prints = extras.prints.to_vec();
    let bytes = encode(&writer.parts);
    let stats = Stats {
        rules: writer.parts.rules.len(),
        code: writer.parts.code.len(),
        straight: writer.parts.straight.len(),
        dispatches: writer.parts.dispatches.len(),
        bytes: bytes.len(),
    };
    Ok((bytes, stats))
}

/// An image being filled.
struct Writer {
    parts: Parts,
    names: Names,
    /// How often a rule's text was seen in a ruleset: for stable ids.
    seen: HashMap<(usize, String), u32>,
}

impl Writer {
    fn options(&mut self, s: &Settings) -> Result<(), BuildError> {
        let limits = limits(s);
        let loginterface = s.loginterface.clone().flatten().map(|name| self.names.iface(&name)).transpose()?;
        for name in &s.skip {
            let iface = self.names.iface(name)?;
            self.parts.skips.push(iface.0.into());
        }
        let (reassemble, reassemble_no_df) = s.reassemble.unwrap_or((true, false));
        self.parts.options = Some(Options {
            timeouts: timeouts(s, limits.states),
            adaptive_set: given(s, Timeout::AdaptiveStart).or(given(s, Timeout::AdaptiveEnd)).is_some(),
            limits,
            reassemble,
            reassemble_no_df,
            syncookies: s.syncookies.unwrap_or(Syncookies::Never),
            debug: s.debug.unwrap_or(3),
            hostid: s.hostid.unwrap_or(0),
            loginterface,
        });
        Ok(())
    }

    fn queues(&mut self, queues: &[Queue], extras: &Extras<'_>) -> Result<(), BuildError> {
        // Definitions take the first numbers a queue has not been given by a rule.
        for q in queues {
            self.names.queue(&q.name)?;
        }
        let defined: HashMap<&str, &Queue> = queues.iter().map(|q| (q.name.as_str(), q)).collect();
        for name in self.names.queues.values().to_vec() {
            let q = defined.get(name.as_str());
            let iface = q.and_then(|q| q.iface.as_ref()).map(|i| self.names.iface(i)).transpose()?;
            let parent = q.filter(|q| !q.parent.is_empty()).map(|q| self.names.queue(&q.parent)).transpose()?;
            let text = q.filter(|_| extras.texts).map_or_else(String::new, |q| print::queue(q).trim_end().to_owned());
            self.parts.queues.push(image::Queue {
                name: self.parts.strings.add(&name),
                text: self.parts.strings.add(&text),
                iface,
                parent,
                default: q.is_some_and(|q| q.default),
            });
        }
        Ok(())
    }

    /// Tables in the order of their numbers; those defined and never named by a rule come last.
    fn tables(&mut self, placed: &[lower::Placed<'_>]) -> Result<(), BuildError> {
        let number: HashMap<&str, u16> = placed.iter().map(|p| p.rules.path.as_str()).zip(0..).collect();
        let mut defined = HashMap::new();
        for p in placed {
            for t in &p.rules.tables {
                self.names.table(&p.rules.path, &t.name)?;
                defined.insert((p.rules.path.as_str(), t.name.as_str()), t);
            }
        }
        for name in self.names.tables.values().to_vec() {
            let table = match &name {
                TableName::Named { ruleset, name } => {
                    let t = defined.get(&(ruleset.as_str(), name.as_str()));
                    let at = lower::narrow("table entries", self.parts.entries.len())?;
                    let entries = t.map_or(&[][..], |t| &t.entries);
                    // Of a network named twice the first counts; what files say comes before what stands in place.
                    let (files, inline): (Vec<_>, Vec<_>) = entries.iter().partition(|e| e.from_file);
                    self.parts.entries.extend(files.into_iter().chain(inline).map(sections::entry));
                    image::Table {
                        name: self.parts.strings.add(name),
                        ruleset: RulesetId(number.get(ruleset.as_str()).copied().unwrap_or(0)),
                        flags: t.map_or(TableFlags::default(), |t| sections::table_flags(t)),
                        kind: TableKind::Named,
                        entries: Run { at, len: lower::narrow("table entries", entries.len())? },
                    }
                }
                TableName::Dynamic { name, mods, prefix } => {
                    let iface = self.names.iface(name)?;
                    // As pf names them: what differs in anything is another table.
                    let bits = prefix.map_or(String::new(), |bits| format!("/{bits}"));
                    let called = format!("{name}{}{bits}", print::mod_words(*mods));
                    let (mods, prefix) = (sections::dyn_flags(*mods), prefix.unwrap_or(u8::MAX));
                    image::Table {
                        name: self.parts.strings.add(&called),
                        ruleset: RulesetId(0),
                        flags: TableFlags::default(),
                        kind: TableKind::Dynamic { iface, mods, prefix },
                        entries: Run::default(),
                    }
                }
            };
            self.parts.tables.push(table);
        }
        Ok(())
    }

    /// Names that are nothing but names.
    fn names(&mut self) {
        let p = &mut self.parts;
        for name in self.names.ifaces.values() {
            p.ifaces.push(p.strings.add(name));
        }
        for name in self.names.tags.values() {
            p.tags.push(p.strings.add(name));
        }
        for name in self.names.labels.values() {
            p.labels.push(p.strings.add(name));
        }
        for a in self.names.anchors.values() {
            p.anchors.push(Anchor { path: p.strings.add(&a.path), wildcard: a.wildcard });
        }
    }
}

fn given(s: &Settings, t: Timeout) -> Option<u32> {
    let at = Timeout::ALL.iter().position(|x| *x == t)?;
    s.timeouts.get(at).copied().flatten()
}

/// Timeouts as set, else the defaults; adaptive ones that are not set follow the limit of states.
fn timeouts(s: &Settings, states: u32) -> [u32; TIMEOUTS] {
    let mut all: [u32; TIMEOUTS] = std::array::from_fn(|i| Timeout::ALL.get(i).map_or(0, |t| t.default_value()));
    let adaptive = given(s, Timeout::AdaptiveStart).is_none() && given(s, Timeout::AdaptiveEnd).is_none();
    for ((slot, set), t) in all.iter_mut().zip(&s.timeouts).zip(Timeout::ALL) {
        *slot = match (set, t) {
            (Some(v), _) => *v,
            (None, Timeout::AdaptiveStart) if adaptive => (states / 10).saturating_mul(6),
            (None, Timeout::AdaptiveEnd) if adaptive => (states / 10).saturating_mul(12),
            (None, _) => *slot,
        };
    }
    all
}

/// Limits as set, else the defaults.
fn limits(s: &Settings) -> Limits {
    const DEFAULTS: [u32; LIMIT_NAMES.len()] = [100_000, 10_000, 8192, 1000, 200_000, 10_000, 512];
    let at = |i: usize| s.limits.get(i).copied().flatten().or(DEFAULTS.get(i).copied()).unwrap_or(0);
    Limits {
        states: at(0),
        src_nodes: at(1),
        frags: at(2),
        tables: at(3),
        table_entries: at(4),
        pktdelay_pkts: at(5),
        anchors: at(6),
    }
}
