//! A pf.conf in colours.

use anstyle::{AnsiColor, Style};

use super::{Kind, Scan};
use crate::source::text;

fn style(kind: Kind) -> Style {
    match kind {
        Kind::Keyword => AnsiColor::Blue.on_default().bold(),
        Kind::Number => AnsiColor::Cyan.on_default(),
        Kind::Quoted => AnsiColor::Green.on_default(),
        Kind::Macro => AnsiColor::Magenta.on_default(),
        Kind::Comment => AnsiColor::BrightBlack.on_default(),
        Kind::Operator => AnsiColor::Yellow.on_default(),
        Kind::Stray => AnsiColor::Red.on_default(),
        Kind::Word | Kind::Newline | Kind::Continuation => Style::new(),
    }
}

/// The text with escape sequences around its lexemes: write it through `anstream`, which drops them where they are not
/// wanted.
#[must_use]
pub fn highlight(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().saturating_mul(2));
    for one in Scan::new(bytes) {
        out.push_str(&text::decode(one.blank));
        let style = style(one.kind);
        out.push_str(&style.render().to_string());
        out.push_str(&text::decode(one.text));
        out.push_str(&style.render_reset().to_string());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_change_no_text() {
        let text = "pass in on $ext # \"x\"\nblock 5 'a'\n";
        let coloured = highlight(text.as_bytes());
        assert_ne!(coloured, text);
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), text);
    }
}
