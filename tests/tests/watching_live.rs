//! Watching a filter that filters: its log, traces, the terminal view, status and doctor, through the real commands.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::live::{Bed, Running};
use tests::program;

const RULES: &str = "\
set skip on lo
block return log label \"deny\"
pass inet6 proto icmp6
pass inet proto icmp
match in log (matches) on int0 proto tcp to port 80 label \"seen\"
pass proto tcp to port 80 label \"web\"
";

/// A bed with a page on the server, and one page fetched.
fn bed() -> Option<(Bed, Running)> {
    let bed = Bed::new(RULES)?;
    std::fs::create_dir(bed.folder().join("www")).unwrap();
    std::fs::write(bed.folder().join("www/index.html"), "hello").unwrap();
    let line = format!("python3 -m http.server --bind :: --directory {} 80", bed.folder().join("www").display());
    let page = bed.server.serve(&line, "tcp", 80);
    assert_eq!(bed.fetch(&bed.client, "http://198.51.100.10/").as_deref(), Some("hello"), "{}", bed.log());
    assert_eq!(bed.fetch(&bed.client, "http://198.51.100.10:81/"), None, "refused by the filter");
    Some((bed, page))
}

fn pfload(bed: &Bed, words: &str) -> Output {
    let mut command = Command::new(program("pfload"));
    command.args(words.split_whitespace()).arg("-p").arg(bed.socket());
    command.env("NO_COLOR", "1").output().unwrap()
}

fn said(bed: &Bed, words: &str) -> String {
    let out = pfload(bed, words);
    assert!(out.status.success(), "pfload {words}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Lines of a text that hold a word.
fn with<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    text.lines().filter(|line| line.contains(word)).collect()
}

#[test]
fn what_rules_log_is_read_back() {
    let Some((bed, _page)) = bed() else { return };
    let log = said(&bed, "log");
    let denied = with(&log, "[deny @ ");
    assert!(!denied.is_empty(), "{log}");
    let line = denied.iter().find(|l| l.contains("198.51.100.10.81: Flags [S]")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("(match): block in on int0: 192.0.2.10."), "{line}");
    assert!(line.ends_with("pf.conf:2]"), "{line}");
    // log (matches): the rule that decides speaks too.
    assert!(!with(&log, "[seen @ ").is_empty() && !with(&log, "[web @ ").is_empty(), "{log}");
    let only = said(&bed, "log host 192.0.2.10 and port 81 and block");
    assert!(!only.is_empty() && with(&only, ".81:").len() == only.lines().count(), "{only}");
    assert_eq!(said(&bed, "log port 4444"), "");
    for line in said(&bed, "log --json label deny").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let record = &line["data"];
        assert_eq!(
            (&line["version"], &record["label"], &record["action"]),
            (&1.into(), &"deny".into(), &"block".into())
        );
    }
    let wrong = pfload(&bed, "log host nowhere");
    assert!(!wrong.status.success());
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("     ^^^^^^^"), "{wrong:?}");
}

#[test]
fn captures_of_the_log_are_read_by_tcpdump() {
    let Some((bed, _page)) = bed() else { return };
    let text = said(&bed, "log");
    for name in ["log.pcap", "log.pcapng"] {
        let file = bed.folder().join(name);
        said(&bed, &format!("log -w {}", file.display()));
        let out = Command::new("tcpdump").args(["-n", "-e", "-t", "-S", "-r"]).arg(&file).output().unwrap();
        let read = String::from_utf8(out.stdout).unwrap();
        assert!(read.lines().count() >= text.lines().count(), "{name}: {read}\n{text}");
        assert!(read.contains("(match): block in on int0: 192.0.2.10."), "{read}");
    }
}

#[test]
fn a_trace_tells_the_way_of_a_packet() {
    let Some((bed, _page)) = bed() else { return };
    let trace = |words: &str, url: &str| {
        let mut command = Command::new(program("pfload"));
        command.args(["trace", "--json", "-q", "-c", "1", "-p"]).arg(bed.socket()).args(words.split_whitespace());
        let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        // Not before it is armed.
        while !said(&bed, "status --json").contains("\"tracing\":true") {
            assert!(begun.elapsed() < Duration::from_secs(60), "the trace is armed");
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = bed.fetch(&bed.client, url);
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        serde_json::from_slice::<Value>(&out.stdout).unwrap()["data"].clone()
    };
    let passed = trace("on int0 and tcp and dst port 80", "http://198.51.100.10/");
    assert_eq!(
        (&passed["verdict"], &passed["decided_by"]["rule"]["label"]),
        (&"pass".into(), &"web".into()),
        "{passed}"
    );
    assert_eq!(passed["state"]["made"], true, "{passed}");
    assert_eq!((&passed["decided_by"]["rule"]["line"], &passed["generation"]), (&6.into(), &1.into()), "{passed}");
    let marks: Vec<_> = passed["met"].as_array().unwrap().iter().map(|m| m["mark"].as_str().unwrap()).collect();
    assert_eq!(marks, ["matches", "applies", "decides"], "{passed}");
    let blocked = trace("rule 0 and block", "http://198.51.100.10:81/");
    assert_eq!(
        (&blocked["verdict"], &blocked["decided_by"]["rule"]["label"]),
        (&"block".into(), &"deny".into()),
        "{blocked}"
    );
    assert!(!said(&bed, "status --json").contains("\"tracing\":true"), "whoever arms it ends it");
}

#[test]
fn status_and_doctor_know_how_it_is() {
    let Some((bed, _page)) = bed() else { return };
    let status = said(&bed, "status");
    assert!(status.starts_with("filter     filtering for 00:"), "{status}");
    assert!(status.contains("between the host and int0, ext0") && status.contains("generation 1"), "{status}");
    assert!(status.contains("on int0 ("), "drops are counted by interface: {status}");
    let doctor = pfload(&bed, "doctor");
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    bed.control("-d");
    let doctor = pfload(&bed, "doctor");
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(!doctor.status.success() && text.contains("pfload -e"), "{text}");
    let nobody = Command::new(program("pfload")).args(["doctor", "-p", "/nonexistent/socket"]).output().unwrap();
    let text = String::from_utf8_lossy(&nobody.stdout).into_owned();
    assert!(!nobody.status.success() && text.contains("start the filter"), "{text}");
}

/// A terminal of 80 by 24 that a command runs in.
struct Terminal {
    name: String,
}

impl Terminal {
    fn new(line: &str) -> Self {
        static MADE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let made = MADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let terminal = Self { name: format!("pf-watch-{}-{made}", std::process::id()) };
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", line]);
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let out = Command::new("tmux").args(["-L", &self.name]).args(args).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Waits for a screen that is as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if wanted(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// Whether tmux is there. With `PF_REQUIRE` naming `tmux` (or `all`) it must be.
fn tmux() -> bool {
    let found = Command::new("tmux").arg("-V").output().is_ok();
    let required = std::env::var("PF_REQUIRE").unwrap_or_default();
    assert!(found || !required.split(',').any(|w| w == "all" || w == "tmux"), "tmux is required and absent");
    if !found {
        eprintln!("not run: tmux is not installed");
    }
    found
}

fn top(socket: &Path) -> String {
    format!("{} top -p {} -s 1", program("pfload").display(), socket.display())
}

#[test]
fn the_view_answers_keys() {
    if !tmux() {
        return;
    }
    let Some((bed, _page)) = bed() else { return };
    let screen = Terminal::new(&top(&bed.socket()));
    let first = screen.until("states", |s| s.contains("192.0.2.10:") && s.contains("198.51.100.10:"));
    assert!(first.lines().next().unwrap().starts_with("pfd on "), "{first}");
    assert!(first.contains("q quit  1-8 view  s sort"), "{first}");
    screen.press(&["s"]);
    screen.until("sorted", |s| s.contains("sort bytes"));
    screen.press(&["/"]);
    screen.press(&["-l", "udp"]);
    screen.press(&["Enter"]);
    screen.until("filtered", |s| s.contains("[udp]") && s.contains("nothing matches the filter"));
    screen.press(&["/"]);
    screen.press(&["-l", " porx"]);
    screen.press(&["Enter"]);
    screen.until("an error", |s| s.contains("found `porx`") && s.contains("^^^^"));
    // One at a time: a terminal takes two at once for one.
    screen.press(&["Escape"]);
    screen.until("no error", |s| !s.contains("found `porx`") && s.contains("[udp]"));
    screen.press(&["Escape"]);
    screen.until("no filter", |s| !s.contains("[udp]"));
    screen.press(&["2"]);
    screen.until("rules", |s| s.contains("block return log") || s.contains("block") && s.contains("deny"));
    for (key, word) in
        [("3", "QUEUE"), ("4", "TABLE"), ("5", "SOURCE"), ("6", "ADDRESS"), ("7", "int0"), ("8", "state-mismatch")]
    {
        screen.press(&[key]);
        screen.until(word, |s| s.contains(word));
    }
    screen.press(&["?"]);
    screen.until("keys", |s| s.contains("PgUp PgDn"));
    screen.press(&["x"]);
    screen.press(&["q"]);
    let begun = Instant::now();
    while !screen.tmux(&["list-sessions"]).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "q ends it");
        std::thread::sleep(Duration::from_millis(50));
    }
}
