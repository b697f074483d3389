//! Clients of a running pfd as it meets them: thousands, some that die, some that may not, some that send anything at
//! all. What they do to each other is nothing, and what they do to the filter is what they may.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pfvm::api::{
    API_VERSION, After, Changed, Code, MAX_CHUNK, MAX_MESSAGE, OptionsReply, Request, Status, Ticket, Welcome, decode,
    read_reply,
};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use tests::daemon::{Daemon, Wire, framed, until};
use tests::desk::image;
use tests::program;

fn daemon(options: &[&str]) -> Daemon {
    Daemon::start(&program("pfd"), options)
}

/// Generation and standing of a filter.
fn standing(daemon: &Daemon) -> (u64, bool, String) {
    let mut wire = daemon.greet();
    assert!(wire.send(&framed(&Request::Status)));
    let answer = wire.answer().expect("an answer");
    let status: Status<'_> = decode(read_reply(&answer).unwrap().unwrap()).unwrap();
    let (generation, running) = (status.generation, status.running);
    assert!(wire.send(&framed(&Request::Options)));
    let answer = wire.answer().expect("an answer");
    let options: OptionsReply<'_> = decode(read_reply(&answer).unwrap().unwrap()).unwrap();
    (generation, running, format!("{options:?}"))
}

fn commit(wire: &mut Wire, ticket: u64) -> Result<u64, Code> {
    let tickets = ticket.to_le_bytes();
    let request = Request::Commit { tickets: &tickets, after: After::Keep, confirm: 0, checksum: [0; 16] };
    wire.ask::<Ticket>(&request).map(|t| t.number).map_err(|no| no.0)
}

fn files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

#[test]
fn ten_thousand_clients_at_once() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("as many as may be");
    let most = limit.maximum.map_or(usize::MAX, |m| usize::try_from(m).unwrap_or(usize::MAX));
    let wanted = 10_000.min(most.saturating_sub(300));
    assert!(wanted > 500, "{most} descriptors are too few for any test");
    let mut daemon = daemon(&[]);
    let before = files(daemon.pid());
    let mut crowd: Vec<Wire> = (0..wanted).map(|_| daemon.connect()).collect();
    let hello = framed(&Request::Hello { version: API_VERSION });
    assert!(crowd.iter_mut().all(|w| w.send(&hello)));
    for wire in &mut crowd {
        let answer = wire.answer().expect("everybody is answered");
        let welcome: Welcome = decode(read_reply(&answer).unwrap().unwrap()).unwrap();
        assert_eq!(welcome.version, API_VERSION);
    }
    // One in a hundred holds a ticket of its own; the filter is changed in the midst of it.
    let mut tickets = Vec::new();
    for (n, wire) in crowd.iter_mut().enumerate().step_by(100) {
        tickets.push(wire.ask::<Ticket>(&Request::Begin { path: &format!("p{n}") }).expect("a ticket").number);
    }
    tickets.sort_unstable();
    tickets.dedup();
    assert_eq!(tickets.len(), wanted.div_ceil(100), "each its own");
    let mut wire = daemon.greet();
    let ticket = wire.upload("", &image("", "block\n"));
    assert_eq!(commit(&mut wire, ticket), Ok(1));
    assert!(
        crowd
            .iter_mut()
            .step_by(997)
            .all(|w| w.ask::<Changed>(&Request::Disable).is_ok() && w.ask::<Changed>(&Request::Enable).is_ok())
    );
    // All of them go without a word.
    drop(crowd);
    until("what they held is given back", || files(daemon.pid()) <= before + 4);
    assert_eq!(standing(&daemon).0, 1);
    assert!(daemon.runs());
}

#[test]
fn a_client_that_dies_has_changed_nothing() {
    let daemon = daemon(&[]);
    let rules = image("", "block\n");
    let before = standing(&daemon);
    // In the middle of an upload; between upload and commit; in the middle of a message, of its length.
    let mut one = daemon.greet();
    let half = one.upload("", &rules[..rules.len() / 2]);
    drop(one);
    let mut two = daemon.greet();
    let whole = two.upload("a", &image("a", "pass\n"));
    drop(two);
    for cut in [1, 3, 4, 9] {
        let mut wire = daemon.greet();
        assert!(wire.send(&framed(&Request::FlushRules { path: "abcdefgh" })[..cut]));
    }
    // After the request and before its answer: it is done, and nobody waits for the answer.
    let mut last = daemon.greet();
    assert!(last.send(&framed(&Request::Status)));
    drop(last);
    assert_eq!(standing(&daemon), before);
    let mut heir = daemon.greet();
    for ticket in [half, whole] {
        assert_eq!(commit(&mut heir, ticket), Err(Code::Busy), "a ticket goes with its client");
    }
    let ticket = heir.upload("", &rules);
    assert_eq!(commit(&mut heir, ticket), Ok(before.0 + 1));
}

#[test]
fn who_does_not_listen_keeps_nobody_waiting() {
    let daemon = daemon(&[]);
    let mut deaf = daemon.greet();
    deaf.0.set_nonblocking(true).expect("no waiting");
    let ask = framed(&Request::Prints { cursor: 0 });
    // As much as goes in; no answer is fetched.
    let mut sent = 0;
    while sent < 5000 && deaf.0.write(&ask).is_ok() {
        sent += 1;
    }
    assert!(sent > 1);
    let mut wire = daemon.greet();
    for n in 1..=20 {
        let ticket = wire.upload("", &image("", "pass\n"));
        assert_eq!(commit(&mut wire, ticket), Ok(n));
    }
    // What was asked is answered when it listens at last.
    deaf.0.set_nonblocking(false).expect("waiting");
    let answer = deaf.answer().expect("the first answer");
    assert!(read_reply(&answer).unwrap().is_ok());
}

#[test]
fn garbage_is_told_so() {
    let mut daemon = daemon(&[]);
    let before = standing(&daemon);
    let frame = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat();
    // Before the greeting: nothing else is answered.
    assert_eq!(daemon.connect().refused(&framed(&Request::Status)).0, Code::Hello);
    assert_eq!(daemon.connect().refused(&framed(&Request::FlushRules { path: "" })).0, Code::Hello);
    // Another version is told ours.
    let (code, what) = daemon.connect().refused(&framed(&Request::Hello { version: API_VERSION + 1 }));
    assert!(code == Code::Version && what.ends_with(&API_VERSION.to_string()), "{what}");
    let mut wire = daemon.greet();
    for junk in [&b""[..], b"\xff", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"GET / HTTP/1.0\r\n\r\n"] {
        assert_eq!(wire.refused(&frame(junk)).0, Code::Message, "{junk:?}");
    }
    let good = framed(&Request::Status);
    let (code, what) = wire.refused(&frame(&[&good[4..], b"more"].concat()));
    assert!(code == Code::Message && what.contains("bytes behind the message: 4"), "{what}");
    assert_eq!(wire.refused(&frame(&vec![7; MAX_MESSAGE])).0, Code::Message);
    // The connection is as good as before.
    assert_eq!(wire.ask::<Changed>(&Request::Rollback { ticket: 1 }).unwrap_err().0, Code::Busy);
    // A length that cannot be ends it, for where the next message begins nobody knows.
    for length in [u32::try_from(MAX_MESSAGE).unwrap() + 1, u32::MAX] {
        let mut wire = daemon.greet();
        assert_eq!(wire.refused(&length.to_le_bytes()).0, Code::TooLong);
        assert_eq!(wire.answer(), None);
    }
    // Bytes that come one by one are a message like any other.
    let mut slow = daemon.greet();
    for byte in framed(&Request::Rollback { ticket: 9 }) {
        assert!(slow.send(&[byte]));
    }
    assert!(read_reply(&slow.answer().unwrap()).unwrap().is_err());
    // Noise, repeatable.
    let mut seed = 1_u64;
    for _ in 0..200 {
        let mut wire = daemon.greet();
        let noise: Vec<u8> = (0..512)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                u8::try_from(seed >> 56).unwrap_or(0)
            })
            .collect();
        // Lengths are small, so that the rest is read as messages.
        let steps = noise.chunks(16).map(|c| frame(&c[..usize::from(c[0] % 16)]));
        let _closed = wire.send(&steps.collect::<Vec<_>>().concat());
    }
    let after = standing(&daemon);
    assert!(daemon.runs());
    assert_eq!(after.0, before.0, "no rules came of it");
}

#[test]
fn pieces_and_tickets_have_their_place() {
    let daemon = daemon(&[]);
    let rules = image("", "block\n");
    let long = vec![0; MAX_CHUNK + 1];
    let (mut one, mut two) = (daemon.greet(), daemon.greet());
    let ticket = one.ask::<Ticket>(&Request::Begin { path: "" }).unwrap().number;
    let piece = |offset, bytes| Request::Upload { ticket, offset, bytes };
    assert_eq!(one.ask::<Changed>(&piece(0, &rules[..100])).unwrap().count, 100);
    for offset in [0, 99, 101, u32::MAX] {
        let (code, what) = one.ask::<Changed>(&piece(offset, &rules[100..])).unwrap_err();
        assert!(code == Code::Invalid && what.ends_with(" 100"), "{offset}: {what}");
    }
    assert_eq!(one.ask::<Changed>(&piece(100, &long)).unwrap_err().0, Code::TooLong);
    assert_eq!(two.ask::<Changed>(&piece(100, &rules[100..])).unwrap_err().0, Code::Busy, "another's ticket");
    assert_eq!(commit(&mut two, ticket), Err(Code::Busy));
    // A piece is missing: the image is cut off, nothing is loaded, and the ticket is used up.
    assert_eq!(commit(&mut one, ticket), Err(Code::Image));
    assert_eq!(commit(&mut one, ticket), Err(Code::Busy));
    let first = one.upload("", &rules);
    assert_eq!(commit(&mut one, first), Ok(1));
    assert_eq!(commit(&mut one, first), Err(Code::Busy), "a ticket is good once");
    let overtaken = one.upload("", &rules);
    let later = two.upload("", &rules);
    assert_eq!(commit(&mut one, overtaken), Err(Code::Busy), "two has begun after one");
    assert_eq!(commit(&mut two, later), Ok(2));
    assert_eq!(standing(&daemon).0, 2);
}

#[test]
fn an_end_with_clients_at_work() {
    let mut daemon = daemon(&[]);
    let mut idle: Vec<Wire> = (0..50).map(|_| daemon.greet()).collect();
    let mut busy = daemon.greet();
    let _ticket = busy.upload("", &image("", "block\n"));
    assert!(busy.send(&framed(&Request::Status)[..3]), "half a message");
    let socket = daemon.socket();
    assert_eq!(daemon.ends_by("TERM"), Some(0));
    assert!(!socket.exists(), "the socket goes with it");
    assert!(idle.iter_mut().all(|w| w.answer().is_none()) && busy.answer().is_none());
}

/// Runs pfload as somebody else: status, standard output and standard error.
fn as_somebody(pfload: &Path, (uid, gid): (u32, u32), socket: &Path, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(pfload);
    command.arg("-p").arg(socket).args(words).uid(uid).gid(gid).env("NO_COLOR", "1");
    let out = command.output().expect("pfload runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

#[test]
fn rights_come_from_who_one_is() {
    if !geteuid().is_root() {
        let required = std::env::var("PF_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|w| w == "netns" || w == "all"), "root is required");
        eprintln!("not run: only root can be somebody else");
        return;
    }
    // Groups every system has.
    let gid = |name: &str| {
        let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
        let line = groups.lines().find(|l| l.starts_with(&format!("{name}:"))).map(str::to_owned);
        line.and_then(|l| l.split(':').nth(2)?.parse::<u32>().ok()).expect("the group is there")
    };
    let (write, read) = (gid("adm"), gid("daemon"));
    let mut daemon = daemon(&["--group", "adm", "--read-group", "daemon"]);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(daemon.folder(), open).expect("others may pass");
    let pfload: PathBuf = daemon.folder().join("pfload");
    std::fs::copy(program("pfload"), &pfload).expect("a copy others may run");
    let socket = daemon.socket();
    let uid = 65_432;
    let ask = |gid, words: &[&str]| as_somebody(&pfload, (uid, gid), &socket, words);

    // Nobody: not even a look.
    for words in [&["-s", "info"][..], &["status"], &["-d"]] {
        let (status, out, err) = ask(uid, words);
        assert!(status == 1 && out.is_empty(), "{words:?}: {out}{err}");
        assert!(err.contains(&format!("{}: Permission denied", socket.display())), "{words:?}: {err}");
    }
    // Who may look.
    let (status, out, err) = ask(read, &["-s", "info"]);
    assert!(status == 0 && out.starts_with("Status: Enabled"), "{out}{err}");
    for words in [&["-d"][..], &["-F", "states"], &["-t", "t", "-T", "add", "1.2.3.4"], &["-k", "0.0.0.0/0"]] {
        let (status, out, err) = ask(read, words);
        let failed = if words.contains(&"-T") { 255 } else { 1 };
        assert!(status == failed && out.is_empty(), "{words:?}: {out}{err}");
        assert!(err.contains("this needs the right to change the filter"), "{words:?}: {err}");
    }
    assert!(standing(&daemon).1, "still on");
    // Who may change.
    assert_eq!(ask(write, &["-d"]), (0, String::new(), "pf disabled\n".to_owned()));
    assert_eq!(ask(write, &["-e"]).0, 0);
    assert!(daemon.runs());
}
