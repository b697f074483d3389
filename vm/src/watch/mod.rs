//! What watching needs on both sides of the user/kernel line: filter expressions, rows of logs and of traces.
//!
//! Holds the compiled form of a filter expression ([`Expr`]), what it is asked about ([`Facts`]), and the rows that
//! cross the line: [`LogRow`], [`TraceRow`] with its [`MetRow`]s.
//! **Invariant:** deciding an expression neither allocates nor fails; rows borrow, and carry their own texts, so that
//! a reader needs no second request to name a rule.

mod expr;
mod row;

pub use expr::{Action, End, Expr, ExprError, Facts, MAX_OPS, MAX_TEXT, Number, Op, Order, Side, Test, Text};
pub use row::{By, LogRow, MetKind, MetRow, TraceRow};

#[cfg(test)]
mod tests;
