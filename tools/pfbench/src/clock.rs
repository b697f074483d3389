//! Time this thread has spent on a processor.

use std::sync::OnceLock;
use std::time::Instant;

/// Nanoseconds of processor time of this thread (Linux), else of the wall.
pub(crate) fn nanos() -> f64 {
    let cpu = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let cpu = cpu.as_deref().and_then(|s| s.split(' ').next()).and_then(|s| s.parse::<f64>().ok());
    cpu.unwrap_or_else(wall)
}

/// Nanoseconds of the wall.
pub(crate) fn wall() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64() * 1e9
}

/// The median time of several runs of something, nanoseconds.
pub(crate) fn median(passes: usize, mut f: impl FnMut()) -> f64 {
    let mut all: Vec<f64> = (0..passes.max(1))
        .map(|_| {
            let start = nanos();
            f();
            nanos() - start
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
