//! What the genuine pfctl 7.8 answered, as recorded.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One run of pfctl.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// Its name in the collection.
    pub name: String,
    /// Standard input.
    #[serde(default)]
    pub input: String,
    /// Arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Files in the current directory.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit status.
    pub rc: i32,
}

/// The answers of a collection (`visible`, `opt-visible`, `args-visible`), or `None` with one line said when they are
/// not beside the project.
///
/// # Panics
/// When the file is there but cannot be read.
#[must_use]
pub fn answers(collection: &str) -> Option<Vec<Answer>> {
    let path = crate::shared(&format!("pf/answers/{collection}.jsonl.xz"))?;
    let file = std::fs::read(&path).expect("the answers are readable");
    let mut text = Vec::new();
    lzma_rs::xz_decompress(&mut file.as_slice(), &mut text).expect("the answers decompress");
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Some(lines.map(|line| serde_json::from_slice(line).expect("an answer is JSON")).collect())
}
