//! Plan B: the user-mode packet-filter host.

fn main() {}
