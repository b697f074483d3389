//! `pfsim run`.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use pfc::facts::Facts;
use pfc::output::Output;
use pfc::source::strerror;
use pfsim::capture::{Format, Interface, Merged, Reader, Writer};
use pfsim::decide::{By, Decider, RuleRow, Verdict};
use pfsim::replay::{Decided, Listener, Placement, ReplayError, replay};
use pfsim::report;
use pfvm::rule::Direction;
use serde_json::json;

use crate::args::{Dir, Run};
use crate::{Exit, complain, load, print};

/// Captures shorter than this show no progress.
const LONG: u64 = 16 << 20;

/// Shows progress on a terminal, and packets where asked for.
struct Watch {
    bar: ProgressBar,
    packets: bool,
    json: bool,
    rows: Vec<RuleRow>,
    broken: bool,
}

impl Watch {
    fn new(args: &Run, length: Option<u64>, rows: Vec<RuleRow>) -> Self {
        let shown = length.filter(|length| *length >= LONG && std::io::stderr().is_terminal() && !args.packets);
        let bar = shown.map_or_else(ProgressBar::hidden, ProgressBar::new);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left") {
            bar.set_style(style);
        }
        Self { bar, packets: args.packets, json: args.json, rows, broken: false }
    }

    fn line(&self, packet: &Decided<'_>) -> String {
        let verdict = match packet.ruling.verdict {
            Verdict::Pass => "pass",
            Verdict::Block => "block",
            Verdict::Hold => "hold",
        };
        let row = |at: usize| self.rows.get(at).map(RuleRow::place).unwrap_or_default();
        let by = match packet.ruling.by {
            By::Rule(at) => row(at),
            By::State(Some(at)) => format!("state of {}", row(at)),
            By::State(None) => "state".into(),
            By::Default => "no rule".into(),
            By::Skip => "skipped interface".into(),
            By::Engine => format!("reason {}", packet.ruling.reason.name()),
        };
        if self.json {
            let object = json!({
                "frame": packet.number, "packet": packet.line, "interface": packet.iface, "verdict": verdict,
                "reason": packet.ruling.reason.name(), "by": by, "logged": packet.ruling.log,
            });
            return format!("{object}\n");
        }
        let shown = packet.line.as_deref().unwrap_or("(headers that cannot be read)");
        format!("{:>6}  {verdict:<5}  {shown}  {by}\n", packet.number)
    }
}

impl Listener for Watch {
    fn progress(&mut self, position: u64) {
        self.bar.set_position(position);
    }

    fn wants_packets(&self) -> bool {
        self.packets && !self.broken
    }

    fn decided(&mut self, packet: &Decided<'_>) {
        let text = self.line(packet);
        self.broken = std::io::stdout().lock().write_all(text.as_bytes()).is_err();
    }
}

/// Where packets are seen, by the facts and the command line.
fn placement(args: &Run, facts: &Facts) -> Placement {
    let mut placement = Placement {
        names: facts.interfaces.iter().map(|i| (i.index, i.name.clone())).collect(),
        own: facts.interfaces.iter().flat_map(|i| i.addresses.iter().map(|a| a.addr)).collect(),
        dir: args.dir.map(|dir| match dir {
            Dir::In => Direction::In,
            Dir::Out => Direction::Out,
        }),
        ..Placement::default()
    };
    for on in &args.on {
        match on.split_once('=') {
            Some((captured, name)) => {
                placement.renames.insert(captured.to_owned(), name.to_owned());
            }
            None => placement.iface = Some(on.clone()),
        }
    }
    placement
}

/// A capture of the command line: the interface it was taken on, where told, and the file.
fn named(text: &str) -> (Option<String>, &Path) {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !name.contains('/') && !Path::new(text).exists() => {
            (Some(name.to_owned()), Path::new(file))
        }
        _ => (None, Path::new(text)),
    }
}

/// Opens a capture; its length where it has one.
fn open(path: &Path) -> Result<(Box<dyn Read>, Option<u64>), Exit> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let unreadable = |reason: &str| {
        complain(&format!("{}: {reason}", path.display()));
        Exit::File
    };
    if path.is_dir() {
        return Err(unreadable("Is a directory"));
    }
    let file = File::open(path).map_err(|error| unreadable(&strerror(&error)))?;
    let length = file.metadata().ok().map(|data| data.len());
    Ok((Box::new(file), length))
}

/// What the command line gives to read: one reader over all captures.
struct Input {
    frames: Merged<Box<dyn Read>>,
    files: Vec<String>,
    format: Format,
    first: Option<Interface>,
    length: Option<u64>,
}

impl Input {
    fn open(args: &Run) -> Result<Self, Exit> {
        let mut length = Some(0);
        let (mut files, mut readers) = (Vec::new(), Vec::new());
        let (mut format, mut first) = (Format::PcapNg, None);
        for text in &args.pcap {
            let (name, path) = named(text);
            let (file, len) = open(path)?;
            length = length.zip(len).map(|(a, b)| a + b);
            let reader = Reader::new(file).map_err(|error| damaged(&path.display().to_string(), &error))?;
            if args.pcap.len() == 1 {
                (format, first) = (reader.format(), reader.interfaces().first().cloned());
            }
            files.push(path.display().to_string());
            readers.push((name, reader));
        }
        Ok(Self { frames: Merged::new(readers), files, format, first, length })
    }
}

fn damaged(file: &str, error: &dyn std::fmt::Display) -> Exit {
    complain(&format!("{file}: {error}"));
    Exit::Capture
}

fn unwritable(args: &Run, error: &std::io::Error) -> Exit {
    let name = args.write.as_ref().map_or_else(String::new, |path| path.display().to_string());
    complain(&format!("{name}: {}", strerror(error)));
    Exit::File
}

fn decide(args: &Run) -> Result<Exit, Exit> {
    let facts = load::facts(args.input.host_facts.as_deref())?;
    let mut input = Input::open(args)?;
    let mut decider: Box<dyn Decider> = if args.stateless {
        Box::new(load::rules(&args.input, &facts)?)
    } else {
        Box::new(load::engine(&args.input, &facts)?)
    };
    let output = args.write.as_ref().map(|path| Output::create(path)).transpose();
    let output = output.map_err(|error| unwritable(args, &error))?;
    let writer = output.map(|output| Writer::new(output, input.format, input.first.as_ref())).transpose();
    let mut writer = writer.map_err(|error| unwritable(args, &error))?;
    let mut watch = Watch::new(args, input.length, decider.rules().to_vec());
    let (tally, end) =
        replay(&mut input.frames, &placement(args, &facts), decider.as_mut(), writer.as_mut(), &mut watch);
    watch.bar.finish_and_clear();
    let about = report::About {
        capture: &input.files.join(" and "),
        rules: &args.input.rules.display().to_string(),
        rows: decider.rules(),
        remarks: &decider.remarks(),
        all_rules: args.verbose,
    };
    let verbose = if args.verbose { 2 } else { 0 };
    let states = args.states.then(|| decider.states(verbose)).flatten();
    let shown = if args.json {
        let mut object = report::to_json(&tally, &about);
        if let Some(states) = &states {
            object["states"] = json!(states.lines().collect::<Vec<_>>());
        }
        print(&if args.packets { format!("{object}\n") } else { format!("{object:#}\n") })
    } else {
        let table = states.map_or_else(String::new, |s| report::states(&s));
        print(&(report::text(&tally, &about) + &table))
    };
    match end {
        Ok(()) => {}
        Err(ReplayError::Capture(error)) => {
            let file = input.files.get(input.frames.failed()).map_or("", String::as_str);
            return Err(damaged(file, &error));
        }
        Err(ReplayError::Write(error)) => return Err(unwritable(args, &error)),
    }
    if let Some(writer) = writer {
        writer.finish().and_then(Output::commit).map_err(|error| unwritable(args, &error))?;
    }
    Ok(shown)
}

pub(crate) fn run(args: &Run) -> Exit {
    decide(args).unwrap_or_else(|exit| exit)
}
