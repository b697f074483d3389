//! Lines as pfctl prints them, made from plain data: what `pfload` asks a running filter for, and what `pfsim` has at the
//! end of a replay, look the same.
//!
//! **Invariant:** nothing here knows an engine, a socket or a protocol.

pub mod states;
