//! What is said: standard output, standard error, numbers and times as pfctl writes them.

use std::io::{self, BufWriter, Write};

use pfc::source::text;

/// Version of the documents `--json` gives.
pub(crate) const SCHEMA: u32 = 1;

/// Standard output, collected, and how much is to be said.
#[derive(Debug)]
pub(crate) struct Out {
    stdout: BufWriter<io::Stdout>,
    /// `-q`.
    pub quiet: bool,
    /// `--json`.
    pub json: bool,
}

/// A document of a kind, with the schema it follows.
pub(crate) fn envelope(kind: &str, data: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({ "schema": "pfload", "version": SCHEMA, "kind": kind, "data": data })
}

impl Out {
    /// Nothing said yet.
    pub(crate) fn new(quiet: bool, json: bool) -> Self {
        Out { stdout: BufWriter::with_capacity(1 << 16, io::stdout()), quiet, json }
    }

    /// Text that was asked for. A closed pipe is no error of ours.
    pub(crate) fn put(&mut self, words: &str) {
        let _ = self.stdout.write_all(&text::encode(words));
    }

    /// A JSON document on one line.
    fn document(&mut self, value: &serde_json::Value) {
        let _ = serde_json::to_writer(&mut self.stdout, value);
        let _ = self.stdout.write_all(b"\n");
    }

    /// A document of a kind, with the schema it follows.
    pub(crate) fn kind(&mut self, kind: &str, data: &serde_json::Value) {
        self.document(&envelope(kind, data));
    }

    /// A confirmation, on standard error unless `-q`.
    pub(crate) fn confirm(&mut self, line: &str) {
        if !self.quiet {
            self.say(line);
        }
    }

    /// A line on standard error, behind what was put before.
    pub(crate) fn say(&mut self, line: &str) {
        let _ = self.stdout.flush();
        let mut bytes = text::encode(line).into_owned();
        bytes.push(b'\n');
        let _ = io::stderr().write_all(&bytes);
    }

    /// A warning or error in pfctl's form.
    pub(crate) fn warn(&mut self, line: &str) {
        self.say(&format!("pfctl: {line}"));
    }

    /// Everything out.
    pub(crate) fn flush(&mut self) {
        let _ = self.stdout.flush();
    }
}

/// A second of 1970 as `ctime` writes it, in local time.
pub(crate) fn ctime(second: u64) -> String {
    let stamp = i64::try_from(second).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()).unwrap_or_default();
    stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// Seconds as `hh:mm:ss`.
pub(crate) fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Now, seconds of 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
