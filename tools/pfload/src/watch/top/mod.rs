//! `pfload top`: a terminal view of a running filter, as pftop's.

pub(crate) mod app;
pub(crate) mod data;
pub(crate) mod draw;
pub(crate) mod fetch;
pub(crate) mod run;
pub(crate) mod sheet;

#[cfg(test)]
mod sample;
