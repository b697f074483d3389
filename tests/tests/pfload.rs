//! pfload against a running pfd that has its facts from a file: what OpenBSD's own tests expect of a loaded kernel, and
//! what an administrator sees when something is wrong. No rights are needed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tests::documents::check;
use tests::{program, project, shared};

/// A pfd of its own on a socket in a folder of its own.
struct Host {
    child: Child,
    folder: TempDir,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Host {
    fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let facts = project("tests/facts/openbsd.toml");
        let mut pfd = Command::new(program("pfd"));
        pfd.arg("-p").arg(folder.path().join("pf")).arg("--host-facts").arg(facts);
        let child = pfd.stdout(Stdio::null()).spawn().expect("pfd starts");
        let host = Host { child, folder };
        let late = Instant::now() + Duration::from_secs(120);
        while std::os::unix::net::UnixStream::connect(host.socket()).is_err() {
            assert!(Instant::now() < late, "pfd does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        host
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("pf")
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("the folder takes a file");
        path.display().to_string()
    }

    /// Status, standard output, standard error of a command line; `input` is its standard input.
    fn ask(&self, args: &[&str], input: &str) -> (i32, String, String) {
        run(&program("pfload"), &self.socket(), args, input, self.folder.path())
    }

    /// Standard output of what must be done without a word.
    fn good(&self, args: &[&str], input: &str) -> String {
        let (status, out, err) = self.ask(args, input);
        assert_eq!((status, err.as_str()), (0, ""), "{args:?}\n{out}");
        out
    }

    /// Standard error of what must end with a status.
    fn ends(&self, status: i32, args: &[&str], input: &str) -> String {
        let (got, out, err) = self.ask(args, input);
        assert_eq!(got, status, "{args:?}\n{out}{err}");
        err
    }
}

fn run(program: &Path, socket: &Path, args: &[&str], input: &str, folder: &Path) -> (i32, String, String) {
    let word = args.first().is_some_and(|a| !a.starts_with('-'));
    let mut command = Command::new(program);
    let socket = socket.display().to_string();
    // A word comes first; letters may stand anywhere.
    let (front, back) = if word { args.split_at(1) } else { args.split_at(0) };
    command.args(front).args(["-p", socket.as_str()]).args(back).current_dir(folder).env("NO_COLOR", "1");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let _ = child.stdin.take().map(|mut to| to.write_all(input.as_bytes()));
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the command ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (out, err) = (text(stdout), text(stderr));
    assert!(!err.contains("panicked"), "{err}");
    (status.code().unwrap_or(-1), out, err)
}

/// OpenBSD's tests that load into a kernel: rules read back with skip steps, the optimizer, anchors that are loaded,
/// tables, addresses of interfaces.
#[test]
fn what_openbsd_expects_of_a_loaded_kernel() {
    let Some(script) = shared("bin/pf-conformance") else { return };
    let host = Host::start();
    let facts = project("tests/facts/openbsd.toml");
    let load = program("pfload");
    let offline = format!("{} --host-facts {}", load.display(), facts.display());
    let live = format!("{} -p {}", load.display(), host.socket().display());
    let done = Command::new("python3")
        .arg(script)
        .args(["--cmd", &offline, "--live", &live, "--timeout", "120"])
        .args(["-v", "pfload", "pfoptimize", "pfloadanchors", "pfr", "pfi"])
        .output()
        .expect("python3 runs");
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
    assert!(text.contains(" passed, 0 failed"), "{text}");
}

#[test]
fn a_load_is_all_or_nothing() {
    let host = Host::start();
    host.good(&["-f", "-"], "table <bad> persist { 10/8 }\nblock\npass from <bad>\nanchor \"inner\"\n");
    let before = host.good(&["-vvsr"], "").replace(' ', "");
    assert!(before.contains("<bad:1>"), "{before}");
    let err = host.ends(1, &["-f", "-"], "pass\npass on\n");
    assert!(err.contains("stdin:2: syntax error"), "{err}");
    assert!(err.contains("pfctl: Syntax error in config file: pf rules not loaded"), "{err}");
    let broken = host.file("broken.conf", "pass quick flags\n");
    host.ends(1, &["-f", "-"], &format!("pass\nanchor \"x\"\nload anchor \"x\" from \"{broken}\"\n"));
    let damaged = host.file("damaged.pfbin", "PFBIN\r\n\u{1a}nothing else");
    let err = host.ends(1, &["load", &damaged], "");
    assert!(err.starts_with("pfload: ") && err.contains("damaged.pfbin"), "{err}");
    assert_eq!(host.good(&["-vvsr"], "").replace(' ', ""), before);
    // Anchors go in together with the main rules.
    let inner = host.file("inner.conf", "pass in proto tcp to port 80 label \"web\"\n");
    host.good(&["-f", "-"], &format!("block\nanchor \"inner\"\nload anchor \"inner\" from \"{inner}\"\n"));
    assert_eq!(host.good(&["-a", "inner", "-sl"], ""), "web 0 0 0 0 0 0 0 0\n");
    assert_eq!(host.good(&["-sA"], ""), "  inner\n");
    // An anchor lives on when main is loaded anew without it, and is flushed by name.
    host.good(&["-f", "-"], "pass\n");
    assert_eq!(
        host.good(&["-a", "inner", "-sr"], ""),
        "pass in proto tcp from any to any port = 80 flags S/SA label \"web\"\n"
    );
    assert_eq!(host.ends(0, &["-a", "inner", "-Fr"], ""), "rules cleared\n");
    assert_eq!(host.ends(0, &["-a", "inner", "-sr"], ""), "pfctl: Anchor does not exist\n");
}

#[test]
fn images_are_loaded_confirmed_and_taken_back() {
    let host = Host::start();
    let rules = host.file("new.conf", "block all\n");
    let built = Command::new(program("pfc"))
        .args(["build", &rules, "-o", "new.pfbin", "--host-facts"])
        .arg(project("tests/facts/openbsd.toml"))
        .current_dir(host.folder.path())
        .output()
        .expect("pfc runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    host.good(&["-f", "-"], "pass all\n");
    let image = host.folder.path().join("new.pfbin").display().to_string();
    let err = host.ends(0, &["load", &image, "--confirm", "5m"], "");
    assert!(err.contains("1 rules loaded") && err.contains("pfload confirm"), "{err}");
    assert_eq!(host.good(&["-sr"], ""), "block drop all\n");
    let info: Value = serde_json::from_str(&host.good(&["--json", "-si"], "")).expect("JSON");
    assert!(info["data"]["unconfirmed"]["seconds_left"].as_u64().is_some_and(|s| s <= 300), "{info}");
    host.ends(0, &["revert"], "");
    assert_eq!(host.good(&["-sr"], ""), "pass all flags S/SA\n");
    host.ends(0, &["load", &image, "--confirm", "5m"], "");
    host.ends(0, &["confirm"], "");
    assert_eq!(host.good(&["-sr"], ""), "block drop all\n");
    assert!(host.ends(1, &["confirm"], "").contains("no rules wait"));
    let err = host.ends(1, &["load", &rules], "");
    assert!(err.contains("this is no image"), "{err}");
}

#[test]
fn tables_from_files_change_whole_or_not_at_all() {
    let host = Host::start();
    host.good(&["-f", "-"], "table <t> persist\ntable <c> const { 1.1.1.1 }\npass from <c>\n");
    let good = host.file("good", "10/8 !10.1/16 # a comment\n\n::1\n");
    assert_eq!(host.ends(0, &["-t", "t", "-T", "replace", "-f", &good], ""), "3 addresses added.\n");
    let bad = host.file("bad", "10/8\n192.0.2.0/24\n1.2.3.4.5\n");
    let err = host.ends(255, &["-t", "t", "-T", "replace", "-f", &bad], "");
    assert!(err.contains("no IP address found for 1.2.3.4.5") && err.contains("bad:3: "), "{err}");
    assert_eq!(host.good(&["-t", "t", "-Ts"], ""), "   10.0.0.0/8\n  !10.1.0.0/16\n   ::1\n");
    assert_eq!(host.ends(255, &["-t", "none", "-Ts"], ""), "pfctl: Table does not exist\n");
    assert_eq!(host.ends(255, &["-a", "nowhere", "-t", "t", "-Ts"], ""), "pfctl: Table does not exist\n");
    assert_eq!(host.ends(255, &["-a", "*", "-t", "none", "-Ts"], ""), "", "of all anchors, some have no such table");
    assert_eq!(host.ends(255, &["-t", "c", "-Tadd", "2.2.2.2"], ""), "pfctl: Operation not permitted\n");
    assert_eq!(host.ends(1, &["-t", "none", "-Texpire", "soon"], ""), "pfctl: expiry time: invalid\n");
    // What cannot be done does not keep the rest from being done.
    let err = host.ends(255, &["-t", "none", "-x", "err", "-Tflush"], "");
    assert_eq!(err, "pfctl: Table does not exist\ndebug level set to 'err'\n");
    assert_eq!(host.ends(2, &["-t", "t", "-Ttest", "10.2.3.4", "10.1.0.1"], ""), "1/2 addresses match.\n");
    // More than one message holds: still one change.
    let many: String = (0..5000).map(|n| format!("192.0.{}.{}\n", n / 250, n % 250)).collect();
    let many = host.file("many", &many);
    let err = host.ends(0, &["-t", "t", "-T", "replace", "-f", &many], "");
    assert_eq!(err, "5000 addresses added.\n3 addresses deleted.\n");
    assert_eq!(host.good(&["-t", "t", "-Ts"], "").lines().count(), 5000);
    let (_, out, err) = host.ask(&["-t", "t", "-vv", "-T", "delete", "-f", &many], "");
    assert_eq!(err, "5000/5000 addresses deleted.\n");
    assert_eq!(out.lines().filter(|l| l.starts_with("D  192.0.")).count(), 5000, "what became of each");
    let (_, out, err) = host.ask(&["-t", "t", "-v", "-T", "add", "-f", &many, "192.0.0.1"], "");
    assert_eq!(err, "5000/5001 addresses added.\n");
    assert_eq!(out.lines().filter(|l| l.starts_with("X  192.0.0.1")).count(), 1, "the one that came twice");
    let (_, out, err) = host.ask(&["-t", "t", "-v", "-T", "replace", "192.0.0.1", "1.1.1.1"], "");
    assert_eq!(err, "1 addresses added.\n4999 addresses deleted.\n");
    assert_eq!((out.lines().next(), out.lines().count()), (Some("A  1.1.1.1"), 5000));
    // More than the limit: none of them.
    let over: String = (0..250_000).map(|n| format!("10.{}.{}.{}\n", n >> 16, n >> 8 & 255, n & 255)).collect();
    let over = host.file("over", &over);
    let err = host.ends(255, &["-t", "t", "-T", "add", "-f", &over], "");
    assert!(err.contains("the limit of table entries is reached"), "{err}");
    assert_eq!(host.good(&["-t", "t", "-Ts"], ""), "   1.1.1.1\n   192.0.0.1\n");
}

#[test]
fn anchors_and_what_is_in_them() {
    let host = Host::start();
    let rules = "table <t> persist\nanchor \"a\" {\npass label \"in\"\nanchor \"b\" {\nblock\n}\n}\n\
                 anchor \"c/*\"\nanchor {\npass label \"here\"\n}\npass from <t>\n";
    host.good(&["-f", "-"], rules);
    host.good(
        &["-a", "c/one", "-f", "-"],
        "table <x> { 1.1.1.1 }\ntable <k> const { 2.2.2.2 }\npass from { <x>, <k> }\n",
    );
    // All of them, the inner behind the outer; those without a name only with `-v`.
    assert_eq!(host.good(&["-sA"], ""), "  a\n  a/b\n  c\n  c/one\n");
    assert_eq!(host.good(&["-gsA"], ""), "  a\n  a/b\n  c\n  c/one\n");
    assert_eq!(host.good(&["-vsA"], ""), "  _3\n  a\n  a/b\n  c\n  c/one\n");
    assert_eq!(host.good(&["-a", "a", "-sA"], ""), "  a/b\n");
    assert_eq!(host.good(&["-a", "*", "-sT"], ""), "k@c/one\nx@c/one\nt\n", "the innermost first");
    // A title wherever it goes into an anchor.
    let all = host.good(&["-sa"], "");
    let inner = "anchor all {\n\nFILTER RULES:\n  pass all flags S/SA label \"here\"\n}\n";
    assert!(all.contains(inner) && all.contains("\nLABEL COUNTERS:\n\nTIMEOUTS:\n"), "{all}");
    // Killing and clearing asks for no table; a constant one can be killed.
    assert_eq!(host.ends(0, &["-t", "none", "-Tkill"], ""), "0 table deleted.\n");
    assert_eq!(host.ends(0, &["-t", "none", "-Tzero"], ""), "0 table/stats cleared.\n");
    assert_eq!(host.ends(0, &["-t", "new", "-nTadd", "1.1.1.1"], ""), "1 table created (dummy).\n");
    assert_eq!(host.ends(0, &["-a", "c/one", "-t", "k", "-Tkill"], ""), "1 table deleted.\n");
    let err = host.ends(255, &["-a", "c/one", "-t", "k", "-nTadd", "1.1.1.1"], "");
    assert_eq!(err, "pfctl: Table does not exist\n", "a rule names it: none is made");
    assert_eq!(host.ends(255, &["-a", "_pf", "-t", "u", "-Tadd", "1.1.1.1"], ""), "pfctl: Anchor does not exist\n");
    // What has no rules, no tables and is not called is no anchor.
    assert_eq!(host.good(&["-a", "*", "-Fr"], ""), "Removing:\n  c/one\n  c\n  a/b\n  a\n  _3\n  /\n");
    assert_eq!(host.good(&["-vsA"], ""), "");
    assert_eq!(host.ends(1, &["-a", "a/*", "-FT"], ""), "pfctl: Anchor does not exist\n");
}

#[test]
fn pfctls_words_and_exit_statuses() {
    let host = Host::start();
    let (on, _, err) = host.ask(&["-e"], "");
    assert!(
        (on, err.as_str()) == (0, "pf enabled\n") || (on, err.as_str()) == (1, "pfctl: pf already enabled\n"),
        "{err}"
    );
    assert_eq!(host.ends(0, &["-d"], ""), "pf disabled\n");
    assert_eq!(host.ends(1, &["-d"], ""), "pfctl: pf not enabled\n");
    assert_eq!(host.ends(0, &["-e", "-x", "err"], ""), "pf enabled\ndebug level set to 'err'\n");
    // The first name syslog has for a level is the one that is shown.
    assert_eq!(host.ends(0, &["-x", "warning"], ""), "debug level set to 'warn'\n");
    assert!(host.good(&["-si"], "").contains("    Debug: warn\n"));
    assert_eq!(host.ends(0, &["-x", "err"], ""), "debug level set to 'err'\n");
    assert_eq!(host.ends(0, &["-z"], ""), "", "the main ruleset is there, if empty");
    for show in ["-sr", "-sl"] {
        assert_eq!(host.ends(0, &["-a", "nowhere", show], ""), "pfctl: Anchor does not exist\n");
    }
    assert_eq!(host.ends(1, &["-a", "nowhere", "-sA"], ""), "pfctl: Anchor does not exist\n");
    for tables in ["-sT", "-FT"] {
        assert_eq!(host.ends(1, &["-a", "nowhere", tables], ""), "pfctl: Anchor does not exist\n");
    }
    assert_eq!(host.ends(0, &["-Fs"], ""), "0 states cleared\n");
    assert_eq!(host.ends(0, &["-k", "10.0.0.0/8"], ""), "killed 0 states from 1 sources and 0 destinations\n");
    assert_eq!(host.ends(0, &["-k", "id", "-k", "1/0"], ""), "killed 0 states\n");
    let long = "l".repeat(64);
    for with in [["-k", "::1"], ["-F", "states"], ["-F", "info"]] {
        assert_eq!(
            host.ends(1, &[&["-i", &long], &with[..]].concat(), ""),
            format!("pfctl: invalid interface: {long}\n")
        );
    }
    assert_eq!(host.ends(1, &["-k", "label", "-k", &long], ""), format!("pfctl: label too long: {long}\n"));
    assert_eq!(host.ends(0, &["-q", "-Fi", "-FS"], ""), "");
    let all = host.ends(0, &["-Fa"], "");
    for line in ["0 tables deleted.", "rules cleared", "0 states cleared", "source tracking entries cleared"] {
        assert!(all.lines().any(|l| l == line), "{line}\n{all}");
    }
    let all = host.good(&["-sa"], "");
    for title in ["FILTER RULES:", "INFO:", "TIMEOUTS:", "LIMITS:"] {
        assert!(all.lines().any(|l| l == title), "{title}\n{all}");
    }
    let states = host.folder.path().join("states").display().to_string();
    host.good(&["-S", &states], "");
    host.good(&["-L", &states], "");
    let junk = host.file("junk", "no states");
    assert!(host.ends(1, &["-L", &junk], "").contains("no file of states; nothing was loaded"));
    let long = "t".repeat(32);
    for args in [
        &["-t", "t", "-Ts", "1.2.3.4"][..],
        &["-t", "t", "-Tk", "-f", &junk],
        &["-t", "t", "-Te", "1", "2"],
        &["-t", &long, "-Tadd", "1.2.3.4"],
        &["-T", "show"],
    ] {
        let err = host.ends(1, args, "");
        assert!(err.starts_with("usage: pfctl "), "{args:?}: {err}");
    }
    let err = host.ends(1, &["-D", "nothing", "-X"], "");
    let first = "pfctl: could not parse macro definition nothing\npfctl: unknown option -- X\nusage: pfctl ";
    assert!(err.starts_with(first), "{err}");
    // Nobody there.
    let nowhere = host.folder.path().join("nobody");
    for (args, status, said) in [
        (&["-Tadd", "1.2.3.4", "::1"][..], 0, "0/2 addresses added"),
        (&["-Ttest", "1.2.3.4"], 2, "0/1 addresses match"),
        (&["-Tzero", "1.2.3.4"], 0, "0/1 addresses cleared"),
        (&["-Tzero"], 0, "0 table/stats cleared"),
        (&["-Tkill"], 0, "0 table deleted"),
        (&["-Tflush"], 0, "0 addresses deleted"),
        (&["-Texpire", "5"], 0, "0/0 addresses expired"),
    ] {
        let args = [&["-n", "-t", "t"][..], args].concat();
        let (got, _, err) = run(&program("pfload"), &nowhere, &args, "", host.folder.path());
        assert_eq!((got, err), (status, format!("{said} (syntax only).\n")), "{args:?}");
    }
    let (status, _, err) = run(&program("pfload"), &nowhere, &["-sr"], "", host.folder.path());
    assert_eq!((status, err), (1, format!("pfctl: {}: No such file or directory\n", nowhere.display())));
    // Under its other name it knows no words.
    let pfctl = host.folder.path().join("pfctl");
    std::os::unix::fs::symlink(program("pfload"), &pfctl).expect("a link");
    let asked = Command::new(&pfctl).arg("confirm").output().expect("the link runs");
    let err = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert_eq!(asked.status.code(), Some(1));
    assert!(err.starts_with("pfctl: unknown command line argument: confirm ...\nusage: pfctl "), "{err}");
}

#[test]
fn documents_are_as_documented() {
    let host = Host::start();
    let rules =
        "set loginterface lo0\ntable <t> persist counters { 10/8 }\nblock\npass from <t> label \"x\"\nanchor \"a\"\n";
    let loaded = host.good(&["--json", "-f", "-"], rules);
    assert!(loaded.lines().any(|l| l.contains("\"kind\":\"loaded\"")), "{loaded}");
    for args in [
        &["-sr"][..],
        &["-sl"],
        &["-si"],
        &["-sI"],
        &["-sm"],
        &["-so"],
        &["-sT"],
        &["-t", "t", "-Ts"],
        &["-t", "t", "-Tadd", "1.2.3.4"],
        &["-t", "t", "-Ttest", "1.2.3.4"],
        &["-k", "1.2.3.4"],
    ] {
        let (_, out, err) = host.ask(&[&["--json"][..], args].concat(), "");
        let document: Value = serde_json::from_str(out.trim()).unwrap_or_else(|e| panic!("{args:?}: {e}\n{out}{err}"));
        check(&document);
    }
}
