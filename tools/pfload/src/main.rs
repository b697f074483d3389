//! Plan B: the control command, compatible with pfctl.

fn main() {}
