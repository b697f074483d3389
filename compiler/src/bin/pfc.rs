//! The pf.conf compiler, as a command.

fn main() {}
