//! Packet stories recorded from pf, replayed: every step agrees, or docs/stories.md says why it does not.

use std::collections::BTreeSet;

#[test]
fn stories_agree_or_are_explained() {
    let Some(dir) = tests::shared("pf/stories") else { return };
    let (score, differing) = pfsim::stories::differing(&dir.join("stories.jsonl.xz")).unwrap();
    println!("{} of {} stories, {} of {} steps", score.perfect, score.stories, score.agreed, score.steps);
    let docs = std::fs::read_to_string(tests::project("docs/stories.md")).unwrap();
    let explained: BTreeSet<(String, usize)> = docs
        .lines()
        .filter_map(|l| {
            let mut cells = l.strip_prefix("| ")?.split(" | ");
            Some((cells.next()?.to_owned(), cells.next()?))
        })
        .flat_map(|(name, steps)| {
            steps.split(", ").filter_map(|s| Some((name.clone(), s.trim().parse().ok()?))).collect::<Vec<_>>()
        })
        .collect();
    let new: Vec<_> = differing.iter().filter(|d| !explained.contains(d)).collect();
    assert!(new.is_empty(), "differ without a reason in docs/stories.md: {new:?}");
    assert!(differing.len() * 100 <= score.steps, "{} steps differ", differing.len());
}
