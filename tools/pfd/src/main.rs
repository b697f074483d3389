//! Plan B: the user-mode packet-filter host. Not built yet: it says so and filters nothing.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("pfd: this host is not built yet; nothing is filtered. `pfsim run` shows what rules do to a capture");
    ExitCode::FAILURE
}
