//! From text to a verified image: the one way in for every tool.
//!
//! Holds [`compile`] and what it gives: diagnostics, and, where none of them is an error, the configuration, its image
//! and figures. `load anchor` files become part of the image.
//! **Invariant:** an image that comes out of here has been read back and verified.

use std::collections::HashSet;
use std::fmt::Write as _;

use pfvm::image::Image;
use pfvm::verify::{DRIVER_BUDGET, Program, Reject};

use crate::ast::FileId;
use crate::diag::{Diagnostic, Severity, codes};
use crate::facts::Facts;
use crate::image::{Extras, Stats, write};
use crate::lint::{self, Lint};
use crate::lower::Passes;
use crate::print::{self, RuleOptions};
use crate::resolve::{self, Session};
use crate::ruleset::{Config, OptimizerLevel};
use crate::source::Sources;
use crate::target::{self, Target};

/// Steps a program may take, in tools without a budget of their own.
pub const BUDGET: u32 = 1 << 20;

/// How to compile.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Macros of the command line.
    pub macros: Vec<(String, String)>,
    /// pfctl's optimizer; the file decides where not given.
    pub optimize: Option<OptimizerLevel>,
    /// Straight code alone.
    pub straight: bool,
    /// Where the program will run.
    pub target: Target,
    /// Anchor the rules are for, empty for the main ruleset.
    pub anchor: String,
}

/// What came out.
#[derive(Debug)]
pub struct Compiled {
    /// The rules, optimized.
    pub config: Config,
    /// The image.
    pub image: Vec<u8>,
    /// Figures.
    pub stats: Stats,
    /// Most steps the main ruleset takes.
    pub bound: u32,
}

impl Compiled {
    /// The image's digest, in hexadecimal.
    #[must_use]
    pub fn digest_hex(&self) -> String {
        let digest = Image::parse(&self.image).map(|image| image.digest()).unwrap_or_default();
        digest.iter().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
    }
}

/// Diagnostics, and what came out where none is an error.
#[derive(Debug, Default)]
pub struct Outcome {
    /// In pfctl's order.
    pub diagnostics: Vec<Diagnostic>,
    /// The image and what it was made of.
    pub compiled: Option<Compiled>,
}

impl Outcome {
    /// Whether a diagnostic is an error.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }
}

/// Compiles a file that `sources` holds.
#[must_use]
pub fn compile(sources: &mut Sources, file: FileId, facts: &Facts, options: &Options) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(config) = read(sources, file, facts, options, &mut outcome.diagnostics) else { return outcome };
    outcome.diagnostics.extend(target::check(&config, options.target, sources));
    if outcome.failed() {
        return outcome;
    }
    match finish(config, facts, options) {
        Ok(compiled) => outcome.compiled = Some(compiled),
        Err(why) => outcome.diagnostics.push(*why),
    }
    outcome
}

/// What lints say of a file that compiles: of its rules as written, before any optimizer. Nothing of one that does not.
#[must_use]
pub fn lints(
    sources: &mut Sources,
    file: FileId,
    facts: &Facts,
    options: &Options,
    allowed: &HashSet<Lint>,
) -> Vec<Diagnostic> {
    let how = resolve::Options {
        macros: options.macros.clone(),
        anchor: options.anchor.clone(),
        ..resolve::Options::default()
    };
    match resolve::load(sources, file, facts, &how) {
        Ok(loaded) => lint::diagnose(&loaded.config, facts, sources, allowed),
        Err(_) => Vec::new(),
    }
}

/// Reads and resolves the file and the anchors it loads; nothing when something was wrong.
fn read(
    sources: &mut Sources,
    file: FileId,
    facts: &Facts,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Config> {
    let how = resolve::Options {
        optimize: options.optimize,
        macros: options.macros.clone(),
        anchor: options.anchor.clone(),
        ..resolve::Options::default()
    };
    let mut session = Session::new(facts, &how);
    let read = session.run(sources, file);
    diagnostics.extend(session.said().diagnostics().iter().cloned());
    let Some(read) = read else {
        // Every failure says why; should one not, it must not look like success.
        if !diagnostics.iter().any(|d| d.severity == Severity::Error) {
            diagnostics.push(Diagnostic::new(Severity::Error, codes::OTHER, "the rules cannot be read"));
        }
        return None;
    };
    let mut all = read.into_iter();
    let (_, mut config) = all.next()?;
    for (path, loaded) in all {
        config.anchors.push(crate::ruleset::Ruleset { path, ..loaded.main });
    }
    Some(config)
}

/// Code, image, verification.
fn finish(config: Config, facts: &Facts, options: &Options) -> Result<Compiled, Box<Diagnostic>> {
    let error = |code, text: String| Box::new(Diagnostic::new(Severity::Error, code, text));
    let passes = if options.straight { Passes::NONE } else { Passes::ALL };
    let how = RuleOptions::default();
    let extras = Extras {
        text: &|rule| print::rule(rule, &how),
        queue: &|queue| print::queue(queue).trim_end().to_owned(),
        prints: &facts.prints,
    };
    let (image, stats) = write(&config, passes, &extras).map_err(|e| error(codes::LIMIT, e.to_string()))?;
    let parsed = Image::parse(&image).map_err(|e| error(codes::LIMIT, e.to_string()))?;
    let budget = if options.target == Target::Windows { DRIVER_BUDGET } else { BUDGET };
    let program = Program::verify(&parsed, budget).map_err(|why| match why {
        Reject::Budget { bound, budget, .. } => {
            let text = format!("a packet may take {bound} steps through these rules, the most is {budget}");
            error(codes::LIMIT, text)
        }
        other => error(codes::LIMIT, format!("the image does not verify: {other}")),
    })?;
    let bound = program.bounds().first().map_or(0, |b| b.code);
    Ok(Compiled { config, image, stats, bound })
}
