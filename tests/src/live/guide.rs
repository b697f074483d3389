//! The guide's own text, run: fenced blocks of a Markdown file with what they are.

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The words behind the fence: its language and for whom it is.
    pub words: Vec<String>,
    /// Its lines.
    pub text: String,
}

/// The blocks of a text, in order.
#[must_use]
pub fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(words) => {
                open = true;
                found.push(Block { words: words.split_whitespace().map(str::to_owned).collect(), text: String::new() });
            }
            None => {
                if let Some(block) = found.last_mut().filter(|_| open) {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_their_words() {
        let found = blocks("a\n```sh client\nx\ny\n```\nb\n```\nz\n```\n");
        assert_eq!(found[0], Block { words: vec!["sh".into(), "client".into()], text: "x\ny\n".into() });
        assert_eq!((found[1].words.len(), found[1].text.as_str(), found.len()), (0, "z\n", 2));
    }
}
