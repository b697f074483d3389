//! What a pf.conf means on one machine: pfctl's actions, in pfctl's order, with pfctl's words.
//!
//! Holds [`Session`], which reads a main file and the anchors it loads, and says line by line what pfctl says: macros,
//! options and tables as they are read, rules when the file is done. Everything a message depends on is kept as pfctl
//! keeps it, its oddities included, because the answer is compared to the byte.
//!
//! [`load`] is the way in for tools and the code generator: one file, no output, a [`crate::ruleset::Config`] or the problems.
//!
//! **Invariant:** no [`crate::ruleset::Config`] leaves this module when an error was said.
//! **Invariant:** expansion is bounded ([`LIMIT_RULES`]): a few nested lists cannot fill the memory.
//!
//! Source: OpenBSD 7.8 `parse.y`, `pfctl_parser.c`, `pfctl.c`.

mod anchor;
mod filter;
pub(crate) mod host;
mod host_item;
pub(crate) mod number;
mod option;
mod partial;
mod pool;
mod queue;
mod rule;
mod session;
mod table;
mod transcript;
pub mod words;

pub(crate) use anchor::AnchorRef;
pub(crate) use filter::Icmp;
pub(crate) use host_item::{Cmp, Iface, OpKind};
pub use number::strtonum;
pub(crate) use pool::Redir;
pub use session::{Failure, Loaded, Session, load};
pub use table::{AddressList, AddressProblem};
pub use transcript::{Stream, Transcript};

use crate::ast::{At, FileId, Span};
use crate::diag::{Diagnostic, Label, Severity, nearest};
use crate::facts::Facts;
use crate::optimize::TableNumbers;
use crate::ruleset::{OptimizerLevel, Settings, Syncookies};

/// Rules one file may expand to.
pub const LIMIT_RULES: usize = 500_000;

/// How to read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Number of `-v`: 1 echoes, 2 numbers rules and warns more.
    pub verbose: u8,
    /// `-g`.
    pub debug: bool,
    /// `-N`: only numeric host names.
    pub numeric: bool,
    /// `-P`.
    pub port_names: bool,
    /// `-o`, which wins over the file.
    pub optimize: Option<OptimizerLevel>,
    /// `-a`: the anchor loaded into, empty for the main ruleset.
    pub anchor: String,
    /// `-D name=value`.
    pub macros: Vec<(String, String)>,
    /// `-n`: pfctl's parse-only run, with what it then leaves out and gets wrong.
    pub dry_run: bool,
    /// Automatic tables get names of their own for each text that is loaded.
    pub tag_tables: bool,
}

/// Why a statement was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// pfctl's `YYERROR`: skip to the next line.
    Line(At),
    /// pfctl exits.
    Exit,
}

/// What an action comes to.
pub(crate) type Act<T = ()> = Result<T, Stop>;

/// State that outlives one file: pfctl's globals.
#[derive(Debug, Default)]
pub(crate) struct Globals {
    /// `set state-defaults`.
    pub state_defaults: Option<Vec<filter::StateOption>>,
    /// `set state-policy if-bound`.
    pub if_bound: bool,
    /// Automatic tables made so far.
    pub numbers: TableNumbers,
    /// Queues of the main file.
    pub queues: queue::Queues,
    /// Operating systems known; `None` before a fingerprint file is read.
    pub os: Option<crate::facts::OsNames>,
    /// The fingerprints of `set fingerprints`, where they are not the machine's.
    pub prints: Option<Vec<pfvm::image::Print>>,
    /// Weights in table files: what came before.
    pub weights: table::Weights,
    /// A table was defined inside an inline anchor of a dry run.
    pub inner_table: bool,
    /// pfctl has read the interfaces: it does so when the first name that may be one is met, and gives rules on
    /// link-local addresses an interface only after that.
    pub interfaces_known: bool,
    /// What is said.
    pub said: Transcript,
}

/// One file being read: pfctl's `struct pfctl`.
pub(crate) struct Resolver<'a> {
    pub facts: &'a Facts,
    pub options: &'a Options,
    pub globals: &'a mut Globals,
    /// Names of the files read so far.
    pub files: Vec<std::sync::Arc<str>>,
    /// Errors said.
    pub errors: usize,
    /// `set block-policy return`.
    pub block_returns: bool,
    /// Options so far.
    pub settings: Settings,
    /// `set reassemble`, on unless switched off.
    pub reassemble: bool,
    /// Watermarks of adaptive syncookies, end and start.
    pub watermarks: (u32, u32),
    /// Whether they were set.
    pub watermarks_set: bool,
    /// `-o` or the first `set ruleset-optimization`.
    pub optimize: Option<OptimizerLevel>,
    /// Anchors.
    pub anchors: anchor::Anchors,
    /// `load anchor`.
    pub loads: Vec<crate::ruleset::AnchorLoad>,
    /// Interfaces of `antispoof`.
    pub antispoofs: Vec<crate::ruleset::Antispoofed>,
    /// Lines that explain the next error.
    pub asides: Vec<String>,
    /// Rules made so far.
    pub made: usize,
}

impl Resolver<'_> {
    /// pfctl's `yyerror`: says a message with the place of the parser and counts an error.
    pub(crate) fn error(&mut self, at: At, span: Span, text: impl Into<String>) {
        let text = text.into();
        self.errors = self.errors.saturating_add(1);
        let name = self.file(at.file);
        self.globals.said.err(&format!("{name}:{}: {text}\n", at.line));
        let mut diagnostic = Diagnostic::pfctl(at, span, text);
        diagnostic.help.append(&mut self.asides);
        self.globals.said.diagnostic(diagnostic);
    }

    /// An error after which pfctl gives the statement up.
    pub(crate) fn fail<T>(&mut self, at: At, span: Span, text: impl Into<String>) -> Act<T> {
        self.error(at, span, text);
        Err(Stop::Line(at))
    }

    /// An error about a word that is none of those that can stand there.
    pub(crate) fn unknown<'n, T>(
        &mut self,
        at: At,
        span: Span,
        text: impl Into<String>,
        word: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) -> Act<T> {
        self.error(at, span, text);
        if let Some(meant) = nearest(word, known) {
            self.advise(format!("there is `{meant}`"));
        }
        Err(Stop::Line(at))
    }

    /// Adds advice to the last error.
    pub(crate) fn advise(&mut self, text: impl Into<String>) {
        if let Some(last) = self.globals.said.last() {
            last.help.push(text.into());
        }
    }

    /// Something to know that keeps nothing from being used, and that pfctl does not say.
    pub(crate) fn warn(&mut self, at: At, span: Span, text: impl Into<String>) {
        let warning = Diagnostic::pfctl(at, span, text).severity(Severity::Warning);
        self.globals.said.diagnostic(Diagnostic { pfctl: None, ..warning });
    }

    /// An error after which pfctl exits (`errx`).
    pub(crate) fn exit<T>(&mut self, text: impl Into<String>) -> Act<T> {
        let text = text.into();
        self.globals.said.err(&format!("pfctl: {text}\n"));
        self.globals.said.diagnostic(Diagnostic::pfctl_bare(Severity::Error, text));
        Err(Stop::Exit)
    }

    /// The same, of a statement.
    pub(crate) fn exit_at<T>(&mut self, span: Span, text: impl Into<String>) -> Act<T> {
        let stop = self.exit(text);
        if let Some(last) = self.globals.said.last() {
            last.primary = Some(Label { span, text: String::new() });
        }
        stop
    }

    /// A message that starts with the program's name (`warnx`); it explains the error that follows.
    pub(crate) fn program(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.globals.said.err(&format!("pfctl: {text}\n"));
        self.asides.push(text);
    }

    /// A line on standard error without a place.
    pub(crate) fn line(&mut self, text: &str) {
        self.globals.said.err(&format!("{text}\n"));
    }

    /// Echo of what was read, under `-v` only.
    pub(crate) fn echo(&mut self, text: impl FnOnce() -> String) {
        if self.options.verbose > 0 {
            let text = text();
            self.globals.said.out(&text);
        }
    }

    pub(crate) fn file(&self, id: FileId) -> std::sync::Arc<str> {
        usize::try_from(id.0).ok().and_then(|i| self.files.get(i)).cloned().unwrap_or_else(|| "".into())
    }

    /// Where a statement stands, for the resolved rule.
    pub(crate) fn place(&self, at: At, span: Span) -> crate::ruleset::Place {
        crate::ruleset::Place { file: self.file(at.file), line: at.line, span: (span.lo, span.hi) }
    }
}

/// The mode of `set syncookies`.
pub(crate) fn adaptive(start: u32, end: u32) -> Syncookies {
    let percent = |v: u32| u8::try_from(v).unwrap_or(100);
    Syncookies::Adaptive { start: percent(start), end: percent(end) }
}
