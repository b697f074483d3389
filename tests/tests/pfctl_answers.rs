//! `pfctl -n` against recorded answers of the genuine pfctl 7.8: standard output, standard error, exit status, to the
//! byte; and against the texts of OpenBSD's own tests.

use std::collections::BTreeMap;
use std::path::Path;

use pfc::facts::Facts;
use pfc::facts::live::{File, Source};
use pfc::resolve::{Options, Session, Stream};
use pfc::ruleset::OptimizerLevel;
use pfc::source::{Loader, Sources};
use tests::{answers, project, shared};

/// A machine's files under those of one case.
struct Layered {
    case: BTreeMap<String, String>,
    below: Box<dyn Loader>,
    folder: Option<std::path::PathBuf>,
}

impl Loader for Layered {
    fn read(&mut self, name: &str) -> Result<Vec<u8>, String> {
        if let Some(text) = self.case.get(name) {
            return Ok(text.clone().into_bytes());
        }
        match &self.folder {
            Some(folder) if !name.starts_with('/') => self.below.read(&folder.join(name).to_string_lossy()),
            _ => self.below.read(name),
        }
    }
}

fn facts(name: &str) -> Facts {
    File(project(&format!("tests/facts/{name}.toml"))).facts().expect("the facts are well formed")
}

/// The options of a recorded command line.
fn options(args: &[String]) -> Options {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut letters = arg.strip_prefix('-').expect("only options are recorded").chars();
        while let Some(letter) = letters.next() {
            let mut value = || match letters.as_str() {
                "" => args.next().cloned().expect("the option has an argument"),
                glued => glued.to_owned(),
            };
            match letter {
                'n' => options.dry_run = true,
                'v' => options.verbose += 1,
                'N' => options.numeric = true,
                'P' => options.port_names = true,
                'g' => options.debug = true,
                'q' => {}
                'a' => options.anchor = value(),
                'D' => {
                    let text = value();
                    let (name, value) = text.rsplit_once('=').expect("a macro has a value");
                    options.macros.push((name.to_owned(), value.to_owned()));
                }
                'o' => {
                    options.optimize = Some(match value().as_str() {
                        "none" => OptimizerLevel::None,
                        "profile" => OptimizerLevel::Profile,
                        _ => OptimizerLevel::Basic,
                    })
                }
                'f' => assert_eq!(value(), "-"),
                other => panic!("-{other} is not expected here"),
            }
            if "aDof".contains(letter) {
                break;
            }
        }
    }
    options
}

/// What `pfctl` would say: standard output, standard error, exit status.
fn run(facts: &Facts, options: &Options, input: &[u8], loader: Layered) -> (String, String, i32) {
    if options.anchor.starts_with('_') || options.anchor.contains("/_") {
        let text = "pfctl: anchor names beginning with '_' cannot be modified from the command line\n";
        return (String::new(), text.into(), 1);
    }
    let mut sources = Sources::new(Box::new(loader));
    let main = sources.add("stdin", input);
    let mut session = Session::new(facts, options);
    let good = session.run(&mut sources, main).is_some();
    let said = session.said();
    (said.text(Stream::Out), said.text(Stream::Err), i32::from(!good))
}

fn compare(collection: &str) {
    let Some(list) = answers(collection) else { return };
    let facts = facts("full");
    let mut wrong = Vec::new();
    for answer in &list {
        let mut case = answer.files.clone();
        case.extend([("/dev/null".to_owned(), String::new())]);
        let loader = Layered { case, below: Box::new(Nothing), folder: None };
        let got = run(&facts, &options(&answer.args), answer.input.as_bytes(), loader);
        if got != (answer.stdout.clone(), answer.stderr.clone(), answer.rc) {
            wrong.push(answer.name.clone());
        }
    }
    assert!(wrong.is_empty(), "{collection}: {} of {} differ: {wrong:?}", wrong.len(), list.len());
}

/// No files but the case's own.
struct Nothing;

impl Loader for Nothing {
    fn read(&mut self, name: &str) -> Result<Vec<u8>, String> {
        Err(if matches!(name, "." | "/") { "Is a directory" } else { "No such file or directory" }.to_owned())
    }
}

#[test]
fn rules_without_optimizer() {
    compare("visible");
}

#[test]
fn rules_with_optimizer() {
    compare("opt-visible");
}

#[test]
fn other_options() {
    compare("args-visible");
}

/// What no recording holds: rules, what is printed, what is said; by reading pfctl.
#[test]
fn corners_by_reading() {
    let facts = facts("full");
    let options = Options { dry_run: true, verbose: 1, ..Options::default() };
    for (input, out, err) in [
        // An empty name is none, also for the optimizer, which takes rules with labels for barriers.
        ("pass label \"\"\npass tag \"\"\npass tagged \"\"\n", "pass all flags S/SA\n", ""),
        ("pass label \"$srcport\"\npass\n", "pass all flags S/SA\n", ""),
        // What loads rules for an anchor ends where its path has no name at its end.
        (
            "load anchor \"a/\" from \"x\"\nload anchor b from \"x\"\n",
            "",
            "\nLoading anchor a/ from x\npfctl: pfctl_rules: bad anchor name a/\n",
        ),
        // `{` may open a file, yet nothing may follow it.
        ("{ \\\npass }\n", "", "stdin:2: syntax error\n"),
        // A timeout set twice is called as the one that has its number in pfctl's own list.
        (
            "pass keep state (udp.first 1, udp.first 2)\n",
            "",
            "stdin:1: state timeout tcp.tsdiff multiple definitions\n",
        ),
        // No name is an operating system nobody knows.
        ("pass proto tcp from any os \"\"\n", "pass proto tcp from any os \"nomatch\" to any flags S/SA\n", ""),
        // What is wrong with a weight is said in the system's words.
        (
            "table <t> file \"weightless\"\n",
            "",
            "failed to convert weight 0\nstdin:1: cannot load \"weightless\": Result too large\n",
        ),
        (
            "table <t> file \"unweighed\"\n",
            "",
            "failed to convert weight much\nstdin:1: cannot load \"unweighed\": Invalid argument\n",
        ),
        // The optimizer asks for no counters where there are no rules.
        ("set ruleset-optimization profile\n", "", ""),
    ] {
        let case = [("weightless", "10.0.0.1 weight 0"), ("unweighed", "10.0.0.1 weight much")];
        let case = case.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let loader = Layered { case, below: Box::new(Nothing), folder: None };
        let rc = i32::from(!err.is_empty());
        assert_eq!(run(&facts, &options, input.as_bytes(), loader), (out.to_owned(), err.to_owned(), rc), "{input}");
    }
}

#[derive(serde::Deserialize)]
struct Published {
    name: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
    #[serde(default)]
    rc: i32,
}

#[test]
fn published_configurations() {
    let Some(path) = shared("pf/answers/realworld.jsonl.xz") else { return };
    let folder = shared("pf/realworld").expect("the configurations are beside their answers");
    let mut text = Vec::new();
    lzma_rs::xz_decompress(&mut std::fs::read(path).unwrap().as_slice(), &mut text).unwrap();
    let facts = facts("realworld");
    let mut wrong = Vec::new();
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()).skip(1) {
        let answer: Published = serde_json::from_slice(line).unwrap();
        let mut file = folder.join(&answer.source);
        if file.is_dir() {
            file = file.join("etc/pf.conf");
        }
        let input = std::fs::read(file).unwrap();
        let loader = Layered { case: BTreeMap::new(), below: facts.loader(), folder: None };
        let got = run(&facts, &options(&answer.args), &input, loader);
        if got != (answer.stdout.clone(), answer.stderr.clone(), answer.rc) {
            wrong.push(answer.name.clone());
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Files of a folder with a suffix, with what the case is called.
fn cases(folder: &Path, suffix: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if let Some(case) = name.strip_suffix(suffix) {
            found.push((case.to_owned(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

/// OpenBSD's own tests: what is accepted prints as told, and what is printed prints the same again.
#[test]
fn openbsd_regress() {
    let Some(folder) = shared("pf/corpus/pf") else { return };
    let facts = facts("openbsd");
    let options = Options { optimize: Some(OptimizerLevel::None), dry_run: true, verbose: 1, ..Options::default() };
    let print = |input: &[u8]| {
        let loader = Layered { case: BTreeMap::new(), below: facts.loader(), folder: Some(folder.clone()) };
        run(&facts, &options, input, loader).0
    };
    for (case, wanted) in cases(&folder, ".ok") {
        let wanted = String::from_utf8(wanted).unwrap();
        let input = std::fs::read(folder.join(format!("{case}.in"))).unwrap();
        assert_eq!(print(&input), wanted, "{case}");
        assert_eq!(print(wanted.as_bytes()), wanted, "{case}, printed again");
    }
}

/// OpenBSD's own tests: what is refused, with the messages before the echo.
#[test]
fn openbsd_regress_refused() {
    let Some(folder) = shared("pf/corpus/pfail") else { return };
    let facts = facts("openbsd");
    let options = Options { optimize: Some(OptimizerLevel::None), dry_run: true, verbose: 1, ..Options::default() };
    for (case, wanted) in cases(&folder, ".ok") {
        let input = std::fs::read(folder.join(format!("{case}.in"))).unwrap();
        let loader = Layered { case: BTreeMap::new(), below: facts.loader(), folder: Some(folder.clone()) };
        let (out, err, _) = run(&facts, &options, &input, loader);
        assert_eq!(format!("{err}{out}"), String::from_utf8(wanted).unwrap(), "{case}");
    }
}

/// The numbered rules of a listing, without what only a kernel knows: counts of table addresses, random table names.
fn numbered_rules(listing: &str) -> Vec<String> {
    let rules = listing.lines().map(str::trim).filter(|line| line.starts_with('@'));
    rules.map(|line| without_counts(line.trim_end_matches('{').trim_end())).collect()
}

/// Drops `:0`, `:2` or `:*` before `>` and `)`, and what stands between `__automatic_` and the last number.
fn without_counts(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(':') {
        let (before, after) = rest.split_at(at);
        let digits = after[1..].find(|c: char| !c.is_ascii_digit() && c != '*').map_or(after.len(), |n| n + 1);
        let count = digits > 1 && after[digits..].starts_with(['>', ')']);
        out.push_str(before);
        out.push_str(if count { "" } else { ":" });
        rest = &after[if count { digits } else { 1 }..];
    }
    out.push_str(rest);
    match out.split_once("__automatic_").map(|(head, tail)| (head.to_owned(), tail.to_owned())) {
        Some((head, tail)) => {
            let (name, end) = tail.split_once('>').unwrap_or((&tail, ""));
            format!("{head}__automatic_{}>{end}", name.rsplit('_').next().unwrap_or(name))
        }
        None => out,
    }
}

/// The rules as OpenBSD's kernel lists them, plain and optimized. Its listing leaves out the rules of inline anchors in
/// the three cases named.
#[test]
fn rules_as_the_kernel_lists_them() {
    let Some(folder) = shared("pf/corpus/pf") else { return };
    let facts = facts("openbsd");
    for (suffix, level, flat) in [
        (".loaded", OptimizerLevel::None, &[][..]),
        (".optimized", OptimizerLevel::Basic, &["pf91", "pf92", "pf100"][..]),
    ] {
        let options = Options { optimize: Some(level), dry_run: true, verbose: 2, ..Options::default() };
        let all = cases(&folder, suffix);
        assert!(all.len() > 40, "{suffix}: {} cases", all.len());
        for (case, wanted) in all.into_iter().filter(|(case, _)| !flat.contains(&case.as_str())) {
            let input = std::fs::read(folder.join(format!("{case}.in"))).unwrap();
            let loader = Layered { case: BTreeMap::new(), below: facts.loader(), folder: Some(folder.clone()) };
            let (printed, _, _) = run(&facts, &options, &input, loader);
            let wanted = numbered_rules(&String::from_utf8(wanted).unwrap());
            assert_eq!(numbered_rules(&printed), wanted, "{case}{suffix}");
        }
    }
}
