//! Plan B: build tasks.

fn main() {}
