//! From text to a verified image: the one way in for every tool.
//!
//! Holds [`compile`] and what it gives: diagnostics, and, where none of them is an error, the configuration, its image
//! and figures. `load anchor` files become part of the image.
//! **Invariant:** an image that comes out of here has been read back and verified.

use std::collections::HashSet;
use std::fmt::Write as _;

use md5::{Digest, Md5};
use pfvm::image::Image;
use pfvm::verify::{DRIVER_BUDGET, Program, Reject};

use crate::ast::FileId;
use crate::diag::{Diagnostic, Severity, codes, folded};
use crate::facts::Facts;
use crate::image::{Extras, Stats, write};
use crate::lint::{self, Lint};
use crate::lower::Passes;
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

    /// The same with one diagnostic for what lists make pfctl say many times.
    #[must_use]
    pub fn folded(self) -> Self {
        Self { diagnostics: folded(self.diagnostics), ..self }
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

/// What `Checksum:` shows for an image that is loaded as the main ruleset: a digest of the rules as they read.
#[must_use]
pub fn checksum(image: &[u8]) -> [u8; 16] {
    let mut digest = Md5::new();
    if let Ok(image) = Image::parse(image) {
        for rule in image.rules().filter(|rule| rule.ruleset.0 == 0) {
            digest.update(image.text(rule.text));
            digest.update([0]);
        }
    }
    digest.finalize().into()
}

/// Code, image and verification of a configuration that was read, which must be for the target.
///
/// # Errors
/// What keeps it from becoming an image: a limit.
pub fn finish(config: Config, facts: &Facts, options: &Options) -> Result<Compiled, Box<Diagnostic>> {
    let error = |code, text: String| Box::new(Diagnostic::new(Severity::Error, code, text));
    let passes = if options.straight { Passes::NONE } else { Passes::ALL };
    let extras = Extras { texts: true, prints: config.prints.as_deref().unwrap_or(&facts.prints) };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with one file.
    struct Mine;

    impl crate::source::Loader for Mine {
        fn read(&mut self, name: &str) -> Result<Vec<u8>, String> {
            let found = (name == "mine.os").then(|| b"1024:64:1:44:M*:Mine:1::one of ours\n".to_vec());
            found.ok_or_else(|| "No such file or directory".to_owned())
        }
    }

    fn outcome(text: &str, facts: &Facts) -> (Outcome, Sources) {
        let mut sources = Sources::new(Box::new(Mine));
        let file = sources.add("stdin", text.as_bytes().to_vec());
        (compile(&mut sources, file, facts, &Options::default()), sources)
    }

    #[test]
    fn lists_repeat_an_error_for_pfctl_and_not_for_people() {
        let text = "pass out from { 10.0.0.1 10.0.0.2 } nat-to ::1\npass in proto icmp to port 80\n";
        let (out, sources) = outcome(text, &Facts::default());
        let errors = |o: &Outcome| o.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        assert_eq!(errors(&out), 3, "{:?}", out.diagnostics);
        let lines: Vec<_> = out.diagnostics.iter().filter_map(|d| d.pfctl_line(&sources)).collect();
        assert!(lines.contains(&"stdin:1: skipping rule due to errors".to_owned()), "{lines:?}");
        let folded = out.folded();
        assert_eq!((errors(&folded), folded.diagnostics.len()), (2, 2), "{:?}", folded.diagnostics);
        assert_eq!(folded.diagnostics[0].help, ["the same 2 times: lists stand for more than one rule"]);
        assert!(folded.diagnostics[1].help.iter().all(|h| !h.starts_with("the same")));
    }

    #[test]
    fn a_reader_is_told_of_each_statement_of_which_pfctl_tells_one() {
        let text = "pass in proto tpc\npas out\nblock retrun\npass form any\n";
        let (out, sources) = outcome(text, &Facts::default());
        assert_eq!(
            out.diagnostics.iter().filter(|d| d.severity == Severity::Error).count(),
            4,
            "{:?}",
            out.diagnostics
        );
        let lines: Vec<_> = out.diagnostics.iter().filter_map(|d| d.pfctl_line(&sources)).collect();
        assert_eq!(lines, ["stdin:1: unknown protocol tpc"]);
        // What an error has torn apart is not told line by line.
        for torn in ["table <t> {\n1.1.1.1\nno!where\n1.1.1.3\n}\n", "anchor a {\npass bogus\n}\n"] {
            let (out, _) = outcome(torn, &Facts::default());
            assert_eq!(out.diagnostics.len(), 1, "{torn}{:?}", out.diagnostics);
        }
    }

    #[test]
    fn a_brace_that_is_not_closed_is_shown() {
        for (text, open, error) in [
            ("pass from { 10.0.0.1\n10.0.0.2\npass out\n", 1, 3),
            ("block\nanchor a {\npass\n", 2, 4),
            ("anchor a {\npass from { 10.0.0.1 }\npass from { 10.0.0.2\n", 3, 4),
        ] {
            let (out, sources) = outcome(text, &Facts::default());
            let line = |label: &crate::diag::Label| sources.position(label.span.file, label.span.lo).0;
            let first = &out.diagnostics[0];
            assert_eq!(first.secondary.iter().map(line).collect::<Vec<_>>(), [open], "{text}");
            assert_eq!(first.primary.as_ref().map(line), Some(error), "{text}");
        }
    }

    #[test]
    fn characters_from_elsewhere_are_named() {
        for (text, name) in [
            ("pass from \u{201c}10.0.0.1\u{201d}\n", "`\u{201c}`"),
            ("pass\u{a0}in\n", "U+00A0"),
            ("pass tag \u{fc}x\n", "`\u{fc}`"),
        ] {
            let (out, _) = outcome(text, &Facts::default());
            assert_eq!(out.diagnostics[0].message, format!("syntax error: unexpected {name}"));
            assert_eq!(out.diagnostics[0].help.len(), 1);
        }
    }

    #[test]
    fn limits_say_which_statement() {
        let text = format!("pass\n{}", "anchor a {\n".repeat(70));
        let (out, sources) = outcome(&text, &Facts::default());
        let span = out.diagnostics[0].primary.as_ref().expect("a place").span;
        assert_eq!(sources.position(span.file, span.lo).0, 65);
    }

    #[test]
    fn a_misspelt_action_is_recognized() {
        for (text, meant) in [("pas out\n", "pass"), ("  blokc in all\n", "block"), ("sett skip on lo\n", "set")] {
            let (out, _) = outcome(text, &Facts::default());
            let suggestion = out.diagnostics[0].suggestion.clone().unwrap_or_else(|| panic!("{text}: {out:?}"));
            let (lo, hi) = (suggestion.span.lo as usize, suggestion.span.hi as usize);
            assert_eq!((suggestion.text.as_str(), &text[lo..hi]), (meant, text.split_whitespace().next().unwrap()));
        }
        let (out, _) = outcome("external in\n", &Facts::default());
        assert_eq!(out.diagnostics[0].suggestion, None);
    }

    #[test]
    fn the_image_carries_the_fingerprints_that_are_set() {
        let machine = crate::osfp::Fingerprints::parse("pf.os", crate::osfp::SEED).0;
        let mut facts = Facts::default();
        facts.set_fingerprints(&machine);
        let prints = |text: &str| {
            let (out, _) = outcome(text, &facts);
            let compiled = out.compiled.unwrap_or_else(|| panic!("{:?}", out.diagnostics));
            Image::parse(&compiled.image).unwrap().prints().count()
        };
        assert_eq!(prints("pass in proto tcp from any os Linux\n"), machine.prints.len());
        assert_eq!(prints("set fingerprints \"mine.os\"\npass in proto tcp from any os Mine\n"), 2);
    }
}
