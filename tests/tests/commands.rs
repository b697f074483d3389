//! The commands as a user runs them, on bad input above all: one clear error, the documented exit status, no panic,
//! and nothing half-written in place of a good file.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use tests::{program, project};

fn run(name: &str, args: &[&str], folder: &Path) -> Output {
    Command::new(program(name)).args(args).current_dir(folder).env("NO_COLOR", "1").output().expect("the command runs")
}

/// Runs a command that must end with `status`; both its streams as text.
fn ends(status: i32, name: &str, args: &[&str], folder: &Path) -> String {
    let output = run(name, args, folder);
    let text = [output.stdout, output.stderr].map(|s| String::from_utf8_lossy(&s).into_owned()).concat();
    assert_eq!(output.status.code(), Some(status), "{name} {args:?}\n{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn example(name: &str) -> String {
    project("examples").join(name).display().to_string()
}

/// A folder with a good image made from the example.
fn with_image() -> (TempDir, Vec<u8>) {
    let folder = TempDir::new().expect("a folder");
    let (rules, facts) = (example("gateway.conf"), example("gateway.toml"));
    ends(0, "pfc", &["build", &rules, "--host-facts", &facts, "-o", "good.pfbin"], folder.path());
    let bytes = std::fs::read(folder.path().join("good.pfbin")).expect("the image is there");
    (folder, bytes)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn two_captures_are_one_run_and_states_are_shown() {
    let folder = TempDir::new().unwrap();
    let (rules, facts, pcap) = (example("gateway.conf"), example("gateway.toml"), example("gateway.pcap"));
    let common = ["run", "--rules", &rules, "--host-facts", &facts, "--states"];
    let text = ends(0, "pfsim", &[&common[..], &["--pcap", &pcap]].concat(), folder.path());
    assert!(text.contains("all tcp 10.0.0.10:8080 (203.0.113.2:80) <- 198.51.100.10:51004"), "{text}");
    assert!(!text.contains("creatorid"), "{text}");
    let again = format!("em1={pcap}");
    let text = ends(0, "pfsim", &[&common[..], &["--pcap", &pcap, "--pcap", &again, "-v"]].concat(), folder.path());
    assert!(text.contains("1442 frames") && text.contains("creatorid"), "{text}");
    ends(5, "pfsim", &[&common[..], &["--pcap", &pcap, "--pcap", &facts]].concat(), folder.path());
}

#[test]
fn the_newcomers_command_shows_the_result() {
    let folder = TempDir::new().unwrap();
    let (rules, facts, pcap) = (example("gateway.conf"), example("gateway.toml"), example("gateway.pcap"));
    let args = ["run", "--rules", &rules, "--host-facts", &facts, "--pcap", &pcap, "--json", "-w", "passed.pcap"];
    let text = ends(0, "pfsim", &args, folder.path());
    let json: serde_json::Value = serde_json::from_str(&text).expect("one object");
    let packets = |key: &str| json[key]["packets"].as_u64().unwrap();
    let others: u64 = json["not_ip"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(packets("passed") + packets("blocked") + packets("held") + others, json["frames"].as_u64().unwrap());
    let by_label = |label: &str, key: &str| {
        let rows = json["decided_by"].as_array().unwrap().iter().filter(|row| row["rule"]["label"] == label);
        rows.map(|row| row[key]["packets"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(by_label("spoofed", "blocked"), 1, "the one spoofed packet");
    assert!(by_label("bruteforce", "blocked") > 0, "the guesser is caught");
    assert!(by_label("guest-web", "passed") > 0 && by_label("web", "passed") > 0);
    assert_eq!(json["blocked_most"][0]["source"], "192.0.2.66");
    // What passed is a capture again, of as many frames.
    let args = ["run", "--rules", &rules, "--host-facts", &facts, "--pcap", "passed.pcap", "--json"];
    let again: serde_json::Value = serde_json::from_str(&ends(0, "pfsim", &args, folder.path())).unwrap();
    assert_eq!(again["frames"].as_u64().unwrap(), packets("passed") + others);
}

#[test]
fn image_and_text_decide_alike() {
    let (folder, _) = with_image();
    let (rules, facts, pcap) = (example("gateway.conf"), example("gateway.toml"), example("gateway.pcap"));
    let report = |rules: &str| {
        let args = ["run", "--rules", rules, "--host-facts", &facts, "--pcap", &pcap];
        ends(0, "pfsim", &args, folder.path())
    };
    assert_eq!(report(&rules), report("good.pfbin"));
}

#[test]
fn files_that_are_not_there_or_no_files() {
    let (folder, _) = with_image();
    let at = folder.path();
    for args in [&["check", "none.conf"][..], &["build", "none.conf"], &["dump", "none.conf"], &["check", "."]] {
        let text = ends(4, "pfc", args, at);
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let pcap = example("gateway.pcap");
    ends(4, "pfsim", &["run", "--rules", "none.conf", "--pcap", &pcap], at);
    ends(4, "pfsim", &["run", "--rules", "good.pfbin", "--pcap", "none.pcap"], at);
    ends(4, "pfsim", &["run", "--rules", "good.pfbin", "--pcap", &pcap, "-w", "none/out.pcap"], at);
    ends(4, "pfc", &["check", "--host-facts", "none.toml", &example("gateway.conf")], at);
    assert_eq!(names(at), ["good.pfbin"]);
}

#[test]
fn damaged_images_are_refused_in_one_line() {
    let (folder, good) = with_image();
    let at = folder.path();
    let why = ["why", "--rules", "bad.pfbin", "in on em0 tcp 192.0.2.7:4 > 203.0.113.2:22 S"];
    let mut cases: Vec<Vec<u8>> = (0..good.len()).step_by(good.len() / 12).map(|end| good[..end].to_vec()).collect();
    for at in (0..good.len()).step_by(good.len() / 12) {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        cases.push(flipped);
    }
    cases.push([good.as_slice(), &[0]].concat());
    for bytes in cases {
        std::fs::write(at.join("bad.pfbin"), &bytes).unwrap();
        let text = ends(3, "pfsim", &why, at);
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn damaged_captures_report_what_was_read_and_write_nothing() {
    let (folder, _) = with_image();
    let at = folder.path();
    let pcap = std::fs::read(example("gateway.pcap")).unwrap();
    std::fs::write(at.join("out.pcap"), b"good").unwrap();
    let facts = example("gateway.toml");
    let args = ["run", "--rules", "good.pfbin", "--host-facts", &facts, "--pcap", "cut.pcap", "-w", "out.pcap"];
    std::fs::write(at.join("cut.pcap"), &pcap[..pcap.len() / 2]).unwrap();
    let text = ends(5, "pfsim", &args, at);
    assert!(text.contains("cut short at byte") && text.contains("blocked"), "{text}");
    for (bytes, words) in
        [(&b"block all\n"[..], "not a capture"), (b"", "the file is empty"), (&pcap[..10], "cut short")]
    {
        std::fs::write(at.join("cut.pcap"), bytes).unwrap();
        assert!(ends(5, "pfsim", &args, at).contains(words));
    }
    let mut wifi = pcap.clone();
    wifi[20] = 105;
    wifi[21] = 0;
    std::fs::write(at.join("cut.pcap"), wifi).unwrap();
    assert!(ends(5, "pfsim", &args, at).contains("link type 105 (IEEE 802.11)"));
    assert_eq!(std::fs::read(at.join("out.pcap")).unwrap(), b"good");
    assert_eq!(names(at), ["cut.pcap", "good.pfbin", "out.pcap"]);
}

#[test]
fn rules_with_errors_leave_the_old_image() {
    let (folder, good) = with_image();
    let at = folder.path();
    let bomb: String = (0..40).fold("m0 = \"1.2.3.4\"\n".into(), |text, n| {
        format!("{text}m{} = \"$m{n} $m{n} $m{n} $m{n} $m{n} $m{n} $m{n} $m{n}\"\n", n + 1)
    });
    let cases = [
        ("syntax", "blok in all\n".to_owned()),
        ("macro", "pass on $nowhere\n".into()),
        ("braces", format!("pass from {}\n", "{".repeat(10_000))),
        ("bomb", bomb + "pass from { $m40 }\n"),
        ("quote", "a = \"never ends\n".repeat(3)),
        ("circle", "include \"circle.conf\"\n".into()),
        ("nul", "pass\0in\n".into()),
    ];
    for (name, text) in cases {
        let file = format!("{name}.conf");
        std::fs::write(at.join(&file), text).unwrap();
        let said = ends(3, "pfc", &["build", &file, "-o", "good.pfbin"], at);
        assert!(said.contains("error["), "{name}: {said}");
        assert!(said.len() < 200_000, "{name} says {} bytes", said.len());
        std::fs::remove_file(at.join(&file)).unwrap();
    }
    assert_eq!(std::fs::read(at.join("good.pfbin")).unwrap(), good);
    assert_eq!(names(at), ["good.pfbin"]);
}

#[test]
fn the_command_line_is_checked() {
    let (folder, _) = with_image();
    let at = folder.path();
    ends(2, "pfc", &[], at);
    ends(2, "pfc", &["explain", "PF8888"], at);
    ends(2, "pfc", &["build", "-D", "novalue", "x.conf"], at);
    let text = ends(2, "pfsim", &["why", "--rules", "good.pfbin", "in on em0 tpc 1.2.3.4 > 1.2.3.5"], at);
    assert!(text.contains("unknown protocol `tpc`") && text.contains("^^^"), "{text}");
}

#[test]
fn the_same_rules_give_the_same_bytes() {
    let (_, one) = with_image();
    let (_, other) = with_image();
    assert_eq!(one, other);
}
