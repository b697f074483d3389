//! From text to a verified image: the one way in for every tool.
//!
//! Holds [`compile`] and what it gives: diagnostics, and, where none of them is an error, the configuration, its image
//! and figures. `load anchor` files become part of the image.
//! **Invariant:** an image that comes out of here has been read back and verified.

use std::fmt::Write;

use pfvm::image::Image;

use crate::ast::FileId;
use crate::diag::{Diagnostic, from_complaint};
use crate::facts::Facts;
use crate::image::Stats;
use crate::parse::{Item, Parser};
use crate::ruleset::{Config, OptimizerLevel};
use crate::source::Sources;

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

/// Compiles a file that `sources` holds.
#[must_use]
pub fn compile(sources: &mut Sources, file: FileId, _facts: &Facts, options: &Options) -> Outcome {
    let mut complaints = Vec::new();
    let mut parser = Parser::new(sources, file);
    for (name, value) in &options.macros {
        parser.predefine(name, value);
    }
    while let Some(item) = parser.next() {
        match item {
            Item::Stmt(_) => {}
            Item::Broken(broken) => complaints.extend(broken.complaints),
            Item::Complaint(complaint) => complaints.push(complaint),
        }
    }
    let macros: Vec<String> = parser.macro_names().collect();
    let diagnostics = complaints.iter().map(|c| from_complaint(c, sources, &macros)).collect();
    Outcome { diagnostics, compiled: None }
}
