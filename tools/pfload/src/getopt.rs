//! Options as `getopt(3)` takes them: letters that can be glued together and to their argument.
//!
//! Long options (`--name value`, `--name=value`) are ours; pfctl has none.

/// Letters pfctl knows; a colon marks those with an argument.
const LETTERS: &str = "a:dD:eqf:F:ghi:k:K:L:Nno:Pp:R:rS:s:t:T:vV:x:z";
/// Long options; a colon marks those with an argument.
const LONG: &[&str] = &["host-facts:", "frames", "json", "confirm:", "kill-changed", "reeval", "help", "version"];

/// One option as it was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    /// A letter, with its argument.
    Letter(char, String),
    /// A long option, with its argument.
    Long(&'static str, String),
}

/// What is wrong with the command line, in getopt's words.
pub(crate) type Wrong = String;

/// Every letter, and whether it takes an argument.
#[cfg(test)]
pub(crate) fn letters() -> impl Iterator<Item = (char, bool)> {
    let next = |at: usize| LETTERS.as_bytes().get(at.saturating_add(1)) == Some(&b':');
    LETTERS.char_indices().filter(|(_, c)| *c != ':').map(move |(at, c)| (c, next(at)))
}

/// Every long option, and whether it takes an argument.
#[cfg(test)]
pub(crate) fn longs() -> impl Iterator<Item = (&'static str, bool)> {
    LONG.iter().map(|name| (name.trim_end_matches(':'), name.ends_with(':')))
}

/// Splits a command line into options and what follows them. Options up to the first wrong one are given too.
pub(crate) fn split(args: &[String]) -> (Vec<Flag>, Vec<String>, Option<Wrong>) {
    let mut flags = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.clone().next() {
        if arg == "--" {
            rest.next();
            break;
        }
        let Some(letters) = arg.strip_prefix('-').filter(|l| !l.is_empty()) else { break };
        rest.next();
        let wrong = match letters.strip_prefix('-') {
            Some(name) => long(name, &mut rest, &mut flags),
            None => short(letters, &mut rest, &mut flags),
        };
        if let Err(wrong) = wrong {
            return (flags, rest.cloned().collect(), Some(wrong));
        }
    }
    (flags, rest.cloned().collect(), None)
}

fn long<'a>(name: &str, rest: &mut impl Iterator<Item = &'a String>, flags: &mut Vec<Flag>) -> Result<(), Wrong> {
    let (name, glued) = match name.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (name, None),
    };
    let Some(known) = LONG.iter().find(|known| known.trim_end_matches(':') == name) else {
        return Err(format!("unknown option -- {name}"));
    };
    let plain = known.trim_end_matches(':');
    let value = match (known.ends_with(':'), glued) {
        (true, Some(value)) => value,
        (true, None) => rest.next().cloned().ok_or_else(|| format!("option requires an argument -- {name}"))?,
        (false, _) => String::new(),
    };
    flags.push(Flag::Long(plain, value));
    Ok(())
}

fn short<'a>(letters: &str, rest: &mut impl Iterator<Item = &'a String>, flags: &mut Vec<Flag>) -> Result<(), Wrong> {
    let mut chars = letters.chars();
    while let Some(letter) = chars.next() {
        let known = (letter != ':').then(|| LETTERS.find(letter)).flatten();
        let Some(at) = known else { return Err(format!("unknown option -- {letter}")) };
        let takes = LETTERS.get(at..).and_then(|tail| tail.chars().nth(1)) == Some(':');
        if !takes {
            flags.push(Flag::Letter(letter, String::new()));
            continue;
        }
        let glued = chars.as_str();
        let value = if glued.is_empty() {
            rest.next().cloned().ok_or_else(|| format!("option requires an argument -- {letter}"))?
        } else {
            glued.to_owned()
        };
        flags.push(Flag::Letter(letter, value));
        return Ok(());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_words(line: &str) -> (Vec<Flag>, Vec<String>, Option<Wrong>) {
        split(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn glued_and_apart() {
        let letter = |c, v: &str| Flag::Letter(c, v.to_owned());
        let (flags, rest, wrong) = split_words("-o none -nvf - --host-facts=x --frames -Tadd 1.2.3.4");
        assert_eq!(
            flags,
            [
                letter('o', "none"),
                letter('n', ""),
                letter('v', ""),
                letter('f', "-"),
                Flag::Long("host-facts", "x".into()),
                Flag::Long("frames", String::new()),
                letter('T', "add"),
            ]
        );
        assert_eq!(rest, ["1.2.3.4"]);
        assert_eq!(wrong, None);
    }

    #[test]
    fn wrong_ones_are_named() {
        assert_eq!(split_words("-nX").2.unwrap(), "unknown option -- X");
        assert_eq!(split_words("-f").2.unwrap(), "option requires an argument -- f");
        assert_eq!(split_words("--what").2.unwrap(), "unknown option -- what");
        assert_eq!(split_words("-n -- -v").1, ["-v"]);
    }
}
