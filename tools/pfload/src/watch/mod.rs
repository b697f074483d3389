//! Watching a running filter: its log, traces of packets, and the terminal view.

pub(crate) mod capture;
pub(crate) mod filter;
pub(crate) mod pflog;
pub(crate) mod text;
pub(crate) mod top;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tools_test;
