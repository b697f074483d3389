//! `-T` with all its commands, `-s Tables`, `-F Tables`.
//!
//! Source: `pfctl_table.c pfctl_table`, `print_table`, `print_tstats`, `print_addrx`, `print_astats`.

use std::fmt::Write as _;

use pfc::resolve::strtonum;
use pfvm::api::{self, AddressRow, Cells, FeedbackRow, Request, TableOp, TableRow, TableTouch, feedback};
use pfvm::image::{Entry, TableFlags};
use pfvm::rule::{Addr, Af};
use serde_json::{Value, json};

use super::book::Book;
use super::rules::{DYNAMIC, NO_ANCHOR, below as anchors_below};
use super::{Done, Pf, addresses};
use crate::link::{Entries, Feedback, Outcome, Tables, Trouble};
use crate::out::{Out, ctime, now};

/// Exit status of `-T test` when not all match.
const NO_MATCH: u8 = 2;
/// Exit status of a command that failed: pfctl's -1.
const FAILED: u8 = 255;

/// A table command: the table, the word, its arguments.
type Asked<'c> = (&'c str, &'static str, &'c [String]);

/// Names of the counters' rows.
const CELLS: [[&str; 4]; 2] =
    [["In/Block:", "In/Match:", "In/Pass:", "In/XPass:"], ["Out/Block:", "Out/Match:", "Out/Pass:", "Out/XPass:"]];

/// What is done without a filter: the addresses are read, nothing else (`-n`, no device).
pub(crate) fn syntax_only(
    out: &mut Out,
    command: &crate::command::Command,
    facts: &pfc::facts::Facts,
) -> Outcome<Done> {
    let Some((_, verb, words)) = &command.table else { return Ok(Done::GOOD) };
    let file = command.rules.as_deref();
    let (mut many, mut done) = (0, Done::GOOD);
    if takes_addresses(verb, words, file)? {
        let how = (command.options.numeric, *verb == "test");
        match addresses::read(out, facts, words, file, how) {
            Ok(list) => many = list.len(),
            Err(why) => return failed(out, &why),
        }
    }
    let line = match *verb {
        "add" => format!("0/{many} addresses added"),
        "delete" => format!("0/{many} addresses deleted"),
        "replace" => "no changes".to_owned(),
        "test" => {
            done = Done(if many > 0 { NO_MATCH } else { 0 });
            format!("0/{many} addresses match")
        }
        "zero" if many > 0 || file.is_some() => format!("0/{many} addresses cleared"),
        "zero" => "0 table/stats cleared".to_owned(),
        "kill" => "0 table deleted".to_owned(),
        "flush" => "0 addresses deleted".to_owned(),
        "expire" => "0/0 addresses expired".to_owned(),
        _ => return Ok(done),
    };
    out.confirm(&format!("{line} (syntax only)."));
    Ok(done)
}

/// Says that a command failed, which keeps nothing else from being done.
fn failed(out: &mut Out, why: &Trouble) -> Outcome<Done> {
    super::fail(out, why);
    Ok(Done(FAILED))
}

/// Whether a command takes a list of addresses; one that takes none must not be given any but the age of `-T expire`.
fn takes_addresses(verb: &str, words: &[String], file: Option<&str>) -> Outcome<bool> {
    if matches!(verb, "add" | "delete" | "replace" | "test" | "zero") {
        return Ok(true);
    }
    if file.is_some() || words.len() != usize::from(verb == "expire") {
        return Err(Trouble::Usage(String::new()));
    }
    words.first().map_or(Ok(0), |word| lifetime(word))?;
    Ok(false)
}

/// The age `-T expire` is given.
fn lifetime(word: &str) -> Outcome<u64> {
    let age = strtonum(word, 0, i64::from(u32::MAX)).map_err(|what| Trouble::Here(format!("expiry time: {what}")))?;
    Ok(u64::try_from(age).unwrap_or(0))
}

impl Pf<'_> {
    /// `-T`.
    pub(super) fn table(&mut self) -> Outcome<Done> {
        let command = self.command;
        let Some((name, verb, words)) = &command.table else { return Ok(Done::GOOD) };
        let path = command.options.anchor.trim_start_matches('/').to_owned();
        // A dynamic address may be named as rules show it: `(em0:network)/24`.
        let name = if path == DYNAMIC { name.replace(['(', ')'], "") } else { name.clone() };
        let asked = (name.as_str(), *verb, words.as_slice());
        let list = takes_addresses(verb, words, command.rules.as_deref())?;
        let done = match *verb {
            _ if list => self.table_addresses(&path, asked),
            "show" => self.table_show(&path, &name).map(|()| Done::GOOD),
            _ => self.table_whole(&path, asked),
        };
        match done.map_err(table_words) {
            // Of many anchors, the one that has no such table is nothing to speak of.
            Err(Trouble::Refused { .. }) if command.recurse => Ok(Done(FAILED)),
            Err(why @ (Trouble::Refused { .. } | Trouble::Here(_))) => failed(&mut self.out, &why),
            done => done,
        }
    }

    /// Commands with a list of addresses.
    fn table_addresses(&mut self, path: &str, (name, verb, words): Asked<'_>) -> Outcome<Done> {
        let command = self.command;
        let file = command.rules.as_deref();
        if verb == "zero" && words.is_empty() && file.is_none() {
            return self.table_whole(path, (name, verb, words));
        }
        let how = (command.options.numeric, verb == "test");
        let facts = self.facts()?.clone();
        let list = addresses::read(&mut self.out, &facts, words, file, how)?;
        let op = match verb {
            "add" => TableOp::Add,
            "delete" => TableOp::Delete,
            "replace" => TableOp::Replace,
            "test" => TableOp::Test,
            _ => TableOp::Zero,
        };
        if matches!(op, TableOp::Add | TableOp::Replace) && self.table_create(path, name)? {
            return Ok(Done::GOOD);
        }
        let rows = self.feedback(path, name, op, &list)?;
        let count = |codes: &[u8]| rows.iter().filter(|r| codes.contains(&r.code)).count();
        let (added, deleted) = (count(&[feedback::ADDED]), count(&[feedback::DELETED]));
        let (changed, matched) = (count(&[feedback::CHANGED]), count(&[feedback::MATCH]));
        let all = list.len();
        match op {
            TableOp::Test if self.out.json => self.tested(&list, &rows, matched),
            TableOp::Test => self.result(&format!("{matched}/{all} addresses match")),
            _ if self.out.json => self.changed([added, deleted, changed], all),
            TableOp::Add => self.result(&format!("{added}/{all} addresses added")),
            TableOp::Delete => self.result(&format!("{deleted}/{all} addresses deleted")),
            TableOp::Zero => self.result(&format!("{}/{all} addresses cleared", count(&[feedback::CLEARED]))),
            TableOp::Replace => self.replaced([added, deleted, changed]),
        }
        self.details(op, &list, &rows);
        if op == TableOp::Test && matched < all {
            return Ok(Done(NO_MATCH));
        }
        Ok(Done::GOOD)
    }

    /// Makes the table when there is none. Gives whether that was all, as in a dry run.
    fn table_create(&mut self, path: &str, name: &str) -> Outcome<bool> {
        self.warn_duplicates(path, name)?;
        let dry = self.command.options.dry_run;
        let made = self.link.change(&Request::Table { path, name, touch: TableTouch::Create, dry })?;
        if made > 0 && !self.out.json {
            self.result(&format!("{made} table created"));
        }
        Ok(made > 0 && dry)
    }

    /// pfctl's warning about tables of the same name elsewhere.
    fn warn_duplicates(&mut self, path: &str, name: &str) -> Outcome {
        let mut others = Vec::new();
        self.link.each::<Tables>(
            |cursor| Request::Tables { path: "", below: true, cursor },
            |row| {
                if row.active && row.name == name && row.path != path && !row.dynamic {
                    others.push(row.path.to_owned());
                }
                Ok(())
            },
        )?;
        for other in others {
            let other = if other.is_empty() { "/" } else { &other };
            self.out.warn(&format!("warning: table <{name}> already defined in anchor \"{other}\""));
        }
        Ok(())
    }

    /// Has something done to addresses, to all or none; what became of each, and what a replacement deleted behind them.
    fn feedback(&mut self, path: &str, name: &str, op: TableOp, list: &[Entry]) -> Outcome<Vec<FeedbackRow>> {
        let dry = self.command.options.dry_run;
        // What a replacement deletes may be more than fits into an answer.
        if op == TableOp::Replace || (op != TableOp::Test && list.len() > api::MAX_ADDRESSES) {
            return self.feedback_of_many(path, name, op, list);
        }
        let mut rows = Vec::with_capacity(list.len());
        // An empty list is sent too: the filter says whether there is such a table.
        let chunks: Vec<&[Entry]> = if list.is_empty() { vec![&[]] } else { list.chunks(api::MAX_ADDRESSES).collect() };
        for chunk in chunks {
            let entries = addresses::encode(chunk);
            let request = Request::Addresses { path, name, op, dry, entries: &entries };
            let body = self.link.send(&request)?;
            let bad = |_| Trouble::Nonsense("a page that does not decode");
            let mut page = api::Page::read(body).map_err(bad)?;
            while let Some(row) = page.row::<<Feedback as crate::link::Row>::Of<'_>>().map_err(bad)? {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Uploads addresses, has it done at once, fetches what came of it.
    fn feedback_of_many(&mut self, path: &str, name: &str, op: TableOp, list: &[Entry]) -> Outcome<Vec<FeedbackRow>> {
        let dry = self.command.options.dry_run;
        let ticket = self.link.upload(&ticket_path(path, name), &addresses::encode(list))?;
        let done = self.link.change(&Request::ChangeAddresses { path, name, op, dry, ticket });
        let answer = done.and_then(|_| self.link.bytes(|offset| Request::Feedback { ticket, offset }));
        // Without it the ticket goes with the connection.
        let _ = self.link.change(&Request::Rollback { ticket });
        let answer = answer?;
        let (codes, gone) = answer.split_at_checked(list.len()).ok_or(Trouble::Nonsense("too few letters"))?;
        let plain = codes.iter().map(|code| FeedbackRow { code: *code, entry: None });
        let gone = addresses::decode(gone).ok_or(Trouble::Nonsense("addresses that are none"))?;
        let gone = gone.iter().map(|e| FeedbackRow { code: feedback::DELETED, entry: Some(addresses::parts(e)) });
        Ok(plain.chain(gone).collect())
    }

    /// `--json`: how many addresses came, went, changed, of those asked for.
    fn changed(&mut self, [added, deleted, changed]: [usize; 3], asked: usize) {
        let dry = self.command.options.dry_run;
        let data = json!({"added": added, "deleted": deleted, "changed": changed, "asked": asked, "dry": dry});
        self.document("table-change", data);
    }

    /// `--json`: the entry that holds each address.
    fn tested(&mut self, list: &[Entry], rows: &[FeedbackRow], matched: usize) {
        let one = |(entry, row): (&Entry, &FeedbackRow)| {
            let hit = row.code == feedback::MATCH;
            let text = |e: &_| addresses::shown(e).trim_start().to_owned();
            json!({ "address": text(&addresses::parts(entry)), "match": hit, "entry": row.entry.as_ref().map(text) })
        };
        let rows: Vec<Value> = list.iter().zip(rows).map(one).collect();
        self.document("table-test", json!({ "matched": matched, "asked": list.len(), "addresses": rows }));
    }

    fn replaced(&mut self, counts: [usize; 3]) {
        for (n, what) in counts.into_iter().zip(["added", "deleted", "changed"]) {
            if n > 0 {
                self.result(&format!("{n} addresses {what}"));
            }
        }
        if counts == [0; 3] {
            self.result("no changes");
        }
    }

    /// `-v`: what became of each address.
    fn details(&mut self, op: TableOp, list: &[Entry], rows: &[FeedbackRow]) {
        let verbose = self.command.options.verbose;
        if verbose == 0 || self.out.json {
            return;
        }
        let mut out = String::new();
        for (at, row) in rows.iter().enumerate() {
            let given = list.get(at).map(addresses::parts).or(row.entry);
            let Some(given) = given else { continue };
            match op {
                TableOp::Test if verbose > 1 => {
                    // A negated entry that holds the address counts as none, as pfctl shows it.
                    let hit = row.code == feedback::MATCH;
                    let letter = if hit { 'M' } else { ' ' };
                    let tail = match row.entry.filter(|_| hit) {
                        Some(entry) => format!("\t{}", addresses::shown(&entry)),
                        None => "\t nomatch".to_owned(),
                    };
                    let _ = writeln!(out, "{letter} {}{tail}{}", addresses::shown(&given), self.reverse(&given));
                }
                TableOp::Test if row.code != feedback::MATCH => {}
                _ if verbose > 1 || row.code != feedback::NONE => {
                    let letter = if row.code == feedback::NONE { ' ' } else { char::from(row.code) };
                    let _ = writeln!(out, "{letter} {}{}", addresses::shown(&given), self.reverse(&given));
                }
                _ => {}
            }
        }
        self.out.put(&out);
    }

    /// `-r`: the name of an address.
    fn reverse(&self, &(af, addr, prefix, _): &(Af, Addr, u8, bool)) -> String {
        let full = if af == Af::Inet { 32 } else { 128 };
        if !self.command.names || prefix != full {
            return String::new();
        }
        crate::pf::names::name_of(addresses::ip(af, &addr)).map_or_else(String::new, |name| format!("\t({name})"))
    }

    /// Commands on a table as a whole.
    fn table_whole(&mut self, path: &str, (name, verb, words): Asked<'_>) -> Outcome<Done> {
        let dry = self.command.options.dry_run;
        let touch = match verb {
            "kill" => TableTouch::Kill,
            "flush" => TableTouch::Flush,
            "expire" => return self.table_expire(path, name, words),
            _ => TableTouch::Zero(true),
        };
        let n = self.link.change(&Request::Table { path, name, touch, dry })?;
        self.result(&match verb {
            "kill" => format!("{n} table deleted"),
            "flush" => format!("{n} addresses deleted"),
            _ => format!("{n} table/stats cleared"),
        });
        Ok(Done::GOOD)
    }

    /// `-T expire`: pfctl itself finds the addresses and deletes them.
    fn table_expire(&mut self, path: &str, name: &str, words: &[String]) -> Outcome<Done> {
        let (age, now) = (lifetime(words.first().map_or("", String::as_str))?, now());
        let old: Vec<Entry> = self
            .entries(path, name)?
            .iter()
            .filter(|row| row.cleared != 0 && now.saturating_sub(row.cleared) > age)
            .map(entry)
            .collect();
        let rows = self.feedback(path, name, TableOp::Delete, &old)?;
        let gone = rows.iter().filter(|r| r.code == feedback::DELETED).count();
        self.result(&format!("{gone}/{} addresses expired", old.len()));
        self.details(TableOp::Delete, &old, &rows);
        Ok(Done::GOOD)
    }

    fn entries(&mut self, path: &str, name: &str) -> Outcome<Vec<AddressRow>> {
        let mut rows = Vec::new();
        self.link.each::<Entries>(
            |cursor| Request::Entries { path, name, cursor },
            |row| {
                rows.push(row);
                Ok(())
            },
        )?;
        Ok(rows)
    }

    /// `-T show`.
    fn table_show(&mut self, path: &str, name: &str) -> Outcome {
        let rows = self.entries(path, name)?;
        if self.out.json {
            let rows: Vec<Value> = rows.iter().map(entry_json).collect();
            self.document("table", json!({ "anchor": path, "name": name, "entries": rows }));
            return Ok(());
        }
        let verbose = self.command.options.verbose > 0;
        let counted = verbose && self.has_counters(path, name)?;
        let mut out = String::new();
        for row in &rows {
            let given = (row.af, row.addr, row.prefix, row.not);
            let _ = writeln!(out, "  {}{}", addresses::shown(&given), self.reverse(&given));
            if verbose {
                out.push_str(&entry_details(row, counted));
            }
        }
        self.out.put(&out);
        Ok(())
    }

    fn has_counters(&mut self, path: &str, name: &str) -> Outcome<bool> {
        let mut counters = false;
        self.link.each::<Tables>(
            |cursor| Request::Tables { path, below: false, cursor },
            |row| {
                counters |= row.name == name && TableFlags(row.flags).has(TableFlags::COUNTERS);
                Ok(())
            },
        )?;
        Ok(counters)
    }

    /// A confirmation, marked when nothing was done.
    fn result(&mut self, line: &str) {
        let dry = if self.command.options.dry_run { " (dummy)" } else { "" };
        self.out.confirm(&format!("{line}{dry}."));
    }

    /// `-s Tables`.
    pub(super) fn show_tables(&mut self) -> Outcome {
        let command = self.command;
        let path = command.options.anchor.trim_start_matches('/').to_owned();
        if path != DYNAMIC && !self.has_anchor(&path)? {
            return Err(Trouble::Here(NO_ANCHOR.into()));
        }
        let (verbose, debug, below) = (command.options.verbose, command.options.debug, command.recurse);
        let (mut lines, mut documents) = (Vec::new(), Vec::new());
        let json = self.out.json;
        self.link.each::<Tables>(
            |cursor| Request::Tables { path: &path, below, cursor },
            |row| {
                if json {
                    documents.push(table_json(&row));
                } else if debug || active(&row) {
                    let details = if verbose > 1 { table_details(&row) } else { String::new() };
                    let text = table_line(&row, verbose, below) + &details;
                    lines.push(((row.name.to_owned(), row.path.to_owned()), text));
                }
                Ok(())
            },
        )?;
        if json {
            self.document("tables", Value::Array(documents));
            return Ok(());
        }
        // By name; of several anchors, the innermost go first.
        let places = if below { anchors_below(&Book::read(&mut self.link)?, &path) } else { Vec::new() };
        let place = |path: &String| std::cmp::Reverse(places.iter().position(|p| p == path));
        lines.sort_by_cached_key(|((name, path), _)| (place(path), name.clone()));
        let text: String = lines.into_iter().map(|(_, text)| text).collect();
        self.section("TABLES:", &text);
        Ok(())
    }

    /// `-F Tables`.
    pub(super) fn flush_tables(&mut self, path: &str) -> Outcome {
        if !self.has_anchor(path)? {
            return Err(Trouble::Here(NO_ANCHOR.into()));
        }
        let n = self.link.change(&Request::FlushTables { path, dry: self.command.options.dry_run })?;
        self.result(&format!("{n} tables deleted"));
        Ok(())
    }
}

/// The path of a ticket for a table's addresses: of two clients that change one table the later begins anew the other's
/// upload, and neither is in the way of rules.
fn ticket_path(path: &str, name: &str) -> String {
    let own = if path.is_empty() { format!("_table/{name}") } else { format!("_table/{path}/{name}") };
    if own.len() <= api::MAX_PATH { own } else { path.to_owned() }
}

/// pfctl's words for what a table command cannot do (`pf_strerror`).
fn table_words(why: Trouble) -> Trouble {
    let what = match &why {
        Trouble::Refused { code: api::Code::NoSuch, .. } => "Table does not exist",
        Trouble::Refused { code: api::Code::NotFound | api::Code::Invalid, .. } => NO_ANCHOR,
        Trouble::Refused { code: api::Code::NotPermitted, .. } => "Operation not permitted",
        Trouble::Refused { code, what } if what.is_empty() => code.text(),
        _ => return why,
    };
    let Trouble::Refused { code, .. } = why else { return why };
    Trouble::Refused { code, what: what.to_owned() }
}

fn entry(row: &AddressRow) -> Entry {
    let family = if row.af == Af::Inet6 { Entry::INET6 } else { 0 };
    let not = if row.not { Entry::NOT } else { 0 };
    Entry { addr: row.addr.0, prefix: row.prefix, flags: family | not, weight: row.weight }
}

/// Whether a table exists by itself; one that the compiler made always does.
fn active(row: &TableRow<'_>) -> bool {
    row.active || row.dynamic || TableFlags(row.flags).has(TableFlags::AUTOMATIC)
}

/// A table's line: its name, with `-v` its flags before and its anchor behind.
fn table_line(row: &TableRow<'_>, verbose: u8, below: bool) -> String {
    if verbose == 0 {
        let anchor = if below && !row.path.is_empty() { format!("@{}", row.path) } else { String::new() };
        return format!("{}{anchor}\n", row.name);
    }
    let flags = TableFlags(row.flags);
    let letters = [
        (flags.has(TableFlags::CONST), 'c'),
        (flags.has(TableFlags::PERSIST), 'p'),
        (active(row), 'a'),
        (false, 'i'),
        // Named by rules of its own anchor; what the compiler made or follows an interface is named by some rule.
        (row.references[0] > 0 || (row.referenced && row.references[1] == 0), 'r'),
        (row.references[1] > 0, 'h'),
        (flags.has(TableFlags::COUNTERS), 'C'),
    ];
    let letters: String = letters.iter().map(|(on, letter)| if *on { *letter } else { '-' }).collect();
    let anchor = if row.path.is_empty() { String::new() } else { format!("\t{}", row.path) };
    format!("{letters}\t{}{anchor}\n", row.name)
}

/// `-vv`: a table's counters.
fn table_details(row: &TableRow<'_>) -> String {
    let [rules, anchors] = row.references;
    let [matched, missed] = row.evaluations;
    let mut out = format!("\tAddresses:   {}\n\tCleared:     {}\n", row.addresses, ctime(row.cleared));
    let _ = writeln!(out, "\tReferences:  [ Anchors: {anchors:<18} Rules: {rules:<18} ]");
    let _ = writeln!(out, "\tEvaluations: [ NoMatch: {missed:<18} Match: {matched:<18} ]");
    cells(&mut out, &row.packets, &row.bytes, 4);
    out
}

/// `-v`: an entry's clearing, states, weight and counters.
fn entry_details(row: &AddressRow, counted: bool) -> String {
    let mut out = format!("\tCleared:     {}\n", ctime(row.cleared));
    if row.states > 0 {
        let _ = writeln!(out, "\tActive States:      {}", row.states);
    }
    if row.weight > 0 {
        let _ = writeln!(out, "\tWeight:             {}", row.weight);
    }
    if counted {
        let (packets, bytes) = row.counters.unwrap_or_default();
        cells(&mut out, &packets, &bytes, 3);
    }
    out
}

fn cells(out: &mut String, packets: &Cells, bytes: &Cells, width: usize) {
    for ((names, packets), bytes) in CELLS.iter().zip(packets).zip(bytes) {
        for ((name, p), b) in names.iter().zip(packets).zip(bytes).take(width) {
            let _ = writeln!(out, "\t{name:<12} [ Packets: {p:<18} Bytes: {b:<18} ]");
        }
    }
}

fn cells_json(packets: &Cells, bytes: &Cells) -> Value {
    let side = |p: &[u64; 4], b: &[u64; 4]| {
        json!({
            "block": {"packets": p[0], "bytes": b[0]}, "match": {"packets": p[1], "bytes": b[1]},
            "pass": {"packets": p[2], "bytes": b[2]}, "xpass": {"packets": p[3], "bytes": b[3]},
        })
    };
    json!({ "in": side(&packets[0], &bytes[0]), "out": side(&packets[1], &bytes[1]) })
}

fn table_json(row: &TableRow<'_>) -> Value {
    let flags = TableFlags(row.flags);
    json!({
        "anchor": row.path,
        "name": row.name,
        "const": flags.has(TableFlags::CONST),
        "persist": flags.has(TableFlags::PERSIST),
        "counters": flags.has(TableFlags::COUNTERS),
        "active": active(row),
        "referenced": row.referenced,
        "dynamic": row.dynamic,
        "addresses": row.addresses,
        "references": { "rules": row.references[0], "anchors": row.references[1] },
        "cleared": row.cleared,
        "evaluations": { "match": row.evaluations[0], "no_match": row.evaluations[1] },
        "counts": cells_json(&row.packets, &row.bytes),
    })
}

fn entry_json(row: &AddressRow) -> Value {
    json!({
        "address": pfc::print::address(addresses::ip(row.af, &row.addr)),
        "prefix": row.prefix,
        "negated": row.not,
        "weight": (row.weight > 0).then_some(row.weight),
        "states": row.states,
        "cleared": row.cleared,
        "counts": row.counters.as_ref().map(|(packets, bytes)| cells_json(packets, bytes)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tables_line_and_its_counters() {
        let row = TableRow {
            path: "ftp",
            name: "bad",
            flags: TableFlags::CONST.with(TableFlags::PERSIST).0,
            active: true,
            referenced: false,
            dynamic: false,
            shared: false,
            addresses: 12,
            references: [3, 0],
            cleared: 0,
            evaluations: [5, 6],
            packets: [[1, 0, 2, 0], [0; 4]],
            bytes: [[100, 0, 200, 0], [0; 4]],
        };
        assert_eq!(table_line(&row, 0, false), "bad\n");
        assert_eq!(table_line(&row, 0, true), "bad@ftp\n");
        assert_eq!(table_line(&row, 1, false), "cpa-r--\tbad\tftp\n");
        let details = table_details(&row);
        assert!(
            details.contains("\tReferences:  [ Anchors: 0                  Rules: 3                  ]\n"),
            "{details}"
        );
        assert!(details.contains("\tEvaluations: [ NoMatch: 6                  Match: 5                  ]\n"));
        assert!(details.contains("\tIn/Pass:     [ Packets: 2                  Bytes: 200                ]\n"));
        assert_eq!(details.lines().count(), 12);
    }
}
