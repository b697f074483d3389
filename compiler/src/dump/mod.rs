//! What a ruleset becomes on its way, as text a person reads.
//!
//! Holds one function a stage: [`tokens()`], [`ast()`]; and [`Listing`] of an image, for its code and its graph.
//! Texts carry colours as escape sequences: write them through `anstream`, which drops them where they are not wanted.
//! **Invariant:** nothing here decides anything, and no input makes it fail.

mod ast;
mod code;
mod graph;
mod tokens;

pub use ast::ast;
pub use code::{Listing, RuleText};
pub use tokens::tokens;

use anstyle::{AnsiColor, Style};

/// Places, numbers, what is of lesser weight.
const DIM: Style = Style::new().dimmed();
/// Keywords and mnemonics.
const WORD: Style = AnsiColor::Cyan.on_default();
/// Names and texts.
const NAME: Style = AnsiColor::Green.on_default();
/// Numbers and addresses.
const VALUE: Style = AnsiColor::Yellow.on_default();
/// Headings.
const HEAD: Style = Style::new().bold();
