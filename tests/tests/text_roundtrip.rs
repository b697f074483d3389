//! Rules as text: what is printed reads back as the same rule, and decides the same once compiled.

use arbitrary::Unstructured;
use pfc::compile::{Options, compile};
use pfc::facts::Facts;
use pfc::print::{RuleOptions, rule as print, table};
use pfc::resolve::{self, load};
use pfc::ruleset::{Config, OptimizerLevel, Rule, Ruleset};
use pfc::source::Sources;
use pfvm::verify::Body;
use tests::decide::{machine, ready, reference};
use tests::fuzz::Numbers;
use tests::rulesets::{config, packet};

fn read(text: &str) -> Option<Config> {
    let mut sources = Sources::disk();
    let file = sources.add("test", text.as_bytes().to_vec());
    load(&mut sources, file, &facts(), &resolve::Options::default()).ok().map(|l| l.config)
}

fn facts() -> Facts {
    Facts { rtables: vec![0, 1], ..Facts::default() }
}

fn printed(rule: &Rule) -> String {
    print(rule, &RuleOptions::default())
}

/// The one rule of a line, if pf's grammar has it.
fn one(head: &str, line: &str) -> Option<Rule> {
    let rules = read(&format!("{head}{line}\n"))?.main.rules;
    match rules.as_slice() {
        [rule] => Some(rule.clone()),
        more => panic!("{line}: {} rules", more.len()),
    }
}

/// A made configuration as text: tables and those rules pf's grammar has, each read back on its own. Systems are left
/// out: the fingerprints made up here have no names.
fn readable(made: &Config) -> (Config, String, usize) {
    let mut kept = Ruleset { tables: made.main.tables.clone(), ..Ruleset::default() };
    let head: String = made.main.tables.iter().map(table).collect();
    let mut text = head.clone();
    let mut refused = 0;
    for rule in made.main.rules.iter().filter(|r| r.anchor.is_none() && r.os.is_none()) {
        let line = printed(rule);
        match one(&head, &line) {
            Some(back) => {
                // What was read prints in pfctl's own way, and that reads back to the letter.
                let line = printed(&back);
                let again = one(&head, &line).unwrap_or_else(|| panic!("{line}: does not read back"));
                assert_eq!(printed(&again), line);
                text.push_str(&line);
                text.push('\n');
                kept.rules.push(rule.clone());
            }
            None => refused += 1,
        }
    }
    for (nr, rule) in (0..).zip(&mut kept.rules) {
        rule.nr = nr;
    }
    (Config { main: kept, ..Config::default() }, text, refused)
}

#[test]
fn printed_rules_read_back_and_decide_alike() {
    let mut numbers = Numbers(11);
    let (mut rules, mut refused) = (0, 0);
    for _ in 0..60 {
        let bytes: Vec<u8> = (0..3000).map(|_| numbers.byte()).collect();
        let made = config(&mut Unstructured::new(&bytes)).expect("bytes make rules");
        let (config, text, not_read) = readable(&made);
        refused += not_read;
        rules += config.main.rules.len();
        let mut sources = Sources::disk();
        let file = sources.add("test", text.clone().into_bytes());
        let options = Options { optimize: Some(OptimizerLevel::None), ..Options::default() };
        let outcome = compile(&mut sources, file, &facts(), &options);
        let compiled = outcome.compiled.unwrap_or_else(|| panic!("{text}\n{:?}", outcome.diagnostics));
        let again: Vec<String> = compiled.config.main.rules.iter().map(printed).collect();
        let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("table")).collect();
        assert_eq!(again, lines);
        let program = ready(&compiled.config, pfc::lower::Passes::ALL, u32::MAX).expect("compiles again");
        for _ in 0..20 {
            let bytes: Vec<u8> = (0..96).map(|_| numbers.byte()).collect();
            let (desc, around) = packet(&mut Unstructured::new(&bytes)).expect("bytes make packets");
            let right = reference(&config, &desc, &around);
            let back = reference(&compiled.config, &desc, &around);
            assert!(back == right, "{text}\n{desc:?}\n{around:?}\n{back:?}\n{right:?}");
            assert_eq!(machine(&program, &desc, &around, Body::Code, u32::MAX), right, "{text}\n{desc:?}");
        }
    }
    // pf's grammar refuses some combinations the generator makes; most it must know.
    assert!(rules > 5 * refused, "{rules} read, {refused} refused");
}
