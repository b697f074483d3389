//! Packet stories recorded from pf, replayed: every step agrees, and what stands in the books at the end.

#[test]
fn stories_agree() {
    let Some(dir) = tests::shared("pf/stories") else { return };
    let (score, differing) = pfsim::stories::differing(&dir.join("stories.jsonl.xz")).unwrap();
    println!("{} of {} stories, {} of {} steps", score.perfect, score.stories, score.agreed, score.steps);
    assert!(differing.is_empty(), "{} steps differ: {differing:?}", differing.len());
}

/// Counters, source nodes and tables at the end of each story, and every evaluation of every rule.
#[test]
fn books_agree_at_the_end() {
    let Some(dir) = tests::shared("pf/stories") else { return };
    let path = dir.join("stories.jsonl.xz");
    let prints = pfsim::stories::fingerprints(&path);
    let (mut told, mut wrong) = (0, Vec::new());
    for s in pfsim::stories::read(&path).unwrap().iter().filter(|s| !s.rests_on_chance()) {
        told += 1;
        wrong.extend(
            pfsim::stories::play_straight(s, &prints).end.into_iter().map(|line| format!("{}: {line}", s.name)),
        );
    }
    println!("{told} stories, {} lines differ", wrong.len());
    assert!(told > 500, "few stories: {told}");
    assert!(wrong.is_empty(), "{} lines differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn states_print_as_pfctl_prints_them() {
    let Some(dir) = tests::shared("pf/stories") else { return };
    let path = dir.join("stories.jsonl.xz");
    let prints = pfsim::stories::fingerprints(&path);
    let (mut tables, mut lines, mut wrong) = (0, 0, Vec::new());
    for s in pfsim::stories::read(&path).unwrap() {
        let report = pfsim::stories::play(&s, &prints);
        let Some((want, got)) = report.table else { continue };
        if s.end_fuzzy.iter().any(|f| f == "pfctl_vss") {
            continue;
        }
        // Some protocols have no name where the recording was made; pf lists in the order of its own tree.
        let got = [("ipv6-nonxt", "59"), ("mobility-header", "135"), ("shim6", "140")]
            .iter()
            .fold(got, |text, (name, number)| text.replace(&format!("all {name} "), &format!("all {number} ")));
        let sorted = |text: &str| {
            let mut states: Vec<String> = Vec::new();
            for line in text.lines().filter(|l| !l.is_empty()) {
                match (line.starts_with(' '), states.last_mut()) {
                    (true, Some(last)) => *last += &format!("\n{line}"),
                    _ => states.push(line.to_owned()),
                }
            }
            states.sort();
            states
        };
        let (want, got) = (sorted(&want), sorted(&got));
        tables += 1;
        lines += want.len();
        if want != got {
            wrong.push(format!("{}:\n{}\n  ours:\n{}", s.name, want.join("\n"), got.join("\n")));
        }
    }
    println!("{tables} tables, {lines} states, {} differ", wrong.len());
    assert!(tables > 200, "few tables: {tables}");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(6)].join("\n\n"));
}
