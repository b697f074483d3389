//! The interpreter: [`Program`](crate::verify::Program) × packet → a decision, or a question.
//!
//! What it promises: it is total. It ends within the fuel it is given, whatever the programs; it has no panic path;
//! whatever cannot be (a forest that names what is not there) drops the packet. It holds the semantics of
//! `pf_match_rule`: the last match wins, `quick` ends, match rules are collected in order, tags stick, anchors nest.
//!
//! What it never does: translate, route, look up sockets or fingerprints. It suspends; the engine acts and resumes it.
//!
//! **Invariant:** one evaluation sees one [`Forest`] from its start to its end.
//!
//! Source: OpenBSD 7.8 `sys/net/pf.c` (`pf_match_rule`, `pf_anchor_stack_push`, `pf_log_matches`).

mod classify;
mod facts;
mod grove;
mod machine;
mod run;

pub use grove::{Bindings, Grove};
pub use machine::{
    Callee, Context, DEFAULT_FUEL, Forest, Hit, MAX_DEPTH, MAX_HITS, Machine, Question, Site, Step, Stop, UnitId,
};
pub use run::run;

#[cfg(test)]
mod tests;
