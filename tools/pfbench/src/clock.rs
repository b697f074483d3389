//! Time this thread has spent on a processor, and the processor it stays on.

use std::sync::OnceLock;
use std::time::Instant;

/// Nanoseconds of processor time of this thread (Linux), else of the wall.
#[cfg(target_os = "linux")]
pub(crate) fn nanos() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    t.tv_sec as f64 * 1e9 + t.tv_nsec as f64
}

/// Nanoseconds of processor time of this thread (Linux), else of the wall.
#[cfg(not(target_os = "linux"))]
pub(crate) fn nanos() -> f64 {
    wall()
}

/// Keeps this thread on the processor it runs on; where that cannot be had, the measurement goes on without.
pub(crate) fn pin() {
    #[cfg(target_os = "linux")]
    {
        let mut one = rustix::thread::CpuSet::new();
        one.set(rustix::thread::sched_getcpu());
        let _ = rustix::thread::sched_setaffinity(None, &one);
    }
}

/// Nanoseconds of the wall.
pub(crate) fn wall() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64() * 1e9
}

/// The median time of several runs of something, nanoseconds.
pub(crate) fn median(passes: usize, mut f: impl FnMut()) -> f64 {
    middle((0..passes.max(1)).map(|_| timed(&mut f)).collect())
}

/// How long something takes, nanoseconds.
pub(crate) fn timed(f: &mut impl FnMut()) -> f64 {
    let start = nanos();
    f();
    nanos() - start
}

/// The median of some figures.
pub(crate) fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(0.0)
}
