//! `pfload top`.

use clap::Args;
use serde_json::{Map, Value};

use super::Common;
use crate::link::{Outcome, Trouble};
use crate::out::Out;
use crate::watch::top::app::App;
use crate::watch::top::draw::Paint;
use crate::watch::top::fetch::fetch;
use crate::watch::top::run;
use crate::watch::top::sheet::{View, rows};

/// Watch states, rules, tables, source nodes, translations, interfaces and counters
///
/// FILTER picks rows: host 192.0.2.1 and port 443, tcp, on em0, rule 7, label "web", state established, rate > 10k,
/// bytes > 1M, age < 5m. Keys: ? shows them, q ends.
#[derive(Args, Debug)]
pub(crate) struct Top {
    /// The view to begin with.
    #[arg(long, value_name = "VIEW", default_value = "states",
          value_parser = ["states", "rules", "queues", "tables", "sources", "nat", "interfaces", "counters"])]
    view: String,
    /// Seconds between two looks.
    #[arg(short = 's', long, value_name = "SECONDS", default_value_t = 2)]
    interval: u64,
    /// Print the view once, all rows of it.
    #[arg(long)]
    once: bool,
    /// Which rows.
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

impl Top {
    /// Carries it out.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) fn run(&self, common: &Common, out: &mut Out) -> Outcome {
        let view = View::ALL.into_iter().find(|v| v.name() == self.view).unwrap_or(View::States);
        let app = App::new(view, &self.filter.join(" "), self.interval);
        let app = app.map_err(|why| Trouble::Here(why.to_string()))?;
        if self.once || common.json {
            return once(&app, common, out);
        }
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        run::run(app, &|| common.link(), Paint { colours })
    }
}

/// Prints a view and ends.
fn once(app: &App, common: &Common, out: &mut Out) -> Outcome {
    let mut all = fetch(&mut common.link()?, app.view, 0)?;
    all.since(&crate::watch::top::data::Snapshot::default());
    let columns = app.view.columns();
    let found = rows(app.view, &all, &app.expr, app.sort(), app.reverse);
    if common.json {
        for row in &found {
            let pairs =
                columns.iter().zip(&row.cells).map(|(c, cell)| (c.head.to_lowercase(), Value::from(cell.as_str())));
            out.kind(app.view.name(), &Value::Object(pairs.collect::<Map<_, _>>()));
        }
        return Ok(());
    }
    let longest = |at: usize, head: usize| {
        found.iter().filter_map(|row| row.cells.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0).max(head)
    };
    let widths: Vec<_> = columns.iter().enumerate().map(|(at, c)| longest(at, c.head.len())).collect();
    let heads: Vec<String> = columns.iter().map(|c| c.head.to_owned()).collect();
    for cells in std::iter::once(&heads).chain(found.iter().map(|row| &row.cells)) {
        let line = cells
            .iter()
            .zip(&widths)
            .zip(columns)
            .map(|((cell, width), c)| if c.right { format!("{cell:>width$}") } else { format!("{cell:<width$}") });
        out.put(&format!("{}\n", line.collect::<Vec<_>>().join(" ").trim_end()));
    }
    Ok(())
}
