//! Did you mean: the nearest of the words that would have been right.

/// The candidate nearest to a word, when it is near enough to be meant.
#[must_use]
pub fn nearest<S: AsRef<str>>(word: &str, candidates: impl IntoIterator<Item = S>) -> Option<String> {
    let lower = word.to_ascii_lowercase();
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let near = candidates.into_iter().filter_map(|candidate| {
        let text = candidate.as_ref();
        let apart = distance(&lower, &text.to_ascii_lowercase(), limit)?;
        // Of words as near as each other one that begins alike is likelier.
        let alike = text.chars().next() == word.chars().next();
        (text != word && text.chars().count() > apart).then(|| (apart, !alike, text.to_owned()))
    });
    near.min().map(|(.., text)| text)
}

/// Letters to insert, drop, change or swap with their neighbour; `None` when more than `limit`.
fn distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > limit || a.len() > 128 {
        return None;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let change = last[j] + usize::from(x != y);
            let mut best = change.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == y && b[j - 1] == x {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|apart| *apart <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(nearest("qiuck", ["quick", "queue"]), Some("quick".to_owned()));
        assert_eq!(nearest("Quick", ["quick"]), Some("quick".to_owned()));
        assert_eq!(nearest("ext_fi", ["ext_if", "int_if"]), Some("ext_if".to_owned()));
        assert_eq!(nearest("tpc", ["3pc", "tcp"]), Some("tcp".to_owned()));
        assert_eq!(nearest("bogus", ["quick", "queue"]), None);
        assert_eq!(nearest("a", ["b"]), None);
    }
}
