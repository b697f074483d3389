//! A run over a main file and the anchors it loads.
//!
//! Holds the order of pfctl's `pfctl_rules`: read, check queues, echo queues, echo rules (after the optimizer), then
//! load anchors in turn. [`load`] is the same without anything said.

use std::collections::VecDeque;

use super::anchor::{Anchors, NAME_SIZE};
use super::option::WATERMARKS;
use super::partial::Partial;
use super::rule::AnchorHead;
use super::{Act, Globals, Options, Resolver, Stop, Transcript};
use crate::ast::{FileId, Span, Stmt, StmtKind};
use crate::diag::{self, Diagnostic, Severity};
use crate::facts::Facts;
use crate::optimize::{Hits, TableNumbers};
use crate::parse::{Broken, Complaint, Item, Parser};
use crate::ruleset::{AnchorLoad, Config, OptimizerLevel, Place, Ruleset};
use crate::source::{Sources, text::byte_len};
use md5::{Digest, Md5};

/// Files that `load anchor` may bring in.
const LIMIT_LOADS: usize = 1000;

/// A run: what one call of pfctl keeps between files.
pub struct Session<'a> {
    facts: &'a Facts,
    options: &'a Options,
    globals: Globals,
    ask_hits: Option<Box<dyn FnOnce() -> Hits + 'a>>,
    hits: Hits,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("options", &self.options).field("hits", &self.hits).finish_non_exhaustive()
    }
}

/// A configuration that was read without errors.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// Automatic tables so far: the optimizer goes on from here.
    pub numbers: TableNumbers,
    /// Remarks that did not keep it from being read.
    pub remarks: Vec<Diagnostic>,
}

/// Why there is no configuration.
#[derive(Debug, Default, thiserror::Error)]
#[error("{} error(s) in the rules", diagnostics.len())]
pub struct Failure {
    /// In pfctl's order.
    pub diagnostics: Vec<Diagnostic>,
}

/// A number for the tables of one load: the same text for the same anchor gives the same one.
fn tag(anchor: &str, sources: &Sources, main: FileId) -> u32 {
    let mut digest = Md5::new();
    digest.update(anchor);
    digest.update([0]);
    digest.update(sources.file(main).map(|file| &*file.bytes).unwrap_or_default());
    digest.finalize().first_chunk().map_or(1, |b| u32::from_le_bytes(*b).max(1))
}

/// What reading a file came to.
enum Read {
    Good(Box<Config>, OptimizerLevel),
    Bad,
    Exit,
}

/// Reads a file into a configuration, with the anchors it loads. Not optimized.
///
/// # Errors
/// All problems of the file, in order.
pub fn load(sources: &mut Sources, main: FileId, facts: &Facts, options: &Options) -> Result<Loaded, Failure> {
    let mut session = Session::new(facts, options);
    session.globals.os = Some(facts.os.clone());
    session.globals.interfaces_known = true;
    let config = session.read_all(sources, main, &options.anchor);
    let diagnostics = session.globals.said.diagnostics().to_vec();
    match config {
        Some(config) => Ok(Loaded { config, numbers: session.globals.numbers, remarks: diagnostics }),
        None => Err(Failure { diagnostics }),
    }
}

impl<'a> Session<'a> {
    /// Nothing read yet.
    #[must_use]
    pub fn new(facts: &'a Facts, options: &'a Options) -> Self {
        Session { facts, options, globals: Globals::default(), ask_hits: None, hits: Hits::new() }
    }

    /// Whom to ask for the packets of the rules in force, should `-o profile` want them.
    #[must_use]
    pub fn with_hits(mut self, ask: impl FnOnce() -> Hits + 'a) -> Self {
        self.ask_hits = Some(Box::new(ask));
        self
    }

    /// Reads a file and those it loads into one configuration.
    fn read_all(&mut self, sources: &mut Sources, main: FileId, anchor: &str) -> Option<Config> {
        let Read::Good(config, level) = self.read(sources, main, anchor, None, true) else { return None };
        let mut config = *config;
        let mut loads: VecDeque<AnchorLoad> = config.loads.iter().cloned().collect();
        while let Some(load) = loads.pop_front() {
            if config.anchors.len() >= LIMIT_LOADS {
                let text = format!("more than {LIMIT_LOADS} anchors to load");
                self.globals.said.diagnostic(Diagnostic::pfctl_bare(Severity::Error, text));
                return None;
            }
            let file = self.open(sources, &load.file)?;
            let Read::Good(inner, _) = self.read(sources, file, &load.anchor, Some(level), false) else { return None };
            loads.extend(inner.loads.iter().cloned());
            config.anchors.push(inner.main);
            config.antispoofs.extend(inner.antispoofs);
            config.unused_macros.extend(inner.unused_macros);
        }
        Some(config)
    }

    /// What was said so far.
    pub fn said(&mut self) -> &mut Transcript {
        &mut self.globals.said
    }

    /// pfctl's `-f`: reads, echoes, reads the anchors that are to be loaded. `None` after an error; the exit is 1 then.
    /// The rules come back as the optimizer left them.
    pub fn run(&mut self, sources: &mut Sources, main: FileId) -> Option<Vec<(String, Config)>> {
        let anchor = self.options.anchor.clone();
        self.fits(&anchor)?;
        if self.options.tag_tables {
            self.globals.numbers = TableNumbers::tagged(tag(&anchor, sources, main));
        }
        if anchor.is_empty() {
            self.fingerprints();
        }
        let read = self.read(sources, main, &anchor, self.options.optimize, true);
        let (mut config, level) = self.good(read)?;
        self.finish(&mut config, level)?;
        // Files that are loaded may name more; they are read after those named before.
        let mut loads: VecDeque<AnchorLoad> = config.loads.iter().cloned().collect();
        let chosen = self.options.optimize.is_some() || config.options.optimization.is_some();
        let mut done = vec![(anchor, config)];
        while let Some(load) = loads.pop_front() {
            if done.len() > LIMIT_LOADS {
                self.globals.said.err(&format!("pfctl: more than {LIMIT_LOADS} anchors to load\n"));
                return None;
            }
            if self.options.verbose > 0 {
                self.globals.said.err(&format!("\nLoading anchor {} from {}\n", load.anchor, load.file));
            }
            let level = chosen.then_some(level);
            self.fits(&load.anchor)?;
            let Some(config) = self.load_anchor(sources, &load.anchor, &load.file, level) else {
                self.globals.said.err("pfctl: load anchors\n");
                return None;
            };
            loads.extend(config.loads.iter().cloned());
            done.push((load.anchor, config));
        }
        Some(done)
    }

    fn load_anchor(
        &mut self,
        sources: &mut Sources,
        anchor: &str,
        file: &str,
        level: Option<OptimizerLevel>,
    ) -> Option<Config> {
        let id = self.open(sources, file)?;
        let read = self.read(sources, id, anchor, level, false);
        let (mut config, level) = self.good(read)?;
        self.finish(&mut config, level)?;
        Some(config)
    }

    /// Whether rules can be read for an anchor: what follows the last slash of its path is a name. pfctl ends where not.
    fn fits(&mut self, anchor: &str) -> Option<()> {
        let last = anchor.rfind('/').and_then(|slash| anchor.get(slash..)).unwrap_or(anchor);
        let text = match last {
            "/" => format!("pfctl_rules: bad anchor name {anchor}"),
            name if byte_len(name) >= NAME_SIZE => "pfctl_rules: strlcpy".to_owned(),
            _ => return Some(()),
        };
        self.globals.said.err(&format!("pfctl: {text}\n"));
        self.globals.said.diagnostic(Diagnostic::pfctl_bare(Severity::Error, text));
        None
    }

    /// What was read, or pfctl's last word on a load that is not to be.
    fn good(&mut self, read: Read) -> Option<(Config, OptimizerLevel)> {
        match read {
            Read::Good(config, level) => return Some((*config, level)),
            Read::Bad if !self.options.dry_run => {
                self.globals.said.err("pfctl: Syntax error in config file: pf rules not loaded\n");
            }
            Read::Bad | Read::Exit => {}
        }
        None
    }

    /// Opens a file to parse; says why not. `-` is standard input, which has been read by then.
    pub fn open(&mut self, sources: &mut Sources, file: &str) -> Option<FileId> {
        if file == "-" {
            return Some(sources.add("stdin", Vec::new()));
        }
        match sources.open(file) {
            Ok(id) => Some(id),
            Err(reason) => {
                let said = &mut self.globals.said;
                said.err(&format!("pfctl: pushfile: {file}: {reason}\n"));
                said.err(&format!("pfctl: cannot open the main config file!: {reason}\n"));
                said.diagnostic(Diagnostic::pfctl_bare(Severity::Error, format!("pushfile: {file}: {reason}")));
                None
            }
        }
    }

    /// The fingerprint file of the machine.
    fn fingerprints(&mut self) {
        let names = self.facts.os.clone();
        if self.options.verbose > 1 {
            let count = names.fingerprints;
            self.globals.said.out(&format!("Loaded {count} passive OS fingerprints\n"));
        }
        self.globals.os = Some(names);
    }

    /// Optimizes, numbers and echoes what was read.
    fn finish(&mut self, config: &mut Config, level: OptimizerLevel) -> Option<()> {
        if self.options.verbose > 0 {
            for queue in &config.queues {
                self.globals.said.out(&crate::print::queue(queue));
            }
        }
        self.finish_set(&mut config.main, level, 0)
    }

    /// One ruleset: optimizer, `$nr`, echo, and the rulesets it holds.
    fn finish_set(&mut self, set: &mut Ruleset, level: OptimizerLevel, depth: usize) -> Option<()> {
        let verbose = self.options.verbose > 0;
        if depth > 0 && verbose {
            self.globals.said.out(if set.rules.is_empty() { "\n" } else { " {\n" });
        }
        let brace = depth > 0 && !set.rules.is_empty();
        if set.rules.is_empty() {
            // The optimizer has nothing to ask for.
        } else if level == OptimizerLevel::Profile && self.options.dry_run {
            // The hit counters cannot be read without an engine, and pfctl goes on without the rules.
            self.globals.said.err("pfctl: Bad file descriptor\n");
            set.rules.clear();
        } else if level != OptimizerLevel::None {
            if level == OptimizerLevel::Profile
                && let Some(ask) = self.ask_hits.take()
            {
                self.hits = ask();
            }
            let rules = std::mem::take(&mut set.rules);
            let done = crate::optimize::ruleset(rules, &mut self.globals.numbers, &self.hits);
            if verbose {
                for table in &done.tables {
                    self.globals.said.out(&crate::print::table(table));
                }
            }
            set.rules = done.rules;
            set.tables.extend(done.tables);
        }
        let options = crate::print::RuleOptions::new(self.options, self.facts);
        for (nr, rule) in (0..).zip(&mut set.rules) {
            if crate::expand::number_labels(rule, nr).is_err() {
                self.globals.said.err("pfctl: expand_label: label too long\n");
                return None;
            }
            if verbose {
                let indent = if self.options.verbose > 1 { 0 } else { depth };
                self.globals.said.out(&"  ".repeat(indent));
                self.globals.said.out(&crate::print::rule(rule, &options));
            }
            match rule.anchor.as_mut() {
                Some(call) => match call.inline.as_deref_mut() {
                    Some(inner) => self.finish_set(inner, level, depth.saturating_add(1))?,
                    None if verbose => self.globals.said.out("\n"),
                    None => {}
                },
                None if verbose => self.globals.said.out("\n"),
                None => {}
            }
        }
        if brace && verbose {
            self.globals.said.out(&"  ".repeat(depth.saturating_sub(1)));
            self.globals.said.out("}\n");
        }
        Some(())
    }

    /// Reads one file. Macros of the command line count in the main file alone.
    fn read(
        &mut self,
        sources: &mut Sources,
        file: FileId,
        anchor: &str,
        level: Option<OptimizerLevel>,
        main: bool,
    ) -> Read {
        let (facts, options) = (self.facts, self.options);
        let mut resolver = Resolver {
            facts,
            options,
            globals: &mut self.globals,
            files: Vec::new(),
            errors: 0,
            block_returns: false,
            settings: Default::default(),
            reassemble: true,
            watermarks: WATERMARKS,
            watermarks_set: false,
            optimize: level,
            anchors: Anchors::new(anchor),
            loads: Vec::new(),
            antispoofs: Vec::new(),
            asides: Vec::new(),
            made: 0,
        };
        let mut parser = Parser::new(sources, file);
        if main {
            for (name, value) in &options.macros {
                parser.predefine(name, value);
            }
        }
        let outcome = resolver.statements(&mut parser);
        let unused: Vec<(String, Span)> = parser.unused_macros().collect();
        if outcome.is_ok() && options.verbose > 1 {
            for (name, _) in &unused {
                resolver.globals.said.err(&format!("warning: macro '{name}' not used\n"));
            }
        }
        if outcome.is_err() {
            return Read::Exit;
        }
        if resolver.errors > 0 {
            return Read::Bad;
        }
        let level = resolver.optimize.unwrap_or_default();
        let places = unused.into_iter().map(|(name, span)| (name, place(parser.sources(), span))).collect();
        match resolver.into_config(anchor.is_empty()) {
            Ok(Some(config)) => Read::Good(Box::new(Config { unused_macros: places, ..config }), level),
            Ok(None) => Read::Bad,
            Err(_) => Read::Exit,
        }
    }
}

/// Where a span stands, with its line.
fn place(sources: &Sources, span: Span) -> Place {
    let lo = usize::try_from(span.lo).unwrap_or(0);
    let before = sources.file(span.file).and_then(|f| f.bytes.get(..lo)).unwrap_or_default();
    let lines = before.iter().filter(|b| **b == b'\n').count();
    let line = u32::try_from(lines).unwrap_or(u32::MAX).saturating_add(1);
    Place { file: sources.name(span.file), line, span: (span.lo, span.hi) }
}

impl Resolver<'_> {
    /// Acts upon every statement of a file.
    fn statements(&mut self, parser: &mut Parser<'_>) -> Act {
        let mut heads: Vec<AnchorHead> = Vec::new();
        while let Some(item) = parser.next() {
            self.learn_files(parser.sources());
            let done = match item {
                Item::Stmt(stmt) => self.statement(&stmt, &mut heads, parser.sources_mut()),
                Item::Broken(broken) => self.broken(&broken, &mut heads, parser),
                Item::Complaint(complaint) => {
                    self.complain(&complaint, parser);
                    Ok(())
                }
            };
            match done {
                Ok(()) => {}
                Err(Stop::Line(at)) => {
                    // The error may have been said or not: yacc counts the line as wrong either way.
                    self.errors = self.errors.saturating_add(1);
                    heads.clear();
                    parser.fail(at);
                }
                Err(Stop::Exit) => return Err(Stop::Exit),
            }
        }
        Ok(())
    }

    fn learn_files(&mut self, sources: &Sources) {
        while self.files.len() < sources.len() {
            let next = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
            self.files.push(sources.name(FileId(next)));
        }
    }

    /// One statement.
    pub(super) fn statement(&mut self, stmt: &Stmt, heads: &mut Vec<AnchorHead>, sources: &mut Sources) -> Act {
        let (at, span) = (stmt.at, stmt.span);
        match &stmt.kind {
            StmtKind::Blank | StmtKind::Include(_) => Ok(()),
            StmtKind::Set(option) => self.set(option, at, span, sources),
            StmtKind::Macro(def) => self.macro_def(def, at, span),
            StmtKind::Rule(rule) => self.filter_rule(rule, at, span),
            StmtKind::Anchor(rule) => {
                let head = self.anchor_head(rule, span)?;
                self.anchor_rule(head, at)
            }
            StmtKind::AnchorOpen(rule) => {
                let head = self.anchor_head(rule, span)?;
                heads.push(head);
                if !self.anchors.open() {
                    return self.exit_at(span, "pfa_anchor: anchors too deep");
                }
                Ok(())
            }
            StmtKind::AnchorClose => {
                self.anchors.close();
                match heads.pop() {
                    Some(head) => self.anchor_rule(head, at),
                    None => Err(Stop::Line(at)),
                }
            }
            StmtKind::Load(load) => self.load_anchor(load, stmt),
            StmtKind::Antispoof(antispoof) => self.antispoof(antispoof, at, span),
            StmtKind::Table(table) => self.table(table, at, span, sources),
            StmtKind::Queue(queue) => self.queue(queue, at, span),
        }
    }

    /// What pfctl had acted upon of a broken statement, then its complaints.
    fn broken(&mut self, broken: &Broken, heads: &mut Vec<AnchorHead>, parser: &mut Parser<'_>) -> Act {
        let mut partial = Partial::default();
        for node in &broken.partial {
            self.node(node, &mut partial, heads, parser.sources_mut())?;
        }
        for complaint in &broken.complaints {
            self.complain(complaint, parser);
        }
        heads.clear();
        self.errors = self.errors.saturating_add(1);
        Ok(())
    }

    fn complain(&mut self, complaint: &Complaint, parser: &Parser<'_>) {
        let macros: Vec<String> = parser.macro_names().collect();
        let diagnostic = diag::from_complaint(complaint, parser.sources(), &macros);
        if let Some(line) = diagnostic.pfctl_line(parser.sources()) {
            self.line(&line);
        } else if !diag::is_of_its_own(&diagnostic, complaint, parser.sources()) {
            return;
        }
        if complaint.kind.is_error() {
            self.errors = self.errors.saturating_add(1);
        }
        self.globals.said.diagnostic(diagnostic);
    }

    /// The configuration, with the checks that wait for the end of the file. `None` after an error.
    fn into_config(mut self, main: bool) -> Act<Option<Config>> {
        let anchors = std::mem::replace(&mut self.anchors, Anchors::new(""));
        let set = anchors.into_tree();
        if main && !self.check_queues(&set)? {
            return Ok(None);
        }
        let queues = if main { self.globals.queues.in_order() } else { Vec::new() };
        Ok(Some(Config {
            options: self.settings,
            queues,
            main: set,
            anchors: Vec::new(),
            loads: self.loads,
            antispoofs: self.antispoofs,
            unused_macros: Vec::new(),
            prints: self.globals.prints.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::Stream;
    use crate::source::Memory;

    #[test]
    fn quick_rules_come_in_the_order_of_their_packets() {
        let rule = |port: u32| format!("pass in quick proto tcp from any to any port = {port} flags S/SA");
        let text: String = (1..=4).map(|port| rule(port) + "\n").collect::<String>() + "pass out\npass in\n";
        let list = |level, hits: &[(u32, u64)]| {
            let facts = Facts::default();
            let options = Options { optimize: Some(level), verbose: 1, ..Options::default() };
            let hits: Hits = hits.iter().map(|(port, packets)| (rule(*port), *packets)).collect();
            let mut sources = Sources::new(Box::new(Memory::default()));
            let main = sources.add("stdin", text.clone());
            let mut session = Session::new(&facts, &options).with_hits(|| hits);
            assert!(session.run(&mut sources, main).is_some());
            let out = session.said().text(Stream::Out);
            let ports = out.lines().filter_map(|line| line.split("port = ").nth(1)?.split(' ').next()?.parse().ok());
            ports.collect::<Vec<u32>>()
        };
        let hits = [(3, 5), (1, 7), (4, 5)];
        assert_eq!(list(OptimizerLevel::Profile, &hits), [1, 3, 4, 2]);
        assert_eq!(list(OptimizerLevel::Profile, &[(9, 1)]), [1, 2, 3, 4], "nothing is known of these rules");
        assert_eq!(list(OptimizerLevel::Basic, &hits), [1, 2, 3, 4]);
    }
}
