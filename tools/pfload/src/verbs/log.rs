//! `pfload log`: the filter's log as text, as JSON, or into a capture.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use clap::Args;
use pfvm::api::{HostReply, Page, Request};
use pfvm::watch::{Action, Expr, Facts, LogRow, Number};

use super::Common;
use crate::link::{Link, Outcome, Trouble, reason};
use crate::out::{Out, envelope};
use crate::watch::capture::{Capture, Format};
use crate::watch::filter::{Scope, parse};
use crate::watch::pflog::Layout;
use crate::watch::text;

/// Print what rules with `log` recorded, or write it as a capture
///
/// Records are those the filter still has. FILTER picks among them: host 192.0.2.1 and port 443, proto tcp, on em0,
/// rule 7, rule 3.1, anchor ftp, label "web", block, reason ip-option, log pflog1, user 1000; joined by and, or, not,
/// parentheses.
#[derive(Args, Debug)]
pub(crate) struct Log {
    /// Write a capture (DLT_PFLOG): pcap where the name ends in .pcap, else pcapng; - is standard output, pcapng.
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    write: Option<String>,
    /// Go on with what comes.
    #[arg(short = 'f', long)]
    follow: bool,
    /// Leave out what is there already.
    #[arg(long)]
    new: bool,
    /// Only what goes to this log interface.
    #[arg(short = 'i', long = "interface", value_name = "pflogN")]
    interface: Option<String>,
    /// Stop after so many records.
    #[arg(short = 'c', long, value_name = "NUMBER")]
    count: Option<u64>,
    /// Which records.
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

/// Where records go.
enum Sink {
    Text(io::Stdout),
    Json(io::Stdout),
    Capture(Capture<Box<dyn Write>>),
}

impl Sink {
    fn put(&mut self, row: &LogRow<'_>, nanos: u64) -> io::Result<()> {
        match self {
            Self::Text(out) => writeln!(out, "{} {}", text::stamp(nanos), text::line(row)),
            Self::Json(out) => writeln!(out, "{}", envelope("log", &text::to_json(row, nanos))),
            Self::Capture(capture) => capture.write(row, nanos),
        }
    }
}

/// Milliseconds from the filter's clock to 1970's.
pub(crate) fn clock(link: &mut Link) -> Outcome<u64> {
    let host: HostReply<'_> = link.ask(&Request::Host)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis());
    Ok(u64::try_from(now).unwrap_or(u64::MAX).saturating_sub(host.now_ms))
}

/// An expression from the words of a command line.
pub(crate) fn expression(words: &[String], scope: Scope) -> Outcome<Expr> {
    parse(&words.join(" "), scope).map_err(|why| Trouble::Here(why.to_string()))
}

/// Whether a record is wanted.
fn wanted(expr: &Expr, row: &LogRow<'_>) -> bool {
    let layout = Layout::of(row.bytes);
    let on = |name: &str| row.iface == name;
    let number = |what: Number| (what == Number::Length).then_some(u64::from(row.len));
    let known = row.src.0 != pfvm::rule::Addr::default();
    // A record with a reason of its own tells of a drop, whatever its rule says.
    let action = if row.reason == 0 { row.action } else { Action::Block };
    let facts = Facts {
        complete: true,
        af: Some(row.af),
        ends: layout.and_then(|l| l.ends(row.bytes)),
        other: known.then_some((row.naf, row.src, row.dst)),
        proto: layout.map(|l| l.proto),
        dir: Some(row.dir),
        on: Some(&on),
        rule: Some((row.rule, (row.subrule != u32::MAX).then_some(row.subrule))),
        anchor: Some(row.anchor),
        label: Some(row.label),
        action: Some(action),
        reason: Some(row.reason),
        log_if: Some(row.log_if),
        user: (row.uid != u32::MAX).then_some(row.uid),
        number: Some(&number),
        ..Facts::default()
    };
    expr.holds(&facts) == Some(true)
}

impl Log {
    fn sink(&self, json: bool) -> Outcome<Sink> {
        let Some(name) = &self.write else {
            return Ok(if json { Sink::Json(io::stdout()) } else { Sink::Text(io::stdout()) });
        };
        if json {
            return Err(Trouble::Here("--json and -w exclude each other".into()));
        }
        let wrong = |why: &io::Error| Trouble::Here(format!("{name}: {}", reason(why)));
        let (out, format): (Box<dyn Write>, _) = if name == "-" {
            (Box::new(io::stdout()), Format::PcapNg)
        } else {
            let file = File::create(name).map_err(|why| wrong(&why))?;
            (Box::new(BufWriter::new(file)), Format::of(name))
        };
        Capture::new(out, format).map(Sink::Capture).map_err(|why| wrong(&why))
    }

    /// Carries it out.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) fn run(&self, common: &Common, out: &mut Out) -> Outcome {
        let expr = expression(&self.filter, Scope::Log)?;
        let unit = self.interface.as_deref().map(|name| {
            let number = name.strip_prefix("pflog").unwrap_or(name).parse::<u8>();
            number.map_err(|_| Trouble::Here(format!("{name}: wanted pflog0 to pflog255")))
        });
        let unit = unit.transpose()?;
        let mut link = common.link()?;
        let offset = clock(&mut link)?;
        let mut sink = self.sink(common.json)?;
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut cursor = if self.new { u64::MAX } else { 0 };
        let mut idle = false;
        while left > 0 {
            let request = Request::Log { cursor };
            let body = if idle { link.follow(&request)? } else { link.send(&request)? };
            let bad = |_| Trouble::Nonsense("a page that does not decode");
            let mut page = Page::read(body).map_err(bad)?;
            let rows = page.rows_left();
            let mut before = cursor;
            while let Some(row) = page.row::<LogRow<'_>>().map_err(bad)? {
                if !matches!(before, 0 | u64::MAX) && row.seq > before {
                    out.say(&format!(
                        "pfload: {} records lost: they came faster than they were read",
                        row.seq - before
                    ));
                }
                before = row.seq.saturating_add(1);
                if left == 0 || unit.is_some_and(|unit| unit != row.log_if) || !wanted(&expr, &row) {
                    continue;
                }
                left -= 1;
                match sink.put(&row, row.ms.saturating_add(offset).saturating_mul(1_000_000)) {
                    Err(why) if why.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    done => done.map_err(|why| Trouble::Here(format!("cannot write: {}", reason(&why))))?,
                }
            }
            cursor = page.next;
            idle = rows == 0;
            if idle && !self.follow {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::sample;

    #[test]
    fn filters_pick_records() {
        let packet = sample::tcp4();
        let mut row = sample::row(&packet);
        row.src = (pfvm::packet::addr4([203, 0, 113, 9]), 61_000);
        for (filter, want) in [
            ("", true),
            ("host 192.0.2.7 and port 22", true),
            ("src 203.0.113.9", true),
            ("udp", false),
            ("rule 3.1 anchor outer/a", true),
            ("rule 3.2", false),
            ("label \"ssh in\" block in on em0", true),
            ("user 1000", true),
            ("log pflog1", false),
            ("length > 39 and not length > 40", true),
        ] {
            assert_eq!(wanted(&parse(filter, Scope::Log).unwrap(), &row), want, "{filter}");
        }
    }
}
