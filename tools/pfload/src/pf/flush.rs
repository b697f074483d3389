//! `-F`: what is emptied, and what is said of it.
//!
//! Source: `pfctl.c pfctl_clear_rules`, `pfctl_clear_states`, `pfctl_clear_src_nodes`, `pfctl_clear_stats`,
//! `pfctl_reset`, `pfctl_recurse`.

use pfvm::api::{Code, Request, SourceFilter, StateFilter};

use super::Pf;
use super::book::Book;
use super::rules::{NO_ANCHOR, below};
use crate::link::{Outcome, Trouble};

impl Pf<'_> {
    /// `-F`.
    pub(super) fn flush(&mut self, what: &str) -> Outcome {
        let path = self.command.options.anchor.trim_start_matches('/').to_owned();
        match what {
            "rules" => self.flush_anchors(&path, true, false),
            "Tables" => self.flush_anchors(&path, false, true),
            "states" => self.flush_states(),
            "Sources" => self.flush_sources(),
            "info" => self.flush_info(),
            "osfp" => self.link.change(&Request::FlushPrints).map(|_| ()),
            "Reset" => self.reset(),
            _ => self.flush_all(&path),
        }
    }

    fn flush_all(&mut self, path: &str) -> Outcome {
        if self.command.interface.is_some() {
            return Err(Trouble::Usage("don't specify an interface with -Fall".into()));
        }
        self.flush_anchors(path, true, true)?;
        if path.is_empty() {
            self.flush_states()?;
            self.flush_sources()?;
            self.flush_info()?;
            self.link.change(&Request::FlushPrints)?;
            self.reset()?;
        }
        Ok(())
    }

    /// Rules and tables of an anchor, with `*` of all below it.
    fn flush_anchors(&mut self, path: &str, rules: bool, tables: bool) -> Outcome {
        if !self.command.recurse {
            if tables {
                self.flush_tables(path)?;
            }
            if rules {
                self.flush_rules(path)?;
            }
            return Ok(());
        }
        let book = Book::read(&mut self.link)?;
        if !book.exists(path) {
            return Err(Trouble::Here(NO_ANCHOR.into()));
        }
        self.out.put("Removing:\n");
        // The innermost go first, so that nothing keeps what is below it.
        for path in below(&book, path).iter().map(String::as_str).rev().chain([path]) {
            self.out.put(&format!("  {}\n", if path.is_empty() { "/" } else { path }));
            if tables {
                absent_is_empty(self.link.change(&Request::FlushTables { path, dry: false }))?;
            }
            if rules {
                absent_is_empty(self.link.change(&Request::FlushRules { path }))?;
            }
        }
        Ok(())
    }

    fn flush_rules(&mut self, path: &str) -> Outcome {
        absent_is_empty(self.link.change(&Request::FlushRules { path }))?;
        self.out.confirm("rules cleared");
        Ok(())
    }

    fn flush_states(&mut self) -> Outcome {
        let iface = self.interface()?;
        let filter = StateFilter { iface, ..StateFilter::default() };
        let n = self.link.change(&Request::KillStates { filter })?;
        self.out.confirm(&format!("{n} states cleared"));
        Ok(())
    }

    fn flush_sources(&mut self) -> Outcome {
        self.link.change(&Request::KillSources { filter: SourceFilter::default() })?;
        self.out.confirm("source tracking entries cleared");
        Ok(())
    }

    fn flush_info(&mut self) -> Outcome {
        let iface = self.interface()?;
        self.link.change(&Request::ClearStatus { iface })?;
        let of = if iface.is_empty() { String::new() } else { format!(" for interface {iface}") };
        self.out.confirm(&format!("pf: statistics cleared{of}"));
        Ok(())
    }

    fn reset(&mut self) -> Outcome {
        self.link.change(&Request::ResetOptions)?;
        self.out.confirm("pf: interface flags reset");
        Ok(())
    }
}

/// A ruleset that does not exist has nothing to be emptied of.
fn absent_is_empty(done: Outcome<u64>) -> Outcome<u64> {
    match done {
        Err(why) if why.is(Code::NotFound) => Ok(0),
        other => other,
    }
}
