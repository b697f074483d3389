//! `facts`: tells the filter of its host's interfaces, addresses, routes and ports.

use clap::Args;
use pfc::facts::live::{File, Source};
use pfc::facts::rows;
use pfvm::api::Request;
use serde_json::json;

use super::Common;
use crate::link::{Link, Outcome, Trouble};
use crate::out::Out;

/// The path facts are uploaded for: none a ruleset has, so that a load that is under way is not disturbed.
const PATH: &str = "_host/facts";

/// `facts`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Tell {
    /// A facts file; without one, this machine as it is now.
    #[arg(value_name = "FILE")]
    file: Option<String>,
}

/// Puts rows in force; how many interfaces they are.
///
/// # Errors
/// [`Trouble`].
pub(crate) fn tell(link: &mut Link, rows: &[u8]) -> Outcome<u64> {
    let ticket = link.upload(PATH, rows)?;
    link.change(&Request::SetFacts { ticket })
}

/// Rows of this machine.
#[cfg(windows)]
fn here() -> Outcome<Vec<u8>> {
    Ok(crate::windows::machine()?.rows())
}

/// Rows of this machine.
#[cfg(not(windows))]
fn here() -> Outcome<Vec<u8>> {
    let facts = pfc::facts::live::Live.facts().map_err(|e| Trouble::Here(e.to_string()))?;
    Ok(facts.rows(rows::Link::of, &[]))
}

impl Tell {
    pub(super) fn run(&self, common: &Common, out: &mut Out) -> Outcome {
        let rows = match &self.file {
            None => here()?,
            Some(file) => {
                let facts = File(file.into()).facts().map_err(|e| Trouble::Here(format!("{file}: {e}")))?;
                facts.rows(rows::Link::of, &[])
            }
        };
        let interfaces = tell(&mut common.link()?, &rows)?;
        if out.json {
            out.kind("facts", &json!({ "interfaces": interfaces }));
        } else {
            out.confirm(&format!("{interfaces} interfaces"));
        }
        Ok(())
    }
}
