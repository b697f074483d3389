//! `table <name> …`: flags, contents in place and from files, and its echo.
//!
//! Source: `parse.y tabledef`, `process_tabledef`; `pfctl_radix.c pfr_buf_load`; `pfctl_parser.c append_addr`.

use super::host::{Host, Kind};
use super::number::{is_space, strtonum};
use super::{Act, Resolver, Stop};
use crate::ast::{At, Span, TableDef, TableOpt, TableOptKind};
use crate::expand::pool_entry;
use crate::facts::Facts;
use crate::print::TablePart;
use crate::ruleset::{Table, TableEntry};
use crate::source::{Sources, text};

/// `PF_TABLE_NAME_SIZE`.
pub(crate) const NAME_SIZE: usize = 32;
/// Longest word of a table file, exclusive.
const TOKEN_SIZE: usize = 256;

/// `weight n` in table files goes to the entry before it, across words and files.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weights {
    expect: bool,
    /// Entries there were after the last address.
    previous: usize,
}

/// Flags and contents so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableSoFar {
    pub persist: bool,
    pub constant: bool,
    pub counters: bool,
    pub init: bool,
    sources: Vec<Source>,
}

/// Where contents come from.
#[derive(Clone, Debug)]
enum Source {
    Hosts(Vec<Host>),
    File(String),
}

impl Resolver<'_> {
    /// A flag or source of a table.
    pub(crate) fn table_opt(&mut self, opt: &TableOpt, so_far: &mut TableSoFar) -> Act {
        match &opt.kind {
            TableOptKind::Flag(word) => match &*word.text {
                "persist" => so_far.persist = true,
                "const" => so_far.constant = true,
                "counters" => so_far.counters = true,
                other => {
                    let names = ["persist", "const", "counters"];
                    let text = format!("invalid table option '{other}'");
                    return self.unknown(opt.at, word.span, text, other, names);
                }
            },
            TableOptKind::File(word) => {
                so_far.sources.push(Source::File(word.text.to_string()));
                so_far.init = true;
            }
            TableOptKind::Hosts(items) => {
                let mut hosts = Vec::new();
                for item in items {
                    hosts.append(&mut self.table_host(item)?);
                }
                if let Some(text) = hosts.iter().find_map(|h| refused(h.wrap.kind)) {
                    return self.fail(opt.at, opt.span, text);
                }
                if !hosts.is_empty() {
                    so_far.sources.push(Source::Hosts(hosts));
                }
                so_far.init = true;
            }
        }
        Ok(())
    }

    /// An entry of a table, negated and weighed.
    pub(crate) fn table_host(&mut self, item: &crate::ast::PoolHost) -> Act<Vec<Host>> {
        let mut hosts = self.host(&item.host)?;
        for host in &mut hosts {
            host.not = item.not;
        }
        if let Some(arg) = &item.weight {
            let weight = self.weight(arg)?;
            for host in &mut hosts {
                host.weight = weight;
            }
        }
        Ok(hosts)
    }

    /// A table definition.
    pub(crate) fn table(&mut self, def: &TableDef, at: At, span: Span, sources: &mut Sources) -> Act {
        let mut so_far = TableSoFar::default();
        for opt in &def.opts {
            self.table_opt(opt, &mut so_far)?;
        }
        let name = &def.name.text;
        if text::byte_len(name) >= NAME_SIZE {
            return self.fail(at, def.name.span, format!("table name too long, max {} chars", NAME_SIZE - 1));
        }
        let mut entries = Vec::new();
        for source in &so_far.sources {
            match source {
                Source::File(file) => self.load_file(file, &mut entries, at, span, sources)?,
                Source::Hosts(hosts) => {
                    for host in hosts {
                        match pool_entry(host) {
                            Some(entry) => entries.push(entry),
                            None => {
                                let text = "cannot create address buffer: Invalid argument";
                                return self.fail(at, span, text);
                            }
                        }
                    }
                }
            }
        }
        let files = so_far
            .sources
            .iter()
            .filter_map(|s| match s {
                Source::File(file) => Some(file.clone()),
                Source::Hosts(_) => None,
            })
            .collect();
        let table = Table {
            name: name.to_string(),
            persist: so_far.persist,
            constant: so_far.constant,
            counters: so_far.counters,
            init: so_far.init,
            entries,
            files,
            automatic: false,
            place: self.place(at, span),
        };
        self.echo(|| echo(&table, &so_far));
        if self.options.dry_run {
            if self.options.verbose > 0 {
                let file = self.file(at.file);
                self.line(&format!("{file}:{}: skipping duplicate table checks for <{name}>", at.line));
            }
            // pfctl keeps inner tables of a dry run in a tree under an empty name: the second one does not fit.
            if self.anchors.depth() > 0 && std::mem::replace(&mut self.globals.inner_table, true) {
                return Err(Stop::Line(at));
            }
        }
        self.anchors.add_table(table);
        Ok(())
    }

    /// Reads the contents of a table file.
    fn load_file(
        &mut self,
        file: &str,
        entries: &mut Vec<TableEntry>,
        at: At,
        span: Span,
        sources: &mut Sources,
    ) -> Act {
        let bytes = match sources.read(file) {
            Ok(bytes) => bytes,
            Err(reason) => return self.fail(at, span, format!("cannot load \"{file}\": {reason}")),
        };
        let mut last: &[u8] = b"";
        for (_, token) in tokens(&bytes) {
            let done = if token.len() >= TOKEN_SIZE {
                Err(Some("Invalid argument"))
            } else {
                self.append(&text::decode(token), entries)
            };
            if let Err(why) = done {
                return self.fail(at, span, bad_file(file, why));
            }
            last = token;
        }
        if last == b"weight" {
            // What pfctl says then is left of the last look for an interface group.
            return self.fail(at, span, bad_file(file, Some("No such file or directory")));
        }
        Ok(())
    }

    /// Takes a word of a table file; the error is the system's word for it, if it has one.
    fn append(&mut self, token: &str, entries: &mut Vec<TableEntry>) -> Result<(), Option<&'static str>> {
        if token == "weight" {
            self.globals.weights.expect = true;
            return Ok(());
        }
        if self.globals.weights.expect {
            let weight = strtonum(token, 1, 65535).map_err(|what| {
                self.line(&format!("failed to convert weight {token}"));
                Some(errno_of(what))
            })?;
            let from = self.globals.weights.previous.saturating_sub(1);
            for entry in entries.iter_mut().skip(from) {
                entry.weight = u16::try_from(weight).unwrap_or(0);
            }
            self.globals.weights.expect = false;
            return Ok(());
        }
        let body = token.trim_start_matches('!');
        let not = token.len().saturating_sub(body.len()) % 2 == 1;
        let hosts = self.look_up(body);
        if hosts.is_empty() {
            return Err(None);
        }
        for host in &hosts {
            let entry = pool_entry(host).ok_or(Some("Invalid argument"))?;
            entries.push(TableEntry { not, from_file: true, ..entry });
        }
        self.globals.weights.previous = entries.len();
        Ok(())
    }
}

/// What pfctl says of a table file it cannot use.
fn bad_file(file: &str, why: Option<&str>) -> String {
    match why {
        Some(why) => format!("cannot load \"{file}\": {why}"),
        None => format!("file \"{file}\" contains bad data"),
    }
}

/// The error `strtonum` leaves behind its word.
fn errno_of(what: &str) -> &'static str {
    if what == "invalid" { "Invalid argument" } else { "Result too large" }
}

/// pfctl's words for what a table cannot hold.
fn refused(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Mask => None,
        Kind::Range => Some("address ranges are not permitted inside tables"),
        Kind::Dynamic => Some("dynamic addresses are not permitted inside tables"),
        Kind::Table => Some("tables cannot contain tables"),
        Kind::NoRoute => Some("\"no-route\" is not permitted inside tables"),
        Kind::UrpfFailed => Some("\"urpf-failed\" is not permitted inside tables"),
        Kind::RouteLabel | Kind::None => Some("unknown address type 4"),
    }
}

/// Why a word is no address of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressProblem {
    /// It names nothing; what pfctl says of it is in [`AddressList::said`].
    Unknown,
    /// A netmask too wide for it, or a network or `!` where a single address is wanted.
    Invalid,
    /// A weight that is none, with the system's word for it.
    Weight(&'static str),
    /// `weight` without a number behind it.
    Unfinished,
}

/// Addresses for a table command: from its arguments and from a file.
#[derive(Debug)]
pub struct AddressList<'a> {
    facts: &'a Facts,
    numeric: bool,
    single: bool,
    weights: Weights,
    /// What was read so far, in order.
    pub entries: Vec<TableEntry>,
    /// Lines pfctl says on standard error.
    pub said: Vec<String>,
}

impl<'a> AddressList<'a> {
    /// Nothing yet. `numeric`: no host names; `single`: plain addresses alone, for `-T test`.
    #[must_use]
    pub fn new(facts: &'a Facts, numeric: bool, single: bool) -> Self {
        let (weights, entries, said) = (Weights::default(), Vec::new(), Vec::new());
        AddressList { facts, numeric, single, weights, entries, said }
    }

    /// Takes one word (`pfctl_radix.c append_addr`).
    ///
    /// # Errors
    /// [`AddressProblem`].
    pub fn word(&mut self, word: &str) -> Result<(), AddressProblem> {
        if word == "weight" {
            self.weights.expect = true;
            return Ok(());
        }
        if self.weights.expect {
            return self.weight(word);
        }
        let body = word.trim_start_matches('!');
        let not = word.len().saturating_sub(body.len()) % 2 == 1;
        let mut said = super::host::Said::default();
        let hosts = super::host::look_up(body, self.facts, self.numeric, &mut said);
        self.said.append(&mut said.lines);
        if hosts.is_empty() {
            return Err(AddressProblem::Unknown);
        }
        for host in &hosts {
            let entry = pool_entry(host).ok_or(AddressProblem::Invalid)?;
            let full = if entry.addr.is_ipv4() { 32 } else { 128 };
            if self.single && (not || entry.prefix != full) {
                return Err(AddressProblem::Invalid);
            }
            self.entries.push(TableEntry { not, ..entry });
        }
        self.weights.previous = self.entries.len();
        Ok(())
    }

    fn weight(&mut self, word: &str) -> Result<(), AddressProblem> {
        let weight = strtonum(word, 1, 65535).map_err(|what| {
            self.said.push(format!("failed to convert weight {word}"));
            AddressProblem::Weight(errno_of(what))
        })?;
        let from = self.weights.previous.saturating_sub(1);
        for entry in self.entries.iter_mut().skip(from) {
            entry.weight = u16::try_from(weight).unwrap_or(0);
        }
        self.weights.expect = false;
        Ok(())
    }

    /// The end of the arguments or of a file.
    ///
    /// # Errors
    /// [`AddressProblem::Unfinished`].
    pub const fn end(&self) -> Result<(), AddressProblem> {
        if self.weights.expect { Err(AddressProblem::Unfinished) } else { Ok(()) }
    }

    /// Takes the words of a file.
    ///
    /// # Errors
    /// The line, from 1, the word and what is wrong with it.
    pub fn file(&mut self, bytes: &[u8]) -> Result<(), (u32, String, AddressProblem)> {
        let line = |at: usize| {
            let ends = bytes.iter().take(at).filter(|b| **b == b'\n').count();
            u32::try_from(ends).unwrap_or(u32::MAX).saturating_add(1)
        };
        for (at, token) in tokens(bytes) {
            let word = text::decode(token);
            let taken = if token.len() >= TOKEN_SIZE { Err(AddressProblem::Invalid) } else { self.word(&word) };
            taken.map_err(|problem| (line(at), word.into_owned(), problem))?;
        }
        self.end().map_err(|problem| (line(bytes.len()), "weight".to_owned(), problem))
    }
}

/// Words of a table file with the byte they begin at: separated by white space, with comments where a word would start.
fn tokens(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let start = rest.iter().position(|b| !is_space(*b))?;
            rest = rest.get(start..)?;
            if rest.first() == Some(&b'#') {
                let end = rest.iter().position(|b| *b == b'\n')?;
                rest = rest.get(end..)?;
                continue;
            }
            let end = rest.iter().position(|b| is_space(*b)).unwrap_or(rest.len());
            let (token, tail) = rest.split_at_checked(end)?;
            let at = bytes.len().saturating_sub(rest.len());
            rest = tail;
            return Some((at, token));
        }
    })
}

/// The echo of a definition: sources in their order, lists side by side as one.
fn echo(table: &Table, so_far: &TableSoFar) -> String {
    let mut parts = Vec::new();
    for source in &so_far.sources {
        match source {
            Source::File(file) => parts.push(TablePart::File(file.clone())),
            Source::Hosts(hosts) => {
                let list = hosts.iter().filter_map(pool_entry);
                match parts.last_mut() {
                    Some(TablePart::Entries(entries)) => entries.extend(list),
                    _ => parts.push(TablePart::Entries(list.collect())),
                }
            }
        }
    }
    crate::print::table_parts(table, &parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_file() {
        let list = |text: &'static str| tokens(text.as_bytes()).map(|(_, word)| word).collect::<Vec<_>>();
        assert_eq!(list("1.2.3.4 # x\n\t!10/8#y\n#end"), [b"1.2.3.4".as_slice(), b"!10/8#y"]);
        assert!(list("  # only").is_empty());
    }

    #[test]
    fn a_bad_word_of_a_file_is_found() {
        let facts = Facts::default();
        let mut list = AddressList::new(&facts, true, false);
        assert_eq!(list.file(b"10/8 !1.2.3.4 weight 7\n# x\n\n::1 1.2.3.4.5\n"), {
            Err((4, "1.2.3.4.5".into(), AddressProblem::Unknown))
        });
        assert_eq!(list.said, ["no IP address found for 1.2.3.4.5"]);
        let got: Vec<_> = list.entries.iter().map(|e| (e.addr.to_string(), e.prefix, e.not, e.weight)).collect();
        let want = [("10.0.0.0", 8, false, 0), ("1.2.3.4", 32, true, 7), ("::1", 128, false, 0)];
        assert_eq!(got, want.map(|(a, p, n, w)| (a.to_owned(), p, n, w)));
        assert_eq!(list.file(b"1.1.1.1\nweight\n"), Err((3, "weight".into(), AddressProblem::Unfinished)));
        assert_eq!(AddressList::new(&facts, true, true).word("10/8"), Err(AddressProblem::Invalid));
        assert_eq!(AddressList::new(&facts, true, true).word("!::1"), Err(AddressProblem::Invalid));
    }
}
