//! Plan B: benchmarks.

fn main() {}
