//! The lexer and the parser against recorded answers of pfctl: which texts are grammatical, what is said of the others,
//! and on which line.
//!
//! The parser alone knows no meaning, so only answers whose messages are all of grammar and text are compared; of these
//! every line of standard error is accounted for.

use pfc::ast::StmtKind;
use pfc::parse::{Complaint, Item, Parser};
use pfc::source::{Memory, Sources};
use tests::{Answer, answers};

/// Messages that the lexer and parser make, or that follow from a statement's place alone.
fn ours(line: &str) -> bool {
    let text = line.split_once(": ").map_or(line, |(_, text)| text);
    text == "syntax error"
        || text == "string too long"
        || text == "reached end of file while parsing quoted string"
        || text.starts_with("macro '") && text.ends_with("' not defined")
        || text.contains("\" invalid number: too ")
        || text.starts_with("failed to include file ")
        || text.starts_with("skipping duplicate table checks for ")
        || line.starts_with("pfctl: pushfile: ")
        || line.starts_with("warning: macro '")
}

fn say(out: &mut String, parser: &Parser<'_>, complaint: &Complaint) {
    if !complaint.kind.is_said() {
        return;
    }
    if let Some((file, line)) = complaint.place {
        out.push_str(&format!("{}:{line}: ", parser.sources().name(file)));
    }
    out.push_str(&complaint.kind.text());
    out.push('\n');
}

/// Standard error of a pfctl that only parses.
fn parse(answer: &Answer) -> String {
    let files = answer.files.iter().map(|(name, text)| (name.clone(), text.clone().into_bytes())).collect();
    let mut sources = Sources::new(Box::new(Memory(files)));
    let main = sources.add("stdin", answer.input.as_bytes());
    let mut parser = Parser::new(&mut sources, main);
    for pair in answer.args.windows(2).filter(|pair| pair[0] == "-D") {
        if let Some((name, value)) = pair[1].rsplit_once('=') {
            parser.predefine(name, value);
        }
    }
    let verbose = answer.args.iter().any(|arg| arg.starts_with("-n") && arg.contains('v'));
    let mut out = String::new();
    let (mut depth, mut inner_tables) = (0, 0);
    while let Some(item) = parser.next() {
        match item {
            Item::Stmt(stmt) => {
                match &stmt.kind {
                    StmtKind::AnchorOpen(_) => depth += 1,
                    StmtKind::AnchorClose => depth -= 1,
                    _ => {}
                }
                if let (StmtKind::Table(table), true) = (&stmt.kind, verbose) {
                    let file = parser.sources().name(stmt.at.file);
                    let (line, name) = (stmt.at.line, &table.name.text);
                    out.push_str(&format!("{file}:{line}: skipping duplicate table checks for <{name}>\n"));
                }
                // Without a kernel tables inside anchors have no names yet, and the second one gives up unsaid.
                if matches!(stmt.kind, StmtKind::Table(_)) && depth > 0 {
                    inner_tables += 1;
                    if inner_tables > 1 {
                        parser.fail(stmt.at);
                    }
                }
            }
            Item::Broken(broken) => broken.complaints.iter().for_each(|complaint| say(&mut out, &parser, complaint)),
            Item::Complaint(complaint) => say(&mut out, &parser, &complaint),
        }
    }
    if answer.args.iter().any(|arg| arg.starts_with("-n") && arg.contains("vv")) {
        for (name, _) in parser.unused_macros() {
            out.push_str(&format!("warning: macro '{name}' not used\n"));
        }
    }
    out
}

fn compare(collection: &str, at_least: usize) {
    let Some(answers) = answers(collection) else { return };
    let mut compared = 0;
    let mut wrong = Vec::new();
    for answer in answers.iter().filter(|answer| answer.stderr.lines().all(ours)) {
        compared += 1;
        let got = parse(answer);
        if got != answer.stderr {
            wrong.push(format!("{}\n{}\n-- want\n{}-- got\n{got}", answer.name, answer.input, answer.stderr));
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n=====\n"));
    assert!(compared >= at_least, "only {compared} answers of {collection} are comparable");
}

#[test]
fn single_runs() {
    compare("visible", 1200);
}

#[test]
fn optimizer_runs() {
    compare("opt-visible", 250);
}

#[test]
fn argument_runs() {
    compare("args-visible", 100);
}
