//! pfctl's command line: what was asked for, with pfctl's checks in pfctl's order.
//!
//! Source: OpenBSD 7.8 `pfctl.c main`.

use pfc::resolve::{Options, strtonum};
use pfc::ruleset::OptimizerLevel;
use pfvm::api::After;

use crate::getopt::{self, Flag};

/// Words of `-F`, `-s`, `-T`, `-x` and `-o`.
pub(crate) const FLUSH: &[&str] = &["rules", "Sources", "states", "info", "Tables", "osfp", "Reset", "all"];
pub(crate) const SHOW: &[&str] = &[
    "queue",
    "rules",
    "Anchors",
    "Sources",
    "states",
    "info",
    "Interfaces",
    "labels",
    "timeouts",
    "memory",
    "Tables",
    "osfp",
    "all",
];
pub(crate) const TABLE: &[&str] = &["kill", "flush", "add", "delete", "replace", "show", "test", "zero", "expire"];
pub(crate) const DEBUG: &[&str] = &["debug", "info", "notice", "warning", "error", "crit", "alert", "emerg"];
pub(crate) const OPTIMIZE: &[&str] = &["none", "basic", "profile"];

/// Room for a table's name, with its terminating zero (`PF_TABLE_NAME_SIZE`).
const NAME_SIZE: usize = 32;

/// pfctl's usage text.
pub(crate) const USAGE: &str = "\
usage: pfctl [-deghNnPqrvz] [-a anchor] [-D macro=value] [-F modifier] [-f file]
\t[-i interface] [-K key] [-k key] [-L statefile] [-o level]
\t[-p device] [-S statefile] [-s modifier [-R id]]
\t[-t table -T command [address ...]] [-V rdomain] [-x level]
";

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Command {
    /// How to read rules.
    pub options: Options,
    /// `-f`.
    pub rules: Option<String>,
    /// `-p`.
    pub device: Option<String>,
    /// `-F`.
    pub flush: Option<&'static str>,
    /// `-s`.
    pub show: Option<&'static str>,
    /// `-t` with `-T` and its addresses.
    pub table: Option<(String, &'static str, Vec<String>)>,
    /// `-x`.
    pub debug_level: Option<&'static str>,
    /// `-e`.
    pub enable: bool,
    /// `-d`.
    pub disable: bool,
    /// `-i`.
    pub interface: Option<String>,
    /// `-k`.
    pub kill: Vec<String>,
    /// `-K`.
    pub kill_sources: Vec<String>,
    /// `-L`.
    pub load_states: Option<String>,
    /// `-S`.
    pub save_states: Option<String>,
    /// `-R`.
    pub rule_number: Option<i64>,
    /// `-V`.
    pub rdomain: u8,
    /// `-q`.
    pub quiet: bool,
    /// `-r`.
    pub names: bool,
    /// `-z`.
    pub zero: bool,
    /// `-a` ended in `*`.
    pub recurse: bool,
    /// `-a` ended in `/*`.
    pub wildcard: bool,
    /// `--confirm`: seconds until the rules are rolled back unless confirmed.
    pub confirm: u32,
    /// `--kill-changed`, `--reeval`.
    pub after: After,
    /// `--host-facts`.
    pub host_facts: Option<String>,
    /// `--frames`.
    pub frames: bool,
    /// `--json`.
    pub json: bool,
}

/// Why there is nothing to do.
#[derive(Debug)]
pub(crate) enum Stop {
    /// These lines, then exit 1.
    Error(Vec<String>),
    /// These lines and the usage, then exit 1.
    Usage(Vec<String>),
    /// `--help`, `--version`: this on standard output, exit 0.
    Say(String),
}

fn usage<T>(line: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Usage(vec![line.into()]))
}

fn error<T>(line: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Error(vec![line.into()]))
}

/// The word an unambiguous beginning stands for.
fn word(given: &str, list: &'static [&'static str]) -> Result<Option<&'static str>, Stop> {
    let mut hits = list.iter().filter(|word| !given.is_empty() && word.starts_with(given));
    match (hits.next(), hits.next()) {
        (Some(_), Some(_)) => error(format!("pfctl: {given} is ambigious")),
        (hit, _) => Ok(hit.copied()),
    }
}

fn word_or_usage(given: &str, list: &'static [&'static str], what: &str) -> Result<Option<&'static str>, Stop> {
    match word(given, list)? {
        Some(hit) => Ok(Some(hit)),
        None => usage(format!("pfctl: Unknown {what} '{given}'")),
    }
}

/// Reads the command line. The lines to say first (`could not parse macro definition`) come with the command, or with
/// what is wrong with it.
pub(crate) fn parse(args: &[String]) -> Result<(Command, Vec<String>), Stop> {
    let mut said = Vec::new();
    match read(args, &mut said) {
        Ok(command) => Ok((command, said)),
        Err(Stop::Error(lines)) => Err(Stop::Error([said, lines].concat())),
        Err(Stop::Usage(lines)) => Err(Stop::Usage([said, lines].concat())),
        Err(say) => Err(say),
    }
}

fn read(args: &[String], said: &mut Vec<String>) -> Result<Command, Stop> {
    if args.is_empty() {
        return Err(Stop::Usage(Vec::new()));
    }
    let (flags, rest, wrong) = getopt::split(args);
    let mut command = Command::default();
    let mut parts = Parts::default();
    for flag in flags {
        take(flag, &mut command, &mut parts, said)?;
    }
    if let Some(wrong) = wrong {
        return usage(format!("pfctl: {wrong}"));
    }
    if command.options.numeric && command.names {
        return error("pfctl: -N and -r are mutually exclusive");
    }
    match (parts.table, parts.table_command) {
        (Some(table), Some(_)) if table.len() >= NAME_SIZE => return Err(Stop::Usage(Vec::new())),
        (Some(table), Some(verb)) => command.table = Some((table, verb, rest)),
        (None, None) if rest.is_empty() => {}
        (None, None) => {
            let first = rest.first().cloned().unwrap_or_default();
            return usage(format!("pfctl: unknown command line argument: {first} ..."));
        }
        _ => return Err(Stop::Usage(Vec::new())),
    }
    if let Some(anchor) = parts.anchor {
        set_anchor(anchor, parts.writes, &mut command)?;
    }
    Ok(command)
}

/// What later checks ask of the options.
#[derive(Default)]
struct Parts {
    table: Option<String>,
    table_command: Option<&'static str>,
    anchor: Option<String>,
    /// Something would be changed.
    writes: bool,
}

fn take(flag: Flag, command: &mut Command, parts: &mut Parts, said: &mut Vec<String>) -> Result<(), Stop> {
    let (letter, value) = match flag {
        Flag::Long(name, value) => return take_long(name, value, command),
        Flag::Letter(letter, value) => (letter, value),
    };
    parts.writes |= "deFkKfxzL".contains(letter);
    match letter {
        'a' => parts.anchor = Some(value),
        'd' => command.disable = true,
        'D' => match value.rfind('=') {
            Some(at) => {
                let (name, tail) = value.split_at(at);
                let value = tail.get(1..).unwrap_or_default();
                command.options.macros.push((name.to_owned(), value.to_owned()));
            }
            None => said.push(format!("pfctl: could not parse macro definition {value}")),
        },
        'e' => command.enable = true,
        'q' => command.quiet = true,
        'F' => command.flush = word_or_usage(&value, FLUSH, "flush modifier")?,
        'i' => command.interface = Some(value),
        'k' | 'K' => {
            let list = if letter == 'k' { &mut command.kill } else { &mut command.kill_sources };
            if list.len() >= 2 {
                return usage(format!("pfctl: can only specify -{letter} twice"));
            }
            list.push(value);
        }
        'N' => command.options.numeric = true,
        'n' => command.options.dry_run = true,
        'r' => command.names = true,
        'R' => match strtonum(&value, -1, i64::MAX) {
            Ok(number) => command.rule_number = Some(number),
            Err(what) => return usage(format!("pfctl: invalid rule id: {what}")),
        },
        'f' => command.rules = Some(value),
        'g' => command.options.debug = true,
        'o' => {
            command.options.optimize = match word_or_usage(&value, OPTIMIZE, "optimization")? {
                Some("none") => Some(OptimizerLevel::None),
                Some("profile") => Some(OptimizerLevel::Profile),
                _ => Some(OptimizerLevel::Basic),
            }
        }
        'P' => command.options.port_names = true,
        'p' => command.device = Some(value),
        's' => command.show = word_or_usage(&value, SHOW, "show modifier")?,
        't' => parts.table = Some(value),
        'T' => parts.table_command = word_or_usage(&value, TABLE, "table command")?,
        'v' => command.options.verbose = command.options.verbose.saturating_add(1),
        'V' => match strtonum(&value, 0, 255) {
            Ok(number) => command.rdomain = u8::try_from(number).unwrap_or(0),
            Err(what) => return usage(format!("pfctl: Invalid rdomain: {what}")),
        },
        'x' => command.debug_level = word_or_usage(&value, DEBUG, "debug level")?,
        'z' => command.zero = true,
        'S' => command.save_states = Some(value),
        'L' => command.load_states = Some(value),
        _ => return Err(Stop::Usage(Vec::new())),
    }
    Ok(())
}

fn take_long(name: &str, value: String, command: &mut Command) -> Result<(), Stop> {
    match name {
        "host-facts" => command.host_facts = Some(value),
        "frames" => command.frames = true,
        "json" => command.json = true,
        "kill-changed" => command.after = After::KillChanged,
        "reeval" => command.after = After::Reevaluate,
        "confirm" => command.confirm = seconds(&value).map_err(|line| Stop::Error(vec![line]))?,
        "version" => return Err(Stop::Say(format!("pfload {}\n", env!("CARGO_PKG_VERSION")))),
        _ => {
            let ours = "\t[--host-facts file] [--confirm seconds] [--kill-changed | --reeval]\n\
                        \t[--frames] [--json] [--version]\n";
            return Err(Stop::Say(format!("{USAGE}{ours}{}", crate::verbs::summary())));
        }
    }
    Ok(())
}

/// A time such as `30`, `30s`, `5m`, `1h`.
pub(crate) fn seconds(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(digits) => (digits, text.chars().last().unwrap_or('s')),
        None => (text, 's'),
    };
    let factor = match unit {
        'm' => 60,
        'h' => 3600,
        _ => 1,
    };
    let value = digits.parse::<u32>().ok().and_then(|n| n.checked_mul(factor)).filter(|n| *n > 0);
    value.ok_or_else(|| format!("pfctl: {text}: wanted a time such as 30s, 5m or 1h"))
}

fn set_anchor(anchor: String, writes: bool, command: &mut Command) -> Result<(), Stop> {
    let table = command.table.as_ref().map(|(_, verb, _)| *verb);
    let writes = match table {
        Some(verb) => !verb.starts_with(['s', 't']),
        None => writes,
    };
    if anchor.is_empty() {
        return error("pfctl: anchor name must not be empty");
    }
    if !writes && command.show.is_none() && table.is_none() {
        return usage("pfctl: anchors apply to -f, -F, -s, and -T only");
    }
    if writes && table.is_none() && (anchor.starts_with('_') || anchor.contains("/_")) {
        return error("pfctl: anchor names beginning with '_' cannot be modified from the command line");
    }
    let anchor = match anchor.strip_suffix('*') {
        Some(front) => {
            command.recurse = true;
            command.wildcard = front.ends_with('/');
            front.strip_suffix('/').unwrap_or(front).to_owned()
        }
        None => anchor,
    };
    if anchor.len() >= 1024 {
        return error(format!("pfctl: anchor name '{anchor}' too long"));
    }
    command.options.anchor = anchor;
    Ok(())
}
