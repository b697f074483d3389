//! Replay and explain: captures and single packets against a ruleset, on any machine.
#![forbid(unsafe_code)]

pub mod capture;
pub mod decide;
pub mod engine;
pub mod line;
pub mod replay;
pub mod report;
pub mod rules;
pub mod states;
pub mod stories;
pub mod tally;
pub mod way;
pub mod why;
