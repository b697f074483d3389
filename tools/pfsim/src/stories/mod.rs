//! `pfsim stories`: what pf itself did with thousands of packets, replayed against our engine.
//!
//! A story has rules, a host and steps; each step is compared in all that pf recorded, but for fields that depend on
//! chance. The host around the filter (routing, MTU, what the stack sends) is simulated as the recording did.

mod adapt;
mod build;
mod compare;
mod ctl;
mod dump;
mod end;
pub mod fields;
mod inspect;
mod model;
mod run;
mod sim;
mod world;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use pfc::osfp::Fingerprints;

pub use model::{Step, Story};
pub use run::{Player, Report, play, play_straight};

/// Why stories cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// The file.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// A compressed file that does not decompress.
    #[error("{0}: {1}")]
    Xz(String, String),
    /// A line that is no story.
    #[error("{0}:{1}: {2}")]
    Line(String, usize, serde_json::Error),
}

/// Reads stories, one a line, from a plain or xz-compressed file.
///
/// # Errors
/// [`StoryError`].
pub fn read(path: &Path) -> Result<Vec<Story>, StoryError> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|e| StoryError::File(name.clone(), e))?;
    let mut reader = BufReader::new(file);
    let packed = reader.fill_buf().map_err(|e| StoryError::File(name.clone(), e))?.starts_with(&[0xfd, b'7', b'z']);
    let mut text = Vec::new();
    if packed {
        lzma_rs::xz_decompress(&mut reader, &mut text).map_err(|e| StoryError::Xz(name.clone(), format!("{e:?}")))?;
    } else {
        reader.read_to_end(&mut text).map_err(|e| StoryError::File(name.clone(), e))?;
    }
    let mut out = Vec::new();
    for (i, line) in text.split(|b| *b == b'\n').enumerate().filter(|(_, l)| !l.is_empty()) {
        out.push(serde_json::from_slice(line).map_err(|e| StoryError::Line(name.clone(), i + 1, e))?);
    }
    Ok(out)
}

/// How the stories of one family went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Stories.
    pub stories: usize,
    /// Stories that agree in every step.
    pub perfect: usize,
    /// Steps.
    pub steps: usize,
    /// Steps that agree.
    pub agreed: usize,
}

impl Score {
    fn add(&mut self, r: &Report) {
        self.stories += 1;
        self.perfect += usize::from(r.perfect());
        self.steps += r.steps;
        self.agreed += r.agreed;
    }
}

/// The fingerprints that lie beside the stories, or the compiler's own.
#[must_use]
pub fn fingerprints(path: &Path) -> Fingerprints {
    let beside = path.with_file_name("pf.os");
    let text = std::fs::read_to_string(beside).unwrap_or_else(|_| pfc::osfp::SEED.to_owned());
    Fingerprints::parse("pf.os", &text).0
}

/// Steps of a file's stories that differ, by story name and place; a story that cannot be played has all its steps here.
///
/// # Errors
/// [`StoryError`].
pub fn differing(path: &Path) -> Result<(Score, Vec<(String, usize)>), StoryError> {
    let prints = fingerprints(path);
    let (mut total, mut out) = (Score::default(), Vec::new());
    for s in read(path)? {
        let report = play(&s, &prints);
        total.add(&report);
        match report.broken {
            Some(_) => out.extend((0..s.steps.len()).map(|i| (s.name.clone(), i))),
            None => out.extend(report.differences.iter().map(|(i, _)| (s.name.clone(), *i))),
        }
    }
    Ok((total, out))
}

/// Replays the stories of a file whose names are given, or begin with one given; all when none is. Prints a line a
/// family, and with `verbose` what differs. Gives the total.
///
/// # Errors
/// [`StoryError`].
pub fn replay(path: &Path, names: &[String], verbose: bool) -> Result<Score, StoryError> {
    let stories = read(path)?;
    let prints = fingerprints(path);
    let mut families: BTreeMap<String, Score> = BTreeMap::new();
    let mut total = Score::default();
    for s in &stories {
        if !names.is_empty() && !names.iter().any(|n| s.name.starts_with(n.as_str())) {
            continue;
        }
        let report = play(s, &prints);
        families.entry(s.family().to_owned()).or_default().add(&report);
        total.add(&report);
        if verbose {
            if let Some(b) = &report.broken {
                println!("{}: {b}", s.name);
            }
            for (i, d) in &report.differences {
                println!("{} step {i}:", s.name);
                for line in d {
                    println!("    {line}");
                }
            }
            for line in &report.end {
                println!("{} end: {line}", s.name);
            }
        }
    }
    println!("{:<16} {:>9} {:>13}", "family", "stories", "steps");
    for (name, s) in &families {
        println!("{name:<16} {:>4}/{:<4} {:>6}/{:<6}", s.perfect, s.stories, s.agreed, s.steps);
    }
    println!("{:<16} {:>4}/{:<4} {:>6}/{:<6}", "all", total.perfect, total.stories, total.agreed, total.steps);
    Ok(total)
}
