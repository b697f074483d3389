//! Text that means harm or is merely broken: the parser ends soon, says one clear thing, and goes on where pfctl would.

use pfc::ast::{At, Node, StmtKind};
use pfc::parse::{ComplaintKind, Item, Parser};
use pfc::source::{Memory, Sources};

/// What the parser says, `line: text`, and the statements it reads; the function says which actions fail.
fn read(input: &[u8], mut acts: impl FnMut(&Item) -> Option<At>) -> (Vec<String>, Vec<String>) {
    let mut sources = Sources::new(Box::new(Memory::default()));
    let main = sources.add("stdin", input);
    let mut parser = Parser::new(&mut sources, main);
    let (mut said, mut seen) = (Vec::new(), Vec::new());
    while let Some(item) = parser.next() {
        let fail = acts(&item);
        let complaints = match item {
            Item::Stmt(stmt) => {
                let kind = format!("{:?}", stmt.kind);
                let name: String = kind.chars().take_while(|c| c.is_alphanumeric()).collect();
                if stmt.kind != StmtKind::Blank {
                    seen.push(format!("{}: {name}", stmt.at.line));
                }
                Vec::new()
            }
            Item::Broken(broken) if fail.is_none() => broken.complaints,
            Item::Broken(_) => Vec::new(),
            Item::Complaint(complaint) => vec![complaint],
        };
        said.extend(complaints.iter().filter(|one| one.kind.is_said()).map(|one| match one.place {
            Some((_, line)) => format!("{line}: {}", one.kind.text()),
            None => one.kind.text(),
        }));
        if let Some(at) = fail {
            parser.fail(at);
        }
    }
    (said, seen)
}

fn says(input: &str) -> Vec<String> {
    read(input.as_bytes(), |_| None).0
}

#[test]
fn syntax_errors_come_one_in_three_tokens() {
    // The second error is two tokens after the recovery: unsaid. The third has read enough.
    assert_eq!(says("pass\npass bogus\npass bogus\npass in on em0 bogus\n"), ["2: syntax error", "4: syntax error"]);
    assert_eq!(says("pass\npass bogus\n\n\npass bogus\n"), ["2: syntax error", "5: syntax error"]);
}

#[test]
fn nothing_follows_an_error_in_the_first_token() {
    assert_eq!(says("bogus)\npass bogus\n"), ["1: syntax error"]);
    let (said, seen) = read(b"scrub in all\nset limit states 5\n", |_| None);
    assert_eq!((said, seen), (vec!["1: syntax error".to_owned()], Vec::new()));
}

#[test]
fn a_brace_that_opens_a_file_is_an_error_of_what_follows_it() {
    assert_eq!(says("{ pass }\npass bogus\n"), ["1: syntax error"]);
    assert_eq!(says("{ \\\npass }\npass bogus\n"), ["2: syntax error"]);
    assert_eq!(says("{ $x }\npass bogus\n"), ["1: macro 'x' not defined", "1: syntax error"]);
    assert_eq!(says("\n{ $x }\n"), ["2: syntax error", "2: macro 'x' not defined"]);
}

#[test]
fn an_undefined_macro_takes_the_next_line_with_it() {
    let (said, seen) = read(b"pass\npass to $x\nset limit states 5\nset limit frags 5\n", |_| None);
    assert_eq!(said, ["2: macro 'x' not defined", "2: syntax error"]);
    assert_eq!(seen, ["1: Rule", "4: Set"]);
}

#[test]
fn lines_are_those_of_the_last_token_read() {
    assert_eq!(says("pass in \\\n on em0 \\\n bogus\n"), ["3: syntax error"]);
    assert_eq!(says("pass\npass from { 1.1.1.1,\n2.2.2.2 }\n"), ["2: syntax error"]);
    assert_eq!(says("pass\nlabel \"a\nb\nc\" bogus\nlabel x\n"), ["2: syntax error"]);
}

#[test]
fn a_failed_action_drops_the_line_even_inside_braces() {
    // The rule is whole, its action fails at the protocol of line 2: what follows there and nothing else is dropped.
    let input = b"pass\npass proto { tcp bogus\nudp }\nset limit states 5\n";
    let (said, seen) = read(input, |item| match item {
        Item::Stmt(stmt) => match &stmt.kind {
            StmtKind::Rule(rule) => rule.proto.get(1).map(|proto| proto.at),
            _ => None,
        },
        _ => None,
    });
    // `udp }` breaks the grammar two tokens after the recovery: unsaid.
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(seen, ["1: Rule", "3: Rule", "4: Set"]);
}

#[test]
fn a_failed_action_before_a_syntax_error_silences_it() {
    let mut nodes = Vec::new();
    let (said, _) = read(b"pass\npass proto bogus from 1.1.1.1 )\nset limit states 5\n", |item| match item {
        Item::Broken(broken) => {
            nodes = broken.partial.clone();
            broken.partial.iter().find_map(|node| match node {
                Node::Proto(arg) => Some(arg.at),
                _ => None,
            })
        }
        _ => None,
    });
    assert!(said.is_empty(), "{said:?}");
    let kinds: Vec<&str> = nodes
        .iter()
        .map(|node| match node {
            Node::Action(_) => "action",
            Node::Proto(_) => "proto",
            Node::Host(_) => "host",
            _ => "other",
        })
        .collect();
    // The host still waits for what follows it, and `)` cannot: pfctl has not looked it up.
    assert_eq!(kinds, ["action", "proto"]);
}

#[test]
fn what_was_acted_upon_before_an_error_is_told() {
    let mut told = Vec::new();
    let _ = read(b"pass\nset limit { states 5, frags 6, bogus }\nset block-policy drop x\n", |item| {
        if let Item::Broken(broken) = item {
            told.extend(broken.partial.iter().map(|node| match node {
                Node::Limit(one) => one.name.text.to_string(),
                Node::Stmt(stmt) => format!("{:?}", stmt.kind),
                other => format!("{other:?}"),
            }));
        }
        None
    });
    assert_eq!(told, ["states", "frags", "Set(BlockPolicy(Drop))"]);
}

#[test]
fn anchors_close_for_the_grammar_after_an_error() {
    let (said, seen) = read(b"anchor a {\n pass\n bogus bogus\n set limit states 5\n pass\n}\npass\n", |_| None);
    assert_eq!(said, ["3: syntax error", "6: syntax error"]);
    assert_eq!(seen, ["1: AnchorOpen", "2: Rule", "4: Set", "5: Rule", "7: Rule"]);
    assert_eq!(says("anchor a {\n pass\n"), ["4: syntax error"]);
}

#[test]
fn includes_are_read_in_place_and_never_forever() {
    let files = [("a", "set limit states 1\n"), ("me", "include \"me\"\n"), ("cut", "pass \"never ends")];
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    let mut sources = Sources::new(Box::new(Memory(files)));
    let main = sources.add("stdin", "include \"a\" pass\ninclude \"none\"\ninclude \"me\"\ninclude \"cut\"\npass\n");
    let mut parser = Parser::new(&mut sources, main);
    let (mut rules, mut texts) = (0, Vec::new());
    while let Some(item) = parser.next() {
        match item {
            Item::Stmt(stmt) => rules += usize::from(matches!(stmt.kind, StmtKind::Rule(_))),
            Item::Broken(broken) => texts.extend(broken.complaints),
            Item::Complaint(complaint) => texts.push(complaint),
        }
    }
    let texts: Vec<String> = texts
        .iter()
        .map(|one| {
            let place = one.place.map(|(file, line)| format!("{}:{line}: ", parser.sources().name(file)));
            place.unwrap_or_default() + &one.kind.text()
        })
        .collect();
    assert_eq!(
        texts,
        [
            "pfctl: pushfile: none: No such file or directory",
            "stdin:2: failed to include file none",
            "pfctl: pushfile: me: includes are nested too deep",
            "me:1: failed to include file me",
            "cut:1: reached end of file while parsing quoted string",
            "stdin:1: syntax error",
        ]
    );
    assert_eq!(rules, 2, "`pass` after the first include and the last line");
}

#[test]
fn bombs_are_bounded() {
    let mut bomb = String::from("a = \"x x x x x x x x\"\n");
    for (one, next) in ('a'..'y').zip('b'..'z') {
        bomb += &format!("{next} = \" \" ${one} ${one} ${one} ${one} ${one} ${one} ${one} ${one}\n");
    }
    let (said, _) = read(bomb.as_bytes(), |_| None);
    assert!(said.iter().any(|one| one.contains("more than")), "{said:?}");
    let braces = format!("pass\npass from {}a{}\npass\n", "{".repeat(10_000), "}".repeat(10_000));
    let (said, seen) = read(braces.as_bytes(), |_| None);
    assert_eq!(said, ["2: lists are nested more than 1000 deep"]);
    assert_eq!(seen, ["1: Rule", "3: Rule"]);
    let deep = format!("{}pass\n{}", "anchor a {\n".repeat(5_000), "}\n".repeat(5_000));
    assert!(read(deep.as_bytes(), |_| None).0.is_empty());
    assert_eq!(says(&format!("pass\npass label \"{}\"\npass\n", "x".repeat(9_000)))[0], "2: string too long");
}

#[test]
fn bytes_that_are_no_text() {
    assert_eq!(says("pass\n\0pass\nset limit states 5\n"), ["2: syntax error"], "a NUL ends nothing unsaid");
    let (said, seen) = read(b"pass label \"\xff\xfe\"\npass \xff\n\xef\xbb\xbfpass\n", |item| {
        if let Item::Broken(broken) = item {
            assert!(broken.complaints.iter().all(|one| matches!(one.kind, ComplaintKind::Syntax { .. })));
        }
        None
    });
    assert_eq!((said.len(), seen.len()), (1, 1), "{said:?} {seen:?}");
    let (said, seen) = read(b"\xef\xbb\xbfpass in \\\r\n on em0\r\nblock # x\r\n", |_| None);
    assert_eq!((said.len(), seen), (0, vec!["2: Rule".to_owned(), "3: Rule".to_owned()]));
}

#[test]
fn command_line_macros_stand() {
    let mut sources = Sources::new(Box::new(Memory::default()));
    let main = sources.add("stdin", "a = \"file\"\nb = $a\nc = \"unused\"\n");
    let mut parser = Parser::new(&mut sources, main);
    parser.predefine("a", "line");
    let mut values = Vec::new();
    while let Some(item) = parser.next() {
        if let Item::Stmt(stmt) = item
            && let StmtKind::Macro(def) = stmt.kind
        {
            values.push(format!("{}={}", def.name.text, def.value.text));
        }
    }
    assert_eq!(values, ["a=file", "b=line", "c=unused"]);
    let unused: Vec<String> = parser.unused_macros().map(|(name, _)| name).collect();
    assert_eq!(unused, ["b", "c"]);
}
