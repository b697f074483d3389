//! `load`, `confirm`, `revert`: images that were compiled elsewhere, and loads that wait for a word.

use clap::Args;
use pfvm::api::{After, Changed, Request, Status, Ticket};
use pfvm::image::{Image, MAGIC};
use serde_json::json;

use super::Common;
use crate::command::seconds;
use crate::link::{Link, Outcome, Trouble, reason};
use crate::out::Out;
use crate::pf::load::commit;

/// `load`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// The image, as `pfc -o` writes it.
    #[arg(value_name = "FILE")]
    file: String,
    /// The anchor it must be for; by default the one it was compiled for.
    #[arg(short, long)]
    anchor: Option<String>,
    /// Kill states whose rule is gone or changed.
    #[arg(long, conflicts_with = "reeval")]
    kill_changed: bool,
    /// Kill states the new rules would not let come into being.
    #[arg(long)]
    reeval: bool,
    /// Roll back after this time unless confirmed (30s, 5m).
    #[arg(long, value_name = "TIME", value_parser = |text: &str| seconds(text).map_err(|line| line.replace("pfctl: ", "")))]
    confirm: Option<u32>,
}

/// Which load is meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct Which {
    /// The generation `load` gave; by default the one that waits.
    generation: Option<u64>,
}

impl Load {
    pub(super) fn run(&self, common: &Common, out: &mut Out) -> Outcome {
        let here = |what: &str| Trouble::Here(format!("{}: {what}", self.file));
        let bytes = std::fs::read(&self.file).map_err(|why| here(&reason(&why)))?;
        if !bytes.starts_with(&MAGIC) {
            return Err(here("this is no image; rules as text are loaded with -f, or compiled with pfc"));
        }
        let image = Image::parse(&bytes).map_err(|why| here(&why.to_string()))?;
        let path = image.rulesets().next().map_or(String::new(), |r| image.text(r.path).to_owned());
        if let Some(wanted) = self.anchor.as_deref().map(|a| a.trim_start_matches('/'))
            && wanted != path
        {
            let of = if path.is_empty() { "the main ruleset".to_owned() } else { format!("anchor {path}") };
            return Err(here(&format!("compiled for {of}, not for anchor {wanted}")));
        }
        let after = match (self.kill_changed, self.reeval) {
            (true, _) => After::KillChanged,
            (_, true) => After::Reevaluate,
            _ => After::Keep,
        };
        let confirm = self.confirm.unwrap_or(0);
        let rules = image.rules().count();
        let mut link = common.link()?;
        let generation = commit(&mut link, after, confirm, &[(path, bytes)])?;
        if out.json {
            let within = (confirm > 0).then_some(confirm);
            out.kind("loaded", &json!({ "generation": generation, "confirm_within": within }));
        } else {
            out.confirm(&format!("{rules} rules loaded, generation {generation}"));
            if confirm > 0 {
                out.confirm(&format!("they go again in {confirm} s unless you say: pfload confirm {generation}"));
            }
        }
        Ok(())
    }
}

impl Which {
    pub(super) fn confirm(&self, common: &Common, out: &mut Out) -> Outcome {
        let mut link = common.link()?;
        let generation = self.waiting(&mut link)?;
        link.ask::<Changed>(&Request::Confirm { generation })?;
        say(out, "confirmed", generation, "the rules stay");
        Ok(())
    }

    pub(super) fn revert(&self, common: &Common, out: &mut Out) -> Outcome {
        let mut link = common.link()?;
        let generation = self.waiting(&mut link)?;
        let now = link.ask::<Ticket>(&Request::Revert { generation })?.number;
        say(out, "reverted", now, "the rules before are in force again");
        Ok(())
    }

    fn waiting(&self, link: &mut Link) -> Outcome<u64> {
        if let Some(generation) = self.generation {
            return Ok(generation);
        }
        let status: Status<'_> = link.ask(&Request::Status)?;
        let waiting = status.unconfirmed.map(|(generation, _)| generation);
        waiting.ok_or_else(|| Trouble::Here("no rules wait for a confirmation".into()))
    }
}

fn say(out: &mut Out, kind: &str, generation: u64, words: &str) {
    if out.json {
        out.kind(kind, &json!({ "generation": generation }));
    } else {
        out.confirm(&format!("{words}, generation {generation}"));
    }
}
