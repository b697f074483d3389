//! The packet stories recorded from pf itself, as JSON.

use serde_json::Value;

/// All stories, or `None` with one line said when they are not beside the project.
///
/// # Panics
/// When the file is there but cannot be read.
#[must_use]
pub fn stories() -> Option<Vec<Value>> {
    let path = crate::shared("pf/stories/stories.jsonl.xz")?;
    let file = std::fs::read(&path).expect("the stories are readable");
    let mut text = Vec::new();
    lzma_rs::xz_decompress(&mut file.as_slice(), &mut text).expect("the stories decompress");
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    Some(lines.map(|line| serde_json::from_slice(line).expect("a story is JSON")).collect())
}
