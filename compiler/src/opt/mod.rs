//! From a list of rules to a decision graph.
//!
//! Holds what makes programs fast and nothing they mean: every pass can be switched off alone, and the program must
//! answer the same.

pub mod space;
pub mod tree;
