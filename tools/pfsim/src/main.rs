//! Plan B: replay and explain.

fn main() {}
