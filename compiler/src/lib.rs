//! The pf.conf compiler: text in, a verified image out.
#![forbid(unsafe_code)]

pub mod ast;
pub mod compile;
pub mod diag;
pub mod dump;
pub mod eval;
mod expand;
pub mod facts;
pub mod fmt;
pub mod image;
pub mod lex;
pub mod lint;
pub mod lower;
pub mod opt;
pub mod optimize;
pub mod osfp;
pub mod output;
pub mod parse;
pub mod print;
pub mod resolve;
pub mod ruleset;
pub mod source;
pub mod target;
